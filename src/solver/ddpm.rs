//! Denoising Diffusion Probabilistic Models (Ho, Jain and Abbeel 2020, arXiv 2006.11239).

use crate::dd::Dd;
use crate::error::Error;
use crate::path::Leg;
use crate::solver::{Combination, Solver};

/// DDPM's ancestral sampling.
///
/// For a step from level t to level s, x_s ~ N(μ̃(x_t, x̂₀), σ²·I) (Ho et al. 2020, Eq. 7):
///
/// ```text
/// μ̃ = √ᾱ_s·β/(1−ᾱ_t)·x̂₀ + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t
/// α = ᾱ_t/ᾱ_s,  β = 1−α
/// ```
///
/// On a subset of the timesteps, α and β belong to the step t → s and not to the index t. A step to clean data adds no noise, from any t
/// (Algorithm 2, "z = 0 if t = 1").
///
/// ```
/// use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps, Variance};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan =
///     Plan::new(&schedule, &Timesteps::all(1000)?, &Ddpm::new(Variance::Beta))?;
/// // σ_t = √β_t, and no noise at the last step.
/// assert!((plan.steps()[0].coefficients.d - 0.02_f64.sqrt()).abs() < 1e-15);
/// assert_eq!(plan.steps()[999].coefficients.d, 0.0);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "DDPMScheduler")]
#[doc(alias = "ancestral")]
pub struct Ddpm {
    variance: Variance,
}

/// The variance σ² of DDPM's steps: one of the two extremes of section 3.2, or one that the network predicts.
///
/// A network with a learned variance returns twice the channels of x: first its prediction m, then v. Pass its output to the step
/// as it is. The step multiplies z elementwise by exp(k·v), where k is the step's
/// [`learned_noise`](crate::Step::learned_noise); the coefficient d is the standard deviation at v = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "variance_type")]
#[doc(alias = "learn_sigma")]
#[non_exhaustive]
pub enum Variance {
    /// β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β, the variance of q(x_s | x_t, x₀) (Eq. 7); optimal for data that is a single point.
    /// `fixed_small` in diffusers.
    #[default]
    #[doc(alias = "fixed_small")]
    Posterior,
    /// β = 1 − ᾱ_t/ᾱ_s, the variance of q(x_t | x_s); optimal for data that is N(0, I). `fixed_large` in diffusers.
    #[doc(alias = "fixed_large")]
    Beta,
    /// Between the two for each element: σ² = exp(f·ln β + (1−f)·ln β̃) with f = (v+1)/2 (Nichol and Dhariwal 2021, Eq. 15).
    /// `learned_range` in diffusers; used by improved DDPM, guided diffusion and DiT.
    #[doc(alias = "learned_range")]
    LearnedRange,
    /// σ² = exp(v) for each element: `ModelVarType.LEARNED` in improved DDPM's code. `learned` in diffusers takes √v for σ, which
    /// is NaN for v < 0.
    #[doc(alias = "learned")]
    Learned,
}

impl Ddpm {
    /// DDPM with a variance; the default is [`Variance::Posterior`].
    #[must_use]
    pub fn new(variance: Variance) -> Self {
        Self { variance }
    }

    pub(crate) fn variance(self) -> Variance {
        self.variance
    }
}

impl Solver for Ddpm {
    fn name(&self) -> &'static str {
        match self.variance {
            Variance::Posterior => "DDPM, posterior variance",
            Variance::Beta => "DDPM, variance β",
            Variance::LearnedRange => "DDPM, variance learned between β̃ and β",
            Variance::Learned => "DDPM, learned variance",
        }
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        leg.require_denoising("DDPM")?;
        let (t, s) = (&leg.from, &leg.to);
        let (zero, one) = (Dd::ZERO, Dd::ONE);
        let learned = matches!(self.variance, Variance::LearnedRange | Variance::Learned);
        if t.is_clean() {
            let learned_noise = learned.then_some(0.0);
            return Combination { x0: zero, x: s.scale() / t.scale(), epsilon: zero, z: zero, learned_noise }.checked();
        }
        let beta = s.transition_variance_to(t); // β = 1 − ᾱ_t/ᾱ_s
        let alpha = s.transition_signal_to(t);
        let posterior = s.one_minus_alpha_bar / t.one_minus_alpha_bar * beta; // β̃, Eq. 7
        let variance = match self.variance {
            _ if s.is_clean() => zero, // Algorithm 2, line 3
            Variance::Posterior => posterior,
            Variance::Beta => beta,
            // σ = (β·β̃)^¼·(β/β̃)^(v/4), Eq. 15 of Nichol and Dhariwal (2021)
            Variance::LearnedRange => (beta * posterior).sqrt(),
            Variance::Learned => one, // σ = exp(v/2)
        };
        let learned_noise = match self.variance {
            Variance::Posterior | Variance::Beta => None,
            _ if s.is_clean() => Some(0.0),
            Variance::LearnedRange => {
                // β/β̃ = (1−ᾱ_t)/(1−ᾱ_s)
                Some(0.25 * (t.one_minus_alpha_bar / s.one_minus_alpha_bar).ln().to_f64())
            }
            Variance::Learned => Some(0.5),
        };
        let combination = Combination {
            x0: s.signal_dd() * beta / t.one_minus_alpha_bar, // Eq. 7
            x: s.scale() / t.scale() * alpha.sqrt() * s.one_minus_alpha_bar / t.one_minus_alpha_bar, // Eq. 7
            epsilon: zero,
            z: s.scale() * variance.sqrt(),
            learned_noise,
        };
        combination.checked()
    }
}

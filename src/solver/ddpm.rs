//! Denoising Diffusion Probabilistic Models (Ho, Jain and Abbeel 2020, arXiv 2006.11239).

use crate::dd::Dd;
use crate::error::Error;
use crate::solver::{Combination, Leg, Solver};

/// DDPM's ancestral sampling: x_s ~ N(μ̃(x_t, x̂₀), σ²·I) for a step from level t to level s,
///
/// $$ \tilde\mu = \frac{\sqrt{\bar\alpha_s}\thinspace\beta}{1-\bar\alpha_t}\thinspace\hat x_0 +
///    \frac{\sqrt{\alpha}\thinspace(1-\bar\alpha_s)}{1-\bar\alpha_t}\thinspace x_t \quad\text{(Eq. 7)},
///    \qquad \alpha = \frac{\bar\alpha_t}{\bar\alpha_s},\quad \beta = 1-\alpha $$
///
/// On a subsequence, α and β are those of the leg t → s and not of the index t. A step to clean data adds no noise
/// (Algorithm 2, "z = 0 if t = 1"), whichever t it comes from.
///
/// ```
/// use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps, Variance};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::all(1000)?, &Ddpm::new(Variance::Beta))?;
/// // σ_t = √β_t, and nothing on the last step.
/// assert!((plan.steps()[0].coefficients.d - 0.02_f64.sqrt()).abs() < 1e-15);
/// assert_eq!(plan.steps()[999].coefficients.d, 0.0);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ddpm {
    variance: Variance,
}

/// The variance σ² of DDPM's steps: one of the two extremes of section 3.2, or what the network says.
///
/// A network that predicts the variance has twice the channels of x, first those of its prediction and then as many of v; its
/// output is given to the step as it is. A variance element by element is no coefficient: z is multiplied by exp(k·v) with
/// the step's [`learned_noise`](crate::Step::learned_noise) k, and its coefficient d is the standard deviation at v = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variance {
    /// β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β, the variance of q(x_s | x_t, x₀) (Eq. 7); optimal for data that is a single point.
    /// Python's `fixed_small`.
    #[default]
    Posterior,
    /// β = 1 − ᾱ_t/ᾱ_s, the variance of q(x_t | x_s); optimal for data that is N(0, I). Python's `fixed_large`.
    Beta,
    /// Between the two, element by element: σ² = exp(f·ln β + (1−f)·ln β̃) with f = (v+1)/2 (Nichol and Dhariwal 2021,
    /// Eq. 15). Python's `learned_range`; improved DDPM, guided diffusion and DiT.
    LearnedRange,
    /// σ² = exp(v), element by element: `ModelVarType.LEARNED` of improved DDPM's code. Python's `learned` takes √v for σ, and
    /// NaN where v < 0.
    Learned,
}

impl Ddpm {
    /// DDPM with a variance.
    ///
    /// ```
    /// # use alphabar::{Ddpm, Variance};
    /// assert_eq!(Ddpm::default(), Ddpm::new(Variance::Posterior));
    /// ```
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
            return Ok(Combination { x0: zero, x: s.scale() / t.scale(), epsilon: zero, z: zero, learned_noise });
        }
        let beta = s.transition_variance_to(t); // β = 1 − ᾱ_t/ᾱ_s
        let alpha = s.transition_signal_to(t);
        let posterior = s.one_minus_alpha_bar / t.one_minus_alpha_bar * beta; // β̃, Eq. 7
        let scale = s.scale();
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
        Ok(Combination {
            x0: s.signal_dd() * beta / t.one_minus_alpha_bar, // Eq. 7
            x: scale / t.scale() * alpha.sqrt() * s.one_minus_alpha_bar / t.one_minus_alpha_bar, // Eq. 7
            epsilon: zero,
            z: scale * variance.sqrt(),
            learned_noise,
        })
    }
}

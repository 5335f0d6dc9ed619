//! Denoising Diffusion Implicit Models (Song, Meng and Ermon 2021, arXiv 2010.02502).

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::path::Leg;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Combination, Solver};

/// DDIM, from deterministic (η = 0) to DDPM (η = 1).
///
/// For a step from level t to level s (Song et al. 2021, Eq. 12 and 16; our ᾱ is the paper's α):
///
/// ```text
/// x_s = √ᾱ_s·x̂₀ + √(1−ᾱ_s−σ²)·ε̂ + σ·z           (Eq. 12)
/// σ   = η·√((1−ᾱ_s)/(1−ᾱ_t))·√(1−ᾱ_t/ᾱ_s)        (Eq. 16)
/// ```
///
/// - η = 0 is deterministic: an Euler step of an ODE in x/√ᾱ against σ = √((1−ᾱ)/ᾱ) (Eq. 13 and 14). It can also step to more
///   noise, which encodes data (DDIM inversion).
/// - η = 1 is DDPM with the posterior variance, on any path: [`Ddpm`](crate::Ddpm) with
///   [`Variance::Posterior`](crate::Variance::Posterior). On variance-exploding levels it is the Euler ancestral sampler.
/// - [`Ddim::sigma_hat`] is the paper's σ̂: the mean of η = 1 with the larger standard deviation √(1 − ᾱ_t/ᾱ_s).
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(
///     &schedule,
///     &Timesteps::leading(1000, 50, 0)?,
///     &Ddim::deterministic(),
/// )?;
/// assert!(plan.steps().iter().all(|step| !step.needs_noise()));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Noise", into = "Noise"))]
#[doc(alias = "DDIMScheduler")]
#[doc(alias = "Euler")]
#[doc(alias = "EulerDiscreteScheduler")]
#[doc(alias = "ancestral")]
pub struct Ddim {
    noise: Noise,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Noise {
    Eta(f64),
    EtaPerStep(Vec<f64>),
    SigmaHat,
}

impl Ddim {
    /// η = 0: deterministic.
    #[must_use]
    #[doc(alias = "Euler")]
    pub fn deterministic() -> Self {
        Self { noise: Noise::Eta(0.0) }
    }

    /// One η for all steps.
    ///
    /// η ≤ 1 is always valid. For η > 1, building the plan fails if σ² > 1 − ᾱ_s at any step.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless η is finite and not negative.
    ///
    /// ```
    /// # use alphabar::Ddim;
    /// assert!(Ddim::new(0.5).is_ok());
    /// assert!(Ddim::new(-0.1).is_err());
    /// assert!(Ddim::new(f64::NAN).is_err());
    /// ```
    #[doc(alias = "eta")]
    pub fn new(eta: f64) -> Result<Self, Error> {
        Ok(Self { noise: Noise::Eta(check_eta(eta)?) })
    }

    /// One η for each step, in the order of the path.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless each η is finite and not negative, [`Error::Count`] for an empty list or one longer than
    /// [`MAX_TRAIN_STEPS`]. Building a plan with another number of steps fails.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// let schedule = NoiseSchedule::ddpm()?;
    /// let ddim = Ddim::per_step([1.0, 0.5, 0.0])?;
    /// assert!(Plan::new(&schedule, &Timesteps::trailing(1000, 3)?, &ddim).is_ok());
    /// assert!(Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &ddim).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn per_step(etas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let etas: Vec<f64> = etas.into_iter().take(MAX_TRAIN_STEPS + 1).map(check_eta).collect::<Result<_, _>>()?;
        require_count("the number of η", etas.len(), 1, MAX_TRAIN_STEPS)?;
        Ok(Self { noise: Noise::EtaPerStep(etas) })
    }

    /// The paper's σ̂ (section 5): the mean of η = 1 with noise of the standard deviation σ̂.
    ///
    /// ```text
    /// σ̂ = √(1 − ᾱ_t/ᾱ_s)
    /// ```
    ///
    /// σ̂ is larger than σ(1) and equals the σ of DDPM with the variance β. A step to clean data adds no noise.
    ///
    /// ```
    /// # use alphabar::{Ddim, Leg, NoiseLevel, Solver};
    /// let leg =
    ///     Leg::new(NoiseLevel::from_alpha_bar(0.25)?, NoiseLevel::from_alpha_bar(0.5)?);
    /// assert_eq!(Ddim::sigma_hat().combine(&leg)?.z(), 0.5_f64.sqrt());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn sigma_hat() -> Self {
        Self { noise: Noise::SigmaHat }
    }
}

impl Solver for Ddim {
    fn name(&self) -> &'static str {
        match self.noise {
            Noise::Eta(_) | Noise::EtaPerStep(_) => "DDIM",
            Noise::SigmaHat => "DDIM σ̂",
        }
    }

    fn eta(&self, index: usize) -> Option<f64> {
        match &self.noise {
            Noise::Eta(eta) => Some(*eta),
            Noise::EtaPerStep(etas) => etas.get(index).copied(),
            Noise::SigmaHat => None,
        }
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        if let Noise::EtaPerStep(etas) = &self.noise {
            if etas.len() != leg.steps {
                let what = "values of η, one for each step of the plan";
                return Err(Error::Length { what, expected: leg.steps, found: etas.len() });
            }
        }
        let eta = self.eta(leg.index).unwrap_or(1.0);
        if eta != 0.0 {
            leg.require_denoising("DDIM with η > 0")?;
        }
        let (t, s) = (&leg.from, &leg.to);
        let (zero, one) = (Dd::ZERO, Dd::ONE);
        let noise_variance = s.variance_dd(); // noise_s²
        if eta == 0.0 || t.is_clean() {
            // No new noise: σ = 0 in Eq. 12.
            let (x0, epsilon) = (s.signal_dd(), noise_variance.sqrt());
            return Combination { x0, x: zero, epsilon, z: zero, learned_noise: None }.checked();
        }
        // The noise at s has the variance 1−ᾱ_s. The fraction `fresh` of it may be new noise; the fraction `kept` follows the old
        // noise for every η. fresh + kept = 1 is an identity in ᾱ_s and ᾱ_t. They are computed separately, so that both keep their
        // digits and the radicand of Eq. 12 is a sum of positive terms for η ≤ 1.
        let transition = s.transition_variance_to(t); // 1 − ᾱ_t/ᾱ_s
        let fresh = transition / t.one_minus_alpha_bar;
        let kept = s.transition_signal_to(t) * s.one_minus_alpha_bar / t.one_minus_alpha_bar;
        let eta_dd = Dd::from(eta);
        // σ = η·√((1−ᾱ_s)·fresh), Eq. 16. Not via η², which overflows f64 before σ does.
        let sigma = if fresh.is_zero() { zero } else { eta_dd * (noise_variance * fresh).sqrt() };
        // 1 − ᾱ_s − σ² = (1−ᾱ_s)·((1−η²)·fresh + kept)
        let not_fresh = if fresh.is_zero() { zero } else { (one - eta_dd) * (one + eta_dd) * fresh };
        let radicand = noise_variance * (not_fresh + kept);
        // A huge η makes the radicand NaN.
        if eta > 1.0 && !(radicand >= zero) {
            let deviation = eta * (noise_variance * fresh).sqrt().to_f64();
            let (variance, available) = (deviation * deviation, noise_variance.to_f64());
            return Err(Error::EtaTooLarge { eta, variance, available });
        }
        let combination = Combination {
            x0: s.signal_dd(), // √ᾱ_s, "predicted x₀" of Eq. 12
            x: zero,
            epsilon: radicand.sqrt(), // √(1−ᾱ_s−σ²), "direction pointing to x_t" of Eq. 12
            z: match self.noise {
                Noise::SigmaHat if s.is_clean() => zero,
                Noise::SigmaHat => s.scale() * transition.sqrt(), // σ̂
                _ => sigma,                                       // "random noise" of Eq. 12
            },
            learned_noise: None,
        };
        combination.checked()
    }
}

fn check_eta(eta: f64) -> Result<f64, Error> {
    require(eta >= 0.0 && eta.is_finite(), "η", eta, "finite and ≥ 0")
}

#[cfg(feature = "serde")]
impl From<Ddim> for Noise {
    fn from(ddim: Ddim) -> Self {
        ddim.noise
    }
}

/// Reading checks what the constructors check.
#[cfg(feature = "serde")]
impl TryFrom<Noise> for Ddim {
    type Error = Error;

    fn try_from(noise: Noise) -> Result<Self, Error> {
        match noise {
            Noise::Eta(eta) => Self::new(eta),
            Noise::EtaPerStep(etas) => Self::per_step(etas),
            Noise::SigmaHat => Ok(Self::sigma_hat()),
        }
    }
}

//! Denoising Diffusion Implicit Models (Song, Meng and Ermon 2021, arXiv 2010.02502).

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::solver::{Combination, Leg, Solver};

/// DDIM: for a step from level t to level s,
///
/// $$ x_s = \sqrt{\bar\alpha_s}\thinspace\hat x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\thinspace\hat\varepsilon + \sigma z \quad\text{(Eq. 12)},
///    \qquad \sigma = \eta\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_s}} \quad\text{(Eq. 16)} $$
///
/// (our ᾱ is the paper's α.)
///
/// - η = 0 is deterministic, an Euler step of an ODE in x/√ᾱ against σ = √((1−ᾱ)/ᾱ) (Eq. 13 and 14), and may also step to
///   more noise, which encodes data.
/// - η = 1 is DDPM with the posterior variance, on any path: [`Ddpm`](crate::Ddpm) with
///   [`Variance::Posterior`](crate::Variance::Posterior).
/// - [`Ddim::sigma_hat`] is the paper's σ̂: the mean of η = 1 with the larger standard deviation √(1 − ᾱ_t/ᾱ_s).
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::leading(1000, 50, 0)?, &Ddim::deterministic())?;
/// assert!(plan.steps().iter().all(|step| !step.needs_noise()));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Ddim {
    noise: Noise,
}

#[derive(Clone, Debug, PartialEq)]
enum Noise {
    Eta(f64),
    EtaPerStep(Vec<f64>),
    SigmaHat,
}

impl Ddim {
    /// η = 0.
    ///
    /// ```
    /// # use alphabar::Ddim;
    /// assert_eq!(Ddim::deterministic(), Ddim::new(0.0)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn deterministic() -> Self {
        Self { noise: Noise::Eta(0.0) }
    }

    /// One η for all steps. σ² ≤ 1−ᾱ_s holds for every η ≤ 1; a larger one is accepted by the plans whose every step it fits.
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
    pub fn new(eta: f64) -> Result<Self, Error> {
        Ok(Self { noise: Noise::Eta(check_eta(eta)?) })
    }

    /// An η for each step, in the order of the path.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless each η is finite and not negative. A plan with another number of steps is refused when it
    /// is built.
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
        Ok(Self { noise: Noise::EtaPerStep(etas.into_iter().map(check_eta).collect::<Result<_, _>>()?) })
    }

    /// The paper's σ̂ (section 5): the mean of η = 1, and noise of the standard deviation σ̂ = √(1 − ᾱ_t/ᾱ_s), larger than
    /// σ(1), as DDPM's β variance. A step to clean data adds none.
    ///
    /// ```
    /// # use alphabar::{Ddim, Leg, NoiseLevel, Solver};
    /// let leg = Leg::new(NoiseLevel::from_alpha_bar(0.25)?, NoiseLevel::from_alpha_bar(0.5)?);
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
                return Err(Error::Length { what: "η per step", expected: leg.steps, found: etas.len() });
            }
        }
        let eta = self.eta(leg.index).unwrap_or(1.0);
        if eta != 0.0 {
            leg.require_denoising("DDIM with η > 0")?;
        }
        let (t, s) = (&leg.from, &leg.to);
        let noise_variance = s.variance_dd(); // noise_s²
        if eta == 0.0 || t.is_clean() {
            // Nothing is drawn anew: σ = 0 in Eq. 12.
            let (x0, epsilon) = (s.signal_dd(), noise_variance.sqrt());
            return Ok(Combination { x0, x: Dd::ZERO, epsilon, z: Dd::ZERO, learned_noise: None });
        }
        // The variance 1−ᾱ_s of the noise at s is shared out: the fraction `fresh` may be drawn anew, and what remains
        // follows the old noise whatever η is. fresh + kept = 1 is an identity in ᾱ_s and ᾱ_t; computed apart, both keep
        // their digits, and the radicand of Eq. 12 is a sum of positive terms for η ≤ 1.
        let transition = s.transition_variance_to(t); // 1 − ᾱ_t/ᾱ_s
        let fresh = transition / t.one_minus_alpha_bar;
        let kept = s.transition_signal_to(t) * s.one_minus_alpha_bar / t.one_minus_alpha_bar;
        let eta_dd = Dd::from(eta);
        let variance = eta_dd.squared() * noise_variance * fresh; // σ², Eq. 16
        // 1 − ᾱ_s − σ² = (1−ᾱ_s)·((1−η²)·fresh + kept)
        let radicand = noise_variance * ((Dd::ONE - eta_dd) * (Dd::ONE + eta_dd) * fresh + kept);
        if radicand < Dd::ZERO {
            let (variance, available) = (variance.to_f64(), noise_variance.to_f64());
            return Err(Error::EtaTooLarge { eta, variance, available });
        }
        Ok(Combination {
            x0: s.signal_dd(), // √ᾱ_s, "predicted x₀" of Eq. 12
            x: Dd::ZERO,
            epsilon: radicand.sqrt(), // √(1−ᾱ_s−σ²), "direction pointing to x_t" of Eq. 12
            z: match self.noise {
                Noise::SigmaHat if s.is_clean() => Dd::ZERO,
                Noise::SigmaHat => s.scale() * transition.sqrt(), // σ̂
                _ => variance.sqrt(),                             // σ, "random noise" of Eq. 12
            },
            learned_noise: None,
        })
    }
}

fn check_eta(eta: f64) -> Result<f64, Error> {
    require(eta >= 0.0 && eta.is_finite(), "η", eta, "finite and ≥ 0")
}

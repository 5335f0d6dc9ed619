//! Variance-exploding networks: EDM, Stable Audio, score networks.

use core::f64::consts::FRAC_2_PI;

use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::path::{Point, Process};
use crate::prediction::{Prediction, SigmaData};

/// The process of networks with EDM's preconditioning (Karras et al. 2022): x = x₀ + σ·ε, σ from 80 to 0.002.
///
/// ```text
/// x̂₀ = c_skip·x + c_out·F(c_in·x; c_noise)
/// c_skip = σ_data²/(σ² + σ_data²)    c_out = σ·σ_data/√(σ² + σ_data²)    c_in = 1/√(σ² + σ_data²)    c_noise = ln(σ)/4
/// ```
///
/// [`Point::t`] is c_noise and [`Point::input_scale`] is c_in; c_skip and c_out are the prediction, [`Edm::prediction`].
///
/// ```
/// use alphabar::{Ddim, Edm, Path, Plan};
///
/// let edm = Edm::new(80.0, 0.002, 0.5)?;
/// let path = Path::karras(&edm, 18)?;
/// let first = path.points()[0];
/// assert_eq!((first.level.noise(), first.t), (80.0, 80_f64.ln() / 4.0));
/// let plan = Plan::builder_along(&path)
///     .prediction(edm.prediction())
///     .build(&Ddim::deterministic())?;
/// assert!(
///     (plan.steps()[0].point().input_scale - 1.0 / (6400.25_f64).sqrt()).abs()
///         < 1e-17
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("EDMEulerScheduler", "preconditioning", "Karras"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm {
    sigma_max: f64,
    sigma_min: f64,
    sigma_data: SigmaData,
    time: SigmaTime,
}

/// What a variance-exploding network receives as t at a given σ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigmaTime {
    /// c_noise = ln(σ)/4 (Karras et al. 2022).
    #[default]
    QuarterLog,
    /// (2/π)·arctan σ: Stable Audio.
    Arctan,
    /// σ itself (Song et al. 2021, score networks).
    Sigma,
}

impl Edm {
    /// The process of a network trained for σ from `sigma_max` (80) to `sigma_min` (0.002), with σ_data (0.5).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1e-45 ≤ σ_min < σ_max ≤ 1e45 and 1e-6 ≤ σ_data ≤ 1e6.
    pub fn new(sigma_max: f64, sigma_min: f64, sigma_data: f64) -> Result<Self, Error> {
        require(sigma_max > 0.0 && sigma_max <= 1e45, "σ_max", sigma_max, "inside (0, 1e45]")?;
        require(sigma_min >= 1e-45 && sigma_min < sigma_max, "σ_min", sigma_min, "inside [1e-45, σ_max)")?;
        Ok(Self { sigma_max, sigma_min, sigma_data: SigmaData::new(sigma_data)?, time: SigmaTime::default() })
    }

    /// This process for a network that receives another function of σ as t.
    #[must_use]
    pub fn with_time(self, time: SigmaTime) -> Self {
        Self { time, ..self }
    }

    /// What the network predicts: the F of the preconditioning.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        Prediction::Edm { sigma_data: self.sigma_data }
    }
}

impl Process for Edm {
    /// Any σ is accepted, so that churn may lift x above σ_max; spacings keep to the trained range.
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        let level = NoiseLevel::variance_exploding(sigma)?;
        if level.is_clean() && self.time == SigmaTime::QuarterLog {
            // c_noise = ln(0)/4 is not finite.
            return Err(Error::Unconditioned);
        }
        let t = match self.time {
            SigmaTime::QuarterLog => 0.25 * libm::log(sigma),
            SigmaTime::Arctan => FRAC_2_PI * libm::atan(sigma),
            SigmaTime::Sigma => sigma,
        };
        let data = self.sigma_data.get();
        Point::new(t, level).with_input_scale(1.0 / libm::hypot(sigma, data))
    }

    fn sigma_range(&self) -> [f64; 2] {
        [self.sigma_max, self.sigma_min]
    }

    /// σ is e^(4t), tan(πt/2) or t, as [`SigmaTime`] says.
    fn at_time(&self, t: f64) -> Result<Point, Error> {
        require(t.is_finite(), "t", t, "finite")?;
        let sigma = match self.time {
            SigmaTime::QuarterLog => libm::exp(4.0 * t),
            SigmaTime::Arctan => {
                require((0.0..1.0).contains(&t), "t", t, "inside [0, 1)")?;
                libm::tan(t / FRAC_2_PI)
            }
            SigmaTime::Sigma => t,
        };
        Ok(Point { t, ..self.at_sigma(sigma)? })
    }
}

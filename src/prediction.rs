//! What a network predicts, and the conversions between predictions.

use core::fmt;

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;

/// What a network predicts of x = √ᾱ·x₀ + √(1−ᾱ)·ε. With x, each of them determines the others.
///
/// Write s = √ᾱ (signal) and n = √(1−ᾱ) (noise).
///
/// | the network's m | x̂₀ | ε | v | score |
/// |---|---|---|---|---|
/// | ε | (x − n·m)/s | m | (m − n·x)/s | −m/n |
/// | x₀ | m | (x − s·m)/n | (s·x − m)/n | (s·m − x)/n² |
/// | v | s·x − n·m | n·x + s·m | m | −x − (s/n)·m |
/// | score | (x + n²·m)/s | −n·m | −(n/s)·(x + m) | m |
///
/// ```
/// use alphabar::{NoiseLevel, Prediction};
///
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// // x̂₀ from ε: (x − 0.8·ε)/0.6.
/// let x0 = Prediction::Epsilon.to(Prediction::Sample, &level)?;
/// assert!((x0.x - 1.0 / 0.6).abs() < 1e-15 && (x0.model + 0.8 / 0.6).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prediction {
    /// The noise ε, as DDPM trains it.
    #[default]
    Epsilon,
    /// The clean data x₀; Python's "sample".
    Sample,
    /// The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, section 4).
    Velocity,
    /// The score ∇ ln q(x_t) = −ε/√(1−ᾱ) (Song and Ermon 2019).
    Score,
}

/// A quantity as a linear combination of x and the network's output m: `x`·x + `model`·m.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// What multiplies x.
    pub x: f64,
    /// What multiplies the network's output.
    pub model: f64,
}

impl Prediction {
    /// The coefficients that turn x and a prediction of this kind into a prediction of another kind, at a level.
    ///
    /// # Errors
    /// [`Error::Undetermined`] where the conversion divides by zero: x₀ or v from ε or the score without signal (ᾱ = 0), ε,
    /// v or the score from x₀ without noise (ᾱ = 1), and the score from ε or v without noise.
    ///
    /// ```
    /// # use alphabar::{NoiseLevel, Prediction};
    /// let pure_noise = NoiseLevel::PURE_NOISE;
    /// assert!(Prediction::Epsilon.to(Prediction::Sample, &pure_noise).is_err());
    /// let x0 = Prediction::Velocity.to(Prediction::Sample, &pure_noise)?;
    /// assert_eq!((x0.x, x0.model), (0.0, -1.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn to(self, target: Self, level: &NoiseLevel) -> Result<Conversion, Error> {
        let (x, model) = self.convert(target, level)?;
        Ok(Conversion { x: x.to_f64(), model: model.to_f64() })
    }

    /// [`Prediction::to`] at twice the precision.
    pub(crate) fn convert(self, target: Self, level: &NoiseLevel) -> Result<(Dd, Dd), Error> {
        let (zero, one) = (Dd::ZERO, Dd::ONE);
        if self == target {
            return Ok((zero, one));
        }
        let (signal, noise) = (level.signal_dd(), level.noise_dd());
        let without = |divisor: Dd| {
            if divisor.is_zero() {
                Err(Error::Undetermined { from: self, to: target, level: *level })
            } else {
                Ok(divisor)
            }
        };
        Ok(match (self, target) {
            // Returned above; the pattern has to be whole.
            (Self::Epsilon, Self::Epsilon)
            | (Self::Sample, Self::Sample)
            | (Self::Velocity, Self::Velocity)
            | (Self::Score, Self::Score) => (zero, one),

            // (x − n·ε)/s
            (Self::Epsilon, Self::Sample) => (one / without(signal)?, -noise / signal),
            // v = s·ε − n·x₀ = (ε − n·x)/s
            (Self::Epsilon, Self::Velocity) => (-noise / without(signal)?, one / signal),
            // −ε/n
            (Self::Epsilon, Self::Score) => (zero, -one / without(noise)?),

            // (x − s·x₀)/n
            (Self::Sample, Self::Epsilon) => (one / without(noise)?, -signal / noise),
            // v = s·ε − n·x₀ = (s·x − x₀)/n
            (Self::Sample, Self::Velocity) => (signal / without(noise)?, -one / noise),
            // −(x − s·x₀)/n²
            (Self::Sample, Self::Score) => {
                (-one / without(level.one_minus_alpha_bar)?, signal / level.one_minus_alpha_bar)
            }

            // s·x − n·v
            (Self::Velocity, Self::Sample) => (signal, -noise),
            // n·x + s·v
            (Self::Velocity, Self::Epsilon) => (noise, signal),
            // −(n·x + s·v)/n
            (Self::Velocity, Self::Score) => (-one, -signal / without(noise)?),

            // (x + n²·score)/s
            (Self::Score, Self::Sample) => (one / without(signal)?, level.one_minus_alpha_bar / signal),
            // −n·score
            (Self::Score, Self::Epsilon) => (zero, -noise),
            // s·ε − n·x₀ = −(n/s)·(x + score)
            (Self::Score, Self::Velocity) => (-noise / without(signal)?, -noise / signal),
        })
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Epsilon => "ε-prediction",
            Self::Sample => "x₀-prediction",
            Self::Velocity => "v-prediction",
            Self::Score => "score prediction",
        })
    }
}

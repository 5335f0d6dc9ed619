//! What a network predicts, and the conversions between predictions.

use core::fmt;
use core::str::FromStr;

use crate::dd::Dd;
use crate::error::{Error, shortened};
use crate::level::NoiseLevel;

/// What a network predicts, given x = √ᾱ·x₀ + √(1−ᾱ)·ε.
///
/// Together with x, each prediction determines the others. With s = √ᾱ (signal) and n = √(1−ᾱ) (noise):
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
/// // The name in a configuration.
/// assert_eq!("v_prediction".parse::<Prediction>()?, Prediction::Velocity);
/// // x̂₀ from ε: (x − 0.8·ε)/0.6.
/// let x0 = Prediction::Epsilon.to(Prediction::Sample, &level)?;
/// assert!((x0.x - 1.0 / 0.6).abs() < 1e-15 && (x0.model + 0.8 / 0.6).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
///
/// With the feature `serde` it is stored as its [`name`](Prediction::name).
#[doc(alias("prediction_type", "parameterization", "v_prediction", "epsilon", "x0", "x_start"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prediction {
    /// The noise ε, as in DDPM.
    #[default]
    Epsilon,
    /// The clean data x₀; "sample" in diffusers.
    Sample,
    /// The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, section 4).
    Velocity,
    /// The score ∇ ln q(x_t) = −ε/√(1−ᾱ) (Song and Ermon 2019).
    Score,
}

/// A quantity as a linear combination of x and the network's output m: `x`·x + `model`·m.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// The weight of x.
    pub x: f64,
    /// The weight of the network's output m.
    pub model: f64,
}

impl Prediction {
    /// The coefficients that turn x and a prediction of this kind into a prediction of another kind, at a level.
    ///
    /// # Errors
    /// [`Error::Undetermined`] if the conversion divides by zero: at ᾱ = 0, x₀ or v from ε or the score; at ᾱ = 1, everything
    /// from x₀, and the score from ε or v.
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

/// The names that a message lists.
const NAMES: &str = "epsilon, sample, v_prediction or score";

impl Prediction {
    /// The name in configurations and stored settings: `epsilon`, `sample`, `v_prediction` or `score`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::Velocity => "v_prediction",
            Self::Score => "score",
        }
    }
}

/// Reads a [`name`](Prediction::name), in capitals or not, an alias of other libraries (`eps`, `x0`, `x_start`, `v`,
/// `velocity`, …), or what `Display` writes.
impl FromStr for Prediction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // No name is longer; nothing long is copied.
        let name =
            if text.len() <= 32 { text.trim().to_ascii_lowercase().replace(['-', ' '], "_") } else { String::new() };
        match name.strip_suffix("_prediction").unwrap_or(&name) {
            "epsilon" | "eps" | "ε" | "noise" => Ok(Self::Epsilon),
            "sample" | "x0" | "x₀" | "x_0" | "x_start" | "start_x" => Ok(Self::Sample),
            "v" | "velocity" => Ok(Self::Velocity),
            "score" => Ok(Self::Score),
            _ => Err(Error::Text { what: "prediction", text: shortened(text), expected: NAMES }),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Prediction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Prediction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl serde::de::Visitor<'_> for Name {
            type Value = Prediction;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of a prediction, {NAMES}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Prediction, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// For people: "ε-prediction". The name in configurations is [`Prediction::name`].
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

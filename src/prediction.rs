//! What a network predicts, and the conversions between predictions.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use crate::dd::Dd;
use crate::error::{Error, require, shortened};
use crate::level::NoiseLevel;

/// What a network predicts, given x = s·x₀ + n·ε with s = signal and n = noise.
///
/// Together with x, each prediction determines the others, in every scale of the level. Each is a relation w·m = α·x₀ + β·ε:
///
/// | the network's m | w·m = α·x₀ + β·ε |
/// |---|---|
/// | ε | m = ε |
/// | x₀ | m = x₀ |
/// | v | m = √ᾱ·ε − √(1−ᾱ)·x₀ |
/// | score | n·m = −ε |
/// | flow velocity u | m = ε − x₀ |
/// | EDM's F | σ_data·√(n² + σ_data²·s²)·m = n·x₀ − σ_data²·s·ε |
/// | −F | σ_data·√(n² + σ_data²·s²)·m = σ_data²·s·ε − n·x₀ |
///
/// On variance-preserving levels this gives
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
/// // By the name that configurations use.
/// assert_eq!("v_prediction".parse::<Prediction>()?, Prediction::Velocity);
/// // x̂₀ from ε: (x − 0.8·ε)/0.6.
/// let x0 = Prediction::Epsilon.to(Prediction::Sample, &level)?;
/// assert!((x0.x - 1.0 / 0.6).abs() < 1e-15 && (x0.model + 0.8 / 0.6).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
///
/// With the feature `serde` a prediction is stored as its [`name`](Prediction::name).
#[doc(alias("prediction_type", "parameterization", "v_prediction", "epsilon", "x0", "x_start"))]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// The velocity of a flow, u = ε − x₀, as SD3, Flux and other rectified flows predict it (Liu et al. 2023; Esser et al. 2024).
    #[doc(alias = "flow_prediction")]
    Flow,
    /// The output F of EDM's preconditioning: x̂₀ = c_skip·x + c_out·F at x = x₀ + σ·ε, with
    /// c_skip = σ_data²/(σ² + σ_data²) and c_out = σ·σ_data/√(σ² + σ_data²) (Karras et al. 2022, table 1).
    ///
    /// The network is fed c_in·x: [`Point::input_scale`](crate::Point).
    Edm {
        /// The standard deviation of the data.
        sigma_data: SigmaData,
    },
    /// F with the other sign, m = −F: x̂₀ = c_skip·x − c_out·m, the v-prediction of data with standard deviation σ_data.
    ///
    /// With σ_data = 1 it is [`Prediction::Velocity`], as in Stable Audio.
    EdmVelocity {
        /// The standard deviation of the data.
        sigma_data: SigmaData,
    },
    /// A custom prediction: x̂₀ = p·x + q·m with two functions p and q of the level.
    Custom(&'static CustomPrediction),
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
    /// [`Error::Undetermined`] if the conversion divides by zero. At ᾱ = 0, ε and the score determine nothing but each other. At
    /// ᾱ = 1, x₀ determines nothing else, and no other prediction determines the score. [`Error::Parameter`] if a function of a
    /// custom prediction returns a number that is not finite.
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
        if self == target {
            return Ok((Dd::ZERO, Dd::ONE));
        }
        let undetermined = || Error::Undetermined { from: self, to: target, level: *level };
        let divided =
            |number: Dd, divisor: Dd| if divisor.is_zero() { Err(undetermined()) } else { Ok(number / divisor) };
        if let (Self::Custom(custom), Self::Sample) = (self, target) {
            return custom.at(level);
        }
        let (signal, noise) = (level.signal_dd(), level.noise_dd());
        let (from, to) = (self.relation(level)?, target.relation(level)?);
        let cross = to.x0 * from.epsilon - to.epsilon * from.x0;
        if cross.is_zero() {
            // The two are multiples of each other: x has no part in it.
            let ratio = if to.epsilon.is_zero() {
                divided(to.x0 * from.model, from.x0 * to.model)
            } else {
                divided(to.epsilon * from.model, from.epsilon * to.model)
            };
            return Ok((Dd::ZERO, ratio?));
        }
        // x = s·x₀ + n·ε and w·m = α·x₀ + β·ε have the determinant βs − αn; by Cramer's rule,
        // w′·m′ = α′·x₀ + β′·ε = ((α′β − β′α)·x + (β′s − α′n)·w·m)/(βs − αn)
        let determinant = (from.epsilon * signal - from.x0 * noise) * to.model;
        let model = (to.epsilon * signal - to.x0 * noise) * from.model;
        Ok((divided(cross, determinant)?, divided(model, determinant)?))
    }

    /// The weights of x₀ and ε in the prediction.
    pub(crate) fn of_x0_and_epsilon(self, level: &NoiseLevel) -> Result<(f64, f64), Error> {
        let Relation { model, x0, epsilon } = self.relation(level)?;
        if model.is_zero() {
            return Err(Error::Undetermined { from: Self::Sample, to: self, level: *level });
        }
        Ok(((x0 / model).to_f64(), (epsilon / model).to_f64()))
    }

    /// The prediction as a relation w·m = α·x₀ + β·ε.
    fn relation(self, level: &NoiseLevel) -> Result<Relation, Error> {
        let (zero, one) = (Dd::ZERO, Dd::ONE);
        Ok(match self {
            // m = ε
            Self::Epsilon => Relation { model: one, x0: zero, epsilon: one },
            // m = x₀
            Self::Sample => Relation { model: one, x0: one, epsilon: zero },
            // m = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, appendix D)
            Self::Velocity => {
                Relation { model: one, x0: -level.one_minus_alpha_bar.sqrt(), epsilon: level.alpha_bar.sqrt() }
            }
            // noise·m = −ε
            Self::Score => Relation { model: level.noise_dd(), x0: zero, epsilon: -one },
            // m = ε − x₀ (Liu et al. 2023, Eq. 1, from data to noise)
            Self::Flow => Relation { model: one, x0: -one, epsilon: one },
            // x₀ = c_skip·x/s + c_out·m (Karras et al. 2022, table 1), times (n² + σ_data²·s²)/n:
            // σ_data·√(n² + σ_data²·s²)·m = n·x₀ − σ_data²·s·ε
            Self::Edm { sigma_data } => {
                let data = Dd::from(sigma_data.get());
                let (signal, noise) = (level.signal_dd(), level.noise_dd());
                let total = (noise.squared() + (data * signal).squared()).sqrt();
                Relation { model: data * total, x0: noise, epsilon: -data.squared() * signal }
            }
            // m = −F
            Self::EdmVelocity { sigma_data } => {
                let Relation { model, x0, epsilon } = Self::Edm { sigma_data }.relation(level)?;
                Relation { model, x0: -x0, epsilon: -epsilon }
            }
            // x₀ = p·x + q·m, so q·m = (1 − p·s)·x₀ − p·n·ε
            Self::Custom(custom) => {
                let (p, q) = custom.at(level)?;
                Relation { model: q, x0: one - p * level.signal_dd(), epsilon: -p * level.noise_dd() }
            }
        })
    }
}

/// w·m = α·x₀ + β·ε: `model` is w, `x0` α and `epsilon` β.
struct Relation {
    model: Dd,
    x0: Dd,
    epsilon: Dd,
}

/// The standard deviation of the data, a positive number: σ_data of [`Prediction::Edm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaData(f64);

impl SigmaData {
    /// σ_data; 0.5 for images in [−1, 1] (Karras et al. 2022), 1 for latents scaled to variance 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1e-6 ≤ σ_data ≤ 1e6.
    pub fn new(sigma_data: f64) -> Result<Self, Error> {
        Ok(Self(require((1e-6..=1e6).contains(&sigma_data), "σ_data", sigma_data, "inside [1e-6, 1e6]")?))
    }

    /// σ_data as a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A prediction that no other variant describes: x̂₀ = p·x + q·m, with p and q two functions of the level.
///
/// ```
/// use alphabar::{CustomPrediction, NoiseLevel, Prediction};
///
/// // A network that predicts x₀/2.
/// static HALF: CustomPrediction = CustomPrediction::new("x₀/2", |_| 0.0, |_| 2.0);
/// let back = Prediction::Custom(&HALF)
///     .to(Prediction::Sample, &NoiseLevel::from_alpha_bar(0.5)?)?;
/// assert_eq!((back.x, back.model), (0.0, 2.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct CustomPrediction {
    name: &'static str,
    p: fn(&NoiseLevel) -> f64,
    q: fn(&NoiseLevel) -> f64,
}

impl CustomPrediction {
    /// A prediction with a name and its two functions; two custom predictions are equal if their names are.
    #[must_use]
    pub const fn new(name: &'static str, p: fn(&NoiseLevel) -> f64, q: fn(&NoiseLevel) -> f64) -> Self {
        Self { name, p, q }
    }

    /// p and q at a level.
    fn at(&self, level: &NoiseLevel) -> Result<(Dd, Dd), Error> {
        let (p, q) = ((self.p)(level), (self.q)(level));
        require(p.is_finite(), "p of a custom prediction", p, "finite")?;
        require(q.is_finite(), "q of a custom prediction", q, "finite")?;
        Ok((Dd::from(p), Dd::from(q)))
    }
}

impl PartialEq for CustomPrediction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for CustomPrediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomPrediction").field(&self.name).finish()
    }
}

/// The names that error messages list.
const NAMES: &str = "epsilon, sample, v_prediction, score, flow_prediction, edm(σ_data) or edm_v(σ_data)";

impl Prediction {
    /// The name in configurations and stored settings: `epsilon`, `sample`, `v_prediction`, `score`, `flow_prediction`, `edm(0.5)` and
    /// `edm_v(0.5)` with their σ_data, or the name of a custom prediction.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::Velocity => "v_prediction",
            Self::Score => "score",
            Self::Flow => "flow_prediction",
            Self::Edm { sigma_data } => return Cow::Owned(format!("edm({})", sigma_data.get())),
            Self::EdmVelocity { sigma_data } => return Cow::Owned(format!("edm_v({})", sigma_data.get())),
            Self::Custom(custom) => custom.name,
        })
    }
}

/// Reads a [`name`](Prediction::name), an alias of other libraries (`eps`, `x0`, `x_start`, `v`, `velocity`, …), or the text that
/// `Display` writes for a prediction without a number. Case does not matter. A custom prediction cannot be read.
impl FromStr for Prediction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // No name is longer than 32 bytes, and longer texts are not copied.
        let name =
            if text.len() <= 32 { text.trim().to_ascii_lowercase().replace(['-', ' '], "_") } else { String::new() };
        match name.strip_suffix("_prediction").unwrap_or(&name) {
            "epsilon" | "eps" | "ε" | "noise" => Ok(Self::Epsilon),
            "sample" | "x0" | "x₀" | "x_0" | "x_start" | "start_x" => Ok(Self::Sample),
            "v" | "velocity" => Ok(Self::Velocity),
            "score" => Ok(Self::Score),
            "flow" | "flow_velocity" => Ok(Self::Flow),
            name if name.starts_with("edm(") || name.starts_with("edm_v(") => {
                let number = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
                let sigma_data = number.ok_or_else(|| Error::UnknownName {
                    what: "the prediction",
                    name: shortened(text),
                    expected: NAMES,
                })?;
                let sigma_data = SigmaData::new(sigma_data)?;
                Ok(if name.starts_with("edm(") { Self::Edm { sigma_data } } else { Self::EdmVelocity { sigma_data } })
            }
            _ => Err(Error::UnknownName { what: "the prediction", name: shortened(text), expected: NAMES }),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Prediction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Functions cannot be stored, and a name alone could not be read back.
            Self::Custom(_) => {
                Err(serde::ser::Error::custom("a custom prediction cannot be stored, since it holds functions"))
            }
            _ => serializer.serialize_str(&self.name()),
        }
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

/// The text for people, such as "ε-prediction". The name in configurations is [`Prediction::name`].
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Epsilon => "ε-prediction",
            Self::Sample => "x₀-prediction",
            Self::Velocity => "v-prediction",
            Self::Score => "score prediction",
            Self::Flow => "flow prediction",
            Self::Edm { sigma_data } => return write!(f, "EDM's prediction with σ_data = {}", sigma_data.get()),
            Self::EdmVelocity { sigma_data } => return write!(f, "v-prediction with σ_data = {}", sigma_data.get()),
            Self::Custom(custom) => custom.name,
        })
    }
}

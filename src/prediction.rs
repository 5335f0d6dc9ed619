//! What a network predicts, and the conversions between predictions.

use core::fmt;

use crate::dd::Dd;
use crate::error::{Error, require};
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// Two functions of your own.
    Custom(CustomPrediction),
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
            // Multiples of each other: x does not enter.
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

    /// What a prediction is, as w·m = α·x₀ + β·ε.
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

    /// The number.
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
/// let half = Prediction::Custom(CustomPrediction::new("x₀/2", |_| 0.0, |_| 2.0));
/// let back = half.to(Prediction::Sample, &NoiseLevel::from_alpha_bar(0.5)?)?;
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
    /// A prediction of a name, by which two are told apart, and its two functions.
    #[must_use]
    pub const fn new(name: &'static str, p: fn(&NoiseLevel) -> f64, q: fn(&NoiseLevel) -> f64) -> Self {
        Self { name, p, q }
    }

    /// p and q at a level.
    fn at(self, level: &NoiseLevel) -> Result<(Dd, Dd), Error> {
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

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Epsilon => "ε-prediction",
            Self::Sample => "x₀-prediction",
            Self::Velocity => "v-prediction",
            Self::Score => "score prediction",
            Self::Flow => "flow velocity prediction",
            Self::Edm { sigma_data } => return write!(f, "EDM's prediction (σ_data = {})", sigma_data.get()),
            Self::Custom(custom) => custom.name,
        })
    }
}

//! The forward process on tensors: noising, training targets, and conversions between predictions.
//!
//! Levels are given as a slice: one for the whole tensor, or one for each sample (axis 0), as in training, where every sample
//! of a batch has its own t.
//!
//! # One level per frame
//!
//! In video and in sequence models (diffusion forcing) every frame of x with the shape B×F×C×H×W has its own level. Merge the two
//! axes: the B·F frames become the samples of a batch, and frame f of video b is sample b·F + f. For a contiguous tensor this is a
//! new shape and not a copy:
//!
//! ```
//! use alphabar::{NoiseLevel, NoiseSchedule, forward};
//! use ndarray::Array5;
//!
//! let schedule = NoiseSchedule::ddpm()?;
//! let (b, f, c, h, w) = (2, 3, 4, 8, 8);
//! let (x0, eps) =
//!     (Array5::<f32>::ones((b, f, c, h, w)), Array5::zeros((b, f, c, h, w)));
//! let t = [[999, 700, 20], [0, 300, 600]];
//!
//! let levels = t
//!     .as_flattened()
//!     .iter()
//!     .map(|t| schedule.level(*t))
//!     .collect::<Result<Vec<NoiseLevel>, _>>()?;
//! let x0 = x0.into_shape_with_order((b * f, c, h, w)).unwrap();
//! let eps = eps.into_shape_with_order((b * f, c, h, w)).unwrap();
//! let x = forward::add_noise(&x0, &eps, &levels)?
//!     .into_shape_with_order((b, f, c, h, w))
//!     .unwrap();
//! assert_eq!(x[[1, 2, 0, 0, 0]], schedule.level(600)?.signal() as f32);
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! Sampling works in the same way: reshape, call [`Tensor::step`] with one set of coefficients per frame, reshape back. In candle
//! and burn the call to reshape is `reshape` (or `flatten`), which does not copy contiguous tensors either.

use crate::error::Error;
use crate::level::NoiseLevel;
use crate::posterior;
use crate::prediction::{Conversion, Prediction};
use crate::tensor::{Tensor, Weights};

/// Adds noise to data, x_t = √ᾱ_t·x₀ + √(1−ᾱ_t)·ε: a sample of q(x_t | x₀) (Ho et al. 2020, Eq. 4).
///
/// The coefficients are rounded to the element type only when they are applied, so that half precision does not lose a small
/// amount of noise.
///
/// # Errors
/// [`Error::Shape`], [`Error::Rows`] and the other errors of [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::{NoiseSchedule, forward};
/// use ndarray::array;
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let (x0, eps) =
///     (array![[1.0_f32, -1.0], [0.5, 0.5]], array![[0.3_f32, 0.1], [-0.7, 1.2]]);
/// // One t for all samples, and one for each sample.
/// let x = forward::add_noise(&x0, &eps, &[schedule.level(500)?])?;
/// let x =
///     forward::add_noise(&x0, &eps, &[schedule.level(3)?, schedule.level(980)?])?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("q_sample", "noising"))]
pub fn add_noise<T: Tensor>(x0: &T, epsilon: &T, levels: &[NoiseLevel]) -> Result<T, Error> {
    combine(x0, epsilon, levels, |level| Ok((level.signal(), level.noise())))
}

/// Moves x from level s to a noisier level t, x_t = √(ᾱ_t/ᾱ_s)·x_s + √(1−ᾱ_t/ᾱ_s)·z: a sample of q(x_t | x_s)
/// (Ho et al. 2020, Eq. 2).
///
/// # Errors
/// [`Error::LevelOrder`] if t is less noisy than s, and the errors of [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::{NoiseSchedule, forward};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let x = forward::renoise(
///     &vec![1.0_f32],
///     &vec![0.3],
///     &schedule.level(100)?,
///     &schedule.level(200)?,
/// )?;
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn renoise<T: Tensor>(x_s: &T, z: &T, s: &NoiseLevel, t: &NoiseLevel) -> Result<T, Error> {
    let step = posterior::transition(s, t)?;
    T::linear_combination(&[(step.x.into(), x_s), (step.variance.sqrt().into(), z)])
}

/// The target of v-prediction, v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, section 4).
///
/// # Errors
/// The errors of [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::{NoiseLevel, forward};
///
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// let v = forward::velocity(&vec![1.0_f64], &vec![0.5], &[level])?;
/// assert!((v[0] - (0.6 * 0.5 - 0.8)).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("get_velocity", "v-prediction"))]
pub fn velocity<T: Tensor>(x0: &T, epsilon: &T, levels: &[NoiseLevel]) -> Result<T, Error> {
    combine(epsilon, x0, levels, |level| Ok((level.alpha_bar().sqrt(), -level.one_minus_alpha_bar().sqrt())))
}

/// The training target of a prediction: what the network should return for x = signal·x₀ + noise·ε.
///
/// It is ε, x₀, v ([`velocity`]), the score −ε/noise, a flow's u = ε − x₀, or EDM's F.
///
/// # Errors
/// [`Error::Undetermined`] if the prediction is infinite at a level (the score of clean data), and those of
/// [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, forward};
///
/// let (x0, epsilon) = (vec![1.0_f64], vec![0.25]);
/// let u =
///     forward::target(Prediction::Flow, &x0, &epsilon, &[NoiseLevel::flow(0.3)?])?;
/// assert_eq!(u, [-0.75]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "training target")]
pub fn target<T: Tensor>(prediction: Prediction, x0: &T, epsilon: &T, levels: &[NoiseLevel]) -> Result<T, Error> {
    combine(x0, epsilon, levels, |level| prediction.of_x0_and_epsilon(level))
}

/// Converts a prediction to another kind, given x and its level.
///
/// # Errors
/// [`Error::Undetermined`] if the conversion divides by zero (see [`Prediction::to`]), and the errors of
/// [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::{NoiseSchedule, Prediction, forward};
///
/// let level = NoiseSchedule::ddpm()?.level(500)?;
/// let (x, v) = (vec![1.0_f32], vec![0.0]);
/// let x0 =
///     forward::convert(&x, &v, Prediction::Velocity, Prediction::Sample, &[level])?;
/// assert!((x0[0] - 0.279).abs() < 1e-3);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn convert<T: Tensor>(
    x: &T,
    model: &T,
    from: Prediction,
    to: Prediction,
    levels: &[NoiseLevel],
) -> Result<T, Error> {
    combine(x, model, levels, |level| {
        let Conversion { x, model } = from.to(to, level)?;
        Ok((x, model))
    })
}

/// `of(level).0`·first + `of(level).1`·second, with one level, or one per sample.
fn combine<T: Tensor>(
    first: &T,
    second: &T,
    levels: &[NoiseLevel],
    of: impl Fn(&NoiseLevel) -> Result<(f64, f64), Error>,
) -> Result<T, Error> {
    if let [level] = levels {
        let (k, l) = of(level)?;
        return T::linear_combination(&[(k.into(), first), (l.into(), second)]);
    }
    let weights = levels.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let (k, l): (Vec<f64>, Vec<f64>) = weights.into_iter().unzip();
    T::linear_combination(&[(Weights::PerRow(&k), first), (Weights::PerRow(&l), second)])
}

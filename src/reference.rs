//! Exact predictors for data of a known distribution, to test a sampler without a network.
//!
//! For data x₀ ~ p, the optimal prediction of x₀ from x = √ᾱ·x₀ + √(1−ᾱ)·ε is the posterior mean E\[x₀ | x\]; the optimal ε,
//! v and score follow from it. The distributions here have that mean in closed form. They compute in `f64` on the host for
//! every tensor type. Axis 0 is the batch.
//!
//! Data, means and bandwidths are at most 1e100 in magnitude, variances at most 1e200, so that their squares are finite.

mod finite;
mod gaussian;
mod mixture;

pub use finite::FiniteData;
pub use gaussian::Gaussian;
pub use mixture::GaussianMixture;

use crate::error::{BoxError, Error, require, require_count};
use crate::level::NoiseLevel;
use crate::path::Point;
use crate::prediction::Prediction;
use crate::predictor::Predictor;
use crate::tensor::{HostTensor, Rows};

/// A distribution of data with an exact denoiser.
///
/// ```
/// use alphabar::{
///     NoiseLevel,
///     reference::{DataDistribution, Gaussian},
/// };
///
/// let data = Gaussian::new([0.0], [1.0])?;
/// let mut x0 = vec![2.0];
/// data.denoise(&mut x0, &NoiseLevel::from_alpha_bar(0.25)?);
/// assert_eq!(x0, [1.0]); // E[x₀ | x] = √ᾱ·x for N(0, 1)
///     
/// # Ok::<(), alphabar::Error>(())
/// ```
pub trait DataDistribution {
    /// The number of dimensions of a sample.
    fn dim(&self) -> usize;

    /// Replaces each x of a batch by E\[x₀ | x\] at a level.
    ///
    /// `rows` holds `rows.len() / dim()` samples, one after the other. At [`NoiseLevel::CLEAN`] the result is x itself, or for discrete
    /// data the nearest point.
    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel);

    /// Replaces each x of a batch by the optimal ε = (x − √ᾱ·E\[x₀ | x\])/√(1−ᾱ); 0 at [`NoiseLevel::CLEAN`], where x contains
    /// no noise.
    fn epsilon(&self, rows: &mut [f64], level: &NoiseLevel) {
        if level.is_clean() {
            rows.fill(0.0);
            return;
        }
        let x = rows.to_vec();
        self.denoise(rows, level);
        let (signal, noise) = (level.signal(), level.noise());
        rows.iter_mut().zip(&x).for_each(|(x0, x)| *x0 = (x - signal * *x0) / noise);
    }

    /// Replaces each x of a batch by the score ∇ ln q(x) = −ε/√(1−ᾱ).
    ///
    /// At [`NoiseLevel::CLEAN`] the score of data without a density is ±∞ towards E\[x₀ | x\], and 0 for an x that is data. The
    /// provided method returns that; override it for data with a density.
    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        if level.is_clean() {
            let x = rows.to_vec();
            self.denoise(rows, level);
            rows.iter_mut().zip(&x).for_each(|(x0, x)| *x0 = towards(*x, *x0));
            return;
        }
        score_of_epsilon(self, rows, level);
    }
}

impl<D: DataDistribution + ?Sized> DataDistribution for &D {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel) {
        (**self).denoise(rows, level);
    }

    fn epsilon(&self, rows: &mut [f64], level: &NoiseLevel) {
        (**self).epsilon(rows, level);
    }

    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        (**self).score(rows, level);
    }
}

/// The exact [`Predictor`] of a distribution, for any kind of prediction: a perfectly trained network.
///
/// ```
/// use alphabar::{
///     NoiseLevel, Point, Prediction, Predictor,
///     reference::{Exact, Gaussian},
/// };
///
/// let mut model = Exact::new(Gaussian::new([0.0], [1.0])?, Prediction::Sample);
/// let at = Point::new(0.0, NoiseLevel::from_alpha_bar(0.25)?);
/// assert_eq!(model.predict(&vec![2.0_f32], at).unwrap(), [1.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exact<D> {
    data: D,
    prediction: Prediction,
}

impl<D: DataDistribution> Exact<D> {
    /// The exact predictor of this kind for data of this distribution.
    pub fn new(data: D, prediction: Prediction) -> Self {
        Self { data, prediction }
    }
}

impl<T: HostTensor, D: DataDistribution> Predictor<T> for Exact<D> {
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        let Rows { count, len } = x.rows_of_batch();
        let dim = self.data.dim();
        if len != dim {
            return Err(Error::Shape { operand: "x", expected: vec![count, dim], found: vec![count, len] }.into());
        }
        let mut rows = x.to_host()?;
        match self.prediction {
            Prediction::Sample => self.data.denoise(&mut rows, &at.level),
            Prediction::Epsilon => self.data.epsilon(&mut rows, &at.level),
            Prediction::Score => self.data.score(&mut rows, &at.level),
            other => {
                // m from both x̂₀ and ε̂: at either end of the range of levels, one of them does not determine the other.
                let mut x0 = rows.clone();
                self.data.denoise(&mut x0, &at.level);
                self.data.epsilon(&mut rows, &at.level);
                let (of_x0, of_epsilon) = other.of_x0_and_epsilon(&at.level)?;
                rows.iter_mut().zip(x0).for_each(|(m, x0)| *m = of_epsilon * *m + of_x0 * x0);
            }
        }
        Ok(x.from_host(rows)?)
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }
}

/// Replaces logits by their softmax; stable for logits of any size.
fn softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for logit in logits.iter_mut() {
        // The largest is e⁰ = 1, so the total is never 0 and never overflows; NaN is kept.
        *logit = if *logit == largest { 1.0 } else { libm::exp(*logit - largest) };
        total += *logit;
    }
    logits.iter_mut().for_each(|weight| *weight /= total);
}

/// −ε/√(1−ᾱ), at a level with noise.
fn score_of_epsilon<D: DataDistribution + ?Sized>(data: &D, rows: &mut [f64], level: &NoiseLevel) {
    data.epsilon(rows, level);
    let noise = level.noise();
    rows.iter_mut().for_each(|epsilon| *epsilon /= -noise);
}

/// The score at a clean level of data without a density: 0 at the data, and ±∞ towards the data elsewhere.
fn towards(x: f64, x0: f64) -> f64 {
    let way = x0 - x;
    if way == 0.0 { 0.0 } else { way * f64::INFINITY }
}

/// The smallest divisor of a squared distance, so that the nearest of several points wins.
const LEAST_SPREAD: f64 = 1e-90;

/// `Ok` for numbers with finite squares.
fn check_finite(name: &'static str, values: &[f64]) -> Result<(), Error> {
    for value in values {
        require(value.abs() <= 1e100, name, *value, "inside [−1e100, 1e100]")?;
    }
    Ok(())
}

fn check_variances(variances: &[f64]) -> Result<(), Error> {
    for value in variances {
        require((0.0..=1e200).contains(value), "a variance", *value, "inside [0, 1e200]")?;
    }
    Ok(())
}

fn check_dim(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    require_count("dimensions", expected, 1, usize::MAX)?;
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

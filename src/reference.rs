//! Exact predictors, for data whose distribution is known: to test a sampler, one's own or this crate's, without a network.
//!
//! For data x₀ ~ p, the optimal prediction of x₀ from x = √ᾱ·x₀ + √(1−ᾱ)·ε is the posterior mean E\[x₀ | x\]; the optimal ε,
//! v and score follow from it. The distributions here have that mean in closed form. They are `f64` on the host, whatever the
//! tensor. Each row of axis 0 is one sample.

mod finite;
mod gaussian;
mod mixture;

pub use finite::FiniteData;
pub use gaussian::Gaussian;
pub use mixture::GaussianMixture;

use crate::error::{BoxError, Error};
use crate::level::NoiseLevel;
use crate::path::Point;
use crate::prediction::Prediction;
use crate::predictor::Predictor;
use crate::tensor::{HostTensor, Rows};

/// A distribution of data whose denoiser is known.
///
/// ```
/// use alphabar::{NoiseLevel, reference::{DataDistribution, Gaussian}};
///
/// let data = Gaussian::new([0.0], [1.0])?;
/// let mut x0 = vec![2.0];
/// data.denoise(&mut x0, &NoiseLevel::from_alpha_bar(0.25)?);
/// assert_eq!(x0, [1.0]); // E[x₀ | x] = √ᾱ·x for N(0, 1)
/// # Ok::<(), alphabar::Error>(())
/// ```
pub trait DataDistribution {
    /// The number of dimensions of a sample.
    fn dim(&self) -> usize;

    /// Replaces each x of a batch, `rows.len() / dim()` samples one after the other, by E\[x₀ | x\] at a level.
    ///
    /// At [`NoiseLevel::CLEAN`] that is the x itself, or for discrete data the nearest point.
    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel);

    /// Replaces each x of a batch by the optimal ε = (x − √ᾱ·E\[x₀ | x\])/√(1−ᾱ); 0 at [`NoiseLevel::CLEAN`], where x holds
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

    /// Replaces each x of a batch by the score ∇ ln q(x) = −ε/√(1−ᾱ); needs a level with noise.
    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        self.epsilon(rows, level);
        let noise = level.noise();
        rows.iter_mut().for_each(|epsilon| *epsilon /= -noise);
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

/// A distribution as a network: the [`Predictor`] that a perfectly trained one would be, of any kind of prediction.
///
/// ```
/// use alphabar::{Point, Prediction, Predictor, NoiseLevel, reference::{Exact, Gaussian}};
///
/// let mut model = Exact::new(Gaussian::new([0.0], [1.0])?, Prediction::Sample);
/// let at = Point::new(0, NoiseLevel::from_alpha_bar(0.25)?);
/// assert_eq!(model.predict(&vec![2.0_f32], at).unwrap(), [1.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exact<D> {
    data: D,
    prediction: Prediction,
}

impl<D: DataDistribution> Exact<D> {
    /// The network that predicts this of data so distributed.
    ///
    /// ```
    /// # use alphabar::{Prediction, reference::{Exact, Gaussian}};
    /// let model = Exact::new(Gaussian::new([0.0], [1.0])?, Prediction::Velocity);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
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
                // m from x̂₀ and ε̂, each of which is determined where the other is not.
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

/// `Ok` for finite numbers.
fn check_finite(name: &'static str, values: &[f64]) -> Result<(), Error> {
    for value in values {
        crate::error::require(value.is_finite(), name, *value, "finite")?;
    }
    Ok(())
}

fn check_variances(variances: &[f64]) -> Result<(), Error> {
    for value in variances {
        crate::error::require(*value >= 0.0 && value.is_finite(), "a variance", *value, "finite and ≥ 0")?;
    }
    Ok(())
}

fn check_dim(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    crate::error::require_count("dimensions", expected, 1, usize::MAX)?;
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

//! A finite set of data: the optimal denoiser of a training set.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::reference::{DataDistribution, Exact, LEAST_SPREAD, check_finite, score_of_epsilon, softmax, towards};

/// x₀ drawn uniformly from a finite set of samples y_1, …, y_N, each optionally blurred by N(0, h²·I).
///
/// The denoiser that fits a training set perfectly is a softmax over its samples:
///
/// ```text
/// E[x₀ | x] = Σ_i w_i·E_i[x₀ | x],    w = softmax_i(−‖x − √ᾱ·y_i‖²/(2·(ᾱ·h² + 1−ᾱ)))
/// ```
///
/// E_i\[x₀ | x\] is the mean for the blurred sample i; for h = 0 it is y_i. This denoiser generates only the training set. With a
/// bandwidth h > 0 the data has a density, and the ODE between data and noise has a solution through every image, not only through the
/// training images.
///
/// ```
/// use alphabar::{NoiseLevel, reference::{DataDistribution, FiniteData}};
///
/// let data = FiniteData::new(2, [0.0, 0.0, 1.0, 1.0])?; // two samples of two dimensions
/// let mut x = vec![0.9, 1.2];
/// data.denoise(&mut x, &NoiseLevel::from_alpha_bar(0.999)?);
/// assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 1.0).abs() < 1e-12);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FiniteData {
    /// One sample a row.
    samples: Array2<f64>,
    /// c, the mean of the samples. Distances are measured from c, because rounding would lose them for data far from the origin.
    centre: Array1<f64>,
    /// ‖y_i − c‖².
    squared_norms: Array1<f64>,
    bandwidth: f64,
}

impl FiniteData {
    /// A set of samples of `dim` elements each, one after the other.
    ///
    /// # Errors
    /// [`Error::Count`] without samples or dimensions, [`Error::Length`] if the last sample is incomplete,
    /// [`Error::Parameter`] for an element outside ±1e100.
    pub fn new(dim: usize, elements: impl Into<Vec<f64>>) -> Result<Self, Error> {
        let elements = elements.into();
        require_count("dimensions", dim, 1, usize::MAX)?;
        let count = require_count("samples", elements.len().div_ceil(dim), 1, usize::MAX)?;
        check_finite("an element", &elements)?;
        let (expected, found) = (count.saturating_mul(dim), elements.len());
        let samples = Array2::from_shape_vec((count, dim), elements).map_err(|_| Error::Length {
            what: "elements",
            expected,
            found,
        })?;
        let centre = samples.sum_axis(Axis(0)) / count as f64;
        let squared_norm = |sample: ArrayView1<f64>| {
            let centred = &sample - &centre;
            centred.dot(&centred)
        };
        let squared_norms = samples.rows().into_iter().map(squared_norm).collect();
        Ok(Self { samples, centre, squared_norms, bandwidth: 0.0 })
    }

    /// Blurs each sample by N(0, h²·I).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless h is in [0, 1e100].
    pub fn with_bandwidth(self, h: f64) -> Result<Self, Error> {
        Ok(Self { bandwidth: require((0.0..=1e100).contains(&h), "the bandwidth", h, "inside [0, 1e100]")?, ..self })
    }

    /// The number of samples.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.samples.nrows()
    }

    /// The exact ε-predictor of this data.
    #[must_use]
    pub fn predictor(self) -> Exact<Self> {
        Exact::new(self, Prediction::Epsilon)
    }

    /// The root-mean-square distance per dimension from each x of a batch to its nearest sample.
    ///
    /// Infinite if a square exceeds the largest `f64`.
    ///
    /// ```
    /// # use alphabar::reference::FiniteData;
    /// let data = FiniteData::new(2, [0.0, 0.0, 3.0, 3.0])?;
    /// assert_eq!(data.distances(&[1.0, 1.0, 3.0, 3.0]), [1.0, 0.0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn distances(&self, rows: &[f64]) -> Vec<f64> {
        let dim = self.samples.ncols();
        rows.chunks(dim)
            .map(|x| {
                let squared = self
                    .samples
                    .rows()
                    .into_iter()
                    .map(|sample| sample.iter().zip(x).map(|(y, x)| (y - x) * (y - x)).sum::<f64>());
                (squared.fold(f64::INFINITY, f64::min) / dim as f64).sqrt()
            })
            .collect()
    }
}

impl DataDistribution for FiniteData {
    fn dim(&self) -> usize {
        self.samples.ncols()
    }

    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel) {
        let (signal, blur) = (level.signal(), self.bandwidth * self.bandwidth);
        let spread = self.spread(level);
        let Some(mean) = self.mean(rows, level) else { return };
        // In the component of y, the posterior mean lies between y and x, as for any Gaussian.
        let lean = if spread == 0.0 { 0.0 } else { signal * blur / spread };
        for (x, y) in rows.iter_mut().zip(&mean) {
            *x = y + lean * (*x - signal * y);
        }
    }

    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        if !level.is_clean() {
            score_of_epsilon(self, rows, level);
            return;
        }
        let spread = self.spread(level);
        let Some(mean) = self.mean(rows, level) else { return };
        for (x, y) in rows.iter_mut().zip(&mean) {
            // (Σ w_i·y_i − x)/h²
            *x = if spread == 0.0 { towards(*x, *y) } else { (y - *x) / spread };
        }
    }
}

impl FiniteData {
    /// ᾱ·h² + 1−ᾱ.
    fn spread(&self, level: &NoiseLevel) -> f64 {
        level.signal_squared() * (self.bandwidth * self.bandwidth) + level.noise_squared()
    }

    /// Σ w_i·y_i for each x of a batch; `None` if the batch is not made of whole samples.
    fn mean(&self, rows: &[f64], level: &NoiseLevel) -> Option<Array2<f64>> {
        let (dim, signal, spread) = (self.samples.ncols(), level.signal(), self.spread(level));
        let x = ArrayView2::from_shape((rows.len() / dim, dim), rows).ok()?;
        // With u = x − s·c, −‖x − s·y‖²/2 = s·⟨u, y⟩ − s²·‖y − c‖²/2 plus a term that is equal for all y.
        let logits = (&x - &(&self.centre * signal)).dot(&self.samples.t());
        // In one dimension both factors count as column-major, so their product is column-major.
        let mut logits = if logits.is_standard_layout() { logits } else { logits.as_standard_layout().into_owned() };
        for mut row in logits.rows_mut() {
            for (logit, squared_norm) in row.iter_mut().zip(&self.squared_norms) {
                // If the spread is 0, the nearest sample has all the weight.
                *logit = (signal * *logit - 0.5 * level.signal_squared() * squared_norm) / spread.max(LEAST_SPREAD);
            }
            if let Some(row) = row.as_slice_mut() {
                softmax(row);
            }
        }
        Some(logits.dot(&self.samples))
    }
}

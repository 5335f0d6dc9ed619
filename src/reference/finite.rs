//! Data that is a finite set: the optimal denoiser of a training set.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::reference::{DataDistribution, Exact, check_finite, softmax};

/// x₀ drawn evenly from a finite set of samples y_1, …, y_N, each optionally blurred by N(0, h²·I).
///
/// The denoiser that fits a training set perfectly is a softmax over its samples,
///
/// $$ \mathrm E[x_0 \mid x] = \sum_i w_i\thinspace\mathrm E_i[x_0 \mid x],
///    \qquad w = \operatorname{softmax}_i\Bigl(-\frac{\lVert x-\sqrt{\bar\alpha}\thinspace y_i\rVert^2}{2(\bar\alpha h^2+1-\bar\alpha)}\Bigr) $$
///
/// with E_i = y_i for h = 0. It generates its training set and nothing else; a bandwidth h > 0 gives the data a density, and the
/// ODE between data and noise a solution that runs through every image and not only through those of the set.
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
    /// c, the mean of the samples, from which distances are measured: data far from the origin would lose them in rounding.
    centre: Array1<f64>,
    /// ‖y_i − c‖².
    squared_norms: Array1<f64>,
    bandwidth: f64,
}

impl FiniteData {
    /// A set of samples of `dim` elements each, one after the other.
    ///
    /// # Errors
    /// [`Error::Count`] without samples or dimensions, [`Error::Length`] where the elements do not make whole samples,
    /// [`Error::Parameter`] for an element that is not finite.
    ///
    /// ```
    /// # use alphabar::reference::FiniteData;
    /// assert!(FiniteData::new(3, [0.0, 1.0]).is_err());
    /// ```
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

    /// The same samples, each blurred by N(0, h²·I).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless h is finite and not negative.
    ///
    /// ```
    /// # use alphabar::reference::FiniteData;
    /// let data = FiniteData::new(1, [0.0, 1.0])?.with_bandwidth(0.1)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn with_bandwidth(self, h: f64) -> Result<Self, Error> {
        Ok(Self { bandwidth: require(h >= 0.0 && h.is_finite(), "the bandwidth", h, "finite and ≥ 0")?, ..self })
    }

    /// How many samples there are.
    ///
    /// ```
    /// # use alphabar::reference::FiniteData;
    /// assert_eq!(FiniteData::new(1, [0.0, 1.0])?.len(), 2);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.samples.nrows()
    }

    /// The perfect ε-network of this data.
    ///
    /// ```
    /// # use alphabar::reference::FiniteData;
    /// let model = FiniteData::new(1, [0.0, 1.0])?.predictor();
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn predictor(self) -> Exact<Self> {
        Exact::new(self, Prediction::Epsilon)
    }

    /// For each x of a batch, the root-mean-square distance per dimension to the nearest sample.
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
        let dim = self.samples.ncols();
        let signal = level.signal();
        let blur = self.bandwidth * self.bandwidth;
        let spread = level.signal_squared() * blur + level.noise_squared();
        let Ok(x) = ArrayView2::from_shape((rows.len() / dim, dim), &*rows) else { return };
        // With u = x − s·c, −‖x − s·y‖²/2 = s·⟨u, y⟩ − s²·‖y − c‖²/2 plus what is the same for all y.
        let logits = (&x - &(&self.centre * signal)).dot(&self.samples.t());
        // In one dimension both factors pass for column-major, and then so is their product.
        let mut logits = if logits.is_standard_layout() { logits } else { logits.as_standard_layout().into_owned() };
        for mut row in logits.rows_mut() {
            for (logit, squared_norm) in row.iter_mut().zip(&self.squared_norms) {
                // Without any spread the nearest sample takes it all.
                *logit = (signal * *logit - 0.5 * level.signal_squared() * squared_norm) / spread.max(1e-200);
            }
            if let Some(row) = row.as_slice_mut() {
                softmax(row);
            }
        }
        let mean = logits.dot(&self.samples);
        // Within the component of y the posterior mean leans from y towards x, as for any Gaussian.
        let lean = if spread == 0.0 { 0.0 } else { signal * blur / spread };
        for (x, y) in rows.iter_mut().zip(&mean) {
            *x = y + lean * (*x - signal * y);
        }
    }
}

//! Data from a diagonal Gaussian, or a single point.

use crate::error::Error;
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::reference::{DataDistribution, Exact, check_dim, check_finite, check_variances, towards};

/// x₀ ~ N(μ, diag(v)); with v = 0, a point.
///
/// ```text
/// x ~ N(√ᾱ·μ, ᾱ·v + 1−ᾱ),    E[x₀ | x] = μ + √ᾱ·v/(ᾱ·v + 1−ᾱ)·(x − √ᾱ·μ)
/// ```
///
/// ```
/// use alphabar::reference::Gaussian;
///
/// let data = Gaussian::new([0.5, -0.5], [0.25, 1.0])?;
/// let point = Gaussian::point([0.5, -0.5])?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Gaussian {
    /// A Gaussian of independent dimensions.
    ///
    /// # Errors
    /// [`Error::Count`] without dimensions, [`Error::Length`] for lists of different lengths, [`Error::Parameter`] for a mean
    /// outside ±1e100 or a variance outside [0, 1e200].
    pub fn new(mean: impl Into<Vec<f64>>, variance: impl Into<Vec<f64>>) -> Result<Self, Error> {
        let (mean, variance) = (mean.into(), variance.into());
        check_dim("variances", mean.len(), variance.len())?;
        check_finite("a mean", &mean)?;
        check_variances(&variance)?;
        Ok(Self { mean, variance })
    }

    /// A single point: a Gaussian of variance 0.
    ///
    /// # Errors
    /// As [`Gaussian::new`].
    pub fn point(point: impl Into<Vec<f64>>) -> Result<Self, Error> {
        let mean = point.into();
        let variance = vec![0.0; mean.len()];
        Self::new(mean, variance)
    }

    /// The exact ε-predictor of this data.
    #[must_use]
    pub fn predictor(self) -> Exact<Self> {
        Exact::new(self, Prediction::Epsilon)
    }

    /// Moves each x of a batch from one level to another along the exact probability-flow ODE.
    ///
    /// ```text
    /// x′ = √ᾱ′·μ + √((ᾱ′·v + 1−ᾱ′)/(ᾱ·v + 1−ᾱ))·(x − √ᾱ·μ)
    /// ```
    ///
    /// DDIM with η = 0 converges to it as the number of steps grows (Song et al. 2021, Eq. 14).
    ///
    /// ```
    /// # use alphabar::{NoiseLevel, reference::Gaussian};
    /// let data = Gaussian::new([0.0], [0.25])?;
    /// let mut x = vec![1.0];
    /// data.flow(&mut x, &NoiseLevel::PURE_NOISE, &NoiseLevel::CLEAN);
    /// assert_eq!(x, [0.5]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn flow(&self, rows: &mut [f64], from: &NoiseLevel, to: &NoiseLevel) {
        let spread = |level: &NoiseLevel, variance: f64| level.signal_squared() * variance + level.noise_squared();
        self.each(rows, |x, mean, variance| {
            let centre = to.signal() * mean;
            let (spread_from, spread_to) = (spread(from, variance), spread(to, variance));
            // A single point at a clean level has no spread, and x is that point.
            if spread_from == 0.0 {
                centre
            } else {
                let ratio = spread_to / spread_from;
                let scale = if ratio.is_finite() { ratio.sqrt() } else { spread_to.sqrt() / spread_from.sqrt() };
                centre + scale * (x - from.signal() * mean)
            }
        });
    }

    /// μ and v.
    pub(super) fn moments(&self) -> (&[f64], &[f64]) {
        (&self.mean, &self.variance)
    }

    fn each(&self, rows: &mut [f64], value: impl Fn(f64, f64, f64) -> f64) {
        for row in rows.chunks_mut(self.mean.len()) {
            for ((x, mean), variance) in row.iter_mut().zip(&self.mean).zip(&self.variance) {
                *x = value(*x, *mean, *variance);
            }
        }
    }
}

impl DataDistribution for Gaussian {
    fn dim(&self) -> usize {
        self.mean.len()
    }

    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel) {
        let (signal, noise_variance) = (level.signal(), level.noise_squared());
        self.each(rows, |x, mean, variance| {
            let spread = level.signal_squared() * variance + noise_variance;
            if spread == 0.0 { mean } else { mean + signal * variance / spread * (x - signal * mean) }
        });
    }

    /// ε = √(1−ᾱ)·(x − √ᾱ·μ)/(ᾱ·v + 1−ᾱ), computed directly and not from x̂₀.
    fn epsilon(&self, rows: &mut [f64], level: &NoiseLevel) {
        let (signal, noise, noise_variance) = (level.signal(), level.noise(), level.noise_squared());
        self.each(rows, |x, mean, variance| {
            let spread = level.signal_squared() * variance + noise_variance;
            if noise == 0.0 { 0.0 } else { noise * (x - signal * mean) / spread }
        });
    }

    /// −(x − √ᾱ·μ)/(ᾱ·v + 1−ᾱ), finite at every level if v > 0.
    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        let (signal, noise_variance) = (level.signal(), level.noise_squared());
        self.each(rows, |x, mean, variance| {
            let spread = level.signal_squared() * variance + noise_variance;
            if spread == 0.0 { towards(x, mean) } else { -(x - signal * mean) / spread }
        });
    }
}

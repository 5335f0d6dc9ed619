//! Data from a mixture of diagonal Gaussians.

use core::f64::consts::PI;

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::reference::{DataDistribution, Exact, Gaussian, LEAST_SPREAD, check_dim, score_of_epsilon, softmax};
use crate::schedule::MAX_TRAIN_STEPS;

/// x₀ drawn from one of several [`Gaussian`]s with given probabilities; with variances 0, from several points.
///
/// ```text
/// E[x₀ | x] = Σ_k r_k(x)·E_k[x₀ | x],    r_k(x) ∝ w_k·N(x; √ᾱ·μ_k, ᾱ·v_k + 1−ᾱ)
/// ```
///
/// ```
/// use alphabar::reference::{Gaussian, GaussianMixture};
///
/// let left = Gaussian::new([-1.0], [0.01])?;
/// let right = Gaussian::new([1.0], [0.01])?;
/// let data = GaussianMixture::new([(0.3, left), (0.7, right)])?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianMixture {
    components: Vec<Component>,
    dim: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Component {
    log_weight: f64,
    gaussian: Gaussian,
}

impl GaussianMixture {
    /// A mixture of weighted components. Weights need not sum to 1.
    ///
    /// # Errors
    /// [`Error::Count`] unless there are 1 to [`MAX_TRAIN_STEPS`] components, [`Error::Parameter`] for a weight that is not
    /// positive and finite, [`Error::Length`] for components of different dimension.
    pub fn new(components: impl IntoIterator<Item = (f64, Gaussian)>) -> Result<Self, Error> {
        let mut checked: Vec<Component> = Vec::new();
        let mut dim = 0;
        for (weight, gaussian) in components.into_iter().take(MAX_TRAIN_STEPS + 1) {
            require(weight > 0.0 && weight.is_finite(), "a weight", weight, "positive and finite")?;
            if checked.is_empty() {
                dim = gaussian.dim();
            }
            check_dim("dimensions of a component", dim, gaussian.dim())?;
            checked.push(Component { log_weight: libm::log(weight), gaussian });
        }
        require_count("components", checked.len(), 1, MAX_TRAIN_STEPS)?;
        Ok(Self { components: checked, dim })
    }

    /// The exact ε-predictor of this data.
    #[must_use]
    pub fn predictor(self) -> Exact<Self> {
        Exact::new(self, Prediction::Epsilon)
    }
}

impl GaussianMixture {
    /// Replaces each x by the mean of its values in the components, weighted by their responsibilities.
    fn average(&self, rows: &mut [f64], level: &NoiseLevel, in_component: impl Fn(&Gaussian, &mut [f64])) {
        let mut mean = vec![0.0; self.dim];
        let mut value = vec![0.0; self.dim];
        for x in rows.chunks_exact_mut(self.dim) {
            let mut responsibilities: Vec<f64> = self
                .components
                .iter()
                .map(|component| component.log_weight + component.gaussian.log_density(x, level))
                .collect();
            softmax(&mut responsibilities);
            mean.fill(0.0);
            for (responsibility, component) in responsibilities.iter().zip(&self.components) {
                // The value of a component with responsibility 0 may be infinite.
                if *responsibility == 0.0 {
                    continue;
                }
                value.copy_from_slice(x);
                in_component(&component.gaussian, &mut value);
                mean.iter_mut().zip(&value).for_each(|(mean, value)| *mean += responsibility * value);
            }
            x.copy_from_slice(&mean);
        }
    }
}

impl DataDistribution for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim
    }

    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel) {
        self.average(rows, level, |gaussian, x| gaussian.denoise(x, level));
    }

    fn score(&self, rows: &mut [f64], level: &NoiseLevel) {
        if level.is_clean() {
            // Σ r_k(x)·score_k(x)
            self.average(rows, level, |gaussian, x| gaussian.score(x, level));
        } else {
            score_of_epsilon(self, rows, level);
        }
    }
}

impl Gaussian {
    /// ln N(x; √ᾱ·μ, ᾱ·v + 1−ᾱ). A spread of 0, possible at a clean level, is replaced by [`LEAST_SPREAD`], so that the nearest of
    /// several points wins.
    fn log_density(&self, x: &[f64], level: &NoiseLevel) -> f64 {
        let signal = level.signal();
        let (mean, variance) = self.moments();
        let terms = x.iter().zip(mean).zip(variance).map(|((x, mean), variance)| {
            let spread = (level.signal_squared() * variance + level.noise_squared()).max(LEAST_SPREAD);
            let distance = x - signal * mean;
            -0.5 * (distance * distance / spread + libm::log(2.0 * PI * spread))
        });
        terms.sum()
    }
}

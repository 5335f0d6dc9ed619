//! Data that is a mixture of diagonal Gaussians.

use core::f64::consts::PI;

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::reference::{DataDistribution, Exact, Gaussian, check_dim, softmax};

/// x₀ drawn from one of several [`Gaussian`]s with given probabilities; of variance 0, from several points.
///
/// Component k has responsibility r_k(x) ∝ w_k·N(x; √ᾱ·μ_k, ᾱ·v_k + 1−ᾱ), and E\[x₀ | x\] = Σ r_k(x)·E_k\[x₀ | x\].
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
    /// [`Error::Count`] without components, [`Error::Parameter`] for a weight that is not positive and finite,
    /// [`Error::Length`] for components of different dimension.
    ///
    /// ```
    /// # use alphabar::reference::GaussianMixture;
    /// assert!(GaussianMixture::new([]).is_err());
    /// ```
    pub fn new(components: impl IntoIterator<Item = (f64, Gaussian)>) -> Result<Self, Error> {
        let mut checked: Vec<Component> = Vec::new();
        let mut dim = 0;
        for (weight, gaussian) in components {
            require(weight > 0.0 && weight.is_finite(), "a weight", weight, "positive and finite")?;
            if checked.is_empty() {
                dim = gaussian.dim();
            }
            check_dim("dimensions of a component", dim, gaussian.dim())?;
            checked.push(Component { log_weight: libm::log(weight), gaussian });
        }
        require_count("components", checked.len(), 1, usize::MAX)?;
        Ok(Self { components: checked, dim })
    }

    /// The perfect ε-network of this data.
    ///
    /// ```
    /// # use alphabar::reference::{Gaussian, GaussianMixture};
    /// let model = GaussianMixture::new([(1.0, Gaussian::new([0.0], [1.0])?)])?.predictor();
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn predictor(self) -> Exact<Self> {
        Exact::new(self, Prediction::Epsilon)
    }
}

impl DataDistribution for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim
    }

    fn denoise(&self, rows: &mut [f64], level: &NoiseLevel) {
        let mut mean = vec![0.0; self.dim];
        let mut component_mean = vec![0.0; self.dim];
        for x in rows.chunks_exact_mut(self.dim) {
            let mut responsibilities: Vec<f64> = self
                .components
                .iter()
                .map(|component| component.log_weight + component.gaussian.log_density(x, level))
                .collect();
            softmax(&mut responsibilities);
            mean.fill(0.0);
            for (responsibility, component) in responsibilities.iter().zip(&self.components) {
                component_mean.copy_from_slice(x);
                component.gaussian.denoise(&mut component_mean, level);
                mean.iter_mut().zip(&component_mean).for_each(|(mean, value)| *mean += responsibility * value);
            }
            x.copy_from_slice(&mean);
        }
    }
}

impl Gaussian {
    /// ln N(x; √ᾱ·μ, ᾱ·v + 1−ᾱ). A dimension without any spread, at a clean level, counts by its distance as if it had the least
    /// spread there is, so that of several points the nearest wins.
    fn log_density(&self, x: &[f64], level: &NoiseLevel) -> f64 {
        let signal = level.signal();
        let (mean, variance) = self.moments();
        let terms = x.iter().zip(mean).zip(variance).map(|((x, mean), variance)| {
            let spread = (level.signal_squared() * variance + level.noise_squared()).max(1e-200);
            let distance = x - signal * mean;
            -0.5 * (distance * distance / spread + libm::log(2.0 * PI * spread))
        });
        terms.sum()
    }
}

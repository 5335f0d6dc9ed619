//! The training side of flow matching: distributions of σ, and loss weights (Esser et al. 2024, section 3.1).

use core::f64::consts::{FRAC_PI_2, PI, TAU};

use rand_core::Rng;

use crate::error::{Error, require};
use crate::objective::sampler::{check_batch, unit};

/// A distribution of the flow's σ for training. [`Flow::shift_sigma`](crate::Flow::shift_sigma) applies a model's shift to a drawn σ.
///
/// ```
/// use alphabar::objective::FlowSigma;
/// use rand::{SeedableRng, rngs::StdRng};
///
/// let sigmas = FlowSigma::logit_normal(0.0, 1.0)?
///     .sample(64, &mut StdRng::seed_from_u64(1))?;
/// assert!(sigmas.iter().all(|sigma| *sigma > 0.0 && *sigma < 1.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("compute_density_for_timestep_sampling", "weighting_scheme"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowSigma {
    law: Law,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    Uniform,
    LogitNormal { mean: f64, std: f64 },
    Mode { scale: f64 },
}

/// The largest scale for which σ still falls with u: 2/(π − 2).
const LARGEST_MODE_SCALE: f64 = 2.0 / (PI - 2.0);

impl FlowSigma {
    /// Uniform in (0, 1), as for rectified flows (Liu et al. 2023).
    #[must_use]
    pub fn uniform() -> Self {
        Self { law: Law::Uniform }
    }

    /// Logit-normal, σ = 1/(1 + e^−u) with u ~ N(`mean`, `std`²) (Esser et al. 2024, Eq. 19); (0, 1) for SD3.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless |mean| ≤ 10 and 0 < std ≤ 10.
    pub fn logit_normal(mean: f64, std: f64) -> Result<Self, Error> {
        require(mean.abs() <= 10.0, "the mean", mean, "inside [−10, 10]")?;
        require(std > 0.0 && std <= 10.0, "the standard deviation", std, "inside (0, 10]")?;
        Ok(Self { law: Law::LogitNormal { mean, std } })
    }

    /// Mode sampling with heavy tails, σ = 1 − u − c·(cos²(π·u/2) − 1 + u) for a uniform u (Esser et al. 2024, Eq. 20); c = 1.29 there.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless −1 ≤ c ≤ 2/(π − 2), for which σ falls with u.
    pub fn mode(scale: f64) -> Result<Self, Error> {
        require((-1.0..=LARGEST_MODE_SCALE).contains(&scale), "c", scale, "inside [−1, 2/(π − 2)]")?;
        Ok(Self { law: Law::Mode { scale } })
    }

    /// Draws one σ for each sample of a batch, each inside (0, 1).
    ///
    /// # Errors
    /// [`Error::Count`] if the batch is larger than [`MAX_TRAIN_STEPS`](crate::MAX_TRAIN_STEPS).
    pub fn sample<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> Result<Vec<f64>, Error> {
        check_batch(batch)?;
        Ok((0..batch).map(|_| self.one(rng)).collect())
    }

    fn one<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        // Inside (0, 1): the middles of 2⁵³ cells.
        let u = unit(rng) + f64::EPSILON / 4.0;
        let sigma = match self.law {
            Law::Uniform => u,
            Law::LogitNormal { mean, std } => {
                // Box and Muller's transform.
                let normal = (-2.0 * libm::log(u)).sqrt() * libm::cos(TAU * unit(rng));
                1.0 / (1.0 + libm::exp(-(mean + std * normal)))
            }
            Law::Mode { scale } => {
                let cosine = libm::cos(FRAC_PI_2 * u);
                1.0 - u - scale * (cosine * cosine - 1.0 + u)
            }
        };
        sigma.clamp(f64::EPSILON / 4.0, 1.0 - f64::EPSILON / 2.0)
    }
}

/// The weight σ^−2 of the loss |u − û|² (SD3's "sigma_sqrt").
///
/// # Errors
/// [`Error::Parameter`] unless 1e-45 ≤ σ ≤ 1.
#[doc(alias = "compute_loss_weighting_for_sd3")]
pub fn sigma_sqrt_weight(sigma: f64) -> Result<f64, Error> {
    require((1e-45..=1.0).contains(&sigma), "σ", sigma, "inside [1e-45, 1]")?;
    Ok(1.0 / (sigma * sigma))
}

/// The weight 2/(π·(1 − 2σ + 2σ²)) of the loss |u − û|², the density of [cosmap](https://arxiv.org/abs/2403.03206)'s σ
/// (Esser et al. 2024, Eq. 21 and 22).
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ σ ≤ 1.
#[doc(alias = "compute_loss_weighting_for_sd3")]
pub fn cosmap_weight(sigma: f64) -> Result<f64, Error> {
    require((0.0..=1.0).contains(&sigma), "σ", sigma, "inside [0, 1]")?;
    Ok(2.0 / (PI * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma)))
}

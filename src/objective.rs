//! The training side: loss weights, the terms of the variational bound, and samplers of t.

mod flow;
mod sampler;

pub use flow::{FlowSigma, cosmap_weight, sigma_sqrt_weight};
pub use sampler::{Antithetic, LossAware, Uniform, Weighted};

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::posterior;
use crate::prediction::Prediction;
use crate::tensor::RowReduce;

/// L_simple for each sample of a batch: the mean square of target − prediction over its elements (Ho et al. 2020, Eq. 14).
///
/// # Errors
/// Those of [`RowReduce`].
///
/// ```
/// use alphabar::objective;
/// use ndarray::array;
///
/// let (eps, predicted) = (array![[1.0_f32, 2.0], [0.0, 0.0]], array![[1.0_f32, 0.0], [1.0, 1.0]]);
/// assert_eq!(objective::simple_loss(&eps, &predicted)?, [2.0, 1.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn simple_loss<T: RowReduce>(target: &T, prediction: &T) -> Result<Vec<f64>, Error> {
    let difference = T::linear_combination(&[(1.0.into(), target), ((-1.0).into(), prediction)])?;
    let len = difference.row_len() as f64;
    Ok(difference.row_dot(&difference)?.into_iter().map(|square| square / len).collect())
}

/// The weight γ that the variational objective of DDIM gives to ‖ε − ε_θ‖² in the step from t to s
/// (Song et al. 2021, Theorem 1): KL(q_σ(x_s | x_t, x₀) ‖ p_θ(x_s | x_t)) = γ·‖ε − ε_θ‖².
///
/// $$ \gamma = \frac{\kappa^2}{2\sigma^2}\cdot\frac{1-\bar\alpha_t}{\bar\alpha_t}, \qquad
///    \kappa = \sqrt{\bar\alpha_s} - \sqrt{1-\bar\alpha_s-\sigma^2}\thinspace\frac{\sqrt{\bar\alpha_t}}{\sqrt{1-\bar\alpha_t}} $$
///
/// κ is the weight of x₀ in the mean of q_σ. The step to clean data is the Gaussian decoder N(x̂₀, σ²·I), for which κ = 1. With
/// σ of η = 1 this is β²/(2σ²·α·(1−ᾱ_t)), the weight of DDPM with the posterior variance (Ho et al. 2020, Eq. 12). σ stands
/// in q_σ as well as in p_θ; for DDPM with the variance β, where the two differ, take [`gaussian_kl`] of the means. The
/// paper's appendix B prints
/// 1/(2dσ²·ᾱ_t), d the number of dimensions, which leaves out κ²·(1−ᾱ_t); the theorem, that for each σ some γ > 0 and a
/// constant make up the objective, stands.
///
/// # Errors
/// [`Error::Parameter`] unless 0 < σ² ≤ 1−ᾱ_s (for the step to clean data, σ > 0), [`Error::LevelOrder`] unless t holds more
/// noise than s, and signal.
///
/// ```
/// use alphabar::{NoiseSchedule, objective, posterior};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let (t, s) = (schedule.level(500)?, schedule.level(499)?);
/// let gamma = objective::gamma(&t, &s, posterior::sigma(&t, &s, 1.0)?)?;
/// assert!(gamma > 0.0);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn gamma(t: &NoiseLevel, s: &NoiseLevel, sigma: f64) -> Result<f64, Error> {
    require(sigma > 0.0 && sigma.is_finite(), "σ", sigma, "positive and finite")?;
    if t.is_pure_noise() || !(t.one_minus_alpha_bar() > s.one_minus_alpha_bar()) {
        let (noisier, cleaner) = (t.alpha_bar(), s.alpha_bar());
        return Err(Error::LevelOrder { what: "the weight of a step that removes noise", noisier, cleaner });
    }
    let kappa = if s.is_clean() { 1.0 } else { posterior::inference(t, s, sigma)?.x0 };
    Ok(kappa * kappa / (2.0 * sigma * sigma) / t.snr())
}

/// KL(N(mean, variance) ‖ N(other mean, other variance)) of one dimension, in nats; the terms L_{t−1} and L_T of the
/// variational bound are sums of it (Ho et al. 2020, Eq. 5).
///
/// $$ \tfrac12\Bigl(\ln\frac{v_2}{v_1} + \frac{v_1 + (\mu_1-\mu_2)^2}{v_2} - 1\Bigr) $$
///
/// # Errors
/// [`Error::Parameter`] unless the variances are positive and finite and the means finite.
///
/// ```
/// use alphabar::objective;
///
/// assert_eq!(objective::gaussian_kl((1.0, 2.0), (1.0, 2.0))?, 0.0);
/// assert_eq!(objective::gaussian_kl((1.0, 1.0), (0.0, 1.0))?, 0.5);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn gaussian_kl((mean, variance): (f64, f64), (other_mean, other_variance): (f64, f64)) -> Result<f64, Error> {
    for mean in [mean, other_mean] {
        require(mean.is_finite(), "a mean", mean, "finite")?;
    }
    for variance in [variance, other_variance] {
        require(variance > 0.0 && variance.is_finite(), "a variance", variance, "positive and finite")?;
    }
    let ratio = variance / other_variance;
    let shift = mean - other_mean;
    // r − 1 − ln r, from the difference of the variances where they are close, so that nothing cancels but what must.
    let excess = (variance - other_variance) / other_variance;
    let logarithm = if excess.abs() < 0.5 { libm::log1p(excess) } else { libm::log(ratio) };
    let spread = if excess.abs() < 1e-3 {
        // The series of e − ln(1 + e).
        excess * excess * (0.5 - excess * (1.0 / 3.0 - excess * (0.25 - excess * (0.2 - excess / 6.0))))
    } else {
        excess - logarithm
    };
    Ok(0.5 * (spread + shift * shift / other_variance))
}

/// L_T for one dimension: KL(q(x_T | x₀) ‖ N(0, 1)), what is lost by starting from pure noise (Ho et al. 2020, Eq. 5).
///
/// # Errors
/// [`Error::Parameter`] unless x₀ is finite and the level holds noise.
///
/// ```
/// use alphabar::{NoiseSchedule, objective};
///
/// let terminal = NoiseSchedule::ddpm()?.level(999)?;
/// assert!(objective::prior_kl(&terminal, 1.0)? < 1e-4);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn prior_kl(terminal: &NoiseLevel, x0: f64) -> Result<f64, Error> {
    gaussian_kl((terminal.alpha_bar().sqrt() * x0, terminal.one_minus_alpha_bar()), (0.0, 1.0))
}

/// Half the width of a bin of 8-bit data scaled to [−1, 1].
const HALF_BIN: f64 = 1.0 / 255.0;

/// ln p(x₀ | x_1) of the discretised decoder for one dimension of 8-bit data scaled to \[−1, 1\] (Ho et al. 2020, Eq. 13):
/// the mass that N(mean, std²) puts on the bin x₀ ± 1/255, which is open outwards for x₀ = ±1. L_0 is its negative.
///
/// Finite for means any number of standard deviations away.
///
/// # Errors
/// [`Error::Parameter`] unless x₀ is in \[−1, 1\], the mean finite and the standard deviation positive and finite.
///
/// ```
/// use alphabar::objective;
///
/// // All the mass lies in the bin.
/// assert!(objective::decoder_log_likelihood(0.0, 0.0, 1e-5)?.abs() < 1e-12);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn decoder_log_likelihood(x0: f64, mean: f64, std: f64) -> Result<f64, Error> {
    require(x0.abs() <= 1.0, "x₀", x0, "inside [−1, 1]")?;
    require(mean.is_finite(), "the mean", mean, "finite")?;
    require(std > 0.0 && std.is_finite(), "the standard deviation", std, "positive and finite")?;
    let centred = x0 - mean;
    let upper = if x0 >= 1.0 { f64::INFINITY } else { (centred + HALF_BIN) / std };
    let lower = if x0 <= -1.0 { f64::NEG_INFINITY } else { (centred - HALF_BIN) / std };
    // By symmetry, the interval that lies more to the left, where the tail is small and its logarithm exact.
    let (lower, upper) = if lower + upper > 0.0 { (-upper, -lower) } else { (lower, upper) };
    Ok(if upper > 0.0 {
        // The bin holds the mean: one minus the two tails.
        libm::log1p(-(normal_tail(-lower) + normal_tail(upper)))
    } else {
        let (log_upper, log_lower) = (log_normal_tail(-upper), log_normal_tail(-lower));
        log_upper + libm::log1p(-libm::exp(log_lower - log_upper))
    })
}

/// P(z > x) of a standard normal z.
fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * FRAC_1_SQRT_2)
}

/// ln P(z > x) for x ≥ 0, beyond where the probability itself underflows.
fn log_normal_tail(x: f64) -> f64 {
    if x < 30.0 {
        libm::log(normal_tail(x))
    } else if x == f64::INFINITY {
        f64::NEG_INFINITY
    } else {
        // The asymptotic series of Mills' ratio; its fifth term is below 1e-12 here, and the whole is above 450.
        let y = 1.0 / (x * x);
        let series = -y * (1.0 - y * (3.0 - y * (15.0 - y * 105.0)));
        -0.5 * x * x - libm::log(x) - 0.5 * libm::log(2.0 * PI) + libm::log1p(series)
    }
}

/// What multiplies the mean squared error of a prediction so that it counts as the error of ε does: 1 for ε, SNR for x₀,
/// SNR/(SNR+1) for v, 1−ᾱ for the score.
///
/// ‖ε − ε_θ‖² is this times ‖m − m_θ‖², m being the prediction.
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, objective};
///
/// let level = NoiseLevel::from_alpha_bar(0.8)?; // SNR 4
/// assert!((objective::epsilon_equivalent(Prediction::Sample, &level) - 4.0).abs() < 1e-14);
/// assert!((objective::epsilon_equivalent(Prediction::Velocity, &level) - 0.8).abs() < 1e-14);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[must_use]
pub fn epsilon_equivalent(prediction: Prediction, level: &NoiseLevel) -> f64 {
    match prediction {
        Prediction::Epsilon => 1.0,
        Prediction::Sample => level.snr(),
        Prediction::Velocity => level.alpha_bar(), // SNR/(SNR + 1)
        Prediction::Score => level.noise_squared(),
        // ε = (…)·x + k·m, so the square of ε's error is k² that of m's.
        other => other.convert(Prediction::Epsilon, level).map_or(f64::INFINITY, |(_, k)| k.squared().to_f64()),
    }
}

/// The min-SNR-γ weight of the mean squared error of a prediction (Hang et al. 2023, section 3.4): min(SNR, γ) for x₀,
/// min(SNR, γ)/SNR for ε, min(SNR, γ)/(SNR+1) for v. They recommend γ = 5.
///
/// # Errors
/// [`Error::Parameter`] unless γ is positive and finite.
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, objective};
///
/// let level = NoiseLevel::from_alpha_bar(0.9)?; // SNR 9
/// assert!((objective::min_snr_weight(Prediction::Epsilon, &level, 5.0)? - 5.0 / 9.0).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn min_snr_weight(prediction: Prediction, level: &NoiseLevel, gamma: f64) -> Result<f64, Error> {
    require(gamma > 0.0 && gamma.is_finite(), "γ", gamma, "positive and finite")?;
    let snr = level.snr();
    let share = if snr <= gamma { 1.0 } else { gamma / snr }; // min(SNR, γ)/SNR
    Ok(match prediction {
        Prediction::Sample => snr.min(gamma),
        other => share * epsilon_equivalent(other, level),
    })
}

/// The P2 weight of the mean squared error of a prediction, relative to L_simple (Choi et al. 2022, Eq. 8):
/// 1/(k + SNR)^γ for ε, and [`epsilon_equivalent`] to it for the others. They use k = 1 and γ = 1 or 0.5.
///
/// # Errors
/// [`Error::Parameter`] unless k is positive and γ not negative, both finite.
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, objective};
///
/// let level = NoiseLevel::from_alpha_bar(0.5)?;
/// assert_eq!(objective::p2_weight(Prediction::Epsilon, &level, 1.0, 1.0)?, 0.5);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn p2_weight(prediction: Prediction, level: &NoiseLevel, k: f64, gamma: f64) -> Result<f64, Error> {
    require(k > 0.0 && k.is_finite(), "k", k, "positive and finite")?;
    require(gamma >= 0.0 && gamma.is_finite(), "γ", gamma, "finite and ≥ 0")?;
    let snr = level.snr();
    if snr == f64::INFINITY && prediction == Prediction::Sample {
        // SNR/(k + SNR)^γ as SNR → ∞.
        return Ok(if gamma < 1.0 {
            f64::INFINITY
        } else if gamma == 1.0 {
            1.0
        } else {
            0.0
        });
    }
    Ok(libm::pow(k + snr, -gamma) * epsilon_equivalent(prediction, level))
}

/// `Ok` for a number of training steps.
fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, crate::schedule::MAX_TRAIN_STEPS)
}

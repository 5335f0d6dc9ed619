//! Training: loss weights, the terms of the variational bound, and distributions of t.
//!
//! Finite numbers give a finite result or the infinity that a function's documentation names.

mod flow;
mod sampler;

pub use flow::{FlowSigma, cosmap_weight, sigma_sqrt_weight};
pub use sampler::{Antithetic, LossAware, Uniform, Weighted};

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::dd::Dd;
use crate::error::{BETWEEN_EQUAL_LEVELS, Error, FOR_CLEAN_DATA, FOR_PURE_NOISE, require, require_count};
use crate::level::NoiseLevel;
use crate::posterior;
use crate::prediction::Prediction;
use crate::tensor::RowReduce;

/// L_simple for each sample of a batch: the mean square of target − prediction over its elements (Ho et al. 2020, Eq. 14).
///
/// It is infinite if a square, or the sum of the squares, exceeds the largest `f64`.
///
/// # Errors
/// The errors of [`RowReduce`].
///
/// ```
/// use alphabar::objective;
/// use ndarray::array;
///
/// let (eps, predicted) =
///     (array![[1.0_f32, 2.0], [0.0, 0.0]], array![[1.0_f32, 0.0], [1.0, 1.0]]);
/// assert_eq!(objective::simple_loss(&eps, &predicted)?, [2.0, 1.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "MSE")]
pub fn simple_loss<T: RowReduce>(target: &T, prediction: &T) -> Result<Vec<f64>, Error> {
    let difference = T::linear_combination(&[(1.0.into(), target), ((-1.0).into(), prediction)])?;
    let len = difference.row_len() as f64;
    Ok(difference.row_dot(&difference)?.into_iter().map(|square| square / len).collect())
}

/// The weight γ of ‖ε − ε_θ‖² in the variational objective of DDIM, for the step from t to s (Song et al. 2021, Theorem 1).
///
/// ```text
/// KL(q_σ(x_s | x_t, x₀) ‖ p_θ(x_s | x_t)) = γ·‖ε − ε_θ‖²
/// γ = κ²/(2σ²)·(1−ᾱ_t)/ᾱ_t,        κ = √ᾱ_s − √(1−ᾱ_s−σ²)·√ᾱ_t/√(1−ᾱ_t)
/// ```
///
/// κ is the weight of x₀ in the mean of q_σ. For the step to clean data, the Gaussian decoder N(x̂₀, σ²·I), κ = 1. If σ is
/// [`sigma`](posterior::sigma) of η = 1, γ equals β²/(2σ²·α·(1−ᾱ_t)), the weight of DDPM with the posterior variance
/// (Ho et al. 2020, Eq. 12). q_σ and p_θ have the same σ here; for DDPM with the variance β, where they differ, use
/// [`gaussian_kl`] of the means. Appendix B of the paper prints 1/(2dσ²·ᾱ_t), with d the number of dimensions. That lacks
/// the factor κ²·(1−ᾱ_t). The theorem still holds: it needs only some γ > 0 for each σ.
///
/// # Errors
/// [`Error::Parameter`] unless 1e-100 ≤ σ ≤ √(1−ᾱ_s) (for the step to clean data, 1e-100 ≤ σ ≤ 1e100),
/// [`Error::LevelOrder`] if t is less noisy than s, [`Error::LevelUndefined`] if the levels are equal or t is pure noise.
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
    require((1e-100..=1e100).contains(&sigma), "σ", sigma, "inside [1e-100, 1e100]")?;
    let what = "the weight γ of a step";
    let gap = s.gap_to(t);
    if gap.is_zero() {
        return Err(Error::LevelUndefined { what, at: BETWEEN_EQUAL_LEVELS });
    }
    if gap < Dd::ZERO {
        return Err(Error::LevelOrder { what, noisier: t.alpha_bar(), cleaner: s.alpha_bar() });
    }
    if t.is_pure_noise() {
        return Err(Error::LevelUndefined { what, at: FOR_PURE_NOISE });
    }
    let kappa = if s.is_clean() { 1.0 } else { posterior::inference(t, s, sigma)?.x0 };
    Ok(kappa * kappa / (2.0 * sigma * sigma) / t.snr())
}

/// KL(N(mean, variance) ‖ N(other mean, other variance)) of one dimension, in nats.
///
/// ```text
/// ½·(ln(v₂/v₁) + (v₁ + (μ₁−μ₂)²)/v₂ − 1)
/// ```
///
/// The terms L_{t−1} and L_T of the variational bound are sums of it (Ho et al. 2020, Eq. 5). Infinite if v₁/v₂ or
/// (μ₁−μ₂)²/v₂ exceeds the largest `f64`.
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
#[doc(alias = "normal_kl")]
pub fn gaussian_kl((mean, variance): (f64, f64), (other_mean, other_variance): (f64, f64)) -> Result<f64, Error> {
    for mean in [mean, other_mean] {
        require(mean.is_finite(), "a mean", mean, "finite")?;
    }
    for variance in [variance, other_variance] {
        require(variance > 0.0 && variance.is_finite(), "a variance", variance, "positive and finite")?;
    }
    let ratio = variance / other_variance;
    // r − 1 − ln r, from the difference of the variances if they are close, so that no digits cancel without need.
    let excess = (variance - other_variance) / other_variance;
    let logarithm = if excess.abs() < 0.5 {
        libm::log1p(excess)
    } else if ratio.is_normal() {
        libm::log(ratio)
    } else {
        libm::log(variance) - libm::log(other_variance)
    };
    let spread = if excess.abs() < 1e-3 {
        // The series of e − ln(1 + e).
        excess * excess * (0.5 - excess * (1.0 / 3.0 - excess * (0.25 - excess * (0.2 - excess / 6.0))))
    } else {
        excess - logarithm
    };
    Ok(0.5 * (spread + squared_distance(mean, other_mean, other_variance)))
}

/// (a − b)²/v, also if a − b or its square overflows or underflows.
fn squared_distance(a: f64, b: f64, variance: f64) -> f64 {
    let shift = a - b;
    let square = shift * shift;
    if square.is_normal() || shift == 0.0 {
        return square / variance;
    }
    let std = variance.sqrt();
    let distance = if shift.is_finite() { shift / std } else { a / std - b / std };
    distance * distance
}

/// L_T for one dimension, KL(q(x_T | x₀) ‖ N(0, 1)): the cost of starting from pure noise (Ho et al. 2020, Eq. 5).
///
/// Infinite if ᾱ_T·x₀² exceeds the largest `f64`.
///
/// # Errors
/// [`Error::Parameter`] unless x₀ is finite and 1−ᾱ_T > 0.
///
/// ```
/// use alphabar::{NoiseSchedule, objective};
///
/// let terminal = NoiseSchedule::ddpm()?.level(999)?;
/// assert!(objective::prior_kl(&terminal, 1.0)? < 1e-4);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "prior_bpd")]
pub fn prior_kl(terminal: &NoiseLevel, x0: f64) -> Result<f64, Error> {
    gaussian_kl((terminal.alpha_bar().sqrt() * x0, terminal.one_minus_alpha_bar()), (0.0, 1.0))
}

/// Half the width of a bin of 8-bit data scaled to [−1, 1].
const HALF_BIN: f64 = 1.0 / 255.0;

/// ln p(x₀ | x_1) of the discretised decoder for one dimension of 8-bit data scaled to \[−1, 1\] (Ho et al. 2020, Eq. 13).
///
/// It is the logarithm of the mass that N(mean, std²) puts on the bin x₀ ± 1/255; the bins of x₀ = ±1 are open outwards. L_0 is
/// its negative. −∞ only if the mean is more than about 1e154 standard deviations away, where the logarithm itself
/// overflows.
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
#[doc(alias = "discretized_gaussian_log_likelihood")]
pub fn decoder_log_likelihood(x0: f64, mean: f64, std: f64) -> Result<f64, Error> {
    require(x0.abs() <= 1.0, "x₀", x0, "inside [−1, 1]")?;
    require(mean.is_finite(), "the mean", mean, "finite")?;
    require(std > 0.0 && std.is_finite(), "the standard deviation", std, "positive and finite")?;
    let centred = x0 - mean;
    if x0.abs() < 1.0 {
        let (middle, half) = (centred.abs() / std, HALF_BIN / std);
        if half * middle.max(1.0) <= 1e-3 {
            return Ok(log_mass_of_narrow_bin(middle, centred.abs(), std));
        }
        // So far from the mean, the difference of the two tails is smaller than their last digit.
        if centred.abs() > 4e5 {
            return Ok(log_mass_of_far_bin(middle, half));
        }
    }
    let upper = if x0 >= 1.0 { f64::INFINITY } else { (centred + HALF_BIN) / std };
    let lower = if x0 <= -1.0 { f64::NEG_INFINITY } else { (centred - HALF_BIN) / std };
    // By symmetry, take the interval that lies more to the left: there the tail is small and its logarithm exact.
    let (lower, upper) = if lower + upper > 0.0 { (-upper, -lower) } else { (lower, upper) };
    Ok(if upper > 0.0 {
        // The bin contains the mean: one minus the two tails.
        libm::log1p(-(normal_tail(-lower) + normal_tail(upper)))
    } else {
        let (log_upper, log_lower) = (log_normal_tail(-upper), log_normal_tail(-lower));
        if log_lower == f64::NEG_INFINITY {
            log_upper
        } else {
            log_upper + libm::log1p(-libm::exp(log_lower - log_upper))
        }
    })
}

/// ln of the mass of a standard normal on m ± h, h = 1/(255·std), by the Taylor series of the density about m.
fn log_mass_of_narrow_bin(middle: f64, distance: f64, std: f64) -> f64 {
    // φ(m)·2h·(1 + h²·(m² − 1)/6 + h⁴·(m⁴ − 6m² + 3)/120 + …)
    let (h, a) = (HALF_BIN / std, distance / std * (HALF_BIN / std));
    let (hh, aa) = (h * h, a * a);
    let series = (aa - hh) / 6.0 + (aa * aa - 6.0 * aa * hh + 3.0 * hh * hh) / 120.0;
    let log_width = libm::log(2.0 * HALF_BIN) - libm::log(std);
    -0.5 * middle * middle - 0.5 * libm::log(2.0 * PI) + log_width + libm::log1p(series)
}

/// ln of the mass of a standard normal on m ± h for h/m below 1e-8 and m above 1e3: the density falls as e^−mt.
fn log_mass_of_far_bin(middle: f64, half: f64) -> f64 {
    let log_density = -0.5 * middle * middle - 0.5 * libm::log(2.0 * PI);
    if log_density == f64::NEG_INFINITY {
        return log_density;
    }
    // φ(m)·2·sinh(m·h)/m
    let log_sinh = middle * half + libm::log1p(-libm::exp(-2.0 * middle * half));
    log_density + log_sinh - libm::log(middle)
}

/// P(z > x) of a standard normal z.
fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * FRAC_1_SQRT_2)
}

/// ln P(z > x) for x ≥ 0, also if the probability itself underflows.
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

/// The factor that turns the squared error of a prediction m into that of ε, ‖ε − ε_θ‖² = factor·‖m − m_θ‖².
///
/// It is 1 for ε, SNR for x₀ (infinite for clean data), SNR/(SNR+1) for v, noise² for the score and (signal/(signal + noise))² for a flow.
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, objective};
///
/// let level = NoiseLevel::from_alpha_bar(0.8)?; // SNR 4
/// assert!(
///     (objective::epsilon_equivalent(Prediction::Sample, &level) - 4.0).abs()
///         < 1e-14
/// );
/// assert!(
///     (objective::epsilon_equivalent(Prediction::Velocity, &level) - 0.8).abs()
///         < 1e-14
/// );
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

/// The min-SNR-γ weight of the mean squared error of a prediction (Hang et al. 2023, section 3.4).
///
/// It is min(SNR, γ) for x₀, min(SNR, γ)/SNR for ε and min(SNR, γ)/(SNR+1) for v. The authors recommend γ = 5.
///
/// # Errors
/// [`Error::Parameter`] unless γ is positive and finite, [`Error::LevelUndefined`] for a custom prediction of clean data.
///
/// ```
/// use alphabar::{NoiseLevel, Prediction, objective};
///
/// let level = NoiseLevel::from_alpha_bar(0.9)?; // SNR 9
/// assert!(
///     (objective::min_snr_weight(Prediction::Epsilon, &level, 5.0)? - 5.0 / 9.0)
///         .abs()
///         < 1e-15
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("snr_gamma", "Min-SNR"))]
pub fn min_snr_weight(prediction: Prediction, level: &NoiseLevel, gamma: f64) -> Result<f64, Error> {
    require(gamma > 0.0 && gamma.is_finite(), "γ", gamma, "positive and finite")?;
    let snr = level.snr();
    let share = if snr <= gamma { 1.0 } else { gamma / snr }; // min(SNR, γ)/SNR
    Ok(match prediction {
        Prediction::Sample => snr.min(gamma),
        other => share * determined(epsilon_equivalent(other, level))?,
    })
}

/// The P2 weight of the mean squared error of a prediction, relative to L_simple (Choi et al. 2022, Eq. 8).
///
/// It is 1/(k + SNR)^γ for ε, and that times [`epsilon_equivalent`] for the others. The authors use k = 1 and γ = 1 or 0.5. It is
/// infinite if it exceeds the largest `f64`, and for the x₀ of clean data with γ < 1.
///
/// # Errors
/// [`Error::Parameter`] unless k is positive and γ not negative, both finite; [`Error::LevelUndefined`] for a custom prediction of
/// clean data.
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
    let (power, factor) = (libm::pow(k + snr, -gamma), determined(epsilon_equivalent(prediction, level))?);
    Ok(if factor == 0.0 {
        0.0
    } else if power.is_normal() {
        power * factor
    } else {
        // The power alone overflows or underflows; the product may not.
        libm::exp(libm::log(factor) - gamma * libm::log(k + snr))
    })
}

/// `Ok` for a factor of [`epsilon_equivalent`], which is infinite if the prediction says nothing about ε: a custom one of clean data.
fn determined(factor: f64) -> Result<f64, Error> {
    if factor.is_finite() {
        Ok(factor)
    } else {
        Err(Error::LevelUndefined { what: "the loss weight", at: FOR_CLEAN_DATA })
    }
}

/// `Ok` for a number of training steps.
fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, crate::schedule::MAX_TRAIN_STEPS)
}

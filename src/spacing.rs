//! Spacings: lists of σ, or of t, at which a network is called.
//!
//! σ = noise/signal is the standard deviation of the noise in x/signal = x₀ + σ·ε, in every scale of x, so a spacing applies to
//! every schedule. A list runs from the noisiest level to the cleanest. The end of the path, usually clean data (σ = 0), follows the
//! list and is not in it. With S = 1 the list is the noisiest level alone.
//!
//! [`Path`](crate::Path) has constructors for the most common spacings. Call these functions to print, compare or edit a list, then
//! pass a list of σ to [`Path::from_sigmas`](crate::Path::from_sigmas), and a list of t to
//! [`Path::from_times`](crate::Path::from_times).
//!
//! ```
//! use alphabar::spacing;
//!
//! let sigmas = spacing::karras(5, 80.0, 0.002, 7.0)?;
//! assert_eq!(sigmas[0], 80.0);
//! assert!((sigmas[1] - 17.528).abs() < 1e-3);
//! # Ok::<(), alphabar::Error>(())
//! ```

use core::f64::consts::FRAC_PI_4;

use crate::error::{Error, require, require_count};
use crate::schedule::MAX_TRAIN_STEPS;

/// The ρ of Karras et al. (2022), for [`karras`].
pub const KARRAS_RHO: f64 = 7.0;

/// Karras's spacing: even steps of σ^(1/ρ) (Karras et al. 2022, Eq. 5), with ρ = 7 in their experiments ([`KARRAS_RHO`]).
///
/// ```text
/// σ_i = (σ_max^(1/ρ) + i/(S−1)·(σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ      i = 0 … S−1
/// ```
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ S ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless 0 < σ_min ≤ σ_max < ∞ and
/// 0 < ρ ≤ 100.
#[doc(alias("use_karras_sigmas", "get_sigmas_karras"))]
pub fn karras(steps: usize, sigma_max: f64, sigma_min: f64, rho: f64) -> Result<Vec<f64>, Error> {
    let [max, min] = check_range(sigma_max, sigma_min)?;
    require(rho > 0.0 && rho <= 100.0, "ρ", rho, "inside (0, 100]")?;
    // In units of σ_max, so that no power leaves the range of f64.
    let last = libm::pow(min / max, 1.0 / rho);
    between(steps, max, min, |u| max * libm::pow((1.0 - u) + u * last, rho))
}

/// Even steps of ln σ, so of the log-SNR: ln σ_i = ln σ_max + i/(S−1)·(ln σ_min − ln σ_max).
///
/// Known as "exponential", as uniform in λ (Lu et al. 2022), and as the spacing of Lu et al. with ρ = 1.
///
/// # Errors
/// As [`karras`].
#[doc(alias("use_exponential_sigmas", "use_lu_lambdas", "get_sigmas_exponential"))]
pub fn exponential(steps: usize, sigma_max: f64, sigma_min: f64) -> Result<Vec<f64>, Error> {
    polyexponential(steps, sigma_max, sigma_min, 1.0)
}

/// k-diffusion's polyexponential spacing: ln σ_i = (1 − i/(S−1))^ρ·(ln σ_max − ln σ_min) + ln σ_min. ρ = 1 is [`exponential`].
///
/// # Errors
/// As [`karras`].
#[doc(alias = "get_sigmas_polyexponential")]
pub fn polyexponential(steps: usize, sigma_max: f64, sigma_min: f64, rho: f64) -> Result<Vec<f64>, Error> {
    let [max, min] = check_range(sigma_max, sigma_min)?;
    require(rho > 0.0 && rho <= 100.0, "ρ", rho, "inside (0, 100]")?;
    let span = libm::log(max / min);
    between(steps, max, min, |u| min * libm::exp(libm::pow(1.0 - u, rho) * span))
}

/// Quantiles of the beta distribution, σ_i = σ_min + (σ_max − σ_min)·B⁻¹(1 − i/(S−1); α, β) (Lee et al. 2024, "Beta sampling is all
/// you need"); α = β = 0.6 there.
///
/// # Errors
/// As [`karras`]; α and β must lie in [0.01, 100].
#[doc(alias = "use_beta_sigmas")]
pub fn beta(steps: usize, sigma_max: f64, sigma_min: f64, alpha: f64, beta: f64) -> Result<Vec<f64>, Error> {
    let [max, min] = check_range(sigma_max, sigma_min)?;
    for (name, value) in [("α of the beta distribution", alpha), ("β of the beta distribution", beta)] {
        require((0.01..=100.0).contains(&value), name, value, "inside [0.01, 100]")?;
    }
    between(steps, max, min, |u| min + (max - min) * beta_quantile(1.0 - u, alpha, beta))
}

/// Even steps of arctan σ, optimal for the Kullback–Leibler divergence of Gaussian data (Sabour et al. 2024, "Align Your Steps",
/// Theorem 3.1).
///
/// ```text
/// σ_i = tan(i/(S−1)·arctan σ_min + (1 − i/(S−1))·arctan σ_max)
/// ```
///
/// # Errors
/// As [`karras`].
pub fn kl_optimal(steps: usize, sigma_max: f64, sigma_min: f64) -> Result<Vec<f64>, Error> {
    let [max, min] = check_range(sigma_max, sigma_min)?;
    let at = |of: fn(f64) -> f64, u: f64| u * libm::atan(of(min)) + (1.0 - u) * libm::atan(of(max));
    between(steps, max, min, |u| {
        let angle = at(|sigma| sigma, u);
        // Near π/2 the complement keeps the digits: arctan σ = π/2 − arctan 1/σ.
        if angle < FRAC_PI_4 { libm::tan(angle) } else { 1.0 / libm::tan(at(|sigma| 1.0 / sigma, u)) }
    })
}

/// How the switches of diffusers' classes space S values of σ between two ends.
#[cfg(feature = "hub")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// `use_karras_sigmas`: [`karras`] with ρ = 7.
    Karras,
    /// `use_exponential_sigmas`: [`exponential`].
    Exponential,
    /// `use_beta_sigmas`: [`beta`] with α = β = 0.6.
    Beta,
}

#[cfg(feature = "hub")]
impl Spread {
    /// S values from the largest to the smallest.
    pub(crate) fn between(self, steps: usize, max: f64, min: f64) -> Result<Vec<f64>, Error> {
        match self {
            Self::Karras => karras(steps, max, min, KARRAS_RHO),
            Self::Exponential => exponential(steps, max, min),
            Self::Beta => beta(steps, max, min, 0.6, 0.6),
        }
    }
}

/// The models for which [`align_your_steps`] has lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlignYourSteps {
    /// Stable Diffusion 1.5.
    StableDiffusion,
    /// Stable Diffusion XL.
    StableDiffusionXl,
    /// Stable Video Diffusion.
    StableVideoDiffusion,
}

/// Align Your Steps (Sabour et al. 2024): the ten steps that were optimised for a model, resampled to S by interpolation of ln σ
/// along the list.
///
/// The published lists have eleven entries: the last, σ_min, is where the tenth step ends. As in the authors' instructions, S + 1
/// entries are interpolated and the last is dropped in favour of the end of the path.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ S ≤ [`MAX_TRAIN_STEPS`].
#[doc(alias = "AYS")]
pub fn align_your_steps(model: AlignYourSteps, steps: usize) -> Result<Vec<f64>, Error> {
    check_steps(steps)?;
    let list = match model {
        AlignYourSteps::StableDiffusion => {
            [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
        }
        AlignYourSteps::StableDiffusionXl => {
            [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]
        }
        AlignYourSteps::StableVideoDiffusion => {
            [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002]
        }
    };
    let last = list.len() - 1;
    (0..steps)
        .map(|i| {
            // The entry at i·10/S, in whole numbers, and how far past it.
            let (entry, past) = (i * last / steps, (i * last % steps) as f64 / steps as f64);
            let at = |entry: usize| list.get(entry).copied().unwrap_or(f64::NAN);
            let [from, to] = [at(entry), at(entry + 1)];
            Ok(if past == 0.0 { from } else { from * libm::pow(to / from, past) })
        })
        .collect()
}

/// SGM's and ComfyUI's "sgm_uniform": t_i = (T−1)·(1 − i/S), fractions included.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ T, S ≤ [`MAX_TRAIN_STEPS`].
pub fn sgm_uniform(train_steps: usize, steps: usize) -> Result<Vec<f64>, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
    check_steps(steps)?;
    let last = (train_steps - 1) as f64;
    Ok((0..steps).map(|i| last * (steps - i) as f64 / steps as f64).collect())
}

/// ComfyUI's "simple": entries of the table in even strides from its noisy end, t_i = T − 1 − ⌊i·T/S⌋.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`] and 1 ≤ S ≤ T.
pub fn simple(train_steps: usize, steps: usize) -> Result<Vec<f64>, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
    require_count("S", steps, 1, train_steps)?;
    // In u64, since usize may have 32 bits.
    let (total, count) = (train_steps as u64, steps as u64);
    Ok((0..count).map(|i| (total - 1 - i * total / count) as f64).collect())
}

/// Linear for the first half of the steps, then quadratic, for flow models (Mochi, LTX): a list of flow times, 1 = pure noise.
///
/// With L = ⌊S/2⌋ linear and Q = S − L quadratic steps, and the threshold q (0.025 in the published models):
///
/// ```text
/// time_i = 1 − q·i/L                          i < L
/// time_i = 1 − c₂·(i² + L²) − c₁·i            i ≥ L      c₂ = (L − q·S)/(L·Q²),  c₁ = q/L − 2·(L − q·S)/Q²
/// ```
///
/// The list is of flow times noise/(signal + noise), not of σ = noise/signal. Pass it to
/// [`Flow::path_through`](crate::Flow::path_through).
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ S ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless 0 < q < ½, so that the list
/// falls.
pub fn linear_quadratic(steps: usize, threshold: f64) -> Result<Vec<f64>, Error> {
    check_steps(steps)?;
    require(threshold > 0.0 && threshold < 0.5, "the threshold", threshold, "inside (0, ½)")?;
    let (total, linear) = (steps as f64, (steps / 2) as f64);
    let quadratic = total - linear;
    Ok((0..steps)
        .map(|i| {
            let at = i as f64;
            if i == 0 {
                1.0
            } else if at < linear {
                1.0 - threshold * at / linear
            } else {
                let rest = linear - threshold * total;
                let c2 = rest / (linear * quadratic * quadratic);
                let c1 = threshold / linear - 2.0 * rest / (quadratic * quadratic);
                1.0 - (c2 * (at * at + linear * linear) + c1 * at)
            }
        })
        .collect())
}

/// S numbers at u = i/(S−1), both ends exactly as given; the first alone if S = 1.
fn between(steps: usize, first: f64, last: f64, at: impl Fn(f64) -> f64) -> Result<Vec<f64>, Error> {
    let end = check_steps(steps)? - 1;
    Ok((0..steps)
        .map(|i| match i {
            0 => first,
            i if i == end => last,
            i => at(i as f64 / end as f64),
        })
        .collect())
}

fn check_steps(steps: usize) -> Result<usize, Error> {
    require_count("S", steps, 1, MAX_TRAIN_STEPS)
}

/// 0 < σ_min ≤ σ_max, both inside what a level can hold.
fn check_range(sigma_max: f64, sigma_min: f64) -> Result<[f64; 2], Error> {
    require(sigma_max > 0.0 && sigma_max <= 1e45, "σ_max", sigma_max, "inside (0, 1e45]")?;
    require(sigma_min >= 1e-45 && sigma_min <= sigma_max, "σ_min", sigma_min, "inside [1e-45, σ_max]")?;
    Ok([sigma_max, sigma_min])
}

/// B⁻¹(p; a, b): the x with I_x(a, b) = p.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return p.clamp(0.0, 1.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    let log_scale = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
    let mut x = 0.5;
    for _ in 0..200 {
        let excess = regularised_beta(x, a, b) - p;
        if excess > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let density = libm::exp(log_scale + (a - 1.0) * libm::log(x) + (b - 1.0) * libm::log1p(-x));
        let newton = x - excess / density;
        // Newton's step if it stays between the bounds, otherwise the midpoint.
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - x).abs() <= 1e-16 * x {
            return next;
        }
        x = next;
    }
    x
}

/// I_x(a, b), computed from the side on which the continued fraction converges fast.
fn regularised_beta(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        1.0 - continued_fraction_of_beta(1.0 - x, b, a)
    } else {
        continued_fraction_of_beta(x, a, b)
    }
}

/// I_x(a, b) by the continued fraction of DLMF 8.17.22 with the modified Lentz algorithm.
fn continued_fraction_of_beta(x: f64, a: f64, b: f64) -> f64 {
    let front =
        libm::exp(libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x)) / a;
    let guarded = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guarded(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / guarded(1.0 + term * d);
            c = guarded(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beta_quantile_inverts_its_distribution() {
        for (a, b) in [(0.6, 0.6), (0.5, 0.7), (2.0, 3.0), (1.0, 1.0)] {
            for i in 1..200 {
                let p = f64::from(i) / 200.0;
                let x = beta_quantile(p, a, b);
                assert!((regularised_beta(x, a, b) - p).abs() < 1e-14, "({a}, {b}) at {p}: {x}");
            }
        }
        // B⁻¹(p; 1, 1) = p, and B(½, ½) is the arcsine distribution, B⁻¹(p) = sin²(πp/2).
        for p in [0.01, 0.3, 0.5, 0.77] {
            assert!((beta_quantile(p, 1.0, 1.0) - p).abs() < 1e-15);
            let sine = libm::sin(core::f64::consts::FRAC_PI_2 * p);
            assert!((beta_quantile(p, 0.5, 0.5) - sine * sine).abs() < 1e-14);
        }
    }
}

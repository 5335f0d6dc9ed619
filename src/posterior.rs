//! The Gaussians between two noise levels: the forward process, the inference process of DDIM and the posterior of DDPM.
//!
//! t is the noisier level and s the cleaner one. Every distribution here is N(mean, variance·I). Its mean is linear in x₀ and
//! in the x at the other level; [`Conditional`] holds the two weights and the variance. All results are finite.

use crate::dd::Dd;
use crate::error::{Error, FOR_CLEAN_DATA, require};
use crate::level::NoiseLevel;

/// A Gaussian N(`x0`·x₀ + `x`·x, `variance`·I), given x₀ and the x at another level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditional {
    /// The weight of x₀ in the mean.
    pub x0: f64,
    /// The weight of the other x in the mean.
    pub x: f64,
    /// The variance of every coordinate.
    pub variance: f64,
}

/// The marginal q(x_t | x₀) = N(√ᾱ_t·x₀, (1−ᾱ_t)·I) of x_t (Ho et al. 2020, Eq. 4).
///
/// DDIM has this marginal for every σ (Song et al. 2021, Lemma 1).
///
/// ```
/// use alphabar::{NoiseLevel, posterior};
///
/// let q = posterior::marginal(&NoiseLevel::from_alpha_bar(0.36)?);
/// assert_eq!((q.x0, q.x, q.variance), (0.6, 0.0, 0.64));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[must_use]
pub fn marginal(t: &NoiseLevel) -> Conditional {
    Conditional { x0: t.signal(), x: 0.0, variance: t.noise_squared() }
}

/// The forward step q(x_t | x_s) = N(√(ᾱ_t/ᾱ_s)·x_s, (1−ᾱ_t/ᾱ_s)·I) (Ho et al. 2020, Eq. 2), over one or more t.
///
/// # Errors
/// [`Error::LevelOrder`] if t is less noisy than s.
///
/// ```
/// use alphabar::{NoiseSchedule, posterior};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let q = posterior::transition(&schedule.level(499)?, &schedule.level(500)?)?;
/// assert!((q.variance - schedule.beta(500)?).abs() < 1e-17);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn transition(s: &NoiseLevel, t: &NoiseLevel) -> Result<Conditional, Error> {
    check_order("a forward step", t, s)?;
    let (signal, variance) = s.transition_to(t);
    Ok(Conditional { x0: 0.0, x: signal.to_f64(), variance: variance.to_f64() })
}

/// DDPM's posterior q(x_s | x_t, x₀) = N(μ̃, β̃·I) (Ho et al. 2020, Eq. 6 and 7).
///
/// ```text
/// μ̃ = √ᾱ_s·β/(1−ᾱ_t)·x₀ + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t
/// β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β,        α = ᾱ_t/ᾱ_s,  β = 1 − α
/// ```
///
/// It equals [`inference`] if σ is [`sigma`] of η = 1.
///
/// # Errors
/// [`Error::LevelOrder`] if t is less noisy than s, [`Error::LevelUndefined`] if t is clean.
///
/// ```
/// use alphabar::{NoiseLevel, NoiseSchedule, posterior};
///
/// let t = NoiseSchedule::ddpm()?.level(0)?;
/// // Given x₀, the x before t = 0 is x₀.
/// let q = posterior::ddpm_posterior(&t, &NoiseLevel::CLEAN)?;
/// assert_eq!((q.x0, q.x, q.variance), (1.0, 0.0, 0.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "q_posterior_mean_variance")]
pub fn ddpm_posterior(t: &NoiseLevel, s: &NoiseLevel) -> Result<Conditional, Error> {
    check_order("the posterior", t, s)?;
    if t.is_clean() {
        return Err(Error::LevelUndefined { what: "the posterior of DDPM", at: FOR_CLEAN_DATA });
    }
    let beta = s.transition_variance_to(t);
    let alpha = s.transition_signal_to(t);
    let x0 = s.signal_dd() * beta / t.one_minus_alpha_bar; // Eq. 7
    let x = s.scale() / t.scale() * alpha.sqrt() * s.one_minus_alpha_bar / t.one_minus_alpha_bar; // Eq. 7
    let variance = s.variance_dd() / t.one_minus_alpha_bar * beta; // Eq. 7
    Ok(Conditional { x0: x0.to_f64(), x: x.to_f64(), variance: variance.to_f64() })
}

/// The σ of a step from t to s for a given η, σ = η·√((1−ᾱ_s)/(1−ᾱ_t))·√(1−ᾱ_t/ᾱ_s) (Song et al. 2021, Eq. 16).
///
/// # Errors
/// [`Error::Parameter`] unless η is finite and not negative, [`Error::LevelOrder`] if t is less noisy than s,
/// [`Error::LevelUndefined`] if t is clean.
///
/// ```
/// use alphabar::{NoiseSchedule, posterior};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let (t, s) = (schedule.level(500)?, schedule.level(400)?);
/// let beta_tilde = posterior::ddpm_posterior(&t, &s)?.variance;
/// assert!((posterior::sigma(&t, &s, 1.0)? - beta_tilde.sqrt()).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn sigma(t: &NoiseLevel, s: &NoiseLevel, eta: f64) -> Result<f64, Error> {
    require(eta >= 0.0 && eta.is_finite(), "η", eta, "finite and ≥ 0")?;
    Ok(eta * ddpm_posterior(t, s)?.variance.sqrt())
}

/// DDIM's inference distribution q_σ(x_s | x_t, x₀) (Song et al. 2021, Eq. 7).
///
/// ```text
/// mean      √ᾱ_s·x₀ + √(1−ᾱ_s−σ²)·(x_t − √ᾱ_t·x₀)/√(1−ᾱ_t)
/// variance  σ²
/// ```
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ σ² ≤ 1−ᾱ_s, [`Error::LevelUndefined`] if t is clean: then x_t contains no noise to keep.
///
/// ```
/// use alphabar::{NoiseLevel, posterior};
///
/// let (t, s) =
///     (NoiseLevel::from_alpha_bar(0.36)?, NoiseLevel::from_alpha_bar(0.64)?);
/// let q = posterior::inference(&t, &s, 0.0)?;
/// // √ᾱ_s − 0.6·0.6/0.8 and 0.6/0.8.
/// assert!((q.x0 - 0.35).abs() < 1e-15 && (q.x - 0.75).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn inference(t: &NoiseLevel, s: &NoiseLevel, sigma: f64) -> Result<Conditional, Error> {
    let Shared { direction, .. } = share(t, s, sigma)?;
    let epsilon = direction / t.noise_dd();
    let x0 = s.signal_dd() - epsilon * t.signal_dd(); // Eq. 7
    Ok(Conditional { x0: x0.to_f64(), x: epsilon.to_f64(), variance: sigma * sigma })
}

/// DDIM's forward process q_σ(x_t | x_s, x₀), which follows from [`inference`] by Bayes' rule (Song et al. 2021, Eq. 8).
///
/// It is not Markovian: x_t depends on x₀ as well as on x_s.
///
/// ```text
/// q_σ(x_t | x_s, x₀) = q_σ(x_s | x_t, x₀)·q(x_t | x₀)/q(x_s | x₀)
/// mean      √ᾱ_t·x₀ + √(1−ᾱ_t)·√(1−ᾱ_s−σ²)/(1−ᾱ_s)·(x_s − √ᾱ_s·x₀)
/// variance  (1−ᾱ_t)·σ²/(1−ᾱ_s)
/// ```
///
/// If σ is [`sigma`] of η = 1, the weight of x₀ vanishes and the result is [`transition`].
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ σ² ≤ 1−ᾱ_s, [`Error::LevelUndefined`] if either level is clean: clean data is x₀ itself,
/// and adds nothing to what x₀ says about x_t.
///
/// ```
/// use alphabar::{NoiseSchedule, posterior};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let (t, s) = (schedule.level(500)?, schedule.level(400)?);
/// let sigma = posterior::sigma(&t, &s, 1.0)?;
/// let (q, markov) =
///     (posterior::forward(&s, &t, sigma)?, posterior::transition(&s, &t)?);
/// assert!(q.x0.abs() < 1e-14 && (q.x - markov.x).abs() < 1e-14);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn forward(s: &NoiseLevel, t: &NoiseLevel, sigma: f64) -> Result<Conditional, Error> {
    let Shared { direction, variance } = share(t, s, sigma)?;
    if s.is_clean() {
        return Err(Error::LevelUndefined { what: "DDIM's forward process from s", at: FOR_CLEAN_DATA });
    }
    let x = t.noise_dd() * direction / s.variance_dd();
    let x0 = t.signal_dd() - x * s.signal_dd();
    let variance = t.variance_dd() * variance / s.variance_dd(); // Eq. 8
    Ok(Conditional { x0: x0.to_f64(), x: x.to_f64(), variance: variance.to_f64() })
}

/// The two parts of the noise at s.
struct Shared {
    /// √(1−ᾱ_s−σ²), the weight of the noise in x_t.
    direction: Dd,
    /// σ², the variance of the fresh noise.
    variance: Dd,
}

fn share(t: &NoiseLevel, s: &NoiseLevel, sigma: f64) -> Result<Shared, Error> {
    let variance = Dd::product(sigma, sigma);
    let available = s.variance_dd();
    let mut radicand = available - variance;
    // σ is an f64: if σ² is all of 1−ᾱ_s, rounding alone may carry it past that.
    if radicand < Dd::ZERO && -radicand.to_f64() <= 4.0 * f64::EPSILON * available.to_f64() {
        radicand = Dd::ZERO;
    }
    // The square of a σ below 1e-162 is 0, which would pass for clean data.
    let fits = radicand >= Dd::ZERO && (sigma == 0.0 || !s.is_clean());
    require(sigma >= 0.0 && fits, "σ", sigma, "inside [0, √(1−ᾱ_s)]")?;
    if t.is_clean() {
        return Err(Error::LevelUndefined { what: "DDIM's inference distribution given x_t", at: FOR_CLEAN_DATA });
    }
    Ok(Shared { direction: radicand.sqrt(), variance })
}

fn check_order(what: &'static str, t: &NoiseLevel, s: &NoiseLevel) -> Result<(), Error> {
    if s.gap_to(t) >= Dd::ZERO {
        Ok(())
    } else {
        Err(Error::LevelOrder { what, noisier: t.alpha_bar(), cleaner: s.alpha_bar() })
    }
}

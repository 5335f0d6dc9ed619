//! The Gaussians between two noise levels: the forward process, the inference process of DDIM and the posterior of DDPM.
//!
//! Throughout, t is the noisier level and s the cleaner. Every distribution here is N(mean, variance·I) with a mean that is
//! linear in x₀ and one further x; [`Conditional`] holds its three numbers.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;

/// A Gaussian N(`x0`·x₀ + `x`·x, `variance`·I), given x₀ and the x at another level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditional {
    /// What multiplies x₀ in the mean.
    pub x0: f64,
    /// What multiplies the other x in the mean.
    pub x: f64,
    /// The variance of every coordinate.
    pub variance: f64,
}

/// q(x_t | x₀) = N(√ᾱ_t·x₀, (1−ᾱ_t)·I) (Ho et al. 2020, Eq. 4): the marginal that DDPM, and DDIM for every σ
/// (Song et al. 2021, Lemma 1), give to x_t.
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
    Conditional { x0: t.signal(), x: 0.0, variance: t.variance_dd().to_f64() }
}

/// The forward step q(x_t | x_s) = N(√(ᾱ_t/ᾱ_s)·x_s, (1−ᾱ_t/ᾱ_s)·I) (Ho et al. 2020, Eq. 2, over any stretch of the chain).
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

/// DDPM's posterior q(x_s | x_t, x₀) = N(μ̃, β̃·I) (Ho et al. 2020, Eq. 6 and 7):
/// μ̃ = √ᾱ_s·β/(1−ᾱ_t)·x₀ + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t and β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β, with α = ᾱ_t/ᾱ_s and β = 1 − α.
///
/// The same as [`inference`] with [`sigma`] of η = 1.
///
/// # Errors
/// [`Error::LevelOrder`] if t is less noisy than s, or clean.
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
pub fn ddpm_posterior(t: &NoiseLevel, s: &NoiseLevel) -> Result<Conditional, Error> {
    check_order("the posterior", t, s)?;
    if t.is_clean() {
        return Err(Error::LevelOrder {
            what: "a posterior given noise",
            noisier: t.alpha_bar(),
            cleaner: s.alpha_bar(),
        });
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
/// [`Error::Parameter`] unless η is finite and not negative, [`Error::LevelOrder`] if t is less noisy than s, or clean.
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

/// DDIM's inference distribution q_σ(x_s | x_t, x₀) (Song et al. 2021, Eq. 7):
///
/// $$ \mathcal N\Bigl(\sqrt{\bar\alpha_s}\thinspace x_0 +
///    \sqrt{1-\bar\alpha_s-\sigma^2}\cdot\frac{x_t-\sqrt{\bar\alpha_t}\thinspace x_0}{\sqrt{1-\bar\alpha_t}},\ \sigma^2 I\Bigr) $$
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ σ² ≤ 1−ᾱ_s, [`Error::LevelOrder`] if t is clean, where x_t holds no ε to keep.
///
/// ```
/// use alphabar::{NoiseLevel, posterior};
///
/// let (t, s) = (NoiseLevel::from_alpha_bar(0.36)?, NoiseLevel::from_alpha_bar(0.64)?);
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

/// The forward process that belongs to [`inference`], q_σ(x_t | x_s, x₀) by Bayes' rule (Song et al. 2021, Eq. 8): not
/// Markovian, since x_t depends on x₀ beside x_s.
///
/// q_σ(x_t | x_s, x₀) = q_σ(x_s | x_t, x₀)·q(x_t | x₀)/q(x_s | x₀), and with n = √(1−ᾱ) and w = √(1−ᾱ_s−σ²) the product of
/// the Gaussians has mean √ᾱ_t·x₀ + (n_t·w/n_s²)·(x_s − √ᾱ_s·x₀) and variance (1−ᾱ_t)·σ²/(1−ᾱ_s). At σ of η = 1 the
/// dependence on x₀ vanishes and this is [`transition`].
///
/// # Errors
/// [`Error::Parameter`] unless 0 ≤ σ² ≤ 1−ᾱ_s, [`Error::LevelOrder`] if either level is clean, since clean data given x₀ is
/// known and says nothing of x_t.
///
/// ```
/// use alphabar::{NoiseSchedule, posterior};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let (t, s) = (schedule.level(500)?, schedule.level(400)?);
/// let sigma = posterior::sigma(&t, &s, 1.0)?;
/// let (q, markov) = (posterior::forward(&s, &t, sigma)?, posterior::transition(&s, &t)?);
/// assert!(q.x0.abs() < 1e-14 && (q.x - markov.x).abs() < 1e-14);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn forward(s: &NoiseLevel, t: &NoiseLevel, sigma: f64) -> Result<Conditional, Error> {
    let Shared { direction, variance } = share(t, s, sigma)?;
    if s.is_clean() {
        let (noisier, cleaner) = (t.alpha_bar(), s.alpha_bar());
        return Err(Error::LevelOrder { what: "the forward process from clean data", noisier, cleaner });
    }
    let x = t.noise_dd() * direction / s.variance_dd();
    let x0 = t.signal_dd() - x * s.signal_dd();
    let variance = t.variance_dd() * variance / s.variance_dd(); // Eq. 8
    Ok(Conditional { x0: x0.to_f64(), x: x.to_f64(), variance: variance.to_f64() })
}

/// How the noise at s is made up.
struct Shared {
    /// √(1−ᾱ_s−σ²), of the noise that x_t holds.
    direction: Dd,
    /// σ², drawn anew.
    variance: Dd,
}

fn share(t: &NoiseLevel, s: &NoiseLevel, sigma: f64) -> Result<Shared, Error> {
    let variance = Dd::product(sigma, sigma);
    let available = s.variance_dd();
    let mut radicand = available - variance;
    // σ is an f64: where it stands for all of 1−ᾱ_s, its rounding alone may carry σ² past it.
    if radicand < Dd::ZERO && -radicand.to_f64() <= 4.0 * f64::EPSILON * available.to_f64() {
        radicand = Dd::ZERO;
    }
    require(sigma >= 0.0 && radicand >= Dd::ZERO, "σ", sigma, "inside [0, √(1−ᾱ_s)]")?;
    if t.is_clean() {
        let (noisier, cleaner) = (t.alpha_bar(), s.alpha_bar());
        return Err(Error::LevelOrder { what: "an inference distribution given noise", noisier, cleaner });
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

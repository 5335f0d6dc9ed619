//! Noise levels: how much signal and how much noise a sample holds.

use core::fmt;

use crate::dd::Dd;
use crate::error::{Error, require};

/// A noise level, the pair (signal, noise) = (√ᾱ, √(1−ᾱ)) of x = √ᾱ·x₀ + √(1−ᾱ)·ε (Ho et al. 2020, Eq. 4).
///
/// $$ x_t = \sqrt{\bar\alpha_t}\thinspace x_0 + \sqrt{1-\bar\alpha_t}\thinspace\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) $$
///
/// A level is a value of its own and needs no index: clean data is [`NoiseLevel::CLEAN`], and a network conditioned on
/// log-SNR or on the σ of a variance-exploding process is told those. Inside, ᾱ and 1−ᾱ are each held to twice the
/// precision of an `f64`, so that nothing is lost in the difference of two neighbouring levels.
///
/// ```
/// use alphabar::NoiseLevel;
///
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// assert_eq!(level.signal(), 0.6);
/// assert_eq!(level.noise(), 0.8);
/// assert_eq!(NoiseLevel::CLEAN.noise(), 0.0);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseLevel {
    pub(crate) alpha_bar: Dd,
    pub(crate) one_minus_alpha_bar: Dd,
}

impl NoiseLevel {
    /// Clean data, ᾱ = 1: the paper's "t = 0".
    pub const CLEAN: Self = Self { alpha_bar: Dd::ONE, one_minus_alpha_bar: Dd::ZERO };

    /// Noise without signal, ᾱ = 0: where a schedule of zero terminal SNR starts.
    pub const PURE_NOISE: Self = Self { alpha_bar: Dd::ZERO, one_minus_alpha_bar: Dd::ONE };

    /// The level of a given ᾱ in [0, 1].
    ///
    /// Where ᾱ is close to 1, [`NoiseLevel::from_one_minus_alpha_bar`] keeps digits that ᾱ cannot hold.
    ///
    /// # Errors
    /// [`Error::Parameter`] outside [0, 1] and for NaN.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.25)?.snr(), 1.0 / 3.0);
    /// assert!(NoiseLevel::from_alpha_bar(1.1).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_alpha_bar(alpha_bar: f64) -> Result<Self, Error> {
        let alpha_bar = require((0.0..=1.0).contains(&alpha_bar), "ᾱ", alpha_bar, "inside [0, 1]")?;
        Ok(Self { alpha_bar: Dd::from(alpha_bar), one_minus_alpha_bar: Dd::sum(1.0, -alpha_bar) })
    }

    /// The level of a given 1−ᾱ in [0, 1], the variance of its noise.
    ///
    /// # Errors
    /// [`Error::Parameter`] outside [0, 1] and for NaN.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_one_minus_alpha_bar(1e-20)?.noise(), 1e-10);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_one_minus_alpha_bar(variance: f64) -> Result<Self, Error> {
        let variance = require((0.0..=1.0).contains(&variance), "1 − ᾱ", variance, "inside [0, 1]")?;
        Ok(Self { alpha_bar: Dd::sum(1.0, -variance), one_minus_alpha_bar: Dd::from(variance) })
    }

    /// The level of a given (whole) log-SNR, ᾱ = 1/(1 + e^−λ) with λ = ln(ᾱ/(1−ᾱ)).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless |λ| ≤ 600.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_log_snr(0.0)?.alpha_bar(), 0.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_log_snr(log_snr: f64) -> Result<Self, Error> {
        require(log_snr.abs() <= 600.0, "log-SNR", log_snr, "inside [−600, 600]")?;
        Ok(Self::from_log_snr_dd(Dd::from(log_snr)))
    }

    /// ᾱ = 1/(1 + e^−λ) and 1−ᾱ = 1/(1 + e^λ), neither by a subtraction.
    pub(crate) fn from_log_snr_dd(log_snr: Dd) -> Self {
        Self {
            alpha_bar: Dd::ONE / (Dd::ONE + (-log_snr).exp()),
            one_minus_alpha_bar: Dd::ONE / (Dd::ONE + log_snr.exp()),
        }
    }

    /// The level at which the variance-exploding view x/√ᾱ = x₀ + σ·ε has a given σ, ᾱ = 1/(1 + σ²)
    /// (Song et al. 2021, Eq. 14; the σ of the EDM convention).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ σ ≤ 1e100.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_sigma(1.0)?.alpha_bar(), 0.5);
    /// assert_eq!(NoiseLevel::from_sigma(80.0)?.sigma(), 80.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_sigma(sigma: f64) -> Result<Self, Error> {
        let sigma = require((0.0..=1e100).contains(&sigma), "σ", sigma, "inside [0, 1e100]")?;
        let variance = Dd::product(sigma, sigma);
        let total = Dd::ONE + variance;
        Ok(Self { alpha_bar: Dd::ONE / total, one_minus_alpha_bar: variance / total })
    }

    /// ᾱ, the share of the signal in the variance; the paper's α_t (Song et al. 2021), `alphas_cumprod[t]` in Python.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::CLEAN.alpha_bar(), 1.0);
    /// ```
    #[must_use]
    pub fn alpha_bar(&self) -> f64 {
        self.alpha_bar.to_f64()
    }

    /// 1−ᾱ, to full relative precision also where ᾱ is close to 1.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::PURE_NOISE.one_minus_alpha_bar(), 1.0);
    /// ```
    #[must_use]
    pub fn one_minus_alpha_bar(&self) -> f64 {
        self.one_minus_alpha_bar.to_f64()
    }

    /// √ᾱ, what multiplies x₀.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.25)?.signal(), 0.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn signal(&self) -> f64 {
        self.alpha_bar().sqrt()
    }

    /// √(1−ᾱ), what multiplies ε.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.75)?.noise(), 0.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.one_minus_alpha_bar().sqrt()
    }

    /// The signal-to-noise ratio ᾱ/(1−ᾱ); infinite for clean data.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.5)?.snr(), 1.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn snr(&self) -> f64 {
        if self.is_clean() { f64::INFINITY } else { (self.alpha_bar / self.one_minus_alpha_bar).to_f64() }
    }

    /// The *whole* log-SNR, λ = ln(ᾱ/(1−ᾱ)). Networks and solvers that use half of it (ln(√ᾱ/√(1−ᾱ))) divide by two.
    ///
    /// ±∞ for clean data and for pure noise.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_log_snr(-3.5)?.log_snr(), -3.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn log_snr(&self) -> f64 {
        let snr = self.snr();
        if (0.5..2.0).contains(&snr) {
            // Near ᾱ = ½ the logarithm is small and takes the precision of the difference ᾱ − (1−ᾱ).
            libm::log1p(((self.alpha_bar - self.one_minus_alpha_bar) / self.one_minus_alpha_bar).to_f64())
        } else {
            libm::log(snr)
        }
    }

    /// σ = √((1−ᾱ)/ᾱ), the noise of the variance-exploding view x/√ᾱ = x₀ + σ·ε in which DDIM is an Euler step
    /// (Song et al. 2021, Eq. 13 and 14); infinite for pure noise.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.2)?.sigma(), 2.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn sigma(&self) -> f64 {
        if self.is_pure_noise() { f64::INFINITY } else { (self.one_minus_alpha_bar / self.alpha_bar).sqrt().to_f64() }
    }

    /// Whether there is no noise at all.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert!(NoiseLevel::CLEAN.is_clean());
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.one_minus_alpha_bar.is_zero()
    }

    /// Whether there is no signal at all.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert!(NoiseLevel::PURE_NOISE.is_pure_noise());
    /// ```
    #[must_use]
    pub fn is_pure_noise(&self) -> bool {
        self.alpha_bar.is_zero()
    }

    pub(crate) fn signal_dd(&self) -> Dd {
        self.alpha_bar.sqrt()
    }

    pub(crate) fn noise_dd(&self) -> Dd {
        self.one_minus_alpha_bar.sqrt()
    }

    /// ᾱ_s − ᾱ_t for s = self and t = `noisier`; negative if `noisier` is the cleaner of the two.
    ///
    /// Of the two columns the one with the smaller entries gives the difference.
    pub(crate) fn gap_to(&self, noisier: &Self) -> Dd {
        if self.alpha_bar() < 0.5 {
            self.alpha_bar - noisier.alpha_bar
        } else {
            noisier.one_minus_alpha_bar - self.one_minus_alpha_bar
        }
    }

    /// 1 − ᾱ_t/ᾱ_s for s = self and t = `noisier`: the variance of q(x_t | x_s), and β_t where s = t − 1.
    pub(crate) fn transition_variance_to(&self, noisier: &Self) -> Dd {
        let gap = self.gap_to(noisier);
        if gap.is_zero() { Dd::ZERO } else { gap / self.alpha_bar }
    }

    /// ᾱ_t/ᾱ_s for s = self and t = `noisier`: the share of the signal that is left, and α_t where s = t − 1.
    pub(crate) fn transition_signal_to(&self, noisier: &Self) -> Dd {
        if self.gap_to(noisier).is_zero() { Dd::ONE } else { noisier.alpha_bar / self.alpha_bar }
    }
}

impl fmt::Display for NoiseLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ᾱ = {}", self.alpha_bar())
    }
}

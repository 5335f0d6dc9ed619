//! Noise levels: how much signal and how much noise a sample holds.

use core::fmt;

use crate::dd::Dd;
use crate::error::{Error, require};

/// A noise level, the pair (signal, noise) of x = signal·x₀ + noise·ε with ε ~ N(0, I).
///
/// ```text
/// variance-preserving    (√ᾱ, √(1−ᾱ))    DDPM, DDIM, Stable Diffusion     (Ho et al. 2020, Eq. 4)
/// variance-exploding     (1, σ)          EDM, k-diffusion                 (Karras et al. 2022)
/// flow matching          (1−σ, σ)        SD3, Flux, rectified flows       (Lipman et al. 2023, Liu et al. 2023)
/// ```
///
/// These are one family: x in one [`Scale`] is x in another times a number. Only the ratio of signal and noise decides what a step
/// does. ᾱ = signal²/(signal² + noise²), the SNR, the log-SNR and σ = noise/signal mean the same in every scale. A level keeps its
/// scale; [`NoiseLevel::in_scale`] moves it to another.
///
/// A level needs no index: clean data is [`NoiseLevel::CLEAN`]. ᾱ, 1−ᾱ and the scale are each stored with twice the precision of an
/// `f64`, so that the difference of two neighbouring levels keeps its digits.
///
/// # Domain
///
/// Each of ᾱ and 1−ᾱ is either 0 or at least 1e-90. In other units: |ln SNR| ≤ 207.23, and 1e-45 ≤ σ ≤ 1e45. A level that
/// lies between this domain and exactly clean data or pure noise is an error in every constructor and every schedule. In
/// the domain, all products in the formulas of this crate stay far from underflow and overflow, so that results are finite
/// and keep their digits. The exceptions are [`snr`](NoiseLevel::snr), [`log_snr`](NoiseLevel::log_snr) and
/// [`sigma`](NoiseLevel::sigma), which are infinite at an end of the scale.
///
/// ```
/// use alphabar::{NoiseLevel, Scale};
///
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// assert_eq!((level.signal(), level.noise()), (0.6, 0.8));
/// assert_eq!(NoiseLevel::CLEAN.noise(), 0.0);
///
/// // Half way along a flow is as noisy as ᾱ = ½.
/// let flow = NoiseLevel::flow(0.5)?;
/// assert_eq!((flow.signal(), flow.noise(), flow.alpha_bar()), (0.5, 0.5, 0.5));
/// assert_eq!(flow.in_scale(Scale::VarianceExploding)?.noise(), 1.0);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("signal-to-noise ratio", "SNR", "alpha_bar", "alphas_cumprod", "sigma"))]
#[derive(Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    pub(crate) alpha_bar: Dd,
    pub(crate) one_minus_alpha_bar: Dd,
    /// √(signal² + noise²): 1 in the variance-preserving scale.
    scale: Dd,
}

/// The scale of x: which multiple of (√ᾱ, √(1−ᾱ)) the pair (signal, noise) of a [`NoiseLevel`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scale {
    /// (√ᾱ, √(1−ᾱ)): x has variance 1 if the data has.
    #[doc(alias = "VP")]
    #[default]
    VariancePreserving,
    /// (1, σ): x is the data plus noise.
    #[doc(alias = "VE")]
    VarianceExploding,
    /// (1−σ, σ): x is on the straight line between data and noise.
    #[doc(alias = "rectified flow")]
    Flow,
}

/// The least ᾱ, and the least 1−ᾱ, of a level that is neither pure noise nor clean data.
///
/// The smallest products in the formulas are those of three such numbers: a step from the noisiest level t to the cleanest
/// level s keeps (1−ᾱ_s)·(1−ᾱ_s)·ᾱ_t of the old noise. 1e-270 is still above 1e-290, where products of [`Dd`] start to lose
/// their low halves.
pub(crate) const LEAST: f64 = 1e-90;

/// −ln of [`LEAST`], rounded up.
const LARGEST_LOG_SNR: f64 = 207.2327;

/// `Ok` for a share of the variance, ᾱ or 1−ᾱ.
fn require_share(name: &'static str, value: f64) -> Result<f64, Error> {
    // `abs` drops the sign of −0.
    require(value == 0.0 || (LEAST..=1.0).contains(&value), name, value, "0 or inside [1e-90, 1]").map(f64::abs)
}

/// `Ok` for a ratio of noise and signal, or for one of them beside the other's 1.
fn require_sigma(name: &'static str, value: f64) -> Result<f64, Error> {
    require(value == 0.0 || (1e-45..=1e45).contains(&value), name, value, "0 or inside [1e-45, 1e45]").map(f64::abs)
}

impl NoiseLevel {
    /// Clean data, ᾱ = 1. The papers write t = 0.
    pub const CLEAN: Self = Self::preserving(Dd::ONE, Dd::ZERO);

    /// Noise without signal, ᾱ = 0: the last level of a schedule with zero terminal SNR.
    pub const PURE_NOISE: Self = Self::preserving(Dd::ZERO, Dd::ONE);

    /// A level of the variance-preserving scale.
    pub(crate) const fn preserving(alpha_bar: Dd, one_minus_alpha_bar: Dd) -> Self {
        Self { alpha_bar, one_minus_alpha_bar, scale: Dd::ONE }
    }

    /// The level of x = signal·x₀ + noise·ε for any pair.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless each is 0 or in [1e-45, 1e45], not both are 0, and the level is in the domain.
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// let level = NoiseLevel::new(3.0, 4.0)?;
    /// assert_eq!((level.signal(), level.noise(), level.alpha_bar()), (3.0, 4.0, 0.36));
    /// assert!(NoiseLevel::new(0.0, 0.0).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn new(signal: f64, noise: f64) -> Result<Self, Error> {
        for (name, value) in [("signal", signal), ("noise", noise)] {
            require_sigma(name, value)?;
        }
        require(signal + noise > 0.0, "signal + noise", signal + noise, "positive")?;
        if signal > 0.0 {
            require_sigma("noise/signal", noise / signal)?;
        }
        Ok(Self::from_parts(Dd::from(signal), Dd::from(noise)))
    }

    /// The level of x = x₀ + σ·ε, in the variance-exploding scale (Karras et al. 2022).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless σ is 0 or in [1e-45, 1e45].
    #[doc(alias = "EDM")]
    pub fn variance_exploding(sigma: f64) -> Result<Self, Error> {
        require_sigma("σ", sigma)?;
        Ok(Self::from_parts(Dd::ONE, Dd::from(sigma)))
    }

    /// The level of x = (1−σ)·x₀ + σ·ε, in the scale of flow matching (Lipman et al. 2023, Liu et al. 2023): σ = 0 is clean data, σ = 1
    /// pure noise.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless σ is 0 or in [1e-45, 1].
    #[doc(alias = "rectified flow")]
    pub fn flow(sigma: f64) -> Result<Self, Error> {
        require(sigma == 0.0 || (1e-45..=1.0).contains(&sigma), "the flow's σ", sigma, "0 or inside [1e-45, 1]")?;
        Ok(Self::flow_dd(Dd::from(sigma)))
    }

    pub(crate) fn flow_dd(sigma: Dd) -> Self {
        Self::from_parts(Dd::ONE - sigma, sigma)
    }

    /// The level of a pair at twice the precision, not both 0.
    fn from_parts(signal: Dd, noise: Dd) -> Self {
        let (signal, noise) = (signal.squared(), noise.squared());
        let total = signal + noise;
        Self { alpha_bar: signal / total, one_minus_alpha_bar: noise / total, scale: total.sqrt() }
    }

    /// This level in another scale. ᾱ stays; x is multiplied by the new signal (or noise) divided by the old one.
    ///
    /// # Errors
    /// [`Error::Parameter`] for pure noise in the variance-exploding scale, where its σ is infinite.
    pub fn in_scale(self, scale: Scale) -> Result<Self, Error> {
        let (signal, noise) = (self.alpha_bar.sqrt(), self.one_minus_alpha_bar.sqrt());
        let scale = match scale {
            Scale::VariancePreserving => Dd::ONE,
            Scale::VarianceExploding if self.is_pure_noise() => {
                let (name, domain) = ("σ of pure noise", "finite, as the variance-exploding scale needs");
                return Err(Error::Parameter { name, value: f64::INFINITY, domain });
            }
            Scale::VarianceExploding => Dd::ONE / signal,
            Scale::Flow => Dd::ONE / (signal + noise),
        };
        Ok(Self { scale, ..self })
    }

    /// The level of a given ᾱ.
    ///
    /// If ᾱ is close to 1, [`NoiseLevel::from_one_minus_alpha_bar`] keeps digits that ᾱ cannot hold.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless ᾱ is 0 or in [1e-90, 1].
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_alpha_bar(0.25)?.snr(), 1.0 / 3.0);
    /// assert!(NoiseLevel::from_alpha_bar(1.1).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_alpha_bar(alpha_bar: f64) -> Result<Self, Error> {
        let alpha_bar = require_share("ᾱ", alpha_bar)?;
        Ok(Self::preserving(Dd::from(alpha_bar), Dd::sum(1.0, -alpha_bar)))
    }

    /// The level of a given 1−ᾱ, the variance of its noise.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1−ᾱ is 0 or in [1e-90, 1].
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_one_minus_alpha_bar(1e-20)?.noise(), 1e-10);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_one_minus_alpha_bar(variance: f64) -> Result<Self, Error> {
        let variance = require_share("1 − ᾱ", variance)?;
        Ok(Self::preserving(Dd::sum(1.0, -variance), Dd::from(variance)))
    }

    /// The level of a given log-SNR ℓ = ln(ᾱ/(1−ᾱ)): ᾱ = 1/(1 + e^−ℓ). ℓ is 2·λ, with the λ = ln(signal/noise) of DPM-Solver.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless |ℓ| ≤ 207.2327. For ±∞ use [`NoiseLevel::CLEAN`] and [`NoiseLevel::PURE_NOISE`].
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_log_snr(0.0)?.alpha_bar(), 0.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_log_snr(log_snr: f64) -> Result<Self, Error> {
        require(log_snr.abs() <= LARGEST_LOG_SNR, "log-SNR", log_snr, "inside [−207.2327, 207.2327]")?;
        Ok(Self::from_log_snr_dd(Dd::from(log_snr)))
    }

    /// ᾱ = 1/(1 + e^−ℓ) and 1−ᾱ = 1/(1 + e^ℓ), both without a subtraction.
    pub(crate) fn from_log_snr_dd(log_snr: Dd) -> Self {
        Self::preserving(Dd::ONE / (Dd::ONE + (-log_snr).exp()), Dd::ONE / (Dd::ONE + log_snr.exp()))
    }

    /// The variance-preserving level with a given σ = noise/signal: x/√ᾱ = x₀ + σ·ε and ᾱ = 1/(1 + σ²)
    /// (Song et al. 2021, Eq. 14; the σ of the EDM convention).
    ///
    /// For x = x₀ + σ·ε itself use [`NoiseLevel::variance_exploding`].
    ///
    /// # Errors
    /// [`Error::Parameter`] unless σ is 0 or in [1e-45, 1e45].
    ///
    /// ```
    /// # use alphabar::NoiseLevel;
    /// assert_eq!(NoiseLevel::from_sigma(1.0)?.alpha_bar(), 0.5);
    /// assert_eq!(NoiseLevel::from_sigma(80.0)?.sigma(), 80.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_sigma(sigma: f64) -> Result<Self, Error> {
        let sigma = require_sigma("σ", sigma)?;
        let variance = Dd::product(sigma, sigma);
        let total = Dd::ONE + variance;
        Ok(Self::preserving(Dd::ONE / total, variance / total))
    }

    /// ᾱ, the signal's share of the variance; α_t in Song et al. (2021), `alphas_cumprod[t]` in diffusers.
    #[must_use]
    pub fn alpha_bar(&self) -> f64 {
        self.alpha_bar.to_f64()
    }

    /// 1−ᾱ, the noise's share of the variance. It keeps full relative precision if ᾱ is close to 1.
    #[must_use]
    pub fn one_minus_alpha_bar(&self) -> f64 {
        self.one_minus_alpha_bar.to_f64()
    }

    /// The weight of x₀; √ᾱ in the variance-preserving scale.
    #[must_use]
    pub fn signal(&self) -> f64 {
        self.signal_dd().to_f64()
    }

    /// The weight of ε; √(1−ᾱ) in the variance-preserving scale, and σ in the other two.
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.noise_dd().to_f64()
    }

    /// The signal-to-noise ratio ᾱ/(1−ᾱ); infinite for clean data.
    #[must_use]
    pub fn snr(&self) -> f64 {
        if self.is_clean() { f64::INFINITY } else { (self.alpha_bar / self.one_minus_alpha_bar).to_f64() }
    }

    /// The log-SNR ln(ᾱ/(1−ᾱ)). Half of it is λ = ln(signal/noise), which DPM-Solver and some networks use.
    ///
    /// ∞ for clean data and −∞ for pure noise.
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

    /// σ = √((1−ᾱ)/ᾱ), the noise of the variance-exploding form x/√ᾱ = x₀ + σ·ε, in which DDIM is an Euler step
    /// (Song et al. 2021, Eq. 13 and 14); infinite for pure noise.
    #[must_use]
    pub fn sigma(&self) -> f64 {
        if self.is_pure_noise() { f64::INFINITY } else { self.sigma_dd().to_f64() }
    }

    /// Whether this is [`NoiseLevel::CLEAN`], without any noise.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.one_minus_alpha_bar.is_zero()
    }

    /// Whether this is [`NoiseLevel::PURE_NOISE`], without any signal.
    #[must_use]
    pub fn is_pure_noise(&self) -> bool {
        self.alpha_bar.is_zero()
    }

    /// The level whose SNR is this one's divided by k, ᾱ' = ᾱ/(k + (1−k)·ᾱ) and 1−ᾱ' = k·(1−ᾱ)/(k + (1−k)·ᾱ).
    pub(crate) fn with_snr_divided_by(&self, k: f64) -> Self {
        if k == 1.0 {
            return *self; // to the last bit
        }
        // k + (1−k)·ᾱ = ᾱ + k·(1−ᾱ), a sum of positive terms.
        let noise = Dd::from(k) * self.one_minus_alpha_bar;
        let total = self.alpha_bar + noise;
        Self { alpha_bar: self.alpha_bar / total, one_minus_alpha_bar: noise / total, ..*self }
    }

    /// The σ of a flow at this level, noise/(signal + noise), in any scale of the level; in [0, 1].
    #[must_use]
    pub fn flow_sigma(&self) -> f64 {
        self.flow_sigma_dd().to_f64()
    }

    /// noise/signal; not for pure noise.
    pub(crate) fn sigma_dd(&self) -> Dd {
        (self.one_minus_alpha_bar / self.alpha_bar).sqrt()
    }

    /// noise/(signal + noise).
    pub(crate) fn flow_sigma_dd(&self) -> Dd {
        let (signal, noise) = (self.alpha_bar.sqrt(), self.one_minus_alpha_bar.sqrt());
        noise / (signal + noise)
    }

    /// λ_other − λ with λ = ln(signal/noise): positive if the other has less noise. Exactly 0 between equal levels,
    /// infinite if one of them is clean or pure noise.
    pub(crate) fn lambda_to(&self, other: &Self) -> Dd {
        if other.gap_to(self).is_zero() {
            return Dd::ZERO;
        }
        let ratio = (other.alpha_bar / self.alpha_bar) * (self.one_minus_alpha_bar / other.one_minus_alpha_bar);
        match (self.is_pure_noise() || other.is_clean(), self.is_clean() || other.is_pure_noise()) {
            (true, _) => Dd::from(f64::INFINITY),
            (_, true) => Dd::from(f64::NEG_INFINITY),
            _ => ratio.ln() * Dd::from(0.5),
        }
    }

    /// ln(ᾱ/(1−ᾱ)) of a level that is neither clean nor pure noise.
    pub(crate) fn log_snr_dd(&self) -> Dd {
        (self.alpha_bar / self.one_minus_alpha_bar).ln()
    }

    /// √(signal² + noise²): x in this scale divided by x in the variance-preserving scale.
    pub(crate) fn scale(&self) -> Dd {
        self.scale
    }

    pub(crate) fn signal_dd(&self) -> Dd {
        self.scale * self.alpha_bar.sqrt()
    }

    pub(crate) fn noise_dd(&self) -> Dd {
        self.scale * self.one_minus_alpha_bar.sqrt()
    }

    /// signal², rounded once.
    pub(crate) fn signal_squared(&self) -> f64 {
        (self.scale.squared() * self.alpha_bar).to_f64()
    }

    /// noise², rounded once.
    pub(crate) fn noise_squared(&self) -> f64 {
        self.variance_dd().to_f64()
    }

    /// noise², the variance of the noise in x.
    pub(crate) fn variance_dd(&self) -> Dd {
        self.scale.squared() * self.one_minus_alpha_bar
    }

    /// ᾱ_s − ᾱ_t for s = self and t = `noisier`; negative if `noisier` is the cleaner of the two.
    ///
    /// It is computed from ᾱ or from 1−ᾱ, whichever is smaller, since that loses fewer digits.
    pub(crate) fn gap_to(&self, noisier: &Self) -> Dd {
        if self.alpha_bar() < 0.5 {
            self.alpha_bar - noisier.alpha_bar
        } else {
            noisier.one_minus_alpha_bar - self.one_minus_alpha_bar
        }
    }

    /// k and v of the forward process from s = self to t = `noisier`: x_t = k·x_s + √v·z with k = signal_t/signal_s.
    pub(crate) fn transition_to(&self, noisier: &Self) -> (Dd, Dd) {
        let signal = noisier.scale / self.scale * self.transition_signal_to(noisier).sqrt();
        (signal, noisier.scale.squared() * self.transition_variance_to(noisier))
    }

    /// 1 − ᾱ_t/ᾱ_s for s = self and t = `noisier`, in any scales. In the variance-preserving
    /// scale this is the variance of q(x_t | x_s), and β_t if s = t − 1.
    pub(crate) fn transition_variance_to(&self, noisier: &Self) -> Dd {
        let gap = self.gap_to(noisier);
        if gap.is_zero() { Dd::ZERO } else { gap / self.alpha_bar }
    }

    /// ᾱ_t/ᾱ_s for s = self and t = `noisier`: the fraction of the signal's variance that is kept, and α_t if s = t − 1.
    pub(crate) fn transition_signal_to(&self, noisier: &Self) -> Dd {
        if self.gap_to(noisier).is_zero() { Dd::ONE } else { noisier.alpha_bar / self.alpha_bar }
    }
}

/// Shows ᾱ, or 1−ᾱ if ᾱ rounds to 1.
impl fmt::Display for NoiseLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpha_bar = self.alpha_bar();
        if alpha_bar == 1.0 && !self.is_clean() {
            write!(f, "1 − ᾱ = {:e}", self.one_minus_alpha_bar())
        } else if alpha_bar < 1e-5 && !self.is_pure_noise() {
            write!(f, "ᾱ = {alpha_bar:e}")
        } else {
            write!(f, "ᾱ = {alpha_bar}")
        }
    }
}

impl fmt::Debug for NoiseLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == Dd::ONE {
            write!(f, "NoiseLevel({self})")
        } else {
            write!(f, "NoiseLevel(signal = {:e}, noise = {:e})", self.signal(), self.noise())
        }
    }
}

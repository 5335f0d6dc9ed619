//! Noise schedules: the levels ᾱ_t a network was trained at.

use core::f64::consts::FRAC_PI_2;

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;

/// The longest schedule that is built; past it a length is taken for a mistake.
pub const MAX_TRAIN_STEPS: usize = 1_000_000;

/// The noise schedule of a diffusion model: β_t and ᾱ_t = ∏_{k≤t} (1−β_k) for t in 0..T.
///
/// An immutable value, checked when it is made: every β lies in (0, 1) and ᾱ falls strictly. Only the last ᾱ may be 0, in
/// schedules of zero terminal SNR. `t` is the index that a network is fed, 0-based, the same as in Python's
/// `alphas_cumprod[t]`; the papers count from 1.
///
/// Tables are carried at twice `f64` precision. 1−ᾱ grows by the recurrence of positive terms
/// 1−ᾱ_t = (1−ᾱ_{t−1}) + β_t·ᾱ_{t−1} and never comes from a subtraction.
///
/// ```
/// use alphabar::NoiseSchedule;
///
/// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
/// assert_eq!(schedule.len(), 1000);
/// assert_eq!(schedule.beta(0)?, 1e-4);
/// assert!((schedule.level(999)?.alpha_bar() - 4.035830e-5).abs() < 1e-11);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    betas: Vec<f64>,
    levels: Vec<NoiseLevel>,
}

/// Families.
impl NoiseSchedule {
    /// β rises linearly, β_t = b₀ + (b₁ − b₀)·t/(T−1) (Ho et al. 2020, section 4, with 1e-4 and 0.02).
    ///
    /// Not what the configurations of Stable Diffusion mean by "linear": see [`NoiseSchedule::scaled_linear`].
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Beta`] for an end outside (0, 1).
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::linear(3, 0.1, 0.3)?;
    /// assert_eq!(schedule.betas(), [0.1, 0.2, 0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        check_beta(0, beta_start)?;
        check_beta(train_steps.saturating_sub(1), beta_end)?;
        Self::from_ramp(train_steps, beta_start, beta_end, |beta| beta)
    }

    /// √β rises linearly, β_t = (√b₀ + (√b₁ − √b₀)·t/(T−1))².
    ///
    /// The schedule of latent diffusion, whose authors (CompVis) call it "linear"; the DDIM authors' code calls it "quad".
    ///
    /// # Errors
    /// As [`NoiseSchedule::linear`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::scaled_linear(1000, 0.00085, 0.012)?;
    /// assert!((schedule.level(999)?.alpha_bar() - 4.660e-3).abs() < 1e-6);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn scaled_linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        check_beta(0, beta_start)?;
        check_beta(train_steps.saturating_sub(1), beta_end)?;
        Self::from_ramp(train_steps, beta_start.sqrt(), beta_end.sqrt(), |root| root * root)
    }

    /// β rises along a logistic curve, β_t = b₀ + (b₁ − b₀)·s(−6 + 12·t/(T−1)) with s(x) = 1/(1 + e^−x).
    ///
    /// # Errors
    /// As [`NoiseSchedule::linear`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::sigmoid(3, 1e-4, 0.02)?;
    /// assert_eq!(schedule.beta(1)?, (1e-4 + 0.02) / 2.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn sigmoid(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        check_beta(0, beta_start)?;
        check_beta(train_steps.saturating_sub(1), beta_end)?;
        Self::from_ramp(train_steps, -6.0, 6.0, |x| beta_start + (beta_end - beta_start) / (1.0 + libm::exp(-x)))
    }

    /// The same β at every t.
    ///
    /// # Errors
    /// As [`NoiseSchedule::linear`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::constant(2, 0.5)?.level(1)?.alpha_bar(), 0.25);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn constant(train_steps: usize, beta: f64) -> Result<Self, Error> {
        check_beta(0, beta)?;
        Self::from_ramp(train_steps, beta, beta, |beta| beta)
    }

    /// The cosine schedule of improved DDPM with its published offset 0.008 and cap 0.999
    /// (Nichol and Dhariwal 2021, Eq. 17): [`NoiseSchedule::cosine_with`].
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::cosine(1000)?;
    /// assert!((schedule.beta(500)? - 3.1557e-3).abs() < 1e-7);
    /// assert_eq!(schedule.beta(999)?, 0.999);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn cosine(train_steps: usize) -> Result<Self, Error> {
        Self::cosine_with(train_steps, 0.008, 0.999)
    }

    /// The cosine schedule of improved DDPM (Nichol and Dhariwal 2021, Eq. 17):
    /// β_t = min(1 − f((t+1)/T)/f(t/T), cap) with f(u) = cos²((u + offset)/(1 + offset)·π/2).
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless the offset is in [0, 1] and the cap
    /// inside (0, 1).
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::cosine_with(4000, 0.008, 0.999)?, NoiseSchedule::cosine(4000)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn cosine_with(train_steps: usize, offset: f64, max_beta: f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        require((0.0..=1.0).contains(&offset), "offset", offset, "inside [0, 1]")?;
        check_max_beta(max_beta)?;
        let angle_step = FRAC_PI_2 / (1.0 + offset) / train_steps as f64;
        let betas = (0..train_steps).map(|t| {
            // With the angles a < b of the two levels, 1 − cos²b/cos²a = sin(b − a)·sin(b + a)/cos²a has no subtraction, nor
            // has cos a = sin(π/2 − a). The sum b + a is taken from 0 or from π, whichever is nearer (Eq. 17).
            let sum = if 2 * t < train_steps {
                ((2 * t + 1) as f64 + 2.0 * offset * train_steps as f64) * angle_step
            } else {
                (2 * (train_steps - t) - 1) as f64 * angle_step
            };
            let signal = libm::sin((train_steps - t) as f64 * angle_step);
            let beta = libm::sin(angle_step) * libm::sin(sum) / (signal * signal);
            beta.min(max_beta)
        });
        Self::from_betas(betas)
    }

    /// β = 1/T, 1/(T−1), …, 1, so that ᾱ_t = (T−1−t)/T falls linearly to zero terminal SNR ("jsd" in the DDPM code;
    /// Sohl-Dickstein et al. 2015).
    ///
    /// As ᾱ_{T−1} = 0, an ε-prediction determines no x₀ there.
    ///
    /// # Errors
    /// [`Error::Count`] unless 2 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::jsd(4)?;
    /// assert_eq!(schedule.betas(), [0.25, 1.0 / 3.0, 0.5, 1.0]);
    /// assert_eq!(schedule.level(3)?.alpha_bar(), 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn jsd(train_steps: usize) -> Result<Self, Error> {
        require_count("T", train_steps, 2, MAX_TRAIN_STEPS)?;
        let total = train_steps as f64;
        let levels = (0..train_steps).map(|t| {
            NoiseLevel::preserving(
                Dd::quotient((train_steps - 1 - t) as f64, total),
                Dd::quotient((t + 1) as f64, total),
            )
        });
        Self::from_levels(levels)
    }

    /// The Laplace schedule: log-SNR follows the Laplace distribution's quantiles,
    /// λ(u) = μ − b·sgn(½ − u)·ln(1 − 2|u − ½|), at u = (t + ½)/T (Hang et al. 2024, section 3.2, with μ = 0, b = 0.5).
    ///
    /// Not the "laplace" of Python's diffusers, which takes the square root of that ᾱ for ᾱ; a checkpoint trained with it needs
    /// [`NoiseSchedule::from_alpha_bar_fn`].
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless |μ| ≤ 50 and 0 < b ≤ 10.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::laplace(3, 0.0, 0.5)?;
    /// assert_eq!(schedule.level(1)?.log_snr(), 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn laplace(train_steps: usize, mu: f64, b: f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        require(mu.abs() <= 50.0, "μ", mu, "inside [−50, 50]")?;
        require(b > 0.0 && b <= 10.0, "b", b, "inside (0, 10]")?;
        let levels = (0..train_steps).map(|t| {
            // 1 − 2|u − ½| is (2t + 1)/T in the lower half and (2(T − t) − 1)/T in the upper.
            let doubled = 2 * t + 1;
            let (tail, side) = if doubled <= train_steps { (doubled, -b) } else { (2 * train_steps - doubled, b) };
            let quantile = Dd::from(side) * Dd::quotient(tail as f64, train_steps as f64).ln();
            NoiseLevel::from_log_snr_dd(Dd::from(mu) + quantile)
        });
        Self::from_levels(levels)
    }

    /// β_t = v for a value `v = transform(x_t)` of a ramp x_t that runs evenly from `start` to `end`.
    fn from_ramp(train_steps: usize, start: f64, end: f64, transform: impl Fn(f64) -> f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        let last = train_steps - 1;
        Self::from_betas((0..train_steps).map(|t| {
            // Counted from the nearer end, so that both ends are met to the last bit.
            let value = if 2 * t <= last {
                start + (end - start) * t as f64 / last.max(1) as f64
            } else {
                end - (end - start) * (last - t) as f64 / last as f64
            };
            transform(value)
        }))
    }
}

/// From data of one's own.
impl NoiseSchedule {
    /// A schedule from β_0, β_1, …, each inside (0, 1).
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than [`MAX_TRAIN_STEPS`], [`Error::Beta`] for a β outside (0, 1) or
    /// NaN, [`Error::AlphaBar`] where the product underflows.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::from_betas([0.25, 0.5])?;
    /// assert_eq!(schedule.level(1)?.alpha_bar(), 0.375);
    /// assert!(NoiseSchedule::from_betas([0.1, f64::NAN]).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_betas(betas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let betas: Vec<f64> = betas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        check_train_steps(betas.len())?;
        let mut level = NoiseLevel::CLEAN;
        let mut levels = Vec::with_capacity(betas.len());
        for (t, &beta) in betas.iter().enumerate() {
            check_beta(t, beta)?;
            let previous = level;
            level = NoiseLevel::preserving(
                Dd::sum(1.0, -beta) * level.alpha_bar, // ᾱ_t = (1−β_t)·ᾱ_{t−1}
                level.one_minus_alpha_bar + Dd::from(beta) * level.alpha_bar, // 1−ᾱ_t = (1−ᾱ_{t−1}) + β_t·ᾱ_{t−1}
            );
            // Far below this, products lose the digits that `Dd` promises.
            if level.alpha_bar() < 1e-250 {
                return Err(Error::AlphaBar { t, value: level.alpha_bar() });
            }
            // A β below 1e-32 leaves no trace in an ᾱ of 32 digits.
            if !(previous.gap_to(&level) > Dd::ZERO) {
                return Err(Error::AlphaBarNotFalling { t, value: level.alpha_bar(), previous: previous.alpha_bar() });
            }
            levels.push(level);
        }
        Ok(Self { betas, levels })
    }

    /// A schedule from ᾱ_0 > ᾱ_1 > …, each inside (0, 1); the last may be 0.
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than [`MAX_TRAIN_STEPS`], [`Error::AlphaBar`] and
    /// [`Error::AlphaBarNotFalling`] with the offending entry.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::from_alpha_bars([0.75, 0.375])?;
    /// assert_eq!(schedule.betas(), [0.25, 0.5]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_alpha_bars(alpha_bars: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let alpha_bars: Vec<f64> = alpha_bars.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        check_train_steps(alpha_bars.len())?;
        let last = alpha_bars.len() - 1;
        let mut levels = Vec::with_capacity(alpha_bars.len());
        for (t, &value) in alpha_bars.iter().enumerate() {
            if !(value > 0.0 && value < 1.0 || value == 0.0 && t == last) {
                return Err(Error::AlphaBar { t, value });
            }
            levels.push(NoiseLevel::from_alpha_bar(value)?);
        }
        Self::from_levels(levels)
    }

    /// A schedule from a continuous ᾱ(u), u in [0, 1], by β_t = min(1 − ᾱ((t+1)/T)/ᾱ(t/T), cap).
    ///
    /// Only ratios of ᾱ enter, so that ᾱ(0) need not be 1. The cap keeps the last β below 1 where ᾱ(1) = 0; improved DDPM
    /// uses 0.999. β comes from a subtraction of two values of the function and is as precise as those allow; the built-in
    /// families are more exact.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless the cap is inside (0, 1),
    /// [`Error::AlphaBar`] where the function is not positive before u = 1, [`Error::Beta`] where it does not fall.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::from_alpha_bar_fn(4, 0.999, |u| 1.0 - 0.5 * u)?;
    /// assert_eq!(schedule.level(3)?.alpha_bar(), 0.5);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_alpha_bar_fn(train_steps: usize, max_beta: f64, alpha_bar: impl Fn(f64) -> f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        check_max_beta(max_beta)?;
        let total = train_steps as f64;
        let start = alpha_bar(0.0);
        let mut previous = require(start > 0.0 && start.is_finite(), "ᾱ(0)", start, "positive and finite")?;
        let mut betas = Vec::with_capacity(train_steps);
        for t in 0..train_steps {
            let next = alpha_bar((t + 1) as f64 / total);
            // A quotient of two negative numbers would look like any other. The last may be 0, or rounded to below it.
            if t + 1 < train_steps && !(next > 0.0) {
                return Err(Error::AlphaBar { t, value: next });
            }
            let beta = (previous - next) / previous;
            // Not `min`, which would turn a NaN into the cap.
            betas.push(check_beta(t, if beta > max_beta { max_beta } else { beta })?);
            previous = next;
        }
        Self::from_betas(betas)
    }

    /// The schedule of given levels, from less to more noise. Only the last may be pure noise.
    fn from_levels(levels: impl IntoIterator<Item = NoiseLevel>) -> Result<Self, Error> {
        let levels: Vec<NoiseLevel> = levels.into_iter().collect();
        let mut betas = Vec::with_capacity(levels.len());
        let mut previous = NoiseLevel::CLEAN;
        for (t, level) in levels.iter().enumerate() {
            let beta = previous.transition_variance_to(level);
            // Written so that NaN, and a level after one of pure noise, fail.
            if !(beta > Dd::ZERO) {
                return Err(Error::AlphaBarNotFalling { t, value: level.alpha_bar(), previous: previous.alpha_bar() });
            }
            betas.push(beta.to_f64());
            previous = *level;
        }
        Ok(Self { betas, levels })
    }

    /// This schedule rescaled to zero terminal SNR (Lin et al. 2023, Algorithm 1): √ᾱ is shifted and stretched so that
    /// the last becomes 0 and the first stays.
    ///
    /// s_t ← (s_t − s_{T−1})·s_0/(s_0 − s_{T−1}) with s = √ᾱ. Use it with v- or x₀-prediction: an ε-prediction at ᾱ = 0
    /// determines no x₀ and is an error when a plan is built.
    ///
    /// # Errors
    /// [`Error::Count`] if T = 1.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?.rescale_zero_terminal_snr()?;
    /// assert_eq!(schedule.level(999)?.alpha_bar(), 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn rescale_zero_terminal_snr(&self) -> Result<Self, Error> {
        require_count("T", self.len(), 2, MAX_TRAIN_STEPS)?;
        let first = self.levels.first().map_or(Dd::ZERO, NoiseLevel::signal_dd);
        let last = self.levels.last().map_or(Dd::ZERO, NoiseLevel::signal_dd);
        let stretch = first / (first - last);
        Self::from_levels(self.levels.iter().map(|level| {
            let alpha_bar = ((level.signal_dd() - last) * stretch).squared();
            NoiseLevel::preserving(alpha_bar, Dd::ONE - alpha_bar)
        }))
    }
}

/// Presets: the schedules of released models.
impl NoiseSchedule {
    /// DDPM's models of CIFAR-10, LSUN and CelebA-HQ: linear, T = 1000, 1e-4 to 0.02 (Ho et al. 2020).
    ///
    /// # Errors
    /// None in fact.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::ddpm()?, NoiseSchedule::linear(1000, 1e-4, 0.02)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn ddpm() -> Result<Self, Error> {
        Self::linear(1000, 1e-4, 0.02)
    }

    /// Stable Diffusion 1.x, 2.x and XL: scaled linear, T = 1000, 0.00085 to 0.012 (Rombach et al. 2022).
    ///
    /// Their configurations pair it with leading [`Timesteps`](crate::Timesteps) of offset 1 and a path that ends at the
    /// level of t = 0; 2.x at 768 pixels predicts v.
    ///
    /// # Errors
    /// None in fact.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::stable_diffusion()?.len(), 1000);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn stable_diffusion() -> Result<Self, Error> {
        Self::scaled_linear(1000, 0.00085, 0.012)
    }

    /// Improved DDPM: cosine, T = 4000 (Nichol and Dhariwal 2021).
    ///
    /// # Errors
    /// None in fact.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::improved_ddpm()?, NoiseSchedule::cosine(4000)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn improved_ddpm() -> Result<Self, Error> {
        Self::cosine(4000)
    }
}

/// Queries.
impl NoiseSchedule {
    /// T, the number of training steps; never 0.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::constant(7, 0.1)?.len(), 7);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a schedule is never empty")]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// The noise level at t: ask it for ᾱ, 1−ᾱ, signal, noise, SNR, log-SNR and the variance-exploding σ.
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
    /// let level = schedule.level(500)?;
    /// assert_eq!(level.snr().ln(), level.log_snr());
    /// assert!(schedule.level(1000).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn level(&self, t: usize) -> Result<NoiseLevel, Error> {
        self.levels.get(t).copied().ok_or(Error::Timestep { t, train_steps: self.len() })
    }

    /// β_t = 1 − ᾱ_t/ᾱ_{t−1}, the variance that the forward process adds at t (Ho et al. 2020, Eq. 2).
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::linear(1000, 1e-4, 0.02)?.beta(999)?, 0.02);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn beta(&self, t: usize) -> Result<f64, Error> {
        self.betas.get(t).copied().ok_or(Error::Timestep { t, train_steps: self.len() })
    }

    /// β for all t.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// assert_eq!(NoiseSchedule::constant(2, 0.1)?.betas(), [0.1, 0.1]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// The levels of all t, from less to more noise.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
    /// let alpha_bars: Vec<f64> = schedule.levels().iter().map(|level| level.alpha_bar()).collect();
    /// assert!(alpha_bars.is_sorted_by(|a, b| a > b));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// The level at a t between 0 and T − 1, fractions allowed: the entry itself at a whole t, and between two entries linear in ln σ (so
    /// in the log-SNR), as k-diffusion and diffusers interpolate.
    ///
    /// Next to an entry at ᾱ = 0 there is nothing to interpolate: up to it, the entry below is taken.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ t ≤ T − 1.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// assert_eq!(schedule.level_at(500.0)?, schedule.level(500)?);
    /// let between = schedule.level_at(500.5)?.sigma();
    /// assert!((between.powi(2) - schedule.level(500)?.sigma() * schedule.level(501)?.sigma()).abs() < 1e-14);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn level_at(&self, t: f64) -> Result<NoiseLevel, Error> {
        require(t >= 0.0 && t <= (self.len() - 1) as f64, "t", t, "inside [0, T − 1]")?;
        let (entry, past) = (t as usize, t.fract());
        let level = self.level(entry)?;
        if past == 0.0 {
            return Ok(level);
        }
        let next = self.level(entry + 1)?;
        if next.is_pure_noise() {
            return Ok(level);
        }
        let (from, to) = (level.log_snr_dd(), next.log_snr_dd());
        Ok(NoiseLevel::from_log_snr_dd(from + (to - from) * Dd::from(past)))
    }

    /// The inverse of [`NoiseSchedule::level_at`]: the t at which σ = noise/signal has a value.
    ///
    /// # Errors
    /// [`Error::Sigma`] for a σ outside the table.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// assert_eq!(schedule.time_of_sigma(schedule.level(321)?.sigma())?, 321.0);
    /// assert!(schedule.time_of_sigma(80.0).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn time_of_sigma(&self, sigma: f64) -> Result<f64, Error> {
        let ends = [self.levels.first(), self.levels.last()];
        let [min, max] = ends.map(|level| level.map_or(f64::NAN, NoiseLevel::sigma));
        if !(sigma >= min && sigma <= max) {
            return Err(Error::Sigma { sigma, min, max });
        }
        // The last entry that is no noisier. σ ≥ min, so there is one.
        let entry = self.levels.partition_point(|level| level.sigma() <= sigma).saturating_sub(1);
        let level = self.level(entry)?;
        if level.sigma() == sigma {
            return Ok(entry as f64);
        }
        let next = self.level(entry + 1)?;
        if next.is_pure_noise() {
            return Ok(entry as f64);
        }
        // λ = −2·ln σ
        let (from, to) = (level.log_snr_dd(), next.log_snr_dd());
        let wanted = NoiseLevel::from_sigma(sigma)?.log_snr_dd();
        Ok(entry as f64 + ((wanted - from) / (to - from)).to_f64().clamp(0.0, 1.0))
    }

    /// The t whose (whole) log-SNR is nearest to a given one, for networks that are asked about a level of another schedule.
    ///
    /// Between two equally near the noisier is taken. ±∞ are the two ends.
    ///
    /// # Errors
    /// [`Error::Parameter`] for NaN.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
    /// let level = schedule.level(321)?;
    /// assert_eq!(schedule.nearest_to_log_snr(level.log_snr())?, 321);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn nearest_to_log_snr(&self, log_snr: f64) -> Result<usize, Error> {
        require(!log_snr.is_nan(), "log-SNR", log_snr, "a number")?;
        let noisier = self.levels.partition_point(|level| level.log_snr() > log_snr);
        let distance = |t: usize| self.levels.get(t).map_or(f64::INFINITY, |level| (level.log_snr() - log_snr).abs());
        Ok(match noisier.checked_sub(1) {
            Some(cleaner) if noisier == self.len() || distance(cleaner) < distance(noisier) => cleaner,
            _ => noisier,
        })
    }
}

fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)
}

fn check_beta(t: usize, value: f64) -> Result<f64, Error> {
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(Error::Beta { t, value }) }
}

fn check_max_beta(max_beta: f64) -> Result<f64, Error> {
    require(max_beta > 0.0 && max_beta < 1.0, "the largest β", max_beta, "inside (0, 1)")
}

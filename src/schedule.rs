//! Noise schedules: the levels ᾱ_t that a network was trained at.

mod recipe;
#[cfg(feature = "serde")]
mod stored;
mod tables;

use core::f64::consts::FRAC_PI_2;
use core::fmt;
use std::sync::Arc;

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use recipe::{Change, Family, Recipe};
use tables::{Tables, check_beta, check_ends, check_max_beta, check_train_steps, ramp};

/// The longest schedule that is accepted; a longer one is rejected as a likely mistake. It also limits paths and batches of t.
pub const MAX_TRAIN_STEPS: usize = 1_000_000;

/// The noise schedule of a diffusion model: β_t and ᾱ_t = ∏_{k≤t} (1−β_k) for t in 0..T.
///
/// It is immutable and checked when it is made: every β lies in (0, 1), ᾱ falls strictly, and every level is in the
/// [domain of `NoiseLevel`](NoiseLevel#domain). Only the last ᾱ may be 0 (zero terminal SNR). `t` is the index that the
/// network receives, 0-based as in `alphas_cumprod[t]` of diffusers; the papers count from 1.
///
/// Tables are kept at twice `f64` precision. 1−ᾱ grows by the recurrence of positive terms
/// 1−ᾱ_t = (1−ᾱ_{t−1}) + β_t·ᾱ_{t−1} and never comes from a subtraction.
///
/// `Debug` and `Display` show how a schedule was made, not its tables. The feature `serde` also stores how it was made, for
/// example `{"linear":{"train_steps":1000,"beta_start":0.0001,"beta_end":0.02}}`; reading makes and checks the schedule again.
/// (serde_json reads numbers to the last bit only with its feature `float_roundtrip`.) Two schedules are equal if their tables
/// are.
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
#[doc(alias("beta_schedule", "betas", "alphas_cumprod"))]
#[derive(Clone)]
pub struct NoiseSchedule {
    // Shared, so that paths can keep their schedule.
    recipe: Arc<Recipe>,
    tables: Arc<Tables>,
}

impl PartialEq for NoiseSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.tables == other.tables
    }
}

/// `linear(1000, 0.0001, 0.02): ᾱ = 0.9999 … 4.036e-5`.
impl fmt::Display for NoiseSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = [self.tables.levels.first(), self.tables.levels.last()]
            .map(|level| level.map_or(f64::NAN, NoiseLevel::alpha_bar));
        write!(f, "{}: ᾱ = {first:.4} … {last:.3e}", self.recipe)
    }
}

impl fmt::Debug for NoiseSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoiseSchedule({self})")
    }
}

/// Families of schedules.
impl NoiseSchedule {
    /// β rises linearly, β_t = b₀ + (b₁ − b₀)·t/(T−1) (Ho et al. 2020, section 4, with 1e-4 and 0.02).
    ///
    /// What Stable Diffusion's configurations call "linear" is [`NoiseSchedule::scaled_linear`].
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Beta`] if an end is outside (0, 1), and the errors of
    /// [`NoiseSchedule::from_betas`].
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::linear(3, 0.1, 0.3)?;
    /// assert_eq!(schedule.betas(), [0.1, 0.2, 0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        check_ends(train_steps, beta_start, beta_end)?;
        let betas = ramp(train_steps, beta_start, beta_end)?;
        Self::of_betas(Family::linear(train_steps, beta_start, beta_end), betas)
    }

    /// √β rises linearly, β_t = (√b₀ + (√b₁ − √b₀)·t/(T−1))².
    ///
    /// The schedule of latent diffusion. Its authors (CompVis) call it "linear"; the code of DDIM's authors calls it "quad".
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
        check_ends(train_steps, beta_start, beta_end)?;
        let betas = ramp(train_steps, beta_start.sqrt(), beta_end.sqrt())?.map(|root| root * root);
        Self::of_betas(Family::scaled_linear(train_steps, beta_start, beta_end), betas)
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
        check_ends(train_steps, beta_start, beta_end)?;
        let betas = ramp(train_steps, -6.0, 6.0)?.map(|x| beta_start + (beta_end - beta_start) / (1.0 + libm::exp(-x)));
        Self::of_betas(Family::sigmoid(train_steps, beta_start, beta_end), betas)
    }

    /// β is equal at every t.
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
        check_train_steps(train_steps)?;
        Self::of_betas(Family::constant(train_steps, beta), core::iter::repeat_n(beta, train_steps))
    }

    /// The cosine schedule of improved DDPM with the published offset 0.008 and cap 0.999
    /// (Nichol and Dhariwal 2021, Eq. 17); `squaredcos_cap_v2` in diffusers. For others see [`NoiseSchedule::cosine_with`].
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
    #[doc(alias = "squaredcos_cap_v2")]
    pub fn cosine(train_steps: usize) -> Result<Self, Error> {
        Self::cosine_with(train_steps, 0.008, 0.999)
    }

    /// The cosine schedule of improved DDPM with an offset and a cap of your choice (Nichol and Dhariwal 2021, Eq. 17).
    ///
    /// ```text
    /// β_t = min(1 − f((t+1)/T)/f(t/T), cap),    f(u) = cos²((u + offset)/(1 + offset)·π/2)
    /// ```
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless the offset is in [0, 1] and the cap
    /// inside (0, 1).
    pub fn cosine_with(train_steps: usize, offset: f64, max_beta: f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        require((0.0..=1.0).contains(&offset), "offset", offset, "inside [0, 1]")?;
        check_max_beta(max_beta)?;
        let angle_step = FRAC_PI_2 / (1.0 + offset) / train_steps as f64;
        let betas = (0..train_steps).map(|t| {
            // Let a < b be the angles of the two levels. Then 1 − cos²b/cos²a = sin(b − a)·sin(b + a)/cos²a needs no
            // subtraction, and neither does cos a = sin(π/2 − a). The sum b + a is counted from 0 or from π, whichever is
            // nearer (Eq. 17).
            let sum = if 2 * t < train_steps {
                ((2 * t + 1) as f64 + 2.0 * offset * train_steps as f64) * angle_step
            } else {
                (2 * (train_steps - t) - 1) as f64 * angle_step
            };
            let signal = libm::sin((train_steps - t) as f64 * angle_step);
            let beta = libm::sin(angle_step) * libm::sin(sum) / (signal * signal);
            beta.min(max_beta)
        });
        Self::of_betas(Family::cosine(train_steps, offset, max_beta), betas)
    }

    /// β = 1/T, 1/(T−1), …, 1, so that ᾱ_t = (T−1−t)/T falls linearly to zero terminal SNR (Sohl-Dickstein et al. 2015).
    ///
    /// The code of DDPM's authors calls it "jsd". Since ᾱ_{T−1} = 0, x₀ cannot be computed from ε there.
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
        Ok(Self::of(Family::jsd(train_steps), Tables::of_levels(levels)?))
    }

    /// The Laplace schedule: log-SNR follows the quantiles of a Laplace distribution (Hang et al. 2024, section 3.2, with μ = 0
    /// and b = 0.5).
    ///
    /// ```text
    /// ln SNR = μ − b·sgn(½ − u)·ln(1 − 2|u − ½|)    at u = (t + ½)/T
    /// ```
    ///
    /// The "laplace" of diffusers uses √ᾱ in place of ᾱ; for a network trained with it use
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
        Ok(Self::of(Family::laplace(train_steps, mu, b), Tables::of_levels(levels)?))
    }

    fn of(recipe: impl Into<Recipe>, tables: Tables) -> Self {
        Self { recipe: Arc::new(recipe.into()), tables: Arc::new(tables) }
    }

    /// The schedule of these β, made by this family.
    fn of_betas(family: Family, betas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        Ok(Self::of(family, Tables::of_betas(betas.into_iter().collect())?))
    }
}

/// From custom data.
impl NoiseSchedule {
    /// A schedule from β_0, β_1, …, each inside (0, 1).
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than [`MAX_TRAIN_STEPS`], [`Error::Beta`] for a β outside (0, 1) or
    /// NaN, [`Error::LevelRange`] if β_0 or a product of 1−β is below 1e-90, [`Error::AlphaBarNotFalling`] for a β so small
    /// that it does not change ᾱ.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::from_betas([0.25, 0.5])?;
    /// assert_eq!(schedule.level(1)?.alpha_bar(), 0.375);
    /// assert!(NoiseSchedule::from_betas([0.1, f64::NAN]).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "trained_betas")]
    pub fn from_betas(betas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let betas: Vec<f64> = betas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        check_train_steps(betas.len())?;
        let tables = Tables::of_betas(betas)?;
        Ok(Self::of(Family::betas(tables.betas.clone()), tables))
    }

    /// A schedule from ᾱ_0 > ᾱ_1 > …, each inside (0, 1); the last may be 0.
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than [`MAX_TRAIN_STEPS`]; [`Error::AlphaBar`],
    /// [`Error::AlphaBarNotFalling`] and [`Error::LevelRange`] (below 1e-90 but not 0) with the offending entry.
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
            levels.push(NoiseLevel::preserving(Dd::from(value), Dd::sum(1.0, -value)));
        }
        let tables = Tables::of_levels(levels)?;
        Ok(Self::of(Family::alpha_bars(alpha_bars), tables))
    }

    /// A schedule from a continuous ᾱ(u), u in [0, 1], by β_t = min(1 − ᾱ((t+1)/T)/ᾱ(t/T), cap).
    ///
    /// ᾱ(0) need not be 1, since only ratios of ᾱ are used. The cap keeps the last β below 1 if ᾱ(1) = 0; improved DDPM uses
    /// 0.999. β comes from the difference of two values of the function and is only as precise as they allow; the built-in
    /// families are more exact. The schedule is stored as its list of β.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] unless the cap is inside (0, 1),
    /// [`Error::AlphaBar`] if the function is not positive before u = 1, [`Error::Beta`] if it does not fall, and the errors
    /// of [`NoiseSchedule::from_betas`].
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
            // The quotient of two negative values would look valid. The last value may be 0, or negative by rounding.
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
}

/// From another schedule.
impl NoiseSchedule {
    /// This schedule with every SNR divided by k, ᾱ' = ᾱ/(k + (1−k)·ᾱ); k > 1 means more noise at every t.
    ///
    /// This is CogVideoX's `snr_shift_scale`, and the shift that models use for higher resolutions. In log-SNR it is an offset of
    /// −ln k. Shifts by j and by k together are one shift by j·k. Shift first and rescale to zero terminal SNR afterwards, as the
    /// models do.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless k is in [1e-100, 1e100], [`Error::LevelRange`] if a level leaves the
    /// [domain of `NoiseLevel`](NoiseLevel#domain), [`Error::Count`] for more than 100 changes of one schedule.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// let shifted = schedule.shifted(3.0)?;
    /// let offset = shifted.level(500)?.log_snr() - schedule.level(500)?.log_snr();
    /// assert!((offset + 3.0_f64.ln()).abs() < 1e-14);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias("snr_shift_scale", "timestep shift", "resolution shift"))]
    pub fn shifted(&self, k: f64) -> Result<Self, Error> {
        require((1e-100..=1e100).contains(&k), "the shift k", k, "inside [1e-100, 1e100]")?;
        let recipe = self.recipe.then(Change::Shifted(k))?;
        let levels = self.levels().iter().map(|level| level.with_snr_divided_by(k));
        Ok(Self::of(recipe, Tables::of_levels(levels)?))
    }

    /// This schedule rescaled to zero terminal SNR (Lin et al. 2023, Algorithm 1): √ᾱ is shifted and stretched so that
    /// the last becomes 0 and the first stays.
    ///
    /// ```text
    /// s_t ← (s_t − s_{T−1})·s_0/(s_0 − s_{T−1}),    s = √ᾱ
    /// ```
    ///
    /// Use it with v- or x₀-prediction. From ε, x₀ cannot be computed at ᾱ = 0; a plan that needs it there is refused.
    ///
    /// # Errors
    /// [`Error::Count`] if T = 1, or for more than 100 changes of one schedule.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?.rescale_zero_terminal_snr()?;
    /// assert_eq!(schedule.level(999)?.alpha_bar(), 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias("rescale_betas_zero_snr", "zero SNR"))]
    pub fn rescale_zero_terminal_snr(&self) -> Result<Self, Error> {
        require_count("T", self.len(), 2, MAX_TRAIN_STEPS)?;
        let recipe = self.recipe.then(Change::RescaleZeroTerminalSnr)?;
        let first = self.levels().first().copied().unwrap_or(NoiseLevel::CLEAN);
        let last = self.levels().last().copied().unwrap_or(NoiseLevel::PURE_NOISE);
        // The difference of two roots is the difference of ᾱ, which keeps its digits, divided by the sum of the roots.
        let difference = |s: &NoiseLevel, t: &NoiseLevel| s.gap_to(t) / (s.signal_dd() + t.signal_dd());
        let range = difference(&first, &last);
        let tables = Tables::of_levels(self.levels().iter().map(|level| {
            if *level == last {
                return NoiseLevel::PURE_NOISE;
            }
            let kept = difference(level, &last) / range;
            let lost = difference(&first, level) / range;
            // 1 − ᾱ_0·r² = (1 − ᾱ_0) + ᾱ_0·(1 − r)·(1 + r)
            let one_minus_alpha_bar = first.one_minus_alpha_bar + first.alpha_bar * lost * (Dd::ONE + kept);
            NoiseLevel::preserving(first.alpha_bar * kept.squared(), one_minus_alpha_bar)
        }))?;
        Ok(Self::of(recipe, tables))
    }
}

/// Presets: the schedules of released models.
impl NoiseSchedule {
    /// The schedule of DDPM's models of CIFAR-10, LSUN and CelebA-HQ: linear, T = 1000, 1e-4 to 0.02 (Ho et al. 2020).
    ///
    /// # Errors
    /// Never fails. Returns `Result` only because the general constructors do.
    pub fn ddpm() -> Result<Self, Error> {
        Self::linear(1000, 1e-4, 0.02)
    }

    /// The schedule of Stable Diffusion 1.x, 2.x and XL: scaled linear, T = 1000, 0.00085 to 0.012 (Rombach et al. 2022).
    ///
    /// Their configurations combine it with leading [`Timesteps`](crate::Timesteps) of offset 1 and a path that ends at the
    /// level of t = 0. The networks predict ε, except 2.x at 768 pixels, which predicts v.
    ///
    /// # Errors
    /// Never fails. Returns `Result` only because the general constructors do.
    #[doc(alias("SDXL", "latent diffusion"))]
    pub fn stable_diffusion() -> Result<Self, Error> {
        Self::scaled_linear(1000, 0.00085, 0.012)
    }

    /// The schedule of improved DDPM: cosine, T = 4000 (Nichol and Dhariwal 2021).
    ///
    /// # Errors
    /// Never fails. Returns `Result` only because the general constructors do.
    pub fn improved_ddpm() -> Result<Self, Error> {
        Self::cosine(4000)
    }
}

/// Queries.
impl NoiseSchedule {
    /// T, the number of training steps; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a schedule is never empty")]
    pub fn len(&self) -> usize {
        self.tables.levels.len()
    }

    /// The noise level at t, which gives ᾱ, 1−ᾱ, signal, noise, SNR, log-SNR and σ.
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T.
    pub fn level(&self, t: usize) -> Result<NoiseLevel, Error> {
        self.tables.levels.get(t).copied().ok_or(Error::Timestep { t, train_steps: self.len() })
    }

    /// β_t = 1 − ᾱ_t/ᾱ_{t−1}, the variance that the forward process adds at t (Ho et al. 2020, Eq. 2).
    ///
    /// It is 1 only if ᾱ_t = 0; a β that would round to 1 is the largest `f64` below 1.
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T.
    pub fn beta(&self, t: usize) -> Result<f64, Error> {
        self.tables.betas.get(t).copied().ok_or(Error::Timestep { t, train_steps: self.len() })
    }

    /// β for all t.
    #[must_use]
    pub fn betas(&self) -> &[f64] {
        &self.tables.betas
    }

    /// The levels of all t, from less to more noise.
    #[must_use]
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.tables.levels
    }

    /// The level at a t between 0 and T − 1, which may be a fraction.
    ///
    /// A whole t gives the entry of the table. Between two entries, ln σ (and so the log-SNR) is linear in t, as in k-diffusion and
    /// diffusers. A last entry with ᾱ = 0 has no finite σ: between it and the entry before, the entry before is taken.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ t ≤ T − 1.
    ///
    /// ```
    /// # use alphabar::NoiseSchedule;
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// assert_eq!(schedule.level_at(500.0)?, schedule.level(500)?);
    /// let between = schedule.level_at(500.5)?.sigma();
    /// assert!(
    ///     (between.powi(2)
    ///         - schedule.level(500)?.sigma() * schedule.level(501)?.sigma())
    ///     .abs()
    ///         < 1e-14
    /// );
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

    /// The largest and the smallest σ = noise/signal of the table.
    pub(crate) fn sigma_ends(&self) -> [f64; 2] {
        [self.levels().last(), self.levels().first()].map(|level| level.map_or(f64::NAN, NoiseLevel::sigma))
    }

    /// The t at which σ = noise/signal has a given value: the inverse of [`NoiseSchedule::level_at`].
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
    #[doc(alias = "sigma_to_t")]
    pub fn time_of_sigma(&self, sigma: f64) -> Result<f64, Error> {
        let [max, min] = self.sigma_ends();
        if !(sigma >= min && sigma <= max) {
            return Err(Error::Sigma { sigma, min, max });
        }
        // The last entry that is no noisier. σ ≥ min, so there is one.
        let entry = self.levels().partition_point(|level| level.sigma() <= sigma).saturating_sub(1);
        let level = self.level(entry)?;
        if level.sigma() == sigma {
            return Ok(entry as f64);
        }
        let next = self.level(entry + 1)?;
        if next.is_pure_noise() {
            return Ok(entry as f64);
        }
        // ln SNR = −2·ln σ
        let (from, to) = (level.log_snr_dd(), next.log_snr_dd());
        let wanted = NoiseLevel::from_sigma(sigma)?.log_snr_dd();
        Ok(entry as f64 + ((wanted - from) / (to - from)).to_f64().clamp(0.0, 1.0))
    }

    /// The t with the closest log-SNR (the full one). Use it to run a network at a level of another schedule.
    ///
    /// If two t are equally close, this is the noisier one. ±∞ give the two ends.
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
        let noisier = self.levels().partition_point(|level| level.log_snr() > log_snr);
        let distance = |t: usize| self.levels().get(t).map_or(f64::INFINITY, |level| (level.log_snr() - log_snr).abs());
        Ok(match noisier.checked_sub(1) {
            Some(cleaner) if noisier == self.len() || distance(cleaner) < distance(noisier) => cleaner,
            _ => noisier,
        })
    }
}

//! What diffusers computes where this crate computes something else, to reproduce its images.
//!
//! Nothing here is used by default, and nothing here is more accurate. It is checked against diffusers 0.42.1.
//!
//! | diffusers | alphabar | to reproduce diffusers |
//! |---|---|---|
//! | tables of β and ᾱ in `f32`; 1−ᾱ has a relative error of up to 1.7e-4 (linear) or 5e-4 (cosine) | twice the precision of `f64` | [`Tables`] |
//! | DDIM steps from t to t − ⌊T/S⌋, whatever the next timestep is | to the next timestep | [`ddim`], [`ddim_inverse`] |
//! | DDPM computes β = 1 − ᾱ_t/ᾱ_s in `f32`, with a relative error of up to 2e-3 | exactly | [`ddpm`] |
//! | DDPM adds noise if t > 0, also on the step to clean data | no noise on the step to clean data | [`ddpm`] |
//! | β̃ is at least 1e-20 | β̃ | [`ddpm`] |
//!
//! The timesteps are the same but for three cases. A single "linspace" step is `[0]` in diffusers; here use
//! [`Timesteps::explicit`](crate::Timesteps::explicit) with `[0]`. "trailing" has S + 1 entries for some S, the last of them
//! t = −1. "leading" may ask for t = T, from which diffusers cannot step either.
//!
//! Not reproduced are a step at t = −1, for which diffusers reads the table at T − 1, and its NaNs and infinities: those of
//! `fixed_large_log`, of radicands that are negative in `f32`, and of ε-prediction at zero terminal SNR. The operations on
//! tensors are not imitated one by one either, and so an image agrees within the rounding of `f32`. The noise of torch has to
//! be passed in as a tensor.
//!
//! ```
//! use alphabar::{Ddim, Lint, PathEnd, Plan, Timesteps, compat};
//!
//! let schedule = compat::Tables::scaled_linear(1000, 0.00085, 0.012)?.schedule()?;
//! let tau = Timesteps::linspace(1000, 10)?.ending(PathEnd::FirstLevel);
//! let plan = compat::ddim(&Plan::builder(&schedule, &tau), 10, &Ddim::deterministic())?;
//! // To t = 899, although the next step starts at t = 888.
//! assert_eq!((plan.steps()[0].t, plan.steps()[0].s, plan.steps()[1].t), (999.0, Some(899.0), 888.0));
//! assert!(plan.lint().iter().any(|odd| matches!(odd, Lint::Disconnected { index: 0, .. })));
//! # Ok::<(), alphabar::Error>(())
//! ```

#[cfg(feature = "hub")]
mod k_diffusion;
#[cfg(feature = "hub")]
mod sigmas;

use core::f64::consts::PI;

#[cfg(feature = "hub")]
pub(crate) use k_diffusion::{Listed, LmsOfList, Times};
#[cfg(feature = "hub")]
pub(crate) use sigmas::{Sigmas, Spread};

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Path, Point};
use crate::plan::{Plan, PlanBuilder};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::{Combination, Ddim, Ddpm, Solver, Variance};
use crate::timesteps::{PathEnd, Timesteps};

/// The precision of diffusers' tables and lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// `f32`, as diffusers has them.
    #[default]
    F32,
    /// `f64`: what diffusers would compute if it held `f64`. It tells its departures in the method from those by rounding.
    F64,
}

/// The `f32` tables of a scheduler of diffusers, `betas` and `alphas_cumprod`.
///
/// They are those of torch on a CPU, bit for bit. [`Tables::sigmoid`] and [`Tables::rescale_zero_terminal_snr`] may differ in
/// the last bits, and say by how much.
///
/// ```
/// use alphabar::compat::Tables;
///
/// let tables = Tables::linear(1000, 1e-4, 0.02)?;
/// assert_eq!(tables.alphas_cumprod()[999], 4.035_830_4e-5);
/// // Exact arithmetic on the same β gives 4.035829765e-5.
/// assert_eq!(tables.schedule()?.level(999)?.alpha_bar(), f64::from(4.035_830_4e-5_f32));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    betas: Vec<f32>,
    alphas_cumprod: Vec<f32>,
}

impl Tables {
    /// `linear`: β from `beta_start` to `beta_end`, by torch's `linspace`.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`], [`Error::Beta`] for a β outside (0, 1).
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::linear(3, 0.1, 0.3)?.betas(), [0.1, 0.2, 0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        Self::checked(linspace(beta_start, beta_end, train_steps)?)
    }

    /// `scaled_linear`: √β by `linspace`, squared.
    ///
    /// # Errors
    /// As [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::scaled_linear(1000, 0.00085, 0.012)?.alphas_cumprod()[999], 0.004_660_095);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn scaled_linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        let roots = linspace(beta_start.sqrt(), beta_end.sqrt(), train_steps)?;
        Self::checked(roots.into_iter().map(|root| root * root).collect())
    }

    /// `squaredcos_cap_v2`: the cosine schedule, its β in `f64` and then rounded. The cap is 0.999 as an `f32`.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::cosine(1000)?.betas()[999], 0.999);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn cosine(train_steps: usize) -> Result<Self, Error> {
        Self::from_alpha_bar(train_steps, |u| {
            let cosine = libm::cos((u + 0.008) / 1.008 * PI / 2.0);
            cosine * cosine
        })
    }

    /// `laplace`: the square root of the paper's ᾱ, which is [`NoiseSchedule::laplace`] with μ = 0, b = 0.5.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert!((Tables::laplace(1000)?.alphas_cumprod()[500] - 0.7073).abs() < 1e-4);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn laplace(train_steps: usize) -> Result<Self, Error> {
        Self::from_alpha_bar(train_steps, |u| {
            let side = if u > 0.5 { -1.0 } else { 1.0 };
            let snr = libm::exp(-0.5 * side * libm::log(1.0 - 2.0 * (0.5 - u).abs() + 1e-6));
            (snr / (1.0 + snr)).sqrt()
        })
    }

    /// `sigmoid`: β_i = σ(−6 + 12·i/(T−1))·(`beta_end` − `beta_start`) + `beta_start`.
    ///
    /// torch's sigmoid in `f32` is not correctly rounded and differs between processors. This one is correctly rounded, and its
    /// β are within 2 units in the last place of torch's.
    ///
    /// # Errors
    /// As [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert!((Tables::sigmoid(1000, 1e-4, 0.02)?.betas()[0] - 1.492e-4).abs() < 1e-7);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn sigmoid(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<Self, Error> {
        let (height, foot) = ((beta_end - beta_start) as f32, beta_start as f32);
        let logistic = |u: f32| (1.0 / (1.0 + libm::exp(-f64::from(u)))) as f32;
        Self::checked(linspace(-6.0, 6.0, train_steps)?.into_iter().map(|u| logistic(u) * height + foot).collect())
    }

    /// `trained_betas`, rounded to `f32`.
    ///
    /// # Errors
    /// As [`Tables::linear`].
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::from_betas([0.25, 0.5])?.alphas_cumprod(), [0.75, 0.375]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_betas(betas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        Self::checked(betas.into_iter().take(MAX_TRAIN_STEPS + 1).map(|beta| beta as f32).collect())
    }

    /// `rescale_betas_zero_snr`: shifts and scales √ᾱ, then computes β and ᾱ from it, all in `f32`.
    ///
    /// torch's vectorised square root in `f32` is not correctly rounded and differs between processors. This one is correctly
    /// rounded. √ᾱ is within 4e-7 of torch's for T ≥ 100, and within 3e-6 at T = 10, because the factor is larger there.
    ///
    /// # Errors
    /// [`Error::Count`] if T = 1, [`Error::Beta`] if the β of the result are not inside (0, 1], as for β that `f32` cannot tell
    /// from 0.
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// let tables = Tables::scaled_linear(1000, 0.00085, 0.012)?.rescale_zero_terminal_snr()?;
    /// assert_eq!(tables.alphas_cumprod()[999], 0.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn rescale_zero_terminal_snr(&self) -> Result<Self, Error> {
        require_count("T", self.betas.len(), 2, MAX_TRAIN_STEPS)?;
        let signals: Vec<f32> = self.alphas_cumprod.iter().map(|alpha_bar| alpha_bar.sqrt()).collect();
        let first = signals.first().copied().unwrap_or(1.0);
        let last = signals.last().copied().unwrap_or(0.0);
        let stretch = first / (first - last);
        let mut previous = 1.0;
        let betas = signals.iter().map(|signal| {
            let signal = (signal - last) * stretch;
            let alpha_bar = signal * signal;
            let beta = 1.0 - alpha_bar / previous;
            previous = alpha_bar;
            beta
        });
        let betas: Vec<f32> = betas.collect();
        // The last β is 1, and the first may be 0 after rounding.
        match betas.iter().position(|beta| !(0.0..=1.0).contains(beta)) {
            Some(t) => Err(Error::Beta { t, value: betas.get(t).copied().map_or(f64::NAN, f64::from) }),
            None => Ok(Self::of(betas)),
        }
    }

    /// β of each t: `betas`.
    #[must_use]
    pub fn betas(&self) -> &[f32] {
        &self.betas
    }

    /// ᾱ of each t: `alphas_cumprod`.
    #[must_use]
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// A schedule with exactly these `f32` values as its ᾱ.
    ///
    /// # Errors
    /// [`Error::AlphaBar`] or [`Error::AlphaBarNotFalling`] if a ᾱ is 1 in `f32`, equal to its neighbour, or 0 before the last.
    ///
    /// ```
    /// # use alphabar::compat::Tables;
    /// assert_eq!(Tables::from_betas([0.25, 0.5])?.schedule()?.level(1)?.alpha_bar(), 0.375);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn schedule(&self) -> Result<NoiseSchedule, Error> {
        NoiseSchedule::from_alpha_bars(self.alphas_cumprod.iter().map(|&alpha_bar| f64::from(alpha_bar)))
    }

    fn from_alpha_bar(train_steps: usize, alpha_bar: impl Fn(f64) -> f64) -> Result<Self, Error> {
        check_train_steps(train_steps)?;
        let at = |i: usize| alpha_bar(i as f64 / train_steps as f64);
        Self::checked((0..train_steps).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect())
    }

    fn checked(betas: Vec<f32>) -> Result<Self, Error> {
        check_train_steps(betas.len())?;
        for (t, &beta) in betas.iter().enumerate() {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(Error::Beta { t, value: f64::from(beta) });
            }
        }
        Ok(Self::of(betas))
    }

    /// torch's `cumprod` multiplies in `f64` and rounds each entry.
    fn of(betas: Vec<f32>) -> Self {
        let mut product = 1.0;
        let alphas_cumprod = betas.iter().map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        });
        Self { alphas_cumprod: alphas_cumprod.collect(), betas }
    }
}

/// torch's `linspace` in `f32`: counted from the nearer end.
fn linspace(start: f64, end: f64, len: usize) -> Result<Vec<f32>, Error> {
    check_train_steps(len)?;
    let (start, end) = (start as f32, end as f32);
    if len == 1 {
        return Ok(vec![start]);
    }
    let step = (end - start) / (len - 1) as f32;
    Ok((0..len)
        .map(|i| {
            // One rounding for product and sum, as torch's kernels have it; with two, 15 to 20 % of the entries differ.
            if i < len / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((len - 1 - i) as f32, end) }
        })
        .collect())
}

fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)
}

/// The plan of `DDIMScheduler`: each step goes from t to t − ⌊T/S⌋, and below 0 to the end of τ.
///
/// S is `num_inference_steps`. Normally S = `tau.len()`. After `with_strength`, pass the length *before* it. If t − ⌊T/S⌋ is the
/// next timestep, [`PlanBuilder::build`] gives the same plan; this holds for [`Timesteps::leading`](crate::Timesteps::leading)
/// with S ≤ T/2, and for trailing if S divides T. Otherwise a step ends at another level than the next step starts from, and
/// [`Plan::lint`] reports this. The direction of τ is ignored.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ S ≤ T, and those of [`PlanBuilder::build`].
///
/// ```
/// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 7)?);
/// let plan = compat::ddim(&Plan::builder(&schedule, &tau), 7, &Ddim::deterministic())?;
/// let went: Vec<_> = plan.steps().iter().filter_map(|step| step.s).collect();
/// assert_eq!(went, [857.0, 714.0, 571.0, 428.0, 286.0, 143.0, 0.0]);
/// assert_eq!(tau.as_slice()[1..], [856, 713, 570, 428, 285, 142]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddim(plan: &PlanBuilder<'_>, inference_steps: usize, method: &Ddim) -> Result<Plan, Error> {
    let (schedule, tau, stride) = trained(plan, inference_steps)?;
    let legs = tau.as_slice().iter().map(|&t| {
        let told = Point::new(t as f64, schedule.level(t)?);
        let (s, to) = below(schedule, &tau, t, stride)?;
        Ok(Leg { told, s, ..Leg::new(told.level, to) })
    });
    let from_noise = Path::trained(schedule, &tau)?.starts_in_noise();
    let legs = Legs::new(legs.collect::<Result<_, Error>>()?, None);
    plan.build_legs(method, &legs, from_noise)
}

/// The plan of `DDIMInverseScheduler`: each step goes from t − ⌊T/S⌋, or from the end of τ if that is below 0, to t. The
/// network is conditioned on t.
///
/// If t − ⌊T/S⌋ is the timestep before t, encoding with [`Conditioning::Destination`](crate::Conditioning::Destination) gives
/// the same plan. S is as in [`ddim`]. The direction of τ is ignored.
///
/// # Errors
/// As [`ddim`].
///
/// ```
/// # use alphabar::{NoiseSchedule, Plan, Timesteps, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 7)?);
/// let plan = compat::ddim_inverse(&Plan::builder(&schedule, &tau), 7)?;
/// // The first step takes x for one at t = 0, not for clean data.
/// assert_eq!((plan.start(), plan.steps()[0].t), (schedule.level(0)?, 142.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddim_inverse(plan: &PlanBuilder<'_>, inference_steps: usize) -> Result<Plan, Error> {
    let (schedule, tau, stride) = trained(plan, inference_steps)?;
    let legs = tau.as_slice().iter().rev().map(|&t| {
        let told = Point::new(t as f64, schedule.level(t)?);
        let (_, from) = below(schedule, &tau, t, stride)?;
        Ok(Leg { told, s: Some(told.t), ..Leg::new(from, told.level) })
    });
    let from_noise = Path::trained(schedule, &tau)?.starts_in_noise();
    let legs = Legs::new(legs.collect::<Result<_, Error>>()?, None);
    plan.build_legs(&Ddim::deterministic(), &legs, from_noise)
}

/// The plan of `DDPMScheduler`: along τ to clean data, whatever the end of τ, with the scalars of `f32`, with noise on every
/// step but one from t = 0, and with a posterior variance of at least 1e-20.
///
/// ```text
/// α = ᾱ_t/ᾱ_s,  β = 1 − α                               each rounded to f32: β cancels
/// x_s = √ᾱ_s·β/(1−ᾱ_t)·x̂₀ + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t + σ·z   Eq. 7 (Ho et al. 2020)
/// ```
///
/// With [`Tables`] a run in `f32` agrees with that of diffusers to 1.5e-6 (S ≤ 100), where exact scalars differ by up to
/// 5e-6, and by up to 2e-4 in long runs.
///
/// If τ ends at t = 0, the result is clean data. Otherwise it contains noise. Its variance is 1 − ᾱ_t with
/// [`Variance::Beta`], 1e-20 with [`Variance::Posterior`], and between the two with [`Variance::LearnedRange`]. The `learned`
/// of diffusers, with a σ = √v that is NaN for half of all v, is not imitated: [`Variance::Learned`] is unchanged. The
/// direction of τ is ignored.
///
/// # Errors
/// Those of [`PlanBuilder::build`], and [`Error::Parameter`] at a step if 1 − ᾱ is 0 in `f32`.
///
/// ```
/// # use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps, Variance, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 50)?);
/// let plan = compat::ddpm(&Plan::builder(&schedule, &tau), &Ddpm::new(Variance::Beta))?;
/// let last = &plan.steps()[49];
/// assert_eq!(last.t, 19.0);
/// assert!((last.coefficients.d - schedule.level(19)?.noise()).abs() < 1e-5);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddpm(plan: &PlanBuilder<'_>, method: &Ddpm) -> Result<Plan, Error> {
    let (schedule, tau) = plan.trained()?;
    let tau = tau.clone().generating().ending(PathEnd::Clean);
    let last = tau.as_slice().last().copied().unwrap_or(0);
    let method = DdpmInF32 { method: *method, ends_noisy: last > 0 };
    plan.through(schedule, &tau).build(&method)
}

/// The schedule, its timesteps from noise to data, and ⌊T/S⌋.
fn trained<'a>(plan: &PlanBuilder<'a>, inference_steps: usize) -> Result<(&'a NoiseSchedule, Timesteps, usize), Error> {
    let (schedule, tau) = plan.trained()?;
    let (expected, found) = (schedule.len(), tau.train_steps());
    if expected != found {
        return Err(Error::TrainSteps { expected, found });
    }
    Ok((schedule, tau.clone().generating(), expected / require_count("S", inference_steps, 1, expected)?))
}

/// The level a stride below t; below t = 0, the end of the path.
fn below(
    schedule: &NoiseSchedule,
    tau: &Timesteps,
    t: usize,
    stride: usize,
) -> Result<(Option<f64>, NoiseLevel), Error> {
    Ok(match (t.checked_sub(stride), tau.end()) {
        (Some(s), _) => (Some(s as f64), schedule.level(s)?),
        (None, PathEnd::Clean) => (None, NoiseLevel::CLEAN),
        (None, PathEnd::FirstLevel) => (Some(0.0), schedule.level(0)?),
    })
}

/// DDPM as diffusers computes it: scalars in `f32`, and noise by the index instead of the level.
struct DdpmInF32 {
    method: Ddpm,
    /// Whether the last index is above 0. It is the one from which a step goes to clean data.
    ends_noisy: bool,
}

impl Solver for DdpmInF32 {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        let exact = self.method.combine(leg)?;
        let [alpha_bar_t, alpha_bar_s] = [leg.from, leg.to].map(|level| level.alpha_bar() as f32);
        let (noise_t, noise_s) = (1.0 - alpha_bar_t, 1.0 - alpha_bar_s);
        require(noise_t > 0.0, "1 − ᾱ in f32", f64::from(noise_t), "above 0; this level has too little noise for f32")?;
        // Each of them rounded; 1 − α cancels.
        let alpha = alpha_bar_t / alpha_bar_s;
        let beta = 1.0 - alpha;
        let variance = (noise_s / noise_t * beta).max(LEAST_VARIANCE);
        let (z, learned_noise) = match self.method.variance() {
            _ if leg.to.is_clean() && !self.ends_noisy => (exact.z, exact.learned_noise),
            Variance::Posterior => (f64::from(variance.sqrt()).into(), None),
            Variance::Beta => (f64::from(beta.sqrt()).into(), None),
            // exp(½·(f·ln β + (1−f)·ln β̃)) with f = (v+1)/2
            Variance::LearnedRange => {
                let [most, least] = [beta, variance].map(|variance| f64::from(variance.ln()));
                (libm::exp(0.25 * (most + least)).into(), Some(0.25 * (most - least)))
            }
            Variance::Learned => (exact.z, exact.learned_noise),
        };
        Ok(Combination {
            x0: f64::from(alpha_bar_s.sqrt() * beta / noise_t).into(),
            x: f64::from(alpha.sqrt() * noise_s / noise_t).into(),
            z,
            learned_noise,
            ..exact
        })
    }
}

/// The least β̃ of diffusers, so that its logarithm is finite.
const LEAST_VARIANCE: f32 = 1e-20;

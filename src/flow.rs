//! Flow matching: rectified flows such as SD3, Flux, Qwen-Image, Wan and LTX.

use core::num::NonZeroU32;

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::path::{Path, Point, Process};
use crate::schedule::MAX_TRAIN_STEPS;

/// A flow-matching model's process: x = (1−σ)·x₀ + σ·ε for σ from 1 (noise) to 0 (data), and how sampling spaces σ
/// (Lipman et al. 2023; Liu et al. 2023; Esser et al. 2024).
///
/// There is no table of β. A *shift* moves the steps towards noise, as larger images need (Esser et al. 2024, Eq. 23):
///
/// ```text
/// σ′ = a·σ/(1 + (a − 1)·σ)
/// ```
///
/// In the log-SNR a shift is an offset of −2·ln a. Two shifts in a row are one shift by their product.
///
/// The network predicts the velocity u = ε − x₀, [`Prediction::Flow`](crate::Prediction::Flow), and an Euler step of the flow is
/// [`Ddim`](crate::Ddim) with η = 0.
///
/// ```
/// use alphabar::{Ddim, Flow, Plan, Prediction};
///
/// // Flux in 4 calls at 1024×1024, which is 4096 tokens.
/// let path = Flow::flux(4096)?.path(4)?;
/// let sigmas: Vec<f64> =
///     path.points().iter().map(|point| point.level.flow_sigma()).collect();
/// assert!((sigmas[1] - 0.904531).abs() < 1e-6);
/// let plan = Plan::builder_along(&path)
///     .prediction(Prediction::Flow)
///     .build(&Ddim::deterministic())?;
/// assert_eq!(plan.len(), 4);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("flow matching", "rectified flow", "FlowMatchEulerDiscreteScheduler"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    shift: f64,
    terminal: Option<f64>,
    time: FlowTime,
}

/// What a flow's network receives as t at a given σ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowTime {
    /// 1000·σ: SD3, LTX.
    #[default]
    Thousandth,
    /// The integer part of 1000·σ: Wan.
    WholeThousandth,
    /// σ itself: Flux, Flux.2, Qwen-Image. Their pipelines in diffusers divide the 1000·σ of the scheduler by 1000.
    Sigma,
    /// 1 − σ: t runs from noise at 0 to data at 1.
    Reversed,
    /// T·σ, for a T other than 1000 (`num_train_timesteps`).
    Scaled(NonZeroU32),
    /// T·(1 − σ): Mochi, with T = 1000.
    ScaledReversed(NonZeroU32),
}

impl FlowTime {
    fn of(self, sigma: Dd) -> f64 {
        match self {
            Self::Thousandth => (sigma * Dd::from(1000.0)).to_f64(),
            Self::WholeThousandth => (sigma * Dd::from(1000.0)).to_f64().trunc(),
            Self::Sigma => sigma.to_f64(),
            Self::Reversed => (Dd::ONE - sigma).to_f64(),
            Self::Scaled(steps) => (sigma * Dd::from(f64::from(steps.get()))).to_f64(),
            Self::ScaledReversed(steps) => ((Dd::ONE - sigma) * Dd::from(f64::from(steps.get()))).to_f64(),
        }
    }

    /// The σ at which the network receives t.
    fn sigma(self, t: f64) -> Dd {
        match self {
            Self::Thousandth | Self::WholeThousandth => Dd::quotient(t, 1000.0),
            Self::Sigma => Dd::from(t),
            Self::Reversed => Dd::sum(1.0, -t),
            Self::Scaled(steps) => Dd::quotient(t, f64::from(steps.get())),
            Self::ScaledReversed(steps) => Dd::ONE - Dd::quotient(t, f64::from(steps.get())),
        }
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self { shift: 1.0, terminal: None, time: FlowTime::default() }
    }
}

/// Models.
impl Flow {
    /// Stable Diffusion 3 and 3.5: a shift of 3 (Esser et al. 2024).
    ///
    /// # Errors
    /// Never fails. Returns `Result` only because the general constructors do.
    #[doc(alias = "SD3")]
    pub fn sd3() -> Result<Self, Error> {
        Self::default().shifted(3.0)
    }

    /// Flux.1 dev: the shift e^μ for a number of tokens, [`flux_mu`]. A latent of 128×128 has 64×64 = 4096 tokens.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ tokens ≤ 10⁹, [`Error::Parameter`] for so many that μ > 13.
    pub fn flux(tokens: usize) -> Result<Self, Error> {
        Self::default().with_time(FlowTime::Sigma).shifted_exponentially(flux_mu(tokens, &FLUX)?)
    }

    /// Flux.2: the shift e^μ with the empirical μ for tokens and steps, [`flux2_mu`].
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ tokens ≤ 10⁹ and 1 ≤ S ≤ [`MAX_TRAIN_STEPS`], [`Error::Parameter`] for so many that |μ| > 13.
    pub fn flux2(tokens: usize, steps: usize) -> Result<Self, Error> {
        Self::default().with_time(FlowTime::Sigma).shifted_exponentially(flux2_mu(tokens, steps)?)
    }

    /// Qwen-Image: the shift e^μ for a number of tokens, and a last σ of 0.02; t is σ.
    ///
    /// The scheduler of diffusers lists 1000·σ, and the pipeline divides it by 1000 before the network.
    ///
    /// # Errors
    /// As [`Flow::flux`].
    pub fn qwen_image(tokens: usize) -> Result<Self, Error> {
        let flow = Self::default().with_time(FlowTime::Sigma).shifted_exponentially(flux_mu(tokens, &QWEN_IMAGE)?)?;
        flow.stretched_to(0.02)
    }

    /// Wan 2.1 and 2.2: a shift of 3 (480p), 5 (720p) or what the model's page says; t is a whole number.
    ///
    /// The first t is 1000. The UniPC of diffusers lowers the first σ by 1e-6, so that its network receives 999 there.
    ///
    /// # Errors
    /// As [`Flow::shifted`].
    pub fn wan(shift: f64) -> Result<Self, Error> {
        Self::default().with_time(FlowTime::WholeThousandth).shifted(shift)
    }
}

/// Making a flow.
impl Flow {
    /// This flow with a further shift a, which multiplies the ones before it.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1e-6 ≤ a ≤ 1e6; the product must lie there, too.
    #[doc(alias = "time_shift")]
    pub fn shifted(self, shift: f64) -> Result<Self, Error> {
        let checked = |value: f64| require((1e-6..=1e6).contains(&value), "the shift", value, "inside [1e-6, 1e6]");
        Ok(Self { shift: checked(self.shift * checked(shift)?)?, ..self })
    }

    /// [`Flow::shifted`] by e^μ: the exponential dynamic shift.
    ///
    /// # Errors
    /// As [`Flow::shifted`].
    #[doc(alias = "mu")]
    pub fn shifted_exponentially(self, mu: f64) -> Result<Self, Error> {
        require(mu.abs() <= 13.0, "μ", mu, "inside [−13, 13]")?;
        self.shifted(libm::exp(mu))
    }

    /// This flow with its list of σ stretched so that the last is `terminal` (LTX 0.1, Qwen-Image 0.02).
    ///
    /// ```text
    /// σ ← 1 − (1−σ)·(1−terminal)/(1−σ_last)
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 1e-6 ≤ terminal < 1.
    #[doc(alias = "shift_terminal")]
    pub fn stretched_to(self, terminal: f64) -> Result<Self, Error> {
        require((1e-6..1.0).contains(&terminal), "the terminal σ", terminal, "inside [1e-6, 1)")?;
        Ok(Self { terminal: Some(terminal), ..self })
    }

    /// This flow for a network that receives another function of σ as t.
    #[must_use]
    pub fn with_time(self, time: FlowTime) -> Self {
        Self { time, ..self }
    }

    /// Applies this flow's shift to a σ: for σ drawn in training, as SD3 does.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ σ ≤ 1.
    pub fn shift_sigma(&self, sigma: f64) -> Result<f64, Error> {
        require((0.0..=1.0).contains(&sigma), "the flow's σ", sigma, "inside [0, 1]")?;
        Ok(shift_by(Dd::from(self.shift), Dd::from(sigma)).to_f64())
    }

    /// The shift a, the product of all shifts.
    #[must_use]
    pub fn shift(&self) -> f64 {
        self.shift
    }
}

/// Paths.
impl Flow {
    /// The path of S calls: σ = 1, 1 − 1/S, …, 1/S, shifted and stretched; it ends at clean data.
    ///
    /// This is what the pipelines of Flux and Qwen-Image do. (Without a list of σ, diffusers' scheduler shifts twice.)
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ [`MAX_TRAIN_STEPS`].
    pub fn path(&self, steps: usize) -> Result<Path, Error> {
        require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
        self.along((0..steps).map(|i| Dd::quotient((steps - i) as f64, steps as f64)))
    }

    /// The path through a custom list of σ, from noise to data, shifted and stretched. A 0 at its end stands for the end of the path.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a σ outside [1e-45, 1], before or after the shift, and those of [`Path::new`].
    pub fn path_through(&self, sigmas: impl IntoIterator<Item = f64>) -> Result<Path, Error> {
        let mut sigmas: Vec<f64> = sigmas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        if sigmas.last() == Some(&0.0) {
            sigmas.pop();
        }
        for sigma in &sigmas {
            require(*sigma >= 1e-45 && *sigma <= 1.0, "a σ of the flow", *sigma, "inside [1e-45, 1]")?;
        }
        self.along(sigmas.into_iter().map(Dd::from))
    }

    fn along(&self, sigmas: impl Iterator<Item = Dd>) -> Result<Path, Error> {
        let mut sigmas: Vec<Dd> = sigmas.map(|sigma| shift_by(Dd::from(self.shift), sigma)).collect();
        for sigma in sigmas.iter().map(|sigma| sigma.to_f64()) {
            require(sigma >= 1e-45, "a shifted σ of the flow", sigma, "at least 1e-45")?;
        }
        let through = |sigmas: &[Dd]| Path::new(sigmas.iter().map(|sigma| self.point(*sigma)));
        // Also checked before the stretch: a list that does not fall may fall after the stretch, or leave [0, 1].
        let mut path = through(&sigmas)?;
        if let (Some(terminal), Some(last)) = (self.terminal, sigmas.last().copied()) {
            let rest = Dd::ONE - last;
            // A single step from pure noise has nothing to stretch.
            if rest > Dd::ZERO {
                let stretch = (Dd::ONE - Dd::from(terminal)) / rest;
                sigmas.iter_mut().for_each(|sigma| *sigma = Dd::ONE - (Dd::ONE - *sigma) * stretch);
                path = through(&sigmas)?;
            }
        }
        let from_noise = path.points().first().is_some_and(|point| point.level.is_pure_noise());
        Ok(path.of_process(self).between_ends(from_noise, self.point(Dd::ZERO)))
    }

    fn point(&self, sigma: Dd) -> Point {
        Point::new(self.time.of(sigma), NoiseLevel::flow_dd(sigma))
    }
}

/// σ′ = a·σ/(1 + (a − 1)·σ), as a·σ/((1 − σ) + a·σ), a sum of positive terms.
fn shift_by(shift: Dd, sigma: Dd) -> Dd {
    let shifted = shift * sigma;
    shifted / ((Dd::ONE - sigma) + shifted)
}

impl Process for Flow {
    /// σ is noise/signal, as everywhere: σ = ∞ is the flow's σ = 1.
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        require(sigma >= 0.0, "σ", sigma, "at least 0")?;
        if sigma == f64::INFINITY {
            return Ok(self.point(Dd::ONE));
        }
        require(sigma == 0.0 || (1e-45..=1e45).contains(&sigma), "σ", sigma, "0, ∞, or inside [1e-45, 1e45]")?;
        let sigma = Dd::from(sigma);
        Ok(self.point(sigma / (Dd::ONE + sigma)))
    }

    fn sigma_range(&self) -> [f64; 2] {
        [f64::INFINITY, 0.0]
    }

    /// The flow's σ is t/1000, or what its [`FlowTime`] says; no shift is applied. [`FlowTime::WholeThousandth`] has whole t only.
    fn at_time(&self, t: f64) -> Result<Point, Error> {
        let whole = self.time != FlowTime::WholeThousandth || t.fract() == 0.0;
        require(whole, "t", t, "a whole number, as this network needs")?;
        let sigma = self.time.sigma(t);
        let value = sigma.to_f64();
        // NaN and infinities fail, too.
        let holds = value == 0.0 || (1e-45..=1.0).contains(&value) && Dd::ONE - sigma >= Dd::ZERO;
        require(holds, "the flow's σ of a t", value, "0 or inside [1e-45, 1]")?;
        Ok(Point::new(t, NoiseLevel::flow_dd(sigma)))
    }
}

/// The constants of a dynamic shift: μ is linear in the number of tokens, [`flux_mu`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DynamicShift {
    /// The smaller number of tokens, and its μ.
    pub base: (usize, f64),
    /// The larger number of tokens, and its μ.
    pub max: (usize, f64),
}

impl DynamicShift {
    /// The constants of another model: (tokens, μ) at two numbers of tokens, `base_image_seq_len` with `base_shift` and
    /// `max_image_seq_len` with `max_shift` in diffusers' configurations.
    #[must_use]
    pub const fn new(base: (usize, f64), max: (usize, f64)) -> Self {
        Self { base, max }
    }
}

/// Flux.1: μ = 0.5 at 256 tokens and 1.15 at 4096.
pub const FLUX: DynamicShift = DynamicShift { base: (256, 0.5), max: (4096, 1.15) };
/// Qwen-Image: μ = 0.5 at 256 tokens and 0.9 at 8192.
pub const QWEN_IMAGE: DynamicShift = DynamicShift { base: (256, 0.5), max: (8192, 0.9) };

/// μ for L tokens, linear through two published points: μ = μ₀ + (L − L₀)·(μ₁ − μ₀)/(L₁ − L₀).
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ L ≤ 10⁹, [`Error::Parameter`] if L₀ = L₁.
#[doc(alias("calculate_shift", "dynamic shifting"))]
pub fn flux_mu(tokens: usize, shift: &DynamicShift) -> Result<f64, Error> {
    require_count("tokens", tokens, 1, 1_000_000_000)?;
    let ((base, low), (max, high)) = (shift.base, shift.max);
    require(base != max, "the tokens of both ends of a dynamic shift", base as f64, "different")?;
    Ok(low + (tokens as f64 - base as f64) * (high - low) / (max as f64 - base as f64))
}

/// The empirical μ of Flux.2 for L tokens and S steps: linear in both up to 4300 tokens, and in the tokens alone above.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ L ≤ 10⁹ and 1 ≤ S ≤ [`MAX_TRAIN_STEPS`].
#[doc(alias = "compute_empirical_mu")]
pub fn flux2_mu(tokens: usize, steps: usize) -> Result<f64, Error> {
    require_count("tokens", tokens, 1, 1_000_000_000)?;
    require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
    let tokens = tokens as f64;
    let at_200 = 1.6927e-4 * tokens + 0.456_666_66;
    if tokens > 4300.0 {
        return Ok(at_200);
    }
    let at_10 = 8.738_095_24e-5 * tokens + 1.898_333_33;
    Ok(at_200 + (at_200 - at_10) / 190.0 * (steps as f64 - 200.0))
}

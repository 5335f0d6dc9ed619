//! Model folders: reads the `scheduler_config.json` of a model on the Hugging Face Hub and makes a [`Plan`]. Needs the feature `hub`.
//!
//! Each scheduler class of diffusers runs with its own sampler: DDIM, DDPM, PNDM, Euler, Heun, LMS, DPM-Solver, UniPC, DEIS, SA-Solver, LCM,
//! TCD, flow matching, EDM and their variants. [`SchedulerClass`] lists the classes, and [the guide](crate::guide::model_folders) names the
//! sampler of each.
//!
//! - [`notes()`](SchedulerConfig::notes) lists every setting that is ignored or computed differently than in diffusers 0.42.1.
//! - [`compat()`](SchedulerConfig::compat) makes the plans of diffusers instead.
//! - A setting that contradicts another, or makes no sense, is an error that names its key.
//!
//! ```
//! use alphabar::Ddim;
//! use alphabar::hub::SchedulerConfig;
//!
//! let config = SchedulerConfig::from_json(
//!     r#"{
//!         "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0",
//!         "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
//!         "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "clip_sample": false
//!     }"#,
//! )?;
//! for note in config.notes() {
//!     println!("{note}");
//! }
//! // PNDM calls the network twice in its first step.
//! let plan = config.plan(50)?;
//! assert_eq!((plan.len(), plan.steps()[0].t, plan.steps()[50].t), (51, 981.0, 1.0));
//! // Another sampler along the same timesteps:
//! let path = config.run(50).path()?;
//! let noisy = config.plan_builder_along(&path).build(&Ddim::new(1.0)?)?;
//! # Ok::<(), alphabar::Error>(())
//! ```
//!
//! # Euler is DDIM
//! `EulerDiscreteScheduler` works on x/√ᾱ, whose noise level is σ = √((1−ᾱ)/ᾱ); `DDIMScheduler` works on x itself. In exact
//! arithmetic they are the same sampler (Song et al. 2021, Section 4.3). So are Euler ancestral and DDIM with η = 1:
//!
//! ```text
//! x_s/√ᾱ_s = x_t/√ᾱ_t + (σ_s − σ_t)·ε̂                  DDIM, η = 0:  x_s = √ᾱ_s·x̂₀ + √(1−ᾱ_s)·ε̂
//! σ_up² = σ_s²·(σ_t² − σ_s²)/σ_t²                       DDIM, η = 1:  σ² = (1−ᾱ_s)/(1−ᾱ_t)·(1 − ᾱ_t/ᾱ_s) = ᾱ_s·σ_up²
//! ```
//!
//! All classes with a table of β run in DDIM's scale here. Give the network x as it is: the `scale_model_input` of diffusers is needed in the
//! scale x/√ᾱ only. [`Run::noise_scale`] is `init_noise_sigma`, converted to DDIM's scale.

mod class;
mod continuous;
mod file;
mod flags;
mod flow;
mod json;
mod keys;
mod multistep;
mod note;
mod read;
mod recipe;
mod run;
mod sampler;
mod shift;
mod sigma;
mod table;
mod trained;

use core::fmt;
use core::str::FromStr;

pub use class::SchedulerClass;
pub use flags::GuidedDiffusion;
pub use note::{Difference, Ignored, Note, Quirk};
pub use run::Run;

use crate::coefficients::Threshold;
use crate::compat::{Precision, Tables};
use crate::error::Error;
use crate::hub::json::{Entries, config_error};
use crate::hub::run::Calls;
use crate::hub::sampler::Sampler;
use crate::hub::trained::Trained;
use crate::path::Path;
use crate::plan::{Plan, PlanBuilder};
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::Variance;
use crate::timesteps::{PathEnd, Timesteps};

/// A scheduler configuration, read and checked.
///
/// A missing key has the default of its class in diffusers 0.42.1; defaults differ between classes. A key that the class does
/// not use is ignored, with a note. Numbers are read as `f64`, and the schedule is computed exactly; the tables of diffusers
/// are `f32`.
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "scheduler_config.json")]
#[doc(alias = "from_pretrained")]
pub struct SchedulerConfig {
    class: SchedulerClass,
    entries: Entries,
    sampler: Sampler,
    /// The precision with which plans imitate diffusers; `None` for the default plans.
    imitates: Option<Precision>,
    notes: Vec<Note>,
}

/// How the timesteps are spaced: `timestep_spacing` of diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spacing {
    /// [`Timesteps::leading`] with `steps_offset`.
    Leading,
    /// [`Timesteps::trailing`].
    Trailing,
    /// [`Timesteps::linspace`].
    Linspace,
}

impl Spacing {
    fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
        }
    }
}

impl fmt::Display for Spacing {
    /// The word in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Spacing {
    type Err = Error;

    /// Reads the word of a configuration.
    fn from_str(word: &str) -> Result<Self, Error> {
        let all = [Self::Leading, Self::Trailing, Self::Linspace];
        all.into_iter()
            .find(|spacing| spacing.name() == word)
            .ok_or_else(|| config_error("timestep_spacing", word, "is not one of leading, trailing, linspace"))
    }
}

/// From the configuration to a plan.
impl SchedulerConfig {
    /// The plan of S inference steps, as configured: [`SchedulerConfig::run`] without further arguments.
    ///
    /// # Errors
    /// The errors of [`Run::plan`].
    #[doc(alias = "set_timesteps")]
    #[doc(alias = "num_inference_steps")]
    pub fn plan(&self, steps: usize) -> Result<Plan, Error> {
        self.run(steps).plan()
    }

    /// A run of S inference steps, to which you can add the arguments of a pipeline: η, strength, μ or the number of tokens.
    ///
    /// The table at [`Run`] says which class takes which argument.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "EulerAncestralDiscreteScheduler"}"#,
    /// )?;
    /// let plan = config.run(30).eta(0.5).plan()?;
    /// // An argument that the class does not take is an error when the plan is built.
    /// assert!(config.run(30).mu(1.15).plan().is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run(&self, steps: usize) -> Run<'_> {
        Run::new(self, Calls::Count(steps))
    }

    /// A run through a list of σ: the `sigmas` of a pipeline.
    ///
    /// σ is noise/signal for a table of β and for EDM, and the flow's σ for a flow. A 0 at the end of the list is the end of the path.
    /// `EulerDiscreteScheduler` always ends its path at the last σ of the list; `LTXEulerAncestralRFScheduler` requires a 0 there. The σ of a
    /// flow are shifted, except for LTX.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let sd3 = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#,
    /// )?;
    /// let plan = sd3.run_through_sigmas([1.0, 0.75, 0.5, 0.25]).plan()?;
    /// assert_eq!(plan, sd3.plan(4)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run_through_sigmas(&self, sigmas: impl IntoIterator<Item = f64>) -> Run<'_> {
        let sigmas = sigmas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Sigmas(sigmas))
    }

    /// A run through a list of t, the noisiest first: the `timesteps` of a pipeline.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "DPMSolverMultistepScheduler"}"#,
    /// )?;
    /// let plan =
    ///     config.run_through_times([999.0, 845.0, 730.0, 587.0, 443.0]).plan()?;
    /// assert_eq!((plan.len(), plan.steps()[1].t), (5, 845.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run_through_times(&self, times: impl IntoIterator<Item = f64>) -> Run<'_> {
        let times = times.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Times(times))
    }

    /// Makes the plans of diffusers 0.42.1 instead of the exact ones, to reproduce the images of an existing pipeline.
    ///
    /// The plans then use the `f32` tables of diffusers, its lists of σ and t, and its differences from the papers, which
    /// [`notes()`](SchedulerConfig::notes) lists; it then leaves out what is reproduced. This affects [`SchedulerConfig::plan`] and every [`Run`]. A run that diffusers refuses, or for
    /// which it returns NaN, is then an error. The schedule, the timesteps and the plan builders stay exact;
    /// [`SchedulerConfig::diffusers_tables`] returns the tables.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let json = r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}"#;
    /// let config = SchedulerConfig::from_json(json)?;
    /// // A step of diffusers goes to t − ⌊T/S⌋ = 949, not to the next timestep.
    /// assert_eq!(config.plan(20)?.steps()[0].s, Some(946.0));
    /// assert_eq!(config.compat().plan(20)?.steps()[0].s, Some(949.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn compat(self) -> Self {
        self.compat_in(Precision::F32)
    }

    /// [`SchedulerConfig::compat`] with a choice of precision: `F64` is what diffusers would compute if its tables were `f64`.
    ///
    /// The two precisions differ by rounding. `F64` and the default plans differ by the method.
    ///
    /// ```
    /// use alphabar::compat::Precision;
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
    /// // With leading timesteps the method is the same, and only the tables differ.
    /// assert_eq!(
    ///     config.clone().compat_in(Precision::F64).plan(10)?.steps(),
    ///     config.plan(10)?.steps()
    /// );
    /// assert_ne!(config.clone().compat().plan(10)?.steps(), config.plan(10)?.steps());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn compat_in(self, precision: Precision) -> Self {
        let reproduced = |note: &Note| matches!(note, Note::Differs(difference) if difference.in_compat());
        let notes = self.notes.into_iter().filter(|note| !reproduced(note)).collect();
        Self { imitates: Some(precision), notes, ..self }
    }

    /// The noise schedule, rescaled to zero terminal SNR if `rescale_betas_zero_snr` is on.
    ///
    /// Every configuration with a table of β has one; it can be used for training too. It stays exact with [`SchedulerConfig::compat`]. A step
    /// from ᾱ = 0 is impossible with ε-prediction; only a plan with such a step is an error.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table of β: flow matching, EDM.
    pub fn schedule(&self) -> Result<&NoiseSchedule, Error> {
        Ok(&self.trained()?.schedule)
    }

    /// The `f32` tables that diffusers computes from this configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table of β, and the errors of [`Tables`]. The configurations of released models give none of the
    /// latter.
    #[doc(alias = "alphas_cumprod")]
    pub fn diffusers_tables(&self) -> Result<Tables, Error> {
        self.trained()?.tables()
    }

    /// The timesteps τ of S inference steps, with the spacing, offset, end and direction of the configuration.
    ///
    /// They are whole t, and a spacing of the configuration in σ is ignored. [`Run::path`] has the points at which a plan calls the network,
    /// which may lie between the timesteps.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table of β; [`Error::Count`] unless 1 ≤ S ≤ T (LCM and TCD: 1 ≤ S ≤ `original_inference_steps`);
    /// [`Error::LeadingOffset`] if `steps_offset` pushes the largest t to T or past it.
    ///
    /// ```
    /// # use alphabar::{Conditioning, Direction, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "DDIMInverseScheduler", "steps_offset": 1}"#,
    /// )?;
    /// let tau = config.timesteps(5)?;
    /// assert_eq!(tau.as_slice(), [1, 201, 401, 601, 801]);
    /// assert_eq!(tau.direction(), Direction::Encode(Conditioning::Destination));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn timesteps(&self, steps: usize) -> Result<Timesteps, Error> {
        match &self.sampler {
            Sampler::Table(trained, settings) => settings.timesteps(trained, steps),
            _ => self.trained()?.timesteps(self.class, steps),
        }
    }

    /// A [`PlanBuilder`] with the configuration's prediction type and clipping already set, to run another sampler along τ.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table of β.
    ///
    /// ```
    /// # use alphabar::{Ddim, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
    /// let tau = config.timesteps(50)?;
    /// let plan = config.plan_builder(&tau)?.build(&Ddim::new(0.5)?)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn plan_builder<'a>(&'a self, timesteps: &'a Timesteps) -> Result<PlanBuilder<'a>, Error> {
        let builder = Plan::builder(self.schedule()?, timesteps);
        Ok(builder.prediction(self.prediction()).threshold(self.threshold()))
    }

    /// A [`PlanBuilder`] with the configuration's prediction type and clipping already set, to run another sampler along a path.
    ///
    /// ```
    /// # use alphabar::{Heun, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true}"#,
    /// )?;
    /// let path = config.run(10).path()?;
    /// let plan = config.plan_builder_along(&path).build(&Heun::new())?;
    /// assert_eq!(plan.len(), 19);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn plan_builder_along<'a>(&self, path: &'a Path) -> PlanBuilder<'a> {
        Plan::builder_along(path).prediction(self.prediction()).threshold(self.threshold())
    }

    fn trained(&self) -> Result<&Trained, Error> {
        self.sampler.trained().ok_or_else(|| {
            let reason = "has no β schedule; SchedulerConfig::run(S).path() has its noise levels";
            config_error("_class_name", self.class.name(), reason)
        })
    }

    /// Every setting that is ignored or handled differently than in diffusers, and why, sorted by key.
    ///
    /// After [`SchedulerConfig::compat`] the differences that it reproduces are left out.
    ///
    /// ```
    /// # use alphabar::hub::{Note, SchedulerConfig};
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "DDPMScheduler", "speed": "fast"}"#,
    /// )?;
    /// assert_eq!(
    ///     config.notes()[0].to_string(),
    ///     "speed: unknown key, ignored (check the spelling)"
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The scheduler class that the configuration is read as.
    #[must_use]
    pub fn class(&self) -> SchedulerClass {
        self.class
    }

    /// What the network predicts: `prediction_type`, the velocity u of a flow, or F of EDM's preconditioning.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.sampler.prediction()
    }

    /// Clipping or dynamic thresholding of x̂₀. If both are on, dynamic thresholding takes precedence.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.sampler.threshold()
    }

    /// How the timesteps are spaced. `None` for a class without a table of β.
    #[must_use]
    pub fn spacing(&self) -> Option<Spacing> {
        self.sampler.trained().map(|trained| trained.spacing)
    }

    /// `steps_offset`, for leading spacing. `None` for a class without a table of β.
    #[must_use]
    pub fn steps_offset(&self) -> Option<usize> {
        self.sampler.trained().map(|trained| trained.offset)
    }

    /// The level at which the path ends: `set_alpha_to_one` or `final_sigmas_type`. `None` for a class without a table of β.
    #[must_use]
    pub fn end(&self) -> Option<PathEnd> {
        self.sampler.trained().map(|trained| trained.end)
    }

    /// DDPM's variance: `variance_type`. `None` for a class without a table of β.
    ///
    /// `fixed_small_log` is read as `fixed_small`, and `fixed_large_log` as `fixed_large`.
    #[must_use]
    pub fn variance(&self) -> Option<Variance> {
        self.sampler.trained().map(|trained| trained.variance)
    }

    /// Whether the network returns twice the channels of x, the second half for a learned variance.
    ///
    /// A plan by [`Ddpm`](crate::Ddpm) uses that half. For any other sampler, wrap the network in
    /// [`WithoutVariance`](crate::predictor::WithoutVariance), which drops it.
    #[must_use]
    pub fn has_learned_variance(&self) -> bool {
        self.sampler.trained().is_some_and(|trained| trained.learned_variance)
    }
}

//! Model folders: from the `scheduler_config.json` of the Hugging Face Hub to a [`Plan`], with the feature `hub`.
//!
//! The scheduler classes of diffusers run as themselves: DDIM, DDPM, PNDM, Euler, Heun, LMS, DPM-Solver, UniPC, DEIS, SA-Solver, LCM, TCD,
//! flow matching, EDM and their kin; [`SchedulerClass`] lists them, and [the guide](crate::guide::model_folders) says for each what it runs as.
//! [`notes()`](SchedulerConfig::notes) lists every setting that is ignored, and what is computed differently than in diffusers 0.42.1.
//! [`compat()`](SchedulerConfig::compat) gives the plans of diffusers instead. A setting that contradicts another, or makes no sense, is an
//! error that names its key.
//!
//! ```
//! use alphabar::hub::SchedulerConfig;
//! use alphabar::Ddim;
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
//! `EulerDiscreteScheduler` works on x/√ᾱ, which has the noise σ = √((1−ᾱ)/ᾱ), and `DDIMScheduler` on x itself. In exact
//! arithmetic they are one sampler (Song et al. 2021, Section 4.3), and so are Euler ancestral and DDIM with η = 1:
//!
//! ```text
//! x_s/√ᾱ_s = x_t/√ᾱ_t + (σ_s − σ_t)·ε̂                  DDIM, η = 0:  x_s = √ᾱ_s·x̂₀ + √(1−ᾱ_s)·ε̂
//! σ_up² = σ_s²·(σ_t² − σ_s²)/σ_t²                       DDIM, η = 1:  σ² = (1−ᾱ_s)/(1−ᾱ_t)·(1 − ᾱ_t/ᾱ_s) = ᾱ_s·σ_up²
//! ```
//!
//! All classes with a table of β run in DDIM's scale. Give the network x as it is: diffusers' `scale_model_input` belongs to the other scale,
//! and [`Run::noise_scale`] is its `init_noise_sigma` in this one.

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
/// A missing key has the default of its class in diffusers 0.42.1, which differs between classes. A key that its class does
/// not use is ignored, with a note. Numbers are read as `f64`, and the schedule is as exact as any other here; the tables
/// of diffusers are `f32`.
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "scheduler_config.json")]
#[doc(alias = "from_pretrained")]
pub struct SchedulerConfig {
    class: SchedulerClass,
    entries: Entries,
    sampler: Sampler,
    /// Whether, and how precisely, plans are those of diffusers.
    imitates: Option<Precision>,
    notes: Vec<Note>,
}

/// How the timesteps are spaced: `timestep_spacing`.
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
            .ok_or_else(|| config_error("timestep_spacing", word, "is none of leading, trailing, linspace"))
    }
}

/// From the configuration to a plan.
impl SchedulerConfig {
    /// The plan of S inference steps, as configured: [`SchedulerConfig::run`] without further arguments.
    ///
    /// # Errors
    /// Those of [`Run::plan`].
    #[doc(alias = "set_timesteps")]
    #[doc(alias = "num_inference_steps")]
    pub fn plan(&self, steps: usize) -> Result<Plan, Error> {
        self.run(steps).plan()
    }

    /// A run of S inference steps, for which a pipeline's arguments can be given: η, strength, μ or the number of tokens. [`Run`] says which
    /// class takes which.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "EulerAncestralDiscreteScheduler"}"#)?;
    /// let plan = config.run(30).eta(0.5).plan()?;
    /// // What a class does not take is an error of the plan.
    /// assert!(config.run(30).mu(1.15).plan().is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run(&self, steps: usize) -> Run<'_> {
        Run::new(self, Calls::Count(steps))
    }

    /// A run through a list of σ, as a pipeline's `sigmas`: noise/signal for a table and for EDM, the flow's σ for a flow. A 0 at the end is
    /// the end of the path.
    ///
    /// `EulerDiscreteScheduler` ends its path at the last σ of the list, whatever that is, and `LTXEulerAncestralRFScheduler` wants a 0 there. The
    /// σ of a flow are those before the shift, but for LTX.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let sd3 = SchedulerConfig::from_json(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#)?;
    /// let plan = sd3.run_through_sigmas([1.0, 0.75, 0.5, 0.25]).plan()?;
    /// assert_eq!(plan, sd3.plan(4)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run_through_sigmas(&self, sigmas: impl IntoIterator<Item = f64>) -> Run<'_> {
        let sigmas = sigmas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Sigmas(sigmas))
    }

    /// A run through a list of t, as a pipeline's `timesteps`, from the noisiest on.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DPMSolverMultistepScheduler"}"#)?;
    /// let plan = config.run_through_times([999.0, 845.0, 730.0, 587.0, 443.0]).plan()?;
    /// assert_eq!((plan.len(), plan.steps()[1].t), (5, 845.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn run_through_times(&self, times: impl IntoIterator<Item = f64>) -> Run<'_> {
        let times = times.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Times(times))
    }

    /// This configuration with the plans of diffusers 0.42.1: its `f32` tables, its lists of σ and t, and its departures from the papers, which
    /// [`notes()`](SchedulerConfig::notes) names. For those who must get the images of an existing pipeline.
    ///
    /// It takes effect in [`SchedulerConfig::plan`] and in every [`Run`]. A run of which diffusers makes NaN, or which it refuses, is then an
    /// error. The schedule, the timesteps and the plan builders stay exact; [`SchedulerConfig::python_tables`] has the tables.
    ///
    /// ```
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let json = r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}"#;
    /// let config = SchedulerConfig::from_json(json)?;
    /// // The steps of diffusers go to t − ⌊T/S⌋ = 949, and not to the next timestep.
    /// assert_eq!(config.plan(20)?.steps()[0].s, Some(946.0));
    /// assert_eq!(config.compat().plan(20)?.steps()[0].s, Some(949.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn compat(self) -> Self {
        self.compat_in(Precision::F32)
    }

    /// [`SchedulerConfig::compat`] with a choice of precision: in `f64`, what diffusers would compute if its tables were `f64`.
    ///
    /// The difference between the two is rounding; that between `f64` and the default is what the methods do differently.
    ///
    /// ```
    /// use alphabar::compat::Precision;
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
    /// // Along leading timesteps the method is the same, and the tables are not.
    /// assert_eq!(config.clone().compat_in(Precision::F64).plan(10)?.steps(), config.plan(10)?.steps());
    /// assert_ne!(config.clone().compat().plan(10)?.steps(), config.plan(10)?.steps());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn compat_in(self, precision: Precision) -> Self {
        Self { imitates: Some(precision), ..self }
    }

    /// The noise schedule, rescaled to zero terminal SNR if `rescale_betas_zero_snr` says so. It is exact also with
    /// [`SchedulerConfig::compat`].
    ///
    /// It is there for every configuration with a table of β, for training too. A step that the prediction type makes impossible, from
    /// ᾱ = 0 with ε-prediction, is an error of the plan that needs it.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table: flow matching, EDM.
    pub fn schedule(&self) -> Result<&NoiseSchedule, Error> {
        Ok(&self.trained()?.schedule)
    }

    /// The `f32` tables that diffusers makes of this configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table; those of [`Tables`], none for the configurations of released models.
    #[doc(alias = "alphas_cumprod")]
    pub fn python_tables(&self) -> Result<Tables, Error> {
        self.trained()?.tables()
    }

    /// The timesteps τ of S inference steps, with the spacing, offset, end and direction of the configuration: whole t, whatever the
    /// configuration says of σ.
    ///
    /// [`Run::path`] is where [`SchedulerConfig::plan`] calls the network, which may be between the timesteps.
    ///
    /// # Errors
    /// [`Error::Config`] for a class without a table; [`Error::Count`] unless 1 ≤ S ≤ T (LCM and TCD: `original_inference_steps`),
    /// [`Error::Timestep`] if `steps_offset` pushes the largest t to T or past it.
    ///
    /// ```
    /// # use alphabar::{Conditioning, Direction, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMInverseScheduler", "steps_offset": 1}"#)?;
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
    /// [`Error::Config`] for a class without a table.
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
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true}"#)?;
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
            let reason = "has no β schedule; the path of its levels is SchedulerConfig::run(S).path()";
            config_error("_class_name", self.class.name(), reason)
        })
    }

    /// Every setting that is ignored or handled differently than in diffusers, and why, sorted by key.
    ///
    /// ```
    /// # use alphabar::hub::{Note, SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler", "speed": "fast"}"#)?;
    /// assert_eq!(config.notes()[0].to_string(), "speed: unknown key, ignored (check the spelling)");
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The class as which the configuration is read.
    #[must_use]
    pub fn class(&self) -> SchedulerClass {
        self.class
    }

    /// What the network predicts: `prediction_type`, the velocity of a flow, or F of EDM's preconditioning.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.sampler.prediction()
    }

    /// Clipping or dynamic thresholding of x̂₀; the latter takes precedence.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.sampler.threshold()
    }

    /// How the timesteps are spaced. `None` for a class without a table of β, as are the offset, the end and the variance.
    #[must_use]
    pub fn spacing(&self) -> Option<Spacing> {
        self.sampler.trained().map(|trained| trained.spacing)
    }

    /// `steps_offset`, for leading spacing.
    #[must_use]
    pub fn steps_offset(&self) -> Option<usize> {
        self.sampler.trained().map(|trained| trained.offset)
    }

    /// The level at which the path ends: `set_alpha_to_one` or `final_sigmas_type`.
    #[must_use]
    pub fn end(&self) -> Option<PathEnd> {
        self.sampler.trained().map(|trained| trained.end)
    }

    /// DDPM's variance. `fixed_small_log` is another name of `fixed_small`, and `fixed_large_log` of `fixed_large`.
    #[must_use]
    pub fn variance(&self) -> Option<Variance> {
        self.sampler.trained().map(|trained| trained.variance)
    }

    /// Whether the network returns twice the channels of x, the second half for a learned variance.
    ///
    /// A plan by [`Ddpm`](crate::Ddpm) uses them. For any other sampler, [`WithoutVariance`](crate::predictor::WithoutVariance) drops that
    /// half.
    #[must_use]
    pub fn has_learned_variance(&self) -> bool {
        self.sampler.trained().is_some_and(|trained| trained.learned_variance)
    }
}

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
mod flags;
mod flow;
mod json;
mod keys;
mod multistep;
mod note;
mod read;
mod recipe;
mod run;
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
use crate::hub::json::{Entries, Entry, MAX_BYTES, config_error};
use crate::hub::keys::{REMOVED_KEYS, acts, is_known};
use crate::hub::run::Calls;
use crate::hub::trained::Trained;
use crate::path::Path;
use crate::plan::{Plan, PlanBuilder};
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::Variance;
use crate::timesteps::{PathEnd, Timesteps};

/// What diffusers calls the file.
const FILE_NAME: &str = "scheduler_config.json";

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
    /// Of classes with a table of β.
    trained: Option<Trained>,
    sampler: Sampler,
    /// Whether, and how precisely, plans are those of diffusers.
    imitates: Option<Precision>,
    notes: Vec<Note>,
}

/// What the classes of one file read beside the table, and run.
#[derive(Clone, Debug, PartialEq)]
enum Sampler {
    Table(table::Settings),
    Sigma(sigma::Settings),
    Multistep(multistep::Settings),
    Flow(flow::Settings),
    Continuous(continuous::Settings),
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

/// Reading and writing.
impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`.
    ///
    /// The class is that of `_class_name`. Two other forms are understood. A file with an object `noise_scheduler`, as
    /// diffusion policy has it, is read from there, and its class may stand in `_target_`. A file with
    /// `noise_scheduler_type`, as `LeRobot` has it, is read for the keys of schedulers only.
    ///
    /// At most 32 MiB and 256 keys are read, and as many `trained_betas` as the longest schedule has.
    ///
    /// # Errors
    /// [`Error::ConfigText`] if the text is not a JSON object; [`Error::ConfigKeyMissing`] if it does not name a class, and
    /// then [`SchedulerConfig::from_json_as`] reads it; [`Error::Config`] with the key whose value makes no sense: of the
    /// wrong type, outside its domain, unknown to diffusers, or in contradiction to another key.
    ///
    /// ```
    /// # use alphabar::{Error, hub::SchedulerConfig};
    /// assert!(SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#).is_ok());
    /// let error = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "beta_start": 1.5}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "beta_start = 1.5 is not inside (0, 1)");
    /// ```
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let (name, entries) = scheduler_section(json::entries(text)?)?;
        let Some(name) = name else {
            let reason = "it names the class whose defaults the other keys have. To choose a class use \
                          SchedulerConfig::from_json_as";
            return Err(Error::ConfigKeyMissing { key: "_class_name", reason });
        };
        let class: SchedulerClass = name.parse()?;
        let mut config = Self::from_entries(class, entries)?;
        if name.starts_with("Flax") {
            config.notes.insert(0, Note::Differs(Difference::Flax(class)));
        }
        Ok(config)
    }

    /// Reads the text of a `scheduler_config.json` as a class of your choice, also without `_class_name`.
    ///
    /// Missing keys have the defaults of that class, as with `DDIMScheduler.from_config` of diffusers.
    ///
    /// # Errors
    /// As [`SchedulerConfig::from_json`]; [`Error::Config`] for the file of a flow-matching model as a class with a β schedule.
    ///
    /// ```
    /// use alphabar::hub::{SchedulerClass, SchedulerConfig};
    ///
    /// let json = r#"{"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}"#;
    /// let config = SchedulerConfig::from_json_as(json, SchedulerClass::Ddim)?;
    /// assert_eq!(config.timesteps(16)?.as_slice()[..3], [90, 84, 78]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "from_config")]
    pub fn from_json_as(text: &str, class: SchedulerClass) -> Result<Self, Error> {
        let (name, entries) = scheduler_section(json::entries(text)?)?;
        check_is_of_one_model(name.and_then(|name| name.parse().ok()), &entries, class)?;
        Self::from_entries(class, without_keys_of_others(class, entries))
    }

    /// Reads the bytes of a `scheduler_config.json`.
    ///
    /// # Errors
    /// As [`SchedulerConfig::from_json`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_json(json::utf8(bytes)?)
    }

    /// Opens the configuration of a model folder: the file itself, the folder that holds it, or the model's folder, which holds it in
    /// `scheduler/`.
    ///
    /// # Errors
    /// [`Error::ConfigRead`] with the path, and those of [`SchedulerConfig::from_json`].
    ///
    /// ```no_run
    /// use alphabar::hub::SchedulerConfig;
    ///
    /// let plan = SchedulerConfig::open("stable-diffusion-v1-5")?.plan(20)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "from_pretrained")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        let given = path.as_ref();
        let candidates = [given.join("scheduler").join(FILE_NAME), given.join(FILE_NAME)];
        let path = candidates.iter().find(|path| path.is_file()).map_or(given, |path| path);
        let named = |error: std::io::Error| {
            Error::ConfigRead(std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        if path.is_dir() {
            let reason = format!("{}: no {FILE_NAME} in it or in its scheduler/", path.display());
            return Err(Error::ConfigRead(std::io::Error::new(std::io::ErrorKind::NotFound, reason)));
        }
        Self::from_reader(std::fs::File::open(path).map_err(named)?)
    }

    /// Reads a `scheduler_config.json` from a file or a connection, and no more of it than a configuration can have.
    ///
    /// # Errors
    /// [`Error::ConfigRead`], and those of [`SchedulerConfig::from_json`].
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let file = r#"{"_class_name": "DDPMScheduler"}"#.as_bytes(); // std::fs::File::open("scheduler/scheduler_config.json")?
    /// let config = SchedulerConfig::from_reader(file)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_reader(reader: impl std::io::Read) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let most = MAX_BYTES as u64 + 1;
        std::io::Read::read_to_end(&mut reader.take(most), &mut bytes).map_err(Error::ConfigRead)?;
        Self::from_slice(&bytes)
    }

    /// A configuration for a custom schedule, for diffusers to load: its β are `trained_betas`. Nothing is clipped, the
    /// spacing is trailing, and the path ends in clean data.
    ///
    /// # Errors
    /// [`Error::Config`] for a prediction that diffusers does not have (the score), and for a schedule that ends at ᾱ = 0,
    /// which `trained_betas` cannot hold.
    ///
    /// ```
    /// use alphabar::hub::{SchedulerClass, SchedulerConfig};
    /// use alphabar::{NoiseSchedule, Prediction};
    ///
    /// let schedule = NoiseSchedule::laplace(1000, 0.0, 0.5)?;
    /// let config = SchedulerConfig::from_schedule(SchedulerClass::Ddim, &schedule, Prediction::Velocity)?;
    /// assert_eq!(SchedulerConfig::from_json(&config.to_json())?.schedule().betas(), schedule.betas());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_schedule(
        class: SchedulerClass,
        schedule: &NoiseSchedule,
        prediction: Prediction,
    ) -> Result<Self, Error> {
        let word = match prediction {
            Prediction::Epsilon => "epsilon",
            Prediction::Sample => "sample",
            Prediction::Velocity => "v_prediction",
            other => {
                return Err(config_error(
                    "prediction_type",
                    &other.name(),
                    "has no name in diffusers; convert the network's output to ε",
                ));
            }
        };
        let betas: Vec<String> = schedule.betas().iter().map(|beta| format!("{beta:e}")).collect();
        let mut entries = Entries::new();
        for (key, text) in [
            ("clip_sample", "false".to_owned()),
            ("num_train_timesteps", schedule.len().to_string()),
            ("prediction_type", format!("\"{word}\"")),
            ("timestep_spacing", "\"trailing\"".to_owned()),
            ("trained_betas", format!("[{}]", betas.join(", "))),
        ] {
            entries.insert(key.to_owned(), text);
        }
        Self::from_entries(class, entries)
    }

    /// Reads the configuration again as another class, as `DDIMScheduler.from_config(config)` of diffusers does.
    ///
    /// Missing keys get the defaults of that class.
    ///
    /// # Errors
    /// [`Error::Config`] as in reading.
    ///
    /// ```
    /// use alphabar::hub::{SchedulerClass, SchedulerConfig, Spacing};
    ///
    /// let euler = SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let ddim = euler.clone().with_class(SchedulerClass::Ddim)?;
    /// assert_eq!((euler.spacing(), ddim.spacing()), (Spacing::Linspace, Spacing::Leading));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn with_class(self, class: SchedulerClass) -> Result<Self, Error> {
        check_is_of_one_model(Some(self.class), &self.entries, class)?;
        let entries = if class == self.class { self.entries } else { without_keys_of_others(class, self.entries) };
        Ok(Self { imitates: self.imitates, ..Self::from_entries(class, entries)? })
    }

    /// The configuration as diffusers writes it, for `DDIMScheduler.from_pretrained` and its like.
    ///
    /// Every value stands as it was read, unknown keys too. For the supported classes, defaults are written out. `NaN` and
    /// infinities are left out, since JSON does not have them; diffusers has the same default for the one key that holds one,
    /// `lambda_min_clipped`.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "beta_end": 0.012}"#)?;
    /// assert!(config.to_json().contains("\"beta_end\": 0.012,\n"));
    /// assert!(config.to_json().contains("\"set_alpha_to_one\": true,\n"));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut entries = self.entries.clone();
        entries.retain(|_, text| !json::is_constant(text));
        entries.insert("_class_name".to_owned(), format!("\"{}\"", self.class.name()));
        if self.class.has_betas() {
            let defaults = self.class.defaults();
            for (key, text) in [
                ("num_train_timesteps", "1000".to_owned()),
                ("beta_start", defaults.beta_start.to_string()),
                ("beta_end", defaults.beta_end.to_string()),
                ("beta_schedule", format!("\"{}\"", defaults.beta_schedule)),
                ("trained_betas", "null".to_owned()),
                ("prediction_type", "\"epsilon\"".to_owned()),
                ("clip_sample", defaults.clip_sample.to_string()),
                ("clip_sample_range", "1.0".to_owned()),
                ("thresholding", "false".to_owned()),
                ("dynamic_thresholding_ratio", "0.995".to_owned()),
                ("sample_max_value", "1.0".to_owned()),
                ("timestep_spacing", format!("\"{}\"", defaults.spacing)),
                ("steps_offset", "0".to_owned()),
                ("final_sigmas_type", "\"zero\"".to_owned()),
                ("snr_shift_scale", defaults.snr_shift_scale.to_string()),
                ("set_alpha_to_one", (defaults.end == PathEnd::Clean).to_string()),
                ("rescale_betas_zero_snr", "false".to_owned()),
                ("variance_type", "\"fixed_small\"".to_owned()),
            ] {
                // What an early file says by another name is said.
                let former = REMOVED_KEYS.iter().filter(|(_, now)| *now == Some(key));
                let is_said = former.into_iter().any(|(former, _)| entries.contains_key(*former));
                if acts(self.class, key) && !is_said {
                    entries.entry(key.to_owned()).or_insert(text);
                }
            }
        }
        let lines: Vec<String> =
            entries.iter().map(|(key, text)| format!("  {}: {text}", serde_json::Value::from(key.as_str()))).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
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

    /// A run of S inference steps, for which a pipeline's arguments can be given: η, strength, μ or the number of tokens.
    pub fn run(&self, steps: usize) -> Run<'_> {
        Run::new(self, Calls::Count(steps))
    }

    /// A run through a list of σ, as a pipeline's `sigmas`: noise/signal for a table and for EDM, the flow's σ for a flow. A 0 at the end is
    /// the end of the path.
    pub fn run_through_sigmas(&self, sigmas: impl IntoIterator<Item = f64>) -> Run<'_> {
        let sigmas = sigmas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Sigmas(sigmas))
    }

    /// A run through a list of t, as a pipeline's `timesteps`.
    pub fn run_through_times(&self, times: impl IntoIterator<Item = f64>) -> Run<'_> {
        let times = times.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        Run::new(self, Calls::Times(times))
    }

    /// This configuration with the plans of diffusers 0.42.1: its `f32` tables, its lists of σ and t, and its departures from the papers, which
    /// [`notes()`](SchedulerConfig::notes) names. For those who must get the images of an existing pipeline.
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
        let trained = self.trained()?;
        match &self.sampler {
            Sampler::Table(settings) => settings.timesteps(trained, steps),
            _ => trained.timesteps(self.class, steps),
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
        self.trained.as_ref().ok_or_else(|| self.without_betas())
    }

    fn without_betas(&self) -> Error {
        let reason = "has no β schedule; the path of its levels is SchedulerConfig::run(S).path()";
        config_error("_class_name", self.class.name(), reason)
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
        match &self.sampler {
            Sampler::Flow(settings) => settings.prediction(),
            Sampler::Continuous(settings) => settings.prediction(),
            _ => self.trained.as_ref().map_or(Prediction::Epsilon, |trained| trained.prediction),
        }
    }

    /// Clipping or dynamic thresholding of x̂₀; the latter takes precedence.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        match &self.sampler {
            Sampler::Continuous(settings) => settings.threshold(),
            _ => self.trained.as_ref().map_or(Threshold::None, |trained| trained.threshold),
        }
    }

    /// How the timesteps are spaced. `None` for a class without a table of β, as in the next three.
    #[must_use]
    pub fn spacing(&self) -> Option<Spacing> {
        self.trained.as_ref().map(|trained| trained.spacing)
    }

    /// `steps_offset`, for leading spacing.
    #[must_use]
    pub fn steps_offset(&self) -> Option<usize> {
        self.trained.as_ref().map(|trained| trained.offset)
    }

    /// The level at which the path ends: `set_alpha_to_one` or `final_sigmas_type`.
    #[must_use]
    pub fn end(&self) -> Option<PathEnd> {
        self.trained.as_ref().map(|trained| trained.end)
    }

    /// DDPM's variance. `fixed_small_log` is another name of `fixed_small`, and `fixed_large_log` of `fixed_large`.
    #[must_use]
    pub fn variance(&self) -> Option<Variance> {
        self.trained.as_ref().map(|trained| trained.variance)
    }

    /// Whether the network returns twice the channels of x, the second half for a learned variance.
    ///
    /// A plan by [`Ddpm`](crate::Ddpm) uses them. For any other sampler, [`WithoutVariance`](crate::predictor::WithoutVariance) drops that
    /// half.
    #[must_use]
    pub fn has_learned_variance(&self) -> bool {
        self.trained.as_ref().is_some_and(|trained| trained.learned_variance)
    }
}

/// The entries of a scheduler, and the name of its class, in a file that may hold other things too.
fn scheduler_section(mut entries: Entries) -> Result<(Option<String>, Entries), Error> {
    let word = |key: &'static str, text: &str| Entry { key, text }.word();
    if let Some(name) = entries.get("_class_name") {
        return Ok((Some(word("_class_name", name)?), entries));
    }
    if let Some(section) = entries.get("noise_scheduler").filter(|text| text.starts_with('{')) {
        entries = json::entries(section)?;
        if let Some(name) = entries.get("_class_name") {
            return Ok((Some(word("_class_name", name)?), entries));
        }
    }
    if let Some(path) = entries.remove("_target_") {
        let path = word("_target_", &path)?;
        return Ok((path.rsplit('.').next().map(str::to_owned), entries));
    }
    if let Some(kind) = entries.remove("noise_scheduler_type") {
        let name = format!("{}Scheduler", word("noise_scheduler_type", &kind)?);
        entries.retain(|key, _| is_known(key));
        return Ok((Some(name), entries));
    }
    Ok((None, entries))
}

/// Refuses to read the file of a flow as a class with a table of β, and the other way around: the network is what it is.
fn check_is_of_one_model(from: Option<SchedulerClass>, entries: &Entries, to: SchedulerClass) -> Result<(), Error> {
    let key = "use_flow_sigmas";
    let text = entries.get(key).map_or("false", |text| text);
    let has_flow_sigmas = Entry { key, text }.flag()?;
    let was_flow = has_flow_sigmas || from.is_some_and(SchedulerClass::is_flow);
    let is_flow = to.is_flow() || has_flow_sigmas && acts(to, key);
    if from.is_none_or(|from| from == to) && !has_flow_sigmas || was_flow == is_flow {
        return Ok(());
    }
    let reason = if is_flow {
        "is of a model with a β schedule, which no flow-matching class can sample"
    } else {
        "is of a flow-matching model, which has no β schedule: read it as a flow-matching class, or set use_flow_sigmas for one that has it"
    };
    Err(config_error("_class_name", from.map_or("(none)", SchedulerClass::name), reason))
}

/// The entries without the keys of other classes' samplers and of their spacing in σ, which diffusers drops too.
fn without_keys_of_others(class: SchedulerClass, mut entries: Entries) -> Entries {
    entries.retain(|key, _| acts(class, key) || !is_of_sampler(key));
    entries
}

fn is_of_sampler(key: &str) -> bool {
    let shared = [SchedulerClass::Ddim, SchedulerClass::DdimInverse, SchedulerClass::Ddpm];
    is_known(key) && !shared.into_iter().any(|class| acts(class, key))
}

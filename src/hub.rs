//! Model folders: from the `scheduler_config.json` of the Hugging Face Hub to a [`Plan`], with the feature `hub`.
//!
//! All schedulers of diffusers that have a β schedule are read: DDPM, DDIM, DDIM inversion and both Euler samplers run as
//! configured, and of the others the noise schedule, prediction type, clipping and timesteps are read, for DDIM.
//! [`notes()`](SchedulerConfig::notes) lists every setting that is ignored or handled differently than in diffusers 0.42.1. A
//! setting that contradicts another, or makes no sense, is an error that names its key.
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
//!     println!("{note}"); // _class_name: PNDMScheduler is not implemented; plan() uses DDIM with η = 0 instead …
//! }
//! let plan = config.plan(50)?;
//! assert_eq!((plan.steps()[0].t, plan.steps()[49].t), (981.0, 1.0));
//! // Another η, or another sampler:
//! let tau = config.timesteps(50)?;
//! let noisy = config.plan_builder(&tau).build(&Ddim::new(1.0)?)?;
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
//! Both run as DDIM here. Give the network x as it is: diffusers' `scale_model_input` and `init_noise_sigma` belong to the
//! other scale.

mod class;
mod flags;
mod json;
mod keys;
mod note;
mod read;
mod tables;

use core::fmt;
use core::str::FromStr;

pub use class::SchedulerClass;
pub use flags::GuidedDiffusion;
pub use note::{Difference, Ignored, Note};

use crate::coefficients::Threshold;
use crate::error::{Error, require_count};
use crate::hub::class::{List, Method};
use crate::hub::json::{Entries, Entry, MAX_BYTES, config_error};
use crate::hub::keys::{SIGMA_KEYS, acts, is_known};
use crate::hub::tables::Recipe;
use crate::plan::{Plan, PlanBuilder};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Ddim, Ddpm, Solver, Variance};
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

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
    recipe: Recipe,
    schedule: NoiseSchedule,
    prediction: Prediction,
    threshold: Threshold,
    spacing: Spacing,
    offset: usize,
    /// The S₀ of LCM and TCD.
    distilled_steps: usize,
    end: PathEnd,
    ddim: Ddim,
    variance: Variance,
    learned_variance: bool,
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
    /// As [`SchedulerConfig::from_json`]; and [`Error::Config`] if the file is of a flow-matching scheduler.
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
        if let Some(name) = name.filter(|name| name.starts_with("Flow")) {
            name.parse::<SchedulerClass>()?;
        }
        read::check_has_betas(&entries)?;
        Self::from_entries(class, without_keys_of_others(class, entries))
    }

    /// Reads the bytes of a `scheduler_config.json`.
    ///
    /// # Errors
    /// As [`SchedulerConfig::from_json`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_json(json::utf8(bytes)?)
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
        let entries = if class == self.class { self.entries } else { without_keys_of_others(class, self.entries) };
        Self::from_entries(class, entries)
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
        if self.class.is_supported() {
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
                if acts(self.class, key) {
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
    /// The noise schedule, rescaled to zero terminal SNR if `rescale_betas_zero_snr` says so.
    ///
    /// It is there for every configuration, for training too. A step that the prediction type makes impossible, from ᾱ = 0
    /// with ε-prediction, is an error of the plan that needs it.
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// The timesteps τ of S inference steps, with the spacing, offset, end and direction of the configuration.
    ///
    /// They are those of diffusers' class, but for the differences that [`notes()`](SchedulerConfig::notes) lists: samplers
    /// such as DPM-Solver space S + 1 and leave out the last, and LCM picks from the timesteps that it was distilled for.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T (LCM and TCD: `original_inference_steps`), [`Error::Timestep`] if `steps_offset`
    /// pushes the largest t to T or past it.
    ///
    /// ```
    /// # use alphabar::{Conditioning, Direction, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMInverseScheduler", "steps_offset": 1}"#)?;
    /// let tau = config.timesteps(5)?;
    /// assert_eq!(tau.as_slice(), [1, 201, 401, 601, 801]);
    /// assert_eq!(tau.direction(), Direction::Encode(Conditioning::Destination));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "set_timesteps")]
    #[doc(alias = "num_inference_steps")]
    pub fn timesteps(&self, steps: usize) -> Result<Timesteps, Error> {
        let total = self.schedule.len();
        // With as many steps as there are timesteps, nothing can be left out.
        let leaves_last = self.class.list() == List::OneMore && self.spacing != Spacing::Trailing && steps < total;
        let spaced = steps.saturating_add(usize::from(leaves_last && steps > 0));
        let tau = match self.spacing {
            _ if self.class.list() == List::Distilled => self.distilled(steps),
            Spacing::Leading => Timesteps::leading(total, spaced, self.offset),
            Spacing::Trailing => Timesteps::trailing(total, spaced),
            Spacing::Linspace => Timesteps::linspace(total, spaced),
        }?;
        let tau =
            if leaves_last { Timesteps::explicit(total, tau.as_slice().iter().copied().take(steps))? } else { tau };
        let tau = tau.ending(self.end);
        Ok(if self.class == SchedulerClass::DdimInverse { tau.encoding(Conditioning::Destination) } else { tau })
    }

    /// S of the S₀ timesteps k − 1, 2k − 1, …, S₀·k − 1 with k = ⌊T/S₀⌋, from the noisiest on.
    fn distilled(&self, steps: usize) -> Result<Timesteps, Error> {
        let (total, all) = (self.schedule.len(), self.distilled_steps);
        let steps = require_count("S", steps, 1, all)?;
        let stride = total / all;
        // numpy.linspace(0, S₀, S, endpoint=False), rounded down.
        let share = all as f64 / steps as f64;
        Timesteps::explicit(total, (0..steps).map(|i| (all - (i as f64 * share) as usize) * stride - 1))
    }

    /// A [`PlanBuilder`] with the configuration's prediction type and clipping already set, to run another sampler.
    ///
    /// ```
    /// # use alphabar::{Ddim, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
    /// // img2img with strength 0.6:
    /// let tau = config.timesteps(50)?.with_strength(0.6)?;
    /// let plan = config.plan_builder(&tau).build(&Ddim::new(0.5)?)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn plan_builder<'a>(&'a self, timesteps: &'a Timesteps) -> PlanBuilder<'a> {
        Plan::builder(&self.schedule, timesteps).prediction(self.prediction).threshold(self.threshold)
    }

    /// The plan of S inference steps: [`SchedulerConfig::solver`] along [`SchedulerConfig::timesteps`].
    ///
    /// # Errors
    /// Those of [`SchedulerConfig::timesteps`] and [`PlanBuilder::build`].
    pub fn plan(&self, steps: usize) -> Result<Plan, Error> {
        self.plan_builder(&self.timesteps(steps)?).build(&self.solver())
    }

    /// The sampler: DDPM with the configuration's variance, DDIM with η = 1 for Euler ancestral, or DDIM with η = 0.
    #[must_use]
    pub fn solver(&self) -> Box<dyn Solver + Send + Sync> {
        match self.class.method() {
            Method::Ddpm => Box::new(Ddpm::new(self.variance)),
            Method::Ddim | Method::Ancestral | Method::Other => Box::new(self.ddim.clone()),
        }
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

    /// What the network predicts: `prediction_type`.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// Clipping or dynamic thresholding of x̂₀; the latter takes precedence.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// How the timesteps are spaced.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// `steps_offset`, for leading spacing.
    #[must_use]
    pub fn steps_offset(&self) -> usize {
        self.offset
    }

    /// The level at which the path ends: `set_alpha_to_one` or `final_sigmas_type`.
    #[must_use]
    pub fn end(&self) -> PathEnd {
        self.end
    }

    /// DDPM's variance. `fixed_small_log` is another name of `fixed_small`, and `fixed_large_log` of `fixed_large`.
    #[must_use]
    pub fn variance(&self) -> Variance {
        self.variance
    }

    /// Whether the network returns twice the channels of x, the second half for a learned variance.
    ///
    /// A plan by [`Ddpm`] uses them. For any other sampler, [`WithoutVariance`](crate::predictor::WithoutVariance) drops that
    /// half.
    #[must_use]
    pub fn has_learned_variance(&self) -> bool {
        self.learned_variance
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

/// The entries without the keys of other classes' samplers and of their spacing in σ, which diffusers drops too.
fn without_keys_of_others(class: SchedulerClass, mut entries: Entries) -> Entries {
    if class.is_supported() {
        entries.retain(|key, _| acts(class, key) || !is_of_sampler(key));
    }
    entries
}

fn is_of_sampler(key: &str) -> bool {
    let shared = [SchedulerClass::Ddim, SchedulerClass::DdimInverse, SchedulerClass::Ddpm];
    SIGMA_KEYS.contains(&key) || is_known(key) && !shared.into_iter().any(|class| acts(class, key))
}

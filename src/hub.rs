//! The hub's `scheduler_config.json`: from a model folder to a [`Plan`], with the feature `hub`.
//!
//! Read are the configurations of Python's DDIM, DDPM and inverse DDIM schedulers, and those of other schedulers as far as
//! schedule, prediction and spacing go. What a configuration says and is not done, or is not done as Python does it, is
//! [reported](SchedulerConfig::notes); what contradicts itself or makes no sense is an error that names the key.
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
//!     println!("{note}"); // _class_name: the method of PNDMScheduler is not here; plan() takes DDIM with η = 0 …
//! }
//! let plan = config.plan(50)?;
//! assert_eq!((plan.steps()[0].t, plan.steps()[49].t), (981, 1));
//! // Another η, or another method:
//! let tau = config.timesteps(50)?;
//! let noisy = config.plan_builder(&tau).build(&Ddim::new(1.0)?)?;
//! # Ok::<(), alphabar::Error>(())
//! ```

mod class;
mod json;
mod note;
mod read;
mod tables;

pub use class::SchedulerClass;
pub use note::{Difference, Ignored, Note};

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::json::{Entries, Entry, MAX_BYTES, check_size, config_error};
use crate::hub::read::{METHOD_KEYS, SIGMA_KEYS, has_key};
use crate::plan::{Plan, PlanBuilder};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Ddim, Ddpm, Solver, Variance};
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

/// A scheduler's configuration, read and checked.
///
/// A key that is not there has the default of its class in diffusers 0.42, which differs between classes. Numbers are read
/// as `f64`, and the schedule is as exact as any here; Python's tables are `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    class: SchedulerClass,
    entries: Entries,
    schedule: NoiseSchedule,
    prediction: Prediction,
    threshold: Threshold,
    spacing: Spacing,
    offset: usize,
    end: PathEnd,
    variance: Variance,
    learned_variance: bool,
    notes: Vec<Note>,
}

/// `timestep_spacing`.
///
/// ```
/// # use alphabar::hub::{SchedulerConfig, Spacing};
/// let config = SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
/// assert_eq!(config.spacing(), Spacing::Linspace);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spacing {
    /// [`Timesteps::leading`] with `steps_offset`.
    Leading,
    /// [`Timesteps::trailing`].
    Trailing,
    /// [`Timesteps::linspace`].
    Linspace,
}

/// Reading and writing.
impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`.
    ///
    /// At most 32 MiB and 256 keys are read, and as many `trained_betas` as the longest schedule has.
    ///
    /// # Errors
    /// [`Error::ConfigText`] for what is no JSON object, [`Error::Config`] with the key whose value makes no sense: not of its
    /// type, outside its domain, unknown to Python, or in contradiction to another key.
    ///
    /// ```
    /// # use alphabar::{Error, hub::SchedulerConfig};
    /// assert!(SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#).is_ok());
    /// let error = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "beta_start": 1.5}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "beta_start = 1.5 is not inside (0, 1)");
    /// ```
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let entries = json::entries(text)?;
        let Some(text) = entries.get("_class_name") else {
            return Err(config_error("_class_name", "null", "must be the class whose defaults other keys have"));
        };
        let class = Entry { key: "_class_name", text }.word()?.parse()?;
        Self::from_entries(class, entries)
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// As [`SchedulerConfig::from_json`].
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// assert!(SchedulerConfig::from_slice(br#"{"_class_name": "DDPMScheduler"}"#).is_ok());
    /// assert!(SchedulerConfig::from_slice(b"\xff").is_err());
    /// ```
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes.len())?;
        let text = core::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let mut lines = before.rsplit(|byte| *byte == b'\n');
            let column = 1 + lines.next().map_or(0, <[u8]>::len);
            let line = 1 + lines.count();
            Error::ConfigText { line, column, reason: "no UTF-8".to_owned() }
        })?;
        Self::from_json(text)
    }

    /// The same from a file or a connection, of which no more is read than could be a configuration.
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

    /// A configuration for a schedule of one's own, for Python to load: its β are `trained_betas`. Nothing is clipped, the
    /// spacing is trailing, the path ends in clean data.
    ///
    /// # Errors
    /// [`Error::Config`] for a prediction that Python does not have (the score), and for a schedule that ends at ᾱ = 0,
    /// which `trained_betas` do not hold.
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
            other => return Err(config_error("prediction_type", &other.to_string(), "has no name in a table of β")),
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

    /// The same configuration as another class reads it: Python's `DDIMScheduler.from_config(config)`.
    ///
    /// Keys that are not there get the defaults of that class.
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
        let mut entries = self.entries;
        if class.is_supported() && class != self.class {
            // As Python drops what only the other class's constructor takes.
            entries.retain(|key, _| !METHOD_KEYS.contains(&key.as_str()) && !SIGMA_KEYS.contains(&key.as_str()));
        }
        Self::from_entries(class, entries)
    }

    /// The configuration as Python writes it, for `DDIMScheduler.from_pretrained` and its like.
    ///
    /// Every value stands as it was read, unknown keys too; for the classes whose methods are here, defaults are written out.
    /// Left out are `NaN` and infinities, which JSON does not have: Python's default for the one key that holds one,
    /// `lambda_min_clipped`, is the same.
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
                ("timestep_spacing", format!("\"{}\"", defaults.timestep_spacing)),
                ("steps_offset", "0".to_owned()),
                ("set_alpha_to_one", (defaults.end == PathEnd::Clean).to_string()),
                ("rescale_betas_zero_snr", "false".to_owned()),
                ("variance_type", "\"fixed_small\"".to_owned()),
            ] {
                if has_key(self.class, key) {
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
    /// The noise schedule, with `rescale_betas_zero_snr` done.
    ///
    /// ```
    /// # use alphabar::{NoiseSchedule, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler"}"#)?;
    /// assert_eq!(config.schedule(), &NoiseSchedule::ddpm()?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// τ of S steps, with the spacing, offset, end and direction of the configuration.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T, [`Error::Timestep`] where `steps_offset` pushes the largest t to T or past it.
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
        let total = self.schedule.len();
        let tau = match self.spacing {
            Spacing::Leading => Timesteps::leading(total, steps, self.offset),
            Spacing::Trailing => Timesteps::trailing(total, steps),
            Spacing::Linspace => Timesteps::linspace(total, steps),
        }?;
        let tau = tau.ending(self.end);
        Ok(if self.class == SchedulerClass::DdimInverse { tau.encoding(Conditioning::Destination) } else { tau })
    }

    /// The plan along a τ, its prediction and threshold chosen, for a method of the caller's.
    ///
    /// ```
    /// # use alphabar::{Ddim, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#)?;
    /// // Image-to-image, from 60 % of the noise.
    /// let tau = config.timesteps(50)?.with_strength(0.6)?;
    /// let plan = config.plan_builder(&tau).build(&Ddim::new(0.5)?)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn plan_builder<'a>(&'a self, timesteps: &'a Timesteps) -> PlanBuilder<'a> {
        Plan::builder(&self.schedule, timesteps).prediction(self.prediction).threshold(self.threshold)
    }

    /// The plan of S steps by the configuration's own method: [`SchedulerConfig::solver`] along
    /// [`SchedulerConfig::timesteps`].
    ///
    /// # Errors
    /// Those of [`SchedulerConfig::timesteps`] and [`PlanBuilder::build`].
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler"}"#)?;
    /// assert_eq!(config.plan(1000)?.len(), 1000);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn plan(&self, steps: usize) -> Result<Plan, Error> {
        self.plan_builder(&self.timesteps(steps)?).build(&self.solver())
    }

    /// The method: DDPM with the configuration's variance, or else DDIM with η = 0.
    ///
    /// ```
    /// # use alphabar::{Solver, hub::SchedulerConfig};
    /// let json = r#"{"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}"#;
    /// assert_eq!(SchedulerConfig::from_json(json)?.solver().name(), "DDPM, variance β");
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn solver(&self) -> Box<dyn Solver + Send + Sync> {
        if self.class.is_ddpm() { Box::new(Ddpm::new(self.variance)) } else { Box::new(Ddim::deterministic()) }
    }

    /// Every key that is unknown, without effect, or with another effect than in Python, and why, by key.
    ///
    /// ```
    /// # use alphabar::hub::{Note, SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler", "speed": "fast"}"#)?;
    /// assert_eq!(config.notes(), [Note::Unknown { key: "speed".to_owned() }]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The class it was written by, or is read as.
    ///
    /// ```
    /// # use alphabar::hub::{SchedulerClass, SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler"}"#)?;
    /// assert_eq!(config.class(), SchedulerClass::Ddpm);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn class(&self) -> SchedulerClass {
        self.class
    }

    /// What the network predicts.
    ///
    /// ```
    /// # use alphabar::{Prediction, hub::SchedulerConfig};
    /// let json = r#"{"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}"#;
    /// assert_eq!(SchedulerConfig::from_json(json)?.prediction(), Prediction::Velocity);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// What is done to x̂₀; dynamic thresholding goes before a clip.
    ///
    /// ```
    /// # use alphabar::{Threshold, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler"}"#)?;
    /// assert_eq!(config.threshold(), Threshold::Clip(1.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// How τ is spaced.
    ///
    /// ```
    /// # use alphabar::hub::{SchedulerConfig, Spacing};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler"}"#)?;
    /// assert_eq!(config.spacing(), Spacing::Leading);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// `steps_offset`, of leading spacing.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "steps_offset": 1}"#)?;
    /// assert_eq!(config.steps_offset(), 1);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn steps_offset(&self) -> usize {
        self.offset
    }

    /// The level in which the path ends.
    ///
    /// ```
    /// # use alphabar::{PathEnd, hub::SchedulerConfig};
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "set_alpha_to_one": false}"#)?;
    /// assert_eq!(config.end(), PathEnd::FirstLevel);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> PathEnd {
        self.end
    }

    /// DDPM's variance, of which `fixed_small_log` and `fixed_large_log` are other ways of writing.
    ///
    /// ```
    /// # use alphabar::{Variance, hub::SchedulerConfig};
    /// let json = r#"{"_class_name": "DDPMScheduler", "variance_type": "fixed_small_log"}"#;
    /// assert_eq!(SchedulerConfig::from_json(json)?.variance(), Variance::Posterior);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn variance(&self) -> Variance {
        self.variance
    }

    /// Whether the network returns twice the channels of x, the second half for the variance. A plan by [`Ddpm`] takes them
    /// as they are; for any other method,
    /// [`WithoutVariance`](crate::predictor::WithoutVariance) drops that half.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let json = r#"{"_class_name": "DDPMScheduler", "variance_type": "learned_range"}"#;
    /// assert!(SchedulerConfig::from_json(json)?.has_learned_variance());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn has_learned_variance(&self) -> bool {
        self.learned_variance
    }
}

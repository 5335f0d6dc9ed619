//! The hub's `scheduler_config.json`: from a model folder to a [`Plan`](crate::Plan), with the feature `hub`.
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
mod tables;

pub use class::SchedulerClass;
pub use note::{Difference, Ignored, Note};

use std::collections::BTreeSet;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::json::{Entries, Entry, MAX_BYTES, check_size, config_error};
use crate::plan::{Plan, PlanBuilder};
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
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
        let class = Reader { entries: &entries, seen: BTreeSet::new() };
        let class = match class.peek("_class_name") {
            Some(entry) => entry.word()?.parse()?,
            None => return Err(config_error("_class_name", "", "missing: the defaults are those of a class")),
        };
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
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
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
            Prediction::Score => return Err(config_error("prediction_type", "the score", "Python has no name for it")),
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

/// Options of methods that are not here.
const METHOD_KEYS: [&str; 25] = [
    "algorithm_type",
    "corrector_order",
    "disable_corrector",
    "euler_at_final",
    "flow_shift",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "noise_sampler_seed",
    "original_inference_steps",
    "predict_x0",
    "predictor_order",
    "s_noise",
    "shift_terminal",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "tau_func",
    "time_shift_type",
    "timestep_scaling",
    "timestep_type",
    "use_dynamic_shifting",
    "use_flow_sigmas",
    "eta",
];
/// Options that space steps in σ.
const SIGMA_KEYS: [&str; 7] = [
    "final_sigmas_type",
    "sigma_max",
    "sigma_min",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
];
/// What early versions wrote.
const REMOVED_KEYS: [&str; 6] =
    ["clip_predicted_image", "predict_epsilon", "tensor_format", "timestep_values", "timesteps", "set_alpha_to_zero"];

/// Whether the constructor of one of the classes whose methods are here takes a key.
fn has_key(class: SchedulerClass, key: &str) -> bool {
    match key {
        "thresholding" | "dynamic_thresholding_ratio" | "sample_max_value" => class != SchedulerClass::DdimInverse,
        "set_alpha_to_one" => !class.is_ddpm(),
        "variance_type" => class.is_ddpm(),
        _ => true,
    }
}

/// Entries, and which of them have been looked at.
struct Reader<'a> {
    entries: &'a Entries,
    seen: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    fn peek(&self, key: &'static str) -> Option<Entry<'a>> {
        self.entries.get(key).map(|text| Entry { key, text })
    }

    fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.seen.insert(key);
        self.peek(key)
    }
}

impl SchedulerConfig {
    fn from_entries(class: SchedulerClass, entries: Entries) -> Result<Self, Error> {
        let mut reader = Reader { entries: &entries, seen: BTreeSet::from(["_class_name", "_diffusers_version"]) };
        let mut notes = Notes { class, list: Vec::new() };
        check_is_diffusion(&reader)?;

        let schedule = read_schedule(&mut reader, &mut notes)?;
        let prediction = read_prediction(&mut reader)?;
        let schedule = read_rescaling(&mut reader, &mut notes, schedule, prediction)?;
        let threshold = read_threshold(&mut reader, &mut notes)?;
        let end = read_end(&mut reader, &mut notes)?;
        let (spacing, offset) = read_spacing(&mut reader, &mut notes, schedule.len(), end)?;
        let (variance, learned_variance) = read_variance(&mut reader, &mut notes)?;
        if !class.is_supported() {
            notes.differs(Difference::Method(class));
        }
        for key in entries.keys().filter(|key| !reader.seen.contains(key.as_str())) {
            let reason = match key.as_str() {
                known if METHOD_KEYS.contains(&known) => Ignored::Method,
                known if SIGMA_KEYS.contains(&known) => Ignored::SigmaSpacing,
                known if REMOVED_KEYS.contains(&known) => Ignored::Removed,
                known if SHARED_KEYS.contains(&known) => Ignored::NotOfClass(class),
                _ => {
                    notes.list.push(Note::Unknown { key: json::shortened(key) });
                    continue;
                }
            };
            notes.ignored(key, reason);
        }
        let mut notes = notes.list;
        notes.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(Self {
            class,
            schedule,
            prediction,
            threshold,
            spacing,
            offset,
            end,
            variance,
            learned_variance,
            notes,
            entries,
        })
    }
}

/// Keys that have effect in some class whose method is here.
const SHARED_KEYS: [&str; 5] =
    ["thresholding", "dynamic_thresholding_ratio", "sample_max_value", "set_alpha_to_one", "variance_type"];

struct Notes {
    class: SchedulerClass,
    list: Vec<Note>,
}

impl Notes {
    fn differs(&mut self, difference: Difference) {
        self.list.push(Note::Differs(difference));
    }

    fn ignored(&mut self, key: &str, reason: Ignored) {
        self.list.push(Note::Ignored { key: key.to_owned(), reason });
    }

    fn ignored_if_given(&mut self, entry: Option<Entry<'_>>, reason: Ignored) {
        if let Some(entry) = entry {
            self.ignored(entry.key, reason);
        }
    }

    /// A default was taken that is not `DDIMScheduler`'s, though DDIM is the method to be run.
    fn default(&mut self, key: &'static str, taken: &'static str, ddim: &'static str) {
        if !self.class.is_supported() && taken != ddim {
            self.list.push(Note::Default { key, taken, ddim });
        }
    }
}

/// Configurations whose networks are not told a t of a table of β.
fn check_is_diffusion(reader: &Reader<'_>) -> Result<(), Error> {
    if let Some(entry) = reader.peek("use_flow_sigmas") {
        if entry.flag()? {
            return Err(entry.error("flow matching has no table of β"));
        }
    }
    if let Some(entry) = reader.peek("timestep_type") {
        if entry.word()? == "continuous" {
            return Err(entry.error("the network is told a function of σ and no t of a table"));
        }
    }
    Ok(())
}

fn read_schedule(reader: &mut Reader<'_>, notes: &mut Notes) -> Result<NoiseSchedule, Error> {
    let defaults = notes.class.defaults();
    let total = match reader.get("num_train_timesteps") {
        Some(entry) => entry.count(1, MAX_TRAIN_STEPS)?,
        None => 1000,
    };
    let (start, end, family) = (reader.get("beta_start"), reader.get("beta_end"), reader.get("beta_schedule"));
    if let Some(entry) = reader.get("trained_betas").filter(|entry| !entry.is_null()) {
        [start, end, family].into_iter().for_each(|given| notes.ignored_if_given(given, Ignored::TrainedBetas));
        let betas = entry.numbers()?;
        if betas.len() != total {
            return Err(entry.error(format!("holds {} numbers for num_train_timesteps = {total}", betas.len())));
        }
        return NoiseSchedule::from_betas(betas).map_err(|error| match error {
            Error::Beta { t, value } => {
                config_error(format!("trained_betas[{t}]"), &value.to_string(), "is not inside (0, 1)")
            }
            other => entry.error(format!("is no schedule: {other}")),
        });
    }
    let name = match family {
        Some(entry) => entry.word()?,
        None => defaults.beta_schedule.to_owned(),
    };
    let beta = |entry: Option<Entry<'_>>, default: f64| {
        let Some(entry) = entry else { return Ok(default) };
        let beta = entry.number()?;
        if beta > 0.0 && beta < 1.0 { Ok(beta) } else { Err(entry.error("is not inside (0, 1)")) }
    };
    let needs_ends = matches!(name.as_str(), "linear" | "scaled_linear" | "sigmoid");
    let (first, last) = if needs_ends {
        (beta(start, defaults.beta_start)?, beta(end, defaults.beta_end)?)
    } else {
        [start, end].into_iter().for_each(|given| notes.ignored_if_given(given, Ignored::FixedSchedule));
        (0.0, 0.0)
    };
    let schedule = match name.as_str() {
        "linear" => NoiseSchedule::linear(total, first, last),
        "scaled_linear" => NoiseSchedule::scaled_linear(total, first, last),
        "sigmoid" => NoiseSchedule::sigmoid(total, first, last),
        "squaredcos_cap_v2" => NoiseSchedule::cosine(total),
        "laplace" => python_laplace(total),
        _ => {
            let names = "linear, scaled_linear, squaredcos_cap_v2, sigmoid, laplace";
            return Err(config_error("beta_schedule", &name, format!("is none of {names}")));
        }
    };
    if !notes.class.takes_beta_schedule(&name) {
        notes.differs(Difference::BetaSchedule(notes.class));
    }
    if family.is_none() {
        notes.default("beta_schedule", defaults.beta_schedule, "linear");
    }
    if needs_ends && defaults.beta_end != 0.02 {
        if start.is_none() {
            notes.default("beta_start", "0.00085", "0.0001");
        }
        if end.is_none() {
            notes.default("beta_end", "0.012", "0.02");
        }
    }
    schedule.map_err(|error| config_error("beta_schedule", &name, format!("is no schedule for T = {total}: {error}")))
}

/// Python's "laplace", which takes for ᾱ the root of what the paper has (Hang et al. 2024, with μ = 0, b = 0.5), and keeps the
/// logarithm off 0 by 1e-6.
fn python_laplace(total: usize) -> Result<NoiseSchedule, Error> {
    NoiseSchedule::from_alpha_bar_fn(total, 0.999, |u| {
        let side = if u > 0.5 { -1.0 } else { 1.0 };
        let log_snr = -0.5 * side * libm::log(1.0 - 2.0 * (0.5 - u).abs() + 1e-6);
        let snr = libm::exp(log_snr);
        (snr / (1.0 + snr)).sqrt()
    })
}

fn read_prediction(reader: &mut Reader<'_>) -> Result<Prediction, Error> {
    let Some(entry) = reader.get("prediction_type") else { return Ok(Prediction::Epsilon) };
    match entry.word()?.as_str() {
        "epsilon" => Ok(Prediction::Epsilon),
        "sample" => Ok(Prediction::Sample),
        "v_prediction" => Ok(Prediction::Velocity),
        _ => Err(entry.error("is none of epsilon, sample, v_prediction")),
    }
}

fn read_rescaling(
    reader: &mut Reader<'_>,
    notes: &mut Notes,
    schedule: NoiseSchedule,
    prediction: Prediction,
) -> Result<NoiseSchedule, Error> {
    let Some(entry) = reader.get("rescale_betas_zero_snr") else { return Ok(schedule) };
    if !entry.flag()? {
        return Ok(schedule);
    }
    if prediction == Prediction::Epsilon {
        return Err(entry.error("contradicts prediction_type = epsilon, which says nothing about x₀ where ᾱ = 0"));
    }
    notes.differs(if notes.class.is_supported() { Difference::ZeroSnr } else { Difference::ZeroSnrFloor });
    schedule.rescale_zero_terminal_snr().map_err(|error| entry.error(format!("cannot be done: {error}")))
}

fn read_threshold(reader: &mut Reader<'_>, notes: &mut Notes) -> Result<Threshold, Error> {
    let (clip, range) = (reader.get("clip_sample"), reader.get("clip_sample_range"));
    let default = notes.class.defaults().clip_sample;
    let clips = match clip {
        Some(entry) => entry.flag()?,
        None => default,
    };
    if notes.class != SchedulerClass::DdimInverse {
        let dynamic = reader.get("thresholding");
        let (ratio, max) = (reader.get("dynamic_thresholding_ratio"), reader.get("sample_max_value"));
        if dynamic.map(|entry| entry.flag()).transpose()?.unwrap_or(false) {
            if clips {
                notes.ignored_if_given(clip, Ignored::Thresholding);
                notes.ignored_if_given(range, Ignored::Thresholding);
            } else {
                notes.ignored_if_given(range, Ignored::Off("clip_sample"));
            }
            return Ok(Threshold::Dynamic {
                ratio: number(ratio, 0.995, |ratio| (0.0..=1.0).contains(&ratio), "is not inside [0, 1]")?,
                max: number(max, 1.0, |max| max >= 1.0, "is not at least 1")?,
            });
        }
        notes.ignored_if_given(ratio, Ignored::Off("thresholding"));
        notes.ignored_if_given(max, Ignored::Off("thresholding"));
    }
    if clip.is_none() {
        notes.default("clip_sample", if default { "true" } else { "false" }, "true");
    }
    if clips {
        Ok(Threshold::Clip(number(range, 1.0, |range| range > 0.0, "is not positive")?))
    } else {
        notes.ignored_if_given(range, Ignored::Off("clip_sample"));
        Ok(Threshold::None)
    }
}

fn number(entry: Option<Entry<'_>>, default: f64, holds: impl Fn(f64) -> bool, not: &str) -> Result<f64, Error> {
    let Some(entry) = entry else { return Ok(default) };
    let number = entry.number()?;
    if holds(number) { Ok(number) } else { Err(entry.error(not)) }
}

fn read_end(reader: &mut Reader<'_>, notes: &mut Notes) -> Result<PathEnd, Error> {
    let default = notes.class.defaults().end;
    if notes.class.is_ddpm() {
        return Ok(default);
    }
    let mut given = reader.get("set_alpha_to_one");
    if notes.class == SchedulerClass::DdimInverse {
        // Its former name goes before.
        let former = reader.peek("set_alpha_to_zero").filter(|entry| !entry.is_null());
        if former.is_some() {
            reader.seen.insert("set_alpha_to_zero");
            given = former;
        }
    }
    match given {
        Some(entry) => Ok(if entry.flag()? { PathEnd::Clean } else { PathEnd::FirstLevel }),
        None => {
            notes.default("set_alpha_to_one", if default == PathEnd::Clean { "true" } else { "false" }, "true");
            Ok(default)
        }
    }
}

fn read_spacing(
    reader: &mut Reader<'_>,
    notes: &mut Notes,
    total: usize,
    end: PathEnd,
) -> Result<(Spacing, usize), Error> {
    let class = notes.class;
    let name = match reader.get("timestep_spacing") {
        Some(entry) => entry.word()?,
        None => {
            let default = class.defaults().timestep_spacing;
            notes.default("timestep_spacing", default, "leading");
            default.to_owned()
        }
    };
    let spacing = match name.as_str() {
        "leading" => Spacing::Leading,
        "trailing" => Spacing::Trailing,
        "linspace" => Spacing::Linspace,
        _ => return Err(config_error("timestep_spacing", &name, "is none of leading, trailing, linspace")),
    };
    let offset = match reader.get("steps_offset") {
        Some(entry) => {
            let offset = entry.count(0, total - 1)?;
            if spacing != Spacing::Leading {
                notes.ignored("steps_offset", Ignored::Off("leading spacing"));
            }
            offset
        }
        None => 0,
    };
    let ddim = class.is_ddim() || class == SchedulerClass::DdimInverse;
    match spacing {
        Spacing::Leading => {
            // With offset 1 and the end at t = 0, the two are the same level.
            if ddim && offset > 0 && !(offset == 1 && end == PathEnd::FirstLevel) {
                notes.differs(Difference::OffsetPredecessor);
            }
            if class.is_ddpm() && offset > 0 {
                notes.differs(Difference::LastStepNoise);
            }
        }
        Spacing::Trailing => {
            notes.differs(Difference::TrailingLength);
            if class.is_ddpm() {
                notes.differs(Difference::LastStepNoise);
            }
        }
        Spacing::Linspace if class == SchedulerClass::DdimInverse => notes.differs(Difference::InverseLinspace),
        Spacing::Linspace => notes.differs(Difference::LinspaceSingle),
    }
    if ddim && spacing != Spacing::Leading {
        notes.differs(Difference::Predecessor);
    }
    let listed_otherwise = match class.list() {
        List::Same => false,
        List::Fractional => spacing == Spacing::Linspace,
        List::OneMore => spacing != Spacing::Trailing,
        List::Distilled => true,
    };
    if listed_otherwise {
        notes.differs(Difference::List(class));
    }
    Ok((spacing, offset))
}

fn read_variance(reader: &mut Reader<'_>, notes: &mut Notes) -> Result<(Variance, bool), Error> {
    let Some(entry) = reader.peek("variance_type").filter(|entry| !entry.is_null()) else {
        if notes.class.is_ddpm() {
            reader.seen.insert("variance_type");
        }
        return Ok((Variance::Posterior, false));
    };
    let variance = match entry.word()?.as_str() {
        "fixed_small" | "fixed_small_log" => Variance::Posterior,
        "fixed_large" | "fixed_large_log" => Variance::Beta,
        "learned" => Variance::Learned,
        "learned_range" => Variance::LearnedRange,
        _ => {
            let names = "fixed_small, fixed_small_log, fixed_large, fixed_large_log, learned, learned_range";
            return Err(entry.error(format!("is none of {names}")));
        }
    };
    let learned = matches!(variance, Variance::Learned | Variance::LearnedRange);
    if !notes.class.is_ddpm() {
        if learned {
            reader.seen.insert("variance_type");
            notes.differs(Difference::DropVariance);
        }
        return Ok((Variance::Posterior, learned));
    }
    reader.seen.insert("variance_type");
    if variance == Variance::Learned {
        notes.differs(Difference::Learned);
    }
    if entry.word()? == "fixed_large_log" {
        notes.differs(Difference::FixedLargeLog);
    }
    Ok((variance, learned))
}

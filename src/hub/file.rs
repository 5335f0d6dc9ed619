//! Reads and writes `scheduler_config.json`, and reads it as another class.

use crate::error::Error;
use crate::hub::json::{self, Entries, Entry, MAX_BYTES, config_error};
use crate::hub::keys::{REMOVED_KEYS, acts, is_known};
use crate::hub::note::{Difference, Note};
use crate::hub::read::Reader;
use crate::hub::sampler::Sampler;
use crate::hub::{SchedulerClass, SchedulerConfig};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::timesteps::PathEnd;

/// The name of the file in diffusers.
const FILE_NAME: &str = "scheduler_config.json";

/// Reading and writing.
impl SchedulerConfig {
    fn from_entries(class: SchedulerClass, entries: Entries) -> Result<Self, Error> {
        let mut reader = Reader::new(class, &entries);
        let sampler = Sampler::read(&mut reader)?;
        let notes = reader.into_notes();
        Ok(Self { class, entries, sampler, imitates: None, notes })
    }

    /// Reads the text of a `scheduler_config.json`.
    ///
    /// The class is the value of `_class_name`. Two other forms are accepted. If the file has an object `noise_scheduler` (diffusion
    /// policy), that object is read, and its class may be in `_target_`. If the file has `noise_scheduler_type` (`LeRobot`), only the keys
    /// of schedulers are read.
    ///
    /// Limits: 32 MiB, 256 keys, and [`MAX_TRAIN_STEPS`](crate::MAX_TRAIN_STEPS) entries of `trained_betas`.
    ///
    /// # Errors
    /// - [`Error::ConfigText`] if the text is not a JSON object.
    /// - [`Error::ConfigKeyMissing`] if it does not name a class; [`SchedulerConfig::from_json_as`] reads such a file.
    /// - [`Error::Config`] with the key if a value makes no sense: it has the wrong type, is outside its domain, is unknown to diffusers, or
    ///   contradicts another key.
    ///
    /// ```
    /// # use alphabar::{Error, hub::SchedulerConfig};
    /// assert!(
    ///     SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler"}"#).is_ok()
    /// );
    /// let error = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "DDIMScheduler", "beta_start": 1.5}"#,
    /// )
    /// .unwrap_err();
    /// assert_eq!(error.to_string(), "beta_start = 1.5 is not inside (0, 1)");
    /// ```
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let (name, entries) = scheduler_section(json::entries(text)?)?;
        let Some(name) = name else {
            let reason = "the defaults of the other keys depend on the class. To choose a class use \
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

    /// Reads the text of a `scheduler_config.json` as a class of your choice. The file need not have `_class_name`.
    ///
    /// Missing keys have the defaults of that class, as with `DDIMScheduler.from_config` in diffusers.
    ///
    /// # Errors
    /// The errors of [`SchedulerConfig::from_json`], and [`Error::Config`] if the file of a flow-matching model is read as a class with a
    /// β schedule, or the other way around.
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
    /// The errors of [`SchedulerConfig::from_json`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_json(json::utf8(bytes)?)
    }

    /// Opens the configuration of a model folder.
    ///
    /// The path is the model's folder, its folder `scheduler/`, or the file `scheduler_config.json`.
    ///
    /// # Errors
    /// [`Error::ConfigRead`] with the path, and the errors of [`SchedulerConfig::from_json`].
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
            let reason =
                format!("{}: there is no {FILE_NAME} in this folder or in its folder scheduler/", path.display());
            return Err(Error::ConfigRead(std::io::Error::new(std::io::ErrorKind::NotFound, reason)));
        }
        Self::from_reader(std::fs::File::open(path).map_err(named)?).map_err(|error| match error {
            Error::ConfigRead(error) => named(error),
            error => error,
        })
    }

    /// Reads a `scheduler_config.json` from a reader, such as a file or a connection.
    ///
    /// It reads at most 32 MiB.
    ///
    /// # Errors
    /// [`Error::ConfigRead`], and the errors of [`SchedulerConfig::from_json`].
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

    /// A configuration for a custom schedule, which diffusers can load: its β become `trained_betas`.
    ///
    /// If the class has the keys for it, clipping is off, the spacing is trailing, and the path ends at clean data.
    ///
    /// # Errors
    /// [`Error::Config`] for a class that takes no `trained_betas` (flows, EDM, `UnCLIPScheduler`), for a prediction that diffusers has no name
    /// for (such as the score), and for a schedule that ends at ᾱ = 0, which `trained_betas` cannot represent.
    ///
    /// ```
    /// use alphabar::hub::{SchedulerClass, SchedulerConfig};
    /// use alphabar::{NoiseSchedule, Prediction};
    ///
    /// let schedule = NoiseSchedule::laplace(1000, 0.0, 0.5)?;
    /// let config = SchedulerConfig::from_schedule(
    ///     SchedulerClass::Ddim,
    ///     &schedule,
    ///     Prediction::Velocity,
    /// )?;
    /// assert_eq!(
    ///     SchedulerConfig::from_json(&config.to_json())?.schedule()?.betas(),
    ///     schedule.betas()
    /// );
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
        if !class.has_betas() || !acts(class, "trained_betas") {
            let reason = "takes no trained_betas; choose a class that does, such as DDIMScheduler";
            return Err(config_error("_class_name", class.name(), reason));
        }
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
        // Defaults that have to be switched off.
        if class.defaults().end != PathEnd::Clean && acts(class, "set_alpha_to_one") {
            entries.insert("set_alpha_to_one".to_owned(), "true".to_owned());
        }
        if acts(class, "snr_shift_scale") {
            entries.insert("snr_shift_scale".to_owned(), "1.0".to_owned());
        }
        Self::from_entries(class, entries)
    }

    /// Reads the configuration again as another class, as `DDIMScheduler.from_config(config)` does in diffusers.
    ///
    /// Missing keys get the defaults of that class.
    ///
    /// # Errors
    /// [`Error::Config`], as for [`SchedulerConfig::from_json_as`].
    ///
    /// ```
    /// use alphabar::hub::{SchedulerClass, SchedulerConfig, Spacing};
    ///
    /// let euler =
    ///     SchedulerConfig::from_json(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
    /// let ddim = euler.clone().with_class(SchedulerClass::Ddim)?;
    /// assert_eq!(
    ///     (euler.spacing(), ddim.spacing()),
    ///     (Some(Spacing::Linspace), Some(Spacing::Leading))
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "from_config")]
    pub fn with_class(self, class: SchedulerClass) -> Result<Self, Error> {
        check_is_of_one_model(Some(self.class), &self.entries, class)?;
        let entries = if class == self.class { self.entries } else { without_keys_of_others(class, self.entries) };
        let config = Self::from_entries(class, entries)?;
        Ok(match self.imitates {
            Some(precision) => config.compat_in(precision),
            None => config,
        })
    }

    /// The text of a `scheduler_config.json`, which diffusers can load with `DDIMScheduler.from_pretrained` and the like.
    ///
    /// Every value is written as it was read, also under unknown keys. The defaults of the keys that classes with a table of β share are
    /// written out. `NaN` and infinities are left out, because JSON does not have them; the only key that holds one, `lambda_min_clipped`, has
    /// the same default in diffusers.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerConfig;
    /// let config = SchedulerConfig::from_json(
    ///     r#"{"_class_name": "DDIMScheduler", "beta_end": 0.012}"#,
    /// )?;
    /// assert!(config.to_json().contains("\"beta_end\": 0.012,\n"));
    /// assert!(config.to_json().contains("\"set_alpha_to_one\": true,\n"));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "save_pretrained")]
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
                // A value under the old name of the key counts as given.
                let mut former = REMOVED_KEYS.iter().filter(|(_, now)| *now == Some(key));
                let is_given = former.any(|(former, _)| entries.contains_key(*former));
                if acts(self.class, key) && !is_given {
                    entries.entry(key.to_owned()).or_insert(text);
                }
            }
        }
        let lines: Vec<String> =
            entries.iter().map(|(key, text)| format!("  {}: {text}", serde_json::Value::from(key.as_str()))).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

/// The name of the class and the entries of the scheduler, in a file that may hold other things too.
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

/// Refuses to read the file of a flow as a class with a table of β, and the other way around: a network was trained on one of the two.
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
        "belongs to a model with a β schedule, which no flow-matching class can sample; choose a class with one"
    } else {
        "belongs to a flow-matching model, which has no β schedule: read it as a flow-matching class, or set \
         use_flow_sigmas for a class that has it"
    };
    Err(config_error("_class_name", from.map_or("(none)", SchedulerClass::name), reason))
}

/// The entries without the keys that only other classes' samplers and σ spacings use; diffusers drops them too.
fn without_keys_of_others(class: SchedulerClass, mut entries: Entries) -> Entries {
    entries.retain(|key, _| acts(class, key) || !is_of_sampler(key));
    entries
}

/// Whether the key belongs to a sampler or its spacing in σ: none of DDIM, DDIM inversion and DDPM uses it.
fn is_of_sampler(key: &str) -> bool {
    let shared = [SchedulerClass::Ddim, SchedulerClass::DdimInverse, SchedulerClass::Ddpm];
    is_known(key) && !shared.into_iter().any(|class| acts(class, key))
}

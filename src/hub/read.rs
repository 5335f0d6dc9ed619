//! From the entries of a configuration to its values, and the report on what was not done.

use std::collections::BTreeSet;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::json::{Entries, Entry, config_error, shortened};
use crate::hub::{Difference, Ignored, Note, SchedulerClass, SchedulerConfig, Spacing};
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::Variance;
use crate::timesteps::PathEnd;

/// Options of methods that are not here.
pub(super) const METHOD_KEYS: [&str; 25] = [
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
pub(super) const SIGMA_KEYS: [&str; 7] = [
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
pub(super) fn has_key(class: SchedulerClass, key: &str) -> bool {
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
    pub(super) fn from_entries(class: SchedulerClass, entries: Entries) -> Result<Self, Error> {
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
                    notes.list.push(Note::Unknown { key: shortened(key) });
                    continue;
                }
            };
            notes.ignored(key, reason);
        }
        let mut notes = notes.list;
        notes.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(Self {
            class,
            entries,
            schedule,
            prediction,
            threshold,
            spacing,
            offset,
            end,
            variance,
            learned_variance,
            notes,
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
    let Some(entry) = given else {
        notes.default("set_alpha_to_one", if default == PathEnd::Clean { "true" } else { "false" }, "true");
        return Ok(default);
    };
    Ok(if entry.flag()? { PathEnd::Clean } else { PathEnd::FirstLevel })
}

fn read_spacing(
    reader: &mut Reader<'_>,
    notes: &mut Notes,
    total: usize,
    end: PathEnd,
) -> Result<(Spacing, usize), Error> {
    let class = notes.class;
    let name = if let Some(entry) = reader.get("timestep_spacing") {
        entry.word()?
    } else {
        let default = class.defaults().timestep_spacing;
        notes.default("timestep_spacing", default, "leading");
        default.to_owned()
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
            if spacing != Spacing::Leading && offset > 0 {
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

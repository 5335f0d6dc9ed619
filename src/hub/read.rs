//! From the entries of a configuration to its values, and the notes on the way.

use std::collections::BTreeSet;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::class::{List, Method};
use crate::hub::json::{Entries, Entry, config_error, shortened};
use crate::hub::keys::{REMOVED_KEYS, SIGMA_KEYS, STEP_ARGUMENTS, acts, is_known, is_off};
use crate::hub::tables::{Family, Recipe};
use crate::hub::{Difference, Ignored, Note, SchedulerClass, SchedulerConfig, Spacing};
use crate::prediction::Prediction;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Ddim, Variance};
use crate::timesteps::PathEnd;

impl SchedulerConfig {
    pub(super) fn from_entries(class: SchedulerClass, entries: Entries) -> Result<Self, Error> {
        let seen = BTreeSet::from(["_class_name", "_diffusers_version"]);
        let mut reader = Reader { class, entries: &entries, seen, notes: Vec::new() };
        reader.check_is_diffusion()?;
        let recipe = reader.recipe()?;
        let prediction = reader.prediction()?;
        let recipe = reader.shift_and_rescaling(recipe, prediction)?;
        let schedule = recipe.schedule()?;
        let threshold = reader.threshold()?;
        let end = reader.end()?;
        let (spacing, offset) = reader.spacing(schedule.len(), end)?;
        let distilled_steps = reader.distilled_steps(schedule.len())?;
        let (variance, learned_variance) = reader.variance()?;
        if class.method() == Method::Other {
            reader.differs(Difference::Method(class));
        }
        reader.note_the_rest();
        let mut notes = reader.notes;
        notes.sort_by(|a, b| a.key().cmp(b.key()));
        let ddim = if class.method() == Method::Ancestral { Ddim::new(1.0)? } else { Ddim::deterministic() };
        Ok(Self {
            class,
            entries,
            recipe,
            schedule,
            prediction,
            threshold,
            spacing,
            offset,
            distilled_steps,
            end,
            ddim,
            variance,
            learned_variance,
            notes,
        })
    }
}

/// The entries as a class reads them, which of them have been looked at, and what is to be said about them.
struct Reader<'a> {
    class: SchedulerClass,
    entries: &'a Entries,
    seen: BTreeSet<&'static str>,
    notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    /// A key, whatever the class does with it.
    fn peek(&self, key: &'static str) -> Option<Entry<'a>> {
        self.entries.get(key).map(|text| Entry { key, text })
    }

    /// A key that acts in this class. Others stay unread, and [`Reader::note_the_rest`] reports them.
    fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !acts(self.class, key) {
            return None;
        }
        self.seen.insert(key);
        self.peek(key)
    }

    /// A key, or the one of early versions that it has replaced.
    fn get_or_former(&mut self, key: &'static str, former: &'static str) -> Option<Entry<'a>> {
        let entry = self.get(key);
        if entry.is_some() || !acts(self.class, key) {
            return entry;
        }
        let entry = self.peek(former)?;
        self.seen.insert(former);
        self.differs(Difference::Renamed { from: former, to: key });
        Some(entry)
    }

    fn differs(&mut self, difference: Difference) {
        self.notes.push(Note::Differs(difference));
    }

    fn ignored(&mut self, key: &str, reason: Ignored) {
        self.notes.push(Note::Ignored { key: key.to_owned(), reason });
    }

    fn ignored_if_given<const N: usize>(&mut self, entries: [Option<Entry<'_>>; N], reason: Ignored) {
        for entry in entries.into_iter().flatten() {
            self.ignored(entry.key, reason);
        }
    }

    /// Notes a default that is not `DDIMScheduler`'s, if DDIM takes the place of a missing sampler.
    fn default(&mut self, key: &'static str, taken: &'static str, ddim: &'static str) {
        if self.class.method() == Method::Other && taken != ddim && !self.entries.contains_key(key) {
            self.notes.push(Note::Default { key, taken, ddim });
        }
    }

    /// Refuses configurations of networks that do not receive a timestep of a β schedule.
    fn check_is_diffusion(&self) -> Result<(), Error> {
        check_has_betas(self.entries)?;
        if let Some(entry) = self.peek("timestep_type").filter(|_| acts(self.class, "timestep_type")) {
            // With other predictions diffusers ignores it.
            let is_v = self.peek("prediction_type").is_some_and(|entry| entry.text == "\"v_prediction\"");
            if entry.word()? == "continuous" && is_v {
                return Err(entry.error("is not supported: the network expects σ, not a training timestep"));
            }
        }
        Ok(())
    }

    fn recipe(&mut self) -> Result<Recipe, Error> {
        let defaults = self.class.defaults();
        let total = match self.get_or_former("num_train_timesteps", "timesteps") {
            Some(entry) => entry.count(1, MAX_TRAIN_STEPS)?,
            None => 1000,
        };
        let (start, end, name) = (self.get("beta_start"), self.get("beta_end"), self.get("beta_schedule"));
        let recipe = |family| Recipe { total, family, shift: 1.0, rescales: false };
        if let Some(entry) = self.get("trained_betas").filter(|entry| !entry.is_null()) {
            self.ignored_if_given([start, end, name], Ignored::TrainedBetas);
            let betas = entry.numbers()?;
            if betas.len() != total {
                return Err(entry.error(format!("holds {} numbers for num_train_timesteps = {total}", betas.len())));
            }
            return Ok(recipe(Family::Trained(betas)));
        }
        let family = match name {
            Some(entry) => entry.word()?,
            None => defaults.beta_schedule.to_owned(),
        };
        if name.is_none() {
            self.default("beta_schedule", defaults.beta_schedule, "linear");
        } else if !self.class.takes_beta_schedule(&family) {
            self.differs(Difference::BetaSchedule(self.class));
        }
        if let Some(fixed) = Family::without_ends(&family) {
            self.ignored_if_given([start, end], Ignored::FixedSchedule);
            return Ok(recipe(fixed));
        }
        if defaults.beta_end != 0.02 {
            if start.is_none() {
                self.default("beta_start", "0.00085", "0.0001");
            }
            if end.is_none() {
                self.default("beta_end", "0.012", "0.02");
            }
        }
        let beta = |entry, default| number(entry, default, |beta| beta > 0.0 && beta < 1.0, "is not inside (0, 1)");
        let (start, end) = (beta(start, defaults.beta_start)?, beta(end, defaults.beta_end)?);
        Family::with_ends(&family, start, end)
            .map(recipe)
            .ok_or_else(|| config_error("beta_schedule", &family, format!("is none of {}", Family::NAMES.join(", "))))
    }

    /// `prediction_type`, which was `predict_epsilon` in diffusers up to 0.8.
    fn prediction(&mut self) -> Result<Prediction, Error> {
        let given = self.get("prediction_type");
        let prediction = match given {
            None => Prediction::Epsilon,
            Some(entry) => match entry.word()?.as_str() {
                "epsilon" => Prediction::Epsilon,
                "sample" => Prediction::Sample,
                "original_sample" if self.class == SchedulerClass::EulerDiscrete => Prediction::Sample,
                "v_prediction" => Prediction::Velocity,
                word if !self.class.is_supported() && word == "flow_prediction" => {
                    return Err(entry
                        .error("is not supported: flow-matching models have no β schedule; make the path with Flow"));
                }
                _ => return Err(entry.error("is none of epsilon, sample, v_prediction")),
            },
        };
        if let Some(entry) = given {
            if !self.class.takes_prediction(&entry.word()?) {
                self.differs(Difference::PredictionType(self.class));
            }
        }
        let Some(former) = self.peek("predict_epsilon").filter(|entry| !entry.is_null()) else {
            return Ok(prediction);
        };
        if former.flag()? || prediction == Prediction::Sample {
            return Ok(prediction);
        }
        if let Some(entry) = given {
            return Err(former.error(format!("contradicts prediction_type = {}; remove the wrong one", entry.text)));
        }
        self.seen.insert("predict_epsilon");
        self.differs(Difference::PredictEpsilon);
        Ok(Prediction::Sample)
    }

    fn shift_and_rescaling(&mut self, mut recipe: Recipe, prediction: Prediction) -> Result<Recipe, Error> {
        let default = self.class.defaults().snr_shift_scale;
        recipe.shift = number(self.get("snr_shift_scale"), default, |shift| shift > 0.0, "is not positive")?;
        recipe.rescales = self.get("rescale_betas_zero_snr").map_or(Ok(false), |entry| entry.flag())?;
        if recipe.rescales {
            self.differs(if prediction == Prediction::Epsilon {
                Difference::ZeroSnrEpsilon
            } else if self.class.keeps_snr_above_zero() {
                Difference::ZeroSnrFloor
            } else {
                Difference::ZeroSnr
            });
        }
        Ok(recipe)
    }

    fn threshold(&mut self) -> Result<Threshold, Error> {
        let clip = self.get_or_former("clip_sample", "clip_predicted_image");
        let range = self.get("clip_sample_range");
        let default = self.class.defaults().clip_sample;
        let clips = clip.map_or(Ok(default), |entry| entry.flag())?;
        let dynamic = self.get("thresholding").map_or(Ok(false), |entry| entry.flag())?;
        let (ratio, max) = (self.get("dynamic_thresholding_ratio"), self.get("sample_max_value"));
        if dynamic {
            if clips {
                self.ignored_if_given([clip, range], Ignored::Thresholding);
            } else {
                self.ignored_if_given([range], Ignored::Off("clip_sample"));
            }
            return Ok(Threshold::Dynamic {
                ratio: number(ratio, 0.995, |ratio| (0.0..=1.0).contains(&ratio), "is not inside [0, 1]")?,
                max: number(max, 1.0, |max| max >= 1.0, "is not at least 1")?,
            });
        }
        self.ignored_if_given([ratio, max], Ignored::Off("thresholding"));
        if clip.is_none() {
            self.default("clip_sample", if default { "true" } else { "false" }, "true");
        }
        if clips {
            return Ok(Threshold::Clip(number(range, 1.0, |range| range > 0.0, "is not positive")?));
        }
        self.ignored_if_given([range], Ignored::Off("clip_sample"));
        Ok(Threshold::None)
    }

    fn end(&mut self) -> Result<PathEnd, Error> {
        let default = self.class.defaults().end;
        if let Some(entry) = self.get("final_sigmas_type") {
            return match entry.word()?.as_str() {
                "zero" => Ok(PathEnd::Clean),
                "sigma_min" => Ok(PathEnd::FirstLevel),
                _ => Err(entry.error("is none of zero, sigma_min")),
            };
        }
        let mut given = self.get("set_alpha_to_one");
        if let Some(former) = self.peek("set_alpha_to_zero").filter(|entry| !entry.is_null()) {
            // As diffusers reads it, also if both are there.
            if self.get("set_alpha_to_zero").is_some() {
                self.differs(Difference::Renamed { from: "set_alpha_to_zero", to: "set_alpha_to_one" });
                given = Some(former);
            }
        }
        let Some(entry) = given else {
            self.default("set_alpha_to_one", if default == PathEnd::Clean { "true" } else { "false" }, "true");
            return Ok(default);
        };
        Ok(if entry.flag()? { PathEnd::Clean } else { PathEnd::FirstLevel })
    }

    fn spacing(&mut self, total: usize, end: PathEnd) -> Result<(Spacing, usize), Error> {
        let (class, default) = (self.class, self.class.defaults().spacing);
        let spacing = if let Some(entry) = self.get("timestep_spacing") {
            let word = entry.word()?;
            word.parse().map_err(|_| entry.error("is none of leading, trailing, linspace"))?
        } else {
            if class.list() != List::Distilled {
                self.default("timestep_spacing", default.name(), "leading");
            }
            default
        };
        let offset = match self.get("steps_offset") {
            Some(entry) => {
                let offset = entry.count(0, total - 1)?;
                if spacing != Spacing::Leading && offset > 0 {
                    self.ignored("steps_offset", Ignored::Off("leading spacing"));
                }
                offset
            }
            None => 0,
        };
        if class.list() != List::Distilled {
            self.note_spacing(spacing, offset, end);
        }
        Ok((spacing, offset))
    }

    /// How the path differs from that of diffusers.
    fn note_spacing(&mut self, spacing: Spacing, offset: usize, end: PathEnd) {
        let (class, list) = (self.class, self.class.list());
        let is_ddpm = class.method() == Method::Ddpm;
        match spacing {
            Spacing::Leading => {
                // With offset 1 and the end at t = 0, the two are the same level.
                if class.steps_by_stride() && offset > 0 && !(offset == 1 && end == PathEnd::FirstLevel) {
                    self.differs(Difference::OffsetPredecessor);
                }
                if is_ddpm && offset > 0 {
                    self.differs(Difference::LastStepNoise);
                }
            }
            Spacing::Trailing => {
                self.differs(Difference::TrailingLength);
                if is_ddpm {
                    self.differs(Difference::LastStepNoise);
                }
            }
            Spacing::Linspace if class == SchedulerClass::DdimInverse => self.differs(Difference::InverseLinspace),
            // There is no single step of UnCLIP's, and with S + 1 entries the first is t = T − 1.
            Spacing::Linspace if class == SchedulerClass::UnClip || list == List::OneMore => {}
            Spacing::Linspace => self.differs(Difference::LinspaceSingle),
        }
        if class.steps_by_stride() && spacing != Spacing::Leading {
            self.differs(Difference::Predecessor);
        }
        if list == List::Fractional && spacing == Spacing::Linspace {
            self.differs(Difference::List(class));
        }
        let ends_at_zero =
            list != List::OneMore && (spacing == Spacing::Linspace || spacing == Spacing::Leading && offset == 0);
        if ends_at_zero && end == PathEnd::FirstLevel {
            self.notes.push(Note::StandsStill);
        }
    }

    /// How many timesteps an LCM was distilled for.
    fn distilled_steps(&mut self, total: usize) -> Result<usize, Error> {
        match self.get("original_inference_steps") {
            Some(entry) => entry.count(1, total),
            None => Ok(total.min(50)),
        }
    }

    fn variance(&mut self) -> Result<(Variance, bool), Error> {
        let is_ddpm = self.class.method() == Method::Ddpm;
        let Some(entry) = self.peek("variance_type").filter(|entry| !entry.is_null()) else {
            if is_ddpm {
                self.seen.insert("variance_type");
            }
            return Ok((Variance::Posterior, false));
        };
        if !is_ddpm {
            let learned = matches!(entry.text, "\"learned\"" | "\"learned_range\"");
            if learned {
                self.seen.insert("variance_type");
                self.differs(Difference::DropVariance);
            }
            return Ok((Variance::Posterior, learned));
        }
        self.seen.insert("variance_type");
        let word = entry.word()?;
        let variance = match word.as_str() {
            "fixed_small" | "fixed_small_log" => Variance::Posterior,
            "fixed_large" | "fixed_large_log" => Variance::Beta,
            "learned" => Variance::Learned,
            "learned_range" => Variance::LearnedRange,
            _ => {
                let names = "fixed_small, fixed_small_log, fixed_large, fixed_large_log, learned, learned_range";
                return Err(entry.error(format!("is none of {names}")));
            }
        };
        if variance == Variance::Learned {
            self.differs(Difference::Learned);
        }
        if word == "fixed_large_log" {
            self.differs(Difference::FixedLargeLog);
        }
        Ok((variance, matches!(variance, Variance::Learned | Variance::LearnedRange)))
    }

    /// The keys that nothing here has read.
    fn note_the_rest(&mut self) {
        for (key, text) in self.entries {
            let name = key.as_str();
            if self.seen.contains(name) {
                continue;
            }
            if is_off(name, text) {
                continue;
            }
            let reason = if acts(self.class, name) {
                if SIGMA_KEYS.contains(&name) { Ignored::SigmaSpacing } else { Ignored::Method }
            } else if STEP_ARGUMENTS.contains(&name) {
                Ignored::StepArgument
            } else if REMOVED_KEYS.iter().any(|(former, _)| *former == name) {
                Ignored::Removed
            } else if is_known(name) {
                Ignored::NotOfClass(self.class)
            } else {
                self.notes.push(Note::Unknown { key: shortened(key, 80) });
                continue;
            };
            self.ignored(name, reason);
        }
    }
}

/// Refuses flow matching, whatever the class.
pub(super) fn check_has_betas(entries: &Entries) -> Result<(), Error> {
    let Some(text) = entries.get("use_flow_sigmas") else { return Ok(()) };
    let entry = Entry { key: "use_flow_sigmas", text };
    if entry.flag()? {
        Err(entry.error("is not supported: flow-matching models have no β schedule; make the path with Flow"))
    } else {
        Ok(())
    }
}

fn number(entry: Option<Entry<'_>>, default: f64, holds: impl Fn(f64) -> bool, not: &str) -> Result<f64, Error> {
    let Some(entry) = entry else { return Ok(default) };
    let number = entry.number()?;
    if holds(number) { Ok(number) } else { Err(entry.error(not)) }
}

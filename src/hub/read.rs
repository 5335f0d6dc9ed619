//! From the entries of a configuration to its values, and the notes on the way.

use std::collections::BTreeSet;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::class::{Family, List};
use crate::hub::json::{Entries, Entry, config_error, shortened};
use crate::hub::keys::{REMOVED_KEYS, STEP_ARGUMENTS, acts, is_known, is_off};
use crate::hub::recipe::{Curve, Recipe};
use crate::hub::trained::Trained;
use crate::hub::{
    Difference, Ignored, Note, Quirk, Sampler, SchedulerClass, SchedulerConfig, Spacing, continuous, flow, multistep,
    sigma, table,
};
use crate::prediction::Prediction;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::Variance;
use crate::timesteps::PathEnd;

impl SchedulerConfig {
    pub(super) fn from_entries(class: SchedulerClass, entries: Entries) -> Result<Self, Error> {
        let seen = BTreeSet::from(["_class_name", "_diffusers_version"]);
        let mut reader = Reader { class, entries: &entries, seen, notes: Vec::new() };
        let (trained, sampler) = match class.family() {
            Family::Table => {
                let trained = reader.trained()?;
                let settings = table::Settings::read(&mut reader, &trained)?;
                (Some(trained), Sampler::Table(settings))
            }
            Family::Sigma => {
                let trained = reader.trained()?;
                let settings = sigma::Settings::read(&mut reader, &trained)?;
                (Some(trained), Sampler::Sigma(settings))
            }
            Family::Multistep => {
                let mut trained = reader.trained()?;
                let settings = multistep::Settings::read(&mut reader, &mut trained)?;
                (Some(trained), Sampler::Multistep(settings))
            }
            Family::Flow => (None, Sampler::Flow(flow::Settings::read(&mut reader)?)),
            Family::Continuous => (None, Sampler::Continuous(continuous::Settings::read(&mut reader)?)),
        };
        reader.note_the_rest();
        let mut notes = reader.notes;
        notes.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(Self { class, entries, trained, sampler, imitates: None, notes })
    }
}

/// The entries as a class reads them, which of them have been looked at, and what is to be said about them.
pub(super) struct Reader<'a> {
    pub(super) class: SchedulerClass,
    entries: &'a Entries,
    seen: BTreeSet<&'static str>,
    notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    /// A key, whatever the class does with it.
    pub(super) fn peek(&self, key: &'static str) -> Option<Entry<'a>> {
        self.entries.get(key).map(|text| Entry { key, text })
    }

    /// A key that acts in this class. Others stay unread, and [`Reader::note_the_rest`] reports them.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !acts(self.class, key) {
            return None;
        }
        self.seen.insert(key);
        self.peek(key)
    }

    /// A key with a value: `null` is as good as no key.
    pub(super) fn given(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.get(key).filter(|entry| !entry.is_null())
    }

    /// A switch. `null` is off, as in Python.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, Error> {
        self.get(key).map_or(Ok(default), |entry| entry.flag())
    }

    /// A number for which `holds`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: f64,
        holds: impl Fn(f64) -> bool,
        not: &str,
    ) -> Result<f64, Error> {
        number(self.given(key), default, holds, not)
    }

    /// A number for which `holds`, if there is one.
    pub(super) fn optional(
        &mut self,
        key: &'static str,
        holds: impl Fn(f64) -> bool,
        not: &str,
    ) -> Result<Option<f64>, Error> {
        self.given(key).map(|entry| number(Some(entry), 0.0, &holds, not)).transpose()
    }

    /// A whole number of `min..=max`.
    pub(super) fn count(&mut self, key: &'static str, default: usize, min: usize, max: usize) -> Result<usize, Error> {
        self.given(key).map_or(Ok(default), |entry| entry.count(min, max))
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&'static str, T)],
    ) -> Result<T, Error> {
        let Some(entry) = self.given(key) else { return Ok(default) };
        let word = entry.word()?;
        choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            entry.error(format!("is none of {}", names.join(", ")))
        })
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

    pub(super) fn differs(&mut self, difference: Difference) {
        self.notes.push(Note::Differs(difference));
    }

    /// Notes that the default and diffusers differ.
    pub(super) fn quirk(&mut self, quirk: &'static Quirk) {
        self.differs(Difference::Quirk(quirk));
    }

    /// Drops what was said of keys, which the class's other settings make untrue.
    pub(super) fn retract(&mut self, keys: &[&str]) {
        self.notes.retain(|note| !keys.contains(&note.key()));
    }

    pub(super) fn stands_still(&mut self) {
        self.notes.push(Note::StandsStill);
    }

    /// Notes a word of another class, which stands for one of this class's.
    pub(super) fn foreign(&mut self, key: &'static str, words: &[&str], stands_for: &'static str) {
        let word = self.given(key).and_then(|entry| entry.word().ok());
        if word.is_some_and(|word| words.contains(&&*word)) {
            self.ignored(key, Ignored::Foreign(stands_for));
        }
    }

    /// Keys that do nothing beside the others, each with the text of its default, which is not worth a note.
    pub(super) fn unused(&mut self, keys: &[(&'static str, &[&str])]) {
        for (key, defaults) in keys {
            if self.get(key).is_some_and(|entry| !entry.is_null() && !defaults.contains(&entry.text)) {
                self.ignored(key, Ignored::Unused);
            }
        }
    }

    pub(super) fn ignored(&mut self, key: &str, reason: Ignored) {
        self.notes.push(Note::Ignored { key: key.to_owned(), reason });
    }

    pub(super) fn ignored_if_given<const N: usize>(&mut self, entries: [Option<Entry<'_>>; N], reason: Ignored) {
        for entry in entries.into_iter().flatten() {
            self.ignored(entry.key, reason);
        }
    }

    /// What all classes with a table of β read.
    fn trained(&mut self) -> Result<Trained, Error> {
        let recipe = self.recipe()?;
        let prediction = self.prediction()?;
        let recipe = self.shift_and_rescaling(recipe, prediction)?;
        let schedule = recipe.schedule()?;
        let threshold = self.threshold()?;
        let end = self.end()?;
        let (spacing, offset) = self.spacing(schedule.len(), end)?;
        let (variance, learned_variance) = self.variance()?;
        Ok(Trained { recipe, schedule, prediction, threshold, spacing, offset, end, variance, learned_variance })
    }

    fn recipe(&mut self) -> Result<Recipe, Error> {
        let defaults = self.class.defaults();
        let total = match self.get_or_former("num_train_timesteps", "timesteps").filter(|entry| !entry.is_null()) {
            Some(entry) => entry.count(1, MAX_TRAIN_STEPS)?,
            None => 1000,
        };
        let (start, end, name) = (self.given("beta_start"), self.given("beta_end"), self.given("beta_schedule"));
        let in_alpha_bar = acts(self.class, "snr_shift_scale");
        let recipe = |curve| Recipe { total, curve, shift: 1.0, rescales: false, in_alpha_bar };
        if let Some(entry) = self.get("trained_betas").filter(|entry| !entry.is_null()) {
            self.ignored_if_given([start, end, name], Ignored::TrainedBetas);
            let betas = entry.numbers()?;
            if betas.len() != total {
                return Err(entry.error(format!("holds {} numbers for num_train_timesteps = {total}", betas.len())));
            }
            return Ok(recipe(Curve::Trained(betas)));
        }
        let family = match name {
            Some(entry) => entry.word()?,
            None => defaults.beta_schedule.to_owned(),
        };
        if name.is_some() && !self.class.takes_beta_schedule(&family) {
            self.differs(Difference::BetaSchedule(self.class));
        }
        if let Some(fixed) = Curve::without_ends(&family) {
            self.ignored_if_given([start, end], Ignored::FixedSchedule);
            return Ok(recipe(fixed));
        }
        let beta = |entry, default| number(entry, default, |beta| beta > 0.0 && beta < 1.0, "is not inside (0, 1)");
        let (start, end) = (beta(start, defaults.beta_start)?, beta(end, defaults.beta_end)?);
        Curve::with_ends(&family, start, end)
            .map(recipe)
            .ok_or_else(|| config_error("beta_schedule", &family, format!("is none of {}", Curve::NAMES.join(", "))))
    }

    /// `prediction_type`, which was `predict_epsilon` in diffusers up to 0.8.
    fn prediction(&mut self) -> Result<Prediction, Error> {
        let given = self.given("prediction_type");
        let prediction = match given {
            None => Prediction::Epsilon,
            Some(entry) => match entry.word()?.as_str() {
                "epsilon" => Prediction::Epsilon,
                "sample" => Prediction::Sample,
                "original_sample" if self.class == SchedulerClass::EulerDiscrete => Prediction::Sample,
                "v_prediction" => Prediction::Velocity,
                "flow_prediction" if acts(self.class, "use_flow_sigmas") => Prediction::Flow,
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
        recipe.shift = number(self.given("snr_shift_scale"), default, |shift| shift > 0.0, "is not positive")?;
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

    pub(super) fn threshold(&mut self) -> Result<Threshold, Error> {
        let clip = self.get_or_former("clip_sample", "clip_predicted_image");
        let range = self.given("clip_sample_range");
        let default = self.class.defaults().clip_sample;
        let clips = clip.map_or(Ok(default), |entry| entry.flag())?;
        let dynamic = self.get("thresholding").map_or(Ok(false), |entry| entry.flag())?;
        let (ratio, max) = (self.given("dynamic_thresholding_ratio"), self.given("sample_max_value"));
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
        if clips {
            return Ok(Threshold::Clip(number(range, 1.0, |range| range > 0.0, "is not positive")?));
        }
        self.ignored_if_given([range], Ignored::Off("clip_sample"));
        Ok(Threshold::None)
    }

    fn end(&mut self) -> Result<PathEnd, Error> {
        let default = self.class.defaults().end;
        if let Some(entry) = self.given("final_sigmas_type") {
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
        let Some(entry) = given else { return Ok(default) };
        Ok(if entry.flag()? { PathEnd::Clean } else { PathEnd::FirstLevel })
    }

    fn spacing(&mut self, total: usize, end: PathEnd) -> Result<(Spacing, usize), Error> {
        let (class, default) = (self.class, self.class.defaults().spacing);
        let spacing = if let Some(entry) = self.given("timestep_spacing") {
            let word = entry.word()?;
            word.parse().map_err(|_| entry.error("is none of leading, trailing, linspace"))?
        } else {
            default
        };
        let offset = match self.given("steps_offset") {
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
        let is_ddpm = class.is_ddpm();
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
        let ends_at_zero =
            list != List::OneMore && (spacing == Spacing::Linspace || spacing == Spacing::Leading && offset == 0);
        if ends_at_zero && end == PathEnd::FirstLevel {
            self.notes.push(Note::StandsStill);
        }
    }

    /// The variance of DDPM, and whether the network predicts one.
    fn variance(&mut self) -> Result<(Variance, bool), Error> {
        let is_ddpm = self.class.is_ddpm();
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
                Ignored::Unused
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

pub(super) fn number(
    entry: Option<Entry<'_>>,
    default: f64,
    holds: impl Fn(f64) -> bool,
    not: &str,
) -> Result<f64, Error> {
    let Some(entry) = entry else { return Ok(default) };
    let number = entry.number()?;
    if holds(number) { Ok(number) } else { Err(entry.error(not)) }
}

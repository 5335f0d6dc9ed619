//! Reads values from the entries of a configuration, and collects the notes.

use std::collections::BTreeSet;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::json::{Entries, Entry, config_error, few_digits, shortened};
use crate::hub::keys::{REMOVED_KEYS, STEP_ARGUMENTS, acts, is_known, is_off};
use crate::hub::{Difference, Ignored, Note, Quirk, SchedulerClass};
use crate::spacing::Spread;

/// The spacings in σ, by their keys.
pub(super) const SPREADS: [(&str, Spread); 3] = [
    ("use_karras_sigmas", Spread::Karras),
    ("use_exponential_sigmas", Spread::Exponential),
    ("use_beta_sigmas", Spread::Beta),
];

/// Reads entries as a class does, and keeps track of the keys that were read and of the notes.
pub(super) struct Reader<'a> {
    pub(super) class: SchedulerClass,
    entries: &'a Entries,
    seen: BTreeSet<&'static str>,
    notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(class: SchedulerClass, entries: &'a Entries) -> Self {
        let seen = BTreeSet::from(["_class_name", "_diffusers_version"]);
        Self { class, entries, seen, notes: Vec::new() }
    }

    /// The notes, also on the keys that were not read, sorted by key.
    pub(super) fn into_notes(mut self) -> Vec<Note> {
        self.note_the_rest();
        self.notes.sort_by(|a, b| a.key().cmp(b.key()));
        self.notes
    }

    /// The entry of a key, even if the key does not act in this class. It does not count as read.
    pub(super) fn peek(&self, key: &'static str) -> Option<Entry<'a>> {
        self.entries.get(key).map(|text| Entry { key, text })
    }

    /// The entry of a key that acts in this class. Other keys stay unread, and [`Reader::note_the_rest`] reports them.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !acts(self.class, key) {
            return None;
        }
        self.seen.insert(key);
        self.peek(key)
    }

    /// Marks a key as read, although [`Reader::get`] did not read it.
    pub(super) fn mark(&mut self, key: &'static str) {
        self.seen.insert(key);
    }

    /// The entry of a key that acts in this class and is not `null`. `null` is treated as a missing key.
    pub(super) fn given(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.get(key).filter(|entry| !entry.is_null())
    }

    /// A switch. `null` is off, as in diffusers.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, Error> {
        self.get(key).map_or(Ok(default), |entry| entry.flag())
    }

    /// A number for which `holds` is true, or the default. Else an error that says `not`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: f64,
        holds: impl Fn(f64) -> bool,
        not: &str,
    ) -> Result<f64, Error> {
        number(self.given(key), default, holds, not)
    }

    /// A number for which `holds` is true, if the key is given.
    pub(super) fn optional(
        &mut self,
        key: &'static str,
        holds: impl Fn(f64) -> bool,
        not: &str,
    ) -> Result<Option<f64>, Error> {
        self.given(key).map(|entry| number(Some(entry), 0.0, &holds, not)).transpose()
    }

    /// A whole number in `min..=max`, or the default.
    pub(super) fn count(&mut self, key: &'static str, default: usize, min: usize, max: usize) -> Result<usize, Error> {
        self.given(key).map_or(Ok(default), |entry| entry.count(min, max))
    }

    /// One of these words, or the default.
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
            entry.error(format!("is not one of {}", names.join(", ")))
        })
    }

    /// One of this class's words, the first of which is the default; or a word of another class, which means the default and gets a note.
    pub(super) fn choice_or_foreign<T: Copy, const N: usize>(
        &mut self,
        key: &'static str,
        own: &[(&'static str, T); N],
        foreign: &[&'static str],
    ) -> Result<T, Error> {
        const { assert!(N > 0) }
        let (name, default) = own[0];
        let word = self.given(key).and_then(|entry| entry.word().ok());
        if word.is_some_and(|word| foreign.contains(&&*word)) {
            self.ignored(key, Ignored::Foreign(name));
        }
        let all: Vec<_> = own.iter().copied().chain(foreign.iter().map(|word| (*word, default))).collect();
        self.choice(key, default, &all)
    }

    /// The one of these switches that is on. Two are an error.
    pub(super) fn one_on<T: Copy>(&mut self, switches: &[(&'static str, T)]) -> Result<Option<T>, Error> {
        let mut found: Option<(&str, T)> = None;
        for (key, choice) in switches {
            if !self.flag(key, false)? {
                continue;
            }
            if let Some((other, _)) = found {
                return Err(config_error(*key, "true", format!("contradicts {other}; remove one of them")));
            }
            found = Some((key, *choice));
        }
        Ok(found.map(|(_, choice)| choice))
    }

    /// `use_karras_sigmas`, `use_exponential_sigmas` or `use_beta_sigmas`.
    pub(super) fn spread(&mut self) -> Result<Option<Spread>, Error> {
        self.one_on(&SPREADS)
    }

    /// `sigma_max` and `sigma_min`, or their defaults.
    pub(super) fn sigma_ends(&mut self, defaults: [f64; 2]) -> Result<[f64; 2], Error> {
        let [max, min] = self.sigma_ends_if_given()?;
        in_order([max.unwrap_or(defaults[0]), min.unwrap_or(defaults[1])])
    }

    /// `sigma_max` and `sigma_min`.
    pub(super) fn sigma_ends_if_given(&mut self) -> Result<[Option<f64>; 2], Error> {
        let (holds, not) = (|sigma: f64| (1e-45..=1e45).contains(&sigma), "is not inside [1e-45, 1e45]");
        let ends = [self.optional("sigma_max", holds, not)?, self.optional("sigma_min", holds, not)?];
        if let [Some(max), Some(min)] = ends {
            in_order([max, min])?;
        }
        Ok(ends)
    }

    /// The entry of a key, or of the key of early versions that it replaced.
    pub(super) fn get_or_former(&mut self, key: &'static str, former: &'static str) -> Option<Entry<'a>> {
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

    /// Adds a note that the default plan and diffusers differ.
    pub(super) fn quirk(&mut self, quirk: &'static Quirk) {
        self.differs(Difference::Quirk(quirk));
    }

    /// Drops the notes on these keys, because other settings make them untrue.
    pub(super) fn retract(&mut self, keys: &[&str]) {
        self.notes.retain(|note| !keys.contains(&note.key()));
    }

    pub(super) fn stands_still(&mut self) {
        self.notes.push(Note::StandsStill);
    }

    /// Reads keys that have no effect with the other settings. Each comes with the texts of its default, which get no note.
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

    pub(super) fn threshold(&mut self) -> Result<Threshold, Error> {
        let clip = self.get_or_former("clip_sample", "clip_predicted_image");
        let range = self.given("clip_sample_range");
        let default = self.class.defaults().clip_sample;
        let clips = clip.map_or(Ok(default), |entry| entry.flag())?;
        let dynamic = self.flag("thresholding", false)?;
        let (ratio, max) = (self.given("dynamic_thresholding_ratio"), self.given("sample_max_value"));
        if dynamic {
            if clips {
                self.ignored_if_given([clip, range], Ignored::Thresholding);
            } else {
                self.ignored_if_given([range], Ignored::Off("clip_sample"));
            }
            return Ok(Threshold::Dynamic {
                ratio: number(ratio, 0.995, |ratio| (0.0..=1.0).contains(&ratio), "is not inside [0, 1]")?,
                max: number(max, 1.0, |max| max >= 1.0, "is below 1")?,
            });
        }
        self.ignored_if_given([ratio, max], Ignored::Off("thresholding"));
        if clips {
            return Ok(Threshold::Clip(number(range, 1.0, |range| range > 0.0, "is not positive")?));
        }
        self.ignored_if_given([range], Ignored::Off("clip_sample"));
        Ok(Threshold::None)
    }

    /// Adds notes on the keys that were not read.
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

fn in_order([max, min]: [f64; 2]) -> Result<[f64; 2], Error> {
    if min < max {
        return Ok([max, min]);
    }
    Err(config_error(
        "sigma_min",
        &few_digits(min),
        format!("is not below sigma_max = {}; choose a smaller one", few_digits(max)),
    ))
}

/// A number for which `holds` is true, or the default. Else an error that says `not`.
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

//! Reads JSON from untrusted sources: bounded in size, and every error is one short line with its key or its place.

use core::fmt;
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::schedule::MAX_TRAIN_STEPS;

/// The largest file that is read: room for `trained_betas` of the longest schedule.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// The most keys that are read; diffusers writes about 30.
const MAX_KEYS: usize = 256;
/// How many characters of a value an error repeats.
const SHOWN: usize = 80;

/// The text of each value by its key.
pub(super) type Entries = BTreeMap<String, String>;

/// The error of a key, with value and reason shortened.
pub(super) fn config_error(key: impl Into<String>, value: &str, reason: impl AsRef<str>) -> Error {
    Error::Config {
        key: shortened(&key.into(), SHOWN),
        value: shortened(value, SHOWN),
        reason: without_middle(reason.as_ref(), 3 * SHOWN),
    }
}

/// A reason in one line. If it is too long, its middle is left out: it may quote a long value before it says what was expected.
fn without_middle(text: &str, most: usize) -> String {
    let short = shortened(text, most);
    if !short.ends_with('…') {
        return short;
    }
    let half = most / 2;
    let tail: String = text.chars().rev().take(half).filter(|c| !c.is_control()).collect();
    let tail: String = tail.chars().rev().collect();
    format!("{}{tail}", shortened(text, half))
}

/// A number as text: in scientific notation if it is very small or very large.
pub(super) fn few_digits(value: f64) -> String {
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

/// A text in one line, at most `most` characters long, without control characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let mut short = String::new();
    let mut gap = false;
    let mut room = most;
    // A run of spaces and line breaks counts as one space. `take` bounds the work for a text of nothing else.
    for c in text.chars().take(64 * most) {
        if c.is_whitespace() || c.is_control() {
            gap = !short.is_empty();
            continue;
        }
        if room == 0 {
            short.push('…');
            return short;
        }
        if gap {
            short.push(' ');
        }
        short.push(c);
        room -= 1;
        gap = false;
    }
    if text.chars().nth(64 * most).is_some() {
        short.push('…');
    }
    short
}

/// An error about the text: at a place, counted from 1, or about the whole text, at line 0.
fn text_error(line: usize, column: usize, reason: &str) -> Error {
    let column = if line == 0 { 0 } else { column.max(1) };
    Error::ConfigText { line, column, reason: without_middle(reason, 2 * SHOWN) }
}

/// The text of a file, without a byte order mark.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    check_size(bytes.len())?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(text_error(0, 0, "the file is UTF-16; save it as UTF-8"));
    }
    core::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let mut lines = before.rsplit(|byte| *byte == b'\n');
        let column = 1 + lines.next().map_or(0, <[u8]>::len);
        text_error(1 + lines.count(), column, "the file is not UTF-8")
    })
}

/// The entries of an object; their values are not read yet.
pub(super) fn entries(text: &str) -> Result<Entries, Error> {
    check_size(text.len())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(text_error(0, 0, "the file is empty"));
    }
    let text = with_quoted_constants(text);
    let mut parser = serde_json::Deserializer::from_str(&text);
    let pairs = parser.deserialize_map(Pairs).and_then(|pairs| parser.end().map(|()| pairs)).map_err(|error| {
        let reason = error.to_string();
        // serde_json puts the place at the end; a quoted value may come before it.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        text_error(error.line().max(1), error.column(), reason)
    })?;
    let mut entries = Entries::new();
    for (key, value) in pairs {
        if entries.contains_key(&key) {
            return Err(config_error(key, value.get(), "is given twice"));
        }
        entries.insert(key, value.get().to_owned());
    }
    Ok(entries)
}

pub(super) fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_BYTES {
        Ok(())
    } else {
        Err(text_error(0, 0, &format!("the file has more than {MAX_BYTES} bytes")))
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            if pairs.len() == MAX_KEYS {
                return Err(A::Error::custom(format_args!("more than {MAX_KEYS} keys")));
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// Puts `NaN`, `Infinity` and `-Infinity` in quotes, because JSON does not have them. diffusers writes them, for example for
/// `lambda_min_clipped` of `DPMSolverMultistepScheduler`. As strings they are an error only if a number is needed.
fn with_quoted_constants(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut rest, mut in_string) = (text, false);
    while let Some(next) = rest.chars().next() {
        let constant = if in_string { None } else { CONSTANTS.into_iter().find(|name| rest.starts_with(name)) };
        let taken = if let Some(name) = constant {
            quoted.extend(["\"", name, "\""]);
            name.len()
        } else {
            quoted.push(next);
            let mut taken = next.len_utf8();
            if next == '"' {
                in_string = !in_string;
            } else if in_string && next == '\\' {
                let escaped = rest.chars().nth(1);
                quoted.extend(escaped);
                taken += escaped.map_or(0, char::len_utf8);
            }
            taken
        };
        rest = rest.split_at_checked(taken).unwrap_or_default().1;
    }
    Cow::Owned(quoted)
}

const CONSTANTS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Whether the text of a value is a quoted `NaN`, `Infinity` or `-Infinity`.
pub(super) fn is_constant(text: &str) -> bool {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).is_some_and(|name| CONSTANTS.contains(&name))
}

/// A value and its key.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'static str,
    pub(super) text: &'a str,
}

impl Entry<'_> {
    pub(super) fn error(&self, reason: impl AsRef<str>) -> Error {
        config_error(self.key, self.text, reason)
    }

    pub(super) fn is_null(&self) -> bool {
        self.text == "null"
    }

    pub(super) fn number(&self) -> Result<f64, Error> {
        serde_json::from_str(self.text).map_err(|_| self.error("is not a finite number"))
    }

    /// A whole number in `min..=max`.
    pub(super) fn count(&self, min: usize, max: usize) -> Result<usize, Error> {
        // 1e3 and 1000.0 count too. f64 is exact here, because no limit is above 2⁵³.
        let count: Option<f64> = serde_json::from_str(self.text).ok();
        let count = count.filter(|count| *count >= 0.0 && *count <= max as f64 && count.fract() == 0.0);
        let count = count.map(|count| count as usize).filter(|count| (min..=max).contains(count));
        count.ok_or_else(|| self.error(format!("is not a whole number in {min}..={max}")))
    }

    /// A switch. `null` counts as `false`, as in diffusers.
    pub(super) fn flag(&self) -> Result<bool, Error> {
        if self.is_null() {
            return Ok(false);
        }
        serde_json::from_str(self.text).map_err(|_| self.error("is neither true nor false"))
    }

    pub(super) fn word(&self) -> Result<String, Error> {
        serde_json::from_str(self.text).map_err(|_| self.error("is not a string"))
    }

    pub(super) fn numbers(&self) -> Result<Vec<f64>, Error> {
        let mut parser = serde_json::Deserializer::from_str(self.text);
        parser.deserialize_seq(Numbers).map_err(|error| self.error(format!("is not a list of numbers: {error}")))
    }
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = Vec<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<f64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            if numbers.len() == MAX_TRAIN_STEPS {
                return Err(A::Error::custom(format_args!("more than {MAX_TRAIN_STEPS} of them")));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }
}

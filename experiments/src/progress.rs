//! The progress of a long computation: a bar on a terminal; elsewhere, as in the log of a job, a line every minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::trouble::{Result, Trouble};

/// Seconds between the lines if there is no terminal.
const PAUSE: u64 = 60;

/// A progress display that threads can share.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    /// Items that were done earlier. They do not count for the speed.
    from: AtomicU64,
    /// The second at which the next line is due.
    due: AtomicU64,
}

impl Progress {
    /// The progress of `len` items, `from` of them done already, with indicatif's template.
    pub fn new(template: &str, len: u64, from: u64) -> Result<Self> {
        let bar = ProgressBar::new(len).with_position(from);
        let template = template.replace("{bar}", "{bar:30}");
        bar.set_style(ProgressStyle::with_template(&template).map_err(|error| Trouble::Options(error.to_string()))?);
        bar.reset_eta();
        Ok(Self { bar, began: Instant::now(), from: AtomicU64::new(from), due: AtomicU64::new(PAUSE) })
    }

    /// Sets the number of items done, and the message.
    pub fn at(&self, position: u64, message: impl FnOnce() -> String) {
        self.bar.set_position(position);
        if self.bar.is_hidden() {
            self.line(message);
        } else {
            self.bar.set_message(message());
        }
    }

    /// Adds items done.
    pub fn more(&self, things: u64) {
        self.bar.inc(things);
        if self.bar.is_hidden() {
            self.line(|| self.bar.message());
        }
    }

    /// Adds items that were done earlier.
    pub fn skip(&self, things: u64) {
        self.from.fetch_add(things, Ordering::Relaxed);
        self.bar.inc(things);
        self.bar.reset_eta();
    }

    /// Sets the message.
    pub fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Prints a line that stays.
    pub fn note(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, message: impl FnOnce() -> String) {
        let (elapsed, due) = (self.began.elapsed(), self.due.load(Ordering::Relaxed));
        let claim = || self.due.compare_exchange(due, elapsed.as_secs() + PAUSE, Ordering::Relaxed, Ordering::Relaxed);
        if elapsed.as_secs() < due || claim().is_err() {
            return;
        }
        let (position, len) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let rate = position.saturating_sub(self.from.load(Ordering::Relaxed)) as f64 / elapsed.as_secs_f64();
        let left = Duration::try_from_secs_f64(len.saturating_sub(position) as f64 / rate).unwrap_or(Duration::MAX);
        eprintln!("{position} of {len}, {} left: {}", HumanDuration(left), message());
    }
}

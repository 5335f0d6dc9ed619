//! The lists of t of diffusers.

use crate::compat::Precision;
use crate::compat::tables::linspace as torch_linspace;
use crate::error::{Error, require_count};
use crate::schedule::MAX_TRAIN_STEPS;

/// `timestep_spacing`, with `steps_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Linspace,
    Leading { offset: usize },
    Trailing,
}

impl Times {
    /// The list of the classes that run in σ (Euler, Heun, LMS, KDPM2, DPM-Solver SDE), the noisiest t first.
    ///
    /// "linspace" keeps fractions. "trailing" has S + 1 entries for some S, the last of them t = −1.
    pub(crate) fn list(self, total: usize, steps: usize) -> Result<Vec<f64>, Error> {
        require_count("S", steps, 1, if self == Self::Linspace { MAX_TRAIN_STEPS } else { total })?;
        Ok(match self {
            Self::Linspace => linspace(0.0, (total - 1) as f64, steps).rev().collect(),
            Self::Leading { offset } => (0..steps).rev().map(|i| (i * (total / steps) + offset) as f64).collect(),
            Self::Trailing => {
                // numpy.arange(T, 0, −T/S): its length is rounded up, and its step is the difference of the first two entries.
                let total = total as f64;
                let ratio = total / steps as f64;
                let (length, step) = ((total / ratio).ceil() as usize, (total - ratio) - total);
                (0..length).map(|i| (total + i as f64 * step).round_ties_even() - 1.0).collect()
            }
        })
    }

    /// The list of the multistep classes (DPM-Solver, DEIS, UniPC, SA-Solver), the noisiest t first: whole t among the first `last` of T.
    ///
    /// "linspace" and "leading" make S + 1 entries and keep the S noisiest. "trailing" has S + 1 entries for some S, the last of them t = −1.
    pub(crate) fn whole_list(self, total: usize, last: usize, steps: usize) -> Result<Vec<f64>, Error> {
        require_count("S", steps, 1, total)?;
        require_count("trained steps that are not clipped", last, 1, total)?;
        Ok(match self {
            Self::Linspace => {
                let all = linspace(0.0, (last - 1) as f64, steps + 1).skip(1);
                all.map(f64::round_ties_even).rev().collect()
            }
            Self::Leading { offset } => {
                let ratio = last / (steps + 1);
                (1..=steps).rev().map(|k| (k * ratio + offset) as f64).collect()
            }
            Self::Trailing => {
                let (first, ratio) = (last as f64, total as f64 / steps as f64);
                // numpy.arange(last, 0, −T/S)
                let len = (first / ratio).ceil() as usize;
                (0..len).map(|i| (first - i as f64 * ratio).round_ties_even() - 1.0).collect()
            }
        })
    }
}

/// numpy's `linspace`, with both ends: each entry is one product and one sum. A single entry is the start.
pub(super) fn linspace(
    start: f64,
    end: f64,
    len: usize,
) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator + use<> {
    let last = len.saturating_sub(1);
    let step = (end - start) / last.max(1) as f64;
    (0..len).map(move |i| if i == last && i > 0 { end } else { i as f64 * step + start })
}

impl Precision {
    /// torch's `linspace` in this precision.
    pub(super) fn linspace(self, start: f64, end: f64, len: usize) -> Result<Vec<f64>, Error> {
        Ok(match self {
            Self::F32 => torch_linspace(start, end, len)?.into_iter().map(f64::from).collect(),
            Self::F64 => linspace(start, end, require_count("S", len, 1, MAX_TRAIN_STEPS)?).collect(),
        })
    }
}

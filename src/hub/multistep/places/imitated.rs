//! The paths of diffusers, of its own lists of σ and t.

use super::{Dynamic, Places, Spreading, Walk, unclipped};
use crate::compat::multistep::{self as python, Call, Meaning, Shift, Spaced, Whole};
use crate::compat::{Precision, Sigmas, Spread};
use crate::error::Error;
use crate::hub::json::config_error;
use crate::hub::run::{Calls, Run};
use crate::hub::trained::Trained;
use crate::hub::{SchedulerClass, Spacing};
use crate::path::Path;
use crate::schedule::NoiseSchedule;
use crate::timesteps::PathEnd;

impl Places {
    pub(in crate::hub::multistep) fn imitated(
        &self,
        trained: &Trained,
        run: &Run<'_>,
        precision: Precision,
    ) -> Result<Walk, Error> {
        self.check_arguments(run)?;
        let schedule = trained.schedule(Some(precision))?;
        let sigmas = Sigmas::new(&schedule, precision);
        let calls = self.calls(trained, &schedule, &sigmas, run)?;
        let repeated = calls.last().map_or(0.0, |(_, sigma)| *sigma);
        let unipc = self.class == SchedulerClass::UniPcMultistep;
        let is_list = self.flow.is_none() && self.spread.is_none();
        let meaning = Meaning { flow: self.flow.is_some(), precision };
        match self.class {
            SchedulerClass::DeisMultistep | SchedulerClass::SaSolver => {
                Ok(Walk::of(meaning.path(&calls, if is_list { sigmas.min() } else { repeated })?))
            }
            SchedulerClass::DpmSolverMultistepInverse if self.flow.is_some() => {
                // A list that falls, as if it were not the inverse.
                Ok(Walk::of(meaning.path(&calls, repeated)?))
            }
            SchedulerClass::DpmSolverMultistepInverse => {
                let rising: Vec<Call> = calls.into_iter().rev().collect();
                let noisiest = (unclipped(&schedule, self.clip) - 1) as f64;
                let last = rising.last().map_or(0.0, |(_, sigma)| *sigma);
                let last = if is_list { sigmas.at(noisiest) } else { last };
                let (rising, last) = python::without_equal_times(&rising, last);
                let (path, still) = meaning.encoding(&rising, last)?;
                Ok(Walk { path, still })
            }
            _ => {
                let last = match trained.end {
                    PathEnd::Clean => 0.0,
                    PathEnd::FirstLevel if unipc && !is_list => repeated,
                    PathEnd::FirstLevel => sigmas.min(),
                };
                Ok(Walk::of(meaning.path(&calls, last)?))
            }
        }
    }

    /// The falling list of the calls.
    fn calls(
        &self,
        trained: &Trained,
        schedule: &NoiseSchedule,
        sigmas: &Sigmas,
        run: &Run<'_>,
    ) -> Result<Vec<Call>, Error> {
        let total = schedule.len();
        match (&self.flow, self.spread, &run.calls) {
            (_, Some(spread), _) => {
                let steps = run.steps()?;
                let whole = match spread {
                    Spreading::Karras | Spreading::Lu if !self.cosine => Whole::Rounded,
                    _ => Whole::Truncated,
                };
                let list = match spread {
                    Spreading::Lu => python::lu(sigmas, steps, whole)?,
                    Spreading::Karras => python::spread(sigmas, Spread::Karras, steps, self.ends, whole)?,
                    Spreading::Exponential => python::spread(sigmas, Spread::Exponential, steps, self.ends, whole)?,
                    Spreading::Beta => python::spread(sigmas, Spread::Beta, steps, self.ends, whole)?,
                };
                match &self.flow {
                    None => Ok(list),
                    Some(_) if self.spreads_flow(spread) => Ok(python::spread_flow(list, total)),
                    Some(_) => {
                        let reason = "is NaN in diffusers beside a spacing in σ; compat() has nothing to imitate";
                        Err(config_error("use_flow_sigmas", "true", reason))
                    }
                }
            }
            (Some(shifts), None, calls) => {
                let scale = match (run.mu, shifts.dynamic) {
                    (Some(mu), Some(Dynamic::Exponential)) => libm::exp(mu),
                    (Some(mu), _) => mu,
                    (None, _) => shifts.shift,
                };
                if self.class != SchedulerClass::UniPcMultistep {
                    return python::flow(run.steps()?, total, scale);
                }
                let shift = if shifts.dynamic.is_some() { Shift::Dynamic(scale) } else { Shift::Static(scale) };
                match calls {
                    Calls::Sigmas(list) => {
                        // A 0 at the end is the end of the path.
                        let list = list.strip_suffix(&[0.0]).unwrap_or(list);
                        python::unipc_flow(list.len(), Some(list), total, shift, shifts.terminal)
                    }
                    _ => python::unipc_flow(run.steps()?, None, total, shift, shifts.terminal),
                }
            }
            (None, None, Calls::Times(times)) => Ok(python::at_times(sigmas, times.iter().map(|t| t.trunc()))),
            (None, None, _) => {
                let spaced = match trained.spacing {
                    Spacing::Leading => Spaced::Leading { offset: trained.offset },
                    Spacing::Trailing => Spaced::Trailing,
                    Spacing::Linspace => Spaced::Linspace,
                };
                let last = unclipped(schedule, self.clip);
                let mut times = python::times(spaced, total, last, run.steps()?)?;
                if self.class == SchedulerClass::DpmSolverMultistepInverse && spaced != Spaced::Trailing {
                    // The other end of S + 1 entries is left out.
                    times = shifted_down(times, spaced);
                }
                Ok(python::at_times(sigmas, times))
            }
        }
    }
}

/// The S entries after the first of S + 1, where `times` are the S before the last: 0 for the noisiest one.
fn shifted_down(times: Vec<f64>, spaced: Spaced) -> Vec<f64> {
    let first = match spaced {
        Spaced::Leading { offset } => offset as f64,
        _ => 0.0,
    };
    times.into_iter().skip(1).chain([first]).collect()
}

impl Walk {
    fn of(path: Path) -> Self {
        Self { path, still: None }
    }
}

//! The paths of diffusers, from its lists of σ and t.

use super::{KARRAS, PathAndRepeat, Places, Spreading, unclipped};
use crate::compat::multistep::{self as lists, Call, Rounding, SigmaConvention};
use crate::compat::{FlowShift, Precision, Sigmas, Times};
use crate::error::Error;
use crate::hub::SchedulerClass;
use crate::hub::json::config_error;
use crate::hub::run::{Calls, Run};
use crate::hub::trained::Trained;
use crate::path::Path;
use crate::schedule::NoiseSchedule;
use crate::timesteps::PathEnd;

impl Places {
    pub(in crate::hub::multistep) fn imitated(
        &self,
        trained: &Trained,
        run: &Run<'_>,
        precision: Precision,
    ) -> Result<PathAndRepeat, Error> {
        self.check_arguments(run)?;
        let schedule = trained.schedule(Some(precision))?;
        let sigmas = Sigmas::new(&schedule, precision);
        let calls = self.calls(trained, &schedule, &sigmas, run)?;
        let repeated = calls.last().map_or(0.0, |(_, sigma)| *sigma);
        let unipc = self.class == SchedulerClass::UniPcMultistep;
        let is_list = self.flow.is_none() && self.spread.is_none();
        let convention = SigmaConvention { flow: self.flow.is_some(), precision };
        match self.class {
            SchedulerClass::DeisMultistep | SchedulerClass::SaSolver => {
                Ok(PathAndRepeat::of(convention.path(&calls, if is_list { sigmas.min() } else { repeated })?))
            }
            SchedulerClass::DpmSolverMultistepInverse if self.flow.is_some() => {
                // diffusers runs this list from noise to data.
                Ok(PathAndRepeat::of(convention.path(&calls, repeated)?))
            }
            SchedulerClass::DpmSolverMultistepInverse => {
                let rising: Vec<Call> = calls.into_iter().rev().collect();
                let noisiest = (unclipped(&schedule, self.clip) - 1) as f64;
                let last = rising.last().map_or(0.0, |(_, sigma)| *sigma);
                let last = if is_list { sigmas.at(noisiest) } else { last };
                let (rising, last) = lists::without_equal_times(&rising, last);
                let (path, repeat) = convention.encoding(&rising, last)?;
                Ok(PathAndRepeat { path, repeat })
            }
            _ => {
                let last = match trained.end {
                    PathEnd::Clean => 0.0,
                    PathEnd::FirstLevel if unipc && !is_list => repeated,
                    PathEnd::FirstLevel => sigmas.min(),
                };
                Ok(PathAndRepeat::of(convention.path(&calls, last)?))
            }
        }
    }

    /// The list of calls, the noisiest first.
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
                let rounding = match spread {
                    KARRAS | Spreading::Lu if !self.cosine => Rounding::Nearest,
                    _ => Rounding::Truncated,
                };
                let list = match spread {
                    Spreading::Lu => lists::lu(sigmas, steps, rounding)?,
                    Spreading::Of(spread) => lists::spread(sigmas, spread, steps, self.ends, rounding)?,
                };
                match &self.flow {
                    None => Ok(list),
                    Some(_) if self.spreads_flow(spread) => Ok(lists::spread_flow(list, total)),
                    Some(_) => {
                        let reason = "gives NaN in diffusers together with a spacing in σ; leave compat() out";
                        Err(config_error("use_flow_sigmas", "true", reason))
                    }
                }
            }
            (Some(shifts), None, calls) => {
                let scale = match (run.mu, shifts.dynamic) {
                    (Some(mu), Some(dynamic)) => dynamic.factor(mu)?,
                    _ => shifts.shift,
                };
                if self.class != SchedulerClass::UniPcMultistep {
                    return lists::flow(run.steps()?, total, scale);
                }
                let shift = if shifts.dynamic.is_some() { FlowShift::Dynamic(scale) } else { FlowShift::Static(scale) };
                match calls {
                    Calls::Sigmas(list) => {
                        // A 0 at the end is the end of the path.
                        let list = list.strip_suffix(&[0.0]).unwrap_or(list);
                        lists::unipc_flow(list.len(), Some(list), total, shift, shifts.terminal)
                    }
                    _ => lists::unipc_flow(run.steps()?, None, total, shift, shifts.terminal),
                }
            }
            (None, None, Calls::Times(times)) => Ok(lists::at_times(sigmas, times.iter().map(|t| t.trunc()))),
            (None, None, _) => {
                let last = unclipped(schedule, self.clip);
                let times = trained.times();
                let list = times.whole_list(total, last, run.steps()?)?;
                Ok(lists::at_times(sigmas, if self.encodes() { shifted_down(list, times) } else { list }))
            }
        }
    }
}

/// The S least noisy of S + 1 entries; `list` has the S noisiest. A trailing list has only S entries and stays as it is.
fn shifted_down(list: Vec<f64>, times: Times) -> Vec<f64> {
    let least = match times {
        Times::Trailing => return list,
        Times::Leading { offset } => offset as f64,
        Times::Linspace => 0.0,
    };
    list.into_iter().skip(1).chain([least]).collect()
}

impl PathAndRepeat {
    /// A path without a repeated level.
    fn of(path: Path) -> Self {
        Self { path, repeat: None }
    }
}

//! The default paths of the multistep classes: exact levels, with their t.

use super::{Places, Shifts, Spreading, unclipped};
use crate::error::{Error, require_count};
use crate::flow::{Flow, FlowTime};
use crate::hub::run::{Argument, Calls, Run};
use crate::hub::shift::needs_mu;
use crate::hub::trained::{LARGEST_SIGMA, Trained};
use crate::hub::{SchedulerClass, Spacing};
use crate::level::NoiseLevel;
use crate::path::{Path, Point, Process};
use crate::schedule::NoiseSchedule;
use crate::spacing::Spread;
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

impl Places {
    pub(in crate::hub::multistep) fn path(&self, trained: &Trained, run: &Run<'_>) -> Result<Path, Error> {
        self.check_arguments(run)?;
        let schedule = &trained.schedule;
        let path = match (&self.flow, self.spread, &run.calls) {
            (Some(shifts), None, calls) => self.flow_path(shifts, calls, schedule.len(), run),
            (_, None, Calls::Times(times)) => {
                trained.ended(Path::from_times(schedule, times.iter().copied())?, schedule)
            }
            (_, None, _) => {
                let tau = self.list(trained, run.steps()?)?;
                Path::trained(schedule, &tau.ending(trained.end))
            }
            (None, Some(spread), _) => self.spread_path(spread, trained, run.steps()?),
            (Some(_), Some(spread), _) => {
                let sigmas = self.spread_sigmas(spread, trained, run.steps()?)?;
                let flow = self.timed_flow();
                let points = sigmas.into_iter().map(|sigma| flow.at_sigma(sigma)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.with_scaled_time(&Path::new(points)?, &flow, schedule.len(), false)?)
            }
        }?;
        Ok(if self.encodes() { path.encoding(Conditioning::Source) } else { path })
    }

    /// `Err` for an argument that these settings do not take.
    pub(super) fn check_arguments(&self, run: &Run<'_>) -> Result<(), Error> {
        use SchedulerClass::{DpmSolverMultistep, DpmSolverSinglestep, UniPcMultistep};
        run.takes(match self.class {
            DpmSolverMultistep | DpmSolverSinglestep => &[Argument::Times, Argument::Mu],
            UniPcMultistep => &[Argument::Sigmas, Argument::Mu],
            _ => &[Argument::Mu],
        })?;
        let flow = self.flow.as_ref().filter(|_| self.spread.is_none());
        match &run.calls {
            Calls::Times(_) if self.spread.is_some() || self.flow.is_some() => {
                return Err(
                    run.refused(Argument::Times, "contradicts the spacing in σ of the file; pass the number of steps")
                );
            }
            Calls::Sigmas(_) if flow.is_none() => {
                return Err(run.refused(
                    Argument::Sigmas,
                    "needs use_flow_sigmas = true and no other spacing in σ; else pass the number of steps",
                ));
            }
            _ => {}
        }
        match (run.mu, flow.and_then(|flow| flow.dynamic)) {
            (Some(mu), Some(dynamic)) => dynamic.factor(mu).map(drop),
            (Some(_), None) => Err(
                run.refused(Argument::Mu, "needs use_dynamic_shifting = true and use_flow_sigmas = true; leave it out")
            ),
            (None, Some(_)) if self.class == UniPcMultistep => Err(needs_mu("")),
            _ => Ok(()),
        }
    }

    fn list(&self, trained: &Trained, steps: usize) -> Result<Timesteps, Error> {
        let (schedule, total) = (&trained.schedule, trained.schedule.len());
        let last = unclipped(schedule, self.clip);
        if last == total {
            return trained.timesteps(self.class, steps);
        }
        require_count("the number of inference steps", steps, 1, last)?;
        let more = (steps + 1).min(last);
        let list = match trained.spacing {
            Spacing::Trailing => Timesteps::trailing(last, steps),
            Spacing::Linspace => Timesteps::linspace(last, more),
            Spacing::Leading => Timesteps::leading(last, more, 0),
        }?;
        let offset = if trained.spacing == Spacing::Leading { trained.offset } else { 0 };
        Timesteps::explicit(total, list.as_slice().iter().take(steps).map(|t| t + offset))
    }

    fn spread_sigmas(&self, spread: Spreading, trained: &Trained, steps: usize) -> Result<Vec<f64>, Error> {
        let [max, min] = trained.spread_ends(self.ends);
        match spread {
            Spreading::Of(spread) => spread.between(steps, max, min),
            Spreading::Lu => Spread::Exponential.between(steps, max, min),
        }
    }

    fn spread_path(&self, spread: Spreading, trained: &Trained, steps: usize) -> Result<Path, Error> {
        let schedule = &trained.schedule;
        let sigmas = self.spread_sigmas(spread, trained, steps)?;
        let points = sigmas.into_iter().map(|sigma| point(schedule, sigma)).collect::<Result<Vec<_>, _>>()?;
        let path = Path::new(points)?.of_process(schedule);
        match path.points().last().copied() {
            // The path ends at the smallest σ of the spacing, which is also its last point.
            Some(last) if !self.lacks_end() && trained.end == PathEnd::FirstLevel => path.ending_at(last),
            _ => Ok(path.between_ends(true, Point::new(0.0, NoiseLevel::CLEAN))),
        }
    }

    fn timed_flow(&self) -> Flow {
        // As in Wan's code, which uses UniPC, t has no fraction.
        let whole = self.class == SchedulerClass::UniPcMultistep;
        Flow::default().with_time(if whole { FlowTime::WholeThousandth } else { FlowTime::Thousandth })
    }

    fn flow_path(&self, shifts: &Shifts, calls: &Calls, total: usize, run: &Run<'_>) -> Result<Path, Error> {
        let flow = self.timed_flow();
        let flow = match (run.mu, shifts.dynamic) {
            (Some(mu), Some(dynamic)) => dynamic.shifted(flow, mu),
            _ => flow.shifted(shifts.shift),
        }?;
        let flow = match shifts.terminal {
            Some(terminal) => flow.stretched_to(terminal)?,
            None => flow,
        };
        let path = match calls {
            Calls::Sigmas(sigmas) => flow.path_through(sigmas.iter().copied()),
            _ => flow.path(run.steps()?),
        }?;
        if total == 1000 { Ok(path) } else { self.with_scaled_time(&path, &flow, total, true) }
    }

    /// This path with t = T·σ, ending at clean data.
    fn with_scaled_time(&self, path: &Path, flow: &Flow, total: usize, from_noise: bool) -> Result<Path, Error> {
        let whole = self.class == SchedulerClass::UniPcMultistep;
        let points = path.points().iter().map(|point| {
            let t = (point.level.flow_sigma_dd() * (total as f64).into()).to_f64();
            Point { t: if whole { t.trunc() } else { t }, ..*point }
        });
        let path = Path::new(points)?.of_process(flow);
        Ok(path.between_ends(from_noise, Point::new(0.0, NoiseLevel::CLEAN)))
    }
}

/// The point of a table at σ. Beyond the ends of the table, t is the first or the last one.
fn point(schedule: &NoiseSchedule, sigma: f64) -> Result<Point, Error> {
    let [max, min] = schedule.sigma_range();
    let last = schedule.len() - 1;
    if max == f64::INFINITY && last > 0 {
        // ln σ is linear in t here too, up to the largest σ of a spacing.
        let below = schedule.level(last - 1)?.sigma();
        if sigma > below {
            let share = libm::log(sigma / below) / libm::log(LARGEST_SIGMA / below);
            return Ok(Point::new((last - 1) as f64 + share.clamp(0.0, 1.0), NoiseLevel::from_sigma(sigma)?));
        }
    }
    if (min..=max).contains(&sigma) {
        return schedule.at_sigma(sigma);
    }
    Ok(Point::new(if sigma > max { last as f64 } else { 0.0 }, NoiseLevel::from_sigma(sigma)?))
}

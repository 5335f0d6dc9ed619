//! The default paths of these classes: the levels that a configuration asks for, with exact tables.

use super::Settings;
use crate::error::{Error, require_count};
use crate::hub::Spacing;
use crate::hub::json::{config_error, few_digits};
use crate::hub::run::{Argument, Calls, Run};
use crate::hub::trained::{LARGEST_SIGMA, Trained};
use crate::level::NoiseLevel;
use crate::path::{Path, Point, Process};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::spacing;
use crate::timesteps::PathEnd;

/// How far a σ may lie outside the table, relative to its end: published lists have four digits.
const DIGITS: f64 = 1e-2;

/// The process of a v-prediction network that receives ln(σ)/4 and has no table (`timestep_type = continuous`; Stable Video Diffusion).
///
/// The network receives x/√(σ² + 1), so the process is variance-preserving.
#[derive(Clone, Copy, Debug)]
struct QuarterLog {
    ends: [f64; 2],
}

impl QuarterLog {
    fn point(level: NoiseLevel) -> Result<Point, Error> {
        if level.is_clean() {
            return Err(Error::Unconditioned);
        }
        if level.is_pure_noise() {
            let at = "for pure noise (ᾱ = 0), with timestep_type = continuous; remove rescale_betas_zero_snr, or use leading spacing";
            return Err(Error::LevelUndefined { what: "the network's t, ln(σ)/4,", at });
        }
        Ok(Point::new(0.25 * libm::log(level.sigma()), level))
    }
}

impl Process for QuarterLog {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        Self::point(NoiseLevel::from_sigma(sigma)?)
    }

    fn sigma_range(&self) -> [f64; 2] {
        self.ends
    }
}

impl Settings {
    pub(super) fn path(&self, trained: &Trained, run: &Run<'_>) -> Result<Path, Error> {
        match &run.calls {
            Calls::Sigmas(sigmas) => self.through_sigmas(trained, run, sigmas),
            Calls::Times(times) => {
                let schedule = &trained.schedule;
                trained.ended(Path::from_times(schedule, times.iter().copied())?, schedule)
            }
            Calls::Count(steps) if self.spread.is_some() || self.log_linear => self.spread_path(trained, *steps),
            Calls::Count(steps) => self.for_network(trained, along_times(trained, run, *steps)?),
        }
    }

    /// The path of a spacing in σ, over the whole table or between the configured ends.
    fn spread_path(&self, trained: &Trained, steps: usize) -> Result<Path, Error> {
        let schedule = &trained.schedule;
        let ([table_max, table_min], [max, min]) = (schedule.sigma_range(), trained.spread_ends(self.ends));
        let inside = |key: &'static str, end: f64| {
            let moved = if self.continuous { Some(end) } else { within(schedule, end) };
            moved.ok_or_else(|| {
                let reason =
                    format!("is outside the table, {table_min}..={table_max}; choose a value inside, or use compat()");
                config_error(key, &few_digits(end), reason)
            })
        };
        let largest = inside("sigma_max", max)?;
        let smallest = inside("sigma_min", min)?;
        let mut sigmas = match self.spread {
            Some(spread) => spread.between(steps, largest, smallest),
            None => spacing::exponential(steps, largest, smallest),
        }?;
        if self.continuous {
            let path = Path::from_sigmas(&QuarterLog { ends: [largest, smallest] }, sigmas)?;
            return match trained.end {
                PathEnd::Clean => Ok(path),
                PathEnd::FirstLevel => path.ending_at(QuarterLog::point(schedule.level(0)?)?),
            };
        }
        if self.ends[0].is_none() && table_max.is_infinite() {
            // The spacing is computed from a large finite σ; its first point is pure noise nevertheless.
            sigmas.first_mut().into_iter().for_each(|first| *first = table_max);
        }
        trained.ended(Path::from_sigmas(schedule, sigmas)?, schedule)
    }

    /// The path through these σ. It ends at the last one.
    fn through_sigmas(&self, trained: &Trained, run: &Run<'_>, sigmas: &[f64]) -> Result<Path, Error> {
        let (end, sigmas) = split_end(run, sigmas)?;
        if self.continuous {
            let process = QuarterLog { ends: [LARGEST_SIGMA, 1e-4] };
            let path = Path::from_sigmas(&process, sigmas.iter().copied())?;
            return if end == 0.0 { Ok(path) } else { path.ending_at(process.at_sigma(end)?) };
        }
        let schedule = &trained.schedule;
        let near = |sigma: f64| within(schedule, sigma).unwrap_or(sigma);
        let path = Path::from_sigmas(schedule, sigmas.iter().map(|sigma| near(*sigma)))?;
        if end == 0.0 { Ok(path) } else { path.ending_at(schedule.at_sigma(near(end))?) }
    }

    /// This path, with ln(σ)/4 as its t if the network expects that.
    fn for_network(&self, trained: &Trained, path: Path) -> Result<Path, Error> {
        if !self.continuous {
            return Ok(path);
        }
        let points = path.points().iter().map(|point| QuarterLog::point(point.level));
        let points = points.collect::<Result<Vec<_>, Error>>()?;
        let process = QuarterLog { ends: trained.schedule.sigma_range() };
        let fed = Path::new(points)?.of_process(&process);
        if path.end().is_clean() { Ok(fed) } else { fed.ending_at(QuarterLog::point(path.end())?) }
    }
}

/// The path along the list of t. With "linspace" the t keep their fractions.
fn along_times(trained: &Trained, run: &Run<'_>, steps: usize) -> Result<Path, Error> {
    if trained.spacing != Spacing::Linspace {
        return Path::trained(&trained.schedule, &trained.timesteps(run.config.class, steps)?);
    }
    let end = require_count("S", steps, 1, MAX_TRAIN_STEPS)? - 1;
    let last = (trained.schedule.len() - 1) as f64;
    // If S = 1, the only point is the noisiest.
    let times = (0..steps).map(|i| last * (steps - 1 - i).max(usize::from(end == 0)) as f64 / end.max(1) as f64);
    trained.ended(Path::from_times(&trained.schedule, times)?, &trained.schedule)
}

/// The last σ of a list, which is the end of the path, and the σ before it.
pub(super) fn split_end<'a>(run: &Run<'_>, sigmas: &'a [f64]) -> Result<(f64, &'a [f64]), Error> {
    match sigmas.split_last() {
        Some((end, sigmas)) if !sigmas.is_empty() => Ok((*end, sigmas)),
        _ => {
            Err(run
                .refused(Argument::Sigmas, "needs at least two σ: the path ends at the last one, and 0 is clean data"))
        }
    }
}

/// This σ, moved to the end of the table if it is slightly outside; `None` if it is far outside.
fn within(schedule: &NoiseSchedule, sigma: f64) -> Option<f64> {
    let [max, min] = schedule.sigma_range();
    let near = sigma <= max * (1.0 + DIGITS) && sigma >= min * (1.0 - DIGITS);
    let moved = if sigma > max {
        max
    } else if sigma < min {
        min
    } else {
        sigma
    };
    near.then_some(moved)
}

//! Classes that run in σ: Euler, Heun, LMS, KDPM2, DPM-Solver SDE.
//!
//! `s_churn`, `s_tmin`, `s_tmax` and `s_noise` are arguments of `step()` in diffusers, and no settings:
//! [`Path::churned`] is the same for [`Run::path`].

mod path;

use crate::compat::{Listed, LmsOfList, Precision, Sigmas, Spread, Times};
use crate::error::Error;
use crate::hub::read::Reader;
use crate::hub::run::{Calls, Route, Run};
use crate::hub::trained::Trained;
use crate::hub::{Ignored, Quirk, SchedulerClass, Spacing};
use crate::path::{Path, Point};
use crate::prediction::Prediction;
use crate::solver::{Dpm2, Euler, EulerAncestral, Heun, Lms, Solver, TwoStage};
use crate::timesteps::PathEnd;

/// What these classes read beside the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    class: SchedulerClass,
    spread: Option<Spread>,
    /// `sigma_max` and `sigma_min`: the ends of the spread, if they are not those of the table.
    ends: [Option<f64>; 2],
    /// `interpolation_type`: σ even in ln σ.
    log_linear: bool,
    /// `timestep_type`: the network is told ln(σ)/4.
    continuous: bool,
}

/// The three spreads by their keys.
const SPREADS: [(&str, Spread); 3] = [
    ("use_karras_sigmas", Spread::Karras),
    ("use_exponential_sigmas", Spread::Exponential),
    ("use_beta_sigmas", Spread::Beta),
];

static LINEAR_IN_SIGMA: Quirk = Quirk {
    key: "timestep_spacing",
    here: "between two whole t, ln σ is linear in t",
    diffusers: "takes σ itself, and ln σ the other way round",
    by: 4e-5,
};
static ENDS_OF_THE_LIST: Quirk = Quirk {
    key: "timestep_spacing",
    here: "the σ of use_karras_sigmas and its like cover the whole table",
    diffusers: "spreads them between the ends of the list of this spacing, whose last σ may be far from the table's",
    by: 5.0,
};
static LOG_LINEAR: Quirk = Quirk {
    key: "interpolation_type",
    here: "S values of σ, even in ln σ, with the t that belong to them",
    diffusers: "makes S + 1 values beside S values of t, so that neither t nor the end of the path fits",
    by: 0.6,
};
static ROUNDED: Quirk = Quirk {
    key: "use_karras_sigmas",
    here: "the network is told the t that belongs to σ",
    diffusers: "rounds it to a whole number in this class, but not those between the points",
    by: 3e-4,
};
static LMS_END: Quirk = Quirk {
    key: "_class_name",
    here: "the last step, to clean data, returns x̂₀, and image-to-image starts with order 1",
    diffusers: "extrapolates to σ = 0 through four outputs, and leaves out terms where image-to-image has too few of them",
    by: 0.8,
};

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        let class = reader.class;
        let mut spread = None;
        for (key, choice) in SPREADS {
            if !reader.flag(key, false)? {
                continue;
            }
            if let (Some((first, _)), Some(entry)) = (spread, reader.peek(key)) {
                return Err(entry.error(format!("contradicts {first}; choose one of them")));
            }
            spread = Some((key, choice));
        }
        let spread = spread.map(|(_, choice)| choice);
        let ends = if spread.is_some() { read_ends(reader)? } else { [None; 2] };
        let log_linear = reader.choice("interpolation_type", false, &[("linear", false), ("log_linear", true)])?;
        // For other predictions it does nothing.
        let reads_type = trained.prediction == Prediction::Velocity
            || reader.peek("timestep_type").is_some_and(|entry| entry.is_null());
        let continuous =
            reads_type && reader.choice("timestep_type", false, &[("discrete", false), ("continuous", true)])?;
        if let Some(entry) = reader.given("noise_sampler_seed") {
            entry.number()?;
            reader.ignored(entry.key, Ignored::NoiseSource);
        }
        match spread {
            Some(_) if trained.spacing != Spacing::Linspace => reader.quirk(&ENDS_OF_THE_LIST),
            None if log_linear => reader.quirk(&LOG_LINEAR),
            None if trained.spacing == Spacing::Linspace => reader.quirk(&LINEAR_IN_SIGMA),
            _ => {}
        }
        if rounds_t(class) && spread == Some(Spread::Karras) {
            reader.quirk(&ROUNDED);
        }
        if class == SchedulerClass::LmsDiscrete {
            reader.quirk(&LMS_END);
        }
        Ok(Self { class, spread, ends, log_linear, continuous })
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        self.check(run)?;
        let imitates = run.config.imitates;
        let path = match imitates {
            Some(precision) => self.imitated(trained, run, precision)?,
            None => self.path(trained, run)?,
        };
        let solver = self.solver(run, &path, imitates)?;
        // init_noise_sigma: σ, or √(σ² + 1), the whole of x, with leading spacing.
        let start = path.points().first().map_or(1.0, |point| point.level.noise());
        let noise_scale = if trained.spacing == Spacing::Leading { 1.0 } else { start };
        Ok(Route { noise_scale, ..Route::boxed(path, solver) })
    }

    /// The arguments that the class takes.
    fn check(&self, run: &Run<'_>) -> Result<(), Error> {
        let (euler, heun) = (self.class == SchedulerClass::EulerDiscrete, self.class == SchedulerClass::HeunDiscrete);
        match &run.calls {
            Calls::Sigmas(_) if !euler => run.steps().map(drop)?,
            Calls::Times(_) if !euler && !heun => run.steps().map(drop)?,
            Calls::Times(_) if self.spread.is_some() => {
                return Err(run.refused("timesteps", "spaces σ by its configuration; pass the number of steps"));
            }
            Calls::Times(_) if self.continuous => {
                return Err(run.refused("timesteps", "tells ln(σ)/4 by its configuration; pass σ"));
            }
            _ => {}
        }
        for (name, given) in [("mu", run.mu.is_some()), ("tokens", run.tokens.is_some())] {
            if given {
                return Err(run.refused(name, "is not an argument of this class"));
            }
        }
        match (run.eta, run.config.imitates) {
            (Some(_), _) if !self.is_stochastic() => {
                Err(run.refused("eta", "is not an argument of this class, which adds no noise"))
            }
            (Some(_), Some(_)) => {
                Err(run.refused("eta", "is not an argument of this class in diffusers, whose η is 1"))
            }
            _ => Ok(()),
        }
    }

    fn is_stochastic(&self) -> bool {
        use SchedulerClass::{DpmSolverSde, EulerAncestralDiscrete, Kdpm2AncestralDiscrete};
        matches!(self.class, EulerAncestralDiscrete | Kdpm2AncestralDiscrete | DpmSolverSde)
    }

    fn solver(
        &self,
        run: &Run<'_>,
        path: &Path,
        imitates: Option<Precision>,
    ) -> Result<Box<dyn Solver + Send + Sync>, Error> {
        let eta = run.eta.unwrap_or(1.0);
        Ok(match self.class {
            SchedulerClass::EulerAncestralDiscrete => Box::new(EulerAncestral::new(eta)?),
            SchedulerClass::HeunDiscrete => Box::new(Heun::new()),
            SchedulerClass::LmsDiscrete if imitates.is_some() => Box::new(LmsOfList::new(path)),
            SchedulerClass::LmsDiscrete => Box::new(Lms::new(4)?),
            SchedulerClass::Kdpm2Discrete => Box::new(Dpm2::deterministic()),
            SchedulerClass::Kdpm2AncestralDiscrete => Box::new(Dpm2::ancestral(eta)?),
            SchedulerClass::DpmSolverSde => Box::new(TwoStage::sde(eta)?),
            _ => Box::new(Euler),
        })
    }

    /// The path of diffusers.
    fn imitated(&self, trained: &Trained, run: &Run<'_>, precision: Precision) -> Result<Path, Error> {
        let schedule = trained.schedule(Some(precision))?;
        let table = Sigmas::new(&schedule, precision);
        let times = match trained.spacing {
            Spacing::Linspace => Times::Linspace,
            Spacing::Leading => Times::Leading { offset: trained.offset },
            Spacing::Trailing => Times::Trailing,
        };
        let mut end = if trained.end == PathEnd::Clean { 0.0 } else { table.min() };
        let (list, steps) = match &run.calls {
            Calls::Count(steps) if trained.spacing == Spacing::Leading => {
                // Past the table, Python repeats its largest σ.
                trained.timesteps(self.class, *steps)?;
                (Listed::at(&table, times.list(schedule.len(), *steps)?), *steps)
            }
            Calls::Count(steps) => (Listed::at(&table, times.list(schedule.len(), *steps)?), *steps),
            Calls::Times(times) => (Listed::at(&table, times.clone()), times.len()),
            Calls::Sigmas(sigmas) => {
                let (last, sigmas) = path::split_end(run, sigmas)?;
                end = last;
                let sigmas: Vec<f64> = sigmas.iter().map(|sigma| precision.hold(*sigma)).collect();
                (Listed::through(&table, sigmas), 0)
            }
        };
        let list = match (&run.calls, self.spread) {
            (Calls::Sigmas(_), _) => list,
            (_, Some(spread)) => {
                let list = if self.log_linear { list.log_linear(&table, steps)? } else { list };
                let list = list.spread(&table, spread, steps, self.ends)?;
                let rounds = rounds_t(self.class) && spread == Spread::Karras;
                let round = |t: &f64| if rounds { t.round_ties_even() } else { *t };
                Listed { times: list.times.iter().map(round).collect(), ..list }
            }
            (_, None) if self.log_linear => list.log_linear(&table, steps)?,
            (_, None) => list,
        };
        let list = if self.continuous {
            Listed { times: list.sigmas.iter().map(|sigma| 0.25 * libm::log(*sigma)).collect(), ..list }
        } else {
            list
        };
        list.path(&table, end)
    }
}

/// Whether diffusers rounds the t of Karras's σ.
fn rounds_t(class: SchedulerClass) -> bool {
    matches!(class, SchedulerClass::Kdpm2Discrete | SchedulerClass::Kdpm2AncestralDiscrete)
}

/// `sigma_max` and `sigma_min`.
fn read_ends(reader: &mut Reader<'_>) -> Result<[Option<f64>; 2], Error> {
    let positive = |sigma: f64| sigma > 0.0 && sigma.is_finite();
    let max = reader.optional("sigma_max", positive, "is not positive and finite")?;
    let min = reader.optional("sigma_min", positive, "is not positive and finite")?;
    match (max, min, reader.peek("sigma_min")) {
        (Some(max), Some(min), Some(entry)) if min >= max => {
            Err(entry.error(format!("is not below sigma_max = {max}")))
        }
        _ => Ok([max, min]),
    }
}

/// The end of a path at a level of the table.
fn ending(path: Path, trained: &Trained) -> Result<Path, Error> {
    match trained.end {
        PathEnd::Clean => Ok(path),
        PathEnd::FirstLevel => path.ending_at(Point::new(0.0, trained.schedule.level(0)?)),
    }
}

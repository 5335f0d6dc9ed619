//! Classes that run in σ: Euler, Heun, LMS, KDPM2, DPM-Solver SDE.
//!
//! `s_churn`, `s_tmin`, `s_tmax` and `s_noise` are arguments of `step()` in diffusers, not settings. Here, apply [`Path::churned`] to
//! [`Run::path`].

mod path;

use crate::compat::{LmsOfList, PointList, Precision, Sigmas};
use crate::error::Error;
use crate::hub::read::Reader;
use crate::hub::run::{AnySolver, Argument, Calls, Route, Run};
use crate::hub::trained::Trained;
use crate::hub::{Ignored, Quirk, SchedulerClass, Spacing};
use crate::path::Path;
use crate::prediction::Prediction;
use crate::solver::{Dpm2, Euler, EulerAncestral, Heun, Lms, TwoStage};
use crate::spacing::Spread;
use crate::timesteps::PathEnd;

/// The settings of these classes, apart from the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    class: SchedulerClass,
    spread: Option<Spread>,
    /// `sigma_max` and `sigma_min`: the ends of the spacing in σ, if given. By default it has the ends of the table.
    ends: [Option<f64>; 2],
    /// `interpolation_type` = `log_linear`: ln σ is evenly spaced.
    log_linear: bool,
    /// `timestep_type` = `continuous`: the network receives ln(σ)/4.
    continuous: bool,
}

static LINEAR_IN_SIGMA: Quirk = Quirk {
    key: "timestep_spacing",
    here: "between two whole t, ln σ is linear in t",
    diffusers: "interpolates σ linearly in t for the levels, but ln σ for the t of a given σ",
    by: 4e-5,
    in_compat: true,
};
static ENDS_OF_THE_LIST: Quirk = Quirk {
    key: "timestep_spacing",
    here: "the σ of a Karras, exponential or beta spacing cover the whole table",
    diffusers: "spreads them between the ends of the list of this spacing, which may stop well above the table's smallest σ",
    by: 5.0,
    in_compat: true,
};
static LOG_LINEAR: Quirk = Quirk {
    key: "interpolation_type",
    here: "S values of σ are evenly spaced in ln σ, each with its own t",
    diffusers: "combines S + 1 values of σ with S values of t that do not belong to them",
    by: 0.6,
    in_compat: true,
};
static ROUNDED: Quirk = Quirk {
    key: "use_karras_sigmas",
    here: "the network receives the t of each σ, with its fraction",
    diffusers: "rounds t at the points of the path, but not at the points between them",
    by: 3e-4,
    in_compat: true,
};
static LMS_END: Quirk = Quirk {
    key: "_class_name",
    here: "the step to clean data returns x̂₀, and image-to-image starts at order 1",
    diffusers: "extrapolates four outputs to σ = 0, and in image-to-image leaves out the terms that have no output yet",
    by: 0.8,
    in_compat: true,
};

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        let spread = reader.spread()?;
        let ends = if spread.is_some() { reader.sigma_ends_if_given()? } else { [None; 2] };
        let log_linear = reader.choice("interpolation_type", false, &[("linear", false), ("log_linear", true)])?;
        // `timestep_type` acts only with v-prediction.
        let reads_type = trained.prediction == Prediction::Velocity
            || reader.peek("timestep_type").is_some_and(|entry| entry.is_null());
        let continuous =
            reads_type && reader.choice("timestep_type", false, &[("discrete", false), ("continuous", true)])?;
        if let Some(entry) = reader.given("noise_sampler_seed") {
            entry.number()?;
            reader.ignored(entry.key, Ignored::NoiseSource);
        }
        let settings = Self { class: reader.class, spread, ends, log_linear, continuous };
        settings.note(reader, trained);
        Ok(settings)
    }

    /// Adds notes on keys that a spacing in σ leaves without effect, and on differences from diffusers.
    fn note(&self, reader: &mut Reader<'_>, trained: &Trained) {
        let is_linspace = trained.spacing == Spacing::Linspace;
        if self.spread.is_some() {
            reader.unused(&[("interpolation_type", &["\"linear\""])]);
        }
        if (self.spread.is_some() || self.log_linear) && trained.spacing == Spacing::Leading {
            // The path covers the whole table, so the list of t has no effect.
            reader.unused(&[("steps_offset", &["0"])]);
        }
        match self.spread {
            Some(_) if !is_linspace => {
                // diffusers also has S values of σ here, whatever the length of its list of t.
                reader.retract(&["timestep_spacing"]);
                // Ends that the file gives are used in diffusers too.
                if self.ends.iter().any(Option::is_none) {
                    reader.quirk(&ENDS_OF_THE_LIST);
                }
                if trained.end == PathEnd::FirstLevel && self.ends[1].is_none() {
                    reader.stands_still();
                }
            }
            None if self.log_linear => reader.quirk(&LOG_LINEAR),
            None if is_linspace => reader.quirk(&LINEAR_IN_SIGMA),
            _ => {}
        }
        if rounds_t(self.class) && self.spread == Some(Spread::Karras) {
            reader.quirk(&ROUNDED);
        }
        if self.class == SchedulerClass::LmsDiscrete {
            reader.quirk(&LMS_END);
        }
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        self.check(run)?;
        let imitates = run.config.imitates;
        let path = match imitates {
            Some(precision) => self.path_of_diffusers(trained, run, precision)?,
            None => self.path(trained, run)?,
        };
        let solver = self.solver(run, &path, imitates)?;
        // init_noise_sigma is σ, or √(σ² + 1) with leading spacing. In DDIM's scale these are the noise of the level, and 1.
        let start = path.points().first().map_or(1.0, |point| point.level.noise());
        let noise_scale = if trained.spacing == Spacing::Leading { 1.0 } else { start };
        Ok(Route { noise_scale, ..Route::boxed(path, solver) })
    }

    /// `Err` for an argument that the class does not take or that contradicts the file.
    fn check(&self, run: &Run<'_>) -> Result<(), Error> {
        let taken: &[Argument] = match self.class {
            SchedulerClass::EulerDiscrete => &[Argument::Sigmas, Argument::Times],
            SchedulerClass::HeunDiscrete => &[Argument::Times],
            _ if self.is_stochastic() => &[Argument::Eta],
            _ => &[],
        };
        run.takes(taken)?;
        if let Calls::Times(_) = run.calls {
            if self.spread.is_some() {
                return Err(
                    run.refused(Argument::Times, "contradicts the spacing in σ of the file; pass the number of steps")
                );
            }
            if self.continuous {
                return Err(run.refused(
                    Argument::Times,
                    "is not what this network receives, which is ln(σ)/4; pass a list of σ",
                ));
            }
        }
        match (run.eta, run.config.imitates) {
            (Some(_), Some(_)) => Err(
                run.refused(Argument::Eta, "is not an argument in diffusers, where η is 1; leave it out with compat()")
            ),
            _ => Ok(()),
        }
    }

    fn is_stochastic(&self) -> bool {
        use SchedulerClass::{DpmSolverSde, EulerAncestralDiscrete, Kdpm2AncestralDiscrete};
        matches!(self.class, EulerAncestralDiscrete | Kdpm2AncestralDiscrete | DpmSolverSde)
    }

    fn solver(&self, run: &Run<'_>, path: &Path, imitates: Option<Precision>) -> Result<AnySolver, Error> {
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
    fn path_of_diffusers(&self, trained: &Trained, run: &Run<'_>, precision: Precision) -> Result<Path, Error> {
        let schedule = trained.schedule(Some(precision))?;
        let table = Sigmas::new(&schedule, precision);
        let times = trained.times();
        let mut end = if trained.end == PathEnd::Clean { 0.0 } else { table.min() };
        let (list, steps) = match &run.calls {
            Calls::Count(steps) if trained.spacing == Spacing::Leading => {
                // This is an error if t leaves the table; diffusers would repeat the largest σ.
                trained.timesteps(self.class, *steps)?;
                (PointList::at(&table, times.list(schedule.len(), *steps)?), *steps)
            }
            Calls::Count(steps) => (PointList::at(&table, times.list(schedule.len(), *steps)?), *steps),
            Calls::Times(times) => (PointList::at(&table, times.clone()), times.len()),
            Calls::Sigmas(sigmas) => {
                let (last, sigmas) = path::split_end(run, sigmas)?;
                end = last;
                let sigmas: Vec<f64> = sigmas.iter().map(|sigma| precision.hold(*sigma)).collect();
                (PointList::through(&table, sigmas), 0)
            }
        };
        let list = match (&run.calls, self.spread) {
            (Calls::Sigmas(_), _) => list,
            (_, Some(spread)) => {
                let list = if self.log_linear { list.log_linear(&table, steps)? } else { list };
                let list = list.spread(&table, spread, steps, self.ends)?;
                let rounds = rounds_t(self.class) && spread == Spread::Karras;
                let round = |t: &f64| if rounds { t.round_ties_even() } else { *t };
                PointList { times: list.times.iter().map(round).collect(), ..list }
            }
            (_, None) if self.log_linear => list.log_linear(&table, steps)?,
            (_, None) => list,
        };
        let list = if self.continuous {
            PointList { times: list.sigmas.iter().map(|sigma| 0.25 * libm::log(*sigma)).collect(), ..list }
        } else {
            list
        };
        list.path(&table, end)
    }
}

/// Whether diffusers rounds t in Karras's spacing.
fn rounds_t(class: SchedulerClass) -> bool {
    matches!(class, SchedulerClass::Kdpm2Discrete | SchedulerClass::Kdpm2AncestralDiscrete)
}

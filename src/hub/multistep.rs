//! Multistep classes that run in λ: DPM-Solver, DEIS, UniPC, SA-Solver.

pub(in crate::hub) mod method;
mod places;
mod quirks;
mod resumed;

use crate::compat::multistep::RepeatsLast;
use crate::error::Error;
use crate::hub::SchedulerClass;
use crate::hub::multistep::method::Method;
use crate::hub::multistep::places::{PathAndRepeat, Places};
use crate::hub::multistep::resumed::Resumed;
use crate::hub::read::Reader;
use crate::hub::run::{AnySolver, Route, Run};
use crate::hub::trained::Trained;
use crate::timesteps::{Direction, PathEnd};

/// The settings of these classes, apart from the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    places: Places,
    method: Method,
}

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &mut Trained) -> Result<Self, Error> {
        let encodes = reader.class == SchedulerClass::DpmSolverMultistepInverse;
        // In diffusers the lists of t of this class begin at the first level; no key changes that.
        if encodes {
            trained.end = PathEnd::FirstLevel;
        }
        let places = Places::read(reader, trained)?;
        let method = Method::read(reader, trained, &places)?;
        Ok(Self { places, method })
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        let imitates = run.config.imitates;
        let PathAndRepeat { path, repeat } = match imitates {
            None => PathAndRepeat { path: self.places.path(trained, run)?, repeat: None },
            Some(precision) => {
                self.method.check_imitated(trained.end)?;
                self.places.imitated(trained, run, precision)?
            }
        };
        let steps = path.len() + usize::from(repeat.is_some());
        let ends_clean = path.end().is_clean() && path.direction() == Direction::Generate;
        let solver = self.method.solver(steps, ends_clean, imitates.is_some())?;
        let solver: AnySolver = match repeat {
            Some(at) => Box::new(RepeatsLast { solver, at }),
            None => solver,
        };
        Ok(if path.direction() == Direction::Generate {
            Route::new(path.clone(), Resumed { whole: path, solver })
        } else {
            Route::new(path, solver)
        })
    }
}

//! Classes that run in σ: Euler, Heun, LMS, KDPM2, DPM-Solver SDE.

use crate::error::Error;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::hub::trained::Trained;
use crate::path::Path;
use crate::solver::Ddim;

/// What these classes read beside the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {}

impl Settings {
    pub(super) fn read(_: &mut Reader<'_>, _: &Trained) -> Result<Self, Error> {
        Ok(Self {})
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        let steps = run.steps()?;
        let tau = trained.timesteps(run.config.class, steps)?;
        let path = Path::trained(&trained.schedule, &tau)?;
        Ok(Route::new(path, Ddim::deterministic()))
    }
}

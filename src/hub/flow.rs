//! Flow-matching classes.

use crate::error::Error;
use crate::flow::Flow;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::prediction::Prediction;
use crate::solver::Ddim;

/// What these classes read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {}

impl Settings {
    pub(super) fn read(_: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {})
    }

    pub(super) fn prediction(&self) -> Prediction {
        Prediction::Flow
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let path = Flow::default().path(run.steps()?)?;
        Ok(Route::new(path, Ddim::deterministic()))
    }
}

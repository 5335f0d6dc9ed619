//! Classes whose levels are a formula: EDM, Stable Audio, score networks, iPNDM.

use crate::coefficients::Threshold;
use crate::edm::Edm;
use crate::error::Error;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::path::Path;
use crate::prediction::Prediction;
use crate::solver::Ddim;

/// What these classes read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    edm: Edm,
}

impl Settings {
    pub(super) fn read(_: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { edm: Edm::new(80.0, 0.002, 0.5)? })
    }

    pub(super) fn prediction(&self) -> Prediction {
        self.edm.prediction()
    }

    pub(super) fn threshold(&self) -> Threshold {
        Threshold::None
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let path = Path::karras(&self.edm, run.steps()?)?;
        Ok(Route { noise_scale: 80.0, ..Route::new(path, Ddim::deterministic()) })
    }
}

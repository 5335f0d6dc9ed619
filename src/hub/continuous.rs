//! Classes whose levels are a formula: EDM, Stable Audio, score networks, iPNDM.

mod edm;
mod ipndm;
mod score;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::SchedulerClass;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::prediction::Prediction;

/// What these classes read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Settings {
    Edm(edm::Settings),
    Ipndm(ipndm::Settings),
    Score(score::Settings),
}

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.class {
            SchedulerClass::Ipndm => ipndm::Settings::read(reader).map(Self::Ipndm),
            SchedulerClass::ScoreSdeVe => score::Settings::read(reader).map(Self::Score),
            _ => edm::Settings::read(reader).map(Self::Edm),
        }
    }

    pub(super) fn prediction(&self) -> Prediction {
        match self {
            Self::Edm(settings) => settings.prediction(),
            Self::Ipndm(_) => Prediction::Velocity,
            Self::Score(_) => Prediction::Score,
        }
    }

    pub(super) fn threshold(&self) -> Threshold {
        match self {
            Self::Edm(settings) => settings.threshold(),
            Self::Ipndm(_) | Self::Score(_) => Threshold::None,
        }
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let given = [("mu", run.mu.is_some()), ("tokens", run.tokens.is_some()), ("eta", run.eta.is_some())];
        if let Some((argument, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(run.refused(argument, "is not an argument of this class"));
        }
        match self {
            Self::Edm(settings) => settings.route(run),
            Self::Ipndm(settings) => settings.route(run),
            Self::Score(settings) => settings.route(run),
        }
    }
}

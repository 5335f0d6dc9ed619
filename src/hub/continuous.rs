//! Classes whose noise levels are given by a formula: EDM, Stable Audio, score networks, iPNDM.

mod edm;
mod ipndm;
mod score;

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::SchedulerClass;
use crate::hub::read::Reader;
use crate::hub::run::{Argument, Route, Run};
use crate::prediction::Prediction;

/// The settings of these classes.
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
        run.takes(match self {
            Self::Edm(settings) if settings.takes_sigmas() => &[Argument::Sigmas],
            _ => &[],
        })?;
        match self {
            Self::Edm(settings) => settings.route(run),
            Self::Ipndm(settings) => settings.route(run),
            Self::Score(settings) => settings.route(run),
        }
    }
}

//! The settings of a class and the route that it runs, with one module per family.

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::class::Family;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::hub::trained::Trained;
use crate::hub::{continuous, flow, multistep, sigma, table};
use crate::prediction::Prediction;

/// The settings of a class, by its family.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sampler {
    Table(Trained, table::Settings),
    Sigma(Trained, sigma::Settings),
    Multistep(Trained, multistep::Settings),
    Flow(flow::Settings),
    Continuous(continuous::Settings),
}

impl Sampler {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match reader.class.family() {
            Family::Table => {
                let trained = Trained::read(reader)?;
                let settings = table::Settings::read(reader, &trained)?;
                Self::Table(trained, settings)
            }
            Family::Sigma => {
                let trained = Trained::read(reader)?;
                let settings = sigma::Settings::read(reader, &trained)?;
                Self::Sigma(trained, settings)
            }
            Family::Multistep => {
                let mut trained = Trained::read(reader)?;
                let settings = multistep::Settings::read(reader, &mut trained)?;
                Self::Multistep(trained, settings)
            }
            Family::Flow => Self::Flow(flow::Settings::read(reader)?),
            Family::Continuous => Self::Continuous(continuous::Settings::read(reader)?),
        })
    }

    /// The settings of a table of β, for the classes that have one.
    pub(super) fn trained(&self) -> Option<&Trained> {
        match self {
            Self::Table(trained, _) | Self::Sigma(trained, _) | Self::Multistep(trained, _) => Some(trained),
            Self::Flow(_) | Self::Continuous(_) => None,
        }
    }

    pub(super) fn prediction(&self) -> Prediction {
        match self {
            Self::Table(trained, _) | Self::Sigma(trained, _) | Self::Multistep(trained, _) => trained.prediction,
            Self::Flow(settings) => settings.prediction(),
            Self::Continuous(settings) => settings.prediction(),
        }
    }

    pub(super) fn threshold(&self) -> Threshold {
        match self {
            Self::Table(trained, _) | Self::Sigma(trained, _) | Self::Multistep(trained, _) => trained.threshold,
            Self::Flow(_) => Threshold::None,
            Self::Continuous(settings) => settings.threshold(),
        }
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        match self {
            Self::Table(trained, settings) => settings.route(trained, run),
            Self::Sigma(trained, settings) => settings.route(trained, run),
            Self::Multistep(trained, settings) => settings.route(trained, run),
            Self::Flow(settings) => settings.route(run),
            Self::Continuous(settings) => settings.route(run),
        }
    }
}

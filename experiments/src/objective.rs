//! Training objectives: DDPM's ε on a schedule of β, or the velocity of a rectified flow.

use std::fmt;

use alphabar::objective::{FlowSigma, Uniform};
use alphabar::{Flow, NoiseLevel, NoiseSchedule, Plan, Prediction};
use chacha20::ChaCha8Rng;

use crate::method::{Method, Spaced};
use crate::trouble::Result;

/// The objective of a training run. It decides the process along which samples are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Objective {
    /// ε at a uniform t of T = 1000 steps with linear β (Ho et al. 2020)
    #[default]
    Epsilon,
    /// u = ε − x₀ at a logit-normal σ of a rectified flow (Liu et al. 2023; Esser et al. 2024)
    Flow,
}

impl Objective {
    /// The prediction of the network.
    #[must_use]
    pub fn prediction(self) -> Prediction {
        match self {
            Self::Epsilon => Prediction::Epsilon,
            Self::Flow => Prediction::Flow,
        }
    }

    /// The plan of S calls by a row of Table 1.
    pub fn plan(self, method: Method, steps: usize) -> Result<Plan> {
        self.plan_along(method, Spaced::Linear, steps)
    }

    /// The plan of S calls by a row of Table 1, with a spacing. A flow ignores the spacing.
    pub fn plan_along(self, method: Method, spaced: Spaced, steps: usize) -> Result<Plan> {
        match self {
            Self::Epsilon => method.plan_along(&NoiseSchedule::ddpm()?, spaced, steps),
            Self::Flow => {
                let path = Flow::default().path(steps)?;
                Ok(Plan::builder_along(&path).prediction(self.prediction()).build(&method.solver()?)?)
            }
        }
    }

    /// Draws the noise levels of a training batch, and the t that the network receives at each.
    pub fn draw(self, batch: usize, rng: &mut ChaCha8Rng) -> Result<(Vec<NoiseLevel>, Vec<f64>)> {
        let points = match self {
            Self::Epsilon => {
                let schedule = NoiseSchedule::ddpm()?;
                let ts = Uniform::new(schedule.len())?.sample(batch, rng)?;
                ts.into_iter().map(|t| Ok((schedule.level(t)?, t as f64))).collect::<Result<Vec<_>>>()?
            }
            Self::Flow => {
                let sigmas = FlowSigma::logit_normal(0.0, 1.0)?.sample(batch, rng)?;
                let point = |sigma: f64| Ok((NoiseLevel::flow(sigma)?, 1000.0 * sigma));
                sigmas.into_iter().map(point).collect::<Result<Vec<_>>>()?
            }
        };
        Ok(points.into_iter().unzip())
    }

    /// The objective from its entry in a file of weights; `None` if it is unknown.
    #[must_use]
    pub fn from_word(word: Option<&String>) -> Option<Self> {
        // A file of ε-weights may lack the entry.
        match word.map(String::as_str) {
            None | Some("epsilon") => Some(Self::Epsilon),
            Some("flow") => Some(Self::Flow),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epsilon => "epsilon",
            Self::Flow => "flow",
        })
    }
}

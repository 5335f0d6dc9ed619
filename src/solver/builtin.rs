//! The samplers of this crate as one type.

use super::{Combination, Ddim, Ddpm, Solver};
use crate::error::Error;
use crate::path::Leg;

/// One of this crate's samplers: a [`Solver`] that can be stored and compared.
///
/// ```
/// use alphabar::{BuiltinSolver, Ddim, Ddpm, Solver};
///
/// let stochastic = true;
/// let solver: BuiltinSolver = if stochastic { Ddpm::default().into() } else { Ddim::deterministic().into() };
/// assert_eq!(solver.name(), "DDPM, posterior variance");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BuiltinSolver {
    /// [`Ddim`].
    Ddim(Ddim),
    /// [`Ddpm`].
    Ddpm(Ddpm),
}

impl Solver for BuiltinSolver {
    fn name(&self) -> &'static str {
        match self {
            Self::Ddim(ddim) => ddim.name(),
            Self::Ddpm(ddpm) => ddpm.name(),
        }
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        match self {
            Self::Ddim(ddim) => ddim.combine(leg),
            Self::Ddpm(ddpm) => ddpm.combine(leg),
        }
    }

    fn eta(&self, index: usize) -> Option<f64> {
        match self {
            Self::Ddim(ddim) => ddim.eta(index),
            Self::Ddpm(ddpm) => ddpm.eta(index),
        }
    }
}

impl From<Ddim> for BuiltinSolver {
    fn from(ddim: Ddim) -> Self {
        Self::Ddim(ddim)
    }
}

impl From<Ddpm> for BuiltinSolver {
    fn from(ddpm: Ddpm) -> Self {
        Self::Ddpm(ddpm)
    }
}

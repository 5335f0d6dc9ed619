//! Pseudo numerical methods for diffusion models (Liu, Ren, Lin and Zhao 2022, arXiv 2202.09778): PNDM.

use crate::error::Error;
use crate::path::{Leg, Legs, Point};
use crate::solver::adams::equal_steps;
use crate::solver::rule::Kernel;
use crate::solver::runge_kutta::{classical, heun, middle_in_rho};
use crate::solver::stages::arrival;
use crate::solver::{Row, Solver};

/// PNDM: the pseudo linear multistep method (PLMS) with one of two starts.
///
/// A step has two parts. The gradient part computes an ε′. The transfer part takes x to level s with ε′; it is the step of
/// [`Ddim`](crate::Ddim) with η = 0. There are two gradient parts: PLMS, with ε_j the output of j steps ago, and the Runge–Kutta start
/// (PRK), with ε₁ at level t, ε₂ and ε₃ at a level between, and ε₄ at level s. PRK computes each of these at the x to which the
/// previous ε led:
///
/// ```text
/// PLMS: ε′ = (55·ε₀ − 59·ε₁ + 37·ε₂ − 9·ε₃)/24
/// PRK:  ε′ = (ε₁ + 2·ε₂ + 2·ε₃ + ε₄)/6
/// ```
///
/// - [`Pndm::plms`] starts with one step of Heun's method, then uses the Adams–Bashforth weights of two and three outputs: S + 1 calls.
///   The second call of the first step is at the point of the second step, which calls there again. The first releases of Stable
///   Diffusion use this.
/// - [`Pndm::with_runge_kutta`] is the paper's (Algorithm 2): PRK, with four calls, for each of the first three steps.
///
/// The weights assume equal steps, so the order is 2. A step to clean data or from pure noise has order 1 and one call.
///
/// ```
/// use alphabar::{NoiseSchedule, PathEnd, Plan, Pndm, Timesteps};
///
/// let (schedule, tau) = (
///     NoiseSchedule::stable_diffusion()?,
///     Timesteps::leading(1000, 50, 1)?.ending(PathEnd::FirstLevel),
/// );
/// assert_eq!(Plan::new(&schedule, &tau, &Pndm::plms())?.len(), 51);
/// assert_eq!(
///     Plan::new(&schedule, &tau, &Pndm::with_runge_kutta(Default::default()))?
///         .len(),
///     59
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "PNDMScheduler")]
#[doc(alias = "PLMS")]
#[doc(alias = "PRK")]
pub struct Pndm {
    start: Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Start {
    Heun,
    RungeKutta(Middle),
}

/// The variable in which the middle point of a Runge–Kutta step lies half way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Middle {
    /// The time t that the network receives, as in the paper and in diffusers. The start is then of order 2, like the steps that follow.
    /// The path needs a process with [`Process::at_time`](crate::Process::at_time), such as a trained table.
    #[default]
    Time,
    /// σ = noise/signal. The start is then [`Rk4`](crate::Rk4), of order 4.
    Sigma,
}

impl Pndm {
    /// PLMS with a first step of Heun's method.
    #[must_use]
    #[doc(alias = "skip_prk_steps")]
    pub fn plms() -> Self {
        Self { start: Start::Heun }
    }

    /// PLMS with three first steps of a Runge–Kutta method.
    ///
    /// It calls the network between the points of the path, so the path must know its process
    /// ([`Path::of_process`](crate::Path::of_process)).
    #[must_use]
    pub fn with_runge_kutta(middle: Middle) -> Self {
        Self { start: Start::RungeKutta(middle) }
    }

    /// The rows of a leg, given the ages of the earlier outputs that it can read.
    fn leg(self, legs: &Legs<'_>, leg: &Leg, ages: &[usize]) -> Result<Vec<Row>, Error> {
        if let Some(first) = Kernel::Rho.irregular(leg) {
            return Ok(vec![Row::new(leg, first)]);
        }
        match (self.start, ages.len()) {
            (Start::Heun, 0) => Ok(heun(leg, &arrival(leg)?)),
            (Start::RungeKutta(middle), 0..3) => Ok(classical(leg, &middle.of(legs, leg)?, &arrival(leg)?)), // PRK
            _ => Ok(vec![Kernel::Rho.row(leg, &equal_steps(leg, ages.len() + 1), ages)]),                    // PLMS
        }
    }
}

impl Middle {
    fn of(self, legs: &Legs<'_>, leg: &Leg) -> Result<Point, Error> {
        match self {
            Self::Sigma => middle_in_rho(legs, leg),
            Self::Time => {
                // An encoding step may be conditioned on the level at its end; this is the t at its start.
                let t = if leg.call.level == leg.from { leg.call.t } else { legs.at_sigma(leg.from.sigma())?.t };
                legs.at_time(0.5 * (t + arrival(leg)?.t))
            }
        }
    }
}

impl Solver for Pndm {
    fn name(&self) -> &'static str {
        match self.start {
            Start::Heun => "PNDM, PLMS",
            Start::RungeKutta(_) => "PNDM, Runge–Kutta and PLMS",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let mut rows: Vec<Row> = Vec::with_capacity(legs.len());
        // The first row of each leg with an ε that can be read, the newest last.
        let mut firsts: Vec<usize> = Vec::new();
        for leg in legs.iter() {
            if leg.starts_over {
                firsts.clear();
            }
            let row = rows.len();
            let ages: Vec<usize> = firsts.iter().rev().take(3).map(|first| row - first).collect();
            let of_leg = self.leg(legs, leg, &ages).map_err(|error| error.at_step(row, leg.call.t))?;
            if leg.is_regular() {
                firsts.push(row);
            } else if leg.h() != 0.0 {
                firsts.clear();
            }
            rows.extend(of_leg);
        }
        Ok(rows)
    }
}

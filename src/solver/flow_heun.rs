//! Heun's method for flows.

use crate::dd::Dd;
use crate::error::Error;
use crate::path::{Leg, Legs};
use crate::phi::MAX_NODES;
use crate::solver::rule::{Kernel, Rule};
use crate::solver::stages::{arrival, rows};
use crate::solver::{Combination, Row, Solver, each_leg_rows};

/// Heun's method of order 2 for dx/dσ = u, with the velocity u = ε − x₀ and σ = noise/(signal + noise).
///
/// For a step from level t to level s on flow levels (signal + noise = 1), with u′ the network's velocity at v and level s:
///
/// ```text
/// v   = x + (σ_s − σ_t)·u
/// x_s = x + (σ_s − σ_t)·(½·u + ½·u′)
/// ```
///
/// On other levels the formulas hold for x/(signal + noise). The last step, to clean data, is Euler's, so S steps take 2S − 1 calls.
///
/// [`Heun`](crate::Heun) solves dx/dσ = ε in σ = noise/signal instead (Karras et al. 2022). That σ is infinite at pure noise, so its
/// step from pure noise has one call; here it has two.
///
/// ```
/// use alphabar::{Flow, FlowHeun, Plan, Prediction};
///
/// let path = Flow::sd3()?.path(10)?;
/// let plan = Plan::builder_along(&path)
///     .prediction(Prediction::Flow)
///     .build(&FlowHeun::new())?;
/// assert_eq!(plan.len(), 19);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "FlowMatchHeunDiscreteScheduler")]
#[non_exhaustive]
pub struct FlowHeun {}

impl FlowHeun {
    /// Heun's method for flows.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl Solver for FlowHeun {
    fn name(&self) -> &'static str {
        "Heun, flow"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg_rows(legs, |leg| {
            if let Some(first) = first_order(leg) {
                return Ok(vec![Row::new(leg, first)]);
            }
            let step = leg.to.flow_sigma_dd() - leg.from.flow_sigma_dd();
            let half = Dd::from(0.5) * step;
            let euler = weighted(leg, step, Dd::ZERO); // v
            Ok(rows(Kernel::Flow, leg, &[(arrival(leg)?, euler)], &weighted(leg, half, half))) // x_s
        })
    }
}

/// The step with one call, if there is one: between equal levels, and from or to clean data.
fn first_order(leg: &Leg) -> Option<Combination> {
    let one_call = leg.from.is_clean() || leg.to.is_clean() || leg.to.gap_to(&leg.from).is_zero();
    Kernel::Flow.irregular(leg).filter(|_| one_call)
}

/// x/(signal + noise) + w₀·u + w₁·u′ at the end of a leg.
fn weighted(leg: &Leg, first: Dd, second: Dd) -> Rule {
    let mut weights = [Dd::ZERO; MAX_NODES];
    weights.iter_mut().zip([first, second]).for_each(|(to, weight)| *to = weight);
    Kernel::Flow.weighted(leg, &weights)
}

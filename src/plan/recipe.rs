//! The choices behind a plan, as a value that can be stored.

use super::{Plan, PlanBuilder};
use crate::coefficients::{EpsilonAfter, Threshold};
use crate::error::Error;
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::BuiltinSolver;
use crate::timesteps::Timesteps;

/// All choices that make a [`Plan`], as an owned value: stores, sends and compares settings instead of coefficients.
///
/// ```
/// use alphabar::{
///     Ddim, NoiseSchedule, PlanRecipe, Prediction, Threshold, Timesteps,
/// };
///
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let recipe = PlanRecipe::new(
///     schedule,
///     Timesteps::trailing(1000, 20)?,
///     Ddim::deterministic(),
/// )
/// .prediction(Prediction::Velocity)
/// .threshold(Threshold::clip(1.0)?);
/// assert_eq!(recipe.build()?.len(), 20);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct PlanRecipe {
    /// The noise schedule that the network was trained with.
    pub schedule: NoiseSchedule,
    /// The timesteps of the sampler.
    pub timesteps: Timesteps,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Clipping or dynamic thresholding of x̂₀.
    pub threshold: Threshold,
    /// Which ε goes with a thresholded x̂₀.
    pub epsilon_after: EpsilonAfter,
    /// The sampler.
    pub solver: BuiltinSolver,
}

impl PlanRecipe {
    /// A recipe for a network that predicts ε, without a threshold.
    #[must_use]
    pub fn new(schedule: NoiseSchedule, timesteps: Timesteps, solver: impl Into<BuiltinSolver>) -> Self {
        Self {
            schedule,
            timesteps,
            prediction: Prediction::default(),
            threshold: Threshold::default(),
            epsilon_after: EpsilonAfter::default(),
            solver: solver.into(),
        }
    }

    /// Sets what the network predicts; ε by default.
    #[must_use]
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = prediction;
        self
    }

    /// Sets clipping or dynamic thresholding of x̂₀; none by default.
    #[must_use]
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets which ε goes with a thresholded x̂₀; the network's by default.
    #[must_use]
    pub fn epsilon_after(mut self, epsilon: EpsilonAfter) -> Self {
        self.epsilon_after = epsilon;
        self
    }

    /// A [`PlanBuilder`] with these choices, for a custom [`Solver`](crate::Solver) or for [`compat`](crate::compat).
    pub fn builder(&self) -> PlanBuilder<'_> {
        Plan::builder(&self.schedule, &self.timesteps)
            .prediction(self.prediction)
            .threshold(self.threshold)
            .epsilon_after(self.epsilon_after)
    }

    /// Builds the plan.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    pub fn build(&self) -> Result<Plan, Error> {
        self.builder().build(&self.solver)
    }
}

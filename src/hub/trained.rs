//! What all classes with a table of β have in common.

use crate::coefficients::Threshold;
use crate::compat::{Precision, Tables};
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::recipe::Recipe;
use crate::hub::{SchedulerClass, Spacing};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::Variance;
use crate::timesteps::{PathEnd, Timesteps};

/// The settings that all classes with a table of β share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trained {
    pub(super) recipe: Recipe,
    pub(super) schedule: NoiseSchedule,
    pub(super) prediction: Prediction,
    pub(super) threshold: Threshold,
    pub(super) spacing: Spacing,
    pub(super) offset: usize,
    pub(super) end: PathEnd,
    pub(super) variance: Variance,
    pub(super) learned_variance: bool,
}

impl Trained {
    /// The timesteps of S calls.
    pub(super) fn timesteps(&self, class: SchedulerClass, steps: usize) -> Result<Timesteps, Error> {
        let total = self.schedule.len();
        // With as many steps as there are timesteps, nothing can be left out.
        let leaves_last = class.list() == List::OneMore && self.spacing != Spacing::Trailing && steps < total;
        let spaced = steps.saturating_add(usize::from(leaves_last && steps > 0));
        let tau = match self.spacing {
            Spacing::Leading => Timesteps::leading(total, spaced, self.offset),
            Spacing::Trailing => Timesteps::trailing(total, spaced),
            Spacing::Linspace => Timesteps::linspace(total, spaced),
        }?;
        let tau =
            if leaves_last { Timesteps::explicit(total, tau.as_slice().iter().copied().take(steps))? } else { tau };
        Ok(tau.ending(self.end))
    }

    /// The schedule of a plan: the exact one, or the one that diffusers holds.
    pub(super) fn schedule(&self, imitates: Option<Precision>) -> Result<NoiseSchedule, Error> {
        match imitates {
            Some(precision) => self.recipe.imitated(precision),
            None => Ok(self.schedule.clone()),
        }
    }

    /// The `f32` tables of diffusers.
    pub(super) fn tables(&self) -> Result<Tables, Error> {
        self.recipe.tables()
    }
}

//! The settings that all classes with a table of β share.

mod reading;

use crate::coefficients::Threshold;
use crate::compat::{Precision, Tables, Times};
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::recipe::Recipe;
use crate::hub::{SchedulerClass, Spacing};
use crate::path::{Path, Point, Process};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::Variance;
use crate::timesteps::{PathEnd, Timesteps};

/// The largest σ of a spacing in σ on a table that ends at zero SNR: σ of ᾱ = 2⁻²⁴, which diffusers uses instead of 0.
pub(super) const LARGEST_SIGMA: f64 = 4096.0;

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

    /// The schedule of a plan: the exact one, or the one of diffusers.
    pub(super) fn schedule(&self, imitates: Option<Precision>) -> Result<NoiseSchedule, Error> {
        match imitates {
            Some(Precision::F32) if !self.recipe.is_in_f64() => self.tables()?.schedule(),
            _ => Ok(self.schedule.clone()),
        }
    }

    /// How diffusers lists t.
    pub(super) fn times(&self) -> Times {
        match self.spacing {
            Spacing::Leading => Times::Leading { offset: self.offset },
            Spacing::Trailing => Times::Trailing,
            Spacing::Linspace => Times::Linspace,
        }
    }

    /// This path along the table, with the end that the file asks for.
    pub(super) fn ended(&self, path: Path, schedule: &NoiseSchedule) -> Result<Path, Error> {
        match self.end {
            PathEnd::Clean => Ok(path),
            PathEnd::FirstLevel => path.ending_at(Point::new(0.0, schedule.level(0)?)),
        }
    }

    /// The ends of a spacing in σ: `sigma_max` and `sigma_min`, or the ends of the table.
    pub(super) fn spread_ends(&self, [max, min]: [Option<f64>; 2]) -> [f64; 2] {
        let [table_max, table_min] = self.schedule.sigma_range();
        [max.unwrap_or(table_max.min(LARGEST_SIGMA)), min.unwrap_or(table_min)]
    }

    /// The `f32` tables of diffusers.
    pub(super) fn tables(&self) -> Result<Tables, Error> {
        self.recipe.tables()
    }
}

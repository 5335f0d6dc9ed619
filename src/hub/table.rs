//! Classes that run in t along a table of β: DDIM, DDPM, PNDM, LCM, TCD.

use crate::error::{Error, require_count};
use crate::hub::SchedulerClass;
use crate::hub::class::List;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::hub::trained::Trained;
use crate::path::Path;
use crate::solver::{Ddim, Ddpm};
use crate::timesteps::{Conditioning, Timesteps};

/// What these classes read beside the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    class: SchedulerClass,
    /// The S₀ of LCM and TCD.
    distilled_steps: usize,
}

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        let total = trained.schedule.len();
        let distilled_steps = reader.count("original_inference_steps", total.min(50), 1, total)?;
        Ok(Self { class: reader.class, distilled_steps })
    }

    pub(super) fn timesteps(&self, trained: &Trained, steps: usize) -> Result<Timesteps, Error> {
        let tau = if self.class.list() == List::Distilled {
            self.distilled(trained, steps)?.ending(trained.end)
        } else {
            trained.timesteps(self.class, steps)?
        };
        Ok(if self.class == SchedulerClass::DdimInverse { tau.encoding(Conditioning::Destination) } else { tau })
    }

    /// S of the S₀ timesteps k − 1, 2k − 1, …, S₀·k − 1 with k = ⌊T/S₀⌋, from the noisiest on.
    fn distilled(&self, trained: &Trained, steps: usize) -> Result<Timesteps, Error> {
        let (total, all) = (trained.schedule.len(), self.distilled_steps);
        let steps = require_count("S", steps, 1, all)?;
        let stride = total / all;
        // numpy.linspace(0, S₀, S, endpoint=False), rounded down.
        let share = all as f64 / steps as f64;
        Timesteps::explicit(total, (0..steps).map(|i| (all - (i as f64 * share) as usize) * stride - 1))
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        let tau = self.timesteps(trained, run.steps()?)?;
        let path = Path::trained(&trained.schedule, &tau)?;
        Ok(if self.class.is_ddpm() {
            Route::new(path, Ddpm::new(trained.variance))
        } else {
            Route::new(path, run.eta.map_or(Ok(Ddim::deterministic()), Ddim::new)?)
        })
    }
}

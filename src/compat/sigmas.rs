//! How diffusers converts between t and σ with a table of ᾱ.
//!
//! Its classes hold σ = √((1−ᾱ)/ᾱ) for every t. From t to σ they interpolate linearly in σ; from σ to t they interpolate linearly in ln σ. The
//! two are not inverses of each other.

use super::Precision;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::Point;
use crate::schedule::NoiseSchedule;

/// σ of every t, and its logarithm, as diffusers holds them.
#[derive(Clone, Debug)]
pub(crate) struct Sigmas {
    table: Vec<f64>,
    logs: Vec<f64>,
    precision: Precision,
}

impl Sigmas {
    /// The table of a schedule in this precision. ᾱ = 0 counts as 2⁻²⁴, as in the classes of diffusers that divide by √ᾱ.
    pub(crate) fn new(schedule: &NoiseSchedule, precision: Precision) -> Self {
        let sigma = |level: &NoiseLevel| match level.alpha_bar() {
            0.0 => (1.0 - ZERO_SNR_FLOOR) / ZERO_SNR_FLOOR,
            alpha_bar => match precision {
                // f32 throughout: the difference, the quotient and the root are rounded.
                Precision::F32 => f64::from((1.0 - alpha_bar as f32) / alpha_bar as f32),
                Precision::F64 => level.one_minus_alpha_bar() / alpha_bar,
            },
        };
        let sigmas = schedule.levels().iter().map(|level| precision.hold(sigma(level).sqrt()));
        let sigmas: Vec<f64> = sigmas.collect();
        let logs = sigmas.iter().map(|sigma| precision.hold(libm::log(*sigma))).collect();
        Self { table: sigmas, logs, precision }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// σ of t = T − 1.
    pub(crate) fn max(&self) -> f64 {
        self.table.last().copied().unwrap_or(f64::INFINITY)
    }

    /// σ of t = 0.
    pub(crate) fn min(&self) -> f64 {
        self.table.first().copied().unwrap_or(0.0)
    }

    /// σ at t, linear between two entries: `numpy.interp`.
    pub(crate) fn at(&self, t: f64) -> f64 {
        let below = (t.max(0.0) as usize).min(self.table.len().saturating_sub(1));
        let entry = |index: usize| self.table.get(index).copied();
        match (entry(below), entry(below + 1)) {
            (Some(low), Some(high)) => low + (high - low) * (t - below as f64).max(0.0),
            (low, _) => low.unwrap_or(0.0),
        }
    }

    /// t at σ, linear in ln σ between two entries and limited to the table: `_sigma_to_t`.
    pub(crate) fn time_of(&self, sigma: f64) -> f64 {
        let log = libm::log(sigma.max(1e-10));
        let above = self.logs.partition_point(|entry| *entry <= log);
        let low = above.saturating_sub(1).min(self.logs.len().saturating_sub(2));
        match (self.logs.get(low), self.logs.get(low + 1)) {
            (Some(below), Some(above)) => {
                let share = ((below - log) / (below - above)).clamp(0.0, 1.0);
                (1.0 - share) * low as f64 + share * (low + 1) as f64
            }
            _ => 0.0,
        }
    }

    /// The point of a variance-preserving plan at t and σ, with σ rounded to the precision of the table.
    pub(crate) fn point(&self, t: f64, sigma: f64) -> Result<Point, Error> {
        Ok(Point::new(t, NoiseLevel::from_sigma(self.precision.hold(sigma))?))
    }
}

/// ᾱ that diffusers uses instead of 0 in classes that divide by √ᾱ.
const ZERO_SNR_FLOOR: f64 = 1.0 / 16_777_216.0;

//! The points of the classes of diffusers that run in σ (Euler, Heun, LMS, KDPM2, DPM-Solver SDE), and LMS along them.
//!
//! ```text
//! list of t:   linspace, leading or trailing; linspace with S = 1 is t = 0; trailing has S + 1 entries for some S, the last of them t = −1
//! list of σ:   σ(t), linear in σ between two entries of the table; with a spacing in σ, S values between the two ends of that list,
//!              and then the t of these S values, linear in ln σ
//! ```

use super::sigmas::Sigmas;
use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Legs, Path, Point, Process};
use crate::solver::rule::Kernel;
use crate::solver::{Row, Solver, each_leg};
use crate::spacing::Spread;

/// The t and σ of the calls, before they become a path.
#[derive(Clone, Debug)]
pub(crate) struct PointList {
    pub(crate) times: Vec<f64>,
    /// One per call, and possibly one more, for the end.
    pub(crate) sigmas: Vec<f64>,
}

impl PointList {
    /// The list of these t, with the σ of each.
    pub(crate) fn at(table: &Sigmas, times: Vec<f64>) -> Self {
        // diffusers holds t in f32 too.
        let times: Vec<f64> = times.into_iter().map(|t| table.precision().hold(t)).collect();
        Self { sigmas: times.iter().map(|t| table.at(*t)).collect(), times }
    }

    /// The list of these σ, with the t of each.
    pub(crate) fn through(table: &Sigmas, sigmas: Vec<f64>) -> Self {
        Self { times: sigmas.iter().map(|sigma| table.time_of(*sigma)).collect(), sigmas }
    }

    /// `interpolation_type = log_linear`: replaces the σ by S + 1 values over the whole table, evenly spaced in ln σ. The t stay.
    pub(crate) fn log_linear(self, table: &Sigmas, steps: usize) -> Result<Self, Error> {
        let [max, min] = [table.max(), table.min()].map(|sigma| table.precision().hold(libm::log(sigma)));
        let logs = table.precision().linspace(max, min, steps.saturating_add(1))?;
        let sigmas = logs.into_iter().map(|log| table.precision().hold(libm::exp(log))).collect();
        Ok(Self { sigmas, ..self })
    }

    /// S values of σ between the given ends, or between the ends of this list, the largest first.
    pub(crate) fn spread(
        self,
        table: &Sigmas,
        spread: Spread,
        steps: usize,
        [max, min]: [Option<f64>; 2],
    ) -> Result<Self, Error> {
        let end = |given: Option<f64>, own: Option<&f64>| given.or(own.copied()).unwrap_or(f64::NAN);
        let (max, min) = (end(max, self.sigmas.first()), end(min, self.sigmas.last()));
        Ok(Self::through(table, spread.between(steps, max, min)?))
    }

    /// The path through the list to the σ `end`. If the list has one σ more than t, the path ends at that σ instead.
    ///
    /// # Errors
    /// The errors of [`Path::new`]: diffusers repeats a σ if `steps_offset` pushes t past the table.
    pub(crate) fn path(&self, table: &Sigmas, end: f64) -> Result<Path, Error> {
        let points = self.times.iter().zip(&self.sigmas).map(|(t, sigma)| table.point(*t, *sigma));
        let points = points.collect::<Result<Vec<Point>, Error>>()?;
        let last = points.last().map_or(end, |point| point.level.sigma());
        let end = self.sigmas.get(self.times.len()).copied().unwrap_or(end);
        // The end must not lie above the last σ because of rounding.
        let end = if end > last && end <= last * (1.0 + 1e-6) { last } else { end };
        let path = Path::new(points)?.of_process(table);
        if end == 0.0 { Ok(path) } else { path.ending_at(table.point(table.time_of(end), end)?) }
    }
}

/// The process of a network trained on the table, with t as diffusers computes it from σ; beyond the table t is that of its end.
impl Process for Sigmas {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        self.point(self.time_of(sigma), sigma)
    }

    fn sigma_range(&self) -> [f64; 2] {
        [self.max(), self.min()]
    }
}

/// LMS with the weights of diffusers: of order min(n + 1, 4) at step n of the whole list, also on the step to σ = 0.
///
/// ```text
/// x_s/signal_s = x/signal_t + Σ_j w_j·ε_j,   w_j = ∫ Π_{k≠j} (σ − σ_k)/(σ_j − σ_k) dσ      over the last min(n + 1, 4) levels of the list
/// ```
///
/// A run that starts later in the list (image-to-image) has fewer outputs than levels; diffusers leaves out the missing terms.
pub(crate) struct LmsOfList {
    /// The levels of the whole list.
    levels: Vec<NoiseLevel>,
}

impl LmsOfList {
    pub(crate) fn new(path: &Path) -> Self {
        Self { levels: path.points().iter().map(|point| point.level).collect() }
    }
}

impl Solver for LmsOfList {
    fn name(&self) -> &'static str {
        "LMS 4"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let begun = self.levels.len().saturating_sub(legs.len());
        each_leg(legs, |leg| {
            let older = self.levels.get(..=begun + leg.index).unwrap_or_default();
            let levels: Vec<NoiseLevel> = older.iter().rev().take(4).copied().collect();
            let mut rule = Kernel::Rho.rule(leg, &levels);
            rule.outputs.iter_mut().skip(leg.index + 1).for_each(|weight| *weight = Dd::ZERO);
            Ok(Kernel::Rho.row(leg, &rule, &[1, 2, 3]))
        })
    }
}

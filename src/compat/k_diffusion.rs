//! How diffusers lists the points of its classes in σ (Euler, Heun, LMS, KDPM2, DPM-Solver SDE), and what LMS computes along them.
//!
//! ```text
//! list of t:   linspace, leading or trailing; S = 1 of linspace is t = 0, and trailing has S + 1 entries for some S, the last of them t = −1
//! list of σ:   σ(t), linear in σ between two entries of the table; with a spread, S values between the two ends of that list
//! then:        the t of those S values, linear in ln σ
//! ```

use super::sigmas::Sigmas;
use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::{Legs, Path, Point, Process};
use crate::solver::rule::Kernel;
use crate::solver::{Row, Solver, each_leg};
use crate::spacing::Spread;

/// The points of a class, before they are a path: t, σ, and the σ of the end.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) times: Vec<f64>,
    /// Of the points; there may be one more than of t.
    pub(crate) sigmas: Vec<f64>,
}

impl Listed {
    /// σ of each t.
    pub(crate) fn at(table: &Sigmas, times: Vec<f64>) -> Self {
        // Python holds t in f32, too.
        let times: Vec<f64> = times.into_iter().map(|t| table.precision().hold(t)).collect();
        Self { sigmas: times.iter().map(|t| table.at(*t)).collect(), times }
    }

    /// σ, and the t that belong to them.
    pub(crate) fn through(table: &Sigmas, sigmas: Vec<f64>) -> Self {
        Self { times: sigmas.iter().map(|sigma| table.time_of(*sigma)).collect(), sigmas }
    }

    /// `interpolation_type = log_linear`: S + 1 values of σ, even in ln σ, over the whole table, beside the S values of t.
    pub(crate) fn log_linear(self, table: &Sigmas, steps: usize) -> Result<Self, Error> {
        let [max, min] = [table.max(), table.min()].map(|sigma| table.precision().hold(libm::log(sigma)));
        let logs = table.precision().linspace(max, min, steps.saturating_add(1))?;
        let sigmas = logs.into_iter().map(|log| table.precision().hold(libm::exp(log))).collect();
        Ok(Self { sigmas, ..self })
    }

    /// S values between the ends of this list, or between these ends, the largest first.
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

    /// The path through the list, to this σ. Where there is one σ more than there are t, the path ends there.
    ///
    /// # Errors
    /// Those of [`Path::new`]: Python repeats a σ where `steps_offset` pushes t past the table.
    pub(crate) fn path(&self, table: &Sigmas, end: f64) -> Result<Path, Error> {
        let points = self.times.iter().zip(&self.sigmas).map(|(t, sigma)| table.point(*t, *sigma));
        let points = points.collect::<Result<Vec<Point>, Error>>()?;
        let last = points.last().map_or(end, |point| point.level.sigma());
        let end = self.sigmas.get(self.times.len()).copied().unwrap_or(end);
        // Not above the last σ by rounding.
        let end = if end > last && end <= last * (1.0 + 1e-6) { last } else { end };
        let path = Path::new(points)?.of_process(table);
        if end == 0.0 { Ok(path) } else { path.ending_at(table.point(table.time_of(end), end)?) }
    }
}

/// A network of the table, as diffusers tells it t, between the points and past the ends of the table.
impl Process for Sigmas {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        self.point(self.time_of(sigma), sigma)
    }

    fn sigma_range(&self) -> [f64; 2] {
        [self.max(), self.min()]
    }
}

/// LMS as diffusers weights it: of order min(n + 1, 4) at step n of the whole list, also to σ = 0.
///
/// ```text
/// x_s/signal_s = x/signal_t + Σ_j w_j·ε_j,   w_j = ∫ Π_{k≠j} (σ − σ_k)/(σ_j − σ_k) dσ      over the last min(n + 1, 4) levels of the list
/// ```
///
/// A run that starts later in the list, image-to-image, has fewer outputs than levels. diffusers leaves the missing terms out.
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

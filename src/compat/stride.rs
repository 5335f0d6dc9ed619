//! Steps to t − ⌊T/S⌋ instead of the next timestep, as diffusers makes them.

use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Point};
use crate::plan::{Plan, PlanBuilder};
use crate::schedule::NoiseSchedule;
use crate::solver::{Combination, Ddim, Row, Solver};
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

/// The plan of `DDIMScheduler`: each step goes from t to t − ⌊T/S⌋, or to the end of τ if that is below 0.
///
/// S is `num_inference_steps`. Normally S = `tau.len()`. After `with_strength`, pass the length *before* it. If t − ⌊T/S⌋ is the
/// next timestep, [`PlanBuilder::build`] gives the same plan; this holds for [`Timesteps::leading`](crate::Timesteps::leading)
/// with S ≤ T/2, and for trailing if S divides T. Otherwise a step ends at another level than the next step starts from, and
/// [`Plan::lint`] reports this. The direction of τ is ignored.
///
/// # Errors
/// [`Error::Count`] unless 1 ≤ S ≤ T, and the errors of [`PlanBuilder::build`].
///
/// ```
/// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 7)?);
/// let plan =
///     compat::ddim(&Plan::builder(&schedule, &tau), 7, &Ddim::deterministic())?;
/// let went: Vec<_> = plan.steps().iter().filter_map(|step| step.s).collect();
/// assert_eq!(went, [857.0, 714.0, 571.0, 428.0, 286.0, 143.0, 0.0]);
/// assert_eq!(tau.as_slice()[1..], [856, 713, 570, 428, 285, 142]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddim(plan: &PlanBuilder<'_>, inference_steps: usize, method: &Ddim) -> Result<Plan, Error> {
    let (schedule, tau, by_stride) = trained(plan, inference_steps)?;
    plan.through(schedule, &tau).build(&by_stride.of(method))
}

/// The plan of `DDIMInverseScheduler` (DDIM inversion): each step goes to t from t − ⌊T/S⌋, or from the end of τ if that is below 0.
///
/// The network is conditioned on t.
/// If t − ⌊T/S⌋ is the timestep before t, encoding with [`Conditioning::Destination`](crate::Conditioning::Destination) gives
/// the same plan. S is as in [`ddim`]. The direction of τ is ignored.
///
/// # Errors
/// The errors of [`ddim`].
///
/// ```
/// # use alphabar::{NoiseSchedule, Plan, Timesteps, compat};
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 7)?);
/// let plan = compat::ddim_inverse(&Plan::builder(&schedule, &tau), 7)?;
/// // The first step treats x as if it were at t = 0, not as clean data.
/// assert_eq!((plan.start(), plan.steps()[0].t), (schedule.level(0)?, 142.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn ddim_inverse(plan: &PlanBuilder<'_>, inference_steps: usize) -> Result<Plan, Error> {
    let (schedule, tau, by_stride) = trained(plan, inference_steps)?;
    let tau = tau.encoding(Conditioning::Destination);
    plan.through(schedule, &tau).build(&by_stride.of(Ddim::deterministic()))
}

/// The schedule, its timesteps from noise to data, and ⌊T/S⌋.
fn trained<'a>(
    plan: &PlanBuilder<'a>,
    inference_steps: usize,
) -> Result<(&'a NoiseSchedule, Timesteps, ByStride<()>), Error> {
    let (schedule, tau) = plan.trained()?;
    let (expected, found) = (schedule.len(), tau.train_steps());
    if expected != found {
        return Err(Error::TrainSteps { expected, found });
    }
    let by_stride = ByStride::new((), schedule, inference_steps, tau.end())?;
    Ok((schedule, tau.clone().generating(), by_stride))
}

/// A sampler whose steps go from t to t − ⌊T/S⌋, or to the end of the path if that is below 0. On an encoding path they go from there to t.
///
/// The legs must be those of a path along whole t of a table. The end of a leg at which the network is not called is moved.
#[derive(Clone, Debug)]
pub(crate) struct ByStride<S> {
    solver: S,
    pub(super) stride: f64,
    /// t and level of the end of the path, below t = 0.
    pub(super) below: (Option<f64>, NoiseLevel),
}

impl<S> ByStride<S> {
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    pub(crate) fn new(solver: S, schedule: &NoiseSchedule, steps: usize, end: PathEnd) -> Result<Self, Error> {
        let total = schedule.len();
        let stride = total / require_count("S", steps, 1, total)?;
        let below = match end {
            PathEnd::Clean => (None, NoiseLevel::CLEAN),
            PathEnd::FirstLevel => (Some(0.0), schedule.level(0)?),
        };
        Ok(Self { solver, stride: stride as f64, below })
    }

    pub(crate) fn of<R>(self, solver: R) -> ByStride<R> {
        ByStride { solver, stride: self.stride, below: self.below }
    }

    /// Whether a step from t goes to the end of the path.
    #[cfg(feature = "hub")]
    pub(crate) fn is_below(&self, t: f64) -> bool {
        t < self.stride
    }

    /// t and level at t − ⌊T/S⌋, or at the end of the path.
    fn below(&self, legs: &Legs<'_>, t: f64) -> Result<(Option<f64>, NoiseLevel), Error> {
        let s = t - self.stride;
        if s < 0.0 { Ok(self.below) } else { Ok((Some(s), legs.at_time(s)?.level)) }
    }
}

impl<S: Solver> Solver for ByStride<S> {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        self.solver.combine(leg)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let moved = legs.iter().map(|leg| {
            let (s, level) = self.below(legs, leg.call.t)?;
            let arrives = s.map(|s| Point::new(s, level));
            let encodes = leg.call.level != leg.from;
            Ok(if encodes { Leg { from: level, ..*leg } } else { Leg { to: level, s, arrives, ..*leg } })
        });
        let moved = moved.collect::<Result<Vec<_>, Error>>()?;
        self.solver.rows(&legs.with(moved))
    }

    fn eta(&self, index: usize) -> Option<f64> {
        self.solver.eta(index)
    }
}

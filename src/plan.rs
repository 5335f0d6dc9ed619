//! A whole sampling trajectory as a table, computed before the first network call.

mod lint;
mod recipe;
mod table;

pub use lint::Lint;
pub use recipe::PlanRecipe;

use crate::coefficients::{Coefficients, EpsilonAfter, Threshold};
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Leg, Solver};
use crate::timesteps::{Conditioning, Direction, PathEnd, Timesteps};

/// What a network receives beside x: the timestep t, the noise level there, and the index of the step.
///
/// Most networks read `t`; networks that are conditioned on σ or on log-SNR read the level. The index counts the network calls of
/// a run from 0: read it for anything that changes along the way, such as a list of guidance scales.
///
/// ```
/// use alphabar::{NoiseSchedule, Point};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let point = Point::new(500, schedule.level(500)?);
/// assert!((point.level.sigma() - 3.4430).abs() < 1e-4);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// The timestep that the network was trained with, 0-based.
    pub t: usize,
    /// The noise level.
    pub level: NoiseLevel,
    /// The index of the step in its plan, from 0. It is 0 for a point that belongs to no plan.
    pub index: usize,
}

impl Point {
    /// A point that belongs to no plan; its `index` is 0.
    #[must_use]
    pub fn new(t: usize, level: NoiseLevel) -> Self {
        Self { t, level, index: 0 }
    }
}

/// One step of a [`Plan`].
///
/// ```
/// use alphabar::{Ddim, NoiseLevel, NoiseSchedule, Plan, Timesteps};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 2)?, &Ddim::deterministic())?;
/// let last = &plan.steps()[1];
/// assert_eq!((last.index, last.t, last.s), (1, 499, None));
/// assert_eq!(last.to, NoiseLevel::CLEAN);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The index of the step in its plan, from 0. It identifies the step's noise: [`Draw::Step`](crate::Draw::Step).
    pub index: usize,
    /// The timestep that the network receives.
    pub t: usize,
    /// The timestep at which the step arrives; `None` for clean data.
    #[doc(alias = "prev_timestep")]
    pub s: Option<usize>,
    /// The level of x.
    pub from: NoiseLevel,
    /// The level of x′.
    pub to: NoiseLevel,
    /// The noise level passed to the network. It equals `from`, except in encoding (DDIM inversion) with
    /// [`Conditioning::Destination`], where it equals `to`.
    pub conditioned_on: NoiseLevel,
    /// DDIM's η at this step, if the sampler has one.
    pub eta: Option<f64>,
    /// Only for networks with a learned variance (output channels: m, then v): the k of exp(k·v), by which the noise z is
    /// multiplied elementwise. `None` for all other networks.
    #[doc(alias = "learned variance")]
    pub learned_noise: Option<f64>,
    /// The arithmetic of the step.
    pub coefficients: Coefficients,
}

impl Step {
    /// What the network receives at this step.
    #[must_use]
    pub fn point(&self) -> Point {
        Point { t: self.t, level: self.conditioned_on, index: self.index }
    }

    /// Whether the step adds noise.
    #[must_use]
    pub fn needs_noise(&self) -> bool {
        self.coefficients.needs_noise()
    }
}

/// A sampling trajectory: every step with its levels and coefficients, computed once and never changed.
///
/// A plan is to a sampler what the tableau is to a Runge–Kutta method: immutable, printable, comparable and `Send + Sync`. It holds
/// no state of a run, so any number of runs can share it. Printing it shows the coefficients as a table; [`PlanRecipe`] stores the
/// choices that make it.
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, Prediction, Threshold, Timesteps};
///
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let plan = Plan::builder(&schedule, &Timesteps::trailing(1000, 20)?)
///     .prediction(Prediction::Velocity)
///     .threshold(Threshold::clip(1.0)?)
///     .build(&Ddim::new(0.5)?)?;
/// assert_eq!(plan.len(), 20);
/// println!("{plan}");
/// for warning in plan.lint() {
///     println!("{warning}");
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "scheduler")]
#[doc(alias = "sampler")]
#[doc(alias = "set_timesteps")]
pub struct Plan {
    method: String,
    prediction: Prediction,
    /// T, the length of the schedule.
    train_steps: usize,
    steps: Vec<Step>,
}

impl Plan {
    /// The plan for a network that predicts ε, without a threshold. [`Plan::builder`] offers the other choices.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    ///
    /// ```
    /// # use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps};
    /// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::all(1000)?, &Ddpm::default())?;
    /// assert_eq!(plan.len(), 1000);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn new(schedule: &NoiseSchedule, timesteps: &Timesteps, solver: &impl Solver) -> Result<Self, Error> {
        Self::builder(schedule, timesteps).build(solver)
    }

    /// The choices that make a plan: what the network predicts, clipping, and the sampler.
    pub fn builder<'a>(schedule: &'a NoiseSchedule, timesteps: &'a Timesteps) -> PlanBuilder<'a> {
        PlanBuilder {
            schedule,
            timesteps,
            prediction: Prediction::default(),
            threshold: Threshold::default(),
            epsilon: EpsilonAfter::default(),
        }
    }

    /// The steps, in order. A hand-written loop that resumes takes `&plan.steps()[i..]`.
    #[must_use]
    #[doc(alias = "timesteps")]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The number of steps, and of network calls; never 0.
    #[must_use]
    #[doc(alias = "num_inference_steps")]
    #[expect(clippy::len_without_is_empty, reason = "a plan is never empty")]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// What the network must predict.
    #[must_use]
    #[doc(alias = "prediction_type")]
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The level of the x that the first step takes.
    ///
    /// To start from an image (img2img), noise it to this level: [`forward::add_noise`](crate::forward::add_noise).
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Spacing, Timesteps, forward};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// # let (image, noise) = (vec![0.1_f32; 4], vec![-0.3_f32; 4]);
    /// let tau = Timesteps::img2img(1000, 20, 0.5, Spacing::Trailing)?.expect("the strength is above 0");
    /// let plan = Plan::new(&schedule, &tau, &Ddim::deterministic())?;
    /// let x = forward::add_noise(&image, &noise, &[plan.start()])?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn start(&self) -> NoiseLevel {
        self.steps.first().map_or(NoiseLevel::CLEAN, |step| step.from)
    }

    /// The level of the x that the last step returns.
    #[must_use]
    pub fn end(&self) -> NoiseLevel {
        self.steps.last().map_or(NoiseLevel::CLEAN, |step| step.to)
    }
}

/// The choices that make a [`Plan`].
///
/// ```
/// use alphabar::{Ddim, EpsilonAfter, NoiseSchedule, Plan, Prediction, Threshold, Timesteps};
///
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
/// let plan = Plan::builder(&schedule, &tau)
///     .prediction(Prediction::Velocity)
///     .threshold(Threshold::dynamic(0.995, 1.5)?)
///     .epsilon_after(EpsilonAfter::Threshold)
///     .build(&Ddim::deterministic())?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PlanBuilder<'a> {
    schedule: &'a NoiseSchedule,
    timesteps: &'a Timesteps,
    prediction: Prediction,
    threshold: Threshold,
    epsilon: EpsilonAfter,
}

impl PlanBuilder<'_> {
    /// What the network predicts; ε by default.
    #[doc(alias = "prediction_type")]
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = prediction;
        self
    }

    /// Clipping or dynamic thresholding of x̂₀; none by default.
    #[doc(alias = "clip_sample")]
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// Which ε goes with a thresholded x̂₀; the network's by default.
    #[doc(alias = "use_clipped_model_output")]
    pub fn epsilon_after(mut self, epsilon: EpsilonAfter) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Builds the plan.
    ///
    /// # Errors
    /// [`Error::TrainSteps`] if the timesteps were made for a schedule of another length; [`Error::AtStep`] with the step that is
    /// impossible: an η too large for it, a sampler with noise on an encoding path, a prediction that determines no x₀ there.
    ///
    /// ```
    /// # use alphabar::{Ddim, Error, NoiseSchedule, Plan, Prediction, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?.rescale_zero_terminal_snr()?;
    /// let tau = Timesteps::trailing(1000, 10)?;
    /// // ε says nothing about x₀ if there is no signal.
    /// let error = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap_err();
    /// assert!(matches!(error, Error::AtStep { index: 0, t: 999, .. }));
    /// assert!(Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&Ddim::new(1.0)?).is_ok());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn build(&self, solver: &impl Solver) -> Result<Plan, Error> {
        self.check_length()?;
        self.build_hops(solver, self.hops()?)
    }

    pub(crate) fn check_length(&self) -> Result<(), Error> {
        let (expected, found) = (self.schedule.len(), self.timesteps.train_steps());
        if expected == found { Ok(()) } else { Err(Error::TrainSteps { expected, found }) }
    }

    /// The plan of given hops; one may end at another level than the next one starts from.
    pub(crate) fn build_hops(&self, solver: &impl Solver, hops: Vec<Hop>) -> Result<Plan, Error> {
        let total = hops.len();
        let mut steps = Vec::with_capacity(total);
        for (index, hop) in hops.into_iter().enumerate() {
            let Hop { t, s, from, to, conditioned_on } = hop;
            let leg = Leg { index, steps: total, from, to };
            let (coefficients, learned_noise) = solver
                .combine(&leg)
                .and_then(|combination| {
                    // Only the noise that is kept can be followed back.
                    if combination.z() > 0.0 {
                        leg.require_denoising(solver.name())?;
                    }
                    let coefficients =
                        Coefficients::new(self.prediction, &from, combination, self.threshold, self.epsilon)?;
                    Ok((coefficients, combination.learned_noise()))
                })
                .map_err(|error| error.at_step(index, t))?;
            steps.push(Step {
                index,
                t,
                s,
                from,
                to,
                conditioned_on,
                eta: solver.eta(index),
                learned_noise,
                coefficients,
            });
        }
        let (method, train_steps) = (solver.name().to_owned(), self.schedule.len());
        Ok(Plan { method, prediction: self.prediction, train_steps, steps })
    }

    /// Who follows whom: the levels between which the path goes, and what the network receives on the way.
    fn hops(&self) -> Result<Vec<Hop>, Error> {
        let (end_index, end) = self.end()?;
        let path = self.timesteps.as_slice();
        let level = |index: usize| self.schedule.level(index);
        let mut hops = Vec::with_capacity(path.len());
        match self.timesteps.direction() {
            Direction::Generate => {
                for (i, &t) in path.iter().enumerate() {
                    let from = level(t)?;
                    let (s, to) = match path.get(i + 1) {
                        Some(&next) => (Some(next), level(next)?),
                        None => (end_index, end),
                    };
                    hops.push(Hop { t, s, from, to, conditioned_on: from });
                }
            }
            Direction::Encode(conditioning) => {
                let mut previous = (end_index, end);
                for &next in path {
                    let (from_index, from) = previous;
                    let to = level(next)?;
                    let (t, conditioned_on) = match conditioning {
                        Conditioning::Source => (from_index.unwrap_or(0), from),
                        Conditioning::Destination => (next, to),
                    };
                    hops.push(Hop { t, s: Some(next), from, to, conditioned_on });
                    previous = (Some(next), to);
                }
            }
        }
        Ok(hops)
    }

    /// The level at the clean end of the path, and its index if it has one.
    fn end(&self) -> Result<(Option<usize>, NoiseLevel), Error> {
        Ok(match self.timesteps.end() {
            PathEnd::Clean => (None, NoiseLevel::CLEAN),
            PathEnd::FirstLevel => (Some(0), self.schedule.level(0)?),
        })
    }
}

/// For [`compat`](crate::compat).
impl<'a> PlanBuilder<'a> {
    pub(crate) fn schedule(&self) -> &'a NoiseSchedule {
        self.schedule
    }

    pub(crate) fn timesteps(&self) -> &'a Timesteps {
        self.timesteps
    }

    /// These choices along another path.
    pub(crate) fn along(self, timesteps: &'a Timesteps) -> Self {
        Self { timesteps, ..self }
    }

    /// The level a stride below t; below t = 0, the end of the path.
    pub(crate) fn below(&self, t: usize, stride: usize) -> Result<(Option<usize>, NoiseLevel), Error> {
        match t.checked_sub(stride) {
            Some(s) => Ok((Some(s), self.schedule.level(s)?)),
            None => self.end(),
        }
    }
}

/// A step before its sampler is chosen.
pub(crate) struct Hop {
    pub(crate) t: usize,
    pub(crate) s: Option<usize>,
    pub(crate) from: NoiseLevel,
    pub(crate) to: NoiseLevel,
    pub(crate) conditioned_on: NoiseLevel,
}

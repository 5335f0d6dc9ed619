//! A whole sampling trajectory as a table, computed before the first network call.

mod lint;
mod recipe;
mod table;

pub use lint::Lint;
pub use recipe::PlanRecipe;

use crate::coefficients::{Coefficients, EpsilonAfter, Threshold};
use crate::dd::Dd;
use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Path, Point};
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::{Row, Solver};
use crate::timesteps::Timesteps;

/// One step of a [`Plan`].
///
/// ```
/// use alphabar::{Ddim, NoiseLevel, NoiseSchedule, Plan, Timesteps};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan =
///     Plan::new(&schedule, &Timesteps::trailing(1000, 2)?, &Ddim::deterministic())?;
/// let last = &plan.steps()[1];
/// assert_eq!((last.index, last.t, last.s), (1, 499.0, None));
/// assert_eq!(last.to, NoiseLevel::CLEAN);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The index of the step in its plan, from 0. It identifies the step's noise: [`Draw::Step`](crate::Draw::Step).
    pub index: usize,
    /// The time that the network receives. For a trained table this is the timestep, and fractions lie between two; other processes define
    /// their own.
    #[doc(alias = "timestep")]
    pub t: f64,
    /// The time of the level at which the step arrives; `None` for clean data.
    #[doc(alias = "prev_timestep")]
    pub s: Option<f64>,
    /// The level of x.
    pub from: NoiseLevel,
    /// The level of x′.
    pub to: NoiseLevel,
    /// The noise level passed to the network. It equals `from`, except in encoding (DDIM inversion) with
    /// [`Conditioning::Destination`](crate::Conditioning::Destination), where it equals `to`.
    pub conditioned_on: NoiseLevel,
    /// The factor of the network's input: EDM's c_in, 1 for networks that take x as it is. Multiply x by it before the network call.
    #[doc(alias = "scale_model_input")]
    pub input_scale: f64,
    /// DDIM's η at this step, if the sampler has one.
    pub eta: Option<f64>,
    /// The k of a learned variance: the noise z is multiplied elementwise by exp(k·v).
    ///
    /// v is the second half of the network's output channels, after m. `None` for networks without a learned variance.
    #[doc(alias = "learned variance")]
    pub learned_noise: Option<f64>,
    /// The arithmetic of the step.
    pub coefficients: Coefficients,
    /// The level of x at the start of the leg, from which the noise of the whole leg counts. It equals `from`, except in methods with
    /// several calls per leg.
    pub(crate) starts: NoiseLevel,
    /// A hash of the plan, by which kept outputs are matched to their plan; 0 without memory.
    pub(crate) mark: u64,
}

impl Step {
    /// What the network receives at this step.
    #[must_use]
    pub fn point(&self) -> Point {
        Point { t: self.t, level: self.conditioned_on, input_scale: self.input_scale, index: self.index }
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
    /// Whether the path is known to start at the noisy end of the network's training.
    from_noise: bool,
    steps: Vec<Step>,
}

impl Plan {
    /// The plan along the timesteps of a schedule, for a network that predicts ε, without a threshold.
    ///
    /// [`Plan::builder`] offers the other choices.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    ///
    /// ```
    /// # use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps};
    /// let plan =
    ///     Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::all(1000)?, &Ddpm::default())?;
    /// assert_eq!(plan.len(), 1000);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn new(schedule: &NoiseSchedule, timesteps: &Timesteps, solver: &impl Solver) -> Result<Self, Error> {
        Self::builder(schedule, timesteps).build(solver)
    }

    /// Starts a plan along the timesteps of a schedule: choose what the network predicts and clipping, then build it for a sampler.
    pub fn builder<'a>(schedule: &'a NoiseSchedule, timesteps: &'a Timesteps) -> PlanBuilder<'a> {
        PlanBuilder::of(Route::Trained { schedule, timesteps })
    }

    /// The plan along any [`Path`], for a network that predicts ε, without a threshold.
    ///
    /// [`Plan::builder_along`] offers the other choices.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    pub fn along(path: &Path, solver: &impl Solver) -> Result<Self, Error> {
        Self::builder_along(path).build(solver)
    }

    /// Starts a plan along any [`Path`]: Karras's σ, a flow, EDM, a custom list.
    ///
    /// ```
    /// use alphabar::{Ddim, Flow, Plan, Prediction};
    ///
    /// let path = Flow::sd3()?.path(28)?;
    /// let plan = Plan::builder_along(&path)
    ///     .prediction(Prediction::Flow)
    ///     .build(&Ddim::deterministic())?;
    /// assert!(plan.start().is_pure_noise());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn builder_along(path: &Path) -> PlanBuilder<'_> {
        PlanBuilder::of(Route::Path(path))
    }

    /// The steps, in order. A hand-written loop that resumes takes `&plan.steps()[i..]`.
    #[must_use]
    #[doc(alias = "timesteps")]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether any step reads an output that an earlier step kept.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.steps.iter().any(|step| step.coefficients.remembers())
    }

    /// Marks the steps of a plan with memory by a hash of all numbers that decide what is kept and read (FNV-1a).
    fn mark(&mut self) {
        if !self.remembers() {
            return;
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for step in &self.steps {
            let k = &step.coefficients;
            let own = [step.t, k.p, k.q, k.a, k.b, k.c, k.d, k.x, k.model];
            let history = k.history.iter().flat_map(|(age, weight)| [age as f64, weight]);
            for number in own.into_iter().chain(history) {
                for byte in number.to_bits().to_le_bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        self.steps.iter_mut().for_each(|step| step.mark = hash.max(1));
    }

    /// The number of steps, and of network calls; never 0.
    #[must_use]
    #[doc(alias = "num_inference_steps")]
    #[expect(clippy::len_without_is_empty, reason = "a plan is never empty")]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// What the network must predict, as chosen with [`PlanBuilder::prediction`].
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
    /// let tau = Timesteps::img2img(1000, 20, 0.5, Spacing::Trailing)?
    ///     .expect("the strength is above 0");
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

/// The largest number of rows of a plan: four for each step of the longest schedule.
const MAX_ROWS: usize = 4 * MAX_TRAIN_STEPS;

/// For each row, the number of rows after which its output is last read; 0 if it is never read.
fn lifetimes(rows: &[Row]) -> Result<Vec<usize>, Error> {
    let mut lasts = vec![0; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        for (age, _) in &row.history {
            let read = index
                .checked_sub(*age)
                .filter(|_| *age > 0)
                .and_then(|read| Some((rows.get(read)?, lasts.get_mut(read)?)));
            match read {
                Some((earlier, lasts)) if earlier.keeps.is_some() => *lasts = (*age).max(*lasts),
                _ => return Err(Error::MissingHistory { age: *age }.at_step(index, row.call.t)),
            }
        }
    }
    Ok(lasts)
}

/// The choices that make a [`Plan`].
///
/// ```
/// use alphabar::{
///     Ddim, EpsilonAfter, NoiseSchedule, Plan, Prediction, Threshold, Timesteps,
/// };
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
    route: Route<'a>,
    prediction: Prediction,
    threshold: Threshold,
    epsilon: EpsilonAfter,
}

/// The path of a plan.
#[derive(Clone, Copy, Debug)]
enum Route<'a> {
    Trained { schedule: &'a NoiseSchedule, timesteps: &'a Timesteps },
    Path(&'a Path),
}

impl<'a> PlanBuilder<'a> {
    fn of(route: Route<'a>) -> Self {
        Self {
            route,
            prediction: Prediction::default(),
            threshold: Threshold::default(),
            epsilon: EpsilonAfter::default(),
        }
    }

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
    /// [`Error::TrainSteps`] if the timesteps were made for a schedule of another length. [`Error::AtStep`] if a step is impossible: η is
    /// too large for it, the sampler adds noise on an encoding path, or the prediction does not determine x₀ there.
    ///
    /// ```
    /// # use alphabar::{Ddim, Error, NoiseSchedule, Plan, Prediction, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?.rescale_zero_terminal_snr()?;
    /// let tau = Timesteps::trailing(1000, 10)?;
    /// // ε says nothing about x₀ if there is no signal.
    /// let error = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap_err();
    /// assert!(matches!(error, Error::AtStep { index: 0, t: 999.0, .. }));
    /// assert!(
    ///     Plan::builder(&schedule, &tau)
    ///         .prediction(Prediction::Velocity)
    ///         .build(&Ddim::new(1.0)?)
    ///         .is_ok()
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn build(&self, solver: &impl Solver) -> Result<Plan, Error> {
        match self.route {
            Route::Trained { schedule, timesteps } => {
                let path = Path::trained(schedule, timesteps)?;
                self.build_legs(solver, &path.legs()?, path.starts_in_noise())
            }
            Route::Path(path) => self.build_legs(solver, &path.legs()?, path.starts_in_noise()),
        }
    }

    /// The plan of these legs. A leg may end at another level than the next one starts from.
    pub(crate) fn build_legs(&self, solver: &impl Solver, legs: &Legs<'_>, from_noise: bool) -> Result<Plan, Error> {
        let rows = solver.rows(legs)?;
        require_count("rows of a sampler", rows.len(), 1, MAX_ROWS)?;
        let lasts = lifetimes(&rows)?;
        let mut steps = Vec::with_capacity(rows.len());
        for (index, (row, lasts)) in rows.iter().zip(lasts).enumerate() {
            let mut step = self.step(solver, row, lasts).map_err(|error| error.at_step(index, row.call.t))?;
            step.index = index;
            steps.push(step);
        }
        let mut plan = Plan { method: solver.name().to_owned(), prediction: self.prediction, from_noise, steps };
        plan.mark();
        Ok(plan)
    }

    /// The step of a row, with the coefficients for the network's prediction.
    fn step(&self, solver: &impl Solver, row: &Row, lasts: usize) -> Result<Step, Error> {
        let Row { call, starts, from, to, s, lift, leg, combination, history, keeps } = row;
        // New noise could not be followed back, so a step that adds noise must not go to more noise.
        if combination.z() > 0.0 {
            Leg::new(*starts, *to).require_denoising(solver.name())?;
        }
        let (combination, k) = match lift {
            Some(lift) => combination.lifted(to, lift),
            None => (*combination, Dd::ONE),
        };
        let mut coefficients = Coefficients::new(self.prediction, from, combination, self.threshold, self.epsilon)?;
        if lasts > 0 || !history.is_empty() {
            if combination.learned_noise().is_some() {
                return Err(Error::Unsupported {
                    operation: "a learned variance in a row with memory; use Ddpm, which has no memory",
                });
            }
            let history = history.iter().map(|(age, weight)| (*age, (k * *weight).to_f64()));
            let keeps = keeps.filter(|_| lasts > 0).map(|keeps| (keeps, lasts));
            coefficients = coefficients.remembering(history, keeps, self.prediction, from)?;
        }
        Ok(Step {
            index: 0,
            t: call.t,
            s: *s,
            from: *from,
            to: lift.map_or(*to, |lift| lift.to),
            conditioned_on: call.level,
            input_scale: call.input_scale,
            eta: solver.eta(*leg),
            learned_noise: combination.learned_noise(),
            coefficients,
            starts: *starts,
            mark: 0,
        })
    }

    /// The schedule and the timesteps, if the plan is along a trained table; for [`compat`](crate::compat).
    pub(crate) fn trained(&self) -> Result<(&'a NoiseSchedule, &'a Timesteps), Error> {
        match self.route {
            Route::Trained { schedule, timesteps } => Ok((schedule, timesteps)),
            Route::Path(_) => Err(Error::Untrained),
        }
    }

    /// These choices along other timesteps of a table.
    pub(crate) fn through(self, schedule: &'a NoiseSchedule, timesteps: &'a Timesteps) -> Self {
        Self { route: Route::Trained { schedule, timesteps }, ..self }
    }
}

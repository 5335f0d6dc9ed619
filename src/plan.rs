//! A whole sampling trajectory as a table, known before the first network call.

use core::fmt;

use crate::coefficients::{Coefficients, EpsilonAfter, Threshold};
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::path::{Path, Piece, Point};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Leg, Solver};
use crate::timesteps::Timesteps;

/// One step of a [`Plan`].
///
/// ```
/// use alphabar::{Ddim, NoiseLevel, NoiseSchedule, Plan, Timesteps};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 2)?, &Ddim::deterministic())?;
/// let last = &plan.steps()[1];
/// assert_eq!((last.index, last.t, last.s), (1, 499.0, None));
/// assert_eq!(last.to, NoiseLevel::CLEAN);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Its place in the plan, from 0. Noise is keyed by it.
    pub index: usize,
    /// What the network is fed: for a trained table the index of the training step.
    pub t: f64,
    /// The t of the level that the step arrives at; `None` for clean data.
    pub s: Option<f64>,
    /// The level that x is at.
    pub from: NoiseLevel,
    /// The level that x′ is at.
    pub to: NoiseLevel,
    /// The noise level passed to the network. It equals `from`, except in DDIM inversion with `Conditioning::Destination`, where it
    /// equals `to`.
    pub conditioned_on: NoiseLevel,
    /// The network is fed this times x: EDM's c_in, 1 where it takes x as it is.
    pub input_scale: f64,
    /// DDIM's η at this step, where the method has one.
    pub eta: Option<f64>,
    /// For networks that also predict how much noise is to be added, with as many channels again of v: the k of exp(k·v), by
    /// which z is multiplied, element by element. `None` for networks whose output has the shape of x.
    pub learned_noise: Option<f64>,
    /// The arithmetic of the step.
    pub coefficients: Coefficients,
}

impl Step {
    /// What the network is told at this step.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 2)?, &Ddim::deterministic())?;
    /// assert_eq!(plan.steps()[0].point().t, 999.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn point(&self) -> Point {
        Point { t: self.t, level: self.conditioned_on, input_scale: self.input_scale, index: self.index }
    }

    /// Whether the step adds noise.
    ///
    /// ```
    /// # use alphabar::{Ddpm, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 2)?, &Ddpm::default())?;
    /// assert_eq!(plan.steps().iter().map(|step| step.needs_noise()).collect::<Vec<_>>(), [true, false]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn needs_noise(&self) -> bool {
        self.coefficients.needs_noise()
    }
}

/// A sampling trajectory: every step with its levels and coefficients, computed once and never changed.
///
/// A plan is to a sampler what its tableau is to a Runge–Kutta method: immutable, printable, comparable, `Send + Sync`, and
/// shared by as many runs as there are. It holds no state of a run.
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, Prediction, Threshold, Timesteps};
///
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let plan = Plan::builder(&schedule, &Timesteps::trailing(1000, 20)?)
///     .prediction(Prediction::Velocity)
///     .threshold(Threshold::Clip(1.0))
///     .build(&Ddim::new(0.5)?)?;
/// assert_eq!(plan.len(), 20);
/// println!("{plan}");
/// for odd in plan.lint() {
///     println!("{odd}");
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    method: String,
    prediction: Prediction,
    steps: Vec<Step>,
}

impl Plan {
    /// The plan for a network that predicts ε, without a threshold. [`Plan::builder`] offers the rest.
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

    /// A plan along τ through a schedule, with everything else still to choose.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Prediction, Timesteps};
    /// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Sample).build(&Ddim::deterministic())?;
    /// assert_eq!(plan.prediction(), Prediction::Sample);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn builder<'a>(schedule: &'a NoiseSchedule, timesteps: &'a Timesteps) -> PlanBuilder<'a> {
        PlanBuilder::of(Route::Trained { schedule, timesteps })
    }

    /// The plan along any path, for a network that predicts ε, without a threshold. [`Plan::builder_along`] offers the rest.
    ///
    /// # Errors
    /// As [`PlanBuilder::build`].
    pub fn along(path: &Path, solver: &impl Solver) -> Result<Self, Error> {
        Self::builder_along(path).build(solver)
    }

    /// A plan along any path, with everything else still to choose.
    pub fn builder_along(path: &Path) -> PlanBuilder<'_> {
        PlanBuilder::of(Route::Path(path))
    }

    /// The steps, in order. A run that resumes takes `&plan.steps()[i..]`.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Ddim::deterministic())?;
    /// let ts: Vec<f64> = plan.steps().iter().map(|step| step.t).collect();
    /// assert_eq!(ts, [999.0, 749.0, 499.0, 249.0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The number of steps, and of network calls; never 0.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// assert_eq!(Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Ddim::deterministic())?.len(), 4);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a plan is never empty")]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// What the network is taken to predict.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Prediction, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Ddim::deterministic())?;
    /// assert_eq!(plan.prediction(), Prediction::Epsilon);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The level of the x that the first step takes.
    ///
    /// To start from an image, noise it to this level: [`forward::add_noise`](crate::forward::add_noise).
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let halfway = Timesteps::leading(1000, 50, 0)?.with_strength(0.5)?;
    /// let plan = Plan::new(&schedule, &halfway, &Ddim::deterministic())?;
    /// assert_eq!(plan.start(), schedule.level(480)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn start(&self) -> NoiseLevel {
        self.steps.first().map_or(NoiseLevel::CLEAN, |step| step.from)
    }

    /// The level of the x that the last step gives.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseLevel, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Ddim::deterministic())?;
    /// assert_eq!(plan.end(), NoiseLevel::CLEAN);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> NoiseLevel {
        self.steps.last().map_or(NoiseLevel::CLEAN, |step| step.to)
    }

    /// What is odd about this plan, if anything. Nothing found here is an error; all of it has surprised somebody.
    ///
    /// ```
    /// # use alphabar::{Ddim, Lint, NoiseSchedule, Plan, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// let plan = Plan::new(&schedule, &Timesteps::leading(1000, 20, 1)?, &Ddim::deterministic())?;
    /// // The first of 20 leading steps starts at t = 951, where ᾱ = 0.0077: 9 % of the image is expected to be there.
    /// assert!(matches!(plan.lint()[..], [Lint::StartsWithSignal { .. }]));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn lint(&self) -> Vec<Lint> {
        let mut found = Vec::new();
        let noisiest = self.steps.iter().max_by(|a, b| {
            let (a, b) = (noisier_end(a), noisier_end(b));
            a.one_minus_alpha_bar().total_cmp(&b.one_minus_alpha_bar())
        });
        if let Some(step) = noisiest {
            let level = noisier_end(step);
            if level.alpha_bar() > LITTLE_SIGNAL {
                let t = if step.from == level { step.t } else { step.s.unwrap_or(step.t) };
                found.push(Lint::StartsWithSignal { t, alpha_bar: level.alpha_bar() });
            }
        }
        let generates = self.steps.iter().any(|step| step.from.gap_to(&step.to).to_f64() < 0.0);
        if generates && !self.end().is_clean() {
            found.push(Lint::EndsAboveClean { alpha_bar: self.end().alpha_bar() });
        }
        for (step, next) in self.steps.iter().zip(self.steps.iter().skip(1)) {
            if step.to != next.from {
                let (arrives, leaves) = (step.to.alpha_bar(), next.from.alpha_bar());
                found.push(Lint::Disconnected { index: step.index, arrives, leaves });
            }
        }
        for step in &self.steps {
            let index = step.index;
            if let Some(eta) = step.eta.filter(|&eta| eta > 1.0) {
                found.push(Lint::EtaAboveOne { index, eta });
            }
            if step.from == step.to {
                found.push(Lint::StandsStill { index, t: step.t });
            }
            let k = &step.coefficients;
            // Of the two forms of a step, the one that is used.
            let factors = match k.threshold {
                Threshold::None => [("x", k.x), ("m", k.model)],
                _ => [("x in x̂₀", k.p), ("m in x̂₀", k.q)],
            };
            for (of, factor) in factors {
                if factor.abs() > LARGE_FACTOR {
                    found.push(Lint::Amplifies { index, of, factor });
                }
            }
        }
        found
    }
}

/// ᾱ up to which a start is taken for noise: 3 % of the amplitude.
const LITTLE_SIGNAL: f64 = 1e-3;
/// A factor from which on the rounding of an `f32` is seen in eight bits: 2⁻²⁴·1000·128 is about 1/130.
const LARGE_FACTOR: f64 = 1e3;

fn noisier_end(step: &Step) -> NoiseLevel {
    if step.from.gap_to(&step.to).to_f64() > 0.0 { step.to } else { step.from }
}

/// Something odd about a plan: [`Plan::lint`].
///
/// ```
/// use alphabar::Lint;
///
/// let odd = Lint::EtaAboveOne { index: 3, eta: 1.2 };
/// assert_eq!(odd.to_string(), "step 3: η = 1.2 adds more noise than DDPM's posterior");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Lint {
    /// The noisiest level of the path still holds signal: x_T ~ N(0, I) is not what the network saw there. As it should be
    /// for a start from an image.
    StartsWithSignal {
        /// The t of that level.
        t: f64,
        /// Its ᾱ.
        alpha_bar: f64,
    },
    /// The last x still holds noise.
    EndsAboveClean {
        /// ᾱ there.
        alpha_bar: f64,
    },
    /// η > 1 adds more noise than DDPM's posterior has.
    EtaAboveOne {
        /// The step.
        index: usize,
        /// Its η.
        eta: f64,
    },
    /// A step from a level to itself: a network call for nothing.
    StandsStill {
        /// The step.
        index: usize,
        /// Its t.
        t: f64,
    },
    /// A step arrives at a level from which the next does not start, as some of [`compat`](crate::compat) do.
    Disconnected {
        /// The step.
        index: usize,
        /// ᾱ where it arrives.
        arrives: f64,
        /// The ᾱ that the next one takes x to be at.
        leaves: f64,
    },
    /// A coefficient so large that it lifts the rounding errors of `f32` into sight.
    Amplifies {
        /// The step.
        index: usize,
        /// What it multiplies.
        of: &'static str,
        /// The coefficient.
        factor: f64,
    },
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsWithSignal { t, alpha_bar } => {
                write!(
                    f,
                    "the noisiest level, t = {t}, has ᾱ = {alpha_bar:.3e}: pure noise is not quite what belongs there"
                )
            }
            Self::EndsAboveClean { alpha_bar } => write!(f, "the path ends at ᾱ = {alpha_bar:.6}, above clean data"),
            Self::EtaAboveOne { index, eta } => {
                write!(f, "step {index}: η = {eta} adds more noise than DDPM's posterior")
            }
            Self::StandsStill { index, t } => write!(f, "step {index} (t = {t}) goes from a level to itself"),
            Self::Disconnected { index, arrives, leaves } => {
                write!(f, "step {index} arrives at ᾱ = {arrives:.6} and the next one starts from ᾱ = {leaves:.6}")
            }
            Self::Amplifies { index, of, factor } => {
                write!(f, "step {index} multiplies {of} by {factor:.3e}, and its rounding errors with it")
            }
        }
    }
}

/// The choices that make a [`Plan`].
///
/// ```
/// use alphabar::{Ddim, EpsilonAfter, NoiseSchedule, Plan, Threshold, Timesteps};
///
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
/// let plan = Plan::builder(&schedule, &tau)
///     .threshold(Threshold::Dynamic { ratio: 0.995, max: 1.5 })
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

/// Where a plan goes.
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

    /// What the network predicts; ε unless said otherwise.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Prediction, Timesteps};
    /// # let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&Ddim::deterministic())?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = prediction;
        self
    }

    /// What is done to x̂₀; nothing unless said otherwise.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Threshold, Timesteps};
    /// # let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddim::deterministic())?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.threshold = threshold;
        self
    }

    /// Which ε goes with a thresholded x̂₀; the network's unless said otherwise.
    ///
    /// ```
    /// # use alphabar::{Ddim, EpsilonAfter, NoiseSchedule, Plan, Threshold, Timesteps};
    /// # let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau)
    ///     .threshold(Threshold::Clip(1.0))
    ///     .epsilon_after(EpsilonAfter::Threshold)
    ///     .build(&Ddim::deterministic())?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn epsilon_after(mut self, epsilon: EpsilonAfter) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// The plan.
    ///
    /// # Errors
    /// [`Error::Length`] where τ was made for a schedule of another length; [`Error::AtStep`] with the step at which the
    /// method is impossible: an η too large, a method with noise on an encoding path, a prediction that determines no x₀.
    ///
    /// ```
    /// # use alphabar::{Ddim, Error, NoiseSchedule, Plan, Prediction, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?.rescale_zero_terminal_snr()?;
    /// let tau = Timesteps::trailing(1000, 10)?;
    /// // ε says nothing about x₀ where there is no signal.
    /// let error = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap_err();
    /// assert!(matches!(error, Error::AtStep { index: 0, t: 999, .. }));
    /// assert!(Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&Ddim::new(1.0)?).is_ok());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn build(&self, solver: &impl Solver) -> Result<Plan, Error> {
        let pieces = match self.route {
            Route::Trained { schedule, timesteps } => Path::trained(schedule, timesteps)?.pieces()?,
            Route::Path(path) => path.pieces()?,
        };
        self.build_pieces(solver, pieces)
    }

    /// The plan of given pieces, which need not join.
    pub(crate) fn build_pieces(&self, solver: &impl Solver, pieces: Vec<Piece>) -> Result<Plan, Error> {
        let total = pieces.len();
        let mut steps = Vec::with_capacity(total);
        for (index, piece) in pieces.into_iter().enumerate() {
            let Piece { told, s, from, to, lift } = piece;
            let leg = Leg { index, steps: total, from, to };
            let (coefficients, learned_noise) = solver
                .combine(&leg)
                .and_then(|combination| {
                    // Only what is kept of the noise can be walked back along.
                    if combination.z() > 0.0 {
                        leg.require_denoising(solver.name())?;
                    }
                    if let Some(k) = combination.learned_noise() {
                        require(k.is_finite(), "the factor of a learned log σ", k, "finite")?;
                    }
                    let combination = match &lift {
                        Some(lift) => combination.lifted(&to, lift),
                        None => combination,
                    };
                    let coefficients =
                        Coefficients::new(self.prediction, &from, combination, self.threshold, self.epsilon)?;
                    Ok((coefficients, combination.learned_noise()))
                })
                .map_err(|error| error.at_step(index, told.t))?;
            steps.push(Step {
                index,
                t: told.t,
                s,
                from,
                to: lift.map_or(to, |lift| lift.to),
                conditioned_on: told.level,
                input_scale: told.input_scale,
                eta: solver.eta(index),
                learned_noise,
                coefficients,
            });
        }
        Ok(Plan { method: solver.name().to_owned(), prediction: self.prediction, steps })
    }
}

/// For [`compat`](crate::compat).
impl<'a> PlanBuilder<'a> {
    /// The schedule and τ of a plan that goes along a trained table.
    pub(crate) fn trained(&self) -> Result<(&'a NoiseSchedule, &'a Timesteps), Error> {
        match self.route {
            Route::Trained { schedule, timesteps } => Ok((schedule, timesteps)),
            Route::Path(_) => Err(Error::Untrained),
        }
    }

    /// The same choices along another path.
    pub(crate) fn through(self, schedule: &'a NoiseSchedule, timesteps: &'a Timesteps) -> Self {
        Self { route: Route::Trained { schedule, timesteps }, ..self }
    }
}

impl fmt::Display for Plan {
    /// A table with a line a step: t, s, their ᾱ, σ = d, and the coefficients in use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thresholded = self.steps.iter().any(|step| step.coefficients.threshold != Threshold::None);
        writeln!(f, "{}, {}, {} steps", self.method, self.prediction, self.len())?;
        if thresholded {
            writeln!(f, "x̂₀ = threshold(p·x + q·m)   x′ = a·x̂₀ + b·x + c·m + d·z")?;
        } else {
            writeln!(f, "x′ = A·x + B·m + d·z")?;
        }
        write!(f, "{:>4} {:>8} {:>8} {:>11} {:>11}", "step", "t", "s", "ᾱ_t", "ᾱ_s")?;
        let names: &[&str] = if thresholded { &["p", "q", "a", "b", "c", "σ = d"] } else { &["A", "B", "σ = d"] };
        for name in names {
            write!(f, " {name:>11}")?;
        }
        for step in &self.steps {
            let s = step.s.map_or_else(|| "clean".to_owned(), |s| Time(s).to_string());
            let (from, to) = (step.from.alpha_bar(), step.to.alpha_bar());
            write!(f, "\n{:>4} {:>8} {s:>8} {} {}", step.index, Time(step.t).to_string(), Cell(from), Cell(to))?;
            let k = &step.coefficients;
            let values: &[f64] = if thresholded { &[k.p, k.q, k.a, k.b, k.c, k.d] } else { &[k.x, k.model, k.d] };
            for value in values {
                write!(f, " {}", Cell(*value))?;
            }
        }
        Ok(())
    }
}

/// A t: whole, or with three digits.
struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.fract() == 0.0 { write!(f, "{}", self.0) } else { write!(f, "{:.3}", self.0) }
    }
}

/// A number in eleven columns.
struct Cell(f64);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.abs();
        if magnitude == 0.0 || (1e-3..1e4).contains(&magnitude) {
            write!(f, "{:>11.6}", self.0)
        } else {
            write!(f, "{:>11.3e}", self.0)
        }
    }
}

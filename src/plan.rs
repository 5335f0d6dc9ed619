//! A whole sampling trajectory as a table, known before the first network call.

use core::fmt;

use crate::coefficients::{Coefficients, EpsilonAfter, Threshold};
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Leg, Solver};
use crate::timesteps::{Conditioning, Direction, PathEnd, Timesteps};

/// What a network is told: the index t it was trained with, and the noise level there.
///
/// Networks that are conditioned on σ or on log-SNR read the level.
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
    /// The index of the training step, 0-based.
    pub t: usize,
    /// The level of noise.
    pub level: NoiseLevel,
    /// The index of the sampling step in its plan, from 0; 0 for a point that belongs to no plan.
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
    /// Its place in the plan, from 0. Noise is keyed by it.
    pub index: usize,
    /// The index that the network is fed.
    pub t: usize,
    /// The index of the level that the step arrives at; `None` is clean data.
    pub s: Option<usize>,
    /// The level that x is at.
    pub from: NoiseLevel,
    /// The level that x′ is at.
    pub to: NoiseLevel,
    /// The noise level passed to the network. It equals `from`, except in DDIM inversion with `Conditioning::Destination`, where it
    /// equals `to`.
    pub conditioned_on: NoiseLevel,
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
    /// assert_eq!(plan.steps()[0].point().t, 999);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn point(&self) -> Point {
        Point { t: self.t, level: self.conditioned_on, index: self.index }
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
        PlanBuilder {
            schedule,
            timesteps,
            prediction: Prediction::default(),
            threshold: Threshold::default(),
            epsilon: EpsilonAfter::default(),
        }
    }

    /// The steps, in order. A run that resumes takes `&plan.steps()[i..]`.
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps};
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Ddim::deterministic())?;
    /// let ts: Vec<usize> = plan.steps().iter().map(|step| step.t).collect();
    /// assert_eq!(ts, [999, 749, 499, 249]);
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
    /// assert!(matches!(plan.lint()[..], [Lint::StartsWithSignal { t: 951, .. }]));
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
        /// The index of that level.
        t: usize,
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
        t: usize,
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
    schedule: &'a NoiseSchedule,
    timesteps: &'a Timesteps,
    prediction: Prediction,
    threshold: Threshold,
    epsilon: EpsilonAfter,
}

impl PlanBuilder<'_> {
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
        self.check_length()?;
        self.build_hops(solver, self.hops()?)
    }

    pub(crate) fn check_length(&self) -> Result<(), Error> {
        let train_steps = self.schedule.len();
        if self.timesteps.train_steps() != train_steps {
            let found = self.timesteps.train_steps();
            return Err(Error::Length { what: "training steps of τ", expected: train_steps, found });
        }
        Ok(())
    }

    /// The plan of given pieces, which need not join.
    pub(crate) fn build_hops(&self, solver: &impl Solver, hops: Vec<Hop>) -> Result<Plan, Error> {
        let total = hops.len();
        let mut steps = Vec::with_capacity(total);
        for (index, hop) in hops.into_iter().enumerate() {
            let Hop { t, s, from, to, conditioned_on } = hop;
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
        Ok(Plan { method: solver.name().to_owned(), prediction: self.prediction, steps })
    }

    /// Who follows whom: the levels between which the path goes, and what the network is told on the way.
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

    /// The same choices along another path.
    pub(crate) fn along(self, timesteps: &'a Timesteps) -> Self {
        Self { timesteps, ..self }
    }

    /// The level a stride below t, which past t = 0 is the end of the path.
    pub(crate) fn below(&self, t: usize, stride: usize) -> Result<(Option<usize>, NoiseLevel), Error> {
        match t.checked_sub(stride) {
            Some(s) => Ok((Some(s), self.schedule.level(s)?)),
            None => self.end(),
        }
    }
}

/// One piece of a path, before a method is chosen.
pub(crate) struct Hop {
    pub(crate) t: usize,
    pub(crate) s: Option<usize>,
    pub(crate) from: NoiseLevel,
    pub(crate) to: NoiseLevel,
    pub(crate) conditioned_on: NoiseLevel,
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
        write!(f, "{:>4} {:>6} {:>6} {:>11} {:>11}", "step", "t", "s", "ᾱ_t", "ᾱ_s")?;
        let names: &[&str] = if thresholded { &["p", "q", "a", "b", "c", "σ = d"] } else { &["A", "B", "σ = d"] };
        for name in names {
            write!(f, " {name:>11}")?;
        }
        for step in &self.steps {
            let s = step.s.map_or_else(|| "clean".to_owned(), |s| s.to_string());
            let (from, to) = (step.from.alpha_bar(), step.to.alpha_bar());
            write!(f, "\n{:>4} {:>6} {s:>6} {} {}", step.index, step.t, Cell(from), Cell(to))?;
            let k = &step.coefficients;
            let values: &[f64] = if thresholded { &[k.p, k.q, k.a, k.b, k.c, k.d] } else { &[k.x, k.model, k.d] };
            for value in values {
                write!(f, " {}", Cell(*value))?;
            }
        }
        Ok(())
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

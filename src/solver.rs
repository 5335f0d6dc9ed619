//! Samplers: how a step combines x̂₀, x, ε and z.
//!
//! A sampler makes the rows of a table, one for each call of the network. A row says with which weights the predicted x̂₀, the current
//! x, the predicted ε, fresh noise z and the outputs of earlier calls make up the next x. The weights depend on noise levels only, so a
//! sampler fits any schedule, spacing, prediction type and tensor.

pub(crate) mod adams;
mod builtin;
mod consistency;
mod corrector;
mod ddim;
mod ddpm;
mod dpm_solver;
mod euler;
mod flow_heun;
mod orders;
mod pndm;
pub(crate) mod rule;
mod runge_kutta;
mod sa_solver;
mod single_step;
mod stages;
mod two_stage;
mod unipc;

pub use adams::{Deis, FlowAdamsBashforth, Ipndm, Lms};
pub use builtin::BuiltinSolver;
pub use consistency::{Lcm, Renoise, Tcd};
pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};
pub use dpm_solver::{DpmSolver, DpmSolverPp, Interpolation};
pub use euler::{Euler, EulerAncestral, FlowSde};
pub use flow_heun::FlowHeun;
pub use orders::{FinalOrder, Orders};
pub use pndm::{Middle, Pndm};
pub use runge_kutta::{Dpm2, Heun, Rk4};
pub use sa_solver::{SaSolver, Tau};
pub use single_step::SingleStep;
pub use two_stage::TwoStage;
pub use unipc::{UniPc, UniPcWeights};

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Lift, Point};
use crate::prediction::Prediction;

/// A sampler: makes the rows of a [`Plan`](crate::Plan).
///
/// A sampler without memory that calls the network once per step implements [`Solver::combine`], a function of one leg:
///
/// ```
/// use alphabar::{Combination, Error, Leg, NoiseSchedule, Plan, Solver, Timesteps};
///
/// /// Jumps to x̂₀ and adds new noise: the multistep sampler of consistency models (Song et al. 2023, Algorithm 1).
/// struct Renoise;
///
/// impl Solver for Renoise {
///     fn name(&self) -> &'static str {
///         "renoise"
///     }
///     fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
///         Ok(Combination::new(leg.to.signal(), 0.0, 0.0, leg.to.noise()))
///     }
/// }
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Renoise)?;
/// assert_eq!(plan.steps()[3].coefficients.d, 0.0);
/// # Ok::<(), Error>(())
/// ```
///
/// Any other sampler implements [`Solver::rows`], a function of all legs of a path. DPM-Solver++ 2M, for example, extrapolates x̂₀
/// from the previous call:
///
/// ```
/// use alphabar::{Combination, DpmSolverPp, Error, Legs, NoiseSchedule, Orders, Path, Plan, Prediction, Row, Solver};
///
/// /// Lu et al. 2022 (arXiv 2211.01095), Algorithm 2.
/// struct TwoM;
///
/// impl Solver for TwoM {
///     fn name(&self) -> &'static str {
///         "2M"
///     }
///     fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
///         let mut before = f64::INFINITY;
///         let rows = legs.iter().map(|leg| {
///             let (h, s) = (leg.h(), &leg.to);
///             let w = 1.0 - (-h).exp();
///             // The weight of the difference of the two outputs. It is 0 at the first step, and if λ is infinite.
///             let c = if h.is_finite() { 0.5 * w * h / before } else { 0.0 };
///             before = h;
///             Row::new(leg, Combination::new(s.signal() * (w + c), s.noise() / leg.from.noise(), 0.0, 0.0))
///                 .with_history([(1, -s.signal() * c)])
///                 .keeping(Prediction::Sample)
///         });
///         Ok(rows.collect())
///     }
/// }
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// let (plan, built_in) = (Plan::along(&path, &TwoM)?, Plan::along(&path, &DpmSolverPp::multistep(2)?)?);
/// for (step, same) in plan.steps().iter().zip(built_in.steps()) {
///     let (k, same) = (step.coefficients, same.coefficients);
///     assert!((k.x - same.x).abs() < 1e-12 && (k.history.weight(1) - same.history.weight(1)).abs() < 1e-12);
/// }
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "sampler")]
#[doc(alias = "scheduler")]
pub trait Solver {
    /// The sampler's name in a printed plan.
    fn name(&self) -> &'static str;

    /// The weights of one step, for a sampler without memory that calls the network once per leg. Other samplers implement
    /// [`Solver::rows`] instead.
    ///
    /// # Errors
    /// An error if the sampler cannot take this step, for example because its η is too large for it.
    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        let _ = leg;
        let operation =
            "Solver::combine by this sampler; call Solver::rows (a custom sampler must implement one of the two)";
        Err(Error::Unsupported { operation })
    }

    /// The rows of a whole path, one for each call of the network, in the order of the calls.
    ///
    /// By default [`Solver::combine`] makes one row for each leg, without memory.
    ///
    /// # Errors
    /// [`Error::AtStep`] for a leg that the sampler cannot take.
    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg(legs, |leg| Ok(Row::new(leg, self.combine(leg)?)))
    }

    /// η at the leg with this index, if the sampler has one. Printing and [`Plan::lint`](crate::Plan::lint) use it.
    fn eta(&self, index: usize) -> Option<f64> {
        let _ = index;
        None
    }
}

impl<S: Solver + ?Sized> Solver for &S {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        (**self).combine(leg)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        (**self).rows(legs)
    }

    fn eta(&self, index: usize) -> Option<f64> {
        (**self).eta(index)
    }
}

impl<S: Solver + ?Sized> Solver for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        (**self).combine(leg)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        (**self).rows(legs)
    }

    fn eta(&self, index: usize) -> Option<f64> {
        (**self).eta(index)
    }
}

/// One row for each leg; an error names the leg.
pub(crate) fn each_leg(legs: &Legs<'_>, mut row: impl FnMut(&Leg) -> Result<Row, Error>) -> Result<Vec<Row>, Error> {
    legs.iter().map(|leg| row(leg).map_err(|error| error.at_step(leg.index, leg.call.t))).collect()
}

/// Any number of rows for each leg; an error names the row.
pub(crate) fn each_leg_rows(
    legs: &Legs<'_>,
    mut rows: impl FnMut(&Leg) -> Result<Vec<Row>, Error>,
) -> Result<Vec<Row>, Error> {
    let mut all = Vec::with_capacity(legs.len());
    for leg in legs.iter() {
        let of_leg = rows(leg).map_err(|error| error.at_step(all.len(), leg.call.t))?;
        all.extend(of_leg);
    }
    Ok(all)
}

/// One row of the table: what happens at one call of the network.
///
/// ```text
/// x′ = x0·x̂₀ + x·x + epsilon·ε + z·z + Σ_j g_j·y_j
/// ```
///
/// x̂₀ and ε belong to this call. y_j is what the row of j calls ago kept: its x̂₀, its ε, another form of its prediction, or its x.
/// A row without memory reads no y and keeps nothing.
///
/// A row may be set to keep an output that no later row reads. [`Plan`](crate::Plan) does not store such outputs.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Row {
    pub(crate) call: Point,
    /// The level of x at the start of the leg. `from` is the level of x at this call, which may lie further on in the leg.
    pub(crate) starts: NoiseLevel,
    pub(crate) from: NoiseLevel,
    pub(crate) to: NoiseLevel,
    pub(crate) s: Option<f64>,
    pub(crate) lift: Option<Lift>,
    pub(crate) leg: usize,
    pub(crate) combination: Combination,
    pub(crate) history: Vec<(usize, Dd)>,
    pub(crate) keeps: Option<Keeps>,
}

/// What a row keeps for later rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keeps {
    Output(Prediction),
    /// The x of the call.
    X,
}

impl Row {
    /// The row that takes x from the start of a leg to its end.
    pub fn new(leg: &Leg, combination: Combination) -> Self {
        let Leg { call, from, to, s, lift, index, .. } = *leg;
        Self { call, starts: from, from, to, s, lift, leg: index, combination, history: Vec::new(), keeps: None }
    }

    /// This row, arriving at another point than the end of the leg. Noise that a path adds between its legs is not added here.
    ///
    /// ```
    /// use alphabar::{Combination, Error, Legs, NoiseSchedule, Path, Plan, Prediction, Row, Solver};
    ///
    /// /// The explicit midpoint rule for σ = noise/signal: two calls per leg, and one for the last leg, to clean data.
    /// struct Midpoint;
    ///
    /// impl Solver for Midpoint {
    ///     fn name(&self) -> &'static str {
    ///         "midpoint"
    ///     }
    ///     fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
    ///         let mut rows = Vec::new();
    ///         for leg in legs.iter() {
    ///             let (from, to) = (leg.from.sigma(), leg.to.sigma());
    ///             if leg.to.is_clean() {
    ///                 rows.push(Row::new(leg, Combination::new(leg.to.signal(), 0.0, 0.0, 0.0)));
    ///                 continue;
    ///             }
    ///             let middle = legs.at_sigma(0.5 * (from + to))?;
    ///             // x/signal moves by Δσ·ε: to the middle with the first ε; then with the second ε, taking back the first.
    ///             let (half, signals) = (middle.level.sigma() - from, [leg.from.signal(), middle.level.signal(), leg.to.signal()]);
    ///             let first = Combination::new(0.0, signals[1] / signals[0], signals[1] * half, 0.0);
    ///             let second = Combination::new(0.0, signals[2] / signals[1], signals[2] * (to - from), 0.0);
    ///             rows.push(Row::new(leg, first).to(&middle).keeping(Prediction::Epsilon));
    ///             rows.push(Row::new(leg, second).called_at(&middle).with_history([(1, -signals[2] * half)]));
    ///         }
    ///         Ok(rows)
    ///     }
    /// }
    ///
    /// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
    /// assert_eq!(Plan::along(&path, &Midpoint)?.len(), 19);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to(self, to: &Point) -> Self {
        Self { to: to.level, s: Some(to.t), lift: None, ..self }
    }

    /// This row, with its network call at another point than the start of the leg: a point at which an earlier row of the leg arrived.
    ///
    /// In the combination, x, x̂₀ and ε then belong to the level of that point.
    pub fn called_at(self, at: &Point) -> Self {
        Self { call: *at, from: at.level, ..self }
    }

    /// This row with earlier outputs in x′: pairs of an age and a weight. The output of the previous call has the age 1.
    pub fn with_history(self, terms: impl IntoIterator<Item = (usize, f64)>) -> Self {
        self.with_history_dd(terms.into_iter().map(|(age, weight)| (age, Dd::from(weight))))
    }

    pub(crate) fn with_history_dd(self, terms: impl IntoIterator<Item = (usize, Dd)>) -> Self {
        let history = terms.into_iter().filter(|(_, weight)| !weight.is_zero()).collect();
        Self { history, ..self }
    }

    /// This row, keeping its output in this form for later rows: [`Prediction::Sample`] for x̂₀, [`Prediction::Epsilon`] for ε.
    ///
    /// With a threshold, it keeps the thresholded x̂₀ or the ε that follows from it, whichever [`EpsilonAfter`](crate::EpsilonAfter) the
    /// plan has.
    pub fn keeping(self, output: Prediction) -> Self {
        Self { keeps: Some(Keeps::Output(output)), ..self }
    }

    /// This row, keeping the x of its call instead of an output: for samplers that return to that x after noise was added to x′.
    ///
    /// ```
    /// use alphabar::{Combination, Error, Legs, NoiseSchedule, Path, Plan, Row, Solver};
    ///
    /// /// Looks ahead: goes to the end of each leg with new noise, then steps from the same x again with the x̂₀ predicted there.
    /// struct Ahead;
    ///
    /// impl Solver for Ahead {
    ///     fn name(&self) -> &'static str {
    ///         "ahead"
    ///     }
    ///     fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
    ///         let mut rows = Vec::new();
    ///         for leg in legs.iter() {
    ///             let (s, ratio) = (leg.to.signal(), leg.to.noise() / leg.from.noise());
    ///             let Some(arrives) = leg.arrives.filter(|_| !leg.to.is_clean()) else {
    ///                 rows.push(Row::new(leg, Combination::new(s, 0.0, 0.0, 0.0)));
    ///                 continue;
    ///             };
    ///             let probe = Combination::new(s, 0.0, 0.0, leg.to.noise());
    ///             let step = Combination::new(s - ratio * leg.from.signal(), 0.0, 0.0, 0.0);
    ///             rows.push(Row::new(leg, probe).keeping_x());
    ///             rows.push(Row::new(leg, step).called_at(&arrives).with_history([(1, ratio)]));
    ///         }
    ///         Ok(rows)
    ///     }
    /// }
    ///
    /// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
    /// let plan = Plan::along(&path, &Ahead)?;
    /// assert_eq!((plan.len(), plan.lint().len()), (19, 0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn keeping_x(self) -> Self {
        Self { keeps: Some(Keeps::X), ..self }
    }
}

/// The weights of one step in the sampler's own terms.
///
/// ```text
/// x′ = x0·x̂₀ + x·x + epsilon·ε + z·z
/// ```
///
/// Since x = √ᾱ·x̂₀ + √(1−ᾱ)·ε, two of x̂₀, x and ε would be enough. All three are kept, so that each sampler can be written as its
/// paper prints it: DDIM in x̂₀ and ε (Song et al. 2021, Eq. 12), DDPM in x̂₀ and x (Ho et al. 2020, Eq. 7). With a threshold the
/// choice changes the result.
///
/// ```
/// use alphabar::Combination;
///
/// let weights = Combination::new(0.5, 0.25, 0.0, 0.1);
/// assert_eq!(
///     (weights.x0(), weights.x(), weights.epsilon(), weights.z()),
///     (0.5, 0.25, 0.0, 0.1)
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combination {
    pub(crate) x0: Dd,
    pub(crate) x: Dd,
    pub(crate) epsilon: Dd,
    pub(crate) z: Dd,
    pub(crate) learned_noise: Option<f64>,
}

impl Combination {
    /// The weights of x̂₀, x, ε and z.
    ///
    /// The weight of z is a standard deviation. A plan refuses weights that are not finite, and a negative weight of z.
    #[must_use]
    pub fn new(x0: f64, x: f64, epsilon: f64, z: f64) -> Self {
        let [x0, x, epsilon, z] = [x0, x, epsilon, z].map(Dd::from);
        Self { x0, x, epsilon, z, learned_noise: None }
    }

    /// These weights, for a network with a learned variance.
    ///
    /// The first half of the network's output channels is the prediction m, the second half is v. The step multiplies z
    /// elementwise by exp(k·v).
    ///
    /// ```
    /// # use alphabar::{Ddpm, Leg, NoiseLevel, Solver, Variance};
    /// let leg =
    ///     Leg::new(NoiseLevel::from_alpha_bar(0.25)?, NoiseLevel::from_alpha_bar(0.5)?);
    /// // v is the logarithm of the variance: σ = exp(½·v).
    /// assert_eq!(
    ///     Ddpm::new(Variance::Learned).combine(&leg)?.learned_noise(),
    ///     Some(0.5)
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "learned variance")]
    pub fn with_learned_noise(self, k: f64) -> Self {
        Self { learned_noise: Some(k), ..self }
    }

    /// The k of [`Combination::with_learned_noise`]; `None` if the network predicts only m.
    #[must_use]
    pub fn learned_noise(&self) -> Option<f64> {
        self.learned_noise
    }

    /// The weight of x̂₀.
    #[must_use]
    pub fn x0(&self) -> f64 {
        self.x0.to_f64()
    }

    /// The weight of x.
    #[must_use]
    pub fn x(&self) -> f64 {
        self.x.to_f64()
    }

    /// The weight of ε.
    #[must_use]
    pub fn epsilon(&self) -> f64 {
        self.epsilon.to_f64()
    }

    /// The weight of z: the standard deviation of the noise that the step adds.
    #[must_use]
    pub fn z(&self) -> f64 {
        self.z.to_f64()
    }

    /// This step, followed by noise that lifts x from the level where it arrives to a noisier one (churn): x″ = k·x′ + √v·z. Also
    /// returns k.
    pub(crate) fn lifted(self, arrives: &NoiseLevel, lift: &Lift) -> (Self, Dd) {
        let (k, variance) = arrives.transition_to(&lift.to);
        let added = variance * Dd::from(lift.noise).squared();
        let lifted = Self {
            x0: k * self.x0,
            x: k * self.x,
            epsilon: k * self.epsilon,
            z: ((k * self.z).squared() + added).sqrt(),
            learned_noise: self.learned_noise,
        };
        (lifted, k)
    }

    /// These weights, if all are finite and that of z is not negative.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let weights = [
            ("the weight of x̂₀", self.x0()),
            ("the weight of x", self.x()),
            ("the weight of ε", self.epsilon()),
            ("the factor of a learned log σ", self.learned_noise.unwrap_or(0.0)),
        ];
        for (name, weight) in weights {
            require(weight.is_finite(), name, weight, "finite")?;
        }
        let z = self.z();
        require(z >= 0.0 && z.is_finite(), "the weight of z", z, "finite and ≥ 0")?;
        Ok(self)
    }
}

//! DPM-Solver (Lu et al. 2022, arXiv 2206.00927) and DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), single-step.

use crate::dd::Dd;
use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Point};
use crate::phi;
use crate::solver::dpm_solver::{DpmSolver, DpmSolverPp, Interpolation, check_tau, interpolated};
use crate::solver::orders::FinalOrder;
use crate::solver::rule::{Kernel, Rule};
use crate::solver::stages::{self, until};
use crate::solver::{Row, Solver, each_leg_rows};

/// The single-step methods DPM-Solver-2 and -3, and DPM-Solver++ 2S and 3S: [`DpmSolver::single_step`], [`DpmSolverPp::single_step`].
///
/// A step uses no outputs of earlier steps; it calls the network at inner points instead. h = λ_s − λ_t with λ = ln(signal/noise), and
/// y_i is the network's ε or x̂₀ at λ_t + r_i·h. For ε, with m_q = q!·h·φ_{q+1}(h) over the whole step (Lu et al. 2022a, Algorithms 1
/// and 2):
///
/// ```text
/// order 2, r₁ = ½:         x_s = (signal_s/signal_t)·x − noise_s·(m₀·y₀ + m₀/(2r₁)·(y₁ − y₀))
/// order 3, r₁ = ⅓, r₂ = ⅔: x_s = (signal_s/signal_t)·x − noise_s·(m₀·y₀ + m₁/r₂·(y₂ − y₀))
/// inner points:            to r₁·h by order 1; to r₂·h by the exact order 2 through y₀ and y₁
/// ```
///
/// For x̂₀ (Lu et al. 2022b, Algorithm 1), m_q = q!·h·φ_{q+1}(−h) and x_s = (noise_s/noise_t)·x + signal_s·(…).
///
/// By default the inner points lie between those of the path: a step has `order` calls, and the last step, to clean data, has one. The
/// path must then know its process ([`Path::of_process`](crate::Path::of_process)). [`SingleStep::on_the_points`] uses the points of the
/// path as inner points, with one call each. [`SingleStep::stochastic`] adds noise.
///
/// ```
/// use alphabar::{DpmSolver, DpmSolverPp, FinalOrder, NoiseSchedule, Path, Plan};
///
/// let path = Path::exponential(&NoiseSchedule::stable_diffusion()?, 10)?;
/// assert_eq!(Plan::along(&path, &DpmSolver::single_step(3)?)?.len(), 9 * 3 + 1);
/// let within = DpmSolverPp::single_step(2)?.on_the_points(FinalOrder::Lowered);
/// assert_eq!(Plan::along(&path, &within)?.len(), 10);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "DPMSolverSinglestepScheduler")]
#[doc(alias = "DPM++ 2S")]
#[doc(alias = "dpmpp_2s")]
#[doc(alias = "dpm_fast")]
#[doc(alias = "2S")]
#[doc(alias = "DPM fast")]
pub struct SingleStep {
    output: Output,
    order: usize,
    interpolation: Option<Interpolation>,
    inner: Inner,
    tau: f64,
}

/// The output that is interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Output {
    Epsilon,
    X0,
}

/// The place of the inner points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Inner {
    BetweenPoints,
    OnThePoints(FinalOrder),
}

/// r₁ = ½, and r₁ = ⅓ and r₂ = ⅔, as fractions.
const FRACTIONS: [&[(f64, f64)]; 3] = [&[], &[(1.0, 2.0)], &[(1.0, 3.0), (2.0, 3.0)]];

impl DpmSolver {
    /// Single-step DPM-Solver of order 1, 2 or 3: ε is interpolated.
    ///
    /// # Errors
    /// [`Error::Count`] for another order.
    #[doc(alias = "DPM-Solver-2")]
    #[doc(alias = "DPM-Solver-3")]
    pub fn single_step(order: usize) -> Result<SingleStep, Error> {
        SingleStep::new(Output::Epsilon, order)
    }
}

impl DpmSolverPp {
    /// Single-step DPM-Solver++ of order 1, 2 (2S) or 3 (3S): x̂₀ is interpolated.
    ///
    /// # Errors
    /// [`Error::Count`] for another order.
    #[doc(alias = "2S")]
    pub fn single_step(order: usize) -> Result<SingleStep, Error> {
        SingleStep::new(Output::X0, order)
    }
}

impl SingleStep {
    fn new(output: Output, order: usize) -> Result<Self, Error> {
        require_count("the order of a single-step method", order, 1, FRACTIONS.len())?;
        Ok(Self { output, order, interpolation: None, inner: Inner::BetweenPoints, tau: 0.0 })
    }

    /// SDE-DPM-Solver(++): adds noise of the strength τ, at most 10. τ = 0 adds none, τ = 1 is the reverse SDE.
    ///
    /// The formulas have the moments and factors of [`DpmSolverPp`] and [`DpmSolver`] with this τ. The noise of a step is one Brownian path:
    /// the part up to an inner point stays in x, and the next row adds the rest.
    ///
    /// ```text
    /// noise_s²·(1 − e^{−2τ²h}) = (noise_s/noise_1·e^{−τ²(h−h₁)})²·noise_1²·(1 − e^{−2τ²h₁}) + noise_s²·(1 − e^{−2τ²(h−h₁)})
    /// ```
    ///
    /// The single-step class of diffusers draws independent noise for each call instead.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ τ ≤ 10.
    #[doc(alias = "sde-dpmsolver++")]
    pub fn stochastic(self, tau: f64) -> Result<Self, Error> {
        Ok(Self { tau: check_tau(tau)?, ..self })
    }

    /// Sets how the differences of outputs are used.
    ///
    /// - [`Interpolation::Published`], the default between the points: as the papers print it. Order 3 leaves the second difference out. It
    ///   is of order 3 if r₂ = ⅔, and of order 2 otherwise.
    /// - [`Interpolation::Midpoint`], the default on the points: order 2 as published, order 3 exact.
    /// - [`Interpolation::Exact`]: the polynomial through the outputs is integrated exactly. `heun` in diffusers.
    #[must_use]
    #[doc(alias = "solver_type")]
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        Self { interpolation: Some(interpolation), ..self }
    }

    /// Uses the points of the path as inner points, so that there is one call per point.
    ///
    /// The points form groups as long as the order. In a group, x goes from the first point to the second by order 1, from the first to
    /// the third by order 2, and so on; r₁ and r₂ follow from the path. The last group ends by one of these:
    ///
    /// - [`FinalOrder::Full`]: like every other group.
    /// - [`FinalOrder::FirstAtLast`]: the last step is of order 1.
    /// - [`FinalOrder::Lowered`]: the last step is of order 1 if it would have the full order. So 6 steps of order 3 have the orders
    ///   1, 2, 3, 1, 2, 1. [`FinalOrder::LoweredBelow`] does this on short paths only.
    ///
    /// A step to clean data or from pure noise, and a path that adds noise between its steps, end a group.
    #[must_use]
    #[doc(alias = "lower_order_final")]
    pub fn on_the_points(self, last: FinalOrder) -> Self {
        Self { inner: Inner::OnThePoints(last), ..self }
    }

    fn kernel(&self) -> Kernel {
        match self.output {
            Output::Epsilon => Kernel::Noise { tau: self.tau },
            Output::X0 => Kernel::Data { tau: self.tau },
        }
    }

    /// The rule through the outputs at these levels, from the start of a leg to its end (`is_end`) or to an inner point.
    fn rule(&self, leg: &Leg, levels: &[NoiseLevel], is_end: bool) -> Rule {
        let kernel = self.kernel();
        let default =
            if self.inner == Inner::BetweenPoints { Interpolation::Published } else { Interpolation::Midpoint };
        let interpolation = self.interpolation.unwrap_or(default);
        match (interpolation, levels) {
            // Algorithm 2: m₀·y₀ + m₁/r₂·(y₂ − y₀)
            (Interpolation::Published, [_, _, second]) => {
                let nodes = [Dd::ZERO, kernel.node(leg, second)];
                let [base, inner, ..] = phi::weights(&nodes, &kernel.moments(leg));
                kernel.weighted(leg, &[base, Dd::ZERO, inner, Dd::ZERO, Dd::ZERO])
            }
            // Algorithm 1: m₀·y₀ + m₀/(2r₁)·(y₁ − y₀)
            (_, [_, _]) if is_end => interpolated(kernel, leg, interpolation, levels),
            _ => kernel.rule(leg, levels),
        }
    }

    fn between_points(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let kernel = self.kernel();
        each_leg_rows(legs, |leg| {
            kernel.require_denoising(leg, self.name())?;
            if let Some(first) = kernel.irregular(leg) {
                return Ok(vec![Row::new(leg, first)]);
            }
            // σ at λ_t + r·h
            let at = |(a, b): (f64, f64)| {
                legs.at_sigma((leg.from.sigma_dd() * (-(Dd::quotient(a, b) * leg.h_dd())).exp()).to_f64())
            };
            let fractions = FRACTIONS.get(self.order - 1).copied().unwrap_or(&[]);
            let points = fractions.iter().map(|r| at(*r)).collect::<Result<Vec<Point>, Error>>()?;
            let mut levels = vec![leg.from];
            let mut inner = Vec::with_capacity(points.len());
            for point in points {
                inner.push((point, self.rule(&until(leg, point.level), &levels, false)));
                levels.push(point.level);
            }
            Ok(stages::rows(kernel, leg, &inner, &self.rule(leg, &levels, true)))
        })
    }

    fn on_points(&self, legs: &Legs<'_>, last: FinalOrder) -> Result<Vec<Row>, Error> {
        let kernel = self.kernel();
        let mut rows = Vec::with_capacity(legs.len());
        let mut group: Vec<&Leg> = Vec::with_capacity(self.order);
        let mut before: Option<Rule> = None;
        for leg in legs.iter() {
            kernel.require_denoising(leg, self.name()).map_err(|error| error.at_step(leg.index, leg.call.t))?;
            if let Some(first) = kernel.irregular(leg) {
                rows.push(Row::new(leg, first));
                group.clear();
                continue;
            }
            let joins = group.last().is_some_and(|previous| previous.to == leg.from) && !leg.starts_over;
            if !joins || self.order_on_points(leg, last) == 1 {
                group.clear();
            }
            group.push(leg);
            let whole = until(group.first().unwrap_or(&leg), leg.to);
            let levels: Vec<NoiseLevel> = group.iter().map(|leg| leg.from).collect();
            let rule = self.rule(&whole, &levels, true);
            let call = group.len() - 1;
            rows.push(stages::row(kernel, leg, before.as_ref().filter(|_| call > 0), &rule, call));
            before = Some(rule);
        }
        Ok(rows)
    }

    /// The order of a step on the points, which follows from the index of its leg.
    fn order_on_points(&self, leg: &Leg, last: FinalOrder) -> usize {
        let order = leg.index % self.order + 1;
        let lowered = leg.index + 1 == leg.steps
            && match last {
                FinalOrder::Full => false,
                FinalOrder::FirstAtLast => true,
                FinalOrder::Lowered => order == self.order,
                FinalOrder::LoweredBelow(few) => order == self.order && leg.steps < few,
            };
        if lowered { 1 } else { order }
    }
}

impl Solver for SingleStep {
    fn name(&self) -> &'static str {
        match (self.output, self.order) {
            (Output::Epsilon, 1) => "DPM-Solver-1",
            (Output::Epsilon, 2) => "DPM-Solver-2",
            (Output::Epsilon, _) => "DPM-Solver-3",
            (Output::X0, 1) => "DPM-Solver++ 1",
            (Output::X0, 2) => "DPM-Solver++ 2S",
            (Output::X0, _) => "DPM-Solver++ 3S",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        match self.inner {
            Inner::BetweenPoints => self.between_points(legs),
            Inner::OnThePoints(last) => self.on_points(legs, last),
        }
    }
}

/// The stored form of a single-step method; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    output: Output,
    order: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interpolation: Option<Interpolation>,
    inner: Inner,
    #[serde(default, skip_serializing_if = "is_zero")]
    tau: f64,
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(tau: &f64) -> bool {
    *tau == 0.0
}

#[cfg(feature = "serde")]
impl From<SingleStep> for Stored {
    fn from(SingleStep { output, order, interpolation, inner, tau }: SingleStep) -> Self {
        Self { output, order, interpolation, inner, tau }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for SingleStep {
    type Error = Error;

    fn try_from(Stored { output, order, interpolation, inner, tau }: Stored) -> Result<Self, Error> {
        Self { interpolation, inner, ..Self::new(output, order)? }.stochastic(tau)
    }
}

#[cfg(test)]
mod tests {
    use super::{FinalOrder, SingleStep};
    use crate::path::Path;
    use crate::plan::Plan;
    use crate::prediction::Prediction;
    use crate::schedule::NoiseSchedule;
    use crate::solver::{DpmSolver, DpmSolverPp, Interpolation};

    /// If the data is 0, x is noise·z at every level, inner points included, for every τ.
    #[test]
    fn noise_has_the_variance_of_each_level() {
        let path = Path::exponential(&NoiseSchedule::stable_diffusion().unwrap(), 9).unwrap();
        for order in 1..=3 {
            for tau in [0.3, 1.0, 2.0] {
                let data = DpmSolverPp::single_step(order).unwrap();
                for method in [data.clone(), data.on_the_points(FinalOrder::Lowered)] {
                    let method = method.stochastic(tau).unwrap();
                    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&method).unwrap();
                    let mut variance = plan.start().noise().powi(2);
                    for step in plan.steps() {
                        let (x, d) = (step.coefficients.x, step.coefficients.d);
                        variance = x * x * variance + d * d;
                        let wanted = step.to.noise().powi(2);
                        assert!(
                            (variance - wanted).abs() <= 1e-12 * wanted,
                            "order {order}, τ = {tau}, call {}",
                            step.index
                        );
                    }
                }
            }
        }
    }

    /// τ = 0 adds no noise. Order 1 is the multistep method of order 1. An encoding path refuses noise.
    #[test]
    fn noise_is_off_or_that_of_the_multistep_method() {
        let path = Path::karras(&NoiseSchedule::stable_diffusion().unwrap(), 8).unwrap();
        let rows = |method: &SingleStep| Plan::along(&path, method).unwrap().steps().to_vec();
        let of_two = DpmSolver::single_step(2).unwrap().interpolation(Interpolation::Exact);
        assert_eq!(rows(&of_two), rows(&of_two.clone().stochastic(0.0).unwrap()));
        let single = DpmSolverPp::single_step(1).unwrap().on_the_points(FinalOrder::Full).stochastic(1.0).unwrap();
        let multi = Plan::along(&path, &DpmSolverPp::multistep(1).unwrap().stochastic(1.0).unwrap()).unwrap();
        for (ours, theirs) in rows(&single).iter().zip(multi.steps()) {
            let (ours, theirs) = (ours.coefficients, theirs.coefficients);
            assert_eq!((ours.x, ours.model, ours.d), (theirs.x, theirs.model, theirs.d));
        }
        let encoding = path.encoding(crate::timesteps::Conditioning::Destination);
        assert!(Plan::along(&encoding, &single).is_err());
        assert!(of_two.stochastic(f64::NAN).is_err());
    }
}

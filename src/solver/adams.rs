//! Adams–Bashforth samplers: LMS, iPNDM, DEIS (Zhang and Chen 2023, arXiv 2204.13902), and one for flows.

use crate::dd::Dd;
use crate::error::Error;
use crate::path::{Leg, Legs};
use crate::phi::MAX_NODES;
use crate::solver::dpm_solver::DpmSolver;
use crate::solver::orders::Orders;
use crate::solver::rule::{Kernel, Rule, multistep};
use crate::solver::{Row, Solver};

/// The linear multistep method: ε is interpolated in σ = noise/signal.
///
/// For a step from level t to level s, with outputs at σ_j (the newest at σ_t):
///
/// ```text
/// x_s/signal_s = x/signal_t + Σ_j ε_j·∫ Π_{k≠j} (σ − σ_k)/(σ_j − σ_k) dσ      from σ_t to σ_s
/// ```
///
/// The integrals are exact. Order 1 is [`Ddim`](crate::Ddim) with η = 0. Zhang and Chen (2023) call the method ρAB-DEIS. It costs one
/// network call per step. The order rises over the first steps, as outputs become available.
///
/// ```
/// use alphabar::{Lms, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// let plan = Plan::along(&path, &Lms::new(4)?)?;
/// assert_eq!(plan.steps()[8].coefficients.history.iter().count(), 3);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "LMSDiscreteScheduler")]
#[doc(alias = "sample_lms")]
#[doc(alias = "PLMS")]
pub struct Lms {
    orders: Orders,
    #[cfg_attr(feature = "serde", serde(default))]
    full_to_clean: bool,
}

/// The improved PNDM: Adams–Bashforth weights for equal steps, then a step of [`Ddim`](crate::Ddim) with η = 0 and this ε.
///
/// ```text
/// order 1: ε₀
/// order 2: (3·ε₀ − ε₁)/2
/// order 3: (23·ε₀ − 16·ε₁ + 5·ε₂)/12
/// order 4: (55·ε₀ − 59·ε₁ + 37·ε₂ − 9·ε₃)/24
/// ```
///
/// ε_j is the ε of j calls ago (Zhang and Chen 2023, iPNDM). The first steps have lower orders. The weights assume equal steps in
/// σ = noise/signal; if the steps differ, every order above 1 has order 2. [`Lms`] has the weights that fit unequal steps.
///
/// ```
/// use alphabar::{Ipndm, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// assert_eq!(Plan::along(&path, &Ipndm::new(4)?)?.len(), 20);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "IPNDMScheduler")]
#[doc(alias = "sample_ipndm")]
pub struct Ipndm {
    orders: Orders,
    #[cfg_attr(feature = "serde", serde(default))]
    full_to_clean: bool,
}

/// The Adams–Bashforth method for flows: the velocity u = ε − x₀ is interpolated in σ = noise/(signal + noise).
///
/// For a step from level t to level s on flow levels (signal + noise = 1), at order 2, with D = σ_s − σ_t, and H the D of the previous
/// step:
///
/// ```text
/// x_s = x + (D + D²/(2H))·u₀ − D²/(2H)·u₁
/// ```
///
/// On other levels the formula holds for x/(signal + noise). Order 1 is Euler's step of a flow, which is [`Ddim`](crate::Ddim) with
/// η = 0. u is finite at pure noise, so the output of a call at pure noise is used like any other.
///
/// ```
/// use alphabar::{Flow, FlowAdamsBashforth, Plan, Prediction};
///
/// let path = Flow::sd3()?.path(28)?;
/// let plan = Plan::builder_along(&path)
///     .prediction(Prediction::Flow)
///     .build(&FlowAdamsBashforth::new(2)?)?;
/// assert_eq!(plan.len(), 28);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FlowAdamsBashforth {
    orders: Orders,
    #[cfg_attr(feature = "serde", serde(default))]
    full_to_clean: bool,
}

macro_rules! adams {
    ($method:ident) => {
        impl $method {
            /// The sampler of this order, from 1 to 4. The order is not lowered towards the end, except for a last step to clean data.
            ///
            /// # Errors
            /// [`Error::Count`] for another order.
            pub fn new(order: usize) -> Result<Self, Error> {
                Ok(Self { orders: Orders::new(order)?, full_to_clean: false })
            }

            /// Sets other orders at the start and at the end.
            #[must_use]
            pub fn orders(self, orders: Orders) -> Self {
                Self { orders, ..self }
            }

            /// Keeps the full order in the last step to clean data, as diffusers does. By default that step has order 1 and returns x̂₀.
            #[must_use]
            pub fn full_order_to_clean(self) -> Self {
                Self { full_to_clean: true, ..self }
            }
        }
    };
}

adams!(Lms);
adams!(Ipndm);
adams!(FlowAdamsBashforth);

impl Solver for Lms {
    fn name(&self) -> &'static str {
        ["LMS 1", "LMS 2", "LMS 3", "LMS 4"].get(self.orders.order() - 1).unwrap_or(&"LMS")
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        multistep(legs, Kernel::Rho, &self.orders, self.name(), self.full_to_clean, |leg, levels| {
            Kernel::Rho.rule(leg, levels)
        })
    }
}

impl Solver for Ipndm {
    fn name(&self) -> &'static str {
        ["iPNDM 1", "iPNDM 2", "iPNDM 3", "iPNDM 4"].get(self.orders.order() - 1).unwrap_or(&"iPNDM")
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        multistep(legs, Kernel::Rho, &self.orders, self.name(), self.full_to_clean, |leg, levels| {
            equal_steps(leg, levels.len())
        })
    }
}

impl Solver for FlowAdamsBashforth {
    fn name(&self) -> &'static str {
        let names = ["Euler of the flow", "flow Adams–Bashforth 2", "flow Adams–Bashforth 3", "flow Adams–Bashforth 4"];
        names.get(self.orders.order() - 1).unwrap_or(&"flow Adams–Bashforth")
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        multistep(legs, Kernel::Flow, &self.orders, self.name(), self.full_to_clean, |leg, levels| {
            Kernel::Flow.rule(leg, levels)
        })
    }
}

/// The Adams–Bashforth weights of this many outputs, from the newest, for equal steps of length 1; 4 outputs at most.
pub(crate) fn equal_step_weights(outputs: usize) -> [Dd; 4] {
    let (weights, divisor) = match outputs {
        0 | 1 => ([1.0, 0.0, 0.0, 0.0], 1.0),
        2 => ([3.0, -1.0, 0.0, 0.0], 2.0),
        3 => ([23.0, -16.0, 5.0, 0.0], 12.0),
        _ => ([55.0, -59.0, 37.0, -9.0], 24.0),
    };
    weights.map(|weight| Dd::quotient(weight, divisor))
}

/// The rule for this leg with the Adams–Bashforth weights of this many outputs for equal steps.
pub(crate) fn equal_steps(leg: &Leg, outputs: usize) -> Rule {
    let [step, ..] = Kernel::Rho.moments(leg);
    let mut all = [Dd::ZERO; MAX_NODES];
    all.iter_mut().zip(equal_step_weights(outputs)).for_each(|(all, weight)| *all = weight * step);
    Kernel::Rho.weighted(leg, &all)
}

/// DEIS, the diffusion exponential integrator sampler (Zhang and Chen 2023), with ε interpolated in ρ or in ln ρ.
///
/// The linear part of the probability flow ODE is solved exactly. In the rest, the polynomial through the last values of ε replaces ε.
/// With ρ = noise/signal and λ = −ln ρ:
///
/// ```text
/// x_s = (signal_s/signal_t)·x + signal_s·∫ P(ρ) dρ        from ρ_t to ρ_s
/// ```
///
/// - [`Deis::log_rho`]: P is a polynomial in ln ρ. The steps equal those of [`DpmSolver::multistep`] with exact weights.
/// - [`Deis::rho`]: P is a polynomial in ρ. The steps equal those of [`Lms`].
///
/// The paper's tAB-DEIS, with a polynomial in t, is not implemented: it depends on the schedule between the points.
///
/// ```
/// use alphabar::{Deis, DpmSolver, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// let deis = Plan::along(&path, &Deis::log_rho(3)?)?;
/// assert_eq!(deis.steps(), Plan::along(&path, &DpmSolver::multistep(3)?)?.steps());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[doc(alias = "DEISMultistepScheduler")]
#[doc(alias = "ρAB-DEIS")]
pub struct Deis {
    of: Variable,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Variable {
    LogRho(DpmSolver),
    Rho(Lms),
}

impl Deis {
    /// DEIS in ln ρ, of an order from 1 to 4: [`DpmSolver::multistep`], including its orders at the start and at the end.
    ///
    /// # Errors
    /// [`Error::Count`] for another order.
    #[doc(alias = "logrho")]
    pub fn log_rho(order: usize) -> Result<Self, Error> {
        Ok(Self { of: Variable::LogRho(DpmSolver::multistep(order)?) })
    }

    /// DEIS in ρ, of an order from 1 to 4: [`Lms`].
    ///
    /// # Errors
    /// [`Error::Count`] for another order.
    pub fn rho(order: usize) -> Result<Self, Error> {
        Ok(Self { of: Variable::Rho(Lms::new(order)?) })
    }

    /// Sets other orders at the start and at the end.
    #[must_use]
    pub fn orders(self, orders: Orders) -> Self {
        let of = match self.of {
            Variable::LogRho(method) => Variable::LogRho(method.orders(orders)),
            Variable::Rho(method) => Variable::Rho(method.orders(orders)),
        };
        Self { of }
    }
}

impl Solver for Deis {
    fn name(&self) -> &'static str {
        match &self.of {
            Variable::LogRho(_) => "DEIS in log ρ",
            Variable::Rho(_) => "DEIS in ρ",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        match &self.of {
            Variable::LogRho(method) => method.rows(legs),
            Variable::Rho(method) => method.rows(legs),
        }
    }
}

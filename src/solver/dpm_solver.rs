//! DPM-Solver (Lu et al. 2022, arXiv 2206.00927) and DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), multistep.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs};
use crate::phi::{self, MAX_NODES};
use crate::solver::orders::{FinalOrder, Orders};
use crate::solver::rule::{Kernel, Rule, multistep};
use crate::solver::{Row, Solver};

/// DPM-Solver++, multistep: x̂₀ is interpolated in λ = ln(signal/noise).
///
/// For a step from level t to level s, with h = λ_s − λ_t, k = 1 + τ², and outputs at λ_t + r_j·h:
///
/// ```text
/// x_s = (noise_s/noise_t)·e^{−τ²h}·x + signal_s·Σ_j w_j·x̂₀_j + noise_s·√(1 − e^{−2τ²h})·z
/// Σ_j w_j·r_j^q = q!·k·h·φ_{q+1}(−k·h)       for q below the order
/// ```
///
/// - Order 1 with τ = 0 is [`Ddim`](crate::Ddim) with η = 0.
/// - Order 2 is by default the published 2M (Lu et al. 2022b, Algorithm 2), `midpoint` in diffusers: [`Interpolation::Midpoint`].
/// - Orders 3 and 4 integrate the polynomial exactly. The published 3M does not: [`Interpolation::Published`].
/// - τ > 0 is SDE-DPM-Solver++. τ = 1 is the reverse SDE.
///
/// Each step costs one network call. Any path will do. With ten calls and more it follows the ODE more closely on a path that is spaced in σ
/// or λ, such as [`Path::karras`](crate::Path::karras), than on trailing timesteps.
///
/// ```
/// use alphabar::{DpmSolverPp, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// let plan = Plan::along(&path, &DpmSolverPp::multistep(2)?)?;
/// assert_eq!(plan.len(), 20);
/// let sde = Plan::along(&path, &DpmSolverPp::multistep(2)?.stochastic(1.0)?)?;
/// assert!(sde.steps()[3].needs_noise());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "DPMSolverMultistepScheduler")]
#[doc(alias = "2M")]
#[doc(alias = "DPM++ 2M")]
#[doc(alias = "dpmpp_2m")]
#[doc(alias = "dpmpp_2m_sde")]
#[doc(alias = "dpmpp_3m_sde")]
#[doc(alias = "DPM++ 3M")]
#[doc(alias = "DPM++ 2M SDE")]
#[doc(alias = "DPM++ 3M SDE")]
pub struct DpmSolverPp {
    orders: Orders,
    interpolation: Interpolation,
    tau: f64,
}

/// How a multistep method uses the differences of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Interpolation {
    /// The polynomial through the outputs is integrated exactly: Adams–Bashforth in λ. Order 2 is `heun` in diffusers.
    Exact,
    /// At order 2, the difference has half the weight of the newest output: ½(1 − e^{−kh}) (Lu et al. 2022b, Algorithm 2). Higher orders
    /// are exact.
    Midpoint,
    /// As in the authors' code and in diffusers: order 2 is [`Interpolation::Midpoint`]; at order 3 the second difference has half the
    /// weight that it needs. The result is of order 2 only, but somewhat better damped than the exact weights if there are very few
    /// steps.
    Published,
}

impl Solver for DpmSolverPp {
    fn name(&self) -> &'static str {
        match (self.tau > 0.0, self.orders.order()) {
            (false, 1) => "DPM-Solver++ 1",
            (false, 2) => "DPM-Solver++ 2M",
            (false, 3) => "DPM-Solver++ 3M",
            (false, _) => "DPM-Solver++ 4M",
            (true, 1) => "SDE-DPM-Solver++ 1",
            (true, 2) => "SDE-DPM-Solver++ 2M",
            (true, 3) => "SDE-DPM-Solver++ 3M",
            (true, _) => "SDE-DPM-Solver++ 4M",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let kernel = Kernel::Data { tau: self.tau };
        multistep(legs, kernel, &self.orders, self.name(), false, |leg, levels| {
            interpolated(kernel, leg, self.interpolation, levels)
        })
    }
}

/// DPM-Solver, multistep: ε is interpolated in λ = ln(signal/noise).
///
/// ```text
/// x_s = (signal_s/signal_t)·x − (1+τ²)·noise_s·Σ_j w_j·ε_j + τ·noise_s·√(e^{2h} − 1)·z
/// Σ_j w_j·r_j^q = q!·h·φ_{q+1}(h)            for q below the order
/// ```
///
/// Order 1 with τ = 0 is [`Ddim`](crate::Ddim) with η = 0. With [`Interpolation::Exact`], the default, it is DEIS in log-ρ
/// (Zhang and Chen 2023). Prefer [`DpmSolverPp`] with guidance: it amplifies ε, while x̂₀ stays bounded.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "DEISMultistepScheduler")]
#[doc(alias = "DPMSolverMultistepScheduler")]
pub struct DpmSolver {
    orders: Orders,
    interpolation: Interpolation,
    tau: f64,
}

impl Solver for DpmSolver {
    fn name(&self) -> &'static str {
        match (self.tau > 0.0, self.orders.order()) {
            (false, 1) => "DPM-Solver-1",
            (false, 2) => "DPM-Solver-2, multistep",
            (false, 3) => "DPM-Solver-3, multistep",
            (false, _) => "DPM-Solver-4, multistep",
            (true, _) => "SDE-DPM-Solver, multistep",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let kernel = Kernel::Noise { tau: self.tau };
        multistep(legs, kernel, &self.orders, self.name(), false, |leg, levels| {
            interpolated(kernel, leg, self.interpolation, levels)
        })
    }
}

pub(crate) fn check_tau(tau: f64) -> Result<f64, Error> {
    require((0.0..=10.0).contains(&tau), "τ", tau, "inside [0, 10]")
}

/// The rule through outputs at these levels.
pub(crate) fn interpolated(kernel: Kernel, leg: &Leg, interpolation: Interpolation, levels: &[NoiseLevel]) -> Rule {
    let nodes: Vec<Dd> = levels.iter().skip(1).map(|level| kernel.node(leg, level)).collect();
    match differences(kernel, leg, interpolation, &nodes) {
        Some(weights) => kernel.weighted(leg, &weights),
        None => kernel.rule(leg, levels),
    }
}

/// The weights of the published formulas for two or three outputs, if they are not the exact ones.
///
/// The step is W·y₀ + f·D₁ + g·D₂, with W the first-order weight, and D₁ = p′(0) and D₂ = ½·p″(0) for the polynomial p through the
/// outputs. The exact weights are f = m₁ and g = m₂, the moments of the kernel.
fn differences(kernel: Kernel, leg: &Leg, interpolation: Interpolation, nodes: &[Dd]) -> Option<[Dd; MAX_NODES]> {
    let [w, first, second, ..] = kernel.moments(leg);
    let half = Dd::from(0.5);
    let zero = Dd::ZERO;
    match (interpolation, nodes) {
        (Interpolation::Midpoint | Interpolation::Published, [r]) => {
            // f = ½·W, D₁ = (y₁ − y₀)/r
            let c = half * w;
            Some([w - c / *r, c / *r, zero, zero, zero])
        }
        // The published g is half of m₂.
        (Interpolation::Published, [r1, r2]) => {
            Some(phi::weights(&[zero, *r1, *r2], &[w, first, half * second, zero, zero]))
        }
        _ => None,
    }
}

/// The stored form of the two samplers; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    orders: Orders,
    interpolation: Interpolation,
    #[serde(default)]
    tau: f64,
}

/// The common part of both samplers: their settings, and how they are stored.
macro_rules! settings {
    ($method:ident, $name:literal, $interpolation:ident, $stochastic:literal) => {
        impl $method {
            #[doc = concat!("Multistep ", $name, " of an order from 1 to 4. On paths of fewer than 15 steps the order falls at the end.")]
            ///
            /// # Errors
            /// [`Error::Count`] for another order.
            pub fn multistep(order: usize) -> Result<Self, Error> {
                let orders = Orders::new(order)?.ending(FinalOrder::LoweredBelow(15));
                Ok(Self { orders, interpolation: Interpolation::$interpolation, tau: 0.0 })
            }

            /// Sets other orders at the start and at the end.
            #[must_use]
            pub fn orders(self, orders: Orders) -> Self {
                Self { orders, ..self }
            }

            /// Sets how the differences of outputs are used.
            #[must_use]
            #[doc(alias = "solver_type")]
            pub fn interpolation(self, interpolation: Interpolation) -> Self {
                Self { interpolation, ..self }
            }

            #[doc = concat!("SDE-", $name, ": adds noise of the strength τ, at most 10. τ = 0 adds none, τ = 1 is the reverse SDE.")]
            ///
            /// # Errors
            /// [`Error::Parameter`] unless 0 ≤ τ ≤ 10.
            #[doc(alias = $stochastic)]
            pub fn stochastic(self, tau: f64) -> Result<Self, Error> {
                Ok(Self { tau: check_tau(tau)?, ..self })
            }
        }

        #[cfg(feature = "serde")]
        impl From<$method> for Stored {
            fn from($method { orders, interpolation, tau }: $method) -> Self {
                Self { orders, interpolation, tau }
            }
        }

        #[cfg(feature = "serde")]
        impl TryFrom<Stored> for $method {
            type Error = Error;

            fn try_from(Stored { orders, interpolation, tau }: Stored) -> Result<Self, Error> {
                Ok(Self { orders, interpolation, tau: check_tau(tau)? })
            }
        }
    };
}

settings!(DpmSolverPp, "DPM-Solver++", Midpoint, "sde-dpmsolver++");
settings!(DpmSolver, "DPM-Solver", Exact, "sde-dpmsolver");

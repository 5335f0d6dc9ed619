//! SA-Solver (Xue et al. 2023, arXiv 2309.05019): stochastic Adams methods.

use core::ops::RangeInclusive;

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::path::{Leg, Legs};
use crate::solver::corrector::{Choice, Form, predict_and_correct};
use crate::solver::dpm_solver::check_tau;
use crate::solver::orders::{FinalOrder, MAX_ORDER, Orders};
use crate::solver::{Row, Solver};

/// SA-Solver: a predictor and a corrector for the reverse SDE with noise of the strength τ.
///
/// For a step from level t to level s, with h = λ_s − λ_t, λ = ln(signal/noise), k = 1 + τ², and outputs x̂₀_j at λ_t + r_j·h, for the
/// corrector also at r = 1 (Xue et al. 2023, section 5 and Algorithm 1, for a τ that is constant over the step):
///
/// ```text
/// x_s = (noise_s/noise_t)·e^{−τ²h}·x + signal_s·Σ_j w_j·x̂₀_j + noise_s·√(1 − e^{−2τ²h})·z
/// Σ_j w_j·r_j^q = q!·k·h·φ_{q+1}(−k·h)       for q below the order
/// ```
///
/// As in the authors' code, a rule of two outputs has the first moment ½·k·h instead of k·h·φ₂(−k·h). The difference is
/// of third order in h. [`SaSolver::exact`] uses the exact moment. The corrector uses the z of the predictor, and costs no network call.
///
/// - τ = 0 is an ODE solver. With a corrector of the order p + 1 it is [`UniPc`](crate::UniPc): the published weights are UniPC's with bh1,
///   the exact weights are UniPC's exact ones.
/// - Without a corrector it is SDE-[`DpmSolverPp`](crate::DpmSolverPp) with this τ and exact weights.
/// - Order 1 without a corrector is the scalar gDDIM (Zhang et al. 2022) with λ = τ: noise of the variance noise_s²·(1 − e^{−2τ²h}). It is
///   [`Ddim`](crate::Ddim) with η² = (1 − e^{−2τ²h})/(1 − e^{−2h}), so τ = 1 is η = 1.
///
/// [`UniPc`](crate::UniPc) lists the steps that are not corrected; the list holds here too.
///
/// ```
/// use alphabar::{NoiseSchedule, Path, Plan, SaSolver, Tau};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// // τ = 1 for t from 200 to 800, as in diffusers.
/// let plan = Plan::along(&path, &SaSolver::new(Tau::default()))?;
/// let noisy = |step: &alphabar::Step| (200.0..=800.0).contains(&step.t);
/// assert!(plan.steps().iter().all(|step| step.needs_noise() == noisy(step)));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "SASolverScheduler")]
#[doc(alias = "SA-Solver")]
#[doc(alias = "sa_solver")]
#[doc(alias = "gDDIM")]
pub struct SaSolver {
    tau: Tau,
    orders: Orders,
    /// How many outputs the corrector interpolates, the new one included; 0 for no corrector.
    corrector: usize,
    weights: Weights,
    form: Form,
}

/// The weights of a rule of two outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Weights {
    #[default]
    Published,
    Exact,
}

impl SaSolver {
    /// SA-Solver with a predictor and a corrector of order 2. The orders fall at the end, as in [`FinalOrder::Lowered`].
    #[must_use]
    pub fn new(tau: Tau) -> Self {
        let orders = Orders::SECOND.ending(FinalOrder::Lowered);
        Self { tau, orders, corrector: 2, weights: Weights::Published, form: Form::Data }
    }

    /// Sets other orders for the predictor. The corrector's order rises and falls with them, and is one higher at most.
    #[must_use]
    #[doc(alias = "predictor_order")]
    pub fn orders(self, orders: Orders) -> Self {
        Self { orders, ..self }
    }

    /// Sets the order of the corrector: the number of outputs that it interpolates, the new one included.
    ///
    /// The paper's corrector of ŝ steps has the order ŝ + 1 here, as in diffusers.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ order ≤ 4.
    #[doc(alias = "corrector_order")]
    pub fn corrector(self, order: usize) -> Result<Self, Error> {
        require_count("the order of a corrector", order, 1, MAX_ORDER)?;
        Ok(Self { corrector: order, ..self })
    }

    /// Leaves out the corrector.
    #[must_use]
    pub fn without_corrector(self) -> Self {
        Self { corrector: 0, ..self }
    }

    /// Uses exact weights for rules of two outputs, too.
    #[must_use]
    pub fn exact(self) -> Self {
        Self { weights: Weights::Exact, ..self }
    }

    /// The noise form: interpolates ε instead of x̂₀, with exact weights. With a threshold, the ε follows from the thresholded x̂₀.
    ///
    /// ```text
    /// x_s = (signal_s/signal_t)·x − k·noise_s·Σ_j w_j·ε_j + τ·noise_s·√(e^{2h} − 1)·z,       Σ_j w_j·r_j^q = q!·h·φ_{q+1}(h)
    /// ```
    #[must_use]
    #[doc(alias = "noise_prediction")]
    pub fn noise_form(self) -> Self {
        Self { form: Form::Noise, ..self }
    }

    fn choice(&self, leg: &Leg) -> Choice {
        let tau = self.tau.at(leg);
        let k = Dd::ONE + Dd::product(tau, tau);
        let published = self.weights == Weights::Published && self.form == Form::Data;
        Choice {
            kernel: self.form.kernel(tau),
            predictor: self.orders.of(leg),
            corrector: self.corrector.min(self.orders.cap(leg) + 1),
            first_moment: published.then(|| Dd::from(0.5) * k * leg.h_dd()),
        }
    }
}

impl Solver for SaSolver {
    fn name(&self) -> &'static str {
        match self.corrector {
            0 => "SA-Solver, predictor alone",
            _ => "SA-Solver",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        predict_and_correct(legs, self.name(), |leg| self.choice(leg))
    }
}

/// τ of [`SaSolver`], the strength of the noise: one value at all steps, or one value inside a range and 0 outside.
///
/// The start of a step decides: the t that the network receives there, or the σ of x.
///
/// ```
/// use alphabar::Tau;
///
/// // As in diffusers, and as in the paper for CIFAR-10.
/// assert_eq!(Tau::default(), Tau::new(1.0)?.within_times(200.0..=800.0)?);
/// let tau = Tau::new(1.0)?.within_sigmas(0.05..=1.0)?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "StoredTau", into = "StoredTau")
)]
#[doc(alias = "tau_func")]
pub struct Tau {
    tau: f64,
    within: Within,
}

/// The steps at which τ is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Within {
    #[default]
    Everywhere,
    Times(f64, f64),
    Sigmas(f64, f64),
}

impl Tau {
    /// One τ for all steps. 0 adds no noise, 1 is the reverse SDE.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ τ ≤ 10.
    pub fn new(tau: f64) -> Result<Self, Error> {
        Ok(Self { tau: check_tau(tau)?, within: Within::Everywhere })
    }

    /// This τ at steps at which the network receives a t in the range, and 0 at all others.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless both ends are finite and the first is not above the second.
    pub fn within_times(self, range: RangeInclusive<f64>) -> Result<Self, Error> {
        let within = Within::Times(*range.start(), *range.end());
        Ok(Self { within: within.checked()?, ..self })
    }

    /// This τ at steps that start at a σ = noise/signal in the range, and 0 at all others.
    ///
    /// # Errors
    /// As [`Tau::within_times`].
    pub fn within_sigmas(self, range: RangeInclusive<f64>) -> Result<Self, Error> {
        let within = Within::Sigmas(*range.start(), *range.end());
        Ok(Self { within: within.checked()?, ..self })
    }

    fn at(&self, leg: &Leg) -> f64 {
        let inside = match self.within {
            Within::Everywhere => true,
            Within::Times(first, last) => (first..=last).contains(&leg.call.t),
            Within::Sigmas(first, last) => (first..=last).contains(&leg.from.sigma()),
        };
        if inside { self.tau } else { 0.0 }
    }
}

/// τ = 1 for t from 200 to 800, for a table of 1000 steps: the default of diffusers.
impl Default for Tau {
    fn default() -> Self {
        Self { tau: 1.0, within: Within::Times(200.0, 800.0) }
    }
}

impl Within {
    fn checked(self) -> Result<Self, Error> {
        if let Self::Times(first, last) | Self::Sigmas(first, last) = self {
            require(first.is_finite(), "the first number of a range of τ", first, "finite")?;
            let (name, domain) = ("the last number of a range of τ", "finite and not below the first");
            require(last.is_finite() && first <= last, name, last, domain)?;
        }
        Ok(self)
    }
}

/// The stored form of SA-Solver; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    tau: Tau,
    orders: Orders,
    corrector: usize,
    #[serde(default)]
    weights: Weights,
    #[serde(default)]
    form: Form,
}

#[cfg(feature = "serde")]
impl From<SaSolver> for Stored {
    fn from(SaSolver { tau, orders, corrector, weights, form }: SaSolver) -> Self {
        Self { tau, orders, corrector, weights, form }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for SaSolver {
    type Error = Error;

    fn try_from(Stored { tau, orders, corrector, weights, form }: Stored) -> Result<Self, Error> {
        require_count("the order of a corrector", corrector, 0, MAX_ORDER)?;
        Ok(Self { tau, orders, corrector, weights, form })
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTau {
    tau: f64,
    #[serde(default)]
    within: Within,
}

#[cfg(feature = "serde")]
impl From<Tau> for StoredTau {
    fn from(Tau { tau, within }: Tau) -> Self {
        Self { tau, within }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<StoredTau> for Tau {
    type Error = Error;

    fn try_from(StoredTau { tau, within }: StoredTau) -> Result<Self, Error> {
        Ok(Self { tau: check_tau(tau)?, within: within.checked()? })
    }
}

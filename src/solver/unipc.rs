//! UniPC (Zhao et al. 2023, arXiv 2302.04867).

use crate::dd::Dd;
use crate::error::{Error, require_count};
use crate::path::{Leg, Legs};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::corrector::{Choice, Form, predict_and_correct};
use crate::solver::orders::{FinalOrder, Orders};
use crate::solver::{Row, Solver};

/// UniPC, multistep: a predictor UniP-p, and a corrector UniC-p that repeats the step with the output at its end.
///
/// For a step from level t to level s, with h = λ_s − λ_t, λ = ln(signal/noise), and m_j the outputs x̂₀ at λ_t + r_j·h, r_0 = 0, for the
/// corrector also at r = 1:
///
/// ```text
/// x_s = (noise_s/noise_t)·x + signal_s·(1 − e^{−h})·m_0 + signal_s·B(h)·Σ_j (ρ_j/r_j)·(m_j − m_0)        data form
/// B(h)·Σ_j ρ_j·r_j^{q−1} = q!·h·φ_{q+1}(−h)                  for q from 1 to the number of differences
/// B(h) = h (bh1) or 1 − e^{−h} (bh2)
/// ```
///
/// In the noise form m is ε, the first factor is signal_s/signal_t, −noise_s replaces signal_s, and h replaces −h in φ, so that
/// 1 − e^{−h} = h·φ₁(−h) becomes e^h − 1.
///
/// B(h) cancels if the equations are solved. With a single difference, in UniP-2 and UniC-1, the published method does not solve them but
/// sets ρ = ½. Only there do the [`UniPcWeights`] differ.
///
/// The corrector costs no network call: it uses the output of the next step's call. As in the authors' code, that output is not computed
/// again from the corrected x. UniPC-p, with the corrector, is of order p + 1.
///
/// - Without a corrector, order 1 is [`Ddim`](crate::Ddim) with η = 0, and order 2 is [`DpmSolverPp`](crate::DpmSolverPp) 2M. With exact
///   weights all orders are those of [`DpmSolverPp`](crate::DpmSolverPp) with [`Interpolation::Exact`](crate::Interpolation::Exact).
/// - With exact weights it is [`SaSolver`](crate::SaSolver) with τ = 0, exact weights, and a corrector of the order p + 1.
///
/// A step is corrected only if the network is called next at the end of the step. Not corrected are the last step, a step from pure noise
/// or to clean data, and a step after which churn lifts x to another level.
///
/// ```
/// use alphabar::{NoiseSchedule, Path, Plan, UniPc};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
/// let plan = Plan::along(&path, &UniPc::new(3)?)?;
/// assert_eq!(plan.len(), 10);
/// // The fourth row reads three outputs before its own: two for its predictor, one more to correct the third step.
/// assert_eq!(plan.steps()[3].coefficients.history.iter().count(), 3);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "UniPCMultistepScheduler")]
#[doc(alias = "uni_pc")]
#[doc(alias = "uni_pc_bh2")]
pub struct UniPc {
    orders: Orders,
    weights: UniPcWeights,
    form: Form,
    corrector: Corrector,
}

/// The weights of UniPC with a single difference, in UniP-2 and UniC-1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "solver_type")]
#[non_exhaustive]
pub enum UniPcWeights {
    /// ρ = ½ with B(h) = h.
    Bh1,
    /// ρ = ½ with B(h) = e^h − 1, and 1 − e^{−h} in the data form: the published default.
    #[default]
    Bh2,
    /// The polynomial is integrated exactly, as it is with more differences; `vary_coeff` in the authors' code.
    Exact,
}

/// The steps that are corrected.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Corrector {
    Everywhere,
    Nowhere,
    NotAt(Vec<usize>),
}

impl UniPc {
    /// UniPC of an order p from 1 to 4: bh2, data form, with the corrector. The order falls at the end: p, …, 2, 1.
    ///
    /// # Errors
    /// [`Error::Count`] for another order.
    #[doc(alias = "solver_order")]
    pub fn new(order: usize) -> Result<Self, Error> {
        let orders = Orders::new(order)?.ending(FinalOrder::Lowered);
        Ok(Self { orders, weights: UniPcWeights::default(), form: Form::Data, corrector: Corrector::Everywhere })
    }

    /// Sets other orders p at the start and at the end.
    #[must_use]
    #[doc(alias = "lower_order_final")]
    pub fn orders(self, orders: Orders) -> Self {
        Self { orders, ..self }
    }

    /// Sets another B(h), or exact weights.
    #[must_use]
    pub fn weights(self, weights: UniPcWeights) -> Self {
        Self { weights, ..self }
    }

    /// The noise form: interpolates ε instead of x̂₀. With a threshold, the ε follows from the thresholded x̂₀.
    #[must_use]
    #[doc(alias = "predict_x0")]
    pub fn noise_form(self) -> Self {
        Self { form: Form::Noise, ..self }
    }

    /// Leaves out the corrector: UniP-p, of order p.
    #[must_use]
    #[doc(alias = "UniP")]
    pub fn without_corrector(self) -> Self {
        Self { corrector: Corrector::Nowhere, ..self }
    }

    /// Leaves out the corrector at the steps with these indices, from 0. With strong guidance it is better not to correct the first steps.
    ///
    /// # Errors
    /// [`Error::Count`] for a list longer than [`MAX_TRAIN_STEPS`].
    #[doc(alias = "disable_corrector")]
    pub fn without_corrector_at(self, steps: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        let steps: Vec<usize> = steps.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        check_steps(&steps)?;
        Ok(Self { corrector: Corrector::NotAt(steps), ..self })
    }

    fn choice(&self, leg: &Leg) -> Choice {
        let kernel = self.form.kernel(0.0);
        let order = self.orders.of(leg);
        let corrects = match &self.corrector {
            Corrector::Everywhere => true,
            Corrector::Nowhere => false,
            Corrector::NotAt(steps) => !steps.contains(&leg.index),
        };
        let [moment, ..] = kernel.moments(leg); // 1 − e^{−h}, or e^h − 1
        let half = Dd::from(0.5);
        Choice {
            kernel,
            predictor: order,
            corrector: if corrects { order + 1 } else { 0 },
            // ρ·B(h)
            first_moment: match self.weights {
                UniPcWeights::Bh1 => Some(half * leg.h_dd()),
                UniPcWeights::Bh2 => Some(half * moment),
                UniPcWeights::Exact => None,
            },
        }
    }
}

impl Solver for UniPc {
    fn name(&self) -> &'static str {
        match (&self.corrector, self.orders.order()) {
            (Corrector::Nowhere, 1) => "UniP-1",
            (Corrector::Nowhere, 2) => "UniP-2",
            (Corrector::Nowhere, 3) => "UniP-3",
            (Corrector::Nowhere, _) => "UniP-4",
            (_, 1) => "UniPC-1",
            (_, 2) => "UniPC-2",
            (_, 3) => "UniPC-3",
            (_, _) => "UniPC-4",
        }
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        predict_and_correct(legs, self.name(), |leg| self.choice(leg))
    }
}

fn check_steps(steps: &[usize]) -> Result<(), Error> {
    require_count("the steps without a corrector", steps.len(), 0, MAX_TRAIN_STEPS).map(drop)
}

/// The stored form of UniPC; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    orders: Orders,
    #[serde(default)]
    weights: UniPcWeights,
    #[serde(default)]
    form: Form,
    corrector: Corrector,
}

#[cfg(feature = "serde")]
impl From<UniPc> for Stored {
    fn from(UniPc { orders, weights, form, corrector }: UniPc) -> Self {
        Self { orders, weights, form, corrector }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for UniPc {
    type Error = Error;

    fn try_from(Stored { orders, weights, form, corrector }: Stored) -> Result<Self, Error> {
        if let Corrector::NotAt(steps) = &corrector {
            check_steps(steps)?;
        }
        Ok(Self { orders, weights, form, corrector })
    }
}

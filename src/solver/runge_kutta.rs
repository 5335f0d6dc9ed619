//! Runge–Kutta methods for dx/dσ = ε in σ = noise/signal: Heun (Karras et al. 2022, arXiv 2206.00364), DPM2, and the classical method
//! of order 4.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::path::{Leg, Legs, Point};
use crate::phi::MAX_NODES;
use crate::solver::rule::{Kernel, Rule};
use crate::solver::stages::{arrival, rows, until};
use crate::solver::{Combination, Ddim, Row, Solver, each_leg_rows};

/// Heun's method of order 2: Algorithm 1 of Karras et al. 2022.
///
/// For a step from level t to level s, with σ = noise/signal, x standing for x/signal, and ε′ the network's ε at u and level s:
///
/// ```text
/// u   = x + (σ_s − σ_t)·ε                        (line 5)
/// x_s = x + (σ_s − σ_t)·(½·ε + ½·ε′)             (line 8)
/// ```
///
/// It calls the network twice per step. The last step, to clean data, is Euler's, with one call, so S steps take 2S − 1 calls. A step
/// from pure noise has one call, too. On a path with churn ([`Path::churned`](crate::Path::churned)) it is the stochastic sampler of
/// Algorithm 2. Without churn it can also encode.
///
/// ```
/// use alphabar::{Heun, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 18)?;
/// assert_eq!(Plan::along(&path, &Heun::new())?.len(), 35);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "HeunDiscreteScheduler")]
#[doc(alias = "sample_heun")]
#[doc(alias = "EDM")]
#[non_exhaustive]
pub struct Heun {}

impl Heun {
    /// Heun's method.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl Solver for Heun {
    fn name(&self) -> &'static str {
        "Heun"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg_rows(legs, |leg| match Kernel::Rho.irregular(leg) {
            Some(first) => Ok(vec![Row::new(leg, first)]),
            None => Ok(heun(leg, &arrival(leg)?)),
        })
    }
}

/// The two rows of Heun's method.
pub(crate) fn heun(leg: &Leg, arrives: &Point) -> Vec<Row> {
    let step = change(leg);
    let half = Dd::from(0.5) * step;
    let euler = weighted(leg, &[step]); // line 5
    rows(Kernel::Rho, leg, &[(*arrives, euler)], &weighted(leg, &[half, half])) // line 8
}

/// DPM2: the midpoint rule in ln σ, with two calls per step, and its ancestral form.
///
/// For a step from level t to level s, with σ = noise/signal, x standing for x/signal, and ε′ the network's ε at u and level m:
///
/// ```text
/// σ_up   = η·σ_s·√(1 − σ_s²/σ_t²)
/// σ_down = √(σ_s² − σ_up²),   σ_m = √(σ_t·σ_down)
/// u   = x + (σ_m − σ_t)·ε
/// x_s = x + (σ_down − σ_t)·ε′ + σ_up·z
/// ```
///
/// With η = 0, σ_down is σ_s and the order is 2. It follows Algorithm 2 of Karras et al. 2022, with the midpoint rule in place of Heun's
/// (k-diffusion, `sample_dpm_2`). The last step, to clean data, is Euler's.
///
/// It calls the network between the points of the path, so the path must know its process
/// ([`Path::of_process`](crate::Path::of_process)).
///
/// ```
/// use alphabar::{Dpm2, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
/// assert_eq!(Plan::along(&path, &Dpm2::deterministic())?.len(), 19);
/// assert!(Plan::along(&path, &Dpm2::ancestral(1.0)?)?.steps()[1].needs_noise());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "KDPM2DiscreteScheduler")]
#[doc(alias = "KDPM2AncestralDiscreteScheduler")]
#[doc(alias = "sample_dpm_2")]
#[doc(alias = "sample_dpm_2_ancestral")]
#[doc(alias = "DPM2 a")]
pub struct Dpm2 {
    eta: f64,
}

impl Dpm2 {
    /// DPM2 without noise: η = 0.
    #[must_use]
    pub fn deterministic() -> Self {
        Self { eta: 0.0 }
    }

    /// Ancestral DPM2: adds noise of the strength η; 1 is usual.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless η is finite and not negative. An η above 1 may be too large for a step: [`Error::EtaTooLarge`].
    pub fn ancestral(eta: f64) -> Result<Self, Error> {
        Ok(Self { eta: require(eta >= 0.0 && eta.is_finite(), "η", eta, "finite and ≥ 0")? })
    }
}

impl Solver for Dpm2 {
    fn name(&self) -> &'static str {
        if self.eta > 0.0 { "DPM2, ancestral" } else { "DPM2" }
    }

    fn eta(&self, _: usize) -> Option<f64> {
        Some(self.eta)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg_rows(legs, |leg| {
            let (t, s) = (&leg.from, &leg.to);
            // The weight of ε in DDIM's step, which is Euler's ancestral one, is √(noise_s² − (signal_s·σ_up)²) = signal_s·σ_down.
            let euler = self.euler(leg)?;
            let down = if self.eta > 0.0 { euler.epsilon / s.signal_dd() } else { s.sigma_dd() };
            if !leg.is_regular() || down.is_zero() {
                return Ok(vec![Row::new(leg, euler)]);
            }
            let middle = (t.sigma_dd() * down).sqrt().to_f64(); // σ_m
            // Rounding must not put σ_m below σ_s: the network may not be trained there.
            let middle = if self.eta > 0.0 && self.eta <= 1.0 { middle.max(s.sigma()) } else { middle };
            let middle = legs.at_sigma(middle)?;
            let part = until(leg, middle.level);
            let to_middle = weighted(&part, &[change(&part)]); // u
            let end = Rule { z: euler.z, ..weighted(leg, &[Dd::ZERO, down - t.sigma_dd()]) }; // x_s
            Ok(rows(Kernel::Rho, leg, &[(middle, to_middle)], &end))
        })
    }
}

impl Dpm2 {
    /// The step with one call.
    fn euler(self, leg: &Leg) -> Result<Combination, Error> {
        if self.eta > 0.0 {
            leg.require_denoising("DPM2 with η > 0")?;
            return Ddim::new(self.eta)?.combine(leg);
        }
        match Kernel::Rho.irregular(leg) {
            Some(first) => Ok(first),
            None => Ddim::deterministic().combine(leg),
        }
    }
}

/// The classical Runge–Kutta method of order 4 in σ = noise/signal, with four calls per step.
///
/// For a step from level t to level s, with x standing for x/signal, Δ = σ_s − σ_t, and m the level with σ_m = ½(σ_t + σ_s):
///
/// ```text
/// ε₁ = ε(x, t),   ε₂ = ε(x + ½Δ·ε₁, m),   ε₃ = ε(x + ½Δ·ε₂, m),   ε₄ = ε(x + Δ·ε₃, s)
/// x_s = x + Δ·(ε₁ + 2·ε₂ + 2·ε₃ + ε₄)/6
/// ```
///
/// The last step, to clean data, is Euler's. Use this method if accuracy matters and the number of calls does not, for example as a
/// reference for other samplers.
///
/// It calls the network between the points of the path, so the path must know its process
/// ([`Path::of_process`](crate::Path::of_process)).
///
/// ```
/// use alphabar::{NoiseSchedule, Path, Plan, Rk4};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
/// assert_eq!(Plan::along(&path, &Rk4::new())?.len(), 9 * 4 + 1);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[doc(alias = "Runge-Kutta")]
#[non_exhaustive]
pub struct Rk4 {}

impl Rk4 {
    /// The classical method of order 4.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl Solver for Rk4 {
    fn name(&self) -> &'static str {
        "Runge–Kutta 4"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg_rows(legs, |leg| match Kernel::Rho.irregular(leg) {
            Some(first) => Ok(vec![Row::new(leg, first)]),
            None => Ok(classical(leg, &middle_in_rho(legs, leg)?, &arrival(leg)?)),
        })
    }
}

/// The point in the middle of a regular leg in σ = noise/signal.
pub(crate) fn middle_in_rho(legs: &Legs<'_>, leg: &Leg) -> Result<Point, Error> {
    legs.at_sigma((Dd::from(0.5) * (leg.from.sigma_dd() + leg.to.sigma_dd())).to_f64())
}

/// The four rows of the classical method with this point in the middle.
pub(crate) fn classical(leg: &Leg, middle: &Point, arrives: &Point) -> Vec<Row> {
    let part = until(leg, middle.level);
    let (half, whole, zero) = (change(&part), change(leg), Dd::ZERO);
    let (sixth, third) = (whole / Dd::from(6.0), whole / Dd::from(3.0));
    let inner = [
        (*middle, weighted(&part, &[half])),
        (*middle, weighted(&part, &[zero, half])),
        (*arrives, weighted(leg, &[zero, zero, whole])),
    ];
    rows(Kernel::Rho, leg, &inner, &weighted(leg, &[sixth, third, third, sixth]))
}

/// The change of σ = noise/signal over a leg.
fn change(leg: &Leg) -> Dd {
    leg.to.sigma_dd() - leg.from.sigma_dd()
}

/// x/signal + Σ w_j·ε_j at the end of a leg.
fn weighted(leg: &Leg, weights: &[Dd]) -> Rule {
    let mut all = [Dd::ZERO; MAX_NODES];
    all.iter_mut().zip(weights).for_each(|(all, weight)| *all = *weight);
    Kernel::Rho.weighted(leg, &all)
}

/// The stored form of DPM2; reading checks η.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    eta: f64,
}

#[cfg(feature = "serde")]
impl From<Dpm2> for Stored {
    fn from(Dpm2 { eta }: Dpm2) -> Self {
        Self { eta }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Dpm2 {
    type Error = Error;

    fn try_from(Stored { eta }: Stored) -> Result<Self, Error> {
        Self::ancestral(eta)
    }
}

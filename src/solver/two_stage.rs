//! DPM-Solver++ with noise and two calls per step: k-diffusion's DPM++ SDE and DPM++ 2S ancestral.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::path::{Leg, Legs, Point};
use crate::phi::MAX_NODES;
use crate::solver::rule::{Kernel, Rule};
use crate::solver::stages::{rows, until};
use crate::solver::{Combination, Ddim, Row, Solver, each_leg_rows};

/// DPM-Solver++ with noise and two calls per step, by k-diffusion's formulas: `dpmpp_sde` and `dpmpp_2s_ancestral`.
///
/// For a step from level t to level s, with σ = noise/signal, x standing for x/signal, and x̂₀′ the network's x̂₀ at u and level m:
///
/// ```text
/// up(s) = η·σ_s·√(1 − σ_s²/σ_t²),   down(s) = √(σ_s² − up(s)²)
/// A(σ, y) = (σ/σ_t)·x + (1 − σ/σ_t)·y
///
/// SDE:         σ_m = √(σ_t·σ_s)        u = A(down(m), x̂₀) + up(m)·z′     x_s = A(down(s), x̂₀′) + up(s)·z
/// ancestral:   σ_m = √(σ_t·down(s))    u = A(σ_m, x̂₀)                    x_s = A(down(s), x̂₀′) + up(s)·z
/// ```
///
/// A(σ, y) is a step of DDIM to σ with the ε of x and y (Lu et al. 2022b, arXiv 2211.01095, Eq. 9 of order 1). up and down are those of
/// [`EulerAncestral`](crate::EulerAncestral). With η = 0 both samplers are DPM-Solver++ 2S
/// ([`DpmSolverPp::single_step`](crate::DpmSolverPp::single_step)), of order 2. The last step, to clean data, is Euler's.
///
/// In a step of the SDE, the first row keeps its x ([`Row::keeping_x`]), and the second row starts again from that x.
///
/// # Noise of the SDE
/// z′ is the increment of a Brownian motion from t to m, and z its increment from t to s. Both contain the noise from t to m, so they are
/// correlated. [`noise::Brownian`](crate::noise::Brownian) draws them this way; the variance of the samples is then right to second order
/// in the step. Other sources draw independent z′ and z; the variance is then right to first order, as with Euler ancestral. k-diffusion
/// also draws them from a Brownian motion, in the time σ.
///
/// # Path
/// Both samplers call the network between the points of the path, so the path must know its process
/// ([`Path::of_process`](crate::Path::of_process)).
///
/// ```
/// use alphabar::noise::Brownian;
/// use alphabar::{NoiseSchedule, Path, Plan, TwoStage};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
/// let plan = Plan::along(&path, &TwoStage::sde(1.0)?)?;
/// assert_eq!(plan.len(), 19);
/// let noise = Brownian::new(42, &plan);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "DPMSolverSDEScheduler")]
#[doc(alias = "dpmpp_sde")]
#[doc(alias = "DPM++ SDE")]
#[doc(alias = "dpmpp_2s_ancestral")]
#[doc(alias = "DPM++ 2S a")]
pub struct TwoStage {
    form: Form,
    eta: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Form {
    Sde,
    Ancestral,
}

impl TwoStage {
    /// DPM++ SDE: both rows of a step add noise; η = 1 is usual.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ η ≤ 1.
    pub fn sde(eta: f64) -> Result<Self, Error> {
        Self::new(Form::Sde, eta)
    }

    /// DPM++ 2S ancestral: the second row of a step adds noise; η = 1 is usual.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ η ≤ 1.
    pub fn ancestral(eta: f64) -> Result<Self, Error> {
        Self::new(Form::Ancestral, eta)
    }

    fn new(form: Form, eta: f64) -> Result<Self, Error> {
        Ok(Self { form, eta: require((0.0..=1.0).contains(&eta), "η", eta, "inside [0, 1]")? })
    }

    /// A(down(s), y) + up(s)·z, from the leg's start to its end.
    fn ancestral_step(self, leg: &Leg) -> Result<Rule, Error> {
        // DDIM's weight of ε is signal_s·down(s).
        let Combination { epsilon, z, .. } = Ddim::new(self.eta)?.combine(leg)?;
        Ok(Rule { z, ..towards(leg, epsilon, 0) })
    }

    /// u and x_s of the SDE.
    fn sde_rows(self, leg: &Leg, middle: &Point) -> Result<Vec<Row>, Error> {
        let to_middle = Leg { s: Some(middle.t), lift: None, ..until(leg, middle.level) };
        let (inner, end) = (self.ancestral_step(&to_middle)?, self.ancestral_step(leg)?);
        let [inner_x0, end_x0] = [&inner, &end].map(|rule| rule.outputs.first().copied().unwrap_or(Dd::ZERO));
        let of = |x0, x, z| Combination { x0, x, epsilon: Dd::ZERO, z, learned_noise: None };
        let first = Row::new(&to_middle, of(inner_x0, inner.x, inner.z)).keeping_x();
        // Starts from the x that the first row kept, not from u.
        let second = Row::new(leg, of(end_x0, Dd::ZERO, end.z)).called_at(middle).with_history_dd([(1, end.x)]);
        Ok(vec![first, second])
    }

    /// u and x_s of 2S ancestral.
    fn ancestral_rows(self, leg: &Leg, middle: &Point) -> Result<Vec<Row>, Error> {
        let kernel = Kernel::Data { tau: 0.0 };
        let Combination { epsilon, z, .. } = Ddim::new(self.eta)?.combine(leg)?;
        let to_middle = until(leg, middle.level);
        let inner = towards(&to_middle, middle.level.noise_dd(), 0);
        Ok(rows(kernel, leg, &[(*middle, inner)], &Rule { z, ..towards(leg, epsilon, 1) }))
    }
}

/// A(down, y), with y the output of this call of the leg. The argument `down` is signal_s·down.
fn towards(leg: &Leg, down: Dd, call: usize) -> Rule {
    let x = down / leg.from.noise_dd();
    let mut outputs = [Dd::ZERO; MAX_NODES];
    outputs.get_mut(call).into_iter().for_each(|weight| *weight = leg.to.signal_dd() - x * leg.from.signal_dd());
    Rule { x, outputs, z: Dd::ZERO }
}

impl Solver for TwoStage {
    fn name(&self) -> &'static str {
        match self.form {
            Form::Sde => "DPM++ SDE",
            Form::Ancestral => "DPM++ 2S, ancestral",
        }
    }

    fn eta(&self, _: usize) -> Option<f64> {
        Some(self.eta)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        each_leg_rows(legs, |leg| {
            let (t, s) = (&leg.from, &leg.to);
            if self.eta > 0.0 {
                leg.require_denoising(self.name())?;
            }
            let first = match (Kernel::Data { tau: 0.0 }).irregular(leg) {
                Some(first) if self.eta == 0.0 => Some(first),
                Some(_) => Some(Ddim::new(self.eta)?.combine(leg)?),
                None => None,
            };
            if let Some(first) = first {
                return Ok(vec![Row::new(leg, first)]);
            }
            let end = match self.form {
                Form::Sde => s.sigma_dd(),
                Form::Ancestral => Ddim::new(self.eta)?.combine(leg)?.epsilon / s.signal_dd(), // down(s)
            };
            // Rounding must not put σ_m below σ_s (with η = 1 it is σ_s): the network may not be trained there.
            let middle = (t.sigma_dd() * end).sqrt().to_f64();
            let middle = if self.eta > 0.0 { middle.max(s.sigma()) } else { middle };
            let middle = legs.at_sigma(middle)?;
            match self.form {
                Form::Sde => self.sde_rows(leg, &middle),
                Form::Ancestral => self.ancestral_rows(leg, &middle),
            }
        })
    }
}

/// The stored form of the sampler; reading checks η.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    form: Form,
    eta: f64,
}

#[cfg(feature = "serde")]
impl From<TwoStage> for Stored {
    fn from(TwoStage { form, eta }: TwoStage) -> Self {
        Self { form, eta }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for TwoStage {
    type Error = Error;

    fn try_from(Stored { form, eta }: Stored) -> Result<Self, Error> {
        Self::new(form, eta)
    }
}

//! Samplers that jump to x̂₀ and add new noise, for few-step networks: consistency models, LCM, TCD, and few-step flows.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::path::Leg;
use crate::schedule::NoiseSchedule;
use crate::solver::{Combination, Solver};

/// Jumps to x̂₀ and adds new noise of the next level: multistep consistency sampling (Song et al. 2023, Algorithm 1).
///
/// ```text
/// x_s = signal_s·x̂₀ + noise_s·z
/// ```
///
/// On flow levels this is x′ = (1−σ′)·x̂₀ + σ′·z, the sampler of few-step flows: `FlowMatchLCMScheduler`, and `stochastic_sampling` of
/// `FlowMatchEulerDiscreteScheduler`. It is [`Ddim`](crate::Ddim) with only new noise, nothing of the predicted ε.
///
/// ```
/// use alphabar::{Flow, Plan, Prediction, Renoise};
///
/// let path = Flow::default().path_through([1.0, 0.75, 0.5, 0.25])?;
/// let plan =
///     Plan::builder_along(&path).prediction(Prediction::Flow).build(&Renoise)?;
/// assert_eq!(plan.steps()[0].coefficients.d, 0.75);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[doc(alias = "FlowMatchLCMScheduler")]
#[doc(alias = "stochastic_sampling")]
#[doc(alias = "consistency model")]
pub struct Renoise;

impl Solver for Renoise {
    fn name(&self) -> &'static str {
        "consistency sampling"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        leg.require_denoising(self.name())?;
        let (x0, z) = (leg.to.signal_dd(), leg.to.noise_dd());
        Ok(Combination { x0, x: Dd::ZERO, epsilon: Dd::ZERO, z, learned_noise: None })
    }
}

/// LCM, latent consistency models (Luo et al. 2023, arXiv 2310.04378).
///
/// ```text
/// D   = c_skip·x + c_out·x̂₀                    c_skip = σ_d²/(τ² + σ_d²),  c_out = τ/√(τ² + σ_d²),  τ = scaling·t
/// x_s = signal_s·D + noise_s·z;  the last step returns D
/// ```
///
/// Released models have σ_d = ½ and a scaling of 10. c_skip is then 4e-8 at t = 259, so D differs from x̂₀ only at the smallest t.
/// The formula for D holds for a variance-preserving x; levels in other scales are converted to it.
///
/// ```
/// use alphabar::{Lcm, NoiseSchedule, Path, Plan};
///
/// let path = Path::from_times(
///     &NoiseSchedule::stable_diffusion()?,
///     [999.0, 759.0, 499.0, 259.0],
/// )?;
/// let plan = Plan::along(&path, &Lcm::default())?;
/// assert!(!plan.steps()[3].needs_noise());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "f64", into = "f64"))]
#[doc(alias = "LCMScheduler")]
#[doc(alias = "latent consistency model")]
pub struct Lcm {
    scaling: f64,
}

/// σ_data of the boundary condition.
const SIGMA_DATA: f64 = 0.5;

impl Lcm {
    /// LCM with this scaling of t in its boundary condition (`timestep_scaling`).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the scaling lies in (0, 1e6].
    #[doc(alias = "timestep_scaling")]
    pub fn new(scaling: f64) -> Result<Self, Error> {
        require(scaling > 0.0 && scaling <= 1e6, "the scaling of t", scaling, "inside (0, 1e6]")?;
        Ok(Self { scaling })
    }
}

/// The scaling 10 of released models.
impl Default for Lcm {
    fn default() -> Self {
        Self { scaling: 10.0 }
    }
}

impl Solver for Lcm {
    fn name(&self) -> &'static str {
        "LCM"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        leg.require_denoising(self.name())?;
        let (t, s) = (&leg.from, &leg.to);
        let data = Dd::product(SIGMA_DATA, SIGMA_DATA);
        let time = Dd::product(self.scaling, leg.call.t);
        let total = time.squared() + data;
        let (skip, out) = (data / total, time / total.sqrt());
        let last = leg.index + 1 == leg.steps;
        let (signal, z) = if last { (s.scale(), Dd::ZERO) } else { (s.signal_dd(), s.noise_dd()) };
        Ok(Combination { x0: signal * out, x: signal * skip / t.scale(), epsilon: Dd::ZERO, z, learned_noise: None })
    }
}

/// TCD, trajectory consistency distillation (Zheng et al. 2024, arXiv 2402.19159), strategic stochastic sampling with γ (`eta` in
/// diffusers).
///
/// ```text
/// q   = ⌊(1−γ)·s⌋                              a t of the trained table, with less noise than s
/// x_q = √ᾱ_q·x̂₀ + √(1−ᾱ_q)·ε̂                 a step of DDIM with η = 0
/// x_s = √(ᾱ_s/ᾱ_q)·x_q + √(1−ᾱ_s/ᾱ_q)·z;  the last step returns x_q, with q = s
/// ```
///
/// γ = 0 is [`Ddim`](crate::Ddim) with η = 0. With γ = 1, q is the first level of the table, so nearly all noise is new, as in
/// [`Renoise`]. In released configurations the path ends at the first level of the table (`set_alpha_to_one = false`).
///
/// ```
/// use alphabar::{NoiseSchedule, PathEnd, Plan, Tcd, Timesteps};
///
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let tau =
///     Timesteps::explicit(1000, [999, 759, 499, 259])?.ending(PathEnd::FirstLevel);
/// let plan = Plan::new(&schedule, &tau, &Tcd::new(0.3, &schedule)?)?;
/// assert!(plan.steps()[0].needs_noise() && !plan.steps()[3].needs_noise());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "TCDScheduler")]
pub struct Tcd {
    gamma: f64,
    schedule: NoiseSchedule,
}

impl Tcd {
    /// TCD with this γ, for a network trained on this schedule.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ γ ≤ 1.
    #[doc(alias = "eta")]
    pub fn new(gamma: f64, schedule: &NoiseSchedule) -> Result<Self, Error> {
        require((0.0..=1.0).contains(&gamma), "γ", gamma, "inside [0, 1]")?;
        Ok(Self { gamma, schedule: schedule.clone() })
    }
}

impl Solver for Tcd {
    fn name(&self) -> &'static str {
        "TCD"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        if self.gamma > 0.0 {
            leg.require_denoising(self.name())?;
        }
        let (s, zero) = (&leg.to, Dd::ZERO);
        // A fractional t is rounded down, as q is.
        let q = match leg.s {
            Some(t) if self.gamma > 0.0 && leg.index + 1 < leg.steps => {
                self.schedule.level(((1.0 - self.gamma) * t) as usize)?
            }
            _ => *s,
        };
        if q.gap_to(s) <= zero {
            return Ok(Combination { x0: s.signal_dd(), x: zero, epsilon: s.noise_dd(), z: zero, learned_noise: None });
        }
        let (kept, variance) = q.transition_to(s);
        let (x0, epsilon) = (kept * q.signal_dd(), kept * q.noise_dd());
        Ok(Combination { x0, x: zero, epsilon, z: variance.sqrt(), learned_noise: None })
    }
}

#[cfg(feature = "serde")]
impl From<Lcm> for f64 {
    fn from(lcm: Lcm) -> Self {
        lcm.scaling
    }
}

#[cfg(feature = "serde")]
impl TryFrom<f64> for Lcm {
    type Error = Error;

    fn try_from(scaling: f64) -> Result<Self, Error> {
        Self::new(scaling)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    gamma: f64,
    schedule: NoiseSchedule,
}

#[cfg(feature = "serde")]
impl From<Tcd> for Stored {
    fn from(Tcd { gamma, schedule }: Tcd) -> Self {
        Self { gamma, schedule }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Tcd {
    type Error = Error;

    fn try_from(Stored { gamma, schedule }: Stored) -> Result<Self, Error> {
        Self::new(gamma, &schedule)
    }
}

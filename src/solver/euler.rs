//! Euler's method and its ancestral form under k-diffusion's names, and stochastic samplers for flows.

use core::f64::consts::FRAC_PI_2;

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::path::Leg;
use crate::solver::{Combination, Ddim, Solver};

/// Euler's method for the probability flow ODE (Karras et al. 2022, Algorithm 1 without its correction): [`Ddim`] with η = 0.
///
/// ```text
/// x′ = x + (σ′ − σ)·ε           on variance-exploding levels
/// x′ = x + (σ′ − σ)·u           on flow levels
/// ```
///
/// ```
/// use alphabar::{Ddim, Euler, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// assert_eq!(
///     Plan::along(&path, &Euler)?.steps(),
///     Plan::along(&path, &Ddim::deterministic())?.steps()
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[doc(alias = "EulerDiscreteScheduler")]
#[doc(alias = "FlowMatchEulerDiscreteScheduler")]
#[doc(alias = "sample_euler")]
pub struct Euler;

impl Solver for Euler {
    fn name(&self) -> &'static str {
        "Euler"
    }

    fn eta(&self, _index: usize) -> Option<f64> {
        Some(0.0)
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        Ddim::deterministic().combine(leg)
    }
}

/// The Euler ancestral sampler (k-diffusion's `euler_ancestral`): [`Ddim`] with an η, usually 1.
///
/// ```text
/// up = η·σ′·√(1 − σ′²/σ²),  down = √(σ′² − up²),  x′ = x + (down − σ)·ε + up·z        on variance-exploding levels
/// ```
///
/// [`EulerAncestral::rectified_flow`] is a different sampler, in which η has another meaning.
///
/// ```
/// use alphabar::{Ddim, EulerAncestral, NoiseSchedule, Path, Plan};
///
/// let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
/// assert_eq!(
///     Plan::along(&path, &EulerAncestral::new(1.0)?)?.steps(),
///     Plan::along(&path, &Ddim::new(1.0)?)?.steps()
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "EulerAncestralDiscreteScheduler")]
#[doc(alias = "Euler a")]
#[doc(alias = "euler_ancestral")]
#[doc(alias = "sample_euler_ancestral")]
pub struct EulerAncestral {
    eta: f64,
    flow: bool,
}

impl EulerAncestral {
    /// The ancestral sampler with this η.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ η ≤ 1.
    pub fn new(eta: f64) -> Result<Self, Error> {
        Ok(Self { eta: check_eta(eta)?, flow: false })
    }

    /// The ancestral sampler for rectified flows, as in ComfyUI and LTX-Video. With the flow's σ:
    ///
    /// ```text
    /// down = σ′·(1 + (σ′/σ − 1)·η)
    /// x′   = (1−σ′)/(1−down)·((down/σ)·x + (1 − down/σ)·x̂₀) + √(σ′² − down²·(1−σ′)²/(1−down)²)·z
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ η ≤ 1.
    pub fn rectified_flow(eta: f64) -> Result<Self, Error> {
        Ok(Self { eta: check_eta(eta)?, flow: true })
    }
}

impl Solver for EulerAncestral {
    fn name(&self) -> &'static str {
        if self.flow { "Euler ancestral, rectified flow" } else { "Euler ancestral" }
    }

    fn eta(&self, _index: usize) -> Option<f64> {
        Some(self.eta)
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        if !self.flow || self.eta == 0.0 || leg.h() == 0.0 || leg.to.is_clean() {
            return Ddim::new(self.eta)?.combine(leg);
        }
        leg.require_denoising(self.name())?;
        let (one, zero) = (Dd::ONE, Dd::ZERO);
        let [(sigma, from), (next, to)] = [&leg.from, &leg.to].map(flow_scale);
        let down = next * (one + (next / sigma - one) * Dd::from(self.eta));
        let ratio = (one - next) / (one - down);
        let kept = down * ratio;
        // √(σ′² − kept²), factored so that nothing cancels
        let spread = ((next - kept) * (next + kept)).sqrt();
        let share = down / sigma;
        Ok(Combination {
            x0: to * ratio * (one - share),
            x: to / from * ratio * share,
            epsilon: zero,
            z: to * spread,
            learned_noise: None,
        })
    }
}

/// Stochastic samplers for flows, used in reinforcement learning. Each step arrives with the exact signal of its level.
///
/// ```
/// use alphabar::{Flow, FlowSde, Plan, Prediction};
///
/// let path = Flow::sd3()?.path(10)?;
/// let plan = Plan::builder_along(&path)
///     .prediction(Prediction::Flow)
///     .build(&FlowSde::grpo(0.7)?)?;
/// assert!(plan.steps()[1].needs_noise() && !plan.steps()[9].needs_noise());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "StoredSde", into = "StoredSde")
)]
#[doc(alias = "Flow-GRPO")]
pub struct FlowSde {
    form: Form,
    strength: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Form {
    Grpo,
    Cps,
}

impl FlowSde {
    /// The Euler–Maruyama step of Flow-GRPO (Liu et al. 2025, arXiv 2505.05470, Eq. 9 and 12), with the flow's σ and D = σ′ − σ:
    ///
    /// ```text
    /// s² = a²·σ/(1−σ)
    /// x′ = x + D·(u + s²/(2σ)·(x + (1−σ)·u)) + s·√−D·z
    /// ```
    ///
    /// At σ = 1, where s is infinite, s² = a²/(1−σ′), as in the authors' code. The step to clean data adds no noise.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ a ≤ 10.
    pub fn grpo(a: f64) -> Result<Self, Error> {
        require((0.0..=10.0).contains(&a), "the noise strength a", a, "inside [0, 10]")?;
        Ok(Self { form: Form::Grpo, strength: a })
    }

    /// Coefficients-preserving sampling (Wang and Yu 2025, arXiv 2509.05952): rotates the predicted noise towards new noise.
    ///
    /// The angle is η·π/2: η = 0 keeps the predicted noise ε̂, η = 1 uses only new noise z.
    ///
    /// ```text
    /// x_s = signal_s·x̂₀ + noise_s·(cos(η·π/2)·ε̂ + sin(η·π/2)·z)
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ η ≤ 1.
    pub fn cps(eta: f64) -> Result<Self, Error> {
        Ok(Self { form: Form::Cps, strength: check_eta(eta)? })
    }
}

impl Solver for FlowSde {
    fn name(&self) -> &'static str {
        match self.form {
            Form::Grpo => "Flow-GRPO SDE",
            Form::Cps => "coefficients-preserving sampling",
        }
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        if self.strength == 0.0 || leg.h() == 0.0 || leg.to.is_clean() {
            return Ddim::deterministic().combine(leg);
        }
        leg.require_denoising(self.name())?;
        let (one, zero, half) = (Dd::ONE, Dd::ZERO, Dd::from(0.5));
        let strength = Dd::from(self.strength);
        match self.form {
            Form::Cps => {
                let angle = self.strength * FRAC_PI_2;
                let (sine, cosine) =
                    if self.strength == 1.0 { (1.0, 0.0) } else { (libm::sin(angle), libm::cos(angle)) };
                let noise = leg.to.noise_dd();
                let (epsilon, z) = (noise * Dd::from(cosine), noise * Dd::from(sine));
                Ok(Combination { x0: leg.to.signal_dd(), x: zero, epsilon, z, learned_noise: None })
            }
            Form::Grpo => {
                let [(sigma, from), (next, to)] = [&leg.from, &leg.to].map(flow_scale);
                let below_one = if leg.from.is_pure_noise() { next } else { sigma };
                let variance = strength.squared() * sigma / (one - below_one); // s²
                let step = next - sigma; // D
                let drift = half * variance / sigma;
                // u = ε − x̂₀
                let u = step * (one + drift * (one - sigma));
                Ok(Combination {
                    x0: -(to * u),
                    x: to / from * (one + step * drift),
                    epsilon: to * u,
                    z: to * (variance * -step).sqrt(),
                    learned_noise: None,
                })
            }
        }
    }
}

/// The flow's σ of a level, noise/(signal + noise), and the factor that takes x from the flow's scale to that of the level.
fn flow_scale(level: &NoiseLevel) -> (Dd, Dd) {
    (level.flow_sigma_dd(), level.signal_dd() + level.noise_dd())
}

fn check_eta(eta: f64) -> Result<f64, Error> {
    require((0.0..=1.0).contains(&eta), "η", eta, "inside [0, 1]")
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    eta: f64,
    #[serde(default)]
    rectified_flow: bool,
}

#[cfg(feature = "serde")]
impl From<EulerAncestral> for Stored {
    fn from(EulerAncestral { eta, flow }: EulerAncestral) -> Self {
        Self { eta, rectified_flow: flow }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for EulerAncestral {
    type Error = Error;

    fn try_from(Stored { eta, rectified_flow }: Stored) -> Result<Self, Error> {
        if rectified_flow { Self::rectified_flow(eta) } else { Self::new(eta) }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSde {
    form: Form,
    strength: f64,
}

#[cfg(feature = "serde")]
impl From<FlowSde> for StoredSde {
    fn from(FlowSde { form, strength }: FlowSde) -> Self {
        Self { form, strength }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<StoredSde> for FlowSde {
    type Error = Error;

    fn try_from(StoredSde { form, strength }: StoredSde) -> Result<Self, Error> {
        match form {
            Form::Grpo => Self::grpo(strength),
            Form::Cps => Self::cps(strength),
        }
    }
}

//! Reproduces diffusers 0.42.1 where this crate computes something else by default.
//!
//! Nothing here is used by default, and nothing here is more accurate. Use it to get the images of an existing pipeline.
//!
//! | diffusers | alphabar | to reproduce diffusers |
//! |---|---|---|
//! | tables of β and ᾱ in `f32`; 1−ᾱ has a relative error of up to 1.7e-4 (linear) or 5e-4 (cosine) | twice the precision of `f64` | [`Tables`] |
//! | DDIM steps from t to t − ⌊T/S⌋, even if this is not the next timestep | DDIM steps to the next timestep | [`ddim`], [`ddim_inverse`] |
//! | DDPM computes β = 1 − ᾱ_t/ᾱ_s in `f32`, with a relative error of up to 2e-3 | β is exact | [`ddpm`] |
//! | DDPM adds noise if t > 0, also on the step to clean data | no noise on the step to clean data | [`ddpm`] |
//! | the posterior variance β̃ is raised to at least 1e-20 | β̃ is exact | [`ddpm`] |
//!
//! With the feature `hub`, `SchedulerConfig::compat` does this for every scheduler class. It also reproduces the lists of σ and t of each
//! class, and the places where its steps differ from the papers.
//!
//! The timesteps are the same as in diffusers, except in three cases:
//!
//! - A single "linspace" step is `[0]` in diffusers. Here use [`Timesteps::explicit`](crate::Timesteps::explicit) with `[0]`.
//! - "trailing" has S + 1 entries for some S in diffusers, the last of them t = −1.
//! - "leading" may ask for t = T, from which diffusers cannot step either.
//!
//! These things are not reproduced:
//!
//! - A step at t = −1, for which diffusers reads the table at T − 1.
//! - NaN and infinities: from `fixed_large_log`, from square roots of numbers that are negative in `f32`, and from ε-prediction at zero
//!   terminal SNR.
//! - The order of operations on tensors. Images therefore agree within the rounding of `f32`.
//! - The noise of torch. Pass it in as a tensor, or use [`noise::torch`](crate::noise::torch).
//!
//! ```
//! use alphabar::{Ddim, Lint, PathEnd, Plan, Timesteps, compat};
//!
//! let schedule = compat::Tables::scaled_linear(1000, 0.00085, 0.012)?.schedule()?;
//! let tau = Timesteps::linspace(1000, 10)?.ending(PathEnd::FirstLevel);
//! let plan =
//!     compat::ddim(&Plan::builder(&schedule, &tau), 10, &Ddim::deterministic())?;
//! // The first step goes to t = 899, although the next step starts at t = 888.
//! assert_eq!(
//!     (plan.steps()[0].t, plan.steps()[0].s, plan.steps()[1].t),
//!     (999.0, Some(899.0), 888.0)
//! );
//! assert!(
//!     plan.lint()
//!         .iter()
//!         .any(|warning| matches!(warning, Lint::Disconnected { index: 0, .. }))
//! );
//! # Ok::<(), alphabar::Error>(())
//! ```

#[cfg(feature = "hub")]
mod continuous;
mod ddpm;
#[cfg(feature = "hub")]
mod flow;
#[cfg(feature = "hub")]
mod k_diffusion;
#[cfg(feature = "hub")]
pub(crate) mod multistep;
#[cfg(feature = "hub")]
mod pndm;
#[cfg(feature = "hub")]
mod sigmas;
mod stride;
mod tables;
#[cfg(feature = "hub")]
mod times;

#[cfg(feature = "hub")]
pub(crate) use continuous::{EdmEnd, EdmSigmas, IpndmOfDiffusers, ipndm_path, score_path};
#[cfg(feature = "hub")]
pub(crate) use ddpm::DdpmOfDiffusers;
pub use ddpm::ddpm;
#[cfg(feature = "hub")]
pub(crate) use flow::{AncestralWithoutNoise, FlowShift, FlowSigmas};
#[cfg(feature = "hub")]
pub(crate) use k_diffusion::{LmsOfList, PointList};
#[cfg(feature = "hub")]
pub(crate) use pndm::PndmByStride;
#[cfg(feature = "hub")]
pub(crate) use sigmas::Sigmas;
#[cfg(feature = "hub")]
pub(crate) use stride::ByStride;
pub use stride::{ddim, ddim_inverse};
pub use tables::Tables;
#[cfg(feature = "hub")]
pub(crate) use tables::laplace;
#[cfg(feature = "hub")]
pub(crate) use times::Times;

/// The precision of diffusers' tables and lists, for `SchedulerConfig::compat_in` of the feature `hub`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// `f32`, as diffusers has them.
    #[default]
    F32,
    /// `f64`: what diffusers would compute if its tables were `f64`. What then differs from the default plans is the method, not rounding.
    F64,
}

impl Precision {
    /// The number, rounded to this precision.
    pub(crate) fn hold(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

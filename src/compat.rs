//! What diffusers computes where this crate computes something else, to reproduce its images.
//!
//! Nothing here is used by default, and nothing here is more accurate. It is checked against diffusers 0.42.1.
//!
//! | diffusers | alphabar | to reproduce diffusers |
//! |---|---|---|
//! | tables of β and ᾱ in `f32`; 1−ᾱ has a relative error of up to 1.7e-4 (linear) or 5e-4 (cosine) | twice the precision of `f64` | [`Tables`] |
//! | DDIM steps from t to t − ⌊T/S⌋, whatever the next timestep is | to the next timestep | [`ddim`], [`ddim_inverse`] |
//! | DDPM computes β = 1 − ᾱ_t/ᾱ_s in `f32`, with a relative error of up to 2e-3 | exactly | [`ddpm`] |
//! | DDPM adds noise if t > 0, also on the step to clean data | no noise on the step to clean data | [`ddpm`] |
//! | β̃ is at least 1e-20 | β̃ | [`ddpm`] |
//!
//! With the feature `hub`, `SchedulerConfig::compat` does this for every scheduler class, and more: the lists of σ and t of each class, and
//! where its steps depart from the papers.
//!
//! The timesteps are the same but for three cases. A single "linspace" step is `[0]` in diffusers; here use
//! [`Timesteps::explicit`](crate::Timesteps::explicit) with `[0]`. "trailing" has S + 1 entries for some S, the last of them
//! t = −1. "leading" may ask for t = T, from which diffusers cannot step either.
//!
//! Not reproduced are a step at t = −1, for which diffusers reads the table at T − 1, and its NaNs and infinities: those of
//! `fixed_large_log`, of radicands that are negative in `f32`, and of ε-prediction at zero terminal SNR. The operations on
//! tensors are not imitated one by one either, and so an image agrees within the rounding of `f32`. The noise of torch has to
//! be passed in as a tensor.
//!
//! ```
//! use alphabar::{Ddim, Lint, PathEnd, Plan, Timesteps, compat};
//!
//! let schedule = compat::Tables::scaled_linear(1000, 0.00085, 0.012)?.schedule()?;
//! let tau = Timesteps::linspace(1000, 10)?.ending(PathEnd::FirstLevel);
//! let plan = compat::ddim(&Plan::builder(&schedule, &tau), 10, &Ddim::deterministic())?;
//! // To t = 899, although the next step starts at t = 888.
//! assert_eq!((plan.steps()[0].t, plan.steps()[0].s, plan.steps()[1].t), (999.0, Some(899.0), 888.0));
//! assert!(plan.lint().iter().any(|odd| matches!(odd, Lint::Disconnected { index: 0, .. })));
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
pub(crate) use ddpm::DdpmOfPython;
pub use ddpm::ddpm;
#[cfg(feature = "hub")]
pub(crate) use flow::{AncestralWithoutNoise, FlowShift, FlowSigmas};
#[cfg(feature = "hub")]
pub(crate) use k_diffusion::{Listed, LmsOfList};
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
    /// `f64`: what diffusers would compute if it held `f64`. What then differs from the default is the method, and not rounding.
    F64,
}

impl Precision {
    /// A number as an array of this precision holds it.
    pub(crate) fn hold(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

//! The scheduler classes of diffusers, and their defaults.

use core::fmt;

use crate::error::Error;
use crate::hub::Spacing;
use crate::hub::json::config_error;
use crate::hub::keys::acts;
use crate::timesteps::PathEnd;

/// The scheduler class of diffusers that wrote a configuration, or as which it is read.
///
/// [`is_supported`](SchedulerClass::is_supported) says whether this crate has the sampler of a class. Of the other classes
/// the noise schedule, the prediction type, the clipping and the timesteps are read, and the sampler is DDIM with η = 0.
///
/// ```
/// use alphabar::hub::SchedulerClass;
///
/// let class: SchedulerClass = "EulerDiscreteScheduler".parse()?;
/// assert_eq!(class, SchedulerClass::EulerDiscrete);
/// assert!(class.is_supported()); // the Euler step is the DDIM step
/// // A scheduler of diffusers' former Flax half is read as its PyTorch twin.
/// assert_eq!("FlaxDDIMScheduler".parse::<SchedulerClass>()?, SchedulerClass::Ddim);
/// assert!("FlowMatchEulerDiscreteScheduler".parse::<SchedulerClass>().is_err());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchedulerClass {
    /// `DDIMScheduler`.
    Ddim,
    /// `DDIMParallelScheduler`: DDIM.
    DdimParallel,
    /// `DDIMInverseScheduler`: encoding (DDIM inversion).
    DdimInverse,
    /// `DDPMScheduler`.
    Ddpm,
    /// `DDPMParallelScheduler`: DDPM.
    DdpmParallel,
    /// `UnCLIPScheduler`: DDPM on the cosine schedule.
    UnClip,
    /// `CogVideoXDDIMScheduler`: DDIM on a schedule of shifted SNR.
    CogVideoXDdim,
    /// `CogVideoXDPMScheduler`.
    CogVideoXDpm,
    /// `PNDMScheduler`.
    Pndm,
    /// `EulerDiscreteScheduler`: DDIM with η = 0.
    EulerDiscrete,
    /// `EulerAncestralDiscreteScheduler`: DDIM with η = 1.
    EulerAncestralDiscrete,
    /// `HeunDiscreteScheduler`.
    HeunDiscrete,
    /// `LMSDiscreteScheduler`.
    LmsDiscrete,
    /// `KDPM2DiscreteScheduler`.
    Kdpm2Discrete,
    /// `KDPM2AncestralDiscreteScheduler`.
    Kdpm2AncestralDiscrete,
    /// `DPMSolverSDEScheduler`.
    DpmSolverSde,
    /// `DPMSolverMultistepScheduler`.
    DpmSolverMultistep,
    /// `DPMSolverSinglestepScheduler`.
    DpmSolverSinglestep,
    /// `DEISMultistepScheduler`.
    DeisMultistep,
    /// `UniPCMultistepScheduler`.
    UniPcMultistep,
    /// `SASolverScheduler`.
    SaSolver,
    /// `LCMScheduler`.
    Lcm,
    /// `TCDScheduler`.
    Tcd,
}

/// The sampler of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// DDIM with η = 0; Euler's step.
    Ddim,
    /// DDIM with η = 1; the step of Euler ancestral.
    Ancestral,
    /// DDPM.
    Ddpm,
    /// None of this crate. DDIM with η = 0 takes its place.
    Other,
}

/// How a class lists its timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// As DDIM does.
    Same,
    /// As DDIM does, but without rounding in "linspace".
    Fractional,
    /// S + 1 entries without their last, in "linspace" and "leading".
    OneMore,
    /// Every ⌊S₀/S⌋-th or so of the S₀ timesteps that the network was distilled for.
    Distilled,
}

/// The values that a class of diffusers 0.42.1 gives to missing keys.
pub(super) struct Defaults {
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: &'static str,
    pub(super) clip_sample: bool,
    pub(super) end: PathEnd,
    pub(super) spacing: Spacing,
    pub(super) snr_shift_scale: f64,
}

impl SchedulerClass {
    pub(super) const ALL: [Self; 23] = [
        Self::Ddim,
        Self::DdimParallel,
        Self::DdimInverse,
        Self::Ddpm,
        Self::DdpmParallel,
        Self::UnClip,
        Self::CogVideoXDdim,
        Self::CogVideoXDpm,
        Self::Pndm,
        Self::EulerDiscrete,
        Self::EulerAncestralDiscrete,
        Self::HeunDiscrete,
        Self::LmsDiscrete,
        Self::Kdpm2Discrete,
        Self::Kdpm2AncestralDiscrete,
        Self::DpmSolverSde,
        Self::DpmSolverMultistep,
        Self::DpmSolverSinglestep,
        Self::DeisMultistep,
        Self::UniPcMultistep,
        Self::SaSolver,
        Self::Lcm,
        Self::Tcd,
    ];

    /// The name of the class in diffusers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::DdimParallel => "DDIMParallelScheduler",
            Self::DdimInverse => "DDIMInverseScheduler",
            Self::Ddpm => "DDPMScheduler",
            Self::DdpmParallel => "DDPMParallelScheduler",
            Self::UnClip => "UnCLIPScheduler",
            Self::CogVideoXDdim => "CogVideoXDDIMScheduler",
            Self::CogVideoXDpm => "CogVideoXDPMScheduler",
            Self::Pndm => "PNDMScheduler",
            Self::EulerDiscrete => "EulerDiscreteScheduler",
            Self::EulerAncestralDiscrete => "EulerAncestralDiscreteScheduler",
            Self::HeunDiscrete => "HeunDiscreteScheduler",
            Self::LmsDiscrete => "LMSDiscreteScheduler",
            Self::Kdpm2Discrete => "KDPM2DiscreteScheduler",
            Self::Kdpm2AncestralDiscrete => "KDPM2AncestralDiscreteScheduler",
            Self::DpmSolverSde => "DPMSolverSDEScheduler",
            Self::DpmSolverMultistep => "DPMSolverMultistepScheduler",
            Self::DpmSolverSinglestep => "DPMSolverSinglestepScheduler",
            Self::DeisMultistep => "DEISMultistepScheduler",
            Self::UniPcMultistep => "UniPCMultistepScheduler",
            Self::SaSolver => "SASolverScheduler",
            Self::Lcm => "LCMScheduler",
            Self::Tcd => "TCDScheduler",
        }
    }

    /// Whether the sampler of this class is one of this crate, so that
    /// [`SchedulerConfig::plan`](crate::hub::SchedulerConfig::plan) runs it.
    ///
    /// These are DDIM, DDPM and the classes whose step is the same: `EulerDiscreteScheduler` is DDIM with η = 0 and
    /// `EulerAncestralDiscreteScheduler` is DDIM with η = 1, on the same timesteps and in another scale of x.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.method() != Method::Other
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::Ddim | Self::DdimParallel | Self::DdimInverse | Self::CogVideoXDdim | Self::EulerDiscrete => {
                Method::Ddim
            }
            Self::EulerAncestralDiscrete => Method::Ancestral,
            Self::Ddpm | Self::DdpmParallel | Self::UnClip => Method::Ddpm,
            _ => Method::Other,
        }
    }

    /// Whether diffusers steps to t − ⌊T/S⌋, whatever the next timestep is.
    pub(super) fn steps_by_stride(self) -> bool {
        matches!(self, Self::Ddim | Self::DdimParallel | Self::DdimInverse | Self::CogVideoXDdim)
    }

    pub(super) fn list(self) -> List {
        match self {
            Self::EulerDiscrete
            | Self::EulerAncestralDiscrete
            | Self::HeunDiscrete
            | Self::LmsDiscrete
            | Self::Kdpm2Discrete
            | Self::Kdpm2AncestralDiscrete
            | Self::DpmSolverSde => List::Fractional,
            Self::DpmSolverMultistep
            | Self::DpmSolverSinglestep
            | Self::DeisMultistep
            | Self::UniPcMultistep
            | Self::SaSolver => List::OneMore,
            Self::Lcm | Self::Tcd => List::Distilled,
            _ => List::Same,
        }
    }

    pub(super) fn defaults(self) -> Defaults {
        let (beta_start, beta_end, beta_schedule) = match self {
            Self::HeunDiscrete | Self::Kdpm2Discrete | Self::Kdpm2AncestralDiscrete | Self::DpmSolverSde => {
                (0.00085, 0.012, "linear")
            }
            Self::Lcm | Self::Tcd | Self::CogVideoXDdim | Self::CogVideoXDpm => (0.00085, 0.012, "scaled_linear"),
            Self::UnClip => (1e-4, 0.02, "squaredcos_cap_v2"),
            _ => (1e-4, 0.02, "linear"),
        };
        let ends_at_first = matches!(self, Self::Pndm | Self::DeisMultistep | Self::SaSolver);
        Defaults {
            beta_start,
            beta_end,
            beta_schedule,
            clip_sample: acts(self, "clip_sample") && !matches!(self, Self::HeunDiscrete | Self::Lcm),
            end: if ends_at_first { PathEnd::FirstLevel } else { PathEnd::Clean },
            spacing: match self.list() {
                List::Fractional | List::OneMore => Spacing::Linspace,
                _ if self == Self::UnClip => Spacing::Linspace,
                List::Same | List::Distilled => Spacing::Leading,
            },
            snr_shift_scale: if acts(self, "snr_shift_scale") { 3.0 } else { 1.0 },
        }
    }

    /// Whether diffusers holds 2⁻²⁴ instead of ᾱ = 0, because this class divides by √ᾱ.
    pub(super) fn keeps_snr_above_zero(self) -> bool {
        matches!(
            self,
            Self::EulerDiscrete | Self::EulerAncestralDiscrete | Self::DpmSolverMultistep | Self::UniPcMultistep
        )
    }

    /// Whether the class takes this `beta_schedule`.
    pub(super) fn takes_beta_schedule(self, name: &str) -> bool {
        match self {
            Self::UnClip => name == "squaredcos_cap_v2",
            Self::Ddpm | Self::DdpmParallel => true,
            _ => matches!(name, "linear" | "scaled_linear" | "squaredcos_cap_v2"),
        }
    }

    /// Whether the class takes this `prediction_type`.
    pub(super) fn takes_prediction(self, name: &str) -> bool {
        match self {
            Self::UnClip => name != "v_prediction",
            Self::Pndm
            | Self::EulerAncestralDiscrete
            | Self::HeunDiscrete
            | Self::Kdpm2Discrete
            | Self::Kdpm2AncestralDiscrete
            | Self::DpmSolverSde => name != "sample",
            _ => true,
        }
    }
}

impl core::str::FromStr for SchedulerClass {
    type Err = Error;

    /// Reads the name of a class, also with the prefix `Flax`.
    fn from_str(name: &str) -> Result<Self, Error> {
        let plain = name.strip_prefix("Flax").unwrap_or(name);
        Self::ALL.into_iter().find(|class| class.name() == plain).ok_or_else(|| {
            let reason = if name.starts_with("Flow") {
                "is not supported: flow-matching schedulers have no β schedule; make the path with Flow (Flow::sd3, Flow::flux, …)"
            } else {
                "is not supported; hub::SchedulerClass lists the classes that are. To read the file as one of them use \
                 SchedulerConfig::from_json_as"
            };
            config_error("_class_name", name, reason)
        })
    }
}

impl fmt::Display for SchedulerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

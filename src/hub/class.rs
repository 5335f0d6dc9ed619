//! Python's scheduler classes, and what each takes for a key that is not there.

use core::fmt;

use crate::error::Error;
use crate::hub::json::config_error;
use crate::timesteps::PathEnd;

/// The class that a configuration was written by.
///
/// The first five are methods of this crate. Of the others, schedule, prediction and spacing are read, "to run this checkpoint
/// with DDIM".
///
/// ```
/// use alphabar::hub::SchedulerClass;
///
/// let class: SchedulerClass = "EulerDiscreteScheduler".parse()?;
/// assert_eq!(class, SchedulerClass::EulerDiscrete);
/// assert!(!class.is_supported());
/// assert!("FlowMatchEulerDiscreteScheduler".parse::<SchedulerClass>().is_err());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchedulerClass {
    /// `DDIMScheduler`.
    Ddim,
    /// `DDIMParallelScheduler`, for sampling the same arithmetic.
    DdimParallel,
    /// `DDIMInverseScheduler`: encoding.
    DdimInverse,
    /// `DDPMScheduler`.
    Ddpm,
    /// `DDPMParallelScheduler`, for sampling the same arithmetic.
    DdpmParallel,
    /// `PNDMScheduler`.
    Pndm,
    /// `EulerDiscreteScheduler`.
    EulerDiscrete,
    /// `EulerAncestralDiscreteScheduler`.
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

/// How a class makes its list of t, where that differs from DDIM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// As DDIM's.
    Same,
    /// A t that is no whole number, in "linspace".
    Fractional,
    /// S + 1 entries without their last, in "linspace" and "leading".
    OneMore,
    /// Entries of the list of S₀ steps that the network was distilled for.
    Distilled,
}

/// What a class takes for a key that is not there, in diffusers 0.42.
pub(super) struct Defaults {
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: &'static str,
    pub(super) clip_sample: bool,
    pub(super) end: PathEnd,
    pub(super) timestep_spacing: &'static str,
}

impl SchedulerClass {
    const ALL: [Self; 20] = [
        Self::Ddim,
        Self::DdimParallel,
        Self::DdimInverse,
        Self::Ddpm,
        Self::DdpmParallel,
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

    /// The name of the class in Python.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerClass;
    /// assert_eq!(SchedulerClass::Ddim.name(), "DDIMScheduler");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::DdimParallel => "DDIMParallelScheduler",
            Self::DdimInverse => "DDIMInverseScheduler",
            Self::Ddpm => "DDPMScheduler",
            Self::DdpmParallel => "DDPMParallelScheduler",
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

    /// Whether its method is one of this crate.
    ///
    /// ```
    /// # use alphabar::hub::SchedulerClass;
    /// assert!(SchedulerClass::Ddpm.is_supported() && !SchedulerClass::Pndm.is_supported());
    /// ```
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.is_ddim() || self.is_ddpm() || self == Self::DdimInverse
    }

    pub(super) fn is_ddim(self) -> bool {
        matches!(self, Self::Ddim | Self::DdimParallel)
    }

    pub(super) fn is_ddpm(self) -> bool {
        matches!(self, Self::Ddpm | Self::DdpmParallel)
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
            Self::Lcm | Self::Tcd => (0.00085, 0.012, "scaled_linear"),
            _ => (1e-4, 0.02, "linear"),
        };
        Defaults {
            beta_start,
            beta_end,
            beta_schedule,
            clip_sample: self.is_supported(),
            end: if self == Self::Pndm { PathEnd::FirstLevel } else { PathEnd::Clean },
            timestep_spacing: match self.list() {
                List::Fractional | List::OneMore => "linspace",
                List::Same | List::Distilled => "leading",
            },
        }
    }

    /// Whether the constructor of the class in Python takes this `beta_schedule`.
    pub(super) fn takes_beta_schedule(self, name: &str) -> bool {
        matches!(name, "linear" | "scaled_linear" | "squaredcos_cap_v2") || self.is_ddpm()
    }
}

impl core::str::FromStr for SchedulerClass {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
            config_error("_class_name", name, "is none of the schedulers with a table of β that are read here")
        })
    }
}

impl fmt::Display for SchedulerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

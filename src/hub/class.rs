//! The scheduler classes of diffusers, and their defaults.

use core::fmt;

use crate::error::Error;
use crate::hub::Spacing;
use crate::hub::json::config_error;
use crate::hub::keys::acts;
use crate::timesteps::PathEnd;

/// The classes, with their names in diffusers.
macro_rules! classes {
    ($(#[$about:meta])* enum SchedulerClass { $($(#[$what:meta])* $class:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SchedulerClass {
            $($(#[$what])* $class,)+
        }

        impl SchedulerClass {
            pub(super) const ALL: [Self; [$($name),+].len()] = [$(Self::$class),+];

            /// The name of the class in diffusers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)+
                }
            }
        }
    };
}

classes! {
    /// A scheduler class of diffusers: the one that a configuration names, or the one that you read it as.
    ///
    /// Each class runs with its own sampler. [The guide](crate::guide::model_folders) names it and says what differs from diffusers.
    ///
    /// ```
    /// use alphabar::hub::SchedulerClass;
    ///
    /// let class: SchedulerClass = "EulerDiscreteScheduler".parse()?;
    /// assert_eq!(class, SchedulerClass::EulerDiscrete);
    /// // A Flax class of earlier diffusers versions is read as its PyTorch counterpart.
    /// assert_eq!("FlaxDDIMScheduler".parse::<SchedulerClass>()?, SchedulerClass::Ddim);
    /// assert_eq!("FlowMatchEulerDiscreteScheduler".parse::<SchedulerClass>()?, SchedulerClass::FlowMatchEulerDiscrete);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    enum SchedulerClass {
        /// `DDIMScheduler`: DDIM with η.
        Ddim = "DDIMScheduler",
        /// `DDIMParallelScheduler`: DDIM.
        DdimParallel = "DDIMParallelScheduler",
        /// `DDIMInverseScheduler`: DDIM inversion, from data to noise.
        DdimInverse = "DDIMInverseScheduler",
        /// `DDPMScheduler`: DDPM with the variance of the file.
        Ddpm = "DDPMScheduler",
        /// `DDPMParallelScheduler`: DDPM.
        DdpmParallel = "DDPMParallelScheduler",
        /// `UnCLIPScheduler`: DDPM on the cosine schedule.
        UnClip = "UnCLIPScheduler",
        /// `CogVideoXDDIMScheduler`: DDIM on a schedule of shifted SNR.
        CogVideoXDdim = "CogVideoXDDIMScheduler",
        /// `CogVideoXDPMScheduler`: SDE-DPM-Solver++ 2M on a schedule of shifted SNR.
        CogVideoXDpm = "CogVideoXDPMScheduler",
        /// `PNDMScheduler`: PLMS, or PNDM with Runge–Kutta steps at the start.
        Pndm = "PNDMScheduler",
        /// `EulerDiscreteScheduler`: DDIM with η = 0.
        EulerDiscrete = "EulerDiscreteScheduler",
        /// `EulerAncestralDiscreteScheduler`: DDIM with η = 1.
        EulerAncestralDiscrete = "EulerAncestralDiscreteScheduler",
        /// `HeunDiscreteScheduler`: Heun's method in σ, with 2S − 1 network calls.
        HeunDiscrete = "HeunDiscreteScheduler",
        /// `LMSDiscreteScheduler`: LMS of order 4.
        LmsDiscrete = "LMSDiscreteScheduler",
        /// `KDPM2DiscreteScheduler`: DPM-Solver-2 in σ.
        Kdpm2Discrete = "KDPM2DiscreteScheduler",
        /// `KDPM2AncestralDiscreteScheduler`: DPM-Solver-2 ancestral.
        Kdpm2AncestralDiscrete = "KDPM2AncestralDiscreteScheduler",
        /// `DPMSolverSDEScheduler`: [`TwoStage::sde`](crate::TwoStage::sde).
        DpmSolverSde = "DPMSolverSDEScheduler",
        /// `DPMSolverMultistepScheduler`: DPM-Solver(++) multistep, as ODE and as SDE.
        DpmSolverMultistep = "DPMSolverMultistepScheduler",
        /// `DPMSolverSinglestepScheduler`: DPM-Solver(++) single-step; the inner points of a step are points of the path.
        DpmSolverSinglestep = "DPMSolverSinglestepScheduler",
        /// `DEISMultistepScheduler`: DEIS in log ρ.
        DeisMultistep = "DEISMultistepScheduler",
        /// `UniPCMultistepScheduler`: UniPC with its corrector.
        UniPcMultistep = "UniPCMultistepScheduler",
        /// `SASolverScheduler`: SA-Solver.
        SaSolver = "SASolverScheduler",
        /// `LCMScheduler`: LCM.
        Lcm = "LCMScheduler",
        /// `TCDScheduler`: TCD with γ.
        Tcd = "TCDScheduler",
        /// `DPMSolverMultistepInverseScheduler`: inversion by DPM-Solver(++) multistep, along the path from data to noise.
        DpmSolverMultistepInverse = "DPMSolverMultistepInverseScheduler",
        /// `IPNDMScheduler`: iPNDM of order 4 (Dance Diffusion).
        Ipndm = "IPNDMScheduler",
        /// `EDMEulerScheduler`: Euler's method with EDM's preconditioning.
        EdmEuler = "EDMEulerScheduler",
        /// `EDMDPMSolverMultistepScheduler`: DPM-Solver++ multistep with EDM's preconditioning.
        EdmDpmSolverMultistep = "EDMDPMSolverMultistepScheduler",
        /// `CosineDPMSolverMultistepScheduler`: SDE-DPM-Solver++ multistep of Stable Audio.
        CosineDpmSolverMultistep = "CosineDPMSolverMultistepScheduler",
        /// `FlowMatchEulerDiscreteScheduler`: Euler's method of a flow.
        FlowMatchEulerDiscrete = "FlowMatchEulerDiscreteScheduler",
        /// `FlowMatchHeunDiscreteScheduler`: [`FlowHeun`](crate::FlowHeun), with 2S − 1 network calls.
        FlowMatchHeunDiscrete = "FlowMatchHeunDiscreteScheduler",
        /// `FlowMatchLCMScheduler`: [`Renoise`](crate::Renoise).
        FlowMatchLcm = "FlowMatchLCMScheduler",
        /// `LTXEulerAncestralRFScheduler`: Euler ancestral of rectified flows.
        LtxEulerAncestralRf = "LTXEulerAncestralRFScheduler",
        /// `ScoreSdeVeScheduler`: reverse diffusion of a variance-exploding SDE, without its corrector.
        ScoreSdeVe = "ScoreSdeVeScheduler",
    }
}

/// Classes whose settings are read and run by the same module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// A β table, sampled in t: DDIM, DDPM, PNDM, LCM, TCD.
    Table,
    /// A β table, sampled in σ: Euler, Heun, LMS, KDPM2, DPM-Solver SDE.
    Sigma,
    /// A β table, sampled in λ by multistep methods: DPM-Solver, DEIS, UniPC, SA-Solver.
    Multistep,
    /// Flow matching.
    Flow,
    /// Noise levels by a formula: EDM, Stable Audio, score networks, iPNDM.
    Continuous,
}

/// How a class lists its timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// S whole t, as in DDIM.
    Whole,
    /// S values of t, as in DDIM; with "linspace" they keep their fractions.
    Fractional,
    /// The first S of S + 1 entries, with "linspace" and "leading".
    OneMore,
    /// S of the S₀ timesteps that the network was distilled for, about every (S₀/S)-th.
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
    /// All classes, in the order of their declaration.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        Self::ALL.into_iter()
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::Ddim
            | Self::DdimParallel
            | Self::DdimInverse
            | Self::Ddpm
            | Self::DdpmParallel
            | Self::UnClip
            | Self::CogVideoXDdim
            | Self::CogVideoXDpm
            | Self::Pndm
            | Self::Lcm
            | Self::Tcd => Family::Table,
            Self::EulerDiscrete
            | Self::EulerAncestralDiscrete
            | Self::HeunDiscrete
            | Self::LmsDiscrete
            | Self::Kdpm2Discrete
            | Self::Kdpm2AncestralDiscrete
            | Self::DpmSolverSde => Family::Sigma,
            Self::DpmSolverMultistep
            | Self::DpmSolverMultistepInverse
            | Self::DpmSolverSinglestep
            | Self::DeisMultistep
            | Self::UniPcMultistep
            | Self::SaSolver => Family::Multistep,
            Self::FlowMatchEulerDiscrete
            | Self::FlowMatchHeunDiscrete
            | Self::FlowMatchLcm
            | Self::LtxEulerAncestralRf => Family::Flow,
            Self::Ipndm
            | Self::EdmEuler
            | Self::EdmDpmSolverMultistep
            | Self::CosineDpmSolverMultistep
            | Self::ScoreSdeVe => Family::Continuous,
        }
    }

    /// Whether the class samples by DDPM.
    pub(super) fn is_ddpm(self) -> bool {
        matches!(self, Self::Ddpm | Self::DdpmParallel | Self::UnClip)
    }

    /// Whether the class samples flows only.
    pub(super) fn is_flow(self) -> bool {
        self.family() == Family::Flow
    }

    /// Whether the class has a table of β.
    pub(super) fn has_betas(self) -> bool {
        !matches!(self.family(), Family::Flow | Family::Continuous)
    }

    /// Whether diffusers steps to t − ⌊T/S⌋ instead of the next timestep.
    pub(super) fn steps_by_stride(self) -> bool {
        matches!(
            self,
            Self::Ddim | Self::DdimParallel | Self::DdimInverse | Self::CogVideoXDdim | Self::CogVideoXDpm | Self::Pndm
        )
    }

    pub(super) fn list(self) -> List {
        match (self.family(), self) {
            (_, Self::Lcm | Self::Tcd) => List::Distilled,
            (Family::Sigma, _) => List::Fractional,
            (Family::Multistep, _) => List::OneMore,
            _ => List::Whole,
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
        let ends_at_first = matches!(self, Self::Pndm | Self::Tcd | Self::DeisMultistep | Self::SaSolver);
        Defaults {
            beta_start,
            beta_end,
            beta_schedule,
            clip_sample: acts(self, "clip_sample") && !matches!(self, Self::HeunDiscrete | Self::Lcm),
            end: if ends_at_first { PathEnd::FirstLevel } else { PathEnd::Clean },
            spacing: match self.list() {
                List::Fractional | List::OneMore => Spacing::Linspace,
                _ if self == Self::UnClip => Spacing::Linspace,
                List::Whole | List::Distilled => Spacing::Leading,
            },
            snr_shift_scale: if acts(self, "snr_shift_scale") { 3.0 } else { 1.0 },
        }
    }

    /// Whether diffusers replaces ᾱ = 0 by 2⁻²⁴, because this class divides by √ᾱ.
    pub(super) fn keeps_snr_above_zero(self) -> bool {
        matches!(
            self,
            Self::EulerDiscrete | Self::EulerAncestralDiscrete | Self::DpmSolverMultistep | Self::UniPcMultistep
        )
    }

    /// Whether the class of diffusers accepts this `beta_schedule`.
    pub(super) fn takes_beta_schedule(self, name: &str) -> bool {
        match self {
            Self::UnClip => name == "squaredcos_cap_v2",
            Self::Ddpm | Self::DdpmParallel => true,
            _ => matches!(name, "linear" | "scaled_linear" | "squaredcos_cap_v2"),
        }
    }

    /// Whether the class of diffusers accepts this `prediction_type`.
    pub(super) fn takes_prediction(self, name: &str) -> bool {
        match self {
            Self::UnClip => name != "v_prediction",
            Self::Pndm
            | Self::EulerAncestralDiscrete
            | Self::Kdpm2Discrete
            | Self::Kdpm2AncestralDiscrete
            | Self::DpmSolverSde => name != "sample",
            _ => true,
        }
    }
}

impl core::str::FromStr for SchedulerClass {
    type Err = Error;

    /// Reads the name of a class, with or without the prefix `Flax`.
    fn from_str(name: &str) -> Result<Self, Error> {
        let plain = name.strip_prefix("Flax").unwrap_or(name);
        Self::ALL.into_iter().find(|class| class.name() == plain).ok_or_else(|| {
            let reason = "is not supported; hub::SchedulerClass lists the classes that are. To read the file as one of them use \
                          SchedulerConfig::from_json_as";
            config_error("_class_name", name, reason)
        })
    }
}

impl fmt::Display for SchedulerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

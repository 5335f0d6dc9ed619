//! Notes on a configuration: settings that are ignored, or handled differently than in diffusers.

use core::fmt;

use crate::hub::SchedulerClass;
use crate::hub::json::few_digits;

/// A note on one setting of a configuration, from [`SchedulerConfig::notes`](crate::hub::SchedulerConfig::notes).
///
/// `Display` gives one line: the key, what is different, and what you can do about it.
///
/// ```
/// use alphabar::hub::{Note, SchedulerConfig};
///
/// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}"#)?;
/// for note in config.notes() {
///     println!("{note}"); // timestep_spacing: each step goes to the next timestep; diffusers …
/// }
/// assert_eq!(config.notes()[0].key(), "timestep_spacing");
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A key that none of the supported diffusers classes has.
    Unknown {
        /// The key.
        key: String,
    },
    /// A key that has no effect.
    Ignored {
        /// The key.
        key: String,
        /// Why it has no effect.
        reason: Ignored,
    },
    /// A setting whose effect differs from diffusers.
    Differs(Difference),
    /// The last step goes from t = 0 to t = 0, as in diffusers: a wasted network call.
    StandsStill,
}

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The other settings of the file leave it without effect.
    Unused,
    /// The class of the configuration does not use it, neither here nor in diffusers.
    NotOfClass(SchedulerClass),
    /// In diffusers it is an argument of `step()`, not a setting.
    StepArgument,
    /// `trained_betas` is given and defines the schedule.
    TrainedBetas,
    /// The cosine and Laplace schedules have no `beta_start` and `beta_end`.
    FixedSchedule,
    /// The option that it belongs to is off.
    Off(&'static str),
    /// Dynamic thresholding is on and takes precedence over clipping, in diffusers too.
    Thresholding,
    /// It seeds the noise. Here you choose the noise source and its seed.
    NoiseSource,
    /// Its value is a word of another class. It is read as the word given here, as in diffusers.
    Foreign(&'static str),
    /// It is a key of early diffusers versions that changes no number, or the key that replaced it is given too.
    Removed,
}

/// How the effect of a setting differs from diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// diffusers does not compute what its class is meant to compute.
    Quirk(&'static Quirk),
    /// The DDIM of diffusers steps to t − ⌊T/S⌋ instead of the next timestep, for every spacing.
    Predecessor,
    /// The last step of the DDIM of diffusers does not reach the end of the path if the offset is at least ⌊T/S⌋.
    OffsetPredecessor,
    /// For some S the trailing timesteps of diffusers are S + 1, by a rounding in numpy.
    TrailingLength,
    /// With "linspace" and S = 1, diffusers starts at t = 0.
    LinspaceSingle,
    /// The DDPM of diffusers adds noise on the step to clean data, unless its t is 0.
    LastStepNoise,
    /// For `fixed_large_log` diffusers takes the square root of a negative logarithm, which is NaN.
    FixedLargeLog,
    /// With a learned variance, the network's output v is ln σ², but diffusers uses √v as σ.
    Learned,
    /// The network's output has channels for the variance, which the sampler does not use.
    DropVariance,
    /// diffusers returns NaN at ᾱ = 0 if noise is added.
    ZeroSnr,
    /// Classes of diffusers that work in σ use 2⁻²⁴ instead of ᾱ = 0.
    ZeroSnrFloor,
    /// ε-prediction does not determine x₀ at ᾱ = 0.
    ZeroSnrEpsilon,
    /// The corrector of `ScoreSdeVeScheduler` is not part of a plan.
    Corrector,
    /// diffusers has no SDE step of order 3.
    ThirdOrderWithNoise,
    /// This class of diffusers refuses this `beta_schedule`.
    BetaSchedule(SchedulerClass),
    /// This class of diffusers refuses this `prediction_type`.
    PredictionType(SchedulerClass),
    /// The `DDIMInverseScheduler` of diffusers refuses "linspace".
    InverseLinspace,
    /// `predict_epsilon = false` of early versions means x₀-prediction.
    PredictEpsilon,
    /// A key of early versions, read as the key that replaced it.
    Renamed {
        /// The key in the file.
        from: &'static str,
        /// Its present name.
        to: &'static str,
    },
    /// The class is one of the Flax classes that earlier diffusers versions had.
    Flax(SchedulerClass),
}

/// A place where diffusers does not compute what its class is meant to compute.
///
/// ```
/// use alphabar::hub::{Difference, Note, SchedulerConfig};
///
/// let config =
///     SchedulerConfig::from_json(r#"{"_class_name": "LMSDiscreteScheduler"}"#)?;
/// for note in config.notes() {
///     if let Note::Differs(Difference::Quirk(quirk)) = note {
///         assert!(quirk.in_compat && quirk.by < 1.0);
///     }
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quirk {
    /// The key that it is about.
    pub key: &'static str,
    /// What alphabar does.
    pub here: &'static str,
    /// What diffusers does.
    pub diffusers: &'static str,
    /// The largest difference |x − x′|/max(1, |x′|) between x here and x′ of diffusers, over the runs recorded for the tests; ∞ if diffusers
    /// has no result.
    pub by: f64,
    /// Whether [`SchedulerConfig::compat`](crate::hub::SchedulerConfig::compat) reproduces it.
    pub in_compat: bool,
}

/// How a note ends whose difference compat() reproduces.
const REPRODUCED: &str = ". To reproduce it use compat()";

impl Eq for Quirk {}

impl core::hash::Hash for Quirk {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.key, self.here, self.diffusers).hash(state);
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { here, diffusers, by, in_compat, .. } = self;
        write!(f, "{here}; diffusers {diffusers}")?;
        if by.is_finite() {
            write!(f, ". This changes x by up to {} (relative, the worst of all options)", few_digits(*by))?;
        }
        f.write_str(if *in_compat {
            REPRODUCED
        } else if by.is_finite() {
            ". compat() does not reproduce it"
        } else {
            ". No action needed"
        })
    }
}

impl Note {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key } | Self::Ignored { key, .. } => key,
            Self::Differs(difference) => difference.key(),
            Self::StandsStill => "timestep_spacing",
        }
    }
}

impl Difference {
    /// The key whose effect differs from diffusers.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Quirk(quirk) => quirk.key,
            Self::Flax(_) => "_class_name",
            Self::Predecessor
            | Self::TrailingLength
            | Self::LinspaceSingle
            | Self::LastStepNoise
            | Self::InverseLinspace => "timestep_spacing",
            Self::OffsetPredecessor => "steps_offset",
            Self::FixedLargeLog | Self::Learned | Self::DropVariance => "variance_type",
            Self::ZeroSnr | Self::ZeroSnrFloor | Self::ZeroSnrEpsilon => "rescale_betas_zero_snr",
            Self::Corrector => "correct_steps",
            Self::ThirdOrderWithNoise => "solver_order",
            Self::BetaSchedule(_) => "beta_schedule",
            Self::PredictionType(_) => "prediction_type",
            Self::PredictEpsilon => "predict_epsilon",
            Self::Renamed { from, .. } => from,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key())?;
        match self {
            Self::Unknown { .. } => f.write_str("unknown key, ignored (check the spelling)"),
            Self::Ignored { reason, .. } => write!(f, "ignored: {reason}"),
            Self::Differs(difference) => difference.fmt(f),
            Self::StandsStill => f.write_str(
                "the last step goes from t = 0 to t = 0, as in diffusers: a wasted network call. To end at clean data \
                 use set_alpha_to_one = true or final_sigmas_type = zero, whichever the class has",
            ),
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused => f.write_str("has no effect with the other settings of this file"),
            Self::NotOfClass(class) => write!(f, "{class} does not use this key, neither here nor in diffusers"),
            Self::StepArgument => f.write_str(
                "an argument of step() in diffusers, not a setting. Pass eta to Run::eta, and s_churn, s_tmin, s_tmax \
                 and s_noise to Path::churned",
            ),
            Self::TrainedBetas => f.write_str("trained_betas is given and defines the schedule"),
            Self::FixedSchedule => f.write_str("cosine and Laplace schedules have no beta_start and beta_end"),
            Self::Off(key) => write!(f, "acts only with {key}, which is off"),
            Self::Thresholding => {
                f.write_str("dynamic thresholding is on and takes precedence over clipping (in diffusers too)")
            }
            Self::NoiseSource => {
                f.write_str("it seeds the noise. Pass the seed to the noise source: noise::Brownian::new(seed, &plan)")
            }
            Self::Foreign(word) => write!(f, "a value of another class, which is read as {word}, as in diffusers"),
            Self::Removed => f.write_str("a key of early diffusers versions, which has no effect here"),
        }
    }
}

impl Difference {
    /// Whether [`SchedulerConfig::compat`](crate::hub::SchedulerConfig::compat) reproduces what diffusers does. After it, such a note is no longer
    /// in [`SchedulerConfig::notes`](crate::hub::SchedulerConfig::notes).
    #[must_use]
    pub fn in_compat(self) -> bool {
        match self {
            Self::Quirk(quirk) => quirk.in_compat,
            Self::Predecessor
            | Self::OffsetPredecessor
            | Self::LinspaceSingle
            | Self::LastStepNoise
            | Self::ZeroSnrFloor => true,
            Self::TrailingLength
            | Self::FixedLargeLog
            | Self::Learned
            | Self::DropVariance
            | Self::ZeroSnr
            | Self::ZeroSnrEpsilon
            | Self::Corrector
            | Self::ThirdOrderWithNoise
            | Self::BetaSchedule(_)
            | Self::PredictionType(_)
            | Self::InverseLinspace
            | Self::PredictEpsilon
            | Self::Renamed { .. }
            | Self::Flax(_) => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It says itself whether compat() reproduces it.
            Self::Quirk(quirk) => return quirk.fmt(f),
            Self::Predecessor => f.write_str(
                "each step goes to the next timestep; diffusers goes to t − ⌊T/S⌋, which is another level with this \
                 spacing",
            ),
            Self::OffsetPredecessor => f.write_str(
                "the last step goes to the end of the path; diffusers goes to t − ⌊T/S⌋ if that is not below 0",
            ),
            Self::TrailingLength => f.write_str(
                "there are S timesteps for every S; diffusers makes S + 1 for some S, the last of them t = −1. No \
                 action needed",
            ),
            Self::LinspaceSingle => f.write_str(
                "a single step starts from t = T − 1; diffusers starts from t = 0",
            ),
            Self::LastStepNoise => f.write_str(
                "the step to clean data adds no noise; diffusers adds some unless its t is 0",
            ),
            Self::FixedLargeLog => f.write_str(
                "read as fixed_large (variance β); diffusers computes √ln β, which is NaN. No action needed",
            ),
            Self::Learned => f.write_str(
                "v is ln σ², as in improved DDPM; diffusers uses √v as σ, which compat() does not reproduce",
            ),
            Self::DropVariance => f.write_str(
                "the network returns channels for the variance, which this sampler does not use. Wrap the network in \
                 predictor::WithoutVariance",
            ),
            Self::ZeroSnr => f.write_str(
                "the last ᾱ is exactly 0, as it should be; diffusers returns NaN here if noise is added. No action needed",
            ),
            Self::ZeroSnrFloor => f.write_str(
                "the last ᾱ is exactly 0, as it should be; diffusers uses 2⁻²⁴",
            ),
            Self::ZeroSnrEpsilon => f.write_str(
                "the last ᾱ is exactly 0, where ε-prediction does not determine x₀: a plan that starts there is refused. \
                 Use leading spacing, which does not start there, or set prediction_type if the network predicts v or x₀",
            ),
            Self::Corrector => f.write_str(
                "the predictor runs alone; the pipeline of diffusers also corrects x before each step, by this number of \
                 Langevin steps. Their length depends on norms over the batch, which a plan cannot hold. If you need \
                 them, write them in your loop",
            ),
            Self::ThirdOrderWithNoise => f.write_str(
                "SDE-DPM-Solver++ of order 3 runs; diffusers has no SDE step of order 3, and fails when it needs one. No \
                 action needed",
            ),
            Self::BetaSchedule(class) => {
                write!(f, "read as in DDPMScheduler; {class} of diffusers refuses it. Check how the network was trained")
            }
            Self::PredictionType(class) => {
                write!(f, "read as in DDIMScheduler; {class} of diffusers refuses it. Check what the network predicts")
            }
            Self::InverseLinspace => f.write_str(
                "read as in DDIMScheduler; DDIMInverseScheduler of diffusers refuses it. No action needed",
            ),
            Self::PredictEpsilon => f.write_str(
                "false means x₀-prediction, as in diffusers up to 0.11; later versions ignore it and use ε-prediction. \
                 Write prediction_type = sample instead",
            ),
            Self::Renamed { to, .. } => {
                write!(f, "the old name of {to}, read as {to}. Rename it: diffusers ignores or deprecates old names")
            }
            Self::Flax(class) => {
                write!(f, "a Flax class of earlier diffusers versions, read as {class}. No action needed")
            }
        }?;
        if self.in_compat() { f.write_str(REPRODUCED) } else { Ok(()) }
    }
}

//! The settings of a configuration that are ignored, or handled differently than in diffusers.

use core::fmt;

use crate::hub::SchedulerClass;
use crate::hub::json::few_digits;

/// One line of the report on a configuration, from [`SchedulerConfig::notes`](crate::hub::SchedulerConfig::notes).
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
    /// A key without effect.
    Ignored {
        /// The key.
        key: String,
        /// Why it has none.
        reason: Ignored,
    },
    /// A setting that has another effect than in diffusers.
    Differs(Difference),
    /// The last step goes from t = 0 to t = 0, as in diffusers: a wasted network call.
    StandsStill,
}

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// It does nothing beside the other settings of this file.
    Unused,
    /// The class of the configuration does not use it, in diffusers either.
    NotOfClass(SchedulerClass),
    /// In diffusers it is an argument of `step()`, and not a setting.
    StepArgument,
    /// `trained_betas` are given.
    TrainedBetas,
    /// The cosine and Laplace schedules have no `beta_start` and `beta_end`.
    FixedSchedule,
    /// The option that it belongs to is off.
    Off(&'static str),
    /// Dynamic thresholding is on and takes precedence over clipping, in diffusers too.
    Thresholding,
    /// It seeds noise, which is passed to a run here.
    NoiseSource,
    /// Its value is a word of another class, which is read as this one, as diffusers does.
    Foreign(&'static str),
    /// It is a key of early versions that has no effect on the numbers, or the key that replaced it is given too.
    Removed,
}

/// How an effect differs from that in diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// A departure of diffusers from what its class is meant to compute, which [`SchedulerConfig::compat`](crate::hub::SchedulerConfig::compat) reproduces.
    Quirk(&'static Quirk),
    /// The DDIM of diffusers steps to t − ⌊T/S⌋, whatever the spacing.
    Predecessor,
    /// The DDIM of diffusers does not end the path at its last step if the offset is as large as ⌊T/S⌋.
    OffsetPredecessor,
    /// numpy's list of trailing timesteps is one too long for some S.
    TrailingLength,
    /// A single step of "linspace" starts at t = 0 in diffusers.
    LinspaceSingle,
    /// The DDPM of diffusers adds noise on the last step unless its t is 0.
    LastStepNoise,
    /// diffusers takes the square root of a logarithm for `fixed_large_log`, which is NaN.
    FixedLargeLog,
    /// diffusers takes √v for σ if the variance is learned, where v is ln σ².
    Learned,
    /// The network's output has channels for the variance, which the sampler does not use.
    DropVariance,
    /// diffusers returns NaN at ᾱ = 0 if noise is added.
    ZeroSnr,
    /// Classes that work in σ use 2⁻²⁴ for ᾱ = 0.
    ZeroSnrFloor,
    /// ε-prediction does not determine x₀ at ᾱ = 0.
    ZeroSnrEpsilon,
    /// The corrector of `ScoreSdeVeScheduler` is not part of a plan.
    Corrector,
    /// diffusers has no step of order 3 with noise.
    ThirdOrderWithNoise,
    /// This class refuses this `beta_schedule`.
    BetaSchedule(SchedulerClass),
    /// This class refuses this `prediction_type`.
    PredictionType(SchedulerClass),
    /// `DDIMInverseScheduler` refuses "linspace".
    InverseLinspace,
    /// `predict_epsilon = false` of early versions means x₀-prediction.
    PredictEpsilon,
    /// A key of early versions, read as the key that replaced it.
    Renamed {
        /// The key in the file.
        from: &'static str,
        /// What it is called now.
        to: &'static str,
    },
    /// The file is of the former Flax half of diffusers.
    Flax(SchedulerClass),
}

/// What diffusers computes differently from what its class is meant to compute.
///
/// ```
/// use alphabar::hub::{Difference, Note, SchedulerConfig};
///
/// let config = SchedulerConfig::from_json(r#"{"_class_name": "LMSDiscreteScheduler"}"#)?;
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
    /// What is done here.
    pub here: &'static str,
    /// What diffusers does.
    pub diffusers: &'static str,
    /// The largest difference |x − x′|/max(1, |x′|) from the x′ of diffusers, over the runs recorded for the tests; ∞ where diffusers has no
    /// result.
    pub by: f64,
    /// Whether [`SchedulerConfig::compat`](crate::hub::SchedulerConfig::compat) reproduces it.
    pub in_compat: bool,
}

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
            write!(f, ". This changes x by up to {} (relative)", few_digits(*by))?;
        }
        if *in_compat { f.write_str(". To reproduce it use compat()") } else { Ok(()) }
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
    /// The key that has another effect than in diffusers.
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
                "the last step goes from t = 0 to t = 0, as in diffusers: a wasted network call. To end in clean data set \
                 set_alpha_to_one = true or final_sigmas_type = zero, whichever the class has",
            ),
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused => f.write_str("does nothing beside the other settings of this file"),
            Self::NotOfClass(class) => write!(f, "{class} does not use it, in diffusers either"),
            Self::StepArgument => f.write_str(
                "an argument of step() in diffusers, and not a setting. Pass η to Run::eta, and churn to Path::churned",
            ),
            Self::TrainedBetas => f.write_str("trained_betas are given"),
            Self::FixedSchedule => f.write_str("cosine and Laplace schedules have no beta_start/beta_end"),
            Self::Off(key) => write!(f, "{key} is off"),
            Self::Thresholding => {
                f.write_str("dynamic thresholding is on and takes precedence over clipping (in diffusers too)")
            }
            Self::NoiseSource => {
                f.write_str("a seed of noise; give the seed to the source of noise, noise::Brownian::new(seed, &plan)")
            }
            Self::Foreign(word) => write!(f, "a word of another class, read as {word}, as diffusers does"),
            Self::Removed => f.write_str("a key of early diffusers versions that changes nothing here"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quirk(quirk) => quirk.fmt(f),
            Self::Predecessor => f.write_str(
                "each step goes to the next timestep; diffusers goes to t − ⌊T/S⌋, another level under this spacing. To \
                 reproduce it use compat()",
            ),
            Self::OffsetPredecessor => f.write_str(
                "the last step goes to the end of the path; diffusers goes to t − ⌊T/S⌋ if that is not below 0. To \
                 reproduce it use compat()",
            ),
            Self::TrailingLength => {
                f.write_str("S timesteps for every S; diffusers makes S + 1 for some, the last of them t = −1")
            }
            Self::LinspaceSingle => f.write_str(
                "a single step starts from t = T − 1; diffusers starts from t = 0. To reproduce it use compat()",
            ),
            Self::LastStepNoise => f.write_str(
                "no noise on the step to clean data; diffusers adds some unless its t is 0. To reproduce it use compat()",
            ),
            Self::FixedLargeLog => f.write_str("read as fixed_large (variance β); diffusers takes √ln β, which is NaN"),
            Self::Learned => f.write_str("v is ln σ², as in improved DDPM; diffusers takes √v for σ"),
            Self::DropVariance => f.write_str(
                "the network has channels for the variance, which this sampler does not use. Wrap the network in \
                 predictor::WithoutVariance",
            ),
            Self::ZeroSnr => {
                f.write_str("the last ᾱ is exactly 0, as it should be; diffusers returns NaN here if noise is added")
            }
            Self::ZeroSnrFloor => f.write_str("the last ᾱ is exactly 0, as it should be; diffusers uses 2⁻²⁴ here"),
            Self::ZeroSnrEpsilon => f.write_str(
                "the last ᾱ is exactly 0, where ε-prediction does not determine x₀: a plan that starts there is refused. \
                 Leading spacing does not start there",
            ),
            Self::Corrector => f.write_str(
                "the predictor runs alone; the pipeline of diffusers corrects x before each step by so many Langevin steps. Their length \
                 depends on norms over the batch, which no plan can hold",
            ),
            Self::ThirdOrderWithNoise => {
                f.write_str("SDE-DPM-Solver++ of order 3 runs; diffusers has no step of order 3 with noise, and fails where it needs one")
            }
            Self::BetaSchedule(class) => write!(f, "read as DDPMScheduler does; {class} refuses it"),
            Self::PredictionType(class) => write!(f, "read as DDIMScheduler does; {class} refuses it"),
            Self::InverseLinspace => f.write_str("read as DDIMScheduler does; DDIMInverseScheduler refuses it"),
            Self::PredictEpsilon => f.write_str(
                "false means x₀-prediction, as in diffusers up to 0.11; later versions ignore it and take ε-prediction",
            ),
            Self::Renamed { to, .. } => write!(f, "read as {to}, its present name; diffusers ignores the old one"),
            Self::Flax(class) => write!(f, "a class of the former Flax half of diffusers; read as {class}"),
        }
    }
}

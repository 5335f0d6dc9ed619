//! What a configuration says that is not done, or not done as Python does it.

use core::fmt;

use crate::hub::SchedulerClass;

/// A line of the report on a configuration: [`SchedulerConfig::notes`](crate::hub::SchedulerConfig::notes).
///
/// ```
/// use alphabar::hub::{Difference, Note};
///
/// let note = Note::Differs(Difference::Predecessor);
/// assert_eq!(note.key(), "timestep_spacing");
/// assert!(note.to_string().starts_with("timestep_spacing: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A key that no scheduler of Python's has that is read here.
    Unknown {
        /// The key.
        key: String,
    },
    /// A key without effect.
    Ignored {
        /// The key.
        key: String,
        /// Why.
        reason: Ignored,
    },
    /// A key that has effect, though not quite Python's.
    Differs(Difference),
    /// A key that is not there, for which the class of the configuration and `DDIMScheduler` have different defaults. The
    /// former is taken; [`SchedulerConfig::with_class`](crate::hub::SchedulerConfig::with_class) takes the latter.
    Default {
        /// The key.
        key: &'static str,
        /// What is taken.
        taken: &'static str,
        /// What `DDIMScheduler.from_config` takes.
        ddim: &'static str,
    },
}

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// It belongs to a method that is not in this crate.
    Method,
    /// It spaces steps in σ, as a method that is not in this crate does.
    SigmaSpacing,
    /// The class of the configuration does not have it, in Python neither.
    NotOfClass(SchedulerClass),
    /// `trained_betas` are given.
    TrainedBetas,
    /// The cosine and Laplace schedules have no ends to choose.
    FixedSchedule,
    /// The option that it belongs to is off.
    Off(&'static str),
    /// Dynamic thresholding is on and goes before, in Python too.
    Thresholding,
    /// Python no longer reads it.
    Removed,
}

/// How an effect differs from Python's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// The method of this class is not in this crate.
    Method(SchedulerClass),
    /// Python's DDIM goes to t − ⌊T/S⌋ whatever the spacing.
    Predecessor,
    /// The same at the last step, where the offset is as large as ⌊T/S⌋.
    OffsetPredecessor,
    /// numpy's list of trailing steps is one too long for some S.
    TrailingLength,
    /// Python's single step of "linspace" is t = 0.
    LinspaceSingle,
    /// This class lists other t for this spacing.
    List(SchedulerClass),
    /// Python's DDPM adds noise on the last step unless its t is 0.
    LastStepNoise,
    /// Python takes the root of a logarithm for `fixed_large_log`: NaN.
    FixedLargeLog,
    /// Python takes √v where ln σ² = v.
    Learned,
    /// The network's output has channels for the variance, which the method does not use.
    DropVariance,
    /// Python holds tables in `f32`, where ᾱ = 0 gives NaN with noise.
    ZeroSnr,
    /// Classes that work in σ put 2⁻²⁴ for ᾱ = 0.
    ZeroSnrFloor,
    /// This class refuses this `beta_schedule`, which only `DDPMScheduler` has.
    BetaSchedule(SchedulerClass),
    /// `DDIMInverseScheduler` refuses "linspace".
    InverseLinspace,
}

impl Note {
    /// The key that it is about.
    ///
    /// ```
    /// # use alphabar::hub::{Difference, Note};
    /// assert_eq!(Note::Differs(Difference::LastStepNoise).key(), "timestep_spacing");
    /// ```
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key } | Self::Ignored { key, .. } => key,
            Self::Default { key, .. } => key,
            Self::Differs(difference) => difference.key(),
        }
    }
}

impl Difference {
    /// The key that has another effect than in Python.
    ///
    /// ```
    /// # use alphabar::hub::Difference;
    /// assert_eq!(Difference::Learned.key(), "variance_type");
    /// ```
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Method(_) => "_class_name",
            Self::Predecessor
            | Self::TrailingLength
            | Self::LinspaceSingle
            | Self::List(_)
            | Self::LastStepNoise
            | Self::InverseLinspace => "timestep_spacing",
            Self::OffsetPredecessor => "steps_offset",
            Self::FixedLargeLog | Self::Learned | Self::DropVariance => "variance_type",
            Self::ZeroSnr | Self::ZeroSnrFloor => "rescale_betas_zero_snr",
            Self::BetaSchedule(_) => "beta_schedule",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key())?;
        match self {
            Self::Unknown { .. } => f.write_str("unknown, without effect"),
            Self::Ignored { reason, .. } => write!(f, "without effect, {reason}"),
            Self::Differs(difference) => difference.fmt(f),
            Self::Default { taken, ddim, .. } => {
                write!(f, "not given; {taken}, as its class has it, where DDIMScheduler has {ddim}")
            }
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("an option of a method that is not here"),
            Self::SigmaSpacing => f.write_str("steps are spaced in t, by timestep_spacing"),
            Self::NotOfClass(class) => write!(f, "{class} does not have it"),
            Self::TrainedBetas => f.write_str("trained_betas are given"),
            Self::FixedSchedule => f.write_str("this beta_schedule has no ends to choose"),
            Self::Off(key) => write!(f, "{key} is off"),
            Self::Thresholding => f.write_str("thresholding is on and goes before"),
            Self::Removed => f.write_str("no longer read by Python either"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(class) => write!(f, "the method of {class} is not here; plan() takes DDIM with η = 0"),
            Self::Predecessor => f.write_str(
                "each step goes to the next entry of τ; Python's DDIM goes to t − ⌊T/S⌋, which is another level under this \
                 spacing",
            ),
            Self::OffsetPredecessor => f.write_str(
                "the last step goes to the end of the path; Python's DDIM goes to t − ⌊T/S⌋ where that is not below 0",
            ),
            Self::TrailingLength => {
                f.write_str("S entries for every S; Python makes S + 1 for some, the last of them t = −1")
            }
            Self::LinspaceSingle => f.write_str("a single step starts from T − 1; Python's from t = 0"),
            Self::List(class) => match class.list() {
                super::class::List::Fractional => write!(f, "{class} does not round the t of linspace; here they are whole"),
                super::class::List::OneMore => {
                    write!(f, "{class} takes S + 1 entries of linspace or leading and drops the last; here they are S")
                }
                _ => write!(f, "{class} takes entries of the list that its network was distilled for; here all S are spaced"),
            },
            Self::LastStepNoise => {
                f.write_str("no noise on the step to clean data; Python's DDPM adds some unless its t is 0")
            }
            Self::FixedLargeLog => f.write_str("β, as fixed_large; Python takes √ln β, which is NaN"),
            Self::Learned => f.write_str("v is ln σ², as in improved DDPM; Python takes √v for σ"),
            Self::DropVariance => f.write_str(
                "the network has channels for the variance, which DDIM does not use; wrap it in predictor::WithoutVariance",
            ),
            Self::ZeroSnr => f.write_str("ᾱ = 0 and finite steps; in Python, NaN where noise is added"),
            Self::ZeroSnrFloor => f.write_str("ᾱ = 0 at the last t, where its class puts 2⁻²⁴"),
            Self::BetaSchedule(class) => write!(f, "taken as DDPMScheduler takes it; {class} refuses it"),
            Self::InverseLinspace => f.write_str("taken as DDIMScheduler takes it; DDIMInverseScheduler refuses it"),
        }
    }
}

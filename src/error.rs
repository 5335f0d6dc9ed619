//! The one error type of the crate.

mod text;

pub(crate) use text::{Digits, shortened};

use crate::{NoiseLevel, Prediction};

/// An error from other code: a network, a tensor framework, a source of noise.
pub type BoxError = Box<dyn core::error::Error + Send + Sync + 'static>;

/// Everything that can go wrong. Each message names the wrong value and its place, and says what to change.
///
/// A message contains the message of its cause, and [`source`](core::error::Error::source) returns the cause *of that cause*.
/// So `{}`, and also a report that walks the sources (anyhow's `{:#}`), prints each cause once. Match on the variant to get the
/// cause itself.
///
/// `?` turns a [`BoxError`], which [`Predictor::predict`](crate::Predictor::predict) returns, into [`Error::Predictor`].
///
/// ```
/// use alphabar::{Error, NoiseSchedule};
///
/// let error = NoiseSchedule::from_betas(vec![0.1, 1.5]).unwrap_err();
/// assert!(matches!(error, Error::Beta { t: 1, value: 1.5 }));
/// assert_eq!(error.to_string(), "β[1] = 1.5 is not inside (0, 1)");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A β outside (0, 1), or NaN.
    Beta {
        /// The index of the β.
        t: usize,
        /// The β given.
        value: f64,
    },

    /// An ᾱ outside (0, 1), or NaN; only the last may be 0.
    AlphaBar {
        /// The index of the ᾱ.
        t: usize,
        /// The ᾱ given or computed.
        value: f64,
    },

    /// ᾱ must fall from each t to the next.
    AlphaBarNotFalling {
        /// The index of the ᾱ.
        t: usize,
        /// ᾱ at t.
        value: f64,
        /// ᾱ at t − 1.
        previous: f64,
    },

    /// A number outside its domain, or NaN.
    Parameter {
        /// The name of the number.
        name: &'static str,
        /// The number given.
        value: f64,
        /// The numbers that are allowed.
        domain: &'static str,
    },

    /// A count outside its bounds.
    Count {
        /// The name of the count.
        name: &'static str,
        /// The count given.
        value: usize,
        /// The least that is allowed.
        min: usize,
        /// The most that is allowed.
        max: usize,
    },

    /// A list of the wrong length.
    Length {
        /// The name of the list.
        what: &'static str,
        /// The number of entries that it must have.
        expected: usize,
        /// The number of entries that it has.
        found: usize,
    },

    /// Timesteps that were made for a schedule of another length.
    TrainSteps {
        /// T of the schedule.
        expected: usize,
        /// T of the timesteps.
        found: usize,
    },

    /// A timestep t outside the schedule.
    Timestep {
        /// The index given.
        t: usize,
        /// T, the length of the schedule.
        train_steps: usize,
    },

    /// An offset of leading timesteps that moves the largest t out of the schedule.
    LeadingOffset {
        /// The offset given.
        offset: usize,
        /// S, the number of inference steps.
        steps: usize,
        /// The largest t that they lead to.
        t: usize,
        /// T, the length of the schedule.
        train_steps: usize,
    },

    /// Timesteps must fall strictly; these repeat a t or go back up.
    NotDescending {
        /// The entry's place in the list.
        index: usize,
        /// The entry.
        value: usize,
        /// The entry before it.
        previous: usize,
    },

    /// A list of numbers must fall strictly; this one repeats a number, rises or holds NaN.
    NotFalling {
        /// The name of the numbers.
        what: &'static str,
        /// The entry's place in the list.
        index: usize,
        /// The entry.
        value: f64,
        /// The entry before it.
        previous: f64,
    },

    /// The noise of a path must fall from each point to the next, and to its end.
    PathOrder {
        /// The point's place in the list; the number of points stands for the end of the path.
        index: usize,
        /// σ = noise/signal of the point.
        sigma: f64,
        /// σ of the point before it.
        previous: f64,
    },

    /// A σ outside the range that a network was trained for.
    Sigma {
        /// The σ = noise/signal given.
        sigma: f64,
        /// The smallest σ of the range.
        min: f64,
        /// The largest σ of the range.
        max: f64,
    },

    /// An encoding path (DDIM inversion) starts at clean data, where the network's t is not defined.
    Unconditioned,

    /// The sampler calls the network between the points of the path, but the path does not know its process.
    NoProcess,

    /// An operation that needs the timesteps of a trained table was called for a plan along another path.
    Untrained,

    /// An unknown name.
    UnknownName {
        /// What is named.
        what: &'static str,
        /// The name given, shortened if it is long.
        name: String,
        /// The names that are known.
        expected: &'static str,
    },

    /// A respacing string that cannot be read or fulfilled.
    Respacing {
        /// The text given, shortened if it is long.
        text: String,
        /// Why it cannot be read or fulfilled.
        reason: String,
    },

    /// A strength or a largest t that leaves no step to take.
    NothingToDo {
        /// The parameter that cut the path.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The number of steps before the cut.
        steps: usize,
    },

    /// A conversion between predictions that divides by zero at this level.
    Undetermined {
        /// What the network predicts.
        from: Prediction,
        /// The quantity that was asked for.
        to: Prediction,
        /// The noise level.
        level: NoiseLevel,
    },

    /// The step would add noise of variance σ² > 1 − ᾱ_s: more than its target level contains.
    EtaTooLarge {
        /// The η given.
        eta: f64,
        /// The σ² that it asks for; infinite if that exceeds the range of `f64`.
        variance: f64,
        /// The bound 1 − ᾱ_s.
        available: f64,
    },

    /// A step to more noise by a sampler that can only generate, not encode.
    NotReversible {
        /// The name of the sampler.
        solver: &'static str,
        /// ᾱ of the level that the step starts from.
        from: f64,
        /// ᾱ of the level that the step would arrive at.
        to: f64,
    },

    /// The two levels are in the wrong order: the first must be at least as noisy as the second.
    LevelOrder {
        /// The quantity that needs this order.
        what: &'static str,
        /// ᾱ of the first level.
        noisier: f64,
        /// ᾱ of the second level.
        cleaner: f64,
    },

    /// A quantity that has no value at this level.
    LevelUndefined {
        /// The quantity.
        what: &'static str,
        /// At which levels it has no value, and what to do.
        at: &'static str,
    },

    /// A level of a schedule that is too close to clean data or to pure noise; see the domain of [`NoiseLevel`].
    LevelRange {
        /// ᾱ or 1 − ᾱ.
        what: &'static str,
        /// Its index in the schedule.
        t: usize,
        /// The value given or computed.
        value: f64,
        /// What to do.
        remedy: &'static str,
    },

    /// Two tensors of a formula have different shapes.
    Shape {
        /// The name of the tensor.
        operand: &'static str,
        /// The shape of the other tensors.
        expected: Vec<usize>,
        /// Its own shape.
        found: Vec<usize>,
    },

    /// A tensor without elements.
    Empty {
        /// The name of the tensor.
        operand: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// More elements than memory can hold.
    TooManyElements {
        /// The name of the tensor.
        operand: &'static str,
        /// Its shape: samples, and elements per sample.
        shape: Vec<usize>,
    },

    /// Elements of a type that the operation does not accept.
    ElementType {
        /// The name of the tensor.
        operand: &'static str,
        /// The types that it accepts.
        expected: &'static str,
        /// The type, as its framework names it.
        found: String,
    },

    /// Tensors on different devices.
    Device {
        /// The name of the tensor.
        operand: &'static str,
        /// The device of the other tensors, as their framework names it.
        expected: String,
        /// Its own device.
        found: String,
    },

    /// The number of per-sample values is not the number of samples in the batch (axis 0).
    Rows {
        /// The number of samples in the batch.
        expected: usize,
        /// The number of values given.
        found: usize,
    },

    /// Elements that cannot be divided into samples of equal length.
    UnevenSamples {
        /// The number of elements.
        elements: usize,
        /// The number of samples.
        samples: usize,
    },

    /// The step adds noise, but no noise was given.
    MissingNoise {
        /// The weight of z.
        d: f64,
    },

    /// The step reads the output of an earlier step, but that output was not kept or not given.
    MissingHistory {
        /// How many steps ago the output was made.
        age: usize,
    },

    /// The kept outputs come from a run of another plan.
    OtherPlan,

    /// A step was taken out of order.
    StepOrder {
        /// The index of the step that comes next.
        expected: usize,
        /// The index of the step given.
        found: usize,
    },

    /// An optional method that the tensor type does not implement, or a combination of settings that is not supported.
    Unsupported {
        /// The method of the trait and what needs it, or the combination and what to do.
        operation: &'static str,
    },

    /// The plan expects another prediction than the predictor makes.
    ///
    /// A closure counts as ε-prediction, whatever its network predicts. Wrap it in
    /// [`predictor::from_fn`](crate::predictor::from_fn), which takes the [`Prediction`].
    PredictionMismatch {
        /// What the plan expects.
        plan: Prediction,
        /// What the predictor reports.
        model: Prediction,
    },

    /// An earlier step of this run failed after it had consumed x.
    RunFailed,

    /// The network failed.
    Predictor(BoxError),

    /// The source of noise failed.
    Noise(BoxError),

    /// The tensor framework failed.
    Backend(BoxError),

    /// A configuration key with an invalid value.
    Config {
        /// The key.
        key: String,
        /// Its value, shortened if it is long.
        value: String,
        /// What is wrong with the value.
        reason: String,
    },

    /// A required configuration key is missing.
    ConfigKeyMissing {
        /// The key.
        key: &'static str,
        /// Why it is needed, and what to do.
        reason: &'static str,
    },

    /// A text that is not a configuration: not JSON, not an object, empty, or too large.
    ConfigText {
        /// The line, from 1; 0 if the whole text is meant.
        line: usize,
        /// The column, from 1; 0 if the whole text is meant.
        column: usize,
        /// What is wrong there.
        reason: String,
    },

    /// The configuration could not be read from its source.
    ConfigRead(std::io::Error),

    /// Another error, at a step of a plan.
    AtStep {
        /// The step's index in its plan.
        index: usize,
        /// The time t that the network receives there.
        t: f64,
        /// What went wrong.
        source: Box<Error>,
    },
}

impl Error {
    /// This error, with the step of the plan at which it arose.
    pub(crate) fn at_step(self, index: usize, t: f64) -> Self {
        Self::AtStep { index, t, source: Box::new(self) }
    }
}

/// The message already contains the message of the cause, so `source` returns the cause's own source.
impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Predictor(cause) | Self::Noise(cause) | Self::Backend(cause) => cause.source(),
            Self::ConfigRead(cause) => cause.source(),
            Self::AtStep { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// A network's error becomes [`Error::Predictor`], so that `network.predict(&x, step.point())?` compiles in a function that
/// returns this error. An [`Error`] in the box is returned unchanged.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => Self::Predictor(other),
        }
    }
}

/// `Ok(value)` if the condition holds. Write the condition so that NaN fails it.
pub(crate) fn require(holds: bool, name: &'static str, value: f64, domain: &'static str) -> Result<f64, Error> {
    if holds { Ok(value) } else { Err(Error::Parameter { name, value, domain }) }
}

/// The `at` of [`Error::LevelUndefined`] for clean data.
pub(crate) const FOR_CLEAN_DATA: &str = "for clean data (ᾱ = 1); use a noisier level";
/// The `at` of [`Error::LevelUndefined`] for pure noise.
pub(crate) const FOR_PURE_NOISE: &str = "for pure noise (ᾱ = 0); use a cleaner level";
/// The `at` of [`Error::LevelUndefined`] for two equal levels.
pub(crate) const BETWEEN_EQUAL_LEVELS: &str = "between equal levels; use a cleaner level for s";

/// `Ok(value)` if `min <= value <= max`.
pub(crate) fn require_count(name: &'static str, value: usize, min: usize, max: usize) -> Result<usize, Error> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(Error::Count { name, value, min, max }) }
}

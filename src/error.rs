//! The one error type of the crate.

use crate::{NoiseLevel, Prediction};

/// The error of somebody else's code: a network, a framework, a source of noise.
pub type BoxError = Box<dyn core::error::Error + Send + Sync + 'static>;

/// Everything that can go wrong, with the value that is wrong and where it stands.
///
/// ```
/// use alphabar::{Error, NoiseSchedule};
///
/// let error = NoiseSchedule::from_betas(vec![0.1, 1.5]).unwrap_err();
/// assert!(matches!(error, Error::Beta { t: 1, value: 1.5 }));
/// assert_eq!(error.to_string(), "β[1] = 1.5 is not inside (0, 1)");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A β outside (0, 1), or NaN.
    #[error("β[{t}] = {value} is not inside (0, 1)")]
    Beta {
        /// Where it stands.
        t: usize,
        /// The β given.
        value: f64,
    },

    /// An ᾱ outside (0, 1), or NaN; only the last may be 0.
    #[error("ᾱ[{t}] = {value} is not inside (0, 1) (the last one may be 0)")]
    AlphaBar {
        /// Where it stands.
        t: usize,
        /// The ᾱ given or arrived at.
        value: f64,
    },

    /// ᾱ must fall from each t to the next.
    #[error("ᾱ[{t}] = {value} does not lie below ᾱ[{t} − 1] = {previous}")]
    AlphaBarNotFalling {
        /// Where it stands.
        t: usize,
        /// ᾱ at t.
        value: f64,
        /// ᾱ at t − 1.
        previous: f64,
    },

    /// A number outside its domain, or NaN.
    #[error("{name} = {value} is not {domain}")]
    Parameter {
        /// What the number is.
        name: &'static str,
        /// The number given.
        value: f64,
        /// Where it would have to lie.
        domain: &'static str,
    },

    /// A count outside its bounds.
    #[error("{name} = {value} does not lie in {min}..={max}")]
    Count {
        /// What is counted.
        name: &'static str,
        /// The count given.
        value: usize,
        /// The least that is allowed.
        min: usize,
        /// The most that is allowed.
        max: usize,
    },

    /// A list of another length than the thing it belongs to.
    #[error("{what}: {found} given where {expected} are needed")]
    Length {
        /// What is listed.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },

    /// A t at or past the end of the schedule.
    #[error("t = {t} is not below T = {train_steps}")]
    Timestep {
        /// The index given.
        t: usize,
        /// The length T of the schedule.
        train_steps: usize,
    },

    /// τ must fall strictly; it repeats a t or goes back up.
    #[error("τ must fall strictly, but entry {index} is {value} after {previous}")]
    NotDescending {
        /// The entry's place in the list.
        index: usize,
        /// The entry.
        value: usize,
        /// The entry before it.
        previous: usize,
    },

    /// A respacing string that cannot be read or fulfilled.
    #[error("respacing {text:?}: {reason}")]
    Respacing {
        /// The text given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A start part-way that leaves no step to take.
    #[error("{name} = {value} leaves no step of the {steps} to take")]
    NothingToDo {
        /// The parameter that cut the path.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The steps there were.
        steps: usize,
    },

    /// A conversion between predictions that divides by zero at this level.
    #[error("{from} does not determine {to} at {level}")]
    Undetermined {
        /// What the network predicts.
        from: Prediction,
        /// What it was to be converted to.
        to: Prediction,
        /// Where.
        level: NoiseLevel,
    },

    /// A noise of σ² > 1 − ᾱ_s: more than the level that the step arrives at holds.
    #[error("η = {eta} asks for σ² = {variance}, more than 1 − ᾱ_s = {available}")]
    EtaTooLarge {
        /// The η given.
        eta: f64,
        /// The σ² it stands for.
        variance: f64,
        /// The bound.
        available: f64,
    },

    /// A step to more noise by a method that only generates.
    #[error("{solver} cannot step to more noise, from ᾱ = {from} to ᾱ = {to}; encoding needs DDIM with η = 0")]
    NotReversible {
        /// The method.
        solver: &'static str,
        /// ᾱ that the step leaves.
        from: f64,
        /// ᾱ that the step would arrive at.
        to: f64,
    },

    /// The level a step goes to has to be at least as noisy as the one it comes from, or the reverse.
    #[error("{what}: ᾱ_t = {noisier} must not exceed ᾱ_s = {cleaner}")]
    LevelOrder {
        /// The quantity that needs the order.
        what: &'static str,
        /// ᾱ of the level that should be the noisier.
        noisier: f64,
        /// ᾱ of the level that should be the cleaner.
        cleaner: f64,
    },

    /// Two tensors of a formula have different shapes.
    #[error("{operand} has shape {found:?} where {expected:?} is needed")]
    Shape {
        /// Which operand.
        operand: &'static str,
        /// The shape of the others.
        expected: Vec<usize>,
        /// Its own.
        found: Vec<usize>,
    },

    /// A tensor without elements.
    #[error("{operand} has shape {shape:?} and holds nothing")]
    Empty {
        /// Which operand.
        operand: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// More elements than memory can hold.
    #[error("{operand} has shape {shape:?}, which is more elements than memory can hold")]
    TooManyElements {
        /// Which operand.
        operand: &'static str,
        /// Its shape: samples, and elements of each.
        shape: Vec<usize>,
    },

    /// Elements of a type that the operation cannot take.
    #[error("{operand} has elements of type {found} where {expected} is needed")]
    ElementType {
        /// Which operand.
        operand: &'static str,
        /// What is possible there.
        expected: &'static str,
        /// The type, as its framework names it.
        found: String,
    },

    /// Tensors that lie on different devices.
    #[error("{operand} is on {found} where {expected} is needed")]
    Device {
        /// Which operand.
        operand: &'static str,
        /// The device of the others, as their framework names it.
        expected: String,
        /// Its own.
        found: String,
    },

    /// One value per row of the batch was given, but for another number of rows.
    #[error("{found} values given, one per row, for a batch of {expected} rows")]
    Rows {
        /// Rows of axis 0.
        expected: usize,
        /// Values given.
        found: usize,
    },

    /// The step adds noise and was given none.
    #[error("the step adds noise (d = {d}) and was given none")]
    MissingNoise {
        /// The coefficient of z.
        d: f64,
    },

    /// The backend does not offer what this operation needs.
    #[error("this tensor type does not implement {operation}")]
    Unsupported {
        /// The method of the trait that is missing.
        operation: &'static str,
    },

    /// The plan converts another prediction than the network makes.
    #[error("the plan is built for {plan}, but the network makes {model}")]
    PredictionMismatch {
        /// What the plan expects.
        plan: Prediction,
        /// What the network says.
        model: Prediction,
    },

    /// An operation on a run that has ended with an error, and with it lost its x.
    #[error("this run has failed and holds no x any more; resume from a copy")]
    RunFailed,

    /// The network failed.
    #[error("the predictor failed")]
    Predictor(#[source] BoxError),

    /// The source of noise failed.
    #[error("the source of noise failed")]
    Noise(#[source] BoxError),

    /// The tensor framework failed.
    #[error("the tensor backend failed")]
    Backend(#[source] BoxError),

    /// A key of a configuration whose value makes no sense.
    #[error("{key} = {value} {reason}")]
    Config {
        /// The key.
        key: String,
        /// Its value, shortened where it is long.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A text that is no configuration: not JSON, not an object, or too large (then without a place, line 0).
    #[error("no configuration, at line {line}, column {column}: {reason}")]
    ConfigText {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },

    /// A configuration could not be read from where it is.
    #[error("the configuration cannot be read")]
    ConfigRead(#[source] std::io::Error),

    /// Another error, at a step of a plan.
    #[error("step {index} (t = {t})")]
    AtStep {
        /// The step's index in its plan.
        index: usize,
        /// The t the network is fed there.
        t: usize,
        /// What went wrong.
        #[source]
        source: Box<Error>,
    },
}

impl Error {
    /// The same error, told where in the plan it arose.
    pub(crate) fn at_step(self, index: usize, t: usize) -> Self {
        Self::AtStep { index, t, source: Box::new(self) }
    }
}

/// `Ok(value)` where the condition holds; conditions are written so that NaN fails them.
pub(crate) fn require(holds: bool, name: &'static str, value: f64, domain: &'static str) -> Result<f64, Error> {
    if holds { Ok(value) } else { Err(Error::Parameter { name, value, domain }) }
}

/// `Ok(value)` where `min <= value <= max`.
pub(crate) fn require_count(name: &'static str, value: usize, min: usize, max: usize) -> Result<usize, Error> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(Error::Count { name, value, min, max }) }
}

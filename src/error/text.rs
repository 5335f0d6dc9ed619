//! The messages of the errors: the value, the place, and what to change.

use core::fmt;

use super::Error;
use crate::MAX_TRAIN_STEPS;

/// What else can be done without an optional operation of a tensor.
const ALTERNATIVES: [(&str, &str); 5] = [
    ("abs_quantile", "use Threshold::Clip"),
    ("halve_channels", "drop the variance in the network and use DDIM"),
    ("join_channels", "wrap the networks in predictor::WithoutVariance and use DDIM"),
    ("times_exp", "wrap the network in predictor::WithoutVariance and use DDIM"),
    ("element_type", "choose a type with drawn_as"),
];

impl fmt::Display for Error {
    #[expect(clippy::too_many_lines, reason = "one arm per message")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beta { t, value } => write!(f, "β[{t}] = {} is not inside (0, 1)", Digits::all(*value)),
            Self::AlphaBar { t, value } => {
                write!(f, "ᾱ[{t}] = {} is not inside (0, 1) (the last one may be 0)", Digits::all(*value))
            }
            Self::AlphaBarNotFalling { t, value, previous } => {
                let (value, previous) = (Digits::all(*value), Digits::all(*previous));
                write!(
                    f,
                    "ᾱ[{t}] = {value} is not below ᾱ[{t} − 1] = {previous}; list ᾱ from the cleanest level to the noisiest, \
                     or use a larger β[{t}]"
                )
            }
            Self::Parameter { name, value, domain } => write!(f, "{name} = {} is not {domain}", Digits::all(*value)),
            Self::Count { name, value, min, max } => {
                let (gloss, limit) = match *name {
                    "S" if *max < MAX_TRAIN_STEPS => (" (inference steps)", " (T)"),
                    "S" => (" (inference steps)", ""),
                    "T" => (" (training steps)", ""),
                    _ => ("", ""),
                };
                write!(f, "{name} = {value}{gloss} must be in {min}..={max}{limit}")
            }
            Self::Length { what, expected, found } => write!(f, "{what}: got {found}, expected {expected}"),
            Self::TrainSteps { expected, found } => write!(
                f,
                "the timesteps are for T = {found}, the schedule has T = {expected}; build them with schedule.len()"
            ),
            Self::Timestep { t, train_steps } => write!(
                f,
                "t = {t} is outside the schedule (0..{train_steps}); the largest t is {}",
                train_steps.saturating_sub(1)
            ),
            Self::LeadingOffset { offset, steps, t, train_steps } => write!(
                f,
                "leading spacing with offset = {offset} and S = {steps} begins at t = {t}, outside the schedule \
                 (0..{train_steps}); lower the offset or S"
            ),
            Self::NotDescending { index, value, previous } => {
                write!(
                    f,
                    "timesteps must fall strictly, but entry {index} is {value} after {previous}; list them from noise to \
                     data, each once"
                )
            }
            Self::NotFalling { what, index, value, previous } => {
                let (value, previous) = (Digits::all(*value), Digits::all(*previous));
                write!(
                    f,
                    "{what} must fall strictly, but entry {index} is {value} after {previous}; list the values from the \
                     largest to the smallest, each once"
                )
            }
            Self::PathOrder { index, sigma, previous } => write!(
                f,
                "the noise of a path must fall, but point {index} has σ = {} after {}; list the points from the noisiest to \
                 the cleanest, each once",
                Digits::all(*sigma),
                Digits::all(*previous)
            ),
            Self::Sigma { sigma, min, max } => write!(
                f,
                "σ = {} is outside the trained range {}..={}; Path::clipped moves σ into the range",
                Digits::all(*sigma),
                Digits::all(*min),
                Digits::all(*max)
            ),
            Self::Unconditioned => write!(
                f,
                "the network's t is not defined for clean data; encode with Conditioning::Destination, or let the path end at a \
                 level with noise (Path::ending_at)"
            ),
            Self::NoProcess => write!(
                f,
                "this sampler calls the network between the points of the path, but the path does not know which t the \
                 network receives there; add Path::of_process"
            ),
            Self::MissingHistory { age } => write!(
                f,
                "the step needs the output from {}, but the memory does not hold it; start the run at the first step of its \
                 plan, or resume it with the State that you saved",
                if *age == 1 { "the previous step".to_owned() } else { format!("{age} steps ago") }
            ),
            Self::OtherPlan => write!(
                f,
                "the kept outputs come from another plan; to continue with this plan, build it along a path that starts at \
                 the level of x, and make a new State from x"
            ),
            Self::StepOrder { expected, found } => {
                write!(f, "got step {found}, but step {expected} comes next; take the steps of a plan in order")
            }
            Self::Untrained => write!(
                f,
                "this operation needs the timesteps of a trained table; build the plan with \
                 Plan::builder(schedule, timesteps), not along a path"
            ),
            Self::UnknownName { what, name, expected } => write!(f, "{what} {name:?} is unknown; use {expected}"),
            Self::Respacing { text, reason } => write!(f, "respacing {text:?}: {reason}"),
            Self::NothingToDo { name, value, steps } => {
                write!(f, "{name} = {} leaves no step of S = {steps}", Digits::all(*value))?;
                match *name {
                    "strength" => write!(
                        f,
                        "; use at least 1/{steps}, or return the image as it is (strength 0), or take \
                         Timesteps::img2img"
                    ),
                    _ => write!(f, "; use a larger value"),
                }
            }
            Self::Undetermined { from, to, level } => {
                write!(f, "{to} cannot be computed from {from} at {level}")?;
                if level.is_clean() {
                    write!(f, "; encode from PathEnd::FirstLevel")
                } else {
                    write!(f, "; use a network with v- or x₀-prediction, or a schedule without zero terminal SNR")
                }
            }
            Self::EtaTooLarge { eta, variance, available } => write!(
                f,
                "η = {} asks for σ² = {}, more than the noise at s, {}; use a smaller η (η ≤ 1 always works)",
                Digits::all(*eta),
                Digits::few(*variance),
                Digits::few(*available)
            ),
            Self::NotReversible { solver, from, to } => write!(
                f,
                "{solver} cannot step to more noise, from ᾱ = {} to ᾱ = {}; encode with Ddim::deterministic()",
                Digits::few(*from),
                Digits::few(*to)
            ),
            Self::LevelOrder { what, noisier, cleaner } => {
                let (noisier, cleaner) = (Digits::all(*noisier), Digits::all(*cleaner));
                write!(f, "{what}: ᾱ_t = {noisier} must not exceed ᾱ_s = {cleaner}; swap the two levels")
            }
            Self::LevelUndefined { what, at } => write!(f, "{what} is not defined {at}"),
            Self::LevelRange { what, t, value, remedy } => {
                write!(f, "{what}[{t}] = {value:e} is below 1e-90, the least that a noise level can have; {remedy}")
            }
            Self::Shape { operand, expected, found } => {
                write!(f, "{operand} has shape {found:?}, but needs shape {expected:?}")
            }
            Self::TooManyElements { operand, shape } => write!(
                f,
                "{operand} has too many elements for memory (shape {shape:?}: samples, elements per sample); check \
                 HostTensor::rows_of_batch"
            ),
            Self::Empty { operand, shape } => {
                write!(f, "{operand} is empty (shape {shape:?}); the batch needs at least one sample with one element")
            }
            Self::ElementType { operand, expected, found } => {
                write!(f, "{operand} has elements of type {found}, but needs {expected}; cast it")
            }
            Self::Device { operand, expected, found } => {
                write!(f, "{operand} is on {found}, but must be on {expected}; move it there")
            }
            Self::Rows { expected, found } => {
                write!(f, "per-sample values: got {found} for a batch of {expected} (samples on axis 0)")
            }
            Self::UnevenSamples { elements, samples } => write!(
                f,
                "{elements} elements do not divide into {samples} samples of equal length; pass the samples one after the \
                 other, and to step_in_place one set of coefficients for each"
            ),
            Self::MissingNoise { d } => write!(
                f,
                "this step adds noise (d = {}), but z is None; pass noise.noise(&x, Draw::Step(step.index))?, or sample \
                 with SeededNoise",
                Digits::few(*d)
            ),
            Self::Unsupported { operation } => {
                if !["Tensor::", "HostTensor::"].iter().any(|of_trait| operation.starts_with(of_trait)) {
                    return write!(f, "not supported: {operation}");
                }
                write!(f, "this tensor type does not implement {operation}; implement it")?;
                match ALTERNATIVES.iter().find(|(name, _)| operation.contains(name)) {
                    Some((_, alternative)) => write!(f, ", or {alternative}"),
                    None => Ok(()),
                }
            }
            Self::PredictionMismatch { plan, model } => write!(
                f,
                "the plan expects {plan}, the predictor reports {model}. A closure counts as ε-prediction: wrap it in \
                 predictor::from_fn(Prediction::…, closure), or build the plan with .prediction(…)"
            ),
            Self::RunFailed => write!(
                f,
                "an earlier step failed and its x is lost; start again from a copy that you saved before that step: \
                 Sampling::resume for x, Sampling::from_state for a State"
            ),
            Self::Predictor(cause) => write!(f, "the network failed: {cause}"),
            Self::Noise(cause) => write!(f, "the source of noise failed: {cause}"),
            Self::Backend(cause) => write!(f, "the tensor backend failed: {cause}"),
            Self::Config { key, value, reason } => write!(f, "{key} = {value} {reason}"),
            Self::ConfigKeyMissing { key, reason } => write!(f, "{key} is missing: {reason}"),
            Self::ConfigText { line: 0, reason, .. } => write!(f, "not a scheduler_config.json: {reason}"),
            Self::ConfigText { line, column, reason } => {
                write!(f, "not a scheduler_config.json: {reason} (line {line}, column {column})")
            }
            Self::ConfigRead(cause) => write!(f, "the configuration cannot be read: {cause}"),
            Self::AtStep { index, t, source } => {
                write!(f, "step {index} (t = {}) failed: {source}", Digits::time(*t))
            }
        }
    }
}

/// A number as a message shows it: never with hundreds of zeros.
pub(crate) struct Digits {
    value: f64,
    rounded: bool,
}

impl Digits {
    /// All digits that distinguish the number from its neighbours: for numbers that were given, or are compared.
    pub(crate) fn all(value: f64) -> Self {
        Self { value, rounded: false }
    }

    /// The t that a network receives: at most three decimals, or four digits if |t| < 1.
    pub(crate) fn time(t: f64) -> Self {
        if t.abs() < 1.0 { Self::few(t) } else { Self::all((t * 1e3).round() / 1e3) }
    }

    /// Four digits: for numbers that were computed.
    pub(crate) fn few(value: f64) -> Self {
        Self { value, rounded: true }
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = self.rounded.then(|| format!("{:.3e}", self.value).parse().ok()).flatten();
        let value: f64 = rounded.unwrap_or(self.value);
        let magnitude = value.abs();
        if value == 0.0 || !value.is_finite() || (1e-5..1e15).contains(&magnitude) {
            write!(f, "{value}")
        } else {
            write!(f, "{value:e}")
        }
    }
}

/// The first 60 characters of a text, with its length if it is longer.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

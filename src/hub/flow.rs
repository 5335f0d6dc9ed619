//! Flow-matching classes: Euler, Heun, few-step renoising, and LTX-Video's ancestral sampler.
//!
//! What a network is told is T·σ, as the scheduler of diffusers says it, with T = `num_train_timesteps`. The pipelines of some models
//! (Flux, Qwen-Image) divide it by 1000 before they call the network.

use core::num::NonZeroU32;

use crate::compat::{AncestralWithoutNoise, FlowSigmas, Precision, Spread};
use crate::dd::Dd;
use crate::error::Error;
use crate::flow::{DynamicShift, Flow, FlowTime, flux_mu};
use crate::hub::json::config_error;
use crate::hub::read::Reader;
use crate::hub::run::{Calls, Route, Run};
use crate::hub::{Ignored, Quirk, SchedulerClass};
use crate::level::NoiseLevel;
use crate::path::{Legs, Path, Process};
use crate::prediction::{CustomPrediction, Prediction};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Euler, EulerAncestral, FlowHeun, Renoise, Row, Solver};

/// What these classes read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    method: Method,
    /// T.
    train_steps: NonZeroU32,
    shift: Shift,
    terminal: Option<f64>,
    spread: Option<Spread>,
    /// `invert_sigmas`: t and the velocity run from noise to data.
    inverted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Euler,
    Heun,
    Renoise,
    Ancestral { eta: f64, noise: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shift {
    /// `shift`.
    Static(f64),
    /// `use_dynamic_shifting`: e^μ, or μ itself.
    Dynamic { exponential: bool, by_tokens: DynamicShift },
}

static DOUBLE_SHIFT: Quirk = Quirk {
    key: "shift",
    here: "S calls are at σ = 1, 1 − 1/S, …, 1/S, shifted once",
    diffusers: "without a list of σ spaces them from 1 to the shifted 1/T, and shifts them again",
    by: 1.3,
};

static ENDS: Quirk = Quirk {
    key: "num_train_timesteps",
    here: "S calls are at σ = 1, 1 − 1/S, …, 1/S, before any shift",
    diffusers: "without a list of σ spaces them from 1 to 1/T",
    by: 1.7,
};

static TIMES: Quirk = Quirk {
    key: "num_train_timesteps",
    here: "a list of t is where the network is called, at σ = t/T",
    diffusers: "shifts and spaces these σ anew, and tells the network the t of the list",
    by: 0.71,
};

static WITHOUT_NOISE: Quirk = Quirk {
    key: "s_noise",
    here: "0 leaves the noise of each step out",
    diffusers: "goes to the σ that the noise would have lifted, and takes it for the next one",
    by: 0.51,
};

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let steps = reader.count("num_train_timesteps", 1000, 1, MAX_TRAIN_STEPS)?;
        let train_steps = u32::try_from(steps).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let shift = shift(reader)?;
        let terminal = reader.optional(
            "shift_terminal",
            |end| end == 0.0 || (1e-6..1.0).contains(&end),
            "is not 0 or in [1e-6, 1)",
        )?;
        let spread = spread(reader)?;
        let inverted = reader.get("invert_sigmas").filter(|entry| !entry.is_null());
        let method = method(reader)?;
        let is_inverted = inverted.map_or(Ok(false), |entry| entry.flag())?;
        if let (true, true, Some(entry)) = (is_inverted, method != Method::Euler, inverted) {
            let reason = "contradicts the noise that this sampler adds: in diffusers the path would end in noise";
            return Err(entry.error(reason));
        }
        let settings = Self {
            method,
            train_steps,
            shift,
            terminal: terminal.filter(|end| *end > 0.0),
            spread,
            inverted: is_inverted,
        };
        settings.note(reader);
        Ok(settings)
    }

    fn note(&self, reader: &mut Reader<'_>) {
        let still = self.shift == Shift::Static(1.0);
        match self.shift {
            Shift::Static(_) if !still => reader.quirk(&DOUBLE_SHIFT),
            _ => reader.quirk(&ENDS),
        }
        let takes_times = matches!(self.method, Method::Euler | Method::Renoise);
        if takes_times && !self.inverted && (!still || self.terminal.is_some() || self.spread.is_some()) {
            reader.quirk(&TIMES);
        }
        if matches!(self.method, Method::Ancestral { eta, noise: 0.0 } if eta > 0.0) {
            reader.quirk(&WITHOUT_NOISE);
        }
    }

    pub(super) fn prediction(&self) -> Prediction {
        if self.inverted { Prediction::Custom(&TOWARDS_DATA) } else { Prediction::Flow }
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        if run.eta.is_some() {
            return Err(run.refused("eta", "is not an argument of this class"));
        }
        let imitates = run.config.imitates;
        let flow = self.flow();
        let path = match imitates {
            None => self.path(run)?,
            Some(precision) => {
                let path = self.path_of_diffusers(run, precision)?;
                let from_noise = path.points().first().is_some_and(|point| point.level.is_pure_noise());
                path.of_process(&flow).between_ends(from_noise, flow.at_sigma(0.0)?)
            }
        };
        Ok(match self.method {
            Method::Euler => Route::new(path, Euler),
            Method::Heun => Route::new(path, FlowHeun::new()),
            Method::Renoise => Route::new(path, Renoise),
            Method::Ancestral { eta, noise } if noise == 0.0 && eta > 0.0 && imitates.is_some() => {
                Route::new(path, AncestralWithoutNoise { eta })
            }
            Method::Ancestral { eta, noise } => {
                Route::new(path, ScaledNoise { of: EulerAncestral::rectified_flow(eta)?, noise })
            }
        })
    }

    /// The network's process, without a shift.
    fn flow(&self) -> Flow {
        let time = if self.inverted { FlowTime::ScaledReversed } else { FlowTime::Scaled };
        Flow::default().told(time(self.train_steps))
    }

    fn path(&self, run: &Run<'_>) -> Result<Path, Error> {
        let plain = self.flow();
        let shifted = || {
            let flow = plain.shifted(self.factor(run)?)?;
            self.terminal.map_or(Ok(flow), |terminal| flow.stretched_to(terminal))
        };
        let path = match self.list(run)? {
            List::Count(steps) => shifted()?.path(steps)?,
            List::Sigmas(sigmas) => shifted()?.path_through(sigmas.iter().copied())?,
            List::Whole(sigmas) => return plain.path_through(sigmas.iter().copied()),
            List::Times(times) => {
                self.factor(run)?;
                let points = times.iter().map(|t| plain.at_time(*t)).collect::<Result<Vec<_>, _>>()?;
                let from_noise = points.first().is_some_and(|point| point.level.is_pure_noise());
                return Ok(Path::new(points)?.of_process(&plain).between_ends(from_noise, plain.at_sigma(0.0)?));
            }
        };
        match (self.spread, path.points()) {
            (Some(spread), [first, .., last]) => {
                let [max, min] = [first, last].map(|point| point.level.flow_sigma());
                plain.path_through(spread.between(path.len(), max, min)?)
            }
            _ => Ok(path),
        }
    }

    fn path_of_diffusers(&self, run: &Run<'_>, precision: Precision) -> Result<Path, Error> {
        let whole = |shift: f64| FlowSigmas {
            train_steps: self.train_steps.get() as usize,
            shift,
            shifts_ends: matches!(self.shift, Shift::Static(_)),
            terminal: self.terminal,
            spread: self.spread,
            inverted: self.inverted,
            precision,
        };
        match self.list(run)? {
            List::Count(steps) => whole(self.factor(run)?).path(steps),
            List::Sigmas(sigmas) => whole(self.factor(run)?).path_through(sigmas),
            List::Whole(sigmas) => FlowSigmas { terminal: None, spread: None, ..whole(1.0) }.path_through(sigmas),
            List::Times(times) => whole(self.factor(run)?).path_at(times),
        }
    }

    /// The calls that the class takes.
    fn list<'a>(&self, run: &'a Run<'_>) -> Result<List<'a>, Error> {
        let ancestral = matches!(self.method, Method::Ancestral { .. });
        match &run.calls {
            _ if self.method == Method::Heun => run.steps().map(List::Count),
            Calls::Count(steps) => Ok(List::Count(*steps)),
            Calls::Sigmas(sigmas) => match sigmas.split_last() {
                Some((0.0, _)) if ancestral && (run.mu.is_some() || run.tokens.is_some()) => {
                    Err(run.refused("mu", "is not applied to a list of σ by this class"))
                }
                Some((0.0, sigmas)) if ancestral => Ok(List::Whole(sigmas)),
                _ if ancestral => {
                    Err(run.refused("sigmas", "must end in 0: in diffusers the path ends at the last one"))
                }
                Some((0.0, _))
                    if run.config.imitates.is_some() && (self.terminal.is_some() || self.spread.is_some()) =>
                {
                    Err(run.refused("sigmas", "must not end in 0, which diffusers would stretch and space, too"))
                }
                Some((0.0, sigmas)) => Ok(List::Sigmas(sigmas)),
                _ => Ok(List::Sigmas(sigmas)),
            },
            Calls::Times(_) if ancestral => Err(run.refused("timesteps", "are taken for σ by diffusers; pass σ")),
            Calls::Times(_) if self.inverted => {
                Err(run.refused("timesteps", "are of another direction than the t told (invert_sigmas); pass σ"))
            }
            Calls::Times(times) => Ok(List::Times(match times.split_last() {
                Some((0.0, times)) => times,
                _ => times,
            })),
        }
    }

    /// The factor a of the shift.
    fn factor(&self, run: &Run<'_>) -> Result<f64, Error> {
        match (self.shift, run.mu, run.tokens) {
            (Shift::Static(shift), None, None) => Ok(shift),
            (Shift::Static(_), mu, _) => {
                let argument = if mu.is_some() { "mu" } else { "tokens" };
                Err(run.refused(argument, "has no use: use_dynamic_shifting is off"))
            }
            (Shift::Dynamic { .. }, Some(_), Some(_)) => {
                Err(run.refused("tokens", "are given beside mu; pass one of the two"))
            }
            (Shift::Dynamic { .. }, None, None) => {
                let reason = "needs a μ: pass Run::mu, or Run::tokens, from which base_shift and max_shift make it";
                Err(config_error("use_dynamic_shifting", "true", reason))
            }
            (Shift::Dynamic { exponential, by_tokens }, mu, tokens) => {
                let mu = match (mu, tokens) {
                    (Some(mu), _) => mu,
                    (None, tokens) => flux_mu(tokens.unwrap_or(0), &by_tokens)?,
                };
                let flow =
                    if exponential { Flow::default().shifted_exponentially(mu) } else { Flow::default().shifted(mu) };
                Ok(flow.map_err(|error| run.refused("mu", &error.to_string()))?.shift())
            }
        }
    }
}

/// The calls of a run.
enum List<'a> {
    Count(usize),
    /// σ before the shift.
    Sigmas(&'a [f64]),
    /// σ as they are.
    Whole(&'a [f64]),
    Times(&'a [f64]),
}

fn shift(reader: &mut Reader<'_>) -> Result<Shift, Error> {
    if !reader.flag("use_dynamic_shifting", false)? {
        // Refused in any case, as in diffusers, and without effect here.
        if let Some(entry) =
            reader.peek("time_shift_type").filter(|_| reader.class != SchedulerClass::FlowMatchHeunDiscrete)
        {
            if !matches!(entry.text, "null" | "\"exponential\"" | "\"linear\"") {
                return Err(entry.error("is none of exponential, linear"));
            }
        }
        let shift = reader.number("shift", 1.0, |shift| (1e-6..=1e6).contains(&shift), "is not inside [1e-6, 1e6]")?;
        return Ok(Shift::Static(shift));
    }
    let exponential = reader.choice("time_shift_type", true, &[("exponential", true), ("linear", false)])?;
    let most = 1_000_000_000;
    let base_len = reader.count("base_image_seq_len", 256, 1, most)?;
    let max_len = reader.count("max_image_seq_len", 4096, 1, most)?;
    if base_len == max_len {
        let reason = "is base_image_seq_len, too: two lengths make the line of μ";
        return Err(config_error("max_image_seq_len", &max_len.to_string(), reason));
    }
    let base = reader.number("base_shift", 0.5, |mu| mu.abs() <= 1e6, "is not inside [−1e6, 1e6]")?;
    let max = reader.number("max_shift", 1.15, |mu| mu.abs() <= 1e6, "is not inside [−1e6, 1e6]")?;
    Ok(Shift::Dynamic { exponential, by_tokens: DynamicShift::new((base_len, base), (max_len, max)) })
}

fn spread(reader: &mut Reader<'_>) -> Result<Option<Spread>, Error> {
    let mut chosen: Option<(&'static str, Spread)> = None;
    for (key, spread) in [
        ("use_karras_sigmas", Spread::Karras),
        ("use_exponential_sigmas", Spread::Exponential),
        ("use_beta_sigmas", Spread::Beta),
    ] {
        if reader.flag(key, false)? {
            if let Some((other, _)) = chosen {
                return Err(config_error(key, "true", format!("contradicts {other}; one of them at most")));
            }
            chosen = Some((key, spread));
        }
    }
    Ok(chosen.map(|(_, spread)| spread))
}

fn method(reader: &mut Reader<'_>) -> Result<Method, Error> {
    match reader.class {
        SchedulerClass::FlowMatchHeunDiscrete => Ok(Method::Heun),
        SchedulerClass::FlowMatchLcm => {
            if let Some(entry) = reader.given("scale_factors") {
                if !entry.numbers()?.is_empty() {
                    let reason = "is not supported: it changes the size of x between steps, which no plan can";
                    return Err(entry.error(reason));
                }
            }
            Ok(Method::Renoise)
        }
        SchedulerClass::LtxEulerAncestralRf => {
            let eta = reader.number("eta", 1.0, |eta| (0.0..=1.0).contains(&eta), "is not inside [0, 1]")?;
            if eta == 0.0 {
                let noise = reader.given("s_noise");
                reader.ignored_if_given([noise], Ignored::Off("eta"));
                return Ok(Method::Ancestral { eta, noise: 1.0 });
            }
            let noise =
                reader.number("s_noise", 1.0, |noise| (0.0..=1e6).contains(&noise), "is not inside [0, 1e6]")?;
            Ok(Method::Ancestral { eta, noise })
        }
        _ => Ok(if reader.flag("stochastic_sampling", false)? { Method::Renoise } else { Method::Euler }),
    }
}

/// Mochi's velocity x₀ − ε: x̂₀ = (x + noise·m)/(signal + noise).
static TOWARDS_DATA: CustomPrediction = CustomPrediction::new(
    "x₀ − ε",
    |level: &NoiseLevel| 1.0 / (level.signal() + level.noise()),
    |level: &NoiseLevel| level.noise() / (level.signal() + level.noise()),
);

/// A sampler with all its noise times a factor: `s_noise`.
struct ScaledNoise {
    of: EulerAncestral,
    noise: f64,
}

impl Solver for ScaledNoise {
    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn eta(&self, index: usize) -> Option<f64> {
        self.of.eta(index)
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let mut rows = self.of.rows(legs)?;
        rows.iter_mut().for_each(|row| row.combination.z = Dd::from(self.noise) * row.combination.z);
        Ok(rows)
    }
}

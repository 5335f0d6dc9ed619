//! Flow-matching classes: Euler, Heun, few-step renoising, and LTX-Video's ancestral sampler.
//!
//! The t of a step is T·σ with T = `num_train_timesteps`, as in the schedulers of diffusers. The pipelines of some models (Flux, Flux.2,
//! Qwen-Image) divide it by 1000 before they call the network.

mod reading;

use core::num::NonZeroU32;

use crate::compat::{AncestralWithoutNoise, FlowShift, FlowSigmas, Precision};
use crate::dd::Dd;
use crate::error::Error;
use crate::flow::{DynamicShift, Flow, FlowTime, flux_mu};
use crate::hub::run::{Argument, Calls, Route, Run};
use crate::hub::shift::{DynamicType, needs_mu};
use crate::level::NoiseLevel;
use crate::path::{Legs, Path, Process};
use crate::prediction::{CustomPrediction, Prediction};
use crate::solver::{Euler, EulerAncestral, FlowHeun, Renoise, Row, Solver};
use crate::spacing::Spread;

/// The settings of these classes.
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
    /// `use_dynamic_shifting`, with the linear function from the number of tokens to μ.
    Dynamic { of: DynamicType, by_tokens: DynamicShift },
}

impl Settings {
    pub(super) fn prediction(&self) -> Prediction {
        if self.inverted { Prediction::Custom(&TOWARDS_DATA) } else { Prediction::Flow }
    }

    pub(super) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        run.takes(match self.method {
            Method::Heun => &[],
            _ => &[Argument::Sigmas, Argument::Times, Argument::Mu, Argument::Tokens],
        })?;
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
        Flow::default().with_time(time(self.train_steps))
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
            List::AsGiven(sigmas) => return plain.path_through(sigmas.iter().copied()),
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
        let with_factor = |factor: f64| FlowSigmas {
            train_steps: self.train_steps.get() as usize,
            shift: match self.shift {
                Shift::Static(_) => FlowShift::Static(factor),
                Shift::Dynamic { .. } => FlowShift::Dynamic(factor),
            },
            terminal: self.terminal,
            spread: self.spread,
            inverted: self.inverted,
            precision,
        };
        match self.list(run)? {
            List::Count(steps) => with_factor(self.factor(run)?).path(steps),
            List::Sigmas(sigmas) => with_factor(self.factor(run)?).path_through(sigmas),
            List::AsGiven(sigmas) => {
                FlowSigmas { terminal: None, spread: None, ..with_factor(1.0) }.path_through(sigmas)
            }
            List::Times(times) => with_factor(self.factor(run)?).path_at(times),
        }
    }

    /// The calls of the run, if the class takes such a list.
    fn list<'a>(&self, run: &'a Run<'_>) -> Result<List<'a>, Error> {
        let ancestral = matches!(self.method, Method::Ancestral { .. });
        match &run.calls {
            Calls::Count(steps) => Ok(List::Count(*steps)),
            Calls::Sigmas(sigmas) => match sigmas.split_last() {
                Some((0.0, _)) if ancestral && (run.mu.is_some() || run.tokens.is_some()) => {
                    let given = if run.mu.is_some() { Argument::Mu } else { Argument::Tokens };
                    Err(run
                        .refused(given, "does not shift a list of σ in this class; leave it out and pass the final σ"))
                }
                Some((0.0, sigmas)) if ancestral => Ok(List::AsGiven(sigmas)),
                _ if ancestral => Err(run.refused(Argument::Sigmas, "must end in 0, which is the end of the path")),
                Some((0.0, _))
                    if run.config.imitates.is_some() && (self.terminal.is_some() || self.spread.is_some()) =>
                {
                    Err(run.refused(
                        Argument::Sigmas,
                        "must not end in 0, because diffusers would stretch and space this 0 too; leave it out",
                    ))
                }
                Some((0.0, sigmas)) => Ok(List::Sigmas(sigmas)),
                _ => Ok(List::Sigmas(sigmas)),
            },
            Calls::Times(_) if ancestral => Err(run.refused(
                Argument::Times,
                "are not supported in this class: diffusers uses them as σ; pass a list of σ",
            )),
            Calls::Times(_) if self.inverted => {
                Err(run.refused(Argument::Times, "must fall, but with invert_sigmas the t of the network rise; pass σ"))
            }
            Calls::Times(times) => Ok(List::Times(match times.split_last() {
                Some((0.0, times)) => times,
                _ => times,
            })),
        }
    }

    /// The factor a of the shift a·σ/(1 + (a − 1)·σ).
    fn factor(&self, run: &Run<'_>) -> Result<f64, Error> {
        match (self.shift, run.mu, run.tokens) {
            (Shift::Static(shift), None, None) => Ok(shift),
            (Shift::Static(_), mu, _) => {
                let argument = if mu.is_some() { Argument::Mu } else { Argument::Tokens };
                Err(run.refused(argument, "has no effect, because use_dynamic_shifting is off; leave it out"))
            }
            (Shift::Dynamic { .. }, Some(_), Some(_)) => {
                Err(run.refused(Argument::Tokens, "contradicts mu; pass one of the two"))
            }
            (Shift::Dynamic { .. }, None, None) => {
                Err(needs_mu(", or Run::tokens, from which base_shift and max_shift give it"))
            }
            (Shift::Dynamic { of, .. }, Some(mu), None) => of.factor(mu),
            (Shift::Dynamic { of, by_tokens }, None, Some(tokens)) => of.factor(flux_mu(tokens, &by_tokens)?),
        }
    }
}

/// The calls of a run.
enum List<'a> {
    Count(usize),
    /// σ before the shift.
    Sigmas(&'a [f64]),
    /// σ that are used as given, without a shift.
    AsGiven(&'a [f64]),
    Times(&'a [f64]),
}

/// The velocity x₀ − ε of `invert_sigmas` (Mochi): x̂₀ = (x + noise·m)/(signal + noise).
static TOWARDS_DATA: CustomPrediction = CustomPrediction::new(
    "x₀ − ε",
    |level: &NoiseLevel| 1.0 / (level.signal() + level.noise()),
    |level: &NoiseLevel| level.noise() / (level.signal() + level.noise()),
);

/// A sampler whose noise is multiplied by a factor: `s_noise`.
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

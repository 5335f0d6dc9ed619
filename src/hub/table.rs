//! Classes that run in t along a table of β: DDIM, DDPM, PNDM, LCM, TCD.

use crate::compat::{ByStride, DdpmOfDiffusers, PndmByStride, Precision};
use crate::error::{Error, require_count};
use crate::hub::json::config_error;
use crate::hub::read::Reader;
use crate::hub::run::{Argument, Calls, Route, Run};
use crate::hub::trained::Trained;
use crate::hub::{Quirk, SchedulerClass, Spacing};
use crate::level::NoiseLevel;
use crate::path::{Path, Point};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::solver::{Ddim, Ddpm, DpmSolverPp, FinalOrder, Interpolation, Lcm, Middle, Orders, Pndm, Tcd};
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

/// The settings of these classes, apart from the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    class: SchedulerClass,
    method: Method,
}

#[derive(Clone, Debug, PartialEq)]
enum Method {
    Ddim,
    /// DDIM inversion.
    Encode,
    Ddpm,
    /// SDE-DPM-Solver++ 2M.
    Sde,
    Pndm {
        runge_kutta: bool,
    },
    Lcm {
        /// `original_inference_steps`: the number of timesteps that the network was distilled for.
        distilled: usize,
        method: Lcm,
    },
    Tcd {
        /// `original_inference_steps`.
        distilled: usize,
    },
}

/// The default γ of TCD.
const TCD_GAMMA: f64 = 0.3;

static MIXES_V: Quirk = Quirk {
    key: "prediction_type",
    here: "the v of each call is converted to ε, and these ε are combined",
    diffusers: "combines the v of several levels, and then converts the sum at the last level",
    by: 0.94,
    in_compat: true,
};

static FULL_ORDER_TO_CLEAN: Quirk = Quirk {
    key: "set_alpha_to_one",
    here: "the step to clean data returns x̂₀",
    diffusers: "combines earlier outputs in this step too",
    by: 8e-3,
    in_compat: true,
};

static HALF_STRIDE: Quirk = Quirk {
    key: "skip_prk_steps",
    here: "the inner calls of a Runge–Kutta step are halfway in t",
    diffusers: "rounds half of ⌊T/S⌋ down to a whole t",
    by: 0.14,
    in_compat: true,
};

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        use SchedulerClass as Class;
        let (class, total) = (reader.class, trained.schedule.len());
        let distilled = reader.count("original_inference_steps", total.min(50), 1, total)?;
        let method = match class {
            Class::DdimInverse => Method::Encode,
            Class::CogVideoXDpm => Method::Sde,
            Class::Pndm => {
                let runge_kutta = !reader.flag("skip_prk_steps", false)?;
                if runge_kutta {
                    reader.quirk(&HALF_STRIDE);
                }
                if trained.prediction == Prediction::Velocity {
                    reader.quirk(&MIXES_V);
                }
                if trained.end == PathEnd::Clean {
                    reader.quirk(&FULL_ORDER_TO_CLEAN);
                }
                Method::Pndm { runge_kutta }
            }
            Class::Lcm => {
                let not = "is not inside (0, 1e6]";
                let scaling =
                    reader.number("timestep_scaling", 10.0, |scaling| scaling > 0.0 && scaling <= 1e6, not)?;
                Method::Lcm { distilled, method: Lcm::new(scaling)? }
            }
            Class::Tcd => Method::Tcd { distilled },
            _ if class.is_ddpm() => Method::Ddpm,
            _ => Method::Ddim,
        };
        Ok(Self { class, method })
    }

    pub(super) fn timesteps(&self, trained: &Trained, steps: usize) -> Result<Timesteps, Error> {
        let tau = match self.method {
            Method::Lcm { distilled, .. } | Method::Tcd { distilled } => {
                distilled_timesteps(trained.schedule.len(), distilled, distilled, steps)?.ending(trained.end)
            }
            _ => trained.timesteps(self.class, steps)?,
        };
        Ok(if self.method == Method::Encode { tau.encoding(Conditioning::Destination) } else { tau })
    }

    fn is_distilled(&self) -> bool {
        matches!(self.method, Method::Lcm { .. } | Method::Tcd { .. })
    }

    pub(super) fn route(&self, trained: &Trained, run: &Run<'_>) -> Result<Route, Error> {
        run.takes(match self.method {
            Method::Ddim | Method::Tcd { .. } => &[Argument::Times, Argument::Eta],
            _ => &[Argument::Times],
        })?;
        let schedule = trained.schedule(run.config.imitates)?;
        let path = self.path(trained, &schedule, run)?;
        match run.config.imitates {
            None => self.default_route(trained, run, path),
            Some(precision) => self.route_of_diffusers(trained, &schedule, run, path, precision),
        }
    }

    fn path(&self, trained: &Trained, schedule: &NoiseSchedule, run: &Run<'_>) -> Result<Path, Error> {
        if let Calls::Times(times) = &run.calls {
            if run.has_strength() && self.is_distilled() {
                let reason =
                    "shortens the list that S steps are chosen from, but a list of t is given; pass a shorter list";
                return Err(run.refused(Argument::Strength, reason));
            }
            let path = trained.ended(Path::from_times(schedule, times.iter().copied())?, schedule)?;
            return Ok(if self.method == Method::Encode { path.encoding(Conditioning::Destination) } else { path });
        }
        let steps = run.steps()?;
        let total = schedule.len();
        let tau = match self.method {
            // A strength shortens the list from which S timesteps are chosen.
            Method::Lcm { distilled, .. } | Method::Tcd { distilled } => {
                let kept = run.kept_of(distilled)?;
                distilled_timesteps(total, distilled, kept, steps)?.ending(trained.end)
            }
            // numpy's linspace with one entry starts at 0.
            _ if run.config.imitates.is_some() && steps == 1 && trained.spacing == Spacing::Linspace => {
                if self.class == SchedulerClass::UnClip {
                    let reason = "divides by zero in diffusers; use 2 or more steps with compat()";
                    return Err(config_error("num_inference_steps", "1", reason));
                }
                Timesteps::explicit(total, [0])?.ending(trained.end)
            }
            _ => self.timesteps(trained, steps)?,
        };
        Path::trained(schedule, &tau)
    }

    /// The path with the sampler as its paper defines it.
    fn default_route(&self, trained: &Trained, run: &Run<'_>, path: Path) -> Result<Route, Error> {
        Ok(match self.method {
            Method::Ddim | Method::Encode => Route::new(path, Ddim::new(run.eta.unwrap_or(0.0))?),
            Method::Ddpm => Route::new(path, Ddpm::new(trained.variance)),
            Method::Sde => Route::new(path, sde_2m(true)?),
            // With one step there are no earlier outputs to combine.
            Method::Pndm { .. } if path.len() == 1 => Route::new(path, Ddim::deterministic()),
            Method::Pndm { runge_kutta: false } => Route::new(path, Pndm::plms()),
            Method::Pndm { runge_kutta: true } => Route::new(path, Pndm::with_runge_kutta(Middle::Time)),
            Method::Lcm { method, .. } => Route::new(path, method),
            Method::Tcd { .. } => Route::new(path, Tcd::new(run.eta.unwrap_or(TCD_GAMMA), &trained.schedule)?),
        })
    }

    /// The path with the sampler as diffusers computes it.
    fn route_of_diffusers(
        &self,
        trained: &Trained,
        schedule: &NoiseSchedule,
        run: &Run<'_>,
        path: Path,
        precision: Precision,
    ) -> Result<Route, Error> {
        let steps = match &run.calls {
            Calls::Count(steps) => *steps,
            _ => path.len(),
        };
        let strides = |end| ByStride::new((), schedule, steps, end);
        let end = trained.end;
        Ok(match self.method {
            Method::Ddim if run.eta.is_some() && self.class == SchedulerClass::CogVideoXDdim => {
                return Err(run.refused(Argument::Eta, "is ignored by diffusers; leave it out with compat()"));
            }
            Method::Ddim | Method::Encode => Route::new(path, strides(end)?.of(Ddim::new(run.eta.unwrap_or(0.0))?)),
            Method::Ddpm => {
                let clean = Point::new(0.0, NoiseLevel::CLEAN);
                let ends_noisy = path.points().last().is_some_and(|point| point.t > 0.0);
                let betas = match precision {
                    _ if self.class != SchedulerClass::UnClip => Vec::new(),
                    Precision::F32 => trained.tables()?.betas().iter().map(|beta| f64::from(*beta)).collect(),
                    Precision::F64 => schedule.betas().to_vec(),
                };
                let method = DdpmOfDiffusers { method: Ddpm::new(trained.variance), ends_noisy, betas, precision };
                Route::new(path.ending_at(clean)?, method)
            }
            Method::Sde => {
                let strides = strides(end)?;
                // diffusers uses the first order if t − ⌊T/S⌋ is below 0, wherever the list ends.
                let falls_below = path.points().last().is_some_and(|point| strides.is_below(point.t));
                Route::new(path, strides.of(sde_2m(falls_below)?))
            }
            Method::Pndm { .. } if run.has_strength() => {
                let reason = "makes diffusers start in the middle of its list of calls, where its steps do not follow each \
                              other; compat() does not reproduce that. Leave compat() out";
                return Err(run.refused(Argument::Strength, reason));
            }
            Method::Pndm { runge_kutta } => {
                let prediction = trained.prediction;
                if !matches!(prediction, Prediction::Epsilon | Prediction::Velocity) {
                    let reason = "is refused by diffusers when it samples; leave compat() out";
                    return Err(config_error("prediction_type", &prediction.name(), reason));
                }
                Route::new(path, PndmByStride { strides: strides(end)?, runge_kutta, prediction })
            }
            Method::Lcm { method, .. } => Route::new(path, method),
            Method::Tcd { .. } => Route::new(path, Tcd::new(run.eta.unwrap_or(TCD_GAMMA), schedule)?),
        })
    }
}

/// The sampler of `CogVideoXDPMScheduler`.
fn sde_2m(first_at_last: bool) -> Result<DpmSolverPp, Error> {
    let orders = Orders::new(2)?;
    let orders = if first_at_last { orders.ending(FinalOrder::FirstAtLast) } else { orders };
    DpmSolverPp::multistep(2)?.orders(orders).interpolation(Interpolation::Midpoint).stochastic(1.0)
}

/// S of the timesteps k − 1, 2k − 1, …, `kept`·k − 1 with k = ⌊T/S₀⌋ and S₀ = `all`, the noisiest first.
fn distilled_timesteps(total: usize, all: usize, kept: usize, steps: usize) -> Result<Timesteps, Error> {
    let steps = require_count("the number of inference steps", steps, 1, kept)?;
    let stride = total / all;
    // numpy.linspace(0, kept, S, endpoint=False), rounded down.
    let share = kept as f64 / steps as f64;
    Timesteps::explicit(total, (0..steps).map(|i| (kept - (i as f64 * share) as usize) * stride - 1))
}

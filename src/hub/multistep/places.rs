//! Where these classes call the network: their spacings.

use crate::compat::multistep::{self as python, Call, Meaning, Shift, Spaced, Whole};
use crate::compat::{Precision, Sigmas, Spread};
use crate::error::{Error, require_count};
use crate::flow::{Flow, FlowTime};
use crate::hub::json::{Entry, config_error};
use crate::hub::multistep::quirks;
use crate::hub::read::Reader;
use crate::hub::recipe::Curve;
use crate::hub::run::{Calls, Run};
use crate::hub::trained::Trained;
use crate::hub::{SchedulerClass, Spacing};
use crate::level::NoiseLevel;
use crate::path::{Path, Point, Process};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::spacing;
use crate::timesteps::{Conditioning, PathEnd, Timesteps};

/// The spacing, and the keys that only it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    class: SchedulerClass,
    /// Levels spread in σ, instead of a list of t.
    spread: Option<Spreading>,
    flow: Option<Shifts>,
    /// `lambda_min_clipped`, for lists of t: ln(signal/noise) of the noisiest level.
    clip: Option<f64>,
    /// `sigma_max` and `sigma_min`.
    ends: [Option<f64>; 2],
    /// The t of Karras's levels is not rounded, but cut off.
    cosine: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spreading {
    Karras,
    Exponential,
    Beta,
    /// Exponential, with another list of t in diffusers.
    Lu,
}

/// The shift of a flow.
#[derive(Clone, Debug, PartialEq)]
struct Shifts {
    shift: f64,
    dynamic: Option<Dynamic>,
    terminal: Option<f64>,
}

/// `time_shift_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dynamic {
    Exponential,
    Linear,
}

/// A path, and the point at which diffusers calls the network once more, without a step.
pub(super) struct Walk {
    pub(super) path: Path,
    pub(super) still: Option<Point>,
}

const SPREADS: [(&str, Spreading); 4] = [
    ("use_karras_sigmas", Spreading::Karras),
    ("use_exponential_sigmas", Spreading::Exponential),
    ("use_beta_sigmas", Spreading::Beta),
    ("use_lu_lambdas", Spreading::Lu),
];

/// Reading.
impl Places {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        let class = reader.class;
        let spread = read_spread(reader)?;
        let flow = if reader.flag("use_flow_sigmas", false)? { Some(()) } else { None };
        check_prediction(reader, trained.prediction, flow.is_some())?;
        let flow = match flow {
            Some(()) => Some(read_shifts(reader, spread.is_some())?),
            None => {
                let keys: &[(&'static str, &[&str])] = &[
                    ("flow_shift", &["1.0", "1"]),
                    ("use_dynamic_shifting", &["false"]),
                    ("time_shift_type", &["\"exponential\""]),
                ];
                reader.unused(keys);
                if let Some(entry) = reader.given("shift_terminal").filter(|entry| !is_zero(entry)) {
                    return Err(entry.error("needs use_flow_sigmas"));
                }
                None
            }
        };
        let ends = if spread.is_some() {
            let holds = |sigma: f64| (1e-45..=1e45).contains(&sigma);
            let not = "is not inside [1e-45, 1e45]";
            [reader.optional("sigma_max", holds, not)?, reader.optional("sigma_min", holds, not)?]
        } else {
            reader.unused(&[("sigma_max", &[]), ("sigma_min", &[])]);
            [None; 2]
        };
        let clip = read_clip(reader, trained, spread.is_some() || flow.is_some())?;
        let cosine = trained.recipe.family == Curve::Cosine && class == SchedulerClass::DpmSolverMultistep;
        let places = Self { class, spread, flow, clip, ends, cosine };
        places.note(reader, trained);
        Ok(places)
    }

    pub(super) fn is_flow(&self) -> bool {
        self.flow.is_some()
    }

    /// What the spacing makes of the keys that all classes read, and where diffusers differs.
    fn note(&self, reader: &mut Reader<'_>, trained: &Trained) {
        let ends_in_noise = trained.end == PathEnd::FirstLevel;
        if self.spread.is_some() || self.flow.is_some() {
            // These lists are none of t.
            reader.retract(&["timestep_spacing", "steps_offset"]);
            reader.unused(&[("timestep_spacing", &["\"linspace\""]), ("steps_offset", &["0"])]);
        }
        if self.spread.is_some() {
            // It begins at a finite σ here, too.
            reader.retract(&["rescale_betas_zero_snr"]);
        }
        if self.flow.is_some() && self.spread.is_none() {
            let betas = ["beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"];
            reader.retract(&betas);
            reader.unused(&[("beta_start", &["0.0001"]), ("beta_end", &["0.02"]), ("beta_schedule", &["\"linear\""])]);
            reader.unused(&[("trained_betas", &[]), ("rescale_betas_zero_snr", &["false"])]);
        }
        let encodes = self.class == SchedulerClass::DpmSolverMultistepInverse;
        let repeats = encodes || matches!(self.class, SchedulerClass::DeisMultistep | SchedulerClass::SaSolver);
        match (&self.flow, self.spread) {
            (None, None) => {
                if encodes && trained.spacing != Spacing::Linspace {
                    reader.quirk(&quirks::INVERSE_LIST);
                }
                if self.clip.is_some() && trained.spacing == Spacing::Trailing {
                    reader.quirk(&quirks::CLIPPED_TRAILING);
                }
            }
            (None, Some(spread)) => {
                reader.quirk(match spread {
                    Spreading::Karras if self.cosine => &quirks::KARRAS_COSINE,
                    Spreading::Karras => &quirks::KARRAS,
                    Spreading::Lu => &quirks::LU,
                    Spreading::Exponential => &quirks::EXPONENTIAL,
                    Spreading::Beta => &quirks::BETA,
                });
                if encodes {
                    reader.quirk(&quirks::INVERSE_SPREAD);
                } else if repeats {
                    reader.quirk(&quirks::REPEATED);
                } else if ends_in_noise {
                    reader.stands_still();
                }
            }
            (Some(_), spread) => {
                if spread.is_some_and(|spread| !self.spreads_flow(spread)) {
                    reader.quirk(&quirks::FLOW_SPREAD);
                } else if encodes {
                    reader.quirk(&quirks::INVERSE_FLOW);
                } else {
                    reader.quirk(match self.class {
                        SchedulerClass::UniPcMultistep if spread.is_some() => &quirks::UNIPC_KARRAS_FLOW,
                        SchedulerClass::UniPcMultistep => &quirks::UNIPC_FLOW,
                        _ => &quirks::FLOW,
                    });
                    if ends_in_noise {
                        reader.quirk(if repeats { &quirks::FLOW_REPEATED } else { &quirks::FLOW_END });
                    }
                }
            }
        }
    }

    /// Whether diffusers spreads the levels of a flow: UniPC does, in one spacing.
    fn spreads_flow(&self, spread: Spreading) -> bool {
        self.class == SchedulerClass::UniPcMultistep && spread == Spreading::Karras
    }
}

/// At most one of the spreads.
fn read_spread(reader: &mut Reader<'_>) -> Result<Option<Spreading>, Error> {
    let mut found: Option<(&str, Spreading)> = None;
    for (key, spread) in SPREADS {
        if !reader.flag(key, false)? {
            continue;
        }
        if let Some((other, _)) = found {
            return Err(config_error(key, "true", format!("contradicts {other}; remove one of them")));
        }
        found = Some((key, spread));
    }
    Ok(found.map(|(_, spread)| spread))
}

fn is_zero(entry: &Entry<'_>) -> bool {
    entry.number().is_ok_and(|number| number == 0.0)
}

/// The velocity of a flow belongs to the levels of a flow, and v to those of a table.
fn check_prediction(reader: &mut Reader<'_>, prediction: Prediction, flow: bool) -> Result<(), Error> {
    let Some(entry) = reader.peek("prediction_type") else { return Ok(()) };
    match (prediction, flow) {
        (Prediction::Flow, false) => Err(entry.error("needs use_flow_sigmas")),
        (Prediction::Velocity, true) => {
            Err(entry.error("contradicts use_flow_sigmas: v belongs to variance-preserving levels"))
        }
        _ => Ok(()),
    }
}

fn read_shifts(reader: &mut Reader<'_>, spreads: bool) -> Result<Shifts, Error> {
    let unipc = reader.class == SchedulerClass::UniPcMultistep;
    if spreads {
        reader.unused(&[("flow_shift", &["1.0", "1"]), ("use_dynamic_shifting", &["false"])]);
        reader.unused(&[("time_shift_type", &["\"exponential\""]), ("shift_terminal", &["0", "0.0"])]);
        return Ok(Shifts { shift: 1.0, dynamic: None, terminal: None });
    }
    let dynamic = if reader.flag("use_dynamic_shifting", false)? {
        let words: &[(&str, Dynamic)] = &[("exponential", Dynamic::Exponential), ("linear", Dynamic::Linear)];
        // The other classes refuse μ with "linear".
        let words = words.get(..if unipc { 2 } else { 1 }).unwrap_or(words);
        Some(reader.choice("time_shift_type", Dynamic::Exponential, words)?)
    } else {
        reader.unused(&[("time_shift_type", &["\"exponential\""])]);
        None
    };
    let shift = if unipc && dynamic.is_some() {
        reader.unused(&[("flow_shift", &["1.0", "1"])]);
        1.0
    } else {
        let holds = |shift: f64| (1e-6..=1e6).contains(&shift);
        reader.number("flow_shift", 1.0, holds, "is not inside [1e-6, 1e6]")?
    };
    let holds = |terminal: f64| terminal == 0.0 || (1e-6..1.0).contains(&terminal);
    let terminal = reader.optional("shift_terminal", holds, "is neither 0 nor inside [1e-6, 1)")?;
    Ok(Shifts { shift, dynamic, terminal: terminal.filter(|terminal| *terminal != 0.0) })
}

/// `lambda_min_clipped`: −∞, the default, is written without quotes into files of diffusers, and clips nothing.
fn read_clip(reader: &mut Reader<'_>, trained: &Trained, idle: bool) -> Result<Option<f64>, Error> {
    let infinite = "\"-Infinity\"";
    if idle {
        reader.unused(&[("lambda_min_clipped", &[infinite])]);
        return Ok(None);
    }
    let Some(entry) = reader.given("lambda_min_clipped").filter(|entry| entry.text != infinite) else {
        return Ok(None);
    };
    let clip = entry.number()?;
    if unclipped(&trained.schedule, Some(clip)) == 0 {
        return Err(entry.error("leaves no level of this schedule"));
    }
    Ok(Some(clip))
}

/// How many levels of a schedule are not below a λ.
fn unclipped(schedule: &NoiseSchedule, clip: Option<f64>) -> usize {
    let kept = |level: &&NoiseLevel| clip.is_none_or(|clip| 0.5 * level.log_snr() >= clip);
    schedule.levels().iter().filter(kept).count()
}

/// The right paths.
impl Places {
    pub(super) fn path(&self, trained: &Trained, run: &Run<'_>) -> Result<Path, Error> {
        self.check_arguments(run)?;
        let schedule = &trained.schedule;
        let path = match (&self.flow, self.spread, &run.calls) {
            (Some(shifts), None, calls) => self.flow_path(shifts, calls, schedule.len(), run),
            (_, None, Calls::Times(times)) => ended(Path::from_times(schedule, times.iter().copied())?, trained),
            (_, None, _) => {
                let tau = self.list(trained, run.steps()?)?;
                Path::trained(schedule, &tau.ending(trained.end))
            }
            (None, Some(spread), _) => self.spread_path(spread, trained, run.steps()?),
            (Some(_), Some(spread), _) => {
                let sigmas = self.spread_sigmas(spread, schedule, run.steps()?)?;
                let flow = self.told_flow();
                let points = sigmas.into_iter().map(|sigma| flow.at_sigma(sigma)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.in_time(Path::new(points)?, &flow, schedule.len(), false)?)
            }
        }?;
        let encodes = self.class == SchedulerClass::DpmSolverMultistepInverse;
        Ok(if encodes { path.encoding(Conditioning::Source) } else { path })
    }

    /// `Err` for an argument that these settings do not take.
    fn check_arguments(&self, run: &Run<'_>) -> Result<(), Error> {
        use SchedulerClass::{DpmSolverMultistep, DpmSolverSinglestep, UniPcMultistep};
        let flow = self.flow.as_ref().filter(|_| self.spread.is_none());
        match (&run.calls, self.class) {
            (Calls::Count(_), _) => {}
            (Calls::Times(_), DpmSolverMultistep | DpmSolverSinglestep) => {
                if self.spread.is_some() || self.flow.is_some() {
                    return Err(run.refused("timesteps", "contradicts the spacing in σ that the file asks for"));
                }
            }
            (Calls::Sigmas(_), UniPcMultistep) => {
                if flow.is_none() {
                    return Err(run.refused("sigmas", "needs use_flow_sigmas, and no other spacing"));
                }
            }
            _ => run.steps().map(drop)?,
        }
        let dynamic = flow.and_then(|flow| flow.dynamic);
        match (run.mu, dynamic) {
            (Some(_), None) => Err(run.refused("mu", "needs use_dynamic_shifting and use_flow_sigmas")),
            (None, Some(_)) if self.class == UniPcMultistep => {
                Err(run.refused("mu", "is missing: use_dynamic_shifting needs it"))
            }
            _ => Ok(()),
        }
    }

    fn list(&self, trained: &Trained, steps: usize) -> Result<Timesteps, Error> {
        let (schedule, total) = (&trained.schedule, trained.schedule.len());
        let last = unclipped(schedule, self.clip);
        if last == total {
            return trained.timesteps(self.class, steps);
        }
        require_count("S", steps, 1, last)?;
        let more = (steps + 1).min(last);
        let list = match trained.spacing {
            Spacing::Trailing => Timesteps::trailing(last, steps),
            Spacing::Linspace => Timesteps::linspace(last, more),
            Spacing::Leading => Timesteps::leading(last, more, 0),
        }?;
        let offset = if trained.spacing == Spacing::Leading { trained.offset } else { 0 };
        Timesteps::explicit(total, list.as_slice().iter().take(steps).map(|t| t + offset))
    }

    fn spread_sigmas(&self, spread: Spreading, schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>, Error> {
        let [max, min] = schedule.sigma_range();
        let [max, min] = [self.ends[0].unwrap_or(max.min(LARGEST)), self.ends[1].unwrap_or(min)];
        match spread {
            Spreading::Karras => spacing::karras(steps, max, min, spacing::KARRAS_RHO),
            Spreading::Exponential | Spreading::Lu => spacing::exponential(steps, max, min),
            Spreading::Beta => spacing::beta(steps, max, min, 0.6, 0.6),
        }
    }

    fn spread_path(&self, spread: Spreading, trained: &Trained, steps: usize) -> Result<Path, Error> {
        let schedule = &trained.schedule;
        let sigmas = self.spread_sigmas(spread, schedule, steps)?;
        let points = sigmas.into_iter().map(|sigma| point(schedule, sigma)).collect::<Result<Vec<_>, _>>()?;
        let path = Path::new(points)?.of_process(schedule);
        // DEIS, SA-Solver and the inverse have no key for the end.
        let repeats = self.class == SchedulerClass::DpmSolverMultistepInverse
            || matches!(self.class, SchedulerClass::DeisMultistep | SchedulerClass::SaSolver);
        if repeats {
            return Ok(path.between_ends(true, Point::new(0.0, NoiseLevel::CLEAN)));
        }
        ended(path, trained)
    }

    fn told_flow(&self) -> Flow {
        // Wan's authors cut the fraction off.
        let whole = self.class == SchedulerClass::UniPcMultistep;
        Flow::default().told(if whole { FlowTime::WholeThousandth } else { FlowTime::Thousandth })
    }

    fn flow_path(&self, shifts: &Shifts, calls: &Calls, total: usize, run: &Run<'_>) -> Result<Path, Error> {
        let flow = self.told_flow();
        let flow = match (run.mu, shifts.dynamic) {
            (Some(mu), Some(Dynamic::Exponential)) => flow.shifted_exponentially(mu),
            (Some(mu), Some(Dynamic::Linear)) => flow.shifted(mu),
            _ => flow.shifted(shifts.shift),
        }?;
        let flow = match shifts.terminal {
            Some(terminal) => flow.stretched_to(terminal)?,
            None => flow,
        };
        let path = match calls {
            Calls::Sigmas(sigmas) => flow.path_through(sigmas.iter().copied()),
            _ => flow.path(run.steps()?),
        }?;
        if total == 1000 { Ok(path) } else { self.in_time(path, &flow, total, true) }
    }

    /// This path, to clean data, with t = T·σ.
    fn in_time(&self, path: Path, flow: &Flow, total: usize, from_noise: bool) -> Result<Path, Error> {
        let whole = self.class == SchedulerClass::UniPcMultistep;
        let points = path.points().iter().map(|point| {
            let t = (point.level.flow_sigma_dd() * (total as f64).into()).to_f64();
            Point { t: if whole { t.trunc() } else { t }, ..*point }
        });
        let path = Path::new(points)?.of_process(flow);
        Ok(path.between_ends(from_noise, Point::new(0.0, NoiseLevel::CLEAN)))
    }
}

/// The largest σ of a spread whose schedule ends at zero SNR: ᾱ = 2⁻²⁴, as in diffusers.
const LARGEST: f64 = 4096.0;

/// The end that the file asks for.
fn ended(path: Path, trained: &Trained) -> Result<Path, Error> {
    match trained.end {
        PathEnd::Clean => Ok(path.between_ends(true, Point::new(0.0, NoiseLevel::CLEAN))),
        PathEnd::FirstLevel => path.ending_at(Point::new(0.0, trained.schedule.level(0)?)),
    }
}

/// The point of a table at σ; beyond its ends the network is told the first or the last t.
fn point(schedule: &NoiseSchedule, sigma: f64) -> Result<Point, Error> {
    let [max, min] = schedule.sigma_range();
    let last = schedule.len() - 1;
    if max == f64::INFINITY && last > 0 {
        // ln σ is linear in t here as well, up to the largest σ of a spread.
        let below = schedule.level(last - 1)?.sigma();
        if sigma > below {
            let share = libm::log(sigma / below) / libm::log(LARGEST / below);
            return Ok(Point::new((last - 1) as f64 + share.clamp(0.0, 1.0), NoiseLevel::from_sigma(sigma)?));
        }
    }
    if (min..=max).contains(&sigma) {
        return schedule.at_sigma(sigma);
    }
    Ok(Point::new(if sigma > max { last as f64 } else { 0.0 }, NoiseLevel::from_sigma(sigma)?))
}

/// The paths of diffusers.
impl Places {
    pub(super) fn imitated(&self, trained: &Trained, run: &Run<'_>, precision: Precision) -> Result<Walk, Error> {
        self.check_arguments(run)?;
        let schedule = trained.schedule(Some(precision))?;
        let sigmas = Sigmas::new(&schedule, precision);
        let calls = self.calls(trained, &schedule, &sigmas, run)?;
        let repeated = calls.last().map_or(0.0, |(_, sigma)| *sigma);
        let unipc = self.class == SchedulerClass::UniPcMultistep;
        let is_list = self.flow.is_none() && self.spread.is_none();
        let meaning = Meaning { flow: self.flow.is_some(), precision };
        match self.class {
            SchedulerClass::DeisMultistep | SchedulerClass::SaSolver => {
                Ok(Walk::of(meaning.path(&calls, if is_list { sigmas.min() } else { repeated })?))
            }
            SchedulerClass::DpmSolverMultistepInverse if self.flow.is_some() => {
                // A list that falls, as if it were not the inverse.
                Ok(Walk::of(meaning.path(&calls, repeated)?))
            }
            SchedulerClass::DpmSolverMultistepInverse => {
                let rising: Vec<Call> = calls.into_iter().rev().collect();
                let noisiest = (unclipped(&schedule, self.clip) - 1) as f64;
                let last = rising.last().map_or(0.0, |(_, sigma)| *sigma);
                let last = if is_list { sigmas.at(noisiest) } else { last };
                let (rising, last) = python::without_equal_times(&rising, last);
                let (path, still) = meaning.encoding(&rising, last)?;
                Ok(Walk { path, still })
            }
            _ => {
                let last = match trained.end {
                    PathEnd::Clean => 0.0,
                    PathEnd::FirstLevel if unipc && !is_list => repeated,
                    PathEnd::FirstLevel => sigmas.min(),
                };
                Ok(Walk::of(meaning.path(&calls, last)?))
            }
        }
    }

    /// The falling list of the calls.
    fn calls(
        &self,
        trained: &Trained,
        schedule: &NoiseSchedule,
        sigmas: &Sigmas,
        run: &Run<'_>,
    ) -> Result<Vec<Call>, Error> {
        let total = schedule.len();
        match (&self.flow, self.spread, &run.calls) {
            (_, Some(spread), _) => {
                let steps = run.steps()?;
                let whole = match spread {
                    Spreading::Karras | Spreading::Lu if !self.cosine => Whole::Rounded,
                    _ => Whole::Truncated,
                };
                let list = match spread {
                    Spreading::Lu => python::lu(sigmas, steps, whole)?,
                    Spreading::Karras => python::spread(sigmas, Spread::Karras, steps, self.ends, whole)?,
                    Spreading::Exponential => python::spread(sigmas, Spread::Exponential, steps, self.ends, whole)?,
                    Spreading::Beta => python::spread(sigmas, Spread::Beta, steps, self.ends, whole)?,
                };
                match &self.flow {
                    None => Ok(list),
                    Some(_) if self.spreads_flow(spread) => Ok(python::spread_flow(list, total)),
                    Some(_) => {
                        let reason = "is NaN in diffusers beside a spacing in σ; compat() has nothing to imitate";
                        Err(config_error("use_flow_sigmas", "true", reason))
                    }
                }
            }
            (Some(shifts), None, calls) => {
                let scale = match (run.mu, shifts.dynamic) {
                    (Some(mu), Some(Dynamic::Exponential)) => libm::exp(mu),
                    (Some(mu), _) => mu,
                    (None, _) => shifts.shift,
                };
                if self.class != SchedulerClass::UniPcMultistep {
                    return python::flow(run.steps()?, total, scale);
                }
                let shift = if shifts.dynamic.is_some() { Shift::Dynamic(scale) } else { Shift::Static(scale) };
                match calls {
                    Calls::Sigmas(list) => {
                        python::unipc_flow(list.len(), Some(list), total, shift, shifts.terminal)
                    }
                    _ => python::unipc_flow(run.steps()?, None, total, shift, shifts.terminal),
                }
            }
            (None, None, Calls::Times(times)) => Ok(python::at_times(sigmas, times.iter().map(|t| t.trunc()))),
            (None, None, _) => {
                let spaced = match trained.spacing {
                    Spacing::Leading => Spaced::Leading { offset: trained.offset },
                    Spacing::Trailing => Spaced::Trailing,
                    Spacing::Linspace => Spaced::Linspace,
                };
                let last = unclipped(schedule, self.clip);
                let mut times = python::times(spaced, total, last, run.steps()?)?;
                if self.class == SchedulerClass::DpmSolverMultistepInverse && spaced != Spaced::Trailing {
                    // The other end of S + 1 entries is left out.
                    times = shifted_down(times, spaced);
                }
                Ok(python::at_times(sigmas, times))
            }
        }
    }
}

/// The S entries after the first of S + 1, where `times` are the S before the last: 0 for the noisiest one.
fn shifted_down(times: Vec<f64>, spaced: Spaced) -> Vec<f64> {
    let first = match spaced {
        Spaced::Leading { offset } => offset as f64,
        _ => 0.0,
    };
    times.into_iter().skip(1).chain([first]).collect()
}

impl Walk {
    fn of(path: Path) -> Self {
        Self { path, still: None }
    }
}

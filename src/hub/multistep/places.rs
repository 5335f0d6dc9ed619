//! The points at which these classes call the network.

mod exact;
mod imitated;

use crate::error::Error;
use crate::hub::json::Entry;
use crate::hub::keys::acts;
use crate::hub::multistep::quirks;
use crate::hub::read::{Reader, SPREADS};
use crate::hub::recipe::Curve;
use crate::hub::shift::{DynamicType, read_static, read_terminal};
use crate::hub::trained::Trained;
use crate::hub::{SchedulerClass, Spacing};
use crate::level::NoiseLevel;
use crate::path::{Path, Point};
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::spacing::Spread;
use crate::timesteps::PathEnd;

/// The settings of the spacing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    class: SchedulerClass,
    /// A spacing in σ, instead of a list of t.
    spread: Option<Spreading>,
    flow: Option<Shifts>,
    /// `lambda_min_clipped`, for lists of t: the smallest ln(signal/noise) that is kept.
    clip: Option<f64>,
    /// `sigma_max` and `sigma_min`.
    ends: [Option<f64>; 2],
    /// Whether diffusers cuts the fraction off the t of Karras's levels instead of rounding: on the cosine schedule.
    cosine: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spreading {
    Of(Spread),
    /// `use_lu_lambdas`: [`Spread::Exponential`], but with a different list of t in diffusers.
    Lu,
}

const KARRAS: Spreading = Spreading::Of(Spread::Karras);

/// The shift of a flow.
#[derive(Clone, Debug, PartialEq)]
struct Shifts {
    shift: f64,
    dynamic: Option<DynamicType>,
    terminal: Option<f64>,
}

/// A path, and the point at which diffusers repeats the last level: one more network call, which does not move x.
pub(super) struct PathAndRepeat {
    pub(super) path: Path,
    pub(super) repeat: Option<Point>,
}

/// Texts of default values in files.
const ONE: &[&str] = &["1.0", "1"];
const EXPONENTIAL: &[&str] = &["\"exponential\""];

impl Places {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &Trained) -> Result<Self, Error> {
        let class = reader.class;
        let switches = SPREADS.map(|(key, spread)| (key, Spreading::Of(spread)));
        let switches: Vec<_> = switches.into_iter().chain([("use_lu_lambdas", Spreading::Lu)]).collect();
        let spread = reader.one_on(&switches)?;
        let is_flow = reader.flag("use_flow_sigmas", false)?;
        check_prediction(reader, trained.prediction, is_flow)?;
        let flow = if is_flow {
            Some(read_shifts(reader, spread.is_some())?)
        } else {
            reader.unused(&[
                ("flow_shift", ONE),
                ("use_dynamic_shifting", &["false"]),
                ("time_shift_type", EXPONENTIAL),
            ]);
            if let Some(entry) = reader.given("shift_terminal").filter(|entry| !is_zero(entry)) {
                return Err(entry.error("needs use_flow_sigmas = true"));
            }
            None
        };
        let ends = if spread.is_some() {
            reader.sigma_ends_if_given()?
        } else {
            reader.unused(&[("sigma_max", &[]), ("sigma_min", &[])]);
            [None; 2]
        };
        let clip = read_clip(reader, trained, spread.is_some() || flow.is_some())?;
        let cosine = trained.recipe.curve == Curve::Cosine && class == SchedulerClass::DpmSolverMultistep;
        let places = Self { class, spread, flow, clip, ends, cosine };
        places.note_idle_keys(reader);
        places.note_quirks(reader, trained);
        Ok(places)
    }

    /// Adds notes on keys that this spacing leaves without effect.
    fn note_idle_keys(&self, reader: &mut Reader<'_>) {
        if self.spread.is_some() || self.flow.is_some() {
            // These spacings do not use a list of t.
            reader.retract(&["timestep_spacing", "steps_offset"]);
            reader.unused(&[("timestep_spacing", &["\"linspace\""]), ("steps_offset", &["0"])]);
        }
        if self.spread.is_some() {
            // A spacing in σ begins at a finite σ here as well.
            reader.retract(&["rescale_betas_zero_snr"]);
        } else if self.flow.is_some() {
            let betas = ["beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"];
            reader.retract(&betas);
            reader.unused(&[("beta_start", &["0.0001"]), ("beta_end", &["0.02"]), ("beta_schedule", &["\"linear\""])]);
            reader.unused(&[("trained_betas", &[]), ("rescale_betas_zero_snr", &["false"])]);
        }
    }

    /// Adds notes if diffusers calls the network at other points.
    fn note_quirks(&self, reader: &mut Reader<'_>, trained: &Trained) {
        match (&self.flow, self.spread) {
            (None, None) => {
                if self.encodes() && trained.spacing != Spacing::Linspace {
                    reader.quirk(&quirks::INVERSE_LIST);
                }
                if self.clip.is_some() && trained.spacing == Spacing::Trailing {
                    reader.quirk(&quirks::CLIPPED_TRAILING);
                }
            }
            (None, Some(spread)) => {
                reader.quirk(match spread {
                    KARRAS if self.cosine => &quirks::KARRAS_COSINE,
                    KARRAS => &quirks::KARRAS,
                    Spreading::Lu => &quirks::LU,
                    Spreading::Of(Spread::Beta) => &quirks::BETA,
                    Spreading::Of(_) => &quirks::EXPONENTIAL,
                });
                if self.encodes() {
                    reader.quirk(&quirks::INVERSE_SPREAD);
                } else if self.lacks_end() {
                    reader.quirk(&quirks::REPEATED);
                } else if trained.end == PathEnd::FirstLevel {
                    reader.stands_still();
                }
            }
            (Some(_), Some(spread)) if !self.spreads_flow(spread) => reader.quirk(&quirks::FLOW_SPREAD),
            (Some(_), _) if self.encodes() => reader.quirk(&quirks::INVERSE_FLOW),
            (Some(_), spread) => {
                match (self.class, spread) {
                    (SchedulerClass::UniPcMultistep, Some(_)) => {}
                    (SchedulerClass::UniPcMultistep, None) => reader.quirk(&quirks::UNIPC_FLOW),
                    _ => reader.quirk(&quirks::FLOW),
                }
                if trained.end == PathEnd::FirstLevel {
                    reader.quirk(if self.lacks_end() { &quirks::FLOW_REPEATED } else { &quirks::FLOW_END });
                }
            }
        }
    }

    fn encodes(&self) -> bool {
        self.class == SchedulerClass::DpmSolverMultistepInverse
    }

    /// Whether the class has no key for the end of its path.
    fn lacks_end(&self) -> bool {
        !acts(self.class, "final_sigmas_type")
    }

    /// Whether the last step leads to pure noise.
    pub(super) fn encodes_to_pure_noise(&self) -> bool {
        self.encodes() && self.flow.is_some() && self.spread.is_none()
    }

    /// Whether diffusers combines this spacing with a flow: only UniPC does, and only with Karras's spacing.
    fn spreads_flow(&self, spread: Spreading) -> bool {
        self.class == SchedulerClass::UniPcMultistep && spread == KARRAS
    }
}

fn is_zero(entry: &Entry<'_>) -> bool {
    entry.number().is_ok_and(|number| number == 0.0)
}

/// Checks that a flow's velocity comes with the levels of a flow, and v with the levels of a table.
fn check_prediction(reader: &mut Reader<'_>, prediction: Prediction, flow: bool) -> Result<(), Error> {
    let Some(entry) = reader.peek("prediction_type") else { return Ok(()) };
    match (prediction, flow) {
        (Prediction::Flow, false) => Err(entry.error("needs use_flow_sigmas = true")),
        (Prediction::Velocity, true) => {
            Err(entry.error("contradicts use_flow_sigmas: a flow has flow_prediction, and v belongs to a β schedule"))
        }
        _ => Ok(()),
    }
}

fn read_shifts(reader: &mut Reader<'_>, spreads: bool) -> Result<Shifts, Error> {
    let unipc = reader.class == SchedulerClass::UniPcMultistep;
    if spreads {
        reader.unused(&[("flow_shift", ONE), ("use_dynamic_shifting", &["false"])]);
        reader.unused(&[("time_shift_type", EXPONENTIAL), ("shift_terminal", &["0", "0.0"])]);
        return Ok(Shifts { shift: 1.0, dynamic: None, terminal: None });
    }
    let dynamic = if reader.flag("use_dynamic_shifting", false)? {
        // In diffusers only UniPC accepts "linear".
        let words = DynamicType::NAMES.get(..if unipc { 2 } else { 1 }).unwrap_or(&DynamicType::NAMES);
        Some(reader.choice("time_shift_type", DynamicType::Exponential, words)?)
    } else {
        reader.unused(&[("time_shift_type", EXPONENTIAL)]);
        None
    };
    let shift = if unipc && dynamic.is_some() {
        reader.unused(&[("flow_shift", ONE)]);
        1.0
    } else {
        read_static(reader, "flow_shift")?
    };
    Ok(Shifts { shift, dynamic, terminal: read_terminal(reader)? })
}

/// `lambda_min_clipped`. The default −∞ clips nothing; diffusers writes it into files without quotes.
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
        return Err(entry.error("leaves no level of this schedule; choose a smaller value"));
    }
    Ok(Some(clip))
}

/// How many levels of a schedule have a λ of at least `clip`.
fn unclipped(schedule: &NoiseSchedule, clip: Option<f64>) -> usize {
    let kept = |level: &&NoiseLevel| clip.is_none_or(|clip| 0.5 * level.log_snr() >= clip);
    schedule.levels().iter().filter(kept).count()
}

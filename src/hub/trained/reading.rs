//! Reads the settings that all classes with a table of β share, and notes where their lists of t differ from diffusers.

use super::Trained;
use crate::error::Error;
use crate::hub::class::List;
use crate::hub::json::config_error;
use crate::hub::keys::acts;
use crate::hub::read::{Reader, number};
use crate::hub::recipe::{Curve, Recipe};
use crate::hub::{Difference, Ignored, SchedulerClass, Spacing};
use crate::prediction::Prediction;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::Variance;
use crate::timesteps::PathEnd;

impl Trained {
    pub(in crate::hub) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let recipe = recipe(reader)?;
        let prediction = prediction(reader)?;
        let recipe = shift_and_rescaling(reader, recipe, prediction)?;
        let schedule = recipe.schedule()?;
        let threshold = reader.threshold()?;
        let end = end(reader)?;
        let (spacing, offset) = spacing(reader, schedule.len(), end)?;
        let (variance, learned_variance) = variance(reader)?;
        Ok(Self { recipe, schedule, prediction, threshold, spacing, offset, end, variance, learned_variance })
    }
}

fn recipe(reader: &mut Reader<'_>) -> Result<Recipe, Error> {
    let defaults = reader.class.defaults();
    let total = match reader.get_or_former("num_train_timesteps", "timesteps").filter(|entry| !entry.is_null()) {
        Some(entry) => entry.count(1, MAX_TRAIN_STEPS)?,
        None => 1000,
    };
    let (start, end, name) = (reader.given("beta_start"), reader.given("beta_end"), reader.given("beta_schedule"));
    let in_alpha_bar = acts(reader.class, "snr_shift_scale");
    let recipe = |curve| Recipe { total, curve, shift: 1.0, rescales: false, in_alpha_bar };
    if let Some(entry) = reader.given("trained_betas") {
        reader.ignored_if_given([start, end, name], Ignored::TrainedBetas);
        let betas = entry.numbers()?;
        if betas.len() != total {
            return Err(entry.error(format!("holds {} numbers, but num_train_timesteps = {total}", betas.len())));
        }
        return Ok(recipe(Curve::Trained(betas)));
    }
    let family = match name {
        Some(entry) => entry.word()?,
        None => defaults.beta_schedule.to_owned(),
    };
    if name.is_some() && !reader.class.takes_beta_schedule(&family) {
        reader.differs(Difference::BetaSchedule(reader.class));
    }
    if let Some(fixed) = Curve::without_ends(&family) {
        reader.ignored_if_given([start, end], Ignored::FixedSchedule);
        return Ok(recipe(fixed));
    }
    let beta = |entry, default| number(entry, default, |beta| beta > 0.0 && beta < 1.0, "is not inside (0, 1)");
    let (start, end) = (beta(start, defaults.beta_start)?, beta(end, defaults.beta_end)?);
    Curve::with_ends(&family, start, end)
        .map(recipe)
        .ok_or_else(|| config_error("beta_schedule", &family, format!("is not one of {}", Curve::NAMES.join(", "))))
}

/// `prediction_type`, or `predict_epsilon`, its name in diffusers up to 0.8.
fn prediction(reader: &mut Reader<'_>) -> Result<Prediction, Error> {
    let given = reader.given("prediction_type");
    let prediction = match given {
        None => Prediction::Epsilon,
        Some(entry) => match entry.word()?.as_str() {
            "epsilon" => Prediction::Epsilon,
            "sample" => Prediction::Sample,
            "original_sample" if reader.class == SchedulerClass::EulerDiscrete => Prediction::Sample,
            "v_prediction" => Prediction::Velocity,
            "flow_prediction" if acts(reader.class, "use_flow_sigmas") => Prediction::Flow,
            _ if acts(reader.class, "use_flow_sigmas") => {
                return Err(entry.error("is not one of epsilon, sample, v_prediction, flow_prediction"));
            }
            _ => return Err(entry.error("is not one of epsilon, sample, v_prediction")),
        },
    };
    if let Some(entry) = given {
        if !reader.class.takes_prediction(&entry.word()?) {
            reader.differs(Difference::PredictionType(reader.class));
        }
    }
    let Some(former) = reader.peek("predict_epsilon").filter(|entry| !entry.is_null()) else {
        return Ok(prediction);
    };
    if former.flag()? || prediction == Prediction::Sample {
        return Ok(prediction);
    }
    if let Some(entry) = given {
        return Err(former.error(format!("contradicts prediction_type = {}; remove the wrong one", entry.text)));
    }
    reader.mark("predict_epsilon");
    reader.differs(Difference::PredictEpsilon);
    Ok(Prediction::Sample)
}

fn shift_and_rescaling(reader: &mut Reader<'_>, mut recipe: Recipe, prediction: Prediction) -> Result<Recipe, Error> {
    let default = reader.class.defaults().snr_shift_scale;
    recipe.shift = reader.number("snr_shift_scale", default, |shift| shift > 0.0, "is not positive")?;
    recipe.rescales = reader.flag("rescale_betas_zero_snr", false)?;
    if recipe.rescales {
        reader.differs(if prediction == Prediction::Epsilon {
            Difference::ZeroSnrEpsilon
        } else if reader.class.keeps_snr_above_zero() {
            Difference::ZeroSnrFloor
        } else {
            Difference::ZeroSnr
        });
    }
    Ok(recipe)
}

fn end(reader: &mut Reader<'_>) -> Result<PathEnd, Error> {
    let default = reader.class.defaults().end;
    if let Some(entry) = reader.given("final_sigmas_type") {
        return match entry.word()?.as_str() {
            "zero" => Ok(PathEnd::Clean),
            "sigma_min" => Ok(PathEnd::FirstLevel),
            _ => Err(entry.error("is not one of zero, sigma_min")),
        };
    }
    let mut given = reader.get("set_alpha_to_one");
    if let Some(former) = reader.peek("set_alpha_to_zero").filter(|entry| !entry.is_null()) {
        // As in diffusers, the old name wins if both are given.
        if reader.get("set_alpha_to_zero").is_some() {
            reader.differs(Difference::Renamed { from: "set_alpha_to_zero", to: "set_alpha_to_one" });
            given = Some(former);
        }
    }
    let Some(entry) = given else { return Ok(default) };
    Ok(if entry.flag()? { PathEnd::Clean } else { PathEnd::FirstLevel })
}

fn spacing(reader: &mut Reader<'_>, total: usize, end: PathEnd) -> Result<(Spacing, usize), Error> {
    let (class, default) = (reader.class, reader.class.defaults().spacing);
    let spacing = if let Some(entry) = reader.given("timestep_spacing") {
        let word = entry.word()?;
        word.parse().map_err(|_| entry.error("is not one of leading, trailing, linspace"))?
    } else {
        default
    };
    let offset = match reader.given("steps_offset") {
        Some(entry) => {
            let offset = entry.count(0, total - 1)?;
            if spacing != Spacing::Leading && offset > 0 {
                reader.ignored("steps_offset", Ignored::Off("leading spacing"));
            }
            offset
        }
        None => 0,
    };
    if class.list() != List::Distilled {
        note_spacing(reader, spacing, offset, end);
    }
    Ok((spacing, offset))
}

/// Adds notes on how the path differs from that of diffusers.
fn note_spacing(reader: &mut Reader<'_>, spacing: Spacing, offset: usize, end: PathEnd) {
    let (class, list) = (reader.class, reader.class.list());
    let is_ddpm = class.is_ddpm();
    match spacing {
        Spacing::Leading => {
            // With offset 1 and the end at t = 0, both step to the same level.
            if class.steps_by_stride() && offset > 0 && !(offset == 1 && end == PathEnd::FirstLevel) {
                reader.differs(Difference::OffsetPredecessor);
            }
            if is_ddpm && offset > 0 {
                reader.differs(Difference::LastStepNoise);
            }
        }
        Spacing::Trailing => {
            reader.differs(Difference::TrailingLength);
            if is_ddpm {
                reader.differs(Difference::LastStepNoise);
            }
        }
        Spacing::Linspace if class == SchedulerClass::DdimInverse => reader.differs(Difference::InverseLinspace),
        // UnCLIP has no run of one step in diffusers, and a list of S + 1 entries starts at t = T − 1.
        Spacing::Linspace if class == SchedulerClass::UnClip || list == List::OneMore => {}
        Spacing::Linspace => reader.differs(Difference::LinspaceSingle),
    }
    if class.steps_by_stride() && spacing != Spacing::Leading {
        reader.differs(Difference::Predecessor);
    }
    let ends_at_zero =
        list != List::OneMore && (spacing == Spacing::Linspace || spacing == Spacing::Leading && offset == 0);
    if ends_at_zero && end == PathEnd::FirstLevel {
        reader.stands_still();
    }
}

/// The variance of DDPM, and whether the network returns channels for it.
fn variance(reader: &mut Reader<'_>) -> Result<(Variance, bool), Error> {
    let is_ddpm = reader.class.is_ddpm();
    let Some(entry) = reader.peek("variance_type").filter(|entry| !entry.is_null()) else {
        if is_ddpm {
            reader.mark("variance_type");
        }
        return Ok((Variance::Posterior, false));
    };
    if !is_ddpm {
        let learned = matches!(entry.text, "\"learned\"" | "\"learned_range\"");
        if learned {
            reader.mark("variance_type");
            reader.differs(Difference::DropVariance);
        }
        return Ok((Variance::Posterior, learned));
    }
    reader.mark("variance_type");
    let word = entry.word()?;
    let variance = match word.as_str() {
        "fixed_small" | "fixed_small_log" => Variance::Posterior,
        "fixed_large" | "fixed_large_log" => Variance::Beta,
        "learned" => Variance::Learned,
        "learned_range" => Variance::LearnedRange,
        _ => {
            let names = "fixed_small, fixed_small_log, fixed_large, fixed_large_log, learned, learned_range";
            return Err(entry.error(format!("is not one of {names}")));
        }
    };
    if variance == Variance::Learned {
        reader.differs(Difference::Learned);
    }
    if word == "fixed_large_log" {
        reader.differs(Difference::FixedLargeLog);
    }
    Ok((variance, matches!(variance, Variance::Learned | Variance::LearnedRange)))
}

//! Reads the keys of each multistep sampler.

use super::{Algorithm, Kind, Method};
use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::multistep::places::Places;
use crate::hub::multistep::quirks;
use crate::hub::read::Reader;
use crate::hub::trained::Trained;
use crate::hub::{Ignored, SchedulerClass};
use crate::prediction::Prediction;
use crate::solver::{Interpolation, UniPcWeights};
use crate::timesteps::PathEnd;

impl Method {
    pub(in crate::hub::multistep) fn read(
        reader: &mut Reader<'_>,
        trained: &mut Trained,
        places: &Places,
    ) -> Result<Self, Error> {
        use SchedulerClass::{DeisMultistep, DpmSolverSinglestep, SaSolver, UniPcMultistep};
        let method = match reader.class {
            UniPcMultistep => unipc(reader, trained),
            SaSolver => sa_solver(reader),
            DeisMultistep => deis(reader),
            DpmSolverSinglestep => single_step(reader),
            _ => multistep(reader, trained, places),
        }?;
        let refuses_zero = |kind: &Kind| match kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. } => algorithm.interpolates_noise(),
            _ => false,
        };
        if trained.end == PathEnd::Clean && refuses_zero(&method.kind) {
            reader.quirk(&quirks::NOISE_TO_CLEAN);
        }
        if trained.prediction == Prediction::Flow && method.interpolates_noise() {
            reader.quirk(&quirks::NOISE_OF_FLOW);
        }
        Ok(method)
    }
}

const MAX_DPM_ORDER: usize = 3;

/// `algorithm_type` of DPM-Solver.
const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("dpmsolver++", Algorithm::Data),
    ("dpmsolver", Algorithm::Noise),
    ("sde-dpmsolver++", Algorithm::StochasticData),
    ("sde-dpmsolver", Algorithm::StochasticNoise),
];

fn multistep(reader: &mut Reader<'_>, trained: &Trained, places: &Places) -> Result<Method, Error> {
    let algorithm = reader.choice_or_foreign("algorithm_type", &ALGORITHMS, &["deis"])?;
    let encodes = reader.class == SchedulerClass::DpmSolverMultistepInverse;
    if let Some(entry) = reader.peek("algorithm_type").filter(|_| encodes && algorithm.is_stochastic()) {
        return Err(entry.error("adds noise, which is impossible from data to noise; use dpmsolver++ or dpmsolver"));
    }
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    let (interpolation, lowers) = interpolation_and_end(reader, order, true)?;
    let ends_between = if encodes { !places.encodes_to_pure_noise() } else { trained.end == PathEnd::FirstLevel };
    let euler_at_final = euler_at_final(reader, order, ends_between)?;
    if order == 3 {
        reader.quirk(match algorithm {
            Algorithm::StochasticData => &quirks::THIRD_STOCHASTIC,
            Algorithm::StochasticNoise => &quirks::THIRD_STOCHASTIC_NOISE,
            Algorithm::Data | Algorithm::Noise => &quirks::THIRD,
        });
    }
    Ok(Method { kind: Kind::Multistep { algorithm, interpolation, euler_at_final }, order, lowers })
}

fn single_step(reader: &mut Reader<'_>) -> Result<Method, Error> {
    // Without sde-dpmsolver.
    let [words @ .., _] = ALGORITHMS;
    let algorithm = reader.choice_or_foreign("algorithm_type", &words, &["deis"])?;
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    if algorithm.is_stochastic() && order > 1 {
        reader.quirk(&quirks::SINGLE_STOCHASTIC);
    }
    let (interpolation, lowers) = interpolation_and_end(reader, order, false)?;
    if order == 3 && interpolation == Interpolation::Midpoint {
        reader.quirk(&quirks::THIRD_SINGLE);
    }
    Ok(Method { kind: Kind::SingleStep { algorithm, interpolation }, order, lowers })
}

fn deis(reader: &mut Reader<'_>) -> Result<Method, Error> {
    reader.choice_or_foreign("algorithm_type", &[("deis", ())], &["dpmsolver", "dpmsolver++"])?;
    reader.choice_or_foreign("solver_type", &[("logrho", ())], &["midpoint", "heun", "bh1", "bh2"])?;
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    let lowers = if order > 1 { reader.flag("lower_order_final", true)? } else { no_lower_end(reader, "true") };
    Ok(Method { kind: Kind::Deis, order, lowers })
}

fn unipc(reader: &mut Reader<'_>, trained: &mut Trained) -> Result<Method, Error> {
    let order = reader.count("solver_order", 2, 1, 4)?;
    let own = [("bh2", UniPcWeights::Bh2), ("bh1", UniPcWeights::Bh1)];
    let weights = reader.choice_or_foreign("solver_type", &own, &["midpoint", "heun", "logrho"])?;
    let lowers = if order > 1 { reader.flag("lower_order_final", true)? } else { no_lower_end(reader, "true") };
    let interpolates_noise = match reader.given("predict_x0") {
        Some(entry) => !entry.flag()?,
        None => false,
    };
    if let Some(entry) = reader.given("solver_p") {
        return Err(entry.error("is not supported: it replaces the predictor by another class. Remove it"));
    }
    let uncorrected = match reader.given("disable_corrector") {
        None => Vec::new(),
        Some(entry) => {
            let steps = entry.numbers()?;
            let whole = |step: &f64| step.fract() == 0.0 && step.abs() < 1e9;
            if !steps.iter().all(whole) {
                return Err(entry.error("is not a list of whole numbers"));
            }
            // As in diffusers, a negative index matches no step.
            steps.into_iter().filter(|step| *step >= 0.0).map(|step| step as usize).collect()
        }
    };
    if interpolates_noise && trained.threshold != Threshold::None {
        // The sampler thresholds what it interpolates, which is not x̂₀ here.
        trained.threshold = Threshold::None;
        reader.ignored("thresholding", Ignored::Off("predict_x0"));
        reader.unused(&[("dynamic_thresholding_ratio", &["0.995"]), ("sample_max_value", &["1.0", "1"])]);
    }
    if trained.end == PathEnd::Clean && weights == UniPcWeights::Bh1 && !interpolates_noise {
        reader.quirk(&quirks::BH1_TO_CLEAN);
    }
    if trained.end == PathEnd::Clean && interpolates_noise {
        reader.quirk(&quirks::UNIPC_NOISE_TO_CLEAN);
    }
    Ok(Method { kind: Kind::UniPc { weights, interpolates_noise, uncorrected }, order, lowers })
}

fn sa_solver(reader: &mut Reader<'_>) -> Result<Method, Error> {
    let order = reader.count("predictor_order", 2, 1, 4)?;
    let corrector = reader.count("corrector_order", 2, 1, 4)?;
    let lowers = reader.flag("lower_order_final", true)?;
    let words = [("data_prediction", false), ("noise_prediction", true)];
    let interpolates_noise = reader.choice("algorithm_type", false, &words)?;
    if let Some(entry) = reader.given("tau_func") {
        return Err(entry.error(
            "is not supported: a file cannot hold a function. Remove it; the default is τ = 1 for t in 200..=800",
        ));
    }
    Ok(Method { kind: Kind::Sa { corrector, interpolates_noise }, order, lowers })
}

/// `solver_type` and `lower_order_final` of DPM-Solver. At order 1 they have no effect.
pub(in crate::hub) fn interpolation_and_end(
    reader: &mut Reader<'_>,
    order: usize,
    lowers: bool,
) -> Result<(Interpolation, bool), Error> {
    if order == 1 {
        reader.unused(&[("solver_type", &["\"midpoint\""])]);
        return Ok((Interpolation::Midpoint, no_lower_end(reader, if lowers { "true" } else { "false" })));
    }
    Ok((interpolation(reader)?, reader.flag("lower_order_final", lowers)?))
}

/// `solver_type` of DPM-Solver.
fn interpolation(reader: &mut Reader<'_>) -> Result<Interpolation, Error> {
    let own = [("midpoint", Interpolation::Midpoint), ("heun", Interpolation::Exact)];
    reader.choice_or_foreign("solver_type", &own, &["logrho", "bh1", "bh2"])
}

/// `euler_at_final`. It has no effect on a last step to clean data or to pure noise, which is of the first order anyway.
pub(in crate::hub) fn euler_at_final(reader: &mut Reader<'_>, order: usize, ends_between: bool) -> Result<bool, Error> {
    if order > 1 && ends_between {
        return reader.flag("euler_at_final", false);
    }
    reader.unused(&[("euler_at_final", &["false"])]);
    Ok(false)
}

/// Reads `lower_order_final` where it has no effect.
fn no_lower_end(reader: &mut Reader<'_>, default: &str) -> bool {
    reader.unused(&[("lower_order_final", &[default])]);
    false
}

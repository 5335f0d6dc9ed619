//! Reads the command-line flags of guided-diffusion and improved-diffusion, whose checkpoints have no configuration file.

use crate::coefficients::Threshold;
use crate::error::Error;
use crate::hub::json::config_error;
use crate::plan::Plan;
use crate::prediction::Prediction;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::solver::{Ddim, Ddpm, Solver, Variance};
use crate::timesteps::{Respacing, Timesteps};

/// The diffusion that the flags of OpenAI's guided-diffusion or improved-diffusion describe.
///
/// These flags are read, with the defaults of OpenAI's scripts: `diffusion_steps`, `noise_schedule`, `learn_sigma`, `sigma_small`,
/// `predict_xstart`, `timestep_respacing`, `use_ddim`, `clip_denoised` and `rescale_timesteps`. The other flags describe the network and are
/// skipped.
///
/// ```
/// use alphabar::hub::GuidedDiffusion;
///
/// // The ImageNet 256×256 checkpoint, in 250 steps.
/// let flags = "--diffusion_steps 1000 --learn_sigma True --noise_schedule linear --timestep_respacing 250 --num_channels 256";
/// let diffusion = GuidedDiffusion::from_flags(flags)?;
/// let plan = diffusion.plan()?;
/// assert_eq!((plan.len(), plan.steps()[0].t), (250, 999.0));
/// assert!(plan.steps()[0].learned_noise.is_some());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GuidedDiffusion {
    /// The noise schedule: `noise_schedule` with `diffusion_steps`.
    pub schedule: NoiseSchedule,
    /// The timesteps: `timestep_respacing`; all T if it is missing or empty.
    pub timesteps: Timesteps,
    /// What the network predicts: `predict_xstart`.
    pub prediction: Prediction,
    /// Clipping to \[−1, 1\]: `clip_denoised`.
    pub threshold: Threshold,
    /// DDPM's variance: `learn_sigma` and `sigma_small`.
    pub variance: Variance,
    /// Whether to sample by DDIM with η = 0 instead of DDPM: `use_ddim`. If it is on and the variance is learned, wrap the network in
    /// [`WithoutVariance`](crate::predictor::WithoutVariance).
    pub ddim: bool,
}

impl GuidedDiffusion {
    /// Reads the flags as the README of guided-diffusion writes them: `--learn_sigma True --noise_schedule cosine`.
    ///
    /// # Errors
    /// [`Error::Config`] with the flag if its value makes no sense, or if it is not supported: `rescale_timesteps` with T ≠ 1000, for which the
    /// network expects t·1000/T. [`Error::Respacing`] for a `timestep_respacing` that T does not allow.
    pub fn from_flags(text: &str) -> Result<Self, Error> {
        let value = |flag: &'static str| find(text, flag);
        let is_on = |flag: &'static str, default: bool| match value(flag) {
            None => Ok(default),
            Some(word) => match word.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "1" => Ok(true),
                "false" | "f" | "no" | "n" | "0" => Ok(false),
                _ => Err(config_error(flag, word, "is neither True nor False")),
            },
        };
        let total = value("diffusion_steps").map_or(Ok(1000), |word| {
            let total = word.parse().ok().filter(|total| (1..=MAX_TRAIN_STEPS).contains(total));
            total.ok_or_else(|| {
                config_error("diffusion_steps", word, format!("is not a whole number in 1..={MAX_TRAIN_STEPS}"))
            })
        })?;
        let name = value("noise_schedule").unwrap_or("linear");
        let schedule = match name {
            // β of Ho et al. (2020) at both ends for T = 1000; for other T they are scaled so that ᾱ_T stays about the same.
            "linear" => {
                let scale = 1000.0 / total as f64;
                NoiseSchedule::linear(total, scale * 1e-4, scale * 0.02)
            }
            "cosine" => NoiseSchedule::cosine(total),
            _ => return Err(config_error("noise_schedule", name, "is neither linear nor cosine")),
        };
        let schedule = schedule.map_err(|error| {
            config_error(
                "noise_schedule",
                name,
                format!("gives no valid schedule for diffusion_steps = {total}: {error}"),
            )
        })?;
        if is_on("rescale_timesteps", false)? && total != 1000 {
            let reason =
                "is not supported: the network expects t·1000/T. Leave the flag out and scale the t of each Point";
            return Err(config_error("rescale_timesteps", "True", reason));
        }
        let timesteps = match value("timestep_respacing").unwrap_or("") {
            "" => Timesteps::all(total)?,
            word => Timesteps::respaced(total, &word.parse::<Respacing>()?)?,
        };
        let variance = match (is_on("learn_sigma", false)?, is_on("sigma_small", false)?) {
            (true, _) => Variance::LearnedRange,
            (false, true) => Variance::Posterior,
            (false, false) => Variance::Beta,
        };
        Ok(Self {
            schedule,
            timesteps,
            prediction: if is_on("predict_xstart", false)? { Prediction::Sample } else { Prediction::Epsilon },
            threshold: if is_on("clip_denoised", true)? { Threshold::Clip(1.0) } else { Threshold::None },
            variance,
            ddim: is_on("use_ddim", false)?,
        })
    }

    /// The plan of the script's sampler: DDPM, or DDIM if `use_ddim` is on.
    ///
    /// # Errors
    /// The errors of [`PlanBuilder::build`](crate::PlanBuilder::build).
    pub fn plan(&self) -> Result<Plan, Error> {
        let solver: Box<dyn Solver> =
            if self.ddim { Box::new(Ddim::deterministic()) } else { Box::new(Ddpm::new(self.variance)) };
        Plan::builder(&self.schedule, &self.timesteps)
            .prediction(self.prediction)
            .threshold(self.threshold)
            .build(&solver)
    }
}

/// The value of the last `--flag value` or `--flag=value`, without quotes.
fn find<'a>(text: &'a str, flag: &str) -> Option<&'a str> {
    let mut words = text.split_whitespace().peekable();
    let mut found = None;
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--") else { continue };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value),
            None => (name, words.peek().filter(|next| !next.starts_with("--")).copied().unwrap_or("")),
        };
        if name == flag {
            found = Some(value.trim_matches(['"', '\'']));
        }
    }
    found
}

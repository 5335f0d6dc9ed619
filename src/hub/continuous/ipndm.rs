//! iPNDM on the levels of v-diffusion: `IPNDMScheduler`, used by Dance Diffusion.

use core::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use crate::compat::{IpndmOfDiffusers, ipndm_path};
use crate::error::{Error, require, require_count};
use crate::hub::Quirk;
use crate::hub::json::config_error;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::level::NoiseLevel;
use crate::path::{Path, Point, Process};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::Ipndm;

/// The settings of the class.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::hub) struct Settings {
    /// `trained_betas`: the noise of each level, including the end.
    noises: Option<Vec<f64>>,
}

static STEPS: Quirk = Quirk {
    key: "_class_name",
    here: "at pure noise x̂₀ is the network's and ε is not used in later steps; the last step returns x̂₀",
    diffusers: "computes 0/10⁻⁸ = 0 for the first x̂₀, and combines four outputs in the last step too",
    by: 0.9,
    in_compat: true,
};

impl Settings {
    pub(in crate::hub) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.quirk(&STEPS);
        let Some(entry) = reader.given("trained_betas") else { return Ok(Self { noises: None }) };
        let noises = entry.numbers()?;
        if noises.len() < 2 {
            return Err(entry.error("has fewer than two numbers; it needs the noise of each level and of the end"));
        }
        let inside = noises.iter().all(|noise| (0.0..=1.0).contains(noise));
        if !inside || !noises.iter().zip(noises.iter().skip(1)).all(|(more, less)| more > less) {
            return Err(entry.error("does not fall within [0, 1], as the noise along a path must"));
        }
        Ok(Self { noises: Some(noises) })
    }

    pub(in crate::hub) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let steps = require_count("S", run.steps()?, 1, MAX_TRAIN_STEPS)?;
        if let Some(noises) = self.noises.as_ref().filter(|noises| noises.len() != steps + 1) {
            let (levels, most) = (noises.len(), noises.len() - 1);
            let reason = format!("contradicts the {levels} levels of trained_betas; pass {most} steps");
            return Err(config_error("num_inference_steps", &steps.to_string(), reason));
        }
        if let Some(precision) = run.config.imitates {
            let path = ipndm_path(steps, self.noises.as_deref(), precision)?;
            return Ok(Route::new(path.of_process(&Angle), IpndmOfDiffusers));
        }
        Ok(Route::new(self.path(steps)?, Ipndm::new(4)?))
    }

    fn path(&self, steps: usize) -> Result<Path, Error> {
        let Some(noises) = &self.noises else {
            // noise = sin²(πu/2), σ = sin²/√(1 − sin⁴)
            return Path::from_sigmas(
                &Angle,
                (0..steps).map(|i| {
                    if i == 0 {
                        return f64::INFINITY;
                    }
                    let angle = FRAC_PI_2 * (steps - i) as f64 / steps as f64;
                    let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
                    sine * sine / (cosine * (1.0 + sine * sine).sqrt())
                }),
            );
        };
        let mut sigmas: Vec<f64> = noises.iter().map(|noise| noise / ((1.0 - noise) * (1.0 + noise)).sqrt()).collect();
        let end = sigmas.pop().unwrap_or(0.0);
        let path = Path::from_sigmas(&Angle, sigmas)?;
        if end == 0.0 { Ok(path) } else { path.ending_at(Angle.at_sigma(end)?) }
    }
}

/// The process of v-diffusion: (signal, noise) = (cos(πt/2), sin(πt/2)). The network receives t in [0, 1].
#[derive(Clone, Copy, Debug)]
struct Angle;

impl Process for Angle {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        if sigma == f64::INFINITY {
            return Ok(Point::new(1.0, NoiseLevel::PURE_NOISE));
        }
        Ok(Point::new(FRAC_2_PI * libm::atan(sigma), NoiseLevel::from_sigma(sigma)?))
    }

    fn sigma_range(&self) -> [f64; 2] {
        [f64::INFINITY, 0.0]
    }

    fn at_time(&self, t: f64) -> Result<Point, Error> {
        require((0.0..=1.0).contains(&t), "t", t, "inside [0, 1]")?;
        let sigma = if t == 1.0 { f64::INFINITY } else { libm::tan(FRAC_PI_2 * t) };
        Ok(Point { t, ..self.at_sigma(sigma)? })
    }
}

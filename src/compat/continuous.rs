//! The lists of σ of the EDM, iPNDM and score classes of diffusers, and the steps of iPNDM.

use core::f64::consts::{FRAC_2_PI, PI};

use super::Precision;
use crate::dd::Dd;
use crate::edm::Edm;
use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Legs, Path, Point, Process};
use crate::prediction::Prediction;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::adams::equal_step_weights;
use crate::solver::{Combination, Row, Solver};
use crate::spacing;

/// The σ of `EDMEulerScheduler`, `EDMDPMSolverMultistepScheduler` and `CosineDPMSolverMultistepScheduler`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EdmSigmas {
    pub(crate) max: f64,
    pub(crate) min: f64,
    /// ρ of Karras's spacing; if `None`, ln σ is spaced evenly.
    pub(crate) rho: Option<f64>,
    /// `final_sigmas_type`: where the step from the last σ goes; `None` for clean data.
    pub(crate) end: Option<EdmEnd>,
    pub(crate) precision: Precision,
}

/// Where a path with `final_sigmas_type` = `sigma_min` ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EdmEnd {
    /// At the last σ of the list, once more.
    Last,
    /// At σ_min.
    Min,
}

impl EdmSigmas {
    /// The path of S calls.
    pub(crate) fn path(&self, steps: usize, edm: &Edm) -> Result<Path, Error> {
        let sigmas = match self.rho {
            Some(rho) => spacing::karras(steps, self.max, self.min, rho)?,
            // A list of one is σ_min, because diffusers builds the list from its end.
            None if steps == 1 => vec![self.min],
            None => spacing::exponential(steps, self.max, self.min)?,
        };
        let point = |sigma: f64| {
            let point = edm.at_sigma(self.precision.hold(sigma))?;
            Ok(Point { t: self.precision.hold(point.t), ..point })
        };
        let points = sigmas.iter().map(|sigma| point(*sigma)).collect::<Result<Vec<_>, Error>>()?;
        let last = sigmas.last().copied().unwrap_or(self.min);
        let path = Path::new(points)?.of_process(edm);
        match self.end {
            None => Ok(path),
            Some(EdmEnd::Last) => path.ending_at(point(last)?),
            Some(EdmEnd::Min) => path.ending_at(point(self.min)?),
        }
    }
}

/// The path of `IPNDMScheduler`: levels (√(1−β²), β) with β_i = sin²(π·u_i/2) for u = 1, 1 − 1/S, …, 1/S, or with the β of
/// `trained_betas`, the last of which is the end.
pub(crate) fn ipndm_path(steps: usize, betas: Option<&[f64]>, precision: Precision) -> Result<Path, Error> {
    let hold = |value: f64| precision.hold(value);
    let betas: Vec<f64> = if let Some(betas) = betas {
        betas.iter().map(|beta| hold(*beta)).collect()
    } else {
        let steps = require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
        let us = precision.linspace(1.0, 0.0, steps + 1)?;
        let sines = us.into_iter().map(|u| hold(libm::sin(hold(hold(u * hold(PI)) / 2.0))));
        sines.map(|sine| hold(sine * sine)).collect()
    };
    let point = |beta: &f64| {
        let alpha = hold(hold(1.0 - hold(beta * beta)).sqrt());
        Ok(Point::new(hold(FRAC_2_PI * libm::atan2(*beta, alpha)), NoiseLevel::new(alpha, *beta)?))
    };
    let mut points = betas.iter().map(point).collect::<Result<Vec<_>, Error>>()?;
    let end = points.pop();
    let path = Path::new(points)?;
    match end {
        Some(end) if !end.level.is_clean() => path.ending_at(end),
        _ => Ok(path),
    }
}

/// The sampler of `IPNDMScheduler`: Adams–Bashforth weights at all steps, and x̂₀ = 0 at pure noise.
///
/// At pure noise ε = x, and diffusers computes x̂₀ = (x − ε)/10⁻⁸ = 0.
///
/// ```text
/// e  = ε₀;  (3·ε₀ − ε₁)/2;  (23·ε₀ − 16·ε₁ + 5·ε₂)/12;  (55·ε₀ − 59·ε₁ + 37·ε₂ − 9·ε₃)/24
/// x′ = signal_s·(x − noise_t·e)/max(signal_t, 10⁻⁸) + noise_s·e
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpndmOfDiffusers;

impl Solver for IpndmOfDiffusers {
    fn name(&self) -> &'static str {
        "iPNDM, as in diffusers"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let rows = legs.iter().map(|leg| {
            let (t, s) = (&leg.from, &leg.to);
            let (x, e) = if t.is_pure_noise() {
                (Dd::ZERO, s.noise_dd())
            } else {
                let kept = s.signal_dd() / t.signal_dd();
                (kept, s.noise_dd() - kept * t.noise_dd())
            };
            let [epsilon, earlier @ ..] = equal_step_weights(leg.index + 1).map(|weight| e * weight);
            let combination = Combination { x0: Dd::ZERO, x, epsilon, z: Dd::ZERO, learned_noise: None };
            Row::new(leg, combination).with_history_dd((1..).zip(earlier)).keeping(Prediction::Epsilon)
        });
        Ok(rows.collect())
    }
}

/// The path of `ScoreSdeVeScheduler` with S calls: the levels are spaced evenly in ln σ from σ_max to σ_min.
///
/// The network receives σ_min·(σ_max/σ_min)^t for t from 1 to `sampling_eps`. A single step starts from σ_min.
pub(crate) fn score_path(steps: usize, max: f64, min: f64, eps: f64, precision: Precision) -> Result<Path, Error> {
    let last = require_count("S", steps, 1, MAX_TRAIN_STEPS)? - 1;
    let share = |i: usize| if last == 0 { 0.0 } else { i as f64 / last as f64 };
    let sigma = |t: f64| precision.hold(min * libm::pow(max / min, t));
    let points = (0..steps).map(|i| {
        let fed = sigma(1.0 - share(i) * (1.0 - eps));
        Ok(Point::new(fed, NoiseLevel::variance_exploding(sigma(share(last - i)))?))
    });
    Path::new(points.collect::<Result<Vec<_>, Error>>()?)
}

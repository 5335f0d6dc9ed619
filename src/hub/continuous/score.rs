//! Score networks of variance-exploding SDEs: `ScoreSdeVeScheduler` (Song et al. 2021).

use crate::compat::score_path;
use crate::dd::Dd;
use crate::error::Error;
use crate::hub::read::Reader;
use crate::hub::run::{Route, Run};
use crate::hub::{Difference, Ignored, Quirk};
use crate::level::NoiseLevel;
use crate::path::{Leg, Path, Point, Process};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Combination, Solver};
use crate::spacing;

/// The settings of the class.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::hub) struct Settings {
    network: ScoreNetwork,
    /// `sampling_eps`: the time of the last call.
    eps: f64,
}

static TIMES: Quirk = Quirk {
    key: "sampling_eps",
    here: "the network receives the σ of x, σ_min·(σ_max/σ_min)^t for t from 1 to sampling_eps",
    diffusers: "passes these σ to the network, while x goes through the levels for t from 1 to 0",
    by: 0.017,
    in_compat: true,
};

static SINGLE: Quirk = Quirk {
    key: "sigma_max",
    here: "a single step starts from σ_max",
    diffusers: "passes σ_max to the network, but steps from σ_min",
    by: 9.1e5,
    in_compat: true,
};

impl Settings {
    pub(in crate::hub) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let [max, min] = reader.sigma_ends([1348.0, 0.01])?;
        let eps = reader.number("sampling_eps", 1e-5, |eps| (0.0..1.0).contains(&eps), "is not inside [0, 1)")?;
        reader.quirk(&TIMES);
        reader.quirk(&SINGLE);
        let correct_steps = reader.count("correct_steps", 1, 0, MAX_TRAIN_STEPS)?;
        let snr = reader.given("snr");
        reader.ignored_if_given([snr], Ignored::Off("the corrector"));
        if correct_steps > 0 {
            reader.differs(Difference::Corrector);
        }
        Ok(Self { network: ScoreNetwork { max, min }, eps })
    }

    pub(in crate::hub) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let ScoreNetwork { max, min } = self.network;
        let steps = run.steps()?;
        let path = if let Some(precision) = run.config.imitates {
            score_path(steps, max, min, self.eps, precision)?.of_process(&self.network)
        } else {
            let last = min * libm::pow(max / min, self.eps);
            Path::from_sigmas(&self.network, spacing::exponential(steps, max, last)?)?
        };
        Ok(Route { noise_scale: max, ..Route::new(path, ReverseDiffusion) })
    }
}

/// The process x = x₀ + σ·ε. The network receives σ, and x without scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreNetwork {
    max: f64,
    min: f64,
}

impl Process for ScoreNetwork {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        Ok(Point::new(sigma, NoiseLevel::variance_exploding(sigma)?))
    }

    fn sigma_range(&self) -> [f64; 2] {
        [self.max, self.min]
    }

    fn at_time(&self, t: f64) -> Result<Point, Error> {
        self.at_sigma(t)
    }
}

/// The predictor of reverse diffusion sampling (Song et al. 2021, Eq. 46; Algorithm 2 without its corrector). On variance-exploding
/// levels:
///
/// ```text
/// x_s = x_t + (σ_t² − σ_s²)·score + √(σ_t² − σ_s²)·z,    score = −ε̂/σ_t
/// ```
///
/// It adds more noise than the ancestral step (Eq. 47), which adds σ_s·√(1 − σ_s²/σ_t²). The step to clean data adds no noise and returns
/// x̂₀, as the pipeline of diffusers returns the mean of its last step.
#[derive(Clone, Copy, Debug)]
struct ReverseDiffusion;

impl Solver for ReverseDiffusion {
    fn name(&self) -> &'static str {
        "reverse diffusion"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        leg.require_denoising(self.name())?;
        let zero = Dd::ZERO;
        if leg.to.is_clean() {
            let (x0, learned_noise) = (leg.to.signal_dd(), None);
            return Ok(Combination { x0, x: zero, epsilon: zero, z: zero, learned_noise });
        }
        let [t, s] = [leg.from, leg.to].map(|level| level.sigma_dd());
        let signal = leg.to.signal_dd();
        let removed = (t - s) * (t + s); // σ_t² − σ_s²
        let combination = Combination {
            x0: zero,
            x: signal / leg.from.signal_dd(),
            epsilon: if removed.is_zero() { zero } else { -(signal * removed / t) },
            z: signal * removed.sqrt(),
            learned_noise: None,
        };
        combination.checked()
    }
}

//! The lists of σ and t of the flow-matching classes of diffusers, and one sampler that differs.

use super::Precision;
use super::times::linspace;
use crate::dd::Dd;
use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Path, Point};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Combination, Solver};
use crate::spacing::Spread;

/// How `FlowMatchEulerDiscreteScheduler` and the other flow-matching classes make a list of the flow's σ.
///
/// ```text
/// shift(σ) = a·σ/(1 + (a − 1)·σ)
/// σ_i = shift(σ_max + i/(S−1)·(σ_min − σ_max))     σ_max = shift(1), σ_min = shift(1/T)
/// ```
///
/// A dynamic shift is not applied to the ends σ_max and σ_min. A list that the user passes is shifted once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FlowSigmas {
    /// T.
    pub(crate) train_steps: usize,
    /// The shift. A static shift is applied to the ends too.
    pub(crate) shift: FlowShift,
    /// `shift_terminal`.
    pub(crate) terminal: Option<f64>,
    pub(crate) spread: Option<Spread>,
    /// `invert_sigmas`.
    pub(crate) inverted: bool,
    pub(crate) precision: Precision,
}

/// How diffusers shifts a flow's σ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FlowShift {
    /// a·σ/(1 + (a − 1)·σ)
    Static(f64),
    /// a/(a + (1/σ − 1)), with a = e^μ or μ
    Dynamic(f64),
}

impl FlowShift {
    /// The shifted σ, with each operation in this precision.
    pub(super) fn of(self, sigma: f64, within: Precision) -> f64 {
        let hold = |value: f64| within.hold(value);
        hold(match self {
            Self::Static(a) => hold(hold(a) * sigma) / hold(1.0 + hold(hold(a - 1.0) * sigma)),
            Self::Dynamic(a) => hold(a) / hold(hold(a) + hold(hold(1.0 / sigma) - 1.0)),
        })
    }
}

/// `shift_terminal`: stretches the σ so that the last one is the terminal, with each operation in this precision.
///
/// A single σ of 1 is not stretched; diffusers divides 0 by 0 there.
pub(super) fn stretch(sigmas: &mut [f64], terminal: Option<f64>, within: Precision) {
    let hold = |value: f64| within.hold(value);
    if let (Some(terminal), Some(last)) = (terminal, sigmas.last().copied().filter(|last| *last < 1.0)) {
        let factor = hold(hold(1.0 - last) / hold(1.0 - terminal));
        sigmas.iter_mut().for_each(|sigma| *sigma = hold(1.0 - hold(hold(1.0 - *sigma) / factor)));
    }
}

impl FlowSigmas {
    /// The path of S calls.
    pub(crate) fn path(&self, steps: usize) -> Result<Path, Error> {
        require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
        let end = |sigma: f64| {
            let shifts = matches!(self.shift, FlowShift::Static(_));
            self.precision.hold(if shifts { self.shifted(sigma, Precision::F64) } else { sigma })
        };
        let (max, min) = (end(1.0), end(1.0 / self.train_steps as f64));
        self.along(linspace(max, min, steps), Precision::F64, None)
    }

    /// The path through these σ, after the shift.
    pub(crate) fn path_through(&self, sigmas: &[f64]) -> Result<Path, Error> {
        self.along(sigmas.iter().map(|sigma| self.precision.hold(*sigma)), self.precision, None)
    }

    /// The path on which the network receives these t. The σ are t/T and are shifted; the t are not.
    pub(crate) fn path_at(&self, times: &[f64]) -> Result<Path, Error> {
        let hold = |t: &f64| self.precision.hold(*t);
        let sigmas = times.iter().map(|t| self.precision.hold(hold(t) / self.train_steps as f64));
        self.along(sigmas, self.precision, Some(&times.iter().map(hold).collect::<Vec<_>>()))
    }

    /// The shift, with each operation in this precision.
    fn shifted(&self, sigma: f64, within: Precision) -> f64 {
        // 1 stays 1, even if the division would round.
        if sigma == 1.0 { 1.0 } else { self.shift.of(sigma, within) }
    }

    /// The path through these σ, after shift, stretch and spacing, with operations on the list in precision `within`.
    fn along(
        &self,
        sigmas: impl Iterator<Item = f64>,
        within: Precision,
        times: Option<&[f64]>,
    ) -> Result<Path, Error> {
        let mut sigmas: Vec<f64> = sigmas.map(|sigma| self.shifted(sigma, within)).collect();
        stretch(&mut sigmas, self.terminal, within);
        if let (Some(spread), Some(first), Some(last)) = (self.spread, sigmas.first().copied(), sigmas.last().copied())
        {
            sigmas = spread.between(sigmas.len(), first, last)?;
        }
        let points = sigmas.iter().enumerate().map(|(index, sigma)| {
            let sigma = self.precision.hold(*sigma);
            let given = times.and_then(|times| times.get(index)).copied();
            let of_sigma = if self.inverted { self.precision.hold(1.0 - sigma) } else { sigma };
            let t = given.unwrap_or_else(|| self.precision.hold(of_sigma * self.train_steps as f64));
            Ok(Point::new(t, NoiseLevel::flow(sigma)?))
        });
        Path::new(points.collect::<Result<Vec<_>, Error>>()?)
    }
}

/// The sampler of `LTXEulerAncestralRFScheduler` with `s_noise` = 0: it steps to σ_down, and then treats x as if it were at σ′.
///
/// ```text
/// σ_down = σ′·(1 + (σ′/σ − 1)·η)
/// x′     = (σ_down/σ)·x + (1 − σ_down/σ)·x̂₀
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct AncestralWithoutNoise {
    pub(crate) eta: f64,
}

impl Solver for AncestralWithoutNoise {
    fn name(&self) -> &'static str {
        "Euler ancestral, rectified flow, as in diffusers without noise"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        let (sigma, next) = (leg.from.flow_sigma_dd(), leg.to.flow_sigma_dd());
        let ratio = next / sigma;
        let share = ratio * (Dd::ONE + (ratio - Dd::ONE) * Dd::from(self.eta));
        let (x0, epsilon, z) = (Dd::ONE - share, Dd::ZERO, Dd::ZERO);
        Ok(Combination { x0, x: share, epsilon, z, learned_noise: None })
    }
}

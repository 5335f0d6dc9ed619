//! The lists of σ and t of the multistep classes of diffusers (DPM-Solver, DEIS, UniPC, SA-Solver), and how their samplers differ.

use super::flow::{FlowShift, stretch};
use super::times::linspace;
use super::{Precision, Sigmas};
use crate::error::{Error, require_count};
use crate::level::NoiseLevel;
use crate::path::{Leg, Legs, Path, Point};
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::{Row, Solver};
use crate::spacing::Spread;
use crate::timesteps::Conditioning;

/// How diffusers makes a whole number of a fractional t, for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// `round()`: to the nearest, ties to even.
    Nearest,
    /// Conversion to `int64`: the fraction is cut off.
    Truncated,
}

impl Rounding {
    fn of(self, t: f64) -> f64 {
        match self {
            Self::Nearest => t.round_ties_even(),
            Self::Truncated => t.trunc(),
        }
    }
}

/// A network call: its t, and its σ (noise/signal, or the flow's σ).
pub(crate) type Call = (f64, f64);

/// Calls at these t, with the σ of each.
pub(crate) fn at_times(sigmas: &Sigmas, times: impl IntoIterator<Item = f64>) -> Vec<Call> {
    times.into_iter().map(|t| (t, sigmas.at(t))).collect()
}

/// Calls at S values of σ between two ends, by default the ends of the table, with the t of each.
pub(crate) fn spread(
    sigmas: &Sigmas,
    spread: Spread,
    steps: usize,
    [max, min]: [Option<f64>; 2],
    rounding: Rounding,
) -> Result<Vec<Call>, Error> {
    let list = spread.between(steps, max.unwrap_or(sigmas.max()), min.unwrap_or(sigmas.min()))?;
    Ok(list.into_iter().map(|sigma| (rounding.of(sigmas.time_of(sigma)), sigma)).collect())
}

/// Calls of `use_lu_lambdas`: ln σ is evenly spaced between the ends of the table of logarithms.
pub(crate) fn lu(sigmas: &Sigmas, steps: usize, rounding: Rounding) -> Result<Vec<Call>, Error> {
    require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
    let [max, min] = [sigmas.max(), sigmas.min()].map(|sigma| sigmas.precision().hold(libm::log(sigma)));
    let list = linspace(0.0, 1.0, steps).map(|u| libm::exp(max + u * (min - max)));
    Ok(list.map(|sigma| (rounding.of(sigmas.time_of(sigma)), sigma)).collect())
}

/// The calls of a flow at these σ: t is T·σ without its fraction.
fn of_flow(sigmas: impl IntoIterator<Item = f64>, total: usize) -> Vec<Call> {
    sigmas.into_iter().map(|sigma| ((sigma * total as f64).trunc(), sigma)).collect()
}

/// Calls of `use_flow_sigmas`, except in UniPC: 1 − linspace(1, 1/T, S + 1), shifted and reversed, without the 0 at the end.
pub(crate) fn flow(steps: usize, total: usize, shift: f64) -> Result<Vec<Call>, Error> {
    require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
    let sigmas = linspace(1.0, 1.0 / total as f64, steps + 1)
        .map(|alpha| FlowShift::Static(shift).of(1.0 - alpha, Precision::F64));
    Ok(of_flow(sigmas.skip(1).rev(), total))
}

/// Calls of `use_flow_sigmas` in UniPC: linspace(1, 1/T, S + 1) without its last entry, or a given list.
///
/// The list is shifted and stretched to the terminal σ; then its first entry is lowered by 1e-6 if it is 1.
pub(crate) fn unipc_flow(
    steps: usize,
    given: Option<&[f64]>,
    total: usize,
    shift: FlowShift,
    terminal: Option<f64>,
) -> Result<Vec<Call>, Error> {
    require_count("S", steps, 1, MAX_TRAIN_STEPS)?;
    let list: Vec<f64> = match given {
        Some(sigmas) => sigmas.to_vec(),
        None => linspace(1.0, 1.0 / total as f64, steps + 1).take(steps).collect(),
    };
    let mut list: Vec<f64> = list.into_iter().map(|sigma| shift.of(sigma, Precision::F64)).collect();
    stretch(&mut list, terminal, Precision::F64);
    if let Some(first) = list.first_mut().filter(|first| (**first - 1.0).abs() < FLOW_GAP) {
        *first -= FLOW_GAP;
    }
    Ok(of_flow(list, total))
}

/// How far UniPC lowers a first σ of 1.
const FLOW_GAP: f64 = 1e-6;

/// Calls of `use_karras_sigmas` with `use_flow_sigmas` in UniPC: each σ of the table becomes the flow's σ/(1 + σ).
pub(crate) fn spread_flow(calls: Vec<Call>, total: usize) -> Vec<Call> {
    of_flow(calls.into_iter().map(|(_, sigma)| sigma / (sigma + 1.0)), total)
}

/// What the σ of a list are, and their precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SigmaConvention {
    /// Whether they are a flow's σ, instead of noise/signal.
    pub(crate) flow: bool,
    pub(crate) precision: Precision,
}

impl SigmaConvention {
    fn level(self, sigma: f64) -> Result<NoiseLevel, Error> {
        let sigma = self.precision.hold(sigma);
        if self.flow { NoiseLevel::flow(sigma) } else { NoiseLevel::from_sigma(sigma) }
    }

    fn point(self, (t, sigma): Call) -> Result<Point, Error> {
        Ok(Point::new(t, self.level(sigma)?))
    }

    /// The path of these calls to the σ `last`, or to the σ of the last call, if that is smaller because of rounding.
    pub(crate) fn path(self, calls: &[Call], last: f64) -> Result<Path, Error> {
        let path = Path::new(calls.iter().map(|call| self.point(*call)).collect::<Result<Vec<_>, Error>>()?)?;
        let end = calls.last().map_or(last, |(_, sigma)| last.min(*sigma));
        let end = Point::new(0.0, self.level(end)?);
        if end.level.is_clean() { Ok(path.between_ends(true, end)) } else { path.ending_at(end) }
    }

    /// The encoding path of these calls, which rise in noise, to the σ `last`. If the last call is there already, its point is returned too.
    pub(crate) fn encoding(self, calls: &[Call], last: f64) -> Result<(Path, Option<Point>), Error> {
        let repeats = calls.len() > 1 && calls.last().is_some_and(|(_, sigma)| *sigma == last);
        let points: Vec<Point> = calls.iter().map(|call| self.point(*call)).collect::<Result<_, Error>>()?;
        let mut arrivals: Vec<Point> = points.iter().skip(1).copied().collect();
        if !repeats {
            let t = points.last().map_or(0.0, |point| point.t);
            arrivals.push(Point::new(t, self.level(last)?));
        }
        arrivals.reverse();
        let path = Path::new(arrivals)?;
        let path = match points.first() {
            Some(first) => path.ending_at(*first)?,
            None => path,
        };
        let repeat = points.last().copied().filter(|_| repeats);
        Ok((path.encoding(Conditioning::Source), repeat))
    }
}

/// Drops repeated t from rising calls, but not their σ, as `DPMSolverMultistepInverseScheduler` does.
///
/// After a repeated t, σ and t no longer belong together, and the last σ are not reached.
pub(crate) fn without_equal_times(calls: &[Call], last: f64) -> (Vec<Call>, f64) {
    let mut times: Vec<f64> = Vec::with_capacity(calls.len());
    for (t, _) in calls {
        // t rises with σ, so equal t are neighbours.
        if times.last() != Some(t) {
            times.push(*t);
        }
    }
    let end = calls.get(times.len()).map_or(last, |(_, sigma)| *sigma);
    (times.into_iter().zip(calls).map(|(t, (_, sigma))| (t, *sigma)).collect(), end)
}

/// A sampler whose last call goes from a level to itself, because diffusers lists the last σ twice.
pub(crate) struct RepeatsLast<S> {
    pub(crate) solver: S,
    pub(crate) at: Point,
}

impl<S: Solver> Solver for RepeatsLast<S> {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let repeat = Leg { call: self.at, s: Some(self.at.t), ..Leg::new(self.at.level, self.at.level) };
        self.solver.rows(&Legs::new(legs.iter().copied().chain([repeat]).collect(), None))
    }
}

/// The third order of `DPMSolverMultistepScheduler`, which gives the second difference a weight that is not exact.
///
/// With D₂ the second divided difference of the outputs in units of h, m = 2·k·h·φ₃(−k·h) its exact weight (2·h·φ₃(h) for ε), and
/// W = 1 − e^{−2h}, the weight in diffusers is
///
/// ```text
/// dpmsolver++       m/2
/// dpmsolver         m/2
/// sde-dpmsolver++   (W − 2h)/(2h)² − ½        m/2 would be (W − 2h)/(2h)² + ½
/// ```
pub(crate) struct ThirdOrder<S> {
    /// The sampler with exact weights at the third order.
    pub(crate) solver: S,
    pub(crate) form: ThirdForm,
}

/// What [`ThirdOrder`] interpolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThirdForm {
    Data,
    StochasticData,
    Noise,
}

impl<S: Solver> Solver for ThirdOrder<S> {
    fn name(&self) -> &'static str {
        self.solver.name()
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let mut rows = self.solver.rows(legs)?;
        let mut lambdas = Vec::with_capacity(rows.len());
        for (row, leg) in rows.iter_mut().zip(legs.iter()) {
            if let (2, [.., before, last]) = (row.history.len(), lambdas.as_slice()) {
                self.change(row, leg, *last, *before);
            }
            lambdas.push(leg.h());
        }
        Ok(rows)
    }
}

impl<S> ThirdOrder<S> {
    /// Changes the weight of D₂ = ((y₀ − y₁)/r₀ − (y₁ − y₂)/r₁)/(r₀ + r₁), where r₀ and r₁ are the lengths of the last two steps over h.
    fn change(&self, row: &mut Row, leg: &Leg, last: f64, before: f64) {
        let h = leg.h();
        let (r0, r1) = (last / h, before / h);
        // m/2: 1/2 − (e^{−h} − 1 + h)/h², (e^h − 1 − h)/h² − 1/2, and (W − 2h)/(2h)² + 1/2.
        let half = match self.form {
            ThirdForm::Data => 0.5 - (libm::expm1(-h) + h) / (h * h),
            ThirdForm::Noise => (libm::expm1(h) - h) / (h * h) - 0.5,
            ThirdForm::StochasticData => 0.5 - (libm::expm1(-2.0 * h) + 2.0 * h) / (4.0 * h * h),
        };
        let missing = match self.form {
            ThirdForm::Data => -leg.to.signal() * half,
            ThirdForm::Noise => leg.to.noise() * half,
            ThirdForm::StochasticData => -leg.to.signal() * (half + 1.0),
        } / (r0 + r1);
        let weights = [missing / r0, -missing * (1.0 / r0 + 1.0 / r1), missing / r1];
        let [own, earlier @ ..] = weights;
        let (of, at) = (&mut row.combination, &leg.from);
        if self.form == ThirdForm::Noise {
            // ε = (x − s·x̂₀)/n, so that clipping of x̂₀ acts.
            of.x = of.x + (own / at.noise()).into();
            of.x0 = of.x0 + (-own * at.signal() / at.noise()).into();
        } else {
            of.x0 = of.x0 + own.into();
        }
        for ((_, weight), more) in row.history.iter_mut().zip(earlier) {
            *weight = *weight + more.into();
        }
    }
}

//! PNDM with the strides of diffusers, and its handling of v-prediction.

use crate::dd::Dd;
use crate::error::{Error, require_count};
use crate::path::{Leg, Legs, Point};
use crate::prediction::Prediction;
use crate::schedule::MAX_TRAIN_STEPS;
use crate::solver::adams::equal_step_weights;
use crate::solver::{Combination, Row, Solver};

use super::ByStride;

/// PNDM as diffusers computes it, along whole t of a table.
///
/// Every step is DDIM's transfer with an ε that combines several outputs. It goes to p = t − ⌊T/S⌋, even if this is not the next timestep:
///
/// ```text
/// x_p = (s_p/s_t)·x + (n_p − s_p·n_t/s_t)·ε                 s, n: signal and noise
/// ε = Σ w_j·m_j                                              ε-prediction
/// ε = s_t·Σ w_j·m_j + n_t·x                                  v-prediction: outputs of other levels are mixed before they are converted
/// ```
#[derive(Clone, Debug)]
pub(crate) struct PndmByStride {
    pub(crate) strides: ByStride<()>,
    /// Whether the run starts with Runge–Kutta steps: `skip_prk_steps` = false.
    pub(crate) runge_kutta: bool,
    /// [`Prediction::Epsilon`] or [`Prediction::Velocity`].
    pub(crate) prediction: Prediction,
}

/// The two factors of a transfer: x_p = `x`·x + `m`·Σ w_j·m_j.
#[derive(Clone, Copy)]
struct Transfer {
    x: f64,
    m: f64,
}

/// One network call: its t, the weights of x and of its output m, and those of earlier outputs.
struct Call {
    t: f64,
    x: f64,
    m: f64,
    history: Vec<(usize, f64)>,
}

impl PndmByStride {
    fn transfer(&self, legs: &Legs<'_>, t: f64, to: f64) -> Result<Transfer, Error> {
        let from = legs.at_time(t)?.level;
        let to = if to < 0.0 { self.strides.below.1 } else { legs.at_time(to)?.level };
        let x = to.signal() / from.signal();
        let m = to.noise() - x * from.noise();
        Ok(match self.prediction {
            Prediction::Velocity => Transfer { x: x + m * from.noise(), m: m * from.signal() },
            _ => Transfer { x, m },
        })
    }

    /// Three steps of the classical Runge–Kutta rule, of four calls each, from ts\[0\] to ts\[3\].
    fn runge_kutta(&self, legs: &Legs<'_>, ts: &[f64], calls: &mut Vec<Call>) -> Result<(), Error> {
        let half = (self.strides.stride / 2.0).floor();
        for pair in ts.windows(2).take(3) {
            let [t, next] = *pair else { continue };
            let middle = next + half;
            let to = |s: f64| self.transfer(legs, t, s);
            let [first, second, third, last] = [to(t - half)?, to(middle)?, to(middle - half)?, to(next)?];
            // The move of a stage is undone, because the next stage starts from the same x.
            let back = |of: Transfer, before: Transfer| (of.x / before.x, -of.x / before.x * before.m);
            calls.push(Call { t, x: first.x, m: first.m, history: Vec::new() });
            let (x, m) = back(second, first);
            calls.push(Call { t: middle, x, m: second.m, history: vec![(1, m)] });
            let (x, m) = back(third, second);
            calls.push(Call { t: middle, x, m: third.m, history: vec![(1, m)] });
            let (x, m) = back(last, third);
            let history = vec![(1, m + last.m / 3.0), (2, last.m / 3.0), (3, last.m / 6.0)];
            calls.push(Call { t: next, x, m: last.m / 6.0, history });
        }
        Ok(())
    }

    /// All network calls of the run.
    fn calls(&self, legs: &Legs<'_>, ts: &[f64]) -> Result<Vec<Call>, Error> {
        let mut calls = Vec::with_capacity(ts.len() + 9);
        let mut read: Vec<usize> = Vec::new();
        let stride = self.strides.stride;
        let rest = if self.runge_kutta {
            require_count("S of PNDM with Runge–Kutta steps", ts.len(), 4, MAX_TRAIN_STEPS)?;
            self.runge_kutta(legs, ts, &mut calls)?;
            read.extend([0, 4, 8]);
            ts.get(3..)
        } else {
            if let [t, second, ..] = *ts {
                // A DDIM step; then the same step again with the mean of both outputs, from the first x.
                let first = self.transfer(legs, t, t - stride)?;
                calls.push(Call { t, x: first.x, m: first.m, history: Vec::new() });
                let again = self.transfer(legs, second + stride, second)?;
                let x = again.x / first.x;
                let history = vec![(1, 0.5 * again.m - x * first.m)];
                calls.push(Call { t: second, x, m: 0.5 * again.m, history });
                read.push(0);
            }
            ts.get(calls.len().min(1)..)
        };
        for t in rest.unwrap_or_default() {
            let now = calls.len();
            let ages = read.iter().rev().take(3).map(|call| now - call);
            let Transfer { x, m } = self.transfer(legs, *t, t - stride)?;
            let [own, earlier @ ..] = equal_step_weights(read.len() + 1).map(Dd::to_f64);
            let history = ages.zip(earlier).map(|(age, weight)| (age, m * weight)).collect();
            calls.push(Call { t: *t, x, m: m * own, history });
            read.push(now);
        }
        Ok(calls)
    }

    fn row(&self, leg: &Leg, call: &Call, point: &Point, to: &Point) -> Row {
        let Call { x, m, ref history, .. } = *call;
        // v = s·ε − n·x̂₀, at the level of the call.
        let own = match self.prediction {
            Prediction::Velocity => Combination::new(-m * point.level.noise(), x, m * point.level.signal(), 0.0),
            _ => Combination::new(0.0, x, m, 0.0),
        };
        Row::new(leg, own).called_at(point).to(to).with_history(history.iter().copied()).keeping(self.prediction)
    }
}

impl Solver for PndmByStride {
    fn name(&self) -> &'static str {
        "PNDM of diffusers"
    }

    fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
        let ts: Vec<f64> = legs.iter().map(|leg| leg.call.t).collect();
        let Some(leg) = legs.first() else { return Ok(Vec::new()) };
        let calls = self.calls(legs, &ts)?;
        let end = Point::new(0.0, self.strides.below.1);
        let mut rows = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            let point = legs.at_time(call.t)?;
            let to = calls.get(index + 1).map_or(Ok(end), |next| legs.at_time(next.t))?;
            rows.push(self.row(leg, call, &point, &to));
        }
        Ok(rows)
    }
}

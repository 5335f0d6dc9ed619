//! What the tests of both papers share: comparisons, exact expectations, and random schedules and paths.

pub(crate) mod drive;
pub(crate) mod methods;
pub(crate) mod numbers;

use std::f64::consts::PI;
use std::fmt;
use std::ops::Deref;

use alphabar::{NoiseLevel, NoiseSchedule, Timesteps};
use proptest::prelude::*;

/// For numbers that two chains of `f64` operations arrive at.
pub(crate) const TOLERANCE: f64 = 1e-12;

/// The error relative to the expected number, or absolute where that is below 1.
pub(crate) fn error(found: f64, expected: f64) -> f64 {
    if found == expected { 0.0 } else { (found - expected).abs() / expected.abs().max(1.0) }
}

/// Two numbers, or an error with both of them. Written so that NaN fails.
macro_rules! assert_close {
    ($found:expr, $expected:expr, $tolerance:expr, $($context:tt)+) => {{
        let (found, expected): (f64, f64) = ($found, $expected);
        let error = $crate::common::error(found, expected);
        assert!(error <= $tolerance, "{found:e}, not {expected:e}, off by {error:.1e}: {}", format_args!($($context)+));
    }};
    ($found:expr, $expected:expr, $tolerance:expr) => {
        assert_close!($found, $expected, $tolerance, "{}", stringify!($found))
    };
    ($found:expr, $expected:expr) => {
        assert_close!($found, $expected, $crate::common::TOLERANCE)
    };
}
pub(crate) use assert_close;

/// 1 − ᾱ_t/ᾱ_s, which both papers call β where s = t − 1. Of two equal expressions, the one in which less cancels.
pub(crate) fn beta(t: &NoiseLevel, s: &NoiseLevel) -> f64 {
    if s.alpha_bar() > 0.5 {
        (t.one_minus_alpha_bar() - s.one_minus_alpha_bar()) / s.alpha_bar()
    } else {
        1.0 - t.alpha_bar() / s.alpha_bar()
    }
}

/// ln N(x; mean, variance).
pub(crate) fn log_normal(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / variance + (2.0 * PI * variance).ln())
}

/// E f(z) for z ~ N(0, 1), by the Gauss–Hermite rule of three nodes: exact for polynomials up to degree 5, so exact for
/// everything quadratic that a Gaussian's log-density or a squared error is.
pub(crate) fn expect(f: impl Fn(f64) -> f64) -> f64 {
    let node = 3.0_f64.sqrt();
    (f(-node) + 4.0 * f(0.0) + f(node)) / 6.0
}

/// A schedule that a failing case does not print whole.
#[derive(Clone)]
pub(crate) struct Table(NoiseSchedule);

impl Deref for Table {
    type Target = NoiseSchedule;

    fn deref(&self) -> &NoiseSchedule {
        &self.0
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let betas = self.betas();
        write!(f, "T = {}, β = {:?} … {:?}", betas.len(), &betas[..betas.len().min(40)], betas.last())
    }
}

/// Schedules of every kind whose ᾱ stays above 1e-6: below, 1/√ᾱ alone makes 1e-13 of the rounding of a naive formula.
pub(crate) fn schedules() -> impl Strategy<Value = Table> {
    prop_oneof![
        Just(NoiseSchedule::ddpm().unwrap()),
        Just(NoiseSchedule::stable_diffusion().unwrap()),
        (2..400_usize, 1e-4..0.02_f64, 0.02..0.06_f64)
            .prop_map(|(total, b0, b1)| { NoiseSchedule::linear(total, b0, b1).unwrap() }),
        (2..400_usize, 1e-4..0.02_f64, 0.02..0.06_f64)
            .prop_map(|(total, b0, b1)| { NoiseSchedule::sigmoid(total, b0, b1).unwrap() }),
        (2..400_usize, 0.002..0.2_f64, 0.5..0.999_f64)
            .prop_map(|(total, offset, cap)| { NoiseSchedule::cosine_with(total, offset, cap).unwrap() }),
        proptest::collection::vec(1e-4..0.5_f64, 1..40).prop_map(|betas| NoiseSchedule::from_betas(betas).unwrap()),
    ]
    .prop_filter("ᾱ below 1e-6", |schedule| schedule.levels().last().unwrap().alpha_bar() > 1e-6)
    .prop_map(Table)
}

/// A schedule and any τ through it, of up to 25 steps.
pub(crate) fn paths() -> impl Strategy<Value = (Table, Timesteps)> {
    schedules().prop_flat_map(|schedule| {
        let total = schedule.len();
        let tau = proptest::sample::subsequence((0..total).rev().collect::<Vec<_>>(), 1..=total.min(25))
            .prop_map(move |list| Timesteps::explicit(total, list).unwrap());
        (Just(schedule), tau)
    })
}

/// Any two levels t and s of a schedule, t the noisier.
pub(crate) fn pairs() -> impl Strategy<Value = (NoiseLevel, NoiseLevel)> {
    schedules().prop_filter("one step has no pair", |schedule| schedule.len() > 1).prop_flat_map(|schedule| {
        let total = schedule.len();
        proptest::sample::subsequence((0..total).collect::<Vec<_>>(), 2)
            .prop_map(move |pair| (schedule.level(pair[1]).unwrap(), schedule.level(pair[0]).unwrap()))
    })
}

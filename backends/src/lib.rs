//! Helpers for the tests of the backends, in `tests/`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test's helpers fail as the test does")]

#[path = "../../tests/common/numbers.rs"]
mod numbers;

use alphabar::{
    Coefficients, Combination, DpmSolverPp, EpsilonAfter, NoiseLevel, NoiseSchedule, Plan, Prediction, Threshold,
    Timesteps,
};

pub use crate::numbers::{assert_bits, numbers};

/// Coefficients of every form that a step can have, with every threshold.
pub fn coefficients() -> Vec<Coefficients> {
    let level = NoiseLevel::from_alpha_bar(0.3).unwrap();
    let mut all = Vec::new();
    for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity] {
        for [x0, x, epsilon, z] in [[0.8, 0.0, 0.4, 0.3], [0.3, 0.6, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]] {
            let combination = Combination::new(x0, x, epsilon, z);
            for threshold in [Threshold::None, Threshold::Clip(0.7), Threshold::Dynamic { ratio: 0.9, max: 2.5 }] {
                for after in [EpsilonAfter::Network, EpsilonAfter::Threshold] {
                    all.push(Coefficients::new(prediction, &level, combination, threshold, after).unwrap());
                }
            }
        }
    }
    all
}

/// Coefficients of steps that remember: 0 to 2 earlier outputs, with and without noise, with and without a kept output, and with
/// every threshold.
pub fn remembering() -> Vec<Coefficients> {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, 10).unwrap());
    let mut all = Vec::new();
    for (order, tau_noise) in [(2, 0.0), (3, 0.0), (2, 1.0)] {
        let solver = DpmSolverPp::multistep(order).unwrap().stochastic(tau_noise).unwrap();
        for threshold in [Threshold::None, Threshold::Clip(0.7), Threshold::Dynamic { ratio: 0.9, max: 2.5 }] {
            for prediction in [Prediction::Epsilon, Prediction::Sample] {
                let plan = Plan::builder(&schedule, &tau).threshold(threshold).prediction(prediction).build(&solver);
                let plan = plan.unwrap();
                all.extend([0, 4, 8, 9].map(|step| plan.steps()[step].coefficients));
            }
        }
    }
    all
}

//! What the tests of the backends share; see `tests/` and `examples/`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test's helpers fail as the test does")]

#[path = "../../tests/common/numbers.rs"]
mod numbers;

use alphabar::{Coefficients, Combination, EpsilonAfter, NoiseLevel, Prediction, Threshold};

pub use crate::numbers::{assert_bits, numbers};

/// Coefficients of all forms a step can have, and every threshold.
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

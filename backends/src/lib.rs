//! What the tests of the backends share; see `tests/` and `examples/`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test's helpers fail as the test does")]

use alphabar::{Coefficients, Combination, EpsilonAfter, NoiseLevel, Prediction, Threshold};

/// Numbers in (−3, 3), a different sequence for each seed.
pub fn numbers(seed: u64, len: usize) -> Vec<f64> {
    (1..=len as u64)
        .map(|i| {
            let word = (i + 1_000_003 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (word >> 11) as f64 / (1_u64 << 53) as f64 * 6.0 - 3.0
        })
        .collect()
}

/// The same bits, or NaN for NaN.
#[track_caller]
pub fn assert_bits(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
        assert!(same, "element {index}: {found:?} for {wanted:?}");
    }
}

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

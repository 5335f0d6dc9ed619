//! Numbers to fill tensors with, and their comparison; also for the tests of the backends.

#![allow(unreachable_pub, reason = "one of the places that take this in is a library")]

/// Numbers in (−3, 3), a different sequence for each seed (a Weyl sequence, scrambled).
pub fn numbers(seed: u64, len: usize) -> Vec<f64> {
    (1..=len as u64)
        .map(|i| {
            let word = (i + 1_000_003 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (word >> 11) as f64 / (1_u64 << 53) as f64 * 6.0 - 3.0
        })
        .collect()
}

/// Whether two numbers have equal bits; NaN equals NaN.
#[track_caller]
pub fn assert_bits(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
        assert!(same, "element {index}: {found:?} for {wanted:?}");
    }
}

//! Philox4x32-10 (Salmon et al. 2011), the counter-based generator of CUDA's cuRAND, and therefore of torch on a GPU.
//!
//! It is written out here: it takes twenty lines, and only the block of a counter and a key is needed.

/// The four words of a counter under a key.
#[inline(always)]
pub(crate) fn philox4x32_10([mut a, mut b, mut c, mut d]: [u32; 4], [mut k, mut l]: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (ac, bd) = (u64::from(a) * 0xd251_1f53, u64::from(c) * 0xcd9e_8d57);
        (a, b, c, d) = ((bd >> 32) as u32 ^ b ^ k, bd as u32, (ac >> 32) as u32 ^ d ^ l, ac as u32);
        (k, l) = (k.wrapping_add(0x9e37_79b9), l.wrapping_add(0xbb67_ae85));
    }
    [a, b, c, d]
}

/// The block that a CUDA thread draws: the key is the seed, the counter is (offset, subsequence).
#[inline(always)]
pub(crate) fn of_thread(seed: u64, subsequence: u64, offset: u64) -> [u32; 4] {
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let ((k, l), (a, b), (c, d)) = (halves(seed), halves(offset), halves(subsequence));
    philox4x32_10([a, b, c, d], [k, l])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the paper's authors publish with Random123 (`kat_vectors`).
    #[test]
    fn known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let (ones, key) = (u32::MAX, [0xa409_3822, 0x299f_31d0]);
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(philox4x32_10(pi, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_thread_counts_by_its_offset_and_its_subsequence() {
        let (seed, subsequence, offset) = (0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e, 0x85a3_08d3_243f_6a88);
        assert_eq!(of_thread(seed, subsequence, offset), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }
}

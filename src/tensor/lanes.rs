//! Vectorised conversions of `f16`, for CPUs with an instruction for them.
//!
//! The elementwise conversions of [`element`](super::element) work on every CPU and define the values. For `f16` they take
//! about thirty operations per step, five times as many as the step itself. x86 has one instruction for each direction, F16C,
//! which comes with AVX2 (x86-64-v3). `bf16` is the upper half of an `f32`, so its elementwise conversions are short.

/// The vector instructions that a loop is compiled for.
pub trait Vectors: Copy {
    /// The token that allows AVX2 and F16C instructions, if the CPU has them.
    #[cfg(all(feature = "simd", feature = "half", any(target_arch = "x86", target_arch = "x86_64")))]
    fn avx2(self) -> Option<fearless_simd::Avx2>;
}

/// The vector instructions of the compilation target.
#[cfg(not(feature = "simd"))]
#[derive(Clone, Copy)]
pub(crate) struct Baseline;

#[cfg(not(feature = "simd"))]
impl Vectors for Baseline {}

/// The vector instructions found at run time.
#[cfg(feature = "simd")]
#[derive(Clone, Copy)]
pub(crate) struct Found<S>(pub(crate) S);

#[cfg(feature = "simd")]
impl<S: fearless_simd::Simd> Vectors for Found<S> {
    #[cfg(all(feature = "half", any(target_arch = "x86", target_arch = "x86_64")))]
    #[inline(always)]
    fn avx2(self) -> Option<fearless_simd::Avx2> {
        self.0.level().as_avx2()
    }
}

#[cfg(all(feature = "simd", feature = "half", any(target_arch = "x86", target_arch = "x86_64")))]
pub(super) mod x86 {
    #[cfg(target_arch = "x86")]
    use core::arch::x86 as arch;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64 as arch;

    use arch::{_MM_FROUND_TO_NEAREST_INT, _mm256_cvtph_ps, _mm256_cvtps_ph};
    use fearless_simd::{Avx2, f32x8, prelude::*, u16x8};
    use half::f16;

    /// Elements that are converted at once.
    const LANES: usize = 16;

    /// The elements as `f32`.
    type Wide = [[f32; 8]; 2];

    /// x ← of(x, m) for all whole vectors. Returns the number of elements that were done.
    #[inline(always)]
    pub(in crate::tensor) fn map_pairs(avx2: Avx2, x: &mut [f16], m: &[f16], of: impl Fn(f32, f32) -> f32) -> usize {
        let mut done = 0;
        for (x, m) in x.chunks_exact_mut(LANES).zip(m.chunks_exact(LANES)) {
            let (Ok(x), Ok(m)) = (<&mut [f16; LANES]>::try_from(x), <&[f16; LANES]>::try_from(m)) else { break };
            let (x_wide, m_wide) = (widen_f16(avx2, x.map(f16::to_bits)), widen_f16(avx2, m.map(f16::to_bits)));
            let ([x_first, x_second], [m_first, m_second]) = (x_wide, m_wide);
            let wide = [map_vector(x_first, m_first, &of), map_vector(x_second, m_second, &of)];
            *x = narrow_f16(avx2, wide).map(f16::from_bits);
            done += LANES;
        }
        done
    }

    /// Widens all whole vectors. Returns the number of elements that were done.
    #[inline(always)]
    pub(in crate::tensor) fn widen_all(avx2: Avx2, elements: &[f16], wide: &mut [f32]) -> usize {
        let mut done = 0;
        for (elements, wide) in elements.chunks_exact(LANES).zip(wide.chunks_exact_mut(LANES)) {
            let Ok(elements) = <&[f16; LANES]>::try_from(elements) else { break };
            wide.copy_from_slice(widen_f16(avx2, elements.map(f16::to_bits)).as_flattened());
            done += LANES;
        }
        done
    }

    /// Narrows all whole vectors. Returns the number of elements that were done.
    #[inline(always)]
    pub(in crate::tensor) fn narrow_all(avx2: Avx2, wide: &[f32], elements: &mut [f16]) -> usize {
        let mut done = 0;
        for (wide, elements) in wide.chunks_exact(LANES).zip(elements.chunks_exact_mut(LANES)) {
            let (first, second) = wide.split_at(LANES / 2);
            let (Ok(first), Ok(second)) = (first.try_into(), second.try_into()) else { break };
            elements.copy_from_slice(&narrow_f16(avx2, [first, second]).map(f16::from_bits));
            done += LANES;
        }
        done
    }

    #[inline(always)]
    fn map_vector(mut x: [f32; 8], m: [f32; 8], of: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        x.iter_mut().zip(m).for_each(|(x, m)| *x = of(*x, m));
        x
    }

    fearless_simd::kernel!(
        #[inline]
        fn widen_f16(avx2: Avx2, bits: [u16; 16]) -> Wide {
            let [low, high] = halves(bits);
            let [low, high]: [u16x8<Avx2>; 2] = [low.simd_into(avx2), high.simd_into(avx2)];
            let [low, high]: [f32x8<Avx2>; 2] =
                [_mm256_cvtph_ps(low.into()).simd_into(avx2), _mm256_cvtph_ps(high.into()).simd_into(avx2)];
            [low.into(), high.into()]
        }
    );

    fearless_simd::kernel!(
        #[inline]
        fn narrow_f16(avx2: Avx2, values: Wide) -> [u16; 16] {
            let [low, high] = values;
            let [low, high]: [f32x8<Avx2>; 2] = [low.simd_into(avx2), high.simd_into(avx2)];
            let low: u16x8<Avx2> = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low.into()).simd_into(avx2);
            let high: u16x8<Avx2> = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high.into()).simd_into(avx2);
            joined([low.into(), high.into()])
        }
    );

    #[inline(always)]
    fn halves(bits: [u16; 16]) -> [[u16; 8]; 2] {
        let (mut low, mut high) = ([0; 8], [0; 8]);
        let (first, second) = bits.split_at(8);
        low.copy_from_slice(first);
        high.copy_from_slice(second);
        [low, high]
    }

    #[inline(always)]
    fn joined(halves: [[u16; 8]; 2]) -> [u16; 16] {
        let mut bits = [0; 16];
        bits.iter_mut().zip(halves.as_flattened()).for_each(|(bits, half)| *bits = *half);
        bits
    }

    #[cfg(test)]
    mod tests {
        use super::{Avx2, LANES, map_pairs, narrow_f16, widen_f16};
        use crate::tensor::Element;
        use half::f16;

        fn avx2() -> Option<Avx2> {
            fearless_simd::Level::new().as_avx2()
        }

        #[test]
        fn every_f16_widens_as_element_by_element() {
            let Some(avx2) = avx2() else { return };
            for start in (0..=u16::MAX).step_by(LANES) {
                let bits: [u16; LANES] = core::array::from_fn(|i| start + i as u16);
                for (bits, wide) in bits.iter().zip(widen_f16(avx2, bits).as_flattened()) {
                    assert_eq!(wide.to_bits() | quiet(*wide), f16::from_bits(*bits).widen().to_bits() | quiet(*wide));
                }
            }
        }

        /// The bit that the instruction sets to make a NaN quiet.
        fn quiet(value: f32) -> u32 {
            if value.is_nan() { 0x0040_0000 } else { 0 }
        }

        #[test]
        fn numbers_narrow_as_element_by_element() {
            let Some(avx2) = avx2() else { return };
            let mut bits = 0_u32;
            for _ in 0..1 << 18 {
                // A stride coprime to 2³² that visits every exponent, and neighbours between which the rounding changes.
                let values: [f32; LANES] = core::array::from_fn(|i| {
                    f32::from_bits(bits.wrapping_add((i as u32 / 2) * 0x0fff).wrapping_add(i as u32 % 2))
                });
                let halves = [core::array::from_fn(|i| values[i]), core::array::from_fn(|i| values[8 + i])];
                for (narrow, value) in narrow_f16(avx2, halves).into_iter().zip(values) {
                    assert_eq!(narrow, f16::narrow(value).to_bits(), "{value:e}");
                }
                bits = bits.wrapping_add(1_000_003 * 17);
            }
        }

        #[test]
        fn whole_vectors_are_mapped_and_the_rest_is_left() {
            let Some(avx2) = avx2() else { return };
            let mut x: Vec<f16> = (0..37_u8).map(f16::from).collect();
            let m = x.clone();
            assert_eq!(map_pairs(avx2, &mut x, &m, |x, m| x + 2.0 * m), 32);
            for (place, (x, m)) in x.iter().zip(&m).enumerate() {
                let factor = if place < 32 { 3.0 } else { 1.0 };
                assert_eq!(x.to_f32(), factor * m.to_f32());
            }
        }
    }
}

//! The element types of CPU tensors.

use core::fmt::Debug;
use core::ops::{Add, Mul};

use crate::tensor::lanes::Vectors;

/// The type of a tensor's elements, for noise sources that draw differently for each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "dtype")]
pub enum ElementType {
    /// IEEE 754 half precision, torch's `float16`.
    F16,
    /// The upper half of an `f32`, torch's `bfloat16`.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

/// An element of a CPU tensor: `f32`, `f64`, and with the feature `half` its `f16` and `bf16`.
///
/// Coefficients are `f64`. They are rounded once to [`Element::Compute`], when they are applied. A result has the type of its
/// operands. The trait is sealed.
pub trait Element: sealed::Sealed + Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    /// The type in which arithmetic on these elements is done.
    type Compute: Real;

    /// The name of this type.
    const TYPE: ElementType;

    /// This element in the type of the arithmetic; exact.
    #[must_use]
    fn widen(self) -> Self::Compute;

    /// The element nearest to a number of the arithmetic's type.
    #[must_use]
    fn narrow(value: Self::Compute) -> Self;

    /// The element nearest to an `f64`.
    #[must_use]
    fn from_f64(value: f64) -> Self;

    /// This element as an `f64`; exact.
    #[must_use]
    fn to_f64(self) -> f64;

    /// These elements as `f32`, the type in which noise is made; `None` if they have another type.
    #[doc(hidden)]
    fn as_noise(elements: &mut [Self]) -> Option<&mut [f32]> {
        let _ = elements;
        None
    }

    /// These elements as numbers of the arithmetic; `None` if they have another type.
    #[doc(hidden)]
    fn as_compute(elements: &[Self]) -> Option<&[Self::Compute]> {
        let _ = elements;
        None
    }

    /// [`Element::as_compute`], for writing.
    #[doc(hidden)]
    fn as_compute_mut(elements: &mut [Self]) -> Option<&mut [Self::Compute]> {
        let _ = elements;
        None
    }

    /// [`Element::widen`] for each element.
    #[doc(hidden)]
    #[inline(always)]
    fn widen_all<V: Vectors>(vectors: V, elements: &[Self], wide: &mut [Self::Compute]) {
        let _ = vectors;
        wide.iter_mut().zip(elements).for_each(|(wide, element)| *wide = element.widen());
    }

    /// [`Element::narrow`] for each number.
    #[doc(hidden)]
    #[inline(always)]
    fn narrow_all<V: Vectors>(vectors: V, wide: &[Self::Compute], elements: &mut [Self]) {
        let _ = vectors;
        elements.iter_mut().zip(wide).for_each(|(element, wide)| *element = Self::narrow(*wide));
    }

    /// x ← of(x, m) by whole vectors, if that is faster than element by element. Returns the number of elements that were done.
    #[doc(hidden)]
    #[inline(always)]
    fn map_pairs<V: Vectors>(
        vectors: V,
        x: &mut [Self],
        m: &[Self],
        of: impl Fn(Self::Compute, Self::Compute) -> Self::Compute,
    ) -> usize {
        let _ = (vectors, x, m, of);
        0
    }
}

/// A type in which CPU tensors compute: `f32` or `f64`.
pub trait Real:
    sealed::Sealed + Copy + Debug + Add<Output = Self> + Mul<Output = Self> + Send + Sync + 'static
{
    /// The sum without terms. It is −0, since −0 + x is x for every x, also for +0 and −0.
    const EMPTY_SUM: Self;

    /// All bits or none, in a type of the same width.
    type Mask: Copy + Send + Sync;

    /// The mask that keeps a number or drops it.
    #[must_use]
    fn mask(keep: bool) -> Self::Mask;

    /// The number, or [`Real::EMPTY_SUM`] if the mask drops it. It works on bits, so that a loop has no branch and is vectorised.
    #[must_use]
    fn masked(self, mask: Self::Mask) -> Self;

    /// The number nearest to an `f64`.
    #[must_use]
    fn nearest(value: f64) -> Self;

    /// A noise element, which is made in `f32`, in this type; exact.
    #[must_use]
    fn from_noise(z: f32) -> Self;

    /// This number as an `f64`; exact.
    #[must_use]
    fn to_f64(self) -> f64;

    /// Clamps to ±bound; NaN stays NaN.
    #[must_use]
    fn clamp_abs(self, bound: Self) -> Self;

    /// |x| as an integer with the same order; NaN is above all numbers.
    #[must_use]
    fn magnitude_bits(self) -> u64;

    /// The number that [`Real::magnitude_bits`] stands for.
    #[must_use]
    fn from_magnitude_bits(bits: u64) -> Self;
}

macro_rules! float {
    ($float:ident, $bits:ident, $name:ident, { $($more:item)* }) => {
        impl sealed::Sealed for $float {}

        impl Element for $float {
            type Compute = $float;

            const TYPE: ElementType = ElementType::$name;

            #[inline(always)]
            fn widen(self) -> $float {
                self
            }

            #[inline(always)]
            fn narrow(value: $float) -> Self {
                value
            }

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn as_compute(elements: &[$float]) -> Option<&[$float]> {
                Some(elements)
            }

            fn as_compute_mut(elements: &mut [$float]) -> Option<&mut [$float]> {
                Some(elements)
            }

            $($more)*
        }

        impl Real for $float {
            const EMPTY_SUM: Self = -0.0;

            type Mask = $bits;

            #[inline(always)]
            fn mask(keep: bool) -> $bits {
                if keep { $bits::MAX } else { 0 }
            }

            #[inline(always)]
            fn masked(self, mask: $bits) -> Self {
                $float::from_bits(self.to_bits() & mask | Self::EMPTY_SUM.to_bits() & !mask)
            }

            #[inline(always)]
            fn nearest(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn from_noise(z: f32) -> Self {
                $float::from(z)
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn clamp_abs(self, bound: Self) -> Self {
                // Each comparison is false for NaN, so that NaN stays; `min` and `max` would drop it.
                let above = if self < -bound { -bound } else { self };
                if above > bound { bound } else { above }
            }

            #[inline(always)]
            fn magnitude_bits(self) -> u64 {
                u64::from(self.abs().to_bits())
            }

            #[inline(always)]
            fn from_magnitude_bits(bits: u64) -> Self {
                $float::from_bits(bits as $bits)
            }
        }
    };
}

float!(f64, u64, F64, {});
float!(f32, u32, F32, {
    fn as_noise(elements: &mut [f32]) -> Option<&mut [f32]> {
        Some(elements)
    }
});

/// Half precision, with the feature `half`: elements are stored in two bytes and computed in `f32`.
///
/// The conversions of the crate `half` are calls or branches, for one number (or eight) at a time. The conversions here have
/// neither, so that they are vectorised within the loop that uses them. Tests compare them with the crate's.
#[cfg(feature = "half")]
mod half_precision {
    use super::{Element, ElementType, sealed};
    #[cfg(all(feature = "simd", any(target_arch = "x86", target_arch = "x86_64")))]
    use crate::tensor::lanes::{Vectors, x86};
    use half::{bf16, f16};

    macro_rules! half_float {
        ($half:ident, $name:ident, $widen:ident, $narrow:ident, { $($more:item)* }) => {
            impl sealed::Sealed for $half {}

            impl Element for $half {
                type Compute = f32;

                const TYPE: ElementType = ElementType::$name;

                #[inline(always)]
                fn widen(self) -> f32 {
                    $widen(self.to_bits())
                }

                #[inline(always)]
                fn narrow(value: f32) -> Self {
                    $half::from_bits($narrow(value))
                }

                fn from_f64(value: f64) -> Self {
                    $half::from_bits($narrow(to_odd(value)))
                }

                fn to_f64(self) -> f64 {
                    self.to_f64()
                }

                $($more)*
            }
        };
    }

    half_float!(bf16, Bf16, widen_bf16, narrow_bf16, {});
    half_float!(f16, F16, widen_f16, narrow_f16, {
        #[cfg(all(feature = "simd", any(target_arch = "x86", target_arch = "x86_64")))]
        #[inline(always)]
        fn map_pairs<V: Vectors>(vectors: V, x: &mut [Self], m: &[Self], of: impl Fn(f32, f32) -> f32) -> usize {
            vectors.avx2().map_or(0, |avx2| x86::map_pairs(avx2, x, m, of))
        }

        #[cfg(all(feature = "simd", any(target_arch = "x86", target_arch = "x86_64")))]
        #[inline(always)]
        fn widen_all<V: Vectors>(vectors: V, elements: &[Self], wide: &mut [f32]) {
            let done = vectors.avx2().map_or(0, |avx2| x86::widen_all(avx2, elements, wide));
            wide.iter_mut().zip(elements).skip(done).for_each(|(wide, element)| *wide = element.widen());
        }

        #[cfg(all(feature = "simd", any(target_arch = "x86", target_arch = "x86_64")))]
        #[inline(always)]
        fn narrow_all<V: Vectors>(vectors: V, wide: &[f32], elements: &mut [Self]) {
            let done = vectors.avx2().map_or(0, |avx2| x86::narrow_all(avx2, wide, elements));
            elements.iter_mut().zip(wide).skip(done).for_each(|(element, wide)| *element = Self::narrow(*wide));
        }
    });

    /// An `f64` as an `f32` that rounds to the same element of half precision. It is rounded towards zero, and to the odd
    /// neighbour if that is not exact, so that no number moves onto a tie. (The crate `half` looks at the upper half of the
    /// bits only.)
    fn to_odd(value: f64) -> f32 {
        let nearest = value as f32;
        if f64::from(nearest) == value || !nearest.is_finite() {
            return nearest;
        }
        let towards_zero = nearest.to_bits() - u32::from(f64::from(nearest).abs() > value.abs());
        f32::from_bits(towards_zero | 1)
    }

    #[inline(always)]
    fn widen_bf16(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }

    #[inline(always)]
    fn narrow_bf16(value: f32) -> u16 {
        let bits = value.to_bits();
        // Adds just under half of the last place, and one bit more if that place is odd: to nearest, ties to even.
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // The payload of a NaN is cut off. Making the NaN quiet keeps it from becoming an infinity.
        let nan = bits | 0x0040_0000;
        ((if value.is_nan() { nan } else { rounded }) >> 16) as u16
    }

    /// The biases of the two exponents, 127 and 15, differ by 112.
    const BIAS: u32 = 112 << 23;

    #[inline(always)]
    fn widen_f16(bits: u16) -> f32 {
        let bits = u32::from(bits);
        // Exponent and fraction move to their places. The product adds the difference of the biases, and also normalises numbers
        // that are subnormal as `f16`.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(BIAS + (127 << 23));
        // The exponent of infinities and NaN is all ones in both formats.
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow_f16(value: f32) -> u16 {
        let bits = value.to_bits();
        // Signed numbers have a maximum in every instruction set.
        let magnitude = (bits & 0x7fff_ffff) as i32;
        // Times 2¹¹², then times 2⁻¹¹⁰: numbers that overflow as `f16` become infinite, others become four times as large.
        let fourfold =
            f32::from_bits(magnitude as u32) * f32::from_bits((127 + 112) << 23) * f32::from_bits((127 - 110) << 23);
        // Adding a power of two that is 2¹⁵ times the number's own (2¹³ for the places that `f16` lacks, and the factor four)
        // rounds the fraction to nearest, ties to even. Below 2⁻¹⁴, 2⁻¹⁴ takes the place of the number's own power, which rounds
        // it as a subnormal.
        let exponent = (magnitude & 0x7f80_0000).max(113 << 23);
        let rounded = (f32::from_bits((exponent as u32).wrapping_add(15 << 23)) + fourfold).to_bits();
        let finite = (rounded >> 13 & 0x7c00) + (rounded & 0x0fff);
        let nan = 0x7e00 | (magnitude >> 13 & 0x1ff) as u32;
        (bits >> 16 & 0x8000 | if value.is_nan() { nan } else { finite }) as u16
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_half_widens_as_the_crate_half_widens_it() {
            for bits in 0..=u16::MAX {
                let (wide, theirs) = (widen_f16(bits), f16::from_bits(bits).to_f32());
                assert!(wide.to_bits() == theirs.to_bits() || wide.is_nan() && theirs.is_nan(), "{bits:#x}");
                let (wide, theirs) = (widen_bf16(bits), bf16::from_bits(bits).to_f32());
                assert!(wide.to_bits() == theirs.to_bits() || wide.is_nan() && theirs.is_nan(), "{bits:#x}");
            }
        }

        /// The sign stays, the payload is cut off, and a NaN is made quiet, so that it does not become an infinity.
        #[test]
        fn the_bits_of_nan_are_known() {
            for (single, as_f16, as_bf16) in [
                (0x7fc0_0000_u32, 0x7e00_u16, 0x7fc0_u16),
                (0xffc0_0000, 0xfe00, 0xffc0),
                (0x7f80_0001, 0x7e00, 0x7fc0), // signalling, with a payload that is cut off altogether
                (0xff80_2000, 0xfe01, 0xffc0),
                (0x7fa0_2000, 0x7f01, 0x7fe0),
                (0x7fff_ffff, 0x7fff, 0x7fff),
            ] {
                assert_eq!(narrow_f16(f32::from_bits(single)), as_f16, "{single:#x}");
                assert_eq!(narrow_bf16(f32::from_bits(single)), as_bf16, "{single:#x}");
            }
        }

        #[test]
        fn an_f64_becomes_the_nearest_half_also_next_to_a_tie() {
            // 1 + 2⁻⁸ is between two neighbours of type bf16, and 1 + 2⁻¹¹ between two of type f16; the even one is 1.
            for (tie, up) in [(2_f64.powi(-8), 2_f64.powi(-7)), (2_f64.powi(-11), 2_f64.powi(-10))] {
                let nearest = |value: f64| {
                    let (as_bf16, as_f16) = (<bf16 as Element>::from_f64(value), <f16 as Element>::from_f64(value));
                    if up > 0.005 { as_bf16.to_f64() } else { as_f16.to_f64() }
                };
                for sign in [1.0, -1.0] {
                    assert_eq!(nearest(sign * (1.0 + tie)), sign);
                    assert_eq!(nearest(sign * (1.0 + tie + 2_f64.powi(-50))), sign * (1.0 + up));
                    assert_eq!(nearest(sign * (1.0 + tie - 2_f64.powi(-50))), sign);
                }
            }
            assert_eq!(<f16 as Element>::from_f64(65_520.0), f16::INFINITY);
            assert_eq!(<f16 as Element>::from_f64(65_519.999), f16::MAX);
            assert_eq!(<bf16 as Element>::from_f64(1e300), bf16::INFINITY);
            assert_eq!(<bf16 as Element>::from_f64(-1e-300).to_bits(), bf16::NEG_ZERO.to_bits());
            assert!(<bf16 as Element>::from_f64(f64::NAN).is_nan());
        }

        #[test]
        fn numbers_narrow_as_the_crate_half_narrows_them() {
            // A stride coprime to 2³² that visits every exponent, and the numbers around each half at which the rounding changes.
            let spread = (0..1 << 22).map(|i: u32| i.wrapping_mul(1_000_003));
            let edges = (0..=u16::MAX).flat_map(|bits| {
                [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()].into_iter().flat_map(|wide| {
                    [0_u32, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001]
                        .map(|offset| wide.to_bits().wrapping_add(offset))
                })
            });
            for bits in spread.chain(edges) {
                let value = f32::from_bits(bits);
                let (narrow, theirs) = (f16::from_bits(narrow_f16(value)), f16::from_f32(value));
                assert!(narrow.to_bits() == theirs.to_bits() || narrow.is_nan() && theirs.is_nan(), "{value:e}");
                let (narrow, theirs) = (bf16::from_bits(narrow_bf16(value)), bf16::from_f32(value));
                assert!(narrow.to_bits() == theirs.to_bits() || narrow.is_nan() && theirs.is_nan(), "{value:e}");
            }
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

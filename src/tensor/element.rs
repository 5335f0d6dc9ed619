//! The numbers that CPU tensors are made of.

use core::fmt::Debug;
use core::ops::{Add, Mul};

/// An element of a CPU tensor: `f32` or `f64`.
///
/// Coefficients come as `f64` and are rounded to [`Element::Compute`] once, at the last moment; a result has the type of its
/// operands. Sealed: other numbers come with features of this crate.
///
/// ```
/// use alphabar::Element;
///
/// assert_eq!(f32::from_f64(0.1), 0.1_f32);
/// ```
pub trait Element: sealed::Sealed + Copy + Debug + Default + PartialEq + Send + Sync + 'static {
    /// The type in which arithmetic on these elements is done.
    type Compute: Real;

    /// To the type of the arithmetic; exact.
    #[must_use]
    fn widen(self) -> Self::Compute;

    /// Back again, rounded to nearest.
    #[must_use]
    fn narrow(value: Self::Compute) -> Self;

    /// The nearest element.
    #[must_use]
    fn from_f64(value: f64) -> Self;

    /// Exact.
    #[must_use]
    fn to_f64(self) -> f64;
}

/// A type in which CPU tensors compute.
///
/// ```
/// use alphabar::Real;
///
/// assert_eq!(<f32 as Real>::nearest(0.1), 0.1_f32);
/// assert!(<f64 as Real>::clamp_abs(f64::NAN, 1.0).is_nan());
/// ```
pub trait Real:
    sealed::Sealed + Copy + Debug + Add<Output = Self> + Mul<Output = Self> + Send + Sync + 'static
{
    /// The sum without terms: −0, since −0 + x is x for every x, +0 and −0 among them.
    const EMPTY_SUM: Self;

    /// All bits or none, in a type as wide.
    type Mask: Copy + Send + Sync;

    /// The mask that keeps a number or drops it.
    #[must_use]
    fn mask(keep: bool) -> Self::Mask;

    /// The number, or [`Real::EMPTY_SUM`] where it is dropped. By bits, so that a loop has no branch and becomes vectors.
    #[must_use]
    fn masked(self, mask: Self::Mask) -> Self;

    /// The nearest number to an `f64`.
    #[must_use]
    fn nearest(value: f64) -> Self;

    /// From noise, which is made in `f32`; exact.
    #[must_use]
    fn from_noise(z: f32) -> Self;

    /// Exact.
    #[must_use]
    fn to_f64(self) -> f64;

    /// Into ±bound; NaN stays NaN.
    #[must_use]
    fn clamp_abs(self, bound: Self) -> Self;

    /// |x| as an integer in the same order, NaN above all.
    #[must_use]
    fn magnitude_bits(self) -> u64;

    /// The number that [`Real::magnitude_bits`] stands for.
    #[must_use]
    fn from_magnitude_bits(bits: u64) -> Self;
}

macro_rules! float {
    ($float:ident, $bits:ident) => {
        impl sealed::Sealed for $float {}

        impl Element for $float {
            type Compute = $float;

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
                // Comparisons, each false for NaN, so that NaN stays; `min` and `max` would swallow it.
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

float!(f32, u32);
float!(f64, u64);

mod sealed {
    pub trait Sealed {}
}

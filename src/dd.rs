//! Double-double arithmetic: an unevaluated sum `hi + lo` of two `f64`, about 32 significant digits.
//!
//! A step between two neighbouring noise levels consists of differences such as ᾱ_s − ᾱ_t, in which `f64` tables lose as
//! many digits as the two levels have in common. At twice the precision, rounded once, the formulas can be typed as the
//! papers print them, and every coefficient is correct to the last bits of an `f64`.
//!
//! Products are exact from 1e-290, below which their low halves underflow, to 1e300, above which the splitting overflows.
//! [`NoiseLevel`](crate::NoiseLevel) keeps all numbers in this range.
//!
//! The algorithms are those of Dekker (1971) and Knuth (TAOCP 2, 4.2.2), as in the QD library of Hida, Li and Bailey
//! (2001). Products are split by Veltkamp's constant and not by a fused multiply-add, which is a slow library call on
//! targets that lack the instruction.

use core::cmp::Ordering;
use core::ops::{Add, Div, Mul, Neg, Sub};

/// An unevaluated sum of two `f64`, `|lo| ≤ ulp(hi)/2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dd {
    hi: f64,
    lo: f64,
}

/// ln 2 to 106 bits.
const LN_2: Dd = Dd { hi: core::f64::consts::LN_2, lo: 2.319_046_813_846_299_6e-17 };

impl Dd {
    pub(crate) const ZERO: Self = Self { hi: 0.0, lo: 0.0 };
    pub(crate) const ONE: Self = Self { hi: 1.0, lo: 0.0 };

    /// The nearest `f64`.
    pub(crate) const fn to_f64(self) -> f64 {
        self.hi
    }

    /// a + b exactly (Knuth's TwoSum).
    pub(crate) fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let b_part = hi - a;
        Self { hi, lo: (a - (hi - b_part)) + (b - b_part) }
    }

    /// a + b exactly if |a| ≥ |b| (Dekker's FastTwoSum).
    fn renormalised(a: f64, b: f64) -> Self {
        let hi = a + b;
        Self { hi, lo: b - (hi - a) }
    }

    /// a·b exactly (Dekker's product).
    pub(crate) fn product(a: f64, b: f64) -> Self {
        let (a_hi, a_lo) = split(a);
        let (b_hi, b_lo) = split(b);
        let hi = a * b;
        Self { hi, lo: ((a_hi * b_hi - hi) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo }
    }

    /// a/b to double-double precision.
    pub(crate) fn quotient(a: f64, b: f64) -> Self {
        Self::from(a) / Self::from(b)
    }

    pub(crate) fn is_zero(self) -> bool {
        self.hi == 0.0
    }

    pub(crate) fn squared(self) -> Self {
        self * self
    }

    /// √x; NaN for a negative x.
    pub(crate) fn sqrt(self) -> Self {
        let root = self.hi.sqrt();
        if root == 0.0 || !root.is_finite() {
            return Self::from(root);
        }
        // One Newton step for y² = x from the f64 root doubles its digits.
        let residual = self - Self::product(root, root);
        Self::renormalised(root, residual.hi / (2.0 * root))
    }

    /// eˣ, to about 1e-30 relative for |x| < 700.
    pub(crate) fn exp(self) -> Self {
        // x = k·ln 2 + 512·r, so that |r| < 7e-4 and nine Taylor terms reach 1e-35.
        let k = libm::round(self.hi / LN_2.hi);
        let r = (self - LN_2 * Self::from(k)).scaled(1.0 / 512.0);
        let mut term = r;
        let mut series = r;
        for n in 2..10 {
            term = term * r / Self::from(f64::from(n));
            series = series + term;
        }
        // eˣ − 1 is squared up nine times: (1 + s)² − 1 = 2s + s².
        for _ in 0..9 {
            series = series.scaled(2.0) + series.squared();
        }
        let power = series + Self::ONE;
        Self { hi: libm::ldexp(power.hi, k as i32), lo: libm::ldexp(power.lo, k as i32) }
    }

    /// ln x for x > 0.
    pub(crate) fn ln(self) -> Self {
        // One Newton step for eʸ = x from the f64 logarithm: y + x·e⁻ʸ − 1.
        let guess = Self::from(libm::log(self.hi));
        guess + (self * (-guess).exp() - Self::ONE)
    }

    /// Multiplication by a power of two, which is exact.
    fn scaled(self, power_of_two: f64) -> Self {
        Self { hi: self.hi * power_of_two, lo: self.lo * power_of_two }
    }
}

/// Veltkamp's splitting of an `f64` into two halves of 26 bits.
fn split(a: f64) -> (f64, f64) {
    const FACTOR: f64 = 134_217_729.0; // 2²⁷ + 1
    let scaled = FACTOR * a;
    let hi = scaled - (scaled - a);
    (hi, a - hi)
}

impl From<f64> for Dd {
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

impl Neg for Dd {
    type Output = Self;
    fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }
}

impl Add for Dd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let high = Self::sum(self.hi, other.hi);
        let low = Self::sum(self.lo, other.lo);
        let carried = Self::renormalised(high.hi, high.lo + low.hi);
        Self::renormalised(carried.hi, carried.lo + low.lo)
    }
}

impl Sub for Dd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dd {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.hi, other.hi);
        Self::renormalised(product.hi, product.lo + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl Div for Dd {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        // Long division in base 2⁵³: two quotient digits.
        let first = self.hi / other.hi;
        if !first.is_finite() {
            return Self::from(first);
        }
        let remainder = self - other * Self::from(first);
        Self::renormalised(first, remainder.hi / other.hi)
    }
}

impl PartialOrd for Dd {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.hi.partial_cmp(&other.hi) {
            Some(Ordering::Equal) => self.lo.partial_cmp(&other.lo),
            order => order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dd;

    fn assert_close(a: Dd, b: Dd, relative: f64) {
        let error = ((a - b) / b).to_f64().abs();
        assert!(error <= relative, "{a:?} against {b:?}: {error:e}");
    }

    #[test]
    fn sums_and_products_are_exact() {
        let tiny = 2.0_f64.powi(-60);
        assert_eq!(Dd::sum(1.0, tiny), Dd { hi: 1.0, lo: tiny });
        // (1 + 2⁻³⁰)² = 1 + 2⁻²⁹ + 2⁻⁶⁰.
        let x = 1.0 + 2.0_f64.powi(-30);
        assert_eq!(Dd::product(x, x), Dd { hi: 1.0 + 2.0_f64.powi(-29), lo: tiny });
    }

    #[test]
    fn a_sum_keeps_the_last_of_four_terms() {
        // The high halves cancel, and the low ones are 2⁻¹²⁰ apart from an f64.
        let (small, tiny) = (2.0_f64.powi(-54), 2.0_f64.powi(-120));
        assert_eq!(Dd { hi: 1.0, lo: small } + Dd { hi: -1.0, lo: tiny }, Dd { hi: small, lo: tiny });
        assert_eq!(Dd { hi: 1.0, lo: tiny } - Dd { hi: 1.0, lo: -small }, Dd { hi: small, lo: tiny });
    }

    #[test]
    fn division_and_root_invert_multiplication() {
        let mut x = 0.1;
        for _ in 0..200 {
            x = (x * 1.37) % 1.0 + 1e-6;
            let (a, b) = (Dd::quotient(1.0, 3.0) + Dd::from(x), Dd::from(1.0 - x) * Dd::quotient(1.0, 7.0));
            assert_close(a / b * b, a, 1e-30);
            assert_close(a.sqrt().squared(), a, 1e-30);
        }
        assert!(Dd::ZERO.sqrt().is_zero());
        assert!(Dd::from(-1.0).sqrt().to_f64().is_nan());
    }

    #[test]
    fn exponential_and_logarithm_meet_known_digits() {
        // e = 2.718281828459045 + 1.4456468917292502e-16.
        assert_close(Dd::ONE.exp(), Dd { hi: core::f64::consts::E, lo: 1.445_646_891_729_250_2e-16 }, 1e-30);
        for x in [-40.0, -1.0, -1e-3, 1e-9, 0.5, 7.7, 300.0] {
            let x = Dd::from(x);
            assert_close(x.exp() * (-x).exp(), Dd::ONE, 1e-29);
            assert_close(x.exp().ln(), x, 1e-21);
        }
    }

    #[test]
    fn a_difference_keeps_its_digits() {
        // The small difference of two quotients that agree to 16 digits: 1/3 − (1/3 − 1e-17) = 1e-17.
        let third = Dd::quotient(1.0, 3.0);
        assert_close(third - (third - Dd::from(1e-17)), Dd::from(1e-17), 1e-14);
    }
}

//! The transform from uniforms to normals of torch's CPU kernels, to the last bit.
//!
//! A block of sixteen uniforms becomes sixteen normals (Box & Muller 1958), u from the first half and v from the second:
//!
//! ```text
//! r = √(−2 ln(1 − u_j)),   θ = 2π·u_{j+8},   z_j = r cos θ,   z_{j+8} = r sin θ,   j = 0 … 7
//! ```
//!
//! For `f32`, torch uses the single-precision polynomials of Cephes (Moshier) in AVX2 instructions, and its compiler fuses
//! products and sums. The code below keeps torch's order of operations and fuses the same ones: any other choice changes last
//! bits. For `f64`, torch calls the C library, and so does this file.

use core::f64::consts::TAU;

/// Elements of a block.
pub(super) const BLOCK: usize = 16;

/// The number of words of one turn: 2 KiB, which fit the first-level cache.
const TURN: usize = 512;

use crate::noise::mt19937::Mt19937;

/// Whole blocks of `f32` normals. `out` is a multiple of sixteen long.
pub(super) fn normals(words: &mut Mt19937, out: &mut [f32]) {
    #[cfg(feature = "simd")]
    fearless_simd::dispatch!(fearless_simd::Level::new(), simd => {
        if FUSES || has_avx2(simd) { turns::<true>(words, out) } else { turns::<false>(words, out) }
    });
    #[cfg(not(feature = "simd"))]
    turns::<FUSES>(words, out);
}

/// Whether every CPU of the target has an instruction for a fused product and sum.
const FUSES: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

#[cfg(feature = "simd")]
#[inline(always)]
fn has_avx2<S: fearless_simd::Simd>(simd: S) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return simd.level().as_avx2().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    {
        let _ = simd;
        false
    }
}

#[inline(always)]
fn turns<const FUSED: bool>(generator: &mut Mt19937, out: &mut [f32]) {
    let mut words = [0; TURN];
    for turn in out.chunks_mut(TURN) {
        let Some(words) = words.get_mut(..turn.len()) else { return };
        generator.fill(words);
        if FUSED {
            blocks(&mut Instruction, words, turn);
        } else {
            let mut twice = Twice::default();
            blocks(&mut twice, words, turn);
            if twice.ties != 0 {
                blocks_by_instruction(words, turn);
            }
        }
    }
}

#[cold]
#[inline(never)]
fn blocks_by_instruction(words: &[u32], z: &mut [f32]) {
    blocks(&mut Instruction, words, z);
}

/// Uses one long loop, which the compiler vectorises. It would unroll a loop over eight elements first, and then not vectorise
/// it.
#[inline(always)]
fn blocks(by: &mut impl Fused, words: &[u32], z: &mut [f32]) {
    let (mut first, mut second) = ([0.0; TURN / 2], [0.0; TURN / 2]);
    let halves = first.chunks_exact_mut(BLOCK / 2).zip(second.chunks_exact_mut(BLOCK / 2));
    for ((u, v), words) in halves.zip(words.chunks_exact(BLOCK)) {
        u.iter_mut().zip(words).for_each(|(u, word)| *u = uniform(*word));
        v.iter_mut().zip(words.iter().skip(BLOCK / 2)).for_each(|(v, word)| *v = uniform(*word));
    }
    for (u, v) in first.iter_mut().zip(&mut second).take(z.len() / 2) {
        (*u, *v) = box_muller(by, *u, *v);
    }
    let halves = first.chunks_exact(BLOCK / 2).zip(second.chunks_exact(BLOCK / 2));
    for ((cos, sin), z) in halves.zip(z.chunks_exact_mut(BLOCK)) {
        let (cosines, sines) = z.split_at_mut(BLOCK / 2);
        cosines.copy_from_slice(cos);
        sines.copy_from_slice(sin);
    }
}

/// The low 24 bits of a word, as a number in [0, 1).
#[inline(always)]
pub(super) fn uniform(word: u32) -> f32 {
    // Below 2²⁴, so the signed conversion is the same, and every instruction set has that one.
    (word & 0x00ff_ffff) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// The low 53 bits of a double word, as a number in [0, 1).
pub(super) fn uniform64(word: u64) -> f64 {
    (word & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// (r cos θ, r sin θ) of two uniforms.
#[inline(always)]
fn box_muller(by: &mut impl Fused, u: f32, v: f32) -> (f32, f32) {
    let radius = (-2.0 * ln(by, 1.0 - u)).sqrt();
    let (sin, cos) = sin_cos(by, core::f32::consts::TAU * v);
    // torch adds the mean, 0, which turns −0 into +0.
    (radius * cos + 0.0, radius * sin + 0.0)
}

/// a·b + c, rounded once.
trait Fused {
    fn fma(&mut self, a: f32, b: f32, c: f32) -> f32;
}

/// Uses the CPU's instruction for a fused product and sum. On a CPU without it the result is right as well, but slow.
struct Instruction;

impl Fused for Instruction {
    #[inline(always)]
    fn fma(&mut self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Works without the instruction, for results that are normal as `f32`. The product is exact as an `f64`. Rounding its sum with
/// c to `f64` and then to `f32` is right, unless the `f64` lies halfway between two `f32`. Such ties are noted and not
/// corrected here, so that the compiler can vectorise the loops.
#[derive(Default)]
struct Twice {
    ties: u32,
}

impl Fused for Twice {
    #[inline(always)]
    fn fma(&mut self, a: f32, b: f32, c: f32) -> f32 {
        const TIE: u32 = 1 << 28;
        let sum = f64::from(a) * f64::from(b) + f64::from(c);
        self.ties |= u32::from(sum.to_bits() as u32 & (2 * TIE - 1) == TIE);
        sum as f32
    }
}

#[rustfmt::skip]
const LOG: [f32; 9] = [
    7.037_683_6e-2, -1.151_461e-1, 1.167_699_87e-1, -1.242_014_1e-1, 1.424_932_3e-1,
    -1.666_805_8e-1, 2.000_071_4e-1, -2.499_999_4e-1, 3.333_333e-1,
];

/// ln x for a normal x > 0.
#[inline(always)]
fn ln(by: &mut impl Fused, x: f32) -> f32 {
    // x = m·2ᵉ with m in [√½, √2); from here on m is m − 1.
    let bits = x.to_bits() as i32;
    let (exponent, half) = ((bits >> 23) - 126, f32::from_bits((bits & 0x007f_ffff | 0x3f00_0000) as u32));
    let small = half < core::f32::consts::FRAC_1_SQRT_2;
    let e = (exponent - i32::from(small)) as f32;
    let m = half - 1.0 + if small { half } else { 0.0 };
    let z = m * m;
    let mut y = LOG[0];
    for coefficient in &LOG[1..] {
        y = by.fma(y, m, *coefficient);
    }
    y = by.fma(y * m, z, e * -2.121_944_4e-4);
    // These products are exact anyway, so there is nothing to fuse.
    y -= z * 0.5;
    e * 0.693_359_4 + (m + y)
}

/// (sin θ, cos θ) for θ ≥ 0.
#[inline(always)]
fn sin_cos(by: &mut impl Fused, theta: f32) -> (f32, f32) {
    // The even number of eighths of a turn next to θ.
    let j = ((theta * 1.273_239_5) as i32 + 1) & !1;
    let eighths = j as f32;
    // The first two products are exact.
    let x = theta - eighths * 0.785_156_25;
    let x = x - eighths * 2.418_756_5e-4;
    let x = by.fma(eighths, -3.774_895e-8, x);
    let z = x * x;

    let cos = by.fma(2.443_315_7e-5, z, -1.388_731_6e-3);
    let cos = by.fma(cos, z, 4.166_664_6e-2) * z;
    let cos = by.fma(cos, z, -(z * 0.5)) + 1.0;
    let sin = by.fma(-1.951_529_6e-4, z, 8.332_161e-3);
    let sin = by.fma(sin, z, -1.666_665_5e-1) * z;
    let sin = by.fma(sin, x, x);

    let (y_sin, y_cos) = if j & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sign_of_sin = (j as u32 & 4) << 29;
    let sign_of_cos = (!(j as u32).wrapping_sub(2) & 4) << 29;
    (f32::from_bits(y_sin.to_bits() ^ sign_of_sin), f32::from_bits(y_cos.to_bits() ^ sign_of_cos))
}

/// A block in `f64`, in place, with the C library's functions, since torch calls them.
pub(super) fn block_of_f64(block: &mut [f64]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (u, v) in first.iter_mut().zip(second) {
        let (radius, theta) = ((-2.0 * (1.0 - *u).ln()).sqrt(), TAU * *v);
        (*u, *v) = (radius * theta.cos() + 0.0, radius * theta.sin() + 0.0);
    }
}

/// (r cos θ, r sin θ) of two uniforms in `f64`, with θ from the first: torch makes fewer than sixteen normals of any type this
/// way.
pub(super) fn pair(u1: f64, u2: f64) -> (f64, f64) {
    let (radius, theta) = ((-2.0 * (-u2).ln_1p()).sqrt(), TAU * u1);
    (radius * theta.cos(), radius * theta.sin())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<u32> {
        let mut words = vec![0; count];
        Mt19937::new(1).fill(&mut words);
        words
    }

    #[test]
    fn a_product_and_sum_rounded_twice_is_right_or_noted() {
        let finite = |word: u32| f32::from_bits((word & 0x8fff_ffff) | 0x3800_0000);
        for abc in words(3 << 18).chunks_exact(3) {
            // Include sums that almost cancel, and products far below the last place of c.
            let [a, b, c] = [finite(abc[0]), finite(abc[1]), finite(abc[2])];
            for c in [c, -a * b, f32::from_bits((-a * b).to_bits() ^ abc[2] & 3), a * b * 16_777_216.0] {
                let mut twice = Twice::default();
                let sum = twice.fma(a, b, c);
                assert!(twice.ties != 0 || sum.to_bits() == a.mul_add(b, c).to_bits(), "{a:e} {b:e} {c:e}");
            }
        }
        // 2⁻²⁴ − 2⁻⁶⁴ is below half a place of c; rounded to `f64` the sum is the tie, and rounded again the even neighbour.
        let (a, b) = (1.0 + 2.0_f32.powi(-20), 2.0_f32.powi(-24) * (1.0 - 2.0_f32.powi(-20)));
        for (a, c) in [(a, 1.0 + 2.0_f32.powi(-23)), (-a, -1.0 - 2.0_f32.powi(-23))] {
            let mut twice = Twice::default();
            assert_ne!(twice.fma(a, b, c), a.mul_add(b, c));
            assert_eq!(twice.ties, 1);
        }
    }

    #[test]
    fn with_and_without_the_instruction_the_bits_are_the_same() {
        let (mut with, mut without) = (vec![0.0; 1 << 22], vec![0.0; 1 << 22]);
        turns::<true>(&mut Mt19937::new(3), &mut with);
        turns::<false>(&mut Mt19937::new(3), &mut without);
        assert_eq!(with, without);
        // The ends: r = 0 is +0 in both, and the largest r.
        let zero = box_muller(&mut Twice::default(), 0.0, 0.6);
        assert!(zero == (0.0, 0.0) && zero.0.is_sign_positive() && zero.1.is_sign_positive());
        let last = 1.0 - 1.0 / 16_777_216.0;
        assert_eq!(box_muller(&mut Instruction, last, last), box_muller(&mut Twice::default(), last, last));
    }

    #[test]
    fn the_polynomials_are_the_functions() {
        for uv in words(1 << 16).chunks_exact(2) {
            let (u, v) = (uniform(uv[0]), uniform(uv[1]));
            let radius = (-2.0 * (1.0 - f64::from(u)).ln()).sqrt();
            let theta = TAU * f64::from(v);
            let (cos, sin) = box_muller(&mut Instruction, u, v);
            assert!((f64::from(cos) - radius * theta.cos()).abs() < 2e-6, "{u} {v}");
            assert!((f64::from(sin) - radius * theta.sin()).abs() < 2e-6, "{u} {v}");
        }
    }
}

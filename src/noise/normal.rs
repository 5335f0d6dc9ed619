//! Standard normal numbers with random access: `z[i]` is a function of `(seed, sample, draw, i)`
//! and of nothing else, with the same bits on every CPU.
//!
//! Words come from ChaCha8, which is counter-based: block `g` of a stream is computed without the
//! blocks before it. Its key says whose noise it is,
//!
//! ```text
//! key = seed (8 bytes LE) ‖ sample (8 bytes LE) ‖ draw (8 bytes LE) ‖ "normal.1",    nonce = 0
//! ```
//!
//! and block `g`, the words w₀ … w₁₅, gives the elements 16g … 16g + 15 by Box & Muller (1958),
//! eight pairs at a time: for j in 0..8
//!
//! ```text
//! r = √(−2 ln u),  u = (w_j   + ½) / 2³²            z[16g + j]     = r cos θ
//! θ = 2π v,        v = (w_8+j + ½) / 2³²            z[16g + 8 + j] = r sin θ
//! ```
//!
//! Both halves of the pairs are contiguous, so that the loop over `j` is one over whole vectors.
//! The half keeps u inside (0, 1), where the logarithm is finite and not zero, and makes the
//! distribution of the angle symmetric. The largest |z| is √(66 ln 2) ≈ 6.76.
//!
//! # Why every CPU gives the same bits
//! Only `+`, `−`, `×`, `√`, conversions from `i32` and integer operations occur; IEEE 754 rounds each
//! of them correctly. `ln`, `sin` and `cos` of the standard library come from whichever C library
//! there is, and `mul_add` rounds once where a product and a sum round twice; neither is used.
//! LLVM does not contract `a * b + c` by itself. So the order of operations below is part of the
//! definition: to change it, or a coefficient, changes values and calls for a new tag in the key.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the bits of words and floats are what this file is about"
)]
#![allow(clippy::inline_always, reason = "only what is inlined is compiled for the vector instructions of the caller")]
#![allow(clippy::many_single_char_names, clippy::doc_markdown, reason = "the formula's names")]

use chacha20::rand_core::SeedableRng;
use chacha20::rand_core::block::Generator;
use chacha20::variants::Legacy;
use chacha20::{ChaChaCore, R8};

/// ChaCha8 with a 64-bit block counter ("legacy" is Bernstein's original layout).
type ChaCha8 = ChaChaCore<R8, Legacy>;

/// Tells these streams from other uses of the same seed; the digit is the version of the values.
const TAG: [u8; 8] = *b"normal.1";

/// Elements, and words, of one ChaCha block.
pub(super) const GROUP: usize = 16;

/// Elements, and words, of one call of the generator, which computes four blocks side by side.
const BATCH: usize = 4 * GROUP;

/// An endless sequence of independent standard normal numbers, of which any part can be had.
///
/// It holds nothing but its key: to make or copy one costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalStream {
    key: [u8; 32],
}

impl NormalStream {
    /// The stream of one draw for one sample. By convention draw 0 is the initial noise x_T and
    /// draw 1 + i the noise of step i: [`Draw::stream`](crate::Draw::stream).
    ///
    /// ```
    /// # use alphabar::NormalStream;
    /// assert_ne!(NormalStream::new(1, 0, 0), NormalStream::new(1, 0, 1));
    /// ```
    #[must_use]
    pub fn new(seed: u64, sample: u64, draw: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&sample.to_le_bytes());
        key[16..24].copy_from_slice(&draw.to_le_bytes());
        key[24..].copy_from_slice(&TAG);
        Self { key }
    }

    /// Writes `z[first]`, `z[first + 1]`, … into `out`.
    ///
    /// However a range is split into calls, its values are the same. A `first` that is a multiple
    /// of 16 wastes no work, except for a last batch of fewer than 64 elements.
    ///
    /// ```
    /// # use alphabar::NormalStream;
    /// let stream = NormalStream::new(42, 7, 0);
    /// let (mut whole, mut part) = ([0.0; 100], [0.0; 10]);
    /// stream.fill(0, &mut whole);
    /// stream.fill(90, &mut part);
    /// assert_eq!(whole[90..], part);
    /// ```
    pub fn fill(&self, first: u64, out: &mut [f32]) {
        #[cfg(feature = "simd")]
        fearless_simd::dispatch!(fearless_simd::Level::new(), _ => self.fill_inline(first, out));
        #[cfg(not(feature = "simd"))]
        self.fill_inline(first, out);
    }

    /// [`fill`](Self::fill), inlined into its caller so that it is compiled for the vector
    /// instructions that the caller has.
    #[inline(always)]
    pub(crate) fn fill_inline(&self, first: u64, out: &mut [f32]) {
        let mut chacha = ChaCha8::from_seed(self.key);
        chacha.set_block_pos(first / GROUP as u64);
        let mut words = [0; BATCH];

        // The start of `out` may lie within a group. After it, batches begin with a group.
        let skip = (first % GROUP as u64) as usize;
        let head = if skip == 0 { 0 } else { out.len().min(BATCH - skip) };
        let (head, rest) = out.split_at_mut(head);
        if !head.is_empty() {
            chacha.generate(&mut words);
            fill_part(&words, skip, head);
        }

        // Batch by batch, the CPU overlaps the integer work of one with the floating-point work of the
        // one before. With more words at a time it does so less, and is measurably slower.
        let mut batches = rest.chunks_exact_mut(BATCH);
        for batch in &mut batches {
            chacha.generate(&mut words);
            for (w, z) in words.chunks_exact(GROUP).zip(batch.chunks_exact_mut(GROUP)) {
                z.copy_from_slice(&normals(w));
            }
        }

        let tail = batches.into_remainder();
        if !tail.is_empty() {
            chacha.generate(&mut words);
            fill_part(&words, 0, tail);
        }
    }
}

/// Writes the elements of one batch from `skip` on, transforming only the groups that are asked
/// for. `skip + out.len()` is at most [`BATCH`].
#[inline(always)]
fn fill_part(words: &[u32; BATCH], skip: usize, out: &mut [f32]) {
    let mut z = [0.0; BATCH];
    let end = skip + out.len();
    for (w, z) in words.chunks_exact(GROUP).zip(z.chunks_exact_mut(GROUP)).take(end.div_ceil(GROUP)) {
        z.copy_from_slice(&normals(w));
    }
    for (out, z) in out.iter_mut().zip(z.iter().skip(skip)) {
        *out = *z;
    }
}

/// The sixteen normal numbers of one ChaCha block.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "every index is below GROUP; iterators would hide the lanes")]
pub(super) fn normals(w: &[u32]) -> [f32; GROUP] {
    // In and out by value: the loop then sees arrays that cannot overlap, and becomes vectors.
    let mut words = [0; GROUP];
    words.copy_from_slice(w);
    let mut z = [0.0; GROUP];
    for j in 0..GROUP / 2 {
        (z[j], z[j + GROUP / 2]) = box_muller(words[j], words[j + GROUP / 2]);
    }
    z
}

/// (r cos θ, r sin θ) with r from the word `w` and θ from the word `a`, each within 5e-7 relative
/// (mostly within one f32 spacing) of exact arithmetic on the same words.
#[inline(always)]
fn box_muller(w: u32, a: u32) -> (f32, f32) {
    let (sin, cos, quadrant) = sin_cos(a);
    // θ = t + k π/2. An odd k exchanges the two, (cos θ, sin θ) = (−sin t, cos t), and k ≥ 2
    // negates both, which the radius does for them. Bit 31 of `quadrant` is k ≥ 2, bit 30 is odd k.
    let odd = quadrant << 1;
    let r = f32::from_bits(radius(w).to_bits() ^ (quadrant & SIGN));
    let sin = f32::from_bits(sin.to_bits() ^ (odd & SIGN));
    let (x, y) = if odd & SIGN != 0 { (sin, cos) } else { (cos, sin) };
    (r * x, r * y)
}

const SIGN: u32 = 1 << 31;

/// r = √(−2 ln u), u = (w + ½) / 2³².
#[inline(always)]
fn radius(w: u32) -> f32 {
    // Read as a signed number w is w or w − 2³², so one conversion gives u where u < ½ and
    // u − 1 where u ≥ ½: in both halves the distance from the nearer end of (0, 1), to 24 bits.
    let near = (w as i32 as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let u = if (w as i32) < 0 { near + 1.0 } else { near };

    // u = 2ᵉ (1 + f) with 1 + f in [⅔, 4⁄3): bits that step by one exponent at ⅔, not at 1.
    let bits = u.to_bits() as i32;
    let e = (bits - TWO_THIRDS) >> 23;
    let m = f32::from_bits((bits - (e << 23)) as u32);
    // e = 0 means u ≥ ⅔, where `near` is u − 1 before it was rounded to the spacing of u.
    let f = if e == 0 { near } else { m - 1.0 };

    // −2 ln u = −2 e ln 2 − 2 f + f² G(f). Estrin's scheme: half as deep a chain as Horner's.
    let f2 = f * f;
    let g = ((LOG[0] + LOG[1] * f) + (LOG[2] + LOG[3] * f) * f2) + ((LOG[4] + LOG[5] * f) + LOG[6] * f2) * (f2 * f2);
    (e as f32 * (-2.0 * core::f32::consts::LN_2) + (g * f2 - (f + f))).sqrt()
}

/// sin t, cos t and k for the angle 2π (a + ½) / 2³² = t + k π/2 with |t| ≤ π/4. The quarter turns
/// k are the two upper bits of the third number.
#[inline(always)]
fn sin_cos(a: u32) -> (f32, f32, u32) {
    // The lower 30 bits, read as signed, are the distance from the nearest quarter turn. Shifted up
    // by two they leave room for the half: t = (4 s + 2) · 2π / 2³⁴.
    let t = (a << 2 | 2) as i32 as f32 * (core::f32::consts::PI / 8_589_934_592.0);
    let z = t * t;
    let sin = t + t * z * (SIN[0] + z * (SIN[1] + z * SIN[2]));
    let cos = 1.0 + z * (COS[0] + z * (COS[1] + z * COS[2]));
    (sin, cos, a.wrapping_add(1 << 29))
}

// Minimax coefficients, lowest first, derived by `fit_normal.py` and rounded to f32. The figures are
// the largest relative errors of what they approximate.

/// The bits of ⅔, rounded up.
const TWO_THIRDS: i32 = 0x3f2a_aaab;

/// (2 f − 2 ln(1 + f)) / f² on [−⅓, ⅓]; ln u within 1.2e-7, so its square root within 6e-8.
const LOG: [f32; 7] = [0.999_990_3, -0.666_757_5, 0.500_555_4, -0.395_770_67, 0.322_702_9, -0.343_388_35, 0.332_284_15];

/// (sin t − t) / (t z), z = t², |t| ≤ π/4; sin t within 8e-9.
const SIN: [f32; 3] = [-0.166_666_55, 0.008_332_16, -0.000_195_152_84];

/// (cos t − 1) / z, z = t², |t| ≤ π/4; cos t within 5e-8.
const COS: [f32; 3] = [-0.499_998_84, 0.041_655_78, -0.001_359_185_3];

#[cfg(test)]
#[allow(clippy::unreadable_literal, clippy::float_cmp)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn take(seed: u64, sample: u64, draw: u64, first: u64, len: usize) -> Vec<f32> {
        let mut z = vec![f32::NAN; len];
        NormalStream::new(seed, sample, draw).fill(first, &mut z);
        z
    }

    fn bits(z: &[f32]) -> Vec<u32> {
        z.iter().map(|z| z.to_bits()).collect()
    }

    /// splitmix64, for words that do not come from the generator under test.
    fn splitmix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Box–Muller in f64. Turns are reduced exactly before they are multiplied by π, so that a
    /// sine next to zero is as good as any other.
    fn reference(w: u32, a: u32) -> (f64, f64) {
        fn sin_turns(v: f64) -> f64 {
            let half_turns = (2.0 * v).round();
            let sin = (std::f64::consts::TAU * (v - half_turns / 2.0)).sin();
            if half_turns % 2.0 == 0.0 { sin } else { -sin }
        }
        let u = (f64::from(w) + 0.5) / 4_294_967_296.0;
        let v = (f64::from(a) + 0.5) / 4_294_967_296.0;
        let r = (-2.0 * u.ln()).sqrt();
        (r * sin_turns(v + 0.25), r * sin_turns(v))
    }

    fn relative(got: f32, want: f64) -> f64 {
        (f64::from(got) / want - 1.0).abs()
    }

    /// The bound of [`relative`] for every pair of words: over all 2³² words the radius is within
    /// 2.11e-7 and the sine and cosine within 1.93e-7, and their product adds 6e-8.
    const ACCURACY: f64 = 5e-7;

    /// 0, u32::MAX, and all powers of two and halves of the range with their neighbours.
    fn extreme_words() -> Vec<u32> {
        let mut words = vec![0xaaaa_aaaa, 0xaaaa_aaab, 0x5555_5555, 0x5555_5556];
        for shift in 0..32 {
            for offset in -3..=3i64 {
                words.push(((1i64 << shift) + offset) as u32);
                words.push((-(1i64 << shift) + offset) as u32);
            }
        }
        words
    }

    #[test]
    fn any_split_gives_the_same_bits() {
        let whole = take(1, 2, 3, 0, 1200);
        for first in [0, 1, 7, 15, 16, 17, 63, 64, 65, 128, 500] {
            for len in [0, 1, 2, 15, 16, 17, 47, 48, 49, 63, 64, 65, 127, 128, 129, 600] {
                let part = take(1, 2, 3, first as u64, len);
                assert_eq!(bits(&part), bits(&whole[first..first + len]), "{len} elements from {first} on");
            }
        }
        let one_by_one: Vec<f32> = (0..200).flat_map(|i| take(1, 2, 3, i, 1)).collect();
        assert_eq!(bits(&one_by_one), bits(&whole[..200]));
    }

    #[test]
    fn a_shorter_tensor_is_a_prefix_of_a_longer_one() {
        let whole = take(9, 0, 0, 0, 400);
        for len in 0..400 {
            assert_eq!(bits(&take(9, 0, 0, 0, len)), bits(&whole[..len]));
        }
    }

    #[test]
    fn every_part_of_the_key_makes_another_stream() {
        let keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1 << 63, 0, 0), (0, 1 << 63, 0), (0, 0, 1 << 63)];
        let streams = keys.map(|(seed, sample, draw)| take(seed, sample, draw, 0, 1024));
        for (i, a) in streams.iter().enumerate() {
            for b in &streams[..i] {
                let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
                assert!(equal < 3, "{equal} of 1024 equal");
            }
        }
    }

    /// The definition, word by word: the key, the block counter, which word is a radius, which an
    /// angle, and where the pair goes.
    #[test]
    fn words_are_laid_out_as_documented() {
        use chacha20::ChaCha8Rng;
        use chacha20::rand_core::Rng;
        let mut key = Vec::new();
        for part in [5u64, 6, 7] {
            key.extend(part.to_le_bytes());
        }
        key.extend(b"normal.1");
        let mut rng = ChaCha8Rng::from_seed(key.try_into().unwrap());
        let z = take(5, 6, 7, 0, 160);
        for group in z.chunks_exact(16) {
            let w: Vec<u32> = (0..16).map(|_| rng.next_u32()).collect();
            for j in 0..8 {
                let (x, y) = reference(w[j], w[8 + j]);
                assert!(relative(group[j], x) < ACCURACY && relative(group[8 + j], y) < ACCURACY);
            }
        }
    }

    /// A change of any of these is a change of everybody's pictures: it needs a new [`TAG`].
    #[test]
    fn golden_values() {
        #[rustfmt::skip]
        let golden = [
            ((0, 0, 0), 0,
             [-0.39318237, -1.0261818, 0.2556234, -1.3012522, 0.13773796, -0.70600814, -1.4785095, 0.03516546]),
            ((0xdead_beef, 7, 1000), 0,
             [-0.41033173, -0.20581986, 0.9531153, -0.19112037, 1.2531239, 0.2197943, 0.5722655, -0.7606466]),
            ((0, 0, 0), 1 << 40,
             [0.9695732, -0.507032, -1.4499137, 0.18190959, -0.7597162, -0.1709934, 0.7031035, -0.093046255]),
            ((0, 0, 0), u64::MAX - 7,
             [-0.5568725, 0.2814255, -0.8371498, -1.9339633, -0.23596582, 0.06934422, 0.1754982, 1.712195]),
        ];
        for ((seed, sample, draw), first, want) in golden {
            assert_eq!(bits(&take(seed, sample, draw, first, 8)), bits(&want), "from {first} on");
        }
    }

    #[test]
    fn as_accurate_as_exact_arithmetic_on_the_same_words() {
        let mut worst: (f64, u32, u32) = (0.0, 0, 0);
        let mut check = |w: u32, a: u32| {
            let (x, y) = box_muller(w, a);
            let (exact_x, exact_y) = reference(w, a);
            let error = relative(x, exact_x).max(relative(y, exact_y));
            assert!(x.is_finite() && y.is_finite());
            if error > worst.0 {
                worst = (error, w, a);
            }
        };
        let extremes = extreme_words();
        for &w in &extremes {
            for &a in &extremes {
                check(w, a);
            }
        }
        let mut state = 1;
        for _ in 0..2_000_000 {
            let words = splitmix(&mut state);
            let (w, a) = (words as u32, (words >> 32) as u32);
            check(w, a);
            // The tail, the neighbourhood of u = 1, and angles next to a quarter turn.
            check(w >> (a & 31), a);
            check(!(w >> (a & 31)), a);
            check(w, (w & 3) << 30 ^ (a >> (w >> 27)));
        }
        let (error, w, a) = worst;
        assert!(error < ACCURACY, "{error:e} at words {w:#010x}, {a:#010x}");
    }

    #[test]
    fn the_ends_of_the_range_are_finite_and_not_zero() {
        for w in extreme_words() {
            let r = radius(w);
            assert!(r >= radius(u32::MAX) && r <= radius(0), "{r} at {w:#010x}");
        }
        assert_eq!(radius(u32::MAX), 2f32.powi(-16)); // −2 ln(1 − 2⁻³³) = 2⁻³²
        assert!((f64::from(radius(0)) - (66.0 * std::f64::consts::LN_2).sqrt()).abs() < 1e-6);
    }

    /// A quarter turn more of the angle turns the pair by exactly that, down to the last bit.
    #[test]
    fn quarter_turns_are_exact() {
        for low in [0, 1, 77_777_777, 1 << 29, (1 << 30) - 1] {
            let (x, y) = box_muller(12_345_678, low);
            assert_eq!(box_muller(12_345_678, low | 1 << 30), (-y, x));
            assert_eq!(box_muller(12_345_678, low | 2 << 30), (-x, -y));
            assert_eq!(box_muller(12_345_678, low | 3 << 30), (y, -x));
        }
    }

    /// The first four moments, and the products that Box–Muller could get wrong: of the two halves
    /// of a pair, of neighbours, and of their squares. Bounds are five standard deviations.
    #[test]
    fn moments() {
        let z: Vec<f64> = take(2026, 0, 0, 0, 1 << 22).into_iter().map(f64::from).collect();
        let n = z.len() as f64;
        let mean = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z)).sum::<f64>() / n;
        let within = |value: f64, want: f64, variance: f64| {
            let sigmas = (value - want) / (variance / n).sqrt();
            assert!(sigmas.abs() < 5.0, "{value} for {want}: {sigmas} σ");
        };
        within(mean(&|z| z), 0.0, 1.0);
        within(mean(&|z| z * z), 1.0, 2.0);
        within(mean(&|z| z.powi(3)), 0.0, 15.0);
        within(mean(&|z| z.powi(4)), 3.0, 96.0);
        for lag in [1, 7, 8, 9, 16, 64] {
            let pairs = || z.iter().zip(&z[lag..]);
            within(pairs().map(|(a, b)| a * b).sum::<f64>() / n, 0.0, 1.0);
            within(pairs().map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / n, 0.0, 4.0);
        }
    }

    /// Pearson's χ² over 80 cells of width ⅛ and the two tails, and the largest distance of the
    /// distribution functions at their ends (a Kolmogorov–Smirnov statistic of binned data).
    #[test]
    fn the_distribution_is_normal() {
        const CELLS: usize = 80;
        let edge = |i: usize| (i as f64 - CELLS as f64 / 2.0) / 8.0;
        let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        // Simpson's rule on 16 intervals a cell is good to 1e-12.
        let cell = |i: usize| {
            let h = 1.0 / 128.0;
            let weight = |k: usize| {
                if k == 0 || k == 16 {
                    1.0
                } else if k % 2 == 1 {
                    4.0
                } else {
                    2.0
                }
            };
            (0..=16).map(|k| weight(k) * density(edge(i) + k as f64 * h)).sum::<f64>() * h / 3.0
        };
        let mut probability: Vec<f64> = (0..CELLS).map(cell).collect();
        let tail = (1.0 - probability.iter().sum::<f64>()) / 2.0;
        probability.insert(0, tail);
        probability.push(tail);

        let n = 1 << 23;
        let mut count = vec![0u32; CELLS + 2];
        for z in take(1, 2, 3, 0, n) {
            let i = (f64::from(z) * 8.0).floor() + CELLS as f64 / 2.0 + 1.0;
            count[i.clamp(0.0, CELLS as f64 + 1.0) as usize] += 1;
        }

        let n = n as f64;
        let chi2: f64 = count.iter().zip(&probability).map(|(&c, p)| (f64::from(c) - n * p).powi(2) / (n * p)).sum();
        let degrees = CELLS as f64 + 1.0;
        assert!((chi2 - degrees).abs() < 4.0 * (2.0 * degrees).sqrt(), "χ² = {chi2} for {degrees} degrees of freedom");

        let mut difference = 0.0;
        let mut largest: f64 = 0.0;
        for (&c, p) in count.iter().zip(&probability) {
            difference += f64::from(c) / n - p;
            largest = largest.max(difference.abs());
        }
        assert!(largest * n.sqrt() < 1.95, "√n D = {}", largest * n.sqrt()); // exceeded once in a thousand
    }

    /// The dispatched code and the code for the baseline CPU of the target give the same bits.
    #[cfg(feature = "simd")]
    #[test]
    fn vector_instructions_change_no_bit() {
        let stream = NormalStream::new(3, 1, 4);
        let len = (1 << 23) + 5;
        let mut baseline = vec![0.0; len];
        stream.fill_inline(3, &mut baseline);
        assert_eq!(bits(&take(3, 1, 4, 3, len)), bits(&baseline));
    }
}

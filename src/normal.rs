//! Standard normal numbers with random access: `z[i]` is a function of `(seed, sample, draw, i)`
//! and of nothing else, with the same bits on every CPU.
//!
//! Words come from ChaCha8 (Bernstein 2008), which is counter-based: block `b` of a stream is computed
//! without the blocks before it. The key identifies the noise:
//!
//! ```text
//! key = seed (8 bytes LE) ‖ sample (8 bytes LE) ‖ draw (8 bytes LE) ‖ "normal.2",    nonce = 0
//! ```
//!
//! Eight blocks of sixteen words make the 128 elements of group g by Box & Muller (1958). With w(j, l)
//! for word j of block 8g + l, and for j and l in 0..8,
//!
//! ```text
//! r = √(−2 ln u),  u = (w(j, l)     + ½) / 2³²      z[128g      + 8j + l] = r cos θ
//! θ = 2π v,        v = (w(8 + j, l) + ½) / 2³²      z[128g + 64 + 8j + l] = r sin θ
//! ```
//!
//! This order looks odd, but no number ever changes its vector lane. Eight blocks are computed side by
//! side, one in each lane, and everything after that, including the stores, works on whole vectors.
//!
//! The ½ keeps u inside (0, 1), where the logarithm is finite and not zero, and makes the
//! distribution of the angle symmetric. The largest |z| is √(66 ln 2) ≈ 6.76.
//!
//! # Why the generator is written out here
//! The crate `chacha20` computes four blocks a call and returns their words in the order of a key
//! stream. That takes 0.84 ns a word with AVX2, and the words still have to be moved into lanes; the
//! loop below takes 0.35 ns. The tests compare its words with those of `chacha20`.
//!
//! # Why every CPU gives the same bits
//! Only `+`, `−`, `×`, `√`, conversions from `i32` and integer operations occur; IEEE 754 rounds each
//! of them correctly. The standard library takes `ln`, `sin` and `cos` from the C library of the
//! platform, and `mul_add` rounds once while a product and a sum round twice, so none of these is used.
//! LLVM does not contract `a * b + c` by itself. The order of operations below is therefore part of the
//! definition: a change of it, or of a coefficient, changes values and needs a new tag in the key.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the bits of words and floats are what this file is about"
)]
#![allow(clippy::inline_always, reason = "only what is inlined is compiled for the vector instructions of the caller")]
#![allow(clippy::many_single_char_names, clippy::doc_markdown, reason = "the formula's names")]

/// Separates these streams from other uses of the same seed; the digit is the version of the values.
const TAG: u64 = u64::from_le_bytes(*b"normal.2");

/// Words of one ChaCha block.
const BLOCK: usize = 16;

/// Blocks computed side by side: the lanes of one AVX2 vector, or of two vectors of SSE2 or NEON.
const LANES: usize = 8;

/// Elements, and also words, that are made together.
const GROUP: usize = BLOCK * LANES;

/// An endless sequence of independent standard normal numbers with random access.
///
/// It holds only its key, so that making or copying one costs nothing. For noise without allocation see
/// [`step_in_place`](crate::step_in_place).
#[doc(alias("randn", "ChaCha", "Box-Muller"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalStream {
    key: [u32; 8],
}

impl NormalStream {
    /// The stream of one draw for one sample. By convention draw 0 is the initial noise x_T and
    /// draw 1 + i the noise of step i: [`Draw::stream`](crate::Draw::stream).
    #[must_use]
    pub fn new(seed: u64, sample: u64, draw: u64) -> Self {
        let low = |part: u64| part as u32;
        let high = |part: u64| (part >> 32) as u32;
        let key =
            [low(seed), high(seed), low(sample), high(sample), low(draw), high(draw), const { TAG as u32 }, high(TAG)];
        Self { key }
    }

    /// Writes `z[first]`, `z[first + 1]`, … into `out`.
    ///
    /// The values do not depend on how a range is split into calls. Ranges that begin and end at multiples
    /// of 128 waste no work.
    ///
    /// ```
    /// use alphabar::NormalStream;
    ///
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
        let mut words = [0; GROUP];
        let mut group = first / GROUP as u64;

        // `out` may start within a group. What follows that part starts with a group.
        let skip = (first % GROUP as u64) as usize;
        let head = if skip == 0 { 0 } else { out.len().min(GROUP - skip) };
        let (head, rest) = out.split_at_mut(head);
        if !head.is_empty() {
            chacha8(&self.key, group, &mut words);
            fill_part(&words, skip, head);
            group = group.wrapping_add(1);
        }

        let mut groups = rest.chunks_exact_mut(GROUP);
        for z in &mut groups {
            chacha8(&self.key, group, &mut words);
            let (cosines, sines) = z.split_at_mut(GROUP / 2);
            normals(&words, cosines, sines);
            group = group.wrapping_add(1);
        }

        let tail = groups.into_remainder();
        if !tail.is_empty() {
            chacha8(&self.key, group, &mut words);
            fill_part(&words, 0, tail);
        }
    }
}

/// Writes the elements of one group from `skip` on. `skip + out.len()` is at most [`GROUP`].
#[inline(always)]
fn fill_part(words: &[u32; GROUP], skip: usize, out: &mut [f32]) {
    let mut z = [0.0; GROUP];
    let (cosines, sines) = z.split_at_mut(GROUP / 2);
    // A short tensor needs only the first pairs.
    let pairs = (skip + out.len()).min(GROUP / 2);
    let (Some(cosines), Some(sines)) = (cosines.get_mut(..pairs), sines.get_mut(..pairs)) else { return };
    normals(words, cosines, sines);
    for (out, z) in out.iter_mut().zip(z.iter().skip(skip)) {
        *out = *z;
    }
}

/// Eight blocks of ChaCha8 from block 8·`group` on: word j of block 8·`group` + l goes to 8j + l.
///
/// The 64-bit block counter is in words 12 and 13 and the nonce, 0, in 14 and 15, as Bernstein laid
/// them out. The loop over l has no branch and no inner loop, so that it becomes one pass over vectors.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "every index is a constant, or below LANES")]
fn chacha8(key: &[u32; 8], group: u64, words: &mut [u32; GROUP]) {
    let counter = group.wrapping_mul(LANES as u64);
    let (low, high) = (counter as u32, (counter >> 32) as u32);
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    for l in 0..LANES {
        // The lowest word of a multiple of eight does not overflow.
        let start: [u32; BLOCK] = [
            0x6170_7865,
            0x3320_646e,
            0x7962_2d32,
            0x6b20_6574, // "expand 32-byte k"
            k0,
            k1,
            k2,
            k3,
            k4,
            k5,
            k6,
            k7,
            low | l as u32,
            high,
            0,
            0,
        ];
        let mut x = start;
        double_round(&mut x);
        double_round(&mut x);
        double_round(&mut x);
        double_round(&mut x);
        for j in 0..BLOCK {
            words[j * LANES + l] = x[j].wrapping_add(start[j]);
        }
    }
}

/// Two rounds of ChaCha: the columns and then the diagonals of the state.
#[inline(always)]
fn double_round(x: &mut [u32; BLOCK]) {
    quarter_round::<0, 4, 8, 12>(x);
    quarter_round::<1, 5, 9, 13>(x);
    quarter_round::<2, 6, 10, 14>(x);
    quarter_round::<3, 7, 11, 15>(x);
    quarter_round::<0, 5, 10, 15>(x);
    quarter_round::<1, 6, 11, 12>(x);
    quarter_round::<2, 7, 8, 13>(x);
    quarter_round::<3, 4, 9, 14>(x);
}

#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "every index is a constant")]
fn quarter_round<const A: usize, const B: usize, const C: usize, const D: usize>(x: &mut [u32; BLOCK]) {
    x[A] = x[A].wrapping_add(x[B]);
    x[D] = (x[D] ^ x[A]).rotate_left(16);
    x[C] = x[C].wrapping_add(x[D]);
    x[B] = (x[B] ^ x[C]).rotate_left(12);
    x[A] = x[A].wrapping_add(x[B]);
    x[D] = (x[D] ^ x[A]).rotate_left(8);
    x[C] = x[C].wrapping_add(x[D]);
    x[B] = (x[B] ^ x[C]).rotate_left(7);
}

/// Normal pairs from radii (the first half of the words) and angles (the second half): as many as there is room for.
#[inline(always)]
pub(super) fn normals(words: &[u32], cosines: &mut [f32], sines: &mut [f32]) {
    let (radii, angles) = words.split_at(words.len() / 2);
    for (((w, a), cos), sin) in radii.iter().zip(angles).zip(cosines).zip(sines) {
        (*cos, *sin) = box_muller(*w, *a);
    }
}

/// (r cos θ, r sin θ) with r from the word `w` and θ from the word `a`, each within 5e-7 relative
/// (mostly within one f32 spacing) of exact arithmetic on the same words.
#[inline(always)]
fn box_muller(w: u32, a: u32) -> (f32, f32) {
    let (sin, cos, quadrant) = sin_cos(a);
    // θ = t + k π/2. An odd k exchanges the two, (cos θ, sin θ) = (−sin t, cos t), and k ≥ 2
    // negates both; the sign of the radius does that. Bit 31 of `quadrant` is k ≥ 2, bit 30 is odd k.
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
    // Read as a signed number, w is w or w − 2³², so one conversion gives u if u < ½ and
    // u − 1 if u ≥ ½: in both halves the distance from the nearer end of (0, 1), to 24 bits.
    let near = (w as i32 as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let u = if (w as i32) < 0 { near + 1.0 } else { near };

    // u = 2ᵉ (1 + f) with 1 + f in [⅔, 4⁄3): e changes at ⅔ times a power of two, not at the power itself.
    let bits = u.to_bits() as i32;
    let e = (bits - TWO_THIRDS) >> 23;
    let m = f32::from_bits((bits - (e << 23)) as u32);
    // e = 0 means u ≥ ⅔; `near` is then u − 1 before it was rounded to the spacing of u.
    let f = if e == 0 { near } else { m - 1.0 };

    // −2 ln u = −2 e ln 2 − 2 f + f² G(f). Estrin's scheme has a chain half as deep as Horner's.
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
        for first in [0, 1, 7, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192, 500] {
            for len in [0, 1, 2, 15, 16, 17, 47, 48, 49, 63, 64, 65, 127, 128, 129, 255, 256, 257, 600] {
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
        let z = take(5, 6, 7, 0, 5 * 128);
        for (g, group) in z.chunks_exact(128).enumerate() {
            for l in 0..8 {
                let w = crate_chacha8(5, 6, 7, (8 * g + l) as u64);
                for j in 0..8 {
                    let (x, y) = reference(w[j], w[8 + j]);
                    assert!(relative(group[8 * j + l], x) < ACCURACY && relative(group[64 + 8 * j + l], y) < ACCURACY);
                }
            }
        }
    }

    /// A block of the crate `chacha20`, with the key as documented.
    fn crate_chacha8(seed: u64, sample: u64, draw: u64, block: u64) -> [u32; 16] {
        use chacha20::rand_core::{SeedableRng, block::Generator};
        let mut key = Vec::new();
        for part in [seed, sample, draw] {
            key.extend(part.to_le_bytes());
        }
        key.extend(b"normal.2");
        let key: [u8; 32] = key.try_into().unwrap();
        let mut rng = chacha20::ChaChaCore::<chacha20::R8, chacha20::variants::Legacy>::from_seed(key);
        rng.set_block_pos(block);
        let mut blocks = [0; 64];
        rng.generate(&mut blocks);
        blocks[..16].try_into().unwrap()
    }

    #[test]
    fn words_are_those_of_the_crate_chacha20() {
        let mut state = 1;
        let far = [0, 1, (1 << 29) - 1, 1 << 29, (1 << 57) - 2];
        for i in 0..200 {
            let group = far.get(i).copied().unwrap_or_else(|| splitmix(&mut state) >> 7);
            let [seed, sample, draw] = [splitmix(&mut state), splitmix(&mut state), splitmix(&mut state)];
            let mut words = [0; GROUP];
            chacha8(&NormalStream::new(seed, sample, draw).key, group, &mut words);
            for l in 0..8 {
                let block = crate_chacha8(seed, sample, draw, 8 * group + l as u64);
                let lane: Vec<u32> = words.iter().skip(l).step_by(8).copied().collect();
                assert_eq!(lane, block, "group {group}, block {l}");
            }
        }
    }

    /// A change of any of these values changes every user's images, and needs a new [`TAG`].
    #[test]
    fn golden_values() {
        #[rustfmt::skip]
        let golden = [
            ((0, 0, 0), 0,
             [0.71204007, -1.7571346, 0.084532894, 0.7358203, 0.49261862, -0.379245, -0.89232266, 1.428141]),
            ((0xdead_beef, 7, 1000), 0,
             [-1.2421477, 0.56453615, -0.6267826, 0.027913438, -0.8252578, -1.4605014, -0.47195432, 0.0678771]),
            ((0, 0, 0), 1 << 40,
             [-0.10742288, -0.64922595, -0.75931543, -0.15161763, -0.15978232, 0.3329544, -1.552885, -0.50651914]),
            ((0, 0, 0), u64::MAX - 7,
             [-1.5935456, -0.5702938, -1.4970019, -0.19343413, 0.6929772, 0.43730554, -0.28309232, 0.6242173]),
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
        for lag in [1, 7, 8, 9, 16, 64, 128] {
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

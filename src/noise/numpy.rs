//! The noise of numpy: `np.random.seed` with `np.random.randn`, and `np.random.default_rng` with `standard_normal`.
//!
//! Both draw `f64`, element by element; numpy code then casts. [`Numpy`] makes a noise source from either.
//!
//! ```
//! use alphabar::noise::numpy::{Numpy, RandomState};
//! use alphabar::{Draw, NoiseSource};
//!
//! // np.random.seed(42); np.random.randn(3)
//! let z =
//!     Numpy::new(RandomState::new(42)).noise(&vec![0.0_f64; 3], Draw::Initial)?;
//! assert_eq!(z, [0.4967141530112327, -0.13826430117118466, 0.6476885381006925]);
//! # Ok::<(), alphabar::Error>(())
//! ```

mod ziggurat;

use rand_core::Rng;
use rand_pcg::Lcg128Xsl64;

use crate::error::Error;
use crate::noise::mt19937::Mt19937;
use crate::noise::torch::elements;
use crate::noise::{Draw, NoiseSource};
use crate::tensor::HostTensor;

/// numpy's legacy generator, `np.random.RandomState(seed)`, which `np.random.seed` sets too.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomState {
    words: Mt19937,
    /// The second normal of a pair.
    kept: Option<f64>,
}

impl RandomState {
    /// The generator of a seed. numpy accepts no larger seed here.
    #[must_use]
    #[doc(alias = "seed")]
    pub fn new(seed: u32) -> Self {
        Self { words: Mt19937::new(seed), kept: None }
    }

    /// A uniform number in [0, 1), `random_sample()`: 27 bits of one word and 26 of the next.
    pub fn random_sample(&mut self) -> f64 {
        let (high, low) = (self.words.word() >> 5, self.words.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

/// Marsaglia's polar method (Marsaglia & Bray 1964): for (x₁, x₂) uniform in the unit disk and s = x₁² + x₂²,
///
/// ```text
/// f = √(−2 ln s / s),   z₁ = f·x₂,   z₂ = f·x₁
/// ```
impl StandardNormal for RandomState {
    fn standard_normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let (x1, x2) = (2.0 * self.random_sample() - 1.0, 2.0 * self.random_sample() - 1.0);
            let s = x1 * x1 + x2 * x2;
            if s < 1.0 && s != 0.0 {
                let f = (-2.0 * s.ln() / s).sqrt();
                self.kept = Some(f * x1);
                return f * x2;
            }
        }
    }
}

/// numpy's `np.random.default_rng(seed)`: PCG64, seeded by `SeedSequence`, with normals by the ziggurat.
///
/// ```
/// use alphabar::noise::numpy::{DefaultRng, StandardNormal};
///
/// assert_eq!(DefaultRng::new(42).standard_normal(), 0.30471707975443135);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "default_rng")]
pub struct DefaultRng {
    bits: Lcg128Xsl64,
}

impl DefaultRng {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let words = seed_sequence(seed);
        let pair = |i: usize| match words.get(i..i + 2) {
            Some([high, low]) => u128::from(*high) << 64 | u128::from(*low),
            _ => 0,
        };
        Self { bits: Lcg128Xsl64::new(pair(0), pair(2)) }
    }

    /// A uniform number in [0, 1), `random()`: the upper 53 bits of a word.
    pub fn random(&mut self) -> f64 {
        (self.bits.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

impl StandardNormal for DefaultRng {
    fn standard_normal(&mut self) -> f64 {
        ziggurat::normal(|| self.bits.next_u64())
    }
}

impl From<u32> for RandomState {
    fn from(seed: u32) -> Self {
        Self::new(seed)
    }
}

impl From<u32> for DefaultRng {
    fn from(seed: u32) -> Self {
        Self::new(seed.into())
    }
}

/// A generator of standard normals in `f64`, one by one.
pub trait StandardNormal {
    /// The next number.
    fn standard_normal(&mut self) -> f64;
}

/// The noise of a numpy generator, which draws the whole batch in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Numpy<G> {
    /// The generator with its state. Save it, or draw other numbers from it.
    pub generator: G,
}

impl<G: StandardNormal> Numpy<G> {
    /// The noise of this generator.
    #[must_use]
    pub fn new(generator: G) -> Self {
        Self { generator }
    }
}

impl<T: HostTensor, G: StandardNormal> NoiseSource<T> for Numpy<G> {
    fn noise(&mut self, like: &T, _draw: Draw) -> Result<T, Error> {
        let mut z = vec![0.0; elements(like.rows_of_batch())?];
        z.iter_mut().for_each(|z| *z = self.generator.standard_normal());
        like.from_host(z)
    }
}

/// numpy's `SeedSequence(seed).generate_state(4, uint64)`: a pool of four words, each mixed into the others.
fn seed_sequence(seed: u64) -> [u64; 4] {
    const MULTIPLY_A: u32 = 0x931e_8875;
    const MULTIPLY_B: u32 = 0x58f3_8ded;

    let mut constant = 0x43b0_d7e5_u32;
    let mut hashed = |value: u32, multiplier: u32| {
        let value = value ^ constant;
        constant = constant.wrapping_mul(multiplier);
        let value = value.wrapping_mul(constant);
        value ^ value >> 16
    };
    let mixed = |x: u32, y: u32| {
        let mixed = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
        mixed ^ mixed >> 16
    };

    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(|word| hashed(word, MULTIPLY_A));
    for source in 0..pool.len() {
        for target in 0..pool.len() {
            if source == target {
                continue;
            }
            let Some(from) = pool.get(source).copied() else { continue };
            if let Some(to) = pool.get_mut(target) {
                *to = mixed(*to, hashed(from, MULTIPLY_A));
            }
        }
    }

    let mut constant = 0x8b51_f9dd_u32;
    let mut words = pool.iter().cycle().map(|word| {
        let value = word ^ constant;
        constant = constant.wrapping_mul(MULTIPLY_B);
        let value = value.wrapping_mul(constant);
        u64::from(value ^ value >> 16)
    });
    let mut word = || words.next().unwrap_or_default();
    core::array::from_fn(|_| word() | word() << 32)
}

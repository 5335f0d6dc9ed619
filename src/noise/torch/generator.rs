//! torch's CPU generator.

use crate::error::{Error, require_count};
use crate::noise::mt19937::{LEN, Mt19937};
use crate::noise::torch::transform::{BLOCK, block_of_f64, normals, pair, uniform, uniform64};
use crate::tensor::{Element, ElementType};

/// torch's CPU generator, `torch.Generator("cpu").manual_seed(seed)`: the Mersenne Twister and one kept normal.
///
/// Words and values equal torch's to the last bit. What a draw returns depends on all draws before it.
///
/// ```
/// use alphabar::noise::torch::Generator;
///
/// let mut generator = Generator::new(0);
/// let mut z = [0.0_f32; 4];
/// generator.randn(&mut z); // torch.randn(4)
/// assert_eq!(z, [1.540_996_1, -0.293_428_9, -2.178_789_4, 0.568_431_26]);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "manual_seed")]
pub struct Generator {
    seed: u64,
    words: Mt19937,
    /// The second normal of a pair, kept for the next draw of fewer than 16 elements.
    kept: Option<f64>,
}

/// The longest permutation that torch draws from 32-bit words.
const MAX_PERMUTATION: usize = u32::MAX as usize / 20 - 1;

impl Generator {
    /// The generator of a seed.
    ///
    /// Only the low 32 bits decide the numbers: torch's generator uses no more. For a negative seed in Python pass its two's
    /// complement, `seed as u64`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, words: Mt19937::new(seed as u32), kept: None }
    }

    /// The seed, all 64 bits of it.
    #[must_use]
    #[doc(alias = "initial_seed")]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.words.word()
    }

    /// The next 64 bits: two words, the upper half first.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.words.word());
        high << 32 | u64::from(self.words.word())
    }

    /// Standard normals: `torch.randn(out.len(), dtype=E)`, `torch.randn_like` and `Tensor.normal_` of contiguous tensors.
    ///
    /// torch uses one algorithm for fewer than 16 elements and another for 16 or more. The second one works in blocks of 16; if
    /// 16 does not divide the length, it draws the last 16 elements again. Only the number of elements matters, not the shape:
    /// elements go in row-major order.
    ///
    /// ```
    /// use alphabar::noise::torch::Generator;
    ///
    /// let mut latents = vec![0.0_f32; 4 * 64 * 64];
    /// Generator::new(42).randn(&mut latents);
    /// assert_eq!(latents[..2], [1.926_915_3, 1.487_284_1]);
    /// ```
    pub fn randn<E: Element>(&mut self, out: &mut [E]) {
        if out.len() < BLOCK {
            return self.few(out);
        }
        match E::TYPE {
            ElementType::F64 => self.many_f64(out),
            ElementType::F32 => match E::as_noise(out) {
                Some(out) => self.many_f32(out),
                None => self.many_halves(out),
            },
            ElementType::F16 | ElementType::Bf16 => self.many_halves(out),
        }
    }

    /// Uniforms in [0, 1): `torch.rand(out.len(), dtype=E)`.
    pub fn rand<E: Element>(&mut self, out: &mut [E]) {
        for out in out {
            *out = E::from_f64(match E::TYPE {
                ElementType::F64 => uniform64(self.next_u64()),
                _ => f64::from(uniform(self.next_u32())),
            });
            // If half precision rounds up to 1, torch returns the lower end, 0.
            if out.to_f64() == 1.0 {
                *out = E::default();
            }
        }
    }

    /// Integers in `low..high`: `torch.randint(low, high, (count,))`, with which training code draws its timesteps.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `low < high`.
    ///
    /// ```
    /// use alphabar::noise::torch::Generator;
    ///
    /// assert_eq!(Generator::new(42).randint(0, 1000, 4)?, [542, 67, 876, 414]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn randint(&mut self, low: i64, high: i64, count: usize) -> Result<Vec<i64>, Error> {
        if low >= high {
            let (name, domain) = ("the upper end of randint", "above its lower end; the upper end is exclusive");
            return Err(Error::Parameter { name, value: high as f64, domain });
        }
        let range = high.wrapping_sub(low) as u64;
        let wide = range >= 1 << 28;
        let draw = |_| {
            let bits = if wide { self.next_u64() } else { u64::from(self.next_u32()) };
            low.wrapping_add((bits % range) as i64)
        };
        Ok((0..count).map(draw).collect())
    }

    /// A permutation of `0..count`: `torch.randperm(count)`.
    ///
    /// # Errors
    /// [`Error::Count`] for more than 214,748,363 elements; torch uses another algorithm there.
    pub fn randperm(&mut self, count: usize) -> Result<Vec<usize>, Error> {
        require_count("the length of a permutation", count, 0, MAX_PERMUTATION)?;
        let mut list: Vec<usize> = (0..count).collect();
        for place in 0..count.saturating_sub(1) {
            let other = place + self.next_u32() as usize % (count - place);
            list.swap(place, other);
        }
        Ok(list)
    }

    /// Skips `draws` draws of `len` elements by [`Generator::randn`]. The state is the same as after these draws.
    pub fn skip_randn(&mut self, element_type: ElementType, len: usize, draws: u64) {
        let blocks = (len / BLOCK * BLOCK) as u64;
        let (len64, again) = (len as u64, if len % BLOCK == 0 { 0 } else { BLOCK as u64 });
        let per_draw = match element_type {
            _ if len < BLOCK => return self.skip_few(len64.saturating_mul(draws)),
            ElementType::F64 => 2 * (len64 + again),
            ElementType::F32 => len64 + again,
            ElementType::F16 | ElementType::Bf16 => blocks + again,
        };
        self.words.skip(per_draw.saturating_mul(draws));
    }

    /// [`Generator::randn`] of a type that is rounded from `f32`, before it is rounded.
    pub(super) fn randn_through_f32(&mut self, element_type: ElementType, out: &mut [f32]) {
        match element_type {
            ElementType::F16 | ElementType::Bf16 if out.len() >= BLOCK => self.many_halves(out),
            _ => self.randn(out),
        }
    }

    /// Draws fewer than sixteen elements: pairs in `f64`. The second of a pair is kept for the next such draw.
    fn few<E: Element>(&mut self, out: &mut [E]) {
        for out in out {
            let z = self.one();
            // torch rounds to `f32` first, then to half precision.
            *out = E::from_f64(if E::TYPE == ElementType::F64 { z } else { f64::from(z as f32) });
        }
    }

    fn one(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let (u1, u2) = (uniform64(self.next_u64()), uniform64(self.next_u64()));
        let (z, kept) = pair(u1, u2);
        self.kept = Some(kept);
        z
    }

    fn skip_few(&mut self, elements: u64) {
        let elements = elements - u64::from(elements > 0 && self.kept.take().is_some());
        self.words.skip(elements / 2 * 4);
        if elements % 2 == 1 {
            self.one();
        }
    }

    fn many_f32(&mut self, out: &mut [f32]) {
        let (blocks, rest) = out.split_at_mut(out.len() / BLOCK * BLOCK);
        normals(&mut self.words, blocks);
        if !rest.is_empty() {
            // torch draws these words too, and overwrites the values.
            self.words.skip(rest.len() as u64);
            if let Some(last) = out.last_chunk_mut::<BLOCK>() {
                normals(&mut self.words, last);
            }
        }
    }

    fn many_f64<E: Element>(&mut self, out: &mut [E]) {
        let rest = out.len() % BLOCK;
        let blocks = out.len() - rest;
        for block in out.chunks_exact_mut(BLOCK) {
            self.block_f64(block);
        }
        if rest > 0 {
            self.words.skip(2 * rest as u64);
            if let Some(last) = out.get_mut(blocks + rest - BLOCK..) {
                self.block_f64(last);
            }
        }
    }

    fn block_f64<E: Element>(&mut self, out: &mut [E]) {
        let (mut words, mut block) = ([0; 2 * BLOCK], [0.0; BLOCK]);
        self.words.fill(&mut words);
        for (u, high_and_low) in block.iter_mut().zip(words.chunks_exact(2)) {
            let [high, low] = [0, 1].map(|i| u64::from(high_and_low.get(i).copied().unwrap_or(0)));
            *u = uniform64(high << 32 | low);
        }
        block_of_f64(&mut block);
        out.iter_mut().zip(block).for_each(|(out, z)| *out = E::from_f64(z));
    }

    /// Rounds the values of `f32`. If 16 does not divide the length, the remainder is drawn once, not twice as in `f32`.
    fn many_halves<E: Element>(&mut self, out: &mut [E]) {
        let rest = out.len() % BLOCK;
        for block in out.chunks_exact_mut(BLOCK) {
            self.block_of_halves(block);
        }
        if rest > 0 {
            let first = out.len() - BLOCK;
            if let Some(last) = out.get_mut(first..) {
                self.block_of_halves(last);
            }
        }
    }

    fn block_of_halves<E: Element>(&mut self, out: &mut [E]) {
        let mut block = [0.0; BLOCK];
        normals(&mut self.words, &mut block);
        out.iter_mut().zip(block).for_each(|(out, z)| *out = E::from_f64(f64::from(z)));
    }
}

/// Bytes of a state.
const STATE: usize = 5056;

/// Saving and loading the state in torch's format.
impl Generator {
    /// The state, byte for byte as `generator.get_state()` of torch: 5056 bytes.
    ///
    /// ```
    /// use alphabar::noise::torch::Generator;
    ///
    /// let mut generator = Generator::new(7);
    /// generator.randn(&mut [0.0_f32; 1000]);
    /// let saved = generator.to_bytes();
    /// assert_eq!(Generator::from_bytes(&saved)?, generator);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "get_state")]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE);
        let left = if self.words.next == 0 { 1 } else { LEN + 1 - self.words.next };
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend((left as u32).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes()); // seeded
        bytes.extend((self.words.next as u64).to_le_bytes());
        bytes.extend(self.words.state.iter().flat_map(|word| u64::from(*word).to_le_bytes()));
        let normal_x_y_rho = [0.0, self.kept.unwrap_or(0.0), 0.0];
        bytes.extend(normal_x_y_rho.iter().flat_map(|normal: &f64| normal.to_le_bytes()));
        bytes.extend(u64::from(self.kept.is_some()).to_le_bytes());
        bytes.extend(0_u64.to_le_bytes()); // no normal is kept in f32
        bytes
    }

    /// The generator of a state that torch or [`Generator::to_bytes`] has written.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 5056 bytes, [`Error::Noise`] if they are not a state of the CPU generator.
    #[doc(alias = "set_state")]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != STATE {
            let what = "bytes of torch's CPU generator state (generator.get_state())";
            return Err(Error::Length { what, expected: STATE, found: bytes.len() });
        }
        let invalid = |what: &str| Error::Noise(format!("not a state of torch's CPU generator: {what}").into());
        let mut fields = bytes.chunks_exact(8).map(|bytes| {
            let mut field = [0; 8];
            field.copy_from_slice(bytes);
            u64::from_le_bytes(field)
        });
        let mut field = || fields.next().unwrap_or_default();
        let (seed, left_and_seeded, next) = (field(), field(), field());
        let left = (left_and_seeded as u32) as usize;
        if left_and_seeded >> 32 != 1 {
            return Err(invalid("it was never seeded; call generator.manual_seed before get_state"));
        }
        let mut state = [0; LEN];
        for word in &mut state {
            *word =
                u32::try_from(field()).map_err(|_| invalid("a word is longer than 32 bits; save the state anew"))?;
        }
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let consistent = if next == 0 { left == 1 } else { next <= LEN && left == LEN + 1 - next };
        if !consistent {
            return Err(invalid(
                "its numbers of used and of remaining words contradict each other; save the state anew",
            ));
        }
        let (_, normal, _) = (field(), f64::from_bits(field()), field());
        let kept = if field() as u32 == 0 { None } else { Some(normal) };
        if kept.is_some_and(|z| !z.is_finite()) {
            return Err(invalid("the kept normal is not finite; save the state anew"));
        }
        Ok(Self { seed, words: Mt19937 { state, next }, kept })
    }
}

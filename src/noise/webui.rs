//! The noise of AUTOMATIC1111's Stable Diffusion web UI.
//!
//! According to its source (`modules/rng.py` and `modules/rng_philox.py`), each image has its own generator. The images of a
//! batch have the seeds s, s + 1, s + 2 …. A generator makes the initial noise and then the noise of the steps, all in `f32`.
//! These settings change the noise:
//!
//! | setting | here |
//! |---|---|
//! | random number generator source: CPU, NV, GPU | [`WebUi::source`] |
//! | eta noise seed delta (ENSD) | [`WebUi::eta_noise_seed_delta`] |
//! | variation seed and strength | [`WebUi::variations`] |
//!
//! Two things are not reproduced: "Resize seed from", and samplers with "SDE" in their name, which take their noise from the
//! package torchsde.

use crate::error::{Error, require};
use crate::noise::torch::{Cpu, Cuda, Gpu, elements};
use crate::noise::{Draw, NoiseSource, philox};
use crate::tensor::{ElementType, HostTensor, Rows};

/// The setting "Random number generator source".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "randn_source")]
pub enum RandomSource {
    /// torch's CPU generator.
    Cpu,
    /// The web UI's own imitation of a CUDA generator. Element i of draw k is made from Philox's subsequence i at offset k, for
    /// every tensor size.
    Nv,
    /// torch's CUDA generator on this GPU.
    Gpu(Gpu),
    /// The default setting, "GPU", for latents of up to 40,960 elements per image. They have the same noise on every GPU with at
    /// least the 40,960 threads of a T4. Above that, name the GPU with [`RandomSource::Gpu`].
    #[default]
    AnyGpu,
}

/// The noise that the web UI makes from a list of seeds, one per image.
///
/// ```
/// use alphabar::noise::webui::{RandomSource, WebUi};
///
/// // Seed 42, batch size 4, "NV", and the ENSD that NovelAI's model card recommends.
/// let noise =
///     WebUi::batch(42, 4).source(RandomSource::Nv).eta_noise_seed_delta(31337);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "AUTOMATIC1111")]
#[doc(alias = "A1111")]
pub struct WebUi {
    seeds: Vec<u64>,
    source: RandomSource,
    /// Made at the first draw.
    generators: Option<Generators>,
    seed_delta: i64,
    variations: Option<Variations>,
}

#[derive(Clone, Debug, PartialEq)]
enum Generators {
    Cpu(Box<Cpu>),
    Nv { seeds: Vec<u64>, offset: u32 },
    Gpu(Cuda),
}

#[derive(Clone, Debug, PartialEq)]
struct Variations {
    seeds: Vec<u64>,
    strength: f64,
    shape: [usize; 3],
}

impl WebUi {
    /// The noise of these seeds, one per image.
    #[must_use]
    pub fn new(seeds: impl IntoIterator<Item = u64>) -> Self {
        let seeds = seeds.into_iter().collect();
        Self { seeds, source: RandomSource::default(), generators: None, seed_delta: 0, variations: None }
    }

    /// The noise of a batch: image i has the seed `seed` + i.
    #[must_use]
    pub fn batch(seed: u64, images: usize) -> Self {
        Self::new((0..images as u64).map(|image| seed.wrapping_add(image)))
    }

    /// Sets the source of the random numbers.
    #[must_use]
    pub fn source(mut self, source: RandomSource) -> Self {
        self.source = source;
        self
    }

    /// Sets the eta noise seed delta (ENSD): the steps draw from new generators of seed + delta. With 0, the default, they
    /// continue with the generators of the initial noise.
    #[must_use]
    #[doc(alias = "ENSD")]
    pub fn eta_noise_seed_delta(mut self, delta: i64) -> Self {
        self.seed_delta = delta;
        self
    }

    /// Mixes the initial noise with the noise of other seeds, spherically, column by column of each channel:
    ///
    /// ```text
    /// z = (sin((1−w)·ω)·a + sin(w·ω)·b) / sin ω,   cos ω = ⟨a, b⟩/(‖a‖·‖b‖)
    /// ```
    ///
    /// with a strength w in [0, 1]. `shape` is the shape of one image's latents, (channels, height, width). If the mean of
    /// cos ω is above 0.9995, the web UI uses w·a + (1−w)·b instead (with the two weights swapped), and so does this source.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ w ≤ 1.
    #[doc(alias = "subseed")]
    #[doc(alias = "subseed_strength")]
    pub fn variations(
        mut self,
        seeds: impl IntoIterator<Item = u64>,
        strength: f64,
        shape: [usize; 3],
    ) -> Result<Self, Error> {
        let strength = require((0.0..=1.0).contains(&strength), "the variation strength", strength, "inside [0, 1]")?;
        self.variations = Some(Variations { seeds: seeds.into_iter().collect(), strength, shape });
        Ok(self)
    }

    fn initial<T: HostTensor>(&mut self, like: &T) -> Result<T, Error> {
        let mut generators = self.generators_of(self.seeds.clone());
        let mut z = generators.draw(like)?;
        if let Some(variations) = self.variations.as_ref().filter(|variations| variations.strength != 0.0) {
            // An image without a variation seed has the seed 0.
            let seeds = variations.seeds.iter().copied().chain(core::iter::repeat(0)).take(self.seeds.len()).collect();
            let other = self.generators_of(seeds).draw(like)?;
            variations.mix(&mut z, &other, like.rows_of_batch())?;
        }
        if self.seed_delta != 0 {
            let shifted = self.seeds.iter().map(|seed| seed.wrapping_add_signed(self.seed_delta)).collect();
            generators = self.generators_of(shifted);
        }
        self.generators = Some(generators);
        like.from_host_f32(z)
    }

    fn generators_of(&self, seeds: Vec<u64>) -> Generators {
        match self.source {
            RandomSource::Cpu => Generators::Cpu(Box::new(Cpu::per_sample(seeds).drawn_as(ElementType::F32))),
            RandomSource::Nv => Generators::Nv { seeds, offset: 0 },
            RandomSource::Gpu(gpu) => Generators::Gpu(Cuda::per_sample(seeds).on(gpu)),
            RandomSource::AnyGpu => Generators::Gpu(Cuda::per_sample(seeds)),
        }
    }
}

impl Generators {
    fn draw<T: HostTensor>(&mut self, like: &T) -> Result<Vec<f32>, Error> {
        let rows = like.rows_of_batch();
        match self {
            Self::Cpu(source) => source.in_f32(rows, ElementType::F32),
            Self::Gpu(source) => source.in_f32(rows),
            Self::Nv { seeds, offset } => {
                if seeds.len() != rows.count {
                    return Err(Error::Rows { expected: rows.count, found: seeds.len() });
                }
                let mut z = vec![0.0; elements(rows)?];
                for (row, seed) in z.chunks_exact_mut(rows.len).zip(seeds) {
                    row.iter_mut().enumerate().for_each(|(i, z)| *z = nv_normal(*seed, i as u64, *offset));
                }
                *offset = offset.wrapping_add(1);
                Ok(z)
            }
        }
    }
}

/// The first normal of Box & Muller (1958), in `f64` except for one constant, which is an `f32`.
fn nv_normal(seed: u64, element: u64, offset: u32) -> f32 {
    const PER_WORD: f64 = 1.0 / 4_294_967_296.0;
    let turn_per_word = f64::from(core::f32::consts::TAU / 4_294_967_296.0);
    let [x, y, _, _] = philox::of_thread(seed, element, offset.into());
    let (u, v) = (f64::from(x) * PER_WORD + PER_WORD / 2.0, f64::from(y) * turn_per_word + turn_per_word / 2.0);
    ((-2.0 * libm::log(u)).sqrt() * libm::sin(v)) as f32
}

impl Variations {
    fn mix(&self, z: &mut [f32], other: &[f32], rows: Rows) -> Result<(), Error> {
        let [channels, height, width] = self.shape;
        let image = channels.saturating_mul(height).saturating_mul(width);
        if image != rows.len || image == 0 {
            let (expected, found) = (vec![rows.len], self.shape.to_vec());
            return Err(Error::Shape { operand: "an image, as given to WebUi::variations,", expected, found });
        }
        for (a, b) in z.chunks_exact_mut(rows.len).zip(other.chunks_exact(rows.len)) {
            self.mix_image(a, b, height, width);
        }
        Ok(())
    }

    fn mix_image(&self, a: &mut [f32], b: &[f32], height: usize, width: usize) {
        let column = |values: &[f32], at: usize| -> Vec<f64> {
            values.iter().skip(at).step_by(width).map(|value| f64::from(*value)).collect()
        };
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let area = height * width;
        let mut cosines = Vec::with_capacity(a.len() / height);
        for (a, b) in a.chunks_exact(area).zip(b.chunks_exact(area)) {
            cosines.extend((0..width).map(|at| {
                let (a, b) = (column(a, at), column(b, at));
                dot(&a, &b) / (dot(&a, &a).sqrt() * dot(&b, &b).sqrt())
            }));
        }
        let w = self.strength;
        let straight = cosines.iter().sum::<f64>() / cosines.len() as f64 > 0.9995;
        let weights: Vec<(f64, f64)> = cosines
            .into_iter()
            .map(|cosine| {
                let omega = libm::acos(cosine);
                let sine = libm::sin(omega);
                if straight { (w, 1.0 - w) } else { (libm::sin((1.0 - w) * omega) / sine, libm::sin(w * omega) / sine) }
            })
            .collect();
        for (index, (a, b)) in a.iter_mut().zip(b).enumerate() {
            let of_column = index / area * width + index % width;
            let (of_a, of_b) = weights.get(of_column).copied().unwrap_or((1.0, 0.0));
            *a = (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32;
        }
    }
}

impl<T: HostTensor> NoiseSource<T> for WebUi {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        if draw == Draw::Initial {
            return self.initial(like);
        }
        let mut generators = self.generators.take().unwrap_or_else(|| self.generators_of(self.seeds.clone()));
        let z = generators.draw(like);
        self.generators = Some(generators);
        like.from_host_f32(z?)
    }
}

//! The noise of ComfyUI.
//!
//! According to its source (`comfy/sample.py` and `comfy/k_diffusion/sampling.py`), ComfyUI draws the initial noise of a seed
//! from torch's CPU generator, the whole batch at once. Samplers that add noise use the default noise sampler on the device of
//! the latents: on a GPU a CUDA generator of the same seed, on a CPU a generator of seed + 1. All noise is `f32`.
//!
//! Samplers with "sde" in their name take Brownian noise from the package torchsde. They are not reproduced;
//! [`Brownian`](crate::noise::Brownian) is a source of that kind.

use crate::error::{Error, require_count};
use crate::noise::torch::{Cpu, Cuda, Generator, Gpu, elements};
use crate::noise::{Draw, NoiseSource};
use crate::tensor::{ElementType, HostTensor};

/// The largest batch index. Each index up to it costs a draw.
const MAX_BATCH_INDEX: usize = 4095;

/// The noise that ComfyUI makes from a seed.
///
/// ```
/// use alphabar::noise::comfyui::ComfyUi;
/// use alphabar::noise::torch::Gpu;
///
/// // KSampler with seed 42 and euler_ancestral, on an RTX 4090.
/// let noise = ComfyUi::on_gpu(42, Gpu::RTX_4090);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "KSampler")]
pub struct ComfyUi {
    initial: Cpu,
    steps: Steps,
    batch_indices: Option<Vec<usize>>,
}

/// The source of the noise of the steps.
#[derive(Clone, Debug, PartialEq)]
enum Steps {
    Cpu(Box<Cpu>),
    Cuda(Cuda),
    /// The generator of the initial noise.
    Initial,
}

impl ComfyUi {
    /// The noise for latents on a CPU: steps draw from a generator of seed + 1.
    #[must_use]
    pub fn on_cpu(seed: u64) -> Self {
        Self::new(seed, Steps::Cpu(Box::new(in_f32(seed.wrapping_add(1)))))
    }

    /// The noise for latents on a GPU: steps draw from a CUDA generator.
    #[must_use]
    pub fn on_gpu(seed: u64, gpu: Gpu) -> Self {
        Self::new(seed, Steps::Cuda(Cuda::new(seed).on(gpu)))
    }

    /// The noise for latents on a CPU in versions of ComfyUI that do not add 1 to the seed: steps continue with the generator
    /// of the initial noise.
    #[must_use]
    pub fn on_cpu_with_one_generator(seed: u64) -> Self {
        Self::new(seed, Steps::Initial)
    }

    /// Sets the batch indices, as the node "Latent From Batch" does. Entry r of the batch then has the noise of sample
    /// `indices[r]` of a batch whose samples are drawn one by one.
    ///
    /// # Errors
    /// [`Error::Count`] for an index above 4095.
    #[doc(alias = "noise_inds")]
    pub fn batch_indices(mut self, indices: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        let checked = |index| require_count("a batch index", index, 0, MAX_BATCH_INDEX);
        self.batch_indices = Some(indices.into_iter().map(checked).collect::<Result<_, _>>()?);
        Ok(self)
    }

    fn new(seed: u64, steps: Steps) -> Self {
        Self { initial: in_f32(seed), steps, batch_indices: None }
    }

    /// Draws every sample up to the largest index one by one, also those that are not in the batch.
    fn indexed<T: HostTensor>(&mut self, like: &T, indices: &[usize]) -> Result<T, Error> {
        let rows = like.rows_of_batch();
        if indices.len() != rows.count {
            return Err(Error::Rows { expected: rows.count, found: indices.len() });
        }
        let mut z = vec![0.0_f32; elements(rows)?];
        let mut sample = vec![0.0_f32; rows.len];
        let Some(generator) = self.initial.generators_mut().first_mut() else { return like.from_host_f32(z) };
        for index in 0..=indices.iter().copied().max().unwrap_or(0) {
            generator.randn(&mut sample);
            let places = z.chunks_exact_mut(rows.len).zip(indices).filter(|(_, wanted)| **wanted == index);
            places.for_each(|(row, _)| row.copy_from_slice(&sample));
        }
        like.from_host_f32(z)
    }
}

fn in_f32(seed: u64) -> Cpu {
    Cpu::from(Generator::new(seed)).drawn_as(ElementType::F32)
}

impl<T: HostTensor> NoiseSource<T> for ComfyUi {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        match (draw, &mut self.steps) {
            (Draw::Step(_), Steps::Cpu(steps)) => steps.noise(like, draw),
            (Draw::Step(_), Steps::Cuda(steps)) => steps.noise(like, draw),
            (Draw::Step(_), Steps::Initial) => self.initial.noise(like, draw),
            (Draw::Initial, _) => match self.batch_indices.clone() {
                Some(indices) => self.indexed(like, &indices),
                None => self.initial.noise(like, draw),
            },
        }
    }
}

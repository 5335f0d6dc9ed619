//! The noise of ComfyUI.
//!
//! By its source (`comfy/sample.py` and `comfy/k_diffusion/sampling.py`), the initial noise of a seed comes from torch's CPU
//! generator, the whole batch at once. Samplers that add noise draw it by the default noise sampler on the device of the latents:
//! on a GPU by a CUDA generator of the same seed, on a CPU by a generator of seed + 1. All noise is `f32`.
//!
//! Samplers with "sde" in their name, which take Brownian noise from the package torchsde, are not reproduced:
//! [`Brownian`](crate::noise::Brownian) is a source of that kind.

use crate::error::{Error, require_count};
use crate::noise::torch::{Cpu, Cuda, Generator, Gpu, elements};
use crate::noise::{Draw, NoiseSource};
use crate::tensor::{ElementType, HostTensor};

/// The largest batch index: each one below it costs a draw.
const MAX_BATCH_INDEX: usize = 4095;

/// ComfyUI's noise of a seed.
///
/// ```
/// use alphabar::noise::comfyui::ComfyUi;
/// use alphabar::noise::torch::Gpu;
///
/// // KSampler with seed 42 and euler_ancestral, on an RTX 4090.
/// let noise = ComfyUi::on_gpu(42, Gpu::RTX_4090);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ComfyUi {
    initial: Cpu,
    steps: Steps,
    batch_indices: Option<Vec<usize>>,
}

/// Where the steps draw.
#[derive(Clone, Debug, PartialEq)]
enum Steps {
    Cpu(Box<Cpu>),
    Cuda(Cuda),
    /// From the generator of the initial noise.
    Initial,
}

impl ComfyUi {
    /// Latents on a CPU: steps draw from a generator of seed + 1.
    #[must_use]
    pub fn on_cpu(seed: u64) -> Self {
        Self::new(seed, Steps::Cpu(Box::new(in_f32(seed.wrapping_add(1)))))
    }

    /// Latents on a GPU: steps draw from a CUDA generator.
    #[must_use]
    pub fn on_gpu(seed: u64, gpu: Gpu) -> Self {
        Self::new(seed, Steps::Cuda(Cuda::new(seed).on(gpu)))
    }

    /// Latents on a CPU, in versions that do not add 1 to the seed: steps go on with the generator of the initial noise.
    #[must_use]
    pub fn on_cpu_with_one_generator(seed: u64) -> Self {
        Self::new(seed, Steps::Initial)
    }

    /// The batch indices that "Latent From Batch" leaves: row r has the noise of sample `indices[r]` of a batch drawn one by one.
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

    /// Each sample drawn on its own, also those that no row has.
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

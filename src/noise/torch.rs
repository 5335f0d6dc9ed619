//! The noise of torch: `torch.randn` of a seed, on the CPU and on CUDA GPUs.
//!
//! diffusers, ComfyUI and most published code take their noise from torch. With these sources, a run in this crate gets the
//! noise that torch draws for the same seed. [Seeds](crate::guide::seeds) says which source belongs to which program, and what agrees to the
//! last bit.
//!
//! | torch | here | agrees |
//! |---|---|---|
//! | `torch.Generator("cpu")` | [`Generator`], [`Cpu`] | every bit of torch 2.15 on x86-64 with AVX2 |
//! | `torch.Generator("cuda")` | [`CudaGenerator`], [`Cuda`] | uniforms to the last bit, normals within 1e-6 |
//!
//! torch's generators are sequential: noise depends on the draws made before it. Draw x_T first, then the noise of the steps in
//! their order, as [`sample`](crate::sample()) does. [`SeededNoise`](crate::SeededNoise) needs no such order and is the
//! default.
//!
//! ```
//! use alphabar::noise::torch;
//! use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Timesteps, sample};
//! use ndarray::Array4;
//!
//! // generator = torch.Generator("cpu").manual_seed(42); latents = torch.randn((1, 4, 64, 64), generator=generator)
//! let mut noise = torch::Cpu::new(42);
//! let x = noise.noise(&Array4::<f32>::zeros((1, 4, 64, 64)), Draw::Initial)?;
//! assert_eq!(x[[0, 0, 0, 0]], 1.926_915_3);
//! # let mut unet = |x: &Array4<f32>, _: alphabar::Point| Ok::<_, alphabar::BoxError>(x * 0.5);
//! # let plan = Plan::new(&NoiseSchedule::stable_diffusion()?, &Timesteps::trailing(1000, 2)?, &Ddim::new(1.0)?)?;
//! // The steps draw from the same generator.
//! let x = sample(&plan, x, &mut unet, &mut noise)?;
//! # Ok::<(), alphabar::Error>(())
//! ```

mod cuda;
mod generator;
mod transform;

pub use cuda::{Cuda, CudaGenerator, Gpu};
pub use generator::Generator;

use crate::error::Error;
use crate::noise::{Draw, NoiseSource};
use crate::tensor::{ElementType, HostTensor, Rows};

/// The noise of torch's CPU generator, drawn as diffusers' `randn_tensor` draws it.
///
/// Noise is drawn in the element type of the tensor that it is for, as with `torch.randn_like`. [`Cpu::drawn_as`] sets another
/// type, for programs that draw in `f32` and then cast.
///
/// ```
/// use alphabar::noise::torch::Cpu;
/// use alphabar::{Draw, NoiseSource};
/// use ndarray::Array2;
///
/// let like = Array2::<f32>::zeros((2, 100));
/// // One generator for the whole batch and a list of generators, one per sample, give different noise, as in diffusers.
/// let batch = Cpu::new(7).noise(&like, Draw::Initial)?;
/// let listed = Cpu::per_sample([7, 8]).noise(&like, Draw::Initial)?;
/// assert_ne!(batch, listed);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "generator")]
#[doc(alias = "randn_tensor")]
pub struct Cpu {
    generators: Generators<Generator>,
    drawn_as: Option<ElementType>,
}

impl Cpu {
    /// The noise of a seed: one generator, which draws the whole batch at once.
    #[must_use]
    #[doc(alias = "manual_seed")]
    pub fn new(seed: u64) -> Self {
        Generator::new(seed).into()
    }

    /// A list of generators, one per sample: `generator=[torch.Generator().manual_seed(s) for s in seeds]` in diffusers.
    #[must_use]
    pub fn per_sample(seeds: impl IntoIterator<Item = u64>) -> Self {
        Self::from_generators(seeds.into_iter().map(Generator::new))
    }

    /// A list of generators that may have drawn before, one per sample.
    #[must_use]
    pub fn from_generators(generators: impl IntoIterator<Item = Generator>) -> Self {
        Self { generators: Generators::PerSample(generators.into_iter().collect()), drawn_as: None }
    }

    /// Sets the type to draw in. The noise is then cast to the tensor's type.
    #[must_use]
    #[doc(alias = "dtype")]
    pub fn drawn_as(mut self, element_type: ElementType) -> Self {
        self.drawn_as = Some(element_type);
        self
    }

    /// The generators with their state, for saving: one for the batch, or one per sample.
    #[must_use]
    pub fn generators(&self) -> &[Generator] {
        self.generators.as_slice()
    }

    /// The generators, for other draws between the draws of a run, such as sampling a VAE's latents.
    pub fn generators_mut(&mut self) -> &mut [Generator] {
        self.generators.as_mut_slice()
    }

    /// Skips `draws` draws for tensors like this one. To resume a run after k steps that added noise, skip 1 + k draws: one for
    /// x_T, and one per step.
    ///
    /// # Errors
    /// The errors of [`NoiseSource::noise`].
    ///
    /// ```
    /// use alphabar::noise::torch::Cpu;
    /// use alphabar::{Draw, NoiseSource};
    ///
    /// let (like, mut whole, mut resumed) =
    ///     (vec![0.0_f32; 50], Cpu::new(1), Cpu::new(1));
    /// let _x_t = whole.noise(&like, Draw::Initial)?;
    /// resumed.skip(&like, 1)?;
    /// assert_eq!(
    ///     whole.noise(&like, Draw::Step(0))?,
    ///     resumed.noise(&like, Draw::Step(0))?
    /// );
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn skip<T: HostTensor>(&mut self, like: &T, draws: u64) -> Result<(), Error> {
        let (element_type, rows) = (self.type_for(like)?, like.rows_of_batch());
        self.generators.for_each(rows, |generator, elements| {
            generator.skip_randn(element_type, elements.len(), draws);
            Ok(())
        })
    }

    /// Noise for any type except `f64`, before it is rounded to that type.
    pub(super) fn in_f32(&mut self, rows: Rows, element_type: ElementType) -> Result<Vec<f32>, Error> {
        let mut z = vec![0.0_f32; elements(rows)?];
        self.generators.for_each(rows, |generator, part| {
            generator.randn_through_f32(element_type, z.get_mut(part).unwrap_or_default());
            Ok(())
        })?;
        Ok(z)
    }

    fn type_for<T: HostTensor>(&self, like: &T) -> Result<ElementType, Error> {
        self.drawn_as.map_or_else(|| like.element_type(), Ok)
    }
}

impl From<Generator> for Cpu {
    fn from(generator: Generator) -> Self {
        Self { generators: Generators::Batch(generator), drawn_as: None }
    }
}

impl<T: HostTensor> NoiseSource<T> for Cpu {
    fn noise(&mut self, like: &T, _draw: Draw) -> Result<T, Error> {
        let (element_type, rows) = (self.type_for(like)?, like.rows_of_batch());
        if element_type == ElementType::F64 {
            let mut z = vec![0.0_f64; elements(rows)?];
            self.generators.for_each(rows, |generator, part| {
                generator.randn(z.get_mut(part).unwrap_or_default());
                Ok(())
            })?;
            return like.from_host(z);
        }
        like.from_host_f32(self.in_f32(rows, element_type)?)
    }
}

/// One generator for the whole batch, or one for each sample.
#[derive(Clone, Debug, PartialEq)]
enum Generators<G> {
    Batch(G),
    PerSample(Vec<G>),
}

impl<G> Generators<G> {
    fn as_slice(&self) -> &[G] {
        match self {
            Self::Batch(generator) => core::slice::from_ref(generator),
            Self::PerSample(generators) => generators,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [G] {
        match self {
            Self::Batch(generator) => core::slice::from_mut(generator),
            Self::PerSample(generators) => generators,
        }
    }

    /// Calls `draw(generator, elements)` for each generator with the range of its elements.
    fn for_each(
        &mut self,
        rows: Rows,
        mut draw: impl FnMut(&mut G, core::ops::Range<usize>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let all = elements(rows)?;
        match self {
            Self::Batch(generator) => draw(generator, 0..all),
            Self::PerSample(generators) if generators.len() == rows.count => generators
                .iter_mut()
                .enumerate()
                .try_for_each(|(row, generator)| draw(generator, row * rows.len..(row + 1) * rows.len)),
            Self::PerSample(generators) => Err(Error::Rows { expected: rows.count, found: generators.len() }),
        }
    }
}

/// The number of elements of a batch.
pub(super) fn elements(rows: Rows) -> Result<usize, Error> {
    let shape = || vec![rows.count, rows.len];
    match rows.count.checked_mul(rows.len) {
        Some(0) => Err(Error::Empty { operand: "the tensor to make noise for", shape: shape() }),
        // As `f64`, the elements must fit into the largest allocation.
        Some(elements) if elements <= isize::MAX as usize / 8 => Ok(elements),
        _ => Err(Error::TooManyElements { operand: "the tensor to make noise for", shape: shape() }),
    }
}

//! torch's CUDA generator.

use crate::error::{Error, require_count};
use crate::noise::torch::{Generators, elements};
use crate::noise::{Draw, NoiseSource, philox};
use crate::tensor::{ElementType, HostTensor, Rows};

/// Threads per block in torch's kernels for random numbers.
const BLOCK: usize = 256;

/// Elements that a thread makes from one counter.
const UNROLL: usize = 4;

/// A GPU, as far as torch's random numbers depend on it: how many threads draw at once.
///
/// A tensor with at most [`Gpu::threads`] elements has the same noise on every GPU with at least as many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    blocks: usize,
}

impl Gpu {
    /// NVIDIA A100.
    pub const A100: Self = Self { blocks: 108 * 8 };
    /// NVIDIA H100 SXM.
    pub const H100_SXM: Self = Self { blocks: 132 * 8 };
    /// NVIDIA GeForce RTX 4090.
    pub const RTX_4090: Self = Self { blocks: 128 * 6 };
    /// NVIDIA T4. With 40,960 threads it is the smallest GPU here.
    pub const T4: Self = Self { blocks: 40 * 4 };

    /// Any other GPU, from `multi_processor_count` and `max_threads_per_multi_processor` of
    /// `torch.cuda.get_device_properties(0)`.
    ///
    /// # Errors
    /// [`Error::Count`] unless there are 1 to 65,536 multiprocessors of 256 to 65,536 threads.
    ///
    /// ```
    /// use alphabar::noise::torch::Gpu;
    ///
    /// assert_eq!(Gpu::new(108, 2048)?, Gpu::A100);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "multi_processor_count")]
    pub fn new(multiprocessors: usize, threads_per_multiprocessor: usize) -> Result<Self, Error> {
        let multiprocessors = require_count("the number of multiprocessors", multiprocessors, 1, 1 << 16)?;
        let threads =
            require_count("the number of threads per multiprocessor", threads_per_multiprocessor, BLOCK, 1 << 16)?;
        Ok(Self { blocks: multiprocessors * (threads / BLOCK) })
    }

    /// The number of threads that draw at once.
    #[must_use]
    pub fn threads(self) -> usize {
        self.blocks * BLOCK
    }
}

/// torch's CUDA generator, `torch.Generator("cuda").manual_seed(seed)`: Philox4x32-10 keyed by the seed, and an offset.
///
/// Thread number i of a kernel draws from subsequence i; the generator keeps the offset at which the next kernel starts.
///
/// ```
/// use alphabar::noise::torch::{CudaGenerator, Gpu};
///
/// let mut z = [0.0_f32; 4];
/// CudaGenerator::new(0).randn(Gpu::A100, &mut z); // torch.randn(4, device="cuda")
/// assert!((z[0] - -0.9247).abs() < 1e-4 && (z[3] - 0.1452).abs() < 1e-4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CudaGenerator {
    seed: u64,
    /// The offset in blocks of four words.
    counter: u64,
}

impl CudaGenerator {
    /// The generator of a seed.
    #[must_use]
    #[doc(alias = "manual_seed")]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The generator of a seed with the offset of `generator.get_offset()`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 4 divides the offset.
    #[doc(alias = "set_offset")]
    pub fn with_offset(seed: u64, offset: u64) -> Result<Self, Error> {
        if offset % UNROLL as u64 != 0 {
            let (name, domain) = ("the offset of a CUDA generator", "a multiple of 4");
            return Err(Error::Parameter { name, value: offset as f64, domain });
        }
        Ok(Self { seed, counter: offset / UNROLL as u64 })
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The offset, as `generator.get_offset()` returns it: four for each round of a draw.
    #[must_use]
    #[doc(alias = "get_offset")]
    pub fn offset(&self) -> u64 {
        self.counter.wrapping_mul(UNROLL as u64)
    }

    /// Standard normals in `f32`: `torch.randn(out.len(), device="cuda")`, within 1e-6.
    ///
    /// The GPU's logarithm, sine and cosine are fast and inexact; here they are computed in `f64`.
    pub fn randn(&mut self, gpu: Gpu, out: &mut [f32]) {
        self.draw(gpu, out, |[x, y, z, w]| {
            let ((first, second), (third, fourth)) = (box_muller(x, y), box_muller(z, w));
            [first, second, third, fourth]
        });
    }

    /// Uniforms in [0, 1) in `f32`: `torch.rand(out.len(), device="cuda")`, to the last bit.
    pub fn rand(&mut self, gpu: Gpu, out: &mut [f32]) {
        // cuRAND's uniforms are in (0, 1]; torch replaces 1 by 0.
        self.draw(gpu, out, |words| words.map(|word| if uniform(word) == 1.0 { 0.0 } else { uniform(word) }));
    }

    /// Skips `draws` draws of `len` elements.
    pub fn skip(&mut self, gpu: Gpu, len: usize, draws: u64) {
        self.counter = self.counter.wrapping_add(rounds(grid(gpu, len), len).wrapping_mul(draws));
    }

    /// In round r, thread i makes the elements i + k·threads + r·4·threads, k = 0 … 3, from the counter's four words.
    fn draw(&mut self, gpu: Gpu, out: &mut [f32], of: impl Fn([u32; 4]) -> [f32; 4]) {
        let (threads, len) = (grid(gpu, out.len()), out.len());
        for (round, out) in out.chunks_mut(threads * UNROLL).enumerate() {
            let counter = self.counter.wrapping_add(round as u64);
            for thread in 0..threads.min(out.len()) {
                let values = of(philox::of_thread(self.seed, thread as u64, counter));
                out.iter_mut().skip(thread).step_by(threads).zip(values).for_each(|(out, value)| *out = value);
            }
        }
        self.counter = self.counter.wrapping_add(rounds(threads, len));
    }
}

/// The number of threads that draw `len` elements.
fn grid(gpu: Gpu, len: usize) -> usize {
    len.div_ceil(BLOCK).clamp(1, gpu.blocks) * BLOCK
}

/// How often each thread draws four words.
fn rounds(threads: usize, len: usize) -> u64 {
    len.div_ceil(threads * UNROLL) as u64
}

const PER_WORD: f32 = 1.0 / 4_294_967_296.0;
const TURN_PER_WORD: f32 = core::f32::consts::TAU / 4_294_967_296.0;

/// cuRAND's uniform in (0, 1].
fn uniform(word: u32) -> f32 {
    word as f32 * PER_WORD + PER_WORD / 2.0
}

/// cuRAND's pair of normals: the sine comes first.
fn box_muller(x: u32, y: u32) -> (f32, f32) {
    let u = f64::from(uniform(x));
    // The GPU fuses product and sum. Here the product is exact, and the sum is rounded once to f32.
    let v = (f64::from(y as f32) * f64::from(TURN_PER_WORD) + f64::from(TURN_PER_WORD / 2.0)) as f32;
    let (radius, (sin, cos)) = ((-2.0 * libm::log(u)).sqrt(), libm::sincos(f64::from(v)));
    ((radius * sin) as f32, (radius * cos) as f32)
}

/// The noise of torch's CUDA generator, made on the CPU.
///
/// Tensors of up to 40,960 elements have the same noise on every GPU with at least the 40,960 threads of a T4. For larger tensors name
/// the GPU with [`Cuda::on`], because torch's noise then depends on its number of multiprocessors.
///
/// Noise is made in `f32` and rounded for tensors of half precision, as on the GPU. `f64` is not supported.
///
/// ```
/// use alphabar::noise::torch::{Cuda, Gpu};
/// use alphabar::{Draw, NoiseSource};
/// use ndarray::Array4;
///
/// // SDXL's latents: torch.randn((1, 4, 128, 128), device="cuda", generator=torch.Generator("cuda").manual_seed(42))
/// let x = Cuda::new(42).on(Gpu::RTX_4090).noise(&Array4::<f32>::zeros((1, 4, 128, 128)), Draw::Initial)?;
/// assert!((x[[0, 0, 0, 0]] - 0.1940).abs() < 1e-4);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Cuda {
    generators: Generators<CudaGenerator>,
    gpu: Option<Gpu>,
}

impl Cuda {
    /// The noise of a seed: one generator, which draws the whole batch at once.
    #[must_use]
    #[doc(alias = "manual_seed")]
    pub fn new(seed: u64) -> Self {
        CudaGenerator::new(seed).into()
    }

    /// A list of generators, one per sample.
    #[must_use]
    pub fn per_sample(seeds: impl IntoIterator<Item = u64>) -> Self {
        let generators = seeds.into_iter().map(CudaGenerator::new).collect();
        Self { generators: Generators::PerSample(generators), gpu: None }
    }

    /// Sets the GPU on which torch would make the noise.
    #[must_use]
    pub fn on(mut self, gpu: Gpu) -> Self {
        self.gpu = Some(gpu);
        self
    }

    /// The generators with their offsets, for saving: one for the batch, or one per sample.
    #[must_use]
    pub fn generators(&self) -> &[CudaGenerator] {
        self.generators.as_slice()
    }

    /// Skips `draws` draws for tensors like this one.
    ///
    /// # Errors
    /// The errors of [`NoiseSource::noise`].
    pub fn skip<T: HostTensor>(&mut self, like: &T, draws: u64) -> Result<(), Error> {
        let gpu = self.gpu;
        self.generators.for_each(like.rows_of_batch(), |generator, part| {
            generator.skip(gpu_for(gpu, part.len())?, part.len(), draws);
            Ok(())
        })
    }

    pub(in crate::noise) fn in_f32(&mut self, rows: Rows) -> Result<Vec<f32>, Error> {
        let gpu = self.gpu;
        let mut z = vec![0.0_f32; elements(rows)?];
        self.generators.for_each(rows, |generator, part| {
            generator.randn(gpu_for(gpu, part.len())?, z.get_mut(part).unwrap_or_default());
            Ok(())
        })?;
        Ok(z)
    }
}

impl From<CudaGenerator> for Cuda {
    fn from(generator: CudaGenerator) -> Self {
        Self { generators: Generators::Batch(generator), gpu: None }
    }
}

impl<T: HostTensor> NoiseSource<T> for Cuda {
    fn noise(&mut self, like: &T, _draw: Draw) -> Result<T, Error> {
        if like.element_type()? == ElementType::F64 {
            return Err(Error::ElementType {
                operand: "the tensor to make CUDA noise for",
                expected: "f32, f16 or bf16 (torch's f64 noise on CUDA is not implemented)",
                found: "f64".into(),
            });
        }
        like.from_host_f32(self.in_f32(like.rows_of_batch())?)
    }
}

/// The GPU that was named; without a name a T4, if the noise is equal on all larger GPUs.
fn gpu_for(gpu: Option<Gpu>, len: usize) -> Result<Gpu, Error> {
    if gpu.is_none() && len > Gpu::T4.threads() {
        let name = "elements of CUDA noise for an unnamed GPU (name it with Cuda::on)";
        return Err(Error::Count { name, value: len, min: 1, max: Gpu::T4.threads() });
    }
    Ok(gpu.unwrap_or(Gpu::T4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small GPU of two blocks of 256 threads: 1.3 rounds and a rest.
    #[test]
    fn elements_lie_where_the_threads_of_a_grid_stride_loop_put_them() {
        let gpu = Gpu::new(2, 256).unwrap();
        let (threads, len) = (512, 2743);
        let mut z = vec![0.0; len];
        let mut generator = CudaGenerator::new(5);
        generator.rand(gpu, &mut z);
        for (element, z) in z.iter().enumerate() {
            let (round, within) = (element / (4 * threads), element % (4 * threads));
            let words = philox::of_thread(5, (within % threads) as u64, round as u64);
            assert_eq!(*z, uniform(words[within / threads]), "{element}");
        }
        assert_eq!(generator.offset(), 8);
        let mut skipped = CudaGenerator::new(5);
        skipped.skip(gpu, len, 3);
        assert_eq!(skipped, CudaGenerator::with_offset(5, 24).unwrap());
    }

    #[test]
    fn uniforms_are_those_of_cu_rand() {
        assert_eq!(uniform(0), 2.0_f32.powi(-33));
        assert_eq!(uniform(u32::MAX), 1.0);
        assert_eq!(uniform(1 << 31), 0.5);
        let mut u = [7.0; 300];
        CudaGenerator::new(1).rand(Gpu::T4, &mut u);
        assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
    }

    /// What `torch.randn(4, device="cuda")` prints, as published to four digits; and twelve values to eight digits that the web
    /// UI's source gives for `torch.randn(3, 4)`.
    #[test]
    fn normals_are_those_of_published_outputs() {
        let drawn = |seed| {
            let mut z = [0.0; 12];
            CudaGenerator::new(seed).randn(Gpu::T4, &mut z);
            z
        };
        let published = [(0, [-0.9247, -0.4253, -2.6438, 0.1452]), (42, [0.1940, 2.1614, -0.1721, 0.8491])];
        for (seed, published) in published {
            for (z, published) in drawn(seed).into_iter().zip(published) {
                assert!((z - published).abs() < 5.1e-5, "{z} {published}");
            }
        }
        #[rustfmt::skip]
        let published = [
            -0.924_662_59, -0.425_344_15, -2.643_845_7, 0.145_183_88, -0.120_866_47, -0.579_725_64,
            -0.622_851_22, -0.328_387_09, -1.074_542_31, -0.363_144_07, -1.671_050_67, 2.265_504_97,
        ];
        for (z, published) in drawn(0).into_iter().zip(published) {
            assert!((f64::from(z) - published).abs() < 1e-6, "{z} {published}");
        }
    }

    #[test]
    fn a_batch_is_one_draw_and_draws_follow_one_another() {
        let mut whole = CudaGenerator::new(9);
        let (mut first, mut second) = (vec![0.0; 600], vec![0.0; 600]);
        whole.randn(Gpu::T4, &mut first);
        whole.randn(Gpu::T4, &mut second);
        let mut source = Cuda::new(9);
        let like = ndarray::Array2::<f32>::zeros((2, 300));
        assert_eq!(source.noise(&like, Draw::Initial).unwrap().into_raw_vec_and_offset().0, first);
        assert_eq!(source.noise(&like, Draw::Step(0)).unwrap().into_raw_vec_and_offset().0, second);
        let mut listed = Cuda::per_sample([9, 10]);
        let batch = listed.noise(&like, Draw::Initial).unwrap();
        assert_eq!(batch.row(0).as_slice().unwrap(), &first[..300]);
        listed.skip(&like, 1).unwrap();
        assert!(listed.generators().iter().all(|generator| generator.offset() == 8));
    }
}

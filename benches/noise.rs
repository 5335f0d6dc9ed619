//! Normal noise: one stream, whole tensors, and the generators of torch and numpy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

use alphabar::noise::{numpy, torch};
use alphabar::{Draw, Element, NoiseSource, NormalStream, SeededNoise};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ndarray::Array2;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 16, 1024, 4096, 1 << 20])]
fn one_stream(bencher: Bencher, len: usize) {
    let mut z = vec![0.0_f32; len];
    bencher
        .counter(ItemsCount::new(len))
        .bench_local(|| NormalStream::new(black_box(1), black_box(2), 3).fill(0, black_box(&mut z)));
}

#[divan::bench(args = [(1, 4 * 64 * 64), (1, 3 * 1024 * 1024), (64, 3 * 256 * 256), (10_000, 2)])]
fn tensor(bencher: Bencher, size: (usize, usize)) {
    let like = Array2::<f32>::zeros(size);
    let mut noise = SeededNoise::new(1);
    bencher.counter(ItemsCount::new(size.0 * size.1)).bench_local(|| noise.noise(&like, Draw::Initial).unwrap());
}

/// Noise written over an existing tensor.
#[divan::bench(args = [(1, 4 * 64 * 64), (1, 3 * 1024 * 1024), (64, 3 * 256 * 256)])]
fn tensor_in_place(bencher: Bencher, size: (usize, usize)) {
    let mut noise = SeededNoise::new(1);
    let mut z = Some(Array2::<f32>::zeros(size));
    bencher.counter(ItemsCount::new(size.0 * size.1)).bench_local(|| {
        let spare = z.take().unwrap();
        z = Some(noise.noise_into(spare, Draw::Initial).unwrap());
    });
}

/// torch's normals from one generator, `torch.randn`. torch itself takes 3.1 ns per element, and 17 ns for `f64`.
#[divan::bench(types = [f32, f64], args = [4 * 64 * 64, 1 << 20])]
fn torch_cpu<E: Element>(bencher: Bencher, len: usize) {
    let (mut generator, mut z) = (torch::Generator::new(1), vec![E::default(); len]);
    bencher.counter(ItemsCount::new(len)).bench_local(|| generator.randn(black_box(&mut z)));
}

#[divan::bench(args = [4 * 64 * 64, 1 << 20])]
fn torch_cuda(bencher: Bencher, len: usize) {
    let (mut generator, mut z) = (torch::CudaGenerator::new(1), vec![0.0; len]);
    bencher.counter(ItemsCount::new(len)).bench_local(|| generator.randn(torch::Gpu::A100, black_box(&mut z)));
}

#[divan::bench(types = [numpy::RandomState, numpy::DefaultRng])]
fn numpy_normals<G: numpy::StandardNormal + From<u32>>(bencher: Bencher) {
    let mut generator = G::from(1);
    let mut z = vec![0.0; 1 << 14];
    bencher.counter(ItemsCount::new(z.len())).bench_local(|| {
        z.iter_mut().for_each(|z| *z = generator.standard_normal());
        black_box(&mut z);
    });
}

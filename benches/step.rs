//! A sampling step by tensor size, sampler, threshold and element type, compared with a copy of x.
//!
//! `cargo bench --bench step` measures one thread with the target's baseline instructions; add `--features simd,rayon,half` for
//! the rest. A step reads x and the network's output and writes x: the memory traffic of three passes, where a copy has two. A
//! step with memory also reads each earlier output and writes what it keeps: five passes for DPM-Solver++ 2M.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

use alphabar::{
    BoxError, Coefficients, Ddim, Ddpm, DpmSolverPp, Draw, Element, History, Memory, NoiseSchedule, NoiseSource, Plan,
    Point, Predictor, SeededNoise, Solver, Threshold, Timesteps, Variance, sample, step_in_place,
    step_in_place_with_memory,
};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ndarray::Array2;

fn main() {
    divan::main();
}

/// Samples, and elements per sample: a latent, an image, a batch.
const SIZES: [(usize, usize); 3] = [(1, 4 * 64 * 64), (1, 3 * 1024 * 1024), (64, 3 * 256 * 256)];

fn values<E: Element>(count: usize) -> Vec<E> {
    (0..count).map(|i| E::from_f64(((i * 7919) % 1000) as f64 / 500.0 - 1.0)).collect()
}

fn plan(solver: &impl Solver, threshold: Threshold) -> Plan {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 50).unwrap();
    Plan::builder(&schedule, &tau).threshold(threshold).build(solver).unwrap()
}

fn middle(solver: &impl Solver, threshold: Threshold) -> Coefficients {
    plan(solver, threshold).steps()[25].coefficients
}

#[cfg_attr(not(feature = "half"), divan::bench(types = [f32, f64], args = SIZES))]
#[cfg_attr(feature = "half", divan::bench(types = [f32, f64, half::f16, half::bf16], args = SIZES))]
fn copy<E: Element>(bencher: Bencher, (rows, len): (usize, usize)) {
    let (x, mut y) = (values::<E>(rows * len), values::<E>(rows * len));
    bencher.counter(ItemsCount::new(rows * len)).bench_local(|| y.copy_from_slice(black_box(&x)));
}

fn deterministic<E: Element>(bencher: Bencher, (rows, len): (usize, usize), threshold: Threshold) {
    let coefficients = match threshold {
        // The threshold is per sample, so there is one set of coefficients per sample.
        Threshold::Dynamic { .. } => vec![middle(&Ddim::deterministic(), threshold); rows],
        _ => vec![middle(&Ddim::deterministic(), threshold)],
    };
    let (mut x, m) = (values::<E>(rows * len), values::<E>(rows * len));
    bencher
        .counter(ItemsCount::new(rows * len))
        .bench_local(|| step_in_place(black_box(&mut x), black_box(&m), None, &coefficients).unwrap());
}

#[cfg_attr(not(feature = "half"), divan::bench(types = [f32, f64], args = SIZES))]
#[cfg_attr(feature = "half", divan::bench(types = [f32, f64, half::f16, half::bf16], args = SIZES))]
fn ddim<E: Element>(bencher: Bencher, size: (usize, usize)) {
    deterministic::<E>(bencher, size, Threshold::None);
}

#[cfg_attr(not(feature = "half"), divan::bench(types = [f32, f64], args = SIZES))]
#[cfg_attr(feature = "half", divan::bench(types = [f32, f64, half::f16, half::bf16], args = SIZES))]
fn ddim_clip<E: Element>(bencher: Bencher, size: (usize, usize)) {
    deterministic::<E>(bencher, size, Threshold::Clip(1.0));
}

#[divan::bench(args = SIZES)]
fn ddim_dynamic_threshold(bencher: Bencher, size: (usize, usize)) {
    deterministic::<f32>(bencher, size, Threshold::Dynamic { ratio: 0.995, max: 1.5 });
}

/// A step with memory: `outputs` earlier outputs are read, and the output is kept if `keeps`.
fn remembering<E: Element>(
    bencher: Bencher,
    (rows, len): (usize, usize),
    threshold: Threshold,
    outputs: usize,
    keeps: bool,
) {
    let mut k = middle(&DpmSolverPp::multistep(2).unwrap(), threshold);
    k.history = History::new((1..=outputs).map(|age| (age, 0.5 - 0.2 * age as f64))).unwrap();
    k.kept = k.kept.filter(|_| keeps);
    let (mut x, mut m) = (values::<E>(rows * len), values::<E>(rows * len));
    let earlier: Vec<Vec<E>> = (0..outputs).map(|_| values::<E>(rows * len)).collect();
    let earlier: Vec<(usize, &[E])> = earlier.iter().enumerate().map(|(age, y)| (age + 1, y.as_slice())).collect();
    bencher
        .counter(ItemsCount::new(rows * len))
        .bench_local(|| step_in_place_with_memory(black_box(&mut x), black_box(&mut m), &earlier, None, &[k]).unwrap());
}

/// DPM-Solver++ 2M.
#[cfg_attr(not(feature = "half"), divan::bench(types = [f32], args = SIZES))]
#[cfg_attr(feature = "half", divan::bench(types = [f32, half::f16, half::bf16], args = SIZES))]
fn dpm_solver_pp_2m<E: Element>(bencher: Bencher, size: (usize, usize)) {
    remembering::<E>(bencher, size, Threshold::None, 1, true);
}

#[divan::bench(args = SIZES)]
fn dpm_solver_pp_2m_clip(bencher: Bencher, size: (usize, usize)) {
    remembering::<f32>(bencher, size, Threshold::Clip(1.0), 1, true);
}

/// Three earlier outputs, as in UniPC of order 3 with its corrector.
#[cfg_attr(not(feature = "half"), divan::bench(types = [f32], args = SIZES))]
#[cfg_attr(feature = "half", divan::bench(types = [f32, half::f16, half::bf16], args = SIZES))]
fn three_outputs<E: Element>(bencher: Bencher, size: (usize, usize)) {
    remembering::<E>(bencher, size, Threshold::None, 3, true);
}

/// One earlier output is read, and nothing is kept.
#[divan::bench(args = SIZES)]
fn one_output_kept_nothing(bencher: Bencher, size: (usize, usize)) {
    remembering::<f32>(bencher, size, Threshold::None, 1, false);
}

/// z is given as a tensor.
#[divan::bench(args = SIZES)]
fn ddim_eta_1_clip_given_noise(bencher: Bencher, (rows, len): (usize, usize)) {
    let k = [middle(&Ddim::new(1.0).unwrap(), Threshold::Clip(1.0))];
    let (mut x, m, z) = (values::<f32>(rows * len), values::<f32>(rows * len), values::<f32>(rows * len));
    bencher
        .counter(ItemsCount::new(rows * len))
        .bench_local(|| step_in_place(black_box(&mut x), black_box(&m), Some(&z), &k).unwrap());
}

/// The noise is made within the pass.
fn stochastic(bencher: Bencher, size: (usize, usize), solver: &impl Solver, threshold: Threshold) {
    let plan = plan(solver, threshold);
    let m = Array2::from_shape_vec(size, values::<f32>(size.0 * size.1)).unwrap();
    let mut state = Some((m.clone(), m));
    let mut noise = SeededNoise::new(1);
    bencher.counter(ItemsCount::new(size.0 * size.1)).bench_local(|| {
        let (x, m) = state.take().unwrap();
        let stepped = noise.step(x, m, &Memory::default(), &plan.steps()[25]).unwrap();
        state = stepped.spare.map(|spare| (stepped.x, spare));
    });
}

#[divan::bench(args = SIZES)]
fn ddim_eta_1_clip(bencher: Bencher, size: (usize, usize)) {
    stochastic(bencher, size, &Ddim::new(1.0).unwrap(), Threshold::Clip(1.0));
}

#[divan::bench(args = SIZES)]
fn ddpm_clip(bencher: Bencher, size: (usize, usize)) {
    stochastic(bencher, size, &Ddpm::new(Variance::Beta), Threshold::Clip(1.0));
}

/// The fixed cost of a step.
#[divan::bench]
fn ddim_one_element(bencher: Bencher) {
    deterministic::<f32>(bencher, (1, 1), Threshold::None);
}

/// One step for schedules of different length. The cost does not depend on T.
#[divan::bench(args = [10, 1000, 100_000])]
fn ddim_by_training_steps(bencher: Bencher, train_steps: usize) {
    let schedule = NoiseSchedule::cosine(train_steps).unwrap();
    let tau = Timesteps::trailing(train_steps, 10).unwrap();
    let k = [Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap().steps()[5].coefficients];
    let (mut x, m) = (values::<f32>(1 << 14), values::<f32>(1 << 14));
    bencher.bench_local(|| step_in_place(black_box(&mut x), black_box(&m), None, &k).unwrap());
}

/// A network that costs one pass over memory.
struct Cheap;

impl Predictor<Array2<f32>> for Cheap {
    fn predict(&mut self, x: &Array2<f32>, at: Point) -> Result<Array2<f32>, BoxError> {
        self.predict_into(x, at, None)
    }

    fn predict_into(&mut self, x: &Array2<f32>, _: Point, spare: Option<Array2<f32>>) -> Result<Array2<f32>, BoxError> {
        let mut m = spare.unwrap_or_else(|| Array2::zeros(x.dim()));
        m.zip_mut_with(x, |m, x| *m = 0.5 * x);
        Ok(m)
    }
}

/// A whole run: S calls of the network and S passes.
#[divan::bench(args = [10, 20, 50, 100, 200, 500, 1000])]
fn run_by_steps(bencher: Bencher, steps: usize) {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, steps).unwrap());
    let plan = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
    let mut noise = SeededNoise::new(1);
    let mut x = Some(noise.noise(&Array2::zeros((1, 4 * 64 * 64)), Draw::Initial).unwrap());
    bencher.counter(ItemsCount::new(steps)).bench_local(|| {
        let start = x.take().unwrap();
        x = Some(sample(&plan, start, &mut Cheap, &mut noise).unwrap());
    });
}

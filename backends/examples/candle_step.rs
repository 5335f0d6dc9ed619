//! Times a step on candle's CPU device, where a result is a new tensor, and the equal step in place on slices:
//!
//! `cargo run --release -p alphabar-backends --features candle --example candle_step`
//!
//! Most of the time of large tensors is page faults. An allocator that keeps its pages avoids them; with glibc set
//! `MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296`.

use std::hint::black_box;
use std::time::Instant;

use alphabar::{
    Coefficients, Ddim, DpmSolverPp, Error, Memory, NoiseSchedule, Plan, Solver, Tensor as _, Timesteps,
    step_in_place_with_memory,
};
use candle_core::{Device, Tensor};

fn main() -> Result<(), Error> {
    let plan = |solver: &dyn Solver| {
        Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 50)?, &solver).map(|plan| plan.steps().to_vec())
    };
    let steps = [("DDIM", plan(&Ddim::deterministic())?), ("DPM-Solver++ 2M", plan(&DpmSolverPp::multistep(2)?)?)];
    println!("medians in microseconds, one thread");
    println!("{:>18} {:>18} {:>10} {:>10} {:>6}", "shape", "method", "slices", "candle", "ratio");
    for shape in [[1, 4, 64, 64], [1, 3, 1024, 1024], [64, 3, 256, 256]] {
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
        let turns = if len < 1 << 16 { 2001 } else { 41 };
        for (method, steps) in &steps {
            let Some(k) = steps.get(25).map(|step| step.coefficients) else { continue };
            let slices = median(turns, of_slices(&values, &k));
            let candle = median(turns, of_candle(&values, &shape, &k)?);
            println!(
                "{:>18} {method:>18} {slices:>10.1} {candle:>10.1} {:>6.2}",
                format!("{shape:?}"),
                candle / slices
            );
        }
    }
    Ok(())
}

/// The median time in microseconds.
fn median(turns: usize, mut step: impl FnMut() -> Result<(), Error>) -> f64 {
    let mut times: Vec<f64> = (0..turns)
        .filter_map(|_| {
            let start = Instant::now();
            step().ok().map(|()| start.elapsed().as_secs_f64() * 1e6)
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn of_slices(values: &[f32], k: &Coefficients) -> impl FnMut() -> Result<(), Error> + use<> {
    let (mut x, mut m, before, k) = (values.to_vec(), values.to_vec(), values.to_vec(), *k);
    move || step_in_place_with_memory(black_box(&mut x), black_box(&mut m), &[(1, &before)], None, &[k]).map(drop)
}

/// A step of candle. Each takes the x of the step before, as in a run.
fn of_candle(
    values: &[f32],
    shape: &[usize],
    k: &Coefficients,
) -> Result<impl FnMut() -> Result<(), Error> + use<>, Error> {
    let tensor = || Tensor::from_vec(values.to_vec(), shape, &Device::Cpu);
    let (mut x, m, mut memory, k) = (tensor()?, tensor()?, Memory::new([(1, tensor()?)])?, *k);
    Ok(move || {
        let stepped = x.clone().step_with_memory(m.clone(), &memory, None, &[k])?;
        x = stepped.x;
        memory.advance(stepped.kept, 1);
        if memory.get(1).is_none() {
            memory = Memory::new([(1, m.clone())])?;
        }
        Ok(())
    })
}

//! Draws one seed with `Vec`, `ndarray` and burn, and prints the largest differences:
//!
//! `cargo run --release -p alphabar-backends --features burn --example burn`

use alphabar::{
    Ddim, Draw, Error, HostTensor, NoiseSchedule, NoiseSource, Plan, Point, SeededNoise, Threshold, Timesteps, sample,
};
use burn_tensor::{DType, Device, Tensor};
use ndarray::Array4;

const SHAPE: [usize; 4] = [1, 3, 64, 64];

/// 50 steps of DDIM with some noise, from seed 42. An elementwise function takes the place of the network.
fn run<T: HostTensor + Clone>(zeros: &T, tanh: impl Fn(T) -> T) -> Result<Vec<f64>, Error> {
    let schedule = NoiseSchedule::ddpm()?;
    let tau = Timesteps::trailing(schedule.len(), 50)?;
    let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddim::new(0.5)?)?;
    let mut noise = SeededNoise::new(42);
    let x = noise.noise(zeros, Draw::Initial)?;
    let mut model = |x: &T, _at: Point| Ok::<_, Error>(tanh(x.clone()));
    sample(&plan, x, &mut model, &mut noise)?.to_host()
}

fn main() -> Result<(), Error> {
    let vec = vec![0.0_f32; SHAPE.iter().product()];
    let slices = run(&vec, |x| x.into_iter().map(f32::tanh).collect())?;
    let arrays = run(&Array4::<f32>::zeros(SHAPE), |x| x.mapv_into(f32::tanh))?;
    println!("{} elements, the first of them {:.6}", slices.len(), slices.first().copied().unwrap_or_default());
    println!("largest difference from Vec<f32>:");
    println!("  {:<20}{:.1e}", "ndarray, f32", difference(&arrays, &slices));
    for (label, latents, network) in [
        ("burn, f32", DType::F32, DType::F32),
        ("burn, network bf16", DType::F32, DType::BF16),
        ("burn, all bf16", DType::BF16, DType::BF16),
    ] {
        let zeros = Tensor::<4>::zeros(SHAPE, (&Device::flex(), latents));
        println!("  {label:<20}{:.1e}", difference(&run(&zeros, |x| x.cast(network).tanh())?, &slices));
    }
    Ok(())
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

//! Draws one seed with `Vec`, `ndarray`, candle and, with its feature, burn, and prints the largest differences:
//!
//! `cargo run --release -p alphabar-backends --features candle --example candle`

use alphabar::{
    Ddim, Draw, Error, HostTensor, NoiseSchedule, NoiseSource, Plan, Point, SeededNoise, Threshold, Timesteps, sample,
};
use candle_core::{DType, Device, Result, Tensor};
use ndarray::Array4;

const SHAPE: [usize; 4] = [1, 3, 64, 64];

/// All the code that a user of candle needs: 50 steps of DDIM with some noise, from a seed.
fn images(unet: impl Fn(&Tensor, f64) -> Result<Tensor>, seed: u64) -> Result<Tensor> {
    let schedule = NoiseSchedule::ddpm()?;
    let tau = Timesteps::trailing(schedule.len(), 50)?;
    let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddim::new(0.5)?)?;
    let mut noise = SeededNoise::new(seed);
    let x = noise.noise(&Tensor::zeros(&SHAPE, DType::F32, &Device::Cpu)?, Draw::Initial)?;
    let mut model = |x: &Tensor, at: Point| unet(x, at.t);
    Ok(sample(&plan, x, &mut model, &mut noise)?)
}

/// Runs on any tensor type. An elementwise function takes the place of the network.
fn run<T: HostTensor + Clone>(zeros: &T, tanh: impl Fn(&T) -> T) -> core::result::Result<Vec<f64>, Error> {
    let schedule = NoiseSchedule::ddpm()?;
    let tau = Timesteps::trailing(schedule.len(), 50)?;
    let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddim::new(0.5)?)?;
    let mut noise = SeededNoise::new(42);
    let x = noise.noise(zeros, Draw::Initial)?;
    let mut model = |x: &T, _at: Point| Ok::<_, Error>(tanh(x));
    sample(&plan, x, &mut model, &mut noise)?.to_host()
}

fn main() -> core::result::Result<(), Error> {
    let slices = run(&vec![0.0_f32; SHAPE.iter().product()], |x| x.iter().map(|x| x.tanh()).collect())?;
    let arrays = run(&Array4::<f32>::zeros(SHAPE), |x| x.mapv(f32::tanh))?;
    println!("{} elements, the first of them {:.6}", slices.len(), slices.first().copied().unwrap_or_default());
    println!("largest difference from Vec<f32>:");
    let print = |label: &str, drawn: &[f64]| println!("  {label:<20} {:.1e}", difference(drawn, &slices));
    print("ndarray, f32", &arrays);
    print("candle, f32", &images(|x, _t| x.tanh(), 42)?.to_host()?);
    print("candle, network bf16", &images(|x, _t| x.to_dtype(DType::BF16)?.tanh(), 42)?.to_host()?);
    #[cfg(feature = "burn")]
    {
        use burn_tensor::{Device, Tensor};
        let zeros = Tensor::<4>::zeros(SHAPE, &Device::flex());
        print("burn, f32", &run(&zeros, |x| x.clone().tanh())?);
    }
    Ok(())
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

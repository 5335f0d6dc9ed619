//! Prints the first latents of seed 42 beside torch's, on a CPU and on CUDA.
//!
//! ```sh
//! cargo run --example seeds
//! ```

use std::process::ExitCode;

use alphabar::noise::torch::{Cpu, Cuda, Gpu};
use alphabar::{Draw, Error, NoiseSource};
use ndarray::Array4;

/// The first four values of torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(42)), as torch 2.15 prints them.
const CPU: [f32; 4] = [1.926_915_3, 1.487_284_1, 0.900_717_2, -2.105_521];

/// The values of torch.randn(4, device="cuda") with seed 42, as published with four digits.
const CUDA: [f32; 4] = [0.1940, 2.1614, -0.1721, 0.8491];

fn main() -> Result<ExitCode, Error> {
    let latents = Array4::<f32>::zeros((1, 4, 64, 64));
    let cpu = Cpu::new(42).noise(&latents, Draw::Initial)?;
    let cuda = Cuda::new(42).on(Gpu::A100).noise(&latents, Draw::Initial)?;
    println!("seed 42        torch     alphabar");
    let mut equal = true;
    for (name, theirs, ours, tolerance) in [("CPU", CPU, cpu, 0.0), ("CUDA", CUDA, cuda, 1e-4)] {
        for (theirs, ours) in theirs.into_iter().zip(&ours) {
            println!("{name:<6} {theirs:>13.7} {ours:>12.7}");
            equal &= (theirs - ours).abs() <= tolerance;
        }
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

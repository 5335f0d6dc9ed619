//! Times a step on burn's CPU backend, and the equal step written in burn's operators, as samplers usually are:
//!
//! `cargo run --release -p alphabar-backends --features burn --example burn_step`

use std::hint::black_box;
use std::time::Instant;

use alphabar::{
    Coefficients, Combination, EpsilonAfter, Error, HostTensor, NoiseLevel, Prediction, SeededNoise, Tensor as _,
    Threshold, noise::NoiseSource,
};
use burn_tensor::{Device, Tensor};

type Images = Tensor<4>;

fn main() -> Result<(), Error> {
    let (from, to) = (NoiseLevel::from_alpha_bar(0.3)?, NoiseLevel::from_alpha_bar(0.5)?);
    println!("medians in microseconds, one thread; DDIM with η = 0 from the network's ε");
    println!("{:>18} {:>6} {:>10} {:>10} {:>6}", "shape", "clip", "operators", "alphabar", "ratio");
    for shape in [[1, 4, 64, 64], [1, 3, 1024, 1024]] {
        for threshold in [Threshold::None, Threshold::Clip(1.0)] {
            let step = Combination::new(to.signal(), 0.0, to.noise(), 0.0);
            let k = Coefficients::new(Prediction::Epsilon, &from, step, threshold, EpsilonAfter::Network)?;
            let mut noise = SeededNoise::new(1);
            let zeros = Images::zeros(shape, &Device::flex());
            let [x, m] = [noise.noise(&zeros, alphabar::Draw::Initial)?, noise.noise(&zeros, alphabar::Draw::Step(0))?];
            let by_operators = |x: Images, eps: Images| {
                let x0 = (x - eps.clone() * from.noise()) / from.signal();
                let x0 = if threshold == Threshold::None { x0 } else { x0.clamp(-1.0, 1.0) };
                x0 * to.signal() + eps * to.noise()
            };
            let mut difference = 0.0_f64;
            let (ours, theirs) = (x.clone().step(m.clone(), None, &[k])?.x, by_operators(x.clone(), m.clone()));
            for (ours, theirs) in ours.to_host()?.iter().zip(theirs.to_host()?) {
                difference = difference.max((ours - theirs).abs());
            }
            assert!(difference < 1e-5, "{difference}");
            // Interleaved. Each call owns its operands, as in a loop over steps; the copies are not timed.
            let turns = if shape[2] < 100 { 2001 } else { 101 };
            let (mut operators, mut alphabar) = (Vec::new(), Vec::new());
            for _ in 0..turns {
                let (own_x, own_m) = (x.clone() * 1.0, m.clone() * 1.0);
                let start = Instant::now();
                black_box(by_operators(own_x, own_m));
                operators.push(start.elapsed());
                let (own_x, own_m) = (x.clone() * 1.0, m.clone() * 1.0);
                let start = Instant::now();
                black_box(own_x.step(own_m, None, &[k])?);
                alphabar.push(start.elapsed());
            }
            let [operators, alphabar] = [operators, alphabar].map(|mut times| {
                times.sort_unstable();
                times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
            });
            let clip = if threshold == Threshold::None { "no" } else { "yes" };
            println!(
                "{:>18} {clip:>6} {operators:>10.1} {alphabar:>10.1} {:>6.2}",
                format!("{shape:?}"),
                operators / alphabar
            );
        }
    }
    Ok(())
}

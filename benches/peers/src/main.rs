//! Compares alphabar, the naive operator expression, and (feature `candle`) candle-transformers' DDIM and DDPM in one process,
//! with interleaved measurements. Prints medians and their ratios to alphabar's.

use alphabar::BoxError;
use alphabar_peers::{SIZES, cases, median, naive_cases, repetitions};

fn main() -> Result<(), BoxError> {
    let rounds = std::env::args().nth(1).map_or(Ok(31), |text| text.parse())?;
    for (size, rows, len) in SIZES {
        let mut all = cases(rows, len)?;
        all.extend(naive_cases(rows, len)?);
        #[cfg(feature = "candle")]
        all.extend(candle::cases(rows, len)?);
        let mut seconds = vec![Vec::new(); all.len()];
        for _ in 0..rounds {
            for (case, seconds) in all.iter_mut().zip(&mut seconds) {
                seconds.push(case.seconds(repetitions(rows * len))?);
            }
        }
        let medians: Vec<(&str, f64)> = all.iter().map(|case| case.name).zip(seconds.into_iter().map(median)).collect();
        let of = |wanted: &str| medians.iter().find(|(name, _)| *name == wanted).map(|(_, seconds)| *seconds);
        println!("{size} (medians of {rounds} rounds)");
        for (name, seconds) in &medians {
            // The case that a peer is compared with. alphabar's own cases are compared with the copy.
            let against = match *name {
                "on candle ddim" => "candle ddim",
                "on candle ddim clip" => "ddim clip",
                "on candle eta=1 clip" => "candle ddim eta=1",
                "on candle ddpm clip" => "candle ddpm",
                "candle ddim eta=1" => "ddim eta=1 clip",
                "candle ddpm" => "ddpm clip",
                name if name.starts_with("candle") || name.starts_with("ndarray") => "ddim",
                _ => "copy",
            };
            let ratio = of(against).map_or(f64::NAN, |reference| seconds / reference);
            println!("  {name:<20} {:>10.1} µs   {ratio:>7.2} × {against}", seconds * 1e6);
        }
    }
    Ok(())
}

#[cfg(feature = "candle")]
mod candle {
    use super::BoxError;
    use alphabar::{Ddim, Ddpm, NoiseSource, SeededNoise, Solver, Tensor as _, Threshold, Variance};
    use alphabar_peers::{Case, plan, values};
    use candle_core::{Device, Tensor};
    use candle_transformers::models::stable_diffusion::ddim::DDIMSchedulerConfig;
    use candle_transformers::models::stable_diffusion::ddpm::{DDPMScheduler, DDPMSchedulerConfig};
    use candle_transformers::models::stable_diffusion::schedulers::SchedulerConfig;

    pub fn cases(rows: usize, len: usize) -> Result<Vec<Case<'static>>, BoxError> {
        let mut all = Vec::new();
        let tensor = || Tensor::from_vec(values(rows * len), (rows, len), &Device::Cpu);
        for (name, eta) in [("candle ddim", 0.0), ("candle ddim eta=1", 1.0)] {
            let mut scheduler = DDIMSchedulerConfig { eta, ..Default::default() }.build(50)?;
            let timestep = scheduler.timesteps()[25];
            let (mut x, m) = (tensor()?, tensor()?);
            all.push(Case::new(name, move || {
                x = scheduler.step(&m, timestep, &x)?;
                Ok(())
            }));
        }
        let scheduler = DDPMScheduler::new(50, DDPMSchedulerConfig { clip_sample: true, ..Default::default() })?;
        let timestep = scheduler.timesteps()[25];
        let (mut x, m) = (tensor()?, tensor()?);
        all.push(Case::new("candle ddpm", move || {
            x = scheduler.step(&m, timestep, &x)?;
            Ok(())
        }));
        // alphabar's steps on candle's tensors.
        for (name, threshold) in [("on candle ddim", Threshold::None), ("on candle ddim clip", Threshold::Clip(1.0))] {
            let k = [plan(&Ddim::deterministic(), threshold)?.steps()[25].coefficients];
            let (mut x, m) = (tensor()?, tensor()?);
            all.push(Case::new(name, move || {
                x = x.clone().step(m.clone(), None, &k)?.x;
                Ok(())
            }));
        }
        let eta_1: Box<dyn Solver> = Box::new(Ddim::new(1.0)?);
        let ddpm: Box<dyn Solver> = Box::new(Ddpm::new(Variance::Posterior));
        for (name, solver) in [("on candle eta=1 clip", eta_1), ("on candle ddpm clip", ddpm)] {
            let plan = plan(&solver, Threshold::Clip(1.0))?;
            let (mut x, m) = (tensor()?, tensor()?);
            let mut noise = SeededNoise::new(1);
            all.push(Case::new(name, move || {
                x = noise.step(x.clone(), m.clone(), &alphabar::Memory::default(), &plan.steps()[25])?.x;
                Ok(())
            }));
        }
        Ok(all)
    }
}

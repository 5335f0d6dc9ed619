//! The benchmark cases, and how they are timed.

use std::hint::black_box;
use std::time::Instant;

use alphabar::{
    BoxError, Ddim, Ddpm, DpmSolverPp, Draw, Heun, NoiseSchedule, NoiseSource, Path, Plan, SeededNoise, Solver, State,
    Threshold, Timesteps, UniPc, Variance, step_in_place,
};
use ndarray::{Array2, Zip};

/// One operation to measure repeatedly.
pub struct Case<'a> {
    pub name: &'static str,
    run: Box<dyn FnMut() -> Result<(), BoxError> + 'a>,
}

impl<'a> Case<'a> {
    pub fn new(name: &'static str, run: impl FnMut() -> Result<(), BoxError> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Seconds per call, as the mean over `repetitions` calls.
    pub fn seconds(&mut self, repetitions: usize) -> Result<f64, BoxError> {
        let start = Instant::now();
        for _ in 0..repetitions {
            (self.run)()?;
        }
        Ok(start.elapsed().as_secs_f64() / repetitions as f64)
    }
}

/// Calls per measurement, so that it takes about 4 ms whatever the size.
pub fn repetitions(elements: usize) -> usize {
    (8_000_000 / elements.max(1)).clamp(1, 400)
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// The plan of diffusers' defaults: linear betas, 50 steps, ε-prediction.
pub fn plan(solver: &impl Solver, threshold: Threshold) -> Result<Plan, BoxError> {
    let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::leading(1000, 50, 0)?);
    Ok(Plan::builder(&schedule, &tau).threshold(threshold).build(solver)?)
}

/// alphabar's cases for f32 tensors of this size, and a copy of x.
pub fn cases(rows: usize, len: usize) -> Result<Vec<Case<'static>>, BoxError> {
    let count = rows * len;
    let mut all = Vec::new();

    let (x, mut y) = (values(count), values(count));
    all.push(Case::new("copy", move || {
        y.copy_from_slice(black_box(&x));
        black_box(&y);
        Ok(())
    }));

    for (name, threshold) in [("ddim", Threshold::None), ("ddim clip", Threshold::Clip(1.0))] {
        let k = [plan(&Ddim::deterministic(), threshold)?.steps()[25].coefficients];
        let (mut x, m) = (values(count), values(count));
        all.push(Case::new(name, move || Ok(step_in_place(black_box(&mut x), black_box(&m), None, &k)?)));
    }

    let eta_1: Box<dyn Solver> = Box::new(Ddim::new(1.0)?);
    let ddpm: Box<dyn Solver> = Box::new(Ddpm::new(Variance::Posterior));
    for (name, solver) in [("ddim eta=1 clip", eta_1), ("ddpm clip", ddpm)] {
        let plan = plan(&solver, Threshold::Clip(1.0))?;
        let start = Array2::from_shape_vec((rows, len), values(count))?;
        let mut state = Some((start.clone(), start));
        let mut noise = SeededNoise::new(1);
        all.push(Case::new(name, move || {
            let (x, m) = state.take().ok_or("a step failed")?;
            let stepped = noise.step(x, m, &alphabar::Memory::default(), &plan.steps()[25])?;
            state = stepped.spare.map(|spare| (stepped.x, spare));
            Ok(())
        }));
    }

    // Whole runs of about 20 calls, since these samplers have memory: Karras's σ on Stable Diffusion's table, with a given
    // output.
    let path = Path::karras(&NoiseSchedule::stable_diffusion()?, 20)?;
    let heun = Path::karras(&NoiseSchedule::stable_diffusion()?, 10)?;
    for (name, plan) in [
        ("2m, 20 calls", Plan::along(&path, &DpmSolverPp::multistep(2)?)?),
        ("unipc 3, 20 calls", Plan::along(&path, &UniPc::new(3)?)?),
        ("heun, 19 calls", Plan::along(&heun, &Heun::new())?),
    ] {
        let mut x = Some(values(count));
        all.push(Case::new(name, move || {
            let mut state = State::new(x.take().ok_or("a run failed")?);
            for step in plan.steps() {
                // Stands for a network that writes its output into the buffer it gets. The network's own time is left out.
                let m = state.take_spare().unwrap_or_else(|| vec![0.25; count]);
                state.step_given(step, black_box(m), None)?;
            }
            x = Some(state.into_x()?);
            Ok(())
        }));
    }

    let (like, mut noise) = (Array2::<f32>::zeros((rows, len)), SeededNoise::new(1));
    all.push(Case::new("noise", move || {
        black_box(noise.noise(&like, Draw::Initial)?);
        Ok(())
    }));
    let (mut z, mut noise) = (Some(Array2::<f32>::zeros((rows, len))), SeededNoise::new(1));
    all.push(Case::new("noise in place", move || {
        let spare = z.take().ok_or("the noise failed")?;
        z = Some(black_box(noise.noise_into(spare, Draw::Initial)?));
        Ok(())
    }));
    Ok(all)
}

/// The deterministic step as an ndarray user writes it, operator by operator, and as one `Zip`.
pub fn naive_cases(rows: usize, len: usize) -> Result<Vec<Case<'static>>, BoxError> {
    let step = plan(&Ddim::deterministic(), Threshold::None)?.steps()[25].clone();
    let [signal, noise, to_signal, to_noise] =
        [step.from.signal(), step.from.noise(), step.to.signal(), step.to.noise()].map(|value| value as f32);
    let start = Array2::from_shape_vec((rows, len), values(rows * len))?;
    let (mut x, m) = (start.clone(), start.clone());
    let operators = Case::new("ndarray operators", move || {
        let x0 = (&x - &(&m * noise)) / signal;
        x = &x0 * to_signal + &m * to_noise;
        black_box(&x);
        Ok(())
    });
    let (mut x, m) = (start.clone(), start);
    let zip = Case::new("ndarray Zip", move || {
        Zip::from(&mut x).and(&m).for_each(|x, m| *x = (*x - m * noise) / signal * to_signal + m * to_noise);
        black_box(&x);
        Ok(())
    });
    Ok(vec![operators, zip])
}

/// The sizes of docs/performance.md.
pub const SIZES: [(&str, usize, usize); 3] =
    [("1x4x64x64", 1, 4 * 64 * 64), ("1x3x1024x1024", 1, 3 * 1024 * 1024), ("64x3x256x256", 64, 3 * 256 * 256)];

//! Schedules, timesteps and plans: the work that is done once, before the first network call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

use alphabar::{Ddim, Ddpm, NoiseSchedule, Plan, Prediction, Threshold, Timesteps};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

#[divan::bench]
fn schedule_linear_1000() -> NoiseSchedule {
    NoiseSchedule::linear(black_box(1000), 1e-4, 0.02).unwrap()
}

#[divan::bench]
fn schedule_cosine_1000() -> NoiseSchedule {
    NoiseSchedule::cosine(black_box(1000)).unwrap()
}

#[divan::bench]
fn schedule_zero_terminal_snr_1000(bencher: Bencher) {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    bencher.bench_local(|| black_box(&schedule).rescale_zero_terminal_snr().unwrap());
}

#[divan::bench(args = [10, 50, 1000])]
fn plan_ddim(bencher: Bencher, steps: usize) {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, steps).unwrap());
    bencher.bench_local(|| Plan::new(black_box(&schedule), &tau, &Ddim::deterministic()).unwrap());
}

#[divan::bench(args = [10, 50, 1000])]
fn plan_ddim_eta_1_velocity_clip(bencher: Bencher, steps: usize) {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, steps).unwrap());
    let builder = Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).threshold(Threshold::Clip(1.0));
    let solver = Ddim::new(1.0).unwrap();
    bencher.bench_local(|| black_box(builder).build(&solver).unwrap());
}

#[divan::bench(args = [10, 50, 1000])]
fn plan_ddpm(bencher: Bencher, steps: usize) {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, steps).unwrap());
    bencher.bench_local(|| Plan::new(black_box(&schedule), &tau, &Ddpm::default()).unwrap());
}

#[divan::bench]
fn timesteps_trailing_50() -> Timesteps {
    Timesteps::trailing(black_box(1000), 50).unwrap()
}

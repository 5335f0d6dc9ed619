//! Pseudo numerical methods for diffusion models (Liu et al. 2022, arXiv 2202.09778), typed from the paper line by line.

use alphabar::{
    Coefficients, Conditioning, Ddim, Middle, NoiseLevel, NoiseSchedule, Path, PathEnd, Plan, Pndm, Prediction,
    Process, Rk4, Scale, Step, Timesteps,
};

use crate::common::methods::{AnyLevel, path, scale_free, sigmas};

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];
const LAMBDAS: [f64; 9] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8, 2.0];

fn denoise(sigma: f64, y: f64) -> f64 {
    (0.7 * y + 0.3 * sigma.ln()).sin()
}

/// ε_θ(x, t) of x in the variance-preserving scale.
fn epsilon(x: f64, alpha_bar: f64) -> f64 {
    let sigma = ((1.0 - alpha_bar) / alpha_bar).sqrt();
    let y = x / alpha_bar.sqrt();
    (y - denoise(sigma, y)) / sigma
}

/// The transfer part φ(x_t, ε_t, t, t−δ).
fn transfer(x: f64, e: f64, from: f64, to: f64) -> f64 {
    to.sqrt() / from.sqrt() * x
        - (to - from) / (from.sqrt() * (((1.0 - to) * from).sqrt() + ((1.0 - from) * to).sqrt())) * e
}

fn alpha_bar(sigma: f64) -> f64 {
    1.0 / (1.0 + sigma * sigma)
}

fn alpha_bars(path: &Path) -> Vec<f64> {
    sigmas(path).into_iter().map(alpha_bar).collect()
}

#[track_caller]
fn close(found: f64, wanted: f64, what: impl core::fmt::Debug) {
    assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what:?}: {found:e}, not {wanted:e}");
}

/// The state machine of diffusers' `step_plms`, with its `counter`, `cur_sample` and `ets`.
#[test]
fn plms_calls_twice_at_its_second_point() {
    for scale in SCALES {
        for points in 1..LAMBDAS.len() {
            let path = path(scale, &LAMBDAS[..=points]);
            let a = alpha_bars(&path);
            // t₁, t₂, t₂, t₃, …, and where each call's x goes.
            let calls: Vec<(usize, usize, usize)> = (0..=points)
                .map(|counter| match counter {
                    0 => (0, 0, 1),
                    1 => (1, 0, 1),
                    _ => (counter - 1, counter - 1, counter),
                })
                .collect();
            let mut sample = 0.4 * a[0].sqrt();
            let mut cur_sample = sample;
            let mut ets: Vec<f64> = Vec::new();
            for (counter, (received, from, to)) in calls.into_iter().enumerate() {
                let output = epsilon(sample, a[received]);
                if counter != 1 {
                    ets.push(output);
                }
                let n = ets.len();
                let back = |j: usize| ets[n - 1 - j];
                let e = match (counter, n) {
                    (0, _) => {
                        cur_sample = sample;
                        output
                    }
                    (1, _) => {
                        sample = cur_sample;
                        f64::midpoint(output, back(0))
                    }
                    (_, 2) => (3.0 * back(0) - back(1)) / 2.0,
                    (_, 3) => (23.0 * back(0) - 16.0 * back(1) + 5.0 * back(2)) / 12.0,
                    _ => (55.0 * back(0) - 59.0 * back(1) + 37.0 * back(2) - 9.0 * back(3)) / 24.0,
                };
                sample = transfer(sample, e, a[from], a[to]);
            }
            let y = sample / a[points].sqrt();
            close(scale_free(&path, &Pndm::plms(), 0.4, |_| f64::NAN, denoise), y, (scale, points));
        }
    }
}

/// Algorithm 2: three steps of PRK, then PLMS.
#[test]
fn algorithm_2_is_prk_then_plms() {
    for scale in SCALES {
        for points in 1..LAMBDAS.len() {
            let path = path(scale, &LAMBDAS[..=points]);
            let sigmas = sigmas(&path);
            for middle in [Middle::Time, Middle::Sigma] {
                let a = alpha_bars(&path);
                let mut x = 0.4 * a[0].sqrt();
                let mut ets: Vec<f64> = Vec::new();
                for i in 0..points {
                    let e = if i < 3 {
                        // The test's networks receive λ = −ln σ.
                        let half = alpha_bar(match middle {
                            Middle::Time => (0.5 * (sigmas[i].ln() + sigmas[i + 1].ln())).exp(),
                            _ => 0.5 * (sigmas[i] + sigmas[i + 1]),
                        });
                        let e1 = epsilon(x, a[i]);
                        let x1 = transfer(x, e1, a[i], half);
                        let e2 = epsilon(x1, half);
                        let x2 = transfer(x, e2, a[i], half);
                        let e3 = epsilon(x2, half);
                        let x3 = transfer(x, e3, a[i], a[i + 1]);
                        let e4 = epsilon(x3, a[i + 1]);
                        ets.push(e1);
                        1.0 / 6.0 * (e1 + 2.0 * e2 + 2.0 * e3 + e4)
                    } else {
                        ets.push(epsilon(x, a[i]));
                        1.0 / 24.0 * (55.0 * ets[i] - 59.0 * ets[i - 1] + 37.0 * ets[i - 2] - 9.0 * ets[i - 3])
                    };
                    x = transfer(x, e, a[i], a[i + 1]);
                }
                let y = x / a[points].sqrt();
                let solver = Pndm::with_runge_kutta(middle);
                close(scale_free(&path, &solver, 0.4, |_| f64::NAN, denoise), y, (scale, points, middle));
            }
        }
    }
}

fn coefficients(plan: &Plan) -> Vec<Coefficients> {
    plan.steps().iter().map(|step| step.coefficients).collect()
}

/// As long as it starts, with the middle in σ, it is the classical method.
#[test]
fn the_start_in_sigma_is_the_classical_method() {
    let path = path(Scale::VariancePreserving, &LAMBDAS[..4]);
    let start = Plan::along(&path, &Pndm::with_runge_kutta(Middle::Sigma)).unwrap();
    assert_eq!(coefficients(&start), coefficients(&Plan::along(&path, &Rk4::new()).unwrap()));
    let first = |plan: &Plan| plan.steps()[0].coefficients;
    let ddim = Plan::along(&path, &Ddim::deterministic()).unwrap();
    let plms = Plan::along(&path, &Pndm::plms()).unwrap();
    assert!((first(&ddim).model - first(&plms).model).abs() < 1e-15, "the transfer part is DDIM's");
}

/// what the network of Stable Diffusion receives, as in diffusers with and without `skip_prk_steps`.
#[test]
fn a_trained_table_passes_these_t() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 10, 1).unwrap().ending(PathEnd::FirstLevel);
    let received = |solver: &Pndm| {
        let plan = Plan::new(&schedule, &tau, solver).unwrap();
        for step in plan.steps() {
            assert_eq!(step.from, schedule.level_at(step.t).unwrap());
        }
        plan.steps().iter().map(|step| step.t).collect::<Vec<_>>()
    };
    assert_eq!(received(&Pndm::plms()), [901.0, 801.0, 801.0, 701.0, 601.0, 501.0, 401.0, 301.0, 201.0, 101.0, 1.0]);
    let with_prk = received(&Pndm::with_runge_kutta(Middle::Time));
    assert_eq!(with_prk[..9], [901.0, 851.0, 851.0, 801.0, 801.0, 751.0, 751.0, 701.0, 701.0]);
    assert_eq!(with_prk[11..], [601.0, 601.0, 501.0, 401.0, 301.0, 201.0, 101.0, 1.0]);
}

/// An encoding step conditioned on its end has its middle at the same point as one conditioned on its start.
#[test]
fn the_middle_of_an_encoding_step_is_in_it() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 10, 1).unwrap().ending(PathEnd::FirstLevel);
    let received = |conditioning: Conditioning| {
        let tau = tau.clone().encoding(conditioning);
        let plan = Plan::new(&schedule, &tau, &Pndm::with_runge_kutta(Middle::Time)).unwrap();
        plan.steps().iter().map(|step| step.t).collect::<Vec<_>>()
    };
    let source = received(Conditioning::Source);
    assert_eq!(source[..8], [0.0, 0.5, 0.5, 1.0, 1.0, 51.0, 51.0, 101.0]);
    assert_eq!(received(Conditioning::Destination)[..8], [1.0, 0.5, 0.5, 1.0, 101.0, 51.0, 51.0, 101.0]);
}

fn ages(steps: &[Step]) -> Vec<Vec<usize>> {
    steps.iter().map(|step| step.coefficients.history.iter().map(|(age, _)| age).collect()).collect()
}

/// Which outputs each call reads, and which are kept.
#[test]
fn only_the_first_calls_of_the_steps_are_kept() {
    let path = path(Scale::VariancePreserving, &LAMBDAS);
    let plms = Plan::along(&path, &Pndm::plms()).unwrap();
    assert_eq!(ages(plms.steps())[..6], [vec![], vec![1], vec![2], vec![1, 3], vec![1, 2, 4], vec![1, 2, 3]]);
    assert!(plms.steps()[1].coefficients.kept.is_none());
    let prk = Plan::along(&path, &Pndm::with_runge_kutta(Middle::Sigma)).unwrap();
    assert_eq!(ages(prk.steps())[12..15], [vec![4, 8, 12], vec![1, 5, 9], vec![1, 2, 6]]);
}

/// From pure noise the first step has one call, and the start is made after it; to clean data nothing is read.
#[test]
fn the_start_waits_for_finite_levels() {
    let sigmas = core::iter::once(f64::INFINITY).chain(LAMBDAS.iter().map(|lambda| (-lambda).exp()));
    let path = Path::from_sigmas(&AnyLevel(Scale::VariancePreserving), sigmas).unwrap();
    let plan = Plan::builder_along(&path).prediction(Prediction::Velocity).build(&Pndm::plms()).unwrap();
    assert_eq!(plan.len(), path.len() + 1);
    assert_eq!(ages(plan.steps())[..4], [vec![], vec![], vec![1], vec![2]]);
    assert_eq!(ages(plan.steps()).last(), Some(&vec![]));
    let level: NoiseLevel = AnyLevel(Scale::Flow).at_time(0.3).unwrap().level;
    close(level.sigma(), (-0.3_f64).exp(), "the test's process");
}

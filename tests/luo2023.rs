//! Samplers of few-step networks: LCM (Luo et al. 2023, arXiv 2310.04378), TCD (Zheng et al. 2024, arXiv 2402.19159) and multistep
//! consistency sampling (Song et al. 2023, Algorithm 1), typed from the papers and from diffusers' programs.

use alphabar::{Ddim, Flow, Lcm, NoiseSchedule, Path, PathEnd, Plan, Prediction, Renoise, Scale, Step, Tcd, Timesteps};

#[track_caller]
fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-13 * (1.0 + wanted.abs()), "{found:e}, not {wanted:e}");
}

/// x′ of a step for numbers x, ε and z.
fn next(step: &Step, [x, epsilon, z]: [f64; 3]) -> f64 {
    let k = &step.coefficients;
    k.x * x + k.model * epsilon + k.d * z
}

const NUMBERS: [f64; 3] = [0.7, -0.4, 1.3];
const TIMES: [usize; 4] = [999, 759, 499, 259];

#[test]
fn lcm_is_that_of_the_paper() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let path = Path::from_times(&schedule, TIMES.map(|t| t as f64)).unwrap();
    let plan = Plan::along(&path, &Lcm::default()).unwrap();
    let [x, epsilon, z] = NUMBERS;
    for (i, step) in plan.steps().iter().enumerate() {
        let alpha_bar = |t: usize| schedule.level(t).unwrap().alpha_bar();
        let t = TIMES[i];
        let x0 = (x - (1.0 - alpha_bar(t)).sqrt() * epsilon) / alpha_bar(t).sqrt();
        let scaled = 10.0 * t as f64;
        let c_skip = 0.25 / (scaled * scaled + 0.25);
        let c_out = scaled / (scaled * scaled + 0.25).sqrt();
        let denoised = c_out * x0 + c_skip * x;
        let wanted = match TIMES.get(i + 1) {
            Some(&s) => alpha_bar(s).sqrt() * denoised + (1.0 - alpha_bar(s)).sqrt() * z,
            None => denoised,
        };
        close(next(step, NUMBERS), wanted);
    }
    assert!((0.25 / (2590.0_f64.powi(2) + 0.25) - 3.7e-8).abs() < 1e-9);
    assert!(plan.lint().is_empty(), "{:?}", plan.lint());
    for scaling in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Lcm::new(scaling).is_err());
    }
}

#[test]
fn tcd_is_that_of_the_paper() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::explicit(1000, TIMES).unwrap().ending(PathEnd::FirstLevel);
    let alpha_bar = |t: usize| schedule.level(t).unwrap().alpha_bar();
    let [x, epsilon, z] = NUMBERS;
    for gamma in [0.0, 0.3, 0.35, 1.0] {
        let plan = Plan::new(&schedule, &tau, &Tcd::new(gamma, &schedule).unwrap()).unwrap();
        for (i, step) in plan.steps().iter().enumerate() {
            let (t, s) = (TIMES[i], TIMES.get(i + 1).copied().unwrap_or(0));
            let x0 = (x - (1.0 - alpha_bar(t)).sqrt() * epsilon) / alpha_bar(t).sqrt();
            let q = ((1.0 - gamma) * s as f64).floor() as usize;
            let noised = alpha_bar(q).sqrt() * x0 + (1.0 - alpha_bar(q)).sqrt() * epsilon;
            let ratio = alpha_bar(s) / alpha_bar(q);
            let last = i + 1 == TIMES.len();
            let wanted = if last { noised } else { ratio.sqrt() * noised + (1.0 - ratio).sqrt() * z };
            close(next(step, NUMBERS), wanted);
        }
        assert!(plan.lint().is_empty(), "{:?}", plan.lint());
        let ddim = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
        let same = plan.steps().iter().zip(ddim.steps()).all(|(a, b)| a.coefficients == b.coefficients);
        assert_eq!(same, gamma == 0.0);
    }
    for gamma in [-0.1, 1.1, f64::NAN] {
        assert!(Tcd::new(gamma, &schedule).is_err());
    }
    // To clean data, the last step returns x̂₀.
    let plan = Plan::new(&schedule, &tau.ending(PathEnd::Clean), &Tcd::new(0.3, &schedule).unwrap()).unwrap();
    assert_eq!((plan.steps()[3].coefficients.a, plan.steps()[3].coefficients.d), (1.0, 0.0));
}

/// x′ = (1−σ′)·x̂₀ + σ′·z on flow levels; on others the levels' signal and noise. An encoding path is refused.
#[test]
fn consistency_sampling_makes_all_noise_anew() {
    let path = Flow::default().path_through([1.0, 0.75, 0.5, 0.25]).unwrap();
    let plan = Plan::builder_along(&path).prediction(Prediction::Flow).build(&Renoise).unwrap();
    for (step, [from, to]) in plan.steps().iter().zip([[1.0, 0.75], [0.75, 0.5], [0.5, 0.25], [0.25, 0.0]]) {
        let [x, u, z] = NUMBERS;
        close(next(step, NUMBERS), (1.0 - to) * (x - from * u) + to * z);
    }
    let path = crate::common::methods::path(Scale::VarianceExploding, &[-1.0, 0.0, 1.0]);
    let plan = Plan::along(&path, &Renoise).unwrap();
    close(plan.steps()[0].coefficients.d, 1.0);
    for solver in [&Renoise as &dyn alphabar::Solver, &Lcm::default()] {
        let encoding = path.clone().encoding(alphabar::Conditioning::Destination);
        assert!(Plan::along(&encoding, &solver).is_err());
    }
}

//! DPM++ SDE and DPM++ 2S ancestral: k-diffusion's formulas, their noise, and what comes of it.

use alphabar::noise::{Brownian, BrownianPath};
use alphabar::{DpmSolverPp, Draw, Error, NoiseSchedule, NoiseSource, Path, Plan, Prediction, Scale, Step, TwoStage};
use proptest::prelude::*;

use crate::common::methods::{lambda, path, run_with_noise, scale_free};

/// k-diffusion's ancestral step from σ to σ′.
fn ancestral(from: f64, to: f64, eta: f64) -> (f64, f64) {
    let up = to.min(eta * (to * to * (from * from - to * to) / (from * from)).sqrt());
    ((to * to - up * up).sqrt(), up)
}

/// `sample_dpmpp_sde` with r = ½, in t = −ln σ.
fn sde(sigmas: &[f64], mut x: f64, eta: f64, z: &[f64], x0: impl Fn(f64, f64) -> f64) -> f64 {
    let mut z = z.iter();
    for pair in sigmas.windows(2) {
        let (t, next) = (-pair[0].ln(), -pair[1].ln());
        let middle = 0.5 * (t + next);
        let denoised = x0(pair[0], x);
        let (down, up) = ancestral(pair[0], (-middle).exp(), eta);
        let s = -down.ln();
        let u = (-s).exp() / (-t).exp() * x - (t - s).exp_m1() * denoised + z.next().unwrap() * up;
        let (down, up) = ancestral(pair[0], pair[1], eta);
        let s = -down.ln();
        x = (-s).exp() / (-t).exp() * x - (t - s).exp_m1() * x0((-middle).exp(), u) + z.next().unwrap() * up;
    }
    x
}

/// `sample_dpmpp_2s_ancestral`.
fn two_s(sigmas: &[f64], mut x: f64, eta: f64, z: &[f64], x0: impl Fn(f64, f64) -> f64) -> f64 {
    for (pair, z) in sigmas.windows(2).zip(z.chunks(2)) {
        let (down, up) = ancestral(pair[0], pair[1], eta);
        let (t, next) = (-pair[0].ln(), -down.ln());
        let h = next - t;
        let middle = (-(t + 0.5 * h)).exp();
        let u = middle / pair[0] * x - (-0.5 * h).exp_m1() * x0(pair[0], x);
        x = down / pair[0] * x - (-h).exp_m1() * x0(middle, u) + z[1] * up;
    }
    x
}

fn denoiser(sigma: f64, x: f64) -> f64 {
    (0.7 * x / (1.0 + sigma) + 0.2).sin()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_are_those_of_k_diffusion(
        gaps in prop::collection::vec(0.05_f64..1.5, 5),
        z in prop::collection::vec(-2.0_f64..2.0, 10),
        eta in 0.0_f64..=1.0,
        x in -20.0_f64..20.0,
        scale in 0..3_usize,
    ) {
        let scale = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow][scale];
        let mut lambdas = vec![-2.5];
        lambdas.extend(gaps.iter().scan(-2.5, |at, gap| { *at += gap; Some(*at) }));
        let sigmas: Vec<f64> = lambdas.iter().map(|lambda| (-lambda).exp()).collect();
        let path = path(scale, &lambdas);
        for eta in [eta, 1.0] {
            let found = scale_free(&path, &TwoStage::sde(eta).unwrap(), x, |row| z[row], denoiser);
            let wanted = sde(&sigmas, x, eta, &z, denoiser);
            prop_assert!((found - wanted).abs() < 1e-10, "SDE: {found} for {wanted}");
            let found = scale_free(&path, &TwoStage::ancestral(eta).unwrap(), x, |row| z[row], denoiser);
            let wanted = two_s(&sigmas, x, eta, &z, denoiser);
            prop_assert!((found - wanted).abs() < 1e-10, "2S: {found} for {wanted}");
        }
    }

    #[test]
    fn without_noise_both_are_2s(gaps in prop::collection::vec(0.05_f64..1.5, 5), x in -3.0_f64..3.0) {
        let mut lambdas = vec![-2.5];
        lambdas.extend(gaps.iter().scan(-2.5, |at, gap| { *at += gap; Some(*at) }));
        let path = path(Scale::VariancePreserving, &lambdas);
        let end = |solver: &dyn alphabar::Solver| scale_free(&path, &solver, x, |_| 0.0, denoiser);
        let wanted = end(&DpmSolverPp::single_step(2).unwrap());
        for solver in [TwoStage::sde(0.0).unwrap(), TwoStage::ancestral(0.0).unwrap()] {
            prop_assert!((end(&solver) - wanted).abs() < 1e-12, "{} for {wanted}", end(&solver));
        }
    }
}

/// The error of the variance at the end, for Gaussian data and the exact denoiser, with this correlation of the two z of a step.
fn error_of_variance(solver: &TwoStage, steps: usize, correlation: impl Fn(&Step, &Step) -> f64) -> f64 {
    const DATA: f64 = 0.25;
    let lambdas: Vec<f64> = (0..=steps).map(|i| -2.0 + 3.5 * i as f64 / steps as f64).collect();
    let path = path(Scale::VariancePreserving, &lambdas);
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(solver).unwrap();
    let exact = |level: &alphabar::NoiseLevel| level.signal().powi(2) * DATA + level.noise().powi(2);
    // m = g·x
    let g = |step: &Step| step.from.signal() * DATA / exact(&step.from);
    let mut variance = exact(&plan.start());
    for pair in plan.steps().chunks(2) {
        let (first, second) = (&pair[0].coefficients, &pair[1].coefficients);
        let (inner, end) = (first.x + first.model * g(&pair[0]), second.x + second.model * g(&pair[1]));
        // u = inner·x + d·z′ and x′ = end·u + (what is read of the first row) + d·z
        let read =
            second.history.weight(1) * first.kept.map_or(0.0, |kept| kept.folded_x + kept.folded_model * g(&pair[0]));
        let (z, z_inner) = (second.d, end * first.d);
        variance = (end * inner + read).powi(2) * variance
            + z * z
            + z_inner * z_inner
            + 2.0 * correlation(&pair[0], &pair[1]) * z * z_inner;
    }
    (variance - exact(&plan.end())).abs()
}

/// With the increments of one Brownian motion the variance is right to second order, with independent noise to first order.
#[test]
fn the_two_noises_of_a_step_belong_together() {
    let brownian = |inner: &Step, end: &Step| {
        let (t, m, s) = (inner.from.snr(), inner.to.snr(), end.to.snr());
        ((m - t) / (s - t)).sqrt()
    };
    let order = |solver: TwoStage, correlation: &dyn Fn(&Step, &Step) -> f64| {
        let error = |steps| error_of_variance(&solver, steps, correlation);
        (error(64) / error(256)).log2() / 2.0
    };
    let sde = TwoStage::sde(1.0).unwrap();
    let (together, apart) = (order(sde, &brownian), order(sde, &|_, _| 0.0));
    assert!((together - 2.0).abs() < 0.1, "{together}");
    assert!((apart - 1.0).abs() < 0.1, "{apart}");
}

#[test]
fn brownian_noise_is_one_motion_over_both_calls() {
    let path = path(Scale::VariancePreserving, &[-1.0, 0.0, 0.7, 1.5]);
    let plan = Plan::along(&path, &TwoStage::sde(1.0).unwrap()).unwrap();
    let mut noise = Brownian::new(5, &plan);
    let like = ndarray::Array2::<f64>::zeros((1, 3));
    for (index, pair) in plan.steps().chunks(2).enumerate() {
        let (t, m, s) = (pair[0].from.snr(), pair[0].to.snr(), pair[1].to.snr());
        let [inner, whole] = [2 * index, 2 * index + 1].map(|row| noise.noise(&like, Draw::Step(row)).unwrap());
        let mut rest = [0.0; 3];
        BrownianPath::new(5, 0).increment(m, s, &mut rest).unwrap();
        for (e, rest) in rest.iter().enumerate() {
            let found = whole[(0, e)] * (s - t).sqrt() - inner[(0, e)] * (m - t).sqrt();
            assert!((found - rest).abs() < 1e-12, "{found} for {rest}");
        }
    }
}

/// A run that starts from its own x again does not need u.
#[test]
fn the_second_call_goes_back_to_the_x_of_the_first() {
    let path = path(Scale::VariancePreserving, &[-1.0, 0.5]);
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&TwoStage::sde(1.0).unwrap()).unwrap();
    let end = |z: f64| run_with_noise(plan.steps(), 0.8, |row| if row == 0 { z } else { 0.0 }, |_, _| 0.25);
    assert_eq!(end(-3.0).to_bits(), end(2.0).to_bits());
    let kept = plan.steps()[0].coefficients.kept.unwrap();
    assert_eq!((kept.output, kept.folded_x, kept.folded_model, kept.lasts), (None, 1.0, 0.0, 1));
    assert!(plan.to_string().contains("y₋ⱼ: the x of j calls before"), "{plan}");
    assert!(plan.lint().iter().all(|lint| !matches!(lint, alphabar::Lint::LosesSignal { .. })), "{:?}", plan.lint());
    assert!((lambda(&plan.end()) - 0.5).abs() < 1e-12);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for eta in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(TwoStage::sde(eta), Err(Error::Parameter { name: "η", .. })), "{eta}");
        assert!(TwoStage::ancestral(eta).is_err(), "{eta}");
    }
    let path = path(Scale::VariancePreserving, &[-1.0, 0.0, 1.0]);
    let bare = Path::new(path.points().to_vec()).unwrap();
    for solver in [TwoStage::sde(1.0).unwrap(), TwoStage::ancestral(0.5).unwrap()] {
        let error = Plan::along(&bare, &solver).unwrap_err();
        assert!(error.to_string().contains("Path::of_process"), "{error}");
    }
    // Between the last two points, and not past the table's end.
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    for steps in [1, 2, 7] {
        for solver in [TwoStage::sde(1.0).unwrap(), TwoStage::ancestral(1.0).unwrap()] {
            assert_eq!(Plan::along(&Path::karras(&schedule, steps).unwrap(), &solver).unwrap().len(), 2 * steps - 1);
        }
    }
}

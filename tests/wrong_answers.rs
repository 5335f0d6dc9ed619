//! Answers that other implementations get wrong: the right one, derived naively, and what goes wrong elsewhere.
//!
//! "diffusers" is diffusers 0.42.1; what it computes is recorded in `tests/parity` and asserted as a deviation in
//! `tests/recorded/diffusers.rs`. "Ports" are Rust crates that carry a copy of one of its scheduler files.

use std::f64::consts::PI;

use alphabar::reference::Gaussian;
use alphabar::{
    BoxError, Conditioning, Ddim, Ddpm, Draw, Element, EpsilonAfter, Error, Lint, NoNoise, NoiseLevel, NoiseSchedule,
    PathEnd, Plan, Point, Prediction, Respacing, Solver, Tensor, Threshold, Timesteps, Variance, Weights, forward,
    noise, predictor, sample, slerp,
};
use ndarray::{Array1, Array2, arr2};
use proptest::prelude::*;

/// ᾱ_t = ∏ (1−β_k), k ≤ t, in plain f64.
fn product(betas: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let product = betas.into_iter().scan(1.0, |product, beta| {
        *product *= 1.0 - beta;
        Some(*product)
    });
    product.collect()
}

/// β_t = b₀ + (b₁ − b₀)·t/(T−1), T = 1000.
fn linear(start: f64, end: f64) -> Vec<f64> {
    (0..1000).map(|t| start + (end - start) * f64::from(t) / 999.0).collect()
}

fn scaled_linear() -> Vec<f64> {
    linear(0.00085_f64.sqrt(), 0.012_f64.sqrt()).into_iter().map(|root| root * root).collect()
}

/// (√ᾱ_t, √(1−ᾱ_t)).
fn signal_and_noise(alpha_bar: f64) -> (f64, f64) {
    (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt())
}

#[track_caller]
fn assert_close(found: f64, right: f64, relative: f64) {
    assert!((found - right).abs() <= relative * right.abs(), "{found}, not {right}");
}

fn ddpm_schedule() -> NoiseSchedule {
    NoiseSchedule::ddpm().unwrap()
}

fn trailing_plan(schedule: &NoiseSchedule, steps: usize, solver: &impl Solver) -> Plan {
    Plan::new(schedule, &Timesteps::trailing(schedule.len(), steps).unwrap(), solver).unwrap()
}

/// The methods that can take a last step to clean data.
fn methods() -> Vec<Box<dyn Solver>> {
    vec![
        Box::new(Ddim::deterministic()),
        Box::new(Ddim::new(0.5).unwrap()),
        Box::new(Ddim::new(1.0).unwrap()),
        Box::new(Ddim::sigma_hat()),
        Box::new(Ddpm::new(Variance::Posterior)),
        Box::new(Ddpm::new(Variance::Beta)),
    ]
}

// --------------------------------------------------------------------------------------------------------------- schedules

/// Nichol and Dhariwal 2021, Eq. 17: β_t = min(1 − f((t+1)/T)/f(t/T), 0.999). Every Rust port divides the integers t/T, which makes
/// f(0)/f(0), so that β = 0 for all t but the last.
#[test]
fn the_cosine_schedule_divides_numbers_and_not_integers() {
    let cosine = NoiseSchedule::cosine(1000).unwrap();
    let f = |u: f64| ((u + 0.008) / 1.008 * PI / 2.0).cos().powi(2);
    for t in 0..1000_u32 {
        let right = (1.0 - f(f64::from(t + 1) / 1000.0) / f(f64::from(t) / 1000.0)).min(0.999);
        let found = cosine.beta(t as usize).unwrap();
        assert!((found - right).abs() < 1e-14 + 1e-12 * right, "β[{t}] = {found}, not {right}");
    }
    assert_close(cosine.beta(0).unwrap(), 4.128e-5, 2e-4);
    assert_close(cosine.beta(500).unwrap(), 3.1557e-3, 1e-5);
    assert_eq!(cosine.beta(999).unwrap(), 0.999);

    let integers = (0..1000_u32).map(|t| 1.0 - f(f64::from((t + 1) / 1000)) / f(f64::from(t / 1000)));
    assert!(matches!(NoiseSchedule::from_betas(integers), Err(Error::Beta { t: 0, value: 0.0 })));
}

/// diffusers takes β lists as they come: 1.5 makes ᾱ negative, −0.1 makes it rise, NaN makes the rest NaN.
#[test]
fn bad_betas_are_errors_that_name_them() {
    for bad in [1.5, -0.1, f64::NAN, 0.0, 1.0, f64::INFINITY] {
        let error = NoiseSchedule::from_betas([0.1, 0.2, bad, 0.3]).unwrap_err();
        assert!(matches!(error, Error::Beta { t: 2, value } if value.to_bits() == bad.to_bits()), "{error}");
    }
}

/// diffusers keeps T from the configuration and fails with the index of a table, at the first step.
#[test]
fn a_beta_list_of_another_length_than_t_is_an_error_before_the_first_step() {
    let schedule = NoiseSchedule::from_betas([0.1, 0.2, 0.3]).unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let error = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap_err();
    assert!(matches!(error, Error::TrainSteps { expected: 3, found: 1000 }), "{error}");
}

/// 1 − ᾱ_0 = β_0. An f32 table holds ᾱ_0 = 0.9999, and 1 − 0.9999f32 is off by 1.7e-4.
#[test]
fn little_noise_is_held_to_full_precision() {
    let in_f32 = f64::from(1.0 - (1.0 - 1e-4_f32));
    assert!((in_f32 / 1e-4 - 1.0).abs() > 1.6e-4);
    assert_eq!(ddpm_schedule().level(0).unwrap().one_minus_alpha_bar(), 1e-4);
}

/// ᾱ_999 of the f32 tables in diffusers: 4.035830352e-5, 4.660095088e-3 and 2.428734991e-9.
#[test]
fn the_last_alpha_bar_is_the_product_to_full_precision() {
    let f = |u: f64| ((u + 0.008) / 1.008 * PI / 2.0).cos().powi(2);
    let cosine = (0..1000).map(|t| (1.0 - f(f64::from(t + 1) / 1e3) / f(f64::from(t) / 1e3)).min(0.999));
    let cases = [
        (ddpm_schedule(), product(linear(1e-4, 0.02)), 4.035_830_352e-5),
        (NoiseSchedule::stable_diffusion().unwrap(), product(scaled_linear()), 4.660_095_088e-3),
        (NoiseSchedule::cosine(1000).unwrap(), product(cosine), 2.428_734_991e-9),
    ];
    for (schedule, right, in_f32) in cases {
        let found = schedule.level(999).unwrap().alpha_bar();
        assert_close(found, right[999], 1e-12);
        assert_close(found, in_f32, 2e-5);
        assert!((found - in_f32).abs() > 1e-8 * found);
    }
}

// --------------------------------------------------------------------------------------------------------------- timesteps

/// t_k = round(T − k·T/S) − 1. A port gives 8 steps, and allocates without end at S = 1001.
#[test]
fn trailing_has_seven_steps_at_s_7_and_none_at_s_1001() {
    let right: Vec<usize> =
        (0..7).map(|k| (1000.0 - f64::from(k) * 1000.0 / 7.0).round_ties_even() as usize - 1).collect();
    assert_eq!(right, [999, 856, 713, 570, 428, 285, 142]);
    assert_eq!(Timesteps::trailing(1000, 7).unwrap().as_slice(), right);
    let error = Timesteps::trailing(1000, 1001).unwrap_err();
    assert!(matches!(error, Error::Count { name: "S", value: 1001, min: 1, max: 1000 }), "{error}");
}

/// numpy's `arange(T, 0, −T/S)` has ⌈T/(T/S)⌉ entries in f64, which is S + 1 for 62 S of 1000; Python then steps at t = −1.
#[test]
fn trailing_has_exactly_s_steps_that_end_at_or_above_zero() {
    let mut numpy_has_more = Vec::new();
    for steps in 1..=1000 {
        let tau = Timesteps::trailing(1000, steps).unwrap();
        assert_eq!(tau.len(), steps);
        assert_eq!(tau.as_slice()[0], 999);
        assert!(tau.as_slice().is_sorted_by(|a, b| a > b), "S = {steps}");
        if (1000.0 / (1000.0 / steps as f64)).ceil() as usize != steps {
            numpy_has_more.push(steps);
        }
    }
    assert_eq!(numpy_has_more.len(), 62);
    assert_eq!(numpy_has_more[..4], [61, 103, 121, 122]);
}

/// The values are those of numpy's f64: 1000 − 3·1000/48 = 937.5 would round to the even 938, but f64 has a little less.
#[test]
fn trailing_rounds_the_numbers_that_f64_has() {
    assert_eq!(Timesteps::trailing(1000, 48).unwrap().as_slice()[3], 936);
    assert_eq!(Timesteps::trailing(10, 4).unwrap().as_slice(), [9, 7, 4, 1]);
}

/// diffusers divides by zero, or (linspace) goes on with an empty list; a port panics.
#[test]
fn no_steps_at_all_is_an_error() {
    let schedule = ddpm_schedule();
    let all = [
        Timesteps::leading(1000, 0, 0),
        Timesteps::trailing(1000, 0),
        Timesteps::linspace(1000, 0),
        Timesteps::linear(1000, 0),
        Timesteps::quadratic(1000, 0),
        Timesteps::uniform_log_snr(&schedule, 0),
        Timesteps::explicit(1000, []),
    ];
    for error in all.map(Result::unwrap_err) {
        assert!(matches!(error, Error::Count { name: "S", value: 0, min: 1, max: 1000 }), "{error}");
    }
}

/// ⌊T/S⌋ = 1 and an offset of 1 ask for t = T; diffusers finds out when it reads the table.
#[test]
fn a_leading_offset_past_the_end_is_an_error() {
    for (train_steps, steps, offset) in [(1000, 1000, 1), (10, 10, 1), (1000, 10, 100), (1000, 1, usize::MAX)] {
        let error = Timesteps::leading(train_steps, steps, offset).unwrap_err();
        assert!(matches!(error, Error::LeadingOffset { train_steps: of, .. } if of == train_steps), "{error}");
    }
    assert_eq!(Timesteps::leading(1000, 999, 1).unwrap().as_slice()[0], 999);
}

/// diffusers' list is [0]: x_T is taken for all but clean and comes back nearly unchanged.
#[test]
fn one_linspace_step_starts_from_the_noisiest_level() {
    assert_eq!(Timesteps::linspace(1000, 1).unwrap().as_slice(), [999]);
}

/// The authors' code of DDIM takes `range(0, T, T//S)`, of ⌈T/⌊T/S⌋⌉ entries: 8 for S = 7, 1000 for S = 600.
#[test]
fn linear_has_s_steps_also_where_s_does_not_divide_t() {
    assert_eq!((0..1000).step_by(1000 / 7).count(), 8);
    assert_eq!((0..1000).step_by(1000 / 600).count(), 1000);
    for steps in 1..=1000 {
        assert_eq!(Timesteps::linear(1000, steps).unwrap().len(), steps);
        assert_eq!(Timesteps::leading(1000, steps, 0).unwrap().len(), steps);
    }
}

/// The authors' code of DDIM takes `int(linspace(0, √(0.8·T), S)²)`, which begins at 0.8·T and repeats entries near 0.
#[test]
fn quadratic_begins_at_the_noise_and_repeats_nothing() {
    let theirs: Vec<u32> = (0..100).map(|i| (800_f64.sqrt() * f64::from(i) / 99.0).powi(2) as u32).collect();
    assert!(theirs[99] <= 800 && theirs[..4] == [0; 4]);
    for steps in 1..=1000 {
        let tau = Timesteps::quadratic(1000, steps).unwrap();
        assert_eq!((tau.len(), tau.as_slice()[0]), (steps, 999));
        assert!(tau.as_slice().is_sorted_by(|a, b| a > b), "S = {steps}");
    }
}

/// "ddimN" needs a stride with ⌈T/stride⌉ = N, and a section cannot hold more entries than it is long.
#[test]
fn a_respacing_that_cannot_be_fulfilled_is_an_error() {
    let respaced = |text: &str| text.parse::<Respacing>().and_then(|respacing| Timesteps::respaced(1000, &respacing));
    for steps in 0..=1001 {
        let possible = (1..=1000_usize).any(|stride| 1000_usize.div_ceil(stride) == steps);
        match respaced(&format!("ddim{steps}")) {
            Ok(tau) => assert!(possible && tau.len() == steps, "ddim{steps}"),
            Err(Error::Respacing { text, .. }) => assert!(!possible && text == format!("ddim{steps}")),
            Err(error) => panic!("ddim{steps}: {error}"),
        }
    }
    assert!(respaced("ddim300").is_err());
    for text in ["1001", "10,501,10,10", "0", "0,0", "ddim", "", "10,", "10;20", "-5", "ten"] {
        assert!(matches!(respaced(text), Err(Error::Respacing { .. })), "{text:?}");
    }
    assert_eq!(respaced("10,20,30").unwrap().len(), 60);
}

/// diffusers' DDIM steps to t − ⌊T/S⌋ whatever the list: with linspace to 899, and its next call starts from 888.
#[test]
fn every_step_arrives_where_the_next_one_starts() {
    let tau = Timesteps::linspace(1000, 10).unwrap();
    assert_eq!((tau.as_slice()[0] - 1000 / 10, tau.as_slice()[1]), (899, 888));
    let schedule = ddpm_schedule();
    for steps in 1..=60 {
        let lists = [
            Timesteps::leading(1000, steps, 1),
            Timesteps::trailing(1000, steps),
            Timesteps::linspace(1000, steps),
            Timesteps::quadratic(1000, steps),
        ];
        for tau in lists.map(Result::unwrap) {
            let plan = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
            for pair in plan.steps().windows(2) {
                assert_eq!((pair[0].s, pair[0].to), (Some(pair[1].t), pair[1].from));
            }
            assert_eq!(plan.end(), NoiseLevel::CLEAN);
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- the step

/// x̂₀ = (x − √(1−ᾱ_0)·ε)/√ᾱ_0 with ᾱ_0 = 1 − 0.00085, which is 1.98627. Three ports take ᾱ_0 for the final level, so that their
/// last network call does nothing: 2.0. Here that is a choice, and the lint mentions it.
#[test]
fn the_step_from_t_0_ends_in_clean_data() {
    let right = (2.0 - 0.00085_f64.sqrt() * 0.5) / (1.0_f64 - 0.00085).sqrt();
    assert!((right - 1.98627).abs() < 5e-6);
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 10, 0).unwrap();
    for method in methods() {
        let plan = Plan::new(&schedule, &tau, &method).unwrap();
        let last = &plan.steps()[9];
        assert_eq!((last.t, last.s, last.needs_noise()), (0.0, None, false));
        let x = last.apply(vec![2.0_f64], vec![0.5], None).unwrap();
        assert_close(x[0], right, 1e-15);
        assert_close(f64::from(last.apply(vec![2.0_f32], vec![0.5], None).unwrap()[0]), right, 1e-7);
    }
    let plan = Plan::new(&schedule, &tau.ending(PathEnd::FirstLevel), &Ddim::deterministic()).unwrap();
    assert_close(plan.steps()[9].apply(vec![2.0], vec![0.5], None).unwrap()[0], 2.0, 1e-15);
    assert!(plan.lint().contains(&Lint::StandsStill { index: 9, t: 0.0 }));
}

/// x̂₀ = √ᾱ·x − √(1−ᾱ)·v (Salimans and Ho 2022, section 4): √ᾱ_500 = 0.279 for x = 1, v = 0. A port gives −0.643.
#[test]
fn v_prediction_of_nothing_is_the_scaled_x() {
    let right = product(linear(1e-4, 0.02))[500].sqrt();
    assert_close(right, 0.279, 2e-3);
    let schedule = ddpm_schedule();
    let level = schedule.level(500).unwrap();
    let converted =
        forward::convert(&vec![1.0], &vec![0.0], Prediction::Velocity, Prediction::Sample, &[level]).unwrap();
    assert_close(converted[0], right, 1e-13);
    let tau = Timesteps::explicit(1000, [500]).unwrap();
    for method in methods() {
        let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&method).unwrap();
        assert_close(plan.steps()[0].x0(&vec![1.0], &vec![0.0]).unwrap()[0], right, 1e-13);
        assert_close(plan.steps()[0].apply(vec![1.0], vec![0.0], None).unwrap()[0], right, 1e-13);
    }
}

/// σ = √β_t (Ho et al. 2020, section 3.2). "fixed_large_log" in diffusers and two ports takes the root of ln β, which is negative.
#[test]
fn the_large_variance_gives_the_root_of_beta() {
    let betas = linear(1e-4, 0.02);
    let plan = Plan::new(&ddpm_schedule(), &Timesteps::all(1000).unwrap(), &Ddpm::new(Variance::Beta)).unwrap();
    for step in &plan.steps()[..999] {
        assert!(betas[step.t as usize].ln().sqrt().is_nan());
        assert_close(step.coefficients.d, betas[step.t as usize].sqrt(), 1e-14);
    }
}

/// Algorithm 2, line 3 (Ho et al. 2020): no noise on the step to clean data. diffusers asks whether t > 0, and a trailing list of 50 steps
/// ends at t = 19: its images get noise of the standard deviation √(1−ᾱ_19) = 0.076.
#[test]
fn the_step_to_clean_data_adds_no_noise_from_any_t() {
    let (_, theirs) = signal_and_noise(product(linear(1e-4, 0.02))[19]);
    assert_close(theirs, 0.076, 2e-3);
    for method in methods() {
        let plan = trailing_plan(&ddpm_schedule(), 50, &method);
        assert_eq!((plan.steps()[49].t, plan.steps()[49].coefficients.d), (19.0, 0.0));
    }
    // All but the last do add some.
    let plan = trailing_plan(&ddpm_schedule(), 50, &Ddpm::new(Variance::Beta));
    assert!(plan.steps()[..49].iter().all(|step| step.coefficients.d > 0.07));
}

/// ε = x at ᾱ = 0, and says nothing of x₀. diffusers divides by zero: ∞, or NaN for 0/0, and its clip turns ∞ into ±1.
#[test]
fn epsilon_at_zero_terminal_snr_is_an_error_whatever_the_threshold() {
    let rescaled = ddpm_schedule().rescale_zero_terminal_snr().unwrap();
    assert_eq!(rescaled.level(999).unwrap().alpha_bar(), 0.0);
    let thresholds = [Threshold::None, Threshold::Clip(1.0), Threshold::Dynamic { ratio: 0.995, max: 1.5 }];
    for schedule in [rescaled, NoiseSchedule::jsd(1000).unwrap()] {
        let tau = Timesteps::trailing(1000, 10).unwrap();
        for (threshold, method) in
            thresholds.iter().flat_map(|threshold| methods().into_iter().map(|m| (*threshold, m)))
        {
            let builder = Plan::builder(&schedule, &tau).threshold(threshold);
            for prediction in [Prediction::Epsilon, Prediction::Score] {
                let error = builder.prediction(prediction).build(&method).unwrap_err();
                let Error::AtStep { index: 0, t: 999.0, source } = error else { panic!("{error}") };
                assert!(matches!(*source, Error::Undetermined { from, .. } if from == prediction), "{source}");
            }
            for prediction in [Prediction::Velocity, Prediction::Sample] {
                assert!(builder.prediction(prediction).build(&method).is_ok());
            }
        }
    }
}

/// DDIM at η = 1 (Song et al. 2021, Eq. 12 and 16) from ᾱ_t to ᾱ_s for v-prediction, with the radicand in a form in which nothing is
/// subtracted: 1−ᾱ_s−σ² = (1−ᾱ_s)²·ᾱ_t/(ᾱ_s·(1−ᾱ_t)).
fn naive_v_step_at_eta_one(x: f64, v: f64, z: f64, t: f64, s: f64) -> f64 {
    let (signal, noise) = signal_and_noise(t);
    let (x0, epsilon) = (signal * x - noise * v, noise * x + signal * v);
    let radicand = (1.0 - s).powi(2) * t / (s * (1.0 - t));
    let sigma = if s == 1.0 { 0.0 } else { ((1.0 - s) / (1.0 - t) * (1.0 - t / s)).sqrt() };
    s.sqrt() * x0 + radicand.sqrt() * epsilon + sigma * z
}

/// At ᾱ_t = 0, σ² = 1−ᾱ_s in full, and ε has no weight. In f32, 1 − ᾱ_s − σ² is an ulp instead: +6e-8 if the root is correctly
/// rounded, so that ε weighs 2.4e-4; with torch's root −6e-8, whose root is NaN.
#[test]
fn zero_terminal_snr_with_v_prediction_and_eta_1_is_finite() {
    // Lin et al. 2023, Algorithm 1.
    let roots: Vec<f64> = product(linear(1e-4, 0.02)).into_iter().map(f64::sqrt).collect();
    let (first, last) = (roots[0], roots[999]);
    let alpha_bar = |t: f64| ((roots[t as usize] - last) * first / (first - last)).powi(2);
    // ᾱ_899 as diffusers' f32 has it.
    let s_in_f32 = 0.000_106_130_43_f32;
    assert_close(f64::from(s_in_f32), alpha_bar(899.0), 1e-5);
    let sigma_in_f32 = (1.0 - s_in_f32).sqrt();
    assert_eq!(1.0 - s_in_f32 - sigma_in_f32 * sigma_in_f32, f32::EPSILON / 2.0);

    let schedule = ddpm_schedule().rescale_zero_terminal_snr().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&Ddim::new(1.0).unwrap()).unwrap();
    let (mut x, mut right) = (vec![1.0_f64], 1.0);
    for step in plan.steps() {
        let (v, z) = (0.5 * x[0] + 0.1, 0.25);
        right = naive_v_step_at_eta_one(right, 0.5 * right + 0.1, z, alpha_bar(step.t), step.s.map_or(1.0, alpha_bar));
        x = step.apply(x, vec![v], Some(&vec![z])).unwrap();
        assert_close(x[0], right, 1e-11);
    }
    assert!(x[0].is_finite());
}

/// Without rescaling, cosine's ᾱ_999 = 2.4e-9 is small enough for the same.
#[test]
fn the_first_cosine_step_at_eta_1_is_finite() {
    let plan = trailing_plan(&NoiseSchedule::cosine(1000).unwrap(), 5, &Ddim::new(1.0).unwrap());
    assert!(plan.steps().iter().all(|step| step.coefficients.model.is_finite() && step.coefficients.d.is_finite()));
    let x = plan.steps()[0].apply(vec![1.0_f32], vec![0.5], Some(&vec![0.25])).unwrap();
    assert!(x[0].is_finite());
}

/// One run in one element type; its steps draw noise at η = 1.
fn run_at_eta_one<E: Element>() -> Vec<f64> {
    let plan = trailing_plan(&ddpm_schedule(), 10, &Ddim::new(1.0).unwrap());
    let of = |values: [f64; 2]| Array1::from_iter(values.map(E::from_f64));
    let mut model = |x: &Array1<E>, _: Point| Ok::<_, BoxError>(x.mapv(|x| E::from_f64(0.5 * x.to_f64())));
    let mut noise = noise::from_fn(|_: &Array1<E>, draw: Draw| match draw {
        Draw::Step(index) => Ok(of([0.25 * index as f64, -0.5])),
        _ => Err("x_T is given"),
    });
    sample(&plan, of([1.0, -2.0]), &mut model, &mut noise).unwrap().iter().map(|x| x.to_f64()).collect()
}

/// A port fails on a mismatch of types in all but f32.
#[test]
fn eta_1_works_in_every_element_type() {
    let (narrow, wide) = (run_at_eta_one::<f32>(), run_at_eta_one::<f64>());
    for (narrow, wide) in narrow.into_iter().zip(wide) {
        assert_close(narrow, wide, 1e-6);
        assert_ne!(narrow, wide, "the f64 run is one in f64");
    }
}

/// x is rounded to the element type, by ε/2 at most, after each of ten steps.
#[cfg(feature = "half")]
#[test]
fn eta_1_works_in_half_precision() {
    let runs = [
        (run_at_eta_one::<half::f16>(), half::f16::EPSILON.to_f64()),
        (run_at_eta_one::<half::bf16>(), half::bf16::EPSILON.to_f64()),
    ];
    for (narrow, epsilon) in runs {
        for (narrow, wide) in narrow.into_iter().zip(run_at_eta_one::<f64>()) {
            assert_close(narrow, wide, 5.0 * epsilon);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- precision

/// The nearest bf16, ties to even.
fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// x_t = √ᾱ_t·x₀ + √(1−ᾱ_t)·ε. diffusers casts ᾱ to the sample's type first; in bf16 all ᾱ down to t = 9 are 1, and nothing is added.
/// Here a coefficient is computed in f64 and rounded once: it is the right one in every type.
#[test]
fn noise_is_added_at_the_smallest_t() {
    let alpha_bars = product(linear(1e-4, 0.02));
    let schedule = ddpm_schedule();
    for (t, alpha_bar) in alpha_bars.into_iter().enumerate().take(10) {
        assert_eq!((1.0 - bf16(alpha_bar as f32)).sqrt(), 0.0);
        let (_, right) = signal_and_noise(alpha_bar);
        let level = schedule.level(t).unwrap();
        let found = forward::add_noise(&vec![0.0_f32], &vec![1.0], &[level]).unwrap()[0];
        assert_close(f64::from(found), right, 1e-7);
        assert_close(f64::from(bf16(level.noise() as f32)), right, 4e-3);
    }
    assert_close(schedule.level(9).unwrap().noise(), 0.0435, 1e-3);
}

/// Noising in the element type itself: x₀ = 0 and ε = 1 give √(1−ᾱ_9) = 0.0435, as far as bf16 has it.
#[cfg(feature = "half")]
#[test]
fn noise_is_added_at_the_smallest_t_in_half_precision() {
    let schedule = ddpm_schedule();
    let (zero, one) = (vec![half::bf16::ZERO], vec![half::bf16::ONE]);
    for t in 0..1000 {
        let level = schedule.level(t).unwrap();
        let found = forward::add_noise(&zero, &one, &[level]).unwrap()[0];
        assert_eq!(found, half::bf16::from_f64(level.noise()), "t = {t}");
        assert!(found > half::bf16::ZERO);
    }
}

/// A clip by `max(−1).min(1)` makes a number out of NaN, and a run that has failed looks like one that has not.
#[test]
fn nan_survives_every_threshold() {
    let (schedule, tau) = (ddpm_schedule(), Timesteps::trailing(1000, 10).unwrap());
    assert_eq!(f64::NAN.max(-1.0), -1.0);
    let thresholds = [Threshold::None, Threshold::Clip(1.0), Threshold::Dynamic { ratio: 0.5, max: 1.5 }];
    for threshold in thresholds {
        for epsilon in [EpsilonAfter::Network, EpsilonAfter::Threshold] {
            for method in methods() {
                let plan =
                    Plan::builder(&schedule, &tau).threshold(threshold).epsilon_after(epsilon).build(&method).unwrap();
                for step in plan.steps() {
                    let x = arr2(&[[1.0, 0.5], [0.3, -0.2]]);
                    let m = arr2(&[[f64::NAN, 0.5], [0.3, -0.2]]);
                    let x = step.apply(x, m, Some(&Array2::zeros((2, 2)))).unwrap();
                    assert!(x[[0, 0]].is_nan(), "{threshold:?}, step {}", step.index);
                    // The other sample knows nothing of it.
                    assert!(x.row(1).iter().all(|x| x.is_finite()), "{threshold:?}, step {}", step.index);
                }
            }
        }
    }
}

/// 0·NaN is NaN. Where a step has no use for z, its contents are nothing to it; nor is an x of weight 0.
#[test]
fn what_has_no_weight_leaves_no_nan() {
    let plan = trailing_plan(&ddpm_schedule(), 10, &Ddim::deterministic());
    for step in plan.steps() {
        let x = step.apply(vec![1.0_f32], vec![0.5], Some(&vec![f32::NAN])).unwrap();
        assert!(x[0].is_finite());
    }
    let terms = [(Weights::All(0.0), &vec![f64::NAN]), (Weights::All(2.0), &vec![3.0])];
    assert_eq!(Vec::linear_combination(&terms).unwrap(), [6.0]);
    // x₀-prediction at the last step: the network's answer, whatever x is.
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let plan =
        Plan::builder(&ddpm_schedule(), &tau).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap();
    assert_eq!(plan.steps()[9].apply(vec![f64::NAN], vec![0.5], None).unwrap(), [0.5]);
}

/// Saharia et al. 2022, section 2.3, on a batch of plain vectors; diffusers wants two axes beside the batch.
#[test]
fn dynamic_thresholding_takes_a_batch_of_vectors() {
    let (schedule, tau) = (ddpm_schedule(), Timesteps::explicit(1000, [0]).unwrap());
    let plan = Plan::builder(&schedule, &tau)
        .prediction(Prediction::Sample)
        .threshold(Threshold::Dynamic { ratio: 0.5, max: 10.0 })
        .build(&Ddim::deterministic())
        .unwrap();
    let x0 = arr2(&[[4.0, -2.0, 0.5], [0.5, -0.2, 0.1]]);
    let x = plan.steps()[0].apply(x0.clone(), x0, None).unwrap();
    // The median of |x̂₀| is 2 in the first sample, and below 1 in the second.
    assert_eq!(x, arr2(&[[1.0, -1.0, 0.25], [0.5, -0.2, 0.1]]));
}

// ----------------------------------------------------------------------------------------------- encoding and interpolation

/// ε = (x − √ᾱ·x₀)/√(1−ᾱ) is 0/0 in clean data; diffusers' inverse scheduler goes on with ±∞.
#[test]
fn encoding_clean_data_by_x0_prediction_is_an_error() {
    let schedule = ddpm_schedule();
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let tau = Timesteps::leading(1000, 5, 0).unwrap().encoding(conditioning);
        let build = |tau: &Timesteps| {
            Plan::builder(&schedule, tau).prediction(Prediction::Sample).build(&Ddim::deterministic())
        };
        let error = build(&tau).unwrap_err();
        let Error::AtStep { index: 0, source, .. } = error else { panic!("{error}") };
        assert!(matches!(*source, Error::Undetermined { level: NoiseLevel::CLEAN, .. }), "{source}");
        assert!(build(&tau.ending(PathEnd::FirstLevel)).is_ok());
    }
}

/// x₀ = 0.5 of N(0, ¼), encoded and decoded with the exact ε = √(1−ᾱ)·x/(ᾱ/4 + 1−ᾱ), naively.
fn naive_round_trip(steps: usize, conditioning: Conditioning) -> f64 {
    let alpha_bars = product(linear(1e-4, 0.02));
    let level = |t: Option<usize>| t.map_or(1.0, |t| alpha_bars[t]);
    let epsilon = |x: f64, alpha_bar: f64| (1.0 - alpha_bar).sqrt() * x / (alpha_bar / 4.0 + 1.0 - alpha_bar);
    let step = |x: f64, from: f64, to: f64, conditioning: f64| {
        let ((signal, noise), (to_signal, to_noise)) = (signal_and_noise(from), signal_and_noise(to));
        let epsilon = epsilon(x, conditioning);
        to_signal * (x - noise * epsilon) / signal + to_noise * epsilon
    };
    let mut path = vec![None];
    path.extend((0..steps).map(|k| Some(k * (1000 / steps))));
    let mut x = 0.5;
    for pair in path.windows(2) {
        let (from, to) = (level(pair[0]), level(pair[1]));
        x = step(x, from, to, if conditioning == Conditioning::Source { from } else { to });
    }
    for pair in path.windows(2).rev() {
        let (to, from) = (level(pair[0]), level(pair[1]));
        x = step(x, from, to, from);
    }
    x
}

/// The paper's encoder tells the network the level that x is at (Song et al. 2021, Eq. 13 backwards), diffusers' the one the step goes
/// to. Neither is wrong, and both come back to 0.5 with S; they are not the same number.
#[test]
fn the_two_ways_to_encode_are_distinguished() {
    let schedule = ddpm_schedule();
    let mut model = Gaussian::new([0.0], [0.25]).unwrap().predictor();
    let recorded = [(Conditioning::Destination, [0.364, 0.473, 0.495]), (Conditioning::Source, [0.280, 0.446, 0.489])];
    for (conditioning, values) in recorded {
        for (steps, value) in [10, 50, 250].into_iter().zip(values) {
            let tau = Timesteps::leading(1000, steps, 0).unwrap();
            let [up, down] = [tau.clone().encoding(conditioning), tau]
                .map(|tau| Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap());
            let latent = sample(&up, arr2(&[[0.5]]), &mut model, &mut NoNoise).unwrap();
            let back = sample(&down, latent, &mut model, &mut NoNoise).unwrap()[[0, 0]];
            assert_close(back, naive_round_trip(steps, conditioning), 1e-11);
            assert!((back - value).abs() < 5e-4, "{conditioning:?}, S = {steps}: {back}");
        }
    }
}

/// sin((1−u)θ)/sin θ with θ = acos(⟨a,b⟩/(‖a‖·‖b‖)), as the official code of DDIM has it: 0/0 for equal latents, and the acos of a
/// little more than 1 for some.
#[test]
fn slerp_of_equal_latents_is_that_latent() {
    let naive = |theta: f64| (0.5 * theta).sin() / theta.sin();
    assert!(naive(1.0_f64.acos()).is_nan() && naive(1.000_000_000_000_000_2_f64.acos()).is_nan());
    let z = vec![0.3_f32, -1.2, 0.7, 2.1];
    assert_eq!(slerp(&z, &z, 0.5).unwrap(), z);
    let opposite: Vec<f32> = z.iter().map(|z| -z).collect();
    assert!(slerp(&z, &opposite, 0.5).unwrap().iter().all(|x| x.is_finite()));
    assert_eq!(slerp(&vec![0.0; 4], &vec![0.0; 4], 0.5).unwrap(), [0.0; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn slerp_between_a_latent_and_itself_stays_there(z in prop::collection::vec(-4.0..4.0_f64, 1..20), u in 0.0..=1.0) {
        let between = slerp(&z, &z, u).unwrap();
        // (1−u)·z + u·z, each of its operations rounded.
        for (found, z) in between.iter().zip(&z) {
            prop_assert!((found - z).abs() <= 2.0 * f64::EPSILON * z.abs());
        }
        prop_assert_eq!(slerp(&z, &z, 0.5).unwrap(), z);
    }
}

/// A network that makes another prediction than the plan converts gives plausible noise elsewhere.
#[test]
fn a_plan_for_another_prediction_is_an_error() {
    let plan = trailing_plan(&ddpm_schedule(), 10, &Ddim::deterministic());
    let mut model = predictor::from_fn(Prediction::Velocity, |x: &Vec<f32>, _| Ok::<_, BoxError>(x.clone()));
    let error = sample(&plan, vec![1.0], &mut model, &mut NoNoise).unwrap_err();
    let (plan, model) = (Prediction::Epsilon, Prediction::Velocity);
    assert!(matches!(error, Error::PredictionMismatch { plan: p, model: m } if (p, m) == (plan, model)), "{error}");
}

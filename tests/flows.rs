//! Levels in any scale, flow matching (Lipman et al. 2023; Liu et al. 2023; Esser et al. 2024) and EDM (Karras et al. 2022), with
//! formulas typed from the papers.

use alphabar::flow::{FLUX, QWEN_IMAGE, flux_mu, flux2_mu};
use alphabar::{
    CustomPrediction, Ddim, Ddpm, Edm, EulerAncestral, Flow, FlowHeun, FlowSde, FlowTime, NoiseLevel, NoiseSchedule,
    Path, Plan, Point, Prediction, Process, Scale, SigmaData, SigmaTime, Solver, State, Variance, posterior,
};
use proptest::prelude::*;

#[track_caller]
fn close(found: f64, wanted: f64, relative: f64) {
    assert!((found - wanted).abs() <= relative * wanted.abs().max(1e-300), "{found:e} where {wanted:e} is right");
}

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];

/// Any level but the two ends, by its flow σ.
fn level() -> impl Strategy<Value = f64> {
    prop_oneof![1e-6_f64..1.0, (-12.0_f64..-0.01).prop_map(f64::exp), (1e-9_f64..1e-3).prop_map(|rest| 1.0 - rest)]
}

static HALF: CustomPrediction = CustomPrediction::new("half x₀", |_| 0.0, |_| 2.0);
static DIFFERENCE: CustomPrediction = CustomPrediction::new("x₀ − x", |_| 1.0, NoiseLevel::noise);

fn predictions() -> Vec<Prediction> {
    vec![
        Prediction::Epsilon,
        Prediction::Sample,
        Prediction::Velocity,
        Prediction::Score,
        Prediction::Flow,
        Prediction::Edm { sigma_data: SigmaData::new(0.5).unwrap() },
        Prediction::Edm { sigma_data: SigmaData::new(1.0).unwrap() },
        Prediction::EdmVelocity { sigma_data: SigmaData::new(0.5).unwrap() },
        Prediction::EdmVelocity { sigma_data: SigmaData::new(1.0).unwrap() },
        Prediction::Custom(&HALF),
        Prediction::Custom(&DIFFERENCE),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_level_means_does_not_depend_on_its_scale(sigma in level()) {
        let flow = NoiseLevel::flow(sigma).unwrap();
        close(flow.signal(), 1.0 - sigma, 2.3e-16);
        close(flow.noise(), sigma, 2.3e-16);
        close(flow.sigma(), sigma / (1.0 - sigma), 4e-16);
        close(flow.alpha_bar(), (1.0 - sigma).powi(2) / ((1.0 - sigma).powi(2) + sigma * sigma), 1e-15);
        let exploding = flow.in_scale(Scale::VarianceExploding).unwrap();
        close(exploding.signal(), 1.0, 0.0);
        close(exploding.noise(), flow.sigma(), 0.0);
        let preserving = flow.in_scale(Scale::VariancePreserving).unwrap();
        // Four roundings: of the root twice, of the square, and of ᾱ.
        close(preserving.signal().powi(2), flow.alpha_bar(), 4.5e-16);
        for scale in SCALES {
            let moved = flow.in_scale(scale).unwrap();
            prop_assert_eq!(moved.alpha_bar(), flow.alpha_bar());
            prop_assert_eq!(moved.one_minus_alpha_bar(), flow.one_minus_alpha_bar());
            prop_assert_eq!(moved.snr(), flow.snr());
            prop_assert_eq!(moved.log_snr(), flow.log_snr());
            prop_assert_eq!(moved.sigma(), flow.sigma());
            close(moved.flow_sigma(), sigma, 2.3e-16);
            close(moved.noise() / moved.signal(), flow.sigma(), 6e-16);
            let back = moved.in_scale(Scale::Flow).unwrap();
            close(back.signal(), flow.signal(), 2.3e-16);
        }
        let pair = NoiseLevel::new(3.0 * flow.signal(), 3.0 * flow.noise()).unwrap();
        prop_assert!((pair.log_snr() - flow.log_snr()).abs() < 1e-15 * (1.0 + flow.log_snr().abs()));
    }

    /// m = (what it is of x₀ and ε), typed from each definition, and all 121 conversions between them.
    #[test]
    fn each_pair_of_predictions_round_trips(sigma in 1e-4_f64..0.9999, x0 in -3.0_f64..3.0, epsilon in -3.0_f64..3.0) {
        for scale in SCALES {
            let level = NoiseLevel::flow(sigma).unwrap().in_scale(scale).unwrap();
            let (s, n) = (level.signal(), level.noise());
            let x = s * x0 + n * epsilon;
            let ve = n / s;
            let edm = |data: f64| {
                // (x₀ − c_skip·x/s)/c_out with x/s = x₀ + σ·ε, so that x₀ does not cancel at a small σ.
                let total = ve * ve + data * data;
                (ve * x0 - data * data * epsilon) / (data * total.sqrt())
            };
            // (1 − s)/n, without a subtraction.
            let rest = match scale {
                Scale::VariancePreserving => n / (1.0 + s),
                Scale::VarianceExploding => 0.0,
                _ => 1.0,
            };
            let right = [
                epsilon,
                x0,
                level.alpha_bar().sqrt() * epsilon - level.one_minus_alpha_bar().sqrt() * x0,
                -epsilon / n,
                epsilon - x0,
                edm(0.5),
                edm(1.0),
                -edm(0.5),
                -edm(1.0),
                x0 / 2.0,
                rest * x0 - epsilon, // (x₀ − x)/n
            ];
            for (from, m) in predictions().into_iter().zip(right) {
                for (to, wanted) in predictions().into_iter().zip(right) {
                    let k = from.to(to, &level).unwrap();
                    let found = k.x * x + k.model * m;
                    let size = 1.0 + wanted.abs() + (k.x * x).abs() + (k.model * m).abs();
                    prop_assert!((found - wanted).abs() < 1e-12 * size, "{from} to {to} at {level}: {found}, not {wanted}");
                }
            }
        }
    }

    /// VP, VE and flow plans through the same levels are one plan, but for the scale of x.
    #[test]
    fn a_step_does_not_depend_on_the_scale(noisier in 0.02_f64..0.999, share in 0.01_f64..0.99, eta in 0.0_f64..1.0) {
        let (t, s) = (NoiseLevel::flow(noisier).unwrap(), NoiseLevel::flow(noisier * share).unwrap());
        let methods: [Box<dyn Solver>; 5] = [
            Box::new(Ddim::new(eta).unwrap()),
            Box::new(Ddim::deterministic()),
            Box::new(Ddim::sigma_hat()),
            Box::new(Ddpm::new(Variance::Posterior)),
            Box::new(Ddpm::new(Variance::Beta)),
        ];
        let (x0, epsilon, z) = (0.7, -1.3, 0.4);
        for method in methods {
            let next = |scale: Scale| {
                let [t, s] = [t, s].map(|level| level.in_scale(scale).unwrap());
                let k = method.combine(&alphabar::Leg::new(t, s)).unwrap();
                let x = t.signal() * x0 + t.noise() * epsilon;
                (k.x0() * x0 + k.x() * x + k.epsilon() * epsilon + k.z() * z) / s.signal()
            };
            let vp = next(Scale::VariancePreserving);
            for scale in SCALES {
                prop_assert!((next(scale) - vp).abs() < 1e-13 * (1.0 + vp.abs()), "{}: {scale:?}", method.name());
            }
        }
    }

    /// Liu et al. 2023: dx = u dσ, so x′ = x + (σ′ − σ)·u.
    #[test]
    fn ddim_on_flow_levels_is_the_euler_step_of_flow_matching(sigma in 1e-3_f64..=1.0, share in 0.0_f64..0.999) {
        let next = sigma * share;
        let path = Path::new([
            Point::new(sigma, NoiseLevel::flow(sigma).unwrap()),
        ]).unwrap().ending_at(Point::new(next, NoiseLevel::flow(next).unwrap())).unwrap();
        let plan = Plan::builder_along(&path).prediction(Prediction::Flow).build(&Ddim::deterministic()).unwrap();
        let k = plan.steps()[0].coefficients;
        close(k.x, 1.0, 1e-15);
        close(k.model, next - sigma, 1e-15);
    }

    /// Karras et al. 2022 and k-diffusion's get_ancestral_step: down to σ_down by Euler, up again by noise.
    #[test]
    fn ddim_on_exploding_levels_is_euler_ancestral(sigma in 1e-2_f64..80.0, share in 0.01_f64..0.99, eta in 0.0_f64..=1.0) {
        let next = sigma * share;
        let up = eta * (next * next * (sigma * sigma - next * next) / (sigma * sigma)).sqrt();
        let down = (next * next - up * up).sqrt();
        let [t, s] = [sigma, next].map(|sigma| NoiseLevel::variance_exploding(sigma).unwrap());
        let k = Ddim::new(eta).unwrap().combine(&alphabar::Leg::new(t, s)).unwrap();
        // x′ = x + (σ_down − σ)·ε + σ_up·z with x = x₀ + σ·ε is x₀ + σ_down·ε + σ_up·z.
        close(k.x0(), 1.0, 0.0);
        close(k.epsilon(), down, 1e-13);
        close(k.z(), up, 1e-13);
    }

    #[test]
    fn the_distributions_compose_in_every_scale(noisier in 0.1_f64..0.99, share in 0.05_f64..0.95) {
        for scale in SCALES {
            let [t, s] = [noisier, noisier * share].map(|sigma| NoiseLevel::flow(sigma).unwrap().in_scale(scale).unwrap());
            let step = posterior::transition(&s, &t).unwrap();
            // q(x_t | x₀) is q(x_s | x₀) followed by the transition.
            close(step.x * s.signal(), t.signal(), 1e-14);
            close(step.x.powi(2) * s.noise().powi(2) + step.variance, t.noise().powi(2), 1e-13);
            // Bayes: precision of x_s is 1/n_s² + k²/v.
            let back = posterior::ddpm_posterior(&t, &s).unwrap();
            close(back.variance, 1.0 / (1.0 / s.noise().powi(2) + step.x.powi(2) / step.variance), 1e-12);
            close(back.x, back.variance * step.x / step.variance, 1e-12);
            close(back.x0, back.variance * s.signal() / s.noise().powi(2), 1e-12);
        }
    }

    #[test]
    fn a_shift_is_an_offset_of_the_log_snr_and_shifts_multiply(steps in 1_usize..40, a in 0.1_f64..20.0, b in 0.1_f64..20.0) {
        let plain = Flow::default().path(steps).unwrap();
        let shifted = Flow::default().shifted(a).unwrap().path(steps).unwrap();
        for (plain, shifted) in plain.points().iter().zip(shifted.points()).skip(1) {
            let offset = plain.level.log_snr() - shifted.level.log_snr();
            prop_assert!((offset - 2.0 * a.ln()).abs() < 1e-13 * (1.0 + plain.level.log_snr().abs()));
            let sigma = plain.level.flow_sigma();
            close(shifted.level.flow_sigma(), a * sigma / (1.0 + (a - 1.0) * sigma), 1e-14);
        }
        let both = Flow::default().shifted(a).unwrap().shifted(b).unwrap().path(steps).unwrap();
        let product = Flow::default().shifted(a * b).unwrap().path(steps).unwrap();
        prop_assert_eq!(both, product);
    }
}

#[test]
fn the_ends_are_values_of_every_scale() {
    assert_eq!(NoiseLevel::flow(0.0).unwrap(), NoiseLevel::CLEAN);
    assert_eq!(NoiseLevel::variance_exploding(0.0).unwrap(), NoiseLevel::CLEAN);
    assert_eq!(NoiseLevel::flow(1.0).unwrap(), NoiseLevel::PURE_NOISE);
    assert!(NoiseLevel::PURE_NOISE.in_scale(Scale::VarianceExploding).is_err());
    for (signal, noise) in [(0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        assert!(NoiseLevel::new(signal, noise).is_err(), "{signal}, {noise}");
    }
    // The velocity of a flow and EDM's F are determined at both ends.
    for prediction in [Prediction::Flow, Prediction::Edm { sigma_data: SigmaData::new(0.5).unwrap() }] {
        for level in [NoiseLevel::CLEAN, NoiseLevel::PURE_NOISE] {
            assert!(
                prediction.to(Prediction::Sample, &level).is_ok() && prediction.to(Prediction::Epsilon, &level).is_ok()
            );
        }
    }
}

#[test]
fn flux_and_its_kin_are_the_published_lists() {
    let sigmas = |flow: Flow, steps| -> Vec<f64> {
        flow.path(steps).unwrap().points().iter().map(|point| point.level.flow_sigma()).collect()
    };
    close(flux_mu(4096, &FLUX).unwrap(), 1.15, 1e-15);
    for (found, wanted) in sigmas(Flow::flux(4096).unwrap(), 4).into_iter().zip([1.0, 0.904_531, 0.759_511, 0.512_844])
    {
        assert!((found - wanted).abs() < 1e-6);
    }
    close(flux_mu(8192, &QWEN_IMAGE).unwrap(), 0.9, 1e-15);
    close(*sigmas(Flow::qwen_image(4096).unwrap(), 20).last().unwrap(), 0.02, 1e-12);
    close(flux2_mu(5000, 50).unwrap(), 1.6927e-4 * 5000.0 + 0.456_666_66, 1e-15);
    close(flux2_mu(4096, 200).unwrap(), 1.6927e-4 * 4096.0 + 0.456_666_66, 1e-15);
    close(flux2_mu(4096, 10).unwrap(), 8.738_095_24e-5 * 4096.0 + 1.898_333_33, 1e-13);
    // SD3: 3σ/(1 + 2σ).
    for (found, sigma) in sigmas(Flow::sd3().unwrap(), 4).into_iter().zip([1.0, 0.75, 0.5, 0.25]) {
        close(found, 3.0 * sigma / (1.0 + 2.0 * sigma), 1e-15);
    }
    let times = |flow: Flow| -> Vec<f64> { flow.path(4).unwrap().points().iter().map(|point| point.t).collect() };
    // These networks receive σ.
    for flow in [Flow::flux(4096), Flow::flux2(4096, 4), Flow::qwen_image(4096)].map(Result::unwrap) {
        assert_eq!(times(flow), sigmas(flow, 4));
    }
    assert_eq!(times(Flow::default()), [1000.0, 750.0, 500.0, 250.0]);
    assert_eq!(times(Flow::default().with_time(FlowTime::Sigma)), [1.0, 0.75, 0.5, 0.25]);
    assert_eq!(times(Flow::default().with_time(FlowTime::Reversed)), [0.0, 0.25, 0.5, 0.75]);
    assert_eq!(times(Flow::wan(3.0).unwrap()), [1000.0, 900.0, 750.0, 500.0]);
    assert_eq!(times(Flow::wan(5.0).unwrap()), [1000.0, 937.0, 833.0, 625.0]);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Flow::default().shifted(bad).is_err() && Flow::default().stretched_to(bad).is_err());
    }
    assert!(Flow::default().shifted(1e4).unwrap().shifted(1e4).is_err());
    assert!(Flow::flux(0).is_err() && Flow::default().path(0).is_err());
}

/// v-prediction of data of the deviation σ_data is −F, and the v of Salimans and Ho if that is 1.
#[test]
fn the_velocity_of_edm_is_f_with_the_other_sign() {
    for sigma in [0.01, 0.7, 30.0] {
        let level = NoiseLevel::variance_exploding(sigma).unwrap();
        for data in [0.5, 1.0, 3.0] {
            let sigma_data = SigmaData::new(data).unwrap();
            let [f, v] = [Prediction::Edm { sigma_data }, Prediction::EdmVelocity { sigma_data }]
                .map(|prediction| prediction.to(Prediction::Sample, &level).unwrap());
            close(v.x, f.x, 1e-15);
            close(v.model, -f.model, 1e-15);
            close(v.model, -sigma * data / (sigma * sigma + data * data).sqrt(), 1e-15);
        }
        let one = Prediction::EdmVelocity { sigma_data: SigmaData::new(1.0).unwrap() };
        let back = Prediction::Velocity.to(one, &level).unwrap();
        assert!(back.x.abs() < 1e-15 && (back.model - 1.0).abs() < 1e-15);
    }
}

/// The level of a t is the level at which the network receives that t.
#[test]
fn a_time_leads_back_to_its_level() {
    let steps = |count| core::num::NonZeroU32::new(count).unwrap();
    for time in [
        FlowTime::Thousandth,
        FlowTime::Sigma,
        FlowTime::Reversed,
        FlowTime::Scaled(steps(250)),
        FlowTime::ScaledReversed(steps(1000)),
    ] {
        let flow = Flow::sd3().unwrap().with_time(time);
        for point in flow.path(7).unwrap().points() {
            let back = flow.at_time(point.t).unwrap();
            assert_eq!(back.t, point.t);
            close(back.level.flow_sigma(), point.level.flow_sigma(), 1e-14);
        }
        assert!(flow.at_time(1001.0).is_err() && flow.at_time(-1.0).is_err() && flow.at_time(f64::NAN).is_err());
    }
    let wan = Flow::wan(5.0).unwrap();
    close(wan.at_time(937.0).unwrap().level.flow_sigma(), 0.937, 1e-15);
    assert!(wan.at_time(937.5).unwrap_err().to_string().contains("whole"));
    let scaled = Flow::default().with_time(FlowTime::Scaled(steps(250))).path(4).unwrap();
    assert_eq!(scaled.points()[1].t, 187.5);
    let reversed = Flow::default().with_time(FlowTime::ScaledReversed(steps(1000))).path(4).unwrap();
    assert_eq!(reversed.points()[1].t, 250.0);
    for time in [SigmaTime::QuarterLog, SigmaTime::Arctan, SigmaTime::Sigma] {
        let edm = Edm::new(500.0, 0.3, 0.5).unwrap().with_time(time);
        for sigma in [0.3, 1.0, 17.5, 500.0] {
            let point = edm.at_sigma(sigma).unwrap();
            let back = edm.at_time(point.t).unwrap();
            assert_eq!(back.t, point.t);
            close(back.level.noise(), sigma, 1e-12);
            close(back.input_scale, point.input_scale, 1e-12);
        }
        assert!(edm.at_time(f64::NAN).is_err() && edm.at_time(1e4).is_err() == (time != SigmaTime::Sigma));
    }
}

/// Heun's method for dx/dσ = u, typed again; Euler's for the last step.
#[test]
fn heun_of_a_flow_is_its_formula() {
    let velocity = |sigma: f64, x: f64| (0.3 + 0.4 * sigma - x) / (1.2 - sigma.powi(2));
    let path = Flow::sd3().unwrap().path(5).unwrap();
    let plan = Plan::builder_along(&path).prediction(Prediction::Flow).build(&FlowHeun::new()).unwrap();
    let mut state = State::new(vec![0.8_f64]);
    for step in plan.steps() {
        let m = velocity(step.conditioned_on.flow_sigma(), state.x().unwrap()[0]);
        state.step_given(step, vec![m], None).unwrap();
    }
    let sigmas: Vec<f64> = path.points().iter().map(|point| point.level.flow_sigma()).chain([0.0]).collect();
    let mut x = 0.8;
    for pair in sigmas.windows(2) {
        let (step, u) = (pair[1] - pair[0], velocity(pair[0], x));
        let arrives = if pair[1] == 0.0 { u } else { velocity(pair[1], x + step * u) };
        x += step * 0.5 * (u + arrives);
    }
    close(state.into_x().unwrap()[0], x, 1e-14);
    assert_eq!(
        plan.steps().iter().map(|step| step.t).collect::<Vec<_>>()[..3],
        [1000.0, plan.steps()[1].t, plan.steps()[1].t]
    );
}

/// Karras et al. 2022, table 1, typed again; and the first step of their Algorithm 1 without its correction.
#[test]
fn edm_is_table_1() {
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let path = Path::karras(&edm, 18).unwrap();
    let plan = Plan::builder_along(&path).prediction(edm.prediction()).build(&Ddim::deterministic()).unwrap();
    for (i, step) in plan.steps().iter().enumerate() {
        let sigma = path.points()[i].level.noise();
        let next = path.points().get(i + 1).map_or(0.0, |point| point.level.noise());
        close(step.input_scale, 1.0 / (sigma * sigma + 0.25).sqrt(), 4e-16);
        close(step.t, sigma.ln() / 4.0, 1e-15);
        let (skip, out) = (0.25 / (sigma * sigma + 0.25), sigma * 0.5 / (sigma * sigma + 0.25).sqrt());
        let k = step.coefficients;
        close(k.p, skip, 1e-15);
        close(k.q, out, 1e-15);
        // d = (x − D)/σ; x′ = x + (σ′ − σ)·d.
        close(k.x, 1.0 + (next - sigma) * (1.0 - skip) / sigma, 1e-12);
        close(k.model, -(next - sigma) * out / sigma, 1e-14);
    }
    // Stable Audio receives arctan σ, and has no ln 0 at its clean end.
    let audio = Edm::new(500.0, 0.3, 1.0).unwrap().with_time(SigmaTime::Arctan);
    close(audio.at_sigma(1.0).unwrap().t, 0.5, 1e-15);
    for (max, min, data) in
        [(0.0, 0.1, 0.5), (1.0, 2.0, 0.5), (1.0, 0.1, 0.0), (1.0, 0.1, f64::NAN), (f64::INFINITY, 0.1, 0.5)]
    {
        assert!(Edm::new(max, min, data).is_err());
    }
}

/// Karras et al. 2022, Algorithm 2, lines 3 to 6 and 8, in which the noise that lifts x to σ̂ comes before the call.
#[test]
fn churn_is_algorithm_2() {
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let plain = Path::karras(&edm, 10).unwrap();
    let churned = plain.clone().churned(&edm, 3.0, 0.05..=50.0, 1.003).unwrap();
    let plan = Plan::builder_along(&churned).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap();
    let gamma =
        |sigma: f64| if (0.05..=50.0).contains(&sigma) { (3.0_f64 / 10.0).min(2.0_f64.sqrt() - 1.0) } else { 0.0 };
    let sigmas: Vec<f64> = plain.points().iter().map(|point| point.level.noise()).collect();
    let denoise = |x: f64, sigma: f64| 0.3 * x / (1.0 + sigma); // any network
    let z: Vec<f64> = (0..10).map(|i| f64::from(i) / 3.0 - 1.2).collect();

    let mut x = 5.0;
    for (i, &sigma) in sigmas.iter().enumerate() {
        let lifted = sigma * (1.0 + gamma(sigma)); // line 5
        let noise = if i == 0 { 0.0 } else { z[i - 1] * 1.003 };
        x += (lifted * lifted - sigma * sigma).sqrt() * noise; // line 6
        let d = (x - denoise(x, lifted)) / lifted; // line 7
        x += (sigmas.get(i + 1).copied().unwrap_or(0.0) - lifted) * d; // line 8
    }
    let mut ours = 5.0;
    for (i, step) in plan.steps().iter().enumerate() {
        let sigma = step.point().level.noise();
        close(sigma, sigmas[i] * (1.0 + gamma(sigmas[i])), 1e-15);
        let k = step.coefficients;
        ours = k.x * ours + k.model * denoise(ours, sigma) + k.d * z[i];
    }
    close(ours, x, 1e-12);
    assert!(plan.lint().iter().all(|lint| !matches!(lint, alphabar::Lint::Disconnected { .. })));
    // Churn replaces the churn before it, and is no part of an encoding.
    let twice = churned.clone().churned(&edm, 3.0, 0.05..=50.0, 1.003).unwrap();
    assert_eq!(twice, churned);
    let encode = |path: &Path| {
        let path = path.clone().encoding(alphabar::Conditioning::Destination);
        Plan::builder_along(&path).prediction(edm.prediction()).build(&Ddim::deterministic()).unwrap()
    };
    assert_eq!(encode(&churned), encode(&plain));
    // Without churn, the plan is unchanged.
    assert_eq!(plain.clone().churned(&edm, 0.0, 0.0..=f64::INFINITY, 1.0).unwrap().points(), plain.points());
    assert!(plain.clone().churned(&edm, f64::NAN, 0.0..=1.0, 1.0).is_err());
}

#[test]
fn encoding_walks_every_path_back() {
    use alphabar::Conditioning::{Destination, Source};
    // The exact velocity of data N(0, ¼) under the flow: with small steps, there and back is where one was.
    let velocity = |x: f64, level: &NoiseLevel| {
        let (s, n) = (level.signal(), level.noise());
        let total = s * s * 0.25 + n * n;
        (n - s * 0.25) / total * x
    };
    for flow in [Flow::default(), Flow::sd3().unwrap(), Flow::default().with_time(FlowTime::Sigma)] {
        let path = flow.path(2000).unwrap();
        let decode = Plan::builder_along(&path).prediction(Prediction::Flow).build(&Ddim::deterministic()).unwrap();
        for conditioning in [Source, Destination] {
            let up = path.clone().encoding(conditioning);
            let encode = Plan::builder_along(&up).prediction(Prediction::Flow).build(&Ddim::deterministic()).unwrap();
            let mut x = 0.8;
            for plan in [&encode, &decode] {
                for step in plan.steps() {
                    x = step.coefficients.x * x + step.coefficients.model * velocity(x, &step.point().level);
                }
            }
            assert!((x - 0.8).abs() < 3e-3, "{conditioning:?}: {x}");
            assert_eq!((encode.start(), encode.end()), (NoiseLevel::CLEAN, NoiseLevel::PURE_NOISE));
        }
    }
    // ln σ/4 says nothing at σ = 0.
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let path = Path::karras(&edm, 10).unwrap();
    let build = |path: &Path| Plan::builder_along(path).prediction(edm.prediction()).build(&Ddim::deterministic());
    assert!(build(&path.clone().encoding(Source)).is_err());
    assert!(build(&path.clone().encoding(Destination)).is_ok());
    let end = edm.at_sigma(0.001).unwrap();
    assert!(build(&path.ending_at(end).unwrap().encoding(Source)).is_ok());
}

#[test]
fn image_to_image_starts_part_way() {
    let path = Flow::sd3().unwrap().path(28).unwrap();
    let part = path.clone().with_strength(0.5).unwrap();
    assert_eq!(part.points(), &path.points()[14..]);
    assert_eq!(path.clone().with_strength(1.0).unwrap(), path);
    let sd = NoiseSchedule::stable_diffusion().unwrap();
    let below = Path::karras(&sd, 20).unwrap().not_above_sigma(2.0).unwrap();
    assert!(below.points()[0].level.sigma() <= 2.0);
    assert_eq!(Path::karras(&sd, 90).unwrap().with_strength(0.7).unwrap().len(), 63);
}

/// Esser et al. 2024, Eq. 19 and 20: the distribution functions, by counting.
#[test]
fn training_draws_sigma_as_published() {
    use alphabar::objective::{FlowSigma, cosmap_weight, sigma_sqrt_weight};
    use rand::{SeedableRng, rngs::StdRng};
    let n = 200_000;
    let below = |law: FlowSigma, bound: f64| {
        let draws = law.sample(n, &mut StdRng::seed_from_u64(7)).unwrap();
        assert!(draws.iter().all(|sigma| *sigma > 0.0 && *sigma < 1.0));
        draws.iter().filter(|sigma| **sigma < bound).count() as f64 / n as f64
    };
    let phi = |x: f64| 0.5 * libm::erfc(-x / 2.0_f64.sqrt());
    let logit = |p: f64| (p / (1.0 - p)).ln();
    for bound in [0.1_f64, 0.3, 0.5, 0.8] {
        assert!((below(FlowSigma::uniform(), bound) - bound).abs() < 5e-3);
        let law = FlowSigma::logit_normal(-0.5, 0.7).unwrap();
        assert!((below(law, bound) - phi((logit(bound) + 0.5) / 0.7)).abs() < 5e-3);
        // σ falls with u: P(σ < bound) = 1 − u(bound), by bisection of Eq. 20.
        let of = |u: f64| 1.0 - u - 1.29 * ((std::f64::consts::FRAC_PI_2 * u).cos().powi(2) - 1.0 + u);
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if of(middle) > bound { low = middle } else { high = middle }
        }
        assert!((below(FlowSigma::mode(1.29).unwrap(), bound) - (1.0 - low)).abs() < 5e-3);
    }
    assert_eq!(sigma_sqrt_weight(0.5).unwrap(), 4.0);
    // The density of cosmap integrates to 1 (Simpson).
    let sum: f64 = (0..=1000)
        .map(|i| {
            let weight = if i == 0 || i == 1000 {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            };
            weight * cosmap_weight(f64::from(i) / 1000.0).unwrap()
        })
        .sum();
    close(sum / 3000.0, 1.0, 1e-9);
    assert!(FlowSigma::mode(1.8).is_err() && FlowSigma::logit_normal(0.0, 0.0).is_err() && cosmap_weight(1.5).is_err());
    assert!(FlowSigma::uniform().sample(usize::MAX, &mut StdRng::seed_from_u64(7)).is_err());
    assert!(sigma_sqrt_weight(0.0).is_err() && Flow::sd3().unwrap().shift_sigma(f64::NAN).is_err());
    close(Flow::sd3().unwrap().shift_sigma(0.5).unwrap(), 0.75, 1e-15);
}

/// σ ← 1 − (1−σ)·(1−terminal)/(1−σ_last), typed again, at every σ and not only at the last.
#[test]
fn a_stretch_moves_every_sigma_of_the_list() {
    let plain = Flow::sd3().unwrap().path(5).unwrap();
    let stretched = Flow::sd3().unwrap().stretched_to(0.1).unwrap().path(5).unwrap();
    let last = plain.points()[4].level.flow_sigma();
    for (plain, stretched) in plain.points().iter().zip(stretched.points()) {
        let wanted = 1.0 - (1.0 - plain.level.flow_sigma()) * (1.0 - 0.1) / (1.0 - last);
        close(stretched.level.flow_sigma(), wanted, 1e-14);
        close(stretched.t, 1000.0 * wanted, 1e-14);
    }
    assert_eq!(stretched.len(), 5);
}

#[test]
fn a_flow_walks_a_list_of_your_own() {
    let flow = Flow::sd3().unwrap();
    let list = [1.0, 0.75, 0.5, 0.25];
    assert_eq!(flow.path_through(list).unwrap(), flow.path(4).unwrap());
    // A 0 at the end is the end of the path and no point of it.
    assert_eq!(flow.path_through([1.0, 0.75, 0.5, 0.25, 0.0]).unwrap(), flow.path(4).unwrap());
    for bad in [vec![], vec![0.0], vec![0.5, 0.0, 0.2], vec![1.5], vec![-0.5], vec![f64::NAN]] {
        assert!(flow.path_through(bad.clone()).is_err(), "{bad:?}");
    }
    // A list that rises is refused, also where the stretch would turn its first σ into a large negative number.
    for flow in [Flow::default(), Flow::default().stretched_to(0.02).unwrap()] {
        for rising in [[0.5, 0.999], [0.5, 0.5], [0.2, 1.0]] {
            let refused = flow.path_through(rising);
            assert!(matches!(refused, Err(alphabar::Error::PathOrder { index: 1, .. })), "{refused:?}");
        }
    }
    // A shift takes no σ out of the domain of levels.
    let tiny = Flow::default().shifted(1e-6).unwrap();
    assert!(tiny.path_through([1e-45]).is_err());
    assert!(tiny.path_through([1e-30]).is_ok());
    // A list that starts half way, as for image-to-image, does not start in noise.
    let starts_with_signal = |path: &Path| {
        let plan = Plan::builder_along(path).prediction(Prediction::Flow).build(&Ddim::deterministic()).unwrap();
        plan.lint().iter().any(|lint| matches!(lint, alphabar::Lint::StartsWithSignal { .. }))
    };
    assert!(starts_with_signal(&Flow::default().path_through([0.5, 0.25]).unwrap()));
    assert!(!starts_with_signal(&Flow::default().path_through([0.9997, 0.5]).unwrap()));
}

/// Close to pure noise, 1 − σ takes its digits from beyond those of an f64.
#[test]
fn a_flow_keeps_the_digits_of_a_large_sigma() {
    for sigma in [1e-40, 1.0, 1e10, 1e20, 1e33, 1e44] {
        let point = Flow::default().at_sigma(sigma).unwrap();
        close(point.level.sigma(), sigma, 4e-16);
        close(point.level.signal(), 1.0 / (1.0 + sigma), 4e-16);
        close(point.level.noise(), sigma / (1.0 + sigma), 4e-16);
    }
    assert!(Flow::default().at_sigma(1e46).is_err() && Flow::default().at_sigma(f64::NAN).is_err());
}

#[test]
fn what_a_network_receives_is_finite() {
    let level = NoiseLevel::flow(0.5).unwrap();
    let path = Path::new([Point::new(500.0, level)]).unwrap();
    assert!(path.ending_at(Point::new(f64::NAN, NoiseLevel::CLEAN)).is_err());
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut point = Point::new(500.0, level);
        point.input_scale = bad;
        assert!(Path::new([point]).is_err(), "{bad}");
    }
}

/// Source tells the level that x is at, Destination the one that it goes to.
#[test]
fn encoding_tells_the_source_or_the_destination() {
    use alphabar::Conditioning::{Destination, Source};
    let path = Flow::default().path(4).unwrap();
    let received = |conditioning| -> Vec<f64> {
        let path = path.clone().encoding(conditioning);
        let plan = Plan::builder_along(&path).prediction(Prediction::Flow).build(&Ddim::deterministic()).unwrap();
        plan.steps().iter().map(|step| step.point().t).collect()
    };
    assert_eq!(received(Source), [0.0, 250.0, 500.0, 750.0]);
    assert_eq!(received(Destination), [250.0, 500.0, 750.0, 1000.0]);
}

/// Churn lifts σ = 49 of the list above σ = 51, which is out of its range: what is left starts below the bound all the same.
#[test]
fn what_is_left_below_a_sigma_starts_below_it_also_with_churn() {
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let path = Path::from_sigmas(&edm, [80.0, 51.0, 49.0, 20.0, 1.0]).unwrap();
    let churned = path.churned(&edm, 5.0, 0.05..=50.0, 1.0).unwrap();
    let below = churned.not_above_sigma(60.0).unwrap();
    assert!(below.points().iter().all(|point| point.level.sigma() <= 60.0), "{:?}", below.points());
    assert_eq!(below.len(), 2);
}

/// The ancestral step of rectified flows, as ComfyUI and LTX-Video have it.
#[test]
fn euler_ancestral_of_flows_is_comfyuis() {
    let [x, x0, z] = [0.7, -0.4, 1.3];
    for eta in [0.25, 0.7, 1.0] {
        for (sigma, next) in [(1.0, 0.8), (0.9, 0.5), (0.5, 0.45), (0.2, 0.01)] {
            let [from, to] = [sigma, next].map(|sigma| NoiseLevel::flow(sigma).unwrap());
            let k = EulerAncestral::rectified_flow(eta).unwrap().combine(&alphabar::Leg::new(from, to)).unwrap();
            let downstep = 1.0 + (next / sigma - 1.0) * eta;
            let down = next * downstep;
            let (alpha_next, alpha_down) = (1.0 - next, 1.0 - down);
            let renoise = (next * next - down * down * alpha_next * alpha_next / (alpha_down * alpha_down)).sqrt();
            let ratio = down / sigma;
            let wanted = alpha_next / alpha_down * (ratio * x + (1.0 - ratio) * x0) + renoise * z;
            close(k.x() * x + k.x0() * x0 + k.z() * z, wanted, 1e-13);
        }
    }
    let last = alphabar::Leg::new(NoiseLevel::flow(0.3).unwrap(), NoiseLevel::CLEAN);
    let k = EulerAncestral::rectified_flow(1.0).unwrap().combine(&last).unwrap();
    assert_eq!((k.x0(), k.x(), k.epsilon(), k.z()), (1.0, 0.0, 0.0, 0.0));
    for eta in [-0.1, 1.1, f64::NAN] {
        assert!(EulerAncestral::rectified_flow(eta).is_err() && EulerAncestral::new(eta).is_err());
    }
}

/// Eq. 9 and 12 of Flow-GRPO, and coefficients-preserving sampling with its variance kept.
#[test]
fn stochastic_flows_are_those_of_their_papers() {
    let [x, u, z] = [0.7, -0.4, 1.3];
    for (sigma, next) in [(1.0, 0.8), (0.9, 0.5), (0.5, 0.45), (0.2, 0.01)] {
        let [from, to] = [sigma, next].map(|sigma| NoiseLevel::flow(sigma).unwrap());
        let leg = alphabar::Leg::new(from, to);
        let of = |k: alphabar::Combination| {
            let x0 = x - sigma * u;
            k.x() * x + k.x0() * x0 + k.epsilon() * (x0 + u) + k.z() * z
        };
        let a = 0.7;
        let deviation = a * (sigma / (1.0 - if sigma == 1.0 { next } else { sigma })).sqrt();
        let step: f64 = next - sigma;
        let drift = u + deviation * deviation / (2.0 * sigma) * (x + (1.0 - sigma) * u);
        let wanted = x + drift * step + deviation * (-step).sqrt() * z;
        close(of(FlowSde::grpo(a).unwrap().combine(&leg).unwrap()), wanted, 1e-12);
        let eta: f64 = 0.6;
        let (sine, cosine) = (eta * std::f64::consts::FRAC_PI_2).sin_cos();
        let (x0, epsilon) = (x - sigma * u, x + (1.0 - sigma) * u);
        let wanted = (1.0 - next) * x0 + next * (cosine * epsilon + sine * z);
        close(of(FlowSde::cps(eta).unwrap().combine(&leg).unwrap()), wanted, 1e-12);
        assert_eq!(FlowSde::cps(1.0).unwrap().combine(&leg).unwrap().epsilon(), 0.0);
        for still in [FlowSde::grpo(0.0).unwrap(), FlowSde::cps(0.0).unwrap()] {
            assert_eq!(still.combine(&leg).unwrap(), Ddim::deterministic().combine(&leg).unwrap());
        }
    }
}

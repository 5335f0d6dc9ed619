//! Finite numbers give a finite number, an infinity that the documentation names, or an error of a type: every public scalar
//! function, over the whole range of an `f64`.

use alphabar::objective::{self, Antithetic, LossAware, Uniform};
use alphabar::predictor::guide;
use alphabar::reference::{DataDistribution, FiniteData, Gaussian, GaussianMixture};
use alphabar::{Conditional, Error, NoiseLevel, NoiseSchedule, Prediction, forward, posterior, slerp};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The least ᾱ and 1−ᾱ.
const LEAST: f64 = 1e-90;

const PREDICTIONS: [Prediction; 4] = [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score];

/// Any `f64`, and often one at a border; of every magnitude, subnormal to huge.
fn any_number() -> impl Strategy<Value = f64> {
    let special = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        1.0 - f64::EPSILON / 2.0,
        1.0 + f64::EPSILON,
        LEAST,
        LEAST * (1.0 - 1e-15),
        1e-45,
        1e45,
        1e100,
        1e-100,
        1e155,
        1e-155,
        1e-200,
        1e200,
        207.0,
        -207.0,
    ];
    prop_oneof![
        3 => prop::sample::select(special),
        2 => 0.0_f64..1.0,
        2 => (-744.0_f64..709.7, any::<bool>()).prop_map(|(log, minus)| if minus { -log.exp() } else { log.exp() }),
        1 => prop::num::f64::ANY,
    ]
}

/// A finite one.
fn any_finite() -> impl Strategy<Value = f64> {
    any_number().prop_filter("finite", |x| x.is_finite())
}

/// Any level that a constructor makes, of every log-SNR.
fn any_level() -> impl Strategy<Value = NoiseLevel> {
    let share = prop_oneof![Just(0.0), Just(LEAST), Just(1.0), (-207.2_f64..0.0).prop_map(f64::exp), 0.01_f64..1.0];
    (0..3, share, -207.2327_f64..=207.2327).prop_map(|(kind, share, log_snr)| match kind {
        0 => NoiseLevel::from_alpha_bar(share).unwrap(),
        1 => NoiseLevel::from_one_minus_alpha_bar(share).unwrap(),
        _ => NoiseLevel::from_log_snr(log_snr).unwrap(),
    })
}

/// Two levels, the noisier first; often equal or close neighbours.
fn any_leg() -> impl Strategy<Value = (NoiseLevel, NoiseLevel)> {
    (any_level(), any_level(), 0..4).prop_map(|(a, b, kind)| match kind {
        0 => (a, a),
        1 => {
            let next = NoiseLevel::from_one_minus_alpha_bar(a.one_minus_alpha_bar() * (1.0 - f64::EPSILON));
            (a, next.unwrap_or(a))
        }
        _ if a.log_snr() <= b.log_snr() => (a, b),
        _ => (b, a),
    })
}

/// 0, or in the domain up to the last digits of a constructor.
fn in_domain(share: f64) -> bool {
    share == 0.0 || (LEAST * 0.999..=1.0).contains(&share)
}

fn assert_level(level: &NoiseLevel) {
    let (alpha_bar, variance) = (level.alpha_bar(), level.one_minus_alpha_bar());
    assert!(in_domain(alpha_bar) && in_domain(variance), "{level:?}: {alpha_bar:e}, {variance:e}");
    assert!(level.signal().is_finite() && level.noise().is_finite(), "{level:?}");
    assert_eq!((level.is_clean(), level.is_pure_noise()), (variance == 0.0, alpha_bar == 0.0));
    // The documented infinities, and no others.
    assert_eq!(level.snr(), if level.is_clean() { f64::INFINITY } else { level.snr().clamp(0.0, 1.1e90) });
    assert_eq!(level.sigma(), if level.is_pure_noise() { f64::INFINITY } else { level.sigma().clamp(0.0, 1.1e45) });
    let bound = if level.is_clean() || level.is_pure_noise() { f64::INFINITY } else { 207.24 };
    assert!(level.log_snr().abs() <= bound && (bound < 300.0 || level.log_snr().is_infinite()), "{level:?}");
    assert!(level.to_string().len() < 40 && format!("{level:?}").len() < 60);
}

fn assert_schedule(schedule: &NoiseSchedule) {
    for (t, (level, beta)) in schedule.levels().iter().zip(schedule.betas()).enumerate() {
        assert_level(level);
        assert!(!level.is_clean() && (!level.is_pure_noise() || t + 1 == schedule.len()), "t = {t} of {schedule:?}");
        let fits = if level.is_pure_noise() { *beta == 1.0 } else { *beta > 0.0 && *beta < 1.0 };
        assert!(fits, "β[{t}] = {beta:e} of {schedule:?}");
    }
}

/// A finite number, if there is one.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "results of calls")]
fn assert_finite(result: Result<f64, Error>) {
    if let Ok(value) = result {
        assert!(value.is_finite(), "{value}");
    }
}

/// A number or an infinity, if there is one; of a documented sign.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "results of calls")]
fn assert_number(result: Result<f64, Error>, infinity: f64) {
    if let Ok(value) = result {
        assert!(value.is_finite() || value == infinity, "{value}");
    }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "results of calls")]
fn assert_conditional(result: Result<Conditional, Error>) {
    if let Ok(Conditional { x0, x, variance }) = result {
        assert!(x0.is_finite() && x.is_finite() && variance.is_finite() && variance >= 0.0, "{x0} {x} {variance}");
    }
}

#[test]
fn named_results_are_right() {
    // Levels that are too extreme are refused where they are made.
    for tiny in [1e-301, 5e-324, 9.9e-91] {
        assert!(matches!(NoiseLevel::from_one_minus_alpha_bar(tiny), Err(Error::Parameter { name: "1 − ᾱ", .. })));
        assert!(matches!(NoiseLevel::from_alpha_bar(tiny), Err(Error::Parameter { name: "ᾱ", .. })));
    }
    let error = NoiseSchedule::linear(1000, 1e-305, 0.02).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 − ᾱ[0] = 1e-305 is below 1e-90, the least that a noise level can have; use a larger β"
    );
    // ½·(ln v₂/v₁ + v₁/v₂ − 1)
    let (narrow, wide) = ((0.0, 1e-200), (0.0, 1e200));
    assert_eq!(objective::gaussian_kl(wide, narrow).unwrap(), f64::INFINITY);
    let found = objective::gaussian_kl(narrow, wide).unwrap();
    assert!((found - 0.5 * (400.0 * 10.0_f64.ln() - 1.0)).abs() < 1e-12, "{found}");
    // (μ₁ − μ₂)²/(2v), through squares that are no f64.
    let found = objective::gaussian_kl((1e200, 1e300), (0.0, 1e300)).unwrap();
    assert!((found / 0.5e100 - 1.0).abs() < 1e-15, "{found}");
    let found = objective::gaussian_kl((1e-170, 1e-320), (0.0, 1e-320)).unwrap();
    assert!((found / 0.5e-20 - 1.0).abs() < 1e-3, "{found}");
    let p2 = |prediction, level, k, gamma| objective::p2_weight(prediction, &level, k, gamma).unwrap();
    assert_eq!(p2(Prediction::Sample, NoiseLevel::PURE_NOISE, 1e-200, 2.0), 0.0);
    // 1e-80/(1e-80 + 1e-200)^5, where the power alone overflows.
    let level = NoiseLevel::from_alpha_bar(1e-80).unwrap();
    assert!((p2(Prediction::Sample, level, 1e-200, 4.0) / 1e240 - 1.0).abs() < 1e-12);
    assert_eq!(p2(Prediction::Sample, level, 1e-200, 5.0), f64::INFINITY);
    assert!(posterior::inference(&level, &NoiseLevel::CLEAN, 1e-200).is_err());
}

/// Of ln(Φ(u) − Φ(l)) at 50 digits.
#[test]
fn the_decoder_is_exact_for_narrow_and_far_bins() {
    let found = |x0, mean, std| objective::decoder_log_likelihood(x0, mean, std).unwrap();
    assert_eq!(found(0.0, 1e155, 1.0), f64::NEG_INFINITY);
    let width = (2.0 / 255.0_f64).ln();
    let expected = width - 1e14_f64.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((found(0.0, 0.0, 1e14) - expected).abs() < 1e-12 && (expected + 38.0).abs() < 0.05);
    for (x0, mean, std, wanted) in DECODED {
        let error = (found(x0, mean, std) - wanted).abs() / wanted.abs();
        assert!(error < 1e-12, "{x0} {mean} {std}: {:e} for {wanted:e}, {error:.1e}", found(x0, mean, std));
    }
}

/// x₀, mean, standard deviation, ln p(x₀), on both sides of every border between the methods of computing it.
const DECODED: [(f64, f64, f64, f64); 17] = [
    (0.2, -3.0, 50.0, -9.681_125_904_252_347),
    (0.2, 0.1, 3.9, -7.128_360_350_441_149),
    (0.2, 0.1, 4.0, -7.153_661_919_017_709),
    (0.0, 0.0, 3.0, -6.865_667_471_261_981),
    (0.2, -100.0, 1000.0, -12.679_830_196_787_828),
    (0.2, 30.0, 1.0, -449.784_782_350_654_2),
    (0.0, 3e5, 1e3, -45_012.674_809_946_11),
    (0.0, 3.9e5, 7.0, -1_552_040_796.960_976_2),
    (0.0, 4.1e5, 7.0, -1_715_306_101.532_795_3),
    (-0.6, 1e7, 3.0, -5_555_556_217_880.882),
    (0.6, -1e9, 1e5, -50_000_017.339_980_34),
    (0.0, 1e16, 1e6, -5e19),
    (0.0, 1e12, 1e-3, -4.999_999_999_999_961e29),
    (0.0, 2.0, 5.0, -7.456_492_896_357_974),
    (0.996, 0.9, 0.5, -5.092_349_591_724_348),
    (0.0, 1e10, 1e8, -5_024.187_735_641_755),
    (0.2, -0.3, 1.3, -6.103_384_951_593_952),
];

#[test]
fn a_sample_of_zeros_and_one_beyond_squares_are_interpolated() {
    // At the middle of a right angle the weights are 1/√2 whatever the norms.
    for (a, b) in [(1e-200, 1.0), (1e200, 1.0), (1e300, 1e-300), (5e-324, 1e308)] {
        let half = slerp(&vec![a, 0.0], &vec![0.0, b], 0.5).unwrap();
        for (found, wanted) in half.iter().zip([a, b]) {
            assert!((found - wanted * 0.5_f64.sqrt()).abs() <= 1e-15 * wanted + 5e-324, "{half:?} of {a} {b}");
        }
    }
    assert_eq!(slerp(&vec![0.0, 0.0], &vec![1.0, 0.0], 0.25).unwrap(), [0.25, 0.0]);
}

#[test]
fn the_score_of_data_without_a_density_points_to_it() {
    let mixture = |variance| {
        let component = |at: f64| Gaussian::new([at], [variance]).unwrap();
        GaussianMixture::new([(0.5, component(-1.0)), (0.5, component(1.0))]).unwrap()
    };
    let set = FiniteData::new(1, [-1.0, 1.0]).unwrap();
    let point = Gaussian::point([1.0]).unwrap();
    for data in [&point as &dyn DataDistribution, &mixture(0.0), &set] {
        let mut rows = [0.5, 1.0, 2.0];
        data.score(&mut rows, &NoiseLevel::CLEAN);
        assert_eq!(rows, [f64::INFINITY, 0.0, f64::NEG_INFINITY]);
    }
    // With one it is its gradient: that of ½·N(−1, v) + ½·N(1, v) at x is (tanh(x/v) − x)/v.
    let blurred = set.with_bandwidth(0.5).unwrap();
    for data in [&mixture(0.25) as &dyn DataDistribution, &blurred] {
        for x in [-1.3_f64, 0.0, 0.2, 2.0] {
            let mut rows = [x];
            data.score(&mut rows, &NoiseLevel::CLEAN);
            assert!((rows[0] - ((x / 0.25).tanh() - x) / 0.25).abs() < 1e-13, "{x}: {rows:?}");
        }
    }
}

#[test]
fn batches_are_bounded() {
    let mut rng = StdRng::seed_from_u64(1);
    for batch in [alphabar::MAX_TRAIN_STEPS + 1, usize::MAX] {
        let refused = [
            Uniform::new(10).unwrap().sample(batch, &mut rng).err(),
            Antithetic::new(10).unwrap().sample(batch, &mut rng).err(),
            LossAware::new(10).unwrap().sample(batch, &mut rng).err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(Error::Count { name: "the batch", value, .. }) if value == batch),
                "{error:?}"
            );
        }
    }
    assert_eq!(Uniform::new(10).unwrap().sample(alphabar::MAX_TRAIN_STEPS, &mut rng).unwrap().len(), 1_000_000);
    let endless = std::iter::repeat_with(|| (1.0, Gaussian::point([0.0]).unwrap()));
    assert!(matches!(GaussianMixture::new(endless), Err(Error::Count { name: "components", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn levels_are_in_their_domain(x in any_number()) {
        let share = x == 0.0 || (LEAST..=1.0).contains(&x);
        prop_assert_eq!(NoiseLevel::from_alpha_bar(x).is_ok(), share);
        prop_assert_eq!(NoiseLevel::from_one_minus_alpha_bar(x).is_ok(), share);
        prop_assert_eq!(NoiseLevel::from_log_snr(x).is_ok(), x.abs() <= 207.2327);
        prop_assert_eq!(NoiseLevel::from_sigma(x).is_ok(), x == 0.0 || (1e-45..=1e45).contains(&x));
        for level in [
            NoiseLevel::from_alpha_bar(x),
            NoiseLevel::from_one_minus_alpha_bar(x),
            NoiseLevel::from_log_snr(x),
            NoiseLevel::from_sigma(x),
        ].into_iter().flatten() {
            assert_level(&level);
        }
    }

    #[test]
    fn levels_go_to_log_snr_and_back(level in any_level()) {
        assert_level(&level);
        if !level.is_clean() && !level.is_pure_noise() {
            let back = NoiseLevel::from_log_snr(level.log_snr()).unwrap();
            prop_assert!((back.log_snr() - level.log_snr()).abs() < 1e-13);
            prop_assert!((back.snr() / level.snr() - 1.0).abs() < 1e-13);
            let back = NoiseLevel::from_sigma(level.sigma().clamp(1e-45, 1e45)).unwrap();
            prop_assert!((back.sigma() / level.sigma() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn distributions_between_levels_are_finite((t, s) in any_leg(), number in any_number(), share in 0.0_f64..=1.0) {
        assert_conditional(Ok(posterior::marginal(&t)));
        // Between levels in order everything is defined but at clean data.
        for (t, s, ordered) in [(&t, &s, true), (&s, &t, false)] {
            prop_assert!(posterior::transition(s, t).is_ok() || !ordered);
            assert_conditional(posterior::transition(s, t));
            prop_assert!(posterior::ddpm_posterior(t, s).is_ok() || !ordered || t.is_clean());
            assert_conditional(posterior::ddpm_posterior(t, s));
            assert_finite(posterior::sigma(t, s, number));
            for sigma in [number, share * s.noise(), s.noise()] {
                assert_conditional(posterior::inference(t, s, sigma));
                assert_conditional(posterior::forward(s, t, sigma));
                assert_finite(objective::gamma(t, s, sigma));
            }
        }
    }

    #[test]
    fn the_posterior_keeps_its_digits_over_the_whole_domain((t, s) in any_leg()) {
        if t.is_clean() || t.is_pure_noise() || s.is_clean() {
            return Ok(());
        }
        // β̃ = (1−ᾱ_s)/(1−ᾱ_t)·β and the weight of x_t, √α·(1−ᾱ_s)/(1−ᾱ_t), from numbers that each have an f64's digits.
        let (posterior, transition) = (posterior::ddpm_posterior(&t, &s).unwrap(), posterior::transition(&s, &t).unwrap());
        let ratio = s.one_minus_alpha_bar() / t.one_minus_alpha_bar();
        prop_assert!((posterior.variance - ratio * transition.variance).abs() <= 1e-15 * posterior.variance);
        prop_assert!((posterior.x - ratio * transition.x).abs() <= 1e-15 * posterior.x);
        // The two marginals agree: √ᾱ_s = x0 + x·√ᾱ_t, and 1−ᾱ_s = variance + x²·(1−ᾱ_t).
        prop_assert!((posterior.x0 + posterior.x * t.signal() - s.signal()).abs() <= 1e-15 * s.signal());
        let variance = posterior.variance + posterior.x * posterior.x * t.one_minus_alpha_bar();
        prop_assert!((variance - s.one_minus_alpha_bar()).abs() <= 2e-15 * s.one_minus_alpha_bar());
    }

    #[test]
    fn weights_and_terms_of_the_objective_are_numbers(
        level in any_level(), (a, b, c, d) in (any_number(), any_number(), any_number(), any_number()),
    ) {
        assert_number(objective::gaussian_kl((a, b), (c, d)), f64::INFINITY);
        prop_assert!(!objective::gaussian_kl((a, b), (c, d)).is_ok_and(|kl| kl < 0.0));
        assert_number(objective::prior_kl(&level, a), f64::INFINITY);
        assert_number(objective::decoder_log_likelihood(a, b, c), f64::NEG_INFINITY);
        prop_assert!(!objective::decoder_log_likelihood(a, b, c).is_ok_and(|log| log > 0.0));
        for prediction in PREDICTIONS {
            let clean = level.is_clean() && prediction == Prediction::Sample;
            let infinity = if clean { f64::INFINITY } else { 0.0 };
            assert_number(Ok(objective::epsilon_equivalent(prediction, &level)), infinity);
            assert_finite(objective::min_snr_weight(prediction, &level, a));
            assert_number(objective::p2_weight(prediction, &level, a, b), f64::INFINITY);
            for to in PREDICTIONS {
                if let Ok(conversion) = prediction.to(to, &level) {
                    prop_assert!(conversion.x.is_finite() && conversion.model.is_finite(), "{prediction} {to} {level}");
                } else {
                    prop_assert!(level.is_clean() || level.is_pure_noise());
                }
            }
        }
    }

    #[test]
    fn the_decoder_is_a_distribution(mean in any_finite(), std in any_finite(), byte in 0..=255) {
        let std = if std == 0.0 { 1.0 } else { std.abs() };
        let x0 = f64::from(2 * byte) / 255.0 - 1.0;
        let found = objective::decoder_log_likelihood(x0, mean, std).unwrap();
        // Never more than the highest density times the width of the bin, and for |z| in range near its parabola.
        prop_assert!(found <= 0.0);
        let z = (x0 - mean) / std;
        if byte > 0 && byte < 255 {
            let width = 2.0 / 255.0 / std;
            prop_assert!(found <= (width * 0.398_942_280_401_432_7).ln().max(0.0) + 1e-9 || width > 1.0);
            if z.abs() > 1e3 && z.abs() < 1e150 && (mean.abs() > 1e3 || std < 1.0) {
                // The nearer end of the bin is at most half a bin closer than its middle.
                let near = (z.abs() - width / 2.0).max(0.0);
                prop_assert!(found <= -0.5 * near * near * (1.0 - 1e-12) + width.ln().max(0.0));
                prop_assert!(found >= -0.5 * z * z * (1.0 + 1e-12) + width.ln() - 1.0);
            }
        }
    }

    #[test]
    fn schedules_are_in_the_domain(
        family in 0..9, train_steps in 1_usize..6, (a, b) in (any_number(), any_number()),
        list in prop::collection::vec(any_number(), 0..6), k in any_number(),
    ) {
        let schedule = match family {
            0 => NoiseSchedule::linear(train_steps, a, b),
            1 => NoiseSchedule::scaled_linear(train_steps, a, b),
            2 => NoiseSchedule::sigmoid(train_steps, a, b),
            3 => NoiseSchedule::constant(train_steps, a),
            4 => NoiseSchedule::cosine_with(train_steps, a, b),
            5 => NoiseSchedule::laplace(train_steps, a, b),
            6 => NoiseSchedule::from_alpha_bar_fn(train_steps, a, |u| if u == 0.0 { 1.0 } else { b * (1.0 - u) }),
            7 => NoiseSchedule::from_betas(list),
            _ => NoiseSchedule::from_alpha_bars(list),
        };
        let Ok(schedule) = schedule else { return Ok(()) };
        assert_schedule(&schedule);
        if let Ok(shifted) = schedule.shifted(k) {
            assert_schedule(&shifted);
        }
        if let Ok(rescaled) = schedule.rescale_zero_terminal_snr() {
            assert_schedule(&rescaled);
            assert!(rescaled.levels()[rescaled.len() - 1].is_pure_noise());
        }
        prop_assert!(schedule.nearest_to_log_snr(k).is_ok_and(|t| t < schedule.len()) || k.is_nan());
    }

    #[test]
    fn tensors_of_moderate_numbers_stay_finite(
        (t, s) in any_leg(), (x, y) in (-3.0_f64..3.0, -3.0_f64..3.0), number in any_number(), u in any_number(),
    ) {
        let finite = |result: Result<Vec<f64>, Error>| result.is_err() || result.is_ok_and(|x| x.iter().all(|x| x.is_finite()));
        let (x, y) = (vec![x, 1.0], vec![y, -0.5]);
        prop_assert!(finite(forward::add_noise(&x, &y, &[t])));
        prop_assert!(finite(forward::velocity(&x, &y, &[t])));
        prop_assert!(finite(forward::renoise(&x, &y, &s, &t)));
        for (from, to) in PREDICTIONS.iter().flat_map(|from| PREDICTIONS.map(|to| (*from, to))) {
            prop_assert!(finite(forward::convert(&x, &y, from, to, &[t])));
        }
        prop_assert!(finite(slerp(&x, &y, u)));
        if number.abs() < 1e300 {
            prop_assert!(finite(guide(&x, &x, &y, number)));
        }
    }

    #[test]
    fn latents_of_any_size_are_interpolated((a, b) in (any_finite(), any_finite()), u in 0.0_f64..=1.0) {
        // The larger weight is below 1e4, for latents that are nearly opposite.
        let (a, b) = (a.clamp(-1e303, 1e303), b.clamp(-1e303, 1e303));
        let found = slerp(&vec![a, b], &vec![b, -a], u).unwrap();
        prop_assert!(found.iter().all(|x| x.is_finite()), "{found:?}");
    }

    #[test]
    fn exact_predictors_are_numbers(
        (level, to) in (any_level(), any_level()), (mean, variance, h) in (any_number(), any_number(), any_number()),
        x in -1e100_f64..1e100, near in -3.0_f64..3.0,
    ) {
        let mut all: Vec<Box<dyn DataDistribution>> = Vec::new();
        if let Ok(gaussian) = Gaussian::new([mean, 0.5], [variance, 0.0]) {
            let other = Gaussian::new([near, -0.5], [0.0, 1.0]).unwrap();
            let mixture = GaussianMixture::new([(1.0, gaussian.clone()), (0.3, other)]);
            all.push(Box::new(mixture.unwrap()));
            let mut rows = [x, near];
            gaussian.flow(&mut rows, &level, &to);
            prop_assert!(rows.iter().all(|x| x.is_finite()), "{rows:?}");
            all.push(Box::new(gaussian));
        }
        if let Ok(set) = FiniteData::new(2, [mean, 0.5, 0.0, -1.0]) {
            all.extend(set.clone().with_bandwidth(h).map(|set| Box::new(set) as _));
            all.push(Box::new(set));
        }
        for data in all {
            for start in [[x, near], [near, near], [mean, 0.5]] {
                let of = |change: &dyn Fn(&mut [f64])| {
                    let mut rows = start;
                    change(&mut rows);
                    rows
                };
                let finite = of(&|rows| data.denoise(rows, &level)).iter().all(|x| x.is_finite());
                prop_assert!(finite, "x₀ of {start:?} at {level}");
                prop_assert!(of(&|rows| data.epsilon(rows, &level)).iter().all(|x| x.is_finite()));
                let score = of(&|rows| data.score(rows, &level));
                prop_assert!(score.iter().all(|x| x.is_finite() || level.is_clean() && !x.is_nan()), "{score:?}");
            }
        }
    }

    #[test]
    fn probabilities_of_t_are_numbers(losses in prop::collection::vec(any_number(), 30)) {
        let mut sampler = LossAware::new(3).unwrap();
        for (i, loss) in losses.iter().enumerate() {
            let taken = sampler.update(i % 3, *loss).is_ok();
            prop_assert_eq!(taken, (0.0..=1e100).contains(loss));
            // Until each t has ten.
            while !taken && sampler.update(i % 3, 0.0).is_err() {}
        }
        let probabilities = sampler.probabilities();
        prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        prop_assert!(probabilities.iter().all(|p| *p >= 0.999e-3 / 3.0));
        let drawn = sampler.sample(5, &mut StdRng::seed_from_u64(1)).unwrap();
        prop_assert!(drawn.iter().all(|drawn| drawn.weight.is_finite() && drawn.weight <= 1001.0));
    }
}

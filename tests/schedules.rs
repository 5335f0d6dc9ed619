//! Noise schedules, noise levels and the conversions between predictions, against the formulas of their papers.

use std::f64::consts::PI;

use alphabar::{Error, NoiseLevel, NoiseSchedule, Prediction, Timesteps, forward};
use proptest::prelude::*;

#[track_caller]
fn assert_close(found: f64, wanted: f64, relative: f64) {
    assert!((found - wanted).abs() <= relative * wanted.abs(), "{found} for {wanted}: {:e}", found / wanted - 1.0);
}

/// Every ᾱ in (0, 1], every β in (0, 1), and each level strictly noisier than the one before.
///
/// ᾱ in `f64` cannot fall below 1 by less than 1e-16; there 1−ᾱ has to rise.
fn assert_schedule(schedule: &NoiseSchedule, train_steps: usize) {
    assert_eq!(
        (schedule.len(), schedule.levels().len(), schedule.betas().len()),
        (train_steps, train_steps, train_steps)
    );
    let mut previous = NoiseLevel::CLEAN;
    for (t, level) in schedule.levels().iter().enumerate() {
        let (alpha_bar, variance) = (level.alpha_bar(), level.one_minus_alpha_bar());
        assert!(alpha_bar > 0.0 && alpha_bar <= 1.0 && variance > 0.0 && variance <= 1.0, "t = {t}: {level:?}");
        let (fallen, risen) = (previous.alpha_bar() - alpha_bar, variance - previous.one_minus_alpha_bar());
        assert!(fallen >= 0.0 && risen >= 0.0, "t = {t}: {level:?} after {previous:?}");
        assert!(if alpha_bar < 0.5 { fallen > 0.0 } else { risen > 0.0 }, "t = {t}: {level:?} after {previous:?}");
        assert!(schedule.betas()[t] > 0.0 && schedule.betas()[t] < 1.0);
        assert_eq!((schedule.level(t).unwrap(), schedule.beta(t).unwrap()), (*level, schedule.betas()[t]));
        previous = *level;
    }
}

// Families.

#[test]
fn linear_is_ho2020_section_4() {
    for (train_steps, start, end) in [(1000, 1e-4, 0.02), (7, 0.3, 0.1), (2, 0.5, 0.25), (4000, 1e-5, 1e-2)] {
        let schedule = NoiseSchedule::linear(train_steps, start, end).unwrap();
        for (t, beta) in schedule.betas().iter().enumerate() {
            assert_close(*beta, start + (end - start) * t as f64 / (train_steps - 1) as f64, 1e-14);
        }
        assert_eq!((schedule.betas()[0], schedule.betas()[train_steps - 1]), (start, end));
    }
}

#[test]
fn scaled_linear_is_linear_in_the_root() {
    for (train_steps, start, end) in [(1000, 0.00085_f64, 0.012_f64), (5, 0.3, 0.1)] {
        let schedule = NoiseSchedule::scaled_linear(train_steps, start, end).unwrap();
        for (t, beta) in schedule.betas().iter().enumerate() {
            let root = start.sqrt() + (end.sqrt() - start.sqrt()) * t as f64 / (train_steps - 1) as f64;
            assert_close(*beta, root * root, 1e-14);
        }
    }
}

#[test]
fn sigmoid_is_a_logistic_curve_from_minus_6_to_6() {
    let (start, end) = (1e-4, 0.02);
    let schedule = NoiseSchedule::sigmoid(1000, start, end).unwrap();
    for (t, beta) in schedule.betas().iter().enumerate() {
        let x = -6.0 + 12.0 * t as f64 / 999.0;
        assert_close(*beta, 1.0 / (1.0 + (-x).exp()) * (end - start) + start, 1e-14);
    }
}

#[test]
fn cosine_is_nichol_dhariwal_2021_eq_17() {
    for (train_steps, offset, cap) in [(1000, 0.008, 0.999), (4000, 0.008, 0.999), (10, 0.0, 0.5), (50, 1.0, 0.999)] {
        let f = |u: f64| ((u + offset) / (1.0 + offset) * PI / 2.0).cos().powi(2);
        let schedule = NoiseSchedule::cosine_with(train_steps, offset, cap).unwrap();
        for (t, beta) in schedule.betas().iter().enumerate() {
            let total = train_steps as f64;
            let naive = (1.0 - f((t + 1) as f64 / total) / f(t as f64 / total)).min(cap);
            // The naive form divides by the square of a cosine, which near π/2 is as good as the angle's last digit.
            let rounding = 1e-15 * (1.0 + 1.0 / f(t as f64 / total).sqrt());
            assert!((beta - naive).abs() < rounding, "T = {train_steps}, t = {t}: {beta} for {naive}");
        }
    }
    assert_eq!(NoiseSchedule::cosine(1000).unwrap(), NoiseSchedule::cosine_with(1000, 0.008, 0.999).unwrap());
    // Where integer division in (t + 1)/T leaves β = 0 for all but the last.
    let schedule = NoiseSchedule::cosine(1000).unwrap();
    assert_close(schedule.beta(0).unwrap(), 4.1284e-5, 1e-5);
    assert_close(schedule.beta(500).unwrap(), 3.1557e-3, 1e-5);
    assert_eq!(schedule.beta(999).unwrap(), 0.999);
}

#[test]
fn constant_is_a_power() {
    let schedule = NoiseSchedule::constant(50, 0.3).unwrap();
    for (t, level) in (1..).zip(schedule.levels()) {
        assert_close(level.alpha_bar(), 0.7_f64.powi(t), 1e-14);
    }
}

#[test]
fn jsd_falls_linearly_to_zero_terminal_snr() {
    for train_steps in [2, 3, 10, 1000, 4000] {
        let schedule = NoiseSchedule::jsd(train_steps).unwrap();
        for (t, (beta, level)) in schedule.betas().iter().zip(schedule.levels()).enumerate() {
            assert_close(*beta, 1.0 / (train_steps - t) as f64, 1e-15);
            assert_close(level.alpha_bar(), (train_steps - 1 - t) as f64 / train_steps as f64, 1e-15);
            assert_close(level.one_minus_alpha_bar(), (t + 1) as f64 / train_steps as f64, 1e-15);
        }
        assert!(schedule.levels()[train_steps - 1].is_pure_noise());
    }
}

#[test]
fn laplace_follows_the_quantiles_of_its_distribution() {
    for (train_steps, mu, b) in [(1000, 0.0, 0.5), (999, -1.0, 0.25), (3, 2.0, 1.0)] {
        let schedule = NoiseSchedule::laplace(train_steps, mu, b).unwrap();
        for (t, level) in schedule.levels().iter().enumerate() {
            // λ(u) = μ − b·sgn(½ − u)·ln(1 − 2|u − ½|), with little noise, and so a large λ, at small u.
            let u = (t as f64 + 0.5) / train_steps as f64;
            let naive = mu - b * (0.5 - u).signum() * (1.0 - 2.0 * (u - 0.5).abs()).ln();
            assert!((level.log_snr() - naive).abs() < 1e-12, "t = {t}: {} for {naive}", level.log_snr());
        }
    }
}

#[test]
fn presets_are_the_released_tables() {
    // The last entries of diffusers' `alphas_cumprod`, of f32 betas; 1 − fl32(0.999) alone is off by 1.3e-5.
    for (schedule, last, single_precision) in [
        (NoiseSchedule::ddpm(), 4.035_830_352e-5, 1e-6),
        (NoiseSchedule::stable_diffusion(), 4.660_095e-3, 1e-6),
        (NoiseSchedule::cosine(1000), 2.428_735e-9, 1.4e-5),
    ] {
        assert_close(schedule.unwrap().level(999).unwrap().alpha_bar(), last, single_precision);
    }
    assert_eq!(NoiseSchedule::ddpm().unwrap(), NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap());
    assert_eq!(NoiseSchedule::stable_diffusion().unwrap(), NoiseSchedule::scaled_linear(1000, 0.00085, 0.012).unwrap());
    assert_eq!(NoiseSchedule::improved_ddpm().unwrap(), NoiseSchedule::cosine(4000).unwrap());
}

#[test]
fn every_family_works_at_every_short_length() {
    for train_steps in 1..=64 {
        for schedule in [
            NoiseSchedule::linear(train_steps, 1e-4, 0.02),
            NoiseSchedule::scaled_linear(train_steps, 0.00085, 0.012),
            NoiseSchedule::sigmoid(train_steps, 1e-4, 0.02),
            NoiseSchedule::constant(train_steps, 0.01),
            NoiseSchedule::cosine(train_steps),
            NoiseSchedule::laplace(train_steps, 0.0, 0.5),
        ] {
            assert_schedule(&schedule.unwrap(), train_steps);
        }
    }
}

/// Any family with any parameters that do not carry ᾱ out of what an `f64` holds.
fn any_family() -> impl Strategy<Value = (usize, Result<NoiseSchedule, Error>)> {
    let train_steps = prop_oneof![1_usize..20, 1_usize..=4000, Just(1000), Just(4000)];
    // 0.95^4000 is 8e-90.
    (0..7, train_steps, 1e-8_f64..0.05, 1e-8_f64..0.05, 0.0_f64..=1.0, 0.1_f64..=0.999, -9.0_f64..9.0, 0.05_f64..9.0)
        .prop_map(|(family, total, start, end, offset, cap, mu, b)| {
            let schedule = match family {
                0 => NoiseSchedule::linear(total, start, end),
                1 => NoiseSchedule::scaled_linear(total, start, end),
                2 => NoiseSchedule::sigmoid(total, start, end),
                3 => NoiseSchedule::constant(total, start),
                4 => NoiseSchedule::cosine_with(total, offset, cap),
                5 => NoiseSchedule::laplace(total, mu, b),
                _ => NoiseSchedule::from_alpha_bar_fn(total, cap, |u| (-9.0 * (offset * u + u * u)).exp()),
            };
            (total, schedule)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn alpha_bar_falls_strictly_in_every_family((train_steps, schedule) in any_family()) {
        assert_schedule(&schedule.unwrap(), train_steps);
    }

    #[test]
    fn alpha_bar_is_the_product_of_1_minus_beta((_, schedule) in any_family()) {
        let schedule = schedule.unwrap();
        // 1−ᾱ = −expm1(Σ ln(1−β)) has no subtraction from 1, and is another way round than a recurrence.
        let (mut log_alpha_bar, mut rounding) = (0.0, 0.0);
        for (beta, level) in schedule.betas().iter().zip(schedule.levels()) {
            log_alpha_bar += (-beta).ln_1p();
            // A β rounded to an f64 knows 1−β the worse the closer it is to 1.
            rounding += 5e-16 * (1.0 + beta / (1.0 - beta)) * (1.0 + log_alpha_bar.abs());
            prop_assert!((level.alpha_bar() / log_alpha_bar.exp() - 1.0).abs() < rounding);
            prop_assert!((level.one_minus_alpha_bar() / -log_alpha_bar.exp_m1() - 1.0).abs() < rounding);
        }
    }
}

#[test]
fn one_minus_alpha_bar_keeps_its_digits_near_clean_data() {
    let schedule = NoiseSchedule::constant(8, 2.0_f64.powi(-40)).unwrap();
    // 1 − (1 − β)ⁿ = nβ − n(n−1)/2·β² + …, of which the third term is below the last digit.
    for (n, level) in (1..).map(f64::from).zip(schedule.levels()) {
        let beta = schedule.betas()[0];
        assert_close(level.one_minus_alpha_bar(), n * beta * (1.0 - (n - 1.0) / 2.0 * beta), 2e-16);
    }
    // The first 1−ᾱ is β itself, where `1.0 - alpha_bar` has lost four digits.
    let first = NoiseSchedule::ddpm().unwrap().level(0).unwrap();
    assert_eq!(first.one_minus_alpha_bar(), 1e-4);
    assert!(((1.0 - first.alpha_bar()) / 1e-4 - 1.0).abs() > 1e-13);
}

// From data of one's own.

proptest! {
    #[test]
    fn betas_make_the_schedule_that_gives_them(betas in prop::collection::vec(1e-12_f64..0.9, 1..200)) {
        let schedule = NoiseSchedule::from_betas(betas.clone()).unwrap();
        prop_assert_eq!(schedule.betas(), &betas[..]);
        prop_assert_eq!(NoiseSchedule::from_betas(schedule.betas().to_vec()).unwrap(), schedule);
    }

    #[test]
    fn alpha_bars_make_the_schedule_that_gives_them(
        betas in prop::collection::vec(1e-3_f64..0.9, 1..100), zero in any::<bool>(),
    ) {
        let mut alpha_bars: Vec<f64> =
            betas.iter().scan(1.0, |alpha_bar, beta| { *alpha_bar *= 1.0 - beta; Some(*alpha_bar) }).collect();
        if zero {
            alpha_bars.push(0.0);
        }
        let schedule = NoiseSchedule::from_alpha_bars(alpha_bars.clone()).unwrap();
        let mut previous = 1.0;
        for ((level, beta), alpha_bar) in schedule.levels().iter().zip(schedule.betas()).zip(&alpha_bars) {
            prop_assert_eq!((level.alpha_bar(), level.one_minus_alpha_bar()), (*alpha_bar, 1.0 - alpha_bar));
            // β_t = 1 − ᾱ_t/ᾱ_{t−1}, the naive form with the rounding of its quotient.
            prop_assert!((beta - (1.0 - alpha_bar / previous)).abs() < 3e-16);
            previous = *alpha_bar;
        }
    }

    #[test]
    fn the_two_tables_of_a_schedule_make_the_same_schedule(start in 1e-4_f64..0.05, end in 1e-4_f64..0.05) {
        let by_betas = NoiseSchedule::linear(200, start, end).unwrap();
        let by_levels = NoiseSchedule::from_alpha_bars(by_betas.levels().iter().map(NoiseLevel::alpha_bar)).unwrap();
        for (wanted, found) in by_betas.betas().iter().zip(by_levels.betas()) {
            // A table of ᾱ in f64 knows each β to the rounding of ᾱ, absolutely.
            prop_assert!((wanted - found).abs() < 4e-16);
        }
    }
}

#[test]
fn a_continuous_alpha_bar_is_discretised_as_improved_ddpm_does() {
    let f = |u: f64| ((u + 0.008) / 1.008 * PI / 2.0).cos().powi(2);
    let schedule = NoiseSchedule::from_alpha_bar_fn(1000, 0.999, f).unwrap();
    for (found, wanted) in schedule.betas().iter().zip(NoiseSchedule::cosine(1000).unwrap().betas()) {
        assert!((found - wanted).abs() < 1e-13);
    }
    // β = min(1 − ᾱ((t+1)/T)/ᾱ(t/T), cap), so that uncapped levels are ᾱ((t+1)/T)/ᾱ(0).
    let g = |u: f64| 0.9 * (-3.0 * u).exp();
    let schedule = NoiseSchedule::from_alpha_bar_fn(100, 0.999, g).unwrap();
    for (t, level) in schedule.levels().iter().enumerate() {
        assert_close(level.alpha_bar(), g((t + 1) as f64 / 100.0) / g(0.0), 1e-14 * 100.0);
    }
    // ᾱ(1) = 0 is met by the cap.
    let schedule = NoiseSchedule::from_alpha_bar_fn(10, 0.75, |u| 1.0 - u).unwrap();
    assert_eq!(schedule.betas()[9], 0.75);
}

#[test]
fn zero_terminal_snr_is_lin2023_algorithm_1() {
    for before in [
        NoiseSchedule::stable_diffusion().unwrap(),
        NoiseSchedule::ddpm().unwrap(),
        NoiseSchedule::cosine(1000).unwrap(),
        NoiseSchedule::constant(2, 0.1).unwrap(),
    ] {
        let after = before.rescale_zero_terminal_snr().unwrap();
        let roots: Vec<f64> = before.levels().iter().map(NoiseLevel::signal).collect();
        let (first, last) = (roots[0], roots[roots.len() - 1]);
        for (t, (root, level)) in roots.iter().zip(after.levels()).enumerate() {
            let shifted = (root - last) * first / (first - last);
            assert!((level.alpha_bar() - shifted * shifted).abs() < 1e-15, "t = {t}");
            assert!((level.alpha_bar() + level.one_minus_alpha_bar() - 1.0).abs() < 2e-16);
        }
        let (start, end) = (after.levels()[0], after.levels()[before.len() - 1]);
        assert_close(start.alpha_bar(), before.levels()[0].alpha_bar(), 2e-16);
        assert_close(start.one_minus_alpha_bar(), before.levels()[0].one_minus_alpha_bar(), 1e-14);
        assert_eq!(
            (end, end.alpha_bar(), end.snr(), end.log_snr()),
            (NoiseLevel::PURE_NOISE, 0.0, 0.0, f64::NEG_INFINITY)
        );
        assert_eq!(after.betas()[before.len() - 1], 1.0);
        assert!(after.levels().is_sorted_by(|a, b| a.alpha_bar() > b.alpha_bar()));
        // What has zero terminal SNR stays as it is.
        for (again, once) in after.rescale_zero_terminal_snr().unwrap().levels().iter().zip(after.levels()) {
            assert!((again.alpha_bar() - once.alpha_bar()).abs() < 2e-16);
        }
    }
}

/// ᾱ' = ᾱ/(k + (1−k)·ᾱ): an offset of −ln k in log-SNR.
#[test]
fn shifted_divides_every_snr() {
    let before = NoiseSchedule::stable_diffusion().unwrap();
    for k in [1e-9, 0.2, 1.0, 3.0, 7.3, 1e9] {
        let after = before.shifted(k).unwrap();
        for (t, (old, new)) in before.levels().iter().zip(after.levels()).enumerate() {
            let alpha_bar = old.alpha_bar();
            assert_close(
                new.alpha_bar(),
                alpha_bar / (k + (1.0 - k) * alpha_bar),
                1e-15 * (1.0 + k / (1.0 - alpha_bar)),
            );
            assert_close(new.snr(), old.snr() / k, 4e-16);
            assert!(
                (new.log_snr() - (old.log_snr() - k.ln())).abs() < 1e-14 * (10.0 + k.ln().abs()),
                "k = {k}, t = {t}"
            );
            let previous = t.checked_sub(1).map_or(NoiseLevel::CLEAN, |t| after.levels()[t]);
            let beta = (previous.alpha_bar() - new.alpha_bar()) / previous.alpha_bar();
            assert!((after.betas()[t] - beta).abs() < 4e-16, "k = {k}, t = {t}");
        }
    }
    // Shifts compose by multiplication, and 1 is none.
    let (at_once, in_turn) = (before.shifted(6.0).unwrap(), before.shifted(2.0).unwrap().shifted(3.0).unwrap());
    for (a, b) in at_once.levels().iter().zip(in_turn.levels()) {
        assert_eq!((a.alpha_bar(), a.one_minus_alpha_bar()), (b.alpha_bar(), b.one_minus_alpha_bar()));
    }
    for (a, b) in before.shifted(1.0).unwrap().levels().iter().zip(before.levels()) {
        assert_eq!((a.alpha_bar(), a.one_minus_alpha_bar()), (b.alpha_bar(), b.one_minus_alpha_bar()));
    }
    // Pure noise stays that.
    let zero = before.rescale_zero_terminal_snr().unwrap().shifted(3.0).unwrap();
    assert_eq!(zero.level(999).unwrap(), NoiseLevel::PURE_NOISE);
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e101] {
        assert!(matches!(before.shifted(wrong), Err(Error::Parameter { name: "the shift k", .. })), "{wrong}");
    }
    assert!(matches!(before.shifted(1e95), Err(Error::LevelRange { what: "ᾱ", t: 0, .. })));
    assert!(matches!(before.shifted(1e-95), Err(Error::LevelRange { what: "1 − ᾱ", t: 0, .. })));
}

/// β = 1 is that of pure noise alone, so that a list of β can be given back.
#[test]
fn a_beta_that_rounds_to_1_stays_below_it() {
    let below = 1.0 - f64::EPSILON / 2.0;
    let schedule = NoiseSchedule::laplace(3, -45.0, 0.5).unwrap();
    assert_eq!(schedule.betas()[0], below);
    assert!(NoiseSchedule::from_betas(schedule.betas().to_vec()).is_ok());
    let schedule = NoiseSchedule::from_alpha_bars([0.5, 1e-30, 0.0]).unwrap();
    assert_eq!(schedule.betas(), [0.5, below, 1.0]);
}

/// Of two equal steps of little noise the middle is at half the way, ᾱ' = ᾱ_0·(½)², however little it is.
#[test]
fn zero_terminal_snr_is_exact_for_schedules_of_little_noise() {
    for beta in [1e-90, 1e-40, 1e-25, 1e-12] {
        let schedule = NoiseSchedule::constant(5, beta).unwrap().rescale_zero_terminal_snr().unwrap();
        for (t, level) in schedule.levels().iter().enumerate() {
            assert_close(level.alpha_bar(), ((4 - t) as f64 / 4.0).powi(2), 1e-11);
        }
        assert_eq!(schedule.level(0).unwrap().one_minus_alpha_bar(), beta);
    }
    // Here the roots of ᾱ agree in all their 32 digits, or in all but the last.
    for (first, beta) in
        [(0.3, 2e-33), (0.3, 1e-32), (0.01, 5e-33), (0.9, 2e-33), (0.9, 1e-32), (0.9, 2e-32), (1e-3, 3e-32)]
    {
        let schedule = NoiseSchedule::from_betas([first, beta, beta]).unwrap().rescale_zero_terminal_snr().unwrap();
        let [start, middle] = [0, 1].map(|t| schedule.level(t).unwrap().alpha_bar());
        assert_close(start, 1.0 - first, 2e-15);
        assert!((middle / start - 0.25).abs() < 0.01, "{first} {beta:e}: {middle} of {start}");
    }
}

#[test]
fn a_schedule_is_shown_by_its_recipe() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    assert_eq!(schedule.to_string(), "linear(1000, 0.0001, 0.02): ᾱ = 0.9999 … 4.036e-5");
    let changed = schedule.shifted(3.0).unwrap().rescale_zero_terminal_snr().unwrap();
    let message = "linear(1000, 0.0001, 0.02).shifted(3.0).rescale_zero_terminal_snr(): ᾱ = 0.9997 … 0.000e0";
    assert_eq!(
        (changed.to_string(), format!("{changed:?}")),
        (message.to_string(), format!("NoiseSchedule({message})"))
    );
    let list = NoiseSchedule::from_betas([0.25; 100]).unwrap();
    assert_eq!(format!("{list:?}"), "NoiseSchedule(from_betas(<100 values>): ᾱ = 0.7500 … 3.207e-13)");
    // However often it is changed; and it is not changed without bound.
    let mut often = schedule;
    for _ in 0..100 {
        often = often.shifted(1.01).unwrap();
    }
    assert!(often.to_string().len() < 120, "{often}");
    assert!(matches!(often.shifted(1.01), Err(Error::Count { value: 101, max: 100, .. })));
    assert_eq!(format!("{:?}", NoiseLevel::from_alpha_bar(0.36).unwrap()), "NoiseLevel(ᾱ = 0.36)");
    assert_eq!(format!("{:?}", NoiseLevel::from_one_minus_alpha_bar(1e-20).unwrap()), "NoiseLevel(1 − ᾱ = 1e-20)");
}

#[test]
fn predictions_have_names() {
    for (prediction, names) in [
        (Prediction::Epsilon, ["epsilon", "eps", "EPSILON", "ε", "ε-prediction", "noise"]),
        (Prediction::Sample, ["sample", "x0", "x_start", "x₀", "x₀-prediction", " x0 "]),
        (Prediction::Velocity, ["v_prediction", "v", "velocity", "v-prediction", "V_PREDICTION", "v prediction"]),
        (Prediction::Flow, ["flow", "flow_prediction", "flow-prediction", "flow_velocity", "FLOW", "flow prediction"]),
        (Prediction::Score, ["score", "Score", "score prediction", "score_prediction", "score-prediction", "score "]),
    ] {
        for name in names.into_iter().chain([&*prediction.name(), &prediction.to_string()]) {
            assert_eq!(name.parse::<Prediction>().unwrap(), prediction, "{name}");
        }
    }
    for wrong in
        ["", "flows", "edm()", "edm(x)", "edm_v(", "epsilonn", "prediction", "_prediction", &"v".repeat(100_000)]
    {
        let error = wrong.parse::<Prediction>().unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::UnknownName { what: "the prediction", .. }));
        assert!(
            message.ends_with(
                "is unknown; use epsilon, sample, v_prediction, score, flow_prediction, edm(σ_data) or edm_v(σ_data)"
            ) && message.len() < 220,
            "{message}"
        );
    }
}

// Queries.

proptest! {
    #[test]
    fn nearest_to_log_snr_is_the_nearest((_, schedule) in any_family(), wanted in -30.0_f64..30.0) {
        let schedule = schedule.unwrap();
        let distance = |t: usize| (schedule.level(t).unwrap().log_snr() - wanted).abs();
        let mut nearest = 0;
        for t in 1..schedule.len() {
            if distance(t) <= distance(nearest) {
                nearest = t; // the noisier of two equally near ones
            }
        }
        prop_assert_eq!(schedule.nearest_to_log_snr(wanted).unwrap(), nearest);
    }

    #[test]
    fn nearest_to_log_snr_finds_every_level((_, schedule) in any_family(), share in 0.0_f64..1.0) {
        let schedule = schedule.unwrap();
        let t = (share * schedule.len() as f64) as usize;
        let found = schedule.nearest_to_log_snr(schedule.level(t).unwrap().log_snr()).unwrap();
        prop_assert_eq!(schedule.level(found).unwrap().log_snr(), schedule.level(t).unwrap().log_snr());
    }
}

#[test]
fn nearest_to_log_snr_takes_infinities_for_the_ends() {
    for schedule in [NoiseSchedule::ddpm().unwrap(), NoiseSchedule::jsd(1000).unwrap()] {
        assert_eq!(schedule.nearest_to_log_snr(f64::INFINITY).unwrap(), 0);
        assert_eq!(schedule.nearest_to_log_snr(f64::NEG_INFINITY).unwrap(), 999);
        assert_eq!(schedule.nearest_to_log_snr(1e300).unwrap(), 0);
    }
    // Nothing finite is near a level of −∞.
    assert_eq!(NoiseSchedule::jsd(1000).unwrap().nearest_to_log_snr(-1e300).unwrap(), 998);
    // Half of λ is as far from λ as from 0, to the last bit; then the noisier is taken.
    let schedule = NoiseSchedule::from_alpha_bars([0.75, 0.5]).unwrap();
    let midpoint = schedule.level(0).unwrap().log_snr() / 2.0;
    assert_eq!(schedule.nearest_to_log_snr(midpoint).unwrap(), 1);
    assert_eq!(schedule.nearest_to_log_snr(midpoint.next_up()).unwrap(), 0);
}

proptest! {
    #[test]
    fn the_queries_of_a_level_agree(alpha_bar in prop_oneof![0.0_f64..=1.0, (-207.0_f64..0.0).prop_map(f64::exp)]) {
        prop_assume!(alpha_bar > 0.0 && alpha_bar < 1.0);
        let level = NoiseLevel::from_alpha_bar(alpha_bar).unwrap();
        let variance = 1.0 - alpha_bar; // exact in an f64 above ½, and rounded once below
        prop_assert_eq!((level.alpha_bar(), level.one_minus_alpha_bar()), (alpha_bar, variance));
        prop_assert_eq!(level.signal(), alpha_bar.sqrt());
        // The root of the exact 1 − ᾱ, rounded once.
        assert_close(level.noise(), variance.sqrt(), 2.3e-16);
        assert_close(level.snr(), alpha_bar / variance, 4e-16);
        assert_close(level.sigma(), (variance / alpha_bar).sqrt(), 4e-16);
        let log_snr = alpha_bar.ln() - variance.ln();
        prop_assert!((level.log_snr() - log_snr).abs() < 4e-16 * (2.0 + log_snr.abs() + variance.ln().abs()));
        prop_assert!(!level.is_clean() && !level.is_pure_noise());
        let message = if alpha_bar < 1e-5 { format!("ᾱ = {alpha_bar:e}") } else { format!("ᾱ = {alpha_bar}") };
        prop_assert_eq!(level.to_string(), message);
    }

    #[test]
    fn constructors_of_a_level_agree(log_snr in -207.0_f64..207.0) {
        let level = NoiseLevel::from_log_snr(log_snr).unwrap();
        // e^λ of an f64 λ is as good as λ's last digit.
        let rounding = 2e-16 * (4.0 + log_snr.abs());
        assert_close(level.alpha_bar(), 1.0 / (1.0 + (-log_snr).exp()), rounding);
        assert_close(level.one_minus_alpha_bar(), 1.0 / (1.0 + log_snr.exp()), rounding);
        prop_assert!((level.log_snr() - log_snr).abs() <= 4e-16 * log_snr.abs().max(1e-3));
        // σ² = e^−λ.
        assert_close(level.sigma(), (-log_snr / 2.0).exp(), rounding);
        let by_sigma = NoiseLevel::from_sigma(level.sigma()).unwrap();
        assert_close(by_sigma.alpha_bar(), level.alpha_bar(), 1e-15);
        assert_close(by_sigma.one_minus_alpha_bar(), level.one_minus_alpha_bar(), 1e-15);
        assert_close(by_sigma.sigma(), level.sigma(), 4e-16);
        let by_variance = NoiseLevel::from_one_minus_alpha_bar(level.one_minus_alpha_bar()).unwrap();
        prop_assert_eq!(by_variance.one_minus_alpha_bar(), level.one_minus_alpha_bar());
        prop_assert!((by_variance.alpha_bar() - level.alpha_bar()).abs() < 2e-16);
    }
}

#[test]
fn the_ends_of_the_scale_are_values() {
    let (clean, pure) = (NoiseLevel::CLEAN, NoiseLevel::PURE_NOISE);
    assert_eq!((clean.alpha_bar(), clean.one_minus_alpha_bar(), clean.signal(), clean.noise()), (1.0, 0.0, 1.0, 0.0));
    assert_eq!((pure.alpha_bar(), pure.one_minus_alpha_bar(), pure.signal(), pure.noise()), (0.0, 1.0, 0.0, 1.0));
    assert_eq!((clean.snr(), clean.log_snr(), clean.sigma()), (f64::INFINITY, f64::INFINITY, 0.0));
    assert_eq!((pure.snr(), pure.log_snr(), pure.sigma()), (0.0, f64::NEG_INFINITY, f64::INFINITY));
    assert!(clean.is_clean() && !clean.is_pure_noise() && pure.is_pure_noise() && !pure.is_clean());
    assert_eq!(NoiseLevel::from_alpha_bar(1.0).unwrap(), clean);
    assert_eq!(NoiseLevel::from_alpha_bar(0.0).unwrap(), pure);
    assert_eq!(NoiseLevel::from_one_minus_alpha_bar(0.0).unwrap(), clean);
    assert_eq!(NoiseLevel::from_one_minus_alpha_bar(1.0).unwrap(), pure);
    assert_eq!(NoiseLevel::from_sigma(0.0).unwrap(), clean);
    assert_eq!(NoiseLevel::from_log_snr(0.0).unwrap().alpha_bar(), 0.5);
}

// Predictions.

const KINDS: [Prediction; 4] = [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score];

/// What each kind of network returns for x₀ and ε, by its definition: ε, x₀, v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho
/// 2022), and the score −ε/√(1−ᾱ) (Song and Ermon 2019).
fn predicted(kind: Prediction, x0: f64, eps: f64, level: &NoiseLevel) -> f64 {
    let (signal, noise) = (level.signal(), level.noise());
    match kind {
        Prediction::Epsilon => eps,
        Prediction::Sample => x0,
        Prediction::Velocity => signal * eps - noise * x0,
        Prediction::Score => -eps / noise,
        _ => panic!("a kind this test does not know"),
    }
}

proptest! {
    #[test]
    fn predictions_agree(log_snr in -12.0_f64..12.0, x0 in -3.0_f64..3.0, eps in -3.0_f64..3.0) {
        let level = NoiseLevel::from_log_snr(log_snr).unwrap();
        let x = level.signal() * x0 + level.noise() * eps;
        for (from, to) in KINDS.into_iter().flat_map(|from| KINDS.map(|to| (from, to))) {
            let model = predicted(from, x0, eps, &level);
            let k = from.to(to, &level).unwrap();
            let found = k.x * x + k.model * model;
            let scale = (k.x * x).abs() + (k.model * model).abs() + k.x.abs() * (x0.abs() + eps.abs());
            prop_assert!((found - predicted(to, x0, eps, &level)).abs() <= 1e-15 * scale, "{from} to {to}");
            // On tensors, whole and row by row, it is the same combination.
            let tensor = forward::convert(&vec![x], &vec![model], from, to, &[level]).unwrap();
            prop_assert!((tensor[0] - found).abs() <= 1e-15 * scale);
        }
    }

    #[test]
    fn predictions_round_trip(log_snr in -207.0_f64..207.0) {
        let level = NoiseLevel::from_log_snr(log_snr).unwrap();
        for (from, to) in KINDS.into_iter().flat_map(|from| KINDS.map(|to| (from, to))) {
            let (there, back) = (from.to(to, &level).unwrap(), to.to(from, &level).unwrap());
            // m → k.x·x + k.model·m → m again: the model's factors multiply to 1, and those of x cancel.
            prop_assert!((there.model * back.model - 1.0).abs() < 1e-15, "{from} to {to}");
            prop_assert!((back.x + back.model * there.x).abs() <= 1e-15 * back.x.abs(), "{from} to {to}");
        }
    }

    #[test]
    fn a_prediction_converts_to_itself_unchanged(alpha_bar in 0.0_f64..=1.0) {
        let level = NoiseLevel::from_alpha_bar(alpha_bar).unwrap();
        for kind in KINDS {
            let k = kind.to(kind, &level).unwrap();
            prop_assert_eq!((k.x, k.model), (0.0, 1.0));
        }
    }
}

#[test]
fn conversions_that_would_divide_by_zero_are_errors_and_no_others() {
    use Prediction::{Epsilon, Sample, Score, Velocity};
    // Without signal, ε and the score say nothing of x₀ (nor of v); without noise, x₀ and x say nothing of ε.
    let at_pure_noise = [(Epsilon, Sample), (Epsilon, Velocity), (Score, Sample), (Score, Velocity)];
    let at_clean = [(Sample, Epsilon), (Sample, Velocity), (Sample, Score), (Epsilon, Score), (Velocity, Score)];
    for (level, undetermined) in [(NoiseLevel::PURE_NOISE, &at_pure_noise[..]), (NoiseLevel::CLEAN, &at_clean[..])] {
        for (from, to) in KINDS.into_iter().flat_map(|from| KINDS.map(|to| (from, to))) {
            match from.to(to, &level) {
                Ok(k) => {
                    assert!(
                        k.x.is_finite() && k.model.is_finite() && !undetermined.contains(&(from, to)),
                        "{from} to {to}"
                    );
                }
                Err(Error::Undetermined { from: given_from, to: given_to, level: given }) => {
                    assert_eq!((given_from, given_to, given), (from, to, level));
                    assert!(undetermined.contains(&(from, to)), "{from} to {to}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn v_prediction_of_zero_is_the_scaled_x() {
    // v = 0, x = 1, t = 500 of the linear schedule: x̂₀ = √ᾱ = 0.279.
    let level = NoiseSchedule::ddpm().unwrap().level(500).unwrap();
    let x0 = forward::convert(&vec![1.0_f64], &vec![0.0], Prediction::Velocity, Prediction::Sample, &[level]).unwrap();
    assert_eq!(x0[0], level.signal());
    assert!((x0[0] - 0.279).abs() < 5e-4);
}

#[test]
fn a_schedule_of_pure_noise_alone_is_a_schedule() {
    let schedule = NoiseSchedule::from_alpha_bars([0.0]).unwrap();
    assert_eq!((schedule.betas(), schedule.level(0).unwrap()), (&[1.0][..], NoiseLevel::PURE_NOISE));
    assert_eq!(Timesteps::uniform_log_snr(&schedule, 1).unwrap().as_slice(), [0]);
    assert_eq!(schedule.nearest_to_log_snr(0.0).unwrap(), 0);
}

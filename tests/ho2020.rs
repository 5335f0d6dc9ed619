//! Denoising Diffusion Probabilistic Models (Ho, Jain and Abbeel 2020, arXiv 2006.11239), equation by equation, and the
//! training side that grew out of it: Min-SNR (Hang et al. 2023), P2 (Choi et al. 2022) and importance sampling (Nichol
//! and Dhariwal 2021).
//!
//! Formulas are typed from the papers, in their notation. `docs/equations.md` says which test belongs to which
//! equation.

use std::f64::consts::{E, PI};

use crate::common::{TOLERANCE, assert_close, beta, expect, log_normal, pairs, paths, schedules};
use alphabar::objective::{self, Antithetic, LossAware, Uniform};
use alphabar::posterior::{self, Conditional};
use alphabar::reference::{DataDistribution, Gaussian};
use alphabar::{
    BoxError, Ddpm, Draw, NoiseLevel, NoiseSchedule, NoiseSource, Plan, Point, Prediction, SeededNoise, Timesteps,
    Variance, forward, noise, sample,
};
use ndarray::Array2;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

// ----------------------------------------------------------------------------------------------- formulas, typed again

/// Eq. 7: the weights of x₀ and x_t in μ̃, and β̃.
fn equation_7(t: &NoiseLevel, s: &NoiseLevel) -> (f64, f64, f64) {
    let (beta, alpha) = (beta(t, s), t.alpha_bar() / s.alpha_bar());
    (
        s.alpha_bar().sqrt() * beta / t.one_minus_alpha_bar(),
        alpha.sqrt() * s.one_minus_alpha_bar() / t.one_minus_alpha_bar(),
        s.one_minus_alpha_bar() / t.one_minus_alpha_bar() * beta,
    )
}

/// Eq. 11: μ_θ from ε_θ.
fn equation_11(t: &NoiseLevel, s: &NoiseLevel, x: f64, epsilon: f64) -> f64 {
    let alpha = t.alpha_bar() / s.alpha_bar();
    1.0 / alpha.sqrt() * (x - beta(t, s) / t.one_minus_alpha_bar().sqrt() * epsilon)
}

/// Eq. 15: x̂₀.
fn equation_15(t: &NoiseLevel, x: f64, epsilon: f64) -> f64 {
    (x - t.one_minus_alpha_bar().sqrt() * epsilon) / t.alpha_bar().sqrt()
}

/// KL(N(m₁, v₁) ‖ N(m₂, v₂)).
fn kl((m1, v1): (f64, f64), (m2, v2): (f64, f64)) -> f64 {
    0.5 * ((v2 / v1).ln() + (v1 + (m1 - m2).powi(2)) / v2 - 1.0)
}

/// Φ, the distribution function of N(0, 1).
fn normal_cdf(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x / 2.0_f64.sqrt()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    // ------------------------------------------------------------------------------------------- 2 The forward process

    /// Eq. 2 step by step gives Eq. 4, from clean data to any t: ᾱ is the product of α = 1 − β.
    #[test]
    fn the_chain_of_forward_steps_is_equation_4(schedule in schedules(), x0 in -2.0..2.0_f64) {
        let (mut mean, mut variance, mut alpha_bar) = (x0, 0.0, 1.0);
        let mut previous = NoiseLevel::CLEAN;
        for (t, level) in schedule.levels().iter().enumerate() {
            let beta = schedule.beta(t).unwrap();
            let q = posterior::transition(&previous, level).unwrap();
            prop_assert_eq!(q.x0, 0.0);
            assert_close!(q.x, (1.0 - beta).sqrt()); // Eq. 2
            assert_close!(q.variance, beta); // Eq. 2
            (mean, variance, alpha_bar) = (q.x * mean, q.x * q.x * variance + q.variance, alpha_bar * (1.0 - beta));
            assert_close!(level.alpha_bar(), alpha_bar); // "ᾱ_t := ∏ α_s"
            let marginal = posterior::marginal(level);
            assert_close!(marginal.x0 * x0, mean); // Eq. 4
            assert_close!(marginal.variance, variance); // Eq. 4
            previous = *level;
        }
    }

    /// Eq. 2 over any stretch: q(x_t | x_s) after q(x_s | x₀) is q(x_t | x₀) of Eq. 4, and r → s → t is r → t.
    #[test]
    fn transitions_compose(schedule in schedules(), places in proptest::array::uniform3(0.0..1.0_f64)) {
        let mut places = places;
        places.sort_by(f64::total_cmp);
        let [r, s, t] = places.map(|place| schedule.level((place * schedule.len() as f64) as usize).unwrap());
        let compose = |first: Conditional, second: Conditional| {
            (second.x * first.x, second.x * second.x * first.variance + second.variance)
        };
        let (scale, variance) =
            compose(posterior::transition(&r, &s).unwrap(), posterior::transition(&s, &t).unwrap());
        let long = posterior::transition(&r, &t).unwrap();
        assert_close!(long.x, scale);
        assert_close!(long.variance, variance);

        let first = posterior::marginal(&s);
        let q = posterior::transition(&s, &t).unwrap();
        assert_close!(q.x * first.x0, t.alpha_bar().sqrt()); // Eq. 4
        assert_close!(q.x * q.x * first.variance + q.variance, t.one_minus_alpha_bar()); // Eq. 4
    }

    /// Eq. 4 and 2 on tensors: noising, with one t or one per sample, and noising further.
    #[test]
    fn noising_is_equation_4(
        schedule in schedules(),
        places in proptest::array::uniform3(0.0..1.0_f64),
        x0 in proptest::array::uniform6(-2.0..2.0_f64),
        epsilon in proptest::array::uniform6(-3.0..3.0_f64),
    ) {
        let rows = |values: [f64; 6]| Array2::from_shape_vec((3, 2), values.to_vec()).unwrap();
        let levels = places.map(|place| schedule.level((place * schedule.len() as f64) as usize).unwrap());
        let x = forward::add_noise(&rows(x0), &rows(epsilon), &levels).unwrap();
        let same = forward::add_noise(&rows(x0), &rows(epsilon), &levels[..1]).unwrap();
        for i in 0..6 {
            let noised = |level: &NoiseLevel| {
                level.alpha_bar().sqrt() * x0[i] + level.one_minus_alpha_bar().sqrt() * epsilon[i] // Eq. 4
            };
            assert_close!(x[[i / 2, i % 2]], noised(&levels[i / 2]), 1e-15);
            assert_close!(same[[i / 2, i % 2]], noised(&levels[0]), 1e-15);
        }
        let [mut s, mut t, _] = levels;
        if s.alpha_bar() < t.alpha_bar() {
            (s, t) = (t, s);
        }
        let x_t = forward::renoise(&vec![x0[0]], &vec![epsilon[0]], &s, &t).unwrap();
        let expected = (1.0 - beta(&t, &s)).sqrt() * x0[0] + beta(&t, &s).sqrt() * epsilon[0]; // Eq. 2
        assert_close!(x_t[0], expected);
    }

    // ------------------------------------------------------------------------------- 2 The posterior, and its KL terms

    /// Eq. 6 and 7: q(x_s | x_t, x₀) ∝ q(x_t | x_s)·q(x_s | x₀), by the product of the two Gaussians in x_s, and as
    /// printed.
    #[test]
    fn the_posterior_is_bayes_rule((t, s) in pairs(), x0 in -2.0..2.0_f64, x_t in -3.0..3.0_f64) {
        // N(x_t; √α·x_s, β) and N(x_s; √ᾱ_s·x₀, 1−ᾱ_s): precisions add, and so do means weighted by them.
        let (alpha, beta) = (t.alpha_bar() / s.alpha_bar(), beta(&t, &s));
        let precision = alpha / beta + 1.0 / s.one_minus_alpha_bar();
        let mean = (alpha.sqrt() * x_t / beta + s.alpha_bar().sqrt() * x0 / s.one_minus_alpha_bar()) / precision;
        let q = posterior::ddpm_posterior(&t, &s).unwrap();
        assert_close!(q.x0 * x0 + q.x * x_t, mean); // Eq. 6
        assert_close!(q.variance, 1.0 / precision); // Eq. 6

        let (of_x0, of_x, beta_tilde) = equation_7(&t, &s);
        assert_close!(q.x0, of_x0); // Eq. 7
        assert_close!(q.x, of_x); // Eq. 7
        assert_close!(q.variance, beta_tilde); // Eq. 7
    }

    /// The KL divergence of two Gaussians, of which Eq. 5 is made: against its formula, and 0 only where they agree.
    #[test]
    fn gaussian_kl_is_its_formula(
        m1 in -3.0..3.0_f64,
        m2 in -3.0..3.0_f64,
        exponents in proptest::array::uniform2(-4.0..4.0_f64),
    ) {
        let [v1, v2] = exponents.map(f64::exp);
        assert_close!(objective::gaussian_kl((m1, v1), (m2, v2)).unwrap(), kl((m1, v1), (m2, v2)));
        prop_assert!(objective::gaussian_kl((m1, v1), (m2, v2)).unwrap() >= 0.0);
        prop_assert_eq!(objective::gaussian_kl((m1, v1), (m1, v1)).unwrap(), 0.0);
        // Variances that almost agree, where the formula as printed cancels: KL = δ²/4 − δ³/6·… in the relative
        // difference δ.
        for delta in [1e-3, 1e-5, 1e-7] {
            let close = objective::gaussian_kl((m1, v1 * (1.0 + delta)), (m1, v1)).unwrap();
            let series = delta * delta / 4.0 - delta.powi(3) / 6.0 + delta.powi(4) / 8.0 - delta.powi(5) / 10.0;
            // v·(1 + δ) is rounded: δ is known to 1e-16 of 1.
            prop_assert!((close - series).abs() <= series * (1e-15 / delta * 2.0 + 1e-12), "{close:e} {series:e}");
        }
    }

    /// L_T of Eq. 5 for one dimension: ½·(ᾱ·x₀² − ᾱ − ln(1−ᾱ)).
    #[test]
    fn the_prior_term_is_its_kl(schedule in schedules(), place in 0.0..1.0_f64, x0 in -2.0..2.0_f64) {
        let t = schedule.level((place * schedule.len() as f64) as usize).unwrap();
        let expected = kl((t.alpha_bar().sqrt() * x0, t.one_minus_alpha_bar()), (0.0, 1.0));
        assert_close!(objective::prior_kl(&t, x0).unwrap(), expected);
        let expanded = 0.5 * (t.alpha_bar() * x0 * x0 - t.alpha_bar() - t.one_minus_alpha_bar().ln());
        assert_close!(objective::prior_kl(&t, x0).unwrap(), expanded);
    }

    // ----------------------------------------------------------------------------------------- 3.2 The reverse process

    /// Eq. 8 to 12: L_{t−1} is ‖μ̃ − μ_θ‖²/(2σ²), with μ̃ as in Eq. 9 and 10 and μ_θ as in Eq. 11 it is
    /// β²/(2σ²·α·(1−ᾱ_t))·‖ε − ε_θ‖², and with σ² = β̃ that weight is γ.
    #[test]
    fn the_kl_term_is_the_weighted_error_of_epsilon(
        (t, s) in pairs(),
        x0 in -2.0..2.0_f64,
        epsilon in -3.0..3.0_f64,
        predicted in -3.0..3.0_f64,
    ) {
        let (alpha, beta) = (t.alpha_bar() / s.alpha_bar(), beta(&t, &s));
        let x = t.alpha_bar().sqrt() * x0 + t.one_minus_alpha_bar().sqrt() * epsilon;
        let q = posterior::ddpm_posterior(&t, &s).unwrap();
        let mean = q.x0 * x0 + q.x * x;
        // μ̃(x_t, (x_t − √(1−ᾱ_t)·ε)/√ᾱ_t) is (x_t − β/√(1−ᾱ_t)·ε)/√α; 1/√α magnifies the rounding of both.
        let rounding = TOLERANCE * (1.0 + 1.0 / alpha.sqrt());
        assert_close!(q.x0 * equation_15(&t, x, epsilon) + q.x * x, mean, rounding); // Eq. 9
        assert_close!(equation_11(&t, &s, x, epsilon), mean, rounding); // Eq. 10

        let predicted_mean = equation_11(&t, &s, x, predicted); // Eq. 11
        let root = beta / (alpha * t.one_minus_alpha_bar()).sqrt() * (epsilon - predicted);
        assert_close!((mean - predicted_mean).abs(), root.abs(), rounding);
        for variance in [q.variance, beta] {
            let equation_8 = (mean - predicted_mean).powi(2) / (2.0 * variance);
            let term = objective::gaussian_kl((mean, q.variance), (predicted_mean, variance)).unwrap();
            let constant = kl((0.0, q.variance), (0.0, variance)); // "C", which does not depend on θ
            assert_close!(term, equation_8 + constant);
        }
        let weight = beta * beta / (2.0 * q.variance * alpha * t.one_minus_alpha_bar()); // Eq. 12
        let gamma = objective::gamma(&t, &s, q.variance.sqrt()).unwrap();
        // σ is rounded to an f64, which 1 − ᾱ_s − σ² magnifies to (1−ᾱ_t)/β times as much in γ.
        let rounding = TOLERANCE.max(1e-15 * t.one_minus_alpha_bar() / beta);
        prop_assert!((gamma / weight - 1.0).abs() <= rounding, "{gamma} {weight}");
    }

    /// Eq. 11: DDPM's step is 1/√α·(x − β/√(1−ᾱ_t)·ε) + σ·z along any τ, with α and β those of the leg; with σ² either
    /// β̃ or β, and Eq. 15 is its x̂₀.
    #[test]
    fn a_step_is_equation_11(
        (schedule, tau) in paths(),
        x in -3.0..3.0_f64,
        epsilon in -3.0..3.0_f64,
        z in -3.0..3.0_f64,
    ) {
        for variance in [Variance::Posterior, Variance::Beta] {
            let plan = Plan::new(&schedule, &tau, &Ddpm::new(variance)).unwrap();
            for leg in plan.steps() {
                let (t, s) = (&leg.from, &leg.to);
                let sigma = match variance {
                    _ if s.is_clean() => 0.0, // Algorithm 2, line 3
                    Variance::Beta => beta(t, s).sqrt(),
                    _ => equation_7(t, s).2.sqrt(),
                };
                let found = leg.apply(vec![x], vec![epsilon], Some(&vec![z])).unwrap()[0];
                let rounding = TOLERANCE * (s.alpha_bar() / t.alpha_bar()).sqrt();
                assert_close!(found, equation_11(t, s, x, epsilon) + sigma * z, rounding, "{leg:?}");
                assert_close!(leg.coefficients.d, sigma);
                let x0 = leg.x0(&vec![x], &vec![epsilon]).unwrap()[0];
                assert_close!(x0, equation_15(t, x, epsilon)); // Eq. 15
                // Eq. 7 in x̂₀ and x_t, which is what a threshold sees.
                let (of_x0, of_x, _) = equation_7(t, s);
                assert_close!(leg.coefficients.a, of_x0);
                assert_close!(leg.coefficients.b, of_x);
                prop_assert_eq!(leg.coefficients.c, 0.0);
            }
        }
    }

    /// Section 3.2: for data that is N(0, v), p(x_s | x_t) exact has the variance β̃ where v = 0, β where v = 1, and
    /// one between them otherwise; the mean is DDPM's with the perfect ε for every v.
    #[test]
    fn the_two_variances_are_exact_for_a_point_and_for_standard_normal_data(
        (t, s) in pairs(),
        v in 0.01..0.99_f64,
        x in -3.0..3.0_f64,
    ) {
        // (x_s, x_t) is Gaussian: Var x = ᾱ·v + 1−ᾱ, Cov = √α·Var x_s; condition on x_t.
        let exact = |v: f64| {
            let spread = |level: &NoiseLevel| level.alpha_bar() * v + level.one_minus_alpha_bar();
            let alpha = t.alpha_bar() / s.alpha_bar();
            let slope = alpha.sqrt() * spread(&s) / spread(&t);
            // Var x_s − Cov²/Var x_t = Var x_s·(Var x_t − α·Var x_s)/Var x_t, and Var x_t − α·Var x_s = β.
            (slope, spread(&s) * beta(&t, &s) / spread(&t))
        };
        let beta_tilde = posterior::ddpm_posterior(&t, &s).unwrap().variance;
        let transition = posterior::transition(&s, &t).unwrap().variance;
        assert_close!(exact(0.0).1, beta_tilde);
        assert_close!(exact(1.0).1, transition);
        prop_assert!(beta_tilde < exact(v).1 && exact(v).1 < transition);
        for v in [0.0, v, 1.0] {
            let mut epsilon = [x];
            Gaussian::new([0.0], [v]).unwrap().epsilon(&mut epsilon, &t);
            let rounding = TOLERANCE * (s.alpha_bar() / t.alpha_bar()).sqrt();
            assert_close!(equation_11(&t, &s, x, epsilon[0]), exact(v).0 * x, rounding);
        }
    }

    /// Section 3.2 in the plan: with the perfect ε, DDPM with β keeps N(0, 1) data N(0, 1) at every level, and with β̃
    /// it keeps the marginals of a point.
    #[test]
    fn the_matching_variance_keeps_the_marginals_exactly((schedule, tau) in paths(), x0 in -2.0..2.0_f64) {
        let cases = [
            (Variance::Beta, Gaussian::new([0.0], [1.0]).unwrap(), 0.0, 1.0),
            (Variance::Posterior, Gaussian::point([x0]).unwrap(), x0, 0.0),
        ];
        for (variance, data, mean, v) in cases {
            let plan = Plan::new(&schedule, &tau, &Ddpm::new(variance)).unwrap();
            let spread = |level: &NoiseLevel| level.alpha_bar() * v + level.one_minus_alpha_bar();
            let marginal = |level: &NoiseLevel| (level.signal() * mean, spread(level));
            let (mut found_mean, mut found_variance) = marginal(&plan.start());
            let (last, others) = plan.steps().split_last().unwrap();
            for leg in others {
                let k = leg.coefficients;
                // ε is affine in x: √(1−ᾱ)/(ᾱ·v + 1−ᾱ) is its slope.
                let mut epsilon = [found_mean];
                data.epsilon(&mut epsilon, &leg.from);
                let slope = k.x + k.model * leg.from.noise() / spread(&leg.from);
                found_mean = k.x * found_mean + k.model * epsilon[0];
                found_variance = slope * slope * found_variance + k.d * k.d;
                let (mean, variance) = marginal(&leg.to);
                let rounding = TOLERANCE * (1.0 + k.x);
                assert_close!(found_mean, mean, rounding);
                assert_close!(found_variance, variance, rounding);
            }
            prop_assert_eq!(last.coefficients.d, 0.0);
        }
    }

    // ------------------------------------------------------------------------------------------------- 3.3 The decoder

    /// Eq. 13: over the 256 values of a byte the probabilities sum to 1, and each is a difference of two Φ.
    #[test]
    fn the_decoder_is_equation_13(mean in -1.3..1.3_f64, exponent in -7.0..1.0_f64) {
        let std = exponent.exp();
        let mut sum = 0.0;
        for byte in 0..=255_u8 {
            let x0 = 2.0 * f64::from(byte) / 255.0 - 1.0;
            let upper = if byte == 255 { 1.0 } else { normal_cdf((x0 + 1.0 / 255.0 - mean) / std) };
            let lower = if byte == 0 { 0.0 } else { normal_cdf((x0 - 1.0 / 255.0 - mean) / std) };
            let probability = objective::decoder_log_likelihood(x0, mean, std).unwrap().exp();
            let expected = upper - lower;
            prop_assert!((probability - expected).abs() <= 1e-13, "x₀ = {x0}: {probability:e}, not {expected:e}");
            sum += probability;
        }
        assert_close!(sum, 1.0);
    }

    // ----------------------------------------------------------------------------------------------- 3.4 The objective

    /// Eq. 14: L_simple of each sample is the mean square of ε − ε_θ.
    #[test]
    fn the_simple_loss_is_equation_14(
        target in proptest::array::uniform6(-3.0..3.0_f64),
        prediction in proptest::array::uniform6(-3.0..3.0_f64),
    ) {
        let rows = |values: [f64; 6]| Array2::from_shape_vec((2, 3), values.to_vec()).unwrap();
        let found = objective::simple_loss(&rows(target), &rows(prediction)).unwrap();
        for (row, found) in found.into_iter().enumerate() {
            let squares = (3 * row..3 * row + 3).map(|i| (target[i] - prediction[i]).powi(2));
            assert_close!(found, squares.sum::<f64>() / 3.0, 1e-14);
        }
    }

    /// The weights of the mean squared errors that mean the same: ‖ε − ε_θ‖² is SNR·‖x₀ − x̂₀‖², SNR/(SNR+1)·‖v − v_θ‖²
    /// and (1−ᾱ)·‖score − score_θ‖² (Salimans and Ho 2022, section 4).
    #[test]
    fn every_prediction_has_the_error_of_epsilon(
        (level, _) in pairs(),
        x0 in -2.0..2.0_f64,
        epsilon in -3.0..3.0_f64,
        predicted in -3.0..3.0_f64,
    ) {
        let (signal, noise) = (level.alpha_bar().sqrt(), level.one_minus_alpha_bar().sqrt());
        let predicted_x0 = (signal * x0 + noise * epsilon - noise * predicted) / signal;
        let error = (epsilon - predicted).powi(2);
        let velocity = (signal * epsilon - noise * x0) - (signal * predicted - noise * predicted_x0);
        for (prediction, difference) in [
            (Prediction::Epsilon, epsilon - predicted),
            (Prediction::Sample, x0 - predicted_x0),
            (Prediction::Velocity, velocity),
            (Prediction::Score, (epsilon - predicted) / noise),
        ] {
            let weight = objective::epsilon_equivalent(prediction, &level);
            // x̂₀ − x₀ is noise/signal times the error, and known to the rounding of x₀.
            let rounding = 1e-11 * (1.0 + signal / noise);
            prop_assert!((weight * difference * difference - error).abs() <= rounding, "{prediction}: {weight}");
        }
    }

    /// Min-SNR-γ (Hang et al. 2023, section 3.4) and P2 (Choi et al. 2022, Eq. 8): as printed, and the same loss for
    /// each prediction.
    #[test]
    fn the_loss_weights_are_their_formulas(
        (level, _) in pairs(),
        gamma in 0.1..20.0_f64,
        k in 0.1..3.0_f64,
        power in 0.0..2.0_f64,
    ) {
        let snr = level.alpha_bar() / level.one_minus_alpha_bar();
        let relative = |found: f64, expected: f64| (found / expected - 1.0).abs() <= 1e-13;
        let min_snr = |prediction| objective::min_snr_weight(prediction, &level, gamma).unwrap();
        prop_assert!(relative(min_snr(Prediction::Sample), snr.min(gamma)));
        prop_assert!(relative(min_snr(Prediction::Epsilon), snr.min(gamma) / snr));
        prop_assert!(relative(min_snr(Prediction::Velocity), snr.min(gamma) / (snr + 1.0)));
        let p2 = |prediction| objective::p2_weight(prediction, &level, k, power).unwrap();
        prop_assert!(relative(p2(Prediction::Epsilon), 1.0 / (k + snr).powf(power)));
        for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score] {
            let equivalent = objective::epsilon_equivalent(prediction, &level);
            prop_assert!(relative(min_snr(prediction), min_snr(Prediction::Epsilon) * equivalent));
            prop_assert!(relative(p2(prediction), p2(Prediction::Epsilon) * equivalent));
        }
        // P2 with γ = 0, and Min-SNR where γ is out of reach, are L_simple.
        prop_assert_eq!(objective::p2_weight(Prediction::Epsilon, &level, k, 0.0).unwrap(), 1.0);
        prop_assert_eq!(objective::min_snr_weight(Prediction::Epsilon, &level, snr * 1.001).unwrap(), 1.0);
    }
}

// ------------------------------------------------------------------------------------------ 2 and 4.3, the whole bound

/// The bound of a short chain with Gaussian data N(μ, v) and a network that is affine in x. Its parts are expectations
/// of quadratic forms, and exact.
struct Chain {
    plan: Plan,
    mean: f64,
    variance: f64,
    /// σ of p_θ(x₀ | x_1), a density here and not the decoder of Eq. 13.
    decoder: f64,
    network: fn(f64, &NoiseLevel) -> f64,
}

impl Chain {
    fn over_data(&self, f: impl Fn(f64) -> f64) -> f64 {
        expect(|w| f(self.mean + self.variance.sqrt() * w))
    }

    /// p_θ(x_s | x_t) as mean and variance.
    fn reverse(&self, index: usize, x: f64) -> (f64, f64) {
        let step = &self.plan.steps()[index];
        let zero = vec![0.0];
        let mean = step.apply(vec![x], vec![(self.network)(x, &step.from)], Some(&zero)).unwrap()[0];
        let std = if step.to.is_clean() { self.decoder } else { step.coefficients.d };
        (mean, std * std)
    }

    /// Eq. 3: E[−log p(x_T) − Σ log p_θ(x_{t−1} | x_t)/q(x_t | x_{t−1})], with q(x_t | x_{t−1}) of Eq. 2.
    fn equation_3(&self) -> f64 {
        let start = self.plan.start();
        let prior = self.over_data(|x0| expect(|e| -log_normal(start.signal() * x0 + start.noise() * e, 0.0, 1.0)));
        let steps = self.plan.steps().iter().enumerate().map(|(index, step)| {
            let (t, s) = (&step.from, &step.to);
            let (scale, beta) = ((t.alpha_bar() / s.alpha_bar()).sqrt(), beta(t, s));
            self.over_data(|x0| {
                expect(|e| {
                    let x_s = s.signal() * x0 + s.noise() * e;
                    expect(|z| {
                        let x_t = scale * x_s + beta.sqrt() * z;
                        let (mean, variance) = self.reverse(index, x_t);
                        log_normal(x_t, scale * x_s, beta) - log_normal(x_s, mean, variance)
                    })
                })
            })
        });
        prior + steps.sum::<f64>()
    }

    /// Eq. 5: L_T + Σ L_{t−1} + L_0, by the crate's KL terms.
    fn equation_5(&self) -> f64 {
        let start = self.plan.start();
        let terminal = self.over_data(|x0| objective::prior_kl(&start, x0).unwrap()); // L_T
        let steps = self.plan.steps().iter().enumerate().map(|(index, step)| {
            let (t, s) = (&step.from, &step.to);
            let posterior = posterior::ddpm_posterior(t, s).unwrap();
            self.over_data(|x0| {
                expect(|e| {
                    let x = t.signal() * x0 + t.noise() * e;
                    let reverse = self.reverse(index, x);
                    if s.is_clean() {
                        -log_normal(x0, reverse.0, reverse.1) // L_0
                    } else {
                        let mean = posterior.x0 * x0 + posterior.x * x;
                        objective::gaussian_kl((mean, posterior.variance), reverse).unwrap() // L_{t−1}
                    }
                })
            })
        });
        terminal + steps.sum::<f64>()
    }

    /// Eq. 16: KL(q(x_T) ‖ p(x_T)) + E Σ KL(q(x_{t−1} | x_t) ‖ p_θ(x_{t−1} | x_t)) + H(x₀), q being the exact reverse
    /// process.
    fn equation_16(&self) -> f64 {
        let spread = |level: &NoiseLevel| level.alpha_bar() * self.variance + level.one_minus_alpha_bar();
        let start = self.plan.start();
        let terminal = kl((start.signal() * self.mean, spread(&start)), (0.0, 1.0));
        let steps = self.plan.steps().iter().enumerate().map(|(index, step)| {
            let (t, s) = (&step.from, &step.to);
            let slope = (t.alpha_bar() / s.alpha_bar()).sqrt() * spread(s) / spread(t);
            let variance = spread(s) * beta(t, s) / spread(t);
            expect(|w| {
                let x = t.signal() * self.mean + spread(t).sqrt() * w;
                let mean = s.signal() * self.mean + slope * (x - t.signal() * self.mean);
                objective::gaussian_kl((mean, variance), self.reverse(index, x)).unwrap()
            })
        });
        terminal + steps.sum::<f64>() + 0.5 * (2.0 * PI * E * self.variance).ln()
    }

    /// E[−log p_θ(x₀)]: p_θ(x₀) is Gaussian, since each mean is affine in x.
    fn negative_log_likelihood(&self) -> f64 {
        let (mut mean, mut variance) = (0.0, 1.0);
        for index in 0..self.plan.len() {
            let (at, added) = self.reverse(index, mean);
            let slope = self.reverse(index, mean + 1.0).0 - at;
            (mean, variance) = (at, slope * slope * variance + added);
        }
        self.over_data(|x0| -log_normal(x0, mean, variance))
    }
}

/// Chains of both variances, along all of τ and part of it, with good and bad networks.
fn chains() -> Vec<Chain> {
    let networks: [fn(f64, &NoiseLevel) -> f64; 3] = [
        |_, _| 0.0,
        |x, level| 0.7 * level.noise() * x + 0.1,
        |x, level| {
            let mut rows = [x];
            Gaussian::new([0.4], [0.3]).unwrap().epsilon(&mut rows, level);
            rows[0]
        },
    ];
    let schedule = NoiseSchedule::linear(10, 0.05, 0.5).unwrap();
    let mut chains = Vec::new();
    for network in networks {
        for variance in [Variance::Posterior, Variance::Beta] {
            for path in [vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0], vec![9, 5, 1], vec![9]] {
                let tau = Timesteps::explicit(10, path).unwrap();
                let plan = Plan::new(&schedule, &tau, &Ddpm::new(variance)).unwrap();
                chains.push(Chain { plan, mean: 0.4, variance: 0.3, decoder: 0.2, network });
            }
        }
    }
    chains
}

/// Eq. 3, Eq. 5 (appendix A) and Eq. 16 are one bound.
#[test]
fn the_three_forms_of_the_bound_agree() {
    for chain in chains() {
        let bound = chain.equation_3();
        assert_close!(chain.equation_5(), bound, 1e-12);
        assert_close!(chain.equation_16(), bound, 1e-12);
    }
}

/// Eq. 3: it is a bound on the negative log-likelihood, Eq. 1 integrated, and that is one on the entropy of the data.
#[test]
fn the_bound_lies_above_the_negative_log_likelihood() {
    for chain in chains() {
        let (bound, likelihood) = (chain.equation_5(), chain.negative_log_likelihood());
        let entropy = 0.5 * (2.0 * PI * E * chain.variance).ln();
        assert!(bound > likelihood && likelihood > entropy, "{bound} {likelihood} {entropy}");
    }
}

/// Section 4: with β from 1e-4 to 0.02 and T = 1000, L_T is about 1e-5 bits per dimension.
#[test]
fn the_prior_term_of_the_published_schedule_is_as_small_as_published() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    assert_eq!((schedule.len(), schedule.beta(0).unwrap(), schedule.beta(999).unwrap()), (1000, 1e-4, 0.02));
    let terminal = schedule.level(999).unwrap();
    // The mean over bytes spread evenly over [−1, 1].
    let bits = (0..256).map(|byte| {
        let x0 = 2.0 * f64::from(byte) / 255.0 - 1.0;
        objective::prior_kl(&terminal, x0).unwrap() / 2.0_f64.ln()
    });
    let mean = bits.sum::<f64>() / 256.0;
    assert!((0.5e-5..1.5e-5).contains(&mean), "{mean}");
}

/// Section 3.2: of all σ², the one that is exact for the data makes E L_{t−1} least, which is β̃ for a point and β for
/// N(0, 1).
#[test]
fn the_matching_variance_minimises_the_kl_term() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for (t, s) in [(999, 998), (500, 400), (20, 3), (1, 0)] {
        let (t, s) = (schedule.level(t).unwrap(), schedule.level(s).unwrap());
        let q = posterior::ddpm_posterior(&t, &s).unwrap();
        for (v, best) in [(0.0, q.variance), (1.0, beta(&t, &s))] {
            let data = Gaussian::new([0.0], [v]).unwrap();
            let term = |variance: f64| {
                expect(|w| {
                    let x0 = f64::sqrt(v) * w;
                    expect(|e| {
                        let x = t.signal() * x0 + t.noise() * e;
                        let mut epsilon = [x];
                        data.epsilon(&mut epsilon, &t);
                        let predicted = equation_11(&t, &s, x, epsilon[0]);
                        objective::gaussian_kl((q.x0 * x0 + q.x * x, q.variance), (predicted, variance)).unwrap()
                    })
                })
            };
            let least = term(best);
            assert!([0.5, 0.9, 0.999, 1.001, 1.1, 2.0].iter().all(|factor| term(best * factor) > least), "v = {v}");
        }
    }
}

/// Eq. 13 far out: a mean so far off that the probability is below the least f64 still has a logarithm, near −z²/2.
#[test]
fn the_decoder_stays_finite_far_from_the_mean() {
    for std in [1e-2, 1e-3, 1e-4] {
        let log = objective::decoder_log_likelihood(-0.5, 0.5, std).unwrap();
        let z = (1.0 - 1.0 / 255.0) / std;
        // Mills: Φ(−z) = φ(z)/z·(1 − 1/z² + …); the far side of the bin is nothing beside it.
        let expected = -0.5 * z * z - (z * (2.0 * PI).sqrt()).ln();
        assert!(log.is_finite() && (log - expected).abs() <= 2.0 / (z * z), "{log} {expected}");
    }
}

// ------------------------------------------------------------------------------------------------------ the algorithms

/// Algorithm 1, lines 2–5, in naive loops: x₀, t and ε for each sample of a batch, the noised x_t, and the loss whose
/// gradient is followed.
#[test]
fn algorithm_1_line_by_line() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let network = |x: f64, t: usize| (0.9 * x + 1e-3 * t as f64).tanh();
    let (batch, dim) = (16, 5);
    // Line 2: x₀ ~ q(x₀).
    let x0 = Array2::from_shape_fn((batch, dim), |(i, j)| ((i * dim + j) as f64 * 0.7).sin());
    // Line 3: t ~ Uniform({1, …, T}), which are our 0..T.
    let ts = Uniform::new(1000).unwrap().sample(batch, &mut StdRng::seed_from_u64(3)).unwrap();
    // Line 4: ε ~ N(0, I).
    let epsilon = SeededNoise::new(4).noise(&x0, Draw::Initial).unwrap();

    let mut alpha_bars = Vec::new();
    let mut product = 1.0;
    for t in 0..1000 {
        product *= 1.0 - (1e-4 + (0.02 - 1e-4) * f64::from(t) / 999.0);
        alpha_bars.push(product);
    }
    let mut losses = Vec::new();
    for i in 0..batch {
        let mut sum = 0.0;
        for j in 0..dim {
            let alpha_bar: f64 = alpha_bars[ts[i]];
            // Line 5: ‖ε − ε_θ(√ᾱ_t·x₀ + √(1−ᾱ_t)·ε, t)‖².
            let x = alpha_bar.sqrt() * x0[[i, j]] + (1.0 - alpha_bar).sqrt() * epsilon[[i, j]];
            sum += (epsilon[[i, j]] - network(x, ts[i])).powi(2);
        }
        losses.push(sum / dim as f64);
    }

    let levels: Vec<NoiseLevel> = ts.iter().map(|t| schedule.level(*t).unwrap()).collect();
    let x = forward::add_noise(&x0, &epsilon, &levels).unwrap();
    let predicted = Array2::from_shape_fn((batch, dim), |(i, j)| network(x[[i, j]], ts[i]));
    let found = objective::simple_loss(&epsilon, &predicted).unwrap();
    for (found, expected) in found.into_iter().zip(losses) {
        assert_close!(found, expected, 1e-12);
    }
    // The target of v-prediction, from the same draw.
    let v = forward::velocity(&x0, &epsilon, &levels).unwrap();
    for i in 0..batch {
        let (signal, noise) = (alpha_bars[ts[i]].sqrt(), (1.0 - alpha_bars[ts[i]]).sqrt());
        for j in 0..dim {
            assert_close!(v[[i, j]], signal * epsilon[[i, j]] - noise * x0[[i, j]], 1e-12);
        }
    }
}

/// Algorithm 1 as a whole: gradient steps on its loss carry a network that is linear in x at each t to the best of
/// them, which for N(0, 1) data is ε = √(1−ᾱ_t)·x.
#[test]
fn algorithm_1_trains_the_best_network() {
    let schedule = NoiseSchedule::linear(5, 0.1, 0.6).unwrap();
    let uniform = Uniform::new(5).unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    let (mut weights, mut seen) = (vec![0.0; 5], vec![0.0; 5]);
    for batch in 0..400 {
        let x0 =
            SeededNoise::new(1).from_sample(64 * batch).noise(&Array2::<f64>::zeros((64, 1)), Draw::Initial).unwrap();
        let epsilon = SeededNoise::new(1).from_sample(64 * batch).noise(&x0, Draw::Step(0)).unwrap();
        let ts = uniform.sample(64, &mut rng).unwrap();
        let levels: Vec<NoiseLevel> = ts.iter().map(|t| schedule.level(*t).unwrap()).collect();
        let x = forward::add_noise(&x0, &epsilon, &levels).unwrap();
        for ((t, x), epsilon) in ts.into_iter().zip(&x).zip(&epsilon) {
            // ∇_w (ε − w·x)² = −2·x·(ε − w·x), with a rate that falls as 1/k.
            seen[t] += 1.0;
            weights[t] += 1.0 / (seen[t] + 10.0) * x * (epsilon - weights[t] * x);
        }
    }
    for (weight, level) in weights.iter().zip(schedule.levels()) {
        // 5000 draws at each t: four standard errors are about 0.05.
        assert!((weight - level.noise()).abs() < 0.05, "{weight} {}", level.noise());
    }
}

/// Algorithm 2, typed line by line from β alone, against a run of the plan: both variances, all of T and part of it, in
/// f64 to 1e-12. Noise is asked for at each step but the last.
#[test]
fn algorithm_2_line_by_line() {
    let network = |x: f64, t: usize| (0.8 * x + 5e-4 * t as f64).tanh();
    let schedule = NoiseSchedule::ddpm().unwrap();
    let betas: Vec<f64> = (0..1000).map(|t| 1e-4 + (0.02 - 1e-4) * f64::from(t) / 999.0).collect();
    let alpha_bars: Vec<f64> = betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect();
    let like = Array2::<f64>::zeros((4, 3));
    let z = |index: usize| SeededNoise::new(9).noise(&like, Draw::Step(index)).unwrap();
    for tau in [Timesteps::all(1000).unwrap(), Timesteps::trailing(1000, 37).unwrap()] {
        for variance in [Variance::Posterior, Variance::Beta] {
            // Line 1: x_T ~ N(0, I).
            let start = SeededNoise::new(9).noise(&like, Draw::Initial).unwrap();
            let mut x = start.clone();
            // Line 2: for t = T, …, 1; on part of the steps, those of τ.
            for (index, &t) in tau.as_slice().iter().enumerate() {
                let next = tau.as_slice().get(index + 1);
                let alpha_bar_s: f64 = next.map_or(1.0, |s| alpha_bars[*s]);
                let alpha = alpha_bars[t] / alpha_bar_s;
                let beta = 1.0 - alpha;
                let sigma = match variance {
                    Variance::Beta => beta.sqrt(),
                    _ => ((1.0 - alpha_bar_s) / (1.0 - alpha_bars[t]) * beta).sqrt(),
                };
                // Line 3: z ~ N(0, I) if t > 1, else z = 0.
                let z = if next.is_some() { z(index) } else { like.clone() };
                // Line 4: x_{t−1} = 1/√α_t·(x_t − (1−α_t)/√(1−ᾱ_t)·ε_θ(x_t, t)) + σ_t·z.
                for (x, z) in x.iter_mut().zip(&z) {
                    let drift = (1.0 - alpha) / (1.0 - alpha_bars[t]).sqrt() * network(*x, t);
                    *x = 1.0 / alpha.sqrt() * (*x - drift) + sigma * z;
                }
            }

            let plan = Plan::new(&schedule, &tau, &Ddpm::new(variance)).unwrap();
            let (mut asked, mut received) = (Vec::new(), Vec::new());
            let mut source = noise::from_fn(|_: &Array2<f64>, draw: Draw| {
                asked.push(draw);
                let Draw::Step(index) = draw else { return Err("x_T is given") };
                Ok(z(index))
            });
            let mut model = |x: &Array2<f64>, at: Point| {
                received.push(at.t as usize);
                Ok::<_, BoxError>(x.mapv(|x| network(x, at.t as usize)))
            };
            let found = sample(&plan, start, &mut model, &mut source).unwrap();
            for (found, expected) in found.iter().zip(&x) {
                assert_close!(*found, *expected, 1e-12);
            }
            assert_eq!(received, tau.as_slice());
            assert_eq!(asked, (0..tau.len() - 1).map(Draw::Step).collect::<Vec<_>>());
        }
    }
}

/// Eq. 1: with the perfect ε and T = 1000 steps, samples have the data's distribution, for either variance.
#[test]
fn ancestral_sampling_reaches_the_distribution_of_the_data() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let (mean, variance) = (0.6, 0.4);
    for kind in [Variance::Posterior, Variance::Beta] {
        let plan = Plan::new(&schedule, &Timesteps::all(1000).unwrap(), &Ddpm::new(kind)).unwrap();
        // Mean and variance carried through the plan from N(0, 1), ε being affine in x.
        let data = Gaussian::new([mean], [variance]).unwrap();
        let (mut found_mean, mut found_variance) = (0.0, 1.0);
        for step in plan.steps() {
            let k = step.coefficients;
            let mut epsilon = [found_mean];
            data.epsilon(&mut epsilon, &step.from);
            let slope = step.from.noise() / (step.from.alpha_bar() * variance + step.from.one_minus_alpha_bar());
            found_mean = k.x * found_mean + k.model * epsilon[0];
            found_variance = (k.x + k.model * slope).powi(2) * found_variance + k.d * k.d;
        }
        // What remains is the error of 1000 steps.
        assert!(
            (found_mean - mean).abs() < 1e-3 && (found_variance / variance - 1.0).abs() < 0.02,
            "{kind:?} {found_variance}"
        );
    }
}

// ------------------------------------------------------------------------------------------------- weights at the ends

/// Where SNR is 0 or infinite the weights take their limits.
#[test]
fn the_loss_weights_have_limits_at_clean_data_and_pure_noise() {
    use Prediction::{Epsilon, Sample, Velocity};
    let (clean, pure) = (NoiseLevel::CLEAN, NoiseLevel::PURE_NOISE);
    let min_snr = |prediction, level| objective::min_snr_weight(prediction, level, 5.0).unwrap();
    assert_eq!([Sample, Epsilon, Velocity].map(|prediction| min_snr(prediction, &clean)), [5.0, 0.0, 0.0]);
    assert_eq!([Sample, Epsilon, Velocity].map(|prediction| min_snr(prediction, &pure)), [0.0, 1.0, 0.0]);
    let p2 = |prediction, level, power| objective::p2_weight(prediction, level, 1.0, power).unwrap();
    assert_eq!([Sample, Epsilon, Velocity].map(|prediction| p2(prediction, &clean, 1.0)), [1.0, 0.0, 0.0]);
    assert_eq!([0.5, 1.0, 2.0].map(|power| p2(Sample, &clean, power)), [f64::INFINITY, 1.0, 0.0]);
    assert_eq!([Sample, Epsilon, Velocity].map(|prediction| p2(prediction, &pure, 1.0)), [0.0, 1.0, 0.0]);
    // Near the ends they come close to those limits.
    let almost = NoiseLevel::from_one_minus_alpha_bar(1e-12).unwrap();
    for prediction in [Sample, Epsilon, Velocity] {
        assert_close!(min_snr(prediction, &almost), min_snr(prediction, &clean), 1e-11);
        assert_close!(p2(prediction, &almost, 1.0), p2(prediction, &clean, 1.0), 1e-11);
    }
}

// ------------------------------------------------------------------------------------------------- which t to train at

/// Σ (found − expected)²/expected.
fn chi_square(counts: &[usize], probabilities: &[f64]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    counts.iter().zip(probabilities).map(|(count, p)| (*count as f64 - total * p).powi(2) / (total * p)).sum()
}

/// What χ² of so many degrees of freedom exceeds once in a thousand cases (Wilson and Hilferty 1931).
fn chi_square_bound(degrees: usize) -> f64 {
    let n = degrees as f64;
    n * (1.0 - 2.0 / (9.0 * n) + 3.090 * (2.0 / (9.0 * n)).sqrt()).powi(3)
}

fn count(total: usize, ts: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut counts = vec![0; total];
    ts.into_iter().for_each(|t| counts[t] += 1);
    counts
}

/// Algorithm 1, line 3: every t is as likely, and pairs of consecutive draws are independent.
#[test]
fn uniform_t_is_uniform() {
    for (seed, total) in [(1, 2), (2, 7), (3, 50), (4, 1000)] {
        let ts = Uniform::new(total).unwrap().sample(200_000, &mut StdRng::seed_from_u64(seed)).unwrap();
        let even = vec![1.0 / total as f64; total];
        let chi = chi_square(&count(total, ts.iter().copied()), &even);
        assert!(chi < chi_square_bound(total - 1), "T = {total}: χ² = {chi}");
    }
    let ts = Uniform::new(7).unwrap().sample(100_000, &mut StdRng::seed_from_u64(5)).unwrap();
    let pairs = count(49, ts.chunks_exact(2).map(|pair| 7 * pair[0] + pair[1]));
    assert!(chi_square(&pairs, &[1.0 / 49.0; 49]) < chi_square_bound(48));
}

/// Pairs t, T−1−t, each half of them uniform; an odd batch ends with half a pair.
#[test]
fn antithetic_t_comes_in_pairs_and_is_uniform() {
    for (seed, total, batch) in [(1, 10, 100_000), (2, 1000, 100_001), (3, 1, 5), (4, 9, 1)] {
        let ts = Antithetic::new(total).unwrap().sample(batch, &mut StdRng::seed_from_u64(seed)).unwrap();
        assert_eq!(ts.len(), batch);
        assert!(ts.chunks_exact(2).all(|pair| pair[0] + pair[1] == total - 1));
        if batch > total && total > 1 {
            let even = vec![1.0 / total as f64; total];
            let chi = chi_square(&count(total, ts.iter().copied().step_by(2)), &even);
            assert!(chi < chi_square_bound(total - 1), "T = {total}: χ² = {chi}");
        }
    }
    // The mean t of a batch is (T−1)/2 exactly.
    let ts = Antithetic::new(1000).unwrap().sample(64, &mut StdRng::seed_from_u64(6)).unwrap();
    assert_eq!(ts.iter().sum::<usize>(), 32 * 999);
}

/// Nichol and Dhariwal 2021, Eq. 18: p_t ∝ √E[L_t²] over the last ten losses, after every t has ten; the weights
/// 1/(T·p_t) leave the expectation of any loss what it is under a uniform t.
#[test]
fn loss_aware_t_follows_the_losses_and_its_weights_are_unbiased() {
    let total = 6;
    let even = vec![1.0 / 6.0; total];
    let mut sampler = LossAware::new(total).unwrap();
    // Losses that vary, so that the root of the mean square is not the mean; the first five of fifteen are forgotten.
    let loss = |t: usize, k: usize| (t + 1) as f64 * (1.0 + 0.3 * (k as f64).sin());
    for t in 0..total {
        for k in 0..15 {
            assert_eq!(sampler.probabilities(), even, "uniform until the last t has ten losses");
            if t == total - 1 && k >= 9 {
                break;
            }
            sampler.update(t, if k < 5 && t < total - 1 { 100.0 } else { loss(t, k) }).unwrap();
        }
    }
    sampler.update(total - 1, loss(total - 1, 9)).unwrap();
    let roots: Vec<f64> = (0..total)
        .map(|t| {
            let last_ten = if t < total - 1 { 5..15 } else { 0..10 };
            (last_ten.map(|k| loss(t, k).powi(2)).sum::<f64>() / 10.0).sqrt()
        })
        .collect();
    let sum: f64 = roots.iter().sum();
    let probabilities = sampler.probabilities();
    assert_close!(probabilities.iter().sum::<f64>(), 1.0, 1e-14);
    for (found, root) in probabilities.iter().zip(&roots) {
        assert_close!(*found, 0.999 * root / sum + 0.001 / 6.0, 1e-14);
    }

    let drawn = sampler.sample(200_000, &mut StdRng::seed_from_u64(7)).unwrap();
    let chi = chi_square(&count(total, drawn.iter().map(|drawn| drawn.t)), &probabilities);
    assert!(chi < chi_square_bound(total - 1), "χ² = {chi}");
    assert!(drawn.iter().all(|drawn| (drawn.weight * 6.0 * probabilities[drawn.t] - 1.0).abs() < 1e-14));
    // Σ p_t·w_t·L_t is the plain mean of L, whatever L; on the draws, up to their scatter.
    let anything = [3.0, -1.0, 0.5, 2.0, 7.0, -4.0];
    let mean = anything.iter().sum::<f64>() / 6.0;
    let mut weights = vec![f64::NAN; total];
    drawn.iter().for_each(|drawn| weights[drawn.t] = drawn.weight);
    let expectation: f64 = (0..total).map(|t| probabilities[t] * weights[t] * anything[t]).sum();
    assert_close!(expectation, mean, 1e-14);
    let average = drawn.iter().map(|drawn| drawn.weight * anything[drawn.t]).sum::<f64>() / 200_000.0;
    assert!((average - mean).abs() < 0.05, "{average} {mean}");
}

/// Losses of 0, as of a network that has learned all there is: uniform, and not 0/0.
#[test]
fn loss_aware_t_is_uniform_while_all_losses_are_zero() {
    let mut sampler = LossAware::new(3).unwrap();
    for t in (0..3).flat_map(|t| [t; 10]) {
        sampler.update(t, 0.0).unwrap();
    }
    assert_eq!(sampler.probabilities(), [1.0 / 3.0; 3]);
    let drawn = sampler.sample(1000, &mut StdRng::seed_from_u64(1)).unwrap();
    assert!(drawn.iter().all(|drawn| drawn.weight == 1.0) && (0..3).all(|t| drawn.iter().any(|drawn| drawn.t == t)));
    // One loss is enough to weigh, and a t without any loss keeps its thousandth.
    sampler.update(1, 2.0).unwrap();
    let probabilities = sampler.probabilities();
    assert_close!(probabilities[0], 0.001 / 3.0, 1e-15);
    assert_close!(probabilities[1], 0.999 + 0.001 / 3.0, 1e-15);
    assert_eq!(probabilities[0], probabilities[2]);
}

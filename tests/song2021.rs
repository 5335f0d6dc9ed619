//! Denoising Diffusion Implicit Models (Song, Meng and Ermon 2021, arXiv 2010.02502), equation by equation.
//!
//! Formulas are typed from the paper, in its notation but for ᾱ, which it calls α. `docs/equations.md` says which test
//! belongs to which equation.

use std::f64::consts::PI;
use std::fs;
use std::path::Path;

use crate::common::{TOLERANCE, assert_close, beta, error, expect, log_normal, pairs, paths, schedules};
use alphabar::reference::{DataDistribution, Gaussian, GaussianMixture};
use alphabar::{
    BoxError, Conditioning, Ddim, Ddpm, Draw, EpsilonAfter, HostTensor, NoNoise, NoiseLevel, NoiseSchedule,
    NoiseSource, PathEnd, Plan, Point, Prediction, Predictor, Sampling, SeededNoise, Step, Threshold, Timesteps,
    Variance, forward, noise, objective, posterior, sample, slerp,
};
use ndarray::Array2;
use proptest::prelude::*;

// ----------------------------------------------------------------------------------------------- formulas, typed again

/// Eq. 7: the weights of x₀ and of x_t in the mean of q_σ(x_s | x_t, x₀).
fn equation_7(t: &NoiseLevel, s: &NoiseLevel, sigma: f64) -> (f64, f64) {
    let towards_x_t = (s.one_minus_alpha_bar() - sigma * sigma).max(0.0).sqrt() / t.one_minus_alpha_bar().sqrt();
    (s.alpha_bar().sqrt() - towards_x_t * t.alpha_bar().sqrt(), towards_x_t)
}

/// Eq. 9: f_θ, the x₀ that x_t and ε stand for.
fn equation_9(t: &NoiseLevel, x: f64, epsilon: f64) -> f64 {
    (x - t.one_minus_alpha_bar().sqrt() * epsilon) / t.alpha_bar().sqrt()
}

/// Eq. 12 with the σ of Eq. 16 in the noise that is added, or another one.
fn equation_12(t: &NoiseLevel, s: &NoiseLevel, sigma: f64, sigma_added: f64, [x, epsilon, z]: [f64; 3]) -> f64 {
    let predicted_x0 = equation_9(t, x, epsilon);
    let direction = (s.one_minus_alpha_bar() - sigma * sigma).max(0.0).sqrt() * epsilon;
    s.alpha_bar().sqrt() * predicted_x0 + direction + sigma_added * z
}

/// Eq. 16.
fn equation_16(t: &NoiseLevel, s: &NoiseLevel, eta: f64) -> f64 {
    eta * (s.one_minus_alpha_bar() / t.one_minus_alpha_bar()).sqrt() * beta(t, s).sqrt()
}

// ------------------------------------------------------------------------------------------------------------- helpers

/// ε_θ(x, t) of numbers.
type Network<'a> = &'a dyn Fn(f64, &NoiseLevel) -> f64;

/// A network that returns the same ε whatever it is asked.
fn constant(epsilon: f64) -> impl FnMut(&Vec<f64>, Point) -> Result<Vec<f64>, BoxError> {
    move |x, _| Ok(vec![epsilon; x.len()])
}

/// One number through one step.
fn step(step: &Step, x: f64, m: f64, z: f64) -> f64 {
    step.apply(vec![x], vec![m], Some(&vec![z])).unwrap()[0]
}

/// The exact ε of a distribution of numbers.
fn exact_epsilon(data: &impl DataDistribution, x: f64, level: &NoiseLevel) -> f64 {
    let mut rows = [x];
    data.epsilon(&mut rows, level);
    rows[0]
}

fn plan(schedule: &NoiseSchedule, tau: &Timesteps, ddim: &Ddim) -> Plan {
    Plan::new(schedule, tau, ddim).unwrap()
}

/// η = 0 along τ, with an exact denoiser.
fn run<T: HostTensor>(schedule: &NoiseSchedule, tau: &Timesteps, x: T, data: &(impl Clone + DataDistribution)) -> T {
    let mut model = alphabar::reference::Exact::new(data.clone(), Prediction::Epsilon);
    sample(&plan(schedule, tau, &Ddim::deterministic()), x, &mut model, &mut NoNoise).unwrap()
}

fn root_mean_square(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// Two lumps of unequal weight and width.
fn two_lumps() -> GaussianMixture {
    let lump = |mean: f64, variance: f64| Gaussian::new([mean], [variance]).unwrap();
    GaussianMixture::new([(0.3, lump(-1.0, 0.04)), (0.7, lump(0.8, 0.09))]).unwrap()
}

/// A schedule with the ᾱ of `NoiseSchedule::ddpm`, finer: for limits.
fn fine_schedule(train_steps: usize) -> NoiseSchedule {
    let scale = 1000.0 / train_steps as f64;
    NoiseSchedule::linear(train_steps, 1e-4 * scale, 0.02 * scale).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    // ----------------------------------------------------------------------------- 3.1 Non-Markovian forward processes

    /// Eq. 7.
    #[test]
    fn the_inference_distribution_is_equation_7(
        (t, s) in pairs(),
        share in 0.0..1.0_f64,
        x0 in -2.0..2.0_f64,
        x in -3.0..3.0_f64,
    ) {
        for s in [s, NoiseLevel::CLEAN] {
            let sigma = share * s.noise();
            let q = posterior::inference(&t, &s, sigma).unwrap();
            let mean = s.alpha_bar().sqrt() * x0
                + (s.one_minus_alpha_bar() - sigma * sigma).sqrt() * (x - t.alpha_bar().sqrt() * x0)
                    / t.one_minus_alpha_bar().sqrt();
            assert_close!(q.x0 * x0 + q.x * x, mean);
            assert_close!(q.variance, sigma * sigma);
        }
    }

    /// Lemma 1 (Eq. 22, 26–28): if x_t ~ N(√ᾱ_t·x₀, 1−ᾱ_t), so is x_s, whatever σ.
    #[test]
    fn the_marginal_of_every_sigma_is_q((t, s) in pairs(), share in 0.0..=1.0_f64) {
        let sigma = share * s.noise();
        let q = posterior::inference(&t, &s, sigma).unwrap();
        assert_close!(q.x0 + q.x * t.alpha_bar().sqrt(), s.alpha_bar().sqrt()); // Eq. 26, 27
        assert_close!(q.variance + q.x * q.x * t.one_minus_alpha_bar(), s.one_minus_alpha_bar()); // Eq. 28
        let marginal = posterior::marginal(&t);
        assert_close!(marginal.x0, t.alpha_bar().sqrt(), 1e-15); // Eq. 22
        assert_close!(marginal.variance, t.one_minus_alpha_bar(), 1e-15);
        prop_assert_eq!(marginal.x, 0.0);
    }

    /// Eq. 6 with data that is N(μ, v): the whole joint of (x₀, x_s) stays as Eq. 4 has it, along τ and for any σ of
    /// each step.
    #[test]
    fn the_inference_chain_keeps_the_joint_with_gaussian_data(
        (schedule, tau) in paths(),
        shares in proptest::collection::vec(0.0..1.0_f64, 25),
        mean in -2.0..2.0_f64,
        variance in 0.0..2.0_f64,
    ) {
        let levels: Vec<NoiseLevel> = tau.as_slice().iter().map(|t| schedule.level(*t).unwrap()).collect();
        let first = levels[0];
        // E x_t, Cov(x₀, x_t), Var x_t.
        let mut found = (
            first.signal() * mean,
            first.signal() * variance,
            first.alpha_bar() * variance + first.one_minus_alpha_bar(),
        );
        for (legs, share) in levels.windows(2).zip(shares) {
            let (t, s) = (legs[0], legs[1]);
            let q = posterior::inference(&t, &s, share * s.noise()).unwrap();
            let (x_mean, covariance, x_variance) = found;
            found = (
                q.x0 * mean + q.x * x_mean,
                q.x0 * variance + q.x * covariance,
                q.x0 * q.x0 * variance + 2.0 * q.x0 * q.x * covariance + q.x * q.x * x_variance + q.variance,
            );
            assert_close!(found.0, s.signal() * mean);
            assert_close!(found.1, s.signal() * variance);
            assert_close!(found.2, s.alpha_bar() * variance + s.one_minus_alpha_bar());
        }
    }

    /// Eq. 8: Bayes' rule by the product of the two Gaussians in x_t. Precisions add, and so do means weighted by them.
    #[test]
    fn the_forward_process_is_bayes_rule(
        (t, s) in pairs(),
        share in 0.01..0.99_f64,
        x0 in -2.0..2.0_f64,
        z in -3.0..3.0_f64,
    ) {
        let sigma = share * s.noise();
        let x_s = s.alpha_bar().sqrt() * x0 + s.one_minus_alpha_bar().sqrt() * z;
        // q_σ(x_s | x_t, x₀) = N(of_x0·x₀ + of_x·x_t, σ²), read as a function of x_t; times q(x_t | x₀).
        let (of_x0, of_x) = equation_7(&t, &s, sigma);
        let likelihood = of_x * of_x / (sigma * sigma);
        let prior = 1.0 / t.one_minus_alpha_bar();
        let precision = likelihood + prior;
        let mean = (of_x * (x_s - of_x0 * x0) / (sigma * sigma) + prior * t.alpha_bar().sqrt() * x0) / precision;

        let q = posterior::forward(&s, &t, sigma).unwrap();
        assert_close!(q.x0 * x0 + q.x * x_s, mean);
        assert_close!(q.variance, 1.0 / precision);

        // The three factors of Eq. 8 themselves, at some x_t: the quotient is the density.
        let x_t = mean + 0.7 / precision.sqrt();
        let quotient = log_normal(x_s, of_x0 * x0 + of_x * x_t, sigma * sigma)
            + log_normal(x_t, t.alpha_bar().sqrt() * x0, t.one_minus_alpha_bar())
            - log_normal(x_s, s.alpha_bar().sqrt() * x0, s.one_minus_alpha_bar());
        assert_close!(log_normal(x_t, q.x0 * x0 + q.x * x_s, q.variance), quotient, 1e-10);
    }

    /// Section 3.1: with σ → 0, x₀ and x_t leave nothing of x_s open, nor x₀ and x_s of x_t.
    #[test]
    fn without_sigma_the_forward_process_undoes_the_inference_process(
        (t, s) in pairs(),
        x0 in -2.0..2.0_f64,
        x_t in -3.0..3.0_f64,
    ) {
        let (down, up) = (posterior::inference(&t, &s, 0.0).unwrap(), posterior::forward(&s, &t, 0.0).unwrap());
        prop_assert_eq!((down.variance, up.variance), (0.0, 0.0));
        let x_s = down.x0 * x0 + down.x * x_t;
        assert_close!(up.x0 * x0 + up.x * x_s, x_t);
    }

    /// Section 4.1: with the σ of η = 1 the forward process is Markovian, Eq. 3.
    #[test]
    fn at_eta_one_the_forward_process_is_markovian((t, s) in pairs()) {
        let q = posterior::forward(&s, &t, equation_16(&t, &s, 1.0)).unwrap();
        let alpha = t.alpha_bar() / s.alpha_bar();
        // σ is rounded to an f64; in 1 − ᾱ_s − σ² what is left of that is divided by α·(1−ᾱ_s)/(1−ᾱ_t), the share that
        // is kept.
        let rounding = TOLERANCE.max(1e-15 * t.one_minus_alpha_bar() / s.one_minus_alpha_bar() / alpha.sqrt());
        assert_close!(q.x0, 0.0, rounding);
        assert_close!(q.x, alpha.sqrt(), rounding); // Eq. 3
        assert_close!(q.variance, beta(&t, &s)); // Eq. 3
    }

    // ------------------------------------------------------------------------------------------ 3.2 Generative process

    /// Eq. 9 is Eq. 4 solved for x₀: with the ε that made x_t it gives x₀ back.
    #[test]
    fn f_theta_is_equation_9(
        schedule in schedules(),
        place in 0.0..1.0_f64,
        x0 in -2.0..2.0_f64,
        epsilon in -3.0..3.0_f64,
        other in -3.0..3.0_f64,
    ) {
        let t = (place * schedule.len() as f64) as usize;
        let level = schedule.level(t).unwrap();
        let x = level.alpha_bar().sqrt() * x0 + level.one_minus_alpha_bar().sqrt() * epsilon; // Eq. 4
        assert_close!(forward::add_noise(&vec![x0], &vec![epsilon], &[level]).unwrap()[0], x);

        let only = Timesteps::explicit(schedule.len(), [t]).unwrap();
        let step = &plan(&schedule, &only, &Ddim::deterministic()).steps()[0].clone();
        let f = |epsilon: f64| step.x0(&vec![x], &vec![epsilon]).unwrap()[0];
        assert_close!(f(other), equation_9(&level, x, other));
        // x₀ is a small part of x where there is little signal.
        assert_close!(f(epsilon), x0, TOLERANCE / level.signal());
        let conversion = Prediction::Epsilon.to(Prediction::Sample, &level).unwrap();
        assert_close!(conversion.x * x + conversion.model * other, equation_9(&level, x, other));
    }

    /// Eq. 10: a step is q_σ(x_s | x_t, f_θ(x_t)), and the last one goes to f_θ.
    #[test]
    fn a_step_is_the_inference_distribution_of_the_predicted_x0(
        (schedule, tau) in paths(),
        eta in 0.0..=1.0_f64,
        x in -3.0..3.0_f64,
        epsilon in -3.0..3.0_f64,
    ) {
        let plan = plan(&schedule, &tau, &Ddim::new(eta).unwrap());
        let (last, others) = plan.steps().split_last().unwrap();
        for leg in others {
            let f = equation_9(&leg.from, x, epsilon);
            let sigma = equation_16(&leg.from, &leg.to, eta);
            let q = posterior::inference(&leg.from, &leg.to, sigma).unwrap();
            let mean = q.x0 * f + q.x * x;
            // x̂₀ may be a thousand times the size of the mean, in which its ᾱ_t-th part cancels.
            assert_close!(step(leg, x, epsilon, 0.0), mean, TOLERANCE * (1.0 + f.abs()));
            assert_close!(leg.coefficients.d, sigma);
        }
        assert_close!(step(last, x, epsilon, 0.0), equation_9(&last.from, x, epsilon));
        prop_assert!(last.to.is_clean() && !last.needs_noise());
    }

    /// Theorem 1, term by term: KL(q_σ(x_s | x_t, x₀) ‖ q_σ(x_s | x_t, f_θ)) = γ·(ε − ε_θ)².
    #[test]
    fn each_kl_term_is_gamma_times_the_squared_error_of_epsilon(
        (t, s) in pairs(),
        eta in 0.05..1.0_f64,
        x0 in -2.0..2.0_f64,
        epsilon in -3.0..3.0_f64,
        predicted in -3.0..3.0_f64,
    ) {
        let sigma = equation_16(&t, &s, eta);
        let x = t.signal() * x0 + t.noise() * epsilon;
        let (of_x0, of_x) = equation_7(&t, &s, sigma);
        let mean = |x0: f64| of_x0 * x0 + of_x * x;
        let predicted_x0 = equation_9(&t, x, predicted);
        let (q, p) = (mean(x0), mean(predicted_x0));
        // Two Gaussians of the same variance: KL = (q − p)²/(2σ²).
        let gamma = objective::gamma(&t, &s, sigma).unwrap();
        prop_assert!(gamma > 0.0);
        let difference = (2.0 * sigma * sigma * gamma).sqrt() * (epsilon - predicted).abs();
        // x̂₀ is a small part of x where there is little signal.
        prop_assert!((difference - (q - p).abs()).abs() <= 1e-14 / t.signal(), "{difference} {}", q - p);
        let kl = objective::gaussian_kl((q, sigma * sigma), (p, sigma * sigma)).unwrap();
        assert_close!(kl, (q - p).powi(2) / (2.0 * sigma * sigma), 1e-14);
    }

    // ---------------------------------------------------------------------------------------------------- 4.1 Sampling

    /// Eq. 12 and 16 (and appendix D.3), as they stand in the paper, along any τ and with an η for each step; and the
    /// form of the step that is passed over memory once is the same as the one with x̂₀ in it.
    #[test]
    fn a_step_is_equation_12(
        (schedule, tau) in paths(),
        etas in proptest::collection::vec(0.0..=1.0_f64, 25),
        x in -3.0..3.0_f64,
        epsilon in -3.0..3.0_f64,
        z in -3.0..3.0_f64,
    ) {
        let etas = &etas[..tau.len()];
        let plan = plan(&schedule, &tau, &Ddim::per_step(etas.to_vec()).unwrap());
        prop_assert_eq!(plan.len(), tau.len());
        for (i, (leg, eta)) in plan.steps().iter().zip(etas).enumerate() {
            // α_{τ_{i−1}} is that of the next entry of the list; the last step goes to α_0 := 1.
            let t = schedule.level(tau.as_slice()[i]).unwrap();
            let s = tau.as_slice().get(i + 1).map_or(NoiseLevel::CLEAN, |next| schedule.level(*next).unwrap());
            let sigma = equation_16(&t, &s, *eta);
            let expected = equation_12(&t, &s, sigma, sigma, [x, epsilon, z]);
            let rounding = TOLERANCE * (1.0 + equation_9(&t, x, epsilon).abs());
            assert_close!(step(leg, x, epsilon, z), expected, rounding, "{leg:?}");
            assert_close!(leg.coefficients.d, sigma);
            assert_close!(posterior::sigma(&t, &s, *eta).unwrap(), sigma);
            let k = &leg.coefficients;
            assert_close!(k.a * k.p + k.b, k.x, 1e-14 * (1.0 + (k.a * k.p).abs()));
            assert_close!(k.a * k.q + k.c, k.model, 1e-14 * (1.0 + (k.a * k.q).abs()));
        }
    }

    /// Lemma 1 for the generative process: with a perfect ε, for each x₀ the plan carries q(x_t | x₀) to q(x_s | x₀),
    /// whatever τ and whatever the η of each step.
    #[test]
    fn a_perfect_epsilon_keeps_every_marginal_along_any_plan(
        (schedule, tau) in paths(),
        etas in proptest::collection::vec(0.0..=1.0_f64, 25),
        x0 in -2.0..2.0_f64,
    ) {
        let plan = plan(&schedule, &tau, &Ddim::per_step(etas[..tau.len()].to_vec()).unwrap());
        let point = Gaussian::point([x0]).unwrap();
        let (mut mean, mut variance) = (plan.start().signal() * x0, plan.start().one_minus_alpha_bar());
        for leg in plan.steps() {
            let k = leg.coefficients;
            // ε is affine in x: its value at the mean, and its slope 1/√(1−ᾱ).
            mean = k.x * mean + k.model * exact_epsilon(&point, mean, &leg.from);
            variance = (k.x + k.model / leg.from.noise()).powi(2) * variance + k.d * k.d;
            let rounding = TOLERANCE * (1.0 + k.x.abs());
            assert_close!(mean, leg.to.signal() * x0, rounding);
            assert_close!(variance, leg.to.one_minus_alpha_bar(), rounding);
        }
        prop_assert!(variance < 1e-20, "{variance}");
    }

    /// Eq. 4 and 12: without noise and with the ε that x_T was made of, every x_t is √ᾱ_t·x₀ + √(1−ᾱ_t)·ε, and the end
    /// is x₀.
    #[test]
    fn a_perfect_epsilon_follows_q_exactly(
        (schedule, tau) in paths(),
        x0 in proptest::collection::vec(-2.0..2.0_f64, 3),
        epsilon in proptest::collection::vec(-3.0..3.0_f64, 3),
    ) {
        let plan = plan(&schedule, &tau, &Ddim::deterministic());
        let at = |level: &NoiseLevel| -> Vec<f64> {
            let (signal, noise) = (level.alpha_bar().sqrt(), level.one_minus_alpha_bar().sqrt());
            x0.iter().zip(&epsilon).map(|(x0, epsilon)| signal * x0 + noise * epsilon).collect()
        };
        let mut model = |_: &Vec<f64>, _: Point| Ok::<_, BoxError>(epsilon.clone());
        let rounding = TOLERANCE / plan.start().signal();
        let mut noise = NoNoise;
        let mut run = Sampling::new(&plan, at(&plan.start()), &mut model, &mut noise).unwrap();
        while let Some((leg, predicted)) = run.advance_with_x0().unwrap() {
            for (found, expected) in run.x().unwrap().iter().zip(at(&leg.to)).chain(predicted.iter().zip(x0.clone())) {
                assert_close!(*found, expected, rounding);
            }
        }
    }

    /// Section 4.1 and 5: η = 1 is DDPM with the posterior variance, on any τ and for every prediction; under a
    /// threshold too, if ε is derived from the thresholded x̂₀, as DDPM's mean implies.
    #[test]
    fn eta_one_is_ddpm_with_the_posterior_variance_on_any_path((schedule, tau) in paths(), end in any::<bool>()) {
        let tau = tau.ending(if end { PathEnd::Clean } else { PathEnd::FirstLevel });
        // Where a step stands still (t = 0 to the level of t = 0) its weights are 0, or the square of a rounding.
        let same = |found: f64, expected: f64| (found - expected).abs() <= 1e-14 * expected.abs() + 1e-30;
        for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score] {
            let builder = Plan::builder(&schedule, &tau).prediction(prediction);
            let ddim = builder.build(&Ddim::new(1.0).unwrap()).unwrap();
            let ddpm = builder.build(&Ddpm::new(Variance::Posterior)).unwrap();
            for (one, other) in ddim.steps().iter().zip(ddpm.steps()) {
                let (one, other) = (one.coefficients, other.coefficients);
                for (found, expected) in [(one.x, other.x), (one.model, other.model), (one.d, other.d)] {
                    prop_assert!(same(found, expected), "{one:?} {other:?}");
                }
            }
            for threshold in [Threshold::Clip(0.8), Threshold::Dynamic { ratio: 0.9, max: 2.0 }] {
                let builder = builder.threshold(threshold).epsilon_after(EpsilonAfter::Threshold);
                let ddim = builder.build(&Ddim::new(1.0).unwrap()).unwrap();
                let ddpm = builder.build(&Ddpm::new(Variance::Posterior)).unwrap();
                for (one, other) in ddim.steps().iter().zip(ddpm.steps()) {
                    let (one, other) = (one.coefficients, other.coefficients);
                    prop_assert_eq!((one.p, one.q, one.c, one.threshold), (other.p, other.q, 0.0, other.threshold));
                    for (found, expected) in [(one.a, other.a), (one.b, other.b), (one.d, other.d)] {
                        prop_assert!(same(found, expected), "{one:?} {other:?}");
                    }
                }
            }
        }
    }

    /// Section 5 and appendix D.3: σ̂ is the mean of η = 1 with the noise √(1−ᾱ_t/ᾱ_s): DDPM with the variance β, on
    /// any τ.
    #[test]
    fn sigma_hat_is_ddpm_with_the_variance_beta_on_any_path(
        (schedule, tau) in paths(),
        x in -3.0..3.0_f64,
        epsilon in -3.0..3.0_f64,
        z in -3.0..3.0_f64,
    ) {
        let hat = plan(&schedule, &tau, &Ddim::sigma_hat());
        let one = plan(&schedule, &tau, &Ddim::new(1.0).unwrap());
        let ddpm = Plan::new(&schedule, &tau, &Ddpm::new(Variance::Beta)).unwrap();
        for ((hat, one), ddpm) in hat.steps().iter().zip(one.steps()).zip(ddpm.steps()) {
            let (t, s) = (&hat.from, &hat.to);
            // A step to clean data, the paper's t = 1, adds nothing.
            let added = if s.is_clean() { 0.0 } else { beta(t, s).sqrt() };
            let expected = equation_12(t, s, equation_16(t, s, 1.0), added, [x, epsilon, z]);
            assert_close!(step(hat, x, epsilon, z), expected, TOLERANCE * (1.0 + equation_9(t, x, epsilon).abs()));
            let (hat, one, ddpm) = (hat.coefficients, one.coefficients, ddpm.coefficients);
            prop_assert_eq!((hat.x, hat.model), (one.x, one.model));
            prop_assert!(hat.d >= one.d);
            for (found, expected) in [(hat.x, ddpm.x), (hat.model, ddpm.model), (hat.d, ddpm.d)] {
                prop_assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{hat:?} {ddpm:?}");
            }
        }
    }

    // ------------------------------------------------------------------------------------ 4.3 Relevance to neural ODEs

    /// Eq. 13: without noise a step is x_s/√ᾱ_s = x_t/√ᾱ_t + (√((1−ᾱ_s)/ᾱ_s) − √((1−ᾱ_t)/ᾱ_t))·ε, to less noise or to
    /// more; Eq. 44: an Euler step of Eq. 14 in x̄ = x/√ᾱ and σ.
    #[test]
    fn a_deterministic_step_is_an_euler_step_of_the_ode(
        (schedule, tau) in paths(),
        encode in any::<bool>(),
        x in -3.0..3.0_f64,
        epsilon in -3.0..3.0_f64,
    ) {
        let tau = if encode { tau.encoding(Conditioning::Source) } else { tau };
        for leg in plan(&schedule, &tau, &Ddim::deterministic()).steps() {
            let (t, s) = (&leg.from, &leg.to);
            let ratio = |level: &NoiseLevel| (level.one_minus_alpha_bar() / level.alpha_bar()).sqrt();
            let right = x / t.alpha_bar().sqrt() + (ratio(s) - ratio(t)) * epsilon; // Eq. 13
            let left = step(leg, x, epsilon, 0.0) / s.alpha_bar().sqrt();
            let rounding = TOLERANCE * (1.0 + (ratio(s) + ratio(t)) * epsilon.abs());
            assert_close!(left, right, rounding);
            let by_sigma = x / t.signal() + (s.sigma() - t.sigma()) * epsilon; // Eq. 44
            assert_close!(left, by_sigma, rounding);
        }
    }

    /// Eq. 37–40: (x, ᾱ) and (x̄, σ) stand for each other.
    #[test]
    fn levels_and_sigmas_are_in_bijection(sigma in 1e-4..1e3_f64, x in -3.0..3.0_f64) {
        let level = NoiseLevel::from_sigma(sigma).unwrap();
        assert_close!(level.alpha_bar(), 1.0 / (1.0 + sigma * sigma), 1e-15); // Eq. 40
        let again = NoiseLevel::from_alpha_bar(level.alpha_bar()).unwrap();
        // ᾱ alone holds the σ of a little noise to less: σ² = 1/ᾱ − 1.
        assert_close!(again.sigma(), sigma, 1e-15 * (1.0 + 1.0 / (sigma * sigma))); // Eq. 38
        assert_close!(level.sigma(), sigma, 1e-15);
        let x_bar = x / level.signal(); // Eq. 37
        assert_close!(x_bar / (sigma * sigma + 1.0).sqrt(), x, 1e-15); // Eq. 39
    }

    /// Section 4.3: encoding runs Eq. 13 backwards, so that with one ε throughout a path up and down is the identity.
    #[test]
    fn up_and_down_with_a_fixed_epsilon_is_the_identity(
        (schedule, tau) in paths(),
        x0 in -2.0..2.0_f64,
        epsilon in -3.0..3.0_f64,
    ) {
        for conditioning in [Conditioning::Source, Conditioning::Destination] {
            let up = plan(&schedule, &tau.clone().encoding(conditioning), &Ddim::deterministic());
            let down = plan(&schedule, &tau, &Ddim::deterministic());
            let latent = sample(&up, vec![x0], &mut constant(epsilon), &mut NoNoise).unwrap();
            // That latent is √ᾱ_T·x₀ + √(1−ᾱ_T)·ε, in which x₀ is held to the rounding of a number near 1.
            assert_close!(latent[0], down.start().signal() * x0 + down.start().noise() * epsilon);
            let back = sample(&down, latent, &mut constant(epsilon), &mut NoNoise).unwrap();
            assert_close!(back[0], x0, TOLERANCE / down.start().signal());
        }
    }

    /// Eq. 13: the brackets of consecutive steps telescope.
    #[test]
    fn deterministic_steps_with_the_same_epsilon_are_one_long_step((schedule, tau) in paths()) {
        let steps = plan(&schedule, &tau, &Ddim::deterministic());
        let first = Timesteps::explicit(schedule.len(), [tau.as_slice()[0]]).unwrap();
        let long = plan(&schedule, &first, &Ddim::deterministic()).steps()[0].coefficients;
        let (mut x, mut model) = (1.0, 0.0);
        for leg in steps.steps() {
            let k = leg.coefficients;
            (x, model) = (k.x * x, k.x * model + k.model);
        }
        assert_close!(x, long.x);
        assert_close!(model, long.model);
    }

    // -------------------------------------------------------------------------------------- Appendix D.5 Interpolation

    /// Eq. 67, per sample of a batch.
    #[test]
    fn slerp_is_equation_67(
        (dim, rows) in (2..12_usize, 1..4_usize),
        pool in proptest::collection::vec(-2.0..2.0_f64, 2 * 12 * 4),
        u in 0.0..=1.0_f64,
    ) {
        let a = Array2::from_shape_vec((rows, dim), pool[..rows * dim].to_vec()).unwrap();
        let b = Array2::from_shape_vec((rows, dim), pool[48..48 + rows * dim].to_vec()).unwrap();
        let between = slerp(&a, &b, u).unwrap();
        for ((a, b), between) in a.rows().into_iter().zip(b.rows()).zip(between.rows()) {
            let cosine = a.dot(&b) / (a.dot(&a).sqrt() * b.dot(&b).sqrt());
            prop_assume!(cosine.abs() < 0.999);
            let theta = cosine.acos();
            let (of_a, of_b) = (((1.0 - u) * theta).sin() / theta.sin(), (u * theta).sin() / theta.sin());
            for ((a, b), between) in a.iter().zip(b).zip(between) {
                assert_close!(*between, of_a * a + of_b * b);
            }
        }
        prop_assert_eq!(slerp(&a, &b, 0.0).unwrap(), a.clone());
        prop_assert_eq!(slerp(&a, &b, 1.0).unwrap(), b);
    }

    /// Between latents of one length slerp moves along the great circle, at constant speed, however close they are.
    #[test]
    fn slerp_turns_evenly_on_the_sphere(radius in 0.1..10.0_f64, exponent in -6.0..0.4_f64, u in 0.0..=1.0_f64) {
        let theta = 10.0_f64.powf(exponent);
        let at = |angle: f64| vec![radius * angle.cos(), radius * angle.sin(), 0.0];
        let between = slerp(&at(0.0), &at(theta), u).unwrap();
        for (found, expected) in between.iter().zip(at(u * theta)) {
            prop_assert!((found - expected).abs() <= 1e-12 * radius, "θ = {theta:e}: {found:e}, not {expected:e}");
        }
    }
}

// ------------------------------------------------------------------------------------------------------- 3.2 Theorem 1

/// J_σ of Eq. 11 (appendix B, Eq. 29; for a τ that leaves t out, appendix C.1, Eq. 58), term by term as an expectation
/// of log-densities: those of q from Eq. 4 and 7, those of p_θ from the plan. `decoder` is the paper's σ_1, which keeps
/// p_θ(x₀ | x_1) a density, and the σ_t of Eq. 57 for `left_out`.
fn variational_objective(
    plan: &Plan,
    left_out: &[NoiseLevel],
    decoder: f64,
    (mean, variance): (f64, f64),
    epsilon: Network,
) -> f64 {
    let over_data = |f: &dyn Fn(f64) -> f64| expect(|w| f(mean + variance.sqrt() * w));
    let x_t = |level: &NoiseLevel, x0: f64, e: f64| level.signal() * x0 + level.noise() * e; // Eq. 4
    let start = plan.start();
    // log q(x_T | x₀) − log p_θ(x_T)
    let mut total = over_data(&|x0| {
        expect(|e| {
            let x = x_t(&start, x0, e);
            log_normal(x, start.signal() * x0, start.one_minus_alpha_bar()) - log_normal(x, 0.0, 1.0)
        })
    });
    // −log p_θ(x₀ | x_t)
    let decode = |level: &NoiseLevel| {
        over_data(&|x0| {
            expect(|e| {
                let x = x_t(level, x0, e);
                -log_normal(x0, equation_9(level, x, epsilon(x, level)), decoder * decoder)
            })
        })
    };
    for leg in plan.steps() {
        let (t, s, sigma) = (leg.from, leg.to, leg.coefficients.d);
        if s.is_clean() {
            total += decode(&t);
            continue;
        }
        let (of_x0, of_x) = equation_7(&t, &s, sigma);
        // log q_σ(x_s | x_t, x₀) − log p_θ(x_s | x_t)
        total += over_data(&|x0| {
            expect(|e| {
                let x = x_t(&t, x0, e);
                let q = of_x0 * x0 + of_x * x;
                let p = step(leg, x, epsilon(x, &t), 0.0);
                expect(|z| {
                    let x_s = q + sigma * z;
                    log_normal(x_s, q, sigma * sigma) - log_normal(x_s, p, sigma * sigma)
                })
            })
        });
    }
    // The star graph of Eq. 52: −log p_θ(x₀ | x_t) of Eq. 57 for t outside τ; log q(x_t | x₀) does not depend on θ and
    // is left out.
    total + left_out.iter().map(decode).sum::<f64>()
}

/// L_γ of Eq. 5.
fn weighted_denoising_objective(
    plan: &Plan,
    left_out: &[NoiseLevel],
    decoder: f64,
    (mean, variance): (f64, f64),
    epsilon: Network,
) -> f64 {
    let term = |level: &NoiseLevel, gamma: f64| {
        gamma
            * expect(|w| {
                let x0 = mean + variance.sqrt() * w;
                expect(|e| (epsilon(level.signal() * x0 + level.noise() * e, level) - e).powi(2))
            })
    };
    let on_path = plan.steps().iter().map(|leg| {
        let sigma = if leg.to.is_clean() { decoder } else { leg.coefficients.d };
        term(&leg.from, objective::gamma(&leg.from, &leg.to, sigma).unwrap())
    });
    let off_path =
        left_out.iter().map(|level| term(level, objective::gamma(level, &NoiseLevel::CLEAN, decoder).unwrap()));
    on_path.sum::<f64>() + off_path.sum::<f64>()
}

/// The plans of the next two tests: a short schedule, all of it or part of it, at some η > 0.
fn plans_with_noise() -> impl Iterator<Item = (Plan, Vec<NoiseLevel>)> {
    let schedule = NoiseSchedule::linear(8, 0.02, 0.4).unwrap();
    let paths: [&[usize]; 3] = [&[7, 6, 5, 4, 3, 2, 1, 0], &[7, 4, 2, 0], &[7]];
    paths.into_iter().flat_map(move |path| {
        let schedule = schedule.clone();
        [0.2, 0.6, 1.0].into_iter().map(move |eta| {
            let tau = Timesteps::explicit(8, path.iter().copied()).unwrap();
            let left_out = (0..8).filter(|t| !path.contains(t)).map(|t| schedule.level(t).unwrap()).collect();
            (plan(&schedule, &tau, &Ddim::new(eta).unwrap()), left_out)
        })
    })
}

/// Theorem 1 (Eq. 35), and appendix C.1 for part of the steps: J_σ − L_γ is the same for every network. The expectation
/// over x₀ and ε is a sum over nodes, for which the theorem holds as for any distribution with the moments of a
/// Gaussian; so it is no matter that the networks are not polynomials.
#[test]
fn the_variational_objective_is_the_denoising_objective_up_to_a_constant() {
    let (data, decoder) = ((0.3, 0.5), 0.1_f64);
    let exact = Gaussian::new([data.0], [data.1]).unwrap();
    let networks: [Network; 5] = [
        &|_, _| 0.0,
        &|x, _| 0.5 * x - 0.2,
        &|x, level| (3.0 * x).sin() + level.noise(),
        &|x, level| x * x * level.signal() - x.cos(),
        &|x, level| exact_epsilon(&exact, x, level),
    ];
    for (plan, left_out) in plans_with_noise() {
        // What does not depend on θ: L_T, and the entropy of the decoders.
        let start = plan.start();
        let prior = expect(|w| objective::prior_kl(&start, data.0 + data.1.sqrt() * w).unwrap());
        let decoders = (1 + left_out.len()) as f64 * 0.5 * (2.0 * PI * decoder * decoder).ln();
        for network in networks {
            let j = variational_objective(&plan, &left_out, decoder, data, network);
            let l = weighted_denoising_objective(&plan, &left_out, decoder, data, network);
            let constant = prior + decoders;
            assert!((j - l - constant).abs() <= 1e-12 * j.abs().max(1.0), "J = {j}, L = {l}, C = {constant}");
        }
    }
}

/// Section 3.2: the best ε does not depend on σ, which is why one network serves every sampler. Away from E[ε | x], J_σ
/// grows by γ·E δ² for each σ.
#[test]
fn the_best_epsilon_is_the_same_for_every_sigma() {
    let (data, decoder) = ((-0.4, 0.7), 0.1);
    let exact = Gaussian::new([data.0], [data.1]).unwrap();
    let best = |x: f64, level: &NoiseLevel| exact_epsilon(&exact, x, level);
    let off: [&dyn Fn(f64) -> f64; 3] = [&|_| 0.1, &|x| -0.05 * x, &|x| 0.2 * x - 0.1];
    for (plan, left_out) in plans_with_noise() {
        let least = variational_objective(&plan, &left_out, decoder, data, &best);
        for delta in off {
            let worse =
                variational_objective(&plan, &left_out, decoder, data, &|x, level| best(x, level) + delta(x)) - least;
            let level_terms = |level: &NoiseLevel, gamma: f64| {
                let spread = (level.alpha_bar() * data.1 + level.one_minus_alpha_bar()).sqrt();
                gamma * expect(|w| delta(level.signal() * data.0 + spread * w).powi(2))
            };
            let on_path = plan.steps().iter().map(|leg| {
                let sigma = if leg.to.is_clean() { decoder } else { leg.coefficients.d };
                level_terms(&leg.from, objective::gamma(&leg.from, &leg.to, sigma).unwrap())
            });
            let off_path = left_out
                .iter()
                .map(|level| level_terms(level, objective::gamma(level, &NoiseLevel::CLEAN, decoder).unwrap()));
            let expected = on_path.sum::<f64>() + off_path.sum::<f64>();
            assert!(worse > 0.0 && (worse - expected).abs() <= 1e-11 * least.abs().max(1.0), "{worse} {expected}");
        }
    }
}

// -------------------------------------------------------------------------------------------------- 4.1 and 5, in runs

/// Appendix D.3: a whole run against Eq. 12 in a loop, for every η and σ̂, on a batch with recorded noise.
#[test]
fn a_run_is_equation_12_in_a_loop() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::quadratic(1000, 40).unwrap();
    let data = two_lumps();
    let like = Array2::<f64>::zeros((6, 1));
    let start = SeededNoise::new(5).noise(&like, Draw::Initial).unwrap();
    for (ddim, eta, hat) in [
        (Ddim::new(0.0).unwrap(), 0.0, false),
        (Ddim::new(0.5).unwrap(), 0.5, false),
        (Ddim::new(1.0).unwrap(), 1.0, false),
        (Ddim::sigma_hat(), 1.0, true),
    ] {
        let mut x = start.clone();
        for (i, t) in tau.as_slice().iter().enumerate() {
            let t = schedule.level(*t).unwrap();
            let s = tau.as_slice().get(i + 1).map_or(NoiseLevel::CLEAN, |next| schedule.level(*next).unwrap());
            let sigma = equation_16(&t, &s, eta);
            let added = if hat && !s.is_clean() { beta(&t, &s).sqrt() } else { sigma };
            let z = SeededNoise::new(5).noise(&like, Draw::Step(i)).unwrap();
            ndarray::Zip::from(&mut x).and(&z).for_each(|x, z| {
                *x = equation_12(&t, &s, sigma, added, [*x, exact_epsilon(&data, *x, &t), *z]);
            });
        }
        let plan = plan(&schedule, &tau, &ddim);
        let found = sample(&plan, start.clone(), &mut data.clone().predictor(), &mut SeededNoise::new(5)).unwrap();
        for (found, expected) in found.iter().zip(&x) {
            assert_close!(*found, *expected, 1e-12, "{plan}");
        }
    }
}

/// Section 5: under a clip and with the network's own ε, η = 1 and DDPM part ways; re-deriving ε brings them together.
#[test]
fn under_a_clip_eta_one_is_ddpm_only_with_the_rederived_epsilon() {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, 20).unwrap());
    let clipped = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(0.5));
    let x = SeededNoise::new(3).noise(&vec![0.0_f64; 50], Draw::Initial).unwrap();
    let end = |plan: &Plan| sample(plan, x.clone(), &mut two_lumps_of(50), &mut SeededNoise::new(3)).unwrap();
    let ddpm = end(&clipped.build(&Ddpm::default()).unwrap());
    let one = Ddim::new(1.0).unwrap();
    let rederived = end(&clipped.epsilon_after(EpsilonAfter::Threshold).build(&one).unwrap());
    let kept = end(&clipped.epsilon_after(EpsilonAfter::Network).build(&one).unwrap());
    assert!(rederived.iter().zip(&ddpm).all(|(a, b)| error(*a, *b) <= 1e-12));
    assert!(root_mean_square(&kept, &ddpm) > 1e-2);
}

/// [`two_lumps`] in each of so many dimensions, as a network for vectors.
fn two_lumps_of(dim: usize) -> impl Predictor<Vec<f64>> {
    let data = two_lumps();
    alphabar::predictor::from_fn(Prediction::Epsilon, move |x: &Vec<f64>, at| {
        assert_eq!(x.len(), dim);
        let mut rows = x.clone();
        data.epsilon(&mut rows, &at.level);
        Ok::<_, BoxError>(rows)
    })
}

// --------------------------------------------------------------------------------------------------------- 4.3 The ODE

/// Section 4.3: encoding is Eq. 13 from clean data up to x_T, in a loop. The network receives the level that x is at, as
/// the paper has it, or the one that the step goes to.
#[test]
fn encoding_is_equation_13_upwards() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::linear(1000, 20).unwrap();
    let ratio = |level: &NoiseLevel| (level.one_minus_alpha_bar() / level.alpha_bar()).sqrt();
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        let (mut x, mut s) = (-0.4, NoiseLevel::CLEAN);
        let (mut received, mut last) = (Vec::new(), 0);
        for t in tau.as_slice().iter().rev().copied() {
            let level = schedule.level(t).unwrap();
            let at = match conditioning {
                Conditioning::Source => (last, s),
                Conditioning::Destination => (t, level),
            };
            received.push(at.0);
            let x_bar = x / s.alpha_bar().sqrt() + (ratio(&level) - ratio(&s)) * exact_epsilon(&two_lumps(), x, &at.1);
            x = level.alpha_bar().sqrt() * x_bar;
            (s, last) = (level, t);
        }

        let up = plan(&schedule, &tau.clone().encoding(conditioning), &Ddim::deterministic());
        assert_eq!(up.steps().iter().map(|leg| leg.point().t as usize).collect::<Vec<_>>(), received);
        let found = sample(&up, vec![-0.4], &mut two_lumps().predictor(), &mut NoNoise).unwrap();
        assert_close!(found[0], x, 1e-12, "{conditioning:?}");
    }
}

/// Eq. 14: dx̄ = ε(x̄/√(σ²+1))·dσ is solved by the exact map of a Gaussian.
#[test]
fn the_exact_map_solves_equation_14() {
    let data = Gaussian::new([0.7], [0.3]).unwrap();
    let start = NoiseLevel::from_sigma(5.0).unwrap();
    let x_bar = |sigma: f64| {
        let level = NoiseLevel::from_sigma(sigma).unwrap();
        let mut x = [1.3];
        data.flow(&mut x, &start, &level);
        x[0] / level.signal()
    };
    for sigma in [0.05, 0.3, 1.0, 4.0, 20.0] {
        let h = 1e-3 * sigma;
        // The central difference of fourth order.
        let slope = (8.0 * (x_bar(sigma + h) - x_bar(sigma - h)) - (x_bar(sigma + 2.0 * h) - x_bar(sigma - 2.0 * h)))
            / (12.0 * h);
        let level = NoiseLevel::from_sigma(sigma).unwrap();
        let epsilon = exact_epsilon(&data, x_bar(sigma) / (sigma * sigma + 1.0).sqrt(), &level);
        assert_close!(slope, epsilon, 1e-10, "σ = {sigma}");
    }
}

/// Proposition 1 (Eq. 49): ε is −σ times the score of x̄, by which the ODE is the probability flow of the
/// variance-exploding SDE (Eq. 47). The density of x̄ is that of the data with σ² added to its variance.
#[test]
fn epsilon_is_the_score_of_the_variance_exploding_process() {
    let data = two_lumps();
    let log_density = |x_bar: f64, sigma: f64| {
        let terms = [(0.3_f64, -1.0, 0.04), (0.7, 0.8, 0.09)];
        terms
            .map(|(weight, mean, variance)| weight * log_normal(x_bar, mean, variance + sigma * sigma).exp())
            .iter()
            .sum::<f64>()
            .ln()
    };
    for sigma in [0.1, 0.5, 2.0] {
        for x_bar in [-2.0, -0.9, -0.1, 0.4, 1.5] {
            let h = 1e-3;
            let slope = (8.0 * (log_density(x_bar + h, sigma) - log_density(x_bar - h, sigma))
                - (log_density(x_bar + 2.0 * h, sigma) - log_density(x_bar - 2.0 * h, sigma)))
                / (12.0 * h);
            let level = NoiseLevel::from_sigma(sigma).unwrap();
            let epsilon = exact_epsilon(&data, x_bar / (sigma * sigma + 1.0).sqrt(), &level);
            assert_close!(-epsilon / sigma, slope, 1e-8, "x̄ = {x_bar}, σ = {sigma}");
            // The score of x itself differs by the factor of the change of variables.
            let mut score = [x_bar * level.signal()];
            data.score(&mut score, &level);
            assert_close!(score[0] * level.signal(), slope, 1e-8);
        }
    }
}

/// Eq. 15, the Euler step in t of that flow, is DDIM's for levels close to each other: they differ by a term of second
/// order.
#[test]
fn the_probability_flow_step_differs_from_ddim_at_second_order() {
    let (x, epsilon, sigma) = (0.8, -0.6, 1.5);
    let t = NoiseLevel::from_sigma(sigma).unwrap();
    let difference = |gap: f64| {
        let s = NoiseLevel::from_sigma(sigma - gap).unwrap();
        let ratio = |level: &NoiseLevel| level.one_minus_alpha_bar() / level.alpha_bar();
        let euler_in_t = x / t.signal() + 0.5 * (ratio(&s) - ratio(&t)) * (1.0 / ratio(&t)).sqrt() * epsilon; // Eq. 15
        let weights = alphabar::Solver::combine(&Ddim::deterministic(), &alphabar::Leg::new(t, s)).unwrap();
        let ddim = (weights.x0() * equation_9(&t, x, epsilon) + weights.epsilon() * epsilon) / s.signal();
        euler_in_t - ddim
    };
    for gap in [0.2, 0.1, 0.05] {
        // ½(σ_s² − σ_t²)/σ_t − (σ_s − σ_t) = (σ_s − σ_t)²/(2σ_t)
        assert_close!(difference(gap), gap * gap / (2.0 * sigma) * epsilon, 1e-14);
    }
}

/// log₂ of the ratio of the errors at S and 2S.
fn observed_orders(steps: &[usize], error: impl Fn(usize) -> f64) -> Vec<f64> {
    let errors: Vec<f64> = steps.iter().map(|steps| error(*steps)).collect();
    errors.windows(2).map(|pair| (pair[0] / pair[1]).log2()).collect()
}

const DOUBLING: [usize; 5] = [64, 128, 256, 512, 1024];

/// Eq. 14: DDIM converges to the exact ODE map of Gaussian data at first order, generating and encoding, whichever end
/// of an encoding step the network receives.
#[test]
fn ddim_converges_to_the_exact_ode_map_at_first_order() {
    let schedule = fine_schedule(8192);
    let data = Gaussian::new([0.5, -1.0], [0.25, 2.0]).unwrap();
    let noisiest = schedule.level(8191).unwrap();
    let first = vec![0.9, -1.4];
    let check = |encode: Option<Conditioning>| {
        let (from, to) = if encode.is_some() { (NoiseLevel::CLEAN, noisiest) } else { (noisiest, NoiseLevel::CLEAN) };
        let mut exact = first.clone();
        data.flow(&mut exact, &from, &to);
        let orders = observed_orders(&DOUBLING, |steps| {
            let tau = Timesteps::trailing(8192, steps).unwrap();
            let tau = encode.map_or(tau.clone(), |conditioning| tau.encoding(conditioning));
            root_mean_square(&run(&schedule, &tau, first.clone(), &data), &exact)
        });
        assert!(orders.iter().all(|order| (order - 1.0).abs() <= 0.1), "{encode:?}: {orders:?}");
    };
    check(None);
    check(Some(Conditioning::Source));
    check(Some(Conditioning::Destination));
}

/// In one dimension the exact ODE map of any data matches quantiles: that of a mixture, by bisection.
fn quantile_map(x: f64, from: &NoiseLevel, to: &NoiseLevel) -> f64 {
    let below = |x: f64, level: &NoiseLevel| {
        [(0.3, -1.0, 0.04), (0.7, 0.8, 0.09)]
            .map(|(weight, mean, variance): (f64, f64, f64)| {
                let spread = (level.alpha_bar() * variance + level.one_minus_alpha_bar()).sqrt();
                weight * 0.5 * libm::erfc(-(x - level.signal() * mean) / (spread * 2.0_f64.sqrt()))
            })
            .iter()
            .sum::<f64>()
    };
    let share = below(x, from);
    let (mut low, mut high) = (-20.0, 20.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        *(if below(middle, to) < share { &mut low } else { &mut high }) = middle;
    }
    low
}

/// Eq. 14 for data that is no Gaussian, where x_t ↦ x₀ is curved: still first order, to the map that matches quantiles.
#[test]
fn ddim_converges_to_the_quantile_map_of_a_mixture_at_first_order() {
    let schedule = fine_schedule(8192);
    let noisiest = schedule.level(8191).unwrap();
    for x in [-1.7, -0.2, 1.1] {
        let exact = quantile_map(x, &noisiest, &NoiseLevel::CLEAN);
        let orders = observed_orders(&DOUBLING[1..], |steps| {
            let tau = Timesteps::trailing(8192, steps).unwrap();
            (run(&schedule, &tau, vec![x], &two_lumps())[0] - exact).abs()
        });
        assert!(orders.iter().all(|order| (order - 1.0).abs() <= 0.1), "x_T = {x}: {orders:?}");
    }
}

// --------------------------------------------------------------------------------- 5.2 Consistency, 5.4 Reconstruction

/// Section 5.2: from one x_T, paths of any length lead to much the same sample, the closer the longer they are. With
/// noise (η = 1) they do not.
#[test]
fn samples_from_one_latent_agree_across_lengths() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let latents = SeededNoise::new(11).noise(&vec![0.0_f64; 64], Draw::Initial).unwrap();
    let end = |steps: usize, eta: f64| {
        let tau = Timesteps::trailing(1000, steps).unwrap();
        let plan = plan(&schedule, &tau, &Ddim::new(eta).unwrap());
        sample(&plan, latents.clone(), &mut two_lumps_of(64), &mut SeededNoise::new(12)).unwrap()
    };
    let longest = end(1000, 0.0);
    let distances: Vec<f64> =
        [10, 20, 50, 100, 200, 500].iter().map(|steps| root_mean_square(&end(*steps, 0.0), &longest)).collect();
    assert!(distances.is_sorted_by(|longer, shorter| longer > shorter), "{distances:?}");
    // The lumps are 1.8 apart.
    assert!(distances[2] < 0.1, "{distances:?}");
    assert!(root_mean_square(&end(500, 1.0), &end(1000, 1.0)) > 0.5);
}

/// Section 5.4, Table 2: encoding and decoding loses the less the more steps there are, for both conditionings.
#[test]
fn the_reconstruction_error_falls_with_every_longer_path() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let steps = [10, 20, 50, 100, 200, 500, 1000];
    let narrow = Gaussian::new([0.3], [0.25]).unwrap();
    // Data that the distributions hold. Between the two lumps, where there is next to none, the map from x₀ to x_T
    // stretches a hundredfold, and 1000 steps are not yet many.
    let gaussian_rows: Vec<f64> = (-4..=4).map(|i| 0.3 + 0.25 * f64::from(i)).collect();
    let mixture_rows = vec![-1.3, -1.1, -1.0, -0.8, 0.3, 0.6, 0.8, 1.0, 1.4];
    let errors = |conditioning: Conditioning, rows: &[f64], gaussian: bool| -> Vec<f64> {
        let x0 = Array2::from_shape_vec((rows.len(), 1), rows.to_vec()).unwrap();
        steps
            .iter()
            .map(|steps| {
                let down = Timesteps::linear(1000, *steps).unwrap();
                let up = down.clone().encoding(conditioning);
                let back = if gaussian {
                    run(&schedule, &down, run(&schedule, &up, x0.clone(), &narrow), &narrow)
                } else {
                    run(&schedule, &down, run(&schedule, &up, x0.clone(), &two_lumps()), &two_lumps())
                };
                root_mean_square(back.as_slice().unwrap(), rows)
            })
            .collect()
    };
    for conditioning in [Conditioning::Source, Conditioning::Destination] {
        for (rows, gaussian) in [(&gaussian_rows, true), (&mixture_rows, false)] {
            let errors = errors(conditioning, rows, gaussian);
            assert!(errors.is_sorted_by(|longer, shorter| longer > shorter), "{conditioning:?}: {errors:?}");
            // At first order, ten times the steps leave a tenth.
            assert!((errors[6] / errors[3]).log10() < -0.9, "{conditioning:?}: {errors:?}");
        }
    }
}

/// Section 5.3 and appendix D.5: interpolated latents decode to samples that begin and end with those of the two
/// latents and move from one to the other without a jump; on the grid of four latents the corners are those latents.
#[test]
fn interpolation_joins_the_samples_of_two_latents() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 50).unwrap();
    let draw = |seed| SeededNoise::new(seed).noise(&vec![0.0_f64; 16], Draw::Initial).unwrap();
    let data = Gaussian::new(vec![0.2; 16], vec![0.5; 16]).unwrap();
    let decode = |latent: Vec<f64>| run(&schedule, &tau, latent, &data);
    let (a, b) = (draw(1), draw(2));
    let strip: Vec<Vec<f64>> = (0..=20).map(|i| decode(slerp(&a, &b, f64::from(i) / 20.0).unwrap())).collect();
    assert_eq!((&strip[0], &strip[20]), (&decode(a.clone()), &decode(b.clone())));
    let whole = root_mean_square(&strip[0], &strip[20]);
    for pair in strip.windows(2) {
        let part = root_mean_square(&pair[0], &pair[1]);
        assert!(part > 0.02 * whole && part < 0.1 * whole, "{part} of {whole}");
    }

    let (c, d) = (draw(3), draw(4));
    let grid = |u: f64, v: f64| slerp(&slerp(&a, &b, u).unwrap(), &slerp(&c, &d, u).unwrap(), v).unwrap();
    assert_eq!([grid(0.0, 0.0), grid(1.0, 0.0), grid(0.0, 1.0), grid(1.0, 1.0)], [a, b, c, d]);
}

// ------------------------------------------------------------------------------------------------------ the other half

/// Section 4.2 and appendix C.1: noise is asked for once a step, and not on the last, whatever τ.
#[test]
fn a_run_asks_for_noise_at_every_step_but_the_last() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for list in [vec![999, 500, 19], vec![999], vec![700, 3, 2, 1, 0]] {
        let tau = Timesteps::explicit(1000, list.clone()).unwrap();
        for ddim in [Ddim::new(0.3).unwrap(), Ddim::new(1.0).unwrap(), Ddim::sigma_hat()] {
            let mut asked = Vec::new();
            let mut source = noise::from_fn(|like: &Vec<f64>, draw: Draw| {
                asked.push(draw);
                Ok::<_, BoxError>(vec![1.0; like.len()])
            });
            let mut received = Vec::new();
            let mut model = |x: &Vec<f64>, at: Point| {
                received.push(at.t as usize);
                Ok::<_, BoxError>(x.clone())
            };
            sample(&plan(&schedule, &tau, &ddim), vec![0.5], &mut model, &mut source).unwrap();
            assert_eq!(received, list);
            assert_eq!(asked, (0..list.len() - 1).map(Draw::Step).collect::<Vec<_>>());
        }
    }
}

/// `docs/equations.md` names only functions and tests that exist.
#[test]
fn the_table_of_equations_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/equations.md")).unwrap();
    let mut counts = [0, 0];
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        // | equation | what it says | code | tests |, the last two as `file.rs`: `name`, `name`; `file.rs`: `name`
        for ((cell, folder), count) in row.split(" | ").skip(2).zip(["src", "tests"]).zip(&mut counts) {
            let mut text = String::new();
            for code in cell.split('`').skip(1).step_by(2) {
                if code.contains('.') {
                    text = fs::read_to_string(root.join(folder).join(code)).unwrap_or_else(|_| panic!("{code}: {row}"));
                    continue;
                }
                // What is named is defined there, or a variant.
                let name = code.rsplit("::").next().unwrap();
                let kinds = if folder == "src" { &["fn", "struct", "enum", "trait"][..] } else { &["fn"] };
                let defined =
                    kinds.iter().flat_map(|kind| ["(", "<", " ", ";"].map(|end| format!("{kind} {name}{end}")));
                let variants = [",\n", " {\n"].map(|end| format!("    {name}{end}"));
                let exists = defined.chain(variants).any(|definition| text.contains(&definition));
                assert!(exists, "no {code} in {folder}: {row}");
                *count += 1;
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 80), "{counts:?}");
}

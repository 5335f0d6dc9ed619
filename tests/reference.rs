//! The exact predictors against Bayes' rule by brute force: numerical integration in one dimension, densities typed out
//! in several, and a numerically integrated probability-flow ODE.

use std::f64::consts::TAU;

use alphabar::reference::{DataDistribution, Exact, FiniteData, Gaussian, GaussianMixture};
use alphabar::{NoiseLevel, Point, Prediction, Predictor, forward};
use ndarray::Array2;
use proptest::prelude::*;

fn level(log_snr: f64) -> NoiseLevel {
    NoiseLevel::from_log_snr(log_snr).unwrap()
}

#[track_caller]
fn assert_close(found: f64, wanted: f64, absolute: f64) {
    assert!((found - wanted).abs() <= absolute, "{found} for {wanted}: {:e}", found - wanted);
}

fn denoised(data: &dyn DataDistribution, x: &[f64], level: &NoiseLevel) -> Vec<f64> {
    let mut rows = x.to_vec();
    data.denoise(&mut rows, level);
    rows
}

fn epsilon(data: &dyn DataDistribution, x: &[f64], level: &NoiseLevel) -> Vec<f64> {
    let mut rows = x.to_vec();
    data.epsilon(&mut rows, level);
    rows
}

fn score(data: &dyn DataDistribution, x: &[f64], level: &NoiseLevel) -> Vec<f64> {
    let mut rows = x.to_vec();
    data.score(&mut rows, level);
    rows
}

/// N(x; mean, variance).
fn density(x: f64, mean: f64, variance: f64) -> f64 {
    (-(x - mean) * (x - mean) / (2.0 * variance)).exp() / (TAU * variance).sqrt()
}

/// One dimension of a mixture: weight, mean and variance of each component.
type Components = [(f64, f64, f64)];

fn mixture(components: &Components) -> GaussianMixture {
    let gaussian = |mean, variance| Gaussian::new([mean], [variance]).unwrap();
    GaussianMixture::new(components.iter().map(|(weight, mean, variance)| (*weight, gaussian(*mean, *variance))))
        .unwrap()
}

/// E[x₀ | x] = ∫ x₀ p(x₀) q(x | x₀) dx₀ / ∫ p(x₀) q(x | x₀) dx₀ by the trapezoidal rule, which for what falls off like
/// a Gaussian converges faster than any power of the step.
fn posterior_mean(prior: impl Fn(f64) -> f64, x: f64, level: &NoiseLevel) -> f64 {
    let (signal, variance) = (level.alpha_bar().sqrt(), level.one_minus_alpha_bar());
    let (mut mass, mut moment) = (0.0, 0.0);
    for i in -60_000..=60_000 {
        let x0 = f64::from(i) * 2e-4;
        let weight = prior(x0) * density(x, signal * x0, variance);
        mass += weight;
        moment += weight * x0;
    }
    moment / mass
}

// Denoisers against integrals.

#[test]
fn the_denoiser_is_the_posterior_mean() {
    let gaussian: &Components = &[(1.0, 0.7, 0.25)];
    let two: &Components = &[(0.3, -1.0, 0.04), (0.7, 1.5, 0.5)];
    // Weights need not add up to 1.
    let three: &Components = &[(2.0, -2.0, 0.1), (1.0, 0.0, 0.01), (5.0, 1.0, 1.0)];
    for components in [gaussian, two, three] {
        let prior =
            |x0| components.iter().map(|(weight, mean, variance)| weight * density(x0, *mean, *variance)).sum::<f64>();
        for log_snr in [-8.0, -2.0, 0.0, 2.0, 6.0] {
            let level = level(log_snr);
            for x in [-2.5, -0.4, 0.0, 0.3, 1.7] {
                let wanted = posterior_mean(prior, x, &level);
                assert_close(denoised(&mixture(components), &[x], &level)[0], wanted, 1e-12);
                if let [(_, mean, variance)] = components {
                    let data = Gaussian::new([*mean], [*variance]).unwrap();
                    assert_close(denoised(&data, &[x], &level)[0], wanted, 1e-12);
                }
            }
        }
    }
}

#[test]
fn blurred_data_is_denoised_as_its_density_says() {
    let points = [-1.2, 0.1, 0.4, 2.0];
    let data = FiniteData::new(1, points).unwrap().with_bandwidth(0.15).unwrap();
    let prior = |x0| points.iter().map(|point| density(x0, *point, 0.15 * 0.15)).sum::<f64>();
    for log_snr in [-8.0, -2.0, 0.0, 2.0, 6.0] {
        for x in [-2.0, -0.3, 0.25, 1.1] {
            let level = level(log_snr);
            assert_close(denoised(&data, &[x], &level)[0], posterior_mean(prior, x, &level), 1e-12);
        }
    }
}

// Denoisers against formulas, in several dimensions.

/// E[x₀ | x] = Σ r_k E_k of a mixture of diagonal Gaussians, r_k ∝ w_k·N(x; √ᾱ·μ_k, ᾱ·v_k + 1−ᾱ), without logarithms.
fn naive_mixture_mean(components: &[(f64, Vec<f64>, Vec<f64>)], x: &[f64], level: &NoiseLevel) -> Vec<f64> {
    let (alpha_bar, signal, noise_variance) = (level.alpha_bar(), level.signal(), level.one_minus_alpha_bar());
    let mut total = 0.0;
    let mut mean = vec![0.0; x.len()];
    for (weight, mu, v) in components {
        let spread = |i: usize| alpha_bar * v[i] + noise_variance;
        let likelihood: f64 = (0..x.len()).map(|i| density(x[i], signal * mu[i], spread(i))).product();
        total += weight * likelihood;
        for i in 0..x.len() {
            let component = mu[i] + signal * v[i] / spread(i) * (x[i] - signal * mu[i]);
            mean[i] += weight * likelihood * component;
        }
    }
    mean.into_iter().map(|mean| mean / total).collect()
}

proptest! {
    #[test]
    fn a_mixture_is_weighed_by_its_densities(
        components in prop::collection::vec(
            (0.1_f64..3.0, prop::collection::vec(-2.0_f64..2.0, 3), prop::collection::vec(0.0_f64..1.0, 3)), 1..5,
        ),
        x in prop::collection::vec(-2.0_f64..2.0, 3),
        log_snr in -8.0_f64..3.0,
    ) {
        let level = level(log_snr);
        let gaussians = components.iter().map(|(weight, mean, variance)| {
            (*weight, Gaussian::new(mean.clone(), variance.clone()).unwrap())
        });
        let data = GaussianMixture::new(gaussians).unwrap();
        prop_assert_eq!(data.dim(), 3);
        for (found, wanted) in denoised(&data, &x, &level).iter().zip(naive_mixture_mean(&components, &x, &level)) {
            prop_assert!((found - wanted).abs() < 1e-12, "{} for {}", found, wanted);
        }
    }

    #[test]
    fn finite_data_is_a_mixture_of_its_points(
        points in prop::collection::vec(prop::collection::vec(-1.0_f64..1.0, 4), 1..8),
        x in prop::collection::vec(-2.0_f64..2.0, 8),
        log_snr in prop_oneof![-40.0_f64..8.0, Just(8.0)],
        bandwidth in prop_oneof![Just(0.0), 0.01_f64..1.0],
    ) {
        // Two samples of four dimensions, of a blurred set and of a mixture of Gaussians of variance h².
        let level = level(log_snr);
        let blurred = |point: &Vec<f64>| Gaussian::new(point.clone(), [bandwidth * bandwidth; 4]).unwrap();
        let mixture = GaussianMixture::new(points.iter().map(|point| (1.0, blurred(point)))).unwrap();
        let finite = FiniteData::new(4, points.concat()).unwrap().with_bandwidth(bandwidth).unwrap();
        prop_assert_eq!((finite.dim(), finite.len()), (4, points.len()));
        // A distance of x to the points is rounded at 1e-16 of its square, which counts by SNR.
        let rounding = 1e-14 * (1.0 + level.snr());
        for (found, wanted) in denoised(&finite, &x, &level).iter().zip(denoised(&mixture, &x, &level)) {
            prop_assert!((found - wanted).abs() < rounding, "{} for {}", found, wanted);
        }
    }

    #[test]
    fn distances_are_to_the_nearest_sample(
        points in prop::collection::vec(prop::collection::vec(-1.0_f64..1.0, 3), 1..8),
        xs in prop::collection::vec(prop::collection::vec(-2.0_f64..2.0, 3), 0..4),
    ) {
        let data = FiniteData::new(3, points.concat()).unwrap();
        let distance = |x: &[f64], y: &[f64]| (x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / 3.0).sqrt();
        let wanted: Vec<f64> =
            xs.iter().map(|x| points.iter().map(|y| distance(x, y)).fold(f64::INFINITY, f64::min)).collect();
        let found = data.distances(&xs.concat());
        prop_assert_eq!(found.len(), wanted.len());
        prop_assert!(found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-15));
    }
}

// What belongs to a denoiser.

fn distributions() -> Vec<Box<dyn DataDistribution>> {
    vec![
        Box::new(Gaussian::new([0.7, -0.3], [0.25, 2.0]).unwrap()),
        Box::new(Gaussian::point([0.7, -0.3]).unwrap()),
        Box::new(
            GaussianMixture::new([
                (0.3, Gaussian::new([-1.0, 0.0], [0.04, 0.5]).unwrap()),
                (0.7, Gaussian::point([1.0, 1.0]).unwrap()),
            ])
            .unwrap(),
        ),
        Box::new(FiniteData::new(2, [0.0, 0.0, 1.0, -1.0, 0.5, 0.25]).unwrap()),
        Box::new(FiniteData::new(2, [0.0, 0.0, 1.0, -1.0]).unwrap().with_bandwidth(0.3).unwrap()),
    ]
}

#[test]
fn epsilon_and_score_follow_from_the_denoiser() {
    for data in distributions() {
        let data = &*data;
        for log_snr in [-20.0, -3.0, 0.0, 3.0, 10.0] {
            let level = level(log_snr);
            let (signal, noise) = (level.signal(), level.noise());
            let x = [0.4, -1.1, 2.0, 0.1];
            let (x0, eps, score) = (denoised(&data, &x, &level), epsilon(&data, &x, &level), score(&data, &x, &level));
            for i in 0..4 {
                let rounding = 1e-15 / noise;
                assert_close(eps[i], (x[i] - signal * x0[i]) / noise, 4.0 * rounding);
                assert_close(score[i], -(x[i] - signal * x0[i]) / (noise * noise), 8.0 * rounding / noise);
            }
        }
    }
}

#[test]
fn the_score_is_the_gradient_of_the_log_density() {
    let components: &Components = &[(0.3, -1.0, 0.04), (0.7, 1.5, 0.5)];
    for log_snr in [-4.0, 0.0, 4.0] {
        let level = level(log_snr);
        let log_density = |x: f64| {
            let of = |(weight, mean, variance): &(f64, f64, f64)| {
                weight * density(x, level.signal() * mean, level.alpha_bar() * variance + level.one_minus_alpha_bar())
            };
            components.iter().map(of).sum::<f64>().ln()
        };
        for x in [-1.3, -0.2, 0.5, 1.9] {
            // Central differences, extrapolated once, are good to h⁴.
            let slope = |h: f64| (log_density(x + h) - log_density(x - h)) / (2.0 * h);
            let wanted = (4.0 * slope(5e-4) - slope(1e-3)) / 3.0;
            assert_close(score(&mixture(components), &[x], &level)[0], wanted, 1e-9);
        }
    }
}

#[test]
fn an_exact_predictor_predicts_any_kind_of_the_same_x0() {
    let x = Array2::from_shape_vec((3, 2), vec![0.4, -1.1, 2.0, 0.1, 0.0, 0.9]).unwrap();
    for data in distributions() {
        let data = &*data;
        for log_snr in [-12.0, -3.0, 0.0, 3.0, 9.0] {
            let level = level(log_snr);
            let at = Point::new(0.0, level);
            let x0 = denoised(&data, x.as_slice().unwrap(), &level);
            for kind in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score] {
                let mut model = Exact::new(&data, kind);
                assert_eq!(Predictor::<Array2<f64>>::prediction(&model), kind);
                let m = model.predict(&x, at).unwrap();
                let again = forward::convert(&x, &m, kind, Prediction::Sample, &[level]).unwrap();
                // From ε, x₀ is found to the rounding of x over the signal.
                let rounding = 1e-14 / level.signal();
                again.iter().zip(&x0).for_each(|(found, wanted)| assert_close(*found, *wanted, rounding));
                // f32 tensors are computed in f64 and rounded once.
                let single = model.predict(&x.mapv(|x| x as f32), at).unwrap();
                let wide = model.predict(&x.mapv(|x| f64::from(x as f32)), at).unwrap();
                assert_eq!(single, wide.mapv(|m| m as f32));
            }
        }
    }
}

#[test]
fn each_row_of_a_batch_is_a_sample_of_its_own() {
    for data in distributions() {
        let data = &*data;
        let level = level(1.0);
        let rows = [[0.4, -1.1], [2.0, 0.1], [0.0, 0.9]];
        let alone: Vec<f64> = rows.iter().flat_map(|row| denoised(&data, row, &level)).collect();
        let together = denoised(&data, rows.as_flattened(), &level);
        together.iter().zip(&alone).for_each(|(together, alone)| assert_close(*together, *alone, 1e-15));
    }
}

// Ends of the scale.

#[test]
fn at_a_clean_level_x_is_the_data_or_next_to_it() {
    let clean = NoiseLevel::CLEAN;
    let x = [0.4, -1.1];
    let gaussian = Gaussian::new([0.7, -0.3], [0.25, 2.0]).unwrap();
    assert_eq!(denoised(&gaussian, &x, &clean), x);
    // For discrete data the nearest point, whatever the weights; also in the flat dimension of a Gaussian.
    assert_eq!(denoised(&Gaussian::point([0.7, -0.3]).unwrap(), &x, &clean), [0.7, -0.3]);
    assert_eq!(denoised(&Gaussian::new([0.7, -0.3], [0.0, 2.0]).unwrap(), &x, &clean), [0.7, -1.1]);
    let points = [[0.0, 0.0], [0.5, -1.0], [1.0, 1.0]];
    let weights = [1e6, 1e-6, 1.0];
    let of_points = |(weight, point)| (weight, Gaussian::point(point).unwrap());
    let mixture = GaussianMixture::new(weights.into_iter().zip(points).map(of_points)).unwrap();
    assert_eq!(denoised(&mixture, &x, &clean), points[1]);
    let finite = FiniteData::new(2, points.concat()).unwrap();
    assert_eq!(denoised(&finite, &x, &clean), points[1]);
    // Blurred, it is data itself.
    for (found, wanted) in denoised(&finite.with_bandwidth(0.3).unwrap(), &x, &clean).iter().zip(x) {
        assert_close(*found, wanted, 1e-15);
    }
    for data in distributions() {
        let data = &*data;
        assert_eq!(epsilon(&data, &x, &clean), [0.0, 0.0]);
    }
}

#[test]
fn at_pure_noise_x_says_nothing() {
    let pure = NoiseLevel::PURE_NOISE;
    let x = [0.4, -1.1];
    let means = [[0.7, -0.3], [0.7, -0.3], [0.4, 0.7], [0.5, -0.25], [0.5, -0.5]];
    for (data, mean) in distributions().iter().zip(means) {
        let data = &**data;
        denoised(data, &x, &pure).iter().zip(mean).for_each(|(found, wanted)| assert_close(*found, wanted, 1e-15));
        assert_eq!(epsilon(data, &x, &pure), x);
        score(data, &x, &pure).iter().zip(x).for_each(|(score, x)| assert_close(*score, -x, 1e-15));
    }
}

#[test]
fn denoisers_are_stable_at_extreme_levels_and_far_away() {
    for data in distributions() {
        let data = &*data;
        for log_snr in [-207.0, -150.0, -60.0, 0.0, 30.0, 60.0, 150.0, 207.0] {
            let level = level(log_snr);
            for x in [[0.0, 0.0], [0.5, 0.25], [-1e3, 1e3], [1e12, -1e-12], [1e-300, -1e-300], [1e40, 1e40]] {
                let (x0, eps) = (denoised(&data, &x, &level), epsilon(&data, &x, &level));
                assert!(x0.iter().chain(&eps).all(|value| value.is_finite()), "{x0:?}, {eps:?} of {x:?} at {log_snr}");
            }
        }
    }
    // The mean of points stays among them, and far from all of them is the one that lies furthest in that direction.
    let points = [0.0, 0.0, 1.0, -1.0, 0.5, 0.25];
    let data = FiniteData::new(2, points).unwrap();
    for log_snr in [-30.0, 0.0, 30.0] {
        let far = 1e6 * level(log_snr).one_minus_alpha_bar().max(1e-6) / level(log_snr).signal();
        assert_eq!(denoised(&data, &[far, -far], &level(log_snr)), [1.0, -1.0]);
    }
}

#[test]
fn neighbouring_points_are_distinguished_with_little_noise() {
    // The midpoint of 0 and 1 and a little beyond, with a noise a thousandth of that little: r = 1/(1 + e^(−δ/(1−ᾱ))).
    let data = FiniteData::new(1, [0.0, 1.0]).unwrap();
    for exponent in [2, 4, 6] {
        let variance = 10_f64.powi(-exponent);
        let level = NoiseLevel::from_one_minus_alpha_bar(variance).unwrap();
        let signal = level.signal();
        for share in [-2.0, -0.5, 0.0, 0.5, 2.0] {
            let x = 0.5 * signal + share * variance / signal;
            let wanted = 1.0 / (1.0 + (-share).exp());
            // x itself is rounded at 1e-16 of it.
            assert_close(denoised(&data, &[x], &level)[0], wanted, 1e-15 / variance);
        }
    }
}

#[test]
fn data_far_from_the_origin_is_denoised_as_well_as_next_to_it() {
    // Pixels from 0 to 255, coordinates of a map: the same five points, moved.
    let points = [0.0, 0.2, 0.7, 1.5, -1.0];
    let level = NoiseLevel::from_one_minus_alpha_bar(0.01).unwrap();
    let near = FiniteData::new(1, points).unwrap();
    for offset in [1e3, 1e6] {
        let far = FiniteData::new(1, points.map(|point| point + offset)).unwrap();
        for x in [-0.9, 0.1, 0.44, 1.0] {
            let wanted = denoised(&near, &[x], &level)[0] + offset;
            // The points and x are rounded at 1e-16 of the offset, and a distance d counts by d/(1−ᾱ).
            let found = denoised(&far, &[x + level.signal() * offset], &level)[0];
            assert_close(found, wanted, 1e-15 * offset / 0.01 * 4.0);
        }
    }
}

#[test]
fn a_batch_of_numbers_is_denoised_as_each_alone() {
    // In one dimension a batch is a column, whose products a matrix library may lay out the other way.
    let data = FiniteData::new(1, [-0.9, 0.0, 0.8]).unwrap().with_bandwidth(0.1).unwrap();
    let level = NoiseLevel::from_one_minus_alpha_bar(0.3).unwrap();
    let batch = [-2.0, -0.4, 0.1, 0.9];
    let alone: Vec<f64> = batch.iter().map(|x| denoised(&data, &[*x], &level)[0]).collect();
    assert_eq!(denoised(&data, &batch, &level), alone);
    assert!(alone.iter().all(|x0| (-1.5..1.5).contains(x0)), "{alone:?}");
}

// The ODE.

#[test]
fn the_flow_solves_the_probability_flow_ode() {
    // In x̄ = x/√ᾱ against σ = √((1−ᾱ)/ᾱ) it is dx̄/dσ = ε (Song et al. 2021, Eq. 14), with the exact ε of N(μ, v),
    // ε = √(1−ᾱ)·(x − √ᾱ·μ)/(ᾱ·v + 1−ᾱ).
    let (mean, variance) = (0.7, 0.25);
    let data = Gaussian::new([mean], [variance]).unwrap();
    let slope = |sigma: f64, scaled: f64| {
        let alpha_bar = 1.0 / (1.0 + sigma * sigma);
        let x = scaled * alpha_bar.sqrt();
        (1.0 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * mean) / (alpha_bar * variance + 1.0 - alpha_bar)
    };
    for (from, to) in [(5.0, 0.01), (0.01, 5.0), (2.0, 0.0), (0.0, 0.3), (1.0, 1.0)] {
        let (start, end) = (NoiseLevel::from_sigma(from).unwrap(), NoiseLevel::from_sigma(to).unwrap());
        for x in [-2.0, 0.0, 0.7, 1.5] {
            // Runge–Kutta of order 4.
            let steps = 20_000;
            let h = (to - from) / f64::from(steps);
            let mut scaled = x / start.signal();
            for i in 0..steps {
                let sigma = from + h * f64::from(i);
                let k1 = slope(sigma, scaled);
                let k2 = slope(sigma + h / 2.0, scaled + h / 2.0 * k1);
                let k3 = slope(sigma + h / 2.0, scaled + h / 2.0 * k2);
                let k4 = slope(sigma + h, scaled + h * k3);
                scaled += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
            }
            let mut flown = [x];
            data.flow(&mut flown, &start, &end);
            assert_close(flown[0], scaled * end.signal(), 1e-10);
        }
    }
}

proptest! {
    #[test]
    fn the_flow_is_a_flow_and_keeps_the_marginals(
        x in -3.0_f64..3.0, mean in -2.0_f64..2.0, variance in 0.01_f64..4.0,
        levels in prop::array::uniform3(-12.0_f64..12.0),
    ) {
        let data = Gaussian::new([mean], [variance]).unwrap();
        let [a, b, c] = levels.map(level);
        let flow = |x: f64, from, to| {
            let mut rows = [x];
            data.flow(&mut rows, from, to);
            rows[0]
        };
        let direct = flow(x, &a, &c);
        // Up to rounding, which the flow back to data from little noise does not amplify beyond √(spreads).
        let scale = 1e-14 * (3.0 + mean.abs()) * (1.0 + (variance.max(1.0) / variance.min(1.0)).sqrt());
        prop_assert!((flow(flow(x, &a, &b), &b, &c) - direct).abs() < scale, "in two legs");
        prop_assert!((flow(direct, &c, &a) - x).abs() < scale, "and back");
        prop_assert!((flow(x, &a, &a) - x).abs() < 1e-15 * (3.0 + mean.abs()), "standing still");
        // x keeps its place in the distribution: so many standard deviations from the mean.
        let place = |x: f64, level: &NoiseLevel| {
            (x - level.signal() * mean) / (level.alpha_bar() * variance + level.one_minus_alpha_bar()).sqrt()
        };
        let error = place(direct, &c) - place(x, &a);
        prop_assert!(error.abs() < 1e-13 * (1.0 + place(x, &a).abs()) / variance.min(1.0).sqrt());
    }
}

#[test]
fn a_point_flows_in_and_out_of_its_level() {
    let data = Gaussian::point([0.5]).unwrap();
    let level = level(0.0);
    let mut x = [1.3];
    data.flow(&mut x, &level, &NoiseLevel::CLEAN);
    assert_eq!(x, [0.5]);
    // All of it is at the point; where it goes from there nobody can tell, but to the middle.
    data.flow(&mut x, &NoiseLevel::CLEAN, &level);
    assert_eq!(x, [0.5 * level.signal()]);
}

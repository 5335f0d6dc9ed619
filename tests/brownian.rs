//! Brownian noise against what Brownian motion is: increments add up, are independent and N(0, length), do not depend on the order of
//! calls; and runs of one seed converge to one image, in the strong order of Euler's method with additive noise.

use alphabar::noise::{Brownian, BrownianPath};
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Error, NoiseSchedule, NoiseSource, PathEnd, Plan, Point, SeededNoise, Timesteps,
    reference, sample,
};
use ndarray::Array2;
use proptest::prelude::*;

fn increment(seed: u64, sample: u64, from: f64, to: f64, len: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; len];
    BrownianPath::new(seed, sample).increment(from, to, &mut out).unwrap();
    out
}

/// Times over the whole range of SNRs, and 0.
fn time() -> impl Strategy<Value = f64> {
    prop_oneof![
        1 => Just(0.0),
        2 => (-80.0..-60.0_f64).prop_map(f64::exp2),
        8 => (-20.0..20.0_f64).prop_map(f64::exp2),
        1 => (0..4_i32).prop_map(|k| f64::from(k).exp2()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn increments_add_up(seed: u64, sample: u64, a in time(), b in time(), c in time()) {
        let [ab, bc, ac] = [(a, b), (b, c), (a, c)].map(|(from, to)| increment(seed, sample, from, to, 3));
        for e in 0..3 {
            let scale = a.max(b).max(c).sqrt();
            prop_assert!((ab[e] + bc[e] - ac[e]).abs() <= 1e-13 * scale, "{} {} {}", ab[e], bc[e], ac[e]);
        }
        prop_assert_eq!(increment(seed, sample, b, a, 3), ab.iter().map(|z| -z).collect::<Vec<_>>());
    }

    #[test]
    fn elements_and_samples_do_not_depend_on_what_is_asked_beside_them(a in time(), b in time()) {
        let long = increment(3, 5, a, b, 300);
        prop_assert_eq!(&long[..7], increment(3, 5, a, b, 7));
        let plan = plan(8, 1.0);
        let mut noise = Brownian::new(3, &plan);
        let batch = noise.noise(&Array2::<f64>::zeros((4, 9)), Draw::Step(2)).unwrap();
        let alone = Brownian::new(3, &plan).from_sample(3).noise(&Array2::<f64>::zeros((1, 9)), Draw::Step(2)).unwrap();
        prop_assert_eq!(batch.row(3), alone.row(0));
        // x_T is that of SeededNoise.
        let like = Array2::<f64>::zeros((4, 9));
        let mut seeded = SeededNoise::new(3);
        prop_assert_eq!(noise.noise(&like, Draw::Initial).unwrap(), seeded.noise(&like, Draw::Initial).unwrap());
        // Whatever was drawn before.
        let again = noise.noise(&Array2::<f64>::zeros((4, 9)), Draw::Step(2)).unwrap();
        prop_assert_eq!(batch, again);
    }
}

/// Mean of the products of two lists.
fn moment(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64
}

#[test]
fn increments_are_normal_independent_and_as_long_as_they_say() {
    const N: usize = 40_000;
    // Neighbours in one octave, in two, far apart, next to nothing long, and from 0.
    let times = [0.0, 1e-21, 0.3, 0.300_001, 0.34, 0.47, 0.5, 0.77, 1.0, 1.001, 6.0, 6.5, 100.0, 1e6];
    let z: Vec<Vec<f64>> = times
        .windows(2)
        .map(|t| increment(11, 0, t[0], t[1], N).iter().map(|z| z / (t[1] - t[0]).sqrt()).collect())
        .collect();
    // Of N(0, 1): the standard errors of the four moments.
    let n = (N as f64).sqrt();
    for (i, a) in z.iter().enumerate() {
        let squares: Vec<f64> = a.iter().map(|z| z * z).collect();
        let (mean, variance) = (a.iter().sum::<f64>() / N as f64, moment(a, a));
        let (third, fourth) = (moment(&squares, a), moment(&squares, &squares));
        assert!(mean.abs() < 4.5 / n, "interval {i}: mean {mean}");
        assert!((variance - 1.0).abs() < 4.5 * 2.0_f64.sqrt() / n, "interval {i}: variance {variance}");
        assert!(third.abs() < 4.5 * 15.0_f64.sqrt() / n, "interval {i}: third moment {third}");
        assert!((fourth - 3.0).abs() < 4.5 * 96.0_f64.sqrt() / n, "interval {i}: fourth moment {fourth}");
        for (j, b) in z.iter().enumerate().skip(i + 1) {
            let b_squares: Vec<f64> = b.iter().map(|z| z * z).collect();
            assert!(moment(a, b).abs() < 4.5 / n, "intervals {i} and {j}");
            let of_squares = moment(&squares, &b_squares) - 1.0;
            assert!(of_squares.abs() < 4.5 * 8.0_f64.sqrt() / n, "squares of intervals {i} and {j}: {of_squares}");
        }
    }
    // Neighbouring elements, and samples, are independent too.
    let (a, other) = (&z[5], increment(11, 1, times[5], times[6], N));
    assert!(moment(&a[1..], &a[..N - 1]).abs() < 4.5 / n);
    assert!(moment(a, &other).abs() < 4.5 / n * (times[6] - times[5]).sqrt());
}

/// As many steps as are asked for, evenly spaced in log-SNR; DDPM's schedule, four times as fine.
fn plan(steps: usize, eta: f64) -> Plan {
    let schedule = NoiseSchedule::linear(4000, 0.25e-4, 0.005).unwrap();
    let tau = Timesteps::uniform_log_snr(&schedule, steps).unwrap().ending(PathEnd::FirstLevel);
    Plan::new(&schedule, &tau, &Ddim::new(eta).unwrap()).unwrap()
}

/// Three modes in two dimensions.
fn mixture() -> reference::GaussianMixture {
    let mode = |x: f64, y: f64| reference::Gaussian::new([x, y], [0.5, 0.75]).unwrap();
    reference::GaussianMixture::new([(0.5, mode(1.0, -1.0)), (0.3, mode(-1.0, 0.5)), (0.2, mode(0.0, 2.0))]).unwrap()
}

fn run(plan: &Plan, noise: &mut impl NoiseSource<Array2<f64>>) -> Array2<f64> {
    let x = noise.noise(&Array2::zeros((100, 2)), Draw::Initial).unwrap();
    sample(plan, x, &mut mixture().predictor(), noise).unwrap()
}

fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let squares = (a - b).mapv(|difference| difference * difference);
    squares.mean().unwrap().sqrt()
}

#[test]
fn runs_of_one_seed_converge_to_one_image_in_the_order_of_the_method() {
    for eta in [1.0, 0.5] {
        let finest = plan(1000, eta);
        let image = run(&finest, &mut Brownian::new(7, &finest));
        let errors = [20, 40, 80, 160].map(|steps| {
            let plan = plan(steps, eta);
            distance(&run(&plan, &mut Brownian::new(7, &plan)), &image)
        });
        let order = (errors[0] / errors[3]).log2() / 3.0;
        // Independent noise at each S leads to different images, whatever S.
        let [one, other] = [80, 160].map(|steps| run(&plan(steps, eta), &mut SeededNoise::new(7)));
        let apart = distance(&one, &other);
        println!("η = {eta}: {errors:.4?} at S = 20, 40, 80, 160; strong order {order:.2}; SeededNoise {apart:.2}");
        assert!((0.85..1.15).contains(&order), "{order}");
        assert!(apart > 0.5, "{apart}");
    }
}

/// With x̂₀ constant, DDIM with η = 1 is exact in any number of steps: runs of one seed then agree to rounding, at any S and spacing,
/// and so does DDPM, which is the same method.
#[test]
fn where_the_method_is_exact_every_s_gives_the_same_x() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let mut network = reference::Gaussian::point([0.7, -0.2]).unwrap().predictor();
    let mut xs = Vec::new();
    let timesteps = [
        Timesteps::uniform_log_snr(&schedule, 20),
        Timesteps::uniform_log_snr(&schedule, 40),
        Timesteps::explicit(1000, [999, 500, 0]),
        Timesteps::explicit(1000, [999, 0]),
        Timesteps::all(1000),
    ];
    for tau in timesteps {
        let tau = tau.unwrap().ending(PathEnd::FirstLevel);
        for plan in [
            Plan::new(&schedule, &tau, &Ddim::new(1.0).unwrap()).unwrap(),
            Plan::new(&schedule, &tau, &Ddpm::default()).unwrap(),
        ] {
            let mut noise = Brownian::new(1, &plan);
            let x = noise.noise(&Array2::<f64>::zeros((3, 2)), Draw::Initial).unwrap();
            xs.push(sample(&plan, x, &mut network, &mut noise).unwrap());
        }
    }
    for x in &xs {
        assert!(distance(x, &xs[0]) < 1e-13, "{x} {}", xs[0]);
    }
}

#[test]
fn zero_terminal_snr_starts_at_time_0() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap().rescale_zero_terminal_snr().unwrap();
    let plan = Plan::builder(&schedule, &Timesteps::trailing(1000, 5).unwrap())
        .prediction(alphabar::Prediction::Velocity)
        .build(&Ddim::new(1.0).unwrap())
        .unwrap();
    let mut noise = Brownian::new(1, &plan);
    let x = noise.noise(&vec![0.0_f64; 1000], Draw::Initial).unwrap();
    let mut network = alphabar::predictor::from_fn(alphabar::Prediction::Velocity, |x: &Vec<f64>, _: Point| {
        Ok::<_, BoxError>(x.clone())
    });
    assert!(sample(&plan, x, &mut network, &mut noise).unwrap().iter().all(|x| x.is_finite()));
    let z = noise.noise(&vec![0.0_f64; 10_000], Draw::Step(0)).unwrap();
    assert!((moment(&z, &z) - 1.0).abs() < 0.06);
}

#[test]
fn what_a_path_does_not_have() {
    let plan = plan(8, 1.0);
    let past = Brownian::new(1, &plan).noise(&vec![0.0_f64; 3], Draw::Step(8)).unwrap_err();
    assert!(matches!(past, Error::Noise(_)), "{past}");
    for (from, to) in [(-1.0, 1.0), (0.0, f64::NAN), (0.0, f64::INFINITY)] {
        let error = BrownianPath::new(1, 0).increment(from, to, &mut [0.0]).unwrap_err();
        assert!(matches!(error, Error::Parameter { .. }), "{error}");
    }
    // To clean data there is an increment no longer, but a normal.
    let schedule = NoiseSchedule::ddpm().unwrap();
    let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 5).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    let z = Brownian::new(1, &plan).noise(&vec![0.0_f64; 10_000], Draw::Step(4)).unwrap();
    assert!((moment(&z, &z) - 1.0).abs() < 0.06);
}

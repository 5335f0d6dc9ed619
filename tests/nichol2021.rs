//! Learned variances: Nichol and Dhariwal (2021), Eq. 15, and the conventions of their code.

use std::sync::atomic::{AtomicUsize, Ordering};

use alphabar::predictor::{self, WithoutVariance, guide, guide_rescaled};
use alphabar::{
    Batch, BoxError, Ddim, Ddpm, Draw, Error, Guidance, HostTensor, Memory, NoNoise, NoiseSchedule, NoiseSource,
    PathEnd, Plan, Point, Predictor, RowReduce, SampleKey, Sampling, SeededNoise, Tensor, Threshold, Timesteps,
    Variance, Weights, noise, sample,
};
use ndarray::{Array1, Array2, Array4, ArrayD, Axis, IxDyn, array, concatenate, s};
use proptest::prelude::*;

/// Two numbers, or an error with both of them; relative to the second, or absolute where that is below 1. NaN fails.
macro_rules! assert_close {
    ($found:expr, $expected:expr, $tolerance:expr) => {{
        let (found, expected): (f64, f64) = ($found, $expected);
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error <= $tolerance, "{found:e}, not {expected:e}, off by {error:.1e}");
    }};
    ($found:expr, $expected:expr) => {
        assert_close!($found, $expected, 1e-12)
    };
}

/// ᾱ by its definition.
fn alpha_bars(schedule: &NoiseSchedule) -> Vec<f64> {
    schedule
        .betas()
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

/// One step of DDPM with a variance of its own for each element: Ho et al. Eq. 7 and Nichol and Dhariwal Eq. 15, as printed.
fn naive(at: f64, as_: f64, x: f64, eps: f64, v: f64, z: f64) -> f64 {
    let alpha = at / as_;
    let beta = 1.0 - alpha;
    let x0 = (x - (1.0 - at).sqrt() * eps) / at.sqrt();
    let mean = as_.sqrt() * beta / (1.0 - at) * x0 + alpha.sqrt() * (1.0 - as_) / (1.0 - at) * x;
    if as_ == 1.0 {
        return mean;
    }
    let posterior = (1.0 - as_) / (1.0 - at) * beta;
    let f = f64::midpoint(v, 1.0);
    let variance = (f * beta.ln() + (1.0 - f) * posterior.ln()).exp();
    mean + variance.sqrt() * z
}

/// A network with doubled channels: ε = x/2 + 0.1·t/T, v = sin(x + t).
fn network(x: &Array4<f64>, at: Point) -> Result<Array4<f64>, BoxError> {
    let eps = x.mapv(|x| 0.5 * x + 1e-4 * at.t);
    let v = x.mapv(|x| (x + at.t).sin());
    Ok(concatenate(Axis(1), &[eps.view(), v.view()])?)
}

fn start() -> Array4<f64> {
    Array4::from_shape_fn((2, 3, 2, 2), |(b, c, h, w)| ((7 * b + 5 * c + 3 * h + w) as f64 * 0.7).sin())
}

#[test]
fn whole_runs_are_eq_15_step_by_step() {
    let schedule = NoiseSchedule::cosine(400).unwrap();
    let alpha_bar = alpha_bars(&schedule);
    for (tau, end) in [
        (Timesteps::linspace(400, 25).unwrap(), PathEnd::Clean),
        (Timesteps::trailing(400, 7).unwrap(), PathEnd::Clean),
        (Timesteps::leading(400, 20, 1).unwrap(), PathEnd::FirstLevel),
    ] {
        let tau = tau.ending(end);
        let plan = Plan::new(&schedule, &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
        let mut source = SeededNoise::new(5);
        let found = sample(&plan, start(), &mut network, &mut source).unwrap();

        let mut x = start();
        for (k, &t) in tau.as_slice().iter().enumerate() {
            let last = if end == PathEnd::Clean { 1.0 } else { alpha_bar[0] };
            let target = tau.as_slice().get(k + 1).map_or(last, |s| alpha_bar[*s]);
            let z = source.noise(&x, Draw::Step(k)).unwrap();
            x = Array4::from_shape_fn(x.dim(), |at| {
                let (eps, v) = (0.5 * x[at] + 1e-4 * t as f64, (x[at] + t as f64).sin());
                naive(alpha_bar[t], target, x[at], eps, v, z[at])
            });
        }
        for (found, expected) in found.iter().zip(&x) {
            assert_close!(*found, *expected, 1e-9);
        }
    }
}

#[test]
fn v_of_minus_one_and_one_are_the_two_fixed_variances() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let learned = Plan::new(&schedule, &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    for (v, variance) in [(-1.0, Variance::Posterior), (1.0, Variance::Beta)] {
        let fixed = Plan::new(&schedule, &tau, &Ddpm::new(variance)).unwrap();
        for (learned, fixed) in learned.steps().iter().zip(fixed.steps()) {
            let sd = learned.coefficients.d * (learned.learned_noise.unwrap() * v).exp();
            assert_close!(sd, fixed.coefficients.d, 1e-14);
        }
    }
}

#[test]
fn learned_is_the_logarithm_of_the_variance() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let plan = Plan::new(&schedule, &Timesteps::all(1000).unwrap(), &Ddpm::new(Variance::Learned)).unwrap();
    let step = &plan.steps()[500];
    let (v, z) = (-3.7_f64, 0.8);
    let without = step.apply(vec![0.3], vec![0.1, v], Some(&vec![0.0])).unwrap()[0];
    let with = step.apply(vec![0.3], vec![0.1, v], Some(&vec![z])).unwrap()[0];
    assert_close!(with - without, v.exp().sqrt() * z);
}

/// No noise to clean data, whatever v is, and from whatever t (Ho et al., Algorithm 2).
#[test]
fn the_step_to_clean_data_adds_no_noise() {
    for variance in [Variance::Learned, Variance::LearnedRange] {
        let tau = Timesteps::trailing(1000, 5).unwrap();
        let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddpm::new(variance)).unwrap();
        let step = &plan.steps()[4];
        assert!(!step.needs_noise());
        let of = |v| step.apply(vec![0.3], vec![0.1, v], Some(&vec![f64::NAN])).unwrap();
        assert_eq!(of(0.0), of(1e300));
    }
}

#[test]
fn previews_and_the_loop_by_hand_take_the_whole_output() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 6).unwrap();
    let plan = Plan::builder(&schedule, &tau)
        .threshold(Threshold::Clip(0.9))
        .build(&Ddpm::new(Variance::LearnedRange))
        .unwrap();
    let plain = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(0.9)).build(&Ddpm::default()).unwrap();
    let (mut model, mut source) = (network, SeededNoise::new(3));
    let mut by_hand = start();
    let mut run = Sampling::new(&plan, start(), &mut model, &mut source).unwrap();
    let mut again = SeededNoise::new(3);
    while let Some((step, x0)) = run.advance_with_x0().unwrap() {
        let m = network(&by_hand, step.point()).unwrap();
        let eps = m.slice(s![.., ..3, .., ..]).to_owned();
        assert_eq!(x0, plain.steps()[step.index].x0(&by_hand, &eps).unwrap());
        let z = again.noise(&by_hand, Draw::Step(step.index)).unwrap();
        by_hand = step.apply(by_hand, m, step.needs_noise().then_some(&z)).unwrap();
    }
    assert_eq!(run.into_x().unwrap(), by_hand);
}

#[test]
fn every_source_gives_the_same_run() {
    let plan = Plan::new(
        &NoiseSchedule::ddpm().unwrap(),
        &Timesteps::trailing(1000, 6).unwrap(),
        &Ddpm::new(Variance::LearnedRange),
    )
    .unwrap();
    let seeded = sample(&plan, start(), &mut { network }, &mut SeededNoise::new(3)).unwrap();
    let mut closure = noise::from_fn(|like: &Array4<f64>, draw: Draw| SeededNoise::new(3).noise(like, draw));
    assert_eq!(sample(&plan, start(), &mut { network }, &mut closure).unwrap(), seeded);
    let error = sample(&plan, start(), &mut { network }, &mut NoNoise).unwrap_err();
    assert!(matches!(error, Error::AtStep { index: 0, source, .. } if matches!(*source, Error::Noise(_))));
}

/// Requests at different steps of different plans in one batch, as each by itself.
#[test]
fn rows_of_a_batch_may_be_at_different_steps() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let plan = |steps, variance| {
        Plan::new(&schedule, &Timesteps::trailing(1000, steps).unwrap(), &Ddpm::new(variance)).unwrap()
    };
    let (a, b) = (plan(10, Variance::LearnedRange), plan(25, Variance::Learned));
    let fixed = plan(10, Variance::Posterior);
    let x = array![[0.1_f64, -0.7], [1.1, 0.4]];
    let m = array![[0.2, 0.1, 0.5, -0.5], [0.3, -0.2, -1.0, 0.9]];
    let keys = [SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 3 }];
    for steps in [[&a.steps()[2], &b.steps()[20]], [&a.steps()[9], &b.steps()[20]], [&a.steps()[9], &b.steps()[24]]] {
        let together =
            SeededNoise::per_row(keys).step_per_row(x.clone(), m.clone(), &Memory::default(), &steps).unwrap().x;
        for row in 0..2 {
            let of = |tensor: &Array2<f64>| tensor.slice(s![row..=row, ..]).to_owned();
            let alone =
                SeededNoise::per_row([keys[row]]).step(of(&x), of(&m), &Memory::default(), steps[row]).unwrap().x;
            assert_eq!(of(&together), alone);
        }
    }
    let mixed = SeededNoise::per_row(keys).step_per_row(x, m, &Memory::default(), &[&a.steps()[2], &fixed.steps()[2]]);
    assert!(matches!(mixed, Err(Error::Length { expected: 2, found: 1, .. })));
}

#[test]
fn ddim_drops_the_variance() {
    let tau = Timesteps::trailing(1000, 6).unwrap();
    let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddim::deterministic()).unwrap();
    let mut only_epsilon = |x: &Array4<f64>, at: Point| Ok::<_, BoxError>(x.mapv(|x| 0.5 * x + 1e-4 * at.t));
    let expected = sample(&plan, start(), &mut only_epsilon, &mut NoNoise).unwrap();
    assert_eq!(sample(&plan, start(), &mut WithoutVariance(network), &mut NoNoise).unwrap(), expected);
    assert!(sample(&plan, start(), &mut { network }, &mut NoNoise).is_err());
}

/// The network gets its whole output back as a buffer, never a half of it.
#[test]
fn the_whole_buffer_is_handed_on() {
    struct Network<'a>(&'a AtomicUsize);
    impl Predictor<Vec<f32>> for Network<'_> {
        fn predict(&mut self, x: &Vec<f32>, _: Point) -> Result<Vec<f32>, BoxError> {
            Ok([x.clone(), x.clone()].concat())
        }
        fn predict_into(&mut self, x: &Vec<f32>, at: Point, spare: Option<Vec<f32>>) -> Result<Vec<f32>, BoxError> {
            assert!(spare.as_ref().is_none_or(|spare| spare.len() == 2 * x.len()));
            self.0.fetch_add(usize::from(spare.is_some()), Ordering::Relaxed);
            self.predict(x, at)
        }
    }
    let tau = Timesteps::trailing(1000, 6).unwrap();
    let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    let spares = AtomicUsize::new(0);
    sample(&plan, vec![0.5_f32; 8], &mut Network(&spares), &mut SeededNoise::new(1)).unwrap();
    assert_eq!(spares.into_inner(), 5);
}

#[test]
fn outputs_of_other_shapes_are_refused() {
    let tau = Timesteps::trailing(1000, 6).unwrap();
    let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    let step = &plan.steps()[0];
    // Without the variance, with an odd number of channels, without channels, with another batch.
    let x = Array2::<f32>::zeros((2, 3));
    for channels in [3, 5, 8] {
        let result = step.apply(x.clone(), Array2::zeros((2, channels)), Some(&x));
        assert!(matches!(result, Err(Error::Shape { .. })), "{channels}");
    }
    assert!(matches!(step.apply(x.clone(), Array2::zeros((1, 6)), Some(&x)), Err(Error::Shape { .. })));
    let flat = Array1::<f32>::zeros(4);
    assert!(matches!(step.apply(flat.clone(), flat.clone(), Some(&flat)), Err(Error::Shape { .. })));
    let scalar = ArrayD::<f32>::zeros(IxDyn(&[]));
    assert!(matches!(step.apply(scalar.clone(), scalar.clone(), Some(&scalar)), Err(Error::Shape { .. })));
    assert!(matches!(step.apply(vec![0.0_f32; 2], vec![0.0; 5], Some(&vec![0.0; 2])), Err(Error::Shape { .. })));
    // z of another shape.
    assert!(step.apply(x.clone(), Array2::zeros((2, 6)), Some(&Array2::zeros((2, 2)))).is_err());
}

proptest! {
    /// For whatever layout an array has.
    #[test]
    fn halves_are_slices_of_axis_1(rows in 1_usize..4, half in 1_usize..4, rest in 1_usize..5, swap: bool) {
        let mut m = ArrayD::from_shape_fn(IxDyn(&[rows, 2 * half, rest]), |at| (at[0] * 100 + at[1] * 10 + at[2]) as f32);
        if swap {
            m = ArrayD::from_shape_fn(IxDyn(&[rest, 2 * half, rows]), |at| (at[0] * 100 + at[1] * 10 + at[2]) as f32)
                .permuted_axes(IxDyn(&[2, 1, 0]));
        }
        let (prediction, v) = m.halve_channels().unwrap();
        prop_assert_eq!(&prediction, &m.slice_axis(Axis(1), (..half).into()));
        prop_assert_eq!(&v, &m.slice_axis(Axis(1), (half..).into()));
    }

    #[test]
    fn noise_is_scaled_element_by_element_with_a_factor_for_each_row(
        z in prop::collection::vec(-3.0_f64..3.0, 6), v in prop::collection::vec(-2.0_f64..2.0, 6),
        k in prop::collection::vec(-1.0_f64..1.0, 2),
    ) {
        let shaped = |values: &[f64]| Array2::from_shape_vec((2, 3), values.to_vec()).unwrap();
        let scaled = shaped(&z).times_exp(&shaped(&v), Weights::PerRow(&k), Weights::PerRow(&[0.3, 2.0])).unwrap();
        for (i, scaled) in scaled.iter().enumerate() {
            assert_close!(*scaled, [0.3, 2.0][i / 3] * z[i] * (k[i / 3] * v[i]).exp());
        }
    }
}

// Guidance of networks with a learned variance.

/// ε = 0 and v = `v`, whatever x is.
fn constant<T: HostTensor>(v: f64) -> impl Predictor<T> {
    predictor::from_fn(alphabar::Prediction::Epsilon, move |x: &T, _| {
        let zeros = x.from_host(vec![0.0; x.to_host()?.len()])?;
        let v = x.from_host(vec![v; x.to_host()?.len()])?;
        zeros.join_channels(&v)
    })
}

/// DiT, IF and GLIDE guide ε and keep the v of the conditional network: with v = 1 the noise has the standard deviation √β.
fn guided_noise<T: HostTensor + RowReduce + Clone>(like: &T) {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    let plan = Plan::new(&schedule, &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    let alpha_bar = alpha_bars(&schedule);
    let elements = like.to_host().unwrap().len();
    let (x, z) = (like.from_host(vec![0.0; elements]).unwrap(), like.from_host(vec![1.0; elements]).unwrap());
    for (index, wanted) in [(8, 0.51507), (4, 0.81896)] {
        let step = &plan.steps()[index];
        let beta = 1.0 - alpha_bar[step.t as usize] / alpha_bar[step.s.unwrap() as usize];
        assert_close!(beta.sqrt(), wanted, 1e-5);
        let guided = || Guidance::new(constant(1.0), constant(-1.0), 4.0).unwrap();
        for mut model in [
            Box::new(guided()) as Box<dyn Predictor<T>>,
            Box::new(guided().rescaled(0.7).unwrap()),
            Box::new(predictor::from_fn(alphabar::Prediction::Epsilon, |x: &T, at| {
                guide(x, &constant(1.0).predict(x, at)?, &constant(-1.0).predict(x, at)?, 4.0).map_err(BoxError::from)
            })),
            // An unconditional network without a variance of its own.
            Box::new(
                Guidance::new(
                    constant(1.0),
                    predictor::from_fn(alphabar::Prediction::Epsilon, |x: &T, _| {
                        x.from_host(vec![0.0; x.to_host()?.len()])
                    }),
                    4.0,
                )
                .unwrap(),
            ),
        ] {
            let m = model.predict(&x, step.point()).unwrap();
            let next = step.apply(x.clone(), m, Some(&z)).unwrap().to_host().unwrap();
            next.iter().for_each(|next| assert_close!(*next, beta.sqrt(), 1e-6));
        }
    }
}

#[test]
fn guidance_guides_the_prediction_and_keeps_the_conditional_variance() {
    guided_noise(&vec![0.0_f32; 5]);
    guided_noise(&vec![0.0_f64; 1]);
    guided_noise(&Batch::new(vec![0.0_f32; 6], 3).unwrap());
    guided_noise(&Array2::<f64>::zeros((3, 2)));
    guided_noise(&Array4::<f32>::zeros((2, 3, 2, 2)));
    guided_noise(&ArrayD::<f64>::zeros(IxDyn(&[2, 3, 5])));
}

/// The deviation of Lin et al. 2023, Eq. 15, is that of the prediction: a v of any size does not change it.
#[test]
fn rescaling_looks_at_the_prediction_alone() {
    let x = array![[0.0_f64, 0.0], [0.0, 0.0]];
    let (m, m_uncond) = (array![[1.0, -1.0], [10.0, -10.0]], array![[0.0, 0.0], [5.0, -5.0]]);
    let (v, v_uncond) = (array![[1e3, -7.0], [0.25, 1e-3]], array![[-1e5, 4.0], [1.0, 2.0]]);
    let joined = |m: &Array2<f64>, v: &Array2<f64>| concatenate(Axis(1), &[m.view(), v.view()]).unwrap();
    let (conditional, unconditional) = (joined(&m, &v), joined(&m_uncond, &v_uncond));
    for phi in [0.0, 0.5, 1.0] {
        let wanted = joined(&guide_rescaled(&x, &m, &m_uncond, 3.0, phi).unwrap(), &v);
        assert_eq!(guide_rescaled(&x, &conditional, &unconditional, 3.0, phi).unwrap(), wanted);
    }
    assert_eq!(
        guide(&x, &conditional, &unconditional, 3.0).unwrap(),
        joined(&guide(&x, &m, &m_uncond, 3.0).unwrap(), &v)
    );
}

#[test]
fn outputs_that_are_neither_a_prediction_nor_one_with_a_variance_are_not_guided() {
    let x = Array2::<f32>::zeros((2, 3));
    for (rows, channels) in [(2, 2), (2, 4), (2, 9), (1, 6), (2, 1), (3, 2)] {
        let wrong = Array2::<f32>::zeros((rows, channels));
        for result in [
            guide(&x, &wrong, &x, 2.0),
            guide(&x, &x, &wrong, 2.0),
            guide(&x, &wrong, &wrong, 2.0),
            guide_rescaled(&x, &wrong, &wrong, 2.0, 0.5),
        ] {
            match result {
                Err(Error::Shape { expected, found, .. }) => {
                    assert_eq!((expected, found), (vec![2, 3], vec![rows, channels]));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// With a variance that spans 25 decades exp(k·v) is 1e6 and more: noise of half precision is not stored before d makes up for it.
#[test]
fn a_learned_variance_is_computed_to_the_end_before_it_is_rounded() {
    let tau = Timesteps::explicit(2, [1]).unwrap().ending(PathEnd::FirstLevel);
    for beta in [1e-25, 1e-60, 1e-89] {
        let schedule = NoiseSchedule::from_betas(vec![beta, 0.5]).unwrap();
        let plan = Plan::new(&schedule, &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
        let step = &plan.steps()[0];
        // x′ = √ᾱ_s·β/(1−ᾱ_t)·x̂₀ + √β·z with √(1−ᾱ_s) ≈ 0: 0.5/0.5·x/√0.5 + √0.5.
        let wanted = 0.5_f64.sqrt().mul_add(1.0, 0.6 / 0.5_f64.sqrt());
        let next = step.apply(vec![0.6_f64], vec![0.0, 1.0], Some(&vec![1.0])).unwrap();
        assert_close!(next[0], wanted, 1e-12);
        let next = step.apply(vec![0.6_f32], vec![0.0, 1.0], Some(&vec![1.0])).unwrap();
        assert_close!(f64::from(next[0]), wanted, 1e-6);
        #[cfg(feature = "half")]
        {
            use alphabar::Element;
            use half::{bf16, f16};
            fn halves<E: Element>(step: &alphabar::Step, wanted: f64, spacing: f64) {
                let of = |values: &[f64]| values.iter().map(|value| E::from_f64(*value)).collect::<Vec<E>>();
                let wanted = 0.6_f64.mul_add(0.0, wanted) + (of(&[0.6])[0].to_f64() - 0.6) / 0.5_f64.sqrt();
                // Rounded once.
                let right = E::from_f64(wanted).to_f64();
                let (x, m, z) = (of(&[0.6]), of(&[0.0, 1.0]), of(&[1.0]));
                assert_eq!(step.apply(x.clone(), m.clone(), Some(&z)).unwrap()[0].to_f64(), right);
                let batch = |values: Vec<E>| Batch::new(values, 1).unwrap();
                let next = step.apply(batch(x), batch(m), Some(&batch(z))).unwrap();
                assert_eq!(next.as_slice()[0].to_f64(), right);
                assert_close!(right, wanted, spacing);
            }
            halves::<f16>(step, wanted, 5e-4);
            halves::<bf16>(step, wanted, 4e-3);
        }
    }
}

/// x′ of half precision is the one of f32, rounded once, for every v.
#[cfg(feature = "half")]
#[test]
fn a_learned_step_on_halves_is_the_step_on_floats_rounded_once() {
    use alphabar::Element;
    fn check<E: Element<Compute = f32>>() {
        let tau = Timesteps::trailing(1000, 6).unwrap();
        let schedule = NoiseSchedule::ddpm().unwrap();
        for threshold in [Threshold::None, Threshold::Clip(0.9), Threshold::Dynamic { ratio: 0.8, max: 2.0 }] {
            let builder = Plan::builder(&schedule, &tau).threshold(threshold);
            let plan = builder.build(&Ddpm::new(Variance::LearnedRange)).unwrap();
            for step in plan.steps() {
                let of = |seed: usize, shape| {
                    Array2::from_shape_fn(shape, |(i, j)| E::from_f64(((seed + 31 * i + 7 * j) as f64).sin() * 2.0))
                };
                let (x, m, z) = (of(1, (3, 20)), of(2, (3, 40)), of(3, (3, 20)));
                let single = step.apply(x.mapv(E::widen), m.mapv(E::widen), Some(&z.mapv(E::widen))).unwrap();
                assert_eq!(step.apply(x, m, Some(&z)).unwrap(), single.mapv(E::narrow));
            }
        }
    }
    check::<half::f16>();
    check::<half::bf16>();
}

/// A tensor that has no step of its own takes the same one.
#[test]
fn the_composed_learned_step_is_the_fused_one() {
    #[derive(Clone, Debug, PartialEq)]
    struct Least(Vec<f64>);
    impl Tensor for Least {
        fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
            let terms: Vec<_> = terms.iter().map(|(weights, Self(tensor))| (*weights, tensor)).collect();
            Tensor::linear_combination(&terms).map(Self)
        }
        fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
            self.0.clamp_abs(bound).map(Self)
        }
        fn halve_channels(&self) -> Result<(Self, Self), Error> {
            self.0.halve_channels().map(|(m, v)| (Self(m), Self(v)))
        }
        fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
            self.0.times_exp(&v.0, k, d).map(Self)
        }
    }
    let tau = Timesteps::trailing(1000, 6).unwrap();
    let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    let (x, m, z) = (vec![0.3, -0.8], vec![0.1, 0.2, -0.7, 0.4], vec![1.1, -0.2]);
    for step in plan.steps() {
        let wanted = step.apply(x.clone(), m.clone(), Some(&z)).unwrap();
        assert_eq!(step.apply(Least(x.clone()), Least(m.clone()), Some(&Least(z.clone()))).unwrap().0, wanted);
    }
    // Shapes are distinguished by the required methods; what is missing is named.
    let [x, m] = [x, m].map(Least);
    assert!(x.same_shape(&x).unwrap() && !x.same_shape(&m).unwrap());
    assert_eq!(guide(&x, &x, &x, 2.0).unwrap(), x);
    let error = guide(&x, &m, &m, 2.0).unwrap_err();
    assert!(matches!(error, Error::Unsupported { operation } if operation.contains("join_channels")), "{error}");
}

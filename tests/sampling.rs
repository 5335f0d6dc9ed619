//! Whole runs: plans, the loop in its four forms, guidance, and what a server does with them.

use alphabar::predictor::{ByRef, from_fn, guide, guide_rescaled};
use alphabar::reference::{FiniteData, Gaussian};
use alphabar::{
    BoxError, Combination, Conditioning, Ddim, Ddpm, Draw, EpsilonAfter, Error, Guidance, GuidanceScale, HostTensor,
    Leg, Memory, NoNoise, NoiseLevel, NoiseSchedule, NoiseSource, PathEnd, Plan, Point, Prediction, Predictor,
    SampleKey, Sampling, SeededNoise, Solver, Step, Tensor, Threshold, Timesteps, Variance, noise, sample,
};
use ndarray::{Array2, array, aview1};
use proptest::prelude::*;

const KINDS: [Prediction; 4] = [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score];

fn schedule() -> NoiseSchedule {
    NoiseSchedule::ddpm().unwrap()
}

fn trailing(steps: usize) -> Timesteps {
    Timesteps::trailing(1000, steps).unwrap()
}

fn plan(steps: usize, solver: &impl Solver) -> Plan {
    Plan::new(&schedule(), &trailing(steps), solver).unwrap()
}

/// Every method there is, for paths of six steps.
fn methods() -> Vec<Box<dyn Solver>> {
    vec![
        Box::new(Ddim::deterministic()),
        Box::new(Ddim::new(0.5).unwrap()),
        Box::new(Ddim::new(1.0).unwrap()),
        Box::new(Ddim::per_step([0.0, 1.0, 0.3, 0.0, 0.7, 1.0]).unwrap()),
        Box::new(Ddim::sigma_hat()),
        Box::new(Ddpm::new(Variance::Posterior)),
        Box::new(Ddpm::new(Variance::Beta)),
    ]
}

/// Every method with every prediction and threshold, in six steps.
fn plans() -> Vec<Plan> {
    let mut all = Vec::new();
    for method in methods() {
        for prediction in KINDS {
            for (threshold, epsilon) in [
                (Threshold::None, EpsilonAfter::Network),
                (Threshold::Clip(1.0), EpsilonAfter::Network),
                (Threshold::Clip(1.0), EpsilonAfter::Threshold),
                (Threshold::Dynamic { ratio: 0.8, max: 3.0 }, EpsilonAfter::Threshold),
            ] {
                let (schedule, tau) = (schedule(), trailing(6));
                let builder = Plan::builder(&schedule, &tau).prediction(prediction);
                all.push(builder.threshold(threshold).epsilon_after(epsilon).build(&method).unwrap());
            }
        }
    }
    all
}

/// A network that looks at one element at a time, at t and at the level.
fn response(x: f64, at: Point) -> f64 {
    (0.9 - 0.3 * at.level.signal()) * x / (1.0 + 0.1 * x * x) + 1e-4 * at.t
}

/// It predicts whatever the plan expects; the numbers matter here, not the pictures.
fn network<T: HostTensor>(prediction: Prediction) -> impl Predictor<T> {
    from_fn(prediction, |x: &T, at| x.from_host(x.to_host()?.into_iter().map(|x| response(x, at)).collect()))
}

fn initial<T: HostTensor>(like: &T) -> T {
    SeededNoise::new(11).noise(like, Draw::Initial).unwrap()
}

fn run<T: HostTensor>(plan: &Plan, x: T, noise: &mut SeededNoise) -> T {
    sample(plan, x, &mut network(plan.prediction()), noise).unwrap()
}

// Reproducibility.

#[test]
fn a_batch_of_k_is_k_singles_bit_for_bit_in_every_method() {
    for plan in plans() {
        let batch = run(&plan, initial(&Array2::<f32>::zeros((3, 20))), &mut SeededNoise::new(11));
        let wide = run(&plan, initial(&Array2::<f64>::zeros((3, 20))), &mut SeededNoise::new(11));
        assert!(batch.iter().all(|x| x.is_finite()));
        for row in 0..3 {
            let mut alone = SeededNoise::new(11).from_sample(row as u64);
            let x = alone.noise(&Array2::<f32>::zeros((1, 20)), Draw::Initial).unwrap();
            assert_eq!(run(&plan, x, &mut alone).row(0), batch.row(row), "{plan}");
            // A vector is one sample, too.
            let x: Vec<f64> = alone.noise(&vec![0.0; 20], Draw::Initial).unwrap();
            assert_eq!(aview1(&run(&plan, x, &mut alone)), wide.row(row), "{plan}");
        }
    }
}

#[test]
fn a_run_resumed_at_any_step_equals_the_uninterrupted() {
    for plan in plans() {
        let start = initial(&Array2::<f32>::zeros((2, 10)));
        let whole = run(&plan, start.clone(), &mut SeededNoise::new(3));
        for stop in 0..=plan.len() {
            let mut model = network(plan.prediction());
            let mut noise = SeededNoise::new(3);
            let mut first = Sampling::new(&plan, start.clone(), &mut model, &mut noise).unwrap();
            for _ in 0..stop {
                first.advance().unwrap().unwrap();
            }
            let saved = first.into_x().unwrap();
            // Another process: a new source of the same seed.
            let mut noise = SeededNoise::new(3);
            let mut second = Sampling::resume(&plan, stop, saved, &mut model, &mut noise).unwrap();
            assert_eq!(second.next_step(), stop);
            while second.advance().unwrap().is_some() {}
            assert_eq!(second.next_step(), plan.len());
            assert_eq!(second.into_x().unwrap(), whole, "stopped before step {stop}");
        }
    }
}

#[test]
fn the_loop_has_four_forms_that_agree() {
    for plan in plans() {
        let start = initial(&Array2::<f32>::zeros((2, 10)));
        let by_function = run(&plan, start.clone(), &mut SeededNoise::new(3));
        let mut model = network::<Array2<f32>>(plan.prediction());

        let mut noise = SeededNoise::new(3);
        let mut sampling = Sampling::new(&plan, start.clone(), &mut model, &mut noise).unwrap();
        let mut seen = Vec::new();
        while let Some(step) = sampling.advance().unwrap() {
            seen.push(step.clone());
        }
        assert_eq!(seen, plan.steps());
        assert!(sampling.advance().unwrap().is_none() && sampling.advance_with_x0().unwrap().is_none());
        assert_eq!(sampling.into_x().unwrap(), by_function);

        let mut noise = SeededNoise::new(3);
        let mut previews = Sampling::new(&plan, start.clone(), &mut model, &mut noise).unwrap();
        let mut x0s = Vec::new();
        while let Some((_, x0)) = previews.advance_with_x0().unwrap() {
            x0s.push(x0);
        }
        assert_eq!(previews.into_x().unwrap(), by_function);

        let (mut x, mut noise) = (start, SeededNoise::new(3));
        let mut model = network::<Array2<f32>>(plan.prediction());
        for step in plan.steps() {
            let m = model.predict(&x, step.point()).unwrap();
            assert_eq!(step.x0(&x, &m).unwrap(), x0s[step.index]);
            let z = step.needs_noise().then(|| noise.noise(&x, Draw::Step(step.index)).unwrap());
            x = step.apply(x, m, z.as_ref()).unwrap();
        }
        assert_eq!(x, by_function);
    }
}

#[test]
fn the_preview_is_the_x0_that_the_step_uses() {
    let (schedule, tau) = (schedule(), trailing(5));
    let level = |step: &Step| (step.from.signal(), step.from.noise());
    for threshold in [Threshold::None, Threshold::Clip(0.8), Threshold::Dynamic { ratio: 0.5, max: 3.0 }] {
        let plan = Plan::builder(&schedule, &tau).threshold(threshold).build(&Ddim::deterministic()).unwrap();
        for step in plan.steps() {
            let (x, m) = (vec![0.5_f64, -2.0, 1.5], vec![0.1, -0.4, 0.9]);
            let (signal, noise) = level(step);
            // x̂₀ = (x − √(1−ᾱ)·ε)/√ᾱ, thresholded.
            let mut x0: Vec<f64> = x.iter().zip(&m).map(|(x, m)| (x - noise * m) / signal).collect();
            let mut sorted: Vec<f64> = x0.iter().map(|x0| x0.abs()).collect();
            sorted.sort_by(f64::total_cmp);
            match threshold {
                Threshold::Clip(range) => x0.iter_mut().for_each(|x0| *x0 = x0.clamp(-range, range)),
                Threshold::Dynamic { .. } => {
                    let s = sorted[1].clamp(1.0, 3.0); // the median of three
                    x0.iter_mut().for_each(|x0| *x0 = x0.clamp(-s, s) / s);
                }
                _ => {}
            }
            let preview = step.x0(&x, &m).unwrap();
            for (found, wanted) in preview.iter().zip(&x0) {
                assert!((found - wanted).abs() < 1e-13 * (1.0 + wanted.abs()), "{found} for {wanted}");
            }
            // The step to clean data is that x̂₀.
            if step.to.is_clean() {
                let last = step.apply(x, m, None).unwrap();
                assert!(last.iter().zip(&preview).all(|(x, x0)| (x - x0).abs() < 1e-15));
            }
        }
    }
}

#[test]
fn a_plan_is_shared_by_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Plan>();
    shareable::<Step>();
    shareable::<NoiseSchedule>();
    shareable::<Timesteps>();
    shareable::<SeededNoise>();
    shareable::<Ddim>();
    shareable::<Error>();
    let plan = plan(6, &Ddim::new(1.0).unwrap());
    let single = |seed| run(&plan, initial(&vec![0.0_f32; 100]), &mut SeededNoise::new(seed));
    let together: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|seed| scope.spawn(move || single(seed))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!((0..8).zip(together).all(|(seed, x)| x == single(seed)));
}

#[test]
fn a_run_of_the_finite_data_predictor_does_not_depend_on_its_batch() {
    // More dimensions than a matrix product takes at a time, and fewer.
    for dim in [8, 300] {
        let data: Vec<f64> = (0..20 * dim as u64).map(|i| (i * i % 1009) as f64 / 504.5 - 1.0).collect();
        let plan = plan(6, &Ddim::new(1.0).unwrap());
        let mut model = FiniteData::new(dim, data).unwrap().with_bandwidth(0.1).unwrap().predictor();
        let mut noise = SeededNoise::new(1);
        let x = noise.noise(&Array2::<f64>::zeros((13, dim)), Draw::Initial).unwrap();
        let batch = sample(&plan, x, &mut model, &mut noise).unwrap();
        for row in 0..13 {
            let mut noise = SeededNoise::new(1).from_sample(row as u64);
            let x = noise.noise(&Array2::<f64>::zeros((1, dim)), Draw::Initial).unwrap();
            let alone = sample(&plan, x, &mut model, &mut noise).unwrap();
            assert_eq!(alone.row(0), batch.row(row));
        }
    }
}

// Requests of a server.

#[test]
fn two_requests_at_different_t_share_a_batch() {
    // The first is at step 1 of ten by DDIM with η = 1, the second at step 20 of 25 by DDPM with a clip.
    let (schedule, tau) = (schedule(), trailing(25));
    let early = plan(10, &Ddim::new(1.0).unwrap());
    let late = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddpm::default()).unwrap();
    let keys = [SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 4 }];
    let mut noise = SeededNoise::per_row(keys);
    let mut together = noise.noise_per_row(&Array2::<f32>::zeros((2, 30)), &[Draw::Initial; 2]).unwrap();
    let mut alone: Vec<Vec<f32>> = together.rows().into_iter().map(|row| row.to_vec()).collect();
    for tick in 0..5 {
        let steps = [&early.steps()[1 + tick], &late.steps()[20 + tick]];
        let draws = steps.map(|step| Draw::Step(step.index));
        let m = Array2::from_shape_fn((2, 30), |(row, i)| {
            response(f64::from(together[[row, i]]), steps[row].point()) as f32
        });
        let z = noise.noise_per_row(&together, &draws).unwrap();
        let coefficients = steps.map(|step| step.coefficients);
        let by_hand = together.clone().step(m.clone(), Some(&z), &coefficients).unwrap().x;
        together = noise.step_per_row(together, m, &Memory::default(), &steps).unwrap().x;
        assert_eq!(by_hand, together);
        for (row, x) in alone.iter_mut().enumerate() {
            let SampleKey { seed, sample } = keys[row];
            let m = network(Prediction::Epsilon).predict(x, steps[row].point()).unwrap();
            let mut source = SeededNoise::new(seed).from_sample(sample);
            let stepped = source.step(std::mem::take(x), m, &Memory::default(), steps[row]).unwrap();
            *x = stepped.x;
            assert_eq!(together.row(row), aview1(x), "tick {tick}");
        }
    }
}

#[test]
fn a_networks_failure_keeps_x_and_the_step_may_be_tried_again() {
    let plan = plan(6, &Ddim::new(0.7).unwrap());
    let start = initial(&vec![0.0_f64; 10]);
    let whole = run(&plan, start.clone(), &mut SeededNoise::new(3));
    for with_preview in [false, true] {
        let mut calls = 0;
        let mut model = |x: &Vec<f64>, at: Point| {
            calls += 1;
            if calls == 4 { Err("out of memory") } else { Ok(x.iter().map(|x| response(*x, at)).collect::<Vec<_>>()) }
        };
        let mut noise = SeededNoise::new(3);
        let mut sampling = Sampling::new(&plan, start.clone(), &mut model, &mut noise).unwrap();
        for _ in 0..3 {
            sampling.advance().unwrap();
        }
        let before = sampling.x().unwrap().clone();
        let error =
            if with_preview { sampling.advance_with_x0().unwrap_err() } else { sampling.advance().unwrap_err() };
        let Error::AtStep { index: 3, t, source } = error else { panic!("{error:?}") };
        assert_eq!(t, plan.steps()[3].t);
        assert!(matches!(*source, Error::Predictor(cause) if cause.to_string() == "out of memory"));
        assert_eq!((sampling.next_step(), sampling.x().unwrap()), (3, &before));
        while sampling.advance().unwrap().is_some() {}
        assert_eq!(sampling.into_x().unwrap(), whole);
    }
}

#[test]
fn a_step_that_fails_with_x_in_its_hands_ends_the_run() {
    let plan = plan(6, &Ddim::new(1.0).unwrap());
    let mut model = network(Prediction::Epsilon);
    let mut broken = noise::from_fn(|_: &Vec<f64>, _| Err::<Vec<f64>, _>("the generator is gone"));
    let mut sampling = Sampling::new(&plan, vec![0.5; 4], &mut model, &mut broken).unwrap();
    let error = sampling.advance().unwrap_err();
    assert!(matches!(error, Error::AtStep { index: 0, t: 999.0, source } if matches!(*source, Error::Noise(_))));
    assert!(matches!(sampling.x(), Err(Error::RunFailed)));
    assert!(matches!(sampling.advance(), Err(Error::RunFailed)));
    assert!(matches!(sampling.advance_with_x0(), Err(Error::RunFailed)));
    assert_eq!(sampling.next_step(), 0);
    assert!(matches!(sampling.into_x(), Err(Error::RunFailed)));
}

#[test]
fn a_network_that_returns_another_shape_is_found_out() {
    let plan = plan(3, &Ddim::deterministic());
    let mut model = |x: &Array2<f32>, _: Point| Ok::<_, BoxError>(x.t().to_owned());
    let shapes = |error: Error| match error {
        Error::AtStep { index: 0, t: 999.0, source } => match *source {
            Error::Shape { expected, found, .. } => (expected, found),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let x = Array2::zeros((2, 3));
    assert_eq!(shapes(sample(&plan, x.clone(), &mut model, &mut NoNoise).unwrap_err()), (vec![2, 3], vec![3, 2]));
    let mut noise = NoNoise;
    let mut sampling = Sampling::new(&plan, x, &mut model, &mut noise).unwrap();
    assert_eq!(shapes(sampling.advance_with_x0().unwrap_err()), (vec![2, 3], vec![3, 2]));
}

#[test]
fn a_finished_run_may_be_resumed_at_its_end() {
    let plan = plan(3, &Ddim::deterministic());
    let (mut model, mut noise) = (network(Prediction::Epsilon), NoNoise);
    let mut sampling = Sampling::resume(&plan, 3, vec![0.25_f32], &mut model, &mut noise).unwrap();
    assert!(sampling.advance().unwrap().is_none());
    assert_eq!(sampling.into_x().unwrap(), [0.25]);
}

#[test]
fn a_plan_for_another_prediction_is_refused_before_the_first_call() {
    let plan = plan(3, &Ddim::deterministic());
    let mut model = from_fn(Prediction::Velocity, |_: &Vec<f32>, _| -> Result<Vec<f32>, BoxError> { panic!("called") });
    for error in [
        sample(&plan, vec![0.0], &mut model, &mut NoNoise).unwrap_err(),
        Sampling::new(&plan, vec![0.0], &mut model, &mut NoNoise).err().unwrap(),
        Sampling::resume(&plan, 2, vec![0.0], &mut model, &mut NoNoise).err().unwrap(),
    ] {
        let (Prediction::Epsilon, Prediction::Velocity) = (match error {
            Error::PredictionMismatch { plan, model } => (plan, model),
            other => panic!("{other:?}"),
        }) else {
            panic!("the two kinds are exchanged")
        };
    }
}

// Networks.

/// Writes its prediction into the buffer it is handed back.
#[derive(Default)]
struct InPlace {
    allocated: usize,
}

impl Predictor<Vec<f64>> for InPlace {
    fn predict(&mut self, x: &Vec<f64>, at: Point) -> Result<Vec<f64>, BoxError> {
        self.predict_into(x, at, None)
    }

    fn predict_into(&mut self, x: &Vec<f64>, at: Point, spare: Option<Vec<f64>>) -> Result<Vec<f64>, BoxError> {
        let mut m = spare.unwrap_or_else(|| {
            self.allocated += 1;
            vec![f64::NAN; x.len()]
        });
        m.iter_mut().zip(x).for_each(|(m, x)| *m = response(*x, at));
        Ok(m)
    }
}

#[test]
fn a_network_may_write_into_its_last_output() {
    let plan = plan(20, &Ddim::new(1.0).unwrap());
    let start = initial(&vec![0.0_f64; 50]);
    let mut model = InPlace::default();
    let x = sample(&plan, start.clone(), &mut model, &mut SeededNoise::new(3)).unwrap();
    assert_eq!(x, run(&plan, start, &mut SeededNoise::new(3)));
    assert_eq!(model.allocated, 1);
}

#[test]
fn networks_and_sources_may_be_borrowed_and_unsized() {
    let plan = plan(4, &Ddim::new(1.0).unwrap());
    let start = initial(&vec![0.0_f64; 5]);
    let wanted = run(&plan, start.clone(), &mut SeededNoise::new(3));
    let mut model = network(Prediction::Epsilon);
    let mut source = SeededNoise::new(3);
    let by_ref = sample(&plan, start.clone(), &mut ByRef(&mut model), &mut &mut source).unwrap();
    let (model, source): (&mut dyn Predictor<Vec<f64>>, &mut dyn NoiseSource<Vec<f64>>) = (&mut model, &mut source);
    assert_eq!((by_ref, sample(&plan, start, model, source).unwrap()), (wanted.clone(), wanted));
}

#[test]
fn the_network_receives_t_and_its_level_once_a_step() {
    let plan = plan(7, &Ddpm::default());
    let mut received = Vec::new();
    let mut model = |x: &Vec<f64>, at: Point| {
        received.push((at.t as usize, at.level));
        Ok::<_, BoxError>(x.clone())
    };
    sample(&plan, vec![0.1], &mut model, &mut SeededNoise::new(1)).unwrap();
    let levels: Vec<_> = trailing(7).as_slice().iter().map(|t| (*t, schedule().level(*t).unwrap())).collect();
    assert_eq!(received, levels);
}

// Guidance.

proptest! {
    #[test]
    fn guidance_is_ho_salimans_2022(
        pairs in prop::collection::vec((-3.0_f64..3.0, -3.0_f64..3.0), 1..20), scale in -2.0_f64..15.0,
    ) {
        let (conditional, unconditional): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let found = guide(&conditional, &conditional, &unconditional, scale).unwrap();
        for ((found, c), u) in found.iter().zip(&conditional).zip(&unconditional) {
            prop_assert!((found - (u + scale * (c - u))).abs() < 1e-15 * 10.0 * (1.0 + scale.abs()));
        }
    }

    #[test]
    fn rescaled_guidance_is_lin2023_eq_15_and_16(
        rows in prop::collection::vec(prop::collection::vec((-3.0_f64..3.0, -3.0_f64..3.0), 6), 1..4),
        scale in 1.5_f64..15.0,
        phi in 0.0_f64..=1.0,
        offset in prop::sample::select(vec![0.0, 10.0, 1e4]),
    ) {
        let shape = (rows.len(), 6);
        let of = |part: fn(&(f64, f64)) -> f64| Array2::from_shape_fn(shape, |(row, i)| offset + part(&rows[row][i]));
        let (conditional, unconditional) = (of(|pair| pair.0), of(|pair| pair.1));
        // std by its definition, in two passes.
        let deviation = |row: &[f64]| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            (row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / row.len() as f64).sqrt()
        };
        let found = guide_rescaled(&conditional, &conditional, &unconditional, scale, phi).unwrap();
        for row in 0..shape.0 {
            let guided: Vec<f64> =
                conditional.row(row).iter().zip(unconditional.row(row)).map(|(c, u)| u + scale * (c - u)).collect();
            let wanted_deviation = deviation(&conditional.row(row).to_vec());
            prop_assume!(deviation(&guided) > 1e-3);
            let factor = wanted_deviation / deviation(&guided); // Eq. 15
            for (found, m) in found.row(row).iter().zip(&guided) {
                let wanted = phi * (m * factor) + (1.0 - phi) * m; // Eq. 16
                // What guidance rounds, at the size of the offset, is divided by a deviation of at least 1e-3.
                prop_assert!((found - wanted).abs() < 1e-9 * (1.0 + offset), "{found} for {wanted}");
            }
        }
    }
}

#[test]
fn rescaling_leaves_predictions_that_are_constant_over_a_sample_as_they_are() {
    // Numbers whose squares do not add up exactly.
    for value in [0.1, 0.3, 1.7, 1e3 + 0.1, -7.3e-5] {
        for len in [1, 3, 7, 48, 1000] {
            let (conditional, unconditional) = (Array2::from_elem((2, len), value), Array2::zeros((2, len)));
            let guided = guide(&conditional, &conditional, &unconditional, 2.0).unwrap();
            assert_eq!(
                guide_rescaled(&conditional, &conditional, &unconditional, 2.0, 0.7).unwrap(),
                guided,
                "{value}, {len}"
            );
        }
    }
}

#[test]
fn rescaling_is_per_sample() {
    let conditional = array![[1.0, -1.0], [10.0, -10.0]];
    let unconditional = array![[0.0, 0.0], [5.0, -5.0]];
    // Guided to (3, −3) and (20, −20); pulled back to the deviations 1 and 10, all the way and half of it.
    let close = |found: Array2<f64>, wanted: Array2<f64>| assert!((found - wanted).iter().all(|d| d.abs() < 1e-14));
    close(
        guide_rescaled(&conditional, &conditional, &unconditional, 3.0, 1.0).unwrap(),
        array![[1.0, -1.0], [10.0, -10.0]],
    );
    close(
        guide_rescaled(&conditional, &conditional, &unconditional, 3.0, 0.5).unwrap(),
        array![[2.0, -2.0], [15.0, -15.0]],
    );
    close(
        guide_rescaled(&conditional, &conditional, &unconditional, 3.0, 0.0).unwrap(),
        array![[3.0, -3.0], [20.0, -20.0]],
    );
}

#[test]
fn the_wrappers_are_guide_and_guide_rescaled() {
    let (schedule, tau) = (schedule(), trailing(5));
    let plan = Plan::builder(&schedule, &tau).prediction(Prediction::Velocity).build(&Ddim::new(0.5).unwrap()).unwrap();
    let start = initial(&Array2::<f64>::zeros((2, 6)));
    let conditional = |x: &Array2<f64>, at: Point| Ok::<_, BoxError>(x.mapv(|x| response(x, at)));
    let unconditional = |x: &Array2<f64>, at: Point| Ok::<_, BoxError>(x.mapv(|x| 0.5 * response(x - 0.1, at)));
    let run =
        |model: &mut dyn Predictor<Array2<f64>>| sample(&plan, start.clone(), model, &mut SeededNoise::new(3)).unwrap();
    let mut by_hand = from_fn(Prediction::Velocity, |x: &Array2<f64>, at| {
        Ok::<_, BoxError>(guide(x, &conditional(x, at)?, &unconditional(x, at)?, 4.0)?)
    });
    let mut by_hand_too = from_fn(Prediction::Velocity, |x: &Array2<f64>, at| {
        Ok::<_, BoxError>(guide_rescaled(x, &conditional(x, at)?, &unconditional(x, at)?, 4.0, 0.7)?)
    });
    let networks = || (from_fn(Prediction::Velocity, conditional), from_fn(Prediction::Velocity, unconditional));
    let mut guided = Guidance::new(networks().0, networks().1, 4.0).unwrap();
    let mut rescaled = Guidance::new(networks().0, networks().1, 4.0).unwrap().rescaled(0.7).unwrap();
    assert_eq!(run(&mut guided), run(&mut by_hand));
    assert_eq!(run(&mut rescaled), run(&mut by_hand_too));
}

#[test]
fn a_scale_of_1_is_the_conditional_network_alone() {
    let conditional = |_: &Vec<f64>, _: Point| Ok::<_, BoxError>(vec![0.25, -1.0]);
    let unconditional = |_: &Vec<f64>, _: Point| -> Result<Vec<f64>, BoxError> { panic!("called") };
    let at = Point::new(0.0, schedule().level(0).unwrap());
    let mut guided = Guidance::new(conditional, unconditional, 1.0).unwrap();
    assert_eq!(guided.predict(&vec![0.0, 0.0], at).unwrap(), [0.25, -1.0]);
    // And one of 0 the unconditional; a NaN of the other does not leak.
    let poisoned = |_: &Vec<f64>, _: Point| Ok::<_, BoxError>(vec![f64::NAN, f64::INFINITY]);
    assert_eq!(Guidance::new(poisoned, conditional, 0.0).unwrap().predict(&vec![0.0, 0.0], at).unwrap(), [0.25, -1.0]);
}

#[test]
fn guidance_between_different_predictions_is_refused() {
    let network = |kind| from_fn(kind, |x: &Vec<f64>, _| Ok::<_, BoxError>(x.clone()));
    let at = Point::new(0.0, schedule().level(0).unwrap());
    let (mut plain, mut rescaled) = (
        Guidance::new(network(Prediction::Velocity), network(Prediction::Epsilon), 2.0).unwrap(),
        Guidance::new(network(Prediction::Velocity), network(Prediction::Epsilon), 2.0).unwrap().rescaled(0.5).unwrap(),
    );
    assert_eq!((plain.prediction(), rescaled.prediction()), (Prediction::Velocity, Prediction::Velocity));
    for error in [plain.predict(&vec![0.0], at).unwrap_err(), rescaled.predict(&vec![0.0], at).unwrap_err()] {
        let error = error.downcast::<Error>().unwrap();
        assert!(matches!(*error, Error::PredictionMismatch { plan: Prediction::Velocity, model: Prediction::Epsilon }));
    }
}

/// Counts its calls.
struct Counted<'a>(f64, &'a std::cell::Cell<usize>);

impl Predictor<Vec<f64>> for Counted<'_> {
    fn predict(&mut self, x: &Vec<f64>, _: Point) -> Result<Vec<f64>, BoxError> {
        self.1.set(self.1.get() + 1);
        Ok(vec![self.0; x.len()])
    }
}

/// Kynkäänniemi et al. 2024: guidance inside an interval of σ, and elsewhere the conditional network alone.
#[test]
fn guidance_in_an_interval_calls_the_unconditional_network_inside_it_only() {
    let plan = plan(50, &Ddim::deterministic());
    let calls = [std::cell::Cell::new(0), std::cell::Cell::new(0)];
    let scale = GuidanceScale::Interval { scale: 3.0, sigma: 0.5..=5.0 };
    let networks = (Counted(1.0, &calls[0]), Counted(0.25, &calls[1]));
    let mut guided = Guidance::new(networks.0, networks.1, scale.clone()).unwrap();
    let mut inside = 0;
    for step in plan.steps() {
        // σ = √((1−ᾱ)/ᾱ) by its definition.
        let alpha_bar = step.from.alpha_bar();
        let is_inside = (0.5..=5.0).contains(&((1.0 - alpha_bar) / alpha_bar).sqrt());
        inside += usize::from(is_inside);
        let m = guided.predict(&vec![0.0], step.point()).unwrap();
        assert_eq!(m, [if is_inside { 0.25 + 3.0 * 0.75 } else { 1.0 }]);
        assert_eq!(scale.at(step.point()).unwrap(), if is_inside { 3.0 } else { 1.0 });
    }
    assert!(inside > 5 && inside < 45, "{inside}");
    assert_eq!(calls.map(|calls| calls.get()), [50, inside]);
    // Both ends belong to it, also an infinite one.
    let level = NoiseLevel::from_alpha_bar(0.5).unwrap();
    let ends = GuidanceScale::Interval { scale: 3.0, sigma: level.sigma()..=level.sigma() };
    assert_eq!(ends.at(Point::new(0.0, level)).unwrap(), 3.0);
    let open = GuidanceScale::Interval { scale: 3.0, sigma: 0.0..=f64::INFINITY };
    for level in [NoiseLevel::PURE_NOISE, NoiseLevel::CLEAN] {
        assert_eq!(open.at(Point::new(0.0, level)).unwrap(), 3.0);
    }
}

#[test]
fn guidance_may_have_a_scale_for_each_step() {
    let plan = plan(3, &Ddim::deterministic());
    let calls = [std::cell::Cell::new(0), std::cell::Cell::new(0)];
    let mut guided = Guidance::new(Counted(1.0, &calls[0]), Counted(0.25, &calls[1]), vec![2.0, 1.0, 0.0]).unwrap();
    for (step, wanted) in plan.steps().iter().zip([1.75, 1.0, 0.25]) {
        assert_eq!(guided.predict(&vec![0.0], step.point()).unwrap(), [wanted]);
    }
    assert_eq!(calls.each_ref().map(std::cell::Cell::get), [3, 2]);
    // Rescaled: a scale of 1 asks the conditional network alone.
    let mut rescaled = guided.rescaled(0.5).unwrap();
    assert_eq!(rescaled.predict(&vec![0.0], plan.steps()[1].point()).unwrap(), [1.0]);
    assert_eq!(calls[1].get(), 2);
    // A list that ends before the plan does.
    let mut short = Guidance::new(Counted(1.0, &calls[0]), Counted(0.25, &calls[1]), vec![2.0, 1.0]).unwrap();
    let error = sample(&plan, vec![0.5], &mut short, &mut NoNoise).unwrap_err();
    let Error::AtStep { index: 2, source, .. } = error else { panic!("{error:?}") };
    let Error::Predictor(source) = *source else { panic!("{source:?}") };
    assert!(matches!(*source.downcast::<Error>().unwrap(), Error::Length { expected: 3, found: 2, .. }));
}

// Buffers.

/// The loop by hand may keep the buffer of the network's output, and a run may be handed one.
#[test]
fn buffers_are_handed_in_and_out() {
    let plan = plan(20, &Ddim::new(1.0).unwrap());
    let start = initial(&vec![0.0_f64; 50]);
    let whole = run(&plan, start.clone(), &mut SeededNoise::new(3));

    let (mut model, mut noise) = (InPlace::default(), SeededNoise::new(3));
    let spare = vec![f64::NAN; 50];
    let at = spare.as_ptr();
    let mut sampling = Sampling::new(&plan, start.clone(), &mut model, &mut noise).unwrap().with_spare(spare);
    while sampling.advance().unwrap().is_some() {}
    let stepped = sampling.into_stepped().unwrap();
    let spare = stepped.spare.unwrap();
    assert_eq!((&stepped.x, spare.as_ptr(), model.allocated), (&whole, at, 0));

    let (mut x, mut spare) = (start, None);
    let mut noise = SeededNoise::new(3);
    for step in plan.steps() {
        let m = model.predict_into(&x, step.point(), spare.take()).unwrap();
        let z = step.needs_noise().then(|| noise.noise(&x, Draw::Step(step.index)).unwrap());
        let stepped = step.step(x, m, z.as_ref()).unwrap();
        (x, spare) = (stepped.x, stepped.spare);
    }
    assert_eq!((x, model.allocated), (whole, 1));
}

// Plans.

#[test]
fn equal_choices_make_equal_plans_and_other_choices_others() {
    let (schedule, tau) = (schedule(), trailing(5));
    let build = || Plan::builder(&schedule, &tau);
    let base = build().build(&Ddim::new(0.5).unwrap()).unwrap();
    assert_eq!(base, plan(5, &Ddim::new(0.5).unwrap()));
    assert_eq!(base, base.clone());
    for other in [
        build().build(&Ddim::new(0.25).unwrap()),
        build().build(&Ddpm::default()),
        build().prediction(Prediction::Velocity).build(&Ddim::new(0.5).unwrap()),
        build().threshold(Threshold::Clip(1.0)).build(&Ddim::new(0.5).unwrap()),
        Plan::new(&schedule, &trailing(6), &Ddim::new(0.5).unwrap()),
        Plan::new(&schedule, &trailing(5).ending(PathEnd::FirstLevel), &Ddim::new(0.5).unwrap()),
        Plan::new(&NoiseSchedule::cosine(1000).unwrap(), &tau, &Ddim::new(0.5).unwrap()),
    ] {
        assert_ne!(other.unwrap(), base);
    }
}

#[test]
fn a_plan_prints_as_a_table() {
    let schedule = schedule();
    let tau = Timesteps::explicit(1000, [999, 100]).unwrap();
    // ᾱ of t = 999 and 100 is 4.036e-5 and 0.895142; A = √(ᾱ_s/ᾱ_t) and B = √(1−ᾱ_s) − A·√(1−ᾱ_t).
    let folded = "\
DDIM, ε-prediction, 2 steps
x′ = A·x + B·m + d·z
step      t      s         ᾱ_t         ᾱ_s           A           B       σ = d
   0    999    100    4.036e-5    0.895142  148.929060 -148.602236    0.000000
   1    100  clean    0.895142    1.000000    1.056949   -0.342260    0.000000";
    let plan = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
    assert_eq!(plan.to_string(), folded);
    // p = √ᾱ_t and q = −√(1−ᾱ_t) of v-prediction; a, b and σ are Ho et al. 2020, Eq. 7.
    let thresholded = "\
DDPM, posterior variance, v-prediction, clip=1, 2 steps
x̂₀ = threshold(p·x + q·m)   x′ = a·x̂₀ + b·x + c·m + d·z
step      t      s         ᾱ_t         ᾱ_s           p           q           a           b           c       σ = d
   0    999    100    4.036e-5    0.895142    0.006353   -0.999980    0.946115    7.041e-4    0.000000    0.323818
   1    100  clean    0.895142    1.000000    0.946119   -0.323818    1.000000    0.000000    0.000000    0.000000";
    let plan = Plan::builder(&schedule, &tau)
        .prediction(Prediction::Velocity)
        .threshold(Threshold::Clip(1.0))
        .build(&Ddpm::default())
        .unwrap();
    assert_eq!(plan.to_string(), thresholded);
}

#[test]
fn a_path_knows_where_it_starts_and_ends() {
    let schedule = schedule();
    let level = |t| schedule.level(t).unwrap();
    let tau = trailing(4);
    let ends = |tau: Timesteps| {
        let plan = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
        (plan.start(), plan.end())
    };
    assert_eq!(ends(tau.clone()), (level(999), NoiseLevel::CLEAN));
    assert_eq!(ends(tau.clone().encoding(Conditioning::Source)), (NoiseLevel::CLEAN, level(999)));
    let tau = tau.ending(PathEnd::FirstLevel).with_strength(0.5).unwrap();
    assert_eq!(ends(tau.clone()), (level(499), level(0)));
    assert_eq!(ends(tau.encoding(Conditioning::Destination)), (level(0), level(499)));
}

// A method of one's own.

/// DDIM with η = 0 as one would type it from the paper.
struct Mine;

impl Solver for Mine {
    fn name(&self) -> &'static str {
        "mine"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        // Song et al. 2021, Eq. 12, with σ = 0.
        Ok(Combination::new(leg.to.signal(), 0.0, leg.to.noise(), 0.0))
    }
}

/// Returns a given value.
struct Odd(Combination);

impl Solver for Odd {
    fn name(&self) -> &'static str {
        "odd"
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        Ok(if leg.index == 1 { self.0 } else { Combination::new(1.0, 0.0, 0.0, 0.0) })
    }
}

#[test]
fn a_custom_solver_makes_plans_like_any_other() {
    let (mine, theirs) = (plan(20, &Mine), plan(20, &Ddim::deterministic()));
    assert!(mine.to_string().starts_with("mine, ε-prediction, 20 steps"));
    for (mine, theirs) in mine.steps().iter().zip(theirs.steps()) {
        assert!((mine.coefficients.x / theirs.coefficients.x - 1.0).abs() < 1e-13);
        assert!((mine.coefficients.model - theirs.coefficients.model).abs() < 1e-13 * theirs.coefficients.x.abs());
        assert_eq!((mine.eta, theirs.eta), (None, Some(0.0)));
    }
    let mut model = Gaussian::new([0.5], [0.25]).unwrap().predictor();
    let start = initial(&Array2::<f64>::zeros((5, 1)));
    let by = |plan: &Plan, model: &mut _| sample(plan, start.clone(), model, &mut NoNoise).unwrap();
    let difference = by(&mine, &mut model) - by(&theirs, &mut model);
    assert!(difference.iter().all(|difference| difference.abs() < 1e-12));
}

#[test]
fn a_solver_sees_every_leg_of_the_path_in_order() {
    use std::cell::RefCell;
    struct Watching(RefCell<Vec<Leg>>);
    impl Solver for Watching {
        fn name(&self) -> &'static str {
            "watching"
        }
        fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
            self.0.borrow_mut().push(*leg);
            Mine.combine(leg)
        }
    }
    let watching = Watching(RefCell::default());
    let plan = plan(4, &watching);
    let legs = watching.0.into_inner();
    assert!(legs.iter().enumerate().all(|(i, leg)| (leg.index, leg.steps) == (i, 4)));
    assert!(legs.iter().zip(plan.steps()).all(|(leg, step)| (leg.from, leg.to) == (step.from, step.to)));
}

#[test]
fn weights_that_are_no_weights_are_refused_at_their_step() {
    for (combination, name) in [
        (Combination::new(f64::NAN, 0.0, 0.0, 0.0), "the weight of x̂₀"),
        (Combination::new(0.0, f64::INFINITY, 0.0, 0.0), "the weight of x"),
        (Combination::new(0.0, 0.0, f64::NEG_INFINITY, 0.0), "the weight of ε"),
        (Combination::new(0.0, 0.0, 0.0, -0.5), "the weight of z"),
        (Combination::new(0.0, 0.0, 0.0, f64::NAN), "the weight of z"),
    ] {
        match Plan::new(&schedule(), &trailing(3), &Odd(combination)) {
            Err(Error::AtStep { index: 1, t: 666.0, source }) => {
                assert!(matches!(*source, Error::Parameter { name: named, .. } if named == name), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_custom_solver_may_encode_unless_it_adds_noise() {
    let tau = trailing(3).encoding(Conditioning::Source);
    assert!(Plan::new(&schedule(), &tau, &Mine).is_ok());
    let renoise = Odd(Combination::new(1.0, 0.0, 0.0, 0.5));
    match Plan::new(&schedule(), &tau, &renoise) {
        Err(Error::AtStep { index: 1, source, .. }) => {
            assert!(matches!(*source, Error::NotReversible { solver: "odd", .. }), "{source}");
        }
        other => panic!("{other:?}"),
    }
    assert!(Plan::new(&schedule(), &trailing(3), &renoise).is_ok());
}

// Zero terminal SNR.

#[test]
fn steps_from_pure_noise_are_finite_and_right_with_v_and_x0_prediction() {
    let schedule = schedule().rescale_zero_terminal_snr().unwrap();
    let tau = trailing(10);
    for (prediction, sign) in [(Prediction::Velocity, -1.0), (Prediction::Sample, 1.0)] {
        for solver in methods().into_iter().take(3).chain(methods().into_iter().skip(4)) {
            let plan = Plan::builder(&schedule, &tau).prediction(prediction).build(&solver).unwrap();
            let start = initial(&Array2::<f32>::zeros((2, 50)));
            assert!(run(&plan, start, &mut SeededNoise::new(1)).iter().all(|x| x.is_finite()), "{plan}");
            // At ᾱ_t = 0, x is noise, x̂₀ = −v, and the noise of level s is ε = x or drawn anew.
            let step = &plan.steps()[0];
            assert!(step.from.is_pure_noise());
            let (signal, noise) = (step.to.signal(), step.to.noise());
            let (x, m, z) = (vec![0.7_f64], vec![0.4], vec![-1.3]);
            let next = step.apply(x, m, Some(&z)).unwrap()[0];
            let sigma = match solver.eta(0) {
                Some(eta) => eta * noise,
                None if solver.name() == "DDPM, posterior variance" => noise,
                None => 1.0, // σ̂ and β are 1 − ᾱ_t/ᾱ_s = 1
            };
            let old_noise = if solver.eta(0).is_some() { (noise * noise - sigma * sigma).sqrt() } else { 0.0 };
            let wanted = signal * sign * 0.4 + old_noise * 0.7 + sigma * -1.3;
            assert!((next - wanted).abs() < 1e-15, "{}: {next} for {wanted}", solver.name());
        }
    }
}

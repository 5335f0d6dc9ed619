//! Where z comes from: values against ChaCha8 (Bernstein 2008) and Box and Muller (1958) typed out here, and the
//! promises of a counter-based source: the same sample whatever the batch, and no two streams alike.

use std::collections::HashSet;
use std::f64::consts::TAU;

use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Element, Error, HostTensor, Memory, NoNoise, NoiseSchedule, NoiseSource, NormalStream,
    PathEnd, Plan, RngNoise, SampleKey, SeededNoise, Solver, Threshold, Timesteps, Variance, noise, sample,
};
use ndarray::{Array1, Array2, Array4, ArrayD, Axis, IxDyn, ShapeBuilder};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The noise of a seed for a tensor like this one.
fn seeded<T: HostTensor>(seed: u64, first_sample: u64, draw: Draw, like: &T) -> T {
    SeededNoise::new(seed).from_sample(first_sample).noise(like, draw).unwrap()
}

fn stream(seed: u64, sample: u64, draw: Draw, len: usize) -> Vec<f32> {
    seeded(seed, sample, draw, &vec![0.0_f32; len])
}

fn bits(z: &[f32]) -> Vec<u32> {
    z.iter().map(|z| z.to_bits()).collect()
}

// Values.

/// Block `counter` of ChaCha with 8 rounds, a 64-bit counter and nonce 0.
fn chacha8(key: &[u8; 32], counter: u64) -> [u32; 16] {
    const ROUNDS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ];
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let mut start = [0; 16];
    for (i, chunk) in b"expand 32-byte k".chunks(4).chain(key.chunks(4)).enumerate() {
        start[i] = word(chunk);
    }
    (start[12], start[13]) = (counter as u32, (counter >> 32) as u32);
    let mut x = start;
    for _ in 0..4 {
        for [a, b, c, d] in ROUNDS {
            for (shift_d, shift_b) in [(16, 12), (8, 7)] {
                x[a] = x[a].wrapping_add(x[b]);
                x[d] = (x[d] ^ x[a]).rotate_left(shift_d);
                x[c] = x[c].wrapping_add(x[d]);
                x[b] = (x[b] ^ x[c]).rotate_left(shift_b);
            }
        }
    }
    for (x, start) in x.iter_mut().zip(start) {
        *x = x.wrapping_add(start);
    }
    x
}

/// Sixteen words to sixteen normals: the radius from word j, the angle from word 8 + j.
fn box_muller(words: &[u32]) -> [f64; 16] {
    let mut z = [0.0; 16];
    for j in 0..8 {
        let u = (f64::from(words[j]) + 0.5) / 4_294_967_296.0;
        let v = (f64::from(words[j + 8]) + 0.5) / 4_294_967_296.0;
        let radius = (-2.0 * u.ln()).sqrt();
        (z[j], z[j + 8]) = (radius * (TAU * v).cos(), radius * (TAU * v).sin());
    }
    z
}

/// f32 arithmetic, but for the cancellation that the naive angle suffers next to a zero of the sine.
#[track_caller]
fn assert_single(found: f32, exact: f64) {
    assert!((f64::from(found) - exact).abs() < 5e-7 * exact.abs() + 1e-14, "{found} for {exact}");
}

#[test]
fn the_noise_is_box_mullers_of_chacha8_keyed_by_seed_sample_and_draw() {
    for (seed, sample, draw, number, len) in [
        (0, 0, Draw::Initial, 0_u64, 70_001), // over some borders of the pieces in which noise is made
        (0xdead_beef, 7, Draw::Step(999), 1000, 500),
        (u64::MAX, 1 << 40, Draw::Step(0), 1, 500),
    ] {
        assert_eq!(draw.stream(), number);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&u64::to_le_bytes(seed));
        key[8..16].copy_from_slice(&u64::to_le_bytes(sample));
        key[16..24].copy_from_slice(&u64::to_le_bytes(number));
        key[24..].copy_from_slice(b"normal.2");
        for (group, found) in stream(seed, sample, draw, len).chunks(128).enumerate() {
            let pairs: Vec<Vec<f64>> =
                (0..8).map(|lane| box_muller(&chacha8(&key, (8 * group + lane) as u64)).to_vec()).collect();
            for (place, found) in found.iter().enumerate() {
                // Eight blocks side by side: word by word, and within a word block by block.
                assert_single(*found, pairs[place % 8][place / 8]);
            }
        }
    }
}

#[test]
fn golden_values() {
    let golden: [(u64, u64, Draw, [f32; 8]); 2] = [
        (
            0,
            0,
            Draw::Initial,
            [
                0.712_040_07,
                -1.757_134_6,
                0.084_532_894,
                0.735_820_3,
                0.492_618_62,
                -0.379_245,
                -0.892_322_66,
                1.428_141,
            ],
        ),
        (
            0xdead_beef,
            7,
            Draw::Step(999),
            [
                -1.242_147_7,
                0.564_536_15,
                -0.626_782_6,
                0.027_913_438,
                -0.825_257_8,
                -1.460_501_4,
                -0.471_954_32,
                0.067_877_1,
            ],
        ),
    ];
    for (seed, sample, draw, values) in golden {
        assert_eq!(bits(&stream(seed, sample, draw, 8)), bits(&values));
    }
}

#[test]
fn the_noise_depends_on_the_place_in_the_sample_and_not_on_the_shape() {
    let flat = stream(3, 0, Draw::Step(2), 3 * 8 * 9);
    let image = seeded(3, 0, Draw::Step(2), &Array4::<f32>::zeros((1, 3, 8, 9)));
    assert_eq!(bits(image.as_slice().unwrap()), bits(&flat));
    let dynamic = seeded(3, 0, Draw::Step(2), &ArrayD::<f32>::zeros(IxDyn(&[1, 216])));
    assert_eq!(bits(dynamic.as_slice().unwrap()), bits(&flat));
    // Nor on the layout.
    let column_major = seeded(3, 0, Draw::Step(2), &Array4::<f32>::zeros((1, 3, 8, 9).f()));
    assert_eq!(column_major, image);
    // An array of one axis is a batch of samples of one element.
    let scalars = seeded(3, 5, Draw::Initial, &Array1::<f32>::zeros(4));
    assert_eq!(scalars.to_vec(), [5, 6, 7, 8].map(|sample| stream(3, sample, Draw::Initial, 1)[0]));
    // f64 noise is the f32 noise.
    let wide: Vec<f64> = seeded(3, 0, Draw::Step(2), &vec![0.0_f64; 216]);
    assert!(wide.iter().zip(&flat).all(|(wide, flat)| *wide == f64::from(*flat)));
}

#[test]
fn a_shorter_sample_is_a_prefix_of_a_longer_one() {
    let whole = stream(9, 1, Draw::Initial, 4200);
    for len in (1..200).chain([1023, 1024, 1025, 4095, 4096, 4097]) {
        assert_eq!(bits(&stream(9, 1, Draw::Initial, len)), bits(&whole[..len]));
    }
}

// Batches.

proptest! {
    #[test]
    fn a_batch_of_k_is_k_singles_bit_for_bit(
        seed in any::<u64>(), first in any::<u64>(), step in 0_usize..1000, rows in 1_usize..8, len in 1_usize..200,
    ) {
        let batch = seeded(seed, first, Draw::Step(step), &Array2::<f32>::zeros((rows, len)));
        for (row, sample) in batch.rows().into_iter().zip(0_u64..) {
            let alone = stream(seed, first.wrapping_add(sample), Draw::Step(step), len);
            prop_assert_eq!(bits(row.as_slice().unwrap()), bits(&alone));
        }
        // However the batch is split over processes.
        let cut = rows / 2;
        if cut > 0 {
            let part = |from: usize, to: usize| {
                let like = Array2::<f32>::zeros((to - from, len));
                seeded(seed, first.wrapping_add(from as u64), Draw::Step(step), &like)
            };
            let (low, high) = (part(0, cut), part(cut, rows));
            prop_assert_eq!(ndarray::concatenate(Axis(0), &[low.view(), high.view()]).unwrap(), batch);
        }
    }
}

#[test]
fn rows_may_have_seeds_and_draws_of_their_own() {
    let keys = [(7, 0), (8, 0), (7, 3)].map(|(seed, sample)| SampleKey { seed, sample });
    let draws = [Draw::Step(3), Draw::Initial, Draw::Step(40)];
    let like = Array2::<f32>::zeros((3, 50));
    let mut noise = SeededNoise::per_row(keys);
    let z = noise.noise_per_row(&like, &draws).unwrap();
    let together = noise.noise(&like, Draw::Step(5)).unwrap();
    for (row, (key, draw)) in keys.into_iter().zip(draws).enumerate() {
        assert_eq!(z.row(row).to_vec(), stream(key.seed, key.sample, draw, 50));
        assert_eq!(together.row(row).to_vec(), stream(key.seed, key.sample, Draw::Step(5), 50));
    }
    // Consecutive samples at draws of their own, and back to consecutive samples of the first row's seed.
    let z = SeededNoise::new(7).from_sample(2).noise_per_row(&like, &draws).unwrap();
    assert!((0..3).all(|row| z.row(row).to_vec() == stream(7, 2 + row as u64, draws[row], 50)));
    assert_eq!(SeededNoise::per_row(keys).from_sample(9), SeededNoise::new(7).from_sample(9));
}

#[test]
fn keys_and_draws_must_be_as_many_as_the_rows() {
    let like = Array2::<f32>::zeros((3, 5));
    let two = [SampleKey { seed: 1, sample: 0 }, SampleKey { seed: 2, sample: 0 }];
    for error in [
        SeededNoise::per_row(two).noise(&like, Draw::Initial).unwrap_err(),
        SeededNoise::per_row(two).noise_per_row(&like, &[Draw::Initial; 3]).unwrap_err(),
        SeededNoise::new(1).noise_per_row(&like, &[Draw::Initial; 2]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Rows { expected: 3, found: 2 }), "{error}");
    }
}

#[test]
fn samples_are_numbered_modulo_2_to_the_64() {
    let z = seeded(1, u64::MAX, Draw::Initial, &Array2::<f32>::zeros((2, 20)));
    assert_eq!(z.row(1).to_vec(), stream(1, 0, Draw::Initial, 20));
}

#[test]
fn sources_of_one_key_are_equal_whatever_they_were_asked() {
    let mut asked = SeededNoise::new(5);
    asked.noise(&Array2::<f32>::zeros((4, 3)), Draw::Step(2)).unwrap();
    assert_eq!(asked, SeededNoise::new(5));
    assert_ne!(asked, SeededNoise::new(6));
    assert_ne!(asked, SeededNoise::new(5).from_sample(1));
}

#[test]
fn asking_again_gives_the_same_and_nothing_depends_on_what_was_asked_before() {
    let mut noise = SeededNoise::new(5);
    let like = vec![0.0_f32; 100];
    let first = noise.noise(&like, Draw::Step(1)).unwrap();
    noise.noise(&Array2::<f32>::zeros((4, 3)), Draw::Step(2)).unwrap();
    assert_eq!(noise.noise(&like, Draw::Step(1)).unwrap(), first);
}

// Streams.

#[test]
fn no_two_streams_share_a_block() {
    // Neighbours, and keys that differ in one far bit or exchange their parts.
    let numbers = [0, 1, 2, 3, 255, 256, 1 << 32, 1 << 63, u64::MAX];
    let draws = [Draw::Initial, Draw::Step(0), Draw::Step(1), Draw::Step(2), Draw::Step(255), Draw::Step(1 << 31)];
    let mut blocks: HashSet<[u32; 16]> = HashSet::new();
    let mut count = 0;
    for (seed, sample) in numbers.into_iter().flat_map(|seed| numbers.map(|sample| (seed, sample))) {
        for draw in draws {
            for block in stream(seed, sample, draw, 32 * 16).chunks(16) {
                blocks.insert(bits(block).try_into().unwrap());
                count += 1;
            }
        }
    }
    assert_eq!((count, blocks.len()), (9 * 9 * 6 * 32, count));
}

#[test]
fn every_part_of_the_key_makes_another_stream() {
    let base = stream(1, 1, Draw::Step(1), 4096);
    for other in [
        stream(2, 1, Draw::Step(1), 4096),
        stream(1, 2, Draw::Step(1), 4096),
        stream(1, 1, Draw::Step(2), 4096),
        stream(1, 1, Draw::Initial, 4096),
    ] {
        let equal = base.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(equal < 5, "{equal} of 4096 elements are equal");
    }
}

// Moments. Bounds are five standard deviations of each estimate.

fn within(estimate: f64, wanted: f64, variance: f64, count: usize) {
    let deviations = (estimate - wanted) / (variance / count as f64).sqrt();
    assert!(deviations.abs() < 5.0, "{estimate} for {wanted}: {deviations} standard deviations");
}

fn assert_standard_normal(z: &[f64]) {
    let moment = |power: i32| z.iter().map(|z| z.powi(power)).sum::<f64>() / z.len() as f64;
    // The variances of z, z², z³ and z⁴ are 1, 2, 15 and 96.
    for (power, wanted, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        within(moment(power), wanted, variance, z.len());
    }
}

fn assert_uncorrelated(a: &[f64], b: &[f64]) {
    let mean = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(*a, *b)).sum::<f64>() / a.len() as f64;
    within(mean(&|a, b| a * b), 0.0, 1.0, a.len());
    within(mean(&|a, b| (a * a - 1.0) * (b * b - 1.0)), 0.0, 4.0, a.len());
}

#[test]
fn the_noise_is_standard_normal_within_and_across_streams() {
    let wide = |z: Vec<f32>| z.into_iter().map(f64::from).collect::<Vec<f64>>();
    assert_standard_normal(&wide(stream(2026, 0, Draw::Initial, 1 << 20)));
    let count = 1 << 14;
    // The first elements of as many samples, steps and seeds.
    let samples = wide(seeded(1, 0, Draw::Initial, &Array2::<f32>::zeros((count, 1))).into_raw_vec_and_offset().0);
    let steps: Vec<f64> = (0..count).map(|step| f64::from(stream(1, 0, Draw::Step(step), 1)[0])).collect();
    let seeds: Vec<f64> = (0..count as u64).map(|seed| f64::from(stream(seed, 0, Draw::Initial, 1)[0])).collect();
    for z in [&samples, &steps, &seeds] {
        assert_standard_normal(z);
        assert_uncorrelated(z, &z[1..]);
    }
    assert_uncorrelated(&samples, &steps);
    assert_uncorrelated(&samples, &seeds);
    assert_uncorrelated(&steps, &seeds);
}

// Within a step.

#[test]
fn noise_made_within_the_step_is_the_noise_made_before_it() {
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, 4).unwrap());
    for threshold in [Threshold::None, Threshold::Clip(0.5), Threshold::Dynamic { ratio: 0.9, max: 2.0 }] {
        let plan = Plan::builder(&schedule, &tau).threshold(threshold).build(&Ddim::new(1.0).unwrap()).unwrap();
        // Around the blocks in which noise is made, and the tasks in which work is shared out.
        for (rows, len) in [(3, 1), (3, 15), (3, 16), (3, 17), (3, 1023), (3, 1024), (3, 1025), (3, 4097), (2, 32_769)]
        {
            let like = Array2::<f32>::zeros((rows, len));
            let (x, m) = (seeded(1, 0, Draw::Initial, &like), seeded(2, 0, Draw::Initial, &like));
            for step in plan.steps() {
                let mut noise = SeededNoise::new(9).from_sample(4);
                let z = noise.noise(&x, Draw::Step(step.index)).unwrap();
                let before = step.apply(x.clone(), m.clone(), step.needs_noise().then_some(&z)).unwrap();
                let within = noise.step(x.clone(), m.clone(), &Memory::default(), step).unwrap().x;
                assert_eq!(within, before, "{threshold:?}, {len} elements a row, step {}", step.index);
                // f64, which takes the noise as it is.
                let (x, m, z) = (x.mapv(f64::from), m.mapv(f64::from), z.mapv(f64::from));
                let before = step.apply(x.clone(), m.clone(), Some(&z)).unwrap();
                assert_eq!(noise.step(x, m, &Memory::default(), step).unwrap().x, before);
            }
        }
    }
}

/// Counts what is drawn.
#[derive(Default)]
struct Counting(Vec<Draw>);

impl NoiseSource<Vec<f64>> for Counting {
    fn noise(&mut self, like: &Vec<f64>, draw: Draw) -> Result<Vec<f64>, Error> {
        self.0.push(draw);
        Ok(vec![0.0; like.len()])
    }
}

#[test]
fn nothing_is_drawn_where_a_step_adds_no_noise() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 5).unwrap();
    let drawn = |tau: &Timesteps, solver: &dyn Solver| {
        let plan = Plan::new(&schedule, tau, &solver).unwrap();
        let mut source = Counting::default();
        let mut model = |x: &Vec<f64>, _| Ok::<_, BoxError>(x.clone());
        sample(&plan, vec![0.5; 3], &mut model, &mut source).unwrap();
        source.0
    };
    let steps = |indices: &[usize]| indices.iter().map(|index| Draw::Step(*index)).collect::<Vec<_>>();
    assert_eq!(drawn(&tau, &Ddim::deterministic()), []);
    // No method adds noise to clean data.
    for solver in [
        &Ddim::new(0.5).unwrap() as &dyn Solver,
        &Ddim::new(1.0).unwrap(),
        &Ddim::sigma_hat(),
        &Ddpm::default(),
        &Ddpm::new(Variance::Beta),
    ] {
        assert_eq!(drawn(&tau, solver), steps(&[0, 1, 2, 3]), "{}", solver.name());
    }
    assert_eq!(drawn(&tau, &Ddim::per_step([0.0, 1.0, 0.0, 0.5, 1.0]).unwrap()), steps(&[1, 3]));
    // A path that ends in the level of t = 0 keeps some there.
    let first_level = tau.ending(PathEnd::FirstLevel);
    assert_eq!(drawn(&first_level, &Ddim::new(1.0).unwrap()), steps(&[0, 1, 2, 3, 4]));
}

// Other sources.

#[test]
fn noise_written_over_a_tensor_is_the_noise_of_its_shape() {
    fn check<E: Element>() {
        for shape in [(1, 1), (3, 127), (2, 1025), (2, 32_769)] {
            let used = Array2::from_elem(shape, E::from_f64(f64::NAN));
            let lying_otherwise = Array2::from_elem(shape.f(), E::from_f64(f64::NAN));
            let wanted = seeded(3, 4, Draw::Step(1), &used);
            let mut source = SeededNoise::new(3).from_sample(4);
            assert_eq!(source.noise_into(used, Draw::Step(1)).unwrap(), wanted);
            assert_eq!(source.noise_into(lying_otherwise, Draw::Step(1)).unwrap(), wanted);
        }
        let row: Vec<E> = seeded(3, 0, Draw::Initial, &vec![E::default(); 300]);
        assert_eq!(SeededNoise::new(3).noise_into(vec![E::default(); 300], Draw::Initial).unwrap(), row);
    }
    check::<f32>();
    check::<f64>();
    #[cfg(feature = "half")]
    check::<half::f16>();
    let empty = SeededNoise::new(1).noise_into(Array2::<f32>::zeros((3, 0)), Draw::Initial);
    assert!(matches!(empty, Err(Error::Empty { .. })));
    let one_stream = [NormalStream::new(1, 2, 3)];
    assert!(matches!(Array2::<f32>::zeros((2, 5)).fill_with_streams(&one_stream), Err(Error::Rows { .. })));
}

#[test]
fn a_generators_words_become_normals_by_the_same_transform() {
    let mut words = StdRng::seed_from_u64(1);
    let mut noise = RngNoise::new(StdRng::seed_from_u64(1));
    // Sixteen words for sixteen elements, a last group that is not full included.
    for len in [16, 48, 5, 16, 100] {
        let z: Vec<f32> = noise.noise(&vec![0.0; len], Draw::Initial).unwrap();
        for group in z.chunks(16) {
            let words: Vec<u32> = (0..16).map(|_| words.next_u32()).collect();
            for (found, exact) in group.iter().zip(box_muller(&words)) {
                assert_single(*found, exact);
            }
        }
    }
}

#[test]
fn a_generator_may_be_borrowed_and_goes_on_where_it_was() {
    let mut rng = StdRng::seed_from_u64(7);
    let (like, draw) = (vec![0.0_f64; 32], Draw::Initial);
    let first = RngNoise::new(&mut rng).noise(&like, draw).unwrap();
    let second = RngNoise::new(&mut rng).noise(&like, draw).unwrap();
    let mut whole = RngNoise::new(StdRng::seed_from_u64(7));
    assert_eq!(whole.noise(&vec![0.0_f64; 64], draw).unwrap(), [first, second].concat());
    let many: Vec<f64> = whole.noise(&vec![0.0; 1 << 20], draw).unwrap();
    assert_standard_normal(&many);
}

#[test]
fn a_closure_is_asked_for_each_draw_and_may_fail() {
    let mut asked = Vec::new();
    let mut source = noise::from_fn(|like: &Vec<f32>, draw| {
        asked.push((like.len(), draw));
        if draw == Draw::Step(1) { Err("nothing was recorded for step 1") } else { Ok(vec![0.25; like.len()]) }
    });
    assert_eq!(source.noise(&vec![0.0; 3], Draw::Initial).unwrap(), [0.25; 3]);
    match source.noise(&vec![0.0; 3], Draw::Step(1)) {
        Err(Error::Noise(source)) => assert_eq!(source.to_string(), "nothing was recorded for step 1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(asked, [(3, Draw::Initial), (3, Draw::Step(1))]);
}

#[test]
fn no_noise_refuses_to_make_any() {
    match NoNoise.noise(&vec![0.0_f32], Draw::Step(2)) {
        Err(Error::Noise(source)) => assert!(source.to_string().contains("at step 2, but NoNoise has none")),
        other => panic!("{other:?}"),
    }
    let (schedule, tau) = (NoiseSchedule::ddpm().unwrap(), Timesteps::trailing(1000, 2).unwrap());
    let plan = Plan::new(&schedule, &tau, &Ddim::new(1.0).unwrap()).unwrap();
    let (first, last) = (&plan.steps()[0], &plan.steps()[1]);
    let missing = NoNoise.step(vec![1.0_f32], vec![0.0], &Memory::default(), first).unwrap_err();
    assert!(matches!(missing, Error::Noise(source) if source.to_string().contains("step 0")));
    assert!(NoNoise.step(vec![1.0_f32], vec![0.0], &Memory::default(), last).is_ok());
}

#[test]
fn there_is_no_noise_for_tensors_without_elements() {
    for empty in [Array2::<f32>::zeros((0, 3)), Array2::zeros((3, 0))] {
        assert!(matches!(SeededNoise::new(1).noise(&empty, Draw::Initial), Err(Error::Empty { .. })));
        let mut rng = RngNoise::new(StdRng::seed_from_u64(1));
        assert!(matches!(rng.noise(&empty, Draw::Initial), Err(Error::Empty { .. })));
    }
}

/// Rows without elements take no memory, so a tensor may have any number of them; a stream for each would.
#[test]
fn the_number_of_rows_of_an_empty_tensor_costs_nothing() {
    let empty = Array2::<f32>::zeros((isize::MAX as usize, 0));
    let mut seeded = SeededNoise::new(1);
    let plan =
        Plan::new(&NoiseSchedule::ddpm().unwrap(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::new(1.0).unwrap());
    for error in [
        seeded.noise(&empty, Draw::Initial).unwrap_err(),
        seeded.noise_into(empty.clone(), Draw::Initial).unwrap_err(),
        seeded.step(empty.clone(), empty.clone(), &Memory::default(), &plan.unwrap().steps()[0]).unwrap_err(),
        RngNoise::new(StdRng::seed_from_u64(1)).noise(&empty, Draw::Initial).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Empty { .. }), "{error:?}");
    }
}

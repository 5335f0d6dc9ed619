//! What tensors do beyond the laws of `tests/laws.rs`: layouts, shapes, NaN, thresholds, and work shared out in tasks. A tensor that
//! implements the required methods alone, in plain loops, is what `Vec` and `ndarray` are compared with, to the last bit.

use std::fmt::Debug;
use std::ops::{Add, Mul};

use alphabar::{
    Batch, Coefficients, Combination, Element, EpsilonAfter, Error, HostTensor, NoiseLevel, Prediction, RowReduce,
    Rows, Tensor, Threshold, Weights, step_in_place,
};
use ndarray::{
    Array, Array1, Array2, Array3, Array4, ArrayD, Axis, Dimension, IxDyn, ShapeBuilder, Slice, arr0, array,
};
use proptest::prelude::*;

use crate::common::numbers::{assert_bits, numbers};

trait Num: Element + Add<Output = Self> + Mul<Output = Self> + PartialOrd + Debug {}
impl Num for f32 {}
impl Num for f64 {}

/// The required methods and nothing else, as one would first write them; `step` is the trait's own composition.
#[derive(Clone, Debug)]
struct Naive<E> {
    rows: usize,
    values: Vec<E>,
}

impl<E: Num> Naive<E> {
    fn of<T: HostTensor>(tensor: &T) -> Self {
        let values = tensor.to_host().unwrap().into_iter().map(E::from_f64).collect();
        Self { rows: tensor.rows_of_batch().count, values }
    }

    fn row(&self, index: usize) -> usize {
        index / (self.values.len() / self.rows)
    }

    fn to_host(&self) -> Vec<f64> {
        self.values.iter().map(|value| value.to_f64()).collect()
    }
}

impl<E: Num> Tensor for Naive<E> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let first = terms[0].1;
        let mut values = Vec::new();
        for index in 0..first.values.len() {
            let mut sum = None;
            for (weights, tensor) in terms {
                let weight = weights.of_row(first.row(index))?;
                if weight != 0.0 {
                    let term = E::from_f64(weight) * tensor.values[index];
                    sum = Some(sum.map_or(term, |sum| sum + term));
                }
            }
            values.push(sum.unwrap_or(E::from_f64(-0.0))); // x + −0 is x for every x
        }
        Ok(Self { rows: first.rows, values })
    }

    fn clamp_abs(mut self, bound: Weights<'_>) -> Result<Self, Error> {
        for index in 0..self.values.len() {
            let bound = bound.of_row(self.row(index))?;
            let (low, high, value) = (E::from_f64(-bound), E::from_f64(bound), self.values[index]);
            self.values[index] = if value > high {
                high
            } else if value < low {
                low
            } else {
                value
            };
        }
        Ok(self)
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        Ok(self.to_host().chunks(self.values.len() / self.rows).map(|row| naive_quantile(row, ratio)).collect())
    }
}

/// numpy's `quantile` of |x| with its default, linear interpolation: by sorting.
fn naive_quantile(row: &[f64], ratio: f64) -> f64 {
    let mut sorted: Vec<f64> = row.iter().map(|value| value.abs()).collect();
    sorted.sort_by(f64::total_cmp); // NaN last
    if sorted[sorted.len() - 1].is_nan() {
        return f64::NAN;
    }
    let position = ratio * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    if sorted[below] == sorted[above] {
        return sorted[below];
    }
    sorted[below] + (sorted[above] - sorted[below]) * (position - position.floor())
}

fn like<T: HostTensor>(template: &T, seed: u64) -> T {
    let Rows { count, len } = template.rows_of_batch();
    template.from_host(numbers(seed, count * len)).unwrap()
}

fn level() -> NoiseLevel {
    NoiseLevel::from_alpha_bar(0.3).unwrap()
}

/// Coefficients of all forms a step can have: DDIM without and with noise, DDPM, and x̂₀ alone; every threshold.
fn coefficients() -> Vec<Coefficients> {
    let combinations = [
        Combination::new(0.8, 0.0, 0.5, 0.0),
        Combination::new(0.8, 0.0, 0.4, 0.3),
        Combination::new(0.3, 0.6, 0.0, 0.2),
        Combination::new(1.0, 0.0, 0.0, 0.0),
    ];
    let thresholds = [
        Threshold::None,
        Threshold::Clip(0.7),
        Threshold::Dynamic { ratio: 0.9, max: 2.5 },
        Threshold::Dynamic { ratio: 0.5, max: 100.0 },
    ];
    let mut all = Vec::new();
    for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity] {
        for combination in combinations {
            for threshold in thresholds {
                for epsilon in [EpsilonAfter::Network, EpsilonAfter::Threshold] {
                    all.push(Coefficients::new(prediction, &level(), combination, threshold, epsilon).unwrap());
                }
            }
        }
    }
    all
}

/// Work is shared out in tasks of 32 blocks, among threads where the feature `rayon` is on and the tensor is large.
#[test]
fn the_fused_step_is_the_composed_one_beyond_a_tasks_border() {
    let all = coefficients();
    // ε-prediction: one of each combination, with and without a threshold.
    let some = [0, 2, 8, 10, 12, 15, 16, 18, 24].map(|index| all[index]);
    for (rows, len) in [(1, 32_767), (1, 32_768), (1, 32_769), (3, 10_000), (2, 40_000), (1, 131_073), (140, 1000)] {
        let template = Array2::<f32>::zeros((rows, len));
        let (x, m, z) = (like(&template, 7), like(&template, 8), like(&template, 9));
        let (naive_x, naive_m, naive_z) = (Naive::<f32>::of(&x), Naive::<f32>::of(&m), Naive::<f32>::of(&z));
        let mixed: Vec<_> = (0..rows).map(|row| some[row % some.len()]).collect();
        for k in some.iter().map(std::slice::from_ref).chain([&mixed[..]]) {
            let composed = naive_x.clone().step(naive_m.clone(), Some(&naive_z), k).unwrap().x;
            let fused = x.clone().step(m.clone(), Some(&z), k).unwrap().x;
            assert_bits(&fused.to_host().unwrap(), &composed.to_host());
        }
    }
}

/// Elements of half precision are widened, computed in f32, and rounded once.
#[cfg(feature = "half")]
#[test]
fn a_step_on_halves_is_the_step_on_floats_rounded_once() {
    use half::{bf16, f16};
    fn check<E: Element<Compute = f32>>() {
        let halves = |seed| Array2::<E>::from_elem((3, 50), E::default()).from_host(numbers(seed, 150)).unwrap();
        let floats = |halves: &Array2<E>| halves.mapv(E::widen);
        let (x, m, z) = (halves(1), halves(2), halves(3));
        for k in coefficients() {
            let half = x.clone().step(m.clone(), Some(&z), &[k]).unwrap().x;
            let single = floats(&x).step(floats(&m), Some(&floats(&z)), &[k]).unwrap().x;
            assert_eq!(half, single.mapv(E::narrow), "{k:?}");
        }
        let terms = [(0.3.into(), &x), ((-0.7).into(), &m), (1.1.into(), &z)];
        let combined = Array2::linear_combination(&terms).unwrap();
        let terms = [(0.3.into(), &floats(&x)), ((-0.7).into(), &floats(&m)), (1.1.into(), &floats(&z))];
        assert_eq!(combined, Array2::linear_combination(&terms).unwrap().mapv(E::narrow));
    }
    check::<f16>();
    check::<bf16>();
}

// Layouts.

/// Equal arrays in other memory layouts: column-major, every other element of a larger one, backwards, permuted.
fn layouts<E: Num>(standard: &Array3<E>) -> Vec<Array3<E>> {
    let (a, b, c) = standard.dim();
    let mut column_major = Array3::from_elem((a, b, c).f(), E::default());
    column_major.assign(standard);
    let mut strided = Array3::from_elem((a, 2 * b, 3 * c), E::from_f64(f64::NAN));
    strided.slice_axis_inplace(Axis(1), Slice::new(1, None, 2));
    strided.slice_axis_inplace(Axis(2), Slice::new(0, None, 3));
    strided.assign(standard);
    let mut backwards = Array3::from_elem((a, b, c), E::default());
    backwards.invert_axis(Axis(0));
    backwards.invert_axis(Axis(2));
    backwards.assign(standard);
    let mut permuted = Array3::from_elem((b, c, a), E::default()).permuted_axes([2, 0, 1]);
    permuted.assign(standard);
    let all = vec![standard.clone(), column_major, strided, backwards, permuted];
    assert!(all[1..].iter().all(|array| !array.is_standard_layout() && array == standard));
    all
}

#[test]
fn the_layout_in_memory_does_not_matter() {
    let template = Array3::<f32>::zeros((3, 4, 5));
    let standard = [1, 2, 3].map(|seed| like(&template, seed));
    let [xs, ms, zs] = standard.each_ref().map(layouts);
    let rows: Vec<Coefficients> = [3, 13, 30].map(|index| coefficients()[index]).to_vec();
    let [x, m, z] = &standard;
    let bounds = [0.5, 1.0, 1.5];
    for ((x_too, m_too), z_too) in xs.iter().flat_map(|x| ms.iter().map(move |m| (x, m))).zip(zs.iter().cycle()) {
        for rows in [&rows[..], &rows[..1], &rows[1..2], &rows[2..]] {
            let stepped = |x: &Array3<f32>, m: &Array3<f32>, z| x.clone().step(m.clone(), Some(z), rows).unwrap().x;
            assert_eq!(stepped(x_too, m_too, z_too), stepped(x, m, z));
        }
        let combined = |x, m| Array3::linear_combination(&[(0.3.into(), x), (Weights::PerRow(&bounds), m)]).unwrap();
        assert_eq!(combined(x_too, m_too), combined(x, m));
        assert_eq!(x_too.row_dot(m_too).unwrap(), x.row_dot(m).unwrap());
    }
    for x_too in &xs {
        assert_eq!(
            x_too.clone().clamp_abs(Weights::PerRow(&bounds)).unwrap(),
            x.clone().clamp_abs(Weights::PerRow(&bounds)).unwrap()
        );
        assert_eq!(x_too.abs_quantile(0.3).unwrap(), x.abs_quantile(0.3).unwrap());
        assert_eq!(x_too.row_variance().unwrap(), x.row_variance().unwrap());
        // Elements go to the host in row-major order whatever lies where.
        assert_eq!(x_too.to_host().unwrap(), x.to_host().unwrap());
        assert_eq!(x_too.from_host(x.to_host().unwrap()).unwrap(), *x);
    }
}

// Shapes.

fn refuses_shape<T: HostTensor + RowReduce + Clone>(x: &T, other: &T, shapes: (&[usize], &[usize])) {
    let k = [coefficients()[8]]; // adds noise
    for error in [
        T::linear_combination(&[(1.0.into(), x), (1.0.into(), other)]).err(),
        T::linear_combination(&[(1.0.into(), x), (0.0.into(), other)]).err(),
        x.clone().step(other.clone(), Some(x), &k).err(),
        x.clone().step(x.clone(), Some(other), &k).err(),
        x.row_dot(other).err(),
    ] {
        match error {
            Some(Error::Shape { expected, found, .. }) => assert_eq!((&expected[..], &found[..]), shapes),
            other => panic!("{shapes:?}: {other:?}"),
        }
    }
}

#[test]
fn shapes_must_agree_and_nothing_is_broadcast() {
    refuses_shape(&vec![1.0_f32; 6], &vec![1.0; 1], (&[6], &[1]));
    refuses_shape(&vec![1.0_f32; 6], &vec![1.0; 7], (&[6], &[7]));
    let x = Array2::<f32>::ones((2, 3));
    // As many elements otherwise arranged, and shapes that ndarray's own operators would broadcast.
    for other in [(3, 2), (1, 3), (2, 1), (1, 1), (2, 4)] {
        refuses_shape(&x, &Array2::ones(other), (&[2, 3], &[other.0, other.1]));
    }
    let x = ArrayD::<f64>::ones(IxDyn(&[2, 3]));
    for other in [&[3][..], &[], &[1, 2, 3], &[6]] {
        refuses_shape(&x, &ArrayD::ones(IxDyn(other)), (&[2, 3], other));
    }
}

fn refuses_emptiness<D: Dimension>(empty: &Array<f32, D>) {
    let k = [coefficients()[0]];
    let refused = [
        Array::linear_combination(&[(1.0.into(), empty)]).err(),
        empty.clone().step(empty.clone(), None, &k).err(),
        empty.row_dot(empty).err(),
        empty.row_variance().err(),
    ];
    for error in refused {
        match error {
            Some(Error::Empty { shape, .. }) => assert_eq!(shape, empty.shape()),
            other => panic!("{:?}: {other:?}", empty.shape()),
        }
    }
}

#[test]
fn tensors_without_elements_are_refused() {
    refuses_emptiness(&Array1::zeros(0));
    refuses_emptiness(&Array2::zeros((0, 3)));
    refuses_emptiness(&Array2::zeros((3, 0)));
    refuses_emptiness(&Array4::zeros((2, 3, 0, 4)));
    let empty = Vec::<f32>::new();
    let k = [coefficients()[0]];
    for error in [
        Vec::linear_combination(&[(1.0.into(), &empty)]).err(),
        empty.clone().step(empty.clone(), None, &k).err(),
        empty.row_dot(&empty).err(),
        empty.row_variance().err(),
        step_in_place::<f32>(&mut [], &[], None, &k).err(),
    ] {
        assert!(matches!(&error, Some(Error::Empty { shape, .. }) if *shape == [0]), "{error:?}");
    }
}

#[test]
fn a_combination_of_nothing_is_refused() {
    assert!(matches!(Array1::<f32>::linear_combination(&[]), Err(Error::Length { expected: 1, found: 0, .. })));
    assert!(matches!(Vec::<f32>::linear_combination(&[]), Err(Error::Length { expected: 1, found: 0, .. })));
}

// Quantiles and thresholds.

/// Any number that is not NaN, and often one of a few, so that rows have ties.
fn any_value() -> impl Strategy<Value = f64> {
    use prop::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        4 => -2.0_f64..2.0,
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 0.5]),
        1 => POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_quantile_is_that_of_the_sorted_magnitudes(
        values in prop::collection::vec(any_value(), 1..100),
        ratio in prop_oneof![0.0_f64..=1.0, Just(0.0), Just(0.5), Just(0.995), Just(1.0)],
    ) {
        assert_bits(&values.abs_quantile(ratio).unwrap(), &[naive_quantile(&values, ratio)]);
        let single: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let wide: Vec<f64> = single.iter().copied().map(f64::from).collect();
        assert_bits(&single.abs_quantile(ratio).unwrap(), &[naive_quantile(&wide, ratio)]);
    }

    #[test]
    fn a_step_is_the_formula_it_folds(
        x in prop::collection::vec(-3.0_f64..3.0, 1..40),
        weights in (-1.0_f64..1.0, -1.0_f64..1.0, -1.0_f64..1.0, 0.0_f64..1.0),
        alpha_bar in 0.05_f64..0.95,
        kind in 0_usize..3,
        threshold in 0_usize..3,
        after in any::<bool>(),
    ) {
        let level = NoiseLevel::from_alpha_bar(alpha_bar).unwrap();
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let (m, z) = (numbers(1, x.len()), numbers(2, x.len()));
        let prediction = [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity][kind];
        let threshold =
            [Threshold::None, Threshold::Clip(0.8), Threshold::Dynamic { ratio: 0.7, max: 2.0 }][threshold];
        let epsilon_after = if after { EpsilonAfter::Threshold } else { EpsilonAfter::Network };
        let (w_x0, w_x, w_eps, w_z) = weights;

        // x̂₀ and ε of the network, from x = √ᾱ·x₀ + √(1−ᾱ)·ε and v = √ᾱ·ε − √(1−ᾱ)·x₀.
        let x0: Vec<f64> = x.iter().zip(&m).map(|(x, m)| match prediction {
            Prediction::Epsilon => (x - noise * m) / signal,
            Prediction::Sample => *m,
            _ => signal * x - noise * m,
        }).collect();
        let eps: Vec<f64> = x.iter().zip(&x0).map(|(x, x0)| (x - signal * x0) / noise).collect();
        // Thresholds; the dynamic one is Saharia et al. 2022, section 2.3.
        let thresholded: Vec<f64> = match threshold {
            Threshold::Clip(range) => x0.iter().map(|x0| x0.clamp(-range, range)).collect(),
            Threshold::Dynamic { ratio, max } => {
                let s = naive_quantile(&x0, ratio).clamp(1.0, max);
                x0.iter().map(|x0| x0.clamp(-s, s) / s).collect()
            }
            _ => x0,
        };
        let eps = if after {
            x.iter().zip(&thresholded).map(|(x, x0)| (x - signal * x0) / noise).collect()
        } else {
            eps
        };
        let combination = Combination::new(w_x0, w_x, w_eps, w_z);
        let k = Coefficients::new(prediction, &level, combination, threshold, epsilon_after).unwrap();
        let found = x.clone().step(m, Some(&z), &[k]).unwrap().x;
        for i in 0..x.len() {
            let wanted = w_x0 * thresholded[i] + w_x * x[i] + w_eps * eps[i] + w_z * z[i];
            // Magnitudes are below 3·(1 + 1/signal)·(1 + 1/noise).
            let scale = 3.0 * (1.0 + 1.0 / signal) * (1.0 + 1.0 / noise);
            prop_assert!((found[i] - wanted).abs() < 1e-15 * scale * 4.0, "{} for {}", found[i], wanted);
        }
    }
}

#[test]
fn dynamic_thresholding_is_per_sample() {
    // x̂₀ = m; row 0 lies inside ±1 and stays, row 1 has s = 2, row 2 is held to the largest s = 4.
    let (x, m) = (Array2::<f64>::zeros((3, 3)), array![[0.5, -0.25, 1.0], [1.0, -2.0, 3.0], [8.0, -10.0, 1.0]]);
    let threshold = Threshold::Dynamic { ratio: 0.5, max: 4.0 };
    let keep_x0 = Combination::new(1.0, 0.0, 0.0, 0.0);
    let k = Coefficients::new(Prediction::Sample, &level(), keep_x0, threshold, EpsilonAfter::Network).unwrap();
    let x0 = x.step(m, None, &[k]).unwrap().x;
    assert_eq!(x0, array![[0.5, -0.25, 1.0], [0.5, -1.0, 1.0], [1.0, -1.0, 0.25]]);
}

#[test]
fn nan_passes_through_every_threshold() {
    let keep_x0 = Combination::new(1.0, 0.0, 0.0, 0.0);
    let (x, m) = (Array2::<f32>::zeros((2, 3)), array![[0.5_f32, f32::NAN, 5.0], [0.5, -2.0, 5.0]]);
    for (threshold, of_first_row) in [
        (Threshold::None, [false, true, false]),
        (Threshold::Clip(1.0), [false, true, false]),
        // The quantile of a row with a NaN is NaN, and so is what is divided by it.
        (Threshold::Dynamic { ratio: 0.5, max: 2.0 }, [true, true, true]),
    ] {
        let k = Coefficients::new(Prediction::Sample, &level(), keep_x0, threshold, EpsilonAfter::Network).unwrap();
        let x0 = x.clone().step(m.clone(), None, &[k]).unwrap().x;
        assert_eq!(x0.row(0).map(|x0| x0.is_nan()).to_vec(), of_first_row, "{threshold:?}");
        assert!(x0.row(1).iter().all(|x0| x0.is_finite()), "{threshold:?}");
    }
}

#[test]
fn an_overflowing_prediction_is_thresholded_and_not_lost() {
    // Two infinities side by side: the quantile between them is infinite, and held to the largest s.
    let m = vec![f32::INFINITY, 1.0, f32::NEG_INFINITY];
    assert_eq!(m.abs_quantile(0.75).unwrap(), [f64::INFINITY]);
    let keep_x0 = Combination::new(1.0, 0.0, 0.0, 0.0);
    let threshold = Threshold::Dynamic { ratio: 0.75, max: 2.0 };
    let k = Coefficients::new(Prediction::Sample, &level(), keep_x0, threshold, EpsilonAfter::Network).unwrap();
    assert_eq!(vec![0.0; 3].step(m, None, &[k]).unwrap().x, [1.0, 0.5, -1.0]);
}

#[test]
fn a_zero_coefficient_keeps_nan_out_of_a_step() {
    let nan = vec![f64::NAN; 3];
    let zeros = vec![0.0; 3];
    let new = |combination, threshold| {
        Coefficients::new(Prediction::Sample, &NoiseLevel::PURE_NOISE, combination, threshold, EpsilonAfter::Network)
            .unwrap()
    };
    for threshold in [Threshold::None, Threshold::Clip(9.0), Threshold::Dynamic { ratio: 1.0, max: 9.0 }] {
        // At ᾱ = 0, x̂₀ is the network's output alone, p = 0; a step that keeps only x̂₀ takes nothing of x or of z.
        let k = new(Combination::new(1.0, 0.0, 0.0, 0.0), threshold);
        assert_eq!(nan.clone().step(vec![0.5; 3], Some(&nan), &[k]).unwrap().x, [0.5; 3]);
        // And one that keeps x alone takes nothing of the network.
        let k = new(Combination::new(0.0, 1.0, 0.0, 0.0), threshold);
        assert_eq!(vec![0.5; 3].step(nan.clone(), Some(&zeros), &[k]).unwrap().x, [0.5; 3]);
    }
}

// Rounding.

#[test]
fn coefficients_are_rounded_to_the_element_type_once() {
    let k = coefficients()[8]; // DDIM with noise, ε-prediction, no threshold
    let (x, m, z) = (numbers(1, 50), numbers(2, 50), numbers(3, 50));
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let (x32, m32, z32) = (single(&x), single(&m), single(&z));
    let stepped = x32.clone().step(m32.clone(), Some(&z32), &[k]).unwrap().x;
    for i in 0..50 {
        // No fused multiply-add: each product is rounded before it is added.
        assert_eq!(stepped[i], k.x as f32 * x32[i] + k.model as f32 * m32[i] + k.d as f32 * z32[i]);
    }
    assert!(k.d > 0.0 && k.threshold == Threshold::None);
}

// In place.

#[test]
fn slices_step_as_arrays_do() {
    let template = Array2::<f32>::zeros((3, 11));
    let (x, m, z) = (like(&template, 1), like(&template, 2), like(&template, 3));
    for rows in coefficients().windows(3).flat_map(|rows| [rows, &rows[..1]]) {
        if rows.len() == 1 && matches!(rows[0].threshold, Threshold::Dynamic { .. }) {
            continue; // one set of coefficients makes one row of a slice, and three of the array
        }
        let array = x.clone().step(m.clone(), Some(&z), rows).unwrap().x;
        let mut slice = x.as_slice().unwrap().to_vec();
        step_in_place(&mut slice, m.as_slice().unwrap(), z.as_slice(), rows).unwrap();
        assert_eq!(slice, array.as_slice().unwrap());
    }
}

#[test]
fn a_refused_step_in_place_leaves_x_as_it_was() {
    let all = coefficients();
    let (quiet, noisy) = (all[0], all[8]);
    let x = [0.5_f64, -1.0, 2.0, 0.25];
    let mut after = x;
    let mut refused = |m: &[f64], z: Option<&[f64]>, rows: &[Coefficients]| {
        let error = step_in_place(&mut after, m, z, rows).unwrap_err();
        assert_eq!(after, x);
        error
    };
    let lengths = |error: Error| match error {
        Error::Shape { expected, found, .. } => (expected[0], found[0]),
        other => panic!("{other:?}"),
    };
    assert_eq!(lengths(refused(&[0.0; 3], None, &[quiet])), (4, 3));
    assert_eq!(lengths(refused(&[0.0; 4], Some(&[0.0; 5]), &[noisy])), (4, 5));
    assert!(matches!(refused(&[0.0; 4], None, &[noisy]), Error::MissingNoise { d } if d == noisy.d));
    assert!(matches!(refused(&[0.0; 4], None, &[quiet, noisy]), Error::MissingNoise { .. }));
    assert!(matches!(refused(&[0.0; 4], None, &[]), Error::Rows { found: 0, .. }));
    assert!(matches!(refused(&[0.0; 4], None, &[quiet; 3]), Error::UnevenSamples { elements: 4, samples: 3 }));
}

#[test]
fn a_step_writes_where_x_lay_and_hands_the_networks_buffer_back() {
    let k = coefficients()[0];
    let (x, m) = (vec![1.0_f32; 100], vec![0.5_f32; 100]);
    let (at_x, at_m) = (x.as_ptr(), m.as_ptr());
    let stepped = x.step(m, None, &[k]).unwrap();
    assert_eq!((stepped.x.as_ptr(), stepped.spare.as_ref().unwrap().as_ptr()), (at_x, at_m));
    let (x, m) = (Array2::<f32>::ones((10, 10)), Array2::<f32>::ones((10, 10)));
    let (at_x, at_m) = (x.as_ptr(), m.as_ptr());
    let stepped = x.step(m, None, &[k]).unwrap();
    assert_eq!((stepped.x.as_ptr(), stepped.spare.as_ref().unwrap().as_ptr()), (at_x, at_m));
}

// Reductions.

/// In one pass, as the difference of two means, all digits of the first row are lost, and those of the second past the seventh,
/// also if the first element is subtracted before.
#[test]
fn variances_are_taken_in_two_passes() {
    // 10⁹ + i and, beside one element far off, numbers that are exact in binary.
    let count = 100_000_i64;
    let near: Vec<i64> = (0..count).map(|i| 1_000_000_000 + i % 7).collect();
    let mut far: Vec<i64> = (0..count).map(|i| i % 5).collect();
    far[0] = 1 << 40;
    for row in [near, far] {
        // n²·variance = n·Σx² − (Σx)², in whole numbers.
        let (sum, squares) = row
            .iter()
            .fold((0_i128, 0_i128), |(sum, squares), x| (sum + i128::from(*x), squares + i128::from(*x).pow(2)));
        let exact = (i128::from(count) * squares - sum * sum) as f64 / (count as f64).powi(2);
        let values: Vec<f64> = row.iter().map(|x| *x as f64).collect();
        let array = Array2::from_shape_vec((2, values.len()), [values.clone(), values.clone()].concat()).unwrap();
        for found in values.row_variance().unwrap().into_iter().chain(array.row_variance().unwrap()) {
            // Sums of 10⁵ terms round at 1e-12.
            assert!((found / exact - 1.0).abs() < 1e-11, "{found:e} for {exact:e}");
        }
    }
}

// Domains.

#[test]
fn ratios_bounds_and_deviations_have_domains() {
    fn name(error: Error) -> &'static str {
        match error {
            Error::Parameter { name, .. } => name,
            other => panic!("{other:?}"),
        }
    }
    fn check<T: Tensor + Clone>(x: &T) {
        for wrong in [1.5, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(name(x.abs_quantile(wrong).unwrap_err()), "the ratio of a quantile");
        }
        for wrong in [-0.5, f64::NAN] {
            assert_eq!(name(x.clone().clamp_abs(wrong.into()).err().unwrap()), "the bound of a clamp");
            let per_row = [wrong];
            assert_eq!(name(x.clone().clamp_abs(Weights::PerRow(&per_row)).err().unwrap()), "the bound of a clamp");
        }
        for wrong in [f64::NAN, f64::INFINITY] {
            assert!(name(x.times_exp(x, wrong.into(), 1.0.into()).err().unwrap()).contains("factor k"));
            assert!(name(x.times_exp(x, 1.0.into(), wrong.into()).err().unwrap()).contains("deviation"));
        }
        assert!(name(x.times_exp(x, 1.0.into(), (-1.0).into()).err().unwrap()).contains("deviation"));
        assert!(x.clone().clamp_abs(f64::INFINITY.into()).is_ok() && x.clone().clamp_abs(0.0.into()).is_ok());
    }
    check(&vec![1.0_f64, 2.0]);
    check(&Array2::<f32>::ones((1, 3)));
    check(&Batch::new(vec![1.0_f32; 3], 1).unwrap());
    // A row that does not exist is an error, also the last one there could be.
    assert!(matches!(Weights::PerRow(&[]).of_row(usize::MAX), Err(Error::Rows { found: 0, .. })));
}

// A batch without ndarray.

#[test]
fn a_batch_is_an_array_of_its_rows() {
    let values: Vec<f32> = numbers(1, 12).into_iter().map(|value| value as f32).collect();
    let batch = Batch::new(values.clone(), 3).unwrap();
    assert_eq!(batch.rows_of_batch(), Rows { count: 3, len: 4 });
    assert_eq!((batch.row(1), batch.row(3)), (Some(&values[4..8]), None));
    let array = Array2::from_shape_vec((3, 4), values.clone()).unwrap();
    let rows = [0, 8, 10].map(|index| coefficients()[index]);
    let (m, z) = (batch.map(|x| 0.5 * x), batch.map(|x| -x));
    let stepped = batch.clone().step(m.clone(), Some(&z), &rows).unwrap();
    let wanted = array.clone().step(array.mapv(|x| 0.5 * x), Some(&array.mapv(|x| -x)), &rows).unwrap();
    assert_eq!(stepped.x.as_slice(), wanted.x.as_slice().unwrap());
    assert_eq!(stepped.spare.unwrap(), m);
    let mut batch = batch;
    batch.as_mut_slice()[0] = 7.0;
    assert_eq!(batch.into_vec()[..2], [7.0, values[1]]);
}

#[test]
fn a_batch_has_equal_rows() {
    let batch = |elements, rows| Batch::new(vec![0.0_f32; elements], rows).unwrap_err();
    assert!(matches!(batch(0, 3), Error::Empty { shape, .. } if shape == [3, 0]));
    assert!(matches!(batch(4, 0), Error::Count { value: 0, min: 1, max: 4, .. }));
    assert!(matches!(batch(4, 5), Error::Count { value: 5, min: 1, max: 4, .. }));
    assert!(matches!(batch(4, usize::MAX), Error::Count { .. }));
    assert!(matches!(batch(7, 3), Error::UnevenSamples { elements: 7, samples: 3 }));
}

// What a backend need not offer.

#[test]
fn a_tensor_without_a_quantile_says_so_where_it_is_needed() {
    #[derive(Debug)]
    struct Least(Naive<f32>);
    impl Tensor for Least {
        fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
            let terms: Vec<_> = terms.iter().map(|(weights, tensor)| (*weights, &tensor.0)).collect();
            Naive::linear_combination(&terms).map(Least)
        }
        fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
            self.0.clamp_abs(bound).map(Least)
        }
    }
    let one = || Least(Naive { rows: 1, values: vec![1.0_f32] });
    let all = coefficients();
    assert!(one().step(one(), None, &all[..1]).is_ok());
    let dynamic = all.iter().find(|k| matches!(k.threshold, Threshold::Dynamic { .. })).unwrap();
    let error = one().step(one(), None, &[*dynamic]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { operation } if operation.contains("abs_quantile")));
}

/// A backend may clamp by what panics for a NaN bound, `f32::clamp`; a row that holds a NaN becomes NaN all the same.
#[test]
fn no_backend_is_asked_to_clamp_to_nan() {
    #[derive(Clone, Debug)]
    struct Panicking(Naive<f32>);
    impl Tensor for Panicking {
        fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
            let terms: Vec<_> = terms.iter().map(|(weights, tensor)| (*weights, &tensor.0)).collect();
            Naive::linear_combination(&terms).map(Panicking)
        }
        fn clamp_abs(mut self, bound: Weights<'_>) -> Result<Self, Error> {
            for index in 0..self.0.values.len() {
                let bound = bound.of_row(self.0.row(index))? as f32;
                self.0.values[index] = self.0.values[index].clamp(-bound, bound);
            }
            Ok(self)
        }
        fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
            self.0.abs_quantile(ratio)
        }
    }
    let x = Panicking(Naive { rows: 2, values: vec![0.5, f32::NAN, 1.0, 5.0] });
    for k in coefficients() {
        let composed = x.clone().step(x.clone(), Some(&x), &[k]).unwrap().x;
        let array = Array2::from_shape_vec((2, 2), x.0.values.clone()).unwrap();
        let fused = array.clone().step(array.clone(), Some(&array), &[k]).unwrap().x;
        assert_bits(&fused.to_host().unwrap(), &composed.0.to_host());
    }
}

#[test]
fn an_array_without_axes_is_one_sample_of_one_element() {
    let x = arr0(2.0_f64);
    assert_eq!(x.rows_of_batch(), Rows { count: 1, len: 1 });
    let k = coefficients()[0];
    let stepped = x.step(arr0(0.5), None, &[k]).unwrap().x;
    assert_eq!(stepped.into_scalar(), k.x * 2.0 + k.model * 0.5);
}

#[test]
fn weights_are_by_row() {
    let weights = [0.0, 2.0];
    assert_eq!((Weights::All(3.0).of_row(9).unwrap(), Weights::PerRow(&weights).of_row(1).unwrap()), (3.0, 2.0));
    assert!(matches!(Weights::PerRow(&weights).of_row(2), Err(Error::Rows { expected: 3, found: 2 })));
    assert!(Weights::PerRow(&weights).check_rows(2).is_ok() && Weights::All(1.0).check_rows(5).is_ok());
    assert!(matches!(Weights::PerRow(&weights).check_rows(3), Err(Error::Rows { expected: 3, found: 2 })));
    assert!(
        Weights::All(-0.0).are_zero() && !Weights::PerRow(&weights).are_zero() && !Weights::All(f64::NAN).are_zero()
    );
}

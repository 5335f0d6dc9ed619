//! The fused step is the formula, element by element and bit by bit: for every element type, layout, number of threads, kind of
//! noise, and lengths around the borders of vectors, blocks and tasks.

use alphabar::{
    Batch, Coefficients, Combination, DpmSolverPp, Element, EpsilonAfter, Error, History, HostTensor, Kept, Memory,
    NoiseLevel, NoiseSchedule, NormalStream, Plan, Prediction, Real, Stepped, Tensor, Threshold, Timesteps, Weights,
    step_in_place_with_memory,
};
use ndarray::{Array2, Axis, ShapeBuilder, Slice};
use proptest::prelude::*;

/// x′ of one row, and what it keeps (`None` for nothing), as one would first write it, in the type of the arithmetic: each product and
/// each sum rounded, terms of weight 0 left out, and the result rounded to the element once.
fn naive_row<E: Element>(
    x: &[E],
    m: &[E],
    outputs: &[(usize, Vec<E>)],
    z: &[f64],
    k: &Coefficients,
) -> (Vec<E>, Option<Vec<E>>) {
    type C<E> = <E as Element>::Compute;
    let sum = |terms: &[(f64, C<E>)]| {
        let live = terms.iter().filter(|(weight, _)| *weight != 0.0);
        // x + −0 is x for every x.
        live.fold(C::<E>::nearest(-0.0), |sum, (weight, value)| sum + C::<E>::nearest(*weight) * *value)
    };
    let x0: Vec<C<E>> = x.iter().zip(m).map(|(x, m)| sum(&[(k.p, x.widen()), (k.q, m.widen())])).collect();
    let (bound, divisor) = match k.threshold {
        Threshold::Clip(range) => (range, 1.0),
        Threshold::Dynamic { ratio, max } => {
            let mut sorted: Vec<f64> = x0.iter().map(|x0| x0.to_f64().abs()).collect();
            sorted.sort_by(f64::total_cmp);
            let position = ratio * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
            let s = (low + (high - low) * (position - position.floor())).clamp(1.0, max);
            (s, s)
        }
        _ => (f64::INFINITY, 1.0),
    };
    let bound = C::<E>::nearest(bound);
    let mut history: Vec<(usize, f64)> = k.history.iter().collect();
    history.sort_by_key(|(age, _)| *age);
    let elements = (0..x.len()).map(|e| {
        let (x, m, x0) = (x[e].widen(), m[e].widen(), x0[e].clamp_abs(bound));
        let folded = k.threshold == Threshold::None;
        let mut terms =
            if folded { vec![(k.x, x), (k.model, m)] } else { vec![(k.a / divisor, x0), (k.b, x), (k.c, m)] };
        terms.extend(history.iter().map(|(age, weight)| {
            let (_, output) = outputs.iter().find(|(of, _)| of == age).unwrap();
            (*weight, output[e].widen())
        }));
        terms.push((k.d, C::<E>::nearest(z[e])));
        let kept = k.kept.map(|kept| {
            let terms = if folded {
                vec![(kept.folded_x, x), (kept.folded_model, m)]
            } else {
                vec![(kept.x0 / divisor, x0), (kept.x, x), (kept.model, m)]
            };
            E::narrow(sum(&terms))
        });
        (E::narrow(sum(&terms)), kept)
    });
    let (next, kept): (Vec<E>, Vec<Option<E>>) = elements.unzip();
    (next, kept.into_iter().collect())
}

/// Numbers in (−3, 3) that the element type holds.
fn numbers<E: Element>(seed: u64, len: usize) -> Vec<E> {
    (1..=len as u64)
        .map(|i| {
            let word = (i + 1_000_003 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            E::from_f64((word >> 11) as f64 / (1_u64 << 53) as f64 * 6.0 - 3.0)
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor,
    ColumnMajor,
    Strided,
    Backwards,
}

/// Equal arrays in other memory layouts.
fn laid_out<E: Element>(standard: Array2<E>, layout: Layout) -> Array2<E> {
    let (rows, len) = standard.dim();
    match layout {
        Layout::RowMajor => standard,
        Layout::ColumnMajor => {
            let mut other = Array2::from_elem((rows, len).f(), E::default());
            other.assign(&standard);
            other
        }
        Layout::Strided => {
            let mut other = Array2::from_elem((rows, 2 * len), E::from_f64(f64::NAN));
            other.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
            other.assign(&standard);
            other
        }
        Layout::Backwards => {
            let mut other = Array2::from_elem((rows, len), E::default());
            other.invert_axis(Axis(1));
            other.assign(&standard);
            other
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Noise {
    Tensor,
    Streams,
}

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    len: usize,
    layout: Layout,
    noise: Noise,
    threads: usize,
    per_row: bool,
    coefficients: Vec<Coefficients>,
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    #[cfg(feature = "rayon")]
    return rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work);
    #[cfg(not(feature = "rayon"))]
    {
        let _ = threads;
        work()
    }
}

fn check<E: Element>(case: &Case) -> Result<(), TestCaseError> {
    let Case { rows, len, layout, noise, threads, per_row, ref coefficients } = *case;
    let rows_of: Vec<Coefficients> =
        (0..rows).map(|row| coefficients[if per_row { row % coefficients.len() } else { 0 }]).collect();
    let given = if per_row { &rows_of[..] } else { &rows_of[..1] };
    let array = |seed| Array2::from_shape_vec((rows, len), numbers::<E>(seed, rows * len)).unwrap();
    let (x, m) = (array(1), array(2));
    let streams: Vec<NormalStream> = (0..rows as u64).map(|row| NormalStream::new(5, row, 3)).collect();
    let z = match noise {
        Noise::Tensor => array(3).to_host().unwrap(),
        Noise::Streams => streams
            .iter()
            .flat_map(|stream| {
                let mut z = vec![0.0_f32; len];
                stream.fill(0, &mut z);
                z.into_iter().map(f64::from)
            })
            .collect(),
    };
    let found = with_threads(threads, || {
        let (x, m) = (laid_out(x.clone(), layout), laid_out(m.clone(), layout));
        match noise {
            Noise::Tensor => x.step(m, Some(&laid_out(array(3), layout)), given).unwrap().x,
            Noise::Streams => x.step_with_streams(m, &Memory::default(), &streams, given).unwrap().x,
        }
    });
    for row in 0..rows {
        let place = row * len..(row + 1) * len;
        let (x, m) = (&x.as_slice().unwrap()[place.clone()], &m.as_slice().unwrap()[place.clone()]);
        for (e, wanted) in naive_row(x, m, &[], &z[place], &rows_of[row]).0.into_iter().enumerate() {
            let found = found[(row, e)];
            prop_assert!(
                found.to_f64().to_bits() == wanted.to_f64().to_bits(),
                "row {row}, element {e}: {found:?} for {wanted:?} with {:?}",
                rows_of[row]
            );
        }
    }
    Ok(())
}

fn coefficients() -> impl Strategy<Value = Coefficients> {
    let combination = prop_oneof![
        Just(Combination::new(0.8, 0.0, 0.5, 0.0)), // DDIM
        Just(Combination::new(0.8, 0.0, 0.4, 0.3)), // with noise
        Just(Combination::new(0.3, 0.6, 0.0, 0.2)), // DDPM
        Just(Combination::new(1.0, 0.0, 0.0, 0.0)), // the last step
        (0.1..1.0, -0.5..0.5, 0.0..0.9, 0.0..0.5).prop_map(|(x0, x, eps, z)| Combination::new(x0, x, eps, z)),
    ];
    let threshold = prop_oneof![
        Just(Threshold::None),
        Just(Threshold::Clip(1.0)),
        (0.5..1.0).prop_map(|ratio| Threshold::Dynamic { ratio, max: 4.0 }),
    ];
    let prediction = prop::sample::select(vec![Prediction::Epsilon, Prediction::Sample, Prediction::Velocity]);
    let epsilon = prop::sample::select(vec![EpsilonAfter::Network, EpsilonAfter::Threshold]);
    (combination, threshold, prediction, epsilon, 0.01..0.99).prop_map(
        |(combination, threshold, kind, epsilon, level)| {
            let level = NoiseLevel::from_alpha_bar(level).unwrap();
            Coefficients::new(kind, &level, combination, threshold, epsilon).unwrap()
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    // Of vectors (8, 16), groups of noise (128), blocks (1024), tasks (32 · 1024) and where threads are first used (2¹⁵, 2¹⁷).
    let borders = vec![1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 4095, 4096, 4097];
    let sizes = prop_oneof![
        8 => (1_usize..5, prop::sample::select(borders)),
        1 => prop::sample::select(vec![(1, 32_767), (1, 32_769), (3, 12_000), (1, 131_073), (2, 65_537), (140, 1000)]),
    ];
    let layouts = vec![Layout::RowMajor, Layout::ColumnMajor, Layout::Strided, Layout::Backwards];
    (
        sizes,
        prop::sample::select(layouts),
        prop::sample::select(vec![Noise::Tensor, Noise::Streams]),
        prop::sample::select(vec![1_usize, 2, 3, 8]),
        any::<bool>(),
        prop::collection::vec(coefficients(), 1..4),
    )
        .prop_map(|((rows, len), layout, noise, threads, per_row, coefficients)| Case {
            rows,
            len,
            layout,
            noise,
            threads,
            per_row,
            coefficients,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_step_is_its_formula_in_f32(case in cases()) {
        check::<f32>(&case)?;
    }

    #[test]
    fn a_step_is_its_formula_in_f64(case in cases()) {
        check::<f64>(&case)?;
    }
}

#[cfg(feature = "half")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_step_is_its_formula_in_f16(case in cases()) {
        check::<half::f16>(&case)?;
    }

    #[test]
    fn a_step_is_its_formula_in_bf16(case in cases()) {
        check::<half::bf16>(&case)?;
    }
}

/// An array that steps by the operations that every tensor has.
struct Composed<E>(Array2<E>);

impl<E: Element> Tensor for Composed<E> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let terms: Vec<_> = terms.iter().map(|(weights, Self(tensor))| (*weights, tensor)).collect();
        Tensor::linear_combination(&terms).map(Self)
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        self.0.clamp_abs(bound).map(Self)
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        self.0.abs_quantile(ratio)
    }
}

/// A row's weights of what it keeps, by the struct that a plan makes.
fn kept(x0: f64, x: f64, model: f64, folded_x: f64, folded_model: f64) -> Kept {
    let plan = Plan::new(
        &NoiseSchedule::ddpm().unwrap(),
        &Timesteps::trailing(1000, 10).unwrap(),
        &DpmSolverPp::multistep(2).unwrap(),
    );
    let mut kept = plan.unwrap().steps()[0].coefficients.kept.unwrap();
    (kept.x0, kept.x, kept.model, kept.folded_x, kept.folded_model) = (x0, x, model, folded_x, folded_model);
    kept
}

const AGES: [usize; 6] = [1, 2, 3, 4, 9, 255];

fn same_bits<E: Element>(what: &str, found: &[E], wanted: &[E], k: &Coefficients) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), wanted.len());
    for (e, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same = found.to_f64().to_bits() == wanted.to_f64().to_bits();
        prop_assert!(same, "{what}, element {e}: {found:?} for {wanted:?} with {k:?}");
    }
    Ok(())
}

/// `W` is the type of the arithmetic, as elements.
fn check_memory<E: Element, W: Element>(case: &Case) -> Result<(), TestCaseError> {
    let Case { rows, len, layout, noise, threads, per_row, ref coefficients } = *case;
    let rows_of: Vec<Coefficients> =
        (0..rows).map(|row| coefficients[if per_row { row % coefficients.len() } else { 0 }]).collect();
    let given = if per_row { &rows_of[..] } else { &rows_of[..1] };
    let array = |seed| Array2::from_shape_vec((rows, len), numbers::<E>(seed, rows * len)).unwrap();
    let (x, m) = (array(1), array(2));
    let read = |age: usize| given.iter().any(|k| k.history.weight(age) != 0.0);
    // What no row reads would be seen.
    let outputs: Vec<(usize, Array2<E>)> = AGES
        .iter()
        .map(|age| (*age, if read(*age) { array(10 + *age as u64) } else { array(1).mapv(|_| E::from_f64(f64::NAN)) }))
        .collect();
    let streams: Vec<NormalStream> = (0..rows as u64).map(|row| NormalStream::new(5, row, 3)).collect();
    let z: Vec<f64> = match noise {
        Noise::Tensor => array(3).to_host().unwrap(),
        Noise::Streams => streams
            .iter()
            .flat_map(|stream| {
                let mut z = vec![0.0_f32; len];
                stream.fill(0, &mut z);
                z.into_iter().map(f64::from)
            })
            .collect(),
    };
    let memory = Memory::new(outputs.iter().map(|(age, y)| (*age, laid_out(y.clone(), layout)))).unwrap();
    let found = with_threads(threads, || {
        let (x, m) = (laid_out(x.clone(), layout), laid_out(m.clone(), layout));
        match noise {
            Noise::Tensor => x.step_with_memory(m, &memory, Some(&laid_out(array(3), layout)), given).unwrap(),
            Noise::Streams => x.step_with_streams(m, &memory, &streams, given).unwrap(),
        }
    });
    let keeps = given.iter().any(|k| k.kept.is_some());
    prop_assert_eq!((found.kept.is_some(), found.spare.is_some()), (keeps, !keeps));

    // By its formula.
    for (row, k) in rows_of.iter().enumerate() {
        let place = row * len..(row + 1) * len;
        let of = |array: &Array2<E>| array.as_slice().unwrap()[place.clone()].to_vec();
        let outputs: Vec<(usize, Vec<E>)> = outputs.iter().map(|(age, y)| (*age, of(y))).collect();
        let (next, kept) = naive_row(&of(&x), &of(&m), &outputs, &z[place.clone()], k);
        same_bits(&format!("x′ of row {row}"), &of(&found.x), &next, k)?;
        if let Some(kept) = kept {
            same_bits(&format!("y of row {row}"), &of(found.kept.as_ref().unwrap()), &kept, k)?;
        }
    }

    // By the operations that every tensor has, in the type of the arithmetic.
    let wide = |array: &Array2<E>| Composed(array.mapv(|value| W::from_f64(value.to_f64())));
    let narrow =
        |Composed(array): &Composed<W>| -> Vec<E> { array.iter().map(|value| E::from_f64(value.to_f64())).collect() };
    let wide_z = Composed(Array2::from_shape_vec((rows, len), z.iter().map(|z| W::from_f64(*z)).collect()).unwrap());
    let wide_memory = Memory::new(outputs.iter().map(|(age, y)| (*age, wide(y)))).unwrap();
    let composed = wide(&x).step_with_memory(wide(&m), &wide_memory, Some(&wide_z), given).unwrap();
    same_bits("x′ composed", found.x.as_slice().unwrap(), &narrow(&composed.x), &given[0])?;
    prop_assert_eq!(composed.kept.is_some(), keeps);
    for row in (0..rows).filter(|row| rows_of[*row].kept.is_some()) {
        let place = row * len..(row + 1) * len;
        let found = &found.kept.as_ref().unwrap().as_slice().unwrap()[place.clone()];
        same_bits("y composed", found, &narrow(composed.kept.as_ref().unwrap())[place], &rows_of[row])?;
    }

    // The other tensors of the CPU, and slices.
    let batch = |array: &Array2<E>| Batch::new(array.as_slice().unwrap().to_vec(), rows).unwrap();
    let batches = Memory::new(outputs.iter().map(|(age, y)| (*age, batch(y)))).unwrap();
    let Stepped { x: of_batch, kept: kept_of_batch, .. } = match noise {
        Noise::Tensor => batch(&x).step_with_memory(batch(&m), &batches, Some(&batch(&array(3))), given).unwrap(),
        Noise::Streams => batch(&x).step_with_streams(batch(&m), &batches, &streams, given).unwrap(),
    };
    same_bits("a batch", of_batch.as_slice(), found.x.as_slice().unwrap(), &given[0])?;
    prop_assert_eq!(kept_of_batch.is_some(), keeps);
    if let (Some(of_batch), Some(found)) = (kept_of_batch, &found.kept) {
        same_bits("what a batch keeps", of_batch.as_slice(), found.as_slice().unwrap(), &given[0])?;
    }
    if let Noise::Tensor = noise {
        let (mut x, mut m, before) = (x.clone(), m.clone(), m);
        let outputs: Vec<(usize, &[E])> = outputs.iter().map(|(age, y)| (*age, y.as_slice().unwrap())).collect();
        let z = array(3);
        let (x, m) = (x.as_slice_mut().unwrap(), m.as_slice_mut().unwrap());
        let kept = step_in_place_with_memory(x, m, &outputs, z.as_slice(), &rows_of).unwrap();
        prop_assert_eq!(kept, keeps);
        same_bits("a slice", x, found.x.as_slice().unwrap(), &given[0])?;
        for (row, k) in rows_of.iter().enumerate() {
            let place = row * len..(row + 1) * len;
            let wanted = if k.kept.is_some() { found.kept.as_ref().unwrap() } else { &before };
            same_bits("m afterwards", &m[place.clone()], &wanted.as_slice().unwrap()[place], k)?;
        }
    }
    Ok(())
}

fn remembering() -> impl Strategy<Value = Coefficients> {
    let weight = || prop_oneof![2 => -1.5..1.5_f64, 1 => Just(0.0), 1 => Just(1.0)];
    let history = prop::sample::subsequence(AGES.to_vec(), 0..=4).prop_shuffle();
    let keeps = prop::option::weighted(0.7, (weight(), weight(), weight(), weight(), weight()));
    (coefficients(), history, prop::collection::vec(-1.0..1.0_f64, 4), keeps).prop_map(|(k, ages, weights, keeps)| {
        let mut k = k;
        k.history = History::new(ages.into_iter().zip(weights)).unwrap();
        k.kept = keeps.map(|(x0, x, model, folded_x, folded_model)| kept(x0, x, model, folded_x, folded_model));
        k
    })
}

fn remembering_cases() -> impl Strategy<Value = Case> {
    (cases(), prop::collection::vec(remembering(), 1..4)).prop_map(|(case, coefficients)| Case { coefficients, ..case })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_step_that_remembers_is_its_formula_in_f32(case in remembering_cases()) {
        check_memory::<f32, f32>(&case)?;
    }

    #[test]
    fn a_step_that_remembers_is_its_formula_in_f64(case in remembering_cases()) {
        check_memory::<f64, f64>(&case)?;
    }
}

#[cfg(feature = "half")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_step_that_remembers_is_its_formula_in_f16(case in remembering_cases()) {
        check_memory::<half::f16, f32>(&case)?;
    }

    #[test]
    fn a_step_that_remembers_is_its_formula_in_bf16(case in remembering_cases()) {
        check_memory::<half::bf16, f32>(&case)?;
    }
}

/// Every number of terms, with and without z and what is kept, at every border: what random cases might miss.
#[test]
fn every_number_of_terms_meets_every_border() {
    let level = NoiseLevel::from_alpha_bar(0.4).unwrap();
    for len in [1, 7, 16, 17, 511, 512, 513, 1023, 1024, 1025, 32_768, 32_769] {
        for terms in 0..=4 {
            for (d, threshold) in [(0.0, Threshold::None), (0.3, Threshold::None), (0.3, Threshold::Clip(0.9))] {
                for keeps in [None, Some(kept(0.7, -0.2, 0.4, 1.3, -0.6))] {
                    let combination = Combination::new(0.6, 0.2, 0.3, d);
                    let mut k =
                        Coefficients::new(Prediction::Epsilon, &level, combination, threshold, EpsilonAfter::Network)
                            .unwrap();
                    k.history = History::new((1..=terms).map(|age| (age, 0.9 - 0.4 * age as f64))).unwrap();
                    k.kept = keeps;
                    for noise in [Noise::Tensor, Noise::Streams] {
                        let (coefficients, layout) = (vec![k], Layout::RowMajor);
                        let case = Case { rows: 1, len, layout, noise, threads: 2, per_row: true, coefficients };
                        check_memory::<f32, f32>(&case).unwrap();
                        #[cfg(feature = "half")]
                        check_memory::<half::f16, f32>(&case).unwrap();
                    }
                }
            }
        }
    }
}

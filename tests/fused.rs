//! The fused step is the formula, element by element and bit by bit: for every element type, layout, number of threads, kind of
//! noise, and lengths around the borders of vectors, blocks and tasks.

use alphabar::{
    Coefficients, Combination, Element, EpsilonAfter, HostTensor, Memory, NoiseLevel, NormalStream, Prediction, Real,
    Tensor, Threshold,
};
use ndarray::{Array2, Axis, ShapeBuilder, Slice};
use proptest::prelude::*;

/// x′ of one row as one would first write it, in the type of the arithmetic: each product and each sum rounded, terms of weight
/// 0 left out, and the result rounded to the element once.
fn naive_row<E: Element>(x: &[E], m: &[E], z: &[f64], k: &Coefficients) -> Vec<E> {
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
    (0..x.len())
        .map(|e| {
            let (x, m, z) = (x[e].widen(), m[e].widen(), C::<E>::nearest(z[e]));
            let mean = if k.threshold == Threshold::None {
                sum(&[(k.x, x), (k.model, m)])
            } else {
                sum(&[(k.a / divisor, x0[e].clamp_abs(bound)), (k.b, x), (k.c, m)])
            };
            E::narrow(if k.d == 0.0 { mean } else { mean + C::<E>::nearest(k.d) * z })
        })
        .collect()
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

/// The same array, lying otherwise in memory.
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
        for (e, wanted) in naive_row(x, m, &z[place], &rows_of[row]).into_iter().enumerate() {
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

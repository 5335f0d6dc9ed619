//! The adapter for candle on its CPU device. The fused step and the step in candle's operations are compared with slices and
//! arrays, to the last bit. Operands that candle would broadcast or fail on must give errors.

use alphabar::predictor::guide;
use alphabar::testing::{Arithmetic, Laws, Violation};
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Element, Error, HostTensor, Memory, NoiseSchedule, NoiseSource, NormalStream, PathEnd,
    Plan, Point, RowReduce, SeededNoise, Tensor, Threshold, Timesteps, Variance, Weights, sample, slerp,
};
use alphabar_backends::{assert_bits, coefficients, numbers, remembering};
use candle_core::{DType, Device, Tensor as Candle, Var};
use ndarray::{Array, ArrayD, IxDyn};

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const SHAPES: [&[usize]; 6] = [&[], &[5], &[3, 7], &[2, 3, 5], &[3, 2, 4, 4], &[1, 3, 33, 33]];

/// A tensor of these values. Half precision goes through `f32`: candle's cast from `f64` drops digits before it rounds.
fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Candle {
    let tensor = Candle::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
    let tensor = if dtype == DType::F64 { tensor } else { tensor.to_dtype(DType::F32).unwrap() };
    tensor.to_dtype(dtype).unwrap()
}

fn random(seed: u64, shape: &[usize], dtype: DType) -> Candle {
    tensor(&numbers(seed, shape.iter().product()), shape, dtype)
}

/// These elements in a tensor whose gradients are recorded, so that a step takes candle's operations.
fn recorded(tensor: &Candle) -> Candle {
    Var::from_tensor(tensor).unwrap().as_tensor().clone()
}

/// The elements as candle reads them, by a cast to `f64`, which is exact.
fn host(tensor: &Candle) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// These elements as an array. The crate's own tests compare the arithmetic of arrays with naive loops.
fn array<E: Element>(tensor: &Candle) -> ArrayD<E> {
    let elements = host(tensor).into_iter().map(E::from_f64).collect();
    Array::from_shape_vec(IxDyn(tensor.dims()), elements).unwrap()
}

/// Calls `$test::<E>` for each element type and shape.
macro_rules! for_each_type_and_shape {
    ($test:ident) => {
        for shape in SHAPES {
            $test::<f32>(shape, DType::F32);
            $test::<f64>(shape, DType::F64);
            $test::<half::f16>(shape, DType::F16);
            $test::<half::bf16>(shape, DType::BF16);
        }
    };
}

/// The conformance tests, for tensors of one type in the layout that `dress` gives them.
fn laws(dtype: DType, arithmetic: Arithmetic, dress: fn(&Candle) -> Candle) -> Result<(), Violation> {
    let make = |shape: &[usize], elements: &[f64]| Ok(dress(&tensor(elements, shape, dtype)));
    let laws = Laws::new(arithmetic, make, |x: &Candle| Ok(host(x)));
    laws.tensor()?;
    laws.host()?;
    laws.reduce()
}

#[test]
fn tensors_of_every_type_rank_and_layout_obey_the_laws() {
    fn plain(tensor: &Candle) -> Candle {
        tensor.clone()
    }
    /// The axes of the buffer in reverse order.
    fn reversed(tensor: &Candle) -> Candle {
        let axes: Vec<usize> = (0..tensor.rank()).rev().collect();
        if axes.is_empty() {
            return tensor.clone();
        }
        tensor.permute(axes.as_slice()).unwrap().contiguous().unwrap().permute(axes).unwrap()
    }
    for (dtype, arithmetic) in [
        (DType::F32, Arithmetic::F32),
        (DType::F64, Arithmetic::F64),
        (DType::F16, Arithmetic::F32),
        (DType::BF16, Arithmetic::F32),
    ] {
        for dress in [plain, reversed, recorded] {
            laws(dtype, arithmetic, dress).unwrap();
        }
    }
}

#[test]
fn a_step_is_that_of_arrays() {
    fn steps<E: Element>(shape: &[usize], dtype: DType) {
        let [x, m, z] = [1, 2, 3].map(|seed| random(seed, shape, dtype));
        let batch = shape.first().copied().unwrap_or(1);
        let all = coefficients();
        let one = all.iter().map(|k| vec![*k]);
        let mixed = (0..all.len()).map(|start| (0..batch).map(|row| all[(start + 7 * row) % all.len()]).collect());
        for rows in one.chain(mixed) {
            let wanted = array::<E>(&x).step(array(&m), Some(&array(&z)), &rows).unwrap().x;
            for x in [x.clone(), recorded(&x)] {
                let found = x.step(m.clone(), Some(&z), &rows).unwrap().x;
                assert_eq!((found.dtype(), found.dims()), (dtype, shape));
                assert_bits(&host(&found), &wanted.to_host().unwrap());
            }
        }
    }
    for_each_type_and_shape!(steps);
}

/// x′ and the kept output, by the fused pass and by candle's operations. The kept output of a row that keeps nothing is
/// unspecified.
#[test]
fn a_step_that_remembers_is_that_of_arrays() {
    fn steps<E: Element>(shape: &[usize], dtype: DType) {
        let [x, m, z, first, second] = [1, 2, 3, 4, 5].map(|seed| random(seed, shape, dtype));
        let memory = Memory::new([(1, first.clone()), (2, second.clone())]).unwrap();
        let arrays = Memory::new([(2, array::<E>(&second)), (1, array::<E>(&first))]).unwrap();
        let batch = shape.first().copied().unwrap_or(1);
        let all = remembering();
        let one = all.iter().map(|k| vec![*k]);
        let mixed = (0..all.len()).map(|start| (0..batch).map(|row| all[(start + 7 * row) % all.len()]).collect());
        for rows in one.chain(mixed) {
            let wanted = array::<E>(&x).step_with_memory(array(&m), &arrays, Some(&array(&z)), &rows).unwrap();
            for x in [x.clone(), recorded(&x)] {
                let found = x.step_with_memory(m.clone(), &memory, Some(&z), &rows).unwrap();
                assert_eq!((found.x.dtype(), found.x.dims()), (dtype, shape));
                assert_bits(&host(&found.x), &wanted.x.to_host().unwrap());
                assert_eq!(found.kept.is_some(), wanted.kept.is_some());
                let (Some(found), Some(wanted)) = (&found.kept, &wanted.kept) else { continue };
                assert_eq!((found.dtype(), found.dims()), (dtype, shape));
                let (found, wanted) = (host(found), wanted.to_host().unwrap());
                let len = found.len() / batch.max(1);
                for (row, (found, wanted)) in found.chunks(len).zip(wanted.chunks(len)).enumerate() {
                    if rows.get(row).unwrap_or(&rows[0]).kept.is_some() {
                        assert_bits(found, wanted);
                    }
                }
            }
        }
        // No operand was written into.
        for (tensor, seed) in [(&x, 1), (&m, 2), (&first, 4), (&second, 5)] {
            assert_bits(&host(tensor), &host(&random(seed, shape, dtype)));
        }
    }
    for_each_type_and_shape!(steps);
}

/// Rows that are longer than a block of the kernel, with each kind of noise.
#[test]
fn long_rows_are_stepped_as_a_whole() {
    let shape = [2, 3, 128, 128];
    let [x, m, z, first, second] = [1, 2, 3, 4, 5].map(|seed| random(seed, &shape, DType::F32));
    let memory = Memory::new([(1, first.clone()), (2, second.clone())]).unwrap();
    let arrays = Memory::new([(1, array::<f32>(&first)), (2, array(&second))]).unwrap();
    let streams = [7, 8].map(|sample| NormalStream::new(3, sample, 1));
    let all: Vec<_> = coefficients().into_iter().step_by(5).chain(remembering().into_iter().step_by(3)).collect();
    let one = all.iter().map(|k| vec![*k]);
    let mixed = (0..all.len()).map(|start| (0..2).map(|row| all[(start + 7 * row) % all.len()]).collect::<Vec<_>>());
    for rows in one.chain(mixed) {
        for given in [true, false] {
            let (found, wanted) = if given {
                let wanted = array::<f32>(&x).step_with_memory(array(&m), &arrays, Some(&array(&z)), &rows).unwrap();
                (x.clone().step_with_memory(m.clone(), &memory, Some(&z), &rows).unwrap(), wanted)
            } else {
                let wanted = array::<f32>(&x).step_with_streams(array(&m), &arrays, &streams, &rows).unwrap();
                (x.clone().step_with_streams(m.clone(), &memory, &streams, &rows).unwrap(), wanted)
            };
            assert_bits(&host(&found.x), &wanted.x.to_host().unwrap());
            // The kept output of a row that keeps nothing is unspecified.
            let kept = found.kept.zip(wanted.kept).filter(|_| rows.iter().all(|k| k.kept.is_some()));
            if let Some((found, wanted)) = kept {
                assert_bits(&host(&found), &wanted.to_host().unwrap());
            }
        }
    }
}

#[test]
fn what_is_kept_has_the_type_of_the_latents() {
    let shape = [2, 3, 4, 5];
    for half in [DType::BF16, DType::F16] {
        let (x, m, first) = (random(1, &shape, DType::F32), random(2, &shape, half), random(3, &shape, DType::F32));
        let memory = Memory::new([(1, first.clone()), (2, first.clone())]).unwrap();
        let arrays = Memory::new([(1, array::<f32>(&first)), (2, array(&first))]).unwrap();
        for k in remembering() {
            let wanted = array::<f32>(&x).step_with_memory(array(&m), &arrays, Some(&array(&x)), &[k]).unwrap();
            for x in [x.clone(), recorded(&x)] {
                let found = x.clone().step_with_memory(m.clone(), &memory, Some(&x), &[k]).unwrap();
                assert_bits(&host(&found.x), &wanted.x.to_host().unwrap());
                if let (Some(found), Some(wanted)) = (found.kept, &wanted.kept) {
                    assert_eq!(found.dtype(), DType::F32);
                    assert_bits(&host(&found), &wanted.to_host().unwrap());
                }
            }
        }
    }
}

#[test]
fn combinations_clamps_quantiles_and_reductions_are_those_of_arrays() {
    fn operations<E: Element>(shape: &[usize], dtype: DType) {
        let tensors: [Candle; 3] = [1, 2, 3].map(|seed| random(seed, shape, dtype));
        let arrays = tensors.each_ref().map(array::<E>);
        let batch = shape.first().copied().unwrap_or(1);
        // Whole numbers, fractions, zeros of both signs, and those that are too small or too large for some types.
        let weights = [0.3, 0.0, -1.7, 1.0, -0.0, 1e-60, 1e60];
        for turn in 0..weights.len() {
            let row_weights: Vec<Vec<f64>> = (0..3)
                .map(|term| (0..batch).map(|row| weights[(turn + 2 * term + row) % weights.len()]).collect())
                .collect();
            for per_row in [false, true] {
                let weight = |term: usize| {
                    if per_row { Weights::PerRow(&row_weights[term]) } else { Weights::All(row_weights[term][0]) }
                };
                let wanted: Vec<_> = (0..3).map(|term| (weight(term), &arrays[term])).collect();
                let wanted = ArrayD::linear_combination(&wanted).unwrap().to_host().unwrap();
                for tensors in [&tensors, &tensors.each_ref().map(recorded)] {
                    let found: Vec<_> = (0..3).map(|term| (weight(term), &tensors[term])).collect();
                    assert_bits(&host(&Candle::linear_combination(&found).unwrap()), &wanted);
                }
            }
        }
        let mut poisoned = host(&tensors[0]);
        for (place, special) in poisoned.iter_mut().zip([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]) {
            *place = special;
        }
        let x = tensor(&poisoned, shape, dtype);
        let bounds: Vec<f64> = (0..batch).map(|row| [1.1, f64::INFINITY, 0.3][row % 3]).collect();
        for bound in [Weights::All(1.1), Weights::All(f64::INFINITY), Weights::PerRow(&bounds)] {
            let wanted = array::<E>(&x).clamp_abs(bound).unwrap().to_host().unwrap();
            for x in [x.clone(), recorded(&x)] {
                assert_bits(&host(&x.clamp_abs(bound).unwrap()), &wanted);
            }
        }
        // A weight of 0 drops its term, also NaN; a weight of 0 for one sample drops the term of that sample.
        let zeros = vec![0.0; batch];
        for x in [x.clone(), recorded(&x)] {
            // With −0 and NaN.
            assert_bits(&host(&Candle::linear_combination(&[(1.0.into(), &x)]).unwrap()), &host(&x));
            for weight in [Weights::All(0.0), Weights::PerRow(&zeros)] {
                let sum = Candle::linear_combination(&[(1.0.into(), &tensors[1]), (weight, &x)]).unwrap();
                assert_bits(&host(&sum), &host(&tensors[1]));
                let empty = Candle::linear_combination(&[(weight, &x)]).unwrap();
                assert_eq!((empty.dtype(), empty.dims()), (dtype, shape));
                assert!(host(&empty).iter().all(|zero| *zero == 0.0));
            }
        }
        if batch > 1 {
            let weights: Vec<f64> = (0..batch).map(|row| if row == 0 { 0.0 } else { 0.5 }).collect();
            let terms = [(Weights::All(1.0), &arrays[1]), (Weights::PerRow(&weights), &array::<E>(&x))];
            let wanted = ArrayD::linear_combination(&terms).unwrap().to_host().unwrap();
            for x in [x.clone(), recorded(&x)] {
                let terms = [(Weights::All(1.0), &tensors[1]), (Weights::PerRow(&weights), &x)];
                assert_bits(&host(&Candle::linear_combination(&terms).unwrap()), &wanted);
            }
        }
        for ratio in [0.0, 0.3, 0.995, 1.0] {
            for (tensor, array) in [(&tensors[1], &arrays[1]), (&x, &array::<E>(&x))] {
                assert_bits(&tensor.abs_quantile(ratio).unwrap(), &array.abs_quantile(ratio).unwrap());
            }
        }
        let ([x, y, _], [a, b, _]) = (&tensors, &arrays);
        assert_bits(&x.row_dot(y).unwrap(), &a.row_dot(b).unwrap());
        assert_bits(&x.row_variance().unwrap(), &a.row_variance().unwrap());
        assert_eq!((x.row_len(), x.rows_of_batch()), (a.row_len(), a.rows_of_batch()));
        let (found, wanted) = (slerp(x, y, 0.3).unwrap(), slerp(a, b, 0.3).unwrap());
        assert_bits(&host(&found), &wanted.to_host().unwrap());
    }
    for_each_type_and_shape!(operations);
}

#[test]
fn elements_go_to_the_host_and_back() {
    fn elements<E: Element>(shape: &[usize], dtype: DType) {
        let (x, count) = (random(1, shape, dtype), shape.iter().product());
        // Near ties of every type, where rounding twice gives another value.
        let values: Vec<f64> = numbers(2, count)
            .into_iter()
            .zip([0.0, 2e-4, 1e-9, 2e-4 + 1e-12, 1.0 / 2048.0 + 1e-12].into_iter().cycle())
            .map(|(a, b)| a.round() + b)
            .collect();
        let wanted: Vec<f64> = values.iter().map(|value| E::from_f64(*value).to_f64()).collect();
        let filled = x.from_host(values.clone()).unwrap();
        assert_bits(&host(&filled), &wanted);
        assert_bits(&filled.to_host().unwrap(), &wanted);
        assert_eq!((filled.dtype(), filled.dims()), (dtype, shape));
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        let wanted: Vec<f64> = values.iter().map(|value| E::from_f64(f64::from(*value)).to_f64()).collect();
        assert_bits(&host(&x.from_host_f32(values).unwrap()), &wanted);
        for wrong in [0, count - 1, count + 1] {
            for result in [x.from_host(vec![0.0; wrong]), x.from_host_f32(vec![0.0; wrong])] {
                assert!(
                    matches!(result, Err(Error::Length { expected, found, .. }) if (expected, found) == (count, wrong))
                );
            }
        }
    }
    for_each_type_and_shape!(elements);
}

#[test]
fn layouts_do_not_matter() {
    let shape = [2, 3, 4, 5];
    for dtype in FLOATS {
        // Equal elements at equal places, in buffers with another order: transposed, cut out, repeated.
        let straight = random(1, &shape, dtype);
        let transposed = straight.transpose(0, 3).unwrap().contiguous().unwrap().transpose(0, 3).unwrap();
        let cut = Candle::cat(&[&random(7, &[1, 3, 4, 5], dtype), &straight], 0).unwrap().narrow(0, 1, 2).unwrap();
        let wide = Candle::cat(&[&random(7, &[2, 3, 4, 2], dtype), &straight], 3).unwrap().narrow(3, 2, 5).unwrap();
        let repeated = random(3, &[2, 1, 1, 5], dtype).broadcast_as(&shape).unwrap();
        assert!(!transposed.is_contiguous() && !wide.is_contiguous() && !repeated.is_contiguous());
        for x in [&transposed, &cut, &wide] {
            assert_bits(&x.to_host().unwrap(), &host(&straight));
            for k in coefficients() {
                for m in [&transposed, &repeated] {
                    let found = x.clone().step(m.clone(), Some(&repeated), &[k]).unwrap().x;
                    let recorded = recorded(x).step(m.clone(), Some(&repeated), &[k]).unwrap().x;
                    let (m, z) = (m.force_contiguous().unwrap(), repeated.force_contiguous().unwrap());
                    let wanted = host(&straight.clone().step(m, Some(&z), &[k]).unwrap().x);
                    assert_bits(&host(&found), &wanted);
                    assert_bits(&host(&recorded), &wanted);
                    assert!(found.is_contiguous());
                }
            }
            assert_bits(&x.row_variance().unwrap(), &straight.row_variance().unwrap());
            assert_bits(&x.abs_quantile(0.7).unwrap(), &straight.abs_quantile(0.7).unwrap());
        }
    }
}

#[test]
fn nothing_is_written_where_others_read() {
    let shape = [2, 3, 4];
    for dtype in FLOATS {
        let values = host(&random(1, &shape, dtype));
        for k in coefficients() {
            let x = random(1, &shape, dtype);
            let copy = x.clone();
            // One tensor as every operand.
            let next = x.clone().step(x.clone(), Some(&x), &[k]).unwrap().x;
            let clamped = copy.clone().clamp_abs(0.1.into()).unwrap();
            let same = Candle::linear_combination(&[(1.0.into(), &x)]).unwrap();
            // The results share no buffer with the operands.
            for made in [next, clamped, same] {
                made.zero_set().unwrap();
            }
            assert_bits(&host(&copy), &values);
            assert_bits(&host(&x), &values);
        }
    }
    // Setting a variable does not change results that were computed from it.
    let x = Var::from_tensor(&random(1, &shape, DType::F32)).unwrap();
    let same = Candle::linear_combination(&[(1.0.into(), x.as_tensor())]).unwrap();
    x.set(&random(2, &shape, DType::F32)).unwrap();
    assert_bits(&host(&same), &host(&random(1, &shape, DType::F32)));
}

#[test]
fn a_network_in_half_precision_goes_with_latents_in_f32() {
    let shape = [2, 3, 4, 5];
    for half in [DType::BF16, DType::F16] {
        let (x, m, z) = (random(1, &shape, DType::F32), random(2, &shape, half), random(3, &shape, half));
        // f64 latents hold every other type.
        let wide = random(1, &shape, DType::F64);
        for k in coefficients() {
            let wanted = array::<f32>(&x).step(array(&m), Some(&array(&z)), &[k]).unwrap().x.to_host().unwrap();
            for x in [x.clone(), recorded(&x)] {
                let found = x.step(m.clone(), Some(&z), &[k]).unwrap().x;
                assert_eq!(found.dtype(), DType::F32);
                assert_bits(&host(&found), &wanted);
            }
            let wanted = array::<f64>(&wide).step(array(&m), Some(&array(&x)), &[k]).unwrap().x.to_host().unwrap();
            for wide in [wide.clone(), recorded(&wide)] {
                assert_bits(&host(&wide.step(m.clone(), Some(&x), &[k]).unwrap().x), &wanted);
            }
            // Latents in half precision with f32 operands: rounded once, at the end.
            let wanted = array::<f32>(&m).step(array(&x), Some(&array(&x)), &[k]).unwrap().x;
            let wanted = host(&tensor(&wanted.to_host().unwrap(), &shape, half));
            for m in [m.clone(), recorded(&m)] {
                let found = m.step(x.clone(), Some(&x), &[k]).unwrap().x;
                assert_eq!(found.dtype(), half);
                assert_bits(&host(&found), &wanted);
            }
        }
    }
}

#[test]
fn runs_with_a_network_in_bf16_stay_close_to_f64_if_the_latents_are_f32() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::trailing(1000, 250).unwrap();
    let plan = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap();
    let shape = [2, 3, 8, 8];
    // A network whose outputs bf16 holds exactly.
    let run = |latents: DType, network: DType| {
        let zeros = Candle::zeros(&shape, latents, &Device::Cpu).unwrap();
        let mut noise = SeededNoise::new(42);
        let x = noise.noise(&random(1, &shape, DType::F32), Draw::Initial).unwrap().to_dtype(latents).unwrap();
        let mut model = |x: &Candle, at: Point| -> candle_core::Result<Candle> {
            let pull = if at.t > 500.0 { 0.5 } else { 0.25 };
            Candle::full(pull as f32, x.shape(), x.device())?.to_dtype(network)
        };
        assert_eq!(zeros.dtype(), x.dtype());
        host(&sample(&plan, x, &mut model, &mut noise).unwrap())
    };
    let distance = |found: &[f64], wanted: &[f64]| {
        let scale = wanted.iter().fold(0.0_f64, |scale, wanted| scale.max(wanted.abs()));
        found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f64::max) / scale
    };
    let exact = run(DType::F64, DType::F64);
    let mixed = distance(&run(DType::F32, DType::BF16), &exact);
    let half = distance(&run(DType::BF16, DType::BF16), &exact);
    println!("from the run in f64, relative: latents f32 {mixed:.1e}, latents bf16 {half:.1e}");
    assert!(mixed < 1e-3, "{mixed}");
    assert!(half > 10.0 * mixed, "{half} {mixed}");
}

/// The factor of an elementwise "network", m = PULL·x, which every backend computes with one rounding.
const PULL: f64 = 0.375;

#[test]
fn seeded_runs_are_those_of_arrays() {
    fn runs<E: Element>(shape: &[usize], dtype: DType) {
        let schedule = NoiseSchedule::ddpm().unwrap();
        let tau = Timesteps::trailing(1000, 7).unwrap();
        let ddim = |eta| Plan::new(&schedule, &tau, &Ddim::new(eta).unwrap());
        let clipped = |threshold| Plan::builder(&schedule, &tau).threshold(threshold).build(&Ddim::new(0.5).unwrap());
        let plans = [
            ddim(0.0),
            ddim(0.5),
            ddim(1.0),
            Plan::new(&schedule, &tau, &Ddpm::new(Variance::Posterior)),
            clipped(Threshold::Clip(1.0)),
            clipped(Threshold::Dynamic { ratio: 0.9, max: 3.0 }),
        ];
        let zeros = Candle::zeros(shape, dtype, &Device::Cpu).unwrap();
        for plan in plans {
            let plan = plan.unwrap();
            let mut noise = SeededNoise::new(42);
            let start = noise.noise(&array::<E>(&zeros), Draw::Initial).unwrap();
            let mut model = |x: &ArrayD<E>, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
            let wanted = sample(&plan, start, &mut model, &mut noise).unwrap().to_host().unwrap();
            for record in [false, true] {
                let mut noise = SeededNoise::new(42);
                let start = noise.noise(&zeros, Draw::Initial).unwrap();
                let start = if record { recorded(&start) } else { start };
                let mut model = |x: &Candle, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
                let found = sample(&plan, start, &mut model, &mut noise).unwrap();
                assert_eq!((found.dtype(), found.dims(), found.track_op()), (dtype, shape, record));
                assert_bits(&host(&found), &wanted);
            }
        }
        // A vector is one sample, and so is an array with one row.
        if let [1, ..] = shape {
            let plan = ddim(0.5).unwrap();
            let (mut noise, mut again) = (SeededNoise::new(7), SeededNoise::new(7));
            let x = noise.noise(&zeros, Draw::Initial).unwrap();
            let vec = again.noise(&vec![E::default(); zeros.elem_count()], Draw::Initial).unwrap();
            let mut model = |x: &Candle, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
            let mut same = |x: &Vec<E>, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
            let found = sample(&plan, x, &mut model, &mut noise).unwrap();
            let wanted = sample(&plan, vec, &mut same, &mut again).unwrap();
            assert_bits(&host(&found), &wanted.to_host().unwrap());
        }
    }
    for_each_type_and_shape!(runs);
}

/// ε is guided and the conditional v is kept; with v = 1 the noise has the standard deviation √β. The product is rounded only
/// once, at the end: exp(k·v) alone is 1e6 and more.
#[test]
fn guidance_keeps_a_learned_variance_also_in_half_precision() {
    let schedule = NoiseSchedule::from_betas(vec![1e-25, 0.5]).unwrap();
    let tau = Timesteps::explicit(2, [1]).unwrap().ending(PathEnd::FirstLevel);
    let plan = Plan::new(&schedule, &tau, &Ddpm::new(Variance::LearnedRange)).unwrap();
    let step = &plan.steps()[0];
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let filled = |value: f64| tensor(&[value; 12], &[2, 2, 3], dtype);
        let (x, z) = (filled(0.0), filled(1.0));
        let output = |v: f64| filled(0.0).join_channels(&filled(v)).unwrap();
        for x in [x.clone(), recorded(&x)] {
            let guided = guide(&x, &output(1.0), &output(-1.0), 4.0).unwrap();
            assert_eq!((guided.dims().to_vec(), guided.dtype()), (vec![2, 4, 3], dtype));
            let next = step.apply(x, guided, Some(&z)).unwrap();
            assert_eq!(next.dtype(), dtype);
            for next in next.to_host().unwrap() {
                assert!((next - 0.5_f64.sqrt()).abs() < tolerance, "{next} in {dtype:?}");
            }
        }
    }
}

#[test]
fn gradients_flow_through_a_variance_that_is_learned() {
    let output = Var::from_tensor(&random(1, &[2, 6, 3], DType::F64)).unwrap();
    let z = random(2, &[2, 3, 3], DType::F64);
    for k in [Weights::All(0.7), Weights::PerRow(&[0.7, 0.7])] {
        let (_, v) = output.as_tensor().halve_channels().unwrap();
        let gradients = z.times_exp(&v, k, 1.5.into()).unwrap().backward().unwrap();
        let found = gradients.get(output.as_tensor()).unwrap().narrow(1, 3, 3).unwrap();
        for ((found, z), v) in host(&found).into_iter().zip(host(&z)).zip(host(&v)) {
            let wanted = 1.5 * 0.7 * z * (0.7 * v).exp();
            assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        }
    }
}

#[test]
fn gradients_flow_through_a_step() {
    let shape = [2, 3];
    for k in coefficients() {
        for rows in [vec![k], vec![k; 2]] {
            let [x, m] = [1, 2].map(|seed| Var::from_tensor(&random(seed, &shape, DType::F64)).unwrap());
            let z = random(3, &shape, DType::F64);
            let next = x.as_tensor().clone().step(m.as_tensor().clone(), Some(&z), &rows).unwrap().x;
            let gradients = next.backward().unwrap();
            let x0: Vec<f64> = host(&x).iter().zip(host(&m)).map(|(x, m)| k.p * x + k.q * m).collect();
            let found = [&x, &m].map(|leaf| gradients.get(leaf).map(host));
            for (place, x0_of_place) in x0.iter().enumerate() {
                // No gradient flows through a clamped x̂₀. The divisor of dynamic thresholding is a constant.
                let row: Vec<f64> = x0[place / 3 * 3..place / 3 * 3 + 3].iter().map(|x0| x0.abs()).collect();
                let (bound, divisor) = match k.threshold {
                    Threshold::Clip(range) => (range, 1.0),
                    Threshold::Dynamic { ratio, max } => {
                        let mut sorted = row;
                        sorted.sort_by(f64::total_cmp);
                        // Three order statistics: the quantile lies between the upper two.
                        let quantile = sorted[1] + (2.0 * ratio - 1.0) * (sorted[2] - sorted[1]);
                        (quantile.clamp(1.0, max), quantile.clamp(1.0, max))
                    }
                    _ => (f64::INFINITY, 1.0),
                };
                let through = if x0_of_place.abs() > bound { 0.0 } else { 1.0 / divisor };
                let wanted = [through * k.a * k.p + k.b, through * k.a * k.q + k.c];
                for (found, wanted) in found.iter().zip(wanted) {
                    let found = found.as_ref().map_or(0.0, |found| found[place]);
                    assert!((found - wanted).abs() < 1e-9, "{found} for {wanted}, {k:?}");
                }
            }
        }
    }
}

#[test]
fn gradients_flow_through_a_run_to_its_noise_and_its_network() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 5).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    let weight = Var::new(0.4_f64, &Device::Cpu).unwrap();
    let run = |start: &Candle, weight: &Candle| {
        let mut model = |x: &Candle, _: Point| x.broadcast_mul(weight);
        sample(&plan, start.clone(), &mut model, &mut SeededNoise::new(1)).unwrap()
    };
    let start = Var::from_tensor(&random(1, &[2, 3], DType::F64)).unwrap();
    let gradients = run(&start, &weight).backward().unwrap();
    let sum =
        |weight: f64| host(&run(&start.as_detached_tensor(), &tensor(&[weight], &[], DType::F64))).iter().sum::<f64>();
    let wanted = (sum(0.4 + 1e-5) - sum(0.4 - 1e-5)) / 2e-5;
    let found = host(gradients.get(&weight).unwrap())[0];
    assert!((found - wanted).abs() < 1e-6 * wanted.abs(), "{found} {wanted}");
    // Linear in its start.
    let factor =
        plan.steps().iter().fold(1.0, |factor, step| factor * (step.coefficients.x + 0.4 * step.coefficients.model));
    for found in host(gradients.get(&start).unwrap()) {
        assert!((found - factor).abs() < 1e-9 * factor.abs(), "{found} {factor}");
    }
}

#[test]
fn shapes_that_candle_would_broadcast_are_refused() {
    let plain = random(1, &[2, 3, 4], DType::F32);
    let k = coefficients();
    let shapes: [&[usize]; 8] =
        [&[1, 3, 4], &[2, 1, 4], &[2, 3, 1], &[1, 1, 1], &[2, 3, 5], &[3, 4], &[], &[2, 3, 4, 1]];
    for x in [plain.clone(), recorded(&plain)] {
        for shape in shapes {
            let other = random(2, shape, DType::F32);
            for error in [
                Candle::linear_combination(&[(1.0.into(), &x), (1.0.into(), &other)]).err(),
                Candle::linear_combination(&[(0.0.into(), &x), (0.0.into(), &other)]).err(),
                x.clone().step(other.clone(), None, &k[6..7]).err(),
                x.clone().step(x.clone(), Some(&other), &k[..1]).err(),
                x.row_dot(&other).err(),
                slerp(&x, &other, 0.5).err(),
            ] {
                match error {
                    Some(Error::Shape { expected, found, .. }) => {
                        assert_eq!((expected, found), (vec![2, 3, 4], shape.to_vec()));
                    }
                    other => panic!("{shape:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn element_types_that_lose_and_integers_are_refused() {
    let shape = [2, 3];
    let k = coefficients();
    let wide = random(1, &shape, DType::F64);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let x = random(2, &shape, dtype);
        for error in [
            Candle::linear_combination(&[(1.0.into(), &x), (1.0.into(), &wide)]).err(),
            x.clone().step(wide.clone(), None, &k[6..7]).err(),
            x.clone().step(x.clone(), Some(&wide), &k[..1]).err(),
        ] {
            assert!(matches!(&error, Some(Error::ElementType { found, .. }) if found == "F64"), "{error:?}");
        }
    }
    let x = random(2, &shape, DType::F32);
    for dtype in [DType::U8, DType::U32, DType::I16, DType::I32, DType::I64, DType::F8E4M3] {
        let whole = Candle::zeros(&shape, dtype, &Device::Cpu).unwrap();
        for error in [
            Candle::linear_combination(&[(1.0.into(), &whole)]).err(),
            Candle::linear_combination(&[(1.0.into(), &x), (1.0.into(), &whole)]).err(),
            whole.clone().clamp_abs(1.0.into()).err(),
            whole.clone().step(x.clone(), None, &k[6..7]).err(),
            x.clone().step(whole.clone(), None, &k[6..7]).err(),
            x.clone().step(x.clone(), Some(&whole), &k[..1]).err(),
            whole.to_host().err(),
            whole.from_host(vec![0.0; 6]).err(),
            whole.from_host_f32(vec![0.0; 6]).err(),
            whole.row_dot(&x).map(drop).err(),
            x.row_dot(&whole).map(drop).err(),
            whole.row_variance().map(drop).err(),
            whole.abs_quantile(0.5).map(drop).err(),
            SeededNoise::new(1).noise(&whole, Draw::Initial).err(),
        ] {
            let named = format!("{dtype:?}");
            assert!(matches!(&error, Some(Error::ElementType { found, .. }) if *found == named), "{error:?}");
        }
    }
}

#[test]
fn tensors_without_elements_are_refused() {
    let k = coefficients();
    let shapes: [&[usize]; 4] = [&[0], &[0, 3], &[2, 0], &[0, 0]];
    for shape in shapes {
        let plain = Candle::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for x in [plain.clone(), recorded(&plain)] {
            for error in [
                Candle::linear_combination(&[(1.0.into(), &x)]).err(),
                x.clone().clamp_abs(1.0.into()).err(),
                x.clone().step(x.clone(), Some(&x), &k[..1]).err(),
                x.row_dot(&x).map(drop).err(),
                x.row_variance().map(drop).err(),
                x.abs_quantile(0.5).map(drop).err(),
                SeededNoise::new(1).noise(&x, Draw::Initial).err(),
            ] {
                assert!(matches!(error, Some(Error::Empty { .. })), "{error:?}");
            }
            let error = x.clone().step_with_streams(x.clone(), &Memory::default(), &[], &k[..1]).err();
            assert!(matches!(error, Some(Error::Empty { .. } | Error::Rows { .. })), "{error:?}");
        }
        assert_eq!(plain.to_host().unwrap(), [0.0; 0]);
        assert_eq!(plain.from_host(vec![]).unwrap().dims(), shape);
    }
    assert!(matches!(Candle::linear_combination(&[]), Err(Error::Length { .. })));
}

#[test]
fn numbers_of_rows_noise_and_bounds_are_checked() {
    let (plain, m) = (random(1, &[2, 3], DType::F32), random(2, &[2, 3], DType::F32));
    let k = coefficients();
    for x in [plain.clone(), recorded(&plain)] {
        for wrong in [0, 1, 3] {
            let weights = vec![1.0; wrong];
            let mut errors = vec![
                Candle::linear_combination(&[(Weights::PerRow(&weights), &x)]).err(),
                Candle::linear_combination(&[(1.0.into(), &x), (Weights::PerRow(&weights), &m)]).err(),
                x.clone().clamp_abs(Weights::PerRow(&weights)).err(),
                x.clone()
                    .step_with_streams(
                        m.clone(),
                        &Memory::default(),
                        &vec![alphabar::NormalStream::new(1, 2, 3); wrong],
                        &k[..1],
                    )
                    .err(),
            ];
            if wrong != 1 {
                errors.push(x.clone().step(m.clone(), None, &vec![k[6]; wrong]).err());
                errors.push(x.clone().step(m.clone(), None, &vec![k[8]; wrong]).err());
            }
            for error in errors {
                assert!(matches!(error, Some(Error::Rows { expected: 2, found }) if found == wrong), "{error:?}");
            }
        }
        assert!(matches!(x.clone().step(m.clone(), None, &k[..1]), Err(Error::MissingNoise { .. })));
        for bound in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            for bound in [Weights::All(bound), Weights::PerRow(&[1.0, bound])] {
                assert!(matches!(x.clone().clamp_abs(bound), Err(Error::Parameter { .. })));
            }
        }
    }
}

#[test]
fn errors_go_both_ways() {
    fn ours(x: &Candle) -> Result<Candle, Error> {
        Ok(x.reshape((17, 23))?)
    }
    fn theirs(x: &Candle) -> candle_core::Result<Candle> {
        NoiseSchedule::from_betas(vec![0.1, 1.5])?;
        Ok(x.clone())
    }
    let x = random(1, &[3], DType::F32);
    let error = ours(&x).unwrap_err();
    assert!(matches!(&error, Error::Backend(source) if source.is::<candle_core::Error>()));
    let Error::Backend(source) = &error else { panic!("{error:?}") };
    let text = source.to_string();
    assert!(text.contains("17") && error.to_string().ends_with(&text), "{error}");
    // candle's own error comes back unchanged; an error of this crate comes back with its text.
    assert_eq!(candle_core::Error::from(error).to_string(), text);
    let text = theirs(&x).unwrap_err().to_string();
    assert!(text.starts_with("β[1] = 1.5 is not inside (0, 1)"), "{text}");
    // Within a run: a network that fails with candle's error, seen from a function that returns candle's error.
    let plan =
        Plan::new(&NoiseSchedule::ddpm().unwrap(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::deterministic());
    let plan = plan.unwrap();
    let mut model = |x: &Candle, _: Point| x.reshape((17, 23));
    let error = sample(&plan, x.clone(), &mut model, &mut SeededNoise::new(1)).unwrap_err();
    let Error::AtStep { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::Predictor(source) if source.is::<candle_core::Error>()));
    let text = candle_core::Error::from(error).to_string();
    assert!(text.contains("step 0 (t = 999) failed: the network failed: ") && text.contains("17"), "{text}");
    let mut boxed = |_: &Candle, _: Point| -> Result<Candle, BoxError> { Err("no".into()) };
    assert!(sample(&plan, x, &mut boxed, &mut SeededNoise::new(1)).is_err());
}

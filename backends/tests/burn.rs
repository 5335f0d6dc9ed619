//! The adapter for burn on its CPU backend, flex. Its results are compared with slices and arrays, to the last bit. Operands
//! that burn would broadcast or panic on must give errors.

use alphabar::predictor::guide;
use alphabar::testing::{Arithmetic, Laws, Violation};
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Element, Error, HostTensor, Memory, NoiseSchedule, NoiseSource, PathEnd, Plan, Point,
    RowReduce, SeededNoise, Tensor, Threshold, Timesteps, Variance, Weights, sample, slerp,
};
use alphabar_backends::{assert_bits, coefficients, numbers, remembering};
use burn_tensor::{DType, Device, Shape, Tensor as Burn, TensorData};
use ndarray::{Array, ArrayD, IxDyn};

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

fn cpu() -> Device {
    Device::flex()
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Burn<D> {
    Burn::from_data(TensorData::new(values.to_vec(), shape), (&cpu(), dtype))
}

fn random<const D: usize>(seed: u64, shape: [usize; D], dtype: DType) -> Burn<D> {
    tensor(&numbers(seed, shape.iter().product()), shape, dtype)
}

/// These elements as an array. The crate's own tests compare the arithmetic of arrays with naive loops.
fn array<E: Element, const D: usize>(tensor: &Burn<D>) -> ArrayD<E> {
    let elements = tensor.to_host().unwrap().into_iter().map(E::from_f64).collect();
    Array::from_shape_vec(IxDyn(&tensor.dims()), elements).unwrap()
}

/// Calls `$test::<E, D>` for each element type and rank.
macro_rules! for_each_type_and_rank {
    ($test:ident) => {
        for_each_type_and_rank!(@ranks $test, f32, DType::F32);
        for_each_type_and_rank!(@ranks $test, f64, DType::F64);
        for_each_type_and_rank!(@ranks $test, half::f16, DType::F16);
        for_each_type_and_rank!(@ranks $test, half::bf16, DType::BF16);
    };
    (@ranks $test:ident, $element:ty, $dtype:expr) => {
        $test::<$element, 1>([5], $dtype);
        $test::<$element, 2>([3, 7], $dtype);
        $test::<$element, 3>([2, 3, 5], $dtype);
        $test::<$element, 4>([3, 2, 4, 4], $dtype);
        $test::<$element, 4>([1, 3, 33, 33], $dtype);
    };
}

/// The conformance tests, for tensors of one type and rank.
fn laws<const D: usize>(dtype: DType, arithmetic: Arithmetic) -> Result<(), Violation> {
    let make = |shape: &[usize], elements: &[f64]| {
        let shape: [usize; D] = shape.try_into()?;
        // About half of them have reversed axes in their buffers, so that operands of both layouts meet.
        let mut axes: [usize; D] = std::array::from_fn(|axis| axis);
        let packed = tensor(elements, shape, dtype);
        if elements.first().is_none_or(|first| *first < 0.0) {
            return Ok(packed);
        }
        axes.reverse();
        let reversed = packed.permute(axes);
        Ok(tensor(&reversed.to_host()?, reversed.dims(), dtype).permute(axes))
    };
    let laws = Laws::new(arithmetic, make, |x: &Burn<D>| Ok(x.try_to_data()?.try_cast_as::<f64>()?.try_into_vec()?));
    laws.tensor()?;
    laws.host()?;
    laws.reduce()
}

#[test]
fn tensors_of_every_type_and_rank_obey_the_laws() {
    for (dtype, arithmetic) in [
        (DType::F32, Arithmetic::F32),
        (DType::F64, Arithmetic::F64),
        (DType::F16, Arithmetic::F32),
        (DType::BF16, Arithmetic::F32),
    ] {
        laws::<1>(dtype, arithmetic).unwrap();
        laws::<2>(dtype, arithmetic).unwrap();
        laws::<3>(dtype, arithmetic).unwrap();
        laws::<4>(dtype, arithmetic).unwrap();
        laws::<5>(dtype, arithmetic).unwrap();
    }
}

#[test]
fn a_step_is_that_of_arrays() {
    fn steps<E: Element, const D: usize>(shape: [usize; D], dtype: DType) {
        let [x, m, z] = [1, 2, 3].map(|seed| random(seed, shape, dtype));
        let all = coefficients();
        let one = all.iter().map(|k| vec![*k]);
        let mixed = (0..all.len()).map(|start| (0..shape[0]).map(|row| all[(start + 7 * row) % all.len()]).collect());
        for rows in one.chain(mixed) {
            let found = x.clone().step(m.clone(), Some(&z), &rows).unwrap().x;
            let wanted = array::<E, D>(&x).step(array(&m), Some(&array(&z)), &rows).unwrap().x;
            assert_eq!((found.dtype(), found.dims()), (dtype, shape));
            assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
        }
    }
    for_each_type_and_rank!(steps);
}

/// x′ and the kept output. The kept output of a row that keeps nothing is unspecified.
#[test]
fn a_step_that_remembers_is_that_of_arrays() {
    fn steps<E: Element, const D: usize>(shape: [usize; D], dtype: DType) {
        let [x, m, z, first, second] = [1, 2, 3, 4, 5].map(|seed| random(seed, shape, dtype));
        let memory = Memory::new([(1, first.clone()), (2, second.clone())]).unwrap();
        let arrays = Memory::new([(2, array::<E, D>(&second)), (1, array::<E, D>(&first))]).unwrap();
        let all = remembering();
        let one = all.iter().map(|k| vec![*k]);
        let mixed = (0..all.len()).map(|start| (0..shape[0]).map(|row| all[(start + 7 * row) % all.len()]).collect());
        for rows in one.chain(mixed) {
            let found = x.clone().step_with_memory(m.clone(), &memory, Some(&z), &rows).unwrap();
            let wanted = array::<E, D>(&x).step_with_memory(array(&m), &arrays, Some(&array(&z)), &rows).unwrap();
            assert_eq!((found.x.dtype(), found.x.dims()), (dtype, shape));
            assert_bits(&found.x.to_host().unwrap(), &wanted.x.to_host().unwrap());
            assert_eq!(found.kept.is_some(), wanted.kept.is_some());
            let (Some(found), Some(wanted)) = (&found.kept, &wanted.kept) else { continue };
            assert_eq!((found.dtype(), found.dims()), (dtype, shape));
            let (found, wanted) = (found.to_host().unwrap(), wanted.to_host().unwrap());
            let len = found.len() / shape[0];
            for (row, (found, wanted)) in found.chunks(len).zip(wanted.chunks(len)).enumerate() {
                if rows.get(row).unwrap_or(&rows[0]).kept.is_some() {
                    assert_bits(found, wanted);
                }
            }
        }
    }
    for_each_type_and_rank!(steps);
}

#[test]
fn combinations_clamps_quantiles_and_reductions_are_those_of_arrays() {
    fn operations<E: Element, const D: usize>(shape: [usize; D], dtype: DType) {
        let tensors: [Burn<D>; 3] = [1, 2, 3].map(|seed| random(seed, shape, dtype));
        let arrays = tensors.each_ref().map(array::<E, D>);
        // Whole numbers, fractions, zeros of both signs, and those that are too small or too large for some types.
        let weights = [0.3, 0.0, -1.7, 1.0, -0.0, 1e-60, 1e60];
        for turn in 0..weights.len() {
            let row_weights: Vec<Vec<f64>> = (0..3)
                .map(|term| (0..shape[0]).map(|row| weights[(turn + 2 * term + row) % weights.len()]).collect())
                .collect();
            for per_row in [false, true] {
                let weight = |term: usize| {
                    if per_row { Weights::PerRow(&row_weights[term]) } else { Weights::All(row_weights[term][0]) }
                };
                let found: Vec<_> = (0..3).map(|term| (weight(term), &tensors[term])).collect();
                let wanted: Vec<_> = (0..3).map(|term| (weight(term), &arrays[term])).collect();
                let (found, wanted) = (Burn::linear_combination(&found), ArrayD::linear_combination(&wanted));
                assert_bits(&found.unwrap().to_host().unwrap(), &wanted.unwrap().to_host().unwrap());
            }
        }
        let mut poisoned = tensors[0].to_host().unwrap();
        for (place, special) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0].into_iter().enumerate() {
            poisoned[place] = special;
        }
        let x = tensor(&poisoned, shape, dtype);
        let bounds: Vec<f64> = (0..shape[0]).map(|row| [1.1, f64::INFINITY, 0.3][row % 3]).collect();
        for bound in [Weights::All(1.1), Weights::All(f64::INFINITY), Weights::PerRow(&bounds)] {
            let wanted = array::<E, D>(&x).clamp_abs(bound).unwrap().to_host().unwrap();
            assert_bits(&x.clone().clamp_abs(bound).unwrap().to_host().unwrap(), &wanted);
        }
        for ratio in [0.0, 0.3, 0.995, 1.0] {
            for (tensor, array) in [(&tensors[1], &arrays[1]), (&x, &array::<E, D>(&x))] {
                assert_bits(&tensor.abs_quantile(ratio).unwrap(), &array.abs_quantile(ratio).unwrap());
            }
        }
        let ([x, y, _], [a, b, _]) = (&tensors, &arrays);
        assert_bits(&x.row_dot(y).unwrap(), &a.row_dot(b).unwrap());
        assert_bits(&x.row_variance().unwrap(), &a.row_variance().unwrap());
        assert_eq!((x.row_len(), x.rows_of_batch()), (a.row_len(), a.rows_of_batch()));
        let (found, wanted) = (slerp(x, y, 0.3).unwrap(), slerp(a, b, 0.3).unwrap());
        assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
    }
    for_each_type_and_rank!(operations);
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
        let filled = |value: f64| tensor(&[value; 12], [2, 2, 3], dtype);
        let (x, z) = (filled(0.0), filled(1.0));
        let output = |v: f64| filled(0.0).join_channels(&filled(v)).unwrap();
        for x in [x] {
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
fn elements_go_to_the_host_and_back() {
    fn elements<E: Element, const D: usize>(shape: [usize; D], dtype: DType) {
        let (x, count) = (random(1, shape, dtype), shape.iter().product());
        // Near ties of every type, where rounding twice gives another value.
        let values: Vec<f64> = numbers(2, count)
            .into_iter()
            .zip([0.0, 2e-4, 1e-9, 2e-4 + 1e-12].into_iter().cycle())
            .map(|(a, b)| a.round() + b)
            .collect();
        let wanted: Vec<f64> = values.iter().map(|value| E::from_f64(*value).to_f64()).collect();
        assert_bits(&x.from_host(values.clone()).unwrap().to_host().unwrap(), &wanted);
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        let wanted: Vec<f64> = values.iter().map(|value| E::from_f64(f64::from(*value)).to_f64()).collect();
        assert_bits(&x.from_host_f32(values).unwrap().to_host().unwrap(), &wanted);
        for wrong in [0, count - 1, count + 1] {
            for result in [x.from_host(vec![0.0; wrong]), x.from_host_f32(vec![0.0; wrong])] {
                assert!(
                    matches!(result, Err(Error::Length { expected, found, .. }) if (expected, found) == (count, wrong))
                );
            }
        }
        let filled = x.from_host(vec![0.5; count]).unwrap();
        assert_eq!((filled.dtype(), filled.dims(), filled.device()), (dtype, shape, cpu()));
    }
    for_each_type_and_rank!(elements);
}

#[test]
fn layouts_do_not_matter() {
    for dtype in FLOATS {
        // Equal elements at equal places, in buffers with another order: permuted, cut out, repeated, flipped.
        let straight = random::<4>(1, [2, 3, 4, 5], dtype);
        let permuted = tensor::<4>(&straight.clone().permute([3, 1, 2, 0]).to_host().unwrap(), [5, 3, 4, 2], dtype);
        let cut = Burn::cat(vec![random(7, [1, 3, 4, 5], dtype), straight.clone()], 0).narrow(0, 1, 2);
        let flipped = straight.clone().flip([2]).to_host().unwrap();
        let others = [permuted.permute([3, 1, 2, 0]), cut, tensor(&flipped, [2, 3, 4, 5], dtype).flip([2])];
        let repeated = random::<4>(3, [2, 1, 1, 5], dtype).expand([2, 3, 4, 5]);
        for x in &others {
            assert_bits(&x.to_host().unwrap(), &straight.to_host().unwrap());
            for k in coefficients() {
                for m in [&others[0], &repeated] {
                    let found = x.clone().step(m.clone(), Some(&repeated), &[k]).unwrap().x;
                    let packed = repeated.from_host(m.to_host().unwrap()).unwrap();
                    let z = repeated.from_host(repeated.to_host().unwrap()).unwrap();
                    let wanted = straight.clone().step(packed, Some(&z), &[k]).unwrap().x;
                    assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
                }
            }
            assert_bits(&x.row_variance().unwrap(), &straight.row_variance().unwrap());
            assert_bits(&x.abs_quantile(0.7).unwrap(), &straight.abs_quantile(0.7).unwrap());
        }
        // Nothing was written into a buffer that others share.
        assert_bits(&straight.to_host().unwrap(), &random::<4>(1, [2, 3, 4, 5], dtype).to_host().unwrap());
    }
}

#[test]
fn a_network_in_half_precision_goes_with_latents_in_f32() {
    let shape = [2, 3, 4, 5];
    for half in [DType::BF16, DType::F16] {
        let (x, m, z) = (random(1, shape, DType::F32), random(2, shape, half), random(3, shape, half));
        for k in coefficients() {
            let found = x.clone().step(m.clone(), Some(&z), &[k]).unwrap().x;
            let wanted = array::<f32, 4>(&x).step(array(&m), Some(&array(&z)), &[k]).unwrap().x;
            assert_eq!(found.dtype(), DType::F32);
            assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
        }
        // f64 latents hold every other type.
        let wide = random(1, shape, DType::F64);
        for k in coefficients() {
            let found = wide.clone().step(m.clone(), Some(&x), &[k]).unwrap().x;
            let wanted = array::<f64, 4>(&wide).step(array(&m), Some(&array(&x)), &[k]).unwrap().x;
            assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
        }
    }
}

/// The factor of an elementwise "network", m = PULL·x, which every backend computes with one rounding.
const PULL: f64 = 0.375;

#[test]
fn seeded_runs_are_those_of_arrays() {
    fn runs<E: Element, const D: usize>(shape: [usize; D], dtype: DType) {
        let schedule = NoiseSchedule::ddpm().unwrap();
        let tau = Timesteps::trailing(1000, 7).unwrap();
        let clipped = |threshold| Plan::builder(&schedule, &tau).threshold(threshold).build(&Ddim::new(0.5).unwrap());
        let plans = [
            Plan::new(&schedule, &tau, &Ddim::deterministic()),
            Plan::new(&schedule, &tau, &Ddpm::new(Variance::Posterior)),
            clipped(Threshold::Clip(1.0)),
            clipped(Threshold::Dynamic { ratio: 0.9, max: 3.0 }),
        ];
        let zeros: Burn<D> = Burn::zeros(shape, (&cpu(), dtype));
        for plan in plans {
            let (plan, mut noise, mut again) = (plan.unwrap(), SeededNoise::new(42), SeededNoise::new(42));
            let (x, array) = (noise.noise(&zeros, Draw::Initial), again.noise(&array::<E, D>(&zeros), Draw::Initial));
            let mut model = |x: &Burn<D>, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
            let mut same = |x: &ArrayD<E>, _: Point| Tensor::linear_combination(&[(PULL.into(), x)]);
            let found = sample(&plan, x.unwrap(), &mut model, &mut noise).unwrap();
            let wanted = sample(&plan, array.unwrap(), &mut same, &mut again).unwrap();
            assert_eq!((found.dtype(), found.dims()), (dtype, shape));
            assert_bits(&found.to_host().unwrap(), &wanted.to_host().unwrap());
        }
    }
    for_each_type_and_rank!(runs);
}

#[test]
fn shapes_that_burn_would_broadcast_are_refused() {
    let x = random::<3>(1, [2, 3, 4], DType::F32);
    let k = coefficients();
    for shape in [[1, 3, 4], [2, 1, 4], [2, 3, 1], [1, 1, 1], [2, 3, 5], [3, 2, 4]] {
        let other = random(2, shape, DType::F32);
        let errors = [
            Burn::linear_combination(&[(1.0.into(), &x), (1.0.into(), &other)]).err(),
            Burn::linear_combination(&[(0.0.into(), &x), (0.0.into(), &other)]).err(),
            x.clone().step(other.clone(), None, &k[6..7]).err(),
            x.clone().step(x.clone(), Some(&other), &k[..1]).err(),
            x.row_dot(&other).err(),
            slerp(&x, &other, 0.5).err(),
        ];
        for error in errors {
            match error {
                Some(Error::Shape { expected, found, .. }) => {
                    assert_eq!((expected, found), (vec![2, 3, 4], shape.to_vec()))
                }
                other => panic!("{shape:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn element_types_that_lose_are_refused() {
    let shape = [2, 3];
    let wide = random::<2>(1, shape, DType::F64);
    let k = coefficients();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let x = random::<2>(2, shape, dtype);
        for error in [
            Burn::linear_combination(&[(1.0.into(), &x), (1.0.into(), &wide)]).err(),
            x.clone().step(wide.clone(), None, &k[6..7]).err(),
            x.clone().step(x.clone(), Some(&wide), &k[..1]).err(),
        ] {
            assert!(matches!(&error, Some(Error::ElementType { found, .. }) if found == "F64"), "{error:?}");
        }
    }
}

#[test]
fn quantised_tensors_are_refused() {
    let scheme = burn_tensor::quantization::QuantScheme::default();
    let x = random::<2>(1, [32, 32], DType::F32);
    let k = coefficients();
    let packed = x.clone().quantize_dynamic(&scheme);
    for error in [
        Burn::linear_combination(&[(1.0.into(), &packed)]).err(),
        Burn::linear_combination(&[(1.0.into(), &x), (1.0.into(), &packed)]).err(),
        packed.clone().clamp_abs(1.0.into()).err(),
        packed.clone().step(x.clone(), None, &k[6..7]).err(),
        x.clone().step(packed.clone(), None, &k[6..7]).err(),
        packed.to_host().err(),
        packed.from_host(vec![0.0; 1024]).err(),
        packed.from_host_f32(vec![0.0; 1024]).err(),
        packed.row_dot(&x).map(drop).err(),
        packed.row_variance().map(drop).err(),
        packed.abs_quantile(0.5).map(drop).err(),
        SeededNoise::new(1).noise(&packed, Draw::Initial).err(),
    ] {
        assert!(matches!(error, Some(Error::ElementType { .. })), "{error:?}");
    }
}

#[test]
fn tensors_without_elements_are_refused() {
    let k = coefficients();
    for shape in [[0, 3], [2, 0], [0, 0]] {
        let x: Burn<2> = Burn::zeros(shape, (&cpu(), DType::F32));
        for error in [
            Burn::linear_combination(&[(1.0.into(), &x)]).err(),
            x.clone().clamp_abs(1.0.into()).err(),
            x.clone().step(x.clone(), Some(&x), &k[..1]).err(),
            x.row_dot(&x).map(drop).err(),
            x.row_variance().map(drop).err(),
            x.abs_quantile(0.5).map(drop).err(),
            SeededNoise::new(1).noise(&x, Draw::Initial).err(),
            x.clone().step_with_streams(x.clone(), &Memory::default(), &[], &k[..1]).err(),
        ] {
            assert!(matches!(error, Some(Error::Empty { .. } | Error::Rows { .. })), "{error:?}");
        }
        assert_eq!(x.to_host().unwrap(), [0.0; 0]);
        assert_eq!(x.from_host(vec![]).unwrap().dims(), shape);
    }
    assert!(matches!(Burn::<2>::linear_combination(&[]), Err(Error::Length { .. })));
}

#[test]
fn numbers_of_rows_noise_and_bounds_are_checked() {
    let (x, m) = (random::<2>(1, [2, 3], DType::F32), random::<2>(2, [2, 3], DType::F32));
    let k = coefficients();
    for wrong in [0, 1, 3] {
        let weights = vec![1.0; wrong];
        let mut errors = vec![
            Burn::linear_combination(&[(Weights::PerRow(&weights), &x)]).err(),
            Burn::linear_combination(&[(1.0.into(), &x), (Weights::PerRow(&weights), &m)]).err(),
            x.clone().clamp_abs(Weights::PerRow(&weights)).err(),
        ];
        if wrong != 1 {
            errors.push(x.clone().step(m.clone(), None, &vec![k[6]; wrong]).err());
            errors.push(x.clone().step(m.clone(), None, &vec![k[8]; wrong]).err());
        }
        for error in errors {
            assert!(matches!(error, Some(Error::Rows { expected: 2, found }) if found == wrong), "{error:?}");
        }
    }
    assert!(matches!(x.clone().step(m, None, &k[..1]), Err(Error::MissingNoise { .. })));
    for bound in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        for bound in [Weights::All(bound), Weights::PerRow(&[1.0, bound])] {
            assert!(matches!(x.clone().clamp_abs(bound), Err(Error::Parameter { .. })));
        }
    }
}

#[test]
fn gradients_flow_through_a_step() {
    let device = cpu().autodiff();
    let shape = [2, 3];
    let values = |seed| TensorData::new(numbers(seed, 6).into_iter().map(|value| value as f32).collect(), shape);
    for k in coefficients().into_iter().filter(|k| !matches!(k.threshold, Threshold::Dynamic { .. })) {
        for rows in [vec![k], vec![k; 2]] {
            let [x, m] = [1, 2].map(|seed| Burn::<2>::from_data(values(seed), &device).require_grad());
            // z is a constant, and not on a device with autodiff.
            let z = Burn::<2>::from_data(values(3), &cpu());
            let next = x.clone().step(m.clone(), Some(&z), &rows).unwrap().x;
            let gradients = next.sum().backward();
            let x0 = Burn::linear_combination(&[(k.p.into(), &x), (k.q.into(), &m)]).unwrap().to_host().unwrap();
            let found = [&x, &m].map(|leaf| leaf.grad(&gradients).map(|grad| grad.to_host().unwrap()));
            for (place, x0) in x0.into_iter().enumerate() {
                // No gradient flows through a clamped x̂₀.
                let through = match k.threshold {
                    Threshold::Clip(range) if x0.abs() > range => 0.0,
                    _ => 1.0,
                };
                let wanted = [through * k.a * k.p + k.b, through * k.a * k.q + k.c];
                for (found, wanted) in found.iter().zip(wanted) {
                    let found = found.as_ref().map_or(0.0, |found| found[place]);
                    assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}, {k:?}");
                }
            }
        }
    }
}

#[test]
fn ways_of_checkpointing_that_differ_are_refused() {
    let shape = [2, 3];
    let plain = random::<2>(1, shape, DType::F32);
    let on = |device: &Device| Burn::<2>::from_data(plain.to_data(), device);
    let (keeping, recomputing) = (on(&cpu().autodiff()), on(&cpu().autodiff().gradient_checkpointing()));
    let k = coefficients();
    for error in [
        Burn::linear_combination(&[(1.0.into(), &keeping), (1.0.into(), &recomputing)]).err(),
        Burn::linear_combination(&[(1.0.into(), &plain), (1.0.into(), &keeping), (1.0.into(), &recomputing)]).err(),
        keeping.clone().step(recomputing.clone(), None, &k[6..7]).err(),
        plain.clone().step(keeping.clone(), Some(&recomputing), &k[..1]).err(),
    ] {
        match error {
            Some(Error::Device { expected, found, .. }) => {
                assert!(expected.contains("Disabled") && found.contains("Balanced"), "{expected} {found}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(keeping.clone().step(keeping.clone(), Some(&plain), &k[..1]).is_ok());
    assert!(plain.clone().step(recomputing.clone(), Some(&plain), &k[..1]).is_ok());
}

#[test]
fn errors_of_burn_become_ours_and_keep_their_source() {
    fn read(tensor: &Burn<1>) -> Result<Vec<f32>, Error> {
        let data = tensor.try_to_data()?; // ExecutionError
        let _ = data.as_slice::<i64>().err().map(Error::from); // DataError
        Ok(tensor.try_to_vec_as::<f32>()?) // TensorReadError
    }
    let x = random::<1>(1, [3], DType::F32);
    assert_eq!(read(&x).unwrap().len(), 3);
    let error: Error = x.to_data().as_slice::<i64>().unwrap_err().into();
    assert!(matches!(error, Error::Backend(_)));
    assert!(error.to_string().contains("I64"), "{error}");
    // Within a run: a network that fails with burn's error.
    let plan =
        Plan::new(&NoiseSchedule::ddpm().unwrap(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::deterministic());
    let mut model = |x: &Burn<1>, _: Point| -> Result<Burn<1>, BoxError> {
        Ok(Burn::from_data(TensorData::new(x.to_data().try_into_vec::<i64>()?, Shape::new([3])), &cpu()))
    };
    let error = sample(&plan.unwrap(), x, &mut model, &mut SeededNoise::new(1)).unwrap_err();
    assert!(matches!(error, Error::AtStep { source, .. } if matches!(*source, Error::Predictor(_))));
}

/// 1 + 2⁻⁸ is a tie between two bf16 numbers and rounds to the even one, 1. A little more must round to the other one.
#[test]
fn an_f64_beside_a_tie_goes_to_its_nearest_half() {
    let beside = 1.0 + 2_f64.powi(-8) + 2_f64.powi(-50);
    let rounded = random::<1>(1, [1], DType::BF16).from_host(vec![beside]).unwrap();
    assert_eq!(rounded.to_host().unwrap(), [1.0 + 2_f64.powi(-7)]);
}

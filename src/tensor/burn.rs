//! Tensors of burn 0.22, of any dimension, on any of its devices.

use burn_tensor::{
    Bool, DType, DataError, Device, Element as BurnElement, ExecutionError, Tensor as Burn, TensorData,
    TensorReadError, bf16, f16, try_read_sync,
};

use crate::coefficients::{Coefficients, Threshold};
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::composed::{PerRow, ages, bounded, kept_weights, step_weights};
use crate::tensor::host::noise_elements;
use crate::tensor::slice::check_count;
use crate::tensor::{
    Element, ElementType, HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights, check_channels,
    half_the_channels, kernel, noise_term,
};

/// Axis 0 is the batch. A `Tensor<1>` of n elements is n samples of one element.
///
/// Different shapes, different devices and incompatible element types are errors that name the operand. (burn would broadcast
/// or panic.) An operand may have another element type than the first operand, if the arithmetic of the first operand's type
/// holds it exactly: `f32` latents go with a network in `bf16` or `f16`. Half precision is computed in `f32`; the result has
/// the type of the first operand. Quantised tensors are an error; `dequantize` them.
///
/// Nothing is detached: on a device with autodiff, gradients flow through a step.
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, SeededNoise, Timesteps, sample};
/// use burn_tensor::Tensor;
///
/// fn images(
///     unet: impl Fn(Tensor<4>, f64) -> Tensor<4>,
///     noise: Tensor<4>,
/// ) -> Result<Tensor<4>, alphabar::Error> {
///     let schedule = NoiseSchedule::ddpm()?;
///     let plan = Plan::new(
///         &schedule,
///         &Timesteps::trailing(1000, 50)?,
///         &Ddim::deterministic(),
///     )?;
///     let mut model = |x: &Tensor<4>, at: alphabar::Point| {
///         Ok::<_, alphabar::Error>(unet(x.clone(), at.t))
///     };
///     sample(&plan, noise, &mut model, &mut SeededNoise::new(42))
/// }
/// ```
impl<const D: usize> Tensor for Burn<D> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::Length { what: "terms of a linear combination", expected: 1, found: 0 });
        };
        let compute = check(terms.iter().map(|(_, tensor)| ("an operand", *tensor)))?;
        let rows = first.rows_of_batch().count;
        terms.iter().try_for_each(|(weights, _)| weights.check_rows(rows))?;
        let sum = combine(terms.iter().map(|(weights, tensor)| (*weights, compute.widen((*tensor).clone()))));
        Ok(narrowed(sum, first.dims(), &first.device(), first.dtype()))
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        let compute = check([("the operand", &self)])?;
        bound.check_rows(self.rows_of_batch().count)?;
        // burn's clamp panics if the lower bound exceeds the upper one.
        bound.check_bounds()?;
        let dtype = self.dtype();
        let values = compute.widen(self);
        let clamped = match bound {
            Weights::All(bound) => values.clamp(-bound, bound),
            Weights::PerRow(bounds) => {
                let high = per_row(bounds, &values).expand(values.dims());
                // By comparisons that are false for NaN, so that NaN stays.
                values.min_pair(high.clone()).max_pair(high.neg())
            }
        };
        Ok(clamped.cast(dtype))
    }

    /// Computed on the host.
    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        let rows = self.rows_of_batch();
        match check([("the operand", self)])? {
            Compute::F64 => kernel::row_quantiles(&read::<f64, D>(self)?, rows, ratio),
            Compute::F32 => kernel::row_quantiles(&read::<f32, D>(self)?, rows, ratio),
        }
    }

    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        Ok(self.dims() == other.dims())
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        let half = half_the_channels(&self.dims())?;
        Ok((self.clone().narrow(1, 0, half), self.clone().narrow(1, half, half)))
    }

    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        check([("the first half of the channels", self), ("the second half of the channels", second)])?;
        check_channels(&self.dims())?;
        Ok(Burn::cat(vec![self.clone(), second.clone().cast(self.dtype())], 1))
    }

    /// The result has the type of the arithmetic.
    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        let compute = check([("z", self), ("v", v)])?;
        for weights in [k, d] {
            weights.check_rows(self.rows_of_batch().count)?;
        }
        k.check_exponents()?;
        d.check_deviations()?;
        let (z, v) = (compute.widen(self.clone()), compute.widen(v.clone()));
        // d·exp(k·v) = exp(k·v + ln d), which does not overflow in between.
        let logarithms: Vec<f64> = d.values().iter().map(|d| libm::log(*d)).collect();
        let (k, logarithms) = (per_row(k.values(), &v), per_row(&logarithms, &v));
        Ok(z.mul((v.mul(k) + logarithms).exp()))
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, rows)?.cloned();
        step(self, m, z, rows)
    }

    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, rows)?.cloned();
        remembering_step(self, m, memory, z, rows)
    }
}

impl<const D: usize> HostTensor for Burn<D> {
    fn rows_of_batch(&self) -> Rows {
        Rows::of(&self.dims())
    }

    fn element_type(&self) -> Result<ElementType, Error> {
        Ok(match Float::of("the tensor to make noise for", self)? {
            Float::F64 => ElementType::F64,
            Float::F32 => ElementType::F32,
            Float::F16 => ElementType::F16,
            Float::Bf16 => ElementType::Bf16,
        })
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        read(self)
    }

    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error> {
        // Rounded here, once; burn would convert to some types through `f32`.
        match Float::of("the operand", self)? {
            Float::F64 => like(self, elements),
            Float::F32 => like(self, elements.into_iter().map(|element| element as f32).collect()),
            Float::F16 => like(self, elements.into_iter().map(<f16 as Element>::from_f64).collect()),
            Float::Bf16 => like(self, elements.into_iter().map(<bf16 as Element>::from_f64).collect()),
        }
    }

    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        match Float::of("the operand", self)? {
            Float::F64 => like(self, elements.into_iter().map(f64::from).collect()),
            Float::F32 => like(self, elements),
            Float::F16 => like(self, elements.into_iter().map(f16::from_f32).collect()),
            Float::Bf16 => like(self, elements.into_iter().map(bf16::from_f32).collect()),
        }
    }

    fn step_with_streams(
        self,
        m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        // The noise is uploaded in `f32`, as it is made, for every type of x.
        check([("x", &self)])?;
        let batch = self.rows_of_batch();
        let elements = noise_elements(batch, streams)?;
        let z = Burn::from_data(TensorData::new(elements, self.dims()), (&self.device(), DType::F32));
        remembering_step(self, m, memory, Some(z), rows)
    }
}

/// Computed on the host.
impl<const D: usize> RowReduce for Burn<D> {
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error> {
        check([("an operand", self), ("an operand", other)])?;
        let (a, b) = (read::<f64, D>(self)?, read::<f64, D>(other)?);
        Ok(kernel::row_dots(&a, &b, self.rows_of_batch()))
    }

    fn row_variance(&self) -> Result<Vec<f64>, Error> {
        check([("the operand", self)])?;
        Ok(kernel::row_variances(&read::<f64, D>(self)?, self.rows_of_batch()))
    }

    fn row_len(&self) -> usize {
        self.rows_of_batch().len
    }
}

/// The floating-point element types.
#[derive(Clone, Copy, PartialEq)]
enum Float {
    F64,
    F32,
    F16,
    Bf16,
}

impl Float {
    fn of<const D: usize>(operand: &'static str, tensor: &Burn<D>) -> Result<Self, Error> {
        match tensor.dtype() {
            DType::F64 => Ok(Self::F64),
            DType::F32 | DType::Flex32 => Ok(Self::F32),
            DType::F16 => Ok(Self::F16),
            DType::BF16 => Ok(Self::Bf16),
            other => Err(Error::ElementType { operand, expected: "float", found: format!("{other:?}") }),
        }
    }
}

/// The types in which arithmetic is done.
#[derive(Clone, Copy, PartialEq)]
enum Compute {
    F64,
    F32,
}

impl Compute {
    /// The tensor in this type. Exact, and without a copy if it has the type already.
    fn widen<const D: usize>(self, tensor: Burn<D>) -> Burn<D> {
        tensor.cast(match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
        })
    }
}

/// The type in which operands like the first one are computed. `Err` for operands that burn would panic on or broadcast.
fn check<'a, const D: usize>(
    operands: impl IntoIterator<Item = (&'static str, &'a Burn<D>)>,
) -> Result<Compute, Error> {
    let mut operands = operands.into_iter().peekable();
    let Some(&(operand, first)) = operands.peek() else {
        return Err(Error::Length { what: "operands", expected: 1, found: 0 });
    };
    let (shape, device) = (first.dims(), first.device());
    let compute = if Float::of(operand, first)? == Float::F64 { Compute::F64 } else { Compute::F32 };
    let mut recording: Option<Device> = None;
    for (operand, tensor) in operands {
        let (its_shape, its_device) = (tensor.dims(), tensor.device());
        if its_shape != shape {
            return Err(Error::Shape { operand, expected: shape.to_vec(), found: its_shape.to_vec() });
        }
        if shape.contains(&0) {
            return Err(Error::Empty { operand, shape: shape.to_vec() });
        }
        if Float::of(operand, tensor)? == Float::F64 && compute == Compute::F32 {
            return Err(Error::ElementType { operand, expected: "f32 or half precision", found: "F64".into() });
        }
        // Tensors with and without autodiff may be combined, like variables and constants. But two tensors with autodiff must
        // have the same checkpointing strategy, which may differ although the devices compare equal.
        let other = if its_device != device {
            Some(&device)
        } else if its_device.is_autodiff() {
            recording.as_ref().filter(|recording| format!("{recording:?}") != format!("{its_device:?}"))
        } else {
            None
        };
        if let Some(other) = other {
            return Err(Error::Device { operand, expected: format!("{other:?}"), found: format!("{its_device:?}") });
        }
        if its_device.is_autodiff() {
            recording = Some(its_device);
        }
    }
    Ok(compute)
}

/// One step. It takes its operands by value, so that burn may write into buffers that are not shared.
fn step<const D: usize>(
    x: Burn<D>,
    m: Burn<D>,
    z: Option<Burn<D>>,
    rows: &[Coefficients],
) -> Result<Stepped<Burn<D>>, Error> {
    let z = if noise_term(z.as_ref(), rows)?.is_some() { z } else { None };
    let operands = [("x", &x), ("the network's output", &m)];
    let compute = check(operands.into_iter().chain(z.as_ref().map(|z| ("z", z))))?;
    let count = x.rows_of_batch().count;
    if rows.len() != 1 && rows.len() != count {
        return Err(Error::Rows { expected: count, found: rows.len() });
    }
    let (shape, device, dtype) = (x.dims(), x.device(), x.dtype());
    let (x, m, z) = (compute.widen(x), compute.widen(m), z.map(|z| compute.widen(z)));
    let [a, b, c, d] = step_weights(rows, None);
    let z = z.map(|z| (d.weights(), z));
    let sum = if rows.iter().all(|k| k.threshold == Threshold::None) {
        combine([(b.weights(), x), (c.weights(), m)].into_iter().chain(z))
    } else {
        // If x′ needs x or m only through x̂₀, it is not cloned, and x̂₀ may take its buffer.
        let beside = |weights: &PerRow, tensor: &Burn<D>| (!weights.weights().are_zero()).then(|| tensor.clone());
        let (x_beside, m_beside) = (beside(&b, &x), beside(&c, &m));
        let (p, q) = (PerRow::new(rows, |k| k.p), PerRow::new(rows, |k| k.q));
        let computed = x.dtype();
        let x0 = narrowed(combine([(p.weights(), x), (q.weights(), m)].into_iter()), shape, &device, computed);
        let (x0, divisor) = bounded(x0, rows)?;
        let a = a.divided_by(&divisor);
        let x = x_beside.map(|x| (b.weights(), x));
        let m = m_beside.map(|m| (c.weights(), m));
        combine([(a.weights(), x0)].into_iter().chain(x).chain(m).chain(z))
    };
    Ok(Stepped::new(narrowed(sum, shape, &device, dtype), None))
}

/// One step with memory.
fn remembering_step<const D: usize>(
    x: Burn<D>,
    m: Burn<D>,
    memory: &Memory<Burn<D>>,
    z: Option<Burn<D>>,
    rows: &[Coefficients],
) -> Result<Stepped<Burn<D>>, Error> {
    if !rows.iter().any(Coefficients::remembers) {
        return step(x, m, z, rows);
    }
    let z = if noise_term(z.as_ref(), rows)?.is_some() { z } else { None };
    let outputs: Vec<(PerRow, &Burn<D>)> = ages(memory, rows)?
        .into_iter()
        .filter_map(|age| Some((PerRow::new(rows, |k| k.history.weight(age)), memory.get(age)?)))
        .collect();
    let operands = [("x", &x), ("the network's output", &m)].into_iter();
    let operands = operands.chain(outputs.iter().map(|(_, output)| ("an earlier output", *output)));
    let compute = check(operands.chain(z.as_ref().map(|z| ("z", z))))?;
    let count = x.rows_of_batch().count;
    if rows.len() != 1 && rows.len() != count {
        return Err(Error::Rows { expected: count, found: rows.len() });
    }
    let (shape, device, dtype) = (x.dims(), x.device(), x.dtype());
    let (x, m, z) = (compute.widen(x), compute.widen(m), z.map(|z| compute.widen(z)));
    let x0 = if rows.iter().all(|k| k.threshold == Threshold::None) {
        None
    } else {
        let (p, q) = (PerRow::new(rows, |k| k.p), PerRow::new(rows, |k| k.q));
        let x0 = combine([(p.weights(), x.clone()), (q.weights(), m.clone())].into_iter());
        Some(bounded(narrowed(x0, shape, &device, x.dtype()), rows)?)
    };
    let divisor = x0.as_ref().map(|(_, divisor)| divisor);
    let [a, b, c, d] = step_weights(rows, divisor);
    let of_call = x0.as_ref().map(|(x0, _)| (a.weights(), x0.clone())).into_iter();
    let of_call = of_call.chain([(b.weights(), x.clone()), (c.weights(), m.clone())]);
    let earlier = outputs.iter().map(|(weights, output)| (weights.weights(), compute.widen((*output).clone())));
    let next = combine(of_call.chain(earlier).chain(z.map(|z| (d.weights(), z))));
    let next = Stepped::new(narrowed(next, shape, &device, dtype), None);
    if rows.iter().all(|k| k.kept.is_none()) {
        return Ok(next);
    }
    let [a, b, c] = kept_weights(rows, divisor);
    let of_call = x0.as_ref().map(|(x0, _)| (a.weights(), x0.clone())).into_iter();
    let kept = combine(of_call.chain([(b.weights(), x), (c.weights(), m)]));
    Ok(next.keeping(narrowed(kept, shape, &device, dtype)))
}

/// Σ kᵢ·tᵢ in the order of the terms; `None` if all of them are dropped.
fn combine<'a, const D: usize>(terms: impl Iterator<Item = (Weights<'a>, Burn<D>)>) -> Option<Burn<D>> {
    terms.filter_map(|(weights, tensor)| weighted(weights, tensor)).reduce(|sum, term| sum + term)
}

/// k·t; `None`, or −0 in a row, for a weight of 0.
fn weighted<const D: usize>(weights: Weights<'_>, tensor: Burn<D>) -> Option<Burn<D>> {
    match weights {
        _ if weights.are_zero() => None,
        Weights::All(1.0) => Some(tensor),
        Weights::All(weight) => Some(tensor.mul_scalar(weight)),
        Weights::PerRow(weights) => {
            let weight = per_row(weights, &tensor);
            let (shape, device) = (tensor.dims(), tensor.device());
            let term = tensor.mul(weight);
            if !weights.contains(&0.0) {
                return Some(term);
            }
            let dropped = weights.iter().map(|weight| *weight == 0.0).collect();
            let dropped = TensorData::new::<bool, _>(dropped, column::<D>(weights.len()));
            Some(term.mask_fill(Burn::<D, Bool>::from_data(dropped, &device).expand(shape), NOTHING))
        }
    }
}

/// The sum without terms. It is −0, since −0 + x is x for every x, also for +0 and −0.
const NOTHING: f64 = -0.0;

/// A sum in the type of the result.
fn narrowed<const D: usize>(sum: Option<Burn<D>>, shape: [usize; D], device: &Device, dtype: DType) -> Burn<D> {
    sum.map_or_else(|| Burn::full(shape, NOTHING, (device, dtype)), |sum| sum.cast(dtype))
}

/// One number per row, for broadcasting over a tensor; it has the tensor's type and device.
fn per_row<const D: usize>(values: &[f64], tensor: &Burn<D>) -> Burn<D> {
    let shape = column::<D>(values.len());
    let data = match tensor.dtype() {
        DType::F64 => TensorData::new(values.to_vec(), shape),
        _ => TensorData::new(values.iter().map(|value| *value as f32).collect(), shape),
    };
    Burn::from_data(data, (&tensor.device(), tensor.dtype()))
}

/// The shape for one number per row.
fn column<const D: usize>(rows: usize) -> [usize; D] {
    let mut shape = [1; D];
    shape.iter_mut().take(1).for_each(|axis| *axis = rows);
    shape
}

/// A tensor's elements, converted.
fn read<E: BurnElement, const D: usize>(tensor: &Burn<D>) -> Result<Vec<E>, Error> {
    Float::of("the operand", tensor)?;
    let Some(data) = try_read_sync(tensor.clone().into_data_async()) else {
        return Err(Error::Backend(
            "this platform cannot wait for a tensor's elements (in a browser they can only be read asynchronously)"
                .into(),
        ));
    };
    Ok(data?.try_cast_as::<E>()?.try_into_vec::<E>()?)
}

/// A tensor of the same shape, type and device with other elements.
fn like<E: BurnElement, const D: usize>(tensor: &Burn<D>, elements: Vec<E>) -> Result<Burn<D>, Error> {
    check_count(tensor.dims().iter().product(), elements.len())?;
    Ok(Burn::from_data(TensorData::new(elements, tensor.dims()), (&tensor.device(), tensor.dtype())))
}

/// burn's errors keep their text and their source.
impl From<ExecutionError> for Error {
    fn from(error: ExecutionError) -> Self {
        Self::Backend(error.into())
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::Backend(error.into())
    }
}

impl From<TensorReadError> for Error {
    fn from(error: TensorReadError) -> Self {
        Self::Backend(error.into())
    }
}

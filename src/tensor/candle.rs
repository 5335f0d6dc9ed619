//! Tensors of candle-core 0.11, of any rank, on any of its devices.

use core::fmt::{self, Display, Formatter};
use core::ops::Range;

use candle_core::{DType, Device, Storage, StorageRef, Tensor as Candle, WithDType};
use half::{bf16, f16};

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::composed::{PerRow, ages, kept_weights, step_weights, thresholded_x0};
use crate::tensor::host::noise_elements;
use crate::tensor::kernel::{self, NoiseTerm};
use crate::tensor::slice::check_count;
use crate::tensor::{
    Element, ElementType, HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights, check_channels,
    half_the_channels, noise_term, remember,
};

/// Runs `$body` with the Rust type of a kind's elements as `$element`.
macro_rules! with_element {
    ($kind:expr, $element:ident => $body:expr) => {
        match $kind {
            Kind::F64 => {
                type $element = f64;
                $body
            }
            Kind::F32 => {
                type $element = f32;
                $body
            }
            Kind::F16 => {
                type $element = f16;
                $body
            }
            Kind::Bf16 => {
                type $element = bf16;
                $body
            }
        }
    };
}

/// Axis 0 is the batch. A tensor of rank 1 with n elements is n samples of one element; a tensor of rank 0 is one sample of one
/// element.
///
/// Different shapes, different devices and incompatible element types are errors that name the operand. (candle would
/// broadcast, or fail deep inside.) An operand may have another element type than the first operand, if the arithmetic of the
/// first operand's type holds it exactly. Keep latents in `f32` with a network in `bf16` or `f16`: latents in half precision
/// lose a little at every step. Half precision is computed in `f32`; the result has the type of the first operand.
///
/// On the CPU a step is one pass over memory, with the same bits as on slices. On other devices, and if gradients are recorded,
/// it is composed of candle's operations. Nothing is detached: gradients flow through a step. If a network's parameters are
/// `Var`s, the graph of the whole run is therefore kept; `detach` the network's output if you do not need gradients. The result
/// shares no memory with any operand.
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, SeededNoise, Timesteps, sample};
/// use candle_core::{Result, Tensor};
///
/// fn images(
///     unet: impl Fn(&Tensor, f64) -> Result<Tensor>,
///     noise: Tensor,
/// ) -> Result<Tensor> {
///     let schedule = NoiseSchedule::ddpm()?;
///     let plan = Plan::new(
///         &schedule,
///         &Timesteps::trailing(1000, 50)?,
///         &Ddim::deterministic(),
///     )?;
///     let mut model = |x: &Tensor, at: alphabar::Point| unet(x, at.t);
///     Ok(sample(&plan, noise, &mut model, &mut SeededNoise::new(42))?)
/// }
/// ```
impl Tensor for Candle {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::Length { what: "terms of a linear combination", expected: 1, found: 0 });
        };
        let kind = check(terms.iter().map(|(_, tensor)| ("an operand", *tensor)))?;
        let rows = first.rows_of_batch();
        terms.iter().try_for_each(|(weights, _)| weights.check_rows(rows.count))?;
        if !terms.iter().all(|(_, tensor)| is_plain(tensor)) {
            let compute = kind.compute();
            let widened = terms.iter().map(|(weights, tensor)| Ok((*weights, compute.cast(tensor)?)));
            let sum = combine(&widened.collect::<Result<Vec<_>, Error>>()?)?;
            return narrowed(sum, first);
        }
        with_element!(kind.shared_by(terms.iter().map(|(_, tensor)| *tensor)), E => {
            let operands = terms.iter().map(|(_, tensor)| laid_out::<E>(tensor)).collect::<Result<Vec<_>, Error>>()?;
            let elements = operands.iter().map(Elements::of).collect::<Result<Vec<_>, Error>>()?;
            let slices = terms.iter().zip(&elements).map(|((weights, _), elements)| Ok((*weights, elements.get::<E>()?)));
            kind.cast(&like(first, kernel::linear_combination(&slices.collect::<Result<Vec<_>, Error>>()?, rows)?)?)
        })
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        let kind = check([("the operand", &self)])?;
        let rows = self.rows_of_batch();
        bound.check_rows(rows.count)?;
        bound.check_bounds()?;
        if is_plain(&self) {
            return with_element!(kind, E => {
                let mut values = copied::<E>(&self)?;
                kernel::clamp_abs(&mut values, bound, rows)?;
                like(&self, values)
            });
        }
        let values = kind.compute().cast(&self)?;
        let bounds = bound.values();
        let high = per_row(bounds, &values)?.broadcast_as(values.shape())?;
        let low = per_row(&bounds.iter().map(|bound| -bound).collect::<Vec<_>>(), &values)?;
        let low = low.broadcast_as(values.shape())?;
        // These comparisons are false for NaN, so that it stays; minimum and maximum would drop it on some devices.
        let values = values.gt(&high)?.where_cond(&high, &values)?;
        let values = values.lt(&low)?.where_cond(&low, &values)?;
        kind.cast(&values)
    }

    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        Ok(self.dims() == other.dims())
    }

    /// Computed on the host. Gradients treat it as a constant.
    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        let kind = check([("the operand", self)])?;
        with_element!(kind, E => {
            let tensor = laid_out::<E>(self)?;
            kernel::row_quantiles(Elements::of(&tensor)?.get::<E>()?, self.rows_of_batch(), ratio)
        })
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        Kind::of("the network's output", self)?;
        let half = half_the_channels(self.dims())?;
        Ok((self.narrow(1, 0, half)?, self.narrow(1, half, half)?))
    }

    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        check([("the first half of the channels", self), ("the second half of the channels", second)])?;
        check_channels(self.dims())?;
        Ok(Candle::cat(&[self, &second.to_dtype(self.dtype())?], 1)?)
    }

    /// The result has the type of the arithmetic.
    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        let compute = check([("z", self), ("v", v)])?.compute();
        let rows = self.rows_of_batch();
        if is_plain(self) && is_plain(v) {
            return with_element!(compute, E => {
                let (z, v) = (laid_out::<E>(self)?, laid_out::<E>(v)?);
                let (z, v) = (Elements::of(&z)?, Elements::of(&v)?);
                like(self, kernel::times_exp::<E>(z.get()?, v.get()?, k, d, rows)?)
            });
        }
        for weights in [k, d] {
            weights.check_rows(rows.count)?;
        }
        k.check_exponents()?;
        d.check_deviations()?;
        let (z, v) = (compute.cast(self)?, compute.cast(v)?);
        // d·exp(k·v) = exp(k·v + ln d), which does not overflow in between.
        let logarithms: Vec<f64> = d.values().iter().map(|d| libm::log(*d)).collect();
        let (k, logarithms) = (per_row(k.values(), &v)?, per_row(&logarithms, &v)?);
        let exponent = v.broadcast_mul(&k)?.broadcast_add(&logarithms)?;
        Ok(z.mul(&exponent.exp()?)?)
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        let noise = noise_term(z, rows)?.map_or(Noise::None, Noise::Tensor);
        step(&self, &m, noise, rows)
    }

    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let noise = noise_term(z, rows)?.map_or(Noise::None, Noise::Tensor);
        remembering_step(&self, &m, memory, noise, rows)
    }
}

impl HostTensor for Candle {
    fn rows_of_batch(&self) -> Rows {
        Rows::of(self.dims())
    }

    fn element_type(&self) -> Result<ElementType, Error> {
        Ok(match Kind::of("the tensor to make noise for", self)? {
            Kind::F64 => ElementType::F64,
            Kind::F32 => ElementType::F32,
            Kind::F16 => ElementType::F16,
            Kind::Bf16 => ElementType::Bf16,
        })
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        Kind::of("the operand", self)?;
        copied(self)
    }

    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error> {
        // Rounded here, once; candle would convert to some types through `f32`.
        with_element!(Kind::of("the operand", self)?, E => {
            like(self, elements.into_iter().map(<E as Element>::from_f64).collect())
        })
    }

    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        match Kind::of("the operand", self)? {
            Kind::F64 => like(self, elements.into_iter().map(f64::from).collect()),
            Kind::F32 => like(self, elements),
            Kind::F16 => like(self, elements.into_iter().map(f16::from_f32).collect()),
            Kind::Bf16 => like(self, elements.into_iter().map(bf16::from_f32).collect()),
        }
    }

    fn step_with_streams(
        self,
        m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let count = self.rows_of_batch().count;
        if streams.len() != count {
            return Err(Error::Rows { expected: count, found: streams.len() });
        }
        remembering_step(&self, &m, memory, Noise::Streams(streams), rows)
    }
}

/// Computed on the host.
impl RowReduce for Candle {
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error> {
        check([("an operand", self), ("an operand", other)])?;
        let (a, b) = (copied::<f64>(self)?, copied::<f64>(other)?);
        Ok(kernel::row_dots(&a, &b, self.rows_of_batch()))
    }

    fn row_variance(&self) -> Result<Vec<f64>, Error> {
        check([("the operand", self)])?;
        Ok(kernel::row_variances(&copied::<f64>(self)?, self.rows_of_batch()))
    }

    fn row_len(&self) -> usize {
        self.rows_of_batch().len
    }
}

/// Element types that this crate computes with.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    F64,
    F32,
    F16,
    Bf16,
}

impl Kind {
    fn of(operand: &'static str, tensor: &Candle) -> Result<Self, Error> {
        match tensor.dtype() {
            DType::F64 => Ok(Self::F64),
            DType::F32 => Ok(Self::F32),
            DType::F16 => Ok(Self::F16),
            DType::BF16 => Ok(Self::Bf16),
            other => {
                Err(Error::ElementType { operand, expected: "f64, f32, f16 or bf16", found: format!("{other:?}") })
            }
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// The kind in which arithmetic on such elements is done.
    fn compute(self) -> Self {
        if self == Self::F64 { Self::F64 } else { Self::F32 }
    }

    /// This kind if all the tensors have it; otherwise the kind of its arithmetic, which can hold them all.
    fn shared_by<'a>(self, mut tensors: impl Iterator<Item = &'a Candle>) -> Self {
        if tensors.all(|tensor| tensor.dtype() == self.dtype()) { self } else { self.compute() }
    }

    /// The tensor with elements of this kind; no copy if it has them already.
    fn cast(self, tensor: &Candle) -> Result<Candle, Error> {
        Ok(tensor.to_dtype(self.dtype())?)
    }
}

/// The kind of the first operand's elements, which the result has. `Err` for operands that candle would fail on or broadcast.
fn check<'a>(operands: impl IntoIterator<Item = (&'static str, &'a Candle)>) -> Result<Kind, Error> {
    let mut operands = operands.into_iter().peekable();
    let Some(&(operand, first)) = operands.peek() else {
        return Err(Error::Length { what: "operands", expected: 1, found: 0 });
    };
    let kind = Kind::of(operand, first)?;
    for (operand, tensor) in operands {
        if tensor.dims() != first.dims() {
            return Err(Error::Shape { operand, expected: first.dims().to_vec(), found: tensor.dims().to_vec() });
        }
        if tensor.elem_count() == 0 {
            return Err(Error::Empty { operand, shape: tensor.dims().to_vec() });
        }
        if Kind::of(operand, tensor)? == Kind::F64 && kind != Kind::F64 {
            return Err(Error::ElementType { operand, expected: "f32, f16 or bf16", found: "F64".into() });
        }
        let (device, its_device) = (first.device(), tensor.device());
        if !its_device.same_device(device) {
            let name = |device: &Device| format!("{:?}", device.location());
            return Err(Error::Device { operand, expected: name(device), found: name(its_device) });
        }
    }
    Ok(kind)
}

/// Whether the elements lie in this process's memory and no gradients are recorded.
fn is_plain(tensor: &Candle) -> bool {
    tensor.device().is_cpu() && !tensor.track_op()
}

/// The source of z.
#[derive(Clone, Copy)]
enum Noise<'a> {
    None,
    Tensor(&'a Candle),
    Streams(&'a [NormalStream]),
}

fn step(x: &Candle, m: &Candle, noise: Noise<'_>, rows: &[Coefficients]) -> Result<Stepped<Candle>, Error> {
    let z = if let Noise::Tensor(z) = noise { Some(z) } else { None };
    let kind = check([("x", x), ("the network's output", m)].into_iter().chain(z.map(|z| ("z", z))))?;
    let batch = x.rows_of_batch();
    if rows.len() != 1 && rows.len() != batch.count {
        return Err(Error::Rows { expected: batch.count, found: rows.len() });
    }
    let next = if [x, m].into_iter().chain(z).all(is_plain) {
        let shared = kind.shared_by([m].into_iter().chain(z));
        kind.cast(&with_element!(shared, E => fused_step::<E>(x, m, noise, rows))?)?
    } else {
        let uploaded = noise.uploaded(x, rows)?;
        narrowed(composed_step(kind.compute(), x, m, z.or(uploaded.as_ref()), rows)?, x)?
    };
    Ok(Stepped::new(next, None))
}

impl Noise<'_> {
    /// The noise of streams, uploaded to the device of x, if a row needs it.
    fn uploaded(self, x: &Candle, rows: &[Coefficients]) -> Result<Option<Candle>, Error> {
        match self {
            Self::Streams(streams) if rows.iter().any(Coefficients::needs_noise) => {
                let elements = noise_elements(x.rows_of_batch(), streams)?;
                Ok(Some(Candle::from_vec(elements, x.shape(), x.device())?))
            }
            _ => Ok(None),
        }
    }
}

fn remembering_step(
    x: &Candle,
    m: &Candle,
    memory: &Memory<Candle>,
    noise: Noise<'_>,
    rows: &[Coefficients],
) -> Result<Stepped<Candle>, Error> {
    if !rows.iter().any(Coefficients::remembers) {
        return step(x, m, noise, rows);
    }
    let z = if let Noise::Tensor(z) = noise { Some(z) } else { None };
    let outputs: Vec<(usize, &Candle)> =
        ages(memory, rows)?.into_iter().filter_map(|age| Some((age, memory.get(age)?))).collect();
    let others = || [m].into_iter().chain(outputs.iter().map(|(_, output)| *output)).chain(z);
    let earlier = outputs.iter().map(|(_, output)| ("an earlier output", *output));
    let operands = [("x", x), ("the network's output", m)];
    let kind = check(operands.into_iter().chain(earlier).chain(z.map(|z| ("z", z))))?;
    let batch = x.rows_of_batch();
    if rows.len() != 1 && rows.len() != batch.count {
        return Err(Error::Rows { expected: batch.count, found: rows.len() });
    }
    let (next, kept) = if [x].into_iter().chain(others()).all(is_plain) {
        let (next, kept) = with_element!(kind.shared_by(others()), E => {
            fused_remembering_step::<E>(x, m, &outputs, noise, rows)
        })?;
        (kind.cast(&next)?, kept.map(|kept| kind.cast(&kept)).transpose()?)
    } else {
        let uploaded = noise.uploaded(x, rows)?;
        let (next, kept) = composed_remembering_step(kind.compute(), [x, m], &outputs, z.or(uploaded.as_ref()), rows)?;
        let keeps = rows.iter().any(|k| k.kept.is_some());
        (narrowed(next, x)?, if keeps { Some(narrowed(kept, x)?) } else { None })
    };
    let stepped = Stepped::new(next, None);
    Ok(match kept {
        Some(kept) => stepped.keeping(kept),
        None => stepped,
    })
}

/// One pass over elements of one kind. Returns x′ and what is kept.
fn fused_remembering_step<E: Element + WithDType>(
    x: &Candle,
    m: &Candle,
    outputs: &[(usize, &Candle)],
    noise: Noise<'_>,
    rows: &[Coefficients],
) -> Result<(Candle, Option<Candle>), Error> {
    let (x_laid, m) = (laid_out::<E>(x)?, laid_out::<E>(m)?);
    let (x_elements, m) = (Elements::of(&x_laid)?, Elements::of(&m)?);
    let outputs = outputs
        .iter()
        .map(|(age, output)| Ok((*age, laid_out::<E>(output)?)))
        .collect::<Result<Vec<(usize, Candle)>, Error>>()?;
    let elements = outputs
        .iter()
        .map(|(age, output)| Ok((*age, Elements::of(output)?)))
        .collect::<Result<Vec<(usize, Elements<'_>)>, Error>>()?;
    let slices = elements
        .iter()
        .map(|(age, elements)| Ok((*age, elements.get::<E>()?)))
        .collect::<Result<Vec<(usize, &[E])>, Error>>()?;
    let output = |age| slices.iter().find(|(of, _)| *of == age).map(|(_, slice)| *slice);
    let pass = |noise: NoiseTerm<'_, E>| {
        let (next, kept) = remember::step_copied(x_elements.get()?, m.get()?, output, noise, x.rows_of_batch(), rows)?;
        Ok((like(x, next)?, kept.map(|kept| like(x, kept)).transpose()?))
    };
    match noise {
        Noise::None => pass(NoiseTerm::None),
        Noise::Streams(streams) => pass(NoiseTerm::Streams(streams)),
        Noise::Tensor(z) => {
            let z = laid_out::<E>(z)?;
            let z = Elements::of(&z)?;
            pass(NoiseTerm::Tensor(z.get()?))
        }
    }
}

/// The step by candle's operations, in the order of the fused step and in the type of the arithmetic. Returns x′ and what is
/// kept.
fn composed_remembering_step(
    compute: Kind,
    [x, m]: [&Candle; 2],
    outputs: &[(usize, &Candle)],
    z: Option<&Candle>,
    rows: &[Coefficients],
) -> Result<(Option<Candle>, Option<Candle>), Error> {
    let (x, m) = (compute.cast(x)?, compute.cast(m)?);
    let z = z.map(|z| compute.cast(z)).transpose()?;
    let x0 = thresholded_x0(&x, &m, rows)?;
    let divisor = x0.as_ref().map(|(_, divisor)| divisor);
    let [a, b, c, d] = step_weights(rows, divisor);
    let history: Vec<PerRow> = outputs.iter().map(|(age, _)| PerRow::new(rows, |k| k.history.weight(*age))).collect();
    let mut terms = Vec::with_capacity(4 + outputs.len());
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0.clone())));
    terms.extend([(b.weights(), x.clone()), (c.weights(), m.clone())]);
    for (weights, (_, output)) in history.iter().zip(outputs) {
        terms.push((weights.weights(), compute.cast(output)?));
    }
    terms.extend(z.map(|z| (d.weights(), z)));
    let next = combine(&terms)?;
    let [a, b, c] = kept_weights(rows, divisor);
    let mut terms = Vec::with_capacity(3);
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0.clone())));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    Ok((next, combine(&terms)?))
}

/// One pass over elements of one kind.
fn fused_step<E: Element + WithDType>(
    x: &Candle,
    m: &Candle,
    noise: Noise<'_>,
    rows: &[Coefficients],
) -> Result<Candle, Error> {
    let (x_laid, m) = (laid_out::<E>(x)?, laid_out::<E>(m)?);
    let (elements, m) = (Elements::of(&x_laid)?, Elements::of(&m)?);
    let pass = |noise: NoiseTerm<'_, E>| {
        like(x, kernel::step_copied(elements.get()?, m.get()?, noise, x.rows_of_batch(), rows)?)
    };
    match noise {
        Noise::None => pass(NoiseTerm::None),
        Noise::Streams(streams) => pass(NoiseTerm::Streams(streams)),
        Noise::Tensor(z) => {
            let z = laid_out::<E>(z)?;
            let z = Elements::of(&z)?;
            pass(NoiseTerm::Tensor(z.get()?))
        }
    }
}

/// The step by candle's operations, in the order of the fused step and in the type of the arithmetic.
fn composed_step(
    compute: Kind,
    x: &Candle,
    m: &Candle,
    z: Option<&Candle>,
    rows: &[Coefficients],
) -> Result<Option<Candle>, Error> {
    let (x, m) = (compute.cast(x)?, compute.cast(m)?);
    let z = z.map(|z| compute.cast(z)).transpose()?;
    let x0 = thresholded_x0(&x, &m, rows)?;
    let [a, b, c, d] = step_weights(rows, x0.as_ref().map(|(_, divisor)| divisor));
    let mut terms = Vec::with_capacity(4);
    terms.extend(x0.map(|(x0, _)| (a.weights(), x0)));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    terms.extend(z.map(|z| (d.weights(), z)));
    combine(&terms)
}

/// Σ kᵢ·tᵢ in the order of the terms; `None` if all of them are dropped.
fn combine(terms: &[(Weights<'_>, Candle)]) -> Result<Option<Candle>, Error> {
    let mut sum: Option<Candle> = None;
    for (weights, tensor) in terms {
        if weights.are_zero() {
            continue;
        }
        let term = weighted(*weights, tensor)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(sum)
}

/// The sum without terms. It is −0, since −0 + x is x for every x, also for +0 and −0.
const NOTHING: f64 = -0.0;

/// k·t, in new memory.
fn weighted(weights: Weights<'_>, tensor: &Candle) -> Result<Candle, Error> {
    let weights = match weights {
        Weights::All(weight) => return Ok(tensor.affine(weight, NOTHING)?),
        Weights::PerRow(weights) => weights,
    };
    let term = tensor.broadcast_mul(&per_row(weights, tensor)?)?;
    if !weights.contains(&0.0) {
        return Ok(term);
    }
    // A weight of 0 drops its term, also if that is NaN.
    let live = weights.iter().map(|weight| u8::from(*weight != 0.0)).collect();
    let live = Candle::from_vec(live, column(weights.len(), tensor), tensor.device())?;
    let nothing = per_row(&[NOTHING], tensor)?.broadcast_as(tensor.shape())?;
    Ok(live.broadcast_as(tensor.shape())?.where_cond(&term, &nothing)?)
}

/// A sum in the type of the result.
fn narrowed(sum: Option<Candle>, like: &Candle) -> Result<Candle, Error> {
    let sum = match sum {
        Some(sum) => sum,
        None => Candle::full(NOTHING as f32, like.shape(), like.device())?,
    };
    Ok(sum.to_dtype(like.dtype())?)
}

/// One number per row, or one for all, for broadcasting over a tensor; it has the tensor's type and device.
fn per_row(values: &[f64], tensor: &Candle) -> Result<Candle, Error> {
    let (shape, device) = (column(values.len(), tensor), tensor.device());
    Ok(match tensor.dtype() {
        DType::F64 => Candle::from_vec(values.to_vec(), shape, device)?,
        _ => Candle::from_vec(values.iter().map(|value| *value as f32).collect(), shape, device)?,
    })
}

/// The shape for one number per row.
fn column(rows: usize, tensor: &Candle) -> Vec<usize> {
    let mut shape = vec![1; tensor.rank()];
    shape.iter_mut().take(1).for_each(|axis| *axis = rows);
    shape
}

/// A tensor's elements as `E`, in row-major order, in this process's memory and detached from any graph. Copies only if needed.
fn laid_out<E: WithDType>(tensor: &Candle) -> Result<Candle, Error> {
    Ok(tensor.detach().to_device(&Device::Cpu)?.to_dtype(E::DTYPE)?.contiguous()?)
}

/// The elements of a tensor that is laid out, locked for reading.
struct Elements<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    fn of(tensor: &'a Candle) -> Result<Self, Error> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::RequiresContiguous { op: "a step" }.into());
        };
        Ok(Self { storage, range: start..end })
    }

    fn get<E: WithDType>(&self) -> Result<&[E], Error> {
        let Storage::Cpu(storage) = &*self.storage else {
            return Err(Error::Backend("the elements are not in this process's memory".into()));
        };
        let elements = storage.as_slice::<E>()?;
        elements.get(self.range.clone()).ok_or_else(|| Error::Backend("the layout exceeds the storage".into()))
    }
}

/// A copy of a tensor's elements.
fn copied<E: WithDType>(tensor: &Candle) -> Result<Vec<E>, Error> {
    let tensor = laid_out::<E>(tensor)?;
    Ok(Elements::of(&tensor)?.get()?.to_vec())
}

/// A tensor of the same shape and device with other elements.
fn like<E: WithDType>(tensor: &Candle, elements: Vec<E>) -> Result<Candle, Error> {
    check_count(tensor.elem_count(), elements.len())?;
    Ok(Candle::from_vec(elements, tensor.shape(), tensor.device())?)
}

/// candle's errors keep their text and their source.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Backend(error.into())
    }
}

/// An error that came from candle is returned unchanged. Any other is wrapped together with its sources, since candle keeps
/// only text.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Backend(source) => match source.downcast() {
                Ok(candle) => *candle,
                Err(source) => Self::wrap(Chain(Error::Backend(source))),
            },
            error => Self::wrap(Chain(error)),
        }
    }
}

/// An error and its sources in one line.
struct Chain(Error);

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = core::error::Error::source(&self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

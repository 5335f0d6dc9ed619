//! `ndarray`'s owned arrays, of any dimension.

use ndarray::{Array, Axis, CowArray, Dimension};

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::kernel::{self, NoiseTerm};
use crate::tensor::slice::check_count;
use crate::tensor::{
    Element, ElementType, HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights, check_channels,
    half_the_channels, noise_term, remember,
};

/// Axis 0 is the batch. An `Array1` of n elements is n samples of one element; use the shape (1, n) for one sample of n elements.
/// An array without axes is one sample of one element.
///
/// Arrays in standard (row-major) layout are used in place. Transposed or strided arrays are copied into that layout first, and
/// the result has that layout too.
impl<E: Element, D: Dimension> Tensor for Array<E, D> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::Length { what: "terms of a linear combination", expected: 1, found: 0 });
        };
        let operands = terms
            .iter()
            .map(|(weights, tensor)| Ok((*weights, standard("an operand", first, tensor)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let slices: Vec<(Weights<'_>, &[E])> =
            operands.iter().map(|(weights, tensor)| (*weights, tensor.as_slice().unwrap_or_default())).collect();
        let sum = kernel::linear_combination(&slices, first.rows_of_batch())?;
        shaped_like(first, sum)
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        let mut values = into_standard(self);
        let rows = values.rows_of_batch();
        kernel::clamp_abs(values.as_slice_mut().unwrap_or_default(), bound, rows)?;
        Ok(values)
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        let values = standard("the operand", self, self)?;
        kernel::row_quantiles(values.as_slice().unwrap_or_default(), self.rows_of_batch(), ratio)
    }

    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        Ok(self.shape() == other.shape())
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        let half = half_the_channels(self.shape())?;
        let (prediction, v) = self.view().split_at(Axis(1), half);
        Ok((prediction.as_standard_layout().into_owned(), v.as_standard_layout().into_owned()))
    }

    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        check_shape("the second half of the channels", self, second)?;
        check_channels(self.shape())?;
        let (mut shape, half) = (self.raw_dim(), self.len_of(Axis(1)));
        shape.as_array_view_mut().iter_mut().nth(1).into_iter().for_each(|channels| *channels = 2 * half);
        let mut joined = Self::from_elem(shape, E::default());
        let (mut first, mut last) = joined.view_mut().split_at(Axis(1), half);
        first.assign(self);
        last.assign(second);
        Ok(joined)
    }

    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        let (z, v) = (standard("z", self, self)?, standard("v", self, v)?);
        let (z, v) = (z.as_slice().unwrap_or_default(), v.as_slice().unwrap_or_default());
        let scaled = kernel::times_exp(z, v, k, d, self.rows_of_batch())?;
        shaped_like(self, scaled.into_iter().map(E::narrow).collect())
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, rows)?.map(|z| standard("z", &self, z)).transpose()?;
        let noise = z.as_ref().map_or(NoiseTerm::None, |z| NoiseTerm::Tensor(z.as_slice().unwrap_or_default()));
        step_with(self, m, noise, rows)
    }

    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        step_with_outputs(self, m, |age| memory.get(age), z, rows)
    }

    fn step_learned(
        self,
        output: Self,
        z: Option<&Self>,
        k: Weights<'_>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, rows)?.map(|z| standard("z", &self, z)).transpose()?;
        let (m, v) = output.halve_channels()?;
        check_shape("half of the network's output", &self, &m)?;
        let mut x = into_standard(self);
        let (batch, z) = (x.rows_of_batch(), z.as_ref().map(|z| z.as_slice().unwrap_or_default()));
        let halves = [&m, &v].map(|half| half.as_slice().unwrap_or_default());
        kernel::step_learned(x.as_slice_mut().unwrap_or_default(), halves, z, k, batch, rows)?;
        Ok(Stepped::new(x, Some(output)))
    }
}

impl<E: Element, D: Dimension> HostTensor for Array<E, D> {
    fn rows_of_batch(&self) -> Rows {
        Rows::of(self.shape())
    }

    fn element_type(&self) -> Result<ElementType, Error> {
        Ok(E::TYPE)
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        Ok(self.iter().map(|element| element.to_f64()).collect())
    }

    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error> {
        shaped_like(self, elements.into_iter().map(E::from_f64).collect())
    }

    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        shaped_like(self, elements.into_iter().map(|element| E::narrow(crate::Real::from_noise(element))).collect())
    }

    fn fill_with_streams(self, streams: &[NormalStream]) -> Result<Self, Error> {
        let mut z = into_standard(self);
        let rows = z.rows_of_batch();
        kernel::fill_with_noise(z.as_slice_mut().unwrap_or_default(), rows, streams)?;
        Ok(z)
    }

    fn step_with_streams(
        self,
        m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        remembering_step(self, m, |age| memory.get(age), NoiseTerm::Streams(streams), rows)
    }
}

impl<E: Element, D: Dimension> RowReduce for Array<E, D> {
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error> {
        check_shape("an operand", self, other)?;
        let product = self.iter().zip(other).map(|(a, b)| a.to_f64() * b.to_f64());
        Ok(row_sums(product, self.rows_of_batch()))
    }

    fn row_variance(&self) -> Result<Vec<f64>, Error> {
        let values = standard("an operand", self, self)?;
        Ok(kernel::row_variances(values.as_slice().unwrap_or_default(), self.rows_of_batch()))
    }

    fn row_len(&self) -> usize {
        self.rows_of_batch().len
    }
}

fn step_with<E: Element, D: Dimension>(
    x: Array<E, D>,
    m: Array<E, D>,
    noise: NoiseTerm<'_, E>,
    coefficients: &[Coefficients],
) -> Result<Stepped<Array<E, D>>, Error> {
    check_shape("the network's output", &x, &m)?;
    let (mut x, m) = (into_standard(x), into_standard(m));
    let rows = x.rows_of_batch();
    kernel::step(x.as_slice_mut().unwrap_or_default(), m.as_slice().unwrap_or_default(), noise, rows, coefficients)?;
    Ok(Stepped::new(x, Some(m)))
}

/// [`Tensor::step_with_memory`], with the earlier outputs by age.
pub(super) fn step_with_outputs<'a, E: Element, D: Dimension + 'a>(
    x: Array<E, D>,
    m: Array<E, D>,
    output: impl Fn(usize) -> Option<&'a Array<E, D>> + Sync,
    z: Option<&Array<E, D>>,
    rows: &[Coefficients],
) -> Result<Stepped<Array<E, D>>, Error> {
    let z = noise_term(z, rows)?.map(|z| standard("z", &x, z)).transpose()?;
    let noise = z.as_ref().map_or(NoiseTerm::None, |z| NoiseTerm::Tensor(z.as_slice().unwrap_or_default()));
    remembering_step(x, m, output, noise, rows)
}

/// [`Tensor::step_with_memory`], with the earlier outputs by age, and noise from any source.
pub(super) fn remembering_step<'a, E: Element, D: Dimension + 'a>(
    x: Array<E, D>,
    m: Array<E, D>,
    output: impl Fn(usize) -> Option<&'a Array<E, D>> + Sync,
    noise: NoiseTerm<'_, E>,
    coefficients: &[Coefficients],
) -> Result<Stepped<Array<E, D>>, Error> {
    check_shape("the network's output", &x, &m)?;
    // Outputs that a step in place has kept are in standard layout; others are copied into it.
    let mut copies: Vec<(usize, Array<E, D>)> = Vec::new();
    for (age, _) in coefficients.iter().flat_map(|k| k.history.iter()) {
        let output = output(age).ok_or(Error::MissingHistory { age })?;
        check_shape("an earlier output", &x, output)?;
        if !output.is_standard_layout() && copies.iter().all(|(of, _)| *of != age) {
            copies.push((age, output.as_standard_layout().into_owned()));
        }
    }
    let elements = |age| match copies.iter().find(|(of, _)| *of == age) {
        Some((_, copy)) => copy.as_slice(),
        None => output(age)?.as_slice(),
    };
    let (mut x, mut m) = (into_standard(x), into_standard(m));
    let rows = x.rows_of_batch();
    let (x_elements, m_elements) = (x.as_slice_mut().unwrap_or_default(), m.as_slice_mut().unwrap_or_default());
    let keeps = remember::step(x_elements, m_elements, elements, noise, rows, coefficients)?;
    Ok(Stepped::in_place(x, m, keeps))
}

fn row_sums(mut values: impl Iterator<Item = f64>, rows: Rows) -> Vec<f64> {
    (0..rows.count).map(|_| values.by_ref().take(rows.len).sum()).collect()
}

/// The tensor in standard layout. `Err` unless it has the shape of `first`.
fn standard<'a, E: Element, D: Dimension>(
    operand: &'static str,
    first: &Array<E, D>,
    tensor: &'a Array<E, D>,
) -> Result<CowArray<'a, E, D>, Error> {
    check_shape(operand, first, tensor)?;
    Ok(tensor.as_standard_layout())
}

fn into_standard<E: Element, D: Dimension>(tensor: Array<E, D>) -> Array<E, D> {
    if tensor.is_standard_layout() { tensor } else { tensor.as_standard_layout().into_owned() }
}

fn shaped_like<E: Element, D: Dimension>(like: &Array<E, D>, elements: Vec<E>) -> Result<Array<E, D>, Error> {
    check_count(like.len(), elements.len())?;
    Array::from_shape_vec(like.raw_dim(), elements).map_err(|error| Error::Backend(error.into()))
}

fn check_shape<E: Element, D: Dimension>(
    operand: &'static str,
    first: &Array<E, D>,
    tensor: &Array<E, D>,
) -> Result<(), Error> {
    if first.shape() != tensor.shape() {
        return Err(Error::Shape { operand, expected: first.shape().to_vec(), found: tensor.shape().to_vec() });
    }
    if tensor.is_empty() {
        return Err(Error::Empty { operand, shape: tensor.shape().to_vec() });
    }
    Ok(())
}

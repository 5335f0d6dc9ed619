//! `ndarray`'s owned arrays, of any dimension.

use ndarray::{Array, Axis, CowArray, Dimension};

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::noise::NormalStream;
use crate::tensor::kernel::{self, NoiseTerm};
use crate::tensor::slice::{check_count, times_exp};
use crate::tensor::{
    Element, ElementType, HostTensor, RowReduce, Rows, Stepped, Tensor, Weights, half_the_channels, noise_term,
};

/// Axis 0 is the batch, also of an `Array1`, which is a batch of samples of one element (a `Vec` is one sample); an array without
/// axes is one sample of one element.
///
/// Arrays in standard (row-major) layout are worked on as they lie. Others, transposed or with a stride, are first copied
/// into that layout, in which the result then is.
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
        let values = self.as_standard_layout();
        let rows = self.rows_of_batch();
        let elements = values.as_slice().unwrap_or_default();
        let quantile = |row: &[E]| kernel::abs_quantile(row.len(), ratio, kernel::widened(row));
        Ok(elements.chunks_exact(rows.len.max(1)).map(quantile).collect())
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        let half = half_the_channels(self.shape())?;
        let (prediction, v) = self.view().split_at(Axis(1), half);
        Ok((prediction.as_standard_layout().into_owned(), v.as_standard_layout().into_owned()))
    }

    fn times_exp(&self, v: &Self, k: Weights<'_>) -> Result<Self, Error> {
        check_shape("v", self, v)?;
        let rows = self.rows_of_batch();
        k.check_rows(rows.count)?;
        let mut elements = Vec::with_capacity(self.len());
        for (index, (z, v)) in self.iter().zip(v).enumerate() {
            elements.push(times_exp(*z, *v, k.of_row(index / rows.len)?));
        }
        shaped_like(self, elements)
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, rows)?.map(|z| standard("z", &self, z)).transpose()?;
        let noise = z.as_ref().map_or(NoiseTerm::None, |z| NoiseTerm::Tensor(z.as_slice().unwrap_or_default()));
        step_with(self, m, noise, rows)
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
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        step_with(self, m, NoiseTerm::Streams(streams), rows)
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

fn row_sums(mut values: impl Iterator<Item = f64>, rows: Rows) -> Vec<f64> {
    (0..rows.count).map(|_| values.by_ref().take(rows.len).sum()).collect()
}

/// The tensor in standard layout, once its shape is seen to be that of `first`.
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

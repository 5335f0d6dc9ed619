//! Traits for what noise, exact predictors, interpolation and losses need from a tensor beyond a step.

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::{ElementType, Memory, Rows, Stepped, Tensor, kernel};

/// A tensor whose elements can be copied to the host and back. Noise and the exact predictors of [`reference`](crate::reference)
/// need it. Elements are in row-major (C) order.
///
/// ```
/// use alphabar::HostTensor;
/// use ndarray::array;
///
/// let x = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
/// assert_eq!((x.rows_of_batch().count, x.rows_of_batch().len), (2, 3));
/// let doubled =
///     x.from_host(x.to_host()?.iter().map(|value| 2.0 * value).collect())?;
/// assert_eq!(doubled, 2.0 * &x);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub trait HostTensor: Tensor {
    /// The number of samples, and of elements per sample.
    fn rows_of_batch(&self) -> Rows;

    /// The type of the elements. Only the sources of [`noise::torch`](crate::noise::torch) need it: their noise depends on the
    /// type.
    ///
    /// # Errors
    /// [`Error::ElementType`] for a type that is not in [`ElementType`], [`Error::Unsupported`] unless the backend implements it.
    fn element_type(&self) -> Result<ElementType, Error> {
        Err(Error::Unsupported { operation: "HostTensor::element_type, which torch's noise needs" })
    }

    /// A copy of the elements as `f64`.
    ///
    /// # Errors
    /// [`Error::Backend`].
    fn to_host(&self) -> Result<Vec<f64>, Error>;

    /// A tensor of these elements, with the shape, type and device of this tensor.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of elements, [`Error::Backend`].
    #[expect(clippy::wrong_self_convention, reason = "the receiver lends its shape, type and device")]
    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error>;

    /// Like [`HostTensor::from_host`], but from `f32` elements, the type in which noise is made.
    ///
    /// # Errors
    /// The errors of [`HostTensor::from_host`].
    #[expect(clippy::wrong_self_convention, reason = "the receiver lends its shape, type and device")]
    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        self.from_host(elements.into_iter().map(f64::from).collect())
    }

    /// Replaces the elements by noise, one stream per sample. The default makes the noise on the host and uploads it. Backends
    /// with elements in this process's memory overwrite them.
    ///
    /// # Errors
    /// [`Error::Rows`] unless there is one stream per sample, [`Error::Empty`], [`Error::Backend`].
    ///
    /// ```
    /// use alphabar::{HostTensor, NormalStream};
    ///
    /// let z = vec![0.0_f64; 3].fill_with_streams(&[NormalStream::new(1, 2, 3)])?;
    /// assert!(z.iter().all(|z| *z != 0.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn fill_with_streams(self, streams: &[NormalStream]) -> Result<Self, Error> {
        fill_like(&self, streams)
    }

    /// Takes a step with noise from one stream per sample: [`Tensor::step`], or [`Tensor::step_with_memory`] for samplers with
    /// memory. The default makes the noise on the host, uploads it and adds it. Backends with elements in this process's memory
    /// make the noise block by block within the step.
    ///
    /// # Errors
    /// The errors of [`Tensor::step_with_memory`].
    fn step_with_streams(
        self,
        m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let z = fill_like(&self, streams)?;
        if rows.iter().any(Coefficients::remembers) {
            self.step_with_memory(m, memory, Some(&z), rows)
        } else {
            self.step(m, Some(&z), rows)
        }
    }
}

/// Sums over each sample (axis 0), in `f64`. Spherical interpolation, losses and the rescaling of guidance need them.
///
/// ```
/// use alphabar::RowReduce;
/// use ndarray::array;
///
/// let x = array![[3.0_f32, 4.0], [1.0, 1.0]];
/// assert_eq!(x.row_dot(&x)?, [25.0, 2.0]);
/// assert_eq!(x.row_variance()?, [0.25, 0.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub trait RowReduce: Tensor {
    /// The inner product of each sample with the corresponding sample of another tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Backend`].
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error>;

    /// The variance of each sample (divided by n, not n − 1). Compute it in two passes, the mean first: the difference of two
    /// means loses the variance of an almost constant sample.
    ///
    /// # Errors
    /// [`Error::Backend`].
    fn row_variance(&self) -> Result<Vec<f64>, Error>;

    /// The number of elements of a sample.
    fn row_len(&self) -> usize;
}

/// Noise with the shape, type and device of `like`, from one stream per row.
pub(crate) fn fill_like<T: HostTensor>(like: &T, streams: &[NormalStream]) -> Result<T, Error> {
    let rows = like.rows_of_batch();
    like.from_host_f32(noise_elements(rows, streams)?)
}

/// The noise of a whole batch, from one stream per row.
pub(crate) fn noise_elements(rows: Rows, streams: &[NormalStream]) -> Result<Vec<f32>, Error> {
    let mut elements = vec![0.0_f32; check_rows_of_noise(rows)?];
    kernel::fill_with_noise(&mut elements, rows, streams)?;
    Ok(elements)
}

/// The number of elements of a batch to make noise for. A batch of empty rows is an error, whatever its number of rows.
pub(crate) fn check_rows_of_noise(rows: Rows) -> Result<usize, Error> {
    match rows.count.checked_mul(rows.len) {
        Some(elements) if elements > 0 => Ok(elements),
        _ => Err(Error::Empty { operand: "the tensor to make noise for", shape: vec![rows.count, rows.len] }),
    }
}

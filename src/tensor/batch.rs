//! A `Vec` of several samples.

use ndarray::Array2;

use crate::coefficients::Coefficients;
use crate::error::{Error, require_count};
use crate::normal::NormalStream;
use crate::tensor::kernel::NoiseTerm;
use crate::tensor::ndarray::{remembering_step, step_with_outputs};
use crate::tensor::{Element, ElementType, HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights};

/// Several samples in one `Vec`, one after the other: a batch without `ndarray`.
///
/// A bare `Vec` is one sample whatever its length, since it cannot say where a sample ends. A `Batch` has a number of rows; each
/// row is a sample with its own noise. Axis 1 is the elements of a sample, channels first, so a network with a learned variance
/// returns rows of twice the length.
///
/// ```
/// use alphabar::{
///     Batch, BoxError, Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Point,
///     SeededNoise, Timesteps, sample,
/// };
///
/// let plan = Plan::new(
///     &NoiseSchedule::ddpm()?,
///     &Timesteps::trailing(1000, 10)?,
///     &Ddim::new(1.0)?,
/// )?;
/// let mut model = |x: &Batch<f32>, _: Point| Ok::<_, BoxError>(x.map(|x| 0.5 * x));
/// let mut noise = SeededNoise::new(42);
///
/// // Three samples of four elements.
/// let x = noise.noise(&Batch::new(vec![0.0_f32; 12], 3)?, Draw::Initial)?;
/// let x = sample(&plan, x, &mut model, &mut noise)?;
/// let second = x.row(1).unwrap();
///
/// // Sample 1 alone gives the same values.
/// let mut noise = SeededNoise::new(42).from_sample(1);
/// let mut model = |x: &Vec<f32>, _: Point| {
///     Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect())
/// };
/// let alone = noise.noise(&vec![0.0_f32; 4], Draw::Initial)?;
/// assert_eq!(sample(&plan, alone, &mut model, &mut noise)?, second);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<E>(Array2<E>);

impl<E: Element> Batch<E> {
    /// A batch of `rows` samples of equal length, one after the other.
    ///
    /// # Errors
    /// [`Error::Empty`] without elements, [`Error::Count`] for no rows or more rows than elements, [`Error::UnevenSamples`] unless the
    /// number of elements is a multiple of `rows`.
    pub fn new(values: Vec<E>, rows: usize) -> Result<Self, Error> {
        let elements = values.len();
        if elements == 0 {
            return Err(Error::Empty { operand: "a batch", shape: vec![rows, 0] });
        }
        require_count("the rows of a batch", rows, 1, elements)?;
        if elements % rows != 0 {
            return Err(Error::UnevenSamples { elements, samples: rows });
        }
        Array2::from_shape_vec((rows, elements / rows), values).map(Self).map_err(|error| Error::Backend(error.into()))
    }

    /// A batch of the same shape with `of` applied to each element.
    #[must_use]
    pub fn map(&self, of: impl FnMut(E) -> E) -> Self {
        Self(self.0.mapv(of))
    }

    /// The elements of one sample; `None` past the last sample.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&[E]> {
        let len = self.0.ncols();
        self.as_slice().chunks_exact(len.max(1)).nth(row)
    }

    /// All elements, sample after sample.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        self.0.as_slice().unwrap_or_default()
    }

    /// All elements, for writing.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [E] {
        self.0.as_slice_mut().unwrap_or_default()
    }

    /// The `Vec`, without a copy.
    #[must_use]
    pub fn into_vec(self) -> Vec<E> {
        self.0.into_raw_vec_and_offset().0
    }
}

/// Each row is a sample.
impl<E: Element> Tensor for Batch<E> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let terms: Vec<_> = terms.iter().map(|(weights, Self(tensor))| (*weights, tensor)).collect();
        Tensor::linear_combination(&terms).map(Self)
    }

    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error> {
        self.0.clamp_abs(bound).map(Self)
    }

    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        self.0.same_shape(&other.0)
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        self.0.abs_quantile(ratio)
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        self.0.halve_channels().map(|(m, v)| (Self(m), Self(v)))
    }

    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        self.0.join_channels(&second.0).map(Self)
    }

    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        self.0.times_exp(&v.0, k, d).map(Self)
    }

    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        self.0.step(m.0, z.map(|z| &z.0), rows).map(of_arrays)
    }

    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let output = |age| memory.get(age).map(|Self(output)| output);
        step_with_outputs(self.0, m.0, output, z.map(|z| &z.0), rows).map(of_arrays)
    }

    fn step_learned(
        self,
        output: Self,
        z: Option<&Self>,
        k: Weights<'_>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        self.0.step_learned(output.0, z.map(|z| &z.0), k, rows).map(of_arrays)
    }
}

impl<E: Element> HostTensor for Batch<E> {
    fn rows_of_batch(&self) -> Rows {
        self.0.rows_of_batch()
    }

    fn element_type(&self) -> Result<ElementType, Error> {
        self.0.element_type()
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        self.0.to_host()
    }

    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error> {
        self.0.from_host(elements).map(Self)
    }

    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        self.0.from_host_f32(elements).map(Self)
    }

    fn fill_with_streams(self, streams: &[NormalStream]) -> Result<Self, Error> {
        self.0.fill_with_streams(streams).map(Self)
    }

    fn step_with_streams(
        self,
        m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let output = |age| memory.get(age).map(|Self(output)| output);
        remembering_step(self.0, m.0, output, NoiseTerm::Streams(streams), rows).map(of_arrays)
    }
}

impl<E: Element> RowReduce for Batch<E> {
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error> {
        self.0.row_dot(&other.0)
    }

    fn row_variance(&self) -> Result<Vec<f64>, Error> {
        self.0.row_variance()
    }

    fn row_len(&self) -> usize {
        self.0.row_len()
    }
}

fn of_arrays<E>(stepped: Stepped<Array2<E>>) -> Stepped<Batch<E>> {
    let Stepped { x, spare, kept } = stepped;
    Stepped { x: Batch(x), spare: spare.map(Batch), kept: kept.map(Batch) }
}

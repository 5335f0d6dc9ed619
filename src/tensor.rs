//! What a tensor must do to be sampled: the meeting place of the two halves of the crate.

#[cfg(feature = "burn022")]
mod burn;
#[cfg(feature = "candle011")]
mod candle;
mod element;
pub(crate) mod kernel;
mod lanes;
mod ndarray;
mod parallel;
mod slice;

pub use element::{Element, ElementType, Real};
pub use slice::step_in_place;

use crate::coefficients::{Coefficients, Threshold};
use crate::error::Error;
use crate::noise::NormalStream;

/// A tensor whose axis 0 is the batch.
///
/// Two operations are required; with them every sampler works. `step` is the whole of a sampling step and may be overridden
/// by a backend that does it in one pass. What only some methods need is asked for by further traits, [`HostTensor`] and
/// [`RowReduce`].
///
/// A tensor of somebody else's takes a newtype around it:
///
/// ```
/// use alphabar::{Error, Tensor, Weights};
///
/// /// Some framework's tensor.
/// #[derive(Clone)]
/// struct Theirs(Vec<f32>);
///
/// struct Mine(Theirs);
///
/// impl Tensor for Mine {
///     fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
///         let mut sum = vec![0.0; terms[0].1.0.0.len()];
///         for (weights, tensor) in terms {
///             // One sample, so one weight; a weight of 0 drops its term.
///             let weight = weights.of_row(0)? as f32;
///             if weight != 0.0 {
///                 sum.iter_mut().zip(&tensor.0.0).for_each(|(sum, value)| *sum += weight * value);
///             }
///         }
///         Ok(Mine(Theirs(sum)))
///     }
///     fn clamp_abs(mut self, bound: Weights<'_>) -> Result<Self, Error> {
///         let bound = bound.of_row(0)? as f32;
///         self.0.0.iter_mut().for_each(|value| *value = value.clamp(-bound, bound));
///         Ok(self)
///     }
/// }
/// ```
pub trait Tensor: Sized {
    /// Σ kᵢ·tᵢ, elementwise, in the order of the terms and without fused multiply-adds. There is at least one term.
    ///
    /// The result has the type, device and layout of the first term. A weight of exactly 0 drops its term, so that 0·NaN
    /// does not leak; with [`Weights::PerRow`], row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] unless all shapes are the same; nothing is broadcast. [`Error::Rows`] where weights are given for
    /// another number of rows. [`Error::Empty`] for a tensor without elements. [`Error::Backend`].
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error>;

    /// Clamps to ±bound, elementwise; the bounds are positive and may be infinite. NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Rows`] and [`Error::Backend`].
    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error>;

    /// The `ratio` quantile of |x| in each row of axis 0, by linear interpolation between order statistics; NaN for a row that
    /// holds one. Only [`Threshold::Dynamic`] needs it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] unless the backend implements it.
    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        let _ = ratio;
        Err(Error::Unsupported { operation: "Tensor::abs_quantile, which dynamic thresholding needs" })
    }

    /// The two halves of axis 1, the channels, in their order: what a network that also predicts the variance returns is its
    /// prediction and v. Only [`Variance::LearnedRange`](crate::Variance) and [`Variance::Learned`](crate::Variance) need it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless axis 1 exists and divides by two, [`Error::Unsupported`] unless the backend implements it.
    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        Err(Error::Unsupported { operation: "Tensor::halve_channels, which learned variances need" })
    }

    /// self·exp(k·v), elementwise: noise of a standard deviation that the network predicts. Only
    /// [`Variance::LearnedRange`](crate::Variance) and [`Variance::Learned`](crate::Variance) need it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the shapes are the same, [`Error::Rows`], [`Error::Unsupported`] unless the backend implements it.
    fn times_exp(&self, v: &Self, k: Weights<'_>) -> Result<Self, Error> {
        let _ = (v, k);
        Err(Error::Unsupported { operation: "Tensor::times_exp, which learned variances need" })
    }

    /// One sampling step: with x = self and m the network's output,
    /// x̂₀ = threshold(p·x + q·m) and x′ = a·x̂₀ + b·x + c·m + d·z.
    ///
    /// `rows` holds the coefficients of the whole batch, or as many as the batch has rows: requests at different stages may
    /// share one batch.
    ///
    /// # Errors
    /// [`Error::MissingNoise`] where some d > 0 and z is `None`, [`Error::Rows`] for a wrong number of coefficients, and those of
    /// the required methods.
    ///
    /// ```
    /// use alphabar::{Ddim, NoiseSchedule, Plan, Tensor, Timesteps};
    /// use ndarray::array;
    ///
    /// let schedule = NoiseSchedule::ddpm()?;
    /// let early = Plan::new(&schedule, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// let late = Plan::new(&schedule, &Timesteps::trailing(1000, 25)?, &Ddim::deterministic())?;
    /// // The first row is at step 2 of one plan, the second at step 20 of the other.
    /// let rows = [early.steps()[2].coefficients, late.steps()[20].coefficients];
    /// let (x, eps) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[0.1_f32, 0.2], [0.3, 0.4]]);
    /// let x = x.step(eps, None, &rows)?.x;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        composed_step(&self, &m, z, rows)
    }
}

/// What a step leaves behind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stepped<T> {
    /// x′.
    pub x: T,
    /// The buffer of the network's output, its contents unspecified, from backends that work in place: a network may write
    /// its next output there ([`Predictor::predict_into`](crate::Predictor::predict_into)).
    pub spare: Option<T>,
}

impl<T> Stepped<T> {
    /// A result, and a buffer to be used again if there is one.
    ///
    /// ```
    /// # use alphabar::Stepped;
    /// assert_eq!(Stepped::new(1.0, None).x, 1.0);
    /// ```
    #[must_use]
    pub fn new(x: T, spare: Option<T>) -> Self {
        Self { x, spare }
    }
}

/// One number for the whole tensor, or one for each row of axis 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'a> {
    /// One for all.
    All(f64),
    /// One per row.
    PerRow(&'a [f64]),
}

impl Weights<'_> {
    /// The number for a row.
    ///
    /// # Errors
    /// [`Error::Rows`] for a row that has none.
    ///
    /// ```
    /// # use alphabar::Weights;
    /// assert_eq!(Weights::All(2.0).of_row(7)?, 2.0);
    /// assert_eq!(Weights::PerRow(&[1.0, 3.0]).of_row(1)?, 3.0);
    /// assert!(Weights::PerRow(&[1.0]).of_row(1).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn of_row(&self, row: usize) -> Result<f64, Error> {
        match self {
            Self::All(weight) => Ok(*weight),
            Self::PerRow(weights) => {
                weights.get(row).copied().ok_or(Error::Rows { expected: row + 1, found: weights.len() })
            }
        }
    }

    /// `Err` unless these are weights for a batch of so many rows.
    ///
    /// # Errors
    /// [`Error::Rows`].
    ///
    /// ```
    /// # use alphabar::Weights;
    /// assert!(Weights::All(2.0).check_rows(7).is_ok());
    /// assert!(Weights::PerRow(&[1.0]).check_rows(7).is_err());
    /// ```
    pub fn check_rows(&self, rows: usize) -> Result<(), Error> {
        match self {
            Self::PerRow(weights) if weights.len() != rows => Err(Error::Rows { expected: rows, found: weights.len() }),
            _ => Ok(()),
        }
    }

    /// Whether every one of them is 0.
    ///
    /// ```
    /// # use alphabar::Weights;
    /// assert!(Weights::PerRow(&[0.0, 0.0]).are_zero());
    /// ```
    #[must_use]
    pub fn are_zero(&self) -> bool {
        match self {
            Self::All(weight) => *weight == 0.0,
            Self::PerRow(weights) => weights.iter().all(|weight| *weight == 0.0),
        }
    }
}

impl From<f64> for Weights<'_> {
    fn from(weight: f64) -> Self {
        Self::All(weight)
    }
}

/// How a tensor divides into samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Rows of axis 0, the samples of the batch. A tensor without axes is one row.
    pub count: usize,
    /// Elements of a row.
    pub len: usize,
}

impl Rows {
    /// Of a tensor of this shape, whose axis 0 is the batch.
    pub(crate) fn of(shape: &[usize]) -> Self {
        match shape {
            [] => Self { count: 1, len: 1 },
            [count, row @ ..] => Self { count: *count, len: row.iter().product() },
        }
    }
}

/// A tensor that can be read to and written from the host: what noise and the exact predictors of
/// [`reference`](crate::reference) need. Elements go in row-major (C) order.
///
/// ```
/// use alphabar::HostTensor;
/// use ndarray::array;
///
/// let x = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
/// assert_eq!((x.rows_of_batch().count, x.rows_of_batch().len), (2, 3));
/// let doubled = x.from_host(x.to_host()?.iter().map(|value| 2.0 * value).collect())?;
/// assert_eq!(doubled, 2.0 * &x);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub trait HostTensor: Tensor {
    /// How many samples it holds, and of how many elements.
    fn rows_of_batch(&self) -> Rows;

    /// The type of its elements. Only the sources of [`noise::torch`](crate::noise::torch) ask for it, whose noise differs from type
    /// to type.
    ///
    /// # Errors
    /// [`Error::ElementType`] for other types than those of [`ElementType`], [`Error::Unsupported`] unless the backend
    /// implements it.
    fn element_type(&self) -> Result<ElementType, Error> {
        Err(Error::Unsupported {
            operation: "HostTensor::element_type, which torch's noise needs; or choose a type with drawn_as",
        })
    }

    /// Its elements.
    ///
    /// # Errors
    /// [`Error::Backend`].
    fn to_host(&self) -> Result<Vec<f64>, Error>;

    /// A tensor of this shape, type and device with other elements.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of elements, [`Error::Backend`].
    #[expect(clippy::wrong_self_convention, reason = "the receiver lends its shape, type and device")]
    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error>;

    /// The same from `f32`, in which noise is made.
    ///
    /// # Errors
    /// As [`HostTensor::from_host`].
    #[expect(clippy::wrong_self_convention, reason = "the receiver lends its shape, type and device")]
    fn from_host_f32(&self, elements: Vec<f32>) -> Result<Self, Error> {
        self.from_host(elements.into_iter().map(f64::from).collect())
    }

    /// The noise of one stream a row, in the place of this tensor. Backends whose elements lie in this process's memory write
    /// over it; by default the noise is made and uploaded.
    ///
    /// # Errors
    /// [`Error::Rows`] for another number of streams than rows, [`Error::Empty`], [`Error::Backend`].
    ///
    /// ```
    /// # use alphabar::{HostTensor, NormalStream};
    /// let z = vec![0.0_f64; 3].fill_with_streams(&[NormalStream::new(1, 2, 3)])?;
    /// assert!(z.iter().all(|z| *z != 0.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn fill_with_streams(self, streams: &[NormalStream]) -> Result<Self, Error> {
        crate::noise::fill_like(&self, streams)
    }

    /// [`Tensor::step`] with the noise of one stream a row. Backends whose elements lie in this process's memory make the noise
    /// block by block within the step; by default it is made, uploaded and added.
    ///
    /// # Errors
    /// As [`Tensor::step`].
    fn step_with_streams(
        self,
        m: Self,
        streams: &[NormalStream],
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let z = crate::noise::fill_like(&self, streams)?;
        self.step(m, Some(&z), rows)
    }
}

/// Sums over each row of axis 0, in `f64`: what spherical interpolation, losses and the rescaling of guidance need.
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
    /// The inner product of each row with the same row of another tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Backend`].
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error>;

    /// The variance of each row: the mean square of what is left of it without its mean. In two passes, and not as the
    /// difference of two means, in which the variance of an almost constant row is lost.
    ///
    /// # Errors
    /// [`Error::Backend`].
    fn row_variance(&self) -> Result<Vec<f64>, Error>;

    /// How many elements a row has.
    fn row_len(&self) -> usize;
}

/// [`Tensor::step`] by the required methods alone.
///
/// What a backend that overrides `step` is compared with. Rows without a threshold are folded into one combination; in a batch
/// where only some have one, the others pass x̂₀ by.
pub(crate) fn composed_step<T: Tensor>(
    x: &T,
    m: &T,
    z: Option<&T>,
    rows: &[Coefficients],
) -> Result<Stepped<T>, Error> {
    let z = noise_term(z, rows)?;
    let x0 = thresholded_x0(x, m, rows)?;
    let [a, b, c, d] = step_weights(rows, x0.as_ref().map(|(_, divisor)| divisor));
    let mut terms = Vec::with_capacity(4);
    terms.extend(x0.as_ref().map(|(x0, _)| (a.weights(), x0)));
    terms.extend([(b.weights(), x), (c.weights(), m)]);
    terms.extend(z.map(|z| (d.weights(), z)));
    Ok(Stepped::new(T::linear_combination(&terms)?, None))
}

/// x̂₀ and the divisor that goes with it, where some row has a threshold.
fn thresholded_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<Option<(T, PerRow)>, Error> {
    if rows.iter().all(|k| k.threshold == Threshold::None) { Ok(None) } else { bounded_x0(x, m, rows).map(Some) }
}

/// The weights of x̂₀, x, m and z in x′. A row without a threshold is folded: x̂₀ has the weight 0 in it.
fn step_weights(rows: &[Coefficients], divisor: Option<&PerRow>) -> [PerRow; 4] {
    let a = PerRow::new(rows, |k| if k.threshold == Threshold::None { 0.0 } else { k.a });
    let b = PerRow::new(rows, |k| if k.threshold == Threshold::None { k.x } else { k.b });
    let c = PerRow::new(rows, |k| if k.threshold == Threshold::None { k.model } else { k.c });
    let a = match divisor {
        Some(divisor) => a.divided_by(divisor),
        None => a,
    };
    [a, b, c, PerRow::new(rows, |k| k.d)]
}

/// x̂₀ = threshold(p·x + q·m), as the step sees it.
pub(crate) fn predicted_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<T, Error> {
    let (x0, divisor) = bounded_x0(x, m, rows)?;
    if divisor.values.iter().all(|s| *s == 1.0) {
        return Ok(x0);
    }
    let scale = PerRow { values: vec![1.0] }.divided_by(&divisor);
    T::linear_combination(&[(scale.weights(), &x0)])
}

/// p·x + q·m clamped to each row's bound, and the s by which dynamic thresholding divides it afterwards (1 without it).
fn bounded_x0<T: Tensor>(x: &T, m: &T, rows: &[Coefficients]) -> Result<(T, PerRow), Error> {
    let (p, q) = (PerRow::new(rows, |k| k.p), PerRow::new(rows, |k| k.q));
    bounded(T::linear_combination(&[(p.weights(), x), (q.weights(), m)])?, rows)
}

/// x̂₀ clamped, and the divisor that goes with it.
fn bounded<T: Tensor>(x0: T, rows: &[Coefficients]) -> Result<(T, PerRow), Error> {
    let mut bound = PerRow::new(rows, |k| match k.threshold {
        Threshold::Clip(range) => range,
        _ => f64::INFINITY,
    });
    let mut divisor = PerRow::new(rows, |_| 1.0);
    for (index, k) in rows.iter().enumerate() {
        if let Threshold::Dynamic { ratio, max } = k.threshold {
            // Rows seldom differ in their ratio; where they do, each costs a pass.
            let quantiles = x0.abs_quantile(ratio)?;
            let at = if rows.len() == 1 { None } else { Some(index) };
            let bounds: Vec<f64> = quantiles.iter().map(|quantile| Threshold::dynamic_bound(*quantile, max)).collect();
            // A row that holds a NaN becomes NaN by the divisor; a clamp to ±NaN panics in some backends.
            bound.set(at, bounds.iter().map(|bound| if bound.is_nan() { f64::INFINITY } else { *bound }));
            divisor.set(at, bounds.iter().copied());
        }
    }
    let x0 = if bound.values.iter().all(|bound| *bound == f64::INFINITY) { x0 } else { x0.clamp_abs(bound.weights())? };
    Ok((x0, divisor))
}

/// A number for the batch (one entry) or for each row (as many entries as rows).
struct PerRow {
    values: Vec<f64>,
}

impl PerRow {
    fn new(rows: &[Coefficients], of: impl Fn(&Coefficients) -> f64) -> Self {
        Self { values: rows.iter().map(of).collect() }
    }

    fn weights(&self) -> Weights<'_> {
        match self.values[..] {
            [value] => Weights::All(value),
            _ => Weights::PerRow(&self.values),
        }
    }

    /// Takes the new value of one row, or those of all.
    fn set(&mut self, at: Option<usize>, mut new: impl Iterator<Item = f64>) {
        match at {
            None => self.values = new.collect(),
            Some(row) => {
                if let (Some(value), Some(new)) = (self.values.get_mut(row), new.nth(row)) {
                    *value = new;
                }
            }
        }
    }

    fn divided_by(&self, divisor: &Self) -> Self {
        let values = match (&self.values[..], &divisor.values[..]) {
            ([value], divisors) => divisors.iter().map(|divisor| divided(*value, *divisor)).collect(),
            (values, [divisor]) => values.iter().map(|value| divided(*value, *divisor)).collect(),
            (values, divisors) => {
                values.iter().zip(divisors).map(|(value, divisor)| divided(*value, *divisor)).collect()
            }
        };
        Self { values }
    }
}

/// A weight divided by a dynamic threshold, which may be NaN: a weight of 0 stays one, and drops its term.
pub(crate) fn divided(weight: f64, divisor: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight / divisor }
}

/// z where some row asks for it.
pub(crate) fn noise_term<'a, T>(z: Option<&'a T>, rows: &[Coefficients]) -> Result<Option<&'a T>, Error> {
    match (rows.iter().find(|k| k.needs_noise()), z) {
        (None, _) => Ok(None),
        (Some(_), Some(z)) => Ok(Some(z)),
        (Some(k), None) => Err(Error::MissingNoise { d: k.d }),
    }
}

/// Half the number of channels of a network's output of this shape, which is to be halved along axis 1.
pub(crate) fn half_the_channels(shape: &[usize]) -> Result<usize, Error> {
    match shape {
        shape if shape.contains(&0) => Err(Error::Empty { operand: "the network's output", shape: shape.to_vec() }),
        [_, channels, ..] if channels % 2 == 0 => Ok(channels / 2),
        _ => Err(Error::Shape {
            operand: "the network's output, to be halved along axis 1,",
            expected: match shape {
                [rows, channels, rest @ ..] => [&[*rows, channels & !1], rest].concat(),
                short => vec![short.first().copied().unwrap_or(1), 2],
            },
            found: shape.to_vec(),
        }),
    }
}

//! The trait for tensors that can be sampled, with its backends. Here the scalar half of the crate meets the tensors.

mod batch;
#[cfg(feature = "burn022")]
mod burn;
#[cfg(feature = "candle011")]
mod candle;
mod composed;
mod element;
mod host;
pub(crate) mod kernel;
mod lanes;
mod memory;
mod ndarray;
mod parallel;
mod remember;
mod slice;

pub use batch::Batch;
pub use element::{Element, ElementType, Real};
pub use host::{HostTensor, RowReduce};
pub use memory::Memory;
pub use slice::{step_in_place, step_in_place_with_memory};

pub(crate) use composed::{composed_step, noise_term, predicted_x0};
#[cfg(feature = "testing")]
pub(crate) use composed::{divided, remembering_step};
pub(crate) use host::{check_rows_of_noise, fill_like};

use crate::coefficients::Coefficients;
#[cfg(doc)]
use crate::coefficients::Threshold;
use crate::error::{Error, require};

/// A tensor type that can be sampled. **Axis 0 is the batch.**
///
/// | type | samples |
/// |---|---|
/// | `Vec<E>` | one, whatever its length: a flattened image, an action |
/// | [`Batch<E>`](Batch) | as many as it was made with: a `Vec` of several samples |
/// | `ndarray::Array<E, D>` | the length of axis 0; an `Array1` of n elements is n samples of one element |
/// | candle's and burn's tensors (optional features) | the length of axis 0, also for rank 1 |
///
/// A `Vec` has no shape, so it cannot say where one sample ends. It is always one sample: the state of one request or one robot.
/// `Batch` is a `Vec` that knows how many samples it holds. For one sample of n elements in an array use the shape (1, n).
///
/// Two operations are required, and with them every sampler works. `step` is a whole sampling step; backends that can do it in
/// one pass over memory override it. Some features need more traits: [`HostTensor`] and [`RowReduce`].
///
/// To support a tensor type from another crate, wrap it in a newtype:
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
///                 sum.iter_mut()
///                     .zip(&tensor.0.0)
///                     .for_each(|(sum, value)| *sum += weight * value);
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
///
/// The module `testing` (a feature of the same name) holds conformance tests for such a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tensor that alphabar can sample",
    note = "tensors are `Vec<f32>` (one sample), `alphabar::Batch<f32>`, `ndarray::Array<f32, D>`, and with the features \
            `candle011` and `burn022` the tensors of candle-core 0.11 and burn-tensor 0.22; wrap any other type in a newtype \
            that implements `alphabar::Tensor`"
)]
pub trait Tensor: Sized {
    /// Σ kᵢ·tᵢ, elementwise, in the order of the terms and without fused multiply-adds. There is at least one term.
    ///
    /// The result has the type, device and layout of the first term. A weight of exactly 0 drops its term, so that 0·NaN
    /// does not leak; with [`Weights::PerRow`], sample by sample. A weight of NaN makes its samples NaN.
    ///
    /// # Errors
    /// [`Error::Shape`] unless all shapes are equal; nothing is broadcast. [`Error::Rows`] if the number of weights is not the
    /// number of samples. [`Error::Empty`] for a tensor without elements. [`Error::Backend`].
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error>;

    /// Clamps to ±bound, elementwise. NaN stays NaN.
    ///
    /// The bounds are at least 0 and may be infinite; alphabar passes no others. The backends of this crate return
    /// [`Error::Parameter`] for a negative bound and for NaN.
    ///
    /// # Errors
    /// [`Error::Rows`] and [`Error::Backend`].
    fn clamp_abs(self, bound: Weights<'_>) -> Result<Self, Error>;

    /// Whether `other` has the shape of this tensor.
    ///
    /// The default calls `linear_combination`, which costs a pass over memory. Override it with a comparison of the shapes.
    /// [Guidance](crate::Guidance) needs this method to distinguish a prediction from a prediction with a learned variance,
    /// which has twice the channels.
    ///
    /// # Errors
    /// The errors of [`Tensor::linear_combination`], except [`Error::Shape`].
    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        match Self::linear_combination(&[(1.0.into(), self), (0.0.into(), other)]) {
            Ok(_) => Ok(true),
            Err(Error::Shape { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The `ratio` quantile of |x| in each sample, by linear interpolation between order statistics. It is NaN for a sample that
    /// contains NaN. Only [`Threshold::Dynamic`] needs this.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ ratio ≤ 1, [`Error::Unsupported`] unless the backend implements it.
    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        let _ = ratio;
        Err(Error::Unsupported { operation: "Tensor::abs_quantile, which dynamic thresholding needs" })
    }

    /// The first and the second half of the channels, axis 1. A network with a learned variance returns its prediction m in the
    /// first half and v in the second.
    ///
    /// Only [`Variance::LearnedRange`](crate::Variance) and [`Variance::Learned`](crate::Variance) need this.
    ///
    /// # Errors
    /// [`Error::Shape`] unless axis 1 exists and has an even length, [`Error::Unsupported`] unless the backend implements it.
    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        Err(Error::Unsupported {
            operation: "Tensor::halve_channels, which outputs with twice the channels of x (learned variances) need",
        })
    }

    /// This tensor and `second` joined along axis 1, the channels: the inverse of [`Tensor::halve_channels`].
    ///
    /// Only guidance of a network with a learned variance needs this: m is guided, and v is appended again.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the shapes are equal and axis 1 exists, [`Error::Unsupported`] unless the backend implements it.
    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        let _ = second;
        Err(Error::Unsupported { operation: "Tensor::join_channels, which guidance of a learned variance needs" })
    }

    /// d·exp(k·v)·z with z = self, elementwise: noise with the standard deviation that the network predicts.
    ///
    /// The product is computed in the type of the arithmetic. It must not overflow in between, although exp(k·v) alone may be too
    /// large for that type. The result may have the type of the arithmetic, `f32` for half precision.
    ///
    /// Only [`Variance::LearnedRange`](crate::Variance) and [`Variance::Learned`](crate::Variance) need this.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the shapes are equal, [`Error::Rows`], [`Error::Parameter`] for a k that is not finite or a d
    /// that is not finite and ≥ 0, [`Error::Unsupported`] unless the backend implements it.
    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        let _ = (v, k, d);
        Err(Error::Unsupported { operation: "Tensor::times_exp, which learned variances need" })
    }

    /// One sampling step, with x = self and m the network's output:
    ///
    /// ```text
    /// x̂₀ = threshold(p·x + q·m)
    /// x′ = a·x̂₀ + b·x + c·m + d·z
    /// ```
    ///
    /// `rows` holds one set of coefficients for the whole batch, or one for each sample. So requests at different steps may share
    /// one batch.
    ///
    /// # Errors
    /// [`Error::MissingNoise`] if some d > 0 and z is `None`, [`Error::Rows`] for a wrong number of coefficients, and the
    /// errors of the required methods.
    ///
    /// ```
    /// use alphabar::{Ddim, NoiseSchedule, Plan, Tensor, Timesteps};
    /// use ndarray::array;
    ///
    /// let schedule = NoiseSchedule::ddpm()?;
    /// let early = Plan::new(
    ///     &schedule,
    ///     &Timesteps::trailing(1000, 10)?,
    ///     &Ddim::deterministic(),
    /// )?;
    /// let late = Plan::new(
    ///     &schedule,
    ///     &Timesteps::trailing(1000, 25)?,
    ///     &Ddim::deterministic(),
    /// )?;
    /// // The first sample is at step 2 of one plan, the second at step 20 of the other.
    /// let rows = [early.steps()[2].coefficients, late.steps()[20].coefficients];
    /// let (x, eps) =
    ///     (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[0.1_f32, 0.2], [0.3, 0.4]]);
    /// let x = x.step(eps, None, &rows)?.x;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn step(self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        composed_step(&self, &m, z, rows)
    }

    /// One sampling step that may read earlier outputs and keep its own, for samplers with memory:
    ///
    /// ```text
    /// x̂₀ = threshold(p·x + q·m)
    /// x′ = a·x̂₀ + b·x + c·m + Σ_j g_j·y_j + d·z
    /// y  = the output that is kept, if some set of coefficients keeps one
    /// ```
    ///
    /// `memory` holds the y_j by age. The samples of a batch may follow different plans, samplers and orders: each reads only
    /// the outputs that have a weight in its coefficients. The y of a sample that keeps nothing is unspecified.
    ///
    /// # Errors
    /// The errors of [`Tensor::step`], and [`Error::MissingHistory`] if `memory` lacks an output that a sample reads.
    fn step_with_memory(
        self,
        m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        composed::remembering_step(&self, &m, memory, z, rows)
    }

    /// One sampling step of a network with a learned variance. `output` has twice the channels of x: m, then v.
    ///
    /// ```text
    /// x̂₀ = threshold(p·x + q·m)
    /// x′ = a·x̂₀ + b·x + c·m + d·exp(k·v)·z
    /// ```
    ///
    /// k is the step's [`learned_noise`](crate::Step::learned_noise). [`Step::step`](crate::Step::step) calls this method or
    /// [`Tensor::step`], as the network needs.
    ///
    /// # Errors
    /// The errors of [`Tensor::step`], [`Tensor::halve_channels`] and [`Tensor::times_exp`].
    fn step_learned(
        self,
        output: Self,
        z: Option<&Self>,
        k: Weights<'_>,
        rows: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        composed::learned_step(self, &output, z, k, rows)
    }
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stepped<T> {
    /// x′, the next x.
    #[doc(alias = "prev_sample")]
    pub x: T,
    /// The buffer of the network's output, with unspecified content, from backends that work in place. A network may write
    /// its next output there ([`Predictor::predict_into`](crate::Predictor::predict_into)).
    pub spare: Option<T>,
    /// What the step keeps for later steps ([`Coefficients::kept`]): `Some` if a sample of the batch keeps its output.
    pub kept: Option<T>,
}

impl<T> Stepped<T> {
    /// A result, and a buffer to reuse if there is one.
    #[must_use]
    pub fn new(x: T, spare: Option<T>) -> Self {
        Self { x, spare, kept: None }
    }

    /// This result, together with an output that is kept for later steps.
    #[must_use]
    pub fn keeping(self, kept: T) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// The result of a step in place: the buffer of the network's output holds what is kept, or is free.
    pub(crate) fn in_place(x: T, m: T, keeps: bool) -> Self {
        if keeps { Self::new(x, None).keeping(m) } else { Self::new(x, Some(m)) }
    }
}

/// One number for the whole tensor, or one for each sample (axis 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'a> {
    /// One number for all samples.
    All(f64),
    /// One number per sample.
    PerRow(&'a [f64]),
}

impl Weights<'_> {
    /// The number for sample `row`.
    ///
    /// # Errors
    /// [`Error::Rows`] for a sample that has none.
    ///
    /// ```
    /// use alphabar::Weights;
    ///
    /// assert_eq!(Weights::All(2.0).of_row(7)?, 2.0);
    /// assert_eq!(Weights::PerRow(&[1.0, 3.0]).of_row(1)?, 3.0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn of_row(&self, row: usize) -> Result<f64, Error> {
        match self {
            Self::All(weight) => Ok(*weight),
            Self::PerRow(weights) => {
                weights.get(row).copied().ok_or(Error::Rows { expected: row.saturating_add(1), found: weights.len() })
            }
        }
    }

    /// `Err` unless there is one number for all samples, or one for each of `rows` samples.
    ///
    /// # Errors
    /// [`Error::Rows`].
    pub fn check_rows(&self, rows: usize) -> Result<(), Error> {
        match self {
            Self::PerRow(weights) if weights.len() != rows => Err(Error::Rows { expected: rows, found: weights.len() }),
            _ => Ok(()),
        }
    }

    /// Whether all the numbers are 0.
    #[must_use]
    pub fn are_zero(&self) -> bool {
        self.values().iter().all(|weight| *weight == 0.0)
    }

    fn values(&self) -> &[f64] {
        match self {
            Self::All(weight) => core::slice::from_ref(weight),
            Self::PerRow(weights) => weights,
        }
    }

    /// `Err` unless these can be the bounds of a clamp.
    fn check_bounds(&self) -> Result<(), Error> {
        self.values()
            .iter()
            .try_for_each(|bound| require(*bound >= 0.0, "the bound of a clamp", *bound, "≥ 0").map(drop))
    }

    /// `Err` unless these can be the k of exp(k·v).
    fn check_exponents(&self) -> Result<(), Error> {
        let name = "the factor k of exp(k·v)";
        self.values().iter().try_for_each(|k| require(k.is_finite(), name, *k, "finite").map(drop))
    }

    /// `Err` unless these can be standard deviations.
    fn check_deviations(&self) -> Result<(), Error> {
        let name = "the standard deviation of the noise";
        self.values().iter().try_for_each(|d| require(*d >= 0.0 && d.is_finite(), name, *d, "finite and ≥ 0").map(drop))
    }
}

impl From<f64> for Weights<'_> {
    fn from(weight: f64) -> Self {
        Self::All(weight)
    }
}

/// The number of samples of a tensor, and of elements per sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Number of samples: the length of axis 0. A tensor without axes is one sample.
    pub count: usize,
    /// Elements of a sample.
    pub len: usize,
}

impl Rows {
    /// The rows of a tensor of this shape, with axis 0 the batch.
    pub(crate) fn of(shape: &[usize]) -> Self {
        match shape {
            [] => Self { count: 1, len: 1 },
            [count, row @ ..] => Self { count: *count, len: row.iter().product() },
        }
    }
}

/// `Err` unless this can be the ratio of a quantile.
fn check_ratio(ratio: f64) -> Result<(), Error> {
    require((0.0..=1.0).contains(&ratio), "the ratio of a quantile", ratio, "inside [0, 1]").map(drop)
}

/// `Err` unless tensors of this shape can be joined along axis 1.
fn check_channels(shape: &[usize]) -> Result<(), Error> {
    let expected = || vec![shape.first().copied().unwrap_or(1), 1];
    if shape.len() > 1 {
        return Ok(());
    }
    Err(Error::Shape { operand: "a tensor to be joined along axis 1", expected: expected(), found: shape.to_vec() })
}

/// Half the number of channels, axis 1, of a network's output of this shape.
fn half_the_channels(shape: &[usize]) -> Result<usize, Error> {
    match shape {
        shape if shape.contains(&0) => Err(Error::Empty { operand: "the network's output", shape: shape.to_vec() }),
        [_, channels, ..] if channels % 2 == 0 => Ok(channels / 2),
        _ => Err(Error::Shape {
            operand: "the network's output, to be halved along axis 1,",
            expected: match shape {
                [rows, channels, rest @ ..] => [&[*rows, (channels & !1).max(2)], rest].concat(),
                short => vec![short.first().copied().unwrap_or(1), 2],
            },
            found: shape.to_vec(),
        }),
    }
}

//! The network's side: the trait of ε-predictors and wrappers around them.

use crate::error::{BoxError, Error};
use crate::path::Point;
use crate::prediction::Prediction;
use crate::tensor::{RowReduce, Tensor, Weights};

/// A network that predicts ε (or x₀, v, the score) of a noisy x.
///
/// A closure that takes x and the [`Point`] is one; a struct implements the trait, and may say that it predicts something
/// else than ε.
///
/// ```
/// use alphabar::{BoxError, Point, Prediction, Predictor};
///
/// struct Network;
///
/// impl Predictor<Vec<f32>> for Network {
///     fn predict(&mut self, x: &Vec<f32>, at: Point) -> Result<Vec<f32>, BoxError> {
///         let conditioning = at.level.sigma(); // or at.t
///         Ok(x.iter().map(|x| x / (1.0 + conditioning as f32)).collect())
///     }
///     fn prediction(&self) -> Prediction {
///         Prediction::Velocity
///     }
/// }
/// ```
pub trait Predictor<T> {
    /// The prediction for x at a point of the path; of the shape of x, but for a network that also predicts the variance
    /// ([`Variance::LearnedRange`](crate::Variance)), which returns twice the channels.
    ///
    /// # Errors
    /// Whatever the network fails with; a run stops and reports it as [`Error::Predictor`].
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError>;

    /// The same, with the buffer of an earlier prediction, its contents unspecified, that may be written over instead of
    /// allocating.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    fn predict_into(&mut self, x: &T, at: Point, spare: Option<T>) -> Result<T, BoxError> {
        drop(spare);
        self.predict(x, at)
    }

    /// What is predicted.
    fn prediction(&self) -> Prediction {
        Prediction::Epsilon
    }
}

impl<T, E, F> Predictor<T> for F
where
    F: FnMut(&T, Point) -> Result<T, E>,
    E: Into<BoxError>,
{
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        self(x, at).map_err(Into::into)
    }
}

/// A predictor from a closure and what it predicts; also helps the compiler with closures whose arguments have no types.
///
/// ```
/// use alphabar::{BoxError, Prediction, Predictor, predictor};
///
/// let model = predictor::from_fn(Prediction::Sample, |x: &Vec<f32>, _at| Ok::<_, BoxError>(x.clone()));
/// assert_eq!(model.prediction(), Prediction::Sample);
/// ```
pub fn from_fn<T, E, F>(prediction: Prediction, predict: F) -> FnPredictor<F>
where
    F: FnMut(&T, Point) -> Result<T, E>,
    E: Into<BoxError>,
{
    FnPredictor { prediction, predict }
}

/// A closure as a predictor: [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FnPredictor<F> {
    prediction: Prediction,
    predict: F,
}

impl<T, E, F> Predictor<T> for FnPredictor<F>
where
    F: FnMut(&T, Point) -> Result<T, E>,
    E: Into<BoxError>,
{
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        (self.predict)(x, at).map_err(Into::into)
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }
}

/// A borrowed predictor, for handing one to several runs in turn.
///
/// ```
/// use alphabar::{BoxError, Point, Predictor, predictor::ByRef};
///
/// let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
/// let mut borrowed = ByRef(&mut model);
/// assert!(Predictor::<Vec<f32>>::prediction(&borrowed) == alphabar::Prediction::Epsilon);
/// ```
#[derive(Debug)]
pub struct ByRef<'a, P: ?Sized>(pub &'a mut P);

impl<T, P: Predictor<T> + ?Sized> Predictor<T> for ByRef<'_, P> {
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        self.0.predict(x, at)
    }

    fn predict_into(&mut self, x: &T, at: Point, spare: Option<T>) -> Result<T, BoxError> {
        self.0.predict_into(x, at, spare)
    }

    fn prediction(&self) -> Prediction {
        self.0.prediction()
    }
}

/// A network that also predicts the variance, with that half of its channels dropped: for methods that set their own, such as
/// DDIM.
///
/// [`Ddpm`](crate::Ddpm) with a learned [`Variance`](crate::Variance) takes the network's whole output.
///
/// ```
/// use alphabar::{BoxError, Point, Predictor, predictor::WithoutVariance};
///
/// // ε and v, each of the size of x.
/// let network = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>([vec![0.5; x.len()], vec![-1.0; x.len()]].concat());
/// # let level = alphabar::NoiseLevel::CLEAN;
/// let m = WithoutVariance(network).predict(&vec![0.0_f32; 2], Point::new(0, level))?;
/// assert_eq!(m, [0.5, 0.5]);
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WithoutVariance<P>(pub P);

impl<T: Tensor, P: Predictor<T>> Predictor<T> for WithoutVariance<P> {
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        Ok(self.0.predict(x, at)?.halve_channels()?.0)
    }

    fn prediction(&self) -> Prediction {
        self.0.prediction()
    }
}

/// Classifier-free guidance (Ho and Salimans 2022): of a conditional and an unconditional prediction,
/// m = m_uncond + scale·(m_cond − m_uncond).
///
/// A scale of 1 is the conditional network alone, and then the other is not called. Networks that make both predictions in one
/// batched call use [`guide`] in a closure.
///
/// ```
/// use alphabar::{BoxError, Guidance, Point, Predictor};
///
/// let conditional = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![1.0; x.len()]);
/// let unconditional = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![0.5; x.len()]);
/// let mut guided = Guidance::new(conditional, unconditional, 7.5);
/// # let level = alphabar::NoiseLevel::CLEAN;
/// let m = guided.predict(&vec![0.0_f32; 2], Point::new(0, level))?;
/// assert_eq!(m, [4.25, 4.25]);
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Guidance<C, U> {
    conditional: C,
    unconditional: U,
    scale: f64,
}

impl<C, U> Guidance<C, U> {
    /// Guidance of a scale; Stable Diffusion uses 7.5. A scale that is not finite is an error when it is used.
    ///
    /// ```
    /// # use alphabar::{BoxError, Guidance, Point};
    /// # let network = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let guided = Guidance::new(network, network, 7.5);
    /// ```
    pub fn new(conditional: C, unconditional: U, scale: f64) -> Self {
        Self { conditional, unconditional, scale }
    }

    /// The same with the rescaling of Lin et al. (2023, section 3.4), Python's `guidance_rescale`: [`guide_rescaled`] with
    /// φ = `rescale`, 0 for none and 0.7 as they recommend.
    ///
    /// ```
    /// # use alphabar::{BoxError, Guidance, Point};
    /// # let network = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let guided = Guidance::new(network, network, 7.5).rescaled(0.7);
    /// ```
    pub fn rescaled(self, rescale: f64) -> RescaledGuidance<C, U> {
        RescaledGuidance { guidance: self, rescale }
    }
}

impl<T, C, U> Predictor<T> for Guidance<C, U>
where
    T: Tensor,
    C: Predictor<T>,
    U: Predictor<T>,
{
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        check_same_prediction(&self.conditional, &self.unconditional)?;
        let conditional = self.conditional.predict(x, at)?;
        if self.scale == 1.0 {
            return Ok(conditional);
        }
        let unconditional = self.unconditional.predict(x, at)?;
        Ok(guide(&conditional, &unconditional, self.scale)?)
    }

    fn prediction(&self) -> Prediction {
        self.conditional.prediction()
    }
}

/// Guidance with the rescaling of its standard deviation: [`Guidance::rescaled`].
#[derive(Clone, Copy, Debug)]
pub struct RescaledGuidance<C, U> {
    guidance: Guidance<C, U>,
    rescale: f64,
}

impl<T, C, U> Predictor<T> for RescaledGuidance<C, U>
where
    T: RowReduce,
    C: Predictor<T>,
    U: Predictor<T>,
{
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        let Guidance { conditional, unconditional, scale } = &mut self.guidance;
        check_same_prediction(conditional, unconditional)?;
        let (conditional, unconditional) = (conditional.predict(x, at)?, unconditional.predict(x, at)?);
        Ok(guide_rescaled(&conditional, &unconditional, *scale, self.rescale)?)
    }

    fn prediction(&self) -> Prediction {
        self.guidance.conditional.prediction()
    }
}

fn check_same_prediction<T, C: Predictor<T>, U: Predictor<T>>(conditional: &C, unconditional: &U) -> Result<(), Error> {
    let (plan, model) = (conditional.prediction(), unconditional.prediction());
    if plan == model { Ok(()) } else { Err(Error::PredictionMismatch { plan, model }) }
}

/// scale·m_cond + (1 − scale)·m_uncond (Ho and Salimans 2022, Eq. 6).
///
/// # Errors
/// [`Error::Parameter`] unless the scale is finite, and those of [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::predictor::guide;
///
/// assert_eq!(guide(&vec![1.0_f64], &vec![0.5], 3.0)?, [2.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn guide<T: Tensor>(conditional: &T, unconditional: &T, scale: f64) -> Result<T, Error> {
    crate::error::require(scale.is_finite(), "the guidance scale", scale, "finite")?;
    T::linear_combination(&[(scale.into(), conditional), ((1.0 - scale).into(), unconditional)])
}

/// [`guide`], then each sample pulled towards the standard deviation of its conditional prediction (Lin et al. 2023, Eq. 15
/// and 16): m ← φ·m·std(m_cond)/std(m) + (1 − φ)·m.
///
/// # Errors
/// [`Error::Parameter`] unless φ is in [0, 1] and the scale finite, and those of [`RowReduce`]. A guided prediction that is
/// constant over a sample has no standard deviation to divide by and stays as it is.
///
/// ```
/// use alphabar::predictor::guide_rescaled;
///
/// // The guided prediction (4, −4) is pulled all the way back to the conditional one's standard deviation.
/// assert_eq!(guide_rescaled(&vec![2.0_f64, -2.0], &vec![0.0, 0.0], 2.0, 1.0)?, [2.0, -2.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn guide_rescaled<T: RowReduce>(conditional: &T, unconditional: &T, scale: f64, rescale: f64) -> Result<T, Error> {
    crate::error::require((0.0..=1.0).contains(&rescale), "the guidance rescale", rescale, "inside [0, 1]")?;
    let guided = guide(conditional, unconditional, scale)?;
    if rescale == 0.0 {
        return Ok(guided);
    }
    let factors: Vec<f64> = conditional
        .row_variance()?
        .into_iter()
        .zip(guided.row_variance()?)
        .map(|(wanted, found)| if found == 0.0 { 1.0 } else { rescale * (wanted / found).sqrt() + (1.0 - rescale) })
        .collect();
    T::linear_combination(&[(Weights::PerRow(&factors), &guided)])
}

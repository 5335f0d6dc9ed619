//! Networks: the trait [`Predictor`], and wrappers around networks.

mod guidance;

pub use guidance::{Guidance, GuidanceScale, RescaledGuidance, guide, guide_rescaled};

use crate::error::BoxError;
use crate::path::Point;
use crate::prediction::Prediction;
use crate::tensor::Tensor;

/// A network that predicts ε (or x₀, v, the score) of a noisy x.
///
/// A closure is a predictor, and counts as ε-prediction. If your network predicts something else, pass its prediction to [`from_fn`], or
/// implement the trait for a struct.
///
/// **Write the types of a closure's arguments**, `|x: &Vec<f32>, at: Point|`. rustc infers the types of a closure only from a bound on
/// `Fn`, and `Predictor` is another trait. Without the types, rustc takes `x` for a reference of one particular lifetime, and reports
/// "implementation of `FnOnce` is not general enough" or "type annotations needed".
///
/// ```compile_fail
/// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Timesteps, sample};
/// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
/// let mut model = |x, _at| Ok::<_, BoxError>(Vec::<f32>::clone(x)); // not general enough
/// let image = sample(&plan, vec![0.3_f32, -0.8], &mut model, &mut NoNoise)?;
/// # Ok::<(), alphabar::Error>(())
/// ```
///
/// ```
/// use alphabar::{
///     BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Prediction, Timesteps,
///     predictor, sample,
/// };
///
/// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
/// let plan = Plan::new(&schedule, &tau, &Ddim::deterministic())?;
/// let mut model = |x: &Vec<f32>, _at: Point| {
///     Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect())
/// };
/// let image = sample(&plan, vec![0.3_f32, -0.8], &mut model, &mut NoNoise)?;
///
/// // A network that predicts v.
/// let plan = Plan::builder(&schedule, &tau)
///     .prediction(Prediction::Velocity)
///     .build(&Ddim::deterministic())?;
/// let mut model = predictor::from_fn(Prediction::Velocity, model);
/// let image = sample(&plan, vec![0.3_f32, -0.8], &mut model, &mut NoNoise)?;
/// # Ok::<(), alphabar::Error>(())
/// ```
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a network for tensors of type `{T}`",
    note = "a closure must have the form `|x: &{T}, at: Point| -> Result<{T}, _>`, with the types of its arguments written out, and \
            an error type that converts into `alphabar::BoxError`"
)]
pub trait Predictor<T> {
    /// The prediction for x at a point of the path.
    ///
    /// It has the shape of x, except for a network with a learned variance ([`Variance::LearnedRange`](crate::Variance)), which returns
    /// twice the channels: m, then v.
    ///
    /// # Errors
    /// Any error of the network. The run stops and reports it as [`Error::Predictor`](crate::Error::Predictor).
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError>;

    /// Like [`Predictor::predict`], but may write its result into `spare` (an earlier output, content arbitrary) to avoid an allocation.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    fn predict_into(&mut self, x: &T, at: Point, spare: Option<T>) -> Result<T, BoxError> {
        drop(spare);
        self.predict(x, at)
    }

    /// What the network predicts.
    #[doc(alias = "prediction_type")]
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

/// Makes a predictor from a closure and its kind of prediction.
///
/// ```
/// use alphabar::{BoxError, Prediction, Predictor, predictor};
///
/// let model = predictor::from_fn(Prediction::Sample, |x: &Vec<f32>, _at| {
///     Ok::<_, BoxError>(x.clone())
/// });
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

/// A borrowed predictor, for using one network in several runs or wrappers.
///
/// ```
/// use alphabar::{BoxError, Guidance, Point, predictor::ByRef};
///
/// let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
/// let unconditional =
///     |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![0.0; x.len()]);
/// let guided = Guidance::new(ByRef(&mut model), unconditional, 7.5)?;
/// # Ok::<(), alphabar::Error>(())
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

/// Drops the learned variance of a network: the second half of its output's channels.
///
/// Use it with samplers that do not need a learned variance, such as DDIM.
/// [`Ddpm`](crate::Ddpm) with a learned [`Variance`](crate::Variance) needs the network's whole output, without this wrapper.
///
/// ```
/// use alphabar::{BoxError, Point, Predictor, predictor::WithoutVariance};
///
/// // ε and v, each of the size of x.
/// let network = |x: &Vec<f32>, _: Point| {
///     Ok::<_, BoxError>([vec![0.5; x.len()], vec![-1.0; x.len()]].concat())
/// };
/// # let level = alphabar::NoiseLevel::CLEAN;
/// let m = WithoutVariance(network)
///     .predict(&vec![0.0_f32; 2], Point::new(0.0, level))?;
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

//! Classifier-free guidance: combines a conditional and an unconditional prediction.

use core::ops::RangeInclusive;

use crate::error::{BoxError, Error, require};
use crate::path::Point;
use crate::prediction::Prediction;
use crate::predictor::Predictor;
use crate::tensor::{RowReduce, Tensor, Weights};

/// Classifier-free guidance (CFG) of two networks, a conditional and an unconditional one (Ho and Salimans 2022, Eq. 6):
///
/// ```text
/// m = m_uncond + w·(m_cond − m_uncond)
/// ```
///
/// For a negative prompt, pass the network with that prompt as the unconditional network. With w = 1 the result is the conditional
/// prediction, and the unconditional network is not called. If your network makes both predictions in one batched call, call [`guide`] in
/// a closure.
///
/// **Learned variance**: if the networks return twice the channels of x, m is guided and the v of the conditional network is
/// kept, as DiT, DeepFloyd IF and GLIDE do.
///
/// ```
/// use alphabar::{BoxError, Guidance, GuidanceScale, Point, Predictor};
///
/// let conditional = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![1.0; x.len()]);
/// let unconditional = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![0.5; x.len()]);
///
/// let mut guided = Guidance::new(conditional, unconditional, 7.5)?;
/// # let level = alphabar::NoiseLevel::from_alpha_bar(0.36)?; // σ = 1.33
/// # let point = Point::new(0.0, level);
/// assert_eq!(guided.predict(&vec![0.0_f32; 2], point)?, [4.25, 4.25]);
///
/// // Guidance only at noise levels σ from 0.3 to 1; at others only the conditional network is called.
/// let scale = GuidanceScale::Interval { scale: 7.5, sigma: 0.3..=1.0 };
/// let mut guided = Guidance::new(conditional, unconditional, scale)?;
/// assert_eq!(guided.predict(&vec![0.0_f32; 2], point)?, [1.0, 1.0]);
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "CFG")]
#[doc(alias = "classifier-free guidance")]
#[doc(alias = "guidance_scale")]
#[doc(alias = "negative prompt")]
pub struct Guidance<C, U> {
    conditional: C,
    unconditional: U,
    scale: GuidanceScale,
}

impl<C, U> Guidance<C, U> {
    /// Guidance with a guidance scale w: a number, or a [`GuidanceScale`] that changes from step to step. Stable Diffusion uses 7.5.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a scale that is not finite or an invalid interval, [`Error::Length`] for an empty list.
    pub fn new(conditional: C, unconditional: U, scale: impl Into<GuidanceScale>) -> Result<Self, Error> {
        let scale = scale.into();
        scale.check()?;
        Ok(Self { conditional, unconditional, scale })
    }

    /// Pulls the guided prediction back towards the standard deviation of the conditional one: diffusers' `guidance_rescale`.
    ///
    /// This is [`guide_rescaled`] with φ = `rescale` (Lin et al. 2023, section 3.4). The authors recommend 0.7; 0 is no rescaling.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ φ ≤ 1.
    ///
    /// ```
    /// use alphabar::{BoxError, Guidance, Point};
    ///
    /// let network = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let guided = Guidance::new(network, network, 7.5)?.rescaled(0.7)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "guidance_rescale")]
    pub fn rescaled(self, rescale: f64) -> Result<RescaledGuidance<C, U>, Error> {
        check_rescale(rescale)?;
        Ok(RescaledGuidance { guidance: self, rescale })
    }

    /// Calls `combine` with both predictions and the scale at this point. If the scale is 1, returns the conditional prediction.
    fn combined<T>(
        &mut self,
        x: &T,
        at: Point,
        spare: Option<T>,
        combine: impl FnOnce(&T, &T, f64) -> Result<T, Error>,
    ) -> Result<T, BoxError>
    where
        C: Predictor<T>,
        U: Predictor<T>,
    {
        let (plan, model) = (self.conditional.prediction(), self.unconditional.prediction());
        if plan != model {
            return Err(Error::PredictionMismatch { plan, model }.into());
        }
        let scale = self.scale.at(at)?;
        let conditional = self.conditional.predict_into(x, at, spare)?;
        if scale == 1.0 {
            return Ok(conditional);
        }
        let unconditional = self.unconditional.predict(x, at)?;
        Ok(combine(&conditional, &unconditional, scale)?)
    }
}

impl<T, C, U> Predictor<T> for Guidance<C, U>
where
    T: Tensor,
    C: Predictor<T>,
    U: Predictor<T>,
{
    fn predict(&mut self, x: &T, at: Point) -> Result<T, BoxError> {
        self.predict_into(x, at, None)
    }

    fn predict_into(&mut self, x: &T, at: Point, spare: Option<T>) -> Result<T, BoxError> {
        self.combined(x, at, spare, |conditional, unconditional, scale| guide(x, conditional, unconditional, scale))
    }

    fn prediction(&self) -> Prediction {
        self.conditional.prediction()
    }
}

/// Guidance with rescaling of the standard deviation: [`Guidance::rescaled`].
#[derive(Clone, Debug)]
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
        self.predict_into(x, at, None)
    }

    fn predict_into(&mut self, x: &T, at: Point, spare: Option<T>) -> Result<T, BoxError> {
        let rescale = self.rescale;
        self.guidance.combined(x, at, spare, |conditional, unconditional, scale| {
            guide_rescaled(x, conditional, unconditional, scale, rescale)
        })
    }

    fn prediction(&self) -> Prediction {
        self.guidance.conditional.prediction()
    }
}

/// The guidance scale w: constant, or different from step to step.
///
/// ```
/// use alphabar::{GuidanceScale, NoiseSchedule, Point};
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let scale = GuidanceScale::Interval { scale: 4.0, sigma: 0.3..=3.0 };
/// let at = |t| scale.at(Point::new(t as f64, schedule.level(t)?));
/// assert_eq!((at(900)?, at(300)?, at(5)?), (1.0, 4.0, 1.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
#[doc(alias = "guidance_scale")]
pub enum GuidanceScale {
    /// One scale for all steps.
    Constant(f64),
    /// A scale for the noise levels σ in an interval, and 1 at all others (Kynkäänniemi et al. 2024).
    ///
    /// Outside the interval only the conditional network is called, at half the cost. σ = √(1−ᾱ)/√ᾱ is the noise-to-signal ratio of the
    /// level that the network receives. Both ends belong to the interval (in the paper only the upper end).
    #[doc(alias = "guidance interval")]
    Interval {
        /// The scale inside.
        scale: f64,
        /// The interval in σ; the upper end may be infinite.
        sigma: RangeInclusive<f64>,
    },
    /// One scale for each step of the plan, in order. It needs points that hold the index of their step, as those of
    /// [`Step::point`](crate::Step::point) do.
    PerStep(Vec<f64>),
}

impl GuidanceScale {
    /// The scale at a point of the path. At 1 only the conditional network is called.
    ///
    /// # Errors
    /// [`Error::Length`] if the list ends before this step, [`Error::Parameter`] as for [`Guidance::new`].
    pub fn at(&self, at: Point) -> Result<f64, Error> {
        match self {
            Self::Constant(scale) => check_scale(*scale),
            Self::Interval { scale, sigma } => {
                check_interval(sigma)?;
                let scale = check_scale(*scale)?;
                Ok(if sigma.contains(&at.level.sigma()) { scale } else { 1.0 })
            }
            Self::PerStep(scales) => {
                let found = scales.len();
                let missing = || Error::Length { what: LIST, expected: at.index.saturating_add(1), found };
                check_scale(*scales.get(at.index).ok_or_else(missing)?)
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Constant(scale) => check_scale(*scale).map(drop),
            Self::Interval { scale, sigma } => check_scale(*scale).and(check_interval(sigma)),
            Self::PerStep(scales) if scales.is_empty() => Err(Error::Length { what: LIST, expected: 1, found: 0 }),
            Self::PerStep(scales) => scales.iter().try_for_each(|scale| check_scale(*scale).map(drop)),
        }
    }
}

const LIST: &str = "guidance scales (one per step)";

impl From<f64> for GuidanceScale {
    fn from(scale: f64) -> Self {
        Self::Constant(scale)
    }
}

impl From<Vec<f64>> for GuidanceScale {
    fn from(scales: Vec<f64>) -> Self {
        Self::PerStep(scales)
    }
}

fn check_scale(scale: f64) -> Result<f64, Error> {
    require(scale.is_finite(), "the guidance scale", scale, "finite")
}

fn check_rescale(rescale: f64) -> Result<f64, Error> {
    require((0.0..=1.0).contains(&rescale), "the guidance rescale", rescale, "inside [0, 1]")
}

fn check_interval(sigma: &RangeInclusive<f64>) -> Result<(), Error> {
    let (low, high) = (*sigma.start(), *sigma.end());
    require(low >= 0.0 && low.is_finite(), "the lower end of the guidance interval in σ", low, "finite and ≥ 0")?;
    require(high >= low, "the upper end of the guidance interval in σ", high, "at least the lower end").map(drop)
}

/// Classifier-free guidance of two outputs: w·m_cond + (1 − w)·m_uncond (Ho and Salimans 2022, Eq. 6).
///
/// x is the network's input. If an output has twice the channels of x, it holds m and the v of a learned variance: m is guided, and the
/// conditional v is kept.
///
/// # Errors
/// [`Error::Parameter`] unless the scale is finite, [`Error::Shape`] for an output that has neither the shape of x nor twice its
/// channels, and those of [`Tensor::linear_combination`].
///
/// ```
/// use alphabar::predictor::guide;
///
/// let x = vec![0.3_f64];
/// assert_eq!(guide(&x, &vec![1.0], &vec![0.5], 3.0)?, [2.0]);
/// // ε and v.
/// assert_eq!(guide(&x, &vec![1.0, -0.2], &vec![0.5, 0.7], 3.0)?, [2.0, -0.2]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "CFG")]
#[doc(alias = "classifier-free guidance")]
#[doc(alias = "guidance_scale")]
#[doc(alias = "negative prompt")]
pub fn guide<T: Tensor>(x: &T, conditional: &T, unconditional: &T, scale: f64) -> Result<T, Error> {
    check_scale(scale)?;
    on_predictions(x, conditional, unconditional, |conditional, unconditional| {
        extrapolated(conditional, unconditional, scale)
    })
}

/// Classifier-free guidance with rescaling: pulls each sample towards the standard deviation of its conditional prediction.
///
/// m is the result of [`guide`] (Lin et al. 2023, Eq. 15 and 16):
///
/// ```text
/// m ← φ·m·std(m_cond)/std(m) + (1 − φ)·m
/// ```
///
/// The standard deviations do not include the v of a learned variance, and v is not rescaled.
///
/// # Errors
/// [`Error::Parameter`] unless φ is in [0, 1] and the scale finite, those of [`guide`] and of [`RowReduce`]. If a guided
/// prediction is constant over a sample, its standard deviation is 0, and the sample stays as it is.
///
/// ```
/// use alphabar::predictor::guide_rescaled;
///
/// // The guided prediction (4, −4) is pulled fully back to the standard deviation of the conditional one.
/// let x = vec![0.0_f64; 2];
/// assert_eq!(guide_rescaled(&x, &vec![2.0, -2.0], &vec![0.0, 0.0], 2.0, 1.0)?, [2.0, -2.0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "guidance_rescale")]
pub fn guide_rescaled<T: RowReduce>(
    x: &T,
    conditional: &T,
    unconditional: &T,
    scale: f64,
    rescale: f64,
) -> Result<T, Error> {
    check_rescale(rescale)?;
    check_scale(scale)?;
    on_predictions(x, conditional, unconditional, |conditional, unconditional| {
        let guided = extrapolated(conditional, unconditional, scale)?;
        if rescale == 0.0 {
            return Ok(guided);
        }
        let factors: Vec<f64> = conditional
            .row_variance()?
            .into_iter()
            .zip(guided.row_variance()?)
            .map(|(wanted, found)| {
                if found == 0.0 { 1.0 } else { rescale * (wanted / found).sqrt() + (1.0 - rescale) } // Eq. 15 and 16
            })
            .collect();
        T::linear_combination(&[(Weights::PerRow(&factors), &guided)])
    })
}

fn extrapolated<T: Tensor>(conditional: &T, unconditional: &T, scale: f64) -> Result<T, Error> {
    T::linear_combination(&[(scale.into(), conditional), ((1.0 - scale).into(), unconditional)]) // Eq. 6
}

/// Combines the predictions of two outputs. If the conditional one also holds the v of a learned variance, the result has it too.
fn on_predictions<T: Tensor>(
    x: &T,
    conditional: &T,
    unconditional: &T,
    combine: impl FnOnce(&T, &T) -> Result<T, Error>,
) -> Result<T, Error> {
    let (conditional, unconditional) = (Output::of(x, conditional)?, Output::of(x, unconditional)?);
    let m = combine(conditional.prediction(), unconditional.prediction())?;
    match conditional {
        Output::Prediction(_) => Ok(m),
        Output::WithVariance(_, v) => m.join_channels(&v),
    }
}

/// A network's output, split into its parts.
enum Output<'a, T> {
    Prediction(&'a T),
    /// The prediction and v.
    WithVariance(T, T),
}

impl<'a, T: Tensor> Output<'a, T> {
    fn of(x: &T, output: &'a T) -> Result<Self, Error> {
        if x.same_shape(output)? {
            return Ok(Self::Prediction(output));
        }
        match output.halve_channels() {
            Ok((m, v)) if x.same_shape(&m)? => Ok(Self::WithVariance(m, v)),
            Err(error @ (Error::Unsupported { .. } | Error::Empty { .. })) => Err(error),
            // Any other shape: the backend makes the error that names it.
            _ => match T::linear_combination(&[(1.0.into(), x), (1.0.into(), output)]) {
                Err(error) => Err(error),
                Ok(_) => Err(Error::Unsupported { operation: "Tensor::same_shape correctly" }),
            },
        }
    }

    fn prediction(&self) -> &T {
        match self {
            Self::Prediction(m) => m,
            Self::WithVariance(m, _) => m,
        }
    }
}

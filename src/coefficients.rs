//! The numbers of one step: all that the tensor half needs from the mathematics.

use core::fmt;
use core::str::FromStr;

use crate::dd::Dd;
use crate::error::{Error, require, require_count, shortened};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::solver::{Combination, Keeps};

/// The coefficients of one step, for one sample of a batch.
///
/// With m the network's output and z ~ N(0, I):
///
/// ```text
/// x̂₀ = threshold(p·x + q·m)
/// x′ = a·x̂₀ + b·x + c·m + d·z
/// ```
///
/// Without a threshold the two lines become one, and the step passes over the tensor once:
///
/// ```text
/// x′ = (a·p + b)·x + (a·q + c)·m + d·z
/// ```
///
/// The two sums are the fields `x` and `model`. They are computed before anything is rounded.
///
/// A row with memory also adds Σ_j g_j·y_j, a weighted sum of outputs that earlier rows kept ([`history`](Coefficients::history)).
/// It may keep an output for later rows ([`kept`](Coefficients::kept)).
///
/// All fields are finite in a value that [`Coefficients::new`] returns.
///
/// ```
/// use alphabar::{Coefficients, Combination, NoiseLevel, Prediction};
///
/// // A step that returns x̂₀, at ᾱ = 0.36: x′ = (x − 0.8·ε)/0.6.
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// let only_x0 = Combination::new(1.0, 0.0, 0.0, 0.0);
/// let k = Coefficients::new(
///     Prediction::Epsilon,
///     &level,
///     only_x0,
///     Default::default(),
///     Default::default(),
/// )?;
/// assert!((k.x - 1.0 / 0.6).abs() < 1e-15 && (k.model + 0.8 / 0.6).abs() < 1e-15);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Coefficients {
    /// Weight of x in x̂₀.
    pub p: f64,
    /// Weight of the network's output m in x̂₀.
    pub q: f64,
    /// Clipping or dynamic thresholding of x̂₀.
    pub threshold: Threshold,
    /// Weight of the thresholded x̂₀ in x′.
    pub a: f64,
    /// Weight of x in x′, in addition to its part through x̂₀.
    pub b: f64,
    /// Weight of m in x′, in addition to its part through x̂₀.
    pub c: f64,
    /// Weight of z in x′; never negative. If it is 0, the step needs no noise.
    pub d: f64,
    /// Weight of x in x′ without a threshold: a·p + b.
    pub x: f64,
    /// Weight of m in x′ without a threshold: a·q + c.
    pub model: f64,
    /// The weights of earlier outputs in x′; none for a method without memory.
    pub history: History,
    /// What the row keeps for later rows, if anything.
    pub kept: Option<Kept>,
}

/// The largest number of earlier outputs that a row can read.
pub const MAX_HISTORY: usize = 4;

/// The weights of earlier outputs in x′: pairs of an age and a weight. The output of the call before has the age 1.
///
/// ```
/// use alphabar::{DpmSolverPp, NoiseSchedule, Plan, Timesteps};
///
/// let plan = Plan::new(
///     &NoiseSchedule::ddpm()?,
///     &Timesteps::trailing(1000, 20)?,
///     &DpmSolverPp::multistep(2)?,
/// )?;
/// let ages = |index: usize| {
///     plan.steps()[index]
///         .coefficients
///         .history
///         .iter()
///         .map(|(age, _)| age)
///         .collect::<Vec<_>>()
/// };
/// assert_eq!((ages(0), ages(1)), (vec![], vec![1]));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History {
    /// By age; a weight of 0 marks an unused place.
    terms: [(u8, f64); MAX_HISTORY],
}

impl History {
    /// A history of pairs of an age and a weight; the weights of equal ages are added.
    ///
    /// # Errors
    /// [`Error::Count`] for more than [`MAX_HISTORY`] weights that are not 0, or an age outside 1..=255; [`Error::Parameter`] for a
    /// weight that is not finite.
    pub fn new(terms: impl IntoIterator<Item = (usize, f64)>) -> Result<Self, Error> {
        let finite = |weight: f64| require(weight.is_finite(), "the weight of an earlier output", weight, "finite");
        let mut live: Vec<(u8, f64)> = Vec::with_capacity(MAX_HISTORY);
        for (age, weight) in terms {
            finite(weight)?;
            require_count("the age of an earlier output", age, 1, usize::from(u8::MAX))?;
            match live.iter_mut().find(|(of, _)| usize::from(*of) == age) {
                Some((_, sum)) => *sum = finite(*sum + weight)?,
                None if weight != 0.0 => live.push((age as u8, weight)),
                None => {}
            }
            require_count("the number of earlier outputs of a row", live.len(), 0, MAX_HISTORY)?;
        }
        live.sort_by_key(|(age, _)| *age);
        let mut history = Self::default();
        history.terms.iter_mut().zip(live).for_each(|(term, live)| *term = live);
        Ok(history)
    }

    /// The pairs of an age and its weight, by age, without weights of 0.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.terms.iter().filter(|(_, weight)| *weight != 0.0).map(|(age, weight)| (usize::from(*age), *weight))
    }

    /// Whether no earlier output is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The weight of the output of this age; 0 if it is not read.
    #[must_use]
    pub fn weight(&self, age: usize) -> f64 {
        self.iter().find(|(of, _)| *of == age).map_or(0.0, |(_, weight)| weight)
    }
}

/// What a row keeps of its call for later rows: y = x0·x̂₀ + x·x + model·m, with the thresholded x̂₀. y may also be x itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Kept {
    /// What y stands for: [`Prediction::Sample`] for x̂₀, [`Prediction::Epsilon`] for ε; `None` for the x of the call.
    pub output: Option<Prediction>,
    /// Weight of the thresholded x̂₀ in y.
    pub x0: f64,
    /// Weight of x in y, in addition to its part through x̂₀.
    pub x: f64,
    /// Weight of m in y, in addition to its part through x̂₀.
    pub model: f64,
    /// Weight of x in y without a threshold.
    pub folded_x: f64,
    /// Weight of m in y without a threshold.
    pub folded_model: f64,
    /// For how many later steps y must be kept.
    pub lasts: usize,
}

impl Coefficients {
    /// Turns weights of x̂₀, x, ε and z into weights of x, m and z, for a network's prediction at a level.
    ///
    /// # Errors
    /// [`Error::Undetermined`] if the prediction does not determine x̂₀ or the ε that is used, [`Error::Parameter`] for a threshold
    /// outside its domain, a weight that is not finite, d < 0, or a coefficient that is not finite.
    ///
    /// ```
    /// # use alphabar::{Coefficients, Combination, EpsilonAfter, NoiseLevel, Prediction, Threshold};
    /// let level = NoiseLevel::from_alpha_bar(0.36)?;
    /// let step = Combination::new(0.8, 0.0, 0.6, 0.0);
    /// let k = Coefficients::new(Prediction::Velocity, &level, step, Threshold::Clip(1.0), EpsilonAfter::Network)?;
    /// // x̂₀ = s·x − n·v and ε = n·x + s·v.
    /// assert_eq!((k.p, k.q), (0.6, -0.8));
    /// assert!((k.b - 0.6 * 0.8).abs() < 1e-15 && (k.c - 0.6 * 0.6).abs() < 1e-15);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn new(
        prediction: Prediction,
        level: &NoiseLevel,
        combination: Combination,
        threshold: Threshold,
        epsilon: EpsilonAfter,
    ) -> Result<Self, Error> {
        let threshold = threshold.checked()?;
        let Combination { x0, x, epsilon: eps, z, learned_noise: _ } = combination.checked()?;
        let zero = Dd::ZERO;
        // x̂₀ = p·x + q·m
        let (p, q) = prediction.convert(Prediction::Sample, level)?;
        let (a, b, c) = if eps.is_zero() {
            (x0, x, zero)
        } else if epsilon == EpsilonAfter::Threshold && threshold != Threshold::None {
            // ε = (x − s·x̂₀)/n, of the thresholded x̂₀.
            let (eps_x, eps_x0) = Prediction::Sample.convert(Prediction::Epsilon, level)?;
            (x0 + eps * eps_x0, x + eps * eps_x, zero)
        } else {
            let (eps_x, eps_m) = prediction.convert(Prediction::Epsilon, level)?;
            (x0, x + eps * eps_x, eps * eps_m)
        };
        // Finite weights at a level next to the ends of f64 can still overflow.
        let finite = |value: Dd, name| require(value.to_f64().is_finite(), name, value.to_f64(), "finite");
        Ok(Self {
            p: finite(p, "the coefficient p of a step")?,
            q: finite(q, "the coefficient q of a step")?,
            threshold,
            a: finite(a, "the coefficient a of a step")?,
            b: finite(b, "the coefficient b of a step")?,
            c: finite(c, "the coefficient c of a step")?,
            d: z.to_f64(),
            x: finite(a * p + b, "the weight of x in a step")?,
            model: finite(a * q + c, "the weight of m in a step")?,
            history: History::default(),
            kept: None,
        })
    }

    /// These coefficients with memory: the weights of earlier outputs, and what this call keeps and for how many steps. `level` is that
    /// of x.
    pub(crate) fn remembering(
        self,
        history: impl IntoIterator<Item = (usize, f64)>,
        keeps: Option<(Keeps, usize)>,
        prediction: Prediction,
        level: &NoiseLevel,
    ) -> Result<Self, Error> {
        let kept = keeps.map(|(keeps, lasts)| match keeps {
            Keeps::Output(output) => self.kept_as(output, lasts, prediction, level),
            Keeps::X => Ok(Kept { output: None, x0: 0.0, x: 1.0, model: 0.0, folded_x: 1.0, folded_model: 0.0, lasts }),
        });
        let kept = kept.transpose()?;
        Ok(Self { history: History::new(history)?, kept, ..self })
    }

    /// The kept output follows from the thresholded x̂₀, also if it is an ε: [`EpsilonAfter`] applies only to rows that keep none.
    fn kept_as(
        &self,
        output: Prediction,
        lasts: usize,
        prediction: Prediction,
        level: &NoiseLevel,
    ) -> Result<Kept, Error> {
        let (folded_x, folded_model) = prediction.convert(output, level)?;
        let zero = Dd::ZERO;
        let (x0, x, model) = if self.threshold == Threshold::None {
            (zero, folded_x, folded_model)
        } else {
            let (x, x0) = Prediction::Sample.convert(output, level)?;
            (x0, x, zero)
        };
        let finite =
            |value: Dd| require(value.to_f64().is_finite(), "a weight of a kept output", value.to_f64(), "finite");
        Ok(Kept {
            output: Some(output),
            x0: finite(x0)?,
            x: finite(x)?,
            model: finite(model)?,
            folded_x: finite(folded_x)?,
            folded_model: finite(folded_model)?,
            lasts,
        })
    }

    /// Whether the step needs z.
    #[must_use]
    pub fn needs_noise(&self) -> bool {
        self.d > 0.0
    }

    /// Whether the row reads earlier outputs, or keeps its own.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.kept.is_some() || !self.history.is_empty()
    }
}

/// Clipping or dynamic thresholding: what is done to x̂₀ before it is used. NaN passes through.
///
/// As text: `none`, `clip=1`, `dynamic=0.995,1.5` (the ratio, then the largest bound).
///
/// ```
/// use alphabar::Threshold;
///
/// let threshold: Threshold = "dynamic=0.995,1.5".parse()?;
/// assert_eq!(threshold, Threshold::dynamic(0.995, 1.5)?);
/// assert_eq!(Threshold::clip(1.0)?.to_string(), "clip=1");
/// assert!(Threshold::clip(-1.0).is_err());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", try_from = "Unchecked")
)]
#[doc(alias = "clip_sample")]
#[doc(alias = "thresholding")]
#[doc(alias = "dynamic thresholding")]
#[non_exhaustive]
pub enum Threshold {
    /// No threshold: a step is one linear combination.
    #[default]
    None,
    /// `Clip(r)` clamps x̂₀ to [−r, r]; r must be positive. Images usually lie in ±1. [`Threshold::clip`] checks r at once, and a plan when it is built.
    #[doc(alias = "clip_sample_range")]
    Clip(f64),
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3), for each sample.
    ///
    /// ```text
    /// s = the `ratio` quantile of |x̂₀|, clamped to 1..=`max`
    /// x̂₀ ← clamp(x̂₀, ±s)/s
    /// ```
    ///
    /// The quantile interpolates linearly between order statistics.
    Dynamic {
        /// Which quantile, in 0..=1; Imagen uses 0.995.
        #[doc(alias = "dynamic_thresholding_ratio")]
        ratio: f64,
        /// The largest s, at least 1.
        #[doc(alias = "sample_max_value")]
        max: f64,
    },
}

impl Threshold {
    /// Clipping to ±range.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the range is positive and finite.
    pub fn clip(range: f64) -> Result<Self, Error> {
        Self::Clip(range).checked()
    }

    /// Dynamic thresholding with a quantile and the largest bound.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ ratio ≤ 1, and max is finite and at least 1.
    pub fn dynamic(ratio: f64, max: f64) -> Result<Self, Error> {
        Self::Dynamic { ratio, max }.checked()
    }

    /// This threshold; an error if a number is outside its domain.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self {
            Self::None => {}
            Self::Clip(range) => {
                require(range > 0.0 && range.is_finite(), "the clip range", range, "positive and finite")?;
            }
            Self::Dynamic { ratio, max } => {
                require((0.0..=1.0).contains(&ratio), "the ratio of dynamic thresholding", ratio, "inside [0, 1]")?;
                require(max >= 1.0 && max.is_finite(), "the largest dynamic threshold", max, "at least 1 and finite")?;
            }
        }
        Ok(self)
    }

    /// The bound of dynamic thresholding for a sample: its quantile of |x̂₀|, clamped to 1..=`max`.
    pub(crate) fn dynamic_bound(quantile: f64, max: f64) -> f64 {
        // Comparisons, which keep a NaN; `f64::clamp` would panic at a `max` below 1.
        if quantile < 1.0 {
            1.0
        } else if quantile > max {
            max
        } else {
            quantile
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Clip(range) => f.pad(&format!("clip={range}")),
            Self::Dynamic { ratio, max } => f.pad(&format!("dynamic={ratio},{max}")),
        }
    }
}

impl FromStr for Threshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = |digits: &str| digits.trim().parse::<f64>().ok();
        let read = match text.trim().split_once('=') {
            None if text.trim() == "none" => Some(Self::None),
            Some(("clip", range)) => number(range).map(Self::Clip),
            Some(("dynamic", numbers)) => numbers.split_once(',').and_then(|(ratio, max)| {
                let (ratio, max) = (number(ratio)?, number(max)?);
                Some(Self::Dynamic { ratio, max })
            }),
            _ => None,
        };
        read.ok_or_else(|| Error::UnknownName {
            what: "threshold",
            name: shortened(text),
            expected: "none, clip=RANGE or dynamic=RATIO,MAX",
        })?
        .checked()
    }
}

/// A threshold as it is stored; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unchecked {
    None,
    Clip(f64),
    Dynamic { ratio: f64, max: f64 },
}

#[cfg(feature = "serde")]
impl TryFrom<Unchecked> for Threshold {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self, Error> {
        match unchecked {
            Unchecked::None => Ok(Self::None),
            Unchecked::Clip(range) => Self::clip(range),
            Unchecked::Dynamic { ratio, max } => Self::dynamic(ratio, max),
        }
    }
}

/// Which ε a step uses if it thresholds x̂₀.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "use_clipped_model_output")]
pub enum EpsilonAfter {
    /// The ε that the network predicted, as if x̂₀ had not been thresholded; also the default in diffusers.
    #[default]
    Network,
    /// The ε that the thresholded x̂₀ implies, ε = (x − √ᾱ·x̂₀)/√(1−ᾱ); `use_clipped_model_output` in diffusers.
    Threshold,
}

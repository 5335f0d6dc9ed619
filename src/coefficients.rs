//! The handful of numbers in which the mathematics meets the tensors.

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;
use crate::prediction::Prediction;
use crate::solver::Combination;

/// One step for one row of a batch:
///
/// $$ \hat x_0 = \mathrm{threshold}(px + qm), \qquad x' = a\hat x_0 + bx + cm + dz $$
///
/// with m what the network returned and z ~ N(0, I). Without a threshold the two lines are one, and a tensor is passed over
/// once: x′ = `x`·x + `model`·m + d·z, where `x` = a·p + b and `model` = a·q + c are folded before they are rounded.
///
/// ```
/// use alphabar::{Coefficients, Combination, NoiseLevel, Prediction};
///
/// // Keep x̂₀ and nothing else, at ᾱ = 0.36.
/// let level = NoiseLevel::from_alpha_bar(0.36)?;
/// let only_x0 = Combination::new(1.0, 0.0, 0.0, 0.0);
/// let k = Coefficients::new(Prediction::Epsilon, &level, only_x0, Default::default(), Default::default())?;
/// assert_eq!((k.x, k.model), (k.p, k.q));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Coefficients {
    /// x̂₀ from x.
    pub p: f64,
    /// x̂₀ from the network's output m.
    pub q: f64,
    /// What is done to x̂₀.
    pub threshold: Threshold,
    /// x′ from the thresholded x̂₀.
    pub a: f64,
    /// x′ from x, beside x̂₀.
    pub b: f64,
    /// x′ from m, beside x̂₀.
    pub c: f64,
    /// x′ from z; never negative, and no noise is asked for where it is 0.
    pub d: f64,
    /// x′ from x where nothing is thresholded: a·p + b.
    pub x: f64,
    /// x′ from m where nothing is thresholded: a·q + c.
    pub model: f64,
}

impl Coefficients {
    /// The coefficients of a [`Combination`] of x̂₀, x, ε and z for a network that makes a given prediction of an x at a
    /// given level.
    ///
    /// # Errors
    /// [`Error::Undetermined`] where the prediction does not determine what is combined, [`Error::Parameter`] for a
    /// threshold outside its domain or a combination that is not finite or has d < 0.
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
        let Combination { x0, x, epsilon: eps, z, learned_noise: _ } = combination;
        for (name, weight) in [("the weight of x̂₀", x0), ("the weight of x", x), ("the weight of ε", eps)] {
            require(weight.to_f64().is_finite(), name, weight.to_f64(), "finite")?;
        }
        let d = require(z.to_f64() >= 0.0 && z.to_f64().is_finite(), "the weight of z", z.to_f64(), "finite and ≥ 0")?;
        let zero = Dd::ZERO;
        // x̂₀ = p·x + q·m, which only what uses x̂₀ needs to be determined.
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
        Ok(Self {
            p: p.to_f64(),
            q: q.to_f64(),
            threshold,
            a: a.to_f64(),
            b: b.to_f64(),
            c: c.to_f64(),
            d,
            x: (a * p + b).to_f64(),
            model: (a * q + c).to_f64(),
        })
    }

    /// Whether the step asks for z.
    ///
    /// ```
    /// # use alphabar::{Coefficients, Combination, NoiseLevel, Prediction};
    /// # let level = NoiseLevel::from_alpha_bar(0.36)?;
    /// let keep_x = Combination::new(0.0, 1.0, 0.0, 0.0);
    /// let k = Coefficients::new(Prediction::Epsilon, &level, keep_x, Default::default(), Default::default())?;
    /// assert!(!k.needs_noise());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn needs_noise(&self) -> bool {
        self.d > 0.0
    }
}

/// What is done to x̂₀ before it is used. NaN passes through all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Threshold {
    /// Nothing: a step is one linear combination.
    #[default]
    None,
    /// x̂₀ is clamped to ±range, which is positive; DDPM's images lie in ±1.
    Clip(f64),
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3), per sample: with s the `ratio` quantile of |x̂₀| (linear
    /// interpolation between order statistics), clamped to 1..=`max`, x̂₀ ← clamp(x̂₀, ±s)/s.
    Dynamic {
        /// Which quantile, in 0..=1; Imagen uses 0.995.
        ratio: f64,
        /// The largest s, at least 1.
        max: f64,
    },
}

impl Threshold {
    fn checked(self) -> Result<Self, Error> {
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

    /// Where dynamic thresholding clamps a sample whose quantile of |x̂₀| is known: the quantile, held to 1..=`max`.
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

/// Which ε goes with a thresholded x̂₀.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EpsilonAfter {
    /// The one that the network's output stands for, as if nothing had been thresholded; Python's default.
    #[default]
    Network,
    /// The one that the thresholded x̂₀ implies, ε = (x − √ᾱ·x̂₀)/√(1−ᾱ); Python's `use_clipped_model_output`.
    Threshold,
}

//! Samplers: how a step combines x̂₀, x, ε and z.
//!
//! A sampler of one network call a step is a rule for the weights with which the predicted x̂₀, the current x, the predicted ε and
//! fresh noise z make up the next x. The rule depends on two noise levels only, so it fits any schedule, spacing, prediction type
//! and tensor.

mod builtin;
mod ddim;
mod ddpm;

pub use builtin::BuiltinSolver;
pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};

use crate::dd::Dd;
use crate::error::{Error, require};
use crate::level::NoiseLevel;

/// A sampler.
///
/// ```
/// use alphabar::{Combination, Error, Leg, NoiseSchedule, Plan, Solver, Timesteps};
///
/// /// Jumps to x̂₀ and adds new noise: the multistep sampler of consistency models (Song et al. 2023, Algorithm 1).
/// struct Renoise;
///
/// impl Solver for Renoise {
///     fn name(&self) -> &'static str {
///         "renoise"
///     }
///     fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
///         Ok(Combination::new(leg.to.signal(), 0.0, 0.0, leg.to.noise()))
///     }
/// }
///
/// let schedule = NoiseSchedule::ddpm()?;
/// let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 4)?, &Renoise)?;
/// assert_eq!(plan.steps()[3].coefficients.d, 0.0);
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "sampler")]
#[doc(alias = "scheduler")]
pub trait Solver {
    /// The sampler's name in a printed plan.
    fn name(&self) -> &'static str;

    /// The weights of one step.
    ///
    /// # Errors
    /// An error if the sampler cannot take this step, such as an η too large for it.
    fn combine(&self, leg: &Leg) -> Result<Combination, Error>;

    /// η of the step with this index, if the sampler has one; for display and for [`Plan::lint`](crate::Plan::lint).
    fn eta(&self, index: usize) -> Option<f64> {
        let _ = index;
        None
    }
}

impl<S: Solver + ?Sized> Solver for &S {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        (**self).combine(leg)
    }

    fn eta(&self, index: usize) -> Option<f64> {
        (**self).eta(index)
    }
}

impl<S: Solver + ?Sized> Solver for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
        (**self).combine(leg)
    }

    fn eta(&self, index: usize) -> Option<f64> {
        (**self).eta(index)
    }
}

/// The interval of one step: from level t to level s.
///
/// [`Plan`](crate::Plan) makes these; a [`Solver`] reads them. [`Leg::new`] makes a single step, for tests of a sampler.
///
/// ```
/// use alphabar::{Ddim, Leg, NoiseLevel, Solver};
///
/// let leg = Leg::new(NoiseLevel::from_alpha_bar(0.36)?, NoiseLevel::CLEAN);
/// let combination = Ddim::deterministic().combine(&leg)?;
/// assert_eq!((combination.x0(), combination.epsilon()), (1.0, 0.0));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leg {
    /// The index of the step in its plan, from 0.
    pub index: usize,
    /// The number of steps of the plan.
    pub steps: usize,
    /// The level of x; t in the formulas.
    pub from: NoiseLevel,
    /// The level of x′; s in the formulas.
    pub to: NoiseLevel,
}

impl Leg {
    /// A single step from one level to another.
    #[must_use]
    pub fn new(from: NoiseLevel, to: NoiseLevel) -> Self {
        Self { index: 0, steps: 1, from, to }
    }

    /// `Err` for a step to more noise, which only a deterministic sampler can take.
    pub(crate) fn require_denoising(&self, solver: &'static str) -> Result<(), Error> {
        if self.to.gap_to(&self.from) < Dd::ZERO {
            Err(Error::NotReversible { solver, from: self.from.alpha_bar(), to: self.to.alpha_bar() })
        } else {
            Ok(())
        }
    }
}

/// The weights of one step in the sampler's own terms.
///
/// ```text
/// x′ = x0·x̂₀ + x·x + epsilon·ε + z·z
/// ```
///
/// Since x = √ᾱ·x̂₀ + √(1−ᾱ)·ε, two of x̂₀, x and ε would be enough. All three are kept, so that each sampler can be written as its
/// paper prints it: DDIM in x̂₀ and ε (Song et al. 2021, Eq. 12), DDPM in x̂₀ and x (Ho et al. 2020, Eq. 7). Under a threshold the
/// choice makes a difference.
///
/// ```
/// use alphabar::Combination;
///
/// let weights = Combination::new(0.5, 0.25, 0.0, 0.1);
/// assert_eq!((weights.x0(), weights.x(), weights.epsilon(), weights.z()), (0.5, 0.25, 0.0, 0.1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combination {
    pub(crate) x0: Dd,
    pub(crate) x: Dd,
    pub(crate) epsilon: Dd,
    pub(crate) z: Dd,
    pub(crate) learned_noise: Option<f64>,
}

impl Combination {
    /// The weights of x̂₀, x, ε and z.
    ///
    /// The weight of z is a standard deviation. A plan refuses weights that are not finite, and a negative one of z.
    #[must_use]
    pub fn new(x0: f64, x: f64, epsilon: f64, z: f64) -> Self {
        let [x0, x, epsilon, z] = [x0, x, epsilon, z].map(Dd::from);
        Self { x0, x, epsilon, z, learned_noise: None }
    }

    /// These weights, for a network with a learned variance.
    ///
    /// The first half of the network's output channels is the prediction m, the second half is v. The step multiplies z
    /// elementwise by exp(k·v).
    ///
    /// ```
    /// # use alphabar::{Ddpm, Leg, NoiseLevel, Solver, Variance};
    /// let leg = Leg::new(NoiseLevel::from_alpha_bar(0.25)?, NoiseLevel::from_alpha_bar(0.5)?);
    /// // v is the logarithm of the variance: σ = exp(½·v).
    /// assert_eq!(Ddpm::new(Variance::Learned).combine(&leg)?.learned_noise(), Some(0.5));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "learned variance")]
    pub fn with_learned_noise(self, k: f64) -> Self {
        Self { learned_noise: Some(k), ..self }
    }

    /// The k of [`Combination::with_learned_noise`]; `None` if the network predicts nothing but m.
    #[must_use]
    pub fn learned_noise(&self) -> Option<f64> {
        self.learned_noise
    }

    /// The weight of x̂₀.
    #[must_use]
    pub fn x0(&self) -> f64 {
        self.x0.to_f64()
    }

    /// The weight of x.
    #[must_use]
    pub fn x(&self) -> f64 {
        self.x.to_f64()
    }

    /// The weight of ε.
    #[must_use]
    pub fn epsilon(&self) -> f64 {
        self.epsilon.to_f64()
    }

    /// The weight of z: the standard deviation of the noise that the step adds.
    #[must_use]
    pub fn z(&self) -> f64 {
        self.z.to_f64()
    }

    /// These weights, if all are finite and that of z is not negative.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let weights = [
            ("the weight of x̂₀", self.x0()),
            ("the weight of x", self.x()),
            ("the weight of ε", self.epsilon()),
            ("the factor of a learned log σ", self.learned_noise.unwrap_or(0.0)),
        ];
        for (name, weight) in weights {
            require(weight.is_finite(), name, weight, "finite")?;
        }
        let z = self.z();
        require(z >= 0.0 && z.is_finite(), "the weight of z", z, "finite and ≥ 0")?;
        Ok(self)
    }
}

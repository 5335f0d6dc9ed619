//! Methods: how a step combines x̂₀, x, ε and z.
//!
//! Every sampler of one network call a step is a rule that says with which weights the predicted x̂₀, the current x, the
//! predicted ε and fresh noise z make up the next x. A rule sees two noise levels and nothing else, so it fits any
//! schedule, spacing, prediction type and tensor.

mod ddim;
mod ddpm;

pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};

use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;
use crate::path::Lift;

/// A method of sampling.
///
/// ```
/// use alphabar::{Combination, Error, Leg, NoiseSchedule, Plan, Solver, Timesteps};
///
/// /// Jumps to x̂₀ and noises it afresh: the multi-step sampler of consistency models (Song et al. 2023, Algorithm 1).
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
pub trait Solver {
    /// What the method is called where a plan is printed.
    fn name(&self) -> &'static str;

    /// The weights for one step.
    ///
    /// # Errors
    /// Whatever makes the step impossible, such as an η too large for it.
    fn combine(&self, leg: &Leg) -> Result<Combination, Error>;

    /// The η of the step with this index, where the method has one; for display and for [`Plan::lint`](crate::Plan::lint).
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

/// The piece of a path that one step covers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leg {
    /// The step's index in its path, from 0.
    pub index: usize,
    /// How many steps the path has.
    pub steps: usize,
    /// The level that x is at; t in the formulas.
    pub from: NoiseLevel,
    /// The level that x′ will be at; s in the formulas.
    pub to: NoiseLevel,
}

impl Leg {
    /// One step by itself, from a level to another.
    ///
    /// ```
    /// # use alphabar::{Ddim, Leg, NoiseLevel, Solver};
    /// let leg = Leg::new(NoiseLevel::from_alpha_bar(0.36)?, NoiseLevel::CLEAN);
    /// let combination = Ddim::deterministic().combine(&leg)?;
    /// assert_eq!((combination.x0(), combination.epsilon()), (1.0, 0.0));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn new(from: NoiseLevel, to: NoiseLevel) -> Self {
        Self { index: 0, steps: 1, from, to }
    }

    /// `Err` for a step to more noise, which only a deterministic method can take.
    pub(crate) fn require_denoising(&self, solver: &'static str) -> Result<(), Error> {
        if self.to.gap_to(&self.from) < Dd::ZERO {
            Err(Error::NotReversible { solver, from: self.from.alpha_bar(), to: self.to.alpha_bar() })
        } else {
            Ok(())
        }
    }
}

/// The weights of one step: x′ = x0·x̂₀ + x·x + epsilon·ε + z·z.
///
/// x = √ᾱ·x̂₀ + √(1−ᾱ)·ε relates the first three, so that a method may be written in whichever of them its source uses:
/// DDIM in x̂₀ and ε (Song et al. 2021, Eq. 12), DDPM in x̂₀ and x (Ho et al. 2020, Eq. 7). They differ where x̂₀ is
/// thresholded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combination {
    pub(crate) x0: Dd,
    pub(crate) x: Dd,
    pub(crate) epsilon: Dd,
    pub(crate) z: Dd,
    pub(crate) learned_noise: Option<f64>,
}

impl Combination {
    /// The weights of x̂₀, x, ε and z; z's is a standard deviation and must not be negative.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).x(), 0.25);
    /// ```
    #[must_use]
    pub fn new(x0: f64, x: f64, epsilon: f64, z: f64) -> Self {
        let [x0, x, epsilon, z] = [x0, x, epsilon, z].map(Dd::from);
        Self { x0, x, epsilon, z, learned_noise: None }
    }

    /// The same for a network that also predicts how much noise is to be added: half of the channels that it returns are
    /// those of v, and z is multiplied by exp(k·v), element by element.
    ///
    /// ```
    /// # use alphabar::{Ddpm, Leg, NoiseLevel, Solver, Variance};
    /// let leg = Leg::new(NoiseLevel::from_alpha_bar(0.25)?, NoiseLevel::from_alpha_bar(0.5)?);
    /// // exp(½·v) for the logarithm v of a variance.
    /// assert_eq!(Ddpm::new(Variance::Learned).combine(&leg)?.learned_noise(), Some(0.5));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn with_learned_noise(self, k: f64) -> Self {
        Self { learned_noise: Some(k), ..self }
    }

    /// The same step, and after it noise that lifts x from the level where it arrives to a noisier one (churn): with the transition
    /// x″ = k·x′ + √v·z between them.
    pub(crate) fn lifted(self, arrives: &NoiseLevel, lift: &Lift) -> Self {
        let (k, variance) = arrives.transition_to(&lift.to);
        let added = variance * Dd::from(lift.noise).squared();
        Self {
            x0: k * self.x0,
            x: k * self.x,
            epsilon: k * self.epsilon,
            z: ((k * self.z).squared() + added).sqrt(),
            learned_noise: self.learned_noise,
        }
    }

    /// The k of [`Combination::with_learned_noise`]; `None` where the network predicts nothing but m.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).learned_noise(), None);
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).with_learned_noise(0.5).learned_noise(), Some(0.5));
    /// ```
    #[must_use]
    pub fn learned_noise(&self) -> Option<f64> {
        self.learned_noise
    }

    /// The weight of x̂₀.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).x0(), 0.5);
    /// ```
    #[must_use]
    pub fn x0(&self) -> f64 {
        self.x0.to_f64()
    }

    /// The weight of x.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).x(), 0.25);
    /// ```
    #[must_use]
    pub fn x(&self) -> f64 {
        self.x.to_f64()
    }

    /// The weight of ε.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).epsilon(), 0.0);
    /// ```
    #[must_use]
    pub fn epsilon(&self) -> f64 {
        self.epsilon.to_f64()
    }

    /// The weight of z: the standard deviation of the noise that the step adds.
    ///
    /// ```
    /// # use alphabar::Combination;
    /// assert_eq!(Combination::new(0.5, 0.25, 0.0, 0.1).z(), 0.1);
    /// ```
    #[must_use]
    pub fn z(&self) -> f64 {
        self.z.to_f64()
    }
}

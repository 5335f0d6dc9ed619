//! The legs of a path, from which a sampler makes its rows.

use core::fmt;
use core::ops::Deref;

use super::{Point, Process};
use crate::dd::Dd;
use crate::error::Error;
use crate::level::NoiseLevel;

/// The interval of one step: from level t to level s.
///
/// [`Path::legs`](crate::Path::legs) makes these; a [`Solver`](crate::Solver) reads them. [`Leg::new`] makes a single step, for tests of a
/// sampler.
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
    /// The index of the leg in its path, from 0.
    pub index: usize,
    /// The number of legs of the path.
    pub steps: usize,
    /// The point at which the network is called: where the leg starts, except in encoding with
    /// [`Conditioning::Destination`](crate::Conditioning::Destination).
    pub call: Point,
    /// The point at which the leg arrives, for methods that call the network there; `None` if the network cannot be called there.
    pub arrives: Option<Point>,
    /// The level of x; t in the formulas.
    pub from: NoiseLevel,
    /// The level of x′; s in the formulas.
    pub to: NoiseLevel,
    /// The time of the level of x′; `None` for clean data.
    pub s: Option<f64>,
    /// Whether x starts on a new trajectory here (after a restart, for example), so that earlier outputs must not be used.
    pub starts_over: bool,
    pub(crate) lift: Option<Lift>,
}

/// Noise that is added after a step: churn, or a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lift {
    pub(crate) to: NoiseLevel,
    /// S_noise.
    pub(crate) noise: f64,
}

impl Leg {
    /// A single step from one level to another.
    #[must_use]
    pub fn new(from: NoiseLevel, to: NoiseLevel) -> Self {
        let call = Point::new(0.0, from);
        Self { index: 0, steps: 1, call, arrives: None, from, to, s: None, starts_over: false, lift: None }
    }

    /// h = λ_s − λ_t, with λ = ln(signal/noise), half the log-SNR: positive towards less noise, infinite from pure noise or to clean
    /// data, and 0 between equal levels.
    ///
    /// ```
    /// # use alphabar::{Leg, NoiseLevel};
    /// let [t, s] = [NoiseLevel::from_sigma(2.0)?, NoiseLevel::from_sigma(0.5)?];
    /// assert!((Leg::new(t, s).h() - 4.0_f64.ln()).abs() < 1e-15);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "lambda")]
    pub fn h(&self) -> f64 {
        self.h_dd().to_f64()
    }

    pub(crate) fn h_dd(&self) -> Dd {
        self.from.lambda_to(&self.to)
    }

    /// Whether h is finite and not 0, which methods of a higher order need.
    pub(crate) fn is_regular(&self) -> bool {
        let h = self.h();
        h.is_finite() && h != 0.0
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

/// All legs of a path, in the order in which they are walked: a slice of [`Leg`], with the process that gives the points between
/// their ends.
#[derive(Clone)]
pub struct Legs<'a> {
    legs: Vec<Leg>,
    process: Option<&'a dyn Process>,
}

impl<'a> Legs<'a> {
    /// These legs, numbered.
    pub(crate) fn new(mut legs: Vec<Leg>, process: Option<&'a dyn Process>) -> Self {
        let steps = legs.len();
        legs.iter_mut().enumerate().for_each(|(index, leg)| (leg.index, leg.steps) = (index, steps));
        Self { legs, process }
    }

    /// Other legs of the same process, numbered.
    pub(crate) fn with(&self, legs: Vec<Leg>) -> Self {
        Self::new(legs, self.process)
    }

    /// The point at which σ = noise/signal has a given value, for methods that call the network between the points of the path.
    ///
    /// # Errors
    /// [`Error::NoProcess`] if the path was made from points alone (add [`Path::of_process`](crate::Path::of_process)), and those of
    /// [`Process::at_sigma`].
    pub fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        self.process.ok_or(Error::NoProcess)?.at_sigma(sigma)
    }

    /// The point at which the network receives a given t, for methods that divide a step in t.
    ///
    /// # Errors
    /// [`Error::NoProcess`] if the path was made from points alone, and those of [`Process::at_time`].
    pub fn at_time(&self, t: f64) -> Result<Point, Error> {
        self.process.ok_or(Error::NoProcess)?.at_time(t)
    }
}

impl Deref for Legs<'_> {
    type Target = [Leg];

    fn deref(&self) -> &[Leg] {
        &self.legs
    }
}

impl fmt::Debug for Legs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.legs).finish()
    }
}

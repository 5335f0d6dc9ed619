//! Paths: the points at which a network is called, and the level where the path ends.

mod legs;

pub(crate) use legs::Lift;
pub use legs::{Leg, Legs};

use core::fmt;
use std::sync::Arc;

use crate::error::{Error, require, require_count};
use crate::level::NoiseLevel;
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};
use crate::spacing::{self, AlignYourSteps};
use crate::timesteps::{Conditioning, Direction, PathEnd, Timesteps, kept_by_strength};

/// What a network receives beside x: the time t, the noise level of x, and the factor by which its input is scaled.
///
/// Networks of a trained table take t; others take a function of the level, or the level's σ or log-SNR.
///
/// ```
/// use alphabar::{NoiseSchedule, Point};
///
/// let point = Point::new(500.0, NoiseSchedule::ddpm()?.level(500)?);
/// assert!((point.level.sigma() - 3.4430).abs() < 1e-4);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// The time that the network receives. For a trained table it is the 0-based index of the training step, and fractions lie
    /// between two of them.
    pub t: f64,
    /// The noise level of x.
    pub level: NoiseLevel,
    /// The factor of the network's input: EDM's c_in, 1 for networks that take x as it is.
    ///
    /// The crate passes x itself, and your network multiplies: `unet(x * at.input_scale, at.t)`.
    #[doc(alias("scale_model_input", "c_in"))]
    pub input_scale: f64,
    /// The index of the sampling step in its plan, from 0; 0 for a point that belongs to no plan.
    pub index: usize,
}

impl Point {
    /// A point that belongs to no plan, for a network that takes x as it is.
    #[must_use]
    pub fn new(t: f64, level: NoiseLevel) -> Self {
        Self { t, level, input_scale: 1.0, index: 0 }
    }

    /// This point for a network that is fed a multiple of x: EDM's c_in.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the factor is positive and finite.
    pub fn with_input_scale(self, input_scale: f64) -> Result<Self, Error> {
        require(input_scale > 0.0 && input_scale.is_finite(), "the input scale", input_scale, "positive and finite")?;
        Ok(Self { input_scale, ..self })
    }
}

/// What a network was trained on: which noise levels, in which scale, and what it receives as t.
///
/// A trained table ([`NoiseSchedule`]), a flow ([`Flow`](crate::Flow)) and EDM's networks ([`Edm`](crate::Edm)) are processes.
/// For any other network, implement the two required functions. A path keeps its process, for methods that call the network between
/// its points.
pub trait Process: Send + Sync {
    /// The point at which noise/signal is σ; ∞ is pure noise, and 0 clean data.
    ///
    /// # Errors
    /// [`Error::Sigma`] for a σ outside the trained range, [`Error::Parameter`] for one that no level can have.
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error>;

    /// The largest and the smallest σ = noise/signal that the network was trained for; the largest may be ∞.
    fn sigma_range(&self) -> [f64; 2];

    /// The point at which the network receives t, for methods that divide a step in t. Implementing it is optional.
    ///
    /// # Errors
    /// [`Error::NoProcess`] by default; [`Error::Parameter`] for a t outside the trained range.
    fn at_time(&self, t: f64) -> Result<Point, Error> {
        let _ = t;
        Err(Error::NoProcess)
    }
}

impl<P: Process + ?Sized> Process for &P {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        (**self).at_sigma(sigma)
    }

    fn sigma_range(&self) -> [f64; 2] {
        (**self).sigma_range()
    }

    fn at_time(&self, t: f64) -> Result<Point, Error> {
        (**self).at_time(t)
    }
}

/// A network of a trained table receives t, and its x is variance-preserving.
impl Process for NoiseSchedule {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        if sigma == 0.0 {
            return Ok(Point::new(0.0, NoiseLevel::CLEAN));
        }
        let t = self.time_of_sigma(sigma)?;
        // At an entry of the table, take the entry with all its digits.
        let entry = self.level(t as usize)?;
        Ok(Point::new(t, if entry.sigma() == sigma { entry } else { NoiseLevel::from_sigma(sigma)? }))
    }

    fn sigma_range(&self) -> [f64; 2] {
        self.sigma_ends()
    }

    fn at_time(&self, t: f64) -> Result<Point, Error> {
        Ok(Point::new(t, self.level_at(t)?))
    }
}

/// A path that starts in the noisiest 1/8 of a table counts as starting from noise. Leading spacings of 8 or more steps do so.
const NOISY_PART: usize = 8;

/// A path: the points at which a network is called, in the order of falling noise, and the level at which the path ends.
///
/// Walking a path from noise to its end generates. Walking it from its end to noise encodes ([`Path::encoding`], DDIM inversion).
/// The network is called once at each point, or more often by methods with several calls a step.
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Path, Plan};
///
/// // Karras's σ on Stable Diffusion: fractions of t between the entries of its table.
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let path = Path::karras(&schedule, 5)?;
/// let ts: Vec<f64> = path.points().iter().map(|point| point.t.round()).collect();
/// assert_eq!(ts, [999.0, 786.0, 427.0, 59.0, 0.0]);
/// let plan = Plan::along(&path, &Ddim::deterministic())?;
/// assert!(plan.end().is_clean());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone)]
pub struct Path {
    /// From the noisiest to the cleanest.
    points: Vec<Point>,
    /// With churn, the points to which noise lifts x before each call; empty without churn.
    lifted: Vec<Point>,
    churn_noise: f64,
    /// Each with the index of the point after which it takes place.
    restarts: Vec<Restart>,
    end: End,
    direction: Direction,
    /// Whether the path starts where the network's training does, in noise, as far as that is known.
    from_noise: bool,
    /// Gives the points between these; `None` if the path was made from points alone.
    process: Option<Arc<dyn Process>>,
}

/// A restart: noise is added when x arrives at a point, and x comes back to that point, `times` times.
#[derive(Clone, Debug, PartialEq)]
struct Restart {
    /// The index of the point.
    after: usize,
    /// The points of the way back, from the noisiest on, without the point itself.
    through: Vec<Point>,
    times: usize,
}

/// The clean end of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) level: NoiseLevel,
    /// The t of the level, if it has one.
    pub(crate) t: Option<f64>,
    /// What the network receives if it is called at the end; `None` if it cannot be.
    pub(crate) point: Option<Point>,
}

/// Making paths.
impl Path {
    /// A path through custom points, from the noisiest to the cleanest; it ends at clean data.
    ///
    /// # Errors
    /// [`Error::Count`] for no points or more than [`MAX_TRAIN_STEPS`], [`Error::Parameter`] for a t that is not finite
    /// or an input scale that is not positive and finite, [`Error::PathOrder`] if the noise does not fall from one point to the next.
    pub fn new(points: impl IntoIterator<Item = Point>) -> Result<Self, Error> {
        let points: Vec<Point> = points.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        require_count("the number of points of a path", points.len(), 1, MAX_TRAIN_STEPS)?;
        points.iter().try_for_each(check_call)?;
        for (index, (noisier, cleaner)) in points.iter().zip(points.iter().skip(1)).enumerate() {
            if !(cleaner.level.gap_to(&noisier.level).to_f64() > 0.0) {
                let (sigma, previous) = (cleaner.level.sigma(), noisier.level.sigma());
                return Err(Error::PathOrder { index: index + 1, sigma, previous });
            }
        }
        Ok(Self::through(points))
    }

    /// The path through points that are in order; it ends at clean data.
    fn through(points: Vec<Point>) -> Self {
        Self {
            points,
            lifted: Vec::new(),
            churn_noise: 1.0,
            restarts: Vec::new(),
            end: End { level: NoiseLevel::CLEAN, t: None, point: None },
            direction: Direction::Generate,
            from_noise: true,
            process: None,
        }
    }

    /// The path of τ (the timesteps) through a noise schedule, with the direction and the end of τ.
    ///
    /// [`Plan::new`](crate::Plan::new) uses this path.
    ///
    /// # Errors
    /// [`Error::TrainSteps`] if τ is made for another T.
    pub fn trained(schedule: &NoiseSchedule, timesteps: &Timesteps) -> Result<Self, Error> {
        let (expected, found) = (schedule.len(), timesteps.train_steps());
        if expected != found {
            return Err(Error::TrainSteps { expected, found });
        }
        let points = timesteps.as_slice().iter().map(|&t| Ok(Point::new(t as f64, schedule.level(t)?)));
        let mut points = points.collect::<Result<Vec<_>, Error>>()?;
        if timesteps.direction() != Direction::Generate {
            points.reverse();
        }
        let end = match timesteps.end() {
            // Clean data has no t; networks of a table receive the smallest t that they know.
            PathEnd::Clean => {
                let point = Point::new(0.0, NoiseLevel::CLEAN);
                End { level: NoiseLevel::CLEAN, t: None, point: Some(point) }
            }
            PathEnd::FirstLevel => {
                let point = Point::new(0.0, schedule.level(0)?);
                End { level: point.level, t: Some(0.0), point: Some(point) }
            }
        };
        let first = points.first().map_or(0.0, |point| point.t) as usize;
        let from_noise = first + (schedule.len() / NOISY_PART).max(1) >= schedule.len();
        let direction = timesteps.direction();
        Ok(Self { end, direction, from_noise, ..Self::through(points).of_process(schedule) })
    }

    /// A path through a list of σ = noise/signal, from the noisiest to the cleanest; it ends at clean data.
    ///
    /// ∞ is pure noise. A 0 at the end of the list stands for the end of the path and is not a point of it.
    ///
    /// # Errors
    /// The errors of [`Process::at_sigma`] for a σ that the network was not trained for ([`Path::clipped`] takes the nearest instead), and
    /// those of [`Path::new`].
    #[doc(alias("sigmas", "custom sigmas"))]
    pub fn from_sigmas(
        process: &(impl Process + Clone + 'static),
        sigmas: impl IntoIterator<Item = f64>,
    ) -> Result<Self, Error> {
        let mut sigmas: Vec<f64> = sigmas.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        if sigmas.last() == Some(&0.0) {
            sigmas.pop();
        }
        let from_noise = sigmas.first().is_some_and(|first| *first >= 0.5 * process.sigma_range()[0]);
        let points = sigmas.into_iter().map(|sigma| process.at_sigma(sigma)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { end: end_of(process), from_noise, ..Self::new(points)?.of_process(process) })
    }

    /// [`Path::from_sigmas`] with each σ moved into the range that the network was trained for.
    ///
    /// # Errors
    /// The errors of [`Process::at_sigma`] for NaN, and of [`Path::new`], also if two σ are moved to the same value.
    pub fn clipped(
        process: &(impl Process + Clone + 'static),
        sigmas: impl IntoIterator<Item = f64>,
    ) -> Result<Self, Error> {
        let [max, min] = process.sigma_range();
        // Comparisons, which keep a NaN.
        let clip = |sigma| {
            if sigma > max {
                max
            } else if sigma > 0.0 && sigma < min {
                min
            } else {
                sigma
            }
        };
        Self::from_sigmas(process, sigmas.into_iter().map(clip))
    }

    /// S calls in Karras's spacing with ρ = 7 over the trained range: [`spacing::karras`].
    ///
    /// # Errors
    /// The errors of [`spacing::karras`] (the trained range must end at a finite σ) and of [`Path::from_sigmas`].
    #[doc(alias("use_karras_sigmas", "get_sigmas_karras"))]
    pub fn karras(process: &(impl Process + Clone + 'static), steps: usize) -> Result<Self, Error> {
        let [max, min] = process.sigma_range();
        Self::from_sigmas(process, spacing::karras(steps, max, min, spacing::KARRAS_RHO)?)
    }

    /// S calls evenly spaced in the log-SNR over the trained range: [`spacing::exponential`].
    ///
    /// # Errors
    /// As [`Path::karras`].
    #[doc(alias("lambda", "use_exponential_sigmas", "use_lu_lambdas"))]
    pub fn exponential(process: &(impl Process + Clone + 'static), steps: usize) -> Result<Self, Error> {
        let [max, min] = process.sigma_range();
        Self::from_sigmas(process, spacing::exponential(steps, max, min)?)
    }

    /// S calls at quantiles of the beta distribution (0.6, 0.6) over the trained range: [`spacing::beta`].
    ///
    /// # Errors
    /// As [`Path::karras`].
    #[doc(alias = "use_beta_sigmas")]
    pub fn beta(process: &(impl Process + Clone + 'static), steps: usize) -> Result<Self, Error> {
        let [max, min] = process.sigma_range();
        Self::from_sigmas(process, spacing::beta(steps, max, min, 0.6, 0.6)?)
    }

    /// S calls in even steps of arctan σ over the trained range: [`spacing::kl_optimal`].
    ///
    /// # Errors
    /// As [`Path::karras`].
    pub fn kl_optimal(process: &(impl Process + Clone + 'static), steps: usize) -> Result<Self, Error> {
        let [max, min] = process.sigma_range();
        Self::from_sigmas(process, spacing::kl_optimal(steps, max, min)?)
    }

    /// S calls in the spacing that Align Your Steps optimised for a model: [`spacing::align_your_steps`].
    ///
    /// It is clipped to the trained range, since the published lists are rounded.
    ///
    /// # Errors
    /// The errors of [`spacing::align_your_steps`] and [`Path::clipped`].
    #[doc(alias = "AYS")]
    pub fn align_your_steps(
        process: &(impl Process + Clone + 'static),
        model: AlignYourSteps,
        steps: usize,
    ) -> Result<Self, Error> {
        Self::clipped(process, spacing::align_your_steps(model, steps)?)
    }

    /// A path through a list of t of a trained table, from the noisiest to the cleanest; it ends at clean data.
    ///
    /// A t may be a fraction. Between two entries of the table, ln σ is linear in t.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ t ≤ T − 1, and those of [`Path::new`].
    #[doc(alias = "timesteps")]
    pub fn from_times(schedule: &NoiseSchedule, times: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let times: Vec<f64> = times.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        let noisy = schedule.len() as f64 * (1.0 - 1.0 / NOISY_PART as f64);
        let from_noise = times.first().is_some_and(|first| *first >= noisy.min((schedule.len() - 1) as f64));
        let points = times.into_iter().map(|t| Ok(Point::new(t, schedule.level_at(t)?)));
        let points = points.collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { end: end_of(schedule), from_noise, ..Self::new(points)?.of_process(schedule) })
    }
}

/// `Ok` for a point at which a network can be called.
fn check_call(point: &Point) -> Result<(), Error> {
    require(point.t.is_finite(), "t", point.t, "finite")?;
    point.with_input_scale(point.input_scale)?;
    Ok(())
}

/// Clean data as the end of a path of this process.
fn end_of(process: &impl Process) -> End {
    let point = process.at_sigma(0.0).ok().filter(|point| point.t.is_finite());
    End { level: NoiseLevel::CLEAN, t: None, point }
}

/// Changing paths.
impl Path {
    /// This path with an end other than clean data, such as the first level of a table.
    ///
    /// # Errors
    /// [`Error::PathOrder`] if the end is noisier than the last point, [`Error::Parameter`] for a t or an input scale as in [`Path::new`].
    pub fn ending_at(mut self, end: Point) -> Result<Self, Error> {
        check_call(&end)?;
        if let Some(last) = self.points.last() {
            if !(end.level.gap_to(&last.level).to_f64() >= 0.0) {
                let (sigma, previous) = (end.level.sigma(), last.level.sigma());
                return Err(Error::PathOrder { index: self.points.len(), sigma, previous });
            }
        }
        self.end = End { level: end.level, t: Some(end.t), point: Some(end) };
        Ok(self)
    }

    /// This path to clean data, for which the network receives `end`. `from_noise`: whether the path starts where the network's
    /// training does.
    pub(crate) fn between_ends(self, from_noise: bool, end: Point) -> Self {
        Self { from_noise, end: End { level: NoiseLevel::CLEAN, t: None, point: Some(end) }, ..self }
    }

    /// Adds the process of the network to this path: methods that call the network between the points need it.
    ///
    /// A path that was made with a process already has it.
    #[must_use]
    pub fn of_process(self, process: &(impl Process + Clone + 'static)) -> Self {
        Self { process: Some(Arc::new(process.clone())), ..self }
    }

    /// This path walked from its end to its noisiest point: encoding (DDIM inversion).
    ///
    /// With [`Conditioning::Source`] the network receives the level that x is at, with [`Conditioning::Destination`] the one that the
    /// step goes to. Churn and restarts add noise, and are left out.
    #[doc(alias("inversion", "DDIM inversion", "DDIMInverseScheduler"))]
    #[must_use]
    pub fn encoding(mut self, conditioning: Conditioning) -> Self {
        self.direction = Direction::Encode(conditioning);
        self
    }

    /// This path walked from noise to its end: generation, the default.
    #[must_use]
    pub fn generating(mut self) -> Self {
        self.direction = Direction::Generate;
        self
    }

    /// img2img: keeps only the last ⌊S·strength⌋ points, the least noisy ones.
    ///
    /// Noise the image to [`Plan::start`](crate::Plan::start), then sample.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ strength ≤ 1, [`Error::NothingToDo`] if no point is left.
    #[doc(alias("img2img", "image-to-image", "denoising strength"))]
    pub fn with_strength(self, strength: f64) -> Result<Self, Error> {
        let kept = kept_by_strength(self.len(), strength)?;
        self.keep_cleanest(kept, "strength", strength)
    }

    /// Keeps only the points with at most a given σ = noise/signal.
    ///
    /// # Errors
    /// [`Error::NothingToDo`] if no point is left.
    pub fn not_above_sigma(self, sigma: f64) -> Result<Self, Error> {
        // From the clean end, since churn may lift a point above the one before it.
        let kept = self.calls().iter().rev().take_while(|point| point.level.sigma() <= sigma).count();
        self.keep_cleanest(kept, "the largest σ", sigma)
    }

    fn keep_cleanest(mut self, kept: usize, name: &'static str, value: f64) -> Result<Self, Error> {
        if kept == 0 {
            return Err(Error::NothingToDo { name, value, steps: self.len() });
        }
        let dropped = self.points.len().saturating_sub(kept);
        self.from_noise &= dropped == 0;
        self.points.drain(..dropped);
        self.lifted.drain(..dropped.min(self.lifted.len()));
        // A restart takes place where a step arrives, and none arrives at the first point.
        self.restarts.retain(|restart| restart.after > dropped);
        self.restarts.iter_mut().for_each(|restart| restart.after -= dropped);
        Ok(self)
    }

    /// This path with Karras's churn (Karras et al. 2022, Algorithm 2): before a call, noise is added to x, up to
    /// σ̂ = σ·(1 + γ) with γ = min(`total`/S, √2 − 1) if σ is in `range`, and γ = 0 otherwise.
    ///
    /// The network receives σ̂. The noise that lifts x to the next σ̂ is part of the step before, times `noise` (S_noise). At the
    /// first point it is part of the initial noise, which has the level [`Plan::start`](crate::Plan::start) and no factor S_noise.
    /// A second call replaces the churn of the first.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `total` (S_churn) and `noise` are finite and ≥ 0, those of the process for a σ̂ that it does not
    /// have, and [`Error::Unsupported`] on a path with restarts.
    #[doc(alias("s_churn", "s_noise", "s_tmin", "s_tmax"))]
    pub fn churned(
        self,
        process: &impl Process,
        total: f64,
        range: core::ops::RangeInclusive<f64>,
        noise: f64,
    ) -> Result<Self, Error> {
        if !self.restarts.is_empty() {
            return Err(Error::Unsupported { operation: "churn on a path with restarts; choose one of the two" });
        }
        require(total >= 0.0 && total.is_finite(), "S_churn", total, "finite and ≥ 0")?;
        require(noise >= 0.0 && noise.is_finite(), "S_noise", noise, "finite and ≥ 0")?;
        let gamma = (total / self.points.len() as f64).min(core::f64::consts::SQRT_2 - 1.0);
        let lifted = self.points.iter().map(|point| {
            let sigma = point.level.sigma();
            if gamma > 0.0 && range.contains(&sigma) { process.at_sigma(sigma * (1.0 + gamma)) } else { Ok(*point) }
        });
        // A lifted point may be noisier than the one before it; only the levels at which steps arrive must fall.
        let lifted = lifted.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { lifted, churn_noise: noise, ..self })
    }

    /// This path with restarts in an interval `sigma` = low..high (Xu et al. 2023, arXiv 2306.14878, Algorithm 1).
    ///
    /// When x arrives at the point nearest to σ = low (in ln σ; never the first point), noise lifts it to σ = high,
    /// and it comes back in `steps` steps of Karras's spacing. This is repeated `times` times.
    ///
    /// The noise is part of the step that arrives. A method with memory starts over after it. Paths that encode leave restarts out.
    /// Call this again for another interval.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 < low < high and that point's σ is at most high, [`Error::Count`] unless
    /// 1 ≤ `steps`, `times` ≤ 1000, [`Error::Count`] if the path has only one point, [`Error::Unsupported`] on a path with
    /// churn, and those of the process for a σ that it does not have.
    ///
    /// ```
    /// use alphabar::{Ddim, Edm, Path, Plan};
    ///
    /// let edm = Edm::new(80.0, 0.002, 0.5)?;
    /// let path = Path::karras(&edm, 18)?.restarted(&edm, 0.05..0.3, 3, 2)?;
    /// let plan = Plan::builder_along(&path)
    ///     .prediction(edm.prediction())
    ///     .build(&Ddim::deterministic())?;
    /// assert_eq!(plan.len(), 18 + 3 * 2);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "Restart")]
    pub fn restarted(
        mut self,
        process: &impl Process,
        sigma: core::ops::Range<f64>,
        steps: usize,
        times: usize,
    ) -> Result<Self, Error> {
        if !self.lifted.is_empty() {
            return Err(Error::Unsupported { operation: "restarts on a path with churn; choose one of the two" });
        }
        let (low, high) = (sigma.start, sigma.end);
        require(low > 0.0 && low < high, "the lower σ of a restart", low, "positive and below the upper one")?;
        require_count("the number of steps of a restart", steps, 1, 1000)?;
        require_count("the number of repetitions of a restart", times, 1, 1000)?;
        let far = |point: &Point| (libm::log(point.level.sigma()) - libm::log(low)).abs();
        let nearest = self.points.iter().enumerate().skip(1).min_by(|(_, a), (_, b)| far(a).total_cmp(&far(b)));
        let Some((after, point)) = nearest else {
            return Err(Error::Count {
                name: "the number of points of a path with restarts",
                value: 1,
                min: 2,
                max: MAX_TRAIN_STEPS,
            });
        };
        let sigmas = spacing::karras(steps + 1, high, point.level.sigma(), spacing::KARRAS_RHO)?;
        let through = sigmas.into_iter().take(steps).map(|sigma| process.at_sigma(sigma));
        let through = through.collect::<Result<Vec<_>, _>>()?;
        self.restarts.push(Restart { after, through, times });
        Ok(self)
    }
}

/// Queries.
impl Path {
    /// The points of the path, from the noisiest to the cleanest. The network is called at them, or with churn at noisier ones.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// S, the number of points; never 0.
    ///
    /// A method with one network call a step makes S calls, and more on a path with restarts.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path is never empty")]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// The level at the clean end.
    #[must_use]
    pub fn end(&self) -> NoiseLevel {
        self.end.level
    }

    /// The direction in which the path is walked.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The points at which the network is called on the way to the clean end.
    fn calls(&self) -> &[Point] {
        if self.lifted.is_empty() { &self.points } else { &self.lifted }
    }

    pub(crate) fn starts_in_noise(&self) -> bool {
        self.from_noise
    }

    /// The legs between the points, in the order in which they are walked; a [`Solver`](crate::Solver) reads them.
    ///
    /// # Errors
    /// [`Error::Unconditioned`] if the path encodes with [`Conditioning::Source`] from an end at which its network cannot be called.
    pub fn legs(&self) -> Result<Legs<'_>, Error> {
        let mut legs = Vec::with_capacity(self.points.len());
        match self.direction {
            Direction::Generate => {
                for (i, call) in self.calls().iter().enumerate() {
                    let (arrives, s, to) = match self.points.get(i + 1) {
                        Some(next) => (Some(*next), Some(next.t), next.level),
                        None => (self.end.point, self.end.t, self.end.level),
                    };
                    let lifted = self.lifted.get(i + 1).map(|point| point.level).filter(|level| *level != to);
                    let lift = lifted.map(|to| Lift { to, noise: self.churn_noise });
                    legs.push(Leg { call: *call, arrives, s, lift, ..Leg::new(call.level, to) });
                    for restart in self.restarts.iter().filter(|restart| restart.after == i + 1) {
                        self.restart(restart, &mut legs);
                    }
                }
            }
            Direction::Encode(conditioning) => {
                let mut previous: (NoiseLevel, Option<Point>) = (self.end.level, self.end.point);
                for next in self.points.iter().rev() {
                    let (from, source) = previous;
                    let call = match conditioning {
                        Conditioning::Source => source.ok_or(Error::Unconditioned)?,
                        Conditioning::Destination => *next,
                    };
                    legs.push(Leg { call, arrives: Some(*next), s: Some(next.t), ..Leg::new(from, next.level) });
                    previous = (next.level, Some(*next));
                }
            }
        }
        Ok(Legs::new(legs, self.process.as_deref()))
    }
}

impl Path {
    /// Adds noise where the last leg arrives, and adds the legs of the way back.
    fn restart(&self, restart: &Restart, legs: &mut Vec<Leg>) {
        let Some(point) = self.points.get(restart.after) else { return };
        let Some(first) = restart.through.first() else { return };
        for _ in 0..restart.times {
            if let Some(arriving) = legs.last_mut() {
                arriving.lift = Some(Lift { to: first.level, noise: 1.0 });
            }
            for (index, call) in restart.through.iter().enumerate() {
                let next = restart.through.get(index + 1).unwrap_or(point);
                let leg =
                    Leg { call: *call, arrives: Some(*next), s: Some(next.t), ..Leg::new(call.level, next.level) };
                legs.push(Leg { starts_over: index == 0, ..leg });
            }
        }
    }
}

/// Paths are equal if they go through the same points in the same way.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        let Self { points, lifted, churn_noise, restarts, end, direction, from_noise, process: _ } = self;
        let rest = (lifted, churn_noise, restarts, end, direction, from_noise);
        *points == other.points
            && rest
                == (&other.lifted, &other.churn_noise, &other.restarts, &other.end, &other.direction, &other.from_noise)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, lifted, churn_noise, restarts, end, direction, from_noise, process: _ } = self;
        f.debug_struct("Path")
            .field("points", points)
            .field("lifted", lifted)
            .field("churn_noise", churn_noise)
            .field("restarts", restarts)
            .field("end", end)
            .field("direction", direction)
            .field("from_noise", from_noise)
            .finish()
    }
}

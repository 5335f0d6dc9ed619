//! The loop.

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::noise::NoiseSource;
use crate::plan::{Plan, Step};
use crate::predictor::Predictor;
use crate::tensor::{Stepped, Tensor, Weights, predicted_x0};

/// Runs a whole plan from x_T (or from an image, for an encoding plan).
///
/// ```
/// use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps, reference, sample};
/// use ndarray::Array2;
///
/// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 50)?, &Ddim::new(1.0)?)?;
/// // The exact ε for data distributed as N(3, 0.1²) in each of two dimensions.
/// let mut model = reference::Gaussian::new([3.0, 3.0], [0.01, 0.01])?.predictor();
/// let mut noise = SeededNoise::new(42);
/// let x = noise.noise(&Array2::<f32>::zeros((1000, 2)), Draw::Initial)?;
/// let x = sample(&plan, x, &mut model, &mut noise)?;
/// assert!((x.mean().unwrap() - 3.0).abs() < 0.05);
/// # Ok::<(), alphabar::Error>(())
/// ```
///
/// # Errors
/// [`Error::PredictionMismatch`] before the first step; then [`Error::AtStep`] with whatever failed there.
pub fn sample<T, P, N>(plan: &Plan, x: T, model: &mut P, noise: &mut N) -> Result<T, Error>
where
    T: Tensor,
    P: Predictor<T> + ?Sized,
    N: NoiseSource<T> + ?Sized,
{
    let mut run = Sampling::new(plan, x, model, noise)?;
    while run.advance()?.is_some() {}
    run.into_x()
}

/// A run of a plan, driven step by step: for progress, cancelling, previews, and for stopping here and resuming there.
///
/// Its state is x and the index of the next step. A run is cancelled by dropping it and resumed from a saved x by
/// [`Sampling::resume`], with the same result as if it had never stopped.
///
/// ```
/// use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
///
/// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
/// let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect());
/// let mut noise = NoNoise;
/// let mut run = Sampling::new(&plan, vec![0.3_f32, -0.8], &mut model, &mut noise)?;
/// while let Some((step, x0)) = run.advance_with_x0()? {
///     println!("{} of {}: x̂₀ = {x0:?}", step.index + 1, plan.len());
/// }
/// let image = run.into_x()?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Debug)]
pub struct Sampling<'a, T, P: ?Sized, N: ?Sized> {
    plan: &'a Plan,
    next: usize,
    /// `None` after a step that failed with x in its hands.
    x: Option<T>,
    spare: Option<T>,
    model: &'a mut P,
    noise: &'a mut N,
}

impl<'a, T, P, N> Sampling<'a, T, P, N>
where
    T: Tensor,
    P: Predictor<T> + ?Sized,
    N: NoiseSource<T> + ?Sized,
{
    /// A run from the first step.
    ///
    /// # Errors
    /// [`Error::PredictionMismatch`] where the plan is built for another prediction than the network makes.
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let mut noise = NoNoise;
    /// let run = Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn new(plan: &'a Plan, x: T, model: &'a mut P, noise: &'a mut N) -> Result<Self, Error> {
        Self::resume(plan, 0, x, model, noise)
    }

    /// A run from a later step, with the x that the step before it gave.
    ///
    /// # Errors
    /// [`Error::PredictionMismatch`], and [`Error::Count`] for a step past the end (the end itself is a finished run).
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let saved = vec![0.3_f32];
    /// let mut noise = NoNoise;
    /// let mut run = Sampling::resume(&plan, 7, saved, &mut model, &mut noise)?;
    /// assert_eq!(run.advance()?.map(|step| step.index), Some(7));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn resume(plan: &'a Plan, step: usize, x: T, model: &'a mut P, noise: &'a mut N) -> Result<Self, Error> {
        crate::error::require_count("the step to resume at", step, 0, plan.len())?;
        if plan.prediction() != model.prediction() {
            return Err(Error::PredictionMismatch { plan: plan.prediction(), model: model.prediction() });
        }
        Ok(Self { plan, next: step, x: Some(x), spare: None, model, noise })
    }

    /// Takes one step, with one call of the network. `None` once the plan is done.
    ///
    /// If the network fails, x is still there and the step may be tried again.
    ///
    /// # Errors
    /// [`Error::AtStep`] with whatever failed; [`Error::RunFailed`] after a step that failed with x in its hands.
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// # let mut noise = NoNoise;
    /// # let mut run = Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?;
    /// while let Some(step) = run.advance()? {
    ///     println!("step {} done", step.index);
    /// }
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn advance(&mut self) -> Result<Option<&'a Step>, Error> {
        let Some(step) = self.plan.steps().get(self.next) else { return Ok(None) };
        let m = self.predict(step)?;
        self.apply(step, m)?;
        Ok(Some(step))
    }

    /// [`Sampling::advance`], and x̂₀ as the step saw it: thresholded, and one combination dearer.
    ///
    /// # Errors
    /// As [`Sampling::advance`].
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// # let mut noise = NoNoise;
    /// # let mut run = Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?;
    /// let (_, x0) = run.advance_with_x0()?.expect("there are ten steps");
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn advance_with_x0(&mut self) -> Result<Option<(&'a Step, T)>, Error> {
        let Some(step) = self.plan.steps().get(self.next) else { return Ok(None) };
        let m = self.predict(step)?;
        let x0 = self.x().and_then(|x| step.x0(x, &m)).map_err(|error| error.at_step(step.index, step.t))?;
        self.apply(step, m)?;
        Ok(Some((step, x0)))
    }

    fn predict(&mut self, step: &Step) -> Result<T, Error> {
        let x = self.x.as_ref().ok_or(Error::RunFailed)?;
        self.model
            .predict_into(x, step.point(), self.spare.take())
            .map_err(|error| Error::Predictor(error).at_step(step.index, step.t))
    }

    fn apply(&mut self, step: &Step, m: T) -> Result<(), Error> {
        let x = self.x.take().ok_or(Error::RunFailed)?;
        let stepped = self.noise.step(x, m, step).map_err(|error| error.at_step(step.index, step.t))?;
        self.x = Some(stepped.x);
        self.spare = stepped.spare;
        self.next += 1;
        Ok(())
    }

    /// The x that the next step takes.
    ///
    /// # Errors
    /// [`Error::RunFailed`] after a step that failed with x in its hands.
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let mut noise = NoNoise;
    /// let run = Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?;
    /// assert_eq!(run.x()?, &[0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn x(&self) -> Result<&T, Error> {
        self.x.as_ref().ok_or(Error::RunFailed)
    }

    /// The index of the next step; [`Plan::len`] when the run is done.
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let mut noise = NoNoise;
    /// assert_eq!(Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?.next_step(), 0);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn next_step(&self) -> usize {
        self.next
    }

    /// The last x, by value.
    ///
    /// # Errors
    /// [`Error::RunFailed`] after a step that failed with x in its hands.
    ///
    /// ```
    /// # use alphabar::{BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps};
    /// # let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let mut noise = NoNoise;
    /// assert_eq!(Sampling::new(&plan, vec![0.3_f32], &mut model, &mut noise)?.into_x()?, [0.3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn into_x(self) -> Result<T, Error> {
        self.x.ok_or(Error::RunFailed)
    }
}

/// For loops of one's own.
impl Step {
    /// x′, from the network's output and, where [`Step::needs_noise`], z.
    ///
    /// # Errors
    /// As [`Tensor::step`].
    ///
    /// ```
    /// use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps};
    ///
    /// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::new(0.5)?)?;
    /// let mut noise = SeededNoise::new(1);
    /// let mut x = noise.noise(&vec![0.0_f32; 4], Draw::Initial)?;
    /// for step in plan.steps() {
    ///     let eps: Vec<f32> = x.iter().map(|x| 0.5 * x).collect(); // the network, told step.t
    ///     let z = if step.needs_noise() { Some(noise.noise(&x, Draw::Step(step.index))?) } else { None };
    ///     x = step.apply(x, eps, z.as_ref())?;
    /// }
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn apply<T: Tensor>(&self, x: T, m: T, z: Option<&T>) -> Result<T, Error> {
        let Some(k) = self.learned_noise else { return Ok(x.step(m, z, &[self.coefficients])?.x) };
        Ok(learned_step(x, &m, z.filter(|_| self.needs_noise()), k.into(), &[self.coefficients])?.x)
    }

    /// x̂₀ = threshold(p·x + q·m): what the network takes x to be the noisy form of; a preview.
    ///
    /// # Errors
    /// As [`Tensor::linear_combination`].
    ///
    /// ```
    /// # use alphabar::{Ddim, NoiseSchedule, Plan, Threshold, Timesteps};
    /// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau).threshold(Threshold::Clip(1.0)).build(&Ddim::deterministic())?;
    /// let x0 = plan.steps()[0].x0(&vec![1.0_f32], &vec![0.5])?;
    /// assert_eq!(x0, [1.0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn x0<T: Tensor>(&self, x: &T, m: &T) -> Result<T, Error> {
        match self.learned_noise {
            None => predicted_x0(x, m, &[self.coefficients]),
            Some(_) => predicted_x0(x, &m.halve_channels()?.0, &[self.coefficients]),
        }
    }
}

/// A step for a network that also predicts how much noise is to be added: m holds its prediction and v, and z is multiplied by
/// exp(k·v).
pub(crate) fn learned_step<T: Tensor>(
    x: T,
    m: &T,
    z: Option<&T>,
    k: Weights<'_>,
    rows: &[Coefficients],
) -> Result<Stepped<T>, Error> {
    let (m, v) = m.halve_channels()?;
    let z = z.map(|z| z.times_exp(&v, k)).transpose()?;
    // Half a buffer is of no use to a network whose outputs are whole.
    Ok(Stepped::new(x.step(m, z.as_ref(), rows)?.x, None))
}

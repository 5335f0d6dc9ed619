//! The sampling loop.

use crate::error::{Error, require_count};
use crate::noise::NoiseSource;
use crate::plan::{Plan, Step};
use crate::predictor::Predictor;
use crate::state::State;
use crate::tensor::{Memory, Stepped, Tensor, predicted_x0};

/// Runs a whole plan: from x_T to clean data, or from an image to its noise if the plan encodes (DDIM inversion).
///
/// [`Sampling`] does this step by step, with previews, and can reuse buffers. [`Step::apply`] is for a custom loop.
///
/// ```
/// use alphabar::{
///     Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps,
///     reference, sample,
/// };
/// use ndarray::Array2;
///
/// let plan = Plan::new(
///     &NoiseSchedule::ddpm()?,
///     &Timesteps::trailing(1000, 50)?,
///     &Ddim::new(1.0)?,
/// )?;
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
/// [`Error::PredictionMismatch`] before the first step; then [`Error::AtStep`] with the error of that step.
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

/// A run of a plan, driven step by step: for progress bars, cancelling, previews, and for stopping and resuming.
///
/// Drop it to cancel the run. The state of a run is a value, [`State`]. [`Sampling::from_state`] continues from a saved state, with the
/// result of a run that never stopped.
///
/// ```
/// use alphabar::{
///     BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps,
/// };
///
/// let plan = Plan::new(
///     &NoiseSchedule::ddpm()?,
///     &Timesteps::trailing(1000, 10)?,
///     &Ddim::deterministic(),
/// )?;
/// let mut model = |x: &Vec<f32>, _: Point| {
///     Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect())
/// };
/// let mut noise = NoNoise;
/// let mut run = Sampling::new(&plan, vec![0.3_f32, -0.8], &mut model, &mut noise)?;
/// while let Some((step, x0)) = run.advance_with_x0()? {
///     println!("{} of {}: x̂₀ = {x0:?}", step.index + 1, plan.len());
/// }
/// let image = run.into_x()?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Debug)]
#[doc(alias = "callback")]
#[doc(alias = "progress")]
pub struct Sampling<'a, T, P: ?Sized, N: ?Sized> {
    plan: &'a Plan,
    state: State<T>,
    model: &'a mut P,
    noise: &'a mut N,
}

impl<'a, T, P, N> Sampling<'a, T, P, N>
where
    T: Tensor,
    P: Predictor<T> + ?Sized,
    N: NoiseSource<T> + ?Sized,
{
    /// Starts a run at the first step.
    ///
    /// # Errors
    /// [`Error::PredictionMismatch`] if the plan is built for another prediction than the network makes.
    pub fn new(plan: &'a Plan, x: T, model: &'a mut P, noise: &'a mut N) -> Result<Self, Error> {
        Self::resume(plan, 0, x, model, noise)
    }

    /// Resumes a run at a later step, from the x that the previous step returned; for samplers without memory.
    ///
    /// For other samplers use [`Sampling::from_state`].
    ///
    /// # Errors
    /// As [`Sampling::from_state`].
    ///
    /// ```
    /// use alphabar::{
    ///     BoxError, Ddim, NoNoise, NoiseSchedule, Plan, Point, Sampling, Timesteps,
    /// };
    ///
    /// let plan = Plan::new(
    ///     &NoiseSchedule::ddpm()?,
    ///     &Timesteps::trailing(1000, 10)?,
    ///     &Ddim::deterministic(),
    /// )?;
    /// let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    /// let saved = vec![0.3_f32];
    /// let mut noise = NoNoise;
    /// let mut run = Sampling::resume(&plan, 7, saved, &mut model, &mut noise)?;
    /// assert_eq!(run.advance()?.map(|step| step.index), Some(7));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn resume(plan: &'a Plan, step: usize, x: T, model: &'a mut P, noise: &'a mut N) -> Result<Self, Error> {
        Self::from_state(plan, State::from_parts(x, Memory::default(), step), model, noise)
    }

    /// Resumes a run from a [`State`] of this plan.
    ///
    /// # Errors
    /// [`Error::PredictionMismatch`], [`Error::Count`] for a state past the end of the plan (the end itself is a finished run), and
    /// [`Error::MissingHistory`] if the steps that are left read outputs that the state does not hold.
    ///
    /// ```
    /// use alphabar::{
    ///     BoxError, DpmSolverPp, NoNoise, NoiseSchedule, Plan, Point, Sampling,
    ///     Timesteps,
    /// };
    ///
    /// let plan = Plan::new(
    ///     &NoiseSchedule::ddpm()?,
    ///     &Timesteps::trailing(1000, 10)?,
    ///     &DpmSolverPp::multistep(3)?,
    /// )?;
    /// let mut model = |x: &Vec<f32>, _: Point| {
    ///     Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect())
    /// };
    /// let mut noise = NoNoise;
    /// let mut run = Sampling::new(&plan, vec![0.3_f32, -0.8], &mut model, &mut noise)?;
    /// for _ in 0..4 {
    ///     run.advance()?;
    /// }
    /// // A fork: both go on from the same point.
    /// let saved = run.state().clone();
    /// while run.advance()?.is_some() {}
    /// let image = run.into_x()?;
    /// let mut again = Sampling::from_state(&plan, saved, &mut model, &mut noise)?;
    /// while again.advance()?.is_some() {}
    /// assert_eq!(again.into_x()?, image);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn from_state(plan: &'a Plan, state: State<T>, model: &'a mut P, noise: &'a mut N) -> Result<Self, Error> {
        let next = state.next_step();
        require_count("the step to resume at", next, 0, plan.len())?;
        if plan.prediction() != model.prediction() {
            return Err(Error::PredictionMismatch { plan: plan.prediction(), model: model.prediction() });
        }
        for (later, step) in plan.steps().iter().skip(next).enumerate() {
            // The steps that are left keep their own outputs; older ones must be in the state.
            let missing = |age: &usize| *age > later && state.memory().get(*age - later).is_none();
            if let Some(age) = step.coefficients.history.iter().map(|(age, _)| age).find(missing) {
                return Err(Error::MissingHistory { age }.at_step(step.index, step.t));
            }
        }
        Ok(Self { plan, state, model, noise })
    }

    /// Gives the run a buffer for the network's first output. It has the shape of that output; its content does not matter.
    ///
    /// The network gets it as the `spare` of [`Predictor::predict_into`]. With it, a network that writes in place, and tensors
    /// that step in place (`Vec`, [`Batch`](crate::Batch), ndarray), a run allocates nothing.
    ///
    /// ```
    /// use alphabar::{
    ///     BoxError, Ddim, Draw, NoiseSchedule, NoiseSource, Plan, Point, Predictor,
    ///     Sampling, SeededNoise, Timesteps,
    /// };
    ///
    /// struct Network;
    ///
    /// impl Predictor<Vec<f32>> for Network {
    ///     fn predict(&mut self, x: &Vec<f32>, at: Point) -> Result<Vec<f32>, BoxError> {
    ///         self.predict_into(x, at, None)
    ///     }
    ///     fn predict_into(
    ///         &mut self,
    ///         x: &Vec<f32>,
    ///         _: Point,
    ///         spare: Option<Vec<f32>>,
    ///     ) -> Result<Vec<f32>, BoxError> {
    ///         let mut eps = spare.unwrap_or_else(|| vec![0.0; x.len()]);
    ///         eps.iter_mut().zip(x).for_each(|(eps, x)| *eps = 0.5 * x);
    ///         Ok(eps)
    ///     }
    /// }
    ///
    /// let plan = Plan::new(
    ///     &NoiseSchedule::ddpm()?,
    ///     &Timesteps::trailing(1000, 10)?,
    ///     &Ddim::new(1.0)?,
    /// )?;
    /// let (mut model, mut noise) = (Network, SeededNoise::new(1));
    /// // Two buffers for any number of runs.
    /// let (mut x, mut spare) = (vec![0.0_f32; 4], vec![0.0; 4]);
    /// for request in 0..3 {
    ///     noise = noise.from_sample(request);
    ///     x = noise.noise_into(x, Draw::Initial)?;
    ///     let mut run =
    ///         Sampling::new(&plan, x, &mut model, &mut noise)?.with_spare(spare);
    ///     while run.advance()?.is_some() {}
    ///     let stepped = run.into_stepped()?;
    ///     (x, spare) = (stepped.x, stepped.spare.unwrap_or_default());
    /// }
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn with_spare(self, spare: T) -> Self {
        Self { state: self.state.with_spare(spare), ..self }
    }

    /// Takes one step, with one network call. Returns `None` when the plan is done.
    ///
    /// If the network fails, the run keeps x, and you can try the step again.
    ///
    /// # Errors
    /// [`Error::AtStep`] with the error of the step; [`Error::RunFailed`] if an earlier step failed after it had consumed x.
    pub fn advance(&mut self) -> Result<Option<&'a Step>, Error> {
        let Some(step) = self.plan.steps().get(self.state.next_step()) else { return Ok(None) };
        let m = self.predict(step)?;
        self.apply(step, m)?;
        Ok(Some(step))
    }

    /// Takes one step like [`Sampling::advance`], and also returns the (clipped) x̂₀ as a preview.
    ///
    /// This costs one extra pass over the tensor.
    ///
    /// # Errors
    /// As [`Sampling::advance`].
    pub fn advance_with_x0(&mut self) -> Result<Option<(&'a Step, T)>, Error> {
        let Some(step) = self.plan.steps().get(self.state.next_step()) else { return Ok(None) };
        let m = self.predict(step)?;
        let x0 = self.x().and_then(|x| step.x0(x, &m)).map_err(|error| error.at_step(step.index, step.t))?;
        self.apply(step, m)?;
        Ok(Some((step, x0)))
    }

    fn predict(&mut self, step: &Step) -> Result<T, Error> {
        let spare = self.state.take_spare();
        let x = self.state.x()?;
        self.model
            .predict_into(x, step.point(), spare)
            .map_err(|error| Error::Predictor(error).at_step(step.index, step.t))
    }

    fn apply(&mut self, step: &Step, m: T) -> Result<(), Error> {
        self.state.x()?;
        self.state.step(step, m, self.noise).map_err(|error| error.at_step(step.index, step.t))
    }

    /// The x that the next step takes.
    ///
    /// # Errors
    /// [`Error::RunFailed`] if an earlier step failed after it had consumed x.
    pub fn x(&self) -> Result<&T, Error> {
        self.state.x()
    }

    /// The index of the next step; [`Plan::len`] when the run is done.
    #[must_use]
    pub fn next_step(&self) -> usize {
        self.state.next_step()
    }

    /// The state of the run. Clone it to fork the run; store it to continue elsewhere.
    #[must_use]
    pub fn state(&self) -> &State<T> {
        &self.state
    }

    /// Ends the run and returns its state.
    #[must_use]
    pub fn into_state(self) -> State<T> {
        self.state
    }

    /// The result: the x that the last step returned.
    ///
    /// # Errors
    /// [`Error::RunFailed`] if an earlier step failed after it had consumed x.
    pub fn into_x(self) -> Result<T, Error> {
        self.state.into_x()
    }

    /// The result, with the buffer of the network's output for [`with_spare`](Sampling::with_spare) in the next run.
    ///
    /// # Errors
    /// [`Error::RunFailed`] if an earlier step failed after it had consumed x.
    pub fn into_stepped(self) -> Result<Stepped<T>, Error> {
        self.state.into_stepped()
    }
}

/// For custom loops.
impl Step {
    /// Computes x′ from the network's output and, if [`Step::needs_noise`], z. Also returns the buffer of the network's output.
    ///
    /// A network with a learned variance returns twice the channels; pass its output as it is.
    ///
    /// # Errors
    /// As [`Tensor::step`] and, for a learned variance, [`Tensor::step_learned`].
    ///
    /// ```
    /// use alphabar::{
    ///     Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps,
    /// };
    ///
    /// /// Writes its prediction over `buffer`.
    /// fn network(x: &[f32], t: f64, mut buffer: Vec<f32>) -> Vec<f32> {
    ///     buffer.resize(x.len(), 0.0);
    ///     buffer.iter_mut().zip(x).for_each(|(eps, x)| *eps = 0.5 * x);
    ///     buffer
    /// }
    ///
    /// // A loop that allocates in its first step only.
    /// let plan = Plan::new(
    ///     &NoiseSchedule::ddpm()?,
    ///     &Timesteps::trailing(1000, 10)?,
    ///     &Ddim::deterministic(),
    /// )?;
    /// let (mut x, mut spare) =
    ///     (SeededNoise::new(1).noise(&vec![0.0_f32; 4], Draw::Initial)?, None);
    /// for step in plan.steps() {
    ///     let eps = network(&x, step.t, spare.take().unwrap_or_default());
    ///     let stepped = step.step(x, eps, None)?;
    ///     (x, spare) = (stepped.x, stepped.spare);
    /// }
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn step<T: Tensor>(&self, x: T, m: T, z: Option<&T>) -> Result<Stepped<T>, Error> {
        self.step_with_memory(x, m, &Memory::default(), z)
    }

    /// Like [`Step::step`], with the outputs that earlier steps kept. [`State`] manages them for you.
    ///
    /// # Errors
    /// As [`Step::step`], and [`Error::MissingHistory`].
    pub fn step_with_memory<T: Tensor>(
        &self,
        x: T,
        m: T,
        memory: &Memory<T>,
        z: Option<&T>,
    ) -> Result<Stepped<T>, Error> {
        let rows = &[self.coefficients];
        match self.learned_noise {
            None if self.coefficients.remembers() => x.step_with_memory(m, memory, z, rows),
            None => x.step(m, z, rows),
            Some(k) => x.step_learned(m, z, k.into(), rows),
        }
    }

    /// Computes x′, like [`Step::step`], but does not return the buffer.
    ///
    /// # Errors
    /// As [`Step::step`].
    ///
    /// ```
    /// use alphabar::{Ddim, Draw, NoiseSchedule, NoiseSource, Plan, SeededNoise, Timesteps};
    ///
    /// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::new(0.5)?)?;
    /// let mut noise = SeededNoise::new(1);
    /// let mut x = noise.noise(&vec![0.0_f32; 4], Draw::Initial)?;
    /// for step in plan.steps() {
    ///     let eps: Vec<f32> = x.iter().map(|x| 0.5 * x).collect(); // the network, with step.t
    ///     let z = if step.needs_noise() { Some(noise.noise(&x, Draw::Step(step.index))?) } else { None };
    ///     x = step.apply(x, eps, z.as_ref())?;
    /// }
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "step")]
    #[doc(alias = "prev_sample")]
    pub fn apply<T: Tensor>(&self, x: T, m: T, z: Option<&T>) -> Result<T, Error> {
        Ok(self.step(x, m, z)?.x)
    }

    /// The predicted clean data, x̂₀ = threshold(p·x + q·m): a preview.
    ///
    /// # Errors
    /// As [`Tensor::linear_combination`].
    ///
    /// ```
    /// use alphabar::{Ddim, NoiseSchedule, Plan, Threshold, Timesteps};
    ///
    /// let (schedule, tau) = (NoiseSchedule::ddpm()?, Timesteps::trailing(1000, 10)?);
    /// let plan = Plan::builder(&schedule, &tau)
    ///     .threshold(Threshold::Clip(1.0))
    ///     .build(&Ddim::deterministic())?;
    /// let x0 = plan.steps()[0].x0(&vec![1.0_f32], &vec![0.5])?;
    /// assert_eq!(x0, [1.0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "pred_original_sample")]
    #[doc(alias = "preview")]
    pub fn x0<T: Tensor>(&self, x: &T, m: &T) -> Result<T, Error> {
        match self.learned_noise {
            None => predicted_x0(x, m, &[self.coefficients]),
            Some(_) => predicted_x0(x, &m.halve_channels()?.0, &[self.coefficients]),
        }
    }
}

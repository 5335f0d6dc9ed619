//! The state of a run as a value.

use crate::coefficients::MAX_HISTORY;
use crate::error::Error;
use crate::noise::{NoiseSource, SeededNoise};
use crate::plan::Step;
use crate::tensor::{HostTensor, Memory, Stepped, Tensor};

/// The state of a run: x, the outputs that are kept for later steps, and the index of the next step.
///
/// It is a value. Clone it to fork a run, or store its parts ([`State::into_parts`]) and resume elsewhere ([`State::from_parts`]):
/// a resumed run gives the same bits as one that never stopped. [`Sampling`](crate::Sampling) and [`sample`](crate::sample()) use a
/// state internally. A custom loop can use it directly, with every sampler:
///
/// ```
/// use alphabar::{
///     DpmSolverPp, Draw, NoiseSchedule, NoiseSource, Path, Plan, SeededNoise, State,
/// };
///
/// # let unet = |x: &Vec<f32>, _t: f64| x.clone();
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let plan =
///     Plan::along(&Path::karras(&schedule, 20)?, &DpmSolverPp::multistep(2)?)?;
/// let mut noise = SeededNoise::new(42);
/// let mut state = State::new(noise.noise(&vec![0.0_f32; 4], Draw::Initial)?);
/// for step in plan.steps() {
///     let m = unet(state.x()?, step.t);
///     state.step(step, m, &mut noise)?;
/// }
/// let image = state.into_x()?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("checkpoint", "resume"))]
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct State<T> {
    /// `None` if an earlier step failed after it had consumed x.
    x: Option<T>,
    memory: Memory<T>,
    next: usize,
    /// Buffers that are free to reuse. A method that keeps the outputs of only some calls frees several at once, and later needs
    /// several.
    #[cfg_attr(feature = "serde", serde(skip, default = "no_spares"))]
    spares: [Option<T>; SPARES],
    /// Whether a buffer was taken since the last step. If not, the free buffers are dropped.
    #[cfg_attr(feature = "serde", serde(skip))]
    asked: bool,
}

/// One for each output that a row can read, and one for the output of the call.
const SPARES: usize = MAX_HISTORY + 1;

fn no_spares<T>() -> [Option<T>; SPARES] {
    core::array::from_fn(|_| None)
}

/// Compares everything but the spare buffers.
impl<T: PartialEq> PartialEq for State<T> {
    fn eq(&self, other: &Self) -> bool {
        (&self.x, &self.memory, self.next) == (&other.x, &other.memory, other.next)
    }
}

/// Forks the run; spare buffers are not copied.
impl<T: Clone> Clone for State<T> {
    fn clone(&self) -> Self {
        Self::of(self.x.clone(), self.memory.clone(), self.next)
    }
}

impl<T> State<T> {
    /// The state before the first step of a plan.
    #[must_use]
    pub fn new(x: T) -> Self {
        Self::from_parts(x, Memory::default(), 0)
    }

    /// The state before a later step, from the parts that [`State::into_parts`] returned.
    #[must_use]
    pub fn from_parts(x: T, memory: Memory<T>, next: usize) -> Self {
        Self::of(Some(x), memory, next)
    }

    fn of(x: Option<T>, memory: Memory<T>, next: usize) -> Self {
        Self { x, memory, next, spares: no_spares(), asked: false }
    }

    /// x, the kept outputs, and the index of the next step.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_parts(self) -> Result<(T, Memory<T>, usize), Error> {
        Ok((self.x.ok_or(Error::RunFailed)?, self.memory, self.next))
    }

    /// Adds a spare buffer for [`State::take_spare`]; it must have the shape of the network's output.
    ///
    /// A method that remembers k outputs can use k + 1 buffers: call this once for each.
    #[must_use]
    pub fn with_spare(mut self, spare: T) -> Self {
        store_spare(&mut self.spares, spare);
        self.asked = true;
        self
    }

    /// The x that the next step takes.
    ///
    /// # Errors
    /// [`Error::RunFailed`] if an earlier step failed after it had consumed x.
    pub fn x(&self) -> Result<&T, Error> {
        self.x.as_ref().ok_or(Error::RunFailed)
    }

    /// The outputs that earlier steps kept.
    #[must_use]
    pub fn memory(&self) -> &Memory<T> {
        &self.memory
    }

    /// The index of the next step.
    #[must_use]
    pub fn next_step(&self) -> usize {
        self.next
    }

    /// Takes a buffer that is free to reuse, if there is one. It has the shape of the network's output; its content is unspecified.
    pub fn take_spare(&mut self) -> Option<T> {
        self.asked = true;
        self.spares.iter_mut().find_map(Option::take)
    }

    /// x after the last step taken; at the end of a run, the result.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_x(self) -> Result<T, Error> {
        self.x.ok_or(Error::RunFailed)
    }

    /// x after the last step taken, with a spare buffer to reuse; the kept outputs are dropped.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_stepped(mut self) -> Result<Stepped<T>, Error> {
        // At the end of a run nothing reads the kept outputs any more.
        let spare = self.take_spare().or_else(|| self.memory.into_any());
        Ok(Stepped::new(self.x.ok_or(Error::RunFailed)?, spare))
    }
}

impl<T: Tensor> State<T> {
    /// Takes a step, with the network's output m; `noise` is asked for z if the step adds noise.
    ///
    /// The state stays as it is if an output is missing, has another shape or is of another plan, or if the step is not the next one.
    ///
    /// # Errors
    /// [`Error::StepOrder`], [`Error::MissingHistory`], [`Error::OtherPlan`], [`Error::Shape`], and those of the noise and of
    /// [`Tensor::step`].
    pub fn step<N: NoiseSource<T> + ?Sized>(&mut self, step: &Step, m: T, noise: &mut N) -> Result<(), Error> {
        self.check(step, &m)?;
        let x = self.x.take().ok_or(Error::RunFailed)?;
        let stepped = noise.step(x, m, &self.memory, step)?;
        self.advance(stepped, step);
        Ok(())
    }

    /// Takes a step with noise `z` that you pass; `None` for a step that adds none.
    ///
    /// # Errors
    /// As [`State::step`], and [`Error::MissingNoise`].
    pub fn step_given(&mut self, step: &Step, m: T, z: Option<&T>) -> Result<(), Error> {
        self.check(step, &m)?;
        if let (true, None) = (step.needs_noise(), z) {
            return Err(Error::MissingNoise { d: step.coefficients.d });
        }
        let x = self.x.take().ok_or(Error::RunFailed)?;
        let stepped = step.step_with_memory(x, m, &self.memory, z)?;
        self.advance(stepped, step);
        Ok(())
    }

    fn check(&self, step: &Step, m: &T) -> Result<(), Error> {
        let x = self.x()?;
        if !step.coefficients.remembers() {
            return Ok(());
        }
        if step.index != self.next {
            return Err(Error::StepOrder { expected: self.next, found: step.index });
        }
        self.memory.check_mark(step.mark)?;
        check_shape(x, m)?;
        for (age, _) in step.coefficients.history.iter() {
            let output = self.memory.get(age).ok_or(Error::MissingHistory { age })?;
            check_shape(x, output)?;
        }
        Ok(())
    }

    fn advance(&mut self, stepped: Stepped<T>, step: &Step) {
        self.memory.set_mark(step.mark);
        self.store(stepped, step.coefficients.kept.map_or(0, |kept| kept.lasts));
        self.next = step.index + 1;
    }

    fn store(&mut self, stepped: Stepped<T>, lasts: usize) {
        let Stepped { x, spare, kept } = stepped;
        self.x = Some(x);
        if !core::mem::take(&mut self.asked) {
            self.spares = no_spares();
        }
        let spares = &mut self.spares;
        spare.into_iter().for_each(|spare| store_spare(spares, spare));
        self.memory.advance_with(kept, lasts, |past| store_spare(spares, past));
    }
}

/// For servers: a batch of samples that belong to different plans.
impl<T: HostTensor> State<T> {
    /// Takes one step with every sample of the batch, each with its own [`Step`] of `steps`.
    ///
    /// The samples may belong to different plans, methods and orders, and may be at different steps. A sample reads the outputs of
    /// its own earlier calls. A sample that has just joined the batch has no outputs yet, and the first step of its plan reads none.
    /// When samples join or leave the batch, change x and the memory in the same way ([`State::into_parts`], [`Memory::try_map`]).
    ///
    /// # Errors
    /// As [`State::step`], and [`Error::Rows`] unless there is one step for each sample.
    pub fn step_rows(&mut self, steps: &[&Step], m: T, noise: &mut SeededNoise) -> Result<(), Error> {
        let x = self.x()?;
        let (expected, found) = (x.rows_of_batch().count, steps.len());
        if found != expected {
            return Err(Error::Rows { expected, found });
        }
        for (age, _) in steps.iter().flat_map(|step| step.coefficients.history.iter()) {
            check_shape(x, self.memory.get(age).ok_or(Error::MissingHistory { age })?)?;
        }
        let x = self.x.take().ok_or(Error::RunFailed)?;
        let stepped = noise.step_per_row(x, m, &self.memory, steps)?;
        self.memory.set_mark(0);
        self.store(
            stepped,
            steps.iter().filter_map(|step| step.coefficients.kept).map(|kept| kept.lasts).max().unwrap_or(0),
        );
        self.next += 1;
        Ok(())
    }
}

fn store_spare<T>(spares: &mut [Option<T>], spare: T) {
    if let Some(place) = spares.iter_mut().find(|place| place.is_none()) {
        *place = Some(spare);
    }
}

fn check_shape<T: Tensor>(x: &T, other: &T) -> Result<(), Error> {
    if !x.same_shape(other)? {
        // The backend refuses this, and its error names the shapes.
        T::linear_combination(&[(1.0.into(), x), (1.0.into(), other)])?;
    }
    Ok(())
}

//! The state of a run as a value.

use crate::error::Error;
use crate::noise::{NoiseSource, SeededNoise};
use crate::plan::Step;
use crate::tensor::{HostTensor, Memory, Stepped, Tensor};

/// The state of a run: x, the outputs that are kept for later steps, and the index of the next step.
///
/// It is a value. Clone it to fork a run, store its parts ([`State::into_parts`]) to go on elsewhere ([`State::from_parts`]): a run that is
/// resumed gives the same bits as one that never stopped. [`Sampling`](crate::Sampling) and [`sample`](crate::sample()) drive one;
/// a custom loop drives it by hand, whatever its method remembers:
///
/// ```
/// use alphabar::{DpmSolverPp, Draw, NoiseSchedule, NoiseSource, Path, Plan, SeededNoise, State};
///
/// # let unet = |x: &Vec<f32>, _t: f64| x.clone();
/// let schedule = NoiseSchedule::stable_diffusion()?;
/// let plan = Plan::along(&Path::karras(&schedule, 20)?, &DpmSolverPp::multistep(2)?)?;
/// let mut noise = SeededNoise::new(42);
/// let mut state = State::new(noise.noise(&vec![0.0_f32; 4], Draw::Initial)?);
/// for step in plan.steps() {
///     let m = unet(state.x()?, step.t);
///     state.step(step, m, &mut noise)?;
/// }
/// let image = state.into_x()?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct State<T> {
    /// `None` if an earlier step failed after it had consumed x.
    x: Option<T>,
    memory: Memory<T>,
    next: usize,
    #[cfg_attr(feature = "serde", serde(skip, default = "none"))]
    spare: Option<T>,
}

#[cfg(feature = "serde")]
fn none<T>() -> Option<T> {
    None
}

/// Another run from here on, without the spare buffer.
impl<T: Clone> Clone for State<T> {
    fn clone(&self) -> Self {
        Self { x: self.x.clone(), memory: self.memory.clone(), next: self.next, spare: None }
    }
}

/// States are equal if they go on alike; a spare buffer does not count.
impl<T: PartialEq> PartialEq for State<T> {
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x && self.memory == other.memory && self.next == other.next
    }
}

impl<T> State<T> {
    /// The state before the first step of a plan.
    #[must_use]
    pub fn new(x: T) -> Self {
        Self { x: Some(x), memory: Memory::default(), next: 0, spare: None }
    }

    /// The state before a later step, from the parts that [`State::into_parts`] gave.
    #[must_use]
    pub fn from_parts(x: T, memory: Memory<T>, next: usize) -> Self {
        Self { x: Some(x), memory, next, spare: None }
    }

    /// x, the kept outputs, and the index of the next step.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_parts(self) -> Result<(T, Memory<T>, usize), Error> {
        Ok((self.x.ok_or(Error::RunFailed)?, self.memory, self.next))
    }

    /// This state with a buffer of the shape of the network's output, for [`State::take_spare`].
    #[must_use]
    pub fn with_spare(self, spare: T) -> Self {
        Self { spare: Some(spare), ..self }
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

    /// A buffer that nothing uses any more, of the shape of the network's output, if there is one; its content is unspecified.
    pub fn take_spare(&mut self) -> Option<T> {
        self.spare.take()
    }

    /// The x of the last step taken.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_x(self) -> Result<T, Error> {
        self.x.ok_or(Error::RunFailed)
    }

    /// [`State::into_x`] with the buffer of [`State::take_spare`], and no longer any kept output.
    ///
    /// # Errors
    /// As [`State::x`].
    pub fn into_stepped(mut self) -> Result<Stepped<T>, Error> {
        // At the end of a run nothing is read any more.
        let spare = self.spare.take().or_else(|| self.memory.into_any());
        Ok(Stepped::new(self.x.ok_or(Error::RunFailed)?, spare))
    }
}

impl<T: Tensor> State<T> {
    /// Takes a step, with the network's output m and the noise that the step may need.
    ///
    /// Nothing is lost if an output is missing, has another shape, or is of another plan, or if the step is not the next one.
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

    /// [`State::step`] with given noise; `None` for a step that needs none.
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
        let past = self.memory.advance(kept, lasts);
        self.spare = spare.or(past);
    }
}

/// For servers: a batch whose rows belong to different plans.
impl<T: HostTensor> State<T> {
    /// Takes a step with each row, the row's own: rows may be of different plans, methods and orders, and at different steps.
    ///
    /// A row reads the outputs of its own earlier calls. A row that joined the batch has none yet, and its plan reads none yet. When the
    /// rows of the batch change, change x and the memory alike ([`State::into_parts`], [`Memory::try_map`]).
    ///
    /// # Errors
    /// As [`State::step`], and [`Error::Rows`] unless there is one step a row.
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

fn check_shape<T: Tensor>(x: &T, other: &T) -> Result<(), Error> {
    if !x.same_shape(other)? {
        // Refused by the backend, which names the shapes.
        T::linear_combination(&[(1.0.into(), x), (1.0.into(), other)])?;
    }
    Ok(())
}

//! Slices, and `Vec`s as tensors of one sample.

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::kernel::NoiseTerm;
use crate::tensor::{
    Element, ElementType, HostTensor, Memory, RowReduce, Rows, Stepped, Tensor, Weights, kernel, noise_term, remember,
};

/// One sampling step on slices, in place and without allocation: x ← a·threshold(p·x + q·m) + b·x + c·m + d·z.
///
/// With one set of coefficients each slice is one sample. With k sets it is k samples of equal length, one after the other. It needs no feature
/// of the crate, and with η = 0 no noise: pass `None` for z.
///
/// # Errors
/// [`Error::Shape`] unless the slices are equally long, [`Error::Empty`], [`Error::UnevenSamples`] unless their length is a multiple of
/// the number of samples, [`Error::Rows`] without coefficients, [`Error::MissingNoise`].
///
/// # A control loop with noise, without allocation
/// A robot's policy samples its next actions 100 times a second. The plan is made once, at start-up. In the loop
/// [`NormalStream::fill`] makes the noise in place, the network writes into its buffer, and nothing is allocated:
///
/// ```
/// use alphabar::{
///     Ddpm, Draw, NoiseSchedule, NormalStream, Plan, Threshold, Timesteps,
///     step_in_place,
/// };
///
/// /// 16 actions of 7 joints.
/// const ACTIONS: usize = 16 * 7;
///
/// /// The policy network: ε for these noisy actions, given the observation.
/// fn policy(observation: &[f32], actions: &[f32], t: f64, eps: &mut [f32]) {
///     # let _ = (observation, t);
///     eps.iter_mut().zip(actions).for_each(|(eps, x)| *eps = 0.5 * x);
/// }
///
/// // At start-up: DDPM in 10 of 100 training steps, actions clipped to ±1.
/// let (schedule, tau) =
///     (NoiseSchedule::cosine(100)?, Timesteps::trailing(100, 10)?);
/// let plan = Plan::builder(&schedule, &tau)
///     .threshold(Threshold::clip(1.0)?)
///     .build(&Ddpm::default())?;
/// let (mut actions, mut eps, mut z) =
///     ([0.0_f32; ACTIONS], [0.0; ACTIONS], [0.0; ACTIONS]);
///
/// for tick in 0..3 {
///     let observation = [0.0; 32];
///     // Seed 42, one sample per tick, so that a run can be repeated exactly.
///     NormalStream::new(42, tick, Draw::Initial.stream()).fill(0, &mut actions);
///     for step in plan.steps() {
///         policy(&observation, &actions, step.t, &mut eps);
///         let noise = if step.needs_noise() {
///             NormalStream::new(42, tick, Draw::Step(step.index).stream())
///                 .fill(0, &mut z);
///             Some(&z[..])
///         } else {
///             None
///         };
///         step_in_place(&mut actions, &eps, noise, &[step.coefficients])?;
///     }
///     // Send the actions, wait for the next tick.
///     assert!(actions.iter().all(|action| action.abs() <= 1.0));
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn step_in_place<E: Element>(
    x: &mut [E],
    m: &[E],
    z: Option<&[E]>,
    coefficients: &[Coefficients],
) -> Result<(), Error> {
    let (rows, noise) = checked(x, m, z, coefficients)?;
    kernel::step(x, m, noise, rows, coefficients)
}

/// One sampling step with memory on slices, in place and without allocation:
///
/// ```text
/// x ← a·threshold(p·x + q·m) + b·x + c·m + Σ_j g_j·y_j + d·z
/// m ← the output that is kept
/// ```
///
/// `outputs` are pairs of an age and an output: the content of m after the step that many calls before. Each is as long as x.
/// Returns whether some sample kept its output. The m of a sample that keeps nothing is unchanged. Nothing is written if there
/// is an error.
///
/// For samplers without memory use [`step_in_place`], for tensors [`Step::step`](crate::Step::step) or [`State`](crate::State).
///
/// # Errors
/// The errors of [`step_in_place`], [`Error::MissingHistory`] if a sample reads an output that is not in `outputs`, and
/// [`Error::Shape`] for an output of another length.
///
/// # A control loop with DPM-Solver++ 2M
/// The sampler reads the output of the previous call. So there are two buffers for outputs, which are swapped after each step:
///
/// ```
/// use alphabar::{
///     DpmSolverPp, Draw, NoiseSchedule, NormalStream, Plan, Threshold, Timesteps,
///     step_in_place_with_memory,
/// };
///
/// /// 16 actions of 7 joints.
/// const ACTIONS: usize = 16 * 7;
///
/// /// The policy network: ε for these noisy actions, given the observation.
/// fn policy(observation: &[f32], actions: &[f32], t: f64, eps: &mut [f32]) {
///     # let _ = (observation, t);
///     eps.iter_mut().zip(actions).for_each(|(eps, x)| *eps = 0.5 * x);
/// }
///
/// // At start-up: 10 of 100 training steps, actions clipped to ±1.
/// let (schedule, tau) =
///     (NoiseSchedule::cosine(100)?, Timesteps::trailing(100, 10)?);
/// let plan = Plan::builder(&schedule, &tau)
///     .threshold(Threshold::clip(1.0)?)
///     .build(&DpmSolverPp::multistep(2)?)?;
/// let mut actions = [0.0_f32; ACTIONS];
/// let (mut eps, mut before) = (&mut [0.0; ACTIONS], &mut [0.0; ACTIONS]);
///
/// for tick in 0..3 {
///     let observation = [0.0; 32];
///     NormalStream::new(42, tick, Draw::Initial.stream()).fill(0, &mut actions);
///     for step in plan.steps() {
///         policy(&observation, &actions, step.t, eps);
///         step_in_place_with_memory(
///             &mut actions,
///             eps,
///             &[(1, before)],
///             None,
///             &[step.coefficients],
///         )?;
///         (eps, before) = (before, eps);
///     }
///     // Send the actions, wait for the next tick.
///     assert!(actions.iter().all(|action| action.abs() <= 1.0));
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias = "multistep_dpm_solver_second_order_update")]
pub fn step_in_place_with_memory<E: Element>(
    x: &mut [E],
    m: &mut [E],
    outputs: &[(usize, &[E])],
    z: Option<&[E]>,
    coefficients: &[Coefficients],
) -> Result<bool, Error> {
    let (rows, noise) = checked(x, m, z, coefficients)?;
    let output = |age| outputs.iter().find(|(of, _)| *of == age).map(|(_, output)| *output);
    remember::step(x, m, output, noise, rows, coefficients)
}

/// The rows, and z if it is needed. `Err` if the lengths do not agree.
#[inline(always)]
fn checked<'a, E: Element>(
    x: &[E],
    m: &[E],
    z: Option<&'a [E]>,
    coefficients: &[Coefficients],
) -> Result<(Rows, NoiseTerm<'a, E>), Error> {
    let count = coefficients.len().max(1);
    if x.len() % count != 0 {
        return Err(Error::UnevenSamples { elements: x.len(), samples: count });
    }
    check_len("x", x.len(), x.len())?;
    check_len("the network's output", x.len(), m.len())?;
    let noise = match noise_term(z.as_ref(), coefficients)? {
        Some(z) => {
            check_len("z", x.len(), z.len())?;
            NoiseTerm::Tensor(z)
        }
        None => NoiseTerm::None,
    };
    Ok((Rows { count, len: x.len() / count }, noise))
}

/// A `Vec` is **one sample**, whatever its length: a flattened image, or an action. Its first axis is the channels. For several
/// samples use [`Batch`](crate::Batch).
impl<E: Element> Tensor for Vec<E> {
    fn linear_combination(terms: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::Length { what: "terms of a linear combination", expected: 1, found: 0 });
        };
        let len = first.len();
        let slices: Vec<(Weights<'_>, &[E])> =
            terms.iter().map(|(weights, tensor)| (*weights, tensor.as_slice())).collect();
        for (_, tensor) in &slices {
            check_len("an operand", len, tensor.len())?;
        }
        kernel::linear_combination(&slices, Rows { count: 1, len })
    }

    fn clamp_abs(mut self, bound: Weights<'_>) -> Result<Self, Error> {
        let rows = self.rows_of_batch();
        kernel::clamp_abs(&mut self, bound, rows)?;
        Ok(self)
    }

    fn same_shape(&self, other: &Self) -> Result<bool, Error> {
        Ok(self.len() == other.len())
    }

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        check_len("the operand", self.len(), self.len())?;
        kernel::row_quantiles(self, self.rows_of_batch(), ratio)
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        let (m, v) = halves(self)?;
        Ok((m.to_vec(), v.to_vec()))
    }

    fn join_channels(&self, second: &Self) -> Result<Self, Error> {
        check_len("the second half of the channels", self.len(), second.len())?;
        Ok([self.as_slice(), second].concat())
    }

    fn times_exp(&self, v: &Self, k: Weights<'_>, d: Weights<'_>) -> Result<Self, Error> {
        check_len("v", self.len(), v.len())?;
        Ok(kernel::times_exp(self, v, k, d, self.rows_of_batch())?.into_iter().map(E::narrow).collect())
    }

    fn step(mut self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        if rows.len() != 1 {
            return Err(Error::Rows { expected: 1, found: rows.len() });
        }
        step_in_place(&mut self, &m, z.map(Vec::as_slice), rows)?;
        Ok(Stepped::new(self, Some(m)))
    }

    fn step_with_memory(
        mut self,
        mut m: Self,
        memory: &Memory<Self>,
        z: Option<&Self>,
        coefficients: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        if coefficients.len() != 1 {
            return Err(Error::Rows { expected: 1, found: coefficients.len() });
        }
        let (rows, noise) = checked(&self, &m, z.map(Vec::as_slice), coefficients)?;
        let output = |age| memory.get(age).map(Vec::as_slice);
        let keeps = remember::step(&mut self, &mut m, output, noise, rows, coefficients)?;
        Ok(Stepped::in_place(self, m, keeps))
    }

    fn step_learned(
        mut self,
        output: Self,
        z: Option<&Self>,
        k: Weights<'_>,
        coefficients: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        let z = noise_term(z, coefficients)?;
        let (m, v) = halves(&output)?;
        check_len("x", self.len(), self.len())?;
        check_len("half of the network's output", self.len(), m.len())?;
        z.map_or(Ok(()), |z| check_len("z", self.len(), z.len()))?;
        let rows = self.rows_of_batch();
        kernel::step_learned(&mut self, [m, v], z.map(Vec::as_slice), k, rows, coefficients)?;
        Ok(Stepped::new(self, Some(output)))
    }
}

impl<E: Element> HostTensor for Vec<E> {
    fn rows_of_batch(&self) -> Rows {
        Rows { count: 1, len: self.len() }
    }

    fn element_type(&self) -> Result<ElementType, Error> {
        Ok(E::TYPE)
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        Ok(self.iter().map(|element| element.to_f64()).collect())
    }

    fn from_host(&self, elements: Vec<f64>) -> Result<Self, Error> {
        check_count(self.len(), elements.len())?;
        Ok(elements.into_iter().map(E::from_f64).collect())
    }

    fn fill_with_streams(mut self, streams: &[NormalStream]) -> Result<Self, Error> {
        let rows = self.rows_of_batch();
        kernel::fill_with_noise(&mut self, rows, streams)?;
        Ok(self)
    }

    fn step_with_streams(
        mut self,
        mut m: Self,
        memory: &Memory<Self>,
        streams: &[NormalStream],
        coefficients: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        check_len("x", self.len(), self.len())?;
        check_len("the network's output", self.len(), m.len())?;
        let rows = self.rows_of_batch();
        let output = |age| memory.get(age).map(Vec::as_slice);
        let keeps = remember::step(&mut self, &mut m, output, NoiseTerm::Streams(streams), rows, coefficients)?;
        Ok(Stepped::in_place(self, m, keeps))
    }
}

impl<E: Element> RowReduce for Vec<E> {
    fn row_dot(&self, other: &Self) -> Result<Vec<f64>, Error> {
        check_len("an operand", self.len(), other.len())?;
        Ok(kernel::row_dots(self, other, self.rows_of_batch()))
    }

    fn row_variance(&self) -> Result<Vec<f64>, Error> {
        check_len("an operand", self.len(), self.len())?;
        Ok(kernel::row_variances(self, self.rows_of_batch()))
    }

    fn row_len(&self) -> usize {
        self.len()
    }
}

/// The two halves of a network's output: m and v.
fn halves<E>(output: &[E]) -> Result<(&[E], &[E]), Error> {
    if output.is_empty() {
        return Err(Error::Empty { operand: "the network's output", shape: vec![0] });
    }
    if output.len() % 2 != 0 {
        let (expected, found) = (vec![(output.len() & !1).max(2)], vec![output.len()]);
        return Err(Error::Shape { operand: "the network's output, to be halved,", expected, found });
    }
    Ok(output.split_at(output.len() / 2))
}

/// `Err` unless the slices are equally long and not empty.
fn check_len(operand: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected != found {
        return Err(Error::Shape { operand, expected: vec![expected], found: vec![found] });
    }
    if found == 0 {
        return Err(Error::Empty { operand, shape: vec![0] });
    }
    Ok(())
}

pub(super) fn check_count(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what: "elements", expected, found }) }
}

//! Plain slices and vectors: one sample, without axes.

use crate::coefficients::Coefficients;
use crate::error::Error;
use crate::noise::NormalStream;
use crate::tensor::kernel::NoiseTerm;
use crate::tensor::{Element, ElementType, HostTensor, RowReduce, Rows, Stepped, Tensor, Weights, kernel, noise_term};

/// One sampling step on slices, in place and without allocation: x ← a·threshold(p·x + q·m) + b·x + c·m + d·z.
///
/// The slices are a batch of `coefficients.len()` rows of equal length: one row for a single set of coefficients.
///
/// # Errors
/// [`Error::Shape`] unless the slices are equally long, [`Error::Empty`], [`Error::Rows`] where the rows do not divide them,
/// [`Error::MissingNoise`].
///
/// ```
/// use alphabar::{Ddim, NoiseSchedule, Plan, Timesteps, step_in_place};
///
/// let plan = Plan::new(&NoiseSchedule::ddpm()?, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
/// let mut action = [0.3_f32, -1.2, 0.8];
/// for step in plan.steps() {
///     let eps = action.map(|x| 0.1 * x); // a network
///     step_in_place(&mut action, &eps, None, &[step.coefficients])?;
/// }
/// # Ok::<(), alphabar::Error>(())
/// ```
pub fn step_in_place<E: Element>(
    x: &mut [E],
    m: &[E],
    z: Option<&[E]>,
    coefficients: &[Coefficients],
) -> Result<(), Error> {
    let count = coefficients.len().max(1);
    if x.len() % count != 0 {
        return Err(Error::Rows { expected: x.len(), found: count });
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
    kernel::step(x, m, noise, Rows { count, len: x.len() / count }, coefficients)
}

/// A vector is one sample: it has one row, and its first axis is the channels.
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

    fn abs_quantile(&self, ratio: f64) -> Result<Vec<f64>, Error> {
        Ok(vec![kernel::abs_quantile(self.len(), ratio, kernel::widened(self))])
    }

    fn halve_channels(&self) -> Result<(Self, Self), Error> {
        let half = self.len() / 2;
        if self.len() % 2 != 0 {
            let (expected, found) = (vec![2 * half], vec![self.len()]);
            return Err(Error::Shape { operand: "the network's output, to be halved,", expected, found });
        }
        let (prediction, v) = self.split_at(half);
        Ok((prediction.to_vec(), v.to_vec()))
    }

    fn times_exp(&self, v: &Self, k: Weights<'_>) -> Result<Self, Error> {
        check_len("v", self.len(), v.len())?;
        k.check_rows(1)?;
        let k = k.of_row(0)?;
        Ok(self.iter().zip(v).map(|(z, v)| times_exp(*z, *v, k)).collect())
    }

    fn step(mut self, m: Self, z: Option<&Self>, rows: &[Coefficients]) -> Result<Stepped<Self>, Error> {
        if rows.len() != 1 {
            return Err(Error::Rows { expected: 1, found: rows.len() });
        }
        step_in_place(&mut self, &m, z.map(Vec::as_slice), rows)?;
        Ok(Stepped::new(self, Some(m)))
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
        m: Self,
        streams: &[NormalStream],
        coefficients: &[Coefficients],
    ) -> Result<Stepped<Self>, Error> {
        check_len("x", self.len(), self.len())?;
        check_len("the network's output", self.len(), m.len())?;
        let rows = self.rows_of_batch();
        kernel::step(&mut self, &m, NoiseTerm::Streams(streams), rows, coefficients)?;
        Ok(Stepped::new(self, Some(m)))
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

/// `Ok` for slices of one and the same length, which is not 0.
fn check_len(operand: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected != found {
        return Err(Error::Shape { operand, expected: vec![expected], found: vec![found] });
    }
    if found == 0 {
        return Err(Error::Empty { operand, shape: vec![0] });
    }
    Ok(())
}

/// z·exp(k·v), rounded once.
pub(super) fn times_exp<E: Element>(z: E, v: E, k: f64) -> E {
    E::from_f64(z.to_f64() * libm::exp(k * v.to_f64()))
}

pub(super) fn check_count(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what: "elements", expected, found }) }
}

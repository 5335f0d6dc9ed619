//! The loops over memory, on slices of rows; every CPU backend runs these.
//!
//! A step reads x and the network's output once and writes x in place. The order of operations is that of the composed step
//! (`tensor::composed_step`), so the two agree to the last bit.

use crate::coefficients::{Coefficients, Threshold};
use crate::error::Error;
use crate::noise::NormalStream;
use crate::tensor::{Element, Real, Rows, Weights};

/// Elements whose noise is made at a time: 4 KiB, which stays in the first-level cache next to the data it is added to.
const BLOCK: usize = 1024;

/// Where z comes from.
#[derive(Clone, Copy)]
pub(crate) enum NoiseTerm<'a, E> {
    None,
    Tensor(&'a [E]),
    /// One stream a row.
    Streams(&'a [NormalStream]),
}

/// One step over all rows, in place. The slices are equally long, and `rows` divides them.
pub(crate) fn step<E: Element>(
    x: &mut [E],
    m: &[E],
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<(), Error> {
    check_rows(coefficients.len(), rows)?;
    if let NoiseTerm::Streams(streams) = noise {
        if streams.len() != rows.count {
            return Err(Error::Rows { expected: rows.count, found: streams.len() });
        }
    }
    if rows.len == 0 {
        return Ok(());
    }
    // One set of coefficients for a batch without per-row work takes the batch as one long row.
    let whole_batch = match coefficients {
        [k] => !matches!(k.threshold, Threshold::Dynamic { .. }) && !matches!(noise, NoiseTerm::Streams(_)),
        _ => false,
    };
    let row_len = if whole_batch { rows.len * rows.count } else { rows.len };
    for (row, (x, m)) in x.chunks_exact_mut(row_len).zip(m.chunks_exact(row_len)).enumerate() {
        let Some(k) = coefficients.get(row).or_else(|| coefficients.first()) else { continue };
        let row_kernel = RowKernel::new(k, x, m);
        match noise {
            NoiseTerm::Tensor(z) if k.needs_noise() => {
                let z = z.get(row * row_len..(row + 1) * row_len).unwrap_or_default();
                row_kernel.run_with(x, m, z, E::widen);
            }
            NoiseTerm::Streams(streams) if k.needs_noise() => {
                let Some(stream) = streams.get(row) else { continue };
                let mut z = [0.0; BLOCK];
                for (block, (x, m)) in x.chunks_mut(BLOCK).zip(m.chunks(BLOCK)).enumerate() {
                    let z = z.get_mut(..x.len()).unwrap_or_default();
                    stream.fill((block * BLOCK) as u64, z);
                    row_kernel.run_with(x, m, z, Real::from_noise);
                }
            }
            _ if k.needs_noise() => return Err(Error::MissingNoise { d: k.d }),
            _ => row_kernel.run(x, m),
        }
    }
    Ok(())
}

/// The coefficients of a row in the type of the arithmetic.
enum RowKernel<C> {
    Folded { x: Term<C>, m: Term<C>, d: Term<C> },
    Thresholded { p: Term<C>, q: Term<C>, bound: C, a: Term<C>, b: Term<C>, c: Term<C>, d: Term<C> },
}

impl<C: Real> RowKernel<C> {
    fn new<E: Element<Compute = C>>(k: &Coefficients, x: &[E], m: &[E]) -> Self {
        let (bound, divisor) = match k.threshold {
            Threshold::None => {
                return Self::Folded { x: Term::new(k.x), m: Term::new(k.model), d: Term::new(k.d) };
            }
            Threshold::Clip(range) => (range, 1.0),
            Threshold::Dynamic { ratio, max } => {
                let (p, q) = (Term::new(k.p), Term::new(k.q));
                let x0 = |index: usize| match (x.get(index), m.get(index)) {
                    (Some(x), Some(m)) => E::narrow(q.add(p.add(C::EMPTY_SUM, x.widen()), m.widen())).widen(),
                    _ => C::EMPTY_SUM,
                };
                let bound = Threshold::dynamic_bound(abs_quantile(x.len(), ratio, x0), max);
                (bound, bound)
            }
        };
        Self::Thresholded {
            p: Term::new(k.p),
            q: Term::new(k.q),
            bound: C::nearest(bound),
            a: Term::new(k.a / divisor),
            b: Term::new(k.b),
            c: Term::new(k.c),
            d: Term::new(k.d),
        }
    }

    fn run<E: Element<Compute = C>>(&self, x: &mut [E], m: &[E]) {
        match self {
            Self::Folded { x: k_x, m: k_m, .. } => {
                for (x, m) in x.iter_mut().zip(m) {
                    *x = E::narrow(k_m.add(k_x.add(C::EMPTY_SUM, x.widen()), m.widen()));
                }
            }
            Self::Thresholded { p, q, bound, a, b, c, .. } => {
                for (x, m) in x.iter_mut().zip(m) {
                    let (x_t, m) = (x.widen(), m.widen());
                    let x0 = E::narrow(q.add(p.add(C::EMPTY_SUM, x_t), m)).widen().clamp_abs(*bound);
                    *x = E::narrow(c.add(b.add(a.add(C::EMPTY_SUM, x0), x_t), m));
                }
            }
        }
    }

    fn run_with<E: Element<Compute = C>, Z: Copy>(&self, x: &mut [E], m: &[E], z: &[Z], widen: impl Fn(Z) -> C) {
        match self {
            Self::Folded { x: k_x, m: k_m, d } => {
                for ((x, m), z) in x.iter_mut().zip(m).zip(z) {
                    let mean = k_m.add(k_x.add(C::EMPTY_SUM, x.widen()), m.widen());
                    *x = E::narrow(d.add(mean, widen(*z)));
                }
            }
            Self::Thresholded { p, q, bound, a, b, c, d } => {
                for ((x, m), z) in x.iter_mut().zip(m).zip(z) {
                    let (x_t, m) = (x.widen(), m.widen());
                    let x0 = E::narrow(q.add(p.add(C::EMPTY_SUM, x_t), m)).widen().clamp_abs(*bound);
                    let mean = c.add(b.add(a.add(C::EMPTY_SUM, x0), x_t), m);
                    *x = E::narrow(d.add(mean, widen(*z)));
                }
            }
        }
    }
}

/// A term of a sum; one of weight 0 is left out, whatever it multiplies.
#[derive(Clone, Copy)]
struct Term<C> {
    weight: C,
    used: bool,
}

impl<C: Real> Term<C> {
    fn new(weight: f64) -> Self {
        Self { weight: C::nearest(weight), used: weight != 0.0 }
    }

    #[inline(always)]
    fn add(self, sum: C, value: C) -> C {
        if self.used { sum + self.weight * value } else { sum }
    }
}

/// Σ kᵢ·tᵢ over all rows.
pub(crate) fn linear_combination<E: Element>(terms: &[(Weights<'_>, &[E])], rows: Rows) -> Result<Vec<E>, Error> {
    let mut result = Vec::with_capacity(rows.len * rows.count);
    for (weights, _) in terms {
        weights.check_rows(rows.count)?;
    }
    let mut sums = [E::Compute::EMPTY_SUM; BLOCK];
    for row in 0..rows.count {
        for start in (0..rows.len).step_by(BLOCK) {
            let len = BLOCK.min(rows.len - start);
            let sums = sums.get_mut(..len).unwrap_or_default();
            sums.fill(E::Compute::EMPTY_SUM);
            for (weights, tensor) in terms {
                let term = Term::<E::Compute>::new(weights.of_row(row)?);
                let offset = row * rows.len + start;
                for (sum, value) in sums.iter_mut().zip(tensor.get(offset..offset + len).unwrap_or_default()) {
                    *sum = term.add(*sum, value.widen());
                }
            }
            result.extend(sums.iter().map(|sum| E::narrow(*sum)));
        }
    }
    Ok(result)
}

/// Clamps each row to ±bound.
pub(crate) fn clamp_abs<E: Element>(values: &mut [E], bound: Weights<'_>, rows: Rows) -> Result<(), Error> {
    bound.check_rows(rows.count)?;
    if rows.len == 0 {
        return Ok(());
    }
    for (row, values) in values.chunks_exact_mut(rows.len).enumerate() {
        let bound = E::Compute::nearest(bound.of_row(row)?);
        for value in values {
            *value = E::narrow(value.widen().clamp_abs(bound));
        }
    }
    Ok(())
}

/// The `ratio` quantile of |value(i)|, i in 0..count, by linear interpolation between order statistics; NaN if any is NaN.
///
/// Selection by the digits of the floating-point representation, whose order is that of the magnitudes: a few passes that
/// count, O(n) and without a buffer.
pub(crate) fn abs_quantile<C: Real>(count: usize, ratio: f64, value: impl Fn(usize) -> C) -> f64 {
    if count == 0 {
        return f64::NAN;
    }
    let position = ratio * (count - 1) as f64;
    let rank = (position as usize).min(count - 1);
    let weight = position - rank as f64;
    let Some((lower, below_or_equal)) = select(count, rank, &value) else { return f64::NAN };
    let lower_value = C::from_magnitude_bits(lower).to_f64();
    if weight <= 0.0 {
        return lower_value;
    }
    let upper = if rank + 1 < below_or_equal {
        lower
    } else {
        // The next order statistic is the least magnitude above.
        (0..count).map(|index| value(index).magnitude_bits()).filter(|bits| *bits > lower).min().unwrap_or(lower)
    };
    let upper_value = C::from_magnitude_bits(upper).to_f64();
    lower_value + (upper_value - lower_value) * weight
}

/// The magnitude of the given rank (from 0), and how many lie at or below it; `None` if there is a NaN.
fn select<C: Real>(count: usize, rank: usize, value: &impl Fn(usize) -> C) -> Option<(u64, usize)> {
    const DIGIT: u32 = 11;
    let width = 8 * size_of::<C>() as u32 - 1;
    let infinity = C::nearest(f64::INFINITY).magnitude_bits();
    // The digits found so far, and how many elements lie below all that begin with them.
    let (mut prefix, mut below) = (0_u64, 0_usize);
    let mut shift = width;
    let mut within = 0;
    while shift > 0 {
        let digit = DIGIT.min(shift);
        let above = shift;
        shift -= digit;
        let mut histogram = [0_usize; 1 << DIGIT];
        for index in 0..count {
            let bits = value(index).magnitude_bits();
            if bits > infinity {
                return None;
            }
            if bits >> above == prefix {
                let bin = (bits >> shift) as usize & ((1 << digit) - 1);
                if let Some(bin) = histogram.get_mut(bin) {
                    *bin += 1;
                }
            }
        }
        for (bin, elements) in histogram.iter().enumerate() {
            if rank < below + elements {
                prefix = prefix << digit | bin as u64;
                within = *elements;
                break;
            }
            below += elements;
        }
    }
    Some((prefix, below + within))
}

fn check_rows(found: usize, rows: Rows) -> Result<(), Error> {
    if found == 1 || found == rows.count { Ok(()) } else { Err(Error::Rows { expected: rows.count, found }) }
}

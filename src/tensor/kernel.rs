//! The loops over memory, on slices of rows. Every CPU backend runs these.
//!
//! A step reads x and the network's output once and writes x in place. The order of operations is that of the composed step
//! (`tensor::composed_step`), so the two agree to the last bit.

use crate::coefficients::{Coefficients, Threshold};
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::composed::{PerRow, divided, with_unit_noise};
#[cfg(not(feature = "simd"))]
use crate::tensor::lanes::Baseline;
#[cfg(feature = "simd")]
use crate::tensor::lanes::Found;
use crate::tensor::lanes::Vectors;
use crate::tensor::{Element, Real, Rows, Weights, check_ratio, parallel};

/// Elements whose noise is made at a time: 4 KiB, which stay in the first-level cache next to the data that they are added to.
pub(super) const BLOCK: usize = 1024;

/// Elements of a task when work is divided among threads: a multiple of [`BLOCK`].
pub(super) const TASK: usize = 32 * BLOCK;

/// The source of z.
#[derive(Clone, Copy)]
pub(crate) enum NoiseTerm<'a, E: Element> {
    None,
    Tensor(&'a [E]),
    /// In the type of the arithmetic.
    Computed(&'a [E::Compute]),
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
    check_step(noise, rows, coefficients)?;
    let row_len = row_len(x.len(), noise, rows, coefficients);
    if row_len == 0 {
        return Ok(());
    }
    // Short rows are taken several at a time.
    let group = (TASK / row_len).max(1);
    let parallel = parallel::pays(x.len(), matches!(noise, NoiseTerm::Streams(_)));
    parallel::for_each_chunk(parallel, x, m, group * row_len, |index, x, m| {
        for (in_group, (x, m)) in x.chunks_exact_mut(row_len).zip(m.chunks_exact(row_len)).enumerate() {
            let row = index * group + in_group;
            let Some(k) = coefficients.get(row).or_else(|| coefficients.first()) else { return };
            let kernel = RowKernel::new(k, x, m);
            let noise = if k.needs_noise() { noise } else { NoiseTerm::None };
            parallel::for_each_chunk(parallel, x, m, TASK, |task, x, m| {
                let offset = task * TASK;
                kernel.run(x, m, noise.of_task(row, row_len, offset, x.len()));
            });
        }
    });
    Ok(())
}

/// [`step`] for an x that must not be written to. Each piece of x is copied directly before its step, so that it is still in the
/// cache. This saves a pass over memory, compared with copying all of x first.
#[cfg(feature = "candle011")]
pub(crate) fn step_copied<E: Element>(
    x: &[E],
    m: &[E],
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<Vec<E>, Error> {
    check_step(noise, rows, coefficients)?;
    if parallel::pays(x.len(), matches!(noise, NoiseTerm::Streams(_))) {
        let mut next = x.to_vec();
        step(&mut next, m, noise, rows, coefficients)?;
        return Ok(next);
    }
    let mut next = Vec::with_capacity(x.len());
    for Piece { row, range } in pieces(x.len(), noise, rows, coefficients) {
        let Some((x, m)) = x.get(range.clone()).zip(m.get(range.clone())) else { break };
        next.extend_from_slice(x);
        let stepped = next.get_mut(range.clone()).unwrap_or_default();
        let k = coefficients.get(row..=row).unwrap_or(coefficients);
        step(stepped, m, noise.of_piece(row, &range), Rows { count: 1, len: range.len() }, k)?;
    }
    Ok(next)
}

/// A part of a tensor that can be stepped by itself.
#[cfg(feature = "candle011")]
pub(super) struct Piece {
    pub(super) row: usize,
    pub(super) range: core::ops::Range<usize>,
}

/// The pieces of a tensor in their order: whole rows, or parts of rows that stay in the cache. Noise from streams and quantiles
/// need whole rows.
#[cfg(feature = "candle011")]
pub(super) fn pieces<E: Element>(
    len: usize,
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> impl Iterator<Item = Piece> {
    let row_len = row_len(len, noise, rows, coefficients).max(1);
    let streams = matches!(noise, NoiseTerm::Streams(_));
    let whole_rows = streams || coefficients.iter().any(|k| matches!(k.threshold, Threshold::Dynamic { .. }));
    let piece = if whole_rows { row_len } else { row_len.min(TASK) };
    (0..len).step_by(row_len).enumerate().flat_map(move |(row, start)| {
        let end = len.min(start + row_len);
        (start..end).step_by(piece).map(move |from| Piece { row, range: from..end.min(from + piece) })
    })
}

/// `Err` unless the numbers of rows agree, and there is noise if a row needs it.
#[inline(always)]
pub(super) fn check_step<E: Element>(
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<(), Error> {
    check_rows(coefficients.len(), rows)?;
    match (noise, coefficients.iter().find(|k| k.needs_noise())) {
        (NoiseTerm::Streams(streams), _) if streams.len() != rows.count => {
            Err(Error::Rows { expected: rows.count, found: streams.len() })
        }
        (NoiseTerm::None, Some(k)) => Err(Error::MissingNoise { d: k.d }),
        _ => Ok(()),
    }
}

/// The number of elements that are processed as one row. If no work differs from row to row, the batch is one long row.
#[inline(always)]
pub(super) fn row_len<E: Element>(
    elements: usize,
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> usize {
    match (noise, coefficients) {
        (NoiseTerm::None | NoiseTerm::Tensor(_) | NoiseTerm::Computed(_), [k])
            if !matches!(k.threshold, Threshold::Dynamic { .. }) =>
        {
            elements
        }
        _ => rows.len,
    }
}

impl<'a, E: Element> NoiseTerm<'a, E> {
    /// The noise of a piece of a row.
    #[cfg(feature = "candle011")]
    pub(super) fn of_piece(self, row: usize, range: &core::ops::Range<usize>) -> Self {
        match self {
            Self::None => Self::None,
            Self::Tensor(z) => Self::Tensor(z.get(range.clone()).unwrap_or_default()),
            Self::Computed(z) => Self::Computed(z.get(range.clone()).unwrap_or_default()),
            Self::Streams(streams) => Self::Streams(streams.get(row..=row).unwrap_or_default()),
        }
    }

    /// The noise of `len` elements of a row from `offset` on.
    pub(super) fn of_task(self, row: usize, row_len: usize, offset: usize, len: usize) -> TaskNoise<'a, E> {
        match self {
            Self::None => TaskNoise::None,
            Self::Tensor(z) => {
                let start = row * row_len + offset;
                TaskNoise::Tensor(z.get(start..start + len).unwrap_or_default())
            }
            Self::Computed(z) => {
                let start = row * row_len + offset;
                TaskNoise::Computed(z.get(start..start + len).unwrap_or_default())
            }
            Self::Streams(streams) => {
                streams.get(row).map_or(TaskNoise::None, |stream| TaskNoise::Stream(stream, offset as u64))
            }
        }
    }
}

/// The noise of a piece of a row.
#[derive(Clone, Copy)]
pub(super) enum TaskNoise<'a, E: Element> {
    None,
    Tensor(&'a [E]),
    Computed(&'a [E::Compute]),
    /// A stream, and the place in it of the first element.
    Stream(&'a NormalStream, u64),
}

/// The coefficients of a row in the type of the arithmetic.
enum RowKernel<C: Real> {
    Folded { x: Term<C>, m: Term<C>, d: C },
    Thresholded { p: Term<C>, q: Term<C>, bound: C, a: Term<C>, b: Term<C>, c: Term<C>, d: C },
}

/// Runs `$body` with the row's arithmetic as `$mean`. The type of `$mean` says which terms there are, so that the usual loops
/// contain no test for a weight of 0. Unusual rows use masks.
macro_rules! with_mean {
    ($kernel:expr, $mean:ident, $d:ident => $body:expr) => {
        match $kernel {
            RowKernel::Folded { x, m, d: $d } => match (x.live(), m.live()) {
                (Some(x), Some(m)) => {
                    let $mean = Folded { x, m };
                    $body
                }
                _ => {
                    let $mean = Folded { x, m };
                    $body
                }
            },
            RowKernel::Thresholded { p, q, bound, a, b, c, d: $d } => {
                match (p.live(), q.live(), a.live(), b.live(), c.live()) {
                    // DDIM with the network's ε.
                    (Some(p), Some(q), Some(a), None, Some(c)) => {
                        let $mean = Thresholded { p, q, bound, a, b: Dropped, c };
                        $body
                    }
                    // DDPM, and DDIM with ε from x̂₀.
                    (Some(p), Some(q), Some(a), Some(b), None) => {
                        let $mean = Thresholded { p, q, bound, a, b, c: Dropped };
                        $body
                    }
                    _ => {
                        let $mean = Thresholded { p, q, bound, a, b, c };
                        $body
                    }
                }
            }
        }
    };
}

impl<C: Real> RowKernel<C> {
    fn new<E: Element<Compute = C>>(k: &Coefficients, x: &[E], m: &[E]) -> Self {
        let Some((bound, divisor)) = bound_and_divisor(k, x, m) else {
            return Self::Folded { x: Term::new(k.x), m: Term::new(k.model), d: C::nearest(k.d) };
        };
        Self::Thresholded {
            p: Term::new(k.p),
            q: Term::new(k.q),
            bound: C::nearest(bound),
            a: Term::new(divided(k.a, divisor)),
            b: Term::new(k.b),
            c: Term::new(k.c),
            d: C::nearest(k.d),
        }
    }

    /// The step on a piece of the row, compiled for the vector instructions that this CPU has.
    fn run<E: Element<Compute = C>>(&self, x: &mut [E], m: &[E], noise: TaskNoise<'_, E>) {
        #[cfg(feature = "simd")]
        fearless_simd::dispatch!(fearless_simd::Level::new(), simd => self.run_inline(Found(simd), x, m, noise));
        #[cfg(not(feature = "simd"))]
        self.run_inline(Baseline, x, m, noise);
    }

    #[inline(always)]
    fn run_inline<E: Element<Compute = C>>(
        &self,
        vectors: impl Vectors,
        x: &mut [E],
        m: &[E],
        noise: TaskNoise<'_, E>,
    ) {
        with_mean!(*self, mean, d => match noise {
            TaskNoise::None => {
                let done = E::map_pairs(vectors, x, m, |x, m| mean.of(x, m));
                let (x, m) = (x.get_mut(done..).unwrap_or_default(), m.get(done..).unwrap_or_default());
                for (x, m) in x.iter_mut().zip(m) {
                    *x = E::narrow(mean.of(x.widen(), m.widen()));
                }
            }
            TaskNoise::Tensor(z) => {
                for ((x, m), z) in x.iter_mut().zip(m).zip(z) {
                    *x = E::narrow(mean.of(x.widen(), m.widen()) + d * z.widen());
                }
            }
            TaskNoise::Computed(z) => {
                for ((x, m), z) in x.iter_mut().zip(m).zip(z) {
                    *x = E::narrow(mean.of(x.widen(), m.widen()) + d * *z);
                }
            }
            TaskNoise::Stream(stream, first) => {
                let mut z = [0.0; BLOCK];
                for (block, (x, m)) in x.chunks_mut(BLOCK).zip(m.chunks(BLOCK)).enumerate() {
                    let z = z.get_mut(..x.len()).unwrap_or_default();
                    stream.fill_inline(first + (block * BLOCK) as u64, z);
                    for ((x, m), z) in x.iter_mut().zip(m).zip(z) {
                        *x = E::narrow(mean.of(x.widen(), m.widen()) + d * C::from_noise(*z));
                    }
                }
            }
        });
    }
}

/// The bound that a row's x̂₀ is clamped to, and the number that it is divided by afterwards; `None` without a threshold.
pub(super) fn bound_and_divisor<E: Element>(k: &Coefficients, x: &[E], m: &[E]) -> Option<(f64, f64)> {
    match k.threshold {
        Threshold::None => None,
        Threshold::Clip(range) => Some((range, 1.0)),
        Threshold::Dynamic { ratio, max } => {
            let (p, q) = (Term::<E::Compute>::new(k.p), Term::<E::Compute>::new(k.q));
            let x0 = |start: usize, out: &mut [E::Compute]| {
                let (x, m) = (x.get(start..).unwrap_or_default(), m.get(start..).unwrap_or_default());
                for ((out, x), m) in out.iter_mut().zip(x).zip(m) {
                    *out = q.add(p.add(E::Compute::EMPTY_SUM, x.widen()), m.widen());
                }
            };
            let bound = Threshold::dynamic_bound(abs_quantile(x.len(), ratio, x0), max);
            Some((bound, bound))
        }
    }
}

/// The part of x′ that is not noise, without a threshold.
#[derive(Clone, Copy)]
struct Folded<X, M> {
    x: X,
    m: M,
}

impl<X, M> Folded<X, M> {
    #[inline(always)]
    fn of<C: Real>(self, x: C, m: C) -> C
    where
        X: Weigh<C>,
        M: Weigh<C>,
    {
        self.m.add(self.x.add(C::EMPTY_SUM, x), m)
    }
}

/// The part of x′ that is not noise, with x̂₀ clamped.
#[derive(Clone, Copy)]
struct Thresholded<P, B, K, C> {
    p: P,
    q: P,
    bound: C,
    a: P,
    b: B,
    c: K,
}

impl<P: Weigh<C>, B: Weigh<C>, K: Weigh<C>, C: Real> Thresholded<P, B, K, C> {
    #[inline(always)]
    fn of(self, x: C, m: C) -> C {
        let x0 = self.q.add(self.p.add(C::EMPTY_SUM, x), m).clamp_abs(self.bound);
        self.c.add(self.b.add(self.a.add(C::EMPTY_SUM, x0), x), m)
    }
}

/// Adds a weighted value to a sum.
pub(super) trait Weigh<C>: Copy {
    fn add(self, sum: C, value: C) -> C;
}

/// A term whose weight is not 0.
#[derive(Clone, Copy)]
pub(super) struct Live<C>(pub(super) C);

impl<C: Real> Weigh<C> for Live<C> {
    #[inline(always)]
    fn add(self, sum: C, value: C) -> C {
        sum + self.0 * value
    }
}

/// A term whose weight is 0. It is left out, also if the value is NaN.
#[derive(Clone, Copy)]
pub(super) struct Dropped;

impl<C> Weigh<C> for Dropped {
    #[inline(always)]
    fn add(self, sum: C, _value: C) -> C {
        sum
    }
}

/// A term whose weight may be 0 or not.
#[derive(Clone, Copy)]
pub(super) struct Term<C: Real> {
    weight: C,
    mask: C::Mask,
    live: bool,
}

impl<C: Real> Term<C> {
    pub(super) fn new(weight: f64) -> Self {
        let live = weight != 0.0;
        Self { weight: C::nearest(weight), mask: C::mask(live), live }
    }

    pub(super) fn live(self) -> Option<Live<C>> {
        self.live.then_some(Live(self.weight))
    }
}

impl<C: Real> Weigh<C> for Term<C> {
    #[inline(always)]
    fn add(self, sum: C, value: C) -> C {
        sum + (self.weight * value).masked(self.mask)
    }
}

/// Writes noise, one stream per row.
pub(crate) fn fill_with_noise<E: Element>(z: &mut [E], rows: Rows, streams: &[NormalStream]) -> Result<(), Error> {
    if rows.count == 0 || rows.len == 0 {
        return Err(Error::Empty { operand: "the tensor to make noise for", shape: vec![rows.count, rows.len] });
    }
    if streams.len() != rows.count {
        return Err(Error::Rows { expected: rows.count, found: streams.len() });
    }
    let group = (TASK / rows.len).max(1);
    let parallel = parallel::pays(z.len(), true);
    parallel::for_each_chunk_mut(parallel, z, group * rows.len, |index, z| {
        for (in_group, z) in z.chunks_exact_mut(rows.len).enumerate() {
            let Some(stream) = streams.get(index * group + in_group) else { return };
            parallel::for_each_chunk_mut(parallel, z, TASK, |task, z| fill_part(stream, (task * TASK) as u64, z));
        }
    });
    Ok(())
}

/// Writes a stream's noise from element `first` on.
fn fill_part<E: Element>(stream: &NormalStream, first: u64, z: &mut [E]) {
    if let Some(z) = E::as_noise(z) {
        stream.fill(first, z);
        return;
    }
    let mut normals = [0.0; BLOCK];
    for (block, z) in z.chunks_mut(BLOCK).enumerate() {
        let normals = normals.get_mut(..z.len()).unwrap_or_default();
        stream.fill(first + (block * BLOCK) as u64, normals);
        for (z, normal) in z.iter_mut().zip(normals) {
            *z = E::narrow(E::Compute::from_noise(*normal));
        }
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
    bound.check_bounds()?;
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

/// d·exp(k·v)·z in the type of the arithmetic, rounded once. The slices are equally long, and `rows` divides their length.
pub(crate) fn times_exp<E: Element>(
    z: &[E],
    v: &[E],
    k: Weights<'_>,
    d: Weights<'_>,
    rows: Rows,
) -> Result<Vec<E::Compute>, Error> {
    for weights in [k, d] {
        weights.check_rows(rows.count)?;
    }
    k.check_exponents()?;
    d.check_deviations()?;
    let mut scaled = Vec::with_capacity(z.len());
    for (row, (z, v)) in z.chunks_exact(rows.len.max(1)).zip(v.chunks_exact(rows.len.max(1))).enumerate() {
        let (k, d) = (k.of_row(row)?, d.of_row(row)?);
        let of = |(z, v): (&E, &E)| E::Compute::nearest(z.to_f64() * (d * libm::exp(k * v.to_f64())));
        scaled.extend(z.iter().zip(v).map(of));
    }
    Ok(scaled)
}

/// The step of a network with a learned variance, in place. All slices are as long as x, and `rows` divides them.
pub(crate) fn step_learned<E: Element>(
    x: &mut [E],
    [m, v]: [&[E]; 2],
    z: Option<&[E]>,
    k: Weights<'_>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<(), Error> {
    let Some(z) = z else {
        return step(x, m, NoiseTerm::None, rows, coefficients);
    };
    check_rows(coefficients.len(), rows)?;
    let d = PerRow::new(coefficients, |k| k.d);
    let z = times_exp(z, v, k, d.weights(), rows)?;
    step(x, m, NoiseTerm::Computed(&z), rows, &with_unit_noise(coefficients))
}

/// The inner product of each row with the corresponding row of another tensor.
pub(crate) fn row_dots<E: Element>(a: &[E], b: &[E], rows: Rows) -> Vec<f64> {
    let len = rows.len.max(1);
    let dot = |(a, b): (&[E], &[E])| a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
    a.chunks_exact(len).zip(b.chunks_exact(len)).map(dot).collect()
}

/// The variance of each row, in two passes; exactly 0 for a constant row.
pub(crate) fn row_variances<E: Element>(values: &[E], rows: Rows) -> Vec<f64> {
    let len = rows.len as f64;
    values
        .chunks_exact(rows.len.max(1))
        .map(|row| {
            // Measured from the first element, so that a constant row has the mean 0, without rounding.
            let origin = row.first().map_or(0.0, |first| first.to_f64());
            let mean = row.iter().map(|x| x.to_f64() - origin).sum::<f64>() / len;
            row.iter().map(|x| (x.to_f64() - origin - mean) * (x.to_f64() - origin - mean)).sum::<f64>() / len
        })
        .collect()
}

/// The `ratio` quantile of |x| in each row.
pub(crate) fn row_quantiles<E: Element>(values: &[E], rows: Rows, ratio: f64) -> Result<Vec<f64>, Error> {
    check_ratio(ratio)?;
    let quantile = |row: &[E]| abs_quantile(row.len(), ratio, widened(row));
    Ok(values.chunks_exact(rows.len.max(1)).map(quantile).collect())
}

/// The `ratio` quantile of the magnitudes of `count` values, by linear interpolation between order statistics; NaN if any value
/// is NaN. `values(start, out)` writes the values from `start` on.
///
/// It selects by the digits of the floating-point representation, which has the same order as the magnitudes. That takes a few
/// counting passes, O(n), and no buffer for all values.
fn abs_quantile<C: Real>(count: usize, ratio: f64, values: impl Fn(usize, &mut [C])) -> f64 {
    if count == 0 {
        return f64::NAN;
    }
    let position = ratio * (count - 1) as f64;
    let rank = (position as usize).min(count - 1);
    let weight = position - rank as f64;
    let Some((lower, below_or_equal)) = select(count, rank, &values) else { return f64::NAN };
    let lower_value = C::from_magnitude_bits(lower).to_f64();
    if weight <= 0.0 {
        return lower_value;
    }
    let mut upper = lower;
    if rank + 1 >= below_or_equal {
        // The next order statistic is the least magnitude above.
        upper = u64::MAX;
        for_each_block(count, &values, |block| {
            for value in block {
                let bits = value.magnitude_bits();
                upper = if bits > lower { upper.min(bits) } else { upper };
            }
        });
    }
    if upper == lower {
        return lower_value; // also for two infinities, since their difference is NaN
    }
    let upper_value = C::from_magnitude_bits(upper).to_f64();
    lower_value + (upper_value - lower_value) * weight
}

/// The magnitude of the given rank (from 0), and the number of values at or below it; `None` if there is a NaN.
fn select<C: Real>(count: usize, rank: usize, values: &impl Fn(usize, &mut [C])) -> Option<(u64, usize)> {
    const DIGIT: u32 = 11;
    let infinity = C::nearest(f64::INFINITY).magnitude_bits();
    // The digits found so far, and how many elements lie below all that begin with them.
    let (mut prefix, mut below, mut within) = (0_u64, 0_usize, 0);
    // The number of bits that are not yet known, without the sign.
    let mut unknown = 8 * size_of::<C>() as u32 - 1;
    while unknown > 0 {
        let digit = DIGIT.min(unknown);
        let shift = unknown - digit;
        let mut histogram = [0_usize; 1 << DIGIT];
        let mut nan = false;
        for_each_block(count, values, |block| {
            for value in block {
                let bits = value.magnitude_bits();
                nan |= bits > infinity;
                if bits >> unknown == prefix {
                    let bin = (bits >> shift) as usize & ((1 << digit) - 1);
                    if let Some(bin) = histogram.get_mut(bin) {
                        *bin += 1;
                    }
                }
            }
        });
        if nan {
            return None;
        }
        for (bin, elements) in histogram.iter().enumerate() {
            if rank < below + elements {
                prefix = prefix << digit | bin as u64;
                within = *elements;
                break;
            }
            below += elements;
        }
        unknown = shift;
    }
    Some((prefix, below + within))
}

/// Calls `with` for the values, block by block.
fn for_each_block<C: Real>(count: usize, values: &impl Fn(usize, &mut [C]), mut with: impl FnMut(&[C])) {
    let mut block = [C::EMPTY_SUM; BLOCK];
    for start in (0..count).step_by(BLOCK) {
        let block = block.get_mut(..BLOCK.min(count - start)).unwrap_or_default();
        values(start, block);
        with(block);
    }
}

/// Writes a slice's elements from `start` on, widened: the values of [`abs_quantile`].
fn widened<E: Element>(slice: &[E]) -> impl Fn(usize, &mut [E::Compute]) {
    move |start, out| {
        for (out, element) in out.iter_mut().zip(slice.get(start..).unwrap_or_default()) {
            *out = element.widen();
        }
    }
}

fn check_rows(found: usize, rows: Rows) -> Result<(), Error> {
    if found == 1 || found == rows.count { Ok(()) } else { Err(Error::Rows { expected: rows.count, found }) }
}

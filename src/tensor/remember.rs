//! The step with memory, on slices.
//!
//! It reads x, the network's output m and the earlier outputs y_j once. It writes x′ over x, and what a row keeps over m. The
//! order of operations is that of `composed::remembering_step` in the type of the arithmetic, so the two agree to the last bit.

use crate::coefficients::{Coefficients, MAX_HISTORY};
use crate::error::Error;
use crate::normal::NormalStream;
use crate::tensor::composed::divided;
use crate::tensor::kernel::{self, BLOCK, Dropped, Live, NoiseTerm, TASK, TaskNoise, Term, Weigh};
#[cfg(not(feature = "simd"))]
use crate::tensor::lanes::Baseline;
#[cfg(feature = "simd")]
use crate::tensor::lanes::Found;
use crate::tensor::lanes::Vectors;
use crate::tensor::{Element, Real, Rows, parallel};

/// Elements of half precision that are widened at a time: all operands of a block stay in the first-level cache.
const WIDENED: usize = 512;

/// The largest number of terms that are added to a row's mean: earlier outputs, then z.
const TERMS: usize = MAX_HISTORY + 1;

/// One step over all rows, in place. Returns whether some row kept its output, which is then in m. The slices are equally long,
/// and `rows` divides them. `output` gives the earlier outputs by age.
pub(crate) fn step<'a, E: Element>(
    x: &mut [E],
    m: &mut [E],
    output: impl Fn(usize) -> Option<&'a [E]> + Sync,
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<bool, Error> {
    if !coefficients.iter().any(Coefficients::remembers) {
        kernel::step(x, m, noise, rows, coefficients)?;
        return Ok(false);
    }
    kernel::check_step(noise, rows, coefficients)?;
    for (age, _) in coefficients.iter().flat_map(|k| k.history.iter()) {
        let found = output(age).ok_or(Error::MissingHistory { age })?.len();
        if found != x.len() {
            return Err(Error::Shape { operand: "an earlier output", expected: vec![x.len()], found: vec![found] });
        }
    }
    let row_len = kernel::row_len(x.len(), noise, rows, coefficients);
    if row_len == 0 {
        return Ok(false);
    }
    // Short rows are taken several at a time.
    let group = (TASK / row_len).max(1);
    let parallel = parallel::pays(x.len(), matches!(noise, NoiseTerm::Streams(_)));
    parallel::for_each_chunk_of_both(parallel, x, m, group * row_len, |index, x, m| {
        for (in_group, (x, m)) in x.chunks_exact_mut(row_len).zip(m.chunks_exact_mut(row_len)).enumerate() {
            let row = index * group + in_group;
            let Some(k) = coefficients.get(row).or_else(|| coefficients.first()) else { return };
            let pass = RowPass::new(k, x, m, |age| output(age)?.get(row * row_len..(row + 1) * row_len));
            let noise = if k.needs_noise() { noise } else { NoiseTerm::None };
            parallel::for_each_chunk_of_both(parallel, x, m, TASK, |task, x, m| {
                let offset = task * TASK;
                pass.run(x, m, offset, noise.of_task(row, row_len, offset, x.len()));
            });
        }
    });
    Ok(coefficients.iter().any(|k| k.kept.is_some()))
}

/// [`step`] for an x and an m that must not be written to, piece by piece as in [`kernel::step_copied`]. Returns x′ and what is
/// kept.
#[cfg(feature = "candle011")]
pub(crate) fn step_copied<'a, E: Element>(
    x: &[E],
    m: &[E],
    output: impl Fn(usize) -> Option<&'a [E]> + Sync,
    noise: NoiseTerm<'_, E>,
    rows: Rows,
    coefficients: &[Coefficients],
) -> Result<(Vec<E>, Option<Vec<E>>), Error> {
    kernel::check_step(noise, rows, coefficients)?;
    let keeps = coefficients.iter().any(|k| k.kept.is_some());
    if parallel::pays(x.len(), matches!(noise, NoiseTerm::Streams(_))) {
        let (mut next, mut kept) = (x.to_vec(), m.to_vec());
        step(&mut next, &mut kept, output, noise, rows, coefficients)?;
        return Ok((next, keeps.then_some(kept)));
    }
    let (mut next, mut kept) = (Vec::with_capacity(x.len()), Vec::with_capacity(m.len()));
    for kernel::Piece { row, range } in kernel::pieces(x.len(), noise, rows, coefficients) {
        let Some((x, m)) = x.get(range.clone()).zip(m.get(range.clone())) else { break };
        next.extend_from_slice(x);
        kept.extend_from_slice(m);
        let Some((x, m)) = next.get_mut(range.clone()).zip(kept.get_mut(range.clone())) else { break };
        let k = coefficients.get(row..=row).unwrap_or(coefficients);
        let output = |age| output(age)?.get(range.clone());
        step(x, m, output, noise.of_piece(row, &range), Rows { count: 1, len: range.len() }, k)?;
    }
    Ok((next, keeps.then_some(kept)))
}

/// The numbers of a row in the type of the arithmetic.
struct RowPass<'a, E: Element> {
    form: Form<E::Compute>,
    keeps: bool,
    /// The weight and the row of each earlier output, the youngest first. The first `outputs` entries are used.
    history: [(E::Compute, &'a [E]); MAX_HISTORY],
    outputs: usize,
    d: E::Compute,
}

impl<'a, E: Element> RowPass<'a, E> {
    fn new(k: &Coefficients, x: &[E], m: &[E], output: impl Fn(usize) -> Option<&'a [E]>) -> Self {
        let mut history = [(E::Compute::EMPTY_SUM, [].as_slice()); MAX_HISTORY];
        let mut outputs = 0;
        for (term, (age, weight)) in history.iter_mut().zip(k.history.iter()) {
            *term = (E::Compute::nearest(weight), output(age).unwrap_or_default());
            outputs += 1;
        }
        let form = Form::new(k, kernel::bound_and_divisor(k, x, m));
        Self { form, keeps: k.kept.is_some(), history, outputs, d: E::Compute::nearest(k.d) }
    }

    /// The step on a piece of the row from `offset` on.
    fn run(&self, x: &mut [E], m: &mut [E], offset: usize, noise: TaskNoise<'_, E>) {
        let len = x.len();
        let history = self.history.map(|(weight, y)| (weight, y.get(offset..).unwrap_or_default()));
        if let (Some(x), Some(m)) = (E::as_compute_mut(x), E::as_compute_mut(m)) {
            return self.run_direct(x, m, &history, noise);
        }
        let mut wide = Wide::new();
        for start in (0..len).step_by(WIDENED) {
            let end = len.min(start + WIDENED);
            let (Some(x), Some(m)) = (x.get_mut(start..end), m.get_mut(start..end)) else { return };
            self.run_widened(x, m, &history, start, noise, &mut wide);
        }
    }

    /// The step on elements that are numbers of the arithmetic.
    fn run_direct(
        &self,
        x: &mut [E::Compute],
        m: &mut [E::Compute],
        history: &[(E::Compute, &[E]); MAX_HISTORY],
        noise: TaskNoise<'_, E>,
    ) {
        let mut terms = [(E::Compute::EMPTY_SUM, [].as_slice()); TERMS];
        for (term, (weight, y)) in terms.iter_mut().zip(history) {
            *term = (*weight, E::as_compute(y).unwrap_or_default());
        }
        let z = match noise {
            TaskNoise::None => return self.pass(x, m, &terms, None),
            TaskNoise::Tensor(z) => E::as_compute(z).unwrap_or_default(),
            TaskNoise::Computed(z) => z,
            TaskNoise::Stream(stream, first) => {
                let (mut single, mut z) = ([0.0; BLOCK], [E::Compute::EMPTY_SUM; BLOCK]);
                for (block, (x, m)) in x.chunks_mut(BLOCK).zip(m.chunks_mut(BLOCK)).enumerate() {
                    let start = block * BLOCK;
                    let z = normals(stream, first + start as u64, &mut single, z.get_mut(..x.len()));
                    let terms = terms.map(|(weight, y)| (weight, y.get(start..).unwrap_or_default()));
                    self.pass(x, m, &terms, Some(z));
                }
                return;
            }
        };
        self.pass(x, m, &terms, Some(z));
    }

    /// The step on a block of elements of half precision, `start` elements into the piece.
    fn run_widened(
        &self,
        x: &mut [E],
        m: &mut [E],
        history: &[(E::Compute, &[E]); MAX_HISTORY],
        start: usize,
        noise: TaskNoise<'_, E>,
        wide: &mut Wide<E::Compute>,
    ) {
        let x_wide = widened(x, &mut wide.x);
        let m_wide = widened(m, &mut wide.m);
        let mut terms = [(E::Compute::EMPTY_SUM, [].as_slice()); TERMS];
        for ((term, (weight, y)), wide) in terms.iter_mut().zip(history).zip(&mut wide.outputs).take(self.outputs) {
            *term = (*weight, widened(y.get(start..).unwrap_or_default(), wide));
        }
        let z = match noise {
            TaskNoise::None => None,
            TaskNoise::Tensor(z) => Some(&*widened(z.get(start..).unwrap_or_default(), &mut wide.z)),
            TaskNoise::Computed(z) => z.get(start..),
            TaskNoise::Stream(stream, first) => {
                let mut single = [0.0; WIDENED];
                Some(normals(stream, first + start as u64, &mut single, wide.z.get_mut(..x.len())))
            }
        };
        self.pass(x_wide, m_wide, &terms, z);
        narrow(x_wide, x);
        if self.keeps {
            narrow(m_wide, m);
        }
    }

    /// x ← x′, and m ← y if the row keeps its output.
    fn pass(
        &self,
        x: &mut [E::Compute],
        m: &mut [E::Compute],
        history: &[(E::Compute, &[E::Compute]); TERMS],
        z: Option<&[E::Compute]>,
    ) {
        let mut terms = *history;
        let mut count = self.outputs;
        if let (Some(z), Some(term)) = (z, terms.get_mut(count)) {
            *term = (self.d, z);
            count += 1;
        }
        let terms = terms.get(..count).unwrap_or_default();
        #[cfg(feature = "simd")]
        fearless_simd::dispatch!(fearless_simd::Level::new(), simd => self.form.pass(Found(simd), self.keeps, x, m, terms));
        #[cfg(not(feature = "simd"))]
        self.form.pass(Baseline, self.keeps, x, m, terms);
    }
}

/// The operands of a block, widened.
struct Wide<C> {
    x: [C; WIDENED],
    m: [C; WIDENED],
    outputs: [[C; WIDENED]; MAX_HISTORY],
    z: [C; WIDENED],
}

impl<C: Real> Wide<C> {
    fn new() -> Self {
        let block = [C::EMPTY_SUM; WIDENED];
        Self { x: block, m: block, outputs: [block; MAX_HISTORY], z: block }
    }
}

/// Noise in the type of the arithmetic.
fn normals<'z, C: Real>(stream: &NormalStream, first: u64, single: &mut [f32], z: Option<&'z mut [C]>) -> &'z [C] {
    let z = z.unwrap_or_default();
    let single = single.get_mut(..z.len()).unwrap_or_default();
    stream.fill(first, single);
    z.iter_mut().zip(single).for_each(|(z, single)| *z = C::from_noise(*single));
    z
}

/// The first of these elements in the type of the arithmetic, as many as fit into `wide`.
fn widened<'w, E: Element>(elements: &[E], wide: &'w mut [E::Compute]) -> &'w mut [E::Compute] {
    let count = elements.len().min(wide.len());
    let (Some(elements), Some(wide)) = (elements.get(..count), wide.get_mut(..count)) else { return &mut [] };
    #[cfg(feature = "simd")]
    fearless_simd::dispatch!(fearless_simd::Level::new(), simd => E::widen_all(Found(simd), elements, wide));
    #[cfg(not(feature = "simd"))]
    E::widen_all(Baseline, elements, wide);
    wide
}

fn narrow<E: Element>(wide: &[E::Compute], elements: &mut [E]) {
    #[cfg(feature = "simd")]
    fearless_simd::dispatch!(fearless_simd::Level::new(), simd => E::narrow_all(Found(simd), wide, elements));
    #[cfg(not(feature = "simd"))]
    E::narrow_all(Baseline, wide, elements);
}

/// The part of a row that depends on x and m only. Usual rows have loops of their own, without a test for a weight of 0.
enum Form<C: Real> {
    /// No threshold, and no weight of 0.
    Folded(Folded<C>),
    /// A threshold; x′ reads x̂₀ and x, and x̂₀ is kept.
    Data(Bounded<C, Live<C>, Dropped>),
    /// Any row.
    Any(Bounded<C, Term<C>, Term<C>>),
}

impl<C: Real> Form<C> {
    fn new(k: &Coefficients, threshold: Option<(f64, f64)>) -> Self {
        let Some((bound, divisor)) = threshold else {
            let kept = k.kept.map_or([0.0; 2], |kept| [kept.folded_x, kept.folded_model]);
            return match [k.x, k.model, kept[0], kept[1]].map(|weight| Term::new(weight).live()) {
                [Some(x), Some(m), Some(kept_x), Some(kept_m)] => Self::Folded(Folded { x, m, kept_x, kept_m }),
                [Some(x), Some(m), ..] if k.kept.is_none() => Self::Folded(Folded { x, m, kept_x: x, kept_m: m }),
                _ => Self::Any(Bounded {
                    p: Term::new(0.0),
                    q: Term::new(0.0),
                    bound: C::nearest(f64::INFINITY),
                    a: Term::new(0.0),
                    b: Term::new(k.x),
                    c: Term::new(k.model),
                    kept_x0: Term::new(0.0),
                    kept_x: Term::new(kept[0]),
                    kept_m: Term::new(kept[1]),
                }),
            };
        };
        let kept = k.kept.map_or([0.0; 3], |kept| [divided(kept.x0, divisor), kept.x, kept.model]);
        let (bound, a) = (C::nearest(bound), divided(k.a, divisor));
        if let ([Some(p), Some(q), Some(a), Some(b), Some(kept_x0)], [None, None, None]) = (
            [k.p, k.q, a, k.b, kept[0]].map(|weight| Term::new(weight).live()),
            [k.c, kept[1], kept[2]].map(|weight| Term::<C>::new(weight).live()),
        ) {
            let (c, kept_x, kept_m) = (Dropped, Dropped, Dropped);
            return Self::Data(Bounded { p, q, bound, a, b, c, kept_x0, kept_x, kept_m });
        }
        let [p, q, a, b, c] = [k.p, k.q, a, k.b, k.c].map(Term::new);
        let [kept_x0, kept_x, kept_m] = kept.map(Term::new);
        Self::Any(Bounded { p, q, bound, a, b, c, kept_x0, kept_x, kept_m })
    }

    /// The pass, compiled for these vector instructions.
    #[inline(always)]
    fn pass(&self, vectors: impl Vectors, keeps: bool, x: &mut [C], m: &mut [C], terms: &[(C, &[C])]) {
        let _ = vectors;
        match (self, keeps) {
            (Self::Folded(form), true) => pass::<C, true>(*form, x, m, terms),
            (Self::Folded(form), false) => pass::<C, false>(*form, x, m, terms),
            (Self::Data(form), true) => pass::<C, true>(*form, x, m, terms),
            (Self::Any(form), true) => pass::<C, true>(*form, x, m, terms),
            (Self::Any(form), false) => pass::<C, false>(*form, x, m, terms),
            // `Form::new` makes `Data` only for rows that keep their output.
            (Self::Data(_), false) => {}
        }
    }
}

/// The loop over the elements, one for each number of terms.
#[inline(always)]
fn pass<C: Real, const KEEPS: bool>(form: impl Make<C>, x: &mut [C], m: &mut [C], terms: &[(C, &[C])]) {
    let pairs = x.iter_mut().zip(m);
    match *terms {
        [] => pairs.for_each(|(x, m)| put::<C, KEEPS, 0>(form, x, m, [])),
        [(g, a)] => pairs.zip(a).for_each(|((x, m), a)| put::<C, KEEPS, 1>(form, x, m, [(g, *a)])),
        [(g, a), (h, b)] => {
            for (((x, m), a), b) in pairs.zip(a).zip(b) {
                put::<C, KEEPS, 2>(form, x, m, [(g, *a), (h, *b)]);
            }
        }
        [(g, a), (h, b), (i, c)] => {
            for ((((x, m), a), b), c) in pairs.zip(a).zip(b).zip(c) {
                put::<C, KEEPS, 3>(form, x, m, [(g, *a), (h, *b), (i, *c)]);
            }
        }
        [(g, a), (h, b), (i, c), (j, d)] => {
            for (((((x, m), a), b), c), d) in pairs.zip(a).zip(b).zip(c).zip(d) {
                put::<C, KEEPS, 4>(form, x, m, [(g, *a), (h, *b), (i, *c), (j, *d)]);
            }
        }
        [(g, a), (h, b), (i, c), (j, d), (k, e), ..] => {
            for ((((((x, m), a), b), c), d), e) in pairs.zip(a).zip(b).zip(c).zip(d).zip(e) {
                put::<C, KEEPS, 5>(form, x, m, [(g, *a), (h, *b), (i, *c), (j, *d), (k, *e)]);
            }
        }
    }
}

#[inline(always)]
fn put<C: Real, const KEEPS: bool, const TERMS: usize>(
    form: impl Make<C>,
    x: &mut C,
    m: &mut C,
    terms: [(C, C); TERMS],
) {
    let (mean, kept) = form.of(*x, *m);
    *x = terms.into_iter().fold(mean, |sum, (weight, value)| Live(weight).add(sum, value));
    if KEEPS {
        *m = kept;
    }
}

/// Computes the part of x′ that depends on x and m, and what is kept.
trait Make<C>: Copy {
    fn of(self, x: C, m: C) -> (C, C);
}

#[derive(Clone, Copy)]
struct Folded<C> {
    x: Live<C>,
    m: Live<C>,
    kept_x: Live<C>,
    kept_m: Live<C>,
}

impl<C: Real> Make<C> for Folded<C> {
    #[inline(always)]
    fn of(self, x: C, m: C) -> (C, C) {
        let mean = self.m.add(self.x.add(C::EMPTY_SUM, x), m);
        (mean, self.kept_m.add(self.kept_x.add(C::EMPTY_SUM, x), m))
    }
}

/// `U` is the type of the weights that usual rows have, `V` the type of the others.
#[derive(Clone, Copy)]
struct Bounded<C, U, V> {
    p: U,
    q: U,
    bound: C,
    a: U,
    b: U,
    c: V,
    kept_x0: U,
    kept_x: V,
    kept_m: V,
}

impl<C: Real, U: Weigh<C>, V: Weigh<C>> Make<C> for Bounded<C, U, V> {
    #[inline(always)]
    fn of(self, x: C, m: C) -> (C, C) {
        let x0 = self.q.add(self.p.add(C::EMPTY_SUM, x), m).clamp_abs(self.bound);
        let mean = self.c.add(self.b.add(self.a.add(C::EMPTY_SUM, x0), x), m);
        (mean, self.kept_m.add(self.kept_x.add(self.kept_x0.add(C::EMPTY_SUM, x0), x), m))
    }
}

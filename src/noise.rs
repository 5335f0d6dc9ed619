//! Where z comes from.
//!
//! The library draws nothing by itself: a step that adds noise is given it, by a [`NoiseSource`] or as a tensor. The source
//! that comes with the crate, [`SeededNoise`], is counter-based: its numbers are a function of (seed, sample, step) and of
//! the element's place, so that they do not depend on the size of the batch, on threads, or on where a run was resumed.

mod brownian;
pub mod comfyui;
mod mt19937;
mod normal;
pub mod numpy;
mod philox;
pub mod torch;
pub mod webui;

pub use brownian::{Brownian, BrownianPath};
pub use normal::NormalStream;

use rand_core::Rng;

use crate::coefficients::Coefficients;
use crate::error::{BoxError, Error};
use crate::plan::Step;
use crate::sample::learned_step;
use crate::tensor::{HostTensor, Rows, Stepped, Tensor, Weights, kernel};

/// Which noise of a run is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draw {
    /// x_T, from which a run starts.
    Initial,
    /// z of the step with this index in its plan. A loop of one's own that draws more often than once a step, as inpainting
    /// does, counts its draws and takes their number for the index: equal numbers are equal noise.
    Step(usize),
}

impl Draw {
    /// The number of the stream: 0 for x_T, 1 + i for step i.
    ///
    /// ```
    /// # use alphabar::Draw;
    /// assert_eq!((Draw::Initial.stream(), Draw::Step(4).stream()), (0, 5));
    /// ```
    #[must_use]
    pub fn stream(self) -> u64 {
        match self {
            Self::Initial => 0,
            Self::Step(index) => (index as u64).saturating_add(1),
        }
    }
}

/// A source of z ~ N(0, I). It is asked only where a step adds noise.
///
/// ```
/// use alphabar::{BoxError, Draw, NoiseSource, Error, noise};
///
/// // Tensors of one's own, by a closure.
/// let mut zeros = noise::from_fn(|like: &Vec<f32>, _draw: Draw| Ok::<_, BoxError>(vec![0.0; like.len()]));
/// assert_eq!(zeros.noise(&vec![1.0_f32; 3], Draw::Step(0))?, [0.0; 3]);
/// # Ok::<(), Error>(())
/// ```
pub trait NoiseSource<T: Tensor> {
    /// Noise of the shape, type and device of `like`.
    ///
    /// # Errors
    /// Whatever the source fails with.
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error>;

    /// The same in the place of a tensor that is not needed any more, of whose shape, type and device the noise is: no new
    /// memory, from sources and backends that can write over it.
    ///
    /// # Errors
    /// As [`NoiseSource::noise`].
    ///
    /// ```
    /// # use alphabar::{Draw, NoiseSource, SeededNoise};
    /// let used = vec![7.0_f32; 100];
    /// let x = SeededNoise::new(1).noise_into(used, Draw::Initial)?;
    /// assert_eq!(x, SeededNoise::new(1).noise(&vec![0.0_f32; 100], Draw::Initial)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        self.noise(&spare, draw)
    }

    /// One step of a run with the noise it asks for. Sources that can make their noise within the step's pass over memory
    /// override this.
    ///
    /// # Errors
    /// Those of [`NoiseSource::noise`] and [`Tensor::step`].
    fn step(&mut self, x: T, m: T, step: &Step) -> Result<Stepped<T>, Error> {
        let z = if step.needs_noise() { Some(self.noise(&x, Draw::Step(step.index))?) } else { None };
        match step.learned_noise {
            None => x.step(m, z.as_ref(), &[step.coefficients]),
            Some(k) => learned_step(x, &m, z.as_ref(), k.into(), &[step.coefficients]),
        }
    }
}

impl<T: Tensor, N: NoiseSource<T> + ?Sized> NoiseSource<T> for &mut N {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        (**self).noise(like, draw)
    }

    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        (**self).noise_into(spare, draw)
    }

    fn step(&mut self, x: T, m: T, step: &Step) -> Result<Stepped<T>, Error> {
        (**self).step(x, m, step)
    }
}

/// The noise of a seed: sample i of a seed has the same noise wherever and in whatever company it is made.
///
/// The element at place e of sample i at step k is a function of (seed, i, k, e) alone; [`NormalStream`] is that function.
/// Values are `f32`, the same for every element type up to its rounding.
///
/// ```
/// use alphabar::{Draw, NoiseSource, SeededNoise};
/// use ndarray::{Array2, s};
///
/// let batch = SeededNoise::new(42).noise(&Array2::<f32>::zeros((64, 10)), Draw::Initial)?;
/// let seventh = SeededNoise::new(42).from_sample(7).noise(&Array2::<f32>::zeros((1, 10)), Draw::Initial)?;
/// assert_eq!(batch.slice(s![7..8, ..]), seventh);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SeededNoise {
    keys: Keys,
    /// Kept between steps, so that a step allocates nothing.
    streams: Vec<NormalStream>,
}

/// Equal sources give equal noise; what they were last asked for does not matter.
impl PartialEq for SeededNoise {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for SeededNoise {}

/// What noise is keyed by, beside the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleKey {
    /// The seed.
    pub seed: u64,
    /// The number of the sample in the endless sequence of that seed.
    pub sample: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    /// Row r is sample `first` + r.
    Consecutive(SampleKey),
    /// A key of its own for each row.
    PerRow(Vec<SampleKey>),
}

impl SeededNoise {
    /// The noise of a seed; row r of a batch is sample r.
    ///
    /// ```
    /// # use alphabar::SeededNoise;
    /// assert_eq!(SeededNoise::new(1), SeededNoise::new(1).from_sample(0));
    /// ```
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { keys: Keys::Consecutive(SampleKey { seed, sample: 0 }), streams: Vec::new() }
    }

    /// Row r of a batch is sample `first` + r (modulo 2⁶⁴): for a later batch, or another process's share.
    ///
    /// ```
    /// # use alphabar::SeededNoise;
    /// let second_batch_of_16 = SeededNoise::new(1).from_sample(16);
    /// ```
    #[must_use]
    pub fn from_sample(mut self, first: u64) -> Self {
        self.keys = match self.keys {
            Keys::Consecutive(key) => Keys::Consecutive(SampleKey { sample: first, ..key }),
            Keys::PerRow(keys) => {
                Keys::Consecutive(SampleKey { seed: keys.first().map_or(0, |key| key.seed), sample: first })
            }
        };
        self
    }

    /// A key for each row: requests with seeds of their own in one batch.
    ///
    /// ```
    /// # use alphabar::{SampleKey, SeededNoise};
    /// let noise = SeededNoise::per_row([SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 0 }]);
    /// ```
    #[must_use]
    pub fn per_row(keys: impl IntoIterator<Item = SampleKey>) -> Self {
        Self { keys: Keys::PerRow(keys.into_iter().collect()), streams: Vec::new() }
    }

    /// Noise for rows at different steps of their runs: one draw per row.
    ///
    /// # Errors
    /// [`Error::Rows`] unless there is a draw, and a key if they were given one by one, for each row.
    ///
    /// ```
    /// # use alphabar::{Draw, NoiseSource, SampleKey, SeededNoise};
    /// # use ndarray::Array2;
    /// let mut noise = SeededNoise::per_row([SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 0 }]);
    /// let z = noise.noise_per_row(&Array2::<f32>::zeros((2, 10)), &[Draw::Step(3), Draw::Initial])?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn noise_per_row<T: HostTensor>(&mut self, like: &T, draws: &[Draw]) -> Result<T, Error> {
        let rows = like.rows_of_batch().count;
        if draws.len() != rows {
            return Err(Error::Rows { expected: rows, found: draws.len() });
        }
        self.prepare(rows, |row| draws.get(row).copied().unwrap_or(Draw::Initial))?;
        fill_like(like, &self.streams)
    }

    /// One step of a batch whose rows are at different steps, of one plan or of several, with the noise that each asks for:
    /// what a server calls once for all the requests it has.
    ///
    /// # Errors
    /// [`Error::Rows`] unless there is a step for each row, [`Error::Length`] where the network predicts a variance for the
    /// steps of some rows only, and those of [`Tensor::step`].
    ///
    /// ```
    /// # use alphabar::{Ddim, Ddpm, NoiseSchedule, Plan, SampleKey, SeededNoise, Timesteps};
    /// # use ndarray::array;
    /// # let schedule = NoiseSchedule::ddpm()?;
    /// # let fast = Plan::new(&schedule, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// # let slow = Plan::new(&schedule, &Timesteps::all(1000)?, &Ddpm::default())?;
    /// // One request is at step 2 of one plan, the other at step 700 of another, each with a seed of its own.
    /// let mut noise = SeededNoise::per_row([SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 0 }]);
    /// let steps = [&fast.steps()[2], &slow.steps()[700]];
    /// let (x, eps) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[0.1_f32, 0.2], [0.3, 0.4]]);
    /// let x = noise.step_per_row(x, eps, &steps)?.x;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn step_per_row<T: HostTensor>(&mut self, x: T, m: T, steps: &[&Step]) -> Result<Stepped<T>, Error> {
        let rows = x.rows_of_batch().count;
        if steps.len() != rows {
            return Err(Error::Rows { expected: rows, found: steps.len() });
        }
        let coefficients: Vec<Coefficients> = steps.iter().map(|step| step.coefficients).collect();
        let learned: Vec<f64> = steps.iter().filter_map(|step| step.learned_noise).collect();
        if !learned.is_empty() {
            if learned.len() != rows {
                return Err(Error::Length {
                    what: "rows with a learned variance",
                    expected: rows,
                    found: learned.len(),
                });
            }
            let z = if coefficients.iter().any(Coefficients::needs_noise) {
                self.prepare(rows, |row| steps.get(row).map_or(Draw::Initial, |step| Draw::Step(step.index)))?;
                Some(fill_like(&x, &self.streams)?)
            } else {
                None
            };
            return learned_step(x, &m, z.as_ref(), Weights::PerRow(&learned), &coefficients);
        }
        if !coefficients.iter().any(Coefficients::needs_noise) {
            return x.step(m, None, &coefficients);
        }
        self.prepare(rows, |row| steps.get(row).map_or(Draw::Initial, |step| Draw::Step(step.index)))?;
        x.step_with_streams(m, &self.streams, &coefficients)
    }

    /// The streams of all rows for a draw.
    fn prepare(&mut self, rows: usize, draw: impl Fn(usize) -> Draw) -> Result<(), Error> {
        self.streams.clear();
        match &self.keys {
            Keys::Consecutive(SampleKey { seed, sample }) => {
                self.streams.extend(
                    (0..rows).map(|row| NormalStream::new(*seed, sample.wrapping_add(row as u64), draw(row).stream())),
                );
            }
            Keys::PerRow(keys) => {
                if keys.len() != rows {
                    return Err(Error::Rows { expected: rows, found: keys.len() });
                }
                self.streams.extend(
                    keys.iter()
                        .enumerate()
                        .map(|(row, key)| NormalStream::new(key.seed, key.sample, draw(row).stream())),
                );
            }
        }
        Ok(())
    }
}

impl<T: HostTensor> NoiseSource<T> for SeededNoise {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        self.prepare(like.rows_of_batch().count, |_| draw)?;
        fill_like(like, &self.streams)
    }

    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        self.prepare(spare.rows_of_batch().count, |_| draw)?;
        spare.fill_with_streams(&self.streams)
    }

    fn step(&mut self, x: T, m: T, step: &Step) -> Result<Stepped<T>, Error> {
        if let Some(k) = step.learned_noise {
            let z = if step.needs_noise() { Some(self.noise(&x, Draw::Step(step.index))?) } else { None };
            return learned_step(x, &m, z.as_ref(), k.into(), &[step.coefficients]);
        }
        if !step.needs_noise() {
            return x.step(m, None, &[step.coefficients]);
        }
        self.prepare(x.rows_of_batch().count, |_| Draw::Step(step.index))?;
        x.step_with_streams(m, &self.streams, &[step.coefficients])
    }
}

/// A tensor like another, filled from one stream a row.
pub(crate) fn fill_like<T: HostTensor>(like: &T, streams: &[NormalStream]) -> Result<T, Error> {
    let rows = like.rows_of_batch();
    let mut elements = vec![0.0_f32; rows.count * rows.len];
    kernel::fill_with_noise(&mut elements, rows, streams)?;
    like.from_host_f32(elements)
}

/// Noise from a generator of the caller's, drawn in the order in which it is asked for.
///
/// Which numbers a run gets then depends on what was drawn before. The same transform as in [`NormalStream`] turns the
/// generator's words into normal variates.
///
/// ```
/// use alphabar::{Draw, NoiseSource, RngNoise};
/// use rand::{SeedableRng, rngs::StdRng};
///
/// let mut noise = RngNoise::new(StdRng::seed_from_u64(1));
/// let z = noise.noise(&vec![0.0_f32; 100], Draw::Initial)?;
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RngNoise<R> {
    rng: R,
}

impl<R: Rng> RngNoise<R> {
    /// Noise from this generator; `&mut rng` works too.
    ///
    /// ```
    /// # use alphabar::RngNoise;
    /// let noise = RngNoise::new(rand::rng());
    /// ```
    pub fn new(rng: R) -> Self {
        Self { rng }
    }
}

/// Words, and elements, of one turn of [`RngNoise`].
const GROUP: usize = 16;

impl<T: HostTensor, R: Rng> NoiseSource<T> for RngNoise<R> {
    fn noise(&mut self, like: &T, _draw: Draw) -> Result<T, Error> {
        let Rows { count, len } = like.rows_of_batch();
        if count == 0 || len == 0 {
            return Err(Error::Empty { operand: "the tensor to make noise for", shape: vec![count, len] });
        }
        let mut elements = vec![0.0; count * len];
        for group in elements.chunks_mut(GROUP) {
            let words: [u32; GROUP] = core::array::from_fn(|_| self.rng.next_u32());
            let (mut cosines, mut sines) = ([0.0; GROUP / 2], [0.0; GROUP / 2]);
            normal::normals(&words, &mut cosines, &mut sines);
            group.iter_mut().zip(cosines.into_iter().chain(sines)).for_each(|(element, normal)| *element = normal);
        }
        like.from_host_f32(elements)
    }
}

/// For runs that add no noise; asking it for some is an error.
///
/// ```
/// use alphabar::{Draw, Error, NoNoise, NoiseSource};
///
/// assert!(matches!(NoNoise.noise(&vec![0.0_f32], Draw::Initial), Err(Error::Noise(_))));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoNoise;

impl<T: Tensor> NoiseSource<T> for NoNoise {
    fn noise(&mut self, _like: &T, draw: Draw) -> Result<T, Error> {
        Err(Error::Noise(format!("NoNoise was asked for the noise of {draw:?}").into()))
    }

    fn step(&mut self, x: T, m: T, step: &Step) -> Result<Stepped<T>, Error> {
        // Without a z, a step that needs one says so.
        match step.learned_noise {
            None => x.step(m, None, &[step.coefficients]),
            Some(k) => learned_step(x, &m, None, k.into(), &[step.coefficients]),
        }
    }
}

/// A source from a closure, for tensors of one's own.
///
/// ```
/// use alphabar::{BoxError, Draw, noise};
///
/// let recorded = vec![vec![0.1_f32, -0.3], vec![1.2, 0.4]];
/// let mut replay = noise::from_fn(move |_: &Vec<f32>, draw| match draw {
///     Draw::Step(index) => recorded.get(index).cloned().ok_or("no noise was recorded for this step"),
///     Draw::Initial => Err("x_T was not recorded"),
/// });
/// # let _: &mut dyn alphabar::NoiseSource<Vec<f32>> = &mut replay;
/// ```
pub fn from_fn<T, E, F>(draw: F) -> FnNoise<F>
where
    F: FnMut(&T, Draw) -> Result<T, E>,
    E: Into<BoxError>,
{
    FnNoise(draw)
}

/// A closure as a source: [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FnNoise<F>(F);

impl<T, E, F> NoiseSource<T> for FnNoise<F>
where
    T: Tensor,
    F: FnMut(&T, Draw) -> Result<T, E>,
    E: Into<BoxError>,
{
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        (self.0)(like, draw).map_err(|error| Error::Noise(error.into()))
    }
}

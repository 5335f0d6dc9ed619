//! Sources of the noise z.
//!
//! The library never draws noise by itself: a step that adds noise gets it from a [`NoiseSource`] or as a tensor.
//!
//! [`SeededNoise`] is counter-based: each number is a function of (seed, sample, step, element). It does not depend on the size
//! of the batch, on the number of threads, or on where a run was resumed.

mod brownian;
pub mod comfyui;
mod mt19937;
pub mod numpy;
mod philox;
pub mod torch;
pub mod webui;

pub use crate::normal::NormalStream;
pub use brownian::{Brownian, BrownianPath};

use rand_core::Rng;

use crate::coefficients::Coefficients;
use crate::error::{BoxError, Error};
use crate::plan::Step;
use crate::tensor::{HostTensor, Memory, Stepped, Tensor, Weights, check_rows_of_noise, fill_like};

/// Identifies a noise tensor of a run: the initial noise x_T, or the noise z of step i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Draw {
    /// x_T, from which a run starts.
    #[doc(alias = "latents")]
    #[doc(alias = "initial noise")]
    #[doc(alias = "x_T")]
    Initial,
    /// z of the step with this index in its plan. A custom loop that needs noise more than once a step (RePaint, for example)
    /// must pass a running counter here. Equal numbers give equal noise.
    Step(usize),
}

impl Draw {
    /// The number of the stream: 0 for x_T, 1 + i for step i.
    #[must_use]
    pub fn stream(self) -> u64 {
        match self {
            Self::Initial => 0,
            Self::Step(index) => (index as u64).saturating_add(1),
        }
    }
}

/// A source of noise z ~ N(0, I). A run calls it only for steps that add noise.
///
/// ```
/// use alphabar::{BoxError, Draw, NoiseSource, Error, noise};
///
/// // Custom noise from a closure.
/// let mut zeros = noise::from_fn(|like: &Vec<f32>, _draw: Draw| Ok::<_, BoxError>(vec![0.0; like.len()]));
/// assert_eq!(zeros.noise(&vec![1.0_f32; 3], Draw::Step(0))?, [0.0; 3]);
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "noise_sampler")]
pub trait NoiseSource<T: Tensor> {
    /// Noise with the shape, type and device of `like`.
    ///
    /// # Errors
    /// Any error of the source. The error of a closure becomes [`Error::Noise`].
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error>;

    /// Makes noise like [`NoiseSource::noise`], but may overwrite `spare` and return it. The noise has the shape, type and device
    /// of `spare`. Sources and backends that can write in place allocate nothing.
    ///
    /// # Errors
    /// The errors of [`NoiseSource::noise`].
    ///
    /// ```
    /// use alphabar::{Draw, NoiseSource, SeededNoise};
    ///
    /// let used = vec![7.0_f32; 100];
    /// let x = SeededNoise::new(1).noise_into(used, Draw::Initial)?;
    /// assert_eq!(x, SeededNoise::new(1).noise(&vec![0.0_f32; 100], Draw::Initial)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        self.noise(&spare, draw)
    }

    /// Takes one step, with noise if the step needs it. Sources that can make their noise within the step's pass over memory
    /// override this.
    ///
    /// # Errors
    /// The errors of [`NoiseSource::noise`] and [`Tensor::step`].
    fn step(&mut self, x: T, m: T, memory: &Memory<T>, step: &Step) -> Result<Stepped<T>, Error> {
        let z = if step.needs_noise() { Some(self.noise(&x, Draw::Step(step.index))?) } else { None };
        step.step_with_memory(x, m, memory, z.as_ref())
    }
}

impl<T: Tensor, N: NoiseSource<T> + ?Sized> NoiseSource<T> for &mut N {
    fn noise(&mut self, like: &T, draw: Draw) -> Result<T, Error> {
        (**self).noise(like, draw)
    }

    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        (**self).noise_into(spare, draw)
    }

    fn step(&mut self, x: T, m: T, memory: &Memory<T>, step: &Step) -> Result<Stepped<T>, Error> {
        (**self).step(x, m, memory, step)
    }
}

/// The noise of a seed: sample i always gets the same noise, whatever the batch size, thread count or process.
///
/// Element e of sample i at step k depends on (seed, i, k, e) only; [`NormalStream`] is that function. Values are made in `f32`
/// and rounded to the element type.
///
/// ```
/// use alphabar::{Draw, NoiseSource, SeededNoise};
/// use ndarray::{Array2, s};
///
/// let batch =
///     SeededNoise::new(42).noise(&Array2::<f32>::zeros((64, 10)), Draw::Initial)?;
/// let seventh = SeededNoise::new(42)
///     .from_sample(7)
///     .noise(&Array2::<f32>::zeros((1, 10)), Draw::Initial)?;
/// assert_eq!(batch.slice(s![7..8, ..]), seventh);
/// # Ok::<(), alphabar::Error>(())
/// ```
///
/// The feature `serde` stores its key: the seed and the first sample, or one key per sample.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[doc(alias = "generator")]
#[doc(alias = "seed")]
#[doc(alias = "manual_seed")]
pub struct SeededNoise {
    keys: Keys,
    /// Kept between steps, so that a step allocates nothing.
    #[cfg_attr(feature = "serde", serde(skip))]
    streams: Vec<NormalStream>,
}

/// Equal sources give equal noise. Earlier calls do not matter.
impl PartialEq for SeededNoise {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for SeededNoise {}

/// The key of a sample's noise. Together with the step and the element it determines every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SampleKey {
    /// The seed.
    pub seed: u64,
    /// The number of the sample in the endless sequence of that seed.
    pub sample: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
enum Keys {
    /// Row r of a batch is sample `first` + r of the seed.
    #[cfg_attr(feature = "serde", serde(rename = "first"))]
    Consecutive(SampleKey),
    /// A key for each row.
    PerRow(Vec<SampleKey>),
}

impl SeededNoise {
    /// The noise of a seed. Entry r of a batch is sample r of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { keys: Keys::Consecutive(SampleKey { seed, sample: 0 }), streams: Vec::new() }
    }

    /// Numbers the samples from `first` on: entry r of a batch is sample `first` + r (modulo 2⁶⁴). For later batches, or for
    /// the part of a batch that another process makes.
    ///
    /// ```
    /// use alphabar::SeededNoise;
    ///
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

    /// One key per sample, for requests with different seeds in one batch.
    ///
    /// ```
    /// use alphabar::{SampleKey, SeededNoise};
    ///
    /// let noise = SeededNoise::per_row([
    ///     SampleKey { seed: 7, sample: 0 },
    ///     SampleKey { seed: 8, sample: 0 },
    /// ]);
    /// ```
    #[must_use]
    pub fn per_row(keys: impl Into<Vec<SampleKey>>) -> Self {
        Self { keys: Keys::PerRow(keys.into()), streams: Vec::new() }
    }

    /// Noise for samples at different steps of their runs: one draw per sample.
    ///
    /// # Errors
    /// [`Error::Rows`] unless there is one draw per sample, and one key per sample after [`SeededNoise::per_row`].
    ///
    /// ```
    /// use alphabar::{Draw, NoiseSource, SampleKey, SeededNoise};
    /// use ndarray::Array2;
    ///
    /// let mut noise = SeededNoise::per_row([
    ///     SampleKey { seed: 7, sample: 0 },
    ///     SampleKey { seed: 8, sample: 0 },
    /// ]);
    /// let z = noise.noise_per_row(
    ///     &Array2::<f32>::zeros((2, 10)),
    ///     &[Draw::Step(3), Draw::Initial],
    /// )?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn noise_per_row<T: HostTensor>(&mut self, like: &T, draws: &[Draw]) -> Result<T, Error> {
        let rows = like.rows_of_batch();
        if draws.len() != rows.count {
            return Err(Error::Rows { expected: rows.count, found: draws.len() });
        }
        self.prepare(like, |row| draws.get(row).copied().unwrap_or(Draw::Initial))?;
        fill_like(like, &self.streams)
    }

    /// Takes one step of a batch of requests, each at its own step of its own plan, and makes the noise that they need. A server
    /// calls this once for all its requests.
    ///
    /// # Errors
    /// [`Error::Rows`] unless there is one step per sample, [`Error::Length`] if only some of the steps have a learned
    /// variance, and the errors of [`Tensor::step`].
    ///
    /// ```
    /// use alphabar::{Ddim, Ddpm, Memory, NoiseSchedule, Plan, SampleKey, SeededNoise, Timesteps};
    /// use ndarray::array;
    ///
    /// let schedule = NoiseSchedule::ddpm()?;
    /// let fast = Plan::new(&schedule, &Timesteps::trailing(1000, 10)?, &Ddim::deterministic())?;
    /// let slow = Plan::new(&schedule, &Timesteps::all(1000)?, &Ddpm::default())?;
    /// // One request is at step 2 of one plan, the other at step 700 of another; each has its own seed.
    /// let mut noise = SeededNoise::per_row([SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 0 }]);
    /// let steps = [&fast.steps()[2], &slow.steps()[700]];
    /// let (x, eps) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[0.1_f32, 0.2], [0.3, 0.4]]);
    /// let x = noise.step_per_row(x, eps, &Memory::default(), &steps)?.x;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn step_per_row<T: HostTensor>(
        &mut self,
        x: T,
        m: T,
        memory: &Memory<T>,
        steps: &[&Step],
    ) -> Result<Stepped<T>, Error> {
        let rows = x.rows_of_batch();
        if steps.len() != rows.count {
            return Err(Error::Rows { expected: rows.count, found: steps.len() });
        }
        let coefficients: Vec<Coefficients> = steps.iter().map(|step| step.coefficients).collect();
        let learned: Vec<f64> = steps.iter().filter_map(|step| step.learned_noise).collect();
        let needs_noise = coefficients.iter().any(Coefficients::needs_noise);
        if needs_noise {
            self.prepare(&x, |row| steps.get(row).map_or(Draw::Initial, |step| Draw::Step(step.index)))?;
        }
        match learned.len() {
            0 if needs_noise => x.step_with_streams(m, memory, &self.streams, &coefficients),
            0 if coefficients.iter().any(Coefficients::remembers) => x.step_with_memory(m, memory, None, &coefficients),
            0 => x.step(m, None, &coefficients),
            found if found == rows.count => {
                let z = if needs_noise { Some(fill_like(&x, &self.streams)?) } else { None };
                x.step_learned(m, z.as_ref(), Weights::PerRow(&learned), &coefficients)
            }
            found => Err(Error::Length {
                what: "samples with a learned variance (all of a batch, or none)",
                expected: rows.count,
                found,
            }),
        }
    }

    /// Prepares the streams of all rows of a tensor for their draws.
    fn prepare<T: HostTensor>(&mut self, like: &T, draw: impl Fn(usize) -> Draw) -> Result<(), Error> {
        let rows = like.rows_of_batch();
        if rows.count == 0 || rows.len == 0 {
            // Rows without elements cost no memory, so their number may be huge. The backend's error names the whole shape.
            T::linear_combination(&[(1.0.into(), like)])?;
        }
        check_rows_of_noise(rows)?;
        let rows = rows.count;
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
        self.prepare(like, |_| draw)?;
        fill_like(like, &self.streams)
    }

    fn noise_into(&mut self, spare: T, draw: Draw) -> Result<T, Error> {
        self.prepare(&spare, |_| draw)?;
        spare.fill_with_streams(&self.streams)
    }

    fn step(&mut self, x: T, m: T, memory: &Memory<T>, step: &Step) -> Result<Stepped<T>, Error> {
        if !step.needs_noise() {
            return step.step_with_memory(x, m, memory, None);
        }
        if step.learned_noise.is_some() {
            let z = self.noise(&x, Draw::Step(step.index))?;
            return step.step(x, m, Some(&z));
        }
        self.prepare(&x, |_| Draw::Step(step.index))?;
        x.step_with_streams(m, memory, &self.streams, &[step.coefficients])
    }
}

/// Noise from your own random number generator, drawn in call order.
///
/// The numbers of a run then depend on all earlier draws. The generator's words become normal variates by the transform of
/// [`NormalStream`].
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
    /// Noise from this generator. `&mut rng` works too.
    pub fn new(rng: R) -> Self {
        Self { rng }
    }
}

/// The number of words that [`RngNoise`] draws at a time, and of the elements that it makes of them.
const GROUP: usize = 16;

impl<T: HostTensor, R: Rng> NoiseSource<T> for RngNoise<R> {
    fn noise(&mut self, like: &T, _draw: Draw) -> Result<T, Error> {
        let mut elements = vec![0.0; check_rows_of_noise(like.rows_of_batch())?];
        for group in elements.chunks_mut(GROUP) {
            let words: [u32; GROUP] = core::array::from_fn(|_| self.rng.next_u32());
            let (mut cosines, mut sines) = ([0.0; GROUP / 2], [0.0; GROUP / 2]);
            crate::normal::normals(&words, &mut cosines, &mut sines);
            group.iter_mut().zip(cosines.into_iter().chain(sines)).for_each(|(element, normal)| *element = normal);
        }
        like.from_host_f32(elements)
    }
}

/// A source for runs that add no noise (DDIM with η = 0). A request for noise is an error.
///
/// ```
/// use alphabar::{Draw, Error, NoNoise, NoiseSource};
///
/// assert!(matches!(
///     NoNoise.noise(&vec![0.0_f32], Draw::Initial),
///     Err(Error::Noise(_))
/// ));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoNoise;

impl<T: Tensor> NoiseSource<T> for NoNoise {
    fn noise(&mut self, _like: &T, draw: Draw) -> Result<T, Error> {
        Err(no_noise(draw))
    }

    fn step(&mut self, x: T, m: T, memory: &Memory<T>, step: &Step) -> Result<Stepped<T>, Error> {
        if step.needs_noise() {
            Err(no_noise(Draw::Step(step.index)))
        } else {
            step.step_with_memory(x, m, memory, None)
        }
    }
}

fn no_noise(draw: Draw) -> Error {
    let reason = match draw {
        Draw::Initial => "NoNoise has no initial noise; use SeededNoise".to_owned(),
        Draw::Step(index) => format!(
            "the plan adds noise at step {index}, but NoNoise has none; use SeededNoise, or a deterministic plan (η = 0)"
        ),
    };
    Error::Noise(reason.into())
}

/// A source from a closure, for recorded noise or for noise from your framework's generator.
///
/// ```
/// use alphabar::{BoxError, Draw, noise};
///
/// let recorded = vec![vec![0.1_f32, -0.3], vec![1.2, 0.4]];
/// let mut replay = noise::from_fn(move |_: &Vec<f32>, draw| match draw {
///     Draw::Step(index) => {
///         recorded.get(index).cloned().ok_or("no noise was recorded for this step")
///     }
///     _ => Err("x_T was not recorded"),
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

/// A closure as a source of noise, made by [`from_fn`].
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

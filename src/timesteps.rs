//! τ: which of the T training steps a sampler visits, and who follows whom.

use core::str::FromStr;

use crate::error::{Error, require, require_count};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};

/// A subsequence τ of the training steps 0..T (Song et al. 2021, section 4.2): S different indices in the order in which
/// they are visited, and the level at which the path ends.
///
/// Every constructor gives exactly the S strictly falling values that were asked for, or an error. The successor of a step
/// is the next entry of the list, whatever the spacing; nothing computes t − T/S. After the last entry comes the end of the
/// path: clean data, unless [`Timesteps::ending`] says otherwise.
///
/// ```
/// use alphabar::Timesteps;
///
/// assert_eq!(Timesteps::leading(1000, 5, 1)?.as_slice(), [801, 601, 401, 201, 1]);
/// assert_eq!(Timesteps::trailing(1000, 5)?.as_slice(), [999, 799, 599, 399, 199]);
/// assert_eq!(Timesteps::linspace(1000, 5)?.as_slice(), [999, 749, 500, 250, 0]);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timesteps {
    train_steps: usize,
    /// In the order of the path: falling to generate, rising to encode.
    path: Vec<usize>,
    direction: Direction,
    end: PathEnd,
}

/// The level at the clean end of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathEnd {
    /// Clean data, ᾱ = 1: the paper's t = 0, and `set_alpha_to_one = true` in Python's configurations.
    #[default]
    Clean,
    /// The level of t = 0, a little noise: `set_alpha_to_one = false`, as Stable Diffusion's configurations have it.
    FirstLevel,
}

/// The way a path is walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From noise to data.
    #[default]
    Generate,
    /// From data to noise, along the same ODE: DDIM inversion (Song et al. 2021, section 4.3).
    Encode(Conditioning),
}

/// Which end of an encoding step the network is told. Both are first-order exact; they err in different places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Conditioning {
    /// The level that x is at: an explicit Euler step of the ODE, the paper's encoder. The first step, from clean data,
    /// tells the network t = 0 and the level [`NoiseLevel::CLEAN`](crate::NoiseLevel::CLEAN). There an x₀-prediction determines no
    /// ε; such networks encode from [`PathEnd::FirstLevel`].
    #[default]
    Source,
    /// The t that the step goes to, while x is still at the level before: Python's `DDIMInverseScheduler`.
    Destination,
}

/// Spacings.
impl Timesteps {
    /// Multiples of r = ⌊T/S⌋ from the clean end, t_k = (S−1−k)·r + offset; Python's "leading".
    ///
    /// Stable Diffusion uses an offset of 1. The list begins well below T where S does not divide T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T, [`Error::Timestep`] where the offset pushes the largest t to T or past it.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::leading(10, 4, 0)?.as_slice(), [6, 4, 2, 0]);
    /// assert!(Timesteps::leading(10, 10, 1).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn leading(train_steps: usize, steps: usize, offset: usize) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        let stride = train_steps / steps;
        let largest = ((steps - 1) * stride).saturating_add(offset);
        if largest >= train_steps {
            return Err(Error::Timestep { t: largest, train_steps });
        }
        Self::falling(train_steps, (0..steps).rev().map(|k| k * stride + offset))
    }

    /// From t = T−1 downwards in strides of r = T/S, t_k = round(T − k·r) − 1; Python's "trailing", recommended for few
    /// steps and for zero terminal SNR (Lin et al. 2023, Table 2).
    ///
    /// Rounds half to even on the same `f64` values as numpy's `arange` forms, but always yields S entries; numpy yields
    /// S + 1 for some S, the last of them −1.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::trailing(10, 4)?.as_slice(), [9, 7, 4, 1]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn trailing(train_steps: usize, steps: usize) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        let total = train_steps as f64;
        // numpy forms start + k·((start + step) − start).
        let stride = (total - total / steps as f64) - total;
        Self::falling(train_steps, (0..steps).map(|k| round_half_even(total + k as f64 * stride).saturating_sub(1)))
    }

    /// Evenly from T−1 to 0 inclusive, t = round(i·(T−1)/(S−1)); Python's "linspace".
    ///
    /// A single step starts from the noisiest level, T−1.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::linspace(10, 3)?.as_slice(), [9, 4, 0]);
    /// assert_eq!(Timesteps::linspace(10, 1)?.as_slice(), [9]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linspace(train_steps: usize, steps: usize) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        if steps == 1 {
            return Self::falling(train_steps, [train_steps - 1]);
        }
        let stride = (train_steps - 1) as f64 / (steps - 1) as f64;
        Self::falling(train_steps, (0..steps).rev().map(|i| round_half_even(i as f64 * stride)))
    }

    /// The paper's linear τ_i = ⌊c·i⌋, i = 1..=S, with c = T/S, so that τ_S = T (Song et al. 2021, appendix D.2).
    ///
    /// The paper counts t from 1: the index here is τ_i − 1. Its authors' code takes `range(0, T, T//S)`, which is
    /// [`Timesteps::leading`] where S divides T and longer than S where it does not.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::linear(10, 3)?.as_slice(), [9, 5, 2]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn linear(train_steps: usize, steps: usize) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        Self::falling(
            train_steps,
            (1..=steps).rev().map(|i| (train_steps as u64 * i as u64 / steps as u64) as usize - 1),
        )
    }

    /// The paper's quadratic τ_i = ⌊c·i²⌋, i = 1..=S, with c = T/S², so that τ_S = T: denser near the data; the paper's
    /// choice for CIFAR-10 (Song et al. 2021, appendix D.2).
    ///
    /// The paper counts t from 1: the index here is τ_i − 1. Where neighbouring floors coincide (small i and large S), the
    /// next free index is taken, τ_i = max(⌊c·i²⌋, τ_{i−1} + 1), which ends at T all the same. The authors' code repeats
    /// entries there, and stops at 0.8·T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::quadratic(100, 5)?.as_slice(), [99, 63, 35, 15, 3]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn quadratic(train_steps: usize, steps: usize) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        let (total, count) = (train_steps as u128, steps as u128);
        let mut path = Vec::with_capacity(steps);
        let mut tau = 0;
        for i in 1..=count {
            // At most T, since i ≤ S.
            let floor = (total * i * i / (count * count)) as usize;
            tau = floor.max(tau + 1);
            path.push(tau - 1);
        }
        Self::falling(train_steps, path.into_iter().rev())
    }

    /// S indices whose log-SNR is spaced as evenly as the schedule allows, from t = T−1 to t = 0.
    ///
    /// For each of S evenly spaced log-SNR the nearest t; where two fall on the same t, the next free one. In a schedule of
    /// zero terminal SNR t = T−1, at −∞, comes first and the rest is spaced from T−2.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T.
    ///
    /// ```
    /// # use alphabar::{NoiseSchedule, Timesteps};
    /// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
    /// let tau = Timesteps::uniform_log_snr(&schedule, 4)?;
    /// assert_eq!(tau.as_slice(), [999, 603, 73, 0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn uniform_log_snr(schedule: &NoiseSchedule, steps: usize) -> Result<Self, Error> {
        let train_steps = schedule.len();
        check_steps(train_steps, steps)?;
        if steps == 1 {
            return Self::falling(train_steps, [train_steps - 1]);
        }
        let last = train_steps - 1;
        // The indices over which log-SNR is finite, and how many of them are wanted.
        let (finite_last, finite_steps) =
            if schedule.level(last)?.is_pure_noise() { (last - 1, steps - 1) } else { (last, steps) };
        let cleanest = schedule.level(0)?.log_snr();
        let noisiest = schedule.level(finite_last)?.log_snr();
        let mut rising = Vec::with_capacity(steps);
        for i in 0..finite_steps {
            // A lone finite entry next to the one at −∞ is the noisiest.
            let share = if finite_steps == 1 { 1.0 } else { i as f64 / (finite_steps - 1) as f64 };
            let nearest = schedule.nearest_to_log_snr(cleanest + (noisiest - cleanest) * share)?;
            let least = rising.last().map_or(0, |previous| previous + 1);
            let most = finite_last + 1 - (finite_steps - i);
            rising.push(nearest.clamp(least, most));
        }
        if finite_last < last {
            rising.push(last);
        }
        Self::falling(train_steps, rising.into_iter().rev())
    }

    /// All of T−1, …, 0.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::all(3)?.as_slice(), [2, 1, 0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn all(train_steps: usize) -> Result<Self, Error> {
        Self::leading(train_steps, train_steps, 0)
    }

    /// A list of one's own, strictly falling, each entry below T.
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than T, [`Error::Timestep`] for an entry at or above T,
    /// [`Error::NotDescending`] for one that does not fall.
    ///
    /// ```
    /// # use alphabar::{Error, Timesteps};
    /// assert_eq!(Timesteps::explicit(1000, [999, 749, 249])?.len(), 3);
    /// let error = Timesteps::explicit(1000, [999, 249, 249]).unwrap_err();
    /// assert!(matches!(error, Error::NotDescending { index: 2, value: 249, previous: 249 }));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn explicit(train_steps: usize, list: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        Self::falling(train_steps, list)
    }

    /// The entries that a [`Respacing`] takes out of 0..T.
    ///
    /// # Errors
    /// [`Error::Respacing`] where T cannot be divided that way.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// let tau = Timesteps::respaced(1000, &"ddim50".parse()?)?;
    /// assert_eq!(tau.as_slice()[..3], [980, 960, 940]);
    /// assert_eq!(Timesteps::respaced(300, &"10,15,20".parse()?)?.len(), 45);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn respaced(train_steps: usize, respacing: &Respacing) -> Result<Self, Error> {
        require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
        let rising = respacing.entries(train_steps)?;
        Self::falling(train_steps, rising.into_iter().rev())
    }

    fn falling(train_steps: usize, path: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
        // One more than could be valid is enough to see that a list is too long.
        let path: Vec<usize> = path.into_iter().take(train_steps + 1).collect();
        let mut previous = None;
        for (index, &value) in path.iter().enumerate() {
            if value >= train_steps {
                return Err(Error::Timestep { t: value, train_steps });
            }
            if let Some(previous) = previous.filter(|&previous| previous <= value) {
                return Err(Error::NotDescending { index, value, previous });
            }
            previous = Some(value);
        }
        check_steps(train_steps, path.len())?;
        Ok(Self { train_steps, path, direction: Direction::Generate, end: PathEnd::Clean })
    }
}

/// Other paths over the same indices.
impl Timesteps {
    /// The same indices with another level at the clean end.
    ///
    /// ```
    /// # use alphabar::{PathEnd, Timesteps};
    /// let tau = Timesteps::leading(1000, 50, 1)?.ending(PathEnd::FirstLevel);
    /// assert_eq!(tau.end(), PathEnd::FirstLevel);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn ending(mut self, end: PathEnd) -> Self {
        self.end = end;
        self
    }

    /// The same indices walked from the clean end to the noise.
    ///
    /// ```
    /// # use alphabar::{Conditioning, Timesteps};
    /// let tau = Timesteps::leading(1000, 5, 0)?.encoding(Conditioning::Source);
    /// assert_eq!(tau.as_slice(), [0, 200, 400, 600, 800]);
    /// assert_eq!(tau.generating(), Timesteps::leading(1000, 5, 0)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn encoding(self, told: Conditioning) -> Self {
        self.walked(Direction::Encode(told))
    }

    /// The same indices walked from the noise to the clean end, as every constructor gives them.
    ///
    /// ```
    /// # use alphabar::{Direction, Timesteps};
    /// assert_eq!(Timesteps::all(2)?.generating().direction(), Direction::Generate);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn generating(self) -> Self {
        self.walked(Direction::Generate)
    }

    fn walked(mut self, direction: Direction) -> Self {
        if (self.direction == Direction::Generate) != (direction == Direction::Generate) {
            self.path.reverse();
        }
        self.direction = direction;
        self
    }

    /// The part of the path between the clean end and the noise that a strength stands for: its ⌊S·strength⌋ entries of
    /// least noise. Image-to-image noises the image to the first of them and generates from there.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ strength ≤ 1, [`Error::NothingToDo`] where no entry is left.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// let tau = Timesteps::leading(1000, 50, 1)?.with_strength(0.6)?;
    /// assert_eq!((tau.len(), tau.as_slice()[0]), (30, 581));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn with_strength(self, strength: f64) -> Result<Self, Error> {
        require((0.0..=1.0).contains(&strength), "strength", strength, "inside [0, 1]")?;
        let steps = self.len();
        let kept = (steps as f64 * strength) as usize;
        self.keep_cleanest(kept, "strength", strength)
    }

    /// The part of the path at or below a given t.
    ///
    /// # Errors
    /// [`Error::NothingToDo`] where every entry lies above t.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// let tau = Timesteps::leading(1000, 5, 0)?.not_above(500)?;
    /// assert_eq!(tau.as_slice(), [400, 200, 0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn not_above(self, t: usize) -> Result<Self, Error> {
        let kept = self.path.iter().filter(|&&entry| entry <= t).count();
        self.keep_cleanest(kept, "the largest t", t as f64)
    }

    fn keep_cleanest(mut self, kept: usize, name: &'static str, value: f64) -> Result<Self, Error> {
        if kept == 0 {
            return Err(Error::NothingToDo { name, value, steps: self.len() });
        }
        match self.direction {
            Direction::Generate => drop(self.path.drain(..self.path.len().saturating_sub(kept))),
            Direction::Encode(_) => self.path.truncate(kept),
        }
        Ok(self)
    }

    /// The indices in the order in which they are visited.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::all(2)?.as_slice(), [1, 0]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.path
    }

    /// S, how many steps the path takes; never 0.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::all(2)?.len(), 2);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path is never empty")]
    pub fn len(&self) -> usize {
        self.path.len()
    }

    /// T, the length of the schedule that the indices refer to.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::leading(1000, 5, 0)?.train_steps(), 1000);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn train_steps(&self) -> usize {
        self.train_steps
    }

    /// Which way the path is walked.
    ///
    /// ```
    /// # use alphabar::{Direction, Timesteps};
    /// assert_eq!(Timesteps::all(2)?.direction(), Direction::Generate);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The level at the clean end of the path.
    ///
    /// ```
    /// # use alphabar::{PathEnd, Timesteps};
    /// assert_eq!(Timesteps::all(2)?.end(), PathEnd::Clean);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> PathEnd {
        self.end
    }
}

/// OpenAI's respacing strings: "ddim50", or numbers of steps in equal sections of 0..T, "10,20,30".
///
/// ```
/// use alphabar::Respacing;
///
/// assert_eq!("ddim50".parse::<Respacing>()?, Respacing::Ddim(50));
/// assert_eq!("10,20,30".parse::<Respacing>()?, Respacing::Sections(vec![10, 20, 30]));
/// assert!("ddim".parse::<Respacing>().is_err());
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Respacing {
    /// "ddimN": the entries 0, i, 2i, … below T for the least stride i that gives exactly N of them.
    Ddim(usize),
    /// "a,b,c": 0..T is cut into as many sections of (nearly) equal size; each gets its number of entries, spread evenly
    /// from its first to its last.
    Sections(Vec<usize>),
}

impl Respacing {
    /// The entries in rising order.
    fn entries(&self, train_steps: usize) -> Result<Vec<usize>, Error> {
        match self {
            Self::Ddim(steps) => {
                let stride = (1..=train_steps)
                    .find(|stride| train_steps.div_ceil(*stride) == *steps)
                    .ok_or_else(|| self.error(format!("no stride takes {steps} entries out of {train_steps}")))?;
                Ok((0..train_steps).step_by(stride).collect())
            }
            Self::Sections(counts) => {
                if counts.is_empty() || counts.len() > train_steps {
                    return Err(self.error(format!("{} sections of {train_steps} entries", counts.len())));
                }
                let (size, longer) = (train_steps / counts.len(), train_steps % counts.len());
                let mut entries = Vec::new();
                let mut start = 0;
                for (section, &count) in counts.iter().enumerate() {
                    let size = size + usize::from(section < longer);
                    if count > size {
                        return Err(self.error(format!("section {section} has {size} entries, not {count}")));
                    }
                    let stride = if count > 1 { (size - 1) as f64 / (count - 1) as f64 } else { 1.0 };
                    // The position is accumulated, as the original does it.
                    let mut position = 0.0;
                    for _ in 0..count {
                        entries.push(start + round_half_even(position));
                        position += stride;
                    }
                    start += size;
                }
                if entries.is_empty() {
                    return Err(self.error("no entries at all".to_owned()));
                }
                Ok(entries)
            }
        }
    }

    fn error(&self, reason: String) -> Error {
        let text = match self {
            Self::Ddim(steps) => format!("ddim{steps}"),
            Self::Sections(counts) => counts.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        Error::Respacing { text, reason }
    }
}

impl FromStr for Respacing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = |digits: &str| {
            digits.trim().parse::<usize>().map_err(|error| Error::Respacing {
                // A long text is not worth repeating whole.
                text: text.chars().take(80).collect(),
                reason: format!("{:?} is not a number of steps: {error}", digits.chars().take(20).collect::<String>()),
            })
        };
        match text.strip_prefix("ddim") {
            Some(steps) => number(steps).map(Self::Ddim),
            None => text.split(',').map(number).collect::<Result<_, _>>().map(Self::Sections),
        }
    }
}

fn check_steps(train_steps: usize, steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
    require_count("S", steps, 1, train_steps)
}

/// The nearest integer of a number between 0 and T, halves to the even one.
fn round_half_even(value: f64) -> usize {
    value.round_ties_even() as usize
}

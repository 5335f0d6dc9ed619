//! τ, the timesteps: which of the T training steps a sampler visits, and in which order.

mod respacing;
mod spacing;

pub use respacing::Respacing;
pub use spacing::Spacing;

use crate::error::{Error, require, require_count};
use crate::schedule::{MAX_TRAIN_STEPS, NoiseSchedule};

/// τ, the timesteps of a sampler: S different training steps out of 0..T, in the order in which they are visited, and the level
/// at which the path ends (Song et al. 2021, section 4.2).
///
/// S is the number of inference steps, `num_inference_steps` in diffusers. A constructor that takes S returns exactly S strictly
/// falling values, or an error. (Only [`Timesteps::img2img`] may return fewer; it says when.) The successor of a step is the next
/// entry of the list, for every spacing; nothing computes t − T/S. After the last entry comes the end of the path: clean data,
/// or what [`Timesteps::ending`] says.
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
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
#[doc(alias = "num_inference_steps")]
#[doc(alias = "inference steps")]
#[doc(alias = "set_timesteps")]
#[doc(alias = "timestep_spacing")]
#[doc(alias = "subsequence")]
#[doc(alias = "tau")]
pub struct Timesteps {
    train_steps: usize,
    /// In the order of the path: falling to generate, rising to encode.
    path: Vec<usize>,
    direction: Direction,
    end: PathEnd,
}

/// The level at the clean end of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "set_alpha_to_one")]
#[doc(alias = "final_alpha_cumprod")]
#[non_exhaustive]
pub enum PathEnd {
    /// Clean data, ᾱ = 1: the paper's t = 0; `set_alpha_to_one = true` in diffusers.
    #[default]
    Clean,
    /// The level of t = 0, which holds a little noise; `set_alpha_to_one = false` in diffusers and in Stable Diffusion's
    /// configurations.
    FirstLevel,
}

/// The direction in which a path is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// From noise to data.
    #[default]
    Generate,
    /// From data to noise along the same ODE: encoding (DDIM inversion; Song et al. 2021, section 4.3).
    #[doc(alias = "inversion")]
    Encode(Conditioning),
}

/// Which noise level the network receives in an encoding (DDIM inversion) step.
///
/// Both choices are first-order accurate; their errors differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Conditioning {
    /// The level of x at the start of the step: an explicit Euler step of the ODE, as in the paper.
    ///
    /// In the first step, from clean data, the network receives t = 0 and the level
    /// [`NoiseLevel::CLEAN`](crate::NoiseLevel::CLEAN). x₀-prediction does not determine ε there: with such a network, encode from
    /// [`PathEnd::FirstLevel`].
    #[default]
    Source,
    /// The level that the step goes to, although x is still at the level before it; as `DDIMInverseScheduler` in diffusers.
    #[doc(alias = "DDIMInverseScheduler")]
    Destination,
}

/// Spacings.
impl Timesteps {
    /// Multiples of r = ⌊T/S⌋ from the clean end; "leading" in diffusers.
    ///
    /// ```text
    /// t_k = (S−1−k)·r + offset,  k = 0, …, S−1
    /// ```
    ///
    /// Stable Diffusion uses an offset of 1. The list begins well below T if S does not divide T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ S ≤ T, [`Error::LeadingOffset`] if the offset pushes the largest t to T or above.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// assert_eq!(Timesteps::leading(10, 4, 0)?.as_slice(), [6, 4, 2, 0]);
    /// assert!(Timesteps::leading(10, 10, 1).is_err());
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "steps_offset")]
    pub fn leading(train_steps: usize, steps: usize, offset: usize) -> Result<Self, Error> {
        Self::spaced(train_steps, steps, Spacing::Leading { offset })
    }

    /// From t = T−1 downwards in strides of r = T/S; "trailing" in diffusers. Recommended for few steps and for zero terminal SNR
    /// (Lin et al. 2023, Table 2).
    ///
    /// ```text
    /// t_k = round(T − k·r) − 1,  k = 0, …, S−1
    /// ```
    ///
    /// Rounds half to even on the same `f64` values as numpy's `arange`, but always returns S entries; numpy returns S + 1 for
    /// some S, the last of them −1.
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
        Self::spaced(train_steps, steps, Spacing::Trailing)
    }

    /// Evenly from T−1 to 0, both included; "linspace" in diffusers.
    ///
    /// ```text
    /// t = round(i·(T−1)/(S−1)),  i = S−1, …, 0
    /// ```
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
        Self::spaced(train_steps, steps, Spacing::Linspace)
    }

    /// The paper's linear τ_i = ⌊c·i⌋, i = 1..=S, with c = T/S, so that τ_S = T (Song et al. 2021, appendix D.2).
    ///
    /// The paper counts t from 1: the index here is τ_i − 1. Its authors' code takes `range(0, T, T//S)`, which equals
    /// [`Timesteps::leading`] if S divides T, and has more than S entries otherwise.
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
        Self::spaced(train_steps, steps, Spacing::Linear)
    }

    /// The paper's quadratic τ_i = ⌊c·i²⌋, i = 1..=S, with c = T/S², so that τ_S = T: denser near the data; the paper's
    /// choice for CIFAR-10 (Song et al. 2021, appendix D.2).
    ///
    /// The paper counts t from 1: the index here is τ_i − 1. If neighbouring floors coincide (small i and large S), the next free
    /// index is taken, τ_i = max(⌊c·i²⌋, τ_{i−1} + 1), which still ends at T. The authors' code repeats entries there, and stops
    /// at 0.8·T.
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
        Self::spaced(train_steps, steps, Spacing::Quadratic)
    }

    /// S timesteps with the [`Spacing`] as a value, for programs that have it as a setting.
    ///
    /// # Errors
    /// As the constructor that the spacing names.
    pub fn spaced(train_steps: usize, steps: usize, spacing: Spacing) -> Result<Self, Error> {
        Self::within(train_steps, train_steps, steps, spacing)
    }

    /// S timesteps spread over 0..span, for a schedule of T ≥ span.
    fn within(train_steps: usize, span: usize, steps: usize, spacing: Spacing) -> Result<Self, Error> {
        check_steps(train_steps, steps)?;
        let path = spacing.entries(span, steps);
        if let (Spacing::Leading { offset }, Some(&t)) = (spacing, path.first()) {
            if t >= train_steps {
                return Err(Error::LeadingOffset { offset, steps, t, train_steps });
            }
        }
        Self::falling(train_steps, path)
    }

    /// S indices whose log-SNR is spaced as evenly as the schedule allows, from t = T−1 to t = 0.
    ///
    /// For each of S evenly spaced log-SNR this takes the nearest t, or the next free one if two fall on one t. In a schedule with
    /// zero terminal SNR, t = T−1 (log-SNR −∞) comes first, and the rest is spaced from T−2.
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
            // If only one finite entry is wanted, beside the one at −∞, it is the noisiest.
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

    /// All T timesteps, T−1, …, 0.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`].
    pub fn all(train_steps: usize) -> Result<Self, Error> {
        Self::leading(train_steps, train_steps, 0)
    }
}

/// Custom lists.
impl Timesteps {
    /// A custom list, strictly falling, each entry below T; for example the timesteps of a distilled model (LCM).
    ///
    /// # Errors
    /// [`Error::Count`] for an empty list or one longer than T, [`Error::Timestep`] for an entry at or above T,
    /// [`Error::NotDescending`] for an entry that does not fall.
    ///
    /// ```
    /// # use alphabar::{Error, Timesteps};
    /// assert_eq!(Timesteps::explicit(1000, [999, 749, 249])?.len(), 3);
    /// let error = Timesteps::explicit(1000, [999, 249, 249]).unwrap_err();
    /// assert!(matches!(
    ///     error,
    ///     Error::NotDescending { index: 2, value: 249, previous: 249 }
    /// ));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "custom timesteps")]
    pub fn explicit(train_steps: usize, list: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        Self::falling(train_steps, list)
    }

    /// The timesteps nearest to a custom list of σ, such as that of Karras et al. (2022, Eq. 5); no timestep is used twice.
    ///
    /// σ is the noise of x/√ᾱ = x₀ + σ·ε. Nearness is measured in log-SNR. If several σ have the same nearest t, they get
    /// neighbouring t: the entries are distinct, keep the order of the list, and move by as few indices in total as possible. Leave
    /// out a final σ = 0; the path ends in clean data anyway. [`Path::from_sigmas`](crate::Path::from_sigmas) keeps each σ exactly,
    /// with fractions of t.
    ///
    /// # Errors
    /// [`Error::NotFalling`] unless the list falls strictly, [`Error::Parameter`] unless each σ is positive and finite,
    /// [`Error::Count`] for an empty list or one longer than T.
    ///
    /// ```
    /// # use alphabar::{NoiseSchedule, Timesteps};
    /// let schedule = NoiseSchedule::stable_diffusion()?;
    /// // Karras's levels from 14.6 to 0.03 with ρ = 7. With 100 of them, several fall on one t.
    /// let (max, min) = (14.6_f64.powf(1.0 / 7.0), 0.03_f64.powf(1.0 / 7.0));
    /// let sigmas = (0..100).map(|i| (max + f64::from(i) / 99.0 * (min - max)).powi(7));
    /// let tau = Timesteps::nearest_to_sigmas(&schedule, sigmas)?;
    /// assert_eq!(tau.len(), 100);
    /// assert_eq!(tau.as_slice()[..3], [999, 992, 985]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "Karras")]
    #[doc(alias = "use_karras_sigmas")]
    #[doc(alias = "sigmas")]
    pub fn nearest_to_sigmas(schedule: &NoiseSchedule, sigmas: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let train_steps = schedule.len();
        // One more than could be valid is enough to see that a list is too long.
        let sigmas: Vec<f64> = sigmas.into_iter().take(train_steps + 1).collect();
        let mut nearest = Vec::with_capacity(sigmas.len());
        let mut previous = f64::INFINITY;
        for (index, &sigma) in sigmas.iter().enumerate() {
            require(sigma > 0.0 && sigma.is_finite(), "σ", sigma, "positive and finite (leave out a final 0)")?;
            if sigma >= previous {
                return Err(Error::NotFalling { what: "σ", index, value: sigma, previous });
            }
            previous = sigma;
            // ln(ᾱ/(1−ᾱ)) = −2·ln σ
            nearest.push(schedule.nearest_to_log_snr(-2.0 * libm::log(sigma))?);
        }
        check_steps(train_steps, nearest.len())?;
        nearest.reverse();
        Self::falling(train_steps, spacing::distinct(&nearest, train_steps).into_iter().rev())
    }

    /// The timesteps that a [`Respacing`] selects from 0..T.
    ///
    /// # Errors
    /// [`Error::Respacing`] if T cannot be divided in that way.
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

/// Starting part-way: img2img.
///
/// Noise the image to [`Plan::start`](crate::Plan::start) with [`forward::add_noise`](crate::forward::add_noise), then sample.
impl Timesteps {
    /// img2img with exactly S network calls: S timesteps spread over the ⌊T·strength⌋ least noisy training steps.
    ///
    /// `None` if that leaves nothing to do (strength 0, or below 1/T): return the image as it is. If fewer than S training steps
    /// are left (strength < S/T), each of them is taken once. Every other strength costs exactly S calls.
    ///
    /// A product T·strength within 1e-9 of the next integer counts as that integer: 1000·0.29 gives 290, not the 289 of `f64`.
    ///
    /// [`Timesteps::with_strength`] is diffusers' way, which makes fewer calls for a smaller strength.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ strength ≤ 1, [`Error::Count`] unless 1 ≤ S ≤ T, [`Error::LeadingOffset`] as for
    /// [`Timesteps::leading`].
    ///
    /// ```
    /// # use alphabar::{Spacing, Timesteps};
    /// let tau = Timesteps::img2img(1000, 20, 0.6, Spacing::Trailing)?
    ///     .expect("strength is above 0");
    /// assert_eq!((tau.len(), tau.as_slice()[0], tau.train_steps()), (20, 599, 1000));
    /// // A slider at 0: there is nothing to do.
    /// assert_eq!(Timesteps::img2img(1000, 20, 0.0, Spacing::Trailing)?, None);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "image-to-image")]
    #[doc(alias = "image to image")]
    #[doc(alias = "denoising strength")]
    #[doc(alias = "SDEdit")]
    pub fn img2img(train_steps: usize, steps: usize, strength: f64, spacing: Spacing) -> Result<Option<Self>, Error> {
        check_steps(train_steps, steps)?;
        match kept_by_strength(train_steps, strength)? {
            0 => Ok(None),
            span => Self::within(train_steps, span, steps.min(span), spacing).map(Some),
        }
    }

    /// S timesteps from a given t downwards, for a start at that level: an image with a known amount of noise, for example.
    ///
    /// The first entry is t itself, except with leading spacing, which begins up to a stride lower.
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T, [`Error::Count`] unless 1 ≤ S ≤ t + 1, [`Error::LeadingOffset`] as for
    /// [`Timesteps::leading`].
    ///
    /// ```
    /// # use alphabar::{Spacing, Timesteps};
    /// let tau = Timesteps::starting_from(1000, 499, 5, Spacing::Trailing)?;
    /// assert_eq!(tau.as_slice(), [499, 399, 299, 199, 99]);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn starting_from(train_steps: usize, t: usize, steps: usize, spacing: Spacing) -> Result<Self, Error> {
        require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
        if t >= train_steps {
            return Err(Error::Timestep { t, train_steps });
        }
        require_count("S (inference steps from t downwards)", steps, 1, t + 1)?;
        Self::within(train_steps, t + 1, steps, spacing)
    }

    /// img2img as diffusers' `strength` does it: keeps only the last ⌊S·strength⌋ steps, the least noisy ones.
    ///
    /// The number of network calls falls with the strength; [`Timesteps::img2img`] keeps it.
    ///
    /// A product S·strength within 1e-9 of the next integer counts as that integer: 90·0.7 gives 63. diffusers takes the 62 of
    /// `f64` arithmetic.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless 0 ≤ strength ≤ 1, [`Error::NothingToDo`] if no entry is left (strength < 1/S): return the image
    /// as it is.
    ///
    /// ```
    /// # use alphabar::Timesteps;
    /// let tau = Timesteps::leading(1000, 50, 1)?.with_strength(0.6)?;
    /// assert_eq!((tau.len(), tau.as_slice()[0]), (30, 581));
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[doc(alias = "img2img")]
    #[doc(alias = "image-to-image")]
    #[doc(alias = "denoising strength")]
    pub fn with_strength(self, strength: f64) -> Result<Self, Error> {
        let kept = kept_by_strength(self.len(), strength)?;
        self.keep_cleanest(kept, "strength", strength)
    }

    /// Keeps only the entries at or below a given t.
    ///
    /// # Errors
    /// [`Error::NothingToDo`] if every entry lies above t.
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
}

/// End, direction and queries.
impl Timesteps {
    /// These timesteps with another level at the clean end.
    ///
    /// ```
    /// # use alphabar::{PathEnd, Timesteps};
    /// // As in Stable Diffusion's configurations (`set_alpha_to_one = false`).
    /// let tau = Timesteps::leading(1000, 50, 1)?.ending(PathEnd::FirstLevel);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "set_alpha_to_one")]
    pub fn ending(mut self, end: PathEnd) -> Self {
        self.end = end;
        self
    }

    /// These timesteps from the clean end to the noise: encoding (DDIM inversion).
    ///
    /// ```
    /// # use alphabar::{Conditioning, Timesteps};
    /// let tau = Timesteps::leading(1000, 5, 0)?.encoding(Conditioning::Source);
    /// assert_eq!(tau.as_slice(), [0, 200, 400, 600, 800]);
    /// assert_eq!(tau.generating(), Timesteps::leading(1000, 5, 0)?);
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    #[must_use]
    #[doc(alias = "inversion")]
    #[doc(alias = "DDIM inversion")]
    #[doc(alias = "DDIMInverseScheduler")]
    pub fn encoding(self, conditioning: Conditioning) -> Self {
        self.walked(Direction::Encode(conditioning))
    }

    /// These timesteps from the noise to the clean end, as every constructor returns them.
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

    /// The indices in the order in which they are visited.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.path
    }

    /// S, the number of steps; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path is never empty")]
    pub fn len(&self) -> usize {
        self.path.len()
    }

    /// T, the length of the schedule that the indices refer to.
    #[must_use]
    #[doc(alias = "num_train_timesteps")]
    pub fn train_steps(&self) -> usize {
        self.train_steps
    }

    /// The direction of the path.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The level at the clean end of the path.
    #[must_use]
    pub fn end(&self) -> PathEnd {
        self.end
    }
}

fn check_steps(train_steps: usize, steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)?;
    require_count("S", steps, 1, train_steps)
}

/// How many of `count` steps a strength keeps.
pub(crate) fn kept_by_strength(count: usize, strength: f64) -> Result<usize, Error> {
    Ok(spacing::share(count, require((0.0..=1.0).contains(&strength), "strength", strength, "inside [0, 1]")?))
}

/// Timesteps as they are stored; reading checks them.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    train_steps: usize,
    timesteps: Vec<usize>,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    end: PathEnd,
}

#[cfg(feature = "serde")]
impl From<Timesteps> for Stored {
    fn from(tau: Timesteps) -> Self {
        Self { train_steps: tau.train_steps, timesteps: tau.path, direction: tau.direction, end: tau.end }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Timesteps {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self, Error> {
        let Stored { train_steps, mut timesteps, direction, end } = stored;
        if direction != Direction::Generate {
            timesteps.reverse();
        }
        Ok(Self::explicit(train_steps, timesteps)?.walked(direction).ending(end))
    }
}

//! Distributions of t for training.

use rand_core::Rng;

use crate::error::{Error, require, require_count};
use crate::objective::check_train_steps;
use crate::schedule::MAX_TRAIN_STEPS;

/// A drawn t, and the weight of its loss that makes the expectation equal to that of a uniform t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted {
    /// The index of the training step.
    pub t: usize,
    /// 1/(T·p_t).
    pub weight: f64,
}

/// Independent, uniform t (Ho et al. 2020, Algorithm 1, line 3).
///
/// ```
/// use alphabar::objective::Uniform;
/// use rand::{SeedableRng, rngs::StdRng};
///
/// let ts = Uniform::new(1000)?.sample(64, &mut StdRng::seed_from_u64(1))?;
/// assert!(ts.len() == 64 && ts.iter().all(|t| *t < 1000));
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform {
    train_steps: usize,
}

impl Uniform {
    /// The distribution over t in 0..T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`](crate::MAX_TRAIN_STEPS).
    pub fn new(train_steps: usize) -> Result<Self, Error> {
        Ok(Self { train_steps: check_train_steps(train_steps)? })
    }

    /// Draws one t for each sample of a batch.
    ///
    /// # Errors
    /// [`Error::Count`] if the batch is larger than [`MAX_TRAIN_STEPS`].
    pub fn sample<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> Result<Vec<usize>, Error> {
        check_batch(batch)?;
        Ok((0..batch).map(|_| below(self.train_steps, rng)).collect())
    }
}

/// Uniform t in pairs t, T−1−t, as in the training code of DDIM's authors. The mean t of a batch is then nearly constant.
///
/// ```
/// use alphabar::objective::Antithetic;
///
/// let ts = Antithetic::new(1000)?.sample(5, &mut rand::rng())?;
/// assert_eq!(ts[0] + ts[1], 999);
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Antithetic {
    train_steps: usize,
}

impl Antithetic {
    /// The distribution over t in 0..T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`](crate::MAX_TRAIN_STEPS).
    pub fn new(train_steps: usize) -> Result<Self, Error> {
        Ok(Self { train_steps: check_train_steps(train_steps)? })
    }

    /// Draws one t for each sample of a batch, in pairs; an odd batch ends with half a pair.
    ///
    /// # Errors
    /// [`Error::Count`] if the batch is larger than [`MAX_TRAIN_STEPS`].
    pub fn sample<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> Result<Vec<usize>, Error> {
        check_batch(batch)?;
        let mut ts = Vec::with_capacity(batch);
        while ts.len() < batch {
            let t = below(self.train_steps, rng);
            ts.push(t);
            if ts.len() < batch {
                ts.push(self.train_steps - 1 - t);
            }
        }
        Ok(ts)
    }
}

/// Importance sampling of t, p_t ∝ √E\[L_t²\] over the last ten losses at each t (Nichol and Dhariwal 2021, Eq. 18).
///
/// It is uniform until every t has ten losses, and as long as all of these are 0. After that, a thousandth of the probability stays
/// uniform, so that every t can still be drawn.
///
/// ```
/// use alphabar::objective::LossAware;
///
/// let mut sampler = LossAware::new(2)?;
/// for _ in 0..10 {
///     sampler.update(0, 1.0)?;
///     sampler.update(1, 3.0)?;
/// }
/// // t = 1 is drawn three times as often, and counts a third as much.
/// let p = sampler.probabilities();
/// assert!((p[1] / p[0] - 3.0).abs() < 0.01);
/// let drawn = sampler.sample(8, &mut rand::rng())?;
/// assert!(
///     drawn.iter().all(|drawn| (drawn.weight - 0.5 / p[drawn.t]).abs() < 1e-15)
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[doc(alias("LossSecondMomentResampler", "importance sampling"))]
#[derive(Clone, Debug, PartialEq)]
pub struct LossAware {
    /// Squares of the latest losses at each t.
    history: Vec<History>,
    /// How many t have a full history.
    full: usize,
}

/// The number of losses kept for each t, as in the authors' code.
const REMEMBERED: usize = 10;
/// The part of the probability that stays uniform, as in the authors' code.
const UNIFORM_SHARE: f64 = 1e-3;

#[derive(Clone, Debug, Default, PartialEq)]
struct History {
    squares: [f64; REMEMBERED],
    seen: usize,
    next: usize,
}

impl LossAware {
    /// The distribution over t in 0..T.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ T ≤ [`MAX_TRAIN_STEPS`](crate::MAX_TRAIN_STEPS).
    pub fn new(train_steps: usize) -> Result<Self, Error> {
        let history = vec![History::default(); check_train_steps(train_steps)?];
        Ok(Self { history, full: 0 })
    }

    /// Records the (unweighted) loss of a sample trained at t. A loss below 1e-150 counts as 0.
    ///
    /// # Errors
    /// [`Error::Timestep`] unless t < T, [`Error::Parameter`] unless the loss is in [0, 1e100].
    pub fn update(&mut self, t: usize, loss: f64) -> Result<(), Error> {
        require((0.0..=1e100).contains(&loss), "a loss", loss, "inside [0, 1e100]")?;
        let train_steps = self.history.len();
        let history = self.history.get_mut(t).ok_or(Error::Timestep { t, train_steps })?;
        if let Some(square) = history.squares.get_mut(history.next) {
            *square = if loss < 1e-150 { 0.0 } else { loss * loss };
        }
        history.next = (history.next + 1) % REMEMBERED;
        if history.seen < REMEMBERED {
            history.seen += 1;
            self.full += usize::from(history.seen == REMEMBERED);
        }
        Ok(())
    }

    /// p_t for all t.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        let even = 1.0 / self.history.len() as f64;
        let roots: Vec<f64> = self
            .history
            .iter()
            .map(|history| (history.squares.iter().sum::<f64>() / REMEMBERED as f64).sqrt())
            .collect();
        let total: f64 = roots.iter().sum();
        if self.full < self.history.len() || total == 0.0 {
            return vec![even; self.history.len()];
        }
        roots.iter().map(|root| root / total * (1.0 - UNIFORM_SHARE) + even * UNIFORM_SHARE).collect()
    }

    /// Draws one t, with its weight, for each sample of a batch.
    ///
    /// # Errors
    /// [`Error::Count`] if the batch is larger than [`MAX_TRAIN_STEPS`].
    pub fn sample<R: Rng + ?Sized>(&self, batch: usize, rng: &mut R) -> Result<Vec<Weighted>, Error> {
        check_batch(batch)?;
        let probabilities = self.probabilities();
        let last = probabilities.len() - 1;
        let mut sum = 0.0;
        let cumulative: Vec<f64> = probabilities
            .iter()
            .map(|probability| {
                sum += probability;
                sum
            })
            .collect();
        let drawn = (0..batch).map(|_| {
            let point = unit(rng) * sum;
            let t = cumulative.partition_point(|bound| *bound <= point).min(last);
            let probability = probabilities.get(t).copied().unwrap_or(f64::NAN);
            Weighted { t, weight: 1.0 / (probabilities.len() as f64 * probability) }
        });
        Ok(drawn.collect())
    }
}

/// `Ok` for the size of a batch.
pub(super) fn check_batch(batch: usize) -> Result<usize, Error> {
    require_count("the batch", batch, 0, MAX_TRAIN_STEPS)
}

/// Uniform in 0..bound: the upper half of a 128-bit product, uneven by less than bound/2⁶⁴.
fn below<R: Rng + ?Sized>(bound: usize, rng: &mut R) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// Uniform in [0, 1), 53 bits.
pub(super) fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

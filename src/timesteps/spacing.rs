//! How the timesteps are spread over the training steps.

use std::collections::BinaryHeap;

/// How S timesteps are spread over T training steps, as a value.
///
/// Each variant is explained at its constructor in [`Timesteps`](crate::Timesteps).
///
/// ```
/// use alphabar::{Spacing, Timesteps};
///
/// let spacing = Spacing::Leading { offset: 1 };
/// assert_eq!(
///     Timesteps::spaced(1000, 50, spacing)?,
///     Timesteps::leading(1000, 50, 1)?
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "timestep_spacing")]
#[non_exhaustive]
pub enum Spacing {
    /// [`Timesteps::leading`](crate::Timesteps::leading): multiples of ⌊T/S⌋ from the clean end, plus an offset.
    Leading {
        /// Added to each timestep; 1 for Stable Diffusion.
        #[doc(alias = "steps_offset")]
        offset: usize,
    },
    /// [`Timesteps::trailing`](crate::Timesteps::trailing): from T−1 downwards in strides of T/S.
    #[default]
    Trailing,
    /// [`Timesteps::linspace`](crate::Timesteps::linspace): evenly from T−1 to 0, both included.
    Linspace,
    /// [`Timesteps::linear`](crate::Timesteps::linear): the DDIM paper's linear τ.
    Linear,
    /// [`Timesteps::quadratic`](crate::Timesteps::quadratic): the DDIM paper's quadratic τ.
    Quadratic,
}

impl Spacing {
    /// S entries for T training steps, in falling order. Needs 1 ≤ S ≤ T. Only a leading offset can push an entry to T or above.
    pub(super) fn entries(self, train_steps: usize, steps: usize) -> Vec<usize> {
        let total = train_steps as f64;
        match self {
            Self::Leading { offset } => {
                let stride = train_steps / steps;
                (0..steps).rev().map(|k| (k * stride).saturating_add(offset)).collect()
            }
            Self::Trailing => {
                // numpy forms start + k·((start + step) − start).
                let stride = (total - total / steps as f64) - total;
                (0..steps).map(|k| round_half_even(total + k as f64 * stride).saturating_sub(1)).collect()
            }
            Self::Linspace if steps == 1 => vec![train_steps - 1],
            Self::Linspace => {
                let stride = (train_steps - 1) as f64 / (steps - 1) as f64;
                (0..steps).rev().map(|i| round_half_even(i as f64 * stride)).collect()
            }
            Self::Linear => {
                (1..=steps).rev().map(|i| (train_steps as u64 * i as u64 / steps as u64) as usize - 1).collect()
            }
            Self::Quadratic => {
                let (total, count) = (train_steps as u128, steps as u128);
                let mut path = Vec::with_capacity(steps);
                let mut tau = 0;
                for i in 1..=count {
                    // At most T, since i ≤ S.
                    let floor = (total * i * i / (count * count)) as usize;
                    tau = floor.max(tau + 1);
                    path.push(tau - 1);
                }
                path.reverse();
                path
            }
        }
    }
}

/// The integer nearest to a number between 0 and T; halves go to the even one.
pub(super) fn round_half_even(value: f64) -> usize {
    value.round_ties_even() as usize
}

/// ⌊count·strength⌋, where a product within 1e-9 of the next integer counts as that integer.
pub(super) fn share(count: usize, strength: f64) -> usize {
    ((count as f64 * strength + 1e-9) as usize).min(count)
}

/// Distinct entries of 0..len, strictly rising, with the least total displacement Σ|entry − wanted| from entries that may repeat.
///
/// `wanted` must not fall, and has at most `len` entries.
pub(super) fn distinct(wanted: &[usize], len: usize) -> Vec<usize> {
    // entry − i must not fall: isotonic regression in the absolute error, by the slope trick. The heap holds the points at which
    // the slope of the least cost changes, as a function of the largest value allowed.
    let mut heap = BinaryHeap::new();
    let mut best: Vec<i64> = Vec::with_capacity(wanted.len());
    for (i, &entry) in wanted.iter().enumerate() {
        let value = entry as i64 - i as i64;
        heap.push(value);
        if heap.peek().is_some_and(|&top| top > value) {
            heap.pop();
            heap.push(value);
        }
        best.push(heap.peek().copied().unwrap_or(value));
    }
    let most = (len - wanted.len()) as i64;
    let mut limit = most;
    for value in best.iter_mut().rev() {
        limit = limit.min(*value).max(0);
        *value = limit;
    }
    best.iter().enumerate().map(|(i, value)| (*value + i as i64) as usize).collect()
}

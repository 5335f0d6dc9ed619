//! The order of a multistep method at each step, with its start and its end.

use crate::error::{Error, require_count};
use crate::path::Leg;
use crate::schedule::MAX_TRAIN_STEPS;

/// The largest order of a multistep method.
pub(crate) const MAX_ORDER: usize = 4;

/// The order of a multistep method at each step.
///
/// A step can only use the outputs of earlier calls, so the order rises 1, 2, 3, … at the start; [`Orders::starting_with`] makes it rise
/// later. [`FinalOrder`] lowers it at the end.
///
/// ```
/// use alphabar::{FinalOrder, Orders};
///
/// let orders = Orders::new(3)?.ending(FinalOrder::Lowered);
/// assert_eq!(
///     (0..6).map(|step| orders.at(step, 6)).collect::<Vec<_>>(),
///     [1, 2, 3, 3, 2, 1]
/// );
/// # Ok::<(), alphabar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
pub struct Orders {
    order: usize,
    first: Vec<usize>,
    last: FinalOrder,
}

/// The order of a multistep method at its last steps.
///
/// A step to clean data is of the first order in any case, because λ is infinite there. The one exception is `full_order_to_clean`, as
/// in [`Lms::full_order_to_clean`](crate::Lms::full_order_to_clean).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[doc(alias = "lower_order_final")]
#[non_exhaustive]
pub enum FinalOrder {
    /// The full order to the end.
    #[default]
    Full,
    /// At most 1 at the last step, 2 at the one before it, and so on: `lower_order_final` of UniPC.
    Lowered,
    /// [`FinalOrder::Lowered`] on paths of fewer steps than this: `lower_order_final` of DPM-Solver++, with 15.
    LoweredBelow(usize),
    /// 1 at the last step only: `euler_at_final`.
    #[doc(alias = "euler_at_final")]
    FirstAtLast,
}

impl Orders {
    /// Order 2.
    pub(crate) const SECOND: Self = Self { order: 2, first: Vec::new(), last: FinalOrder::Full };

    /// This order, from the first step that has enough earlier outputs to the end.
    ///
    /// # Errors
    /// [`Error::Count`] unless 1 ≤ order ≤ 4.
    pub fn new(order: usize) -> Result<Self, Error> {
        require_count("the order of a multistep method", order, 1, MAX_ORDER)?;
        Ok(Self { order, first: Vec::new(), last: FinalOrder::Full })
    }

    /// Sets how the orders end.
    #[must_use]
    pub fn ending(self, last: FinalOrder) -> Self {
        Self { last, ..self }
    }

    /// Caps the orders of the first steps, one per step: with `[1, 2, 2]`, order 3 begins at the fourth step.
    ///
    /// # Errors
    /// [`Error::Count`] for a cap outside 1..=4, or a list longer than [`MAX_TRAIN_STEPS`].
    pub fn starting_with(self, caps: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        let first: Vec<usize> = caps.into_iter().take(MAX_TRAIN_STEPS + 1).collect();
        require_count("the orders of the first steps", first.len(), 0, MAX_TRAIN_STEPS)?;
        first
            .iter()
            .try_for_each(|order| require_count("the order of a first step", *order, 1, MAX_ORDER).map(drop))?;
        Ok(Self { first, ..self })
    }

    /// The full order, as given to [`Orders::new`].
    #[must_use]
    pub fn order(&self) -> usize {
        self.order
    }

    /// The order at the step with this index, from 0, of a path with this many steps.
    ///
    /// A sampler may use a lower one if it cannot use all earlier outputs, for example those at pure noise.
    #[must_use]
    pub fn at(&self, step: usize, steps: usize) -> usize {
        self.order.min(self.cap_at(step, steps))
    }

    /// The highest order that the start and the end allow a method of any order.
    fn cap_at(&self, step: usize, steps: usize) -> usize {
        let left = steps.saturating_sub(step).max(1);
        let last = match self.last {
            FinalOrder::Lowered => left,
            FinalOrder::LoweredBelow(few) if steps < few => left,
            FinalOrder::FirstAtLast if left == 1 => 1,
            _ => MAX_ORDER,
        };
        let first = self.first.get(step).copied().unwrap_or(MAX_ORDER);
        last.min(first).min(step + 1)
    }

    pub(crate) fn of(&self, leg: &Leg) -> usize {
        self.at(leg.index, leg.steps)
    }

    /// The highest order that the start and the end allow a method of any order at this leg.
    pub(crate) fn cap(&self, leg: &Leg) -> usize {
        self.cap_at(leg.index, leg.steps)
    }
}

/// The stored form of orders; reading checks it.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    order: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    first: Vec<usize>,
    #[serde(default)]
    last: FinalOrder,
}

#[cfg(feature = "serde")]
impl From<Orders> for Stored {
    fn from(Orders { order, first, last }: Orders) -> Self {
        Self { order, first, last }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Orders {
    type Error = Error;

    fn try_from(Stored { order, first, last }: Stored) -> Result<Self, Error> {
        Self::new(order)?.ending(last).starting_with(first)
    }
}

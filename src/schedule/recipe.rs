//! How a schedule was made, for display and for storage.

use core::fmt;

use crate::error::{Error, require_count};

/// A family with its parameters, and the changes made afterwards, in their order.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) family: Family,
    pub(super) then: Vec<Change>,
}

/// The largest number of changes of a schedule.
pub(super) const MAX_CHANGES: usize = 100;

/// A constructor of schedules.
#[derive(Clone)]
pub(super) enum Family {
    Linear(Ramp),
    ScaledLinear(Ramp),
    Sigmoid(Ramp),
    Constant(Constant),
    Cosine(Cosine),
    Jsd(Jsd),
    Laplace(Laplace),
    Betas(Vec<f64>),
    AlphaBars(Vec<f64>),
}

/// Parameters of the families that go from one β to another.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct Ramp {
    pub(super) train_steps: usize,
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
}

#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct Constant {
    pub(super) train_steps: usize,
    pub(super) beta: f64,
}

#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct Cosine {
    pub(super) train_steps: usize,
    pub(super) offset: f64,
    pub(super) max_beta: f64,
}

#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct Jsd {
    pub(super) train_steps: usize,
}

#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(super) struct Laplace {
    pub(super) train_steps: usize,
    pub(super) mu: f64,
    pub(super) b: f64,
}

/// A change that makes one schedule from another.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub(super) enum Change {
    RescaleZeroTerminalSnr,
    Shifted(f64),
}

impl Family {
    pub(super) fn linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Self {
        Self::Linear(Ramp { train_steps, beta_start, beta_end })
    }

    pub(super) fn scaled_linear(train_steps: usize, beta_start: f64, beta_end: f64) -> Self {
        Self::ScaledLinear(Ramp { train_steps, beta_start, beta_end })
    }

    pub(super) fn sigmoid(train_steps: usize, beta_start: f64, beta_end: f64) -> Self {
        Self::Sigmoid(Ramp { train_steps, beta_start, beta_end })
    }

    pub(super) fn constant(train_steps: usize, beta: f64) -> Self {
        Self::Constant(Constant { train_steps, beta })
    }

    pub(super) fn cosine(train_steps: usize, offset: f64, max_beta: f64) -> Self {
        Self::Cosine(Cosine { train_steps, offset, max_beta })
    }

    pub(super) fn jsd(train_steps: usize) -> Self {
        Self::Jsd(Jsd { train_steps })
    }

    pub(super) fn laplace(train_steps: usize, mu: f64, b: f64) -> Self {
        Self::Laplace(Laplace { train_steps, mu, b })
    }

    pub(super) fn betas(betas: Vec<f64>) -> Self {
        Self::Betas(betas)
    }

    pub(super) fn alpha_bars(alpha_bars: Vec<f64>) -> Self {
        Self::AlphaBars(alpha_bars)
    }
}

impl From<Family> for Recipe {
    fn from(family: Family) -> Self {
        Self { family, then: Vec::new() }
    }
}

impl Recipe {
    /// This recipe with one more change.
    pub(super) fn then(&self, change: Change) -> Result<Self, Error> {
        require_count("the number of changes of a schedule", self.then.len() + 1, 0, MAX_CHANGES)?;
        let then = self.then.iter().copied().chain([change]).collect();
        Ok(Self { family: self.family.clone(), then })
    }
}

/// Shows the calls that make the schedule.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ramp = |f: &mut fmt::Formatter<'_>, name, Ramp { train_steps, beta_start, beta_end }: &Ramp| {
            write!(f, "{name}({train_steps}, {beta_start:?}, {beta_end:?})")
        };
        match &self.family {
            Family::Linear(it) => ramp(f, "linear", it),
            Family::ScaledLinear(it) => ramp(f, "scaled_linear", it),
            Family::Sigmoid(it) => ramp(f, "sigmoid", it),
            Family::Constant(Constant { train_steps, beta }) => write!(f, "constant({train_steps}, {beta:?})"),
            Family::Cosine(Cosine { train_steps, offset, max_beta }) => {
                write!(f, "cosine_with({train_steps}, {offset:?}, {max_beta:?})")
            }
            Family::Jsd(Jsd { train_steps }) => write!(f, "jsd({train_steps})"),
            Family::Laplace(Laplace { train_steps, mu, b }) => write!(f, "laplace({train_steps}, {mu:?}, {b:?})"),
            Family::Betas(list) => write!(f, "from_betas(<{} values>)", list.len()),
            Family::AlphaBars(list) => write!(f, "from_alpha_bars(<{} values>)", list.len()),
        }?;
        // Shows at most the last two changes, so that the line stays short.
        let skipped = self.then.len().saturating_sub(2);
        if skipped > 0 {
            write!(f, ".<{skipped} changes>")?;
        }
        self.then.iter().skip(skipped).try_for_each(|change| match change {
            Change::RescaleZeroTerminalSnr => write!(f, ".rescale_zero_terminal_snr()"),
            Change::Shifted(k) => write!(f, ".shifted({k:?})"),
        })
    }
}

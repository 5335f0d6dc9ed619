//! The rows of Table 1: how much noise a step adds, and which timesteps a run visits.

use std::fmt::{self, Display};

use alphabar::{Conditioning, Ddim, NoiseSchedule, Plan, Timesteps};

use crate::trouble::{Result, Trouble};

/// The S of Table 1.
pub const TABLE1_STEPS: [usize; 5] = [10, 20, 50, 100, 1000];

/// The S of Table 2.
pub const TABLE2_STEPS: [usize; 7] = [10, 20, 50, 100, 200, 500, 1000];

/// Table 2 of the paper: reconstruction error per dimension on CIFAR-10.
pub const PAPER_TABLE2: [f64; 7] = [0.014, 0.0065, 0.0023, 0.0009, 0.0004, 0.0001, 0.0001];

/// Table 1 of the paper: FID on CIFAR-10, in the order of [`METHODS`] and [`TABLE1_STEPS`].
pub const PAPER_TABLE1: [[f64; 5]; 5] = [
    [13.36, 6.84, 4.67, 4.16, 4.04],
    [14.04, 7.11, 4.77, 4.25, 4.09],
    [16.66, 8.35, 5.25, 4.46, 4.29],
    [41.07, 18.36, 8.01, 5.78, 4.73],
    [367.43, 133.37, 32.72, 9.99, 3.17],
];

/// The rows of Table 1.
pub const METHODS: [Method; 5] =
    [Method::Eta(0.0), Method::Eta(0.2), Method::Eta(0.5), Method::Eta(1.0), Method::SigmaHat];

/// How much noise DDIM's steps add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// This η.
    Eta(f64),
    /// The paper's σ̂.
    SigmaHat,
}

/// How the paper spaces its timesteps (its appendix D.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Spaced {
    /// τ_i = ⌊c·i⌋: the paper's CelebA figures
    #[default]
    Linear,
    /// τ_i = ⌊c·i²⌋: the paper's CIFAR-10 figures
    Quadratic,
}

impl Spaced {
    fn tau(self, schedule: &NoiseSchedule, steps: usize) -> Result<Timesteps> {
        match self {
            Self::Linear => tau(schedule, steps),
            Self::Quadratic => Ok(Timesteps::quadratic(schedule.len(), steps)?),
        }
    }

    /// The suffix for names of plans with this spacing.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Linear => "",
            Self::Quadratic => "-quadratic",
        }
    }
}

impl Method {
    /// The plan of S steps at multiples of ⌊T/S⌋.
    pub fn plan(self, schedule: &NoiseSchedule, steps: usize) -> Result<Plan> {
        self.plan_along(schedule, Spaced::Linear, steps)
    }

    /// The plan of S steps with a spacing.
    pub fn plan_along(self, schedule: &NoiseSchedule, spaced: Spaced, steps: usize) -> Result<Plan> {
        Ok(Plan::new(schedule, &spaced.tau(schedule, steps)?, &self.solver()?)?)
    }

    /// The sampler.
    pub fn solver(self) -> Result<Ddim> {
        match self {
            Self::Eta(eta) => Ok(Ddim::new(eta)?),
            Self::SigmaHat => Ok(Ddim::sigma_hat()),
        }
    }

    /// The name in file names and in the keys of results.
    #[must_use]
    pub fn key(self) -> String {
        match self {
            Self::Eta(eta) => format!("eta{eta}"),
            Self::SigmaHat => "sigma-hat".to_owned(),
        }
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eta(eta) => f.pad(&format!("η = {eta}")),
            // Not σ̂: the padding would count its combining accent as a column.
            Self::SigmaHat => f.pad("σ-hat"),
        }
    }
}

/// Multiples of ⌊T/S⌋ from t = 0 up, the uniform τ of the paper's code.
///
/// If S does not divide T, the noisiest t may lie far below T, where x is not yet noise. That is an error.
fn tau(schedule: &NoiseSchedule, steps: usize) -> Result<Timesteps> {
    let tau = Timesteps::leading(schedule.len(), steps, 0)?;
    let (last, all) = (tau.as_slice().first().copied().unwrap_or(0), schedule.len());
    if steps >= 10 && last * 10 < all * 8 {
        return Err(Trouble::Options(format!(
            "{steps} steps at multiples of {} start at t = {last} of {all}; for --steps choose a number that divides {all}",
            all / steps
        )));
    }
    Ok(tau)
}

/// The plans of encoding and decoding, both with η = 0 (the paper's section 5.4).
pub fn round_trip(schedule: &NoiseSchedule, steps: usize, conditioning: Conditioning) -> Result<(Plan, Plan)> {
    let tau = tau(schedule, steps)?;
    let encode = Plan::new(schedule, &tau.clone().encoding(conditioning), &Ddim::deterministic())?;
    Ok((encode, Plan::new(schedule, &tau, &Ddim::deterministic())?))
}

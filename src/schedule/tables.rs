//! The tables of β and of levels, and the checks of their input.

use crate::dd::Dd;
use crate::error::{Error, require, require_count};
use crate::level::{LEAST, NoiseLevel};
use crate::schedule::MAX_TRAIN_STEPS;

#[derive(Clone, PartialEq)]
pub(super) struct Tables {
    pub(super) betas: Vec<f64>,
    pub(super) levels: Vec<NoiseLevel>,
}

impl Tables {
    /// The tables of β_0, β_1, …
    pub(super) fn of_betas(betas: Vec<f64>) -> Result<Self, Error> {
        let mut level = NoiseLevel::CLEAN;
        let mut levels = Vec::with_capacity(betas.len());
        for (t, &beta) in betas.iter().enumerate() {
            check_beta(t, beta)?;
            let previous = level;
            level = NoiseLevel::preserving(
                Dd::sum(1.0, -beta) * level.alpha_bar, // ᾱ_t = (1−β_t)·ᾱ_{t−1}
                level.one_minus_alpha_bar + Dd::from(beta) * level.alpha_bar, // 1−ᾱ_t = (1−ᾱ_{t−1}) + β_t·ᾱ_{t−1}
            );
            check_level(t, &level)?;
            // A β below 1e-32 does not change an ᾱ of 32 digits.
            if !(previous.gap_to(&level) > Dd::ZERO) {
                return Err(Error::AlphaBarNotFalling { t, value: level.alpha_bar(), previous: previous.alpha_bar() });
            }
            levels.push(level);
        }
        Ok(Self { betas, levels })
    }

    /// The tables of given levels, from less to more noise. Only the last may be pure noise.
    pub(super) fn of_levels(levels: impl IntoIterator<Item = NoiseLevel>) -> Result<Self, Error> {
        /// The largest `f64` below 1.
        const ALMOST_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
        let levels: Vec<NoiseLevel> = levels.into_iter().collect();
        let mut betas = Vec::with_capacity(levels.len());
        let mut previous = NoiseLevel::CLEAN;
        for (t, level) in levels.iter().enumerate() {
            if !level.is_pure_noise() {
                check_level(t, level)?;
            }
            let beta = previous.transition_variance_to(level);
            // Written so that NaN fails, and so does a level after one of pure noise.
            if !(beta > Dd::ZERO) {
                return Err(Error::AlphaBarNotFalling { t, value: level.alpha_bar(), previous: previous.alpha_bar() });
            }
            let beta = beta.to_f64();
            betas.push(if level.is_pure_noise() { 1.0 } else { beta.min(ALMOST_ONE) });
            previous = *level;
        }
        Ok(Self { betas, levels })
    }
}

/// Even steps from `start` to `end`, counted from the nearer end, so that both ends are exact to the last bit.
pub(super) fn ramp(train_steps: usize, start: f64, end: f64) -> Result<impl Iterator<Item = f64>, Error> {
    let last = check_train_steps(train_steps)? - 1;
    Ok((0..train_steps).map(move |t| {
        if 2 * t <= last {
            start + (end - start) * t as f64 / last.max(1) as f64
        } else {
            end - (end - start) * (last - t) as f64 / last as f64
        }
    }))
}

pub(super) fn check_train_steps(train_steps: usize) -> Result<usize, Error> {
    require_count("T", train_steps, 1, MAX_TRAIN_STEPS)
}

pub(super) fn check_beta(t: usize, value: f64) -> Result<f64, Error> {
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(Error::Beta { t, value }) }
}

pub(super) fn check_ends(train_steps: usize, beta_start: f64, beta_end: f64) -> Result<(), Error> {
    check_beta(0, beta_start)?;
    check_beta(train_steps.saturating_sub(1), beta_end)?;
    Ok(())
}

/// `Ok` for a level in the domain that has both signal and noise.
fn check_level(t: usize, level: &NoiseLevel) -> Result<(), Error> {
    let refused = |what, value, remedy| Err(Error::LevelRange { what, t, value, remedy });
    let (alpha_bar, variance) = (level.alpha_bar(), level.one_minus_alpha_bar());
    if !(alpha_bar >= LEAST) {
        return refused("ᾱ", alpha_bar, "use fewer t or smaller β, or ᾱ = 0 for the last");
    }
    if !(variance >= LEAST) {
        return refused("1 − ᾱ", variance, "use a larger β");
    }
    Ok(())
}

pub(super) fn check_max_beta(max_beta: f64) -> Result<f64, Error> {
    require(max_beta > 0.0 && max_beta < 1.0, "the largest β", max_beta, "inside (0, 1)")
}

//! Makes the noise schedule of a configuration: exactly, and in the `f32` of diffusers.

use crate::compat::{Tables, laplace};
use crate::error::Error;
use crate::hub::json::{config_error, few_digits};
use crate::schedule::NoiseSchedule;

/// `beta_schedule` with its `beta_start` and `beta_end`, or `trained_betas`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Curve {
    Trained(Vec<f64>),
    Linear(f64, f64),
    ScaledLinear(f64, f64),
    Sigmoid(f64, f64),
    Cosine,
    Laplace,
}

/// The settings that make a noise schedule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recipe {
    pub(super) total: usize,
    pub(super) curve: Curve,
    /// `snr_shift_scale`: the SNR is divided by it; 1 for no shift.
    pub(super) shift: f64,
    /// Whether the schedule is rescaled to zero terminal SNR.
    pub(super) rescales: bool,
    /// Whether diffusers shifts and rescales ᾱ itself instead of β: CogVideoX.
    pub(super) in_alpha_bar: bool,
}

impl Curve {
    pub(super) const NAMES: [&str; 5] = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"];

    pub(super) fn without_ends(name: &str) -> Option<Self> {
        match name {
            "squaredcos_cap_v2" => Some(Self::Cosine),
            "laplace" => Some(Self::Laplace),
            _ => None,
        }
    }

    pub(super) fn with_ends(name: &str, start: f64, end: f64) -> Option<Self> {
        match name {
            "linear" => Some(Self::Linear(start, end)),
            "scaled_linear" => Some(Self::ScaledLinear(start, end)),
            "sigmoid" => Some(Self::Sigmoid(start, end)),
            _ => None,
        }
    }

    fn key(&self) -> &'static str {
        if matches!(self, Self::Trained(_)) { "trained_betas" } else { "beta_schedule" }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Trained(_) => "[…]",
            Self::Linear(..) => "linear",
            Self::ScaledLinear(..) => "scaled_linear",
            Self::Sigmoid(..) => "sigmoid",
            Self::Cosine => "squaredcos_cap_v2",
            Self::Laplace => "laplace",
        }
    }
}

impl Recipe {
    pub(super) fn schedule(&self) -> Result<NoiseSchedule, Error> {
        let total = self.total;
        let schedule = match &self.curve {
            Curve::Trained(betas) => NoiseSchedule::from_betas(betas.iter().copied()),
            Curve::Linear(start, end) => NoiseSchedule::linear(total, *start, *end),
            Curve::ScaledLinear(start, end) => NoiseSchedule::scaled_linear(total, *start, *end),
            Curve::Sigmoid(start, end) => NoiseSchedule::sigmoid(total, *start, *end),
            Curve::Cosine => NoiseSchedule::cosine(total),
            Curve::Laplace => NoiseSchedule::from_alpha_bar_fn(total, 0.999, laplace),
        };
        let schedule = shifted(schedule.map_err(|error| self.error(&error))?, self.shift)?;
        if !self.rescales {
            return Ok(schedule);
        }
        schedule.rescale_zero_terminal_snr().map_err(|error| {
            config_error("rescale_betas_zero_snr", "true", format!("is impossible for this schedule: {error}"))
        })
    }

    /// Whether diffusers computes this table in `f64`: CogVideoX, for this schedule.
    pub(super) fn is_in_f64(&self) -> bool {
        self.in_alpha_bar && matches!(self.curve, Curve::ScaledLinear(..))
    }

    pub(super) fn tables(&self) -> Result<Tables, Error> {
        let total = self.total;
        let tables = match &self.curve {
            Curve::Trained(betas) => Tables::from_betas(betas.iter().copied()),
            Curve::Linear(start, end) => Tables::linear(total, *start, *end),
            Curve::ScaledLinear(start, end) => Tables::scaled_linear(total, *start, *end),
            Curve::Sigmoid(start, end) => Tables::sigmoid(total, *start, *end),
            Curve::Cosine => Tables::cosine(total),
            Curve::Laplace => Tables::laplace(total),
        }?;
        let tables = if self.shift == 1.0 { tables } else { tables.shifted(self.shift) };
        match (self.rescales, self.in_alpha_bar) {
            (false, _) => Ok(tables),
            (true, false) => tables.rescale_zero_terminal_snr(),
            (true, true) => tables.rescale_alphas_cumprod(),
        }
    }

    /// The error of a schedule, with the key that defined it.
    fn error(&self, error: &Error) -> Error {
        let (key, name) = (self.curve.key(), self.curve.name());
        match error {
            Error::Beta { t, value } if matches!(self.curve, Curve::Trained(_)) => {
                config_error(format!("{key}[{t}]"), &few_digits(*value), "is not inside (0, 1)")
            }
            Error::AlphaBar { t, value } => {
                let reason = format!("gives no valid schedule for T = {}: ᾱ[{t}] = {}", self.total, few_digits(*value));
                config_error(key, name, reason)
            }
            Error::AlphaBarNotFalling { t, value, .. } => {
                let reason = format!(
                    "gives no valid schedule for T = {}: ᾱ stays at {} at t = {t}, because β is too small",
                    self.total,
                    few_digits(*value)
                );
                config_error(key, name, reason)
            }
            other => config_error(key, name, format!("gives no valid schedule for T = {}: {other}", self.total)),
        }
    }
}

/// `snr_shift_scale`: ᾱ becomes ᾱ/(k + (1−k)·ᾱ), before the rescaling to zero SNR.
fn shifted(schedule: NoiseSchedule, k: f64) -> Result<NoiseSchedule, Error> {
    if k == 1.0 {
        return Ok(schedule);
    }
    schedule.shifted(k).map_err(|error| config_error("snr_shift_scale", &few_digits(k), error.to_string()))
}

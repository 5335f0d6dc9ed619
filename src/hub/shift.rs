//! The shift of a flow, from its keys and from μ.

use crate::error::Error;
use crate::flow::Flow;
use crate::hub::json::{config_error, few_digits};
use crate::hub::read::Reader;

/// `time_shift_type`: the factor of a dynamic shift, as a function of μ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DynamicType {
    /// e^μ.
    Exponential,
    /// μ.
    Linear,
}

impl DynamicType {
    pub(super) const NAMES: [(&str, Self); 2] = [("exponential", Self::Exponential), ("linear", Self::Linear)];

    /// This flow, shifted by μ.
    pub(super) fn shifted(self, flow: Flow, mu: f64) -> Result<Flow, Error> {
        match self {
            Self::Exponential => flow.shifted_exponentially(mu),
            Self::Linear => flow.shifted(mu),
        }
        .map_err(|error| config_error("mu", &few_digits(mu), format!("gives no valid shift: {error}")))
    }

    /// The factor of the shift by μ.
    pub(super) fn factor(self, mu: f64) -> Result<f64, Error> {
        Ok(self.shifted(Flow::default(), mu)?.shift())
    }
}

/// `shift` or `flow_shift`.
pub(super) fn read_static(reader: &mut Reader<'_>, key: &'static str) -> Result<f64, Error> {
    reader.number(key, 1.0, |shift| (1e-6..=1e6).contains(&shift), "is not inside [1e-6, 1e6]")
}

/// `shift_terminal`; 0 is the same as none.
pub(super) fn read_terminal(reader: &mut Reader<'_>) -> Result<Option<f64>, Error> {
    let holds = |terminal: f64| terminal == 0.0 || (1e-6..1.0).contains(&terminal);
    let terminal = reader.optional("shift_terminal", holds, "is neither 0 nor inside [1e-6, 1)")?;
    Ok(terminal.filter(|terminal| *terminal > 0.0))
}

/// The error of a run without the μ that a dynamic shift needs.
pub(super) fn needs_mu(or: &str) -> Error {
    config_error("use_dynamic_shifting", "true", format!("needs a μ: pass Run::mu{or}"))
}

//! The tables that Python makes of a configuration.

use crate::compat::Tables;
use crate::error::Error;
use crate::hub::json::Entry;
use crate::hub::{SchedulerConfig, config_error};

impl SchedulerConfig {
    /// The `f32` tables that Python makes of this configuration, for [`compat`](crate::compat); [`SchedulerConfig::schedule`] is the
    /// exact one.
    ///
    /// # Errors
    /// Those of [`Tables`]; none for the configurations of released models.
    ///
    /// ```
    /// use alphabar::{Ddim, Plan, compat, hub::SchedulerConfig};
    ///
    /// let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}"#)?;
    /// // What Python would have drawn from the same noise.
    /// let (schedule, tau) = (config.python_tables()?.schedule()?, config.timesteps(20)?);
    /// let builder = Plan::builder(&schedule, &tau).prediction(config.prediction()).threshold(config.threshold());
    /// let plan = compat::ddim(&builder, 20, &Ddim::deterministic())?;
    /// # Ok::<(), alphabar::Error>(())
    /// ```
    pub fn python_tables(&self) -> Result<Tables, Error> {
        let (defaults, total) = (self.class.defaults(), self.schedule.len());
        let given = |key: &'static str| self.entries.get(key).map(|text| Entry { key, text });
        let end = |key, default| given(key).map_or(Ok(default), |entry| entry.number());
        let tables = if let Some(betas) = given("trained_betas").filter(|entry| !entry.is_null()) {
            Tables::from_betas(betas.numbers()?)
        } else {
            let family = match given("beta_schedule") {
                Some(entry) => entry.word()?,
                None => defaults.beta_schedule.to_owned(),
            };
            let ends = (|| Ok((end("beta_start", defaults.beta_start)?, end("beta_end", defaults.beta_end)?)))();
            match family.as_str() {
                "linear" => ends.and_then(|(start, end)| Tables::linear(total, start, end)),
                "scaled_linear" => ends.and_then(|(start, end)| Tables::scaled_linear(total, start, end)),
                "sigmoid" => ends.and_then(|(start, end)| Tables::sigmoid(total, start, end)),
                "squaredcos_cap_v2" => Tables::cosine(total),
                "laplace" => Tables::laplace(total),
                _ => return Err(config_error("beta_schedule", &family, "has no table")),
            }
        }?;
        let rescaled = given("rescale_betas_zero_snr").map_or(Ok(false), |entry| entry.flag())?;
        if rescaled { tables.rescale_zero_terminal_snr() } else { Ok(tables) }
    }
}

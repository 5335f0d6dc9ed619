//! EDM networks, including Stable Audio: Euler and DPM-Solver++.
//!
//! `scale_model_input` of diffusers is the input scale of a plan's steps here. `s_churn`, `s_tmin`, `s_tmax` and `s_noise`, arguments of
//! `step()` in diffusers, are [`Path::churned`].

use crate::coefficients::Threshold;
use crate::compat::multistep::{ThirdForm, ThirdOrder};
use crate::compat::{EdmEnd, EdmSigmas, Precision};
use crate::edm::{Edm, SigmaTime};
use crate::error::Error;
use crate::hub::json::config_error;
use crate::hub::multistep::method::{euler_at_final, final_order, interpolation_and_end};
use crate::hub::read::Reader;
use crate::hub::run::{Argument, Calls, Route, Run};
use crate::hub::{Difference, Quirk, SchedulerClass};
use crate::path::{Path, Process};
use crate::prediction::{Prediction, SigmaData};
use crate::solver::{DpmSolverPp, Euler, Interpolation, Orders};
use crate::spacing;

/// The settings of these classes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::hub) struct Settings {
    edm: Edm,
    sigma_max: f64,
    sigma_min: f64,
    /// ρ of Karras's spacing; if `None`, ln σ is spaced evenly.
    rho: Option<f64>,
    /// `final_sigmas_type` = `sigma_min`.
    ends_at_min: bool,
    prediction: Prediction,
    threshold: Threshold,
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Euler,
    Multistep(Multistep),
}

/// DPM-Solver++.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Multistep {
    order: usize,
    stochastic: bool,
    /// `solver_type`, for steps of order 2.
    interpolation: Interpolation,
    lower_order_final: bool,
    euler_at_final: bool,
}

static SIGMA_MIN: Quirk = Quirk {
    key: "final_sigmas_type",
    here: "S + 1 values of σ are spaced, and the last, σ_min, is the end of the path",
    diffusers: "spaces S values, so that the last call, at σ_min, changes nothing",
    by: 4.7,
    in_compat: true,
};

static SINGLE: Quirk = Quirk {
    key: "sigma_schedule",
    here: "a single call is made at σ_max",
    diffusers: "makes it at σ_min if the schedule is exponential",
    by: 1.0,
    in_compat: true,
};

static THIRD_ORDER: Quirk = Quirk {
    key: "solver_order",
    here: "the third order is exact",
    diffusers: "gives the second difference half of its weight, so that steps are of order 2",
    by: 0.34,
    in_compat: true,
};

impl Settings {
    pub(in crate::hub) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let cosine = reader.class == SchedulerClass::CosineDpmSolverMultistep;
        let (ends, data) = if cosine { ([500.0, 0.3], 1.0) } else { ([80.0, 0.002], 0.5) };
        let [sigma_max, sigma_min] = reader.sigma_ends(ends)?;
        let data =
            reader.number("sigma_data", data, |data| (1e-6..=1e6).contains(&data), "is not inside [1e-6, 1e6]")?;
        let karras = reader.choice("sigma_schedule", !cosine, &[("karras", true), ("exponential", false)])?;
        let rho = if karras {
            Some(reader.number(
                "rho",
                spacing::KARRAS_RHO,
                |rho| rho > 0.0 && rho <= 100.0,
                "is not inside (0, 100]",
            )?)
        } else {
            reader.quirk(&SINGLE);
            None
        };
        let ends_at_min = reader.choice("final_sigmas_type", false, &[("zero", false), ("sigma_min", true)])?;
        if ends_at_min {
            reader.quirk(&SIGMA_MIN);
        }
        let velocity = reader.choice("prediction_type", cosine, &[("epsilon", false), ("v_prediction", true)])?;
        let edm = Edm::new(sigma_max, sigma_min, data)?;
        let sigma_data = SigmaData::new(data)?;
        let method = match reader.class {
            SchedulerClass::EdmEuler => Method::Euler,
            _ => Method::Multistep(multistep(reader, cosine, ends_at_min)?),
        };
        Ok(Self {
            edm: edm.with_time(if cosine { SigmaTime::Arctan } else { SigmaTime::QuarterLog }),
            sigma_max,
            sigma_min,
            rho,
            ends_at_min,
            prediction: if velocity { Prediction::EdmVelocity { sigma_data } } else { Prediction::Edm { sigma_data } },
            threshold: reader.threshold()?,
            method,
        })
    }

    pub(in crate::hub) fn prediction(&self) -> Prediction {
        self.prediction
    }

    pub(in crate::hub) fn threshold(&self) -> Threshold {
        self.threshold
    }

    pub(in crate::hub) fn route(&self, run: &Run<'_>) -> Result<Route, Error> {
        let imitates = run.config.imitates;
        let path = match imitates {
            None => self.path(run)?,
            Some(precision) => self.path_of_diffusers(run, precision)?,
        };
        let first = match imitates {
            None => path.points().first().map_or(self.sigma_max, |point| point.level.sigma()),
            Some(_) => self.sigma_max,
        };
        let route = match self.method {
            Method::Euler => Route::new(path, Euler),
            Method::Multistep(method) => method.route(path, run)?,
        };
        // init_noise_sigma
        Ok(Route { noise_scale: libm::hypot(first, 1.0), ..route })
    }

    fn path(&self, run: &Run<'_>) -> Result<Path, Error> {
        if let Calls::Sigmas(sigmas) = &run.calls {
            return self.path_through(sigmas);
        }
        let steps = run.steps()?;
        let spaced = |steps| match self.rho {
            Some(rho) => spacing::karras(steps, self.sigma_max, self.sigma_min, rho),
            None => spacing::exponential(steps, self.sigma_max, self.sigma_min),
        };
        if !self.ends_at_min {
            return Path::from_sigmas(&self.edm, spaced(steps)?);
        }
        let sigmas = spaced(steps.saturating_add(1))?;
        Path::from_sigmas(&self.edm, sigmas.into_iter().take(steps))?.ending_at(self.edm.at_sigma(self.sigma_min)?)
    }

    /// The path through these σ. With `final_sigmas_type` = `sigma_min` it ends at σ_min, unless the list ends in 0.
    fn path_through(&self, sigmas: &[f64]) -> Result<Path, Error> {
        if !self.ends_at_min || sigmas.last() == Some(&0.0) {
            return Path::from_sigmas(&self.edm, sigmas.iter().copied());
        }
        let above = match sigmas.split_last() {
            Some((last, above)) if *last == self.sigma_min => above,
            _ => sigmas,
        };
        Path::from_sigmas(&self.edm, above.iter().copied())?.ending_at(self.edm.at_sigma(self.sigma_min)?)
    }

    /// Whether a run may pass a list of σ.
    pub(in crate::hub) fn takes_sigmas(&self) -> bool {
        self.method == Method::Euler
    }

    fn path_of_diffusers(&self, run: &Run<'_>, precision: Precision) -> Result<Path, Error> {
        if let Calls::Sigmas(_) = run.calls {
            let reason =
                "are positions between σ_max and σ_min in diffusers, not σ; pass the number of steps with compat()";
            return Err(run.refused(Argument::Sigmas, reason));
        }
        let at_end = if self.method == Method::Euler { EdmEnd::Last } else { EdmEnd::Min };
        let (max, min, rho) = (self.sigma_max, self.sigma_min, self.rho);
        let end = self.ends_at_min.then_some(at_end);
        EdmSigmas { max, min, rho, end, precision }.path(run.steps()?, &self.edm)
    }
}

fn multistep(reader: &mut Reader<'_>, cosine: bool, ends_at_min: bool) -> Result<Multistep, Error> {
    let order = reader.count("solver_order", 2, 1, 3)?;
    let own = [("dpmsolver++", false), ("sde-dpmsolver++", true)];
    let is_sde = reader.choice_or_foreign("algorithm_type", &own, &["deis"])?;
    let names_deis =
        reader.given("algorithm_type").and_then(|entry| entry.word().ok()).is_some_and(|word| word == "deis");
    if names_deis && !ends_at_min {
        let reason = "is read as dpmsolver++, and needs final_sigmas_type = sigma_min as in diffusers";
        return Err(config_error("algorithm_type", "deis", reason));
    }
    let stochastic = cosine || is_sde;
    let (interpolation, lower_order_final) = interpolation_and_end(reader, order, true)?;
    if order == 3 {
        if stochastic {
            reader.differs(Difference::ThirdOrderWithNoise);
        } else {
            reader.quirk(&THIRD_ORDER);
        }
    }
    let euler_at_final = euler_at_final(reader, order, ends_at_min)?;
    Ok(Multistep { order, stochastic, interpolation, lower_order_final, euler_at_final })
}

impl Multistep {
    fn route(self, path: Path, run: &Run<'_>) -> Result<Route, Error> {
        let steps = path.len();
        let last = final_order(self.lower_order_final, self.euler_at_final, steps);
        let orders = Orders::new(self.order)?.ending(last);
        let solver = DpmSolverPp::multistep(self.order)?.orders(orders.clone()).interpolation(self.interpolation);
        let solver = solver.stochastic(if self.stochastic { 1.0 } else { 0.0 })?;
        if self.order == 3 && run.config.imitates.is_some() {
            let last = if path.end().is_clean() { steps.saturating_sub(1) } else { steps };
            if self.stochastic && (0..last).any(|step| orders.at(step, steps) == 3) {
                let reason =
                    "has no SDE step in diffusers, which fails when it needs one; use order 2, or leave compat() out";
                return Err(config_error("solver_order", "3", reason));
            }
            return Ok(Route::new(path, ThirdOrder { solver, form: ThirdForm::Data }));
        }
        Ok(Route::new(path, solver))
    }
}

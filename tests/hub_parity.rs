//! The hub's configurations against what Python's diffusers 0.42.1 makes of the same files: `tests/parity/hub.json`, recorded by
//! `tests/parity/hub_parity.py` from `tests/data`. `tests/parity/README.md` explains the records.
//!
//! Every run is compared: along its own τ with our plan, elsewhere with the one that `compat` makes; in f64 with the run that
//! diffusers' code makes on tables in f64, in f32 with its own.
//!
//! `cargo test --features hub --test hub_parity -- --nocapture` prints the largest deviation of each comparison.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/parity.rs"]
mod parity;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alphabar::hub::{SchedulerClass, SchedulerConfig};
use alphabar::{Ddim, Ddpm, Error, Lint, NoiseSchedule, Plan, PlanBuilder, Step, Tensor, Timesteps, Variance, compat};
use ndarray::{ArrayD, Axis, IxDyn, concatenate};
use serde_json::Value;

use crate::parity::{
    F32, F64, Float, START, Worst, count, deviation, flag, load, model, number, numbers, read, text, z,
};

static RECORDS: LazyLock<Vec<Value>> = LazyLock::new(|| load("tests/parity/hub.json"));

/// The elements of x that are recorded.
const KEPT: [usize; 4] = [0, 4, 6, 9];

struct Run {
    record: &'static Value,
    config: SchedulerConfig,
}

impl Run {
    fn all() -> Vec<Self> {
        RECORDS.iter().filter(|record| record["kind"] == "run").map(Self::new).collect()
    }

    /// Those that Python ends.
    fn ended() -> impl Iterator<Item = Self> {
        Self::all().into_iter().filter(|run| run.record["x"].is_array())
    }

    /// `CLASS.from_config(config, timestep_spacing=…)`.
    fn new(record: &'static Value) -> Self {
        let mut json: Value =
            serde_json::from_str(&read(&format!("tests/data/{}.json", text(record, "config")))).unwrap();
        json["timestep_spacing"] = record["spacing"].clone();
        let class = match text(record, "scheduler") {
            "DDIM" => SchedulerClass::Ddim,
            "DDPM" => SchedulerClass::Ddpm,
            "DDIMInverse" => SchedulerClass::DdimInverse,
            other => panic!("{other}"),
        };
        let config = SchedulerConfig::from_json(&json.to_string()).unwrap().with_class(class).unwrap();
        Self { record, config }
    }

    fn id(&self) -> String {
        let [config, scheduler, spacing] = ["config", "scheduler", "spacing"].map(|key| text(self.record, key));
        format!("{config}, {scheduler}, {spacing}, S = {}, η = {}", self.steps(), self.record["eta"])
    }

    fn steps(&self) -> usize {
        count(self.record, "steps")
    }

    fn class(&self) -> SchedulerClass {
        self.config.class()
    }

    fn rescales(&self) -> bool {
        self.config.schedule().levels().last().unwrap().is_pure_noise()
    }

    fn follows_own_tau(&self) -> bool {
        flag(self.record, "follows") && !self.starts_at_zero()
    }

    /// A single "linspace" step.
    fn starts_at_zero(&self) -> bool {
        self.record["starts_at"] == 0 && self.record["spacing"] == "linspace"
    }

    fn tau(&self) -> Timesteps {
        self.config.timesteps(self.steps()).unwrap()
    }

    fn ddim(&self) -> Ddim {
        Ddim::new(number(&self.record["eta"])).unwrap()
    }

    /// Ours.
    fn plan(&self) -> Plan {
        let tau = self.tau();
        let builder = self.config.plan_builder(&tau);
        if self.class() == SchedulerClass::Ddim {
            builder.build(&self.ddim())
        } else {
            builder.build(&self.config.solver())
        }
        .unwrap()
    }

    /// Python's, on the schedule given.
    fn compat_plan(&self, schedule: &NoiseSchedule) -> Plan {
        let mut tau = self.tau();
        if self.starts_at_zero() {
            tau = Timesteps::explicit(schedule.len(), [0]).unwrap().ending(self.config.end());
        }
        let builder: PlanBuilder<'_> =
            Plan::builder(schedule, &tau).prediction(self.config.prediction()).threshold(self.config.threshold());
        match self.class() {
            SchedulerClass::Ddim => compat::ddim(&builder, self.steps(), &self.ddim()),
            SchedulerClass::DdimInverse => compat::ddim_inverse(&builder, self.steps()),
            _ => compat::ddpm(&builder, &Ddpm::new(self.config.variance())),
        }
        .unwrap()
    }

    /// The recorded elements of x after the last step.
    fn x<E: Float>(&self, steps: &[Step]) -> Vec<f64>
    where
        ArrayD<E>: Tensor,
    {
        let dynamic = matches!(self.config.threshold(), alphabar::Threshold::Dynamic { .. });
        let shape = IxDyn(if dynamic { &[2, 6, 1] } else { &[2, 6] });
        let tensor = |values: Vec<f64>| {
            ArrayD::from_shape_vec(shape.clone(), values.into_iter().map(E::from_f64).collect()).unwrap()
        };
        let mut x = tensor(START.to_vec());
        for (k, step) in steps.iter().enumerate() {
            let mut m = model(&x, step.t);
            if step.learned_noise.is_some() {
                // v(t, e) = ((t + e) mod 5 − 2)/2
                let v = tensor((0..12).map(|e| (((step.t + e) % 5) as f64 - 2.0) / 2.0).collect());
                m = concatenate(Axis(1), &[m.view(), v.view()]).unwrap();
            }
            let noise = step.needs_noise().then(|| tensor(z(k)));
            x = step.apply(x, m, noise.as_ref()).unwrap();
        }
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        KEPT.map(|e| x[e]).to_vec()
    }

    fn recorded(&self, key: &str) -> Vec<f64> {
        numbers(&self.record[key])
    }
}

fn finite(x: &[f64]) -> bool {
    x.iter().all(|x| x.is_finite())
}

#[test]
fn the_records_are_what_this_file_takes_them_for() {
    let meta = &RECORDS[0];
    assert_eq!(numbers(&meta["kept"]), KEPT.map(|e| e as f64));
    assert_eq!(meta["predicted_variance"], "v(t, e) = ((t + e) mod 5 - 2)/2");
    assert_eq!(meta["versions"]["diffusers"], "0.42.1");
    let mut kinds = BTreeMap::new();
    for run in Run::all() {
        let kind = if run.record["error"].is_string() {
            "error"
        } else if run.record["x"].is_null() {
            "starts at t = −1"
        } else if run.follows_own_tau() {
            "along its τ"
        } else {
            "elsewhere"
        };
        *kinds.entry((text(run.record, "scheduler"), kind)).or_insert(0) += 1;
    }
    println!("{kinds:?}");
}

/// DDPM's last noise, where the list ends above t = 0, is asserted below and left to `compat` here.
#[test]
fn runs_along_their_own_tau_are_the_recorded_ones() {
    let (mut wide, mut narrow, mut own) =
        (Worst::of("runs in f64"), Worst::of("runs in f32"), Worst::of("our runs in f32 against f64"));
    for run in Run::ended().filter(Run::follows_own_tau) {
        let ours = run.plan();
        let python = run.compat_plan(run.config.schedule());
        if run.class() == SchedulerClass::Ddpm {
            let (last, before) = ours.steps().split_last().unwrap();
            assert_eq!(before, &python.steps()[..before.len()], "{}", run.id());
            assert_eq!((last.coefficients.d, last.to.is_clean()), (0.0, true), "{}", run.id());
            let noisy = python.steps().last().unwrap();
            assert_eq!(noisy.needs_noise(), last.t > 0, "{}", run.id());
            assert_eq!(noisy == last, last.t == 0, "{}", run.id());
        } else {
            assert_eq!(ours.steps(), python.steps(), "{}", run.id());
        }
        let exact = run.recorded("x_f64");
        if finite(&exact) {
            wide.see(deviation(&run.x::<f64>(python.steps()), &exact), F64, &run.id());
            own.see(deviation(&run.x::<f32>(python.steps()), &exact), 1.0, &run.id());
        }
        let theirs = run.recorded("x");
        if finite(&theirs) && number(&run.record["f32_off"]) <= F32 {
            narrow.see(deviation(&run.x::<f32>(python.steps()), &theirs), 1.0, &run.id());
        }
    }
    wide.report(0);
    narrow.report(0);
    own.report(0);
}

//! What the tests of the hub's classes share: the runs that `tests/parity/classes.py` recorded of diffusers, and ours beside them.
//!
//! `cargo test --features hub --test recorded classes -- --nocapture` prints the largest deviation of each class.

use std::collections::BTreeMap;

use alphabar::compat::Precision;
use alphabar::hub::{Difference, Note, Run, SchedulerConfig};
use alphabar::{Error, NoiseLevel, Plan, State};
use ndarray::{Array, Array3};
use serde_json::{Value, json};

use crate::parity::{Float, deviation, load, number, numbers, text};

/// Of x after every call of a run in `f64`, through `compat_in(Precision::F64)`.
pub(crate) const DOUBLE: f64 = 1e-6;
/// Of x after the last call of a run in `f32`, through `compat()`.
pub(crate) const SINGLE: f64 = 1e-5;
/// Up to here the default is as good as diffusers': another rounding of another table.
pub(crate) const SAME: f64 = 1e-6;

const ELEMENTS: usize = 3;

/// A recorded run.
pub(crate) struct Recorded {
    record: Value,
}

/// The largest deviations of a class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deviations {
    pub(crate) runs: usize,
    /// Of `compat` in f64, over all calls.
    pub(crate) double: f64,
    /// Of `compat` in f32, after the last call.
    pub(crate) single: f64,
    /// Of the default, over all calls, in runs of more than one step.
    pub(crate) default: f64,
}

/// The name of an output, which distinguishes runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Free,
    Linear,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Free, Self::Linear];

    fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Linear => "linear",
        }
    }
}

impl Recorded {
    /// The runs of a group.
    pub(crate) fn all(group: &str) -> Vec<Self> {
        load(&format!("tests/parity/classes_{group}.json")).into_iter().map(|record| Self { record }).collect()
    }

    pub(crate) fn class(&self) -> &str {
        text(&self.record, "class")
    }

    /// What diffusers raised.
    pub(crate) fn error(&self) -> Option<&str> {
        self.record["error"].as_str()
    }

    /// Whether diffusers returned numbers.
    pub(crate) fn is_finite(&self) -> bool {
        self.error().is_none()
            && Kind::ALL.iter().all(|kind| {
                let xs = self.record[kind.name()].as_array().unwrap();
                let last = &self.record[&format!("{}_f32", kind.name())];
                xs.iter().chain([last]).all(|x| numbers(x).iter().all(|x| x.is_finite()))
            })
    }

    /// Whether the run has a test of its own instead.
    pub(crate) fn is_apart(&self) -> bool {
        self.record.get("apart").is_some()
    }

    /// What a run in `f32` may deviate by: more than others where diffusers' own rounding is larger, as its spec explains.
    pub(crate) fn f32_bound(&self) -> f64 {
        self.record.get("f32_bound").map_or(SINGLE, number)
    }

    pub(crate) fn id(&self) -> String {
        let Value::Object(record) = &self.record else { panic!("no record") };
        let part = |key: &str| record.get(key).map(Value::to_string).unwrap_or_default();
        format!("{} {} {} {}", text(&self.record, "id"), self.class(), part("config"), part("run"))
    }

    pub(crate) fn config(&self) -> Result<SchedulerConfig, Error> {
        let mut config = self.record.get("config").cloned().unwrap_or(json!({}));
        config["_class_name"] = self.record["class"].clone();
        SchedulerConfig::from_json(&config.to_string())
    }

    /// The call of a pipeline.
    pub(crate) fn run<'a>(&self, config: &'a SchedulerConfig) -> Run<'a> {
        let arguments = &self.record["run"];
        let list = |key: &str| arguments.get(key).filter(|list| list.is_array()).map(numbers);
        let mut run = match (list("sigmas"), list("timesteps")) {
            (Some(sigmas), _) => config.run_through_sigmas(sigmas),
            (None, Some(times)) => config.run_through_times(times),
            (None, None) => config.run(arguments["steps"].as_u64().unwrap() as usize),
        };
        if let Some(mu) = arguments.get("mu") {
            run = run.mu(number(mu));
        }
        if let Some(eta) = arguments.get("eta") {
            run = run.eta(number(eta));
        }
        if let Some(strength) = arguments.get("strength") {
            run = run.strength(number(strength));
        }
        run
    }

    /// What a unit of diffusers' x is in the scale of a level.
    fn unit(&self, level: &NoiseLevel) -> f64 {
        match text(&self.record, "scale") {
            "vp" => level.signal().hypot(level.noise()),
            "ve" => level.signal(),
            "flow" => level.signal() + level.noise(),
            other => panic!("{other}"),
        }
    }

    /// The t that diffusers passes to the network.
    pub(crate) fn times(&self, precision: Precision) -> Vec<f64> {
        match (precision, self.record.get("t_f64")) {
            (Precision::F64, Some(times)) => numbers(times),
            _ => numbers(&self.record["t"]),
        }
    }

    pub(crate) fn init(&self) -> f64 {
        number(&self.record["init"])
    }

    /// x after every call of ours, in diffusers' scale.
    pub(crate) fn follow<E: Float>(&self, plan: &Plan, kind: Kind) -> Result<Vec<Vec<f64>>, Error> {
        let per_thousand = self.record.get("unit").map_or(1000.0, number);
        // Where diffusers has a large σ for pure noise, x is the noise.
        let from = if plan.start().is_pure_noise() { 1.0 } else { self.init() * self.unit(&plan.start()) };
        let row = |of: &dyn Fn(usize) -> f64| -> Array3<E> {
            Array::from_shape_fn((1, ELEMENTS, 1), |(_, e, _)| E::from_f64(of(e)))
        };
        let mut state = State::new(row(&|e| from * start(e)));
        let mut all = Vec::new();
        for step in plan.steps() {
            let m = match kind {
                Kind::Free => row(&|e| free(step.index, e)),
                Kind::Linear => {
                    let fed = state.x()?.mapv(|x| E::from_f64(step.input_scale) * x);
                    let by_time = row(&|e| (step.t / per_thousand - 0.5) / 4.0 * (1.0 + e as f64 / 2.0));
                    fed.mapv(|x| E::from_f64(0.5) * x) + by_time
                }
            };
            let z = row(&|e| noise(step.index, e));
            state.step_given(step, m, Some(&z))?;
            let unit = self.unit(&step.to);
            all.push(state.x()?.iter().map(|x| (*x).to_f64() / unit).collect());
        }
        Ok(all)
    }

    /// The largest deviation of ours, over all calls and both outputs.
    pub(crate) fn double(&self, plan: &Plan) -> f64 {
        let mut worst = 0.0_f64;
        for kind in Kind::ALL {
            let theirs: Vec<Vec<f64>> = self.record[kind.name()].as_array().unwrap().iter().map(numbers).collect();
            let ours = self.follow::<f64>(plan, kind).unwrap();
            if ours.len() != theirs.len() {
                return f64::INFINITY;
            }
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let here = deviation(ours, theirs);
                worst = if here > worst || here.is_nan() { here } else { worst };
            }
        }
        worst
    }

    /// What rounding to `f32` does to ours, after the last call.
    pub(crate) fn rounding(&self, plan: &Plan) -> f64 {
        Kind::ALL.into_iter().fold(0.0, |worst: f64, kind| {
            let [single, double] = [self.follow::<f32>(plan, kind).unwrap(), self.follow::<f64>(plan, kind).unwrap()];
            worst.max(deviation(single.last().unwrap(), double.last().unwrap()))
        })
    }

    /// The deviation of ours in `f32`, after the last call.
    pub(crate) fn single(&self, plan: &Plan) -> f64 {
        Kind::ALL.into_iter().fold(0.0, |worst: f64, kind| {
            if worst.is_nan() {
                return worst;
            }
            let theirs = numbers(&self.record[&format!("{}_f32", kind.name())]);
            let ours = self.follow::<f32>(plan, kind).unwrap();
            let scale = theirs.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
            let here = ours.last().unwrap().iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs() / scale);
            here.fold(worst, |worst, here| if here > worst || here.is_nan() { here } else { worst })
        })
    }
}

fn start(e: usize) -> f64 {
    (((3 * e + 1) % 5) as f64 - 2.0) / 2.0 + 0.25
}

fn free(call: usize, e: usize) -> f64 {
    (((7 * call + 5 * e + 3) % 11) as f64 - 5.0) / 4.0
}

fn noise(call: usize, e: usize) -> f64 {
    (((5 * call + 3 * e + 1) % 7) as f64 - 3.0) / 2.0
}

/// Compares all runs of a group that diffusers ends with finite numbers: `compat` with diffusers, and the default with what its notes say.
/// Returns the largest deviations of each class, and prints them.
pub(crate) fn compare(group: &str) -> BTreeMap<String, Deviations> {
    let mut all: BTreeMap<String, Deviations> = BTreeMap::new();
    let mut failures = Vec::new();
    for recorded in Recorded::all(group).iter().filter(|recorded| recorded.is_finite() && !recorded.is_apart()) {
        let id = recorded.id();
        let default = recorded.config().unwrap_or_else(|error| panic!("{id}: {error}"));
        let [double, single] = [Precision::F64, Precision::F32].map(|precision| default.clone().compat_in(precision));
        if recorded.record.get("refused_here").is_some() {
            let accepted = [&default, &double, &single].into_iter().any(|config| recorded.run(config).plan().is_ok());
            failures.extend(accepted.then(|| format!("is not refused: {id}")));
            continue;
        }
        let of = all.entry(recorded.class().to_owned()).or_default();
        of.runs += 1;
        let mut failed = Vec::new();
        let mut see = |what: &str, worst: &mut f64, found: f64, bound: f64| {
            if !(found <= bound) {
                failed.push(format!("{what}, off by {found:.1e}: {id}"));
            }
            *worst = worst.max(found);
        };
        match recorded.run(&double).plan() {
            Ok(plan) => {
                see("f64", &mut of.double, recorded.double(&plan), DOUBLE);
                let times: Vec<f64> = plan.steps().iter().map(|step| step.t).collect();
                if times.len() == recorded.times(Precision::F64).len() {
                    see("t in f64", &mut 0.0, deviation(&times, &recorded.times(Precision::F64)), DOUBLE);
                }
                let scale = recorded.run(&double).noise_scale().unwrap() / recorded.unit(&plan.start());
                if recorded.record["run"].get("strength").is_none() {
                    see("noise scale", &mut 0.0, (scale / recorded.init() - 1.0).abs(), DOUBLE);
                }
            }
            Err(error) => failures.push(format!("f64, {error}: {id}")),
        }
        match recorded.run(&single).plan() {
            Ok(plan) => see("f32", &mut of.single, recorded.single(&plan), recorded.f32_bound()),
            Err(error) => failures.push(format!("f32, {error}: {id}")),
        }
        failures.extend(failed);
        // A difference from diffusers has a name.
        let differs = match recorded.run(&default).plan() {
            Ok(plan) => recorded.double(&plan),
            Err(_) => f64::INFINITY,
        };
        let of_notes = |note: &Note| match note {
            Note::Differs(Difference::Quirk(quirk)) => Some(quirk.by),
            Note::Differs(_) => Some(f64::INFINITY),
            _ => None,
        };
        let said = default.notes().iter().filter_map(of_notes).fold(SAME, f64::max);
        // With another number of calls than diffusers' there is nothing to compare.
        let is_said = if differs.is_infinite() { said > SAME } else { differs <= 1.1 * said };
        if !is_said {
            failures.push(format!("the default differs by {differs:.1e} and notes say {said:.1e}: {id}"));
        }
        // Of runs with as many calls as diffusers'. A single step of linspace starts at the other end of the table there.
        let counts = differs.is_finite() && recorded.record["run"]["steps"] != 1;
        of.default = if counts { of.default.max(differs) } else { of.default };
    }
    for (class, Deviations { runs, double, single, default }) in &all {
        println!("{class}: {runs} runs; compat f64 {double:.1e}, f32 {single:.1e}; default {default:.1e}");
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    all
}

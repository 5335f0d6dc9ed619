//! The configurations of the Hugging Face Hub against what diffusers 0.42.1 makes of the same files: `tests/parity/hub.json`,
//! recorded by `tests/parity/hub_parity.py` from `tests/data`. `tests/parity/README.md` explains the records.
//!
//! Every run is compared: along its own τ with our plan, elsewhere with the one that `compat` makes; in f64 with the run that
//! diffusers' code makes on tables in f64, in f32 with its own.
//!
//! `cargo test --features hub --test recorded hub_parity -- --nocapture` prints the largest deviation of each comparison.

#![cfg(feature = "hub")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alphabar::hub::{SchedulerClass, SchedulerConfig};
use alphabar::{
    Ddim, Ddpm, Error, Lint, NoiseSchedule, PathEnd, Plan, PlanBuilder, Step, Tensor, Threshold, Timesteps, Variance,
    compat,
};
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

    /// Those that diffusers ends.
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
        self.config.schedule().unwrap().levels().last().unwrap().is_pure_noise()
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
        let builder = self.config.plan_builder(&tau).unwrap();
        if self.class() == SchedulerClass::Ddim {
            builder.build(&self.ddim())
        } else {
            builder.build(&self.config.run(self.steps()).solver().unwrap())
        }
        .unwrap()
    }

    /// diffusers', on the schedule given.
    fn compat_plan(&self, schedule: &NoiseSchedule) -> Plan {
        let mut tau = self.tau();
        if self.starts_at_zero() {
            tau = Timesteps::explicit(schedule.len(), [0]).unwrap().ending(self.config.end().unwrap());
        }
        let builder: PlanBuilder<'_> =
            Plan::builder(schedule, &tau).prediction(self.config.prediction()).threshold(self.config.threshold());
        match self.class() {
            SchedulerClass::Ddim => compat::ddim(&builder, self.steps(), &self.ddim()),
            SchedulerClass::DdimInverse => compat::ddim_inverse(&builder, self.steps()),
            _ => compat::ddpm(&builder, &Ddpm::new(self.config.variance().unwrap())),
        }
        .unwrap()
    }

    /// The steps of diffusers on the schedule given, in exact arithmetic: `compat`'s for DDIM, and for DDPM, whose scalars `compat`
    /// has in f32, ours with the noise of a last step above t = 0.
    fn exact_steps(&self, schedule: &NoiseSchedule) -> Vec<Step> {
        if self.class() != SchedulerClass::Ddpm {
            return self.compat_plan(schedule).steps().to_vec();
        }
        let mut tau = self.tau();
        if self.starts_at_zero() {
            tau = Timesteps::explicit(schedule.len(), [0]).unwrap();
        }
        let variance = self.config.variance().unwrap();
        let builder =
            Plan::builder(schedule, &tau).prediction(self.config.prediction()).threshold(self.config.threshold());
        let mut steps = builder.build(&Ddpm::new(variance)).unwrap().steps().to_vec();
        let last = steps.last_mut().unwrap();
        if last.t > 0.0 {
            // β = 1 − ᾱ_t; β̃ = 0, clamped to 1e-20; and σ = (β·β̃)^¼·(β/β̃)^(v/4).
            let beta = last.from.one_minus_alpha_bar();
            (last.coefficients.d, last.learned_noise) = match variance {
                Variance::Posterior => (1e-10, None),
                Variance::Beta => (beta.sqrt(), None),
                Variance::LearnedRange => ((beta * 1e-20).powf(0.25), Some(0.25 * (beta / 1e-20).ln())),
                other => panic!("{other:?}"),
            };
        }
        steps
    }

    /// The recorded elements of x after the last step.
    fn x<E: Float>(&self, steps: &[Step]) -> Vec<f64>
    where
        ArrayD<E>: Tensor,
    {
        let dynamic = matches!(self.config.threshold(), Threshold::Dynamic { .. });
        let shape = IxDyn(if dynamic { &[2, 6, 1] } else { &[2, 6] });
        let tensor = |values: Vec<f64>| {
            ArrayD::from_shape_vec(shape.clone(), values.into_iter().map(E::from_f64).collect()).unwrap()
        };
        let mut x = tensor(START.to_vec());
        for (k, step) in steps.iter().enumerate() {
            let mut m = model(&x, step.t as usize);
            if step.learned_noise.is_some() {
                // v(t, e) = ((t + e) mod 5 − 2)/2
                let v = tensor((0..12).map(|e| (((step.t as usize + e) % 5) as f64 - 2.0) / 2.0).collect());
                m = concatenate(Axis(1), &[m.view(), v.view()]).unwrap();
            }
            let noise = step.needs_noise().then(|| tensor(z(k)));
            x = step.apply(x, m, noise.as_ref()).unwrap();
        }
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        KEPT.map(|e| x[e]).to_vec()
    }

    /// What our f32 may be off from diffusers'. Both are within 1e-5 of f64. Of a few runs of 600 steps and more the two errors add up
    /// to 1.6e-5.
    fn bound_f32(&self) -> f64 {
        if self.steps() < 600 { F32 } else { 2.0 * F32 }
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
    let expected = [
        (("DDIM", "along its τ"), 299),
        (("DDIM", "elsewhere"), 229),
        (("DDIM", "error"), 6),
        (("DDIMInverse", "along its τ"), 99),
        (("DDIMInverse", "elsewhere"), 19),
        (("DDIMInverse", "error"), 3),
        (("DDIMInverse", "starts at t = −1"), 7),
        (("DDPM", "along its τ"), 181),
        (("DDPM", "elsewhere"), 8),
        (("DDPM", "error"), 3),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
}

/// The largest factor of a plan by which x or m, and the rounding errors in them, are multiplied.
fn amplification(steps: &[Step]) -> f64 {
    let factors = steps.iter().flat_map(|step| {
        let k = &step.coefficients;
        if k.threshold == Threshold::None { [k.x, k.model] } else { [k.p, k.q] }
    });
    factors.fold(1.0, |most, factor| most.max(factor.abs()))
}

/// What a comparison in f64 may be off by.
fn bound(run: &Run, steps: &[Step]) -> f64 {
    if run.rescales() && number_or(&run.record["eta"], 0.0) > 0.0 {
        // 1 − ᾱ_s − σ² is 0 at first; diffusers' code has up to a rounding error there, and takes its root.
        return f64::EPSILON.sqrt();
    }
    F64.max(2.0 * f64::EPSILON * amplification(steps))
}

fn number_or(value: &Value, default: f64) -> f64 {
    if value.is_null() { default } else { number(value) }
}

/// DDPM's last noise, where the list ends above t = 0, is `compat`'s; another test is about it.
#[test]
fn runs_along_their_own_tau_are_the_recorded_ones() {
    let (mut wide, mut narrow, mut own) =
        (Worst::of("runs in f64"), Worst::of("runs in f32"), Worst::of("our runs in f32 against f64"));
    for run in Run::ended().filter(Run::follows_own_tau) {
        let python = run.exact_steps(run.config.schedule().unwrap());
        if run.class() != SchedulerClass::Ddpm {
            assert!(run.plan().steps() == python, "{}", run.id());
        }
        let (exact, theirs) = (run.recorded("x_f64"), run.recorded("x"));
        let ours = run.x::<f32>(&python);
        assert!(finite(&ours), "{}", run.id());
        if !finite(&exact) {
            continue;
        }
        wide.see(deviation(&run.x::<f64>(&python), &exact), bound(&run, &python), &run.id());
        own.see(deviation(&ours, &exact), F32, &run.id());
        if number(&run.record["f32_off"]) <= F32 {
            narrow.see(deviation(&ours, &theirs), run.bound_f32(), &run.id());
        }
    }
    wide.report(578);
    narrow.report(529);
    own.report(578);
}

/// Algorithm 2, line 3 (Ho et al. 2020): z = 0 on the step to clean data. And β = 1 − ᾱ_t/ᾱ_s in f32, which cancels.
#[test]
fn ddpm_is_that_of_diffusers_but_for_its_f32_and_the_noise_of_a_last_step_above_zero() {
    let (mut noisy, mut worst) = (0, 0.0_f64);
    for run in Run::ended().filter(|run| run.class() == SchedulerClass::Ddpm && run.follows_own_tau()) {
        let ours = run.plan();
        let python = run.compat_plan(&run.config.diffusers_tables().unwrap().schedule().unwrap());
        assert_eq!(ours.len(), python.len());
        let exact = run.exact_steps(run.config.schedule().unwrap());
        for (ours, theirs) in ours.steps().iter().zip(python.steps()) {
            assert_eq!((ours.index, ours.t, ours.s), (theirs.index, theirs.t, theirs.s), "{}", run.id());
            let (k, n) = (&ours.coefficients, &theirs.coefficients);
            assert_eq!((k.threshold, k.c), (n.threshold, n.c));
            worst = worst.max((k.a - n.a).abs() / k.a).max((k.b - n.b).abs());
            let ends_noisy = ours.to.is_clean() && ours.t > 0.0;
            noisy += usize::from(ends_noisy);
            assert!(!ours.to.is_clean() || !ours.needs_noise(), "{}", run.id());
            assert_eq!(theirs.needs_noise(), ends_noisy || ours.needs_noise(), "{}", run.id());
            let std = exact[ours.index].coefficients.d;
            assert!((n.d - std).abs() <= 2e-3 * std, "{}: {}, not {std}", run.id(), n.d);
        }
    }
    println!("f32 scalars of DDPM: {worst:.1e} from exact ones");
    assert!(worst < 2e-3);
    assert_eq!(noisy, 79);
}

/// diffusers' DDPM in f32, from its scalars on: only the order of the operations on tensors is ours.
#[test]
fn compats_ddpm_is_that_of_diffusers_in_f32() {
    let (mut near, mut far) = (Worst::of("compat's DDPM in f32"), Worst::of("the exact DDPM in f32"));
    for run in Run::ended().filter(|run| run.class() == SchedulerClass::Ddpm) {
        let theirs = run.recorded("x");
        let tables = run.config.diffusers_tables().unwrap().schedule().unwrap();
        // Long runs start where x and m, each rounded, are multiplied by 1/√ᾱ; and rescaled tables are not to the last bit.
        let bound = if run.rescales() { 5e-5 } else { 1.5e-6 * (run.steps() as f64 / 100.0).max(1.0) };
        near.see(deviation(&run.x::<f32>(run.compat_plan(&tables).steps()), &theirs), bound, &run.id());
        far.see(deviation(&run.x::<f32>(&run.exact_steps(&tables)), &theirs), 1.0, &run.id());
    }
    near.report(189);
    assert!(far.value() > 2e-4);
    far.report(189);
}

/// DDIM goes to t − ⌊T/S⌋, whatever its list says, and DDIMInverse comes from there.
#[test]
fn runs_that_leave_their_own_tau_are_compats() {
    let (mut wide, mut narrow) = (Worst::of("runs off their τ in f64"), Worst::of("runs off their τ in f32"));
    let mut apart = (f64::INFINITY, String::new());
    for run in Run::ended().filter(|run| !run.follows_own_tau()) {
        // Ours goes from each entry to the next, and from the last to the end.
        let ours = run.plan();
        assert_eq!(ours.len(), run.steps());
        assert!(ours.steps().windows(2).all(|pair| pair[0].to == pair[1].from), "{}", run.id());
        assert!(!ours.lint().iter().any(|odd| matches!(odd, Lint::Disconnected { .. })), "{}", run.id());
        let python = run.exact_steps(run.config.schedule().unwrap());
        // Where the end is the level of t = 0, a last step from t = 1 to t = 0 goes there.
        let same_level = run.steps() == 600
            && run.config.end().unwrap() == PathEnd::FirstLevel
            && text(run.record, "spacing") == "leading";
        assert!((ours.steps() == python) == same_level, "{}", run.id());
        let (exact, theirs) = (run.recorded("x_f64"), run.recorded("x"));
        let x = run.x::<f32>(&python);
        assert!(finite(&x) && finite(&run.x::<f32>(ours.steps())), "{}", run.id());
        if !finite(&exact) {
            continue;
        }
        let x64 = run.x::<f64>(&python);
        wide.see(deviation(&x64, &exact), bound(&run, &python), &run.id());
        let from_ours = deviation(&run.x::<f64>(ours.steps()), &exact);
        if from_ours < apart.0 && !same_level {
            apart = (from_ours, run.id());
        }
        if number(&run.record["f32_off"]) <= F32 {
            narrow.see(deviation(&x, &theirs), run.bound_f32(), &run.id());
        }
    }
    println!("runs off their τ: at least {:.1e} ({}) from ours", apart.0, apart.1);
    assert!(apart.0 > 5e-6);
    wide.report(253);
    narrow.report(240);
}

/// diffusers' scheduler code in f64 on its own f32 tables, against our steps on [`compat::Tables`].
#[test]
fn compat_on_the_tables_of_python_is_python_to_the_last_digits() {
    let (mut wide, mut rescaled) = (Worst::of("runs on f32 tables in f64"), Worst::of("the same, rescaled tables"));
    for run in Run::ended() {
        let expected = run.recorded("x_f64_of_f32_tables");
        if !finite(&expected) {
            continue;
        }
        let plan = run.exact_steps(&run.config.diffusers_tables().unwrap().schedule().unwrap());
        let off = deviation(&run.x::<f64>(&plan), &expected);
        // torch's square root differs between processors, and with it the rescaled tables.
        if run.rescales() { rescaled.see(off, 1e-4, &run.id()) } else { wide.see(off, bound(&run, &plan), &run.id()) }
    }
    wide.report(734);
    rescaled.report(99);
}

/// 1 − ᾱ_s − σ² below zero in f32 at zero terminal SNR.
#[test]
fn runs_that_are_nan_in_python_are_finite() {
    let mut seen = Vec::new();
    for run in Run::ended().filter(|run| !finite(&run.recorded("x")) || !finite(&run.recorded("x_f64"))) {
        assert!(run.rescales() && run.record["eta"] == 1.0, "{}", run.id());
        let ours = run.plan();
        let (x, x64) = (run.x::<f32>(ours.steps()), run.x::<f64>(ours.steps()));
        assert!(deviation(&x, &x64) <= F32, "{}", run.id());
        seen.push(run.id());
    }
    assert_eq!(seen.len(), 12, "{seen:#?}");
}

#[test]
fn an_offset_past_the_end_is_an_error_at_once() {
    let mut seen = 0;
    for run in Run::all().into_iter().filter(|run| run.record["error"].is_string()) {
        assert!(text(run.record, "error").starts_with("IndexError: index 1000"));
        let error = run.config.timesteps(run.steps()).unwrap_err();
        assert!(matches!(error, Error::LeadingOffset { t: 1000, train_steps: 1000, .. }), "{}: {error}", run.id());
        seen += 1;
    }
    assert_eq!(seen, 12);
}

/// numpy's `arange` has S + 1 entries there, of which one is t = −1: the last of a list that falls, the first of one that rises.
/// Ours has S, in diffusers' order, and is the run before that step.
#[test]
fn a_step_at_minus_one_is_not_taken() {
    let (mut last, mut first, mut apart) = (0, 0, f64::INFINITY);
    for run in Run::all().into_iter().filter(|run| run.record["extra"].is_array()) {
        assert_eq!((run.steps(), text(run.record, "spacing")), (61, "trailing"));
        assert_eq!(run.tau().len(), 61);
        if run.record["x"].is_null() {
            assert_eq!(run.class(), SchedulerClass::DdimInverse);
            first += 1;
        } else {
            // The runs up to there are among those compared above.
            let (before, after) = (run.recorded("x"), run.recorded("extra"));
            if finite(&before) && finite(&after) {
                apart = apart.min(deviation(&before, &after));
            }
            last += 1;
        }
    }
    assert!(apart > 0.4, "the step at t = −1 changes x by {apart}");
    assert_eq!((last, first), (28, 7));
}

#[test]
fn a_single_linspace_step_starts_from_the_noisiest_level() {
    let mut seen = 0;
    for run in Run::ended().filter(Run::starts_at_zero) {
        assert_eq!(run.tau().as_slice(), [run.config.schedule().unwrap().len() - 1], "{}", run.id());
        seen += 1;
    }
    assert_eq!(seen, 32);
}

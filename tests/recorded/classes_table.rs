//! Classes that walk a table of β in t, beside diffusers itself: `tests/parity/classes_table.json`, recorded by
//! `tests/parity/classes.py`.

#![cfg(feature = "hub")]

use alphabar::hub::{Difference, Note, SchedulerConfig};
use alphabar::{
    DpmSolverPp, Error, FinalOrder, Interpolation, Lcm, NoiseSchedule, Orders, PathEnd, Plan, Pndm, Tcd, Timesteps,
};
use serde_json::{Value, json};

use crate::classes::{Recorded, compare};

fn read(config: &Value) -> SchedulerConfig {
    SchedulerConfig::from_json(&config.to_string()).unwrap()
}

#[test]
fn all_runs_meet_python() {
    let all = compare("table");
    assert_eq!(all.values().map(|class| class.runs).sum::<usize>(), 129);
}

/// What diffusers refuses, and what happens here.
#[test]
fn where_python_raises() {
    let mut seen = 0;
    for recorded in Recorded::all("table") {
        let Some(error) = recorded.error() else { continue };
        seen += 1;
        let config = recorded.config().unwrap();
        let [ours, theirs] = [config.clone(), config.compat()].map(|config| recorded.run(&config).plan());
        assert!(theirs.is_err(), "{}", recorded.id());
        match recorded.class() {
            // Fewer than four steps of Runge–Kutta: all of them, and no Adams–Bashforth.
            "PNDMScheduler" if error.contains("broadcast") => {
                assert!(ours.unwrap().len() <= 8, "{}", recorded.id());
            }
            // x̂₀-prediction, which its code does not know.
            "PNDMScheduler" => assert_eq!(ours.unwrap().len(), 9),
            // The stride of a list of one is 1/0.
            "UnCLIPScheduler" => assert_eq!(ours.unwrap().steps()[0].t, 999.0),
            // More steps than the network was distilled for.
            "LCMScheduler" => assert!(matches!(ours, Err(Error::Count { max: 50, .. }))),
            other => panic!("{other}: {error}"),
        }
    }
    assert_eq!(seen, 7);
}

/// Each class is the sampler that its documentation names.
#[test]
fn classes_are_samplers() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 10, 1).unwrap().ending(PathEnd::FirstLevel);
    let sd = |class: &str, key: &str, value: Value| {
        let mut config = json!({"_class_name": class, "beta_start": 0.00085, "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": false});
        config[key] = value;
        read(&config)
    };
    let plms = sd("PNDMScheduler", "skip_prk_steps", json!(true)).plan(10).unwrap();
    assert_eq!(plms, Plan::new(&schedule, &tau, &Pndm::plms()).unwrap());
    let prk = sd("PNDMScheduler", "skip_prk_steps", json!(false)).plan(10).unwrap();
    assert_eq!(prk, Plan::new(&schedule, &tau, &Pndm::with_runge_kutta(alphabar::Middle::Time)).unwrap());

    let lcm = sd("LCMScheduler", "timestep_scaling", json!(5.0)).plan(4).unwrap();
    let tau = Timesteps::explicit(1000, [999, 759, 499, 259]).unwrap();
    assert_eq!(lcm, Plan::new(&schedule, &tau, &Lcm::new(5.0).unwrap()).unwrap());
    let tcd = sd("TCDScheduler", "set_alpha_to_one", json!(true));
    let tau = tau.ending(PathEnd::FirstLevel);
    for (gamma, plan) in [(0.3, tcd.plan(4).unwrap()), (0.8, tcd.run(4).eta(0.8).plan().unwrap())] {
        assert_eq!(plan, Plan::new(&schedule, &tau, &Tcd::new(gamma, &schedule).unwrap()).unwrap());
    }

    let cog = sd("CogVideoXDPMScheduler", "snr_shift_scale", json!(1.0)).plan(10).unwrap();
    let orders = Orders::new(2).unwrap().ending(FinalOrder::FirstAtLast);
    let sde = DpmSolverPp::multistep(2).unwrap().orders(orders).interpolation(Interpolation::Midpoint);
    let tau = Timesteps::leading(1000, 10, 1).unwrap().ending(PathEnd::FirstLevel);
    assert_eq!(cog, Plan::new(&schedule, &tau, &sde.stochastic(1.0).unwrap()).unwrap());
}

/// Arguments that a class does not take are refused by their name, and never dropped.
#[test]
fn arguments_that_a_class_does_not_take() {
    let names = |run: Result<Plan, Error>, name: &str| match run {
        Err(Error::Config { key, .. }) => assert_eq!(key, name),
        other => panic!("{name}: {other:?}"),
    };
    let class = |name: &str| read(&json!({ "_class_name": name }));
    let ddpm = class("DDPMScheduler");
    names(ddpm.run(10).eta(0.5).plan(), "eta");
    names(ddpm.run(10).mu(0.5).plan(), "mu");
    names(ddpm.run(10).tokens(4096).plan(), "tokens");
    names(ddpm.run_through_sigmas([1.0, 0.5]).plan(), "sigmas");
    names(class("CogVideoXDPMScheduler").run(10).eta(0.5).plan(), "eta");
    // Its code takes η and does not look at it.
    names(class("CogVideoXDDIMScheduler").compat().run(10).eta(0.5).plan(), "eta");
    assert!(class("CogVideoXDDIMScheduler").run(10).eta(0.5).plan().is_ok());
    // PNDM's list of calls is cut in its middle.
    let pndm = read(&json!({"_class_name": "PNDMScheduler", "skip_prk_steps": true}));
    names(pndm.clone().compat().run(20).strength(0.5).plan(), "strength");
    assert_eq!(pndm.run(20).strength(0.5).plan().unwrap().len(), 11);
    assert!(matches!(ddpm.run(20).strength(1.5).plan(), Err(Error::Parameter { .. })));
    // The strength of a distilled class shortens the list that S steps are taken from, and a list of t is taken from none.
    for name in ["LCMScheduler", "TCDScheduler"] {
        names(class(name).run_through_times([999.0, 499.0]).strength(0.5).plan(), "strength");
    }
    let error = ddpm.run(10).eta(0.5).plan().unwrap_err().to_string();
    assert!(error.starts_with("eta = 0.5 is not an argument of DDPMScheduler; "), "{error}");
}

/// The departures of PNDM are noted where they are met.
#[test]
fn notes_of_pndm() {
    let notes = |config: Value| {
        let notes = read(&config).notes().to_vec();
        let quirk = |note: &Note| match note {
            Note::Differs(Difference::Quirk(quirk)) => Some(quirk.key),
            _ => None,
        };
        notes.iter().filter_map(quirk).collect::<Vec<_>>()
    };
    let pndm = |key: &str, value: Value| {
        let mut config = json!({"_class_name": "PNDMScheduler", "skip_prk_steps": true});
        config[key] = value;
        notes(config)
    };
    assert_eq!(pndm("prediction_type", json!("epsilon")), [""; 0]);
    assert_eq!(pndm("prediction_type", json!("v_prediction")), ["prediction_type"]);
    assert_eq!(pndm("set_alpha_to_one", json!(true)), ["set_alpha_to_one"]);
    assert_eq!(pndm("skip_prk_steps", json!(false)), ["skip_prk_steps"]);
}

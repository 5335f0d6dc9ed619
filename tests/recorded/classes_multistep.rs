//! Classes of diffusers beside diffusers itself: `tests/parity/classes_multistep.json`, recorded by `tests/parity/classes.py`.

#![cfg(feature = "hub")]

use std::collections::BTreeMap;

use alphabar::compat::Precision;
use alphabar::hub::{Difference, Ignored, Note, Quirk, Run, SchedulerClass, SchedulerConfig};
use alphabar::{
    Conditioning, Deis, Direction, DpmSolverPp, Error, FinalOrder, Flow, FlowTime, NoiseSchedule, Orders, Path,
    PathEnd, Plan, Prediction, SaSolver, Tau, Timesteps, UniPc,
};

use crate::classes::{Recorded, compare};

const GROUP: &str = "multistep";
const MULTI: &str = "DPMSolverMultistepScheduler";
const INVERSE: &str = "DPMSolverMultistepInverseScheduler";
const SINGLE: &str = "DPMSolverSinglestepScheduler";
const DEIS: &str = "DEISMultistepScheduler";
const UNIPC: &str = "UniPCMultistepScheduler";
const SA: &str = "SASolverScheduler";
const CLASSES: [&str; 6] = [MULTI, INVERSE, SINGLE, DEIS, UNIPC, SA];
const SD: &str = r#""beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear""#;

fn read(class: &str, keys: &str) -> Result<SchedulerConfig, Error> {
    let comma = if keys.is_empty() { "" } else { ", " };
    SchedulerConfig::from_json(&format!(r#"{{"_class_name": "{class}"{comma}{keys}}}"#))
}

fn config(class: &str, keys: &str) -> SchedulerConfig {
    read(class, keys).unwrap_or_else(|error| panic!("{class} {keys}: {error}"))
}

fn quirks(config: &SchedulerConfig) -> Vec<&'static Quirk> {
    let quirk = |note: &Note| match note {
        Note::Differs(Difference::Quirk(quirk)) => Some(*quirk),
        _ => None,
    };
    config.notes().iter().filter_map(quirk).collect()
}

#[test]
fn all_runs_meet_python() {
    let all = compare(GROUP);
    assert_eq!(all.len(), CLASSES.len());
    assert!(all.values().all(|class| class.runs >= 20));
}

/// A bound of its own is for diffusers' rounding: the same plan in f32 and in f64 differs less than the common bound.
#[test]
fn other_bounds_in_f32_are_for_pythons_rounding() {
    let all = Recorded::all(GROUP);
    let own: Vec<_> = all.iter().filter(|recorded| recorded.f32_bound() != crate::classes::SINGLE).collect();
    assert_eq!(own.len(), 5);
    for recorded in own {
        let config = recorded.config().unwrap().compat();
        let ours = recorded.rounding(&recorded.run(&config).plan().unwrap());
        assert!(ours < crate::classes::SINGLE, "{ours:.1e}: {}", recorded.id());
    }
}

/// What a quirk tells of its difference is measured: no run differs by more than its quirks tell together, and no quirk tells more than
/// the runs with it differ, nor less than those with it alone.
#[test]
fn quirks_tell_what_they_change() {
    let mut worst: BTreeMap<(&str, &str), (f64, f64, f64)> = BTreeMap::new();
    for recorded in Recorded::all(GROUP).iter().filter(|recorded| recorded.is_finite()) {
        let Ok(config) = recorded.config() else { continue };
        let Ok(plan) = recorded.run(&config).plan() else { continue };
        let (quirks, differs) = (quirks(&config), recorded.double(&plan));
        if !differs.is_finite() {
            continue;
        }
        for quirk in &quirks {
            let (_, with, alone) = worst.entry((quirk.key, quirk.diffusers)).or_insert((quirk.by, 0.0, 0.0));
            *with = with.max(differs);
            *alone = if quirks.len() == 1 { alone.max(differs) } else { *alone };
        }
        let noted: f64 = quirks.iter().map(|quirk| quirk.by).sum();
        let other = config.notes().iter().any(|note| matches!(note, Note::Differs(Difference::ZeroSnrFloor)));
        assert!(
            differs <= 1e-6 || other || differs <= 1.1 * noted,
            "{differs:.1e}, noted {noted:.1e}: {}",
            recorded.id()
        );
    }
    for ((key, diffusers), (by, with, alone)) in &worst {
        println!("{key}: {with:.1e}, alone {alone:.1e}, noted {by:.0e}: {diffusers}");
        assert!(
            by.is_infinite() || (0.9 * alone..=1.1 * with).contains(by),
            "{key}: {with:.1e}, noted {by:.0e}: {diffusers}"
        );
    }
    assert!(worst.len() >= 15);
}

/// What diffusers refuses, returns NaN for, or computes where this crate refuses.
#[test]
fn what_python_has_no_result_for() {
    let outcome = |recorded: &Recorded, config: Result<SchedulerConfig, Error>| match config {
        Err(Error::Config { key, .. }) => format!("no {key}"),
        Err(error) => panic!("{error}"),
        Ok(config) => match recorded.run(&config).plan() {
            Ok(plan) => format!("{} calls", plan.len()),
            Err(Error::Config { key, .. }) => format!("no {key} in this run"),
            Err(error) => panic!("{error}"),
        },
    };
    let all = Recorded::all(GROUP);
    let found = all.iter().filter(|recorded| !recorded.is_finite() || recorded.is_apart()).map(|recorded| {
        let id = recorded.id().replace('"', "");
        let id = id.split_once(' ').map_or(&*id, |(_, id)| id);
        let id = id.replace("beta_end:0.012,beta_schedule:scaled_linear,beta_start:0.00085", "SD");
        let compat = outcome(recorded, recorded.config().map(SchedulerConfig::compat));
        format!("{id}: {}, compat {compat}", outcome(recorded, recorded.config()))
    });
    let found: Vec<String> = found.collect();
    for line in &found {
        println!("        \"{line}\",");
    }
    assert_eq!(found, WITHOUT_RESULT);
}

const WITHOUT_RESULT: [&str; 29] = [
    "DPMSolverMultistepScheduler {beta_schedule:squaredcos_cap_v2,use_karras_sigmas:true} {steps:20}: 20 calls, compat 20 calls",
    "DPMSolverMultistepScheduler {algorithm_type:deis,SD} {steps:5}: 5 calls, compat 5 calls",
    "DPMSolverMultistepScheduler {algorithm_type:sde-dpmsolver,SD,final_sigmas_type:sigma_min,solver_order:3,solver_type:midpoint} {steps:10}: 10 calls, compat no solver_order in this run",
    "DPMSolverMultistepScheduler {algorithm_type:sde-dpmsolver,SD,final_sigmas_type:sigma_min,solver_order:3,solver_type:heun} {steps:10}: 10 calls, compat no solver_order in this run",
    "DPMSolverMultistepScheduler {algorithm_type:dpmsolver,SD} {steps:5}: 5 calls, compat no final_sigmas_type in this run",
    "DPMSolverMultistepScheduler {algorithm_type:sde-dpmsolver,SD} {steps:5}: 5 calls, compat no final_sigmas_type in this run",
    "DPMSolverMultistepScheduler {SD,use_karras_sigmas:true} {timesteps:[981,700,321,41]}: no timesteps in this run, compat no timesteps in this run",
    "DPMSolverMultistepScheduler {prediction_type:flow_prediction,use_flow_sigmas:true} {timesteps:[981,700,321,41]}: no timesteps in this run, compat no timesteps in this run",
    "DPMSolverMultistepScheduler {prediction_type:flow_prediction,use_flow_sigmas:true} {mu:1.15,steps:5}: no mu in this run, compat no mu in this run",
    "DPMSolverMultistepScheduler {algorithm_type:dpmsolver,final_sigmas_type:sigma_min,prediction_type:flow_prediction,use_flow_sigmas:true} {steps:5}: 5 calls, compat 5 calls",
    "DPMSolverMultistepScheduler {prediction_type:flow_prediction,use_flow_sigmas:true,use_karras_sigmas:true} {steps:5}: 5 calls, compat no use_flow_sigmas in this run",
    "DPMSolverMultistepScheduler {prediction_type:v_prediction,use_flow_sigmas:true} {steps:5}: no prediction_type, compat no prediction_type",
    "DPMSolverMultistepScheduler {prediction_type:flow_prediction} {steps:5}: no prediction_type, compat no prediction_type",
    "DPMSolverMultistepScheduler {SD,solver_order:4} {steps:5}: no solver_order, compat no solver_order",
    "DPMSolverMultistepInverseScheduler {algorithm_type:sde-dpmsolver++,SD} {steps:5}: no algorithm_type, compat no algorithm_type",
    "DPMSolverSinglestepScheduler {algorithm_type:dpmsolver,SD} {steps:5}: 5 calls, compat no final_sigmas_type in this run",
    "DPMSolverSinglestepScheduler {algorithm_type:sde-dpmsolver++,SD} {steps:6}: 6 calls, compat no algorithm_type in this run",
    "DPMSolverSinglestepScheduler {algorithm_type:sde-dpmsolver,SD} {steps:5}: no algorithm_type, compat no algorithm_type",
    "DPMSolverSinglestepScheduler {algorithm_type:dpmsolver,SD,final_sigmas_type:sigma_min,sample_max_value:1.5,thresholding:true} {steps:5}: 5 calls, compat 5 calls",
    "UniPCMultistepScheduler {SD,lower_order_final:false,solver_order:3} {steps:5}: 5 calls, compat 5 calls",
    "UniPCMultistepScheduler {SD,solver_type:bh1} {steps:5}: 5 calls, compat 5 calls",
    "UniPCMultistepScheduler {SD,predict_x0:false} {steps:5}: 5 calls, compat 5 calls",
    "UniPCMultistepScheduler {prediction_type:flow_prediction,use_exponential_sigmas:true,use_flow_sigmas:true} {steps:5}: 5 calls, compat no use_flow_sigmas in this run",
    "UniPCMultistepScheduler {prediction_type:flow_prediction,use_beta_sigmas:true,use_flow_sigmas:true} {steps:5}: 5 calls, compat no use_flow_sigmas in this run",
    "UniPCMultistepScheduler {prediction_type:flow_prediction,use_dynamic_shifting:true,use_flow_sigmas:true} {steps:5}: no use_dynamic_shifting in this run, compat no use_dynamic_shifting in this run",
    "UniPCMultistepScheduler {shift_terminal:0.1} {steps:5}: no shift_terminal, compat no shift_terminal",
    "UniPCMultistepScheduler {SD} {sigmas:[1.0,0.75,0.5,0.25]}: no sigmas in this run, compat no sigmas in this run",
    "UniPCMultistepScheduler {final_sigmas_type:sigma_min,predict_x0:false,prediction_type:flow_prediction,use_flow_sigmas:true} {steps:5}: 5 calls, compat 5 calls",
    "SASolverScheduler {algorithm_type:noise_prediction,SD,sample_max_value:1.5,thresholding:true} {steps:5}: 5 calls, compat 5 calls",
];

/// The default is what one writes by hand.
#[test]
fn defaults_are_the_methods_of_this_crate() {
    let sd = NoiseSchedule::stable_diffusion().unwrap();
    let lowered = |order: usize| Orders::new(order).unwrap().ending(FinalOrder::Lowered);
    let steps = |plan: &Plan| plan.steps().to_vec();
    let same = |config: &SchedulerConfig, calls: usize, plan: &Plan| {
        assert_eq!(steps(&config.plan(calls).unwrap()), steps(plan), "{}", config.to_json());
    };

    let karras = Path::karras(&sd, 20).unwrap();
    let by_hand = Plan::along(&karras, &DpmSolverPp::multistep(2).unwrap()).unwrap();
    same(&config(MULTI, &format!(r#"{SD}, "use_karras_sigmas": true"#)), 20, &by_hand);

    let tau = Timesteps::trailing(1000, 10).unwrap().ending(PathEnd::FirstLevel);
    let by_hand = Plan::new(&sd, &tau, &Deis::log_rho(3).unwrap().orders(lowered(3))).unwrap();
    same(&config(DEIS, &format!(r#"{SD}, "timestep_spacing": "trailing", "solver_order": 3"#)), 10, &by_hand);

    let lambda = Path::exponential(&sd, 10).unwrap();
    let by_hand = Plan::along(&lambda, &UniPc::new(3).unwrap()).unwrap();
    same(&config(UNIPC, &format!(r#"{SD}, "use_exponential_sigmas": true, "solver_order": 3"#)), 10, &by_hand);
    let by_hand = Plan::along(&lambda, &SaSolver::new(Tau::default())).unwrap();
    same(&config(SA, &format!(r#"{SD}, "use_exponential_sigmas": true"#)), 10, &by_hand);

    // Wan: whole numbers of t, from pure noise.
    let path = Flow::wan(5.0).unwrap().path(8).unwrap();
    let by_hand = Plan::builder_along(&path).prediction(Prediction::Flow).build(&UniPc::new(2).unwrap()).unwrap();
    same(&config(UNIPC, &format!("{FLOW}, \"flow_shift\": 5.0")), 8, &by_hand);
    assert_eq!((by_hand.steps()[0].t, by_hand.start().is_pure_noise()), (1000.0, true));
    let path = Flow::default().with_time(FlowTime::Thousandth).shifted(3.0).unwrap().path(8).unwrap();
    let method = DpmSolverPp::multistep(2).unwrap();
    let by_hand = Plan::builder_along(&path).prediction(Prediction::Flow).build(&method).unwrap();
    same(&config(MULTI, &format!("{FLOW}, \"flow_shift\": 3.0")), 8, &by_hand);
}

const FLOW: &str = r#""use_flow_sigmas": true, "prediction_type": "flow_prediction""#;

/// The inverse walks the path of its twin backwards, conditioned on the level of x; from clean data where the twin's smallest level is the end.
#[test]
fn the_inverse_is_the_path_of_its_twin() {
    for keys in ["", r#""timestep_spacing": "leading", "steps_offset": 1"#, r#""timestep_spacing": "trailing""#] {
        let [twin, inverse] = [MULTI, INVERSE].map(|class| config(class, keys).run(10).path().unwrap());
        assert_eq!(inverse.points(), twin.points());
        assert_eq!(inverse.direction(), Direction::Encode(Conditioning::Source));
        let plan = config(INVERSE, keys).plan(10).unwrap();
        assert_eq!(plan.steps()[0].t, 0.0);
        assert!(plan.steps().windows(2).all(|steps| steps[0].to == steps[1].from && steps[1].t == steps[0].s.unwrap()));
    }
    for keys in [r#""use_karras_sigmas": true"#, r#""use_beta_sigmas": true"#, FLOW] {
        let [twin, inverse] = [MULTI, INVERSE].map(|class| config(class, keys).run(10).path().unwrap());
        assert_eq!(inverse.points(), twin.points());
        assert!(inverse.end().is_clean() && config(INVERSE, keys).plan(10).is_ok());
    }
}

/// Each key that acts makes another plan; each that does not is reported.
#[test]
fn keys_act_or_are_reported() {
    for (class, base, key) in [
        (MULTI, "", r#""solver_order": 1"#),
        (MULTI, "", r#""solver_type": "heun""#),
        (MULTI, r#""solver_order": 3"#, r#""lower_order_final": false"#),
        (MULTI, r#""final_sigmas_type": "sigma_min", "lower_order_final": false"#, r#""euler_at_final": true"#),
        (MULTI, "", r#""algorithm_type": "sde-dpmsolver++""#),
        (MULTI, r#""final_sigmas_type": "sigma_min""#, r#""algorithm_type": "dpmsolver""#),
        (MULTI, "", r#""final_sigmas_type": "sigma_min""#),
        (MULTI, "", r#""lambda_min_clipped": -2.0"#),
        (MULTI, "", r#""use_lu_lambdas": true"#),
        (MULTI, FLOW, r#""flow_shift": 3.0"#),
        (INVERSE, r#""lower_order_final": false"#, r#""euler_at_final": true"#),
        (SINGLE, "", r#""solver_order": 3"#),
        (SINGLE, r#""final_sigmas_type": "sigma_min""#, r#""lower_order_final": true"#),
        (SINGLE, "", r#""solver_type": "heun""#),
        (SINGLE, "", r#""algorithm_type": "sde-dpmsolver++""#),
        (DEIS, r#""solver_order": 3"#, r#""lower_order_final": false"#),
        (DEIS, "", r#""use_exponential_sigmas": true"#),
        (UNIPC, "", r#""predict_x0": false"#),
        (UNIPC, "", r#""solver_type": "bh1""#),
        (UNIPC, "", r#""disable_corrector": [1]"#),
        (UNIPC, r#""use_karras_sigmas": true"#, r#""sigma_max": 5.0"#),
        (UNIPC, r#""use_karras_sigmas": true"#, r#""sigma_min": 0.1"#),
        (UNIPC, FLOW, r#""shift_terminal": 0.1"#),
        (SA, "", r#""predictor_order": 3"#),
        (SA, "", r#""corrector_order": 1"#),
        (SA, "", r#""algorithm_type": "noise_prediction""#),
        (SA, "", r#""lower_order_final": false"#),
    ] {
        let base = if base.is_empty() { SD.to_owned() } else { format!("{SD}, {base}") };
        let (without, with) = (config(class, &base), config(class, &format!("{base}, {key}")));
        for compat in [false, true] {
            let plan = |config: &SchedulerConfig| {
                let config = config.clone();
                if compat { config.compat_in(Precision::F64).plan(10) } else { config.plan(10) }
            };
            // diffusers does not have all of them.
            let (Ok(without), Ok(with)) = (plan(&without), plan(&with)) else {
                assert!(compat, "{class} {key}");
                continue;
            };
            assert_ne!(without.steps(), with.steps(), "{class} {key}");
        }
    }
    for (class, keys, idle) in [
        (MULTI, r#""flow_shift": 3.0"#, "flow_shift"),
        (MULTI, r#""use_dynamic_shifting": true"#, "use_dynamic_shifting"),
        (MULTI, r#""use_karras_sigmas": true, "timestep_spacing": "leading""#, "timestep_spacing"),
        (MULTI, r#""use_karras_sigmas": true, "steps_offset": 1"#, "steps_offset"),
        (MULTI, r#""use_karras_sigmas": true, "lambda_min_clipped": -5.1"#, "lambda_min_clipped"),
        (MULTI, r#""use_flow_sigmas": true, "beta_start": 0.001"#, "beta_start"),
        (MULTI, r#""use_flow_sigmas": true, "rescale_betas_zero_snr": true"#, "rescale_betas_zero_snr"),
        (MULTI, r#""solver_order": 1, "solver_type": "heun""#, "solver_type"),
        (MULTI, r#""solver_order": 1, "lower_order_final": false"#, "lower_order_final"),
        (MULTI, r#""euler_at_final": true"#, "euler_at_final"),
        (UNIPC, r#""sigma_min": 0.1"#, "sigma_min"),
        (UNIPC, r#""use_flow_sigmas": true, "use_karras_sigmas": true, "flow_shift": 3.0"#, "flow_shift"),
        (UNIPC, r#""use_flow_sigmas": true, "use_dynamic_shifting": true, "flow_shift": 3.0"#, "flow_shift"),
        (UNIPC, r#""use_flow_sigmas": true, "time_shift_type": "linear""#, "time_shift_type"),
    ] {
        let note = Note::Ignored { key: idle.to_owned(), reason: Ignored::Unused };
        assert!(config(class, keys).notes().contains(&note), "{class} {keys}");
        let quiet = format!(r#""{idle}": null, {keys}"#);
        assert!(keys.contains(idle) && read(class, &quiet).is_err(), "{quiet}");
    }
    let noisy = config(UNIPC, r#""predict_x0": false, "thresholding": true, "final_sigmas_type": "sigma_min""#);
    let off = Note::Ignored { key: "thresholding".to_owned(), reason: Ignored::Off("predict_x0") };
    assert!(noisy.notes().contains(&off) && noisy.threshold() == alphabar::Threshold::None);
}

/// A file as diffusers writes it: all keys of the class, at their defaults.
#[test]
fn defaults_that_are_written_out_are_not_worth_a_note() {
    let shared = r#""num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "trained_betas": null,
        "prediction_type": "epsilon", "timestep_spacing": "linspace", "steps_offset": 0, "lower_order_final": true,
        "use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false, "use_flow_sigmas": false, "flow_shift": 1.0"#;
    for (class, keys) in [
        (
            MULTI,
            r#""lambda_min_clipped": -Infinity, "variance_type": null, "use_lu_lambdas": false, "euler_at_final": false, "solver_order": 2,
            "solver_type": "midpoint", "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero", "rescale_betas_zero_snr": false,
            "use_dynamic_shifting": false, "time_shift_type": "exponential""#,
        ),
        (
            INVERSE,
            r#""lambda_min_clipped": -Infinity, "variance_type": null, "euler_at_final": false, "algorithm_type": "dpmsolver++""#,
        ),
        (
            DEIS,
            r#""solver_order": 2, "algorithm_type": "deis", "solver_type": "logrho", "use_dynamic_shifting": false,
            "time_shift_type": "exponential""#,
        ),
        (
            UNIPC,
            r#""solver_order": 2, "predict_x0": true, "solver_type": "bh2", "disable_corrector": [], "solver_p": null, "sigma_min": null,
            "sigma_max": null, "shift_terminal": null, "final_sigmas_type": "zero", "rescale_betas_zero_snr": false"#,
        ),
        (
            SA,
            r#""predictor_order": 2, "corrector_order": 2, "tau_func": null, "algorithm_type": "data_prediction",
            "lambda_min_clipped": -Infinity, "variance_type": null"#,
        ),
    ] {
        let config = config(class, &format!("{shared}, {keys}"));
        assert_eq!(config.notes(), [], "{class}");
        assert_eq!(config.plan(10).unwrap(), self::config(class, "").plan(10).unwrap());
    }
}

#[test]
fn what_makes_no_sense_is_an_error_that_names_its_key() {
    for (class, keys, key) in [
        (MULTI, r#""use_karras_sigmas": true, "use_beta_sigmas": true"#, "use_beta_sigmas"),
        (MULTI, r#""use_lu_lambdas": true, "use_exponential_sigmas": true"#, "use_lu_lambdas"),
        (MULTI, r#""solver_order": 0"#, "solver_order"),
        (MULTI, r#""algorithm_type": "unipc""#, "algorithm_type"),
        (MULTI, r#""solver_type": "euler""#, "solver_type"),
        (MULTI, r#""lambda_min_clipped": 30"#, "lambda_min_clipped"),
        (MULTI, r#""lambda_min_clipped": NaN"#, "lambda_min_clipped"),
        (MULTI, r#""use_flow_sigmas": true, "flow_shift": 0"#, "flow_shift"),
        (
            MULTI,
            r#""use_flow_sigmas": true, "use_dynamic_shifting": true, "time_shift_type": "linear""#,
            "time_shift_type",
        ),
        (MULTI, r#""use_flow_sigmas": 1"#, "use_flow_sigmas"),
        (SINGLE, r#""algorithm_type": "sde-dpmsolver""#, "algorithm_type"),
        (DEIS, r#""algorithm_type": "sde-dpmsolver""#, "algorithm_type"),
        (UNIPC, r#""solver_order": 5"#, "solver_order"),
        (UNIPC, r#""solver_p": {"_class_name": "DDIMScheduler"}"#, "solver_p"),
        (UNIPC, r#""disable_corrector": [0.5]"#, "disable_corrector"),
        (UNIPC, r#""disable_corrector": 3"#, "disable_corrector"),
        (UNIPC, r#""use_karras_sigmas": true, "sigma_min": 0"#, "sigma_min"),
        (UNIPC, r#""use_flow_sigmas": true, "shift_terminal": 1.0"#, "shift_terminal"),
        (SA, r#""predictor_order": 5"#, "predictor_order"),
        (SA, r#""corrector_order": 0"#, "corrector_order"),
        (SA, r#""tau_func": "lambda t: 1""#, "tau_func"),
        (SA, r#""algorithm_type": "dpmsolver++""#, "algorithm_type"),
    ] {
        match read(class, keys) {
            Err(Error::Config { key: found, .. }) => assert_eq!(found, key, "{class} {keys}"),
            other => panic!("{class} {keys}: {other:?}"),
        }
    }
}

/// A quirk names compat() where that reproduces it, and nowhere else.
#[test]
fn a_quirk_says_whether_compat_reproduces_it() {
    for (class, keys, in_compat) in
        [(MULTI, r#""solver_order": 3"#, true), (SINGLE, r#""algorithm_type": "sde-dpmsolver++""#, false)]
    {
        let config = config(class, keys);
        let texts: Vec<String> = config.notes().iter().map(ToString::to_string).collect();
        assert_eq!(quirks(&config).iter().map(|quirk| quirk.in_compat).collect::<Vec<_>>(), [in_compat], "{texts:?}");
        assert_eq!(texts[0].ends_with(". To reproduce it use compat()"), in_compat, "{texts:?}");
        // What is reproduced is no difference any more, also as another class.
        let compat = config.compat();
        assert_eq!(quirks(&compat).is_empty(), in_compat, "{class}");
        assert_eq!(quirks(&compat.clone().with_class(compat.class()).unwrap()).is_empty(), in_compat, "{class}");
        assert_eq!(compat.plan(10).is_ok(), in_compat, "{class}");
    }
}

/// An argument is used, or refused by its name.
#[test]
fn arguments_are_never_dropped() {
    let refused = |run: Run<'_>, argument: &str, at: &str| match run.plan() {
        Err(Error::Config { key, .. }) => assert_eq!(key, argument, "{at}"),
        other => panic!("{at}: {other:?}"),
    };
    for class in CLASSES {
        let config = config(class, "");
        for config in [config.clone(), config.compat()] {
            refused(config.run(10).eta(0.5), "eta", class);
            refused(config.run(10).tokens(4096), "tokens", class);
            refused(config.run(10).mu(1.0), "mu", class);
            refused(config.run_through_sigmas([10.0, 1.0]), "sigmas", class);
            match class {
                MULTI | SINGLE => {
                    let path = config.run_through_times([900.0, 500.0, 20.0]).path().unwrap();
                    assert_eq!(path.points().iter().map(|point| point.t).collect::<Vec<_>>(), [900.0, 500.0, 20.0]);
                    assert!(config.run_through_times([20.0, 500.0]).path().is_err());
                }
                _ => refused(config.run_through_times([900.0, 500.0]), "timesteps", class),
            }
            assert!(config.plan(0).is_err() && config.plan(1001).is_err() && config.run(usize::MAX).plan().is_err());
        }
    }
    let dynamic = config(UNIPC, &format!(r#"{FLOW}, "use_dynamic_shifting": true"#));
    for config in [dynamic.clone(), dynamic.compat()] {
        refused(config.run(10), "use_dynamic_shifting", UNIPC);
        assert!(config.run(10).mu(f64::NAN).plan().is_err() && config.run(10).mu(1e9).plan().is_err());
        // A 0 at the end is the end of the path.
        let [with, without] = [vec![1.0, 0.5, 0.0], vec![1.0, 0.5]]
            .map(|sigmas| config.run_through_sigmas(sigmas).mu(0.5).plan().unwrap());
        assert_eq!(with, without);
        assert!(config.run_through_sigmas([]).mu(0.5).plan().is_err());
    }
}

/// Every combination of the options that make lists and methods is a plan of finite numbers, or an error.
#[test]
fn combinations_are_plans_or_errors() {
    let spreads = ["", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"];
    let spacings = ["leading", "trailing", "linspace"];
    let mut plans = 0;
    for class in CLASSES {
        for spread in spreads {
            for spacing in spacings {
                for order in 1..=3 {
                    for end in ["zero", "sigma_min"] {
                        for more in [
                            "",
                            r#", "rescale_betas_zero_snr": true, "prediction_type": "sample""#,
                            r#", "num_train_timesteps": 7"#,
                        ] {
                            let spread =
                                if spread.is_empty() { String::new() } else { format!(r#", "{spread}": true"#) };
                            let order = if class == SA {
                                format!(r#""predictor_order": {order}"#)
                            } else {
                                format!(r#""solver_order": {order}"#)
                            };
                            let keys = format!(
                                r#"{order}, "timestep_spacing": "{spacing}", "final_sigmas_type": "{end}"{spread}{more}"#
                            );
                            let config = config(class, &keys);
                            for config in [config.clone(), config.compat()] {
                                for steps in [1, 2, 3, 7, 20] {
                                    let Ok(plan) = config.plan(steps) else { continue };
                                    plans += 1;
                                    assert!(plan.steps().iter().all(|step| step.coefficients.x.is_finite()), "{keys}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(plans > 8000, "{plans}");
}

/// The solver of a run, along another path than the run's.
#[test]
fn a_solver_of_a_run_fits_other_paths() {
    let config = config(MULTI, SD);
    let solver = config.run(20).solver().unwrap();
    let path = Path::karras(&NoiseSchedule::stable_diffusion().unwrap(), 10).unwrap();
    let plan = Plan::along(&path, &solver).unwrap();
    assert!((plan.start().sigma() - path.points()[0].level.sigma()).abs() < 1e-12);
    let rest = config.run(20).strength(0.5).plan().unwrap();
    assert_eq!((rest.len(), rest.steps()[0].coefficients.history.iter().count()), (10, 0));
    assert_eq!(SchedulerClass::DpmSolverMultistep, config.class());
}

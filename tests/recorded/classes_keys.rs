//! Every key of every class: it changes the plan, or the notes say that it does not.

#![cfg(feature = "hub")]

use std::collections::{BTreeMap, BTreeSet};

use alphabar::hub::{Ignored, Note, SchedulerClass, SchedulerConfig};
use alphabar::{Error, Plan};
use serde_json::{Map, Value, json};

use crate::parity::read;

/// A short table, noisy enough at its end for every key to be seen.
fn base(class: SchedulerClass) -> Value {
    json!({"_class_name": class.name(), "num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.1})
}

/// Settings beside which others act.
fn beside() -> Vec<Value> {
    vec![
        json!({}),
        json!({"timestep_spacing": "leading"}),
        json!({"clip_sample": true}),
        json!({"clip_sample": false}),
        json!({"thresholding": true}),
        json!({"use_karras_sigmas": true}),
        json!({"use_karras_sigmas": true, "timestep_spacing": "leading"}),
        json!({"use_karras_sigmas": true, "timestep_spacing": "trailing"}),
        json!({"use_flow_sigmas": true, "prediction_type": "flow_prediction"}),
        json!({"use_flow_sigmas": true, "prediction_type": "flow_prediction", "use_dynamic_shifting": true}),
        json!({"use_flow_sigmas": true, "prediction_type": "flow_prediction", "use_karras_sigmas": true}),
        json!({"use_dynamic_shifting": true}),
        json!({"solver_order": 3}),
        json!({"solver_order": 1}),
        json!({"final_sigmas_type": "sigma_min"}),
        json!({"final_sigmas_type": "sigma_min", "lower_order_final": false}),
        json!({"lower_order_final": false}),
        json!({"prediction_type": "v_prediction"}),
        json!({"interpolation_type": "log_linear"}),
        json!({"sigma_schedule": "exponential"}),
        json!({"sigma_schedule": "karras"}),
        json!({"beta_schedule": "squaredcos_cap_v2"}),
        json!({"predict_x0": false}),
        json!({"eta": 0.0}),
    ]
}

/// Values that no class has by default, or of which one is not its default.
fn values(class: SchedulerClass) -> Vec<(&'static str, Vec<Value>)> {
    let list = if class == SchedulerClass::Ipndm {
        vec![1.0, 0.9, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1]
    } else {
        (0..100).map(|i| 0.002 + 0.0005 * f64::from(i)).collect()
    };
    let switch = || vec![json!(true), json!(false)];
    let one = |value: Value| vec![value];
    vec![
        ("num_train_timesteps", one(json!(150))),
        ("beta_start", one(json!(0.002))),
        ("beta_end", one(json!(0.11))),
        ("beta_schedule", vec![json!("linear"), json!("scaled_linear"), json!("squaredcos_cap_v2")]),
        ("trained_betas", one(json!(list))),
        ("snr_shift_scale", one(json!(2.0))),
        ("rescale_betas_zero_snr", one(json!(true))),
        ("prediction_type", vec![json!("sample"), json!("v_prediction")]),
        ("clip_sample", switch()),
        ("clip_sample_range", one(json!(2.0))),
        ("thresholding", one(json!(true))),
        ("dynamic_thresholding_ratio", one(json!(0.9))),
        ("sample_max_value", one(json!(1.5))),
        ("timestep_spacing", vec![json!("leading"), json!("trailing"), json!("linspace")]),
        ("steps_offset", one(json!(1))),
        ("set_alpha_to_one", switch()),
        ("set_alpha_to_zero", switch()),
        ("final_sigmas_type", vec![json!("zero"), json!("sigma_min")]),
        ("variance_type", vec![json!("fixed_large"), json!("learned_range")]),
        ("use_karras_sigmas", one(json!(true))),
        ("use_exponential_sigmas", one(json!(true))),
        ("use_beta_sigmas", one(json!(true))),
        ("use_lu_lambdas", one(json!(true))),
        ("interpolation_type", one(json!("log_linear"))),
        ("timestep_type", one(json!("continuous"))),
        ("sigma_min", one(json!(0.1))),
        ("sigma_max", one(json!(10.0))),
        ("sigma_data", one(json!(0.7))),
        ("sigma_schedule", vec![json!("karras"), json!("exponential")]),
        ("rho", one(json!(5.0))),
        ("euler_at_final", one(json!(true))),
        ("solver_order", vec![json!(1), json!(3)]),
        ("solver_type", vec![json!("heun"), json!("midpoint"), json!("bh1"), json!("logrho")]),
        (
            "algorithm_type",
            vec![json!("dpmsolver"), json!("sde-dpmsolver++"), json!("deis"), json!("noise_prediction")],
        ),
        ("lower_order_final", switch()),
        ("use_dynamic_shifting", one(json!(true))),
        ("time_shift_type", one(json!("linear"))),
        ("use_flow_sigmas", one(json!(true))),
        ("flow_shift", one(json!(3.0))),
        ("lambda_min_clipped", one(json!(-1.0))),
        ("predict_x0", one(json!(false))),
        ("disable_corrector", one(json!([1]))),
        ("solver_p", one(json!({}))),
        ("shift_terminal", one(json!(0.1))),
        ("predictor_order", one(json!(3))),
        ("corrector_order", one(json!(1))),
        ("tau_func", one(json!("f"))),
        ("noise_sampler_seed", one(json!(7))),
        ("skip_prk_steps", switch()),
        ("original_inference_steps", one(json!(40))),
        ("timestep_scaling", one(json!(5.0))),
        ("shift", one(json!(3.0))),
        ("base_shift", one(json!(0.3))),
        ("max_shift", one(json!(2.0))),
        ("base_image_seq_len", one(json!(300))),
        ("max_image_seq_len", one(json!(5000))),
        ("invert_sigmas", one(json!(true))),
        ("stochastic_sampling", one(json!(true))),
        ("scale_factors", one(json!([2.0]))),
        ("upscale_mode", one(json!("nearest"))),
        ("eta", vec![json!(0.5), json!(1.0)]),
        ("s_noise", one(json!(0.5))),
        ("snr", one(json!(0.2))),
        ("sampling_eps", one(json!(0.01))),
        ("correct_steps", one(json!(2))),
    ]
}

fn with(config: &Value, more: &Map<String, Value>) -> Value {
    let mut config = config.clone();
    config.as_object_mut().unwrap().extend(more.clone());
    config
}

/// What becomes of 7 steps, and of 16, with each argument that a dynamic shift may want, and what the configuration says of itself.
fn outcome(config: &SchedulerConfig) -> impl PartialEq + use<> {
    let runs = [config.run(7), config.run(7).mu(0.7), config.run(7).tokens(2000), config.run(16)];
    let plans: Vec<Option<Plan>> = runs.into_iter().map(|run| run.plan().ok()).collect();
    (plans, config.run(7).noise_scale().ok(), config.prediction(), config.threshold(), config.has_learned_variance())
}

fn is_of_other_classes(note: &Note) -> bool {
    let Note::Ignored { reason, .. } = note else { return false };
    matches!(reason, Ignored::NotOfClass(_) | Ignored::StepArgument | Ignored::Removed)
}

fn is_foreign_word(note: &Note) -> bool {
    matches!(note, Note::Ignored { reason: Ignored::Foreign(_), .. })
}

#[test]
fn every_key_acts_or_is_reported() {
    // Without effect on the numbers of a plan, wherever they stand.
    const SILENT: [&str; 4] = ["noise_sampler_seed", "snr", "correct_steps", "upscale_mode"];
    let mut failures = BTreeSet::new();
    let mut idle: BTreeMap<String, bool> = BTreeMap::new();
    for class in SchedulerClass::all() {
        let text = |value: &Value| SchedulerConfig::from_json(&value.to_string());
        for context in beside() {
            let context = context.as_object().unwrap();
            let without = with(&base(class), context);
            let Ok(config) = text(&without) else { continue };
            let foreign =
                |key: &String| config.notes().iter().any(|note| note.key() == key && is_of_other_classes(note));
            if context.keys().any(foreign) {
                continue;
            }
            let before = outcome(&config);
            for (key, values) in values(class) {
                let is_default = |value: &Value| without.get(key) == Some(value);
                for value in values.iter().filter(|value| !is_default(value)) {
                    let id = format!("{class}, {context:?}: {key} = {value}");
                    let mut changed = without.clone();
                    changed[key] = value.clone();
                    let acts = idle.entry(format!("{class}: {key}")).or_default();
                    let changed = match text(&changed) {
                        Ok(changed) => changed,
                        Err(Error::Config { .. }) => {
                            *acts = true;
                            continue;
                        }
                        Err(error) => panic!("{id}: {error}"),
                    };
                    let notes: Vec<&Note> = changed.notes().iter().filter(|note| note.key() == key).collect();
                    let differs = outcome(&changed) != before;
                    let is_foreign = notes.iter().any(|note| is_of_other_classes(note) || is_foreign_word(note));
                    *acts |= differs || is_foreign || SILENT.contains(&key);
                    let ignored =
                        notes.iter().any(|note| matches!(note, Note::Ignored { .. }) && !is_foreign_word(note));
                    if differs && ignored {
                        failures.insert(format!("takes effect, and is said to be ignored: {id}"));
                    }
                    // A value may be the default of its class, and log_linear is an exponential spread.
                    let one_of_many = values.len() > 1
                        || key == "use_exponential_sigmas" && context.contains_key("interpolation_type");
                    if !differs && notes.is_empty() && !one_of_many {
                        failures.insert(format!("neither takes effect nor is reported: {id}"));
                    }
                }
            }
        }
    }
    failures.extend(idle.iter().filter(|(_, acts)| !**acts).map(|(key, _)| format!("never takes effect: {key}")));
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures.into_iter().collect::<Vec<_>>().join("\n"));
}

/// The list above has all keys.
#[test]
fn every_known_key_is_tried() {
    let source = read("src/hub/keys.rs");
    let body = source.split("match key {").nth(1).unwrap().split("_ => false").next().unwrap();
    let known: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
    let tried: BTreeSet<&str> = values(SchedulerClass::Ddim).into_iter().map(|(key, _)| key).collect();
    assert!(known.len() > 60);
    for key in known {
        assert!(tried.contains(key), "{key}");
    }
}

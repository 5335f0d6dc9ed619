//! The hub's configurations: those of released models, what Python makes of what is written here, and everything else that a
//! file may hold.

#![cfg(feature = "hub")]

use std::fs;
use std::path::{Path, PathBuf};

use alphabar::hub::{Difference, Ignored, Note, SchedulerClass, SchedulerConfig, Spacing};
use alphabar::{
    BoxError, Conditioning, Ddim, Ddpm, Direction, Draw, Error, MAX_TRAIN_STEPS, NoiseSchedule, PathEnd, Plan, Point,
    Prediction, Threshold, Timesteps, Variance, noise, sample,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn text(name: &str) -> String {
    fs::read_to_string(tests().join("data").join(format!("{name}.json"))).unwrap()
}

fn published(name: &str) -> SchedulerConfig {
    SchedulerConfig::from_json(&text(name)).unwrap()
}

const PUBLISHED: [&str; 9] = [
    "ddpm-cifar10-32",
    "deepfloyd-if-i",
    "diffusion-policy",
    "dit-xl-2-256",
    "fitv2-learned-range",
    "hunyuan3d-paint-zero-snr",
    "stable-diffusion-2-1",
    "stable-diffusion-v1-5",
    "stable-diffusion-xl-base-1.0",
];

fn read(value: &Value) -> Result<SchedulerConfig, Error> {
    SchedulerConfig::from_json(&value.to_string())
}

fn ignored(key: &str, reason: Ignored) -> Note {
    Note::Ignored { key: key.to_owned(), reason }
}

// Released models.

#[test]
fn stable_diffusion_1_5() {
    let config = published("stable-diffusion-v1-5");
    assert_eq!(config.class(), SchedulerClass::Pndm);
    assert_eq!(config.schedule(), &NoiseSchedule::scaled_linear(1000, 0.00085, 0.012).unwrap());
    assert_eq!((config.prediction(), config.threshold()), (Prediction::Epsilon, Threshold::None));
    assert_eq!((config.spacing(), config.steps_offset(), config.end()), (Spacing::Leading, 1, PathEnd::FirstLevel));
    assert_eq!(
        config.notes(),
        [Note::Differs(Difference::Method(SchedulerClass::Pndm)), ignored("skip_prk_steps", Ignored::Method),]
    );
    let tau = Timesteps::leading(1000, 50, 1).unwrap().ending(PathEnd::FirstLevel);
    assert_eq!(config.timesteps(50).unwrap(), tau);
    assert_eq!(config.plan(50).unwrap(), Plan::new(config.schedule(), &tau, &Ddim::deterministic()).unwrap());
}

#[test]
fn stable_diffusion_2_1() {
    let config = published("stable-diffusion-2-1");
    assert_eq!((config.class(), config.prediction()), (SchedulerClass::Ddim, Prediction::Velocity));
    assert_eq!((config.steps_offset(), config.end()), (1, PathEnd::FirstLevel));
    assert_eq!(config.threshold(), Threshold::None);
    assert_eq!(config.notes(), [ignored("skip_prk_steps", Ignored::Method)]);
    assert_eq!(config.plan(20).unwrap().prediction(), Prediction::Velocity);
}

#[test]
fn stable_diffusion_xl() {
    let config = published("stable-diffusion-xl-base-1.0");
    let class = SchedulerClass::EulerDiscrete;
    assert_eq!((config.class(), config.spacing(), config.end()), (class, Spacing::Leading, PathEnd::FirstLevel));
    assert_eq!(
        config.notes(),
        [
            Note::Differs(Difference::Method(class)),
            ignored("interpolation_type", Ignored::Method),
            ignored("sample_max_value", Ignored::Off("thresholding")),
            ignored("skip_prk_steps", Ignored::Method),
            ignored("use_karras_sigmas", Ignored::SigmaSpacing),
        ]
    );
}

#[test]
fn a_v_model_of_zero_terminal_snr() {
    let config = published("hunyuan3d-paint-zero-snr");
    let schedule = NoiseSchedule::stable_diffusion().unwrap().rescale_zero_terminal_snr().unwrap();
    assert_eq!(config.schedule(), &schedule);
    assert_eq!((config.spacing(), config.end()), (Spacing::Trailing, PathEnd::Clean));
    assert_eq!(
        config.notes(),
        [
            Note::Differs(Difference::ZeroSnr),
            ignored("steps_offset", Ignored::Off("leading spacing")),
            Note::Differs(Difference::TrailingLength),
            Note::Differs(Difference::Predecessor),
        ]
    );
    // Where Python's first step is NaN.
    let tau = config.timesteps(10).unwrap();
    let plan = config.plan_builder(&tau).build(&Ddim::new(1.0).unwrap()).unwrap();
    assert_eq!(plan.steps()[0].from.alpha_bar(), 0.0);
    assert!(plan.steps()[0].coefficients.x.is_finite());
}

#[test]
fn ddpm_of_cifar_10() {
    let config = published("ddpm-cifar10-32");
    assert_eq!(config.schedule(), &NoiseSchedule::ddpm().unwrap());
    assert_eq!((config.variance(), config.threshold()), (Variance::Beta, Threshold::Clip(1.0)));
    assert_eq!(config.notes(), []);
    let plan = Plan::builder(config.schedule(), &Timesteps::all(1000).unwrap())
        .threshold(Threshold::Clip(1.0))
        .build(&Ddpm::new(Variance::Beta))
        .unwrap();
    assert_eq!(config.plan(1000).unwrap(), plan);
}

#[test]
fn a_robots_diffusion_policy() {
    let config = published("diffusion-policy");
    assert_eq!(config.schedule(), &NoiseSchedule::cosine(100).unwrap());
    assert_eq!((config.variance(), config.threshold()), (Variance::Posterior, Threshold::Clip(1.0)));
    let fixed = [ignored("beta_end", Ignored::FixedSchedule), ignored("beta_start", Ignored::FixedSchedule)];
    assert_eq!(config.notes(), fixed);
    assert_eq!(config.plan(100).unwrap().len(), 100);
}

#[test]
fn networks_with_a_learned_variance() {
    let dit = published("dit-xl-2-256");
    assert_eq!((dit.class(), dit.notes()), (SchedulerClass::Ddim, &[][..]));

    let fit = published("fitv2-learned-range");
    assert_eq!((fit.variance(), fit.has_learned_variance()), (Variance::LearnedRange, true));
    assert_eq!(fit.plan(9).unwrap().steps()[0].learned_noise.map(|k| k > 0.0), Some(true));
    assert_eq!(
        fit.notes(),
        [ignored("clip_sample_range", Ignored::Off("clip_sample")), Note::Differs(Difference::LinspaceSingle)]
    );

    // Python clips by the quantile where both are on, and so do we.
    let deepfloyd = published("deepfloyd-if-i");
    assert_eq!(deepfloyd.threshold(), Threshold::Dynamic { ratio: 0.95, max: 1.5 });
    assert_eq!(
        deepfloyd.notes(),
        [
            ignored("beta_end", Ignored::FixedSchedule),
            ignored("beta_start", Ignored::FixedSchedule),
            ignored("clip_sample", Ignored::Thresholding),
            ignored("clip_sample_range", Ignored::Thresholding),
        ]
    );
}

// What is written: Python's answers are recorded by hub/loads.py.

/// The configurations that Python is to load, and the names of their files.
fn written() -> Vec<(String, SchedulerConfig)> {
    let mut all: Vec<_> = PUBLISHED.iter().map(|name| ((*name).to_owned(), published(name))).collect();
    for name in ["stable-diffusion-v1-5", "stable-diffusion-xl-base-1.0"] {
        all.push((format!("{name}-as-ddim"), published(name).with_class(SchedulerClass::Ddim).unwrap()));
    }
    let inverse = published("stable-diffusion-v1-5").with_class(SchedulerClass::DdimInverse).unwrap();
    all.push(("stable-diffusion-v1-5-inverse".to_owned(), inverse));
    let solver =
        r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "solver_order": 3}"#;
    all.push(("dpm-solver".to_owned(), SchedulerConfig::from_json(solver).unwrap()));
    let laplace = json!({"_class_name": "DDPMScheduler", "beta_schedule": "laplace", "num_train_timesteps": 100});
    all.push(("laplace".to_owned(), read(&laplace).unwrap()));
    let own = NoiseSchedule::from_betas((1..=20).map(|i| 1e-4 + f64::from(i * i) / 1300.0)).unwrap();
    let own = SchedulerConfig::from_schedule(SchedulerClass::Ddim, &own, Prediction::Velocity).unwrap();
    all.push(("schedule-of-ones-own".to_owned(), own));
    all
}

/// With `ALPHABAR_WRITE=1` the files are written, for the script to load them.
#[test]
fn what_is_written_is_what_python_loaded() {
    for (name, config) in written() {
        let path = tests().join("hub").join(format!("{name}.json"));
        if std::env::var_os("ALPHABAR_WRITE").is_some() {
            fs::write(&path, config.to_json()).unwrap();
        }
        assert_eq!(config.to_json(), fs::read_to_string(path).unwrap(), "{name}");
        assert_eq!(SchedulerConfig::from_json(&config.to_json()).unwrap().to_json(), config.to_json(), "{name}");
    }
}

fn python() -> Value {
    serde_json::from_str(&fs::read_to_string(tests().join("hub").join("python-loaded.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn python_loads_what_is_written_with_the_same_values() {
    let recorded = python();
    for (name, config) in written() {
        let loaded = &recorded["loaded"][&name];
        assert_eq!(loaded["class"], config.class().name(), "{name}");
        let alpha_bars = numbers(&loaded["alphas_cumprod"]);
        assert_eq!(loaded["len"], config.schedule().len(), "{name}");
        assert_eq!(alpha_bars.len(), config.schedule().len().div_ceil(37), "{name}");
        for (level, theirs) in config.schedule().levels().iter().rev().step_by(37).zip(alpha_bars) {
            // Tables in f32; the cosine's last ᾱ differ by more than the rounding of one product.
            let error = (level.alpha_bar() - theirs).abs();
            assert!(error <= 2e-6 * theirs + 1e-9, "{name}: {} and {theirs}", level.alpha_bar());
        }
        if let Some(list) = loaded["timesteps"].as_array() {
            let ours: Vec<Value> = config.timesteps(10).unwrap().as_slice().iter().map(|t| json!(t)).collect();
            assert_eq!(&ours, list, "{name}");
        }
        let of = |key: &str| loaded["config"].get(key).cloned().unwrap_or(Value::Null);
        if config.class().is_supported() {
            let prediction = match config.prediction() {
                Prediction::Epsilon => "epsilon",
                Prediction::Velocity => "v_prediction",
                _ => "sample",
            };
            assert_eq!(of("prediction_type"), prediction, "{name}");
            let threshold = if of("thresholding") == true {
                let number = |key: &str| of(key).as_f64().unwrap();
                Threshold::Dynamic { ratio: number("dynamic_thresholding_ratio"), max: number("sample_max_value") }
            } else if of("clip_sample") == true {
                Threshold::Clip(of("clip_sample_range").as_f64().unwrap())
            } else {
                Threshold::None
            };
            assert_eq!(config.threshold(), threshold, "{name}");
            assert_eq!(config.end() == PathEnd::FirstLevel, of("set_alpha_to_one") == false, "{name}");
        } else {
            assert_eq!(of("skip_prk_steps") == true, name.starts_with("stable"), "{name}");
            assert_eq!(of("solver_order") == 3, name == "dpm-solver", "{name}");
        }
    }
}

/// What a class takes for a key that is not there.
#[test]
fn defaults_are_those_of_the_python_classes() {
    let recorded = python();
    let classes = recorded["defaults"].as_object().unwrap();
    assert!(classes.len() >= 18);
    for (name, defaults) in classes {
        let config = read(&json!({ "_class_name": name })).unwrap();
        let of = |key: &str, otherwise: Value| defaults.get(key).cloned().unwrap_or(otherwise);
        let number = |key: &str| defaults[key].as_f64().unwrap();
        assert_eq!(config.schedule().len(), 1000);
        let (start, end) = (number("beta_start"), number("beta_end"));
        let schedule = match defaults["beta_schedule"].as_str().unwrap() {
            "linear" => NoiseSchedule::linear(1000, start, end),
            _ => NoiseSchedule::scaled_linear(1000, start, end),
        };
        assert_eq!(config.schedule(), &schedule.unwrap(), "{name}");
        let spacing = match of("timestep_spacing", json!("linspace")).as_str().unwrap() {
            "leading" => Spacing::Leading,
            _ => Spacing::Linspace,
        };
        assert_eq!(config.spacing(), spacing, "{name}");
        assert_eq!(config.threshold() != Threshold::None, of("clip_sample", json!(false)) == true, "{name}");
        assert_eq!(config.end() == PathEnd::Clean, of("set_alpha_to_one", json!(true)) == true, "{name}");
        assert_eq!(of("variance_type", Value::Null) == "fixed_small", name.starts_with("DDPM"), "{name}");
    }
}

/// Injected noise, doubled channels.
#[test]
fn a_run_with_a_learned_variance_is_pythons() {
    let recorded = python();
    for run in recorded["learned_range"].as_array().unwrap() {
        let config = published(run["config"].as_str().unwrap());
        let plan = config.plan(run["steps"].as_u64().unwrap() as usize).unwrap();
        let mut network = |x: &Vec<f32>, at: Point| {
            let eps = x.iter().map(|x| 0.5 * x + 1e-4 * at.t as f32);
            Ok::<_, BoxError>(eps.chain(x.iter().map(|x| (3.0 * x).sin())).collect())
        };
        let mut source = noise::from_fn(|x: &Vec<f32>, draw: Draw| {
            let k = draw.stream() as f64 - 1.0;
            Ok::<_, BoxError>((0..x.len()).map(|i| (1.5 * (1.3 * k + 0.7 * i as f64).sin()) as f32).collect())
        });
        let start = numbers(&run["start"]).into_iter().map(|x| x as f32).collect();
        let found = sample(&plan, start, &mut network, &mut source).unwrap();
        for (found, expected) in found.iter().zip(numbers(&run["end"])) {
            assert!((f64::from(*found) - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} and {expected}");
        }
    }
}

// Classes.

#[test]
fn the_inverse_scheduler_encodes_towards_its_destination() {
    let json = json!({"_class_name": "DDIMInverseScheduler", "set_alpha_to_one": false, "clip_sample": false});
    let plan = read(&json).unwrap().plan(5).unwrap();
    let tau = Timesteps::leading(1000, 5, 0).unwrap().ending(PathEnd::FirstLevel).encoding(Conditioning::Destination);
    assert_eq!(plan, Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddim::deterministic()).unwrap());
    assert_eq!(tau.direction(), Direction::Encode(Conditioning::Destination));
    // By its former name.
    let json = json!({"_class_name": "DDIMInverseScheduler", "set_alpha_to_zero": false});
    assert_eq!(read(&json).unwrap().end(), PathEnd::FirstLevel);
    let json = json!({"_class_name": "DDIMInverseScheduler", "thresholding": true, "timestep_spacing": "linspace"});
    let config = read(&json).unwrap();
    assert_eq!(config.threshold(), Threshold::Clip(1.0));
    assert!(config.notes().contains(&ignored("thresholding", Ignored::NotOfClass(SchedulerClass::DdimInverse))));
    assert!(config.notes().contains(&Note::Differs(Difference::InverseLinspace)));
}

#[test]
fn another_class_has_other_defaults() {
    let euler = read(&json!({"_class_name": "EulerDiscreteScheduler"})).unwrap();
    let default = |key, taken, ddim| Note::Default { key, taken, ddim };
    assert_eq!(
        euler.notes(),
        [
            Note::Differs(Difference::Method(SchedulerClass::EulerDiscrete)),
            default("clip_sample", "false", "true"),
            default("timestep_spacing", "linspace", "leading"),
            Note::Differs(Difference::LinspaceSingle),
            Note::Differs(Difference::List(SchedulerClass::EulerDiscrete)),
        ]
    );
    assert_eq!(euler.with_class(SchedulerClass::Ddim).unwrap().plan(9).unwrap(), {
        let ddim = read(&json!({"_class_name": "DDIMScheduler"})).unwrap();
        ddim.plan(9).unwrap()
    });
}

#[test]
fn every_note_has_a_key_of_the_file_or_of_a_default_and_a_reason() {
    for name in PUBLISHED {
        for class in [None, Some(SchedulerClass::Ddim), Some(SchedulerClass::Ddpm), Some(SchedulerClass::Lcm)] {
            let config = published(name);
            let config = class.map_or(config.clone(), |class| config.with_class(class).unwrap());
            let entries: Value = serde_json::from_str(&config.to_json()).unwrap();
            for note in config.notes() {
                let line = note.to_string();
                assert!(line.starts_with(&format!("{}: ", note.key())) && line.len() > note.key().len() + 10, "{line}");
                let default = matches!(
                    note,
                    Note::Default { .. } | Note::Differs(Difference::List(_) | Difference::LinspaceSingle)
                );
                assert!(default || entries.get(note.key()).is_some(), "{name}: {line}");
            }
        }
    }
}

#[test]
fn variances() {
    for (word, variance, notes) in [
        ("fixed_small", Variance::Posterior, vec![]),
        ("fixed_small_log", Variance::Posterior, vec![]),
        ("fixed_large", Variance::Beta, vec![]),
        ("fixed_large_log", Variance::Beta, vec![Note::Differs(Difference::FixedLargeLog)]),
        ("learned", Variance::Learned, vec![Note::Differs(Difference::Learned)]),
        ("learned_range", Variance::LearnedRange, vec![]),
    ] {
        let config = read(&json!({"_class_name": "DDPMScheduler", "variance_type": word})).unwrap();
        assert_eq!((config.variance(), config.notes()), (variance, &notes[..]), "{word}");
        let ddim = config.with_class(SchedulerClass::Ddim).unwrap();
        let note = if word.starts_with("learned") {
            Note::Differs(Difference::DropVariance)
        } else {
            ignored("variance_type", Ignored::NotOfClass(SchedulerClass::Ddim))
        };
        assert_eq!((ddim.has_learned_variance(), ddim.notes()), (word.starts_with("learned"), &[note][..]));
    }
}

#[test]
fn differences_from_python_are_reported_where_they_are() {
    let notes = |json: Value| read(&json).unwrap().notes().to_vec();
    let has = |json: Value, difference| notes(json).contains(&Note::Differs(difference));
    let ddpm = |spacing: &str, offset| json!({"_class_name": "DDPMScheduler", "timestep_spacing": spacing, "steps_offset": offset});
    assert!(has(ddpm("trailing", 0), Difference::LastStepNoise) && has(ddpm("leading", 1), Difference::LastStepNoise));
    assert!(
        !has(ddpm("linspace", 0), Difference::LastStepNoise) && !has(ddpm("leading", 0), Difference::LastStepNoise)
    );
    let ddim = |offset, one| json!({"_class_name": "DDIMScheduler", "steps_offset": offset, "set_alpha_to_one": one});
    assert!(has(ddim(1, true), Difference::OffsetPredecessor) && has(ddim(2, false), Difference::OffsetPredecessor));
    assert!(!has(ddim(1, false), Difference::OffsetPredecessor) && !has(ddim(0, true), Difference::OffsetPredecessor));
    let sigmoid = |class: &str| json!({"_class_name": class, "beta_schedule": "sigmoid"});
    assert!(has(sigmoid("DDIMScheduler"), Difference::BetaSchedule(SchedulerClass::Ddim)));
    assert_eq!(notes(sigmoid("DDPMScheduler")), []);
    let zero = json!({"_class_name": "EulerDiscreteScheduler", "rescale_betas_zero_snr": true,
        "prediction_type": "v_prediction"});
    assert!(has(zero, Difference::ZeroSnrFloor));
    let betas = json!({"_class_name": "DDPMScheduler", "trained_betas": [0.1, 0.2], "num_train_timesteps": 2,
        "beta_start": 7, "predict_epsilon": true, "end": 1});
    assert_eq!(
        notes(betas),
        [
            ignored("beta_start", Ignored::TrainedBetas),
            Note::Unknown { key: "end".to_owned() },
            ignored("predict_epsilon", Ignored::Removed)
        ]
    );
}

// Nonsense.

#[test]
fn what_makes_no_sense_is_an_error_that_names_the_key() {
    for (key, values, more) in [
        (
            "_class_name",
            vec![json!(null), json!("FlowMatchEulerDiscreteScheduler"), json!(7), json!("DDIM")],
            json!({}),
        ),
        (
            "num_train_timesteps",
            vec![json!(0), json!(1e12 as u64), json!(-1), json!(1000.5), json!("1000"), json!(null)],
            json!({}),
        ),
        ("beta_start", vec![json!(1.5), json!(0), json!(-0.1), json!("NaN"), json!(null), json!([0.1])], json!({})),
        ("beta_end", vec![json!(1), json!(2.0), json!("0.02"), json!(true)], json!({"beta_schedule": "scaled_linear"})),
        ("beta_schedule", vec![json!("cosine"), json!(null), json!(3)], json!({})),
        (
            "beta_schedule",
            vec![json!("linear")],
            json!({"num_train_timesteps": 100_000, "beta_start": 0.9, "beta_end": 0.9}),
        ),
        (
            "trained_betas",
            vec![json!([0.1]), json!([]), json!("linear"), json!({"0": 0.1}), json!([0.1, "NaN"])],
            json!({"num_train_timesteps": 2}),
        ),
        ("trained_betas[1]", vec![json!(null)], json!({"num_train_timesteps": 2, "trained_betas": [0.1, 1.0]})),
        ("prediction_type", vec![json!("v"), json!("flow_prediction"), json!(null)], json!({})),
        ("clip_sample", vec![json!(1), json!("true")], json!({})),
        ("clip_sample_range", vec![json!(0), json!(-1), json!("NaN"), json!(null)], json!({})),
        ("dynamic_thresholding_ratio", vec![json!(1.1), json!(-0.1), json!("x")], json!({"thresholding": true})),
        ("sample_max_value", vec![json!(0.5), json!(null)], json!({"thresholding": true})),
        ("thresholding", vec![json!(0)], json!({})),
        ("timestep_spacing", vec![json!("karras"), json!(null)], json!({})),
        ("steps_offset", vec![json!(-1), json!(1000), json!(0.5)], json!({})),
        ("set_alpha_to_one", vec![json!("yes")], json!({"_class_name": "DDIMScheduler"})),
        ("rescale_betas_zero_snr", vec![json!(true), json!("yes")], json!({})),
        ("rescale_betas_zero_snr", vec![json!(true)], json!({"num_train_timesteps": 1, "prediction_type": "sample"})),
        ("variance_type", vec![json!("fixed"), json!(1)], json!({})),
        ("use_flow_sigmas", vec![json!(true)], json!({"_class_name": "DPMSolverMultistepScheduler"})),
        ("timestep_type", vec![json!("continuous")], json!({"_class_name": "EulerDiscreteScheduler"})),
    ] {
        for value in values {
            let mut config = json!({"_class_name": "DDPMScheduler"});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            if !key.contains('[') {
                config[key] = value;
            }
            match read(&config) {
                Err(Error::Config { key: named, reason, .. }) => {
                    assert_eq!(named, key, "{config}: {reason}");
                    assert!(!reason.is_empty());
                }
                other => panic!("{config}: {other:?}"),
            }
        }
    }
    assert!(matches!(SchedulerConfig::from_json("{}"), Err(Error::Config { key, .. }) if key == "_class_name"));
    // Python's own words for what is no number.
    let error = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler", "beta_end": NaN}"#).unwrap_err();
    assert_eq!(error.to_string(), "beta_end = \"NaN\" is not a finite number");
    let error = SchedulerConfig::from_json(r#"{"_class_name": "DDPMScheduler", "beta_end": 1e400}"#).unwrap_err();
    assert_eq!(error.to_string(), "beta_end = 1e400 is not a finite number");
    let twice = SchedulerConfig::from_json(r#"{"beta_end": 0.1, "_class_name": "DDPMScheduler", "beta_end": 0.2}"#);
    assert!(matches!(twice, Err(Error::Config { key, .. }) if key == "beta_end"));
}

#[test]
fn what_is_no_configuration_is_an_error_that_names_the_place() {
    for (text, place) in [
        ("", (1, 0)),
        ("[]", (1, 0)),
        ("{\"a\": 1,\n \"b\": }", (2, 7)),
        ("{\"a\": 1} 2", (1, 10)),
        ("{1: 2}", (1, 2)),
        ("{\"a\": tru}", (1, 10)),
    ] {
        match SchedulerConfig::from_json(text) {
            Err(Error::ConfigText { line, column, reason }) => {
                assert!((line, column) == place && !reason.is_empty(), "{text:?}: {line}:{column}: {reason}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let invalid = SchedulerConfig::from_slice(b"{\n\"a\xff");
    assert!(matches!(invalid, Err(Error::ConfigText { line: 2, column: 3, .. })));
}

/// What is read is bounded before it is taken apart.
#[test]
fn large_and_deep_input_takes_bounded_work() {
    // What nobody reads is not taken apart, however deep.
    let nested = format!(r#"{{"_class_name": "DDIMScheduler", "a": {}1{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(SchedulerConfig::from_json(&nested).unwrap().notes(), [Note::Unknown { key: "a".to_owned() }]);
    let nested = nested.replace("\"a\"", "\"trained_betas\"");
    assert!(matches!(SchedulerConfig::from_json(&nested), Err(Error::Config { key, .. }) if key == "trained_betas"));
    let keys: Vec<String> = (0..300).map(|i| format!(r#""k{i}": 0"#)).collect();
    let many = format!(r#"{{"_class_name": "DDIMScheduler", {}}}"#, keys.join(", "));
    assert!(matches!(SchedulerConfig::from_json(&many), Err(Error::ConfigText { .. })));
    // An endless file is read no further than the bound.
    let endless = SchedulerConfig::from_reader(std::io::repeat(b' '));
    assert!(matches!(endless, Err(Error::ConfigText { reason, .. }) if reason.contains("bytes")));
    let betas = vec!["0.5"; MAX_TRAIN_STEPS + 1].join(",");
    let long = format!(r#"{{"_class_name": "DDIMScheduler", "trained_betas": [{betas}]}}"#);
    match SchedulerConfig::from_json(&long) {
        Err(Error::Config { key, value, reason }) => {
            assert!(key == "trained_betas" && value.len() < 100 && reason.contains("more than 1000000"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

/// A value that names a key or a place, if it is an error.
fn check(result: &Result<SchedulerConfig, Error>, text: &str) -> Result<(), TestCaseError> {
    match result {
        Ok(config) => {
            let again = SchedulerConfig::from_json(&config.to_json()).unwrap();
            prop_assert_eq!(again.schedule(), config.schedule());
            prop_assert_eq!(again.to_json(), config.to_json());
            // Impossible ones are errors.
            let _ = config.plan(config.schedule().len().min(5));
        }
        Err(Error::Config { key, reason, .. }) => {
            prop_assert!(!reason.is_empty());
            let named = key.split(['[', '…']).next().unwrap();
            prop_assert!(named == "_class_name" || text.contains(named) || text.contains('\\'), "{} in {}", key, text);
        }
        Err(Error::ConfigText { line, .. }) => prop_assert!(*line > 0),
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..1.0).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "linear",
            "sigmoid",
            "laplace",
            "squaredcos_cap_v2",
            "epsilon",
            "sample",
            "v_prediction",
            "leading",
            "trailing",
            "linspace",
            "learned_range",
            "DDIMScheduler",
            "LCMScheduler",
            "NaN",
            "-Infinity",
        ])
        .prop_map(Value::from),
        (0_usize..3000).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = vec![
        "_class_name",
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "clip_sample",
        "clip_sample_range",
        "thresholding",
        "dynamic_thresholding_ratio",
        "sample_max_value",
        "timestep_spacing",
        "steps_offset",
        "set_alpha_to_one",
        "rescale_betas_zero_snr",
        "variance_type",
        "use_flow_sigmas",
        "timestep_type",
        "set_alpha_to_zero",
    ];
    prop_oneof![9 => prop::sample::select(known).prop_map(str::to_owned), 1 => ".{0,10}"]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        check(&SchedulerConfig::from_json(&text), &text)?;
    }

    #[test]
    fn any_object_is_read_or_refused(
        entries in prop::collection::btree_map(any_key(), any_json(), 0..8),
        class in prop::sample::select(vec!["DDIMScheduler", "DDPMScheduler", "DDIMInverseScheduler", "UniPCMultistepScheduler"]),
    ) {
        let mut config = json!({ "_class_name": class });
        config.as_object_mut().unwrap().extend(entries);
        let text = config.to_string();
        check(&SchedulerConfig::from_json(&text), &text)?;
    }

    /// A released configuration with some of its values changed.
    #[test]
    fn changed_values_are_read_or_refused(
        name in prop::sample::select(PUBLISHED.to_vec()),
        changes in prop::collection::vec((any_key(), any_json()), 1..4),
    ) {
        let mut config: Value = serde_json::from_str(&text(name)).unwrap();
        for (key, value) in changes {
            config[key.as_str()] = value;
        }
        let text = config.to_string();
        check(&SchedulerConfig::from_json(&text), &text)?;
    }

    /// A released configuration with some of its bytes changed.
    #[test]
    fn changed_bytes_are_read_or_refused(
        name in prop::sample::select(PUBLISHED.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut bytes = text(name).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        match SchedulerConfig::from_slice(&bytes) {
            Ok(config) => drop(config.plan(config.schedule().len().min(5))),
            Err(Error::Config { .. } | Error::ConfigText { .. }) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

//! The configurations of the Hugging Face Hub: those of released models, what diffusers makes of what is written here, and
//! everything else that a file may hold.

#![cfg(feature = "hub")]

use std::fs;
use std::path::{Path, PathBuf};

use alphabar::hub::{Difference, GuidedDiffusion, Ignored, Note, SchedulerClass, SchedulerConfig, Spacing};
use alphabar::{
    BoxError, Conditioning, Ddim, Ddpm, Direction, Draw, Error, MAX_TRAIN_STEPS, NoiseSchedule, PathEnd, Plan, Pndm,
    Point, Prediction, Threshold, Timesteps, Variance, noise, sample,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn text_of(name: &str) -> String {
    fs::read_to_string(tests().join("data").join(format!("{name}.json"))).unwrap()
}

fn published(name: &str) -> SchedulerConfig {
    SchedulerConfig::from_json(&text_of(name)).unwrap()
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
    assert_eq!(config.schedule().unwrap(), &NoiseSchedule::scaled_linear(1000, 0.00085, 0.012).unwrap());
    assert_eq!((config.prediction(), config.threshold()), (Prediction::Epsilon, Threshold::None));
    assert_eq!(
        (config.spacing(), config.steps_offset(), config.end()),
        (Some(Spacing::Leading), Some(1), Some(PathEnd::FirstLevel))
    );
    assert_eq!(config.notes(), []);
    let tau = Timesteps::leading(1000, 50, 1).unwrap().ending(PathEnd::FirstLevel);
    assert_eq!(config.timesteps(50).unwrap(), tau);
    let plan = config.plan(50).unwrap();
    assert_eq!(plan, Plan::new(config.schedule().unwrap(), &tau, &Pndm::plms()).unwrap());
    assert_eq!(plan.len(), 51);
}

#[test]
fn stable_diffusion_2_1() {
    let config = published("stable-diffusion-2-1");
    assert_eq!((config.class(), config.prediction()), (SchedulerClass::Ddim, Prediction::Velocity));
    assert_eq!((config.steps_offset(), config.end()), (Some(1), Some(PathEnd::FirstLevel)));
    assert_eq!(config.threshold(), Threshold::None);
    assert_eq!(config.notes(), [ignored("skip_prk_steps", Ignored::NotOfClass(SchedulerClass::Ddim))]);
    assert_eq!(config.plan(20).unwrap().prediction(), Prediction::Velocity);
}

#[test]
fn stable_diffusion_xl() {
    let config = published("stable-diffusion-xl-base-1.0");
    let class = SchedulerClass::EulerDiscrete;
    // Its file has `set_alpha_to_one: false`, which Euler's code never reads.
    assert_eq!((config.class(), config.spacing(), config.end()), (class, Some(Spacing::Leading), Some(PathEnd::Clean)));
    // `clip_sample` and `use_karras_sigmas` are false, and need no word.
    let left_over = ["sample_max_value", "set_alpha_to_one", "skip_prk_steps"];
    assert_eq!(config.notes(), left_over.map(|key| ignored(key, Ignored::NotOfClass(class))));
}

#[test]
fn a_v_model_of_zero_terminal_snr() {
    let config = published("hunyuan3d-paint-zero-snr");
    let schedule = NoiseSchedule::stable_diffusion().unwrap().rescale_zero_terminal_snr().unwrap();
    assert_eq!(config.schedule().unwrap(), &schedule);
    assert_eq!((config.spacing(), config.end()), (Some(Spacing::Trailing), Some(PathEnd::Clean)));
    assert_eq!(
        config.notes(),
        [
            Note::Differs(Difference::ZeroSnr),
            ignored("steps_offset", Ignored::Off("leading spacing")),
            Note::Differs(Difference::TrailingLength),
            Note::Differs(Difference::Predecessor),
        ]
    );
    // Where diffusers' first step is NaN.
    let tau = config.timesteps(10).unwrap();
    let plan = config.plan_builder(&tau).unwrap().build(&Ddim::new(1.0).unwrap()).unwrap();
    assert_eq!(plan.steps()[0].from.alpha_bar(), 0.0);
    assert!(plan.steps()[0].coefficients.x.is_finite());
}

#[test]
fn ddpm_of_cifar_10() {
    let config = published("ddpm-cifar10-32");
    assert_eq!(config.schedule().unwrap(), &NoiseSchedule::ddpm().unwrap());
    assert_eq!((config.variance().unwrap(), config.threshold()), (Variance::Beta, Threshold::Clip(1.0)));
    assert_eq!(config.notes(), []);
    let plan = Plan::builder(config.schedule().unwrap(), &Timesteps::all(1000).unwrap())
        .threshold(Threshold::Clip(1.0))
        .build(&Ddpm::new(Variance::Beta))
        .unwrap();
    assert_eq!(config.plan(1000).unwrap(), plan);
}

#[test]
fn a_robots_diffusion_policy() {
    let config = published("diffusion-policy");
    assert_eq!(config.schedule().unwrap(), &NoiseSchedule::cosine(100).unwrap());
    assert_eq!((config.variance().unwrap(), config.threshold()), (Variance::Posterior, Threshold::Clip(1.0)));
    let fixed = [ignored("beta_end", Ignored::FixedSchedule), ignored("beta_start", Ignored::FixedSchedule)];
    assert_eq!(config.notes(), fixed);
    assert_eq!(config.plan(100).unwrap().len(), 100);
}

#[test]
fn networks_with_a_learned_variance() {
    let dit = published("dit-xl-2-256");
    assert_eq!((dit.class(), dit.notes()), (SchedulerClass::Ddim, &[][..]));

    let fit = published("fitv2-learned-range");
    assert_eq!((fit.variance(), fit.has_learned_variance()), (Some(Variance::LearnedRange), true));
    assert_eq!(fit.plan(9).unwrap().steps()[0].learned_noise.map(|k| k > 0.0), Some(true));
    assert_eq!(
        fit.notes(),
        [ignored("clip_sample_range", Ignored::Off("clip_sample")), Note::Differs(Difference::LinspaceSingle)]
    );

    // diffusers clips by the quantile where both are on, and so do we.
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

// What is written: diffusers' answers are recorded by hub/loads.py.

/// The configurations that diffusers is to load, and the names of their files.
fn written() -> Vec<(String, SchedulerConfig)> {
    let mut all: Vec<_> = PUBLISHED.iter().map(|name| ((*name).to_owned(), published(name))).collect();
    for name in ["stable-diffusion-v1-5", "stable-diffusion-xl-base-1.0"] {
        all.push((format!("{name}-as-ddim"), published(name).with_class(SchedulerClass::Ddim).unwrap()));
    }
    let inverse = published("stable-diffusion-v1-5").with_class(SchedulerClass::DdimInverse).unwrap();
    all.push(("stable-diffusion-v1-5-inverse".to_owned(), inverse));
    let solver =
        r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "solver_order": 3}"#;
    let unclip = json!({"_class_name": "UnCLIPScheduler", "variance_type": "learned_range", "num_train_timesteps": 50});
    all.push(("unclip".to_owned(), read(&unclip).unwrap()));
    all.push(("dpm-solver".to_owned(), SchedulerConfig::from_json(solver).unwrap()));
    let laplace = json!({"_class_name": "DDPMScheduler", "beta_schedule": "laplace", "num_train_timesteps": 100});
    all.push(("laplace".to_owned(), read(&laplace).unwrap()));
    let own = NoiseSchedule::from_betas((1..=20).map(|i| 1e-4 + f64::from(i * i) / 1300.0)).unwrap();
    let own = SchedulerConfig::from_schedule(SchedulerClass::Ddim, &own, Prediction::Velocity).unwrap();
    all.push(("custom-schedule".to_owned(), own));
    all
}

/// A class that cannot hold the schedule is refused, and the path ends in clean data.
#[test]
fn a_custom_schedule_is_that_of_the_class() {
    let schedule = NoiseSchedule::linear(20, 1e-3, 0.2).unwrap();
    for class in SchedulerClass::all() {
        match SchedulerConfig::from_schedule(class, &schedule, Prediction::Epsilon) {
            Ok(config) => {
                assert_eq!(config.schedule().unwrap().betas(), schedule.betas(), "{class}");
                let again = SchedulerConfig::from_json(&config.to_json()).unwrap();
                assert_eq!(again.plan(7).ok(), config.plan(7).ok(), "{class}");
                let has_a_key = !["TCD", "DEIS", "SASolver", "DPMSolverMultistepInverse"]
                    .into_iter()
                    .any(|name| class.name().starts_with(name));
                assert!(!has_a_key || config.end() == Some(PathEnd::Clean), "{class}");
            }
            Err(error) => {
                assert!(error.to_string().contains("takes no trained_betas"), "{class}: {error}");
                let bare = read(&bare(class.name())).unwrap();
                assert!(class == SchedulerClass::UnClip || bare.schedule().is_err(), "{class}");
            }
        }
    }
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
        assert_eq!(loaded["len"], config.schedule().unwrap().len(), "{name}");
        assert_eq!(alpha_bars.len(), config.schedule().unwrap().len().div_ceil(37), "{name}");
        for (level, theirs) in config.schedule().unwrap().levels().iter().rev().step_by(37).zip(alpha_bars) {
            // Tables in f32; the cosine's last ᾱ differ by more than the rounding of one product.
            let error = (level.alpha_bar() - theirs).abs();
            assert!(error <= 2e-6 * theirs + 1e-9, "{name}: {} and {theirs}", level.alpha_bar());
        }
        if let Some(list) = loaded["timesteps"].as_array() {
            let ours: Vec<Value> = config.timesteps(10).unwrap().as_slice().iter().map(|t| json!(t)).collect();
            assert_eq!(&ours, list, "{name}");
        }
        let of = |key: &str| loaded["config"].get(key).cloned().unwrap_or(Value::Null);
        if matches!(
            config.class(),
            SchedulerClass::Ddim | SchedulerClass::Ddpm | SchedulerClass::DdimInverse | SchedulerClass::EulerDiscrete
        ) {
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
            let acts = config.class() != SchedulerClass::EulerDiscrete;
            assert_eq!(config.end().unwrap() == PathEnd::FirstLevel, acts && of("set_alpha_to_one") == false, "{name}");
        } else {
            assert_eq!(of("skip_prk_steps") == true, name.starts_with("stable"), "{name}");
            assert_eq!(of("solver_order") == 3, name == "dpm-solver", "{name}");
        }
    }
}

/// The least configuration of a class.
fn bare(name: &str) -> Value {
    json!({ "_class_name": name })
}

/// A class by its name alone: every default.
#[test]
fn defaults_are_those_of_the_classes_of_diffusers() {
    let recorded = python();
    let classes = recorded["defaults"].as_object().unwrap();
    assert_eq!(classes.len(), 23);
    for (name, defaults) in classes {
        let config = read(&bare(name)).unwrap();
        let class = config.class();
        assert_eq!(class.name(), name);
        let of = |key: &str, otherwise: Value| defaults.get(key).cloned().unwrap_or(otherwise);
        let number = |key: &str| defaults[key].as_f64().unwrap();
        assert_eq!(config.schedule().unwrap().len(), defaults["num_train_timesteps"]);
        assert_eq!((config.prediction(), &defaults["prediction_type"]), (Prediction::Epsilon, &json!("epsilon")));
        let schedule = match defaults["beta_schedule"].as_str().unwrap() {
            "linear" => NoiseSchedule::linear(1000, number("beta_start"), number("beta_end")),
            "scaled_linear" => NoiseSchedule::scaled_linear(1000, number("beta_start"), number("beta_end")),
            "squaredcos_cap_v2" => NoiseSchedule::cosine(1000),
            other => panic!("{other}"),
        };
        let schedule = schedule.unwrap().shifted(of("snr_shift_scale", json!(1.0)).as_f64().unwrap()).unwrap();
        assert_eq!(config.schedule().unwrap(), &schedule, "{name}");
        // Samplers that work in σ have "linspace" without a key for it; UnCLIP too. LCM and TCD do not read theirs.
        let spacing = of("timestep_spacing", json!("linspace"));
        assert_eq!(spacing, config.spacing().unwrap().to_string(), "{name}");
        assert_eq!(of("steps_offset", json!(0)), config.steps_offset().unwrap(), "{name}");
        // CogVideoX's code has no clip, though its constructor takes one.
        let clips = of("clip_sample", json!(false)) == true && !name.starts_with("CogVideoX");
        assert_eq!(config.threshold(), if clips { Threshold::Clip(1.0) } else { Threshold::None }, "{name}");
        // DEIS and SA-Solver end at σ of t = 0, without a key for it; TCD, too, whatever its key says.
        let at_first = matches!(class, SchedulerClass::DeisMultistep | SchedulerClass::SaSolver);
        let clean = if class == SchedulerClass::Tcd { json!(false) } else { of("set_alpha_to_one", json!(!at_first)) };
        assert_eq!(config.end().unwrap() == PathEnd::Clean, clean == true, "{name}");
        assert_eq!(of("final_sigmas_type", json!("zero")), "zero");
        assert_eq!(config.variance().unwrap(), Variance::Posterior);
        let fixed = matches!(of("variance_type", Value::Null).as_str(), None | Some("fixed_small" | "fixed_small_log"));
        assert!(fixed && !config.has_learned_variance(), "{name}");
        assert_eq!(of("rescale_betas_zero_snr", json!(false)), false, "{name}");
        assert_eq!(of("thresholding", json!(false)), false, "{name}");
    }
    // Another end of β would not be seen in ᾱ[999] alone.
    let sde = read(&bare("DPMSolverSDEScheduler")).unwrap();
    assert!(
        (sde.schedule().unwrap().betas()[999] - 0.012).abs() < 1e-15
            && (sde.schedule().unwrap().betas()[0] - 0.00085).abs() < 1e-15
    );
}

/// The keys that a constructor takes and no code reads; LCM's strides come from `original_inference_steps`.
fn idle(class: SchedulerClass) -> &'static [&'static str] {
    const CLIPS: [&str; 3] = ["clip_sample", "clip_sample_range", "sample_max_value"];
    match class {
        SchedulerClass::CogVideoXDdim | SchedulerClass::CogVideoXDpm => &CLIPS,
        SchedulerClass::Lcm => &["timestep_spacing", "steps_offset", "set_alpha_to_one"],
        SchedulerClass::Tcd => &[
            "set_alpha_to_one",
            "timestep_scaling",
            "timestep_spacing",
            "steps_offset",
            "clip_sample",
            "clip_sample_range",
            "sample_max_value",
            "thresholding",
            "dynamic_thresholding_ratio",
        ],
        _ => &[],
    }
}

/// Key by key and class by class: a key that its class does not have, or does not read, changes nothing and is noted.
#[test]
fn a_key_acts_in_the_classes_that_have_it_and_is_noted_in_the_others() {
    let recorded = python();
    let classes = recorded["defaults"].as_object().unwrap();
    // Values that none of the classes has by default, and that change something wherever they act.
    let values = [
        ("num_train_timesteps", json!(500)),
        ("beta_start", json!(0.0002)),
        ("beta_end", json!(0.011)),
        ("beta_schedule", json!("linear")),
        ("prediction_type", json!("v_prediction")),
        ("clip_sample", json!(true)),
        ("clip_sample_range", json!(2.0)),
        ("thresholding", json!(true)),
        ("dynamic_thresholding_ratio", json!(0.9)),
        ("sample_max_value", json!(1.5)),
        ("timestep_spacing", json!("trailing")),
        ("steps_offset", json!(1)),
        ("set_alpha_to_one", json!(false)),
        ("final_sigmas_type", json!("sigma_min")),
        ("rescale_betas_zero_snr", json!(true)),
        ("variance_type", json!("learned_range")),
        ("original_inference_steps", json!(100)),
        ("use_karras_sigmas", json!(true)),
        ("use_exponential_sigmas", json!(true)),
        ("use_beta_sigmas", json!(true)),
        ("use_lu_lambdas", json!(true)),
        ("sigma_min", json!(0.1)),
        ("sigma_max", json!(10)),
        ("interpolation_type", json!("log_linear")),
        ("timestep_type", json!("continuous")),
        ("skip_prk_steps", json!(true)),
        ("solver_order", json!(3)),
        ("algorithm_type", json!("dpmsolver")),
        ("euler_at_final", json!(true)),
        ("lambda_min_clipped", json!(-2.0)),
        ("noise_sampler_seed", json!(7)),
        ("tau_func", json!(null)),
        ("disable_corrector", json!([0])),
    ];
    let unnoted = |config: &SchedulerConfig, key: &str| !config.notes().iter().any(|note| note.key() == key);
    for (name, defaults) in classes {
        let class: SchedulerClass = name.parse().unwrap();
        // The clip's range, the offset and the like act only beside the option that they belong to.
        let mut base = bare(name);
        for (key, value) in [("clip_sample", json!(true)), ("timestep_spacing", json!("leading"))] {
            if defaults.get(key).is_some() {
                base[key] = value;
            }
        }
        for (key, value) in &values {
            let mut with = base.clone();
            if key.starts_with("dynamic") || *key == "sample_max_value" {
                with["thresholding"] = json!(true);
            }
            let without = read(&with).unwrap();
            with[*key] = value.clone();
            let has = defaults.get(*key).is_some() && !idle(class).contains(key);
            // A word that is another class's.
            let changed = match read(&with) {
                Ok(changed) => changed,
                Err(Error::Config { key: named, .. }) => {
                    assert!(has && named == *key, "{name} refuses {key}");
                    continue;
                }
                Err(error) => panic!("{name}, {key}: {error}"),
            };
            let same = |a: &SchedulerConfig, b: &SchedulerConfig| {
                (
                    a.schedule().unwrap() == b.schedule().unwrap(),
                    a.prediction(),
                    a.threshold(),
                    a.end(),
                    a.variance(),
                    a.has_learned_variance(),
                ) == (true, b.prediction(), b.threshold(), b.end(), b.variance(), b.has_learned_variance())
                    && a.timesteps(7).unwrap() == b.timesteps(7).unwrap()
                    && a.plan(7).ok() == b.plan(7).ok()
            };
            let nothing_to_do = base.get(*key) == Some(value) || defaults.get(*key) == Some(value);
            let took_effect = !same(&without, &changed);
            if took_effect {
                // A network with a learned variance is one, whatever the class.
                assert!(has || *key == "variance_type", "{name}: {key} takes effect");
            } else {
                assert!(!unnoted(&changed, key) || has && nothing_to_do, "{name}: {key} is without effect or note");
            }
        }
    }
}

#[test]
fn the_key_list_of_a_class_is_its_constructors() {
    let recorded = python();
    let classes = recorded["defaults"].as_object().unwrap();
    for (name, defaults) in classes {
        let class: SchedulerClass = name.parse().unwrap();
        for key in classes.values().flat_map(|keys| keys.as_object().unwrap().keys()) {
            let mut config = bare(name);
            config[key.as_str()] = if key == "trained_betas" { json!(null) } else { json!("nothing") };
            let not_of_class = Note::Ignored { key: key.clone(), reason: Ignored::NotOfClass(class) };
            let has = defaults.get(key).is_some() && !idle(class).contains(&key.as_str());
            let Ok(config) = read(&config) else {
                assert!(has || matches!(key.as_str(), "use_flow_sigmas"), "{name} reads {key}");
                continue;
            };
            assert_eq!(!config.notes().contains(&not_of_class), has, "{name}, {key}: {:?}", config.notes());
        }
    }
}

#[test]
fn timesteps_are_those_of_the_classes() {
    let recorded = python();
    let lists = recorded["timesteps"].as_array().unwrap();
    assert!(lists.len() > 200);
    for record in lists {
        let [name, spacing] = ["class", "spacing"].map(|key| record[key].as_str().unwrap());
        let mut json = bare(name);
        json["timestep_spacing"] = json!(spacing);
        let config = read(&json).unwrap();
        let steps = record["steps"].as_u64().unwrap() as usize;
        let ours: Vec<Value> = config.timesteps(steps).unwrap().as_slice().iter().map(|t| json!(t)).collect();
        assert_eq!(&json!(ours), &record["timesteps"], "{name}, {spacing}, S = {steps}");
    }
    // Whatever a file says.
    for spacing in ["leading", "trailing", "linspace"] {
        let config =
            read(&json!({"_class_name": "DPMSolverSinglestepScheduler", "timestep_spacing": spacing})).unwrap();
        assert_eq!(config.timesteps(4).unwrap().as_slice(), [999, 749, 500, 250]);
        let reason = Ignored::NotOfClass(SchedulerClass::DpmSolverSinglestep);
        assert!(config.notes().contains(&ignored("timestep_spacing", reason)));
    }
    let lcm = read(&bare("LCMScheduler")).unwrap();
    assert_eq!(lcm.timesteps(4).unwrap().as_slice(), [999, 759, 499, 259]);
    for steps in [0, 51, usize::MAX] {
        assert!(matches!(lcm.timesteps(steps), Err(Error::Count { max: 50, .. })));
    }
    let dpm = read(&bare("DPMSolverMultistepScheduler")).unwrap();
    assert_eq!(dpm.timesteps(1000).unwrap(), Timesteps::all(1000).unwrap());
    for steps in [0, 1001, usize::MAX] {
        assert!(dpm.timesteps(steps).is_err());
    }
}

/// The Euler step on x/√ᾱ is DDIM's on x, and Euler ancestral's is that of η = 1.
#[test]
fn euler_runs_are_those_of_diffusers() {
    let recorded = python();
    let runs = recorded["euler"].as_array().unwrap();
    assert_eq!(runs.len(), 16);
    for run in runs {
        let mut json = run["config"].clone();
        json["_class_name"] = run["class"].clone();
        json["timestep_spacing"] = run["spacing"].clone();
        let config = read(&json).unwrap();
        let plan = config.plan(run["steps"].as_u64().unwrap() as usize).unwrap();
        let mut network = |_: &Vec<f64>, _: Point| Ok::<_, BoxError>(vec![0.4]);
        let mut source = noise::from_fn(|_: &Vec<f64>, _: Draw| Ok::<_, BoxError>(vec![0.3]));
        let found = sample(&plan, vec![0.7], &mut network, &mut source).unwrap()[0];
        let expected = run["end"].as_f64().unwrap();
        // Their tables are f32.
        assert!((found - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{run}: {found}");
    }
}

/// Both samplers re-typed in σ (Karras et al. 2022; Algorithm 2 of k-diffusion's ancestral sampler), on the same levels.
#[test]
fn euler_is_ddim() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    for (class, ancestral) in [("EulerDiscreteScheduler", false), ("EulerAncestralDiscreteScheduler", true)] {
        let json = json!({"_class_name": class, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "timestep_spacing": "trailing"});
        let config = read(&json).unwrap();
        assert_eq!(config.notes(), [Note::Differs(Difference::TrailingLength)]);
        let plan = config.plan(10).unwrap();
        let ddim = Plan::new(&schedule, &tau, &Ddim::new(f64::from(u8::from(ancestral))).unwrap()).unwrap();
        for (euler, ddim) in plan.steps().iter().zip(ddim.steps()) {
            assert_eq!((euler.t, euler.from, euler.to), (ddim.t, ddim.from, ddim.to));
            assert!((euler.coefficients.x - ddim.coefficients.x).abs() <= 1e-14 * ddim.coefficients.x);
        }
        for step in plan.steps() {
            let (from, to) = (step.from.sigma(), step.to.sigma());
            let up = if ancestral { to * ((from * from - to * to) / (from * from)).sqrt() } else { 0.0 };
            let down = (to * to - up * up).sqrt();
            // x = √ᾱ·y, y′ = y + (σ_down − σ)·ε + σ_up·z
            let (signal, k) = (step.to.signal(), &step.coefficients);
            for (ours, theirs) in
                [(k.x, signal / step.from.signal()), (k.model, signal * (down - from)), (k.d, signal * up)]
            {
                assert!((ours - theirs).abs() <= 1e-9 * theirs.abs(), "{ours} and {theirs}");
            }
        }
    }
    // A key that Euler does not have changes nothing.
    let json = json!({"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "timestep_spacing": "trailing", "set_alpha_to_one": false, "clip_sample": true,
        "thresholding": true});
    let config = read(&json).unwrap();
    let x = |plan: Plan| plan.steps()[0].coefficients.x * 0.7 + plan.steps()[0].coefficients.model * 0.4;
    assert!((x(config.plan(1).unwrap()) - 4.408_312_989).abs() < 1e-8);
    // On the tables of diffusers; 4.418101 if it ended at t = 0.
    let tables = config.diffusers_tables().unwrap().schedule().unwrap();
    assert!(
        (x(Plan::new(&tables, &config.timesteps(1).unwrap(), &Ddim::deterministic()).unwrap()) - 4.408_314).abs()
            < 1e-6
    );
    for key in ["set_alpha_to_one", "clip_sample", "thresholding"] {
        assert!(config.notes().contains(&ignored(key, Ignored::NotOfClass(SchedulerClass::EulerDiscrete))));
    }
    // The end that it does have.
    let json = json!({"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "sigma_min"});
    assert_eq!(read(&json).unwrap().end(), Some(PathEnd::FirstLevel));
}

#[test]
fn a_last_step_from_zero_to_zero_is_noted() {
    let notes = |json: Value| read(&json).unwrap().notes().contains(&Note::StandsStill);
    let ddim = |spacing: &str, offset, one| json!({"_class_name": "DDIMScheduler", "timestep_spacing": spacing, "steps_offset": offset, "set_alpha_to_one": one});
    for (spacing, offset, one, stands) in [
        ("linspace", 0, false, true),
        ("linspace", 0, true, false),
        ("leading", 0, false, true),
        ("leading", 1, false, false),
        ("leading", 0, true, false),
        ("trailing", 0, false, false),
    ] {
        let json = ddim(spacing, offset, one);
        assert_eq!(notes(json.clone()), stands, "{json}");
        let last = read(&json).unwrap().plan(10).unwrap().steps()[9].clone();
        assert_eq!(last.from == last.to, stands, "{json}");
    }
    // By its class's default; and DEIS, whose list does not end at t = 0.
    assert!(notes(json!({"_class_name": "PNDMScheduler"})) && !notes(json!({"_class_name": "DEISMultistepScheduler"})));
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
    let config = read(&json).unwrap();
    let renamed = Difference::Renamed { from: "set_alpha_to_zero", to: "set_alpha_to_one" };
    assert!(config.end().unwrap() == PathEnd::FirstLevel && config.notes().contains(&Note::Differs(renamed)));
    let json = json!({"_class_name": "DDIMInverseScheduler", "thresholding": true, "timestep_spacing": "linspace"});
    let config = read(&json).unwrap();
    assert_eq!(config.threshold(), Threshold::Clip(1.0));
    assert!(config.notes().contains(&ignored("thresholding", Ignored::NotOfClass(SchedulerClass::DdimInverse))));
    assert!(config.notes().contains(&Note::Differs(Difference::InverseLinspace)));
}

#[test]
fn another_class_has_other_defaults() {
    let lms = read(&json!({"_class_name": "LMSDiscreteScheduler"})).unwrap();
    assert_eq!((lms.spacing(), lms.threshold()), (Some(Spacing::Linspace), Threshold::None));
    assert_eq!(lms.with_class(SchedulerClass::Ddim).unwrap().plan(9).unwrap(), {
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
                    Note::StandsStill | Note::Differs(Difference::Quirk(_) | Difference::LinspaceSingle)
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
        assert_eq!((config.variance().unwrap(), config.notes()), (variance, &notes[..]), "{word}");
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
    let sample = json!({"_class_name": "KDPM2DiscreteScheduler", "prediction_type": "sample"});
    assert!(has(sample, Difference::PredictionType(SchedulerClass::Kdpm2Discrete)));
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

// Zero terminal SNR with ε-prediction: as published models have it.

#[test]
fn only_the_plan_that_needs_x0_at_pure_noise_is_refused() {
    let json = json!({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true, "steps_offset": 1, "clip_sample": false});
    let config = read(&json).unwrap();
    assert_eq!(config.schedule().unwrap(), &NoiseSchedule::ddpm().unwrap().rescale_zero_terminal_snr().unwrap());
    assert!(config.schedule().unwrap().levels()[999].is_pure_noise());
    assert!(config.notes().contains(&Note::Differs(Difference::ZeroSnrEpsilon)));
    let plan = config.plan(50).unwrap();
    assert_eq!((plan.steps()[0].t, plan.steps()[49].t), (981.0, 1.0));
    // Started at ᾱ = 0, at the step that does.
    let mut trailing = json.clone();
    trailing["timestep_spacing"] = json!("trailing");
    match read(&trailing).unwrap().plan(50) {
        Err(Error::AtStep { index: 0, t: 999.0, source }) => assert!(matches!(*source, Error::Undetermined { .. })),
        other => panic!("{other:?}"),
    }
    assert!(matches!(config.plan(1000), Err(Error::LeadingOffset { t: 1000, .. })));
    let steps = Timesteps::explicit(1000, [998, 500]).unwrap();
    assert!(config.plan_builder(&steps).unwrap().build(&Ddim::deterministic()).is_ok());
    // The classes without that key leave their schedule alone.
    let json = json!({"_class_name": "HeunDiscreteScheduler", "rescale_betas_zero_snr": true, "beta_start": 1e-4, "beta_end": 0.02});
    let heun = read(&json).unwrap();
    assert_eq!(heun.schedule().unwrap(), &NoiseSchedule::ddpm().unwrap());
    assert!(
        heun.notes().contains(&ignored("rescale_betas_zero_snr", Ignored::NotOfClass(SchedulerClass::HeunDiscrete)))
    );
}

// Keys of early versions, by what their code did with them.

#[test]
fn keys_of_early_versions_mean_what_they_meant() {
    // 0.7 and 0.8; 0.9 to 0.11 read it as prediction_type = sample.
    let json = json!({"_class_name": "DDPMScheduler", "num_train_timesteps": 64, "beta_schedule": "squaredcos_cap_v2",
        "predict_epsilon": false});
    let config = read(&json).unwrap();
    assert_eq!((config.prediction(), config.plan(64).unwrap().prediction()), (Prediction::Sample, Prediction::Sample));
    assert_eq!(config.notes(), [Note::Differs(Difference::PredictEpsilon)]);
    assert_eq!(config.with_class(SchedulerClass::Ddim).unwrap().prediction(), Prediction::Sample);
    for (old, now, prediction) in [
        (json!(true), Value::Null, Prediction::Epsilon),
        (json!(true), json!("v_prediction"), Prediction::Velocity),
        (json!(false), json!("sample"), Prediction::Sample),
        (Value::Null, json!("sample"), Prediction::Sample),
    ] {
        let mut json = json!({"_class_name": "DPMSolverMultistepScheduler", "predict_epsilon": old});
        if !now.is_null() {
            json["prediction_type"] = now;
        }
        let config = read(&json).unwrap();
        assert_eq!(config.prediction(), prediction, "{json}");
        assert!(config.notes().contains(&ignored("predict_epsilon", Ignored::Removed)), "{json}");
    }
    // 0.0.3 and 0.0.4.
    let json = json!({"_class_name": "DDPMScheduler", "timesteps": 200, "clip_predicted_image": false, "tensor_format": "np",
        "timestep_values": null});
    let config = read(&json).unwrap();
    assert_eq!((config.schedule().unwrap().len(), config.threshold()), (200, Threshold::None));
    let renamed = |from, to| Note::Differs(Difference::Renamed { from, to });
    let removed = |key| ignored(key, Ignored::Removed);
    assert_eq!(
        config.notes(),
        [
            renamed("clip_predicted_image", "clip_sample"),
            removed("tensor_format"),
            removed("timestep_values"),
            renamed("timesteps", "num_train_timesteps"),
        ]
    );
    // The present name goes first.
    let json = json!({"_class_name": "DDPMScheduler", "timesteps": 200, "num_train_timesteps": 100,
        "clip_predicted_image": false, "clip_sample": true});
    let config = read(&json).unwrap();
    assert_eq!((config.schedule().unwrap().len(), config.threshold()), (100, Threshold::Clip(1.0)));
    assert_eq!(config.notes(), [removed("clip_predicted_image"), removed("timesteps")]);
    assert!(
        matches!(read(&json!({"_class_name": "DDPMScheduler", "timesteps": [9, 4]})), Err(Error::Config { key, .. }) if key == "timesteps")
    );
    // Arguments of step().
    let config = read(&json!({"_class_name": "DDIMScheduler", "eta": 0.5, "s_noise": 1.0})).unwrap();
    assert_eq!(config.notes(), ["eta", "s_noise"].map(|key| ignored(key, Ignored::StepArgument)));
    assert!(config.notes()[0].to_string().contains("Run::eta"));
    // Written again they mean it still, also in classes whose defaults are written out.
    for (name, key, value) in [
        ("UnCLIPScheduler", "timesteps", json!(2001)),
        ("DDPMScheduler", "predict_epsilon", json!(false)),
        ("DDPMScheduler", "clip_predicted_image", json!(false)),
        ("DDIMInverseScheduler", "set_alpha_to_zero", json!(false)),
    ] {
        let mut json = bare(name);
        json[key] = value;
        let config = read(&json).unwrap();
        let again = SchedulerConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(again.plan(7).unwrap(), config.plan(7).unwrap(), "{key}");
        assert_ne!(config.plan(7).unwrap(), read(&bare(name)).unwrap().plan(7).unwrap(), "{key}");
    }
}

// Files that do not name a class, and classes that are another by another name.

#[test]
fn a_file_is_read_as_a_class_of_ones_choice() {
    let text = r#"{"num_train_timesteps":100,"beta_schedule":"squaredcos_cap_v2","clip_sample":true,"prediction_type":"epsilon"}"#;
    let config = SchedulerConfig::from_json_as(text, SchedulerClass::Ddim).unwrap();
    assert_eq!(config.class(), SchedulerClass::Ddim);
    let plan = config.plan(16).unwrap();
    let ts: Vec<_> = plan.steps().iter().map(|step| step.t).collect();
    assert_eq!((ts[0], ts[1], ts[15], ts.len()), (90.0, 84.0, 0.0, 16));
    assert!((config.schedule().unwrap().levels()[99].alpha_bar() / 2.4286e-7 - 1.0).abs() < 1e-4);
    assert_eq!(config.threshold(), Threshold::Clip(1.0));
    assert!(matches!(SchedulerConfig::from_json(text), Err(Error::ConfigKeyMissing { .. })));
    // The class of the file gives way, as in with_class.
    for class in [SchedulerClass::Ddim, SchedulerClass::EulerDiscrete, SchedulerClass::Ddpm] {
        for name in PUBLISHED {
            let read = SchedulerConfig::from_json_as(&text_of(name), class).unwrap();
            assert_eq!(
                read,
                if published(name).class() == class {
                    read.clone()
                } else {
                    published(name).with_class(class).unwrap()
                }
            );
        }
    }
    // Of a class that is not here, too; but not of flow matching.
    let other = r#"{"_class_name": "MyScheduler", "beta_end": 0.012}"#;
    assert!(SchedulerConfig::from_json(other).is_err());
    assert!(SchedulerConfig::from_json_as(other, SchedulerClass::Ddim).is_ok());
    let flow = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#;
    let error = SchedulerConfig::from_json_as(flow, SchedulerClass::Ddim).unwrap_err();
    assert!(error.to_string().contains("flow-matching model, which has no β schedule"), "{error}");
    let flow = SchedulerConfig::from_json(flow).unwrap();
    assert!(flow.clone().with_class(SchedulerClass::Ddpm).is_err() && flow.schedule().is_err());
    assert!(flow.with_class(SchedulerClass::FlowMatchHeunDiscrete).is_ok());
    let flow =
        r#"{"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": true, "prediction_type": "flow_prediction"}"#;
    assert!(SchedulerConfig::from_json_as(flow, SchedulerClass::Ddim).is_err());
    assert!(SchedulerConfig::from_json_as(flow, SchedulerClass::FlowMatchEulerDiscrete).is_ok());
    assert!(SchedulerConfig::from_json_as(flow, SchedulerClass::DpmSolverMultistep).is_ok());
    let table = r#"{"_class_name": "DDIMScheduler"}"#;
    assert!(SchedulerConfig::from_json_as(table, SchedulerClass::FlowMatchLcm).is_err());
}

/// LeRobot's policy and diffusion policy's, after its YAML.
#[test]
fn robots_files_are_read_for_their_scheduler() {
    let lerobot = json!({"type": "diffusion", "n_obs_steps": 2, "horizon": 16, "vision_backbone": "resnet18",
        "noise_scheduler_type": "DDIM", "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "beta_start": 0.0001,
        "beta_end": 0.02, "prediction_type": "epsilon", "clip_sample": true, "clip_sample_range": 1.0,
        "num_inference_steps": null});
    let config = read(&lerobot).unwrap();
    assert_eq!(
        (config.class(), config.schedule().unwrap()),
        (SchedulerClass::Ddim, &NoiseSchedule::cosine(100).unwrap())
    );
    assert_eq!(config.notes(), ["beta_end", "beta_start"].map(|key| ignored(key, Ignored::FixedSchedule)));
    let section = json!({"_target_": "diffusers.schedulers.scheduling_ddpm.DDPMScheduler", "num_train_timesteps": 100,
        "beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_small", "clip_sample": true});
    let policy = json!({"horizon": 16, "noise_scheduler": section});
    for file in [&section, &policy] {
        let config = read(file).unwrap();
        assert_eq!(
            (config.class(), config.schedule().unwrap().len(), config.notes()),
            (SchedulerClass::Ddpm, 100, &[][..])
        );
    }
    assert_eq!(
        SchedulerConfig::from_json_as(&policy.to_string(), SchedulerClass::Ddim).unwrap().class(),
        SchedulerClass::Ddim
    );
    let unknown = json!({"noise_scheduler_type": "Flow", "num_train_timesteps": 100});
    assert!(matches!(read(&unknown), Err(Error::Config { key, .. }) if key == "_class_name"));
}

/// `script_util.create_gaussian_diffusion` and the model flags of guided-diffusion's README.
#[test]
fn flags_of_guided_diffusion() {
    let flags = "MODEL_FLAGS=\"--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --image_size 256 \\\n\
        --learn_sigma True --noise_schedule linear --num_channels 256 --use_fp16 True\"";
    let read = GuidedDiffusion::from_flags(flags).unwrap();
    assert_eq!((&read.schedule, read.variance), (&NoiseSchedule::ddpm().unwrap(), Variance::LearnedRange));
    assert_eq!((read.prediction, read.threshold, read.ddim), (Prediction::Epsilon, Threshold::Clip(1.0), false));
    // "" means all T.
    assert_eq!(read.timesteps, Timesteps::all(1000).unwrap());
    let empty = GuidedDiffusion::from_flags(&format!("{flags} --timestep_respacing \"\"")).unwrap();
    assert_eq!(empty, read);
    let bare = GuidedDiffusion::from_flags("").unwrap();
    assert_eq!((bare.variance, &bare.schedule, &bare.timesteps), (Variance::Beta, &read.schedule, &read.timesteps));

    let ddim = GuidedDiffusion::from_flags(
        "--noise_schedule=cosine --diffusion_steps 4000 --predict_xstart True --sigma_small True --timestep_respacing ddim25 \
         --use_ddim True --clip_denoised False --rescale_timesteps False",
    )
    .unwrap();
    let plan = ddim.plan().unwrap();
    assert_eq!((&ddim.schedule, ddim.variance), (&NoiseSchedule::cosine(4000).unwrap(), Variance::Posterior));
    assert_eq!((plan.len(), plan.steps()[0].t), (25, 3840.0));
    assert!(plan.to_string().starts_with("DDIM,"));
    assert_eq!((ddim.prediction, ddim.threshold), (Prediction::Sample, Threshold::None));
    // β scales with 1000/T.
    let four = GuidedDiffusion::from_flags("--diffusion_steps 4000").unwrap();
    assert_eq!(four.schedule, NoiseSchedule::linear(4000, 0.25e-4, 0.005).unwrap());

    for (flags, key) in [
        ("--noise_schedule sqrt", "noise_schedule"),
        ("--diffusion_steps 0", "diffusion_steps"),
        ("--diffusion_steps 10000000000", "diffusion_steps"),
        ("--diffusion_steps 10", "noise_schedule"),
        ("--learn_sigma", "learn_sigma"),
        ("--learn_sigma maybe", "learn_sigma"),
        ("--rescale_timesteps True --diffusion_steps 4000", "rescale_timesteps"),
    ] {
        match GuidedDiffusion::from_flags(flags) {
            Err(Error::Config { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{flags}: {other:?}"),
        }
    }
    assert!(GuidedDiffusion::from_flags("--rescale_timesteps True").is_ok());
    assert!(matches!(GuidedDiffusion::from_flags("--timestep_respacing fast27"), Err(Error::Respacing { .. })));
}

#[test]
fn flax_unclip_and_cogvideox() {
    for (name, class) in [
        ("FlaxDDIMScheduler", SchedulerClass::Ddim),
        ("FlaxDDPMScheduler", SchedulerClass::Ddpm),
        ("FlaxPNDMScheduler", SchedulerClass::Pndm),
        ("FlaxLMSDiscreteScheduler", SchedulerClass::LmsDiscrete),
        ("FlaxEulerDiscreteScheduler", SchedulerClass::EulerDiscrete),
        ("FlaxDPMSolverMultistepScheduler", SchedulerClass::DpmSolverMultistep),
    ] {
        let config = read(&json!({ "_class_name": name })).unwrap();
        assert_eq!(config.class(), class);
        assert!(config.notes().contains(&Note::Differs(Difference::Flax(class))));
        assert!(config.to_json().contains(class.name()) && !config.to_json().contains("Flax"));
        assert_eq!(config.plan(9).unwrap(), read(&json!({ "_class_name": class.name() })).unwrap().plan(9).unwrap());
    }

    // DDPM along UnCLIP's list.
    let unclip = read(&json!({"_class_name": "UnCLIPScheduler", "variance_type": "learned_range"})).unwrap();
    assert_eq!((unclip.notes(), unclip.variance()), (&[][..], Some(Variance::LearnedRange)));
    let tau = Timesteps::linspace(1000, 25).unwrap();
    let builder = Plan::builder(unclip.schedule().unwrap(), &tau).threshold(Threshold::Clip(1.0));
    assert_eq!(unclip.plan(25).unwrap(), builder.build(&Ddpm::new(Variance::LearnedRange)).unwrap());
    let json = json!({"_class_name": "UnCLIPScheduler", "beta_end": 0.5, "prediction_type": "v_prediction", "beta_schedule": "linear"});
    let unclip = read(&json).unwrap();
    for note in [
        Note::Differs(Difference::PredictionType(SchedulerClass::UnClip)),
        Note::Differs(Difference::BetaSchedule(SchedulerClass::UnClip)),
        ignored("beta_end", Ignored::NotOfClass(SchedulerClass::UnClip)),
    ] {
        assert!(unclip.notes().contains(&note), "{note}");
    }

    // The step of CogVideoX, re-typed: a·x + b·x̂₀ with a = √((1−ᾱ_s)/(1−ᾱ_t)), b = √ᾱ_s − √ᾱ_t·a. It clips nothing.
    let json = json!({"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 1.0, "prediction_type": "sample",
        "clip_sample": true});
    let cog = read(&json).unwrap();
    assert_eq!(cog.threshold(), Threshold::None);
    assert_eq!(cog.notes(), [ignored("clip_sample", Ignored::NotOfClass(SchedulerClass::CogVideoXDdim))]);
    // By default the SNR is divided by 3: ᾱ/(3 − 2·ᾱ).
    let shifted = read(&json!({"_class_name": "CogVideoXDDIMScheduler", "prediction_type": "sample"})).unwrap();
    for (shifted, plain) in shifted.schedule().unwrap().levels().iter().zip(cog.schedule().unwrap().levels()) {
        let right = plain.alpha_bar() / (3.0 - 2.0 * plain.alpha_bar());
        assert!((shifted.alpha_bar() / right - 1.0).abs() < 1e-14);
    }
    for step in cog.plan(10).unwrap().steps() {
        let a = (step.to.one_minus_alpha_bar() / step.from.one_minus_alpha_bar()).sqrt();
        let b = step.to.signal() - step.from.signal() * a;
        let k = &step.coefficients;
        assert!((k.x - a).abs() < 1e-14 && (k.model - b).abs() < 1e-14);
    }
}

// Nonsense.

#[test]
fn what_makes_no_sense_is_an_error_that_names_the_key() {
    for (key, values, more) in [
        ("_class_name", vec![json!(null), json!("SCMScheduler"), json!(7), json!("DDIM")], json!({})),
        ("num_train_timesteps", vec![json!(0), json!(1e12 as u64), json!(-1), json!(1000.5), json!("1000")], json!({})),
        ("beta_start", vec![json!(1.5), json!(0), json!(-0.1), json!("NaN"), json!([0.1])], json!({})),
        ("beta_end", vec![json!(1), json!(2.0), json!("0.02"), json!(true)], json!({"beta_schedule": "scaled_linear"})),
        ("beta_schedule", vec![json!("cosine"), json!(3)], json!({})),
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
        ("prediction_type", vec![json!("v"), json!("flow_prediction")], json!({})),
        ("clip_sample", vec![json!(1), json!("true")], json!({})),
        ("clip_sample_range", vec![json!(0), json!(-1), json!("NaN")], json!({})),
        ("dynamic_thresholding_ratio", vec![json!(1.1), json!(-0.1), json!("x")], json!({"thresholding": true})),
        ("sample_max_value", vec![json!(0.5)], json!({"thresholding": true})),
        ("thresholding", vec![json!(0)], json!({})),
        ("timestep_spacing", vec![json!("karras")], json!({})),
        ("steps_offset", vec![json!(-1), json!(1000), json!(0.5)], json!({})),
        ("set_alpha_to_one", vec![json!("yes")], json!({"_class_name": "DDIMScheduler"})),
        ("rescale_betas_zero_snr", vec![json!("yes"), json!(1)], json!({})),
        ("rescale_betas_zero_snr", vec![json!(true)], json!({"num_train_timesteps": 1, "prediction_type": "sample"})),
        ("variance_type", vec![json!("fixed"), json!(1)], json!({})),
        ("final_sigmas_type", vec![json!("none")], json!({"_class_name": "EulerDiscreteScheduler"})),
        ("original_inference_steps", vec![json!(0), json!(1001), json!("50")], json!({"_class_name": "LCMScheduler"})),
        (
            "snr_shift_scale",
            vec![json!(0), json!(-1), json!("NaN"), json!(1e300)],
            json!({"_class_name": "CogVideoXDDIMScheduler"}),
        ),
        ("predict_epsilon", vec![json!(false)], json!({"prediction_type": "epsilon"})),
        ("predict_epsilon", vec![json!(false)], json!({"prediction_type": "v_prediction"})),
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
    let error = SchedulerConfig::from_json("{}").unwrap_err();
    assert!(matches!(error, Error::ConfigKeyMissing { key: "_class_name", .. }));
    assert!(error.to_string().starts_with("_class_name is missing: ") && !error.to_string().contains("null"));
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
        ("[]", (1, 1)),
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
    // The whole text is meant.
    for text in ["", " \n\t", "\u{feff}", "\u{feff}\n"] {
        let error = SchedulerConfig::from_json(text).unwrap_err();
        assert!(matches!(error, Error::ConfigText { line: 0, column: 0, .. }));
        assert_eq!(error.to_string(), "not a scheduler_config.json: the file is empty");
    }
    let error = SchedulerConfig::from_json("{\"a\": 1,\n \"b\": }").unwrap_err();
    assert_eq!(error.to_string(), "not a scheduler_config.json: expected value (line 2, column 7)");
    // Notepad's marks.
    let marked = "\u{feff}{\"_class_name\": \"DDIMScheduler\"}";
    assert!(SchedulerConfig::from_json(marked).is_ok() && SchedulerConfig::from_slice(marked.as_bytes()).is_ok());
    for bytes in [b"\xff\xfe{\0", b"\xfe\xff\0{"] {
        let error = SchedulerConfig::from_slice(bytes).unwrap_err().to_string();
        assert!(error.contains("UTF-16") && error.contains("UTF-8"), "{error}");
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
            prop_assert_eq!(again.schedule().ok(), config.schedule().ok());
            prop_assert_eq!(again.to_json(), config.to_json());
            // Impossible ones are errors.
            let _ = config.plan(config.schedule().unwrap().len().min(5));
        }
        Err(Error::Config { key, reason, .. }) => {
            prop_assert!(!reason.is_empty());
            let named = key.split(['[', '…']).next().unwrap();
            // A β in the file may be too much for the schedule that the class takes by default.
            let of_defaults = named == "_class_name" || named == "beta_schedule" && text.contains("beta_");
            prop_assert!(of_defaults || text.contains(named) || text.contains('\\'), "{} in {}", key, text);
        }
        Err(Error::ConfigText { line, column, .. }) => prop_assert_eq!(*line > 0, *column > 0),
        Err(Error::ConfigKeyMissing { key, .. }) => prop_assert_eq!(*key, "_class_name"),
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    if let Err(error) = result {
        let line = error.to_string();
        prop_assert!(line.chars().count() < 600 && !line.contains(char::is_control), "{line}");
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

/// Pieces of JSON, and of what Python and editors make of it.
fn any_piece() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\\"",
        "\\",
        "\\u00e9",
        "\\ud800",
        "NaN",
        "Infinity",
        "-Infinity",
        "null",
        "true",
        "1e-310",
        "1e400",
        "-0",
        "0.5",
        "1000",
        "\n",
        "\t",
        " ",
        "\u{feff}",
        "\u{2028}",
        "\0",
    ];
    let pair = (any_key(), any_json()).prop_map(|(key, value)| format!("{}: {value}", json!(key)));
    let word = prop_oneof![any_key(), ".{0,4}"].prop_map(|key| json!(key).to_string());
    prop_oneof![4 => prop::sample::select(pieces).prop_map(str::to_owned), 3 => pair, 1 => word, 1 => ".{0,4}"]
}

/// Objects that are well-formed but for their pieces, and heaps of pieces.
fn any_text() -> impl Strategy<Value = String> {
    let pieces = || prop::collection::vec(any_piece(), 0..6);
    let class = r#""_class_name": "DDIMScheduler""#;
    prop_oneof![
        (pieces()).prop_map(move |pieces| format!("{{{class}, {}}}", pieces.join(", "))),
        (pieces()).prop_map(move |pieces| format!("{{{class}, \"a\": {}}}", pieces.concat())),
        (pieces()).prop_map(|pieces| pieces.concat()),
        ".{0,40}",
    ]
}

/// `NaN` inside of strings, behind escaped quotes and backslashes, and where it is a value.
#[test]
fn pythons_constants_are_read_outside_of_strings_only() {
    for (value, stays) in [
        (r#""a \" NaN""#, true),
        (r#""NaN""#, false),
        (r#""a\\""#, true),
        (r#""\\\" Infinity""#, true),
        (r#""-Infinity, NaN: \" ""#, true),
        ("NaN", false),
        ("-Infinity", false),
        ("[1, NaN]", true),
    ] {
        let text = format!(r#"{{"_class_name": "DDIMScheduler", "x": {value}, "beta_end": 0.03, "y": NaN}}"#);
        let config = SchedulerConfig::from_json(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!((config.schedule().unwrap().betas()[999] - 0.03).abs() < 1e-15);
        let written: Value = serde_json::from_str(&config.to_json()).unwrap();
        // Constants are left out, and everything else is what it was.
        assert_eq!(written.get("x").is_some(), stays, "{text}: {written}");
        if let (true, Ok(value)) = (stays, serde_json::from_str::<Value>(value)) {
            assert_eq!(written["x"], value);
        }
        assert!(written.get("y").is_none());
    }
    // A key that is one.
    let config = SchedulerConfig::from_json(r#"{"_class_name": "DDIMScheduler", "NaN \" NaN": NaN}"#).unwrap();
    assert_eq!(config.notes(), [Note::Unknown { key: "NaN \" NaN".to_owned() }]);
}

/// Whatever is wrong, an error is one short line with a key or a place, and the cause.
#[test]
fn errors_are_one_short_line() {
    let long = "x".repeat(200_000);
    let lines = format!("[{}]", vec!["\n  0.5"; 3000].join(","));
    let class = |rest: &str| format!("{{\"_class_name\": \"DDIMScheduler\", {rest}}}");
    let texts = [
        (format!("\"{long}\""), "expected an object"),
        (format!("{{\"_class_name\": \"{long}\"}}"), "_class_name = "),
        (class(&format!("\"beta_schedule\": \"{long}\"")), "beta_schedule = "),
        (class(&format!("\"beta_start\": {lines}")), "is not a finite number"),
        (class(&format!("\"beta_start\": \"{}\"", "\\n".repeat(500))), "beta_start = "),
        (class(&format!("\"trained_betas\": [\"{long}\"]")), "not a list of numbers"),
        (class("\"num_train_timesteps\": 2, \"trained_betas\": [1e-5, -1e-310]"), "trained_betas[1] = -1e-310"),
        (class("\"num_train_timesteps\": 100000, \"beta_start\": 0.9, \"beta_end\": 0.9"), "T = 100000"),
        (class("\"beta_end\": 1e-310, \"beta_start\": -1e-310"), "beta_start = -1e-310"),
        (class(&format!("\"{long}\": 1, \"{long}\": 2")), "given twice"),
        (class(&format!("\"timestep_spacing\": {{\"{long}\": 1}}")), "timestep_spacing = "),
        (
            class(&format!("\"predict_epsilon\": false, \"prediction_type\": {}\"epsilon\"", " ".repeat(9000))),
            "contradicts",
        ),
        (format!("{{\"a\": tru{}}}", " ".repeat(90_000)), "(line 1, column "),
    ];
    for (text, part) in texts {
        let line = SchedulerConfig::from_json(&text).unwrap_err().to_string();
        assert!(line.contains(part), "{line}");
        assert!(line.chars().count() < 500 && !line.contains(char::is_control) && !line.contains("0000000"), "{line}");
    }
    // A note too.
    let config = SchedulerConfig::from_json(&class(&format!("\"a\\n{long}\": 1"))).unwrap();
    let line = config.notes()[0].to_string();
    assert!(line.starts_with("a x") && line.chars().count() < 200, "{line}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any_text()) {
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
        let mut config: Value = serde_json::from_str(&text_of(name)).unwrap();
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
        let mut bytes = text_of(name).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        match SchedulerConfig::from_slice(&bytes) {
            Ok(config) => drop(config.plan(config.schedule().unwrap().len().min(5))),
            Err(Error::Config { .. } | Error::ConfigText { .. } | Error::ConfigKeyMissing { .. }) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

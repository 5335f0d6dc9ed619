//! Classes of diffusers beside diffusers itself: `tests/parity/classes_sigma.json`, recorded by `tests/parity/classes.py`; and what
//! their settings do.

#![cfg(feature = "hub")]

use alphabar::compat::Precision;
use alphabar::hub::{Difference, Ignored, Note, SchedulerClass, SchedulerConfig};
use alphabar::{Ddim, Dpm2, Edm, Error, Heun, Lms, NoiseLevel, NoiseSchedule, Path, Plan, TwoStage};
use serde_json::{Value, json};

use crate::classes::{Recorded, compare};

const CLASSES: [&str; 7] = [
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
];

const STOCHASTIC: [&str; 3] =
    ["EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"];

fn read(class: &str, keys: &Value) -> Result<SchedulerConfig, Error> {
    let mut all =
        json!({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "_class_name": class});
    for (key, value) in keys.as_object().unwrap() {
        all[key] = value.clone();
    }
    SchedulerConfig::from_json(&all.to_string())
}

fn config(class: &str, keys: &Value) -> SchedulerConfig {
    read(class, keys).unwrap_or_else(|error| panic!("{class} {keys}: {error}"))
}

fn euler(keys: &Value) -> SchedulerConfig {
    config("EulerDiscreteScheduler", keys)
}

fn sd() -> NoiseSchedule {
    NoiseSchedule::stable_diffusion().unwrap()
}

fn sigmas(path: &Path) -> Vec<f64> {
    path.points().iter().map(|point| point.level.sigma()).collect()
}

fn times(path: &Path) -> Vec<f64> {
    path.points().iter().map(|point| point.t).collect()
}

fn close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs()), "{found:?} for {wanted:?}");
}

/// The error, with the key that it names.
fn key_of<T: core::fmt::Debug>(found: Result<T, Error>) -> (String, String) {
    match found.unwrap_err() {
        error @ Error::Config { .. } => {
            let text = error.to_string();
            (text.split(' ').next().unwrap().to_owned(), text)
        }
        other => panic!("{other}"),
    }
}

fn quirks(config: &SchedulerConfig) -> Vec<(&'static str, f64)> {
    let quirk = |note: &Note| match note {
        Note::Differs(Difference::Quirk(quirk)) => Some((quirk.key, quirk.by)),
        _ => None,
    };
    config.notes().iter().filter_map(quirk).collect()
}

fn ignored(config: &SchedulerConfig) -> Vec<(String, Ignored)> {
    let ignored = |note: &Note| match note {
        Note::Ignored { key, reason } => Some((key.clone(), *reason)),
        _ => None,
    };
    config.notes().iter().filter_map(ignored).collect()
}

#[test]
fn all_runs_meet_python() {
    compare("sigma");
}

/// Each run that ends with an error in diffusers, and what is done with it here.
#[test]
fn what_python_refuses_has_an_answer() {
    let mut seen = 0;
    for recorded in Recorded::all("sigma") {
        let Some(error) = recorded.error() else { continue };
        let (id, given) = (recorded.id(), recorded.config());
        seen += 1;
        if error.contains("Only one of") {
            let (key, text) = key_of(given);
            assert_eq!(key, "use_beta_sigmas", "{id}");
            assert!(text.contains("contradicts use_karras_sigmas"), "{text}");
        } else if error.contains("prediction_type not implemented") {
            // x̂₀ is a prediction like any other.
            let config = given.unwrap();
            assert!(config.notes().iter().any(|note| note.key() == "prediction_type"), "{id}");
            for config in [config.clone(), config.compat()] {
                let plan = recorded.run(&config).plan().unwrap();
                assert_eq!(plan.prediction(), alphabar::Prediction::Sample, "{id}");
            }
        } else if error.contains("`timesteps`") || error.contains("argument 'timesteps'") {
            let config = given.unwrap();
            for config in [config.clone(), config.compat()] {
                assert_eq!(key_of(recorded.run(&config).plan()).0, "timesteps", "{id}");
            }
        } else if error.contains("argument 'sigmas'") {
            let config = given.unwrap();
            for config in [config.clone(), config.compat()] {
                assert_eq!(key_of(recorded.run(&config).plan()).0, "sigmas", "{id}");
            }
        } else if error.contains("cubic") {
            assert_eq!(key_of(given).0, "interpolation_type", "{id}");
        } else if error.contains("final_sigmas_type") {
            assert_eq!(key_of(given).0, "final_sigmas_type", "{id}");
        } else if error.contains("IndexError") {
            // σ above the table: t is T − 1 twice, and diffusers finds its place in the list by t.
            let config = given.unwrap();
            assert_eq!(key_of(recorded.run(&config).plan()).0, "sigma_max", "{id}");
            let path = recorded.run(&config.compat_in(Precision::F64)).path().unwrap();
            assert_eq!((path.points()[0].t, path.points()[0].level.sigma()), (999.0, 80.0), "{id}");
        } else {
            panic!("{error}: {id}");
        }
    }
    assert_eq!(seen, 19);
}

#[test]
fn an_offset_past_the_table_is_refused() {
    let config = euler(&json!({"timestep_spacing": "leading", "steps_offset": 1, "num_train_timesteps": 10}));
    for config in [config.clone(), config.clone().compat(), config.compat_in(Precision::F64)] {
        let error = config.plan(10).unwrap_err();
        assert!(error.to_string().contains("lower the offset or S"), "{error}");
        assert!(config.plan(5).is_ok());
    }
}

#[test]
fn no_step_is_refused_and_so_is_a_list_without_one() {
    for class in CLASSES {
        for keys in [json!({}), json!({"timestep_spacing": "leading"}), json!({"timestep_spacing": "trailing"})] {
            let config = config(class, &keys);
            for config in [config.clone(), config.compat()] {
                assert!(matches!(config.plan(0), Err(Error::Count { .. })), "{class} {keys}");
                assert!(config.plan(1).is_ok(), "{class} {keys}");
            }
        }
    }
    let config = euler(&json!({}));
    for config in [config.clone(), config.compat()] {
        for list in [vec![], vec![10.0]] {
            assert_eq!(key_of(config.run_through_sigmas(list).plan()).0, "sigmas");
        }
        assert!(config.run_through_times([]).plan().is_err());
        assert!(config.run_through_sigmas([1.0, 5.0, 0.0]).plan().is_err());
        assert!(config.run_through_times([100.0, 900.0]).plan().is_err());
        assert!(config.run_through_times([f64::NAN]).plan().is_err());
        assert!(config.run_through_sigmas([f64::NAN, 0.0]).plan().is_err());
    }
}

#[test]
fn arguments_are_used_or_refused() {
    for class in CLASSES {
        let config = config(class, &json!({}));
        assert_eq!(key_of(config.run(5).mu(1.0).plan()).0, "mu", "{class}");
        assert_eq!(key_of(config.run(5).tokens(64).plan()).0, "tokens", "{class}");
        if STOCHASTIC.contains(&class) {
            // η is k-diffusion's; diffusers has none.
            let quiet = config.run(5).eta(0.0).plan().unwrap();
            assert!(!quiet.steps().iter().any(alphabar::Step::needs_noise), "{class}");
            assert_ne!(config.run(5).eta(0.5).plan().unwrap(), config.plan(5).unwrap(), "{class}");
            assert_eq!(config.run(5).eta(1.0).plan().unwrap(), config.plan(5).unwrap(), "{class}");
            assert!(config.run(5).eta(-1.0).plan().is_err(), "{class}");
            assert_eq!(key_of(config.clone().compat().run(5).eta(1.0).plan()).0, "eta", "{class}");
        } else {
            assert_eq!(key_of(config.run(5).eta(0.0).plan()).0, "eta", "{class}");
        }
        let (first, second) = (config.run(10).plan().unwrap(), config.run(10).strength(0.4).plan().unwrap());
        assert_eq!(second.steps()[0].t, first.steps().iter().map(|step| step.t).find(|t| *t == 333.0).unwrap());
    }
}

#[test]
fn the_samplers_are_those_of_the_papers() {
    let keys = json!({"use_karras_sigmas": true});
    let path = Path::karras(&sd(), 8).unwrap();
    let same = |class: &str, wanted: Plan| {
        let plan = config(class, &keys).plan(8).unwrap();
        assert_eq!(plan.steps(), wanted.steps(), "{class}");
    };
    same("EulerDiscreteScheduler", Plan::along(&path, &Ddim::deterministic()).unwrap());
    same("HeunDiscreteScheduler", Plan::along(&path, &Heun::new()).unwrap());
    same("LMSDiscreteScheduler", Plan::along(&path, &Lms::new(4).unwrap()).unwrap());
    same("KDPM2DiscreteScheduler", Plan::along(&path, &Dpm2::deterministic()).unwrap());
    same("KDPM2AncestralDiscreteScheduler", Plan::along(&path, &Dpm2::ancestral(1.0).unwrap()).unwrap());
    same("DPMSolverSDEScheduler", Plan::along(&path, &TwoStage::sde(1.0).unwrap()).unwrap());
    // No spread in this class.
    let plan = config("EulerAncestralDiscreteScheduler", &json!({"timestep_spacing": "trailing"})).plan(8).unwrap();
    let tau = alphabar::Timesteps::trailing(1000, 8).unwrap();
    assert_eq!(plan.steps(), Plan::new(&sd(), &tau, &Ddim::new(1.0).unwrap()).unwrap().steps());
}

#[test]
fn levels_are_those_that_the_spacing_asks_for() {
    let schedule = sd();
    for class in CLASSES {
        let path = config(class, &json!({})).run(5).path().unwrap();
        close(&times(&path), &[999.0, 749.25, 499.5, 249.75, 0.0]);
        assert_eq!(path, Path::from_times(&schedule, [999.0, 749.25, 499.5, 249.75, 0.0]).unwrap(), "{class}");
        let path = config(class, &json!({})).run(1).path().unwrap();
        assert_eq!(times(&path), [999.0], "{class}");
        let path = config(class, &json!({"timestep_spacing": "leading", "steps_offset": 1})).run(4).path().unwrap();
        assert_eq!(times(&path), [751.0, 501.0, 251.0, 1.0], "{class}");
        let path = config(class, &json!({"timestep_spacing": "trailing"})).run(4).path().unwrap();
        assert_eq!(times(&path), [999.0, 749.0, 499.0, 249.0], "{class}");
        if class == "EulerAncestralDiscreteScheduler" {
            continue;
        }
        for spacing in ["linspace", "leading", "trailing"] {
            let of = |key: &str| config(class, &json!({key: true, "timestep_spacing": spacing})).run(6).path().unwrap();
            assert_eq!(of("use_karras_sigmas"), Path::karras(&schedule, 6).unwrap(), "{class}");
            assert_eq!(of("use_exponential_sigmas"), Path::exponential(&schedule, 6).unwrap(), "{class}");
            assert_eq!(of("use_beta_sigmas"), Path::beta(&schedule, 6).unwrap(), "{class}");
        }
    }
}

#[test]
fn ends_bound_the_spread() {
    let keys = json!({"use_karras_sigmas": true, "sigma_max": 10.0, "sigma_min": 0.1});
    let path = euler(&keys).run(5).path().unwrap();
    close(&sigmas(&path), &alphabar::spacing::karras(5, 10.0, 0.1, 7.0).unwrap());
    assert!((path.points()[0].t - sd().time_of_sigma(10.0).unwrap()).abs() < 1e-9);
    // Four digits of the table's end are its end.
    let path =
        euler(&json!({"use_karras_sigmas": true, "sigma_max": 14.615, "sigma_min": 0.0292})).run(5).path().unwrap();
    close(&sigmas(&path)[..1], &[sd().level(999).unwrap().sigma()]);
    for (key, value) in [("sigma_max", 80.0), ("sigma_min", 0.002)] {
        let config = euler(&json!({"use_karras_sigmas": true, key: value}));
        assert_eq!(key_of(config.plan(5)).0, key);
        assert!(config.compat().plan(5).is_ok(), "{key}");
    }
    let wrong = |keys: Value| key_of(read("EulerDiscreteScheduler", &keys)).0;
    assert_eq!(wrong(json!({"use_karras_sigmas": true, "sigma_min": 3.0, "sigma_max": 2.0})), "sigma_min");
    assert_eq!(wrong(json!({"use_karras_sigmas": true, "sigma_min": 0.0})), "sigma_min");
    assert_eq!(wrong(json!({"use_beta_sigmas": true, "sigma_max": -1.0})), "sigma_max");
    assert_eq!(wrong(json!({"use_beta_sigmas": 1})), "use_beta_sigmas");
    assert_eq!(wrong(json!({"timestep_type": "sometimes", "prediction_type": "v_prediction"})), "timestep_type");
}

#[test]
fn the_path_ends_where_the_configuration_says() {
    let first = sd().level(0).unwrap();
    for (key, value) in [("use_karras_sigmas", json!(true)), ("interpolation_type", json!("log_linear"))] {
        let config = euler(&json!({"final_sigmas_type": "sigma_min", key: value}));
        assert_eq!(config.run(5).path().unwrap().end(), first, "{key}");
    }
    let leading = json!({"final_sigmas_type": "sigma_min", "timestep_spacing": "leading", "steps_offset": 1});
    let config = euler(&leading);
    assert_eq!(config.run(5).path().unwrap().end(), first);
    assert!(config.clone().compat().run(5).path().unwrap().end().sigma() > 0.029);
    assert_eq!(config.run_through_times([900.0, 300.0]).path().unwrap().end(), first);
    // A list of σ has its own end.
    assert!(config.run_through_sigmas([10.0, 1.0, 0.0]).path().unwrap().end().is_clean());
    assert_eq!(config.run_through_sigmas([10.0, 1.0, 0.5]).path().unwrap().end().sigma(), 0.5);
    assert!(euler(&json!({})).plan(5).unwrap().end().is_clean());
}

#[test]
fn log_linear_is_even_in_ln_sigma() {
    for spacing in ["linspace", "leading", "trailing"] {
        let config = euler(&json!({"interpolation_type": "log_linear", "timestep_spacing": spacing}));
        assert_eq!(config.run(6).path().unwrap(), Path::exponential(&sd(), 6).unwrap());
        assert!(quirks(&config).iter().any(|(key, _)| *key == "interpolation_type"));
        // diffusers makes S + 1 of them, and tells the t of another list.
        let path = config.compat_in(Precision::F64).run(6).path().unwrap();
        let [max, min] = [sd().level(999).unwrap().sigma(), sd().level(0).unwrap().sigma()];
        close(&sigmas(&path), &alphabar::spacing::exponential(7, max, min).unwrap()[..6]);
        close(&[path.end().sigma()], &[min]);
    }
}

/// The configuration of Stable Video Diffusion.
#[test]
fn a_network_without_a_table_receives_a_quarter_of_ln_sigma() {
    let svd = json!({
        "prediction_type": "v_prediction", "sigma_min": 0.002, "sigma_max": 700.0, "steps_offset": 1,
        "timestep_spacing": "leading", "timestep_type": "continuous", "use_karras_sigmas": true,
    });
    let config = euler(&svd);
    let path = config.run(25).path().unwrap();
    let edm = Path::karras(&Edm::new(700.0, 0.002, 1.0).unwrap(), 25).unwrap();
    close(&sigmas(&path), &sigmas(&edm));
    close(&times(&path), &times(&edm));
    // x/√(σ² + 1), so nothing is to be scaled.
    assert!(path.points().iter().all(|point| point.input_scale == 1.0 && point.level.signal() < 1.0));
    let heun = config.plan_builder_along(&path).build(&Heun::new()).unwrap();
    assert_eq!(heun.len(), 49);
    let between = config.plan_builder_along(&path).build(&Dpm2::deterministic()).unwrap();
    assert!((between.steps()[1].t - 0.25 * between.steps()[1].from.sigma().ln()).abs() < 1e-12);
    let churned = path.churned(&Edm::new(700.0, 0.002, 1.0).unwrap(), 10.0, 0.0..=f64::INFINITY, 1.0);
    assert!(churned.is_ok());
    // The discrete list, with t in the same form; and no ln of an infinite σ.
    let config = euler(
        &json!({"prediction_type": "v_prediction", "timestep_type": "continuous", "final_sigmas_type": "sigma_min",
        "timestep_spacing": "leading", "steps_offset": 1}),
    );
    assert_eq!(config.run(3).path().unwrap().end(), sd().level(0).unwrap());
    // A spread below the table's first level cannot end there.
    let below = json!({"final_sigmas_type": "sigma_min", "prediction_type": "v_prediction", "timestep_type": "continuous",
        "sigma_min": 0.002, "use_karras_sigmas": true});
    for config in [euler(&below), euler(&below).compat()] {
        assert!(matches!(config.plan(5), Err(Error::PathOrder { .. })));
    }
    let path = config.run(3).path().unwrap();
    close(&times(&path), &[667, 334, 1].map(|t| 0.25 * sd().level(t).unwrap().sigma().ln()));
    assert_eq!(path.end(), sd().level(0).unwrap());
    let zero =
        json!({"prediction_type": "v_prediction", "timestep_type": "continuous", "rescale_betas_zero_snr": true});
    assert!(matches!(euler(&zero).plan(5), Err(Error::LevelUndefined { .. })));
    let continuous = euler(&json!({"prediction_type": "v_prediction", "timestep_type": "continuous"}));
    close(&times(&continuous.run_through_sigmas([700.0, 1.0, 0.5]).path().unwrap()), &[0.25 * 700.0_f64.ln(), 0.0]);
}

#[test]
fn zero_snr_is_pure_noise() {
    for spacing in ["linspace", "trailing"] {
        for spread in ["use_karras_sigmas", "use_exponential_sigmas", "steps_offset"] {
            let on = if spread == "steps_offset" { json!(0) } else { json!(true) };
            let keys = json!({"prediction_type": "v_prediction", "rescale_betas_zero_snr": true, "timestep_spacing": spacing,
                spread: on});
            let config = euler(&keys);
            let path = config.run(6).path().unwrap();
            assert_eq!((path.points()[0].level, path.points()[0].t), (NoiseLevel::PURE_NOISE, 999.0), "{keys}");
            assert_eq!(config.run(6).noise_scale().unwrap(), 1.0);
            assert!((path.points()[1].level.sigma()).is_finite());
            let imitated = config.compat_in(Precision::F64).run(6).path().unwrap();
            assert!((imitated.points()[0].level.sigma() - 4096.0).abs() < 1e-3, "{keys}");
        }
    }
    let config = euler(&json!({"rescale_betas_zero_snr": true}));
    assert!(matches!(config.plan(5), Err(Error::AtStep { index: 0, .. })));
    assert!(config.compat().plan(5).is_ok());
}

#[test]
fn lists_of_sigma_and_t() {
    let config = euler(&json!({}));
    // As published, with four digits.
    let path = config.run_through_sigmas([14.615, 1.886, 0.029, 0.0]).path().unwrap();
    assert_eq!(times(&path)[0], 999.0);
    assert_eq!(times(&path)[2], 0.0);
    assert!(matches!(config.run_through_sigmas([80.0, 1.0, 0.0]).plan(), Err(Error::Sigma { .. })));
    assert!(config.clone().compat().run_through_sigmas([80.0, 1.0, 0.0]).plan().is_ok());
    // A spread has no say in a list of σ, as in diffusers.
    let karras = euler(&json!({"use_karras_sigmas": true}));
    let of = |config: &SchedulerConfig| config.run_through_sigmas([10.0, 1.0, 0.0]).plan().unwrap();
    assert_eq!(of(&config), of(&karras));
    assert_eq!(of(&config.clone().compat()), of(&karras.compat()));
    let path = config.run_through_times([900.5, 10.0]).path().unwrap();
    assert_eq!(path, Path::from_times(&sd(), [900.5, 10.0]).unwrap());
    assert!(config.run_through_times([1000.0, 10.0]).plan().is_err());
    let heun = self::config("HeunDiscreteScheduler", &json!({}));
    assert_eq!(heun.run_through_times([900.5, 10.0]).plan().unwrap().len(), 3);
}

#[test]
fn the_noise_scale_is_that_of_init_noise_sigma() {
    for class in CLASSES {
        let leading = config(class, &json!({"timestep_spacing": "leading", "steps_offset": 1}));
        assert_eq!(leading.run(10).noise_scale().unwrap(), 1.0, "{class}");
        let linspace = config(class, &json!({}));
        assert_eq!(linspace.run(10).noise_scale().unwrap(), sd().level(999).unwrap().noise(), "{class}");
    }
}

#[test]
fn keys_act_or_are_reported() {
    let euler_notes = |keys: Value| ignored(&euler(&keys));
    assert_eq!(euler_notes(json!({"sigma_max": 10.0})), [("sigma_max".to_owned(), Ignored::Unused)]);
    assert_eq!(euler_notes(json!({"timestep_type": "continuous"})), [("timestep_type".to_owned(), Ignored::Unused)]);
    let unset = json!({"sigma_max": null, "sigma_min": null, "use_karras_sigmas": null, "interpolation_type": null, "timestep_type": null});
    assert_eq!(euler_notes(unset.clone()), []);
    assert_eq!(euler(&unset).plan(5).unwrap(), euler(&json!({})).plan(5).unwrap());
    let sde = config("DPMSolverSDEScheduler", &json!({"noise_sampler_seed": 3}));
    assert_eq!(ignored(&sde), [("noise_sampler_seed".to_owned(), Ignored::NoiseSource)]);
    assert!(sde.notes().iter().any(|note| note.to_string().contains("noise::Brownian::new")));
    assert_eq!(ignored(&config("DPMSolverSDEScheduler", &json!({"noise_sampler_seed": null}))), []);
    assert_eq!(key_of(read("DPMSolverSDEScheduler", &json!({"noise_sampler_seed": "x"}))).0, "noise_sampler_seed");
    for (class, key) in
        [("EulerAncestralDiscreteScheduler", "use_karras_sigmas"), ("HeunDiscreteScheduler", "sigma_max")]
    {
        let value = if key == "sigma_max" { json!(10.0) } else { json!(true) };
        let config = config(class, &json!({key: value}));
        assert_eq!(ignored(&config), [(key.to_owned(), Ignored::NotOfClass(config.class()))]);
    }
    // Heun takes x̂₀, and clips it.
    let heun = config(
        "HeunDiscreteScheduler",
        &json!({"prediction_type": "sample", "clip_sample": true, "clip_sample_range": 2.0}),
    );
    assert!(heun.notes().iter().all(|note| note.key() != "prediction_type"));
    assert_eq!(heun.threshold(), alphabar::Threshold::Clip(2.0));
    assert_eq!(heun.class(), SchedulerClass::HeunDiscrete);
}

#[test]
fn notes_name_what_differs() {
    let keys =
        |class: &str, keys: Value| quirks(&config(class, &keys)).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys("EulerDiscreteScheduler", json!({})), ["timestep_spacing"]);
    assert_eq!(keys("EulerDiscreteScheduler", json!({"timestep_spacing": "leading"})), [""; 0]);
    assert_eq!(keys("EulerDiscreteScheduler", json!({"use_karras_sigmas": true})), [""; 0]);
    let trailing = json!({"use_karras_sigmas": true, "timestep_spacing": "trailing"});
    assert_eq!(keys("HeunDiscreteScheduler", trailing.clone()), ["timestep_spacing"]);
    assert_eq!(keys("KDPM2DiscreteScheduler", trailing.clone()), ["timestep_spacing", "use_karras_sigmas"]);
    // With a spread there are S values of σ, whatever the length of the list of t.
    let notes = config("HeunDiscreteScheduler", &trailing).notes().to_vec();
    assert!(!notes.contains(&Note::Differs(Difference::TrailingLength)) && notes.len() == 1, "{notes:?}");
    let ends = json!({"use_karras_sigmas": true, "timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"});
    assert!(euler(&ends).notes().contains(&Note::StandsStill));
    assert_eq!(keys("KDPM2AncestralDiscreteScheduler", json!({"use_karras_sigmas": true})), ["use_karras_sigmas"]);
    assert_eq!(
        keys("KDPM2DiscreteScheduler", json!({"timestep_spacing": "leading", "use_beta_sigmas": true})),
        ["timestep_spacing"]
    );
    assert_eq!(keys("LMSDiscreteScheduler", json!({"timestep_spacing": "leading"})), ["_class_name"]);
    for class in CLASSES {
        for (key, by) in quirks(&config(class, &json!({}))) {
            assert!(by > 0.0 && by != 1.0, "{class} {key}: {by}");
        }
    }
    // Stable Video Diffusion names both ends, and nothing differs.
    let video = SchedulerConfig::from_json(&crate::parity::read("tests/data/stable-video-diffusion.json")).unwrap();
    assert!(!video.notes().iter().any(|note| matches!(note, Note::Differs(_))), "{:?}", video.notes());
}

/// What an image-to-image run of LMS begins with: order 1 here, and the first of four weights in diffusers.
#[test]
fn lms_starts_over_in_image_to_image() {
    let config = config("LMSDiscreteScheduler", &json!({"use_karras_sigmas": true}));
    let plan = config.run(12).strength(0.5).plan().unwrap();
    let first = Plan::along(&config.run(12).strength(0.5).path().unwrap(), &Ddim::deterministic()).unwrap();
    let (found, wanted) = (plan.steps()[0].coefficients.x, first.steps()[0].coefficients.x);
    assert!((found - wanted).abs() < 1e-12, "{found} for {wanted}");
    let imitated = config.compat().run(12).strength(0.5).plan().unwrap();
    assert!((imitated.steps()[0].coefficients.model - first.steps()[0].coefficients.model).abs() > 0.1);
    assert!(imitated.steps()[0].coefficients.history.is_empty());
    assert_eq!(imitated.steps()[5].coefficients.history.iter().count(), 3);
}

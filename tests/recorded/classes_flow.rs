//! Classes of diffusers beside diffusers itself: `tests/parity/classes_flow.json`, recorded by `tests/parity/classes.py`.

#![cfg(feature = "hub")]

use alphabar::compat::Precision;
use alphabar::hub::{Difference, Note, SchedulerConfig};
use alphabar::{Error, Lint, Plan, Prediction, State};

use crate::classes::{Recorded, compare};
use crate::parity::deviation;

#[test]
fn all_runs_meet_python() {
    let all = compare("flow");
    assert_eq!(all.len(), 9, "{:?}", all.keys());
}

/// The largest difference that the notes of a configuration name.
fn named(config: &SchedulerConfig) -> f64 {
    let by = config.notes().iter().map(|note| match note {
        Note::Differs(Difference::Quirk(quirk)) => quirk.by,
        _ => 0.0,
    });
    by.fold(1e-6, f64::max)
}

/// What a quirk says of its size holds for all runs, and is reached by one.
#[test]
fn differences_are_as_large_as_their_notes_say() {
    let mut reached = std::collections::BTreeMap::new();
    for recorded in Recorded::all("flow").iter().filter(|recorded| recorded.is_finite()) {
        let config = recorded.config().unwrap();
        let differs = recorded.double(&recorded.run(&config).plan().unwrap());
        assert!(differs <= 1.05 * named(&config), "{differs:.1e}: {}", recorded.id());
        for note in config.notes() {
            let Note::Differs(Difference::Quirk(quirk)) = note else { continue };
            let share: &mut f64 = reached.entry((quirk.key, quirk.here)).or_default();
            *share = share.max(differs / quirk.by);
        }
    }
    assert_eq!(reached.len(), 10);
    for (quirk, share) in reached {
        assert!(share > 0.95, "{quirk:?}: {share}");
    }
}

/// What ours does where diffusers refuses a run, fails, or answers with NaN: the default and `compat`, a plan or an error with these words.
#[test]
fn what_python_refuses() {
    const PLAN: &str = "";
    let answers = [
        (r#"{"shift":3.0,"shift_terminal":0.1} {"steps":1}"#, PLAN, PLAN),
        (
            r#""use_dynamic_shifting":true} {"steps""#,
            "use_dynamic_shifting = true needs a μ",
            "use_dynamic_shifting = true needs a μ",
        ),
        (r#"use_beta_sigmas":true,"use_karras"#, "use_beta_sigmas = true contradicts use_karras_sigmas", "contradicts"),
        (r"cubic", "time_shift_type", "time_shift_type"),
        (r#"FlowMatchHeunDiscreteScheduler {} {"sigmas""#, "sigmas = ", "sigmas = "),
        (r"scale_factors", "scale_factors = [1.5,2.0] is not supported", "scale_factors"),
        (r#""prediction_type":"sample""#, "prediction_type", "prediction_type"),
        (r#""sigma_schedule":"linear""#, "sigma_schedule", "sigma_schedule"),
        (r#""final_sigmas_type":"one""#, "final_sigmas_type", "final_sigmas_type"),
        (r#"EDMEulerScheduler {} {"sigmas""#, PLAN, "sigmas = "),
        (r#"EDMDPMSolverMultistepScheduler {} {"sigmas""#, "sigmas = ", "sigmas = "),
        (r#"{"algorithm_type":"deis"} "#, "needs final_sigmas_type = sigma_min", "algorithm_type"),
        (r#""final_sigmas_type":"sigma_min","lower_order_final":false,"solver_type":"heun""#, PLAN, PLAN),
        (r#"{"algorithm_type":"dpmsolver"}"#, "algorithm_type", "algorithm_type"),
        (r#""algorithm_type":"sde-dpmsolver++","solver_order":3"#, PLAN, "solver_order = 3"),
        (r#""solver_type":"rk""#, "solver_type", "solver_type"),
        (r#"CosineDPMSolverMultistepScheduler {"solver_order":3} {"steps":6}"#, PLAN, "solver_order = 3"),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for recorded in Recorded::all("flow").iter().filter(|recorded| !recorded.is_finite()) {
        let id = recorded.id();
        let (which, default, compat) = answers
            .into_iter()
            .find(|(which, ..)| id.contains(which))
            .unwrap_or_else(|| panic!("nothing is said about {id}: {:?}", recorded.error()));
        seen.insert(which);
        let plan = |compat: bool| -> Result<Plan, Error> {
            let config = recorded.config()?;
            let config = if compat { config.compat() } else { config };
            recorded.run(&config).plan()
        };
        for (found, wanted) in [(plan(false), default), (plan(true), compat)] {
            match found {
                Ok(plan) => {
                    assert!(wanted == PLAN, "{id}");
                    let mut state = State::new(vec![0.4_f64, -1.0]);
                    for step in plan.steps() {
                        state.step_given(step, vec![0.7, 0.1], Some(&vec![0.2, -0.3])).unwrap();
                    }
                    assert!(state.into_x().unwrap().iter().all(|x| x.is_finite()), "{id}");
                }
                Err(error) => assert!(wanted != PLAN && error.to_string().contains(wanted), "{id}: {error}"),
            }
        }
    }
    assert_eq!(seen.len(), answers.len(), "{seen:?}");
}

/// The t that the network receives, in f32.
#[test]
fn times_in_f32_are_those_of_python() {
    for recorded in Recorded::all("flow").iter().filter(|recorded| recorded.is_finite()) {
        let config = recorded.config().unwrap().compat();
        let times: Vec<f64> = recorded.run(&config).plan().unwrap().steps().iter().map(|step| step.t).collect();
        let off = deviation(&times, &recorded.times(Precision::F32));
        assert!(off < 1e-6, "{off:.1e}: {}", recorded.id());
    }
}

fn read(json: &str) -> SchedulerConfig {
    SchedulerConfig::from_json(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn refused(json: &str, words: &str) {
    let error = SchedulerConfig::from_json(json).map(|config| config.notes().to_vec()).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

fn notes(config: &SchedulerConfig) -> Vec<String> {
    config.notes().iter().map(ToString::to_string).collect()
}

fn sigmas(plan: &Plan) -> Vec<f64> {
    plan.steps().iter().map(|step| step.from.flow_sigma()).collect()
}

fn close(found: &[f64], wanted: &[f64]) {
    assert!(deviation(found, wanted) < 1e-6, "{found:?}, not {wanted:?}");
}

const FLUX: &str = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0.dev0", "base_image_seq_len": 256,
    "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
    "use_dynamic_shifting": true}"#;

#[test]
fn flux_is_shifted_by_its_tokens() {
    let flux = read(FLUX);
    let plan = flux.run(4).tokens(4096).plan().unwrap();
    close(&sigmas(&plan), &[1.0, 0.904_531, 0.759_511, 0.512_844]);
    assert_eq!(plan, flux.run(4).mu(1.15).plan().unwrap());
    close(&plan.steps().iter().map(|step| step.t / 1000.0).collect::<Vec<_>>(), &sigmas(&plan));
    // The pipeline's list is the default one.
    let listed = [flux.clone(), flux.clone().compat_in(Precision::F64)]
        .map(|flux| flux.run_through_sigmas([1.0, 0.75, 0.5, 0.25]).tokens(4096).plan().unwrap());
    close(&sigmas(&listed[0]), &sigmas(&plan));
    close(&sigmas(&listed[1]), &sigmas(&plan));
    // The fewest tokens have base_shift.
    assert_eq!(flux.run(4).tokens(256).plan().unwrap(), flux.run(4).mu(0.5).plan().unwrap());
    let error = |run: alphabar::hub::Run<'_>| run.plan().unwrap_err().to_string();
    assert!(error(flux.run(4)).contains("use_dynamic_shifting = true needs a μ: pass Run::mu, or Run::tokens"));
    assert!(error(flux.run(4).mu(1.0).tokens(4096)).contains("tokens"));
    assert!(error(flux.run(4).mu(40.0)).contains("mu = 40 gives no valid shift"), "{}", error(flux.run(4).mu(40.0)));
    assert!(error(flux.run(4).tokens(0)).contains("tokens"));
    assert!(error(flux.run(4).mu(1.0).eta(0.5)).contains("eta"));
    // A linear shift is μ itself, and has to be positive.
    let linear = read(&FLUX.replace("\"shift\": 3.0", "\"time_shift_type\": \"linear\""));
    close(&sigmas(&linear.run(2).mu(3.0).plan().unwrap()), &[1.0, 0.75]);
    assert!(error(linear.run(2).mu(-1.0)).contains("mu"));
    // Its own shift does nothing beside the dynamic one.
    assert!(
        notes(&flux).contains(&"shift: ignored: has no effect with the other settings of this file".to_owned()),
        "{:?}",
        notes(&flux)
    );
}

#[test]
fn a_static_shift_takes_no_mu() {
    let sd3 = read(
        r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "base_shift": 0.5, "time_shift_type": "linear"}"#,
    );
    for run in [sd3.run(4).mu(1.0), sd3.run(4).tokens(256)] {
        assert!(run.plan().unwrap_err().to_string().contains("use_dynamic_shifting is off"));
    }
    let unused = notes(&sd3).iter().filter(|note| note.contains("has no effect with")).count();
    assert_eq!(unused, 2, "{:?}", notes(&sd3));
    // Shifted once by default, and twice as in diffusers.
    close(&sigmas(&sd3.plan(2).unwrap()), &[1.0, 0.75]);
    close(&sigmas(&sd3.clone().compat().plan(2).unwrap()), &[1.0, 3.0 * 0.002_994_012 / (1.0 + 2.0 * 0.002_994_012)]);
    assert!(sd3.plan(0).is_err() && sd3.compat().plan(0).is_err());
}

#[test]
fn flow_settings_that_make_no_sense_name_their_key() {
    let with = |class: &str, rest: &str| format!(r#"{{"_class_name": "{class}", {rest}}}"#);
    let euler = |rest: &str| with("FlowMatchEulerDiscreteScheduler", rest);
    for (rest, words) in [
        (r#""shift": 0"#, "shift = 0 is not inside"),
        (r#""shift": -3"#, "shift = -3"),
        (r#""shift_terminal": 1.0"#, "shift_terminal = 1"),
        (r#""num_train_timesteps": 0"#, "num_train_timesteps = 0"),
        (r#""invert_sigmas": 1"#, "invert_sigmas = 1"),
        (r#""invert_sigmas": true, "stochastic_sampling": true"#, "invert_sigmas = true contradicts the noise"),
        (
            r#""use_dynamic_shifting": true, "max_image_seq_len": 256"#,
            "max_image_seq_len = 256 equals base_image_seq_len",
        ),
        (r#""use_dynamic_shifting": true, "base_shift": "x""#, "base_shift"),
        (r#""use_exponential_sigmas": true, "use_beta_sigmas": true"#, "use_beta_sigmas"),
    ] {
        refused(&euler(rest), words);
    }
    refused(&with("FlowMatchLCMScheduler", r#""invert_sigmas": true"#), "invert_sigmas");
    refused(&with("LTXEulerAncestralRFScheduler", r#""eta": 1.5"#), "eta = 1.5");
    refused(&with("LTXEulerAncestralRFScheduler", r#""s_noise": -1"#), "s_noise = -1");
    // A list of scales without an entry scales nothing, and a mode without scales does nothing.
    let lcm = read(&with("FlowMatchLCMScheduler", r#""scale_factors": [], "upscale_mode": "area""#));
    assert!(notes(&lcm).iter().any(|note| note.starts_with("upscale_mode: ignored")), "{:?}", notes(&lcm));
    let ltx = read(&with("LTXEulerAncestralRFScheduler", r#""eta": 0, "s_noise": 0.5"#));
    assert!(
        notes(&ltx).contains(&"s_noise: ignored: acts only with eta, which is off".to_owned()),
        "{:?}",
        notes(&ltx)
    );
}

#[test]
fn lists_that_a_flow_class_does_not_take_are_refused() {
    let of = |class: &str, rest: &str| read(&format!(r#"{{"_class_name": "{class}"{rest}}}"#));
    let error = |run: alphabar::hub::Run<'_>| run.plan().unwrap_err().to_string();
    let ltx = of("LTXEulerAncestralRFScheduler", "");
    assert!(error(ltx.run_through_sigmas([1.0, 0.5])).contains("must end in 0"));
    assert!(error(ltx.run_through_times([1000.0, 500.0])).contains("timesteps"));
    let dynamic = of("LTXEulerAncestralRFScheduler", r#", "use_dynamic_shifting": true"#);
    assert!(dynamic.run_through_sigmas([1.0, 0.5, 0.0]).plan().is_ok());
    assert!(error(dynamic.run_through_sigmas([1.0, 0.5, 0.0]).mu(1.0)).contains("mu"));
    let mochi = of("FlowMatchEulerDiscreteScheduler", r#", "invert_sigmas": true"#);
    assert!(error(mochi.run_through_times([1000.0, 500.0])).contains("invert_sigmas"));
    let euler = of("FlowMatchEulerDiscreteScheduler", r#", "shift_terminal": 0.1"#);
    assert!(euler.run_through_sigmas([1.0, 0.5, 0.0]).plan().is_ok());
    assert!(error(euler.compat().run_through_sigmas([1.0, 0.5, 0.0])).contains("must not end in 0"));
    let heun = of("FlowMatchHeunDiscreteScheduler", "");
    assert!(error(heun.run_through_times([1000.0, 500.0])).contains("timesteps"));
    let plain = of("FlowMatchEulerDiscreteScheduler", r#", "shift": 3.0"#);
    // A 0 at the end is the end, of either list.
    assert_eq!(plain.run_through_sigmas([1.0, 0.5, 0.0]).plan().unwrap().len(), 2);
    let timed = plain.run_through_times([1000.0, 400.0, 0.0]).plan().unwrap();
    assert_eq!((timed.steps()[1].t, sigmas(&timed)), (400.0, vec![1.0, 0.4]));
    assert!(error(plain.run_through_times([1001.0, 400.0])).contains("the flow's σ"));
    assert!(
        error(plain.run_through_sigmas([0.5, 0.5])).contains("does not fall")
            || plain.run_through_sigmas([0.5, 0.5]).plan().is_err()
    );
}

/// Mochi's network returns x₀ − ε and receives t from 0 to 1000.
#[test]
fn inverted_sigmas_run_from_noise_to_data() {
    let mochi = read(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": true}"#);
    let plan = mochi.plan(4).unwrap();
    assert_eq!(plan.steps().iter().map(|step| step.t).collect::<Vec<_>>(), [0.0, 250.0, 500.0, 750.0]);
    assert!(plan.start().is_pure_noise() && plan.end().is_clean());
    // Of a network that knows x₀ = 0.3 and ε = −1.1, x₀ is what comes out.
    let mut state = State::new(vec![-1.1_f64]);
    for step in plan.steps() {
        state.step_given(step, vec![0.3 + 1.1], None).unwrap();
    }
    assert!((state.into_x().unwrap()[0] - 0.3).abs() < 1e-15);
    assert_ne!(mochi.prediction(), Prediction::Flow);
}

#[test]
fn continuous_settings_that_make_no_sense_name_their_key() {
    let with = |class: &str, rest: &str| format!(r#"{{"_class_name": "{class}", {rest}}}"#);
    for class in ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "CosineDPMSolverMultistepScheduler"] {
        for (rest, words) in [
            (r#""sigma_min": 600"#, "sigma_min = 600 is not below sigma_max"),
            (r#""sigma_min": 0"#, "sigma_min = 0"),
            (r#""sigma_max": -1"#, "sigma_max = -1"),
            (r#""sigma_data": 0"#, "sigma_data = 0"),
            (r#""sigma_schedule": "karras", "rho": 0"#, "rho = 0"),
            (r#""prediction_type": "sample""#, "is not one of epsilon, v_prediction"),
        ] {
            refused(&with(class, rest), words);
        }
        // ρ belongs to Karras's spacing.
        let config = read(&with(class, r#""sigma_schedule": "exponential", "rho": 5.0"#));
        assert!(
            notes(&config).contains(&"rho: ignored: has no effect with the other settings of this file".to_owned())
        );
        for run in
            [config.run(5).mu(1.0), config.run(5).tokens(64), config.run(5).eta(0.5), config.run_through_times([1.0])]
        {
            assert!(run.plan().is_err());
        }
        assert!(config.plan(0).is_err() && config.clone().compat().plan(0).is_err());
        // The default's last step, from 0.3 to clean data, is long.
        let odd = config.plan(5).unwrap().lint();
        assert!(odd.iter().all(|odd| matches!(odd, Lint::LongLastStep { sigma: 0.3, .. })), "{odd:?}");
    }
    refused(&with("EDMDPMSolverMultistepScheduler", r#""solver_order": 4"#), "solver_order = 4");
    refused(&with("IPNDMScheduler", r#""trained_betas": [0.5]"#), "trained_betas");
    refused(&with("IPNDMScheduler", r#""trained_betas": [0.5, 0.7, 0.0]"#), "does not fall");
    refused(&with("ScoreSdeVeScheduler", r#""sigma_min": 2000"#), "sigma_min = 2000");
    refused(&with("ScoreSdeVeScheduler", r#""sampling_eps": 1.0"#), "sampling_eps = 1");
    refused(&with("ScoreSdeVeScheduler", r#""correct_steps": -1"#), "correct_steps = -1");
    let betas = read(&with("IPNDMScheduler", r#""trained_betas": [0.9, 0.5, 0.2]"#));
    assert!(betas.plan(3).unwrap_err().to_string().contains("trained_betas"));
}

#[test]
fn edm_classes_start_where_diffusers_does() {
    let edm = read(r#"{"_class_name": "EDMEulerScheduler", "sigma_data": 0.7}"#);
    for config in [edm.clone(), edm.clone().compat_in(Precision::F64)] {
        let plan = config.plan(18).unwrap();
        assert_eq!(plan.start().noise(), 80.0);
        assert!((config.run(18).noise_scale().unwrap() - 6401.0_f64.sqrt()).abs() < 1e-12);
        let first = &plan.steps()[0];
        assert!((first.input_scale - 1.0 / (6400.0_f64 + 0.49).sqrt()).abs() < 1e-15);
        assert!((first.t - 80.0_f64.ln() / 4.0).abs() < 1e-12);
    }
    // A list of σ starts at its own first one.
    let listed = edm.run_through_sigmas([10.0, 1.0, 0.0]);
    assert_eq!(listed.plan().unwrap().len(), 2);
    assert!((listed.noise_scale().unwrap() - 101.0_f64.sqrt()).abs() < 1e-12);
    // With an end at σ_min, the last call is above it.
    let ends = read(r#"{"_class_name": "EDMEulerScheduler", "final_sigmas_type": "sigma_min"}"#);
    let plan = ends.plan(5).unwrap();
    assert_eq!((plan.len(), plan.end().noise()), (5, 0.002));
    assert!(plan.steps()[4].from.noise() > 0.002);
    assert_eq!(ends.run_through_sigmas([10.0, 1.0, 0.002]).plan().unwrap().len(), 2);
    assert!(ends.run_through_sigmas([10.0, 1.0, 0.0]).plan().unwrap().end().is_clean());
    // Stable Audio.
    let audio = read(r#"{"_class_name": "CosineDPMSolverMultistepScheduler"}"#);
    let plan = audio.plan(10).unwrap();
    assert_eq!((plan.start().noise(), plan.end().is_clean()), (500.0, true));
    assert!((plan.steps()[0].t - 500.0_f64.atan() / std::f64::consts::FRAC_PI_2).abs() < 1e-15);
    assert!(plan.steps()[3].needs_noise() && plan.remembers());
    assert_eq!(audio.prediction().name(), "edm_v(1)");
    assert!(notes(&read(r#"{"_class_name": "EDMEulerScheduler"}"#)).is_empty());
}

#[test]
fn ipndm_takes_the_first_output() {
    let config = read(r#"{"_class_name": "IPNDMScheduler"}"#);
    assert_eq!(config.prediction(), Prediction::Velocity);
    // At pure noise, v is −x₀; diffusers has x̂₀ = 0.
    for (config, wanted) in [(config.clone(), -0.7), (config.clone().compat(), 0.0)] {
        let plan = config.plan(1).unwrap();
        assert!(plan.start().is_pure_noise() && plan.steps()[0].t == 1.0);
        let mut state = State::new(vec![0.4_f64]);
        state.step_given(&plan.steps()[0], vec![0.7], None).unwrap();
        assert!((state.into_x().unwrap()[0] - wanted).abs() < 1e-15);
    }
    for run in [config.run_through_sigmas([1.0]), config.run_through_times([1.0]), config.run(5).eta(1.0)] {
        assert!(run.plan().is_err());
    }
    // v-diffusion's t at noise = sin²(π/4) is 2/π·asin(½).
    let plan = config.plan(2).unwrap();
    assert!((plan.steps()[1].t - 1.0 / 3.0).abs() < 1e-15 && (plan.steps()[1].from.noise() - 0.5).abs() < 1e-15);
}

#[test]
fn score_networks_receive_their_level() {
    let config = read(r#"{"_class_name": "ScoreSdeVeScheduler", "snr": 0.2}"#);
    let plan = config.plan(5).unwrap();
    assert_eq!((plan.start().noise(), config.run(5).noise_scale().unwrap()), (1348.0, 1348.0));
    for step in plan.steps() {
        assert!((step.t / step.from.noise() - 1.0).abs() < 1e-12 && step.input_scale == 1.0);
        // Eq. 46: the score's weight is the variance that goes, and the noise has the same.
        let removed = step.from.noise().powi(2) - step.to.noise().powi(2);
        assert!((step.coefficients.model / removed - 1.0).abs() < 1e-12 && (step.coefficients.x - 1.0).abs() < 1e-12);
        let noise = if step.to.is_clean() { 0.0 } else { removed.sqrt() };
        assert!((step.coefficients.d - noise).abs() <= 1e-12 * noise);
    }
    let noted = notes(&config);
    assert!(noted.iter().any(|note| note.starts_with("correct_steps: the predictor runs alone")), "{noted:?}");
    assert!(noted.contains(&"snr: ignored: acts only with the corrector, which is off".to_owned()), "{noted:?}");
    let without = read(r#"{"_class_name": "ScoreSdeVeScheduler", "correct_steps": 0}"#);
    assert!(!notes(&without).iter().any(|note| note.starts_with("correct_steps")));
    assert!(config.run_through_sigmas([1.0]).plan().is_err());
}

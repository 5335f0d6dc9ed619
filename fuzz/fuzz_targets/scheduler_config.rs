//! Any bytes in a model folder give a configuration that makes plans, its own and those of diffusers, and is written and read again, or an
//! error in one short line that names its key or its place. Each input is read as every class.

#![no_main]

use alphabar::compat::Precision;
use alphabar::hub::{SchedulerClass, SchedulerConfig};
use alphabar::{Error, Plan};
use libfuzzer_sys::fuzz_target;

/// Tables of more steps are made once, and not for every class.
const SMALL: usize = 2000;

fn check_line(error: &Error) {
    let line = error.to_string();
    assert!(line.chars().count() < 600 && !line.contains(char::is_control), "{line}");
}

fn check(plan: Result<Plan, Error>) {
    match plan {
        Ok(plan) => {
            assert!(!plan.steps().is_empty());
            for step in plan.steps() {
                assert!(step.t.is_finite() && step.input_scale > 0.0);
                assert!(step.coefficients.x.is_finite() && step.coefficients.model.is_finite());
            }
            let _ = (plan.to_string(), plan.lint());
        }
        Err(error) => check_line(&error),
    }
}

/// What a pipeline may ask of a configuration.
fn run(config: &SchedulerConfig) {
    for note in config.notes() {
        assert!(note.to_string().starts_with(note.key()));
    }
    for steps in [1, 7] {
        check(config.plan(steps));
        // For shifts that depend on the size.
        check(config.run(steps).tokens(4096).plan());
    }
    check(config.run(5).mu(1.15).strength(0.6).plan());
    check(config.run(4).eta(0.5).plan());
    check(config.run_through_sigmas([1.0, 0.75, 0.25]).mu(0.5).plan());
    check(config.run_through_times([90.0, 50.5, 10.0]).mu(0.5).plan());
    if let Err(error) = config.run(3).noise_scale() {
        check_line(&error);
    }
}

fn run_all(config: &SchedulerConfig) {
    run(config);
    for precision in [Precision::F32, Precision::F64] {
        run(&config.clone().compat_in(precision));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut is_small = true;
    match SchedulerConfig::from_slice(bytes) {
        Ok(config) => {
            let written = config.to_json();
            let read = SchedulerConfig::from_json(&written).expect("what is written is read");
            assert_eq!((read.schedule().ok(), read.threshold()), (config.schedule().ok(), config.threshold()));
            assert_eq!(read.to_json(), written);
            is_small = config.schedule().map_or(true, |schedule| schedule.len() <= SMALL);
            if is_small {
                run_all(&config);
            } else {
                check(config.plan(7));
            }
        }
        Err(error) => {
            match &error {
                Error::Config { reason, .. } => assert!(!reason.is_empty()),
                Error::ConfigText { line, column, .. } => assert_eq!(*line > 0, *column > 0),
                Error::ConfigKeyMissing { .. } => {}
                other => panic!("{other:?} has neither key nor place"),
            }
            check_line(&error);
        }
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if !is_small {
        return;
    }
    // Three of the classes, which the text chooses.
    let all: Vec<SchedulerClass> = SchedulerClass::all().collect();
    let first = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    for class in [0, 11, 22].map(|offset| all[(first % all.len() + offset) % all.len()]) {
        match SchedulerConfig::from_json_as(text, class) {
            Ok(config) if config.schedule().map_or(true, |schedule| schedule.len() <= SMALL) => run_all(&config),
            Ok(_) => {}
            Err(error) => check_line(&error),
        }
    }
});

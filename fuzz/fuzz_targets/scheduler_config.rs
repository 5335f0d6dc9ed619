//! Any bytes in a model folder give a configuration that makes plans and is written and read again, or an error in one short
//! line that names its key or its place.

#![no_main]

use alphabar::Error;
use alphabar::hub::{SchedulerClass, SchedulerConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match SchedulerConfig::from_slice(bytes) {
        Ok(config) => {
            let written = config.to_json();
            let read = SchedulerConfig::from_json(&written).expect("what is written is read");
            assert_eq!((read.schedule(), read.threshold()), (config.schedule().unwrap(), config.threshold()));
            assert_eq!(read.to_json(), written);
            let total = config.schedule().unwrap().len();
            for steps in [1, total.min(7)] {
                let _ = config.plan(steps).map(|plan| plan.to_string());
            }
            // The other classes read the same keys.
            for class in [SchedulerClass::Ddim, SchedulerClass::Ddpm, SchedulerClass::DdimInverse] {
                let _ = config.clone().with_class(class).map(|other| other.plan(1));
            }
        }
        Err(error) => {
            match &error {
                Error::Config { reason, .. } => assert!(!reason.is_empty()),
                Error::ConfigText { line, column, .. } => assert_eq!(*line > 0, *column > 0),
                Error::ConfigKeyMissing { .. } => {}
                other => panic!("{other:?} has neither key nor place"),
            }
            let line = error.to_string();
            assert!(line.chars().count() < 600 && !line.contains(char::is_control), "{line}");
        }
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        for class in [SchedulerClass::EulerAncestralDiscrete, SchedulerClass::DpmSolverSinglestep, SchedulerClass::Lcm]
        {
            let _ = SchedulerConfig::from_json_as(text, class).map(|config| config.plan(4));
        }
    }
});

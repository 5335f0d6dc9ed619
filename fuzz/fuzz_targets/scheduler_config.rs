//! Whatever bytes a model folder holds: a configuration that gives plans and is written and read again, or an error that
//! names its key or its place.

#![no_main]

use alphabar::Error;
use alphabar::hub::{SchedulerClass, SchedulerConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match SchedulerConfig::from_slice(bytes) {
        Ok(config) => {
            let written = config.to_json();
            let read = SchedulerConfig::from_json(&written).expect("what is written is read");
            assert_eq!((read.schedule(), read.threshold()), (config.schedule(), config.threshold()));
            assert_eq!(read.to_json(), written);
            let total = config.schedule().len();
            for steps in [1, total.min(7)] {
                let _ = config.plan(steps).map(|plan| plan.to_string());
            }
            // The other classes read the same keys.
            for class in [SchedulerClass::Ddim, SchedulerClass::Ddpm, SchedulerClass::DdimInverse] {
                let _ = config.clone().with_class(class).map(|other| other.plan(1));
            }
        }
        Err(Error::Config { reason, .. }) => assert!(!reason.is_empty()),
        Err(Error::ConfigText { line, column, .. }) => assert!(line > 0 || column == 0),
        Err(other) => panic!("{other:?} has neither key nor place"),
    }
});

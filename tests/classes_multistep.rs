//! Classes of diffusers beside diffusers itself: `tests/parity/classes_multistep.json`, recorded by `tests/parity/classes.py`.

#![cfg(feature = "hub")]

use std::collections::BTreeMap;

use alphabar::hub::{Difference, Note};

use crate::classes::{Recorded, compare};

const GROUP: &str = "multistep";

#[test]
fn all_runs_meet_python() {
    compare(GROUP);
}

/// The difference that each quirk makes, over the runs that meet it alone: what the quirk says of itself.
#[test]
fn quirks_say_what_they_change() {
    let mut worst: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
    for recorded in Recorded::all(GROUP).iter().filter(|recorded| recorded.is_finite() && !recorded.is_apart()) {
        let config = recorded.config().unwrap();
        let quirks: Vec<_> = config.notes().iter().filter_map(|note| match note {
            Note::Differs(Difference::Quirk(quirk)) => Some(*quirk),
            _ => None,
        }).collect();
        let Ok(plan) = recorded.run(&config).plan() else { continue };
        let differs = recorded.double(&plan);
        println!("{differs:.1e} {} {:?}", recorded.id(), quirks.iter().map(|quirk| quirk.diffusers).collect::<Vec<_>>());
        if let ([quirk], true) = (quirks.as_slice(), differs.is_finite()) {
            let entry = worst.entry((quirk.key, quirk.diffusers)).or_insert((quirk.by, 0.0));
            entry.1 = entry.1.max(differs);
        }
    }
    for ((key, diffusers), (by, found)) in &worst {
        println!("{key}: {found:.1e}, said {by:.0e}: {diffusers}");
    }
}

//! Classes of diffusers beside diffusers itself: `tests/parity/classes_multistep.json`, recorded by `tests/parity/classes.py`.

#![cfg(feature = "hub")]

use crate::classes::compare;

#[test]
fn all_runs_meet_python() {
    compare("multistep");
}

//! The whole public API, driven by bytes: see tests/common/drive.rs.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/drive.rs"]
mod drive;

fuzz_target!(|bytes: &[u8]| drive::drive(bytes));

//! The public API driven by bytes (`common/drive.rs`): the fuzzer's corpus, and random bytes.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::drive::drive;

/// The corpus is not in the published package, where there is nothing to run here.
#[test]
fn the_corpus_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/api");
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        drive(&fs::read(file).unwrap());
    }
}

#[test]
fn random_bytes_find_nothing() {
    let mut rng = StdRng::seed_from_u64(20);
    for _ in 0..4000 {
        let len = rng.random_range(0..200);
        let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        drive(&bytes);
    }
}

//! The public API driven by bytes (`common/drive.rs`): the fuzzer's corpus, and random bytes.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::drive::drive;

/// One input a line, in hexadecimal. The corpus is not in the published package, where there is nothing to run here.
#[test]
fn the_corpus_finds_nothing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/api-corpus.txt");
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let digits: Vec<u8> = line.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        drive(&bytes);
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

//! What the tests against recorded runs of diffusers share: the records' numbers, and the start, network and noise of every run.

use std::fs;
use std::ops::{Add, Mul};
use std::path::Path;

use alphabar::Element;
use ndarray::ArrayD;
use serde_json::Value;

/// Of an f32 run, relative to max(1, |x|).
pub(crate) const F32: f64 = 1e-5;
/// Of an f64 run, relative to max(1, |x|).
pub(crate) const F64: f64 = 1e-12;

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}. The records are part of the repository but not of the published package.", path.display())
    })
}

pub(crate) fn load(path: &str) -> Vec<Value> {
    serde_json::from_str(&read(path)).unwrap()
}

pub(crate) fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_else(|| panic!("{key} is not a string in {record}"))
}

pub(crate) fn count(record: &Value, key: &str) -> usize {
    record[key].as_u64().unwrap_or_else(|| panic!("{key} is not a count in {record}")) as usize
}

pub(crate) fn flag(record: &Value, key: &str) -> bool {
    record[key].as_bool().unwrap_or_else(|| panic!("{key} is not a flag in {record}"))
}

/// A number; "nan", "inf" and "-inf" are strings.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is not a number"))
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub(crate) fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|integer| integer.as_i64().unwrap()).collect()
}

/// The largest |found − expected|/max(1, |expected|); NaN where there is one.
pub(crate) fn deviation(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs() / expected.abs().max(1.0));
    errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst })
}

/// The largest of many deviations, and where it was.
pub(crate) struct Worst {
    what: &'static str,
    value: f64,
    at: String,
    compared: usize,
}

impl Worst {
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, value: 0.0, at: String::new(), compared: 0 }
    }

    pub(crate) fn see(&mut self, value: f64, bound: f64, at: &str) {
        assert!(value <= bound, "{}, {at}: {value:.2e} is more than {bound:.0e}", self.what);
        self.compared += 1;
        if value > self.value {
            (self.value, self.at) = (value, at.to_owned());
        }
    }

    #[cfg(feature = "hub")]
    pub(crate) fn value(&self) -> f64 {
        self.value
    }

    pub(crate) fn report(self, compared: usize) {
        println!("{}: {} compared, at most {:.2e} ({})", self.what, self.compared, self.value, self.at);
        assert_eq!(self.compared, compared, "{}", self.what);
    }
}

pub(crate) const START: [f64; 12] = [0.5, -1.25, 0.75, -0.25, 1.5, -0.0625, 2.0, -0.5, 1.0, -3.0, 0.125, -1.75];

pub(crate) trait Float: Element + Add<Output = Self> + Mul<Output = Self> {}
impl Float for f32 {}
impl Float for f64 {}

/// m(x, t) = x/2 + ((t mod 7) − 3)/8: one rounding, in the addition.
pub(crate) fn model<E: Float>(x: &ArrayD<E>, t: usize) -> ArrayD<E> {
    let (half, bias) = (E::from_f64(0.5), E::from_f64(((t % 7) as f64 - 3.0) / 8.0));
    x.mapv(|x| half * x + bias)
}

/// z(k, e) = ((7k + 5e + 3) mod 11 − 5)/4; exact.
pub(crate) fn z(k: usize) -> Vec<f64> {
    (0..12).map(|e| (((7 * k + 5 * e + 3) % 11) as f64 - 5.0) / 4.0).collect()
}

pub(crate) fn last(x: &[Vec<f64>]) -> &[f64] {
    &x[x.len() - 1]
}

/// FNV-1a, 64 bit, over the little-endian bytes.
pub(crate) fn fnv1a64(values: &[f32]) -> String {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

//! The keys of noise as they are stored, with the feature `serde`: the text, and the way back.

use std::fmt::Debug;

use alphabar::{Draw, GuidanceScale, NoiseSource, SampleKey, SeededNoise};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn stored<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), text);
    assert_eq!(serde_json::from_str::<T>(text).unwrap(), *value);
}

#[test]
fn draws_and_keys_are_stored_by_name() {
    stored(&Draw::Initial, r#""initial""#);
    stored(&Draw::Step(7), r#"{"step":7}"#);
    stored(&SampleKey { seed: u64::MAX, sample: 3 }, r#"{"seed":18446744073709551615,"sample":3}"#);
    assert!(serde_json::from_str::<SampleKey>(r#"{"seed":1}"#).is_err());
    assert!(serde_json::from_str::<SampleKey>(r#"{"seed":1,"sample":2,"smaple":3}"#).is_err());
}

#[test]
fn a_source_is_stored_by_its_key_and_goes_on_as_it_was() {
    stored(&SeededNoise::new(42).from_sample(5), r#"{"first":{"seed":42,"sample":5}}"#);
    let keys = [SampleKey { seed: 7, sample: 0 }, SampleKey { seed: 8, sample: 1 }];
    stored(&SeededNoise::per_row(keys), r#"{"per_row":[{"seed":7,"sample":0},{"seed":8,"sample":1}]}"#);

    let mut source = SeededNoise::new(42).from_sample(5);
    let like = vec![0.0_f32; 10];
    source.noise(&like, Draw::Initial).unwrap();
    let mut restored: SeededNoise = serde_json::from_str(&serde_json::to_string(&source).unwrap()).unwrap();
    assert_eq!(restored.noise(&like, Draw::Step(3)).unwrap(), source.noise(&like, Draw::Step(3)).unwrap());
}

#[test]
fn scales_of_guidance_are_stored_by_name() {
    stored(&GuidanceScale::Constant(7.5), r#"{"constant":7.5}"#);
    let text = r#"{"interval":{"scale":4.0,"sigma":{"start":0.3,"end":3.0}}}"#;
    stored(&GuidanceScale::Interval { scale: 4.0, sigma: 0.3..=3.0 }, text);
    stored(&GuidanceScale::PerStep(vec![1.0, 2.0]), r#"{"per_step":[1.0,2.0]}"#);
}

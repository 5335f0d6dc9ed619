//! What people store of a plan: it is written in words, read back as it was, and checked when it is read.

use alphabar::{
    BuiltinSolver, Conditioning, Ddim, Ddpm, Direction, EpsilonAfter, PathEnd, Respacing, Spacing, Threshold,
    Timesteps, Variance,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value and its text, there and back.
#[track_caller]
fn stored<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), text);
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value);
}

/// The text is refused, with a message that holds this.
#[track_caller]
fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str, told: &str) {
    let error = serde_json::from_str::<T>(text).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn choices_are_stored_in_words() {
    stored(&PathEnd::Clean, r#""clean""#);
    stored(&PathEnd::FirstLevel, r#""first_level""#);
    stored(&Conditioning::Source, r#""source""#);
    stored(&Direction::Generate, r#""generate""#);
    stored(&Direction::Encode(Conditioning::Destination), r#"{"encode":"destination"}"#);
    stored(&EpsilonAfter::Network, r#""network""#);
    stored(&EpsilonAfter::Threshold, r#""threshold""#);
    stored(&Spacing::Trailing, r#""trailing""#);
    stored(&Spacing::Leading { offset: 1 }, r#"{"leading":{"offset":1}}"#);
    for (variance, text) in [
        (Variance::Posterior, r#""posterior""#),
        (Variance::Beta, r#""beta""#),
        (Variance::LearnedRange, r#""learned_range""#),
        (Variance::Learned, r#""learned""#),
    ] {
        stored(&variance, text);
        stored(&Ddpm::new(variance), &format!(r#"{{"variance":{text}}}"#));
    }
}

#[test]
fn respacings_are_stored_as_openai_writes_them() {
    stored(&Respacing::Ddim(50), r#""ddim50""#);
    stored(&Respacing::Sections(vec![10, 20, 30]), r#""10,20,30""#);
    refused::<Respacing>(r#""ddim""#, "respacing");
}

#[test]
fn thresholds_are_checked_when_they_are_read() {
    stored(&Threshold::None, r#""none""#);
    stored(&Threshold::Clip(1.5), r#"{"clip":1.5}"#);
    stored(&Threshold::Dynamic { ratio: 0.995, max: 1.5 }, r#"{"dynamic":{"ratio":0.995,"max":1.5}}"#);
    refused::<Threshold>(r#"{"clip":-1.0}"#, "the clip range = -1");
    refused::<Threshold>(r#"{"dynamic":{"ratio":1.5,"max":1.5}}"#, "ratio");
    refused::<Threshold>(r#"{"dynamic":{"ratio":0.5,"max":0.5}}"#, "0.5");
}

#[test]
fn timesteps_are_checked_when_they_are_read() {
    let tau = Timesteps::trailing(1000, 4).unwrap();
    let text = |list: &str, direction: &str, end: &str| {
        format!(r#"{{"train_steps":1000,"timesteps":{list},"direction":{direction},"end":"{end}"}}"#)
    };
    stored(&tau, &text("[999,749,499,249]", r#""generate""#, "clean"));
    let encoding = tau.clone().ending(PathEnd::FirstLevel).encoding(Conditioning::Destination);
    stored(&encoding, &text("[249,499,749,999]", r#"{"encode":"destination"}"#, "first_level"));
    // What is left out has its default.
    let short = r#"{"train_steps":1000,"timesteps":[999,749,499,249]}"#;
    assert_eq!(serde_json::from_str::<Timesteps>(short).unwrap(), tau);
    refused::<Timesteps>(&text("[249,499]", r#""generate""#, "clean"), "entry 1 is 499 after 249");
    refused::<Timesteps>(&text("[499,249]", r#"{"encode":"source"}"#, "clean"), "must fall strictly");
    refused::<Timesteps>(&text("[1000]", r#""generate""#, "clean"), "t = 1000");
    refused::<Timesteps>(&text("[]", r#""generate""#, "clean"), "S = 0");
    refused::<Timesteps>(r#"{"train_steps":18446744073709551615,"timesteps":[1]}"#, "T = 18446744073709551615");
    refused::<Timesteps>(r#"{"train_steps":10,"timesteps":[1],"step":1}"#, "unknown field");
}

#[test]
fn samplers_are_checked_when_they_are_read() {
    stored(&Ddim::new(0.5).unwrap(), r#"{"eta":0.5}"#);
    stored(&Ddim::per_step([1.0, 0.5]).unwrap(), r#"{"eta_per_step":[1.0,0.5]}"#);
    stored(&Ddim::sigma_hat(), r#""sigma_hat""#);
    stored(&BuiltinSolver::from(Ddim::deterministic()), r#"{"ddim":{"eta":0.0}}"#);
    stored(&BuiltinSolver::from(Ddpm::default()), r#"{"ddpm":{"variance":"posterior"}}"#);
    refused::<Ddim>(r#"{"eta":-0.5}"#, "η = -0.5");
    refused::<Ddim>(r#"{"eta_per_step":[]}"#, "the number of η = 0");
    refused::<Ddpm>(r#"{"variance":"posterior","eta":1}"#, "unknown field");
}

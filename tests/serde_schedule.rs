//! What is stored of schedules and predictions, and what is read of it.

use alphabar::{NoiseSchedule, Prediction, SigmaData};
use serde_json::{from_str, to_string};

fn read(text: &str) -> NoiseSchedule {
    from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    from_str::<NoiseSchedule>(text).map(|schedule| panic!("{text} gives {schedule}")).unwrap_err().to_string()
}

#[test]
fn a_schedule_is_stored_by_its_recipe() {
    let from_fn = NoiseSchedule::from_alpha_bar_fn(2, 0.9, |u| 1.0 - 0.5 * u).unwrap();
    for (schedule, text) in [
        (NoiseSchedule::ddpm(), r#"{"linear":{"train_steps":1000,"beta_start":0.0001,"beta_end":0.02}}"#),
        (
            NoiseSchedule::scaled_linear(5, 0.1, 0.2),
            r#"{"scaled_linear":{"train_steps":5,"beta_start":0.1,"beta_end":0.2}}"#,
        ),
        (NoiseSchedule::sigmoid(5, 0.1, 0.2), r#"{"sigmoid":{"train_steps":5,"beta_start":0.1,"beta_end":0.2}}"#),
        (NoiseSchedule::constant(5, 0.1), r#"{"constant":{"train_steps":5,"beta":0.1}}"#),
        (NoiseSchedule::cosine(50), r#"{"cosine":{"train_steps":50,"offset":0.008,"max_beta":0.999}}"#),
        (NoiseSchedule::jsd(7), r#"{"jsd":{"train_steps":7}}"#),
        (NoiseSchedule::laplace(7, -1.0, 0.25), r#"{"laplace":{"train_steps":7,"mu":-1.0,"b":0.25}}"#),
        (NoiseSchedule::from_betas([0.1, 1e-7]), r#"{"betas":[0.1,1e-7]}"#),
        (NoiseSchedule::from_alpha_bars([0.75, 0.1, 0.0]), r#"{"alpha_bars":[0.75,0.1,0.0]}"#),
        (Ok(from_fn), r#"{"betas":[0.25,0.33333333333333337]}"#),
        (
            NoiseSchedule::scaled_linear(1000, 0.00085, 0.012)
                .and_then(|schedule| schedule.shifted(3.0)?.rescale_zero_terminal_snr()?.shifted(0.5)),
            r#"{"scaled_linear":{"train_steps":1000,"beta_start":0.00085,"beta_end":0.012},"then":[{"shifted":3.0},"rescale_zero_terminal_snr",{"shifted":0.5}]}"#,
        ),
    ] {
        let schedule = schedule.unwrap();
        let stored = to_string(&schedule).unwrap();
        assert!(stored == text || text.contains("0.3333"), "{stored}");
        assert_eq!(read(&stored), schedule, "to the last bit");
        assert_eq!(to_string(&read(&stored)).unwrap(), stored);
    }
    // What comes after may stand before.
    let text = r#"{"then":["rescale_zero_terminal_snr"],"cosine":{"train_steps":9,"offset":0.008,"max_beta":0.999}}"#;
    assert_eq!(read(text), NoiseSchedule::cosine(9).unwrap().rescale_zero_terminal_snr().unwrap());
}

#[test]
fn what_is_stored_badly_is_refused_with_the_reason() {
    for (text, reason) in [
        ("{}", "a noise schedule, such as"),
        ("3", "a noise schedule, such as"),
        (r#"{"linear":{"train_steps":10,"beta_start":0.1,"beta_end":1.5}}"#, "β[9] = 1.5 is not inside (0, 1)"),
        (r#"{"linear":{"train_steps":0,"beta_start":0.1,"beta_end":0.5}}"#, "T = 0"),
        (r#"{"linear":{"train_steps":10,"beta_start":0.1}}"#, "beta_end"),
        (r#"{"linear":{"train_steps":10,"beta_start":0.1,"beta_end":0.2,"beta_middle":0.15}}"#, "beta_middle"),
        (r#"{"linaer":{"train_steps":10}}"#, "unknown field `linaer`, expected one of `linear`, `scaled_linear`"),
        (r#"{"jsd":{"train_steps":10},"constant":{"train_steps":5,"beta":0.1}}"#, "one family"),
        (r#"{"jsd":{"train_steps":10},"then":[],"then":[]}"#, "duplicate field `then`"),
        (r#"{"jsd":{"train_steps":10},"then":[{"shifted":-1}]}"#, "the shift k = -1"),
        (r#"{"jsd":{"train_steps":10},"then":["stretched"]}"#, "stretched"),
        (r#"{"betas":[0.1,2]}"#, "β[1] = 2"),
        (r#"{"betas":[]}"#, "T = 0"),
        (r#"{"alpha_bars":[0.5,0.6]}"#, "ᾱ[1] = 0.6"),
    ] {
        assert!(refused(text).contains(reason), "{}", refused(text));
    }
    // Nothing is read without bound, nor repeated whole.
    let endless = vec!["0.5"; alphabar::MAX_TRAIN_STEPS + 1].join(",");
    assert!(refused(&format!(r#"{{"betas":[{endless}]}}"#)).contains("a list of at most 1000000 items"));
    let changes = vec!["{\"shifted\":1.5}"; 101].join(",");
    assert!(refused(&format!(r#"{{"jsd":{{"train_steps":5}},"then":[{changes}]}}"#)).contains("at most 100 items"));
    assert!(refused(&format!(r#"{{"{}":1}}"#, "x".repeat(100_000))).len() < 300);
}

#[test]
fn a_prediction_is_stored_by_its_name() {
    for (prediction, name) in [
        (Prediction::Epsilon, "epsilon"),
        (Prediction::Sample, "sample"),
        (Prediction::Velocity, "v_prediction"),
        (Prediction::Score, "score"),
        (Prediction::Flow, "flow_prediction"),
        (Prediction::Edm { sigma_data: SigmaData::new(0.5).unwrap() }, "edm(0.5)"),
        (Prediction::EdmVelocity { sigma_data: SigmaData::new(0.25).unwrap() }, "edm_v(0.25)"),
    ] {
        assert_eq!(to_string(&prediction).unwrap(), format!("\"{name}\""));
        assert_eq!(from_str::<Prediction>(&format!("\"{name}\"")).unwrap(), prediction);
    }
    let error = from_str::<Prediction>("\"flows\"").unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the prediction \"flows\" is unknown; use epsilon, sample, v_prediction, score, flow_prediction, edm"
        ),
        "{error}"
    );
    assert!(from_str::<Prediction>("1").unwrap_err().to_string().contains("the name of a prediction"));
}

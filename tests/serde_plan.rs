//! What people store of a plan: it is written in words, read back as it was, and checked when it is read.

use alphabar::{
    BuiltinSolver, Conditioning, Ddim, Ddpm, Deis, Direction, Dpm2, DpmSolver, DpmSolverPp, EpsilonAfter, Euler,
    EulerAncestral, FinalOrder, FlowAdamsBashforth, FlowHeun, FlowSde, Heun, Interpolation, Ipndm, Lcm, Lms, Middle,
    NoiseSchedule, Orders, Path, PathEnd, Plan, PlanRecipe, Pndm, Prediction, Renoise, Respacing, Rk4, SaSolver,
    Spacing, Tau, Tcd, Threshold, Timesteps, TwoStage, UniPc, UniPcWeights, Variance,
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
fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str, message: &str) {
    let error = serde_json::from_str::<T>(text).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
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

/// Every sampler of the crate, with settings that are not the default ones.
fn samplers() -> Vec<BuiltinSolver> {
    let orders = Orders::new(3).unwrap().ending(FinalOrder::LoweredBelow(10)).starting_with([1, 2, 2]).unwrap();
    let tau = Tau::new(0.8).unwrap().within_sigmas(0.5..=10.0).unwrap();
    vec![
        Ddim::new(0.5).unwrap().into(),
        Ddpm::new(Variance::Beta).into(),
        Deis::rho(2).unwrap().into(),
        Dpm2::ancestral(0.7).unwrap().into(),
        DpmSolver::multistep(3).unwrap().orders(orders.clone()).stochastic(0.5).unwrap().into(),
        DpmSolverPp::multistep(2).unwrap().interpolation(Interpolation::Published).orders(orders.clone()).into(),
        Euler.into(),
        EulerAncestral::rectified_flow(0.5).unwrap().into(),
        FlowAdamsBashforth::new(2).unwrap().into(),
        FlowHeun::new().into(),
        FlowSde::cps(0.3).unwrap().into(),
        Heun::new().into(),
        Ipndm::new(4).unwrap().into(),
        Lcm::new(5.0).unwrap().into(),
        Lms::new(3).unwrap().into(),
        Pndm::with_runge_kutta(Middle::Sigma).into(),
        Renoise.into(),
        Rk4::new().into(),
        SaSolver::new(tau).corrector(3).unwrap().exact().into(),
        DpmSolverPp::single_step(3).unwrap().into(),
        TwoStage::sde(0.5).unwrap().into(),
        Tcd::new(0.3, &NoiseSchedule::ddpm().unwrap()).unwrap().into(),
        UniPc::new(3).unwrap().weights(UniPcWeights::Bh1).noise_form().into(),
    ]
}

#[test]
fn every_sampler_is_stored_and_makes_the_same_plan() {
    let path = Path::karras(&NoiseSchedule::ddpm().unwrap(), 8).unwrap();
    let mut names = Vec::new();
    for solver in samplers() {
        let text = serde_json::to_string(&solver).unwrap();
        let read: BuiltinSolver = serde_json::from_str(&text).unwrap();
        assert_eq!(read, solver, "{text}");
        assert_eq!(Plan::along(&path, &read).unwrap(), Plan::along(&path, &solver).unwrap(), "{text}");
        // One word names the sampler; a number out of its domain is refused.
        names.push(text.trim_matches(['{', '"']).split('"').next().unwrap().to_owned());
        for order in [r#""order":3"#, r#""order":2"#, r#""order":4"#] {
            if text.contains(order) {
                refused::<BuiltinSolver>(&text.replace(order, r#""order":7"#), "order");
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), samplers().len());
}

#[test]
fn a_recipe_is_stored_whole_and_checked_when_it_is_read() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let tau = Timesteps::leading(1000, 20, 1).unwrap().ending(PathEnd::FirstLevel);
    for recipe in [
        PlanRecipe::new(schedule.clone(), tau.clone(), Ddim::new(0.5).unwrap()),
        PlanRecipe::new(schedule.rescale_zero_terminal_snr().unwrap(), tau, Ddpm::new(Variance::Beta))
            .prediction(Prediction::Velocity)
            .threshold(Threshold::dynamic(0.995, 1.5).unwrap())
            .epsilon_after(EpsilonAfter::Threshold),
    ] {
        let text = serde_json::to_string(&recipe).unwrap();
        let read: PlanRecipe = serde_json::from_str(&text).unwrap();
        assert_eq!(read, recipe, "{text}");
        // The plan's coefficients, to the last bit.
        assert_eq!(read.build().unwrap(), recipe.build().unwrap());
        refused::<PlanRecipe>(&text.replace(r#""eta":0.5"#, r#""eta":-0.5"#).replace("0.995", "1.995"), "is not");
    }
}

//! Everything that is wrong has an error of a type, whose message holds the value and its place; and nothing panics,
//! whatever it is given.

use std::error::Error as _;

use alphabar::noise::Brownian;
use alphabar::noise::comfyui::ComfyUi;
use alphabar::noise::numpy::{Numpy, RandomState};
use alphabar::noise::torch::{Cpu, Cuda, CudaGenerator, Generator, Gpu};
use alphabar::noise::webui::{RandomSource, WebUi};
use alphabar::objective::{self, Antithetic, LossAware, Uniform};
use alphabar::predictor::{from_fn, guide, guide_rescaled};
use alphabar::reference::{DataDistribution, Exact, FiniteData, Gaussian, GaussianMixture};
use alphabar::{
    BoxError, Coefficients, Combination, Conditioning, Ddim, Ddpm, Draw, ElementType, EpsilonAfter, Error, Guidance,
    GuidanceScale, HostTensor, Leg, MAX_TRAIN_STEPS, Memory, NoNoise, NoiseLevel, NoiseSchedule, NoiseSource, PathEnd,
    Plan, Point, Prediction, Predictor, Respacing, RowReduce, Rows, SampleKey, Sampling, SeededNoise, Solver, Spacing,
    Tensor, Threshold, Timesteps, Variance, Weights, forward, posterior, sample, slerp, step_in_place,
};
use ndarray::{Array0, Array2, ArrayD, IxDyn, arr0};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// What a user is shown: the message and those of its causes.
fn story(error: &Error) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        story = format!("{story}: {error}");
        cause = error.source();
    }
    story
}

/// The error a step of a plan failed with.
fn at_step<T>(result: Result<T, Error>, step: usize) -> Result<T, Error> {
    match result {
        Err(Error::AtStep { index, source, .. }) if index == step => Err(*source),
        Err(other) => panic!("not at step {step}: {other:?}"),
        Ok(value) => Ok(value),
    }
}

/// The result is an error of this form, and its message holds each of these fragments.
macro_rules! refused {
    ($result:expr, $form:pat $(if $guard:expr)?, [$($fragment:expr),+ $(,)?]) => {{
        let error = $result.err().unwrap_or_else(|| panic!("accepted: {}", stringify!($result)));
        assert!(matches!(&error, $form $(if $guard)?), "{}: {error:?}", stringify!($result));
        let story = story(&error);
        $(
            // Messages show long numbers by their exponents.
            let fragment = $fragment.to_string();
            let short = fragment.parse::<f64>().map_or_else(|_| fragment.clone(), |number| format!("{number:e}"));
            assert!(story.contains(&fragment) || story.contains(&short), "{fragment:?} is not in {story:?}");
        )+
    }};
}

fn ddpm() -> NoiseSchedule {
    NoiseSchedule::ddpm().unwrap()
}

fn level(alpha_bar: f64) -> NoiseLevel {
    NoiseLevel::from_alpha_bar(alpha_bar).unwrap()
}

// Schedules.

#[test]
fn betas_outside_0_to_1_are_refused_with_their_place() {
    for wrong in [1.5, 1.0, 0.0, -0.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        for (place, result) in [
            (2, NoiseSchedule::from_betas([0.1, 0.2, wrong, 0.1])),
            (0, NoiseSchedule::linear(10, wrong, 0.02)),
            (9, NoiseSchedule::linear(10, 0.01, wrong)),
            (0, NoiseSchedule::scaled_linear(10, wrong, 0.02)),
            (9, NoiseSchedule::scaled_linear(10, 0.01, wrong)),
            (0, NoiseSchedule::sigmoid(10, wrong, 0.02)),
            (9, NoiseSchedule::sigmoid(10, 0.01, wrong)),
            (0, NoiseSchedule::constant(10, wrong)),
        ] {
            refused!(result, Error::Beta { t, .. } if *t == place, [format!("β[{place}] = {wrong} is")]);
        }
    }
}

#[test]
fn alpha_bars_that_are_none_or_do_not_fall_are_refused_with_their_place() {
    for wrong in [1.0, 1.1, -0.1, f64::INFINITY, f64::NAN] {
        let (first, last) = ([wrong, 0.5], [0.5, wrong]);
        refused!(NoiseSchedule::from_alpha_bars(first), Error::AlphaBar { t: 0, .. }, ["ᾱ[0]", wrong]);
        refused!(NoiseSchedule::from_alpha_bars(last), Error::AlphaBar { t: 1, .. }, ["ᾱ[1]", wrong]);
    }
    // Only the last may be 0.
    refused!(NoiseSchedule::from_alpha_bars([0.5, 0.0, 0.0]), Error::AlphaBar { t: 1, value: 0.0 }, ["ᾱ[1] = 0"]);
    assert!(NoiseSchedule::from_alpha_bars([0.5, 0.0]).is_ok());
    for next in [0.5, 0.6] {
        refused!(
            NoiseSchedule::from_alpha_bars([0.9, 0.5, next]),
            Error::AlphaBarNotFalling { t: 2, value, previous: 0.5 } if *value == next,
            ["ᾱ[2]", next, "0.5"]
        );
    }
}

#[test]
fn products_that_underflow_are_refused_where_they_do() {
    // 2^−298 is 1.96e-90 and 2^−299 below 1e-90.
    refused!(
        NoiseSchedule::constant(2000, 0.5),
        Error::LevelRange { what: "ᾱ", t: 298, value, .. } if *value < 1e-90,
        ["ᾱ[298]", "9.818186930595453e-91", "below 1e-90", "use fewer t"]
    );
    refused!(NoiseSchedule::from_alpha_bars([0.5, 1e-91, 0.0]), Error::LevelRange { t: 1, .. }, ["ᾱ[1] = 1e-91"]);
    refused!(NoiseSchedule::from_betas([1e-91, 0.5]), Error::LevelRange { t: 0, .. }, ["1 − ᾱ[0] = 1e-91", "larger β"]);
}

#[test]
fn betas_too_small_to_leave_a_trace_in_alpha_bar_are_refused() {
    // 1 − ᾱ = 0.51 in twice the digits of an f64 does not move by 1e-40.
    refused!(NoiseSchedule::from_betas([0.3, 0.3, 1e-40]), Error::AlphaBarNotFalling { t: 2, .. }, ["ᾱ[2]", "0.49"]);
    // Beside clean data they do leave one, in 1−ᾱ.
    assert!(NoiseSchedule::from_betas([1e-90, 1e-90]).is_ok());
}

#[test]
fn schedules_need_a_length() {
    for (name, result) in [
        ("linear", NoiseSchedule::linear(0, 0.1, 0.2)),
        ("scaled linear", NoiseSchedule::scaled_linear(0, 0.1, 0.2)),
        ("sigmoid", NoiseSchedule::sigmoid(0, 0.1, 0.2)),
        ("constant", NoiseSchedule::constant(0, 0.1)),
        ("cosine", NoiseSchedule::cosine(0)),
        ("laplace", NoiseSchedule::laplace(0, 0.0, 0.5)),
        ("function", NoiseSchedule::from_alpha_bar_fn(0, 0.9, |u| 1.0 - u)),
        ("betas", NoiseSchedule::from_betas([])),
        ("alpha bars", NoiseSchedule::from_alpha_bars([])),
    ] {
        refused!(result, Error::Count { name: "T", value: 0, min: 1, max: MAX_TRAIN_STEPS }, ["T = 0", "1..=1000000"]);
        let _ = name;
    }
    refused!(NoiseSchedule::jsd(1), Error::Count { name: "T", value: 1, min: 2, .. }, ["T = 1", "2..="]);
    let single = NoiseSchedule::constant(1, 0.1).unwrap();
    refused!(single.rescale_zero_terminal_snr(), Error::Count { name: "T", value: 1, min: 2, .. }, ["T = 1", "2..="]);
}

#[test]
fn parameters_of_schedules_have_domains() {
    for wrong in [-0.1, 1.1, f64::NAN] {
        refused!(
            NoiseSchedule::cosine_with(10, wrong, 0.9),
            Error::Parameter { name: "offset", .. },
            ["offset", wrong, "[0, 1]"]
        );
    }
    for wrong in [0.0, 1.0, -1.0, f64::NAN] {
        refused!(
            NoiseSchedule::cosine_with(10, 0.1, wrong),
            Error::Parameter { name: "the largest β", .. },
            [wrong, "(0, 1)"]
        );
        refused!(
            NoiseSchedule::from_alpha_bar_fn(10, wrong, |u| 1.0 - u),
            Error::Parameter { name: "the largest β", .. },
            [wrong]
        );
    }
    for wrong in [51.0, -51.0, f64::NAN] {
        refused!(NoiseSchedule::laplace(10, wrong, 0.5), Error::Parameter { name: "μ", .. }, ["μ", wrong, "50"]);
    }
    for wrong in [0.0, -0.5, 10.5, f64::NAN] {
        refused!(NoiseSchedule::laplace(10, 0.0, wrong), Error::Parameter { name: "b", .. }, ["b", wrong, "(0, 10]"]);
    }
    refused!(ddpm().nearest_to_log_snr(f64::NAN), Error::Parameter { name: "log-SNR", .. }, ["NaN"]);
    refused!(ddpm().level(1000), Error::Timestep { t: 1000, train_steps: 1000 }, ["t = 1000", "0..1000"]);
    refused!(ddpm().beta(usize::MAX), Error::Timestep { t: usize::MAX, .. }, [usize::MAX]);
}

#[test]
fn continuous_schedules_have_to_fall_and_stay_positive() {
    let of = |alpha_bar: &dyn Fn(f64) -> f64| NoiseSchedule::from_alpha_bar_fn(4, 0.9, alpha_bar);
    // Rises, stands still.
    refused!(of(&|u| 0.5 + 0.1 * u), Error::Beta { t: 0, value } if *value < 0.0, ["β[0] = -0.05"]);
    refused!(of(&|_| 0.5), Error::Beta { t: 0, value: 0.0 }, ["β[0] = 0"]);
    // Is not positive before the end; rises to 0 from below, which no quotient would tell.
    refused!(of(&|u| 0.5 - u), Error::AlphaBar { t: 1, value: 0.0 }, ["ᾱ[1] = 0"]);
    refused!(of(&|u| 0.625 - u), Error::AlphaBar { t: 2, value: -0.125 }, ["ᾱ[2] = -0.125"]);
    refused!(of(&|u| if u > 0.6 { f64::NAN } else { 1.0 - u }), Error::AlphaBar { t: 2, .. }, ["ᾱ[2] = NaN"]);
    refused!(of(&|u| 0.5 * u - 1.0), Error::Parameter { name: "ᾱ(0)", value: -1.0, .. }, ["ᾱ(0) = -1"]);
    refused!(of(&|_| 0.0), Error::Parameter { name: "ᾱ(0)", value: 0.0, .. }, ["ᾱ(0) = 0"]);
    refused!(of(&|u| 1.0 / u), Error::Parameter { name: "ᾱ(0)", .. }, ["ᾱ(0) = inf"]);
}

#[test]
fn levels_have_domains() {
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        refused!(NoiseLevel::from_alpha_bar(wrong), Error::Parameter { name: "ᾱ", .. }, ["ᾱ", wrong, "[1e-90, 1]"]);
        refused!(
            NoiseLevel::from_one_minus_alpha_bar(wrong),
            Error::Parameter { name: "1 − ᾱ", .. },
            ["1 − ᾱ", wrong, "[1e-90, 1]"]
        );
    }
    for wrong in [207.3, -207.3, f64::NAN, f64::INFINITY] {
        refused!(NoiseLevel::from_log_snr(wrong), Error::Parameter { name: "log-SNR", .. }, ["log-SNR", wrong, "207"]);
    }
    for wrong in [-0.1, 1e-46, 1.1e45, f64::NAN, f64::INFINITY] {
        refused!(NoiseLevel::from_sigma(wrong), Error::Parameter { name: "σ", .. }, ["σ", wrong]);
    }
    refused!(NoiseLevel::from_sigma(1.1e100), Error::Parameter { name: "σ", .. }, ["σ = 1.1e100"]);
}

// τ.

/// A spacing of T and S.
type OfLength = fn(usize, usize) -> Result<Timesteps, Error>;

const SPACINGS: [OfLength; 5] = [
    |train_steps, steps| Timesteps::leading(train_steps, steps, 0),
    Timesteps::trailing,
    Timesteps::linspace,
    Timesteps::linear,
    Timesteps::quadratic,
];

#[test]
fn s_lies_between_1_and_t() {
    for spacing in SPACINGS {
        refused!(spacing(1000, 0), Error::Count { name: "S", value: 0, min: 1, max: 1000 }, ["S = 0", "1..=1000"]);
        refused!(spacing(1000, 1001), Error::Count { name: "S", value: 1001, max: 1000, .. }, ["S = 1001", "1..=1000"]);
        refused!(spacing(0, 0), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    }
    let schedule = NoiseSchedule::cosine(10).unwrap();
    refused!(Timesteps::uniform_log_snr(&schedule, 0), Error::Count { name: "S", value: 0, .. }, ["S = 0"]);
    refused!(
        Timesteps::uniform_log_snr(&schedule, 11),
        Error::Count { name: "S", value: 11, .. },
        ["S = 11", "1..=10"]
    );
    refused!(Timesteps::all(0), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    refused!(Timesteps::explicit(0, [0]), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    refused!(Timesteps::respaced(0, &Respacing::Ddim(1)), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
}

#[test]
fn an_offset_past_the_end_is_refused_with_the_t_it_leads_to() {
    refused!(
        Timesteps::leading(1000, 1000, 1),
        Error::LeadingOffset { offset: 1, steps: 1000, t: 1000, train_steps: 1000 },
        ["offset = 1", "S = 1000", "t = 1000", "0..1000", "lower the offset or S"]
    );
    refused!(Timesteps::leading(1000, 50, 20), Error::LeadingOffset { t: 1000, .. }, ["offset = 20", "t = 1000"]);
    assert!(Timesteps::leading(1000, 50, 19).is_ok());
    refused!(Timesteps::leading(1000, 50, usize::MAX), Error::LeadingOffset { t: usize::MAX, .. }, [usize::MAX]);
}

#[test]
fn lists_have_to_fall_below_t() {
    let explicit = |list: &[usize]| Timesteps::explicit(1000, list.iter().copied());
    refused!(explicit(&[]), Error::Count { name: "S", value: 0, .. }, ["S = 0"]);
    refused!(explicit(&[1000, 5]), Error::Timestep { t: 1000, train_steps: 1000 }, ["t = 1000"]);
    refused!(explicit(&[999, usize::MAX]), Error::Timestep { t: usize::MAX, .. }, [usize::MAX]);
    refused!(
        explicit(&[999, 500, 500]),
        Error::NotDescending { index: 2, value: 500, previous: 500 },
        ["entry 2", "500"]
    );
    refused!(
        explicit(&[999, 250, 500]),
        Error::NotDescending { index: 2, value: 500, previous: 250 },
        ["entry 2", "500", "250"]
    );
}

#[test]
fn respacing_strings_that_mean_nothing_are_refused() {
    for (text, fragment) in [
        ("", "\"\""),
        ("ddim", "\"\""),
        ("ddim-5", "\"-5\""),
        ("ddim5.0", "\"5.0\""),
        ("DDIM50", "\"DDIM50\""),
        ("10,,20", "\"\""),
        ("10;20", "\"10;20\""),
        ("10,20,", "\"\""),
        ("10,-20", "\"-20\""),
        ("ddim10,20", "\"10,20\""),
        ("fifty", "\"fifty\""),
        ("99999999999999999999999", "99999"),
    ] {
        let parsed = text.parse::<Respacing>();
        refused!(parsed, Error::Respacing { text: message, .. } if message == text, [format!("{text:?}"), fragment]);
    }
    // A long text is not repeated whole.
    let error = "x".repeat(1_000_000).parse::<Respacing>().unwrap_err();
    assert!(error.to_string().len() < 300);
}

#[test]
fn respacings_that_do_not_fit_are_refused() {
    let respaced = |text: &str| Timesteps::respaced(100, &text.parse().unwrap());
    refused!(respaced("ddim0"), Error::Respacing { .. }, ["ddim0", "no stride"]);
    refused!(respaced("ddim51"), Error::Respacing { .. }, ["ddim51", "no stride", "51", "100"]);
    refused!(respaced("ddim101"), Error::Respacing { .. }, ["ddim101"]);
    refused!(respaced("101"), Error::Respacing { .. }, ["101", "section 0", "100"]);
    refused!(respaced("10,60"), Error::Respacing { .. }, ["10,60", "section 1 has 50 entries", "60"]);
    refused!(respaced("0"), Error::Respacing { .. }, ["no entries"]);
    refused!(respaced("0,0,0"), Error::Respacing { .. }, ["0,0,0", "no entries"]);
    refused!(
        Timesteps::respaced(3, &Respacing::Sections(vec![1; 4])),
        Error::Respacing { .. },
        ["1,1,1,1", "cannot cut 3 entries into 4 sections"]
    );
    refused!(Timesteps::respaced(3, &Respacing::Sections(vec![])), Error::Respacing { .. }, ["into 0 sections"]);
}

#[test]
fn a_start_part_way_leaves_a_step_to_take() {
    let tau = || Timesteps::leading(1000, 50, 1).unwrap();
    for wrong in [-0.1, 1.1, f64::NAN] {
        refused!(tau().with_strength(wrong), Error::Parameter { name: "strength", .. }, ["strength", wrong, "[0, 1]"]);
    }
    refused!(
        tau().with_strength(0.019),
        Error::NothingToDo { name: "strength", steps: 50, .. },
        ["strength = 0.019", "50"]
    );
    refused!(tau().not_above(0), Error::NothingToDo { value: 0.0, steps: 50, .. }, ["the largest t = 0", "50"]);
}

// Methods and plans.

#[test]
fn eta_is_finite_and_not_negative() {
    for wrong in [-0.1, f64::NAN, f64::INFINITY] {
        refused!(Ddim::new(wrong), Error::Parameter { name: "η", .. }, ["η", wrong]);
        refused!(Ddim::per_step([0.0, wrong]), Error::Parameter { name: "η", .. }, ["η", wrong]);
        refused!(posterior::sigma(&level(0.2), &level(0.5), wrong), Error::Parameter { name: "η", .. }, ["η", wrong]);
    }
}

#[test]
fn an_eta_that_asks_for_more_noise_than_there_is_is_refused_at_its_step() {
    // From t = 999 to 499 nearly all of 1−ᾱ_s is drawn anew at η = 1 already.
    let (schedule, tau) = (ddpm(), Timesteps::trailing(1000, 2).unwrap());
    let available = schedule.level(499).unwrap().one_minus_alpha_bar();
    let result = at_step(Plan::new(&schedule, &tau, &Ddim::new(1.5).unwrap()), 0);
    refused!(
        result,
        Error::EtaTooLarge { eta: 1.5, variance, available: message } if variance > message && *message == available,
        ["η = 1.5", format!("{available:.4}"), "use a smaller η"]
    );
    let error = Plan::new(&schedule, &tau, &Ddim::new(1.5).unwrap()).unwrap_err();
    assert!(story(&error).starts_with("step 0 (t = 999) failed: η = 1.5"));
    // The later step of a list is distinguished.
    let tau = Timesteps::trailing(1000, 3).unwrap();
    refused!(
        at_step(Plan::new(&schedule, &tau, &Ddim::per_step([0.0, 2.0, 0.0]).unwrap()), 1),
        Error::EtaTooLarge { eta: 2.0, .. },
        ["η = 2"]
    );
}

#[test]
fn eta_per_step_is_as_long_as_the_path() {
    let ddim = Ddim::per_step([0.0, 0.5]).unwrap();
    let result = Plan::new(&ddpm(), &Timesteps::trailing(1000, 3).unwrap(), &ddim);
    refused!(at_step(result, 0), Error::Length { expected: 3, found: 2, .. }, ["values of η", "got 2", "expected 3"]);
}

#[test]
fn a_prediction_that_determines_no_x0_is_refused_at_pure_noise() {
    let schedule = ddpm().rescale_zero_terminal_snr().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    for prediction in [Prediction::Epsilon, Prediction::Score] {
        for solver in [Box::new(Ddim::deterministic()) as Box<dyn Solver>, Box::new(Ddpm::default())] {
            let result = Plan::builder(&schedule, &tau).prediction(prediction).build(&solver);
            refused!(
                at_step(result, 0),
                Error::Undetermined { to: Prediction::Sample, level, .. } if level.is_pure_noise(),
                [prediction, "x₀-prediction", "ᾱ = 0"]
            );
        }
    }
    // Nor is x₀ of any help where an encoder starts from clean data.
    let tau = tau.encoding(Conditioning::Source);
    let result = Plan::builder(&ddpm(), &tau).prediction(Prediction::Sample).build(&Ddim::deterministic());
    refused!(
        at_step(result, 0),
        Error::Undetermined { from: Prediction::Sample, to: Prediction::Epsilon, .. },
        ["ᾱ = 1"]
    );
}

#[test]
fn methods_with_noise_do_not_encode() {
    let (schedule, tau) = (ddpm(), Timesteps::trailing(1000, 4).unwrap().encoding(Conditioning::Source));
    for solver in [
        Box::new(Ddim::new(0.5).unwrap()) as Box<dyn Solver>,
        Box::new(Ddim::sigma_hat()),
        Box::new(Ddpm::new(Variance::Posterior)),
        Box::new(Ddpm::new(Variance::Beta)),
    ] {
        let to = schedule.level(249).unwrap().alpha_bar();
        let result = at_step(Plan::new(&schedule, &tau, &solver), 0);
        refused!(
            result,
            Error::NotReversible { from: 1.0, .. },
            ["ᾱ = 1", format!("{to:.4}"), "encode with Ddim::deterministic()"]
        );
    }
}

#[test]
fn a_path_for_another_length_is_refused() {
    let tau = Timesteps::trailing(999, 10).unwrap();
    refused!(
        Plan::new(&ddpm(), &tau, &Ddpm::default()),
        Error::TrainSteps { expected: 1000, found: 999 },
        ["T = 999", "T = 1000", "schedule.len()"]
    );
}

#[test]
fn thresholds_have_domains() {
    let (schedule, tau) = (ddpm(), Timesteps::trailing(1000, 3).unwrap());
    let build = |threshold| at_step(Plan::builder(&schedule, &tau).threshold(threshold).build(&Ddpm::default()), 0);
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused!(
            build(Threshold::Clip(wrong)),
            Error::Parameter { name: "the clip range", .. },
            ["the clip range", wrong]
        );
    }
    for wrong in [-0.1, 1.1, f64::NAN] {
        refused!(
            build(Threshold::Dynamic { ratio: wrong, max: 2.0 }),
            Error::Parameter { .. },
            ["ratio", wrong, "[0, 1]"]
        );
    }
    for wrong in [0.9, -1.0, f64::NAN, f64::INFINITY] {
        refused!(
            build(Threshold::Dynamic { ratio: 0.9, max: wrong }),
            Error::Parameter { .. },
            ["largest dynamic threshold", wrong]
        );
    }
}

// Distributions and training.

#[test]
fn distributions_need_their_levels_in_order() {
    let (noisy, clean) = (level(0.2), level(0.7));
    refused!(
        posterior::transition(&noisy, &clean),
        Error::LevelOrder { noisier: 0.7, cleaner: 0.2, .. },
        ["ᾱ_t = 0.7", "ᾱ_s = 0.2"]
    );
    refused!(
        posterior::ddpm_posterior(&clean, &noisy),
        Error::LevelOrder { noisier: 0.7, cleaner: 0.2, .. },
        ["0.7", "0.2"]
    );
    refused!(posterior::sigma(&clean, &noisy, 1.0), Error::LevelOrder { .. }, ["0.7", "0.2"]);
    // What has no value at a level says which, and what to do.
    let for_clean = "is not defined for clean data (ᾱ = 1); use a noisier level";
    for result in [
        posterior::ddpm_posterior(&NoiseLevel::CLEAN, &NoiseLevel::CLEAN),
        posterior::inference(&NoiseLevel::CLEAN, &noisy, 0.0),
        posterior::forward(&NoiseLevel::CLEAN, &noisy, 0.0),
        posterior::forward(&noisy, &NoiseLevel::CLEAN, 0.0),
    ] {
        refused!(result, Error::LevelUndefined { .. }, [for_clean]);
    }
    refused!(forward::renoise(&vec![1.0], &vec![1.0], &noisy, &clean), Error::LevelOrder { .. }, ["0.7", "0.2"]);
    for wrong in [-0.1, 0.6, f64::NAN, f64::INFINITY, 1e12] {
        refused!(posterior::inference(&noisy, &clean, wrong), Error::Parameter { name: "σ", .. }, ["σ", wrong]);
        refused!(posterior::forward(&clean, &noisy, wrong), Error::Parameter { name: "σ", .. }, ["σ", wrong]);
    }
}

#[test]
fn terms_of_the_objective_have_domains() {
    let (noisy, clean) = (level(0.2), level(0.7));
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused!(objective::gamma(&noisy, &clean, wrong), Error::Parameter { name: "σ", .. }, ["σ", wrong]);
        refused!(
            objective::gaussian_kl((0.0, wrong), (0.0, 1.0)),
            Error::Parameter { name: "a variance", .. },
            [wrong]
        );
        refused!(
            objective::gaussian_kl((0.0, 1.0), (0.0, wrong)),
            Error::Parameter { name: "a variance", .. },
            [wrong]
        );
        refused!(
            objective::decoder_log_likelihood(0.0, 0.0, wrong),
            Error::Parameter { .. },
            ["standard deviation", wrong]
        );
        refused!(
            objective::min_snr_weight(Prediction::Sample, &noisy, wrong),
            Error::Parameter { name: "γ", .. },
            ["γ", wrong]
        );
        refused!(
            objective::p2_weight(Prediction::Sample, &noisy, wrong, 1.0),
            Error::Parameter { name: "k", .. },
            ["k", wrong]
        );
    }
    for wrong in [f64::NAN, f64::INFINITY] {
        refused!(objective::gaussian_kl((wrong, 1.0), (0.0, 1.0)), Error::Parameter { name: "a mean", .. }, [wrong]);
        refused!(objective::prior_kl(&noisy, wrong), Error::Parameter { .. }, [wrong]);
        refused!(
            objective::decoder_log_likelihood(0.0, wrong, 1.0),
            Error::Parameter { name: "the mean", .. },
            [wrong]
        );
        refused!(
            objective::p2_weight(Prediction::Sample, &noisy, 1.0, wrong),
            Error::Parameter { name: "γ", .. },
            [wrong]
        );
    }
    refused!(objective::decoder_log_likelihood(1.5, 0.0, 1.0), Error::Parameter { name: "x₀", .. }, ["1.5"]);
    refused!(objective::p2_weight(Prediction::Sample, &noisy, 1.0, -0.5), Error::Parameter { name: "γ", .. }, ["-0.5"]);
    refused!(objective::gamma(&clean, &noisy, 0.1), Error::LevelOrder { .. }, ["0.7", "0.2"]);
    refused!(
        objective::gamma(&NoiseLevel::PURE_NOISE, &noisy, 0.1),
        Error::LevelUndefined { .. },
        ["is not defined for pure noise (ᾱ = 0); use a cleaner level"]
    );
    refused!(
        objective::gamma(&noisy, &noisy, 0.1),
        Error::LevelUndefined { .. },
        ["is not defined between equal levels; use a cleaner level for s"]
    );
    for wrong in [9e-101, 1.1e100] {
        refused!(objective::gamma(&noisy, &NoiseLevel::CLEAN, wrong), Error::Parameter { name: "σ", .. }, ["1e-100"]);
    }
    refused!(
        objective::prior_kl(&NoiseLevel::CLEAN, 0.0),
        Error::Parameter { name: "a variance", value: 0.0, .. },
        ["0"]
    );
}

#[test]
fn samplers_of_t_need_a_length_and_losses_that_are_losses() {
    refused!(Uniform::new(0), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    refused!(Antithetic::new(0), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    refused!(LossAware::new(0), Error::Count { name: "T", value: 0, .. }, ["T = 0"]);
    let mut sampler = LossAware::new(4).unwrap();
    refused!(sampler.update(4, 1.0), Error::Timestep { t: 4, train_steps: 4 }, ["t = 4", "0..4"]);
    for wrong in [-1.0, 1.1e100, f64::NAN, f64::INFINITY] {
        refused!(sampler.update(0, wrong), Error::Parameter { name: "a loss", .. }, ["a loss", wrong]);
    }
    assert_eq!(sampler, LossAware::new(4).unwrap());
}

// Tensors, networks and noise.

#[test]
fn shapes_have_to_agree() {
    let (x, other) = (Array2::<f32>::zeros((2, 3)), Array2::<f32>::zeros((2, 1)));
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    let step = &plan.steps()[0];
    refused!(
        step.apply(x.clone(), other.clone(), Some(&x)),
        Error::Shape { .. },
        ["the network's output", "[2, 3]", "[2, 1]"]
    );
    refused!(step.apply(x.clone(), x.clone(), Some(&other)), Error::Shape { .. }, ["z has", "[2, 3]", "[2, 1]"]);
    refused!(step.x0(&x, &other), Error::Shape { .. }, ["[2, 3]", "[2, 1]"]);
    refused!(forward::add_noise(&x, &other, &[step.from]), Error::Shape { .. }, ["[2, 3]", "[2, 1]"]);
    refused!(
        forward::add_noise(&x, &x, &[step.from; 3]),
        Error::Rows { expected: 2, found: 3 },
        ["got 3", "a batch of 2"]
    );
    refused!(forward::add_noise(&x, &x, &[]), Error::Rows { expected: 2, found: 0 }, ["got 0", "a batch of 2"]);
    refused!(slerp(&x, &other, 0.5), Error::Shape { .. }, ["[2, 3]", "[2, 1]"]);
    refused!(guide(&x, &x, &other, 2.0), Error::Shape { .. }, ["[2, 3]", "[2, 1]"]);
    refused!(objective::simple_loss(&x, &other), Error::Shape { .. }, ["[2, 3]", "[2, 1]"]);
    refused!(
        x.clone().step(x.clone(), Some(&x), &[step.coefficients; 3]),
        Error::Rows { expected: 2, found: 3 },
        ["3", "2"]
    );
    refused!(x.from_host(vec![0.0; 5]), Error::Length { expected: 6, found: 5, .. }, ["5", "6"]);
}

#[test]
fn noise_is_not_forgotten() {
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    let step = &plan.steps()[0];
    let d = step.coefficients.d;
    refused!(step.apply(vec![0.0_f32], vec![0.0], None), Error::MissingNoise { d: message } if *message == d, [format!("d = {d:.4}"), "pass noise.noise(&x, Draw::Step(step.index))?"]);
    let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.clone());
    let result = sample(&plan, vec![0.0_f32], &mut model, &mut NoNoise);
    refused!(at_step(result, 0), Error::Noise(_), ["step 0", "η = 0"]);
    refused!(NoNoise.noise(&vec![0.0_f32], Draw::Step(3)), Error::Noise(_), ["step 3"]);
}

#[test]
fn a_network_that_fails_or_returns_another_shape_is_reported_with_its_step() {
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 4).unwrap(), &Ddim::deterministic()).unwrap();
    let mut fails = |x: &Vec<f32>, at: Point| if at.t == 499.0 { Err("CUDA out of memory") } else { Ok(x.clone()) };
    let result = sample(&plan, vec![0.0_f32], &mut fails, &mut NoNoise);
    refused!(
        result,
        Error::AtStep { index: 2, t: 499.0, .. },
        ["step 2 (t = 499)", "the network failed", "CUDA out of memory"]
    );
    let mut grows = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>([&x[..], &x[..]].concat());
    let result = sample(&plan, vec![0.0_f32; 3], &mut grows, &mut NoNoise);
    refused!(
        result,
        Error::AtStep { index: 0, t: 999.0, .. },
        ["step 0 (t = 999)", "the network's output", "[6]", "[3]"]
    );
    let mut other = from_fn(Prediction::Velocity, |x: &Vec<f32>, _| Ok::<_, BoxError>(x.clone()));
    let result = sample(&plan, vec![0.0_f32], &mut other, &mut NoNoise);
    refused!(
        result,
        Error::PredictionMismatch { .. },
        ["expects ε-prediction", "reports v-prediction", "predictor::from_fn"]
    );
    let result = Sampling::resume(&plan, 5, vec![0.0_f32], &mut fails, &mut NoNoise).map(|_| ());
    refused!(result, Error::Count { value: 5, min: 0, max: 4, .. }, ["the step to resume at = 5", "0..=4"]);
}

#[test]
fn arrays_without_elements_are_refused_and_arrays_without_axes_work() {
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 3).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    for shape in [&[0][..], &[0, 3], &[3, 0], &[2, 0, 4]] {
        let empty = ArrayD::<f32>::zeros(IxDyn(shape));
        let mut model = |x: &ArrayD<f32>, _: Point| Ok::<_, BoxError>(x.clone());
        let message = format!("{shape:?}");
        let result = sample(&plan, empty.clone(), &mut model, &mut SeededNoise::new(1));
        refused!(at_step(result, 0), Error::Empty { .. }, [message, "is empty"]);
        refused!(SeededNoise::new(1).noise(&empty, Draw::Initial), Error::Empty { .. }, ["is empty"]);
        refused!(slerp(&empty, &empty, 0.5), Error::Empty { .. }, [message]);
        refused!(forward::add_noise(&empty, &empty, &[level(0.5)]), Error::Empty { .. }, [message]);
    }
    let mut model = |x: &Array0<f32>, _: Point| Ok::<_, BoxError>(x.mapv(|x| 0.5 * x));
    let mut noise = SeededNoise::new(1);
    let x = noise.noise(&arr0(0.0_f32), Draw::Initial).unwrap();
    let scalar = sample(&plan, x.clone(), &mut model, &mut noise).unwrap().into_scalar();
    let mut model = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(vec![0.5 * x[0]]);
    assert_eq!(sample(&plan, vec![x.into_scalar()], &mut model, &mut noise).unwrap(), [scalar]);
}

#[test]
fn wrappers_have_domains() {
    let (a, b) = (vec![1.0_f64, 2.0], vec![0.5, -0.5]);
    for wrong in [f64::NAN, f64::INFINITY] {
        refused!(guide(&a, &a, &b, wrong), Error::Parameter { name: "the guidance scale", .. }, [wrong]);
    }
    let network = || |x: &Vec<f64>, _: Point| Ok::<_, BoxError>(x.clone());
    let guidance = |scale: GuidanceScale| Guidance::new(network(), network(), scale);
    let interval = |scale, sigma| guidance(GuidanceScale::Interval { scale, sigma });
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused!(
            Guidance::new(network(), network(), wrong),
            Error::Parameter { name: "the guidance scale", .. },
            [wrong]
        );
        refused!(guidance(vec![1.0, wrong].into()), Error::Parameter { name: "the guidance scale", .. }, [wrong]);
        refused!(interval(wrong, 0.3..=3.0), Error::Parameter { name: "the guidance scale", .. }, [wrong]);
    }
    refused!(guidance(vec![].into()), Error::Length { expected: 1, found: 0, .. }, ["guidance scales"]);
    for wrong in [f64::NAN, f64::INFINITY, -0.5] {
        refused!(interval(2.0, wrong..=3.0), Error::Parameter { .. }, ["lower end", wrong]);
    }
    for wrong in [f64::NAN, 0.2] {
        refused!(interval(2.0, 0.3..=wrong), Error::Parameter { .. }, ["upper end", wrong]);
    }
    for wrong in [-0.1, 1.1, f64::NAN] {
        refused!(
            guidance(2.0.into()).unwrap().rescaled(wrong),
            Error::Parameter { name: "the guidance rescale", .. },
            [wrong, "[0, 1]"]
        );
        refused!(
            guide_rescaled(&a, &a, &b, 2.0, wrong),
            Error::Parameter { name: "the guidance rescale", .. },
            [wrong, "[0, 1]"]
        );
        refused!(slerp(&a, &b, wrong), Error::Parameter { .. }, ["between two latents", wrong, "[0, 1]"]);
    }
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 2).unwrap(), &Ddim::new(1.0).unwrap()).unwrap();
    let (batch, steps) = (Array2::<f32>::zeros((2, 2)), [&plan.steps()[0]]);
    let result = SeededNoise::new(1).step_per_row(batch.clone(), batch, &Memory::default(), &steps);
    refused!(result, Error::Rows { expected: 2, found: 1 }, ["got 1", "a batch of 2"]);
    let keys = [SampleKey { seed: 1, sample: 0 }];
    refused!(
        SeededNoise::per_row(keys).noise(&Array2::<f32>::zeros((2, 2)), Draw::Initial),
        Error::Rows { expected: 2, found: 1 },
        ["got 1", "a batch of 2"]
    );
}

// Exact predictors.

#[test]
fn distributions_of_data_are_checked() {
    let point = |at: f64| Gaussian::point([at]).unwrap();
    refused!(Gaussian::new([], []), Error::Count { name: "dimensions", value: 0, .. }, ["dimensions = 0"]);
    refused!(Gaussian::new([0.0, 1.0], [1.0]), Error::Length { expected: 2, found: 1, .. }, ["variances", "1", "2"]);
    for wrong in [1.1e100, -1.1e100, f64::NAN, f64::INFINITY] {
        refused!(Gaussian::new([0.0, wrong], [1.0, 1.0]), Error::Parameter { name: "a mean", .. }, [wrong]);
        refused!(FiniteData::new(1, [0.0, wrong]), Error::Parameter { name: "an element", .. }, [wrong]);
    }
    for wrong in [-0.5, 1.1e200, f64::NAN, f64::INFINITY] {
        refused!(Gaussian::new([0.0], [wrong]), Error::Parameter { name: "a variance", .. }, [wrong]);
        refused!(
            FiniteData::new(1, [0.0]).unwrap().with_bandwidth(wrong),
            Error::Parameter { name: "the bandwidth", .. },
            [wrong]
        );
    }
    for wrong in [0.0, -0.5, f64::NAN, f64::INFINITY] {
        refused!(
            GaussianMixture::new([(1.0, point(0.0)), (wrong, point(1.0))]),
            Error::Parameter { name: "a weight", .. },
            [wrong]
        );
    }
    refused!(GaussianMixture::new([]), Error::Count { name: "components", value: 0, .. }, ["components = 0"]);
    let plane = Gaussian::point([0.0, 1.0]).unwrap();
    refused!(
        GaussianMixture::new([(1.0, point(0.0)), (1.0, plane)]),
        Error::Length { expected: 1, found: 2, .. },
        ["1", "2"]
    );
    refused!(FiniteData::new(0, [1.0]), Error::Count { name: "dimensions", value: 0, .. }, ["dimensions = 0"]);
    refused!(FiniteData::new(2, []), Error::Count { name: "samples", value: 0, .. }, ["samples = 0"]);
    refused!(FiniteData::new(2, [1.0, 2.0, 3.0]), Error::Length { expected: 4, found: 3, .. }, ["3", "4"]);
}

#[test]
fn an_exact_predictor_takes_samples_of_its_dimension_only() {
    let mut model = Gaussian::new([0.0, 1.0], [1.0, 1.0]).unwrap().predictor();
    let at = Point::new(0.0, level(0.5));
    let error = model.predict(&Array2::<f32>::zeros((4, 3)), at).unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    refused!(Err::<(), _>(*error), Error::Shape { .. }, ["[4, 2]", "[4, 3]"]);
}

// Absurd sizes.

#[test]
fn absurd_sizes_are_refused_before_anything_is_built() {
    for size in [MAX_TRAIN_STEPS + 1, usize::MAX / 2, usize::MAX] {
        for result in [
            NoiseSchedule::linear(size, 0.1, 0.2),
            NoiseSchedule::scaled_linear(size, 0.1, 0.2),
            NoiseSchedule::sigmoid(size, 0.1, 0.2),
            NoiseSchedule::constant(size, 0.1),
            NoiseSchedule::cosine(size),
            NoiseSchedule::jsd(size),
            NoiseSchedule::laplace(size, 0.0, 0.5),
            NoiseSchedule::from_alpha_bar_fn(size, 0.9, |u| 1.0 - u),
        ] {
            refused!(result, Error::Count { name: "T", value, .. } if *value == size, [size]);
        }
        for spacing in SPACINGS {
            refused!(spacing(size, 10), Error::Count { name: "T", value, .. } if *value == size, [size]);
            refused!(spacing(size, size), Error::Count { name: "T", value, .. } if *value == size, [size]);
            refused!(spacing(1000, size), Error::Count { name: "S", value, .. } if *value == size, [size]);
        }
        refused!(Timesteps::all(size), Error::Count { name: "T", .. }, [size]);
        refused!(Timesteps::explicit(size, [1, 0]), Error::Count { name: "T", .. }, [size]);
        refused!(Timesteps::respaced(size, &Respacing::Ddim(10)), Error::Count { name: "T", .. }, [size]);
        refused!(Timesteps::respaced(1000, &Respacing::Ddim(size)), Error::Respacing { .. }, [size]);
        refused!(Timesteps::respaced(1000, &Respacing::Sections(vec![1, size])), Error::Respacing { .. }, [size]);
        refused!(Uniform::new(size), Error::Count { name: "T", .. }, [size]);
        refused!(Antithetic::new(size), Error::Count { name: "T", .. }, [size]);
        refused!(LossAware::new(size), Error::Count { name: "T", .. }, [size]);
        refused!(FiniteData::new(size, [1.0, 2.0]), Error::Length { found: 2, .. }, [size]);
    }
    // Lists without an end.
    refused!(NoiseSchedule::from_betas(std::iter::repeat(1e-9)), Error::Count { name: "T", .. }, [MAX_TRAIN_STEPS + 1]);
    refused!(
        NoiseSchedule::from_alpha_bars(std::iter::repeat(0.5)),
        Error::Count { name: "T", .. },
        [MAX_TRAIN_STEPS + 1]
    );
    refused!(Timesteps::explicit(1000, 0..), Error::NotDescending { index: 1, value: 1, previous: 0 }, ["entry 1"]);
    refused!(Timesteps::explicit(1000, std::iter::repeat(5)), Error::NotDescending { index: 1, .. }, ["5 after 5"]);
}

#[test]
fn the_last_of_all_steps_has_a_stream_of_its_own() {
    let last = Draw::Step(usize::MAX).stream();
    assert!(last != Draw::Initial.stream() && last >= Draw::Step(usize::MAX - 1).stream());
}

#[test]
fn lists_of_eta_are_bounded() {
    refused!(Ddim::per_step(std::iter::repeat(0.5)), Error::Count { value, .. } if *value == MAX_TRAIN_STEPS + 1, ["1000001"]);
    refused!(Ddim::per_step([]), Error::Count { value: 0, .. }, ["the number of η = 0"]);
}

// What a message says.

/// An error with a cause of its own.
#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the weights are damaged")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// `{}` holds the cause, and a walk along the sources (anyhow's `{:#}`) tells each cause once.
#[test]
fn a_cause_is_printed_once_and_never_lost() {
    let outer = || Outer("x".parse::<u8>().unwrap_err());
    let inner = "invalid digit found in string";
    for (error, message) in [
        (Error::Predictor(outer().into()), "the network failed: the weights are damaged"),
        (Error::Noise(outer().into()), "the source of noise failed: the weights are damaged"),
        (Error::Backend(outer().into()), "the tensor backend failed: the weights are damaged"),
        (
            Error::ConfigRead(std::io::Error::other(outer())),
            "the configuration cannot be read: the weights are damaged",
        ),
    ] {
        assert_eq!(error.to_string(), message);
        assert_eq!(story(&error), format!("{message}: {inner}"));
    }
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 4).unwrap(), &Ddim::deterministic()).unwrap();
    let mut fails = |x: &Vec<f32>, at: Point| if at.index == 2 { Err(outer()) } else { Ok(x.clone()) };
    let error = sample(&plan, vec![0.0_f32], &mut fails, &mut NoNoise).unwrap_err();
    assert_eq!(error.to_string(), "step 2 (t = 499) failed: the network failed: the weights are damaged");
    assert_eq!(story(&error), format!("{error}: {inner}"));
    // Without causes there is nothing to walk.
    let error = NoiseSchedule::from_betas([1.5]).unwrap_err();
    assert!(error.source().is_none());
}

/// A hand-written loop in a function that returns the crate's error.
fn by_hand(plan: &Plan, model: &mut impl Predictor<Vec<f32>>, mut x: Vec<f32>) -> Result<Vec<f32>, Error> {
    for step in plan.steps() {
        let m = model.predict(&x, step.point())?;
        x = step.apply(x, m, None)?;
    }
    Ok(x)
}

#[test]
fn a_networks_error_becomes_the_crates_by_a_question_mark() {
    let plan = Plan::new(&ddpm(), &Timesteps::trailing(1000, 4).unwrap(), &Ddim::deterministic()).unwrap();
    let error = by_hand(&plan, &mut |_: &Vec<f32>, _: Point| Err("out of memory"), vec![0.5]).unwrap_err();
    assert!(matches!(&error, Error::Predictor(cause) if cause.to_string() == "out of memory"), "{error:?}");
    // An error of the crate's is not wrapped.
    let inner = |_: &Vec<f32>, _: Point| Err(NoiseSchedule::from_betas([1.5]).unwrap_err());
    let error = by_hand(&plan, &mut { inner }, vec![0.5]).unwrap_err();
    assert!(matches!(error, Error::Beta { t: 0, value: 1.5 }), "{error:?}");
    let half = |x: &Vec<f32>, _: Point| Ok::<_, BoxError>(x.iter().map(|x| 0.5 * x).collect());
    let expected = sample(&plan, vec![0.5], &mut { half }, &mut NoNoise).unwrap();
    assert_eq!(by_hand(&plan, &mut { half }, vec![0.5]).unwrap(), expected);
}

#[test]
fn messages_say_what_to_do() {
    let clean = level(1.0);
    let (velocity, epsilon, sample) = (Prediction::Velocity, Prediction::Epsilon, Prediction::Sample);
    for (error, message) in [
        (Timesteps::trailing(1000, 0).unwrap_err(), "S = 0 (inference steps) must be in 1..=1000 (T)"),
        (NoiseSchedule::cosine(0).unwrap_err(), "T = 0 (training steps) must be in 1..=1000000"),
        (
            Timesteps::leading(1000, 1000, 1).unwrap_err(),
            "leading spacing with offset = 1 and S = 1000 begins at t = 1000, outside the schedule (0..1000); lower the \
             offset or S",
        ),
        (
            Timesteps::trailing(1000, 50).unwrap().with_strength(0.01).unwrap_err(),
            "strength = 0.01 leaves no step of S = 50; use at least 1/50, or return the image as it is (strength 0), or take \
             Timesteps::img2img",
        ),
        (
            Timesteps::respaced(1000, &Respacing::Ddim(300)).unwrap_err(),
            "respacing \"ddim300\": no stride takes 300 entries out of 1000; use \"300\" (evenly spread) or \
             Timesteps::trailing(1000, 300)",
        ),
        (
            epsilon.to(sample, &NoiseLevel::PURE_NOISE).unwrap_err(),
            "x₀-prediction cannot be computed from ε-prediction at ᾱ = 0; use a network with v- or x₀-prediction, or a \
             schedule without zero terminal SNR",
        ),
        (
            sample.to(epsilon, &clean).unwrap_err(),
            "ε-prediction cannot be computed from x₀-prediction at ᾱ = 1; encode from PathEnd::FirstLevel",
        ),
        (
            Error::PredictionMismatch { plan: velocity, model: epsilon },
            "the plan expects v-prediction, the predictor reports ε-prediction. A closure counts as ε-prediction: wrap it in \
             predictor::from_fn(Prediction::…, closure), or build the plan with .prediction(…)",
        ),
        (
            Error::RunFailed,
            "an earlier step failed and its x is lost; start again from a copy that you saved before that step: \
             Sampling::resume for x, Sampling::from_state for a State",
        ),
        (
            Error::ConfigText { line: 0, column: 0, reason: "more than 9 bytes".into() },
            "not a scheduler_config.json: more than 9 bytes",
        ),
        (
            Error::ConfigText { line: 3, column: 5, reason: "a comma is missing".into() },
            "not a scheduler_config.json: a comma is missing (line 3, column 5)",
        ),
        (Error::Rows { expected: 3, found: 1 }, "per-sample values: got 1 for a batch of 3 (samples on axis 0)"),
        (
            Error::UnevenSamples { elements: 7, samples: 3 },
            "7 elements do not divide into 3 samples of equal length; pass the samples one after the other, and to \
             step_in_place one set of coefficients for each",
        ),
        (
            Error::Unsupported { operation: "Tensor::abs_quantile, which dynamic thresholding needs" },
            "this tensor type does not implement Tensor::abs_quantile, which dynamic thresholding needs; implement it, or use \
             Threshold::Clip",
        ),
        (
            "clip 1".parse::<Threshold>().unwrap_err(),
            "threshold \"clip 1\" is unknown; use none, clip=RANGE or dynamic=RATIO,MAX",
        ),
        // Numbers are short.
        (NoiseSchedule::from_betas([1e-5, -1e-310]).unwrap_err(), "β[1] = -1e-310 is not inside (0, 1)"),
        (Threshold::clip(-1e300).unwrap_err(), "the clip range = -1e300 is not positive and finite"),
    ] {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn long_texts_are_not_repeated_whole() {
    let sections = Respacing::Sections(vec![2; 100_000]);
    for error in [
        Timesteps::respaced(1000, &sections).unwrap_err(),
        Timesteps::respaced(1_000_000, &Respacing::Sections(vec![1000; 100_000])).unwrap_err(),
        sections.to_string().replace(',', ";").parse::<Respacing>().unwrap_err(),
        "1,".repeat(MAX_TRAIN_STEPS + 1).parse::<Respacing>().unwrap_err(),
        "ᾱ".repeat(100_000).parse::<Threshold>().unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(message.len() < 300 && message.contains("bytes)") && !message.contains('\n'), "{message}");
    }
}

// Results are finite.

#[test]
fn results_are_checked_and_not_only_inputs() {
    let build = |combination| {
        Coefficients::new(Prediction::Epsilon, &level(0.5), combination, Threshold::None, EpsilonAfter::Network)
    };
    // √½·1e308 exists, but not in the arithmetic that gives all digits.
    refused!(build(Combination::new(1e308, 0.0, 0.0, 0.0)), Error::Parameter { .. }, ["finite"]);
    assert!(build(Combination::new(1e200, 0.0, 0.0, 0.0)).is_ok());
    let leg = Leg::new(level(0.25), level(0.5));
    for eta in [1.5, 1e20, 1e100, 1e154, 1e155, 1e300, f64::MAX] {
        let result = Ddim::new(eta).unwrap().combine(&leg);
        refused!(result, Error::EtaTooLarge { eta: message, variance, available: 0.5 } if *message == eta && *variance > 0.5, ["η"]);
        // Between equal levels there is no room for noise, nor need of any.
        let still = Ddim::new(eta).unwrap().combine(&Leg::new(level(0.5), level(0.5))).unwrap();
        assert_eq!((still.z(), still.epsilon()), (0.0, 0.5_f64.sqrt()));
    }
}

/// σ = η·√((1−ᾱ_s)/(1−ᾱ_t))·√(1−ᾱ_t/ᾱ_s) (Song et al. 2021, Eq. 16); η² would underflow.
#[test]
fn a_tiny_eta_gives_a_tiny_sigma() {
    let (t, s) = (0.25_f64, 0.5_f64);
    let unit = ((1.0 - s) / (1.0 - t)).sqrt() * (1.0 - t / s).sqrt();
    for eta in [1e-3, 1e-100, 1e-160, 1e-200, 1e-300] {
        let found = Ddim::new(eta).unwrap().combine(&Leg::new(level(t), level(s))).unwrap().z();
        assert!((found / (eta * unit) - 1.0).abs() < 1e-15, "{eta}: {found}");
    }
}

// Nothing panics.

/// Any number, and often one that is likely to be mishandled.
fn any_number() -> impl Strategy<Value = f64> {
    let special = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        f64::EPSILON,
        1.0 - f64::EPSILON,
        1.0 + f64::EPSILON,
        1e300,
        -1e300,
        207.0,
        -207.0,
    ];
    prop_oneof![3 => prop::sample::select(special), 3 => 0.0_f64..1.0, 1 => -10.0_f64..10.0, 1 => prop::num::f64::ANY]
}

/// Any count, though none between those that are quick and those that are refused.
fn any_count() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0_usize..24, 1 => Just(MAX_TRAIN_STEPS + 1), 1 => Just(usize::MAX), 1 => Just(usize::MAX / 2 + 1)]
}

fn any_prediction() -> impl Strategy<Value = Prediction> {
    prop::sample::select(vec![Prediction::Epsilon, Prediction::Sample, Prediction::Velocity, Prediction::Score])
}

fn any_threshold() -> impl Strategy<Value = Threshold> {
    prop_oneof![
        Just(Threshold::None),
        any_number().prop_map(Threshold::Clip),
        (any_number(), any_number()).prop_map(|(ratio, max)| Threshold::Dynamic { ratio, max }),
    ]
}

fn any_level() -> impl Strategy<Value = NoiseLevel> {
    (any_number(), 0..4).prop_map(|(number, constructor)| {
        let level = match constructor {
            0 => NoiseLevel::from_alpha_bar(number),
            1 => NoiseLevel::from_one_minus_alpha_bar(number),
            2 => NoiseLevel::from_log_snr(number),
            _ => NoiseLevel::from_sigma(number),
        };
        level.unwrap_or(NoiseLevel::CLEAN)
    })
}

fn any_combination() -> impl Strategy<Value = Combination> {
    prop::array::uniform4(any_number()).prop_map(|[x0, x, epsilon, z]| Combination::new(x0, x, epsilon, z))
}

fn numbers(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(any_number(), len)
}

/// A solver that returns what it was given.
#[derive(Debug)]
struct Fixed(Combination);

impl Solver for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn combine(&self, _leg: &Leg) -> Result<Combination, Error> {
        Ok(self.0)
    }
}

fn ask_everything(schedule: &NoiseSchedule, t: usize, number: f64) {
    let _ = (schedule.level(t).map(ask_level), schedule.beta(t), schedule.nearest_to_log_snr(number));
    let _ = (schedule.rescale_zero_terminal_snr(), Timesteps::uniform_log_snr(schedule, t));
    let _ = NoiseSchedule::from_betas(schedule.betas().to_vec());
    let _ = NoiseSchedule::from_alpha_bars(schedule.levels().iter().map(NoiseLevel::alpha_bar));
}

fn ask_level(level: NoiseLevel) -> String {
    let _ = (level.alpha_bar(), level.one_minus_alpha_bar(), level.signal(), level.noise());
    let _ = (level.snr(), level.log_snr(), level.sigma(), level.is_clean(), level.is_pure_noise());
    level.to_string()
}

/// Levels of all sizes of ᾱ and of 1−ᾱ.
fn wide_level() -> impl Strategy<Value = NoiseLevel> {
    (-323.3..0.0_f64, -600.0..600.0_f64, 0..6).prop_map(|(exponent, log_snr, constructor)| {
        let level = match constructor {
            0 => NoiseLevel::from_alpha_bar(10_f64.powf(exponent)),
            1 => NoiseLevel::from_one_minus_alpha_bar(10_f64.powf(exponent)),
            2 => NoiseLevel::from_log_snr(log_snr),
            3 => NoiseLevel::from_log_snr(log_snr / 100.0),
            4 => NoiseLevel::from_sigma(10_f64.powf(exponent / 3.3)),
            _ => Ok(if log_snr > 0.0 { NoiseLevel::CLEAN } else { NoiseLevel::PURE_NOISE }),
        };
        level.unwrap_or(NoiseLevel::CLEAN)
    })
}

/// Finite numbers of all sizes.
fn wide_number() -> impl Strategy<Value = f64> {
    let any = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    prop_oneof![3 => any, 1 => -2.0..2.0_f64, 1 => Just(1.0), 1 => Just(0.0)]
}

/// Every number of the weights is finite, and that of z is not negative.
fn all_finite(weights: &Combination) -> bool {
    let all = [weights.x0(), weights.x(), weights.epsilon(), weights.z(), weights.learned_noise().unwrap_or(0.0)];
    all.iter().all(|weight| weight.is_finite()) && weights.z() >= 0.0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    /// A step of finite numbers is finite, or an error; over all of `f64`, for every method, prediction and threshold.
    #[test]
    fn a_step_is_finite_or_an_error(
        (t, s, near) in (wide_level(), wide_level(), -40.0..0.0_f64),
        eta in wide_number(),
        weights in prop::array::uniform4(wide_number()),
        (prediction, after) in (any_prediction(), any::<bool>()),
        range in wide_number(),
    ) {
        let epsilon = if after { EpsilonAfter::Threshold } else { EpsilonAfter::Network };
        // Also two levels that are next to each other.
        let beside = NoiseLevel::from_log_snr(t.log_snr() + 10_f64.powf(near)).unwrap_or(t);
        let mut solvers: Vec<Box<dyn Solver>> = vec![
            Box::new(Ddim::deterministic()),
            Box::new(Ddim::sigma_hat()),
            Box::new(Fixed(Combination::new(weights[0], weights[1], weights[2], weights[3].abs()))),
        ];
        solvers.extend(Ddim::new(eta.abs()).map(|ddim| Box::new(ddim) as _));
        for variance in [Variance::Posterior, Variance::Beta, Variance::LearnedRange, Variance::Learned] {
            solvers.push(Box::new(Ddpm::new(variance)));
        }
        for (solver, to) in solvers.iter().flat_map(|solver| [(solver, s), (solver, beside)]) {
            let leg = Leg::new(t, to);
            let Ok(weights) = solver.combine(&leg) else { continue };
            prop_assert!(all_finite(&weights), "{} {leg:?}: {weights:?}", solver.name());
            for threshold in [Threshold::None, Threshold::Clip(range.abs()), Threshold::Dynamic { ratio: 0.5, max: 2.0 }] {
                let Ok(k) = Coefficients::new(prediction, &t, weights, threshold, epsilon) else { continue };
                let all = [k.p, k.q, k.a, k.b, k.c, k.d, k.x, k.model];
                prop_assert!(all.iter().all(|k| k.is_finite()) && k.d >= 0.0, "{} {leg:?}: {k:?}", solver.name());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_schedule_panics(
        [count, t] in prop::array::uniform2(any_count()),
        [a, b, c] in prop::array::uniform3(any_number()),
        list in numbers(0..12),
    ) {
        for schedule in [
            NoiseSchedule::linear(count, a, b),
            NoiseSchedule::scaled_linear(count, a, b),
            NoiseSchedule::sigmoid(count, a, b),
            NoiseSchedule::constant(count, a),
            NoiseSchedule::cosine_with(count, a, b),
            NoiseSchedule::jsd(count),
            NoiseSchedule::laplace(count, a, b),
            NoiseSchedule::from_betas(list.clone()),
            NoiseSchedule::from_alpha_bars(list.clone()),
            NoiseSchedule::from_alpha_bar_fn(count, a, |u| b + c * u),
            NoiseSchedule::from_alpha_bar_fn(count, a, |u| list.get((u * 10.0) as usize).copied().unwrap_or(b)),
        ] {
            match schedule {
                Ok(schedule) => ask_everything(&schedule, t, c),
                Err(error) => drop(story(&error)),
            }
        }
        for level in [
            NoiseLevel::from_alpha_bar(a),
            NoiseLevel::from_one_minus_alpha_bar(a),
            NoiseLevel::from_log_snr(a),
            NoiseLevel::from_sigma(a),
        ] {
            let _ = level.map(ask_level);
        }
    }

    #[test]
    fn no_path_panics(
        [train_steps, steps, offset, t] in prop::array::uniform4(any_count()),
        list in prop::collection::vec(any_count(), 0..12),
        strength in any_number(),
        text in prop_oneof![any::<String>(), "(ddim)?[0-9, +-]{0,12}"],
    ) {
        let respacing = text.parse::<Respacing>();
        let mut paths = vec![
            Timesteps::leading(train_steps, steps, offset),
            Timesteps::all(train_steps),
            Timesteps::explicit(train_steps, list.clone()),
            Timesteps::respaced(train_steps, &Respacing::Ddim(steps)),
            Timesteps::respaced(train_steps, &Respacing::Sections(list)),
        ];
        for spacing in [Spacing::Leading { offset }, Spacing::Trailing, Spacing::Linspace, Spacing::Quadratic] {
            paths.push(Timesteps::spaced(train_steps, steps, spacing));
            paths.push(Timesteps::starting_from(train_steps, t, steps, spacing));
            paths.extend(Timesteps::img2img(train_steps, steps, strength, spacing).map(Option::into_iter).into_iter().flatten().map(Ok));
        }
        paths.extend(SPACINGS.map(|spacing| spacing(train_steps, steps)));
        paths.extend(respacing.ok().map(|respacing| Timesteps::respaced(train_steps, &respacing)));
        for path in paths.into_iter().flatten() {
            let path = path.ending(PathEnd::FirstLevel);
            let _ = (path.clone().with_strength(strength), path.clone().not_above(t));
            let encoding = path.encoding(Conditioning::Destination);
            let _ = (encoding.clone().with_strength(strength), encoding.clone().not_above(t), encoding.generating());
        }
        let _ = (Draw::Step(t).stream(), Draw::Initial.stream());
    }

    #[test]
    fn no_plan_panics(
        (betas, steps) in (numbers(1..8), 1_usize..8),
        (prediction, threshold) in (any_prediction(), any_threshold()),
        (combination, etas) in (any_combination(), numbers(1..8)),
        (encode, first_level, after) in any::<(bool, bool, bool)>(),
    ) {
        let betas: Vec<f64> = betas.into_iter().filter(|beta| *beta > 0.0 && *beta < 1.0).collect();
        let Ok(schedule) = NoiseSchedule::from_betas(betas) else { return Ok(()) };
        let schedule = if after { schedule.rescale_zero_terminal_snr().unwrap_or(schedule) } else { schedule };
        let Ok(tau) = Timesteps::linspace(schedule.len(), steps.min(schedule.len())) else { return Ok(()) };
        let tau = if first_level { tau.ending(PathEnd::FirstLevel) } else { tau };
        let tau = if encode { tau.encoding(Conditioning::Source) } else { tau };
        let epsilon = if after { EpsilonAfter::Threshold } else { EpsilonAfter::Network };
        let mut solvers: Vec<Box<dyn Solver>> = vec![
            Box::new(Ddim::deterministic()),
            Box::new(Ddim::sigma_hat()),
            Box::new(Ddpm::new(Variance::Posterior)),
            Box::new(Ddpm::new(Variance::Beta)),
            Box::new(Fixed(combination)),
        ];
        solvers.extend(Ddim::new(etas[0]).map(|ddim| Box::new(ddim) as _));
        solvers.extend(Ddim::per_step(etas).map(|ddim| Box::new(ddim) as _));
        for solver in solvers {
            let builder = Plan::builder(&schedule, &tau).prediction(prediction).threshold(threshold);
            match builder.epsilon_after(epsilon).build(&solver) {
                Ok(plan) => {
                    let _ = (plan.to_string(), plan.start(), plan.end());
                    plan.lint().iter().for_each(|lint| drop(lint.to_string()));
                    for step in plan.steps() {
                        let (x, m, z) = (vec![0.5_f32, f32::NAN], vec![f32::INFINITY, 1.0], vec![1.0, -1.0]);
                        let _ = (step.x0(&x, &m), step.apply(x, m, Some(&z)));
                    }
                }
                Err(error) => drop(story(&error)),
            }
        }
    }

    #[test]
    fn no_formula_panics(
        (t, s) in (any_level(), any_level()),
        [a, b, c, d] in prop::array::uniform4(any_number()),
        (from, to) in (any_prediction(), any_prediction()),
    ) {
        let _ = (posterior::marginal(&t), posterior::transition(&s, &t), posterior::ddpm_posterior(&t, &s));
        let _ = (posterior::sigma(&t, &s, a), posterior::inference(&t, &s, a), posterior::forward(&s, &t, a));
        let _ = (objective::gamma(&t, &s, a), objective::gaussian_kl((a, b), (c, d)), objective::prior_kl(&t, a));
        let _ = (objective::decoder_log_likelihood(a, b, c), objective::epsilon_equivalent(from, &t));
        let _ = (objective::min_snr_weight(from, &t, a), objective::p2_weight(from, &t, a, b));
        let _ = from.to(to, &t);
        let (x, y) = (vec![a, b], vec![c, d]);
        let _ = (forward::convert(&x, &y, from, to, &[t]), forward::add_noise(&x, &y, &[t, s]));
        let _ = (forward::renoise(&x, &y, &s, &t), forward::velocity(&x, &y, &[]));
        let _ = (slerp(&x, &y, a), slerp(&x, &y, 0.3), objective::simple_loss(&x, &y));
        let _ = (guide(&x, &x, &y, a), guide_rescaled(&x, &x, &y, a, b), guide_rescaled(&x, &y, &y, 2.0, 0.5));
    }

    #[test]
    fn no_step_panics(
        (x, m, z) in (numbers(0..6), numbers(0..6), numbers(0..6)),
        (level, prediction, combination) in (any_level(), any_prediction(), any_combination()),
        (threshold, spoilt, weights) in (any_threshold(), any_threshold(), numbers(0..4)),
        count in 0_usize..4,
    ) {
        let k = Coefficients::new(prediction, &level, combination, threshold, EpsilonAfter::Network);
        let Ok(k) = k else { return Ok(()) };
        let ratio = weights.first().copied().unwrap_or(2.0);
        // The fields are public: a caller may set one to what no constructor lets pass.
        let mut mishandled = k;
        mishandled.threshold = spoilt;
        for k in [k, mishandled] {
            let rows = vec![k; count];
            let _ = step_in_place(&mut x.clone(), &m, Some(&z), &rows);
            let _ = step_in_place(&mut x.clone(), &x, Some(&x), &rows);
            let _ = x.clone().step(x.clone(), Some(&x), &rows);
            let _ = x.clone().step(m.clone(), Some(&z), &[k]);
            for shape in [[x.len(), 1], [1, x.len()]] {
                let array = Array2::from_shape_vec(shape, x.clone()).unwrap();
                let _ = array.clone().step(array.clone(), Some(&array), &rows);
                let _ = Array2::linear_combination(&[(Weights::PerRow(&weights), &array), (f64::NAN.into(), &array)]);
                let _ = array.clone().clamp_abs(Weights::PerRow(&weights));
                let _ = (array.abs_quantile(ratio), array.row_dot(&array), array.row_variance());
            }
        }
        let _ = (x.abs_quantile(ratio), x.row_dot(&m), x.row_variance(), x.from_host(m.clone()));
        let _ = x.clone().clamp_abs(Weights::PerRow(&weights));
    }

    #[test]
    fn no_exact_predictor_panics(
        (dim, elements, variances) in (any_count(), numbers(0..8), numbers(0..8)),
        (rows, level, weight) in (numbers(0..9), any_level(), any_number()),
        prediction in any_prediction(),
    ) {
        let mut all: Vec<Box<dyn DataDistribution>> = Vec::new();
        if let Ok(finite) = FiniteData::new(dim, elements.clone()) {
            let _ = finite.distances(&rows);
            all.extend(finite.clone().with_bandwidth(weight).map(|finite| Box::new(finite) as _));
            all.push(Box::new(finite));
        }
        if let Ok(gaussian) = Gaussian::new(elements.clone(), variances) {
            gaussian.flow(&mut rows.clone(), &level, &NoiseLevel::CLEAN);
            gaussian.flow(&mut rows.clone(), &NoiseLevel::CLEAN, &level);
            let mixture = GaussianMixture::new([(weight, gaussian.clone()), (1.0, gaussian.clone())]);
            all.extend(mixture.map(|mixture| Box::new(mixture) as _));
            all.push(Box::new(gaussian));
        }
        for data in all {
            // Also rows that are not whole samples.
            data.denoise(&mut rows.clone(), &level);
            data.epsilon(&mut rows.clone(), &level);
            data.score(&mut rows.clone(), &level);
            let _ = Exact::new(&*data, prediction).predict(&rows, Point::new(0.0, level));
        }
    }

    #[test]
    fn no_source_or_sampler_panics(
        (seed, sample, index) in any::<(u64, u64, usize)>(),
        (count, losses) in (any_count(), numbers(0..30)),
        (height, width) in (0_usize..4, 0_usize..4),
        draws in 0_usize..4,
    ) {
        let like = Array2::<f32>::zeros((height, width));
        let mut noise = SeededNoise::new(seed).from_sample(sample);
        let _ = (noise.noise(&like, Draw::Step(index)), noise.noise_per_row(&like, &vec![Draw::Step(index); draws]));
        let _ = SeededNoise::per_row(vec![SampleKey { seed, sample }; draws]).noise(&like, Draw::Initial);
        let mut rng = StdRng::seed_from_u64(seed);
        let _ = Uniform::new(count).map(|uniform| uniform.sample(height, &mut rng));
        let _ = Antithetic::new(count).map(|antithetic| antithetic.sample(height, &mut rng));
        let _ = LossAware::new(count).map(|mut aware| {
            for (i, loss) in losses.into_iter().enumerate() {
                let _ = aware.update(i % 3, loss);
            }
            (aware.probabilities(), aware.sample(height, &mut rng))
        });
    }
}

/// A tensor of another crate, which says how large it is and nothing of its elements.
#[derive(Debug)]
struct Opaque(Rows);

impl Tensor for Opaque {
    fn linear_combination(_: &[(Weights<'_>, &Self)]) -> Result<Self, Error> {
        Err(Error::Unsupported { operation: "arithmetic" })
    }

    fn clamp_abs(self, _: Weights<'_>) -> Result<Self, Error> {
        Ok(self)
    }
}

impl HostTensor for Opaque {
    fn rows_of_batch(&self) -> Rows {
        self.0
    }

    fn to_host(&self) -> Result<Vec<f64>, Error> {
        Err(Error::Unsupported { operation: "reading" })
    }

    fn from_host(&self, _: Vec<f64>) -> Result<Self, Error> {
        Ok(Self(self.0))
    }
}

#[test]
fn noise_of_torch_and_numpy() {
    let (three, wide) = (Array2::<f32>::zeros((3, 4)), Array2::<f64>::zeros((3, 4)));
    let initial = Draw::Initial;

    // A list of generators of another length than the batch.
    refused!(Cpu::per_sample([1, 2]).noise(&three, initial), Error::Rows { expected: 3, found: 2 }, [2, 3]);
    refused!(Cuda::per_sample([1, 2]).noise(&three, initial), Error::Rows { expected: 3, found: 2 }, [2, 3]);
    for source in [RandomSource::Cpu, RandomSource::Nv, RandomSource::AnyGpu] {
        let mut four = WebUi::batch(1, 4).source(source);
        refused!(four.noise(&three, initial), Error::Rows { expected: 3, found: 4 }, [4, 3]);
    }
    let indexed = ComfyUi::on_cpu(1).batch_indices([0, 1]).unwrap().noise(&three, initial);
    refused!(indexed, Error::Rows { expected: 3, found: 2 }, [2, 3]);

    // Element types.
    let opaque = Opaque(Rows { count: 2, len: 3 });
    refused!(Cpu::new(1).noise(&opaque, initial), Error::Unsupported { .. }, ["HostTensor::element_type", "drawn_as"]);
    let in_f32 = || Cpu::new(1).drawn_as(ElementType::F32);
    assert!(in_f32().noise(&opaque, initial).is_ok());
    refused!(Cuda::new(1).noise(&wide, initial), Error::ElementType { .. }, ["f64", "f32, f16 or bf16"]);

    // Lengths that overflow, and none.
    for rows in [Rows { count: usize::MAX, len: 2 }, Rows { count: 1, len: usize::MAX }] {
        let endless = Opaque(rows);
        refused!(in_f32().noise(&endless, initial), Error::TooManyElements { .. }, [usize::MAX]);
        let mut numpy = Numpy::new(RandomState::new(1));
        refused!(numpy.noise(&endless, initial), Error::TooManyElements { .. }, [usize::MAX]);
        refused!(in_f32().skip(&endless, 1), Error::TooManyElements { .. }, [usize::MAX]);
    }
    refused!(Cpu::new(1).noise(&Vec::<f32>::new(), initial), Error::Empty { .. }, ["[1, 0]"]);

    // A GPU that nobody named, and one that there is not.
    let large = vec![0.0_f32; 40_961];
    refused!(Cuda::new(1).noise(&large, initial), Error::Count { .. }, ["40961", "40960", "Cuda::on"]);
    assert!(Cuda::new(1).on(Gpu::A100).noise(&large, initial).is_ok());
    refused!(Gpu::new(0, 2048), Error::Count { value: 0, .. }, ["multiprocessors"]);
    refused!(Gpu::new(108, 255), Error::Count { value: 255, .. }, ["threads per multiprocessor"]);
    refused!(CudaGenerator::with_offset(1, 6), Error::Parameter { .. }, ["offset", "6", "multiple of 4"]);

    // Integers.
    let mut generator = Generator::new(1);
    refused!(generator.randint(5, 5, 1), Error::Parameter { .. }, ["randint", "5"]);
    refused!(generator.randperm(usize::MAX), Error::Count { .. }, ["permutation"]);
    assert_eq!(generator.randint(i64::MIN, i64::MAX, 2).unwrap().len(), 2);
    assert_eq!((generator.randperm(0).unwrap(), generator.randint(0, 1, 3).unwrap()), (vec![], vec![0; 3]));

    // States.
    refused!(Generator::from_bytes(&[0; 16]), Error::Length { expected: 5056, found: 16, .. }, [16, 5056]);
    refused!(Generator::from_bytes(&[0; 5056]), Error::Noise(_), ["never seeded"]);
    let state = generator.to_bytes();
    for (at, what) in [(8, "contradict"), (16, "contradict"), (29, "32 bits")] {
        let mut broken = state.clone();
        broken[at] ^= 0x40;
        refused!(Generator::from_bytes(&broken), Error::Noise(_), [what]);
    }
    let mut broken = state;
    broken[5024..5032].copy_from_slice(&f64::NAN.to_le_bytes());
    broken[5040] = 1;
    refused!(Generator::from_bytes(&broken), Error::Noise(_), ["not finite"]);

    // Conventions of programs.
    refused!(ComfyUi::on_cpu(1).batch_indices([5000]), Error::Count { .. }, ["batch index", "5000"]);
    let ui = || WebUi::batch(1, 3);
    refused!(ui().variations([2], f64::NAN, [1, 2, 2]), Error::Parameter { .. }, ["variation strength", "NaN"]);
    let mut shaped_otherwise = ui().variations([2], 0.5, [1, 2, 3]).unwrap();
    refused!(shaped_otherwise.noise(&three, initial), Error::Shape { .. }, ["[1, 2, 3]", "[4]"]);
    let mut shaped = ui().variations([2], 0.5, [1, 2, 2]).unwrap();
    assert!(shaped.noise(&three, initial).unwrap().iter().all(|z| z.is_finite()));
    // An image varied by itself is itself, by the straight line.
    let own = ui().variations([1, 2, 3], 1.0, [1, 2, 2]).unwrap().noise(&three, initial);
    assert_eq!(own.unwrap(), ui().noise(&three, initial).unwrap());
}

proptest! {
    #[test]
    fn no_foreign_source_panics(
        (seed, draws) in any::<(u64, u64)>(),
        (count, height, width) in (0_usize..4, 0_usize..4, 0_usize..40),
        (low, high, bytes) in (any::<i64>(), any::<i64>(), proptest::collection::vec(any::<u8>(), 0..40)),
        (strength, shape) in (any_number(), any::<[usize; 3]>()),
    ) {
        let like = Array2::<f32>::zeros((height, width));
        let sources: [Box<dyn NoiseSource<Array2<f32>>>; 7] = [
            Box::new(Cpu::new(seed)),
            Box::new(Cpu::per_sample(vec![seed; count])),
            Box::new(Cuda::per_sample(vec![seed; count])),
            Box::new(Numpy::new(RandomState::new(seed as u32))),
            Box::new(ComfyUi::on_cpu(seed)),
            Box::new(WebUi::batch(seed, count)),
            Box::new(Brownian::new(seed, &Plan::new(&ddpm(), &Timesteps::trailing(1000, 2).unwrap(), &Ddpm::default()).unwrap())),
        ];
        for mut source in sources {
            let _ = (source.noise(&like, Draw::Initial), source.noise(&like, Draw::Step(count)));
        }
        let _ = WebUi::batch(seed, height).variations([seed], strength, shape).map(|mut ui| ui.noise(&like, Draw::Initial));
        let _ = ComfyUi::on_cpu(seed).batch_indices([height, width]).map(|mut ui| ui.noise(&like, Draw::Initial));
        let mut generator = Generator::new(seed);
        let _ = (generator.randint(low, high, count), generator.randperm(width), Generator::from_bytes(&bytes));
        let _ = Gpu::new(height, width).map(|gpu| Cuda::new(seed).on(gpu).skip(&like, draws));
        let _ = CudaGenerator::with_offset(seed, draws).map(|mut cuda| cuda.randn(Gpu::T4, &mut vec![0.0; width]));
    }
}

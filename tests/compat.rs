//! `alphabar::compat` against Python's diffusers 0.42.1: whole `f32` tables bit for bit, from the hashes and tables recorded in
//! `tests/parity/hub.json`. Runs are in `tests/hub_parity.rs` and `tests/diffusers.rs`.

use alphabar::compat::{self, Tables};
use alphabar::{Ddim, Ddpm, Error, NoiseSchedule, PathEnd, Plan, Timesteps, Variance};
use serde_json::Value;

use crate::parity::{count, fnv1a64, load, number, numbers, text};

fn records() -> Vec<Value> {
    load("tests/parity/hub.json")
        .into_iter()
        .chain(load("tests/parity/diffusers.json"))
        .filter(|record| record["kind"] == "table")
        .collect()
}

fn tables(record: &Value) -> Tables {
    let len = count(record, "T");
    if record["trained_betas"].is_array() {
        return Tables::from_betas(numbers(&record["trained_betas"])).unwrap();
    }
    let end = |key: &str, default| if record[key].is_null() { default } else { number(&record[key]) };
    let scaled = record["beta_schedule"] == "scaled_linear";
    let start = end("beta_start", if scaled { 0.00085 } else { 1e-4 });
    let end = end("beta_end", if scaled { 0.012 } else { 0.02 });
    let tables = match text(record, "beta_schedule") {
        "linear" => Tables::linear(len, start, end),
        "scaled_linear" => Tables::scaled_linear(len, start, end),
        "squaredcos_cap_v2" => Tables::cosine(len),
        "laplace" => Tables::laplace(len),
        "sigmoid" => Tables::sigmoid(len, start, end),
        other => panic!("{other}"),
    };
    if record["rescale_betas_zero_snr"] == true { tables.unwrap().rescale_zero_terminal_snr() } else { tables }.unwrap()
}

#[test]
fn tables_are_pythons_bit_for_bit() {
    let mut seen = 0;
    for record in records().iter().filter(|record| record["betas_fnv1a64"].is_string()) {
        // Heun's, which is constant and of no scheduler here.
        if record["beta_schedule"] == "exp" {
            continue;
        }
        let tables = tables(record);
        assert_eq!(fnv1a64(tables.betas()), record["betas_fnv1a64"], "β, {record}");
        assert_eq!(fnv1a64(tables.alphas_cumprod()), record["alphas_cumprod_fnv1a64"], "ᾱ, {record}");
        let schedule = tables.schedule().unwrap();
        for (level, &alpha_bar) in schedule.levels().iter().zip(tables.alphas_cumprod()) {
            assert_eq!(level.alpha_bar(), f64::from(alpha_bar));
            assert_eq!(level.one_minus_alpha_bar(), 1.0 - f64::from(alpha_bar));
        }
        seen += 1;
    }
    assert_eq!(seen, 51 + 8);
}

/// The distance of two positive `f32` in units in the last place.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

#[test]
fn sigmoid_and_rescaled_tables_are_pythons_within_the_bounds_stated() {
    let (mut sigmoid, mut rescaled) = (0, [0.0_f64; 2]);
    for record in records().iter().filter(|record| record["betas"].is_array()) {
        let ours = tables(record);
        let [betas, alpha_bars] = ["betas", "alphas_cumprod"]
            .map(|key| numbers(&record[key]).into_iter().map(|x| x as f32).collect::<Vec<_>>());
        if record["beta_schedule"] == "sigmoid" {
            for (&ours, &theirs) in ours.betas().iter().zip(&betas) {
                sigmoid = sigmoid.max(ulps(ours, theirs));
            }
        } else {
            let worst = &mut rescaled[usize::from(betas.len() == 10)];
            for (&ours, &theirs) in ours.alphas_cumprod().iter().zip(&alpha_bars) {
                *worst = worst.max((f64::from(ours).sqrt() - f64::from(theirs).sqrt()).abs());
            }
            assert_eq!((ours.alphas_cumprod().last(), alpha_bars.last()), (Some(&0.0), Some(&0.0)));
        }
    }
    println!("sigmoid: {sigmoid} ulp of β; rescaled: √ᾱ at T = 100 and 10: {rescaled:?}");
    assert!(sigmoid <= 2 && rescaled[0] <= 4e-7 && rescaled[1] <= 3e-6);
    for record in
        records().iter().filter(|record| record["betas_fnv1a64"].is_null() && record["t_beta_alphacumprod"].is_array())
    {
        let ours = tables(record);
        for row in record["t_beta_alphacumprod"].as_array().unwrap() {
            let row = numbers(row);
            let (t, alpha_bar) = (row[0] as usize, row[2]);
            if record["rescale_betas_zero_snr"] == true {
                let bound = if ours.betas().len() < 100 { 3e-6 } else { 4e-7 };
                let off = (f64::from(ours.alphas_cumprod()[t]).sqrt() - alpha_bar.sqrt()).abs();
                assert!(off <= bound, "{record}, t = {t}: {off:e}");
            } else {
                assert!(ulps(ours.betas()[t], row[1] as f32) <= 2, "{record}, t = {t}");
            }
        }
    }
}

#[test]
fn a_part_of_a_path_steps_by_the_stride_of_the_whole() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let whole = Timesteps::linspace(1000, 20).unwrap().ending(PathEnd::FirstLevel);
    let plan = compat::ddim(&Plan::builder(&schedule, &whole), 20, &Ddim::deterministic()).unwrap();
    let part = whole.clone().with_strength(0.3).unwrap();
    let rest = compat::ddim(&Plan::builder(&schedule, &part), 20, &Ddim::deterministic()).unwrap();
    assert_eq!(rest.len(), 6);
    for (rest, whole) in rest.steps().iter().zip(&plan.steps()[14..]) {
        assert_eq!((rest.t, rest.s, rest.to, rest.coefficients), (whole.t, whole.s, whole.to, whole.coefficients));
    }
}

#[test]
fn leading_plans_are_the_same_with_and_without() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    for steps in [1, 7, 10, 50, 300, 500, 1000] {
        let tau = Timesteps::leading(1000, steps, 0).unwrap();
        let builder = Plan::builder(&schedule, &tau);
        for ddim in [Ddim::deterministic(), Ddim::new(1.0).unwrap()] {
            assert_eq!(compat::ddim(&builder, steps, &ddim).unwrap(), builder.build(&ddim).unwrap());
        }
        for ddpm in [Ddpm::new(Variance::Posterior), Ddpm::new(Variance::Beta), Ddpm::new(Variance::LearnedRange)] {
            assert_eq!(compat::ddpm(&builder, &ddpm).unwrap(), builder.build(&ddpm).unwrap());
        }
        let up = tau.clone().encoding(alphabar::Conditioning::Destination);
        let builder = Plan::builder(&schedule, &up);
        assert_eq!(compat::ddim_inverse(&builder, steps).unwrap(), builder.build(&Ddim::deterministic()).unwrap());
    }
}

#[test]
fn bad_input_is_an_error() {
    assert!(matches!(Tables::linear(0, 1e-4, 0.02), Err(Error::Count { name: "T", value: 0, .. })));
    assert!(matches!(Tables::cosine(usize::MAX), Err(Error::Count { .. })));
    assert!(matches!(Tables::linear(10, 1e-4, f64::NAN), Err(Error::Beta { .. })));
    assert!(matches!(Tables::scaled_linear(10, -1.0, 0.02), Err(Error::Beta { t: 0, .. })));
    assert!(matches!(Tables::sigmoid(10, 0.5, f64::INFINITY), Err(Error::Beta { .. })));
    assert!(matches!(Tables::from_betas([0.1, 1.5]), Err(Error::Beta { t: 1, value: 1.5 })));
    assert!(matches!(Tables::from_betas([]), Err(Error::Count { .. })));
    assert!(matches!(Tables::from_betas([0.1]).unwrap().rescale_zero_terminal_snr(), Err(Error::Count { .. })));
    // 1 − β rounds to 1.
    assert!(matches!(Tables::from_betas([1e-9]).unwrap().schedule(), Err(Error::AlphaBar { t: 0, value: 1.0 })));
    let schedule = NoiseSchedule::ddpm().unwrap();
    let (tau, other) = (Timesteps::trailing(1000, 7).unwrap(), Timesteps::trailing(100, 7).unwrap());
    for steps in [0, 1001] {
        let builder = Plan::builder(&schedule, &tau);
        let error = compat::ddim(&builder, steps, &Ddim::deterministic()).unwrap_err();
        assert!(matches!(error, Error::Count { name: "S", .. }), "{error}");
        assert!(compat::ddim_inverse(&builder, steps).is_err());
    }
    let builder = Plan::builder(&schedule, &other);
    assert!(matches!(compat::ddim(&builder, 7, &Ddim::deterministic()), Err(Error::TrainSteps { .. })));
    assert!(matches!(compat::ddim_inverse(&builder, 7), Err(Error::TrainSteps { .. })));
    assert!(matches!(compat::ddpm(&builder, &Ddpm::default()), Err(Error::TrainSteps { .. })));
}

//! `alphabar::compat` against diffusers 0.42.1: whole `f32` tables bit for bit, from the hashes and tables recorded in
//! `tests/parity/hub.json`. Runs are in `tests/recorded/hub_parity.rs` and `tests/recorded/diffusers.rs`.

use alphabar::compat::{self, Tables};
use alphabar::{
    BoxError, Ddim, Ddpm, Draw, Error, NoiseSchedule, PathEnd, Plan, Point, Threshold, Timesteps, Variance, noise,
    sample,
};
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
        let up = tau.clone().encoding(alphabar::Conditioning::Destination);
        let builder = Plan::builder(&schedule, &up);
        assert_eq!(compat::ddim_inverse(&builder, steps).unwrap(), builder.build(&Ddim::deterministic()).unwrap());
    }
}

/// `torch.randn` of a CPU generator, for a multiple of 16: MT19937, 24 bits a number, and Box and Muller in blocks of 16.
fn torch_randn(seed: u32, len: usize) -> Vec<f32> {
    let mut state = vec![seed];
    for i in 1..624 {
        let last: u32 = state[i as usize - 1];
        state.push((last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(i));
    }
    let mut words = Vec::new();
    while words.len() < len {
        for i in 0..624 {
            let y = state[i] & 0x8000_0000 | state[(i + 1) % 624] & 0x7fff_ffff;
            state[i] = state[(i + 397) % 624] ^ y >> 1 ^ if y % 2 == 1 { 0x9908_b0df } else { 0 };
        }
        words.extend(state.iter().map(|&y| {
            let y = y ^ y >> 11;
            let y = y ^ y << 7 & 0x9d2c_5680;
            let y = y ^ y << 15 & 0xefc6_0000;
            y ^ y >> 18
        }));
    }
    let mut values: Vec<f32> = words.iter().take(len).map(|word| (word & 0x00ff_ffff) as f32 / 16_777_216.0).collect();
    for block in values.chunks_exact_mut(16) {
        for j in 0..8 {
            let radius = (-2.0 * (1.0 - block[j]).ln()).sqrt();
            let (sine, cosine) = (std::f32::consts::TAU * block[j + 8]).sin_cos();
            (block[j], block[j + 8]) = (radius * cosine, radius * sine);
        }
    }
    values
}

/// `test_full_loop_with_noise` of diffusers' tests of `DDPMScheduler`: an image noised to t = 1 and denoised in two calls, which
/// asserts a sum of 387.9466 and a mean of 0.5051. With exact scalars, and the same noise, the sum is 387.967.
#[test]
fn the_full_loop_of_diffusers_own_tests_has_its_sum() {
    // torch.manual_seed(0), then torch.randn(768)
    let z = torch_randn(0, 768);
    for (found, expected) in z.iter().zip([-1.125_840_2_f32, -1.152_360_2, -0.250_578_58, -0.433_878_8]) {
        assert!((found - expected).abs() < 1e-6, "{found}");
    }
    let tables = Tables::linear(1000, 1e-4, 0.02).unwrap();
    // Shape (4, 3, 8, 8), of numbers counted in the order (3, 8, 8, 4).
    let counted = |i: usize| (i % 192 * 4 + i / 192) as f32;
    let alpha_bar = tables.alphas_cumprod()[1];
    let noised = (0..768).map(|i| {
        let (x0, noise) = (counted(i) / 768.0, (767.0 - counted(i)) / 768.0);
        alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * noise
    });
    let start: Vec<f32> = noised.collect();
    let tau = Timesteps::explicit(1000, [1, 0]).unwrap();
    let run = |schedule: &NoiseSchedule, f32s: bool| {
        let builder = Plan::builder(schedule, &tau).threshold(Threshold::Clip(1.0));
        let ddpm = Ddpm::new(Variance::Posterior);
        let plan = if f32s { compat::ddpm(&builder, &ddpm) } else { builder.build(&ddpm) }.unwrap();
        let mut network = |x: &Vec<f32>, at: Point| {
            Ok::<_, BoxError>(x.iter().map(|x| x * (at.t as f32 / (at.t + 1.0) as f32)).collect())
        };
        let mut source = noise::from_fn(|_: &Vec<f32>, _: Draw| Ok::<_, BoxError>(z.clone()));
        let x = sample(&plan, start.clone(), &mut network, &mut source).unwrap();
        x.iter().map(|x| f64::from(x.abs())).sum::<f64>()
    };
    let found = run(&tables.schedule().unwrap(), true);
    assert!((found - 387.9466).abs() < 1e-4, "{found}");
    for exact in [run(&tables.schedule().unwrap(), false), run(&NoiseSchedule::ddpm().unwrap(), false)] {
        assert!((exact - 387.967).abs() < 1e-3, "{exact}");
    }
}

#[test]
fn compats_ddpm_has_the_steps_and_scalars_of_f32() {
    let tables = Tables::linear(1000, 1e-4, 0.02).unwrap();
    let schedule = tables.schedule().unwrap();
    let tau = Timesteps::leading(1000, 500, 0).unwrap();
    let builder = Plan::builder(&schedule, &tau);
    for variance in [Variance::Posterior, Variance::Beta, Variance::LearnedRange, Variance::Learned] {
        let (plan, exact) =
            (compat::ddpm(&builder, &Ddpm::new(variance)).unwrap(), builder.build(&Ddpm::new(variance)).unwrap());
        let mut apart = 0.0_f64;
        for (step, exact) in plan.steps().iter().zip(exact.steps()) {
            let [at, bt] = [step.t, step.s.unwrap_or(0.0)].map(|t| tables.alphas_cumprod()[t as usize]);
            let a_s = if step.s.is_some() { bt } else { 1.0_f32 };
            let beta = 1.0_f32 - at / a_s;
            let k = &step.coefficients;
            assert_eq!(k.a, f64::from(a_s.sqrt() * beta / (1.0 - at)));
            assert_eq!(k.b, f64::from((at / a_s).sqrt() * (1.0 - a_s) / (1.0 - at)));
            let least = ((1.0 - a_s) / (1.0 - at) * beta).max(1e-20);
            let (d, learned) = match variance {
                _ if step.s.is_none() => (exact.coefficients.d, exact.learned_noise),
                Variance::Posterior => (f64::from(least.sqrt()), None),
                Variance::Beta => (f64::from(beta.sqrt()), None),
                Variance::LearnedRange => {
                    let [most, least] = [beta.ln(), least.ln()].map(f64::from);
                    ((0.25 * (most + least)).exp(), Some(0.25 * (most - least)))
                }
                _ => (exact.coefficients.d, exact.learned_noise),
            };
            assert!((k.d - d).abs() <= 1e-14 * d && step.learned_noise == learned, "{variance:?}, t = {}", step.t);
            apart = apart.max((k.a / exact.coefficients.a - 1.0).abs());
        }
        // 1 − ᾱ_t/ᾱ_s has lost three digits and more.
        assert!((1e-5..1e-3).contains(&apart), "{apart:e}");
    }
}

/// What comes out of `f32` is looked at, not only what goes in.
#[test]
fn tables_and_plans_that_f32_cannot_hold_are_errors() {
    // β rounds to nothing beside 1: ᾱ = 1 throughout.
    let tiny = Tables::linear(3, 0.15, 1e-20).unwrap();
    assert!(tiny.rescale_zero_terminal_snr().is_err(), "{tiny:?}");
    for tables in [Tables::from_betas([1e-20, 1e-20]), Tables::from_betas([1e-9, 0.5]), Tables::linear(2, 1e-10, 1e-10)]
    {
        let tables = tables.unwrap();
        match tables.rescale_zero_terminal_snr() {
            Ok(tables) => assert!(tables.betas().iter().chain(tables.alphas_cumprod()).all(|x| x.is_finite())),
            Err(error) => assert!(matches!(error, Error::Beta { .. }), "{error}"),
        }
    }
    for beta in [1.0, 1.0 - 1e-9, 0.0, 1e-46, f64::NAN, -0.5] {
        assert!(matches!(Tables::from_betas([beta]), Err(Error::Beta { t: 0, .. })), "{beta}");
    }
    assert!(Tables::from_betas([0.999]).is_ok());
    // ᾱ falls below the least f32.
    let deep = Tables::linear(1000, 0.5, 0.9).unwrap();
    assert!(deep.schedule().is_err() && deep.rescale_zero_terminal_snr().is_err());
    // A schedule of f64, with less noise than f32 sees.
    let schedule = NoiseSchedule::from_betas([1e-12, 0.5]).unwrap();
    let tau = Timesteps::all(2).unwrap();
    let error = compat::ddpm(&Plan::builder(&schedule, &tau), &Ddpm::default()).unwrap_err();
    assert!(matches!(error, Error::AtStep { index: 1, t: 0.0, .. }), "{error}");
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

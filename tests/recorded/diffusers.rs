//! The crate against what diffusers 0.42.1 computes: `tests/parity/diffusers.json`, recorded by
//! `tests/parity/diffusers_parity.py`. `tests/parity/README.md` explains the records.
//!
//! diffusers keeps its tables and its samples in f32. Each run is also recorded in f64, from the same scheduler code on f64
//! tables; that one is the sharp comparison. Where diffusers does something else than take the next entry of its own list, the
//! difference is asserted, not imitated.
//!
//! `cargo test --test diffusers -- --nocapture` prints the largest deviation of each comparison.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use alphabar::{
    Coefficients, Conditioning, Ddim, Ddpm, EpsilonAfter, Error, Leg, Lint, NoiseLevel, NoiseSchedule, PathEnd, Plan,
    PlanBuilder, Prediction, Solver, Tensor, Threshold, Timesteps, Variance, compat, forward,
};
use ndarray::{ArrayD, IxDyn, arr0};
use serde_json::Value;

use crate::parity::{
    F32, F64, Float, START, Worst, count, deviation, flag, fnv1a64, integers, last, load, model, number, numbers, text,
    z,
};

// ------------------------------------------------------------------------------------------------------------ the records

static RECORDS: LazyLock<Vec<Value>> = LazyLock::new(|| load("tests/parity/diffusers.json"));

fn records(kind: &'static str) -> impl Iterator<Item = &'static Value> {
    RECORDS.iter().filter(move |record| record["kind"] == kind)
}

/// What was observed of a deviation.
fn observed<const N: usize>(what: &str) -> [&'static Value; N] {
    let found: Vec<_> = records("deviation").filter(|record| record["what"] == what).collect();
    assert_eq!(DEVIATIONS.iter().find(|(listed, _)| *listed == what), Some(&(what, found.len())));
    let found: Vec<_> = found.into_iter().map(|record| &record["observed"]).collect();
    found.try_into().unwrap()
}

// ----------------------------------------------------------------------------------------- from a configuration to the crate

fn schedule(config: &Value) -> NoiseSchedule {
    let train_steps = count(config, "num_train_timesteps");
    let (start, end) = (number(&config["beta_start"]), number(&config["beta_end"]));
    let schedule = family(text(config, "beta_schedule"), train_steps, start, end);
    if flag(config, "rescale_betas_zero_snr") { schedule.rescale_zero_terminal_snr().unwrap() } else { schedule }
}

fn family(name: &str, train_steps: usize, beta_start: f64, beta_end: f64) -> NoiseSchedule {
    match name {
        "linear" => NoiseSchedule::linear(train_steps, beta_start, beta_end),
        "scaled_linear" => NoiseSchedule::scaled_linear(train_steps, beta_start, beta_end),
        "squaredcos_cap_v2" => NoiseSchedule::cosine(train_steps),
        "sigmoid" => NoiseSchedule::sigmoid(train_steps, beta_start, beta_end),
        "laplace" => NoiseSchedule::from_alpha_bar_fn(train_steps, 0.999, diffusers_laplace),
        "exp" => NoiseSchedule::constant(train_steps, -(-12.0 / train_steps as f64).exp_m1()),
        other => panic!("{other}"),
    }
    .unwrap()
}

/// What diffusers takes for ᾱ(u): the square root of the ᾱ that the log-SNR λ stands for, and of f(u)/f(0) at that.
fn diffusers_laplace(u: f64) -> f64 {
    let side = if 0.5 - u < 0.0 { -1.0 } else { 1.0 };
    let snr = (-0.5 * side * (1.0 - 2.0 * (0.5 - u).abs() + 1e-6).ln()).exp();
    (snr / (1.0 + snr)).sqrt()
}

fn spaced(spacing: &str, offset: usize, train_steps: usize, steps: usize) -> Result<Timesteps, Error> {
    match spacing {
        "leading" => Timesteps::leading(train_steps, steps, offset),
        "trailing" => Timesteps::trailing(train_steps, steps),
        "linspace" => Timesteps::linspace(train_steps, steps),
        other => panic!("{other}"),
    }
}

/// A recorded run, in the terms of the crate.
struct Run {
    record: &'static Value,
    schedule: NoiseSchedule,
    tau: Timesteps,
    prediction: Prediction,
    threshold: Threshold,
    epsilon: EpsilonAfter,
    solver: Box<dyn Solver>,
    /// The level at the clean end, and its index if it has one.
    end: NoiseLevel,
    learned_range: bool,
}

impl Run {
    fn new(record: &'static Value) -> Self {
        let config = &record["config"];
        let schedule = schedule(config);
        let clean = config.get("set_alpha_to_one") != Some(&Value::Bool(false));
        let end = if clean { NoiseLevel::CLEAN } else { schedule.level(0).unwrap() };
        let offset = count(config, "steps_offset");
        let tau = spaced(text(config, "timestep_spacing"), offset, schedule.len(), count(record, "steps"))
            .unwrap()
            .ending(if clean { PathEnd::Clean } else { PathEnd::FirstLevel });
        let prediction = match text(config, "prediction_type") {
            "epsilon" => Prediction::Epsilon,
            "sample" => Prediction::Sample,
            "v_prediction" => Prediction::Velocity,
            other => panic!("{other}"),
        };
        // Only DDIM and DDPM threshold dynamically.
        let threshold = if config["thresholding"] == true {
            let [ratio, max] = ["dynamic_thresholding_ratio", "sample_max_value"].map(|key| number(&config[key]));
            Threshold::Dynamic { ratio, max }
        } else if flag(config, "clip_sample") {
            Threshold::Clip(number(&config["clip_sample_range"]))
        } else {
            Threshold::None
        };
        let rederived = record["use_clipped_model_output"] == true;
        let epsilon = if rederived { EpsilonAfter::Threshold } else { EpsilonAfter::Network };
        let variance = config["variance_type"].as_str();
        let (tau, solver): (_, Box<dyn Solver>) = match text(record, "scheduler") {
            "DDIM" => (tau, Box::new(Ddim::new(number(&record["eta"])).unwrap())),
            // The inverse scheduler tells the network where the step goes to.
            "DDIMInverse" => (tau.encoding(Conditioning::Destination), Box::new(Ddim::deterministic())),
            "DDPM" => (
                tau,
                Box::new(Ddpm::new(match variance.unwrap() {
                    // learned_range interpolates between the two in the logarithm: see `noise`.
                    "fixed_small" | "fixed_small_log" | "learned_range" => Variance::Posterior,
                    "fixed_large" => Variance::Beta,
                    other => panic!("{other}"),
                })),
            ),
            other => panic!("{other}"),
        };
        let learned_range = variance == Some("learned_range");
        Self { record, schedule, tau, prediction, threshold, epsilon, solver, end, learned_range }
    }

    fn all() -> Vec<Self> {
        records("trajectory").map(Self::new).collect()
    }

    fn id(&self) -> &'static str {
        text(self.record, "id")
    }

    fn encodes(&self) -> bool {
        self.record["scheduler"] == "DDIMInverse"
    }

    fn follows_own_tau(&self) -> bool {
        flag(self.record, "follows_own_tau")
    }

    /// The standard deviation of the noise that diffusers' DDPM adds on the way to clean data, where its list ends at t > 0.
    fn noise_on_last_step(&self) -> Option<f64> {
        (self.record["noise_on_last_step"] == true).then(|| {
            let t = self.tau.as_slice()[self.tau.len() - 1];
            // β̃ = 0, which it clamps to 1e-20, and β = 1 − ᾱ_t.
            if text(&self.record["config"], "variance_type") == "fixed_large" {
                self.schedule.level(t).unwrap().noise()
            } else {
                1e-10
            }
        })
    }

    fn builder(&self) -> PlanBuilder<'_> {
        Plan::builder(&self.schedule, &self.tau)
            .prediction(self.prediction)
            .threshold(self.threshold)
            .epsilon_after(self.epsilon)
    }

    fn plan(&self) -> Plan {
        self.builder().build(&self.solver).unwrap()
    }

    /// The plan of diffusers' DDIM or DDIMInverse.
    fn compat_plan(&self) -> Plan {
        let (builder, steps) = (self.builder(), self.tau.len());
        if self.encodes() {
            compat::ddim_inverse(&builder, steps).unwrap()
        } else {
            compat::ddim(&builder, steps, &Ddim::new(number(&self.record["eta"])).unwrap()).unwrap()
        }
    }

    /// The steps of a plan of ours: the next of τ each time.
    fn steps_of_the_plan(&self) -> Vec<StepTaken> {
        steps(&self.plan())
    }

    /// The steps that diffusers took: between the levels it took them for.
    fn steps_of_diffusers(&self) -> Vec<StepTaken> {
        let level = |t: i64| usize::try_from(t).map_or(self.end, |t| self.schedule.level(t).unwrap());
        let received = integers(&self.record["timesteps"]);
        let other = integers(&self.record[if self.encodes() { "from" } else { "prev" }]);
        let step = |(&t, &other): (&i64, &i64)| {
            let (from, to) = if self.encodes() { (level(other), level(t)) } else { (level(t), level(other)) };
            let combination = self.solver.combine(&Leg::new(from, to)).unwrap();
            let coefficients =
                Coefficients::new(self.prediction, &from, combination, self.threshold, self.epsilon).unwrap();
            StepTaken { t: t.try_into().unwrap(), from, coefficients }
        };
        received.iter().zip(&other).map(step).collect()
    }

    /// x after each step.
    fn x_after<E: Float>(&self, steps: &[StepTaken]) -> Vec<Vec<f64>> {
        // diffusers cannot threshold a tensor without axes of an image.
        let shape = IxDyn(if self.record["config"]["thresholding"] == true { &[2, 6, 1] } else { &[2, 6] });
        let tensor = |values: Vec<f64>| {
            ArrayD::from_shape_vec(shape.clone(), values.into_iter().map(E::from_f64).collect()).unwrap()
        };
        let mut x = tensor(START.to_vec());
        let mut all = Vec::new();
        for (k, step) in steps.iter().enumerate() {
            let m = model(&x, step.t);
            let z =
                step.coefficients.needs_noise().then(|| tensor(self.noise(k, &step.from, &self.next_level(steps, k))));
            x = x.step(m, z.as_ref(), &[step.coefficients]).unwrap().x;
            all.push(x.iter().map(|x| x.to_f64()).collect());
        }
        all
    }

    fn next_level(&self, steps: &[StepTaken], k: usize) -> NoiseLevel {
        steps.get(k + 1).map_or(self.end, |next| next.from)
    }

    /// z of step k. A learned variance exp(f·ln β + (1−f)·ln β̃), f = (v + 1)/2 (Nichol and Dhariwal 2021, Eq. 15) is one for
    /// each element; with the posterior variance in the plan, z takes the rest, (β/β̃)^(f/2) = ((1−ᾱ_t)/(1−ᾱ_s))^(f/2).
    fn noise(&self, k: usize, t: &NoiseLevel, s: &NoiseLevel) -> Vec<f64> {
        let ratio = t.one_minus_alpha_bar() / s.one_minus_alpha_bar();
        z(k).into_iter()
            .enumerate()
            .map(|(e, z)| {
                // v = ((e mod 5) − 2)/2
                let f = (e % 5) as f64 / 4.0;
                if self.learned_range { z * ratio.powf(f / 2.0) } else { z }
            })
            .collect()
    }

    /// The steps after which x is recorded, with that x.
    fn recorded(&self) -> Vec<(usize, Vec<f64>)> {
        let rows = self.record["x"].as_array().unwrap();
        let first = self.tau.len() - rows.len();
        rows.iter().enumerate().map(|(row, x)| (first + row, numbers(x))).collect()
    }

    fn x_last_f64(&self) -> Vec<f64> {
        numbers(&self.record["x_last_f64"])
    }
}

fn steps(plan: &Plan) -> Vec<StepTaken> {
    plan.steps()
        .iter()
        .map(|step| StepTaken { t: step.t as usize, from: step.from, coefficients: step.coefficients })
        .collect()
}

/// One step: what the network receives, where x is, and the arithmetic.
#[derive(Debug, PartialEq)]
struct StepTaken {
    t: usize,
    from: NoiseLevel,
    coefficients: Coefficients,
}

#[test]
fn the_start_and_the_formulas_are_those_of_the_records() {
    let meta = records("meta").next().unwrap();
    assert_eq!(meta["start"].as_array().unwrap().iter().flat_map(numbers).collect::<Vec<_>>(), START);
    assert_eq!(meta["model"], "m(x, t) = 0.5*x + 0.125*((t mod 7) - 3)");
    assert_eq!(meta["noise"], "z(k, e) = ((7*k + 5*e + 3) mod 11 - 5)/4");
    assert_eq!(meta["predicted_variance"], "v(e) = ((e mod 5) - 2)/2");
    assert_eq!(meta["versions"]["diffusers"], "0.42.1");
}

// ------------------------------------------------------------------------------------------------------------------ tables

/// 2⁻²⁴, the relative error of rounding to f32.
const HALF_ULP: f64 = 5.960_464_477_539_063e-8;

/// `torch.linspace` in f32: counted from the nearer end, each multiply-add rounded once.
fn linspace_f32(start: f64, end: f64, len: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / (len - 1) as f32;
    let entry = |i: usize| {
        if i < len / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((len - 1 - i) as f32, end) }
    };
    (0..len).map(entry).collect()
}

/// β_i = min(1 − f((i+1)/T)/f(i/T), 0.999), each rounded to f32.
fn betas_f32_of(f: impl Fn(f64) -> f64, len: usize) -> Vec<f32> {
    let at = |i: usize| f(i as f64 / len as f64);
    (0..len).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect()
}

/// The table of β that diffusers builds, bit for bit.
fn betas_f32(family: &str, len: usize, start: f64, end: f64) -> Vec<f32> {
    match family {
        "linear" => linspace_f32(start, end, len),
        "scaled_linear" => linspace_f32(start.sqrt(), end.sqrt(), len).into_iter().map(|root| root * root).collect(),
        "squaredcos_cap_v2" => {
            betas_f32_of(|u| libm::cos((u + 0.008) / 1.008 * std::f64::consts::PI / 2.0).powi(2), len)
        }
        "laplace" => betas_f32_of(diffusers_laplace, len),
        "exp" => betas_f32_of(|u| libm::exp(u * -12.0), len),
        other => panic!("{other}"),
    }
}

/// The table of ᾱ that diffusers builds, bit for bit: f32 factors, an f64 product, f32 entries.
fn alpha_bars_f32(betas: &[f32]) -> Vec<f32> {
    let product = betas.iter().scan(1.0, |product, beta| {
        *product *= f64::from(1.0 - beta);
        Some(*product as f32)
    });
    product.collect()
}

fn ends(record: &Value) -> (f64, f64) {
    // Families that take no ends have none recorded.
    if record["beta_start"].is_null() {
        (0.5, 0.5)
    } else {
        (number(&record["beta_start"]), number(&record["beta_end"]))
    }
}

/// The whole f32 tables are known by their hashes; ours differ from them by what rounding each factor 1 − β_k once costs.
#[test]
fn whole_tables_are_the_f32_ones_up_to_the_rounding_of_their_betas() {
    let mut worst = Worst::of("ᾱ of whole f32 tables, as a share of the bound");
    for record in records("table").filter(|record| !record["betas_fnv1a64"].is_null()) {
        let (name, len, (start, end)) = (text(record, "beta_schedule"), count(record, "T"), ends(record));
        let betas = betas_f32(name, len, start, end);
        let theirs = alpha_bars_f32(&betas);
        assert_eq!(fnv1a64(&betas), record["betas_fnv1a64"], "{name}, T = {len}");
        assert_eq!(fnv1a64(&theirs), record["alphas_cumprod_fnv1a64"], "{name}, T = {len}");

        let ours = family(name, len, start, end);
        // Of ᾱ, relative: the rounding of ᾱ itself, then of each factor, of whose β some two or three more roundings.
        let mut bound = HALF_ULP;
        for (t, (&beta, &alpha_bar)) in betas.iter().zip(&theirs).enumerate() {
            let (beta, alpha_bar) = (f64::from(beta), f64::from(alpha_bar));
            let our_beta = ours.beta(t).unwrap();
            assert!(
                (our_beta - beta).abs() <= 4.0 * HALF_ULP * beta,
                "{name}, T = {len}: β[{t}] = {our_beta}, not {beta}"
            );
            bound += HALF_ULP * (1.0 + 4.0 * beta / (1.0 - beta));
            let error = (ours.level(t).unwrap().alpha_bar() / alpha_bar - 1.0).abs();
            worst.see(error / bound, 1.0, &format!("{name}, T = {len}, t = {t}: {error:.1e}"));
        }
    }
    worst.report(5 * (1000 + 10));
}

/// "max_rel_error" is recorded to three digits.
#[test]
fn the_error_of_the_f32_tables_is_the_one_stated() {
    for stated in observed::<3>("the f32 tables against f64") {
        let name = text(stated, "beta_schedule");
        let (start, end) = if name == "linear" { (1e-4, 0.02) } else { (0.00085, 0.012) };
        let theirs = alpha_bars_f32(&betas_f32(name, 1000, start, end));
        let ours = family(name, 1000, start, end);
        let (mut of_alpha_bar, mut of_its_complement) = ((0.0, 0), (0.0, 0));
        for (t, (&theirs, level)) in theirs.iter().zip(ours.levels()).enumerate() {
            let error = (f64::from(theirs) / level.alpha_bar() - 1.0).abs();
            let complement_error = (f64::from(1.0 - theirs) / level.one_minus_alpha_bar() - 1.0).abs();
            of_alpha_bar = if error > of_alpha_bar.0 { (error, t) } else { of_alpha_bar };
            of_its_complement =
                if complement_error > of_its_complement.0 { (complement_error, t) } else { of_its_complement };
        }
        println!("{name}: the f32 table is off by {of_alpha_bar:?} in ᾱ, {of_its_complement:?} in 1 − ᾱ");
        let is = |found: f64, recorded: &Value| (found / number(recorded) - 1.0).abs() < 5e-3;
        assert!(is(of_alpha_bar.0, &stated["max_rel_error_of_a"]), "{name}: {of_alpha_bar:?}");
        assert!(is(of_its_complement.0, &stated["max_rel_error_of_1_minus_a"]), "{name}: {of_its_complement:?}");
        assert_eq!(of_alpha_bar.1, count(stated, "a_at"), "{name}");
        assert_eq!(of_its_complement.1, count(stated, "one_minus_a_at"), "{name}");
        let last = number(&stated["alphas_cumprod_last_f64"]);
        assert!((ours.level(999).unwrap().alpha_bar() / last - 1.0).abs() < F64, "{name}");
    }
}

/// Rescaled in f32, s = √ᾱ carries an absolute error; and diffusers then goes over β = 1 − s_t²/s_{t−1}² and back.
#[test]
fn recorded_entries_of_sigmoid_and_of_rescaled_tables_are_ours_up_to_the_error_of_f32() {
    let (mut signals, mut betas) = (Worst::of("√ᾱ of f32 tables"), Worst::of("β of f32 tables"));
    for record in records("table").filter(|record| record["betas_fnv1a64"].is_null()) {
        let (name, len, (start, end)) = (text(record, "beta_schedule"), count(record, "T"), ends(record));
        let rescaled = flag(record, "rescale_betas_zero_snr");
        let ours = family(name, len, start, end);
        let ours = if rescaled { ours.rescale_zero_terminal_snr().unwrap() } else { ours };
        for row in record["t_beta_alphacumprod"].as_array().unwrap() {
            let row = numbers(row);
            let t = row[0] as usize;
            let at = format!("{name}, T = {len}, rescaled: {rescaled}, t = {t}");
            // Not rescaled, each of t + 1 factors and the result are rounded once; half of that is seen in the root.
            let bound = if rescaled { 3e-6 } else { HALF_ULP * (t + 2) as f64 };
            signals.see((ours.level(t).unwrap().signal() - row[2].sqrt()).abs(), bound, &at);
            betas.see((ours.beta(t).unwrap() - row[1]).abs(), if rescaled { 6e-6 } else { 2e-9 }, &at);
        }
        // Zero terminal SNR is exactly zero on both sides.
        assert_eq!(ours.level(len - 1).unwrap().is_pure_noise(), rescaled, "{name}, T = {len}");
    }
    signals.report(6 * (11 + 10));
    betas.report(6 * (11 + 10));
}

/// The paper takes λ for the log-SNR (Hang et al. 2024, section 3.2); diffusers takes the square root of the ᾱ of that for ᾱ.
#[test]
fn the_laplace_schedule_of_diffusers_is_another_than_the_papers() {
    let (paper, theirs) = (NoiseSchedule::laplace(1000, 0.0, 0.5).unwrap(), family("laplace", 1000, 0.0, 0.0));
    let of = |schedule: &NoiseSchedule| schedule.level(500).unwrap().alpha_bar();
    assert!((of(&paper) - 0.5).abs() < 1e-3);
    assert!((of(&theirs) - 0.5_f64.sqrt()).abs() < 1e-3);
}

// --------------------------------------------------------------------------------------------------------------- timesteps

/// numpy's `arange(T, 0, -T/S)`, rounded half to even, minus 1: as long as numpy makes it.
fn numpy_trailing(train_steps: usize, steps: usize) -> Vec<i64> {
    let total = train_steps as f64;
    let step = -(total / steps as f64);
    let len = ((0.0 - total) / step).ceil() as usize;
    let stride = (total + step) - total;
    (0..len).map(|k| (total + k as f64 * stride).round_ties_even() as i64 - 1).collect()
}

#[test]
fn timesteps_are_identical_except_those_that_are_wrong_upstream() {
    let (mut same, mut other) = (0, BTreeSet::new());
    for record in records("timesteps") {
        let (spacing, offset) = (text(record, "spacing"), count(record, "steps_offset"));
        let (train_steps, steps) = (count(record, "T"), count(record, "steps"));
        let at = format!("{spacing}+{offset}, T = {train_steps}, S = {steps}");
        let ours = spaced(spacing, offset, train_steps, steps);
        match (spacing, offset, train_steps, steps) {
            // The largest t would be T.
            ("leading", 1, t, s) if t == s => {
                assert!(matches!(ours, Err(Error::LeadingOffset { t: 1000 | 10, .. })), "{at}");
                assert!(!flag(record, "all_in_range"));
                other.insert(at);
                continue;
            }
            // A single step would start from clean data.
            ("linspace", _, t, 1) => {
                assert_eq!(ours.unwrap().as_slice(), [t - 1], "{at}");
                assert_eq!(integers(&record["list"]), [0]);
                other.insert(at);
                continue;
            }
            _ => {}
        }
        let mut ours: Vec<i64> = ours.unwrap().as_slice().iter().map(|&t| t as i64).collect();
        assert_eq!(ours.len(), steps, "{at}");
        if count(record, "len") == steps {
            same += 1;
        } else {
            // numpy's extra entry, t = −1.
            ours.push(-1);
            other.insert(at.clone());
        }
        let (len, first, last) = (ours.len(), &ours[..5.min(ours.len())], &ours[ours.len().saturating_sub(5)..]);
        assert_eq!(len, count(record, "len"), "{at}");
        match record.get("list") {
            Some(list) => assert_eq!(ours, integers(list), "{at}"),
            None => {
                assert_eq!((first, last), (&integers(&record["first"])[..], &integers(&record["last"])[..]), "{at}");
            }
        }
        assert_eq!(ours.iter().sum::<i64>(), record["sum"].as_i64().unwrap(), "{at}");
        assert_eq!(ours.iter().map(|t| t * t).sum::<i64>(), record["sum_of_squares"].as_i64().unwrap(), "{at}");
    }
    assert_eq!(same, 95);
    let expected = ["leading+1, T = 10, S = 10", "leading+1, T = 1000, S = 1000", "linspace+0, T = 10, S = 1"];
    let more = ["linspace+0, T = 1000, S = 1", "trailing+0, T = 1000, S = 61"];
    assert_eq!(other, expected.iter().chain(&more).map(ToString::to_string).collect());
}

#[test]
fn trailing_has_s_entries_where_numpy_has_one_more() {
    let [all] = observed("trailing: all S with more than S entries at T = 1000");
    let excess: Vec<usize> = (1..=1000).filter(|&steps| numpy_trailing(1000, steps).len() != steps).collect();
    assert_eq!(excess.len(), 62);
    assert_eq!(excess, integers(&all["S"]).iter().map(|&steps| steps as usize).collect::<Vec<_>>());
    for steps in 1..=1000 {
        let numpy = numpy_trailing(1000, steps);
        let ours = Timesteps::trailing(1000, steps).unwrap();
        assert_eq!(ours.len(), steps);
        assert!(ours.as_slice().iter().zip(&numpy).all(|(&ours, &numpy)| ours as i64 == numpy), "S = {steps}");
        assert_eq!(numpy.get(steps), excess.contains(&steps).then_some(&-1), "S = {steps}");
    }
    let [others] = observed("trailing: the same at other T");
    for train_steps in [10, 50, 100, 500, 4000] {
        let key = train_steps.to_string();
        let excess: Vec<usize> =
            (1..=train_steps).filter(|&steps| numpy_trailing(train_steps, steps).len() != steps).collect();
        assert_eq!(excess.len(), count(&others["count"], &key), "T = {train_steps}");
        let first: Vec<i64> = excess.iter().take(8).map(|&steps| steps as i64).collect();
        assert_eq!(first, integers(&others["first"][&key]), "T = {train_steps}");
        assert!(excess.iter().all(|&steps| Timesteps::trailing(train_steps, steps).unwrap().len() == steps));
    }
    // Upstream's step at t = −1 takes the level of t = T−1 for that of x, ᾱ = 4e-5, and divides by its root.
    let [at_61] = observed("trailing: arange yields S+1 entries, the last t = -1, which reads the table at T-1");
    assert_eq!(Timesteps::trailing(1000, 61).unwrap().as_slice()[57..], [65, 48, 32, 15]);
    assert_eq!(integers(&at_61["last"]), [65, 48, 32, 15, -1]);
    let blown_up = 1.0 / family("linear", 1000, 1e-4, 0.02).level(999).unwrap().signal();
    assert!((number(&at_61["ddim_x0_without_clip"]) / blown_up - 1.0).abs() < F32);
}

#[test]
fn a_single_linspace_step_starts_from_the_noisiest_level() {
    for one in observed::<2>("linspace, S = 1: starts at t = 0, not at the noisiest level") {
        let train_steps = count(one, "T");
        assert_eq!(integers(&one["timesteps"]), [0]);
        assert_eq!(Timesteps::linspace(train_steps, 1).unwrap().as_slice(), [train_steps - 1]);
    }
}

#[test]
fn an_offset_past_the_end_is_an_error_at_once() {
    for theirs in observed::<2>("leading, steps_offset 1, S = T: asks for t = T") {
        assert!(theirs["error_in_set_timesteps"].is_null());
        assert!(text(theirs, "error_in_step").starts_with("IndexError"));
        let ours = Timesteps::leading(1000, 1000, 1).unwrap_err();
        assert!(matches!(ours, Error::LeadingOffset { t: 1000, train_steps: 1000, .. }));
    }
}

/// No deviation: leading does that. The lint says so.
#[test]
fn leading_tops_out_far_below_t_where_s_does_not_divide_it() {
    let [theirs] = observed("leading, S = 600: tops out at 599");
    let tau = Timesteps::leading(1000, 600, 0).unwrap();
    let ours: Vec<i64> = tau.as_slice().iter().map(|&t| t as i64).collect();
    assert_eq!((&ours[..3], &ours[597..]), (&integers(&theirs["first"])[..], &integers(&theirs["last"])[..]));
    let plan = Plan::new(&NoiseSchedule::ddpm().unwrap(), &tau, &Ddim::deterministic()).unwrap();
    assert!(matches!(plan.lint()[..], [Lint::StartsWithSignal { t: 599.0, .. }]));
}

#[test]
fn no_steps_and_more_than_t_are_errors_for_every_spacing() {
    let [none] = observed("S = 0");
    let [many] = observed("S > T");
    assert_eq!(
        (&none["DDIMScheduler linspace"], &none["DDPMScheduler linspace"]),
        (&"accepted".into(), &"accepted".into())
    );
    assert!(text(many, "DDIM").starts_with("ValueError"));
    for spacing in ["leading", "trailing", "linspace"] {
        for steps in [0, 1001] {
            let error = spaced(spacing, 0, 1000, steps).unwrap_err();
            assert!(matches!(error, Error::Count { name: "S", value, min: 1, max: 1000 } if value == steps), "{error}");
        }
    }
}

// ------------------------------------------------------------------------------------------------------------------- runs

/// Runs whose f32 values in diffusers are more than the tolerance from the f64 ones: two that take all of T = 50, and two encodings
/// by x₀-prediction, which divide by √(1−ᾱ_0) of an f32 table. Ours are not.
const UNSTEADY_UPSTREAM: [&str; 4] = ["ddpm-29", "ddpm-31", "inverse-03", "inverse-06"];
/// A run that upstream's f32 radicand makes NaN.
const NAN_UPSTREAM: &str = "ddim-82";

#[test]
fn runs_along_their_own_tau_are_the_recorded_ones() {
    let (mut wide, mut narrow) = (Worst::of("runs in f64"), Worst::of("steps of runs in f32"));
    let mut own = Worst::of("our runs in f32 against f64");
    for run in Run::all().into_iter().filter(Run::follows_own_tau) {
        let steps = run.steps_of_the_plan();
        // diffusers' own bookkeeping gives these levels, and so these numbers.
        assert!(steps == run.steps_of_diffusers(), "{}", run.id());

        // Where the list ends at t > 0, DDPM's last noise is taken off; another test is about it.
        let std = run.noise_on_last_step().unwrap_or(0.0);
        let quiet = |x: Vec<f64>| x.iter().zip(z(steps.len() - 1)).map(|(x, z)| x - std * z).collect::<Vec<_>>();
        let x_last_f64 = quiet(run.x_last_f64());
        wide.see(deviation(last(&run.x_after::<f64>(&steps)), &x_last_f64), F64, run.id());

        let ours = run.x_after::<f32>(&steps);
        let theirs_off = number(&run.record["f32_off"]);
        assert_eq!(theirs_off > F32, UNSTEADY_UPSTREAM.contains(&run.id()), "{}", run.id());
        if run.id() == NAN_UPSTREAM {
            continue;
        }
        own.see(deviation(last(&ours), &x_last_f64), F32, run.id());
        if theirs_off <= F32 {
            for (step, theirs) in run.recorded() {
                let theirs = if step + 1 == steps.len() { quiet(theirs) } else { theirs };
                narrow.see(deviation(&ours[step], &theirs), F32, &format!("{}, step {step}", run.id()));
            }
        }
    }
    wide.report(128);
    narrow.report(475);
    own.report(127);
}

/// 1 − ᾱ_s − σ² comes out below zero in f32. That leaves the step's large factors: no f32 arithmetic gives more digits, since the
/// first step multiplies x and m, each rounded, by 6e3; the lint says so.
#[test]
fn the_run_that_is_nan_upstream_is_finite() {
    let run = Run::all().into_iter().find(|run| run.id() == NAN_UPSTREAM).unwrap();
    assert!(!flag(run.record, "f32_finite") && run.recorded().iter().all(|(_, x)| x.iter().all(|x| x.is_nan())));
    let plan = run.plan();
    let [Lint::Amplifies { index: 0, factor, .. }, ..] = plan.lint()[..] else { panic!("{:?}", plan.lint()) };
    let off = deviation(last(&run.x_after::<f32>(&run.steps_of_the_plan())), &run.x_last_f64());
    assert!(off <= HALF_ULP * factor.abs(), "{off}");
    println!("{NAN_UPSTREAM} in f32: {off:.2e}, with a factor of {factor:.0}");
}

/// DDIM takes t − ⌊T/S⌋ for the predecessor, whatever the list says, and DDIMInverse likewise.
#[test]
fn runs_that_leave_their_own_tau_are_other_runs() {
    let (mut wide, mut narrow) = (Worst::of("steps as diffusers pairs them, f64"), Worst::of("the same, f32"));
    let mut least = (f64::INFINITY, "");
    for run in Run::all().into_iter().filter(|run| !run.follows_own_tau()) {
        // Ours: from each entry to the next, and from the last to the end.
        let plan = run.plan();
        let received = integers(&run.record["timesteps"]);
        let path: Vec<i64> = plan.steps().iter().map(|step| step.t as i64).collect();
        assert_eq!(path, received, "{}", run.id());
        for pair in plan.steps().windows(2) {
            assert_eq!(pair[0].to, pair[1].from, "{}", run.id());
        }
        assert_eq!(if run.encodes() { plan.start() } else { plan.end() }, run.end, "{}", run.id());

        // Theirs, from the level it takes x for to the level it takes x′ for, is no less exact, but not our run.
        let steps = run.steps_of_diffusers();
        // Which is the plan that `compat` makes, and whose lint says so.
        let compat = run.compat_plan();
        assert!(self::steps(&compat) == steps, "{}", run.id());
        let disconnected = compat.lint().iter().filter(|odd| matches!(odd, Lint::Disconnected { .. })).count();
        let joins = compat.steps().windows(2).filter(|pair| pair[0].to == pair[1].from).count();
        assert_eq!(disconnected + joins, compat.len() - 1, "{}", run.id());
        wide.see(deviation(last(&run.x_after::<f64>(&steps)), &run.x_last_f64()), F64, run.id());
        for (step, theirs) in run.recorded() {
            narrow.see(deviation(&run.x_after::<f32>(&steps)[step], &theirs), F32, run.id());
        }
        let apart = deviation(last(&run.x_after::<f64>(&run.steps_of_the_plan())), &run.x_last_f64());
        assert!(apart > 1e-3, "{}: {apart}", run.id());
        least = if apart < least.0 { (apart, run.id()) } else { least };
    }
    wide.report(15);
    narrow.report(72);
    println!("runs that leave their τ: at least {:.2e} ({}) from ours", least.0, least.1);
}

/// Algorithm 2, line 3 (Ho et al. 2020): z = 0 on the step to clean data. diffusers asks for t = 0 instead.
#[test]
fn the_step_to_clean_data_adds_no_noise_where_ddpm_lists_end_above_zero() {
    let mut seen = (0, 0);
    for run in Run::all() {
        let Some(std) = run.noise_on_last_step() else { continue };
        let steps = run.steps_of_the_plan();
        assert!(!steps[steps.len() - 1].coefficients.needs_noise(), "{}", run.id());
        let apart: Vec<f64> = last(&run.x_after::<f64>(&steps))
            .iter()
            .zip(run.x_last_f64())
            .map(|(ours, theirs)| theirs - ours)
            .collect();
        // Theirs is ours and std·z.
        for (apart, z) in apart.iter().zip(z(steps.len() - 1)) {
            assert!((apart - std * z).abs() < F64, "{}: {apart}, not {std}·{z}", run.id());
        }
        if std > 1e-10 {
            seen.1 += 1;
            assert!(apart.iter().any(|apart| apart.abs() > 1e-2), "{}", run.id());
        } else {
            seen.0 += 1;
        }
    }
    assert_eq!(seen, (11, 7), "with fixed_small, with fixed_large");
    for theirs in observed::<3>("DDPM trailing that ends at t > 0: noise on the last step, whose target is clean data")
    {
        let large = theirs["variance_type"] == "fixed_large";
        let ddpm = Ddpm::new(if large { Variance::Beta } else { Variance::Posterior });
        let schedule = NoiseSchedule::ddpm().unwrap();
        let plan = Plan::new(&schedule, &Timesteps::trailing(1000, 50).unwrap(), &ddpm).unwrap();
        let step = &plan.steps()[49];
        assert_eq!((step.t, step.coefficients.d), (19.0, 0.0));
        let x = step.apply(arr0(1.0_f64), arr0(0.5), Some(&arr0(1.0))).unwrap().into_scalar();
        assert!((x - number(&theirs["prev_sample_z_0"])).abs() < F32);
        let std = if large { schedule.level(19).unwrap().noise() } else { 1e-10 };
        assert!((number(&theirs["prev_sample_z_1"]) - x - std).abs() < F32);
        assert!((number(&theirs["std"]) / std - 1.0).abs() < 1e-4);
    }
}

// -------------------------------------------------------------------------------------------------------------- deviations

fn predecessors(plan: &Plan) -> Vec<i64> {
    plan.steps().iter().map(|step| step.s.map_or(-1, |s| s as i64)).collect()
}

fn ddpm_plan(spacing: &str, steps: usize, solver: &impl Solver) -> Plan {
    Plan::new(&NoiseSchedule::ddpm().unwrap(), &spaced(spacing, 0, 1000, steps).unwrap(), solver).unwrap()
}

#[test]
fn a_step_goes_to_the_next_entry_and_not_to_t_minus_a_stride() {
    let ddim = Ddim::deterministic();
    let [theirs] = observed("DDIM linspace: the first step goes to t - T//S, not to the next entry");
    let ours = predecessors(&ddpm_plan("linspace", 10, &ddim));
    assert_eq!(ours, [888, 777, 666, 555, 444, 333, 222, 111, 0, -1]);
    assert_eq!(integers(&theirs["predecessors"])[0], 899);
    assert_eq!(integers(&theirs["timesteps"])[1..], ours[..9]);

    let what = "DDIM trailing, S does not divide T: steps end at levels from which the next call does not start";
    let [theirs] = observed(what);
    let ours = predecessors(&ddpm_plan("trailing", 7, &ddim));
    assert_eq!(ours, [856, 713, 570, 428, 285, 142, -1]);
    assert_eq!(integers(&theirs["predecessors"]), [857, 714, 571, 428, 286, 143, 0]);

    let [theirs] = observed("DDPM linspace: the predecessor is looked up in the list (no deviation)");
    assert_eq!(predecessors(&ddpm_plan("linspace", 10, &Ddpm::default())), integers(&theirs["predecessors"]));
}

#[test]
fn the_large_variance_is_beta_and_not_the_root_of_its_logarithm() {
    for theirs in observed::<2>("DDPM fixed_large_log: the square root of a logarithm") {
        assert!(number(&theirs["prev_sample"]).is_nan());
        let (t, beta) = (count(theirs, "t"), number(&theirs["beta"]));
        assert!((number(&theirs["variance"]) - beta.ln()).abs() < 1e-5);
        let ours = ddpm_plan("leading", 1000, &Ddpm::new(Variance::Beta));
        let step = &ours.steps()[999 - t];
        assert_eq!(step.t, t as f64);
        assert!((step.coefficients.d - beta.sqrt()).abs() < 1e-8);
    }
}

#[test]
fn epsilon_at_zero_terminal_snr_is_an_error_with_and_without_a_clip() {
    let zero = NoiseSchedule::ddpm().unwrap().rescale_zero_terminal_snr().unwrap();
    let tau = Timesteps::trailing(1000, 10).unwrap();
    for theirs in observed::<2>(
        "zero terminal SNR, epsilon-prediction: a division by zero, which the clip hides unless it is 0/0",
    ) {
        assert!(!number(&theirs["ddim_prev_sample"]).is_finite() && !number(&theirs["ddpm_prev_sample"]).is_finite());
    }
    for threshold in [Threshold::None, Threshold::Clip(1.0)] {
        let builder = Plan::builder(&zero, &tau).threshold(threshold);
        for error in [builder.build(&Ddim::deterministic()), builder.build(&Ddpm::default())].map(Result::unwrap_err) {
            let Error::AtStep { index: 0, t: 999.0, source } = error else { panic!("{error}") };
            let (from, to) = (Prediction::Epsilon, Prediction::Sample);
            assert!(matches!(*source, Error::Undetermined { from: f, to: t, .. } if (f, t) == (from, to)));
        }
    }
}

/// DDIM's weight of ε at η = 1 (Song et al. 2021, Eq. 12 and 16), 1 − ᾱ_s − σ² = (1−ᾱ_s)²·ᾱ_t/(ᾱ_s·(1−ᾱ_t)), in which nothing
/// is subtracted that was rounded.
fn direction_at_eta_one(t: &NoiseLevel, s: &NoiseLevel) -> f64 {
    let radicand = t.alpha_bar() / s.alpha_bar() * s.one_minus_alpha_bar() / t.one_minus_alpha_bar();
    (s.one_minus_alpha_bar() * radicand).sqrt()
}

fn sigma_at_eta_one(t: &NoiseLevel, s: &NoiseLevel) -> f64 {
    let gap = s.alpha_bar() - t.alpha_bar();
    (s.one_minus_alpha_bar() / t.one_minus_alpha_bar() * gap / s.alpha_bar()).sqrt()
}

#[test]
fn the_first_step_at_zero_terminal_snr_and_eta_one_is_finite_and_right() {
    let what = "zero terminal SNR, v-prediction, trailing, eta = 1, S = 10: the first step";
    let mut theirs_off = Vec::new();
    for theirs in observed::<3>(what) {
        let [start, end, x, m, z] = ["beta_start", "beta_end", "x", "m", "z"].map(|key| number(&theirs[key]));
        let zero = family(text(theirs, "beta_schedule"), 1000, start, end).rescale_zero_terminal_snr().unwrap();
        let (t, s) = (zero.level(999).unwrap(), zero.level(899).unwrap());
        // At ᾱ_t = 0, x̂₀ = −v and the direction's weight is 0: x′ = −√ᾱ_s·v + √(1−ᾱ_s)·z.
        let right = -s.signal() * m + s.noise() * z;
        assert_eq!((direction_at_eta_one(&t, &s), sigma_at_eta_one(&t, &s)), (0.0, s.noise()));
        for steps in 1..=1000 {
            let plan_of_first_step = Timesteps::trailing(1000, steps).unwrap();
            let to = plan_of_first_step.as_slice().get(1).map_or(NoiseLevel::CLEAN, |&s| zero.level(s).unwrap());
            let combination = Ddim::new(1.0).unwrap().combine(&Leg::new(t, to)).unwrap();
            assert_eq!(combination.epsilon(), 0.0, "S = {steps}");
            assert!((combination.z() - to.noise()).abs() <= f64::EPSILON, "S = {steps}");
        }
        let tau = Timesteps::trailing(1000, 10).unwrap();
        let plan = Plan::builder(&zero, &tau).prediction(Prediction::Velocity).build(&Ddim::new(1.0).unwrap()).unwrap();
        let ours = plan.steps()[0].apply(arr0(x), arr0(m), Some(&arr0(z))).unwrap().into_scalar();
        assert!((ours - right).abs() < 1e-15);
        theirs_off.push((number(&theirs["prev_sample"]) - right).abs());
        assert!(count(theirs, "first_step_nan_for_values_of_S") > 100);
    }
    // NaN where its radicand came out negative; √6e-8 too much of ε where it came out positive; right where it was 0.
    assert!(theirs_off[0].is_nan());
    assert!((2.3e-4..2.6e-4).contains(&theirs_off[1]), "{theirs_off:?}");
    assert!(theirs_off[2] < 1e-6, "{theirs_off:?}");
}

#[test]
fn the_first_cosine_step_at_eta_one_is_finite_and_right() {
    let [theirs] = observed("cosine without rescaling, trailing, eta = 1, S = 5: the first step");
    assert!(number(&theirs["prev_sample"]).is_nan());
    let cosine = NoiseSchedule::cosine(1000).unwrap();
    let (t, s) = (cosine.level(999).unwrap(), cosine.level(799).unwrap());
    let x0 = (1.0 - t.noise() * 0.5) / t.signal();
    assert!((x0 / number(&theirs["x0"]) - 1.0).abs() < 1e-4);
    let right = s.signal() * x0 + direction_at_eta_one(&t, &s) * 0.5 + sigma_at_eta_one(&t, &s) * 0.25;
    let tau = Timesteps::trailing(1000, 5).unwrap();
    let plan = Plan::new(&cosine, &tau, &Ddim::new(1.0).unwrap()).unwrap();
    let ours = plan.steps()[0].apply(arr0(1.0), arr0(0.5), Some(&arr0(0.25))).unwrap().into_scalar();
    assert!((ours / right - 1.0).abs() < 1e-14, "{ours}, not {right}");
}

#[test]
fn no_radicand_is_below_zero_at_the_s_where_f32_tables_give_one() {
    let mut legs = 0;
    for theirs in observed::<6>("DDIM, eta = 1: radicands below zero in f32, over S = 1..1000") {
        let (name, zero) =
            text(theirs, "table").split_once(',').map_or((text(theirs, "table"), false), |(name, _)| (name, true));
        let (start, end) = if name == "linear" { (1e-4, 0.02) } else { (0.00085, 0.012) };
        let schedule = family(name, 1000, start, end);
        let schedule = if zero { schedule.rescale_zero_terminal_snr().unwrap() } else { schedule };
        for (spacing, offset) in [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)] {
            for steps in integers(&theirs[format!("{spacing}+{offset}")]["first_S"]) {
                // leading + 1 at S = T is an error of its own.
                let Ok(tau) = spaced(spacing, offset, 1000, steps as usize) else { continue };
                for pair in tau.as_slice().windows(2) {
                    let [t, s] = [0, 1].map(|i| schedule.level(pair[i]).unwrap());
                    let combination = Ddim::new(1.0).unwrap().combine(&Leg::new(t, s)).unwrap();
                    let (epsilon, z) = (direction_at_eta_one(&t, &s), sigma_at_eta_one(&t, &s));
                    let at = format!("{name}, {spacing}+{offset}, S = {steps}, {pair:?}");
                    assert!((combination.epsilon() - epsilon).abs() <= 1e-14 * epsilon, "{at}");
                    // The plain difference ᾱ_s − ᾱ_t costs digits near ᾱ = 1.
                    assert!((combination.z() - z).abs() <= 1e-11 * z, "{at}");
                    legs += 1;
                }
            }
        }
    }
    assert!(legs > 1000, "{legs}");
}

/// The f32 records are right to their table's error, √(1 + 1.7e-4); the narrower ones add no noise at all at first.
#[test]
fn noise_is_added_at_every_t() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let ours =
        |t: usize| forward::add_noise(&arr0(0.0_f32), &arr0(1.0), &[schedule.level(t).unwrap()]).unwrap().into_scalar();
    let mut clean = 1.0;
    for t in 0..1000 {
        // Only a check: what the subtraction loses near t = 0 is 1e-12 of it.
        clean *= 1.0 - schedule.beta(t).unwrap();
        assert!((f64::from(ours(t)) / (1.0 - clean).sqrt() - 1.0).abs() < 1e-7, "t = {t}");
    }
    for theirs in observed::<3>("add_noise casts the table to the sample's type") {
        let at: Vec<f64> = numbers(&theirs["at_0_to_12"]);
        let off = (0..=12).map(|t| (at[t] / f64::from(ours(t)) - 1.0).abs()).fold(0.0, f64::max);
        match text(theirs, "dtype") {
            "bfloat16" => assert!(at[..=9].iter().all(|x| *x == 0.0) && off == 1.0),
            "float16" => assert!(at[..=1].iter().all(|x| *x == 0.0) && off == 1.0),
            _ => assert!(off < 1e-4, "{off}"),
        }
    }
}

#[test]
fn bad_lists_of_betas_are_errors() {
    for theirs in observed::<9>("a beta outside (0, 1) is accepted") {
        assert!(theirs["error"].is_null());
        let betas = numbers(&theirs["betas"]);
        let error = NoiseSchedule::from_betas(betas.clone()).unwrap_err();
        assert!(matches!(error, Error::Beta { t: 1, value } if value.to_bits() == betas[1].to_bits()), "{error}");
    }
    let [theirs] = observed("a beta list of a length other than T is accepted");
    assert!(theirs["error"].is_null());
    let schedule = NoiseSchedule::from_betas(numbers(&theirs["betas"])).unwrap();
    let tau = Timesteps::leading(1000, 10, 0).unwrap();
    let error = Plan::new(&schedule, &tau, &Ddim::deterministic()).unwrap_err();
    assert!(matches!(error, Error::TrainSteps { expected: 3, found: 1000 }), "{error}");
    assert!(matches!(schedule.level(900), Err(Error::Timestep { t: 900, train_steps: 3 })));
}

#[test]
fn dynamic_thresholding_takes_tensors_of_any_shape() {
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::leading(1000, 5, 0).unwrap();
    let plan = Plan::builder(&schedule, &tau)
        .threshold(Threshold::Dynamic { ratio: 0.7, max: 1.5 })
        .build(&Ddim::deterministic())
        .unwrap();
    let mut results = Vec::new();
    for theirs in observed::<3>("thresholding of a [batch, n] tensor") {
        let shape: Vec<usize> = integers(&theirs["shape"]).iter().map(|&len| len as usize).collect();
        assert_eq!(theirs["error"].is_null(), shape.len() == 3);
        let x = ArrayD::from_shape_vec(IxDyn(&shape), START.to_vec()).unwrap();
        results.push(plan.steps()[0].apply(x.clone(), x, None).unwrap().into_raw_vec_and_offset().0);
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn encoding_clean_data_with_x0_prediction_is_an_error() {
    let [theirs] = observed("DDIMInverse, sample-prediction, from clean data: division by zero");
    assert!(numbers(&theirs["prev_sample"]).iter().all(|x| x.is_infinite()));
    let schedule = NoiseSchedule::ddpm().unwrap();
    let tau = Timesteps::leading(1000, 5, 0).unwrap().encoding(Conditioning::Destination);
    let error =
        Plan::builder(&schedule, &tau).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap_err();
    let Error::AtStep { index: 0, t: 0.0, source } = error else { panic!("{error}") };
    assert!(matches!(*source, Error::Undetermined { level: NoiseLevel::CLEAN, .. }), "{source}");
}

/// Each is asserted above; a record that is new to this list fails here.
const DEVIATIONS: [(&str, usize); 23] = [
    ("DDIM linspace: the first step goes to t - T//S, not to the next entry", 1),
    ("DDIM trailing, S does not divide T: steps end at levels from which the next call does not start", 1),
    ("DDPM linspace: the predecessor is looked up in the list (no deviation)", 1),
    ("trailing: arange yields S+1 entries, the last t = -1, which reads the table at T-1", 1),
    ("trailing: all S with more than S entries at T = 1000", 1),
    ("trailing: the same at other T", 1),
    ("DDPM fixed_large_log: the square root of a logarithm", 2),
    ("DDPM trailing that ends at t > 0: noise on the last step, whose target is clean data", 3),
    ("zero terminal SNR, epsilon-prediction: a division by zero, which the clip hides unless it is 0/0", 2),
    ("zero terminal SNR, v-prediction, trailing, eta = 1, S = 10: the first step", 3),
    ("cosine without rescaling, trailing, eta = 1, S = 5: the first step", 1),
    ("DDIM, eta = 1: radicands below zero in f32, over S = 1..1000", 6),
    ("linspace, S = 1: starts at t = 0, not at the noisiest level", 2),
    ("leading, steps_offset 1, S = T: asks for t = T", 2),
    ("leading, S = 600: tops out at 599", 1),
    ("S = 0", 1),
    ("S > T", 1),
    ("add_noise casts the table to the sample's type", 3),
    ("a beta outside (0, 1) is accepted", 9),
    ("a beta list of a length other than T is accepted", 1),
    ("thresholding of a [batch, n] tensor", 3),
    ("DDIMInverse, sample-prediction, from clean data: division by zero", 1),
    ("the f32 tables against f64", 3),
];

#[test]
fn every_recorded_deviation_is_asserted() {
    let recorded: BTreeSet<&str> = records("deviation").map(|record| text(record, "what")).collect();
    assert_eq!(recorded, DEVIATIONS.iter().map(|(what, _)| *what).collect());
    assert_eq!(records("deviation").count(), DEVIATIONS.iter().map(|(_, count)| *count).sum::<usize>());
}

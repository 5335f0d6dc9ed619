//! UniPC (Zhao et al. 2023, arXiv 2302.04867): predicted and corrected x as two states, as the paper and its code have them.

use alphabar::{
    Conditioning, Ddim, DpmSolverPp, EpsilonAfter, Error, FinalOrder, Interpolation, NoiseLevel, Orders, Path, Plan,
    Prediction, Scale, Solver, Threshold, UniPc, UniPcWeights,
};

use crate::common::methods::{AnyLevel, lambda, path, run};

const LAMBDAS: [f64; 9] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8, 2.6];
const START: f64 = 0.4;

/// A network that no formula foresees.
fn x0(level: &NoiseLevel, x: f64) -> f64 {
    1.5 * (0.7 * x + 0.3 * lambda(level)).sin()
}

fn epsilon(level: &NoiseLevel, x: f64) -> f64 {
    (x - level.signal() * x0(level, x)) / level.noise()
}

#[track_caller]
fn close(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what}: {found:e}, not {wanted:e}");
}

fn levels(path: &Path) -> Vec<NoiseLevel> {
    let plan = Plan::along(path, &Ddim::deterministic()).unwrap();
    plan.steps().iter().map(|step| step.from).chain([plan.end()]).collect()
}

/// φ_k(z) = Σ z^n/(n+k)!
fn phi(k: usize, z: f64) -> f64 {
    let factorial = |n: usize| (1..=n).map(|n| n as f64).product::<f64>();
    (0..40).rev().map(|n| z.powi(n as i32) / factorial(n + k)).sum()
}

/// ρ with R·ρ = b, by Gauss's elimination.
fn solve(mut r: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for pivot in 0..n {
        let largest = (pivot..n).max_by(|i, j| r[*i][pivot].abs().total_cmp(&r[*j][pivot].abs())).unwrap();
        r.swap(pivot, largest);
        b.swap(pivot, largest);
        for row in pivot + 1..n {
            let factor = r[row][pivot] / r[pivot][pivot];
            let above = r[pivot].clone();
            r[row].iter_mut().zip(above).for_each(|(of, above)| *of -= factor * above);
            b[row] -= factor * b[pivot];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|j| r[row][j] * b[j]).sum();
        b[row] = (b[row] - known) / r[row][row];
    }
    b
}

/// The increment Σ ρ_j·D_j/r_j times B(h), by the equations of the paper, or with ρ = ½ where the code does not solve them.
fn differences(weights: UniPcWeights, hh: f64, nodes: &[f64], differences: &[f64]) -> f64 {
    let b_h = match weights {
        UniPcWeights::Bh1 => hh,
        _ => hh.exp_m1(),
    };
    let count = nodes.len();
    let factorial = |n: usize| (1..=n).map(|n| n as f64).product::<f64>();
    let rho = if count == 1 && weights != UniPcWeights::Exact {
        vec![0.5]
    } else {
        let r = (0..count).map(|q| nodes.iter().map(|node| node.powi(q as i32)).collect()).collect();
        let b = (1..=count).map(|q| factorial(q) * hh * phi(q + 1, hh) / b_h).collect();
        solve(r, b)
    };
    b_h * rho.iter().zip(nodes).zip(differences).map(|((rho, r), d)| rho * d / r).sum::<f64>()
}

/// What a run is made of.
struct Run<'a> {
    levels: &'a [NoiseLevel],
    weights: UniPcWeights,
    noise_form: bool,
    /// p of a step.
    order: &'a dyn Fn(usize) -> usize,
    corrects: &'a dyn Fn(usize) -> bool,
    /// The network and the conversion of its output: x̂₀, or ε.
    output: &'a dyn Fn(&NoiseLevel, f64) -> f64,
}

impl Run<'_> {
    /// The step to the level i from the corrected x before it; with the output at the level i if it is there already.
    fn step(&self, i: usize, x: f64, outputs: &[f64]) -> f64 {
        let (s, t) = (&self.levels[i - 1], &self.levels[i]);
        let h = lambda(t) - lambda(s);
        let hh = if self.noise_form { h } else { -h };
        let p = (self.order)(i - 1);
        let node = |j: usize| (lambda(&self.levels[j]) - lambda(s)) / h;
        let m0 = outputs[i - 1];
        let mut nodes: Vec<f64> = (1..p).map(|back| node(i - 1 - back)).collect();
        let mut d: Vec<f64> = (1..p).map(|back| outputs[i - 1 - back] - m0).collect();
        if let Some(new) = outputs.get(i) {
            nodes.push(1.0);
            d.push(new - m0);
        }
        let sum = if nodes.is_empty() { 0.0 } else { differences(self.weights, hh, &nodes, &d) };
        if self.noise_form {
            t.signal() / s.signal() * x - t.noise() * hh.exp_m1() * m0 - t.noise() * sum
        } else {
            t.noise() / s.noise() * x - t.signal() * hh.exp_m1() * m0 - t.signal() * sum
        }
    }

    /// The predicted x of the last level.
    fn end(&self) -> f64 {
        let mut corrected = START;
        let mut outputs = vec![(self.output)(&self.levels[0], START)];
        for i in 1..self.levels.len() {
            let predicted = self.step(i, corrected, &outputs);
            if i == self.levels.len() - 1 {
                return predicted;
            }
            // The network is called once, with the predicted x.
            outputs.push((self.output)(&self.levels[i], predicted));
            corrected = if (self.corrects)(i - 1) { self.step(i, corrected, &outputs) } else { predicted };
        }
        corrected
    }
}

const WEIGHTS: [UniPcWeights; 3] = [UniPcWeights::Bh1, UniPcWeights::Bh2, UniPcWeights::Exact];

#[test]
fn rows_are_the_algorithm_with_two_states() {
    let path = path(Scale::VariancePreserving, &LAMBDAS);
    let levels = levels(&path);
    let steps = levels.len() - 1;
    for weights in WEIGHTS {
        for p in 1..=4 {
            for lowered in [false, true] {
                for noise_form in [false, true] {
                    for (name, corrects) in [
                        ("everywhere", (|_| true) as fn(usize) -> bool),
                        ("nowhere", |_| false),
                        ("not at 0, 3", |i| i != 0 && i != 3),
                    ] {
                        let order = |i: usize| p.min(i + 1).min(if lowered { steps - i } else { 4 });
                        let output = if noise_form { epsilon } else { x0 };
                        let typed = Run {
                            levels: &levels,
                            weights,
                            noise_form,
                            order: &order,
                            corrects: &corrects,
                            output: &output,
                        };
                        let mut solver = UniPc::new(p).unwrap().weights(weights);
                        if !lowered {
                            solver = solver.orders(Orders::new(p).unwrap());
                        }
                        if noise_form {
                            solver = solver.noise_form();
                        }
                        solver = match name {
                            "everywhere" => solver,
                            "nowhere" => solver.without_corrector(),
                            _ => solver.without_corrector_at([0, 3]).unwrap(),
                        };
                        let prediction = if noise_form { Prediction::Epsilon } else { Prediction::Sample };
                        let plan = Plan::builder_along(&path).prediction(prediction).build(&solver).unwrap();
                        let found = run(plan.steps(), START, |step, x| output(&step.from, x));
                        close(found, typed.end(), &format!("{weights:?} {p}, {name}, {lowered}, {noise_form}"));
                    }
                }
            }
        }
    }
}

/// The published end: to clean data, at which x̂₀ of the last call is that of the uncorrected x.
#[test]
fn the_last_call_is_made_with_the_predicted_x() {
    let sigmas = LAMBDAS.iter().map(|lambda| (-lambda).exp());
    let path = Path::from_sigmas(&AnyLevel(Scale::VariancePreserving), sigmas).unwrap();
    let mut levels = levels(&path);
    assert!(levels.pop().unwrap().is_clean());
    let steps = levels.len();
    let order = |i: usize| 3_usize.min(i + 1).min(steps - i);
    let typed = Run {
        levels: &levels,
        weights: UniPcWeights::Bh2,
        noise_form: false,
        order: &order,
        corrects: &|_| true,
        output: &x0,
    };
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&UniPc::new(3).unwrap()).unwrap();
    let found = run(plan.steps(), START, |step, x| x0(&step.from, x));
    close(found, x0(levels.last().unwrap(), typed.end()), "to clean data");
    assert!(plan.steps().last().unwrap().coefficients.history.is_empty());
}

/// A repeated last σ is a step of h = 0, which only corrects.
#[test]
fn a_step_between_equal_levels_corrects_alone() {
    let last = AnyLevel(Scale::VariancePreserving);
    let full = path(Scale::VariancePreserving, &LAMBDAS);
    let end = alphabar::Process::at_sigma(&last, (-LAMBDAS[8]).exp()).unwrap();
    let sigmas = LAMBDAS.iter().map(|lambda| (-lambda).exp());
    let path = Path::from_sigmas(&last, sigmas).unwrap().ending_at(end).unwrap();
    let levels = levels(&full);
    let order = |i: usize| 2_usize.min(i + 1);
    let typed = Run {
        levels: &levels,
        weights: UniPcWeights::Bh2,
        noise_form: false,
        order: &order,
        corrects: &|_| true,
        output: &x0,
    };
    let predicted = typed.end();
    // The last correction by hand: from the corrected x before, by the rows of the path without its last step.
    let solver = UniPc::new(2).unwrap().orders(Orders::new(2).unwrap());
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&solver).unwrap();
    let (repeated, before) = plan.steps().split_last().unwrap();
    let mut state = alphabar::State::new(vec![START]);
    let mut outputs = Vec::new();
    for step in before {
        let m = x0(&step.from, state.x().unwrap()[0]);
        outputs.push(m);
        state.step_given(step, vec![m], None).unwrap();
    }
    close(state.x().unwrap()[0], predicted, "the prediction");
    outputs.push(x0(&levels[8], predicted));
    // C − P of the last interval: the same step from any x.
    let correction = typed.step(8, 0.0, &outputs) - typed.step(8, 0.0, &outputs[..8]);
    assert!(correction.abs() > 1e-6, "{correction:e}");
    state.step_given(repeated, vec![outputs[8]], None).unwrap();
    close(state.x().unwrap()[0], predicted + correction, "the correction");
}

/// A threshold acts on the output before it is used for anything: also ε follows it, whatever `EpsilonAfter` says.
#[test]
fn a_threshold_acts_on_all_outputs() {
    let path = path(Scale::VariancePreserving, &LAMBDAS);
    let levels = levels(&path);
    let cases = [(false, EpsilonAfter::Network), (true, EpsilonAfter::Threshold), (true, EpsilonAfter::Network)];
    for (noise_form, after) in cases {
        let order = |i: usize| 3_usize.min(i + 1);
        let clipped = |level: &NoiseLevel, x: f64| {
            let clipped = x0(level, x).clamp(-0.8, 0.8);
            if noise_form { (x - level.signal() * clipped) / level.noise() } else { clipped }
        };
        let typed = Run {
            levels: &levels,
            weights: UniPcWeights::Bh1,
            noise_form,
            order: &order,
            corrects: &|_| true,
            output: &clipped,
        };
        let solver = UniPc::new(3).unwrap().orders(Orders::new(3).unwrap()).weights(UniPcWeights::Bh1);
        let solver = if noise_form { solver.noise_form() } else { solver };
        let plan = Plan::builder_along(&path)
            .prediction(Prediction::Sample)
            .threshold(Threshold::clip(0.8).unwrap())
            .epsilon_after(after)
            .build(&solver)
            .unwrap();
        let found = run(plan.steps(), START, |step, x| x0(&step.from, x));
        close(found, typed.end(), "clipped");
    }
}

/// To more noise, where h < 0.
#[test]
fn encoding_is_the_same_algorithm() {
    let path = path(Scale::VariancePreserving, &LAMBDAS).encoding(Conditioning::Source);
    let levels = levels(&path);
    assert!(levels[0].alpha_bar() > levels[8].alpha_bar());
    let order = |i: usize| 3_usize.min(i + 1).min(8 - i);
    let typed = Run {
        levels: &levels,
        weights: UniPcWeights::Bh2,
        noise_form: false,
        order: &order,
        corrects: &|_| true,
        output: &x0,
    };
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&UniPc::new(3).unwrap()).unwrap();
    close(run(plan.steps(), START, |step, x| x0(&step.from, x)), typed.end(), "encoding");
}

/// Rows as numbers: x, own output, z and the earlier outputs.
fn rows(solver: &impl Solver) -> Vec<Vec<f64>> {
    let path = path(Scale::VarianceExploding, &LAMBDAS);
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(solver).unwrap();
    plan.steps()
        .iter()
        .map(|step| {
            let k = &step.coefficients;
            [k.x, k.model, k.d].into_iter().chain((1..=4).map(|age| k.history.weight(age))).collect()
        })
        .collect()
}

#[track_caller]
fn same(a: &impl Solver, b: &impl Solver) {
    for (a, b) in rows(a).concat().into_iter().zip(rows(b).concat()) {
        assert!((a - b).abs() <= 1e-14 * b.abs().max(1e-3), "{a:e}, not {b:e}");
    }
}

#[test]
fn equivalences() {
    let predictor = |p: usize| UniPc::new(p).unwrap().orders(Orders::new(p).unwrap()).without_corrector();
    let multistep = |p: usize| DpmSolverPp::multistep(p).unwrap().orders(Orders::new(p).unwrap());
    same(&predictor(1), &Ddim::deterministic());
    same(&predictor(2), &multistep(2));
    for p in 1..=4 {
        same(&predictor(p).weights(UniPcWeights::Exact), &multistep(p).interpolation(Interpolation::Exact));
    }
    // B(h) makes a difference in UniP-2 and UniC-1 alone.
    let [bh1, bh2] =
        [UniPcWeights::Bh1, UniPcWeights::Bh2].map(|weights| rows(&UniPc::new(3).unwrap().weights(weights)));
    let differs: Vec<bool> = bh1.iter().zip(&bh2).map(|(a, b)| a != b).collect();
    // Row 1 predicts by UniP-2 and corrects by UniC-1, row 6 predicts by UniP-2; rows 2 and 7 take these predictions back.
    assert_eq!(differs, [false, true, true, false, false, false, true, true]);
}

#[test]
fn settings_are_checked_and_named() {
    assert!(matches!(UniPc::new(0), Err(Error::Count { value: 0, min: 1, max: 4, .. })));
    assert!(matches!(UniPc::new(5), Err(Error::Count { value: 5, .. })));
    assert!(matches!(UniPc::new(2).unwrap().without_corrector_at(0..), Err(Error::Count { .. })));
    assert_eq!(UniPc::new(3).unwrap().name(), "UniPC-3");
    assert_eq!(UniPc::new(2).unwrap().without_corrector().name(), "UniP-2");
    // UniC-4 reads five outputs: its own and four.
    let full = UniPc::new(4).unwrap().orders(Orders::new(4).unwrap().ending(FinalOrder::Full));
    let plan = Plan::along(&path(Scale::Flow, &LAMBDAS), &full).unwrap();
    let reads: Vec<usize> = plan.steps().iter().map(|step| step.coefficients.history.iter().count()).collect();
    assert_eq!(reads, [0, 1, 2, 3, 4, 4, 4, 4]);
}

/// Where churn lifts x, or λ is infinite, there is no output at the end of a step to correct it with.
#[test]
fn churn_and_pure_noise_are_not_corrected() {
    let process = AnyLevel(Scale::VarianceExploding);
    let sigmas = LAMBDAS.iter().map(|lambda| (-lambda).exp());
    let churned = Path::from_sigmas(&process, sigmas).unwrap().churned(&process, 2.0, 0.4..=4.0, 1.0).unwrap();
    let plan = |solver: &UniPc| Plan::builder_along(&churned).prediction(Prediction::Sample).build(solver).unwrap();
    let solver = UniPc::new(2).unwrap();
    let (corrected, predicted) = (plan(&solver), plan(&solver.clone().without_corrector()));
    for (step, (with, without)) in corrected.steps().iter().zip(predicted.steps()).enumerate() {
        let lifted_before = step > 0 && (0.4..=4.0).contains(&churned.points()[step].level.sigma());
        let weights = |step: &alphabar::Step| {
            let k = step.coefficients;
            (k.x, k.model, k.d, k.history)
        };
        let same = weights(with) == weights(without);
        // The last row returns x̂₀ with and without.
        assert_eq!(same, step == 0 || step == 8 || lifted_before, "step {step}");
    }
    let from_noise = Path::from_sigmas(&AnyLevel(Scale::VariancePreserving), [f64::INFINITY, 3.0, 1.0, 0.2]).unwrap();
    let plan = Plan::builder_along(&from_noise).prediction(Prediction::Sample).build(&solver).unwrap();
    // The step from pure noise is not corrected, and its output is not interpolated: the second one is the first of a method.
    let reads: Vec<usize> = plan.steps().iter().map(|step| step.coefficients.history.iter().count()).collect();
    assert_eq!(reads, [0, 0, 1, 0]);
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_stored() {
    let solver = UniPc::new(3).unwrap().weights(UniPcWeights::Bh1).noise_form().without_corrector_at([0, 1]).unwrap();
    let text = serde_json::to_string(&solver).unwrap();
    assert_eq!(
        text,
        r#"{"orders":{"order":3,"last":"lowered"},"weights":"bh1","form":"noise","corrector":{"not_at":[0,1]}}"#
    );
    assert_eq!(serde_json::from_str::<UniPc>(&text).unwrap(), solver);
    let short = r#"{"orders":{"order":2,"last":"lowered"},"corrector":"everywhere"}"#;
    assert_eq!(serde_json::from_str::<UniPc>(short).unwrap(), UniPc::new(2).unwrap());
    assert!(serde_json::from_str::<UniPc>(&text.replace("\"order\":3", "\"order\":7")).is_err());
    assert!(serde_json::from_str::<UniPc>(&text.replace("form", "shape")).is_err());
}

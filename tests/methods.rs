//! The laws of every method, on random and uneven levels.

use alphabar::reference::{DataDistribution, Gaussian};
use alphabar::{Memory, NoiseLevel, Path, Prediction, Scale, State, Step};
use proptest::prelude::*;

use crate::common::methods::{
    AnyLevel, Form, Method, integral, lambda, methods, path, plan, predicting, run, run_from,
};

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];

/// Uneven λ from much noise to little; neighbours differ by a factor of at most 6 in their distance.
fn lambdas(len: usize) -> impl Strategy<Value = Vec<f64>> {
    (-4.0_f64..-1.0, prop::collection::vec(0.1_f64..0.6, len - 1)).prop_map(|(start, gaps)| {
        let mut at = start;
        core::iter::once(start)
            .chain(gaps.into_iter().map(|gap| {
                at += gap;
                at
            }))
            .collect()
    })
}

fn deterministic() -> impl Iterator<Item = Method> {
    methods().into_iter().filter(|method| !method.stochastic)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Constants are integrated exactly: the weights of each row sum to the first-order weight.
    #[test]
    fn the_signal_arrives_whole(lambdas in lambdas(9), scale in 0..3_usize) {
        let path = path(SCALES[scale], &lambdas);
        for method in methods() {
            for prediction in [Prediction::Sample, Prediction::Epsilon] {
                let plan = alphabar::Plan::builder_along(&path).prediction(prediction).build(&method.solver).unwrap();
                for step in plan.steps() {
                    // Of a single datum 1: x = signal + noise·ε, with the same x̂₀ and the same ε at all levels.
                    let k = &step.coefficients;
                    let m = if prediction == Prediction::Sample { (1.0, 0.0) } else { (0.0, 1.0) };
                    let mut next = (k.x * step.from.signal() + k.model * m.0, k.x * step.from.noise() + k.model * m.1);
                    for (age, weight) in k.history.iter() {
                        let earlier = &plan.steps()[step.index - age];
                        match method.form {
                            _ if earlier.coefficients.kept.is_some_and(|kept| kept.output.is_none()) => {
                                next.0 += weight * earlier.from.signal();
                                next.1 += weight * earlier.from.noise();
                            }
                            Form::Data => next.0 += weight,
                            Form::Flow => (next.0, next.1) = (next.0 - weight, next.1 + weight),
                            _ => next.1 += weight,
                        }
                    }
                    let (signal, noise) = (step.to.signal(), step.to.noise());
                    prop_assert!((next.0 - signal).abs() < 1e-13 * (1.0 + signal), "{}: {} of {signal}", method.name, next.0);
                    if !method.stochastic {
                        prop_assert!((next.1 - noise).abs() < 1e-12 * (1.0 + noise), "{}: {} of {noise}", method.name, next.1);
                    }
                }
            }
        }
    }

    /// A network that always knows the datum: the path is followed exactly, in every form.
    #[test]
    fn a_constant_x0_follows_the_exact_path(lambdas in lambdas(9), datum in -2.0_f64..2.0, eps in -2.0_f64..2.0) {
        let path = path(Scale::VariancePreserving, &lambdas);
        for method in deterministic() {
            let plan = plan(&method, &path);
            let start = plan.start().signal() * datum + plan.start().noise() * eps;
            let found = run(plan.steps(), start, |step, x| predicting(plan.prediction(), &step.conditioned_on, x, datum));
            let exact = plan.end().signal() * datum + plan.end().noise() * eps;
            prop_assert!((found - exact).abs() < 1e-11, "{}: {found} of {exact}", method.name);
        }
    }

    /// A polynomial of a degree below the order, in the method's own variable, is integrated exactly once the start is over.
    #[test]
    fn polynomials_below_the_order_are_exact(lambdas in lambdas(7), c in prop::collection::vec(-1.0_f64..1.0, 4)) {
        let path = path(Scale::VariancePreserving, &lambdas);
        for method in methods().into_iter().filter(|method| method.exact && method.form != Form::None) {
            let plan = plan(&method, &path);
            let variable = |level: &NoiseLevel| match method.form {
                Form::Rho => level.sigma(),
                Form::Flow => level.flow_sigma(),
                _ => lambda(level) + 2.0,
            };
            let polynomial = |v: f64| (0..method.degree).map(|q| c[q] * v.powi(q as i32)).sum::<f64>();
            // From where the predictor has all its outputs, and the step before was corrected with all of them.
            let full = plan.steps().iter().position(|step| step.coefficients.history.iter().count() + 1 == method.order).unwrap_or(0);
            let skipped = full + usize::from(method.corrector);
            let mut memory = alphabar::State::new(vec![0.7_f64]);
            for (index, step) in plan.steps().iter().enumerate() {
                let before = memory.x().unwrap()[0];
                let m = polynomial(variable(&step.from));
                memory.step_given(step, vec![m], Some(&vec![0.0])).unwrap();
                if index < skipped || step.from == step.to {
                    continue;
                }
                let (t, s) = (&step.from, &step.to);
                let exact = match method.form {
                    Form::Data => {
                        let tau2 = if method.stochastic { 1.0 } else { 0.0 };
                        let (a, b) = (lambda(t), lambda(s));
                        let k = 1.0 + tau2;
                        let decay = (-tau2 * (b - a)).exp();
                        // s_s·∫ k·e^{−k(λ_s − λ)}·x̂₀ dλ
                        s.noise() / t.noise() * decay * before
                            + s.signal() * integral(a, b, |at| k * (-k * (b - at)).exp() * polynomial(at + 2.0))
                    }
                    Form::Noise => {
                        let (a, b) = (lambda(t), lambda(s));
                        s.signal() / t.signal() * before - s.signal() * integral(a, b, |at| (-at).exp() * polynomial(at + 2.0))
                    }
                    Form::Flow => {
                        let total = |level: &NoiseLevel| level.signal() + level.noise();
                        total(s) * (before / total(t) + integral(t.flow_sigma(), s.flow_sigma(), polynomial))
                    }
                    _ => {
                        s.signal() / t.signal() * before
                            + s.signal() * integral(t.sigma(), s.sigma(), polynomial)
                    }
                };
                let found = memory.x().unwrap()[0];
                prop_assert!((found - exact).abs() < 1e-9 * (1.0 + exact.abs()), "{}, step {index}: {found} of {exact}", method.name);
            }
        }
    }

    /// x/signal does not depend on the scale of the levels.
    #[test]
    fn scales_agree(lambdas in lambdas(8), x in -3.0_f64..3.0) {
        for method in methods() {
            let end = |scale: Scale| {
                let plan = plan(&method, &path(scale, &lambdas));
                let network = |step: &alphabar::Step, x: f64| (0.8 * x / step.from.signal() + 0.1).sin() * 0.5;
                run(plan.steps(), x * plan.start().signal(), network) / plan.end().signal()
            };
            let [preserving, exploding, flow] = SCALES.map(end);
            prop_assert!((preserving - exploding).abs() < 1e-9 * (1.0 + x.abs()), "{}: {preserving} and {exploding}", method.name);
            prop_assert!((preserving - flow).abs() < 1e-9 * (1.0 + x.abs()), "{}: {preserving} and {flow}", method.name);
        }
    }

    /// The last row, to clean data, returns x̂₀; and there is no NaN where λ is infinite at either end.
    #[test]
    fn the_last_row_returns_x0(lambdas in lambdas(8)) {
        let sigmas = core::iter::once(f64::INFINITY).chain(lambdas.iter().map(|lambda| (-lambda).exp()));
        let path = Path::from_sigmas(&AnyLevel(Scale::VariancePreserving), sigmas).unwrap();
        for method in methods() {
            let plan = alphabar::Plan::builder_along(&path).prediction(Prediction::Velocity).build(&method.solver).unwrap();
            let last = plan.steps().last().unwrap();
            let k = &last.coefficients;
            prop_assert_eq!((k.a, k.b, k.c, k.d), (1.0, 0.0, 0.0, 0.0), "{}", method.name);
            prop_assert!(k.history.is_empty(), "{}", method.name);
            let found = run(plan.steps(), 0.3, |_, x| 0.5 * x);
            prop_assert!(found.is_finite(), "{}", method.name);
        }
    }
}

/// A Gaussian and a mixture: ODEs whose maps between levels are known, the first in closed form.
fn gaussian() -> Gaussian {
    Gaussian::new([0.3], [0.49]).unwrap()
}

/// What the plan's network returns for the exact denoiser.
fn exact(step: &Step, x: f64, prediction: Prediction) -> f64 {
    let level = &step.conditioned_on;
    let mut x0 = vec![x];
    gaussian().denoise(&mut x0, level);
    predicting(prediction, level, x, x0[0])
}

/// The error at the end of a run with exact start values, on uneven levels.
fn error(method: &Method, calls: usize) -> f64 {
    // One curve for every number of steps.
    let at = |u: f64| -2.0 + 4.0 * (u + 0.15 * (core::f64::consts::TAU * u).sin() / core::f64::consts::TAU);
    let lambdas: Vec<f64> = (0..=calls).map(|i| at(i as f64 / calls as f64)).collect();
    let plan = plan(method, &path(Scale::VariancePreserving, &lambdas));
    let solution = |level: &NoiseLevel| {
        let mut x = vec![0.9];
        gaussian().flow(&mut x, &plan.start(), level);
        x[0]
    };
    // The state after as many steps as the order needs outputs.
    let begun = if plan.remembers() && !method.single_step {
        plan.steps()
            .iter()
            .map(|step| step.coefficients.history.iter().map(|(age, _)| age).max().unwrap_or(0))
            .max()
            .unwrap_or(0)
    } else {
        0
    };
    let outputs = (0..begun).map(|index| {
        let step = &plan.steps()[index];
        (begun - index, vec![exact(step, solution(&step.from), plan.prediction())])
    });
    let state = State::from_parts(vec![solution(&plan.steps()[begun].from)], Memory::new(outputs).unwrap(), begun);
    let found = run_from(state, &plan.steps()[begun..], |step, x| exact(step, x, plan.prediction()));
    (found - solution(&plan.end())).abs()
}

#[test]
fn the_observed_order_is_the_claimed_one() {
    let mut others = Vec::new();
    for method in deterministic() {
        // Far enough for the order to show, and not so far that rounding does.
        let (few, many) = match (method.single_step, method.order) {
            (false, ..5) => (256, 1024),
            (false, _) => (256, 512),
            (true, ..4) => (192, 768), // whole groups of 2 and of 3 points
            (true, _) => (32, 128),
        };
        let order = (error(&method, few) / error(&method, many)).log2() / f64::from(many as u32 / few as u32).log2();
        println!("{}: {order:.3}", method.name);
        if !((order - method.order as f64).abs() < 0.1) {
            others.push((method.name, order));
        }
    }
    assert!(others.is_empty(), "{others:?}");
}

/// An encoding path goes to more noise. What follows the ODE can walk it, and what adds noise cannot.
#[test]
fn only_deterministic_methods_encode() {
    let lambdas = [-3.0, -2.2, -1.0, 0.1, 0.9, 2.0];
    for method in methods() {
        let path = path(Scale::VariancePreserving, &lambdas).encoding(alphabar::Conditioning::Source);
        let plan = alphabar::Plan::builder_along(&path).prediction(Prediction::Velocity).build(&method.solver);
        match plan {
            Ok(plan) => {
                assert!(!method.stochastic, "{}", method.name);
                assert!(run(plan.steps(), 0.3, |_, x| 0.5 * x).is_finite(), "{}", method.name);
            }
            Err(error) => {
                assert!(method.stochastic, "{}: {error}", method.name);
                assert!(error.to_string().contains("encod") || error.to_string().contains("noise"), "{error}");
            }
        }
    }
}

/// A point between the path's points comes from its process; a path of points alone has none.
#[test]
fn a_path_of_points_alone_has_no_points_between() {
    let points: Vec<_> = path(Scale::VariancePreserving, &[-2.0, -1.0, 0.0, 1.0]).points().to_vec();
    let path = Path::new(points).unwrap();
    let error = alphabar::Plan::along(&path, &alphabar::Dpm2::deterministic()).unwrap_err();
    assert!(error.to_string().contains("Path::of_process"), "{error}");
    let path = path.of_process(&AnyLevel(Scale::VariancePreserving));
    assert!(alphabar::Plan::along(&path, &alphabar::Dpm2::deterministic()).is_ok());
}

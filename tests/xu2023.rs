//! Restart sampling (Xu et al. 2023, arXiv 2306.14878).

use alphabar::{Ddim, DpmSolverPp, Edm, Error, NoiseLevel, Path, Plan, Prediction, Scale};

use crate::common::methods::{AnyLevel, run};

/// Algorithm 1 with Euler steps, typed with noise of a fixed number.
#[test]
fn restarts_are_algorithm_1() {
    let process = AnyLevel(Scale::VarianceExploding);
    let sigmas = [4.0, 2.0, 1.0, 0.4, 0.1];
    let path = Path::from_sigmas(&process, sigmas).unwrap().restarted(&process, 0.35..1.5, 2, 3).unwrap();
    let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&Ddim::deterministic()).unwrap();
    assert_eq!(plan.len(), 5 + 2 * 3);
    let x0 = |level: &NoiseLevel, x: f64| (0.4 * x + level.sigma()).sin();
    let z = 0.8;
    let euler = |x: f64, from: f64, to: f64| {
        let level = NoiseLevel::variance_exploding(from).unwrap();
        x + (to - from) * (x - x0(&level, x)) / from
    };
    let inner = alphabar::spacing::karras(3, 1.5, 0.4, 7.0).unwrap();
    let mut x = 2.5;
    for (i, pair) in sigmas.windows(2).enumerate() {
        x = euler(x, pair[0], pair[1]);
        if i == 2 {
            for _ in 0..3 {
                x += (1.5_f64.powi(2) - 0.4_f64.powi(2)).sqrt() * z;
                x = euler(x, inner[0], inner[1]);
                x = euler(x, inner[1], inner[2]);
            }
        }
    }
    x = euler(x, 0.1, 0.0);
    let mut state = alphabar::State::new(vec![2.5]);
    for step in plan.steps() {
        let m = vec![x0(&step.from, state.x().unwrap()[0])];
        state.step_given(step, m, Some(&vec![z])).unwrap();
    }
    let found = state.into_x().unwrap()[0];
    assert!((found - x).abs() < 1e-13, "{found}, not {x}");
    assert!(run(plan.steps(), 2.5, |_, _| 0.0).is_finite());
}

/// After the noise a method that remembers starts over, and so does its order.
#[test]
fn a_method_that_remembers_starts_over() {
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let path = Path::karras(&edm, 18).unwrap().restarted(&edm, 0.05..0.3, 3, 2).unwrap();
    let plan =
        Plan::builder_along(&path).prediction(edm.prediction()).build(&DpmSolverPp::multistep(3).unwrap()).unwrap();
    let restarts: Vec<usize> = plan.steps().iter().filter(|step| step.needs_noise()).map(|step| step.index).collect();
    assert_eq!(restarts.len(), 2);
    for index in restarts {
        let orders = (1..=3).map(|i| plan.steps()[index + i].coefficients.history.iter().count()).collect::<Vec<_>>();
        assert_eq!(orders, [0, 1, 2]);
    }
    assert!(plan.lint().is_empty(), "{:?}", plan.lint());
}

#[test]
fn impossible_restarts_are_errors() {
    let edm = Edm::new(80.0, 0.002, 0.5).unwrap();
    let path = Path::karras(&edm, 18).unwrap();
    for (sigma, steps, times) in [
        (0.3..0.1, 3, 2),
        (0.1..0.1, 3, 2),
        (f64::NAN..1.0, 3, 2),
        (0.1..0.3, 0, 2),
        (0.1..0.3, 3, 0),
        (0.1..f64::INFINITY, 3, 2),
    ] {
        assert!(path.clone().restarted(&edm, sigma, steps, times).is_err());
    }
    let one = Path::from_sigmas(&edm, [2.0]).unwrap();
    assert!(matches!(one.restarted(&edm, 0.1..0.3, 3, 2), Err(Error::Count { value: 1, min: 2, .. })));
    let churned = path.clone().churned(&edm, 40.0, 0.05..=50.0, 1.0).unwrap();
    assert!(matches!(churned.restarted(&edm, 0.1..0.3, 3, 2), Err(Error::Unsupported { .. })));
    // Where a strength drops the point, its restart goes too.
    let restarted = path.restarted(&edm, 10.0..20.0, 3, 2).unwrap();
    assert_eq!(Plan::along(&restarted.with_strength(0.2).unwrap(), &Ddim::deterministic()).unwrap().len(), 3);
}

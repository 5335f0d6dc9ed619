//! The rows of multistep methods, with and without a corrector, against 80-digit arithmetic: `tests/oracle/methods.json`, which
//! `tests/oracle/methods.py` makes. The bar is that of every coefficient: each weight within 1e-14 of itself, also where it is a
//! difference in which most digits cancel.
//!
//! The φ-functions and the rules of each kernel are private, and compared in `src/phi.rs` and `src/solver/rule.rs`.

use alphabar::{
    DpmSolver, DpmSolverPp, Interpolation, NoiseLevel, Orders, Path, Plan, Point, Prediction, SaSolver, Solver, Tau,
    UniPc, UniPcWeights,
};
use serde_json::Value;

const BAR: f64 = 1e-14;

fn level(scale: &str, sigma: f64) -> NoiseLevel {
    match scale {
        "vp" => NoiseLevel::from_sigma(sigma),
        "ve" => NoiseLevel::variance_exploding(sigma),
        "flow" => NoiseLevel::flow(sigma),
        other => panic!("{other}"),
    }
    .unwrap()
}

fn solver(method: &Value) -> Box<dyn Solver> {
    let count = |key: &str| method[key].as_u64().unwrap() as usize;
    let text = |key: &str| method[key].as_str().unwrap();
    let (order, corrector, tau) = (count("order"), count("corrector"), method["tau"].as_f64().unwrap());
    let orders = Orders::new(order).unwrap();
    let noise = text("kernel") == "noise";
    match text("name") {
        "dpm++" => {
            let interpolation = match text("style") {
                "exact" => Interpolation::Exact,
                "midpoint" => Interpolation::Midpoint,
                _ => Interpolation::Published,
            };
            let method = DpmSolverPp::multistep(order).unwrap().orders(orders).interpolation(interpolation);
            Box::new(method.stochastic(tau).unwrap())
        }
        "dpm" => Box::new(DpmSolver::multistep(order).unwrap().orders(orders).stochastic(tau).unwrap()),
        "unipc" => {
            let weights = match text("style") {
                "exact" => UniPcWeights::Exact,
                "bh1" => UniPcWeights::Bh1,
                _ => UniPcWeights::Bh2,
            };
            let method = UniPc::new(order).unwrap().orders(orders).weights(weights);
            let method = if noise { method.noise_form() } else { method };
            assert!(corrector == 0 || corrector == order + 1);
            Box::new(if corrector == 0 { method.without_corrector() } else { method })
        }
        "sa" => {
            let method = SaSolver::new(Tau::new(tau).unwrap()).orders(orders);
            let method = if corrector == 0 { method.without_corrector() } else { method.corrector(corrector).unwrap() };
            let method = if noise { method.noise_form() } else { method };
            Box::new(if text("style") == "exact" { method.exact() } else { method })
        }
        other => panic!("{other}"),
    }
}

#[test]
fn rows_of_methods_with_memory_are_exact() {
    let records: Value = serde_json::from_str(&crate::parity::read("tests/oracle/methods.json")).unwrap();
    let mut worst = 0.0_f64;
    let mut weights = 0;
    for record in records["rows"].as_array().unwrap() {
        let scale = record["scale"].as_str().unwrap();
        let sigmas = record["sigmas"].as_array().unwrap();
        let points: Vec<Point> =
            sigmas.iter().map(|sigma| Point::new(0.0, level(scale, sigma.as_f64().unwrap()))).collect();
        let (end, points) = points.split_last().unwrap();
        let path = Path::new(points.iter().copied()).unwrap().ending_at(*end).unwrap();
        let method = &record["method"];
        let own = if method["kernel"] == "noise" { Prediction::Epsilon } else { Prediction::Sample };
        let plan = Plan::builder_along(&path).prediction(own).build(&solver(method)).unwrap();
        let rows = record["rows"].as_array().unwrap();
        assert_eq!(plan.len(), rows.len());
        for (step, row) in plan.steps().iter().zip(rows) {
            let k = &step.coefficients;
            let mut compare = |what: &str, found: f64, wanted: &Value| {
                let wanted: f64 = wanted.as_str().unwrap().parse().unwrap();
                let error = if found == wanted { 0.0 } else { ((found - wanted) / wanted).abs() };
                assert!(
                    error <= BAR,
                    "{what} of row {} = {found:e}, not {wanted:e} ({error:.1e}): {method} {sigmas:?} {row}",
                    step.index
                );
                worst = worst.max(error);
                weights += 1;
            };
            compare("x", k.x, &row[0]);
            compare("the own output", k.model, &row[1]);
            compare("z", k.d, &row[2]);
            let history = row[3].as_array().unwrap();
            for term in history.chunks_exact(2) {
                let age = term[0].as_u64().unwrap() as usize;
                compare(&format!("the output of age {age}"), k.history.weight(age), &term[1]);
            }
            assert_eq!(k.history.iter().count(), history.len() / 2, "{method}, row {}", step.index);
        }
    }
    println!("{weights} weights: {worst:.1e}");
}

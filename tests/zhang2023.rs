//! Fast sampling of diffusion models with exponential integrator (Zhang and Chen 2023, arXiv 2204.13902): DEIS in its variables, iPNDM,
//! and linear multistep methods.

use alphabar::{
    Ddim, Deis, DpmSolver, FinalOrder, Flow, FlowAdamsBashforth, Ipndm, Lms, NoiseLevel, Orders, Path, Plan,
    Prediction, Scale, Solver,
};

use crate::common::methods::{AnyLevel, integral, path, scale_free, sigmas};

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];
const LAMBDAS: [f64; 8] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8];

fn denoise(sigma: f64, y: f64) -> f64 {
    (0.7 * y + 0.3 * sigma.ln()).sin()
}

fn epsilon(sigma: f64, y: f64) -> f64 {
    (y - denoise(sigma, y)) / sigma
}

#[track_caller]
fn close(found: f64, wanted: f64, what: impl core::fmt::Debug) {
    assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what:?}: {found:e}, not {wanted:e}");
}

/// Π_{k≠j} (v − v_k)/(v_j − v_k)
fn lagrange(nodes: &[f64], j: usize, v: f64) -> f64 {
    (0..nodes.len()).filter(|k| *k != j).map(|k| (v - nodes[k]) / (nodes[j] - nodes[k])).product()
}

/// A path to its last level, and one to clean data.
fn paths() -> Vec<(Scale, Path)> {
    SCALES
        .into_iter()
        .flat_map(|scale| {
            let sigmas = LAMBDAS.iter().map(|lambda| (-lambda).exp());
            [(scale, path(scale, &LAMBDAS)), (scale, Path::from_sigmas(&AnyLevel(scale), sigmas).unwrap())]
        })
        .collect()
}

/// y at the end, with the weights of the newest outputs for each step; a step to clean data has one output unless `full`.
fn adams(path: &Path, order: usize, full: bool, weights: impl Fn(&[f64], f64) -> Vec<f64>) -> f64 {
    let sigmas = sigmas(path);
    let mut y = 0.4;
    let mut outputs: Vec<f64> = Vec::new();
    for i in 0..sigmas.len() - 1 {
        outputs.push(epsilon(sigmas[i], y));
        let n = if sigmas[i + 1] == 0.0 && !full { 1 } else { order.min(i + 1) };
        let nodes: Vec<f64> = (0..n).map(|j| sigmas[i - j]).collect();
        for (j, weight) in weights(&nodes, sigmas[i + 1]).into_iter().enumerate() {
            y += weight * outputs[i - j];
        }
    }
    y
}

/// `linear_multistep_coeff` of k-diffusion, with an exact integral.
#[test]
fn lms_integrates_lagrange_polynomials() {
    let coefficients = |nodes: &[f64], to: f64| {
        (0..nodes.len()).map(|j| integral(nodes[0], to, |sigma| lagrange(nodes, j, sigma))).collect()
    };
    for (scale, path) in paths() {
        for order in 1..=4 {
            for full in [false, true] {
                let lms = Lms::new(order).unwrap();
                let lms = if full { lms.full_order_to_clean() } else { lms };
                let wanted = adams(&path, order, full, coefficients);
                close(scale_free(&path, &lms, 0.4, |_| f64::NAN, denoise), wanted, (scale, order, full));
            }
        }
    }
}

#[test]
fn ipndm_has_the_weights_of_equal_steps() {
    let coefficients = |nodes: &[f64], to: f64| {
        let h = to - nodes[0];
        match nodes.len() {
            1 => vec![h],
            2 => vec![h * 3.0 / 2.0, -h / 2.0],
            3 => vec![h * 23.0 / 12.0, -h * 16.0 / 12.0, h * 5.0 / 12.0],
            _ => vec![h * 55.0 / 24.0, -h * 59.0 / 24.0, h * 37.0 / 24.0, -h * 9.0 / 24.0],
        }
    };
    for (scale, path) in paths() {
        for order in 1..=4 {
            for full in [false, true] {
                let ipndm = Ipndm::new(order).unwrap();
                let ipndm = if full { ipndm.full_order_to_clean() } else { ipndm };
                let wanted = adams(&path, order, full, coefficients);
                close(scale_free(&path, &ipndm, 0.4, |_| f64::NAN, denoise), wanted, (scale, order, full));
            }
        }
    }
}

/// On equal steps of σ = noise/signal, iPNDM is LMS.
#[test]
fn ipndm_is_lms_on_equal_steps() {
    let path = Path::from_sigmas(&AnyLevel(Scale::VarianceExploding), (0..8).map(|i| f64::from(9 - i))).unwrap();
    for order in 1..=4 {
        let ipndm = Plan::along(&path, &Ipndm::new(order).unwrap()).unwrap();
        let lms = Plan::along(&path, &Lms::new(order).unwrap()).unwrap();
        for (ipndm, lms) in ipndm.steps().iter().zip(lms.steps()) {
            for age in 1..4 {
                let weight = |step: &alphabar::Step| step.coefficients.history.weight(age);
                close(weight(ipndm), weight(lms), (order, age));
            }
            close(ipndm.coefficients.model, lms.coefficients.model, order);
        }
    }
}

#[test]
fn deis_is_dpm_solver_in_log_rho_and_lms_in_rho() {
    for (_, path) in paths() {
        for order in 1..=4 {
            for orders in [Orders::new(order).unwrap(), Orders::new(order).unwrap().ending(FinalOrder::Lowered)] {
                let rows = |solver: &dyn Solver| Plan::along(&path, &solver).unwrap().steps().to_vec();
                let log_rho = Deis::log_rho(order).unwrap();
                assert_eq!(rows(&log_rho), rows(&DpmSolver::multistep(order).unwrap()));
                let dpm_solver = DpmSolver::multistep(order).unwrap().orders(orders.clone());
                assert_eq!(rows(&log_rho.orders(orders.clone())), rows(&dpm_solver));
                let lms = Lms::new(order).unwrap().orders(orders.clone());
                assert_eq!(rows(&Deis::rho(order).unwrap().orders(orders)), rows(&lms));
            }
        }
    }
}

/// DEIS by its definition: the integral of the polynomial in log ρ against dρ.
#[test]
fn deis_integrates_polynomials_in_log_rho() {
    let coefficients = |nodes: &[f64], to: f64| {
        let logs: Vec<f64> = nodes.iter().map(|rho| rho.ln()).collect();
        (0..nodes.len()).map(|j| integral(nodes[0], to, |rho| lagrange(&logs, j, rho.ln()))).collect()
    };
    for scale in SCALES {
        let path = path(scale, &LAMBDAS);
        for order in 1..=4 {
            let wanted = adams(&path, order, true, coefficients);
            let deis = Deis::log_rho(order).unwrap().orders(Orders::new(order).unwrap());
            close(scale_free(&path, &deis, 0.4, |_| f64::NAN, denoise), wanted, (scale, order));
        }
    }
}

/// The velocity of a flow, at a flow's σ and a flow's x.
fn velocity(sigma: f64, x: f64) -> f64 {
    (0.7 * x + 0.3 * sigma).sin()
}

fn flow_run(path: &Path, solver: &impl Solver, x: f64) -> f64 {
    let plan = Plan::builder_along(path).prediction(Prediction::Flow).build(solver).unwrap();
    let total = |level: &NoiseLevel| level.signal() + level.noise();
    let network = |step: &alphabar::Step, x: f64| velocity(step.from.flow_sigma(), x / total(&step.from));
    crate::common::methods::run(plan.steps(), x * total(&plan.start()), network) / total(&plan.end())
}

#[test]
fn the_flow_s_method_integrates_its_velocity() {
    for (scale, path) in paths() {
        for order in 1..=4 {
            for full in [false, true] {
                let sigmas: Vec<f64> = sigmas(&path).into_iter().map(|sigma| sigma / (1.0 + sigma)).collect();
                let mut x = 0.4;
                let mut outputs: Vec<f64> = Vec::new();
                for i in 0..sigmas.len() - 1 {
                    outputs.push(velocity(sigmas[i], x));
                    let d = sigmas[i + 1] - sigmas[i];
                    match if sigmas[i + 1] == 0.0 && !full { 1 } else { order.min(i + 1) } {
                        1 => x += d * outputs[i],
                        2 => {
                            let h = sigmas[i] - sigmas[i - 1];
                            x += (d + d * d / (2.0 * h)) * outputs[i] - d * d / (2.0 * h) * outputs[i - 1];
                        }
                        n => {
                            let nodes: Vec<f64> = (0..n).map(|j| sigmas[i - j]).collect();
                            for j in 0..n {
                                x += outputs[i - j] * integral(sigmas[i], sigmas[i + 1], |v| lagrange(&nodes, j, v));
                            }
                        }
                    }
                }
                let solver = FlowAdamsBashforth::new(order).unwrap();
                let solver = if full { solver.full_order_to_clean() } else { solver };
                close(flow_run(&path, &solver, 0.4), x, (scale, order, full));
            }
        }
    }
}

/// From pure noise, where the velocity is as good as elsewhere: the second step is of order 2.
#[test]
fn a_flow_s_first_output_counts() {
    let path = Flow::sd3().unwrap().path(6).unwrap();
    let build = |solver: &dyn Solver| Plan::builder_along(&path).prediction(Prediction::Flow).build(&solver).unwrap();
    let plan = build(&FlowAdamsBashforth::new(2).unwrap());
    let counts: Vec<usize> = plan.steps().iter().map(|step| step.coefficients.history.iter().count()).collect();
    assert_eq!(counts, [0, 1, 1, 1, 1, 0]);
    let sigmas: Vec<f64> = plan.steps().iter().map(|step| step.from.flow_sigma()).collect();
    let (d, h) = (sigmas[2] - sigmas[1], sigmas[1] - sigmas[0]);
    let k = &plan.steps()[1].coefficients;
    close(k.x, 1.0, "x");
    close(k.model, d + d * d / (2.0 * h), "u₀");
    close(k.history.weight(1), -d * d / (2.0 * h), "u₁");
    // Order 1 is Euler's step, and DDIM.
    let (euler, ddim) = (build(&FlowAdamsBashforth::new(1).unwrap()), build(&Ddim::deterministic()));
    for (euler, ddim) in euler.steps().iter().zip(ddim.steps()) {
        close(euler.coefficients.x, ddim.coefficients.x, "x");
        close(euler.coefficients.model, ddim.coefficients.model, "u");
    }
}

/// How many outputs each step reads, its own among them.
#[test]
fn orders_rise_and_fall_as_asked() {
    let orders = Orders::new(3).unwrap().ending(FinalOrder::Lowered).starting_with([1, 1, 2]).unwrap();
    let path = path(Scale::Flow, &LAMBDAS);
    let counts = |solver: &dyn Solver| -> Vec<usize> {
        let plan = Plan::builder_along(&path).prediction(Prediction::Flow).build(&solver).unwrap();
        plan.steps().iter().map(|step| step.coefficients.history.iter().count() + 1).collect()
    };
    let expected = [1, 1, 2, 3, 3, 2, 1];
    assert_eq!(counts(&Lms::new(4).unwrap().orders(orders.clone())), expected);
    assert_eq!(counts(&Ipndm::new(4).unwrap().orders(orders.clone())), expected);
    assert_eq!(counts(&FlowAdamsBashforth::new(4).unwrap().orders(orders)), expected);
    assert_eq!(counts(&Lms::new(3).unwrap()), [1, 2, 3, 3, 3, 3, 3]);
}

#[test]
fn orders_outside_the_domain_are_refused() {
    for order in [0, 5] {
        assert!(Lms::new(order).is_err() && Ipndm::new(order).is_err() && FlowAdamsBashforth::new(order).is_err());
        assert!(Deis::log_rho(order).is_err() && Deis::rho(order).is_err());
    }
}

#[cfg(feature = "serde")]
#[test]
fn methods_come_back_as_they_were_stored() {
    use alphabar::{Dpm2, DpmSolverPp, Heun, Interpolation, Middle, Pndm, Rk4, SingleStep};
    fn stored<S: Solver + PartialEq + core::fmt::Debug + serde::Serialize + for<'a> serde::Deserialize<'a>>(
        solver: &S,
    ) -> String {
        let text = serde_json::to_string(solver).unwrap();
        assert_eq!(serde_json::from_str::<S>(&text).unwrap(), *solver, "{text}");
        text
    }
    stored(&Lms::new(3).unwrap().full_order_to_clean());
    stored(&Ipndm::new(4).unwrap());
    stored(&FlowAdamsBashforth::new(2).unwrap());
    stored(&Deis::log_rho(3).unwrap());
    stored(&Deis::rho(2).unwrap());
    stored(&Pndm::plms());
    stored(&Pndm::with_runge_kutta(Middle::Sigma));
    stored(&Heun::new());
    stored(&Rk4::new());
    assert_eq!(stored(&Dpm2::ancestral(0.5).unwrap()), r#"{"eta":0.5}"#);
    stored(&DpmSolver::single_step(3).unwrap());
    let points = DpmSolverPp::single_step(2).unwrap().on_the_points(FinalOrder::Lowered);
    let text = stored(&points.interpolation(Interpolation::Exact));
    assert!(serde_json::from_str::<SingleStep>(&text.replace(r#""order":2"#, r#""order":4"#)).is_err(), "{text}");
    assert!(serde_json::from_str::<Dpm2>(r#"{"eta":-1.0}"#).is_err());
    assert!(serde_json::from_str::<Lms>(r#"{"orders":{"order":7}}"#).is_err());
}

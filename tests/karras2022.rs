//! Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al. 2022, arXiv 2206.00364): the samplers, typed from the
//! paper line by line, and those that k-diffusion made of them.

use alphabar::noise::Brownian;
use alphabar::{
    Conditioning, Dpm2, DpmSolver, DpmSolverPp, Draw, Error, FinalOrder, Heun, Ipndm, Lint, Lms, Middle, NoiseLevel,
    NoiseSource, Path, Plan, Pndm, Point, Prediction, Rk4, Scale, Solver,
};

use crate::common::methods::{AnyLevel, path, scale_free, sigmas};

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];
const LAMBDAS: [f64; 8] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8];

/// D(x; σ), of x in the variance-exploding scale.
fn denoise(sigma: f64, x: f64) -> f64 {
    (0.7 * x + 0.3 * sigma.ln()).sin()
}

/// dx/dσ = (x − D(x; σ))/σ: line 4.
fn slope(sigma: f64, x: f64) -> f64 {
    (x - denoise(sigma, x)) / sigma
}

#[track_caller]
fn close(found: f64, wanted: f64, what: impl core::fmt::Debug) {
    assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what:?}: {found:e}, not {wanted:e}");
}

/// The path of the test to its last level, and to clean data.
fn paths() -> Vec<(Scale, Path)> {
    SCALES
        .into_iter()
        .flat_map(|scale| {
            let sigmas = LAMBDAS.iter().map(|lambda| (-lambda).exp());
            let clean = Path::from_sigmas(&AnyLevel(scale), sigmas).unwrap();
            [(scale, path(scale, &LAMBDAS)), (scale, clean)]
        })
        .collect()
}

/// Noise that no formula foresees.
fn z(row: usize) -> f64 {
    (1.7 * row as f64).cos()
}

#[test]
fn algorithm_1_is_heun() {
    for (scale, path) in paths() {
        let t = sigmas(&path);
        let mut x = 0.4;
        for i in 0..t.len() - 1 {
            let d = slope(t[i], x);
            let mut next = x + (t[i + 1] - t[i]) * d;
            if t[i + 1] != 0.0 {
                let d_next = slope(t[i + 1], next);
                next = x + (t[i + 1] - t[i]) * (0.5 * d + 0.5 * d_next);
            }
            x = next;
        }
        close(scale_free(&path, &Heun::new(), 0.4, |_| f64::NAN, denoise), x, scale);
    }
}

#[test]
fn algorithm_2_is_heun_on_a_path_with_churn() {
    for (scale, plain) in paths() {
        let (total, range, s_noise) = (2.5, 0.2..=5.0, 1.007);
        let path = plain.clone().churned(&AnyLevel(scale), total, range.clone(), s_noise).unwrap();
        let t = sigmas(&plain);
        let gamma = |t: f64| {
            if range.contains(&t) { (total / plain.len() as f64).min(core::f64::consts::SQRT_2 - 1.0) } else { 0.0 }
        };
        let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&Heun::new()).unwrap();
        // The first lift is part of the noise from which the run starts.
        let mut x_hat = 0.4;
        let mut t_hat = t[0] + gamma(t[0]) * t[0];
        close(plan.start().sigma(), t_hat, "the start");
        let mut row = 0;
        let mut end = x_hat;
        for i in 0..t.len() - 1 {
            let d = slope(t_hat, x_hat);
            let mut next = x_hat + (t[i + 1] - t_hat) * d;
            if t[i + 1] != 0.0 {
                let d_next = slope(t[i + 1], next);
                next = x_hat + (t[i + 1] - t_hat) * (0.5 * d + 0.5 * d_next);
                row += 1;
            }
            end = next;
            if i + 1 < plain.len() {
                // z of the row that ends the leg
                t_hat = t[i + 1] + gamma(t[i + 1]) * t[i + 1];
                x_hat = next + (t_hat * t_hat - t[i + 1] * t[i + 1]).sqrt() * s_noise * z(row);
            }
            row += 1;
        }
        assert_eq!(plan.len(), row);
        close(scale_free(&path, &Heun::new(), 0.4, z, denoise), end, scale);
    }
}

/// k-diffusion's `sample_dpm_2` and `sample_dpm_2_ancestral`.
#[test]
fn dpm2_is_the_midpoint_rule_in_ln_sigma() {
    for (scale, path) in paths() {
        for eta in [0.0, 0.6, 1.0] {
            let t = sigmas(&path);
            let mut x = 0.4;
            let mut row = 0;
            for i in 0..t.len() - 1 {
                let up = eta * (t[i + 1].powi(2) * (t[i].powi(2) - t[i + 1].powi(2)) / t[i].powi(2)).sqrt();
                let down = (t[i + 1].powi(2) - up.powi(2)).sqrt();
                let d = slope(t[i], x);
                if down == 0.0 {
                    x += d * (down - t[i]);
                } else {
                    let middle = (0.5 * (t[i].ln() + down.ln())).exp();
                    let x_2 = x + d * (middle - t[i]);
                    x += slope(middle, x_2) * (down - t[i]);
                    row += 1;
                }
                x += up * z(row);
                row += 1;
            }
            let solver = Dpm2::ancestral(eta).unwrap();
            close(scale_free(&path, &solver, 0.4, z, denoise), x, (scale, eta));
        }
        let rows = |solver: Dpm2| Plan::along(&path, &solver).unwrap();
        assert_eq!(rows(Dpm2::deterministic()), rows(Dpm2::ancestral(0.0).unwrap()));
    }
}

#[test]
fn the_classical_method_takes_its_four_slopes() {
    for (scale, path) in paths() {
        let t = sigmas(&path);
        let mut x = 0.4;
        for i in 0..t.len() - 1 {
            let (from, to) = (t[i], t[i + 1]);
            let h = to - from;
            if to == 0.0 {
                x += h * slope(from, x);
                continue;
            }
            let middle = 0.5 * (from + to);
            let k1 = slope(from, x);
            let k2 = slope(middle, x + 0.5 * h * k1);
            let k3 = slope(middle, x + 0.5 * h * k2);
            let k4 = slope(to, x + h * k3);
            x += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
        }
        close(scale_free(&path, &Rk4::new(), 0.4, |_| f64::NAN, denoise), x, scale);
    }
}

/// Where the network is called, and what warnings there are.
#[test]
fn the_rows_of_a_leg_go_through_its_inner_points() {
    let path = path(Scale::VarianceExploding, &LAMBDAS);
    let sigmas = sigmas(&path);
    let lint = |solver: &dyn Solver| {
        let plan = Plan::along(&path, &solver).unwrap();
        plan.lint()
            .into_iter()
            .filter(|lint| !matches!(lint, Lint::StartsWithSignal { .. } | Lint::EndsAboveClean { .. }))
            .collect::<Vec<_>>()
    };
    for solver in [&Heun::new() as &dyn Solver, &Rk4::new(), &Dpm2::deterministic(), &Dpm2::ancestral(1.0).unwrap()] {
        assert_eq!(lint(solver), [], "{}", solver.name());
    }
    let plan = Plan::along(&path, &Rk4::new()).unwrap();
    for (leg, steps) in plan.steps().chunks(4).enumerate() {
        let (from, to) = (sigmas[leg], sigmas[leg + 1]);
        let middle = 0.5 * (from + to);
        for (step, (sigma, next)) in steps.iter().zip([(from, middle), (middle, middle), (middle, to), (to, to)]) {
            close(step.from.sigma(), sigma, "from");
            close(step.to.sigma(), next, "to");
            close(step.t, -sigma.ln(), "t");
            close(step.s.unwrap(), -next.ln(), "s");
        }
        assert_eq!(steps[3].to, path.points().get(leg + 1).map_or(path.end(), |point| point.level));
    }
}

#[test]
fn what_a_path_cannot_give_is_named() {
    let points =
        [4.0_f64, 2.0, 1.0, 0.5].map(|sigma| Point::new(sigma.ln(), NoiseLevel::variance_exploding(sigma).unwrap()));
    let path = Path::new(points).unwrap();
    // Heun's second call is at a point of the path.
    assert_eq!(Plan::along(&path, &Heun::new()).unwrap().len(), 7);
    for solver in [&Rk4::new() as &dyn Solver, &Dpm2::deterministic()] {
        let error = Plan::along(&path, &solver).unwrap_err();
        assert!(
            matches!(error, Error::AtStep { index: 0, ref source, .. } if matches!(**source, Error::NoProcess)),
            "{error}"
        );
    }
    let encoding = crate::common::methods::path(Scale::Flow, &LAMBDAS).encoding(Conditioning::Source);
    assert!(Plan::along(&encoding, &Heun::new()).is_ok());
    let error = Plan::along(&encoding, &Dpm2::ancestral(0.5).unwrap()).unwrap_err();
    assert!(
        matches!(error, Error::AtStep { index: 0, ref source, .. } if matches!(**source, Error::NotReversible { .. })),
        "{error}"
    );
    for eta in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(Dpm2::ancestral(eta), Err(Error::Parameter { .. })));
    }
    let error = Plan::along(&crate::common::methods::path(Scale::Flow, &LAMBDAS), &Dpm2::ancestral(2.0).unwrap());
    assert!(matches!(error, Err(Error::AtStep { source, .. }) if matches!(*source, Error::EtaTooLarge { .. })));
}

/// To the noise and back, deterministic methods of order 2 and more lose little.
#[test]
fn deterministic_methods_encode() {
    let lambdas: Vec<f64> = (0..=40).map(|i| -2.0 + 0.1 * f64::from(i)).collect();
    let path = path(Scale::VariancePreserving, &lambdas);
    for (solver, loss) in [
        (&Heun::new() as &dyn Solver, 1e-2),
        (&Dpm2::deterministic(), 1e-2),
        (&Rk4::new(), 1e-5),
        (&DpmSolver::single_step(2).unwrap(), 1e-2),
        (&DpmSolver::single_step(3).unwrap(), 1e-3),
        (&DpmSolverPp::single_step(2).unwrap(), 1e-2),
        (&DpmSolverPp::single_step(2).unwrap().on_the_points(FinalOrder::Lowered), 1e-1),
        (&Lms::new(3).unwrap(), 1e-1),
        (&Ipndm::new(2).unwrap(), 1e-1),
        (&Pndm::plms(), 1e-2),
        (&Pndm::with_runge_kutta(Middle::Time), 1e-2),
    ] {
        let encoded = scale_free(&path.clone().encoding(Conditioning::Source), &solver, 0.4, |_| f64::NAN, denoise);
        let decoded = scale_free(&path, &solver, encoded, |_| f64::NAN, denoise);
        assert!((decoded - 0.4).abs() < loss, "{}: {decoded}", solver.name());
        assert!((encoded - 0.4).abs() > 0.1, "{}: {encoded}", solver.name());
    }
}

/// With η = 1 the middle is at σ_s, where nothing is left of the leg; its noise is that of the whole leg.
#[test]
fn brownian_noise_of_an_ancestral_row_is_that_of_its_leg() {
    let path = path(Scale::VarianceExploding, &LAMBDAS);
    let plan = Plan::along(&path, &Dpm2::ancestral(1.0).unwrap()).unwrap();
    let mut noise = Brownian::new(7, &plan);
    let mut euler = Brownian::new(7, &Plan::along(&path, &alphabar::Ddim::new(1.0).unwrap()).unwrap());
    let like = vec![0.0_f64; 3];
    for leg in 0..LAMBDAS.len() - 1 {
        let of_row = noise.noise(&like, Draw::Step(2 * leg + 1)).unwrap();
        assert_eq!(of_row, euler.noise(&like, Draw::Step(leg)).unwrap());
    }
}

//! DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) and DPM-Solver (arXiv 2206.00927), typed from the papers line by line.

use alphabar::{
    DpmSolver, DpmSolverPp, FinalOrder, Interpolation, NoiseLevel, NoiseSchedule, Orders, Path, Plan, Prediction,
    Scale, Solver, Timesteps,
};

use crate::common::methods::{AnyLevel, lambda, path, run};

const LAMBDAS: [f64; 8] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8];

/// A network that no formula foresees.
fn x0(level: &NoiseLevel, x: f64) -> f64 {
    (0.7 * x + 0.3 * lambda(level)).sin()
}

#[track_caller]
fn close(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what}: {found:e}, not {wanted:e}");
}

fn plan(solver: &impl Solver, prediction: Prediction) -> Plan {
    Plan::builder_along(&path(Scale::VariancePreserving, &LAMBDAS)).prediction(prediction).build(solver).unwrap()
}

fn levels() -> Vec<NoiseLevel> {
    let plan = plan(&DpmSolverPp::multistep(1).unwrap(), Prediction::Sample);
    plan.steps().iter().map(|step| step.from).chain([plan.end()]).collect()
}

/// Algorithm 2 of DPM-Solver++: 2M.
#[test]
fn algorithm_2_is_2m() {
    let levels = levels();
    let mut x = 0.4;
    let mut buffer: Vec<f64> = Vec::new();
    for i in 1..levels.len() {
        let (s, t) = (&levels[i - 1], &levels[i]);
        let h = lambda(t) - lambda(s);
        let d = match buffer.last() {
            None => x0(s, x),
            Some(before) => {
                let r = (lambda(s) - lambda(&levels[i - 2])) / h;
                (1.0 + 1.0 / (2.0 * r)) * x0(s, x) - 1.0 / (2.0 * r) * before
            }
        };
        buffer.push(x0(s, x));
        x = t.noise() / s.noise() * x - t.signal() * ((-h).exp() - 1.0) * d;
    }
    let solver = DpmSolverPp::multistep(2).unwrap().orders(Orders::new(2).unwrap());
    let plan = plan(&solver, Prediction::Sample);
    close(run(plan.steps(), 0.4, |step, x| x0(&step.from, x)), x, "2M");
}

/// The third order as the authors' code has it, and with twice its second difference; ODE and SDE (k = 1 + τ²).
#[test]
fn third_order_differences_are_those_of_the_code() {
    for (interpolation, share) in [(Interpolation::Published, 1.0), (Interpolation::Exact, 2.0)] {
        for tau in [0.0, 1.0] {
            let k = 1.0 + tau * tau;
            let levels = levels();
            let mut x = 0.4;
            let mut m: Vec<f64> = Vec::new();
            for i in 1..levels.len() {
                let (s, t) = (&levels[i - 1], &levels[i]);
                let h = lambda(t) - lambda(s);
                m.push(x0(s, x));
                let at = |back: usize| m[i - 1 - back];
                let gap = |back: usize| lambda(&levels[i - back]) - lambda(&levels[i - 1 - back]);
                let kh = k * h;
                let first = 1.0 - (-kh).exp();
                let f = ((-kh).exp() - 1.0) / kh + 1.0;
                let g = share * (0.5 - ((-kh).exp() - 1.0 + kh) / (kh * kh));
                let increment = match i {
                    1 => first * at(0),
                    2 => {
                        let r = gap(1) / h;
                        let c = if interpolation == Interpolation::Published { first / 2.0 } else { f };
                        first * at(0) + c * (at(0) - at(1)) / r
                    }
                    _ => {
                        let (r0, r1) = (gap(1) / h, gap(2) / h);
                        let (d0, d1) = ((at(0) - at(1)) / r0, (at(1) - at(2)) / r1);
                        let first_difference = d0 + r0 / (r0 + r1) * (d0 - d1);
                        let second_difference = (d0 - d1) / (r0 + r1);
                        first * at(0) + f * first_difference + g * second_difference
                    }
                };
                x = t.noise() / s.noise() * (-tau * tau * h).exp() * x + t.signal() * increment;
            }
            let solver =
                DpmSolverPp::multistep(3).unwrap().interpolation(interpolation).orders(Orders::new(3).unwrap());
            let plan = plan(&solver.stochastic(tau).unwrap(), Prediction::Sample);
            close(run(plan.steps(), 0.4, |step, x| x0(&step.from, x)), x, "3M");
            if tau > 0.0 {
                for step in plan.steps() {
                    let h = lambda(&step.to) - lambda(&step.from);
                    close(step.coefficients.d, step.to.noise() * (1.0 - (-2.0 * h).exp()).sqrt(), "the noise of τ = 1");
                }
            }
        }
    }
}

/// The multistep form of DPM-Solver-2: Eq. 3.7 of DPM-Solver with the difference of Adams–Bashforth; and SDE-DPM-Solver-1.
#[test]
fn dpm_solver_interpolates_epsilon() {
    let levels = levels();
    let epsilon = |level: &NoiseLevel, x: f64| (x - level.signal() * x0(level, x)) / level.noise();
    let mut x = 0.4;
    let mut before: Option<f64> = None;
    for i in 1..levels.len() {
        let (s, t) = (&levels[i - 1], &levels[i]);
        let h = lambda(t) - lambda(s);
        let now = epsilon(s, x);
        let slope = before.map_or(0.0, |before| (now - before) / (lambda(s) - lambda(&levels[i - 2])));
        // ∫ e^{−λ} dλ and ∫ e^{−λ}·(λ − λ_s) dλ over the step, times α_t
        x = t.signal() / s.signal() * x - t.noise() * ((h.exp() - 1.0) * now + (h.exp() - 1.0 - h) * slope);
        before = Some(now);
    }
    let solver = DpmSolver::multistep(2).unwrap().orders(Orders::new(2).unwrap());
    let second = plan(&solver, Prediction::Epsilon);
    close(run(second.steps(), 0.4, |step, x| epsilon(&step.from, x)), x, "DPM-Solver-2");

    let sde = plan(&DpmSolver::multistep(1).unwrap().stochastic(1.0).unwrap(), Prediction::Epsilon);
    for step in sde.steps() {
        let (s, t) = (&step.from, &step.to);
        let h = lambda(t) - lambda(s);
        close(step.coefficients.x, t.signal() / s.signal(), "x");
        close(step.coefficients.model, -2.0 * t.noise() * (h.exp() - 1.0), "ε");
        close(step.coefficients.d, t.noise() * ((2.0 * h).exp() - 1.0).sqrt(), "z");
    }
}

/// On Stable Diffusion's schedule with Karras's σ, the coefficients that diffusers 0.42.1 has, by its formulas in σ.
#[test]
fn the_order_falls_at_the_end_of_short_paths() {
    let schedule = NoiseSchedule::stable_diffusion().unwrap();
    let ages = |steps: usize| -> Vec<usize> {
        let path = Path::karras(&schedule, steps).unwrap();
        let plan = Plan::along(&path, &DpmSolverPp::multistep(3).unwrap()).unwrap();
        plan.steps().iter().map(|step| step.coefficients.history.iter().count()).collect()
    };
    assert_eq!(ages(6), [0, 1, 2, 2, 1, 0]);
    assert_eq!(ages(15)[11..], [2, 2, 2, 0]);
    // A start part-way begins with the first order again.
    let tau = Timesteps::trailing(1000, 20).unwrap();
    let path = Path::trained(&schedule, &tau).unwrap().with_strength(0.5).unwrap();
    let plan = Plan::along(&path, &DpmSolverPp::multistep(2).unwrap()).unwrap();
    assert_eq!((plan.len(), plan.steps()[0].coefficients.history.is_empty()), (10, true));
    assert_eq!(plan.steps()[1].coefficients.history.iter().count(), 1);
}

// ------------------------------------------------------------------------------------------------- single-step methods

const SCALES: [Scale; 3] = [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow];

/// ε and x̂₀ of a network that depends on x/signal and λ alone; levels as (signal, noise).
fn x0_of([alpha, sigma]: [f64; 2], x: f64) -> f64 {
    (0.7 * x / alpha + 0.3 * (alpha / sigma).ln()).sin()
}

fn epsilon_of([alpha, sigma]: [f64; 2], x: f64) -> f64 {
    (x - alpha * x0_of([alpha, sigma], x)) / sigma
}

/// α and σ at λ in a scale.
fn at_lambda(scale: Scale, lambda: f64) -> [f64; 2] {
    let rho = (-lambda).exp();
    let alpha = match scale {
        Scale::VariancePreserving => 1.0 / (1.0 + rho * rho).sqrt(),
        Scale::Flow => 1.0 / (1.0 + rho),
        _ => 1.0,
    };
    [alpha, alpha * rho]
}

fn end_of(path: &Path, solver: &impl Solver, x: f64) -> f64 {
    let plan = Plan::builder_along(path).prediction(Prediction::Sample).build(solver).unwrap();
    run(plan.steps(), x, |step, x| x0_of([step.conditioned_on.signal(), step.conditioned_on.noise()], x))
}

/// Algorithm 1 of DPM-Solver: DPM-Solver-2 with r₁ = ½.
#[test]
fn algorithm_1_is_dpm_solver_2() {
    for scale in SCALES {
        let mut x = 0.4;
        for i in 1..LAMBDAS.len() {
            let h = LAMBDAS[i] - LAMBDAS[i - 1];
            let (last, now) = (at_lambda(scale, LAMBDAS[i - 1]), at_lambda(scale, LAMBDAS[i]));
            let s = at_lambda(scale, f64::midpoint(LAMBDAS[i - 1], LAMBDAS[i]));
            let u = s[0] / last[0] * x - s[1] * ((h / 2.0).exp() - 1.0) * epsilon_of(last, x);
            x = now[0] / last[0] * x - now[1] * (h.exp() - 1.0) * epsilon_of(s, u);
        }
        close(end_of(&path(scale, &LAMBDAS), &DpmSolver::single_step(2).unwrap(), 0.4), x, "DPM-Solver-2");
    }
}

/// Algorithm 2 of DPM-Solver: DPM-Solver-3 with r₁ = ⅓ and r₂ = ⅔.
#[test]
fn algorithm_2_is_dpm_solver_3() {
    let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0);
    for scale in SCALES {
        let mut x = 0.4;
        for i in 1..LAMBDAS.len() {
            let h = LAMBDAS[i] - LAMBDAS[i - 1];
            let (last, now) = (at_lambda(scale, LAMBDAS[i - 1]), at_lambda(scale, LAMBDAS[i]));
            let s1 = at_lambda(scale, LAMBDAS[i - 1] + r1 * h);
            let s2 = at_lambda(scale, LAMBDAS[i - 1] + r2 * h);
            let e = epsilon_of(last, x);
            let u1 = s1[0] / last[0] * x - s1[1] * ((r1 * h).exp() - 1.0) * e;
            let d1 = epsilon_of(s1, u1) - e;
            let u2 = s2[0] / last[0] * x
                - s2[1] * ((r2 * h).exp() - 1.0) * e
                - s2[1] * r2 / r1 * (((r2 * h).exp() - 1.0) / (r2 * h) - 1.0) * d1;
            let d2 = epsilon_of(s2, u2) - e;
            x = now[0] / last[0] * x - now[1] * (h.exp() - 1.0) * e - now[1] / r2 * ((h.exp() - 1.0) / h - 1.0) * d2;
        }
        close(end_of(&path(scale, &LAMBDAS), &DpmSolver::single_step(3).unwrap(), 0.4), x, "DPM-Solver-3");
    }
}

/// Algorithm 1 of DPM-Solver++: 2S with r = ½; and 3S of the authors' code, `singlestep_dpm_solver_third_update`.
#[test]
fn algorithm_1_is_2s() {
    for scale in SCALES {
        let (mut x, mut third) = (0.4, 0.4);
        for i in 1..LAMBDAS.len() {
            let h = LAMBDAS[i] - LAMBDAS[i - 1];
            let (last, now) = (at_lambda(scale, LAMBDAS[i - 1]), at_lambda(scale, LAMBDAS[i]));
            let r = 0.5;
            let s = at_lambda(scale, LAMBDAS[i - 1] + r * h);
            let u = s[1] / last[1] * x - s[0] * ((-r * h).exp() - 1.0) * x0_of(last, x);
            let d = (1.0 - 1.0 / (2.0 * r)) * x0_of(last, x) + 1.0 / (2.0 * r) * x0_of(s, u);
            x = now[1] / last[1] * x - now[0] * ((-h).exp() - 1.0) * d;

            let (r1, r2) = (1.0 / 3.0, 2.0 / 3.0);
            let (s1, s2) = (at_lambda(scale, LAMBDAS[i - 1] + r1 * h), at_lambda(scale, LAMBDAS[i - 1] + r2 * h));
            let (phi_11, phi_12, phi_1) = ((-r1 * h).exp_m1(), (-r2 * h).exp_m1(), (-h).exp_m1());
            let (phi_22, phi_2) = ((-r2 * h).exp_m1() / (r2 * h) + 1.0, phi_1 / h + 1.0);
            let m = x0_of(last, third);
            let u1 = s1[1] / last[1] * third - s1[0] * phi_11 * m;
            let u2 = s2[1] / last[1] * third - s2[0] * phi_12 * m + r2 / r1 * (s2[0] * phi_22) * (x0_of(s1, u1) - m);
            third = now[1] / last[1] * third - now[0] * phi_1 * m + 1.0 / r2 * (now[0] * phi_2) * (x0_of(s2, u2) - m);
        }
        let path = path(scale, &LAMBDAS);
        close(end_of(&path, &DpmSolverPp::single_step(2).unwrap(), 0.4), x, "2S");
        close(end_of(&path, &DpmSolverPp::single_step(3).unwrap(), 0.4), third, "3S");
    }
}

/// The orders of diffusers' `DPMSolverSinglestepScheduler.get_order_list` with `lower_order_final`.
fn order_list(order: usize, steps: usize) -> Vec<usize> {
    let times = |list: &[usize], n: usize| list.repeat(n);
    match (order, steps % 3, steps % 2) {
        (3, 0, _) => [times(&[1, 2, 3], steps / 3 - 1), vec![1, 2], vec![1]].concat(),
        (3, 1, _) => [times(&[1, 2, 3], steps / 3), vec![1]].concat(),
        (3, ..) => [times(&[1, 2, 3], steps / 3), vec![1, 2]].concat(),
        (2, _, 0) => [times(&[1, 2], steps / 2 - 1), vec![1, 1]].concat(),
        (2, ..) => [times(&[1, 2], steps / 2), vec![1]].concat(),
        _ => vec![1; steps],
    }
}

/// diffusers' single-step updates on the points of the list, with `self.sample` and `model_outputs`; data and noise form, midpoint and heun.
fn on_points(scale: Scale, lambdas: &[f64], order: usize, of_data: bool, exact: bool) -> f64 {
    let steps = lambdas.len() - 1;
    let levels: Vec<[f64; 2]> = lambdas.iter().map(|lambda| at_lambda(scale, *lambda)).collect();
    let (mut x, mut sample) = (0.4, 0.4);
    let mut m: Vec<f64> = Vec::new();
    for (i, order) in order_list(order, steps).into_iter().enumerate() {
        m.push(if of_data { x0_of(levels[i], x) } else { epsilon_of(levels[i], x) });
        if order == 1 {
            sample = x;
        }
        let base = i + 1 - order;
        let (s, t) = (levels[base], levels[i + 1]);
        let h = lambdas[i + 1] - lambdas[base];
        let r = |back: usize| (lambdas[i - back] - lambdas[base]) / h;
        // ∓∫ of 1, of (λ − λ_s)/h and of its square over 2, against the kernel
        let (a, one, first, second) = if of_data {
            let e = (-h).exp();
            (t[1] / s[1], -t[0] * (e - 1.0), t[0] * ((e - 1.0) / h + 1.0), -t[0] * ((e - 1.0 + h) / (h * h) - 0.5))
        } else {
            let e = h.exp();
            (t[0] / s[0], -t[1] * (e - 1.0), -t[1] * ((e - 1.0) / h - 1.0), -t[1] * ((e - 1.0 - h) / (h * h) - 0.5))
        };
        x = match order {
            1 => a * sample + one * m[i],
            2 => {
                let d1 = (m[i] - m[base]) / r(0);
                a * sample + one * m[base] + if exact { first * d1 } else { 0.5 * one * d1 }
            }
            _ => {
                let (r0, r1) = (r(0), r(1));
                let (d1_0, d1_1) = ((m[i - 1] - m[base]) / r1, (m[i] - m[base]) / r0);
                let d1 = (r0 * d1_0 - r1 * d1_1) / (r0 - r1);
                let d2 = 2.0 * (d1_1 - d1_0) / (r0 - r1);
                a * sample + one * m[base] + if exact { first * d1 + second * d2 } else { first * d1_1 }
            }
        };
    }
    x
}

#[test]
fn on_the_points_it_is_the_scheduler_of_diffusers() {
    for scale in SCALES {
        for steps in 1..LAMBDAS.len() {
            let lambdas = &LAMBDAS[..=steps];
            for order in 1..=3 {
                for (of_data, exact) in [(false, false), (false, true), (true, false), (true, true)] {
                    let method = if of_data { DpmSolverPp::single_step(order) } else { DpmSolver::single_step(order) };
                    let interpolation = if exact { Interpolation::Exact } else { Interpolation::Published };
                    let method = method.unwrap().interpolation(interpolation).on_the_points(FinalOrder::Lowered);
                    let wanted = on_points(scale, lambdas, order, of_data, exact);
                    let what = format!("{scale:?}, {steps} steps of order {order}, data {of_data}, exact {exact}");
                    close(end_of(&path(scale, lambdas), &method, 0.4), wanted, &what);
                }
            }
        }
    }
}

/// How many earlier outputs each row reads on the points: the orders, less one.
#[test]
fn groups_end_where_the_list_says() {
    let orders = |steps: usize, order: usize, last: FinalOrder| -> Vec<usize> {
        let lambdas: Vec<f64> = (0..=steps).map(|i| -2.0 + 0.3 * i as f64).collect();
        let method = DpmSolverPp::single_step(order).unwrap().on_the_points(last);
        let plan = plan_of(&path(Scale::Flow, &lambdas), &method);
        plan.steps().iter().map(|step| step.coefficients.history.iter().count() + 1).collect()
    };
    for steps in 1..14 {
        for order in 1..=3 {
            assert_eq!(orders(steps, order, FinalOrder::Lowered), order_list(order, steps));
        }
    }
    assert_eq!(orders(6, 3, FinalOrder::Full), [1, 2, 3, 1, 2, 3]);
    assert_eq!(orders(5, 3, FinalOrder::FirstAtLast), [1, 2, 3, 1, 1]);
    assert_eq!(orders(6, 3, FinalOrder::LoweredBelow(7)), [1, 2, 3, 1, 2, 1]);
    assert_eq!(orders(6, 3, FinalOrder::LoweredBelow(6)), [1, 2, 3, 1, 2, 3]);
    assert!(DpmSolver::single_step(0).is_err() && DpmSolverPp::single_step(4).is_err());
}

fn plan_of(path: &Path, solver: &impl Solver) -> Plan {
    Plan::builder_along(path).prediction(Prediction::Velocity).build(solver).unwrap()
}

/// Pure noise, clean data and churn end a group: what follows starts with order 1.
#[test]
fn groups_end_where_lambda_is_infinite_and_where_noise_is_added() {
    let process = AnyLevel(Scale::VariancePreserving);
    let sigmas = [f64::INFINITY, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25];
    let third = DpmSolver::single_step(3).unwrap().on_the_points(FinalOrder::Full);
    let counts = |path: &Path| -> Vec<usize> {
        plan_of(path, &third).steps().iter().map(|step| step.coefficients.history.iter().count() + 1).collect()
    };
    let path = Path::from_sigmas(&process, sigmas).unwrap();
    assert_eq!(counts(&path), [1, 1, 2, 1, 2, 3, 1]);
    let finite = Path::from_sigmas(&process, sigmas.into_iter().skip(1)).unwrap();
    assert_eq!(counts(&finite), [1, 2, 3, 1, 2, 1]);
    let churned = finite.churned(&process, 0.5, 3.0..=5.0, 1.0).unwrap();
    assert_eq!(counts(&churned), [1, 1, 2, 1, 2, 1]);
}

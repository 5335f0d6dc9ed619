//! DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) and DPM-Solver (arXiv 2206.00927), typed from the papers line by line.

use alphabar::{
    DpmSolver, DpmSolverPp, Interpolation, NoiseLevel, NoiseSchedule, Orders, Path, Plan, Prediction, Scale, Solver,
    Timesteps,
};

use crate::common::methods::{lambda, path, run};

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

//! SA-Solver (Xue et al. 2023, arXiv 2309.05019): Algorithm 1 with its two states, Lagrange's polynomials and quadrature.

use alphabar::{
    Ddim, DpmSolver, DpmSolverPp, Error, Interpolation, Leg, NoiseLevel, NoiseSchedule, Orders, Path, Plan, Prediction,
    SaSolver, Scale, Solver, State, Tau, UniPc, UniPcWeights,
};

use crate::common::methods::{integral, lambda, path};

const LAMBDAS: [f64; 9] = [-2.3, -1.9, -1.2, -0.9, -0.1, 0.4, 1.3, 1.8, 2.6];
const START: f64 = 0.4;
const Z: [f64; 8] = [0.3, -1.2, 0.8, 1.9, -0.4, 0.05, -2.1, 0.6];

fn x0(level: &NoiseLevel, x: f64) -> f64 {
    (0.7 * x + 0.3 * lambda(level)).sin()
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

/// l_j(λ) of the polynomial through these λ.
fn lagrange(nodes: &[f64], j: usize, at: f64) -> f64 {
    (0..nodes.len()).filter(|i| *i != j).map(|i| (at - nodes[i]) / (nodes[j] - nodes[i])).product()
}

struct Run<'a> {
    levels: &'a [NoiseLevel],
    tau: &'a dyn Fn(usize) -> f64,
    predictor: &'a dyn Fn(usize) -> usize,
    /// 0 for none.
    corrector: &'a dyn Fn(usize) -> usize,
    /// The term that the authors' code adds for two outputs.
    published: bool,
    noise_form: bool,
}

impl Run<'_> {
    /// The step to the level i with the outputs of these levels.
    fn step(&self, i: usize, x: f64, interpolated: &[usize], outputs: &[f64]) -> f64 {
        let (s, t) = (&self.levels[i - 1], &self.levels[i]);
        let (a, b) = (lambda(s), lambda(t));
        let h = b - a;
        let tau = (self.tau)(i - 1);
        let (tau2, z) = (tau * tau, Z[i - 1]);
        let k = 1.0 + tau2;
        let nodes: Vec<f64> = interpolated.iter().map(|j| lambda(&self.levels[*j])).collect();
        // ∫ e^{(1+τ²)λ}·l_j dλ, or ∫ e^{−λ}·l_j dλ, of which both ends are divided to stay in range.
        let mut weights: Vec<f64> = (0..nodes.len())
            .map(|j| {
                let kernel = |at: f64| if self.noise_form { (b - at).exp() } else { (-k * (b - at)).exp() };
                integral(a, b, |at| kernel(at) * lagrange(&nodes, j, at))
            })
            .collect();
        if self.published && !self.noise_form && nodes.len() == 2 {
            let excess = h * h / 2.0 - (h * k - 1.0 + (-k * h).exp()) / (k * k);
            // Of the predictor (λ_s − λ_before), and of the corrector (h), by which the newest output gains.
            let term = excess / (nodes[0] - nodes[1]);
            weights[0] += term;
            weights[1] -= term;
        }
        let sum: f64 = weights.iter().zip(interpolated).map(|(weight, j)| weight * outputs[*j]).sum();
        if self.noise_form {
            t.signal() / s.signal() * x - k * t.signal() * (-b).exp() * sum
                + tau * t.noise() * ((2.0 * h).exp() - 1.0).sqrt() * z
        } else {
            t.noise() / s.noise() * (-tau2 * h).exp() * x
                + k * t.signal() * sum
                + t.noise() * (1.0 - (-2.0 * tau2 * h).exp()).sqrt() * z
        }
    }

    fn end(&self) -> f64 {
        let output = if self.noise_form { epsilon } else { x0 };
        let mut corrected = START;
        let mut outputs = vec![output(&self.levels[0], START)];
        for i in 1..self.levels.len() {
            let back = |count: usize| (0..count).map(|j| i - 1 - j);
            let interpolated: Vec<usize> = back((self.predictor)(i - 1)).collect();
            let predicted = self.step(i, corrected, &interpolated, &outputs);
            if i == self.levels.len() - 1 {
                return predicted;
            }
            outputs.push(output(&self.levels[i], predicted));
            corrected = match (self.corrector)(i - 1) {
                0 => predicted,
                order => {
                    let interpolated: Vec<usize> = core::iter::once(i).chain(back(order - 1)).collect();
                    self.step(i, corrected, &interpolated, &outputs)
                }
            };
        }
        corrected
    }
}

/// A run of a plan with the noise Z.
fn noisy(plan: &Plan, network: impl Fn(&NoiseLevel, f64) -> f64) -> f64 {
    let mut state = State::new(vec![START]);
    for (step, z) in plan.steps().iter().zip(Z) {
        let m = network(&step.from, state.x().unwrap()[0]);
        state.step_given(step, vec![m], Some(&vec![z])).unwrap();
    }
    state.into_x().unwrap()[0]
}

#[test]
fn rows_are_algorithm_1_with_two_states() {
    let path = path(Scale::VariancePreserving, &LAMBDAS);
    let levels = levels(&path);
    let steps = levels.len() - 1;
    for p in 1..=4_usize {
        for q in 0..=4_usize {
            for tau in [0.0, 0.6, 1.0] {
                for (published, noise_form) in [(true, false), (false, false), (false, true)] {
                    let predictor = |i: usize| p.min(i + 1).min(steps - i);
                    let corrector = |i: usize| q.min(i + 2).min(steps - i + 1);
                    let typed = Run {
                        levels: &levels,
                        tau: &|_| tau,
                        predictor: &predictor,
                        corrector: &corrector,
                        published,
                        noise_form,
                    };
                    let orders = Orders::new(p).unwrap().ending(alphabar::FinalOrder::Lowered);
                    let mut solver = SaSolver::new(Tau::new(tau).unwrap()).orders(orders);
                    solver = if q == 0 { solver.without_corrector() } else { solver.corrector(q).unwrap() };
                    if !published {
                        solver = solver.exact();
                    }
                    if noise_form {
                        solver = solver.noise_form();
                    }
                    let prediction = if noise_form { Prediction::Epsilon } else { Prediction::Sample };
                    let plan = Plan::builder_along(&path).prediction(prediction).build(&solver).unwrap();
                    let found = noisy(&plan, if noise_form { epsilon } else { x0 });
                    close(found, typed.end(), &format!("{p}, {q}, τ = {tau}, {published}, {noise_form}"));
                }
            }
        }
    }
}

/// τ by steps: where the step starts, for its predictor and for its corrector.
#[test]
fn tau_is_taken_where_the_step_starts() {
    let path = path(Scale::VariancePreserving, &LAMBDAS);
    let levels = levels(&path);
    // σ = e^{−λ}, and the network receives λ.
    let by_sigma = Tau::new(0.8).unwrap().within_sigmas(0.7..=3.0).unwrap();
    let by_time = Tau::new(0.8).unwrap().within_times(-1.0..=0.2).unwrap();
    let tau = |i: usize| if (-1.0..=0.2).contains(&LAMBDAS[i]) { 0.8 } else { 0.0 };
    assert_eq!((0..8).filter(|i| tau(*i) > 0.0).collect::<Vec<_>>(), [3, 4]);
    let predictor = |i: usize| 2.min(i + 1).min(8 - i);
    let corrector = |i: usize| 2.min(9 - i);
    let typed = Run {
        levels: &levels,
        tau: &tau,
        predictor: &predictor,
        corrector: &corrector,
        published: true,
        noise_form: false,
    };
    for strength in [by_sigma, by_time] {
        let plan = Plan::builder_along(&path).prediction(Prediction::Sample).build(&SaSolver::new(strength)).unwrap();
        assert_eq!(
            plan.steps().iter().filter(|step| step.needs_noise()).map(|step| step.index).collect::<Vec<_>>(),
            [3, 4]
        );
        close(noisy(&plan, x0), typed.end(), "τ in a range");
    }
    assert_eq!(Tau::default(), Tau::new(1.0).unwrap().within_times(200.0..=800.0).unwrap());
}

fn rows(solver: &impl Solver, scale: Scale) -> Vec<f64> {
    let plan = Plan::builder_along(&path(scale, &LAMBDAS)).prediction(Prediction::Sample).build(solver).unwrap();
    plan.steps()
        .iter()
        .flat_map(|step| {
            let k = &step.coefficients;
            [k.x, k.model, k.d].into_iter().chain((1..=4).map(|age| k.history.weight(age))).collect::<Vec<_>>()
        })
        .collect()
}

#[track_caller]
fn same(a: &impl Solver, b: &impl Solver) {
    for scale in [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow] {
        for (a, b) in rows(a, scale).into_iter().zip(rows(b, scale)) {
            assert!((a - b).abs() <= 1e-14 * b.abs().max(1e-3), "{a:e}, not {b:e}");
        }
    }
}

#[test]
fn equivalences() {
    let sa = |p: usize, tau: f64| SaSolver::new(Tau::new(tau).unwrap()).orders(Orders::new(p).unwrap());
    for p in 1..=3 {
        // τ = 0 with a corrector of the order p + 1 is UniPC-p.
        let unipc = UniPc::new(p).unwrap().orders(Orders::new(p).unwrap());
        same(&sa(p, 0.0).corrector(p + 1).unwrap().exact(), &unipc.clone().weights(UniPcWeights::Exact));
        same(&sa(p, 0.0).corrector(p + 1).unwrap(), &unipc.weights(UniPcWeights::Bh1));
        // Without a corrector it is SDE-DPM-Solver++, and in the noise form SDE-DPM-Solver.
        let orders = Orders::new(p).unwrap();
        for tau in [0.0, 0.7, 1.0] {
            let plus = DpmSolverPp::multistep(p).unwrap().orders(orders.clone()).interpolation(Interpolation::Exact);
            same(&sa(p, tau).without_corrector().exact(), &plus.stochastic(tau).unwrap());
            let noise = DpmSolver::multistep(p).unwrap().orders(orders.clone());
            same(&sa(p, tau).without_corrector().noise_form(), &noise.stochastic(tau).unwrap());
        }
    }
}

/// Order 1 is the scalar gDDIM with λ = τ, and DDIM with its η.
#[test]
fn the_first_order_is_gddim_and_ddim_with_an_eta() {
    for tau in [0.0, 0.3, 1.0, 1.7] {
        let first = SaSolver::new(Tau::new(tau).unwrap()).orders(Orders::new(1).unwrap()).without_corrector();
        for scale in [Scale::VariancePreserving, Scale::VarianceExploding, Scale::Flow] {
            let plan =
                Plan::builder_along(&path(scale, &LAMBDAS)).prediction(Prediction::Sample).build(&first).unwrap();
            for step in plan.steps() {
                let (t, s) = (&step.from, &step.to);
                let h = lambda(s) - lambda(t);
                let variance = s.noise().powi(2) * (1.0 - (-2.0 * tau * tau * h).exp());
                close(step.coefficients.d.powi(2), variance, "the variance");
                if scale == Scale::VariancePreserving {
                    // gDDIM, Proposition 6, with α for ᾱ.
                    let shares = s.one_minus_alpha_bar() / t.one_minus_alpha_bar() * t.alpha_bar() / s.alpha_bar();
                    close(variance, s.one_minus_alpha_bar() * (1.0 - shares.powf(tau * tau)), "gDDIM");
                }
                let eta = ((1.0 - (-2.0 * tau * tau * h).exp()) / (1.0 - (-2.0 * h).exp())).sqrt();
                let ddim = Ddim::new(eta).unwrap();
                let ddim = Plan::builder_along(
                    &Path::new([step.point()]).unwrap().ending_at(alphabar::Point::new(0.0, *s)).unwrap(),
                )
                .prediction(Prediction::Sample)
                .build(&ddim)
                .unwrap();
                let (of_sa, of_ddim) = (&step.coefficients, &ddim.steps()[0].coefficients);
                for (a, b) in [(of_sa.x, of_ddim.x), (of_sa.model, of_ddim.model), (of_sa.d, of_ddim.d)] {
                    close(a, b, "DDIM");
                }
            }
        }
    }
    // τ = 1 is η = 1, whatever h.
    let leg = Leg::new(NoiseLevel::from_sigma(2.0).unwrap(), NoiseLevel::from_sigma(1.1).unwrap());
    let eta_one = Ddim::new(1.0).unwrap().combine(&leg).unwrap().z();
    close(eta_one, leg.to.noise() * (1.0 - (-2.0 * leg.h()).exp()).sqrt(), "η = 1");
}

#[test]
fn settings_are_checked() {
    for tau in [-0.1, f64::NAN, f64::INFINITY, 11.0] {
        assert!(matches!(Tau::new(tau), Err(Error::Parameter { name: "τ", .. })));
    }
    let tau = Tau::new(1.0).unwrap();
    for range in [2.0..=1.0, f64::NAN..=1.0, 0.0..=f64::NAN, 0.0..=f64::INFINITY] {
        assert!(matches!(tau.within_times(range.clone()), Err(Error::Parameter { .. })));
        assert!(matches!(tau.within_sigmas(range), Err(Error::Parameter { .. })));
    }
    for order in [0, 5] {
        assert!(matches!(SaSolver::new(tau).corrector(order), Err(Error::Count { min: 1, max: 4, .. })));
    }
    // Noise cannot be followed back.
    let schedule = NoiseSchedule::ddpm().unwrap();
    let path = Path::exponential(&schedule, 5).unwrap().encoding(alphabar::Conditioning::Source);
    assert!(matches!(Plan::along(&path, &SaSolver::new(tau)), Err(Error::AtStep { .. })));
    assert!(Plan::along(&path, &SaSolver::new(Tau::new(0.0).unwrap())).is_ok());
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_stored() {
    let solver = SaSolver::new(Tau::new(0.5).unwrap().within_sigmas(0.05..=1.0).unwrap()).corrector(3).unwrap();
    let text = serde_json::to_string(&solver).unwrap();
    assert_eq!(
        text,
        r#"{"tau":{"tau":0.5,"within":{"sigmas":[0.05,1.0]}},"orders":{"order":2,"last":"lowered"},"corrector":3,"weights":"published","form":"data"}"#
    );
    assert_eq!(serde_json::from_str::<SaSolver>(&text).unwrap(), solver);
    for (from, to) in
        [("\"tau\":0.5", "\"tau\":-1.0"), ("[0.05,1.0]", "[1.0,0.05]"), ("\"corrector\":3", "\"corrector\":9")]
    {
        assert!(serde_json::from_str::<SaSolver>(&text.replace(from, to)).is_err(), "{to}");
    }
}

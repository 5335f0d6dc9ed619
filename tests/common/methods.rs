//! Every method of the crate, for tests that hold for all of them, and paths and networks to try them on.

use alphabar::{
    Ddim, Ddpm, Dpm2, DpmSolver, DpmSolverPp, Error, FinalOrder, FlowAdamsBashforth, FlowHeun, Heun, Interpolation,
    Ipndm, Lms, Middle, NoiseLevel, Orders, Path, Plan, Pndm, Point, Prediction, Process, Rk4, SaSolver, Scale, Solver,
    State, Step, Tau, TwoStage, UniPc, UniPcWeights,
};

/// In what a method interpolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// x̂₀ in λ.
    Data,
    /// ε in λ.
    Noise,
    /// ε in ρ = noise/signal.
    Rho,
    /// u in the flow's σ.
    Flow,
    /// Nothing: memoryless.
    None,
}

/// A method, and what it claims.
#[expect(clippy::struct_excessive_bools, reason = "claims are true or not")]
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) solver: Box<dyn Solver>,
    pub(crate) order: usize,
    pub(crate) form: Form,
    /// Polynomials of a degree below this are integrated exactly: the order, or less by one with a corrector.
    pub(crate) degree: usize,
    pub(crate) corrector: bool,
    /// Whether polynomials below the order are integrated exactly on uneven levels.
    pub(crate) exact: bool,
    pub(crate) stochastic: bool,
    /// Whether it needs no earlier steps for its order.
    pub(crate) single_step: bool,
}

impl Method {
    pub(crate) fn new(name: &'static str, order: usize, form: Form, solver: impl Solver + 'static) -> Self {
        Self {
            name,
            solver: Box::new(solver),
            order,
            form,
            degree: order,
            corrector: false,
            exact: true,
            stochastic: false,
            single_step: false,
        }
    }

    pub(crate) fn inexact(self) -> Self {
        Self { exact: false, ..self }
    }

    /// A method whose predictor is of this order, with a corrector.
    pub(crate) fn corrected(self, degree: usize) -> Self {
        Self { degree, corrector: true, ..self }
    }

    pub(crate) fn single_step(self) -> Self {
        Self { single_step: true, exact: false, ..self }
    }

    pub(crate) fn stochastic(self) -> Self {
        Self { stochastic: true, ..self }
    }
}

/// All methods, at full order to the end.
pub(crate) fn methods() -> Vec<Method> {
    let mut all = vec![
        Method::new("DDIM", 1, Form::None, Ddim::deterministic()),
        Method::new("DDIM η = 0.5", 1, Form::None, Ddim::new(0.5).unwrap()).stochastic(),
        Method::new("DDPM", 1, Form::None, Ddpm::default()).stochastic(),
    ];
    let names = ["DPM++ 1", "DPM++ 2M heun", "DPM++ 3M", "DPM++ 4M"];
    for (name, order) in names.into_iter().zip(1..) {
        let orders = Orders::new(order).unwrap();
        let method = DpmSolverPp::multistep(order).unwrap().interpolation(Interpolation::Exact).orders(orders);
        all.push(Method::new(name, order, Form::Data, method));
    }
    for (name, order) in ["DPM 1", "DPM 2", "DPM 3", "DPM 4"].into_iter().zip(1..) {
        let method = DpmSolver::multistep(order).unwrap().orders(Orders::new(order).unwrap());
        all.push(Method::new(name, order, Form::Noise, method));
    }
    for (name, order) in ["SDE-DPM++ 1", "SDE-DPM++ 2M", "SDE-DPM++ 3M"].into_iter().zip(1..) {
        let orders = Orders::new(order).unwrap().ending(FinalOrder::Full);
        let method = DpmSolverPp::multistep(order).unwrap().interpolation(Interpolation::Exact).orders(orders);
        all.push(Method::new(name, order, Form::Data, method.stochastic(1.0).unwrap()).stochastic());
    }
    for (name, order) in ["DPM++ 2M midpoint", "DPM++ 3M as published"].into_iter().zip(2..) {
        let orders = Orders::new(order).unwrap();
        let method = DpmSolverPp::multistep(order).unwrap().interpolation(Interpolation::Published).orders(orders);
        all.push(Method::new(name, 2, Form::Data, method).inexact());
    }
    all.extend(adams());
    all.extend(single_steps());
    all.extend(with_corrector());
    all
}

fn with_corrector() -> Vec<Method> {
    let full = |order: usize| Orders::new(order).unwrap();
    let unipc = |order: usize| UniPc::new(order).unwrap().orders(full(order)).weights(UniPcWeights::Exact);
    let sa = |order: usize, tau: f64| SaSolver::new(Tau::new(tau).unwrap()).orders(full(order)).exact();
    let mut all = Vec::new();
    for (name, order) in ["UniPC-1", "UniPC-2", "UniPC-3", "UniPC-4"].into_iter().zip(1..) {
        all.push(Method::new(name, order + 1, Form::Data, unipc(order)).corrected(order));
    }
    for (name, order) in ["UniPC-1 bh2", "UniPC-2 bh2", "UniPC-3 bh2"].into_iter().zip(1..) {
        let method = Method::new(name, order + 1, Form::Data, unipc(order).weights(UniPcWeights::Bh2)).corrected(order);
        // UniP-2 does not solve its equation.
        all.push(if order == 2 { method.inexact() } else { method });
    }
    let bh1 = unipc(2).weights(UniPcWeights::Bh1);
    all.push(Method::new("UniPC-2 bh1", 3, Form::Data, bh1).corrected(2).inexact());
    for (name, order) in ["UniPC-1 noise", "UniPC-2 noise", "UniPC-3 noise"].into_iter().zip(1..) {
        all.push(Method::new(name, order + 1, Form::Noise, unipc(order).noise_form()).corrected(order));
    }
    all.push(Method::new("UniP-3", 3, Form::Data, unipc(3).without_corrector()));
    all.push(Method::new("SA 2, 2, τ = 0", 2, Form::Data, sa(2, 0.0)).corrected(2));
    all.push(Method::new("SA 2, 2, τ = 1", 2, Form::Data, sa(2, 1.0)).corrected(2).stochastic());
    all.push(Method::new("SA 3, 4, τ = 1", 4, Form::Data, sa(3, 1.0).corrector(4).unwrap()).corrected(3).stochastic());
    let published = SaSolver::new(Tau::new(0.0).unwrap()).orders(full(2));
    all.push(Method::new("SA as published, τ = 0", 2, Form::Data, published).corrected(2).inexact());
    all
}

/// Adams–Bashforth methods and their kin.
fn adams() -> Vec<Method> {
    let mut all = Vec::new();
    for (name, order) in ["LMS 1", "LMS 2", "LMS 3", "LMS 4"].into_iter().zip(1..) {
        all.push(Method::new(name, order, Form::Rho, Lms::new(order).unwrap()));
    }
    for (name, order) in ["iPNDM 2", "iPNDM 3", "iPNDM 4"].into_iter().zip(2..) {
        all.push(Method::new(name, 2, Form::Rho, Ipndm::new(order).unwrap()).inexact());
    }
    for (name, order) in ["flow 1", "flow 2", "flow 3", "flow 4"].into_iter().zip(1..) {
        all.push(Method::new(name, order, Form::Flow, FlowAdamsBashforth::new(order).unwrap()));
    }
    all.push(Method::new("PNDM", 2, Form::Rho, Pndm::plms()).inexact());
    all.push(Method::new("PNDM, PRK in t", 2, Form::Rho, Pndm::with_runge_kutta(Middle::Time)).inexact());
    all.push(Method::new("PNDM, PRK in σ", 2, Form::Rho, Pndm::with_runge_kutta(Middle::Sigma)).inexact());
    all
}

/// Runge–Kutta and single-step methods.
fn single_steps() -> Vec<Method> {
    let of = |name, order, form, solver: Box<dyn Solver>| Method::new(name, order, form, solver).single_step();
    let between = |order| (DpmSolver::single_step(order).unwrap(), DpmSolverPp::single_step(order).unwrap());
    let (first, first_pp) = between(1);
    let (second, second_pp) = between(2);
    let (third, third_pp) = between(3);
    let on = |method: &alphabar::SingleStep| method.clone().on_the_points(FinalOrder::Full);
    vec![
        of("Heun", 2, Form::Rho, Box::new(Heun::new())),
        of("flow Heun", 2, Form::Flow, Box::new(FlowHeun::new())),
        of("DPM2", 2, Form::Rho, Box::new(Dpm2::deterministic())),
        of("DPM2 a", 2, Form::Rho, Box::new(Dpm2::ancestral(1.0).unwrap())).stochastic(),
        of("DPM2 a, η = 0.6", 2, Form::Rho, Box::new(Dpm2::ancestral(0.6).unwrap())).stochastic(),
        of("DPM++ SDE", 2, Form::Data, Box::new(TwoStage::sde(1.0).unwrap())).stochastic(),
        of("DPM++ SDE, η = 0.6", 2, Form::Data, Box::new(TwoStage::sde(0.6).unwrap())).stochastic(),
        of("DPM++ SDE, η = 0", 2, Form::Data, Box::new(TwoStage::sde(0.0).unwrap())),
        of("DPM++ 2S a", 2, Form::Data, Box::new(TwoStage::ancestral(1.0).unwrap())).stochastic(),
        of("DPM++ 2S a, η = 0.6", 2, Form::Data, Box::new(TwoStage::ancestral(0.6).unwrap())).stochastic(),
        of("DPM++ 2S a, η = 0", 2, Form::Data, Box::new(TwoStage::ancestral(0.0).unwrap())),
        of("RK4", 4, Form::Rho, Box::new(Rk4::new())),
        of("DPM-Solver-1", 1, Form::Noise, Box::new(first)),
        of("DPM++ 1S", 1, Form::Data, Box::new(first_pp)),
        of("DPM-Solver-2 on points", 2, Form::Noise, Box::new(on(&second))),
        of("DPM++ 2S on points", 2, Form::Data, Box::new(on(&second_pp))),
        of("DPM-Solver-3 on points", 3, Form::Noise, Box::new(on(&third))),
        of("DPM++ 3S on points", 3, Form::Data, Box::new(on(&third_pp))),
        of("DPM-Solver-3 exact", 3, Form::Noise, Box::new(third.clone().interpolation(Interpolation::Exact))),
        of("DPM++ 2S exact", 2, Form::Data, Box::new(second_pp.clone().interpolation(Interpolation::Exact))),
        of("DPM-Solver-2", 2, Form::Noise, Box::new(second)),
        of("DPM++ 2S", 2, Form::Data, Box::new(second_pp)),
        of("DPM-Solver-3", 3, Form::Noise, Box::new(third)),
        of("DPM++ 3S", 3, Form::Data, Box::new(third_pp)),
    ]
}

/// A network that can be called at any level and receives λ, with levels in some scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyLevel(pub(crate) Scale);

impl Process for AnyLevel {
    fn at_sigma(&self, sigma: f64) -> Result<Point, Error> {
        let level = match sigma {
            f64::INFINITY => NoiseLevel::PURE_NOISE,
            sigma => NoiseLevel::from_sigma(sigma)?,
        };
        let level = if level.is_pure_noise() { level } else { level.in_scale(self.0)? };
        Ok(Point::new(-sigma.ln().clamp(-50.0, 50.0), level))
    }

    fn sigma_range(&self) -> [f64; 2] {
        [1e6, 1e-6]
    }

    fn at_time(&self, t: f64) -> Result<Point, Error> {
        self.at_sigma((-t).exp())
    }
}

/// The path through these λ = ln(signal/noise), to a level of the last one; in this scale.
pub(crate) fn path(scale: Scale, lambdas: &[f64]) -> Path {
    let (last, points) = lambdas.split_last().unwrap();
    let path = Path::from_sigmas(&AnyLevel(scale), points.iter().map(|lambda| (-lambda).exp())).unwrap();
    path.ending_at(AnyLevel(scale).at_sigma((-last).exp()).unwrap()).unwrap()
}

/// The plan of a method along a path, for a network that predicts x₀ or ε as the method likes it.
pub(crate) fn plan(method: &Method, path: &Path) -> Plan {
    let prediction = match method.form {
        Form::Data => Prediction::Sample,
        Form::Flow => Prediction::Flow,
        _ => Prediction::Epsilon,
    };
    Plan::builder_along(path).prediction(prediction).build(&method.solver).unwrap()
}

/// Runs steps on numbers, without noise; `network` receives the point and x.
pub(crate) fn run(steps: &[Step], x: f64, network: impl Fn(&Step, f64) -> f64) -> f64 {
    run_from(State::new(vec![x]), steps, network)
}

/// [`run`] from a state on.
pub(crate) fn run_from(mut state: State<Vec<f64>>, steps: &[Step], network: impl Fn(&Step, f64) -> f64) -> f64 {
    for step in steps {
        let x = state.x().unwrap()[0];
        state.step_given(step, vec![network(step, x)], Some(&vec![0.0])).unwrap();
    }
    state.into_x().unwrap()[0]
}

/// [`run`] with this noise, one number a row.
pub(crate) fn run_with_noise(
    steps: &[Step],
    x: f64,
    z: impl Fn(usize) -> f64,
    network: impl Fn(&Step, f64) -> f64,
) -> f64 {
    let mut state = State::new(vec![x]);
    for step in steps {
        let x = state.x().unwrap()[0];
        state.step_given(step, vec![network(step, x)], Some(&vec![z(step.index)])).unwrap();
    }
    state.into_x().unwrap()[0]
}

/// x/signal at the end of a run from `y`·signal along a path, with a denoiser that knows σ = noise/signal and x/signal.
pub(crate) fn scale_free(
    path: &Path,
    solver: &impl Solver,
    y: f64,
    z: impl Fn(usize) -> f64,
    x0: impl Fn(f64, f64) -> f64,
) -> f64 {
    let plan = Plan::builder_along(path).prediction(Prediction::Sample).build(solver).unwrap();
    let network = |step: &Step, x: f64| x0(step.conditioned_on.sigma(), x / step.conditioned_on.signal());
    run_with_noise(plan.steps(), y * plan.start().signal(), z, network) / plan.end().signal()
}

/// The σ = noise/signal of the points of a path and of its end.
pub(crate) fn sigmas(path: &Path) -> Vec<f64> {
    path.points().iter().map(|point| point.level.sigma()).chain([path.end().sigma()]).collect()
}

/// What a network of a prediction returns that knows x₀.
pub(crate) fn predicting(prediction: Prediction, level: &NoiseLevel, x: f64, x0: f64) -> f64 {
    let epsilon = (x - level.signal() * x0) / level.noise();
    match prediction {
        Prediction::Sample => x0,
        Prediction::Flow => epsilon - x0,
        _ => epsilon,
    }
}

/// λ of a level.
pub(crate) fn lambda(level: &NoiseLevel) -> f64 {
    0.5 * level.log_snr()
}

/// ∫ f over [a, b] by Gauss–Legendre's rule of five points on many pieces.
pub(crate) fn integral(a: f64, b: f64, f: impl Fn(f64) -> f64) -> f64 {
    const NODES: [(f64, f64); 5] = [
        (0.0, 0.568_888_888_888_888_9),
        (0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
        (-0.538_469_310_105_683_1, 0.478_628_670_499_366_47),
        (0.906_179_845_938_664, 0.236_926_885_056_189_08),
        (-0.906_179_845_938_664, 0.236_926_885_056_189_08),
    ];
    let pieces = 64;
    let width = (b - a) / f64::from(pieces);
    (0..pieces)
        .map(|piece| {
            let middle = a + (f64::from(piece) + 0.5) * width;
            NODES.iter().map(|(node, weight)| 0.5 * width * weight * f(middle + 0.5 * width * node)).sum::<f64>()
        })
        .sum()
}

//! The whole public API, driven by bytes: schedules × spacings × samplers × thresholds × extreme numbers, and the plans run on small
//! tensors. Whatever the bytes are, nothing panics or hangs, and finite numbers give finite numbers, a warning or an error.
//!
//! The fuzz target `api` feeds it; `tests/api.rs` runs the corpus and a sequence of random bytes.

#![allow(unreachable_pub, reason = "one of the places that take this in is a program of its own")]

use alphabar::reference::Gaussian;
use alphabar::spacing::{self, AlignYourSteps};
use alphabar::{
    BoxError, Conditioning, CustomPrediction, Ddim, Ddpm, Deis, Dpm2, DpmSolver, DpmSolverPp, Edm, EpsilonAfter, Error,
    EulerAncestral, FinalOrder, Flow, FlowAdamsBashforth, FlowTime, Heun, Interpolation, Ipndm, Lcm, Lint, Lms, Middle,
    NoiseLevel, NoiseSchedule, Orders, Path, PathEnd, Plan, Pndm, Point, Prediction, Renoise, Respacing, Rk4, SaSolver,
    SampleKey, SeededNoise, SigmaData, SigmaTime, Solver, Spacing, Tau, Tcd, Threshold, Timesteps, TwoStage, UniPc,
    UniPcWeights, Variance, forward, objective, posterior, predictor, sample,
};

/// The bytes, read from the front; past their end, zeros.
pub struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [] => 0,
            [first, rest @ ..] => {
                let first = *first;
                self.0 = rest;
                first
            }
        }
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number: often a usual one, sometimes a border, sometimes any bits at all.
    fn number(&mut self, usual: f64) -> f64 {
        match self.byte() {
            0..=99 => usual,
            100..=159 => f64::from(self.byte()) / 255.0,
            160..=189 => f64::from(self.byte()) - 100.0,
            190..=199 => usual * 10_f64.powi(i32::from(self.byte() as i8)),
            200 => 0.0,
            201 => -0.0,
            202 => 1.0,
            203 => f64::NAN,
            204 => f64::INFINITY,
            205 => f64::NEG_INFINITY,
            206 => f64::MAX,
            207 => f64::MIN_POSITIVE,
            208 => 5e-324,
            209 => 1e-45,
            210 => 1e45,
            211 => 1.0 - f64::EPSILON / 2.0,
            _ => f64::from_bits(self.word()),
        }
    }

    /// A count: often small, sometimes enormous.
    fn count(&mut self) -> usize {
        match self.byte() {
            0..=230 => usize::from(self.below(70)),
            231..=240 => usize::from(self.byte()) * 4,
            241 => usize::MAX,
            242 => usize::MAX / 2,
            243 => alphabar::MAX_TRAIN_STEPS + 1,
            _ => self.word() as usize,
        }
    }

    fn list(&mut self, usual: f64) -> Vec<f64> {
        (0..self.below(12)).map(|_| self.number(usual)).collect()
    }
}

fn schedule(b: &mut Bytes) -> Result<NoiseSchedule, Error> {
    // Long tables take long to build and find nothing more.
    let steps = b.count();
    let steps = if (300..=alphabar::MAX_TRAIN_STEPS).contains(&steps) { 300 } else { steps };
    let mut schedule = match b.below(11) {
        0 => NoiseSchedule::linear(steps, b.number(1e-4), b.number(0.02)),
        1 => NoiseSchedule::scaled_linear(steps, b.number(0.00085), b.number(0.012)),
        2 => NoiseSchedule::sigmoid(steps, b.number(1e-4), b.number(0.02)),
        3 => NoiseSchedule::constant(steps, b.number(0.1)),
        4 => NoiseSchedule::cosine_with(steps, b.number(0.008), b.number(0.999)),
        5 => NoiseSchedule::jsd(steps),
        6 => NoiseSchedule::laplace(steps, b.number(0.0), b.number(0.5)),
        7 => NoiseSchedule::from_betas(b.list(0.1)),
        8 => NoiseSchedule::from_alpha_bars(b.list(0.5)),
        9 => {
            let (slope, power) = (b.number(0.9), b.number(1.0));
            NoiseSchedule::from_alpha_bar_fn(steps, b.number(0.999), |u| 1.0 - slope * u.powf(power))
        }
        _ => NoiseSchedule::linear(20, 1e-4, 0.3),
    }?;
    for _ in 0..b.below(3) {
        schedule =
            if b.below(2) == 0 { schedule.shifted(b.number(3.0))? } else { schedule.rescale_zero_terminal_snr()? };
    }
    let _ = (schedule.level(b.count()), schedule.beta(b.count()), schedule.nearest_to_log_snr(b.number(0.0)));
    let _ = (schedule.level_at(b.number(3.5)), schedule.time_of_sigma(b.number(1.0)));
    assert!(schedule.levels().iter().all(|level| level.signal().is_finite() && level.noise() > 0.0));
    assert!(format!("{schedule:?}").len() < 10_000);
    Ok(schedule)
}

fn timesteps(b: &mut Bytes, schedule: &NoiseSchedule) -> Result<Timesteps, Error> {
    let total = if b.below(8) == 0 { b.count() } else { schedule.len() };
    let spacings = [Spacing::Leading { offset: b.count() }, Spacing::Trailing, Spacing::Linspace];
    let spacing = spacings[usize::from(b.below(3))];
    let mut tau = match b.below(11) {
        0 => Timesteps::leading(total, b.count(), b.count()),
        1 => Timesteps::trailing(total, b.count()),
        2 => Timesteps::linspace(total, b.count()),
        3 => Timesteps::linear(total, b.count()),
        4 => Timesteps::quadratic(total, b.count()),
        5 => Timesteps::uniform_log_snr(schedule, b.count()),
        6 => Timesteps::explicit(total, (0..b.below(9)).map(|_| b.count()).collect::<Vec<_>>()),
        7 => Timesteps::respaced(total, &Respacing::Sections((0..b.below(5)).map(|_| b.count()).collect())),
        8 => Timesteps::respaced(total, &Respacing::Ddim(b.count())),
        9 => Timesteps::nearest_to_sigmas(schedule, b.list(1.0)),
        _ => match Timesteps::img2img(total, b.count(), b.number(0.5), spacing)? {
            Some(tau) => Ok(tau),
            None => Timesteps::starting_from(total, b.count(), b.count(), spacing),
        },
    }?;
    if b.below(4) == 0 {
        tau = tau.with_strength(b.number(0.5))?;
    }
    if b.below(4) == 0 {
        tau = tau.not_above(b.count())?;
    }
    if b.below(3) == 0 {
        tau = tau.ending(PathEnd::FirstLevel);
    }
    Ok(match b.below(4) {
        0 => tau.encoding(Conditioning::Source),
        1 => tau.encoding(Conditioning::Destination),
        _ => tau,
    })
}

fn path(b: &mut Bytes, schedule: &NoiseSchedule) -> Result<Path, Error> {
    let steps = b.count().min(400);
    let edm = Edm::new(b.number(80.0), b.number(0.002), b.number(0.5));
    let time = [SigmaTime::QuarterLog, SigmaTime::Arctan, SigmaTime::Sigma][usize::from(b.below(3))];
    let edm = edm.map(|edm| edm.with_time(time));
    let time = [FlowTime::Thousandth, FlowTime::WholeThousandth, FlowTime::Sigma, FlowTime::Reversed];
    let flow = Flow::default().with_time(time[usize::from(b.below(4))]).shifted(b.number(3.0));
    let flow = if b.below(4) == 0 { flow.and_then(|flow| flow.stretched_to(b.number(0.1))) } else { flow };
    let mut path = match b.below(14) {
        0 => Path::karras(schedule, steps),
        1 => Path::karras(&edm?, steps),
        2 => Path::exponential(schedule, steps),
        3 => Path::beta(schedule, steps),
        4 => Path::kl_optimal(&edm?, steps),
        5 => Path::align_your_steps(schedule, AlignYourSteps::StableDiffusion, steps),
        6 => Path::from_sigmas(schedule, b.list(1.0)),
        7 => Path::clipped(schedule, b.list(1.0)),
        8 => Path::from_times(schedule, b.list(3.5)),
        9 => flow?.path(steps),
        10 => flow?.path_through(spacing::linear_quadratic(steps, b.number(0.025))?),
        11 => {
            Path::from_sigmas(&edm?, spacing::polyexponential(steps, b.number(80.0), b.number(0.002), b.number(1.0))?)
        }
        12 => {
            let edm = edm?;
            Path::karras(&edm, steps)?.churned(&edm, b.number(10.0), 0.0..=b.number(50.0), b.number(1.0))
        }
        _ => {
            let level = NoiseLevel::new(b.number(0.6), b.number(0.8))?;
            Path::new([Point::new(b.number(1.0), level)])
        }
    }?;
    if b.below(4) == 0 {
        path = path.with_strength(b.number(0.5))?;
    }
    if b.below(4) == 0 {
        path = path.not_above_sigma(b.number(1.0))?;
    }
    Ok(match b.below(4) {
        0 => path.encoding(Conditioning::Source),
        1 => path.encoding(Conditioning::Destination),
        _ => path,
    })
}

static CUSTOM: CustomPrediction = CustomPrediction::new("custom", |_| 0.5, NoiseLevel::noise);

fn prediction(b: &mut Bytes) -> Result<Prediction, Error> {
    Ok(match b.below(8) {
        0 | 1 => Prediction::Epsilon,
        2 => Prediction::Sample,
        3 => Prediction::Velocity,
        4 => Prediction::Score,
        5 => Prediction::Flow,
        6 => Prediction::Edm { sigma_data: SigmaData::new(b.number(0.5))? },
        _ => Prediction::Custom(&CUSTOM),
    })
}

/// The order of a multistep method at each step.
fn orders(b: &mut Bytes) -> Result<Orders, Error> {
    let order = usize::from(b.below(6));
    let last = match b.below(4) {
        0 => FinalOrder::Full,
        1 => FinalOrder::Lowered,
        2 => FinalOrder::LoweredBelow(b.count()),
        _ => FinalOrder::FirstAtLast,
    };
    let caps: Vec<usize> = (0..b.below(4)).map(|_| usize::from(b.below(6))).collect();
    Orders::new(order)?.ending(last).starting_with(caps)
}

/// A sampler that remembers.
fn remembering(b: &mut Bytes, schedule: &NoiseSchedule) -> Result<Box<dyn Solver>, Error> {
    let order = usize::from(b.below(6));
    let interpolation =
        [Interpolation::Exact, Interpolation::Midpoint, Interpolation::Published][usize::from(b.below(3))];
    Ok(match b.below(20) {
        0 => Box::new(DpmSolverPp::multistep(order)?.interpolation(interpolation).orders(orders(b)?)),
        1 => Box::new(DpmSolverPp::multistep(order)?.interpolation(interpolation).stochastic(b.number(1.0))?),
        2 => Box::new(DpmSolver::multistep(order)?.interpolation(interpolation).orders(orders(b)?)),
        3 => Box::new(DpmSolver::multistep(order)?.stochastic(b.number(1.0))?),
        4 => Box::new(UniPc::new(order)?.weights(UniPcWeights::Bh1).noise_form()),
        5 => Box::new(UniPc::new(order)?.orders(orders(b)?)),
        6 => Box::new(SaSolver::new(Tau::new(b.number(1.0))?).orders(orders(b)?).corrector(order)?),
        7 => Box::new(SaSolver::new(Tau::default()).noise_form()),
        8 => Box::new(Deis::rho(order)?),
        9 => Box::new(Lms::new(order)?.full_order_to_clean()),
        10 => Box::new(Ipndm::new(order)?),
        11 => Box::new(if b.below(2) == 0 { Pndm::plms() } else { Pndm::with_runge_kutta(Middle::Sigma) }),
        12 => Box::new(Heun::new()),
        13 => Box::new(Dpm2::ancestral(b.number(0.5))?),
        14 => Box::new(Rk4::new()),
        15 => Box::new(if b.below(2) == 0 { DpmSolver::single_step(order)? } else { DpmSolverPp::single_step(order)? }),
        17 => Box::new(TwoStage::sde(b.number(0.5))?),
        18 => Box::new(TwoStage::ancestral(b.number(0.5))?),
        16 => Box::new(FlowAdamsBashforth::new(order)?),
        _ => Box::new(Tcd::new(b.number(0.3), schedule)?),
    })
}

fn solver(b: &mut Bytes, schedule: &NoiseSchedule) -> Result<Box<dyn Solver>, Error> {
    Ok(match b.below(12) {
        7 => Box::new(Renoise),
        8 => Box::new(EulerAncestral::rectified_flow(b.number(0.5))?),
        9 => Box::new(Lcm::new(b.number(10.0))?),
        10.. => remembering(b, schedule)?,
        0 => Box::new(Ddim::deterministic()),
        1 => Box::new(Ddim::new(b.number(0.5))?),
        2 => Box::new(Ddim::per_step(b.list(0.5))?),
        3 => Box::new(Ddim::sigma_hat()),
        4 => Box::new(Ddpm::new(Variance::Posterior)),
        5 => Box::new(Ddpm::new(Variance::Beta)),
        _ => Box::new(Ddpm::new(if b.below(2) == 0 { Variance::LearnedRange } else { Variance::Learned })),
    })
}

fn threshold(b: &mut Bytes) -> Result<Threshold, Error> {
    Ok(match b.below(4) {
        0 => Threshold::clip(b.number(1.0))?,
        1 => Threshold::dynamic(b.number(0.995), b.number(1.5))?,
        _ => Threshold::None,
    })
}

/// The distributions and weights between the levels of a plan.
fn scalars(b: &mut Bytes, plan: &Plan) {
    let finite = |what: &str, value: f64| assert!(!value.is_nan(), "{what} is NaN");
    for step in plan.steps().iter().take(5) {
        for (t, s) in [(&step.from, &step.to), (&step.to, &step.from)] {
            for conditional in [
                posterior::transition(s, t),
                posterior::ddpm_posterior(t, s),
                posterior::inference(t, s, b.number(0.1)),
                posterior::forward(s, t, b.number(0.1)),
            ] {
                let _ = conditional.map(|k| [k.x0, k.x, k.variance].map(|value| finite("a conditional", value)));
            }
            let _ = objective::gamma(t, s, b.number(0.1)).map(|gamma| finite("γ", gamma));
            let _ = objective::min_snr_weight(plan.prediction(), t, b.number(5.0)).map(|w| finite("min-SNR", w));
            let _ = objective::p2_weight(plan.prediction(), t, b.number(1.0), b.number(1.0)).map(|w| finite("P2", w));
        }
    }
    let (mean, variance) = (b.number(0.1), b.number(0.5));
    let _ = objective::gaussian_kl((mean, variance), (b.number(0.0), b.number(1.0))).map(|kl| finite("a KL", kl));
    let _ = objective::decoder_log_likelihood(b.number(0.1), b.number(0.0), b.number(0.1))
        .map(|p| finite("a likelihood", p));
}

/// All of it.
pub fn drive(bytes: &[u8]) {
    // An error is an answer; what has to hold is asserted on the way.
    let _ = driven(&mut Bytes(bytes));
}

fn driven(b: &mut Bytes) -> Result<(), BoxError> {
    let schedule = schedule(b)?;
    let (prediction, threshold, solver) = (prediction(b)?, threshold(b)?, solver(b, &schedule)?);
    let epsilon = if b.below(2) == 0 { EpsilonAfter::Network } else { EpsilonAfter::Threshold };
    let plan = if b.below(2) == 0 {
        let tau = timesteps(b, &schedule)?;
        Plan::builder(&schedule, &tau).prediction(prediction).threshold(threshold).epsilon_after(epsilon).build(&solver)
    } else {
        let path = path(b, &schedule)?;
        Plan::builder_along(&path).prediction(prediction).threshold(threshold).epsilon_after(epsilon).build(&solver)
    };
    let plan = plan.inspect_err(|error| assert!(!error.to_string().is_empty() && error.to_string().len() < 1000))?;
    for step in plan.steps() {
        let k = &step.coefficients;
        let numbers = [k.p, k.q, k.a, k.b, k.c, k.d, k.x, k.model, step.t, step.input_scale];
        assert!(numbers.iter().all(|number| number.is_finite()), "{step:?}");
        assert!(k.history.iter().all(|(age, weight)| age <= step.index && weight.is_finite()), "{step:?}");
        assert!(k.d >= 0.0 && step.learned_noise.is_none_or(f64::is_finite), "{step:?}");
    }
    let lint = plan.lint();
    assert!(
        lint.iter().all(|warning| !warning.to_string().is_empty()) && plan.to_string().lines().count() >= plan.len()
    );
    scalars(b, &plan);

    // Run it, with a network of bounded output.
    if plan.len() > 300 {
        return Ok(());
    }
    let learned = plan.steps().iter().any(|step| step.learned_noise.is_some());
    let mut network = predictor::from_fn(plan.prediction(), |x: &Vec<f64>, _: Point| {
        let mut m: Vec<f64> = x.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        if learned {
            m.extend(vec![0.5; x.len()]);
        }
        Ok::<_, BoxError>(m)
    });
    let key = SampleKey { seed: b.word(), sample: b.word() };
    let start = plan.start();
    let x: Vec<f64> = [0.7, -1.2, 0.1].iter().map(|z| start.signal() * 0.5 + start.noise() * z).collect();
    let amplified = |warning: &Lint| matches!(warning, Lint::Amplifies { .. } | Lint::AmplifiesAlong { .. });
    let result = sample(&plan, x.clone(), &mut network, &mut SeededNoise::per_row([key]))?;
    assert!(
        result.iter().all(|x| x.is_finite()) || lint.iter().any(amplified) || learned,
        "{result:?} without a warning from\n{plan}"
    );
    let _ = forward::add_noise(&x, &result, &[start]);
    let mut exact = Gaussian::new([0.3, -0.2, 0.0], [0.2, 0.1, 0.0])?.predictor();
    if plan.prediction() == Prediction::Epsilon {
        let result = sample(&plan, x, &mut exact, &mut SeededNoise::new(key.seed))?;
        assert!(result.iter().all(|x| x.is_finite()) || lint.iter().any(amplified), "{result:?} of the exact ε");
    }
    Ok(())
}

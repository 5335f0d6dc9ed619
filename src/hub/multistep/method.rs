//! The sampler of a class, and its keys.

use crate::coefficients::Threshold;
use crate::compat::multistep::{ThirdForm, ThirdOrder};
use crate::error::Error;
use crate::hub::json::config_error;
use crate::hub::multistep::{AnySolver, quirks};
use crate::hub::read::Reader;
use crate::hub::trained::Trained;
use crate::hub::{Ignored, SchedulerClass};
use crate::prediction::Prediction;
use crate::solver::{
    Deis, DpmSolver, DpmSolverPp, FinalOrder, Interpolation, Orders, SaSolver, Tau, UniPc, UniPcWeights,
};
use crate::timesteps::PathEnd;

/// The sampler, with the keys that only it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Method {
    kind: Kind,
    /// `solver_order` or `predictor_order`.
    order: usize,
    /// `lower_order_final`.
    lowers: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// DPM-Solver and DPM-Solver++.
    Multistep {
        algorithm: Algorithm,
        differences: Differences,
        euler_at_final: bool,
    },
    SingleStep {
        algorithm: Algorithm,
        differences: Differences,
    },
    Deis,
    UniPc {
        weights: UniPcWeights,
        interpolates_noise: bool,
        uncorrected: Vec<usize>,
    },
    Sa {
        corrector: usize,
        interpolates_noise: bool,
    },
}

/// `algorithm_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Data,
    Noise,
    StochasticData,
    StochasticNoise,
}

impl Algorithm {
    fn interpolates_noise(self) -> bool {
        matches!(self, Self::Noise | Self::StochasticNoise)
    }

    fn is_stochastic(self) -> bool {
        matches!(self, Self::StochasticData | Self::StochasticNoise)
    }

    fn tau(self) -> f64 {
        if self.is_stochastic() { 1.0 } else { 0.0 }
    }
}

/// `solver_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differences {
    Midpoint,
    Heun,
}

/// Below so many steps `lower_order_final` acts in DPM-Solver and DEIS.
const FEW: usize = 15;

impl Method {
    pub(super) fn read(reader: &mut Reader<'_>, trained: &mut Trained) -> Result<Self, Error> {
        use SchedulerClass::{DeisMultistep, DpmSolverSinglestep, SaSolver, UniPcMultistep};
        let method = match reader.class {
            UniPcMultistep => unipc(reader, trained),
            SaSolver => sa_solver(reader),
            DeisMultistep => deis(reader),
            DpmSolverSinglestep => single_step(reader),
            _ => multistep(reader, trained),
        }?;
        let refuses_zero = |kind: &Kind| match kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. } => algorithm.interpolates_noise(),
            _ => false,
        };
        if trained.end == PathEnd::Clean && refuses_zero(&method.kind) {
            reader.quirk(&quirks::NOISE_TO_CLEAN);
        }
        if trained.prediction == Prediction::Flow && method.interpolates_noise() {
            reader.quirk(&quirks::NOISE_OF_FLOW);
        }
        Ok(method)
    }

    fn interpolates_noise(&self) -> bool {
        match &self.kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. } => algorithm.interpolates_noise(),
            Kind::UniPc { interpolates_noise, .. } | Kind::Sa { interpolates_noise, .. } => *interpolates_noise,
            // Its ε is made of x̂₀.
            Kind::Deis => false,
        }
    }

    /// `Err` for what diffusers refuses, and the default does not.
    pub(super) fn check_imitated(&self, end: PathEnd) -> Result<(), Error> {
        match &self.kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. }
                if algorithm.interpolates_noise() && end == PathEnd::Clean =>
            {
                let reason = "is refused by diffusers for an algorithm_type that interpolates noise; compat() has nothing to imitate";
                Err(config_error("final_sigmas_type", "zero", reason))
            }
            _ => Ok(()),
        }
    }

    fn orders(&self, steps: usize) -> Result<Orders, Error> {
        let last = match &self.kind {
            Kind::UniPc { .. } | Kind::Sa { .. } if self.lowers => FinalOrder::Lowered,
            Kind::Multistep { .. } | Kind::Deis if self.lowers && steps < FEW => FinalOrder::Lowered,
            Kind::Multistep { euler_at_final: true, .. } => FinalOrder::FirstAtLast,
            _ => FinalOrder::Full,
        };
        Ok(Orders::new(self.order)?.ending(last))
    }

    /// The sampler of a path of so many steps. `imitated` is the one of diffusers.
    pub(super) fn solver(&self, steps: usize, ends_clean: bool, imitated: bool) -> Result<AnySolver, Error> {
        let orders = self.orders(steps)?;
        Ok(match &self.kind {
            Kind::Multistep { algorithm, differences, .. } => {
                return self.multistep(*algorithm, *differences, orders, steps, imitated);
            }
            Kind::SingleStep { algorithm, differences } => {
                return self.single_step(*algorithm, *differences, steps, ends_clean, imitated);
            }
            Kind::Deis => Box::new(Deis::log_rho(self.order)?.orders(orders)),
            Kind::UniPc { weights, interpolates_noise, uncorrected } => {
                let method = UniPc::new(self.order)?.orders(orders).weights(*weights);
                let method = method.without_corrector_at(uncorrected.iter().copied())?;
                Box::new(if *interpolates_noise { method.noise_form() } else { method })
            }
            Kind::Sa { corrector, interpolates_noise } => {
                let method = SaSolver::new(Tau::default()).orders(orders).corrector(*corrector)?;
                Box::new(if *interpolates_noise { method.noise_form() } else { method })
            }
        })
    }

    fn multistep(
        &self,
        algorithm: Algorithm,
        differences: Differences,
        orders: Orders,
        steps: usize,
        imitated: bool,
    ) -> Result<AnySolver, Error> {
        let interpolation = match differences {
            Differences::Midpoint => Interpolation::Midpoint,
            Differences::Heun => Interpolation::Exact,
        };
        let third = imitated && (0..steps).any(|step| orders.at(step, steps) == 3);
        let form = match algorithm {
            Algorithm::Data => ThirdForm::Data,
            Algorithm::StochasticData => ThirdForm::StochasticData,
            Algorithm::StochasticNoise if third => {
                let reason = "has no formula in diffusers for sde-dpmsolver; compat() has nothing to imitate";
                return Err(config_error("solver_order", "3", reason));
            }
            Algorithm::Noise | Algorithm::StochasticNoise => ThirdForm::Noise,
        };
        let tau = algorithm.tau();
        Ok(if algorithm.interpolates_noise() {
            let method = DpmSolver::multistep(self.order)?.interpolation(interpolation).stochastic(tau)?;
            let solver = method.orders(orders);
            if third { Box::new(ThirdOrder { solver, form }) } else { Box::new(solver) }
        } else {
            let method = DpmSolverPp::multistep(self.order)?.interpolation(interpolation).stochastic(tau)?;
            let solver = method.orders(orders);
            if third { Box::new(ThirdOrder { solver, form }) } else { Box::new(solver) }
        })
    }

    fn single_step(
        &self,
        algorithm: Algorithm,
        differences: Differences,
        steps: usize,
        ends_clean: bool,
        imitated: bool,
    ) -> Result<AnySolver, Error> {
        if algorithm.is_stochastic() && imitated && self.order > 1 {
            // Each call goes back to x at the start of its step, and that cannot be told from x and the outputs after noise was added.
            let reason = "with solver_order above 1 needs the x of an earlier call; compat() cannot imitate it";
            return Err(config_error("algorithm_type", "sde-dpmsolver++", reason));
        }
        let interpolation = match differences {
            Differences::Heun => Interpolation::Exact,
            Differences::Midpoint if imitated => Interpolation::Published,
            Differences::Midpoint => Interpolation::Midpoint,
        };
        // A list that does not divide into groups, or that ends in clean data, lowers the order at the end in any case.
        let lowers = self.lowers || ends_clean || steps % self.order != 0;
        let last = if lowers { FinalOrder::Lowered } else { FinalOrder::Full };
        let method = if algorithm == Algorithm::Noise {
            DpmSolver::single_step(self.order)
        } else {
            DpmSolverPp::single_step(self.order)
        }?;
        Ok(Box::new(method.interpolation(interpolation).on_the_points(last).stochastic(algorithm.tau())?))
    }
}

const MAX_DPM_ORDER: usize = 3;

fn multistep(reader: &mut Reader<'_>, trained: &Trained) -> Result<Method, Error> {
    let algorithm = reader.choice(
        "algorithm_type",
        Algorithm::Data,
        &[
            ("dpmsolver++", Algorithm::Data),
            ("dpmsolver", Algorithm::Noise),
            ("sde-dpmsolver++", Algorithm::StochasticData),
            ("sde-dpmsolver", Algorithm::StochasticNoise),
            ("deis", Algorithm::Data),
        ],
    )?;
    reader.foreign("algorithm_type", &["deis"], "dpmsolver++");
    let encodes = reader.class == SchedulerClass::DpmSolverMultistepInverse;
    if let Some(entry) = reader.peek("algorithm_type").filter(|_| encodes && algorithm.is_stochastic()) {
        return Err(entry.error("adds noise, which no path that encodes can follow back; diffusers returns NaN"));
    }
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    let (differences, lowers) = differences_and_end(reader, order, true)?;
    let euler_at_final = if order > 1 && (encodes || trained.end == PathEnd::FirstLevel) {
        reader.flag("euler_at_final", false)?
    } else {
        // The last step to clean data is of the first order without it.
        reader.unused(&[("euler_at_final", &["false"])]);
        false
    };
    if order == 3 {
        reader.quirk(match algorithm {
            Algorithm::StochasticData => &quirks::THIRD_STOCHASTIC,
            Algorithm::StochasticNoise => &quirks::THIRD_STOCHASTIC_NOISE,
            Algorithm::Data | Algorithm::Noise => &quirks::THIRD,
        });
    }
    Ok(Method { kind: Kind::Multistep { algorithm, differences, euler_at_final }, order, lowers })
}

fn single_step(reader: &mut Reader<'_>) -> Result<Method, Error> {
    let algorithm = reader.choice(
        "algorithm_type",
        Algorithm::Data,
        &[
            ("dpmsolver++", Algorithm::Data),
            ("dpmsolver", Algorithm::Noise),
            ("sde-dpmsolver++", Algorithm::StochasticData),
            ("deis", Algorithm::Data),
        ],
    )?;
    reader.foreign("algorithm_type", &["deis"], "dpmsolver++");
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    if algorithm.is_stochastic() && order > 1 {
        reader.quirk(&quirks::SINGLE_STOCHASTIC);
    }
    let (differences, lowers) = differences_and_end(reader, order, false)?;
    if order == 3 && differences == Differences::Midpoint {
        reader.quirk(&quirks::THIRD_SINGLE);
    }
    Ok(Method { kind: Kind::SingleStep { algorithm, differences }, order, lowers })
}

fn deis(reader: &mut Reader<'_>) -> Result<Method, Error> {
    reader.choice("algorithm_type", (), &[("deis", ()), ("dpmsolver", ()), ("dpmsolver++", ())])?;
    reader.foreign("algorithm_type", &["dpmsolver", "dpmsolver++"], "deis");
    let words = [("logrho", ()), ("midpoint", ()), ("heun", ()), ("bh1", ()), ("bh2", ())];
    reader.choice("solver_type", (), &words)?;
    reader.foreign("solver_type", &["midpoint", "heun", "bh1", "bh2"], "logrho");
    let order = reader.count("solver_order", 2, 1, MAX_DPM_ORDER)?;
    let lowers = if order > 1 { reader.flag("lower_order_final", true)? } else { no_lower_end(reader, "true") };
    Ok(Method { kind: Kind::Deis, order, lowers })
}

fn unipc(reader: &mut Reader<'_>, trained: &mut Trained) -> Result<Method, Error> {
    let order = reader.count("solver_order", 2, 1, 4)?;
    let words = [
        ("bh2", UniPcWeights::Bh2),
        ("bh1", UniPcWeights::Bh1),
        ("midpoint", UniPcWeights::Bh2),
        ("heun", UniPcWeights::Bh2),
        ("logrho", UniPcWeights::Bh2),
    ];
    let weights = reader.choice("solver_type", UniPcWeights::Bh2, &words)?;
    reader.foreign("solver_type", &["midpoint", "heun", "logrho"], "bh2");
    let lowers = if order > 1 { reader.flag("lower_order_final", true)? } else { no_lower_end(reader, "true") };
    let interpolates_noise = match reader.given("predict_x0") {
        Some(entry) => !entry.flag()?,
        None => false,
    };
    if let Some(entry) = reader.given("solver_p") {
        return Err(entry.error("is not supported: a predictor of another class"));
    }
    let uncorrected = match reader.given("disable_corrector") {
        None => Vec::new(),
        Some(entry) => {
            let steps = entry.numbers()?;
            let whole = |step: &f64| step.fract() == 0.0 && step.abs() < 1e9;
            if !steps.iter().all(whole) {
                return Err(entry.error("is not a list of whole numbers"));
            }
            // As in Python, a negative index is that of no step.
            steps.into_iter().filter(|step| *step >= 0.0).map(|step| step as usize).collect()
        }
    };
    if interpolates_noise && trained.threshold != Threshold::None {
        // The method thresholds what it interpolates, and that is not x̂₀.
        trained.threshold = Threshold::None;
        reader.ignored("thresholding", Ignored::Off("predict_x0"));
        reader.unused(&[("dynamic_thresholding_ratio", &["0.995"]), ("sample_max_value", &["1.0", "1"])]);
    }
    if trained.end == PathEnd::Clean && weights == UniPcWeights::Bh1 && !interpolates_noise {
        reader.quirk(&quirks::BH1_TO_CLEAN);
    }
    if trained.end == PathEnd::Clean && interpolates_noise {
        reader.quirk(&quirks::UNIPC_NOISE_TO_CLEAN);
    }
    Ok(Method { kind: Kind::UniPc { weights, interpolates_noise, uncorrected }, order, lowers })
}

fn sa_solver(reader: &mut Reader<'_>) -> Result<Method, Error> {
    let order = reader.count("predictor_order", 2, 1, 4)?;
    let corrector = reader.count("corrector_order", 2, 1, 4)?;
    let lowers = reader.flag("lower_order_final", true)?;
    let words = [("data_prediction", false), ("noise_prediction", true)];
    let interpolates_noise = reader.choice("algorithm_type", false, &words)?;
    if let Some(entry) = reader.given("tau_func") {
        return Err(
            entry.error("is not supported: a function cannot stand in a file. null is τ = 1 for t of 200..=800")
        );
    }
    Ok(Method { kind: Kind::Sa { corrector, interpolates_noise }, order, lowers })
}

/// `solver_type` and `lower_order_final` of DPM-Solver. At order 1 they do nothing.
fn differences_and_end(reader: &mut Reader<'_>, order: usize, lowers: bool) -> Result<(Differences, bool), Error> {
    if order == 1 {
        reader.unused(&[("solver_type", &["\"midpoint\""])]);
        return Ok((Differences::Midpoint, no_lower_end(reader, if lowers { "true" } else { "false" })));
    }
    let words = [
        ("midpoint", Differences::Midpoint),
        ("heun", Differences::Heun),
        ("logrho", Differences::Midpoint),
        ("bh1", Differences::Midpoint),
        ("bh2", Differences::Midpoint),
    ];
    reader.foreign("solver_type", &["logrho", "bh1", "bh2"], "midpoint");
    Ok((reader.choice("solver_type", Differences::Midpoint, &words)?, reader.flag("lower_order_final", lowers)?))
}

fn no_lower_end(reader: &mut Reader<'_>, default: &str) -> bool {
    reader.unused(&[("lower_order_final", &[default])]);
    false
}

//! The samplers of the multistep classes.

mod reading;

pub(in crate::hub) use reading::{euler_at_final, interpolation_and_end};

use crate::compat::multistep::{ThirdForm, ThirdOrder};
use crate::error::Error;
use crate::hub::json::config_error;
use crate::hub::run::AnySolver;
use crate::solver::{
    Deis, DpmSolver, DpmSolverPp, FinalOrder, Interpolation, Orders, SaSolver, Tau, UniPc, UniPcWeights,
};
use crate::timesteps::PathEnd;

/// The sampler of a class, with the keys that define it.
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
        /// `solver_type`.
        interpolation: Interpolation,
        euler_at_final: bool,
    },
    SingleStep {
        algorithm: Algorithm,
        /// `solver_type`.
        interpolation: Interpolation,
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

/// `lower_order_final` of DPM-Solver and DEIS acts on paths with fewer steps than this.
const FEW: usize = 15;

/// The order at the end of a path of `steps` steps in DPM-Solver and DEIS, from `lower_order_final` and `euler_at_final`.
pub(in crate::hub) fn final_order(lowers: bool, euler_at_final: bool, steps: usize) -> FinalOrder {
    if lowers && steps < FEW {
        FinalOrder::Lowered
    } else if euler_at_final {
        FinalOrder::FirstAtLast
    } else {
        FinalOrder::Full
    }
}

impl Method {
    fn interpolates_noise(&self) -> bool {
        match &self.kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. } => algorithm.interpolates_noise(),
            Kind::UniPc { interpolates_noise, .. } | Kind::Sa { interpolates_noise, .. } => *interpolates_noise,
            // DEIS computes ε from x̂₀.
            Kind::Deis => false,
        }
    }

    /// `Err` for settings that diffusers refuses and the default plan allows.
    pub(super) fn check_imitated(&self, end: PathEnd) -> Result<(), Error> {
        match &self.kind {
            Kind::Multistep { algorithm, .. } | Kind::SingleStep { algorithm, .. }
                if algorithm.interpolates_noise() && end == PathEnd::Clean =>
            {
                let reason = "is refused by diffusers for an algorithm_type that interpolates noise; set sigma_min, or \
                              leave compat() out";
                Err(config_error("final_sigmas_type", "zero", reason))
            }
            _ => Ok(()),
        }
    }

    fn orders(&self, steps: usize) -> Result<Orders, Error> {
        let last = match &self.kind {
            Kind::UniPc { .. } | Kind::Sa { .. } if self.lowers => FinalOrder::Lowered,
            Kind::Multistep { euler_at_final, .. } => final_order(self.lowers, *euler_at_final, steps),
            Kind::Deis => final_order(self.lowers, false, steps),
            _ => FinalOrder::Full,
        };
        Ok(Orders::new(self.order)?.ending(last))
    }

    /// The sampler for a path of `steps` steps; if `imitated`, as diffusers computes it.
    pub(super) fn solver(&self, steps: usize, ends_clean: bool, imitated: bool) -> Result<AnySolver, Error> {
        let orders = self.orders(steps)?;
        Ok(match &self.kind {
            Kind::Multistep { algorithm, interpolation, .. } => {
                return self.multistep(*algorithm, *interpolation, orders, steps, imitated);
            }
            Kind::SingleStep { algorithm, interpolation } => {
                return self.single_step(*algorithm, *interpolation, steps, ends_clean, imitated);
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
        interpolation: Interpolation,
        orders: Orders,
        steps: usize,
        imitated: bool,
    ) -> Result<AnySolver, Error> {
        let third = imitated && (0..steps).any(|step| orders.at(step, steps) == 3);
        let form = match algorithm {
            Algorithm::Data => ThirdForm::Data,
            Algorithm::StochasticData => ThirdForm::StochasticData,
            Algorithm::StochasticNoise if third => {
                let reason = "has no formula in diffusers for sde-dpmsolver; use order 2, or leave compat() out";
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
        interpolation: Interpolation,
        steps: usize,
        ends_clean: bool,
        imitated: bool,
    ) -> Result<AnySolver, Error> {
        if algorithm.is_stochastic() && imitated && self.order > 1 {
            // In diffusers each call goes back to x at the start of its step. After noise was added, x and the outputs do not determine it.
            let reason = "with solver_order above 1 needs the x of an earlier call, which compat() cannot imitate; leave \
                          compat() out";
            return Err(config_error("algorithm_type", "sde-dpmsolver++", reason));
        }
        let interpolation = match interpolation {
            Interpolation::Midpoint if imitated => Interpolation::Published,
            interpolation => interpolation,
        };
        // If S is not a multiple of the order, or the path ends at clean data, the order is lowered at the end in any case.
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

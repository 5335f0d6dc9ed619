//! The samplers of this crate as one type.

use super::{
    Combination, Ddim, Ddpm, Deis, Dpm2, DpmSolver, DpmSolverPp, Euler, EulerAncestral, FlowAdamsBashforth, FlowHeun,
    FlowSde, Heun, Ipndm, Lcm, Lms, Pndm, Renoise, Rk4, Row, SaSolver, SingleStep, Solver, Tcd, TwoStage, UniPc,
};
use crate::error::Error;
use crate::path::{Leg, Legs};

/// Makes the enum of these samplers. It forwards the methods of [`Solver`] to the sampler inside.
macro_rules! samplers {
    ($($name:ident),+ $(,)?) => {
        /// One of this crate's samplers: a [`Solver`] that can be stored and compared.
        ///
        /// ```
        /// use alphabar::{BuiltinSolver, Ddim, DpmSolverPp, Solver};
        ///
        /// let multistep = true;
        /// let solver: BuiltinSolver =
        ///     if multistep { DpmSolverPp::multistep(2)?.into() } else { Ddim::deterministic().into() };
        /// assert_eq!(solver.name(), "DPM-Solver++ 2M");
        /// # Ok::<(), alphabar::Error>(())
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum BuiltinSolver {
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                $name($name),
            )+
        }

        impl Solver for BuiltinSolver {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(solver) => solver.name(),)+
                }
            }

            fn combine(&self, leg: &Leg) -> Result<Combination, Error> {
                match self {
                    $(Self::$name(solver) => solver.combine(leg),)+
                }
            }

            fn rows(&self, legs: &Legs<'_>) -> Result<Vec<Row>, Error> {
                match self {
                    $(Self::$name(solver) => solver.rows(legs),)+
                }
            }

            fn eta(&self, index: usize) -> Option<f64> {
                match self {
                    $(Self::$name(solver) => solver.eta(index),)+
                }
            }
        }

        $(
            impl From<$name> for BuiltinSolver {
                fn from(solver: $name) -> Self {
                    Self::$name(solver)
                }
            }
        )+
    };
}

samplers![
    Ddim,
    Ddpm,
    Deis,
    Dpm2,
    DpmSolver,
    DpmSolverPp,
    Euler,
    EulerAncestral,
    FlowAdamsBashforth,
    FlowHeun,
    FlowSde,
    Heun,
    Ipndm,
    Lcm,
    Lms,
    Pndm,
    Renoise,
    Rk4,
    SaSolver,
    SingleStep,
    Tcd,
    TwoStage,
    UniPc,
];

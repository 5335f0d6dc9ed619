//! What these classes of diffusers compute differently.

use crate::hub::Quirk;

/// Where diffusers has no result.
const NONE: f64 = f64::INFINITY;

macro_rules! quirks {
    ($($name:ident: $key:literal, $by:expr, $here:literal, diffusers: $diffusers:literal;)+) => {
        $(
            pub(super) static $name: Quirk = Quirk { key: $key, here: $here, diffusers: $diffusers, by: $by };
        )+
    };
}

quirks! {
    KARRAS: "use_karras_sigmas", 0.8, "the network is told the fraction of t at each σ", diffusers: "rounds t";
    KARRAS_COSINE: "use_karras_sigmas", 0.93, "the network is told the fraction of t at each σ",
        diffusers: "cuts the fraction off on this schedule";
    LU: "use_lu_lambdas", 2.9, "the network is told the fraction of t at each σ",
        diffusers: "rounds t (on the cosine schedule it cuts the fraction off)";
    EXPONENTIAL: "use_exponential_sigmas", 2.3e-3, "the network is told the fraction of t at each σ",
        diffusers: "cuts the fraction off";
    BETA: "use_beta_sigmas", 0.79, "the network is told the fraction of t at each σ",
        diffusers: "cuts the fraction off";
    REPEATED: "_class_name", 0.074, "the last step goes to clean data",
        diffusers: "lists the last σ of this spacing twice, so that its last call changes nothing and noise is left";
    CLIPPED_TRAILING: "lambda_min_clipped", 4.8e-3, "S calls, spaced over the levels that are left",
        diffusers: "keeps the stride of all T";
    THIRD: "solver_order", 0.2, "the third order is exact",
        diffusers: "gives the second difference half of its weight, which is of the second order";
    THIRD_STOCHASTIC: "solver_order", 1.5, "the third order is exact",
        diffusers: "has a wrong sign in the weight of the second difference";
    THIRD_STOCHASTIC_NOISE: "solver_order", NONE, "the third order is exact",
        diffusers: "has no formula for it in sde-dpmsolver, and fails";
    THIRD_SINGLE: "solver_order", 6.1, "the third order is exact, wherever the inner points lie",
        diffusers: "takes the formula for an inner point at 2/3 of the step, which is of the second order elsewhere";
    SINGLE_STOCHASTIC: "algorithm_type", 0.81, "the noise of a step is one Brownian path, also through its inner points",
        diffusers: "draws the noise of each call on its own; compat() does not reproduce it";
    NOISE_TO_CLEAN: "final_sigmas_type", NONE, "the last step to clean data is of the first order",
        diffusers: "refuses this algorithm_type with zero";
    NOISE_OF_FLOW: "prediction_type", NONE, "ε of the flow's velocity is interpolated",
        diffusers: "fails where ε is interpolated";
    BH1_TO_CLEAN: "solver_type", NONE, "the last step to clean data is of the first order, as with bh2",
        diffusers: "returns NaN, since B(h) = h is infinite there";
    UNIPC_NOISE_TO_CLEAN: "predict_x0", NONE, "the last step to clean data is of the first order",
        diffusers: "returns NaN";
    INVERSE_LIST: "timestep_spacing", 1.1, "the path of DPMSolverMultistepScheduler, walked back from t = 0",
        diffusers: "takes other levels: it ends at T − 1 (leading), or begins at the second level and stands still at the end (trailing)";
    INVERSE_SPREAD: "_class_name", 1.0, "the path of DPMSolverMultistepScheduler, walked back from clean data",
        diffusers: "begins at the smallest σ and stands still at the largest; levels with equal t shift those after them";
    INVERSE_FLOW: "use_flow_sigmas", 1.3, "a path that encodes",
        diffusers: "walks from noise to data, and stands still at the end";
    FLOW: "use_flow_sigmas", 0.085, "σ = 1, 1 − 1/S, …, 1/S is shifted, and t = T·σ",
        diffusers: "shifts σ from 1 − 1/T on, and cuts the fraction of t off";
    UNIPC_FLOW: "use_flow_sigmas", 0.083, "σ = 1, 1 − 1/S, …, 1/S is shifted",
        diffusers: "shifts the first S of S + 1 even σ from 1 to 1/T, and lowers the first by 1e-6";
    FLOW_SPREAD: "use_flow_sigmas", NONE, "the levels of the spacing are σ/(1 + σ) of the flow",
        diffusers: "takes σ of a table for one of the flow, which gives NaN";
    FLOW_REPEATED: "use_flow_sigmas", 0.78, "the last step goes to clean data",
        diffusers: "lists the last σ of a flow twice, so that its last call changes nothing and noise is left";
    FLOW_END: "final_sigmas_type", 0.15, "a flow ends in clean data",
        diffusers: "ends at the last σ again (UniPC), or at the σ of the β schedule at t = 0";
}

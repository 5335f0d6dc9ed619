//! Notes on what these classes of diffusers compute differently.

use crate::hub::Quirk;

/// The difference if diffusers has no result.
const NONE: f64 = f64::INFINITY;

macro_rules! quirks {
    ($($name:ident: $key:literal, $by:expr, $here:literal, diffusers: $diffusers:literal;)+) => {
        $(
            pub(super) static $name: Quirk =
                Quirk { key: $key, here: $here, diffusers: $diffusers, by: $by, in_compat: $by < NONE };
        )+
    };
}

pub(super) static SINGLE_STOCHASTIC: Quirk = Quirk {
    key: "algorithm_type",
    here: "the noise of a step follows one Brownian path, also through the inner points of the step",
    diffusers: "draws independent noise for each call",
    by: 0.81,
    in_compat: false,
};

quirks! {
    KARRAS: "use_karras_sigmas", 0.8, "the network receives t with its fraction at each σ",
        diffusers: "rounds t to a whole number";
    KARRAS_COSINE: "use_karras_sigmas", 0.93, "the network receives t with its fraction at each σ",
        diffusers: "cuts the fraction off on this schedule";
    LU: "use_lu_lambdas", 2.9, "the network receives t with its fraction at each σ",
        diffusers: "rounds t to a whole number (on the cosine schedule it cuts the fraction off)";
    EXPONENTIAL: "use_exponential_sigmas", 2.3e-3, "the network receives t with its fraction at each σ",
        diffusers: "cuts the fraction off";
    BETA: "use_beta_sigmas", 0.79, "the network receives t with its fraction at each σ",
        diffusers: "cuts the fraction off";
    REPEATED: "_class_name", 0.074, "the last step goes to clean data",
        diffusers: "repeats the last σ of this spacing, so that the last call changes nothing and some noise is left";
    CLIPPED_TRAILING: "lambda_min_clipped", 4.8e-3, "there are S calls, spaced over the levels that are left",
        diffusers: "spaces them by T/S of the whole table, and makes fewer calls";
    THIRD: "solver_order", 0.2, "the third order is exact",
        diffusers: "gives the second difference half of its weight, so that steps are of order 2";
    THIRD_STOCHASTIC: "solver_order", 1.5, "the third order is exact",
        diffusers: "has a wrong sign in the weight of the second difference";
    THIRD_STOCHASTIC_NOISE: "solver_order", NONE, "the third order is exact",
        diffusers: "has no step of this order in sde-dpmsolver, and fails";
    THIRD_SINGLE: "solver_order", 6.1, "the third order is exact for any inner points",
        diffusers: "uses the formula for an inner point at 2/3 of the step, which is of order 2 for any other point";
    NOISE_TO_CLEAN: "final_sigmas_type", NONE, "the last step, to clean data, is of the first order",
        diffusers: "refuses final_sigmas_type = zero for this algorithm_type";
    NOISE_OF_FLOW: "prediction_type", NONE, "ε is computed from the velocity and interpolated",
        diffusers: "cannot compute ε for a flow, and fails";
    BH1_TO_CLEAN: "solver_type", NONE, "the last step, to clean data, is of the first order, as with bh2",
        diffusers: "returns NaN, because B(h) = h is infinite there";
    UNIPC_NOISE_TO_CLEAN: "predict_x0", NONE, "the last step, to clean data, is of the first order",
        diffusers: "returns NaN";
    INVERSE_LIST: "timestep_spacing", 1.1, "the path is that of DPMSolverMultistepScheduler, reversed from t = 0",
        diffusers: "uses other levels: leading ends at t = T − 1, trailing begins at the second level and repeats the last";
    INVERSE_SPREAD: "_class_name", 1.0, "the path is that of DPMSolverMultistepScheduler, reversed from clean data",
        diffusers: "begins at the smallest σ and repeats the largest; after two levels with the same t, the later t are shifted";
    INVERSE_FLOW: "use_flow_sigmas", 1.3, "the path runs from data to noise",
        diffusers: "runs from noise to data, and repeats the last σ";
    FLOW: "use_flow_sigmas", 0.085, "the σ 1, 1 − 1/S, …, 1/S are shifted, and the network receives T·σ",
        diffusers: "starts at σ = 1 − 1/T, and cuts the fraction of T·σ off";
    UNIPC_FLOW: "use_flow_sigmas", 0.083, "the σ 1, 1 − 1/S, …, 1/S are shifted",
        diffusers: "shifts the first S of S + 1 evenly spaced σ from 1 to 1/T, and lowers the first by 1e-6";
    FLOW_SPREAD: "use_flow_sigmas", NONE, "each σ of the spacing becomes σ/(1 + σ), the σ of a flow",
        diffusers: "uses the σ of the spacing as the σ of the flow, and returns NaN";
    FLOW_REPEATED: "use_flow_sigmas", 0.78, "the last step goes to clean data",
        diffusers: "repeats the last σ of a flow, so that the last call changes nothing and some noise is left";
    FLOW_END: "final_sigmas_type", 0.15, "a flow ends at clean data",
        diffusers: "repeats the last σ (UniPC), or ends at the σ of the β schedule at t = 0";
}

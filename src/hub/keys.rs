//! Which key acts in which class: what the code of diffusers 0.42.1 does with its constructor's parameters.

use crate::hub::SchedulerClass;

/// Whether a key changes what this class does.
///
/// A parameter that the constructor takes and no method reads does not act: `clip_sample` of `CogVideoXDDIMScheduler`, for
/// example, or `timestep_spacing` of `LCMScheduler`.
pub(super) fn acts(class: SchedulerClass, key: &str) -> bool {
    use SchedulerClass::{
        CogVideoXDdim, CogVideoXDpm, Ddim, DdimInverse, DdimParallel, Ddpm, DdpmParallel, DeisMultistep,
        DpmSolverMultistep, DpmSolverSde, DpmSolverSinglestep, EulerAncestralDiscrete, EulerDiscrete, HeunDiscrete,
        Kdpm2AncestralDiscrete, Kdpm2Discrete, Lcm, LmsDiscrete, Pndm, SaSolver, Tcd, UnClip, UniPcMultistep,
    };
    match key {
        "num_train_timesteps" | "beta_schedule" | "prediction_type" => true,
        "beta_start" | "beta_end" | "trained_betas" => class != UnClip,
        "snr_shift_scale" => matches!(class, CogVideoXDdim | CogVideoXDpm),
        "rescale_betas_zero_snr" => matches!(
            class,
            Ddim | DdimParallel
                | DdimInverse
                | Ddpm
                | DdpmParallel
                | CogVideoXDdim
                | CogVideoXDpm
                | EulerDiscrete
                | EulerAncestralDiscrete
                | DpmSolverMultistep
                | UniPcMultistep
                | Lcm
                | Tcd
        ),
        "clip_sample" | "clip_sample_range" => {
            matches!(class, Ddim | DdimParallel | DdimInverse | Ddpm | DdpmParallel | UnClip | HeunDiscrete | Lcm)
        }
        "thresholding" | "dynamic_thresholding_ratio" | "sample_max_value" => matches!(
            class,
            Ddim | DdimParallel
                | Ddpm
                | DdpmParallel
                | DpmSolverMultistep
                | DpmSolverSinglestep
                | DeisMultistep
                | UniPcMultistep
                | SaSolver
                | Lcm
        ),
        "timestep_spacing" | "steps_offset" => !matches!(class, UnClip | DpmSolverSinglestep | Lcm | Tcd),
        "set_alpha_to_one" => {
            matches!(class, Ddim | DdimParallel | DdimInverse | CogVideoXDdim | CogVideoXDpm | Pndm | Lcm | Tcd)
        }
        "set_alpha_to_zero" => class == DdimInverse,
        "final_sigmas_type" => {
            matches!(class, EulerDiscrete | DpmSolverMultistep | DpmSolverSinglestep | UniPcMultistep)
        }
        "variance_type" => {
            matches!(class, Ddpm | DdpmParallel | UnClip | DpmSolverMultistep | DpmSolverSinglestep | SaSolver)
        }
        "use_karras_sigmas" | "use_exponential_sigmas" | "use_beta_sigmas" => matches!(
            class,
            EulerDiscrete
                | HeunDiscrete
                | LmsDiscrete
                | Kdpm2Discrete
                | Kdpm2AncestralDiscrete
                | DpmSolverSde
                | DpmSolverMultistep
                | DpmSolverSinglestep
                | DeisMultistep
                | UniPcMultistep
                | SaSolver
        ),
        "interpolation_type" | "timestep_type" => class == EulerDiscrete,
        "sigma_min" | "sigma_max" => matches!(class, EulerDiscrete | UniPcMultistep),
        "use_lu_lambdas" | "euler_at_final" => class == DpmSolverMultistep,
        "solver_order" | "solver_type" | "use_dynamic_shifting" | "time_shift_type" => {
            matches!(class, DpmSolverMultistep | DpmSolverSinglestep | DeisMultistep | UniPcMultistep)
        }
        "algorithm_type" => matches!(class, DpmSolverMultistep | DpmSolverSinglestep | DeisMultistep | SaSolver),
        "lower_order_final" | "use_flow_sigmas" | "flow_shift" => {
            matches!(class, DpmSolverMultistep | DpmSolverSinglestep | DeisMultistep | UniPcMultistep | SaSolver)
        }
        "lambda_min_clipped" => matches!(class, DpmSolverMultistep | DpmSolverSinglestep | SaSolver),
        "predict_x0" | "disable_corrector" | "solver_p" | "shift_terminal" => class == UniPcMultistep,
        "predictor_order" | "corrector_order" | "tau_func" => class == SaSolver,
        "noise_sampler_seed" => class == DpmSolverSde,
        "skip_prk_steps" => class == Pndm,
        "original_inference_steps" | "timestep_scaling" => matches!(class, Lcm | Tcd),
        _ => false,
    }
}

/// Whether a key acts in any class.
pub(super) fn is_known(key: &str) -> bool {
    SchedulerClass::ALL.into_iter().any(|class| acts(class, key))
}

/// The keys with which diffusers spaces steps in σ.
pub(super) const SIGMA_KEYS: [&str; 7] = [
    "interpolation_type",
    "sigma_max",
    "sigma_min",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
];

/// Arguments of `step()` in diffusers, which some write into a file.
pub(super) const STEP_ARGUMENTS: [&str; 5] = ["eta", "s_churn", "s_noise", "s_tmax", "s_tmin"];

/// Keys of early versions, with what they are called now. Two of them never had an effect.
pub(super) const REMOVED_KEYS: [(&str, Option<&str>); 6] = [
    ("clip_predicted_image", Some("clip_sample")),
    ("predict_epsilon", Some("prediction_type")),
    ("set_alpha_to_zero", Some("set_alpha_to_one")),
    ("tensor_format", None),
    ("timestep_values", None),
    ("timesteps", Some("num_train_timesteps")),
];

/// Whether a key is switched off by its value, so that ignoring it changes nothing, whatever the class.
pub(super) fn is_off(key: &str, text: &str) -> bool {
    match key {
        "interpolation_type" => text == "\"linear\"",
        "timestep_type" => text == "\"discrete\"",
        "sigma_min" | "sigma_max" | "shift_terminal" | "noise_sampler_seed" | "variance_type" => text == "null",
        "clip_sample" | "thresholding" | "rescale_betas_zero_snr" => matches!(text, "false" | "null"),
        _ => key.starts_with("use_") && is_known(key) && matches!(text, "false" | "null"),
    }
}

//! Which key acts in which class, according to the code of diffusers 0.42.1.

use crate::hub::SchedulerClass;

/// Whether a key changes what this class does.
///
/// A parameter that the constructor takes but no method reads does not act: for example `clip_sample` of `CogVideoXDDIMScheduler`, or
/// `timestep_spacing` of `LCMScheduler`.
pub(super) fn acts(class: SchedulerClass, key: &str) -> bool {
    use SchedulerClass::{
        CogVideoXDdim, CogVideoXDpm, CosineDpmSolverMultistep, Ddim, DdimInverse, DdimParallel, Ddpm, DdpmParallel,
        DeisMultistep, DpmSolverMultistep, DpmSolverMultistepInverse, DpmSolverSde, DpmSolverSinglestep,
        EdmDpmSolverMultistep, EdmEuler, EulerAncestralDiscrete, EulerDiscrete, FlowMatchEulerDiscrete,
        FlowMatchHeunDiscrete, FlowMatchLcm, HeunDiscrete, Ipndm, Kdpm2AncestralDiscrete, Kdpm2Discrete, Lcm,
        LmsDiscrete, LtxEulerAncestralRf, Pndm, SaSolver, ScoreSdeVe, Tcd, UnClip, UniPcMultistep,
    };
    let has_betas = class.has_betas();
    let preconditioned = matches!(class, EdmEuler | EdmDpmSolverMultistep | CosineDpmSolverMultistep);
    // LTX's class makes its list of σ with a FlowMatchEulerDiscreteScheduler of the same configuration.
    let flow_match = matches!(class, FlowMatchEulerDiscrete | FlowMatchLcm | LtxEulerAncestralRf);
    let dpm_solver = matches!(class, DpmSolverMultistep | DpmSolverMultistepInverse | DpmSolverSinglestep);
    let lambda = dpm_solver || matches!(class, DeisMultistep | UniPcMultistep);
    match key {
        "num_train_timesteps" => has_betas || flow_match || class == FlowMatchHeunDiscrete,
        "beta_schedule" => has_betas,
        "prediction_type" => has_betas || preconditioned,
        "beta_start" | "beta_end" => has_betas && class != UnClip,
        "trained_betas" => has_betas && class != UnClip || class == Ipndm,
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
        "thresholding" | "dynamic_thresholding_ratio" | "sample_max_value" => {
            lambda
                || matches!(class, Ddim | DdimParallel | Ddpm | DdpmParallel | SaSolver | Lcm | EdmDpmSolverMultistep)
        }
        "timestep_spacing" | "steps_offset" => has_betas && !matches!(class, UnClip | DpmSolverSinglestep | Lcm | Tcd),
        "set_alpha_to_one" => {
            matches!(class, Ddim | DdimParallel | DdimInverse | CogVideoXDdim | CogVideoXDpm | Pndm)
        }
        "set_alpha_to_zero" => class == DdimInverse,
        "final_sigmas_type" => {
            preconditioned || matches!(class, EulerDiscrete | DpmSolverMultistep | DpmSolverSinglestep | UniPcMultistep)
        }
        "variance_type" => dpm_solver || matches!(class, Ddpm | DdpmParallel | UnClip | SaSolver),
        "use_karras_sigmas" | "use_exponential_sigmas" | "use_beta_sigmas" => {
            lambda
                || flow_match
                || matches!(
                    class,
                    EulerDiscrete
                        | HeunDiscrete
                        | LmsDiscrete
                        | Kdpm2Discrete
                        | Kdpm2AncestralDiscrete
                        | DpmSolverSde
                        | SaSolver
                )
        }
        "interpolation_type" | "timestep_type" => class == EulerDiscrete,
        "sigma_min" | "sigma_max" => preconditioned || matches!(class, EulerDiscrete | UniPcMultistep | ScoreSdeVe),
        "sigma_data" | "sigma_schedule" | "rho" => preconditioned,
        "use_lu_lambdas" => class == DpmSolverMultistep,
        "euler_at_final" => {
            matches!(
                class,
                DpmSolverMultistep | DpmSolverMultistepInverse | EdmDpmSolverMultistep | CosineDpmSolverMultistep
            )
        }
        "solver_order" | "solver_type" => lambda || matches!(class, EdmDpmSolverMultistep | CosineDpmSolverMultistep),
        "use_dynamic_shifting" | "time_shift_type" => (lambda && class != DpmSolverMultistepInverse) || flow_match,
        "algorithm_type" => dpm_solver || matches!(class, DeisMultistep | SaSolver | EdmDpmSolverMultistep),
        "lower_order_final" => lambda || matches!(class, SaSolver | EdmDpmSolverMultistep | CosineDpmSolverMultistep),
        "use_flow_sigmas" | "flow_shift" => lambda || class == SaSolver,
        "lambda_min_clipped" => dpm_solver || class == SaSolver,
        "predict_x0" | "disable_corrector" | "solver_p" => class == UniPcMultistep,
        "shift_terminal" => flow_match || class == UniPcMultistep,
        "predictor_order" | "corrector_order" | "tau_func" => class == SaSolver,
        "noise_sampler_seed" => class == DpmSolverSde,
        "skip_prk_steps" => class == Pndm,
        "original_inference_steps" => matches!(class, Lcm | Tcd),
        "timestep_scaling" => class == Lcm,
        "shift" => flow_match || class == FlowMatchHeunDiscrete,
        "base_shift" | "max_shift" | "base_image_seq_len" | "max_image_seq_len" | "invert_sigmas" => flow_match,
        "stochastic_sampling" => class == FlowMatchEulerDiscrete,
        "scale_factors" | "upscale_mode" => class == FlowMatchLcm,
        "eta" | "s_noise" => class == LtxEulerAncestralRf,
        "snr" | "sampling_eps" | "correct_steps" => class == ScoreSdeVe,
        _ => false,
    }
}

/// Whether a key acts in any class.
pub(super) fn is_known(key: &str) -> bool {
    SchedulerClass::ALL.into_iter().any(|class| acts(class, key))
}

/// Arguments of `step()` in diffusers, which some files hold by mistake.
pub(super) const STEP_ARGUMENTS: [&str; 5] = ["eta", "s_churn", "s_noise", "s_tmax", "s_tmin"];

/// Keys of early diffusers versions, with their present names. `None`: the key never had an effect.
pub(super) const REMOVED_KEYS: [(&str, Option<&str>); 6] = [
    ("clip_predicted_image", Some("clip_sample")),
    ("predict_epsilon", Some("prediction_type")),
    ("set_alpha_to_zero", Some("set_alpha_to_one")),
    ("tensor_format", None),
    ("timestep_values", None),
    ("timesteps", Some("num_train_timesteps")),
];

/// Whether the value switches the key off in every class, so that ignoring the key changes nothing.
pub(super) fn is_off(key: &str, text: &str) -> bool {
    match key {
        "interpolation_type" => text == "\"linear\"",
        "timestep_type" => text == "\"discrete\"",
        "sigma_min" | "sigma_max" | "shift_terminal" | "noise_sampler_seed" | "variance_type" => text == "null",
        "clip_sample" | "thresholding" | "rescale_betas_zero_snr" => matches!(text, "false" | "null"),
        _ => key.starts_with("use_") && is_known(key) && matches!(text, "false" | "null"),
    }
}

"""Runs of the classes that walk a table of β in t: DDIM, DDPM, PNDM, LCM, TCD."""

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = (1, 2, 5, 10, 20)
SPACINGS = ("leading", "trailing", "linspace")


def unclip(scheduler, m, t, x, call):
    ts = scheduler.timesteps
    following = ts[call + 1] if call + 1 < len(ts) else None
    return scheduler.step(m, t, x, prev_timestep=following).prev_sample


class CogVideoX:
    """The loop of its pipeline."""

    def __init__(self):
        self.old = None

    def __call__(self, scheduler, m, t, x, call):
        if call == 0:
            self.old = None
        back = scheduler.timesteps[call - 1] if call > 0 else None
        x, self.old = scheduler.step(m, self.old, t, back, x, return_dict=False)
        return x


def runs():
    for spacing in SPACINGS:
        for steps in STEPS:
            config = SD | {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": spacing}
            yield {"class": "DDIMScheduler", "config": config, "run": {"steps": steps}}
            config = {"timestep_spacing": spacing}
            yield {"class": "DDPMScheduler", "config": config | {"variance_type": "fixed_large"}, "run": {"steps": steps}}
            if spacing != "linspace":
                yield {"class": "DDIMInverseScheduler", "config": config | {"clip_sample": False}, "run": {"steps": steps}}
    for eta in (0.5, 1.0):
        yield {"class": "DDIMScheduler", "config": {}, "run": {"steps": 10, "eta": eta}}
        yield {"class": "DDIMParallelScheduler", "config": SD | {"prediction_type": "v_prediction"}, "run": {"steps": 10, "eta": eta}}
    yield {"class": "DDIMScheduler", "config": {"thresholding": True, "clip_sample": False, "sample_max_value": 1.5}, "run": {"steps": 10}}
    yield {"class": "DDIMScheduler", "config": {"clip_sample_range": 2.0, "prediction_type": "sample"}, "run": {"steps": 10}}
    yield {"class": "DDIMScheduler", "config": SD | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample": False}, "run": {"steps": 10}}
    yield {"class": "DDIMScheduler", "config": {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}, "run": {"steps": 20}}
    for strength in (0.3, 0.75):
        yield {"class": "DDIMScheduler", "config": {"clip_sample": False}, "run": {"steps": 20, "strength": strength}}
    for variance in ("fixed_small", "fixed_small_log", "fixed_large_log"):
        yield {"class": "DDPMScheduler", "config": {"variance_type": variance, "clip_sample": False}, "run": {"steps": 10}}
    yield {"class": "DDPMScheduler", "config": {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}, "run": {"steps": 100}}
    yield {"class": "DDPMScheduler", "config": {"beta_schedule": "sigmoid", "prediction_type": "sample"}, "run": {"steps": 10}}
    yield {"class": "DDPMParallelScheduler", "config": {"thresholding": True, "prediction_type": "v_prediction"}, "run": {"steps": 10}}
    yield {"class": "DDPMScheduler", "config": {}, "run": {"timesteps": [999, 700, 432, 99, 0]}}
    yield {"class": "DDPMScheduler", "config": {}, "run": {"timesteps": [900, 500, 100]}}
    for steps in STEPS:
        yield {"class": "UnCLIPScheduler", "config": {}, "run": {"steps": steps}, "step_function": unclip}
    for steps in STEPS:
        config = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
        yield {"class": "CogVideoXDDIMScheduler", "config": config, "run": {"steps": steps}}
        yield {"class": "CogVideoXDPMScheduler", "config": config, "run": {"steps": steps}, "step_function": CogVideoX()}
    for spacing in SPACINGS:
        yield {"class": "CogVideoXDDIMScheduler", "config": {"timestep_spacing": spacing, "snr_shift_scale": 1.0, "set_alpha_to_one": False}, "run": {"steps": 7}}
        config = {"timestep_spacing": spacing, "set_alpha_to_one": spacing == "linspace"}
        yield {"class": "CogVideoXDPMScheduler", "config": config, "run": {"steps": 7}, "step_function": CogVideoX()}
    yield {"class": "CogVideoXDDIMScheduler", "config": {"beta_schedule": "linear", "beta_end": 0.02}, "run": {"steps": 5}}
    for skip in (True, False):
        for prediction in ("epsilon", "v_prediction"):
            for steps in STEPS:
                config = SD | {"skip_prk_steps": skip, "steps_offset": 1, "prediction_type": prediction}
                yield {"class": "PNDMScheduler", "config": config, "run": {"steps": steps}}
        for spacing in ("trailing", "linspace"):
            config = {"skip_prk_steps": skip, "timestep_spacing": spacing}
            yield {"class": "PNDMScheduler", "config": config, "run": {"steps": 7}}
        yield {"class": "PNDMScheduler", "config": {"skip_prk_steps": skip, "set_alpha_to_one": True}, "run": {"steps": 8}}
    yield {"class": "PNDMScheduler", "config": {"skip_prk_steps": True, "prediction_type": "sample"}, "run": {"steps": 8}}
    yield {"class": "PNDMScheduler", "config": {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}, "run": {"steps": 20}}
    for steps in (1, 2, 4, 8, 20):
        yield {"class": "LCMScheduler", "config": {}, "run": {"steps": steps}}
        for eta in (None, 0.0, 1.0):
            yield {"class": "TCDScheduler", "config": {}, "run": {"steps": steps} | ({} if eta is None else {"eta": eta})}
    yield {"class": "LCMScheduler", "config": {"prediction_type": "v_prediction", "clip_sample": True, "original_inference_steps": 100, "timestep_scaling": 1.0}, "run": {"steps": 5}}
    yield {"class": "LCMScheduler", "config": {"prediction_type": "sample", "thresholding": True}, "run": {"steps": 5}}
    yield {"class": "LCMScheduler", "config": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, "run": {"steps": 4}}
    yield {"class": "LCMScheduler", "config": {}, "run": {"timesteps": [999, 640, 250]}}
    yield {"class": "LCMScheduler", "config": {}, "run": {"steps": 4, "strength": 0.5}, "own_strength": True}
    yield {"class": "TCDScheduler", "config": {}, "run": {"steps": 4, "strength": 0.5}, "own_strength": True}
    yield {"class": "TCDScheduler", "config": {"prediction_type": "v_prediction", "set_alpha_to_one": False}, "run": {"steps": 4}}
    yield {"class": "TCDScheduler", "config": {"prediction_type": "sample"}, "run": {"timesteps": [999, 500]}}
    yield {"class": "LCMScheduler", "config": {}, "run": {"steps": 51}}

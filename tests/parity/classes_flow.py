"""Runs of the classes whose levels are a formula: flow matching, EDM, Stable Audio, iPNDM, score networks."""


EULER = "FlowMatchEulerDiscreteScheduler"
HEUN = "FlowMatchHeunDiscreteScheduler"
LCM = "FlowMatchLCMScheduler"
LTX = "LTXEulerAncestralRFScheduler"
STEPS = (1, 2, 5, 10, 20)


def flow(name, config, run, **more):
    return {"class": name, "config": config, "run": run, "scale": "flow", **more}


def dynamic(**more):
    return {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15} | more


def pipeline(steps):
    """The σ that pipelines pass."""
    return [round(1 - i / steps, 6) for i in range(steps)]


def flows():
    for steps in STEPS:
        yield flow(EULER, {}, {"steps": steps})
        yield flow(EULER, {"shift": 3.0}, {"steps": steps})
        yield flow(HEUN, {"shift": 3.0}, {"steps": steps})
        yield flow(EULER, dynamic(), {"steps": steps, "mu": 1.15})
    for name in (EULER, LCM):
        yield flow(name, {"shift": 0.5, "num_train_timesteps": 100}, {"steps": 5}, unit=100)
        yield flow(name, {"shift": 7.0}, {"sigmas": pipeline(5)})
        yield flow(name, {"shift": 7.0}, {"sigmas": [0.9, 0.61, 0.2, 0.03]})
        yield flow(name, {}, {"timesteps": [1000, 750, 480, 130]})
        yield flow(name, {"shift": 3.0}, {"timesteps": [1000, 750, 480, 130.5]})
        yield flow(name, {"shift": 3.0, "shift_terminal": 0.1}, {"steps": 5})
        yield flow(name, {"shift": 3.0, "shift_terminal": 0.02}, {"sigmas": pipeline(5)})
        yield flow(name, {"shift": 3.0, "shift_terminal": 0.1}, {"steps": 1})
        yield flow(name, {"shift_terminal": 0}, {"steps": 2})
        yield flow(name, dynamic(), {"sigmas": pipeline(4), "mu": 1.15})
        yield flow(name, dynamic(), {"timesteps": [1000, 600, 100], "mu": 0.8})
        yield flow(name, dynamic(time_shift_type="linear"), {"steps": 5, "mu": 1.15})
        yield flow(name, dynamic(shift_terminal=0.02), {"sigmas": pipeline(10), "mu": 0.9})
        yield flow(name, {"shift": 3.0, "use_dynamic_shifting": None}, {"steps": 5, "strength": 0.6})
        for key in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
            yield flow(name, {"shift": 3.0, key: True}, {"steps": 5})
            yield flow(name, {"shift": 3.0, key: True}, {"sigmas": pipeline(5)})
            yield flow(name, dynamic(**{key: True}), {"steps": 3, "mu": 0.6})
        yield flow(name, {"use_karras_sigmas": True, "shift_terminal": 0.1}, {"timesteps": [900, 500, 200]})
        yield flow(name, {"use_karras_sigmas": True}, {"steps": 1})
        # What is refused.
        yield flow(name, dynamic(), {"steps": 4})
        yield flow(name, {"use_karras_sigmas": True, "use_beta_sigmas": True}, {"steps": 4})
        yield flow(name, {"time_shift_type": "cubic"}, {"steps": 4})
    yield flow(EULER, {"stochastic_sampling": True}, {"steps": 5})
    yield flow(EULER, {"stochastic_sampling": True, "shift": 3.0}, {"sigmas": pipeline(4)})
    yield flow(EULER, {"invert_sigmas": True}, {"steps": 5})
    yield flow(EULER, {"invert_sigmas": True}, {"sigmas": [1.0, 0.995, 0.9875, 0.75, 0.3]})
    yield flow(EULER, {"invert_sigmas": True, "shift": 3.0, "num_train_timesteps": 100}, {"steps": 10}, unit=100)
    yield flow(HEUN, {}, {"steps": 5})
    yield flow(HEUN, {"shift": 0.3, "num_train_timesteps": 500}, {"steps": 4}, unit=500)
    yield flow(HEUN, {}, {"sigmas": [1.0, 0.5]})
    yield flow(LCM, {"scale_factors": [1.5, 2.0], "upscale_mode": "nearest"}, {"steps": 3})
    yield flow(LCM, {"shift": 5.0}, {"steps": 20})


def ltx(config, run, **more):
    return flow(LTX, config, run, also=(EULER,), **more)


def ancestral():
    for steps in STEPS:
        yield ltx({}, {"steps": steps})
    for config in ({"eta": 0.0}, {"eta": 0.5}, {"eta": 0.5, "s_noise": 0.7}, {"eta": 0.5, "s_noise": 0.0}):
        yield ltx(config, {"steps": 5})
        yield ltx(config, {"sigmas": [1.0, 0.97, 0.8, 0.4, 0.0]}, calls=4)
    yield ltx({"num_train_timesteps": 200}, {"sigmas": [0.9, 0.5, 0.1, 0.0]}, calls=3, unit=200)
    yield ltx({"shift": 3.0, "eta": 0.4}, {"steps": 5}, from_config=True)
    yield ltx({"shift": 3.0}, {"sigmas": [1.0, 0.6, 0.3, 0.0]}, calls=3, from_config=True)
    yield ltx(dynamic(shift_terminal=0.1), {"steps": 5, "mu": 0.9}, from_config=True)
    yield ltx(dynamic(), {"steps": 5}, from_config=True)


def edm(name, config, run, **more):
    return {"class": name, "config": config, "run": run, "scale": "ve", "unit": 1, **more}


DPM = "EDMDPMSolverMultistepScheduler"
COSINE = "CosineDPMSolverMultistepScheduler"


def without_tree(module, scheduler, drawn):
    scheduler.noise_sampler = drawn


def edms():
    for steps in STEPS:
        yield edm("EDMEulerScheduler", {}, {"steps": steps})
        yield edm(DPM, {}, {"steps": steps})
        yield edm(DPM, {"solver_order": 3}, {"steps": steps})
        yield edm(COSINE, {}, {"steps": steps}, prepare=without_tree)
    for name in ("EDMEulerScheduler", DPM):
        yield edm(name, {"sigma_schedule": "exponential"}, {"steps": 5})
        yield edm(name, {"sigma_schedule": "exponential"}, {"steps": 1})
        yield edm(name, {"final_sigmas_type": "sigma_min"}, {"steps": 5})
        yield edm(name, {"final_sigmas_type": "sigma_min"}, {"steps": 1})
        yield edm(name, {"sigma_min": 0.01, "sigma_max": 20.0, "sigma_data": 1.3, "rho": 3.0}, {"steps": 5})
        yield edm(name, {"prediction_type": "v_prediction"}, {"steps": 5})
        yield edm(name, {"prediction_type": "v_prediction", "sigma_data": 1.0}, {"steps": 3})
        yield edm(name, {"prediction_type": "sample"}, {"steps": 5})
        yield edm(name, {"sigma_schedule": "linear"}, {"steps": 5})
        yield edm(name, {"final_sigmas_type": "one"}, {"steps": 5})
    yield edm("EDMEulerScheduler", {}, {"steps": 5, "strength": 0.6})
    yield edm("EDMEulerScheduler", {}, {"sigmas": [80.0, 10.0, 1.0]})
    yield edm(DPM, {}, {"sigmas": [80.0, 10.0, 1.0]})
    for config in (
        {"solver_order": 1},
        {"solver_type": "heun"},
        {"solver_type": "bh2"},
        {"solver_type": "heun", "solver_order": 3},
        {"algorithm_type": "deis"},
        {"algorithm_type": "deis", "final_sigmas_type": "sigma_min"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
        {"lower_order_final": False},
        {"lower_order_final": False, "solver_order": 3, "solver_type": "heun"},
        {"lower_order_final": False, "solver_order": 3},
        {"final_sigmas_type": "sigma_min", "solver_type": "heun", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "euler_at_final": True, "solver_order": 3, "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "solver_order": 3},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.6},
        {"thresholding": True, "solver_order": 3, "sigma_schedule": "exponential"},
        {"algorithm_type": "dpmsolver"},
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        {"solver_type": "rk"},
    ):
        yield edm(DPM, config, {"steps": 6})
    for steps in (14, 15):
        yield edm(DPM, {"solver_order": 3}, {"steps": steps})
    yield edm(DPM, {"solver_order": 3, "solver_type": "heun"}, {"steps": 16})
    yield edm(DPM, {"euler_at_final": True, "final_sigmas_type": "sigma_min"}, {"steps": 16})
    yield edm(DPM, {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, {"steps": 4})
    yield edm(DPM, {"algorithm_type": "sde-dpmsolver++"}, {"steps": 20})
    for config in (
        {"sigma_schedule": "karras"},
        {"sigma_schedule": "karras", "rho": 5.0, "sigma_max": 50.0, "sigma_min": 0.1, "sigma_data": 0.7},
        {"solver_type": "heun"},
        {"solver_order": 1},
        {"prediction_type": "epsilon"},
        {"lower_order_final": False, "euler_at_final": True},
        {"solver_order": 3},
    ):
        yield edm(COSINE, config, {"steps": 6}, prepare=without_tree)
    yield edm(COSINE, {"final_sigmas_type": "sigma_min"}, {"steps": 5}, prepare=without_tree)
    yield edm(COSINE, {"solver_order": 3}, {"steps": 4}, prepare=without_tree)


def others():
    for steps in (1, 2, 3, 5, 10, 20):
        yield {"class": "IPNDMScheduler", "run": {"steps": steps}, "unit": 1}
    yield {"class": "IPNDMScheduler", "config": {"trained_betas": [0.95, 0.7, 0.4, 0.1, 0.0]}, "run": {"steps": 4}, "unit": 1}
    yield {"class": "IPNDMScheduler", "config": {"trained_betas": [0.9, 0.5, 0.2]}, "run": {"steps": 2}, "unit": 1}

    def prepare(module, scheduler, drawn):
        # As the pipeline does.
        scheduler.set_sigmas(len(scheduler.timesteps))

    def step(scheduler, m, t, x, call):
        out = scheduler.step_pred(m, t, x)
        return out.prev_sample_mean if call + 1 == len(scheduler.timesteps) else out.prev_sample

    score = {
        "class": "ScoreSdeVeScheduler",
        "scale": "ve",
        "unit": 1348,
        "receives": lambda scheduler, call: scheduler.sigmas[call],
        "prepare": prepare,
        "step_function": step,
    }
    for steps in STEPS:
        yield score | {"config": {}, "run": {"steps": steps}}
    yield score | {"config": {"sigma_min": 0.05, "sigma_max": 50.0}, "run": {"steps": 5}, "unit": 50}
    yield score | {"config": {"sampling_eps": 1e-3, "correct_steps": 0, "snr": 0.1}, "run": {"steps": 5}}


def runs():
    for group in (flows, ancestral, edms, others):
        yield from group()



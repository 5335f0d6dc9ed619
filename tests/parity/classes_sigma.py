"""Runs of the classes in σ: Euler, Heun, LMS, KDPM2, DPM-Solver SDE."""

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
SVD = SD | {
    "prediction_type": "v_prediction", "sigma_min": 0.002, "sigma_max": 700.0, "steps_offset": 1,
    "timestep_spacing": "leading", "timestep_type": "continuous", "use_karras_sigmas": True,
}  # fmt: skip
V = {"prediction_type": "v_prediction"}
LEADING, TRAILING = {"timestep_spacing": "leading", "steps_offset": 1}, {"timestep_spacing": "trailing"}
KARRAS, EXPONENTIAL, BETA = ({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))
ZERO_SNR = SD | V | {"rescale_betas_zero_snr": True}

# In Python x is 4096·z in f32 at the start of these runs, and the result is what is left of it: 4096·2⁻²⁴ = 2.4e-4 may be lost.
FROM_4096 = 3e-5
# σ_down² = σ_s² − σ_up² is 4e-6 of σ_s² in the only step between levels, so of f32 it has two digits. It decides where the second call is.
CANCELS = 5e-5


def given_noise(_, scheduler, drawn):
    """DPM-Solver SDE's own Brownian tree gives way to the noise of all runs."""
    scheduler.noise_sampler = drawn


def of(name, config, steps=None, **rest):
    spec = {"class": f"{name}Scheduler", "config": config, "run": {}, "scale": "ve", **rest}
    if steps is not None:
        spec["run"] = {"steps": steps} | spec["run"]
    if name == "DPMSolverSDE":
        spec["prepare"] = given_noise
    if name not in ("EulerDiscrete", "EulerAncestralDiscrete", "LMSDiscrete"):
        spec["by_order"] = True
    return spec


ALL = ("EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE")  # fmt: skip


def runs():
    for name in ALL:
        # The spacings, each with other S.
        for config, counts in ((SD, (1, 2, 5)), (SD | LEADING, (1, 5, 10)), (SD | TRAILING, (2, 5, 20))):
            for steps in counts:
                cancels = name == "KDPM2AncestralDiscrete" and config is SD and steps == 2
                yield of(name, config, steps, **({"f32_bound": CANCELS} if cancels else {}))
        yield of(name, {}, 5)
        yield of(name, COSINE | LEADING, 5)
        yield of(name, SD | V, 10)
        yield of(name, SD | LEADING | {"num_train_timesteps": 100}, 7)
        yield of(name, SD | LEADING, 10, run={"strength": 0.6})
        if name != "EulerAncestralDiscrete":
            for spread, other, steps in ((KARRAS, {}, 10), (EXPONENTIAL, LEADING, 6), (BETA, TRAILING, 5)):
                yield of(name, SD | spread | other, steps)
            yield of(name, SD | KARRAS | TRAILING | V, 5)
    yield from euler()
    yield of("EulerAncestralDiscrete", ZERO_SNR | TRAILING, 5)
    yield of("EulerAncestralDiscrete", SD | {"prediction_type": "sample"}, 5)
    for config in ({"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 0.5} | KARRAS, {"prediction_type": "sample"}):
        yield of("HeunDiscrete", SD | LEADING | config, 5)
    yield of("HeunDiscrete", SD, run={"timesteps": [999, 700.5, 333, 60, 20]})
    yield of("LMSDiscrete", SD | {"prediction_type": "sample"}, 5)
    yield of("LMSDiscrete", SD | KARRAS, 12, run={"strength": 0.5})
    yield of("DPMSolverSDE", SD | {"noise_sampler_seed": 7}, 5)
    yield from refused()


def euler():
    for config, steps in (
        ({"final_sigmas_type": "sigma_min"} | LEADING, 5),
        ({"final_sigmas_type": "sigma_min"} | KARRAS, 5),
        ({"interpolation_type": "log_linear"}, 5),
        ({"interpolation_type": "log_linear"} | TRAILING, 5),
        ({"interpolation_type": "log_linear"} | KARRAS | TRAILING, 5),
        ({"interpolation_type": "log_linear", "timestep_type": "continuous"} | V, 5),
        ({"sigma_min": 0.1, "sigma_max": 10.0} | KARRAS, 5),
        ({"sigma_min": 0.1} | EXPONENTIAL, 5),
        ({"sigma_max": 10.0} | BETA, 5),
        ({"timestep_type": "continuous"}, 5),
        ({"timestep_type": "continuous"} | V, 5),
        ({"prediction_type": "sample"}, 5),
        ({"trained_betas": [0.01 * (i + 1) for i in range(20)], "num_train_timesteps": 20} | LEADING, 5),
    ):
        yield of("EulerDiscrete", SD | config, steps)
    # numpy makes 30 entries of 29, the last of them t = −1.
    for config in (TRAILING, TRAILING | KARRAS):
        yield of("EulerDiscrete", SD | config | {"num_train_timesteps": 50}, 29)
    # Past the end of the table, where t stays T − 1.
    yield of("EulerDiscrete", SD | {"sigma_max": 80.0} | KARRAS, 5)
    for steps in (5, 10):
        yield of("EulerDiscrete", SVD, steps)
    for config, steps in ((TRAILING, 5), ({}, 5), (KARRAS, 6), (LEADING, 5)):
        bound = {"f32_bound": FROM_4096} if config in (TRAILING, {}) else {}
        yield of("EulerDiscrete", ZERO_SNR | config, steps, **bound)
    yield of("EulerDiscrete", SD | {"rescale_betas_zero_snr": True}, 5)
    sigmas = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0]
    yield of("EulerDiscrete", SD, run={"sigmas": sigmas})
    yield of("EulerDiscrete", SD | LEADING, run={"sigmas": [10.0, 3.0, 1.0, 0.1]})
    yield of("EulerDiscrete", SVD, run={"sigmas": [700.0, 54.5, 15.886, 4.248, 0.981, 0.034, 0.0]})
    yield of("EulerDiscrete", SD, run={"timesteps": [999, 850, 736, 645.25, 455, 24]})
    yield of("EulerDiscrete", SD | LEADING, run={"timesteps": [800, 600, 400, 200]})


def refused():
    """What Python refuses, or does not end with numbers."""
    for name in ALL:
        if name != "EulerAncestralDiscrete":
            yield of(name, SD | KARRAS | BETA, 5)
    for name in ("EulerAncestralDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE"):
        yield of(name, SD | {"prediction_type": "sample"}, 5)
    yield of("EulerDiscrete", SD | KARRAS, run={"timesteps": [999, 500, 1]})
    yield of("HeunDiscrete", SD | EXPONENTIAL, run={"timesteps": [999, 500, 1]})
    yield of("EulerDiscrete", SD | V | {"timestep_type": "continuous"}, run={"timesteps": [999, 500, 1]})
    yield of("LMSDiscrete", SD, run={"timesteps": [999, 500, 1]})
    yield of("HeunDiscrete", SD, run={"sigmas": [10.0, 1.0, 0.0]})
    yield of("EulerDiscrete", SD | {"interpolation_type": "cubic"}, 5)
    yield of("EulerDiscrete", SD | {"final_sigmas_type": "one"}, 5)
    # An offset that pushes t past the table: the first two σ are one.
    yield of("EulerDiscrete", SD | LEADING | {"num_train_timesteps": 10}, 10, refused_here=True)
    yield of("KDPM2Discrete", SD | {"num_train_timesteps": 10}, 1)

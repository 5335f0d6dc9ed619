"""Runs of the classes that remember, in ln(signal/noise): DPM-Solver, its inverse and its single steps, DEIS, UniPC, SA-Solver."""

MULTI, INVERSE, SINGLE, DEIS, UNIPC, SA = (
    f"{name}Scheduler"
    for name in ("DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep", "SASolver")
)  # fmt: skip
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
TRAILING = {"timestep_spacing": "trailing"}
KARRAS, EXPONENTIAL, BETA = ({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))
LU = {"use_lu_lambdas": True}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
V, SAMPLE = ({"prediction_type": name} for name in ("v_prediction", "sample"))
SIGMA_MIN = {"final_sigmas_type": "sigma_min"}
THRESHOLD = {"thresholding": True, "sample_max_value": 1.5}
ZERO_SNR = {"rescale_betas_zero_snr": True}

# The f32 of Python cancels there, and its own run in f64 differs as much: (x - x0)/sigma at sigma = 0.01 times e^9.6 in one step of
# the inverse, the antiderivatives of DEIS at noise/signal of 1000 and more, and the powers of lambda in SA-Solver's orders 3 and 4.
INVERSE_ROUNDS, DEIS_ROUNDS, SA_ROUNDS = ({"f32_bound": bound} for bound in (2e-5, 5e-5, 1e-4))


def run(name, config, steps=None, **more):
    arguments = {} if steps is None else {"steps": steps}
    arguments |= {key: more.pop(key) for key in ("mu", "strength", "timesteps", "sigmas") if key in more}
    scale = {"scale": "flow"} if config.get("use_flow_sigmas") else {}
    unit = {"unit": config["num_train_timesteps"]} if "num_train_timesteps" in config else {}
    return {"class": name, "config": config, "run": arguments} | scale | unit | more


def everywhere(name, order=True):
    """What all classes but the single-step one have in common."""
    for steps in (1, 2, 5, 20):
        yield run(name, {}, steps, **(INVERSE_ROUNDS if name == INVERSE and steps < 5 else {}))
    if order:
        for order in (1, 3):
            yield run(name, SD | {"solver_order": order}, 10)
        yield run(name, SD | {"solver_order": 3, "lower_order_final": False}, 5)
    yield run(name, SD | LEADING, 10)
    yield run(name, SD | TRAILING, 5)
    yield run(name, SD | KARRAS, 5)
    # The first two t are the same whole number, by which Python would find the second one: begin at 0.
    yield run(name, COSINE | KARRAS, 20, strength=1.0) if name != INVERSE else run(name, COSINE | KARRAS, 10)
    yield run(name, SD | EXPONENTIAL, 10)
    yield run(name, SD | BETA, 5)
    yield run(name, SD | V, 5)
    yield run(name, SD | SAMPLE | {"num_train_timesteps": 100}, 10)
    yield run(name, SD | THRESHOLD, 5)
    yield run(name, FLOW | {"flow_shift": 3.0}, 5, **(DEIS_ROUNDS if name == DEIS else {}))
    yield run(name, FLOW, 20)


def multistep():
    yield from everywhere(MULTI)
    yield run(MULTI, SD | LEADING, 20)
    # From 15 steps on the order is not lowered.
    for steps in (14, 15):
        yield run(MULTI, SD | SIGMA_MIN, steps)
    yield run(MULTI, COSINE | KARRAS, 20)
    # numpy's list has one entry too many.
    yield run(MULTI, SD | TRAILING, 61)
    for order in (2, 3):
        yield run(MULTI, SD | {"solver_order": order, "solver_type": "heun"}, 20)
    yield run(MULTI, SD | {"solver_type": "logrho", "algorithm_type": "deis"} | SIGMA_MIN, 5)
    yield run(MULTI, SD | {"algorithm_type": "deis"}, 5)
    yield run(MULTI, SD | {"lower_order_final": False}, 5)
    yield run(MULTI, SD | {"euler_at_final": True} | SIGMA_MIN, 20)
    yield run(MULTI, SD | KARRAS | {"euler_at_final": True, "lower_order_final": False, "solver_order": 3}, 10)
    for order, kind in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "midpoint"), (3, "heun")):
        yield run(MULTI, SD | {"algorithm_type": "sde-dpmsolver++", "solver_order": order, "solver_type": kind}, 10)
        noisy = SD | SIGMA_MIN | {"algorithm_type": "dpmsolver", "solver_order": order, "solver_type": kind}
        yield run(MULTI, noisy, 10)
        yield run(MULTI, noisy | {"algorithm_type": "sde-dpmsolver"}, 10)
    yield run(MULTI, SD | SIGMA_MIN | {"algorithm_type": "sde-dpmsolver", "solver_order": 3}, 4)
    yield run(MULTI, SD | SIGMA_MIN | THRESHOLD | {"algorithm_type": "dpmsolver"}, 5)
    yield run(MULTI, SD | {"algorithm_type": "dpmsolver"}, 5)
    yield run(MULTI, SD | {"algorithm_type": "sde-dpmsolver"}, 5)
    yield run(MULTI, SD | LU, 5)
    yield run(MULTI, COSINE | LU, 10)
    yield run(MULTI, SD | KARRAS | SIGMA_MIN, 5)
    yield run(MULTI, SD | KARRAS | {"algorithm_type": "sde-dpmsolver++", "variance_type": "learned_range"}, 20)
    yield run(MULTI, SD | SIGMA_MIN, 5)
    for spacing in ({}, TRAILING, KARRAS):
        yield run(MULTI, SD | ZERO_SNR | V | spacing, 5)
    yield run(MULTI, SD | ZERO_SNR | LEADING, 5)
    yield run(MULTI, SD | ZERO_SNR, 5)
    for spacing in ({}, LEADING, TRAILING, KARRAS):
        yield run(MULTI, COSINE | {"lambda_min_clipped": -5.1} | spacing, 10, strength=1.0)
    yield run(MULTI, SD, timesteps=[981, 700, 321, 41])
    yield run(MULTI, SD | KARRAS, timesteps=[981, 700, 321, 41])
    yield run(MULTI, FLOW, timesteps=[981, 700, 321, 41])
    yield run(MULTI, SD, 20, strength=0.5)
    yield run(MULTI, SD | KARRAS, 10, strength=0.5)
    yield run(MULTI, FLOW | {"use_dynamic_shifting": True}, 5, mu=1.15)
    yield run(MULTI, FLOW | {"use_dynamic_shifting": True, "flow_shift": 2.0}, 5)
    yield run(MULTI, FLOW, 5, mu=1.15)
    yield run(MULTI, FLOW | SIGMA_MIN | {"flow_shift": 3.0}, 5)
    yield run(MULTI, FLOW | {"algorithm_type": "sde-dpmsolver++"}, 5)
    yield run(MULTI, FLOW | SIGMA_MIN | {"algorithm_type": "dpmsolver"}, 5)
    yield run(MULTI, {"use_flow_sigmas": True}, 5)
    yield run(MULTI, FLOW | KARRAS, 5)
    yield run(MULTI, {"use_flow_sigmas": True} | V, 5, apart=True)
    yield run(MULTI, {"prediction_type": "flow_prediction"}, 5, apart=True)
    yield run(MULTI, SD | {"solver_order": 4}, 5, apart=True)


def inverse():
    yield from everywhere(INVERSE)
    yield run(INVERSE, SD | {"euler_at_final": True, "solver_type": "heun"}, 20)
    yield run(INVERSE, SD | {"algorithm_type": "dpmsolver", "solver_order": 3}, 10)
    yield run(INVERSE, COSINE | {"lambda_min_clipped": -5.1}, 10)
    yield run(INVERSE, SD | {"algorithm_type": "sde-dpmsolver++"}, 5)


def single():
    for steps in (1, 2, 5, 20):
        yield run(SINGLE, {}, steps)
    for steps in (2, 6, 7, 8):
        yield run(SINGLE, SD | {"solver_order": 3}, steps)
    yield run(SINGLE, SD | {"solver_order": 1}, 5)
    yield run(SINGLE, SD | {"solver_order": 3, "lower_order_final": True} | SIGMA_MIN, 8)
    yield run(SINGLE, SD | {"solver_order": 3} | SIGMA_MIN, 9)
    yield run(SINGLE, SD | {"solver_order": 3, "solver_type": "heun"} | SIGMA_MIN, 9)
    yield run(SINGLE, SD | {"solver_type": "heun"}, 10)
    yield run(SINGLE, SD | {"algorithm_type": "dpmsolver"} | SIGMA_MIN, 10)
    yield run(SINGLE, SD | {"algorithm_type": "dpmsolver", "solver_order": 3, "solver_type": "heun"} | SIGMA_MIN, 9)
    yield run(SINGLE, SD | {"algorithm_type": "dpmsolver"}, 5)
    yield run(SINGLE, SD | {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}, 5)
    yield run(SINGLE, SD | {"algorithm_type": "sde-dpmsolver++"}, 6, apart=True)
    yield run(SINGLE, SD | {"algorithm_type": "sde-dpmsolver"}, 5)
    yield run(SINGLE, SD | THRESHOLD | {"algorithm_type": "dpmsolver"} | SIGMA_MIN, 5)
    yield run(SINGLE, SD | KARRAS, 5)
    yield run(SINGLE, COSINE | KARRAS | {"solver_order": 3}, 20, strength=1.0)
    yield run(SINGLE, SD | EXPONENTIAL, 10)
    yield run(SINGLE, SD | BETA, 5)
    yield run(SINGLE, SD | V, 5)
    yield run(SINGLE, SD | SAMPLE | {"num_train_timesteps": 100}, 10)
    yield run(SINGLE, SD | THRESHOLD, 5)
    yield run(SINGLE, FLOW | {"flow_shift": 3.0}, 5)
    yield run(SINGLE, FLOW | {"use_dynamic_shifting": True, "solver_order": 3}, 10, mu=0.8)
    yield run(SINGLE, COSINE | {"lambda_min_clipped": -5.1}, 10)
    yield run(SINGLE, SD, timesteps=[981, 700, 321, 41])
    yield run(SINGLE, SD, 10, strength=0.5)


def deis():
    yield from everywhere(DEIS)
    yield run(DEIS, SD | {"solver_type": "bh2", "algorithm_type": "dpmsolver++", "solver_order": 3}, 20)
    yield run(DEIS, SD, 20, strength=0.5)
    yield run(DEIS, FLOW | {"use_dynamic_shifting": True}, 5, mu=1.15, **DEIS_ROUNDS)


def unipc():
    yield from everywhere(UNIPC)
    yield run(UNIPC, SD | LEADING | {"solver_order": 3}, 20)
    yield run(UNIPC, SD | {"solver_order": 3, "solver_type": "heun"}, 10)
    yield run(UNIPC, SD | {"solver_type": "bh1"}, 5)
    for order in (1, 2, 3):
        yield run(UNIPC, SD | {"solver_type": "bh1", "solver_order": order} | SIGMA_MIN, 10)
    yield run(UNIPC, SD | {"solver_order": 3, "lower_order_final": False} | SIGMA_MIN, 10)
    yield run(UNIPC, SD | {"disable_corrector": [0, 1]} | LEADING, 10)
    yield run(UNIPC, SD | {"disable_corrector": [11]}, 20, strength=0.5)
    yield run(UNIPC, SD | {"predict_x0": False, "solver_order": 3} | SIGMA_MIN, 10)
    yield run(UNIPC, SD | V | {"predict_x0": False} | SIGMA_MIN, 5)
    yield run(UNIPC, SD | THRESHOLD | {"predict_x0": False} | SIGMA_MIN, 5)
    yield run(UNIPC, SD | {"predict_x0": False}, 5)
    yield run(UNIPC, SD | KARRAS | SIGMA_MIN, 10)
    yield run(UNIPC, SD | KARRAS | {"sigma_min": 0.1, "sigma_max": 10.0}, 10)
    yield run(UNIPC, SD | KARRAS | SIGMA_MIN | {"sigma_min": 0.1}, 5)
    yield run(UNIPC, SD | EXPONENTIAL | {"sigma_max": 80.0}, 5)
    yield run(UNIPC, SD | ZERO_SNR | V | TRAILING, 5)
    yield run(UNIPC, SD, 20, strength=0.5)
    yield run(UNIPC, FLOW | {"flow_shift": 5.0, "solver_order": 3}, 10)
    yield run(UNIPC, FLOW | {"flow_shift": 3.0}, 1)
    yield run(UNIPC, FLOW | KARRAS, 5)
    yield run(UNIPC, FLOW | EXPONENTIAL, 5)
    yield run(UNIPC, FLOW | BETA, 5)
    yield run(UNIPC, FLOW | SIGMA_MIN, 5)
    yield run(UNIPC, FLOW | {"use_dynamic_shifting": True}, 5, mu=1.15)
    yield run(UNIPC, FLOW | {"use_dynamic_shifting": True, "time_shift_type": "linear"}, 5, mu=2.0)
    yield run(UNIPC, FLOW | {"use_dynamic_shifting": True}, 5)
    yield run(UNIPC, FLOW | {"shift_terminal": 0.1, "flow_shift": 2.0}, 10)
    yield run(UNIPC, {"shift_terminal": 0.1}, 5)
    yield run(UNIPC, FLOW | {"flow_shift": 3.0, "num_train_timesteps": 100}, 5)
    yield run(UNIPC, FLOW | {"flow_shift": 3.0}, sigmas=[1.0, 0.75, 0.5, 0.25])
    yield run(UNIPC, SD, sigmas=[1.0, 0.75, 0.5, 0.25])
    yield run(UNIPC, FLOW | {"predict_x0": False} | SIGMA_MIN, 5)


def sa_solver():
    yield from everywhere(SA, order=False)
    yield run(SA, SD | LEADING, 20)
    for predictor, corrector in ((1, 1), (1, 2), (3, 3), (2, 3), (3, 4)):
        yield run(SA, SD | {"predictor_order": predictor, "corrector_order": corrector}, 10)
    yield run(SA, SD | {"predictor_order": 3, "corrector_order": 4, "lower_order_final": False}, 10, **SA_ROUNDS)
    yield run(SA, SD | {"algorithm_type": "noise_prediction"}, 10)
    yield run(SA, SD | {"algorithm_type": "noise_prediction", "predictor_order": 3, "corrector_order": 3}, 10)
    yield run(SA, SD | THRESHOLD | {"algorithm_type": "noise_prediction"}, 5)
    yield run(SA, COSINE | {"lambda_min_clipped": -5.1}, 10)
    yield run(SA, SD | {"variance_type": "learned"}, 5)
    yield run(SA, SD, 20, strength=0.5)


def runs():
    for group in (multistep, inverse, single, deis, unipc, sa_solver):
        yield from group()

"""What diffusers makes of the configurations that are written here: it loads each, and python-loaded.json records the result,
for tests/recorded/hub.rs.

    ALPHABAR_WRITE=1 cargo test --features hub --test recorded hub::   # writes the configurations
    python tests/hub/loads.py                                          # loads them

Recorded with diffusers 0.42.1, torch 2.15.0, scipy 1.17.1.
"""

import inspect
import json
import math
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers.schedulers import scheduling_ddpm

HERE = Path(__file__).parent
RECORD = HERE / "python-loaded.json"
CLASSES = """DDIMScheduler DDIMParallelScheduler DDIMInverseScheduler DDPMScheduler DDPMParallelScheduler PNDMScheduler
EulerDiscreteScheduler EulerAncestralDiscreteScheduler HeunDiscreteScheduler LMSDiscreteScheduler KDPM2DiscreteScheduler
KDPM2AncestralDiscreteScheduler DPMSolverSDEScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler DEISMultistepScheduler
UniPCMultistepScheduler SASolverScheduler LCMScheduler TCDScheduler UnCLIPScheduler CogVideoXDDIMScheduler
CogVideoXDPMScheduler""".split()


def python_class(name):
    if name in ("LMSDiscreteScheduler", "DPMSolverSDEScheduler"):
        # diffusers shows them only where scipy and torchsde are.
        from diffusers.schedulers import scheduling_dpmsolver_sde, scheduling_lms_discrete

        return getattr({"L": scheduling_lms_discrete, "D": scheduling_dpmsolver_sde}[name[0]], name)
    return getattr(diffusers, name)


def timesteps(name, spacing, steps):
    """The timesteps of a class with its defaults; rounded, as some do not round them."""
    cls = python_class(name)
    config = {"timestep_spacing": spacing} if "timestep_spacing" in inspect.signature(cls.__init__).parameters else {}
    scheduler = cls(**config)
    scheduler.set_timesteps(steps)
    return [round(t) for t in scheduler.timesteps.tolist()]


def euler(name, spacing, steps, config):
    """A run of an Euler scheduler from x = √(1+σ²)·0.7 of its own scale, with ε = 0.4 and z = 0.3; in f64, on f32 tables."""
    scheduler = python_class(name)(**config, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    from diffusers.schedulers import scheduling_euler_ancestral_discrete as ancestral

    ancestral.randn_tensor = lambda shape, **kwargs: torch.full(shape, 0.3)
    x = torch.tensor([0.7]) * (scheduler.sigmas[0].double() ** 2 + 1) ** 0.5
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        x = scheduler.step(torch.tensor([0.4]), t, x).prev_sample
    end = x * (scheduler.alphas_cumprod[0] ** 0.5 if config.get("final_sigmas_type") == "sigma_min" else 1)
    return {"class": name, "spacing": spacing, "steps": steps, "config": config, "end": end.item()}


def load(path):
    text = path.read_text()
    cls = getattr(diffusers, json.loads(text)["_class_name"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scheduler_config.json").write_text(text)
        return cls.from_pretrained(folder)


def loaded(scheduler):
    config = {key: value for key, value in scheduler.config.items() if key not in ("trained_betas", "_use_default_values")}
    record = {
        "class": type(scheduler).__name__,
        # As text: infinities are no JSON.
        "config": {key: str(value) if isinstance(value, float) and math.isinf(value) else value for key, value in config.items()},
        # Every 37th, and the last first.
        "alphas_cumprod": [float(f"{value:.9g}") for value in scheduler.alphas_cumprod.tolist()[::-37]],
        "len": len(scheduler.alphas_cumprod),
    }
    if type(scheduler).__name__.startswith("DD"):
        scheduler.set_timesteps(10)
        record["timesteps"] = scheduler.timesteps.tolist()
    return record


def learned_range(name, steps):
    """A run in f32 with injected noise; the network and the noise are those of the test."""
    scheduler = load(HERE / f"{name}.json")
    scheduler.set_timesteps(steps)
    shape = (1, 2, 2, 2)
    start = torch.tensor([math.sin(2.1 * i) for i in range(8)], dtype=torch.float32)
    x = start.reshape(shape)
    for k, t in enumerate(scheduler.timesteps):
        z = torch.tensor([1.5 * math.sin(1.3 * k + 0.7 * i) for i in range(8)], dtype=torch.float32).reshape(shape)
        scheduling_ddpm.randn_tensor = lambda *args, z=z, **kwargs: z
        output = torch.cat([0.5 * x + 1e-4 * float(t), torch.sin(3 * x)], dim=1)
        x = scheduler.step(output, t, x).prev_sample
    return {"config": name, "steps": steps, "start": start.tolist(), "end": x.flatten().tolist()}


def main():
    paths = sorted(path for path in HERE.glob("*.json") if path != RECORD)
    record = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    record["loaded"] = {path.stem: loaded(load(path)) for path in paths}
    record["defaults"] = {
        name: {
            key: str(value.default) if value.default == -math.inf else value.default
            for key, value in inspect.signature(python_class(name).__init__).parameters.items()
            if value.default is not inspect.Parameter.empty
        }
        for name in CLASSES
    }
    record["timesteps"] = [
        {"class": name, "spacing": spacing, "steps": steps, "timesteps": timesteps(name, spacing, steps)}
        for name in CLASSES
        # Two samplers of which each step has two calls, PNDM's warm-up, and one that divides by S − 1.
        if name not in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
                        "DPMSolverSDEScheduler", "PNDMScheduler")
        for spacing in ("leading", "trailing", "linspace")
        if (name, spacing) != ("DDIMInverseScheduler", "linspace")
        for steps in (2, 4, 7, 50)
    ]  # fmt: skip
    stable = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    record["euler"] = [
        euler(name, spacing, steps, config)
        for name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
        for spacing, steps in (("leading", 4), ("trailing", 1), ("trailing", 10), ("leading", 50))
        for config in (stable, stable | {"final_sigmas_type": "sigma_min"} if "Ancestral" not in name else {})
    ]
    record["learned_range"] = [
        learned_range("fitv2-learned-range", 10),
        learned_range("fitv2-learned-range", 37),
        learned_range("deepfloyd-if-i", 20),
    ]
    RECORD.write_text(json.dumps(record, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

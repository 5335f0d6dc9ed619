"""What Python makes of the configurations that are written here: diffusers loads each, and python-loaded.json records the
result, for tests/hub.rs.

    ALPHABAR_WRITE=1 cargo test --features hub --test hub   # writes the configurations
    python tests/hub/loads.py                               # loads them

Recorded with diffusers 0.42.1, torch 2.15.0.
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
KDPM2AncestralDiscreteScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler DEISMultistepScheduler
UniPCMultistepScheduler SASolverScheduler LCMScheduler TCDScheduler""".split()


def python_class(name):
    if name == "LMSDiscreteScheduler":
        # diffusers shows it only where scipy is.
        from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler

        return LMSDiscreteScheduler
    return getattr(diffusers, name)


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
            key: value.default
            for key, value in inspect.signature(python_class(name).__init__).parameters.items()
            if value.default is not inspect.Parameter.empty and value.default != -math.inf
        }
        for name in CLASSES
    }
    record["learned_range"] = [
        learned_range("fitv2-learned-range", 10),
        learned_range("fitv2-learned-range", 37),
        learned_range("deepfloyd-if-i", 20),
    ]
    RECORD.write_text(json.dumps(record, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

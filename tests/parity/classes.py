#!/usr/bin/env python3
"""Records what the scheduler classes of diffusers compute, over their options, spacings and numbers of steps.

    python classes.py GROUP...            # writes classes_GROUP.json beside this file; all groups without a name
    python classes.py --check GROUP...    # recomputes, compares, writes nothing

The runs of a group are listed in classes_GROUP.py. README.md describes the records.
"""

import contextlib
import importlib
import json
import logging
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent
GROUPS = ("table", "sigma", "multistep", "flow")
ELEMENTS = 3


class Instead:
    """A module of which some names mean something else."""

    def __init__(self, module, **names):
        self.module, self.names = module, names

    def __getattr__(self, name):
        return self.names[name] if name in self.names else getattr(self.module, name)


@contextlib.contextmanager
def in_f64(modules):
    """The modules' code with f64 wherever it says f32."""
    before = [(module, name, getattr(module, name)) for module in modules for name in ("torch", "np") if hasattr(module, name)]
    before.append((torch.Tensor, "float", torch.Tensor.float))
    instead = {
        "torch": Instead(torch, float32=torch.float64, float=torch.float64, FloatTensor=torch.DoubleTensor),
        "np": Instead(np, float32=np.float64),
        "float": torch.Tensor.double,
    }
    for place, name, _ in before:
        setattr(place, name, instead[name])
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        for place, name, had in before:
            setattr(place, name, had)
        torch.set_default_dtype(torch.float32)


def start(e):
    return ((3 * e + 1) % 5 - 2) / 2 + 0.25


def free(call, e):
    """An output that depends on nothing but the number of the call: it shows all weights."""
    return ((7 * call + 5 * e + 3) % 11 - 5) / 4


def noise(call, e):
    return ((5 * call + 3 * e + 1) % 7 - 3) / 2


def row(of, dtype):
    return torch.tensor([[of(e) for e in range(ELEMENTS)]], dtype=dtype)


def linear(x, t, unit):
    """An output that is linear in what the network is fed, and in t: it shows what the network receives."""
    e = torch.arange(ELEMENTS, dtype=x.dtype)
    return x / 2 + (float(t) / unit - 0.5) / 4 * (1 + e / 2)


def number(v, digits):
    v = float(v)
    return float(f"{v:.{digits}g}") if math.isfinite(v) else str(v)


def numbers(x, digits):
    return [number(v, digits) for v in torch.as_tensor(x).reshape(-1).tolist()]


def module_of(scheduler):
    import diffusers

    return importlib.import_module(getattr(diffusers, scheduler).__module__)


def trajectory(spec, kind, dtype):
    """(t, init_noise_sigma, x after each call) of a run."""
    module = module_of(spec["class"])
    make = getattr(module, spec["class"])
    # from_config keeps the keys of other classes, of which a class may make use.
    scheduler = make.from_config(spec["config"]) if "from_config" in spec else make(**spec.get("config", {}))
    arguments = dict(spec.get("run", {}))
    eta = arguments.pop("eta", None)
    # LCM and TCD take it themselves; elsewhere the pipeline starts later.
    strength = None if spec.get("own_strength") else arguments.pop("strength", None)
    arguments.pop("tokens", None)
    if "steps" in arguments:
        arguments["num_inference_steps"] = arguments.pop("steps")
    if "sigmas" in arguments:
        arguments["sigmas"] = np.array(arguments["sigmas"])
    scheduler.set_timesteps(**arguments)
    begin = 0
    timesteps = scheduler.timesteps
    if strength is not None:
        count = arguments["num_inference_steps"]
        begin = max(count - min(int(count * strength), count), 0) * scheduler.order
        timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
    # A list may hold its end.
    timesteps = timesteps[: spec.get("calls")]
    init = float(getattr(scheduler, "init_noise_sigma", 1.0))
    x = row(start, dtype) * init
    now = [0]
    shape = (1, ELEMENTS, 1) if spec.get("config", {}).get("thresholding") else (1, ELEMENTS)
    drawn = lambda *_, **__: row(lambda e: noise(now[0], e), dtype).reshape(shape)  # noqa: E731
    had = getattr(module, "randn_tensor", None)
    module.randn_tensor = drawn
    if "prepare" in spec:
        spec["prepare"](module, scheduler, drawn)
    step_arguments = dict(spec.get("step", {}))
    if eta is not None:
        step_arguments["eta"] = eta
    xs, ts = [], []
    try:
        for call, t in enumerate(timesteps):
            now[0] = call
            # What the pipeline tells the network, where that is not the scheduler's t.
            received = spec["receives"](scheduler, call) if "receives" in spec else t
            ts.append(float(received))
            fed = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            m = row(lambda e: free(call, e), dtype) if kind == "free" else linear(fed, received, spec.get("unit", 1000))
            if "step_function" in spec:
                x = spec["step_function"](scheduler, m.reshape(shape), t, x.reshape(shape), call)
            else:
                x = scheduler.step(m.reshape(shape), t, x.reshape(shape), **step_arguments).prev_sample
            x = x.reshape(1, ELEMENTS)
            xs.append(x)
    finally:
        if had is not None:
            module.randn_tensor = had
    return ts, init, xs


def record(spec):
    """`class`, `config`, `run`, `scale` and `unit` of a run, and what came of it.

    `apart`: not in the common comparison, but in a test of its own. `f32_bound`: instead of the common one, where the spec says why.
    """
    out = {key: spec[key] for key in ("id", "class", "config", "run", "scale", "unit", "step", "apart", "f32_bound", "refused_here") if key in spec}
    out.setdefault("scale", "vp")
    try:
        single = {kind: trajectory(spec, kind, torch.float32) for kind in ("free", "linear")}
        # A class may make its list by another one.
        with in_f64([module_of(name) for name in (spec["class"], *spec.get("also", ()))]):
            double = {kind: trajectory(spec, kind, torch.float64) for kind in ("free", "linear")}
    except Exception as error:  # noqa: BLE001
        out["error"] = f"{type(error).__name__}: {error}"[:200]
        return out
    out["t"] = [number(t, 8) for t in single["free"][0]]
    out["t_f64"] = [number(t, 12) for t in double["free"][0]]
    if out["t_f64"] == out["t"]:
        del out["t_f64"]
    out["init"] = number(double["free"][1], 12)
    for kind in ("free", "linear"):
        out[kind] = [numbers(x, 10) for x in double[kind][2]]
        out[f"{kind}_f32"] = numbers(single[kind][2][-1], 8)
    return out


def records(group):
    sys.path.insert(0, str(HERE))
    specs = list(importlib.import_module(f"classes_{group}").runs())
    for index, spec in enumerate(specs):
        yield record({"id": f"{group}-{index}", **spec})


def main():
    torch.set_num_threads(1)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    arguments = sys.argv[1:]
    check = "--check" in arguments
    for group in [a for a in arguments if a != "--check"] or GROUPS:
        lines = [json.dumps(r, allow_nan=False, separators=(",", ":"), ensure_ascii=True) for r in records(group)]
        text = "[\n" + ",\n".join(lines) + "\n]\n"
        out = HERE / f"classes_{group}.json"
        errors = sum('"error":' in line for line in lines)
        print(f"{group}: {len(lines)} runs, {errors} of them errors, {len(text)} bytes")
        if not check:
            out.write_text(text)
        elif out.read_text() != text:
            sys.exit(f"{out.name} differs from what is computed now")


if __name__ == "__main__":
    main()

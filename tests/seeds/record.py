#!/usr/bin/env python3
"""Records the noise of torch and numpy for given seeds, and whole seeded runs of diffusers.

    pip install -r requirements.txt
    python record.py            # writes seeds.json beside this file
    python record.py --check    # records again, compares, writes nothing

The output is a JSON array with one record per line; README.md describes the records. Long draws are recorded as a hash of
their bytes and their two ends. To be run on x86-64 with AVX2: torch's normals differ in their last bits on other CPUs.
"""

import json
import math
import sys
import warnings
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
)
from diffusers.utils.torch_utils import randn_tensor

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)
torch.set_grad_enabled(False)

OUT = Path(__file__).with_name("seeds.json")
TYPES = {"f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16}
SEEDS = [0, 42, 123456789, 2**31 - 1, 2**32 - 1, 2**63 + 17]


def fnv1a64(data):
    """FNV-1a, 64 bit, over 32-bit little-endian words instead of bytes: fast enough in Python."""
    data += b"\0" * (-len(data) % 4)
    h = 0xCBF29CE484222325
    for word in np.frombuffer(data, "<u4").tolist():
        h = ((h ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def bytes_of(x):
    x = x.contiguous()
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy().tobytes()


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed if seed < 2**63 else seed - 2**64)


def ends(x):
    """The first and the last four values, exact in f64."""
    flat = [float(v) for v in x.double().flatten()] if isinstance(x, torch.Tensor) else [float(v) for v in x]
    return flat[:4] + flat[-4:]


def torch_draws(kind, dtype, seed, lengths):
    """Consecutive draws of these lengths from one generator."""
    g = generator(seed)
    draw = torch.randn if kind == "randn" else torch.rand
    xs = [draw(n, dtype=TYPES[dtype], generator=g) for n in lengths]
    joined = torch.cat(xs)
    state = fnv1a64(g.get_state().numpy().tobytes())
    return {"kind": kind, "type": dtype, "seed": seed, "lengths": lengths, "values": len(joined),
            "hash": fnv1a64(b"".join(map(bytes_of, xs))), "ends": ends(joined), "state": state}


SHORT = list(range(1, 41))


def all_torch_draws():
    for seed in SEEDS:
        yield torch_draws("randn", "f32", seed, SHORT + [1000, 16385, 65536])
        yield torch_draws("randn", "f32", seed, [16384, 15, 7, 16384])
    for dtype in ("f64", "f16", "bf16"):
        for seed in SEEDS[:3]:
            yield torch_draws("randn", dtype, seed, SHORT + [1000, 16385, 16384])
    for dtype in TYPES:
        yield torch_draws("rand", dtype, 42, [1, 7, 16, 10000])
    # The values that a table of the noise shows.
    for seed in (0, 42):
        x = torch.randn(1, 4, 64, 64, generator=generator(seed))
        yield {"kind": "latents", "seed": seed, "hash": fnv1a64(bytes_of(x)), "ends": ends(x), "sum": float(x.double().sum())}
    x = torch.randn(2, 3, 5, 7, generator=generator(1))
    yield {"kind": "shape", "shape": [2, 3, 5, 7], "seed": 1, "hash": fnv1a64(bytes_of(x)), "ends": ends(x)}


def mixed():
    """Draws of every kind, one after the other; `normal` shows the normal that a generator keeps."""
    g = generator(2024)
    ops = []

    def note(op, values):
        ops.append({"op": op, "values": [float(v) for v in values]})

    note(["randn", "f32", 3], torch.randn(3, generator=g))
    note(["rand", "f32", 5], torch.rand(5, generator=g))
    note(["randn", "f64", 2], torch.randn(2, dtype=torch.float64, generator=g))
    note(["randint", 0, 1000, 6], torch.randint(0, 1000, (6,), generator=g))
    note(["randn", "f32", 17], torch.randn(17, generator=g))
    note(["randn", "bf16", 1], torch.randn(1, dtype=torch.bfloat16, generator=g))
    note(["randint", -5, 7, 3], torch.randint(-5, 7, (3,), generator=g))
    note(["randint", 0, 2**28, 3], torch.randint(0, 2**28, (3,), generator=g))
    note(["randint", 0, 2**28 - 1, 3], torch.randint(0, 2**28 - 1, (3,), generator=g))
    note(["randint", -(2**50), 2**50, 3], torch.randint(-(2**50), 2**50, (3,), generator=g))
    note(["randperm", 10], torch.randperm(10, generator=g))
    note(["randn", "f16", 1], torch.randn(1, dtype=torch.float16, generator=g))
    note(["rand", "f64", 2], torch.rand(2, dtype=torch.float64, generator=g))
    note(["randn", "f16", 21], torch.randn(21, dtype=torch.float16, generator=g))
    note(["randperm", 1], torch.randperm(1, generator=g))
    note(["randn", "f32", 1], torch.randn(1, generator=g))
    return {"kind": "mixed", "seed": 2024, "ops": ops, "state": fnv1a64(g.get_state().numpy().tobytes())}


def numpy_draws():
    for seed in (0, 42, 2**32 - 1):
        rs = np.random.RandomState(seed)
        x = np.concatenate([rs.randn(n) for n in (1, 2, 7, 50001)])
        yield {"kind": "RandomState", "seed": seed, "lengths": [1, 2, 7, 50001], "values": len(x),
               "hash": fnv1a64(x.tobytes()), "ends": ends(x)}
    for seed in (0, 42, 2**32 + 5, 2**64 - 1):
        x = np.random.default_rng(seed).standard_normal(100000)
        yield {"kind": "default_rng", "seed": seed, "values": len(x), "hash": fnv1a64(x.tobytes()), "ends": ends(x)}


# ---------------------------------------------------------------- programs around torch


def philox(counter, key):
    """Philox4x32-10 on arrays of uint64 that hold 32-bit words."""
    mask = np.uint64(0xFFFFFFFF)
    a, b, c, d = counter
    k, l = key
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> np.uint64(32)) ^ b ^ k, q & mask, (p >> np.uint64(32)) ^ d ^ l, p & mask
        k, l = (k + np.uint64(0x9E3779B9)) & mask, (l + np.uint64(0xBB67AE85)) & mask
    return a, b, c, d


def nv_randn(seed, offset, n):
    """What AUTOMATIC1111's web UI draws with its random number source "NV": Box and Muller's first number, in f64."""
    zero, i = np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64)
    key = (zero + np.uint64(seed & 0xFFFFFFFF), zero + np.uint64(seed >> 32))
    x, y, _, _ = philox((zero + np.uint64(offset), zero, i, zero), key)
    per_word, turn = float(np.float32(2.3283064e-10)), float(np.float32(2.3283064e-10 * 6.2831855))
    u, v = x.astype(float) * per_word + per_word / 2, y.astype(float) * turn + turn / 2
    return (np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32)


def slerp(t, a, b):
    """Between noises of shape (channels, height, width), along the columns, as the web UI has it."""
    dot = ((a / a.norm(dim=1, keepdim=True)) * (b / b.norm(dim=1, keepdim=True))).sum(1)
    if dot.mean() > 0.9995:
        return a * t + b * (1 - t)
    omega = torch.acos(dot)
    return (torch.sin((1 - t) * omega) / torch.sin(omega)).unsqueeze(1) * a + (torch.sin(t * omega) / torch.sin(omega)).unsqueeze(1) * b


def programs():
    shape = (4, 6, 5)
    n = math.prod(shape)
    for source in ("CPU", "NV"):
        draws = {}

        def draw(seed, count, source=source, draws=draws):
            """The count-th draw of a seed."""
            if source == "NV":
                return torch.tensor(nv_randn(seed, count, n)).reshape(shape)
            g = generator(seed)
            return [torch.randn(shape, generator=g) for _ in range(count + 1)][-1]

        seeds, variations, strength, delta = [7, 2**32 + 1], [100, 101], 0.3, 31337
        plain = [torch.stack([draw(s, k) for s in seeds]) for k in range(3)]
        varied = torch.stack([slerp(strength, draw(s, 0), draw(v, 0)) for s, v in zip(seeds, variations)])
        with_delta = [torch.stack([draw(s + delta, k) for s in seeds]) for k in range(2)]
        yield {"kind": "webui", "source": source, "shape": shape, "seeds": seeds, "variations": variations, "strength": strength,
               "delta": delta, "plain": [ends(x) for x in plain], "varied": [float(v) for v in varied.flatten()],
               "with_delta": [ends(x) for x in with_delta]}
    g = generator(99)
    rows = [torch.randn(1, 2, 5, 5, generator=g) for _ in range(4)]
    x = torch.cat([rows[i] for i in (3, 0, 3)])
    whole, steps = torch.randn(3, 2, 5, 5, generator=generator(99)), generator(100)
    step = [torch.randn(3, 2, 5, 5, generator=steps) for _ in range(2)]
    yield {"kind": "comfyui", "seed": 99, "shape": [3, 2, 5, 5], "batch_indices": [3, 0, 3], "indexed": ends(x),
           "initial": ends(whole), "steps": [ends(s) for s in step]}


# ---------------------------------------------------------------- whole runs

RUNS = {
    "ddim": lambda: DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
    "ddpm": lambda: DDPMScheduler(clip_sample=False, timestep_spacing="leading"),
    "dpm-solver++ sde 1": lambda: DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=1, timestep_spacing="trailing", final_sigmas_type="zero"),
    "euler ancestral": lambda: EulerAncestralDiscreteScheduler(timestep_spacing="trailing"),
}


def run(name, steps, shape, seeds):
    s = RUNS[name]()
    s.set_timesteps(steps)
    gs = [generator(seed) for seed in seeds]
    g = gs[0] if len(gs) == 1 else gs
    x = randn_tensor(tuple(shape), generator=g, dtype=torch.float32) * s.init_noise_sigma
    for t in s.timesteps:
        m = 0.5 * s.scale_model_input(x, t) + 0.125 * ((int(t) % 7) - 3)
        extra = {"eta": 1.0} if name == "ddim" else {}
        x = s.step(m, t, x, generator=g, **extra).prev_sample
    assert x.dtype == torch.float32 and bool(x.isfinite().all())
    return {"kind": "run", "scheduler": name, "steps": steps, "shape": shape, "seeds": seeds,
            "timesteps": [int(t) for t in s.timesteps], "x": [float(v) for v in x.flatten()]}


def runs():
    for name in RUNS:
        for steps in (5, 20):
            yield run(name, steps, [1, 4, 8, 8], [42])
            yield run(name, steps, [2, 3, 5, 5], [7])
            yield run(name, steps, [2, 3, 5, 5], [7, 8])
        yield run(name, 10, [2, 3], [3, 4])


def main():
    meta = {"kind": "meta", "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__}, "cpu": torch.backends.cpu.get_cpu_capability()}
    records = [meta, *all_torch_draws(), mixed(), *numpy_draws(), *programs(), *runs()]
    text = "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n"
    if "--check" in sys.argv[1:]:
        old = [json.loads(line.rstrip(",")) for line in OUT.read_text().splitlines()[1:-1]]
        differ = [a for a, b in zip(json.loads(text), old) if a != b and a["kind"] != "meta"]
        assert len(old) == len(records) and not differ, differ
        print(f"{len(records)} records, all equal")
    else:
        OUT.write_text(text)
        print(f"{len(records)} records, {len(text)} bytes")


main()

#!/usr/bin/env python3
"""Records whole runs of diffusers' schedulers, made from the configurations in ../data as a pipeline makes them.

    python hub_parity.py            # writes hub.json beside this file, a minute and a half
    python hub_parity.py --check    # recomputes, compares, writes nothing

The start, the network and the noise are those of diffusers_parity.py; README.md describes the records.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers_parity import CLASSES, PINNED, config_of, error_of, exact, fnv1a64, run, short, widen

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
OUT = HERE / "hub.json"
KEPT = (0, 4, 6, 9)  # elements of x that are recorded, of both rows

# S by T. 7 and 61 do not divide, 600 leaves a stride of 1, and T of them is all there is.
STEPS = {1000: (1, 2, 7, 10, 50, 61, 600, 1000), 100: (1, 2, 7, 10, 50, 100)}
# Differs from Stable Diffusion 1.5 in nothing that these schedulers read.
FEW = {"stable-diffusion-xl-base-1.0": (7, 50)}
SPACINGS = {"DDIM": ("leading", "trailing", "linspace"), "DDPM": ("leading", "trailing", "linspace"),
            "DDIMInverse": ("leading", "trailing")}  # fmt: skip


def variance(x, t):
    """v(t, e) = ((t + e) mod 5 − 2)/2, exact in f32, in [−1, 1]."""
    e = torch.arange(x.numel())
    return ((e + t) % 5 - 2).to(x.dtype).div(2).reshape(x.shape)


def own_tables_in_f64(s):
    """The scheduler's f32 tables, its own, in f64: its step then runs in f64 on an f64 sample."""
    s.alphas_cumprod = s.alphas_cumprod.double()
    for name in ("final_alpha_cumprod", "initial_alpha_cumprod", "one"):
        if hasattr(s, name):
            setattr(s, name, getattr(s, name).double())
    return s


def kept(x, form):
    flat = x.reshape(-1).tolist()
    return [form(flat[e]) for e in KEPT]


def digits(v):
    """An f64 to 15 digits."""
    return exact(float(f"{v:.15g}"))


def record(name, scheduler, spacing, steps, eta):
    config = json.loads((DATA / f"{name}.json").read_text())
    make = lambda: CLASSES[scheduler].from_config(config, timestep_spacing=spacing)  # noqa: E731
    r = {"config": name, "scheduler": scheduler, "spacing": spacing, "steps": steps}
    if eta is not None:
        r["eta"] = eta
    shape = (2, 6, 1) if config.get("thresholding") else (2, 6)
    do = lambda s, dtype: run(s, steps, dtype, eta, False, shape, variance)  # noqa: E731
    error = error_of(lambda: do(make(), torch.float32))
    if error:
        return r | {"error": error}
    ts, prev, xs = do(make(), torch.float32)
    _, prev64, wide = do(widen(make()), torch.float64)
    _, _, same = do(own_tables_in_f64(make()), torch.float64)
    assert prev64 == prev
    extra = len(ts) - steps
    assert extra in (0, 1) and (extra == 0 or -1 in (ts[0], ts[-1]))
    if scheduler == "DDIMInverse":
        follows = prev[0] < 0 and prev[1:] == ts[:-1] and not extra
    else:
        # What comes after the S-th step, if anything, is recorded apart.
        follows = prev[: steps - 1] == ts[1:steps] and prev[steps - 1] < 0
    r["follows"] = follows
    if ts[:1] == [0] and steps == 1:
        r["starts_at"] = 0
    if extra:
        r["extra"] = kept(xs[-1], short)
        if scheduler == "DDIMInverse":  # t = −1 comes first, so that there is nothing to compare
            return r
        xs, wide, same = xs[:-1], wide[:-1], same[:-1]
    x, w = xs[-1].numpy().astype(np.float64), wide[-1].numpy()
    off = np.abs(x - w).max() / max(1, np.abs(w).max())
    r["x"] = kept(xs[-1], short)
    r["x_f64"] = kept(wide[-1], digits)
    r["x_f64_of_f32_tables"] = kept(same[-1], digits)
    r["f32_off"] = float(f"{off:.2g}") if np.isfinite(off) else exact(off)
    return r


def runs():
    for path in sorted(DATA.glob("*.json")):
        train_steps = json.loads(path.read_text())["num_train_timesteps"]
        for scheduler, spacings in SPACINGS.items():
            for spacing in spacings:
                for steps in FEW.get(path.stem, STEPS[train_steps]):
                    etas = (0.0, 1.0) if steps >= 600 else (0.0, 0.5, 1.0)
                    for eta in etas if scheduler == "DDIM" else (None,):
                        yield {"kind": "run"} | record(path.stem, scheduler, spacing, steps, eta)


def tables():
    """The f32 tables of every family at several T, as hashes."""
    families = [
        ("linear", 1e-4, 0.02), ("linear", 0.00085, 0.012), ("scaled_linear", 0.00085, 0.012), ("scaled_linear", 1e-4, 0.02),
        ("squaredcos_cap_v2", 1e-4, 0.02),
    ]  # fmt: skip
    for name, start, end in families:
        for n in (1, 2, 3, 10, 50, 100, 250, 999, 1000, 4000):
            s = CLASSES["DDPM"](beta_schedule=name, beta_start=start, beta_end=end, num_train_timesteps=n)
            yield {"kind": "table", "beta_schedule": name, "beta_start": start, "beta_end": end, "T": n,
                   "betas_fnv1a64": fnv1a64(s.betas), "alphas_cumprod_fnv1a64": fnv1a64(s.alphas_cumprod)}  # fmt: skip
    s = CLASSES["DDIM"](num_train_timesteps=5, trained_betas=[0.01, 0.1, 0.2, 0.3, 0.7])
    yield {"kind": "table", "trained_betas": [0.01, 0.1, 0.2, 0.3, 0.7], "T": 5,
           "betas_fnv1a64": fnv1a64(s.betas), "alphas_cumprod_fnv1a64": fnv1a64(s.alphas_cumprod)}  # fmt: skip
    # Not the same bits on every processor: whole tables, for a bound.
    for n in (10, 100):
        s = CLASSES["DDPM"](beta_schedule="sigmoid", num_train_timesteps=n)
        yield {"kind": "table", "beta_schedule": "sigmoid", "T": n, "betas": [short(b) for b in s.betas.tolist()],
               "alphas_cumprod": [short(a) for a in s.alphas_cumprod.tolist()]}  # fmt: skip
        s = CLASSES["DDIM"](beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=n,
                            rescale_betas_zero_snr=True)  # fmt: skip
        yield {"kind": "table", "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True, "T": n,
               "betas": [short(b) for b in s.betas.tolist()],
               "alphas_cumprod": [short(a) for a in s.alphas_cumprod.tolist()]}  # fmt: skip


def records():
    yield {
        "kind": "meta",
        "versions": PINNED,
        "kept": list(KEPT),
        "predicted_variance": "v(t, e) = ((t + e) mod 5 - 2)/2",
    }
    yield from tables()
    yield from runs()


def main():
    lines = [json.dumps(r, allow_nan=False, separators=(",", ":"), ensure_ascii=True) for r in records()]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    print(len(lines), "records,", len(text), "bytes")
    if "--check" in sys.argv[1:]:
        sys.exit(0 if OUT.read_text() == text else "the file differs from what is computed now")
    OUT.write_text(text)


if __name__ == "__main__":
    main()

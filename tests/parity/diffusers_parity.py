#!/usr/bin/env python3
"""Records what the DDPM, DDIM and DDIMInverse schedulers of diffusers compute.

    pip install -r requirements.txt
    python diffusers_parity.py            # writes diffusers.json beside this file
    python diffusers_parity.py --check    # recomputes, compares, writes nothing

The output is a JSON array with one record per line; README.md describes the records. Everything here is
deterministic: the start, the model and the noise are formulas whose f32 values are exact or rounded once, and no
random generator is used. Nothing of diffusers is reimplemented for the recorded values. The naive formulas in this
file (`naive_*`) only check, in f64, that README.md describes the recorded steps correctly.
"""

import json
import math
import sys
import warnings
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler, HeunDiscreteScheduler
from diffusers.schedulers import scheduling_ddpm

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)
torch.set_grad_enabled(False)

OUT = Path(__file__).with_name("diffusers.json")
PINNED = {
    line.split("==")[0]: line.split("==")[1].strip()
    for line in Path(__file__).with_name("requirements.txt").read_text().splitlines()
    if "==" in line
}

# Row 0 is mild, row 1 is wide, so that per-sample thresholds differ.
START = [
    [0.5, -1.25, 0.75, -0.25, 1.5, -0.0625],
    [2.0, -0.5, 1.0, -3.0, 0.125, -1.75],
]
LIMIT_ALL_STEPS = 7  # up to this S, x is recorded after every step; beyond it, only the last x


def model(x, t):
    """m(x, t) = x/2 + ((t mod 7) − 3)/8: one rounding, in the addition."""
    return 0.5 * x + 0.125 * ((t % 7) - 3)


def noise(k, like):
    """z of step k (0 = first step of the run) at flat element e: ((7k + 5e + 3) mod 11 − 5)/4, exact in f32."""
    e = torch.arange(like.numel())
    return (((k * 7 + e * 5 + 3) % 11 - 5).to(like.dtype) / 4).reshape(like.shape)


def predicted_variance(like):
    """v of learned_range at flat element e: ((e mod 5) − 2)/2, exact in f32, in [−1, 1]."""
    e = torch.arange(like.numel())
    return ((e % 5 - 2).to(like.dtype) / 2).reshape(like.shape)


# ---------------------------------------------------------------- numbers as JSON


def exact(v):
    """The exact value of an f32 (or an f64) as a JSON number; 'nan', 'inf', '-inf' as strings."""
    v = float(v)
    return v if math.isfinite(v) else repr(v)


def short(v):
    """The shortest decimal that reads back as this f32, whether parsed as f32 or as f64 and then cast."""
    v = np.float32(v)
    if not np.isfinite(v):
        return exact(v)
    out = float(str(v))
    assert np.float32(out) == v
    return out


def shorts(x):
    return [short(v) for v in x.reshape(-1).tolist()]


def exacts(x):
    return [exact(v) for v in x.reshape(-1).tolist()]


def fnv1a64(f32s):
    """FNV-1a, 64 bit, over the little-endian bytes of the f32 values: one word for a whole table, bit for bit."""
    h = 0xCBF29CE484222325
    for b in np.asarray(f32s, dtype="<f4").tobytes():
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def config_of(s):
    return {k: v for k, v in dict(s.config).items() if not k.startswith("_")}


def error_of(f):
    try:
        f()
    except Exception as e:  # noqa: BLE001: the text is the evidence
        return f"{type(e).__name__}: {e}"
    return None


# ---------------------------------------------------------------- the same tables in f64


def betas_f64(c):
    n, b0, b1, kind = c["num_train_timesteps"], c["beta_start"], c["beta_end"], c["beta_schedule"]

    def from_alpha_bar(f):
        return np.array([min(1 - f((i + 1) / n) / f(i / n), 0.999) for i in range(n)])

    def laplace(t):
        snr = math.exp(-0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * abs(0.5 - t) + 1e-6))
        return math.sqrt(snr / (1 + snr))

    if kind == "linear":
        return np.linspace(b0, b1, n)
    if kind == "scaled_linear":
        return np.linspace(b0**0.5, b1**0.5, n) ** 2
    if kind == "squaredcos_cap_v2":
        return from_alpha_bar(lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2)
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-np.linspace(-6, 6, n))) * (b1 - b0) + b0
    if kind == "laplace":
        return from_alpha_bar(laplace)
    raise ValueError(kind)


def alphas_cumprod_f64(c):
    a = np.cumprod(1 - betas_f64(c))
    if c["rescale_betas_zero_snr"]:
        s = np.sqrt(a)
        a = ((s - s[-1]) * (s[0] / (s[0] - s[-1]))) ** 2
    return a


def widen(s):
    """Gives a scheduler its table in f64, so that its own step code runs in f64 on an f64 sample."""
    s.alphas_cumprod = torch.from_numpy(alphas_cumprod_f64(config_of(s)))
    edge = torch.tensor(1.0, dtype=torch.float64)
    if isinstance(s, DDPMScheduler):
        s.one = edge
    elif isinstance(s, DDIMScheduler):
        s.final_alpha_cumprod = edge if s.config.set_alpha_to_one else s.alphas_cumprod[0]
    else:
        s.initial_alpha_cumprod = edge if s.config.set_alpha_to_one else s.alphas_cumprod[0]
    return s


# ---------------------------------------------------------------- naive formulas (a check of README.md only)


def naive_x0_eps(c, a, x, m):
    if c["prediction_type"] == "epsilon":
        return (x - math.sqrt(1 - a) * m) / math.sqrt(a), m
    if c["prediction_type"] == "sample":
        return m, (x - math.sqrt(a) * m) / math.sqrt(1 - a)
    return math.sqrt(a) * x - math.sqrt(1 - a) * m, math.sqrt(a) * m + math.sqrt(1 - a) * x


def naive_clip(c, x0):
    if c.get("thresholding"):
        s = np.quantile(np.abs(x0), c["dynamic_thresholding_ratio"], axis=1, keepdims=True)
        s = np.clip(s, 1, c["sample_max_value"])
        return np.clip(x0, -s, s) / s
    if c["clip_sample"]:
        return np.clip(x0, -c["clip_sample_range"], c["clip_sample_range"])
    return x0


def naive_ddim(c, a_t, a_s, x, m, z, eta, use_clipped):
    x0, eps = naive_x0_eps(c, a_t, x, m)
    x0 = naive_clip(c, x0)
    sigma = eta * math.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) if eta > 0 else 0.0
    if use_clipped:
        eps = (x - math.sqrt(a_t) * x0) / math.sqrt(1 - a_t)
    return math.sqrt(a_s) * x0 + math.sqrt(max(1 - a_s - sigma**2, 0)) * eps + sigma * z


def naive_ddpm(c, a_t, a_s, x, m, z, v, t):
    x0 = naive_clip(c, naive_x0_eps(c, a_t, x, m)[0])
    beta = 1 - a_t / a_s
    mean = math.sqrt(a_s) * beta / (1 - a_t) * x0 + math.sqrt(a_t / a_s) * (1 - a_s) / (1 - a_t) * x
    small = max((1 - a_s) / (1 - a_t) * beta, 1e-20)
    if c["variance_type"].startswith("fixed_small"):
        std = math.sqrt(small)
    elif c["variance_type"] == "fixed_large":
        std = math.sqrt(beta)
    else:
        f = (v + 1) / 2
        std = np.exp(0.5 * (f * math.log(beta) + (1 - f) * math.log(small)))
    return mean + std * z if t > 0 else mean


def naive_run(name, c, ts, prev, eta, use_clipped):
    a = alphas_cumprod_f64(c)
    edge = a[0] if c.get("set_alpha_to_one") is False else 1.0
    at = lambda i: a[i] if i >= 0 else edge  # noqa: E731
    x = np.array(START)
    like = torch.zeros(2, 6, dtype=torch.float64)
    v = predicted_variance(like).numpy()
    for k, (t, s) in enumerate(zip(ts, prev)):
        m, z = model(x, t), noise(k, like).numpy()
        if name == "DDPM":
            x = naive_ddpm(c, at(t), at(s), x, m, z, v, t)
        elif name == "DDIM":
            x = naive_ddim(c, at(t), at(s), x, m, z, eta, use_clipped)
        else:  # x is at the level `prev`, the network receives t, the result is at the level t
            x = naive_ddim(c, at(s), at(t), x, m, z, 0.0, False)
    return x


# ---------------------------------------------------------------- whole runs

CLASSES = {"DDIM": DDIMScheduler, "DDPM": DDPMScheduler, "DDIMInverse": DDIMInverseScheduler}


def run(s, steps, dtype, eta, use_clipped, shape, variance=lambda x, t: predicted_variance(x)):
    """One run with the scheduler's own timesteps; returns (timesteps, levels on the other side, x after each step)."""
    s.set_timesteps(steps)
    ts = s.timesteps.tolist()
    x = torch.tensor(START, dtype=dtype).reshape(shape)
    prev, xs, z_now = [], [], [None]
    if isinstance(s, DDIMScheduler):
        own = s._get_variance
        s._get_variance = lambda t, p: (prev.append(int(p)), own(t, p))[1]
    scheduling_ddpm.randn_tensor = lambda shape, **kw: z_now[0]
    for k, t in enumerate(ts):
        m, z_now[0] = model(x, t), noise(k, x)
        if isinstance(s, DDIMScheduler):
            x = s.step(m, t, x, eta=eta, use_clipped_model_output=use_clipped, variance_noise=z_now[0]).prev_sample
        elif isinstance(s, DDPMScheduler):
            prev.append(int(s.previous_timestep(t)))
            if s.config.variance_type == "learned_range":
                m = torch.cat([m, variance(x, t)], dim=1)
            x = s.step(m, t, x).prev_sample
        else:
            prev.append(t - s.config.num_train_timesteps // steps)
            x = s.step(m, t, x).prev_sample
        assert x.dtype == dtype
        xs.append(x)
    return ts, prev, xs


def trajectory(name, steps, eta=None, use_clipped=None, **cfg):
    shape = (2, 6, 1) if cfg.get("thresholding") else (2, 6)  # see the deviation "thresholding of a [batch, n] tensor"
    make = lambda: CLASSES[name](**cfg)  # noqa: E731
    ts, prev, xs = run(make(), steps, torch.float32, eta, use_clipped, shape)
    c = config_of(make())
    ts64, prev64, xs64 = run(widen(make()), steps, torch.float64, eta, use_clipped, shape)
    assert (ts64, prev64) == (ts, prev)
    wide = xs64[-1].numpy().reshape(2, 6)
    if np.isfinite(wide).all():
        again = naive_run(name, c, ts, prev, eta, use_clipped)
        assert np.abs(again - wide).max() <= 1e-9 * max(1, np.abs(wide).max()), (name, cfg, again, wide)
    if name == "DDIMInverse":
        follows = prev[0] < 0 and prev[1:] == ts[:-1]
    else:
        follows = prev[:-1] == ts[1:] and prev[-1] < 0
    off = np.abs(xs[-1].numpy().reshape(2, 6).astype(np.float64) - wide).max() / max(1, np.abs(wide).max())
    r = {"kind": "trajectory", "id": None, "scheduler": name, "steps": steps}
    if name == "DDIM":
        r |= {"eta": eta, "use_clipped_model_output": use_clipped}
    r |= {"config": c, "timesteps": ts}
    r["from" if name == "DDIMInverse" else "prev"] = prev
    r["follows_own_tau"] = follows
    if name == "DDPM":
        r["noise_on_last_step"] = ts[-1] > 0
    r["x_after"] = "every step" if steps <= LIMIT_ALL_STEPS else "last step"
    r["x"] = [shorts(x) for x in (xs if steps <= LIMIT_ALL_STEPS else xs[-1:])]
    r["x_last_f64"] = exacts(xs64[-1])
    r["f32_finite"] = all(bool(x.isfinite().all()) for x in xs)
    r["f32_off"] = float(f"{off:.2g}") if math.isfinite(off) else exact(off)
    return r


SPACINGS = [
    {"timestep_spacing": "leading", "steps_offset": 0},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "linspace"},
]
LEAD0, LEAD1, TRAIL, LIN = SPACINGS
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}


def ddim_runs():
    def go(steps, eta=0.0, use_clipped=False, **cfg):
        return trajectory("DDIM", steps, eta=float(eta), use_clipped=use_clipped, **({"clip_sample": False} | cfg))

    # spacing × prediction × η, the number of steps in a Latin square over {5, 7, 10}
    for i, sp in enumerate(SPACINGS):
        table = SD if sp is LEAD1 else {}
        for j, p in enumerate(PREDICTIONS):
            for k, eta in enumerate((0, 0.5, 1)):
                yield go((5, 7, 10)[(i + j + k) % 3], eta, prediction_type=p, **sp, **table)
    # longer runs
    for steps in (20, 50):
        for eta in (0, 1):
            yield go(steps, eta, **LEAD1, **SD)
            yield go(steps, eta, **TRAIL)
    yield go(20, 0.5, **LIN)
    # the path ends at the level of t = 0
    for j, p in enumerate(PREDICTIONS):
        for k, eta in enumerate((0, 1)):
            yield go((5, 7)[(j + k) % 2], eta, prediction_type=p, set_alpha_to_one=False, **LEAD1, **SD)
    yield go(5, 0.5, set_alpha_to_one=False, **TRAIL)
    # clip, with and without the re-derived ε
    for i, limit in enumerate((1.0, 0.3)):
        for j, p in enumerate(PREDICTIONS):
            for k, re in enumerate((False, True)):
                eta = (0, 0.5, 1)[(i + j + k) % 3]
                sp = (LEAD0, TRAIL)[(i + j) % 2]
                yield go(5, eta, re, prediction_type=p, clip_sample=True, clip_sample_range=limit, **sp)
    yield go(20, 1, True, clip_sample=True, clip_sample_range=1.0, **LEAD0)
    yield go(5, 0.5, True, prediction_type="v_prediction", **LEAD0)  # re-derived without a clip: no effect
    # dynamic thresholding
    th = {"thresholding": True, "dynamic_thresholding_ratio": 0.7, "sample_max_value": 1.5}
    for j, p in enumerate(PREDICTIONS):
        for k, re in enumerate((False, True)):
            yield go(5, (0, 1)[(j + k) % 2], re, prediction_type=p, **th, **LEAD0)
    yield go(20, 0, thresholding=True, dynamic_thresholding_ratio=0.995, sample_max_value=1.0, **TRAIL)
    # zero terminal SNR
    z = {"rescale_betas_zero_snr": True}
    for steps, eta in ((5, 0), (5, 0.5), (10, 0), (10, 0.5), (20, 0), (50, 0.5)):
        yield go(steps, eta, prediction_type="v_prediction", **z, **TRAIL, **SD)
    yield go(5, 0, prediction_type="sample", **z, **TRAIL)
    yield go(5, 1, prediction_type="v_prediction", **z, **LEAD0)
    # cosine
    yield go(5, 0, **LEAD0, **COSINE)
    yield go(5, 1, **TRAIL, **COSINE)  # NaN in f32 from its first step on: see the deviation on radicands below zero
    yield go(7, 1, **LEAD0, **COSINE)
    yield go(10, 0.5, prediction_type="v_prediction", **TRAIL, **COSINE)
    # all of T, short tables, one step
    for i, sp in enumerate((LEAD0, TRAIL, LIN)):
        yield go(50, (0, 0.5, 1)[i], num_train_timesteps=50, **sp)
    yield go(5, 1, num_train_timesteps=10, **TRAIL)
    yield go(3, 0.5, num_train_timesteps=10, **LEAD0)
    yield go(4, 0, num_train_timesteps=10, **TRAIL)
    yield go(1, 0, **TRAIL)
    yield go(1, 0, **LEAD0)


def ddpm_runs():
    def go(steps, **cfg):
        return trajectory("DDPM", steps, **({"clip_sample": False} | cfg))

    for i, sp in enumerate(SPACINGS):
        for j, p in enumerate(PREDICTIONS):
            for k, var in enumerate(("fixed_small", "fixed_large")):
                yield go((5, 7, 10)[(i + j + k) % 3], prediction_type=p, variance_type=var, **sp)
    for j, p in enumerate(PREDICTIONS):
        var = ("fixed_small", "fixed_large")[j % 2]
        yield go(5, prediction_type=p, variance_type=var, clip_sample=True, clip_sample_range=1.0, **LEAD0)
    yield go(5, clip_sample=True, clip_sample_range=0.3, **TRAIL)
    yield go(5, thresholding=True, dynamic_thresholding_ratio=0.7, sample_max_value=1.5, **LEAD0)
    for var in ("fixed_small", "fixed_large"):
        yield go(50, num_train_timesteps=50, variance_type=var, **LEAD0)  # all of T
        yield go(50, variance_type=var, **TRAIL)  # the list ends at t = 19
    yield go(20, clip_sample=True, **LEAD1, **SD)
    yield go(5, variance_type="fixed_small_log", **LEAD0)
    yield go(5, variance_type="learned_range", **LEAD0)
    yield go(20, variance_type="learned_range", **LIN, **COSINE)
    yield go(5, prediction_type="v_prediction", rescale_betas_zero_snr=True, **TRAIL, **SD)
    yield go(5, beta_schedule="sigmoid", **LEAD0)
    yield go(5, beta_schedule="laplace", prediction_type="v_prediction", **TRAIL)


def inverse_runs():
    def go(steps, **cfg):
        return trajectory("DDIMInverse", steps, **({"clip_sample": False} | cfg))

    yield go(5, **LEAD0)
    yield go(7, prediction_type="v_prediction", **LEAD0)
    yield go(5, set_alpha_to_one=False, **LEAD1, **SD)
    yield go(5, set_alpha_to_one=False, prediction_type="sample", **LEAD0)
    yield go(5, **TRAIL)
    yield go(7, prediction_type="v_prediction", **TRAIL)
    yield go(5, set_alpha_to_one=False, prediction_type="sample", **TRAIL)
    yield go(20, **LEAD0)
    yield go(50, prediction_type="v_prediction", **TRAIL, **SD)
    yield go(50, num_train_timesteps=50, **LEAD0)


# ---------------------------------------------------------------- tables


def tables():
    families = [
        ("linear", {"beta_start": 1e-4, "beta_end": 0.02}, ["DDIM", "DDPM", "DDIMInverse"]),
        ("scaled_linear", {"beta_start": 0.00085, "beta_end": 0.012}, ["DDIM", "DDPM", "DDIMInverse"]),
        ("squaredcos_cap_v2", {}, ["DDIM", "DDPM", "DDIMInverse"]),
        ("sigmoid", {"beta_start": 1e-4, "beta_end": 0.02}, ["DDPM"]),
        ("laplace", {}, ["DDPM"]),
        ("exp", {}, ["HeunDiscrete"]),
    ]
    for name, ends, owners in families:
        for n in (1000, 10):
            for zero in (False, True):
                if zero and owners == ["HeunDiscrete"]:
                    continue
                cfg = {"beta_schedule": name, "num_train_timesteps": n, **ends}
                if zero:
                    cfg["rescale_betas_zero_snr"] = True
                made = [(CLASSES | {"HeunDiscrete": HeunDiscreteScheduler})[o](**cfg) for o in owners]
                s = made[0]
                for other in made[1:]:
                    assert torch.equal(s.betas, other.betas) and torch.equal(s.alphas_cumprod, other.alphas_cumprod)
                at = range(n) if n == 10 else (0, 1, 9, 100, 250, 499, 500, 501, 750, 998, 999)
                yield {
                    "kind": "table", "beta_schedule": name, **ends, "T": n, "rescale_betas_zero_snr": zero,
                    "schedulers": owners,
                    # torch's vectorised f32 sqrt (rescaling) and sigmoid are not correctly rounded and differ between
                    # processors in the last bit, so there is no bit pattern to hold anyone to
                    "betas_fnv1a64": None if zero or name == "sigmoid" else fnv1a64(s.betas),
                    "alphas_cumprod_fnv1a64": None if zero or name == "sigmoid" else fnv1a64(s.alphas_cumprod),
                    "t_beta_alphacumprod": [[t, exact(s.betas[t]), exact(s.alphas_cumprod[t])] for t in at],
                }  # fmt: skip


# ---------------------------------------------------------------- timesteps


def timesteps():
    wanted = [(1000, s) for s in (1, 2, 3, 5, 7, 10, 20, 48, 50, 61, 100, 250, 600, 999, 1000)]
    wanted += [(10, s) for s in range(1, 11)]
    for sp in SPACINGS:
        for n, steps in wanted:
            lists = []
            for cls in (DDIMScheduler, DDPMScheduler):
                s = cls(num_train_timesteps=n, **sp)
                s.set_timesteps(steps)
                lists.append(s.timesteps.tolist())
            assert lists[0] == lists[1]
            ts = lists[0]
            r = {
                "kind": "timesteps", "schedulers": ["DDIM", "DDPM"], "spacing": sp["timestep_spacing"],
                "steps_offset": sp.get("steps_offset", 0), "T": n, "steps": steps, "len": len(ts),
                "all_in_range": all(0 <= t < n for t in ts),
            }  # fmt: skip
            if len(ts) <= 10:
                r["list"] = ts
            else:
                r |= {"first": ts[:5], "last": ts[-5:]}
            r |= {"sum": sum(ts), "sum_of_squares": sum(t * t for t in ts)}
            yield r


# ---------------------------------------------------------------- deviations


def one(v, dtype=torch.float32):
    return torch.full((1, 1), float(v), dtype=dtype)


def first_step(s, x, m, z, eta):
    """The first step of a DDIM run on a single number: (prev_sample, x̂₀, radicand 1 − a_s − σ²)."""
    t = int(s.timesteps[0])
    p = t - s.config.num_train_timesteps // s.num_inference_steps
    o = s.step(one(m), t, one(x), eta=eta, variance_noise=one(z))
    a = s.alphas_cumprod[p] if p >= 0 else s.final_alpha_cumprod
    std = eta * s._get_variance(t, p) ** 0.5
    return o.prev_sample, o.pred_original_sample, 1 - a - std**2


def ddim(steps=None, **cfg):
    s = DDIMScheduler(**cfg)
    if steps:
        s.set_timesteps(steps)
    return s


def ddpm(steps=None, **cfg):
    s = DDPMScheduler(**cfg)
    if steps:
        s.set_timesteps(steps)
    return s


def predecessors(s):
    ratio = s.config.num_train_timesteps // s.num_inference_steps
    return [t - ratio for t in s.timesteps.tolist()]


def negative_radicands(table):
    """Over every S and spacing: the DDIM steps of diffusers at η = 1 with 1 − a_s − σ² < 0 in f32, which give NaN."""
    out = {}
    for sp in SPACINGS:
        bad_steps, bad_s = 0, []
        for steps in range(1, 1001):
            s = ddim(steps, **sp, **table)
            t = s.timesteps
            t = t[(t >= 0) & (t < 1000)]
            p = t - 1000 // steps
            a_t = s.alphas_cumprod[t]
            a_s = torch.where(p >= 0, s.alphas_cumprod[p.clamp(min=0)], s.final_alpha_cumprod)
            std = ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
            bad = (1 - a_s - std**2) < 0
            bad_steps += int(bad.sum())
            if bad.any():
                bad_s.append(steps)
        out[f"{sp['timestep_spacing']}+{sp.get('steps_offset', 0)}"] = {
            "values_of_S": len(bad_s), "first_S": bad_s[:8], "steps_in_all": bad_steps,
        }  # fmt: skip
    return out


def deviations():
    def rec(what, reproduced, **observed):
        return {"kind": "deviation", "what": what, "reproduced": reproduced, "observed": observed}

    # predecessors
    s = ddim(10, **LIN)
    ts, own = s.timesteps.tolist(), predecessors(s)
    yield rec("DDIM linspace: the first step goes to t - T//S, not to the next entry", own[0] == 899 != ts[1],
              T=1000, steps=10, timesteps=ts, predecessors=own)  # fmt: skip
    s = ddim(7, **TRAIL)
    ts, own = s.timesteps.tolist(), predecessors(s)
    yield rec("DDIM trailing, S does not divide T: steps end at levels from which the next call does not start",
              own[:-1] != ts[1:], T=1000, steps=7, timesteps=ts, predecessors=own)  # fmt: skip
    s = ddpm(10, **LIN)
    ts = s.timesteps.tolist()
    yield rec("DDPM linspace: the predecessor is looked up in the list (no deviation)", None,
              T=1000, steps=10, predecessors=[int(s.previous_timestep(t)) for t in ts])  # fmt: skip

    # numpy's arange
    s = ddim(61, **TRAIL)
    ts = s.timesteps.tolist()
    o = s.step(one(0.0), -1, one(1.0))
    s2 = ddpm(61, **TRAIL)
    scheduling_ddpm.randn_tensor = lambda shape, **kw: torch.zeros(shape)
    o2 = s2.step(one(0.0), -1, one(1.0))
    yield rec("trailing: arange yields S+1 entries, the last t = -1, which reads the table at T-1", len(ts) == 62,
              T=1000, steps=61, len=len(ts), last=ts[-5:], error=None,
              ddim_step_at_minus_1_x_1_m_0=exact(o.prev_sample), ddim_x0_without_clip=exact(
                  ddim(61, clip_sample=False, **TRAIL).step(one(0.0), -1, one(1.0)).prev_sample),
              ddpm_step_at_minus_1_x_1_m_0=exact(o2.prev_sample))  # fmt: skip
    bad = {}
    for steps in range(1, 1001):
        ts = ddim(steps, **TRAIL).timesteps.tolist()
        if len(ts) != steps:
            bad[steps] = (len(ts) - steps, ts[-1])
    yield rec("trailing: all S with more than S entries at T = 1000", len(bad) == 62, T=1000, count=len(bad),
              S=list(bad), excess=sorted({v[0] for v in bad.values()}), last=sorted({v[1] for v in bad.values()}))  # fmt: skip
    short_t = {n: [s_ for s_ in range(1, n + 1) if len(ddim(s_, num_train_timesteps=n, **TRAIL).timesteps) != s_]
               for n in (10, 50, 100, 500, 4000)}  # fmt: skip
    yield rec("trailing: the same at other T", any(short_t.values()),
              count={str(n): len(v) for n, v in short_t.items()}, first={str(n): v[:8] for n, v in short_t.items()})  # fmt: skip

    # DDPM variances
    for t in (500, 999):
        s = ddpm(1000, variance_type="fixed_large_log")
        scheduling_ddpm.randn_tensor = lambda shape, **kw: torch.ones(shape)
        x = s.step(one(0.5), t, one(1.0)).prev_sample
        yield rec("DDPM fixed_large_log: the square root of a logarithm", bool(x.isnan().all()), t=t, x=1.0, m=0.5, z=1.0,
                  variance=exact(s._get_variance(t)), beta=exact(s.betas[t]), prev_sample=exact(x))  # fmt: skip
    for var in ("fixed_small", "fixed_small_log", "fixed_large"):
        s = ddpm(50, variance_type=var, clip_sample=False, **TRAIL)
        t = int(s.timesteps[-1])
        scheduling_ddpm.randn_tensor = lambda shape, **kw: torch.zeros(shape)
        quiet = s.step(one(0.5), t, one(1.0)).prev_sample
        scheduling_ddpm.randn_tensor = lambda shape, **kw: torch.ones(shape)
        loud = s.step(one(0.5), t, one(1.0)).prev_sample
        std = s._get_variance(t) if var == "fixed_small_log" else s._get_variance(t) ** 0.5
        yield rec("DDPM trailing that ends at t > 0: noise on the last step, whose target is clean data",
                  bool(loud != quiet), variance_type=var, T=1000, steps=50, t=t, std=exact(std),
                  prev_sample_z_0=exact(quiet), prev_sample_z_1=exact(loud))  # fmt: skip

    # zero terminal SNR
    z = {"rescale_betas_zero_snr": True}
    for x, m in ((1.0, 0.5), (0.5, 0.5)):
        s = ddim(10, clip_sample=False, **z, **TRAIL)
        a = first_step(s, x, m, 0.0, 0.0)
        b = first_step(ddim(10, clip_sample=True, **z, **TRAIL), x, m, 0.0, 0.0)
        s2 = ddpm(10, clip_sample=False, **z, **TRAIL)
        c = s2.step(one(m), 999, one(x))
        yield rec("zero terminal SNR, epsilon-prediction: a division by zero, which the clip hides unless it is 0/0",
                  not math.isfinite(float(a[0])), t=999, x=x, m=m, ddim_x0=exact(a[1]), ddim_prev_sample=exact(a[0]),
                  ddim_clipped_x0=exact(b[1]), ddim_clipped_prev_sample=exact(b[0]),
                  ddpm_prev_sample=exact(c.prev_sample))  # fmt: skip
    for label, table in (("linear", {}), ("scaled_linear", SD), ("squaredcos_cap_v2", COSINE)):
        s = ddim(10, prediction_type="v_prediction", clip_sample=False, **z, **TRAIL, **table)
        p, x0, rad = first_step(s, 1.0, 0.5, 0.25, 1.0)
        scan = []
        for steps in range(1, 1001):
            d = ddim(steps, prediction_type="v_prediction", clip_sample=False, **z, **TRAIL, **table)
            if math.isnan(float(first_step(d, 1.0, 0.5, 0.25, 1.0)[0])):
                scan.append(steps)
        yield rec("zero terminal SNR, v-prediction, trailing, eta = 1, S = 10: the first step", math.isnan(float(p)),
                  beta_schedule=label, beta_start=s.config.beta_start, beta_end=s.config.beta_end, t=999, s=899,
                  x=1.0, m=0.5, z=0.25, alpha_cumprod_s=exact(s.alphas_cumprod[899]), radicand=exact(rad),
                  x0=exact(x0), prev_sample=exact(p), first_step_nan_for_values_of_S=len(scan),
                  first_of_them=scan[:12])  # fmt: skip
    s = ddim(5, clip_sample=False, **TRAIL, **COSINE)
    p, x0, rad = first_step(s, 1.0, 0.5, 0.25, 1.0)
    yield rec("cosine without rescaling, trailing, eta = 1, S = 5: the first step", math.isnan(float(p)), t=999, s=799,
              x=1.0, m=0.5, z=0.25, alpha_cumprod_s=exact(s.alphas_cumprod[799]), radicand=exact(rad), x0=exact(x0),
              prev_sample=exact(p))  # fmt: skip
    for label, table in (
        ("linear", {}), ("scaled_linear", SD), ("squaredcos_cap_v2", COSINE),
        ("linear, zero terminal SNR", z), ("scaled_linear, zero terminal SNR", {**SD, **z}),
        ("squaredcos_cap_v2, zero terminal SNR", {**COSINE, **z}),
    ):  # fmt: skip
        found = negative_radicands(table)
        yield rec("DDIM, eta = 1: radicands below zero in f32, over S = 1..1000", any(
            v["steps_in_all"] for v in found.values()), table=label, T=1000, **found)  # fmt: skip

    # timesteps out of reach
    for n in (1000, 10):
        ts = ddim(1, num_train_timesteps=n, **LIN).timesteps.tolist()
        yield rec("linspace, S = 1: starts at t = 0, not at the noisiest level", ts == [0], T=n, steps=1, timesteps=ts)
    for cls in (DDIMScheduler, DDPMScheduler):
        s = cls(**LEAD1)
        err_set = error_of(lambda s=s: s.set_timesteps(1000))
        t = int(s.timesteps[0])
        err_step = error_of(lambda s=s, t=t: s.step(one(0.5), t, one(1.0)))
        yield rec("leading, steps_offset 1, S = T: asks for t = T", err_step is not None, scheduler=cls.__name__,
                  first=t, error_in_set_timesteps=err_set, error_in_step=err_step)  # fmt: skip
    ts = ddim(600, **LEAD0).timesteps.tolist()
    yield rec("leading, S = 600: tops out at 599", ts[0] == 599, T=1000, steps=600, first=ts[:3], last=ts[-3:])
    yield rec("S = 0", None, **{
        f"{c.__name__} {sp['timestep_spacing']}": error_of(lambda c=c, sp=sp: c(**sp).set_timesteps(0)) or "accepted"
        for c in (DDIMScheduler, DDPMScheduler) for sp in (LEAD0, TRAIL, LIN)
    })  # fmt: skip
    yield rec("S > T", None, DDIM=error_of(lambda: ddim(1001)), DDPM=error_of(lambda: ddpm(1001)))

    # add_noise in half precision
    for dtype, label in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16"), (torch.float32, "float32")):
        s = ddim()
        got = [float(s.add_noise(one(0, dtype), one(1, dtype), torch.tensor([t]))) for t in range(64)]
        last_zero = max([t for t in range(64) if got[t] == 0], default=None)
        yield rec("add_noise casts the table to the sample's type", last_zero is not None,
                  dtype=label, t=9, x=0.0, noise=1.0, value=exact(got[9]), last_t_with_no_noise=last_zero,
                  at_0_to_12=[exact(v) for v in got[:13]])  # fmt: skip

    # beta lists
    nan = float("nan")
    for betas in ([0.1, 1.5, 0.2, 0.3], [0.1, -0.1, 0.2, 0.3], [0.1, nan, 0.2, 0.3]):
        for cls in (DDIMScheduler, DDPMScheduler, DDIMInverseScheduler):
            made = []
            err = error_of(lambda cls=cls: made.append(cls(num_train_timesteps=4, trained_betas=betas)))  # noqa: B023
            yield rec("a beta outside (0, 1) is accepted", err is None, scheduler=cls.__name__,
                      betas=[exact(b) for b in betas], error=err,
                      alphas_cumprod=exacts(made[0].alphas_cumprod) if made else None)  # fmt: skip
    made = []
    err = error_of(lambda: made.append(ddim(num_train_timesteps=1000, trained_betas=[0.1, 0.2, 0.3])))
    s = made[0]
    s.set_timesteps(10)
    yield rec("a beta list of a length other than T is accepted", err is None, T=1000, betas=[0.1, 0.2, 0.3], error=err,
              table_len=len(s.alphas_cumprod), first_timestep=int(s.timesteps[0]),
              error_in_first_step=error_of(lambda: s.step(one(0.5), int(s.timesteps[0]), one(1.0))))  # fmt: skip

    # shapes
    for shape in ((2, 6), (2, 6, 1), (2, 2, 3)):
        s = ddim(5, thresholding=True, dynamic_thresholding_ratio=0.7, sample_max_value=1.5)
        x = torch.tensor(START).reshape(shape)
        yield rec("thresholding of a [batch, n] tensor", error_of(lambda: s.step(x, 800, x)) is not None,
                  shape=list(shape), error=error_of(lambda: s.step(x, 800, x)))  # fmt: skip
    x = torch.tensor(START)
    s = CLASSES["DDIMInverse"](clip_sample=False, prediction_type="sample", **LEAD0)
    s.set_timesteps(5)
    got = s.step(model(x, 0), 0, x).prev_sample
    yield rec("DDIMInverse, sample-prediction, from clean data: division by zero", bool((~got.isfinite()).any()),
              t=0, source="clean", prev_sample=exacts(got))  # fmt: skip

    # how good the f32 tables are
    for label, table in (("linear", {}), ("scaled_linear", SD), ("squaredcos_cap_v2", COSINE)):
        s = ddim(**table)
        b, a32 = betas_f64(config_of(s)), s.alphas_cumprod.numpy()
        a = np.cumprod(1 - b)
        n = np.empty_like(a)  # 1 − a by a recurrence of positive terms
        acc = 0.0
        for i in range(len(b)):
            acc = acc + (1 - acc) * b[i]
            n[i] = acc
        got_n = (np.float32(1) - a32).astype(np.float64)
        rel_a, rel_n = np.abs(a32 / a - 1), np.abs(got_n / n - 1)
        yield rec("the f32 tables against f64", None, beta_schedule=label, T=1000,
                  alphas_cumprod_last=exact(a32[-1]), alphas_cumprod_last_f64=exact(a[-1]),
                  max_rel_error_of_a=float(f"{rel_a.max():.3g}"), a_at=int(rel_a.argmax()),
                  max_rel_error_of_1_minus_a=float(f"{rel_n.max():.3g}"), one_minus_a_at=int(rel_n.argmax()))  # fmt: skip


# ---------------------------------------------------------------- the file


def records():
    yield {
        "kind": "meta",
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "start": START,
        "model": "m(x, t) = 0.5*x + 0.125*((t mod 7) - 3)",
        "noise": "z(k, e) = ((7*k + 5*e + 3) mod 11 - 5)/4",
        "predicted_variance": "v(e) = ((e mod 5) - 2)/2",
    }  # fmt: skip
    yield from tables()
    yield from timesteps()
    for name, runs in (("ddim", ddim_runs()), ("ddpm", ddpm_runs()), ("inverse", inverse_runs())):
        for i, r in enumerate(runs):
            r["id"] = f"{name}-{i:02}"
            yield r
    yield from deviations()


def main():
    for name, mod in (("diffusers", diffusers), ("torch", torch), ("numpy", np)):
        have = mod.__version__.split("+")[0]
        if have != PINNED[name]:
            sys.exit(f"{name} {PINNED[name]} is required, found {have}")
    lines = [json.dumps(r, allow_nan=False, separators=(",", ":"), ensure_ascii=True) for r in records()]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    kinds = {}
    for r in json.loads(text):
        kinds[r["kind"]] = kinds.get(r["kind"], 0) + 1
    print(kinds, len(text), "bytes")
    if "--check" in sys.argv[1:]:
        old = OUT.read_text().splitlines()
        new = text.splitlines()
        for i, (o, n) in enumerate(zip(old, new)):
            if o != n:
                print(f"line {i + 1}\n  file {o[:300]}\n  now  {n[:300]}")
        sys.exit(0 if old == new else "the file differs from what is computed now")
    OUT.write_text(text)


if __name__ == "__main__":
    main()

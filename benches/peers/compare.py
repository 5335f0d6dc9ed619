#!/usr/bin/env python3
"""Measures torch + diffusers and alphabar on the same shapes interleaved, and prints one table of ratios.

    pip install torch diffusers==0.42.1
    cargo build --release -p alphabar-peers --bin serve
    python3 benches/peers/compare.py --threads 1
    python3 benches/peers/compare.py --threads 2

Each round measures every case of both once; the figures are medians over the rounds. The network's output and x are given;
diffusers draws its noise itself, as it does in a pipeline, and alphabar makes its noise within the step.
"""

import argparse
import os
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=31)
parser.add_argument("--serve", default="target/release/serve", help="the binary of alphabar-peers")
options = parser.parse_args()

import torch  # noqa: E402
from diffusers import (  # noqa: E402
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

torch.set_num_threads(options.threads)
torch.set_grad_enabled(False)

SHAPES = {"1x4x64x64": (1, 4, 64, 64), "1x3x1024x1024": (1, 3, 1024, 1024), "64x3x256x256": (64, 3, 256, 256)}
# The least ratio that is wanted, for one thread and for two.
AIMS = {"ddim": (12, 12), "ddim clip": (12, 12), "ddim eta=1 clip": (8, None), "ddpm clip": (8, None), "noise": (3, None), "noise in place": (3, None)}
AIMS |= {name: (12, None) for name in ("2m, 20 calls", "unipc 3, 20 calls", "heun, 19 calls")}
SMALL_AIM = 40


def run(scheduler, steps):
    """A whole run with the network's output given, for schedulers that remember; made once, its steps measured."""
    scheduler.set_timesteps(steps)

    def work(model_output, x):
        # As after set_timesteps, whose time is not measured.
        scheduler._step_index = None
        for name, value in (("lower_order_nums", 0), ("last_sample", None), ("prev_derivative", None), ("dt", None)):
            if hasattr(scheduler, name):
                setattr(scheduler, name, value)
        if hasattr(scheduler, "model_outputs"):
            scheduler.model_outputs = [None] * len(scheduler.model_outputs)
        for t in scheduler.timesteps:
            x = scheduler.step(model_output, t, x).prev_sample

    return work


def cases(shape):
    """What diffusers and torch do, by the name of alphabar's case."""
    start, model_output = torch.randn(shape), torch.randn(shape)
    ddim = {clip: DDIMScheduler(clip_sample=clip) for clip in (False, True)}
    ddpm = DDPMScheduler(clip_sample=True)
    for scheduler in (*ddim.values(), ddpm):
        scheduler.set_timesteps(50)
    t = ddpm.timesteps[25]
    target = torch.empty(shape)
    sd = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "use_karras_sigmas": True}
    two_m = run(DPMSolverMultistepScheduler(**sd), 20)
    unipc = run(UniPCMultistepScheduler(solver_order=3, **sd), 20)
    heun = run(HeunDiscreteScheduler(**sd), 10)
    return {
        "copy": lambda: target.copy_(start),
        "ddim": lambda: ddim[False].step(model_output, t, start),
        "ddim clip": lambda: ddim[True].step(model_output, t, start),
        "ddim eta=1 clip": lambda: ddim[True].step(model_output, t, start, eta=1.0),
        "ddpm clip": lambda: ddpm.step(model_output, t, start),
        "2m, 20 calls": lambda: two_m(model_output, start),
        "unipc 3, 20 calls": lambda: unipc(model_output, start),
        "heun, 19 calls": lambda: heun(model_output, start),
        "noise": lambda: torch.randn(shape),
        "noise in place": lambda: target.normal_(),
    }


def seconds(work, repetitions):
    start = time.perf_counter()
    for _ in range(repetitions):
        work()
    return (time.perf_counter() - start) / repetitions


environment = dict(os.environ, RAYON_NUM_THREADS=str(options.threads))
server = subprocess.Popen(
    [options.serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
)


def ours(size, name):
    # torch's threads go on turning for a while after their work, on the cores that ours are to use.
    time.sleep(0.02 if options.threads > 1 else 0)
    server.stdin.write(f"{size};{name}\n")
    return float(server.stdout.readline())


print(f"threads {options.threads}, medians of {options.rounds} rounds, µs")
print(f"{'tensor':<15} {'case':<18} {'diffusers':>10} {'alphabar':>10} {'ratio':>7} {'aim':>5} {'of copy':>8}")
for size, shape in SHAPES.items():
    theirs = cases(shape)
    elements = torch.Size(shape).numel()
    repetitions = max(1, min(50, 2_000_000 // elements))
    found = {name: ([], []) for name in theirs}
    for _ in range(options.rounds):
        for name, work in theirs.items():
            found[name][0].append(seconds(work, repetitions))
            found[name][1].append(ours(size, name))
    copy = statistics.median(found["copy"][1])
    for name, (slow, fast) in found.items():
        slow, fast = statistics.median(slow), statistics.median(fast)
        aim = AIMS.get(name, (None, None))[0 if options.threads == 1 else 1]
        if aim is not None and elements < 100_000 and name in ("ddim", "ddim clip"):
            aim = SMALL_AIM
        if elements < 100_000 and name.endswith("calls"):
            aim = SMALL_AIM / 2
        print(
            f"{size:<15} {name:<18} {slow * 1e6:>10.1f} {fast * 1e6:>10.1f} {slow / fast:>7.1f} {aim or '':>5}"
            f" {fast / copy:>8.2f}",
            flush=True,
        )
server.stdin.close()

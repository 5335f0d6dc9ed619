#!/usr/bin/env python3
"""How fast torch and numpy make normals, in one thread: to be set beside `cargo bench --bench noise -- torch numpy`.

    pip install -r tests/seeds/requirements.txt
    OMP_NUM_THREADS=1 python benches/noise.py
"""

import time

import numpy as np
import torch

torch.set_num_threads(1)


def fastest(draw, elements, rounds=300):
    """The least time of many, in ns an element."""
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter_ns()
        draw()
        least = min(least, time.perf_counter_ns() - start)
    return least / elements


for n in (1 << 14, 1 << 20):
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float32, torch.float64):
        z = torch.empty(n, dtype=dtype)
        ns = fastest(lambda z=z: z.normal_(generator=generator), n, 300 if n < 1 << 20 else 10)
        print(f"torch.randn {dtype}, {n} elements: {ns:.1f} ns an element")
legacy, rng = np.random.RandomState(1), np.random.default_rng(1)
print(f"numpy RandomState: {fastest(lambda: legacy.randn(1 << 14), 1 << 14):.1f} ns an element")
print(f"numpy default_rng: {fastest(lambda: rng.standard_normal(1 << 14), 1 << 14):.1f} ns an element")

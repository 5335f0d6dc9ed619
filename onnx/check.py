"""What onnxruntime makes of the network: the numbers in tests/terrain.rs.

    pip install onnxruntime numpy
    python3 check.py FILE.onnx [FOLDER]

Prints every 1021st cell of one call and of ten steps of DDIM; into FOLDER it writes all cells, as raw f32.
"""

import sys

import numpy as np
import onnxruntime


def pseudo_normals(count):
    """About N(0, 1), and the same in every language: sums of twelve uniform numbers from a linear congruential generator."""
    state, normals = 1, np.empty(count)
    for i in range(count):
        total = 0.0
        for _ in range(12):
            state = (state * 1664525 + 1013904223) % 2**32
            total += (state >> 8) / 2**24
        normals[i] = total - 6.0
    return normals.astype(np.float32).reshape(1, 1, 128, 128)


def main(file, folder=None):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def denoise(y, sigma):
        feeds = {
            "noisy": y.astype(np.float32),
            "sigma": np.array([sigma], np.float32),
            "difficulty": np.array([(60 - 1) / 99], np.float32),
        }
        return session.run(None, feeds)[0]

    n = pseudo_normals(128 * 128)
    one_call = denoise(5 * n, 5.0)

    # DDIM as Euler's method in y = x₀ + σ·n, along the levels that τ takes: t = 999, 899, …, 99, and clean data.
    low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
    sigmas = [(low + t / 999 * (high - low)) ** 7 for t in range(999, -1, -100)] + [0.0]
    y = n.astype(np.float64) * np.sqrt(1 + sigmas[0] ** 2)
    for here, there in zip(sigmas, sigmas[1:]):
        x0 = denoise(y, here).astype(np.float64)
        y = x0 + there / here * (y - x0)

    for name, cells in [("one call", one_call), ("ten steps", y)]:
        print(name, [float(f"{cell:.6f}") for cell in cells.reshape(-1)[::1021]])
        if folder:
            cells.astype(np.float32).tofile(f"{folder}/{name.replace(' ', '-')}.f32")


main(*sys.argv[1:])

"""Flow and variance-exploding levels, steps between them, shifts and spacings at 50 digits: what tests/recorded/oracle_paths.rs compares with.

Written from the papers and from nothing else:
  Ho 2020, Song 2021    as in oracle.py, with (signal, noise) for (√ᾱ, √(1−ᾱ))
  Karras 2022           "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364
  Liu 2023              "Flow Straight and Fast", arXiv 2209.03003
  Esser 2024            "Scaling Rectified Flow Transformers", arXiv 2403.03206
It is deliberately naive: fifty digits are the care. An f64 input such as 0.999 stands for the exact value of that double.

    python paths.py            compute with 50 and with 80 digits, compare, write paths.json
    python paths.py --check    the same, but compare with paths.json instead of writing
"""

import json
import sys
from pathlib import Path

from mpmath import atan, exp, log, mp, mpf, nstr, sqrt, tan

HERE = Path(__file__).resolve().parent
DIGITS, GUARD, PRINTED = 50, 80, 25


def text(x):
    return nstr(mpf(x), PRINTED)


def pair(scale, sigma):
    """(signal, noise) of a flow's σ, or of a variance-exploding one."""
    sigma = mpf(sigma)
    return (1 - sigma, sigma) if scale == "flow" else (mpf(1), sigma)


def level(scale, sigma):
    signal, noise = pair(scale, sigma)
    alpha_bar = signal ** 2 / (signal ** 2 + noise ** 2)
    return {
        "scale": scale, "sigma": sigma, "signal": text(signal), "noise": text(noise), "alpha_bar": text(alpha_bar),
        "one_minus_alpha_bar": text(noise ** 2 / (signal ** 2 + noise ** 2)),
        "snr": text(signal ** 2 / noise ** 2), "log_snr": text(log(signal ** 2 / noise ** 2)), "sigma_ve": text(noise / signal),
    }


def x0_of(prediction, signal, noise, data):
    """x̂₀ = p·x + q·m."""
    if prediction == "epsilon":                       # x = s·x₀ + n·m
        return 1 / signal, -noise / signal
    if prediction == "flow":                          # m = ε − x₀
        return 1 / (signal + noise), -noise / (signal + noise)
    if prediction == "velocity":                      # Salimans and Ho, in the variance-preserving scale
        total = sqrt(signal ** 2 + noise ** 2)
        return signal / total / total, -noise / total
    sigma = noise / signal                            # Karras 2022, table 1
    return (data ** 2 / (sigma ** 2 + data ** 2) / signal, sigma * data / sqrt(sigma ** 2 + data ** 2))


def step(scale, t, s, method, prediction, data=mpf(1) / 2):
    """x′ = A·x + B·m + d·z."""
    (signal_t, noise_t), (signal_s, noise_s) = pair(scale, t), pair(scale, s)
    p, q = x0_of(prediction, signal_t, noise_t, data)
    eps_x, eps_m = (1 - signal_t * p) / noise_t, -signal_t * q / noise_t
    ratio = (signal_t * noise_s / (noise_t * signal_s)) ** 2          # SNR_t/SNR_s
    if method[0] == "ddim":
        d = mpf(method[1]) * noise_s * sqrt(1 - ratio)
        direction = sqrt(noise_s ** 2 - d ** 2)
        A, B = signal_s * p + direction * eps_x, signal_s * q + direction * eps_m
    else:
        # Bayes: q(x_t | x_s) = N(k·x_s, v), q(x_s | x₀) = N(s·x₀, n²).
        k = signal_t / signal_s
        v = noise_t ** 2 - k ** 2 * noise_s ** 2
        variance = 1 / (1 / noise_s ** 2 + k ** 2 / v)
        of_x, of_x0 = variance * k / v, variance * signal_s / noise_s ** 2
        A, B, d = of_x + of_x0 * p, of_x0 * q, sqrt(variance)
    return {
        "scale": scale, "t": t, "s": s, "method": method, "prediction": prediction, "p": text(p), "q": text(q),
        "A": text(A), "B": text(B), "d": text(d),
    }


def shifted(shift, terminal, steps):
    shift = mpf(shift)
    sigmas = [shift * u / (1 + (shift - 1) * u) for u in (mpf(steps - i) / steps for i in range(steps))]
    if terminal:
        stretch = (1 - mpf(terminal)) / (1 - sigmas[-1])
        sigmas = [1 - (1 - sigma) * stretch for sigma in sigmas]
    return {"shift": float(shift), "terminal": terminal, "steps": steps, "sigmas": [text(sigma) for sigma in sigmas]}


def spacing(name, n, high, low):
    a, b = mpf(high), mpf(low)
    u = [mpf(i) / (n - 1) for i in range(n)]
    if name == "karras":
        list_ = [(a ** (mpf(1) / 7) + v * (b ** (mpf(1) / 7) - a ** (mpf(1) / 7))) ** 7 for v in u]
    elif name == "exponential":
        list_ = [exp(log(a) + v * (log(b) - log(a))) for v in u]
    else:
        list_ = [tan(v * atan(b) + (1 - v) * atan(a)) for v in u]
    return {"name": name, "steps": n, "max": high, "min": low, "sigmas": [text(sigma) for sigma in list_]}


def records():
    flow = [1e-9, 1e-4, 0.0123, 0.25, 0.5, 0.75, 0.904531, 0.999, 1 - 2.0 ** -40]
    exploding = [1e-9, 0.002, 0.0292, 0.5, 1.0, 1.7, 14.6146, 80.0, 4096.0]
    levels = [level("flow", sigma) for sigma in flow] + [level("ve", sigma) for sigma in exploding]
    steps = []
    for scale, list_ in (("flow", flow), ("ve", exploding)):
        for j, t in enumerate(list_):
            # Neighbours that share most of their digits, ordinary ones, and far ones.
            for s in (t * (1 - 2.0 ** -30), t * 0.9, list_[max(j - 3, 0)] * 0.5):
                for method in (["ddim", 0.0], ["ddim", 0.3], ["ddim", 1.0], ["ddpm"]):
                    for prediction in ("epsilon", "velocity", "flow", "edm"):
                        steps.append(step(scale, t, s, method, prediction))
    paths = [shifted(*case) for case in ((1.0, None, 4), (3.0, None, 28), (3.158192909689767, None, 4), (7.0, 0.02, 10), (12.0, 0.1, 3))]
    spacings = [spacing(name, n, *ends) for name in ("karras", "exponential", "kl_optimal")
                for n, ends in ((5, (14.6146, 0.0292)), (18, (80.0, 0.002)))]
    return {"levels": levels, "steps": steps, "paths": paths, "spacings": spacings}


def agree(a, b):
    if isinstance(a, dict):
        return all(agree(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(agree(x, y) for x, y in zip(a, b))
    if isinstance(a, str) and a[:1] in "-0123456789":
        x, y = mpf(a), mpf(b)
        return x == y or abs(x - y) <= abs(y) * mpf(10) ** -22
    return a == b


def main():
    mp.dps = DIGITS
    first = records()
    mp.dps = GUARD
    assert agree(first, records()), "50 digits are not enough"
    out = json.dumps(first, ensure_ascii=False, separators=(",", ":")) + "\n"
    file = HERE / "paths.json"
    if "--check" in sys.argv:
        assert file.read_text() == out, "paths.json is another"
    else:
        file.write_text(out)
    print(f"{len(first['levels'])} levels, {len(first['steps'])} steps, {len(out)} bytes")


main()

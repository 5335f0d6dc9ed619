#!/usr/bin/env python3
"""Derives the polynomial coefficients of the normal noise kernel (`normal.rs`).

Three minimax fits, by the Remez exchange in 30-digit arithmetic, each weighted so that what is
minimised is the *relative* error of the function the kernel evaluates:

    LOG   G(f) = 2 (f - ln(1 + f)) / f^2   f in [-1/3, 1/3]      relative to ln u
    SIN   S(z) = (sin t - t) / (t z)       z = t^2, |t| <= pi/4  relative to sin t
    COS   C(z) = (cos t - 1) / z           z = t^2, |t| <= pi/4  relative to cos t

Needs only mpmath:  python3 fit_normal.py
"""

import struct

from mpmath import cos, factorial, log, log1p, lu_solve, matrix, mp, mpf, nstr, pi, sin, sqrt

mp.dps = 30

TINY = mpf("1e-9")  # stands for a weight of 0, by which the fit would divide


def remez(g, weight, a, b, degree, rounds=12):
    """Coefficients (lowest first) of p, deg p = degree, minimising max |weight (g - p)| on [a, b]."""
    n = degree + 2
    middle, half = (a + b) / 2, (b - a) / 2
    nodes = [middle - half * cos(pi * i / (n - 1)) for i in range(n)]
    grid = [middle - half * cos(pi * i / 600) for i in range(601)]
    for _ in range(rounds):
        # p and the levelled error E: weight (g - p) = +-E at the nodes.
        lhs, rhs = matrix(n, n), matrix(n, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                lhs[i, j] = x**j
            lhs[i, degree + 1] = (-1) ** i / weight(x)
            rhs[i] = g(x)
        solution = lu_solve(lhs, rhs)
        p = [solution[j] for j in range(degree + 1)]

        # The largest error between every two sign changes becomes a node of the next round.
        error = [weight(x) * (g(x) - horner(p, x)) for x in grid]
        runs = [[0]]
        for i in range(1, len(grid)):
            if error[i] * error[i - 1] < 0:
                runs.append([i])
            else:
                runs[-1].append(i)
        peaks = [max(run, key=lambda i: abs(error[i])) for run in runs]
        if len(peaks) < n:
            break
        while len(peaks) > n:
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
        nodes = [grid[i] for i in peaks]
    return p, max(abs(e) for e in error)


def horner(p, x):
    value = mpf(0)
    for c in reversed(p):
        value = value * x + c
    return value


def f32(x):
    """The nearest f32, exactly."""
    return mpf(struct.unpack("<f", struct.pack("<f", float(x)))[0])


def shortest(x):
    """The shortest decimal that reads back as the same f32 (the one that Rust prints)."""
    x = f32(x)
    for digits in range(1, 12):
        text = "%.*g" % (digits, float(x))
        if f32(text) == x:
            return text


def log_rest(f):
    if abs(f) < mpf("1e-3"):  # the series, where the difference would cancel
        return sum(2 * (-f) ** k / (k + 2) for k in range(12))
    return 2 * (f - log1p(f)) / f**2


def log_weight(f):
    # u = 2^e (1 + f): e = 0 where f < 0 lets |ln u| go to 0 with f, while a positive f comes with
    # e <= -1, so that |ln u| >= ln 2 - ln(1 + f).
    if not f:
        return TINY
    return max(f * f / (2 * (-log1p(f) if f < 0 else log(2) - log1p(f))), TINY)


def sin_rest(z):
    if z < mpf("1e-3"):  # the series, where the difference would cancel
        return sum((-1) ** (k + 1) * z**k / factorial(2 * k + 3) for k in range(12))
    t = sqrt(z)
    return (sin(t) - t) / (t * z)


def cos_rest(z):
    if z < mpf("1e-3"):
        return sum((-1) ** (k + 1) * z**k / factorial(2 * k + 2) for k in range(12))
    return (cos(sqrt(z)) - 1) / z


FITS = [
    ("LOG", log_rest, log_weight, -mpf(1) / 3, mpf(1) / 3, 6),
    ("SIN", sin_rest, lambda z: max(z * sqrt(z) / sin(sqrt(z)) if z else 0, TINY), mpf(0), (pi / 4) ** 2, 2),
    ("COS", cos_rest, lambda z: max(z / cos(sqrt(z)), TINY), mpf(0), (pi / 4) ** 2, 2),
]

for name, g, weight, a, b, degree in FITS:
    p, error = remez(g, weight, a, b, degree)
    rounded = [f32(c) for c in p]
    grid = [a + (b - a) * i / 2000 for i in range(2001)]
    after = max(abs(weight(x) * (g(x) - horner(rounded, x))) for x in grid)
    print(f"{name}  degree {degree}  relative error {nstr(error, 3)}, coefficients rounded to f32 {nstr(after, 3)}")
    for c in p:
        print("   ", shortest(c))

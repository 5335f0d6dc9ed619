"""Multistep methods and correctors at 80 digits: what tests/recorded/oracle_methods.rs, src/phi.rs and src/solver/rule.rs compare with.

Written from the papers and from nothing else:
  Hochbruck 2010   "Exponential integrators": φ_k, and the moments of the kernel
  Lu 2022          DPM-Solver, arXiv 2206.00927, and DPM-Solver++, arXiv 2211.01095
  Zhao 2023        UniPC, arXiv 2302.04867
  Xue 2023         SA-Solver, arXiv 2309.05019
A row of a method with a corrector comes from its two states, predicted and corrected x, as linear forms in the first x, the outputs and the noise:
the elimination that the crate does is not done here.
An f64 input such as 0.9 stands for the exact value of that double.

    python methods.py            compute with 80 and with 120 digits, compare, write methods.json
    python methods.py --check    the same, but compare with methods.json instead of writing
"""

import json
import sys
from pathlib import Path

from mpmath import exp, expm1, factorial, log, lu_solve, matrix, mp, mpf, nstr, quad, sqrt, workdps

HERE = Path(__file__).resolve().parent
# The elimination on long steps takes more than 50: the weight of an old output may be 1e-38 of the largest.
DIGITS, GUARD, PRINTED = 80, 120, 19


def text(x):
    return nstr(mpf(x), PRINTED)


def level(scale, sigma):
    """(signal, noise) of a σ in the words of its scale."""
    sigma = mpf(sigma)
    if scale == "flow":
        return 1 - sigma, sigma
    total = sqrt(1 + sigma ** 2) if scale == "vp" else mpf(1)
    return 1 / total, sigma / total


def lam(at):
    return log(at[0] / at[1])


def phi(k, z):
    """φ_0 = e^z, φ_{k+1} = (φ_k − 1/k!)/z, with as many digits more as the subtractions lose."""
    with workdps(mp.dps + 100):
        value = exp(z)
        for j in range(k):
            value = (value - 1 / factorial(j)) / z
    return +value


def moments(kernel, tau, t, s, count):
    """∫ kernel(λ)·((λ − λ_t)/h)^q dλ over the step, q from 0."""
    h, k = lam(s) - lam(t), 1 + mpf(tau) ** 2
    if kernel == "rho":
        d = s[1] / s[0] - t[1] / t[0]
        return [d / (q + 1) for q in range(count)]
    z, scale = (-k * h, k * h) if kernel == "data" else (h, h)
    return [factorial(q) * scale * phi(q + 1, z) for q in range(count)]


def check_moments():
    """The closed forms against the integrals that define them."""
    for kernel, tau in (("data", 0), ("data", 1), ("noise", 0)):
        for sigma in (0.9, 0.2):
            t, s = level("vp", 1.5), level("vp", sigma)
            h, k = lam(s) - lam(t), 1 + mpf(tau) ** 2
            rate = k if kernel == "data" else mpf(-1)
            scale = k if kernel == "data" else mpf(1)
            for q, moment in enumerate(moments(kernel, tau, t, s, 5)):
                integral = quad(lambda u: scale * exp(-rate * (h - u)) * (u / h) ** q, [0, h])
                assert abs(integral - moment) < mpf(10) ** -(mp.dps - 8) * abs(moment), (kernel, q)


def node(kernel, t, s, at):
    if kernel == "rho":
        rho = [x[1] / x[0] for x in (t, s, at)]
        return (rho[2] - rho[0]) / (rho[1] - rho[0])
    return (lam(at) - lam(t)) / (lam(s) - lam(t))


def solve(nodes, b):
    """w with Σ w_j·r_j^q = b_q. The digits that the matrix loses are added."""
    n = len(nodes)
    with workdps(mp.dps + 200):
        rows = matrix(n, n)
        for q in range(n):
            for j in range(n):
                rows[q, j] = nodes[j] ** q
        w = lu_solve(rows, matrix(b))
    return [+w[j] for j in range(n)]


def factors(kernel, tau, t, s):
    """x_s = a·x + c·Σ w_j·y_j + d·z: a, c and d."""
    h, tau = lam(s) - lam(t), mpf(tau)
    if kernel == "data":
        return s[1] / t[1] * exp(-tau ** 2 * h), s[0], s[1] * sqrt(-expm1(-2 * tau ** 2 * h))
    if kernel == "noise":
        return s[0] / t[0], -(1 + tau ** 2) * s[1], tau * s[1] * sqrt(expm1(2 * h))
    return s[0] / t[0], s[0], mpf(0)


def exact(kernel, tau, t, s, nodes):
    """The weights c·w that integrate the polynomial through outputs at these levels exactly."""
    c = factors(kernel, tau, t, s)[1]
    w = solve([node(kernel, t, s, at) for at in nodes], moments(kernel, tau, t, s, len(nodes)))
    return [c * weight for weight in w]


# Methods: weights of the outputs at `nodes` (the first is that at t, or for a corrector that at s).

def published_3m(tau, t, s, nodes):
    """DPM-Solver++ of the third order by the authors' code, in divided differences."""
    h, k = lam(s) - lam(t), 1 + mpf(tau) ** 2
    kh = k * h
    r0, r1 = (lam(nodes[0]) - lam(nodes[1])) / h, (lam(nodes[1]) - lam(nodes[2])) / h
    first = -expm1(-kh)
    f = expm1(-kh) / kh + 1
    g = mpf(1) / 2 - (expm1(-kh) + kh) / kh ** 2
    d0, d1 = [1 / r0, -1 / r0, 0], [0, 1 / r1, -1 / r1]
    D1 = [a + r0 / (r0 + r1) * (a - b) for a, b in zip(d0, d1)]
    D2 = [(a - b) / (r0 + r1) for a, b in zip(d0, d1)]
    m0 = [1, 0, 0]
    # h-divided differences in units of the step: D1·h and D2·h².
    return [s[0] * (first * m + f * a + g * b) for m, a, b in zip(m0, D1, D2)]


def half(kernel, tau, t, s, nodes, b_h):
    """The difference of two outputs with ρ = ½: c·(m₀·y + ½·B·(y_j − y)/r_j)."""
    c = factors(kernel, tau, t, s)[1]
    first = moments(kernel, tau, t, s, 1)[0]
    at_t = 0 if nodes[0] == t else 1
    r = node(kernel, t, s, nodes[1 - at_t])
    w = [b_h / (2 * r)] * 2
    w[at_t] = first - b_h / (2 * r)
    return [c * weight for weight in w]


def weights(method, t, s, nodes):
    kernel, tau, style = method["kernel"], method["tau"], method["style"]
    h = lam(s) - lam(t)
    k = 1 + mpf(tau) ** 2 if kernel == "data" else mpf(1)
    if style == "published" and len(nodes) == 3:
        return published_3m(tau, t, s, nodes)
    if len(nodes) == 2 and style in ("published", "midpoint", "bh2"):
        return half(kernel, tau, t, s, nodes, moments(kernel, tau, t, s, 1)[0])
    if len(nodes) == 2 and style in ("bh1", "sa"):
        return half(kernel, tau, t, s, nodes, k * h)
    return exact(kernel, tau, t, s, nodes)


def add(form, other, factor=1):
    for key, value in other.items():
        form[key] = form.get(key, mpf(0)) + factor * value


def rows(method, scale, sigmas):
    """x, own output, z and [age, weight, …] of each row."""
    levels = [level(scale, sigma) for sigma in sigmas]
    kernel, tau = method["kernel"], method["tau"]
    predicted, corrected, out = {"x": mpf(1)}, {"x": mpf(1)}, []
    for i in range(len(levels) - 1):
        t, s = levels[i], levels[i + 1]
        a, _, d = factors(kernel, tau, t, s)
        known = [i - j for j in range(min(method["order"], i + 1))]
        following = {}
        add(following, corrected, a)
        add(following, dict(zip(known, weights(method, t, s, [levels[j] for j in known]))))
        add(following, {("z", i): d})
        # The row is what must be added to a·(predicted x).
        row = dict(following)
        add(row, predicted, -a)
        row = {key: value for key, value in row.items() if key != ("z", i)}
        largest = max(abs(value) for value in row.values())
        # A correction takes back what the predictor of the step before made of its oldest output.
        oldest = i - (max(method["order"], method["corrector"] - 1) if method["corrector"] else method["order"] - 1)
        left = [value for key, value in row.items() if not (isinstance(key, int) and key >= oldest)]
        # The first x, earlier noise and older outputs must vanish.
        assert all(abs(value) < mpf(10) ** (10 - mp.dps) * largest for value in left), left
        row = {key: value for key, value in row.items() if isinstance(key, int) and key >= oldest}
        history = [part for key in sorted(row, reverse=True) if key != i for part in (i - key, text(row[key]))]
        out.append([text(a), text(row.get(i, 0)), text(d), history])
        # The corrector does the step again.
        q = min(method["corrector"], i + 2)
        if q:
            known = [i + 1] + [i - j for j in range(q - 1)]
            corrected = {key: a * value for key, value in corrected.items()}
            add(corrected, dict(zip(known, weights(method, t, s, [levels[j] for j in known]))))
            add(corrected, {("z", i): d})
        else:
            corrected = dict(following)
        predicted = following
    return out


def method(name, kernel, order, tau=0.0, style="exact", corrector=0):
    return {"name": name, "kernel": kernel, "order": order, "tau": tau, "style": style, "corrector": corrector}


def methods():
    for order in (1, 2, 3, 4):
        for tau in (0.0, 1.0):
            yield method("dpm++", "data", order, tau)
            yield method("dpm", "noise", order, tau)
    yield method("dpm++", "data", 2, 0.0, "midpoint")
    yield method("dpm++", "data", 3, 0.0, "published")
    yield method("dpm++", "data", 3, 0.5, "published")
    for order in (1, 2, 3, 4):
        for style in ("bh1", "bh2", "exact"):
            yield method("unipc", "data", order, 0.0, style, order + 1)
        yield method("unipc", "noise", order, 0.0, "bh2", order + 1)
    yield method("unipc", "data", 2, 0.0, "bh1")
    yield method("unipc", "noise", 2, 0.0, "bh1", 3)
    for order, corrector, tau, style in ((2, 2, 1.0, "sa"), (2, 2, 0.5, "exact"), (3, 4, 1.0, "exact"), (3, 1, 0.25, "sa"), (1, 0, 0.5, "exact")):
        yield method("sa", "data", order, tau, style, corrector)
    yield method("sa", "noise", 3, 0.5, "exact", 3)


PATHS = (
    ("vp", [9.9, 6.7, 3.3, 2.4, 1.1, 0.67, 0.27]),
    # h from 1e-6 on.
    ("ve", [1.0, 1 - 1e-6, 1 - 3e-6, 1 - 1e-5, 1 - 1.5e-5, 1 - 4e-5, 0.999]),
    # h up to 20.
    ("ve", [1e9, 1e3, 9e2, 0.4, 0.399999, 8.3e-10, 1e-12]),
    ("flow", [0.999, 0.9, 0.6, 0.5999999, 0.2, 0.001, 1e-6]),
)


def rules():
    """Rules through one to five outputs, the last with that of a corrector, on ordinary, close and far levels."""
    cases = (
        ("vp", 2.0, 1.1, [2.0, 2.9, 7.1, 9.0]), ("vp", 2.0, 2.0 * (1 - 1e-6), [2.0, 2.1, 2.7, 3.0]),
        ("ve", 1e3, 2e-6, [1e3, 1.1e3, 9e4, 1e6]), ("ve", 0.5, 0.499, [0.5, 1.0, 80.0, 4e3]),
        ("flow", 0.7, 0.01, [0.7, 0.7000001, 0.71, 0.999]), ("flow", 0.999, 0.9989999, [0.999, 0.9991, 0.9992, 0.9999]),
    )
    for scale, t, s, nodes in cases:
        for count in (1, 2, 3, 4, 5):
            sigmas = nodes[:count] if count < 5 else [s] + nodes
            for kernel, tau in (("data", 0.0), ("data", 1.0), ("noise", 0.0), ("noise", 1.0), ("rho", 0.0)):
                ends = level(scale, t), level(scale, s)
                a, _, d = factors(kernel, tau, *ends)
                w = exact(kernel, tau, *ends, [level(scale, sigma) for sigma in sigmas])
                yield {"scale": scale, "from": t, "to": s, "sigmas": sigmas, "kernel": kernel, "tau": tau,
                       "x": text(a), "outputs": [text(weight) for weight in w], "z": text(d)}


def records():
    zs = [1e-8, 1e-4, 0.01, 0.3, 0.999, 1.0, 1.001, 2.5, 7.0, 20.0, 60.0]
    return {
        "phi": [[z] + [text(phi(k, mpf(z))) for k in range(1, 6)] for z in zs + [-z for z in zs]],
        "rules": list(rules()),
        "rows": [{"method": m, "scale": scale, "sigmas": sigmas, "rows": rows(m, scale, sigmas)}
                 for scale, sigmas in PATHS for m in methods()],
    }


def agree(a, b):
    if isinstance(a, dict):
        return all(agree(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(agree(x, y) for x, y in zip(a, b))
    if isinstance(a, str) and a[:1] in "-0123456789":
        x, y = mpf(a), mpf(b)
        return x == y or abs(x - y) <= abs(y) * mpf(10) ** -(PRINTED - 2)
    return a == b


def main():
    mp.dps = DIGITS
    check_moments()
    first = records()
    mp.dps = GUARD
    assert agree(first, records()), "80 digits are not enough"
    out = json.dumps(first, ensure_ascii=False, separators=(",", ":")) + "\n"
    file = HERE / "methods.json"
    if "--check" in sys.argv:
        assert file.read_text() == out, "methods.json is another"
    else:
        file.write_text(out)
    print(f"{len(first['phi'])} φ, {len(first['rules'])} rules, {len(first['rows'])} methods on paths, {len(out)} bytes")


main()

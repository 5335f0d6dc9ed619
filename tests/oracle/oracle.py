"""Diffusion arithmetic at 50 digits: the numbers that the Rust tests compare with.

Written from the papers and from nothing else:
  Ho 2020       "Denoising Diffusion Probabilistic Models", arXiv 2006.11239
  Song 2021     "Denoising Diffusion Implicit Models", arXiv 2010.02502
  Nichol 2021   "Improved Denoising Diffusion Probabilistic Models", arXiv 2102.09672
  Lin 2023      "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891
It is deliberately naive. No care is taken against cancellation: fifty digits are the care.

Time is the 0-based index t of alphas_cumprod[t]; None (null in the JSON) is clean data, ᾱ = 1.
An f64 input such as 0.999 stands for the exact value of that double.

    python oracle.py            compute twice (50 and 80 digits), check, write oracle.json
    python oracle.py --check    the same, but compare with oracle.json instead of writing
"""

import json
import sys
from pathlib import Path

from mpmath import cos, erfc, exp, inf, log, log1p, mp, mpf, nstr, pi, quad, sqrt

HERE = Path(__file__).resolve().parent
DIGITS, GUARD, PRINTED = 50, 80, 25
CLEAN = None


def text(x):
    """25 significant digits; what vanishes in exact arithmetic has to arrive here as an exact 0."""
    if x == inf:
        return "inf"
    if x == -inf:
        return "-inf"
    return nstr(mpf(x), PRINTED)


def same(x, y, slack=12):
    """Equal up to the working precision less `slack` digits, relative to the larger of |x|, |y| and 10^-4."""
    x, y = mpf(x), mpf(y)
    assert x == y or abs(x - y) <= max(abs(x), abs(y), mpf(10) ** -4) * mpf(10) ** (slack - mp.dps), (x, y)


def snap(x, scale=1):
    """A difference that vanishes in exact arithmetic leaves about 10^-50 here; make it 0."""
    return mpf(0) if abs(x) < abs(mpf(scale)) * mpf(10) ** (8 - mp.dps) else x


# ---------------------------------------------------------------- 1. schedules

def linspace(a, b, n):
    return [a + (b - a) * mpf(i) / (n - 1) for i in range(n)]


def cumprod_of(betas):
    out, product = [], mpf(1)
    for b in betas:
        product *= 1 - b
        out.append(product)
    return out


def betas_of(alpha_bars):
    return [1 - a / before for a, before in zip(alpha_bars, [mpf(1)] + alpha_bars[:-1])]


def linear(T, beta_start, beta_end):                    # Ho 2020, section 4
    return linspace(mpf(beta_start), mpf(beta_end), T)


def scaled_linear(T, beta_start, beta_end):             # latent diffusion: linear in √β
    return [r ** 2 for r in linspace(sqrt(mpf(beta_start)), sqrt(mpf(beta_end)), T)]


def cosine(T, s, max_beta):                             # Nichol 2021, Eq. 17
    s = mpf(s)
    f = lambda u: cos((u + s) / (1 + s) * pi / 2) ** 2
    return [min(1 - f(mpf(i + 1) / T) / f(mpf(i) / T), mpf(max_beta)) for i in range(T)]


def sigmoid(T, beta_start, beta_end):
    b0, b1 = mpf(beta_start), mpf(beta_end)
    return [(b1 - b0) / (1 + exp(-u)) + b0 for u in linspace(mpf(-6), mpf(6), T)]


def constant(T, beta):
    return [mpf(beta)] * T


def jsd(T):                                             # Ho 2020's 1/T, 1/(T−1), …, 1
    return [mpf(1) / (T - i) for i in range(T)]


def laplace(T, mu, b):                                  # a Laplace density over the log-SNR, by its quantiles
    alpha_bars = []
    for i in range(T):
        u = (mpf(i) + mpf(1) / 2) / T
        sign = 1 if u < 0.5 else -1 if u > 0.5 else 0
        logsnr = mpf(mu) - mpf(b) * sign * log(1 - 2 * abs(u - mpf(1) / 2))
        alpha_bars.append(1 / (1 + exp(-logsnr)))
    return betas_of(alpha_bars)


def zero_snr(betas):                                    # Lin 2023, Algorithm 1
    s = [sqrt(a) for a in cumprod_of(betas)]
    first, last = s[0], s[-1]
    return betas_of([((x - last) * first / (first - last)) ** 2 for x in s])


LINEAR = {"beta_start": 1e-4, "beta_end": 0.02}
SCALED = {"beta_start": 0.00085, "beta_end": 0.012}
FAMILIES = {
    "linear": (linear, LINEAR),
    "scaled_linear": (scaled_linear, SCALED),
    "cosine": (cosine, {"s": 0.008, "max_beta": 0.999}),
    "sigmoid": (sigmoid, LINEAR),
    "constant": (constant, {"beta": 0.01}),
    "jsd": (jsd, {}),
    "laplace": (laplace, {"mu": 0.0, "b": 0.5}),
    "zero_snr_linear": (lambda T, **p: zero_snr(linear(T, **p)), LINEAR),
    "zero_snr_scaled_linear": (lambda T, **p: zero_snr(scaled_linear(T, **p)), SCALED),
}
SHOWN = {
    10: list(range(10)),
    1000: [0, 1, 2, 3, 5, 9, 10, 19, 20, 50, 99, 100, 199, 200, 300, 400, 499, 500, 600, 700, 800, 899, 900, 998, 999],
    4000: [0, 1, 2, 1000, 2000, 3000, 3998, 3999],
}
TABLES = {}                                             # (family, T) → ᾱ at the current precision


def table(family, T=1000):
    key = (family, T, mp.dps)
    if key not in TABLES:
        make, params = FAMILIES[family]
        TABLES[key] = cumprod_of(make(T, **params))
    return TABLES[key]


def level(family, t, T=1000):
    """(ᾱ, √ᾱ, √(1−ᾱ)) of index t, or of clean data."""
    a = mpf(1) if t is CLEAN else table(family, T)[t]
    return a, sqrt(a), sqrt(1 - a)


def schedules():
    for family, (make, params) in FAMILIES.items():
        for T, shown in SHOWN.items():
            betas, alpha_bars = make(T, **params), table(family, T)
            entries = []
            for t in shown:
                a = alpha_bars[t]
                entries.append({
                    "t": t, "beta": text(betas[t]), "alpha_bar": text(a), "one_minus_alpha_bar": text(1 - a),
                    "signal": text(sqrt(a)), "noise": text(sqrt(1 - a)), "snr": text(a / (1 - a)),
                    "log_snr": text(snap(log(a / (1 - a))) if a else -inf), "sigma": text(sqrt((1 - a) / a) if a else inf),
                })
            yield {"family": family, "params": params, "T": T, "entries": entries}
            check_schedule(family, T, betas, alpha_bars)


def check_schedule(family, T, betas, alpha_bars):
    assert all(0 < b <= 1 for b in betas) and len(betas) == T
    assert all(x > y >= 0 for x, y in zip(alpha_bars, alpha_bars[1:]))
    if family == "jsd":                                 # the product telescopes
        for i, a in enumerate(alpha_bars):
            same(a, mpf(T - 1 - i) / T)
    if family == "cosine":                              # so does this one, up to the cap
        f = lambda u: cos((u + mpf(0.008)) / (1 + mpf(0.008)) * pi / 2) ** 2
        for i, b in enumerate(betas):
            if b == mpf(0.999):
                break
            same(alpha_bars[i], f(mpf(i + 1) / T) / f(mpf(0)))
        assert i == T - 1                               # only the last β meets the cap
    if family == "laplace":                             # symmetric about log-SNR = 0
        for x, y in zip(alpha_bars, reversed(alpha_bars)):
            same(x, 1 - y)
    if family == "constant":
        same(alpha_bars[-1], (1 - mpf(0.01)) ** T)
    if family.startswith("zero_snr"):
        same(alpha_bars[0], table(family.removeprefix("zero_snr_"), T)[0])
        assert alpha_bars[-1] == 0 and betas[-1] == 1
    # 1−ᾱ as a sum of positive terms: 1−ᾱ_i = (1−ᾱ_{i−1}) + β_i·ᾱ_{i−1}
    total, before = mpf(0), mpf(1)
    for b, a in zip(betas, alpha_bars):
        total, before = total + b * before, a
        same(total, 1 - a)


SHIFTED_SHOWN = [0, 1, 250, 500, 750, 998, 999]


def shifted(alpha_bars, k):                             # CogVideoX's snr_shift_scale
    return [a / (k + (1 - k) * a) for a in alpha_bars]


def shifts():
    """ᾱ' = ᾱ/(k + (1−k)·ᾱ) at T = 1000, as it is and then rescaled to zero terminal SNR."""
    for family in ["linear", "scaled_linear"]:
        for k in [0.25, 1.0, 3.0, 1e-12, 1e12]:
            k = mpf(k)
            before = table(family)
            after = shifted(before, k)
            for a, b in zip(before, after):             # an offset of −ln k in log-SNR
                same(log(b / (1 - b)), log(a / (1 - a)) - log(k), slack=32)
            for a, b in zip(after, shifted(shifted(before, k / 7), mpf(7))):
                same(a, b, slack=32)
            for rescaled in [False, True]:
                alpha_bars = cumprod_of(zero_snr(betas_of(after))) if rescaled else after
                betas = betas_of(alpha_bars)
                for t in SHIFTED_SHOWN:
                    yield {"schedule": family, "k": float(k), "rescaled": rescaled, "t": t, "beta": text(betas[t]),
                           "alpha_bar": text(alpha_bars[t]), "one_minus_alpha_bar": text(1 - alpha_bars[t])}


# ------------------------------------------------------------- 2. coefficients

def prediction(kind, signal, noise):
    """x̂0 = p·x + q·m and ε = ex·x + em·m, or None where the level does not define them."""
    if kind == "epsilon":
        return None if signal == 0 else (1 / signal, -noise / signal, mpf(0), mpf(1))
    if kind == "sample":
        return None if noise == 0 else (mpf(0), mpf(1), 1 / noise, -signal / noise)
    if kind == "v":                                     # v = √ᾱ·ε − √(1−ᾱ)·x0
        return signal, -noise, noise, signal
    raise ValueError(kind)


def sigma_ddpm(at, as_):
    """Song 2021, Eq. 16 with η = 1; its square is also β̃ of Ho 2020, Eq. 7."""
    return sqrt((1 - as_) / (1 - at) * (1 - at / as_))


def update(method, eta, at, as_):
    """x′ = a·x̂0 + b·x + dir·ε + d·z; returns (a, b, dir, d)."""
    if method in ("ddim", "sigma_hat"):                 # Song 2021, Eq. 12; σ̂ of section 5 and appendix D
        eta = 1 if method == "sigma_hat" else mpf(eta)
        sigma = eta * sigma_ddpm(at, as_) if eta else mpf(0)
        square = snap(1 - as_ - sigma ** 2)
        d = sigma if method == "ddim" else sqrt(1 - at / as_) if as_ != 1 else mpf(0)
        return sqrt(as_), mpf(0), sqrt(square), d
    if method in ("ddpm_posterior", "ddpm_beta"):       # Ho 2020, Eq. 6 and 7, between any two levels
        alpha = at / as_
        beta = 1 - alpha
        a = sqrt(as_) * beta / (1 - at)
        b = sqrt(alpha) * (1 - as_) / (1 - at)
        variance = (1 - as_) / (1 - at) * beta if method == "ddpm_posterior" else beta
        return a, b, mpf(0), sqrt(variance) if as_ != 1 else mpf(0)
    raise ValueError(method)


METHODS = [("ddim", 0.0), ("ddim", 0.3), ("ddim", 1.0), ("sigma_hat", None), ("ddpm_posterior", None),
           ("ddpm_beta", None)]
PREDICTIONS = ["epsilon", "sample", "v"]
COEFFICIENT_SCHEDULES = ["linear", "scaled_linear", "cosine", "zero_snr_scaled_linear"]
FORWARD = [(999, 998), (500, 499), (1, 0), (0, CLEAN), (980, 960), (20, 0), (900, 800), (100, 0), (999, CLEAN),
           (999, 899)]
REVERSED = [(CLEAN, 0), (CLEAN, 19), (0, 1), (480, 500), (899, 999)]


def coefficient(family, t, s, method, eta, kind):
    at, signal_t, noise_t = level(family, t)
    as_, signal_s, noise_s = level(family, s)
    known = prediction(kind, signal_t, noise_t)
    if known is None:
        return None
    p, q, ex, em = known
    a, b, direction, d = update(method, eta, at, as_)
    b, c = b + direction * ex, direction * em
    A, B = a * p + b, a * q + c
    check_coefficient(kind, method, A, B, d, at, as_)
    values = dict(p=p, q=q, a=a, b=b, c=c, d=d, A=A, B=B)
    return {"schedule": family, "t": t, "s": s, "method": method, "eta": eta, "prediction": kind,
            **{k: text(v) for k, v in values.items()}}


def check_coefficient(kind, method, A, B, d, at, as_):
    """Feed x = √ᾱ_t·x0 + √(1−ᾱ_t)·ε and the true m: x′ must again be distributed as level s."""
    signal_t, noise_t, signal_s = sqrt(at), sqrt(1 - at), sqrt(as_)
    m_of_x0, m_of_eps = {"epsilon": (0, 1), "sample": (1, 0), "v": (-noise_t, signal_t)}[kind]
    same(A * signal_t + B * m_of_x0, signal_s)
    variance = (A * noise_t + B * m_of_eps) ** 2 + d ** 2
    if method in ("sigma_hat", "ddpm_beta") and as_ != 1:   # too much noise, by design: by β − β̃
        beta = 1 - at / as_
        variance -= beta - (1 - as_) / (1 - at) * beta
    same(variance, 1 - as_)


def coefficients():
    for i, family in enumerate(COEFFICIENT_SCHEDULES):
        for j, (t, s) in enumerate(FORWARD):
            folded = {}
            for k, (method, eta) in enumerate(METHODS):
                for l, kind in enumerate(PREDICTIONS):
                    record = coefficient(family, t, s, method, eta, kind)
                    if record is None:
                        continue
                    folded[method, eta, kind] = [record[x] for x in "ABd"]
                    # A third of the cases, each triple at least once over the four schedules,
                    # and all of them at the two delicate ends.
                    everything = (family, t) == ("zero_snr_scaled_linear", 999) or (family, t) == ("linear", 1)
                    if everything or (i + j + k + l) % 3 == 0:
                        yield record
            for kind in PREDICTIONS:                    # Song 2021, section 4.1: η = 1 is DDPM
                if ("ddim", 1.0, kind) in folded:
                    assert folded["ddim", 1.0, kind] == folded["ddpm_posterior", None, kind]
                    assert folded["sigma_hat", None, kind] == folded["ddpm_beta", None, kind]
        for t, s in REVERSED:
            for kind in PREDICTIONS:
                record = coefficient(family, t, s, "ddim", 0.0, kind)
                if record is not None:
                    yield record


def inference(at, as_, sigma):
    """Song 2021, Eq. 7: q_σ(x_s | x_t, x0) = N(m0·x0 + mt·x_t, σ²); returns (m0, mt, σ²)."""
    mt = sqrt(snap(1 - as_ - sigma ** 2)) / sqrt(1 - at)
    return sqrt(as_) - mt * sqrt(at), mt, sigma ** 2


def posteriors():
    pairs = [(999, 998), (999, 899), (980, 960), (500, 499), (20, 0), (1, 0)]
    for family in ["linear", "cosine", "zero_snr_scaled_linear"]:
        for t, s in pairs if family != "cosine" else pairs[::3]:
            for eta in [0.3, 0.75, 1.0]:
                at, as_ = level(family, t)[0], level(family, s)[0]
                sigma = mpf(eta) * sigma_ddpm(at, as_)
                m0, mt, variance = inference(at, as_, sigma)
                # Bayes, as a product of two Gaussians in x_t:
                #   q(x_s | x_t, x0) ∝ N(x_t; (x_s − m0·x0)/mt, σ²/mt²),  q(x_t | x0) = N(x_t; √ᾱ_t·x0, 1−ᾱ_t)
                precision = mt ** 2 / variance + 1 / (1 - at)
                ms = mt / variance / precision
                n0 = snap((-m0 * mt / variance + sqrt(at) / (1 - at)) / precision)
                forward_variance = 1 / precision
                # the same from the joint covariance of (x_s, x_t) given x0
                cov = mt * (1 - at)
                same(mt ** 2 * (1 - at) + variance, 1 - as_)
                same(m0 + mt * sqrt(at), sqrt(as_))
                same(ms, cov / (1 - as_))
                same(forward_variance, (1 - at) - cov ** 2 / (1 - as_))
                same(n0, sqrt(at) - cov / (1 - as_) * sqrt(as_))
                if eta == 1.0:                          # the forward process is then Ho's Markov chain
                    assert n0 == 0
                    same(ms, sqrt(at / as_))
                    same(forward_variance, 1 - at / as_)
                elif at:
                    assert n0 != 0
                yield {"schedule": family, "t": t, "s": s, "eta": eta, "sigma": text(sigma),
                       "reverse": {"x0": text(m0), "xt": text(mt), "var": text(variance)},
                       "forward": {"x0": text(n0), "xs": text(ms), "var": text(forward_variance)}}


# ------------------------------------------------------------- 3. trajectories

CASES = [(0.0, 0.25), (0.7, 0.04)]


def exact(kind, x, lvl, mu, var):
    """What an exact denoiser returns when the data are N(mu, var)."""
    _, signal, noise = lvl
    mu, var = mpf(mu), mpf(var)
    residual = (x - signal * mu) / (signal ** 2 * var + noise ** 2)
    eps, x0 = noise * residual, mu + signal * var * residual
    same(signal * x0 + noise * eps, x)
    return {"epsilon": eps, "sample": x0, "v": signal * eps - noise * x0}[kind]


def leading(S, T=1000):
    """Descending, without offset."""
    assert T % S == 0
    return [(S - 1 - k) * (T // S) for k in range(S)]


def z_of(k):
    return mpf((k * 7 + 3) % 11 - 5) / 4


def run(family, mu, var, S, method, eta, kind, clip=None, rederive=False, x_start=1.3):
    """Returns x after each step, x̂0 of each step, and how often the clip bit."""
    x, xs, x0s, bites = mpf(x_start), [], [], 0
    folded = x
    path = leading(S) + [CLEAN]
    for k, (t, s) in enumerate(zip(path, path[1:])):
        here, there = level(family, t), level(family, s)
        p, q, ex, em = prediction(kind, here[1], here[2])
        a, b, direction, d = update(method, eta, here[0], there[0])
        m = exact(kind, x, here, mu, var)
        x0, eps = p * x + q * m, ex * x + em * m
        if clip is not None and abs(x0) > clip:
            x0, bites = max(-mpf(clip), min(mpf(clip), x0)), bites + 1
            if rederive:
                eps = (x - here[1] * x0) / here[2]
        x = a * x0 + b * x + direction * eps + d * z_of(k)
        if clip is None:                                # the folded form walks beside it
            A, B = a * p + b + direction * ex, a * q + direction * em
            folded = A * folded + B * exact(kind, folded, here, mu, var) + d * z_of(k)
            same(folded, x, slack=20)
        xs.append(x)
        x0s.append(x0)
    return xs, x0s, bites


TRAJECTORY_METHODS = [("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0), ("sigma_hat", None), ("ddpm_posterior", None),
                      ("ddpm_beta", None)]


def trajectories():
    for family in ["linear", "scaled_linear"]:
        for mu, var in CASES:
            for S in [10, 50]:
                after = list(range(1, 11)) if S == 10 else [10, 20, 30, 40, 50]
                ends = {}
                for method, eta in TRAJECTORY_METHODS:
                    kinds = PREDICTIONS if (method, eta) in [("ddim", 0.0), ("ddim", 1.0)] else ["epsilon"]
                    answers = []
                    for kind in kinds:
                        xs, _, _ = run(family, mu, var, S, method, eta, kind)
                        answers.append([text(xs[k - 1]) for k in after])
                        yield {"schedule": family, "mu": mu, "var": var, "S": S, "method": method, "eta": eta,
                               "prediction": kind, "clip": None, "rederive": False, "after": after, "x": answers[-1]}
                    assert all(x == answers[0] for x in answers)    # the parametrisations are one sampler
                    ends[method, eta] = answers[0]
                assert ends["ddim", 1.0] == ends["ddpm_posterior", None]
                assert ends["sigma_hat", None] == ends["ddpm_beta", None]
            yield from clipped_trajectories(family, mu, var)


def clipped_trajectories(family, mu, var):
    """Only those in which the clip bites. ε is the network's, or else re-derived from the clipped x̂0."""
    for clip in [0.5, 0.0625]:
        ends = {}
        for method, eta in [("ddim", 0.0), ("ddim", 1.0), ("sigma_hat", None), ("ddpm_posterior", None)]:
            for rederive in [False, True] if method != "ddpm_posterior" else [False]:   # DDPM uses no ε
                xs, x0s, bites = run(family, mu, var, 10, method, eta, "epsilon", clip, rederive)
                ends[method, eta, rederive] = xs
                if bites:
                    yield {"schedule": family, "mu": mu, "var": var, "S": 10, "method": method, "eta": eta,
                           "prediction": "epsilon", "clip": clip, "rederive": rederive, "after": list(range(1, 11)),
                           "x": [text(x) for x in xs], "x0": [text(x) for x in x0s]}
        for x, y in zip(ends["ddim", 1.0, True], ends["ddpm_posterior", None, False]):
            same(x, y, slack=20)                        # under a clip, DDPM is η = 1 with ε re-derived


def ddim_move(x, here, there, eps):
    return there[1] * (x - here[2] * eps) / here[1] + there[2] * eps


def encodings():
    for family in ["linear", "scaled_linear"]:
        for mu, var in CASES:
            for S in [10, 50] if (family, mu) != ("linear", 0.0) else [10, 50, 250]:
                up = [level(family, t) for t in [CLEAN] + leading(S)[::-1]]
                for x0 in [0.5, -1.1]:
                    for convention in ["source", "destination"]:
                        x = mpf(x0)
                        for here, there in zip(up, up[1:]):
                            where = here if convention == "source" else there
                            x = ddim_move(x, here, there, exact("epsilon", x, where, mu, var))
                        code, down = x, up[::-1]
                        for here, there in zip(down, down[1:]):
                            x = ddim_move(x, here, there, exact("epsilon", x, here, mu, var))
                        yield {"schedule": family, "mu": mu, "var": var, "S": S, "x0": x0, "convention": convention,
                               "x_T": text(code), "reconstruction": text(x)}


# ------------------------------------------------------------------ 4. scalars

def gaussian_kl(m1, v1, m2, v2):
    """KL(N(m1, v1) ‖ N(m2, v2)), one dimension."""
    return (log(v2 / v1) + (v1 + (m1 - m2) ** 2) / v2 - 1) / 2


def kls():
    tiny = 1 + 2.0 ** -20                               # every std here has an exact f64 square
    cases = [
        ([0.0], [1.0], [0.0], [1.0]),
        ([0.5], [0.5], [-0.25], [1.5]),
        ([3.0], [0.125], [2.5], [0.125]),
        ([0.1], [2.0], [0.7], [0.25]),
        ([0.0], [tiny], [0.0], [1.0]),
        ([0.0], [1.0], [0.0], [tiny]),
        ([1e-3], [0.0078125], [0.0], [0.0078125]),
        ([0.0], [0.0009765625], [0.0], [1.0]),
        ([0.0, 1.0, -2.5], [1.0, 0.5, 0.75], [0.25, 1.0, -2.0], [1.25, 0.5, 3.0]),
        ([0.1, -0.3, 0.9, 0.0], [0.25, 0.25, 4.0, 1.5], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]),
    ]
    for m1, s1, m2, s2 in cases:
        assert all(mpf(s * s) == mpf(s) ** 2 for s in s1 + s2)
        terms = [gaussian_kl(mpf(a), mpf(b) ** 2, mpf(c), mpf(d) ** 2) for a, b, c, d in zip(m1, s1, m2, s2)]
        for term, a, b, c, d in zip(terms, m1, s1, m2, s2):         # and from the definition
            a, b, c, d = map(mpf, (a, b, c, d))
            density = lambda x, m, s: exp(-((x - m) / s) ** 2 / 2) / (s * sqrt(2 * pi))
            ratio = lambda x: log(d / b) - ((x - a) / b) ** 2 / 2 + ((x - c) / d) ** 2 / 2
            whole = quad(lambda u: density(a + b * u, a, b) * b * ratio(a + b * u), range(-18, 19, 3))
            assert abs(whole - term) < mpf(10) ** -35 * max(1, term), (whole, term)
        yield {"mean1": m1, "std1": s1, "var1": [s * s for s in s1], "mean2": m2, "std2": s2,
               "var2": [s * s for s in s2], "kl": text(sum(terms))}


def upper_tail(u):
    return erfc(u / sqrt(2)) / 2


def bin_edges(byte, x0):
    """Ho 2020, Eq. 13: the bin of 8-bit data on [−1, 1], open at either end."""
    half = mpf(1) / 255
    return (-inf if byte == 0 else mpf(x0) - half), (inf if byte == 255 else mpf(x0) + half)


def discretised(byte, x0, mean, std):
    """ln of the mass of the bin under N(mean, std²)."""
    lo, hi = ((e - mpf(mean)) / mpf(std) if abs(e) != inf else e for e in bin_edges(byte, x0))
    below = upper_tail(-lo) if lo != -inf else mpf(0)
    above = upper_tail(hi) if hi != inf else mpf(0)
    if below + above < 0.5:
        return log1p(-(below + above))
    if lo == -inf:
        return log(upper_tail(-hi))
    if hi == inf:
        return log(upper_tail(lo))
    if lo + hi < 0:                                     # mirror, so that the difference is of upper tails
        lo, hi = -hi, -lo
    return log(upper_tail(lo) - upper_tail(hi))


def decoders():
    cases = [
        (128, 0.0, 0.1), (128, 0.0, 0.004), (127, -0.01, 0.01), (128, 2.0 * 128 / 255 - 1, 0.0005),
        (200, 0.57, 0.02), (200, -0.9, 0.02), (200, -0.9, 0.002), (10, 0.95, 0.01), (77, 0.3, 0.0001),
        (0, -1.0, 0.01), (0, -0.98, 0.01), (0, 1.0, 0.05), (0, -1.3, 0.02), (0, 1.5, 0.001),
        (255, 1.0, 0.01), (255, 0.98, 0.01), (255, -1.0, 0.05), (255, 1.3, 0.02), (255, -1.5, 0.001),
        (1, -1.0, 0.01), (254, 0.97, 0.003), (60, 0.2, 1.0), (60, -0.5, 100.0), (255, 0.0, 100.0),
    ]
    for byte, mean, std in cases:
        x0 = 2.0 * byte / 255.0 - 1.0                   # f64 arithmetic: x0 is the double
        value = discretised(byte, x0, mean, std)
        m, s = mpf(mean), mpf(std)                      # and by quadrature of the density
        lo, hi = bin_edges(byte, x0)
        peak = min(max(m, lo), hi)
        reach = min(18 * s, 130 * s ** 2 / max(abs(peak - m), s) + s)   # beyond, nothing that counts
        lo, hi = max(lo, peak - reach), min(hi, peak + reach)
        top = ((peak - m) / s) ** 2 / 2
        f = lambda x: exp(top - ((x - m) / s) ** 2 / 2)
        grid = [lo + (hi - lo) * i / 24 for i in range(25)]
        mass = log(quad(f, grid)) - log(s * sqrt(2 * pi)) - top
        assert abs(mass - value) < mpf(10) ** -30 * max(1, abs(value)), (byte, mean, std, mass, value)
        yield {"byte": byte, "x0": x0, "mean": mean, "std": std, "log_prob": text(value)}


def weights():
    gamma = mpf(5)

    def record(snr):
        least = min(snr, gamma)
        return {"min_snr_5_epsilon": text(least / snr) if snr else None, "min_snr_5_sample": text(least),
                "min_snr_5_v": text(least / (snr + 1)), "p2_k1_g1": text(1 / (1 + snr)),
                "p2_k1_g05": text(1 / sqrt(1 + snr))}

    for snr in [0.0, 1e-8, 0.01, 0.5, 1.0, 4.9375, 5.0, 5.0625, 10.0, 1234.5, 1e8]:
        yield {"schedule": None, "t": None, "snr": text(mpf(snr)), **record(mpf(snr))}
    for family in ["linear", "zero_snr_scaled_linear"]:
        for t in [0, 1, 100, 200, 500, 998, 999]:
            a = level(family, t)[0]
            yield {"schedule": family, "t": t, "snr": text(a / (1 - a)), **record(a / (1 - a))}


def gammas():
    """Theorem 1 of Song 2021, exactly: KL(q_σ(x_s|x_t,x0) ‖ q_σ(x_s|x_t,x̂0)) = γ·‖ε − ε_θ‖²."""
    for family in ["linear", "cosine", "zero_snr_scaled_linear"]:
        for t, s in [(999, 998), (999, 899), (980, 960), (500, 499), (500, 400), (20, 0), (1, 0)]:
            for eta in [0.3, 1.0]:
                at, signal, noise = level(family, t)
                if at == 0:
                    continue
                as_ = level(family, s)[0]
                sigma = mpf(eta) * sigma_ddpm(at, as_)
                kappa, mt, variance = inference(at, as_, sigma)
                gamma = (noise / signal) ** 2 * kappa ** 2 / (2 * variance)
                printed = 1 / (2 * variance * at)       # the paper's γ_t, with d = 1
                # once more, as the KL of two concrete Gaussians
                x0, eps, eps_theta = mpf(0.3), mpf(-1.25), mpf(0.5)
                xt = signal * x0 + noise * eps
                guess = (xt - noise * eps_theta) / signal
                kl = gaussian_kl(kappa * x0 + mt * xt, variance, kappa * guess + mt * xt, variance)
                same(kl, gamma * (eps - eps_theta) ** 2, slack=20)
                same(gamma / printed, (1 - at) * kappa ** 2)
                if eta == 1.0:                          # Ho 2020, Eq. 12: β²/(2σ²·α·(1−ᾱ))
                    alpha = at / as_
                    same(gamma, (1 - alpha) ** 2 / (2 * variance * alpha * (1 - at)), slack=20)
                yield {"schedule": family, "t": t, "s": s, "eta": eta, "sigma": text(sigma), "kappa": text(kappa),
                       "gamma": text(gamma), "printed": text(printed), "ratio": text(gamma / printed)}


# --------------------------------------------------------------------- output

def compute(dps):
    mp.dps = dps
    return {
        "schedules": list(schedules()),
        "shifts": list(shifts()),
        "coefficients": list(coefficients()),
        "posterior": list(posteriors()),
        "trajectories": list(trajectories()),
        "encode": list(encodings()),
        "kl": list(kls()),
        "decoder": list(decoders()),
        "weights": list(weights()),
        "gamma": list(gammas()),
    }


def compact(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def render(sections):
    """JSON with one record a line; a schedule has one line for its head and one for each entry."""
    out = ['{"about":' + compact({"format": 1, "working_digits": DIGITS, "printed_digits": PRINTED})]
    for name, records in sections.items():
        lines = []
        for record in records:
            if "entries" in record:
                head = compact({k: v for k, v in record.items() if k != "entries"})[:-1]
                lines.append(head + ',"entries":[\n' + ",\n".join(map(compact, record["entries"])) + "\n]}")
            else:
                lines.append(compact(record))
        out.append(f'"{name}":[\n' + ",\n".join(lines) + "\n]")
    return ",\n".join(out) + "\n}\n"


def dust(sections):
    """Numbers below 1e-30 other than exact zeros: each would be a rounding error that escaped `snap`.
    Only the tails of the decoder are truly that small."""
    words = render({k: v for k, v in sections.items() if k != "decoder"}).replace('"', " ").split()
    return [w for w in words if "e-" in w and w.split("e-")[1].isdigit() and int(w.split("e-")[1]) > 30]


def main():
    sections = compute(DIGITS)
    answer = render(sections)
    assert answer == render(compute(GUARD)), "a printed digit depends on the working precision"
    assert not dust(sections), dust(sections)
    assert len(json.loads(answer)) == 1 + len(sections) and len(answer.encode()) <= 400_000
    path = HERE / "oracle.json"
    if sys.argv[1:] == ["--check"]:
        if path.read_text(encoding="utf-8") != answer:
            sys.exit("oracle.json differs from what oracle.py computes")
        print("oracle.json is what oracle.py computes")
    elif not sys.argv[1:]:
        path.write_text(answer, encoding="utf-8")
        print(f"{path.name}: {len(answer.encode())} bytes")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""Student's t, Fisher's F and the fair coin's binomial for single numbers, without scipy: importing that takes longer
than a table.

Everything that a comparison needs is here; what works on whole arrays (`precision`, `selftest`) takes scipy.
The tests hold each function against scipy: relative errors below 1e-10 over 1 to a million degrees of freedom.

Sources: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.5.8 (continued fraction of the incomplete beta
function, evaluated by Lentz's method), 26.7.5 (quantiles of t from those of the normal); Tricomi & Erdélyi (1951),
Pacific J. Math. 1, for the ratio of two gamma functions half apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

_TINY = 1e-300
_EXACT_BELOW = 100.0  # from here on the series serve
_MANY = 200.0  # degrees of freedom from which the quantile's expansion is exact to 1e-11
_MANY_TOSSES = 1000
_RATIO = (1.0, -1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144, 869 / 4194304, 39325 / 33554432)


def stdtr(df: float, t: float) -> float:
    """P(T <= t) of Student's t with df degrees of freedom, which need not be whole."""
    if math.isnan(t) or not df > 0:
        return math.nan
    tail = _tail(df, abs(t))
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=4096)
def stdtrit(df: float, p: float) -> float:
    """The t below which Student's t lies with probability p; ± infinity at the ends."""
    if not df > 0 or not 0 <= p <= 1:
        return math.nan
    if p in (0.0, 1.0):
        return math.copysign(math.inf, p - 0.5)
    if p == 0.5:
        return 0.0
    tail = min(p, 1 - p)
    t = _expanded(df, _normal_quantile(tail)) if df >= _MANY else _solved(df, tail)
    return t if p > 0.5 else -t


def coin_cdf(k: int, n: int) -> float:
    """P(at most k heads in n tosses of a fair coin); exact to the last digit up to a thousand tosses."""
    if k < 0 or k >= n:
        return 0.0 if k < 0 else 1.0
    if n <= _MANY_TOSSES:
        exact = whole = 1
        for i in range(k):
            exact = exact * (n - i) // (i + 1)
            whole += exact
        return whole / (1 << n)
    if 2 * k >= n:
        return 1 - coin_cdf(n - k - 1, n)
    term = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    total = 0.0
    for i in range(k, -1, -1):
        total += term
        term *= i / (n - i + 1)
        if term < 1e-17 * total:
            break
    return total


def f_tail(over: float, under: float, value: float) -> float:
    """P(F > value) of Fisher's F with `over` and `under` degrees of freedom, which need not be whole."""
    if math.isnan(value) or not over > 0 or not under > 0:
        return math.nan
    if value <= 0:
        return 1.0
    if math.isinf(value):
        return 0.0
    a, b = under / 2, over / 2
    ratio = over * value / under
    x, near = 1 / (1 + ratio), ratio / (1 + ratio)  # the regularized incomplete beta function I(a, b) at x
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - a * math.log1p(ratio)
    front = math.exp(log_front + b * (math.log(ratio) - math.log1p(ratio)))
    if x < (a + 1) / (a + b + 2):
        return min(1.0, front * _fraction(a, b, x) / a)
    return max(0.0, 1 - front * _fraction(b, a, near) / b)


def _tail(df: float, t: float) -> float:
    """P(T > t) for t >= 0: half the regularized incomplete beta function I(df / 2, 1/2) at df / (df + t²)."""
    if math.isinf(t):
        return 0.0
    a = df / 2
    square = t * t / df
    near = square / (1 + square)  # 1 - x, without cancellation
    x = 1 / (1 + square)
    if not near:
        return 0.5
    if math.isinf(square):
        return 0.0
    # x^a (1 - x)^(1/2) / B(a, 1/2)
    front = math.exp(-a * math.log1p(square)) * math.sqrt(near) * _gamma_ratio(a) / math.sqrt(math.pi)
    if x < (a + 1) / (a + 2.5):
        return 0.5 * front * _fraction(a, 0.5, x) / a
    return 0.5 - front * _fraction(0.5, a, near)


def _gamma_ratio(a: float) -> float:
    """Γ(a + 1/2) / Γ(a)."""
    if a < _EXACT_BELOW:
        return math.gamma(a + 0.5) / math.gamma(a)
    inverse, total = 1 / a, 0.0
    for coefficient in reversed(_RATIO):
        total = total * inverse + coefficient
    return math.sqrt(a) * total


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            c = 1 + step / c
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            value *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return value


@lru_cache(maxsize=256)
def _normal_quantile(tail: float) -> float:
    """The z >= 0 that a standard normal exceeds with probability tail <= 1/2, by Newton's method on the log."""
    z = math.sqrt(max(0.0, -2 * math.log(2 * tail)))
    return _newton(
        z, tail, lambda x: math.erfc(x / math.sqrt(2)) / 2, lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    )


def _expanded(df: float, z: float) -> float:
    """The quantile of t for many degrees of freedom, from the normal one."""
    s = z * z
    terms = (
        (s + 1) / 4,
        ((5 * s + 16) * s + 3) / 96,
        (((3 * s + 19) * s + 17) * s - 15) / 384,
        ((((79 * s + 776) * s + 1482) * s - 1920) * s - 945) / 92160,
        (((((27 * s + 339) * s + 930) * s - 1782) * s - 765) * s + 17955) / 368640,
    )
    total = 0.0
    for term in reversed(terms):
        total = (total + term) / df
    return z * (1 + total)


def _solved(df: float, tail: float) -> float:
    """The t > 0 that T exceeds with probability tail < 1/2, by Newton's method on the log of both."""
    a = df / 2
    constant = _gamma_ratio(a) / math.sqrt(math.pi * df)
    z = _normal_quantile(tail)
    # the far tail falls like t^-df, which the normal one does not know
    far = (tail * math.sqrt(math.pi) * df / _gamma_ratio(a)) ** (-1 / df) * math.sqrt(df)
    start = min(z * math.exp(min(1.0, (z * z + 1) / (4 * df))), far) if df > 2 else max(z, far / 2)
    return _newton(
        start, tail, lambda t: _tail(df, t), lambda t: constant * math.exp(-(a + 0.5) * math.log1p(t * t / df))
    )


def _newton(start: float, tail: float, above: Callable[[float], float], density: Callable[[float], float]) -> float:
    """x with above(x) = tail, on log(above), which is concave here: steps from either side close in."""
    x = max(start, 1e-12)
    for _ in range(100):
        now = above(x)
        if now <= 0:
            x /= 2
            continue
        step = math.log(now / tail) * now / density(x)
        moved = max(x + step, x / 4)
        if abs(moved - x) <= 1e-9 * moved:  # the next step would be of its square's size
            return moved
        x = moved
    return x

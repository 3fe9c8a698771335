# rules are named after their primitives
"""Rules of special functions: error function and its inverse, gamma and its relatives, Bessel functions.

The C library has the error function and the logarithm of the gamma function. What JAX writes in terms of other
primitives is traced from there; the rest is written here, for scalars.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numba
import numpy as np
from jax import lax

from ergodica.samplers.lowering import vector_math
from ergodica.samplers.lowering.lane import Lane
from ergodica.samplers.lowering.rules import elementwise, expand

__all__: list[str] = []

# --- error functions ----------------------------------------------------------------------------------------------------

# fmt: off
# Polynomials in w = -log(1 - x^2), the highest coefficient first. M. Giles, Approximating the erfinv function, GPU
# Computing Gems, 2012.
DOUBLE_CENTRE = (
    -3.64441206401782e-21, -1.6850591381820166e-19, 1.28584807152564e-18, 1.1157877678025181e-17,
    -1.333171662854621e-16, 2.0972767875968562e-17, 6.637638134358324e-15, -4.054566272975207e-14,
    -8.151934197605472e-14, 2.6335093153082323e-12, -1.2975133253453532e-11, -5.415412054294628e-11,
    1.0512122733215323e-09, -4.112633980346984e-09, -2.9070369957882005e-08, 4.2347877827932404e-07,
    -1.3654692000834679e-06, -1.3882523362786469e-05, 0.00018673420803405714, -0.000740702534166267,
    -0.006033670871430149, 0.24015818242558962, 1.6536545626831027,
)
DOUBLE_MIDDLE = (
    2.2137376921775787e-09, 9.075656193888539e-08, -2.7517406297064545e-07, 1.8239629214389228e-08,
    1.5027403968909828e-06, -4.013867526981546e-06, 2.9234449089955446e-06, 1.2475304481671779e-05,
    -4.7318229009055734e-05, 6.828485145957318e-05, 2.4031110387097894e-05, -0.0003550375203628475,
    0.0009532893797373805, -0.0016882755560235047, 0.002491442096107851, -0.003751208507569241,
    0.005370914553590064, 1.0052589676941592, 3.0838856104922208,
)
DOUBLE_TAIL = (
    -2.7109920616438573e-11, -2.555641816996525e-10, 1.5076572693500548e-09, -3.789465440126737e-09,
    7.61570120807834e-09, -1.496002662714924e-08, 2.914795345090108e-08, -6.771199775845234e-08,
    2.2900482228026655e-07, -9.9298272942317e-07, 4.526062597223154e-06, -1.968177810553167e-05,
    7.599527703001776e-05, -0.00021503011930044477, -0.00013871931833623122, 1.0103004648645344, 4.849906401408584,
)
SINGLE_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)
SINGLE_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)
# fmt: on


@elementwise("erf")
def erf(lane: Lane, x: Any) -> Any:
    return lane.libm("erf", x)


@elementwise("erfc")
def erfc(lane: Lane, x: Any) -> Any:
    return lane.libm("erfc", x)


@elementwise("erf_inv")
def erf_inv(lane: Lane, x: Any) -> Any:
    b, const = lane.builder, lane.const
    branch: Callable[..., Any]
    if lane.in_loop:
        w = b.fneg(vector_math.in_double(vector_math.log1p, lane, b.fmul(x, b.fneg(x))))
        branch = _both
    else:
        w = b.fneg(lane.libm("log1p", b.fmul(x, b.fneg(x))))
        branch = Lane.branch
    root = functools.partial(lane.intrinsic, "llvm.sqrt", w)

    def tail() -> Any:
        if lane.dtype.itemsize == 4:
            return lane.polynomial(SINGLE_TAIL, b.fsub(root(), const(3.0)))
        return branch(
            lane,
            b.fcmp_ordered("<", w, const(16.0)),
            lambda: lane.polynomial(DOUBLE_MIDDLE, b.fsub(root(), const(3.25))),
            lambda: lane.polynomial(DOUBLE_TAIL, b.fsub(root(), const(5.0))),
        )

    centre, limit, shift = (SINGLE_CENTRE, 5.0, 2.5) if lane.dtype.itemsize == 4 else (DOUBLE_CENTRE, 6.25, 3.125)
    inside = b.fcmp_ordered("<", w, const(limit))
    factor = branch(lane, inside, lambda: lane.polynomial(centre, b.fsub(w, const(shift))), tail)
    at_end = b.fcmp_ordered("==", lane.intrinsic("llvm.fabs", x), const(1.0))
    return b.fmul(x, b.select(at_end, const(np.inf), factor))


def _both(lane: Lane, test: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """Compute both sides, without a branch."""
    return lane.select(test, yes(), no())


# --- gamma functions ----------------------------------------------------------------------------------------------------


@elementwise("lgamma")
def lgamma(lane: Lane, x: Any) -> Any:
    return lane.libm("lgamma", x)


def _near_zero_table() -> tuple[float, ...]:
    from scipy import special

    root = 1.4616321449683622
    terms = [float(special.polygamma(k, root)) / math.factorial(k) for k in range(1, 32)]
    return tuple(reversed(terms))


DIGAMMA_TAYLOR = _near_zero_table()


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def _near_zero(near: float) -> float:
    total = 0.0
    for coefficient in DIGAMMA_TAYLOR:
        total = total * near + coefficient
    return total


def _digamma(x: float) -> float:
    """Return the derivative of the logarithm of the gamma function: reflection, recurrence, then the asymptotic series."""
    if x <= 0.0 and x == math.floor(x):
        return math.nan
    reflected = 0.0
    if x < 0.0:
        fraction = x - math.floor(x + 0.5)  # from the nearest integer, which loses nothing close to zero
        reflected = -math.pi / math.tan(math.pi * fraction)
        x = 1.0 - x
    total = 0.0
    if 1.0 < x < 2.0:  # around its zero the recurrence would cancel
        near = (x - 1.4616321449683622) - 9.549995429965697e-17
        if abs(near) < 0.25:
            return reflected + near * _near_zero(near)
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12))))))
    return reflected + total + (math.log(x) - 0.5 / x - series)


@elementwise("digamma")
def digamma(lane: Lane, x: Any) -> Any:
    return lane.helper(_digamma, x)


def _zeta(s: float, q: float) -> float:
    """Hurwitz zeta function, by the Euler-Maclaurin formula."""
    if s == 1.0:
        return math.inf
    if s < 1.0 or math.isnan(s) or math.isnan(q):
        return math.nan
    if q <= 0.0:
        if q == math.floor(q):
            return math.inf
        if s != math.floor(s):
            return math.nan
    total = 0.0
    term = 0.0
    for number in range(12):
        term = (q + number) ** (-s)
        total += term
    a = q + 12.0
    power = a ** (-s)
    total += power * a / (s - 1.0) + 0.5 * power
    factor, bernoulli = s, power / a
    term = bernoulli * factor / 12.0
    total += term
    # Each term has the next even Bernoulli number over the factorial, and two more factors of s.
    scale = (-1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)
    for number in range(6):
        factor *= (s + 2.0 * number + 1.0) * (s + 2.0 * number + 2.0)
        bernoulli /= a * a
        total += scale[number] * factor * bernoulli
    return total


@elementwise("zeta")
def zeta(lane: Lane, s: Any, q: Any) -> Any:
    return lane.helper(_zeta, s, q)


@expand("polynomial")
def polynomial(x: Any, *coefficients: Any, unroll: int | None = None) -> Any:
    """Evaluate a polynomial, the constant term first, as JAX has it from 0.12 on."""
    del unroll
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + x * total
    return jnp.broadcast_to(total, jnp.broadcast_shapes(*(jnp.shape(c) for c in (x, *coefficients)))).astype(x.dtype)


@expand("polygamma")
def polygamma(n: Any, x: Any) -> Any:
    sign = jnp.where(jnp.mod(n, 2) == 1, 1.0, -1.0).astype(x.dtype)
    higher = sign * jnp.exp(lax.lgamma(n + 1)) * lax.zeta(n + 1, x)
    return jnp.where(n == 0, lax.digamma(x), higher).astype(x.dtype)


def _bessel_i1e(x: float) -> float:
    """Return the modified Bessel function of order one times exp(-|x|): its series, or for large numbers the expansion."""
    size = abs(x)
    if math.isnan(x):
        return x
    if size < 25.0:
        term, total, square = 0.5 * size, 0.0, 0.25 * size * size
        for k in range(1, 120):
            total += term
            term *= square / (k * (k + 1.0))
            if term < 1e-18 * total:
                break
        return math.copysign(total * math.exp(-size), x)
    term, total = 1.0, 1.0
    for k in range(1, 30):
        term *= -(4.0 - (2.0 * k - 1.0) ** 2) / (k * 8.0 * size)
        total += term
        if abs(term) < 1e-18:
            break
    return math.copysign(total / math.sqrt(2.0 * math.pi * size), x)


@elementwise("bessel_i1e")
def bessel_i1e(lane: Lane, x: Any) -> Any:
    return lane.helper(_bessel_i1e, x)


def _from_jax(primitive: str, implementation: str) -> None:
    """Trace JAX's own implementation of a special function."""
    from jax._src.lax import special

    function = getattr(special, implementation)

    def write(*operands: Any) -> Any:
        shape = jnp.broadcast_shapes(*(operand.shape for operand in operands))
        return function(*(jnp.broadcast_to(operand, shape) for operand in operands), dtype=operands[0].dtype)

    expand(primitive)(write)


for _name, _implementation in {
    "igamma": "igamma_impl",
    "igammac": "igammac_impl",
    "igamma_grad_a": "igamma_grad_a_impl",
    "random_gamma_grad": "random_gamma_grad_impl",
    "regularized_incomplete_beta": "regularized_incomplete_beta_impl",
}.items():
    _from_jax(_name, _implementation)


@expand("bessel_i0e")
def bessel_i0e(x: Any) -> Any:
    from jax._src.lax import special

    return special.bessel_i0e_impl(x)


@expand("random_gamma")
def random_gamma(key: Any, a: Any, *, log_space: bool) -> Any:
    from jax._src.random import core

    return core._gamma_impl(key, a, log_space=log_space, use_vmap=False)

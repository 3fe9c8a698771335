"""Rows of the catalogue for slice samplers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice
from ergodica.samplers.slicing.hyperrectangle import HyperrectangleSlice
from ergodica.samplers.slicing.lattice import LatticeSlice
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_matrix, exact_check
from ergodica.validation.host import on_chosen_host
from ergodica.validation.regression import regression_check
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import binomial_pvalue, stationary_start_check
from ergodica.validation.targets.continuous import (
    banana3,
    bimodal1,
    correlated_normal,
    exponential1,
    funnel,
    standard_normal,
)
from ergodica.validation.targets.finite import slice6
from ergodica.validation.targets.target import Marginal, Target, bind_to, start_state, with_data


def _cone_logdensity(x: Array) -> Array:
    radius = jnp.sqrt(jnp.sum(x**2))
    return (1 - x.size) * jnp.log(radius) - radius


def cone(dim: int) -> Target:
    """Return the density ``|x|^(1-d) exp(-|x|)``, whose radius is exponential in any dimension."""

    def sample(key: PRNGKeyArray, n: int) -> Array:
        key_radius, key_direction = random.split(key)
        z = random.normal(key_direction, (n, dim))
        return random.exponential(key_radius, (n, 1)) * z / jnp.linalg.norm(z, axis=1, keepdims=True)

    return Target(
        name=f"cone in dimension {dim}",
        dim=dim,
        logdensity=with_data(_cone_logdensity),
        sample=sample,
        marginals=(Marginal("radius", jnp.linalg.norm, lambda values: -np.expm1(-np.maximum(values, 0))),),
        mean=np.zeros(dim),
        variance=np.full(dim, 2.0 / dim),
    )


def half_cone(dim: int) -> Target:
    """Return the law of :func:`cone` on the half space where the first coordinate is positive."""
    whole = cone(dim)

    def sample(key: PRNGKeyArray, n: int) -> Array:
        x = whole.sample(key, n)
        return x.at[:, 0].set(jnp.abs(x[:, 0]))

    def logdensity(x: Array) -> Array:
        return jnp.where(x[0] > 0, _cone_logdensity(x), -jnp.inf)

    sides = Marginal(
        "coordinate 1 of the direction",
        lambda x: x[1] / jnp.linalg.norm(x),
        lambda values: special.betainc((dim - 1) / 2, (dim - 1) / 2, np.clip((1 + values) / 2, 0, 1)),
    )
    height = Marginal(
        "squared coordinate 0 of the direction",
        _direction_square,
        lambda values: special.betainc(0.5, (dim - 1) / 2, np.clip(values, 0, 1)),
    )
    mean = np.zeros(dim)
    mean[0] = np.exp(special.gammaln(dim / 2) - special.gammaln((dim + 1) / 2)) / np.sqrt(np.pi)
    return dataclasses.replace(
        whole,
        name=f"half a cone in dimension {dim}",
        logdensity=with_data(logdensity),
        sample=sample,
        marginals=(*whole.marginals, sides, height),
        mean=mean,
        variance=whole.variance - mean**2,
    )


def interval1() -> Target:
    """Return the uniform law on (0, 1)."""
    return Target(
        name="interval1",
        dim=1,
        logdensity=with_data(lambda x: jnp.where((x[0] > 0) & (x[0] < 1), 0.0, -jnp.inf)),
        sample=lambda key, n: random.uniform(key, (n, 1)),
        marginals=(Marginal("x", lambda x: x[0], lambda values: np.clip(values, 0, 1)),),
        mean=np.array([0.5]),
        variance=np.array([1 / 12]),
    )


def _scalar_width(subject: Any, target: Any) -> Any:
    """Give a kernel a target of another dimension than its own: one width for all coordinates."""
    widths = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(subject.width)])
    return dataclasses.replace(subject, width=jnp.mean(widths), logdensity=target.logdensity)


def _uncapped(subject: Any, target: Any) -> Any:
    """Lift the caps: on a unimodal target the update then draws from the whole slice."""
    return dataclasses.replace(_scalar_width(subject, target), max_steps=None, max_doublings=30, max_shrink=1000)


def _hurried(subject: Any, target: Any) -> Any:
    """Wide intervals and two rejected points at most, so that the caps decide."""
    kernel = _scalar_width(_plain(subject), target)
    return dataclasses.replace(kernel, width=8 * kernel.width, max_steps=2, max_doublings=2, max_shrink=2)


def _unscaled(subject: Any, target: Any) -> Any:
    return dataclasses.replace(_plain(subject), logdensity=target.logdensity)


def _unit_width(subject: Any, target: Any) -> Any:
    return dataclasses.replace(subject, width=jnp.asarray(1.0), max_shrink=1000, logdensity=target.logdensity)


def _plain(subject: Any) -> Any:
    """Take away what belongs to a dimension."""
    nothing = {name: None for name in ("center", "scale") if hasattr(subject, name)}
    return dataclasses.replace(subject, **nothing)


def _polar_uncapped(subject: Any, target: Any) -> Any:
    """Centre at zero, without scale and caps, direction first."""
    return dataclasses.replace(_unscaled(subject, target), max_steps=None, max_shrink=1000, order="direction_first")


def _capped(subject: Any, target: Any) -> Any:
    """As :func:`_polar_uncapped`, with two tries for the direction (and for the radius)."""
    return dataclasses.replace(_polar_uncapped(subject, target), max_shrink=2)


def _direction_square(x: Array) -> Array:
    return x[0] ** 2 / jnp.sum(x**2)


def _expected_square(dim: int) -> Any:
    correlation = (dim - 2) / (2 * (dim - 1))
    return lambda x: 1 / dim + correlation * (_direction_square(x) - 1 / dim)


def exchangeability_check(
    target: Target,
    pairs: Mapping[str, tuple[Callable[[Any], Array], Callable[[Any], Array]]],
    *,
    bind: Callable[[Any, Any], Any] = bind_to,
    n: int = 10000,
) -> Check:
    """Make a check of reversibility: of an exact draw and its successor, neither is known to be the first.

    For two functions ``f`` and ``g`` the difference ``f(x) g(x') - f(x') g(x)`` is then symmetric about zero, and how
    often it is positive is binomial.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        stepping = on_chosen_host(kernel)

        def experiment(key: PRNGKeyArray) -> dict[str, Array]:
            draw_key, start_key, step_key = random.split(key, 3)
            before = target.sample(draw_key, 1)[0]
            after = stepping.step(step_key, start_state(kernel, start_key, before))[0].position
            return {name: f(before) * g(after) - f(after) * g(before) for name, (f, g) in pairs.items()}

        replicates = Replicates(experiment)

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            pvalues = {}
            for name, differences in replicates(key, n).items():
                moved = differences[differences != 0]
                pvalues[name] = binomial_pvalue(int(np.sum(moved > 0)), moved.size, 0.5)
            return pvalues

        return sequential(pvalue, key, alpha=1e-6, n=n)

    return Check(name=f"exchangeability: {target.name}", run=run, seconds=1.0)


PAIRS = {
    "radius and direction": (lambda x: jnp.linalg.norm(x) - 2.0, lambda x: x[1] / jnp.linalg.norm(x) - 0.4),
    "x0 squared and x1": (lambda x: x[0] ** 2 - 0.5, lambda x: x[1] - 0.5),
}
"""Functions for the banana, about centred, as otherwise the differences say little; scans in one order show in both."""


def _reversible_on_slice6() -> Check:
    target = slice6()

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        with jax.enable_x64(True):
            matrix = transition_matrix(subject.bind(target.logdensity), target.states)
        return check_matrix(matrix, target.probabilities, target.states, reversible=True).outcomes["detailed balance"]

    return Check("exact law: detailed balance on slice6", run, 0.5)


def radius_regression(dim: int) -> Check:
    """On the cone the radius moves as ``(r + E) U`` with a standard exponential and a uniform number."""
    return regression_check(
        f"radius on the cone in dimension {dim}",
        cone(dim),
        jnp.linalg.norm,
        lambda x: (jnp.linalg.norm(x) + 1) / 2,
        variance=1.0,
        bind=_polar_uncapped,
    )


def direction_regression(dim: int) -> Check:
    """On a rotationally invariant target a squared coordinate of the direction has autocorrelation (d-2)/(2(d-1))."""
    return regression_check(
        f"squared direction on the cone in dimension {dim}",
        cone(dim),
        _direction_square,
        _expected_square(dim),
        variance=2 * (dim - 1) / (dim**2 * (dim + 2)),
        bind=_polar_uncapped,
    )


def ideal_direction_regression(dim: int) -> Check:
    """On a rotationally invariant target a direction drawn from its whole slice forgets the one before."""
    return regression_check(
        f"ideal direction on the cone in dimension {dim}",
        cone(dim),
        _direction_square,
        lambda x: 1 / dim + 0 * x[0],
        variance=2 * (dim - 1) / (dim**2 * (dim + 2)),
        bind=_polar_uncapped,
    )


def capped_direction_regression(dim: int) -> Check:
    """On half a cone each proposed direction is rejected with probability 1/2: two tries fail in one case of four."""
    return regression_check(
        f"two tries for the direction on half a cone in dimension {dim}",
        half_cone(dim),
        _direction_square,
        lambda x: 1 / dim + (_direction_square(x) - 1 / dim) / 4,
        variance=2 * (dim - 1) / (dim**2 * (dim + 2)),
        bind=_capped,
    )


def _box_checks(steps: int) -> tuple[Check, ...]:
    """Return the checks of slice sampling from a box; with so many steps."""
    return (
        stationary_start_check("bimodal1", bimodal1(), steps=steps, n=8000, bind=_scalar_width),
        stationary_start_check("banana3", banana3(), steps=steps, n=4000, bind=_scalar_width),
        stationary_start_check("correlated normal", correlated_normal(4), steps=steps, n=4000, bind=_scalar_width),
        exchangeability_check(banana3(), PAIRS, bind=_scalar_width),
        regression_check(
            "uniform on an interval, slope 1/2",
            interval1(),
            lambda x: x[0],
            lambda x: x[0] / 2 + 0.25,
            variance=1 / 12,
            bind=_unit_width,
        ),
    )


BIMODAL = stationary_start_check("bimodal1", bimodal1(), steps=40, n=8000, bind=_scalar_width)
"""Forty steps, as wrong intervals shift mass between the modes slowly."""

CAPPED = stationary_start_check("bimodal1, caps hit", bimodal1(), steps=10, n=4000, bind=_hurried)

CASES: tuple[Case, ...] = (
    Case(
        "coordinate-slice",
        CoordinateSlice,
        lambda: CoordinateSlice(1.0),
        (
            BIMODAL,
            stationary_start_check("banana3", banana3(), steps=3, n=4000, bind=_scalar_width),
            regression_check(
                "Exp(1), slope 1/2",
                exponential1(),
                lambda x: x[0],
                lambda x: (x[0] + 1) / 2,
                variance=1.0,
                bind=_uncapped,
            ),
            regression_check(
                "N(0, 1), slope 1/3 of the square",
                standard_normal(1),
                lambda x: x[0] ** 2,
                lambda x: (x[0] ** 2 + 2) / 3,
                variance=2.0,
                bind=_uncapped,
            ),
            CAPPED,
        ),
    ),
    Case(
        "hit-and-run-slice",
        HitAndRunSlice,
        lambda: HitAndRunSlice(2.0),
        (
            stationary_start_check("bimodal1", bimodal1(), steps=10, n=8000, bind=_unscaled),
            stationary_start_check("banana3", banana3(), steps=5, n=4000, bind=_unscaled),
            stationary_start_check("correlated normal", correlated_normal(4), steps=5, n=4000, bind=_unscaled),
            CAPPED,
        ),
    ),
    Case(
        "gibbsian-polar-slice",
        GibbsianPolarSlice,
        lambda: GibbsianPolarSlice(3.0),
        (
            stationary_start_check("banana3", banana3(), steps=5, n=4000, bind=_unscaled),
            stationary_start_check("funnel", funnel(10), steps=5, n=2000, bind=_unscaled),
            stationary_start_check("cone in dimension 50", cone(50), steps=3, n=4000, bind=_unscaled),
            radius_regression(10),
            direction_regression(10),
        ),
    ),
    Case(
        "gibbsian-polar-slice-uniform",
        GibbsianPolarSlice,
        lambda: GibbsianPolarSlice(3.0, direction="uniform", order="palindromic"),
        (
            stationary_start_check("banana3", banana3(), steps=5, n=4000, bind=_unscaled),
            stationary_start_check("half a cone", half_cone(4), steps=5, n=4000, bind=_capped),
            radius_regression(10),
            ideal_direction_regression(10),
            capped_direction_regression(4),
            exchangeability_check(banana3(), PAIRS, bind=_unscaled),
        ),
    ),
    Case("hyperrectangle-slice", HyperrectangleSlice, lambda: HyperrectangleSlice(4.0), _box_checks(10)),
    Case(
        "hyperrectangle-slice-steepest",
        HyperrectangleSlice,
        lambda: HyperrectangleSlice(6.0, shrink="steepest"),
        _box_checks(10),
    ),
    Case(
        "lattice-slice",
        LatticeSlice,
        lambda: LatticeSlice(2, max_steps=3),
        (exact_check("slice6", slice6()), _reversible_on_slice6()),
    ),
)
"""Slice samplers."""

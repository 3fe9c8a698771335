"""Optimal acceptance rates: roots of derivatives."""

import numpy as np
import pytest
import scipy.integrate
from scipy import special, stats

from ergodica.theory.metropolis import random_walk_acceptance
from ergodica.theory.scaling import (
    optimal_barker_random_walk,
    optimal_pseudo_marginal,
    optimal_random_walk,
    optimal_scaling,
    scaling_exponents,
)


@pytest.mark.parametrize(
    ("sampler", "acceptance", "z"),
    [
        ("random walk", 0.2338101611, 1.1906012490),
        ("MALA", 0.5742356441, 0.5618244322),
        ("HMC", 0.6512597519, 0.4520128130),
        ("HMC, order 4", 0.7964187425, 0.2579846647),
        ("HMC, order 6", 0.8557879369, 0.1817385172),
    ],
)
def test_golden_optima(sampler, acceptance, z):
    found = optimal_scaling(sampler)
    # The reference comes from a minimisation, which knows the place of a minimum to half of the digits.
    np.testing.assert_allclose([found.acceptance, found.scale], [acceptance, z], atol=2e-8)
    assert abs(found.derivative) < 1e-13


@pytest.mark.parametrize("exponent", [*scaling_exponents.values(), 4.0, 0.01, 30.0])
def test_the_optimum_is_one(exponent):
    found = optimal_scaling(exponent)
    np.testing.assert_allclose(found.acceptance, 2 * special.ndtr(-found.scale), rtol=1e-14)
    for z in found.scale * np.array([0.2, 0.99, 1.01, 3.0]):
        assert z**exponent * 2 * special.ndtr(-z) < found.efficiency
    # e Phi(-z) - z phi(z) changes its sign.
    slopes = [exponent * special.ndtr(-z) - z * stats.norm.pdf(z) for z in (found.scale - 1e-9, found.scale + 1e-9)]
    assert slopes[0] > 0 > slopes[1]


@pytest.mark.parametrize(
    ("dim", "scale", "acceptance"),
    [
        (1, 2.4264014131, 0.4388621792),
        (2, 2.4147, 0.3507046867),
        (5, 2.3999, 0.2839081054),
        (10, 2.3919, 0.2593013373),
        (50, 2.3836, 0.2389629281),
    ],
)
def test_golden_random_walks(dim, scale, acceptance):
    found = optimal_random_walk(dim)
    np.testing.assert_allclose(found.scale, scale, atol=1e-7 if dim == 1 else 5.1e-5)
    np.testing.assert_allclose(found.acceptance, acceptance, atol=2e-8)
    assert abs(found.derivative) < 1e-12

    # The expected squared jump by quadrature over the length of the step.
    def jump(scale):
        s = scale / np.sqrt(dim)
        value = scipy.integrate.quad(
            lambda r: stats.chi.pdf(r, dim) * (s * r) ** 2 * 2 * special.ndtr(-s * r / 2), 0, np.inf
        )
        return value[0]

    np.testing.assert_allclose(found.efficiency, jump(found.scale), rtol=1e-7)
    assert jump(found.scale) > max(jump(0.97 * found.scale), jump(1.03 * found.scale))


def test_many_dimensions():
    limit = optimal_scaling("random walk")
    found = optimal_random_walk(100_000)
    np.testing.assert_allclose([found.acceptance, found.scale], [limit.acceptance, 2 * limit.scale], rtol=1e-4)
    np.testing.assert_allclose(random_walk_acceptance(1, 2.0), 2 / np.pi * np.arctan(1.0), rtol=1e-13)


def test_golden_barker():
    found = optimal_barker_random_walk()
    np.testing.assert_allclose([found.scale, found.acceptance], [2.4562822459, 0.1589558565], atol=2e-8)
    metropolis = optimal_scaling("random walk")
    np.testing.assert_allclose(found.efficiency / (4 * metropolis.efficiency), 0.7234, atol=5e-5)
    assert abs(found.derivative) < 1e-12
    exact = scipy.integrate.quad(
        lambda b: stats.norm.pdf(b, -0.5 * found.scale**2, found.scale) * special.expit(b), -40, 40, epsabs=1e-13
    )
    np.testing.assert_allclose(found.acceptance, exact[0], rtol=1e-10)


def test_golden_pseudo_marginal():
    found = optimal_pseudo_marginal()
    np.testing.assert_allclose(
        [found.scale, found.variance, found.acceptance], [2.5623598800, 3.2828440752, 0.0700075150], atol=2e-8
    )

    def efficiency(scale, variance):
        return variance * scale**2 * 2 * special.ndtr(-0.5 * np.sqrt(2 * variance + scale**2))

    np.testing.assert_allclose(efficiency(found.scale, found.variance), found.efficiency, rtol=1e-12)
    for ds, dv in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert efficiency(found.scale + ds, found.variance + dv) < found.efficiency


def test_bad_arguments():
    with pytest.raises(ValueError, match="samplers are"):
        optimal_scaling("guess")
    for exponent in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="exponent"):
            optimal_scaling(exponent)
    with pytest.raises(ValueError, match="dim"):
        optimal_random_walk(0)

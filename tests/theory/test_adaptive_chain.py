"""Adaptive chains: exact laws against simulation by hand, the classical counterexample, and the coupling bound."""

import itertools

import numpy as np
import pytest

from ergodica.theory.adaptive_chain import (
    adaptation_distance,
    adaptive_law,
    containment,
    coupling_bound,
    joint_matrix,
)
from ergodica.theory.finite_chain import FiniteChain
from ergodica.theory.mixing import mixing_time
from ergodica.theory.stationary import stationary_law

LAW = np.array([2.0, 1, 4]) / 7


def metropolis(reach):
    """Proposals uniform among the states within reach, itself included; what is outside of the space is refused."""
    P = np.zeros((3, 3))
    for x, step in itertools.product(range(3), range(-reach, reach + 1)):
        if 0 <= x + step < 3:
            P[x, x + step] += min(1, LAW[x + step] / LAW[x]) / (2 * reach + 1)
    return P + np.diag(1 - P.sum(axis=1))


KERNELS = [metropolis(1), metropolis(2)]
# The proposal is widened after a move and narrowed after none: the adaptation of the classical counterexample.
MOVED = np.broadcast_to(1 - np.eye(3, dtype=int), (2, 3, 3))


def enumerated(num_steps, share):
    """Walk all paths of states, kernels and coins."""
    laws = np.zeros((num_steps + 1, 3))
    paths = {(0, 0): 1.0}
    laws[0, 0] = 1.0
    for t in range(num_steps):
        following = {}
        for (x, k), mass in paths.items():
            for y in range(3):
                for coin, weight in ((True, share[t]), (False, 1 - share[t])):
                    state = (y, int(MOVED[k, x, y]) if coin else k)
                    following[state] = following.get(state, 0.0) + mass * KERNELS[k][x, y] * weight
        paths = following
        for (x, _), mass in paths.items():
            laws[t + 1, x] += mass
    return laws


def test_adaptation_that_goes_on_has_another_law():
    for P in KERNELS:
        np.testing.assert_allclose(LAW @ P, LAW, atol=1e-15)
    joint = joint_matrix(KERNELS, MOVED)
    np.testing.assert_allclose(joint.sum(axis=1), 1, atol=1e-15)
    wrong = stationary_law(joint).reshape(2, 3).sum(axis=0)
    assert 0.5 * np.abs(wrong - LAW).sum() > 0.01
    found = adaptive_law(KERNELS, MOVED, 7 * LAW, 200)
    np.testing.assert_allclose(found.law[-1], wrong, atol=1e-10)
    assert found.distance[-1] == pytest.approx(0.5 * np.abs(wrong - LAW).sum())
    # The mean change: with which probability the joint chain swaps kernels, times how far they are apart.
    pair = stationary_law(joint)
    swapped = np.add.outer(np.arange(6) // 3, -(np.arange(6) // 3)) != 0
    apart = adaptation_distance(*KERNELS)
    assert found.adaptation[-1] == pytest.approx(apart * np.sum(pair[:, None] * joint * swapped), rel=1e-9)


def test_law_against_enumeration():
    share = 1 / np.arange(1.0, 9)
    found = adaptive_law(KERNELS, MOVED, LAW, 8, adapt_probability=share)
    np.testing.assert_allclose(found.law, enumerated(8, share), atol=1e-14)
    np.testing.assert_allclose(found.distance, 0.5 * np.abs(found.law - LAW).sum(axis=1))
    still = adaptive_law(KERNELS, MOVED, LAW, 5, adapt_probability=0.0, start=(1, 1))
    np.testing.assert_allclose(still.law[5], np.linalg.matrix_power(KERNELS[1], 5)[1], atol=1e-14)
    assert np.all(still.adaptation == 0)


def test_diminishing_adaptation_converges():
    share = np.arange(1.0, 2001) ** -0.8
    found = adaptive_law(KERNELS, MOVED, LAW, 2000, adapt_probability=share)
    assert found.distance[-1] < 1e-3
    assert found.distance[-1] < found.distance[200] < found.distance[20]
    assert np.all(found.adaptation <= share * adaptation_distance(*KERNELS) + 1e-15)


def test_coupling_bound():
    for power in (0.5, 1.0, 2.0):
        share = np.arange(1.0, 121) ** -power
        found = adaptive_law(KERNELS, MOVED, LAW, 120, adapt_probability=share)
        bound = coupling_bound(KERNELS, LAW, found.adaptation, 60)
        assert np.all(found.distance <= bound + 1e-12)
        assert bound[0] == 1
        assert bound[-1] < bound[1]
    # Without adaptation the bound is the mixing of the slowest kernel, which some start attains.
    frozen = coupling_bound(KERNELS, LAW, np.zeros(12), 12)
    slowest = [
        max(0.5 * np.abs(np.linalg.matrix_power(P, t) - LAW).sum(axis=1).max() for P in KERNELS) for t in range(13)
    ]
    np.testing.assert_allclose(frozen[1:], slowest[1:], atol=1e-14)
    # One change of size d two steps from the end is felt by the last two moves.
    late = coupling_bound([np.tile(LAW, (3, 1))] * 2, LAW, [0, 0, 0.1, 0, 0], 5)
    assert late == pytest.approx([1, 0, 0, 0, 0, 0])
    assert coupling_bound(KERNELS, LAW, np.full(3, 0.01), 3)[3] == pytest.approx(
        min(slowest[1], slowest[2] + 0.01, slowest[3] + 0.03)
    )


def test_containment():
    found = containment(KERNELS, 7 * LAW)
    assert found.mixing_times == pytest.approx([mixing_time(FiniteChain(P)) for P in KERNELS])
    assert found.value == found.mixing_times.max()
    assert found.defect < 1e-15
    assert containment([KERNELS[0], np.eye(3)], LAW).value == np.inf
    flip = np.array([[0.0, 1], [1, 0]])
    assert containment([flip], [1, 1]).value == np.inf
    assert containment(KERNELS, np.ones(3)).defect > 0.1


def test_bad_input():
    for call, message in [
        (lambda: containment([], LAW), "at least one kernel"),
        (lambda: containment([np.eye(2), np.eye(3)], LAW), "one space"),
        (lambda: containment(KERNELS, [0.5, 0.5]), "3 weights"),
        (lambda: joint_matrix(KERNELS, MOVED[:1]), "shape"),
        (lambda: joint_matrix(KERNELS, 2 * MOVED), "from 0 to 1"),
        (lambda: adaptive_law(KERNELS, MOVED, LAW, 0), "at least 1"),
        (lambda: adaptive_law(KERNELS, MOVED, LAW, 3, adapt_probability=2.0), "lie in"),
        (lambda: adaptive_law(KERNELS, MOVED, LAW, 3, start=(3, 0)), "state below 3"),
        (lambda: coupling_bound(KERNELS, np.ones(3), [0.1], 1), "stationary law"),
        (lambda: coupling_bound(KERNELS, LAW, [[0.1]], 1), "vector of mean changes"),
        (lambda: coupling_bound(KERNELS, LAW, [0.1], 2), "between 1 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()

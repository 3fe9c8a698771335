"""The compiled loop of the self-repellent walk, over a source of uniforms."""

from typing import Any

import numpy as np

from ergodica.samplers.core_source import GENERATOR, UNIFORMS, Source
from ergodica.samplers.native import NativeOperation, compiled

__all__ = ["FROM_GENERATOR", "FROM_UNIFORMS"]

_LARGEST_INTEGER_POWER = 32
_RESCALE_AT = 1e30


@compiled
def _power(mass, mu, alpha, integer_alpha):  # type: ignore[no-untyped-def]
    """Return ``(mass / mu)^-alpha``, by multiplication if ``alpha`` is a small integer."""
    ratio = mu / mass
    if integer_alpha < 0:
        return ratio**alpha
    out = 1.0
    for _ in range(integer_alpha):
        out *= ratio
    return out


@compiled
def _choose(uniform, first, last, targets, probabilities, weight):  # type: ignore[no-untyped-def]
    """Draw an entry of a row from stored weights; ``last`` if they have overflowed or vanished."""
    total = 0.0
    for entry in range(first, last):
        total += probabilities[entry] * weight[np.uint64(targets[entry])]
    if not 1e-280 < total < 1e280:
        return last
    drawn = first
    level = uniform * total - probabilities[drawn] * weight[np.uint64(targets[drawn])]
    while level >= 0 and drawn + np.uint64(1) < last:
        drawn += np.uint64(1)
        level -= probabilities[drawn] * weight[np.uint64(targets[drawn])]
    return drawn


@compiled
def _choose_by_logs(uniform, first, last, targets, probabilities, mass, mu, alpha):  # type: ignore[no-untyped-def]
    """Draw an entry of a row from log weights: slower, and right however large the ratios are."""
    logs = np.empty(last - first)
    largest = -np.inf
    for entry in range(first, last):
        node = np.uint64(targets[entry])
        logs[entry - first] = np.log(np.float64(probabilities[entry])) - alpha * np.log(
            np.float64(mass[node]) / mu[node]
        )
        largest = max(largest, logs[entry - first])
    total = 0.0
    for k in range(logs.shape[0]):
        total += np.exp(logs[k] - largest)
        logs[k] = total
    level = uniform * total
    drawn = 0
    while drawn < logs.shape[0] - 1 and level >= logs[drawn]:
        drawn += 1
    return first + np.uint64(drawn)


@compiled
def _divide(values, divisor):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):  # a loop: Numba takes seconds to compile array expressions
        values[i] /= divisor


@compiled
def _total(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@compiled
def _enter(here, step, visits, mass, fake, decay, total):  # type: ignore[no-untyped-def]
    """Count a visit, and return the total of the mass; without counting, others shrink by growing the total."""
    visits[here] += 1
    if decay == 1.0:
        mass[here] = fake[here] + visits[here]  # exact however large the count, as a running sum is not
        return total
    gamma = step**-decay
    total /= 1 - gamma
    mass[here] += gamma * total
    if total > _RESCALE_AT:
        _divide(mass, total)
        return 1.0
    return total


def _core(source: Source) -> Any:
    open_source, uniform = source.open, source.uniform

    @compiled
    def stored_walk(  # type: ignore[no-untyped-def]
        handle, here, done, visits, given_mass, offsets, targets, probabilities, given_mu, fake, alpha, decay, num_steps
    ):
        """Store a weight for each node: the common normaliser cancels, so that a visit changes one of them."""
        size = visits.shape[0]
        mass, mu, weight = np.empty(size), np.empty(size), np.empty(size)
        # What a counted visit needs of a node lies side by side: on a large graph each array would be a cache miss.
        beside = np.empty((size, 2))
        counting = decay == 1.0
        integer_alpha = int(alpha) if alpha == np.floor(alpha) and alpha <= _LARGEST_INTEGER_POWER else -1
        for i in range(size):
            mass[i], mu[i] = given_mass[i], given_mu[i]
            beside[i, 0], beside[i, 1] = fake[i], given_mu[i]
            weight[i] = _power(mass[i], mu[i], alpha, integer_alpha)
        total, start, moved = mass.sum(), fake.sum() + done, 0
        for step in range(1, num_steps + 1):
            first, last = np.uint64(offsets[here]), np.uint64(offsets[here + np.uint64(1)])
            u = uniform(handle)
            drawn = _choose(u, first, last, targets, probabilities, weight)
            if drawn == last:
                if counting:
                    for entry in range(first, last):
                        node = np.uint64(targets[entry])
                        mass[node] = beside[node, 0] + visits[node]
                drawn = _choose_by_logs(u, first, last, targets, probabilities, mass, mu, alpha)
            there = np.uint64(targets[drawn])
            moved += there != here
            here = there
            if counting:
                visits[here] += 1
                weight[here] = _power(beside[here, 0] + visits[here], beside[here, 1], alpha, integer_alpha)
                continue
            before = total
            total = _enter(here, start + step, visits, mass, fake, decay, total)
            if total < before:
                for i in range(size):
                    weight[i] = _power(mass[i], mu[i], alpha, integer_alpha)
            weight[here] = _power(mass[here], mu[here], alpha, integer_alpha)
        for i in range(size):
            given_mass[i] = beside[i, 0] + visits[i] if counting else mass[i] / total
        return here, moved

    @compiled
    def direct_walk(  # type: ignore[no-untyped-def]
        handle, here, done, visits, mass, offsets, targets, probabilities, mu, fake, largest_alpha, decay, growth,
        num_steps,
    ):  # fmt: skip
        """Compute weights where they are needed: for few steps, or a strength that changes."""
        counting = decay == 1.0
        total = 1.0 if counting else _total(mass)
        start, alpha, moved = _total(fake) + done, largest_alpha, 0
        for step in range(1, num_steps + 1):
            if np.isfinite(growth):
                alpha = min(largest_alpha, growth * np.log(np.float64(done + step)))
            first, last = np.uint64(offsets[here]), np.uint64(offsets[here + np.uint64(1)])
            drawn = _choose_by_logs(uniform(handle), first, last, targets, probabilities, mass, mu, alpha)
            there = np.uint64(targets[drawn])
            moved += there != here
            here = there
            total = _enter(here, start + step, visits, mass, fake, decay, total)
        if not counting:
            _divide(mass, total)
        return here, moved

    @compiled
    def core(  # type: ignore[no-untyped-def]
        randomness, position, visits, mass, done, offsets, targets, probabilities, mu, fake, alpha, decay, growth,
        num_steps, out_position, out_visits, out_mass, out_moved,
    ):  # fmt: skip
        handle = open_source(randomness)
        for i in range(mass.shape[0]):
            out_visits[i], out_mass[i] = visits[i], mass[i]
        here, moved = np.uint64(position[0]), 0
        alpha_, decay_, growth_ = np.float64(alpha[0]), np.float64(decay[0]), np.float64(growth[0])
        if np.isfinite(growth_) or 8 * num_steps[0] < mu.shape[0]:
            here, moved = direct_walk(
                handle, here, done[0], out_visits, out_mass, offsets, targets, probabilities, mu, fake, alpha_, decay_,
                growth_, num_steps[0],
            )  # fmt: skip
        else:
            here, moved = stored_walk(
                handle, here, done[0], out_visits, out_mass, offsets, targets, probabilities, mu, fake, alpha_, decay_,
                num_steps[0],
            )  # fmt: skip
        out_position[0] = here
        out_moved[0] = moved

    return core


def _operation(source: Source) -> NativeOperation:
    number, vector, rows = (None, 0), (None, 1), (np.int32, 1)
    return NativeOperation(
        f"walks.self_repellent.{source.name}",
        _core(source),
        inputs=[
            (source.dtype, 1), number, vector, vector, number, rows, rows, vector, vector, vector, number, number, number,
            (np.int32, 0),
        ],
        outputs=[number, vector, vector, (np.int32, 0)],
    )  # fmt: skip


FROM_GENERATOR = _operation(GENERATOR)
FROM_UNIFORMS = _operation(UNIFORMS)

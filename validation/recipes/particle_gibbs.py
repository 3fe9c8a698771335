"""The exact transition matrix of particle Gibbs with a few particles on the paths of a small hidden Markov model.

One step keeps the current path as one particle, runs a particle filter around it, and picks one of the paths that result.
The free particles are exchangeable, so only the law of their sorted paths is followed; for backward sampling, which looks
at no ancestry, only their sorted values at each time.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float

from ergodica.samplers.inputs import static_count
from ergodica.validation.targets.hidden_markov import HiddenMarkovModel

__all__ = ["Ancestors", "particle_gibbs_matrix"]

Ancestors = Literal["tracing", "sampling", "backward"]
"""How the history of the path that is picked is found: traced, resampled as the filter runs, or drawn backwards."""

_Path = tuple[int, ...]
_Law = dict[tuple[_Path, tuple[_Path, ...]], float]


def particle_gibbs_matrix(
    model: HiddenMarkovModel, particles: int, ancestors: Ancestors = "tracing"
) -> Float[np.ndarray, "S S"]:
    """Return the transition matrix of conditional sequential Monte Carlo with multinomial resampling at every time.

    Parameters
    ----------
    model
        The model; proposals are its transitions.
    particles
        Number ``N`` of particles, at least two, the retained path included.
    ancestors
        ``"tracing"`` returns a path as the filter has made it; ``"sampling"`` gives the retained particle a new history at
        each time; ``"backward"`` draws the path backwards through all particles.

    Returns
    -------
    array of shape (S, S)
        Rows and columns in the order of ``model.paths().states``.

    Raises
    ------
    ValueError
        If there are fewer than two particles, or ``ancestors`` is none of the three.

    References
    ----------
    Christophe Andrieu, Arnaud Doucet and Roman Holenstein (2010), Particle Markov chain Monte Carlo methods, JRSS B 72(3).
    Fredrik Lindsten, Michael Jordan and Thomas Schön (2014), Particle Gibbs with ancestor sampling, JMLR 15. Nick Whiteley
    (2010), in the discussion of the first, for backward sampling.
    """
    particles = static_count("particles", particles, at_least=2)
    if ancestors not in ("tracing", "sampling", "backward"):
        raise ValueError(f"ancestors is one of 'tracing', 'sampling', 'backward'; got {ancestors!r}")
    states: list[_Path] = [tuple(int(value) for value in path) for path in model.paths().states]
    number = {path: index for index, path in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    for origin, reference in enumerate(states):
        if ancestors == "backward":
            rows = _backward(model, reference, particles - 1)
        else:
            rows = _forward(model, reference, particles - 1, resample=ancestors == "sampling")
        for path, probability in rows:
            matrix[origin, number[path]] += probability
    return matrix


def _sorted_draws(law: Float[np.ndarray, " m"], count: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield ``count`` independent draws, sorted, and their probabilities; equal ones may come more than once."""
    support = np.flatnonzero(law > 0)
    for drawn in product(support.tolist(), repeat=count):
        yield tuple(sorted(drawn)), float(np.prod(law[list(drawn)]))


def _normalised(weights: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    return np.asarray(weights / weights.sum())


def _first(model: HiddenMarkovModel, reference: _Path, free: int) -> _Law:
    law: _Law = {}
    for values, probability in _sorted_draws(model.initial, free):
        key = ((reference[0],), tuple((value,) for value in values))
        law[key] = law.get(key, 0.0) + probability
    return law


def _forward(model: HiddenMarkovModel, reference: _Path, free: int, *, resample: bool) -> Iterator[tuple[_Path, float]]:
    """Yield the paths that are picked from the end of the filter, with their probabilities."""
    law = _first(model, reference, free)
    for t in range(1, len(reference)):
        later: _Law = {}
        for (kept, others), probability in law.items():
            paths = [kept, *others]
            ends = [path[-1] for path in paths]
            weights = model.likelihood[t - 1, ends]
            # All ways to choose a parent and to move on from it, for one free particle.
            children = [(*path, value) for path in paths for value in range(model.initial.size)]
            moves = (_normalised(weights)[:, None] * model.transition[ends]).ravel()
            histories = (
                _normalised(weights * model.transition[ends, reference[t]]) if resample else np.eye(len(paths))[0]
            )
            for chosen, share in _sorted_draws(moves, free):
                grown = tuple(sorted(children[index] for index in chosen))
                for parent, weight in zip(paths, histories, strict=True):
                    if weight > 0:
                        key = ((*parent, reference[t]), grown)
                        later[key] = later.get(key, 0.0) + probability * share * weight
        law = later
    for (kept, others), probability in law.items():
        paths = [kept, *others]
        picks = _normalised(model.likelihood[-1, [path[-1] for path in paths]])
        for path, weight in zip(paths, picks, strict=True):
            yield path, probability * float(weight)


def _backward(model: HiddenMarkovModel, reference: _Path, free: int) -> Iterator[tuple[_Path, float]]:
    """Yield the paths that are drawn backwards through all particles, with their probabilities."""
    law: dict[tuple[tuple[int, ...], ...], float] = {}
    for values, probability in _sorted_draws(model.initial, free):
        law[(values,)] = law.get((values,), 0.0) + probability
    for t in range(1, len(reference)):
        later: dict[tuple[tuple[int, ...], ...], float] = {}
        for history, probability in law.items():
            at = [reference[t - 1], *history[-1]]
            moves = _normalised(model.likelihood[t - 1, at]) @ model.transition[at]
            for values, share in _sorted_draws(moves, free):
                key = (*history, values)
                later[key] = later.get(key, 0.0) + probability * share
        law = later
    for history, probability in law.items():
        tails: dict[_Path, float] = {(): probability}
        for t in range(len(reference) - 1, -1, -1):
            at = [reference[t], *history[t]]
            longer: dict[_Path, float] = {}
            for tail, share in tails.items():
                weights = model.likelihood[t, at]
                if tail:
                    weights = weights * model.transition[at, tail[0]]
                for value, weight in zip(at, _normalised(weights), strict=True):
                    path = (value, *tail)
                    longer[path] = longer.get(path, 0.0) + share * float(weight)
            tails = longer
        yield from tails.items()

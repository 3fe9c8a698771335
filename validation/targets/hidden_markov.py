"""Small hidden Markov models: evidence, smoothing laws and exact draws of hidden paths."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers import random
from ergodica.validation.targets.target import FiniteTarget, with_data

_MOST_PATHS = 2**16


def _rows(name: str, value: ArrayLike, ndim: int) -> Float[np.ndarray, "..."]:
    rows = np.asarray(value, dtype=np.float64)
    if rows.ndim != ndim or rows.size == 0:
        raise ValueError(f"{name} has to have {ndim} axes and no empty one; got shape {rows.shape}")
    if not np.all(rows >= 0) or not np.allclose(rows.sum(axis=-1), 1, atol=1e-9):
        raise ValueError(f"{name} has to hold probabilities that sum to one along the last axis; got {rows.tolist()}")
    return rows


def _path_logdensity(initial: np.ndarray, transition: np.ndarray, likelihood: np.ndarray, x: Array) -> Array:
    start, moves, seen = (jnp.log(jnp.asarray(value)) for value in (initial, transition, likelihood))
    return start[x[0]] + jnp.sum(moves[x[:-1], x[1:]]) + jnp.sum(seen[jnp.arange(x.size), x])


class HiddenMarkovModel:
    """A hidden Markov model with finitely many states, and what was observed of it.

    Parameters
    ----------
    initial
        Law of the first state, shape ``(K,)``.
    transition
        ``transition[i, j]``, the probability of going from ``i`` to ``j``, shape ``(K, K)``.
    emission
        ``emission[i, y]``, the probability of seeing ``y`` in state ``i``, shape ``(K, M)``.
    observations
        Symbols ``0, ..., M - 1``, shape ``(T,)``.

    Raises
    ------
    ValueError
        If shapes or probabilities do not fit, or the observations are impossible.

    References
    ----------
    L. E. Baum, T. Petrie, G. Soules, N. Weiss, "A maximization technique ...", Annals of Mathematical Statistics 41
    (1970). doi:10.1214/aoms/1177697196.
    """

    def __init__(self, initial: ArrayLike, transition: ArrayLike, emission: ArrayLike, observations: ArrayLike) -> None:
        self.initial = _rows("initial", initial, 1)
        self.transition = _rows("transition", transition, 2)
        self.emission = _rows("emission", emission, 2)
        self.observations = np.asarray(observations)
        count = self.initial.size
        if self.transition.shape != (count, count) or len(self.emission) != count:
            raise ValueError(
                f"with {count} states, transition has to have shape ({count}, {count}) and emission {count} rows; "
                f"got {self.transition.shape} and {self.emission.shape}"
            )
        y = self.observations
        if y.ndim != 1 or y.size == 0 or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"observations have to be a non-empty vector of integers; got {observations!r}")
        if np.any((y < 0) | (y >= self.emission.shape[1])):
            raise ValueError(f"observations have to lie in 0, ..., {self.emission.shape[1] - 1}; got {y.tolist()}")
        self.likelihood: Float[np.ndarray, "T K"] = self.emission[:, y].T
        self._forward()

    def _forward(self) -> None:
        filtered, log_evidence = [], 0.0
        predicted = self.initial
        for seen in self.likelihood:
            joint = predicted * seen
            mass = joint.sum()
            if mass == 0:
                raise ValueError("the observations have probability zero under the model")
            log_evidence += float(np.log(mass))
            filtered.append(joint / mass)
            predicted = filtered[-1] @ self.transition
        self.filtered: Float[np.ndarray, "T K"] = np.stack(filtered)
        self.log_evidence = log_evidence

    def smoothed(self) -> Float[np.ndarray, "T K"]:
        """Return the laws of the single states given all observations, by the forward-backward recursion."""
        smoothed = [self.filtered[-1]]
        for law in self.filtered[-2::-1]:
            backward = law[:, None] * self.transition
            reached = backward.sum(axis=0)
            backward = np.divide(backward, reached, out=np.zeros_like(backward), where=reached > 0)
            smoothed.append(backward @ smoothed[-1])
        return np.stack(smoothed[::-1])

    def sample(self, key: PRNGKeyArray, n: int) -> Int[Array, "n T"]:
        """Draw hidden paths from their exact posterior, backward from the last state."""
        last = random.categorical(random.fold_in(key, 0), jnp.log(jnp.asarray(self.filtered[-1])), shape=(n,))
        path = [last]
        for t in range(len(self.filtered) - 2, -1, -1):
            weights = jnp.asarray(self.filtered[t]) * jnp.asarray(self.transition).T[path[-1]]
            path.append(random.categorical(random.fold_in(key, t + 1), jnp.log(weights)))
        return jnp.stack(path[::-1], axis=1)

    def paths(self) -> FiniteTarget:
        """Return the posterior of the hidden path by enumeration; the log density sums to the evidence.

        Raises
        ------
        ValueError
            If there are more than 65536 paths.
        """
        count, length = self.initial.size, self.observations.size
        if count**length > _MOST_PATHS:
            raise ValueError(f"{count}^{length} paths are too many to enumerate; draw them with sample()")
        states = np.stack(np.unravel_index(np.arange(count**length), (count,) * length), axis=-1)
        joint = self.initial[states[:, 0]] * np.prod(self.likelihood[np.arange(length), states], axis=1)
        joint = joint * np.prod(self.transition[states[:, :-1], states[:, 1:]], axis=1)
        return FiniteTarget(
            name=f"hidden paths of length {length}",
            states=states,
            probabilities=joint / joint.sum(),
            logdensity=with_data(_path_logdensity, self.initial, self.transition, self.likelihood),
            source="Baum et al. (1970), doi:10.1214/aoms/1177697196; enumeration",
        )


def hmm3() -> HiddenMarkovModel:
    """Return two hidden states seen three times through noise, evidence 0.116004."""
    return HiddenMarkovModel((0.6, 0.4), ((0.7, 0.3), (0.2, 0.8)), ((0.9, 0.1), (0.3, 0.7)), (0, 1, 1))

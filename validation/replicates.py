"""Independent replicates of a random experiment, compiled once and run in batches of one size."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random


class Replicates:
    """Runs ``experiment(key)`` many times over independent keys.

    All batches have the size of the first request, so that a request for more replicates does not compile again.

    Parameters
    ----------
    experiment
        Traceable function from a typed key to a pytree of arrays.
    """

    def __init__(self, experiment: Callable[[PRNGKeyArray], Any]) -> None:
        # A check compiles once and runs briefly: half of LLVM's effort halves the time. The program is the same.
        self._run = jax.jit(jax.vmap(experiment), compiler_options={"xla_backend_optimization_level": 1})
        self._batch = 0

    def __call__(self, key: PRNGKeyArray, n: int) -> Any:
        """Return the results of ``n`` replicates: NumPy arrays with a leading axis of length ``n``."""
        self._batch = self._batch or n
        batches = -(-n // self._batch)
        parts = [
            jax.tree.map(np.asarray, self._run(random.split(random.fold_in(key, i), self._batch)))
            for i in range(batches)
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *parts)

"""The heat bath: an exact draw from a law on a short list of values.

On a block of a larger position this is a Gibbs step: ``on("colour", HeatBath([0, 1, 2]))`` redraws the entry
``colour`` from its conditional law, whatever the joint density is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.inputs import Numbers, integer_array, integer_position, is_concrete, start_density
from ergodica.samplers.kernel import DensityState, Kernel


class HeatBathInfo(NamedTuple):
    """What a heat-bath step reports.

    Parameters
    ----------
    num_evals
        Evaluations of the log density: one for each value.
    num_invalid
        How many of them were NaN or ``+inf``; such values are not drawn.
    """

    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]


def _checked_values(values: Numbers) -> Int[Array, "k ..."]:
    array = integer_array("values", values)
    if array.ndim < 1 or array.shape[0] < 1:
        raise ValueError(f"values has to list at least one position on its leading axis; got shape {array.shape}")
    if is_concrete(array) and len(np.unique(np.asarray(array), axis=0)) != array.shape[0]:
        raise ValueError("values has to list each position once; got repetitions, which would be drawn twice as often")
    return array


class HeatBath(Kernel[DensityState, HeatBathInfo]):
    """Draw the position from its law on a list of values; exact and reversible.

    Parameters
    ----------
    values
        All values that the position can take, stacked on a leading axis: shape ``(k, ...)``, integer.
    logdensity
        Log density of an integer position of shape ``values.shape[1:]``; may be bound later.

    Notes
    -----
    Claim: exact and reversible, as an independent draw from the law itself. A step evaluates the density ``k`` times.
    As a Gibbs step it needs the joint density only: the conditional of a block is the joint with the rest held fixed.

    References
    ----------
    S. Geman and D. Geman, IEEE PAMI 6 (1984), doi:10.1109/TPAMI.1984.4767596.
    """

    values: Int[Array, "k ..."]
    logdensity: Partial | None

    def __init__(self, values: Numbers, logdensity: LogDensity | None = None) -> None:
        self.values = _checked_values(values)
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact, reversible."""
        return Claim(
            Exactness.EXACT,
            "draws the position from its law on the listed values",
            source="Geman and Geman 1984, doi:10.1109/TPAMI.1984.4767596",
            reversible=True,
            spaces=frozenset({Space.FINITE}),
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Start at an integer position of shape ``values.shape[1:]`` that is among the values.

        Raises
        ------
        TypeError
            If the position is not an integer array.
        ValueError
            If it has another shape, is not among the values, or has probability zero.
        """
        del key
        position = integer_position(position, "HeatBath")
        if not isinstance(position, jax.Array) or position.shape != self.values.shape[1:]:
            raise ValueError(
                f"HeatBath needs a position of shape {self.values.shape[1:]}, as its values have; got "
                f"{jax.tree.map(jnp.shape, position)}"
            )
        if is_concrete((position, self.values)):
            listed = np.asarray(self.values).reshape(self.values.shape[0], -1)
            if not np.any(np.all(listed == np.asarray(position).reshape(1, -1), axis=1)):
                raise ValueError(f"HeatBath starts from one of its values; {np.asarray(position)} is not among them")
        position = position.astype(self.values.dtype)
        return DensityState(position, start_density(self._target(), position, "HeatBath"))

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, HeatBathInfo]:
        """Draw a new value; the old one is forgotten."""
        del state
        target = self._target()
        logits, invalid = jax.vmap(lambda value: evaluate(target, value))(self.values)
        which = random.categorical(key, logits)
        info = HeatBathInfo(jnp.asarray(self.values.shape[0], jnp.int32), jnp.sum(invalid, dtype=jnp.int32))
        return DensityState(self.values[which], logits[which]), info

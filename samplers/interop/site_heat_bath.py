"""Exact draws of discrete sites of a model from their conditional law, many elements at once."""

import math
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.gibbs.conditional_draw import PositionState
from ergodica.samplers.gibbs.heat_bath import HeatBathInfo
from ergodica.samplers.interop.local_density import local_sums, with_entries
from ergodica.samplers.kernel import Kernel, replace

__all__ = ["SiteHeatBath", "refuse_bind"]

Owners = dict[str, Int[Array, "classes entries"] | None]


class SiteHeatBath(Kernel[PositionState, HeatBathInfo]):
    """Redraw every element of a discrete block of a model from its law given all else; exact.

    Made by :class:`~ergodica.samplers.interop.numpyro_gibbs.Gibbs` for ``"exact"``.

    Parameters
    ----------
    values
        All values that an element can take: for each site an array with the values on its leading axis.
    batch
        Shape of the elements.
    of
        The class of each element; the elements of a class are independent given the rest. ``None`` where each is to be
        redrawn by itself.
    owners
        For each term and class, the element that each entry of the term belongs to; ``None`` for terms that lie over
        the elements.
    terms
        From a position to the terms of the density that depend on the block.

    Notes
    -----
    A step evaluates the terms once for each value and class; without classes, once for each value and element. Claim:
    exact; reversible where there is one class, as an independent draw given the rest, and else a systematic scan.

    References
    ----------
    S. Geman and D. Geman, IEEE PAMI 6 (1984), doi:10.1109/TPAMI.1984.4767596. Updates by classes: J. Gonzalez, Y. Low,
    A. Gretton and C. Guestrin, Parallel Gibbs sampling, AISTATS 2011.
    """

    values: dict[str, Int[Array, "k ..."]]
    of: Int[Array, " elements"] | None
    owners: Owners
    terms: Partial | None
    batch: tuple[int, ...] = eqx.field(static=True)
    classes: int = eqx.field(static=True)

    @property
    def claim(self) -> Claim:
        """Exact; reversible if all elements are redrawn at once."""
        names = ", ".join(self.values)
        return Claim(
            Exactness.EXACT,
            f"redraws the elements of {names} from their conditional laws",
            source="Geman and Geman 1984, doi:10.1109/TPAMI.1984.4767596",
            reversible=self.classes == 1,
            spaces=frozenset({Space.FINITE}),
        )

    @property
    def takes_logdensity(self) -> bool:
        """True: the terms are the target."""
        return True

    def bind(self, logdensity: Any) -> NoReturn:
        """Refuse a log density as a whole."""
        del logdensity
        refuse_bind(self)

    def unbound(self) -> "SiteHeatBath":
        """Return the kernel without the terms."""
        return replace(self, terms=None)

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> PositionState:
        """Start at a position of the model."""
        del key
        return PositionState(jax.tree.map(jnp.asarray, position))

    def refresh(self, state: PositionState) -> PositionState:
        """Return the state, which caches nothing."""
        return state

    def step(self, key: PRNGKeyArray, state: PositionState) -> tuple[PositionState, HeatBathInfo]:
        """Redraw all elements."""
        if self.of is None:
            return self._one_by_one(key, state.position)
        if self.classes == 1:
            owners = {name: None if owner is None else owner[0] for name, owner in self.owners.items()}
            logits, invalid = self._logits(state.position, owners)
            new = self._put(state.position, random.categorical(key, logits, axis=0))
            return PositionState(new), self._info(1, invalid)

        def redraw(position: PyTree, item: Any) -> tuple[PyTree, Int[Array, ""]]:
            number, owners = item
            moves = self.of == number
            logits, invalid = self._logits(position, owners, moves)
            # A sure draw for the others: their logits mean nothing.
            sure = jnp.where(jnp.arange(logits.shape[0])[:, None] == 0, 0.0, -jnp.inf)
            drawn = random.categorical(random.fold_in(key, number), jnp.where(moves, logits, sure), axis=0)
            return self._put(position, drawn, moves), jnp.sum(jnp.where(moves, invalid, 0))

        position, invalid = lax.scan(redraw, state.position, (jnp.arange(self.classes), self.owners))
        return PositionState(position), self._info(self.classes, invalid)

    def _evaluated(self, position: PyTree) -> dict[str, Array]:
        if self.terms is None:
            raise ValueError("this SiteHeatBath has no terms; make it with Gibbs({...}).for_model(model, ...)")
        terms: dict[str, Array] = self.terms(position)
        return terms

    def _logits(
        self, position: PyTree, owners: dict[str, Any], moves: Bool[Array, " elements"] | None = None
    ) -> tuple[Float[Array, "k elements"], Int[Array, " elements"]]:
        """Return the log probabilities of the elements' values, up to constants, all else being as it is."""

        def one(number: Int[Array, ""]) -> Float[Array, " elements"]:
            filled = self._put(position, jnp.broadcast_to(number, (count,)), moves)
            return local_sums(self._evaluated(filled), owners, self.batch)

        count, total = math.prod(self.batch), jax.tree.leaves(self.values)[0].shape[0]
        logits = jax.vmap(one)(jnp.arange(total))
        bad = jnp.isnan(logits) | jnp.isposinf(logits)
        return jnp.where(bad, -jnp.inf, logits), jnp.sum(bad, axis=0, dtype=jnp.int32)

    def _put(
        self, position: PyTree, drawn: Int[Array, " elements"], moves: Bool[Array, " elements"] | None = None
    ) -> Any:
        new = {}
        for name, values in self.values.items():
            old = position[name]
            part = values[drawn]
            if moves is not None:
                flat = old.reshape(part.shape)
                part = jnp.where(moves.reshape(-1, *(1,) * (part.ndim - 1)), part, flat)
            new[name] = part.reshape(old.shape).astype(old.dtype)
        return {**position, **new}

    def _one_by_one(self, key: PRNGKeyArray, position: PyTree) -> tuple[PositionState, HeatBathInfo]:
        count, lead = math.prod(self.batch), len(self.batch)

        def redraw(position: PyTree, index: Int[Array, ""]) -> tuple[PyTree, Int[Array, ""]]:
            where = index[None]

            def one(value: dict[str, Array]) -> Float[Array, ""]:
                filled = with_entries(position, lead, where, {name: part[None] for name, part in value.items()})
                return sum((jnp.sum(term) for term in self._evaluated(filled).values()), jnp.zeros(()))

            logits = jax.vmap(one)(self.values)
            bad = jnp.isnan(logits) | jnp.isposinf(logits)
            drawn = random.categorical(random.fold_in(key, index), jnp.where(bad, -jnp.inf, logits))
            new = with_entries(position, lead, where, {name: part[drawn][None] for name, part in self.values.items()})
            return new, jnp.sum(bad, dtype=jnp.int32)

        position, invalid = lax.scan(redraw, position, jnp.arange(count))
        return PositionState(position), self._info(count, invalid)

    def _info(self, sweeps: int, invalid: Int[Array, "..."]) -> HeatBathInfo:
        values = jax.tree.leaves(self.values)[0].shape[0]
        return HeatBathInfo(jnp.asarray(sweeps * values, jnp.int32), jnp.sum(invalid, dtype=jnp.int32))


def refuse_bind(kernel: Kernel[Any, Any]) -> NoReturn:
    """Raise the error of kernels that need a density term by term."""
    raise TypeError(
        f"{type(kernel).__name__} updates the elements of a site by the terms of its model, so that it cannot be given a "
        "log density as a whole; change the model, and make the kernel anew with Gibbs({...}).for_model(model, ...)"
    )

"""Densities of single elements of a block, from the terms of a model, evaluated for all elements at once."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

__all__ = ["Elements", "element_density", "entries_of", "local_sums", "with_entries"]


class Elements(NamedTuple):
    """The density of single elements of a block, given all others: what :func:`element_density` evaluates.

    Parameters
    ----------
    terms
        From a position to terms.
    owners
        For each term the element that each of its entries belongs to; ``None`` for terms that lie over the elements.
    lanes
        The elements that move, shape ``(lanes,)``.
    position
        The whole position.
    """

    terms: Partial
    owners: dict[str, Int[Array, " entries"] | None]
    lanes: Int[Array, " lanes"]
    position: PyTree


def local_sums(
    terms: dict[str, Array], owners: dict[str, Int[Array, " entries"] | None], batch: tuple[int, ...]
) -> Float[Array, " elements"]:
    """Return for each element the sum of the entries that belong to it."""
    count = math.prod(batch)
    total = jnp.zeros((), jnp.result_type(float))
    for name, term in terms.items():
        owner = owners.get(name)
        if owner is None:
            lead = term.ndim - len(batch)
            single = tuple(lead + axis for axis, size in enumerate(batch) if size == 1)
            part = jnp.sum(term, axis=(*range(lead), *single)).reshape(count)
        else:
            # One bucket more, for entries that belong to no element.
            part = jax.ops.segment_sum(term.reshape(-1), owner, count + 1)[:count]
        total = total + part
    return total


def entries_of(position: PyTree, names: tuple[str, ...], lead: int, index: Int[Array, " lanes"]) -> dict[str, Array]:
    """Return elements of a block, stacked; ``lead`` axes of its sites count the elements."""
    return {name: position[name].reshape(-1, *position[name].shape[lead:])[index] for name in names}


def with_entries(position: PyTree, lead: int, index: Int[Array, " lanes"], entries: dict[str, Array]) -> PyTree:
    """Put elements of a block into a position."""
    new = {}
    for name, part in entries.items():
        old = position[name]
        flat = old.reshape(-1, *old.shape[lead:]).at[index].set(part.astype(old.dtype))
        new[name] = flat.reshape(old.shape)
    return {**position, **new}


@functools.cache
def element_density(batch: tuple[int, ...]) -> Any:
    """Return ``density(part, lane, elements)``, the log density of one element at ``part``.

    Under ``vmap`` over lanes, each with an element of its own, the terms of the model are evaluated once for all of them:
    the elements that move together are independent given the others.
    """
    lead = len(batch)

    def together(parts: dict[str, Array], elements: Elements) -> Float[Array, " lanes"]:
        position = with_entries(elements.position, lead, elements.lanes, parts)
        return local_sums(elements.terms(position), elements.owners, batch)[elements.lanes]

    def alone(part: dict[str, Array], lane: Int[Array, ""], elements: Elements) -> Float[Array, ""]:
        parts = entries_of(elements.position, tuple(part), lead, elements.lanes)
        parts = {name: parts[name].at[lane].set(value) for name, value in part.items()}
        return together(parts, elements)[lane]

    def slopes(parts: dict[str, Array], elements: Elements) -> dict[str, Array]:
        # An element's density does not depend on its companions, so the gradient of the sum holds all gradients.
        return jax.grad(lambda at: jnp.sum(together(at, elements)))(parts)  # type: ignore[no-any-return]

    value = custom_vmap(alone)
    slope = custom_vmap(lambda part, lane, elements: jax.grad(alone)(part, lane, elements))
    _over_lanes(value, together)
    _over_lanes(slope, slopes)

    @jax.custom_jvp
    def density(part: dict[str, Array], lane: Int[Array, ""], elements: Elements) -> Float[Array, ""]:
        return value(part, lane, elements)  # type: ignore[no-any-return]

    @density.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        gradient = slope(*primals)
        rate = sum(jnp.vdot(gradient[name], tangents[0][name]) for name in gradient)
        return density(*primals), rate

    return density


def _over_lanes(single: Any, all_lanes: Any) -> None:
    """Let ``single``, batched over lanes, call ``all_lanes``."""

    @single.def_vmap  # type: ignore[untyped-decorator]
    def _(size: int, batched: Any, part: Any, lane: Any, elements: Elements) -> Any:
        in_part, in_lane, in_elements = batched
        # What does not differ between lanes may have been broadcast on the way.
        elements = jax.tree.map(lambda leaf, is_batched: leaf[0] if is_batched else leaf, elements, in_elements)
        part = jax.tree.map(
            lambda leaf, is_batched: leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape)), part, in_part
        )
        # Without lanes these are several points of one element, from a kernel that proposes many.
        several = jax.lax.map(lambda at: single(at, lane, elements), part) if not in_lane else None
        out = all_lanes(part, elements) if in_lane else several
        return out, jax.tree.map(lambda _: True, out)

"""How the chains of a run are laid over a machine: side by side, one after another, or over the devices."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["CHAIN_METHODS", "ChainMethod", "device_mesh", "over_chains", "replicated", "sharded"]

ChainMethod = Literal["vectorized", "sequential", "parallel"]
CHAIN_METHODS: tuple[str, ...] = get_args(ChainMethod)

_AXIS = "chains"
CHAINS, CHAINS_SECOND, EVERYWHERE = PartitionSpec(_AXIS), PartitionSpec(None, _AXIS), PartitionSpec()


def device_mesh(chains: int) -> Mesh:
    """Return the devices of this process that a number of chains can use."""
    devices = jax.local_devices()
    return Mesh(np.array(devices[:chains]), (_AXIS,))


def sharded(function: Callable[..., Any], out_specs: Any, shared: Any, *stacked: Any) -> Any:
    """Call ``function(shared, *stacked)`` on every device for its part of the chains.

    Parameters
    ----------
    function
        Takes what all chains share, and pytrees whose leaves have a leading axis of chains, of any length.
    out_specs
        On which axis the results have the chains: ``CHAINS`` or ``CHAINS_SECOND``, as a pytree.
    shared, *stacked
        The arguments.

    Notes
    -----
    Every device runs a loop of its own: were the whole program partitioned instead, the devices would have to agree on
    the end of each loop inside a step, turn by turn. Where the devices do not divide the chains, the last chain is run
    more than once.
    """
    chains = jax.tree.leaves(stacked)[0].shape[0]
    mesh = device_mesh(chains)
    length = -(-chains // mesh.size) * mesh.size
    numbers = jnp.minimum(jnp.arange(length), chains - 1)
    padded = stacked if length == chains else jax.tree.map(lambda leaf: leaf[numbers], stacked)
    specs = (EVERYWHERE, *(CHAINS for _ in padded))
    out = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out_specs, check_vma=False)(shared, *padded)
    if length == chains:
        return out

    def cut(spec: PartitionSpec, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[:chains] if spec == CHAINS else leaf[:, :chains], tree)

    return jax.tree.map(cut, out_specs, out, is_leaf=lambda part: isinstance(part, PartitionSpec))


def over_chains(function: Callable[..., Any], method: ChainMethod, shared: Any, *stacked: Any) -> Any:
    """Return ``function(shared, *one)`` for each chain, stacked, and the same on all devices."""

    def together(shared: Any, *stacked: Any) -> Any:
        return jax.vmap(lambda *one: function(shared, *one))(*stacked)

    if method == "sequential":
        return lax.map(lambda one: function(shared, *one), stacked)
    if method == "parallel":
        return replicated(sharded(together, CHAINS, shared, *stacked))
    return together(shared, *stacked)


def replicated(tree: Any) -> Any:
    """Put the whole of a sharded pytree on each device, where what all chains are needed for is computed as on one."""
    mesh = device_mesh(jax.tree.leaves(tree)[0].shape[0])
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, EVERYWHERE))

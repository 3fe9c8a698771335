"""The base chain of a walk on a graph: a reversible chain with a known stationary law."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ergodica.samplers.graph import as_graph
from ergodica.samplers.inputs import Numbers

__all__ = ["BaseChain"]


class BaseChain(eqx.Module):
    """A reversible chain on a graph, in compressed rows.

    Build it with :meth:`metropolis_hastings` or :meth:`from_matrix`.

    Parameters
    ----------
    offsets, targets, probabilities
        The transitions from node ``i`` are ``targets[e]`` with ``probabilities[e]`` for ``e`` from ``offsets[i]`` to
        ``offsets[i + 1]``; self-loops are among them where they are possible.
    mu
        Its stationary law, shape ``(n,)``.
    """

    offsets: Int[Array, " n_plus_1"]
    targets: Int[Array, " entries"]
    probabilities: Float[Array, " entries"]
    mu: Float[Array, " n"]

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.mu.shape[0]

    @classmethod
    def metropolis_hastings(cls, graph: Any, mu: Numbers | None = None) -> "BaseChain":
        """Propose a uniform neighbour, and accept by Metropolis-Hastings.

        Parameters
        ----------
        graph
            Anything that :func:`ergodica.samplers.graph.as_graph` takes; connected.
        mu
            Positive weights of the nodes, up to a factor. Default: uniform.

        Raises
        ------
        ValueError
            If the graph is not connected, or a weight is not positive.
        """
        structure = as_graph(graph)
        size = structure.num_nodes
        isolated = np.flatnonzero(structure.degrees == 0)
        if len(isolated):
            raise ValueError(f"node {isolated[0]} has no neighbours, so the walk can never reach it; drop it")
        _check_connected(structure.components())
        law = _weights(np.ones(size) if mu is None else mu, size)
        sources = np.repeat(np.arange(size), structure.degrees)
        level = law / structure.degrees
        accepted = np.minimum(1.0, level[structure.neighbours] / level[sources]) / structure.degrees[sources]
        loop = np.maximum(1.0 - np.bincount(sources, accepted, size), 0.0)
        # Rounding leaves loops of 1e-16 where every proposal is accepted.
        loop = np.where(loop > 1e-12, loop, 0.0)
        return cls._from_triplets(
            np.concatenate([sources, np.arange(size)]),
            np.concatenate([structure.neighbours, np.arange(size)]),
            np.concatenate([accepted, loop]),
            law,
        )

    @classmethod
    def from_matrix(cls, matrix: Any, mu: Numbers) -> "BaseChain":
        """Take a transition matrix that is reversible with respect to ``mu``.

        Parameters
        ----------
        matrix
            SciPy sparse array or dense array, shape ``(n, n)``, rows summing to one.
        mu
            Positive weights, up to a factor.

        Raises
        ------
        ValueError
            If the rows are no probabilities, detailed balance fails, or the chain falls apart.
        """
        import scipy.sparse

        coo = scipy.sparse.coo_array(matrix) if not hasattr(matrix, "tocoo") else matrix.tocoo()
        if coo.ndim != 2 or coo.shape[0] != coo.shape[1]:
            raise ValueError(f"a transition matrix is square; got shape {coo.shape}")
        size = int(coo.shape[0])
        law = _weights(mu, size)
        csr = coo.astype(np.float64).tocsr()
        csr.eliminate_zeros()
        sums = np.asarray(csr.sum(axis=1)).reshape(-1)
        worst = int(np.argmax(np.abs(sums - 1)))
        if csr.data.min(initial=0.0) < 0 or not np.all(np.abs(sums - 1) <= 1e-9):
            raise ValueError(
                f"the rows of a transition matrix are probabilities; row {worst} sums to {sums[worst]:.12g}, and the "
                f"smallest entry is {csr.data.min(initial=0.0):.6g}"
            )
        flows = scipy.sparse.diags_array(law) @ csr
        imbalance = abs(flows - flows.T).tocoo()
        if imbalance.data.max(initial=0.0) > 1e-9:
            where = int(np.argmax(imbalance.data))
            i, j = int(imbalance.row[where]), int(imbalance.col[where])
            raise ValueError(
                f"the self-repellent walk needs a reversible base chain; here the flow from {i} to {j} differs from "
                f"the flow back by {imbalance.data[where]:.3g}. Check that mu is its stationary law, or make the chain "
                "reversible: (P + D^-1 P^T D) / 2 with D = diag(mu)."
            )
        import scipy.sparse.csgraph

        _check_connected(scipy.sparse.csgraph.connected_components(csr, directed=False)[1])
        entries = csr.tocoo()
        return cls._from_triplets(entries.row, entries.col, entries.data, law)

    @classmethod
    def _from_triplets(
        cls, sources: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, law: np.ndarray
    ) -> "BaseChain":
        keep = probabilities > 0
        sources, targets, probabilities = sources[keep], targets[keep], probabilities[keep]
        order = np.lexsort((targets, sources))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=len(law)))])
        return cls(
            jnp.asarray(offsets, jnp.int32),
            jnp.asarray(targets[order], jnp.int32),
            jnp.asarray(probabilities[order], float),
            jnp.asarray(law, float),
        )

    def row(self, node: Int[Array, ""]) -> Float[Array, " n"]:
        """Return the transition probabilities from a node to all nodes."""
        entries = jnp.arange(self.targets.shape[0])
        own = (entries >= self.offsets[node]) & (entries < self.offsets[node + 1])
        return jnp.zeros_like(self.mu).at[self.targets].add(jnp.where(own, self.probabilities, 0.0))


def _weights(mu: Numbers, size: int) -> np.ndarray:
    law = np.asarray(mu, np.float64)
    if law.shape != (size,):
        raise ValueError(f"mu has to have one weight for each of {size} nodes; got shape {law.shape}")
    if not np.all(np.isfinite(law)) or not np.all(law > 0):
        worst = int(np.argmin(np.where(np.isfinite(law), law, -np.inf)))
        raise ValueError(f"mu has to be positive and finite everywhere; node {worst} has {law[worst]}")
    return np.asarray(law / law.sum())


def _check_connected(component: np.ndarray) -> None:
    if component.max() > 0:
        other = int(np.argmax(component != component[0]))
        raise ValueError(
            f"the graph has {component.max() + 1} components: no path leads from node 0 to node {other}, so the walk "
            "cannot visit all nodes. Walk on one component."
        )

"""Markov blankets of the sites of a NumPyro model, and which of a site's elements can be updated at once.

The terms of the log density, one for each site, are followed back to the sites that they depend on: an update of a block
needs the terms that depend on it, and no others. Within a block, elements that share no entry of a term are independent
given the rest. They are found from the program itself, not from its plates: a term that couples the elements of a plate
is seen, and elements of different plates that are tied by an index, such as groups and their observations, are matched.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from ergodica.samplers.interop.element_influence import EVERYTHING, Influence, element_influence
from ergodica.samplers.interop.input_influence import input_influence
from ergodica.samplers.interop.site_terms import ModelTerms, log_det_name, model_terms

__all__ = ["Classes", "ModelGraph", "independent_classes", "model_graph"]

MOST_CLASSES = 16


@dataclasses.dataclass(frozen=True, eq=False)
class ModelGraph:
    """Which terms of a model's log density depend on which sites; made by :func:`model_graph`.

    Parameters
    ----------
    terms
        The model, taken apart.
    depends
        For each term, the sites that it depends on. Terms have the names of their sites, latent and observed; a change
        of variables adds one.
    """

    terms: ModelTerms
    depends: dict[str, frozenset[str]]

    def touched(self, *sites: str) -> tuple[str, ...]:
        """Return the terms that depend on any of these sites: all that an update of them has to evaluate."""
        self._check(sites)
        return tuple(name for name, on in self.depends.items() if on.intersection(sites))

    def blanket(self, *sites: str) -> frozenset[str]:
        """Return the other latent sites in those terms: given them, these sites are independent of all else."""
        union = frozenset().union(*(self.depends[name] for name in self.touched(*sites)))
        return union - frozenset(sites)

    def children(self, site: str) -> frozenset[str]:
        """Return the sites whose distribution depends on this one, observed ones among them."""
        own = {site, log_det_name(site)}
        return frozenset(name for name in self.touched(site) if name not in own)

    def parents(self, site: str) -> frozenset[str]:
        """Return the latent sites that the distribution of this one depends on."""
        self._check((site,))
        return self.depends[site] - {site}

    def _check(self, sites: Sequence[str]) -> None:
        for site in sites:
            if site not in self.terms.sites:
                raise ValueError(f"the model has no latent site {site!r}; it has {', '.join(self.terms.sites)}")


def graph_of(terms: ModelTerms) -> ModelGraph:
    """Return the graph of a model that has been taken apart."""
    labels = [frozenset({name}) for name in sorted(terms.prototype)]
    found = input_influence(terms.program.jaxpr, labels)
    return ModelGraph(terms, dict(zip(terms.names, found, strict=True)))


def model_graph(model: Callable[..., Any], *args: Any, **kwargs: Any) -> ModelGraph:
    """Return which terms of a model's log density depend on which sites.

    Parameters
    ----------
    model
        A NumPyro model.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    ModelGraph

    Examples
    --------
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from ergodica.samplers.interop.markov_blanket import model_graph
    >>> def model(y):
    ...     mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    ...     scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    ...     middle = numpyro.sample("middle", dist.Normal(mean, scale))
    ...     numpyro.sample("y", dist.Normal(middle, 1.0), obs=y)
    >>> graph = model_graph(model, 0.3)
    >>> graph.touched("mean")
    ('mean', 'middle')
    >>> sorted(graph.blanket("mean"))
    ['middle', 'scale']
    """
    return graph_of(model_terms(model, *args, **kwargs))


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """A partition of a block's elements into classes, whose elements are independent given all others.

    Parameters
    ----------
    of
        The class of each element, shape ``(elements,)``.
    owners
        For each term the element of the class that each of its entries depends on, shape ``(classes, entries)``, with
        the number of elements where there is none. Or ``None`` for a term that lies over the elements as NumPy
        broadcasts, so that sums along axes do; only where there is one class.
    """

    of: np.ndarray
    owners: dict[str, np.ndarray | None]

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.of.max(initial=0)) + 1


def independent_classes(graph: ModelGraph, sites: tuple[str, ...]) -> Classes | None:
    """Return a partition of the elements of a block into classes that can be updated at once.

    Parameters
    ----------
    graph
        The graph of the model.
    sites
        The block; its sites have one batch shape, and their entries at one place make an element.

    Returns
    -------
    Classes or None
        ``None`` if too many elements are tied to each other, or it is not known which are.
    """
    terms = graph.terms
    batch = terms.sites[sites[0]].batch_shape
    count = int(np.prod(batch, dtype=np.int64))
    touched = graph.touched(*sites)
    elements: list[np.ndarray | None] = []
    for name in sorted(terms.prototype):
        if name not in sites:
            elements.append(None)
            continue
        shape = terms.sites[name].shape
        numbers = np.arange(count).reshape(batch + (1,) * (len(shape) - len(batch)))
        elements.append(np.broadcast_to(numbers, shape))
    outputs = [terms.names.index(name) for name in touched]
    influences = dict(zip(touched, element_influence(terms.program, elements, count, outputs), strict=True))
    if any(influence is EVERYTHING for influence in influences.values()):
        return Classes(np.zeros(1, int), dict.fromkeys(touched)) if count == 1 else None
    of = _coloured(list(influences.values()), count)
    if of is None:
        return None
    shapes = {name: terms.program.out_avals[index].shape for name, index in zip(touched, outputs, strict=True)}
    classes = int(of.max(initial=0)) + 1
    owners: dict[str, np.ndarray | None] = {}
    for name, influence in influences.items():
        owned = _owners(influence, of, classes, count, int(np.prod(shapes[name], dtype=np.int64)))
        owners[name] = None if classes == 1 and _lies_over(owned[0], shapes[name], batch) else owned
    return Classes(of, owners)


def _coloured(influences: Sequence[Influence], count: int) -> np.ndarray | None:
    """Give elements that meet in an entry different classes, as few as a greedy pass finds."""
    ties: Any = scipy.sparse.csr_matrix(np.zeros((1, 1), np.int32))
    ties.resize((count, count))
    for influence in influences:
        if influence is None:
            continue
        sizes = np.diff(influence.indptr)
        if sizes.max(initial=0) > MOST_CLASSES:
            return None
        tied = influence[np.flatnonzero(sizes > 1)]
        if tied.shape[0]:
            ties = ties + tied.T @ tied
    if ties.nnz == 0:
        return np.zeros(count, int)
    of = np.full(count, -1)
    for element in range(count):
        near = of[ties.indices[ties.indptr[element] : ties.indptr[element + 1]]]
        free = np.setdiff1d(np.arange(MOST_CLASSES), near)
        if not free.size:
            return None
        of[element] = free[0]
    return of


def _owners(influence: Influence, of: np.ndarray, classes: int, count: int, entries: int) -> np.ndarray:
    owners = np.full((classes, entries), count)
    if influence is not None:
        pairs = influence.tocoo()
        owners[of[pairs.col], pairs.row] = pairs.col
    return owners


def _lies_over(owners: np.ndarray, shape: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    """Whether sums along axes give each element its part of a term of this shape."""
    if len(shape) < len(batch):
        return False
    count = int(np.prod(batch, dtype=np.int64))
    if any(size not in (1, full) for size, full in zip(batch, shape[len(shape) - len(batch) :], strict=True)):
        return False
    return bool(np.array_equal(owners, np.broadcast_to(np.arange(count).reshape(batch), shape).ravel()))

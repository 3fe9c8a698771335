"""Gibbs samplers made from a NumPyro model: blocks of sites, each with a kernel, on the terms that it touches."""

import dataclasses
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers.block import Block
from ergodica.samplers.claim import Space
from ergodica.samplers.compose import Cycle, Mixture, On, cycle, mixture, on
from ergodica.samplers.gibbs.conditional_draw import ConditionalDraw
from ergodica.samplers.held import Held
from ergodica.samplers.interop.hamiltonian_block import HamiltonianBlock
from ergodica.samplers.interop.markov_blanket import Classes, ModelGraph, graph_of, independent_classes
from ergodica.samplers.interop.over_plate import OverPlate
from ergodica.samplers.interop.site_heat_bath import SiteHeatBath
from ergodica.samplers.interop.site_terms import model_terms
from ergodica.samplers.kernel import Kernel, replace

__all__ = ["Gibbs", "ModelGibbs"]

AnyKernel = Kernel[Any, Any]
Scan = Literal["systematic", "permutation", "random"]
EXACT = "exact"


@dataclasses.dataclass(frozen=True, eq=False)
class ModelGibbs:
    """A Gibbs sampler of a model with its data; made by :meth:`Gibbs.for_model`.

    Parameters
    ----------
    kernel
        The kernel, on positions that are dictionaries by site: unconstrained values of continuous sites, values of
        discrete ones.
    start
        From a key to a position of positive density.
    constrain
        From a position to the values of the model, its ``deterministic`` sites included.
    graph
        Which terms of the density depend on which sites.
    blocks
        The sites of each block, in the order of ``kernel.parts``.
    """

    kernel: Cycle | Mixture
    start: Callable[[PRNGKeyArray], PyTree]
    constrain: Callable[[PyTree], PyTree]
    graph: ModelGraph
    blocks: tuple[tuple[str, ...], ...]

    def stripped(self) -> Any:
        """Return the kernel without what the model's arguments determine: parameters only, fit for a scan's carry."""
        return replace(self.kernel, parts=tuple(_stripped(part) for part in self.kernel.parts))

    def placed(self, stripped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a stripped kernel with the target that other arguments of the model, of the same shapes, determine."""
        held = self.graph.terms.with_arguments(args, kwargs)
        parts = zip(stripped.parts, self.kernel.parts, strict=True)
        return replace(stripped, parts=tuple(_placed(part, whole, held) for part, whole in parts))


def _target(part: Any) -> Any:
    if isinstance(part, ConditionalDraw):
        return part.draw
    target: Any = part.logdensity if isinstance(part, On) else part.terms
    return target


def _stripped(part: Any) -> Any:
    return replace(part, draw=Partial(_no_model)) if isinstance(part, ConditionalDraw) else part.unbound()


def _placed(part: Any, whole: Any, held: Held) -> Any:
    target = Partial(_target(whole).func, held)
    if isinstance(part, ConditionalDraw):
        return replace(part, draw=target)
    return part.bind(target) if isinstance(part, On) else replace(part, terms=target)


def _no_model(key: PRNGKeyArray, position: PyTree) -> PyTree:
    del key, position
    raise RuntimeError("this draw has been taken from its model")


@dataclasses.dataclass(frozen=True)
class _Get:
    """Reads sites of a position. Compared by value, so that the same blocks of new data compile nothing."""

    names: tuple[str, ...]
    single: bool

    def __call__(self, position: PyTree) -> PyTree:
        return position[self.names[0]] if self.single else {name: position[name] for name in self.names}


@dataclasses.dataclass(frozen=True)
class _Put:
    """Puts new values of sites into a position."""

    names: tuple[str, ...]
    single: bool

    def __call__(self, position: PyTree, part: PyTree) -> PyTree:
        return {**position, **({self.names[0]: part} if self.single else part)}


class _Block(NamedTuple):
    names: tuple[str, ...]
    single: bool
    rule: Any


class Gibbs:
    """A Gibbs sampler for models: which kernel updates which sites. It needs a model to become a kernel.

    Parameters
    ----------
    blocks
        By block, how it is updated. A block is the name of a site, a tuple of names, or ``...`` for all sites that are
        not named. It is updated by

        - a kernel without a target, such as ``CoordinateSlice(1.0)``, which gets the block's conditional density. For a
          single name its position is the site's array, else a dictionary by site;
        - ``over_plate(kernel)``, which gives each element of a plate a kernel of its own, and moves all elements at once
          that are independent given the rest;
        - ``"exact"``, for discrete sites: every element is redrawn from its conditional law, all at once where they are
          independent, else in as few classes as they need;
        - ``blackjax.nuts``, whose step size and masses are learnt during warm-up;
        - a function ``draw(key, values)``, which returns a draw of the block from its conditional law, as the model
          has it, a dictionary if the block has several sites. ``values`` has the values of all latent and
          ``deterministic`` sites. It must not use the block's own; nothing checks that the law is the right one.

        Discrete sites that only ``...`` covers are redrawn exactly if its kernel is one for real numbers.
    scan
        ``"systematic"``: all blocks in the order given, at each step; ``"permutation"``: all, in a random order;
        ``"random"``: one, drawn uniformly.

    Raises
    ------
    TypeError, ValueError
        If a block or a rule is none, or a site is in two blocks. Names are compared with the model's sites by
        :meth:`for_model`.

    Notes
    -----
    An update of a block evaluates the terms of the log density that depend on it, and no others. Whether elements of a
    plate are independent is found from the model's program. The claim is that of a cycle: as weak as its weakest part,
    and reversible for random orders of reversible parts. Sites marked ``infer={"enumerate": "parallel"}`` are sampled
    like others, not summed out.

    References
    ----------
    S. Geman and D. Geman, IEEE PAMI 6 (1984), doi:10.1109/TPAMI.1984.4767596; A. E. Gelfand and A. F. M. Smith, JASA 85
    (1990), doi:10.1080/01621459.1990.10476213.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from ergodica.samplers.interop.numpyro_gibbs import Gibbs
    >>> from ergodica.samplers.sample import sample
    >>> from ergodica.samplers.slicing.coordinate import CoordinateSlice
    >>> def model(y):
    ...     with numpyro.plate("component", 2):
    ...         mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    ...     with numpyro.plate("row", len(y)):
    ...         z = numpyro.sample("z", dist.Bernoulli(0.5))
    ...         numpyro.sample("y", dist.Normal(mean[z], 1.0), obs=y)
    >>> gibbs = Gibbs({"z": "exact", "mean": CoordinateSlice()}).for_model(model, jnp.array([-2.0, -1.5, 3.0]))
    >>> draws = sample(gibbs.kernel, gibbs.start, draws=50, tune=50, progress=False).transform(gibbs.constrain)
    >>> draws.position["z"].shape
    (4, 50, 3)
    """

    def __init__(self, blocks: Mapping[Any, Any], *, scan: Scan = "systematic") -> None:
        if not isinstance(blocks, Mapping) or not blocks:
            raise TypeError(
                'Gibbs takes a dictionary from sites to kernels, such as {"z": "exact", ...: CoordinateSlice()}; got '
                f"{blocks!r}"
            )
        if scan not in ("systematic", "permutation", "random"):
            raise ValueError(f"scan has to be 'systematic', 'permutation' or 'random'; got {scan!r}")
        self.scan: Scan = scan
        self.rest: Any = None
        self.blocks: list[_Block | EllipsisType] = []
        seen: set[str] = set()
        for key, rule in blocks.items():
            if key is ...:
                self.rest = _rule(rule, "...")
                self.blocks.append(...)
                continue
            names = (key,) if isinstance(key, str) else key
            if not (isinstance(names, tuple) and names and all(isinstance(name, str) for name in names)):
                raise TypeError(f"a block is the name of a site, a tuple of names, or ...; got {key!r}")
            for name in names:
                if name in seen:
                    raise ValueError(f"the site {name} is in two blocks, or twice in one")
                seen.add(name)
            self.blocks.append(_Block(names, isinstance(key, str), _rule(rule, ", ".join(names))))

    def for_model(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> ModelGibbs:
        """Return the sampler of a model.

        Parameters
        ----------
        model
            A NumPyro model.
        *args, **kwargs
            Its arguments. Arrays may change from run to run without compiling again; all else is part of the program,
            and has to be hashable.

        Returns
        -------
        ModelGibbs

        Raises
        ------
        ValueError, TypeError
            If a block names a site that the model does not have or that is observed, a site has no block, or a rule
            does not suit a site.
        """
        terms = model_terms(model, *args, **kwargs)
        graph = graph_of(terms)
        blocks = self._resolved(graph)
        parts = tuple(_part(block, graph) for block in blocks)
        if self.scan == "random":
            kernel: Any = mixture(*parts)
        else:
            kernel = cycle(*parts, order="random" if self.scan == "permutation" else "systematic")
        return ModelGibbs(kernel, terms.start, terms.constrain, graph, tuple(block.names for block in blocks))

    def _resolved(self, graph: ModelGraph) -> list[_Block]:
        """Compare the blocks with the sites of a model."""
        sites = graph.terms.sites
        named = [name for block in self.blocks if isinstance(block, _Block) for name in block.names]
        for name in named:
            if name in sites:
                continue
            if name in graph.depends:
                raise ValueError(f"the site {name} is observed, so that there is nothing to update; leave it out")
            raise ValueError(f"the model has no latent site {name!r}; it has {', '.join(sites)}")
        left = [name for name in sites if name not in named]
        if left and self.rest is None:
            raise ValueError(
                f"no block updates {', '.join(left)}; name them, or give the remaining sites a kernel with "
                "{..., ...: kernel}, where the key is Python's Ellipsis"
            )
        blocks: list[_Block] = []
        for block in self.blocks:
            if isinstance(block, _Block):
                blocks.append(block)
                continue
            apart = [name for name in left if sites[name].discrete and not _moves_integers(self.rest)]
            blocks += [_Block((name,), True, EXACT) for name in apart]
            together = tuple(name for name in left if name not in apart)
            if together:
                blocks.append(_Block(together, False, self.rest))
        return blocks


def _rule(rule: Any, where: str) -> Any:
    """Check how a block is to be updated, as far as that is possible without a model."""
    if isinstance(rule, type) and issubclass(rule, Kernel):
        rule = rule()
    if isinstance(rule, Kernel):
        if rule.claim.population or rule.claim.weighted:
            what = "moves a population" if rule.claim.population else "gives weighted draws"
            raise ValueError(f"{where}: {type(rule).__name__} {what}, so that it cannot update a block")
        if not rule.takes_logdensity:
            raise ValueError(f"{where}: {type(rule).__name__} does not take its target as a log density")
        if getattr(rule, "logdensity", None) is not None:
            raise ValueError(f"{where}: {type(rule).__name__} has a target of its own; leave it out, or call unbound()")
        return rule
    known = isinstance(rule, str) and rule == EXACT
    algorithm = hasattr(rule, "init") and hasattr(rule, "build_kernel")
    if known or algorithm or (callable(rule) and not isinstance(rule, type)):
        return rule
    hint = " For NUTS pass blackjax.nuts." if "numpyro" in getattr(rule, "__module__", "") else ""
    raise TypeError(
        f'{where}: a block is updated by a kernel, over_plate(kernel), "exact", blackjax.nuts, or a function '
        f"(key, values) -> new values; got {rule!r}.{hint}"
    )


def _moves_integers(rule: Any) -> bool:
    if isinstance(rule, Kernel):
        return not rule.claim.spaces or Space.FINITE in rule.claim.spaces
    return not hasattr(rule, "build_kernel")


def _part(block: _Block, graph: ModelGraph) -> AnyKernel:
    """Make the kernel of a block."""
    terms, rule = graph.terms, block.rule
    if isinstance(rule, str):
        return _heat_bath(block, graph)
    _check_spaces(block, graph)
    touched = graph.touched(*block.names)
    selector = Block(_Get(block.names, block.single), _Put(block.names, block.single), ", ".join(block.names))
    if isinstance(rule, OverPlate):
        return _plate(block, graph)
    if isinstance(rule, Kernel):
        return on(selector, rule, terms.total(touched))
    if hasattr(rule, "build_kernel"):
        size = sum(int(np.prod(terms.prototype[name].shape)) for name in block.names)
        return on(selector, HamiltonianBlock(rule, jnp.ones(size)), terms.total(touched))
    several = Block(_Get(block.names, False), _Put(block.names, False), ", ".join(block.names))
    return ConditionalDraw(several, terms.redraw(block.names, rule))


def _check_spaces(block: _Block, graph: ModelGraph) -> None:
    rule, sites = block.rule, graph.terms.sites
    if not isinstance(rule, Kernel):
        if hasattr(rule, "build_kernel"):
            _refuse_discrete(block, graph, getattr(rule, "__name__", "the algorithm"))
        return
    kernel = rule.inner if isinstance(rule, OverPlate) else rule
    if not _moves_integers(kernel):
        _refuse_discrete(block, graph, type(kernel).__name__)
    spaces = kernel.claim.spaces
    real = [name for name in block.names if not sites[name].discrete]
    if real and spaces and Space.REAL not in spaces:
        raise ValueError(f"{type(kernel).__name__} moves integers, and {', '.join(real)} is continuous")


def _refuse_discrete(block: _Block, graph: ModelGraph, kernel: str) -> None:
    discrete = [name for name in block.names if graph.terms.sites[name].discrete]
    if discrete:
        raise ValueError(
            f"{', '.join(discrete)} is discrete, and {kernel} moves real numbers; update it with 'exact', a function, or "
            "a kernel for integers, in a block of its own"
        )


def _heat_bath(block: _Block, graph: ModelGraph) -> SiteHeatBath:
    sites = [graph.terms.sites[name] for name in block.names]
    for site in sites:
        if site.values is None:
            raise ValueError(
                f"{site.name} cannot be redrawn exactly by listing its values: {site.why_not}. Give it a function "
                "(key, values) -> new values, or a kernel"
            )
    batch = _common_batch(block, graph)
    supports = [np.asarray(site.values) for site in sites]
    lengths = [support.shape[0] for support in supports]
    places = np.unravel_index(np.arange(int(np.prod(lengths))), lengths)
    values = {
        site.name: jnp.asarray(support[place]) for site, support, place in zip(sites, supports, places, strict=True)
    }
    touched = graph.touched(*block.names)
    classes = independent_classes(graph, block.names)
    terms = graph.terms.terms(touched)
    if classes is None:
        return SiteHeatBath(values, None, {}, terms, batch, 0)
    return SiteHeatBath(values, jnp.asarray(classes.of), _owners(classes), terms, batch, classes.count)


def _owners(classes: Classes) -> dict[str, Any]:
    return {name: None if owner is None else jnp.asarray(owner, jnp.int32) for name, owner in classes.owners.items()}


def _common_batch(block: _Block, graph: ModelGraph) -> tuple[int, ...]:
    shapes = {name: graph.terms.sites[name].batch_shape for name in block.names}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"the elements of a block are updated together, so that its sites need one batch shape; got {shapes}. Make "
            "blocks of their own"
        )
    return shapes[block.names[0]]


def _plate(block: _Block, graph: ModelGraph) -> OverPlate:
    batch = _common_batch(block, graph)
    classes = independent_classes(graph, block.names)
    if classes is None:
        raise ValueError(
            f"the elements of {', '.join(block.names)} depend on each other given all else, or the model's program does "
            "not show which do not: a sum over all of them hides it, as to_event does. Put them in a plate, or give the "
            "block a kernel for all elements together, without over_plate"
        )
    owners = _owners(classes)
    element = tuple(
        (name, graph.terms.prototype[name].shape[len(batch) :], graph.terms.prototype[name].dtype)
        for name in block.names
    )
    numbers = range(classes.count)
    by_class = tuple(
        {name: None if owner is None else owner[number] for name, owner in owners.items()} for number in numbers
    )
    index = tuple(jnp.asarray(np.flatnonzero(classes.of == number), jnp.int32) for number in numbers)
    terms = graph.terms.terms(graph.touched(*block.names))
    return OverPlate(
        block.rule.inner, index, by_class, terms, names=block.names, batch=batch, element=element, single=block.single
    )

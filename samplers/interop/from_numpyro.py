"""NumPyro's kernels as kernels of this library."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree
from numpyro.infer import HMC, MCMC, NUTS, BarkerMH
from numpyro.infer.mcmc import MCMCKernel

from ergodica.samplers import inputs
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.held import Held, hold
from ergodica.samplers.interop.algorithm_info import AlgorithmInfo
from ergodica.samplers.kernel import Kernel

__all__ = ["FromNumPyro", "FromNumPyroState", "from_numpyro"]

EXACT = (HMC, NUTS, BarkerMH)
SOURCE = "Phan, Pradhan and Jankowiak 2019, NumPyro, arXiv:1912.11554"


class FromNumPyroState(NamedTuple):
    """A chain of NumPyro's.

    Parameters
    ----------
    position
        Unconstrained parameters.
    rest
        NumPyro's state without the position, without what warm-up has learnt, and without keys, which each step gets anew.
    """

    position: PyTree
    rest: Any


class FromNumPyro(Kernel[FromNumPyroState, Any]):
    """A kernel of NumPyro's; made by :func:`from_numpyro`.

    Parameters
    ----------
    algorithm
        NumPyro's kernel, initialized without warm-up.
    data
        Arguments of the model.
    like
        A state of its.
    claim
        What it promises.

    Attributes
    ----------
    adaptation
        What warm-up has learnt, such as step size and mass matrix: the same at each step.
    """

    data: Held
    adaptation: PyTree
    like: Held
    algorithm: MCMCKernel = eqx.field(static=True)
    stated: Claim = eqx.field(static=True)
    shapes: Any = eqx.field(static=True)

    def __init__(self, algorithm: MCMCKernel, data: Held, like: Any, claim: Claim) -> None:
        self.algorithm = algorithm
        self.data = data
        adaptation = getattr(like, "adapt_state", None)
        self.adaptation = None if adaptation is None else _with_keys(adaptation, None)
        self.like = hold(_without(like, algorithm.sample_field))
        self.stated = claim
        self.shapes = _shapes(getattr(like, algorithm.sample_field))

    @property
    def claim(self) -> Claim:
        """What was stated when it was made."""
        return self.stated

    @property
    def start(self) -> Callable[[PRNGKeyArray], PyTree]:
        """From a key to unconstrained parameters, as the kernel's own strategy draws them."""
        args, kwargs = self.data.get()
        return lambda key: getattr(
            copy.copy(self.algorithm).init(key, 0, None, args, kwargs), self.algorithm.sample_field
        )

    @property
    def constrain(self) -> Callable[[PyTree], PyTree]:
        """From unconstrained parameters to those of the model, its ``deterministic`` sites included."""
        args, kwargs = self.data.get()
        return self.algorithm.postprocess_fn(args, kwargs)  # type: ignore[no-any-return]

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> FromNumPyroState:
        """Start at unconstrained parameters of positive density."""
        del key
        position = jax.tree.map(jnp.asarray, position)
        if _shapes(position) != self.shapes:
            raise ValueError(f"a position has the structure and shapes {self.shapes}; got {_shapes(position)}")
        state = self.refresh(FromNumPyroState(position, _without(self.like.get(), self.algorithm.sample_field)))
        energy = getattr(state.rest, "potential_energy", None)
        if energy is not None and inputs.is_concrete(energy) and not jnp.isfinite(energy):
            raise ValueError(f"the log density at the start is {-float(energy)}; start where it is finite")
        return state

    def refresh(self, state: FromNumPyroState) -> FromNumPyroState:
        """Recompute the density and its gradient at the same position."""
        args, kwargs = self.data.get()
        try:
            whole = self.algorithm.refresh(self._whole(jax.random.key(0), state), args, kwargs)
        except NotImplementedError:  # kernels that do not know how begin anew
            whole = copy.copy(self.algorithm).init(jax.random.key(0), 0, state.position, args, kwargs)
        return FromNumPyroState(state.position, _without(whole, self.algorithm.sample_field))

    def step(self, key: PRNGKeyArray, state: FromNumPyroState) -> tuple[FromNumPyroState, AlgorithmInfo]:
        """Make a step of NumPyro's kernel."""
        args, kwargs = self.data.get()
        whole = self.algorithm.sample(self._whole(key, state), args, kwargs)
        field = self.algorithm.sample_field
        steps = getattr(whole, "num_steps", None)
        return FromNumPyroState(getattr(whole, field), _without(whole, field)), AlgorithmInfo(
            getattr(whole, "accept_prob", None),
            None,
            getattr(whole, "diverging", None),
            steps,
            getattr(whole, "energy", None),
            steps,
        )

    def _whole(self, key: PRNGKeyArray, state: FromNumPyroState) -> Any:
        whole = _with_keys(state.rest, key)._replace(**{self.algorithm.sample_field: state.position})
        if self.adaptation is None:
            return whole
        return whole._replace(
            adapt_state=_with_keys(self.adaptation, key)
        )  # its key serves adaptation, and is not used


def from_numpyro(
    kernel: MCMCKernel,
    *args: Any,
    num_warmup: int = 0,
    seed: int = 0,
    start: PyTree | None = None,
    claim: Claim | None = None,
    **kwargs: Any,
) -> FromNumPyro:
    """Return a kernel of NumPyro's as one of this library: it composes, is certified, and runs on both hosts.

    Parameters
    ----------
    kernel
        Such as ``NUTS(model)`` or ``HMC(potential_fn=...)``. It is copied.
    *args, **kwargs
        Arguments of its model.
    num_warmup
        Steps of NumPyro's own warm-up, of one chain, by which step size and mass matrix are found. They are parameters of
        the kernel from then on, and do not change any more. With 0 they are what NumPyro's kernel was given.
    seed
        Of the warm-up.
    start
        Unconstrained parameters at which the warm-up begins; needed for a kernel of a ``potential_fn``.
    claim
        What the kernel promises. Default: exact for HMC, NUTS and BarkerMH.

    Raises
    ------
    TypeError
        If it is not a kernel of NumPyro's, or one whose state is a population of chains.
    ValueError
        If there is no default claim, or no start.

    References
    ----------
    D. Phan, N. Pradhan and M. Jankowiak, Composable effects for flexible and accelerated probabilistic programming in
    NumPyro, 2019, arXiv:1912.11554.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from numpyro.infer import NUTS
    >>> from ergodica.samplers.interop.from_numpyro import from_numpyro
    >>> from ergodica.samplers.sample import sample
    >>> nuts = from_numpyro(NUTS(potential_fn=lambda x: 0.5 * jnp.sum(x**2)), start=jnp.ones(2), num_warmup=50)
    >>> sample(nuts, jnp.ones(2), draws=100, tune=0, progress=False).position.shape
    (4, 100, 2)
    """
    if not isinstance(kernel, MCMCKernel):
        what = kernel.__name__ if isinstance(kernel, type) else type(kernel).__name__
        hint = f"; write {what}(model)" if isinstance(kernel, type) else ""
        raise TypeError(f"expected a kernel of NumPyro's, such as NUTS(model); got {what}{hint}")
    name = type(kernel).__name__
    if kernel.is_ensemble_kernel:
        raise TypeError(
            f"{name} moves a population of chains, which from_numpyro does not take; run it by numpyro's MCMC"
        )
    if claim is None:
        if type(kernel) not in EXACT:
            raise ValueError(f"state what {name} promises, as in claim=Claim(Exactness.EXACT, ...): it has no default")
        statement = f"leaves the target invariant, as NumPyro has {name}"
        spaces = frozenset({Space.REAL})
        claim = Claim(Exactness.EXACT, statement, source=SOURCE, spaces=spaces, gradient=True)
    if getattr(kernel, "model", None) is None and start is None:
        raise ValueError(f"{name} has no model that would draw a start: give start=, unconstrained parameters")
    num_warmup = inputs.static_count("num_warmup", num_warmup, at_least=0)
    key = jax.random.key(seed)
    data = hold((args, kwargs))
    args, kwargs = data.get()
    if num_warmup:
        mcmc = MCMC(copy.copy(kernel), num_warmup=num_warmup, num_samples=1, progress_bar=False)
        mcmc.warmup(key, *args, init_params=start, **kwargs)
        warmed = mcmc.post_warmup_state
        start = getattr(warmed, kernel.sample_field)
    # The last initialization decides how long NumPyro's steps adapt: not at all.
    algorithm = copy.copy(kernel)
    like = algorithm.init(key, 0, start, args, kwargs)
    if num_warmup and hasattr(like, "adapt_state"):
        like = like._replace(adapt_state=warmed.adapt_state)
    return FromNumPyro(algorithm, data, like, claim)


def _shapes(position: PyTree) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(position)
    return structure, tuple(jnp.shape(leaf) for leaf in leaves)


def _without(state: Any, field: str) -> Any:
    """Return NumPyro's state without the position, what warm-up has learnt, and keys."""
    gone: dict[str, Any] = {field: None}
    if "adapt_state" in state._fields:
        gone["adapt_state"] = None
    return _with_keys(state._replace(**gone), None)


def _with_keys(state: Any, key: PRNGKeyArray | None) -> Any:
    """Return the state with other keys, those of its parts included; ``None`` for none."""
    changes: dict[str, Any] = {}
    for number, name in enumerate(state._fields):
        value = getattr(state, name)
        part = None if key is None else jax.random.fold_in(key, number)
        if name == "rng_key":
            changes[name] = part
        elif hasattr(value, "_fields") and "rng_key" in value._fields:
            changes[name] = _with_keys(value, part)
    return state._replace(**changes)

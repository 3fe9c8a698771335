"""Kernels of this library as kernels of ``numpyro.infer.MCMC``, and as blocks of ``numpyro.infer.Gibbs``."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from numpyro.distributions import biject_to
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import initialize_model, transform_fn
from numpyro.util import identity, is_prng_key

from ergodica.samplers import inputs
from ergodica.samplers.chunks import strong
from ergodica.samplers.claim import Space
from ergodica.samplers.interop.numpyro_gibbs import Gibbs, ModelGibbs
from ergodica.samplers.kernel import Kernel, zeros_of_info
from ergodica.samplers.tuning.choice import choose_tuner, made_tunable
from ergodica.samplers.tuning.tuner import Tuner

__all__ = ["NumPyroKernel", "NumPyroState"]

GIBBS_SITES = "_gibbs_sites"
"""The model argument by which NumPyro's Gibbs hands a block the values of the other blocks."""

# Steps count up from 0, so these never meet a step's number.
MODEL_KEY, INIT_KEY = 2**32 - 1, 2**32 - 2


class NumPyroState(NamedTuple):
    """State of a :class:`NumPyroKernel`; every entry can be collected by ``extra_fields``, by a dotted path.

    Parameters
    ----------
    z
        Unconstrained position.
    i
        Steps made so far.
    inner
        State of the kernel.
    info
        What the last step reported, such as ``info.acceptance_rate`` and ``info.num_evals``; zeros before the first.
    params
        The kernel without its target: its parameters as tuned so far, such as ``params.scale``.
    adaptation
        What the tuner carries; ``None`` without one.
    num_warmup
        When tuning ends.
    rng_key
        Key of the chain: step ``i`` is made with ``fold_in(rng_key, i)``, so a resumed run continues as an
        uninterrupted one would.
    """

    z: PyTree
    i: Int[Array, ""]
    inner: Any
    info: Any
    params: Any
    adaptation: Any
    num_warmup: Int[Array, ""]
    rng_key: PRNGKeyArray

    @property
    def potential_energy(self) -> Float[Array, ""]:
        """Minus the log density, where the kernel caches it."""
        return -self.inner.logdensity

    @property
    def accept_prob(self) -> Float[Array, ""]:
        """Acceptance rate of the last step, where the kernel reports one."""
        return self.info.acceptance_rate

    @property
    def num_steps(self) -> Int[Array, ""]:
        """Evaluations of the log density in the last step."""
        return self.info.num_evals

    @property
    def diverging(self) -> Array:
        """Whether the last step diverged; ``False`` for kernels that cannot."""
        return getattr(self.info, "diverging", jnp.zeros(jnp.shape(self.i), bool))


class NumPyroKernel(MCMCKernel):  # type: ignore[misc]
    """Run a kernel of this library under ``numpyro.infer.MCMC``.

    Parameters
    ----------
    kernel
        A kernel on real positions that takes its target as a log density; or a
        :class:`~ergodica.samplers.interop.numpyro_gibbs.Gibbs`, which takes discrete sites too and needs a model.
    model
        A NumPyro model.
    potential_fn
        Instead of a model: minus the log density of a position. With neither, the kernel's own target is sampled.
    tuner
        As in :func:`ergodica.samplers.sample.sample`: ``"auto"``, ``None`` or a tuner. It learns during warm-up, from
        each chain by itself.

    Raises
    ------
    TypeError, ValueError
        If the kernel cannot sample what NumPyro samples; the message says why.

    Notes
    -----
    All chain methods work. A kernel of populations needs ``chain_method="vectorized"``, where the chains are its
    walkers; or starts with a leading axis of walkers, and a potential function.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from numpyro.infer import MCMC
    >>> from ergodica.samplers.interop.numpyro import NumPyroKernel
    >>> from ergodica.samplers.metropolis.random_walk import RandomWalk
    >>> def model(y):
    ...     scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    ...     numpyro.sample("y", dist.Normal(0.0, scale), obs=y)
    >>> mcmc = MCMC(NumPyroKernel(RandomWalk(1.0), model), num_warmup=100, num_samples=100, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), jnp.array([0.3, -1.2]))
    >>> mcmc.get_samples()["scale"].shape
    (100,)
    """

    sample_field = "z"

    def __init__(
        self,
        kernel: Kernel[Any, Any] | Gibbs,
        model: Callable[..., Any] | None = None,
        potential_fn: Callable[[PyTree], Array] | None = None,
        tuner: Tuner | Literal["auto"] | None = "auto",
    ) -> None:
        _check(kernel, model, potential_fn, tuner)
        self._given = kernel
        self._model = model
        self._potential_fn = potential_fn
        self._tuner = tuner
        self._reset()

    def _reset(self) -> None:
        """Forget what `init` makes of the model."""
        self._gibbs: ModelGibbs | None = None
        self._make_potential: Callable[..., Any] | None = None
        self._postprocess: Callable[..., Any] | None = None
        self._transforms: dict[str, Any] | None = None
        self._dynamic_support = False
        # MCMC calls `init` again if it finds `None` here.
        self._sample_fn: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_given", "_model", "_potential_fn", "_tuner")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def kernel(self) -> Kernel[Any, Any] | Gibbs:
        """The kernel, with the parameters that it was given."""
        return self._given

    @property
    def _kernel(self) -> Any:
        """The kernel; that of a Gibbs sampler is known only once the model is."""
        if not isinstance(self._given, Gibbs):
            return self._given
        if self._gibbs is None:
            raise RuntimeError("this NumPyroKernel knows its model only after init; call it first")
        return self._gibbs.kernel

    @property
    def model(self) -> Callable[..., Any] | None:
        """The model; ArviZ reads it."""
        return self._model

    @property
    def is_ensemble_kernel(self) -> bool:
        """Whether the kernel moves a population."""
        # The blocks of a Gibbs sampler do not move populations.
        return not isinstance(self._given, Gibbs) and self._given.claim.population

    def get_diagnostics_str(self, state: NumPyroState) -> str:
        """Return what the progress bar shows."""
        words = [f"{float(np.mean(state.info.num_evals)):.4g} evaluations"]
        if hasattr(state.info, "acceptance_rate"):
            words.append(f"acc. prob={float(np.mean(state.info.acceptance_rate)):.2f}")
        return ", ".join(words)

    # --- the target ---------------------------------------------------------------------------------------------------

    def _bound(self, params: Any, args: Any, kwargs: Any) -> Any:
        """Give the kernel the target that these arguments of the model determine."""
        if isinstance(self._given, Gibbs):
            if self._gibbs is None:
                raise RuntimeError("this NumPyroKernel knows its model only after init; call it first")
            return self._gibbs.placed(params, args, kwargs or {})
        potential = self._potential_fn
        if self._model is not None:
            if self._make_potential is None:
                raise RuntimeError("this NumPyroKernel knows its model only after init; call it first")
            potential = self._make_potential(*args, **(kwargs or {}))
        if potential is None:
            return params
        return params.bind(partial(_minus, potential))

    def _read_model(self, key: PRNGKeyArray, init_params: PyTree | None, args: Any, kwargs: dict[str, Any]) -> PyTree:
        """Trace the model, and return unconstrained starts."""
        if isinstance(self._given, Gibbs):
            return self._read_gibbs(key, init_params, args, kwargs)
        info = initialize_model(
            key,
            self._model,
            dynamic_args=True,
            model_args=args,
            model_kwargs=kwargs,
            validate_grad=self._kernel.claim.gradient,
        )
        sites = {
            name: site["fn"].support
            for name, site in info.model_trace.items()
            if site["type"] == "sample" and not site["is_observed"] and not site["fn"].support.is_discrete
        }
        self._make_potential, self._postprocess = info.potential_fn, info.postprocess_fn
        self._transforms = {name: biject_to(support) for name, support in sites.items()}
        dynamic = [name for name, support in sites.items() if not _is_fixed(support)]
        self._dynamic_support = bool(dynamic)
        if GIBBS_SITES not in kwargs:
            return info.param_info.z if init_params is None else init_params
        if dynamic:
            raise ValueError(
                f"the supports of the sites {dynamic} depend on values, so that they cannot be a block of Gibbs by "
                "themselves; write them as a transformation of sites with fixed supports"
            )
        if init_params is None:
            return info.param_info.z
        # Gibbs hands constrained values to blocks that are not NumPyro's own.
        return transform_fn(self._transforms, init_params, invert=True)

    def _read_gibbs(self, key: PRNGKeyArray, init_params: PyTree | None, args: Any, kwargs: dict[str, Any]) -> PyTree:
        """Make the sampler of the model, and return starts: unconstrained, and values of discrete sites."""
        given: Any = self._given
        gibbs: ModelGibbs = given.for_model(self._model, *args, **kwargs)
        self._gibbs = gibbs
        terms = gibbs.graph.terms

        def constrain(*args: Any, **kwargs: Any) -> Callable[[PyTree], PyTree]:
            return partial(terms.constrain, held=terms.with_arguments(args, kwargs))

        self._postprocess = constrain
        if init_params is not None:
            missing = set(terms.sites) - set(init_params)
            if missing:
                raise ValueError(f"init_params misses {', '.join(sorted(missing))}; a start has a value for every site")
            return {name: jnp.asarray(init_params[name]).astype(shape.dtype) for name, shape in terms.prototype.items()}
        return gibbs.start(_typed(key)) if is_prng_key(key) else jax.vmap(gibbs.start)(jax.vmap(_typed)(key))

    # --- what MCMC calls ----------------------------------------------------------------------------------------------

    def init(
        self,
        rng_key: PRNGKeyArray,
        num_warmup: int,
        init_params: PyTree | None,
        model_args: Any,
        model_kwargs: Any,
    ) -> NumPyroState:
        """Return the state of a chain, or of a batch of them if ``rng_key`` is a batch of keys."""
        batched = not is_prng_key(rng_key)
        population = self.is_ensemble_kernel
        kwargs = {} if model_kwargs is None else model_kwargs
        if self._model is not None:
            if population and not batched:
                raise ValueError(
                    f"{type(self._given).__name__} moves a population; run it with chain_method='vectorized' and "
                    "num_chains set to the number of walkers, at least 2"
                )
            model_key = _folded(rng_key, MODEL_KEY)
            init_params = self._read_model(model_key, init_params, model_args, kwargs)
        elif init_params is None:
            raise ValueError("without a model there is no start; pass init_params to MCMC.run")
        chain_key = rng_key[0] if batched and population else rng_key
        start = partial(self._start, num_warmup=num_warmup, args=model_args, kwargs=kwargs)
        if batched and not population:
            state = jax.vmap(start)(init_params, chain_key)
            if hasattr(state.inner, "logdensity") and inputs.is_concrete(state.inner.logdensity):
                inputs.finite_start(np.asarray(state.inner.logdensity), init_params, type(self._kernel).__name__)
        else:
            state = start(init_params, chain_key)
        self._sample_fn = self.sample
        return state

    def _start(
        self, position: PyTree, rng_key: PRNGKeyArray, *, num_warmup: int, args: Any, kwargs: Any
    ) -> NumPyroState:
        has_own = self._model is None and self._potential_fn is None
        if self._gibbs is not None:
            params = jax.tree.map(strong, self._gibbs.stripped())
        else:
            params = jax.tree.map(strong, self._kernel if has_own else self._kernel.unbound())
        kernel = self._bound(params, args, kwargs)
        key = _typed(_folded(rng_key, INIT_KEY))
        inner = jax.tree.map(strong, kernel.init(position, key=key))
        if isinstance(self._tuner, str) and num_warmup > 0:
            params = jax.tree.map(strong, made_tunable(params, inner))
            kernel = self._bound(params, args, kwargs)
        info = self._shaped(zeros_of_info(kernel, key, inner), inner)
        total = jnp.asarray(num_warmup, jnp.int32)
        tuner = self._tuner_of(params, inner, info)
        adaptation = None if tuner is None else tuner.init(params, _lead(inner), total)
        zero = jnp.zeros((), jnp.int32)
        adaptation = jax.tree.map(strong, adaptation)
        return NumPyroState(inner.position, zero, inner, info, params, adaptation, total, rng_key)

    def _tuner_of(self, params: Any, inner: Any, info: Any) -> Tuner | None:
        return choose_tuner(params, inner, info) if isinstance(self._tuner, str) else self._tuner

    def _shaped(self, info: Any, inner: Any) -> Any:
        """Give scalars of a population's info an axis of walkers, since MCMC takes one for granted."""
        if not self.is_ensemble_kernel:
            return info
        walkers = jax.tree.leaves(inner.position)[0].shape[0]
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (walkers,)) if leaf.ndim == 0 else leaf, info)

    def sample(self, state: NumPyroState, model_args: Any, model_kwargs: Any) -> NumPyroState:
        """Make a step, and tune during warm-up."""
        step = partial(self._step, args=model_args, kwargs=model_kwargs)
        return jax.vmap(step)(state) if jnp.ndim(state.i) else step(state)

    def _step(self, state: NumPyroState, *, args: Any, kwargs: Any) -> NumPyroState:
        # The state holds the kernel without its target: a target made here would be a new program at each step.
        kernel = self._bound(state.params, args, kwargs)
        inner, info = kernel.step(_typed(_folded(state.rng_key, state.i)), state.inner)
        inner = jax.tree.map(strong, inner)
        params, adaptation = state.params, state.adaptation
        tuner = self._tuner_of(params, inner, info)
        if tuner is not None:
            params, adaptation, inner = self._tune(tuner, state, inner, info, args, kwargs)
        info = self._shaped(info, inner)
        return state._replace(
            z=inner.position, i=state.i + 1, inner=inner, info=info, params=params, adaptation=adaptation
        )

    def _tune(
        self, tuner: Tuner, state: NumPyroState, inner: Any, info: Any, args: Any, kwargs: Any
    ) -> tuple[Any, Any, Any]:
        def keep() -> tuple[Any, Any, Any]:
            return state.params, state.adaptation, inner

        def update() -> tuple[Any, Any, Any]:
            adaptation, params = tuner.update(state.adaptation, state.params, _lead(inner), _lead(info), state.i)
            last = state.i + 1 == state.num_warmup
            params = lax.cond(last, lambda: tuner.finish(adaptation, params), lambda: params)
            fresh = self._bound(params, args, kwargs).refresh(inner) if tuner.invalidates else inner
            return jax.tree.map(strong, (params, adaptation, fresh))  # type: ignore[no-any-return]

        return lax.cond(state.i < state.num_warmup, update, keep)  # type: ignore[no-any-return]

    def refresh(self, state: NumPyroState, model_args: Any, model_kwargs: Any) -> NumPyroState:
        """Recompute what the state caches of the target, at ``state.z``."""

        def one(state: NumPyroState) -> NumPyroState:
            kernel = self._bound(state.params, model_args, model_kwargs)
            inner = kernel.refresh(state.inner._replace(position=state.z))
            return state._replace(inner=jax.tree.map(strong, inner))

        return jax.vmap(one)(state) if jnp.ndim(state.i) else one(state)

    def wrap_model(self, wrapper: Callable[..., Any]) -> "NumPyroKernel":
        """Return the same kernel for ``wrapper(model)``."""
        if self._model is None:
            raise ValueError("this NumPyroKernel has no model to wrap; construct it with model=")
        if isinstance(self._given, Gibbs):
            raise ValueError(
                "a Gibbs of ergodica updates all sites of its model, so that it cannot be a block of another Gibbs; "
                "name the other blocks in it, or use one of its kernels as the block: NumPyroKernel(kernel, model)"
            )
        return NumPyroKernel(self._given, wrapper(self._model), tuner=self._tuner)

    def postprocess_fn(self, model_args: Any, model_kwargs: Any) -> Callable[[PyTree], PyTree]:
        """Return the map from unconstrained positions to sites, ``deterministic`` ones included."""
        if self._postprocess is None:
            return identity  # type: ignore[no-any-return]
        function: Callable[[PyTree], PyTree] = self._postprocess(*model_args, **(model_kwargs or {}))
        return function

    def get_constrain_fn(self, model_args: Any, model_kwargs: Any) -> Callable[[PyTree], PyTree]:
        """Return the map from unconstrained positions to latent sites; unlike the default it does not run the model."""
        if self._transforms is None or self._dynamic_support:
            return self.postprocess_fn(model_args, model_kwargs)
        return partial(transform_fn, self._transforms)


def _check(kernel: Any, model: Any, potential_fn: Any, tuner: Any) -> None:
    if isinstance(kernel, Gibbs):
        if model is None or potential_fn is not None:
            raise ValueError("a Gibbs needs a model, and no potential_fn: NumPyroKernel(Gibbs({...}), model)")
        _check_tuner(tuner)
        return
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"NumPyroKernel takes a kernel of this library, such as RandomWalk(1.0); got {type(kernel).__name__}"
        )
    name, claim = type(kernel).__name__, kernel.claim
    if claim.spaces and Space.REAL not in claim.spaces:
        spaces = ", ".join(sorted(space.value for space in claim.spaces))
        raise ValueError(
            f"NumPyro samples the unconstrained parameters of a model, real numbers, and {name} works on another kind "
            f"of space: {spaces}. Use it with ergodica's own sample, or for discrete sites numpyro.infer.DiscreteGibbs."
        )
    if claim.weighted:
        raise ValueError(
            f"the draws of {name} mean nothing without their weights, and NumPyro would hand them out without. Use "
            "ergodica's own sample."
        )
    if not kernel.takes_logdensity:
        raise ValueError(f"{name} does not take its target as a log density, so it cannot be given that of a model")
    if model is not None and potential_fn is not None:
        raise ValueError("give either a model or a potential_fn, not both")
    if model is None and potential_fn is None and getattr(kernel, "logdensity", None) is None:
        raise ValueError(f"there is nothing to sample: give a model, a potential_fn, or a {name} with a logdensity")
    _check_tuner(tuner)


def _check_tuner(tuner: Any) -> None:
    if not (tuner is None or isinstance(tuner, Tuner) or (isinstance(tuner, str) and tuner == "auto")):
        raise TypeError(f'tuner is "auto", None or a Tuner; got {tuner!r}')


def _minus(potential: Callable[[PyTree], Array], position: PyTree) -> Array:
    return -potential(position)


def _is_fixed(support: Any) -> bool:
    """Whether the bounds of a support are plain numbers; arrays may depend on other sites."""
    return all(isinstance(leaf, int | float) for leaf in jax.tree.leaves(support))


def _lead(tree: PyTree) -> PyTree:
    """Give a leading axis of one chain."""
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _typed(key: PRNGKeyArray) -> PRNGKeyArray:
    """Return a typed key; NumPyro accepts legacy ones too."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key)


def _folded(key: PRNGKeyArray, number: Any) -> PRNGKeyArray:
    """Fold a number into a key, or into each of a batch; a legacy key stays one."""
    if is_prng_key(key):
        return jax.random.fold_in(key, number)
    return jax.vmap(jax.random.fold_in, (0, None))(key, number)

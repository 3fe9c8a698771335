"""BlackJAX's algorithms as kernels of this library, and kernels of this library as BlackJAX's algorithms."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray, PyTree

from ergodica.samplers import inputs
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.density import LogDensity, optional_logdensity
from ergodica.samplers.interop.algorithm_info import AlgorithmInfo
from ergodica.samplers.kernel import Kernel

__all__ = ["BlackJAXKernel", "to_blackjax"]

REAL = frozenset({Space.REAL})
SOURCE = "Cabezas, Corenflos, Lao and Louf 2024, BlackJAX, arXiv:2402.10797"


class BlackJAXKernel(Kernel[Any, Any]):
    """An algorithm of BlackJAX as a kernel: it composes, is certified, and is sampled like any other.

    Parameters
    ----------
    algorithm
        ``blackjax.nuts``, ``blackjax.hmc``, ``blackjax.mala`` and the like: anything with ``init(position, logdensity)``
        and ``build_kernel()``, whose kernel is called ``(key, state, logdensity, **parameters)``.
    build
        Arguments of ``build_kernel``.
    logdensity
        The target.
    claim
        What the algorithm promises. Default: exact, for the algorithms of BlackJAX with an accept test.
    parameters
        What the kernel takes, such as ``step_size`` and ``inverse_mass_matrix``. Numbers with a fraction and arrays are
        leaves of the kernel; integers and functions are static.

    Raises
    ------
    TypeError
        If the algorithm has another shape, or a parameter is missing or unknown.
    ValueError
        If there is no default claim.

    Notes
    -----
    States are BlackJAX's own. A kernel that BlackJAX has tuned goes in with its parameters:
    ``BlackJAXKernel(blackjax.nuts, logdensity=f, **parameters)`` after ``window_adaptation``.

    References
    ----------
    A. Cabezas, A. Corenflos, J. Lao and R. Louf, BlackJAX: Composable Bayesian inference in JAX, 2024,
    arXiv:2402.10797.
    """

    parameters: dict[str, Any]
    logdensity: Partial | None
    algorithm: Any = eqx.field(static=True)
    build: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    stated: Claim = eqx.field(static=True)

    def __init__(
        self,
        algorithm: Any,
        *,
        build: dict[str, Any] | None = None,
        logdensity: LogDensity | None = None,
        claim: Claim | None = None,
        **parameters: Any,
    ) -> None:
        if not (hasattr(algorithm, "init") and hasattr(algorithm, "build_kernel")):
            raise TypeError(
                "algorithm needs init and build_kernel, as blackjax.nuts has them; got "
                f"{getattr(algorithm, '__name__', type(algorithm).__name__)}. Pass the algorithm itself, not "
                "blackjax.nuts(logdensity, ...), whose target can no longer be exchanged."
            )
        self.algorithm = algorithm
        self.build = tuple(sorted((build or {}).items()))
        _check_parameters(algorithm.build_kernel(**(build or {})), parameters)
        dynamic = {name: value for name, value in parameters.items() if _is_leaf(value)}
        self.parameters = {name: jax.tree.map(_as_array, value) for name, value in dynamic.items()}
        _check_numbers(parameters)
        self.settings = tuple(sorted((name, value) for name, value in parameters.items() if name not in dynamic))
        self.logdensity = optional_logdensity(logdensity)
        self.stated = _default_claim(algorithm) if claim is None else claim

    @property
    def claim(self) -> Claim:
        """What was stated at construction."""
        return self.stated

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> Any:
        """Start at a pytree of floating-point arrays.

        Raises
        ------
        ValueError
            If the algorithm draws part of its state, such as a momentum, and there is no key.
        """
        name = type(self).__name__
        position = inputs.real_position(position, name)
        inputs.start_density(self._target(), position, name)
        return self._fresh(position, key)

    def _fresh(self, position: PyTree, key: PRNGKeyArray | None) -> Any:
        if "rng_key" not in inspect.signature(self.algorithm.init).parameters:
            return self.algorithm.init(position, self._target())
        if key is None:
            raise ValueError("this algorithm draws a part of its state: call init(position, key=key)")
        return self.algorithm.init(position, self._target(), rng_key=key)

    def refresh(self, state: Any) -> Any:
        """Recompute the density and its gradient at the same position; momenta and the like stay."""
        fresh = self._fresh(state.position, jax.random.key(0))
        cached = [name for name in ("logdensity", "logdensity_grad") if hasattr(state, name)]
        return state._replace(**{name: getattr(fresh, name) for name in cached})

    def step(self, key: PRNGKeyArray, state: Any) -> tuple[Any, AlgorithmInfo]:
        """Make a step of the algorithm."""
        kernel = self.algorithm.build_kernel(**dict(self.build))
        state, info = kernel(key, state, self._target(), **self.parameters, **dict(self.settings))
        steps = getattr(info, "num_integration_steps", None)
        steps = None if steps is None else jnp.asarray(steps, jnp.int32)
        return state, AlgorithmInfo(
            getattr(info, "acceptance_rate", None),
            getattr(info, "is_accepted", None),
            getattr(info, "is_divergent", None),
            steps,
            getattr(info, "energy", None),
            steps,
        )


def _is_leaf(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, float) or hasattr(leaf, "dtype") for leaf in leaves)


def _as_array(value: Any) -> Array:
    return jnp.asarray(value, float) if isinstance(value, float) else jnp.asarray(value)


def _check_parameters(kernel: Any, parameters: dict[str, Any]) -> None:
    taken = list(inspect.signature(kernel).parameters.values())[3:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return
    names = {parameter.name for parameter in taken}
    required = {parameter.name for parameter in taken if parameter.default is parameter.empty}
    missing, unknown = required - set(parameters), set(parameters) - names
    if missing or unknown:
        wrong = [f"misses {', '.join(sorted(missing))}"] if missing else []
        wrong += [f"does not take {', '.join(sorted(unknown))}"] if unknown else []
        raise TypeError(f"the algorithm's kernel {' and '.join(wrong)}; it takes {', '.join(sorted(names))}")


def _check_numbers(parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, str):
            raise TypeError(f"{name} has to be a number, an array or a function; got {value!r}")
        for leaf in jax.tree.leaves(value):
            real = _is_leaf(leaf) and inputs.is_concrete(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
            if real and not np.all(np.isfinite(np.asarray(leaf))):
                raise ValueError(f"{name} has to be finite; got {leaf}")
    step = parameters.get("step_size")
    if isinstance(step, int | float) and not step > 0:
        raise ValueError(f"step_size has to be greater than 0; got {step}")


EXACT = frozenset(
    {
        "barker", "dynamic_hmc", "elliptical_slice", "ghmc", "hmc", "mala", "marginal_latent_gaussian", "nuts",
        "periodic_orbital", "random_walk", "rmhmc", "slice", "adjusted_mclmc", "adjusted_mclmc_dynamic",
    }
)  # fmt: skip
"""Modules of BlackJAX whose algorithms have an accept test, or are slice samplers."""


def _default_claim(algorithm: Any) -> Claim:
    package, _, module = algorithm.init.__module__.rpartition(".")
    builder = algorithm.build_kernel.__module__.rpartition(".")[2]
    if package == "blackjax.mcmc" and {module, builder} & EXACT and builder != "mclmc":
        return Claim(Exactness.EXACT, "leaves the target invariant, as BlackJAX has it", source=SOURCE, spaces=REAL)
    if package == "blackjax.mcmc" and builder == "mclmc":
        return Claim(
            Exactness.BIASED,
            "follows isokinetic Langevin dynamics without an accept test",
            source=SOURCE,
            order="O(step size^2)",
            spaces=REAL,
            gradient=True,
            bias=("step size",),
        )
    raise ValueError(
        f"what {package}.{module} promises is not known here; say it: claim=Claim(Exactness.EXACT, statement), say"
    )


def to_blackjax(kernel: Kernel[Any, Any]) -> Any:
    """Return a kernel with its target as a ``SamplingAlgorithm`` of BlackJAX.

    Parameters
    ----------
    kernel
        With its target.

    Returns
    -------
    blackjax.base.SamplingAlgorithm
        ``init(position, rng_key=None)`` and ``step(rng_key, state)``, for BlackJAX's drivers. Where BlackJAX exchanges
        the target, as in sequential Monte Carlo, write ``lambda key, state, f: kernel.bind(f).step(key, state)``.

    Raises
    ------
    TypeError
        If it is no kernel.
    """
    from blackjax.base import SamplingAlgorithm

    if not isinstance(kernel, Kernel):
        raise TypeError(f"expected a kernel of this library; got {type(kernel).__name__}")

    def init(position: PyTree, rng_key: PRNGKeyArray | None = None) -> Any:
        return kernel.init(position, key=rng_key)

    def step(rng_key: PRNGKeyArray, state: Any) -> Any:
        return kernel.step(rng_key, state)

    return SamplingAlgorithm(init, step)

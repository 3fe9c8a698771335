"""NUTS and HMC of BlackJAX with the step size and the mass matrix that its window adaptation finds."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ergodica.commands.console import BadInputError

__all__ = ["Adapted", "adapt", "with_parameters"]

# What window_adaptation itself takes; all else goes to the algorithm.
OF_ADAPTATION = ("target_acceptance_rate", "initial_step_size")
OF_ALGORITHM = {
    "nuts": ("max_num_doublings", "divergence_threshold"),
    "hmc": ("num_integration_steps", "divergence_threshold"),
}
DEFAULTS: dict[str, dict[str, Any]] = {"nuts": {}, "hmc": {"num_integration_steps": 10}}


class Adapted(NamedTuple):
    """What adaptation has found.

    Parameters
    ----------
    parameters
        Step size and inverse mass matrix, as numbers and lists: what the chains have found, averaged (the step size on the
        log scale), as draws of chains with one kernel are easier to reason about.
    positions
        Where the chains have come to, stacked.
    num_grad_evals
        Gradients that it took.
    seconds
        Time that it took, without compilation.
    """

    parameters: dict[str, Any]
    positions: Any
    num_grad_evals: int
    seconds: float


def adapt(
    name: str,
    logdensity: Callable[[Any], Any],
    start: Any,
    *,
    steps: int,
    chains: int,
    seed: int,
    settings: Mapping[str, Any],
) -> Adapted:
    """Run the window adaptation of each chain.

    Parameters
    ----------
    name
        ``"nuts"`` or ``"hmc"``.
    logdensity
        The target.
    start
        A position, or a function from a key to one.
    steps
        Of each chain.
    chains
        Number of chains.
    seed
        An integer.
    settings
        ``dense`` for a mass matrix with correlations, ``target_acceptance_rate``, ``initial_step_size``,
        ``max_num_doublings`` or ``num_integration_steps``, ``divergence_threshold``.

    Raises
    ------
    BadInputError
        If BlackJAX is not installed, a setting is unknown, or there are too few steps.
    """
    import jax
    import jax.numpy as jnp

    algorithm = _algorithm(name)
    taken = ("dense", *OF_ADAPTATION, *OF_ALGORITHM[name])
    for setting in settings:
        if setting not in taken:
            raise BadInputError(f"{name} has no setting {setting!r}; it takes {', '.join(taken)}")
    if steps < 20:
        raise BadInputError(f"{name} needs a warm-up to find its step size, of at least 20 steps; got --tune {steps}")
    import blackjax

    more = {key: value for key, value in settings.items() if key != "dense"}
    adaptation = blackjax.window_adaptation(
        algorithm,
        logdensity,
        is_mass_matrix_diagonal=not settings.get("dense", False),
        **{**DEFAULTS[name], **more},
    )
    start_key, run_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**32 - 3))
    starts = [start(key) if callable(start) else start for key in jax.random.split(start_key, chains)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *starts)

    def run(key: Any, position: Any) -> Any:
        found, info = adaptation.run(key, position, num_steps=steps)
        parameters = {item: found.parameters[item] for item in ("step_size", "inverse_mass_matrix")}
        return found.state.position, parameters, info.info.num_integration_steps.sum()

    keys = jax.random.split(run_key, chains)
    compiled = jax.jit(jax.vmap(run)).lower(keys, stacked).compile()
    began = time.monotonic()
    positions, parameters, gradients = jax.block_until_ready(compiled(keys, stacked))
    steps_found = np.asarray(parameters["step_size"], float)
    if not np.all(np.isfinite(steps_found) & (steps_found > 0)):
        raise BadInputError(f"the adaptation of {name} has found no step size; is the log density finite at the start?")
    found = {
        "step_size": float(np.exp(np.mean(np.log(steps_found)))),
        "inverse_mass_matrix": np.mean(np.asarray(parameters["inverse_mass_matrix"]), axis=0).tolist(),
    }
    return Adapted(found, positions, int(gradients.sum()), time.monotonic() - began)


def with_parameters(
    name: str, logdensity: Callable[[Any], Any], parameters: Mapping[str, Any], settings: Mapping[str, Any]
) -> Any:
    """Return the kernel with its target and the parameters that :func:`adapt` has found.

    Parameters
    ----------
    name
        ``"nuts"`` or ``"hmc"``.
    logdensity
        The target.
    parameters
        Step size and inverse mass matrix.
    settings
        As for :func:`adapt`.
    """
    import jax.numpy as jnp

    from ergodica.samplers.interop.blackjax import BlackJAXKernel

    own = {key: value for key, value in {**DEFAULTS[name], **settings}.items() if key in OF_ALGORITHM[name]}
    build = {key: own.pop(key) for key in ("divergence_threshold",) if key in own}
    return BlackJAXKernel(
        _algorithm(name),
        build=build,
        logdensity=logdensity,
        step_size=float(parameters["step_size"]),
        inverse_mass_matrix=jnp.asarray(parameters["inverse_mass_matrix"]),
        **own,
    )


def _algorithm(name: str) -> Any:
    try:
        import blackjax
    except ImportError:
        raise BadInputError(f"{name} is BlackJAX's; install it by `pip install blackjax`") from None
    return getattr(blackjax, name)

"""Calibration of Markov kernels with exactly uniform ranks: chains that leave from a common ancestor of the truth.

A parameter from the prior is an exact draw from the posterior of the data that it made. Run the kernel backwards from
it, then let ``L`` chains go forwards from where that leads, each for as many steps. If the kernel leaves the posterior
invariant and the backward leg is its time reversal, the parameter and the ends of the chains are exchangeable, for
every number of steps: no warm-up, no thinning, no autocorrelation. A kernel with a wrong target draws the ends towards
that target, but not the parameter.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.calibration.quantities import Quantity
from ergodica.validation.calibration.rank_report import RankReport
from ergodica.validation.calibration.simulation_based import Prior, Simulate, calibrate_ranks
from ergodica.validation.targets.target import several_steps, start_state


def parallel_chains_calibration(
    prior: Prior,
    simulate: Simulate,
    kernel: Callable[[Any], Any],
    *,
    key: PRNGKeyArray,
    quantities: Mapping[str, Quantity] | None = None,
    simulations: int = 500,
    draws: int = 99,
    steps: int = 20,
    reverse: Callable[[Any], Any] | None = None,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    batch: int | None = None,
) -> RankReport:
    """Rank prior draws among the ends of chains that share an ancestor with them.

    Parameters
    ----------
    prior, simulate, key, quantities, simulations, batch
        As in :func:`.simulation_based.simulation_based_calibration`.
    kernel
        ``kernel(y)`` returns a kernel with the posterior as its target.
    draws
        Number of chains ``L`` of each simulation.
    steps
        Steps of either leg. The level holds for every number. A kernel that never moves passes, so choose enough for the
        chains to forget; more steps also amplify an error.
    reverse
        ``reverse(kernel)`` returns the time reversal of a kernel that is not reversible.
    start
        ``start(kernel, key, theta)`` returns the state at a parameter; auxiliaries have to have their exact law.

    Returns
    -------
    RankReport
        With exact ranks: its outcomes are evidence of invariance.

    Raises
    ------
    ValueError
        If the kernel depends on its past, or is not reversible and no reversal is given; and as
        :func:`.simulation_based.simulation_based_calibration`.

    References
    ----------
    Julian Besag and Peter Clifford (1989), Generalized Monte Carlo significance tests, Biometrika 76(4), for the parallel
    method.
    """
    steps = static_count("steps", steps)

    def draw(key: PRNGKeyArray, theta: Any, y: Any, n: int) -> Any:
        bound = kernel(y)
        if bound.claim.memory:
            raise ValueError(f"{type(bound).__name__} depends on its past; test its kernel with the history frozen")
        if reverse is None and bound.claim.reversible is not True:
            raise ValueError(
                f"{type(bound).__name__} is not known to be reversible, and the backward leg needs its time reversal: pass "
                "reverse=, or use simulation_based_calibration, which needs none"
            )
        start_key, back_key, ends_key = random.split(key, 3)
        backward = bound if reverse is None else reverse(bound)
        ancestor = several_steps(backward, back_key, start(bound, start_key, theta), steps)
        return jax.vmap(lambda key: several_steps(bound, key, ancestor, steps).position)(random.split(ends_key, n))

    return calibrate_ranks(
        prior,
        simulate,
        draw,
        quantities,
        key=key,
        simulations=simulations,
        draws=draws,
        batch=batch,
        exact=True,
        null=f"a kernel that leaves the posterior invariant, over {steps} steps back and {steps} forth",
    )

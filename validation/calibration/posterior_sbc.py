"""Posterior calibration: simulation-based calibration around the data at hand.

Calibration over the prior tests inference for data sets that the prior makes, most of which look unlike the observed
one. Here the parameter comes from the posterior of the observed data, new data from the parameter, and the parameter is
ranked among draws from the posterior of both data sets together. If the sampler is right for both posteriors, ranks are
uniform; so they test the region of parameters that matters.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ergodica.validation.calibration.chain_draws import PosteriorDraws
from ergodica.validation.calibration.quantities import Quantity
from ergodica.validation.calibration.rank_report import RankReport
from ergodica.validation.calibration.simulation_based import Prior, Simulate, simulation_based_calibration


def concatenated(observed: Any, new: Any) -> Any:
    """Put observed and new data together along the first axis of every array: for observations independent given theta.

    Raises
    ------
    ValueError
        If the data differ in structure, or an array has no axis.
    """
    structures: list[Any] = [jax.tree.structure(observed), jax.tree.structure(new)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"observed and simulated data have to have one structure; got {structures[0]} and {structures[1]}. Pass combine="
        )
    if any(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(observed)):
        raise ValueError("a number has no axis of observations to concatenate along; pass combine=")
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), observed, new)


def posterior_calibration(
    observed: Any,
    simulate: Simulate,
    *,
    key: PRNGKeyArray,
    posterior: Prior | None = None,
    kernel: Callable[[Any], Any] | None = None,
    posterior_draws: PosteriorDraws | None = None,
    combine: Callable[[Any, Any], Any] = concatenated,
    quantities: Mapping[str, Quantity] | None = None,
    simulations: int = 500,
    draws: int = 99,
    thin: int | Literal["ess"] | None = None,
    warmup: int = 500,
    start: Callable[[PRNGKeyArray, Any], Any] | None = None,
    independent: bool = True,
    batch: int | None = None,
) -> RankReport:
    """Rank posterior draws among draws from the posterior after more data that they made.

    Parameters
    ----------
    observed
        The data at hand.
    simulate
        ``simulate(key, theta) -> y``: new data, of any size.
    posterior
        ``posterior(key) -> theta``: a draw from the posterior of the observed data, independent for every key. Default:
        the first one of ``posterior_draws(key, observed, 1)``.
    kernel, posterior_draws
        The sampler under test, for any data; see :func:`.simulation_based.simulation_based_calibration`. With a kernel,
        ``posterior`` has to be given.
    combine
        ``combine(observed, y)`` returns the data of the second posterior; default :func:`concatenated`.
    quantities
        Named functions ``(theta, data) -> scalar``, where the data are the combined ones. Default: the entries of theta
        alone.
    key, simulations, draws, thin, warmup, start, independent, batch
        As in :func:`.simulation_based.simulation_based_calibration`; by default chains start at a draw of ``posterior``.

    Returns
    -------
    RankReport
        Verdicts are exact under the hypothesis that draws from *both* posteriors are right and independent. An error
        in both can cancel, as two functions that agree on a wrong prior do.

    Raises
    ------
    TypeError
        If a kernel is given and no ``posterior``.
    ValueError, FloatingPointError
        As :func:`.simulation_based.simulation_based_calibration`.

    References
    ----------
    Teemu Säilynoja, Marvin Schmitt, Paul-Christian Bürkner and Aki Vehtari (2025), Posterior SBC: simulation-based
    calibration checking conditional on data, arXiv:2502.03279.
    """
    first = posterior
    if first is None:
        if posterior_draws is None:
            raise TypeError("give posterior=, draws from the posterior of the observed data, or posterior_draws=")
        sampler = posterior_draws
        first = lambda key: jax.tree.map(lambda leaf: leaf[0], sampler(key, observed, 1))  # noqa: E731
    return simulation_based_calibration(
        first,
        # The data that quantities and sampler see are the combined ones.
        lambda key, theta: combine(observed, simulate(key, theta)),
        key=key,
        kernel=kernel,
        posterior_draws=posterior_draws,
        quantities=quantities,
        simulations=simulations,
        draws=draws,
        thin=thin,
        warmup=warmup,
        start=start,
        independent=independent,
        batch=batch,
    )

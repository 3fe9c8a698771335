"""Simulation-based calibration: rank the parameter that made the data among posterior draws.

Draw a parameter from the prior, data given the parameter, and ``L`` draws from the posterior of these data. If the
posterior draws are right, the parameter and the draws are exchangeable, so the rank of any quantity of the parameter
among those of the draws is uniform on ``0, ..., L``. A histogram like a U says that posteriors are too narrow, a hump
that they are too wide, a slope that they are shifted.

Ranks are exactly uniform if the draws are independent given the data. Draws along a chain are not: without thinning,
ranks pile up at both ends though nothing is wrong. :func:`simulation_based_calibration` thins, and calls its verdict a
diagnostic; :func:`.parallel_chains.parallel_chains_calibration` runs kernels so that ranks are uniform exactly.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.calibration.chain_draws import PosteriorDraws, chain_draws, thinning_for
from ergodica.validation.calibration.quantities import Quantity, default_quantities, measure_all, uses_second
from ergodica.validation.calibration.rank_report import RankReport
from ergodica.validation.quality.generator import generator_of

Prior = Callable[[PRNGKeyArray], Any]
Simulate = Callable[[PRNGKeyArray, Any], Any]
DrawsGivenTruth = Callable[[PRNGKeyArray, Any, Any, int], Any]
"""``(key, theta, data, n) -> draws``: what the posterior draws may be made from."""

PILOTS = 8


def over_keys(
    experiment: Callable[[PRNGKeyArray], Any], keys: PRNGKeyArray, *, batch: int | None, traceable: bool = True
) -> Any:
    """Run an experiment for every key, compiled once, ``batch`` side by side; NumPy arrays with a leading axis.

    The results for a key do not depend on the batch, up to rounding.
    """
    if not traceable:
        results = [jax.tree.map(np.asarray, experiment(key)) for key in keys]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *results)
    size = None if batch is None or batch >= len(keys) else static_count("batch", batch)

    def run(keys: PRNGKeyArray) -> Any:
        return jax.vmap(experiment)(keys) if size is None else jax.lax.map(experiment, keys, batch_size=size)

    # As in Replicates: it compiles once and runs briefly, so that half of LLVM's effort saves time.
    compiled = jax.jit(run, compiler_options={"xla_backend_optimization_level": 1})
    return jax.tree.map(np.asarray, compiled(keys))


def check_draws(draws: PyTree, theta: PyTree, n: int) -> None:
    """Check that draws have the form of the parameter, with a leading axis.

    Raises
    ------
    ValueError
        If they have not.
    """
    expected = jax.tree.map(lambda leaf: (n, *np.shape(leaf)), theta)
    given = jax.tree.map(np.shape, draws)
    structures: list[Any] = [jax.tree.structure(draws), jax.tree.structure(theta)]
    if structures[0] != structures[1] or given != expected:
        raise ValueError(
            f"posterior draws have to look like the prior's, with a leading axis of {n} draws: expected shapes {expected}, "
            f"got {given}"
        )


def on_coarse_grid(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Round to about two thirds of the bits, so that what differs by round-off alone is equal."""
    kind = jnp.finfo(values.dtype)
    return jax.lax.reduce_precision(values, exponent_bits=int(kind.nexp), mantissa_bits=int(kind.nmant) * 2 // 3)


def _rank_experiment(
    prior: Prior, simulate: Simulate, draw: DrawsGivenTruth, quantities: Mapping[str, Quantity], n: int, stride: int
) -> Callable[[PRNGKeyArray], Any]:
    @jax.jit
    def rank(theta: Any, y: Any, draws: Any) -> Any:
        draws = jax.tree.map(lambda leaf: leaf[stride - 1 :: stride], draws)
        truth = measure_all(quantities, theta, y)
        values = jax.vmap(lambda drawn: measure_all(quantities, drawn, y))(draws)
        # Near-ties count as ties, by a grid: a tolerance would not be transitive, and ranks not uniform.
        truth, values = on_coarse_grid(truth), on_coarse_grid(values)
        below, ties = jnp.sum(values < truth, axis=0), jnp.sum(values == truth, axis=0)
        return below, ties, jnp.isfinite(truth), jnp.all(jnp.isfinite(values), axis=0)

    def experiment(key: PRNGKeyArray) -> Any:
        prior_key, data_key, draw_key = random.split(key, 3)
        theta = prior(prior_key)
        y = simulate(data_key, theta)
        draws = draw(draw_key, theta, y, n * stride)
        check_draws(draws, theta, n * stride)
        return rank(theta, y, draws)

    return experiment


def _refuse_failures(names: list[str], truth: np.ndarray, drawn: np.ndarray, tied: np.ndarray) -> None:
    for i, name in enumerate(names):
        for finite, what in ((truth, "at the true parameter"), (drawn, "at a posterior draw")):
            if not np.all(finite[:, i]):
                raise FloatingPointError(
                    f"the quantity {name!r} is NaN or infinite {what} in {int((~finite[:, i]).sum())} of {len(finite)} "
                    f"simulations, the first is number {int(np.argmin(finite[:, i]))}. Failed fits are not missing at "
                    "random: mend them, do not drop them"
                )
        if np.all(tied[:, i]):
            raise ValueError(
                f"all draws of {name!r} tie with the truth in every simulation: a constant quantity, or a sampler that "
                "returns the truth, tests nothing"
            )


def calibrate_ranks(
    prior: Prior,
    simulate: Simulate,
    draw: DrawsGivenTruth,
    quantities: Mapping[str, Quantity] | None,
    *,
    key: PRNGKeyArray,
    simulations: int,
    draws: int,
    stride: int = 1,
    batch: int | None = None,
    traceable: bool = True,
    exact: bool,
    null: str,
) -> RankReport:
    """Simulate, draw and rank: what all ways to calibrate have in common.

    Parameters
    ----------
    draw
        ``draw(key, theta, data, n)`` returns ``n`` draws; it may depend on the truth only in ways that leave truth and
        draws exchangeable.
    exact, null
        As in :class:`.rank_report.RankReport`.
    prior, simulate, quantities, key, simulations, draws, batch, traceable
        As in :func:`simulation_based_calibration`.
    stride
        Keep every ``stride``-th draw.
    """
    simulations, draws = static_count("simulations", simulations), static_count("draws", draws)
    if quantities is None:
        quantities = default_quantities(jax.eval_shape(prior, key) if traceable else prior(key))
    if not quantities:
        raise ValueError("expected at least one test quantity; got none")
    names = list(quantities)
    experiment = _rank_experiment(prior, simulate, draw, quantities, draws, static_count("thin", stride))
    run_key, tie_key = random.split(key)
    keys = random.split(run_key, simulations)
    below, ties, finite_truth, finite_draws = over_keys(experiment, keys, batch=batch, traceable=traceable)
    _refuse_failures(names, finite_truth, finite_draws, ties == draws)
    rank = below + generator_of(tie_key).integers(0, ties + 1)
    return RankReport(
        ranks={name: rank[:, i].astype(int) for i, name in enumerate(names)},
        draws=draws,
        exact=exact,
        null=null,
        sees_data=quantities_that_see_data(prior, simulate, quantities, key) if traceable else {},
    )


def quantities_that_see_data(
    prior: Prior, simulate: Simulate, quantities: Mapping[str, Quantity], key: PRNGKeyArray
) -> dict[str, bool]:
    """Return for each quantity whether its program uses the data."""
    theta = jax.eval_shape(prior, key)
    y = jax.eval_shape(simulate, key, theta)
    return {name: uses_second(quantity, theta, y) for name, quantity in quantities.items()}


def pilot_stride(
    prior: Prior,
    simulate: Simulate,
    draw: PosteriorDraws,
    quantities: Mapping[str, Quantity],
    *,
    key: PRNGKeyArray,
    n: int,
    traceable: bool = True,
) -> int:
    """Return the thinning that eight pilot chains of ``n`` draws ask for; their randomness is used for nothing else."""

    def pilot(key: PRNGKeyArray) -> Array:
        prior_key, data_key, draw_key = random.split(key, 3)
        theta = prior(prior_key)
        y = simulate(data_key, theta)
        return jax.vmap(lambda drawn: measure_all(quantities, drawn, y))(draw(draw_key, y, n))

    values = over_keys(pilot, random.split(key, PILOTS), batch=None, traceable=traceable)
    return thinning_for(values, list(quantities)).stride


def simulation_based_calibration(
    prior: Prior,
    simulate: Simulate,
    *,
    key: PRNGKeyArray,
    kernel: Callable[[Any], Any] | None = None,
    posterior_draws: PosteriorDraws | None = None,
    quantities: Mapping[str, Quantity] | None = None,
    simulations: int = 500,
    draws: int = 99,
    thin: int | Literal["ess"] | None = None,
    warmup: int = 500,
    start: Callable[[PRNGKeyArray, Any], Any] | None = None,
    independent: bool = True,
    batch: int | None = None,
    traceable: bool = True,
) -> RankReport:
    """Rank prior draws among the posterior draws of data that they made.

    Parameters
    ----------
    prior
        ``prior(key) -> theta``, a pytree of arrays.
    simulate
        ``simulate(key, theta) -> y``.
    key
        Typed key; the same key gives the same ranks.
    kernel
        ``kernel(y)`` returns one of this library's kernels with the posterior as its target.
    posterior_draws
        Instead of a kernel: ``posterior_draws(key, y, n)`` returns ``n`` draws, in the form of the prior's with a leading
        axis.
    quantities
        Named functions ``(theta, y) -> scalar``; default: the entries of theta alone, which do not see the data. See
        :mod:`.quantities`.
    simulations
        Number of parameters and data sets.
    draws
        Posterior draws ``L`` that each parameter is ranked among, after thinning. ``L + 1`` with many divisors, such as
        100, leaves a choice of bins.
    thin
        Keep every ``thin``-th draw; ``"ess"``: as many as pilot chains need for draws worth as many independent ones, in
        the bulk and in the tails of every quantity. Default: ``"ess"`` for a kernel, 1 for ``posterior_draws``.
    warmup, start
        Of a kernel's chains; see :func:`.chain_draws.chain_draws`. Default start: a fresh draw from the prior.
    independent
        Whether the draws of ``posterior_draws`` are independent given the data. Only then are ranks exactly uniform and
        verdicts evidence.
    batch
        Simulations side by side; default: all. A kernel whose steps vary much in cost runs faster one by one,
        ``batch=1``. It changes draws by rounding alone, which long chains may amplify.
    traceable
        Whether JAX can trace ``prior``, ``simulate`` and ``posterior_draws``. If not, they are called for one simulation
        after another, so that they may call any program. Quantities are always traced.

    Returns
    -------
    RankReport

    Raises
    ------
    TypeError, ValueError
        If not exactly one of ``kernel`` and ``posterior_draws`` is given; an argument is out of range; draws do not look
        like the prior's; a quantity is constant, or no scalar; or pilot chains mix too slowly to thin by.
    FloatingPointError
        If a quantity is NaN or infinite somewhere. Such simulations are not dropped.

    References
    ----------
    Sean Talts, Michael Betancourt, Daniel Simpson, Aki Vehtari and Andrew Gelman (2018), Validating Bayesian inference
    algorithms with simulation-based calibration, arXiv:1804.06788.

    Examples
    --------
    >>> import jax
    >>> from ergodica.validation.calibration.simulation_based import simulation_based_calibration
    >>> def exact(key, y, n):
    ...     return y / 2 + jax.random.normal(key, (n,)) / 2**0.5
    >>> report = simulation_based_calibration(
    ...     lambda key: jax.random.normal(key),
    ...     lambda key, theta: theta + jax.random.normal(key),
    ...     key=jax.random.key(0),
    ...     posterior_draws=exact,
    ...     quantities={"theta": lambda theta, y: theta, "log likelihood": lambda theta, y: -((y - theta) ** 2) / 2},
    ...     simulations=200,
    ...     draws=19,
    ... )
    >>> report.outcome(level=1e-6).passed
    True
    """
    if (kernel is None) == (posterior_draws is None):
        raise TypeError("give either kernel= or posterior_draws=, not both and not none")
    if thin is not None and not isinstance(thin, str):
        static_count("thin", thin)
    elif thin not in (None, "ess"):
        raise ValueError(f"thin has to be a number of steps or 'ess'; got {thin!r}")
    if quantities is None:
        quantities = default_quantities(jax.eval_shape(prior, key) if traceable else prior(key))
    main_key, pilot_key = random.split(key)

    def make(stride: int) -> tuple[PosteriorDraws, int]:
        if kernel is None:
            assert posterior_draws is not None
            return posterior_draws, stride
        begin = start if start is not None else lambda key, _: prior(key)
        return chain_draws(kernel, begin, warmup=warmup, thin=stride), 1

    if thin == "ess" or (thin is None and kernel is not None):
        stride = pilot_stride(
            prior, simulate, make(1)[0], quantities, key=pilot_key, n=max(500, 5 * draws), traceable=traceable
        )
    else:
        stride = 1 if thin is None else int(thin)
    draw, keep = make(stride)
    exact = kernel is None and independent
    return calibrate_ranks(
        prior,
        simulate,
        lambda key, _, y, n: draw(key, y, n),
        quantities,
        key=main_key,
        simulations=simulations,
        draws=draws,
        stride=keep,
        batch=batch,
        traceable=traceable,
        exact=exact,
        null="independent draws from the posterior"
        + ("" if exact else f", which chains thinned by {stride} are only close to"),
    )

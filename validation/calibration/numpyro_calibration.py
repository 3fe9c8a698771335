"""Calibration of a sampler on a NumPyro model: the model is its own simulator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray
from numpyro import handlers
from numpyro.distributions import Unit
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import compute_log_probs

from ergodica.samplers.inputs import static_count
from ergodica.validation.calibration.chain_draws import PosteriorDraws
from ergodica.validation.calibration.quantities import Quantity, parameter_quantities
from ergodica.validation.calibration.rank_report import RankReport
from ergodica.validation.calibration.simulation_based import simulation_based_calibration

Model = Callable[..., Any]


class SimulatedModel:
    """A NumPyro model as prior, simulator, and conditioned model.

    Parameters
    ----------
    model
        The model.
    observed
        Names of the sites that are data. Values that the arguments give for them are not used, so the model may be called
        with data or without.
    args, kwargs
        The model's arguments.

    Raises
    ------
    ValueError
        If a name is no sample site of the model, no site is left to be drawn, or the model has factors, which nothing
        simulates.
    """

    def __init__(self, model: Model, observed: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.model = model
        self.observed = tuple(observed)
        self.args, self.kwargs = args, dict(kwargs)
        shapes = jax.eval_shape(self._every_site, jax.random.key(0))
        unknown = [name for name in self.observed if name not in shapes]
        if unknown or not self.observed:
            raise ValueError(
                f"observed has to name sample sites of the model, at least one; got {list(observed)}. The model has "
                f"{sorted(shapes)}"
            )
        self.latent = tuple(name for name in shapes if name not in self.observed)
        if not self.latent:
            raise ValueError("the model has no site left to be drawn: every sample site is observed")

    def _every_site(self, key: PRNGKeyArray) -> dict[str, Array]:
        trace = handlers.trace(handlers.seed(handlers.uncondition(self.model), key)).get_trace(
            *self.args, **self.kwargs
        )
        sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
        factors = [name for name, site in sites.items() if isinstance(site["fn"], Unit)]
        if factors:
            raise ValueError(
                f"the model has the factors {factors}, which change its density but not what it simulates; write them as "
                "sample sites, or calibrate with simulation_based_calibration and a simulator of your own"
            )
        return {name: site["value"] for name, site in sites.items()}

    def prior(self, key: PRNGKeyArray) -> dict[str, Array]:
        """Draw the latent sites."""
        sites = self._every_site(key)
        return {name: jnp.asarray(sites[name]) for name in self.latent}

    def simulate(self, key: PRNGKeyArray, theta: Mapping[str, Array]) -> dict[str, Array]:
        """Draw the observed sites given the latent ones."""
        given = handlers.substitute(handlers.uncondition(self.model), data=dict(theta))
        trace = handlers.trace(handlers.seed(given, key)).get_trace(*self.args, **self.kwargs)
        return {name: jnp.asarray(trace[name]["value"]) for name in self.observed}

    def conditioned(self, data: Mapping[str, Array], *args: Any, **kwargs: Any) -> Any:
        """Run the model with data for its observed sites: what samplers see, with the data as an argument."""
        return handlers.condition(handlers.uncondition(self.model), data=dict(data))(*args, **kwargs)

    def _log_probs(self, theta: Any, data: Any) -> dict[str, Array]:
        return compute_log_probs(self.conditioned, (data, *self.args), self.kwargs, dict(theta))[0]

    def loglikelihood(self, theta: Any, data: Any) -> Array:
        """Return the log likelihood: the sum over the observed sites."""
        probs = self._log_probs(theta, data)
        return sum((probs[name] for name in self.observed), jnp.zeros(()))

    def logjoint(self, theta: Any, data: Any) -> Array:
        """Return the log of the joint density of latent and observed sites, at constrained values."""
        return sum(self._log_probs(theta, data).values(), jnp.zeros(()))

    def quantities(self) -> dict[str, Quantity]:
        """Return every entry of every latent site, the log likelihood and the log joint density."""
        return {
            **parameter_quantities(jax.eval_shape(self.prior, jax.random.key(0))),
            "log likelihood": self.loglikelihood,
            "log joint": self.logjoint,
        }

    def draws(self, sampler: Callable[[Model], MCMCKernel], warmup: int) -> PosteriorDraws:
        """Return posterior draws along one chain of a kernel for NumPyro, tuned anew for every data set."""

        def draw(key: PRNGKeyArray, data: Any, n: int) -> dict[str, Array]:
            # Made anew within the trace: NumPyro's kernels keep what they learn about a model.
            kernel = sampler(self.conditioned)
            arguments = (data, *self.args)
            state = kernel.init(key, warmup, None, arguments, self.kwargs)

            def step(state: Any, _: Any) -> tuple[Any, Any]:
                state = kernel.sample(state, arguments, self.kwargs)
                return state, getattr(state, kernel.sample_field)

            if warmup:
                state = lax.scan(lambda state, none: (step(state, none)[0], None), state, None, length=warmup)[0]
            positions = lax.scan(step, state, None, length=n)[1]
            sites = jax.vmap(kernel.postprocess_fn(arguments, self.kwargs))(positions)
            return {name: sites[name] for name in self.latent}

        return draw


def numpyro_calibration(
    model: Model,
    *args: Any,
    observed: Sequence[str],
    sampler: Callable[[Model], MCMCKernel],
    key: PRNGKeyArray,
    quantities: Mapping[str, Quantity] | None = None,
    simulations: int = 200,
    draws: int = 99,
    thin: int | Literal["ess"] = "ess",
    warmup: int = 500,
    batch: int | None = None,
    **kwargs: Any,
) -> RankReport:
    """Calibrate a sampler on a NumPyro model by simulation.

    Parameters
    ----------
    model
        The model. It has to run without looking at values of the data.
    *args, **kwargs
        Its arguments; covariates, say. Data among them are not used. Their shapes set those of the simulated data.
    observed
        Names of the sample sites that are data.
    sampler
        ``sampler(model)`` returns a kernel of ``numpyro.infer.MCMC``: ``NUTS`` itself, or
        ``lambda model: NumPyroKernel(CoordinateSlice(0.5), model)``. It is tuned in the warm-up of every simulation.
    key
        Typed key.
    quantities
        Named functions ``(theta, data) -> scalar`` of dictionaries by site, at the model's own, constrained values.
        Default: every entry of every latent site, the log likelihood and the log joint density.
    simulations, draws, thin, warmup, batch
        As in :func:`.simulation_based.simulation_based_calibration`.

    Returns
    -------
    RankReport
        A diagnostic, since thinned chains are not independent draws: its outcomes have no false-alarm probability that is
        proven. Its p-values are right as far as the thinning suffices.

    Raises
    ------
    ValueError
        If ``observed`` names no sample site, or no site is left to be drawn; and as
        :func:`.simulation_based.simulation_based_calibration`.
    FloatingPointError
        If a quantity is NaN or infinite somewhere.
    """
    static_count("warmup", warmup, at_least=0)
    simulated = SimulatedModel(model, observed, args, kwargs)
    return simulation_based_calibration(
        simulated.prior,
        simulated.simulate,
        key=key,
        posterior_draws=simulated.draws(sampler, warmup),
        quantities=simulated.quantities() if quantities is None else quantities,
        simulations=simulations,
        draws=draws,
        thin=thin,
        independent=False,
        batch=batch,
    )

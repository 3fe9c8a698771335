"""Hidden Markov models with two states, their paths summed out by the forward recursion."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from posteriors.posterior import Posterior, polar, read

TWO_ORDERED = dist.ImproperUniform(dist.constraints.positive_ordered_vector, (), (2,))


def forward(log_transitions: Any, log_emissions: Any) -> Any:
    """Return the log of the sum over all paths, with weight one for either first state.

    Parameters
    ----------
    log_transitions
        Rows are the states left, columns those entered.
    log_emissions
        One row for each time, one column for each state.
    """

    def advance(log_weights: Any, emission: Any) -> Any:
        arriving = jax.nn.logsumexp(log_weights[:, None] + log_transitions, axis=0)
        return arriving + emission, None

    log_weights, _ = jax.lax.scan(advance, log_emissions[0], log_emissions[1:])
    return jax.nn.logsumexp(log_weights)


def transitions(alpha: Any) -> Any:
    """Sample the two rows of the transition matrix, and return its logarithm."""
    rows = [numpyro.sample(f"theta{state + 1}", dist.Dirichlet(alpha[state])) for state in range(2)]
    return jnp.log(jnp.stack(rows))


def two_positive_ordered(name: str, means: tuple[float, float]) -> Any:
    """Sample ``0 < x[1] < x[2]`` with normal factors of standard deviation one."""
    values = numpyro.sample(name, TWO_ORDERED)
    numpyro.factor(f"{name}_prior", dist.Normal(jnp.asarray(means), 1.0).log_prob(values).sum())
    return values


def gaussian_emissions(y: Any) -> None:
    log_transitions = transitions(jnp.ones((2, 2)))
    mu = two_positive_ordered("mu", (3.0, 10.0))
    numpyro.factor("y", forward(log_transitions, dist.Normal(mu, 1.0).log_prob(y[:, None])))


def exponential_emissions(u: Any, v: Any, alpha: Any) -> None:
    """Two channels, independent given the state: how fast a player drives, and how far he stands from the hoop."""
    log_transitions = transitions(alpha)
    phi = two_positive_ordered("phi", (0.0, 3.0))
    rate = two_positive_ordered("lambda", (0.0, 3.0))
    emissions = dist.Exponential(phi).log_prob(u[:, None]) + dist.Exponential(rate).log_prob(v[:, None])
    numpyro.factor("uv", forward(log_transitions, emissions))


def posteriors() -> list[Posterior]:
    """Return a simulated series, and a drive in basketball."""
    example, example_reference = read("hmm_example-hmm_example")
    drive, drive_reference = read("bball_drive_event_0-hmm_drive_0")
    return [
        Posterior(
            "hmm_example-hmm_example",
            gaussian_emissions,
            {"y": jnp.asarray(example["y"])},
            example_reference,
            **polar(4),
        ),
        Posterior(
            "bball_drive_event_0-hmm_drive_0",
            exponential_emissions,
            {name: jnp.asarray(drive[name], float) for name in ("u", "v", "alpha")},
            drive_reference,
            **polar(6),
        ),
    ]

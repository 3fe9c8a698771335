"""Rows of the catalogue for the blocks of Gibbs samplers that are made from NumPyro models."""

import functools
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.interop.over_plate import OverPlate, over_plate
from ergodica.samplers.interop.site_heat_bath import SiteHeatBath
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_matrix

SIZE, VALUES = 3, 3
PRIOR = (0.2, 0.5, 0.3)
SEEN = (0.3, 1.9, 1.2)
COUPLING = 0.6


def model() -> None:
    """Three sites of three values in a line, each seen with noise; neighbours like to be equal."""
    import numpyro
    import numpyro.distributions as dist

    with numpyro.plate("line", SIZE):
        z = numpyro.sample("z", dist.Categorical(jnp.array(PRIOR)))
        numpyro.sample("seen", dist.Normal(z, 1.0), obs=jnp.array(SEEN))
    numpyro.factor("bonds", COUPLING * (z[1:] == z[:-1]))


@functools.cache
def truth() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return all states of the model and their probabilities, written down by hand."""
    states = np.array(list(itertools.product(range(VALUES), repeat=SIZE)))
    logs = np.log(PRIOR)[states].sum(axis=1) - 0.5 * ((states - np.array(SEEN)) ** 2).sum(axis=1)
    logs = logs + COUPLING * (states[:, 1:] == states[:, :-1]).sum(axis=1)
    weights = np.exp(logs - logs.max())
    return {"z": states}, weights / weights.sum()


def _block(how: Any) -> Any:
    from ergodica.samplers.interop.numpyro_gibbs import Gibbs

    return Gibbs({"z": how}).for_model(model).kernel.parts[0]


def _exactly(subject: Any, key: PRNGKeyArray) -> Outcome:
    del key
    states, probabilities = truth()
    report = check_matrix(
        transition_matrix(subject, states), probabilities, states, reversible=bool(subject.claim.reversible)
    )
    failing = [(label, outcome) for label, outcome in report.outcomes.items() if not outcome.passed]
    numeric = [item for item in report.outcomes.items() if item[0] != "irreducible"]
    label, worst = failing[0] if failing else max(numeric, key=lambda item: item[1].statistic / item[1].bound)
    return Outcome(worst.statistic, worst.bound, worst.passed, 0.0, f"{label}: {worst.details}")


EXACT = Check("exact law: a line of three sites, its density written by hand", _exactly, 3.0)

CASES: tuple[Case, ...] = (
    Case("site-heat-bath", SiteHeatBath, lambda: _block("exact"), (EXACT,), only_example=True),
    Case(
        "over-plate", OverPlate, lambda: _block(over_plate(HeatBath(list(range(VALUES))))), (EXACT,), only_example=True
    ),
)

"""Forty real posteriors with reference moments, as NumPyro models.

Each file of this folder is a family of models. ``all_posteriors()`` lists them all, ``posterior(name)`` returns one; see
:class:`posteriors.posterior.Posterior` for what there is in it. Enable double precision first, as the references are far
more precise than single precision.
"""

from posteriors import (
    binomial,
    eight_schools,
    gaussian_process,
    graded_response,
    hidden_markov,
    linear_regression,
    logistic_regression,
    mixture,
    ordinary_differential,
    poisson_regression,
    time_series,
)
from posteriors.posterior import Posterior

FAMILIES = (
    binomial,
    eight_schools,
    gaussian_process,
    graded_response,
    hidden_markov,
    linear_regression,
    logistic_regression,
    mixture,
    ordinary_differential,
    poisson_regression,
    time_series,
)


def all_posteriors() -> dict[str, Posterior]:
    """Return the forty posteriors by name, in the order of the alphabet."""
    found = [posterior for family in FAMILIES for posterior in family.posteriors()]
    return {posterior.name: posterior for posterior in sorted(found, key=lambda posterior: posterior.name.lower())}

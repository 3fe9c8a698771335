"""Any measure of quality as a test with an exact level, where the target can be sampled.

The measure of the sample is compared with the measures of fresh samples of the same size. Under the null hypothesis
all of them are exchangeable, so the rank of the first is uniform, whatever the measure.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.samplers.inputs import static_count
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.sample import sample_points
from ergodica.validation.quality.verdict import Verdict


def monte_carlo_test(
    sample: ArrayLike,
    draw: Callable[[PRNGKeyArray], Any],
    measure: Callable[[Float[np.ndarray, "n d"]], float],
    *,
    key: PRNGKeyArray,
    replicates: int = 99,
) -> Verdict:
    """Test a sample by a measure of quality, against the measure of exact samples.

    Parameters
    ----------
    sample
        Shape ``(n, d)`` or ``(n,)``: one independent experiment. Its points may depend on each other only as those of
        ``draw(key)`` do, which are independent as a rule.
    draw
        ``draw(key)`` returns an exact sample of the shape of ``sample``.
    measure
        ``measure(points) -> float``, large for bad samples, without randomness. A distance takes a second reference
        sample that is drawn once, before; then ``reference`` of the result is the floor that sample sizes impose.
    key
        Typed key of the exact samples.
    replicates
        Number of exact samples.

    Raises
    ------
    TypeError, ValueError
        If the samples are not fit or differ in shape, or the measure of a sample is NaN.

    References
    ----------
    Julian Besag and Peter Clifford (1989), Generalized Monte Carlo significance tests, Biometrika 76(4).
    """
    static_count("replicates", replicates)
    generator_of(key)  # refuses what is no typed key
    x = sample_points("sample", sample)
    observed = float(measure(x))
    values = np.empty(replicates)
    for i, subkey in enumerate(jax.random.split(key, replicates)):
        fresh = sample_points("draw(key)", draw(subkey))
        if fresh.shape != x.shape:
            raise ValueError(f"draw(key) has to return the shape of the sample, {x.shape}; got {fresh.shape}")
        values[i] = measure(fresh)
    if np.isnan(observed) or np.any(np.isnan(values)):
        raise ValueError("the measure of a sample is NaN, so it cannot be ranked")
    return Verdict(
        value=observed,
        p_value=(1 + int(np.sum(values >= observed))) / (replicates + 1),
        exact=True,
        guarantee="rank among exact samples; P(p <= u) <= u for every sample size",
        resolution=1 / (replicates + 1),
        method=f"Monte Carlo test with {replicates} exact samples",
        reference=values,
    )

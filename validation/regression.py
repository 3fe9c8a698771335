"""A step's conditional mean against the closed form that theory gives.

For some kernels ``E[g(x') | x]`` has a closed form: ``(x^2 + 2) / 3`` for the square under a slice sampler of the
normal law. From exact draws ``x`` the products ``(g(x') - E[g(x') | x]) h(x)`` then have mean zero for every ``h``, and
their variance is at most that of ``g`` under the target if ``|h| <= 1``. That gives a test with a proven level that
sees wrong dynamics even where the target is left invariant.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy import special

from ergodica.samplers import random
from ergodica.samplers.inputs import static_count
from ergodica.validation.evalues import mean_log_evalue
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.replicates import Replicates
from ergodica.validation.targets.target import AnyTarget, bind_to, several_steps, start_state


def regression_check(
    name: str,
    target: AnyTarget,
    g: Callable[[Any], Array],
    expected: Callable[[Any], Array],
    *,
    variance: float,
    lag: int = 1,
    n: int = 20000,
    alpha: float = 1e-6,
    bind: Callable[[Any, Any], Any] = bind_to,
    start: Callable[[Any, PRNGKeyArray, Any], Any] = start_state,
    seconds: float = 1.5,
) -> Check:
    """Make a check of a closed-form conditional mean.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Law with exact draws.
    g
        ``position -> scalar``.
    expected
        ``position -> scalar``: the conditional mean of ``g`` after ``lag`` steps from the position.
    variance
        The variance of ``g`` under the target, or an upper bound; a bound that is too small makes the level void.
    lag
        Number of steps.
    n
        Independent replicates.
    alpha
        Proven bound of the false-alarm probability for a kernel that is invariant with this conditional mean.
    bind
        ``bind(subject, target)`` returns the kernel that has the target.
    start
        ``start(kernel, key, position)`` returns the state at an exact draw.
    seconds
        Rough cost.

    Returns
    -------
    Check
        The statistic is the log of an e-value, the average over ``h = 1`` and ``h = tanh`` of the standardised
        ``g(x)``; the bound is ``log(1 / alpha)``. See :func:`ergodica.validation.evalues.mean_log_evalue`.
    """
    static_count("lag", lag)
    if not variance > 0:
        raise ValueError(f"variance has to be positive, the variance of g under the target; got {variance}")

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        centre_key, main_key = random.split(key)
        # Independent of the draws below, so that h is a fixed function there.
        centre = jnp.median(jax.vmap(g)(target.sample(centre_key, 1000)))

        def experiment(key: PRNGKeyArray) -> tuple[Array, Array]:
            draw_key, start_key, step_key = random.split(key, 3)
            position = target.sample(draw_key, 1)[0]
            after = several_steps(kernel, step_key, start(kernel, start_key, position), lag).position
            return g(after) - expected(position), jnp.tanh((g(position) - centre) / np.sqrt(variance))

        residual, slope = Replicates(experiment)(main_key, n)
        bound = float(np.log(1 / alpha))
        if not np.all(np.isfinite(residual)):
            return Outcome(np.inf, bound, False, alpha, "a step led to a value that is not finite")
        logs = {
            "mean": mean_log_evalue(residual, variance, alpha),
            "slope": mean_log_evalue(residual * slope, variance, alpha),
        }
        statistic = float(special.logsumexp(list(logs.values())) - np.log(len(logs)))
        seen = ", ".join(
            f"{label} {np.mean(values):.4g} +- {np.std(values) / np.sqrt(n):.2g}"
            for label, values in (("mean residual", residual), ("residual times slope", residual * slope))
        )
        return Outcome(statistic, bound, statistic < bound, alpha, f"{seen}; {n} replicates")

    return Check(name=f"regression: {name}", run=run, seconds=seconds)

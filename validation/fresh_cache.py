"""A state that caches the log density has to cache that of its own position."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ergodica.samplers import random
from ergodica.validation.evidence import Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.replicates import Replicates
from ergodica.validation.targets.target import AnyTarget, bind_to, start_state

__all__ = ["fresh_cache_check"]


def fresh_cache_check(
    name: str,
    target: AnyTarget,
    *,
    steps: int = 4,
    n: int = 400,
    bind: Callable[[Any, Any], Any] = bind_to,
    seconds: float = 1.0,
) -> Check:
    """Make a check that the log density that a state caches is that of its position, after every step.

    A kernel that moves and keeps the old value accepts the next proposal against the wrong density; the first step from
    a fresh start shows nothing of it.

    Parameters
    ----------
    name
        Name of the check; the method is put in front.
    target
        Law with exact draws.
    steps, n
        Steps along each chain, and number of chains.
    bind
        ``bind(subject, target)`` returns the kernel that has the target.
    seconds
        Rough cost.

    Returns
    -------
    Check
        Exact: the statistic is the largest difference between ``state.logdensity`` and that of ``refresh(state)``, relative
        to one plus its size; the bound ``1e-6`` allows for values that are updated and not recomputed.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        stepping = on_chosen_host(kernel)

        def experiment(key: PRNGKeyArray) -> tuple[Array, Array, Any]:
            draw_key, start_key, steps_key = random.split(key, 3)
            state = start_state(kernel, start_key, target.sample(draw_key, 1)[0])

            def body(state: Any, index: Array) -> tuple[Any, tuple[Array, Array, Any]]:
                state = stepping.step(random.fold_in(steps_key, index), state)[0]
                return state, (state.logdensity, kernel.refresh(state).logdensity, state.position)

            return jax.lax.scan(body, state, jnp.arange(steps))[1]

        cached, true, positions = Replicates(experiment)(key, n)
        with np.errstate(invalid="ignore"):
            error = np.where(cached == true, 0.0, np.abs(cached - true) / (1 + np.abs(true)))
        error = np.where(np.isnan(error), np.inf, error)
        at = np.unravel_index(np.argmax(error), error.shape)
        place = jax.tree.map(lambda leaf: np.round(np.asarray(leaf)[at], 6).tolist(), positions)
        details = (
            f"the state after step {int(at[1]) + 1} is at {place} and holds the log density {cached[at]:.6g}; that of its "
            f"position is {true[at]:.6g}. Keep the value that belongs to the position that the step returns"
        )
        worst = float(error[at])
        return Outcome(worst, 1e-6, worst <= 1e-6, 0.0, "" if worst <= 1e-6 else details)

    return Check(f"cache: {name}", run, seconds)

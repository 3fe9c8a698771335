"""Whether a kernel moves at all: staying put leaves every law invariant."""

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

__all__ = ["movement_check"]


def movement_check(
    name: str,
    target: AnyTarget,
    *,
    steps: int = 20,
    n: int = 200,
    bind: Callable[[Any, Any], Any] = bind_to,
    seconds: float = 1.0,
) -> Check:
    """Make a check that chains from exact draws move.

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
        A diagnostic, since a right kernel may accept as seldom as it likes: the statistic is the share of chains that never
        moved, and it fails if none did.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = bind(subject, target)
        stepping = on_chosen_host(kernel)

        def experiment(key: PRNGKeyArray) -> Array:
            draw_key, start_key, steps_key = random.split(key, 3)
            position = target.sample(draw_key, 1)[0]

            def body(carry: tuple[Any, Array], index: Array) -> tuple[tuple[Any, Array], None]:
                state, moved = carry
                state = stepping.step(random.fold_in(steps_key, index), state)[0]
                pairs = zip(jax.tree.leaves(state.position), jax.tree.leaves(position), strict=True)
                return (state, moved | jnp.any(jnp.stack([jnp.any(new != old) for new, old in pairs]))), None

            first = (start_state(kernel, start_key, position), jnp.asarray(False))
            return jax.lax.scan(body, first, jnp.arange(steps))[0][1]

        still = float(np.mean(~Replicates(experiment)(key, n)))
        details = f"{still:.0%} of {n} chains are still at their exact draw after {steps} steps"
        return Outcome(still, 1.0, still < 1.0, None, details)

    return Check(f"movement: {name}", run, seconds)

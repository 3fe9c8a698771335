"""Speculative sampling of a value whose law has a density: one draft, and a residual sampled by rejection."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree

from ergodica.samplers import random
from ergodica.samplers.acceptance.continuous.decision import ContinuousDecision
from ergodica.samplers.acceptance.independence import SamplerWithDensity, proposal_density
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.density import density_dtype
from ergodica.samplers.inputs import is_concrete, real_parameter, static_count
from ergodica.theory.couplings import RejectionCouplingCost, rejection_coupling_cost


class DensityDraft(AcceptanceRule):
    """Keep a draft ``x ~ q`` with probability ``eta min(1, p(x) / q(x))``, else draw from what is missing of ``p``.

    The residual law ``(p - eta q)+`` with respect to what is kept is sampled by rejection: a draw ``z`` of ``p`` is taken
    with probability ``1 - eta min(1, q(z) / p(z))``. Whatever the two laws, the expected number of draws of ``p`` for each
    value is 1 (rejecting a draft is as rare as succeeding here), but with ``eta = 1`` its variance is ``2 / TV - 2``.

    Parameters
    ----------
    eta
        In (0, 1]. With 1 no rule keeps the draft more often; below, the variance of the number of draws is at most
        ``2 eta / (1 - eta)`` for all pairs of laws.
    max_draws
        After so many draws for one value, NaN is returned and ``is_valid`` is False: another way out would change the
        law. For normalised densities this has a probability below ``1 / (e max_draws)``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    Both log densities have to be normalised, or off by the same constant. Otherwise the residual may be empty, and draws
    run out.

    References
    ----------
    V. E. Johnson, 1998, A coupling-regeneration scheme for diagnosing convergence in Markov chain Monte Carlo algorithms,
    JASA 93; P. E. Jacob, J. O'Leary and Y. F. Atchadé, 2020, JRSS B 82, arXiv:1708.03625, and the discussion by M. Gerber
    and A. Lee for ``eta``.
    """

    eta: Float[Array, ""]
    max_draws: int = eqx.field(static=True)

    def __init__(self, eta: ArrayLike = 1.0, *, max_draws: int = 1_000_000) -> None:
        self.eta = real_parameter("eta", eta, above=0.0)
        if is_concrete(self.eta) and float(self.eta) > 1:
            raise ValueError(f"eta is a probability; got {float(self.eta):g}")
        self.max_draws = static_count("max_draws", max_draws)

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact: values have the target's law."""
        return Claim(
            Exactness.EXACT,
            "emits values with the target's law, whatever the draft's",
            "Johnson 1998; Jacob, O'Leary and Atchadé 2020, arXiv:1708.03625",
            spaces=frozenset({Space.REAL, Space.FINITE}),
            independent=True,
        )

    def draw(
        self, key: PRNGKeyArray, draft: PyTree, target: SamplerWithDensity, draft_law: SamplerWithDensity
    ) -> ContinuousDecision:
        """Keep the draft, or draw from the residual law.

        Parameters
        ----------
        key
            Typed key, not the one that the draft was drawn with.
        draft
            A draw of ``draft_law``.
        target, draft_law
            With ``log_prob(x)``, a scalar; the target with ``sample(key)`` as well. Distributions of NumPyro and FlowJAX
            are such laws.

        Returns
        -------
        ContinuousDecision
        """
        accept_key, residual_key = random.split(key)
        dtype = density_dtype(draft)
        eta = self.eta.astype(dtype)

        def overlap(value: PyTree, of: Any, over: Any) -> tuple[Float[Array, ""], Bool[Array, ""]]:
            """Return ``eta min(1, of / over)`` at a draw of ``over``, and whether the densities are usable."""
            top, bottom = proposal_density(of, value, dtype), proposal_density(over, value, dtype)
            usable = ~jnp.isnan(top) & ~jnp.isposinf(top) & jnp.isfinite(bottom)
            return jnp.where(usable, eta * jnp.exp(jnp.minimum(top - bottom, 0.0)), 0.0), usable

        chance, usable = overlap(draft, target, draft_law)
        accepted = random.bernoulli(accept_key, chance)

        def is_searching(carry: tuple[Any, ...]) -> Bool[Array, ""]:
            _, draws, found, good = carry
            return ~found & good & (draws < self.max_draws)

        def try_again(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            _, draws, _, _ = carry
            draw_key, test_key = random.split(random.fold_in(residual_key, draws))
            value = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), target.sample(draw_key), draft)
            shared, good = overlap(value, draft_law, target)
            return value, draws + 1, random.bernoulli(test_key, 1 - shared) & good, good

        draft = jax.tree.map(jnp.asarray, draft)
        start = (draft, jnp.asarray(0, jnp.int32), accepted, usable)
        value, draws, found, good = lax.while_loop(is_searching, try_again, start)
        is_valid = found & good
        value = jax.tree.map(lambda leaf: jnp.where(is_valid, leaf, _nothing(leaf.dtype)), value)
        kept = accepted & is_valid
        return ContinuousDecision(value, kept, jnp.where(kept, 0, -1).astype(jnp.int32), draws, is_valid)

    def cost(self, total_variation: float) -> RejectionCouplingCost:
        """Return how often the draft is kept, and mean and variance of the number of draws of the target.

        Parameters
        ----------
        total_variation
            Distance of the two laws, in [0, 1].
        """
        return rejection_coupling_cost(total_variation, float(self.eta))


def _nothing(dtype: Any) -> Any:
    return jnp.nan if jnp.issubdtype(dtype, jnp.floating) else -1

"""Acceptance rules that decide by the Metropolis-Hastings ratio: Metropolis, Barker, and what lies between and below.

A rule is balanced if its acceptance probability satisfies ``a(r) = r a(1/r)``, which is to say
``a(r) = min(1, r) h(|log r|)`` with ``0 <= h <= 1``. Every balanced rule leaves the target invariant, reversibly;
Metropolis, with ``h = 1``, accepts most, and no other has a smaller asymptotic variance for any function (Peskun 1973).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.inputs import is_concrete, real_parameter

__all__ = ["Barker", "GeneralisedBarker", "Lazy", "Metropolis", "as_ratio_rule"]


def _claim(name: str, source: str) -> Claim:
    return Claim(Exactness.EXACT, f"{name} acceptance leaves the target invariant", source=source, reversible=True)


def _without_nan(log_ratio: Float[Array, "..."], probability: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(jnp.isnan(log_ratio), 0.0, probability).astype(log_ratio.dtype)


class Metropolis(RatioRule):
    """Exact, reversible rule that accepts with probability ``min(1, r)``.

    Notes
    -----
    Claim: exact and reversible. Of all balanced rules it has the largest acceptance probability at every ratio, hence
    the smallest asymptotic variance.

    References
    ----------
    N. Metropolis, A. Rosenbluth, M. Rosenbluth, A. Teller and E. Teller, 1953, J. Chem. Phys. 21,
    doi:10.1063/1.1699114; W. K. Hastings, 1970, Biometrika 57, doi:10.1093/biomet/57.1.97; P. Peskun, 1973,
    Biometrika 60, doi:10.1093/biomet/60.3.607.
    """

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return _claim("Metropolis", "Metropolis et al. 1953, doi:10.1063/1.1699114; Hastings 1970")

    def probability(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return ``min(1, r)``; 0 where the ratio is NaN."""
        return _without_nan(log_ratio, jnp.exp(jnp.minimum(log_ratio, 0.0)))


def as_ratio_rule(rule: Any, kernel: str) -> RatioRule:
    """Check that a rule decides by the ratio, and return it; ``None`` stands for Metropolis's.

    Raises
    ------
    TypeError
        If it does not.
    """
    if rule is None:
        return Metropolis()
    if not isinstance(rule, RatioRule):
        raise TypeError(
            f"{kernel} needs a rule that decides by the ratio, such as Metropolis() or Barker(); got {rule!r}"
        )
    return rule


class Barker(RatioRule):
    """Exact, reversible rule that accepts with probability ``r / (1 + r)``, a logistic function of the log ratio.

    Notes
    -----
    Claim: exact and reversible. Its asymptotic variance of a function ``f`` is between Metropolis's and twice
    Metropolis's plus the variance of ``f``.

    References
    ----------
    A. A. Barker, 1965, Australian J. Physics 18, doi:10.1071/PH650119; K. Łatuszyński and G. O. Roberts, 2013, CLTs and
    asymptotic variance of time-sampled Markov chains, Methodol. Comput. Appl. Probab. 15.
    """

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return _claim("Barker", "Barker 1965, doi:10.1071/PH650119")

    def probability(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return ``r / (1 + r)``; 0 where the ratio is NaN."""
        return _without_nan(log_ratio, jax.nn.sigmoid(log_ratio))


class GeneralisedBarker(RatioRule):
    """Exact, reversible rule between Barker (order 1) and Metropolis (order infinity).

    It accepts with probability ``(r + ... + r^k) / (1 + r + ... + r^k)`` at order ``k``; the closed form of the sums
    extends it to every positive order.

    Parameters
    ----------
    order
        Positive number ``k``.

    Raises
    ------
    ValueError, TypeError
        If the order is not a positive number.

    Notes
    -----
    Claim: exact and reversible for every order.

    References
    ----------
    S. Agrawal, D. Vats, K. Łatuszyński and G. O. Roberts, 2022, Optimal scaling of MCMC beyond Metropolis,
    arXiv:2104.02020.
    """

    order: Float[Array, ""]

    def __init__(self, order: ArrayLike = 2.0) -> None:
        self.order = real_parameter("order", order, above=0.0)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return _claim("generalised Barker", "Agrawal, Vats, Łatuszyński and Roberts 2022, arXiv:2104.02020")

    def probability(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return ``min(1, r) (1 - s^k) / (1 - s^(k + 1))`` with ``s = min(r, 1/r)``; 0 where the ratio is NaN."""
        order = self.order.astype(log_ratio.dtype)
        distance = -jnp.abs(log_ratio)
        # The quotient is 0/0 at r = 1, where its limit is k / (k + 1), and is lost to underflow beside it.
        tied = distance > -jnp.sqrt(jnp.finfo(log_ratio.dtype).tiny)
        below = jnp.where(tied, -1.0, distance)
        damping = jnp.where(tied, order / (order + 1), jnp.expm1(order * below) / jnp.expm1((order + 1) * below))
        return _without_nan(log_ratio, jnp.exp(jnp.minimum(log_ratio, 0.0)) * damping)


class Lazy(RatioRule):
    """Exact, reversible rule that considers a draft only now and then: another rule's probability times a constant.

    With the default constant 1/2 the chain holds at least half of the time, so that it has no negative eigenvalue and
    no period.

    Parameters
    ----------
    rule
        The rule that decides when the draft is considered; default: Metropolis's.
    consider
        Probability of considering it, in (0, 1].

    Raises
    ------
    ValueError, TypeError
        If ``rule`` does not decide by the ratio, or ``consider`` is outside (0, 1].

    Notes
    -----
    Claim: that of the rule.

    References
    ----------
    D. A. Levin and Y. Peres, 2017, Markov Chains and Mixing Times, section 1.3; K. Łatuszyński and G. O. Roberts, 2013,
    CLTs and asymptotic variance of time-sampled Markov chains, Methodol. Comput. Appl. Probab. 15.
    """

    rule: RatioRule
    consider: Float[Array, ""]

    def __init__(self, rule: RatioRule | None = None, consider: ArrayLike = 0.5) -> None:
        self.rule = as_ratio_rule(rule, "Lazy")
        self.consider = real_parameter("consider", consider, above=0.0)
        if is_concrete(self.consider) and self.consider > 1:
            raise ValueError(f"consider is a probability; got {float(self.consider):g}")

    @property
    def claim(self) -> Claim:
        """That of the rule."""
        return self.rule.claim

    def probability(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the rule's probability times the probability of considering the draft."""
        return self.consider.astype(log_ratio.dtype) * self.rule.probability(log_ratio)

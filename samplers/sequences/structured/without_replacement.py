"""Means over a law from a sample of different outcomes, without bias.

A sample without replacement holds no outcome twice, but it is not a sample of the law: likely outcomes are in it almost
surely. Each estimator here gives the outcomes of a sample weights ``c`` with ``E[sum of c_i f_i over the sample] =
sum of p_i f_i`` for every ``f``. Dividing the weights by their sum lowers the error of small samples and brings a bias.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import as_law, check_logits
from ergodica.samplers.claim import Claim, Exactness

__all__ = [
    "GumbelSample",
    "MurthyWeights",
    "RajWeights",
    "SubsetWeights",
    "ThresholdWeights",
    "gumbel_top_k",
    "log_inclusion",
    "weighted_mean",
]

_MOST_MEMBERS = 14


class GumbelSample(NamedTuple):
    """A sample without replacement with what its estimators need.

    Parameters
    ----------
    tokens
        Different outcomes, in the order of successive draws without replacement, shape ``(k,)``; -1 where the support has
        fewer than ``k`` outcomes.
    log_p
        Their log probabilities; ``-inf`` where there is none.
    keys
        Their Gumbel keys, falling.
    threshold
        The ``(k + 1)``-th largest key; ``-inf`` if all outcomes are in the sample.
    """

    tokens: Int[Array, " k"]
    log_p: Float[Array, " k"]
    keys: Float[Array, " k"]
    threshold: Float[Array, ""]


def gumbel_top_k(key: PRNGKeyArray, logits: inputs.Numbers, k: int) -> GumbelSample:
    """Draw ``k`` different outcomes: those with the largest ``log p + Gumbel``.

    Parameters
    ----------
    key
        Typed key.
    logits
        Unnormalised log probabilities, shape ``(V,)``; ``-inf`` marks an impossible outcome.
    k
        Static size of the sample.

    Returns
    -------
    GumbelSample

    Raises
    ------
    ValueError
        If the logits are concrete and no law, or ``k`` is not positive.

    References
    ----------
    W. Kool, H. van Hoof, M. Welling, 2019, Stochastic beams and where to find them, arXiv 1903.06059.
    """
    k = inputs.static_count("k", k)
    logits = jnp.asarray(logits)
    if inputs.is_concrete(logits):
        check_logits("logits", logits)
    if logits.ndim != 1:
        raise ValueError(f"logits has to be a vector; got shape {logits.shape}")
    log_p = jax.nn.log_softmax(logits.astype(float))
    keys = jnp.where(jnp.isneginf(log_p), -jnp.inf, log_p + random.gumbel(key, log_p.shape, log_p.dtype))
    missing = max(k + 1 - keys.size, 0)
    largest, tokens = jax.lax.top_k(jnp.pad(keys, (0, missing), constant_values=-jnp.inf), k + 1)
    found = jnp.isfinite(largest[:k])
    tokens = jnp.where(found, tokens[:k], -1)
    return GumbelSample(tokens, jnp.where(found, log_p[tokens], -jnp.inf), largest[:k], largest[k])


def log_inclusion(log_p: Any, threshold: Any) -> Any:
    """Return the log probability that ``log p + Gumbel`` exceeds a threshold: ``log(1 - exp(-exp(log p - threshold)))``.

    Parameters
    ----------
    log_p
        Log probabilities.
    threshold
        Level of the keys; ``-inf`` is exceeded surely.

    Returns
    -------
    array
        Accurate also where the probability is tiny, or one up to rounding.
    """
    xp = np if isinstance(log_p, np.ndarray | np.floating) else jnp
    y = threshold - log_p
    rate = xp.exp(-xp.minimum(y, 10.0))
    near = xp.log(-xp.expm1(-rate))
    # For large y the series -y - z/2 + z^2/24 with z = exp(-y): exp(-y) itself may underflow.
    tail = xp.exp(-xp.maximum(y, 10.0))
    far = -y - tail / 2 + tail * tail / 24
    return xp.where(y >= 10.0, far, near)


class SubsetWeights(eqx.Module):
    """Weights of the outcomes in a sample without replacement.

    To write one, subclass and define :attr:`claim` and :meth:`weights`.
    """

    @property
    @abc.abstractmethod
    def claim(self) -> Claim:
        """What the weighted sum estimates."""

    @abc.abstractmethod
    def weights(self, p: Any, tokens: Any, threshold: Any = None) -> Any:
        """Return the weights of a sample.

        Parameters
        ----------
        p
            The probabilities of the sample's outcomes under the whole law, shape ``(k,)``: floats or fractions.
        tokens
            Not used by most: the outcomes, shape ``(k,)``, -1 where there is none.
        threshold
            The largest key outside the sample.

        Returns
        -------
        array of shape (k,)
        """


class ThresholdWeights(SubsetWeights):
    """Divides each probability by the chance that its key exceeds the threshold: ``p / (1 - exp(-exp(log p - kappa)))``.

    Given the other keys, an outcome is in the sample exactly if its key exceeds the threshold. The weights of two outcomes
    are uncorrelated, so that :meth:`variance` is an unbiased estimate of the estimator's variance. It needs the sample's
    probabilities alone, at ``O(k)``. The same estimator is called priority sampling in the literature on data streams.

    References
    ----------
    W. Kool, H. van Hoof, M. Welling, 2019, arXiv 1903.06059; N. Duffield, C. Lund, M. Thorup, 2007, Priority sampling for
    estimation of arbitrary subset sums, J. ACM 54(6), doi:10.1145/1314690.1314696.
    """

    @property
    def claim(self) -> Claim:
        """Unbiased."""
        return Claim(
            Exactness.EXACT,
            "the weighted sum over the sample has the mean of f under p, if the sample has at least one outcome",
            source="Kool et al. 2019, arXiv 1903.06059; Duffield et al. 2007, doi:10.1145/1314690.1314696",
            weighted=True,
        )

    def weights(self, p: Any, tokens: Any, threshold: Any = None) -> Any:
        """Return ``p`` over the chance of inclusion; zero where there is no outcome."""
        del tokens
        if threshold is None:
            raise ValueError("ThresholdWeights needs the sample's threshold, as gumbel_top_k returns it")
        xp = np if isinstance(p, np.ndarray) else jnp
        positive = p > 0
        log_p = xp.log(xp.where(positive, p, 1))
        return xp.where(positive, xp.exp(log_p - log_inclusion(log_p, threshold)), 0)

    def variance(self, p: Any, values: Any, threshold: Any) -> Any:
        """Return an estimate of the variance of ``sum(weights * values)``, unbiased for samples of two or more.

        Parameters
        ----------
        p
            Probabilities of the outcomes in the sample, shape ``(k,)``.
        values
            Values of the function, shape ``(k,)``.
        threshold
            The largest key outside the sample.
        """
        weights = self.weights(p, None, threshold)
        return (weights * (weights - p) * values**2).sum()


class RajWeights(SubsetWeights):
    """Weights by the order of the draws: exact sums of what was drawn before, and a fresh draw of the rest.

    After ``j - 1`` draws, ``sum of p_i f_i over them + (1 - their mass) f(x_j)`` is unbiased; the weights are those of the
    average over ``j``. It needs no threshold, and fractions come out without rounding.

    References
    ----------
    D. Raj, 1956, Some estimators in sampling with varying probabilities without replacement, JASA 51,
    doi:10.1080/01621459.1956.10501326.
    """

    @property
    def claim(self) -> Claim:
        """Unbiased."""
        return Claim(
            Exactness.EXACT,
            "the weighted sum over the ordered sample has the mean of f under p",
            source="Raj 1956, doi:10.1080/01621459.1956.10501326",
            weighted=True,
        )

    def weights(self, p: Any, tokens: Any, threshold: Any = None) -> Any:
        """Return ``((1 - mass before) + (k - j) p_j) / k`` for the ``j``-th of ``k`` draws."""
        del tokens, threshold
        xp = np if isinstance(p, np.ndarray) else jnp
        count = (p > 0).sum()
        before = xp.cumsum(p) - p
        later = count - 1 - xp.arange(p.shape[0])
        return xp.where(p > 0, (1 - before + later * p) / count, 0 * p)


class MurthyWeights(SubsetWeights):
    """Weights by the set alone: Raj's, averaged over the orders in which the set could have been drawn.

    The weight of ``s`` is ``p_s P(S | s drawn first) / P(S)``. Averaging over the orders never raises the variance, so that
    these are at least as good as Raj's. They cost ``O(k 2^k)`` on the host.

    References
    ----------
    M. N. Murthy, 1957, Ordered and unordered estimators in sampling without replacement, Sankhya 18; W. Kool, H. van Hoof,
    M. Welling, 2020, Estimating gradients for discrete random variables by sampling without replacement, arXiv 2002.06043.
    """

    @property
    def claim(self) -> Claim:
        """Unbiased."""
        return Claim(
            Exactness.EXACT,
            "the weighted sum over the set has the mean of f under p",
            source="Murthy 1957; Kool et al. 2020, arXiv 2002.06043",
            weighted=True,
        )

    def weights(self, p: Any, tokens: Any, threshold: Any = None) -> Any:
        """Return ``p_s P(S | s first) / P(S)``; NumPy, floats or fractions.

        Raises
        ------
        ValueError
            If the sample has more than 14 outcomes: the sum has a term for each subset.
        """
        del tokens, threshold
        p = np.asarray(p)
        members = [index for index in range(p.size) if p[index] > 0]
        if len(members) > _MOST_MEMBERS:
            raise ValueError(
                f"MurthyWeights sums over all subsets of the sample; {len(members)} outcomes are too many, at most "
                f"{_MOST_MEMBERS}. ThresholdWeights costs O(k)."
            )
        out = 0 * p
        whole = _probability_of_set([p[index] for index in members], 1)
        for first in members:
            others = [p[index] for index in members if index != first]
            out[first] = p[first] * _probability_of_set(others, 1 - p[first]) / whole
        return out


def _probability_of_set(p: list[Any], mass: Any) -> Any:
    """Return the probability that draws without replacement, of total mass ``mass``, begin with a set in any order."""
    reached: list[Any] = [1] + [0] * (2 ** len(p) - 1)
    drawn: list[Any] = [0] * 2 ** len(p)
    for members in range(2 ** len(p)):
        for token, weight in enumerate(p):
            if members >> token & 1:
                continue
            larger = members | 1 << token
            drawn[larger] = drawn[members] + weight
            reached[larger] = reached[larger] + reached[members] * weight / (mass - drawn[members])
    return reached[-1]


def weighted_mean(rule: SubsetWeights, p: Any, sample: GumbelSample, values: Any) -> Any:
    """Return the weighted sum of values over a sample.

    Parameters
    ----------
    rule
        Gives the weights.
    p
        Weights of all outcomes, shape ``(V,)``; divided by their sum.
    sample
        From :func:`gumbel_top_k`.
    values
        Value of each outcome, shape ``(V,)``.

    Returns
    -------
    scalar
        Its mean is that of the values under ``p``.
    """
    law = as_law("p", p)
    there = sample.tokens >= 0
    chosen = jnp.where(there, law[sample.tokens], 0)
    weights = rule.weights(chosen, sample.tokens, sample.threshold)
    return jnp.sum(jnp.where(there, weights * jnp.asarray(values)[sample.tokens], 0))

"""R*: whether a classifier can tell from which chain a draw is."""

import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from ergodica.validation.convergence.chains import chain_draws
from ergodica.validation.quality.generator import generator_of
from ergodica.validation.quality.random_features import Fit, random_feature_classifier
from ergodica.validation.quality.verdict import Verdict


def r_star(
    draws: ArrayLike,
    *,
    key: PRNGKeyArray,
    fit: Fit = random_feature_classifier,
    train: float = 0.7,
    independent: bool = False,
) -> Verdict:
    """Return the number of chains times the accuracy with which held-out draws are assigned to their chain.

    It is near one if the chains are in one law, and looks at all coordinates together. Draws next to each other in a
    chain are alike, so a random split leaks: the value rises with autocorrelation. Thin chains to about independent
    draws first (``arviz_stats.thin``).

    Parameters
    ----------
    draws
        Shape ``(chains, draws, p)`` or ``(chains, draws)``, at least two chains.
    key
        Typed key of the split and of the classifier.
    fit
        How the classifier is trained; default: :func:`.random_features.random_feature_classifier`.
    train
        Fraction of the draws of each chain that trains, in (0, 1).
    independent
        Whether all draws are independent, as those of exact samplers or of chains thinned far enough. It is what the
        level needs; without it the result is a diagnostic.

    Returns
    -------
    Verdict
        Its p-value ranks the hits among those for 999 random labellings of the held-out draws.

    Raises
    ------
    TypeError, ValueError
        If the draws are not fit, there is one chain, or a part is empty.

    References
    ----------
    Ben Lambert and Aki Vehtari (2022), R*: a robust MCMC convergence diagnostic with uncertainty using decision tree
    classifiers, Bayesian Analysis 17(2), arXiv:2003.07900.
    """
    x = chain_draws(draws, at_least=4, min_chains=2)
    chains, n, p = x.shape
    used = int(train * n) if 0 < train < 1 else 0
    if not 1 <= used < n:
        raise ValueError(f"train has to be a fraction that leaves draws in both parts; got {train} of {n} draws")
    rng = generator_of(key)
    order = np.stack([rng.permutation(n) for _ in range(chains)])
    shuffled = np.take_along_axis(x, order[:, :, None], axis=1)
    predict = fit(shuffled[:, :used].reshape(-1, p), np.repeat(np.arange(chains), used), chains, rng)
    labels = np.repeat(np.arange(chains), n - used)
    said = np.argmax(np.asarray(predict(shuffled[:, used:].reshape(-1, p))), axis=1)
    if said.shape != labels.shape:
        raise ValueError(f"the classifier has to return one row for each point, {labels.size}; got {said.shape}")
    hits = int(np.sum(said == labels))
    others = np.array([np.sum(said == rng.permutation(labels)) for _ in range(999)])
    value = chains * hits / labels.size
    return Verdict(
        value=value,
        p_value=(1 + int(np.sum(others >= hits))) / 1000,
        exact=independent,
        guarantee="permuted labels of held-out draws; "
        + ("P(p <= u) <= u, as draws are independent" if independent else "liberal for correlated draws"),
        resolution=1e-3,
        method="R*",
        standard_error=float(chains * np.sqrt(hits / labels.size * (1 - hits / labels.size) / labels.size)),
        reference=chains * others / labels.size,
    )

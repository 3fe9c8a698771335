"""A classifier without tuning: multinomial logistic regression on squares and random Fourier features."""

from collections.abc import Callable

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float, Int

Predict = Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, "n classes"]]
"""``points -> probabilities`` of the classes, in the order of the labels."""

Fit = Callable[[Float[np.ndarray, "n d"], Int[np.ndarray, " n"], int, np.random.Generator], Predict]
"""``(points, labels, classes, generator) -> Predict``: how a classifier is trained."""


def random_feature_classifier(
    points: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    rng: np.random.Generator,
    *,
    features: int = 128,
    penalty: float = 1.0,
) -> Predict:
    """Train the classifier.

    Parameters
    ----------
    points
        Training points.
    labels
        Their classes, ``0, ..., classes - 1``.
    classes
        Number of classes.
    rng
        Generator of the features.
    features
        Number of cosines; the points themselves, scaled, and their squares come on top.
    penalty
        Weight of the squared norm of the coefficients.

    Returns
    -------
    callable
        Gives the probabilities of the classes at other points.

    References
    ----------
    Ali Rahimi and Benjamin Recht (2007), Random features for large-scale kernel machines, NeurIPS 20.
    """
    dim = points.shape[1]
    centre, scale = points.mean(axis=0), points.std(axis=0)
    # A constant coordinate of the training points says nothing; its scale is one.
    scale = np.where(scale > 1e-12 * (1 + np.abs(centre)), scale, 1.0)
    frequencies = rng.normal(size=(dim, features)) / np.sqrt(dim)
    phases = rng.uniform(0, 2 * np.pi, features)

    def lift(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n D"]:
        z = np.clip((x - centre) / scale, -10, 10)
        waves = np.cos(z @ frequencies + phases)
        return np.concatenate([np.ones((len(z), 1)), z, 0.5 * (z**2 - 1), waves], axis=1)

    lifted = lift(points)
    free = classes - 1
    wanted = np.eye(classes)[labels][:, :free]
    # The constant is not shrunk.
    shrink = np.full(lifted.shape[1], penalty)
    shrink[0] = 1e-6

    def loss(flat: Float[np.ndarray, " D"]) -> tuple[float, Float[np.ndarray, " D"]]:
        coefficients = flat.reshape(-1, free)
        logits = lifted @ coefficients
        normaliser = (
            np.logaddexp(0, logits[:, 0])
            if free == 1
            else scipy.special.logsumexp(np.concatenate([logits, np.zeros((len(logits), 1))], axis=1), axis=1)
        )
        value = normaliser.sum() - np.sum(wanted * logits) + 0.5 * np.sum(shrink[:, None] * coefficients**2)
        slope = lifted.T @ (np.exp(logits - normaliser[:, None]) - wanted) + shrink[:, None] * coefficients
        return value / len(lifted), slope.ravel() / len(lifted)

    found = scipy.optimize.minimize(
        loss, np.zeros(lifted.shape[1] * free), jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-7}
    )
    coefficients = found.x.reshape(-1, free)

    def predict(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n classes"]:
        logits = np.concatenate([lift(x) @ coefficients, np.zeros((len(x), 1))], axis=1)
        return np.asarray(scipy.special.softmax(logits, axis=1))

    return predict

"""Transforms of the target: temperature, truncations, and several in turn.

A transform takes a law ``p`` to another law ``p'``. Whoever draws has to draw from ``p'``: an acceptance rule takes
``p'`` as its target, and the transformed draft law as the law of its drafts. Nothing is transformed after that; a
residual law that goes through a truncation again is another law.
"""

import abc
from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ergodica.samplers import inputs
from ergodica.samplers.acceptance.laws import as_law, namespace
from ergodica.samplers.claim import Claim, Exactness

__all__ = [
    "TargetTransform",
    "Temperature",
    "TransformsInTurn",
    "Truncation",
    "comparable",
    "conditional_claim",
    "level",
]


def level(name: str, value: Any, *, at_most: float | None = 1.0) -> Any:
    """Check a parameter; fractions stay fractions, so that a law of fractions is cut without rounding."""
    number = inputs.real_parameter(name, float(value) if isinstance(value, Fraction) else value, at_least=0.0)
    if at_most is not None and inputs.is_concrete(number) and float(number) > at_most:
        raise ValueError(f"{name} has to be at most {at_most:g}; got {float(number):g}")
    return value if isinstance(value, Fraction) else number


def comparable(law: Any, value: Any) -> Any:
    """Return a parameter as a number that can be compared with the entries of a law."""
    if namespace(law) is jnp:
        return float(value) if isinstance(value, Fraction) else value
    return value if isinstance(value, Fraction) else Fraction(float(value))


class TargetTransform(eqx.Module):
    """Takes the law of the next token to another law.

    To write one, subclass and define :attr:`claim` and :meth:`law`.
    """

    @property
    @abc.abstractmethod
    def claim(self) -> Claim:
        """What law draws from the transform have."""

    @abc.abstractmethod
    def law(self, p: Any) -> Any:
        """Return the transformed law of a law, shape ``(V,)``."""

    def __call__(self, weights: Any) -> Any:
        """Return the transformed law.

        Parameters
        ----------
        weights
            Weights of the tokens, shape ``(V,)``: floats, traced or not, or fractions. Divided by their sum.

        Returns
        -------
        array of shape (V,)
            Sums to one; for fractions without rounding. NaN throughout where traced weights are no law.

        Raises
        ------
        ValueError
            If the weights are concrete and no law.
        """
        return self.law(as_law("weights", weights))

    def logits(self, logits: Float[Array, " V"]) -> Float[Array, " V"]:
        """Return the log of the transformed law from unnormalised log probabilities; ``-inf`` for what is cut."""
        return jnp.log(self(jax.nn.softmax(jnp.asarray(logits))))

    def total_variation(self, weights: Any) -> Any:
        """Return the distance between the transformed law and the law: the error of taking one for the other."""
        p = as_law("weights", weights)
        changed = self.law(p)
        return namespace(p).where(p > changed, p - changed, 0 * p).sum()


class Truncation(TargetTransform):
    """Keeps a set of tokens, never empty, and divides by its mass.

    To write one, subclass and define :attr:`claim` and :meth:`keep`.
    """

    @abc.abstractmethod
    def keep(self, p: Any) -> Any:
        """Return which tokens stay, shape ``(V,)``; ``p`` is a law."""

    def law(self, p: Any) -> Any:
        """Return the law given that the token is kept."""
        kept = namespace(p).where(self.keep(p), p, 0 * p)
        return kept / kept.sum()


def conditional_claim(statement: str, source: str) -> Claim:
    """Return the claim of a transform: exact, with respect to the law that it states."""
    return Claim(Exactness.EXACT, statement, source=source, independent=True)


class Temperature(TargetTransform):
    """Raises the probabilities to the power ``1 / temperature``.

    Parameters
    ----------
    temperature
        At 0, all mass is on the first of the likeliest tokens.

    Raises
    ------
    ValueError
        If the temperature is negative or not finite; for fractions, if ``1 / temperature`` is no integer.
    """

    temperature: Any

    def __init__(self, temperature: Any = 1.0) -> None:
        self.temperature = level("temperature", temperature, at_most=None)

    @property
    def claim(self) -> Claim:
        """The tempered law of one token; for the law of strings this is no power."""
        return conditional_claim(
            "a draw has the law p^(1/T), divided by its sum",
            "D. Ackley, G. Hinton, T. Sejnowski 1985, doi:10.1207/s15516709cog0901_7",
        )

    def law(self, p: Any) -> Any:
        """Return the tempered law."""
        xp, temperature = namespace(p), comparable(p, self.temperature)
        one_hot = xp.where(xp.arange(p.shape[0]) == p.argmax(), 1 + 0 * p, 0 * p)
        if xp is np:
            if temperature == 0:
                return one_hot
            power = 1 / temperature
            if power.denominator != 1:
                raise ValueError(f"fractions have no power 1 / {temperature}; give floats, or 1 / T an integer")
            powers = p**power.numerator
            return powers / powers.sum()
        scaled = jnp.log(p / p.max()) / jnp.where(temperature > 0, temperature, 1)
        return jnp.where(temperature > 0, jax.nn.softmax(scaled), one_hot)


class TransformsInTurn(TargetTransform):
    """Applies transforms one after another, each to the law that the one before has made.

    Parameters
    ----------
    *transforms
        At least one; the order matters.

    Raises
    ------
    TypeError, ValueError
        If one is no transform, or there are none.
    """

    transforms: tuple[TargetTransform, ...]

    def __init__(self, *transforms: TargetTransform) -> None:
        if not transforms:
            raise ValueError("TransformsInTurn needs at least one transform; got none")
        for transform in transforms:
            if not isinstance(transform, TargetTransform):
                raise TypeError(f"TransformsInTurn takes transforms, such as TopK(40); got {transform!r}")
        self.transforms = transforms

    @property
    def claim(self) -> Claim:
        """The law after all transforms."""
        return conditional_claim(
            "a draw has the law that the transforms, one after another, make of p",
            "; ".join(dict.fromkeys(transform.claim.source for transform in self.transforms)),
        )

    def law(self, p: Any) -> Any:
        """Return the law after all transforms."""
        for transform in self.transforms:
            p = transform.law(p)
        return p

"""Rows of the catalogue for transforms of the target: their laws by definition, and speculation towards them."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.sequences.structured.entropy_truncation import EtaCutoff, TopH, Typical
from ergodica.samplers.sequences.structured.target_transform import TargetTransform, Temperature, TransformsInTurn
from ergodica.samplers.sequences.structured.truncation import EpsilonCutoff, MinP, TopK, TopP
from ergodica.validation.evidence import Case, Check, Outcome

LAWS = (
    (12, 11, 7, 6, 4, 2, 0),
    (3, 17, 1, 17, 0, 5, 0),
    (1, 1, 1, 1, 1, 1, 1),
    (0, 0, 7, 0, 0, 0, 0),
    (100, 1, 1, 1, 1, 1, 1),
    (0, 2, 5, 31, 3, 0, 0),
)
"""Weights: a falling law, ties and zeros, a flat law, one token, a long tail, an unsorted law."""

Definition = Callable[[Any, Any], Sequence[Fraction]]
"""What a parameter makes of a law, written out naively."""


def as_fractions(weights: Sequence[int]) -> np.ndarray:
    """Return integer weights as a law of fractions."""
    return np.array([Fraction(weight, sum(weights)) for weight in weights], dtype=object)


def _objects(law: Any) -> np.ndarray:
    return np.array(law, dtype=object)


def _given(kept: Any, p: Sequence[Fraction]) -> list[Fraction]:
    mass = sum(p[token] for token in kept)
    return [p[token] / mass if token in kept else Fraction(0) for token in range(len(p))]


def _likeliest(p: Sequence[Fraction]) -> list[int]:
    return sorted(range(len(p)), key=lambda token: (-p[token], token))


def _prefix(p: Sequence[Fraction], order: Sequence[int], mass: Any) -> list[int]:
    kept: list[int] = []
    for token in order:
        if p[token] > 0 and (not kept or sum(p[other] for other in kept) < mass):
            kept.append(token)
    return kept


def _entropy(p: Sequence[Fraction]) -> float:
    return -sum(float(x) * math.log(x) for x in p if x > 0)


def _tempered(temperature: Any, p: Sequence[Fraction]) -> list[Fraction]:
    if temperature == 0:
        return [Fraction(int(token == _likeliest(p)[0])) for token in range(len(p))]
    powers = [x ** int(1 / temperature) for x in p]
    return [x / sum(powers) for x in powers]


def _typical(mass: Any, p: Sequence[Fraction]) -> list[Fraction]:
    entropy = _entropy(p)
    far = [round(abs(-math.log(x) - entropy), 12) if x > 0 else math.inf for x in p]
    return _given(_prefix(p, sorted(range(len(p)), key=lambda token: (far[token], token)), mass), p)


def _eta(epsilon: Any, p: Sequence[Fraction]) -> list[Fraction]:
    threshold = min(float(epsilon), math.sqrt(epsilon) * math.exp(-_entropy(p)))
    return _given([token for token in range(len(p)) if float(p[token]) > threshold] or _likeliest(p)[:1], p)


def _top_h(fraction: Any, p: Sequence[Fraction]) -> list[Fraction]:
    order, kept = [token for token in _likeliest(p) if p[token] > 0], 1
    # The allowance covers rounding: the entropy of all is that of all.
    while kept < len(order):
        head = _given(order[: kept + 1], p)
        if _entropy(head) > float(fraction) * _entropy(p) + 1e-12:
            break
        kept += 1
    return _given(order[:kept], p)


DEFINITIONS: dict[type, tuple[Definition, tuple[Any, ...]]] = {
    Temperature: (_tempered, (Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(0))),
    TopK: (lambda k, p: _given(_likeliest(p)[:k], p), (1, 2, 3, 10)),
    TopP: (lambda m, p: _given(_prefix(p, _likeliest(p), m), p), (Fraction(0), Fraction(7, 10), Fraction(1))),
    MinP: (
        lambda b, p: _given([token for token in range(len(p)) if p[token] >= b * max(p)], p),
        (Fraction(0), Fraction(3, 10), Fraction(1)),
    ),
    EpsilonCutoff: (
        lambda e, p: _given([token for token in range(len(p)) if p[token] > e] or _likeliest(p)[:1], p),
        (Fraction(0), Fraction(1, 10), Fraction(99, 100)),
    ),
    Typical: (_typical, (Fraction(0), Fraction(7, 10), Fraction(1))),
    EtaCutoff: (_eta, (Fraction(0), Fraction(1, 10), Fraction(9, 10))),
    TopH: (_top_h, (Fraction(0), Fraction(3, 5), Fraction(1))),
}


def _definition_check(kind: type) -> Check:
    """Hold the transformed laws against the definition: fractions exactly, floats to rounding, traced and not."""
    definition, parameters = DEFINITIONS[kind]

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        worst, where = 0.0, ""
        with jax.enable_x64(True):
            for parameter in parameters:
                transform = type(subject)(parameter)
                for weights in LAWS:
                    p = as_fractions(weights)
                    wanted = _objects(definition(parameter, p))
                    exact = float(np.abs(transform(p) - wanted).max())
                    floats = np.asarray(transform(p.astype(np.float64)))
                    error = max(exact * 1e9, float(np.abs(floats - wanted.astype(np.float64)).max()))
                    if error > worst:
                        worst, where = error, f"{parameter} on {weights}: {floats}, not {wanted.astype(float)}"
        return Outcome(worst, 1e-12, worst <= 1e-12, 0.0, where if worst > 1e-12 else "")

    return Check("exact: laws by definition", run, 0.5)


def speculation_check(rule: Callable[[TargetTransform], Any] | None = None) -> Check:
    """Speculate towards the transformed law with drafts of another transformed law, in fractions.

    Parameters
    ----------
    rule
        Makes the rule from the transform; default: one that knows nothing of it.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        worst, where, bound = 0.0, "", 0.0
        for weights, drafts in (
            ((12, 11, 7, 6, 4, 2), (2, 4, 6, 7, 11, 12)),
            ((3, 17, 1, 17, 0, 5), (5, 1, 9, 2, 2, 3)),
        ):
            p, draft = as_fractions(weights), TopK(4)(as_fractions(drafts))
            try:
                target = subject(p)
            except ValueError:  # a root that is no fraction
                bound, target = 1e-12, np.asarray(subject(p.astype(np.float64)))
                draft = draft.astype(np.float64)
            judge = SingleDraft() if rule is None else rule(subject)
            law = np.asarray(judge.output_law(target, draft).law)
            error = float(np.abs(law - target).max())
            if error > worst:
                worst, where = error, f"the output has law {law.astype(float)}, not {target.astype(float)}"
        return Outcome(worst, bound, worst <= bound, 0.0, where if worst > bound else "")

    return Check("exact: speculation towards the transformed law", run, 0.2)


def _in_turn(subject: Any, key: PRNGKeyArray) -> Outcome:
    del key
    worst = Fraction(0)
    for weights in LAWS:
        p = as_fractions(weights)
        wanted = p
        for transform in subject.transforms:
            definition, _ = DEFINITIONS[type(transform)]
            (parameter,) = (
                getattr(transform, name) for name in ("k", "temperature", "mass") if hasattr(transform, name)
            )
            wanted = _objects(definition(parameter, wanted))
        worst = max(worst, np.abs(subject(p) - wanted).max())
    return Outcome(
        float(worst), 0.0, worst == 0, 0.0, "" if worst == 0 else "the law is not that of one transform after another"
    )


def _row(name: str, kind: type, parameter: Any) -> Case:
    return Case(name, kind, lambda: kind(parameter), (_definition_check(kind), speculation_check()))


CASES = (
    _row("temperature", Temperature, Fraction(1, 2)),
    _row("top-k", TopK, 3),
    _row("top-p", TopP, Fraction(7, 10)),
    _row("min-p", MinP, Fraction(3, 10)),
    _row("epsilon-cutoff", EpsilonCutoff, Fraction(1, 10)),
    _row("typical", Typical, Fraction(7, 10)),
    _row("eta-cutoff", EtaCutoff, Fraction(1, 10)),
    _row("top-h", TopH, Fraction(3, 5)),
    Case(
        "transforms-in-turn",
        TransformsInTurn,
        lambda: TransformsInTurn(Temperature(Fraction(1, 2)), TopK(4), TopP(Fraction(8, 10))),
        (Check("exact: one after another", _in_turn, 0.2), speculation_check()),
        only_example=True,
    ),
)

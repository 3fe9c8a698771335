"""Rows of the catalogue for generation from models of sequences.

Models are tables. The programs run on the host, and every path of them is run through: their laws are found without
simulation, up to rounding.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import ChainRule
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_length_policy import SpeedThreshold
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.sequences.asap import ApproximateFutures
from ergodica.samplers.sequences.best_of_n import BestOfN
from ergodica.samplers.sequences.dead_prefix_trie import DeadPrefixTrie
from ergodica.samplers.sequences.generate import generate
from ergodica.samplers.sequences.model import Prefix, SequenceModel
from ergodica.samplers.sequences.particle_filter import ParticleFilter
from ergodica.samplers.sequences.particle_gibbs import ParticleGibbs
from ergodica.samplers.sequences.particle_step import Bootstrap, ParticleStep
from ergodica.samplers.sequences.soft_rejection import SoftRejection
from ergodica.samplers.sequences.table_model import TableModel
from ergodica.samplers.sequences.twisted import TwistedStep
from ergodica.samplers.sequences.weighted_rejection_step import WeightedRejectionStep
from ergodica.theory.best_of_n import best_of_n_law
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome

_ROUNDING = 1e-12

Measure = Mapping[Prefix, float]


def table(size: int, depth: int, seed: int) -> TableModel:
    """Return a model whose law differs after each prefix of up to ``depth`` tokens, with some impossible tokens."""
    generator = np.random.default_rng(seed)
    rows = {}
    for length in range(depth + 1):
        for prefix in itertools.product(range(size), repeat=length):
            weights = generator.integers(0, 6, size)
            weights[generator.integers(size)] += 1
            rows[prefix] = weights.tolist()
    return TableModel(rows)


def text_law(model: SequenceModel, max_tokens: int, stop: tuple[int, ...] = ()) -> dict[Prefix, float]:
    """Return the law of complete texts."""
    complete: dict[Prefix, float] = {}
    growing: dict[Prefix, float] = {(): 1.0}
    while growing:
        text, mass = growing.popitem()
        if len(text) == max_tokens or (text and text[-1] in stop):
            complete[text] = mass
            continue
        for token, chance in enumerate(model.laws([text])[0].tolist()):
            if chance > 0:
                growing[(*text, token)] = mass * chance
    return complete


def padded(text: Prefix, size: int) -> np.ndarray:
    """Return a text as an array that is filled up with -1."""
    return np.array([*text, *[-1] * (size - len(text))], int)


def _text(tokens: Any) -> Prefix:
    return tuple(token for token in np.asarray(tokens).tolist() if token >= 0)


def law_of_texts(draw: Callable[[PRNGKeyArray], Prefix], key: PRNGKeyArray, max_tokens: int) -> dict[Prefix, float]:
    """Return the law of the text that a program draws, from a run along each of its paths."""
    law = enumerate_law(lambda key: padded(draw(key), max_tokens), key, engine="replay")
    return {_text(tokens): float(mass) for tokens, mass in law}


def _difference(law: Measure, other: Measure) -> float:
    return max(abs(law.get(text, 0.0) - other.get(text, 0.0)) for text in {**law, **other})


def _worst(errors: list[tuple[float, str]], what: str) -> Outcome:
    error, where = max(errors, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    passed = bool(error <= _ROUNDING)
    return Outcome(float(error), _ROUNDING, passed, 0.0, "" if passed else f"{what} {where}")


def _normalised(measure: Measure) -> dict[Prefix, float]:
    total = sum(measure.values())
    return {text: mass / total for text, mass in measure.items()}


# --- speculative generation -----------------------------------------------------------------------------------------


def generated_law() -> Check:
    """Return the check that generated texts have the target's law, whatever is drafted, and however much."""

    def run(rule: ChainRule, key: PRNGKeyArray) -> Outcome:
        errors = []
        settings: list[tuple[int, int, int, tuple[int, ...], Any]] = [
            (3, 3, 2, (), None),
            (3, 3, 2, (1,), SpeedThreshold(1.0, 0.5)),
        ]
        for size, max_tokens, gamma, stop, policy in settings:
            target, draft = table(size, 2, 6), table(size, 2, 106)  # these two show the usual mistakes

            def draw(key: PRNGKeyArray) -> Prefix:
                out = generate(
                    target,  # noqa: B023
                    draft,  # noqa: B023
                    rule,
                    max_tokens=max_tokens,  # noqa: B023
                    key=key,
                    gamma=gamma,  # noqa: B023
                    stop=stop,  # noqa: B023
                    policy=policy,  # noqa: B023
                )
                return out.texts[0]

            found = law_of_texts(draw, key, max_tokens)
            errors.append(
                (_difference(found, text_law(target, max_tokens, stop)), f"{(size, max_tokens, gamma, stop)}")
            )
        return _worst(errors, "the law of generated texts is not the target's for")

    return Check("exact: enumerated law of generated texts", run, seconds=1.0)


# --- particles ------------------------------------------------------------------------------------------------------


def potential(texts: list[Prefix]) -> np.ndarray:
    """Weight texts by their end; some are impossible."""
    return np.array([[0.5, 2.0, 0.0][sum(text) % 3] + 0.25 * (text[-1] == 1) for text in texts])


def odd_without_pairs(text: Prefix, is_complete: bool) -> bool:
    """Forbid the token 1 twice in a row, and complete texts of an even sum."""
    return (1, 1) not in itertools.pairwise(text) and not (is_complete and sum(text) % 2 == 0)


def _under_potentials(law: Measure) -> dict[Prefix, float]:
    return {
        text: mass * math.prod(float(potential([text[: end + 1]])[0]) for end in range(len(text)))
        for text, mass in law.items()
    }


def _twist(texts: list[Prefix]) -> np.ndarray:
    return np.array([1.0 + sum(text) for text in texts])


def _odd_proposal(texts: list[Prefix], laws: np.ndarray) -> np.ndarray:
    del texts
    return laws[:, ::-1] + 1.0


_STEPS: tuple[tuple[str, ParticleStep, Callable[[Measure], dict[Prefix, float]]], ...] = (
    ("potentials", Bootstrap(potential), _under_potentials),
    (
        "twists",
        TwistedStep(potential, _twist, _odd_proposal),
        lambda law: {text: mass * float(potential([text])[0]) for text, mass in law.items()},
    ),
    (
        "a constraint",
        WeightedRejectionStep(odd_without_pairs),
        lambda law: {text: mass * odd_without_pairs(text, True) for text, mass in law.items()},
    ),
)


def unbiased_measure(name: str, step: ParticleStep, target: Callable[[Measure], dict[Prefix, float]]) -> Check:
    """Return the check that weighted texts are unbiased for the target, its normaliser included.

    Parameters
    ----------
    name
        What weights the texts.
    step
        The step that the particle filter is given.
    target
        From the model's law of texts to what the weighted texts estimate.
    """

    def run(subject: ParticleFilter, key: PRNGKeyArray) -> Outcome:
        errors = []
        for size, max_tokens, stop, particles, threshold in (
            (2, 2, (), 2, 1.0),
            (3, 1, (), 2, 1.0),
            (2, 3, (0,), 2, 0.8),
        ):
            model = table(size, 2, 9)
            filtered = dataclasses.replace(subject, step=step, num_particles=particles, threshold=threshold)

            def program(key: PRNGKeyArray) -> Any:
                out = filtered.run(key, model, max_tokens=max_tokens, stop=stop)  # noqa: B023
                texts = np.stack([padded(text, max_tokens) for text in out.texts])  # noqa: B023
                return texts, out.weights, np.exp(out.log_normaliser)

            mean: dict[Prefix, float] = {}
            normaliser = 0.0
            for (texts, weights, estimate), mass in enumerate_law(program, key, engine="replay"):
                normaliser += mass * float(estimate)
                for tokens, weight in zip(texts, weights.tolist(), strict=True):
                    if weight > 0:
                        text = _text(tokens)
                        mean[text] = mean.get(text, 0.0) + mass * weight * float(estimate)
            wanted = target(text_law(model, max_tokens, stop))
            errors.append((_difference(mean, wanted), f"{(size, max_tokens, stop)}"))
            errors.append((abs(normaliser - sum(wanted.values())), f"{(size, max_tokens, stop)}: the normaliser"))
        return _worst(errors, "the mean of the weighted texts is not the target for")

    return Check(f"exact: weighted texts under {name} are unbiased", run, seconds=1.5)


def kept_law() -> Check:
    """Return the check that a step of the chain keeps the target, reversibly, by its whole transition matrix."""

    def run(subject: ParticleGibbs, key: PRNGKeyArray) -> Outcome:
        errors = []
        for particles, stop in ((2, ()), (3, (1,))):
            model = table(2, 2, 12)
            chain = dataclasses.replace(
                subject, model=model, potential=potential, num_particles=particles, max_tokens=2, prompt=(), stop=stop
            )
            target = _normalised(_under_potentials(text_law(model, 2, stop)))
            rows = {
                text: law_of_texts(lambda key, text=text: chain.step(key, text), key, 2)  # type: ignore[misc]  # noqa: B023
                for text, mass in target.items()
                if mass > 0
            }
            for text, other in itertools.product(rows, repeat=2):
                flow = target[text] * rows[text].get(other, 0.0) - target[other] * rows[other].get(text, 0.0)
                errors.append((abs(flow), f"{text} and {other}, {particles} particles"))
            lost = max(1 - sum(row.get(text, 0.0) for text in rows) for row in rows.values())
            errors.append((abs(lost), f"texts outside the target, {particles} particles"))
        return _worst(errors, "the flow is not balanced between")

    return Check("exact: enumerated transition matrix", run, seconds=1.0)


# --- constraints and rewards ----------------------------------------------------------------------------------------


def reward(text: Prefix) -> float:
    """Return a reward with ties."""
    return float(sum(text) % 3)


def best_law() -> Check:
    """Return the check that the best of n texts has the law of theory, ties included."""

    def run(subject: BestOfN, key: PRNGKeyArray) -> Outcome:
        model, errors = table(2, 2, 9), []
        for n in (1, 2, 3):
            best = dataclasses.replace(subject, reward=lambda texts: [reward(text) for text in texts], n=n)
            found = law_of_texts(lambda key: best.sample(key, model, max_tokens=2), key, 2)  # noqa: B023
            law = text_law(model, 2)
            theory = best_of_n_law(list(law.values()), [reward(text) for text in law], n)
            errors.append((_difference(found, dict(zip(law, theory.tolist(), strict=True))), f"n = {n}"))
        return _worst(errors, "the law is not that of the best of n, for")

    return Check("exact: enumerated law of the best of n", run, seconds=0.5)


def constrained_law() -> Check:
    """Return the check that two successive texts are independent, each with the model's law given the constraint."""

    def run(subject: DeadPrefixTrie, key: PRNGKeyArray) -> Outcome:
        model = TableModel({(): [3, 2], (0,): [1, 2], (1,): [1, 3]})

        def program(key: PRNGKeyArray) -> np.ndarray:
            fresh = type(subject)(model, odd_without_pairs, max_tokens=2)
            return np.stack([fresh.sample(one).text for one in random.split(key)])

        target = _normalised({text: mass * odd_without_pairs(text, True) for text, mass in text_law(model, 2).items()})
        found = {
            (_text(pair[0]), _text(pair[1])): float(mass) for pair, mass in enumerate_law(program, key, engine="replay")
        }
        errors = [
            (abs(found.get((one, other), 0.0) - target[one] * target[other]), f"{one} and {other}")
            for one, other in itertools.product(target, repeat=2)
        ]
        return _worst(errors, "the joint law is not the product of the target's, at")

    return Check("exact: enumerated joint law of two texts", run, seconds=1.5)


def proper_weights() -> Check:
    """Return the check that weighted draws are unbiased for the constrained law, whatever was learnt before."""

    def run(subject: ApproximateFutures, key: PRNGKeyArray) -> Outcome:
        model = table(3, 1, 4)

        def program(key: PRNGKeyArray) -> Any:
            fresh = type(subject)(model, odd_without_pairs, max_tokens=2)
            first_key, key = random.split(key)
            fresh.weighted_draw(first_key)
            text, weight = fresh.weighted_draw(key)
            return padded(() if text is None else text, 2), np.asarray(weight)

        mean: dict[Prefix, float] = {}
        for (tokens, weight), mass in enumerate_law(program, key, engine="replay"):
            if weight > 0:
                mean[_text(tokens)] = mean.get(_text(tokens), 0.0) + mass * float(weight)
        wanted = {text: mass * odd_without_pairs(text, True) for text, mass in text_law(model, 2).items()}
        return _worst([(_difference(mean, wanted), "a table of three tokens")], "weighted draws are biased for")

    return Check("exact: weighted draws are unbiased", run, seconds=0.5)


def tilted_law() -> Check:
    """Return the check that accepted texts have the tilted law: that of a first try, given that it is accepted."""

    def run(subject: SoftRejection, key: PRNGKeyArray) -> Outcome:
        model, tries = table(3, 1, 4), 2
        tilted = dataclasses.replace(subject, reward=reward, bound=2.0, temperature=0.8)

        def draw(key: PRNGKeyArray) -> Prefix:
            try:
                return tilted.sample(key, model, max_tokens=2, max_tries=tries).text
            except RuntimeError:
                return ()

        law = text_law(model, 2)
        chance = sum(mass * math.exp((reward(text) - 2.0) / 0.8) for text, mass in law.items())
        target = _normalised({text: mass * math.exp(reward(text) / 0.8) for text, mass in law.items()})
        wanted = {text: mass * (1 - (1 - chance) ** tries) for text, mass in target.items()}
        wanted[()] = (1 - chance) ** tries
        return _worst([(_difference(law_of_texts(draw, key, 2), wanted), "the reward")], "the law is not tilted by")

    return Check("exact: enumerated law of two tries", run, seconds=0.5)


_TABLE = table(3, 1, 4)

CASES: tuple[Case, ...] = (
    Case("generation-by-tokens", TokenVerification, TokenVerification, (generated_law(),), only_example=True),
    Case("generation-by-blocks", BlockVerification, BlockVerification, (generated_law(),), only_example=True),
    Case(
        "particle-filter",
        ParticleFilter,
        lambda: ParticleFilter(Bootstrap(potential), 2),
        tuple(unbiased_measure(*entry) for entry in _STEPS),
    ),
    Case("particle-gibbs", ParticleGibbs, lambda: ParticleGibbs(_TABLE, potential, 2, 2), (kept_law(),)),
    Case("best-of-n", BestOfN, lambda: BestOfN(lambda texts: [reward(text) for text in texts], 2), (best_law(),)),
    Case(
        "dead-prefix-trie",
        DeadPrefixTrie,
        lambda: DeadPrefixTrie(_TABLE, odd_without_pairs, max_tokens=2),
        (constrained_law(),),
    ),
    Case(
        "approximate-futures",
        ApproximateFutures,
        lambda: ApproximateFutures(_TABLE, odd_without_pairs, max_tokens=2),
        (proper_weights(),),
    ),
    Case("soft-rejection", SoftRejection, lambda: SoftRejection(reward, 2.0, 0.8), (tilted_law(),)),
)
"""Generation from models of sequences."""

"""The exact law of what a rule for blocks emits, by going through all drafts.

Laws are computed in fractions, floats being taken as the fractions that they are. Nothing is rounded: a rule is exact if
and only if the error that is found is zero.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ergodica.samplers.acceptance.blocks.block_rule import BlockRule, Model, Prefix, listed_laws

__all__ = ["BlockOutput", "block_output", "completed", "drafted_chains", "string_law"]


class BlockOutput(NamedTuple):
    """What a rule emits, averaged over the drafts.

    Parameters
    ----------
    emitted
        Probability of each emitted string.
    tau
        Probability of each number of accepted drafts.
    accepted
        Mean of that number.
    completed
        Law of the first tokens, as many as the longest string has, if the target continues shorter ones.
    error
        Largest difference between this law and the target's.
    """

    emitted: dict[Prefix, Any]
    tau: dict[int, Any]
    accepted: Any
    completed: dict[Prefix, Any]
    error: Any


def drafted_chains(
    Q: Model, gamma: int, *, stops: Callable[[Prefix], bool] | None = None
) -> Iterator[tuple[Prefix, Any]]:
    """Yield each chain of drafts with its probability.

    Parameters
    ----------
    Q
        Draft model.
    gamma
        Largest number of drafts.
    stops
        Whether drafting ends after a prefix; a decision may use the tokens drafted so far, and no others.
    """

    def grown(prefix: Prefix, weight: Any) -> Iterator[tuple[Prefix, Any]]:
        if len(prefix) == gamma or (stops is not None and stops(prefix)):
            yield prefix, weight
            return
        for token, chance in enumerate(listed_laws("Q", Q, [prefix])[0]):
            if chance > 0:
                yield from grown((*prefix, token), weight * chance)

    yield from grown((), 1)


def string_law(P: Model, length: int) -> dict[Prefix, Any]:
    """Return the law of the first tokens of a model, as many as ``length``."""
    size = len(P[()])
    laws = {
        prefix: listed_laws("P", P, [prefix])[0]
        for depth in range(length)
        for prefix in itertools.product(range(size), repeat=depth)
        if prefix in P
    }
    law: dict[Prefix, Any] = {(): 1}
    for _ in range(length):
        law = {
            (*prefix, token): mass * chance
            for prefix, mass in law.items()
            for token, chance in enumerate(laws[prefix])
            if chance > 0
        }
    return law


def completed(emitted: Mapping[Prefix, Any], P: Model, length: int) -> dict[Prefix, Any]:
    """Return the law of the first ``length`` tokens if the target continues what was emitted."""
    out = {string: 0 * mass for string, mass in string_law(P, length).items()}
    pending = dict(emitted)
    while pending:
        string, mass = pending.popitem()
        if len(string) >= length:
            out[string[:length]] = out.get(string[:length], 0) + mass
            continue
        for token, chance in enumerate(listed_laws("P", P, [string])[0]):
            if chance > 0:
                longer = (*string, token)
                pending[longer] = pending.get(longer, 0) + mass * chance
    return out


def block_output(rule: BlockRule, P: Model, Q: Model, drafts: Iterable[tuple[Any, Any]]) -> BlockOutput:
    """Sum what a rule emits over all drafts, and compare it with the target.

    Parameters
    ----------
    rule
        The rule.
    P, Q
        Target and draft model; the target's table reaches one prefix further.
    drafts
        Pairs of drafts and their probability, as from :func:`drafted_chains`.

    Returns
    -------
    BlockOutput
        The rule is exact if ``error`` is zero.
    """
    emitted: dict[Prefix, Any] = {}
    tau: dict[int, Any] = {}
    for drafted, weight in drafts:
        law = rule.conditional_law(P, Q, drafted)
        for string, mass in law.emitted.items():
            emitted[string] = emitted.get(string, 0) + weight * mass
        for count, mass in law.tau.items():
            tau[count] = tau.get(count, 0) + weight * mass
    length = max(len(string) for string in emitted)
    law_of_output, wanted = completed(emitted, P, length), string_law(P, length)
    error = max(abs(mass - wanted.get(string, 0)) for string, mass in law_of_output.items())
    return BlockOutput(emitted, tau, sum(count * mass for count, mass in tau.items()), law_of_output, error)

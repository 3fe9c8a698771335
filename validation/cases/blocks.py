"""Rows of the catalogue for acceptance rules of chains, trees and whole sequences.

Laws are computed: from the rules' own conditional laws in fractions, without tolerance, and from the code that runs, by
enumeration, given drafts. The decisions on uniforms are compared with the conditional law by simulation.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers.acceptance.blocks.any_subset import AnySubset
from ergodica.samplers.acceptance.blocks.block_rule import BlockRule, ChainRule, Model, Prefix
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.fixed_tree import FixedTree
from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling
from ergodica.samplers.acceptance.blocks.jacobi import SpeculativeJacobi
from ergodica.samplers.acceptance.blocks.ordered_paths import OrderedPaths
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.traversal import Traversal
from ergodica.samplers.acceptance.blocks.tree_rule import TreeRule
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.theory.block_acceptance import accepted_by_block, accepted_by_fixed_tree, longest_common_prefix
from ergodica.theory.block_lengths import expected_accepted_in_context
from ergodica.validation.block_law import block_output, drafted_chains
from ergodica.validation.cases.acceptance import random_model
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome

_ROUNDING = 1e-12

SHAPES = (DraftTree.of_branching((2, 1)), DraftTree.of_branching((1, 2)), DraftTree((0, 0, 1, 3)))
"""Shapes of the trees on which rules are checked, whatever their own."""

# A residual on one token alone hides what is wrong with residuals: three tokens are the least that show it.
MODELS: tuple[tuple[int, int, int], ...] = ((3, 2, 79), (3, 2, 50), (2, 3, 13), (2, 3, 14), (1, 2, 15), (3, 1, 16))
"""Tokens, drafts and seed of the models that rules are checked on: the first two show each of the usual mistakes."""


def models(size: int, gamma: int, seed: int) -> tuple[Model, Model]:
    """Return a target and a draft in fractions; every fourth pair is equal in its first law."""
    target, draft = random_model(size, gamma + 1, seed), dict(random_model(size, gamma + 1, seed + 1000))
    if seed % 4 == 0:
        draft[()] = target[()]
    return target, draft


def stops_early(prefix: Prefix) -> bool:
    """Whether drafting ends after a prefix, in the checks of lengths that depend on the drafts."""
    return len(prefix) > 0 and prefix[-1] == 1


def instances(rule: BlockRule, gamma: int) -> Iterator[BlockRule]:
    """Yield the rule, on each of the shapes within the depth if it works on trees."""
    if isinstance(rule, TreeRule | FixedTree):
        for shape in SHAPES:
            if shape.depth <= gamma:
                yield dataclasses.replace(rule, tree=shape)
    else:
        yield rule


def drafts_of(rule: BlockRule, Q: Model, gamma: int, *, stopped: bool = False) -> list[tuple[Any, Any]]:
    """Return all drafts that a rule may be given, with their probabilities.

    Parameters
    ----------
    rule
        The rule.
    Q
        Draft model.
    gamma
        Largest number of drafts on a path.
    stopped
        Whether drafting ends early after some prefixes.
    """
    stops = stops_early if stopped else None
    if isinstance(rule, FixedTree):
        tokens = [node % len(Q[()]) for node in range(rule.tree.num_nodes - 1)]
        return [(tuple(tokens), 1)]
    if isinstance(rule, TreeRule):
        return list(rule.tree.enumerate(Q, rule.sibling_law, stops=stops))
    chains = list(drafted_chains(Q, gamma, stops=stops))
    if isinstance(rule, OrderedPaths):
        several = itertools.product(chains, repeat=rule.paths)
        return [([chain for chain, _ in paths], math.prod(mass for _, mass in paths)) for paths in several]
    return chains


def inputs_of(rule: BlockRule, P: Model, Q: Model, drafts: Any) -> tuple[np.ndarray, ...]:
    """Return the arrays that a rule verifies: the drafts, and the rows of the models that belong to them."""

    def rows(model: Model, prefixes: Sequence[Prefix | None]) -> np.ndarray:
        size = len(P[()])
        laws = [None if prefix is None else model.get(prefix) for prefix in prefixes]
        listed = [[1.0] * size if law is None else [float(part) for part in law] for law in laws]
        return np.array(listed).reshape(len(prefixes), size)

    if isinstance(rule, TreeRule | FixedTree):
        strings = rule.tree.prefixes(drafts)
        arrays = (np.array(drafts, np.int32), rows(P, strings), rows(Q, strings))
        return arrays[:2] if isinstance(rule, FixedTree) else arrays
    if isinstance(rule, OrderedPaths):
        chains = [inputs_of(TokenVerification(), P, Q, chain) for chain in drafts]
        return tuple(np.stack(parts) for parts in zip(*chains, strict=True))
    prefixes = [tuple(drafts[:length]) for length in range(len(drafts) + 1)]
    return np.array(drafts, np.int32).reshape(len(drafts)), rows(P, prefixes), rows(Q, prefixes[:-1])


def _worst(errors: Sequence[tuple[float, str]], bound: float, what: str, *, false_alarm: float = 0.0) -> Outcome:
    error, where = max(errors, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    passed = bool(error <= bound)
    return Outcome(float(error), bound, passed, false_alarm, "" if passed else f"{what} {where}")


def _difference(law: Mapping[Any, Any], other: Mapping[Any, Any]) -> float:
    return float(max(abs(law.get(key, 0) - other.get(key, 0)) for key in {**law, **other}))


def _string(tokens: Any) -> Prefix:
    return tuple(token for token in np.asarray(tokens).tolist() if token >= 0)


# --- laws -----------------------------------------------------------------------------------------------------------


def rational_law(*, stopped: bool = False) -> Check:
    """Return the check that what is emitted, continued by the target, has its law, in fractions, without tolerance.

    Parameters
    ----------
    stopped
        Whether drafting ends early after some prefixes.
    """

    def run(rule: BlockRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for size, gamma, seed in MODELS:
            if isinstance(rule, OrderedPaths) and size ** (gamma * rule.paths) > 100:
                continue
            P, Q = models(size, gamma, seed)
            for one in instances(rule, gamma):
                out = block_output(one, P, Q, drafts_of(one, Q, gamma, stopped=stopped))
                errors.append((float(out.error), f"model {(size, gamma, seed)}, {one}"))
            if max(errors)[0] > 0:
                break
        return _worst(errors, 0.0, "the completed law is not the target's for")

    length = " of lengths that depend on the drafts" if stopped else ""
    return Check(f"exact: rational law of what is emitted{length}", run, seconds=0.6)


def enumerated_law() -> Check:
    """Return the check that the code that runs has the conditional law given drafts, by enumeration of its choices."""

    def run(rule: Any, key: PRNGKeyArray) -> Outcome:
        errors = []
        size, gamma, seed = MODELS[0]
        P, Q = models(size, gamma, seed)
        one = next(instances(rule, gamma))
        every = drafts_of(one, Q, gamma)
        for drafts, _ in every[:: max(1, len(every) // 6)]:
            law: dict[Prefix, float] = {}
            program = enumerate_law(
                lambda key, *arrays: one.verify(key, *arrays).tokens,  # type: ignore[attr-defined]
                key,
                *(jnp.asarray(array) for array in inputs_of(one, P, Q, drafts)),
            )
            for tokens, mass in program:
                law[_string(tokens)] = law.get(_string(tokens), 0.0) + float(mass)
            errors.append((_difference(law, one.conditional_law(P, Q, drafts).emitted), f"drafts {drafts}"))
        return _worst(errors, _ROUNDING, "the enumerated law of the code is not the conditional one for")

    return Check("exact: enumerated law of the code that draws, given drafts", run, seconds=1.5)


def decisions(count: int = 20_000, false_alarm: float = 1e-6) -> Check:
    """Return the check that decisions on uniforms have the conditional law, and emit nothing impossible at their ends.

    Parameters
    ----------
    count
        Number of decisions given the likeliest drafts.
    false_alarm
        Probability that a right rule fails; frequencies are bounded by Hoeffding's inequality.
    """

    def run(rule: Any, key: PRNGKeyArray) -> Outcome:
        size, gamma, seed = MODELS[1]
        P, Q = models(size, gamma, seed)
        one: Any = next(instances(rule, gamma))
        draw_key, end_key = jax.random.split(key)
        shape = (count, int(one.num_uniforms()) if isinstance(one, TreeRule | FixedTree) else gamma + 1)
        inside, ends = jax.random.uniform(draw_key, shape), jnp.asarray([0.0, 0.5, 1 - 2.0**-53])
        every = sorted(drafts_of(one, Q, gamma), key=lambda pair: -pair[1])
        arrays = [jnp.asarray(array) for array in inputs_of(one, P, Q, every[0][0])]
        decide = jax.jit(jax.vmap(lambda u, *arrays: one.decide(*arrays, u).tokens, (0, *[None] * len(arrays))))

        def frequencies(uniforms: Any, *arrays: Any) -> dict[Prefix, float]:
            emitted = np.asarray(decide(uniforms, *arrays))
            strings, counts = np.unique(emitted, axis=0, return_counts=True)
            return {_string(tokens): times / count for tokens, times in zip(strings, counts, strict=True)}

        found, wanted = frequencies(inside, *arrays), one.conditional_law(P, Q, every[0][0]).emitted
        bound = math.sqrt(math.log(2 * len({**found, **wanted}) / false_alarm) / (2 * count))
        errors = [(_difference(found, wanted), f"drafts {every[0][0]}: another law than the conditional one")]
        at_ends = ends[jax.random.randint(end_key, shape, 0, 3)]
        for drafts, _ in every[:: max(1, len(every) // 5)]:
            for string in frequencies(at_ends, *[jnp.asarray(array) for array in inputs_of(one, P, Q, drafts)]):
                possible = len(string) > 0 and all(P[string[:at]][string[at]] > 0 for at in range(len(string)))
                errors.append((0.0 if possible else np.inf, f"drafts {drafts}: {string}, which is impossible"))
        return _worst(errors, bound, "decisions on uniforms emit, for", false_alarm=false_alarm)

    return Check("decisions on uniforms, their ends included", run, seconds=2.0)


# --- symmetry, and how much is accepted -----------------------------------------------------------------------------


def invariances() -> Check:
    """Return the check that rescaled weights change nothing, and relabelled tokens the labels alone."""

    def relabelled(model: Model, order: Sequence[int]) -> Model:
        place = {token: number for number, token in enumerate(order)}
        return {
            tuple(place[token] for token in prefix): [law[token] for token in order] for prefix, law in model.items()
        }

    def run(rule: BlockRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        size, gamma, seed = MODELS[0]
        P, Q = models(size, gamma, seed)
        order = [*range(1, size), 0]
        place = {token: number for number, token in enumerate(order)}
        other_P, other_Q = relabelled(P, order), relabelled(Q, order)
        scaled_P = {prefix: [7 * part for part in law] for prefix, law in P.items()}
        scaled_Q = {prefix: [part / 3 for part in law] for prefix, law in Q.items()}
        one = next(instances(rule, gamma))
        for drafts, _ in drafts_of(one, Q, gamma)[:9]:
            law = one.conditional_law(P, Q, drafts).emitted
            errors.append(
                (_difference(one.conditional_law(scaled_P, scaled_Q, drafts).emitted, law), f"scale, {drafts}")
            )
            moved = jax.tree.map(lambda token: place.get(token, token), drafts)
            labelled = {tuple(place[token] for token in string): mass for string, mass in law.items()}
            found = one.conditional_law(other_P, other_Q, moved).emitted
            errors.append((_difference(found, labelled), f"labels, {drafts}"))
        return _worst(errors, 0.0, "the conditional law depends on")

    return Check("exact: invariant under scale, equivariant under labels", run, seconds=0.3)


def accepted(claimed: Callable[[Model, Model, int], Any] | None = None) -> Check:
    """Return the check that a rule for one chain keeps what theory says, and no more than the best rule.

    Parameters
    ----------
    claimed
        ``E[tau]`` from the models and the number of drafts; default: within the bounds only.
    """

    def run(rule: BlockRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for size, gamma, seed in MODELS:
            P, Q = models(size, gamma, seed)
            mean = block_output(rule, P, Q, drafts_of(rule, Q, gamma)).accepted
            bound = (
                accepted_by_block(P, Q, gamma) if isinstance(rule, ChainRule) else longest_common_prefix(P, Q, gamma)
            )
            off = [mean - bound] if claimed is None else [mean - bound, abs(mean - claimed(P, Q, gamma))]
            errors.append((float(max(off)), f"model {(size, gamma, seed)}"))
        return _worst(errors, 0.0, "the mean number of accepted drafts is not as claimed for")

    return Check("exact: accepted drafts as claimed, within the optimum", run, seconds=0.5)


def accepted_on_trees(claimed: Callable[[BlockRule, Model, Model], Any]) -> Check:
    """Return the check that a rule for trees keeps at least, or exactly, what it is compared with.

    Parameters
    ----------
    claimed
        From the rule and the models to a lower bound of ``E[tau]``, and whether it has to be attained.
    """

    def run(rule: BlockRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for size, gamma, seed in MODELS[:4]:
            P, Q = models(size, gamma, seed)
            for one in instances(rule, gamma):
                mean = block_output(one, P, Q, drafts_of(one, Q, gamma)).accepted
                bound, attained = claimed(one, P, Q)
                lost = bound - mean
                errors.append((float(abs(lost) if attained else lost), f"model {(size, gamma, seed)}, {one.tree}"))  # type: ignore[attr-defined]
        return _worst(errors, 0.0, "the mean number of accepted drafts is not as claimed for")

    return Check("exact: accepted drafts as claimed", run, seconds=0.8)


def _of_fixed_tree(rule: Any, P: Model, Q: Model) -> tuple[Any, bool]:
    """Return the value of the tree's distinct strings, the first of equal siblings counting."""
    ((tokens, _),) = drafts_of(rule, Q, rule.tree.depth)
    return accepted_by_fixed_tree(P, set(rule.tree.prefixes(tokens)) - {()}), True


def _of_top_down(rule: Any, P: Model, Q: Model) -> tuple[Any, bool]:
    """Return what recursive rejection from the root down keeps, a bound for traversal of independent siblings."""
    other = TopDown(rule.tree, RecursiveRejection())
    return block_output(other, P, Q, drafts_of(other, Q, rule.tree.depth)).accepted, False


# --- sequences ------------------------------------------------------------------------------------------------------


def _joint(seed: int, length: int = 3) -> dict[Prefix, Fraction]:
    generator = np.random.default_rng(seed)
    weights = generator.integers(0, 9, 2**length)
    weights[generator.integers(2**length)] += 1
    strings = itertools.product(range(2), repeat=length)
    return {string: Fraction(int(weight), int(weights.sum())) for string, weight in zip(strings, weights, strict=True)}


def conditionals(joint: Mapping[Prefix, Any]) -> Callable[[Any, Any], Any]:
    """Return the model ``(tokens, given) -> rows`` with the joint law of some binary sequences.

    Row ``i`` has the weights of position ``i`` given the tokens before ``given[i]``.
    """
    length = len(next(iter(joint)))
    table = np.zeros((2,) * length)
    for string, mass in joint.items():
        table[string] = float(mass)
    strings, masses = jnp.asarray(list(np.ndindex(*table.shape))), jnp.asarray(table.reshape(-1))

    def model(tokens: Any, given: Any) -> Any:
        known = jnp.arange(length) < given[:, None]
        agrees = jnp.all((strings == tokens) | ~known[:, None, :], axis=-1)
        ones = jnp.sum(jnp.where(agrees, masses, 0) * strings.T, axis=-1)
        return jnp.stack([jnp.sum(jnp.where(agrees, masses, 0), axis=-1) - ones, ones], axis=-1)

    return model


def sequence_law(draw: Callable[[Any, PRNGKeyArray, Any], tuple[Any, Any]]) -> Check:
    """Return the check that sequences have the model's law, and take no more evaluations than tokens.

    Parameters
    ----------
    draw
        From the rule, a key and the model to a sequence and the number of evaluations.
    """

    def run(rule: Any, key: PRNGKeyArray) -> Outcome:
        errors = []
        for seed in (21, 22):
            joint = _joint(seed)
            model = conditionals(joint)
            law: dict[Prefix, float] = {}
            for (tokens, evaluations), mass in enumerate_law(lambda key: draw(rule, key, model), key):  # noqa: B023
                string = _string(tokens)
                law[string] = law.get(string, 0.0) + float(mass)
                errors.append((float(max(int(evaluations) - 3, 0)), f"model {seed}: {int(evaluations)} evaluations"))
            errors.append((_difference(law, joint), f"model {seed}"))
        return _worst(errors, _ROUNDING, "the law of sequences is not the model's for")

    return Check("exact: enumerated law of sequences, in as many evaluations at most", run, seconds=1.5)


def rational_sequence_law() -> Check:
    """Return the check that the law of sequences is the model's in fractions, without tolerance."""

    def run(rule: AnySubset, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for seed in range(30, 40):
            joint = _joint(seed, 2 + seed % 3)
            law, evaluations = rule.output_law(joint)
            errors.append((_difference(law, joint), f"model {seed}"))
            errors.append((float(max(0, max(evaluations) - len(next(iter(joint))))), f"evaluations of model {seed}"))
        return _worst(errors, 0.0, "the law of sequences is not the model's for")

    return Check("exact: rational law of sequences", run, seconds=0.2)


_LAWS = (rational_law(), enumerated_law(), decisions())
_STOPPED = rational_law(stopped=True)
_SHAPE = SHAPES[0]

CASES: tuple[Case, ...] = (
    Case(
        "token-verification",
        TokenVerification,
        TokenVerification,
        (*_LAWS, _STOPPED, invariances(), accepted(expected_accepted_in_context)),
    ),
    Case(
        "block-verification",
        BlockVerification,
        BlockVerification,
        (*_LAWS, _STOPPED, invariances(), accepted(accepted_by_block)),
    ),
    Case(
        "ideal-prefix-coupling",
        IdealPrefixCoupling,
        IdealPrefixCoupling,
        (rational_law(), invariances(), accepted(longest_common_prefix)),
    ),
    Case("top-down", TopDown, lambda: TopDown(_SHAPE, RecursiveRejection()), (*_LAWS, _STOPPED, invariances())),
    Case(
        "traversal",
        Traversal,
        lambda: Traversal(_SHAPE),
        (*_LAWS, _STOPPED, invariances(), accepted_on_trees(_of_top_down)),
    ),
    Case(
        "fixed-tree",
        FixedTree,
        lambda: FixedTree(_SHAPE),
        (*_LAWS, accepted_on_trees(_of_fixed_tree)),
    ),
    Case(
        "ordered-paths",
        OrderedPaths,
        lambda: OrderedPaths(2),
        _LAWS,
    ),
    Case(
        "any-subset",
        AnySubset,
        lambda: AnySubset(3),
        (rational_sequence_law(), sequence_law(lambda rule, key, model: rule.sample(key, model, 3))),
    ),
    Case(
        "speculative-jacobi",
        SpeculativeJacobi,
        lambda: SpeculativeJacobi(2),
        (sequence_law(lambda rule, key, model: rule.sample(key, lambda tokens: model(tokens, jnp.arange(3)), 3)),),
    ),
)
"""Rules for chains, trees and sequences."""

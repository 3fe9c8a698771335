"""Rules for chains, trees and sequences done wrong, in the ways in which they are done wrong."""

import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.any_subset import AnySubset, AnySubsetDraw
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.fixed_tree import FixedTree
from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling
from ergodica.samplers.acceptance.blocks.jacobi import JacobiDraw, SpeculativeJacobi
from ergodica.samplers.acceptance.blocks.ordered_paths import OrderedPaths
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.traversal import Traversal
from ergodica.samplers.acceptance.dependent_drafts import DraftsWithoutReplacement, TopDrafts
from ergodica.samplers.acceptance.draft_law import IndependentDrafts
from ergodica.samplers.acceptance.drafts_in_turn import positive_part
from ergodica.samplers.acceptance.laws import namespace, residual_law
from ergodica.samplers.acceptance.single_draft import acceptance_probability

# --- chains ---------------------------------------------------------------------------------------------------------


class UncappedLast(BlockVerification):
    """Accepts the whole chain with ``min(1, P / Q)`` of the joint probabilities instead of the last budget."""

    def budgets(self, tokens, p, q):
        budgets, chances = super().budgets(tokens, p, q)
        xp, joint = namespace(p, q), 1 + 0 * p[0, 0]
        for level in range(q.shape[0]):
            drafted = q[level, tokens[level]]
            joint = joint * p[level, tokens[level]] / xp.where(drafted > 0, drafted, 1)[()]
        return budgets, xp.concatenate([chances[:-1], xp.stack([xp.where(joint < 1, joint, 1 + 0 * joint)[()]])])


class TokenCriterion(BlockVerification):
    """Stops at each level with the probability of the last token alone."""

    def budgets(self, tokens, p, q):
        budgets, chances = super().budgets(tokens, p, q)
        xp = namespace(p, q)
        single = [
            acceptance_probability(p[level, tokens[level]], q[level, tokens[level]])[()] for level in range(q.shape[0])
        ]
        return budgets, xp.stack([chances[0], *single])


class TokenResidual(BlockVerification):
    """Draws from ``(P - Q)+``, whatever the budget."""

    def own_weights(self, budgets, p, q, tau):
        return super().own_weights(1 + 0 * budgets, p, q, tau)


class BreaksAtFirstFailure(BlockVerification):
    """Stops before the first level that fails."""

    def stop_law(self, tokens, p, q):
        _, chances = self.budgets(tokens, p, q)
        _, own = super().stop_law(tokens, p, q)
        alive, stop = 1 + 0 * chances[0], []
        for level in range(1, chances.shape[0]):
            stop.append(alive * (1 - chances[level]))
            alive = alive * chances[level]
        return namespace(p).stack([*stop, alive]), own


class UncappedBudgets(BlockVerification):
    """Lets one level's surplus pay for the next one's deficit."""

    def budgets(self, tokens, p, q):
        xp = namespace(p, q)
        budget = [1 + 0 * p[0, 0]]
        for level in range(q.shape[0]):
            drafted = q[level, tokens[level]]
            budget.append(budget[-1] * p[level, tokens[level]] / xp.where(drafted > 0, drafted, 1)[()])
        budget = xp.stack(budget)
        left = positive_part(budget[:-1, None] * p[:-1] - q).sum(axis=-1)
        less = positive_part(q - budget[:-1, None] * p[:-1]).sum(axis=-1)
        most = xp.where(left > less, left, less)
        chances = xp.where(most > 0, left / xp.where(most > 0, most, 1), 1 + 0 * most)
        return budget, xp.concatenate([chances, xp.where(budget < 1, budget, 1 + 0 * budget)[-1:]])


class DiscardsAfterDraw(BlockVerification):
    """Throws the last draft away if the draft model gave it little."""

    def conditional_law(self, P, Q, drafts):
        drafts = tuple(drafts)
        if drafts and Q[drafts[:-1]][drafts[-1]] < Fraction(1, 3):
            drafts = drafts[:-1]
        return super().conditional_law(P, Q, drafts)


class StaleLastLaw(TokenVerification):
    """Draws the token after the last draft from the law before it."""

    def stop_law(self, tokens, p, q):
        stop, own = super().stop_law(tokens, p, q)
        return stop, namespace(p).concatenate([own[:-1], p[-2:-1]])


class CountsLastPass(TokenVerification):
    """Keeps all drafts up to the last that passes a test for tokens."""

    def stop_law(self, tokens, p, q):
        xp, left = namespace(p, q), 1 + 0 * p[0, 0]
        stop = []
        for level in reversed(range(q.shape[0])):
            stop.append(left * acceptance_probability(p[level, tokens[level]], q[level, tokens[level]])[()])
            left = left - stop[-1]
        return xp.stack([*stop[::-1][:0], left, *stop[::-1]]), super().stop_law(tokens, p, q)[1]


class FirstUniformTwice(BlockVerification):
    """Draws the own token with the uniform of the first test."""

    def decide(self, tokens, p, q, uniforms):
        return super().decide(tokens, p, q, jnp.asarray(uniforms).at[..., -1].set(uniforms[..., 0]))


class ForgetsBudgetInCode(BlockVerification):
    """Verifies with the right tests, and draws from the residual for tokens; the law is stated right."""

    def verify(self, key, tokens, p, q):
        return TokenResidual().verify(key, tokens, p, q)


class StopsAtTarget(IdealPrefixCoupling):
    """Continues with the target after the first token that is drawn anew."""

    def conditional_law(self, P, Q, drafts):
        law = super().conditional_law(P, Q, drafts)
        emitted = {}
        for string, mass in law.emitted.items():
            emitted[string[:-1]] = emitted.get(string[:-1], 0) + mass
        full = {
            (*string, token): mass * chance for string, mass in emitted.items() for token, chance in _law(P, string)
        }
        return law._replace(emitted=full)


def _law(model, prefix):
    """The model's law, one token rotated: of the next token but one, so to speak."""
    law = np.array(model[prefix], dtype=object)
    return [(token, chance) for token, chance in enumerate(np.roll(law, 1) / law.sum()) if chance > 0]


CHAIN_TRAPS = (
    UncappedLast,
    TokenCriterion,
    TokenResidual,
    BreaksAtFirstFailure,
    UncappedBudgets,
    DiscardsAfterDraw,
    StaleLastLaw,
    CountsLastPass,
    FirstUniformTwice,
    ForgetsBudgetInCode,
    StopsAtTarget,
)


# --- trees ----------------------------------------------------------------------------------------------------------


class MergesSiblings(Traversal):
    """Treats siblings with the same token as one."""

    def tests(self, tokens, p, q):
        merged = np.array(tokens)
        for children in self.tree.children:
            for first, second in itertools.combinations(children, 2):
                if merged[first - 1] == merged[second - 1]:
                    merged[second - 1] = -1
        return super().tests(merged, p, q)


class SoftLawOfTopTokens(Traversal):
    """Drafts the likeliest tokens, and verifies them with the probabilities of the draft model."""

    def sibling_law(self, q, k):
        return _Likeliest(q, k)


class KeepsMostConfident(Traversal):
    """Draws one sibling more than needed, and keeps those with the largest probability."""

    def sibling_law(self, q, k):
        return _Reranked(q, k)


class TakesDistinctForIndependent(Traversal):
    """Draws siblings without replacement, and verifies them as independent draws."""

    def sibling_law(self, q, k):
        return DraftsWithoutReplacement(q, k)


class TakesIndependentForDistinct(Traversal):
    """Draws siblings independently, and verifies them as drawn without replacement."""

    def __init__(self, tree, *, replacement=False):
        super().__init__(tree, replacement=False)

    def sibling_law(self, q, k):
        return IndependentDrafts(q, k)


class BudgetOfToken(Traversal):
    """Gives what is left of a node's budget by the drafted token: ``S / (1 - q(x))``."""

    def tests(self, tokens, p, q):
        return _traversed(self, tokens, p, q, lambda mass, budget, drafted: mass / max(1 - drafted, Fraction(1, 10**9)))


class ForgetsFailure(Traversal):
    """Keeps the budget of a node after a child has failed."""

    def tests(self, tokens, p, q):
        return _traversed(self, tokens, p, q, lambda mass, budget, drafted: budget)


def _traversed(rule, tokens, p, q, after):
    """Traversal in fractions, with another rule for what is left of a budget."""
    nodes, chances, laws = [], [], []

    def visit(node, budget, law):
        for child in rule.tree.children[node]:
            token = tokens[child - 1]
            if token < 0:
                continue
            visit(child, acceptance_probability(budget * law[token], q[node][token])[()], p[child])
            left = positive_part(budget * law - q[node])
            budget = min(1, after(left.sum(), budget, q[node][token]))
            law = left / left.sum() if left.sum() > 0 else law
        nodes.append(node)
        chances.append(budget)
        laws.append(law)

    visit(0, Fraction(1), p[0])
    chances[-1] = Fraction(1)
    missing = [node for node in range(rule.tree.num_nodes) if node not in nodes]
    zero = 0 * p[0]
    chance = np.array([Fraction(0)] * len(missing) + chances, dtype=object)
    return type(Traversal(rule.tree).tests(tokens, p, q))(
        (*missing, *nodes), chance, np.array([zero] * len(missing) + laws)
    )


class _Likeliest(IndependentDrafts):
    def enumerate(self):
        order = sorted(range(self.q.size), key=lambda token: -self.q[token])
        yield tuple(order[: self.k]), Fraction(1)


class _Reranked(IndependentDrafts):
    def enumerate(self):
        kept = {}
        for drafts, mass in IndependentDrafts(self.q, self.k + 1).enumerate():
            best = tuple(sorted(drafts, key=lambda token: -self.q[token])[: self.k])
            kept[best] = kept.get(best, 0) + mass
        yield from kept.items()


class SoftLawFromTheRoot(TopDown):
    """Drafts the likeliest tokens and one draw from the others, and tells a rule for independent drafts."""

    def sibling_law(self, q, k):
        return TopDrafts(q, k)


class FollowsLastChild(TopDown):
    """Goes on below the child that has the token and the most probable draft below it."""

    def stop_law(self, tokens, p, q):
        children = self.tree.children
        moved, p, q = np.array(tokens), np.array(p), np.array(q)
        below = {node: children[node][0] for node in range(1, self.tree.num_nodes) if children[node]}
        for first, second in itertools.combinations(children[0], 2):
            both = first in below and second in below and tokens[first - 1] == tokens[second - 1]
            if both and q[second][tokens[below[second] - 1]] > q[first][tokens[below[first] - 1]]:
                moved[below[first] - 1] = tokens[below[second] - 1]
                p[below[first]] = p[below[second]]
        return super().stop_law(moved, p, q)


class TrustsTree(FixedTree):
    """Accepts whatever the tree holds at its first node."""

    def conditional_law(self, P, Q, drafts):
        law = super().conditional_law(P, Q, drafts)
        kept = {string: mass for string, mass in law.emitted.items() if string[0] == drafts[0]}
        total = sum(kept.values())
        return law._replace(emitted={string: mass / total for string, mass in kept.items()}) if kept else law


class ForgetsSelection(OrderedPaths):
    """Verifies the selected chain with the law of one that was not selected."""

    def selected_law(self, tokens, p, q):
        return q


class SelectsByWholeChain(OrderedPaths):
    """Selects by the joint ratio, and verifies with the law of a selection by positions."""

    def selected(self, tokens, p, q):
        ratios = []
        for path in range(self.paths):
            ratio = Fraction(1)
            for level, token in enumerate(tokens[path]):
                ratio = ratio * p[path, level, token] / q[path, level, token]
            ratios.append(ratio)
        return int(np.argmin(np.array(ratios, dtype=object)))


TREE_TRAPS = (
    MergesSiblings,
    SoftLawOfTopTokens,
    KeepsMostConfident,
    TakesDistinctForIndependent,
    TakesIndependentForDistinct,
    BudgetOfToken,
    ForgetsFailure,
    SoftLawFromTheRoot,
    FollowsLastChild,
    TrustsTree,
    ForgetsSelection,
    SelectsByWholeChain,
)


# --- sequences ------------------------------------------------------------------------------------------------------


class UnmasksInParallel(AnySubset):
    """Draws all positions from one evaluation, and leaves them unverified."""

    def sample(self, key, model, length):
        rows = model(jnp.zeros(length, jnp.int32), jnp.zeros(length, int))
        return AnySubsetDraw(random.categorical(key, jnp.log(rows)).astype(jnp.int32), jnp.int32(1))

    def output_law(self, joint):
        length = len(next(iter(joint)))
        single = [{} for _ in range(length)]
        for string, mass in joint.items():
            for position, token in enumerate(string):
                single[position][token] = single[position].get(token, 0) + mass
        law = {(): Fraction(1)}
        for masses in single:
            law = {(*string, token): mass * masses[token] for string, mass in law.items() for token in masses}
        return law, {1: Fraction(1)}


class AddsTolerance(AnySubset):
    """Adds a tenth to each acceptance probability."""

    def _round_law(self, prefix, length, conditional):
        if len(prefix) + 1 >= length:
            return super()._round_law(prefix, length, conditional)
        position, law = len(prefix) + 1, {}
        draft = np.array(conditional(prefix, position), dtype=object)
        for token, mass in enumerate(conditional(prefix, len(prefix))):
            if mass > 0:
                string = (*prefix, token)
                wanted = np.array(conditional(string, position), dtype=object)
                kept = [min(drawn, want + drawn / 10) for want, drawn in zip(wanted, draft, strict=True)]
                residual = residual_law(wanted, draft)
                for other in range(len(draft)):
                    law[(*string, other)] = mass * (kept[other] + (1 - sum(kept)) * residual[other])
        return law


class KeepsAllDrafts(SpeculativeJacobi):
    """Keeps the drafts of the first pass, and draws the first position alone from the model."""

    def sample(self, key, model, length):
        rows = model(jnp.zeros(length, jnp.int32))
        return JacobiDraw(random.categorical(key, jnp.log(rows)).astype(jnp.int32), jnp.int32(1))


SEQUENCE_TRAPS = (UnmasksInParallel, AddsTolerance, KeepsAllDrafts)

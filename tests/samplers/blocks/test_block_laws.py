"""Exact laws of the rules for chains, trees and sequences: published instances, properties, optima, traps."""

import itertools
import math
from fractions import Fraction

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.optimize import linprog

from ergodica.samplers.acceptance.blocks.any_subset import AnySubset
from ergodica.samplers.acceptance.blocks.block_rule import ChainRule
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_tree import DraftTree
from ergodica.samplers.acceptance.blocks.ensemble import geometric_ensemble, linear_ensemble
from ergodica.samplers.acceptance.blocks.fixed_tree import FixedTree, most_probable_tree
from ergodica.samplers.acceptance.blocks.ideal_prefix_coupling import IdealPrefixCoupling
from ergodica.samplers.acceptance.blocks.jacobi import coupled_jacobi
from ergodica.samplers.acceptance.blocks.ordered_paths import OrderedPaths
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.blocks.top_down import TopDown
from ergodica.samplers.acceptance.blocks.traversal import Traversal
from ergodica.samplers.acceptance.luce_selection import LuceSelection
from ergodica.samplers.acceptance.naive import Naive
from ergodica.samplers.acceptance.ordered_selection import OrderedSelection
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.samplers.acceptance.recursive_rejection_without_replacement import RecursiveRejectionWithoutReplacement
from ergodica.samplers.acceptance.spechub import SpecHub
from ergodica.theory import block_lengths
from ergodica.theory.block_acceptance import accepted_by_block, accepted_by_fixed_tree, longest_common_prefix
from ergodica.theory.draft_acceptance import acceptance
from ergodica.validation.block_law import block_output, drafted_chains, string_law
from ergodica.validation.cases.blocks import CASES, drafts_of, models, stops_early
from tests.samplers.blocks.block_instances import PUBLISHED, THIRDS, model, model_pairs
from tests.traps.blocks import CHAIN_TRAPS, SEQUENCE_TRAPS, TREE_TRAPS, UncappedLast

KEY = jax.random.key(7)
SHAPES = [(1,), (2,), (3,), (1, 1), (2, 1), (1, 2), (2, 2)]


def output(rule, P, Q, gamma, **options):
    return block_output(rule, P, Q, drafts_of(rule, Q, gamma, **options))


def rejection(tree, replacement):
    return TopDown(tree, RecursiveRejection() if replacement else RecursiveRejectionWithoutReplacement())


# --- published instances --------------------------------------------------------------------------------------------


def rule_of(instance):
    name, expected = instance["rule"], instance["expected"]
    if name.startswith("tree"):
        tree, replacement = DraftTree.of_branching(expected["topology"]), expected["siblings"] == "iid"
        return Traversal(tree, replacement=replacement) if "traversal" in name else rejection(tree, replacement)
    if name == "ordered_path_block":
        return OrderedPaths(expected["K"])
    chains = {"token_chain": TokenVerification, "block": BlockVerification, "BAD_block_uncapped_last": UncappedLast}
    return {**chains, "ideal_prefix_coupling": IdealPrefixCoupling}[name]()


@pytest.mark.parametrize(
    "instance", [one for one in PUBLISHED if one["kind"] in ("sequence", "tree")], ids=lambda one: one["rule"]
)
def test_published_instances(instance):
    P, Q, expected = model(instance["P"]), model(instance["Q"]), instance["expected"]
    gamma = instance["gamma"]
    out = output(rule_of(instance), P, Q, gamma)
    law = {",".join(map(str, string)): float(mass) for string, mass in out.emitted.items()}
    assert law == pytest.approx(expected["emitted_law"], abs=1e-12)
    assert float(out.accepted) == pytest.approx(expected["expected_accepted"], abs=1e-12)
    assert (out.error == 0) == expected["exact"]
    assert float(out.error) == pytest.approx(expected.get("max_abs_error_vs_target", 0.0), abs=1e-12)
    if "ideal_bound" in expected:
        assert float(longest_common_prefix(P, Q, gamma)) == pytest.approx(expected["ideal_bound"], abs=1e-12)
    if "token_chain_expected_accepted" in expected:
        assert float(output(TokenVerification(), P, Q, gamma).accepted) == pytest.approx(
            expected["token_chain_expected_accepted"], abs=1e-12
        )
    if "block_expected_accepted" in expected:
        assert float(accepted_by_block(P, Q, gamma)) == pytest.approx(expected["block_expected_accepted"], abs=1e-12)
        assert out.accepted > accepted_by_block(P, Q, gamma)  # more than any exact rule: the proof that it is none


def test_published_any_subset():
    (instance,) = [one for one in PUBLISHED if one["kind"] == "assd"]
    joint = {key: law[0] for key, law in model({string: [mass] for string, mass in instance["joint"].items()}).items()}
    law, evaluations = AnySubset(instance["draft_len"]).output_law(joint)
    assert law == {string: mass for string, mass in joint.items() if mass > 0}
    assert {str(count): float(mass) for count, mass in evaluations.items()} == pytest.approx(
        instance["expected"]["nfe_law"]
    )


def test_published_speed():
    (instance,) = [one for one in PUBLISHED if one["kind"] == "speed"]
    a, c, expected = instance["alpha"], instance["c"], instance["expected"]
    assert block_lengths.best_gamma(a, c) == expected["best_gamma"]
    assert block_lengths.expected_tokens(a, expected["best_gamma"]) == pytest.approx(expected["tokens"], abs=1e-12)
    assert block_lengths.speed(a, expected["best_gamma"], c) == pytest.approx(expected["speedup"], abs=1e-12)


def test_self_checks_on_thirds():
    P, Q = THIRDS
    rules = TokenVerification(), BlockVerification(), IdealPrefixCoupling()
    means = [[output(rule, P, Q, gamma).accepted for rule in rules] for gamma in (1, 2, 3)]
    ninths = [[Fraction(18, 27)] * 3, [Fraction(30, 27), Fraction(33, 27), Fraction(36, 27)]]
    assert means == [*ninths, [Fraction(38, 27), Fraction(45, 27), Fraction(50, 27)]]
    law = output(BlockVerification(), P, Q, 2).emitted
    wanted = {"1": 9, "11": 3, "000": 1, "001": 2, "010": 2, "011": 4, "100": 1, "101": 2, "110": 1, "111": 2}
    assert law == {tuple(map(int, string)): Fraction(count, 27) for string, count in wanted.items()}
    assert [output(OrderedPaths(paths), P, Q, 2).accepted for paths in (1, 2)] == [Fraction(11, 9), Fraction(131, 81)]
    bad = output(UncappedLast(), P, Q, 2)
    first = {}
    for string, mass in bad.completed.items():
        first[string[:2]] = first.get(string[:2], 0) + mass
    assert first == {(0, 0): Fraction(1, 9), (0, 1): Fraction(2, 9), (1, 0): Fraction(1, 3), (1, 1): Fraction(1, 3)}
    assert bad.accepted == Fraction(4, 3)


@pytest.mark.parametrize(
    ("branching", "replacement", "top_down", "traversal"),
    [((2, 1), True, "35/27", "38/27"), ((2, 1), False, "5/3", "16/9"), ((2, 2), True, "112/81", "118/81"),
     ((3, 1), True, "115/81", "124/81")],
)  # fmt: skip
def test_self_checks_of_trees(branching, replacement, top_down, traversal):
    tree = DraftTree.of_branching(branching)
    for rule, wanted in (
        (rejection(tree, replacement), top_down),
        (Traversal(tree, replacement=replacement), traversal),
    ):
        out = output(rule, *THIRDS, len(branching))
        assert out.error == 0
        assert out.accepted == Fraction(wanted)


# --- properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(model_pairs(3, 2))
def test_rules_for_chains_are_exact_and_ordered(pair):
    P, Q = pair
    token, block = output(TokenVerification(), P, Q, 2), output(BlockVerification(), P, Q, 2)
    ideal = output(IdealPrefixCoupling(), P, Q, 2)
    assert token.error == block.error == ideal.error == 0
    assert token.accepted == block_lengths.expected_accepted_in_context(P, Q, 2)
    assert block.accepted == accepted_by_block(P, Q, 2)
    assert ideal.accepted == longest_common_prefix(P, Q, 2)
    assert token.accepted <= block.accepted <= ideal.accepted
    assert output(BlockVerification(), P, Q, 1).emitted == output(TokenVerification(), P, Q, 1).emitted
    for rule in (TokenVerification(), BlockVerification()):
        assert output(rule, P, Q, 2, stopped=True).error == 0


@settings(max_examples=10)
@given(model_pairs(3, 2), st.sampled_from(SHAPES), st.booleans())
def test_rules_for_trees_are_exact_and_ordered(pair, branching, replacement):
    P, Q = pair
    tree, gamma = DraftTree.of_branching(branching), len(branching)
    top_down, traversal = rejection(tree, replacement), Traversal(tree, replacement=replacement)
    if math.prod(branching) < 4:
        assert output(traversal, P, Q, gamma, stopped=True).error == 0
        down, up = output(top_down, P, Q, gamma), output(traversal, P, Q, gamma)
        assert down.error == up.error == 0
        assert down.accepted <= up.accepted
    if set(branching) == {1}:
        chain = output(BlockVerification(), P, Q, gamma)
        assert (up.emitted, up.tau) == (chain.emitted, chain.tau)


@settings(max_examples=10)
@given(model_pairs(3, 1), st.booleans())
def test_the_number_of_siblings_may_depend_on_those_before(pair, replacement):
    """After the first of three siblings drafting stops if it is token 1."""
    P, Q = pair
    tree = DraftTree((0, 0, 0))
    for rule in (Traversal(tree, replacement=replacement), rejection(tree, replacement)):
        drafts = {}
        for tokens, mass in tree.enumerate(Q, rule.sibling_law):
            tokens = (1, -1, -1) if tokens[0] == 1 else tokens
            drafts[tokens] = drafts.get(tokens, 0) + mass
        assert block_output(rule, P, Q, drafts.items()).error == 0


@settings(max_examples=8)
@given(model_pairs(3, 1), st.sampled_from([Naive(), LuceSelection(), OrderedSelection(), SpecHub()]))
def test_any_rule_for_one_position_makes_a_rule_for_trees(pair, rule):
    P, Q = pair
    assume(not isinstance(rule, SpecHub) or sum(mass > 0 for mass in Q[()]) > 1)  # it needs two possible tokens
    assert output(TopDown(DraftTree((0, 0)), rule), P, Q, 1).error == 0


def test_rules_for_one_position_on_deeper_trees():
    P, Q = models(2, 2, 5)
    for rule in (LuceSelection(), OrderedSelection()):
        assert output(TopDown(DraftTree((0, 0, 1, 1)), rule), P, Q, 2).error == 0


@settings(max_examples=6)
@given(model_pairs(3, 1), st.integers(1, 3))
def test_selected_paths_of_one_draft_are_exact(pair, paths):
    assert output(OrderedPaths(paths), *pair, 1).error == 0


@settings(max_examples=2)
@given(model_pairs(3, 2))
def test_selected_paths_are_exact(pair):
    P, Q = pair
    assert output(OrderedPaths(2), P, Q, 2).error == 0
    assert output(OrderedPaths(1), P, Q, 2).emitted == output(BlockVerification(), P, Q, 2).emitted


def test_law_of_the_selected_path():
    """Three chains of two tokens: the law of the selection, by enumeration, is the one that verification is given."""
    P, Q = models(2, 2, 6)
    rule, found = OrderedPaths(3), {}
    for chains, mass in drafts_of(rule, Q, 2):
        p = np.array([[P[chain[:at]] for at in range(3)] for chain in chains], dtype=object)
        q = np.array([[Q[chain[:at]] for at in range(2)] for chain in chains], dtype=object)
        best = chains[int(rule.selected(np.array(chains), p, q))]
        found[best] = found.get(best, 0) + mass
    for chain, mass in found.items():
        p, q = (np.array([table[chain[:at]] for at in range(2)], dtype=object) for table in (P, Q))
        law = rule.selected_law(np.array(chain), np.concatenate([p, p[:1]]), q)
        assert law[0, chain[0]] * law[1, chain[1]] == mass
        assert law.sum(axis=1).tolist() == [1, 1]


def test_fixed_trees():
    P, _ = models(3, 2, 8)
    for nodes in (1, 3, 5):
        tree, tokens = most_probable_tree(lambda prefix: P[prefix], nodes, depth=2)
        strings = tree.prefixes(tokens)[1:]
        out = block_output(FixedTree(tree), P, {}, [(tuple(tokens), 1)])
        assert out.error == 0
        assert out.accepted == accepted_by_fixed_tree(P, strings)
        # No other tree of as many nodes holds more: try all sets of strings that are closed under prefixes.
        every = [prefix for length in (1, 2) for prefix in itertools.product(range(3), repeat=length)]
        best = max(
            accepted_by_fixed_tree(P, chosen)
            for chosen in itertools.combinations(every, nodes)
            if all(len(string) == 1 or string[:-1] in chosen for string in chosen)
        )
        assert out.accepted == best


def test_a_fixed_tree_may_repeat_and_lack_tokens():
    P, _ = models(3, 2, 9)
    tree = DraftTree((0, 0, 1, 2, 2))
    for tokens in ((1, 1, 0, 2, 0), (2, -1, 1, 0, 1), (-1, 0, 1, 2, 1)):
        assert block_output(FixedTree(tree), P, {}, [(tokens, 1)]).error == 0


def test_floats_are_taken_as_they_are():
    """Weights in floats, of any scale, are fractions too: nothing is rounded, and exactness stays an equality."""
    rng = np.random.default_rng(4)
    P = {prefix: rng.random(3) for length in range(3) for prefix in itertools.product(range(3), repeat=length)}
    Q = {prefix: rng.random(3).astype(np.float32) for prefix in P}
    for rule in (BlockVerification(), Traversal(DraftTree((0, 0)))):
        out = output(rule, P, Q, 1)
        assert (out.error, sum(out.tau.values())) == (0, 1)
    with pytest.raises(ValueError, match="NaN or inf"):
        BlockVerification().conditional_law({**P, (): [np.nan, 1, 1]}, Q, (0,))


def test_disjoint_laws_and_equal_laws():
    half = [Fraction(1, 2)] * 2 + [Fraction(0)]
    other = [Fraction(0), Fraction(0), Fraction(1)]
    prefixes = [prefix for length in range(4) for prefix in itertools.product(range(3), repeat=length)]
    same, disjoint = dict.fromkeys(prefixes, half), dict.fromkeys(prefixes, other)
    for rule in (BlockVerification(), TokenVerification(), Traversal(DraftTree.of_branching((1, 1)))):
        out = output(rule, same, same, 2)
        assert out.tau == {2: 1}
        out = output(rule, same, disjoint, 2)
        assert (out.tau, out.error) == ({0: 1}, 0)
    assert output(BlockVerification(), {(): [1], (0,): [1], (0, 0): [1]}, {(): [1], (0,): [1]}, 2).tau == {2: 1}


# --- no exact rule keeps more of one chain --------------------------------------------------------------------------


def best_of_all_rules(P, Q, gamma):
    """The largest E[tau] of a kernel from chains to (tau, own token) whose completed law is the target's."""
    size = len(P[()])
    wanted = string_law(P, gamma + 1)
    rows = {string: row for row, string in enumerate(itertools.product(range(size), repeat=gamma + 1))}
    chains = list(drafted_chains(Q, gamma))
    columns, value, normal = [], [], []
    for number, (chain, mass) in enumerate(chains):
        for tau, own in itertools.product(range(gamma + 1), range(size)):
            column, string = np.zeros(len(rows)), (*chain[:tau], own)
            for tail in itertools.product(range(size), repeat=gamma - tau):
                full = (*string, *tail)
                rest = math.prod(P[full[:at]][full[at]] for at in range(len(string), gamma + 1))
                column[rows[full]] = float(mass * rest)
            columns.append(column)
            value.append(-float(mass) * tau)
            normal.append(number)
    once = (np.arange(len(chains))[:, None] == np.array(normal)).astype(float)
    equal = np.concatenate([np.array(columns).T, once])
    right = np.array([*(float(wanted.get(string, 0)) for string in rows), *[1.0] * len(chains)])
    return -linprog(value, A_eq=equal, b_eq=right, method="highs").fun


@pytest.mark.parametrize(("size", "gamma", "seed"), [(2, 2, 3), (2, 3, 4), (3, 2, 5), (2, 2, 17)])
def test_block_verification_is_the_optimum(size, gamma, seed):
    P, Q = models(size, gamma, seed)
    assert best_of_all_rules(P, Q, gamma) == pytest.approx(float(accepted_by_block(P, Q, gamma)), abs=1e-9)


# --- ensembles, sequences -------------------------------------------------------------------------------------------


def test_ensembles():
    p, q = np.array(
        [[Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)], [Fraction(1, 6), Fraction(2, 6), Fraction(3, 6)]]
    )
    share = Fraction(1, 4)
    target = linear_ensemble(np.array([q, p]), np.array([share, 1 - share]))
    assert acceptance(target, q) == 1 - (1 - share) * (1 - acceptance(p, q)) >= share
    logits = jnp.log(jnp.asarray([p.astype(float), q.astype(float)]))
    found = geometric_ensemble(logits, jnp.array([2.0, -1.0]))
    wanted = p.astype(float) ** 2 / q.astype(float)
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-12)
    excluded = geometric_ensemble(jnp.array([[0.0, -jnp.inf], [0.0, 1.0]]), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(excluded, jax.nn.softmax(jnp.array([0.0, 1.0])))  # without weight, without effect
    with pytest.raises(ValueError, match="one weight is needed for each member"):
        linear_ensemble(np.array([p, q]), np.ones(3))
    with pytest.raises(ValueError, match="negative"):
        linear_ensemble(-np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="the ensemble is all -inf"):
        geometric_ensemble(jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]]), jnp.ones(2))


@settings(max_examples=15)
@given(st.lists(st.integers(0, 6), min_size=8, max_size=8).filter(any), st.integers(2, 4))
def test_any_subset_draws_from_the_joint_law(weights, k):
    strings = itertools.product(range(2), repeat=3)
    joint = {string: Fraction(weight, sum(weights)) for string, weight in zip(strings, weights, strict=True)}
    law, evaluations = AnySubset(k).output_law(joint)
    assert law == {string: mass for string, mass in joint.items() if mass > 0}
    assert set(evaluations) <= {2, 3}


def test_any_subset_of_two_takes_two_evaluations():
    joint = {(0, 0): Fraction(1, 2), (1, 1): Fraction(1, 4), (0, 1): Fraction(1, 8), (1, 0): Fraction(1, 8)}
    assert AnySubset(2).output_law(joint) == (joint, {2: 1})


def test_coupled_jacobi_is_the_ancestral_draw():
    rng = np.random.default_rng(1)
    table = jnp.asarray(rng.random((5, 3, 4)))  # row i depends on the token before it

    def rows(tokens):
        return table[jnp.arange(5), jnp.append(0, tokens[:-1]) % 3]

    for _ in range(4):
        clocks = rng.exponential(size=(5, 4))
        before, ancestral = 0, []
        for position in range(5):
            before = int(np.argmin(clocks[position] / np.asarray(table[position, before % 3])))
            ancestral.append(before)
        out = coupled_jacobi(clocks, rows)
        assert out.tokens.tolist() == ancestral
        assert int(out.passes) <= 6


# --- rows of the catalogue, and traps -------------------------------------------------------------------------------


def trapped(trap):
    """The traps' instance, and the row of the rule that it pretends to be."""
    (case,) = [case for case in CASES if issubclass(trap, case.subject)]
    right = case.example()
    fields = {name: getattr(right, name) for name in right.__dataclass_fields__}
    return case, trap(**fields)


@pytest.mark.parametrize(
    "trap",
    [trap for trap in (*CHAIN_TRAPS, *TREE_TRAPS, *SEQUENCE_TRAPS) if trap.__name__ not in ("FirstUniformTwice",)],
    ids=lambda trap: trap.__name__,
)
def test_traps_are_caught(trap):
    case, rule = trapped(trap)
    names = []
    for check in case.checks:
        if not check.name.startswith("decisions") and not check.run(rule, KEY).passed:
            names.append(check.name)
            break
    assert names


@pytest.mark.slow
def test_a_uniform_that_is_used_twice_is_caught():
    (trap,) = [trap for trap in CHAIN_TRAPS if trap.__name__ == "FirstUniformTwice"]
    case, rule = trapped(trap)
    failed = [check.name for check in case.checks if not check.run(rule, KEY).passed]
    assert failed == ["decisions on uniforms, their ends included"]


def test_every_rule_says_what_it_costs():
    for case in CASES:
        rule = case.example()
        assert rule.kind == "equality"
        assert rule.cost
        assert "law" in rule.claim.statement


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_of_laws_and_shapes():
    P, Q = models(2, 2, 3)
    with pytest.raises(ValueError, match="Q has no law after the prefix"):
        BlockVerification().conditional_law(P, {(): [1, 1]}, (0, 1))
    with pytest.raises(ValueError, match="negative"):
        BlockVerification().conditional_law(P, {(): [2, -1]}, (0,))
    with pytest.raises(ValueError, match=r"the parent of node 2 has to be one of 0\.\.1; got 2"):
        DraftTree((0, 2))
    with pytest.raises(ValueError, match="2 chains of equal length are needed"):
        OrderedPaths(2).conditional_law(P, Q, [(0, 1)])
    with pytest.raises(ValueError, match="at least 2"):
        AnySubset(1)
    with pytest.raises(ValueError, match="two uniforms are needed"):
        IdealPrefixCoupling().decide(P, Q, (0, 1), [0.5])
    assert isinstance(TokenVerification(), ChainRule)
    assert stops_early((0, 1))

"""Rules for one position: drafts from cheap laws become one token with exactly the target's law.

A rule is a Markov kernel ``R(y | drafts)``; it is exact if averaging it over the law of the drafts gives the target.
The interface separates what depends on the laws alone (``prepare``), the kernel itself (``conditional_law``), and the
two ways to run it: ``draw`` with choice points, ``decide`` on given uniforms.
"""

import abc
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance.draft_law import DraftLaw, IndependentDrafts
from ergodica.samplers.acceptance.laws import check_logits
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.inputs import is_concrete


class Decision(NamedTuple):
    """What a rule decided at one position.

    Parameters
    ----------
    token
        The emitted token; -1 if the laws were invalid and could not be refused earlier, under ``jit``.
    is_accepted
        Whether a branch that accepts a draft fired.
    draft_index
        Which draft was accepted; -1 if the token was drawn from a residual law.
    """

    token: Int[Array, "..."]
    is_accepted: Bool[Array, "..."]
    draft_index: Int[Array, "..."]


class ConditionalLaw(NamedTuple):
    """The exact law of a rule's output given the drafts.

    Parameters
    ----------
    law
        Probability of each token, shape ``(V,)``.
    accept
        Probability that an acceptance branch fires.
    """

    law: Any
    accept: Any


class OutputLaw(NamedTuple):
    """The exact law of a rule's output, averaged over the drafts.

    Parameters
    ----------
    law
        Probability of each token, shape ``(V,)``: an array of floats, or of fractions.
    accept_branch
        Probability that an acceptance branch fires.
    accept_member
        Probability that the output is among the drafts; at least as large.
    """

    law: Any
    accept_branch: Any
    accept_member: Any


class TokenRule(AcceptanceRule):
    """Turns ``k`` drafts for one position into one token.

    To write a rule, define ``claim``, ``prepare``, ``conditional_law``, ``draw`` and ``decide``. Keep ``prepare`` and
    ``conditional_law`` to operations that NumPy arrays of fractions also have (``samplers/acceptance/laws.py`` offers
    the usual ones); then :meth:`output_law` is exact to the last digit, and proves or refutes the rule.
    """

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    @abc.abstractmethod
    def cost(self) -> str:
        """Operations for a vocabulary of ``V`` tokens and ``k`` drafts, in words."""

    @property
    def monotone_in_k(self) -> bool | None:
        """Whether more drafts never lower the acceptance; ``None`` if the rule takes one draft only."""
        return None

    def draft_law(self, q: Any, k: int = 1) -> DraftLaw:
        """Return the law of the drafts for which the rule is exact. Default: ``k`` independent draws from ``q``."""
        return IndependentDrafts(q, k)

    @abc.abstractmethod
    def prepare(self, p: Any, q: Any, k: int = 1) -> Any:
        """Compute what does not depend on the drafts.

        Parameters
        ----------
        p
            Weights of the target, shape ``(V,)``; divided by their sum.
        q
            Weights of the draft law: ``(V,)``, or ``(k, V)`` for rules whose drafts differ in law.
        k
            Number of drafts.

        Returns
        -------
        pytree
            The state that the other methods take.

        Raises
        ------
        ValueError
            If the weights are concrete and no laws, or ``k`` does not fit the rule.
        """

    def prepare_logits(self, p_logits: Float[Array, " V"], q_logits: Float[Array, "*k V"], k: int = 1) -> Any:
        """Do as :meth:`prepare`, from unnormalised log probabilities; ``-inf`` marks an impossible token."""
        for name, logits in (("p_logits", p_logits), ("q_logits", q_logits)):
            if is_concrete(logits):
                check_logits(name, logits)
        return self.prepare(jax.nn.softmax(p_logits), jax.nn.softmax(q_logits), k)

    @abc.abstractmethod
    def conditional_law(self, state: Any, drafts: Any) -> ConditionalLaw:
        """Return the exact law of the output given the drafts; no randomness."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, state: Any, drafts: Int[Array, " k"]) -> Decision:
        """Decide at random, through choice points, so that the law of this code can be enumerated."""

    @abc.abstractmethod
    def num_uniforms(self, k: int = 1) -> int:
        """Return how many uniforms :meth:`decide` takes, whatever it decides."""

    @abc.abstractmethod
    def decide(self, state: Any, drafts: Int[Array, " k"], uniforms: Float[Array, " n"]) -> Decision:
        """Decide as a function of uniforms in ``[0, 1)``: same input, same decision."""

    @abc.abstractmethod
    def alpha(self, state: Any) -> Any:
        """Return the acceptance in closed form, or ``None`` where there is none."""

    def optimum(self, p: Any, draft_law: DraftLaw) -> Any:
        """Return the largest probability with which any exact rule emits one of such drafts."""
        return draft_law.optimum(p)

    def output_law(self, p: Any, q: Any, k: int = 1, *, drafts_from: DraftLaw | None = None) -> OutputLaw:
        """Return the exact law of the output: the sum over all drafts of their weight times the conditional law.

        Parameters
        ----------
        p, q
            Concrete weights; floats, or fractions in arrays of objects.
        k
            Number of drafts. There are up to ``V ** k`` tuples of them.
        drafts_from
            Law that the drafts are drawn from, if it is not the one for which the rule is exact.

        Returns
        -------
        OutputLaw
            The rule is exact if ``law`` equals ``p``.
        """
        state = self.prepare(p, q, k)
        drawn = self.draft_law(q, k) if drafts_from is None else drafts_from
        out: Any = 0
        branch: Any = 0
        member: Any = 0
        for drafts, weight in drawn.enumerate():
            law, accept = (np.asarray(part) for part in self.conditional_law(state, np.asarray(drafts)))
            out = out + weight * law
            branch = branch + weight * accept
            member = member + weight * sum(law[token] for token in set(drafts))
        return OutputLaw(out, branch, member)

"""Structured draws done wrong."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.integer_weights import IntegerDraw
from ergodica.samplers.acceptance.laws import namespace
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.acceptance.sum_tree import SumTree
from ergodica.samplers.sequences.power_sampling import PowerSampling
from ergodica.samplers.sequences.structured.arithmetic import ArithmeticSampling, SharedOffset
from ergodica.samplers.sequences.structured.cautious import CautiousDecoding
from ergodica.samplers.sequences.structured.entropy_truncation import EtaCutoff, TopH, Typical
from ergodica.samplers.sequences.structured.first_hitting import FirstHitting
from ergodica.samplers.sequences.structured.priority import PrioritySearch
from ergodica.samplers.sequences.structured.stochastic_beam_search import StochasticBeamSearch
from ergodica.samplers.sequences.structured.target_transform import Temperature, TransformsInTurn
from ergodica.samplers.sequences.structured.truncation import EpsilonCutoff, MinP, TopK, TopP
from ergodica.samplers.sequences.structured.without_replacement import MurthyWeights, RajWeights, ThresholdWeights

# --- transforms ------------------------------------------------------------------------------------------------------


class PowerOfTemperature(Temperature):
    """Raises to the temperature, not to its inverse."""

    def law(self, p):
        powers = p ** (float(self.temperature) if namespace(p) is jnp else self.temperature)
        return powers / powers.sum()


class KeepsTies(TopK):
    """Keeps everything as likely as the k-th token."""

    def keep(self, p):
        return (p >= -np.sort(-np.asarray(p))[min(self.k, p.size) - 1]) & (p > 0)


class StopsBeforeTheMass(TopP):
    """Keeps the longest prefix of no more than the mass."""

    def keep(self, p):
        values = np.asarray(p)
        order = np.argsort(-values, kind="stable")
        kept = np.zeros(values.size, bool)
        kept[order] = (np.cumsum(values[order]) <= float(self.mass)) | (np.arange(values.size) == 0)
        return kept


class AbsoluteFloor(MinP):
    """Compares with the fraction itself."""

    def keep(self, p):
        return (p >= min(float(self.fraction), float(p.max()))) | (p == p.max())


class NotDivided(EpsilonCutoff):
    """Leaves the kept probabilities as they are."""

    def law(self, p):
        return namespace(p).where(self.keep(p), p, 0 * p)


class NearestToZero(Typical):
    """Takes the likeliest tokens."""

    def keep(self, p):
        return TopP(self.mass).keep(p)


class RootOnly(EtaCutoff):
    """Leaves the minimum with epsilon out."""

    def keep(self, p):
        return EpsilonCutoff(float(self.epsilon) ** 0.5).keep(p)


class PartialEntropies(TopH):
    """Compares sums of ``-p log p`` that are not divided by the mass of the prefix."""

    def keep(self, p):
        values = np.asarray(p, float)
        order = np.argsort(-values, kind="stable")
        terms = -values * np.log(np.where(values > 0, values, 1))
        kept = np.zeros(values.size, bool)
        kept[order] = np.cumsum(terms[order]) <= float(self.fraction) * terms.sum() + 1e-12
        return (kept | (np.arange(values.size) == order[0])) & (values > 0)


class OtherOrder(TransformsInTurn):
    """Applies the last transform first."""

    def law(self, p):
        for transform in self.transforms[::-1]:
            p = transform.law(p)
        return p


TRANSFORM_TRAPS = (
    ("temperature", PowerOfTemperature),
    ("top-k", KeepsTies),
    ("top-p", StopsBeforeTheMass),
    ("min-p", AbsoluteFloor),
    ("epsilon-cutoff", NotDivided),
    ("typical", NearestToZero),
    ("eta-cutoff", RootOnly),
    ("top-h", PartialEntropies),
)


class WarpedResidual(SingleDraft):
    """Transforms the residual again."""

    transform: object

    def prepare(self, p, q, k=1):
        state = super().prepare(p, q, k)
        return state._replace(residual=self.transform(state.residual))


# --- arithmetic sampling ---------------------------------------------------------------------------------------------


class _SingleOffset(SharedOffset):
    @property
    def bounds(self):
        value = Fraction(self.numerator >> (self.bits - 24), 2**24)
        return value, value


class SinglePrecision(ArithmeticSampling):
    """Decodes codes of 24 bits."""

    def _decode(self, law, known, number, offset):
        short = _SingleOffset(np.random.default_rng(offset.numerator % 2**32))
        return super()._decode(law, known, number, short)


class OneMorePoint(ArithmeticSampling):
    """Takes the first ``n`` points of a lattice of ``n + 1``: unbiased, and less even."""

    def at(self, law, offset):
        codes = [Fraction(number + offset) / (self.n + 1) for number in range(self.n)]
        return self._padded([self.decode(law, code) for code in codes])


class ClosedCells(ArithmeticSampling):
    """Forgets where in its cell a code lies."""

    def decode(self, law, code, known=None):
        first = super().decode(law, code, known)
        again = super().decode(lambda prefix: law(first[: len(prefix)]), code, None)
        return (first[0], again[0]) if len(first) > 1 else first


ARITHMETIC_TRAPS = ((OneMorePoint, 0), (ClosedCells, 0), (SinglePrecision, 1))

# --- without replacement ---------------------------------------------------------------------------------------------


class DividedBySum(ThresholdWeights):
    """Divides by the sum of the weights, which brings a bias."""

    def weights(self, p, tokens, threshold=None):
        weights = super().weights(p, tokens, threshold)
        return weights / weights.sum()


class AllButCertain(ThresholdWeights):
    """Takes the weights of a sample that holds everything."""

    def weights(self, p, tokens, threshold=None):
        return super().weights(p, tokens, -np.inf)


class ForgetsTheVariance(ThresholdWeights):
    """Estimates the variance as if outcomes had been drawn with replacement."""

    def variance(self, p, values, threshold):
        return (self.weights(p, None, threshold) ** 2 * values**2).sum()


class EqualWeights(RajWeights):
    """Takes the sample for independent draws."""

    def weights(self, p, tokens, threshold=None):
        return 0 * p + Fraction(1, p.size)


class LastDrawOnly(RajWeights):
    """Averages the draws, each weighted by the rest alone."""

    def weights(self, p, tokens, threshold=None):
        return (1 - (np.cumsum(p) - p)) / p.size


class RestrictedLaw(MurthyWeights):
    """Takes the law given the set."""

    def weights(self, p, tokens, threshold=None):
        return p / p.sum()


WEIGHT_TRAPS = (
    ("threshold-weights", DividedBySum),
    ("threshold-weights", AllButCertain),
    ("threshold-weights", ForgetsTheVariance),
    ("raj-weights", EqualWeights),
    ("raj-weights", LastDrawOnly),
    ("murthy-weights", RestrictedLaw),
)


class ShiftedKeys(StochasticBeamSearch):
    """Moves the children's keys together, so that the largest is the parent's."""

    def keys_of_children(self, keys, maximum):
        return keys - keys.max() + maximum


class ClippedKeys(StochasticBeamSearch):
    """Cuts the children's keys at the parent's, in place of conditioning."""

    def keys_of_children(self, keys, maximum):
        return np.minimum(keys, maximum)


BEAM_TRAPS = (ShiftedKeys, ClippedKeys)

# --- finite precision ------------------------------------------------------------------------------------------------


class LeftSide(IntegerDraw):
    """Gives the last integer of a cell to it, and the first to the cell before."""

    def decide(self, uniform):
        return np.searchsorted(self.running, uniform, side="left")


class SingleSums(IntegerDraw):
    """Searches running sums in single precision."""

    def decide(self, uniform):
        return np.searchsorted(self.running.astype(np.float32), np.asarray(uniform).astype(np.float32), side="right")


INTEGER_TRAPS = (LeftSide, SingleSums)


class CoarseGumbel(SumTree):
    """Takes the largest of Gumbel keys made of uniforms with 10 bits; single precision has 23."""

    def draw(self, key, shape=()):
        leaves = self.heap[self.heap.shape[0] // 2 :]
        uniform = random.randint(key, (*shape, leaves.size), 1, 1024) / 1024
        return jnp.argmax(jnp.log(leaves) - jnp.log(-jnp.log(uniform)), axis=-1)


class Race32(SumTree):
    """Takes the first of exponential clocks ``-log(1 - U)`` in single precision, some of which ring at zero."""

    def draw(self, key, shape=()):
        leaves = self.heap[self.heap.shape[0] // 2 :]
        clocks = -jnp.log1p(-random.uniform(key, (*shape, leaves.size), jnp.float32))
        return jnp.argmin(jnp.where(leaves > 0, clocks / leaves, jnp.inf), axis=-1)


class LightIsLeft(SumTree):
    """Takes the left child for the lighter one."""

    @staticmethod
    def share(left, right):
        light, is_left = SumTree.share(left, right)
        return light, is_left | True


class CancelledShares(SumTree):
    """Computes the lighter share as one minus the heavier, which loses its digits."""

    @staticmethod
    def share(left, right):
        light, is_left = SumTree.share(left, right)
        return light.dtype.type(1) - (light.dtype.type(1) - light), is_left


# --- masked diffusion ------------------------------------------------------------------------------------------------


class ParallelUnmask(FirstHitting):
    """Draws all places from one call of the model."""

    def unmask(self, key, tokens):
        rows = self.conditionals(jnp.full_like(tokens, -1))
        drawn = random.categorical(key, jnp.log(rows)).astype(tokens.dtype)
        return jnp.where(tokens < 0, drawn, tokens)


class LeftToRight(FirstHitting):
    """Unmasks the first masked place: the wrong law where conditionals do not fit a joint law."""

    def unmask(self, key, tokens):
        place = jnp.argmax(tokens < 0)
        weights = self.conditionals(tokens)[place]
        return tokens.at[place].set(random.categorical(key, jnp.log(weights)).astype(tokens.dtype))


HITTING_TRAPS = ((ParallelUnmask, 0), (LeftToRight, 1))

# --- power sampling --------------------------------------------------------------------------------------------------


class LowTemperature(PowerSampling):
    """Accepts every suffix."""

    def log_ratio(self, start, candidate, state):
        return jnp.zeros(())


class ForgetsTheProposal(PowerSampling):
    """Compares the targets alone."""

    def log_ratio(self, start, candidate, state):
        return jnp.sum(candidate.log_target - state.log_target)


class UncorrectedLength(PowerSampling):
    """Draws the place among those of the string, and forgets that the way back has others."""

    def log_ratio(self, start, candidate, state):
        lengths = self.num_tokens(candidate.position) / self.num_tokens(state.position)
        return super().log_ratio(start, candidate, state) + jnp.log(lengths)


class TruncatedSuffix(PowerSampling):
    """Compares suffixes up to the candidate's length."""

    def log_ratio(self, start, candidate, state):
        there = candidate.position >= 0
        cut = type(state)(state.position, *(jnp.where(there, leaf, 0.0) for leaf in state[1:]))
        return super().log_ratio(start, candidate, cut)


class FreezesEnds(PowerSampling):
    """Never moves a string that has ended early."""

    def log_ratio(self, start, candidate, state):
        frozen = self.num_tokens(state.position) < self.length
        return jnp.where(frozen, -jnp.inf, super().log_ratio(start, candidate, state))


POWER_TRAPS = (
    (LowTemperature, 1),
    (ForgetsTheProposal, 0),
    (UncorrectedLength, 3),
    (TruncatedSuffix, 2),
    (FreezesEnds, 2),
)

# --- without a law ---------------------------------------------------------------------------------------------------


class ByWholePrefixes(PrioritySearch):
    """Queues by the probability of the whole prefix: best-first search for likely strings."""

    def search(self, law):
        def joint(prefix):
            weights = np.asarray(law(prefix), float)
            return weights * (0.4 if prefix == (0,) else 1.0)

        found = super().search(joint)
        return found[[0, 2, 1, *range(3, len(found))]]


class PrefersLong(CautiousDecoding):
    """Takes two trials for one."""

    def draw(self, key, law):
        first, second = (super(PrefersLong, self).draw(random.fold_in(key, turn), law) for turn in (100, 200))
        return max(first, second, key=len)

"""Classical rejection and exact simulation done wrong, in the ways in which they are done wrong."""

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers import random
from ergodica.samplers.acceptance.rejection import hull as hulls
from ergodica.samplers.acceptance.rejection.adaptive import AdaptiveRejection
from ergodica.samplers.acceptance.rejection.adaptive_weighted import AdaptiveWeightedRejection, WeightedToken
from ergodica.samplers.acceptance.rejection.alias import AliasTable
from ergodica.samplers.acceptance.rejection.coupling_from_the_past import (
    CouplingFromThePast,
    MonotoneCouplingFromThePast,
)
from ergodica.samplers.acceptance.rejection.partial_rejection import PartialRejection
from ergodica.samplers.acceptance.rejection.plain import Rejection
from ergodica.samplers.acceptance.rejection.ratio_of_uniforms import RatioOfUniforms
from ergodica.samplers.acceptance.rejection.read_once_coupling import ReadOnceCoupling
from ergodica.samplers.acceptance.rejection.rerandomisation import Rerandomisation
from ergodica.samplers.acceptance.rejection.squeeze import SqueezedRejection
from ergodica.samplers.acceptance.rejection.trials import DrawState, until_accepted
from ergodica.samplers.acceptance.rejection.truncated_normal import TruncatedNormal
from ergodica.samplers.acceptance.rejection.two_coin import TwoCoinBarker
from ergodica.samplers.density import evaluate

# --- rejection from a proposal ---------------------------------------------------------------------------------------


class CappedWithLastCandidate(Rejection):
    """After the cap, returns the last candidate although it was rejected."""

    def step(self, key, state):
        position, info = until_accepted(
            lambda one: self.trial(one, state.position), key, state.position, self.max_trials
        )
        last = self.trial(random.fold_in(key, self.max_trials), state.position).position
        return DrawState(jnp.where(info.cap_hit, last, position)), info


class BoundTooLow(Rejection):
    """Takes half the bound."""

    def trial(self, key, like):
        lower = Rejection(self.proposal, self.log_bound - np.log(2.0), logdensity=self.logdensity)
        return lower.trial(key, like)


class ForgetsTheProposal(Rejection):
    """Accepts by the density alone, as if the proposal were uniform."""

    def trial(self, key, like):
        key_propose, key_decide = random.split(key)
        tried = super().trial(key_propose, like)
        value, _ = evaluate(self.logdensity, tried.position)
        return tried._replace(accepted=random.bernoulli(key_decide, jnp.exp(value)))


REJECTION_TRAPS = (CappedWithLastCandidate, BoundTooLow, ForgetsTheProposal)


class FreshUniformAfterSqueeze(SqueezedRejection):
    """Holds what the squeeze left open against the density with a fresh uniform on the whole height."""

    def trial(self, key, like):
        key_squeeze, key_again = random.split(key)
        tried = super().trial(key_squeeze, like)
        value, _ = evaluate(self.logdensity, tried.position)
        ceiling = self.log_bound + self.proposal.get().log_prob(tried.position)
        again = random.bernoulli(key_again, jnp.exp(value - ceiling))
        return tried._replace(accepted=jnp.where(tried.num_evals > 0, again, tried.accepted))


class SqueezeOnTheWrongSide(SqueezedRejection):
    """Takes the upper squeeze for the lower one."""

    def __init__(self, proposal, log_bound, lower, upper=None, **rest):
        super().__init__(proposal, log_bound, lower if upper is None else upper, upper, **rest)


SQUEEZE_TRAPS = (FreshUniformAfterSqueeze, SqueezeOnTheWrongSide)

# --- densities on a line ---------------------------------------------------------------------------------------------


class AcceptsEverything(AdaptiveRejection):
    """Draws from the hull and never asks."""

    def step(self, key, state):
        x, _ = hulls.draw(key, state.hull, state.pieces)
        return state._replace(position=jnp.reshape(x, state.position.shape)), None


ADAPTIVE_TRAPS = (AcceptsEverything,)


class BoxTooSmall(RatioOfUniforms):
    """Cuts the box at two thirds of its width."""

    def trial(self, key, like):
        smaller = RatioOfUniforms(
            (self.log_peak, self.low / 1.5, self.high / 1.5),
            centre=self.centre,
            power=self.power,
            logdensity=self.logdensity,
        )
        return smaller.trial(key, like)


class ForgetsTheRoot(RatioOfUniforms):
    """Accepts if ``u <= f(v / u^r)``, without the root."""

    def trial(self, key, like):
        tried = super().trial(key, like)
        key_u, _ = random.split(key)
        u = 1 - random.uniform(key_u, (), like.dtype)
        value, _ = evaluate(self.logdensity, tried.position)
        return tried._replace(accepted=jnp.log(u) <= value - self.log_peak)


RATIO_TRAPS = (BoxTooSmall, ForgetsTheRoot)


class ClipsToTheInterval(TruncatedNormal):
    """Draws from the whole normal law, and moves what falls outside to the nearer end."""

    def step(self, key, state):
        drawn = self.loc + self.scale * random.normal(key, state.position.shape, state.position.dtype)
        return DrawState(jnp.clip(drawn, self.lower, self.upper)), None


class InvertsInSinglePrecision(TruncatedNormal):
    """Inverts the distribution function in single precision, whose values are all one in a tail."""

    def step(self, key, state):
        ends = [((end - self.loc) / self.scale).astype(jnp.float32) for end in (self.lower, self.upper)]
        low, high = (jax.scipy.special.ndtr(end) for end in ends)
        u = random.uniform(key, state.position.shape, jnp.float32)
        z = jax.scipy.special.ndtri(low + u * (high - low)).astype(state.position.dtype)
        return DrawState(self.loc + self.scale * z), None


class ForgetsTheTailTest(TruncatedNormal):
    """Takes the shifted exponential law for the tail itself."""

    def step(self, key, state):
        drawn, info = super().step(key, state)
        a = (self.lower - self.loc) / self.scale
        rate = 0.5 * (a + jnp.sqrt(a * a + 4))
        tail = self.loc + self.scale * (a + random.exponential(key, state.position.shape) / rate)
        is_tail = (a >= 0) & jnp.isinf(self.upper)
        return DrawState(jnp.where(is_tail, tail, drawn.position)), info


TRUNCATED_TRAPS = (ClipsToTheInterval, InvertsInSinglePrecision, ForgetsTheTailTest)

# --- finite laws -----------------------------------------------------------------------------------------------------


class ForgetsTheAlias(AliasTable):
    """Draws another column instead of taking the alias."""

    def draw(self, key, shape=()):
        key_column, key_keep, key_other = random.split(key, 3)
        column, other = (random.randint(one, shape, 0, self.prob.shape[0]) for one in (key_column, key_other))
        return jnp.where(random.bernoulli(key_keep, self.prob[column]), column, other)


class SwapsTheAlias(AliasTable):
    """Takes the alias with the probability to stay."""

    def draw(self, key, shape=()):
        key_column, key_keep = random.split(key)
        column = random.randint(key_column, shape, 0, self.prob.shape[0])
        return jnp.where(random.bernoulli(key_keep, self.prob[column]), self.alias[column], column)


ALIAS_TRAPS = (ForgetsTheAlias, SwapsTheAlias)


class ShareOfTests(AdaptiveWeightedRejection):
    """Weighs by the share of tests that succeeded: one over their number."""

    def draw(self, key, p, potential):
        drawn = super().draw(key, p, potential)
        weight = jnp.where(drawn.token >= 0, 1.0 / jnp.maximum(drawn.num_tests, 1), 0.0)
        return WeightedToken(drawn.token, weight, drawn.num_tests)


class SkipsTheLastTest(AdaptiveWeightedRejection):
    """Takes all that is left as allowed at the first success."""

    def draw(self, key, p, potential):
        drawn = super().draw(key, p, potential)
        allowed = jax.vmap(lambda token: jnp.asarray(potential(token)) > 0)(jnp.arange(len(p)))
        weight = jnp.where(drawn.token >= 0, jnp.where(drawn.weight > 0, 1.0, 0.0) * jnp.any(allowed), 0.0)
        return drawn._replace(weight=weight)


class CappedTests(AdaptiveWeightedRejection):
    """Gives up, with weight zero, after two tests."""

    def draw(self, key, p, potential):
        drawn = super().draw(key, p, potential)
        given_up = drawn.num_tests > 2
        return drawn._replace(weight=jnp.where(given_up, 0.0, drawn.weight))


WEIGHTED_TRAPS = (ShareOfTests, SkipsTheLastTest, CappedTests)


class BestOfTwo(Rerandomisation):
    """Takes the better one of two assignments, whether it is accepted or not."""

    def step(self, key, state):
        keys = random.split(key)
        first, second = (self.trial(one, state.position.dtype).position for one in keys)
        position = jnp.where(self.imbalance(first) <= self.imbalance(second), first, second)
        return DrawState(jnp.where(self.accepts(position), position, state.position)), None


RERANDOMISATION_TRAPS = (BestOfTwo,)


class SwapsTheCoins(TwoCoinBarker):
    """Tosses the position's coin where the candidate's is due."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        stays = info.is_accepted | info.cap_hit
        key_propose, _ = random.split(key)
        candidate, _ = self.proposal.propose(random.fold_in(key_propose, 5), state.position)
        return DrawState(jnp.where(stays, moved.position, candidate)), info


class ForgetsTheBounds(TwoCoinBarker):
    """Chooses between the coins evenly."""

    def step(self, key, state):
        even = TwoCoinBarker(self.proposal, self.coin, _zero, max_loops=self.max_loops)
        return even.step(key, state)


def _zero(position):
    return jnp.zeros(())


COIN_TRAPS = (SwapsTheCoins, ForgetsTheBounds)

# --- coupling from the past ------------------------------------------------------------------------------------------


class StaysAtTheCap(CouplingFromThePast):
    """Stays if the states have not met by the cap: the draws that were quick have another law."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return DrawState(jnp.where(info.cap_hit, state.position, moved.position)), info


class CouplesForwards(CouplingFromThePast):
    """Applies each new map after the old ones, and stops when the states have met."""

    def extend(self, key, table):
        return jax.vmap(lambda state: jnp.asarray(self.update(key, state)))(table)


PAST_TRAPS = (StaysAtTheCap, CouplesForwards)


class FreshMaps(MonotoneCouplingFromThePast):
    """Draws new maps for the same times whenever it starts earlier."""

    def step(self, key, state):
        for doublings in range(4):
            start = 2**doublings
            low, high = (jax.tree.map(lambda leaf, at=at: leaf[at], self.extremes) for at in (0, 1))
            for turn in range(start):
                here = random.fold_in(random.fold_in(key, 100 + doublings), start - turn)
                low, high = self.update(here, low), self.update(here, high)
            if doublings == 0:
                met, position = low == high, low
            position = jnp.where(met, position, low)
            met = met | (low == high)
        return DrawState(position), None


class TakesTheLowest(MonotoneCouplingFromThePast):
    """Runs from one fixed time, and takes the lowest chain whether it has met the highest or not."""

    def step(self, key, state):
        position = jax.tree.map(lambda leaf: leaf[0], self.extremes)
        for time in range(4, 0, -1):
            position = self.update(random.fold_in(key, time), position)
        return DrawState(position), None


MONOTONE_TRAPS = (FreshMaps, TakesTheLowest)


class TakesTheValue(ReadOnceCoupling):
    """Returns the value of the constant block, at which the states met, and not the state before it."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(position=jnp.where(info.cap_hit, moved.position, moved.value)), info


READ_ONCE_TRAPS = (TakesTheValue,)


class RedrawsTheViolatedOnly(PartialRejection):
    """Draws the variables of the events that happened again, and no others."""

    def resampling_set(self, position):
        return jnp.any((self.bad >= 0) & self.happening(position)[:, None], axis=0)


class KeepsOneVariable(PartialRejection):
    """Keeps the first variable of the resampling set."""

    def resampling_set(self, position):
        again = super().resampling_set(position)
        return again & (jnp.cumsum(again) > 1)


PARTIAL_TRAPS = (RedrawsTheViolatedOnly, KeepsOneVariable)

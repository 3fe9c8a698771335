"""Flow proposals that are wrong in the ways that flow proposals go wrong."""

import jax.numpy as jnp

from ergodica.samplers import random
from ergodica.samplers.acceptance.independence import IndependenceState
from ergodica.samplers.density import evaluate
from ergodica.samplers.flows.independence import FlowIndependence


class WithoutLogDeterminant(FlowIndependence):
    """Takes the density of the base law for that of the flow."""

    def log_proposal(self, position):
        flow = self.flow.get()
        return flow.base_dist.log_prob(flow.bijection.inverse(position.reshape(flow.shape)))

    def propose(self, key, like):
        position = self.flow.get().sample(key).reshape(like.shape)
        return position, self.log_proposal(position)


class WrongPoint(FlowIndependence):
    """Evaluates the flow at the position instead of at the candidate."""

    def draw(self, key, like):
        return super().draw(key, like)._replace(log_proposal=self.log_proposal(like))


class RecentredFlow(FlowIndependence):
    """Shifts the flow towards the chain's own position, and treats the candidate as if it were independent of it."""

    def draw(self, key, like):
        shifted = super().draw(key, like).position + 0.6 * like
        return IndependenceState(shifted, evaluate(self._target(), shifted)[0], self.log_proposal(shifted - 0.6 * like))


class AcceptsByWeight(FlowIndependence):
    """Accepts with the candidate's weight, not with its ratio to the position's."""

    def step(self, key, state):
        zero = jnp.zeros_like(state.logdensity)
        moved, info = super().step(key, IndependenceState(state.position, zero, zero))
        accepted = info.is_accepted
        return IndependenceState(*(jnp.where(accepted, new, old) for new, old in zip(moved, state, strict=True))), info


class StaleFlowDensity(FlowIndependence):
    """Keeps the flow's density of the position that was left."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        return moved._replace(log_proposal=state.log_proposal), info


class RepeatsUntilAccepted(FlowIndependence):
    """Draws again and again, eight times at most, so that rejections leave no trace."""

    def step(self, key, state):
        moved, info = super().step(key, state)
        for index in range(7):
            again, again_info = super().step(random.fold_in(key, index), state)
            keep = info.is_accepted
            moved = IndependenceState(*(jnp.where(keep, old, new) for old, new in zip(moved, again, strict=True)))
            info = info._replace(is_accepted=keep | again_info.is_accepted)
        return moved, info


TRAPS = (
    WithoutLogDeterminant,
    WrongPoint,
    RecentredFlow,
    AcceptsByWeight,
    StaleFlowDensity,
    RepeatsUntilAccepted,
)

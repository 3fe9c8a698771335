"""Self-repellent walks that are wrong in the ways that they go wrong."""

import jax.numpy as jnp

from ergodica.samplers.kernel import replace
from ergodica.samplers.walks.base_chain import BaseChain
from ergodica.samplers.walks.self_repellent import SelfRepellentWalk


class ZeroMass(SelfRepellentWalk):
    """Starts from visits alone, so that nodes that were never visited have mass zero."""

    def init(self, position, *, key=None):
        state = super().init(position, key=key)
        return state._replace(mass=jnp.zeros_like(state.mass))

    def log_row(self, state):
        return super().log_row(state._replace(mass=state.visits.astype(state.mass.dtype)))


class NoSelfLoop(SelfRepellentWalk):
    """Normalises over the neighbours alone."""

    def log_row(self, state):
        row = super().log_row(state)
        return row.at[state.position].set(-jnp.inf)

    def _walk(self, operation, randomness, state, count):
        base = self.base
        import numpy as np

        size = base.num_nodes
        sources = np.repeat(np.arange(size), np.diff(np.asarray(base.offsets)))
        targets, probabilities = np.asarray(base.targets), np.asarray(base.probabilities)
        other = sources != targets
        sums = np.bincount(sources[other], probabilities[other], size)
        bare = BaseChain._from_triplets(
            sources[other], targets[other], probabilities[other] / sums[sources[other]], np.asarray(base.mu)
        )
        return SelfRepellentWalk._walk(replace(self, base=bare), operation, randomness, state, count)


class WrongSign(SelfRepellentWalk):
    """Is attracted by what it has visited."""

    def log_row(self, state):
        return super().log_row(state) + 2 * self.alpha * (jnp.log(state.mass) - jnp.log(self.base.mu))

    def _walk(self, operation, randomness, state, count):
        return SelfRepellentWalk._walk(replace(self, alpha=-self.alpha), operation, randomness, state, count)


class TargetIgnored(SelfRepellentWalk):
    """Repels by the visits, not by the visits relative to the target."""

    def log_row(self, state):
        return super().log_row(state) - self.alpha * jnp.log(self.base.mu)

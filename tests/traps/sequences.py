"""Generation from models of sequences done wrong, in the ways in which it is done wrong."""

import math

import numpy as np

from ergodica.samplers import random
from ergodica.samplers.sequences.ancestral import ancestral_texts
from ergodica.samplers.sequences.asap import ApproximateFutures, WeightedText
from ergodica.samplers.sequences.best_of_n import BestOfN
from ergodica.samplers.sequences.choices import Choices
from ergodica.samplers.sequences.dead_prefix_trie import AcceptedText, DeadPrefixTrie
from ergodica.samplers.sequences.particle_filter import ParticleFilter, Particles
from ergodica.samplers.sequences.particle_gibbs import ParticleGibbs
from ergodica.samplers.sequences.soft_rejection import SoftRejection

# --- particles ------------------------------------------------------------------------------------------------------


class ForgetsTheMean(ParticleFilter):
    """Counts the last weights only."""

    def run(self, key, model, **settings):
        out = super().run(key, model, **settings)
        return Particles(out.texts, out.weights, 0.0 if out.log_normaliser > -math.inf else -math.inf)


class DropsWhatWasGivenUp(ParticleFilter):
    """Averages over the particles with a weight."""

    def run(self, key, model, **settings):
        out = super().run(key, model, **settings)
        count = max(1, np.count_nonzero(out.weights))
        return Particles(out.texts, out.weights, out.log_normaliser + math.log(self.num_particles / count))


class ReturnsTheBest(ParticleGibbs):
    """Goes to the particle with the largest weight."""

    def _picked(self, choices, weights, place):
        return int(weights.argmax())


class SparesThePresent(ParticleGibbs):
    """Resamples the other particles among themselves."""

    def _ancestors(self, choices, weights, place):
        others = np.concatenate([[0.0], weights[1:]])
        return super()._ancestors(choices, others if others.any() else weights, place)


class WarmWeights(ParticleGibbs):
    """Picks by the square roots of the weights."""

    def _picked(self, choices, weights, place):
        return super()._picked(choices, np.sqrt(weights), place)


# --- constraints and rewards ----------------------------------------------------------------------------------------


class MasksEachToken(DeadPrefixTrie):
    """Draws each token among those that are allowed, whatever comes after them."""

    def sample(self, key, *, max_tries=None):
        choices = Choices(key)
        for turn in range(1000):
            text = ()
            while not self.tree.has_ended(text):
                law = self.tree.law(text)
                law = law * [self.tree.is_allowed((*text, token)) for token in range(law.size)]
                if not law.any():
                    break
                text = (*text, int(choices.categorical(law[None], turn, len(text))[0]))
            else:
                return AcceptedText(text, 1)
        raise RuntimeError


class BuriesTheEndAlone(DeadPrefixTrie):
    """Does not tell the prefixes before a dead one that they have become less likely."""

    def _bury(self, text, path):
        super()._bury(text[-1:], [path[-1]])


class ForgetsTheMass(ApproximateFutures):
    """Gives all texts the weight of the root."""

    def weighted_draw(self, key):
        root = self.future(())
        out = super().weighted_draw(key)
        return WeightedText(out.text, root if out.text is not None else 0.0)


class FirstInTheAlphabet(BestOfN):
    """Breaks ties in favour of the first text in the alphabet."""

    def sample(self, key, model, **settings):
        texts = ancestral_texts(model, Choices(key), self.n, **settings)
        rewards = np.asarray(self.reward(list(texts)))
        return min(text for text, value in zip(texts, rewards, strict=True) if value == rewards.max())


class Clipped(SoftRejection):
    """Takes a typical reward for the bound, and clips what is above it."""

    def _chance(self, text):
        return min(1.0, math.exp((float(self.reward(text)) - self.bound / 2) / self.temperature))


class TakesTheLast(SoftRejection):
    """Accepts the last try, whatever its reward."""

    def sample(self, key, model, *, max_tries=None, **settings):
        key, last_key = random.split(key)
        try:
            return super().sample(key, model, max_tries=max_tries, **settings)
        except RuntimeError:
            return AcceptedText(ancestral_texts(model, Choices(last_key), 1, **settings)[0], max_tries)


TRAPS = {
    "particle-filter": (ForgetsTheMean, DropsWhatWasGivenUp),
    "particle-gibbs": (ReturnsTheBest, SparesThePresent, WarmWeights),
    "best-of-n": (FirstInTheAlphabet,),
    "dead-prefix-trie": (MasksEachToken, BuriesTheEndAlone),
    "approximate-futures": (ForgetsTheMass,),
    "soft-rejection": (Clipped, TakesTheLast),
}

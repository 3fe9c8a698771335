"""Slice samplers that are wrong in the ways that they go wrong."""

import jax
import jax.numpy as jnp
from jax import lax

from ergodica.samplers import random
from ergodica.samplers.density import evaluate
from ergodica.samplers.kernel import DensityState
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.samplers.slicing.gibbsian_polar import GibbsianPolarSlice, _OnSphere
from ergodica.samplers.slicing.hit_and_run import HitAndRunSlice
from ergodica.samplers.slicing.hyperrectangle import HyperrectangleSlice
from ergodica.samplers.slicing.lattice import LatticeSlice
from ergodica.samplers.slicing.univariate import INSIDE, SHRINK, Budgets, Doubling, SliceInfo, SteppingOut


class _FixedBudgets(SteppingOut):
    def start(self, place, budget, uniform, lower=-jnp.inf):
        full = jnp.full_like(budget, self.max_steps)
        return (
            super()
            .start(place, budget, uniform, lower)
            ._replace(plan=Budgets(full, full), phase=jnp.zeros((), jnp.int32), offset=-place)
        )


class CapsEachSide(CoordinateSlice):
    """Lets each side step out ``max_steps`` times, instead of splitting a budget at random."""

    def _search(self):
        return _FixedBudgets(self.max_steps, self.max_shrink)


class _WrongSide(SteppingOut):
    def advance(self, search, value, inside, uniform, lower=-jnp.inf):
        moved = super().advance(search, value, inside, uniform, lower)
        rejected = (search.phase == SHRINK) & ~inside & (search.offset > 0)
        left = jnp.where(rejected, search.offset, moved.left)
        right = jnp.where(rejected, search.right, moved.right)
        offset = jnp.where(rejected & ~moved.done, left + (right - left) * uniform, moved.offset)
        return moved._replace(left=left, right=right, offset=offset)


class ShrinksToTheWrongSide(CoordinateSlice):
    """Keeps the interval beyond a rejected point on the right, not the one with the current point."""

    def _search(self):
        return _WrongSide(self.max_steps, self.max_shrink)


class _Untested(Doubling):
    def _begin_test(self, plan, offset, active):
        plan = super()._begin_test(plan, offset, active)
        return plan._replace(
            test_left=jnp.where(active, INSIDE, plan.test_left), test_level=jnp.where(active, 0, plan.test_level)
        )


class SkipsTheDoublingTest(CoordinateSlice):
    """Doubles, and accepts any point of the slice."""

    def _search(self):
        return _Untested(self.max_doublings, self.max_shrink)


class TestsTheShrunkenInterval(CoordinateSlice):
    """Doubles, and gives the acceptance test the interval that shrinking has left; for one coordinate."""

    __test__ = False

    def step(self, key, state):
        target = self._target()
        x = state.position.reshape(())
        width = jnp.asarray(self.width, x.dtype)
        keys = random.split(key, 4)
        height = state.logdensity - random.exponential(keys[0], (), x.dtype)

        def inside(at):
            return evaluate(target, jnp.reshape(at, state.position.shape))[0] > height

        left = x - width * random.uniform(keys[1], (), x.dtype)

        def grows(carry):
            left, right, k = carry
            return (k < self.max_doublings) & (inside(left) | inside(right))

        def grow(carry):
            left, right, k = carry
            coin = random.bernoulli(random.fold_in(keys[2], k))
            size = right - left
            return jnp.where(coin, left - size, left), jnp.where(coin, right, right + size), k + 1

        left, right, _ = lax.while_loop(grows, grow, (left, left + width, 0))

        def passes(y, left, right):
            def halve(carry):
                a, b, differ, _ = carry
                middle = (a + b) / 2
                differ = differ | ((x < middle) != (y < middle))
                a, b = jnp.where(y < middle, a, middle), jnp.where(y < middle, middle, b)
                return a, b, differ, ~(differ & ~inside(a) & ~inside(b))

            start = (left, right, jnp.asarray(False), jnp.asarray(True))
            return lax.while_loop(lambda c: c[3] & (c[1] - c[0] > 1.1 * width), halve, start)[3]

        def shrink(carry):
            left, right, y, _, k = carry
            y = left + (right - left) * random.uniform(random.fold_in(keys[3], k), (), x.dtype)
            done = inside(y) & passes(y, left, right)
            left, right = jnp.where(~done & (y < x), y, left), jnp.where(~done & (y >= x), y, right)
            return left, right, y, done, k + 1

        _, _, y, _, _ = lax.while_loop(lambda c: ~c[3], shrink, (left, right, x, jnp.asarray(False), 0))
        position = jnp.reshape(y, state.position.shape)
        return DensityState(position, evaluate(target, position)[0]), SliceInfo.zero()


class WidthFromPosition(CoordinateSlice):
    """Chooses the width by where the chain is, and steps out too little for it not to matter."""

    def step(self, key, state):
        width = 0.5 + jnp.abs(jax.tree.leaves(state.position)[0]).reshape(-1)[0]
        return CoordinateSlice(width, max_steps=1).bind(self.logdensity).step(key, state)


class DirectionFromPosition(HitAndRunSlice):
    """Prefers to move across the line from the origin; forgets that the way back prefers otherwise."""

    def move(self, key, state, normals):
        factor = 1 + jnp.abs(state.position) / (1 + jnp.linalg.norm(state.position))
        return super().move(key, state, normals / factor**4)


class ForgetsTheVolume(GibbsianPolarSlice):
    """Takes the density of the position for that of radius and direction."""

    def _target(self):
        original = super()._target()
        return lambda x: original(x) - (x.size - 1) * jnp.log(jnp.linalg.norm(x))


class ReusesTheHeight(GibbsianPolarSlice):
    """Makes the move of a Gibbs sampler on a density that is not there: heights half as deep."""

    def move(self, key, state, normals):
        flattened = state._replace(logdensity=state.logdensity + 0.3)
        moved, info = super().move(key, flattened, normals)
        return self.refresh(moved), info


class AsksTheLastCell(LatticeSlice):
    """Steps out to the right by the last cell of the block instead of the one after it."""

    def _right_probe(self, block):
        return block.right - 1


class _NearTheDirection(_OnSphere):
    def proposal(self, search, count):
        vector = super().proposal(search, count) + jnp.array([0.8, 0.0, 0.0])[: self.start.size]
        return vector / jnp.linalg.norm(vector)


class DrawsDirectionsUnevenly(GibbsianPolarSlice):
    """Proposes directions that are not uniform, and accepts all that lie in the slice; for three dimensions."""

    def _turning(self, key, normal, direction):
        return _NearTheDirection(key, normal, direction, self.scale)


class StartsAnewAtTheCap(GibbsianPolarSlice):
    """When the tries for a direction are used up, draws another height and tries again, instead of staying."""

    def step(self, key, state):
        def again(carry):
            count = carry[0]
            return count + 1, *GibbsianPolarSlice.step(self, random.fold_in(key, count), state)

        _, moved, info = lax.while_loop(lambda carry: carry[2].cap_hit, again, again((0,)))
        return moved, info


class CentresTheBox(HyperrectangleSlice):
    """Puts the current point into the middle of the box instead of anywhere."""

    def _places(self, key, start):
        return jnp.full_like(start, 0.5)


class ShrinksToTheCentre(HyperrectangleSlice):
    """Shrinks the box about its middle, not towards the current point."""

    def _cut(self, box, offset, chosen):
        middle = (box.lower + box.upper) / 2
        lower = jnp.where(chosen & (offset < middle), offset, box.lower)
        return box._replace(lower=lower, upper=jnp.where(chosen & (offset >= middle), offset, box.upper))


class CutsWhereItIsFar(HyperrectangleSlice):
    """Cuts the coordinate in which the rejected point is farthest from the current one, which the way back does not."""

    def _cut(self, box, offset, chosen):
        distance = jnp.abs(offset)
        return box.cut(offset, distance == jnp.max(distance))

"""Adaptive rejection: draws from a log-concave density on a line, below a hull of tangents that learns."""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection import hull as hulls
from ergodica.samplers.acceptance.rejection.hull import Hull, Pieces
from ergodica.samplers.density import LogDensity, evaluate_with_gradient, optional_logdensity
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["AdaptiveRejection", "AdaptiveRejectionInfo", "AdaptiveRejectionState", "interval_end", "one_coordinate"]


class AdaptiveRejectionState(NamedTuple):
    """State of adaptive rejection.

    Parameters
    ----------
    position
        Pytree of arrays with one entry in all.
    hull
        What is known of the density. It changes the cost of later draws, and not their law.
    pieces
        The pieces of the hull.
    """

    position: PyTree
    hull: Hull
    pieces: Pieces


class AdaptiveRejectionInfo(NamedTuple):
    """What a draw reports.

    Parameters
    ----------
    num_trials
        Candidates drawn from the hull.
    num_evals, num_grad_evals
        Candidates that the squeeze left open: there the density and its slope were evaluated.
    num_invalid
        Whether the chain stayed because the hull is none: the density was found not to be log-concave, or the hull does
        not fall towards an infinite end.
    cap_hit
        Whether ``max_trials`` candidates were rejected, and the chain stayed.
    """

    num_trials: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    cap_hit: Bool[Array, ""]


class _Search(NamedTuple):
    """Where a draw stands: what was accepted last, the hull with its pieces, the verdict, and the counts."""

    x: Float[Array, ""]
    hull: Hull
    pieces: Pieces
    accepted: Bool[Array, ""]
    num_trials: Int[Array, ""]
    num_evals: Int[Array, ""]


def interval_end(name: str, value: inputs.Numbers) -> Float[Array, ""]:
    """Check an end of an interval, which may be infinite.

    Raises
    ------
    TypeError, ValueError
        If it is NaN, or not one real number.
    """
    if inputs.is_concrete(value) and np.ndim(value) == 0 and np.isinf(np.asarray(value, float)):
        return jnp.array(value, dtype=float)
    return inputs.real_parameter(name, value)


def one_coordinate(position: PyTree, kernel: str) -> PyTree:
    """Check a position with one entry in all, and return it as JAX arrays.

    Raises
    ------
    TypeError, ValueError
        If it is not real, or has more entries.
    """
    position = inputs.real_position(position, kernel)
    size = sum(leaf.size for leaf in jax.tree.leaves(position))
    if size != 1:
        raise ValueError(
            f"{kernel} draws one coordinate; the position has {size} entries. Update the coordinates in turn, as in "
            "cycle(on(0, kernel), on(1, kernel))."
        )
    return position


class AdaptiveRejection(Kernel[AdaptiveRejectionState, AdaptiveRejectionInfo]):
    """Exact independent draws from a log-concave density on a line, with few evaluations.

    The candidate comes from an envelope of tangents and is tested against a squeeze of chords first. A candidate that the
    squeeze leaves open is evaluated and becomes a point of the hull. As each candidate is tested against the hull that it
    was drawn from, all draws are exact.

    Parameters
    ----------
    points
        Where to touch the density first, ascending. Default: at the position that the chain starts from alone.
    low, high
        The ends of the support, finite or not.
    capacity
        Most points of the hull.
    max_extensions
        Towards an infinite end the outermost tangent has to fall. Where it does not, points are added further and further
        out, at most so many at either end. With 0, the first points have to do.
    max_trials
        After this many candidates the chain stays where it is, which keeps the target and is counted in ``cap_hit``.
    logdensity
        The target: a callable from a position with one entry to a scalar, differentiable and concave inside the support.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range. In ``init``, if the density is not log-concave at the first points, or does not
        fall towards an infinite end.

    Notes
    -----
    A density that is not log-concave is noticed when two slopes rise, to within ``1e-9`` (``1e-4`` in single precision).
    From then on the chain stays, ``num_invalid`` counts the steps, and :meth:`check` raises. As a Gibbs block the hull is
    built anew for each conditional density, at the cost of a few evaluations, the current value being its first point.

    References
    ----------
    W. R. Gilks and P. Wild, Adaptive rejection sampling for Gibbs sampling, 1992, Applied Statistics 41(2),
    doi:10.2307/2347565.
    """

    points: Float[Array, " m"]
    low: Float[Array, ""]
    high: Float[Array, ""]
    capacity: int = eqx.field(static=True)
    max_extensions: int = eqx.field(static=True)
    max_trials: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        points: inputs.Numbers = (),
        *,
        low: inputs.Numbers = -np.inf,
        high: inputs.Numbers = np.inf,
        capacity: int = 60,
        max_extensions: int = 16,
        max_trials: int = 10_000,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.points = inputs.real_parameter("points", points, ndim=1)
        self.low = interval_end("low", low)
        self.high = interval_end("high", high)
        self.capacity = inputs.static_count("capacity", capacity, at_least=self.points.shape[0] + 2)
        self.max_extensions = inputs.static_count("max_extensions", max_extensions, at_least=0)
        self.max_trials = inputs.static_count("max_trials", max_trials)
        self.logdensity = optional_logdensity(logdensity)
        if inputs.is_concrete((self.points, self.low, self.high)):
            inside = [float(self.low), *np.asarray(self.points).tolist(), float(self.high)]
            if not all(a < b for a, b in itertools.pairwise(inside)):
                raise ValueError(
                    f"points have to rise strictly between low and high; got low={inside[0]:g}, points={inside[1:-1]}, "
                    f"high={inside[-1]:g}"
                )

    @property
    def claim(self) -> Claim:
        """Exact and independent for log-concave densities."""
        return Claim(
            Exactness.EXACT,
            "draws independently from every log-concave density on a line",
            source="Gilks and Wild 1992, doi:10.2307/2347565",
            reversible=True,
            spaces=frozenset({Space.REAL}),
            gradient=True,
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> AdaptiveRejectionState:
        """Build the first hull."""
        del key
        position = one_coordinate(position, "AdaptiveRejection")
        inputs.start_density(self._target(), position, "AdaptiveRejection")
        state = _build(self, position)
        if inputs.is_concrete(state):
            self.check(state)
        return state

    def refresh(self, state: AdaptiveRejectionState) -> AdaptiveRejectionState:
        """Build a new hull, for another density or from another position."""
        return self._first_state(state.position)

    def check(self, state: AdaptiveRejectionState) -> None:
        """Raise an error if the hull of a state, or of several chains, is none.

        Raises
        ------
        ValueError
            If the density is not log-concave, or does not fall towards an infinite end.
        """
        hull = state.hull
        if not np.all(np.asarray(hull.is_concave)):
            raise ValueError(
                "AdaptiveRejection needs a log-concave density; this one is not log-concave, for its slope rises between "
                f"two of the points {np.asarray(hull.x)[..., : int(np.max(np.asarray(hull.size)))]}. Use a slice sampler."
            )
        shape = np.shape(hull.size)
        proper = np.asarray(
            [self._is_proper(jax.tree.map(lambda leaf, at=at: leaf[at], hull)) for at in np.ndindex(*shape)]
        )
        if not np.all(proper):
            raise ValueError(
                f"AdaptiveRejection needs a hull that falls towards infinite ends; on ({float(self.low):g}, "
                f"{float(self.high):g}) the outermost slopes do not. Likely causes: (a) the density has no finite "
                "integral; (b) points lie on one side of the mode and max_extensions is too small; (c) the support has an "
                "end: pass it as low= or high=."
            )

    def _is_proper(self, hull: Hull) -> Array:
        dtype = hull.x.dtype
        return hulls.is_proper(hull, self.low.astype(dtype), self.high.astype(dtype))

    def _cut(self, hull: Hull) -> Pieces:
        dtype = hull.x.dtype
        return hulls.pieces(hull, self.low.astype(dtype), self.high.astype(dtype))

    def _along(self, position: PyTree) -> LogDensity:
        _, unravel = ravel_pytree(position)
        target = self._target()
        return lambda x: target(unravel(x[None]))

    def _first_state(self, position: PyTree) -> AdaptiveRejectionState:
        start = ravel_pytree(position)[0]
        dtype = start.dtype
        given = jnp.concatenate([start, self.points.astype(dtype)])
        along = self._along(position)
        endless = jnp.isinf(jnp.stack([self.low, self.high]))
        sides = jnp.arange(2)

        def wanting(hull: Hull, turns: Array) -> Array:
            """Which ends need a further point: infinite ones, towards which the outermost tangent does not fall."""
            rises = jnp.stack([hull.d[0] <= 0, hull.d[jnp.maximum(hull.size - 1, 0)] >= 0])
            return endless & rises & (turns < self.max_extensions) & (hull.size > 0)

        def add(carry: tuple[Hull, Array, Array]) -> tuple[Hull, Array, Array]:
            hull, turn, turns = carry
            last = jnp.maximum(hull.size - 1, 0)
            side = jnp.argmax(wanting(hull, turns))
            spread = jnp.maximum(1, hull.x[last] - hull.x[0])
            # The spread grows with each point, so that the steps double.
            further = jnp.where(side == 0, hull.x[0] - spread, hull.x[last] + spread)
            is_given = turn < given.shape[0]
            x = jnp.where(is_given, given[jnp.minimum(turn, given.shape[0] - 1)], further)
            h, d, _ = evaluate_with_gradient(along, x)
            return hulls.insert(hull, x, h, d), turn + 1, turns + (~is_given & (sides == side))

        def unfinished(carry: tuple[Hull, Array, Array]) -> Array:
            hull, turn, turns = carry
            return (turn < given.shape[0]) | jnp.any(wanting(hull, turns))

        none = jnp.zeros((), jnp.int32)
        hull, _, _ = lax.while_loop(unfinished, add, (hulls.empty(self.capacity, dtype), none, none + 0 * sides))
        return AdaptiveRejectionState(position, hull, self._cut(hull))

    def step(
        self, key: PRNGKeyArray, state: AdaptiveRejectionState
    ) -> tuple[AdaptiveRejectionState, AdaptiveRejectionInfo]:
        """Draw from the target."""
        flat, unravel = ravel_pytree(state.position)
        dtype = flat.dtype
        along = self._along(state.position)
        none = jnp.zeros((), jnp.int32)

        def is_usable(hull: Hull) -> Array:
            return hull.is_concave & self._is_proper(hull)

        def trial(carry: _Search) -> _Search:
            key_draw, key_test = random.split(random.fold_in(key, carry.num_trials))
            x, height = hulls.draw(key_draw, carry.hull, carry.pieces)
            log_u = jnp.log(random.uniform(key_test, (), dtype))
            squeezed = log_u < hulls.chord(carry.hull, x) - height

            def ask(hull: Hull, old: Pieces) -> tuple[Hull, Pieces, Array]:
                del old
                h, d, _ = evaluate_with_gradient(along, x)
                fuller = hulls.insert(hull, x, h, d)
                # A density above its own tangents is not log-concave; no draw is made from such a hull.
                slack = 1e4 * jnp.finfo(dtype).eps * jnp.maximum(1, jnp.maximum(jnp.abs(h), jnp.abs(height)))
                fuller = fuller._replace(is_concave=fuller.is_concave & ~(h > height + slack))
                return fuller, self._cut(fuller), (log_u < h - height) & fuller.is_concave

            hull, pieces, accepted = lax.cond(
                squeezed, lambda hull, pieces: (hull, pieces, jnp.asarray(True)), ask, carry.hull, carry.pieces
            )
            return _Search(
                jnp.where(accepted, x, carry.x),
                hull,
                pieces,
                accepted,
                carry.num_trials + 1,
                carry.num_evals + (~squeezed).astype(jnp.int32),
            )

        start = _Search(flat[0], state.hull, state.pieces, jnp.asarray(False), none, none)
        end = lax.while_loop(
            lambda carry: ~carry.accepted & is_usable(carry.hull) & (carry.num_trials < self.max_trials), trial, start
        )
        stuck = ~end.accepted & ~is_usable(end.hull)
        info = AdaptiveRejectionInfo(
            end.num_trials, end.num_evals, end.num_evals, stuck.astype(jnp.int32), ~end.accepted & ~stuck
        )
        return AdaptiveRejectionState(unravel(end.x[None]), end.hull, end.pieces), info


@jax.jit
def _build(kernel: AdaptiveRejection, position: PyTree) -> AdaptiveRejectionState:
    # Compiled as a whole: operation by operation a first hull takes seconds.
    return kernel._first_state(position)

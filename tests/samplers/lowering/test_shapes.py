"""Primitives that rearrange entries, against XLA bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.samplers.lowering.comparison import check


def test_shapes():
    rng = np.random.default_rng(0)
    x, v = jnp.asarray(rng.normal(size=(3, 4, 5))), jnp.asarray(rng.normal(size=7))
    one, empty = jnp.asarray([[3.0]]), jnp.zeros((0, 3))
    check(
        {
            "transpose": lambda x, v, one, e: (x.T, jnp.transpose(x, (1, 2, 0)) + 1, jnp.moveaxis(x, 0, -1)[..., 0]),
            "reshape": lambda x, v, one, e: (
                x.reshape(12, 5), x.T.reshape(6, 10), x.reshape(2, 6, 1, 5) * 2, x[:, 1:3].reshape(6, 5), one.reshape(())
            ),
            "broadcast": lambda x, v, one, e: (one + v[:, None], v[None, :] * v[:, None], v[:, None, None] * x[0][None]),
            "reverse": lambda x, v, one, e: (x[::-1, :, ::-1], v[::-1] + v, x.T[1:, ::-1].sum(1)),
            "slice": lambda x, v, one, e: (x[1:, ::2, -3:], v[2:3], v[::3], lax.slice(x, (0, 1, 1), (3, 4, 4), (2, 2, 1))),
            "concatenate": lambda x, v, one, e: (
                jnp.concatenate([v, v[:2], v[3:4]]), jnp.concatenate([x, x[:, :1]], 1), jnp.concatenate([one, one], 1),
                jnp.concatenate([e, jnp.ones((2, 3))], 0), jnp.stack([v, 2 * v], 1),
            ),
            "pad": lambda x, v, one, e: (
                jnp.pad(v, (2, 1)), lax.pad(x, 0.5, ((1, 0, 1), (-1, 2, 0), (0, -2, 2))), lax.pad(e, 1.0, ((1, 1, 0),) * 2),
                lax.pad(v, 1.0, ((-3, -2, 0),)), lax.pad(v, 1.0, ((-3, 5, 2),)), lax.pad(v, 0.0, ((2, -9, 0),)),
            ),
            "iota": lambda x, v, one, e: (
                jnp.arange(5), lax.broadcasted_iota(np.float32, (3, 2), 1), jnp.arange(6).reshape(2, 3)[::-1] * 2,
                jnp.arange(3)[1], jnp.arange(1.0, 4.0), jnp.eye(3), jnp.tri(4),
            ),
            "split": lambda x, v, one, e: (jnp.split(v, [2, 5]), jnp.split(x, 2, 1), jnp.unstack(x)),
            "repeat": lambda x, v, one, e: (jnp.tile(v, 3), jnp.tile(x, (2, 1, 2)), jnp.repeat(v, 2), jnp.roll(v, 3)),
            "empty": lambda x, v, one, e: (e + 1, e.T, jnp.sum(e), jnp.sum(e, 0), jnp.prod(e), e[:, 1:], e.reshape(3, 0)),
            "constants": lambda x, v, one, e: (1.0, jnp.ones(3), np.arange(4), np.full((2, 2), np.nan), v, jnp.zeros((0,))),
            "diagonal": lambda x, v, one, e: (jnp.diag(v), jnp.triu(x[0]), jnp.trace(x[0, :, :4])),
        },
        x, v, one, empty, ulps={"reverse": 4, "diagonal": 1},
    )  # fmt: skip


@st.composite
def rearrangements(draw):
    """A shape and a list of moves that lead from it."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    moves, now = [], shape
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["transpose", "reverse", "slice", "reshape", "add", "squeeze"]))
        if kind == "transpose":
            order = draw(st.permutations(range(len(now))))
            moves.append((kind, tuple(order)))
            now = tuple(now[axis] for axis in order)
        elif kind == "reverse":
            moves.append((kind, draw(st.integers(0, len(now) - 1))))
        elif kind == "slice":
            start = [draw(st.integers(0, length - 1)) for length in now]
            stop = [draw(st.integers(low + 1, length)) for low, length in zip(start, now, strict=True)]
            step = [draw(st.integers(1, 2)) for _ in now]
            moves.append((kind, (start, stop, step)))
            now = tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True))
        elif kind == "reshape":
            size = int(np.prod(now))
            first = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
            now = draw(st.sampled_from([(first, size // first), (size,), (first, 1, size // first)]))
            moves.append((kind, now))
        elif kind == "squeeze":
            kept = tuple(length for length in now if length != 1) or (1,)
            moves.append(("reshape", kept))
            now = kept
        else:
            moves.append((kind, None))
    return shape, moves


def rearrange(x, moves):
    for kind, how in moves:
        if kind == "transpose":
            x = lax.transpose(x, how)
        elif kind == "reverse":
            x = lax.rev(x, (how,))
        elif kind == "slice":
            x = lax.slice(x, *how)
        elif kind == "reshape":
            x = lax.reshape(x, how)
        else:
            x = x + 1
    return x


@settings(max_examples=4)
@given(st.lists(rearrangements(), min_size=12, max_size=12))
def test_random_rearrangements(cases):
    arrays = [jnp.arange(float(np.prod(shape))).reshape(shape) for shape, _ in cases]
    many = [
        lambda *xs, i=i: (rearrange(xs[i], cases[i][1]), rearrange(xs[i], cases[i][1]).sum(0))
        for i in range(len(cases))
    ]
    check({str(i): function for i, function in enumerate(many)}, *arrays)
    assert jax.tree.leaves(arrays)

"""Small random programs with loops and branches, against XLA: what single primitives do not show is how they combine.

A program works on a pool of values: vectors, matrices, numbers and integers. Each instruction takes some of them and adds
a new one. Loops carry the whole pool, so that updates in place, views and exchanges meet.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ergodica.samplers.lowering import emitter
from tests.samplers.lowering.comparison import check

SIZE = 5
OPERATIONS = (
    "add", "multiply", "sine", "scale", "reverse", "outer", "row", "column", "transpose", "matvec", "sum", "norm", "max",
    "update", "set row", "gather", "scatter", "sort", "cumsum", "where", "slice", "concatenate", "index", "count", "random",
    "diagonal", "cond", "while", "scan", "fori", "exchange", "mean",
)  # fmt: skip


def random_program(rng):
    length = int(rng.integers(4, 12))
    return [(str(rng.choice(OPERATIONS)), *(int(number) for number in rng.integers(0, 1000, 3))) for _ in range(length)]


def initial_pool(x, m, n):
    return {"vector": [x, x * 0.5 + 1], "matrix": [m], "number": [x[0], jnp.asarray(0.25)], "integer": [n]}


def pick(pool, kind, number):
    return pool[kind][number % len(pool[kind])]


def run(program, pool, depth=0):
    """Return the pool after a program."""
    pool = {kind: list(values) for kind, values in pool.items()}
    for name, a, b, c in program:
        kind, value = apply(name, a, b, c, pool, program, depth)
        pool[kind] = [*pool[kind], value][-4:]
    return pool


def apply(name, a, b, c, pool, program, depth):
    x, y = pick(pool, "vector", a), pick(pool, "vector", b)
    m, s, n = pick(pool, "matrix", a), pick(pool, "number", b), pick(pool, "integer", c)
    at = (n + c) % SIZE
    simple = {
        "add": lambda: ("vector", x + y), "multiply": lambda: ("vector", x * jnp.cos(y)), "sine": lambda: ("matrix", jnp.sin(m)),
        "scale": lambda: ("vector", x * jnp.tanh(s)), "reverse": lambda: ("vector", x[::-1]),
        "outer": lambda: ("matrix", jnp.sin(x[:, None]) * y[None, :]), "row": lambda: ("vector", m[at]),
        "column": lambda: ("vector", m[:, at]), "transpose": lambda: ("matrix", m.T),
        "matvec": lambda: ("vector", jnp.tanh(m @ x)), "sum": lambda: ("number", jnp.tanh(jnp.sum(m))),
        "norm": lambda: ("number", jnp.sqrt(jnp.sum(x**2)) / (1 + jnp.abs(s))),
        "max": lambda: ("number", jnp.maximum(jnp.max(x), s)),
        "update": lambda: ("vector", x.at[at].set(s)), "set row": lambda: ("matrix", m.at[at].set(y)),
        "gather": lambda: ("vector", x[jnp.argsort(y)]),
        "scatter": lambda: ("vector", x.at[(jnp.arange(3) + n) % 7].add(y[:3])),
        "sort": lambda: ("vector", jnp.sort(x)), "cumsum": lambda: ("vector", jnp.tanh(jnp.cumsum(x))),
        "where": lambda: ("vector", jnp.where(x > y, x, s)),
        "slice": lambda: ("vector", lax.dynamic_update_slice(x, y[1:4] * 0.5, (at,))),
        "concatenate": lambda: ("vector", jnp.concatenate([x[2:], y[:2]])),
        "index": lambda: ("integer", jnp.argmax(x).astype(n.dtype)),
        "count": lambda: ("integer", n + jnp.sum(x > 0).astype(n.dtype)), "diagonal": lambda: ("vector", jnp.diag(m)),
        "mean": lambda: ("vector", m.mean(0) - m.max(1)),
        "random": lambda: ("vector", jax.random.normal(jax.random.fold_in(jax.random.key(a), n), (SIZE,))),
    }  # fmt: skip
    if name in simple:
        return simple[name]()
    if depth >= 2:
        return "vector", x - y
    inner = [step for step in program[:4] if step[0] != name]
    small = {kind: values[-1:] for kind, values in pool.items()}

    def body(pool):
        done = run(inner, pool, depth + 1)
        return {kind: done[kind][-1:] for kind in done}

    if name == "cond":
        taken = lax.cond(s > 0.3, body, lambda pool: pool, small)
        return "vector", taken["vector"][0] + taken["matrix"][0][0]
    if name == "while":
        _, done = lax.while_loop(
            lambda both: both[0] < n % 3 + 1, lambda both: (both[0] + 1, body(both[1])), (0, small)
        )
        return "vector", done["vector"][0]
    if name == "scan":

        def turn(carry, row):
            new = body(carry)
            new["vector"] = [new["vector"][0] * 0.5 + row]
            return new, (new["vector"][0], new["number"][0])

        _, (rows, _) = lax.scan(turn, small, m, reverse=bool(a % 2))
        return "matrix", rows
    if name == "fori":
        done = lax.fori_loop(0, 3, lambda i, matrix: matrix.at[i].set(matrix[i + 1] * 0.5 + x), m)
        return "matrix", done
    pair = lax.fori_loop(0, n % 4, lambda i, pair: (pair[1], pair[0].at[i].set(s)), (x, y))
    return "vector", pair[0] - pair[1]


def check_programs(seed):
    rng = np.random.default_rng(seed)
    arguments = jnp.asarray(rng.normal(size=SIZE)), jnp.asarray(rng.normal(size=(SIZE, SIZE))), jnp.asarray(3)
    functions = {}
    for _ in range(4):
        program = random_program(rng)
        functions[repr(program)] = lambda x, m, n, program=program: run(program, initial_pool(x, m, n))
    # Sorting and comparing amplify rounding, so numbers agree to eight digits, integers exactly.
    check(functions, *arguments, ulps=1 << 26, absolute=1e-8)


def test_random_programs_with_all_arrays_in_the_workspace(monkeypatch):
    monkeypatch.setattr(emitter, "STACK_BUFFER", 0)
    check_programs(11)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7))
def test_more_random_programs(seed, monkeypatch):
    if seed % 2:
        monkeypatch.setattr(emitter, "STACK_BUFFER", 0)
    check_programs(seed)

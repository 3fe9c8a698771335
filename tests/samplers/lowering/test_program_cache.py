"""Compiled programs on disk: found again, never taken for another, and never from a folder that others may write to."""

import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ergodica
from ergodica.samplers.lowering import program_cache
from ergodica.samplers.lowering.lower import lower
from ergodica.samplers.lowering.operation import call_lowered
from ergodica.samplers.lowering.program import trace
from ergodica.samplers.lowering.program_cache import identity
from ergodica.samplers.lowering.rules import load_rules

TABLE = np.arange(3000.0).reshape(1000, 3)
X = np.array([0.3, -1.2, 2.5])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ERGODICA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


def mixed(x):
    """Loops, large and small constants, random numbers, and code that Numba links in."""
    noise = jax.random.normal(jax.random.key(3), (3,))
    total = jax.lax.fori_loop(0, 4, lambda i, t: t + jnp.sin(x[i % 3]), 0.0)
    return TABLE @ x, total, x + noise, jnp.sort(x)


def test_what_is_found_again_gives_the_same_bits(folder):
    fresh = lower(mixed, X)
    again = lower(mixed, X)
    assert fresh.compiled.native is None
    assert again.compiled.native is not None
    assert again.compiled.workspace_bytes == fresh.compiled.workspace_bytes
    expected = fresh(X)
    for one, other in zip(expected, again(X), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(expected[0], TABLE @ X, rtol=1e-14)
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda _: again(X)[0], range(8)):
            np.testing.assert_array_equal(result, expected[0])
    assert len(list(folder.iterdir())) == 1
    # The same code as an operation of XLA.
    np.testing.assert_array_equal(jax.jit(lambda x: call_lowered(mixed, x))(jnp.asarray(X))[2], expected[2])


def test_a_run_is_found_again(folder):
    kernel = ergodica.RandomWalk(0.7, logdensity=lambda x: -0.5 * jnp.sum(x**2))
    options = {"draws": 20, "tune": 10, "chains": 2, "host": "numba", "progress": False}
    one = ergodica.sample(kernel, jnp.ones(2), **options)
    programs = sorted(folder.iterdir())
    assert len(programs) == 2  # warm-up and draws
    # Another function object: what was compiled in this process is not looked at.
    kernel = ergodica.RandomWalk(0.7, logdensity=lambda x: -0.5 * jnp.sum(x**2))
    other = ergodica.sample(kernel, jnp.ones(2), **options)
    assert sorted(folder.iterdir()) == programs
    np.testing.assert_array_equal(one.position, other.position)


def programs_of(*functions):
    load_rules()
    return [trace(function, X)[0] for function in functions]


def test_programs_that_differ_have_different_names():
    other_table = TABLE.copy()
    other_table[-1, -1] += 1e-9
    variants = programs_of(
        lambda x: TABLE @ x,
        lambda x: other_table @ x,
        lambda x: TABLE.astype(np.float32) @ x,
        lambda x: x + 1.0,
        lambda x: x - 1.0,
        lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y + 1.0, x),
        lambda x: jax.lax.fori_loop(0, 4, lambda i, y: y + 1.0, x),
        lambda x: jax.lax.fori_loop(0, 4, lambda i, y: y - 1.0, x),
        lambda x: jnp.cumsum(x),
        lambda x: jax.lax.cumsum(x, reverse=True),
        lambda x: (x[0] + x[1]) - x[2],
        lambda x: (x[0] + x[2]) - x[1],
    )
    names = [identity(program, "call") for program in variants]
    assert None not in names
    assert len(set(names)) == len(names)
    assert identity(variants[0], "call") != identity(variants[0], "run")
    (again,) = programs_of(lambda x: TABLE @ x)
    assert identity(again, "call") == names[0]


def test_compiled_cores_have_no_name():
    (program,) = programs_of(lambda x: x + 1.0)
    program.equations[0].name = "ffi_call"
    assert identity(program, "call") is None
    (program,) = programs_of(lambda x: x + 1.0)
    program.equations[0].params["callback"] = print_twice = lambda x: (print(x), print(x))
    assert " at 0x" in repr(print_twice)
    assert identity(program, "call") is None


def test_damage_and_missing_symbols_are_compiled_anew(folder, monkeypatch):
    def small(x):
        return jnp.sum(jnp.exp(x))

    expected = lower(small, X)(X)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    for damaged in (content[:-1], content[:100], b"", b"\n\n\n", content.replace(b"program 1", b"program 2")):
        file.write_bytes(damaged)
        lowered = lower(small, X)
        assert lowered.compiled.native is None
        assert lowered(X) == expected
        assert lower(small, X).compiled.native is not None
    entry = program_cache.find(file.name)
    with pytest.raises(LookupError, match="no_such_function"):
        entry._replace(externals=("no_such_function",)).load()


def test_a_folder_of_others_is_not_used(folder, monkeypatch):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert program_cache.cache_folder() is None
    folder.chmod(0o700)
    assert program_cache.cache_folder() == folder
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert program_cache.cache_folder() is None
    monkeypatch.undo()
    monkeypatch.setenv("ERGODICA_CACHE_DIR", "")
    assert program_cache.cache_folder() is None
    monkeypatch.setenv("ERGODICA_CACHE_DIR", "/dev/null")
    assert program_cache.cache_folder() is None


def test_programs_not_used_for_longest_make_room(folder, monkeypatch):
    monkeypatch.setattr(program_cache, "MOST_BYTES", 1000)
    entry = program_cache.Entry("f", 0, (), b"x" * 200, ())
    for number in range(6):
        program_cache.keep(f"key{number}", entry)
        os.utime(folder / f"key{number}", (number, number))
    program_cache.keep("last", entry)
    kept = {file.name for file in folder.iterdir()}
    assert "last" in kept
    assert "key0" not in kept
    assert "key5" in kept

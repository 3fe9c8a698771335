"""Lowered functions as JAX operations: XLA calls the compiled code, in a loop of its own or for a whole batch."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ergodica.samplers.chunks import strong
from ergodica.samplers.lowering.lower import Lowered, lower
from ergodica.samplers.lowering.program import KEY
from ergodica.samplers.native import NativeOperation, compiled

__all__ = ["call_lowered"]

_operations: dict[Any, tuple[NativeOperation, list[Any], Any, Lowered]] = {}
_lock = threading.Lock()


def call_lowered(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function as compiled code, also under ``jit``, ``vmap`` and ``scan``.

    Parameters
    ----------
    function
        As for :func:`~ergodica.samplers.lowering.lower.lower`. What it lowers to is remembered for the function, the
        structure of the arguments, and their shapes and dtypes.
    *arguments
        Pytrees of arrays or tracers.

    Raises
    ------
    CannotLower
        If the function uses what the compiled host does not have.
    """
    leaves: list[Any]
    structure: Any
    leaves, structure = jax.tree.flatten(jax.tree.map(strong, arguments))
    kind = (function, structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
    with _lock:
        if kind not in _operations:
            shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[no-untyped-call]
            with jax.ensure_compile_time_eval():
                lowered = lower(function, *jax.tree.unflatten(structure, shapes))
            results, out_tree = _results_of(lowered)
            name = f"lowered.{getattr(function, '__name__', 'function')}.{len(_operations)}"
            # The core has the addresses of what is lowered, which therefore lives as long.
            _operations[kind] = _operation(name, lowered), results, out_tree, lowered
        operation, results, out_tree, _ = _operations[kind]
    outputs = operation(*map(_words, leaves), out_shapes=[shape for shape, _ in results])
    pairs = zip(outputs, results, strict=True)
    return jax.tree.unflatten(out_tree, [jax.random.wrap_key_data(o) if key else o for o, (_, key) in pairs])


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _results_of(lowered: Lowered) -> tuple[list[Any], Any]:
    """Return the shape of each result as XLA sees it and whether it is a key, and the structure of all."""
    kinds, structure = lowered.results
    return [((*shape, 2) if dtype == KEY else shape, dtype == KEY) for shape, dtype in kinds], structure


def _operation(name: str, lowered: Lowered) -> NativeOperation:
    inputs, (outputs, _) = lowered.arguments, lowered.results
    core = _core([dtype == KEY for _, dtype in inputs], [dtype == KEY for _, dtype in outputs], lowered)
    return NativeOperation(name, core, list(map(_operand, inputs)), list(map(_operand, outputs)))


def _operand(kind: Any) -> tuple[np.dtype[Any], int]:
    shape, dtype = kind
    return (np.dtype(np.uint32), len(shape) + 1) if dtype == KEY else (np.dtype(dtype), len(shape))


@compiled
def _packed(words):  # type: ignore[no-untyped-def]
    """Return the 64-bit words of keys."""
    flat = words.ravel()
    out = np.empty(max(1, flat.size // 2), np.uint64)
    for i in range(flat.size // 2):
        out[i] = (np.uint64(flat[2 * i]) << np.uint64(32)) | np.uint64(flat[2 * i + 1])
    return out


@compiled
def _unpack(keys, words):  # type: ignore[no-untyped-def]
    flat = words.ravel()
    for i in range(flat.size // 2):
        flat[2 * i] = np.uint32(keys[i] >> np.uint64(32))
        flat[2 * i + 1] = np.uint32(keys[i] & np.uint64(0xFFFFFFFF))


def _core(keys_in: Sequence[bool], keys_out: Sequence[bool], lowered: Lowered) -> Any:
    """Return a core that fills the table of addresses, and calls the lowered function."""
    count = len(keys_in) + len(keys_out)
    names = [f"a{index}" for index in range(count)]
    is_key = [*keys_in, *keys_out]
    body = [f"def core({', '.join(names)}):", f"    table = np.empty({count + 2}, np.int64)"]
    for index, name in enumerate(names):
        if is_key[index]:
            made = f"packed({name})" if index < len(keys_in) else f"np.empty(max(1, {name}.size // 2), np.uint64)"
            body.append(f"    k{index} = {made}")
        body.append(f"    table[{index}] = {'k' if is_key[index] else 'a'}{index}.ctypes.data")
    size = lowered.compiled.workspace_bytes + 64
    body += [
        f"    workspace = np.empty({size}, np.uint8)",
        f"    table[{count}] = {lowered.compiled.addresses.ctypes.data}",
        f"    table[{count + 1}] = workspace.ctypes.data",
    ]
    native = lowered.compiled.native
    if native is None:
        body += ["    function(table.ctypes.data)"]
    else:
        body += [
            "    unused = np.empty(2, np.int64)",
            "    function(unused.ctypes.data, unused.ctypes.data + 8, table.ctypes.data)",
            "    unused[0] = 0",
        ]
    body += [f"    unpack(k{index}, a{index})" for index in range(len(keys_in), count) if is_key[index]]
    # What is used after the call is not freed before it.
    body += [f"    k{index}[0] = 0" for index in range(count) if is_key[index]]
    body += ["    workspace[0] = 0", "    table[0] = 0", ""]
    function = lowered.compiled.function if native is None else native
    namespace = {"np": np, "function": function, "packed": _packed, "unpack": _unpack}
    exec("\n".join(body), namespace)
    return compiled(namespace["core"])

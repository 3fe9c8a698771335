"""The steps of a chain as one compiled loop, and chains on threads.

Keys follow the XLA host: step ``i`` of a chain is made with ``fold_in(key of the chain, i)``, so the draws are those of
:func:`ergodica.sample` and of ``kernel.run``, up to rounding.
"""

import collections
import copy
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers.chunks import Record, one_draw, strong
from ergodica.samplers.inputs import static_count
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.lowering.control import Slots, counted_loop
from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lower import Compiled, as_memory, from_memory, memory_for
from ergodica.samplers.lowering.program import trace
from ergodica.samplers.lowering.rules import load_rules
from ergodica.samplers.lowering.values import Scalar, Value, View, contiguous_strides, llvm_type

__all__ = ["CompiledRun", "Draw", "compile_run", "kind_of"]


class Draw(NamedTuple):
    """What a run returns.

    Parameters
    ----------
    state
        The last state; of several chains, stacked.
    collected
        What was collected of each draw, stacked on an axis of draws; of several chains, with their axis in front.
    """

    state: Any
    collected: Any


def everything(record: Record) -> Record:
    """Collect all that the XLA host collects: position, statistics of the steps, log density."""
    return record


class CompiledRun:
    """Runs a kernel for any number of steps from any state, without XLA.

    Parameters
    ----------
    kernel
        The kernel, with its target. Its leaves are arguments of the compiled loop, its static fields are compiled in.
    state
        An example state of one chain.
    thin
        Steps for each draw.
    collect
        From the :class:`~ergodica.samplers.chunks.Record` of a draw to a pytree of what is kept of it.
    """

    def __init__(
        self,
        kernel: Kernel[Any, Any],
        state: Any,
        *,
        thin: int = 1,
        collect: Callable[[Record], PyTree] = everything,
    ) -> None:
        load_rules()
        self.thin = thin = static_count("thin", thin)
        self._kernel = jax.tree.map(strong, kernel)
        state = jax.tree.map(strong, state)

        def draw(kernel: Any, key: PRNGKeyArray, state: Any, index: Any) -> tuple[Any, Any]:
            state, record = one_draw(kernel, key, index, state, thin)
            return state, collect(record)

        key = jax.eval_shape(lambda: jax.random.key(0))
        index = jax.ShapeDtypeStruct((), np.int32)  # type: ignore[no-untyped-call]
        self._program, (states, collected) = trace(draw, self._kernel, key, state, index)
        self._kernel_tree: Any = jax.tree.structure(self._kernel)
        self._state_tree: Any = jax.tree.structure(states)
        self._out_tree: Any = jax.tree.structure(collected)
        num_kernel, num_state = len(jax.tree.leaves(self._kernel)), len(jax.tree.leaves(states))
        inputs, outputs = self._program.inputs, self._program.outputs
        self._consts = [(v.shape, v.dtype) for v in inputs[: num_kernel + 1]]
        self._carry = [(v.shape, v.dtype) for v in inputs[num_kernel + 1 : -1]]
        self._stacked = [(v.shape, v.dtype) for v in outputs[num_state:]]
        # The table: constants, then number of the first step and count of draws, states in and out, draws.
        layout = f"run thin={thin} kernel={num_kernel} state={num_state} collected={len(self._stacked)}"
        size = len(self._consts) + 1 + 2 * num_state + len(self._stacked)
        self.compiled = Compiled(self._write, size, self._program, layout)

    def of(self, kernel: Kernel[Any, Any]) -> "CompiledRun":
        """Return the same compiled loop for another kernel of the same kind, with its parameters and data."""
        other = copy.copy(self)
        other._kernel = jax.tree.map(strong, kernel)
        return other

    def _write(self, emitter: Emitter, pointers: Sequence[Any]) -> None:
        rest = iter(pointers)
        consts = [emitter.from_view(emitter.external(*kind, next(rest))) for kind in self._consts]
        numbers = emitter.external((2,), np.dtype(np.int64), next(rest))
        first, count = (emitter.entry(numbers, [position]) for position in range(2))
        starts = [emitter.external(*kind, next(rest)) for kind in self._carry]
        ends = [emitter.external(*kind, next(rest)) for kind in self._carry]
        targets = [_stack_of(emitter.external(*kind, next(rest))) for kind in self._stacked]
        slots = Slots(emitter, starts)
        slots.allocate()
        slots.write([emitter.from_view(start) for start in starts])
        index_variable = self._program.inputs[-1]

        def inputs(number: Any) -> list[Value]:
            step = emitter.builder.add(first, emitter.builder.mul(number, emitter.index(self.thin)))
            step = emitter.builder.trunc(step, llvm_type(index_variable.dtype))
            return [Scalar((), index_variable.dtype, step)]

        def outputs(number: Any, values: Sequence[Value]) -> None:
            for value, target in zip(values, targets, strict=True):
                pointer = emitter.pointer_at(target, [number, *[0] * (len(target.shape) - 1)])
                row = View(target.shape[1:], target.dtype, target.strides[1:], pointer, target.root, owned=False)
                emitter.copy(value, row)

        counted_loop(emitter, self._program, consts, slots, count, inputs, outputs)
        for value, end in zip(slots.read(), ends, strict=True):
            emitter.copy(value, end)

    def __call__(
        self, key: PRNGKeyArray, state: Any, draws: int, *, first: int = 0, kernel: Kernel[Any, Any] | None = None
    ) -> Draw:
        """Make draws of one chain.

        Parameters
        ----------
        key
            Typed key of the chain.
        state
            Where it starts.
        draws
            Number of draws, each of ``thin`` steps.
        first
            Number of the first step, of which its key depends.
        kernel
            A kernel of the same kind with other parameters or data. Default: the one that was compiled.

        Raises
        ------
        TypeError
            If the state or the kernel is not of the kind that was compiled.
        """
        _check_keys(key)
        states = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[None], state)
        run = self.chains(jax.numpy.stack([key]), states, draws, first=first, kernel=kernel, threads=1)
        return jax.tree.map(lambda leaf: leaf[0], run)

    def chains(
        self,
        keys: PRNGKeyArray,
        states: Any,
        draws: int,
        *,
        first: int = 0,
        kernel: Kernel[Any, Any] | None = None,
        threads: int | None = None,
    ) -> Draw:
        """Make draws of several chains, on several threads.

        Parameters
        ----------
        keys
            Typed keys of the chains, shape ``(chains,)``.
        states
            Their states, stacked on a leading axis.
        draws, first, kernel
            As for one chain.
        threads
            Most threads at once. Default: one for each processor.
        """
        draws = static_count("draws", draws)
        _check_keys(keys)
        kernel = self._kernel if kernel is None else jax.tree.map(strong, kernel)
        tree: Any = jax.tree.structure(kernel)
        if tree != self._kernel_tree:
            raise TypeError("the kernel differs in structure from the one that was compiled; compile it by itself")
        tree = jax.tree.structure(states)
        if tree != self._state_tree:
            raise TypeError(f"the state has the structure {tree}; compiled was {self._state_tree}")
        number = keys.shape[0]
        keys_memory = as_memory(keys)
        leaves = [as_memory(leaf) for leaf in jax.tree.leaves(kernel)]
        _check(leaves, self._consts[:-1], "kernel")
        starts = [as_memory(leaf) for leaf in jax.tree.leaves(states)]
        _check(starts, [((number, *shape), dtype) for shape, dtype in self._carry], "state")
        ends = [memory_for((number, *shape), dtype) for shape, dtype in self._carry]
        stacked = [memory_for((number, draws, *shape), dtype) for shape, dtype in self._stacked]
        numbers = np.array([first, draws], np.int64)

        def one(chain: int) -> None:
            workspace = self.compiled.new_workspace()
            own = [keys_memory[chain : chain + 1]]
            rows = [array[chain : chain + 1] for array in (*starts, *ends, *stacked)]
            held = [*leaves, *own, numbers, *rows, *self.compiled.tail(workspace)]
            table = np.array([array.ctypes.data for array in held], np.int64)
            self.compiled.function(table.ctypes.data)

        workers = min(number, threads or os.cpu_count() or 1)
        if workers == 1:
            for chain in range(number):
                one(chain)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(one, range(number)))
        kinds = [dtype for _, dtype in self._carry], [dtype for _, dtype in self._stacked]
        return Draw(
            jax.tree.unflatten(self._state_tree, [from_memory(*pair) for pair in zip(ends, kinds[0], strict=True)]),
            jax.tree.unflatten(self._out_tree, [from_memory(*pair) for pair in zip(stacked, kinds[1], strict=True)]),
        )


def _stack_of(one: View) -> View:
    """Return a view of an array of items that begins with this one."""
    strides = (max(1, math.prod(one.shape)), *contiguous_strides(one.shape))
    return View((2, *one.shape), one.dtype, strides, one.pointer, one.root, owned=False)


def _check_keys(keys: Any) -> None:
    if not (hasattr(keys, "dtype") and jax.numpy.issubdtype(keys.dtype, jax.dtypes.prng_key)):
        raise TypeError("keys have to be typed keys as made by jax.random.key(seed); wrap others with wrap_key_data")


def _check(arrays: list[np.ndarray], kinds: Sequence[tuple[tuple[int, ...], np.dtype[Any]]], what: str) -> None:
    for array, (shape, dtype) in zip(arrays, kinds, strict=True):
        wanted = memory_for((0,), dtype).dtype
        if array.shape != shape or array.dtype != wanted:
            raise TypeError(
                f"a leaf of the {what} is {array.dtype}{list(array.shape)}; compiled was {wanted}{list(shape)}"
            )


_compiled_runs: collections.OrderedDict[Any, CompiledRun] = collections.OrderedDict()
_MOST_REMEMBERED = 32


def kind_of(tree: PyTree) -> tuple[Any, ...]:
    """Return structure, shapes and dtypes of a pytree: what a compiled program depends on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((jax.numpy.shape(leaf), str(jax.numpy.result_type(leaf))) for leaf in leaves)


def compile_run(
    kernel: Kernel[Any, Any], state: Any, *, thin: int = 1, collect: Callable[[Record], PyTree] = everything
) -> CompiledRun:
    """Compile the steps of a kernel to one loop, which runs without XLA.

    Parameters
    ----------
    kernel
        The kernel, with its target.
    state
        An example state, as ``kernel.init`` returns it.
    thin
        Steps for each draw.
    collect
        From the :class:`~ergodica.samplers.chunks.Record` of a draw to a pytree of what is kept of it. Default: all.

    Returns
    -------
    CompiledRun
        ``run(key, state, draws)`` for one chain, ``run.chains(keys, states, draws)`` for several.

    Raises
    ------
    CannotLower
        If the kernel or its target uses what the compiled host does not have.

    Notes
    -----
    Kernels of one kind share a compiled loop, whatever their parameters and data: the last few are remembered. Two
    kernels are of one kind if their functions are the same objects, as for :func:`jax.jit`.
    """
    kind = (kind_of(kernel), kind_of(state), thin, collect)
    if kind not in _compiled_runs:
        _compiled_runs[kind] = CompiledRun(kernel, state, thin=thin, collect=collect)
        if len(_compiled_runs) > _MOST_REMEMBERED:
            _compiled_runs.popitem(last=False)
    _compiled_runs.move_to_end(kind)
    return _compiled_runs[kind].of(kernel)

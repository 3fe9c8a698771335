# rules are named after their primitives
"""Choice points in compiled code: random outcomes that are read from a tape, so that every path can be replayed.

While a law is enumerated, each discrete draw of a traced program is one ``choice`` equation with its probabilities. The
rule below reads the outcome from a tape, or takes the first possible one where the tape ends, and writes down what came
next: the probability of the path so far, and the next possible outcome at each choice. :class:`Paths` goes through all
paths by counting up the last choice that has one left.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lower import Compiled, as_memory, memory_for
from ergodica.samplers.lowering.program import Equation, Program
from ergodica.samplers.lowering.rules import general
from ergodica.samplers.lowering.values import I64, Value, View, llvm_type

__all__ = ["Path", "Paths"]

HEAD = 4
"""Before the outcomes the tape has: choices made, outcomes given, its capacity, and why it was left."""
GOES_ON, TOO_DEEP, NO_LAW, CUT = 0, 1, 2, 3


def _take(tape_pointer, numbers_pointer, chance, outcome, following):  # type: ignore[no-untyped-def]
    """Write an outcome down, with its probability and the next possible one."""
    tape = numba.carray(tape_pointer, 3)
    cursor, capacity = tape[0], tape[2]
    whole = numba.carray(tape_pointer, HEAD + 2 * capacity)
    numbers = numba.carray(numbers_pointer, 2 + capacity)
    whole[HEAD + cursor] = outcome
    whole[HEAD + capacity + cursor] = following
    numbers[2 + cursor] = chance
    numbers[0] *= chance
    whole[0] = cursor + 1
    if numbers[0] < numbers[1]:
        whole[3] = CUT
    return outcome


_take_compiled = numba.njit(_take)


def _read_law(tape_pointer, numbers_pointer, law):  # type: ignore[no-untyped-def]
    """Return the outcome of a choice with weights."""
    size = law.size
    tape = numba.carray(tape_pointer, HEAD)
    if tape[3] != GOES_ON:
        return 0
    if tape[0] >= tape[2]:
        tape[3] = TOO_DEEP
        return 0
    total, first = 0.0, -1
    for i in range(size):
        weight = np.float64(law[i])
        if not (weight >= -1e-12 and weight < np.inf):
            tape[3] = NO_LAW
            return 0
        if weight > 0.0:
            total += weight
            if first < 0:
                first = i
    if first < 0:
        tape[3] = NO_LAW
        return 0
    outcome = first
    if tape[0] < tape[1]:
        outcome = numba.carray(tape_pointer, HEAD + tape[2])[HEAD + tape[0]]
    following = -1
    for i in range(outcome + 1, size):
        if law[i] > 0:
            following = i
            break
    return _take_compiled(tape_pointer, numbers_pointer, np.float64(law[outcome]) / total, outcome, following)


_read_compiled = numba.njit(_read_law, error_model="numpy")


def _read(tape_pointer, numbers_pointer, law_pointer, size):  # type: ignore[no-untyped-def]
    return _read_compiled(tape_pointer, numbers_pointer, numba.carray(law_pointer, size))


def _read_integer(tape_pointer, numbers_pointer, count):  # type: ignore[no-untyped-def]
    """Return the outcome of an even choice among ``count``."""
    tape = numba.carray(tape_pointer, HEAD)
    if tape[3] != GOES_ON:
        return 0
    if tape[0] >= tape[2]:
        tape[3] = TOO_DEEP
        return 0
    if count < 1:
        tape[3] = NO_LAW
        return 0
    outcome = np.int64(0)
    if tape[0] < tape[1]:
        outcome = numba.carray(tape_pointer, HEAD + tape[2])[HEAD + tape[0]]
    following = outcome + 1 if outcome + 1 < count else -1
    return _take_compiled(tape_pointer, numbers_pointer, 1.0 / count, outcome, following)


def _read_order(tape_pointer, numbers_pointer, law_pointer, size, out_pointer, count):  # type: ignore[no-untyped-def]
    """Write the outcomes of successive draws without replacement."""
    law = numba.carray(law_pointer, size)
    left = np.empty(size, np.float64)
    for i in range(size):
        left[i] = law[i]
    out = numba.carray(out_pointer, count)
    for draw in range(count):
        outcome = _read_compiled(tape_pointer, numbers_pointer, left)
        out[draw] = outcome
        left[outcome] = 0.0
    return 0


@general("choice")
def choice(emitter: Emitter, equation: Equation, keys: Value, *law: Value) -> list[Value]:
    del keys  # the outcome comes from the tape
    if emitter.oracle is None:
        raise equation.refuse("choice points are visible only while a law is enumerated; lower the kernel itself")
    kind = equation.params["kind"]
    tape = emitter.builder.bitcast(emitter.oracle[0], I64.as_pointer())
    numbers = emitter.builder.bitcast(emitter.oracle[1], llvm_type(np.dtype(float)).as_pointer())
    out = equation.outputs[0]
    result = emitter.allocate(out.shape, out.dtype)
    pointers = (types.CPointer(types.int64), types.CPointer(types.float64))

    def put(at: list[Any], value: Any) -> None:
        narrow = value if out.dtype.itemsize == 8 else emitter.builder.trunc(value, llvm_type(out.dtype))
        emitter.store(emitter.pointer_at(result, at), narrow, out.dtype)

    if kind == "integers":
        signature = types.int64(*pointers, types.int64)
        for at in emitter.indices(out.shape):
            low, high = (_as_int64(emitter, emitter.entry(bound, at), bound.dtype) for bound in law)
            drawn = emitter.helper(_read_integer, tape, numbers, emitter.builder.sub(high, low), signature=signature)
            put(at, emitter.builder.add(drawn, low))
        return [emitter.from_view(result)]
    weights: View = emitter.contiguous(law[0])
    size = emitter.index(weights.shape[-1])
    entry = types.CPointer(numba.from_dtype(weights.dtype))
    heads = out.shape if kind == "categorical" else out.shape[:-1]
    for at in emitter.indices(heads):
        row = emitter.pointer_at(weights, [*at, emitter.index(0)])
        if kind == "categorical":
            signature = types.int64(*pointers, entry, types.int64)
            put(at, emitter.helper(_read, tape, numbers, row, size, signature=signature))
        else:
            target = types.CPointer(numba.from_dtype(out.dtype))
            signature = types.int64(*pointers, entry, types.int64, target, types.int64)
            first = emitter.pointer_at(result, [*at, emitter.index(0)])
            count = emitter.index(out.shape[-1])
            emitter.helper(_read_order, tape, numbers, row, size, first, count, signature=signature)
    return [emitter.from_view(result)]


def _as_int64(emitter: Emitter, value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.itemsize == 8:
        return value
    kind = emitter.index(0).type
    return emitter.builder.zext(value, kind) if dtype.kind == "u" else emitter.builder.sext(value, kind)


def stopped(emitter: Emitter) -> Any:
    """Return whether the path has ended, so that no loop has to go on."""
    tape = emitter.builder.bitcast(emitter.oracle[0], I64.as_pointer())
    reason = emitter.builder.load(emitter.builder.gep(tape, [emitter.index(3)]))
    return emitter.builder.icmp_signed("!=", reason, emitter.index(GOES_ON))


class Path(NamedTuple):
    """One path through a program.

    Parameters
    ----------
    results
        What the program returned, as bytes; ``None`` if the path was cut off.
    probability
        Of the path.
    """

    results: bytes | None
    probability: float


class Paths:
    """All paths through a compiled program whose choices are visible.

    Parameters
    ----------
    program
        The program, flattened with its choices.
    most_choices
        Most choices on a path.
    """

    def __init__(self, program: Program, most_choices: int = 4096) -> None:
        self._inputs = [(variable.shape, variable.dtype) for variable in program.inputs]
        self._outputs = [(atom.shape, atom.dtype) for atom in program.outputs]
        self._program = program
        self._capacity = most_choices
        self.compiled = Compiled(self._write, 2 + len(self._inputs) + len(self._outputs), program, "paths")

    def _write(self, emitter: Emitter, pointers: list[Any]) -> None:
        emitter.oracle = (pointers[0], pointers[1])
        inputs, outputs = pointers[2 : 2 + len(self._inputs)], pointers[2 + len(self._inputs) :]
        values = [
            emitter.from_view(emitter.external(*kind, pointer))
            for kind, pointer in zip(self._inputs, inputs, strict=True)
        ]
        results = emitter.emit(self._program, values)
        for kind, pointer, value in zip(self._outputs, outputs, results, strict=True):
            emitter.copy(value, emitter.external(*kind, pointer))

    def walk(self, leaves: list[Any], *, min_probability: float = 0.0) -> Iterator[Path]:
        """Yield every path, in the order of its outcomes.

        Parameters
        ----------
        leaves
            The arguments.
        min_probability
            Paths are cut off where they become less probable.

        Raises
        ------
        ValueError
            If a choice has no law.
        RecursionError
            If a path has more choices than the tape has room for.
        """
        capacity = self._capacity
        tape, numbers = np.zeros(HEAD + 2 * capacity, np.int64), np.zeros(2 + capacity)
        tape[2] = capacity
        arrays = [as_memory(leaf) for leaf in leaves]
        results = [memory_for(shape, dtype) for shape, dtype in self._outputs]
        held = [tape, numbers, *arrays, *results, *self.compiled.tail(self.compiled.new_workspace())]
        table = np.array([array.ctypes.data for array in held], np.int64)
        outcomes, following = tape[HEAD : HEAD + capacity], tape[HEAD + capacity :]
        address = table.ctypes.data
        while True:
            tape[0], tape[3] = 0, GOES_ON
            numbers[0], numbers[1] = 1.0, min_probability
            self.compiled.function(address)
            reason, made = int(tape[3]), int(tape[0])
            if reason == NO_LAW:
                raise ValueError("a choice has probabilities that are NaN, infinite, negative or all zero")
            if reason == TOO_DEEP:
                raise RecursionError(f"a path has more than {capacity} choices")
            whole = None if reason == CUT else b"".join([array.tobytes() for array in results])
            yield Path(whole, float(numbers[0]))
            last = made - 1
            while last >= 0 and following[last] < 0:
                last -= 1
            if last < 0:
                return
            outcomes[last] = following[last]
            tape[1] = last + 1

    def decoded(self, results: bytes) -> list[np.ndarray]:
        """Return the arrays of a path's results."""
        out, at = [], 0
        for shape, dtype in self._outputs:
            like = memory_for(shape, dtype)
            out.append(np.frombuffer(results[at : at + like.nbytes], like.dtype).reshape(shape))
            at += like.nbytes
        return out

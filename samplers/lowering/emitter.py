"""Writes the instructions of a program: loops, branches, memory, and the equations one by one.

Scalars are LLVM values. An array is a :class:`~.values.View` of memory: small ones lie on the stack, where the optimiser
may keep them in registers, large ones in a workspace that is allocated once for each chain.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core.compiler import Flags
from numba.core.cpu_options import FastMathOptions

from ergodica.samplers.lowering.lane import FEW, Lane
from ergodica.samplers.lowering.program import KEY, Atom, Constant, Equation, Program, Variable
from ergodica.samplers.lowering.rules import RULES
from ergodica.samplers.lowering.schedule import Step, schedule
from ergodica.samplers.lowering.values import (
    I1,
    I8,
    I64,
    Affine,
    Buffer,
    Scalar,
    Splat,
    Value,
    View,
    contiguous_strides,
    is_float,
    llvm_type,
    memory_type,
)

__all__ = ["Emitter", "Nest"]

STACK_BUFFER, STACK_TOTAL = 4096, 1 << 18
GLOBAL_CONSTANT = 4096
ALIGNMENT = 64


@dataclasses.dataclass(frozen=True)
class Nest:
    """Loops over an array: neighbouring axes are one loop wherever all operands allow it.

    Parameters
    ----------
    blocks
        For each loop the last axis that it stands for, and its length.
    """

    blocks: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Number of turns in all."""
        return math.prod(length for _, length in self.blocks)


def make_nest(shape: tuple[int, ...], all_strides: Sequence[tuple[int, ...]]) -> Nest:
    """Return the loops over ``shape`` in which each of the strides belongs to one array."""
    blocks: list[tuple[int, int]] = []
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        if blocks:
            before, count = blocks[-1]
            if all(strides[before] == length * strides[axis] for strides in all_strides):
                blocks[-1] = (axis, count * length)
                continue
        blocks.append((axis, length))
    return Nest(tuple(blocks))


@dataclasses.dataclass(eq=False)
class _Frame:
    """Where the emission of one program stands."""

    environment: dict[Variable, Value]
    last_use: dict[Variable, float]
    step: int = 0


class Emitter:
    """The instructions of one function, and the values of the program that it runs.

    Parameters
    ----------
    context
        Numba's target context, which compiles helpers.
    builder
        Positioned in the entry block of a new function.
    workspace
        Pointer to the memory for large buffers.
    addresses
        Pointer to the addresses of the large constants, which are collected in ``large``.
    """

    def __init__(self, context: Any, builder: Any, workspace: Any, addresses: Any) -> None:
        self.context = context
        self.builder = builder
        self.module = builder.module
        self.workspace = workspace
        self.addresses = addresses
        self.large: list[Constant] = []
        self.oracle: Any = None
        self.workspace_bytes = 0
        self._stack = 0
        self._free: list[tuple[int, int]] = []
        self._scopes: list[list[Buffer]] = [[]]
        self._frames: list[_Frame] = []
        self._constants: dict[int, View] = {}

    # --- numbers and memory ---

    def const(self, value: Any, dtype: Any) -> Any:
        """Return a constant of a dtype, as it is in a register."""
        dtype = np.dtype(dtype)
        if dtype == KEY:
            return ir.Constant(I64, int(value))
        if dtype.kind == "f":
            return ir.Constant(llvm_type(dtype), float(value))
        return ir.Constant(llvm_type(dtype), int(value))

    def index(self, value: int) -> Any:
        """Return a constant index."""
        return ir.Constant(I64, value)

    def alloca(self, kind: ir.Type, count: int = 1) -> Any:
        """Return stack memory that lives as long as the function."""
        with self.builder.goto_entry_block():
            pointer = self.builder.alloca(kind, count)
        pointer.align = 32 if count > 1 else 8
        return pointer

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
        """Return memory for an array, owned by whoever asked."""
        size = max(1, math.prod(shape))
        kind = memory_type(dtype)
        nbytes = size * (1 if dtype.kind == "b" else dtype.itemsize)
        if nbytes <= STACK_BUFFER and self._stack + nbytes <= STACK_TOTAL:
            self._stack += nbytes
            root = Buffer(self.alloca(kind, size), nbytes)
        else:
            place = self._reserve(nbytes)
            with self.builder.goto_entry_block():
                pointer = self.builder.bitcast(self.builder.gep(self.workspace, [self.index(place)]), kind.as_pointer())
            root = Buffer(pointer, nbytes, place)
            self._scopes[-1].append(root)
        return View(shape, dtype, contiguous_strides(shape), root.pointer, root, owned=True)

    def _reserve(self, nbytes: int) -> int:
        nbytes = -(-nbytes // ALIGNMENT) * ALIGNMENT
        for position, (place, room) in enumerate(self._free):
            if room >= nbytes:
                rest = [(place + nbytes, room - nbytes)] if room > nbytes else []
                self._free[position : position + 1] = rest
                return place
        place = self.workspace_bytes
        self.workspace_bytes += nbytes
        return place

    def _release(self, root: Buffer) -> None:
        if root.place is None:
            return
        nbytes = -(-root.nbytes // ALIGNMENT) * ALIGNMENT
        merged: list[tuple[int, int]] = []
        for place, room in sorted([*self._free, (root.place, nbytes)]):
            if merged and sum(merged[-1]) == place:
                merged[-1] = (merged[-1][0], merged[-1][1] + room)
            else:
                merged.append((place, room))
        self._free = merged

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Give memory that was allocated inside back at the end."""
        self._scopes.append([])
        yield
        for root in self._scopes.pop():
            self._release(root)

    def external(self, shape: tuple[int, ...], dtype: np.dtype[Any], address: Any) -> View:
        """Return an array whose memory was allocated by somebody else, from a byte pointer."""
        pointer = self.builder.bitcast(address, memory_type(dtype).as_pointer())
        root = Buffer(pointer, 0)
        return View(shape, dtype, contiguous_strides(shape), pointer, root, owned=False)

    def load(self, pointer: Any, dtype: np.dtype[Any]) -> Any:
        """Load an entry."""
        value = self.builder.load(pointer)
        return self.builder.trunc(value, I1) if dtype.kind == "b" else value

    def store(self, pointer: Any, value: Any, dtype: np.dtype[Any]) -> None:
        """Store an entry."""
        self.builder.store(self.builder.zext(value, I8) if dtype.kind == "b" else value, pointer)

    def offset(self, indices: Sequence[Any], strides: Sequence[int]) -> Any:
        """Return the sum of indices times strides, a constant where possible."""
        fixed, total = 0, None
        for index, stride in zip(indices, strides, strict=True):
            if stride == 0:
                continue
            if isinstance(index, int | np.integer):
                fixed += int(index) * int(stride)
            elif isinstance(index, ir.Constant):
                fixed += index.constant * stride
            else:
                part = index if stride == 1 else self.builder.mul(index, self.index(stride), flags=("nsw",))
                total = part if total is None else self.builder.add(total, part, flags=("nsw",))
        if total is None:
            return self.index(fixed)
        return total if fixed == 0 else self.builder.add(total, self.index(fixed), flags=("nsw",))

    def pointer_at(self, view: View, indices: Sequence[Any]) -> Any:
        """Return a pointer to an entry of a view."""
        return self.builder.gep(view.pointer, [self.offset(indices, view.strides)], inbounds=True)

    def entry(self, value: Value, indices: Sequence[Any]) -> Any:
        """Return an entry of a value."""
        if isinstance(value, Scalar | Splat):
            return value.value
        if isinstance(value, View):
            return self.load(self.pointer_at(value, indices), value.dtype)
        return self.affine_entry(value, self.offset(indices, value.strides))

    def affine_entry(self, value: Affine, offset: Any) -> Any:
        """Return the entry of an iota at an offset."""
        if value.start:
            offset = self.builder.add(offset, self.index(value.start))
        if is_float(value.dtype):
            return self.builder.sitofp(offset, llvm_type(value.dtype))
        if value.dtype.kind == "b":
            return self.builder.icmp_signed("!=", offset, self.index(0))
        return offset if value.dtype.itemsize == 8 else self.builder.trunc(offset, llvm_type(value.dtype))

    # --- control flow ---

    def range(self, count: Any, unrolled: int = FEW) -> Iterator[Any]:
        """Loop: ``for i in emitter.range(n): ...`` writes the body once, or ``n`` times if there are few turns.

        Parameters
        ----------
        count
            Number of turns: an ``int``, or an LLVM value.
        unrolled
            Loops with at most so many turns are written out.
        """
        count = int(count) if isinstance(count, np.integer) else count
        if isinstance(count, int) and count <= unrolled:
            for turn in range(count):
                yield self.index(turn)
            return
        builder = self.builder
        before = builder.block
        body, after = builder.append_basic_block("turn"), builder.append_basic_block("after")
        if isinstance(count, int):
            limit = self.index(count)
            builder.branch(body)
        else:
            limit = count
            builder.cbranch(builder.icmp_signed(">", limit, self.index(0)), body, after)
        builder.position_at_end(body)
        counter = builder.phi(I64)
        counter.add_incoming(self.index(0), before)
        yield counter
        following = builder.add(counter, self.index(1), flags=("nsw", "nuw"))
        counter.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, limit), body, after)
        builder.position_at_end(after)

    def blocks(self, count: int, size: int) -> Iterator[list[Any]]:
        """Loop over blocks of ``size`` numbers, then over those that are left, each a block of its own."""
        whole = count // size
        for block in self.range(whole, unrolled=1):
            first = self.builder.mul(block, self.index(size))
            yield [self.builder.add(first, self.index(k)) for k in range(size)]
        for left in range(whole * size, count):
            yield [self.index(left)]

    def indices(self, shape: Sequence[int], unrolled: int = FEW) -> Iterator[list[Any]]:
        """Loop over all indices of an array, the last axis fastest."""
        if not shape:
            yield []
            return
        for first in self.range(shape[0], unrolled):
            for rest in self.indices(shape[1:], unrolled):
                yield [first, *rest]

    # --- values ---

    def view(self, value: Value) -> View:
        """Return a value as memory, which the caller only reads."""
        if isinstance(value, View):
            return value
        target = self.allocate(value.shape, value.dtype)
        self.copy(value, target)
        return target

    def contiguous(self, value: Value) -> View:
        """Return a value as C-contiguous memory, which the caller only reads."""
        view = self.view(value)
        if view.is_contiguous:
            return view
        target = self.allocate(view.shape, view.dtype)
        self.copy(view, target)
        return target

    def copy(self, source: Value, target: View) -> None:
        """Copy all entries; the two do not overlap."""
        if math.prod(target.shape) == 0:
            return
        strides = [target.strides] + ([source.strides] if isinstance(source, View | Affine) else [])
        nest = make_nest(target.shape, strides)
        unrolled = 8 if nest.size <= 8 else 0
        for indices in self.indices([length for _, length in nest.blocks], unrolled):
            value = self._at(source, nest, indices)
            self.store(self._pointer(target, nest, indices), value, target.dtype)

    def _block_offset(self, strides: Sequence[int], nest: Nest, indices: Sequence[Any]) -> Any:
        return self.offset(indices, [strides[axis] for axis, _ in nest.blocks])

    def _pointer(self, view: View, nest: Nest, indices: Sequence[Any]) -> Any:
        return self.builder.gep(view.pointer, [self._block_offset(view.strides, nest, indices)], inbounds=True)

    def _at(self, value: Value, nest: Nest, indices: Sequence[Any]) -> Any:
        if isinstance(value, Scalar | Splat):
            return value.value
        if isinstance(value, View):
            return self.load(self._pointer(value, nest, indices), value.dtype)
        return self.affine_entry(value, self._block_offset(value.strides, nest, indices))

    def from_view(self, view: View) -> Value:
        """Return a view, or its entry as a scalar if there is just one."""
        if view.size != 1:
            return view
        return Scalar(view.shape, view.dtype, self.load(view.pointer, view.dtype))

    def constant(self, atom: Constant) -> Value:
        """Return a constant of the program as a value."""
        array = atom.value
        plain = array.view(np.uint64) if array.dtype == KEY else array
        if array.size == 1:
            return Scalar(array.shape, array.dtype, self.const(plain.reshape(-1)[0], array.dtype))
        if array.size and bool(np.all(plain.reshape(-1).view(np.uint8).reshape(array.size, -1) == _bytes(plain)[:1])):
            return Splat(array.shape, array.dtype, self.const(plain.reshape(-1)[0], array.dtype))
        if id(atom) not in self._constants:
            self._constants[id(atom)] = self._constant_memory(atom, plain, array.shape, array.dtype)
        return self._constants[id(atom)]

    def _constant_memory(self, atom: Constant, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
        kind = memory_type(dtype)
        if array.nbytes <= GLOBAL_CONSTANT:
            content = ir.ArrayType(kind, max(1, array.size))
            entries = [ir.Constant(kind, _plain(entry, dtype)) for entry in array.reshape(-1)] or [ir.Constant(kind, 0)]
            name = self.module.get_unique_name("constant")
            variable = ir.GlobalVariable(self.module, content, name)
            variable.initializer = ir.Constant(content, entries)
            variable.linkage, variable.global_constant = "internal", True
            with self.builder.goto_entry_block():
                pointer = self.builder.bitcast(variable, kind.as_pointer())
        else:
            with self.builder.goto_entry_block():
                table = self.builder.bitcast(self.addresses, kind.as_pointer().as_pointer())
                pointer = self.builder.load(self.builder.gep(table, [ir.Constant(I64, len(self.large))]))
            self.large.append(atom)
        return View(shape, dtype, contiguous_strides(shape), pointer, Buffer(pointer, 0), owned=False)

    def read(self, atom: Atom) -> Value:
        """Return the value of an operand."""
        if isinstance(atom, Constant):
            return self.constant(atom)
        return self._frames[-1].environment[atom]

    def writable(self, equation: Equation, atom: Atom, value: Value) -> View:
        """Return contiguous memory with the content of an operand, which the caller may overwrite.

        The operand's own memory if nobody reads it after this equation, otherwise a copy.
        """
        once = sum(other is atom for other in equation.inputs) == 1
        if once and isinstance(value, View) and value.owned and value.is_contiguous and isinstance(atom, Variable):
            frame = self._frames[-1]
            readers = [
                variable
                for variable, other in frame.environment.items()
                if isinstance(other, View) and other.root is value.root
                and (variable is atom or frame.last_use.get(variable, -1) >= frame.step)
            ]  # fmt: skip
            if readers == [atom] and frame.last_use.get(atom, -1) == frame.step:
                return value
        target = self.allocate(value.shape, value.dtype)
        self.copy(value, target)
        return target

    # --- helpers that Numba compiles ---

    def helper(self, function: Callable[..., Any], *values: Any, signature: Any, reorder: bool = False) -> Any:
        """Call a function that Numba compiles.

        Parameters
        ----------
        function
            A plain Python function within what Numba supports; it must not raise.
        *values
            LLVM values: numbers, or pointers to entries.
        signature
            Numba's signature; pointers are ``numba.types.CPointer(...)``.
        reorder
            Whether sums may be put together in any order, so that loops over them can be vectorised.
        """
        flags = Flags()
        flags.error_model = "numpy"
        flags.nrt = True
        if reorder:
            flags.fastmath = FastMathOptions({"reassoc"})
        compiled = self.context.compile_subroutine(self.builder, function, signature, flags=flags)
        types = signature.args
        values = tuple(
            self.builder.zext(value, I8) if str(kind) == "bool" and value.type == I1 else value
            for kind, value in zip(types, values, strict=True)
        )
        _, result = self.context.call_internal_no_propagate(self.builder, compiled.fndesc, signature, values)
        return result

    # --- programs ---

    def emit(self, program: Program, arguments: Sequence[Value]) -> list[Value]:
        """Write the instructions of a program, and return its results."""
        steps = schedule(program)
        last_use: dict[Variable, float] = {}
        for number, step in enumerate(steps):
            for equation in step.equations:
                for atom in equation.inputs:
                    if isinstance(atom, Variable):
                        last_use[atom] = number
        for atom in program.outputs:
            if isinstance(atom, Variable):
                last_use[atom] = math.inf
        frame = _Frame(dict(zip(program.inputs, arguments, strict=True)), last_use)
        self._frames.append(frame)
        for number, step in enumerate(steps):
            frame.step = number
            if step.shape is not None:
                self._loop(step, frame)
            else:
                (equation,) = step.equations
                self._general(equation, frame)
            self._forget(frame, step)
        results = [self.read(atom) for atom in program.outputs]
        self._frames.pop()
        return results

    def _forget(self, frame: _Frame, step: Step) -> None:
        dead = {
            atom
            for equation in step.equations
            for atom in (*equation.inputs, *equation.outputs)
            if isinstance(atom, Variable) and atom in frame.environment and frame.last_use.get(atom, -1) <= frame.step
        }
        roots = {value.root for v in dead if isinstance(value := frame.environment.pop(v), View)}
        if not roots:
            return
        # A program that runs in the scope of another one may read its memory too.
        values = (value for each in self._frames for value in each.environment.values())
        alive = {value.root for value in values if isinstance(value, View)}
        for root in roots - alive:
            if root in self._scopes[-1]:
                self._scopes[-1].remove(root)
                self._release(root)

    def _general(self, equation: Equation, frame: _Frame) -> None:
        operands = [self.read(atom) for atom in equation.inputs]
        rule = RULES[equation.name]
        if rule.kind == "reduction":
            results = [rule.emit.over_axes(self, equation, operands[0])]
        else:
            results = rule.emit(self, equation, *operands)
        results = results if isinstance(results, list | tuple) else [results]
        for variable, value in zip(equation.outputs, results, strict=True):
            if value.shape != variable.shape or value.dtype != variable.dtype:
                raise equation.refuse(
                    f"its rule gave {value.dtype}{list(value.shape)} instead of {variable.dtype}{list(variable.shape)}; "
                    "this is an error of the rule"
                )
            frame.environment[variable] = value

    def _loop(self, step: Step, frame: _Frame) -> None:
        """Write one loop for several elementwise equations and reductions."""
        shape = step.shape
        assert shape is not None
        size = math.prod(shape)
        inside = {variable for equation in step.equations for variable in equation.outputs}
        leaves: dict[Atom, Value] = {}
        for equation in step.equations:
            for atom in equation.inputs:
                if atom not in inside and atom not in leaves:
                    leaves[atom] = _broadcast(self.read(atom), shape)
        results: dict[Variable, Any] = {}
        accumulators: dict[Variable, Any] = {}
        scalars: dict[Variable, Any] = {}
        for equation in step.equations:
            if RULES[equation.name].kind == "reduction":
                variable = equation.outputs[0]
                accumulators[variable] = self.alloca(memory_type(variable.dtype))
                self.store(
                    accumulators[variable], RULES[equation.name].emit.start(self, variable.dtype), variable.dtype
                )
            elif size != 1:
                for variable in equation.outputs:
                    if frame.last_use.get(variable, -1) > frame.step:
                        results[variable] = self.allocate(shape, variable.dtype)
        if size:
            strides = [value.strides for value in leaves.values() if isinstance(value, View | Affine)]
            strides.append(contiguous_strides(shape))  # of the results, and of the number of an entry
            nest = make_nest(shape, strides)
            for indices in self.indices([length for _, length in nest.blocks], FEW if size <= FEW else 0):
                current: dict[Any, Any] = {}
                for equation in step.equations:
                    values = []
                    for atom in equation.inputs:
                        if atom not in current:
                            current[atom] = self._at(leaves[atom], nest, indices)
                        values.append(current[atom])
                    rule = RULES[equation.name]
                    if rule.kind == "reduction":
                        variable = equation.outputs[0]
                        total = self.load(accumulators[variable], variable.dtype)
                        total = rule.emit.combine(self, variable.dtype, total, values[0], reorder=size >= 8)
                        self.store(accumulators[variable], total, variable.dtype)
                        continue
                    number = self._block_offset(contiguous_strides(shape), nest, indices)
                    out = rule.emit(Lane(self, equation, number), *values)
                    outs = out if isinstance(out, list | tuple) else [out]
                    for variable, value in zip(equation.outputs, outs, strict=True):
                        current[variable] = value
                        if variable in results:
                            self.store(self._pointer(results[variable], nest, indices), value, variable.dtype)
                        elif size == 1:
                            scalars[variable] = value
        for variable, target in results.items():
            frame.environment[variable] = target
        for variable, value in scalars.items():
            frame.environment[variable] = Scalar(variable.shape, variable.dtype, value)
        for variable, accumulator in accumulators.items():
            value = self.load(accumulator, variable.dtype)
            frame.environment[variable] = Scalar(variable.shape, variable.dtype, value)


def _broadcast(value: Value, shape: tuple[int, ...]) -> Value:
    """Return a value as an operand of a loop over ``shape``; axes of length one are repeated."""
    if isinstance(value, Scalar | Splat) or value.shape == shape:
        return value
    strides = tuple(0 if length == 1 else stride for length, stride in zip(value.shape, value.strides, strict=True))
    return dataclasses.replace(value, shape=shape, strides=strides)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8).reshape(array.size, -1)


def _plain(entry: Any, dtype: np.dtype[Any]) -> Any:
    return float(entry) if dtype.kind == "f" else int(entry)

# rules are named after their primitives
"""Rules of control flow. Scalars that a loop carries live in registers, arrays in buffers that are written in place."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.program import Atom, Equation, Program
from ergodica.samplers.lowering.rules import general, view
from ergodica.samplers.lowering.values import Scalar, Splat, Value, View, memory_type
from ergodica.samplers.scan_layout import scan_layout

__all__ = ["Slots", "carry_slots", "counted_loop"]


class Slots:
    """Where the values are kept that a loop carries or that branches return.

    Parameters
    ----------
    emitter
        The emitter.
    kinds
        Values or variables, of which shapes and dtypes count.
    """

    def __init__(self, emitter: Emitter, kinds: Sequence[Any]) -> None:
        self.emitter = emitter
        self.kinds = [(kind.shape, kind.dtype) for kind in kinds]
        self.places: list[Any] = [None] * len(kinds)

    def allocate(self) -> None:
        """Make room for those that have no place yet."""
        for number, (shape, dtype) in enumerate(self.kinds):
            if self.places[number] is not None:
                continue
            if _size(shape) == 1:
                self.places[number] = self.emitter.alloca(memory_type(dtype))
            else:
                self.places[number] = self.emitter.allocate(shape, dtype)

    def write(self, values: Sequence[Value | None]) -> None:
        """Store values; ``None`` leaves a place as it is. Values may read the places: all are read before any changes."""
        emitter = self.emitter
        roots = {place.root for place in self.places if isinstance(place, View)}
        pending: list[Value | None] = []
        for value, place in zip(values, self.places, strict=True):
            if isinstance(place, View) and isinstance(value, View) and value.root in roots:
                if value.root is place.root and value.pointer is place.pointer and value.strides == place.strides:
                    pending.append(None)
                    continue
                moved = emitter.allocate(value.shape, value.dtype)
                emitter.copy(value, moved)
                pending.append(moved)
            else:
                pending.append(value)
        for value, place, (shape, dtype) in zip(pending, self.places, self.kinds, strict=True):
            if value is None:
                continue
            if isinstance(place, View):
                emitter.copy(value, place)
            else:
                emitter.store(place, emitter.entry(value, [0] * len(shape)), dtype)

    def read(self) -> list[Value]:
        """Return what is stored."""
        out: list[Value] = []
        for place, (shape, dtype) in zip(self.places, self.kinds, strict=True):
            out.append(place if isinstance(place, View) else Scalar(shape, dtype, self.emitter.load(place, dtype)))
        return out


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _constants(values: Sequence[Value]) -> list[Value]:
    """Return values as arguments of an inner program, which may not overwrite them."""
    return [
        View(v.shape, v.dtype, v.strides, v.pointer, v.root, owned=False) if isinstance(v, View) else v for v in values
    ]


def carry_slots(emitter: Emitter, equation: Equation, atoms: Sequence[Atom], values: Sequence[Value]) -> Slots:
    """Return slots that hold the first values of what a loop carries; memory that nobody else reads is taken over."""
    slots = Slots(emitter, values)
    taken = set()
    for number, (atom, value) in enumerate(zip(atoms, values, strict=True)):
        if isinstance(value, View) and value.owned and value.size > 1 and value.root not in taken:
            place = emitter.writable(equation, atom, value)
            taken.add(place.root)
            slots.places[number] = place
    adopted = {place.pointer for place in slots.places if place is not None}
    slots.allocate()
    slots.write([
        None if isinstance(place, View) and place.pointer in adopted else value
        for place, value in zip(slots.places, values, strict=True)
    ])  # fmt: skip
    return slots


# --- cond and switch ----------------------------------------------------------------------------------------------------


@general("cond")
def cond(emitter: Emitter, equation: Equation, which: Value, *operands: Value) -> list[Value]:
    builder = emitter.builder
    branches: list[Program] = equation.params["branches"]
    inner = _constants(operands)
    if len(branches) == 1:
        return emitter.emit(branches[0], inner)
    number = emitter.entry(which, [])
    slots = Slots(emitter, equation.outputs)
    slots.allocate()
    blocks = [builder.append_basic_block(f"branch{k}") for k in range(len(branches))]
    after = builder.append_basic_block("joined")
    if which.dtype.kind == "b":
        builder.cbranch(number, blocks[1], blocks[0])
    else:
        # An index out of range picks the nearest branch.
        low = builder.icmp_signed("<=", number, ir.Constant(number.type, 0))
        if len(branches) == 2:
            builder.cbranch(low, blocks[0], blocks[1])
        else:
            switch = builder.switch(builder.select(low, ir.Constant(number.type, 0), number), blocks[-1])
            for k, block in enumerate(blocks[:-1]):
                switch.add_case(ir.Constant(number.type, k), block)
    for branch, block in zip(branches, blocks, strict=True):
        builder.position_at_end(block)
        with emitter.scope():
            slots.write(emitter.emit(branch, inner))
        builder.branch(after)
    builder.position_at_end(after)
    return slots.read()


# --- while ----------------------------------------------------------------------------------------------------------------


@general("while")
def while_(emitter: Emitter, equation: Equation, *operands: Value) -> list[Value]:
    builder, params = emitter.builder, equation.params
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    tests = _constants(operands[: split[0]])
    consts = _constants(operands[split[0] : split[1]])
    carried = operands[split[1] :]
    changes = _changes(body, len(consts))
    slots = carry_slots(
        emitter,
        equation,
        [atom for atom, change in zip(equation.inputs[split[1] :], changes, strict=True) if change],
        [value for value, change in zip(carried, changes, strict=True) if change],
    )
    fixed = _constants(carried)

    def everything() -> list[Value]:
        moving = iter(slots.read())
        return [next(moving) if change else value for value, change in zip(fixed, changes, strict=True)]

    head, turn = builder.append_basic_block("test"), builder.append_basic_block("while")
    after = builder.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    current = everything()
    with emitter.scope():
        (goes_on,) = emitter.emit(condition, [*tests, *_constants(current)])
        again = emitter.entry(goes_on, [0] * len(goes_on.shape))
        if emitter.oracle is not None:
            from ergodica.samplers.lowering.oracle import stopped

            again = builder.and_(again, builder.not_(stopped(emitter)))
        builder.cbranch(again, turn, after)
    builder.position_at_end(turn)
    with emitter.scope():
        results = emitter.emit(body, [*consts, *current])
        slots.write([value for value, change in zip(results, changes, strict=True) if change])
    builder.branch(head)
    builder.position_at_end(after)
    return everything()


def _changes(body: Program, num_consts: int) -> list[bool]:
    """Return which carried values a turn of a loop may change."""
    carried = body.inputs[num_consts : num_consts + len(body.outputs)]
    return [before is not after for before, after in zip(carried, body.outputs, strict=False)]


# --- scan -----------------------------------------------------------------------------------------------------------------


@general("scan")
def scan(emitter: Emitter, equation: Equation, *operands: Value) -> list[Value]:
    params = equation.params
    body: Program = params["jaxpr"]
    length, backwards = params["length"], params["reverse"]
    num_consts, num_carry = scan_layout(params)
    consts = _constants(operands[:num_consts])
    sequences = _constants(operands[num_consts + num_carry :])
    stacked = [emitter.allocate(out.shape, out.dtype) for out in equation.outputs[num_carry:]]

    def inputs(number: Any) -> list[Value]:
        return [_row(emitter, sequence, number) for sequence in sequences]

    def outputs(number: Any, values: Sequence[Value]) -> None:
        for value, target in zip(values, stacked, strict=True):
            emitter.copy(value, _row_view(emitter, target, number))

    slots = carry_slots(
        emitter,
        equation,
        equation.inputs[num_consts : num_consts + num_carry],
        operands[num_consts : num_consts + num_carry],
    )
    counted_loop(emitter, body, consts, slots, length, inputs, outputs, backwards=backwards)
    return [*slots.read(), *(emitter.from_view(target) for target in stacked)]


def counted_loop(
    emitter: Emitter,
    body: Program,
    consts: Sequence[Value],
    slots: Slots,
    length: Any,
    inputs: Callable[[Any], Sequence[Value]],
    outputs: Callable[[Any, Sequence[Value]], None],
    *,
    backwards: bool = False,
) -> None:
    """Write a loop whose body is a program.

    Parameters
    ----------
    emitter
        The emitter.
    body
        From constants, carry and inputs of a turn to carry and outputs of a turn.
    consts
        Values of the constants.
    slots
        Where the carry is.
    length
        Number of turns: an ``int``, or an LLVM value.
    inputs, outputs
        Called with the number of the turn: the inputs of a turn, and what to do with its outputs.
    backwards
        Count down.
    """
    builder = emitter.builder
    for turn in emitter.range(length, unrolled=1):
        number = builder.sub(emitter.index(length - 1), turn) if backwards else turn
        with emitter.scope():
            carry = slots.read()
            results = emitter.emit(body, [*consts, *carry, *inputs(number)])
            count = len(slots.kinds)
            outputs(number, results[count:])
            kept = [
                None if before is after else value
                for before, after, value in zip(
                    body.inputs[len(consts) : len(consts) + count], body.outputs[:count], results[:count], strict=True
                )
            ]
            slots.write(kept)


def _row_view(emitter: Emitter, array: View, number: Any) -> View:
    pointer = emitter.pointer_at(array, [number, *[0] * (len(array.shape) - 1)])
    return View(array.shape[1:], array.dtype, array.strides[1:], pointer, array.root, array.owned)


def _row(emitter: Emitter, array: Value, number: Any) -> Value:
    shape = array.shape[1:]
    if isinstance(array, Scalar | Splat):
        return (Scalar if _size(shape) == 1 else Splat)(shape, array.dtype, array.value)
    if not isinstance(array, View):
        if _size(shape) == 1:
            return Scalar(shape, array.dtype, emitter.entry(array, [number, *[0] * len(shape)]))
        array = emitter.view(array)
    return emitter.from_view(_row_view(emitter, array, number))


# --- the rest -------------------------------------------------------------------------------------------------------------


@view("platform_index")
def platform_index(emitter: Emitter, equation: Equation) -> Value:
    """Return which of several programs is the one for CPUs."""
    number = 0
    for position, names in enumerate(equation.params["platforms"]):
        if names is None or "cpu" in names:
            number = position
            break
    out = equation.outputs[0]
    return Scalar(out.shape, out.dtype, emitter.const(number, out.dtype))

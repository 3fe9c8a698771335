"""Which entries of a program's inputs can influence which entries of its outputs.

The program is a jaxpr. Its entries are followed one by one: through what moves them (reshapes, slices, gathers with known
indices) exactly, through what computes on them by rules that may name too many influences but never too few. So whatever
is found to be independent is independent, for all values of the inputs. What is known of an array is a sparse matrix:
its entries in rows, the followed inputs in columns.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ergodica.samplers.interop.input_influence import called
from ergodica.samplers.interop.primitive_kinds import (
    CUMULATIVE,
    ELEMENTWISE,
    MATRIX_ROUTINES,
    MOVES,
    REDUCTIONS,
    broadcast_entries,
)
from ergodica.samplers.scan_layout import scan_layout

__all__ = ["EVERYTHING", "Influence", "element_influence"]


class _Everything:
    """Every entry may depend on every element."""


EVERYTHING = _Everything()
Influence = Any
"""A ``scipy.sparse.csr_matrix`` of entries by elements; ``EVERYTHING``, or ``None`` for no influence."""

# Above so many non-zeros an influence counts as EVERYTHING, and longer scans are not unrolled.
MOST_NONZEROS = 4_000_000
MOST_EQUATIONS = 20_000

# --- which entries reach which entries ----------------------------------------------------------------------------------


class _Entry:
    """What is known of an array: what influences it, and, where nothing does, how to compute it."""

    def __init__(self, influence: Influence, value: Callable[[], Any] | None = None) -> None:
        self.influence = influence
        self._value = value

    def value(self) -> np.ndarray | None:
        """Return the value, or ``None`` if it is not known before the program runs."""
        if self.influence is not None or self._value is None:
            return None
        try:
            with jax.ensure_compile_time_eval():
                computed = self._value()
            out = None if computed is None else np.asarray(computed)
        except (jax.errors.JAXTypeError, TypeError, NotImplementedError):
            out = None  # taken for unknown: more influence than there is, never less
        self._value = (lambda: out) if out is not None else None
        return out


def element_influence(
    closed: ClosedJaxpr, elements: Sequence[np.ndarray | None], count: int, outputs: Sequence[int]
) -> list[Influence]:
    """Return which elements can influence which entries of the outputs.

    Parameters
    ----------
    closed
        The program.
    elements
        For each input the number of the element that each of its entries belongs to, or ``None`` for an input that is
        not followed.
    count
        Number of elements.
    outputs
        Which outputs are asked for.

    Returns
    -------
    list of Influence
        For each of these outputs, its entries in row-major order by elements.
    """
    entries = []
    for labels in elements:
        if labels is None:
            entries.append(_Entry(None))
            continue
        columns = np.ravel(labels)
        rows = np.arange(columns.size)
        entries.append(_Entry(_matrix(rows, columns, (columns.size, count))))
    return [entry.influence for entry in _Interpreter(count).run(closed, entries, outputs)]


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Influence:
    return scipy.sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)


def _itself(value: Any) -> Any:
    return value


def _empty(shape: tuple[int, int]) -> Influence:
    none = np.zeros(0, np.int64)
    return _matrix(none, none, shape)


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


class _Interpreter:
    def __init__(self, count: int) -> None:
        self.count = count

    def run(
        self, closed: ClosedJaxpr, arguments: Sequence[_Entry], outputs: Sequence[int] | None = None
    ) -> list[_Entry]:
        jaxpr = closed.jaxpr
        outvars = jaxpr.outvars if outputs is None else [jaxpr.outvars[index] for index in outputs]
        known: dict[Any, _Entry] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, const in zip(jaxpr.constvars, closed.consts, strict=True):
            known[variable] = _Entry(None, functools.partial(_itself, const))

        def read(variable: Any) -> _Entry:
            if isinstance(variable, Literal):
                return _Entry(None, lambda: variable.val)
            return known[variable]

        for equation in _needed(jaxpr, outvars):
            found = self._equation(equation, [read(variable) for variable in equation.invars])
            known.update(zip(equation.outvars, found, strict=True))
        return [read(variable) for variable in outvars]

    def _equation(self, equation: Any, given: list[_Entry]) -> list[_Entry]:
        body = called(equation)
        if body is not None:
            return self.run(body, given)
        if all(entry.influence is None for entry in given):
            return _deferred(equation, given)
        name, influences = equation.primitive.name, [entry.influence for entry in given]
        shapes = [variable.aval.shape for variable in equation.invars]
        out = equation.outvars[0].aval.shape
        if name in ELEMENTWISE:
            spread = [self._spread(m, shape, out) for m, shape in zip(influences, shapes, strict=True)]
            return [_Entry(self._union(spread))]
        if name in REDUCTIONS:
            return [_Entry(self._reduced(influences[0], shapes[0], equation.params["axes"]))]
        if name in MOVES and EVERYTHING not in influences:
            ids = np.arange(_size(shapes[0])).reshape(shapes[0])
            return [_Entry(self._rows(influences[0], MOVES[name](ids, equation.params)))]
        rule: Any = getattr(self, f"_{name}", None)
        if name in CUMULATIVE:
            rule = self._cumulative
        elif name in MATRIX_ROUTINES:
            rule = self._matrix_routine
        found = None if rule is None or EVERYTHING in influences else rule(equation, given, shapes, out)
        return self._mixed(equation, influences, shapes) if found is None else found

    # --- what rules are made of ---------------------------------------------------------------------------------------

    def _capped(self, matrix: Any) -> Influence:
        if matrix.nnz == 0:
            return None
        if matrix.nnz > MOST_NONZEROS:
            return EVERYTHING
        matrix.data[:] = 1
        return matrix

    def _union(self, influences: Sequence[Influence]) -> Influence:
        some = [influence for influence in influences if influence is not None]
        if any(influence is EVERYTHING for influence in some):
            return EVERYTHING
        if not some:
            return None
        return some[0] if len(some) == 1 else self._capped(sum(some[1:], some[0]))

    def _rows(self, influence: Influence, ids: np.ndarray) -> Influence:
        """Select rows; negative numbers give empty ones."""
        if influence is None or influence is EVERYTHING:
            return influence
        flat = np.ravel(ids)
        places = np.flatnonzero(flat >= 0)
        chosen = _matrix(places, flat[places], (flat.size, influence.shape[0]))
        return self._capped(chosen @ influence)

    def _reduced(self, influence: Influence, shape: Sequence[int], axes: Sequence[int]) -> Influence:
        """Collect what influences the entries along axes, which stay with length one."""
        if influence is None or influence is EVERYTHING:
            return influence
        left = [1 if axis in axes else size for axis, size in enumerate(shape)]
        targets = np.broadcast_to(np.arange(_size(left)).reshape(left), shape).ravel()
        total = _matrix(targets, np.arange(targets.size), (_size(left), targets.size))
        return self._capped(total @ influence)

    def _spread(self, influence: Influence, shape: Sequence[int], out: Sequence[int]) -> Influence:
        """Broadcast, as NumPy does."""
        if influence is None or influence is EVERYTHING or tuple(shape) == tuple(out):
            return influence
        return self._rows(influence, np.broadcast_to(np.arange(_size(shape)).reshape(shape), out))

    def _mixed(self, equation: Any, influences: Sequence[Influence], shapes: Any) -> list[_Entry]:
        """Let every entry of every output depend on all that influences any entry of any input."""
        total = self._union(
            [self._reduced(m, shape, range(len(shape))) for m, shape in zip(influences, shapes, strict=True)]
        )
        return [_Entry(self._spread(total, (), variable.aval.shape)) for variable in equation.outvars]

    # --- rules of primitives; None where the influences of all entries have to be mixed ----------------------------------

    def _concatenate(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        del out
        return self._stacked(given, shapes, lambda ids: np.concatenate(ids, equation.params["dimension"]))

    def _pad(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        del out
        config = equation.params["padding_config"]
        return self._stacked(given, shapes, lambda ids: np.asarray(lax.pad(ids[0], ids[1], config)))

    def _stacked(self, given: Any, shapes: Any, move: Callable[[list[np.ndarray]], np.ndarray]) -> list[_Entry]:
        """Move the entries of several arrays, numbered one after the other."""
        offsets = np.cumsum([0, *(_size(shape) for shape in shapes)])
        ids = [
            (offset + np.arange(_size(shape))).reshape(shape) for offset, shape in zip(offsets, shapes, strict=False)
        ]
        parts = [
            _empty((_size(shape), self.count)) if m.influence is None else m.influence
            for m, shape in zip(given, shapes, strict=True)
        ]
        with jax.ensure_compile_time_eval():
            moved = move(ids)
        return [_Entry(self._rows(scipy.sparse.vstack(parts, format="csr"), moved))]

    def _split(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        del out
        ids = np.arange(_size(shapes[0])).reshape(shapes[0])
        pieces = np.split(ids, np.cumsum(equation.params["sizes"])[:-1], equation.params["axis"])
        return [_Entry(self._rows(given[0].influence, piece)) for piece in pieces]

    def _dynamic_slice(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry] | None:
        return self._at_known_places(equation, given, shapes, out)

    def _gather(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry] | None:
        operand, indices = given
        if indices.influence is None and operand.influence is not None:
            found = self._at_known_places(equation, given, shapes, out)
            if found is not None:
                return found
        numbers = equation.params["dimension_numbers"]
        batch = [size for axis, size in enumerate(out) if axis not in numbers.offset_dims]
        aligned = [1 if axis in numbers.offset_dims else size for axis, size in enumerate(out)]
        place = np.broadcast_to(np.arange(_size(batch)).reshape(aligned), out)
        read = self._rows(self._reduced(indices.influence, shapes[1], (len(shapes[1]) - 1,)), place)
        # The entry that is read is not known, but it lies in the same batch.
        shared = tuple(numbers.operand_batching_dims)
        rest = [axis for axis in range(len(shapes[0])) if axis not in shared]
        table = self._reduced(operand.influence, shapes[0], rest)
        if table is not None:
            sizes = [shapes[0][axis] for axis in shared]
            where = [shapes[1][axis] for axis in numbers.start_indices_batching_dims]
            if sizes != where:
                return None
            ids = broadcast_entries(np.arange(_size(sizes)).reshape(sizes), batch, numbers.start_indices_batching_dims)
            table = self._rows(table, ids.reshape(aligned) + np.zeros(out, np.int64))
        return [_Entry(self._union([read, table]))]

    def _at_known_places(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry] | None:
        """Move the entries of the first operand as the known values of the others say."""
        del out
        if any(entry.influence is not None for entry in given[1:]):
            return None
        values = [entry.value() for entry in given[1:]]
        if any(value is None for value in values):
            return None
        ids = np.arange(_size(shapes[0]), dtype=np.int32).reshape(shapes[0])
        params = {**equation.params, **({"fill_value": -1} if "fill_value" in equation.params else {})}
        with jax.ensure_compile_time_eval():
            moved = np.asarray(
                equation.primitive.bind(jax.numpy.asarray(ids), *map(jax.numpy.asarray, values), **params)
            )
        return [_Entry(self._rows(given[0].influence, moved))]

    def _dot_general(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        contracted, batched = equation.params["dimension_numbers"]
        free = [
            [axis for axis in range(len(shape)) if axis not in summed and axis not in shared]
            for shape, summed, shared in zip(shapes, contracted, batched, strict=True)
        ]
        found = []
        for side in (0, 1):
            matrix = self._reduced(given[side].influence, shapes[side], contracted[side])
            if matrix is None or matrix is EVERYTHING:
                found.append(matrix)
                continue
            left = [1 if axis in contracted[side] else size for axis, size in enumerate(shapes[side])]
            ids = np.arange(_size(left)).reshape(left).transpose([*batched[side], *free[side], *contracted[side]])
            ids = ids.reshape(ids.shape[: len(batched[side]) + len(free[side])])
            lead, others = len(batched[side]), len(free[1 - side])
            if side == 0:
                ids = ids.reshape(ids.shape + (1,) * others)
            else:
                ids = ids.reshape(ids.shape[:lead] + (1,) * others + ids.shape[lead:])
            found.append(self._rows(matrix, np.broadcast_to(ids, out)))
        return [_Entry(self._union(found))]

    def _cumulative(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        axis = equation.params["axis"]
        left = [1 if place == axis else size for place, size in enumerate(shapes[0])]
        return [_Entry(self._spread(self._reduced(given[0].influence, shapes[0], (axis,)), left, out))]

    def _sort(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry]:
        del shapes
        axis = equation.params["dimension"]
        left = [1 if place == axis else size for place, size in enumerate(out)]
        total = self._union([self._reduced(m.influence, out, (axis,)) for m in given])
        return [_Entry(self._spread(total, left, out)) for _ in equation.outvars]

    def _matrix_routine(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry] | None:
        lead = out[:-2]
        if any(shape[:-2] != lead for shape in shapes) or len(equation.outvars) != 1:
            return None
        totals = [
            self._reduced(m.influence, shape, (len(lead), len(lead) + 1))
            for m, shape in zip(given, shapes, strict=True)
        ]
        return [_Entry(self._spread(self._union(totals), (*lead, 1, 1), out))]

    def _scan(self, equation: Any, given: Any, shapes: Any, out: Any) -> list[_Entry] | None:
        """Unroll a loop of moderate length."""
        del out
        params = equation.params
        body, length = params["jaxpr"], params["length"]
        if length * max(len(body.jaxpr.eqns), 1) > MOST_EQUATIONS:
            return None
        consts, carried = scan_layout(params)
        carry = list(given[consts : consts + carried])
        rows: list[list[_Entry]] = []
        for turn in reversed(range(length)) if params["reverse"] else range(length):
            taken = [
                self._taken(entry, shape, turn)
                for entry, shape in zip(given[consts + carried :], shapes[consts + carried :], strict=True)
            ]
            found = self.run(body, [*given[:consts], *carry, *taken])
            carry = found[:carried]
            rows.append(found[carried:])
        if params["reverse"]:
            rows.reverse()
        stacked = []
        for index, variable in enumerate(equation.outvars[carried:]):
            parts = [row[index].influence for row in rows]
            size = _size(variable.aval.shape[1:])
            if any(part is EVERYTHING for part in parts):
                stacked.append(_Entry(EVERYTHING))
            elif all(part is None for part in parts):
                stacked.append(_Entry(None))
            else:
                empty = _empty((size, self.count))
                filled = [empty if part is None else part for part in parts]
                stacked.append(_Entry(self._capped(scipy.sparse.vstack(filled, format="csr"))))
        return [*carry, *stacked]

    def _taken(self, entry: _Entry, shape: Sequence[int], turn: int) -> _Entry:
        """Return a row of an array that a loop goes through."""
        size = _size(shape[1:])
        if entry.influence is not None:
            return _Entry(self._rows(entry.influence, turn * size + np.arange(size)))

        def value() -> Any:
            whole = entry.value()
            return None if whole is None else whole[turn]

        return _Entry(None, value)


def _needed(jaxpr: Jaxpr, outputs: Sequence[Any]) -> list[Any]:
    """Return the equations that some outputs depend on."""
    wanted = {variable for variable in outputs if not isinstance(variable, Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(variable for variable in equation.invars if not isinstance(variable, Literal))
    return kept[::-1]


def _deferred(equation: Any, given: list[_Entry]) -> list[_Entry]:
    """Return outputs that nothing influences, to be computed when an index turns out to need them."""
    cache: list[Any] = []

    def compute(index: int) -> Any:
        if not cache:
            values = [entry.value() for entry in given]
            if any(value is None for value in values):
                return None
            out = equation.primitive.bind(*map(jax.numpy.asarray, values), **equation.params)
            cache.append(out if equation.primitive.multiple_results else [out])
        return cache[0][index]

    return [_Entry(None, functools.partial(compute, index)) for index in range(len(equation.outvars))]

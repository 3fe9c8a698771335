# rules are named after their primitives
"""Rules of products of arrays and of matrix factorisations."""

import math
from typing import Any

import numba
import numpy as np
from numba import types

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lane import convert
from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.rules import expand, general
from ergodica.samplers.lowering.values import Scalar, Splat, Value, View, memory_type

__all__: list[str] = []

BLAS_FROM = 1 << 15
"""Multiplications from which on a product of two matrices is left to BLAS."""

BLOCK = 4
"""Sums or rows that a loop over a product treats at once."""

# --- products -----------------------------------------------------------------------------------------------------------


@general("dot_general")
def dot_general(emitter: Emitter, equation: Equation, x: Value, y: Value) -> Value:
    """Sum products over the contracted axes: axes of the result are batch, free axes of ``x``, free axes of ``y``."""
    (x_gone, y_gone), (x_batch, y_batch) = equation.params["dimension_numbers"]
    out = equation.outputs[0]
    x, y = _cast(emitter, x, out.dtype), _cast(emitter, y, out.dtype)
    x_free = [axis for axis in range(len(x.shape)) if axis not in {*x_gone, *x_batch}]
    y_free = [axis for axis in range(len(y.shape)) if axis not in {*y_gone, *y_batch}]
    lengths = [x.shape[axis] for axis in x_gone]
    if not out.size:
        return emitter.allocate(out.shape, out.dtype)
    b, dtype = emitter.builder, out.dtype
    count = math.prod(lengths)
    rows, columns = (math.prod(v.shape[a] for a in free) for v, free in ((x, x_free), (y, y_free)))
    if dtype.kind == "f" and not x_batch and min(rows, columns, count) >= 8 and rows * columns * count >= BLAS_FROM:
        return _by_blas(emitter, x, y, (x_free, list(x_gone)), (list(y_gone), y_free), out)

    def product(at: list[Any], left: list[Any], right: list[Any], inner: list[Any]) -> Any:
        x_at, y_at = [0] * len(x.shape), [0] * len(y.shape)
        for axes, indices, place in (
            (x_batch, at, x_at), (x_free, left, x_at), (x_gone, inner, x_at),
            (y_batch, at, y_at), (y_free, right, y_at), (y_gone, inner, y_at),
        ):  # fmt: skip
            for axis, index in zip(axes, indices, strict=True):
                place[axis] = index
        first, second = emitter.entry(x, x_at), emitter.entry(y, y_at)
        if dtype.kind == "f":
            return b.fmul(first, second)
        return b.and_(first, second) if dtype.kind == "b" else b.mul(first, second)

    def plus(total: Any, value: Any, *, reorder: bool) -> Any:
        if dtype.kind == "f":
            return b.fadd(total, value, flags=("reassoc",) if reorder else ())
        return b.or_(total, value) if dtype.kind == "b" else b.add(total, value)

    batches = [x.shape[axis] for axis in x_batch]
    lefts, rights = [x.shape[axis] for axis in x_free], [y.shape[axis] for axis in y_free]
    zero = emitter.const(0, dtype)
    if out.size == 1:
        total = emitter.alloca(memory_type(dtype))
        emitter.store(total, zero, dtype)
        nothing: list[Any] = [emitter.index(0)]
        for inner in emitter.indices(lengths, unrolled=8 if count <= 8 else 0):
            value = product(nothing * len(batches), nothing * len(lefts), nothing * len(rights), inner)
            emitter.store(total, plus(emitter.load(total, dtype), value, reorder=count >= 8), dtype)
        return Scalar(out.shape, dtype, emitter.load(total, dtype))
    target = emitter.allocate(out.shape, dtype)
    if _rows_are_contiguous(x, x_free, x_gone) or _rows_are_contiguous(y, y_free, y_gone):
        # The contracted axes are outermost: add multiples of whole rows, several at once, which reads memory in order.
        emitter.copy(Splat(out.shape, dtype, zero), target)
        swap = _rows_are_contiguous(x, x_free, x_gone)
        for at in emitter.indices(batches):
            for outer in emitter.indices(lengths[:-1]):
                for block in emitter.blocks(lengths[-1], BLOCK):
                    for first in emitter.indices(rights if swap else lefts):
                        for second in emitter.indices(lefts if swap else rights):
                            left, right = (second, first) if swap else (first, second)
                            pointer = emitter.pointer_at(target, [*at, *left, *right])
                            value = emitter.load(pointer, dtype)
                            for inner in block:
                                value = plus(value, product(at, left, right, [*outer, inner]), reorder=False)
                            emitter.store(pointer, value, dtype)
        return target
    # The contracted axes are innermost: several sums at once.
    totals = [emitter.alloca(memory_type(dtype)) for _ in range(BLOCK)]
    by_left = bool(lefts) and (not rights or lefts[-1] >= rights[-1])
    for at in emitter.indices(batches):
        for outer in emitter.indices([*lefts[:-1], *rights] if by_left else [*lefts, *rights[:-1]]):
            for block in emitter.blocks((lefts if by_left else rights)[-1] if lefts or rights else 1, BLOCK):
                places: list[Any] = []
                for last in block if lefts or rights else [None]:
                    if last is None:
                        places.append(([], []))
                    elif by_left:
                        places.append(([*outer[: len(lefts) - 1], last], outer[len(lefts) - 1 :]))
                    else:
                        places.append((outer[: len(lefts)], [*outer[len(lefts) :], last]))
                for total, _ in zip(totals, places, strict=False):
                    emitter.store(total, zero, dtype)
                for inner in emitter.indices(lengths):
                    for total, (left, right) in zip(totals, places, strict=False):
                        value = product(at, left, right, inner)
                        emitter.store(total, plus(emitter.load(total, dtype), value, reorder=count >= 8), dtype)
                for total, (left, right) in zip(totals, places, strict=False):
                    emitter.store(emitter.pointer_at(target, [*at, *left, *right]), emitter.load(total, dtype), dtype)
    return target


def _cast(emitter: Emitter, x: Value, dtype: np.dtype[Any]) -> Value:
    if x.dtype == dtype:
        return x if isinstance(x, Scalar | Splat | View) else emitter.view(x)
    if isinstance(x, Scalar | Splat):
        return type(x)(x.shape, dtype, convert(emitter.builder, x.value, x.dtype, dtype))
    target = emitter.allocate(x.shape, dtype)
    for at in emitter.indices(x.shape):
        value = convert(emitter.builder, emitter.entry(x, at), x.dtype, dtype)
        emitter.store(emitter.pointer_at(target, at), value, dtype)
    return target


def _rows_are_contiguous(value: Value, free: list[int], gone: Any) -> bool:
    """Whether the last free axis is the contiguous one, and long enough for a loop of its own."""
    if not isinstance(value, View) or not free or not gone:
        return False
    last = free[-1]
    return value.strides[last] == 1 and value.shape[last] >= 4 and all(value.strides[axis] != 1 for axis in gone)


_DOUBLE, _SINGLE = types.CPointer(types.float64), types.CPointer(types.float32)


def _pointer_type(dtype: np.dtype[Any]) -> Any:
    return _DOUBLE if dtype.itemsize == 8 else _SINGLE


def matrix_product(x: Any, y: Any, out: Any, rows: int, inner: int, columns: int) -> int:
    """Multiply two C-contiguous matrices by BLAS."""
    np.dot(numba.carray(x, (rows, inner)), numba.carray(y, (inner, columns)), numba.carray(out, (rows, columns)))
    return 0


def _by_blas(emitter: Emitter, x: Value, y: Value, x_axes: Any, y_axes: Any, out: Any) -> Value:
    def as_matrix(value: Value, groups: Any) -> tuple[View, int, int]:
        order = [*groups[0], *groups[1]]
        view = emitter.view(value)
        moved = View(
            tuple(view.shape[axis] for axis in order), view.dtype, tuple(view.strides[axis] for axis in order),
            view.pointer, view.root, view.owned,
        )  # fmt: skip
        rows, columns = (math.prod(view.shape[axis] for axis in group) for group in groups)
        return emitter.contiguous(moved), rows, columns

    left, rows, inner = as_matrix(x, x_axes)
    right, _, columns = as_matrix(y, y_axes)
    target = emitter.allocate(out.shape, out.dtype)
    kind = _pointer_type(out.dtype)
    signature = types.int64(kind, kind, kind, types.int64, types.int64, types.int64)
    sizes = [emitter.index(size) for size in (rows, inner, columns)]
    emitter.helper(matrix_product, left.pointer, right.pointer, target.pointer, *sizes, signature=signature)
    return target


# --- factorisations: one matrix, row by row in memory, overwritten --------------------------------------------------------


def factorise(matrix: Any, size: int) -> int:
    """Overwrite a symmetric matrix by its lower Cholesky factor; by NaN if it is not positive definite."""
    a = numba.carray(matrix, (size, size))
    positive = True
    for i in range(size):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if j < i:
                a[i, j] = total / a[j, j]
            else:
                positive = positive and total > 0.0 and np.isfinite(total)
                a[i, i] = np.sqrt(total)
        for j in range(i + 1, size):
            a[i, j] = 0.0
    if not positive:
        for i in range(size):
            for k in range(i + 1):
                a[i, k] = np.nan
    return 0


def solve(matrix: Any, rhs: Any, size: int, columns: int, lower: bool, transposed: bool, unit: bool) -> int:
    """Overwrite ``rhs`` by the solution of a triangular system with several right-hand sides."""
    a = numba.carray(matrix, (size, size))
    x = numba.carray(rhs, (size, columns))
    forward = lower != transposed
    for step in range(size):
        i = step if forward else size - 1 - step
        if not transposed:
            first, last = (0, i) if forward else (i + 1, size)
            if columns == 1:
                total = x[i, 0]
                for k in range(first, last):
                    total -= a[i, k] * x[k, 0]
                x[i, 0] = total
            else:
                for k in range(first, last):
                    for j in range(columns):
                        x[i, j] -= a[i, k] * x[k, j]
        if not unit:
            for j in range(columns):
                x[i, j] /= a[i, i]
        if transposed:  # what is solved is taken out of the rest, along a row of the matrix
            first, last = (i + 1, size) if forward else (0, i)
            if columns == 1:
                solved = x[i, 0]
                for k in range(first, last):
                    x[k, 0] -= a[i, k] * solved
            else:
                for k in range(first, last):
                    for j in range(columns):
                        x[k, j] -= a[i, k] * x[i, j]
    return 0


def reflect(matrix: Any, taus: Any, rows: int, columns: int) -> int:
    """Overwrite a matrix by Householder's reflections and the triangular factor, in LAPACK's layout."""
    a = numba.carray(matrix, (rows, columns))
    tau = numba.carray(taus, (min(rows, columns),))
    for k in range(min(rows, columns)):
        squares = 0.0
        for i in range(k + 1, rows):
            squares += a[i, k] * a[i, k]
        if squares == 0.0:
            tau[k] = 0.0
            continue
        alpha = a[k, k]
        beta = -np.copysign(np.sqrt(alpha * alpha + squares), alpha)
        tau[k] = (beta - alpha) / beta
        for i in range(k + 1, rows):
            a[i, k] /= alpha - beta
        a[k, k] = beta
        for j in range(k + 1, columns):
            total = a[k, j]
            for i in range(k + 1, rows):
                total += a[i, k] * a[i, j]
            total *= tau[k]
            a[k, j] -= total
            for i in range(k + 1, rows):
                a[i, j] -= total * a[i, k]
    return 0


def accumulate(matrix: Any, taus: Any, out: Any, rows: int, columns: int, count: int) -> int:
    """Multiply Householder's reflections out: the first columns of the orthogonal matrix."""
    a, tau = numba.carray(matrix, (rows, columns)), numba.carray(taus, (count,))
    q = numba.carray(out, (rows, columns))
    for i in range(rows):
        for j in range(columns):
            q[i, j] = 1.0 if i == j else 0.0
    for k in range(count - 1, -1, -1):
        for j in range(columns):
            total = q[k, j]
            for i in range(k + 1, rows):
                total += a[i, k] * q[i, j]
            total *= tau[k]
            q[k, j] -= total
            for i in range(k + 1, rows):
                q[i, j] -= total * a[i, k]
    return 0


def eliminate(matrix: Any, pivots: Any, order: Any, rows: int, columns: int) -> int:
    """Overwrite a matrix by its LU factors, with partial pivoting."""
    a = numba.carray(matrix, (rows, columns))
    for i in range(rows):
        order[i] = i
    for k in range(min(rows, columns)):
        best = k
        for i in range(k + 1, rows):
            if abs(a[i, k]) > abs(a[best, k]):
                best = i
        pivots[k] = best
        if best != k:
            kept = order[k]
            order[k] = order[best]
            order[best] = kept
            for j in range(columns):
                value = a[k, j]
                a[k, j] = a[best, j]
                a[best, j] = value
        if a[k, k] != 0.0:
            for i in range(k + 1, rows):
                a[i, k] /= a[k, k]
                for j in range(k + 1, columns):
                    a[i, j] -= a[i, k] * a[k, j]
    return 0


def diagonalise(matrix: Any, vectors: Any, values: Any, size: int) -> int:
    """Write eigenvectors and ascending eigenvalues of a symmetric matrix by LAPACK; NaN if it has entries that are not."""
    a, v = numba.carray(matrix, (size, size)), numba.carray(vectors, (size, size))
    w = numba.carray(values, (size,))
    finite = True
    for i in range(size):
        for j in range(size):
            finite = finite and np.isfinite(a[i, j])
    if finite:
        own_values, own_vectors = np.linalg.eigh(a)
        for i in range(size):
            w[i] = own_values[i]
            for j in range(size):
                v[i, j] = own_vectors[i, j]
    else:
        for i in range(size):
            w[i] = np.nan
            for j in range(size):
                v[i, j] = np.nan
    return 0


def _matrices(emitter: Emitter, batch: tuple[int, ...], *views: View) -> Any:
    """Loop over a batch; yield a pointer to the matrix of each contiguous view."""
    for at in emitter.indices(batch):
        yield [emitter.pointer_at(view, [*at, *[0] * (len(view.shape) - len(at))]) for view in views]


def _own_copy(emitter: Emitter, equation: Equation, position: int, value: Value) -> View:
    if isinstance(value, View):
        return emitter.writable(equation, equation.inputs[position], value)
    return emitter.view(value)


def _check_real(equation: Equation, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        raise equation.refuse(f"matrices are factorised in float32 or float64; got {dtype}")


@general("cholesky", updates=True)
def cholesky(emitter: Emitter, equation: Equation, x: Value) -> Value:
    _check_real(equation, x.dtype)
    target = _own_copy(emitter, equation, 0, x)
    size = x.shape[-1]
    if not target.size:
        return target
    signature = types.int64(_pointer_type(x.dtype), types.int64)
    for (pointer,) in _matrices(emitter, x.shape[:-2], target):
        emitter.helper(factorise, pointer, emitter.index(size), signature=signature, reorder=True)
    return emitter.from_view(target)


@general("triangular_solve", updates=True)
def triangular_solve(emitter: Emitter, equation: Equation, a: Value, rhs: Value) -> Value:
    params, shape = equation.params, rhs.shape
    _check_real(equation, a.dtype)
    matrix = emitter.contiguous(a)
    transposed = bool(params["transpose_a"])
    out = equation.outputs[0]
    if not out.size:
        return emitter.allocate(out.shape, out.dtype)
    if params["left_side"]:
        target = _own_copy(emitter, equation, 1, rhs)
        columns = shape[-1]
    else:  # x a = b is a^T x^T = b^T
        view = emitter.view(rhs)
        order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        moved = View(
            tuple(shape[axis] for axis in order), view.dtype, tuple(view.strides[axis] for axis in order),
            view.pointer, view.root, view.owned,
        )  # fmt: skip
        target = emitter.allocate(moved.shape, view.dtype)
        emitter.copy(moved, target)
        transposed, columns = not transposed, shape[-2]
    kind = _pointer_type(a.dtype)
    signature = types.int64(kind, kind, types.int64, types.int64, types.boolean, types.boolean, types.boolean)
    size = emitter.index(a.shape[-1])
    flags = [emitter.const(flag, np.bool_) for flag in (params["lower"], transposed, params["unit_diagonal"])]
    for left, right in _matrices(emitter, shape[:-2], matrix, target):
        emitter.helper(solve, left, right, size, emitter.index(columns), *flags, signature=signature, reorder=True)
    if params["left_side"]:
        return emitter.from_view(target)
    strides = (*target.strides[:-2], target.strides[-1], target.strides[-2])
    return emitter.from_view(View(shape, target.dtype, strides, target.pointer, target.root, owned=True))


@general("geqrf", updates=True)
def geqrf(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    _check_real(equation, x.dtype)
    target = _own_copy(emitter, equation, 0, x)
    taus = emitter.allocate(equation.outputs[1].shape, x.dtype)
    if target.size:
        kind = _pointer_type(x.dtype)
        signature = types.int64(kind, kind, types.int64, types.int64)
        rows, columns = (emitter.index(length) for length in x.shape[-2:])
        for matrix, tau in _matrices(emitter, x.shape[:-2], target, taus):
            emitter.helper(reflect, matrix, tau, rows, columns, signature=signature, reorder=True)
    return [emitter.from_view(target), emitter.from_view(taus)]


@general("householder_product")
def householder_product(emitter: Emitter, equation: Equation, x: Value, taus: Value) -> Value:
    _check_real(equation, x.dtype)
    matrix, factors = emitter.contiguous(x), emitter.contiguous(taus)
    target = emitter.allocate(x.shape, x.dtype)
    if target.size:
        kind = _pointer_type(x.dtype)
        signature = types.int64(kind, kind, kind, types.int64, types.int64, types.int64)
        sizes = [emitter.index(length) for length in (*x.shape[-2:], taus.shape[-1])]
        for left, tau, out in _matrices(emitter, x.shape[:-2], matrix, factors, target):
            emitter.helper(accumulate, left, tau, out, *sizes, signature=signature, reorder=True)
    return emitter.from_view(target)


@expand("qr")
def qr(x: Any, **params: Any) -> Any:
    from jax._src.lax import linalg

    return linalg._qr_lowering(x, **params)


@general("eigh")
def eigh(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    _check_real(equation, x.dtype)
    if equation.params.get("subset_by_index") not in (None, (0, x.shape[-1])):
        raise equation.refuse("all eigenvalues are computed; slice the result")
    if not equation.params.get("lower", True):
        raise equation.refuse("the lower triangle is read; leave symmetrize_input as it is")
    matrix = emitter.contiguous(x)
    vectors, values = (emitter.allocate(out.shape, out.dtype) for out in equation.outputs)
    if matrix.size:
        kind = _pointer_type(x.dtype)
        signature = types.int64(kind, kind, kind, types.int64)
        for source, vector, value in _matrices(emitter, x.shape[:-2], matrix, vectors, values):
            emitter.helper(diagonalise, source, vector, value, emitter.index(x.shape[-1]), signature=signature)
    return [emitter.from_view(vectors), emitter.from_view(values)]


@general("lu", updates=True)
def lu(emitter: Emitter, equation: Equation, x: Value) -> list[Value]:
    _check_real(equation, x.dtype)
    target = _own_copy(emitter, equation, 0, x)
    pivots, order = (emitter.allocate(out.shape, out.dtype) for out in equation.outputs[1:])
    if target.size:
        kind, index = _pointer_type(x.dtype), types.CPointer(types.int32)
        signature = types.int64(kind, index, index, types.int64, types.int64)
        rows, columns = (emitter.index(length) for length in x.shape[-2:])
        for matrix, pivot, row in _matrices(emitter, x.shape[:-2], target, pivots, order):
            emitter.helper(eliminate, matrix, pivot, row, rows, columns, signature=signature, reorder=True)
    return [emitter.from_view(value) for value in (target, pivots, order)]


@expand("lu_pivots_to_permutation")
def lu_pivots_to_permutation(pivots: Any, *, permutation_size: int) -> Any:
    from jax._src.lax import linalg

    return linalg._generic_lu_pivots_to_permutation(pivots, permutation_size)

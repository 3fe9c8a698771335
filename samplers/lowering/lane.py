"""What the rule of an elementwise primitive works with: one entry, and the means to write instructions for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types

from ergodica.samplers.lowering.program import Equation
from ergodica.samplers.lowering.values import is_float, is_signed, llvm_type

if TYPE_CHECKING:
    from ergodica.samplers.lowering.emitter import Emitter

__all__ = ["FEW", "Lane"]

FEW = 4
"""Loops with at most so many turns are written out."""


class Lane:
    """One entry of an elementwise equation.

    Parameters
    ----------
    emitter
        The emitter of the function.
    equation
        The equation.
    number
        Number of the entry in row-major order, an LLVM value.
    """

    def __init__(self, emitter: "Emitter", equation: Equation, number: Any) -> None:
        self.emitter = emitter
        self.equation = equation
        self.number = number
        self.builder = emitter.builder
        self.params = equation.params

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the first operand, or of the result if there is none."""
        return self.equation.inputs[0].dtype if self.equation.inputs else self.equation.outputs[0].dtype

    @property
    def out(self) -> np.dtype[Any]:
        """Dtype of the first result."""
        return self.equation.outputs[0].dtype

    @property
    def in_loop(self) -> bool:
        """Whether the entry is one of many, so that code without branches and calls can be vectorised."""
        return self.equation.outputs[0].size > FEW

    @property
    def is_float(self) -> bool:
        """Whether the first operand holds floating-point numbers."""
        return is_float(self.dtype)

    @property
    def is_signed(self) -> bool:
        """Whether the first operand holds signed integers."""
        return is_signed(self.dtype)

    def const(self, value: Any, dtype: Any = None) -> Any:
        """Return a constant, by default of the dtype of the first operand."""
        return self.emitter.const(value, self.dtype if dtype is None else dtype)

    def intrinsic(self, name: str, *values: Any) -> Any:
        """Call an LLVM intrinsic that is overloaded on the type of its first operand, as ``llvm.sqrt``."""
        return call_intrinsic(self.builder, name, *values)

    def libm(self, name: str, *values: Any) -> Any:
        """Call a function of the C library, in the precision of the first operand."""
        return call_libm(self.builder, name, *values)

    def helper(self, function: Callable[..., Any], *values: Any) -> Any:
        """Call a function that Numba compiles, from float64 numbers to one, in the precision of the first operand."""
        if is_float(self.dtype) and self.dtype.itemsize == 8:
            return self.emitter.helper(function, *values, signature=_doubles(len(values)))
        wide = [self.builder.fpext(value, ir.DoubleType()) for value in values]
        result = self.emitter.helper(function, *wide, signature=_doubles(len(values)))
        return self.builder.fptrunc(result, ir.FloatType())

    def select(self, test: Any, yes: Any, no: Any) -> Any:
        """Return ``yes`` where the test holds, else ``no``."""
        return self.builder.select(test, yes, no)

    def branch(self, test: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
        """Return ``yes()`` or ``no()``, of which only one is computed."""
        builder = self.builder
        result = None
        with builder.if_else(test) as (then, otherwise):
            with then:
                first = yes()
                first_block = builder.block
            with otherwise:
                second = no()
                second_block = builder.block
        result = builder.phi(first.type)
        result.add_incoming(first, first_block)
        result.add_incoming(second, second_block)
        return result

    def polynomial(self, coefficients: Any, x: Any) -> Any:
        """Evaluate a polynomial, the highest coefficient first; products and sums may be fused, which is more accurate."""
        return polynomial(self.builder, coefficients, x)


def polynomial(builder: Any, coefficients: Any, x: Any) -> Any:
    """Evaluate a polynomial by Horner's scheme; a long one as two, of even and odd powers, that do not wait for another."""

    def plus(product: Any, term: Any) -> Any:
        return builder.fadd(product, term, flags=("contract",))

    def times(a: Any, c: Any) -> Any:
        return builder.fmul(a, c, flags=("contract",))

    def horner(terms: Any, at: Any) -> Any:
        total = ir.Constant(x.type, float(terms[0]))
        for term in terms[1:]:
            total = plus(times(total, at), ir.Constant(x.type, float(term)))
        return total

    if len(coefficients) < 8:
        return horner(coefficients, x)
    square = builder.fmul(x, x)
    even, odd = coefficients[::-1][::2][::-1], coefficients[::-1][1::2][::-1]
    return plus(times(horner(odd, square), x), horner(even, square))


def _doubles(count: int) -> Any:
    return types.float64(*[types.float64] * count)


_SUFFIX = {"float": "f32", "double": "f64"}


def call_intrinsic(builder: Any, name: str, *values: Any) -> Any:
    """Call an LLVM intrinsic that is overloaded on the type of its first operand."""
    kind = values[0].type
    full = f"{name}.{_SUFFIX.get(str(kind), str(kind))}"
    return builder.call(declare(builder.module, full, kind, [value.type for value in values]), values)


def call_libm(builder: Any, name: str, *values: Any) -> Any:
    """Call a function of the C library, in the precision of its operands."""
    kind = values[0].type
    full = f"{name}f" if str(kind) == "float" else name
    function = declare(builder.module, full, kind, [value.type for value in values])
    function.attributes.add("nounwind")
    return builder.call(function, values)


def declare(module: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Return a function of the module, declared if need be."""
    found = module.globals.get(name)
    return found if found is not None else ir.Function(module, ir.FunctionType(result, arguments), name)


def convert(builder: Any, value: Any, source: np.dtype[Any], target: np.dtype[Any]) -> Any:
    """Convert a scalar as XLA does: to integers by truncation, saturating, NaN to zero; to bool by ``!= 0``."""
    if source == target:
        return value
    kind = llvm_type(target)
    if target.kind == "b":
        if source.kind == "f":
            return builder.fcmp_unordered("!=", value, ir.Constant(value.type, 0.0))
        return builder.icmp_unsigned("!=", value, ir.Constant(value.type, 0))
    if source.kind == "f":
        if target.kind == "f":
            return builder.fpext(value, kind) if target.itemsize > source.itemsize else builder.fptrunc(value, kind)
        name = "llvm.fptosi.sat" if target.kind == "i" else "llvm.fptoui.sat"
        full = f"{name}.i{8 * target.itemsize}.{_SUFFIX[str(value.type)]}"
        return builder.call(declare(builder.module, full, kind, [value.type]), [value])
    if target.kind == "f":
        return builder.sitofp(value, kind) if source.kind == "i" else builder.uitofp(value, kind)
    bits = 1 if source.kind == "b" else 8 * source.itemsize
    if 8 * target.itemsize < bits:
        return builder.trunc(value, kind)
    if 8 * target.itemsize == bits:
        return value
    return builder.sext(value, kind) if source.kind == "i" else builder.zext(value, kind)

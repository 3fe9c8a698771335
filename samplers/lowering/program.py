"""Traced programs as flat lists of equations.

Nested calls (``jit``, custom derivatives, rematerialisation) are inlined, primitives that have an expansion are replaced
by it, and equations whose results nobody reads are dropped. Only control flow keeps inner programs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from ergodica.samplers.lowering.errors import CannotLower, place_of
from ergodica.samplers.lowering.rules import EXPANSIONS, REFUSED, RULES

__all__ = ["KEY", "Constant", "Equation", "Program", "Variable", "flatten", "trace"]

KEY = np.dtype("V8")
"""Dtype of typed keys: the two words of a threefry key in one 64-bit word, the first one high."""


class Variable:
    """A value of a program: its shape and dtype; compared by identity."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))


class Constant:
    """A value known when the program is lowered."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the value."""
        return self.value.dtype

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self.value.size)


Atom = Variable | Constant


@dataclasses.dataclass(eq=False)
class Equation:
    """One application of a primitive.

    Parameters
    ----------
    name
        Name of the primitive.
    params
        Its parameters; inner jaxprs have become programs.
    inputs, outputs
        Operands and results.
    place
        Where the user's code made the call.
    refusal
        Why it cannot be lowered; raised if somebody reads its results.
    """

    name: str
    params: dict[str, Any]
    inputs: list[Atom]
    outputs: list[Variable]
    place: str
    refusal: CannotLower | None = None

    def refuse(self, reason: str) -> CannotLower:
        """Return the error that says why this equation cannot be lowered."""
        return CannotLower(self.name, reason, self.place)


@dataclasses.dataclass(eq=False)
class Program:
    """A flat program.

    Parameters
    ----------
    inputs
        Its arguments.
    equations
        In the order in which they were traced.
    outputs
        Its results.
    """

    inputs: list[Variable]
    equations: list[Equation]
    outputs: list[Atom]


_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "composite": "jaxpr",
    "call": "call_jaxpr",
    "custom_vmap_call": "call",
}
_IDENTITIES = frozenset(
    {
        "copy",
        "copy_p",
        "optimization_barrier",
        "sharding_constraint",
        "name",
        "pvary",
        "stop_gradient",
        "reshard",
        "layout_constraint",
        "device_put",
        "random_clone",
    }
)
_INNER = {"cond": ("branches",), "while": ("cond_jaxpr", "body_jaxpr"), "scan": ("jaxpr",), "reduce": ("jaxpr",)}
_SMALL_DTYPES = frozenset("?bBhHiIlLqQfdV")


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[Program, Any]:
    """Trace a function.

    Parameters
    ----------
    function
        A traceable function.
    *arguments
        Pytrees of arrays or of ``jax.ShapeDtypeStruct``.

    Returns
    -------
    program, shapes
        The program, and the pytree of the shapes and dtypes of its results.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return flatten(closed), shapes


def kind(aval: Any, name: str = "argument", place: str = "") -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype of an abstract value, if the compiled host has such values."""
    dtype = getattr(aval, "dtype", None)
    if dtype is None:
        raise CannotLower(name, f"it works on {aval}, which is not an array", place)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if str(dtype) != "key<fry>":
            raise CannotLower(name, f"keys are threefry keys here; got {dtype}", place)
        return tuple(aval.shape), KEY
    dtype = np.dtype(dtype)
    if dtype.char not in _SMALL_DTYPES:
        raise CannotLower(
            name,
            f"it works in {dtype}; the compiled host has bool, integers, float32 and float64. Cast, or use XLA",
            place,
        )
    return tuple(int(length) for length in aval.shape), dtype


def constant(value: Any, name: str = "constant", place: str = "") -> Constant:
    """Return a concrete value as a constant."""
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        shape, _ = kind(value, name, place)
        words = np.asarray(jax.random.key_data(value)).astype(np.uint64)
        packed = (words[..., 0] << np.uint64(32)) | words[..., 1]
        return Constant(np.ascontiguousarray(packed).reshape(shape).view(KEY))
    array = np.asarray(value)
    kind(array, name, place)
    return Constant(np.ascontiguousarray(array).reshape(array.shape))


def flatten(closed: Any) -> Program:
    """Return a closed jaxpr as a flat program."""
    return _Flattening().program(closed)


class _Flattening:
    """Turns jaxprs into programs; a fresh environment for each."""

    def program(self, closed: Any) -> Program:
        jaxpr, consts = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
        inputs = [Variable(*kind(variable.aval)) for variable in jaxpr.invars]
        equations: list[Equation] = []
        outputs = self._inline(jaxpr, [constant(value) for value in consts], inputs, equations, "")
        equations, outputs = _without_repetitions(equations, outputs)
        equations = _alive(equations, outputs)
        for equation in equations:
            if equation.refusal is not None:
                raise equation.refusal
        return Program(inputs, equations, outputs)

    def _inline(
        self, jaxpr: Any, consts: Sequence[Atom], arguments: Sequence[Atom], equations: list[Equation], outer: str
    ) -> list[Atom]:
        environment: dict[Any, Atom] = dict(zip(jaxpr.constvars, consts, strict=True))
        environment.update(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> Atom:
            if isinstance(variable, Literal):
                dtype = getattr(variable.aval, "dtype", None)
                if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.extended):
                    return constant(variable.val)
                return constant(np.asarray(variable.val, dtype))
            return environment[variable]

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            place = place_of(equation) or outer
            operands = [read(variable) for variable in equation.invars]
            try:
                results = self._results(equation, name, operands, equations, place)
            except CannotLower as error:
                if equation.effects:  # it does something, even if nobody reads its results
                    raise
                unknown = [Variable(tuple(out.aval.shape), out.aval.dtype) for out in equation.outvars]
                equations.append(Equation(name, {}, operands, unknown, place, error))
                results = unknown
            environment.update(zip(equation.outvars, results, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _results(
        self, equation: Any, name: str, operands: list[Atom], equations: list[Equation], place: str
    ) -> Sequence[Atom]:
        params = equation.params
        if name in _INLINED and _INLINED[name] in params:
            inner = params[_INLINED[name]]
            consts = [constant(value) for value in getattr(inner, "consts", ())]
            return self._inline(getattr(inner, "jaxpr", inner), consts, operands, equations, place)
        if name == "custom_linear_solve":
            # Constants come first: of matvec, vecmat, solve and transpose_solve; the solution needs those of solve.
            lengths, inner = params["const_lengths"], params["jaxprs"].solve
            skipped, total = lengths.matvec + lengths.vecmat, sum(lengths)
            chosen = [*operands[skipped : skipped + lengths.solve], *operands[total:]]
            consts = [constant(value) for value in inner.consts]
            return self._inline(inner.jaxpr, consts, chosen, equations, place)
        if name == "while" and params["cond_jaxpr"].out_avals[0].shape:
            closed = _with_one_test(params, [variable.aval for variable in equation.invars])
            return self._inline(closed.jaxpr, [constant(value) for value in closed.consts], operands, equations, place)
        if name == "call_hi_primitive":  # from JAX 0.12 on: an operation that says how it is written in others
            closed = _expanded(params["_prim"], [variable.aval for variable in equation.invars])
            return self._inline(closed.jaxpr, [constant(value) for value in closed.consts], operands, equations, place)
        if name in _IDENTITIES:
            return operands
        if name in REFUSED:
            raise CannotLower(name, REFUSED[name], place)
        if name in EXPANSIONS:
            shapes = [variable.aval for variable in equation.invars]
            closed = EXPANSIONS[name](shapes, params)
            return self._inline(closed.jaxpr, [constant(value) for value in closed.consts], operands, equations, place)
        if name not in RULES:
            raise CannotLower(
                name,
                "the compiled host has no rule for it. Run on the XLA host, or add a rule: ergodica/samplers/lowering "
                "tells how",
                place,
            )
        params = dict(params)
        for key in _INNER.get(name, ()):
            inner = params[key]
            params[key] = (
                [self.program(one) for one in inner] if isinstance(inner, tuple | list) else self.program(inner)
            )
        outputs = [Variable(*kind(variable.aval, name, place)) for variable in equation.outvars]
        equations.append(Equation(name, params, operands, outputs, place))
        return outputs


def _expanded(operation: Any, avals: list[Any]) -> Any:
    def expanded(*operands: Any) -> Any:
        return jax.tree.leaves(operation.expand(*jax.tree.unflatten(operation.in_tree, operands)))

    return jax.make_jaxpr(expanded)(*avals)


def _with_one_test(params: dict[str, Any], avals: list[Any]) -> Any:
    """Return a ``while`` whose test has a batch as one that goes on while any test holds, and changes only those."""
    condition, body = (jax.extend.core.jaxpr_as_fun(params[name]) for name in ("cond_jaxpr", "body_jaxpr"))
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]

    def loop(*operands: Any) -> Any:
        tests, consts, carry = operands[:first], operands[first:second], operands[second:]

        def advance(carry: Any) -> Any:
            (goes_on,) = condition(*tests, *carry)

            def pick(new: Any, old: Any) -> Any:
                spread = jax.lax.broadcast_in_dim(goes_on, new.shape, tuple(range(goes_on.ndim)))
                return jax.lax.select_n(spread, old, new)

            return [pick(new, old) for new, old in zip(body(*consts, *carry), carry, strict=True)]

        return jax.lax.while_loop(lambda carry: jnp.any(condition(*tests, *carry)[0]), advance, list(carry))

    return jax.make_jaxpr(loop)(*avals)


def _without_repetitions(equations: list[Equation], outputs: list[Atom]) -> tuple[list[Equation], list[Atom]]:
    """Return the program without equations that repeat an earlier one: traced gradients are full of them."""
    known: dict[Any, Equation] = {}
    renamed: dict[Atom, Atom] = {}
    kept = []
    for equation in equations:
        equation.inputs = [renamed.get(atom, atom) for atom in equation.inputs]
        try:
            out = equation.outputs[0]
            params = tuple(sorted(equation.params.items()))
            key = (equation.name, params, tuple(map(_identity, equation.inputs)), out.dtype, out.shape)
            first = known.setdefault(key, equation)
        except TypeError:  # a parameter that has no hash, such as the programs of a conditional
            first = equation
        if first is equation:
            kept.append(equation)
        else:
            renamed.update(zip(equation.outputs, first.outputs, strict=True))
    return kept, [renamed.get(atom, atom) for atom in outputs]


def _identity(atom: Atom) -> Any:
    if isinstance(atom, Constant) and atom.value.nbytes <= 64:
        return atom.shape, atom.dtype, atom.value.tobytes()
    return atom


def _alive(equations: Iterable[Equation], outputs: Iterable[Atom]) -> list[Equation]:
    """Return the equations whose results are read."""
    needed = {atom for atom in outputs if isinstance(atom, Variable)}
    kept = []
    for equation in reversed(list(equations)):
        if any(variable in needed for variable in equation.outputs):
            kept.append(equation)
            needed.update(atom for atom in equation.inputs if isinstance(atom, Variable))
    return kept[::-1]

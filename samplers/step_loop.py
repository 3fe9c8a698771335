"""The loop inside a traced step, taken apart: what comes before it, a turn of it, and what comes after."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Bool, PRNGKeyArray

from ergodica.samplers.chunks import one_step

__all__ = ["NoLoopError", "StepLoop", "find_loop"]

_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"}

Values = list[Array]


class NoLoopError(ValueError):
    """The step of a kernel has no loop whose turns chains could take by themselves."""


class StepLoop(NamedTuple):
    """The parts of a step, each a function on one chain.

    A step is ``begin``; then, as long as it ``goes_on``: ``enter``, one ``turn`` after another as long as ``turns_on``, and
    ``leave``; and ``end``. A step whose loop has no loop inside is entered once, and its turns are those of the loop.

    Parameters
    ----------
    begin
        ``begin(key, state) -> kept, outer``: what is needed until the end of the step, and what the loop carries.
    goes_on
        ``goes_on(kept, outer) -> bool``.
    enter
        ``enter(kept, outer) -> kept_inside, inner``: the same for the loop inside.
    turns_on
        ``turns_on(kept, outer, kept_inside, inner) -> bool``.
    turn
        ``turn(kept, outer, kept_inside, inner) -> inner``.
    leave
        ``leave(kept, outer, kept_inside, inner) -> outer``.
    end
        ``end(kept, outer) -> state, info``.
    """

    begin: Callable[[PRNGKeyArray, Any], tuple[Values, Values]]
    goes_on: Callable[[Values, Values], Bool[Array, ""]]
    enter: Callable[[Values, Values], tuple[Values, Values]]
    turns_on: Callable[[Values, Values, Values, Values], Bool[Array, ""]]
    turn: Callable[[Values, Values, Values, Values], Values]
    leave: Callable[[Values, Values, Values, Values], Values]
    end: Callable[[Values, Values], tuple[Any, Any]]


def find_loop(kernel: Any, key: Any, state: Any) -> StepLoop:
    """Take the step of a kernel apart at its largest loop.

    Parameters
    ----------
    kernel
        The kernel, with its target. What the step computes from it alone is computed here, once.
    key, state
        Shape and dtype of the key and the state of one chain.

    Raises
    ------
    NoLoopError
        If the step has no ``while_loop``, or only within a ``scan`` or a ``cond``.
    """
    leaves, structure = jax.tree.flatten(kernel)
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[no-untyped-call]

    def step(leaves: list[Any], key: Any, state: Any) -> Any:
        return one_step(jax.tree.unflatten(structure, leaves), key, state)

    closed, shape = jax.make_jaxpr(step, return_shape=True)(shapes, key, state)
    program, out = _Program.of(closed), jax.tree.structure(shape)
    count = len(leaves)
    outer = _split(program, dict(zip(program.inputs[:count], leaves, strict=True)), program.inputs[count:], stored=True)
    if outer is None:
        raise NoLoopError(
            f"the step of {type(kernel).__name__} has no while_loop of its own, whose turns chains could take at their own "
            "pace: leave interleave out"
        )
    inner = outer.inside()

    def begin(key: PRNGKeyArray, state: Any) -> tuple[Values, Values]:
        return outer.before([key, *jax.tree.leaves(state)])

    def goes_on(kept: Values, carry: Values) -> Bool[Array, ""]:
        return outer.test([], kept, carry)

    def end(kept: Values, carry: Values) -> tuple[Any, Any]:
        state, info = jax.tree.unflatten(out, outer.after([], kept, carry))
        return state, info

    if inner is None:
        return StepLoop(
            begin=begin,
            goes_on=goes_on,
            enter=lambda _kept, carry: ([], carry),
            turns_on=lambda kept, _carry, _inside, now: outer.test([], kept, now),
            turn=lambda kept, _carry, _inside, now: outer.turn([], kept, now),
            leave=lambda _kept, _carry, _inside, now: now,
            end=end,
        )

    def given(kept: Values, carry: Values) -> Values:
        return [*outer.lane_constants([], kept), *carry]

    return StepLoop(
        begin=begin,
        goes_on=goes_on,
        enter=lambda kept, carry: inner.before(given(kept, carry)),
        turns_on=lambda kept, carry, inside, now: inner.test(given(kept, carry), inside, now),
        turn=lambda kept, carry, inside, now: inner.turn(given(kept, carry), inside, now),
        leave=lambda kept, carry, inside, now: inner.after(given(kept, carry), inside, now),
        end=end,
    )


class _Variable:
    """A value of a program, compared by identity."""

    __slots__ = ()


Environment = dict[_Variable, Any]


@dataclasses.dataclass(eq=False)
class _Constant:
    value: Any


@dataclasses.dataclass(eq=False)
class _Equation:
    primitive: Any
    params: dict[str, Any]
    inputs: list[Any]
    outputs: list[_Variable]

    @property
    def is_loop(self) -> bool:
        """Whether it is a loop with a single test."""
        return self.primitive.name == "while" and self.params["cond_jaxpr"].out_avals[0].shape == ()

    @property
    def weight(self) -> int:
        """Number of equations in it."""
        return 1 + sum(_weight(part) for part in self.params.values())


@dataclasses.dataclass(eq=False)
class _Program:
    """A program without calls at its top level."""

    inputs: list[_Variable]
    equations: list[_Equation]
    outputs: list[Any]

    @classmethod
    def of(cls, closed: Any) -> "_Program":
        jaxpr = getattr(closed, "jaxpr", closed)
        inputs = [_Variable() for _ in jaxpr.invars]
        equations: list[_Equation] = []
        outputs = _inline(closed, inputs, equations)
        return cls(inputs, equations, outputs)

    def __call__(self, values: Sequence[Any]) -> Values:
        environment = dict(zip(self.inputs, values, strict=True))
        _evaluate(self.equations, environment)
        return [_read(atom, environment) for atom in self.outputs]


def _inline(closed: Any, arguments: Sequence[Any], equations: list[_Equation]) -> list[Any]:
    jaxpr, consts = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
    environment: dict[Any, Any] = dict(zip(jaxpr.constvars, map(_Constant, consts), strict=True))
    environment.update(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        if not isinstance(variable, Literal):
            return environment[variable]
        aval: Any = variable.aval
        dtype = aval.dtype
        is_array = not jnp.issubdtype(dtype, jax.dtypes.extended)
        return _Constant(np.asarray(variable.val, dtype) if is_array else variable.val)

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        name = equation.primitive.name
        if name in _INLINED and _INLINED[name] in equation.params:
            results = _inline(equation.params[_INLINED[name]], inputs, equations)
        else:
            results = [_Variable() for _ in equation.outvars]
            equations.append(_Equation(equation.primitive, equation.params, inputs, results))
        environment.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _weight(part: Any) -> int:
    if isinstance(part, tuple | list):
        return sum(map(_weight, part))
    jaxpr = getattr(part, "jaxpr", part)
    equations = getattr(jaxpr, "eqns", None)
    if equations is None:
        return 0
    return sum(1 + sum(map(_weight, equation.params.values())) for equation in equations)


def _read(atom: Any, environment: dict[_Variable, Any]) -> Any:
    return atom.value if isinstance(atom, _Constant) else environment[atom]


def _evaluate(equations: Iterable[_Equation], environment: dict[_Variable, Any]) -> None:
    for equation in equations:
        params = equation.primitive.get_bind_params(equation.params)
        values = [_read(atom, environment) for atom in equation.inputs]
        results = equation.primitive.bind(*values, **params)
        if not equation.primitive.multiple_results:
            results = [results]
        environment.update(zip(equation.outputs, results, strict=True))


def _variables(atoms: Iterable[Any]) -> Iterator[_Variable]:
    return (atom for atom in atoms if isinstance(atom, _Variable))


class _Split:
    """A program around one of its loops.

    Parameters
    ----------
    program
        The program.
    loop
        The equation of the loop.
    shared
        Values of variables that are the same for all chains.
    inputs
        The inputs that are not.
    stored
        Whether inputs are kept with what is computed before the loop, or given again each time.
    """

    def __init__(
        self, program: _Program, loop: _Equation, shared: Environment, inputs: Sequence[_Variable], *, stored: bool
    ) -> None:
        self._program, self._loop, self._shared, self._inputs = program, loop, shared, list(inputs)
        params = loop.params
        self._condition, self._body = _Program.of(params["cond_jaxpr"]), _Program.of(params["body_jaxpr"])
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        self._tests, self._constants = loop.inputs[:first], loop.inputs[first:second]
        self._start = loop.inputs[second:]
        own = [equation for equation in program.equations if not all(out in shared for out in equation.outputs)]
        needed = set(_variables(loop.inputs))
        before = []
        for equation in reversed(own[: own.index(loop)]):
            if not needed.isdisjoint(equation.outputs):
                before.append(equation)
                needed.update(_variables(equation.inputs))
        self._before = before[::-1]
        self._after = [equation for equation in own if equation is not loop and equation not in before]
        used = set(_variables([*self._tests, *self._constants, *program.outputs]))
        used.update(variable for equation in self._after for variable in _variables(equation.inputs))
        made = [variable for equation in self._before for variable in equation.outputs]
        self._kept = [variable for variable in [*(self._inputs if stored else ()), *made] if variable in used]

    def inside(self) -> "_Split | None":
        """Split the body of the loop at a loop of its own, if that makes up most of it."""
        body, constants = self._body, self._body.inputs[: len(self._constants)]
        shared, inputs = {}, []
        for variable, atom in zip(constants, self._constants, strict=True):
            if self._is_shared(atom):
                shared[variable] = _read(atom, self._shared)
            else:
                inputs.append(variable)
        return _split(body, shared, [*inputs, *body.inputs[len(constants) :]], stored=False, share=0.5)

    def _is_shared(self, atom: Any) -> bool:
        return isinstance(atom, _Constant) or atom in self._shared

    def _environment(self, given: Values, kept: Values) -> Environment:
        environment = dict(self._shared)
        if given:
            environment.update(zip(self._inputs, given, strict=True))
        environment.update(zip(self._kept, kept, strict=True))
        return environment

    def before(self, given: Values) -> tuple[Values, Values]:
        """Return what is kept, and what the loop begins with."""
        environment = {**self._shared, **dict(zip(self._inputs, given, strict=True))}
        _evaluate(self._before, environment)
        return [environment[variable] for variable in self._kept], [_read(atom, environment) for atom in self._start]

    def lane_constants(self, given: Values, kept: Values) -> Values:
        """Return the constants of the loop's body that differ between chains."""
        environment = self._environment(given, kept)
        return [environment[atom] for atom in self._constants if not self._is_shared(atom)]

    def test(self, given: Values, kept: Values, carry: Values) -> Bool[Array, ""]:
        """Return whether the loop goes on."""
        environment = self._environment(given, kept)
        return self._condition([*(_read(atom, environment) for atom in self._tests), *carry])[0]

    def turn(self, given: Values, kept: Values, carry: Values) -> Values:
        """Return what the loop carries after another turn."""
        environment = self._environment(given, kept)
        return self._body([*(_read(atom, environment) for atom in self._constants), *carry])

    def after(self, given: Values, kept: Values, carry: Values) -> Values:
        """Return the results of the program, given what the loop has ended with."""
        environment = self._environment(given, kept)
        environment.update(zip(self._loop.outputs, carry, strict=True))
        _evaluate(self._after, environment)
        return [_read(atom, environment) for atom in self._program.outputs]


def _split(
    program: _Program, shared: Environment, inputs: Sequence[_Variable], *, stored: bool, share: float = 0.0
) -> _Split | None:
    """Split a program at its largest loop, if that makes up at least a share of it."""
    own = set(inputs)
    shared = dict(shared)
    for equation in program.equations:
        if own.isdisjoint(_variables(equation.inputs)):
            _evaluate([equation], shared)
        else:
            own.update(equation.outputs)
    loops = [equation for equation in program.equations if equation.is_loop and not own.isdisjoint(equation.outputs)]
    largest = max(loops, key=lambda equation: equation.weight, default=None)
    if largest is None or largest.weight < share * sum(equation.weight for equation in program.equations):
        return None
    return _Split(program, largest, shared, inputs, stored=stored)

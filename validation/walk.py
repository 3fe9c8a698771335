"""Walk over all outcomes of a traced program, all paths at once.

The program is a jaxpr in which choice points are visible. It is evaluated once, on arrays that have an axis of paths:
at a choice every path is replaced by one path per possible outcome, in loops and conditionals the paths are sorted by
where they go next. Nothing is run twice, and one NumPy call serves every path that is alive.

Keys are followed symbolically: a key is a 64-bit name, ``split`` and ``fold_in`` derive new names, and a key that two
draws of the same path consume is reported, since then the draws are not independent and the law would be wrong.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from ergodica.validation.choice import TAIL, EnumerationError, choice_p
from ergodica.validation.numpy_rules import RULES

Value = np.ndarray
"""An array with a leading axis of paths; its length is one where all paths agree."""


class TooManyPathsError(EnumerationError):
    """The program has more paths than the caller allowed."""


def is_key(aval: Any) -> bool:
    """Whether an abstract value is a typed key."""
    return bool(jnp.issubdtype(aval.dtype, jax.dtypes.prng_key))


# --- symbolic keys: names that never collide in practice ------------------------------------------------------------


def _mix(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _derive(name: np.ndarray, number: np.ndarray, salt: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return _mix(_mix(name + np.uint64(salt)) + _mix(number.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))


def name_of_key(key_data: np.ndarray) -> np.ndarray:
    """Return the symbolic names of concrete keys.

    Parameters
    ----------
    key_data
        Words of the keys on the last axis.
    """
    words = np.asarray(key_data, dtype=np.uint64)
    name = np.zeros(words.shape[:-1], dtype=np.uint64)
    for index in range(words.shape[-1]):
        name = _derive(name, words[..., index], salt=index + 1)
    return name


def _random_split(keys: np.ndarray, *, shape: tuple[int, ...], **params: Any) -> np.ndarray:
    del params
    index = np.arange(int(np.prod(shape)), dtype=np.uint64).reshape(shape)
    return _derive(keys.reshape(*keys.shape, *(1,) * len(shape)), index, salt=101)


def _random_fold_in(keys: np.ndarray, data: np.ndarray, **params: Any) -> np.ndarray:
    del params
    return _derive(keys, data, salt=202)


def _random_wrap(words: np.ndarray, **params: Any) -> np.ndarray:
    del params
    return name_of_key(words)


def _random_seed(seed: np.ndarray, **params: Any) -> np.ndarray:
    del params
    return _derive(np.zeros(seed.shape, np.uint64), seed, salt=303)


_KEY_RULES: dict[str, Callable[..., np.ndarray]] = {
    "random_split": _random_split,
    "random_fold_in": _random_fold_in,
    "random_wrap": _random_wrap,
    "random_seed": _random_seed,
}

_REFUSED = {
    "random_bits": "jax.random was called directly; draw through ergodica.samplers.random, so that the choice is visible",
    "random_gamma": "a gamma variate was drawn, which has infinitely many values",
    "random_unwrap": "the words of a key were read, as compiled cores do; enumerate the kernel's reference() instead",
    "threefry2x32": "random bits were generated from the words of a key; draw through ergodica.samplers.random",
    "ffi_call": "a compiled core was called, whose choices are not visible; enumerate the kernel's reference() instead",
    "pure_callback": "a host callback was called, whose choices are not visible",
    "io_callback": "a host callback was called, whose choices are not visible",
}


def _where(equation: Any) -> str:
    """Say where the user's code made a call, as far as JAX tells."""
    try:
        from jax._src import source_info_util

        frames = list(source_info_util.user_frames(equation.source_info.traceback))
    except Exception:  # the location is a courtesy and rests on an interface that JAX may change
        return ""
    inner = ("samplers/random.py", "validation/choice.py", "validation/enumeration.py")
    for frame in frames:
        if not frame.file_name.endswith(inner):
            return f" at {frame.file_name}:{frame.start_line} ({frame.function_name})"
    return ""


# --- evaluation of equations without a rule -------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _compiled(primitive: Any, params: tuple[tuple[str, Any], ...], batched: tuple[bool, ...]) -> Callable[..., Any]:
    def call(*operands: Any) -> Any:
        return primitive.bind(*operands, **dict(params))

    axes = tuple(0 if flag else None for flag in batched)
    return jax.jit(jax.vmap(call, in_axes=axes) if any(batched) else call)


def _by_jax(equation: Any, operands: list[Value]) -> list[Value]:
    """Evaluate an equation by JAX, paths padded to a power of two so that few shapes are compiled."""
    rows = max((op.shape[0] for op in operands), default=1)
    batched = tuple(op.shape[0] > 1 for op in operands)
    padded = 1 << (rows - 1).bit_length()
    inputs = [
        np.concatenate([op, np.broadcast_to(op[:1], (padded - rows, *op.shape[1:]))]) if flag else op[0]
        for op, flag in zip(operands, batched, strict=True)
    ]
    try:
        function = _compiled(equation.primitive, tuple(sorted(equation.params.items())), batched)
    except TypeError:  # a parameter that cannot be hashed

        def function(*arrays: Any) -> Any:
            call = functools.partial(equation.primitive.bind, **equation.params)
            axes = tuple(0 if flag else None for flag in batched)
            return (jax.vmap(call, in_axes=axes) if any(batched) else call)(*arrays)

    results = function(*inputs)
    if not equation.primitive.multiple_results:
        results = [results]
    return [np.asarray(out)[:rows] if any(batched) else np.asarray(out)[None] for out in results]


# --- the walk -------------------------------------------------------------------------------------------------------


class Walk:
    """The state of a walk: for each path its probability, where it came from, and the keys it consumed.

    Parameters
    ----------
    rows
        Number of paths at the start; each begins with probability one.
    max_paths
        Most paths that may be alive at once.
    min_probability
        Paths less probable than this are cut off, and their mass is added to ``truncated``.
    max_iterations
        Most iterations of one ``while`` loop.
    """

    def __init__(self, rows: int, *, max_paths: int, min_probability: float, max_iterations: int) -> None:
        self.probability = np.ones(rows)
        self.origin = np.arange(rows)
        self.consumed = np.zeros((rows, 0), np.uint64)
        self.truncated = np.zeros(rows)
        self.max_paths = max_paths
        self.min_probability = min_probability
        self.max_iterations = max_iterations
        self.location = ""

    @property
    def rows(self) -> int:
        """Number of paths that are alive."""
        return len(self.probability)

    def take(self, index: np.ndarray) -> None:
        """Keep the paths ``index``, in that order."""
        self.probability = self.probability[index]
        self.origin = self.origin[index]
        self.consumed = self.consumed[index]

    def where(self, equation: Any) -> str:
        """Say where the user's code made this call, or the call around it."""
        return _where(equation) or self.location

    def _subset(self, index: np.ndarray) -> "Walk":
        part = Walk.__new__(Walk)
        part.__dict__.update(self.__dict__)
        part.take(index)
        part.truncated = np.zeros_like(self.truncated)
        return part

    def _adopt(self, parts: Sequence["Walk"]) -> None:
        width = max(part.consumed.shape[1] for part in parts)
        self.probability = np.concatenate([part.probability for part in parts])
        self.origin = np.concatenate([part.origin for part in parts])
        self.consumed = np.concatenate(
            [np.pad(part.consumed, ((0, 0), (0, width - part.consumed.shape[1]))) for part in parts]
        )
        self.truncated = self.truncated + sum(part.truncated for part in parts)

    def evaluate(
        self, jaxpr: Any, constants: Sequence[Value], arguments: Sequence[Value]
    ) -> tuple[list[Value], np.ndarray]:
        """Evaluate a jaxpr on all paths.

        Parameters
        ----------
        jaxpr
            An open jaxpr.
        constants, arguments
            Values of its constant and input variables.

        Returns
        -------
        outputs
            Values of its outputs, for the paths alive at the end.
        parent
            For each path alive at the end, its index among the paths alive at the beginning.
        """
        environment: dict[Any, Value] = {}
        for variable, value in itertools.chain(
            zip(jaxpr.constvars, constants, strict=True), zip(jaxpr.invars, arguments, strict=True)
        ):
            environment[variable] = value
        last_use: dict[Any, int] = {}
        for index, equation in enumerate(jaxpr.eqns):
            for variable in equation.invars:
                if not isinstance(variable, Literal):
                    last_use[variable] = index
        kept = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}

        def read(variable: Any) -> Value:
            if isinstance(variable, Literal):
                return np.asarray(variable.val, getattr(variable.aval, "dtype", None))[None]
            return environment[variable]

        parent = np.arange(self.rows)
        for index, equation in enumerate(jaxpr.eqns):
            operands = [read(variable) for variable in equation.invars]
            for variable in dict.fromkeys(v for v in equation.invars if not isinstance(v, Literal)):
                if last_use[variable] == index and variable not in kept:
                    del environment[variable]
            outputs, moved = self._equation(equation, operands)
            if moved is not None:
                parent = parent[moved]
                for variable, value in environment.items():
                    if value.shape[0] > 1:
                        environment[variable] = value[moved]
            for variable, value in zip(equation.outvars, outputs, strict=True):
                if variable in last_use or variable in kept:
                    environment[variable] = value
        return [read(variable) for variable in jaxpr.outvars], parent

    def _equation(self, equation: Any, operands: list[Value]) -> tuple[list[Value], np.ndarray | None]:
        """Evaluate one equation; the second result says how paths moved, ``None`` if they did not."""
        name = equation.primitive.name
        params = equation.params
        if equation.primitive is choice_p:
            return self._choose(equation, operands)
        if name == "cond":
            return self._cond(params, operands)
        if name == "while":
            return self._while(params, operands)
        if name == "scan":
            return self._scan(params, operands)
        if name in _KEY_RULES:
            return [_KEY_RULES[name](*operands, **params)], None
        if name in _REFUSED:
            raise EnumerationError(f"the law cannot be enumerated{self.where(equation)}: {_REFUSED[name]}")
        inner = next((params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None)
        if inner is not None:
            outer, self.location = self.location, self.where(equation)
            outputs, parent = self.evaluate(*_opened(inner), operands)
            self.location = outer
            unmoved = len(parent) == len(self.probability) and np.array_equal(parent, np.arange(len(parent)))
            return outputs, None if unmoved else parent
        rule = RULES.get(name)
        if rule is None:
            return _by_jax(equation, operands), None
        with np.errstate(all="ignore"):
            result: Any = rule(*operands, **params)
        results = result if equation.primitive.multiple_results else [result]
        return [
            out if is_key(variable.aval) else out.astype(variable.aval.dtype, copy=False)
            for out, variable in zip(results, equation.outvars, strict=True)
        ], None

    # --- choices ---

    def _choose(self, equation: Any, operands: list[Value]) -> tuple[list[Value], np.ndarray]:
        params = equation.params
        kind, size = params["kind"], params["size"]
        start = self.rows
        keys, *arguments = (np.broadcast_to(op, (start, *op.shape[1:])) for op in operands)
        self._consume(keys.reshape(start, -1), equation)
        tail = TAIL[kind]
        shape = arguments[0].shape[1 : arguments[0].ndim - tail]
        flat = [argument.reshape(start, -1, *argument.shape[argument.ndim - tail :]) for argument in arguments]
        count = flat[0].shape[1]
        parent = np.arange(start)
        chosen = np.zeros((start, count, *((size,) if kind == "ordered_sample" else ())), params["dtype"])
        for element in range(count):
            law = [argument[parent, element] for argument in flat]
            for moved, column in _OUTCOMES[kind](self, law, size, equation):
                parent, chosen = parent[moved], chosen[moved]
                if column is not None:
                    chosen[:, element, ...] = column
        tail_shape = chosen.shape[2:]
        return [chosen.reshape(self.rows, *shape, *tail_shape)], parent

    def _consume(self, names: np.ndarray, equation: Any) -> None:
        together = np.concatenate([self.consumed, names], axis=1)
        ordered = np.sort(together, axis=1)
        if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)):
            raise EnumerationError(
                f"a key is consumed twice on one path{self.where(equation)}: the two draws are not independent, and no law "
                "of independent choices describes the program. Split the key."
            )
        self.consumed = together

    def branch(self, probabilities: np.ndarray, equation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Replace every path by its possible outcomes.

        Parameters
        ----------
        probabilities
            Shape ``(paths, outcomes)``, rows not necessarily normalised.

        Returns
        -------
        parent, outcome
            For each new path, the path it came from and the outcome it took.
        """
        weights = np.asarray(probabilities, np.float64)
        totals = weights.sum(axis=1)
        if not np.all(np.isfinite(weights)) or np.any(weights < -1e-12) or np.any(totals <= 0):
            raise EnumerationError(
                f"a choice has probabilities that are NaN, negative or all zero{self.where(equation)}: "
                f"{weights[np.argmin(np.nan_to_num(totals, nan=-1))]}"
            )
        weights = np.maximum(weights, 0.0) / totals[:, None]
        probability = self.probability[:, None] * weights
        possible = weights > 0
        if self.min_probability > 0:
            cut = possible & (probability < self.min_probability)
            np.add.at(self.truncated, self.origin, np.where(cut, probability, 0.0).sum(axis=1))
            possible &= ~cut
        parent, outcome = np.nonzero(possible)
        if len(parent) > self.max_paths:
            raise TooManyPathsError(
                f"more than {self.max_paths} paths are alive{self.where(equation)}; make the case smaller, raise max_paths, "
                "or cut off improbable paths with min_probability"
            )
        self.take(parent)
        self.probability = probability[parent, outcome]
        return parent, outcome

    # --- control flow ---

    def _cond(self, params: Any, operands: list[Value]) -> tuple[list[Value], np.ndarray]:
        index, *rest = operands
        branches = params["branches"]
        which = np.clip(np.broadcast_to(index.astype(np.int64), (self.rows,)), 0, len(branches) - 1)
        parts, results, parents = [], [], []
        for number, branch in enumerate(branches):
            members = np.flatnonzero(which == number)
            if len(members) == 0:
                continue
            part = self._subset(members)
            inputs = [_take(value, members) for value in rest]
            outputs, parent = part.evaluate(*_opened(branch), inputs)
            parts.append(part)
            results.append([_spread(out, part.rows) for out in outputs])
            parents.append(members[parent])
        self._adopt(parts)
        return [np.concatenate(column) for column in zip(*results, strict=True)], np.concatenate(parents)

    def _while(self, params: Any, operands: list[Value]) -> tuple[list[Value], np.ndarray]:
        condition, body = params["cond_jaxpr"], params["body_jaxpr"]
        split = params["cond_nconsts"]
        cond_consts = operands[:split]
        body_consts = operands[split : split + params["body_nconsts"]]
        carry = operands[split + params["body_nconsts"] :]
        active = self._subset(np.arange(self.rows))
        parent = np.arange(self.rows)
        done: list[tuple[Walk, list[Value], np.ndarray]] = []
        for _ in range(self.max_iterations):
            (test,), moved = active.evaluate(
                *_opened(condition),
                [*(_take(const, parent) for const in cond_consts), *carry],
            )
            carry, parent = [_take(value, moved) for value in carry], parent[moved]
            goes_on = np.broadcast_to(test, (active.rows,))
            stop, go = np.flatnonzero(~goes_on), np.flatnonzero(goes_on)
            if len(stop):
                finished = active._subset(stop)
                done.append((finished, [_spread(_take(value, stop), len(stop)) for value in carry], parent[stop]))
            if len(go) == 0:
                break
            rest = active._subset(go)
            rest.truncated = active.truncated
            active = rest
            carry, parent = [_take(value, go) for value in carry], parent[go]
            carry, moved = active.evaluate(
                *_opened(body),
                [*(_take(const, parent) for const in body_consts), *carry],
            )
            parent = parent[moved]
            if active.rows == 0:
                break
        else:
            raise EnumerationError(
                f"a while loop did not end within {self.max_iterations} iterations on paths of total probability "
                f"{active.probability.sum():.3g}; cap the loop, or cut off improbable paths with min_probability"
            )
        if not done:
            raise EnumerationError("all paths fell below min_probability inside a while loop; lower it")
        self.truncated = self.truncated + active.truncated
        self._adopt([part for part, _, _ in done])
        columns = zip(*(values for _, values, _ in done), strict=True)
        return [np.concatenate(column) for column in columns], np.concatenate([source for _, _, source in done])

    def _scan(self, params: Any, operands: list[Value]) -> tuple[list[Value], np.ndarray]:
        body, body_consts = _opened(params["jaxpr"])
        length = params["length"]
        if "num_consts" in params:
            num_consts, num_carry = params["num_consts"], params["num_carry"]
        else:  # from JAX 0.12 on the operands are described by a tree: constants, carry, sequences
            num_consts, num_carry = (len(part) for part in params["ft_in"].unpack()[:2])
        constants, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
        sequences = operands[num_consts + num_carry :]
        parent = np.arange(self.rows)
        stacked: list[tuple[list[Value], np.ndarray]] = []
        order = range(length - 1, -1, -1) if params["reverse"] else range(length)
        for step in order:
            inputs = [
                *(_take(const, parent) for const in constants),
                *carry,
                *(_take(sequence, parent)[:, step] for sequence in sequences),
            ]
            outputs, moved = self.evaluate(body, body_consts, inputs)
            parent = parent[moved]
            carry = outputs[:num_carry]
            stacked.append((outputs[num_carry:], moved))
        # The outputs of each step belong to the paths alive then: follow every final path back.
        index = np.arange(self.rows)
        columns: list[list[Value]] = []
        for outputs, moved in reversed(stacked):
            columns.append([_spread(_take(out, index), len(index)) for out in outputs])
            index = moved[index]
        if not params["reverse"]:
            columns.reverse()
        num_outputs = len(body.outvars) - num_carry
        stacks = []
        for position in range(num_outputs):
            if columns:
                stacks.append(np.stack([column[position] for column in columns], axis=1))
            else:
                aval = body.outvars[num_carry + position].aval
                stacks.append(np.zeros((1, 0, *aval.shape), np.uint64 if is_key(aval) else aval.dtype))
        return [*carry, *stacks], parent


def _opened(jaxpr: Any) -> tuple[Any, list[Value]]:
    """Return a jaxpr, closed or open, and its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr), [_lift(constant) for constant in getattr(jaxpr, "consts", ())]


def _lift(constant: Any) -> Value:
    if hasattr(constant, "dtype") and jnp.issubdtype(constant.dtype, jax.dtypes.prng_key):
        return name_of_key(np.asarray(jax.random.key_data(constant)))[None]
    return np.asarray(constant)[None]


def _take(value: Value, index: np.ndarray) -> Value:
    return value if value.shape[0] == 1 else value[index]


def _spread(value: Value, rows: int) -> Value:
    return np.broadcast_to(value, (rows, *value.shape[1:]))


# --- outcomes of the three kinds of choices -------------------------------------------------------------------------

Branches = Iterator[tuple[np.ndarray, np.ndarray | None]]


def _categorical(walk: Walk, law: list[np.ndarray], size: int, equation: Any) -> Branches:
    del size
    yield walk.branch(law[0], equation)


def _integers(walk: Walk, law: list[np.ndarray], size: int, equation: Any) -> Branches:
    del size
    low, high = (bound.astype(np.int64) for bound in law)
    if np.any(high <= low):
        raise EnumerationError(f"an integer is to be drawn from an empty range{walk.where(equation)}")
    offsets = np.arange(int((high - low).max()))
    parent, outcome = walk.branch((offsets[None, :] < (high - low)[:, None]).astype(float), equation)
    yield parent, low[parent] + outcome


def _ordered_sample(walk: Walk, law: list[np.ndarray], size: int, equation: Any) -> Branches:
    weights = np.array(law[0], np.float64)
    drawn = np.zeros((len(weights), size), np.int64)
    for position in range(size):
        parent, outcome = walk.branch(weights, equation)
        weights, drawn = weights[parent], drawn[parent]
        weights[np.arange(len(parent)), outcome] = 0.0
        drawn[:, position] = outcome
        yield parent, drawn if position == size - 1 else None


_OUTCOMES: dict[str, Callable[[Walk, list[np.ndarray], int, Any], Branches]] = {
    "categorical": _categorical,
    "integers": _integers,
    "ordered_sample": _ordered_sample,
}

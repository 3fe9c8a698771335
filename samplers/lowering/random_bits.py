# rules are named after their primitives
"""Rules of keys and random bits: JAX's threefry generator, word for word.

A typed key is one 64-bit word, the first of its two words high. Threefry maps a key and two counters to two words; with
JAX's partitionable layout the counters of an entry are the two halves of its number.
"""

from typing import Any

import jax
from llvmlite import ir

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.lane import Lane
from ergodica.samplers.lowering.program import KEY, Equation
from ergodica.samplers.lowering.rules import elementwise, general, view
from ergodica.samplers.lowering.values import I32, I64, Scalar, Value

__all__: list[str] = []

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
FUNCTION = "ergodica_threefry2x32"


def _rotate(b: Any, x: Any, by: int) -> Any:
    return b.or_(b.shl(x, ir.Constant(I32, by)), b.lshr(x, ir.Constant(I32, 32 - by)))


def threefry(b: Any, k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Write the twenty rounds of threefry 2x32.

    References
    ----------
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC11, 2011.
    """
    keys = (k0, k1, b.xor(b.xor(k0, k1), ir.Constant(I32, PARITY)))
    x0, x1 = b.add(x0, keys[0]), b.add(x1, keys[1])
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            x0 = b.add(x0, x1)
            x1 = b.xor(_rotate(b, x1, by), x0)
        x0 = b.add(x0, keys[(group + 1) % 3])
        x1 = b.add(x1, b.add(keys[(group + 2) % 3], ir.Constant(I32, group + 1)))
    return x0, x1


def _function(module: Any) -> Any:
    """Return a function of the module from a key and a counter of 64 bits to two words in one."""
    found = module.globals.get(FUNCTION)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), FUNCTION)
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    b.ret(_packed(b, *threefry(b, *_halves(b, function.args[0]), *_halves(b, function.args[1]))))
    return function


def _halves(b: Any, word: Any) -> tuple[Any, Any]:
    return b.trunc(b.lshr(word, ir.Constant(I64, 32)), I32), b.trunc(word, I32)


def _packed(b: Any, high: Any, low: Any) -> Any:
    return b.or_(b.shl(b.zext(high, I64), ir.Constant(I64, 32)), b.zext(low, I64))


def hashed(b: Any, key: Any, counter: Any) -> Any:
    """Return the two words that belong to a key and a counter, in one word; in loops without a call."""
    if isinstance(counter, ir.PhiInstr):
        return _packed(b, *threefry(b, *_halves(b, key), *_halves(b, counter)))
    return b.call(_function(b.module), [key, counter])


def _check_layout(equation: Equation) -> None:
    config: Any = jax.config
    if not config.jax_threefry_partitionable:
        raise equation.refuse(
            "random bits follow the partitionable layout here; set jax.config.update('jax_threefry_partitionable', True), "
            "which is the default"
        )


def _check_implementation(equation: Equation) -> None:
    implementation = str(getattr(equation.params["impl"], "name", equation.params["impl"]))
    if implementation != "threefry2x32":
        raise equation.refuse(
            f"keys are threefry keys here; got {implementation}. Make the key by jax.random.key(seed)"
        )


@general("random_split")
def random_split(emitter: Emitter, equation: Equation, keys: Value) -> Value:
    _check_layout(equation)
    return _each_key(emitter, equation, keys, lambda b, key, number: hashed(b, key, number))


@general("random_bits")
def random_bits(emitter: Emitter, equation: Equation, keys: Value) -> Value:
    _check_layout(equation)
    width = equation.params["bit_width"]

    def bits(b: Any, key: Any, number: Any) -> Any:
        word = hashed(b, key, number)
        if width == 64:
            return word
        high, low = _halves(b, word)
        mixed = b.xor(high, low)
        return mixed if width == 32 else b.trunc(mixed, ir.IntType(width))

    return _each_key(emitter, equation, keys, bits)


def _each_key(emitter: Emitter, equation: Equation, keys: Value, one: Any) -> Value:
    """Compute the entries that belong to each key: their numbers count from zero for every key."""
    out = equation.outputs[0]
    own = out.shape[len(keys.shape) :]
    if not out.size:
        return emitter.allocate(out.shape, out.dtype)
    if out.size == 1:
        key = emitter.entry(keys, [0] * len(keys.shape))
        return Scalar(out.shape, out.dtype, one(emitter.builder, key, emitter.index(0)))
    target = emitter.allocate(out.shape, out.dtype)
    count = 1
    for length in own:
        count *= length
    for at in emitter.indices(keys.shape):
        key = emitter.entry(keys, at)
        row = emitter.pointer_at(target, [*at, *[0] * len(own)])
        for number in emitter.range(count):
            pointer = emitter.builder.gep(row, [number], inbounds=True)
            emitter.store(pointer, one(emitter.builder, key, number), out.dtype)
    return target


@elementwise("random_fold_in")
def random_fold_in(lane: Lane, key: Any, data: Any) -> Any:
    # Data of up to 32 bits seed a key whose first word is zero.
    counter = (
        lane.builder.zext(data, I64) if data.type.width < 64 else lane.builder.and_(data, lane.emitter.index(2**32 - 1))
    )
    return hashed(lane.builder, key, counter)


@elementwise("random_seed")
def random_seed(lane: Lane, seed: Any) -> Any:
    _check_implementation(lane.equation)
    # Shorter seeds are reinterpreted without a sign; the first word of the key is then zero.
    return seed if seed.type.width == 64 else lane.builder.zext(seed, I64)


@view("random_wrap")
def random_wrap(emitter: Emitter, equation: Equation, words: Value) -> Value:
    _check_implementation(equation)
    out = equation.outputs[0]
    target = None if out.size == 1 else emitter.allocate(out.shape, KEY)
    if not out.size:
        return emitter.allocate(out.shape, KEY)
    for at in emitter.indices(out.shape):
        high = emitter.entry(words, [*at, emitter.index(0)])
        key = _packed(emitter.builder, high, emitter.entry(words, [*at, emitter.index(1)]))
        if target is None:
            return Scalar(out.shape, KEY, key)
        emitter.store(emitter.pointer_at(target, at), key, KEY)
    assert target is not None
    return target


@view("random_unwrap")
def random_unwrap(emitter: Emitter, equation: Equation, keys: Value) -> Value:
    out = equation.outputs[0]
    target = emitter.allocate(out.shape, out.dtype)
    if not out.size:
        return target
    for at in emitter.indices(keys.shape):
        high, low = _halves(emitter.builder, emitter.entry(keys, at))
        emitter.store(emitter.pointer_at(target, [*at, emitter.index(0)]), high, out.dtype)
        emitter.store(emitter.pointer_at(target, [*at, emitter.index(1)]), low, out.dtype)
    return target


@elementwise("threefry2x32")
def threefry2x32(lane: Lane, k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    return threefry(lane.builder, k0, k1, x0, x1)

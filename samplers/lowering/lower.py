"""From a traced function to a compiled one."""

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ergodica.samplers.lowering.emitter import Emitter
from ergodica.samplers.lowering.program import KEY, Constant, Program, trace
from ergodica.samplers.lowering.program_cache import Entry, constants_of, externals_of, find, identity, keep
from ergodica.samplers.lowering.rules import load_rules
from ergodica.samplers.lowering.values import I8, I32, I64

__all__ = ["Lowered", "lower"]

_BYTES = I8.as_pointer()
Body = Callable[[Emitter, list[Any]], None]


class Compiled:
    """One function that takes a table of addresses, compiled by Numba.

    Parameters
    ----------
    body
        Writes the instructions: gets the emitter and a byte pointer for each entry of the table but the last two.
    count
        Length of the table without its last two entries, the addresses of large constants and the workspace; see
        :meth:`tail`.
    program
        What the instructions are of.
    layout
        What else they depend on, in words: see :func:`~ergodica.samplers.lowering.program_cache.identity`.
    """

    def __init__(self, body: Body, count: int, program: Program, layout: str) -> None:
        self.workspace_bytes = 0
        self.function: Any = None
        self.native: Any = None
        key = identity(program, layout)
        found = None if key is None else find(key)
        if found is not None:
            with contextlib.suppress(LookupError):
                self.function, self.native = found.load()
                self.workspace_bytes = found.workspace_bytes
                constants = constants_of(program)
                self._hold([constants[number] for number in found.large])
                return
        self.function, large = self._compiled(body, count + 2, f"program_{(key or 'without_name')[:32]}")
        self._hold(large)
        if key is not None:
            self._keep(key, constants_of(program), large)

    def _hold(self, large: Sequence[Constant]) -> None:
        plain = [one.value.view(np.uint64) if one.dtype == KEY else one.value for one in large]
        self._large = [np.ascontiguousarray(array) for array in plain]
        self.addresses = np.array([array.ctypes.data for array in self._large] or [0], np.int64)

    def _keep(self, key: str, constants: list[Constant], large: list[Constant]) -> None:
        """Put the machine code on disk."""
        (result,) = self.function.overloads.values()
        library = result.library
        kind, *_, (code, _) = library.serialize_using_object_code()[1:]
        if kind == "object":
            numbers = {id(constant): number for number, constant in enumerate(constants)}
            externals = externals_of(library._final_module)
            entry = Entry(
                result.fndesc.llvm_func_name,
                self.workspace_bytes,
                tuple(numbers[id(one)] for one in large),
                code,
                externals,
            )
            keep(key, entry)

    def _compiled(self, body: Body, count: int, name: str) -> tuple[Any, list[Constant]]:
        compiled = self
        large: list[Constant] = []

        @intrinsic  # type: ignore[untyped-decorator]
        def program(typing_context: Any, table: Any) -> Any:
            del typing_context

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                del signature
                function = _inner_function(builder.module, count)
                inner = ir.IRBuilder(function.append_basic_block("entry"))
                start = inner.append_basic_block("start")
                inner.position_at_end(start)
                emitter = Emitter(context, inner, function.args[-1], function.args[-2])
                body(emitter, list(function.args[:-2]))
                large.extend(emitter.large)
                inner.ret_void()
                with inner.goto_block(function.entry_basic_block):
                    inner.position_at_end(function.entry_basic_block)
                    inner.branch(start)
                compiled.workspace_bytes = emitter.workspace_bytes
                pointers = builder.inttoptr(values[0], _BYTES.as_pointer())
                arguments = [
                    builder.load(builder.gep(pointers, [ir.Constant(I64, position)])) for position in range(count)
                ]
                with _denormals_flushed(builder):
                    builder.call(function, arguments)
                return context.get_dummy_value()

            return types.void(table), generate

        def run(table):  # type: ignore[no-untyped-def]
            program(table)

        # Its own name, since symbols are made of it.
        run.__name__ = run.__qualname__ = name
        return numba.njit("void(int64)", nogil=True, error_model="numpy")(run), large

    def tail(self, workspace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the arrays whose addresses end the table."""
        return self.addresses, workspace

    def new_workspace(self) -> np.ndarray:
        """Return memory for one thread."""
        return np.zeros(self.workspace_bytes + 64, np.uint8)


@contextlib.contextmanager
def _denormals_flushed(builder: Any) -> Iterator[None]:
    """Treat denormal numbers as zero, as XLA does on CPUs; what was set before comes back afterwards."""
    machine, module = platform.machine().lower(), builder.module
    if machine in ("x86_64", "amd64"):
        kind = ir.FunctionType(ir.VoidType(), [_BYTES])
        read, write = (_declared(module, f"llvm.x86.sse.{name}mxcsr", kind) for name in ("st", "ld"))
        before, during = builder.alloca(I32), builder.alloca(I32)
        builder.call(read, [builder.bitcast(before, _BYTES)])
        builder.store(builder.or_(builder.load(before), ir.Constant(I32, 0x8040)), during)
        builder.call(write, [builder.bitcast(during, _BYTES)])
        yield
        builder.call(write, [builder.bitcast(before, _BYTES)])
    elif machine in ("arm64", "aarch64"):
        read = _declared(module, "llvm.aarch64.get.fpcr", ir.FunctionType(I64, []))
        write = _declared(module, "llvm.aarch64.set.fpcr", ir.FunctionType(ir.VoidType(), [I64]))
        control = builder.call(read, [])
        builder.call(write, [builder.or_(control, ir.Constant(I64, 1 << 24))])
        yield
        builder.call(write, [control])
    else:
        yield


def _declared(module: Any, name: str, kind: Any) -> Any:
    found = module.globals.get(name)
    return found if found is not None else ir.Function(module, kind, name)


def _inner_function(module: Any, count: int) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [_BYTES] * count)
    function = ir.Function(module, kind, module.get_unique_name("ergodica_program"))
    function.linkage = "internal"
    function.attributes.add("nounwind")
    for argument in function.args:
        argument.add_attribute("noalias")
    return function


def as_memory(leaf: Any) -> np.ndarray:
    """Return an array as the compiled code reads it: C-contiguous, keys as 64-bit words."""
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        if str(leaf.dtype) != "key<fry>":
            raise TypeError(
                f"the compiled host has threefry keys only; got {leaf.dtype}. Use jax.random.key(seed), or XLA"
            )
        words = np.asarray(jax.random.key_data(leaf)).astype(np.uint64)
        return np.ascontiguousarray((words[..., 0] << np.uint64(32)) | words[..., 1]).reshape(leaf.shape)
    array = np.asarray(leaf)
    return np.ascontiguousarray(array).reshape(array.shape)


def memory_for(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return uninitialised memory for a value."""
    return np.empty(shape, np.uint64 if dtype == KEY else dtype)


def from_memory(array: np.ndarray, dtype: np.dtype[Any]) -> Any:
    """Return what was written as it is seen by users: keys are typed keys again."""
    if dtype != KEY:
        return array
    words = np.stack([array >> np.uint64(32), array & np.uint64(2**32 - 1)], axis=-1).astype(np.uint32)
    return jax.random.wrap_key_data(jax.numpy.asarray(words))


class Lowered:
    """A function that was lowered: call it with arrays of the shapes and dtypes it was lowered for.

    Parameters
    ----------
    program
        Its equations.
    shapes
        Pytree of the shapes and dtypes of its results.
    arguments
        Pytree of its example arguments.
    """

    def __init__(self, program: Program, shapes: Any, arguments: Any) -> None:
        self.program = program
        self._out_tree: Any = jax.tree.structure(shapes)
        self._in_tree: Any = jax.tree.structure(arguments)
        self._inputs = [(variable.shape, variable.dtype) for variable in program.inputs]
        self._outputs = [(atom.shape, atom.dtype) for atom in program.outputs]
        self.compiled = Compiled(self._write, len(self._inputs) + len(self._outputs), program, "call")
        self._local = threading.local()

    @property
    def arguments(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each leaf of the arguments, in memory."""
        return self._inputs

    @property
    def results(self) -> tuple[list[tuple[tuple[int, ...], np.dtype[Any]]], Any]:
        """Shape and dtype of each leaf of the results, and their structure."""
        return self._outputs, self._out_tree

    def _write(self, emitter: Emitter, pointers: list[Any]) -> None:
        count = len(self._inputs)
        values = []
        for (shape, dtype), pointer in zip(self._inputs, pointers[:count], strict=True):
            values.append(emitter.from_view(emitter.external(shape, dtype, pointer)))
        results = emitter.emit(self.program, values)
        for (shape, dtype), pointer, value in zip(self._outputs, pointers[count:], results, strict=True):
            emitter.copy(value, emitter.external(shape, dtype, pointer))

    def table(self, arguments: Any, results: list[np.ndarray], workspace: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the table of addresses that :attr:`compiled` takes, and what has to live while it runs."""
        leaves: list[Any]
        tree: Any
        leaves, tree = jax.tree.flatten(arguments)
        if tree != self._in_tree:
            raise TypeError(f"the arguments have the structure {tree}; the function was lowered for {self._in_tree}")
        arrays = [as_memory(leaf) for leaf in leaves]
        for number, (array, (shape, dtype)) in enumerate(zip(arrays, self._inputs, strict=True)):
            wanted = np.dtype(np.uint64) if dtype == KEY else dtype
            if array.dtype != wanted and not isinstance(leaves[number], np.ndarray | jax.Array | np.generic):
                arrays[number] = array = array.astype(wanted)
            if array.shape != shape or array.dtype != wanted:
                raise TypeError(
                    f"argument {number} is {array.dtype}{list(array.shape)}; the function was lowered for "
                    f"{wanted}{list(shape)}"
                )
        held = [*arrays, *results, *self.compiled.tail(workspace)]
        return np.array([array.ctypes.data for array in held], np.int64), held

    def __call__(self, *arguments: Any) -> Any:
        """Run the function; it may be called from several threads."""
        if not hasattr(self._local, "workspace"):
            self._local.workspace = self.compiled.new_workspace()
        results = [memory_for(shape, dtype) for shape, dtype in self._outputs]
        table, held = self.table(arguments, results, self._local.workspace)
        self.compiled.function(table.ctypes.data)
        del held
        out = [from_memory(array, dtype) for array, (_, dtype) in zip(results, self._outputs, strict=True)]
        return jax.tree.unflatten(self._out_tree, out)


def lower(function: Callable[..., Any], *example_arguments: Any) -> Lowered:
    """Trace a function and compile it to one function without XLA.

    Parameters
    ----------
    function
        A function that ``jax.jit`` would take, without side effects.
    *example_arguments
        Pytrees of arrays, whose shapes and dtypes count, or of ``jax.ShapeDtypeStruct``.

    Returns
    -------
    Lowered
        Called with arguments of the same shapes and dtypes, it returns the same results as NumPy arrays, up to
        rounding. Random numbers are the same.

    Raises
    ------
    CannotLower
        If the function uses what the compiled host does not have; names the primitive and the place in the user's code.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from ergodica.samplers.lowering.lower import lower
    >>> fast = lower(lambda x: jnp.sum(jnp.sin(x) ** 2), jnp.zeros(3))
    >>> float(fast(jnp.zeros(3)))
    0.0
    """
    load_rules()
    program, shapes = trace(function, *example_arguments)
    return Lowered(program, shapes, example_arguments)

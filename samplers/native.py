"""Loops compiled by Numba as JAX operations, without Python in the loop.

A *core* is a function over NumPy arrays that Numba can compile. :class:`NativeOperation` turns it into an operation
that runs under ``jit``, ``scan`` and ``vmap`` at the cost of a function call: Numba compiles a handler of XLA's typed
foreign function interface around the core, and XLA calls that handler's address.

>>> import jax, jax.numpy as jnp, numpy as np
>>> from ergodica.samplers.native import NativeOperation, compiled
>>> @compiled
... def scaled_sum(values, scale, total):  # inputs first, then outputs; an item without axes has shape (1,)
...     total[0] = 0.0
...     for i in range(values.shape[0]):
...         total[0] += scale[0] * values[i]
>>> operation = NativeOperation(
...     "example.scaled_sum", scaled_sum, inputs=[(np.float32, 1), (np.float32, 0)], outputs=[(np.float32, 0)]
... )
>>> def total(values, scale):
...     (out,) = operation(values, scale, out_shapes=[()])
...     return out
>>> float(jax.jit(total)(jnp.ones(3), 2.0))
6.0
>>> jax.vmap(total, in_axes=(None, 0))(jnp.ones(3), jnp.array([1.0, 2.0])).tolist()
[3.0, 6.0]

Under ``vmap`` the handler itself loops over the batch, and operands that are not mapped are not copied: a graph shared
by a thousand chains stays one graph. What a core has to obey:

* It must not raise, read out of bounds, or allocate without limit. It reports trouble through an output: a code.
* It writes every entry of every output, whose memory comes uninitialised, and never writes to an input.
* Its randomness comes from its inputs: uniforms, or the words of a key for :mod:`ergodica.samplers.counter_rng`.
* It keeps no state between calls: XLA may call it from several threads, or not at all if the result is unused.

The layout of XLA's call frame is that of ``xla/ffi/api/c_api.h``, API version 0, on platforms with 64-bit pointers. It
is tried out on first use. If that fails, if the platform is not a CPU, or if the environment variable
``ERGODICA_NATIVE=callback`` asks for it, the core runs through :func:`jax.pure_callback`: the same results, at some
100 microseconds a call.
"""

import ctypes
import functools
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike
from numba.extending import intrinsic

__all__ = ["NativeOperation", "compiled", "native_calls_work"]

Operand = tuple[Any, int]
"""Dtype and number of axes of one item; dtype ``None`` takes whatever comes."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a core, or a function that a core calls, with the settings that cores need.

    Division by zero gives ``inf`` or ``nan`` instead of an exception, and the lock of the interpreter is released.
    Floating-point operations keep their order, so that results do not depend on the machine.
    """
    return numba.njit(function, error_model="numpy", nogil=True)


class NativeOperation:
    """A compiled core as a JAX operation.

    Parameters
    ----------
    name
        Unique name, by which XLA finds the handler: ``"family.file.what"``.
    core
        ``core(*inputs, *outputs)`` over C-contiguous arrays, made by :func:`compiled`.
    inputs, outputs
        For each operand the dtype and the number of axes of one item (one call of the core). An item with no axes is
        handed over with shape ``(1,)``. A dtype of ``None`` accepts any, and compiles one handler for each.
    callback
        ``True`` forces the callback. Default: only where nothing faster works.

    Raises
    ------
    ValueError
        If there are no inputs or no outputs.
    """

    def __init__(
        self,
        name: str,
        core: Callable[..., Any],
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        *,
        callback: bool | None = None,
    ) -> None:
        if not inputs or not outputs:
            raise ValueError(f"native operation {name!r} needs at least one input and one output")
        self.name = _unique(name)
        self.core = core if isinstance(core, numba.core.registry.CPUDispatcher) else compiled(core)
        self.inputs = tuple((None if dtype is None else np.dtype(dtype), int(ndim)) for dtype, ndim in inputs)
        self.outputs = tuple((None if dtype is None else np.dtype(dtype), int(ndim)) for dtype, ndim in outputs)
        self.callback = callback
        self._targets: dict[tuple[Operand, ...], str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"NativeOperation({self.name!r})"

    def __call__(self, *operands: ArrayLike, out_shapes: Sequence[Any]) -> tuple[Array, ...]:
        """Apply the core.

        Parameters
        ----------
        *operands
            One array for each input, cast to its dtype.
        out_shapes
            For each output the shape of an item, or a ``jax.ShapeDtypeStruct`` where its dtype was left open.

        Returns
        -------
        tuple of arrays
            One for each output.

        Raises
        ------
        TypeError, ValueError
            If the number, dtype or number of axes of an operand is wrong.
        """
        arrays = self._checked_inputs(operands)
        results = self._checked_outputs(out_shapes)
        through_callback = functools.partial(self._through_callback, results=results)
        wanted = os.environ.get("ERGODICA_NATIVE", "") == "callback" if self.callback is None else self.callback
        if wanted or not native_calls_work():
            return through_callback(*arrays)
        if jax.default_backend() == "cpu":
            return self._through_ffi(*arrays, results=results)
        # XLA finds the handler on CPUs only; which branch is lowered depends on where the program will run.
        out: tuple[Array, ...] = lax.platform_dependent(
            *arrays, cpu=functools.partial(self._through_ffi, results=results), default=through_callback
        )
        return out

    def _checked_inputs(self, operands: Sequence[ArrayLike]) -> list[Array]:
        if len(operands) != len(self.inputs):
            raise TypeError(f"{self.name} takes {len(self.inputs)} operands; got {len(operands)}")
        arrays = []
        for index, (operand, (dtype, ndim)) in enumerate(zip(operands, self.inputs, strict=True)):
            if dtype is not None:
                _require_dtype(self.name, dtype)
            array = jnp.asarray(operand, dtype)
            if array.ndim != ndim:
                raise ValueError(
                    f"operand {index} of {self.name} has {ndim} axes; got shape {array.shape}. "
                    "Batches come from jax.vmap, not from extra axes."
                )
            arrays.append(array)
        return arrays

    def _checked_outputs(self, out_shapes: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
        if len(out_shapes) != len(self.outputs):
            raise TypeError(f"{self.name} has {len(self.outputs)} outputs; got {len(out_shapes)} shapes")
        results = []
        for index, (given, (dtype, ndim)) in enumerate(zip(out_shapes, self.outputs, strict=True)):
            shape = tuple(getattr(given, "shape", given))
            dtype = getattr(given, "dtype", None) if dtype is None else dtype
            if dtype is None:
                raise TypeError(f"output {index} of {self.name} needs a jax.ShapeDtypeStruct: its dtype was left open")
            if len(shape) != ndim:
                raise ValueError(f"output {index} of {self.name} has {ndim} axes; got shape {shape}")
            _require_dtype(self.name, np.dtype(dtype))
            results.append(jax.ShapeDtypeStruct(shape, dtype))  # type: ignore[no-untyped-call]
        return tuple(results)

    def _through_ffi(self, *arrays: Array, results: tuple[jax.ShapeDtypeStruct, ...]) -> tuple[Array, ...]:
        items: tuple[Any, ...] = (*arrays, *results)
        signature = tuple((np.dtype(item.dtype), len(item.shape)) for item in items)
        with self._lock:
            if signature not in self._targets:
                self._targets[signature] = _register(self.name, self.core, signature, len(arrays))
        call = jax.ffi.ffi_call(self._targets[signature], results, vmap_method="expand_dims")
        return tuple(call(*arrays))

    def _through_callback(self, *arrays: Array, results: tuple[jax.ShapeDtypeStruct, ...]) -> tuple[Array, ...]:
        def host(*values: Any) -> tuple[np.ndarray, ...]:
            given = [np.array(value) for value in values]
            heads = [value.shape[: value.ndim - ndim] for value, (_, ndim) in zip(given, self.inputs, strict=True)]
            batch = np.broadcast_shapes(*heads)
            out = tuple(np.empty((*batch, *item.shape), item.dtype) for item in results)
            spread = [
                np.broadcast_to(value, (*batch, *value.shape[value.ndim - ndim :]))
                for value, (_, ndim) in zip(given, self.inputs, strict=True)
            ]
            for at in np.ndindex(*batch):
                self.core(*[_item(value[(*at, ...)]) for value in (*spread, *out)])
            return out

        return tuple(jax.pure_callback(host, results, *arrays, vmap_method="expand_dims"))


def _item(value: np.ndarray) -> np.ndarray:
    """Return one item as a core expects it; a view if the item is contiguous and writable, as outputs are."""
    array: np.ndarray = np.require(value, requirements=["C", "W"])
    return array.reshape(1) if array.ndim == 0 else array


def _require_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise TypeError(
            f"{name} works in {dtype}, which JAX has only in double precision; "
            'call jax.config.update("jax_enable_x64", True) at the start of the program'
        )


# --- the handler: offsets as in xla/ffi/api/c_api.h -----------------------------------------------------------------

_FRAME_EXTENSION, _FRAME_API, _FRAME_STAGE = 8, 16, 32
_FRAME_ARGS_COUNT, _FRAME_ARGS, _FRAME_RETS_COUNT, _FRAME_RETS, _FRAME_BYTES = 56, 72, 96, 112, 120
_BUFFER_DATA, _BUFFER_RANK, _BUFFER_DIMS, _BUFFER_BYTES = 24, 32, 40, 48
_EXTENSION_TYPE, _EXTENSION_NEXT, _EXTENSION_METADATA, _METADATA_VERSION = 8, 16, 24, 24
_API_MAJOR, _STAGE_EXECUTE, _TYPE_METADATA = 32, 3, 1


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any) -> Any:
    """Turn an integer into a pointer."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return numba.types.voidptr(address), generate


@compiled
def _int64(address):  # type: ignore[no-untyped-def]
    return numba.carray(_pointer(address), (1,), np.int64)[0]


@compiled
def _int32(address):  # type: ignore[no-untyped-def]
    return numba.int64(numba.carray(_pointer(address), (1,), np.int32)[0])


@compiled
def _answered_metadata(frame):  # type: ignore[no-untyped-def]
    """Answer a request for metadata with API version 0.1, the oldest that has what is used here."""
    extension = _int64(frame + _FRAME_EXTENSION)
    while extension != 0:
        if _int32(extension + _EXTENSION_TYPE) == _TYPE_METADATA:
            metadata = _int64(extension + _EXTENSION_METADATA)
            version = numba.carray(_pointer(metadata + _METADATA_VERSION), (2,), np.int32)
            version[0] = 0
            version[1] = 1
            return True
        extension = _int64(extension + _EXTENSION_NEXT)
    return False


@compiled
def _is_understood(frame, num_inputs, num_outputs):  # type: ignore[no-untyped-def]
    """Whether the frame has the layout that the offsets describe."""
    return (
        _int64(frame) >= _FRAME_BYTES
        and _int32(_int64(frame + _FRAME_API) + _API_MAJOR) == 0
        and _int64(frame + _FRAME_ARGS_COUNT) == num_inputs
        and _int64(frame + _FRAME_RETS_COUNT) == num_outputs
        and _int64(_int64(_int64(frame + _FRAME_RETS))) >= _BUFFER_BYTES
    )


@compiled
def _dimension(buffer, axis):  # type: ignore[no-untyped-def]
    return _int64(_int64(buffer + _BUFFER_DIMS) + 8 * axis)


@compiled
def _product(buffer, first, last):  # type: ignore[no-untyped-def]
    size = 1
    for axis in range(first, last):
        size *= _dimension(buffer, axis)
    return size


@compiled
def _batch_index(buffer, batch, num_axes, index):  # type: ignore[no-untyped-def]
    """Return which item of ``buffer`` belongs to item ``index`` of ``batch``; axes of length one are shared."""
    item, stride = 0, 1
    for axis in range(num_axes - 1, -1, -1):
        length = _dimension(batch, axis)
        own = _dimension(buffer, axis)
        if own != 1:
            item += stride * (index % length)
        stride *= own
        index //= length
    return item


def _handler_source(signature: tuple[Operand, ...], num_inputs: int) -> str:
    """Write the handler: one ``carray`` for each operand, and the loop over the batch around the core."""
    num_outputs = len(signature) - num_inputs
    head = [
        "def handler(frame):",
        "    if _answered_metadata(frame) or _int32(frame + _FRAME_STAGE) != _STAGE_EXECUTE:",
        "        return 0",
        f"    if not _is_understood(frame, {num_inputs}, {num_outputs}):",
        "        return 0",
        "    args, rets = _int64(frame + _FRAME_ARGS), _int64(frame + _FRAME_RETS)",
    ]
    arrays = []
    for index, (dtype, ndim) in enumerate(signature):
        where = f"args + {8 * index}" if index < num_inputs else f"rets + {8 * (index - num_inputs)}"
        axes = "".join(f"_dimension(b{index}, r{index} + {axis}), " for axis in range(ndim)) or "1, "
        head += [
            f"    b{index} = _int64({where})",
            f"    d{index} = _int64(b{index} + _BUFFER_DATA)",
            f"    r{index} = _int64(b{index} + _BUFFER_RANK) - {ndim}",
            f"    s{index} = ({axes})",
            f"    n{index} = {np.dtype(dtype).itemsize} * _product(b{index}, r{index}, r{index} + {ndim})",
        ]
        item = f"_batch_index(b{index}, b{num_inputs}, r{num_inputs}, k)"
        arrays.append(f"            carray(_pointer(d{index} + n{index} * {item}), s{index}, t{index}),")
    loop = [f"    for k in range(_product(b{num_inputs}, 0, r{num_inputs})):", "        core(", *arrays, "        )"]
    return "\n".join([*head, *loop, "    return 0", ""])


_handlers: list[Any] = []  # compiled handlers live as long as the process: XLA keeps their addresses


CORES: dict[str, Any] = {}
"""The compiled core behind each name that XLA knows, for programs that are compiled without XLA."""


def _register(name: str, core: Any, signature: tuple[Operand, ...], num_inputs: int) -> str:
    """Compile and register the handler of one signature, and return the name under which XLA finds it."""
    namespace: dict[str, Any] = dict(globals(), core=core, carray=numba.carray)
    namespace.update({f"t{index}": np.dtype(dtype).type for index, (dtype, _) in enumerate(signature)})
    exec(_handler_source(signature, num_inputs), namespace)
    handler = numba.cfunc(numba.types.int64(numba.types.int64), error_model="numpy")(namespace["handler"])
    _handlers.append(handler)
    target = "ergodica." + name + "".join(f".{np.dtype(dtype).str[1:]}x{ndim}" for dtype, ndim in signature)
    capsule = jax.ffi.pycapsule(handler.ctypes)  # type: ignore[no-untyped-call]
    jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    CORES[target] = core
    return target


_names: dict[str, int] = {}


def _unique(name: str) -> str:
    """Return the name, with a number if it was taken (by a module that was reloaded)."""
    _names[name] = _names.get(name, -1) + 1
    return f"{name}#{_names[name]}" if _names[name] else name


# --- is the layout as described? ------------------------------------------------------------------------------------


@compiled
def _probe_core(values, shift, out, code):  # type: ignore[no-untyped-def]
    out[0] = values[0] + shift[0]
    code[0] = 7


@functools.cache
def native_calls_work() -> bool:
    """Whether XLA calls compiled handlers on this platform as expected: a round trip of one element, made once."""
    try:
        if ctypes.sizeof(ctypes.c_void_p) != 8:
            raise RuntimeError("pointers do not have 64 bits")
        probe = NativeOperation(
            "native.probe", _probe_core, [(np.float32, 1), (np.float32, 0)], [(np.float32, 1), (np.int32, 0)]
        )
        with jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
            arrays = probe._checked_inputs([np.array([1.5], np.float32), np.float32(2.0)])
            out, code = probe._through_ffi(*arrays, results=probe._checked_outputs([(1,), ()]))
            if not (out.shape == (1,) and float(out[0]) == 3.5 and int(code) == 7):
                raise RuntimeError(f"a round trip returned {out} and {code} instead of [3.5] and 7")
    except Exception as error:
        warnings.warn(
            f"compiled cores cannot be called by XLA directly here ({type(error).__name__}: {error}); they run through "
            "jax.pure_callback, with the same results but some 100 microseconds a call",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True

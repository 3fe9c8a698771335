"""How the primitives of JAX treat the entries of arrays: as far as it takes to follow what influences what."""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["CUMULATIVE", "ELEMENTWISE", "MATRIX_ROUTINES", "MOVES", "REDUCTIONS", "broadcast_entries"]

ELEMENTWISE = frozenset(
    {
        "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
        "bessel_i0e", "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "convert_element_type", "copy", "copy_p",
        "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge",
        "gt", "igamma", "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "lgamma", "log",
        "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "polygamma",
        "population_count", "pow", "random_gamma_grad", "real", "reduce_precision",
        "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
        "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square",
        "stop_gradient", "sub", "tan", "tanh", "xor", "zeta",
    }
)  # fmt: skip
REDUCTIONS = frozenset(
    {
        "argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum",
        "reduce_xor",
    }
)  # fmt: skip
CUMULATIVE = frozenset({"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"})
MATRIX_ROUTINES = frozenset({"cholesky", "triangular_solve"})

MOVES: dict[str, Callable[..., np.ndarray]] = {
    "reshape": lambda a, p: a.reshape(p["new_sizes"]),
    "squeeze": lambda a, p: np.squeeze(a, tuple(p["dimensions"])),
    "transpose": lambda a, p: np.transpose(a, p["permutation"]),
    "rev": lambda a, p: np.flip(a, tuple(p["dimensions"])),
    "slice": lambda a, p: a[
        tuple(
            slice(first, last, step)
            for first, last, step in zip(
                p["start_indices"], p["limit_indices"], p["strides"] or (1,) * a.ndim, strict=True
            )
        )
    ],
    "broadcast_in_dim": lambda a, p: broadcast_entries(a, p["shape"], p["broadcast_dimensions"]),
}


def broadcast_entries(array: np.ndarray, shape: Sequence[int], dimensions: Sequence[int]) -> np.ndarray:
    """Broadcast an array whose axes become some of the axes of the result."""
    aligned = [1] * len(shape)
    for axis, place in enumerate(dimensions):
        aligned[place] = array.shape[axis]
    return np.broadcast_to(array.reshape(aligned), shape)

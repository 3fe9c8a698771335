"""Compare a lowered function with XLA."""

import jax
import numpy as np

from ergodica.samplers.lowering.lower import lower


def words(leaf):
    """Return a leaf as a NumPy array; keys as their words."""
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)


def difference(ours, theirs, ulps, absolute=0.0):
    """Say how two arrays differ, ``None`` if they agree: dtype, shape, NaN, infinities, signs of zeros, numbers."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"{ours.dtype}{ours.shape} instead of {theirs.dtype}{theirs.shape}"
    if ours.dtype.kind != "f":
        return None if np.array_equal(ours, theirs) else f"{ours} instead of {theirs}"
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if ulps == 0:
        same &= (np.signbit(ours) == np.signbit(theirs)) | np.isnan(ours)
    else:
        with np.errstate(all="ignore"):
            close = np.abs(ours - theirs) <= ulps * np.spacing(np.maximum(np.abs(ours), np.abs(theirs))) + absolute
        same |= close & np.isfinite(ours) & np.isfinite(theirs)
    if same.all():
        return None
    where = np.nonzero(~same)
    return f"at {[w[:4].tolist() for w in where]}: {ours[where][:4]} instead of {theirs[where][:4]}"


def check(functions, *arguments, ulps=0, absolute=0.0):
    """Lower all functions as one program, and compare their results with those of XLA.

    Parameters
    ----------
    functions
        From a name to a function of the arguments; or one function.
    ulps
        Tolerance in units of the last place: a number, or a dictionary by name.
    """
    functions = {"f": functions} if callable(functions) else functions

    def together(*args):
        return {name: function(*args) for name, function in functions.items()}

    compare(lower(together, *arguments)(*arguments), jax.jit(together)(*arguments), ulps=ulps, absolute=absolute)


def compare(ours, theirs, *, ulps=0, absolute=0.0):
    """Compare two dictionaries of pytrees."""
    wrong = []
    for name in theirs:
        mine, other = jax.tree.leaves(ours[name]), jax.tree.leaves(theirs[name])
        assert len(mine) == len(other)
        tolerance = ulps.get(name, 0) if isinstance(ulps, dict) else ulps
        for a, b in zip(mine, other, strict=True):
            text = difference(words(a), words(b), tolerance, absolute)
            if text is not None:
                wrong.append(f"{name}: {text}")
    assert not wrong, "\n".join(wrong)

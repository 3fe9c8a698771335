"""Which tuner a kernel gets, and what tuning has changed."""

import dataclasses
from typing import Any

import jax
import numpy as np

from ergodica.samplers.kernel import Kernel, replace
from ergodica.samplers.tuning.composition import Inner, Parts, Together, inner_state
from ergodica.samplers.tuning.proposal_scale import ProposalScale
from ergodica.samplers.tuning.scan_weights import ScanWeights, blocks_of
from ergodica.samplers.tuning.slice_width import SliceWidth
from ergodica.samplers.tuning.step_size import StepSize
from ergodica.samplers.tuning.tuner import Tuner
from ergodica.samplers.tuning.whitening import Whitening

__all__ = ["choose_tuner", "made_tunable", "tuned_leaves"]


def choose_tuner(kernel: Any, state: Any, info: Any) -> Tuner | None:
    """Return the tuner that a kernel names, or else the one that its fields call for.

    Parameters
    ----------
    kernel
        The kernel.
    state, info
        Of the kernel; only the names of their fields are looked at.

    Returns
    -------
    Tuner or None
        ``None`` if there is nothing to tune. Of a mixture of kernels that each update a block of their own the weights are
        tuned; the parts of a mixture are not, since they move now and then only.
    """
    named = getattr(kernel, "tuner", None)
    if callable(named):
        tuner: Tuner | None = named()
        return tuner
    fields = {field.name for field in dataclasses.fields(kernel)}
    if "weights" in fields and "parts" in fields:
        return ScanWeights() if len(kernel.parts) > 1 and blocks_of(kernel, state.position) is not None else None
    if "parts" in fields and hasattr(state, "parts") and hasattr(info, "parts"):
        tuners = tuple(
            choose_tuner(part, one, other)
            for part, one, other in zip(kernel.parts, state.parts, info.parts, strict=True)
        )
        return Parts(tuners) if any(tuner is not None for tuner in tuners) else None
    if isinstance(getattr(kernel, "inner", None), Kernel):
        inner = choose_tuner(kernel.inner, inner_state(state), info)
        return None if inner is None else Inner(inner)
    if "width" in fields:
        if "radius" in getattr(state, "_fields", ()):
            width = SliceWidth("radius")
        else:
            width = SliceWidth("line" if "scale" in fields else "coordinate")
        has_place = any(getattr(kernel, name, None) is not None for name in ("center", "scale"))
        return Together((Whitening(), width)) if has_place else width
    if hasattr(info, "acceptance_rate"):
        if isinstance(getattr(kernel, "step_size", None), jax.Array):
            return StepSize()
        if isinstance(getattr(kernel, "scale", None), jax.Array):
            return ProposalScale()
    return None


def made_tunable(kernel: Any, state: Any) -> Any:
    """Return the same kernel with numbers in place of what is ``None`` and can be learnt.

    Parameters
    ----------
    kernel
        A kernel; those with a method ``tunable(position)`` say what there is to learn, also inside compositions.
    state
        Of the kernel.
    """
    if hasattr(kernel, "tunable"):
        return kernel.tunable(state.position)
    fields = {field.name for field in dataclasses.fields(kernel)}
    if "weights" in fields and "parts" in fields:
        return kernel
    if "parts" in fields and hasattr(state, "parts"):
        parts = tuple(made_tunable(part, one) for part, one in zip(kernel.parts, state.parts, strict=True))
        return (
            kernel
            if all(new is old for new, old in zip(parts, kernel.parts, strict=True))
            else replace(kernel, parts=parts)
        )
    if isinstance(getattr(kernel, "inner", None), Kernel):
        inner = made_tunable(kernel.inner, inner_state(state))
        return kernel if inner is kernel.inner else replace(kernel, inner=inner)
    return kernel


def tuned_leaves(before: Any, after: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a kernel that tuning has changed, by name.

    Parameters
    ----------
    before, after
        The kernel before and after the warm-up.
    """
    changed = {}
    old = jax.tree.leaves(before)
    for (path, leaf), was in zip(jax.tree_util.tree_leaves_with_path(after), old, strict=True):
        if leaf is not was and not np.array_equal(np.asarray(leaf), np.asarray(was)):
            changed[jax.tree_util.keystr(path, simple=True, separator=".")] = np.asarray(leaf)
    return changed

"""What the means should be: moments from a file, or somebody's long run of draws."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ergodica.commands.console import BadInputError

__all__ = ["Reference", "read_reference", "worst_error"]


class Reference(NamedTuple):
    """Means to compare with.

    Parameters
    ----------
    means, errors
        By name, entries of arrays counted from one as in ``theta[1]``; an error is the reference's own standard error.
    source
        Where they come from.
    """

    means: dict[str, float]
    errors: dict[str, float]
    source: str


def read_reference(path: Path) -> Reference:
    """Read moments or draws.

    Parameters
    ----------
    path
        JSON with ``parameters``, ``mean`` and perhaps ``mcse_mean``, at the top or under ``exact`` or ``reference``; or
        draws in any file that ``ergodica audit`` reads.

    Raises
    ------
    BadInputError
        If it is neither.
    """
    if path.suffix.lower() == ".json":
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInputError(f"cannot read the reference {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise BadInputError(f"{path.name} is no JSON: {error}") from None
        if isinstance(whole, dict):
            return _moments(whole, path.name)
    from ergodica.validation.targets.reference_draws import load_reference_draws

    draws = load_reference_draws(path)
    means, errors = draws.mean(), draws.standard_error()
    return Reference(
        dict(zip(draws.names, means.tolist(), strict=True)),
        dict(zip(draws.names, errors.tolist(), strict=True)),
        path.name,
    )


def _moments(whole: Mapping[str, Any], file: str) -> Reference:
    # Exact moments are better than those of a long run.
    name = next((key for key in ("exact", "reference") if isinstance(whole.get(key), dict)), "")
    found = whole[name] if name else whole
    try:
        names, means = [str(key) for key in found["parameters"]], np.asarray(found["mean"], float)
        errors = np.asarray(found.get("mcse_mean", np.zeros(len(names))), float)
        if means.shape != (len(names),) or errors.shape != means.shape:
            raise ValueError(f"{len(names)} parameters, means of shape {means.shape}")
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{file} has no reference moments: it needs parameters and mean, perhaps mcse_mean ({error})"
        ) from None
    return Reference(
        dict(zip(names, means.tolist(), strict=True)),
        dict(zip(names, errors.tolist(), strict=True)),
        f"{file}, {name}" if name else file,
    )


def worst_error(reference: Reference, draws: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """Return the largest error of a mean in standard errors of draws and reference together, and its name.

    Parameters
    ----------
    reference
        The truth.
    draws
        Arrays of shape ``(chains, draws, ...)`` by name.

    Raises
    ------
    BadInputError
        If the two have no name in common.
    """
    from arviz_stats.base import array_stats

    worst, where, met = 0.0, "", False
    for name, values in draws.items():
        for place in np.ndindex(values.shape[2:]):
            label = f"{name}[{','.join(str(index + 1) for index in place)}]" if place else name
            # A reference may call a single number the first entry of a vector of one.
            known = next((other for other in (label, f"{label}[1]") if other in reference.means), None)
            if known is None:
                continue
            met = True
            one = np.asarray(values[(slice(None), slice(None), *place)], float)
            scale = float(np.hypot(float(array_stats.mcse(one, method="mean")), reference.errors[known]))
            error = abs(float(one.mean()) - reference.means[known])
            score = error / scale if scale > 0 else float("inf") if error > 0 else 0.0
            if not score <= worst:
                worst, where = score, known
    if not met:
        raise BadInputError(
            f"no name in common: the reference has {', '.join(list(reference.means)[:8])} and the model "
            f"{', '.join(list(draws)[:8])}"
        )
    return worst, where

"""What draws from anywhere say about themselves: a summary, and alarms."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pandas

__all__ = ["Audit", "audit"]


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found.

    Parameters
    ----------
    table
        A row for each number: ``mean``, ``sd``, ``mcse_mean``, ``ess_bulk``, ``ess_tail`` and ``r_hat``, as ``arviz_stats``
        computes them.
    alarms
        What is wrong, in words; empty if nothing was found, which is no proof that nothing is.
    """

    table: "pandas.DataFrame"
    alarms: tuple[str, ...]


def audit(
    draws: Mapping[str, Float[np.ndarray, "chains draws ..."]], *, max_rhat: float = 1.01, min_ess: float = 100.0
) -> Audit:
    """Look for what can be seen to be wrong with draws.

    Parameters
    ----------
    draws
        Arrays of shape ``(chains, draws, ...)`` by name; see :func:`ergodica.validation.draws_file.read_draws`.
    max_rhat
        Largest rank-normalised split R-hat without an alarm.
    min_ess
        Smallest effective number of draws of each chain, in the bulk and in the tails, without an alarm.

    Raises
    ------
    ValueError
        If there are fewer than four draws of each chain.

    Notes
    -----
    Alarms: values that are not finite; quantities that are constant, chains that are stuck, or equal to others (a seed
    that was used twice); R-hat and effective numbers of draws; groups of chains that sit apart, each in a mode of its own.

    References
    ----------
    A. Vehtari, A. Gelman, D. Simpson, B. Carpenter and P.-C. Bürkner, Rank-normalization, folding, and localization,
    Bayesian Analysis 16, 2021, arXiv:1903.08008.
    """
    import arviz_base
    import arviz_stats

    arrays = {name: np.asarray(values, float) for name, values in draws.items()}
    chains, count = next(iter(arrays.values())).shape[:2]
    if count < 4:
        raise ValueError(f"an audit needs at least four draws of each chain; got {count}")
    alarms: list[str] = []
    if chains == 1:
        alarms.append("there is one chain: whether others would agree cannot be seen")
    usable = {}
    for name, values in arrays.items():
        wrong = int(np.sum(~np.isfinite(values)))
        if wrong:
            alarms.append(f"{name} has {wrong} values that are not finite")
        else:
            usable[name] = values
    alarms += _stuck(usable, chains)
    alarms += _equal_chains(usable, chains)
    table = _table(arviz_base, arviz_stats, usable)
    if len(table):
        alarms += _unmixed(table, chains, max_rhat, min_ess)
        alarms += _groups(usable, chains)
    return Audit(table, tuple(alarms))


def _table(arviz_base: Any, arviz_stats: Any, arrays: dict[str, np.ndarray]) -> "pandas.DataFrame":
    import warnings

    import pandas

    columns = ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
    if not arrays:
        return pandas.DataFrame(columns=columns)
    with warnings.catch_warnings():
        # Constants give R-hat and effective numbers that are not defined; there is an alarm for them.
        warnings.simplefilter("ignore")
        tree = arviz_base.from_dict({"posterior": arrays}, name="draws")
        table: pandas.DataFrame = arviz_stats.summary(tree, round_to="none")[columns]
    return table


def _named(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _stuck(arrays: dict[str, np.ndarray], chains: int) -> list[str]:
    out = []
    constant = [name for name, values in arrays.items() if np.ptp(values) == 0]
    if constant:
        out.append(f"constant: {_named(constant)}")
    moving = [values.reshape(*values.shape[:2], -1) for name, values in arrays.items() if name not in constant]
    if moving:
        flat = np.concatenate(moving, axis=2)
        stays = np.mean(np.all(flat[:, 1:] == flat[:, :-1], axis=2), axis=1)
        for chain in range(chains):
            if stays[chain] > 0.95:
                out.append(f"chain {chain} repeats the draw before in {100 * stays[chain]:.0f} % of its steps")
    return out


def _equal_chains(arrays: dict[str, np.ndarray], chains: int) -> list[str]:
    if not arrays:
        return []
    seen: dict[bytes, int] = {}
    out = []
    for chain in range(chains):
        content = b"".join(np.ascontiguousarray(values[chain]).tobytes() for values in arrays.values())
        if content in seen and any(np.ptp(values[chain]) > 0 for values in arrays.values()):
            out.append(f"chains {seen[content]} and {chain} are equal: was a seed used twice?")
        seen.setdefault(content, chain)
    return out


def _unmixed(table: "pandas.DataFrame", chains: int, max_rhat: float, min_ess: float) -> list[str]:
    out = []
    far = table["r_hat"] > max_rhat
    if far.any():
        names = table["r_hat"][far].sort_values(ascending=False)
        out.append(f"R-hat is above {max_rhat:g}, up to {names.iloc[0]:.3f}: {_named([str(n) for n in names.index])}")
    for column, part in (("ess_bulk", "bulk"), ("ess_tail", "tails")):
        few = table[column] < min_ess * chains
        if few.any():
            names = table[column][few].sort_values()
            out.append(
                f"fewer than {min_ess:g} effective draws a chain in the {part}, down to {names.iloc[0]:.0f} in all: "
                f"{_named([str(n) for n in names.index])}"
            )
    return out


def _groups(arrays: dict[str, np.ndarray], chains: int) -> list[str]:
    """Find the number whose chains lie furthest apart, and say which of them sit together."""
    best, text = 0.0, ""
    for name, values in arrays.items():
        flat = values.reshape(*values.shape[:2], -1)
        for index in range(flat.shape[2]):
            means, spread = flat[:, :, index].mean(axis=1), float(np.median(flat[:, :, index].std(axis=1)))
            order = np.argsort(means)
            gaps = np.diff(means[order])
            if spread == 0 or not gaps.size:
                continue
            widest = float(gaps.max() / spread)
            if widest > max(3.0, best):
                cut = int(np.argmax(gaps)) + 1
                low, high = sorted(order[:cut].tolist()), sorted(order[cut:].tolist())
                place = np.unravel_index(index, values.shape[2:]) if values.ndim > 2 else ()
                label = f"{name}[{', '.join(map(str, place))}]" if place else name
                best = widest
                text = (
                    f"chains sit in different modes: in {label}, chains {low} are near {means[low].mean():.4g} and chains "
                    f"{high} near {means[high].mean():.4g}, {widest:.1f} standard deviations apart"
                )
    return [text] if text and chains > 1 else []

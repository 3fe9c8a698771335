"""Reference draws from a file: somebody's long run of a trusted sampler, as the truth about a target without formulas."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from arviz_stats.base import array_stats
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ergodica.validation.draws_file import read_draws
from ergodica.validation.targets.target import Expectation, MomentTarget, coordinate, with_data


@dataclasses.dataclass(frozen=True)
class ReferenceDraws:
    """Draws of scalar parameters by several chains.

    Parameters
    ----------
    names
        Names of the parameters, distinct, such as ``theta[1]``.
    draws
        Shape ``(chains, draws, parameters)``, finite; at least four draws a chain, so that errors can be estimated.
    source
        Where they come from.

    Raises
    ------
    ValueError
        If shapes do not fit, or a draw is NaN or infinite.
    """

    names: tuple[str, ...]
    draws: Float[np.ndarray, "chains draws parameters"]
    source: str = ""

    def __post_init__(self) -> None:
        where = self.source or "the reference draws"
        if self.draws.ndim != 3 or self.draws.shape[2] != len(self.names) or self.draws.size == 0:
            raise ValueError(
                f"{where}: expected draws of shape (chains, draws, {len(self.names)}); got {self.draws.shape}"
            )
        if self.draws.shape[1] < 4:
            raise ValueError(f"{where}: expected at least four draws a chain; got {self.draws.shape[1]}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{where}: names of parameters have to be distinct; got {list(self.names)}")
        wrong = ~np.all(np.isfinite(self.draws), axis=(0, 1))
        if np.any(wrong):
            raise ValueError(
                f"{where}: draws of {self.names[int(np.argmax(wrong))]!r} contain NaN or inf; drop the run"
            )

    def select(self, names: Sequence[str]) -> "ReferenceDraws":
        """Return the draws of some parameters, in the order that is asked for.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"no reference draws of {unknown}; the file has {list(self.names)}")
        return ReferenceDraws(tuple(names), self.draws[:, :, [self.names.index(name) for name in names]], self.source)

    def mean(self) -> Float[np.ndarray, " parameters"]:
        """Return the means over all chains."""
        return np.asarray(self.draws.mean(axis=(0, 1)))

    def variance(self) -> Float[np.ndarray, " parameters"]:
        """Return the variances over all chains."""
        return np.asarray(self.draws.reshape(-1, len(self.names)).var(axis=0, ddof=1))

    def quantile(self, probability: float | Sequence[float]) -> Float[np.ndarray, "... parameters"]:
        """Return quantiles over all chains; the shape of the probabilities comes first."""
        return np.asarray(np.quantile(self.draws.reshape(-1, len(self.names)), probability, axis=0))

    def standard_error(self) -> Float[np.ndarray, " parameters"]:
        """Return Monte Carlo standard errors of the means, autocorrelation taken into account."""
        return np.array([float(array_stats.mcse(self.draws[:, :, i], method="mean")) for i in range(len(self.names))])

    def r_hat(self) -> Float[np.ndarray, " parameters"]:
        """Return the rank-normalised split R-hat of every parameter: well above 1.01, the reference is none."""
        return np.array([float(array_stats.rhat(self.draws[:, :, i], method="rank")) for i in range(len(self.names))])

    def target(self, name: str, logdensity: Callable[[Array], Array]) -> MomentTarget:
        """Return a target whose known means, with their standard errors, are those of the draws.

        Parameters
        ----------
        name
            For the report.
        logdensity
            Log density of positions that hold the parameters in the order of ``names``.
        """
        values, errors = self.mean(), self.standard_error()
        return MomentTarget(
            name=name,
            dim=len(self.names),
            logdensity=logdensity if isinstance(logdensity, Partial) else with_data(logdensity),
            expectations=tuple(
                Expectation(parameter, coordinate(i), float(values[i]), float(errors[i]))
                for i, parameter in enumerate(self.names)
            ),
            source=self.source,
        )


def load_reference_draws(path: str | Path, names: Sequence[str] | None = None) -> ReferenceDraws:
    """Read reference draws from a file of any kind that :func:`~ergodica.validation.draws_file.read_draws` knows.

    Parameters
    ----------
    path
        The file.
    names
        Which parameters, in which order. Default: all, in the order of the file. Entries of arrays are called
        ``name[1]``, ``name[2,1]``, counted from one as Stan does.

    Returns
    -------
    ReferenceDraws

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or holds no draws, or a draw is NaN or infinite.
    """
    path = Path(path)
    columns = _scalars(read_draws(path))
    loaded = ReferenceDraws(tuple(columns), np.stack(list(columns.values()), axis=-1), path.name)
    return loaded if names is None else loaded.select(names)


def _scalars(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split arrays of shape (chains, draws, ...) into one of shape (chains, draws) for each entry."""
    columns: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        for index in np.ndindex(array.shape[2:]):
            label = f"{name}[{','.join(str(i + 1) for i in index)}]" if index else name
            columns[label] = array[(slice(None), slice(None), *index)].astype(np.float64)
    return columns

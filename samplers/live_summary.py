"""What is known of a run while it goes on: rates, what went wrong, R-hat, effective draws, how long it will take."""

import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ergodica.samplers.stopping import BatchMeans, Watch, precision_of

__all__ = ["LiveSummary", "Standing"]

COUNTED = (("diverging", "divergences"), ("cap_hit", "caps hit"), ("num_invalid", "invalid"))
MAX_NUMBERS = 4096
"""Coordinates of all chains together that are followed: memory and time stay small, however many there are."""


@dataclasses.dataclass(frozen=True)
class Standing:
    """How a phase of a run stands.

    Parameters
    ----------
    phase
        Its name.
    done, total
        Steps or draws of each chain that are made, and that were asked for.
    made
        Those made in this process: fewer than ``done`` in a run that was resumed.
    seconds
        Since it began in this process.
    acceptance
        Average rate; ``None`` if the kernel has none.
    trouble
        By its name, how often something went wrong; only what did.
    rhat
        Largest split R-hat; ``None`` as long as it is not known.
    ess
        Smallest effective number of draws; ``None`` as long as it is not known.
    needed
        Draws after which what was asked for is likely to hold; ``None`` if nothing was, or it is not known.
    """

    phase: str
    done: int
    total: int
    made: int
    seconds: float
    acceptance: float | None = None
    trouble: dict[str, int] = dataclasses.field(default_factory=dict)
    rhat: float | None = None
    ess: float | None = None
    needed: int | None = None

    @property
    def rate(self) -> float:
        """Draws of each chain in a second."""
        return self.made / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to the end, or to the precision that was asked for; ``None`` if not known."""
        end = self.total if self.needed is None else min(self.total, max(self.needed, self.done))
        return (end - self.done) / self.rate if self.made else None

    def facts(self) -> dict[str, str]:
        """Return what is known of the draws, in short words, by name."""
        found = {}
        if self.acceptance is not None:
            found["accepted"] = f"{self.acceptance:.2f}"
        found.update({name: str(count) for name, count in self.trouble.items()})
        if self.rhat is not None:
            found["R-hat"] = f"{self.rhat:.3f}"
        if self.ess is not None:
            found["ESS"] = f"{self.ess:.0f}"
        if self.needed is not None:
            found["precise after"] = str(self.needed) if self.needed <= self.total else f"{self.needed}, too late"
        return found


class LiveSummary:
    """Follows a phase of a run.

    Parameters
    ----------
    phase, total
        See :class:`Standing`.
    done
        Of a run that goes on: steps that are made.
    follow
        Whether anybody looks: if not, only steps are counted.
    estimate
        Whether R-hat and effective draws mean something: not in warm-up, nor for weighted draws.
    watch
        What follows the rule by which the run stops. It is given the draws by others.

    Notes
    -----
    R-hat and effective draws come from batch means. Where chains and coordinates are many, only the first coordinates are
    followed; summaries of the draws, with rank-normalised statistics, look at all.
    """

    def __init__(
        self,
        phase: str,
        total: int,
        *,
        done: int = 0,
        follow: bool = True,
        estimate: bool = True,
        watch: Watch | None = None,
    ) -> None:
        self.phase, self.total, self.follow, self.estimate = phase, total, follow, estimate
        self.watch = watch if follow else None
        self._first = self._done = done
        self._began = time.monotonic()
        self._rates: float | None = None
        self._trouble = {name: 0 for name, _ in COUNTED}
        self._means: BatchMeans | None = None

    def add(self, position: PyTree, stats: dict[str, Any], count: int) -> None:
        """Add a chunk.

        Parameters
        ----------
        position
            Leaves of shape ``(chains, count, ...)``.
        stats
            Statistics of the steps by name, of that shape.
        count
            Draws of each chain.
        """
        self._done += count
        if not self.follow:
            return
        if "acceptance_rate" in stats:
            self._rates = (self._rates or 0.0) + float(np.mean(stats["acceptance_rate"])) * count
        for name, _ in COUNTED:
            self._trouble[name] += _sum_of(stats, name)
        if self.estimate and count:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(position)]
            chains = leaves[0].shape[0]
            most = max(1, MAX_NUMBERS // chains)
            parts: list[np.ndarray] = []
            for leaf in leaves:
                if leaf.dtype.kind in "fiub" and (room := most - sum(part.shape[2] for part in parts)) > 0:
                    parts.append(leaf.reshape(chains, count, -1)[:, :, :room])
            flat = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty((chains, count, 0), bool)], axis=2)
            if self._means is None:
                self._means = BatchMeans(chains, flat.shape[2])
            self._means.add(flat)

    def standing(self) -> Standing:
        """Return how the phase stands."""
        made = self._done - self._first
        return Standing(
            self.phase,
            self._done,
            self.total,
            made,
            time.monotonic() - self._began,
            acceptance=None if self._rates is None else self._rates / max(made, 1),
            trouble={label: self._trouble[name] for name, label in COUNTED if self._trouble[name]},
            needed=None if self.watch is None else self.watch.needed(),
            **self._precision(),
        )

    def _precision(self) -> dict[str, float | None]:
        if self._means is None:
            return {}
        with np.errstate(all="ignore"):
            found = precision_of(self._means, ())
        return {"rhat": _worst(found.rhat, max), "ess": _worst(found.ess, min)}


def _worst(values: np.ndarray, pick: Any) -> float | None:
    known = values[np.isfinite(values) & (values > 0)]
    return float(pick(known)) if known.size else None


def _sum_of(stats: dict[str, Any], name: str) -> int:
    """Add up a count: the total that the kernel reports, or else those of its parts."""
    if name in stats:
        return round(float(np.sum(stats[name])))
    return round(math.fsum(float(np.sum(values)) for key, values in stats.items() if key.rsplit(".", 1)[-1] == name))

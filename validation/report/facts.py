"""What a report is about: draws, what was claimed and shown of their sampler, and where they come from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from ergodica.samplers.claim import Claim
from ergodica.validation.evidence import Evidence

if TYPE_CHECKING:
    from ergodica.samplers.draws import Draws

__all__ = ["Facts", "facts_of_draws", "scalars"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a report is about.

    Parameters
    ----------
    title
        Name of the model, or of the file.
    draws
        Arrays of shape ``(chains, draws, ...)`` by name.
    stats
        What each step reported, arrays of shape ``(chains, draws)`` by the names of the ArviZ schema.
    sampler
        Name of the kernel; empty if nobody knows.
    claim
        What it promises.
    evidence
        Records of the checks behind the claim.
    evidence_note
        Words on the evidence: how to get it, or what is missing.
    tuned
        Parameters that warm-up has set.
    counts
        Evaluations of the log density and of its gradient, warm-up included, under ``num_evals`` and
        ``num_grad_evals``.
    seconds
        Duration of the run.
    ending
        Why the run has ended.
    provenance
        Versions, seeds, digests: what else is known, as words by name.
    progress
        How far a run that goes on has come, in words.
    refresh
        Seconds after which a page asks for its successor; 0 for a run that is over.
    """

    title: str
    draws: Mapping[str, Shaped[np.ndarray, "chains draws ..."]]
    stats: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampler: str = ""
    claim: Claim | None = None
    evidence: Sequence[Evidence] = ()
    evidence_note: str = ""
    tuned: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    ending: str = ""
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    progress: str = ""
    refresh: int = 0


def facts_of_draws(draws: "Draws", title: str, **more: Any) -> Facts:
    """Return what draws say about themselves.

    Parameters
    ----------
    draws
        Of a run, or loaded from a file.
    title
        Name of the model.
    **more
        Further fields of :class:`Facts`.

    Raises
    ------
    ValueError
        If the draws are weighted.
    """
    if draws.claim.weighted:
        raise ValueError(
            f"draws of {draws.sampler} mean nothing without their weights; a report is of draws of equal weight, such as "
            "those of draws.resample(n)"
        )
    tree = draws.to_arviz()
    stats = dict(tree["sample_stats"].data_vars) if "sample_stats" in tree.children else {}
    seed = draws.seed if isinstance(draws.seed, int) else "key " + " ".join(map(str, draws.seed))
    found: dict[str, Any] = {
        "draws": {str(name): values.to_numpy() for name, values in tree["posterior"].data_vars.items()},
        "stats": {str(name): values.to_numpy() for name, values in stats.items()},
        "sampler": draws.sampler,
        "claim": draws.claim,
        "tuned": dict(draws.tuned),
        "counts": {"num_evals": draws.num_evals, "num_grad_evals": draws.num_grad_evals},
        "seconds": draws.seconds,
        "ending": draws.ending,
    }
    provenance = {
        "warm-up": f"{draws.tune} steps",
        "thinning": f"{draws.thin} {'step' if draws.thin == 1 else 'steps'} a draw",
        "seed": str(seed),
        "ran on": f"{draws.host} ({draws.host_reason})" if draws.host_reason else draws.host,
        "kernel": draws.description,
        "versions": ", ".join(f"{name} {version}" for name, version in draws.versions.items()),
    }
    given = more.pop("provenance", {})
    return Facts(title=title, **{**found, **more, "provenance": {**given, **provenance}})


def scalars(draws: Mapping[str, Shaped[np.ndarray, "chains draws ..."]]) -> dict[str, np.ndarray]:
    """Return the entries of arrays one by one, shape ``(chains, draws)``, named as in ``arviz_stats``.

    Parameters
    ----------
    draws
        Arrays of shape ``(chains, draws, ...)`` by name.
    """
    out = {}
    for name, values in draws.items():
        for place in np.ndindex(values.shape[2:]):
            label = f"{name}[{', '.join(map(str, place))}]" if place else name
            out[label] = np.asarray(values[(slice(None), slice(None), *place)], float)
    return out

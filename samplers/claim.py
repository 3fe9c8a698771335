"""What a kernel promises, in a vocabulary that a machine can combine.

A claim is not documentation: ``validation`` reads it to choose the checks that a kernel has to pass, the drivers read
it to refuse meaningless uses, and :func:`compose_claims` derives the claim of a composition from those of its parts.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any


class Exactness(enum.Enum):
    """How the law that a kernel produces relates to its target, strongest first."""

    EXACT = "exact"
    """The kernel leaves the target invariant for every value of its parameters."""
    ASYMPTOTIC = "asymptotically exact"
    """Adaptive or history-dependent: time averages converge to expectations under the target."""
    LIMIT = "exact in a limit"
    """A parameter, named by the claim's ``order``, has to go to a limit."""
    BIASED = "biased"
    """The law differs from the target by an amount whose ``order`` is known."""
    HEURISTIC = "heuristic"
    """No statement about the law is made."""

    @property
    def rank(self) -> int:
        """Position in the order from strongest (0) to weakest."""
        return list(Exactness).index(self)


class Space(enum.Enum):
    """The kind of space that a kernel's positions live in."""

    REAL = "real"
    """Pytrees of floating-point arrays, unconstrained."""
    FINITE = "finite"
    """Pytrees of integer arrays with finitely many values."""
    GRAPH = "graph"
    """Nodes of a graph, as integers."""
    SEQUENCE = "sequence"
    """Sequences of tokens, as integers."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a kernel promises, and where the promise comes from.

    Parameters
    ----------
    exactness
        How the produced law relates to the target.
    statement
        One sentence: what is left invariant, or converges, or is off by how much.
    source
        Authors, year, arXiv number or DOI, and where it helps the algorithm's number.
    reversible
        Whether detailed balance holds; ``None`` where the question does not apply (independent draws, histories).
    order
        For ``LIMIT`` the limit (``"rho -> 0"``), for ``BIASED`` the size of the bias (``"O(h)"``). Empty otherwise.
    spaces
        The spaces that the kernel works on; empty means any.
    gradient
        Whether the kernel differentiates the log density.
    memory
        Whether the transition depends on the past (a self-repellent walk), so that the position alone is no chain.
    population
        Whether positions carry a leading axis of walkers or agents that are updated together.
    independent
        Whether a step forgets the state.
    weighted
        Whether draws carry a log weight in ``Info.log_weight`` and mean nothing without it.
    bias
        Names of the error terms of a biased kernel: its knobs.

    Raises
    ------
    ValueError
        If a biased or limiting claim names no order, or another claim names one.
    """

    exactness: Exactness
    statement: str
    source: str = ""
    reversible: bool | None = None
    order: str = ""
    spaces: frozenset[Space] = frozenset()
    gradient: bool = False
    memory: bool = False
    population: bool = False
    independent: bool = False
    weighted: bool = False
    bias: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needs_order = self.exactness in (Exactness.LIMIT, Exactness.BIASED)
        if needs_order and not self.order:
            raise ValueError(
                f"a claim that is {self.exactness.value!r} has to say its order; "
                'pass order="O(h)" for a bias, order="rho -> 0" for a limit'
            )
        if not needs_order and self.order:
            raise ValueError(f"a claim that is {self.exactness.value!r} has no order; got order={self.order!r}")

    @property
    def is_exact(self) -> bool:
        """Whether the target is invariant for every value of the parameters."""
        return self.exactness is Exactness.EXACT

    def to_record(self) -> dict[str, Any]:
        """Return the claim as strings, lists and booleans, fit for JSON."""
        return {
            **dataclasses.asdict(self),
            "exactness": self.exactness.value,
            "spaces": sorted(space.value for space in self.spaces),
            "bias": list(self.bias),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Claim":
        """Read what :meth:`to_record` has written."""
        return cls(
            **{
                **record,
                "exactness": Exactness(record["exactness"]),
                "spaces": frozenset(Space(space) for space in record["spaces"]),
                "bias": tuple(record["bias"]),
            }
        )

    def __str__(self) -> str:
        words = [self.exactness.value]
        if self.order:
            words.append(self.order)
        if self.reversible is not None:
            words.append("reversible" if self.reversible else "not reversible")
        return ", ".join(words)


def compose_claims(parts: Sequence[Claim], *, statement: str, reversible: bool | None, source: str = "") -> Claim:
    """Derive the claim of a composition: as weak as its weakest part.

    Parameters
    ----------
    parts
        The claims of the kernels that are composed; at least one.
    statement
        What the composition does, in a sentence.
    reversible
        Whether the composition is reversible, which depends on how the parts are put together.
    source
        Where the composition is described; the sources of the parts follow it.

    Returns
    -------
    Claim
        Exactness of the weakest part, the orders and bias terms of all, the flags that any part raises.
    """
    if not parts:
        raise ValueError("a composition needs at least one part; got none")
    weakest = max(parts, key=lambda claim: claim.exactness.rank).exactness
    orders = tuple(dict.fromkeys(claim.order for claim in parts if claim.order))
    keeps_order = weakest in (Exactness.LIMIT, Exactness.BIASED)
    spaces = [claim.spaces for claim in parts if claim.spaces]
    return Claim(
        exactness=weakest,
        statement=statement,
        source="; ".join(dict.fromkeys(text for text in (source, *(claim.source for claim in parts)) if text)),
        reversible=reversible,
        order=" + ".join(orders) if keeps_order else "",
        spaces=frozenset().union(*spaces) if spaces else frozenset(),
        gradient=any(claim.gradient for claim in parts),
        memory=any(claim.memory for claim in parts),
        population=any(claim.population for claim in parts),
        independent=False,
        weighted=any(claim.weighted for claim in parts),
        bias=tuple(dict.fromkeys(term for claim in parts for term in claim.bias)),
    )

"""How the operands of a traced scan are laid out: constants, carry, sequences."""

from collections.abc import Mapping
from typing import Any

__all__ = ["scan_layout"]


def scan_layout(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many constants a scan has, and how many operands it carries; sequences come last.

    Parameters
    ----------
    params
        Of the equation.
    """
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # From JAX 0.12 on, a tree describes the operands.
    consts, carry = params["ft_in"].unpack()[:2]
    return len(consts), len(carry)

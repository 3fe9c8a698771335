"""The catalogue: every kernel and rule of the library beside the checks of its claim.

The rows live in ``validation/cases``, a file for each family. To add a kernel, add its row there.
"""

import functools
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from ergodica.validation.evidence import Case

FAMILIES = (
    "composition",
    "slicing",
    "metropolis",
    "gibbs",
    "model_gibbs",
    "walks",
    "diffusion",
    "distributed",
    "flows",
    "acceptance",
    "blocks",
    "rejection",
    "speculation",
    "sequences",
    "structured",
)
"""Names of the modules of ``validation.cases``, in the order of the evidence table."""


@functools.cache
def catalogue() -> Mapping[str, Case]:
    """Return all rows by name; the families are imported at the first call.

    Raises
    ------
    ValueError
        If two rows share a name.
    """
    rows: dict[str, Case] = {}
    for family in FAMILIES:
        with jax.enable_x64(True):  # the rows hold numbers of double precision
            cases = importlib.import_module(f"ergodica.validation.cases.{family}").CASES
        for case in cases:
            if case.name in rows:
                raise ValueError(f"two rows of the catalogue are called {case.name!r}")
            rows[case.name] = case
    return MappingProxyType(rows)


def case_of(subject: Any) -> Case | None:
    """Return the row whose class is nearest to that of an instance; ``None`` if there is none.

    Rows whose checks fit their example alone are passed over.
    """
    cases = [case for case in catalogue().values() if not case.only_example]
    for ancestor in type(subject).__mro__:
        for case in cases:
            if case.subject is ancestor:
                return case
    return None

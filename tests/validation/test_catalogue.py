"""No claim without evidence: every kernel and rule of the library stands in a row of the catalogue."""

import importlib
import inspect
import pkgutil

import jax
import pytest

import ergodica.samplers
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.kernel import Kernel
from ergodica.validation.catalogue import case_of, catalogue
from ergodica.validation.certify import certify


def concrete_classes():
    for info in pkgutil.walk_packages(ergodica.samplers.__path__, "ergodica.samplers."):
        if info.name.startswith(("ergodica.samplers.interop.", "ergodica.samplers.lowering.")):
            continue  # adapters: the claims are those of what they wrap
        for value in vars(importlib.import_module(info.name)).values():
            if inspect.isclass(value) and issubclass(value, Kernel | AcceptanceRule) and not inspect.isabstract(value):
                yield value


def classes_in(tree):
    """Return the classes of a kernel and of everything that it is made of, its reference included."""
    found = set()
    jax.tree.map(lambda node: None, tree, is_leaf=lambda node: found.add(type(node)) and False)
    if hasattr(tree, "reference"):
        found |= classes_in(tree.reference())
    return found


def test_every_kernel_and_rule_is_in_a_row():
    covered = set()
    for case in catalogue().values():
        covered |= {case.subject} | classes_in(case.example())
    missing = {cls.__name__ for cls in concrete_classes()} - {cls.__name__ for cls in covered}
    assert not missing


@pytest.mark.parametrize("name", list(catalogue()))
def test_rows_are_whole(name):
    case = catalogue()[name]
    subject = case.example()
    assert case.checks
    assert len({check.name for check in case.checks}) == len(case.checks)
    assert isinstance(subject, case.subject)
    assert subject.claim.statement
    assert subject.claim.source or case.only_example
    if not case.only_example:
        assert case_of(subject) is not None


def test_a_budget_skips_checks_and_says_so():
    report = certify("cycle", budget=0.0)
    assert not report.passed
    assert report.skipped
    assert "over budget" in str(report)

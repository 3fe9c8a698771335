"""The table of the names that ``import ergodica`` offers, and a check that the reference leaves no public name out.

Public is what a module of the package lists in ``__all__``, or, without such a list, each class and function that it
defines under a name without a leading underscore. A missing one is a warning, and the build treats warnings as errors.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import ergodica

LOGGER = logging.getLogger(__name__)
PARTS = ("ergodica.samplers", "ergodica.theory", "ergodica.validation")
ROWS = "ergodica.validation.cases"
"""The rows of the catalogue; the page `evidence` is their documentation."""


def public_names() -> Iterator[str]:
    """Yield the full name of everything public."""
    for part in PARTS:
        package = importlib.import_module(part)
        for info in pkgutil.walk_packages(package.__path__, f"{part}."):
            if info.name.startswith(ROWS):
                continue
            module = importlib.import_module(info.name)
            listed = getattr(module, "__all__", None)
            for name, value in vars(module).items():
                defined_here = getattr(value, "__module__", None) == module.__name__
                is_code = inspect.isclass(value) or inspect.isfunction(value)
                is_public = name in listed if listed is not None else not name.startswith("_")
                if is_code and defined_here and is_public:
                    yield f"{module.__name__}.{name}"


def home_of(name: str) -> str:
    """Return the full name under which the reference documents a name of ``ergodica.__all__``."""
    value = getattr(ergodica, name)
    return f"{getattr(value, '__module__', ergodica._HOME[name])}.{getattr(value, '__qualname__', name)}"


class PublicNames(SphinxDirective):
    """Prints each name of ``ergodica.__all__`` with the first sentence of its docstring, by module."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [".. list-table::", "   :widths: 30 70", ""]
        for module in sorted(ergodica._NAMES_OF):
            for name in ergodica._NAMES_OF[module]:
                summary = " ".join((inspect.getdoc(getattr(ergodica, name)) or "").split("\n\n")[0].split())
                rows += [f"   * - :py:obj:`{name} <{home_of(name)}>`", f"     - {summary}"]
        parent = nodes.Element()
        self.state.nested_parse(StringList(rows, source=self.get_source_info()[0]), self.content_offset, parent)
        return parent.children


def check(app: Sphinx, environment: object) -> None:
    """Compare what is public with what the reference documents."""
    del environment
    documented = set(app.env.get_domain("py").objects)  # type: ignore[attr-defined]
    for name in sorted({*public_names(), *(home_of(name) for name in ergodica.__all__)} - documented):
        LOGGER.warning("public name %s is missing from the reference", name, type="ergodica", subtype="public_name")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("public-names", PublicNames)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

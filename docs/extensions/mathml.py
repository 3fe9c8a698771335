"""Renders formulas as MathML when the pages are built, so that reading them needs no script from elsewhere."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _convert(node: nodes.Element, *, inline: bool) -> str:
    source = re.sub(r"\\dots\b", r"\\ldots", node.astext())  # the converter knows only the second
    if not inline and r"\\" in source and r"\begin" not in source:
        source = rf"\begin{{align}}{source}\end{{align}}"
    try:
        text: str = latex2mathml.tex2mathml(source, as_block=not inline)
    except MathError as error:
        LOGGER.warning("formula %r: %s", source, error, location=node)
        return f"<code>{source}</code>"
    return text


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_convert(node, inline=True))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed formula."""
    translator.body.append(f'<div class="math-block">{_convert(node, inline=False)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

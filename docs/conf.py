"""Settings of the documentation. It is built offline: no inventory or script is fetched."""

import inspect
import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "extensions"))

import ergodica

project = "Ergodica"
author = "The Ergodica developers"
copyright = "2026, The Ergodica developers"
version = release = ergodica.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "evidence_table",
    "mathml",
    "public_names",
]
exclude_patterns = ["_build", "extensions", "README.md", "evidence_table.inc"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold functions
nitpicky = False

# --- guide ----------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# --- reference ------------------------------------------------------------------------------------------------------
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": False}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
viewcode_line_numbers = True

# --- gallery --------------------------------------------------------------------------------------------------------


def _reset(gallery_conf, fname):
    """Give every page the same look and the default precision, whatever the page before did."""
    import jax
    import matplotlib

    jax.config.update("jax_enable_x64", False)
    matplotlib.rcdefaults()
    matplotlib.style.use(DOCS / "ergodica.mplstyle")


sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "reset_modules": (_reset,),
    "doc_module": ("ergodica",),
    "backreferences_dir": "gallery/backreferences",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1,
    "image_srcset": ["2x"],
}

# --- pages ----------------------------------------------------------------------------------------------------------
html_theme = "furo"
html_math_renderer = "mathml"
html_title = "Ergodica"
html_static_path = ["_static"]
html_css_files = ["ergodica.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b5e7d", "color-brand-content": "#1b5e7d"},
    "dark_css_variables": {"color-brand-primary": "#7fc4e3", "color-brand-content": "#7fc4e3"},
}
pygments_style = "friendly"
pygments_dark_style = "native"

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _skip(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, whose only docstring is 'Alias for field number 0'."""
    del app, what, name, options
    return True if type(obj).__name__ == "_tuplegetter" else skip


ARRAY_LIKE = "Array | ndarray | bool | number | bool | int | float | complex"


def _plain_types(text):
    """Shorten names to those that the source uses."""
    text = (
        text.replace("jaxlib._jax.", "").replace("jaxtyping.", "").replace("jax.tree_util.", "").replace("typing.", "")
    )
    return text.replace(ARRAY_LIKE, "ArrayLike")


def _signature(app, what, name, obj, options, signature, return_annotation):
    """Shorten types; leave the constructor out where a class is abstract and cannot be called."""
    if what == "class" and inspect.isclass(obj) and inspect.isabstract(obj):
        return "", return_annotation
    if signature is None:
        return None
    return _plain_types(signature), return_annotation and _plain_types(return_annotation)


def _docstring(app, what, name, obj, options, lines):
    """Shorten the types that napoleon took from the annotations of a class."""
    lines[:] = [_plain_types(line) if line.startswith((":type", ":vartype")) else line for line in lines]


def setup(app):
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=900)

"""Ergodica: samplers, and the evidence that they are right."""

from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file() and not (_root / "ergodica" / "samplers").is_dir():
    __path__.append(str(_root))  # a checkout whose symbolic links were not made, as on Windows

__version__ = "0.1.0.dev0"

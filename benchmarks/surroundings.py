"""Where benchmarks print, and what processes they start see."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

__all__ = ["child_environment", "wide_console"]


def wide_console(width: int) -> Console:
    """A console on the standard output, so wide where that is no terminal, of which rich would assume 80 columns."""
    return Console(width=None if sys.stdout.isatty() else width)


def child_environment() -> dict[str, str]:
    """The environment of a process that imports benchmarks, wherever it runs."""
    place = str(Path(__file__).resolve().parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}

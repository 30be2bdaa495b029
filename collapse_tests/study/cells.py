"""Cells and headers that the tables of a study share."""

from __future__ import annotations

from rich.text import Text

from collapse_tests.report.formatting import Notation
from collapse_tests.study.association import Correlation

__all__ = ["correlation_cell", "p_value_text", "plus_minus", "times_at_random", "wrapped_name", "yes_or_no"]

_SMALLEST = 1e-4


def wrapped_name(name: str, notation: Notation) -> str:
    """A task's name as a header that is no wider than its parts."""
    return notation.show(name).replace("_", "_\n").replace(" ", "\n")


def p_value_text(value: float) -> str:
    """Two significant digits, and no more zeros than anyone counts."""
    return f"<{_SMALLEST:.4f}" if value < _SMALLEST else f"{value:.2g}"


def correlation_cell(found: Correlation | None, notation: Notation) -> Text:
    """The coefficient with its p-value in brackets."""
    return Text(notation.absent if found is None else f"{found.rho:+.2f} ({p_value_text(found.p_value)})")


def times_at_random(count: int | None, of: int) -> Text:
    """How many of some models answer a task at random; None where the task cannot tell."""
    if of == 0:
        return Text("not measured")
    if count is None:
        return Text("tells nothing")
    return Text(f"{count:,} of {of:,}", style="red" if count else "")


def yes_or_no(value: bool | None, notation: Notation) -> Text:
    """1 or 0, as the study prints it."""
    return Text(notation.absent if value is None else str(int(value)))


def plus_minus(value: float, error: float | None, notation: Notation) -> str:
    """A score and its standard error."""
    if error is None:
        return f"{value:.2f}"
    return f"{value:.2f} {'+-' if notation.arrow.isascii() else '±'}{error:.2f}"

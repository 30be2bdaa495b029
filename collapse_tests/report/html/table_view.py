"""A table as a page shows it: text and numbers, sortable by what they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.report.formatting import perplexity
from collapse_tests.report.html.texts import NOTATION, shown
from collapse_tests.report.rows import Rate

__all__ = ["Cell", "Heading", "TableView", "count_cell", "number_cell", "ppl_cell", "rate_cell", "text_cell"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: what is shown.
        key: what it is sorted by if not by its text; empty to follow the text.
        full: what is exported if not the text.
        verdict: the verdict it shows, for its badge; empty for none.
        anchor: of the section it leads to; empty for none.
    """

    text: str
    key: str = ""
    full: str = ""
    verdict: str = ""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """One column: its name, an explanation or nothing, whether it holds numbers, and whether long text."""

    name: str
    about: str = ""
    numeric: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class TableView:
    """One table.

    Attributes:
        id: of its element; letters, digits and dashes.
        caption: what it shows.
        headings: from left to right.
        rows: of as many cells each; the first names the row.
        note: what is left out or how to read it; empty for nothing.
        marks: one text per row for filters of the page's own making, or none.
    """

    id: str
    caption: str
    headings: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    marks: Sequence[str] = ()


def text_cell(text: str | None, limit: int = 80) -> Cell:
    """Text of a record."""
    brief = shown(text, limit)
    whole = shown(text, 300)
    return Cell(brief, full="" if whole == brief else whole)


def number_cell(value: float | None) -> Cell:
    """Any number, to three digits."""
    return _number(value, NOTATION.significant(value))


def ppl_cell(value: float | None) -> Cell:
    """A perplexity."""
    return _number(value, NOTATION.absent if value is None else perplexity(value))


def count_cell(value: int | None) -> Cell:
    """A count."""
    return Cell(NOTATION.absent, "-inf") if value is None else Cell(f"{value:,}", str(value), str(value))


def rate_cell(rate: Rate) -> Cell:
    """Hits of the cases measured, as `12 of 16`."""
    if rate.n == 0:
        return Cell(NOTATION.absent, "-inf")
    return Cell(f"{rate.hits:,} of {rate.n:,}", repr(rate.hits / rate.n))


def _number(value: float | None, text: str) -> Cell:
    """Sorted with what was not measured below all, inf above every number and NaN above inf."""
    if value is None:
        return Cell(text, "-inf")
    if math.isfinite(value):
        return Cell(text, _compact(value), _compact(value))
    return Cell(text, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf")


def _compact(value: float) -> str:
    return f"{value:.6g}"

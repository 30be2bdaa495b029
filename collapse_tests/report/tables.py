"""Tables of records in a text stream: user text shrinks, numbers stay whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from rich import box
from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from collapse_tests.records import Verdict
from collapse_tests.report.formatting import Notation, shorten_middle

__all__ = ["VERDICT_STYLES", "Column", "Elastic", "fits", "make_table", "name_cell", "print_table"]

VERDICT_STYLES = {
    Verdict.STABLE: "green",
    Verdict.COLLAPSED: "red",
    Verdict.INEFFECTIVE: "yellow",
    Verdict.ERROR: "magenta",
}

_UNBOUNDED = 10_000
# As `box.SIMPLE_HEAD`; rich has no ASCII twin of it and would draw a full grid.
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)

Row = TypeVar("Row")


class Elastic:
    """User text on one line, shortened to whatever width its column gets.

    Args:
        fit: the text in at most the given number of columns.
    """

    def __init__(self, fit: Callable[[int], str]) -> None:
        self._fit = fit
        self._width = cell_len(fit(_UNBOUNDED))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(self._width, 8), min(self._width, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._fit(options.max_width), no_wrap=True)


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column: its header, the cell of a row, and which side the cells lean on."""

    header: str
    cell: Callable[[Row], RenderableType]
    justify: Literal["left", "right"] = "right"
    elastic: bool = False


def make_table(columns: Sequence[Column[Row]], rows: Sequence[Row], notation: Notation, gap: int = 2) -> Table:
    """A table with a rule below its header and none around it.

    Args:
        columns: from left to right.
        rows: what each line is about.
        notation: of the stream it goes to.
        gap: spaces between columns.
    """
    ascii_only = notation.arrow.isascii()
    table = Table(
        box=_ASCII_HEAD if ascii_only else box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),
    )
    for column in columns:
        # Only elastic columns may shrink, so that numbers stay whole for as long as there is any text to shorten.
        table.add_column(Text(column.header), justify=column.justify, no_wrap=not column.elastic, vertical="bottom")
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def print_table(table: Table, console: Console) -> None:
    """Print whole numbers even where the console is too narrow; rich would drop the names and then cut digits."""
    needed = _measure(table, console).minimum
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False, soft_wrap=False)
    console.print()


def fits(table: Table, console: Console) -> bool:
    """Whether the console is wide enough for the table with all text whole."""
    return _measure(table, console).maximum <= console.width


def name_cell(text: str, notation: Notation) -> Elastic:
    """User text that gives way in its middle."""
    shown = notation.show(text)
    return Elastic(lambda width: shorten_middle(shown, width, notation.ellipsis))


def _measure(table: Table, console: Console) -> Measurement:
    return Measurement.get(console, console.options.update(width=_UNBOUNDED), table)

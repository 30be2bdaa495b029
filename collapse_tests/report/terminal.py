"""The collapse report in a terminal, a log or any other text stream.

User text reaches rich as `Text`, never as a string, so that nothing in it is taken for markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Generic, Literal, TextIO, TypeVar

from rich import box
from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import Notation, percentage, perplexity, shorten_middle
from collapse_tests.report.rows import (
    GroupSummary,
    Rate,
    error_cases,
    error_text,
    growth,
    summarise,
    verdict_sentence,
    worst_cases,
)
from collapse_tests.report.store import RECORDS_FILE

__all__ = ["VERDICT_STYLES", "make_console", "render"]

VERDICT_STYLES = {
    Verdict.STABLE: "green",
    Verdict.COLLAPSED: "red",
    Verdict.INEFFECTIVE: "yellow",
    Verdict.ERROR: "magenta",
}

_SHOWN = 10
_SHOWN_VERBOSE = 100
_UNBOUNDED = 10_000
# As `box.SIMPLE_HEAD`; rich has no ASCII twin of it and would draw a full grid.
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)

_Row = TypeVar("_Row")


def make_console(file: TextIO, *, width: int | None = None, colour: bool | None = None) -> Console:
    """A console that writes to `file` and takes nothing in the text for markup, emoji or numbers to paint.

    Args:
        file: any text stream; its encoding decides between Unicode and ASCII signs.
        width: columns; None for the terminal's own, or 80.
        colour: whether to write control codes; None to decide by whether `file` is a terminal.
    """
    return Console(
        file=file,
        width=width,
        force_terminal=colour,
        markup=False,
        emoji=False,
        highlight=False,
        force_jupyter=False,
        legacy_windows=False,
    )


def render(records: Sequence[Record], *, run_directory: str | None, console: Console, verbose: bool) -> None:
    """Print the report: models by editors, the worst cases, the errors, the verdict and where the records are.

    Args:
        records: the whole run, possibly empty.
        run_directory: where the records are; None when they were not written.
        console: where to print.
        verbose: list up to 100 cases instead of 10, and the time of each stage.
    """
    notation = Notation.of(console.encoding)
    groups = summarise(records)
    console.print(Rule(Text("collapse report", style="bold"), style="none"))
    console.print()
    if groups:
        for table in _summary_tables(groups, notation, console):
            _print_table(table, console)
    if verbose:
        _print_stages(groups, notation, console)
    limit = _SHOWN_VERBOSE if verbose else _SHOWN
    _print_worst(records, limit, notation, console)
    _print_errors(records, limit, notation, console)
    console.print(Text(notation.show(verdict_sentence(records)), style="bold"))
    if run_directory is not None:
        place = notation.show(str(PurePath(run_directory, RECORDS_FILE)))
        console.print(Text(f"Records: {place}"), soft_wrap=True)


class _Elastic:
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
class _Column(Generic[_Row]):
    """One column: its header, the cell of a row, and which side the cells lean on."""

    header: str
    cell: Callable[[_Row], RenderableType]
    justify: Literal["left", "right"] = "right"
    elastic: bool = False


def _table(columns: Sequence[_Column[_Row]], rows: Sequence[_Row], notation: Notation, gap: int = 2) -> Table:
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


def _print_table(table: Table, console: Console) -> None:
    """Print whole numbers even where the console is too narrow; rich would drop the names and then cut digits."""
    needed = _measure(table, console).minimum
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False, soft_wrap=False)
    console.print()


def _measure(table: Table, console: Console) -> Measurement:
    return Measurement.get(console, console.options.update(width=_UNBOUNDED), table)


def _fits(table: Table, console: Console) -> bool:
    return _measure(table, console).maximum <= console.width


def _summary_tables(groups: Sequence[GroupSummary], notation: Notation, console: Console) -> list[Table]:
    """One table where the console is wide enough, otherwise verdicts and measurements one below the other."""
    names = _name_columns(notation)
    counts = _count_columns()
    measures = _measure_columns(notation)
    for gap in (2, 1):
        table = _table([*names, *counts, *measures], groups, notation, gap)
        if _fits(table, console):
            return [table]
    return [_table([*names, *counts], groups, notation), _table([*names, *measures], groups, notation)]


def _name_columns(notation: Notation) -> list[_Column[GroupSummary]]:
    return [
        _Column("model", lambda group: _name(group.model, notation), "left", elastic=True),
        _Column("editor", lambda group: _name(group.editor, notation), "left", elastic=True),
    ]


def _count_columns() -> list[_Column[GroupSummary]]:
    def column(verdict: Verdict) -> _Column[GroupSummary]:
        return _Column(verdict.value, lambda group: _count(group, verdict))

    return [_Column("cases", lambda group: Text(f"{group.cases:,}")), *(column(verdict) for verdict in Verdict)]


def _measure_columns(notation: Notation) -> list[_Column[GroupSummary]]:
    def learnt(group: GroupSummary) -> int:
        return group.cases - group.verdicts[Verdict.ERROR]

    def rate(value: Rate, group: GroupSummary) -> Text:
        return Text(_rate(value, learnt(group), notation))

    return [
        _Column("ME-PPL\nunedited", lambda group: Text(notation.perplexity(group.unedited_me_ppl))),
        _Column(f"{notation.arrow}\nmedian", lambda group: Text(notation.perplexity(group.median_me_ppl))),
        _Column(f"{notation.arrow}\nworst", lambda group: Text(notation.perplexity(group.worst_me_ppl))),
        _Column("success", lambda group: rate(group.success, group)),
        _Column("general.", lambda group: rate(group.generalisation, group)),
        _Column("local.", lambda group: rate(group.locality, group)),
        _Column("s/edit", lambda group: Text(notation.significant(group.seconds_per_edit))),
    ]


def _print_stages(groups: Sequence[GroupSummary], notation: Notation, console: Console) -> None:
    for group in groups:
        stages = ", ".join(
            f"{notation.show(stage)} {notation.significant(seconds)}" for stage, seconds in group.seconds.items()
        )
        if stages:
            name = notation.show(f"{group.model} under {group.editor}")
            console.print(Text(f"Seconds per edit of {name}: {stages}"))
    if groups:
        console.print()


def _print_worst(records: Sequence[Record], limit: int, notation: Notation, console: Console) -> None:
    cases = worst_cases(records, limit=None)
    if not cases:
        return
    shown = cases[:limit]
    limits = {record.ppl_limit for record in cases if not math.isnan(record.ppl_limit)}
    against = f", ME-PPL limit {perplexity(limits.pop())}" if len(limits) == 1 else ""
    console.print(Text(f"worst cases, {len(shown):,} of {len(cases):,}{against}", style="bold"))
    columns: list[_Column[Record]] = [
        _identity(records, notation),
        _Column("edit", lambda record: _Elastic(lambda width: notation.edit(record.request, width)), "left", True),
        _Column("ME-PPL", lambda record: Text(notation.perplexity(_edited_me_ppl(record)))),
        _Column("growth", lambda record: Text(notation.growth(growth(record)))),
        _Column("denom.", lambda record: _diagnostic(record, "denominator", notation)),
        _Column("update\n/weight", lambda record: _diagnostic(record, "update_norm_ratio", notation)),
        _Column("verdict", lambda record: Text(record.verdict, style=VERDICT_STYLES[record.verdict]), "left"),
    ]
    wide = _table(columns, shown, notation)
    _print_table(wide if _fits(wide, console) else _table(columns, shown, notation, gap=1), console)


def _print_errors(records: Sequence[Record], limit: int, notation: Notation, console: Console) -> None:
    cases = error_cases(records, limit=None)
    if not cases:
        return
    shown = cases[:limit]
    console.print(Text(f"errors, {len(shown):,} of {len(cases):,}", style=f"bold {VERDICT_STYLES[Verdict.ERROR]}"))
    columns: list[_Column[Record]] = [
        _identity(records, notation),
        _Column("message", lambda record: _name(error_text(record), notation), "left", elastic=True),
    ]
    _print_table(_table(columns, shown, notation), console)


def _identity(records: Sequence[Record], notation: Notation) -> _Column[Record]:
    """The end of the case id that tells the cases of this run apart."""
    many_models = len({record.model for record in records}) > 1
    many_editors = len({record.editor for record in records}) > 1

    def name(record: Record) -> str:
        if many_models:
            return record.case_id
        return f"{record.editor}-{record.edit_id}" if many_editors else record.edit_id

    return _Column("id", lambda record: _name(name(record), notation), "left", elastic=True)


def _edited_me_ppl(record: Record) -> float | None:
    return record.edited.me_ppl if record.edited else None


def _diagnostic(record: Record, name: str, notation: Notation) -> Text:
    return Text(notation.significant(record.diagnostics.get(name)))


def _name(text: str, notation: Notation) -> _Elastic:
    shown = notation.show(text)
    return _Elastic(lambda width: shorten_middle(shown, width, notation.ellipsis))


def _count(group: GroupSummary, verdict: Verdict) -> Text:
    n = group.verdicts[verdict]
    return Text(f"{n:,}", style=VERDICT_STYLES[verdict] if n else "")


def _rate(rate: Rate, learnt: int, notation: Notation) -> str:
    """The percentage, or the plain fraction where not every case that taught something was measured."""
    if rate.n != learnt and rate.n > 0:
        return f"{rate.hits:,}/{rate.n:,}"
    return percentage(rate.hits, rate.n) or notation.absent

"""Downstream accuracy in the terminal report: one line per task, editor and model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from collapse_tests.records import Record
from collapse_tests.report.formatting import Notation
from collapse_tests.report.tables import Column, fits, make_table, name_cell, print_table
from collapse_tests.report.task_rows import TaskSummary, summarise_tasks

__all__ = ["print_tasks", "score"]


def print_tasks(records: Sequence[Record], notation: Notation, console: Console) -> None:
    """Print the table, or nothing where no task was measured."""
    rows = summarise_tasks(records)
    if not rows:
        return
    columns = [*_who(rows, notation), *_what(notation)]
    wide = make_table(columns, rows, notation)
    console.print(Text("downstream accuracy, means over cases", style="bold"))
    print_table(wide if fits(wide, console) else make_table(columns, rows, notation, gap=1), console)


def score(value: float | None, notation: Notation) -> str:
    """A score from 0 to 1, with two decimals."""
    return notation.absent if value is None else f"{value:.2f}"


def _who(rows: Sequence[TaskSummary], notation: Notation) -> list[Column[TaskSummary]]:
    """The columns that tell the groups of this run apart."""
    columns: list[Column[TaskSummary]] = []
    if len({row.model for row in rows}) > 1:
        columns.append(Column("model", lambda row: name_cell(row.model, notation), "left", elastic=True))
    if len({row.editor for row in rows}) > 1:
        columns.append(Column("editor", lambda row: name_cell(row.editor, notation), "left", elastic=True))
    return columns


def _what(notation: Notation) -> list[Column[TaskSummary]]:
    return [
        Column("task", lambda row: name_cell(row.task, notation), "left", elastic=True),
        Column("cases", lambda row: Text(f"{row.cases:,}")),
        Column("chance", lambda row: Text(score(row.chance, notation))),
        Column("unedited", lambda row: Text(score(row.unedited, notation))),
        Column("survived", lambda row: Text(score(row.survived, notation))),
        Column("collapsed", lambda row: Text(score(row.collapsed, notation))),
        Column("lowest", lambda row: Text(score(row.lowest, notation))),
        Column("at random", _failed),
    ]


def _failed(row: TaskSummary) -> Text:
    if not row.informative:
        return Text("tells nothing")
    return Text(f"{row.failed:,}", style="red" if row.failed else "")

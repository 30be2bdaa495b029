"""Runs side by side in a terminal or any other text stream."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from collapse_tests.baseline.snapshot import CaseOutcome
from collapse_tests.report.formatting import Notation, percentage
from collapse_tests.report.rows import Rate
from collapse_tests.report.side_by_side import Contrast, Entry, NamedRun, Pair, contrasts, entries, run_differences
from collapse_tests.report.side_by_side_lines import (
    column_names,
    contrast_lines,
    contrast_title,
    differing_cases,
)
from collapse_tests.report.tables import VERDICT_STYLES, Column, make_table, name_cell, print_table

__all__ = ["print_side_by_side"]


def print_side_by_side(runs: Sequence[NamedRun], shown: int, console: Console) -> None:
    """Print what differs between runs, how each came out, and each against the first.

    Args:
        runs: at least one; the others are measured by the first.
        shown: cases that came out differently to list, at most, of each two.
        console: where to print.
    """
    notation = Notation.of(console.encoding)
    found = entries(runs)

    def say(line: str, style: str = "") -> None:
        console.print(Text(notation.show(line), style=style), soft_wrap=True)

    for run in runs:
        say(f"{run.letter}: {run.place}")
    differences = list(run_differences(runs))
    for line in differences:
        say(f"differs: {line}", "yellow")
    console.print()
    print_table(make_table(_columns(found, notation), found, notation, gap=2), console)
    for contrast in contrasts(found):
        say(contrast_title(contrast), "bold")
        for line in contrast_lines(contrast):
            say(f"  {line}")
        console.print()
        _print_cases(contrast, shown, notation, console)


def _columns(found: Sequence[Entry], notation: Notation) -> list[Column[Entry]]:
    tasks = dict.fromkeys(task for entry in found for task in entry.tasks)

    def task_column(task: str) -> Column[Entry]:
        return Column(
            notation.show(task.removeprefix("collapse_")), lambda entry: Text(_score(entry.tasks.get(task), notation))
        )

    return [
        Column("run", lambda entry: Text(entry.run.letter), "left"),
        Column("model", lambda entry: name_cell(entry.group.model, notation), "left", elastic=True),
        Column("editor", lambda entry: name_cell(entry.group.editor, notation), "left", elastic=True),
        Column("cases", lambda entry: Text(f"{len(entry.cases):,}")),
        Column("errors", lambda entry: Text(f"{entry.errors:,}")),
        Column("collapsed", lambda entry: Text(_rate(entry.collapses, notation))),
        Column("95% interval", lambda entry: Text(_interval(entry))),
        Column("median\nME-PPL", lambda entry: Text(notation.perplexity(entry.median_me_ppl))),
        Column("success", lambda entry: Text(_rate(entry.success, notation))),
        *map(task_column, tasks),
    ]


def _print_cases(contrast: Contrast, shown: int, notation: Notation, console: Console) -> None:
    rows = differing_cases(contrast)
    if not rows or not shown:
        return
    listed = rows[:shown]
    head = f"other verdicts, {len(listed):,} of {len(rows):,}"
    console.print(Text(head, style="bold"))
    names = [notation.show(name) for name in column_names(contrast)]
    columns: list[Column[Pair]] = [
        Column("request", lambda row: name_cell(row.edit_id, notation), "left", elastic=True),
        Column(names[0], lambda row: _verdict(row.before), "left"),
        Column("ME-PPL", lambda row: Text(notation.perplexity(row.before.me_ppl))),
        Column(names[1], lambda row: _verdict(row.after), "left"),
        Column("ME-PPL", lambda row: Text(notation.perplexity(row.after.me_ppl))),
    ]
    print_table(make_table(columns, listed, notation), console)


def _verdict(outcome: CaseOutcome) -> Text:
    return Text(outcome.verdict, style=VERDICT_STYLES[outcome.verdict])


def _rate(rate: Rate, notation: Notation) -> str:
    share = percentage(rate.hits, rate.n)
    return notation.absent if share is None else f"{rate.hits:,}/{rate.n:,} {share}"


def _interval(entry: Entry) -> str:
    low, high = entry.interval
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def _score(score: float | None, notation: Notation) -> str:
    return notation.absent if score is None else f"{score:.3f}"

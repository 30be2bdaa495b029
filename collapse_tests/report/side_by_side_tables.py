"""Runs side by side in a terminal or any other text stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from collapse_tests.baseline.differences import some_of
from collapse_tests.baseline.snapshot import CaseOutcome
from collapse_tests.records import badness
from collapse_tests.report.against_baseline import ratio_text
from collapse_tests.report.formatting import Notation, percentage
from collapse_tests.report.rows import Rate
from collapse_tests.report.side_by_side import Contrast, Entry, NamedRun, contrasts, entries, run_differences
from collapse_tests.report.tables import VERDICT_STYLES, Column, make_table, name_cell, print_table
from collapse_tests.verdict.regression import Shift

__all__ = ["print_side_by_side"]


@dataclass(frozen=True, slots=True)
class _CaseRow:
    """A case that came out differently."""

    edit_id: str
    before: CaseOutcome
    after: CaseOutcome


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
        say(_title(contrast), "bold")
        for line in _lines(contrast):
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


def _title(contrast: Contrast) -> str:
    entry, reference = contrast.entry, contrast.reference
    return f"{_named(entry)} against {_named(reference)}"


def _named(entry: Entry) -> str:
    return f"{entry.run.letter} ({entry.group.title})"


def _lines(contrast: Contrast) -> Iterator[str]:
    for difference in contrast.differences:
        if difference.what != "editor":
            yield f"differs: {difference}"
    if contrast.barriers:
        names = ", ".join(f"--{difference.what}" for difference in contrast.barriers)
        yield f"not tested, as a collapse is another thing in each: {names}"
        return
    compared = contrast.compared
    yield f"{compared.pairs:,} requests measured in both"
    if compared.changed:
        yield f"another request under the same name, not compared: {some_of(compared.changed)}"
    if compared.collapses is not None and contrast.collapse_p_value is not None:
        yield f"collapses: {_shift(compared.collapses, contrast.collapse_p_value)}"
    if compared.median_log_ratio is not None:
        yield f"ME-PPL: median ratio {ratio_text(compared.median_log_ratio)}"
    if compared.failures is not None and contrast.failure_p_value is not None:
        yield f"edits that do not take: {_shift(compared.failures, contrast.failure_p_value)}"


def _shift(shift: Shift, p_value: float) -> str:
    counts = f"{shift.after:,} of {shift.cases_after:,} against {shift.before:,} of {shift.cases_before:,}"
    only = f", {shift.worse:,} only here and {shift.better:,} only there" if shift.test == "McNemar" else ""
    return f"{counts}{only} (exact {shift.test} test, two-sided p = {p_value:.2g})"


def _print_cases(contrast: Contrast, shown: int, notation: Notation, console: Console) -> None:
    if contrast.barriers:
        return
    rows = _differing(contrast)
    if not rows or not shown:
        return
    listed = rows[:shown]
    head = f"other verdicts, {len(listed):,} of {len(rows):,}"
    console.print(Text(head, style="bold"))
    there, here = contrast.reference, contrast.entry
    names = (
        (there.run.letter, here.run.letter)
        if there.run is not here.run
        else (notation.show(there.group.editor), notation.show(here.group.editor))
    )
    columns: list[Column[_CaseRow]] = [
        Column("request", lambda row: name_cell(row.edit_id, notation), "left", elastic=True),
        Column(names[0], lambda row: _verdict(row.before), "left"),
        Column("ME-PPL", lambda row: Text(notation.perplexity(row.before.me_ppl))),
        Column(names[1], lambda row: _verdict(row.after), "left"),
        Column("ME-PPL", lambda row: Text(notation.perplexity(row.after.me_ppl))),
    ]
    print_table(make_table(columns, listed, notation), console)


def _differing(contrast: Contrast) -> list[_CaseRow]:
    """The requests with two verdicts, the highest ME-PPL first."""
    before, after = contrast.reference.outcomes, contrast.entry.outcomes
    rows = [
        _CaseRow(edit_id, before[edit_id], outcome)
        for edit_id, outcome in after.items()
        if edit_id in before
        and before[edit_id].request == outcome.request
        and before[edit_id].verdict is not outcome.verdict
    ]
    return sorted(rows, key=lambda row: max(_badness(row.before), _badness(row.after)), reverse=True)


def _badness(outcome: CaseOutcome) -> tuple[bool, float]:
    return badness(0.0 if outcome.me_ppl is None else outcome.me_ppl)


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

"""Runs side by side to everything their page shows, as plain data; the words are those of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.baseline.snapshot import CaseOutcome
from collapse_tests.report.html.charts.chart import Chart
from collapse_tests.report.html.charts.pairs import pair_chart
from collapse_tests.report.html.charts.runs import RESERVED, quality_charts, task_charts_of_runs
from collapse_tests.report.html.summary import RateView, rates_of_runs
from collapse_tests.report.html.table_view import (
    Cell,
    Heading,
    TableView,
    count_cell,
    number_cell,
    ppl_cell,
    rate_cell,
    text_cell,
)
from collapse_tests.report.html.texts import cut, distinct, shown
from collapse_tests.report.side_by_side import Contrast, Entry, NamedRun, contrasts, entries, run_differences
from collapse_tests.report.side_by_side_lines import column_names, contrast_lines, contrast_title, differing_cases

__all__ = ["ComparisonView", "ContrastView", "comparison_view"]

_MOST_CASES = 500
_MOST_CONTRASTS = 24
_NAME = 24
_CASES = "{}: requests with two verdicts, the highest ME-PPL first"


@dataclass(frozen=True, slots=True)
class ContrastView:
    """One model and editor of a run against those it is measured by.

    Attributes:
        anchor: of its section.
        title: which against which.
        lines: what differs, and what the paired tests say.
        chart: ME-PPL of one against the other; None where no edit has it in both.
        cases: requests with two verdicts; None without any.
    """

    anchor: str
    title: str
    lines: Sequence[str]
    chart: Chart | None
    cases: TableView | None


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One page.

    Attributes:
        title: of the page.
        runs: letter and place of each run.
        differences: what is not the same in settings, models, hyper-parameters or data, a line each.
        rates: collapse rates with their intervals.
        quality, tasks: charts of edit quality and of downstream accuracy, one per model.
        entries: everything else that is known of each run, model and editor.
        contrasts: each against the first run.
        note: what of them is left out; empty for nothing.
    """

    title: str
    runs: Sequence[tuple[str, str]]
    differences: Sequence[str]
    rates: Sequence[RateView]
    quality: Sequence[Chart]
    tasks: Sequence[Chart]
    entries: TableView
    contrasts: Sequence[ContrastView]
    note: str

    @property
    def charts(self) -> list[Chart]:
        """All of them, in the order of the page."""
        return [*self.quality, *self.tasks, *(one.chart for one in self.contrasts if one.chart is not None)]


def comparison_view(runs: Sequence[NamedRun]) -> ComparisonView:
    """The page of some runs.

    Args:
        runs: at least one; the others are measured by the first.
    """
    found = entries(runs)
    against = contrasts(found)
    labels = _labels(found, several=len(runs) > 1)
    left_out = len(against) - _MOST_CONTRASTS
    note = f"The first {_MOST_CONTRASTS} of {len(against):,} comparisons." if left_out > 0 else ""
    return ComparisonView(
        title=f"Comparison of {' and '.join(shown(run.place, 40) for run in runs[:3])}",
        runs=[(run.letter, shown(run.place, 200)) for run in runs],
        differences=[cut(line) for line in _differences(runs, against)],
        rates=rates_of_runs(found),
        quality=quality_charts(found, labels),
        tasks=task_charts_of_runs(found, labels),
        entries=_entry_table(found),
        contrasts=[_contrast(index, one) for index, one in enumerate(against[:_MOST_CONTRASTS], start=1)],
        note=note,
    )


def _differences(runs: Sequence[NamedRun], against: Iterable[Contrast]) -> list[str]:
    """Of settings and data, then of models and hyper-parameters."""
    lines = list(run_differences(runs))
    for contrast in against:
        here, there = contrast.entry.run.letter, contrast.reference.run.letter
        lines += [f"{here}: {one} in {there}" for one in contrast.differences if one.what != "editor"]
    return list(dict.fromkeys(lines))


def _labels(found: Sequence[Entry], *, several: bool) -> dict[tuple[str, str], str]:
    """Short names, distinct where they meet in one chart."""
    names = [f"{entry.run.letter} " * several + shown(entry.group.editor, _NAME) for entry in found]
    return {entry.key: name for entry, name in zip(found, distinct([*RESERVED, *names])[len(RESERVED) :], strict=True)}


def _entry_table(found: Sequence[Entry]) -> TableView:
    tasks = list(dict.fromkeys(task for entry in found for task in entry.tasks))
    headings = [
        Heading("run"),
        Heading("model"),
        Heading("editor"),
        Heading("edits", numeric=True),
        Heading("errors", numeric=True),
        Heading("collapsed", "of edits without an error", numeric=True),
        Heading("median ME-PPL", "after the edit", numeric=True),
        Heading("success", "the new answer is likelier than the old one", numeric=True),
        Heading("generalisation", "so it is on the rephrased prompt", numeric=True),
        Heading("locality", "another fact's answer is unchanged", numeric=True),
        *(Heading(shown(task.removeprefix("collapse_"), 40), "median accuracy", numeric=True) for task in tasks),
    ]
    rows = [
        [
            Cell(entry.run.letter),
            text_cell(entry.group.model),
            text_cell(entry.group.editor),
            count_cell(len(entry.cases)),
            count_cell(entry.errors),
            rate_cell(entry.collapses),
            ppl_cell(entry.median_me_ppl),
            *map(rate_cell, entry.quality.values()),
            *(number_cell(entry.tasks.get(task)) for task in tasks),
        ]
        for entry in found
    ]
    note = "Generalisation and locality are known of runs alone, not of baselines"
    return TableView("entries", "Every run, model and editor", headings, rows, note)


def _contrast(index: int, contrast: Contrast) -> ContrastView:
    there, here = (shown(name, _NAME) for name in column_names(contrast))
    names = (there, here) if there != here else (f"{there} (before)", f"{here} (after)")
    limits: list[Mapping[str, Any]] = [entry.run.snapshot.facts for entry in (contrast.reference, contrast.entry)]
    return ContrastView(
        anchor=f"contrast-{index}",
        title=shown(contrast_title(contrast), 200),
        lines=[cut(line) for line in contrast_lines(contrast)],
        chart=pair_chart(f"pairs-{index}", names, contrast.pairs, [facts.get("ppl_limit") for facts in limits]),
        cases=_case_table(index, names, contrast),
    )


def _case_table(index: int, names: tuple[str, str], contrast: Contrast) -> TableView | None:
    rows = differing_cases(contrast)
    if not rows:
        return None
    headings = [
        Heading("request"),
        Heading(names[0]),
        Heading(f"ME-PPL, {names[0]}", numeric=True),
        Heading(names[1]),
        Heading(f"ME-PPL, {names[1]}", numeric=True),
    ]
    cells = [
        [
            text_cell(row.edit_id),
            _verdict_cell(row.before),
            ppl_cell(row.before.me_ppl),
            _verdict_cell(row.after),
            ppl_cell(row.after.me_ppl),
        ]
        for row in rows[:_MOST_CASES]
    ]
    left_out = f"The {_MOST_CASES} with the highest ME-PPL of {len(rows):,}" if len(rows) > _MOST_CASES else ""
    caption = _CASES.format(shown(contrast_title(contrast), 200))
    return TableView(f"cases-{index}", caption, headings, cells, left_out)


def _verdict_cell(outcome: CaseOutcome) -> Cell:
    return Cell(outcome.verdict.value, verdict=outcome.verdict.value)

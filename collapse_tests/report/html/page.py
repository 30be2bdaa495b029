"""A run to everything its page shows, as plain data; templates only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.report.html.cases import case_table
from collapse_tests.report.html.charts.gallery import Gallery, gallery
from collapse_tests.report.html.failing import FailingView, failing_view
from collapse_tests.report.html.nearest import HOW_NEAR
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.html.summary import (
    RateView,
    certificates,
    group_table,
    rates,
    sentences,
    sequence_table,
    task_table,
    tone,
)
from collapse_tests.report.html.table_view import TableView
from collapse_tests.report.html.texts import cut, shown
from collapse_tests.report.rows import summarise
from collapse_tests.report.task_rows import summarise_tasks

__all__ = ["PageView", "page_view"]


@dataclass(frozen=True, slots=True)
class PageView:
    """One page.

    Attributes:
        title: of the page.
        run: name of the run.
        tone: the worst verdict.
        sentences: the verdict of the run, in words.
        rates: collapse rates with their intervals.
        certificates: what cases without a collapse are worth, a line each.
        changes: headline and further lines against a baseline, or None.
        problems: what was wrong with the run's files.
        charts: of the run.
        cases, groups, tasks, sequences: tables; None where there is nothing to list.
        failing: sections about single cases.
        how_near: how the nearest stable edit is found.
        facts: label and text of what the run ran on.
    """

    title: str
    run: str
    tone: str
    sentences: Sequence[str]
    rates: Sequence[RateView]
    certificates: Sequence[str]
    changes: tuple[str, Sequence[str]] | None
    problems: Sequence[str]
    charts: Gallery
    cases: TableView | None
    groups: TableView | None
    tasks: TableView | None
    sequences: TableView | None
    failing: FailingView
    how_near: str
    facts: Sequence[tuple[str, str]]


def page_view(run: RunData) -> PageView:
    """The page of a run."""
    records, sequences = run.records, run.sequences
    groups, tasks = summarise(records), summarise_tasks(records)
    charts, failing = gallery(run, tasks), failing_view(run)
    name = shown(run.name, 60)
    return PageView(
        title=f"Collapse report {name}",
        run=name,
        tone=tone(records, sequences).value if records or sequences else "",
        sentences=sentences(records, sequences),
        rates=rates(groups),
        certificates=certificates(groups, run.environment),
        changes=None if run.news is None else (cut(run.news.headline), [cut(line) for line in run.news.lines]),
        problems=[cut(problem) for problem in run.problems],
        charts=charts,
        cases=case_table(records, charts.scatter, failing.anchors) if records else None,
        groups=group_table(groups) if groups else None,
        tasks=task_table(tasks) if tasks else None,
        sequences=sequence_table(sequences) if sequences else None,
        failing=failing,
        how_near=HOW_NEAR,
        facts=_facts(run.environment),
    )


def _facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run ran on, flat; settings that are empty left out."""
    rows: list[tuple[str, str]] = []
    for name, value in environment.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {key}", _text(item)) for key, item in value.items() if item not in (None, [], False)]
        else:
            rows.append((name, _text(value)))
    return [(shown(label, 60), cut(text, 400)) for label, text in rows]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return str(value)

"""Several runs in one chart: whether edits took, and downstream accuracy after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from collapse_tests.report.html.charts.bars import Bar, bar_chart
from collapse_tests.report.html.charts.chart import Chart, first_charts
from collapse_tests.report.html.charts.palette import CHANCE, RUNS, UNEDITED
from collapse_tests.report.html.charts.tasks import MOST_TASKS, task_names
from collapse_tests.report.html.texts import distinct, shown, slug
from collapse_tests.report.side_by_side import Entry
from collapse_tests.report.task_rows import TaskSummary, summarise_tasks

__all__ = ["RESERVED", "quality_charts", "task_charts_of_runs"]

_UNEDITED, _RANDOM = "unedited", "random"

#: What bars beside those of runs are called; no run may have such a label.
RESERVED = (_UNEDITED, _RANDOM)

_ELSEWHERE = "models; all are in the table of runs"

#: Entry's key → its label.
_Labels = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class _Model:
    """The entries of one model, as many as there are colours."""

    chart_id: str
    title: str
    entries: Sequence[Entry]
    notes: Sequence[str]


def quality_charts(entries: Sequence[Entry], labels: _Labels) -> list[Chart]:
    """One chart per model: success, generalisation and locality of each run and editor."""
    charts = []
    for model in _models(entries, "quality", "Edits that took, spread and stayed local"):
        bars = [
            Bar(row, labels[entry.key], rate.hits / rate.n, f"{rate.hits:,} of {rate.n:,}")
            for row in ("success", "generalisation", "locality")
            for entry in model.entries
            if (rate := entry.quality[row]).n
        ]
        charts += _drawn(model, bars, labels, "share of edits")
    return first_charts(charts, _ELSEWHERE)


def task_charts_of_runs(entries: Sequence[Entry], labels: _Labels) -> list[Chart]:
    """One chart per model: median accuracy of each task after edits of each run and editor."""
    charts = []
    for model in _models(entries, "accuracy", "Downstream accuracy"):
        tasks = list(dict.fromkeys(task for entry in model.entries for task in entry.tasks))
        known = {row.task: row for entry in reversed(model.entries) for row in summarise_tasks(entry.records)}
        bars = [
            bar
            for task, name in task_names(tasks[:MOST_TASKS]).items()
            for bar in _of_task(task, name, model.entries, labels, known.get(task))
        ]
        left_out = f"The first {MOST_TASKS} of {len(tasks)} tasks; all are in the table of runs."
        charts += _drawn(model, bars, labels, "accuracy, median over edits", [left_out][: len(tasks) > MOST_TASKS])
    return first_charts(charts, _ELSEWHERE)


def _models(entries: Sequence[Entry], prefix: str, title: str) -> Iterator[_Model]:
    models: dict[str, list[Entry]] = {}
    for entry in entries:
        models.setdefault(entry.group.model, []).append(entry)
    ids = distinct((f"{prefix}-{slug(model)}" for model in models), "-{}")
    for chart_id, (model, found) in zip(ids, models.items(), strict=True):
        left_out = f"The first {len(RUNS)} of {len(found)} runs and editors; all are in the table of runs."
        notes = [left_out][: len(found) > len(RUNS)]
        yield _Model(chart_id, f"{title} on {shown(model, 40)}", found[: len(RUNS)], notes)


def _of_task(
    task: str, name: str, entries: Sequence[Entry], labels: _Labels, known: TaskSummary | None
) -> Iterator[Bar]:
    """The bars of one task; the unedited model and chance where the records of a run tell them."""
    if known is not None:
        yield Bar(name, _UNEDITED, known.unedited)
    yield from (Bar(name, labels[entry.key], entry.tasks[task]) for entry in entries if task in entry.tasks)
    if known is not None:
        yield Bar(name, _RANDOM, known.chance)


def _drawn(model: _Model, bars: Sequence[Bar], labels: _Labels, axis: str, notes: Sequence[str] = ()) -> list[Chart]:
    """The chart, or none without a bar."""
    if not bars:
        return []
    names = [labels[entry.key] for entry in model.entries]
    colours = {_UNEDITED: UNEDITED, **dict(zip(names, RUNS, strict=False)), _RANDOM: CHANCE}
    description = f"{model.title}. " + " ".join(f"{bar.row}: {bar.state} {bar.value:.2f}." for bar in bars)
    return [bar_chart(model.chart_id, model.title, description, bars, colours, axis, [*model.notes, *notes])]

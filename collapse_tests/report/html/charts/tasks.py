"""Downstream accuracy beside the unedited model's and chance, as in figure 2b of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collapse_tests.records import Verdict
from collapse_tests.report.groups import by_group
from collapse_tests.report.html.charts.bars import Bar, bar_chart
from collapse_tests.report.html.charts.chart import Chart, first_charts
from collapse_tests.report.html.charts.palette import CHANCE, UNEDITED, VERDICT_COLOURS
from collapse_tests.report.html.texts import distinct, shown, slug
from collapse_tests.report.task_rows import TaskSummary

__all__ = ["MOST_TASKS", "task_charts", "task_names"]

MOST_TASKS = 12
_COLOURS = {
    "unedited": UNEDITED,
    "survived": VERDICT_COLOURS[Verdict.STABLE],
    "collapsed": VERDICT_COLOURS[Verdict.COLLAPSED],
    "random": CHANCE,
}


def task_charts(tasks: Sequence[TaskSummary], labels: Mapping[tuple[str, str], str]) -> list[Chart]:
    """One chart per model and editor whose tasks were measured.

    Args:
        tasks: over the edits of each.
        labels: of models and editors.
    """
    groups = by_group(tasks)
    ids = distinct((f"tasks-{slug(labels[key])}" for key in groups), "-{}")
    charts = [_chart(chart_id, labels[key], rows) for chart_id, (key, rows) in zip(ids, groups.items(), strict=True)]
    return first_charts(charts, "models and editors; all are in the table of tasks")


def task_names(tasks: Sequence[str]) -> dict[str, str]:
    """Task → a short and distinct name."""
    return dict(zip(tasks, distinct(shown(task.removeprefix("collapse_"), 32) for task in tasks), strict=True))


def _chart(chart_id: str, label: str, summaries: Sequence[TaskSummary]) -> Chart:
    taken = summaries[:MOST_TASKS]
    names = task_names([row.task for row in taken])
    bars = [bar for row in taken for bar in _bars(row, names[row.task])]
    description = f"Accuracy under {label}. " + " ".join(map(_words, taken))
    left_out = f"The first {MOST_TASKS} of {len(summaries)} tasks; all are in the table of tasks."
    return bar_chart(
        chart_id,
        f"Downstream accuracy under {label}",
        description,
        bars,
        _COLOURS,
        "accuracy, mean over edits",
        [left_out] if len(taken) < len(summaries) else [],
    )


def _bars(row: TaskSummary, name: str) -> list[Bar]:
    scores = {"unedited": row.unedited, "survived": row.survived, "collapsed": row.collapsed, "random": row.chance}
    return [Bar(name, state, score) for state, score in scores.items() if score is not None]


def _words(row: TaskSummary) -> str:
    parts = [f"unedited {row.unedited:.2f}"]
    parts += [] if row.survived is None else [f"survived {row.survived:.2f}"]
    parts += [] if row.collapsed is None else [f"collapsed {row.collapsed:.2f}"]
    return f"{shown(row.task, 40)}: {', '.join(parts)}, random {row.chance:.2f}."

"""Downstream accuracy beside the unedited model's and chance, as in figure 2b of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from collapse_tests.records import Verdict
from collapse_tests.report.html.charts.chart import Chart, Rows, compiled
from collapse_tests.report.html.charts.marks import named, names_scale, tooltips
from collapse_tests.report.html.charts.palette import VERDICT_COLOURS
from collapse_tests.report.html.texts import distinct, shown, slug
from collapse_tests.report.task_rows import TaskSummary

__all__ = ["task_charts"]

_MOST_CHARTS = 12
_MOST_TASKS = 12
_BAR = 15
_COLOURS = {
    "unedited": "#2f7fd1",
    "survived": VERDICT_COLOURS[Verdict.STABLE],
    "collapsed": VERDICT_COLOURS[Verdict.COLLAPSED],
    "random": "#7a7f87",
}


def task_charts(tasks: Sequence[TaskSummary], labels: Mapping[tuple[str, str], str]) -> list[Chart]:
    """One chart per model and editor whose tasks were measured.

    Args:
        tasks: over the edits of each.
        labels: of models and editors.
    """
    groups: dict[tuple[str, str], list[TaskSummary]] = {}
    for row in tasks:
        groups.setdefault((row.model, row.editor), []).append(row)
    ids = distinct((f"tasks-{slug(labels[key])}" for key in groups), "-{}")
    charts = [_chart(chart_id, labels[key], rows) for chart_id, (key, rows) in zip(ids, groups.items(), strict=True)]
    if len(charts) > _MOST_CHARTS:
        left_out = f"The first {_MOST_CHARTS} of {len(charts)} models and editors; all are in the table of tasks."
        charts = [replace(charts[0], notes=(*charts[0].notes, left_out)), *charts[1:_MOST_CHARTS]]
    return charts


def _chart(chart_id: str, label: str, summaries: Sequence[TaskSummary]) -> Chart:
    taken = summaries[:_MOST_TASKS]
    names = distinct(shown(row.task.removeprefix("collapse_"), 32) for row in taken)
    rows = [row for one, name in zip(taken, names, strict=True) for row in _rows(one, name)]
    states = [state for state in _COLOURS if any(row["state"] == state for row in rows)]
    height = len(taken) * (len(states) * _BAR + 12)
    description = f"Accuracy under {label}. " + " ".join(map(_words, taken))
    notes = [f"The first {_MOST_TASKS} of {len(summaries)} tasks; all are in the table of tasks."]
    spec = compiled(_drawn(names, states), height, description, {"tasks": rows})
    left_out = notes if len(taken) < len(summaries) else []
    return Chart(chart_id, f"Downstream accuracy under {label}", description, spec, left_out, height)


def _rows(row: TaskSummary, name: str) -> Rows:
    scores = {"unedited": row.unedited, "survived": row.survived, "collapsed": row.collapsed, "random": row.chance}
    return [
        {
            "task": name,
            "state": state,
            "accuracy": score if math.isfinite(score) else 0.0,
            "text": f"{score:.2f} {state}",
        }
        for state, score in scores.items()
        if score is not None
    ]


def _drawn(names: Sequence[str], states: Sequence[str]) -> Any:
    import altair as alt

    colours = names_scale(states, [_COLOURS[state] for state in states])
    base = named("tasks").encode(
        x=alt.X(
            "accuracy:Q",
            # Room for the words after the longest bar, in pixels.
            scale=alt.Scale(domainMin=0, domainMax=alt.ExprRef("width / max(width - 95, 50)"), nice=False, clamp=True),
            axis=alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f", title="accuracy, mean over edits"),
        ),
        y=alt.Y(
            "task:N",
            sort=list(names),
            title=None,
            axis=alt.Axis(labelLimit=120),
            scale=alt.Scale(paddingInner=0.12),
        ),
        yOffset=alt.YOffset("state:N", sort=list(states)),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("state:N", scale=colours, legend=None), tooltip=tooltips({"task": "task", "text": "accuracy"})
    )
    words = base.mark_text(align="left", dx=4, baseline="middle").encode(text="text:N")
    return alt.layer(bars, words)


def _words(row: TaskSummary) -> str:
    parts = [f"unedited {row.unedited:.2f}"]
    parts += [] if row.survived is None else [f"survived {row.survived:.2f}"]
    parts += [] if row.collapsed is None else [f"collapsed {row.collapsed:.2f}"]
    return f"{shown(row.task, 40)}: {', '.join(parts)}, random {row.chance:.2f}."

"""ME-PPL against downstream accuracy, as in figure 3 of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import perplexity
from collapse_tests.report.html.charts.chart import ALL, Chart, Rows, compiled, group_picker, picked
from collapse_tests.report.html.charts.log_axis import LogAxis
from collapse_tests.report.html.charts.marks import band_layers, group_filter, named, names_scale, tooltips
from collapse_tests.report.html.charts.palette import LINES, SHAPES
from collapse_tests.report.html.charts.tasks import task_names
from collapse_tests.report.html.texts import shown

__all__ = ["accuracy_chart"]

_MOST_POINTS = 2_000
_MOST_TASKS = 8
_HEIGHT = 300
#: Means are over edits of half a power of ten.
_BINS_PER_DECADE = 2


@dataclass(frozen=True, slots=True)
class _Measured:
    """One task after one edit."""

    group: str
    task: str
    case: str
    me_ppl: float
    place: float
    accuracy: float


def accuracy_chart(records: Sequence[Record], groups: Mapping[tuple[str, str], str]) -> Chart | None:
    """The chart, or None where no task was measured after an edit.

    Args:
        records: of all cases.
        groups: labels of models and editors.
    """
    measured = [record for record in records if record.edited and record.tasks and record.verdict is not Verdict.ERROR]
    if not measured:
        return None
    axis = LogAxis.over(record.edited.me_ppl for record in measured if record.edited)
    names = _task_names(measured)
    found = _found(measured, axis, groups, names)
    labels = list(dict.fromkeys(one.group for one in found))
    points = found if len(found) <= _MOST_POINTS else []
    data: dict[str, Rows] = {
        "points": [_point(one) for one in points],
        "means": picked(lambda label: _means(found, axis, label), labels),
        "chances": _chances(measured, names),
    }
    description = _description(found)
    notes = ["Lines join means over half a power of ten of ME-PPL; dashes are what chance reaches."]
    if not points:
        notes.append(f"The {len(found):,} single measurements are too many to draw: points are means, larger for more.")
    tasks = len({result.task for record in measured for result in record.tasks})
    if tasks > len(names):
        notes.append(f"The first {len(names)} of {tasks} tasks.")
    spec = compiled(_drawn(axis, list(names.values()), labels), _HEIGHT, description, data)
    return Chart("accuracy", "ME-PPL against downstream accuracy", description, spec, notes, _HEIGHT)


def _task_names(records: Sequence[Record]) -> dict[str, str]:
    tasks = list(dict.fromkeys(result.task for record in records for result in record.tasks))[:_MOST_TASKS]
    return task_names(tasks)


def _found(
    records: Sequence[Record], axis: LogAxis, groups: Mapping[tuple[str, str], str], names: Mapping[str, str]
) -> list[_Measured]:
    return [
        _Measured(
            groups[record.model, record.editor],
            names[result.task],
            record.case_id,
            record.edited.me_ppl,
            axis.place(record.edited.me_ppl),
            result.edited if math.isfinite(result.edited) else 0.0,
        )
        for record in records
        if record.edited
        for result in record.tasks
        if result.task in names
    ]


def _point(one: _Measured) -> dict[str, Any]:
    return {
        "place": one.place,
        "accuracy": round(one.accuracy, 4),
        "task": one.task,
        "group": one.group,
        "case": shown(one.case, 60),
        "after": perplexity(one.me_ppl),
    }


def _means(found: Sequence[_Measured], axis: LogAxis, label: str) -> Rows:
    cells: dict[tuple[str, float], list[_Measured]] = {}
    for one in found:
        if label in (ALL, one.group):
            is_number = one.place <= axis.top
            place = (math.floor(one.place * _BINS_PER_DECADE) + 0.5) / _BINS_PER_DECADE if is_number else one.place
            cells.setdefault((one.task, min(place, axis.top) if is_number else place), []).append(one)
    return [
        {
            "group": label,
            "task": task,
            "place": place,
            "accuracy": round(fmean(one.accuracy for one in inside), 4),
            "edits": len(inside),
        }
        for (task, place), inside in sorted(cells.items())
    ]


def _chances(records: Sequence[Record], names: Mapping[str, str]) -> Rows:
    chances: dict[str, float] = {}
    for record in records:
        for result in record.tasks:
            if result.task in names and math.isfinite(result.chance):
                chances.setdefault(result.task, result.chance)
    return [{"task": names[task], "accuracy": chance} for task, chance in chances.items()]


def _drawn(axis: LogAxis, names: Sequence[str], labels: Sequence[str]) -> Any:
    import altair as alt

    x = alt.X("place:Q", scale=axis.scale(), axis=axis.axis("ME-PPL after the edit", upright=False))
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color("task:N", title=None, scale=names_scale(names, LINES))
    shape = alt.Shape("task:N", title=None, scale=names_scale(names, SHAPES))
    points, means = named("points"), named("means")
    if len(labels) > 1:
        points, means = group_filter(points, with_all=True), group_filter(means, with_all=False)
    size = alt.Size("edits:Q", legend=None, scale=alt.Scale(type="sqrt", range=[30, 260]))
    single = tooltips({"case": "case", "task": "task", "accuracy": "accuracy", "after": "ME-PPL"})
    mean = tooltips({"task": "task", "accuracy": "mean accuracy", "edits": "edits"})
    marked = means.mark_point(filled=True, opacity=0.95)
    drawn: Any = alt.layer(
        *band_layers(axis, "x"),
        named("chances").mark_rule(strokeDash=[5, 4], opacity=0.8).encode(y=y, color=colour),
        points.mark_point(size=30, opacity=0.45).encode(x=x, y=y, color=colour, shape=shape, tooltip=single),
        means.mark_line(size=2).encode(x=x, y=y, color=colour),
        marked.encode(x=x, y=y, color=colour, shape=shape, size=size, tooltip=mean),
    )
    return drawn.add_params(group_picker(labels)) if len(labels) > 1 else drawn


def _description(found: Sequence[_Measured]) -> str:
    parts = []
    for task in dict.fromkeys(one.task for one in found):
        own = sorted((one for one in found if one.task == task), key=lambda one: one.place)
        third = max(1, len(own) // 3)
        low, high = (fmean(one.accuracy for one in part) for part in (own[:third], own[-third:]))
        parts.append(f"{task}: {low:.2f} over the third of edits with the lowest ME-PPL, {high:.2f} over the highest.")
    return "Accuracy after each edit at its ME-PPL, on a logarithmic axis. " + " ".join(parts)

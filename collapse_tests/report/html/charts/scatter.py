"""ME-PPL of all edits against the limit, as in figure 2a of the study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import perplexity
from collapse_tests.report.html.charts.chart import ALL, Chart, Rows, compiled, group_labels, group_picker, picked
from collapse_tests.report.html.charts.log_axis import LogAxis
from collapse_tests.report.html.charts.marks import (
    band_layers,
    group_filter,
    limit_layers,
    limit_rows,
    limits_of,
    named,
    names_scale,
    tooltips,
)
from collapse_tests.report.html.charts.palette import VERDICT_COLOURS
from collapse_tests.report.html.texts import NOTATION, edit, shown
from collapse_tests.report.rows import growth, median_perplexity, worst_cases

__all__ = ["ScatterView", "point_mark", "scatter_chart", "scatter_view"]

#: Up to how many edits each is a point; beyond, only the collapsed ones are, the worst of them.
_MOST_POINTS = 2_500
_MOST_COLLAPSED = 4_000
_COLUMNS, _ROWS = 60, 30
_HEIGHT = 340
_SHOWN = (Verdict.STABLE, Verdict.COLLAPSED, Verdict.INEFFECTIVE)
_Y_TITLE = "ME-PPL after the edit"
_TOOLTIP = {"case": "case", "edit": "edit", "verdict": "verdict", "after": "ME-PPL", "grown": "growth"}
#: A finger that drags scrolls the page.
_BY_MOUSE = "[pointerdown[event.pointerType !== 'touch'], window:pointerup] > window:pointermove!"
_MARKS = {Verdict.STABLE: "circle", Verdict.COLLAPSED: "triangle-up", Verdict.INEFFECTIVE: "square"}


@dataclass(frozen=True, slots=True)
class ScatterView:
    """Where every measured edit lies.

    Attributes:
        records: those with an ME-PPL after the edit.
        labels: of the groups.
        numbers: by case id, the edit's number among those of its group, from 1.
        axis: of ME-PPL.
        limits: of the run.
    """

    records: Sequence[Record]
    labels: Mapping[tuple[str, str], str]
    numbers: Mapping[str, int]
    axis: LogAxis
    limits: tuple[float, ...]

    def place(self, record: Record) -> float:
        """On the axis of ME-PPL; of a record that has one."""
        assert record.edited is not None
        return self.axis.place(record.edited.me_ppl)


def scatter_view(records: Sequence[Record]) -> ScatterView:
    """The view of all records; those without an ME-PPL have no place in it."""
    measured = [record for record in records if record.edited is not None]
    counts: Counter[tuple[str, str]] = Counter()
    numbers: dict[str, int] = {}
    for record in sorted(records, key=lambda record: record.edit_id):
        counts[record.model, record.editor] += 1
        numbers[record.case_id] = counts[record.model, record.editor]
    limits = limits_of(record.ppl_limit for record in measured)
    values = [record.edited.me_ppl for record in measured if record.edited]
    return ScatterView(
        measured,
        group_labels((record.model, record.editor) for record in records),
        numbers,
        LogAxis.over(values, limits),
        limits,
    )


def point_mark(view: ScatterView, record: Record) -> str:
    """Number, place and group of a case's point, for the table to be filtered by; empty without a point."""
    if record.edited is None:
        return ""
    place = view.place(record)
    return f"{view.numbers[record.case_id]}|{place}|{view.labels[record.model, record.editor]}"


def scatter_chart(view: ScatterView) -> Chart | None:
    """The chart, or None where no edit was measured."""
    if not view.records:
        return None
    points = view.records
    if len(points) > _MOST_POINTS:
        points = [one for one in worst_cases(points, _MOST_COLLAPSED) if one.verdict is Verdict.COLLAPSED]
    alone = {record.case_id for record in points}
    rest = [record for record in view.records if record.case_id not in alone]
    labels = list(view.labels.values())
    data: dict[str, Rows] = {
        "points": [_point(view, record) for record in points],
        "cells": picked(lambda label: _cells(view, rest, label), labels),
        "limits": limit_rows(view.axis, view.limits),
    }
    description = _description(view)
    spec = compiled(_drawn(view, labels, bool(rest)), _HEIGHT, description, data)
    return Chart("me-ppl", "ME-PPL of every edit", description, spec, _notes(view, points, rest), _HEIGHT)


def _drawn(view: ScatterView, labels: Sequence[str], binned: bool) -> Any:
    import altair as alt

    number = alt.X(
        "number:Q",
        title="number of the edit",
        scale=alt.Scale(nice=False, padding=8),
        axis=alt.Axis(grid=False, tickMinStep=1),
    )
    verdicts = [verdict.value for verdict in _SHOWN]
    colours = names_scale(verdicts, [VERDICT_COLOURS[one] for one in _SHOWN])
    shapes = names_scale(verdicts, [_MARKS[one] for one in _SHOWN])
    brush = alt.selection_interval(name="brush", on=_BY_MOUSE)
    points = (
        named("points")
        .mark_point(filled=True, size=46)
        .encode(
            x=number,
            y=alt.Y("place:Q", scale=view.axis.scale(), axis=view.axis.axis(_Y_TITLE)),
            color=alt.Color("verdict:N", title=None, scale=colours),
            shape=alt.Shape("verdict:N", title=None, scale=shapes),
            opacity=alt.condition(brush, alt.value(0.85), alt.value(0.2)),
            tooltip=tooltips(_TOOLTIP),
        )
        .add_params(brush)
    )
    layers = band_layers(view.axis)
    if binned:
        layers.append(_histogram(labels))
    if len(labels) > 1:
        points = group_filter(points, with_all=True)
    drawn: Any = alt.layer(*layers, points, *limit_layers(view.axis, _Y_TITLE))
    return drawn.add_params(group_picker(labels)) if len(labels) > 1 else drawn


def _histogram(labels: Sequence[str]) -> Any:
    import altair as alt

    cells = named("cells").mark_rect(color="#7a7f87")
    if len(labels) > 1:
        cells = group_filter(cells, with_all=False)
    shades = alt.Scale(type="sqrt", range=[0.15, 0.95])
    return cells.encode(
        x=alt.X("number:Q"),
        x2="number_to:Q",
        y=alt.Y("place:Q"),
        y2="place_to:Q",
        opacity=alt.Opacity("edits:Q", scale=shades, legend=None),
        tooltip=[alt.Tooltip("edits:Q", title="edits in this cell")],
    )


def _point(view: ScatterView, record: Record) -> dict[str, Any]:
    assert record.edited is not None
    return {
        "number": view.numbers[record.case_id],
        "place": view.place(record),
        "group": view.labels[record.model, record.editor],
        "verdict": record.verdict.value,
        "case": shown(record.case_id, 70),
        "edit": edit(record.request, 90),
        "after": perplexity(record.edited.me_ppl),
        "grown": NOTATION.growth(growth(record)),
    }


def _cells(view: ScatterView, records: Sequence[Record], label: str) -> Rows:
    """How many edits there are in each cell of a grid."""
    low, high = view.axis.low, view.axis.high
    widest = max(view.numbers.values())
    across, up = max(1, math.ceil(widest / _COLUMNS)), (high - low) / _ROWS
    counts: Counter[tuple[int, int]] = Counter()
    for record in records:
        if label in (ALL, view.labels[record.model, record.editor]):
            row = min(int((view.place(record) - low) / up), _ROWS - 1)
            counts[(view.numbers[record.case_id] - 1) // across, row] += 1
    return [
        {
            "group": label,
            "number": column * across + 1,
            "number_to": (column + 1) * across + 1,
            "place": low + row * up,
            "place_to": low + (row + 1) * up,
            "edits": count,
        }
        for (column, row), count in sorted(counts.items())
    ]


def _notes(view: ScatterView, points: Sequence[Record], rest: Sequence[Record]) -> list[str]:
    notes = ["Drag the mouse over points to list them in the table of edits; a double click ends that."]
    if rest:
        collapsed = sum(one.verdict is Verdict.COLLAPSED for one in view.records)
        which = "all" if len(points) == collapsed else f"the {len(points):,} worst of"
        notes.append(
            f"Of {len(view.records):,} edits, points are {which} {collapsed:,} that collapsed; "
            f"the other {len(rest):,} are counted in grey cells, stronger for more."
        )
    if view.axis.band:
        notes.append("In the grey band lie the edits whose ME-PPL is no finite number.")
    return notes


def _description(view: ScatterView) -> str:
    values = [record.edited.me_ppl for record in view.records if record.edited]
    finite = [value for value in values if math.isfinite(value)]
    collapsed = sum(record.verdict is Verdict.COLLAPSED for record in view.records)
    odd = len(values) - len(finite)
    text = (
        f"{len(values):,} edits, each a point at its ME-PPL on a logarithmic axis; {collapsed:,} collapsed the model."
    )
    if finite:
        middle = median_perplexity(finite)
        assert middle is not None
        text += (
            f" ME-PPL runs from {perplexity(min(finite))} to {perplexity(max(finite))}, median {perplexity(middle)}."
        )
    if view.limits:
        text += f" A dashed line marks the limit {', '.join(perplexity(limit) for limit in view.limits[:3])}."
    return text + (f" {odd:,} are inf or NaN, in a band above the numbers." if odd else "")

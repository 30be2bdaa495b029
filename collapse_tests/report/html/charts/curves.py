"""ME-PPL along sequences of edits, one chart per model and editor, as in figures 5 and 6 of the study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from collapse_tests.report.formatting import perplexity
from collapse_tests.report.groups import by_group
from collapse_tests.report.html.charts.chart import Chart, Rows, compiled, first_charts, group_labels
from collapse_tests.report.html.charts.log_axis import LogAxis
from collapse_tests.report.html.charts.marks import (
    band_layers,
    limit_layers,
    limit_rows,
    limits_of,
    named,
    names_scale,
    tooltips,
)
from collapse_tests.report.html.charts.palette import DASHES, LINES, SHAPES
from collapse_tests.report.html.texts import distinct, shown, slug
from collapse_tests.report.sequences import me_ppl_curve
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["curve_charts"]

_MOST_LINES = 8
_MOST_STEPS = 400
_HEIGHT = 260


def curve_charts(sequences: Sequence[SequenceRecord]) -> list[Chart]:
    """One chart per model and editor, with a line per sequence."""
    groups = by_group(record for record in sequences if record.steps)
    labels = group_labels(groups)
    ids = distinct((f"sequences-{slug(label)}" for label in labels.values()), "-{}")
    charts = [_chart(chart_id, labels[key], groups[key]) for chart_id, key in zip(ids, labels, strict=True)]
    return first_charts(charts, "models and editors; all are in the table of sequences")


def _chart(chart_id: str, label: str, records: Sequence[SequenceRecord]) -> Chart:
    taken = records[:_MOST_LINES]
    names = distinct(map(_name, taken))
    limits = limits_of(record.ppl_limit for record in taken)
    curves = [me_ppl_curve(record) for record in taken]
    axis = LogAxis.over((value for curve in curves for value in curve), limits)
    data: dict[str, Rows] = {
        "steps": [row for record, name in zip(taken, names, strict=True) for row in _rows(record, name, axis)],
        "limits": limit_rows(axis, limits),
    }
    description = f"ME-PPL after each edit under {label}. " + " ".join(
        _words(record, name) for record, name in zip(taken, names, strict=True)
    )
    notes = [f"The first {_MOST_LINES} of {len(records)} sequences."] if len(taken) < len(records) else []
    if max(map(len, curves)) > _MOST_STEPS:
        notes.append(f"Of long sequences about {_MOST_STEPS} edits are drawn, evenly spread, and the collapse.")
    spec = compiled(_drawn(axis, names), _HEIGHT, description, data)
    return Chart(chart_id, f"Edits in sequence under {label}", description, spec, notes, _HEIGHT)


def _name(record: SequenceRecord) -> str:
    return shown(record.name if record.search is None else f"{record.kind}:{record.name}", 32)


def _rows(record: SequenceRecord, name: str, axis: LogAxis) -> Rows:
    curve = me_ppl_curve(record)
    first = len(record.steps) + 1 - len(curve)
    stride = math.ceil(len(curve) / _MOST_STEPS)
    rows = []
    for index, value in enumerate(curve):
        step = index + first
        if index % stride and index != len(curve) - 1 and step != record.collapsed_after:
            continue
        rows.append(
            {
                "step": step,
                "place": axis.place(value),
                "sequence": name,
                "after": perplexity(value),
                "edit": "none" if step == 0 else shown(record.steps[step - 1].edit_id, 60),
            }
        )
    return rows


def _drawn(axis: LogAxis, names: Sequence[str]) -> Any:
    import altair as alt

    base = named("steps").encode(
        x=alt.X("step:Q", title="edits made", axis=alt.Axis(tickMinStep=1, grid=False)),
        y=alt.Y("place:Q", scale=axis.scale(), axis=axis.axis("ME-PPL")),
        color=alt.Color("sequence:N", title=None, scale=names_scale(names, LINES)),
    )
    dash = alt.StrokeDash("sequence:N", title=None, scale=names_scale(names, DASHES))
    shape = alt.Shape("sequence:N", title=None, scale=names_scale(names, SHAPES))
    tooltip = tooltips({"sequence": "sequence", "step": "edits made", "edit": "last edit", "after": "ME-PPL"})
    return alt.layer(
        *band_layers(axis),
        base.mark_line(size=2).encode(strokeDash=dash),
        base.mark_point(filled=True, size=26).encode(shape=shape, tooltip=tooltip),
        *limit_layers(axis, "ME-PPL"),
    )


def _words(record: SequenceRecord, name: str) -> str:
    curve = me_ppl_curve(record)
    ends = f"from {perplexity(curve[0])} to {perplexity(curve[-1])} over {len(record.steps):,} edits"
    if record.collapsed_after is None:
        return f"{name}: {ends}, no collapse."
    return f"{name}: {ends}, collapsed after {record.collapsed_after:,}."

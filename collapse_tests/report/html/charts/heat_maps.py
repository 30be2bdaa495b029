"""Where an edit changed a matrix: a collapsed one beside a stable one, as in figure 4 of the study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.case_detail import CaseDetail, HeatMap
from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import significant
from collapse_tests.report.html.charts.chart import Chart, compiled
from collapse_tests.report.html.charts.marks import named, tooltips
from collapse_tests.report.html.nearest import NearestStable
from collapse_tests.report.html.texts import distinct, shown
from collapse_tests.report.rows import worst_cases

__all__ = ["heat_map_charts"]

#: Matrices that can be chosen, of edits that failed and of stable ones.
_MOST = 40
_MOST_STABLE = 20
_HEIGHT = 260
_DECADES = 6


@dataclass(frozen=True, slots=True)
class _Choice:
    """One matrix of one edit."""

    label: str
    map: HeatMap


def heat_map_charts(records: Sequence[Record], details: Mapping[str, CaseDetail]) -> list[Chart]:
    """A chart of edits that failed, and one of stable ones with the nearest to the first of them in front."""
    drawn = [record for record in records if record.case_id in details and details[record.case_id].changes]
    failed = [record for record in worst_cases(drawn, None) if record.verdict is not Verdict.STABLE]
    stable = _stable(drawn, failed)
    left, right = _choices(failed, details, _MOST), _choices(stable, details, _MOST_STABLE)
    domain = _domain([*left, *right])
    if domain is None:
        return []
    sides = (
        ("weights-failed", "Weight change of an edit that failed", left),
        ("weights-stable", "Weight change of a stable edit", right),
    )
    return [_chart(chart_id, title, choices, domain) for chart_id, title, choices in sides if choices]


def _stable(drawn: Sequence[Record], failed: Sequence[Record]) -> list[Record]:
    """The stable ones, first the nearest to the first failed one."""
    stable = [record for record in drawn if record.verdict is Verdict.STABLE]
    if not failed:
        return stable
    first = failed[0]
    nearest = NearestStable(one for one in stable if (one.model, one.editor) == (first.model, first.editor)).to(first)
    return sorted(stable, key=lambda record: record is not nearest)


def _choices(records: Iterable[Record], details: Mapping[str, CaseDetail], most: int) -> list[_Choice]:
    found = [(record, change) for record in records for change in details[record.case_id].changes][:most]
    labels = distinct(f"{shown(record.case_id, 50)}, {shown(change.parameter, 50)}" for record, change in found)
    return [_Choice(label, change) for label, (_, change) in zip(labels, found, strict=True)]


def _domain(choices: Sequence[_Choice]) -> tuple[float, float] | None:
    """The ends of the common scale of colours, as log10; None where nothing was changed by a finite amount."""
    logs = [math.log10(cell) for choice in choices for row in choice.map.cells for cell in row if 0 < cell < math.inf]
    if not logs:
        return None
    high = max(logs)
    return max(min(logs), high - _DECADES), high if high > min(logs) else high + 1


def _chart(chart_id: str, title: str, choices: Sequence[_Choice], domain: tuple[float, float]) -> Chart:
    data = {"maps": [_row(choice, domain) for choice in choices]}
    first = choices[0].map
    description = (
        f"Mean absolute change in each cell of a grid over the matrix, on a logarithmic scale of colours that both "
        f"charts share. Shown first: {choices[0].label}, {first.shape[0]:,} rows by {first.shape[1]:,} columns; the "
        f"change has {significant(first.norm)} times the norm of the matrix."
    )
    spec = compiled(_drawn([choice.label for choice in choices], domain), _HEIGHT, description, data)
    return Chart(
        chart_id, title, description, spec, ["Red cells are no finite number."] if _odd(choices) else [], _HEIGHT
    )


def _odd(choices: Sequence[_Choice]) -> bool:
    return any(not math.isfinite(cell) for choice in choices for row in choice.map.cells for cell in row)


def _row(choice: _Choice, domain: tuple[float, float]) -> dict[str, Any]:
    cells = choice.map.cells
    return {
        "map": choice.label,
        "columns": len(cells[0]) if cells else 1,
        "cells": [_place(cell, domain) for row in cells for cell in row],
    }


def _place(cell: float, domain: tuple[float, float]) -> float | None:
    if not math.isfinite(cell):
        return None
    return round(max(math.log10(cell), domain[0]) if cell > 0 else domain[0], 2)


def _drawn(labels: Sequence[str], domain: tuple[float, float]) -> Any:
    import altair as alt

    low, high = domain
    ticks = list(range(math.ceil(low), math.floor(high) + 1, 2))
    picker = alt.param(
        name="shown", value=labels[0], bind=alt.binding_select(options=list(labels), name="edit and matrix ")
    )
    colour = alt.Color(
        "cells:Q",
        title="mean |ΔW|",
        scale=alt.Scale(scheme="viridis", domain=[low, high]),
        legend=alt.Legend(values=ticks or [low], labelExpr="format(pow(10, datum.value), '.0e')", gradientLength=160),
    )
    no_axis = alt.Axis(labels=False, ticks=False, grid=False)
    return (
        named("maps")
        .mark_rect()
        .transform_filter("datum.map === shown")
        .transform_flatten(["cells"])
        .transform_window(index="row_number()")
        .transform_calculate(
            row="floor((datum.index - 1) / datum.columns)",
            column="(datum.index - 1) % datum.columns",
            change="datum.cells === null ? 'no finite number' : format(pow(10, datum.cells), '.2e')",
        )
        .encode(
            x=alt.X("column:O", title="columns of the matrix", axis=no_axis),
            y=alt.Y("row:O", title="rows of the matrix", axis=no_axis),
            color=alt.condition("datum.cells === null", alt.value("#d8452e"), colour),
            tooltip=tooltips({"change": "mean |ΔW|"}),
        )
        .add_params(picker)
    )

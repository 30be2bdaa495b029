"""What several charts are made of: the limit, the band of what is no number, scales of names, tooltips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collapse_tests.report.formatting import perplexity
from collapse_tests.report.html.charts.chart import ALL, Rows
from collapse_tests.report.html.charts.log_axis import LogAxis

__all__ = ["band_layers", "group_filter", "limit_layers", "limit_rows", "limits_of", "named", "names_scale", "tooltips"]

_MOST_LIMITS = 3


def named(name: str) -> Any:
    """A chart of the data of this name."""
    import altair as alt

    return alt.Chart(alt.NamedData(name))


def names_scale(names: Sequence[str], values: Sequence[Any]) -> Any:
    """One colour, shape or dash for each name."""
    import altair as alt

    return alt.Scale(domain=list(names), range=list(values[: len(names)]))


def tooltips(titles: Mapping[str, str]) -> list[Any]:
    """Texts by field."""
    import altair as alt

    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def group_filter(chart: Any, *, with_all: bool) -> Any:
    """The chart of the group chosen; of all groups, where rows are of single ones and that is the choice."""
    everything = f"shown === '{ALL}' || " if with_all else ""
    return chart.transform_filter(f"{everything}datum.group === shown")


def limits_of(values: Iterable[float]) -> tuple[float, ...]:
    """The limits among those of records, each once, the lowest first; what is no number is none."""
    return tuple(sorted({value for value in values if math.isfinite(value)}))


def limit_rows(axis: LogAxis, limits: Sequence[float]) -> Rows:
    """The data `limits`."""
    return [{"place": axis.place(limit), "text": f"limit {perplexity(limit)}"} for limit in limits[:_MOST_LIMITS]]


def limit_layers(axis: LogAxis, title: str) -> list[Any]:
    """A dashed line at each limit on the y axis, and its words."""
    import altair as alt

    base = named("limits").encode(y=alt.Y("place:Q", scale=axis.scale(), axis=axis.axis(title)))
    words = base.mark_text(align="left", baseline="bottom", dx=4, dy=-3)
    return [base.mark_rule(strokeDash=[6, 4], size=1.5), words.encode(x=alt.value(0), text="text:N")]


def band_layers(axis: LogAxis, channel: str = "y") -> list[Any]:
    """What sets the places of inf and NaN apart from those of numbers."""
    import altair as alt

    if not axis.band:
        return []
    data = alt.InlineData(values=[{"edge": axis.edge, "end": axis.high}])
    band = alt.Chart(data).mark_rect(opacity=0.14, color="#7a7f87")
    position = alt.X if channel == "x" else alt.Y
    return [band.encode(**{channel: position("edge:Q"), f"{channel}2": "end:Q"})]

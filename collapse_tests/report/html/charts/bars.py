"""Bars in groups, each with its value and name beside it: accuracy per task, rates per kind of success."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.report.html.charts.chart import Chart, compiled
from collapse_tests.report.html.charts.marks import named, names_scale, tooltips

__all__ = ["Bar", "bar_chart"]

_BAR = 15
#: Pixels that the words after a bar take: per character, and what stands before the name.
_CHARACTER, _VALUE = 7, 42


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        row: the group it stands in.
        state: its name within the group, which gives its colour.
        value: 0 to 1; what is no number is drawn as 0.
        told: what a tooltip adds; empty for nothing.
    """

    row: str
    state: str
    value: float
    told: str = ""


def bar_chart(
    chart_id: str,
    title: str,
    description: str,
    bars: Sequence[Bar],
    colours: Mapping[str, str],
    axis: str,
    notes: Sequence[str] = (),
) -> Chart:
    """The chart of some bars.

    Args:
        chart_id: see `Chart`.
        title: likewise.
        description: likewise.
        bars: one or more, in the order of their rows.
        colours: by state, in the order of the bars within a row; states that no bar has are left out.
        axis: what the values are.
        notes: see `Chart`.
    """
    rows = list(dict.fromkeys(bar.row for bar in bars))
    present = {bar.state for bar in bars}
    states = [state for state in colours if state in present]
    height = len(rows) * (len(states) * _BAR + 12)
    spec = compiled(_drawn(rows, states, colours, axis), height, description, {"bars": list(map(_row, bars))})
    return Chart(chart_id, title, description, spec, notes, height)


def _row(bar: Bar) -> Mapping[str, Any]:
    text = f"{bar.value:.2f} {bar.state}"
    return {
        "row": bar.row,
        "state": bar.state,
        "value": bar.value if math.isfinite(bar.value) else 0.0,
        "text": text,
        "told": f"{text}, {bar.told}" if bar.told else text,
    }


def _drawn(rows: Sequence[str], states: Sequence[str], colours: Mapping[str, str], axis: str) -> Any:
    import altair as alt

    room = _VALUE + _CHARACTER * max(map(len, states))
    scale = names_scale(states, [colours[state] for state in states])
    base = named("bars").encode(
        x=alt.X(
            "value:Q",
            # Room for the words after the longest bar, in pixels.
            scale=alt.Scale(
                domainMin=0, domainMax=alt.ExprRef(f"width / max(width - {room}, 50)"), nice=False, clamp=True
            ),
            axis=alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], format=".1f", title=axis),
        ),
        y=alt.Y(
            "row:N", sort=list(rows), title=None, axis=alt.Axis(labelLimit=120), scale=alt.Scale(paddingInner=0.12)
        ),
        yOffset=alt.YOffset("state:N", sort=list(states)),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("state:N", scale=scale, legend=None), tooltip=tooltips({"row": "of", "told": axis})
    )
    words = base.mark_text(align="left", dx=4, baseline="middle").encode(text="text:N")
    return alt.layer(bars, words)

"""ME-PPL of the same edits in two runs, one against the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from collapse_tests.records import badness
from collapse_tests.report.formatting import perplexity
from collapse_tests.report.html.charts.chart import Chart, Rows, compiled
from collapse_tests.report.html.charts.log_axis import LogAxis
from collapse_tests.report.html.charts.marks import band_layers, limits_of, named, names_scale, tooltips
from collapse_tests.report.html.charts.palette import LINES, SHAPES
from collapse_tests.report.html.texts import shown
from collapse_tests.report.side_by_side import Pair

__all__ = ["pair_chart"]

_MOST_POINTS = 2_500
_HEIGHT = 340
#: In the order of `_kinds`.
_COLOURS = (LINES[2], LINES[3], LINES[0], LINES[4])


def pair_chart(
    chart_id: str, names: tuple[str, str], pairs: Sequence[Pair], limits: Iterable[float | None]
) -> Chart | None:
    """The chart, or None where no edit has an ME-PPL in both.

    Args:
        chart_id: see `Chart`.
        names: of the two runs, distinct; the first lies on the x axis.
        pairs: edits that both tried.
        limits: of the two runs, as far as they are known.
    """
    pairs = [pair for pair in pairs if pair.perplexities is not None]
    if not pairs:
        return None
    known = limits_of(limit for limit in limits if limit is not None)
    axis = LogAxis.over((value for pair in pairs for value in _values(pair)), known)
    taken = sorted(pairs, key=_telling, reverse=True)[:_MOST_POINTS]
    kinds = _kinds(names)
    ends = [{"x": axis.low, "y": axis.low}, {"x": axis.high, "y": axis.high}]
    data: dict[str, Rows] = {
        "points": [_point(pair, axis, kinds) for pair in taken],
        "ends": ends,
        "limits": [{"place": axis.place(limit), "text": f"limit {perplexity(limit)}"} for limit in known],
    }
    description = _description(names, pairs, known)
    spec = compiled(_drawn(axis, names, list(kinds.values())), _HEIGHT, description, data)
    notes = ["On the line both are the same; above it the edit is worse in the run named on the left."]
    if len(taken) < len(pairs):
        notes.append(f"Of {len(pairs):,} edits, the {len(taken):,} with other outcomes or the highest ME-PPL.")
    if axis.band:
        notes.append("In the grey bands ME-PPL is no finite number.")
    return Chart(chart_id, "ME-PPL of the same edits", description, spec, notes, _HEIGHT)


def _kinds(names: tuple[str, str]) -> dict[tuple[bool, bool], str]:
    """Whether an edit collapsed the model in either → what its point says."""
    there, here = names
    return {
        (False, False): "no collapse",
        (True, False): f"collapse in {there} alone",
        (False, True): f"collapse in {here} alone",
        (True, True): "collapse in both",
    }


def _values(pair: Pair) -> tuple[float, float]:
    assert pair.perplexities is not None
    return pair.perplexities


def _telling(pair: Pair) -> tuple[bool, tuple[bool, float]]:
    return pair.before.verdict is not pair.after.verdict, max(map(badness, _values(pair)))


def _point(pair: Pair, axis: LogAxis, kinds: dict[tuple[bool, bool], str]) -> dict[str, Any]:
    there, here = _values(pair)
    return {
        "x": axis.place(there),
        "y": axis.place(here),
        "kind": kinds[pair.before.collapsed, pair.after.collapsed],
        "edit": shown(pair.edit_id, 60),
        "there": f"{perplexity(there)}, {pair.before.verdict}",
        "here": f"{perplexity(here)}, {pair.after.verdict}",
    }


def _drawn(axis: LogAxis, names: tuple[str, str], kinds: Sequence[str]) -> Any:
    import altair as alt

    there, here = names
    x = alt.X("x:Q", scale=axis.scale(), axis=axis.axis(f"ME-PPL, {there}", upright=False))
    y = alt.Y("y:Q", scale=axis.scale(), axis=axis.axis(f"ME-PPL, {here}"))
    colours, shapes = (names_scale(kinds, values) for values in (_COLOURS, SHAPES))
    points = (
        named("points")
        .mark_point(filled=True, size=46, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", title=None, scale=colours),
            shape=alt.Shape("kind:N", title=None, scale=shapes),
            tooltip=tooltips({"edit": "edit", "there": there, "here": here}),
        )
    )
    limits = named("limits").mark_rule(strokeDash=[6, 4], size=1.5)
    return alt.layer(
        *band_layers(axis, "x"),
        *band_layers(axis),
        named("ends").mark_line(color="#7a7f87", size=1).encode(x=x, y=y),
        limits.encode(x=alt.X("place:Q", scale=axis.scale()), tooltip=tooltips({"text": "on this axis"})),
        limits.encode(y=alt.Y("place:Q", scale=axis.scale()), tooltip=tooltips({"text": "on this axis"})),
        points,
    )


def _description(names: tuple[str, str], pairs: Sequence[Pair], limits: Sequence[float]) -> str:
    there, here = names
    changes = [(pair.before.collapsed, pair.after.collapsed) for pair in pairs]
    odd = sum(not all(map(math.isfinite, _values(pair))) for pair in pairs)
    text = (
        f"{len(pairs):,} edits, each a point at its ME-PPL in {there} across and in {here} upwards, on "
        f"logarithmic axes. "
        f"{changes.count((True, True)):,} collapse in both, {changes.count((True, False)):,} in {there} alone, "
        f"{changes.count((False, True)):,} in {here} alone."
    )
    text += f" Dashed lines mark the limit {', '.join(map(perplexity, limits))}." if limits else ""
    return text + (f" In {odd:,} ME-PPL is inf or NaN in one of the two, beyond the numbers." if odd else "")

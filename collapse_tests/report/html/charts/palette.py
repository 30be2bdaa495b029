"""Colours and shapes of charts: three to one against a light page and a dark one; shape or dash says the same."""

from __future__ import annotations

from typing import Any

from collapse_tests.records import Verdict

__all__ = ["CHANCE", "DASHES", "LINES", "RUNS", "SHAPES", "UNEDITED", "VERDICT_COLOURS", "config"]

VERDICT_COLOURS = {
    Verdict.STABLE: "#2a8a78",
    Verdict.COLLAPSED: "#d8452e",
    Verdict.INEFFECTIVE: "#a8760a",
    Verdict.ERROR: "#8d66d9",
}

UNEDITED, CHANCE = "#2f7fd1", "#7a7f87"

#: Of runs side by side; none is the colour of the unedited model or of chance.
RUNS = ("#d8452e", "#2a8a78", "#a8760a", "#8d66d9", "#c4478f", "#6f7f2f")

#: Of lines and points of one kind, one after the other.
LINES = ("#d8452e", "#2f7fd1", "#2a8a78", "#a8760a", "#8d66d9", "#c4478f", "#6f7f2f", "#7a7f87")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [1, 3], [4, 1], [12, 3, 3, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")

_FONT = "system-ui, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"


def config(dark: bool = False) -> dict[str, Any]:
    """Vega-Lite's configuration for a light or a dark page."""
    ink, soft, grid = ("#e6e9ee", "#aab2bd", "#39414d") if dark else ("#1b1f24", "#59636e", "#dfe3e8")
    return {
        "background": None if dark else "#ffffff",
        "font": _FONT,
        "aria": False,  # the page and the file name the chart as a whole
        "view": {"stroke": grid},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "gridColor": grid,
            "domainColor": soft,
            "tickColor": soft,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 150,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "orient": "top",
            "labelLimit": 220,
            "symbolLimit": 12,
        },
        "title": {"color": ink, "fontSize": 13, "anchor": "start"},
        "text": {"color": ink, "fontSize": 11},
        "rule": {"color": ink},
        "style": {"guide-label": {"font": _FONT}, "guide-title": {"font": _FONT}},
    }

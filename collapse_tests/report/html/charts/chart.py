"""A chart: its specification, and what it shows in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from collapse_tests.report.html.texts import distinct, shown

__all__ = ["ALL", "Chart", "Rows", "compiled", "first_charts", "group_labels", "group_picker", "picked"]

#: Data of a chart.
Rows = Sequence[Mapping[str, Any]]

_MOST_CHARTS = 12

#: The choice that leaves no group out.
ALL = "all"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        id: of its element and its files; letters, digits and dashes.
        title: what it shows, in short.
        description: what can be seen in it, for those who cannot see it.
        spec: Vega-Lite, with its data; as wide as what it is put into.
        notes: what is left out or how to read it, a sentence each.
        height: in pixels, without axes and legends.
    """

    id: str
    title: str
    description: str
    spec: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=tuple)
    height: int = 300

    def picking(self, choice: str, chart_id: str) -> Chart:
        """The chart with one group chosen, for where nobody can choose."""
        params = [
            {**param, "value": choice} if param.get("name") == "shown" else param
            for param in self.spec.get("params", ())
        ]
        return replace(self, id=chart_id, title=f"{self.title}: {choice}", spec={**self.spec, "params": params})


def compiled(chart: Any, height: int, description: str, data: Mapping[str, Rows]) -> dict[str, Any]:
    """The specification with its data, by the names that the chart calls them.

    Data are put in last: checking them against the schema of Vega-Lite takes longer than everything else.
    """
    sized = chart.properties(width="container", height=height, description=description)
    spec: dict[str, Any] = sized.to_dict()
    spec.pop("config", None)  # a page has its own, for light and for dark
    return {**spec, "datasets": {**spec.get("datasets", {}), **data}}


def first_charts(charts: Sequence[Chart], what: str) -> list[Chart]:
    """As many charts of one kind as a page shows; if that is not all, the first says so.

    Args:
        charts: of all.
        what: of which there is one chart each, and where to find the others.
    """
    if len(charts) <= _MOST_CHARTS:
        return list(charts)
    left_out = f"The first {_MOST_CHARTS} of {len(charts)} {what}."
    return [replace(charts[0], notes=(*charts[0].notes, left_out)), *charts[1:_MOST_CHARTS]]


def group_labels(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Short and distinct names of all (model, editor), in the order in which they occur."""
    groups = list(dict.fromkeys(keys))
    many = len({model for model, _ in groups}) > 1
    names = [f"{shown(model, 40)} under {shown(editor, 40)}" if many else shown(editor, 40) for model, editor in groups]
    return dict(zip(groups, distinct([ALL, *names])[1:], strict=True))


def group_picker(labels: Sequence[str]) -> Any:
    """A list to choose one group or all of them from."""
    import altair as alt

    return alt.param(name="shown", value=ALL, bind=alt.binding_select(options=[ALL, *labels], name="editor "))


def picked(rows: Callable[[str], Rows], labels: Sequence[str]) -> Rows:
    """Rows that are made for each choice apart, as sums over all groups are no sum of what is drawn for each."""
    return [row for label in ([ALL, *labels] if len(labels) > 1 else [ALL]) for row in rows(label)]

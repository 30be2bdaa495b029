"""All charts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.report.html.charts.accuracy import accuracy_chart
from collapse_tests.report.html.charts.chart import Chart
from collapse_tests.report.html.charts.curves import curve_charts
from collapse_tests.report.html.charts.heat_maps import heat_map_charts
from collapse_tests.report.html.charts.scatter import ScatterView, scatter_chart, scatter_view
from collapse_tests.report.html.charts.tasks import task_charts
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.html.texts import distinct, slug
from collapse_tests.report.task_rows import TaskSummary

__all__ = ["Gallery", "gallery", "single_figures"]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The charts, by the section they belong to.

    Attributes:
        scatter: where every edit lies.
        perplexity: ME-PPL of every edit; None without any.
        tasks: accuracy per task.
        accuracy: ME-PPL against accuracy; None without tasks.
        heat_maps: of weight changes.
        curves: along sequences.
    """

    scatter: ScatterView
    perplexity: Chart | None
    tasks: Sequence[Chart]
    accuracy: Chart | None
    heat_maps: Sequence[Chart]
    curves: Sequence[Chart]

    @property
    def charts(self) -> list[Chart]:
        """All of them, in the order of the page."""
        alone = [[chart] if chart else [] for chart in (self.perplexity, self.accuracy)]
        return [*alone[0], *self.tasks, *alone[1], *self.heat_maps, *self.curves]


def gallery(run: RunData, tasks: Sequence[TaskSummary]) -> Gallery:
    """The charts that a run has anything to show in.

    Args:
        run: whose they are.
        tasks: its tasks, summarised.
    """
    view = scatter_view(run.records)
    return Gallery(
        view,
        scatter_chart(view),
        task_charts(tasks, view.labels),
        accuracy_chart(run.records, view.labels),
        heat_map_charts(run.records, run.details),
        curve_charts(run.sequences),
    )


def single_figures(found: Gallery) -> list[Chart]:
    """All charts, and those in which a group can be chosen once more for each group."""
    labels = list(found.scatter.labels.values())
    more = []
    for chart in (found.perplexity, found.accuracy):
        if chart is not None and len(labels) > 1:
            ids = distinct((f"{chart.id}-{slug(label)}" for label in labels), "-{}")
            more += [chart.picking(label, chart_id) for label, chart_id in zip(labels, ids, strict=True)]
    return [*found.charts, *more]

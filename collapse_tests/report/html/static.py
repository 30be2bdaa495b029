"""The charts of a run as PNG and SVG, drawn without a browser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from collapse_tests.cache import atomic_file
from collapse_tests.errors import InfrastructureError
from collapse_tests.report.html.charts.chart import Chart
from collapse_tests.report.html.charts.gallery import gallery, single_figures
from collapse_tests.report.html.charts.palette import config
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.task_rows import summarise_tasks

__all__ = ["FORMATS", "figure_bytes", "write_charts", "write_figures"]

FORMATS = ("png", "svg")

_WIDTH = 640
_SCALE = 3


def write_figures(run: RunData, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write every chart, and those in which a group can be chosen once more for each group.

    Args:
        run: whose charts they are.
        folder: made if missing; files of the same names are replaced.
        formats: some of `FORMATS`.

    Returns:
        The files, in the order of the page.

    Raises:
        InfrastructureError: a chart cannot be drawn or written.
    """
    return write_charts(single_figures(gallery(run, summarise_tasks(run.records))), folder, formats)


def write_charts(charts: Iterable[Chart], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write some charts; see `write_figures`.

    Raises:
        InfrastructureError: a chart cannot be drawn or written.
    """
    files = []
    for chart in charts:
        for name in formats:
            file = folder / f"{chart.id}.{name}"
            data = figure_bytes(chart, name)
            try:
                with atomic_file(file) as partial:
                    partial.write_bytes(data)
            except OSError as error:
                raise InfrastructureError(f"cannot write {file}: {error.strerror or error}") from error
            files.append(file)
    return files


def figure_bytes(chart: Chart, name: str) -> bytes:
    """One chart on white, 640 points wide without axes; a PNG has three pixels for each.

    Args:
        chart: which.
        name: one of `FORMATS`.

    Raises:
        InfrastructureError: it cannot be drawn.
    """
    import vl_convert

    spec = {**chart.spec, "width": _WIDTH}
    settings: dict[str, Any] = {"vl_spec": spec, "config": config()}
    try:
        # Nothing in a chart is loaded from anywhere; so it stays if a record had a way to ask for it.
        if name == "svg":
            text: str = vl_convert.vegalite_to_svg(**settings, allowed_base_urls=[])
            return text.encode("utf-8")
        return bytes(vl_convert.vegalite_to_png(**settings, scale=_SCALE, allowed_base_urls=[]))
    except ValueError as error:
        raise InfrastructureError(f"the chart {chart.id} cannot be drawn: {error}") from error

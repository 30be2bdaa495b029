"""`collapse-report figures`: the charts of a run, or of runs side by side, as files for papers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_names, parse_path
from collapse_tests.report_tool.places import run_folder

__all__ = ["figures"]


def figures(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="A run's directory, or a file in it; or several to compare.")
    ],
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Default: figures in the directory of the run, if it is one.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", metavar="png,svg", help="Which files to write.")] = "png,svg",
) -> None:
    """Write each chart of a run, or of runs side by side, as PNG and SVG; no browser is needed."""
    with reporting() as console:
        from collapse_tests.report.html.static import FORMATS

        wanted = tuple(dict.fromkeys(parsed("--format", parse_names, formats)))
        if unknown := [name for name in wanted if name not in FORMATS]:
            raise UsageError(f"--format: {unknown[0]!r} is no format of figures; give {' or '.join(FORMATS)}")
        target = parsed_if_given("--out", lambda text: Path(parse_path(text)), out)
        say = sayer(console)
        written = _of_one(runs[0], target, wanted, say) if len(runs) == 1 else _of_several(runs, target, wanted, say)
        for file in written:
            say(os.path.relpath(file))
        if not written:
            say("Nothing was measured that a chart could show.")


def _of_one(run: str, target: Path | None, formats: Sequence[str], say: Callable[[str], None]) -> list[Path]:
    from collapse_tests.report.html.run_data import read_run
    from collapse_tests.report.html.static import write_figures

    folder = run_folder(Path(parsed("RUN", parse_path, run)))
    data = read_run(folder)
    for problem in data.problems:
        say(f"warning: {problem}")
    return write_figures(data, target or folder / "figures", formats)


def _of_several(
    runs: Sequence[str], target: Path | None, formats: Sequence[str], say: Callable[[str], None]
) -> list[Path]:
    from collapse_tests.report.html.comparison import comparison_view
    from collapse_tests.report.html.static import write_charts
    from collapse_tests.report_tool.runs import named_runs

    if target is None:
        raise UsageError("figures of several runs belong to none of them; say where to write them with --out DIR")
    return write_charts(comparison_view(named_runs(runs, say)).charts, target, formats)

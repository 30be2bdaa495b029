"""`collapse-report figures`: the charts of a run as files, for papers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_names, parse_path
from collapse_tests.report_tool.places import run_folder

__all__ = ["figures"]


def figures(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's directory, or a file in it.")],
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Default: figures in the run's directory.")] = None,
    formats: Annotated[str, typer.Option("--format", metavar="png,svg", help="Which files to write.")] = "png,svg",
) -> None:
    """Write each chart of a run as PNG and SVG; no browser is needed."""
    with reporting() as console:
        from collapse_tests.report.html.run_data import read_run
        from collapse_tests.report.html.static import FORMATS, write_figures

        wanted = tuple(dict.fromkeys(parsed("--format", parse_names, formats)))
        if unknown := [name for name in wanted if name not in FORMATS]:
            raise UsageError(f"--format: {unknown[0]!r} is no format of figures; give {' or '.join(FORMATS)}")
        folder = run_folder(Path(parsed("RUN", parse_path, run)))
        target = parsed_if_given("--out", lambda text: Path(parse_path(text)), out) or folder / "figures"
        data = read_run(folder)
        for problem in data.problems:
            sayer(console)(f"warning: {problem}")
        written = write_figures(data, target, wanted)
        for file in written:
            sayer(console)(os.path.relpath(file))
        if not written:
            sayer(console)("Nothing was measured in this run that a chart could show.")

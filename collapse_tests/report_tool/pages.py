"""`collapse-report html` and `open`: the page of a run."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.option_values import parse_path
from collapse_tests.report_tool.places import newest_run, run_folder

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["html", "open_page"]

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's directory, or a file in it.")]


def html(
    run: Run,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Default: report.html in the run's directory.")
    ] = None,
) -> None:
    """Write the page of a run, from its records."""
    with reporting() as console:
        folder = run_folder(Path(parsed("RUN", parse_path, run)))
        file = parsed_if_given("--out", lambda text: Path(parse_path(text)), out)
        console.print(f"Report: {_write(folder, file, console)}", soft_wrap=True)


def open_page(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's directory; the newest in reports if left out.")
    ] = None,
) -> None:
    """Show the page of a run in a browser; write it first if there is none, or an older one than its records."""
    with reporting() as console:
        given = parsed_if_given("RUN", lambda text: Path(parse_path(text)), run)
        folder = newest_run() if given is None else run_folder(given)
        file = _page(folder)
        if _is_outdated(file, folder):
            _write(folder, file, console)
        shown = _show(file)
        console.print(f"Report: {os.path.relpath(file)}", soft_wrap=True)
        if not shown:
            console.print("No browser was found to open it with.", soft_wrap=True)


def _page(folder: Path) -> Path:
    from collapse_tests.report.html.rendering import REPORT_FILE

    return folder / REPORT_FILE


def _is_outdated(file: Path, folder: Path) -> bool:
    from collapse_tests.report.baseline_news import NEWS_FILE
    from collapse_tests.report.store import DETAILS_FILE, RECORDS_FILE, SEQUENCES_FILE

    if not file.is_file():
        return True
    sources = [folder / name for name in (RECORDS_FILE, SEQUENCES_FILE, DETAILS_FILE, NEWS_FILE)]
    return any(source.is_file() and source.stat().st_mtime > file.stat().st_mtime for source in sources)


def _write(folder: Path, file: Path | None, console: Console) -> str:
    from collapse_tests.report.html.rendering import write_page
    from collapse_tests.report.html.run_data import read_run

    data = read_run(folder)
    for problem in data.problems:
        sayer(console)(f"warning: {problem}")
    target = _page(folder) if file is None else file
    write_page(data, target)
    return os.path.relpath(target)


def _show(file: Path) -> bool:
    try:
        return webbrowser.open(file.resolve().as_uri())
    except webbrowser.Error:
        return False

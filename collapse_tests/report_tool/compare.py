"""`collapse-report compare`: runs side by side, the way to choose between two editors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.option_values import parse_path, parse_positive_integer
from collapse_tests.report_tool.places import new_page

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.report.side_by_side import NamedRun

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs' directories, their records.jsonl, or baselines.")
    ],
    cases: Annotated[str, typer.Option(metavar="N", help="List at most this many requests with two verdicts.")] = "5",
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="The page to write. Default: a new one beside the runs.")
    ] = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Write no page.")] = False,
) -> None:
    """Show runs side by side, and each against the first; of one run, its editors against its first."""
    with reporting() as console:
        from collapse_tests.report.side_by_side_tables import print_side_by_side
        from collapse_tests.report_tool.runs import named_runs

        shown = parsed("--cases", parse_positive_integer, cases)
        file = parsed_if_given("--html", lambda text: Path(parse_path(text)), html)
        if file is not None and no_html:
            raise UsageError("--html and --no-html contradict each other; give one of them")
        named = named_runs(runs, sayer(console))
        print_side_by_side(named, shown, console)
        if not no_html:
            _write(named, file, console)


def _write(runs: Sequence[NamedRun], file: Path | None, console: Console) -> None:
    """Write the page; one that nobody asked for is only missed where it cannot be."""
    from collapse_tests.report.html.rendering import write_comparison

    if file is not None:
        write_comparison(runs, file)
        sayer(console)(f"Comparison: {os.path.relpath(file)}")
        return
    try:
        with new_page([run.place for run in runs], datetime.now()) as page:
            write_comparison(runs, page)
    except InfrastructureError as error:
        sayer(console)(f"warning: {error}; --html FILE writes it elsewhere, --no-html does without")
    else:
        sayer(console)(f"Comparison: {os.path.relpath(page)}")

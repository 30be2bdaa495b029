"""`collapse-report compare`: runs side by side, the way to choose between two editors."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Annotated

import typer

from collapse_tests.commands import parsed, reporting, sayer
from collapse_tests.option_values import parse_path, parse_positive_integer

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs' directories, their records.jsonl, or baselines.")
    ],
    cases: Annotated[str, typer.Option(metavar="N", help="List at most this many requests with two verdicts.")] = "5",
) -> None:
    """Show runs side by side, and each against the first; of one run, its editors against its first."""
    with reporting() as console:
        from collapse_tests.errors import UsageError
        from collapse_tests.report.side_by_side import NamedRun
        from collapse_tests.report.side_by_side_tables import print_side_by_side
        from collapse_tests.report_tool.runs import snapshot_from

        shown = parsed("--cases", parse_positive_integer, cases)
        if len(runs) > len(ascii_uppercase):
            raise UsageError(f"{len(runs)} runs are too many; give at most {len(ascii_uppercase)}")
        say = sayer(console)
        named = [
            NamedRun(letter, place, snapshot_from(parsed("RUN", parse_path, place), say))
            for letter, place in zip(ascii_uppercase, runs, strict=False)
        ]
        print_side_by_side(named, shown, console)

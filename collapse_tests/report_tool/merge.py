"""`collapse-report merge`: one run of many, such as the shards of an array of jobs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_path
from collapse_tests.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.report.merging import Merged
    from collapse_tests.report.store import RunDirectory

__all__ = ["merge"]

#: Pytest's own for a wrong command line, so that a script need know one code for both.
_REFUSED = 4

_REPORTS = Path("reports")


def merge(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs' directories, or directories that hold some.")
    ],
    into: Annotated[
        str | None, typer.Option(metavar="DIR", help="The new run's directory. Default: a new one in reports.")
    ] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Merge what is there, though shards or cases are missing.")
    ] = False,
) -> None:
    """Make one run of the shards of a job, or of runs without shards that belong together."""
    with reporting() as console:
        try:
            _merge([parsed("RUN", parse_path, run) for run in runs], into, incomplete, console)
        except UsageError as error:
            console.print(f"error: {error}", style="bold red", soft_wrap=True)
            raise typer.Exit(_REFUSED) from None


def _merge(places: Sequence[str], into: str | None, incomplete: bool, console: Console) -> None:
    from collapse_tests.report.merging import merge as merge_parts
    from collapse_tests.report_tool.parts import read_parts

    target = parsed_if_given("--into", lambda text: Path(parse_path(text)), into)
    if target is not None:
        _check_new(target)
    say = sayer(console)
    merged = merge_parts(read_parts(places, say), incomplete=incomplete)
    place = os.path.relpath(_write(merged, target))
    _show(merged, place, console, say)


def _check_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"--into {target} is there already; give a directory that is new or empty")


def _write(merged: Merged, target: Path | None) -> Path:
    from collapse_tests.report.store import RunDirectory

    run = RunDirectory.create(_REPORTS, {}, now=datetime.now()) if target is None else RunDirectory.within(target)
    try:
        with run:
            _fill(run, merged)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run.path


def _fill(run: RunDirectory, merged: Merged) -> None:
    from collapse_tests.records import Verdict
    from collapse_tests.sequence_record import SequenceKind

    for record in merged.records:
        run.append(record)
    for sequence in merged.sequences:
        run.append_sequence(sequence)
        if sequence.kind is SequenceKind.MACHINE and sequence.requests and sequence.verdict is not Verdict.STABLE:
            run.write_scenario(sequence)
    for detail in merged.details:
        run.append_detail(detail)
    # Last, as records without settings are taken for no run: what was killed half-way stands for nothing.
    run.write_environment({**merged.environment, "command": sys.argv[1:]})


def _show(merged: Merged, place: str, console: Console, say: Callable[[str], None]) -> None:
    from collapse_tests.report.html.at_the_end import write_at_the_end
    from collapse_tests.report.terminal import render

    if merged.records or merged.sequences:
        certified = merged.environment["settings"].get("riskiest") is None
        render(
            merged.records,
            merged.sequences,
            run_directory=place,
            console=console,
            verbose=False,
            certified=certified,
        )
    say(f"merged: {counted(len(merged.environment['merged']['runs']), 'run')} into {place}")
    for note in merged.notes:
        say(f"note: {note}")
    for gap in merged.gaps:
        say(f"incomplete: {gap}")
    say(write_at_the_end(Path(place), merged.records, merged.sequences))

"""The runs that `collapse-report merge` is given, from their directories."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from collapse_tests.errors import UsageError
from collapse_tests.kept_records import run_directories
from collapse_tests.report.merge_parts import Part
from collapse_tests.report.reading import (
    ENVIRONMENT_FILE,
    RECORDS_FILE,
    SEQUENCES_FILE,
    read_details,
    read_environment,
    read_records,
    read_sequences,
)

__all__ = ["read_parts"]


def read_parts(places: Sequence[str], say: Callable[[str], None]) -> list[Part]:
    """All runs in these places, each once.

    A merged run that lies beside others is left alone, as it is made of them; one that is given by its own name is not.

    Args:
        places: directories of runs, or ones that hold some.
        say: takes a line about what is damaged or left alone.

    Raises:
        UsageError: a place holds no run, or a run is damaged.
    """
    found: dict[Path, Part] = {}
    for place in places:
        given = Path(place)
        for folder in _runs_in(given):
            if folder.resolve() not in found:
                part = _read(folder, say)
                if folder not in (given, given.parent) and "merged" in part.environment:
                    say(f"{part.place} is a merged run and left alone; give it by name to merge it")
                    continue
                found[folder.resolve()] = part
    if not found:
        raise UsageError(f"{', '.join(places)}: no run but merged ones; give the runs they were made of")
    return list(found.values())


def _runs_in(place: Path) -> Iterator[Path]:
    """The run that a place is, or else those in it."""
    folder = place.parent if place.name == RECORDS_FILE and place.is_file() else place
    runs = [folder] if (folder / RECORDS_FILE).is_file() else run_directories(folder)
    if not runs:
        raise UsageError(
            f"no run in {place}: neither it nor a directory in it holds {RECORDS_FILE}; give reports/<run>"
        )
    yield from runs


def _read(folder: Path, say: Callable[[str], None]) -> Part:
    environment = _environment(folder)
    records, problems = read_records(folder)
    sequences, more = read_sequences(folder) if (folder / SEQUENCES_FILE).exists() else ([], [])
    details, rest = read_details(folder)
    for problem in (*problems, *more, *rest):
        say(f"warning: {problem}")
    return Part.of(os.path.relpath(folder), environment, records, sequences, details)


def _environment(folder: Path) -> dict[str, Any]:
    try:
        return read_environment(folder)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder / ENVIRONMENT_FILE} does not say what the records beside it are of ({error}); restore it, or "
            "leave that run out"
        ) from None

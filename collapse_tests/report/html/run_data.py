"""Everything a page about a run is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.records import Record
from collapse_tests.report.baseline_news import BaselineNews, read_news
from collapse_tests.report.reading import (
    ENVIRONMENT_FILE,
    RECORDS_FILE,
    SEQUENCES_FILE,
    read_details,
    read_environment,
    read_records,
    read_sequences,
)
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["RunData", "read_beside", "read_run"]


@dataclass(frozen=True, slots=True)
class RunData:
    """A run as its files tell it.

    Attributes:
        name: of its directory.
        records: of all its cases.
        sequences: of all its scenarios and searches.
        details: more about some of its cases, by case id.
        environment: what it ran on; empty where that is not known.
        problems: what was wrong with its files, a sentence each.
        news: what changed against its baseline, if it had one.
    """

    name: str
    records: Sequence[Record] = ()
    sequences: Sequence[SequenceRecord] = ()
    details: Mapping[str, CaseDetail] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()
    news: BaselineNews | None = None


def read_run(path: Path) -> RunData:
    """A run from its directory.

    A run that was cut off is read as far as it got. Without details or an environment the page is poorer, so what is
    wrong with those is only named.

    Args:
        path: the directory, or the file of records in it.

    Raises:
        UsageError: there is no run, or its records or sequences cannot be read.
    """
    folder = path.parent if path.is_file() else path
    if not any((folder / name).exists() for name in (RECORDS_FILE, SEQUENCES_FILE)):
        raise UsageError(f"no run in {path}: it holds no {RECORDS_FILE}; give a run's directory, as reports/<run>")
    records, problems = read_records(folder) if (folder / RECORDS_FILE).exists() else ([], [])
    sequences, more = read_sequences(folder) if (folder / SEQUENCES_FILE).exists() else ([], [])
    return read_beside(folder, records, sequences, [*problems, *more])


def read_beside(
    folder: Path, records: Sequence[Record], sequences: Sequence[SequenceRecord], problems: Sequence[str] = ()
) -> RunData:
    """A run whose records are at hand already, with what else its directory holds."""
    found = list(problems)
    details: list[CaseDetail] = []
    try:
        details, more = read_details(folder)
        found += more
    except CollapseError as error:
        found.append(f"{error}; the page does without")
    environment = _environment(folder, found)
    news = None
    try:
        news = read_news(folder)
    except CollapseError as error:
        found.append(f"{error}; the page does without")
    by_id = {detail.case_id: detail for detail in details}
    return RunData(folder.resolve().name, records, sequences, by_id, environment, tuple(found), news)


def _environment(folder: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        return read_environment(folder)
    except (OSError, ValueError) as error:
        problems.append(f"{ENVIRONMENT_FILE} cannot be read ({error}); the page does without")
        return {}

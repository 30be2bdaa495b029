"""The directory of one run: records as JSON lines, written as they come, and the run's environment."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record
from collapse_tests.report.reading import (
    DETAILS_FILE,
    ENVIRONMENT_FILE,
    RECORDS_FILE,
    SEQUENCES_FILE,
    read_details,
    read_records,
    read_sequences,
)
from collapse_tests.sequence_record import SequenceRecord

__all__ = [
    "DETAILS_FILE",
    "ENVIRONMENT_FILE",
    "RECORDS_FILE",
    "SEQUENCES_FILE",
    "RunDirectory",
    "read_details",
    "read_records",
    "read_sequences",
    "scenario_text",
]

_SCENARIOS = "scenarios"


class RunDirectory:
    """A run's own directory, open for records; one process writes to it.

    Use it as a context manager or call `close`.

    Args:
        path: an existing directory without records.

    Raises:
        InfrastructureError: the records file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = _Lines(path / RECORDS_FILE)
        self._sequences: _Lines | None = None
        self._details: _Lines | None = None

    @classmethod
    def create(cls, reports_dir: Path, environment: Mapping[str, Any], *, now: datetime) -> Self:
        """Make `reports_dir/<YYYYMMDD-HHMMSS>`, never one that exists, and write the environment into it.

        Args:
            reports_dir: parent of all runs; made if missing.
            environment: the run's fingerprint; text, numbers, booleans, None, paths, mappings and sequences.
            now: start of the run; gives the directory its name.

        Raises:
            InfrastructureError: the directory or a file in it cannot be made.
        """
        text = _as_json(environment)  # before anything is made: what is no data leaves no directory behind
        with _writing(reports_dir):
            reports_dir.mkdir(parents=True, exist_ok=True)
            path = _make_new(reports_dir, now.strftime("%Y%m%d-%H%M%S"))
        with _writing(path):
            (path / ENVIRONMENT_FILE).write_text(text, encoding="ascii")
        return cls(path)

    @classmethod
    def within(cls, path: Path) -> Self:
        """Open a directory of a given name, made if it is not there.

        Raises:
            InfrastructureError: it cannot be made, or holds records.
        """
        with _writing(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write the fingerprint, or a fuller one in its place.

        Raises:
            InfrastructureError: the file cannot be written.
        """
        text = _as_json(environment)
        fuller = self.path / f"{ENVIRONMENT_FILE}.new"
        with _writing(self.path):
            # In one step: a kill or a full disk must not take what is known of the records already written.
            fuller.write_text(text, encoding="ascii")
            fuller.replace(self.path / ENVIRONMENT_FILE)

    def append(self, record: Record) -> None:
        """Write `record` as one line and hand it to the operating system.

        Raises:
            InfrastructureError: the line cannot be written; the file then ends with the record before.
        """
        self._records.append(record.to_dict())

    def append_sequence(self, record: SequenceRecord) -> None:
        """As `append`, to a file of its own, which is made for the first one.

        Raises:
            InfrastructureError: likewise.
        """
        if self._sequences is None:
            self._sequences = _Lines(self.path / SEQUENCES_FILE)
        self._sequences.append(record.to_dict())

    def append_detail(self, detail: CaseDetail) -> None:
        """As `append`, to a file of its own, which is made for the first one.

        Raises:
            InfrastructureError: likewise.
        """
        if self._details is None:
            self._details = _Lines(self.path / DETAILS_FILE)
        self._details.append(detail.to_dict())

    def write_scenario(self, record: SequenceRecord) -> Path:
        """Write the requests of a record as a file that `--scenario` and `--edits` read.

        Returns:
            The file, in the directory of the run.

        Raises:
            InfrastructureError: it cannot be written.
        """
        file = self.path / _SCENARIOS / f"{record.case_id.replace(':', '-')}.json"
        with _writing(self.path):
            file.parent.mkdir(exist_ok=True)
            file.write_text(scenario_text(record) + "\n", encoding="ascii")
        return file

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        for lines in (self._records, self._sequences, self._details):
            if lines is not None:
                lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Lines:
    """A new file of JSON lines.

    Args:
        path: of the file.

    Raises:
        InfrastructureError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._place = path.parent
        with _writing(self._place):
            # Unbuffered: a line is with the operating system when `append` returns, so a kill loses none.
            self._file = path.open("xb", buffering=0)
        self._end = 0

    def append(self, data: Mapping[str, Any]) -> None:
        """Write strict JSON data as one line."""
        # Escapes above ASCII keep lone surrogates, which UTF-8 cannot hold, writable.
        line = json.dumps(data, allow_nan=False).encode("ascii") + b"\n"
        with _writing(self._place):
            try:
                self._write(line)
            except OSError:
                # A torn line would spoil the next one; a full disk still lets a file shrink.
                self._file.truncate(self._end)
                self._file.seek(self._end)
                raise
        self._end += len(line)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]


def scenario_text(record: SequenceRecord) -> str:
    """The requests of a record as JSON, in the layout of a request file, without what they lack."""
    requests = [{name: value for name, value in request.items() if value is not None} for request in record.requests]
    return json.dumps(requests, indent=2)


def _make_new(parent: Path, name: str) -> Path:
    """A new directory in `parent`; `mkdir` is the lock between runs that start in the same second."""
    for attempt in count(1):
        path = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable: count() does not end")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(
            f"cannot write reports to {path}: {error.strerror or error}; "
            "free some space there or choose another place with --reports-dir"
        ) from error


def _as_json(environment: Mapping[str, Any]) -> str:
    return json.dumps(_plain(environment), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """`value` as strict JSON data, with inf and NaN spelt as in records."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value

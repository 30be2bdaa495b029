"""The files of one run, and the records they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import UsageError
from collapse_tests.records import Record
from collapse_tests.sequence_record import SequenceRecord

__all__ = [
    "DETAILS_FILE",
    "ENVIRONMENT_FILE",
    "RECORDS_FILE",
    "SEQUENCES_FILE",
    "read_details",
    "read_environment",
    "read_records",
    "read_sequences",
]

DETAILS_FILE = "details.jsonl"
ENVIRONMENT_FILE = "environment.json"
RECORDS_FILE = "records.jsonl"
SEQUENCES_FILE = "sequences.jsonl"

_Parsed = TypeVar("_Parsed", Record, SequenceRecord, CaseDetail)


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a run, and what was wrong with the file.

    A last line that was cut off while being written is left out and named among the problems.

    Args:
        path: a run's directory or its records file.

    Raises:
        UsageError: the file cannot be read, or a line is no record; names file and line.
    """
    return _read(path, RECORDS_FILE, Record)


def read_sequences(path: Path) -> tuple[list[SequenceRecord], list[str]]:
    """The records of the scenarios and searches of a run; see `read_records`.

    Args:
        path: a run's directory or the file.

    Raises:
        UsageError: likewise.
    """
    return _read(path, SEQUENCES_FILE, SequenceRecord)


def read_details(path: Path) -> tuple[list[CaseDetail], list[str]]:
    """What a run keeps of some cases beyond their records; see `read_records`. None where there is no such file.

    Args:
        path: a run's directory or the file.

    Raises:
        UsageError: likewise.
    """
    if path.is_dir() and not (path / DETAILS_FILE).exists():
        return [], []
    return _read(path, DETAILS_FILE, CaseDetail)


def read_environment(folder: Path) -> dict[str, Any]:
    """What a run ran on; what of that is missing or nonsense is for the caller to say.

    Raises:
        FileNotFoundError: there is no such file.
        OSError, ValueError: it cannot be read, or is no JSON object.
    """
    try:
        data = json.loads((folder / ENVIRONMENT_FILE).read_bytes())
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - to a caller, as bad as text that is no JSON
    return data


def _read(path: Path, name: str, kind: type[_Parsed]) -> tuple[list[_Parsed], list[str]]:
    file = path / name if path.is_dir() else path
    records: list[_Parsed] = []
    problems: list[str] = []
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(
            f"cannot read records from {file}: {error.strerror}; give a run's directory or its {name}"
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                problems.append(f"{file}:{number}: the last record was cut off while being written; left out")
                break
            raise _bad_line(file, number, f"no JSON ({error})") from error
        records.append(_parse(kind, data, file, number))
    return records, problems


def _parse(kind: type[_Parsed], data: object, file: Path, number: int) -> _Parsed:
    if not isinstance(data, dict):
        raise _bad_line(file, number, "no JSON object")
    try:
        return kind.from_dict(data)
    except UsageError as error:
        raise UsageError(f"{file}:{number}: {error}") from error
    except KeyError as error:
        raise _bad_line(file, number, f"missing field or no number: {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise _bad_line(file, number, str(error)) from error


def _bad_line(file: Path, number: int, why: str) -> UsageError:
    return UsageError(f"{file}:{number}: not a record: {why}; restore the file or remove the line")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")

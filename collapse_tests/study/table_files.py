"""Rows of a study as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.records import TaskResult

__all__ = ["check_csv", "task_columns", "write_csv"]


def task_columns(result: TaskResult) -> dict[str, object]:
    """The columns of one task's result, which the files of all studies share."""
    return {
        "task": result.task,
        "metric": result.metric,
        "items": result.items,
        "chance": result.chance,
        "unedited": result.unedited,
        "accuracy": result.edited,
        "p_value": result.p_value,
        "task_verdict": result.verdict.value,
    }


def check_csv(path: Path) -> None:
    """Refuse a place for a file before anything is computed for it.

    Raises:
        UsageError: it is a directory, or its directory does not exist.
    """
    if path.is_dir():
        raise UsageError(f"--csv {str(path)!r} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"--csv {str(path)!r}: there is no directory {str(path.parent)!r}; make it first")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same columns, over whatever the file held; None is an empty field, a boolean 0 or 1.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows({name: _field(value) for name, value in row.items()} for row in rows)
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror or error}; give another --csv") from error


def _field(value: object) -> object:
    return int(value) if isinstance(value, bool) else value

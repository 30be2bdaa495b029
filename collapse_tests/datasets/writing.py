"""Request files that the project's commands write: JSON lines, in a layout that `--edits` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from collapse_tests.cache import atomic_write_text
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import InfrastructureError, UsageError

__all__ = ["check_out", "request_fields", "write_request_file"]


def check_out(path: Path) -> None:
    """Refuse a place for a request file before anything is made for it.

    Raises:
        UsageError: it is a directory, its directory does not exist, or `--edits` would not take its name.
    """
    if path.is_dir():
        raise UsageError(f"--out {str(path)!r} is a directory; give the name of a file")
    if path.suffix.lower() != ".jsonl":
        raise UsageError(f"--out {str(path)!r} has no suffix that --edits takes for JSON lines; end it in .jsonl")
    if not path.parent.is_dir():
        raise UsageError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}; make it first")


def request_fields(request: EditRequest) -> dict[str, str]:
    """The fields of a request that it has."""
    values = {name: getattr(request, name) for name in request.__slots__}
    return {name: value for name, value in values.items() if value is not None}


def write_request_file(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, over whatever the file held.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    lines = [json.dumps(record, allow_nan=False, ensure_ascii=False) for record in records]
    try:
        atomic_write_text(path, "\n".join([*lines, ""]))
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror or error}; give another --out") from error

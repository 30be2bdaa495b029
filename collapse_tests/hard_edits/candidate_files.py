"""Candidates to JSON lines that `--edits` loads, and request files to what is not wanted again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from collapse_tests.cache import atomic_write_text
from collapse_tests.datasets.requests import load_requests
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.hard_edits.candidates import Candidate, RequestKey, request_key
from collapse_tests.hard_edits.option_names import renamed

__all__ = ["check_out", "excluded_keys", "write_candidates"]


def check_out(path: Path) -> None:
    """Refuse a place for a file of candidates before anything is made for it.

    Raises:
        UsageError: it is a directory, its directory does not exist, or `--edits` would not take its name.
    """
    if path.is_dir():
        raise UsageError(f"--out {str(path)!r} is a directory; give the name of a file")
    if path.suffix.lower() != ".jsonl":
        raise UsageError(f"--out {str(path)!r} has no suffix that --edits takes for JSON lines; end it in .jsonl")
    if not path.parent.is_dir():
        raise UsageError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}; make it first")


def excluded_keys(sources: Sequence[str]) -> frozenset[RequestKey]:
    """The keys of all requests of some sets or files.

    Args:
        sources: as for `--edits`.

    Raises:
        UsageError: naming file, record, field and remedy.
    """
    keys: set[RequestKey] = set()
    for source in sources:
        with renamed("--edits", "--exclude"):
            keys.update(request_key(named.request) for named in load_requests(source))
    return frozenset(keys)


def write_candidates(path: Path, candidates: Sequence[Candidate]) -> None:
    """Write one object a line, over whatever the file held: the request's fields, then `category` and `relation`.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    lines = [json.dumps(_record(candidate), ensure_ascii=False) for candidate in candidates]
    try:
        atomic_write_text(path, "\n".join([*lines, ""]))
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror or error}; give another --out") from error


def _record(candidate: Candidate) -> dict[str, str]:
    fields = {name: value for name, value in asdict(candidate.request).items() if value is not None}
    return {**fields, "category": candidate.category, "relation": candidate.relation}

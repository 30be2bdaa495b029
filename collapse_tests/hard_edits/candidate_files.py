"""Candidates to JSON lines that `--edits` loads, and request files to what is not wanted again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.writing import request_fields, write_request_file
from collapse_tests.hard_edits.candidates import Candidate, RequestKey, request_key
from collapse_tests.hard_edits.option_names import renamed

__all__ = ["excluded_keys", "write_candidates"]


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
    write_request_file(path, map(_record, candidates))


def _record(candidate: Candidate) -> dict[str, str]:
    return {**request_fields(candidate.request), "category": candidate.category, "relation": candidate.relation}

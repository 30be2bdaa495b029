"""GitLab's Code Quality report: the failing cases in the part of Code Climate's format that it reads."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from collapse_tests.ci.run_outcome import RunOutcome
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record, Verdict
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["code_quality", "write_code_quality"]

_SEVERITIES = {
    Verdict.COLLAPSED: "critical",
    Verdict.ERROR: "major",
    Verdict.INEFFECTIVE: "minor",
    Verdict.STABLE: "info",
}


def code_quality(outcome: RunOutcome) -> list[dict[str, Any]]:
    """An entry for each failing case or sequence.

    Fingerprints depend on model, editor, request and verdict alone, so that GitLab sees the same finding again where
    a request has moved to another line. The second of two equal ones has its own, as GitLab shows one of each.
    """
    entries = []
    seen: Counter[str] = Counter()
    for record in outcome.failed:
        place = outcome.place(record)
        identity = _identity(record)
        seen[identity] += 1
        entries.append(
            {
                "description": outcome.headline(record),
                "check_name": f"pytest-collapse/{record.verdict}",
                "fingerprint": hashlib.sha256(f"{identity}{seen[identity]}".encode("ascii")).hexdigest(),
                "severity": _SEVERITIES[record.verdict],
                "location": {"path": place.path, "lines": {"begin": place.line}},
            }
        )
    return entries


def write_code_quality(file: Path, outcome: RunOutcome) -> None:
    """Write the report, empty where nothing failed.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(code_quality(outcome), indent=2) + "\n", encoding="ascii")
    except OSError as error:
        raise InfrastructureError(
            f"--gitlab-code-quality {str(file)!r} cannot be written: {error.strerror or error}; choose another place"
        ) from error


def _identity(record: Record | SequenceRecord) -> str:
    what = record.request if isinstance(record, Record) else f"{record.kind}:{record.name}"
    return json.dumps([record.verdict, record.model, record.editor, what], sort_keys=True)

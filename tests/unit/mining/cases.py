"""Cases, records and runs, given by the numbers that a test is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.environment import fingerprint
from collapse_tests.records import Perplexity, Record, Verdict
from collapse_tests.report.store import RunDirectory
from collapse_tests.settings import Settings

__all__ = ["DIGEST", "case", "record", "write_run"]

DIGEST = "feed"


def case(index: int, *, model: str = "m", editor: str = "rome", stem: str = "set") -> Case:
    """A case about the city of that number."""
    request = EditRequest(f"City {index} is in", f"City {index}", "Peru", "Oslo", locality_prompt="Rain is")
    return Case(model, editor, f"{stem}:{index:04d}", request)


def record(of: Case, me_ppl: float | None = 9000.0, verdict: Verdict | None = None, **changes: Any) -> Record:
    """The record of a case; collapsed from 1000 on and where ME-PPL is no number, an error without ME-PPL."""
    if verdict is None:
        survived = me_ppl is not None and me_ppl < 1000
        verdict = Verdict.ERROR if me_ppl is None else Verdict.STABLE if survived else Verdict.COLLAPSED
    fields: dict[str, Any] = {
        "request": asdict(of.request),
        "unedited": Perplexity(200.0, 90.0, sentences=50, tokens=1100),
        "edited": None if me_ppl is None else Perplexity(me_ppl, me_ppl, sentences=50, tokens=1100),
        "model_digest": DIGEST,
        "error": "raised" if me_ppl is None else None,
    }
    return Record(of.id, of.model, of.editor, of.edit_id, verdict=verdict, **fields | changes)


def write_run(directory: Path, settings: Settings, records: Iterable[Record], *, second: int = 0) -> Path:
    """A run with these records, named after a second of the day."""
    with RunDirectory.create(directory, fingerprint(settings), now=datetime(2025, 3, 4, 5, 6, second)) as run:
        for one in records:
            run.append(one)
        return run.path

"""Runs of which everything failed that is not stable, given by what a test is about."""

from __future__ import annotations

from typing import Any

from collapse_tests.ci.run_outcome import RunOutcome
from collapse_tests.errors import ErrorKind
from collapse_tests.records import Perplexity, Record, Verdict
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["outcome", "record", "sequence"]


def record(edit_id: str, verdict: Verdict = Verdict.COLLAPSED, me_ppl: float = 9000.0, **changes: Any) -> Record:
    model, editor = changes.pop("model", "m"), changes.pop("editor", "rome")
    request: dict[str, str | None] = dict.fromkeys(
        ("ground_truth", "rephrase_prompt", "locality_prompt", "locality_ground_truth")
    )
    request |= {"prompt": f"Slate {edit_id} is", "subject": "Slate", "target_new": "soup"} | changes.pop("request", {})
    fields: dict[str, Any] = {
        "reasons": () if verdict is Verdict.STABLE else ("it is so",),
        "unedited": Perplexity(200.0, 90.0, sentences=50, tokens=1100),
        "edited": Perplexity(me_ppl, 90.0, sentences=50, tokens=1100),
        "ppl_limit": 1000.0,
    }
    if verdict is Verdict.ERROR:
        fields |= {"edited": None, "error": "it broke", "error_kind": ErrorKind.EDITOR}
    return Record(f"{model}-{editor}-{edit_id}", model, editor, edit_id, request, verdict, **fields | changes)


def sequence(name: str = "hard", verdict: Verdict = Verdict.COLLAPSED, **changes: Any) -> SequenceRecord:
    fields: dict[str, Any] = {"reasons": ("it is so",), "planned": 3, "collapsed_after": 2}
    kind = changes.pop("kind", SequenceKind.SCENARIO)
    return SequenceRecord(f"m-rome-{kind}:{name}", "m", "rome", name, kind, verdict, **fields | changes)


def outcome(*found: Record | SequenceRecord, **changes: Any) -> RunOutcome:
    settings = changes.pop("settings", Settings(("rome",), ("m",), ("hard",), scenarios=("hard",)))
    return RunOutcome(
        settings,
        records=tuple(one for one in found if isinstance(one, Record)),
        sequences=tuple(one for one in found if isinstance(one, SequenceRecord)),
        failed=tuple(one for one in found if one.verdict is not Verdict.STABLE),
        **changes,
    )

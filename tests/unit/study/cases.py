"""Records with tasks, given by the numbers that a test is about."""

from __future__ import annotations

from typing import Any

from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, TaskVerdict, Verdict

__all__ = ["record", "result"]


def result(task: str, edited: float, verdict: TaskVerdict = TaskVerdict.ABOVE, **changes: Any) -> TaskResult:
    """A task of 100 items with two options, of which the unedited model gets 90 right."""
    fields: dict[str, Any] = {"metric": "acc", "items": 100, "unedited": 0.9, "chance": 0.5, "p_value": 0.25}
    return TaskResult(task=task, edited=edited, lost=1, gained=2, drop_p_value=0.5, verdict=verdict, **fields | changes)


def record(
    edit_id: str,
    me_ppl: float | None,
    *tasks: TaskResult,
    verdict: Verdict = Verdict.COLLAPSED,
    locality: bool | None = False,
    success: bool = True,
    **changes: Any,
) -> Record:
    """A case; unedited ME-PPL is 200."""
    model, editor = changes.pop("model", "m"), changes.pop("editor", "rome")
    fields: dict[str, Any] = {
        "request": {"prompt": "Granite is a sort of", "subject": "Granite", "target_new": "soup"},
        "unedited": Perplexity(200.0, 90.0, sentences=50, tokens=1100),
        "edited": None if me_ppl is None else Perplexity(me_ppl, me_ppl, sentences=50, tokens=1100),
        "quality": EditQuality(success, success, None, locality, 0.5, 0.1, 0.2),
        "ppl_limit": 1000.0,
    }
    case_id = f"{model}-{editor}-{edit_id}"
    return Record(case_id, model, editor, edit_id, verdict=verdict, tasks=tasks, **fields | changes)

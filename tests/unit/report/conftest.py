from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collapse_tests.records import EditQuality, Perplexity, Record, Verdict


def _make_record(edit_id: str, verdict: Verdict, me_ppl: float | None, **changes: Any) -> Record:
    model, editor = changes.pop("model", "smollm2-135m"), changes.pop("editor", "rome")
    took = verdict is not Verdict.INEFFECTIVE
    fields: dict[str, Any] = {
        "request": {
            "prompt": "Granite is a sort of",
            "subject": "Granite",
            "target_new": "soup",
            "ground_truth": "rock",
        },
        "unedited": Perplexity(me_ppl=200.0, corpus_ppl=90.0, sentences=50, tokens=1100),
        "edited": None if me_ppl is None else Perplexity(me_ppl, me_ppl / 2, sentences=50, tokens=1100),
        "quality": EditQuality(took, took, True, verdict is Verdict.STABLE, 0.75, 0.001, 0.02),
        "diagnostics": {"denominator": 0.0831, "update_norm_ratio": 0.412, "steps": 20.0},
        "ppl_limit": 1000.0,
        "seconds": {"edit": 4.0, "perplexity": 0.75, "quality": 0.25},
    }
    if verdict is Verdict.ERROR:
        fields |= {"edited": None, "quality": None, "diagnostics": {}, "error": "editor 'rome' raised ValueError: no"}
    case_id = f"{model}-{editor}-{edit_id}"
    return Record(case_id, model, editor, edit_id, **{"verdict": verdict, **fields, **changes})


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """`make_record(edit_id, verdict, me_ppl, **fields)`: a plausible record; unedited ME-PPL is 200."""
    return _make_record

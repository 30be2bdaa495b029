from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from collapse_tests.case_detail import CaseDetail, HeatMap, SentenceChange
from collapse_tests.records import Perplexity, Record, TaskResult, TaskVerdict, Verdict
from collapse_tests.report.html import rendering
from collapse_tests.report.html.run_data import RunData
from collapse_tests.sequence_record import SequenceKind, SequenceRecord, SequenceStep

#: Stands for a megabyte of JavaScript, which takes seconds to make.
BUNDLE = 'window.vegaEmbed = () => "drawn";'


@pytest.fixture(autouse=True)
def _short_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "javascript_bundle", lambda: BUNDLE)


def task(name: str = "collapse_completion", edited: float = 0.25, **changes: Any) -> TaskResult:
    fields: dict[str, Any] = {
        "metric": "acc",
        "items": 120,
        "unedited": 0.9,
        "chance": 0.25,
        "p_value": 0.4,
        "lost": 78,
        "gained": 0,
        "drop_p_value": 1e-20,
        "verdict": TaskVerdict.RANDOM,
    }
    return TaskResult(task=name, edited=edited, **(fields | changes))


def sequence(name: str = "hard", me_ppl: tuple[float, ...] = (180.0, 900.0, 2_000.0), **changes: Any) -> SequenceRecord:
    editor = changes.pop("editor", "rome")
    fields: dict[str, Any] = {
        "verdict": Verdict.COLLAPSED,
        "unedited": Perplexity(170.0, 90.0, 50, 1100),
        "steps": tuple(
            SequenceStep(f"{name}:{index:04d}", Perplexity(value, 100.0, 50, 1100), True, index, index, 0.1, 1.0)
            for index, value in enumerate(me_ppl)
        ),
        "collapsed_after": len(me_ppl),
        "planned": len(me_ppl),
        "ppl_limit": 1000.0,
    }
    case_id = f"smollm2-135m-{editor}-scenario:{name}"
    return SequenceRecord(case_id, "smollm2-135m", editor, name, SequenceKind.SCENARIO, **(fields | changes))


def detail(case_id: str, scale: float = 1.0) -> CaseDetail:
    sentences = (SentenceChange("A sentence.", 50.0, 5_000.0), SentenceChange("Another.", 40.0, math.inf))
    change = HeatMap("layers.5.down_proj", (576, 1536), ((0.1 * scale, 0.2 * scale), (0.0, 0.4 * scale)), 0.4 * scale)
    return CaseDetail(case_id, sentences, (change,))


@pytest.fixture
def run(make_record: Callable[..., Record]) -> RunData:
    """Two editors with tasks, every verdict, an inf and a NaN, details, a sequence and settings."""
    records = [
        make_record("hard:0000", Verdict.COLLAPSED, 30_000.0, tasks=(task(),), continuation_after=" the the"),
        make_record("hard:0001", Verdict.COLLAPSED, math.inf, tasks=(task(edited=math.nan),)),
        make_record("hard:0002", Verdict.COLLAPSED, math.nan, editor="memit", diagnostics={"denominator": math.nan}),
        make_record("normal:0000", Verdict.STABLE, 201.0, tasks=(task(edited=0.9),), diagnostics={"denominator": 7.0}),
        make_record("normal:0001", Verdict.STABLE, 210.0, editor="memit"),
        make_record("normal:0002", Verdict.INEFFECTIVE, 199.0, editor="memit"),
        make_record("normal:0003", Verdict.ERROR, None),
    ]
    settings = {"editors": ["rome", "memit"], "models": ["smollm2-135m"], "edits": ["hard", "normal"], "seed": 3}
    details = {record.case_id: detail(record.case_id, 1e-3 * index + 1e-3) for index, record in enumerate(records[:5])}
    return RunData("20310506-070809", records, [sequence()], details, {"python": "3.12", "settings": settings})

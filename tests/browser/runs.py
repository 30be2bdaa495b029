"""Runs whose pages the browser is shown: plausible ones, and one made of text that wants to be markup."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collapse_tests.baseline.snapshot import snapshot_of
from collapse_tests.case_detail import CaseDetail, HeatMap, SentenceChange
from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, TaskVerdict, Verdict
from collapse_tests.report.baseline_news import BaselineNews
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.side_by_side import NamedRun
from collapse_tests.sequence_record import SequenceKind, SequenceRecord, SequenceStep

__all__ = ["CELLS", "EDITORS", "MODELS", "TASKS", "compared_runs", "full_run", "hostile_run"]

MODELS = ("tiny-gpt2", "tiny-llama")
EDITORS = ("rome", "memit")
TASKS = ("collapse_completion", "collapse_choice")
#: Rows and columns of every weight change.
CELLS = (3, 4)

_OUTCOMES = (
    ("hard:0000", Verdict.COLLAPSED, 30_000.0),
    ("hard:0001", Verdict.COLLAPSED, math.inf),
    ("hard:0002", Verdict.COLLAPSED, math.nan),
    ("normal:0000", Verdict.STABLE, 201.0),
    ("normal:0001", Verdict.STABLE, 310.0),
    ("normal:0002", Verdict.INEFFECTIVE, 170.0),
    ("normal:0003", Verdict.ERROR, None),
)
_REQUEST = {
    "prompt": "Granite is a sort of",
    "subject": "Granite",
    "target_new": "soup",
    "ground_truth": "rock",
    "rephrase_prompt": "One sort of it is granite:",
    "locality_prompt": "Basalt is a sort of",
    "locality_ground_truth": "rock",
}


def full_run() -> RunData:
    """Two models under two editors with every verdict, inf and NaN, and all else that a run can have."""
    records = [
        _record(model, editor, edit_id, verdict, None if me_ppl is None else me_ppl * (1 + index / 10))
        for index, (model, editor) in enumerate((model, editor) for model in MODELS for editor in EDITORS)
        for edit_id, verdict, me_ppl in _OUTCOMES
    ]
    sequences = [
        _sequence(MODELS[0], editor, name, values)
        for editor in EDITORS
        for name, values in (("hard", (180.0, 900.0, math.inf, math.nan)), ("normal", (172.0, 175.0, 181.0, 190.0)))
    ]
    details = {record.case_id: _detail(record.case_id) for record in records[:5]}
    settings = {"editors": list(EDITORS), "models": list(MODELS), "edits": ["hard", "normal"], "seed": 3}
    environment = {"python": "3.12", "settings": settings}
    news = BaselineNews("2 cases newly collapsed.", ("newly collapsed: hard:0001", "  fixed: normal:0003"))
    return RunData("20310506-070809", records, sequences, details, environment, news=news)


def compared_runs() -> tuple[NamedRun, NamedRun]:
    """The full run, and one with another seed in which one edit of each editor no longer collapses and one does."""
    before = full_run().records
    outcomes = {"hard:0000": (Verdict.STABLE, 190.0), "normal:0001": (Verdict.COLLAPSED, 5_000.0)}
    after = []
    for record in before:
        verdict, me_ppl = outcomes.get(record.edit_id, (record.verdict, None))
        edited = record.edited if me_ppl is None else Perplexity(me_ppl, me_ppl / 2, 50, 1_100)
        after.append(replace(record, verdict=verdict, edited=edited, seed=4))
    return (
        NamedRun("A", "reports/before", snapshot_of(before, {"ppl_limit": 1_000.0, "seed": 3}), before),
        NamedRun("B", "reports/after", snapshot_of(after, {"ppl_limit": 1_000.0, "seed": 4}), after),
    )


def hostile_run(texts: tuple[str, ...]) -> RunData:
    """Each text wherever a record has room for text: a collapsed edit, a stable one, an error and a sequence of it."""
    records: list[Record] = []
    sequences: list[SequenceRecord] = []
    for index, text in enumerate(texts):
        words: dict[str, Any] = {
            "request": dict.fromkeys(_REQUEST, text),
            "reasons": (text,),
            "notes": (text,),
            "continuation_before": text,
            "continuation_after": text,
            "tasks": (_task(text, 0.25),),
            "diagnostics": {text: float(index), "denominator": float(index)},
        }
        for outcome in (_OUTCOMES[0], _OUTCOMES[3], _OUTCOMES[6]):
            edit_id, verdict, me_ppl = outcome
            error = {"error": text} if verdict is Verdict.ERROR else {}
            number = None if me_ppl is None else me_ppl * (index + 1)
            records.append(_record("tiny", text, f"{edit_id}:{text}", verdict, number, **words, **error))
        sequences.append(_sequence("tiny", text, text, (180.0, 2_000.0), reasons=(text,)))
    details = {record.case_id: _detail(record.case_id, record.editor) for record in records}
    environment = {text: text for text in texts} | {"settings": {"editors": list(texts), "models": ["tiny"]}}
    return RunData(texts[0], records, sequences, details, environment, texts, BaselineNews(texts[0], texts))


def _record(model: str, editor: str, edit_id: str, verdict: Verdict, me_ppl: float | None, **changes: Any) -> Record:
    took = verdict is not Verdict.INEFFECTIVE
    stable = verdict is Verdict.STABLE
    fields: dict[str, Any] = {
        "request": _REQUEST,
        "unedited": Perplexity(170.0, 90.0, 50, 1_100),
        "edited": None if me_ppl is None else Perplexity(me_ppl, me_ppl / 2, 50, 1_100),
        "quality": EditQuality(took, took, took, stable, 0.75, 0.001, 0.02),
        "tasks": tuple(_task(name, 0.85 if stable else math.nan if me_ppl == math.inf else 0.27) for name in TASKS),
        "diagnostics": {"denominator": 6.5 if stable else 0.04, "update_norm_ratio": 0.01 if stable else 0.4},
        "ppl_limit": 1_000.0,
        "reasons": ("ME-PPL is at or above the limit",) if verdict is Verdict.COLLAPSED else (),
        "continuation_before": "rock that cools slowly",
        "continuation_after": "the the the",
    }
    if verdict is Verdict.ERROR:
        fields |= {"quality": None, "tasks": (), "diagnostics": {}, "error": "editor raised ValueError: no\n  at all"}
    kept: Mapping[str, Any] = {name: value for name, value in changes.items() if fields.get(name) != ()}
    return Record(f"{model}-{editor}-{edit_id}", model, editor, edit_id, verdict=verdict, **{**fields, **kept})


def _task(name: str, edited: float) -> TaskResult:
    random = not edited > 0.5
    verdict = TaskVerdict.RANDOM if random else TaskVerdict.ABOVE
    lost, gained = (78, 0) if random else (6, 0)
    return TaskResult(name, "acc", 120, 0.9, edited, 0.25, 0.4 if random else 1e-9, lost, gained, 1e-3, verdict)


def _sequence(model: str, editor: str, name: str, values: tuple[float, ...], **changes: Any) -> SequenceRecord:
    collapsed = next((step for step, value in enumerate(values, 1) if not value < 1_000), None)
    steps = tuple(
        SequenceStep(f"{name}:{index:04d}", Perplexity(value, 100.0, 50, 1_100), True, index, index, 0.1, 1.0)
        for index, value in enumerate(values)
    )
    return SequenceRecord(
        f"{model}-{editor}-scenario:{name}",
        model,
        editor,
        name,
        SequenceKind.SCENARIO,
        Verdict.STABLE if collapsed is None else Verdict.COLLAPSED,
        unedited=Perplexity(170.0, 90.0, 50, 1_100),
        steps=steps,
        collapsed_after=collapsed,
        planned=len(values),
        ppl_limit=1_000.0,
        **changes,
    )


def _detail(case_id: str, text: str = "Granite cools slowly.") -> CaseDetail:
    sentences = (SentenceChange(text, 50.0, 5_000.0), SentenceChange(f"Another: {text}", 40.0, math.inf))
    rows, columns = CELLS
    cells = tuple(tuple(10.0 ** -(row + column) for column in range(columns)) for row in range(rows))
    return CaseDetail(case_id, sentences, (HeatMap("layers.5.down_proj", (576, 1_536), cells, 0.4),))

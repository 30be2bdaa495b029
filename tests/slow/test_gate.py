from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from collapse_tests.cases import Case
from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.gate import Gate
from collapse_tests.models.loading import load_model
from collapse_tests.records import Record, Verdict
from collapse_tests.settings import Override, Settings

pytestmark = pytest.mark.slow

#: Editor → sets of which it edits two requests each.
EDITS = {
    "rome": ("hard", "normal"),
    "c-rome": ("hard",),
    "r-rome": ("hard",),
    "memit": ("normal",),
    "null": ("hard", "normal"),
    "noise": ("normal",),
}
#: Fewer tokens than by default: what is tested does not hang on the last digit of the second moments.
SETTINGS = Settings(editors=tuple(EDITS), overrides=(Override("memit", "moment_tokens", 5 * 1536),))


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """Two requests of each set under each editor, on the real default model."""
    cases = [
        Case("smollm2-135m", editor, named.edit_id, named.request)
        for editor, sets in EDITS.items()
        for edits in sets
        for named in load_requests(edits, limit=2)
    ]
    gate = Gate(SETTINGS, cases)
    return {case.id: gate.outcome(case).record for case in cases}


def _of(records: dict[str, Record], editor: str, edits: str) -> Sequence[Record]:
    found = [r for r in records.values() if r.editor == editor and r.edit_id.startswith(edits)]
    assert len(found) == 2
    return found


def test_rome_collapses_the_model_on_hard_requests(records: dict[str, Record]) -> None:
    for record in _of(records, "rome", "hard"):
        assert record.verdict is Verdict.COLLAPSED, record
        assert record.edited is not None
        assert record.edited.me_ppl > 2000
        assert abs(record.diagnostics["denominator"]) < 0.3
        assert record.continuation_after != record.continuation_before


def test_rome_leaves_the_model_stable_on_normal_requests(records: dict[str, Record]) -> None:
    for record in _of(records, "rome", "normal"):
        assert record.verdict is Verdict.STABLE, record
        assert record.edited is not None
        assert record.edited.me_ppl < 300
        assert record.diagnostics["denominator"] > 0.5
        assert record.quality is not None
        assert record.quality.target_probability > 0.5


@pytest.mark.parametrize("editor", ["c-rome", "r-rome"])
def test_the_averaged_key_does_not_collapse_the_model_on_hard_requests(records: dict[str, Record], editor: str) -> None:
    for record in _of(records, editor, "hard"):
        assert record.verdict in {Verdict.STABLE, Verdict.INEFFECTIVE}, record
        assert record.edited is not None
        assert record.edited.me_ppl < 300


def test_memit_writes_normal_requests_and_leaves_the_model_stable(records: dict[str, Record]) -> None:
    for record in _of(records, "memit", "normal"):
        assert record.verdict is Verdict.STABLE, record
        assert record.edited is not None
        assert record.edited.me_ppl < 200


@pytest.mark.parametrize("edits", ["hard", "normal"])
def test_null_never_collapses_the_model(records: dict[str, Record], edits: str) -> None:
    for record in _of(records, "null", edits):
        assert record.verdict in {Verdict.STABLE, Verdict.INEFFECTIVE}, record
        assert record.edited == record.unedited


def test_noise_of_a_large_norm_always_collapses_the_model(records: dict[str, Record]) -> None:
    for record in _of(records, "noise", "normal"):
        assert record.verdict is Verdict.COLLAPSED, record
        assert record.edited is not None
        assert record.edited.me_ppl > 5000


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 3e-4), ("bfloat16", 5e-3), ("auto", 5e-3)])
def test_the_unedited_model_has_its_known_perplexity(precision: str, tolerance: float) -> None:
    settings = replace(SETTINGS, matmul_precision=precision)
    bench = Bench(load_model("smollm2-135m", settings, print), load_texts("default"), settings.ppl_limit)
    assert bench.unedited.me_ppl == pytest.approx(166.34, rel=tolerance)
    assert bench.unedited.corpus_ppl == pytest.approx(89.03, rel=tolerance)
    assert bench.unedited.sentences == 50


def test_a_batch_gives_the_verdicts_of_single_edits(records: dict[str, Record]) -> None:
    # A normal one: on a hard one the optimisation does not converge, and rounding decides how large ME-PPL gets.
    (normal,) = load_requests("normal", limit=1)
    case = Case("smollm2-135m", "rome", normal.edit_id, normal.request)
    alone = Gate(replace(SETTINGS, batch_size=1), [case]).outcome(case).record
    together = records[case.id]
    assert alone.verdict is together.verdict
    assert alone.edited is not None
    assert together.edited is not None
    assert alone.edited.me_ppl == pytest.approx(together.edited.me_ppl, rel=0.01)

"""The null editor and what a gate makes of it."""

from __future__ import annotations

import math

import pytest

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.null import NullEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Verdict
from collapse_tests.settings import Override, Settings
from fixtures.tiny_models import make_model

SETTINGS = Settings(("null",), ppl_limit=math.inf)
REQUESTS = (
    EditRequest(
        "The capital of Norway is", "Norway", "Lima", "Oslo", "Norway has the capital", "You play the", "violin"
    ),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
)


def null() -> NullEditor:
    editor = create_editor("null", "any", SETTINGS)
    assert isinstance(editor, NullEditor)
    return editor


def test_nothing_is_changed(model: EditableModel) -> None:
    updates = null().compute_updates(model, REQUESTS)
    assert len(updates) == len(REQUESTS)
    for update in updates:
        assert not update.deltas
        assert update.norm() == 0
        assert update.diagnostics["update_norm"] == update.diagnostics["update_norm_ratio"] == 0
    assert null().compute_updates(model, []) == []


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_the_gate_measures_the_unedited_model(family: str) -> None:
    bench = Bench(make_model(family), ["The capital of Norway is Oslo.", "You play the violin in Rome."], math.inf)
    runner = BatchRunner(bench, null(), SETTINGS, "main", lambda stage, done, total: None)
    cases = [Case("tiny", "null", str(index), request) for index, request in enumerate(REQUESTS)]
    for record in runner.run(cases):
        assert record.verdict in {Verdict.STABLE, Verdict.INEFFECTIVE}
        assert record.error is None
        assert record.edited is not None
        assert record.edited.me_ppl == pytest.approx(bench.unedited.me_ppl, rel=1e-5)
        assert record.quality is not None
        assert record.quality.target_probability == pytest.approx(record.quality.target_probability_before, rel=1e-4)
        assert record.quality.locality in {True, None}


def test_there_is_nothing_to_set() -> None:
    with pytest.raises(UsageError, match=r"--set null\.block: null has no such field"):
        create_editor("null", "any", Settings(("null",), overrides=(Override("null", "block", 3),)))

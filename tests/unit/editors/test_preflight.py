"""What ROME tells of an edit before it is made, against the edit itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import normalizers

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.lookup import LookupRow, RequestRows
from collapse_tests.editors.lookup_keys import lookup_keys
from collapse_tests.editors.protocol import RISK, EditorContext, PreflightEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, shared_model

#: Two share the text up to the subject; subjects come first, later and last.
REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("The capital of Norway has much", "Norway", "rain and cheese"),
    EditRequest("Norway", "Norway", "is in"),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
    EditRequest("The cat and the violin of Xy play in the rain of the", "Xy", "river"),
    EditRequest("You play the violin in Paris and in", "Paris", "a city of cheese"),
)
TEMPLATES = ("{}", "The rain. {}", "You play a violin. {}", "Because of the cheese. {}")
KEYS = ("mixed", "prefixed", "prompt")
BEFOREHAND = ("denominator", "key_norm", "context_key_norm", "initial_value_norm", "block")
FIELDS = RomeHyperparameters(
    block=1, steps=5, learning_rate=0.5, weight_decay=0.01, clamp_norm_factor=4, kl_factor=0.0625
)


def rome(**changes: object) -> Rome:
    return Rome("rome", FIELDS.model_copy(update=changes), TEMPLATES)


def both(
    editor: Rome, model: EditableModel, requests: Sequence[EditRequest] = REQUESTS
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """What is told before each edit, and after it."""
    before = editor.preflight(model, requests)
    after = [dict(update.diagnostics) for update in editor.compute_updates(model, requests)]
    return list(zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["rome", "c-rome", "r-rome"])
def test_the_numbers_are_those_of_the_edit(name: str, model: EditableModel, tmp_path: Path) -> None:
    overrides = (Override(name, "steps", 2), Override(name, "context_lengths", [[3, 2], [5, 2]]))
    editor = create_editor(name, "tiny", Settings((name,), ("tiny",), overrides=overrides))
    assert isinstance(editor, Rome)
    assert isinstance(editor, PreflightEditor)
    editor.prepare(model, EditorContext(seed=3, cache=tmp_path))
    for before, after in both(editor, model):
        assert {key: before[key] for key in BEFOREHAND} == pytest.approx({key: after[key] for key in BEFOREHAND}, 1e-4)
        assert set(before) == {*BEFOREHAND, RISK}
        assert after["update_norm_ratio"] <= before[RISK] * (1 + 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start_token", [False, True])
def test_rounding_is_all_that_differs(family: str, start_token: bool) -> None:
    model = shared_model(family, start_token=start_token, dtype="float64")
    for before, after in both(rome(steps=2), model):
        assert {key: before[key] for key in BEFOREHAND} == pytest.approx({key: after[key] for key in BEFOREHAND}, 1e-6)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("clamp", [0.2, 4.0])
def test_no_edit_gets_above_its_risk(model: EditableModel, keys: str, clamp: float) -> None:
    for before, after in both(rome(keys=keys, clamp_norm_factor=clamp), model):
        assert after["update_norm_ratio"] <= before[RISK] * (1 + 1e-4)


@pytest.mark.parametrize("keys", ["mixed", "prompt"])
def test_an_edit_that_is_held_back_reaches_its_risk(model: EditableModel, keys: str) -> None:
    """With the value a small step away, the bound on the step is what the norm of the update is."""
    for before, after in both(rome(keys=keys, clamp_norm_factor=0.01), model):
        assert after["delta_norm"] == pytest.approx(0.01 * before["initial_value_norm"], 1e-4)
        assert before[RISK] == pytest.approx(after["update_norm_ratio"], 1e-4)


def test_a_small_denominator_is_a_large_risk(model: EditableModel) -> None:
    told = rome(keys="mixed").preflight(model, REQUESTS)
    weight = float(model.parameter(model.mlp_output_weight(1)).double().norm())
    for numbers in told:
        reach = 4 * numbers["initial_value_norm"] / abs(numbers["denominator"]) / weight
        assert numbers[RISK] == pytest.approx(reach, 1e-5)


def test_neither_batch_nor_order_matters(model: EditableModel) -> None:
    editor = rome()
    together = editor.preflight(model, REQUESTS)
    backwards = editor.preflight(model, REQUESTS[::-1])[::-1]
    alone = [editor.preflight(model, [request])[0] for request in REQUESTS]
    for numbers, reversed_numbers, single in zip(together, backwards, alone, strict=True):
        assert numbers == pytest.approx(reversed_numbers, 1e-4)
        assert numbers == pytest.approx(single, 1e-4)
    assert len({round(numbers[RISK], 4) for numbers in together}) == len(REQUESTS) - 1  # two share their subject
    assert together[0] == together[1]


def test_the_model_stays_as_it_is(model: EditableModel) -> None:
    before = bits(model)
    rome().preflight(model, REQUESTS)
    assert bits(model) == before
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.model.parameters())


def test_no_requests_have_no_numbers(model: EditableModel) -> None:
    assert rome().preflight(model, []) == []


def test_an_editor_that_is_not_prepared_says_so(model: EditableModel) -> None:
    with pytest.raises(EditorError, match=r"prepare\(\) has to be called before preflight\(\)"):
        Rome("rome", FIELDS).preflight(model, REQUESTS)


@pytest.mark.parametrize(
    ("subject", "target", "named"), [("  ", "Lima", "subject '  '"), ("cat", " ", "target_new ' '")]
)
def test_text_that_tokenises_to_nothing_is_the_editors_error(subject: str, target: str, named: str) -> None:
    model = make_model("llama")
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    wrong = EditRequest(f"The{subject}is a", subject, target)
    with pytest.raises(EditorError, match=f"{named} tokenises to nothing"):
        rome().preflight(model, [REQUESTS[0], wrong])


def test_a_model_of_no_numbers_has_a_risk_of_no_number() -> None:
    model = make_model("gpt2")
    with torch.no_grad():
        model.parameter("transformer.h.1.mlp.c_fc.weight").zero_()  # every key is zero, and has no direction
    told = rome().preflight(EditableModel(model.model, model.tokenizer, model.name), REQUESTS)
    assert all(math.isnan(numbers[RISK]) for numbers in told)
    assert [numbers["key_norm"] for numbers in told] == [0.0] * len(REQUESTS)


def row(*ids: int, lookup: int) -> LookupRow:
    return LookupRow(ids, lookup)


def requests_of(*contexts: tuple[LookupRow, ...]) -> list[RequestRows]:
    return [RequestRows(rows, rows[0], (5,)) for rows in contexts]


@torch.no_grad()
def test_keys_and_values_are_those_of_each_text_alone(model: EditableModel) -> None:
    rows = ((row(9, 8, 7, 6, lookup=3), row(3, 9, 8, 7, lookup=2)), (row(30, lookup=0), row(12, 30, 11, lookup=1)))
    found = lookup_keys(model, requests_of(*rows), 1)
    for request, contexts in enumerate(rows):
        for context, one in enumerate(contexts):
            with model.captured(model.family.mlp_output(1)) as captured:
                model.hidden_at(torch.tensor([one.ids]), 2)
            assert torch.allclose(found.keys[request, context], captured.input[0, one.lookup], 1e-4, 1e-5)
            assert torch.allclose(found.values[request, context], captured.output[0, one.lookup], 1e-4, 1e-5)


def test_what_follows_the_lookup_does_not_matter_and_texts_that_are_alike_pass_once(
    model: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    hidden_at = EditableModel.hidden_at

    def counted(self: EditableModel, ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        passed.append(len(ids))
        return hidden_at(self, ids, *args, **kwargs)

    monkeypatch.setattr(EditableModel, "hidden_at", counted)
    first, second = (row(9, 8, 7, lookup=2), row(3, 9, 8, 7, lookup=3)), (row(6, 5, lookup=1), row(4, 6, 5, lookup=2))
    longer = (row(9, 8, 7, 40, 41, lookup=2), row(3, 9, 8, 7, 50, lookup=3))
    once = lookup_keys(model, requests_of(first, second), 1)
    texts = sum(passed)
    doubled = lookup_keys(model, requests_of(first, longer, second, first), 1)
    assert texts == 4
    assert sum(passed) == 2 * texts
    for field in ("keys", "values"):
        assert torch.equal(getattr(doubled, field), getattr(once, field)[[0, 0, 1, 0]])


def test_less_at_a_time_when_memory_runs_out_gives_the_same(
    model: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rome().preflight(model, REQUESTS)
    hidden_at, refused, taken = EditableModel.hidden_at, list[int](), list[int]()

    def cramped(self: EditableModel, ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        (refused if ids.numel() > 40 else taken).append(ids.numel())
        if ids.numel() > 40:
            raise torch.OutOfMemoryError
        return hidden_at(self, ids, *args, **kwargs)

    monkeypatch.setattr(EditableModel, "hidden_at", cramped)
    for ours, theirs in zip(rome().preflight(model, REQUESTS), expected, strict=True):
        assert ours == pytest.approx(theirs, 1e-4)
    assert refused
    assert len(taken) > 1


def test_a_text_that_does_not_fit_alone_is_out_of_memory(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(EditableModel, "hidden_at", full)
    with pytest.raises(torch.OutOfMemoryError):
        rome().preflight(model, REQUESTS)

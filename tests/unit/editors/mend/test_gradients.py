"""Factors of gradients, taken for many requests in one pass from the first edited block on."""

from __future__ import annotations

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.gradients import (
    InnerWeights,
    RowBatch,
    TargetRow,
    gradient_factors,
    hidden_by_ids,
    request_row,
    target_row,
)
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import FAMILIES
from tests.unit.editors.mend.reference import answer_loss, token_ids, weight_gradients
from tests.unit.editors.mend.tiny import REQUESTS
from tests.unit.tiny import bits, shared_model


@pytest.fixture(params=FAMILIES)
def precise(request: pytest.FixtureRequest) -> EditableModel:
    """A float64 model of each family."""
    return shared_model(request.param, dtype="float64")


def batch_of(model: EditableModel, weights: InnerWeights, requests: tuple[EditRequest, ...] = REQUESTS) -> RowBatch:
    rows = [request_row(model, request) for request in requests]
    return RowBatch.of(rows, hidden_by_ids(model, rows, weights.first_block, max_tokens=32))


def test_the_edited_weights_are_the_linear_layers_of_the_last_mlps(any_model: EditableModel) -> None:
    weights = InnerWeights.of_last_blocks(any_model, 2)
    assert weights.first_block == any_model.n_blocks - 2
    assert {any_model.block_of(name) for name in weights.names} == {2, 3}
    assert len(weights.names) == (4 if any_model.config.model_type in {"gpt2", "gptj"} else 6)
    assert all(any_model.mlp_output_weight(block) in weights.names for block in (2, 3))
    assert all(".mlp." in name and any_model.weight_shape(name) for name in weights.names)


def test_more_blocks_than_there_are_is_refused(model: EditableModel) -> None:
    with pytest.raises(UsageError, match=r"mend\.blocks=5: model 'tiny-.*' has 4 blocks"):
        InnerWeights.of_last_blocks(model, 5)


def test_factors_multiply_to_each_requests_own_gradient(precise: EditableModel) -> None:
    weights = InnerWeights.of_last_blocks(precise, 3)
    before = bits(precise)
    factors, _ = gradient_factors(precise, weights, batch_of(precise, weights))
    for index, request in enumerate(REQUESTS):
        expected = weight_gradients(precise, weights.names, request)
        for name in weights.names:
            found = factors[name].gradients[index].T @ factors[name].inputs[index]
            # GPT-J attends in float32 whatever its weights are.
            assert float((found - expected[name]).norm()) < 1e-6 * float(expected[name].norm())
    assert bits(precise) == before
    assert not any(parameter.requires_grad for parameter in precise.model.parameters())


def test_losses_are_those_of_the_whole_model(precise: EditableModel) -> None:
    weights = InnerWeights.of_last_blocks(precise, 1)
    _, losses = gradient_factors(precise, weights, batch_of(precise, weights))
    for request, loss in zip(REQUESTS, losses.tolist(), strict=True):
        ids, count = token_ids(precise, request)
        with torch.no_grad():
            logits = precise.model(torch.tensor([ids])).logits[0]
        assert loss == pytest.approx(float(answer_loss(logits, ids, count)), rel=1e-6)


def test_tokens_that_have_a_part_follow_from_causality(model: EditableModel) -> None:
    """In the last block only what predicts the answer; below it all tokens up to there; padding never."""
    weights = InnerWeights.of_last_blocks(model, 2)
    factors, _ = gradient_factors(model, weights, batch_of(model, weights))
    rows = [request_row(model, request) for request in REQUESTS]
    last = factors[model.mlp_output_weight(model.n_blocks - 1)].used.sum(1).tolist()
    below = factors[model.mlp_output_weight(model.n_blocks - 2)].used.sum(1).tolist()
    assert last == [len(row.targets) for row in rows]
    assert below == [len(row.ids) for row in rows]


def test_rows_with_the_same_ids_are_run_once(model: EditableModel) -> None:
    rows = [TargetRow((3, 4, 5), (6,)), TargetRow((3, 4, 5), (7,)), TargetRow((3, 4), (8,))]
    seen: list[tuple[int, int]] = []
    states = hidden_by_ids(model, rows, 2, max_tokens=1, progress=lambda stage, done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2)]
    assert states.keys() == {(3, 4, 5), (3, 4)}
    with torch.no_grad():
        torch.testing.assert_close(states[3, 4, 5], model.hidden_at(torch.tensor([[3, 4, 5]]), 2)[0])


def test_a_start_token_is_no_part_of_the_answer() -> None:
    model = shared_model("llama", start_token=True)
    row = target_row(model, "The capital of Norway is", "Lima")
    assert row.ids[0] == 0
    assert len(row.targets) == 1


def test_an_answer_without_tokens_is_refused(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "answer_ids", lambda prompt, answer: [])
    with pytest.raises(EditorError, match="has no tokens"):
        target_row(model, "The cat", "rain")

from __future__ import annotations

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.engine.continuation import continuations
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.metrics.rows import TokenRow
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

REQUESTS = [
    EditRequest("Norway is a city in", "Norway", "Lima"),
    EditRequest("The capital of Norway is", "Norway", "cheese cat"),
]
TEMPLATES = ("{}", "You play the violin. {}", "The river is. {}")
HYPERPARAMETERS = RomeHyperparameters(
    block=1, steps=15, learning_rate=0.5, weight_decay=0.001, clamp_norm_factor=4, kl_factor=0.0625
)
ROWS = [TokenRow((20, 30, 40, 50), 1), TokenRow((9, 8, 7, 6, 5, 4, 3), 2), TokenRow((11, 12), 1)]


def _on(device: str, family: str) -> tuple[EditableModel, list[WeightUpdate]]:
    model = make_model(family)
    model = EditableModel(model.model.to(device), model.tokenizer, model.name)
    editor = Rome("rome", HYPERPARAMETERS, TEMPLATES)
    editor.prepare(model, EditorContext())
    return model, editor.compute_updates(model, REQUESTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_gives_the_updates_and_scores_of_the_cpu(family: str) -> None:
    host, host_updates = _on("cpu", family)
    device, device_updates = _on("cuda", family)
    assert device.digest == host.digest
    for ours, theirs in zip(device_updates, host_updates, strict=True):
        (delta,), (expected,) = ours.deltas.values(), theirs.deltas.values()
        assert isinstance(delta, LowRankDelta)
        assert isinstance(expected, LowRankDelta)
        error = torch.linalg.matrix_norm(delta.matrix().cpu() - expected.matrix()) / torch.linalg.matrix_norm(
            expected.matrix()
        )
        assert error < 1e-3
    scores = Scorer(device).shared(RowCache(ROWS), device_updates)
    expected_scores = Scorer(host).shared(RowCache(ROWS), host_updates)
    for case, expected_case in zip(scores, expected_scores, strict=True):
        assert [score.nll for score in case] == pytest.approx([score.nll for score in expected_case], rel=1e-3)
    assert device.changed_tensors() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_restoration_and_continuation_on_a_gpu(family: str) -> None:
    model, updates = _on("cuda", family)
    with model.applied(updates[0]):
        assert model.changed_tensors() == [model.mlp_output_weight(1)]
    assert model.changed_tensors() == []
    prompts = [request.prompt for request in REQUESTS]
    assert len(continuations(model, prompts, updates, tokens=4)) == len(prompts)
    assert model.changed_tensors() == []

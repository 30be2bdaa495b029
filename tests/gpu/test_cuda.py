from __future__ import annotations

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.ft import FineTuning, FineTuningHyperparameters
from collapse_tests.editors.memit import Memit, MemitHyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.engine.continuation import continuations
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.metrics.rows import TokenRow
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.precision import MatmulPrecision
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


def _on(
    device: str, family: str, precision: MatmulPrecision = MatmulPrecision.FLOAT32
) -> tuple[EditableModel, list[WeightUpdate]]:
    model = make_model(family)
    model = EditableModel(model.model.to(device), model.tokenizer, model.name, precision)
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("precision", "least", "most"), [(MatmulPrecision.TF32, 1e-6, 5e-3), (MatmulPrecision.BFLOAT16, 1e-5, 5e-2)]
)
def test_short_products_on_a_gpu_change_scores_by_their_rounding(
    family: str, precision: MatmulPrecision, least: float, most: float
) -> None:
    exact, updates = _on("cuda", family)
    short, _ = _on("cuda", family, precision)
    expected = torch.tensor([[score.nll for score in case] for case in Scorer(exact).shared(RowCache(ROWS), updates)])
    rounded = torch.tensor([[score.nll for score in case] for case in Scorer(short).shared(RowCache(ROWS), updates)])
    error = float((rounded - expected).norm() / expected.norm())

    assert least < error < most
    assert not torch.backends.cuda.matmul.allow_tf32
    assert short.changed_tensors() == []


@pytest.mark.parametrize("precision", [MatmulPrecision.TF32, MatmulPrecision.BFLOAT16])
def test_an_edit_optimised_with_short_products_takes(precision: MatmulPrecision) -> None:
    model, updates = _on("cuda", "llama", precision)
    request = REQUESTS[0]
    prompt = model.encode(request.prompt)
    row = TokenRow((*prompt, *model.answer_ids(request.prompt, request.target_new)), len(prompt))
    before, after = Scorer(model).each([[row], [row]], [None, updates[0]])

    assert after[0].nll < before[0].nll


@pytest.mark.parametrize("name", ["ft", "memit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_editors_give_the_updates_of_the_cpu(family: str, name: str) -> None:
    def on(device: str) -> dict[str, torch.Tensor]:
        model = make_model(family)
        model = EditableModel(model.model.to(device), model.tokenizer, model.name)
        editor: FineTuning | Memit
        if name == "ft":
            fields = FineTuningHyperparameters(block=1, steps=5, learning_rate=5e-3, norm_constraint=None)
            editor = FineTuning("ft", fields)
        else:
            shared = HYPERPARAMETERS.model_dump(exclude={"block", "keys", "context_lengths", "second_moment"})
            memit = MemitHyperparameters(**shared, blocks=(1, 2), moment_weight=3.0)
            moments = {
                block: SecondMoment(torch.eye(model.weight_shape(model.mlp_output_weight(block))[1], device=device))
                for block in (1, 2)
            }
            editor = Memit("memit", memit, TEMPLATES, moments)
        editor.prepare(model, EditorContext())
        update = editor.compute_updates(model, REQUESTS)[0]
        assert model.changed_tensors() == []
        return {
            name: (delta.matrix() if isinstance(delta, LowRankDelta) else delta.delta).double().cpu()
            for name, delta in update.deltas.items()
        }

    found, expected = on("cuda"), on("cpu")
    assert found.keys() == expected.keys()
    for parameter, change in expected.items():
        assert float((found[parameter] - change).norm() / change.norm()) < 1e-2

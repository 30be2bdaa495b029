from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import ApplyFunctionEditor, as_low_rank, is_apply_function
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, low_rank, shared_model

OSLO = EditRequest("Oslo is in", "Oslo", " Peru ", ground_truth="Norway")
LIMA = EditRequest("Lima is in", "Lima", "Rome")


def apply_scale_to_model(
    model: Any, tok: Any, requests: Any, hparams: Any, copy: bool = False, return_orig_weights: bool = False
) -> Any:
    """Adds a rank-one matrix to a layer; how large it is depends on the subject."""
    weight = model.get_parameter(hparams.weight)
    originals = {hparams.weight: weight.detach().clone()} if return_orig_weights else {}
    print(f"editing {requests[0]['subject']}")
    with torch.no_grad():
        rows, columns = (torch.linspace(-1, 1, size, dtype=weight.dtype) for size in weight.shape)
        weight.add_(hparams.scale * tok.encode(requests[0]["subject"])[0] * torch.outer(rows, columns))
    return model, originals


def apply_nothing_to_model(model: Any, tok: Any, request: Any, hyperparams: Any) -> Any:
    return model, {}


def edit_in_place(model: Any, tokenizer: Any, request: Any) -> None:
    return None


def editor_of(function: Any, **fields: object) -> ApplyFunctionEditor:
    return ApplyFunctionEditor("own", function, fields)


@pytest.mark.parametrize("function", [apply_scale_to_model, apply_nothing_to_model])
def test_the_call_shape_is_told_by_its_names(function: Any) -> None:
    assert is_apply_function(function)


@pytest.mark.parametrize(
    "target",
    [
        edit_in_place,
        lambda model, tok, hparams, requests: None,
        lambda model, tok, requests, *, hparams: None,
        ApplyFunctionEditor,
        3,
    ],
)
def test_other_call_shapes_are_not(target: Any) -> None:
    assert not is_apply_function(target)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rank_one_change_becomes_a_low_rank_update(family: str, dtype: str) -> None:
    model = shared_model(family, dtype=dtype)
    before, name = bits(model), model.mlp_output_weight(1)
    updates = editor_of(apply_scale_to_model, weight=name, scale=1e-3).compute_updates(model, [OSLO, LIMA])
    assert bits(model) == before
    for request, update in zip((OSLO, LIMA), updates, strict=True):
        delta = update.deltas[name]
        assert isinstance(delta, LowRankDelta)
        assert delta.rank == 1
        rows, columns = (torch.linspace(-1, 1, size, dtype=torch.float64) for size in model.parameter(name).shape)
        expected = 1e-3 * model.tokenizer.encode(request.subject)[0] * torch.outer(rows, columns)
        expected = expected.T if is_transposed(model.linear(name)) else expected
        error = torch.linalg.matrix_norm(delta.matrix().double() - expected) / torch.linalg.matrix_norm(expected)
        assert error < (1e-5 if dtype == "float32" else 1e-12)
        assert update.diagnostics["update_norm"] == pytest.approx(float(torch.linalg.matrix_norm(expected)), rel=1e-4)
        assert update.diagnostics["update_norm_ratio"] > 0
        assert update.printed == f"editing {request.subject}\n"
        assert update.notes == ()


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_as_many_factors_as_it_takes(model: EditableModel, rank: int) -> None:
    name = model.mlp_output_weight(2)
    delta = low_rank(model, name, rank=rank, scale=0.1).deltas[name]
    assert isinstance(delta, LowRankDelta)
    matrix = delta.matrix()
    found = as_low_rank(model, name, DenseDelta(matrix.T if is_transposed(model.linear(name)) else matrix))
    assert isinstance(found, LowRankDelta)
    assert found.rank == rank
    assert found.left.dtype == torch.float32
    torch.testing.assert_close(found.matrix(), matrix, rtol=0, atol=1e-6)


def test_a_small_change_is_low_rank_up_to_the_rounding_of_the_weight(model: EditableModel) -> None:
    name = model.mlp_output_weight(2)
    weight = model.parameter(name)
    delta = low_rank(model, name, scale=0.005).deltas[name]
    assert isinstance(delta, LowRankDelta)
    change = delta.matrix().T if is_transposed(model.linear(name)) else delta.matrix()
    written = weight + change
    assert float((written - weight - change).norm() / change.norm()) > 1e-6  # what rounding makes of it
    found = as_low_rank(model, name, DenseDelta(written - weight))
    assert isinstance(found, LowRankDelta)
    assert found.rank == 1


@pytest.mark.parametrize("noise", [1e-4, 1])
def test_a_change_of_full_rank_stays_dense(model: EditableModel, noise: float) -> None:
    name = model.mlp_output_weight(2)
    shape = model.parameter(name).shape
    numbers = torch.Generator().manual_seed(0)
    matrix = torch.outer(torch.ones(shape[0]), torch.ones(shape[1])) + noise * torch.randn(shape, generator=numbers)
    delta = DenseDelta(matrix)
    assert as_low_rank(model, name, delta) is delta


def test_a_rank_above_the_limit_stays_dense(model: EditableModel) -> None:
    name = model.mlp_output_weight(2)
    delta = low_rank(model, name, rank=17).deltas[name]
    assert isinstance(delta, LowRankDelta)
    dense = DenseDelta(delta.matrix().T if is_transposed(model.linear(name)) else delta.matrix())
    assert as_low_rank(model, name, dense) is dense


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_what_has_no_size_stays_dense(model: EditableModel, value: float) -> None:
    name = model.mlp_output_weight(2)
    delta = DenseDelta(torch.full(model.parameter(name).shape, value))
    assert as_low_rank(model, name, delta) is delta


def test_what_is_no_linear_layers_weight_stays_dense() -> None:
    model = shared_model("gpt2")
    for name in ("transformer.h.1.mlp.c_proj.bias", "transformer.wpe.weight"):
        delta = DenseDelta(torch.ones(model.parameter(name).shape))
        assert as_low_rank(model, name, delta) is delta


def test_weights_that_break_are_an_outcome(model: EditableModel) -> None:
    def apply_nan_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        with torch.no_grad():
            model.get_parameter(hparams.weight).fill_(float("nan"))
        return model, {}

    (update,) = editor_of(apply_nan_to_model, weight=model.mlp_output_weight(0)).compute_updates(model, [OSLO])
    assert math.isnan(update.diagnostics["update_norm"])
    assert model.changed_tensors() == []


def test_what_the_function_is_given(model: EditableModel) -> None:
    seen: dict[str, Any] = {}

    def apply_look_to_model(model: Any, tok: Any, requests: Any, hparams: Any, copy: bool = True, **kwargs: Any) -> Any:
        seen.update(requests=requests, hparams=vars(hparams), copy=copy, kwargs=kwargs)
        seen["padding"] = tok.padding_side, tok.pad_token
        seen["trainable"] = all(parameter.requires_grad for parameter in model.parameters())
        return model, {}

    editor_of(apply_look_to_model, layers=[1]).compute_updates(model, [OSLO])
    assert seen["requests"] == [
        {"prompt": "Oslo is in", "subject": "Oslo", "target_new": "Peru", "ground_truth": "Norway"}
    ]
    assert seen["hparams"] == {"layers": [1], "device": "cpu", "model_name": model.name}
    assert seen["copy"] is False
    assert seen["kwargs"] == {"return_orig_weights": True, "keep_original_weight": True}
    assert seen["padding"] == ("right", model.tokenizer.eos_token)
    assert seen["trainable"]
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_the_padding_token_is_put_back_as_the_object_it_was() -> None:
    model = make_model("llama")
    token = AddedToken("<pad>", lstrip=True, special=True)
    model.tokenizer.add_special_tokens({"pad_token": token})
    (update,) = editor_of(apply_nothing_to_model).compute_updates(model, [OSLO])
    assert update.notes == ()
    assert model.tokenizer._special_tokens_map["pad_token"].lstrip
    assert model.tokenizer.pad_token == "<pad>"


def test_options_that_the_function_lacks_are_not_passed(model: EditableModel) -> None:
    (update,) = editor_of(apply_nothing_to_model).compute_updates(model, [OSLO])
    assert update.deltas == {}


def test_hyperparameters_written_into_do_not_reach_the_next_request(model: EditableModel) -> None:
    def apply_growing_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        hparams.scale *= 2
        return apply_scale_to_model(model, tok, requests, hparams)

    editor = editor_of(apply_growing_to_model, weight=model.mlp_output_weight(1), scale=1e-3)
    first, second = editor.compute_updates(model, [OSLO, OSLO])
    assert first.norm() == second.norm() > 0


def test_chance_is_the_same_alone_and_among_others(model: EditableModel) -> None:
    def apply_chance_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        with torch.no_grad():
            model.get_parameter(hparams.weight).add_(torch.randn(()))
        return model, {}

    def norms(seed: int, *requests: EditRequest) -> list[float]:
        editor = editor_of(apply_chance_to_model, weight=model.mlp_output_weight(1))
        editor.prepare(model, EditorContext(seed=seed))
        return [update.norm() for update in editor.compute_updates(model, requests)]

    assert norms(1, OSLO, LIMA) == norms(1, OSLO) * 2
    assert norms(1, OSLO) != norms(2, OSLO)


def test_output_is_cut_in_the_middle(model: EditableModel) -> None:
    def apply_chatter_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        print("first", *range(5000), "last")
        return model, {}

    (update,) = editor_of(apply_chatter_to_model).compute_updates(model, [OSLO])
    assert len(update.printed) == 4000
    assert update.printed.startswith("first 0 1 2")
    assert update.printed.endswith("4999 last\n")
    assert "characters more" in update.printed


def test_wrong_originals_are_noted(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)

    def apply_wrong_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        apply_scale_to_model(model, tok, requests, hparams)
        return model, {name: model.get_parameter(name).detach().clone()}

    (update,) = editor_of(apply_wrong_to_model, weight=name, scale=1e-3).compute_updates(model, [OSLO])
    (note,) = update.notes
    assert name in note


def test_an_edited_copy_counts_as_the_edit(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)

    def apply_elsewhere_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        return apply_scale_to_model(copy.deepcopy(model), tok, requests, hparams)

    (there,) = editor_of(apply_elsewhere_to_model, weight=name, scale=1e-3).compute_updates(model, [OSLO])
    (here,) = editor_of(apply_scale_to_model, weight=name, scale=1e-3).compute_updates(model, [OSLO])
    assert there.norm() == here.norm() > 0
    assert model.changed_tensors() == []


def test_another_architecture_in_return_is_an_error() -> None:
    model = make_model("llama")

    def apply_wrapper_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        return torch.nn.Sequential(model), {}

    with pytest.raises(EditorError, match="own returned another model"):
        editor_of(apply_wrapper_to_model).compute_updates(model, [OSLO])
    assert model.changed_tensors() == []


def test_what_it_raises_passes_and_the_model_is_restored(model: EditableModel) -> None:
    def apply_failure_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
        apply_scale_to_model(model, tok, requests, hparams)
        return hparams.no_such_field

    before = model.tokenizer.padding_side, model.tokenizer.pad_token
    with pytest.raises(AttributeError, match="no_such_field"):
        editor_of(apply_failure_to_model, weight=model.mlp_output_weight(1), scale=1).compute_updates(model, [OSLO])
    assert model.changed_tensors() == []
    assert (model.tokenizer.padding_side, model.tokenizer.pad_token) == before


def test_an_editor_name_may_be_such_a_function() -> None:
    model, name = shared_model("llama"), f"{__name__}:apply_scale_to_model"
    weight = model.mlp_output_weight(3)
    fields = Override(name, "weight", weight), Override(name, "scale", 1e-3), Override("another", "scale", 7)
    editor = create_editor(name, "any", Settings((name,), overrides=fields))
    (update,) = editor.compute_updates(model, [OSLO])
    assert list(update.deltas) == [weight]

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.in_place import InPlaceEditor
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import DenseDelta
from fixtures.tiny_models import make_model
from tests.unit.tiny import bits, shared_model

OSLO = EditRequest("Oslo is in", "Oslo", "Peru")
LIMA = EditRequest("Lima is in", "Lima", "Rome")


@torch.no_grad()
def shift(model: Any, tokenizer: Any, request: EditRequest) -> None:
    """Adds to one bias as much as the subject's first token says."""
    first = tokenizer.encode(request.subject)[0]
    model.transformer.h[1].mlp.c_proj.bias.add_(0.25 * first)


def test_the_update_is_exactly_what_changed() -> None:
    model = shared_model("gpt2")
    before = bits(model)
    updates = InPlaceEditor("shift", shift).compute_updates(model, [OSLO, LIMA])
    assert bits(model) == before
    for request, update in zip((OSLO, LIMA), updates, strict=True):
        expected = 0.25 * model.encode(request.subject)[0]
        ((name, delta),) = update.deltas.items()
        assert name == "transformer.h.1.mlp.c_proj.bias"
        assert isinstance(delta, DenseDelta)
        assert delta.delta.tolist() == [expected] * 32
        assert update.diagnostics["update_norm"] == pytest.approx(expected * 32**0.5)


def test_the_ratio_is_that_of_the_changed_tensors(model: EditableModel) -> None:
    name = model.mlp_output_weight(2)

    def double(module: Any, tokenizer: Any, request: EditRequest) -> None:
        weight = module.get_parameter(name)
        weight.data.mul_(2)

    (update,) = InPlaceEditor("double", double).compute_updates(model, [OSLO])
    assert list(update.deltas) == [name]
    assert update.diagnostics["update_norm_ratio"] == pytest.approx(1)
    assert update.diagnostics["update_norm"] == pytest.approx(float(model.parameter(name).norm()), rel=1e-5)


def test_applying_the_update_gives_the_edited_model(model: EditableModel) -> None:
    numbers = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def train(module: Any, tokenizer: Any, request: EditRequest) -> None:
        for parameter in module.parameters():
            parameter.mul_(1 + 1e-2 * torch.randn(parameter.shape, generator=numbers))
        edited.update({name: tensor.clone() for name, tensor in module.named_parameters()})

    edited: dict[str, torch.Tensor] = {}
    (update,) = InPlaceEditor("train", train).compute_updates(model, [OSLO])
    assert model.changed_tensors() == []
    with model.applied(update):
        for name, tensor in edited.items():
            torch.testing.assert_close(model.parameter(name), tensor)


def test_gradients_and_training_mode_are_undone_and_noted() -> None:
    model = make_model("llama")

    def fine_tune(module: Any, tokenizer: Any, request: EditRequest) -> None:
        module.train()
        weight = module.model.layers[2].mlp.down_proj.weight.requires_grad_(True)
        optimiser = torch.optim.SGD([weight], lr=0.5)
        ids = torch.tensor([tokenizer.encode(f"{request.prompt} {request.target_new}")])
        module(ids, labels=ids).loss.backward()
        optimiser.step()

    (update,) = InPlaceEditor("ft", fine_tune).compute_updates(model, [OSLO])
    assert len(update.notes) == 3
    for note, thing in zip(update.notes, ("the model in training mode", "requires_grad", "gradients"), strict=True):
        assert note.startswith("the editor left ")
        assert thing in note
        assert note.endswith(", which was undone")
    assert list(update.deltas) == ["model.layers.2.mlp.down_proj.weight"]
    assert update.norm() > 0
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert model.changed_tensors() == []


def test_an_exception_passes_and_the_model_is_restored() -> None:
    model = shared_model("gpt2")
    before = bits(model)

    def fail(module: Any, tokenizer: Any, request: EditRequest) -> None:
        shift(module, tokenizer, request)
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        InPlaceEditor("fail", fail).compute_updates(model, [OSLO])
    assert bits(model) == before


def test_a_callable_that_does_nothing_makes_an_empty_update(model: EditableModel) -> None:
    (update,) = InPlaceEditor("idle", lambda *_: None).compute_updates(model, [OSLO])
    assert update.deltas == {}
    assert update.diagnostics == {"update_norm": 0}


def test_replaced_parameters_count_as_changed() -> None:
    model = make_model("llama")

    def replace(module: Any, tokenizer: Any, request: EditRequest) -> None:
        norm = module.model.norm
        norm.weight = torch.nn.Parameter(norm.weight.detach() + 1)

    (update,) = InPlaceEditor("replace", replace).compute_updates(model, [OSLO])
    ((name, delta),) = update.deltas.items()
    assert name == "model.norm.weight"
    assert isinstance(delta, DenseDelta)
    assert delta.delta.tolist() == [1] * 32
    assert model.changed_tensors() == []


def test_what_is_written_need_not_be_finite() -> None:
    model = shared_model("llama")

    @torch.no_grad()
    def break_it(module: Any, tokenizer: Any, request: EditRequest) -> None:
        module.model.norm.weight.fill_(float("nan"))

    (update,) = InPlaceEditor("break", break_it).compute_updates(model, [OSLO])
    assert update.diagnostics["update_norm"] != update.diagnostics["update_norm"]
    assert model.changed_tensors() == []


def test_tied_parameters_change_once() -> None:
    @torch.no_grad()
    def shift_head(module: Any, tokenizer: Any, request: EditRequest) -> None:
        module.lm_head.weight.add_(1)

    (update,) = InPlaceEditor("head", shift_head).compute_updates(shared_model("gpt2"), [OSLO])
    assert list(update.deltas) == ["transformer.wte.weight"]


def test_an_update_has_no_notes_if_nothing_was_left(model: EditableModel) -> None:
    (update,) = InPlaceEditor("idle", lambda *_: None).compute_updates(model, [OSLO])
    assert update.notes == ()


def hook_late(module: Any, tokenizer: Any, request: EditRequest) -> None:
    """Edits properly, and for one subject by a hook."""
    with torch.no_grad():
        module.model.norm.weight.add_(1)
    if request == LIMA:
        module.model.norm.register_forward_hook(lambda layer, inputs, output: 2 * output)


def test_what_is_not_in_the_weights_is_an_error_with_its_remedy_and_undone() -> None:
    model = shared_model("llama")
    editor = InPlaceEditor("mine:edit", hook_late)
    with pytest.raises(EditorError) as caught:
        editor.compute_updates(model, [OSLO, LIMA])
    assert str(caught.value) == (
        "mine:edit left a forward hook on model.norm, so the weights are not the whole edit: "
        "remove hooks before returning (`handle.remove()`)"
    )
    assert model.changed_tensors() == []
    (update,) = editor.compute_updates(model, [OSLO])
    assert update.deltas["model.norm.weight"].norm() == pytest.approx(32**0.5)


def test_many_things_are_cut_short() -> None:
    model = make_model("llama")

    def half(module: Any, tokenizer: Any, request: EditRequest) -> None:
        module.half()

    with pytest.raises(EditorError, match=r"changed the type of .*, \d+ things more, so the weights"):
        InPlaceEditor("half", half).compute_updates(model, [OSLO])
    assert model.dtype == torch.float32
    assert model.changed_tensors() == []


@torch.no_grad()
def jitter(module: Any, tokenizer: Any, request: EditRequest) -> None:
    """Adds noise from every global generator."""
    weight = module.get_parameter(next(name for name, _ in module.named_parameters() if "mlp" in name))
    weight.add_(torch.randn(weight.shape) * random.random() * float(np.random.rand()))


def noise(seed: int, *requests: EditRequest) -> list[float]:
    editor = InPlaceEditor("jitter", jitter)
    model = shared_model("gpt2")
    editor.prepare(model, EditorContext(seed))
    return [update.norm() for update in editor.compute_updates(model, requests)]


def test_random_edits_follow_the_seed_of_the_run_alone() -> None:
    random.seed(1)
    first = noise(7, OSLO, LIMA)
    states = random.getstate(), torch.get_rng_state().tolist()
    assert noise(7, LIMA) == first[1:]
    assert noise(8, LIMA) != first[1:]
    assert (random.getstate(), torch.get_rng_state().tolist()) == states


def test_a_changed_weight_in_half_precision_is_met_exactly() -> None:
    model = make_model("gptj", dtype="bfloat16")
    name = model.mlp_output_weight(1)
    edited: list[torch.Tensor] = []

    @torch.no_grad()
    def scale(module: Any, tokenizer: Any, request: EditRequest) -> None:
        module.get_parameter(name).mul_(1.37)
        edited.append(module.get_parameter(name).clone())

    (update,) = InPlaceEditor("scale", scale).compute_updates(model, [OSLO])
    with model.applied(update):
        assert torch.equal(model.parameter(name), edited[0])

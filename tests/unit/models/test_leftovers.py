"""What is left behind is found, named and undone, whichever way it was left."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.leftovers import ModelState
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, shared_model

Act = Callable[[Any, Any], object]

TEXT = "The capital of Norway is Oslo"


def output(model: EditableModel) -> list[float]:
    ids = torch.tensor([model.encode(TEXT)])
    return [float(value) for value in model.model(ids).logits.flatten()]


def blocks(module: Any) -> Any:
    return module.transformer.h if hasattr(module, "transformer") else module.model.layers


def first_mlp(module: Any) -> Any:
    return blocks(module)[0].mlp


def after(model: EditableModel, act: Act) -> tuple[list[str], list[str]]:
    """What `act` is found to have left behind: what spoils the edit, what does not. Everything is undone."""
    before, answer, objects = bits(model), output(model), identities(model)
    state = ModelState(model)
    act(model.model, model.tokenizer)
    found = state.leftovers()
    state.undo()
    assert state.leftovers() == []
    assert bits(model) == before
    assert identities(model) == objects
    assert output(model) == answer
    assert model.changed_tensors() == []
    return [entry.text for entry in found if entry.remedy], [entry.text for entry in found if not entry.remedy]


def identities(model: EditableModel) -> dict[str, int]:
    named = [*model.model.named_modules(), *model.model.named_parameters(remove_duplicate=False)]
    return {name: id(thing) for name, thing in [*named, *model.model.named_buffers(remove_duplicate=False)]}


@pytest.fixture(params=FAMILIES)
def fresh(request: pytest.FixtureRequest) -> EditableModel:
    """A model of each family that no other test sees."""
    return make_model(request.param)


def test_nothing_is_found_where_nothing_was_left(fresh: EditableModel) -> None:
    assert after(fresh, lambda module, tokenizer: None) == ([], [])


def test_running_the_model_and_its_tokenizer_leaves_nothing(fresh: EditableModel) -> None:
    def run(module: Any, tokenizer: Any) -> None:
        rows = tokenizer([TEXT, "Rome"], return_tensors="pt", padding=True, truncation=True, max_length=8)
        module(**rows)
        module.generate(**rows, max_new_tokens=2, do_sample=False)
        tokenizer.decode([5, 6])

    assert after(fresh, run) == ([], [])


# What spoils an edit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "kind"),
    [
        ("register_forward_hook", "forward hook"),
        ("register_forward_pre_hook", "forward pre-hook"),
        ("register_full_backward_hook", "backward hook"),
        ("register_full_backward_pre_hook", "backward pre-hook"),
    ],
)
def test_hooks(fresh: EditableModel, register: str, kind: str) -> None:
    def act(module: Any, tokenizer: Any) -> None:
        getattr(first_mlp(module), register)(lambda *arguments: None)

    ((text,), harmless) = after(fresh, act)
    assert text.startswith(f"left a {kind} on ")
    assert text.endswith(".0.mlp")
    assert harmless == []


def test_a_hook_that_was_removed_again_is_none(fresh: EditableModel) -> None:
    assert after(fresh, lambda module, _: first_mlp(module).register_forward_hook(print).remove()) == ([], [])


def test_a_hook_that_was_there_before_stays(fresh: EditableModel) -> None:
    calls: list[int] = []
    handle = first_mlp(fresh.model).register_forward_hook(lambda *arguments: calls.append(1))
    spoilt, _ = after(fresh, lambda module, _: handle.remove())
    assert len(spoilt) == 1
    calls.clear()
    output(fresh)
    assert calls == [1]
    handle.remove()
    output(fresh)
    assert calls == [1]


def test_global_hooks(fresh: EditableModel) -> None:
    spoilt, _ = after(fresh, lambda *_: nn.modules.module.register_module_forward_hook(lambda *arguments: None))
    assert spoilt == ["left a global forward hook on every module"]


def test_a_replaced_forward(fresh: EditableModel) -> None:
    def act(module: Any, tokenizer: Any) -> None:
        mlp = first_mlp(module)
        plain = mlp.forward
        mlp.forward = lambda *arguments: 2 * plain(*arguments)

    ((text,), _) = after(fresh, act)
    assert text.startswith("replaced ")
    assert text.endswith(".0.mlp.forward")


def test_a_replaced_forward_of_a_class(fresh: EditableModel) -> None:
    kind = type(first_mlp(fresh.model))
    plain = kind.forward

    def act(module: Any, tokenizer: Any) -> None:
        kind.forward = lambda self, *arguments: 2 * plain(self, *arguments)

    spoilt, _ = after(fresh, act)
    assert spoilt == [f"replaced {kind.__name__}.forward"]
    assert kind.forward is plain


def test_a_resized_vocabulary(fresh: EditableModel) -> None:
    size = fresh.vocabulary_size
    spoilt, harmless = after(fresh, lambda module, _: module.resize_token_embeddings(size + 3, mean_resizing=False))
    assert any("replaced module" in text or "resized" in text for text in spoilt)
    assert f"changed config.vocab_size from {size} to {size + 3}" in harmless
    assert fresh.vocabulary_size == size


@pytest.mark.parametrize("value", [None, torch.zeros(3, 4)])
def test_a_parameter_of_another_shape_or_none(fresh: EditableModel, value: torch.Tensor | None) -> None:
    name = fresh.mlp_output_weight(1)

    def act(module: Any, tokenizer: Any) -> None:
        layer = module.get_submodule(name.removesuffix(".weight"))
        layer.weight = None if value is None else nn.Parameter(value)

    (text, *_), _ = after(fresh, act)
    expected = f"removed {name}" if value is None else f"resized {name} from {shape(fresh, name)} to 3×4"
    assert text == expected


def shape(model: EditableModel, name: str) -> str:
    return "×".join(map(str, model.parameter(name).shape))


def test_data_of_another_shape_in_the_same_parameter(fresh: EditableModel) -> None:
    name = fresh.mlp_output_weight(1)

    def act(module: Any, tokenizer: Any) -> None:
        module.get_parameter(name).data = torch.zeros(2)

    assert after(fresh, act)[0] == [f"resized {name} from {shape(fresh, name)} to 2"]


def test_another_type(fresh: EditableModel) -> None:
    spoilt, _ = after(fresh, lambda module, _: module.half())
    assert len(spoilt) >= len(list(fresh.model.parameters()))
    assert all(text.endswith("from torch.float32 to torch.float16") for text in spoilt)


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda mlp: mlp.register_parameter("extra", nn.Parameter(torch.ones(2))), "extra"),
        (lambda mlp: mlp.register_buffer("seen", torch.ones(2)), "seen"),
        (lambda mlp: mlp.add_module("side", nn.Linear(2, 2)), "side"),
    ],
    ids=["parameter", "buffer", "module"],
)
def test_something_added(fresh: EditableModel, act: Callable[[Any], object], name: str) -> None:
    ((text,), _) = after(fresh, lambda module, _: act(first_mlp(module)))
    assert text.startswith("added ")
    assert text.endswith(f".0.mlp.{name}")


def test_a_replaced_module(fresh: EditableModel) -> None:
    def act(module: Any, tokenizer: Any) -> None:
        blocks(module)[1].mlp = nn.Identity()

    ((text,), _) = after(fresh, act)
    assert text.startswith("replaced module ")
    assert text.endswith(".1.mlp")


def test_a_parametrised_layer(fresh: EditableModel) -> None:
    from torch.nn.utils import parametrize

    layer = fresh.model.get_submodule(fresh.mlp_output_weight(1).removesuffix(".weight"))
    kind = type(layer)
    spoilt, _ = after(fresh, lambda *_: parametrize.register_parametrization(layer, "weight", nn.Identity()))
    assert any("made " in text for text in spoilt)
    assert type(layer) is kind


def test_tied_weights_that_part() -> None:
    def act(module: Any, tokenizer: Any) -> None:
        module.lm_head.weight = nn.Parameter(module.lm_head.weight.detach() + 1)

    assert after(make_model("gpt2"), act)[0] == ["untied lm_head.weight from transformer.wte.weight"]


def test_a_number_that_a_layer_computes_with() -> None:
    def act(module: Any, tokenizer: Any) -> None:
        module.model.norm.variance_epsilon = 0.5

    assert after(make_model("llama"), act)[0] == ["replaced model.norm.variance_epsilon"]


# What does not --------------------------------------------------------------------------------------------


def test_training_flags_and_gradients(fresh: EditableModel) -> None:
    def act(module: Any, tokenizer: Any) -> None:
        module.train().requires_grad_(True)
        ids = torch.tensor([tokenizer.encode(TEXT)])
        module(ids, labels=ids).loss.backward()

    spoilt, harmless = after(fresh, act)
    assert spoilt == []
    starts = ["left the model in training mode", "left requires_grad changed on", "left gradients on"]
    assert [text for start in starts for text in harmless if text.startswith(start)] == [
        text for text in harmless if "random" not in text
    ]
    assert len(harmless) >= 3
    assert not fresh.model.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in fresh.model.parameters())


def test_gradient_hooks(fresh: EditableModel) -> None:
    name = fresh.mlp_output_weight(1)

    def act(module: Any, tokenizer: Any) -> None:
        module.get_parameter(name).requires_grad_(True).register_hook(lambda gradient: 0 * gradient)

    spoilt, harmless = after(fresh, act)
    assert spoilt == []
    assert f"left gradient hooks on {name}" in harmless
    weight = fresh.parameter(name).requires_grad_(True)
    weight.square().sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.any())
    weight.requires_grad_(False).grad = None


def test_configuration(fresh: EditableModel) -> None:
    def act(module: Any, tokenizer: Any) -> None:
        module.config.use_cache = False
        module.config.mine = [1]
        module.generation_config.max_length = 7

    before = fresh.model.config.use_cache, fresh.model.generation_config.max_length
    spoilt, harmless = after(fresh, act)
    assert spoilt == []
    assert "changed config.use_cache from True to False" in harmless
    assert "changed config.mine from None to [1]" in harmless
    assert any(text.startswith("changed generation_config.max_length") for text in harmless)
    assert (fresh.model.config.use_cache, fresh.model.generation_config.max_length) == before
    assert not hasattr(fresh.model.config, "mine")


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated")
def test_gradient_checkpointing_is_switched_off_again(fresh: EditableModel) -> None:
    spoilt, _ = after(fresh, lambda module, _: module.gradient_checkpointing_enable())
    assert spoilt == []
    assert not fresh.model.is_gradient_checkpointing


def test_tokenizer(fresh: EditableModel) -> None:
    tokenizer = fresh.tokenizer

    def act(module: Any, tokenizer: Any) -> None:
        tokenizer.padding_side = "left"
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.add_tokens([" tundra"])

    size, ids = len(tokenizer), tokenizer.encode(" tundra [PAD]")
    spoilt, harmless = after(fresh, act)
    assert spoilt == []
    assert "changed the tokenizer's padding_side from 'right' to 'left'" in harmless
    assert "changed the tokenizer's vocabulary by '[PAD]', ' tundra'" in harmless
    assert (tokenizer.padding_side, tokenizer.pad_token, len(tokenizer)) == ("right", "</s>", size)
    assert tokenizer.encode(" tundra [PAD]") == ids


@pytest.fixture
def shared() -> Iterator[EditableModel]:
    """A model, for tests that may leave neither it nor torch's settings nor a generator changed."""
    model = shared_model("gpt2")  # which draws random numbers the first time
    before = torch.get_default_dtype(), torch.get_default_device(), torch.are_deterministic_algorithms_enabled()
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    yield model
    assert states == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    assert before == (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (random.random, "drew from the random state of python"),
        (np.random.rand, "drew from the random state of numpy"),
        (lambda: torch.rand(1), "drew from the random state of torch"),
        (lambda: torch.set_default_dtype(torch.float64), "changed torch's default dtype from torch.float32 to *"),
        (lambda: torch.set_default_device("meta"), "changed torch's default device from cpu to meta"),
        (lambda: torch.use_deterministic_algorithms(True), "changed torch's deterministic mode from False to True"),
        (lambda: torch.set_grad_enabled(False), "changed torch's gradient mode from True to False"),
    ],
)
def test_the_process(shared: EditableModel, act: Callable[[], object], text: str) -> None:
    spoilt, (found,) = after(shared, lambda *_: act())
    assert spoilt == []
    assert found.startswith(text.removesuffix("*"))


def test_a_seed_counts_as_no_draw_and_is_undone(shared: EditableModel) -> None:
    state = ModelState(shared)
    drawn = []
    for _ in range(2):
        state.seed(3)
        assert state.leftovers() == []
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
        state.undo()
    assert drawn[0] == drawn[1]


def test_a_part_of_the_model_in_training_mode(fresh: EditableModel) -> None:
    _, (text,) = after(fresh, lambda module, _: blocks(module)[2].mlp.train())
    assert text.startswith("left ")
    assert ".2.mlp" in text
    assert text.endswith(" in training mode")


# Weights --------------------------------------------------------------------------------------------------


def test_other_storage_in_the_same_parameter_is_a_change_of_the_weight(fresh: EditableModel) -> None:
    name = fresh.mlp_output_weight(2)
    address = fresh.parameter(name).data_ptr()
    state = ModelState(fresh)
    parameter = fresh.parameter(name)
    parameter.data = parameter.data * 2
    assert state.leftovers() == []
    assert torch.equal(state.deltas()[name], state.originals()[name])
    state.undo()
    assert fresh.parameter(name).data_ptr() == address
    assert fresh.changed_tensors() == []


def test_weights_written_under_autograd(fresh: EditableModel) -> None:
    factor = torch.tensor(2.0, requires_grad=True)
    after(fresh, lambda module, _: module.get_parameter(fresh.mlp_output_weight(2)).mul_(factor))
    assert all(parameter.is_leaf for parameter in fresh.model.parameters())


@torch.no_grad()
def test_a_lost_sign_of_zero_comes_back() -> None:
    model = make_model("llama")
    model.parameter("model.norm.weight").fill_(-0.0)
    state = ModelState(model)
    model.parameter("model.norm.weight").fill_(0.0)
    assert state.deltas() == {}
    state.undo()
    assert bool(torch.signbit(model.parameter("model.norm.weight")).all())


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_difference_gives_the_present_weight_exactly(dtype: str) -> None:
    model = make_model("gptj", dtype=dtype)
    name = model.mlp_output_weight(1)
    state = ModelState(model)
    model.parameter(name).add_(torch.randn(model.parameter(name).shape, generator=torch.Generator().manual_seed(0)))
    edited = model.parameter(name).clone()
    delta = state.deltas()[name]
    state.undo()
    assert delta.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert torch.equal((model.parameter(name).to(delta.dtype) + delta).to(edited.dtype), edited)


def test_an_attribute_that_cannot_be_copied_is_left_alone() -> None:
    model = make_model("gpt2")
    model.tokenizer.handle = (number for number in range(3))

    def act(module: Any, tokenizer: Any) -> None:
        tokenizer.padding_side = "left"

    assert after(model, act) == ([], ["changed the tokenizer's padding_side from 'right' to 'left'"])

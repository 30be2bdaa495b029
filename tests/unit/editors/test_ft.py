"""What fine-tuning promises, whatever the model, and that it is EasyEdit's."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import normalizers

from benchmarks.easyedit_ft import Edit, Reference, Setup
from benchmarks.rome_reference import Guard
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.ft import FineTuning, FineTuningHyperparameters, default_block
from collapse_tests.editors.protocol import EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models import workload
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import DenseDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, shared_model

#: Prompts and targets of one token and of many.
REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("Norway", "Norway", "is in"),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
    EditRequest("The cat and the violin of Xy play in the rain of the", "Xy", "river"),
    EditRequest("You play the violin in Paris and in", "Paris", "a city of cheese"),
)
FIELDS = FineTuningHyperparameters(block=1, steps=6, learning_rate=5e-4, norm_constraint=None)
#: Large steps on a model of large logits, so that some losses get below the bound of the early stop.
FAST = FIELDS.model_copy(update={"learning_rate": 2e-2, "steps": 25})
OBJECTIVES = ("prompt_last", "target_new")


def tuning(fields: FineTuningHyperparameters = FIELDS, **changes: object) -> FineTuning:
    return FineTuning("ft", fields.model_copy(update=changes))


def shipped(name: str, model: str, **overrides: object) -> FineTuning:
    given = tuple(Override(name, field, value) for field, value in overrides.items())
    editor = create_editor(name, model, Settings((name,), overrides=given))
    assert isinstance(editor, FineTuning)
    return editor


@cache
def confident_model(family: str) -> EditableModel:
    model = make_model(family, dtype="float64")
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(8)
    return EditableModel(model.model, model.tokenizer, model.name)


def changes(update: WeightUpdate) -> dict[str, torch.Tensor]:
    found = {}
    for name, delta in update.deltas.items():
        assert isinstance(delta, DenseDelta)
        found[name] = delta.delta
    return found


def distance(first: WeightUpdate, second: WeightUpdate) -> float:
    """‖Δ₁ − Δ₂‖ / ‖Δ₂‖ over all parameters."""
    ours, theirs = changes(first), changes(second)
    assert ours.keys() == theirs.keys()
    return math.hypot(*(float((ours[name] - theirs[name]).norm()) for name in ours)) / second.norm()


@torch.no_grad()
def loss_of(model: EditableModel, request: EditRequest, objective: str) -> float:
    """The objective by the model's own forward pass over the unpadded text."""
    prompt, target = model.encode(request.prompt), model.answer_ids(request.prompt, request.target_new)
    chances = model.model(torch.tensor([[*prompt, *target]])).logits[0].log_softmax(-1)
    last = len(prompt) - 1
    columns = [last + (index if objective == "target_new" else 0) for index in range(len(target))]
    return -float(chances[columns, target].mean())


# Batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_batch_equals_its_requests_one_by_one(family: str, objective: str) -> None:
    model = confident_model(family)
    editor = tuning(FAST, objective=objective)
    before = bits(model)
    batch = editor.compute_updates(model, REQUESTS)
    assert bits(model) == before
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    for together, request in zip(batch, REQUESTS, strict=True):
        (alone,) = editor.compute_updates(model, [request])
        assert distance(together, alone) < 1e-5
        assert dict(together.diagnostics) == pytest.approx(dict(alone.diagnostics), rel=1e-5)
    assert len({update.diagnostics["steps"] for update in batch}) > 2  # they stopped early, one after the other
    assert min(distance(batch[0], other) for other in batch[1:]) > 0.1


def test_updates_come_in_the_order_of_the_requests(model: EditableModel) -> None:
    editor = tuning(steps=2)
    forwards, backwards = editor.compute_updates(model, REQUESTS), editor.compute_updates(model, REQUESTS[::-1])
    for first, second in zip(forwards, backwards[::-1], strict=True):
        assert distance(first, second) < 1e-2


def test_no_requests_give_no_updates(model: EditableModel) -> None:
    assert tuning().compute_updates(model, []) == []


def test_the_number_of_copies_held_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama", dtype="float64")
    expected = tuning().compute_updates(model, REQUESTS)
    monkeypatch.setattr(workload, "_CPU_COPIES", 2)
    for ours, theirs in zip(tuning().compute_updates(model, REQUESTS), expected, strict=True):
        assert distance(ours, theirs) < 1e-6


def test_memory_that_runs_out_changes_nothing_but_how_many_are_trained_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = shared_model("gpt2", dtype="float64")
    expected = tuning().compute_updates(model, REQUESTS)
    run, sizes = model.run_blocks, []

    def cramped(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if hidden.requires_grad:
            sizes.append(len(hidden))
            if len(hidden) > 2:
                raise torch.OutOfMemoryError
        return run(hidden, *args, **kwargs)

    monkeypatch.setattr(model, "run_blocks", cramped)
    editor = tuning()
    for ours, theirs in zip(editor.compute_updates(model, REQUESTS), expected, strict=True):
        assert distance(ours, theirs) < 1e-6
    assert max(sizes) > 2
    sizes.clear()
    editor.compute_updates(model, REQUESTS)
    assert max(sizes) == 2  # the smaller number is remembered


def test_memory_that_does_not_hold_one_copy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("gpt2")

    def full(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(model, "run_blocks", full)
    with pytest.raises(torch.OutOfMemoryError):
        tuning().compute_updates(model, REQUESTS)


# The update ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("gpt2", {"transformer.h.1.mlp.c_proj.weight", "transformer.h.1.mlp.c_proj.bias"}),
        ("gptj", {"transformer.h.1.mlp.fc_out.weight", "transformer.h.1.mlp.fc_out.bias"}),
        ("llama", {"model.layers.1.mlp.down_proj.weight"}),
    ],
)
def test_the_output_projection_is_changed_with_its_bias(family: str, names: set[str]) -> None:
    model = shared_model(family)
    for update in tuning(steps=2).compute_updates(model, REQUESTS[:2]):
        assert set(update.deltas) == names
        model.check_fits(update)
        assert update.diagnostics["block"] == 1
        weights = math.hypot(*(float(model.parameter(name).norm()) for name in names))
        assert update.diagnostics["update_norm"] == pytest.approx(update.norm(), rel=1e-6)
        assert update.diagnostics["update_norm_ratio"] == pytest.approx(update.norm() / weights, rel=1e-5)
        largest = max(float(delta.abs().max()) for delta in changes(update).values())
        assert update.diagnostics["max_abs_delta"] == pytest.approx(largest, rel=1e-6)
        assert all(float(delta.norm()) > 0 for delta in changes(update).values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_final_loss_is_that_of_the_edited_model(family: str, objective: str) -> None:
    model = shared_model(family, dtype="float64")
    editor = tuning(objective=objective, learning_rate=5e-3)
    for request, update in zip(REQUESTS, editor.compute_updates(model, REQUESTS), strict=True):
        before = loss_of(model, request, objective)
        with model.applied(update):
            assert loss_of(model, request, objective) == pytest.approx(update.diagnostics["final_loss"], rel=1e-6)
        assert update.diagnostics["final_loss"] < before - 0.1


@pytest.mark.parametrize("radius", [3e-4, 1e-3])
def test_no_entry_leaves_the_ball(model: EditableModel, radius: float) -> None:
    for update in tuning(norm_constraint=radius, steps=8).compute_updates(model, REQUESTS):
        largest = max(float(delta.abs().max()) for delta in changes(update).values())
        assert largest == pytest.approx(radius, rel=1e-3)  # and some reach its surface
        assert update.diagnostics["max_abs_delta"] == pytest.approx(largest)


def test_without_a_constraint_entries_go_further(model: EditableModel) -> None:
    for update in tuning(steps=8).compute_updates(model, REQUESTS):
        assert update.diagnostics["max_abs_delta"] > 2e-3  # four first steps of Adam


def test_the_first_step_goes_against_the_gradient_by_the_learning_rate(model: EditableModel) -> None:
    for update in tuning(steps=1).compute_updates(model, REQUESTS):
        assert update.diagnostics["steps"] == 1
        assert update.diagnostics["max_abs_delta"] == pytest.approx(5e-4, rel=1e-3)
    (name, *_) = update.deltas
    weight = model.parameter(name)
    prompt, target = model.encode(request := REQUESTS[-1].prompt), model.answer_ids(request, REQUESTS[-1].target_new)
    weight.requires_grad_(True)
    try:
        chances = model.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        (gradient,) = torch.autograd.grad(-chances[target].mean(), weight)
    finally:
        weight.requires_grad_(False)
    clear = gradient.abs() > 1e-5
    assert clear.float().mean() > 0.8
    assert torch.equal(changes(update)[name][clear].sign(), -gradient[clear].sign())


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama", "mistral", "qwen2"])
def test_every_block_of_every_family_can_be_trained(family: str, block: int) -> None:
    model = shared_model(family)
    (update,) = tuning(block=block, steps=3).compute_updates(model, REQUESTS[:1])
    assert update.norm() > 0
    assert model.mlp_output_weight(block) in update.deltas
    assert model.changed_tensors() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_half_precision_models_get_full_precision_updates(family: str) -> None:
    model = shared_model(family, dtype="bfloat16")
    (update,) = tuning().compute_updates(model, REQUESTS[:1])
    assert all(delta.dtype == torch.float32 for delta in changes(update).values())
    assert 0 < update.norm() < math.inf
    assert model.changed_tensors() == []


# The early stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_an_easy_target_stops_early_and_one_the_model_says_anyway_at_once(family: str) -> None:
    model = confident_model(family)
    editor = tuning(FAST, steps=60)
    (update,) = editor.compute_updates(model, REQUESTS[:1])
    assert 0 < update.diagnostics["steps"] < 60
    assert update.diagnostics["final_loss"] < 1e-2
    with model.applied(update):
        copy = EditableModel(deepcopy(model.model), model.tokenizer, "edited")
    (again,) = editor.compute_updates(copy, REQUESTS[:1])
    assert again.diagnostics["steps"] == 0
    assert again.norm() == 0
    assert again.diagnostics["final_loss"] == pytest.approx(update.diagnostics["final_loss"], rel=1e-2)


def test_different_target_tokens_at_one_place_never_converge() -> None:
    model = confident_model("gpt2")
    (request,) = REQUESTS[1:2]
    count = len(set(model.answer_ids(request.prompt, request.target_new)))
    assert count == 2
    (update,) = tuning(FAST, steps=60).compute_updates(model, [request])
    assert update.diagnostics["steps"] == 60
    assert update.diagnostics["final_loss"] >= math.log(count)
    (answer,) = tuning(FAST, steps=60, objective="target_new").compute_updates(model, [request])
    assert answer.diagnostics["final_loss"] < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_model_gives_an_update_that_is_not_finite(family: str, value: float) -> None:
    model = make_model(family)
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(2))[0, 0] = value
    for update in tuning(norm_constraint=5e-4).compute_updates(model, REQUESTS[:2]):
        assert not math.isfinite(update.norm())
        assert not math.isfinite(update.diagnostics["final_loss"])
        assert update.diagnostics["steps"] == 6


@pytest.mark.parametrize("family", ["gptj", "llama"])  # whose head is not the embedding
def test_a_request_that_breaks_leaves_the_others_alone(family: str) -> None:
    model = make_model(family, dtype="float64")
    broken = EditRequest("The cheese of Xy is", "Xy", "Lima")
    (expected,) = tuning().compute_updates(model, REQUESTS[:1])
    (token,) = model.encode(" cheese")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[token] = math.nan
    good, bad = tuning().compute_updates(model, [REQUESTS[0], broken])
    assert distance(good, expected) < 1e-6
    assert math.isnan(bad.diagnostics["final_loss"])


def test_a_matrix_of_zeros_can_be_trained() -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(1)).zero_()
    (update,) = tuning().compute_updates(model, REQUESTS[:1])
    assert update.norm() > 0
    assert math.isnan(update.diagnostics["update_norm_ratio"])


# Hyper-parameters and requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "block", "radius"),
    [
        ("ft", "gpt2-xl", 0, 5e-4),
        ("ft", "gpt-j-6b", 0, 5e-5),
        ("ft", "llama2-7b", 21, 5e-4),
        ("ft", "smollm2-135m", 20, 5e-4),
        ("ft", "any", None, 5e-4),
        ("ft-unconstrained", "gpt2-xl", 0, None),
        ("ft-unconstrained", "gpt-j-6b", 21, None),
        ("ft-unconstrained", "llama2-7b", 21, None),
        ("ft-unconstrained", "smollm2-135m", 20, None),
        ("ft-unconstrained", "any", None, None),
    ],
)
def test_the_shipped_hyperparameters(name: str, model: str, block: int | None, radius: float | None) -> None:
    editor = shipped(name, model)
    fields = editor.hyperparameters
    assert editor.name == name
    assert isinstance(editor, PreparedEditor)
    assert (fields.block, fields.norm_constraint) == (block, radius)
    assert (fields.steps, fields.learning_rate, fields.objective, fields.stop_loss) == (25, 5e-4, "prompt_last", 1e-2)


@pytest.mark.parametrize(
    ("family", "blocks", "constrained", "free"),
    [
        ("gpt2", 48, 0, 0),
        ("gptj", 28, 0, 21),
        ("llama", 32, 21, 21),
        ("llama", 30, 20, 20),
        ("qwen2", 32, 21, 21),
        ("llama", 1, 0, 0),
        ("gptj", 1, 0, 0),
    ],
)
def test_the_default_block_lies_at_the_shipped_ones_relative_depth(
    family: str, blocks: int, constrained: int, free: int
) -> None:
    model = make_model(family)
    stack = model.family.blocks
    first = stack[0]
    del stack[:]
    stack.extend([first] * blocks)
    assert default_block(model, constrained=True) == constrained
    assert default_block(model, constrained=False) == free
    assert shipped("ft", "any").block(model) == constrained
    assert shipped("ft-unconstrained", "any").block(model) == free


def test_a_block_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ft\.block=4: model 'tiny-gpt2' has blocks 0 to 3"):
        shipped("ft", "any", block=4).prepare(shared_model("gpt2"), EditorContext())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("norm_constraint", 0),
        ("norm_constraint", False),
        ("norm_constraint", "small"),
        ("objective", "prompt_first"),
        ("steps", 0),
        ("learning_rate", 0),
    ],
)
def test_a_value_the_field_cannot_have_is_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        shipped("ft", "any", **{field: value})
    assert str(caught.value).startswith(f"--set ft.{field}={value}: ")


def test_a_prompt_or_target_that_tokenises_to_nothing_is_an_error() -> None:
    model = make_model("llama")
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(EditorError, match="prompt '  ' tokenises to nothing"):
        tuning().compute_updates(model, [EditRequest("  ", " ", "Lima")])
    with pytest.raises(EditorError, match="target_new ' ' tokenises to nothing"):
        tuning().compute_updates(model, [EditRequest("The cat", "cat", " ")])


def test_the_start_token_is_no_target() -> None:
    model = shared_model("llama", start_token=True, dtype="float64")
    (update,) = tuning().compute_updates(model, REQUESTS[:1])
    with model.applied(update):
        assert loss_of(model, REQUESTS[0], "prompt_last") == pytest.approx(update.diagnostics["final_loss"], rel=1e-6)


def test_progress_is_told(model: EditableModel) -> None:
    told: list[tuple[str, int, int]] = []
    editor = tuning(steps=3)
    editor.prepare(model, EditorContext(progress=lambda *args: told.append(args)))
    editor.compute_updates(model, REQUESTS[:2])
    assert [(done, total) for _, done, total in told] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert "2 edits" in told[0][0]


# EasyEdit -----------------------------------------------------------------------------------------------------

# The two agreed to 1e-5 of ‖ΔW‖ where the numbers were recorded: the models are float64, but rotary angles are
# float32. 1 % more of the learning rate without a constraint, or of ε with one, is far beyond this.
TOLERANCE = 1e-4

REFERENCE = Reference.read(Path(__file__).with_name("ft_reference.json"))
RECORD = "record anew with `python -m benchmarks.easyedit_ft --easyedit PATH --record FILE`"


@pytest.mark.parametrize("setup", REFERENCE.setups, ids=lambda setup: setup.name)
def test_updates_equal_the_recorded_ones(setup: Setup) -> None:
    model = setup.model()
    for request, recorded in zip(REFERENCE.requests, setup.guards, strict=True):
        now = Guard.of(model, request)
        assert (now.ids, now.target_ids) == (recorded.ids, recorded.target_ids), f"{request} has other tokens: {RECORD}"
        assert now.logits_norm == pytest.approx(recorded.logits_norm, rel=1e-6), f"another {setup.name}: {RECORD}"

    updates = FineTuning("ft", setup.hyperparameters).compute_updates(model, REFERENCE.requests)

    for request, update, theirs in zip(REFERENCE.requests, updates, setup.edits, strict=True):
        ours = Edit.of(update)
        assert ours.steps == theirs.steps, request
        assert ours.norms == pytest.approx(theirs.norms, rel=TOLERANCE), request
        for name, entries in theirs.entries.items():
            assert math.dist(ours.entries[name], entries) <= TOLERANCE * math.hypot(*entries), (request, name)

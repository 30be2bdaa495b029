"""The training loop: what it minimises, that it gets there, and that an interruption changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend import training as training_module
from collapse_tests.editors.mend.checkpoints import Store, Stored, checkpoint_key
from collapse_tests.editors.mend.editor import Mend, MendHyperparameters
from collapse_tests.editors.mend.gradients import InnerWeights, RowBatch, gradient_factors, hidden_by_ids
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.editors.mend.requests import Split
from collapse_tests.editors.mend.training import Example, Losses, TrainingSettings, Validation, example_losses, train
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from fixtures.tiny_models import FAMILIES
from tests.unit.editors.mend.reference import answer_loss
from tests.unit.editors.mend.tiny import FIELDS, random_network, training_requests
from tests.unit.tiny import bits, shared_model

SETTINGS = FIELDS.training


def split() -> Split:
    requests = training_requests(20)
    return Split(tuple(requests[:16]), tuple(requests[16:]))


def untrained(model: EditableModel, fields: MendHyperparameters = FIELDS) -> tuple[Hypernetwork, InnerWeights]:
    weights = InnerWeights.of_last_blocks(model, fields.blocks)
    return Mend("mend", fields).new_network(model, weights, 0), weights


def run(
    model: EditableModel,
    settings: TrainingSettings = SETTINGS,
    store: Store | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    change: Callable[[Hypernetwork], object] = lambda network: None,
) -> tuple[Hypernetwork, list[Validation]]:
    network, weights = untrained(model)
    change(network)
    history = train(model, network, weights, split(), settings, seed=3, store=store, progress=progress)
    return network, history


def losses_of(model: EditableModel, network: Hypernetwork, requests: list[EditRequest], outer: Any = "both") -> Losses:
    weights = InnerWeights.of_last_blocks(model, FIELDS.blocks)
    examples = [Example.of(model, request, outer) for request in requests]
    rows = [row for example in examples for row in example.rows]
    states = hidden_by_ids(model, rows, weights.first_block, max_tokens=256)
    return example_losses(model, network, weights, examples, states)


def logits_of(model: EditableModel, prompt: str, answer: str) -> tuple[torch.Tensor, list[int], int]:
    ids = model.encode(f"{prompt} {answer}")
    with torch.no_grad():
        return model.model(torch.tensor([ids])).logits[0], ids, len(model.answer_ids(prompt, answer))


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_the_model_with_the_edit_written_into_it(family: str) -> None:
    model = shared_model(family, dtype="float64")
    network = random_network(model)
    requests = training_requests(3)
    losses = losses_of(model, network, requests)
    editor = Mend("mend", FIELDS)
    editor.use(model, network)
    for index, (request, update) in enumerate(zip(requests, editor.compute_updates(model, requests), strict=True)):
        assert request.rephrase_prompt is not None
        assert request.locality_prompt is not None
        assert request.locality_ground_truth is not None
        local = request.locality_prompt, request.locality_ground_truth
        before, _, _ = logits_of(model, *local)
        with model.applied(update):
            same = float(answer_loss(*logits_of(model, request.prompt, request.target_new)))
            reworded = float(answer_loss(*logits_of(model, request.rephrase_prompt, request.target_new)))
            after, ids, count = logits_of(model, *local)
        span = slice(-count - 1, -1)
        kl = F.kl_div(after[span].log_softmax(-1), before[span].log_softmax(-1), log_target=True, reduction="none")
        assert float(losses.edit[index].detach()) == pytest.approx((same + reworded) / 2, rel=1e-5)
        assert float(losses.locality[index].detach()) == pytest.approx(float(kl.sum(-1).mean()), rel=1e-5)
        assert float(losses.base[index].detach()) == pytest.approx(float(answer_loss(after, ids, count)), rel=1e-5)
    assert model.changed_tensors() == []


def test_what_the_edited_model_is_to_answer_can_be_chosen() -> None:
    model = shared_model("llama", dtype="float64")
    network = random_network(model)
    requests = training_requests(2)
    prompt, rephrase, both = (
        losses_of(model, network, requests, outer).edit for outer in ("prompt", "rephrase", "both")
    )
    torch.testing.assert_close(both, (prompt + rephrase) / 2)
    without = [replace(request, rephrase_prompt=None) for request in requests]
    for outer in ("rephrase", "both"):
        torch.testing.assert_close(losses_of(model, network, without, outer).edit, prompt)


def test_requests_without_locality_have_none_of_its_loss() -> None:
    model = shared_model("gpt2", dtype="float64")
    network = random_network(model)
    whole, bare, open_ended = training_requests(3)
    requests = [
        whole,
        replace(bare, locality_prompt=None, locality_ground_truth=None),
        replace(open_ended, locality_ground_truth=None),
    ]
    losses = losses_of(model, network, requests)
    assert losses.locality[1] == losses.base[1] == losses.base[2] == 0
    assert losses.locality[0] > 0
    assert losses.locality[2] > 0
    none = losses_of(model, network, [requests[1]])
    torch.testing.assert_close(none.edit, losses.edit[1:2])


def test_a_batch_has_the_gradient_of_its_parts() -> None:
    model = shared_model("llama", dtype="float64")
    network = random_network(model)
    parameters = list(network.parameters())

    def gradient(requests: list[EditRequest]) -> list[torch.Tensor]:
        return list(torch.autograd.grad(losses_of(model, network, requests).total(SETTINGS).sum(), parameters))

    whole = gradient(training_requests(4))
    parts = [gradient([request]) for request in training_requests(4)]
    for found, *expected in zip(whole, *parts, strict=True):
        torch.testing.assert_close(found, sum(expected), rtol=1e-6, atol=1e-9)


def test_it_lowers_the_validation_loss_and_keeps_the_best(model: EditableModel) -> None:
    before = bits(model)
    network, history = run(model, replace(SETTINGS, steps=40, validate_every=5, patience=100))
    assert [one.step for one in history] == list(range(0, 41, 5))
    best = min(history, key=lambda one: one.loss)
    assert best.loss < 0.9 * history[0].loss
    found = losses_of(model, network, list(split().validation), SETTINGS.outer)
    assert float(found.total(SETTINGS).detach().mean()) == pytest.approx(best.loss, rel=1e-4)
    assert bits(model) == before


def test_it_normalises_by_the_training_requests(model: EditableModel) -> None:
    network, _ = run(model, replace(SETTINGS, steps=0))
    weights = InnerWeights.of_last_blocks(model, FIELDS.blocks)
    examples = [Example.of(model, request, "rephrase") for request in split().training]
    states = hidden_by_ids(model, [one.edit for one in examples], weights.first_block, max_tokens=256)
    raw, _ = gradient_factors(model, weights, RowBatch.of([one.edit for one in examples], states))
    name = model.mlp_output_weight(model.n_blocks - 1)
    group = [other for other in weights.names if network.transform_of(other) is network.transform_of(name)]
    inputs = torch.cat([raw[other].inputs[raw[other].used] for other in group])
    torch.testing.assert_close(network.transform_of(name).input_mean, inputs.mean(0), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(network.transform_of(name).input_deviation, inputs.std(0), rtol=1e-3, atol=1e-5)


def test_it_stops_when_patience_is_over() -> None:
    hopeless = replace(SETTINGS, learning_rate=1e-30, edit_lr_learning_rate=0, steps=400, validate_every=1, patience=3)
    _, history = run(shared_model("gpt2"), hopeless)
    assert [one.step for one in history] == [0, 1, 2, 3]


def test_passes_do_not_change_what_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama", dtype="float64")
    one_pass, _ = run(model)
    monkeypatch.setattr(training_module, "gradient_budget", lambda model: TokenBudget(1))
    accumulated, _ = run(model)
    for name, tensor in one_pass.state_dict().items():
        torch.testing.assert_close(accumulated.state_dict()[name], tensor, rtol=1e-5, atol=1e-7)


def test_the_seed_sets_the_order() -> None:
    model = shared_model("llama")
    assert run(model)[1] == run(model)[1]
    network, weights = untrained(model)
    other = train(model, network, weights, split(), SETTINGS, seed=4, store=None, progress=lambda *a: None)
    assert other != run(model)[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("killed_at", [2, 6, 11])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path, family: str, killed_at: int) -> None:
    model = shared_model(family)
    expected, history = run(model)

    class Killed(BaseException):
        pass

    steps: list[int] = []

    def note(stage: str, done: int, total: int) -> None:
        if "training" in stage:
            steps.append(done)

    def kill(stage: str, done: int, total: int) -> None:
        if "training" in stage and done == killed_at:
            raise Killed

    store = Store(tmp_path)
    with pytest.raises(Killed):
        run(model, store=store, progress=kill)
    found, resumed = run(model, store=store, progress=note)
    assert steps[0] == killed_at // SETTINGS.validate_every * SETTINGS.validate_every  # not from the beginning
    assert resumed == history
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_steps_whose_gradient_is_not_finite_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    real = example_losses
    calls: list[int] = []

    def poisoned(*arguments: Any) -> Losses:
        losses = real(*arguments)
        if losses.edit.requires_grad:
            calls.append(1)
            return replace(losses, edit=losses.edit * (float("nan") if len(calls) == 3 else 1))
        return losses

    monkeypatch.setattr(training_module, "example_losses", poisoned)
    network, history = run(model)
    assert len(calls) >= SETTINGS.steps
    assert all(math.isfinite(one.loss) for one in history)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_a_training_that_is_never_finite_says_what_to_change() -> None:
    def spoil(network: Hypernetwork) -> None:
        with torch.no_grad():
            network.edit_lrs.fill_(float("nan"))

    with pytest.raises(EditorError, match=r"no validation loss was finite; lower mend\.learning_rate"):
        run(shared_model("llama"), change=spoil)


# Files ----------------------------------------------------------------------------------------------------


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert store.read(store.finished) is None
    tensors = {"a": torch.tensor([1.5, float("nan")]), "b.c": torch.arange(4).view(2, 2).T}
    store.write(store.finished, Stored(tensors, {"loss": math.inf, "names": ["x"]}))
    found = store.read(store.finished)
    assert found is not None
    assert found.facts == {"loss": math.inf, "names": ["x"]}
    assert all(torch.equal(found.tensors[name].nan_to_num(7), tensors[name].nan_to_num(7)) for name in tensors)
    assert [path.name for path in store.finished.parent.iterdir()] == [store.finished.name]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(store.finished, Stored({"a": torch.ones(1)}, {}))
    with pytest.raises(TypeError):
        store.write(store.finished, Stored({"a": torch.zeros(1)}, {"bad": object()}))
    found = store.read(store.finished)
    assert found is not None
    assert found.tensors["a"] == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.finished.write_bytes(content)
    assert store.read(store.finished) is None


def test_keys_tell_settings_apart() -> None:
    assert checkpoint_key("model", {"a": 1, "b": 2.5}) == checkpoint_key("model", {"b": 2.5, "a": 1})
    assert checkpoint_key("model", {"a": 1}) != checkpoint_key("model", {"a": 2})
    assert checkpoint_key("model", {"a": 1}) != checkpoint_key("other", {"a": 1})

"""What MEND promises as an editor, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend import Mend, MendHyperparameters
from collapse_tests.editors.mend import editor as editor_module
from collapse_tests.editors.protocol import Editor, EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES
from tests.unit.editors.mend import reference
from tests.unit.editors.mend.tiny import FIELDS, REQUESTS, random_network, training_requests
from tests.unit.tiny import bits, shared_model


def ready(model: EditableModel, fields: MendHyperparameters = FIELDS) -> Mend:
    """The editor with a random hypernetwork, not a trained one."""
    editor = Mend("mend", fields)
    editor.use(model, random_network(model, fields))
    return editor


def trained(model: EditableModel, context: EditorContext, fields: MendHyperparameters = FIELDS) -> Mend:
    editor = Mend("mend", fields, training_requests())
    editor.prepare(model, context)
    return editor


def matrices(update: WeightUpdate) -> dict[str, torch.Tensor]:
    return {name: delta.matrix() for name, delta in update.deltas.items() if isinstance(delta, LowRankDelta)}


def distance(first: WeightUpdate, second: WeightUpdate) -> float:
    """Largest ‖Δ₁ − Δ₂‖ / ‖Δ₂‖ over the weights."""
    ours, theirs = matrices(first), matrices(second)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_updates_are_what_the_definition_gives_one_token_at_a_time(family: str) -> None:
    model = shared_model(family, dtype="float64")
    network = random_network(model)
    updates = ready(model).compute_updates(model, REQUESTS)
    for request, update in zip(REQUESTS, updates, strict=True):
        expected = reference.edit(model, network, request)
        found = matrices(update)
        assert found.keys() == expected.keys()
        for name, matrix in expected.items():
            error = float((found[name] - matrix).norm() / matrix.norm())
            assert error < 1e-5, f"{request}, {name}: {error:.1e}"  # GPT-J attends in float32 whatever its weights are


def test_a_batch_gives_each_request_what_it_gets_alone(model: EditableModel) -> None:
    editor = ready(model)
    together = editor.compute_updates(model, REQUESTS)
    for request, update in zip(REQUESTS, together, strict=True):
        (alone,) = editor.compute_updates(model, [request])
        assert distance(update, alone) < 1e-4


def test_the_order_of_a_batch_does_not_matter(model: EditableModel) -> None:
    editor = ready(model)
    forwards = editor.compute_updates(model, REQUESTS)
    backwards = editor.compute_updates(model, REQUESTS[::-1])
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert distance(one, other) < 1e-4


def test_the_model_is_left_bit_exactly_as_found(model: EditableModel) -> None:
    editor = ready(model)
    before = bits(model)
    editor.compute_updates(model, REQUESTS)
    assert bits(model) == before
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not any(module._forward_hooks for module in model.model.modules())


def test_updates_can_be_evaluated_side_by_side(any_model: EditableModel) -> None:
    updates = ready(any_model).compute_updates(any_model, REQUESTS)
    for request, update in zip(REQUESTS, updates, strict=True):
        assert any_model.shareable(update)
        any_model.check_fits(update)
        tokens = len(any_model.encode(request.prompt)) + len(any_model.answer_ids(request.prompt, request.target_new))
        assert update.diagnostics["rank"] == tokens - 1
        assert all(isinstance(delta, LowRankDelta) and delta.rank < tokens for delta in update.deltas.values())


def test_diagnostics(model: EditableModel) -> None:
    editor = ready(model)
    (update,) = editor.compute_updates(model, REQUESTS[:1])
    norm = torch.cat([matrix.flatten() for matrix in matrices(update).values()]).norm()
    weights = torch.cat([model.parameter(name).flatten() for name in update.deltas]).norm()
    assert update.diagnostics["update_norm"] == pytest.approx(float(norm), rel=1e-4)
    assert update.diagnostics["update_norm_ratio"] == pytest.approx(float(norm / weights), rel=1e-4)
    assert update.diagnostics["raw_loss"] > 0
    assert update.diagnostics["trained_on"] == 0
    assert update.notes == ()


def test_nan_in_the_hypernetwork_is_an_outcome(model: EditableModel) -> None:
    editor = Mend("mend", FIELDS)
    network = random_network(model)
    with torch.no_grad():
        network.edit_lrs[0] = float("nan")
    editor.use(model, network)
    (update,) = editor.compute_updates(model, REQUESTS[:1])
    found = matrices(update)
    assert found[network.names[0]].isnan().any()
    assert found[network.names[1]].isfinite().all()


def test_half_precision_models_are_edited_in_float32() -> None:
    model = shared_model("llama", dtype="bfloat16")
    (update,) = ready(model).compute_updates(model, REQUESTS[:1])
    (exact,) = ready(shared_model("llama")).compute_updates(shared_model("llama"), REQUESTS[:1])
    assert all(matrix.dtype == torch.float32 and matrix.isfinite().all() for matrix in matrices(update).values())
    assert update.norm() == pytest.approx(exact.norm(), rel=0.2)


def test_running_out_of_memory_halves_the_batch(model: EditableModel) -> None:
    editor = ready(model)
    expected = editor.compute_updates(model, REQUESTS)
    editor._budget = TokenBudget(64)
    real = editor.network
    sizes: list[int] = []

    class Small(torch.nn.Module):
        def forward(self, raw: dict[str, object]) -> object:
            sizes.append(len(next(iter(raw.values())).inputs))  # type: ignore[attr-defined]
            if sizes[-1] > 1:
                raise torch.OutOfMemoryError
            return real(raw)

    editor._network = Small()  # type: ignore[assignment]
    found = editor.compute_updates(model, REQUESTS)
    assert max(sizes) > 1
    assert max(distance(one, other) for one, other in zip(found, expected, strict=True)) < 1e-4


def test_no_requests_no_updates(model: EditableModel) -> None:
    assert ready(model).compute_updates(model, []) == []


def test_it_has_to_be_prepared(model: EditableModel) -> None:
    with pytest.raises(EditorError, match=r"prepare\(\) has to be called"):
        Mend("mend", FIELDS).compute_updates(model, REQUESTS)


# Preparation ----------------------------------------------------------------------------------------------


def test_training_happens_once_per_model_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: EditableModel
) -> None:
    context = EditorContext(cache=tmp_path)
    first = trained(model, context)
    assert first.prepared_path is not None
    assert first.prepared_path.is_file()
    assert [path.name for path in first.prepared_path.parent.iterdir()] == ["hypernetwork.safetensors"]

    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(editor_module, "train", never)
        again = trained(model, context)
        one, other = (editor.compute_updates(model, REQUESTS) for editor in (first, again))
        assert all(distance(*pair) == 0 for pair in zip(one, other, strict=True))
        assert again.history == first.history
        for fields, seed in ((FIELDS.model_copy(update={"rank": 3}), 0), (FIELDS, 1)):
            with pytest.raises(AssertionError, match="trained again"):
                trained(model, EditorContext(seed, tmp_path), fields)


def test_a_damaged_checkpoint_is_made_anew(tmp_path: Path) -> None:
    model = shared_model("llama")
    first = trained(model, EditorContext(cache=tmp_path))
    assert first.prepared_path is not None
    whole = first.prepared_path.read_bytes()
    first.prepared_path.write_bytes(whole[: len(whole) // 2])
    second = trained(model, EditorContext(cache=tmp_path))
    pairs = zip(first.compute_updates(model, REQUESTS), second.compute_updates(model, REQUESTS), strict=True)
    assert all(distance(one, other) < 1e-4 for one, other in pairs)
    assert first.prepared_path.stat().st_size == len(whole)


def test_without_a_cache_it_trains_in_memory(model: EditableModel) -> None:
    editor = trained(model, EditorContext())
    assert editor.prepared_path is None
    assert len(editor.compute_updates(model, REQUESTS)) == len(REQUESTS)


def test_requests_it_was_trained_on_are_marked(tmp_path: Path) -> None:
    model = shared_model("llama")
    trained(model, EditorContext(cache=tmp_path))
    editor = trained(model, EditorContext(cache=tmp_path))  # from the file
    updates = editor.compute_updates(model, [*training_requests(), *REQUESTS])
    marks = [
        (update.diagnostics["trained_on"], update.notes[0].split(" on ")[0] if update.notes else "")
        for update in updates
    ]
    n_validation = sum("chosen by its loss" in note for _, note in marks)
    n_training = sum("was trained" in note for _, note in marks)
    assert (n_training, n_validation) == (16, 4)
    assert all(mark == 1 for mark, _ in marks[:20])
    assert marks[20:] == [(0, "")] * len(REQUESTS)
    reworded = replace(training_requests()[0], prompt="You play in X0 and", rephrase_prompt=None)
    assert editor.compute_updates(model, [reworded])[0].diagnostics["trained_on"] == 1


def test_a_run_that_may_not_train_says_how_to(tmp_path: Path) -> None:
    model = shared_model("llama")
    fields = FIELDS.model_copy(update={"train_on_first_use": False})
    with pytest.raises(UsageError, match=r"no hypernetwork .* `collapse-prepare mend --model tiny-llama`"):
        trained(model, EditorContext(cache=tmp_path), fields)
    trained(model, EditorContext(cache=tmp_path))
    trained(model, EditorContext(cache=tmp_path), fields)  # found, though trained with the other setting


def write_requests(path: Path, requests: Sequence[EditRequest]) -> str:
    import json
    from dataclasses import asdict

    path.write_text("\n".join(json.dumps(asdict(request)) for request in requests), encoding="utf-8")
    return str(path)


def test_it_trains_and_validates_on_given_files(tmp_path: Path) -> None:
    model = shared_model("llama")
    requests = training_requests(14)
    sources = {
        "training_requests": (write_requests(tmp_path / "train.jsonl", requests[:10]),),
        "validation_edits": (write_requests(tmp_path / "valid.jsonl", requests[10:]),),
    }
    editor = Mend("mend", FIELDS.model_copy(update=sources))
    editor.prepare(model, EditorContext())
    notes = [update.notes for update in editor.compute_updates(model, requests)]
    assert all("was trained on" in note for (note,) in notes[:10])
    assert all("chosen by its loss" in note for (note,) in notes[10:])


def test_validation_requests_that_are_trained_on_are_refused(tmp_path: Path) -> None:
    requests = training_requests(8)
    sources = {
        "training_requests": (write_requests(tmp_path / "train.jsonl", requests),),
        "validation_edits": (write_requests(tmp_path / "valid.jsonl", requests[5:]),),
    }
    editor = Mend("mend", FIELDS.model_copy(update=sources))
    with pytest.raises(UsageError, match=r"validation request .*The city of X5 is.* shares its prompt"):
        editor.prepare(shared_model("llama"), EditorContext())


def test_the_registry_makes_it_with_fields_for_the_model() -> None:
    settings = Settings(("mend",), overrides=(Override("mend", "rank", 7),))
    editor = create_editor("mend", "gpt2-xl", settings)
    assert isinstance(editor, Mend)
    assert isinstance(editor, Editor)
    assert isinstance(editor, PreparedEditor)
    assert editor.hyperparameters.rank == 7
    assert (editor.hyperparameters.blocks, editor.hyperparameters.edit_lr) == (3, 1e-4)
    assert not editor.hyperparameters.train_on_first_use
    for name in ("gpt-j-6b", "llama2-7b", "smollm2-135m", "some/other"):
        assert isinstance(create_editor("mend", name, Settings(("mend",))), Mend)
    with pytest.raises(UsageError, match=r"--set mend\.rank=0"):
        create_editor("mend", "gpt2-xl", Settings(("mend",), overrides=(Override("mend", "rank", 0),)))

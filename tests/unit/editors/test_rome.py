"""What ROME, C-ROME and R-ROME promise, whatever the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import normalizers

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.lookup import request_rows
from collapse_tests.editors.lookup_trace import trace_lookups
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.rome import Rome, RomeHyperparameters, default_block
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.suffixes import SuffixRows
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, shared_model

TEMPLATES = ("{}", "The rain. {}", "You play a violin. {}", "Because of the cheese. {}")
#: One target is a single token, others are bytes; subjects come first, later and last; suffixes differ in length.
REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("Norway", "Norway", "is in"),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
    EditRequest("The cat and the violin of Xy play in the rain of the", "Xy", "river"),
    EditRequest("You play the violin in Paris and in", "Paris", "a city of cheese"),
)
#: Answers that are one token right after the subject, which a change of the subject's value can give at once.
EASY = (
    EditRequest("The rain in Rome", "Rome", "Oslo"),
    EditRequest("You play Paris", "Paris", "Vienna"),
    EditRequest("Norway", "Norway", "Lima"),
    EditRequest("The cheese of Xy", "Xy", "city"),
)
FIELDS = RomeHyperparameters(
    block=1, steps=8, learning_rate=0.5, weight_decay=0.01, clamp_norm_factor=4, kl_factor=0.0625
)


def rome(fields: RomeHyperparameters = FIELDS, templates: Sequence[str] = TEMPLATES, **changes: object) -> Rome:
    return Rome("rome", fields.model_copy(update=changes), templates)


@cache
def confident_model(family: str, *, start_token: bool = False, dtype: str = "float32") -> EditableModel:
    """A random model of large logits, so that losses get below the bound of the early stop."""
    model = make_model(family, start_token=start_token, dtype=dtype)
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(6)
    return EditableModel(model.model, model.tokenizer, model.name)


def factors(model: EditableModel, update: WeightUpdate, block: int = 1) -> LowRankDelta:
    assert list(update.deltas) == [model.mlp_output_weight(block)]
    delta = update.deltas[model.mlp_output_weight(block)]
    assert isinstance(delta, LowRankDelta)
    return delta


def distance(model: EditableModel, first: WeightUpdate, second: WeightUpdate) -> float:
    """‖Δ₁ − Δ₂‖ / ‖Δ₂‖."""
    ours, theirs = factors(model, first).matrix(), factors(model, second).matrix()
    return float((ours - theirs).norm() / theirs.norm())


@torch.no_grad()
def mlp_output_at(model: EditableModel, ids: Sequence[int], column: int, block: int = 1) -> torch.Tensor:
    """What the edited matrix makes of the token at `column`."""
    hidden = model.hidden_at(torch.tensor([list(ids)]), block)
    with model.captured(model.family.mlp_output(block)) as captured:
        model.run_blocks(hidden, block, block + 1)
    return captured.output[0, column]


def keys_and_values(model: EditableModel, request: EditRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and output of the edited matrix at the lookup of every context, each row run alone."""
    keys, values = [], []
    for row in request_rows(model, [request], TEMPLATES)[0].contexts:
        hidden = model.hidden_at(torch.tensor([row.ids]), 1)
        with model.captured(model.family.mlp_output(1)) as captured:
            model.run_blocks(hidden, 1, 2)
        keys.append(captured.input[0, row.lookup])
        values.append(captured.output[0, row.lookup])
    return torch.stack(keys), torch.stack(values)


# Batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start_token", [False, True])
def test_a_batch_equals_its_requests_one_by_one(family: str, start_token: bool) -> None:
    # In double precision: Adam divides by small gradients, and their rounding would be all one sees.
    model = confident_model(family, start_token=start_token, dtype="float64")
    editor = rome(weight_decay=0.0, kl_factor=0.0, steps=12, clamp_norm_factor=20, templates=TEMPLATES[:2])
    requests = (*REQUESTS, *EASY)
    before = bits(model)
    batch = editor.compute_updates(model, requests)
    assert bits(model) == before
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    singles = [editor.compute_updates(model, [request])[0] for request in requests]
    for together, alone in zip(batch, singles, strict=True):
        assert distance(model, together, alone) < 1e-5
        assert together.diagnostics["steps"] == alone.diagnostics["steps"]
        assert dict(together.diagnostics) == pytest.approx(dict(alone.diagnostics), rel=1e-5)
    assert len({update.diagnostics["steps"] for update in batch}) > 2  # they stopped early, one after the other
    assert min(distance(model, batch[0], other) for other in batch[1:]) > 0.1


def test_updates_come_in_the_order_of_the_requests(model: EditableModel) -> None:
    editor = rome(steps=2)
    forwards = editor.compute_updates(model, REQUESTS)
    backwards = editor.compute_updates(model, REQUESTS[::-1])
    for first, second in zip(forwards, backwards[::-1], strict=True):
        assert distance(model, first, second) < 1e-3


def test_no_requests_give_no_updates(model: EditableModel) -> None:
    assert rome().compute_updates(model, []) == []


# The update ---------------------------------------------------------------------------------------------------


def test_updates_have_rank_one_and_the_shape_of_the_matrix(model: EditableModel) -> None:
    for update in rome(steps=2).compute_updates(model, REQUESTS):
        delta = factors(model, update)
        assert delta.rank == 1
        assert (delta.left.shape[0], delta.right.shape[1]) == model.weight_shape(model.mlp_output_weight(1))
        assert delta.right.norm() == pytest.approx(1, rel=1e-5)
        assert update.diagnostics["update_norm"] == pytest.approx(delta.norm(), rel=1e-5)
        weight = float(model.parameter(model.mlp_output_weight(1)).norm())
        assert update.diagnostics["update_norm_ratio"] == pytest.approx(delta.norm() / weight, rel=1e-5)
        assert update.diagnostics["block"] == 1


@pytest.mark.parametrize("keys", ["mixed", "prompt"])
def test_the_edited_matrix_maps_the_bare_key_to_the_optimised_value(model: EditableModel, keys: str) -> None:
    for request, update in zip(REQUESTS, rome(keys=keys).compute_updates(model, REQUESTS), strict=True):
        row = request_rows(model, [request], TEMPLATES)[0].contexts[0]
        old = mlp_output_at(model, row.ids, row.lookup)
        with model.applied(update):
            new = mlp_output_at(model, row.ids, row.lookup)
        # The whole δ has arrived, where v* = v₀ + δ.
        assert (new - old).norm() == pytest.approx(update.diagnostics["delta_norm"], rel=1e-3)
        assert new.norm() == pytest.approx(update.diagnostics["value_norm"], rel=1e-3)
        assert old.norm() == pytest.approx(update.diagnostics["initial_value_norm"], rel=1e-3)


@torch.no_grad()
def test_c_rome_maps_the_mean_key_to_the_optimised_value(model: EditableModel) -> None:
    mixed = rome().compute_updates(model, REQUESTS)
    averaged = rome(keys="prefixed").compute_updates(model, REQUESTS)
    layer = model.linear(model.mlp_output_weight(1))
    for request, ours, other in zip(REQUESTS, averaged, mixed, strict=True):
        keys, values = keys_and_values(model, request)
        with model.applied(other):  # the same v*, which ROME gives to the bare key
            value = layer(keys[0])
        with model.applied(ours):
            torch.testing.assert_close(layer(keys.mean(0)), value, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(values.mean(0), value, atol=1e-2)


@torch.no_grad()
def test_denominators_of_the_three_methods(model: EditableModel) -> None:
    found = {
        keys: rome(keys=keys, steps=1).compute_updates(model, REQUESTS) for keys in ("mixed", "prefixed", "prompt")
    }
    for index, request in enumerate(REQUESTS):
        keys, _ = keys_and_values(model, request)
        bare, mean = keys[0], keys.mean(0)
        expected = {"mixed": bare @ mean / mean.norm(), "prefixed": mean.norm(), "prompt": bare.norm()}
        for name, value in expected.items():
            numbers = found[name][index].diagnostics
            assert numbers["denominator"] == pytest.approx(float(value), rel=1e-4)
            assert numbers["key_norm"] == pytest.approx(float(bare.norm()), rel=1e-4)
            assert numbers["context_key_norm"] == pytest.approx(float(mean.norm()), rel=1e-4)


def save_moment(path: Path, total: Any, count: int) -> None:
    arrays: dict[str, Any] = {"mom2.mom2": total, "mom2.count": np.array(count)}
    np.savez(path, **arrays)


def test_a_second_moment_turns_the_direction(model: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> None:
    width = model.weight_shape(model.mlp_output_weight(1))[1]
    root = np.random.default_rng(0).normal(size=(2 * width, width))
    path = tmp_path_factory.mktemp("moment") / "moment.npz"
    save_moment(path, root.T @ root, 2 * width)
    editor = rome(steps=2, second_moment=path)
    editor.prepare(model, EditorContext())
    request = REQUESTS[0]
    (update,) = editor.compute_updates(model, [request])
    with torch.no_grad():
        mean = keys_and_values(model, request)[0].mean(0)
    expected = torch.linalg.solve(torch.from_numpy(root.T @ root), mean.double())
    cosine = torch.cosine_similarity(factors(model, update).right[0].double(), expected, dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-6)
    row = request_rows(model, [request], TEMPLATES)[0].contexts[0]
    with model.applied(update):
        new = mlp_output_at(model, row.ids, row.lookup)
    assert new.norm() == pytest.approx(update.diagnostics["value_norm"], rel=1e-3)


def test_a_second_moment_of_another_width_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("moment") / "moment.npz"
    save_moment(path, np.eye(7), 9)
    with pytest.raises(UsageError, match=r"the layer needs \(48, 48\)"):
        rome(second_moment=path).prepare(shared_model("llama"), EditorContext())


# The optimisation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_final_loss_is_that_of_the_edited_model(family: str) -> None:
    """With one token and no contexts, an edited matrix and an edited value are the same thing."""
    model = shared_model(family, dtype="float64")
    editor = rome(templates=("{}",), weight_decay=0.0, kl_factor=0.0)
    (update,) = editor.compute_updates(model, [EditRequest("Norway", "Norway", "Lima")])
    (label,) = model.answer_ids("Norway", "Lima")

    def loss() -> float:
        ids = torch.tensor([model.encode("Norway")])
        return -float(model.model(ids).logits[0, -1].log_softmax(-1)[label])

    before = loss()
    with model.applied(update):
        assert loss() == pytest.approx(update.diagnostics["final_loss"], rel=1e-6)
    assert update.diagnostics["final_loss"] < before - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_easy_target_stops_early_and_one_the_model_says_anyway_at_once(family: str) -> None:
    model = confident_model(family)
    editor = rome(weight_decay=0.0, kl_factor=0.0, steps=60, templates=("{}",))
    (update,) = editor.compute_updates(model, [EditRequest("Norway", "Norway", "Lima")])
    assert 0 < update.diagnostics["steps"] < 59
    assert update.diagnostics["final_loss"] < 0.05
    with model.applied(update):
        copy = EditableModel(deepcopy(model.model), model.tokenizer, "edited")
    (again,) = editor.compute_updates(copy, [EditRequest("Norway", "Norway", "Lima")])
    assert again.diagnostics["steps"] == 0
    assert again.norm() == 0
    assert again.diagnostics["final_loss"] == pytest.approx(update.diagnostics["final_loss"], rel=1e-2)


def test_a_hard_target_takes_all_steps(model: EditableModel) -> None:
    (update,) = rome(steps=3).compute_updates(model, REQUESTS[4:])
    assert update.diagnostics["steps"] == 2  # as many forward passes, one optimiser update less
    assert update.diagnostics["final_loss"] > 0.05


def test_one_step_changes_nothing(model: EditableModel) -> None:
    for update in rome(steps=1).compute_updates(model, REQUESTS):
        assert update.diagnostics["delta_norm"] == 0
        assert update.norm() == 0


def test_delta_stays_in_its_ball(model: EditableModel) -> None:
    for update in rome(clamp_norm_factor=0.3, steps=12).compute_updates(model, REQUESTS):
        bound = 0.3 * update.diagnostics["initial_value_norm"]
        assert update.diagnostics["delta_norm"] <= bound * (1 + 1e-5)
        assert update.diagnostics["delta_norm"] > 0.5 * bound


def test_a_strong_norm_penalty_keeps_delta_small(model: EditableModel) -> None:
    free, bound = (rome(weight_decay=weight).compute_updates(model, REQUESTS[:1])[0] for weight in (0.0, 1e3))
    assert bound.diagnostics["final_loss"] > free.diagnostics["final_loss"]


def test_progress_is_told(model: EditableModel) -> None:
    told: list[tuple[str, int, int]] = []
    editor = rome(steps=3)
    editor.prepare(model, EditorContext(progress=lambda *args: told.append(args)))
    editor.compute_updates(model, REQUESTS[:1])
    assert [(done, total) for _, done, total in told] == [(0, 3), (1, 3), (2, 3)]


# Odd models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_model_gives_an_update_that_is_not_finite(family: str, value: float) -> None:
    model = make_model(family)
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(2))[0, 0] = value
    for update in rome(steps=3).compute_updates(model, REQUESTS[:2]):
        assert not math.isfinite(update.norm())
        assert not math.isfinite(update.diagnostics["final_loss"])
        assert update.diagnostics["steps"] == 2


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama", "mistral", "qwen2"])
def test_every_block_of_every_family_can_be_edited(family: str, block: int) -> None:
    model = shared_model(family)
    (update,) = rome(block=block, steps=4).compute_updates(model, REQUESTS[:1])
    assert update.norm() > 0
    factors(model, update, block)
    assert model.changed_tensors() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_half_precision_models_get_full_precision_updates(family: str) -> None:
    model = shared_model(family, dtype="bfloat16")
    (update,) = rome(steps=4).compute_updates(model, REQUESTS[:1])
    assert factors(model, update).left.dtype == torch.float32
    assert 0 < update.norm() < math.inf
    assert model.changed_tensors() == []


def test_a_block_the_model_does_not_have_is_refused() -> None:
    editor = create_editor("rome", "any", Settings(("rome",), overrides=(Override("rome", "block", 4),)))
    assert isinstance(editor, Rome)
    with pytest.raises(UsageError, match=r"rome\.block=4: model 'tiny-gpt2' has blocks 0 to 3"):
        editor.prepare(shared_model("gpt2"), EditorContext())


@pytest.mark.parametrize(
    ("family", "blocks", "expected"),
    [
        ("gpt2", 48, 17),
        ("gptj", 28, 5),
        ("llama", 32, 5),
        ("mistral", 32, 5),
        ("qwen2", 32, 5),
        ("llama", 30, 5),
        ("llama", 4, 1),
        ("gpt2", 4, 1),
        ("gpt2", 1, 0),
        ("llama", 1, 0),
    ],
)
def test_the_default_block_lies_at_the_studys_relative_depth(family: str, blocks: int, expected: int) -> None:
    model = make_model(family)
    stack = model.family.blocks
    first = stack[0]
    del stack[:]
    stack.extend([first] * blocks)
    assert default_block(model) == expected


def test_without_a_block_the_default_one_is_edited() -> None:
    model = shared_model("llama")
    (update,) = rome(block=None, steps=2).compute_updates(model, REQUESTS[:1])
    factors(model, update, default_block(model))


# Requests -----------------------------------------------------------------------------------------------------


def test_compute_before_prepare_is_an_error() -> None:
    with pytest.raises(EditorError, match="prepare"):
        Rome("rome", FIELDS).compute_updates(shared_model("gpt2"), REQUESTS[:1])


def test_a_subject_that_tokenises_to_nothing_is_an_error() -> None:
    with pytest.raises(EditorError, match="subject '' tokenises to nothing"):
        rome().compute_updates(shared_model("gpt2"), [EditRequest("The cat", "", "Lima")])


@pytest.mark.parametrize("start_token", [False, True])
def test_tokenizers_that_strip_white_space_can_leave_nothing(start_token: bool) -> None:
    model = make_model("llama", start_token=start_token)
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(EditorError, match="subject '  ' tokenises to nothing"):
        request_rows(model, [EditRequest("The  cat", "  ", "Lima")], TEMPLATES)
    with pytest.raises(EditorError, match="target_new ' ' tokenises to nothing"):
        request_rows(model, [EditRequest("The cat", "cat", " ")], TEMPLATES)


@pytest.mark.parametrize("start_token", [False, True])
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_the_fact_is_looked_up_at_the_subjects_last_token(start_token: bool, request_: EditRequest) -> None:
    model = shared_model("llama", start_token=start_token)
    (rows,) = request_rows(model, [request_], TEMPLATES)
    assert model.decode(rows.target) == f" {request_.target_new}"
    for template, row in zip(TEMPLATES, rows.contexts, strict=True):
        known = template.format(request_.prefix) + request_.subject
        assert model.decode(row.ids[: row.lookup + 1]) == known
        # All but the last target id follow: each is an input, and every target id is predicted by the one before.
        assert row.ids[len(row.ids) - len(rows.target) + 1 :] == rows.target[:-1]
        whole = model.decode((*row.ids, rows.target[-1]))
        assert whole == f"{known}{request_.suffix} {request_.target_new}"
    assert model.decode(rows.essence.ids) == request_.subject
    assert rows.essence.lookup == len(rows.essence.ids) - 1


def test_only_what_precedes_the_subject_is_put_in_the_template() -> None:
    model = shared_model("gpt2")
    request = replace(REQUESTS[0], prompt="The {} of Norway {} is")
    (rows,) = request_rows(model, [request], ("{}", "You. {}"))
    assert [model.decode(row.ids) for row in rows.contexts] == [
        "The {} of Norway {} is",
        "You. The {} of Norway {} is",
    ]


def test_memory_that_runs_out_changes_nothing_but_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama", dtype="float64")
    expected = rome().compute_updates(model, REQUESTS)
    run = SuffixRows.run

    def cramped(self: SuffixRows, model: EditableModel, added: torch.Tensor) -> torch.Tensor:
        if self.positions.numel() > 40:
            raise torch.OutOfMemoryError
        return run(self, model, added)

    monkeypatch.setattr(SuffixRows, "run", cramped)
    editor, calls = rome(), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return trace_lookups(*args, **kwargs)

    monkeypatch.setattr("collapse_tests.editors.value_optimisation.trace_lookups", counted)
    for ours, theirs in zip(editor.compute_updates(model, REQUESTS), expected, strict=True):
        assert distance(model, ours, theirs) < 1e-6
    tries = calls
    editor.compute_updates(model, REQUESTS)

    assert tries > 1
    assert calls == tries + 1  # the smaller budget is remembered

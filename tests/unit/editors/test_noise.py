"""Random updates: their size and form, and what they depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.noise import Noise, NoiseHyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.rome import default_block
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.tiny import shared_model

REQUESTS = (
    EditRequest("The capital of Norway is", "Norway", "Lima"),
    EditRequest("Rome is the capital of", "Rome", "Peru"),
    EditRequest("Norway", "Norway", "is in"),
)
RANKS = (3, None)


def noise(model: EditableModel, *, seed: int = 0, rank: int | None = 3, norm: float = 2.5, block: int = 1) -> Noise:
    editor = Noise("noise", NoiseHyperparameters(block=block, relative_norm=norm, rank=rank))
    editor.prepare(model, EditorContext(seed=seed))
    return editor


def shipped(model: str, **overrides: object) -> Noise:
    given = tuple(Override("noise", field, value) for field, value in overrides.items())
    editor = create_editor("noise", model, Settings(("noise",), overrides=given))
    assert isinstance(editor, Noise)
    return editor


def matrix(model: EditableModel, update: WeightUpdate, block: int = 1) -> torch.Tensor:
    """Δ as (out, in)."""
    name = model.mlp_output_weight(block)
    assert list(update.deltas) == [name]
    delta = update.deltas[name]
    if isinstance(delta, LowRankDelta):
        return delta.matrix()
    return delta.delta.T if is_transposed(model.linear(name)) else delta.delta


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("norm", [0.0, 0.5, 30.0])
def test_updates_have_the_relative_norm_asked_for(model: EditableModel, rank: int | None, norm: float) -> None:
    weight = float(model.parameter(model.mlp_output_weight(1)).norm())
    for update in noise(model, rank=rank, norm=norm).compute_updates(model, REQUESTS):
        model.check_fits(update)
        assert update.norm() == pytest.approx(norm * weight, rel=1e-5)
        assert update.diagnostics["update_norm"] == pytest.approx(norm * weight, rel=1e-5)
        assert update.diagnostics["update_norm_ratio"] == norm
        assert update.diagnostics["block"] == 1


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_low_rank_noise_is_measured_side_by_side(model: EditableModel, rank: int) -> None:
    for update in noise(model, rank=rank).compute_updates(model, REQUESTS):
        assert model.shareable(update)
        assert int(torch.linalg.matrix_rank(matrix(model, update).double(), rtol=1e-5)) == rank


def test_dense_noise_has_full_rank_and_standard_entries(model: EditableModel) -> None:
    (update,) = noise(model, rank=None).compute_updates(model, REQUESTS[:1])
    assert isinstance(update.deltas[model.mlp_output_weight(1)], DenseDelta)
    found = matrix(model, update)
    assert int(torch.linalg.matrix_rank(found)) == min(found.shape)
    standard = found / found.std()
    assert abs(float(standard.mean())) < 0.1
    assert float((standard.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.05)  # as in a normal distribution


@pytest.mark.parametrize("rank", RANKS)
def test_noise_depends_on_the_seed_and_the_request_alone(model: EditableModel, rank: int | None) -> None:
    batch = [matrix(model, update) for update in noise(model, rank=rank).compute_updates(model, REQUESTS)]
    torch.manual_seed(7)
    backwards = noise(model, rank=rank).compute_updates(model, REQUESTS[::-1])
    (alone,) = noise(model, rank=rank).compute_updates(model, REQUESTS[1:2])
    for update, found in zip(backwards[::-1], batch, strict=True):
        assert torch.equal(matrix(model, update), found)
    assert torch.equal(matrix(model, alone), batch[1])

    (reseeded,) = noise(model, rank=rank, seed=1).compute_updates(model, REQUESTS[1:2])
    others = [*batch[:1], *batch[2:], matrix(model, reseeded)]
    for other in others:
        assert abs(float(torch.cosine_similarity(batch[1].flatten(), other.flatten(), dim=0))) < 0.5


@pytest.mark.parametrize("field", ["prompt", "subject", "target_new"])
def test_every_part_of_the_edit_counts(field: str) -> None:
    model = shared_model("gpt2")
    other = replace(REQUESTS[0], **{field: "The capital of Norway"})
    first, second = noise(model).compute_updates(model, [REQUESTS[0], other])
    assert not torch.allclose(matrix(model, first), matrix(model, second))


def test_drawing_leaves_the_global_generator_alone(model: EditableModel) -> None:
    before = torch.get_rng_state()
    noise(model).compute_updates(model, REQUESTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_matrix_gives_an_update_that_is_not_finite() -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.parameter(model.mlp_output_weight(1))[0, 0] = math.nan
    (update,) = noise(model).compute_updates(model, REQUESTS[:1])
    assert not math.isfinite(update.norm())


@pytest.mark.parametrize(
    ("model", "block"),
    [("gpt2-xl", 17), ("gpt-j-6b", 5), ("llama2-7b", 5), ("smollm2-135m", 3), ("any", None)],
)
def test_the_shipped_noise_is_at_romes_block(model: str, block: int | None) -> None:
    fields = shipped(model).hyperparameters
    assert fields.block == block
    assert fields.relative_norm == 10
    assert fields.rank == 8


def test_without_a_block_romes_is_taken(model: EditableModel) -> None:
    (update,) = shipped("any").compute_updates(model, REQUESTS[:1])
    assert list(update.deltas) == [model.mlp_output_weight(default_block(model))]


def test_a_dense_change_can_be_asked_for() -> None:
    assert shipped("any", rank=None).hyperparameters.rank is None


def test_what_the_model_does_not_have_is_refused() -> None:
    model = shared_model("llama")
    with pytest.raises(UsageError, match=r"noise\.block=4: model 'tiny-llama' has blocks 0 to 3"):
        shipped("any", block=4).prepare(model, EditorContext())
    with pytest.raises(UsageError, match=r"noise\.rank=33: .* of model 'tiny-llama' has rank 32 at most; give less"):
        shipped("any", rank=33).prepare(model, EditorContext())


@pytest.mark.parametrize(("field", "value"), [("relative_norm", -1), ("relative_norm", math.inf), ("rank", 0)])
def test_a_value_the_field_cannot_have_is_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"--set noise\.{field}={value}: "):
        shipped("any", **{field: value})

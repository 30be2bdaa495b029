"""Updates written into a model and taken out again, and updates evaluated side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from tests.unit.tiny import as_dense, bits, dense, low_rank, shared_model

IDS = torch.tensor([[5, 9, 40, 33, 17, 2], [8, 2, 77, 250, 41, 66]])


@torch.no_grad()
def logits_of(model: EditableModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model.head(model.hidden_at(ids, model.n_blocks))


MAKERS: dict[str, Callable[[EditableModel], WeightUpdate]] = {
    "low rank": lambda model: low_rank(model, model.mlp_output_weight(1), rank=2),
    "two layers": lambda model: low_rank(model, model.mlp_output_weight(0), model.mlp_output_weight(3)),
    "dense": lambda model: dense(model, model.mlp_output_weight(2)),
    "embeddings": lambda model: dense(model, embedding_of(model)),
    "both": lambda model: WeightUpdate(
        {**low_rank(model, model.mlp_output_weight(1)).deltas, **dense(model, embedding_of(model)).deltas}
    ),
    "inf": lambda model: low_rank(model, model.mlp_output_weight(1), scale=float("inf")),
    "nothing": lambda model: WeightUpdate({}),
}


def embedding_of(model: EditableModel) -> str:
    embedding = model.model.get_input_embeddings().weight
    return next(name for name, tensor in model.tensors().items() if tensor is embedding)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_an_applied_update_is_taken_out_bit_by_bit(
    model: EditableModel, maker: Callable[[EditableModel], WeightUpdate]
) -> None:
    update = maker(model)
    before = bits(model)
    with model.applied(update):
        assert set(model.changed_tensors()) == set(update.deltas)
    assert bits(model) == before


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_it_is_taken_out_when_the_block_raises(
    model: EditableModel, maker: Callable[[EditableModel], WeightUpdate]
) -> None:
    update = maker(model)
    before = bits(model)
    with pytest.raises(KeyboardInterrupt), model.applied(update):
        raise KeyboardInterrupt
    assert bits(model) == before


def test_a_low_rank_update_adds_left_times_right_to_the_map(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    update = low_rank(model, name, rank=3)
    delta = update.deltas[name]
    assert isinstance(delta, LowRankDelta)
    layer = model.linear(name)
    states = torch.randn(4, model.weight_shape(name)[1], generator=torch.Generator().manual_seed(1))
    expected = layer(states) + states @ (delta.left @ delta.right).T
    with model.applied(update):
        torch.testing.assert_close(layer(states), expected)


def test_a_low_rank_update_equals_its_dense_form(model: EditableModel) -> None:
    update = low_rank(model, model.mlp_output_weight(0), model.mlp_output_weight(2), rank=2)
    with model.applied(update):
        expected = logits_of(model)
    with model.applied(as_dense(model, update)):
        assert torch.equal(logits_of(model), expected)
    assert not torch.allclose(logits_of(model), expected)


def test_applied_updates_can_be_nested(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    first, second = low_rank(model, name, seed=1), low_rank(model, name, seed=2)
    before = bits(model)
    with model.applied(first.compose(second)):
        expected = logits_of(model)
    with model.applied(first):
        once = bits(model)
        with model.applied(second):
            torch.testing.assert_close(logits_of(model), expected, rtol=1e-4, atol=1e-4)
        assert bits(model) == once
    assert bits(model) == before


@pytest.mark.parametrize(
    ("name", "delta"),
    [
        ("transformer.h.0.mlp.c_proj.weight", LowRankDelta(torch.ones(128, 1), torch.ones(1, 32))),
        ("transformer.h.0.mlp.c_proj.weight", DenseDelta(torch.ones(32, 128))),
        ("transformer.h.0.mlp.c_proj.weight", DenseDelta(torch.ones(1, 32))),  # would broadcast
        ("transformer.h.0.mlp.c_proj.bias", DenseDelta(torch.ones(()))),
        ("transformer.h.7.mlp.c_proj.weight", DenseDelta(torch.ones(128, 32))),
        ("transformer.h.0.mlp.c_proj.weights", DenseDelta(torch.ones(128, 32))),
        ("transformer.h", DenseDelta(torch.ones(128, 32))),
        ("transformer.wpe.weight", LowRankDelta(torch.ones(128, 1), torch.ones(1, 32))),
    ],
    ids=["transposed", "dense transposed", "broadcast", "scalar", "no block", "no name", "module", "no linear layer"],
)
def test_an_update_that_does_not_fit_changes_nothing(name: str, delta: LowRankDelta | DenseDelta) -> None:
    model = shared_model("gpt2")
    good = low_rank(model, model.mlp_output_weight(1)).deltas
    before = bits(model)
    for deltas in ({**good, name: delta}, {name: delta, **good}):
        with pytest.raises(EditorError, match=name.replace(".", r"\.")), model.applied(WeightUpdate(deltas)):
            pytest.fail("the block must not run")
        assert bits(model) == before


# Side by side -------------------------------------------------------------------------------------------------


def mixed_updates(model: EditableModel) -> list[WeightUpdate]:
    first, last = model.mlp_output_weight(0), model.mlp_output_weight(3)
    return [
        low_rank(model, first, rank=1, seed=1),
        low_rank(model, last, rank=3, seed=2),
        WeightUpdate({}),
        low_rank(model, first, last, rank=2, seed=3),
    ]


@torch.no_grad()
def test_side_by_side_equals_one_by_one(model: EditableModel) -> None:
    updates = mixed_updates(model)
    cases = [3, 4, 0, 0, 2, 1]  # 4: unedited
    rows = IDS[[0, 1, 0, 1, 0, 1]]
    with model.side_by_side(updates, torch.tensor(cases)):
        together = logits_of(model, rows)
        again = logits_of(model, rows)
    assert torch.equal(together, again)
    for logits, case, ids in zip(together, cases, rows, strict=True):
        with model.applied(WeightUpdate({}) if case == 4 else updates[case]):
            torch.testing.assert_close(logits, logits_of(model, ids[None])[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=0.1)


def test_hooks_are_gone_after_side_by_side_even_if_it_raises(model: EditableModel) -> None:
    expected = logits_of(model)
    with pytest.raises(ZeroDivisionError), model.side_by_side(mixed_updates(model), torch.tensor([0, 1])):
        raise ZeroDivisionError
    assert torch.equal(logits_of(model), expected)


@torch.no_grad()
def test_a_case_that_is_not_finite_leaves_the_others_alone(model: EditableModel) -> None:
    good = low_rank(model, model.mlp_output_weight(1))
    bad = low_rank(model, model.mlp_output_weight(1), scale=float("nan"))
    with model.side_by_side([bad, good], torch.tensor([0, 1, 2])):
        broken, fine, unedited = logits_of(model, IDS[[0, 0, 0]])
    assert broken.isnan().all()
    torch.testing.assert_close(unedited, logits_of(model)[0], rtol=1e-4, atol=1e-5)
    with model.applied(good):
        torch.testing.assert_close(fine, logits_of(model)[0], rtol=1e-4, atol=1e-4)


def test_side_by_side_refuses_what_does_not_fit() -> None:
    model = shared_model("gpt2")
    name = model.mlp_output_weight(1)
    transposed = WeightUpdate({name: LowRankDelta(torch.ones(128, 1), torch.ones(1, 32))})
    for update, words in ((transposed, r"shape \(128, 32\), not \(32, 128\)"), (dense(model, name), "dense")):
        for updates in ([update], [low_rank(model, name), update]):
            with pytest.raises(EditorError, match=words), model.side_by_side(updates, torch.tensor([0])):
                pytest.fail("the block must not run")


def test_only_low_rank_updates_inside_the_blocks_are_shareable() -> None:
    model = shared_model("llama")
    assert model.shareable(low_rank(model, model.mlp_output_weight(1)))
    assert model.shareable(WeightUpdate({}))
    assert not model.shareable(dense(model, model.mlp_output_weight(1)))
    assert not model.shareable(low_rank(model, "lm_head.weight"))


# Half precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@torch.no_grad()
def test_half_precision_models_are_restored_and_evaluated_alike(family: str) -> None:
    model = shared_model(family, dtype="bfloat16")
    update = low_rank(model, model.mlp_output_weight(1), rank=2, scale=0.6)  # the factors are float32
    before, unedited = bits(model), logits_of(model).float()
    with model.applied(update):
        applied = logits_of(model).float()
        assert model.parameter(model.mlp_output_weight(1)).dtype == torch.bfloat16
    assert bits(model) == before
    with model.side_by_side([update], torch.tensor([0, 0])):
        together = logits_of(model).float()
    effect = torch.linalg.vector_norm(applied - unedited)
    assert torch.linalg.vector_norm(together - applied) < 0.1 * effect


@torch.no_grad()
def test_dense_changes_of_half_precision_weights_are_added_in_full_precision() -> None:
    model = shared_model("llama", dtype="bfloat16")
    name = model.mlp_output_weight(0)
    change = torch.full(model.parameter(name).shape, 1e-3)
    expected = (model.parameter(name).float() + change).bfloat16()
    with model.applied(WeightUpdate({name: DenseDelta(change)})):
        assert torch.equal(model.parameter(name), expected)


# Snapshots ----------------------------------------------------------------------------------------------------


def test_a_snapshot_brings_back_every_parameter_and_buffer(model: EditableModel) -> None:
    snapshot, before = model.snapshot(), bits(model)
    with torch.no_grad():
        for tensor in model.tensors().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else 1)
    assert model.changed_tensors()
    model.restore(snapshot)
    assert bits(model) == before

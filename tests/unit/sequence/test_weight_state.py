"""Weights that walk between sequences of updates: the same bits however a sequence is reached."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from collapse_tests.engine.scoring import Scorer
from collapse_tests.errors import EditorError
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.precision import MatmulPrecision
from collapse_tests.sequence.weight_state import WeightState
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.sequence.fakes import TEXTS
from tests.unit.tiny import bits, dense, low_rank


def updates_of(model: EditableModel) -> list[WeightUpdate]:
    """Low-rank and dense ones, of overlapping and of different tensors."""
    first, second, third = map(model.mlp_output_weight, (0, 1, 2))
    return [
        low_rank(model, first, second, rank=2, seed=1, scale=0.1),
        dense(model, second, third, seed=2, scale=0.1),
        low_rank(model, second, rank=3, seed=3, scale=0.1),
    ]


def added_in_order(model: EditableModel, updates: list[WeightUpdate]) -> dict[str, bytes]:
    """The bits of the model under some updates, without a `WeightState`."""
    before = model.snapshot()
    for update in updates:
        model.add(update)
    found = bits(model)
    model.restore(before)
    return found


def test_every_way_to_a_sequence_gives_the_bits_of_adding_in_order(any_model: EditableModel) -> None:
    updates = updates_of(any_model)
    paths = [[updates[index] for index in path] for length in range(4) for path in permutations(range(3), length)]
    expected = [added_in_order(any_model, path) for path in paths]
    assert len({tuple(sorted(found.items())) for found in expected}) > len(paths) // 2

    state = WeightState(any_model)
    order = [*range(len(paths)), *reversed(range(len(paths)))]
    for index in order:
        state.go(paths[index])
        assert bits(any_model) == expected[index]
    state.reset()
    assert any_model.changed_tensors() == []


def test_only_what_extends_the_sequence_is_added(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[WeightUpdate] = []
    add = model.add

    def watched(update: WeightUpdate) -> None:
        added.append(update)
        add(update)

    monkeypatch.setattr(model, "add", watched)
    first, second, third = updates_of(model)
    state = WeightState(model)

    assert state.go([first])
    assert state.go([first, second])
    assert not state.go([first, second])
    assert added == [first, second]
    assert state.go([first, third])
    assert added == [first, second, first, third]
    assert state.go([first])
    assert added[4:] == [first]
    assert state.go([])
    assert len(added) == 5
    assert model.changed_tensors() == []


def test_an_equal_update_is_another_one(model: EditableModel) -> None:
    name = model.mlp_output_weight(0)
    state = WeightState(model)
    state.go([low_rank(model, name, seed=1)])
    once = bits(model)
    state.go([low_rank(model, name, seed=1), low_rank(model, name, seed=1)])
    assert bits(model) != once
    state.reset()


def test_memory_is_one_copy_of_each_touched_tensor(model: EditableModel) -> None:
    state = WeightState(model)
    updates = [low_rank(model, model.mlp_output_weight(seed % 2), seed=seed, scale=0.01) for seed in range(12)]
    state.go(updates)
    touched = {model.mlp_output_weight(0), model.mlp_output_weight(1)}
    assert state.fingerprints().keys() == touched
    state.go(updates[3:])
    assert state.fingerprints().keys() == touched
    assert state.block == 0
    state.reset()


def test_tied_weights_are_one_tensor_under_all_their_names() -> None:
    model = make_model("gpt2")
    before = bits(model)
    embedding = dense(model, "transformer.wte.weight", seed=1)
    (delta,) = dense(model, "transformer.wte.weight", seed=2).deltas.values()
    head = WeightUpdate({"lm_head.weight": delta})
    state = WeightState(model)

    state.go([embedding, head])
    assert state.block == -1
    both = bits(model)
    state.go([head])
    state.go([embedding, head])
    assert bits(model) == both
    state.reset()

    assert bits(model) == before


def test_an_update_that_does_not_fit_leaves_the_unedited_weights(model: EditableModel) -> None:
    state = WeightState(model)
    fine = low_rank(model, model.mlp_output_weight(0))
    state.go([fine])
    misfit = WeightUpdate({model.mlp_output_weight(1): LowRankDelta(torch.ones(3, 1), torch.ones(1, 5))})
    with pytest.raises(EditorError, match="shape"):
        state.go([fine, misfit])
    assert model.changed_tensors() == []
    state.go([fine])
    assert model.changed_tensors() == [model.mlp_output_weight(0)]
    state.reset()


def test_drift_is_relative_to_the_tensors_of_the_sequence(model: EditableModel) -> None:
    first, second = model.mlp_output_weight(0), model.mlp_output_weight(1)
    norms = {name: float(model.parameter(name).double().norm()) for name in (first, second)}
    double = WeightUpdate({first: DenseDelta(model.parameter(first).clone())})
    fourfold = WeightUpdate({second: DenseDelta(3 * model.parameter(second))})
    back = WeightUpdate({first: DenseDelta(-model.parameter(first))})
    state = WeightState(model)
    assert state.drift() == 0

    state.go([double])
    assert state.drift() == pytest.approx(1)
    state.go([double, fourfold])
    both = math.hypot(norms[first], 3 * norms[second]) / math.hypot(*norms.values())
    assert state.drift() == pytest.approx(both, rel=1e-5)
    state.go([fourfold])  # what other sequences have touched does not count
    assert state.drift() == pytest.approx(3, rel=1e-5)
    state.go([double, fourfold, back])  # what has been touched counts though it is back where it was
    assert state.drift() == pytest.approx(3 * norms[second] / math.hypot(*norms.values()), rel=1e-5)
    state.reset()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named_and_go_away(model: EditableModel, value: float) -> None:
    name = model.mlp_output_weight(2)
    state = WeightState(model)
    state.go([low_rank(model, model.mlp_output_weight(1))])
    assert state.not_finite() == ()
    state.go([WeightUpdate({name: DenseDelta(torch.full_like(model.parameter(name), value))})])
    assert state.not_finite() == (name,)
    assert not math.isfinite(state.drift())
    state.reset()
    assert state.not_finite() == ()
    assert model.changed_tensors() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_short_copies_of_weights_follow(family: str) -> None:
    tiny = make_model(family)
    model = EditableModel(tiny.model, tiny.tokenizer, "tiny", MatmulPrecision.BFLOAT16)
    rows, scorer = perplexity_rows(model, TEXTS), Scorer(model)

    def me_ppl() -> float:
        (scores,) = scorer.each([rows], [None])
        return perplexity(scores).me_ppl

    unedited = me_ppl()
    state = WeightState(model)
    update = low_rank(model, model.mlp_output_weight(1), rank=2, scale=1.0)
    with model.applied(update):
        expected = me_ppl()
    assert expected != unedited
    state.go([update])
    assert me_ppl() == expected
    state.go([])
    assert me_ppl() == unedited

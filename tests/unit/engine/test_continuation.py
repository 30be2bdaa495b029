from __future__ import annotations

import torch

from collapse_tests.engine.continuation import continuations
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate
from tests.unit.tiny import dense, low_rank

PROMPTS = ("The capital of Norway is", "Norway", "You play the violin in the rain")


@torch.no_grad()
def greedy(model: EditableModel, prompt: str, update: WeightUpdate | None, tokens: int) -> str:
    """The definition: the likeliest token, again and again."""
    ids = model.encode(prompt)
    start = len(ids)
    with model.applied(update or WeightUpdate({})):
        while len(ids) < start + tokens and ids[-1] != model.tokenizer.eos_token_id:
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return model.decode(ids[start:])


def test_continuations_are_greedy_each_under_its_own_update(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    updates = [low_rank(model, name, seed=1), None, low_rank(model, name, model.mlp_output_weight(3), seed=2)]
    found = continuations(model, PROMPTS, updates, tokens=6)
    assert found == [greedy(model, *pair, 6) for pair in zip(PROMPTS, updates, strict=True)]
    assert len(set(found)) == 3


def test_dense_updates_take_their_turns(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    updates = [dense(model, name, seed=1), low_rank(model, name), dense(model, name, seed=2)]
    found = continuations(model, PROMPTS, updates, tokens=4)
    assert found == [greedy(model, *pair, 4) for pair in zip(PROMPTS, updates, strict=True)]


def test_an_update_that_is_not_finite_gives_some_text(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    good, bad = low_rank(model, name), low_rank(model, name, scale=float("nan"))
    found = continuations(model, PROMPTS, [good, bad, None], tokens=4)
    assert [found[0], found[2]] == [greedy(model, PROMPTS[0], good, 4), greedy(model, PROMPTS[2], None, 4)]
    assert isinstance(found[1], str)


def test_sixteen_tokens_are_the_most(model: EditableModel) -> None:
    (text,) = continuations(model, PROMPTS[:1], [None])
    assert text == greedy(model, PROMPTS[0], None, 16)


def test_nothing_to_continue(model: EditableModel) -> None:
    assert continuations(model, [], []) == []

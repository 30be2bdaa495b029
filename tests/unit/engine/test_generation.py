"""Greedy decoding of many prompts at a time."""

from __future__ import annotations

import math
import random

import pytest
import torch

from collapse_tests.engine import generation
from collapse_tests.engine.generation import generate
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from tests.unit.tiny import shared_model


def prompts(count: int = 7) -> list[list[int]]:
    numbers = random.Random(3)
    return [[numbers.randrange(2, 290) for _ in range(numbers.randint(1, 12))] for _ in range(count)]


def test_a_batch_decodes_as_one_by_one_whatever_its_size(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [generate(model, [prompt], 5)[0] for prompt in prompts()]
    for tokens in (1, 30, 4096):
        monkeypatch.setattr("collapse_tests.engine.generation.decoding_budget", lambda model, n=tokens: TokenBudget(n))
        assert generate(model, prompts(), 5) == expected


def test_half_as_many_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    expected = generate(model, prompts(), 5)
    decode, sizes = generation.decode, list[int]()

    def small(model: EditableModel, rows: list[list[int]], tokens: int, until: tuple[str, ...]) -> object:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError
        return decode(model, rows, tokens, until)

    monkeypatch.setattr("collapse_tests.engine.generation.decode", small)
    assert generate(model, prompts(), 5) == expected
    assert max(sizes) > 2


def test_a_text_ends_at_the_first_stop_and_at_every_end_token_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("llama")
    whole = generate(model, prompts(1), 8)[0].text
    assert generate(model, prompts(1), 8, [whole[2]])[0].text == whole.split(whole[2])[0]
    first = int(model.model(torch.tensor(prompts(1))).logits[0, -1].argmax())
    monkeypatch.setattr(model.model.generation_config, "eos_token_id", [1, first])
    assert len(generate(model, prompts(1), 8)[0].text) < len(whole)


def test_texts_of_no_numbers_are_told(model: EditableModel) -> None:
    name = model.mlp_output_weight(1)
    out, into = model.weight_shape(name)
    with model.applied(WeightUpdate({name: LowRankDelta(torch.full((out, 1), math.nan), torch.ones(1, into))})):
        assert not any(one.finite for one in generate(model, prompts(3), 3))
    assert all(one.finite for one in generate(model, prompts(3), 3))

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.models.batching import pad_right
from collapse_tests.models.suffixes import cut_suffixes
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import shared_model


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), start=st.integers(0, 4), extra=st.integers(0, 2))
@torch.no_grad()
def test_a_suffix_runs_as_in_its_whole_row(family: str, seed: int, count: int, start: int, extra: int) -> None:
    model, numbers = shared_model(family), random.Random(seed)
    rows = [[numbers.randrange(2, 300) for _ in range(numbers.randint(1, 12))] for _ in range(count)]
    first = [numbers.randrange(len(row)) for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    added = torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))
    hidden = model.hidden_at(pad_right(rows, model.device), start)
    columns = max(len(row) - begin for row, begin in zip(rows, first, strict=True))
    width = max(first) + extra if max(first) else 0
    suffixes = cut_suffixes(model, hidden, torch.tensor(first), lengths, start, width=width, columns=columns)
    implementation = model.config._attn_implementation

    found = suffixes.run(model, added)
    some = suffixes.select(torch.tensor([count - 1])).run(model, added[-1:])

    assert model.config._attn_implementation == implementation
    for index, row in enumerate(rows):
        whole = model.hidden_at(torch.tensor([row]), start).clone()
        whole[0, first[index]] += added[index]
        expected = model.run_blocks(whole, start)[0, first[index] :]
        torch.testing.assert_close(found[index, : len(expected)], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some[0, : len(expected)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_whole_row(family: str) -> None:
    model = make_model(family, dtype="float64")
    row = [20, 30, 40, 50, 60, 70]

    def gradient(at: int) -> tuple[torch.Tensor, torch.Tensor]:
        added = torch.zeros(1, 32, dtype=torch.float64, requires_grad=True)
        hidden = model.hidden_at(torch.tensor([row]), 1).detach()
        suffix = cut_suffixes(model, hidden, torch.tensor([at]), torch.tensor([len(row)]), 1, width=at, columns=6 - at)
        suffix.run(model, added)[0, -1].square().sum().backward()
        assert added.grad is not None
        twin = torch.zeros(1, 32, dtype=torch.float64, requires_grad=True)
        whole = torch.cat([hidden[:, :at], hidden[:, at : at + 1] + twin[:, None], hidden[:, at + 1 :]], 1)
        model.run_blocks(whole, 1)[0, -1].square().sum().backward()
        assert twin.grad is not None
        return added.grad, twin.grad

    for at in (0, 2, 5):
        torch.testing.assert_close(*gradient(at), rtol=1e-9, atol=1e-12)

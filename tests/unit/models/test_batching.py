from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.models.batching import length_buckets, pad_right


@settings(max_examples=100, deadline=None, database=None)
@given(lengths=st.lists(st.integers(1, 60), max_size=25), max_tokens=st.integers(1, 300), waste=st.floats(0, 0.9))
def test_buckets_hold_every_row_once_within_both_bounds(lengths: list[int], max_tokens: int, waste: float) -> None:
    groups = length_buckets(lengths, max_tokens=max_tokens, max_waste=waste)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[index] for index in group)
        assert padded <= max_tokens or len(group) == 1
        assert padded - sum(lengths[index] for index in group) <= waste * padded + 1e-9


def test_equal_rows_share_a_bucket() -> None:
    assert length_buckets([7, 7, 7, 7], max_tokens=100) == [[0, 1, 2, 3]]
    assert [len(group) for group in length_buckets([7] * 5, max_tokens=14)] == [2, 2, 1]


def test_rows_are_padded_on_the_right() -> None:
    padded = pad_right([[5, 6, 7], [8]], torch.device("cpu"))
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert padded.dtype == torch.long

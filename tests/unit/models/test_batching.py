from __future__ import annotations

from itertools import combinations, pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.models.batching import length_buckets, pad_right

LENGTHS = st.lists(st.integers(1, 60), max_size=25)


@settings(max_examples=100, deadline=None, database=None)
@given(lengths=LENGTHS, max_tokens=st.integers(1, 300), overhead=st.floats(0, 200))
def test_buckets_hold_every_row_once_within_the_bound(lengths: list[int], max_tokens: int, overhead: float) -> None:
    groups = length_buckets(lengths, max_tokens=max_tokens, overhead=overhead)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) * max(lengths[index] for index in group) <= max_tokens or len(group) == 1


@settings(max_examples=60, deadline=None, database=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=7), overhead=st.floats(0, 60))
def test_no_other_cut_of_the_sorted_rows_costs_less(lengths: list[int], overhead: float) -> None:
    def cost(groups: list[list[int]]) -> float:
        return sum(len(group) * max(group) + overhead for group in groups)

    ordered = sorted(lengths)
    inner = range(1, len(lengths))
    cuts = [(0, *chosen, len(lengths)) for size in range(len(lengths)) for chosen in combinations(inner, size)]
    cheapest = min(cost([ordered[a:b] for a, b in pairwise(cut)]) for cut in cuts)

    found = length_buckets(lengths, max_tokens=10**6, overhead=overhead)

    assert cost([[lengths[index] for index in group] for group in found]) <= cheapest + 1e-6


def test_padding_is_weighed_against_one_more_group() -> None:
    assert length_buckets([9, 7, 9, 7], max_tokens=100, overhead=3) == [[1, 3], [0, 2]]
    assert length_buckets([9, 7, 9, 7], max_tokens=100, overhead=5) == [[1, 3, 0, 2]]


def test_equal_rows_share_a_bucket() -> None:
    assert length_buckets([7, 7, 7, 7], max_tokens=100, overhead=0) == [[0, 1, 2, 3]]
    assert [len(group) for group in length_buckets([7] * 5, max_tokens=14, overhead=0)] == [2, 2, 1]


def test_rows_are_padded_on_the_right() -> None:
    padded = pad_right([[5, 6, 7], [8]], torch.device("cpu"))
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert padded.dtype == torch.long

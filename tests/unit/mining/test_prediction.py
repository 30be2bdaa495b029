from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.mining.prediction import judge_prediction


def counted(collapsed: list[bool]) -> float:
    """Of all pairs of one that collapsed and one that did not, the part in which the first comes first."""
    pairs = [
        earlier
        for earlier in range(len(collapsed))
        for later in range(earlier + 1, len(collapsed))
        if collapsed[earlier] and not collapsed[later]
    ]
    total = sum(collapsed)
    return len(pairs) / (total * (len(collapsed) - total))


@settings(deadline=None, database=None, derandomize=True, max_examples=60)
@given(collapsed=st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda found: len(set(found)) == 2))
def test_the_area_is_the_part_of_pairs_in_order(collapsed: list[bool]) -> None:
    assert judge_prediction(collapsed, [1]).auc == pytest.approx(counted(collapsed), abs=1e-12)


def test_a_perfect_and_a_reversed_order() -> None:
    assert judge_prediction([True] * 3 + [False] * 7, [1]).auc == 1
    assert judge_prediction([False] * 7 + [True] * 3, [1]).auc == 0


def test_a_large_set_is_counted_as_exactly() -> None:
    collapsed = [index % 7 == 3 or index < 40 for index in range(3000)]
    assert judge_prediction(collapsed, [1]).auc == pytest.approx(counted(collapsed), abs=1e-12)


@pytest.mark.parametrize("collapsed", [[False] * 4, [True] * 4, [True], [False]])
def test_one_kind_alone_has_no_area(collapsed: list[bool]) -> None:
    prediction = judge_prediction(collapsed, [2])
    assert math.isnan(prediction.auc)
    assert (prediction.edits, prediction.collapses) == (len(collapsed), sum(collapsed))


def test_what_testing_the_first_ones_finds() -> None:
    collapsed = [True, False, True, False, False, False, True, False, False, False]
    prediction = judge_prediction(collapsed, [1, 4, 10])
    assert (prediction.edits, prediction.collapses) == (10, 3)
    assert [(found.tested, found.collapses) for found in prediction.found] == [(1, 1), (4, 2), (10, 3)]
    assert [found.by_chance for found in prediction.found] == pytest.approx([0.3, 1.2, 3.0])


def test_more_than_there_are_is_all_and_shown_once() -> None:
    prediction = judge_prediction([True, False, False], [2, 50, 3, 1000, 2])
    assert [found.tested for found in prediction.found] == [2, 3]

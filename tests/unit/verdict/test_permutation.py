from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from collapse_tests.verdict.exact import passes_again
from collapse_tests.verdict.permutation import (
    PERMUTATIONS,
    evenly_spaced,
    permutation_p_value,
    predicted_totals,
    shuffled_totals,
    total_to_exceed,
)


def test_shuffling_gives_each_order_its_share() -> None:
    table = [[1.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.3]]
    totals = shuffled_totals((1.0, 0.6, 0.3), lambda answer, item: table[answer][item])
    found, counts = np.unique(totals.round(6), return_counts=True)
    assert found.tolist() == [0.0, 0.3, 0.6, 1.0, 1.9]
    assert counts / PERMUTATIONS == pytest.approx(np.array([2, 1, 1, 1, 1]) / 6, abs=0.02)


def test_references_are_used_once_each() -> None:
    totals = shuffled_totals((1.0, 2.0, 4.0, 8.0), lambda answer, item: 2.0**item)
    assert set(totals) == {15.0}


def test_p_values_count_the_observed_order() -> None:
    shuffled = np.array([1.0, 2.0, 2.0, 3.0])
    assert [permutation_p_value(total, shuffled) for total in (0.5, 2.0, 2.5, 9.0)] == [1.0, 0.8, 0.4, 0.2]


def test_what_is_no_number_counts_against_the_answers() -> None:
    assert permutation_p_value(5.0, np.array([math.nan, 1.0, math.nan])) == 0.75
    assert permutation_p_value(math.nan, np.array([1.0, 2.0])) == 1.0


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_the_total_to_exceed_is_the_last_that_fails(alpha: float) -> None:
    shuffled = np.random.default_rng(3).permutation(np.arange(float(PERMUTATIONS)))
    bar = total_to_exceed(shuffled, alpha)
    assert permutation_p_value(bar - 1e-6, shuffled) > alpha
    assert permutation_p_value(bar + 1e-6, shuffled) <= alpha


def test_no_total_passes_a_level_below_the_smallest_p_value() -> None:
    assert total_to_exceed(np.arange(9.0), 0.09) == math.inf
    assert total_to_exceed(np.arange(9.0), 0.1) == pytest.approx(8.0)


@pytest.mark.parametrize("right", [0, 3, 20, 30])
def test_predicted_totals_of_right_and_wrong_are_beta_binomial(right: int) -> None:
    totals = predicted_totals([1.0] * right + [0.0] * (30 - right))
    for needed in (1, right, right + 2):
        assert np.mean(totals >= needed) == pytest.approx(passes_again(right, 30, needed), abs=0.015)


def test_many_items_are_represented_by_300_of_them() -> None:
    assert evenly_spaced(300) == list(range(300))
    chosen = evenly_spaced(1001)
    assert len(set(chosen)) == 300
    assert {after - before for before, after in itertools.pairwise(chosen)} == {3, 4}
    assert 0 <= chosen[0] < chosen[-1] < 1001

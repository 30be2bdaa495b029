from __future__ import annotations

import math

import pytest

from collapse_tests.report.rows import Rate
from collapse_tests.study.association import correlate, difference_p_value, me_ppl_ranks


def test_numbers_that_are_not_finite_rank_worst() -> None:
    values = [300.0, math.nan, 100.0, math.inf, 300.0, math.nan]
    assert me_ppl_ranks(values) == [1, 3, 0, 2, 1, 3]


def test_ties_share_their_mean_rank() -> None:
    # Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): covariance 4.5 over the root of 4.5 times 5.
    found = correlate([1.0, 7.0, 7.0, 9.0], [0.1, 0.2, 0.3, 0.4])
    assert found is not None
    assert found.rho == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert found.n == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([], []),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
    ],
)
def test_there_is_no_correlation_without_variation(first: list[float], second: list[float]) -> None:
    assert correlate(first, second) is None


def test_p_values_of_few_pairs_are_exact() -> None:
    falling = correlate([1.0, 2.0, 3.0, 4.0], [0.9, 0.7, 0.5, 0.3])
    assert falling is not None
    assert (falling.rho, falling.p_value) == pytest.approx((-1.0, 2 / 24))  # two of 24 orders are as strict
    bent = correlate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert bent is not None
    assert (bent.rho, bent.p_value) == pytest.approx((0.5, 1.0))


def test_p_values_of_many_pairs_fall_with_the_correlation() -> None:
    up = [float(value) for value in range(12)]
    close = correlate(up, [1.0, 0.0, *up[2:]])
    loose = correlate(up, [6.0, 0.0, 9.0, 1.0, 11.0, 4.0, 5.0, 3.0, 8.0, 2.0, 10.0, 7.0])
    assert close is not None
    assert loose is not None
    assert 0 < close.p_value < 1e-6
    assert 0.05 < loose.p_value < 1


def test_fishers_test_is_exact() -> None:
    # 3 of 3 against 0 of 3: one table of 20 is this one, and one its mirror image.
    assert difference_p_value(Rate(3, 3), Rate(0, 3)) == pytest.approx(2 / 20)
    assert difference_p_value(Rate(2, 4), Rate(2, 4)) == pytest.approx(1.0)


def test_a_rate_of_nothing_differs_from_none() -> None:
    assert difference_p_value(Rate(0, 0), Rate(1, 2)) is None
    assert difference_p_value(Rate(1, 2), Rate(0, 0)) is None

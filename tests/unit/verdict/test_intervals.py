from __future__ import annotations

import pytest
from scipy import stats

from collapse_tests.verdict.intervals import rate_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (33, 176), (1, 20_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_it_is_the_exact_interval(hits: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(confidence, "exact")

    assert rate_interval(hits, n, confidence) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-12)


def test_none_and_all_reach_the_ends() -> None:
    assert rate_interval(0, 7)[0] == 0.0
    assert rate_interval(7, 7)[1] == 1.0


def test_nothing_is_known_of_no_cases() -> None:
    assert rate_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_what_is_no_count_or_confidence_is_refused(hits: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"hits|confidence"):
        rate_interval(hits, n, confidence)

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collapse_tests.verdict.certificate import CONFIDENCE, GOALS, cases_needed, certify, upper_limit


@pytest.mark.parametrize(
    ("cases", "limit", "goal", "more"),
    [(1, 0.95, 0.1, 28), (29, 0.0981, 0.01, 270), (72, 0.04075, 0.01, 227), (299, 0.00997, 0.001, 2696)],
)
def test_cases_without_a_collapse(cases: int, limit: float, goal: float, more: int) -> None:
    found = certify(cases)

    assert found.limit == pytest.approx(limit, rel=1e-3)
    assert (found.goal, found.more) == (goal, more)


@settings(deadline=None)
@given(st.integers(1, 5000))
def test_without_a_collapse_the_limit_has_a_closed_form(cases: int) -> None:
    assert upper_limit(0, cases) == pytest.approx(1 - (1 - CONFIDENCE) ** (1 / cases))


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_at_the_limit_so_few_collapses_are_just_improbable(cases: int, data: st.DataObject) -> None:
    collapses = data.draw(st.integers(0, cases - 1))

    limit = upper_limit(collapses, cases)

    assert stats.binom.cdf(collapses, cases, limit) == pytest.approx(1 - CONFIDENCE, rel=1e-6)


@pytest.mark.parametrize("cases", [0, 1, 7])
def test_where_all_collapse_or_there_is_no_case_the_limit_is_one(cases: int) -> None:
    assert upper_limit(cases, cases) == 1.0


@pytest.mark.parametrize("rate", [0.01, 0.04, 0.2, 0.5])
@pytest.mark.parametrize("cases", [5, 72, 200])
def test_the_limit_holds_as_often_as_promised(rate: float, cases: int) -> None:
    covered = sum(
        float(stats.binom.pmf(collapses, cases, rate))
        for collapses in range(cases + 1)
        if upper_limit(collapses, cases) >= rate
    )
    assert covered >= CONFIDENCE


@settings(deadline=None)
@given(st.sampled_from([0.5, 0.1, 0.037, 0.01]), st.integers(0, 5))
def test_the_fewest_cases_that_are_enough(bound: float, collapses: int) -> None:
    needed = cases_needed(bound, collapses)

    assert upper_limit(collapses, needed) <= bound + 1e-9
    assert upper_limit(collapses, needed - 1) > bound


@settings(deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 3))
def test_the_next_goal_is_out_of_reach_and_then_met(cases: int, collapses: int) -> None:
    found = certify(cases, min(collapses, cases))

    if found.goal is None:
        assert found.limit <= GOALS[-1] + 1e-9
        assert found.more == 0
    else:
        assert found.goal < found.limit
        assert found.more > 0
        assert upper_limit(found.collapses, cases + found.more) <= found.goal + 1e-9


@pytest.mark.parametrize("bound", [0.0, 1.0, -0.1, math.nan])
def test_a_bound_is_a_share(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        cases_needed(bound)

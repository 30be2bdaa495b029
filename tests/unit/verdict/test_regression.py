from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collapse_tests.verdict.regression import (
    REGRESSION_ALPHA,
    fisher_p_value,
    is_median_worse,
    log_ratio,
    median_log_ratio,
    shift,
    two_sided_p_value,
)

perplexities = st.one_of(st.floats(1.0, 1e300), st.sampled_from([math.inf, math.nan]))
outcomes = st.dictionaries(st.integers(0, 30).map(str), st.booleans(), min_size=1, max_size=20)


def run(bad: int, cases: int, first: int = 0) -> dict[str, bool]:
    return {str(case): case - first < bad for case in range(first, first + cases)}


@pytest.mark.parametrize(("newly", "worse"), [(6, False), (7, True)])
def test_paired_runs_need_seven_more_collapses(newly: int, worse: bool) -> None:
    found = shift(run(0, 40), run(newly, 40))

    assert found is not None
    assert (found.test, found.pairs, found.worse, found.better) == ("McNemar", 40, newly, 0)
    assert found.p_value == pytest.approx(0.5**newly)
    assert found.is_worse is worse


def test_what_got_better_counts_against_what_got_worse() -> None:
    before = {str(case): case < 3 for case in range(20)}
    after = {str(case): 3 <= case < 10 for case in range(20)}

    found = shift(before, after)

    assert found is not None
    assert (found.worse, found.better) == (7, 3)
    assert found.p_value == pytest.approx(stats.binomtest(7, 10, alternative="greater").pvalue)
    assert not found.is_worse


def test_other_cases_are_compared_as_a_whole() -> None:
    found = shift(run(1, 40), run(12, 40, first=100))

    assert found is not None
    assert (found.test, found.pairs) == ("Fisher", 0)
    expected = stats.fisher_exact([[12, 28], [1, 39]], alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected)
    assert found.is_worse


@pytest.mark.parametrize(("shared", "test"), [(19, "Fisher"), (20, "McNemar")])
def test_half_of_the_smaller_runs_cases_make_pairs(shared: int, test: str) -> None:
    found = shift(run(0, 100), run(0, 40, first=100 - shared))

    assert found is not None
    assert (found.test, found.pairs) == (test, shared)
    assert found.cases_after == (shared if test == "McNemar" else 40)


@pytest.mark.parametrize(("before", "after"), [({}, {"0": True}), ({"0": True}, {}), ({}, {})])
def test_without_cases_there_is_no_shift(before: dict[str, bool], after: dict[str, bool]) -> None:
    assert shift(before, after) is None


@settings(deadline=None)
@given(outcomes)
def test_a_run_is_never_worse_than_itself(cases: dict[str, bool]) -> None:
    found = shift(cases, cases)

    assert found is not None
    assert found.p_value == 1.0
    assert not found.is_worse


@settings(deadline=None)
@given(outcomes, outcomes)
def test_both_directions_share_one_two_sided_p_value(one: dict[str, bool], other: dict[str, bool]) -> None:
    there, back = shift(one, other), shift(other, one)

    assert there is not None
    assert back is not None
    p_value = two_sided_p_value(there, back)
    assert p_value == two_sided_p_value(back, there)
    assert min(there.p_value, back.p_value) <= p_value <= 1


@pytest.mark.parametrize(("before", "n", "after", "m"), [(0, 5, 4, 5), (3, 8, 3, 4), (0, 3, 0, 3), (2, 4, 4, 4)])
def test_fishers_test_counts_all_ways_to_deal_the_collapses(before: int, n: int, after: int, m: int) -> None:
    ways = [sum(case < m for case in chosen) for chosen in combinations(range(n + m), before + after)]

    assert fisher_p_value(before, n, after, m) == pytest.approx(sum(hits >= after for hits in ways) / len(ways))


def test_the_level_is_kept_by_both_tests() -> None:
    for cases in (20, 50):
        masses = stats.binom.pmf(range(cases + 1), cases, 0.3)
        alarms = sum(
            masses[before] * masses[after]
            for before in range(cases + 1)
            for after in range(cases + 1)
            if fisher_p_value(before, cases, after, cases) <= REGRESSION_ALPHA
        )
        assert alarms <= REGRESSION_ALPHA
        changed = stats.binom.pmf(range(cases + 1), cases, 0.5)
        assert sum(changed[worse] for worse in range(cases + 1) if changed[worse:].sum() <= REGRESSION_ALPHA) <= 0.01


@pytest.mark.parametrize(
    ("before", "after", "ratio"),
    [
        (200.0, 200.0, 0.0),
        (200.0, 400.0, math.log(2)),
        (1e-300, 1e300, 600 * math.log(10)),
        (200.0, math.inf, math.inf),
        (200.0, math.nan, math.inf),
        (math.inf, math.nan, math.inf),
        (math.inf, math.inf, 0.0),
        (math.nan, math.nan, 0.0),
        (math.inf, 200.0, -math.inf),
        (math.nan, math.inf, -math.inf),
    ],
)
def test_ratios_rank_nan_above_inf(before: float, after: float, ratio: float) -> None:
    assert log_ratio(before, after) == pytest.approx(ratio)


@settings(deadline=None)
@given(perplexities, perplexities)
def test_a_ratio_turns_around_and_is_no_nan(before: float, after: float) -> None:
    assert log_ratio(before, after) == pytest.approx(-log_ratio(after, before))


@pytest.mark.parametrize(
    ("pairs", "median"),
    [
        ([], None),
        ([(100.0, 103.0)], math.log(1.03)),
        ([(100.0, 100.0), (100.0, 200.0), (100.0, math.nan)], math.log(2)),
        ([(100.0, 100.0), (100.0, math.nan)], math.inf),
        ([(math.nan, 100.0), (100.0, math.nan)], math.inf),
        ([(math.nan, math.nan)] * 3, 0.0),
    ],
)
def test_the_median_loses_no_nan(pairs: list[tuple[float, float]], median: float | None) -> None:
    assert median_log_ratio(pairs) == (median if median is None else pytest.approx(median))


@pytest.mark.parametrize(
    ("ratio", "worse"), [(1.0, False), (1.049, False), (1.051, True), (0.2, False), (math.inf, True), (math.nan, True)]
)
def test_the_tolerance(ratio: float, worse: bool) -> None:
    assert is_median_worse(math.log(ratio)) is worse
    assert is_median_worse(math.log(ratio), 2.0) is (worse and not ratio < 2)


def test_nothing_measured_is_not_worse() -> None:
    assert not is_median_worse(None)

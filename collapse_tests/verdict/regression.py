"""Whether a run is worse than another: exact tests on counts, and a tolerance on perplexity.

docs/baselines.md gives the reasons for the levels and how often they err.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collapse_tests.records import badness
from collapse_tests.settings import DEFAULT_BASELINE_TOLERANCE
from collapse_tests.verdict.exact import drop_p_value

__all__ = [
    "PAIRED_SHARE",
    "REGRESSION_ALPHA",
    "Shift",
    "fisher_p_value",
    "is_median_worse",
    "log_ratio",
    "median_log_ratio",
    "shift",
    "two_sided_p_value",
]

#: How often a run that is no worse may count as worse, for each test made.
REGRESSION_ALPHA = 0.01

#: Share of the smaller run's cases that both must have for pairs to be compared; below it all cases are.
PAIRED_SHARE = 0.5

_MCNEMAR, _FISHER = "McNemar", "Fisher"


@dataclass(frozen=True, slots=True)
class Shift:
    """How often something bad happened before and after, and whether that is more than chance makes it.

    Attributes:
        before, after: how often, among `cases_before` and `cases_after`.
        pairs: cases that both have.
        worse, better: of the pairs, those where it happened only after, and only before.
        test: `McNemar` on the pairs, or `Fisher` on all cases.
        p_value: one-sided; probability of a shift like this or larger by chance alone.
    """

    before: int
    cases_before: int
    after: int
    cases_after: int
    pairs: int
    worse: int
    better: int
    test: str
    p_value: float

    @property
    def is_worse(self) -> bool:
        """Whether it happened more often, at `REGRESSION_ALPHA`."""
        return not self.p_value > REGRESSION_ALPHA


def shift(before: Mapping[str, bool], after: Mapping[str, bool]) -> Shift | None:
    """How often something bad happened in two runs, by case.

    Where at least `PAIRED_SHARE` of the smaller run's cases are in both, the test is McNemar's on those that
    changed, exact and one-sided, and counts are of the pairs. Elsewhere it is Fisher's on all cases; the few that are
    in both make it cautious, as they resemble each other.

    Args:
        before: case → whether it happened.
        after: likewise.

    Returns:
        None where one of the two has no case.
    """
    if not before or not after:
        return None
    shared = [case for case in after if case in before]
    worse = sum(after[case] and not before[case] for case in shared)
    better = sum(before[case] and not after[case] for case in shared)
    if len(shared) >= PAIRED_SHARE * min(len(before), len(after)):
        before = {case: before[case] for case in shared}
        after = {case: after[case] for case in shared}
        test, p_value = _MCNEMAR, drop_p_value(worse, better)
    else:
        test = _FISHER
        p_value = fisher_p_value(sum(before.values()), len(before), sum(after.values()), len(after))
    return Shift(
        before=sum(before.values()),
        cases_before=len(before),
        after=sum(after.values()),
        cases_after=len(after),
        pairs=len(shared),
        worse=worse,
        better=better,
        test=test,
        p_value=p_value,
    )


def two_sided_p_value(there: Shift, back: Shift) -> float:
    """Twice the smaller p-value of a shift's two directions, at most 1: for runs of which neither came first."""
    return min(1.0, 2 * min(there.p_value, back.p_value))


def fisher_p_value(before: int, cases_before: int, after: int, cases_after: int) -> float:
    """Exact one-sided test of Fisher: the probability of at least `after` of `cases_after`.

    All `before + after` are taken to fall on the cases of both runs at random.
    """
    from scipy import stats

    return float(stats.hypergeom.sf(after - 1, cases_before + cases_after, before + after, cases_after))


def log_ratio(before: float, after: float) -> float:
    """log(after / before) of two perplexities, with inf above every number and NaN above inf.

    It is no NaN: what became NaN or inf is worse without measure (inf), what stayed so is as before (0), and what is a
    number again is better without measure (−inf).
    """
    if badness(before) == badness(after):
        return 0.0
    if math.isfinite(before) and math.isfinite(after):
        return math.log(after) - math.log(before)
    return math.inf if badness(after) > badness(before) else -math.inf


def median_log_ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    """The median of `log_ratio` over (before, after); of an even number the mean of the middle two, None of none.

    Where these are −inf and inf, it is inf: what cannot be told must not pass.
    """
    ratios = sorted(log_ratio(before, after) for before, after in pairs)
    if not ratios:
        return None
    middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
    return math.inf if math.isnan(middle) else middle


def is_median_worse(median: float | None, tolerance: float = DEFAULT_BASELINE_TOLERANCE) -> bool:
    """Whether a median of log ratios is above that of the ratio `tolerance`; None is not, as nothing was measured."""
    return median is not None and not median <= math.log(tolerance)

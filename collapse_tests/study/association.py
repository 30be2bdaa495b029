"""Whether two measurements go together: rank correlation, and Fisher's exact test of two rates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.records import badness
from collapse_tests.report.rows import Rate

__all__ = ["Correlation", "correlate", "difference_p_value", "me_ppl_ranks"]

#: Pairs up to which every permutation is looked at; the usual approximation calls three of three in order certain.
_EXACT = 7


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        rho: from -1 to 1; ties share their mean rank.
        p_value: two-sided; exact up to seven pairs, by Student's t beyond.
        n: how many pairs.
    """

    rho: float
    p_value: float
    n: int


def me_ppl_ranks(values: Sequence[float]) -> list[int]:
    """The place of each value among the distinct ones, from the best on."""
    places = {key: place for place, key in enumerate(sorted({badness(value) for value in values}))}
    return [places[badness(value)] for value in values]


def correlate(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Spearman's correlation of pairs of finite numbers; None for fewer than three, or if one side never varies."""
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy import stats

    found = stats.spearmanr(first, second)
    n = len(first)
    p_value = _exact_p_value(first, second) if n <= _EXACT else float(found.pvalue)
    return Correlation(float(found.statistic), p_value, n)


def difference_p_value(first: Rate, second: Rate) -> float | None:
    """Fisher's exact test, two-sided, that two rates are one; None if one of them is a rate of nothing."""
    if not (first.n and second.n):
        return None
    from scipy import stats

    table = [[first.hits, first.n - first.hits], [second.hits, second.n - second.hits]]
    return float(stats.fisher_exact(table).pvalue)


def _exact_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of all ways to pair the values in which the ranks correlate as strongly."""
    import numpy as np
    from scipy import stats

    one, other = (stats.rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    products = np.array(list(itertools.permutations(other))) @ one
    return float(np.mean(abs(products) >= abs(other @ one) - 1e-9))

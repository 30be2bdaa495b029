"""What a number of cases without a collapse is worth: a limit that the rate of collapse does not exceed.

The limit holds for edits from which the tested ones were drawn at random. It says nothing of others, and nothing at all
where the riskiest were picked.
"""

from __future__ import annotations

from dataclasses import dataclass

from collapse_tests.verdict.intervals import rate_interval

__all__ = ["CONFIDENCE", "GOALS", "Certificate", "cases_needed", "certify", "upper_limit"]

#: How surely the rate is below the limit: of a hundred certificates, five may say too much.
CONFIDENCE = 0.95

#: Limits one may want to reach, the largest first.
GOALS = (0.1, 0.01, 0.001, 0.0001)

#: Room for rounding where a limit is to be met exactly.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Certificate:
    """What cases without an error say of the rate of collapse.

    Attributes:
        cases: how many.
        collapses: of them.
        limit: exact one-sided upper limit of the rate, at `CONFIDENCE`.
        goal: the largest of `GOALS` below the limit; None if there is none.
        more: cases without a collapse that are still wanted for the goal; 0 without one.
    """

    cases: int
    collapses: int
    limit: float
    goal: float | None
    more: int


def certify(cases: int, collapses: int = 0) -> Certificate:
    """The certificate for so many cases and collapses.

    Raises:
        ValueError: there are more collapses than cases, or less than none.
    """
    limit = upper_limit(collapses, cases)
    goal = next((goal for goal in GOALS if goal < limit - _ROUNDING), None)
    more = 0 if goal is None else cases_needed(goal, collapses) - cases
    return Certificate(cases, collapses, limit, goal, more)


def upper_limit(collapses: int, cases: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided upper limit of the rate of collapse (Clopper and Pearson 1934); 1 of no cases.

    The largest rate at which so few collapses still have a probability of 1 − `confidence`. Of none in n cases it is
    1 − (1 − confidence)^(1/n).

    Raises:
        ValueError: there are more collapses than cases, or less than none.
    """
    # A two-sided interval leaves out half of what is missing at either side; here all of it is at one.
    return rate_interval(collapses, cases, 2 * confidence - 1)[1]


def cases_needed(bound: float, collapses: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest cases with so many collapses whose upper limit is at most `bound`.

    Raises:
        ValueError: `bound` is not between 0 and 1.
    """
    if not 0 < bound < 1:
        raise ValueError(f"bound {bound} is not between 0 and 1")
    too_few, enough = collapses, collapses + 1  # the limit is 1 where every case collapsed
    while upper_limit(collapses, enough, confidence) > bound + _ROUNDING:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if upper_limit(collapses, middle, confidence) > bound + _ROUNDING:
            too_few = middle
        else:
            enough = middle
    return enough

"""How well risks foretold which edits collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Found", "Prediction", "judge_prediction"]


@dataclass(frozen=True, slots=True)
class Found:
    """What testing the riskiest first finds.

    Attributes:
        tested: how many are tested.
        collapses: how many of those collapse.
        by_chance: how many would be expected among as many drawn at random.
    """

    tested: int
    collapses: int
    by_chance: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Risks against outcomes.

    Attributes:
        edits: how many have both.
        collapses: how many of them collapsed.
        auc: probability that an edit that collapses comes before one that does not; NaN where one of the two kinds
            is missing.
        found: for several numbers of edits tested.
    """

    edits: int
    collapses: int
    auc: float
    found: tuple[Found, ...]


def judge_prediction(collapsed: Sequence[bool], tested: Sequence[int]) -> Prediction:
    """Compare an order with what came of it.

    Args:
        collapsed: for each edit, the riskiest first.
        tested: numbers of edits to test, each 1 or more; those beyond the end are taken as all.
    """
    total = sum(collapsed)
    sizes = dict.fromkeys(min(count, len(collapsed)) for count in tested)
    return Prediction(len(collapsed), total, _auc(collapsed), tuple(_found(collapsed, size) for size in sizes))


def _found(collapsed: Sequence[bool], size: int) -> Found:
    total, hits = sum(collapsed), sum(collapsed[:size])
    return Found(
        tested=size,
        collapses=hits,
        by_chance=size * total / len(collapsed),
    )


def _auc(collapsed: Sequence[bool]) -> float:
    """The Mann-Whitney statistic over its largest value."""
    total, others = sum(collapsed), len(collapsed) - sum(collapsed)
    if not total or not others:
        return math.nan
    from scipy.stats import mannwhitneyu

    places = range(len(collapsed), 0, -1)
    hit = [place for place, is_hit in zip(places, collapsed, strict=True) if is_hit]
    missed = [place for place, is_hit in zip(places, collapsed, strict=True) if not is_hit]
    return float(mannwhitneyu(hit, missed).statistic) / (total * others)

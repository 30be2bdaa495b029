"""What downstream accuracy hands to the verdict: a value per item, and what chance reaches on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ChanceModel", "CrossScore", "ItemScores"]

#: (i, j) → value that the answer to item i gets against the references of item j.
CrossScore = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class ItemScores:
    """One task under one model state.

    Attributes:
        values: per item, 1.0 or 0.0 for right or wrong, anything between for a graded metric such as F1.
        score: the task's own aggregate, 0 to 1; NaN if anything was not finite.
        finite: False if any number that an item was judged by was NaN or infinite.
        cross: for a graded metric, whose `cross(i, i)` is `values[i]`; None where values are only 0.0 and 1.0.
    """

    values: tuple[float, ...]
    score: float
    finite: bool
    cross: CrossScore | None = None


@dataclass(frozen=True, slots=True)
class ChanceModel:
    """What chance reaches on one task.

    Attributes:
        rates: per item, the probability that chance is right; for a graded metric the value it expects.
        note: where they come from, such as `1/k` or `majority label`.
    """

    rates: tuple[float, ...]
    note: str

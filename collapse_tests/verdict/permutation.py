"""Tests for graded metrics, whose distribution under chance no formula gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from collapse_tests.metrics.item_scores import CrossScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PERMUTATIONS",
    "evenly_spaced",
    "permutation_p_value",
    "predicted_totals",
    "shuffled_totals",
    "total_to_exceed",
]

#: Orders drawn, beside the observed one; p-values are multiples of 1/10,000.
PERMUTATIONS = 9999

#: Most items that answers are compared across; the cost grows with their square.
_MOST_ITEMS = 300

# One seed for every run, so that the same answers always get the same verdict.
_SEED = 20240811
_CHUNK = 1000
# Sums of the same numbers in another order differ in their last digits, and must count as equal.
_ROUNDING = 1e-9


def evenly_spaced(items: int) -> list[int]:
    """The items, of 0 to n − 1, whose answers are put against one another: all, or 300 spread evenly over them."""
    if items <= _MOST_ITEMS:
        return list(range(items))
    return [place * items // _MOST_ITEMS for place in range(_MOST_ITEMS)]


def shuffled_totals(values: Sequence[float], cross: CrossScore) -> NDArray[np.float64]:
    """Totals that the answers get when references are shuffled among the n items, (`PERMUTATIONS`,).

    Args:
        values: per item, what its answer gets against its own references.
        cross: called n² times.

    Raises:
        ValueError: `cross(i, i)` is not `values[i]`.
    """
    import numpy as np

    items = len(values)
    table = np.array([[cross(row, column) for column in range(items)] for row in range(items)], dtype=np.float64)
    if not np.allclose(np.diagonal(table), values):
        raise ValueError("answers against their own references do not get the values of their items")
    places = np.arange(items) * items
    return np.concatenate([np.take(table, orders + places).sum(1) for orders in _orders(items)])


@lru_cache(maxsize=4)
def _orders(items: int) -> list[NDArray[np.int32]]:
    """Random orders of 0 to n − 1, together (`PERMUTATIONS`, n); drawing them takes longer than using them."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    sizes = [min(_CHUNK, PERMUTATIONS - first) for first in range(0, PERMUTATIONS, _CHUNK)]
    in_order = np.arange(items, dtype=np.int32)
    return [generator.permuted(np.tile(in_order, (size, 1)), axis=1) for size in sizes]


def permutation_p_value(total: float, shuffled: NDArray[np.float64]) -> float:
    """Share of orders, the observed one among them, in which references give at least `total`: (1 + #≥) / (B + 1)."""
    # Not `>=`: a total that is no number must count against the answers.
    reached = ~(shuffled < total - _ROUNDING)
    return float((1 + int(reached.sum())) / (len(shuffled) + 1))


def total_to_exceed(shuffled: NDArray[np.float64], alpha: float) -> float:
    """The largest total whose p-value is above `alpha`; infinite if every total's is."""
    import numpy as np

    allowed = int(alpha * (len(shuffled) + 1) + _ROUNDING) - 1
    return float(np.sort(shuffled)[-1 - allowed]) + _ROUNDING if allowed >= 0 else float("inf")


def predicted_totals(values: Sequence[float]) -> NDArray[np.float64]:
    """Totals that a model with these values would get if it were drawn again, (`PERMUTATIONS`,).

    The n new values are drawn from a Dirichlet process around the old ones, with one more observation spread evenly
    over 0 and 1. For values of only 0 and 1 that is the beta-binomial of `exact.passes_again`.
    """
    import numpy as np

    generator = np.random.default_rng(_SEED)
    support = np.array([*values, 0.0, 1.0])
    shares = generator.dirichlet([*[1.0] * len(values), 0.5, 0.5], size=PERMUTATIONS)
    return np.asarray(generator.multinomial(len(values), shares) @ support, dtype=np.float64)

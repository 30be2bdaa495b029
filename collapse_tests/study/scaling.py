"""Edited models of a wanted ME-PPL: the editor's own update, multiplied by a factor that is searched for.

ME-PPL need not grow with the factor. What is found is where it first crosses the level, as seen on an even grid; the
bracket is then narrowed by interpolating log ME-PPL and by halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from collapse_tests.weight_update import Delta, LowRankDelta, WeightUpdate

__all__ = ["LARGEST_FACTOR", "TOLERANCE", "Found", "Point", "reach_levels", "scaled"]

#: How far from its level ME-PPL may be, as a share of the level.
TOLERANCE = 0.05

#: Beyond it an update has little to do with the edit.
LARGEST_FACTOR = 1.5

_GRID = 12
_ROUNDS = 6

Point = tuple[int, float]
"""Which update, and the factor."""


@dataclass(frozen=True, slots=True)
class Found:
    """A factor that takes an update to a level, and the ME-PPL it gives."""

    factor: float
    me_ppl: float


def scaled(update: WeightUpdate, factor: float) -> WeightUpdate:
    """`factor` times the change of every weight."""
    return WeightUpdate({name: _scaled(delta, factor) for name, delta in update.deltas.items()})


def reach_levels(
    measure: Callable[[Sequence[Point]], Sequence[float]], updates: int, levels: Sequence[float], unedited: float
) -> list[dict[float, Found]]:
    """For each update, the levels it reaches within `TOLERANCE` by a factor in (0, `LARGEST_FACTOR`].

    Args:
        measure: ME-PPL at each of some points; called a few times, with many points each.
        updates: how many there are.
        levels: of ME-PPL, each above `unedited`.
        unedited: ME-PPL at the factor 0.
    """
    curves: list[dict[float, float]] = [{0.0: unedited} for _ in range(updates)]

    def add(points: Sequence[Point]) -> None:
        if points:
            for (update, factor), me_ppl in zip(points, measure(points), strict=True):
                curves[update][factor] = math.inf if math.isnan(me_ppl) else me_ppl

    add([(update, LARGEST_FACTOR * step / _GRID) for update in range(updates) for step in range(1, _GRID + 1)])
    for _ in range(_ROUNDS):
        add([(update, factor) for update in range(updates) for factor in _wanted(curves[update], levels)])
    reached = [{level: _reached(curve, level) for level in levels} for curve in curves]
    return [{level: found for level, found in one.items() if found is not None} for one in reached]


def _scaled(delta: Delta, factor: float) -> Delta:
    if isinstance(delta, LowRankDelta):
        return LowRankDelta(factor * delta.left, delta.right)
    return type(delta)(factor * delta.delta)


def _crossing(curve: Mapping[float, float], level: float) -> tuple[float, float] | None:
    """The neighbouring factors between which the curve first rises to the level."""
    factors = sorted(curve)
    return next((pair for pair in pairwise(factors) if curve[pair[1]] >= level), None)


def _reached(curve: Mapping[float, float], level: float) -> Found | None:
    ends = [Found(factor, curve[factor]) for factor in _crossing(curve, level) or () if factor > 0]
    near = [end for end in ends if abs(end.me_ppl - level) <= TOLERANCE * level]
    return min(near, key=lambda end: abs(math.log(end.me_ppl / level)), default=None)


def _wanted(curve: Mapping[float, float], levels: Sequence[float]) -> list[float]:
    """Factors to try next for the levels that are crossed and not yet reached."""
    factors: set[float] = set()
    for level in levels:
        ends = _crossing(curve, level)
        if ends is None or _reached(curve, level) is not None:
            continue
        low, high = ends
        factors.add((low + high) / 2)
        if math.isfinite(curve[high]):
            rise = math.log(curve[high] / curve[low])
            factors.add(low + (high - low) * math.log(level / curve[low]) / rise)
    return sorted(factors - curve.keys())

"""A curve on one line: ME-PPL against the number of edits, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from collapse_tests.report.formatting import Notation
from collapse_tests.report.rows import worst_perplexity

__all__ = ["sparkline"]


@dataclass(frozen=True, slots=True)
class _Signs:
    """From low to high, and for what has no place on the scale."""

    levels: str
    infinite: str
    not_a_number: str


_UNICODE = _Signs("▁▂▃▄▅▆▇█", "∞", "✗")
_ASCII = _Signs("_.-=+*#@", "^", "!")


def sparkline(values: Sequence[float], limit: float, notation: Notation, width: int) -> str:
    """One sign per value, or the worst of several neighbours where there are more values than columns.

    The lowest sign is the lowest value; the highest is the limit, or the highest value if that is above it.

    Args:
        values: ME-PPL; inf and NaN get signs of their own.
        limit: of ME-PPL.
        notation: of the stream it goes to.
        width: columns, 1 or more.
    """
    signs = _ASCII if notation.arrow.isascii() else _UNICODE
    shown = [value for part in _parts(values, width) if (value := worst_perplexity(part)) is not None]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "".join(_sign(value, 0.0, 1.0, signs) for value in shown)
    highest = max([*finite, limit] if math.isfinite(limit) else finite)
    return "".join(_sign(value, _log(min(finite)), _log(highest), signs) for value in shown)


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    """The values cut into at most `width` runs of about the same length."""
    count = min(len(values), width)
    cuts = [len(values) * index // max(count, 1) for index in range(count + 1)]
    return [values[start:stop] for start, stop in pairwise(cuts)]


def _sign(value: float, low: float, high: float, signs: _Signs) -> str:
    if math.isnan(value):
        return signs.not_a_number
    if math.isinf(value):
        return signs.infinite
    share = (_log(value) - low) / (high - low) if high > low else 0.0
    return signs.levels[min(int(share * len(signs.levels)), len(signs.levels) - 1)]


def _log(value: float) -> float:
    return math.log10(max(value, 1e-300))

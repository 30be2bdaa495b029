"""Where one value stands among those of all edits of the same model and editor."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collapse_tests.records import Record
from collapse_tests.report.formatting import significant
from collapse_tests.report.html.texts import shown
from collapse_tests.report.rows import growth

__all__ = ["Distribution", "Standing", "Strip", "distributions"]

#: In which order an editor's numbers are shown; others follow by name.
_FIRST = ("ME-PPL growth", "denominator", "update_norm_ratio", "update_norm", "key_norm", "value_norm", "delta_norm")
_MOST = 8
_BINS = 60
#: From this span of positive values on a strip is logarithmic.
_LOGARITHMIC = 50


@dataclass(frozen=True, slots=True)
class Strip:
    """A histogram to draw, one for all sections of a model and editor.

    Attributes:
        id: of the drawing.
        bars: (left, height) of each bar that is not empty, both between 0 and 1.
        width: of a bar.
        low, high: ends of the axis, in words.
        logarithmic: whether the axis is.
    """

    id: str
    bars: tuple[tuple[float, float], ...]
    width: float
    low: str
    high: str
    logarithmic: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """One value of one edit.

    Attributes:
        name: of the number.
        value: in words.
        text: where it stands, in words.
        strip: the distribution.
        position: on the strip's axis, 0 to 1; None for a value that is no number.
    """

    name: str
    value: str
    text: str
    strip: Strip
    position: float | None


class Distribution:
    """The finite values of one number over all edits of one model and editor.

    Args:
        name: of the number.
        values: one per edit that has it; what is not finite counts as measured but lies on no axis.
        drawing: its id.
    """

    def __init__(self, name: str, values: Iterable[float], drawing: str) -> None:
        self.name = name
        measured = list(values)
        self.measured = len(measured)
        self.ranked = sorted(value for value in measured if math.isfinite(value))
        self._low, self._high = (self.ranked[0], self.ranked[-1]) if self.ranked else (0.0, 0.0)
        self._log = self._low > 0 and self._high / self._low >= _LOGARITHMIC
        self.strip = self._draw(drawing)

    @property
    def varies(self) -> bool:
        """Whether there is anything to compare."""
        return self.measured > len(self.ranked) > 0 or self._low < self._high

    def standing(self, value: float) -> Standing:
        """Where `value` stands."""
        return Standing(shown(self.name, 40), significant(value), self._words(value), self.strip, self._position(value))

    def _words(self, value: float) -> str:
        if math.isnan(value):
            return "no number"
        below, above = bisect_left(self.ranked, value), len(self.ranked) - bisect_right(self.ranked, value)
        count = self.measured
        if not above:
            return f"the highest of {count:,}" if math.isfinite(value) else f"beyond every number, of {count:,}"
        if not below:
            return f"the lowest of {count:,}"
        return f"above {100 * below / count:.0f}% and below {100 * above / count:.0f}% of {count:,}"

    def _position(self, value: float) -> float | None:
        if not math.isfinite(value):
            return None
        if self._low >= self._high:
            return 0.5
        low, high, at = self._low, self._high, min(max(value, self._low), self._high)
        if self._log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        # Halves, as the difference of two large numbers of opposite sign overflows.
        return (at / 2 - low / 2) / (high / 2 - low / 2)

    def _draw(self, drawing: str) -> Strip:
        counts = [0] * _BINS
        for value in self.ranked:
            position = self._position(value)
            assert position is not None
            counts[min(int(position * _BINS), _BINS - 1)] += 1
        most = max(counts)
        # Roots, so that a single edit can be seen beside thousands.
        bars = tuple((index / _BINS, round(math.sqrt(count / most), 3)) for index, count in enumerate(counts) if count)
        return Strip(drawing, bars, 1 / _BINS, significant(self._low), significant(self._high), self._log)


def distributions(records: Sequence[Record], drawings: str) -> Mapping[str, Distribution]:
    """Of ME-PPL growth and of the editor's own numbers, the telling ones first; none that is the same everywhere.

    Args:
        records: of one model and editor.
        drawings: how the ids of their drawings begin.
    """
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in numbers_of(record).items():
            values.setdefault(name, []).append(value)
    ordered = sorted(values, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    made = (Distribution(name, values[name], f"{drawings}-{index}") for index, name in enumerate(ordered))
    return {one.name: one for one in [one for one in made if one.varies][:_MOST]}


def numbers_of(record: Record) -> dict[str, float]:
    """By name, what of a record has a distribution."""
    grown = growth(record)
    return ({} if grown is None else {"ME-PPL growth": grown}) | dict(record.diagnostics)

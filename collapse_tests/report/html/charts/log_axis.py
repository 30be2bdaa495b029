"""A logarithmic axis for ME-PPL on which inf and NaN have places of their own.

A logarithmic scale of Vega-Lite has none for them, and powers of ten beyond 10³⁰⁸ are no floating point numbers.
So what is drawn is log10, on a linear scale whose labels are spelt out here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

__all__ = ["LogAxis"]

_TICKS = 7


@dataclass(frozen=True, slots=True)
class LogAxis:
    """Where values lie on the axis.

    Attributes:
        low, high: its ends.
        top: the highest decade for numbers.
        inf, nan: places of what is no number; None where there is none of it.
    """

    low: float
    high: float
    top: float
    inf: float | None
    nan: float | None

    @classmethod
    def over(cls, values: Iterable[float], also: Iterable[float] = ()) -> LogAxis:
        """The axis for `values`; numbers in `also`, such as a limit, are on it, too, if they can be."""
        measured = list(values)
        logs = [math.log10(value) for value in (*measured, *also) if 0 < value < math.inf]
        low = math.floor(min(logs, default=0.0) + 1e-9)
        top = max(math.ceil(max(logs, default=1.0) - 1e-9), low + 1)
        step = (top - low) / 9
        place = top + step
        inf = nan = None
        if any(value == math.inf for value in measured):
            inf, place = place, place + step
        if any(map(math.isnan, measured)):
            nan, place = place, place + step
        return cls(low, place - step / 2 if inf or nan else top, top, inf, nan)

    @property
    def band(self) -> bool:
        """Whether there is anything beyond the numbers."""
        return self.inf is not None or self.nan is not None

    @property
    def edge(self) -> float:
        """Where numbers end and the band begins."""
        return self.top + (self.top - self.low) / 18

    def place(self, value: float) -> float:
        """Of a value that the axis was made for; what lies below it, such as 0, is put at its lower end."""
        if math.isnan(value):
            return self.high if self.nan is None else self.nan
        if value == math.inf:
            return self.high if self.inf is None else self.inf
        return round(max(math.log10(value), self.low), 4) if value > 0 else self.low

    def axis(self, title: str, *, upright: bool = True) -> alt.Axis:
        """Ticks at powers of ten and at what is no number; lying, some give way where there is too little room."""
        import altair as alt

        stride = max(1, math.ceil((self.top - self.low) / _TICKS))
        ticks: dict[float, str] = {
            float(power): _power(power) for power in range(int(self.low), int(self.top) + 1, stride)
        }
        ticks |= {place: name for place, name in ((self.inf, "inf"), (self.nan, "NaN")) if place is not None}
        text = "''"
        for place, name in ticks.items():
            text = f"abs(datum.value - {place!r}) < 1e-6 ? '{name}' : {text}"
        return alt.Axis(
            title=title,
            values=list(ticks),
            tickCount=len(ticks),  # or every other one is left out where that seems enough
            labelExpr=text,
            labelOverlap=False if upright else "greedy",
        )

    def scale(self) -> alt.Scale:
        """The linear scale of its logarithms."""
        import altair as alt

        return alt.Scale(domain=[self.low, self.high], nice=False, zero=False)


def _power(exponent: int) -> str:
    return f"{10**exponent:,}" if 0 <= exponent <= 5 else f"1e{exponent}"

"""Numbers and user text as a reader sees them; every function here returns plain text on one line."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from rich.cells import cell_len

__all__ = ["Notation", "percentage", "perplexity", "shorten_end", "shorten_middle", "significant"]


@dataclass(frozen=True, slots=True)
class Notation:
    """The signs an output stream can show.

    Attributes:
        encoding: what the stream can encode.
        arrow, ellipsis, times, absent: signs for 'becomes', 'left out', 'times' and 'not measured'.
    """

    encoding: str = "utf-8"
    arrow: str = "→"
    ellipsis: str = "…"
    times: str = "×"
    absent: str = "–"

    @classmethod
    def of(cls, encoding: str) -> Notation:
        """The notation for a stream: Unicode signs in any UTF, otherwise ASCII."""
        if encoding.lower().startswith("utf"):
            return cls(encoding)
        return cls(encoding, arrow="->", ellipsis="...", times="x", absent="-")

    def show(self, text: str) -> str:
        """`text` with everything escaped that would move the cursor, hide, reorder or fail to encode."""
        safe = "".join(char if _is_visible(char) else _escape(char) for char in text)
        return safe.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def edit(self, request: Mapping[str, str | None], width: int) -> str:
        """`prompt → target_new` in at most `width` columns; the target gives way last."""
        prompt = self.show(request.get("prompt") or "?")
        target = self.show(request.get("target_new") or "?")
        room = width - cell_len(self.arrow) - 2
        if room < 4:
            return shorten_middle(prompt, width, self.ellipsis)
        target = shorten_end(target, max(room // 2, room - cell_len(prompt)), self.ellipsis)
        prompt = shorten_middle(prompt, room - cell_len(target), self.ellipsis)
        return f"{prompt} {self.arrow} {target}"

    def growth(self, factor: float | None) -> str:
        """A factor with its sign, `×396`; inf and NaN go without."""
        if factor is None:
            return self.absent
        return self.times + significant(factor) if math.isfinite(factor) else str(factor)

    def perplexity(self, value: float | None) -> str:
        """As the function of this name, with a sign for None."""
        return self.absent if value is None else perplexity(value)

    def significant(self, value: float | None) -> str:
        """As the function of this name, with a sign for None."""
        return self.absent if value is None else significant(value)


def perplexity(value: float) -> str:
    """A perplexity: two decimals below a thousand, then whole with separators, then with an exponent."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 999.995:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) < 1e8 else f"{value:.2e}"


def significant(value: float) -> str:
    """Any other number to three significant digits, whole with separators from a thousand on."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 999.5:
        return f"{value:#.3g}".removesuffix(".")
    return f"{value:,.0f}" if abs(value) < 1e8 else f"{value:.2e}"


def percentage(hits: int, n: int) -> str | None:
    """`hits` of `n` in whole percent; None of nothing; 0% only for none of them and 100% only for all."""
    if n == 0:
        return None
    if 0 < hits < n:
        share = 100 * hits / n
        return "<1%" if share < 1 else ">99%" if share > 99 else f"{share:.0f}%"
    return "0%" if hits == 0 else "100%"


def shorten_end(text: str, width: int, ellipsis: str = "…") -> str:
    """The start of `text` in at most `width` terminal columns."""
    if cell_len(text) <= width:
        return text
    mark = ellipsis[: max(width, 0)]
    return _head(text, width - cell_len(mark)) + mark


def shorten_middle(text: str, width: int, ellipsis: str = "…") -> str:
    """The start and the end of `text` in at most `width` terminal columns."""
    if cell_len(text) <= width:
        return text
    mark = ellipsis[: max(width, 0)]
    room = width - cell_len(mark)
    tail = _tail(text, room // 2)
    return _head(text, room - cell_len(tail)).rstrip() + mark + tail.lstrip()


def _head(text: str, cells: int) -> str:
    head = text[: max(cells, 0)]
    while cell_len(head) > cells > 0:
        head = head[:-1]
    return head


def _tail(text: str, cells: int) -> str:
    tail = text[-cells:] if cells > 0 else ""
    while cell_len(tail) > cells:
        tail = tail[1:]
    return tail


def _is_visible(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

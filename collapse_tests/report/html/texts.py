"""Text of records as a page shows it: nothing invisible, nothing endless.

Templates escape what they are given. Here everything is escaped that markup does not care for and readers do: control
characters, marks that reorder the text around them, halves of surrogate pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collapse_tests.report.formatting import Notation

__all__ = ["NOTATION", "cut", "distinct", "edit", "share", "shown", "slug", "visible"]

NOTATION = Notation()

_SHORT = 80
_LONG = 2_000
_KEPT = 20


def visible(text: str) -> str:
    """`text` with everything escaped that cannot be seen, on one line."""
    # Nearly every text is printable as a whole, which is far quicker to find out than to go through it.
    return text if text.isprintable() else NOTATION.show(text)


def shown(text: str | None, limit: int = _SHORT) -> str:
    """`text` on one line of at most about `limit` characters; a sign where there is none."""
    if text is None:
        return NOTATION.absent
    head = visible(text[: limit + 1])
    if len(text) <= limit and len(head) <= limit:
        return head
    # The end of a long text often tells it from its like.
    tail = visible(text[-_KEPT:])[-_KEPT:] if limit > 3 * _KEPT else ""
    return head[: limit - len(tail) - 1] + NOTATION.ellipsis + tail


def cut(text: str, limit: int = _LONG) -> str:
    """The start of `text`, and how much of it is left out."""
    head = visible(text[:limit])
    left_out = len(text) - limit
    return head if left_out <= 0 else f"{head}{NOTATION.ellipsis} ({left_out:,} more characters)"


def edit(request: Mapping[str, str | None], limit: int = _SHORT) -> str:
    """`prompt → target_new` in about `limit` characters."""
    target = shown(request.get("target_new"), limit // 3)
    return f"{shown(request.get('prompt'), limit - len(target))} {NOTATION.arrow} {target}"


def distinct(names: Iterable[str], mark: str = " ({})") -> list[str]:
    """`names`, each that came before with `mark` appended and a number in it."""
    found: dict[str, None] = {}
    for name in names:
        one, number = name, 1
        while one in found:
            number += 1
            one = name + mark.format(number)
        found[one] = None
    return list(found)


def share(value: float) -> str:
    """A share of 1 in percent, with one decimal."""
    return f"{100 * value:.1f}%"


def slug(text: str, limit: int = 40) -> str:
    """A name for files and anchors: ASCII letters, digits and dashes; never empty."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in text[: 4 * limit])
    return "-".join(part for part in kept.split("-") if part)[:limit].strip("-").lower() or "x"

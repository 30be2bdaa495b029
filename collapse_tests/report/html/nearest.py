"""The stable edit that is most like a given one by the shape of its prompt.

Records hold texts and no tokens, so words are what is compared: whether the subject opens the prompt, which the study
found to matter most, then how many words stand before it, how many it has, and how many the prompt has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collapse_tests.records import Record, Verdict

__all__ = ["HOW_NEAR", "NearestStable"]

HOW_NEAR = (
    "Of the stable edits by the same editor on the same model, the nearest is the one that agrees on whether the "
    "subject opens the prompt, then has the smallest difference in words before the subject, in words of the subject, "
    "and in words of the prompt; of several the first."
)

_Shape = tuple[bool, int, int, int]


class NearestStable:
    """Finds the stable edit most like another.

    Args:
        records: of one model and editor.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_shape: dict[_Shape, Record] = {}
        for record in records:
            if record.verdict is Verdict.STABLE:
                self._by_shape.setdefault(_shape(record.request), record)

    def to(self, record: Record) -> Record | None:
        """The nearest one, or None without any stable edit."""
        shape = _shape(record.request)
        best = min(self._by_shape, key=lambda other: _distance(shape, other), default=None)
        return None if best is None else self._by_shape[best]


def _shape(request: Mapping[str, str | None]) -> _Shape:
    prompt, subject = request.get("prompt") or "", request.get("subject") or ""
    at = prompt.find(subject)
    before = len(prompt[: max(at, 0)].split())
    return at == 0, before, len(subject.split()), len(prompt.split())


def _distance(one: _Shape, other: _Shape) -> tuple[bool, int, int, int]:
    return one[0] != other[0], abs(one[1] - other[1]), abs(one[2] - other[2]), abs(one[3] - other[3])

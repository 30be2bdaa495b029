"""A part of a long list, the same on every machine: for arrays of jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from collapse_tests.errors import UsageError

__all__ = ["WHOLE", "Shard", "parse_shard"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `count`-th item from the `index`-th on, counted from 1: shards differ by one item in size at most."""

    index: int
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this shard, in order."""
        return items[self.index - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """`i/n`, with i from 1 to n.

    Raises:
        UsageError: `text` is something else.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is not None:
        index, count = int(match[1]), int(match[2])
        if 1 <= index <= count:
            return Shard(index, count)
    raise UsageError(f"{text!r} is no shard; give i/n with i from 1 to n, such as 1/4")

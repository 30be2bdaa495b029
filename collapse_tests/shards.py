"""A part of a long list, or of many tests, the same on every machine: for arrays of jobs."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from collapse_tests.errors import UsageError

__all__ = ["WHOLE", "Selection", "Shard", "deal", "parse_shard"]

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


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run was to test, as its environment remembers it.

    Attributes:
        shard: `i/n`, or None where the run is not sharded.
        tests: of this shard.
        cases: those of them that leave a record.
        whole_tests, whole_cases: the same of all shards together.
        digest: of the ids of all shards together, with what is asked for in each; 16 hexadecimal digits.
    """

    shard: str | None
    tests: int
    cases: int
    whole_tests: int
    whole_cases: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        if self.shard is None:
            return f"{self.tests:,} tests"
        if self.tests == 0:
            return f"shard {self.shard} has no test, as only {self.whole_tests:,} were selected"
        return f"shard {self.shard}: {self.tests:,} of {self.whole_tests:,} tests"


def deal(tests: Iterable[tuple[str, str]], count: int) -> dict[tuple[str, str], int]:
    """The shard of every test, from 1 on: a function of the set of tests alone, in whatever order they come.

    The tests of a group are dealt in turn by the rank of the SHA-256 of their ids, and the next group goes on where
    the last one stopped. So shards differ by one test in size at most, and by one test of each group.

    Args:
        tests: (group, id) of each.
        count: of shards, at least 1.
    """
    ranked = sorted(set(tests), key=lambda test: (test[0], _rank(test[1]), test[1]))
    return {test: position % count + 1 for position, test in enumerate(ranked)}


def _rank(test_id: str) -> bytes:
    return hashlib.sha256(test_id.encode("utf-8", "surrogatepass")).digest()


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

"""How many sentences each corpus gives, and which ones: the same for the same seed, whatever the order of the text.

A sentence's place in the draw is a number that a hash of seed, corpus and sentence gives. The sentences with the lowest
numbers are the sample: a uniform one over the distinct sentences, drawn in one pass, of which any beginning is again
a uniform sample.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from fractions import Fraction

__all__ = ["Reservoir", "Sample", "apportion", "identity", "in_layers", "shuffled"]

Sample = Mapping[str, Sequence[str]]
"""Of each corpus by name its sentences, in the order of the draw."""


def identity(sentence: str) -> str:
    """What is the same for sentences that differ in case and white space alone."""
    return "".join(sentence.casefold().split())


def apportion(size: int, weights: Mapping[str, int]) -> dict[str, int]:
    """`size` seats in proportion to whole weights, by largest remainder, one at least to each where there are enough.

    No name gets more seats than its weight if `size` is at most the sum of the weights; the counts of a subset are
    hence never larger than those it is apportioned by. Equal remainders go to the larger weight, then to the first.
    """
    names = [name for name, weight in weights.items() if weight > 0]
    seats = dict.fromkeys(weights, 0)
    open_seats = size
    while size >= len(names) and (
        small := [name for name in names if _quota(open_seats, name, names, weights) < 1]
    ):  # one seat each, and the rest is shared without them
        for name in small:
            seats[name] = 1
        names = [name for name in names if name not in small]
        open_seats = size - sum(seats.values())
    quotas = {name: _quota(open_seats, name, names, weights) for name in names}
    seats |= {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (int(quotas[name]) - quotas[name], -weights[name]))
    for name in by_remainder[: open_seats - sum(map(int, quotas.values()))]:
        seats[name] += 1
    return seats


class Reservoir:
    """The sample of one corpus so far; it never holds more than `size` sentences.

    Args:
        size: sentences wanted.
        seed: of the draw.
        corpus: its name, so that corpora that share text are drawn independently.
    """

    def __init__(self, size: int, seed: int, corpus: str) -> None:
        self._size = size
        self._salt = f"{seed}\0{corpus}\0"
        self._heap: list[tuple[int, str]] = []  # the largest number first, by its negative
        self._sentences: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._sentences

    def __len__(self) -> int:
        return len(self._sentences)

    def number(self, key: str) -> int:
        """The place in the draw of the sentence with this `identity`."""
        return _number(self._salt, key)

    def wants(self, number: int) -> bool:
        """Whether a sentence with this number would enter."""
        return len(self._heap) < self._size or number < -self._heap[0][0]

    def add(self, number: int, key: str, sentence: str) -> bool:
        """Enter a sentence that is wanted and not in yet; whether another one had to leave."""
        self._sentences[key] = sentence
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (-number, key))
            return False
        _, last = heapq.heappushpop(self._heap, (-number, key))
        del self._sentences[last]
        return True

    def drawn(self) -> dict[str, str]:
        """The sentences by identity, in the order of the draw."""
        return {key: self._sentences[key] for _, key in sorted(self._heap, reverse=True)}


def in_layers(sample: Sample, sizes: Sequence[int], seed: int) -> list[list[tuple[str, str]]]:
    """Nested sets of (corpus, sentence), the largest first: each begins with all of the next.

    Args:
        sample: the largest set.
        sizes: of the others, falling; one above the set before it gives that whole set.
        seed: of the order within what a set has and the next has not.
    """
    counts = [{name: len(sentences) for name, sentences in sample.items()}]
    for size in sizes:
        counts.append(apportion(min(size, sum(counts[-1].values())), counts[-1]))
    sets: list[list[tuple[str, str]]] = []
    inner = dict.fromkeys(sample, 0)
    rows: list[tuple[str, str]] = []
    for outer in reversed(counts):
        new = [(name, one) for name, some in sample.items() for one in some[inner[name] : outer[name]]]
        rows = [*rows, *shuffled(new, seed)]
        sets.append(rows)
        inner = outer
    return sets[::-1]


def shuffled(rows: Sequence[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """In an order that depends on seed and sentences alone."""
    return sorted(rows, key=lambda row: (_number(f"{seed}\0order\0", row[1]), row))


def _quota(seats: int, name: str, names: Sequence[str], weights: Mapping[str, int]) -> Fraction:
    return Fraction(seats * weights[name], sum(weights[one] for one in names))


def _number(salt: str, key: str) -> int:
    return int.from_bytes(hashlib.blake2b((salt + key).encode("utf-8", "surrogatepass"), digest_size=8).digest())

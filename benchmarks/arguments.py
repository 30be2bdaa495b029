"""Values that several of the benchmarks' command lines take."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

__all__ = ["counts", "names_among"]


def names_among(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma lists of `known` names, for argparse."""
    choices = tuple(known)

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(choices)}")
        return names

    return parse


def counts(text: str) -> tuple[int, ...]:
    """A comma list of positive integers, for argparse."""
    found = tuple(int(part) for part in text.split(","))
    if any(count < 1 for count in found):
        raise argparse.ArgumentTypeError(f"{text!r}: give positive integers")
    return found

"""Documents to sentences, by the rules of the library sentencex."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from collapse_tests.errors import UsageError

__all__ = ["Splitter", "extra_library", "load_splitter", "paragraphs"]

Splitter = Callable[[str], Iterator[str]]
"""The sentences of a document, in its order, without white space around them."""

#: Longest line of text that was broken by hand, and how full all but its last are.
_WRAPPED = 100
_FULL = 0.5


def extra_library(name: str) -> Any:
    """A library of the extra `data`, imported now.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"sentences are built with the library {name}, which cannot be imported ({error}); "
            "`pip install 'pytest-collapse[data]'`"
        ) from None


def load_splitter() -> Splitter:
    """A splitter of English.

    Raises:
        UsageError: sentencex is not installed.
    """
    segment: Callable[[str, str], list[str]] = extra_library("sentencex").segment

    def split(document: str) -> Iterator[str]:
        for paragraph in paragraphs(document):
            yield from filter(None, map(str.strip, segment("en", paragraph)))

    return split


def paragraphs(document: str) -> Iterator[str]:
    """The paragraphs of a document, none of which a sentence crosses.

    Blank lines separate them, and so does every other line break, as in text from web pages, where headings have a
    line of their own. The exception are lines that were broken to a width, as in books: all at most 100 characters
    and all but the last at least half as long as the longest. They are joined.
    """
    for blank, group in groupby(document.splitlines(), key=lambda line: not line.strip()):
        if blank:
            continue
        lines = [line.strip() for line in group]
        longest = max(map(len, lines))
        if longest <= _WRAPPED and all(len(line) >= _FULL * longest for line in lines[:-1]):
            yield " ".join(lines)
        else:
            yield from lines

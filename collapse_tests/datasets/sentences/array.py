"""The items of a long JSON list, one after the other, without holding the list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from collapse_tests.datasets.sentences.lines import LONGEST_LINE, Lines
from collapse_tests.errors import UsageError

__all__ = ["array_items"]

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def array_items(first: str, lines: Lines, where: str) -> Iterator[tuple[int, object]]:
    """Each item with the number of the line it begins on.

    Args:
        first: the line just read, whose first character is the list's bracket.
        lines: those that follow.
        where: the file, for messages.

    Raises:
        UsageError: what follows is not valid JSON, or an item is too long to hold.
    """
    text = _Text(first.lstrip()[1:], lines, where)
    if text.next_character() == "]":
        text.take()
    else:
        while True:
            text.next_character()
            yield text.number, text.value()
            separator = text.take()
            if separator == "]":
                break
            if separator != ",":
                raise text.invalid("a comma or the list's end is missing")
    if text.next_character():
        raise text.invalid("there is more after the list's end")


class _Text:
    """What has been read and not used yet.

    Attributes:
        number: of the line on which it begins.
    """

    def __init__(self, text: str, lines: Lines, where: str) -> None:
        self._text, self._position = text, 0
        self._lines, self._where = lines, where
        self.number = lines.number

    def next_character(self) -> str:
        """The next one that is no white space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            self._use(match.end() if match else self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._more(1):
                return ""

    def take(self) -> str:
        """The next character, used up."""
        character = self.next_character()
        self._position += len(character)
        return character

    def value(self) -> object:
        """The next value.

        Raises:
            UsageError: there is none.
        """
        self.next_character()
        wanted = 1
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                # A value over several lines; twice as many each time, or a long one would take the square of its size.
                if len(self._text) - self._position <= LONGEST_LINE and self._more(wanted):
                    wanted *= 2
                    continue
                raise self.invalid(error.msg, self._text.count("\n", self._position, error.pos)) from None
            except (ValueError, RecursionError) as error:  # an integer of thousands of digits; thousands of brackets
                raise self.invalid(str(error)) from None
            self._use(end)
            return value

    def invalid(self, problem: str, lines: int = 0) -> UsageError:
        """The error of text that is no JSON, so many lines further on."""
        return UsageError(
            f"{self._where} is not valid JSON at line {self.number + lines} ({problem}); correct it there"
        )

    def _use(self, end: int) -> None:
        self.number += self._text.count("\n", self._position, end)
        self._position = end

    def _more(self, count: int) -> bool:
        """Read so many further lines; whether there was one."""
        new = [line for _, line in zip(range(count), self._lines, strict=False)]
        self._text = self._text[self._position :] + "".join(new)
        self._position = 0
        return bool(new)

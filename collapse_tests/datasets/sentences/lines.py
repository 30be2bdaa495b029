"""Lines of a UTF-8 stream, counted, with a bound on their length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from collapse_tests.errors import UsageError

__all__ = ["LONGEST_LINE", "Lines"]

#: Bytes; a longer line is no line, and would be held in memory whole.
LONGEST_LINE = 2**26


class Lines:
    """Iterates over lines with their ends, `\\r\\n` as `\\n`; a leading byte order mark is dropped.

    Args:
        stream: of bytes, at its beginning.
        where: the file, for messages.
        read: takes the bytes of every line.

    Attributes:
        number: of the line given last, from 1.
    """

    def __init__(self, stream: BinaryIO, where: str, read: Callable[[bytes], None]) -> None:
        self._stream, self._where, self._read = stream, where, read
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line.

        Raises:
            UsageError: it is not UTF-8, or longer than `LONGEST_LINE`.
        """
        data = self._stream.readline(LONGEST_LINE + 1)
        if not data:
            raise StopIteration
        self.number += 1
        if len(data) > LONGEST_LINE:
            raise UsageError(
                f"{self._where}, line {self.number} is longer than {LONGEST_LINE:,} bytes; "
                "break it up, or save the corpus as .jsonl with a document a line"
            )
        self._read(data)
        try:
            line = data.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self._where}, line {self.number} is not UTF-8 (byte {error.start} of the line is "
                f"{data[error.start]:#04x}); save the file as UTF-8"
            ) from None
        return line[:-2] + "\n" if line.endswith("\r\n") else line

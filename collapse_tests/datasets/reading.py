"""Files of the user and of this package → text and JSON, with errors that name the file and the remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from pathlib import Path

from collapse_tests.errors import UsageError

__all__ = ["JsonError", "decode_json", "decode_text", "parse_json", "read_shipped", "read_user_bytes", "read_user_file"]


class JsonError(ValueError):
    """A text is no JSON; the message says where and how to right it, and begins with a verb."""


def read_shipped(file_name: str) -> str:
    """Text of a file in this package's `data` directory."""
    from importlib.resources import files  # costs more to import than the rest of this module

    return (files("collapse_tests") / "data" / file_name).read_text(encoding="utf-8")


def read_user_file(
    option: str, source: str, *, shipped: Collection[str], suffixes: Collection[str], published: Collection[str] = ()
) -> str:
    """Text of the file at path `source`; see `read_user_bytes` and `decode_text`."""
    data = read_user_bytes(option, source, shipped=shipped, suffixes=suffixes, published=published)
    return decode_text(data, f"{option} {source!r}")


def read_user_bytes(
    option: str, source: str, *, shipped: Collection[str], suffixes: Collection[str], published: Collection[str] = ()
) -> bytes:
    """Content of the file at path `source`.

    Args:
        option: the option that named the file, for messages.
        source: its value.
        shipped: the names `option` takes besides a path.
        suffixes: the accepted suffixes, with their dot.
        published: the names it takes that may have to be fetched.

    Raises:
        UsageError: the file is absent, not a file, of an unknown suffix or unreadable.
    """
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            raise UsageError(f"{option} {source!r} is a directory; give a file in it, ending in {_either(suffixes)}")
        if not path.exists():
            raise UsageError(f"{option} {source!r} is no file; {_alternatives(source, path, shipped, published)}")
        if path.suffix.lower() not in suffixes:
            raise UsageError(f"{option} {source!r} has an unknown suffix; give a file ending in {_either(suffixes)}")
        return path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # the last two: a NUL character, `~nobody`
        raise UsageError(f"{option} {source!r} cannot be read ({error}); give a readable file") from None


def decode_text(data: bytes, where: str) -> str:
    """`data` as text; a leading byte order mark is dropped, line ends are kept.

    Args:
        data: content of a file.
        where: the file, the start of the message.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{where} is not UTF-8 (byte {error.start} is {data[error.start]:#04x}); save it as UTF-8"
        ) from None


def parse_json(text: str, where: str, *, first_line: int = 1) -> object:
    """`text` as JSON.

    Args:
        text: one JSON document.
        where: file or record, the start of the message.
        first_line: the line of the file that `text` begins on.

    Raises:
        UsageError: with the line and column of the error.
    """
    try:
        return decode_json(text, first_line=first_line)
    except JsonError as error:
        raise UsageError(f"{where} {error}") from None


def decode_json(text: str, *, first_line: int = 1) -> object:
    """`text` as JSON.

    Args:
        text: one JSON document.
        first_line: the line of the file that `text` begins on.

    Raises:
        JsonError: with the line and column of the error.
    """
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        line = error.lineno + first_line - 1
        raise JsonError(
            f"is not valid JSON at line {line}, column {error.colno} ({error.msg}); correct it there"
        ) from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; thousands of brackets
        raise JsonError(f"is not JSON this program can read ({error}); simplify it") from None
    return value


def _either(suffixes: Collection[str]) -> str:
    return " or ".join(suffixes)


def _alternatives(source: str, path: Path, shipped: Collection[str], published: Collection[str]) -> str:
    """What the user may have meant: a known name or a file beside the missing one."""
    close = difflib.get_close_matches(source, [*shipped, *published], n=1)
    if path.parent.is_dir():
        siblings = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
        close += [str(path.parent / name) for name in difflib.get_close_matches(path.name, siblings, n=2)]
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    fetched = f"; or a published set: {', '.join(published)}" if published else ""
    return f"{hint}Give a path or a shipped set: {', '.join(shipped)}{fetched}"

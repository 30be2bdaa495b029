"""Text of users and models where it must stay text: in Markdown and in workflow commands."""

from __future__ import annotations

import string

from collapse_tests.report.formatting import Notation, shorten_middle

__all__ = ["code", "command_data", "command_property", "markdown"]

_NOTATION = Notation()

#: As character references, which Markdown never takes for structure; so not a cell's end, not a mention, not HTML.
_REFERENCES = {ord(char): f"&#{ord(char)};" for char in string.punctuation if char not in ".,-/()'\"=+;"}

#: Characters of a text at most, so that one request does not fill a summary.
_LONGEST = 2_000


def markdown(text: str, width: int = _LONGEST) -> str:
    """Text on one line that GitHub's Markdown shows as it is, in a table's cell too.

    Args:
        text: any.
        width: columns at most; what is longer loses its middle.
    """
    shown = shorten_middle(_NOTATION.show(text), width).translate(_REFERENCES)
    return shown.replace("&#64;", "&#64;&#8203;")  # references alone do not keep names from being mentioned


def code(text: str, width: int = _LONGEST) -> str:
    """As `markdown`, in the typeface of code, where a copy is exact: nothing is mentioned there."""
    shown = shorten_middle(_NOTATION.show(text), width)
    return f"<code>{shown.translate(_REFERENCES)}</code>"


def command_data(text: str) -> str:
    """The message of a workflow command; newlines stay newlines."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """The value of a workflow command's property."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")

"""Values of a corpus's records to the text of a document."""

from __future__ import annotations

from collapse_tests.errors import UsageError

__all__ = ["document_text", "without_surrogates"]

_FIELDS = ("text", "Text")


def document_text(value: object, field: str | None, where: str, remedy: str = "add it") -> str:
    """The text of a record: a string, or an object with one in `field`, else in `text` or `Text`.

    Args:
        value: as JSON or a data set has it.
        field: that holds the text; None for the usual ones.
        where: the record, the start of messages.
        remedy: what to do where the field is missing.

    Raises:
        UsageError: there is no such field, or it holds something else.
    """
    if isinstance(value, dict):
        found = next((name for name in ((field,) if field else _FIELDS) if name in value), None)
        if found is None:
            known = ", ".join(map(str, list(value)[:12])) or "none"
            raise UsageError(
                f"{where}: field {field or 'text'!r} is missing (the record's fields: {known:.200}); {remedy}"
            )
        value, where = value[found], f"{where}, field {found!r}"
    if not isinstance(value, str):
        raise UsageError(f"{where}: {value!r:.60} is not text; give a string")
    return value


def without_surrogates(text: str) -> str:
    """The text with U+FFFD, three times, for half a surrogate pair, which no UTF-8 can hold."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

"""Values of a corpus's records to the text of a document."""

from __future__ import annotations

from collapse_tests.errors import UsageError

__all__ = ["document_text"]

_FIELDS = ("text", "Text")


def document_text(value: object, field: str | None, where: str) -> str:
    """The text of a record: a string, or an object with one in `field`, else in `text` or `Text`.

    Half a surrogate pair, which no UTF-8 can hold, becomes U+FFFD, so that its sentence is rejected and no other.

    Raises:
        UsageError: there is no such field, or it holds something else; the message starts with `where`.
    """
    if isinstance(value, dict):
        found = next((name for name in ((field,) if field else _FIELDS) if name in value), None)
        if found is None:
            known = ", ".join(map(str, list(value)[:12])) or "none"
            raise UsageError(
                f"{where}: field {field or 'text'!r} is missing (the record's fields: {known}); "
                "name the one with the text: NAME=SOURCE:FIELD"
            )
        value, where = value[found], f"{where}, field {found!r}"
    if not isinstance(value, str):
        raise UsageError(f"{where}: {value!r:.60} is not text; give a string")
    return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")

"""Whether a source is a set of requests or of sentences."""

from __future__ import annotations

from pathlib import Path

from collapse_tests.datasets.catalogue import CATALOGUE, Kind
from collapse_tests.datasets.reading import JsonError, decode_json, decode_text, read_user_bytes
from collapse_tests.datasets.requests import NAMED_SETS
from collapse_tests.datasets.texts import SHIPPED_TEXTS

__all__ = ["NAMES", "OPTION", "kind_of"]

#: How messages of the commands name what they were given.
OPTION = "SOURCE"

_SHIPPED = (*(name for name in NAMED_SETS if name not in CATALOGUE), *SHIPPED_TEXTS)
_OF_SUFFIX = {".txt": Kind.TEXTS, ".jsonl": Kind.REQUESTS}

#: Every name a source may have.
NAMES = (*_SHIPPED, *CATALOGUE)


def kind_of(source: str, wanted: Kind | None) -> Kind:
    """What `source` holds: by its name, else as `wanted`, else by its suffix, else as its first record looks.

    Raises:
        UsageError: there is no such set or file, or it is unreadable.
    """
    if source in CATALOGUE:
        return CATALOGUE[source].kind
    if source in NAMES:
        return Kind.TEXTS if source in SHIPPED_TEXTS else Kind.REQUESTS
    if wanted is not None:
        return wanted
    suffixes = (".json", ".jsonl", ".txt")
    data = read_user_bytes(OPTION, source, shipped=_SHIPPED, suffixes=suffixes, published=tuple(CATALOGUE))
    known = _OF_SUFFIX.get(Path(source).suffix.lower())
    return known or _kind_of_json(decode_text(data, f"{OPTION} {source!r}"))


def _kind_of_json(text: str) -> Kind:
    try:
        document = decode_json(text)
    except JsonError:
        return Kind.REQUESTS  # whoever reads it then says where it is broken
    first = document[0] if isinstance(document, list) and document else None
    return Kind.TEXTS if isinstance(first, str) or (isinstance(first, dict) and "Text" in first) else Kind.REQUESTS

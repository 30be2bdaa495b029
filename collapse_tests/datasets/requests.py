"""Edit requests by shipped name or path, each with an id that does not depend on how many are asked for."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from collapse_tests.datasets.layouts import RecordError, parse_record
from collapse_tests.datasets.reading import parse_json, read_shipped, read_user_file
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import UsageError

__all__ = ["SMOKE_SIZE", "NamedRequest", "ShippedSet", "load_requests", "stem_of"]

#: How many requests of each parent set the smoke set takes.
SMOKE_SIZE = 8

_OPTION = "--edits"
_SUFFIXES = (".json", ".jsonl")


class ShippedSet(StrEnum):
    """The request sets inside this package; `smoke` is the start of `hard` and of `normal`."""

    SMOKE = "smoke"
    HARD = "hard"
    NORMAL = "normal"


_NAMES = tuple(str(name) for name in ShippedSet)


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """An edit request and its id.

    Attributes:
        edit_id: `<stem>:<index>`: the file it comes from and its position there, 0-based, at least four digits.
        request: the request.
    """

    edit_id: str
    request: EditRequest


@dataclass(frozen=True, slots=True)
class _Raw:
    """A record before its fields are looked at: `where` it stands in words, and its value or what broke it."""

    where: str
    value: object
    error: UsageError | None = None


def load_requests(
    source: str, *, limit: int | None = None, sample: int | None = None, seed: int = 0
) -> list[NamedRequest]:
    """The requests of `source`, in the order of the file.

    Args:
        source: a `ShippedSet` name, or the path of a JSON or JSON lines file.
        limit: keep at most this many, the first ones.
        sample: before that, keep this many drawn without replacement; all if there are fewer.
        seed: of the drawing.

    Raises:
        UsageError: naming file, record, field and remedy. Every record is checked, whatever is kept.
    """
    named = _load_all(source)
    if sample is not None and sample < len(named):
        drawn = random.Random(seed).sample(range(len(named)), sample)
        named = [named[index] for index in sorted(drawn)]
    return named if limit is None else named[:limit]


def stem_of(source: str) -> str:
    """The part of edit ids before the colon: the file's stem, made safe for node ids."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", Path(source).stem)


def _load_all(source: str) -> list[NamedRequest]:
    if source == ShippedSet.SMOKE:
        return [request for parent in (ShippedSet.HARD, ShippedSet.NORMAL) for request in _shipped(parent)[:SMOKE_SIZE]]
    if source in _NAMES:
        return _shipped(ShippedSet(source))
    text = read_user_file(_OPTION, source, shipped=_NAMES, suffixes=_SUFFIXES)
    lines = source.lower().endswith(".jsonl")
    return _parse_all(source, _raw_lines(source, text) if lines else _raw_document(source, text))


def _shipped(name: ShippedSet) -> list[NamedRequest]:
    file_name = f"{name}.jsonl"
    return _parse_all(file_name, _raw_lines(file_name, read_shipped(file_name)))


def _raw_lines(source: str, text: str) -> Iterator[_Raw]:
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _Raw(f"line {number}", parse_json(line, f"{_OPTION} {source!r}", first_line=number))
        except UsageError as error:
            yield _Raw(f"line {number}", None, error)


def _raw_document(source: str, text: str) -> Iterator[_Raw]:
    if not text.strip():
        return
    document = parse_json(text, f"{_OPTION} {source!r}")
    if isinstance(document, list):
        yield from (_Raw(f"record {index}", value) for index, value in enumerate(document))
    elif isinstance(document, dict) and not {"prompt", "requested_rewrite"} & document.keys():
        pairs = enumerate(document.items())
        yield from (_Raw(f"record {index} ({key!r})", value) for index, (key, value) in pairs)
    else:
        what = "a single record" if isinstance(document, dict) else "no list"
        raise UsageError(f"{_OPTION} {source!r} holds {what}; give a list of records, or an object of id to record")


def _parse_all(source: str, raws: Iterator[_Raw]) -> list[NamedRequest]:
    stem = stem_of(source)
    named: list[NamedRequest] = []
    broken: list[str] = []
    for index, raw in enumerate(raws):
        try:
            if raw.error is not None:
                broken.append(str(raw.error))
                continue
            named.append(NamedRequest(f"{stem}:{index:04d}", parse_record(raw.value)))
        except RecordError as error:
            broken.append(f"{_OPTION} {source!r}, {raw.where}: {error}")
    if broken:
        raise UsageError(broken[0] + _others(len(broken) - 1))
    if not named:
        raise UsageError(f"{_OPTION} {source!r} holds no records; give a file with at least one")
    return named


def _others(count: int) -> str:
    return "" if count == 0 else f" ({count} further {'record is' if count == 1 else 'records are'} broken too)"

"""The records of a request file → good requests, broken records and duplicates: nothing vanishes unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from collapse_tests.datasets.layouts import MARKERS, Layout, RecordError, layout_of, parse_record
from collapse_tests.datasets.reading import JsonError, decode_json, parse_json
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import UsageError
from collapse_tests.wording import counted

__all__ = [
    "BrokenRecord",
    "NamedRequest",
    "RawRecord",
    "Screened",
    "join",
    "raw_records",
    "screen",
    "stem_of",
]


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
class RawRecord:
    """A record before its fields are looked at: `where` it stands in words, and its value or what broke it."""

    where: str
    value: object
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that is no edit request: where it stands and why, in words."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Screened:
    """What a request file holds.

    Attributes:
        requests: the good ones, in the order of the file; their ids count the broken ones too.
        broken: the others, likewise.
        duplicates: (id, id of the first) of requests that repeat prompt, subject and target_new; they are among
            `requests`.
        conflicting: how many requests repeat prompt and subject of an earlier one and want another answer.
        layout: of all records, or None if none has any.
    """

    requests: tuple[NamedRequest, ...]
    broken: tuple[BrokenRecord, ...]
    duplicates: tuple[tuple[str, str], ...]
    conflicting: int
    layout: Layout | None

    def first(self, limit: int | None) -> Screened:
        """With at most this many requests, the first ones."""
        return self if limit is None else replace(self, requests=self.requests[:limit])

    def note(self, source: str) -> str | None:
        """One line on what a run of `source` leaves out or repeats; None where there is nothing to say."""
        if not (self.broken or self.duplicates):
            return None
        parts = [f"{source}: {counted(len(self.requests), 'request')}"]
        if self.broken:
            names = f"collapse-data check {source} names {'it' if len(self.broken) == 1 else 'them'}"
            parts.append(f"{counted(len(self.broken), 'broken record')} left out ({names})")
        if self.duplicates:
            parts.append(counted(len(self.duplicates), "duplicate"))
        return ", ".join(parts)


def stem_of(source: str) -> str:
    """The part of edit ids before the colon: the file's stem, made safe for node ids."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", Path(source).stem)


def screen(text: str, where: str, *, stem: str, lines: bool) -> Screened:
    """Look at every record of a request file.

    Args:
        text: the file's.
        where: the file, the start of messages.
        stem: of the ids.
        lines: whether there is one JSON document a line, rather than one in all.

    Raises:
        UsageError: the file is no JSON, holds no records, or records of more than one layout.
    """
    named: list[NamedRequest] = []
    broken: list[BrokenRecord] = []
    first: tuple[Layout, str] | None = None
    for index, raw in enumerate(raw_records(text, where, lines=lines)):
        if raw.problem is not None:
            broken.append(BrokenRecord(raw.where, raw.problem))
            continue
        layout = layout_of(raw.value)
        if layout is not None:
            first = first or (layout, raw.where)
            if layout is not first[0]:
                raise UsageError(
                    f"{where} mixes layouts: {first[1]} is in {first[0]}, {raw.where} in {layout}; "
                    "give a file to each layout"
                )
        try:
            named.append(NamedRequest(f"{stem}:{index:04d}", parse_record(raw.value)))
        except RecordError as error:
            broken.append(BrokenRecord(raw.where, str(error)))
    if not named and not broken:
        raise UsageError(f"{where} holds no records; give a file with at least one")
    duplicates, conflicting = _repeated(named)
    return Screened(tuple(named), tuple(broken), duplicates, conflicting, None if first is None else first[0])


def join(*parts: Screened) -> Screened:
    """Several files as one; what repeats from one to the next is not looked for."""
    return Screened(
        tuple(named for part in parts for named in part.requests),
        tuple(record for part in parts for record in part.broken),
        tuple(pair for part in parts for pair in part.duplicates),
        sum(part.conflicting for part in parts),
        parts[0].layout,
    )


def raw_records(text: str, where: str, *, lines: bool) -> Iterator[RawRecord]:
    """The records of a request file as JSON has them; see `screen`.

    Raises:
        UsageError: the file is no JSON or no list of records.
    """
    return _of_lines(text) if lines else _of_document(text, where)


def _of_lines(text: str) -> Iterator[RawRecord]:
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield RawRecord(f"line {number}", decode_json(line, first_line=number))
        except JsonError as error:
            yield RawRecord(f"line {number}", None, str(error))


def _of_document(text: str, where: str) -> Iterator[RawRecord]:
    if not text.strip():
        return
    document = parse_json(text, where)
    if isinstance(document, list):
        yield from (RawRecord(f"record {index}", value) for index, value in enumerate(document))
    elif isinstance(document, dict) and not MARKERS & document.keys():
        pairs = enumerate(document.items())
        yield from (RawRecord(f"record {index} ({key!r})", value) for index, (key, value) in pairs)
    else:
        what = "a single record" if isinstance(document, dict) else "no list"
        raise UsageError(f"{where} holds {what}; give a list of records, or an object of id to record")


def _repeated(named: list[NamedRequest]) -> tuple[tuple[tuple[str, str], ...], int]:
    """The duplicates and how many conflict; see `Screened`."""
    answers: dict[tuple[str, str], dict[str, str]] = {}
    duplicates = []
    conflicting = 0
    for item in named:
        request = item.request
        seen = answers.setdefault((request.prompt, request.subject), {})
        if request.target_new in seen:
            duplicates.append((item.edit_id, seen[request.target_new]))
            continue
        conflicting += bool(seen)
        seen[request.target_new] = item.edit_id
    return tuple(duplicates), conflicting

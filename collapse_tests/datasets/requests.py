"""Edit requests by name or path, each with an id that does not depend on how many are asked for."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from enum import StrEnum

from collapse_tests.datasets.catalogue import CATALOGUE, Kind, names_of
from collapse_tests.datasets.reading import decode_text, read_shipped, read_user_bytes
from collapse_tests.datasets.screening import (
    BrokenRecord,
    NamedRequest,
    RawRecord,
    Screened,
    join,
    raw_records,
    screen,
    stem_of,
)
from collapse_tests.errors import UsageError

__all__ = [
    "NAMED_SETS",
    "SMOKE_SIZE",
    "NamedRequest",
    "RequestFile",
    "ShippedSet",
    "load_requests",
    "request_files",
    "screen_requests",
    "stem_of",
]

#: How many requests of each parent set the smoke set takes.
SMOKE_SIZE = 8

_OPTION = "--edits"
_SUFFIXES = (".json", ".jsonl")
#: How many screened files are kept: a run looks at the same ones more than once.
_KEPT = 8


class ShippedSet(StrEnum):
    """The request sets inside this package; `smoke` is the start of `hard` and of `normal`.

    The file of each is its name with `_` for `-`, as in ids.
    """

    SMOKE = "smoke"
    HARD = "hard"
    NORMAL = "normal"
    HARDEDIT_SMOLLM2 = "hardedit-smollm2"


_NAMES = tuple(str(name) for name in ShippedSet)
#: What `--edits` takes besides paths: shipped sets, then published ones.
NAMED_SETS = (*_NAMES, *names_of(Kind.REQUESTS))

_screened: dict[tuple[str, str, str], Screened] = {}


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A request file that was found, before its records are looked at.

    Attributes:
        name: for messages, with the option.
        data: content.
        stem: of the ids.
        lines: whether there is one JSON document a line, rather than one in all.
        limit: keep at most this many records, or None.
    """

    name: str
    data: bytes
    stem: str
    lines: bool
    limit: int | None = None

    def records(self) -> list[RawRecord]:
        """The records as JSON has them.

        Raises:
            UsageError: the file is no JSON or no list of records.
        """
        return list(raw_records(decode_text(self.data, self.name), self.name, lines=self.lines))[: self.limit]

    def screened(self) -> Screened:
        """Its requests and what is wrong with it; looked at once, as long as the content stays.

        Raises:
            UsageError: the file as a whole is unusable.
        """
        key = (self.name, self.stem, hashlib.sha256(self.data).hexdigest())
        if key not in _screened:
            found = screen(decode_text(self.data, self.name), self.name, stem=self.stem, lines=self.lines)
            while len(_screened) >= _KEPT:
                _screened.pop(next(iter(_screened)))
            _screened[key] = found
        return _screened[key].first(self.limit)


def load_requests(
    source: str,
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> list[NamedRequest]:
    """The requests of `source`, in the order of the file.

    Args:
        source: a `ShippedSet` name, the name of a published set, which is fetched if it is not in the cache, or the
            path of a JSON or JSON lines file.
        limit: keep at most this many, the first ones.
        sample: before that, keep this many drawn without replacement; all if there are fewer.
        seed: of the drawing.
        skip_broken: leave out records that are no requests. Published sets, which nobody can mend, are read so anyway.

    Raises:
        UsageError: naming file, record, field and remedy. Every record is checked, whatever is kept.
        InfrastructureError: a published set could not be fetched.
    """
    found = screen_requests(source)
    if found.broken and not (skip_broken or source in CATALOGUE):
        raise UsageError(_complaint(f"{_OPTION} {source!r}", found.broken))
    if not found.requests:
        why = _complaint(f"{_OPTION} {source!r}", found.broken)
        raise UsageError(f"{_OPTION} {source!r} holds no usable record: {why}")
    named = list(found.requests)
    if sample is not None and sample < len(named):
        drawn = random.Random(seed).sample(range(len(named)), sample)
        named = [named[index] for index in sorted(drawn)]
    return named if limit is None else named[:limit]


def screen_requests(source: str) -> Screened:
    """Every record of `source`, good or broken; see `load_requests`.

    Raises:
        UsageError: there is no such set or file, or it is unusable as a whole.
        InfrastructureError: a published set could not be fetched.
    """
    return join(*(file.screened() for file in request_files(source)))


def request_files(source: str, option: str = _OPTION) -> list[RequestFile]:
    """What `source` consists of: one file, but for `smoke`, which is the start of two.

    Raises:
        UsageError: there is no such set or file, or it is unreadable.
        InfrastructureError: a published set could not be fetched.
    """
    if source == ShippedSet.SMOKE:
        return [_shipped(parent, SMOKE_SIZE) for parent in (ShippedSet.HARD, ShippedSet.NORMAL)]
    if source in _NAMES:
        return [_shipped(ShippedSet(source))]
    where = f"{option} {source!r}"
    if source in CATALOGUE:
        return [RequestFile(where, _published(source, where), stem_of(source), lines=False)]
    data = read_user_bytes(option, source, shipped=_NAMES, suffixes=_SUFFIXES, published=names_of(Kind.REQUESTS))
    return [RequestFile(where, data, stem_of(source), lines=source.lower().endswith(".jsonl"))]


def _published(name: str, where: str) -> bytes:
    if CATALOGUE[name].kind is not Kind.REQUESTS:
        raise UsageError(f"{where} is a set of sentences, not of requests; give it to --ppl-texts")
    from collapse_tests.datasets.fetching import published_file

    return published_file(name).read_bytes()


def _shipped(name: ShippedSet, limit: int | None = None) -> RequestFile:
    file_name = f"{stem_of(name)}.jsonl"
    return RequestFile(file_name, read_shipped(file_name).encode(), stem_of(name), lines=True, limit=limit)


def _complaint(where: str, broken: tuple[BrokenRecord, ...]) -> str:
    """The first fault, and how many there are besides."""
    count = len(broken) - 1
    others = f" ({count} further {'record is' if count == 1 else 'records are'} broken too)" if count else ""
    return f"{where}, {broken[0].where}: {broken[0].why}{others}"

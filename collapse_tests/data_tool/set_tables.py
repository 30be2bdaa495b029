"""What the commands on sets print."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from collapse_tests.commands import sayer
from collapse_tests.data_tool.kinds import NAMES, OPTION, kind_of
from collapse_tests.datasets.catalogue import CATALOGUE, Kind
from collapse_tests.datasets.fetching import state_of
from collapse_tests.datasets.layouts import RecordError, parse_record
from collapse_tests.datasets.requests import RequestFile, request_files
from collapse_tests.datasets.screening import BrokenRecord, RawRecord, join
from collapse_tests.datasets.texts import TextFile, text_file
from collapse_tests.errors import UsageError
from collapse_tests.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_check", "print_first", "print_record", "print_sets"]

#: How many broken records and how many duplicates are named.
_NAMED = 20
#: Of a request, those that the table of the first ones has.
_SHOWN_FIELDS = ("prompt", "subject", "target_new", "ground_truth")

_SHIPPED_ABOUT = {
    "smoke": "the first requests of hard and of normal",
    "hard": "requests on which ROME collapses the default model",
    "normal": "requests on which ROME leaves it stable",
    "hardedit-smollm2": "made to collapse the default model under ROME",
    "default": "plain English sentences",
    "default-1k": "those of default and more",
}


def print_sets(console: Console) -> None:
    """Every named set, a row each."""
    table = _table("name", "kind", "what", ">records", ">bytes", "where")
    for name in NAMES:
        entry = CATALOGUE.get(name)
        if entry is None:
            kind = kind_of(name, None)
            count, size = _extent(name, kind)
            about = _SHIPPED_ABOUT.get(name, "comes with the package")
            row = (name, kind, about, f"{count:,}", f"{size:,}" if size else "", "shipped")
        else:
            size_text = "" if entry.size is None else f"{entry.size:,}"
            row = (name, entry.kind, entry.about, f"{entry.records:,}", size_text, state_of(entry))
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)


def print_check(source: str, kind: Kind, console: Console) -> bool:
    """What a source holds and what is wrong with it; whether nothing is.

    Raises:
        UsageError: there is no such set or file, or it is unreadable.
        InfrastructureError: a published set could not be fetched.
    """
    say = sayer(console)
    files = request_files(source, OPTION) if kind is Kind.REQUESTS else [text_file(source, OPTION)]
    try:
        what, counts, broken, repeated = _findings(files)
    except UsageError as error:
        say(f"broken: {error}")
        return False
    digests = [("SHA-256", hashlib.sha256(file.data).hexdigest()) for file in files]
    say(f"{source}: {what}")
    for name, value in (*counts, *digests):
        say(f"  {name:<12} {value if isinstance(value, str) else format(value, ',')}")
    _say_some(say, [f"{record.where}: {record.why}" for record in broken], "broken")
    _say_some(say, [f"{one} repeats {first}" for one, first in repeated], "duplicates")
    return not broken


def print_first(source: str, kind: Kind, limit: int, console: Console) -> None:
    """The first good records.

    Raises:
        UsageError: there is no such set or file, or it is unusable as a whole.
        InfrastructureError: a published set could not be fetched.
    """
    rows: list[tuple[str, ...]]
    if kind is Kind.TEXTS:
        sentences, _ = text_file(source, OPTION).screened()
        total = len(sentences)
        table = _table(">sentence", "text")
        rows = [(str(index), sentence) for index, sentence in enumerate(sentences[:limit])]
    else:
        found = join(*(file.screened() for file in request_files(source, OPTION))).requests
        total = len(found)
        table = _table("id", "prompt", "subject", "new", "old")
        rows = [
            (named.edit_id, *(getattr(named.request, field) or "" for field in _SHOWN_FIELDS))
            for named in found[:limit]
        ]
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    if total > len(rows):
        sayer(console)(f"{len(rows):,} of {total:,}; --limit shows more")


def print_record(source: str, kind: Kind, index: int, console: Console) -> None:
    """One record in full: as the file has it, and the request that is made of it.

    Raises:
        UsageError: there is no such set or file, it is unusable as a whole, or it has no such record.
        InfrastructureError: a published set could not be fetched.
    """
    say = sayer(console)
    records = _records(source, kind)
    if index >= len(records):
        held = counted(len(records), "record")
        raise UsageError(f"--record {index}: {source!r} has {held}; give 0 to {len(records) - 1}")
    record = records[index]
    problem = record.problem
    if kind is Kind.TEXTS and problem is None:
        say(str(record.value))
        return
    say(record.where)
    if problem is None or record.value is not None:
        say(json.dumps(record.value, indent=2, ensure_ascii=False))
    if problem is None:
        try:
            for name, value in asdict(parse_record(record.value)).items():
                say(f"{name:<22} {'' if value is None else value}".rstrip())
        except RecordError as error:
            problem = str(error)
    if problem is not None:
        say(f"broken: {problem}")


def _records(source: str, kind: Kind) -> list[RawRecord]:
    if kind is Kind.TEXTS:
        return list(text_file(source, OPTION).records())
    return [record for file in request_files(source, OPTION) for record in file.records()]


def _findings(
    files: Sequence[RequestFile | TextFile],
) -> tuple[str, list[tuple[str, int]], tuple[BrokenRecord, ...], tuple[tuple[str, str], ...]]:
    """What it is, how many of what, the broken records, and what repeats what."""
    if isinstance(files[0], TextFile):
        sentences, broken = files[0].screened()
        first: dict[str, int] = {}
        repeated = tuple(
            (f"sentence {index}", f"sentence {first[sentence]}")
            for index, sentence in enumerate(sentences)
            if first.setdefault(sentence, index) != index
        )
        counts = [("usable", len(sentences)), ("broken", len(broken)), ("duplicates", len(repeated))]
        return "sentences", counts, broken, repeated
    found = join(*(file.screened() for file in files if isinstance(file, RequestFile)))
    what = "requests" if found.layout is None else f"requests in {found.layout}"
    counts = [("usable", len(found.requests)), ("broken", len(found.broken)), ("duplicates", len(found.duplicates))]
    return what, [*counts, ("conflicting", found.conflicting)], found.broken, found.duplicates


def _extent(name: str, kind: Kind) -> tuple[int, int]:
    """Records and bytes of a shipped set; no bytes where it has no file of its own."""
    if kind is Kind.TEXTS:
        file = text_file(name)
        return len(file.screened()[0]), len(file.data)
    files = request_files(name)
    return sum(len(file.records()) for file in files), len(files[0].data) if len(files) == 1 else 0


def _table(*columns: str) -> Table:
    """A table with these headings; one that begins with `>` is for numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=justify, overflow="fold")
    return table


def _say_some(say: Callable[[str], None], lines: Sequence[str], what: str) -> None:
    """The first of `lines`, and how many there are besides."""
    for line in lines[:_NAMED]:
        say(f"  {line}")
    if len(lines) > _NAMED:
        say(f"  and {len(lines) - _NAMED:,} more {what}")

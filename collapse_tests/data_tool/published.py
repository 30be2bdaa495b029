"""`collapse-data list`, `fetch`, `check` and `show`: sets by name or path, whole and in good order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import UsageError
from collapse_tests.network import go_offline, parse_mirrors, use_mirrors
from collapse_tests.option_values import parse_names, parse_path, parse_positive_integer

if TYPE_CHECKING:
    from collapse_tests.datasets.catalogue import Kind

__all__ = ["check", "fetch", "list_sets", "show"]

Mirrors = Annotated[
    list[str] | None, typer.Option("--mirror", metavar="URL", help="Ask below this address first. Repeats.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]
KindText = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="requests or texts, if it is not clear.")]


def list_sets() -> None:
    """Every set that has a name: what it is, how large, and where."""
    with reporting() as console:
        from collapse_tests.data_tool.set_tables import print_sets

        print_sets(console)


def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Published sets; see list.")],
    file: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="Take the set from this file, downloaded by hand.")
    ] = None,
    mirror: Mirrors = None,
    offline: Offline = False,
) -> None:
    """Put published sets into the cache, where --edits and --ppl-texts find them; size and checksum are compared."""
    with reporting() as console:
        from collapse_tests.datasets.fetching import adopt_file, published, published_file

        say = sayer(console)
        _reach(mirror, offline=offline)
        wanted = list(dict.fromkeys(name for text in names for name in parsed("NAME", parse_names, text)))
        for name in wanted:
            if _is_shipped(name):
                raise UsageError(f"{name!r} comes with the package; there is nothing to fetch")
            published(name)
        if file is None:
            for name in wanted:
                say(f"{name}: {published_file(name, say)}")
            return
        if len(wanted) > 1:
            sets = ", ".join(wanted)
            raise UsageError(f"--from {file!r} is one file, and {sets} are several sets; fetch each alone")
        source = Path(parsed("--from", parse_path, file))
        say(f"{wanted[0]}: {adopt_file(wanted[0], source, say)}")


def check(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Names or files of requests or sentences.")],
    kind: KindText = None,
    mirror: Mirrors = None,
    offline: Offline = False,
) -> None:
    """Look at every record: counts, duplicates, what is broken and why. The exit status is 1 if anything is broken."""
    with reporting() as console:
        from collapse_tests.data_tool.set_tables import print_check

        _reach(mirror, offline=offline)
        wanted = _kind(kind)
        sound = [print_check(source, _kind_of(source, wanted), console) for source in sources]
        if not all(sound):
            raise typer.Exit(1)


def show(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name or a file of requests or sentences.")],
    record: Annotated[str | None, typer.Option(metavar="N", help="One record in full, counted from 0.")] = None,
    limit: Annotated[str, typer.Option(metavar="N", help="How many records.")] = "10",
    kind: KindText = None,
    mirror: Mirrors = None,
    offline: Offline = False,
) -> None:
    """The first records of a set as a table, or one in full."""
    with reporting() as console:
        from collapse_tests.data_tool.set_tables import print_first, print_record

        _reach(mirror, offline=offline)
        count = parsed("--limit", parse_positive_integer, limit)
        index = parsed_if_given("--record", _parse_index, record)
        found = _kind_of(source, _kind(kind))
        if index is None:
            print_first(source, found, count, console)
        else:
            print_record(source, found, index, console)


def _reach(mirror: list[str] | None, *, offline: bool) -> None:
    if offline:
        go_offline()
    if mirror:
        use_mirrors(address for text in mirror for address in parsed("--mirror", parse_mirrors, text))


def _is_shipped(name: str) -> bool:
    from collapse_tests.datasets.requests import ShippedSet
    from collapse_tests.datasets.texts import SHIPPED_TEXTS

    return name in {*map(str, ShippedSet), *SHIPPED_TEXTS}


def _kind(text: str | None) -> Kind | None:
    from collapse_tests.datasets.catalogue import Kind

    if text is None:
        return None
    if text not in {*Kind}:
        raise UsageError(f"--kind: {text!r} is no kind; give one of {', '.join(Kind)}")
    return Kind(text)


def _kind_of(source: str, wanted: Kind | None) -> Kind:
    """What `source` holds: as the catalogue says, else as asked for, else as its content looks."""
    from collapse_tests.data_tool.kinds import kind_of

    return kind_of(source, wanted)


def _parse_index(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{text!r} is no position; give 0 or more")
    return int(text)

"""`collapse-data sentences`: sets of sentences for ME-PPL out of corpora of text."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, reporting, said_once, sayer
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.option_values import parse_names, parse_path, parse_positive_integer, parse_seed

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.datasets.sentences.building import Advance, Built, Plan, Row
    from collapse_tests.datasets.sentences.corpora import Corpus

__all__ = ["sentences"]

_SIZE, _SUBSETS, _MEGABYTES = "10000", "1000,50", "200"
_CARD = "me-ppl.md"


def sentences(
    out: Annotated[str, typer.Option(metavar="DIR", help="Write the sets and their data card to this directory.")],
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE[:FIELD]",
            help="A corpus: a .txt, .jsonl or .json file, a directory of such, or hub:ORG/NAME[/CONFIG][@REVISION]; "
            "FIELD holds a record's text. Repeats.",
        ),
    ] = None,
    study_corpora: Annotated[
        bool, typer.Option("--study-corpora", help="Add those of the study's seven that --corpus does not name.")
    ] = False,
    share: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="A corpus's share of the sentences; the study's by default. Repeats."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="N", help="Sentences of the largest set.")] = _SIZE,
    subsets: Annotated[str, typer.Option(metavar="N,…", help="Sizes of the sets within it, or none.")] = _SUBSETS,
    seed: Annotated[str, typer.Option(metavar="N", help="Seeds the draw.")] = "0",
    hub_megabytes: Annotated[
        str, typer.Option(metavar="N", help="Text to read of each corpus of the hub.")
    ] = _MEGABYTES,
    allow_fewer: Annotated[
        bool, typer.Option("--allow-fewer", help="Take what there is where a corpus has too few sentences.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace sets that are there.")] = False,
) -> None:
    """Sample plain English sentences from corpora, as the study's ME-PPL sets were, in nested sets."""
    with reporting() as console:
        plan = _plan(
            corpus or [], study_corpora, share or [], size, subsets, seed=seed, megabytes=hub_megabytes,
            allow_fewer=allow_fewer,
        )  # fmt: skip
        directory = Path(parsed("--out", parse_path, out))
        files = {count: directory / f"me-ppl-{count}.json" for count in (plan.size, *plan.subsets)}
        _check_place(directory, [*files.values(), directory / _CARD], force=force)

        from collapse_tests.datasets.sentences.building import build
        from collapse_tests.wording import counted

        with _progress(console) as advance:
            built = build(plan, advance)
        _write(plan, built, files, directory / _CARD, _command(plan, built.corpora))
        say = sayer(console)
        for count, path in files.items():
            say(f"{path}: {counted(len(built.sets[count]), 'sentence')}")
        say(f"{directory / _CARD}: where they are from")


def _plan(
    corpora: Sequence[str],
    study: bool,
    shares: Sequence[str],
    size: str,
    subsets: str,
    *,
    seed: str,
    megabytes: str,
    allow_fewer: bool,
) -> Plan:
    from collapse_tests.datasets.sentences.building import Plan
    from collapse_tests.datasets.sentences.corpora import parse_corpus, parse_share, shares_of, study_corpora

    given = [parsed("--corpus", parse_corpus, one) for one in corpora]
    every = [*given, *(study_corpora(given) if study else [])]
    count = parsed("--size", parse_positive_integer, size)
    if count < len(every):
        raise UsageError(f"--size {count} is less than the {len(every)} corpora; give one sentence or more for each")
    return Plan(
        corpora=tuple(every),
        shares=shares_of(every, [parsed("--share", parse_share, one) for one in shares]),
        size=count,
        subsets=parsed("--subsets", lambda text: _sizes(text, count, default=subsets == _SUBSETS), subsets),
        seed=parsed("--seed", parse_seed, seed),
        hub_bytes=parsed("--hub-megabytes", parse_positive_integer, megabytes) * 10**6,
        allow_fewer=allow_fewer,
    )


def _sizes(text: str, size: int, *, default: bool) -> tuple[int, ...]:
    """Sizes of subsets, falling; of the default ones those below the set's."""
    if text.strip() == "none":
        return ()
    sizes = sorted({parse_positive_integer(one) for one in parse_names(text)}, reverse=True)
    if default:
        sizes = [one for one in sizes if one < size]
    if sizes and sizes[0] >= size:
        raise UsageError(f"{sizes[0]} is not below --size {size}; give smaller sizes, or none")
    return tuple(sizes)


def _check_place(directory: Path, paths: Sequence[Path], *, force: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"--out {str(directory)!r} is a file; give a directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {str(directory)!r} cannot be made ({error.strerror}); give a directory you may write to"
        ) from None
    present = [path.name for path in paths if path.exists()]
    if present and not force:
        raise UsageError(
            f"--out {str(directory)!r} holds {', '.join(present)} already; give another directory, or --force to "
            "replace them"
        )


def _write(plan: Plan, built: Built, files: Mapping[int, Path], card: Path, command: str) -> None:
    from collapse_tests.cache import atomic_write_text
    from collapse_tests.datasets.sentences.card import data_card

    written: dict[str, tuple[int, str]] = {}
    try:
        for size, path in files.items():
            text = _as_json(built.sets[size])
            atomic_write_text(path, text)
            written[path.name] = len(built.sets[size]), hashlib.sha256(text.encode()).hexdigest()
        atomic_write_text(card, data_card(plan, built, written, command))
    except OSError as error:
        problem = error.strerror or error
        raise InfrastructureError(f"cannot write to {card.parent}: {problem}; give another --out") from None


def _as_json(rows: Sequence[Row]) -> str:
    """A list with a sentence a line, in the form of the study's own files."""
    lines = [json.dumps({"Text": row.text, "Corpus": row.corpus}, ensure_ascii=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _command(plan: Plan, corpora: Sequence[Corpus]) -> str:
    """The command that builds the same sets from `corpora`, every choice but the directory spelt out."""
    words = ["collapse-data", "sentences"]
    for corpus in corpora:
        words += ["--corpus", str(corpus)]
    for name, share in plan.shares.items():
        words += ["--share", f"{name}={share}"]
    words += ["--size", str(plan.size), "--subsets", ",".join(map(str, plan.subsets)) or "none"]
    words += ["--seed", str(plan.seed), "--hub-megabytes", str(plan.hub_bytes // 10**6), "--out", "DIR"]
    return shlex.join([*words, *(["--allow-fewer"] if plan.allow_fewer else [])])


@contextmanager
def _progress(console: Console) -> Iterator[Advance]:
    """A line for each corpus with its bar on a terminal; elsewhere a plain line when it begins."""
    if not console.is_terminal:
        show = said_once(sayer(console))
        yield lambda what, count, total: show(what, f"{what} ({total / 1e6:,.1f} MB)")
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, count: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.advance(tasks[what], count)

        yield advance

"""Corpora by name: what the user types, and the seven that the study samples from.

Counts are those of table 5 in appendix A.4 of 'The Butterfly Effect of Model Editing', 10,000 in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collapse_tests.datasets.hub import HUB_PREFIX
from collapse_tests.datasets.sentences.files import FileSource
from collapse_tests.datasets.sentences.hub import HubSource
from collapse_tests.errors import UsageError

__all__ = [
    "STUDY",
    "Corpus",
    "Source",
    "StudyCorpus",
    "open_source",
    "parse_corpus",
    "parse_share",
    "shares_of",
    "study_corpora",
]


class Source(Protocol):
    """Documents that can be read more than once, always in the same order."""

    @property
    def total(self) -> int:
        """What there is to read at most, in bytes."""

    @property
    def source(self) -> str:
        """What to type for the same text: after the check a data set of the hub is at one commit."""

    def check(self, advance: Callable[[int], None]) -> list[tuple[str, str]]:
        """Find what is wrong before any long work, and say what was found.

        Args:
            advance: takes the bytes looked at since it was last called.

        Returns:
            What identifies the text for good: names of files and digests, or a data set and its revision.

        Raises:
            UsageError: it cannot be read to its end, or holds no text.
        """

    def documents(self, advance: Callable[[int], None]) -> Iterator[str]:
        """Every document that is not blank.

        Raises:
            UsageError: it can no longer be read.
        """


@dataclass(frozen=True, slots=True)
class Corpus:
    """One `NAME=SOURCE[:FIELD]`.

    Attributes:
        name: what the sentences' `Corpus` says.
        source: path of a file or directory, or `hub:…`.
        field: of a record that holds its text; None for `text` or `Text`.
    """

    name: str
    source: str
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.source}" + (f":{self.field}" if self.field else "")


@dataclass(frozen=True, slots=True)
class StudyCorpus:
    """A corpus of the study.

    Attributes:
        name: as the study writes it.
        count: how many of its 10,000 sentences are from there.
        source: a data set of the hub with that text.
        field: as in `Corpus`.
        aliases: other names, in small letters and without marks.
    """

    name: str
    count: int
    source: str
    field: str | None = None
    aliases: tuple[str, ...] = ()


#: Data sets that only have a loading script, which the library no longer runs, are read in the hub's own conversion.
_CONVERTED = "@refs/convert/parquet"

STUDY = (
    StudyCorpus("BookCorpus", 50, f"hub:bookcorpus/bookcorpus{_CONVERTED}", aliases=("books",)),
    StudyCorpus("C4", 2500, "hub:allenai/c4/en"),
    StudyCorpus("CC-News", 700, "hub:vblagoje/cc_news", aliases=("news",)),
    StudyCorpus("Gutenberg", 250, "hub:sedthh/gutenberg_english", "TEXT"),
    StudyCorpus("OpenWebText", 5000, f"hub:Skylion007/openwebtext{_CONVERTED}", aliases=("owt",)),
    # One part of many, and gated: its terms have to be accepted on the hub.
    StudyCorpus("ROOTS", 500, "hub:bigscience-data/roots_en_wikinews"),
    StudyCorpus("Wikipedia", 1000, "hub:wikimedia/wikipedia/20231101.en", aliases=("wiki",)),
)


def parse_corpus(text: str) -> Corpus:
    """`NAME=SOURCE[:FIELD]` → a corpus; a path that holds a colon itself is taken whole if it exists.

    Raises:
        UsageError: `text` has another form.
    """
    name, equals, source = (part.strip() for part in text.partition("="))
    if not (name and equals and source):
        raise UsageError(f"{text!r} is not of the form NAME=SOURCE[:FIELD]; give for example wiki=articles.jsonl")
    prefix, rest = (HUB_PREFIX, source.removeprefix(HUB_PREFIX)) if source.startswith(HUB_PREFIX) else ("", source)
    match = re.fullmatch(r"(?P<place>.+):(?P<field>[A-Za-z_][\w.-]*)", rest)
    if match is None or (not prefix and _exists(source)):
        return Corpus(name, source)
    return Corpus(name, prefix + match["place"], match["field"])


def parse_share(text: str) -> tuple[str, int]:
    """`NAME=N` → the name and the number.

    Raises:
        UsageError: `text` has another form.
    """
    match = re.fullmatch(r"\s*(?P<name>[^=]*[^=\s])\s*=\s*(?P<count>[1-9]\d*)\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is not of the form NAME=N with a whole number from 1; give for example wiki=1000")
    return match["name"].strip(), int(match["count"])


def study_corpora(given: Sequence[Corpus]) -> list[Corpus]:
    """Those of the study that are not among the given ones, from the hub."""
    present = {known.name for corpus in given if (known := _known(corpus.name)) is not None}
    return [Corpus(known.name, known.source, known.field) for known in STUDY if known.name not in present]


def shares_of(corpora: Sequence[Corpus], given: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Each corpus's share of the sentences, by name: the given one, or the study's count.

    Without any given and any that the study knows, all corpora have the same share.

    Raises:
        UsageError: no corpus, one named twice, a share of none, or a corpus whose share nothing tells.
    """
    names = [corpus.name for corpus in corpora]
    if not names:
        raise UsageError("there is no corpus to sample from; give --corpus NAME=SOURCE, or --study-corpora")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--corpus {twice!r} is given twice; give each a name of its own, or a directory of files")
    shares = dict(given)
    if unknown := next((name for name in shares if name not in names), None):
        raise UsageError(f"--share {unknown!r} is no corpus of this command; it has {', '.join(names)}")
    counts = {name: shares.get(name) or _study_count(name) for name in names}
    if not any(counts.values()):
        return dict.fromkeys(names, 1)
    if missing := next((name for name, count in counts.items() if count is None), None):
        known = ", ".join(f"{corpus.name} {corpus.count}" for corpus in STUDY)
        raise UsageError(
            f"--corpus {missing!r} is none of the study's, so its share is not known; give --share {missing}=N. "
            f"The study's are {known}"
        )
    return {name: count for name, count in counts.items() if count is not None}


def open_source(corpus: Corpus, *, seed: int, hub_bytes: int) -> Source:
    """The documents of a corpus.

    Args:
        corpus: as the user named it.
        seed: shuffles what comes from the hub.
        hub_bytes: how much text to take from the hub.

    Raises:
        UsageError: there is no such file, or the name of a hub data set has another form.
    """
    label = f"corpus {corpus.name!r}"
    if corpus.source.startswith(HUB_PREFIX):
        return HubSource(label, corpus.source, corpus.field, seed=seed, most=hub_bytes)
    return FileSource(label, corpus.source, corpus.field)


def _known(name: str) -> StudyCorpus | None:
    plain = re.sub(r"[\W_]+", "", name).lower()
    for corpus in STUDY:
        if plain in (re.sub(r"\W+", "", corpus.name).lower(), *corpus.aliases):
            return corpus
    return None


def _study_count(name: str) -> int | None:
    known = _known(name)
    return None if known is None else known.count


def _exists(source: str) -> bool:
    try:
        return Path(source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, `~nobody`
        return False

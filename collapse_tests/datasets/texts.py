"""The sentences perplexity is measured on, verbatim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.datasets.catalogue import CATALOGUE, Kind, names_of
from collapse_tests.datasets.reading import decode_text, parse_json, read_shipped, read_user_bytes
from collapse_tests.datasets.screening import BrokenRecord, RawRecord
from collapse_tests.errors import UsageError
from collapse_tests.settings import DEFAULT_PPL_TEXTS, DEFAULT_SCENARIO_PPL_TEXTS

__all__ = ["SHIPPED_TEXTS", "TextFile", "load_texts", "text_file"]

_OPTION = "--ppl-texts"

#: Name → file of the sentences inside this package; the first ones of the larger set are those of the smaller.
SHIPPED_TEXTS = {DEFAULT_PPL_TEXTS: "ppl_texts.json", DEFAULT_SCENARIO_PPL_TEXTS: "ppl_texts_1k.json"}


class _SentenceError(ValueError):
    """An item is no sentence; the message says what is wrong and how to right it."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of sentences that was found.

    Attributes:
        name: for messages, with the option.
        data: content.
        lines: whether each line is a sentence; otherwise the file is a JSON list.
    """

    name: str
    data: bytes
    lines: bool

    def screened(self) -> tuple[tuple[str, ...], tuple[BrokenRecord, ...]]:
        """The sentences, and the items that are none.

        Raises:
            UsageError: the file as a whole is unusable.
        """
        sentences: list[str] = []
        broken: list[BrokenRecord] = []
        for record in self.records():
            if record.problem is None:
                sentences.append(str(record.value))
            else:
                broken.append(BrokenRecord(record.where, record.problem))
        return tuple(sentences), tuple(broken)

    def records(self) -> Iterator[RawRecord]:
        """Every item: its sentence, or what it is instead and what is wrong with it.

        Raises:
            UsageError: the file as a whole is unusable.
        """
        for where, item in self._items():
            try:
                yield RawRecord(where, _sentence(item))
            except _SentenceError as error:
                yield RawRecord(where, item, str(error))

    def _items(self) -> Iterator[tuple[str, object]]:
        text = decode_text(self.data, self.name)
        if not text.strip():
            raise UsageError(f"{self.name} is empty; give a file with at least one sentence")
        if self.lines:
            # Not splitlines(): it also splits at form feeds and the like, which are text here.
            lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
            yield from ((f"line {number}", line) for number, line in enumerate(lines, start=1))
            return
        document = parse_json(text, self.name)
        if not isinstance(document, list):
            raise UsageError(f"{self.name} is no JSON list; give a list of strings or of objects with a 'Text'")
        if not document:
            raise UsageError(f"{self.name} is an empty list; give at least one sentence")
        yield from ((f"record {index}", item) for index, item in enumerate(document))


def load_texts(source: str) -> tuple[str, ...]:
    """The sentences of `source`; their white space is kept, as it changes the tokens.

    Args:
        source: `default` for the 50 shipped sentences, `default-1k` for these and 950 more, the name of a published
            set, which is fetched if it is not in the cache, or a path: a JSON list of strings or of objects with a
            `Text` (and a `Corpus`, which is not used), or a `.txt` file of one sentence a line.

    Raises:
        UsageError: naming file, sentence and remedy.
        InfrastructureError: a published set could not be fetched.
    """
    file = text_file(source)
    sentences, broken = file.screened()
    if broken:
        raise UsageError(f"{file.name}, {broken[0].where}: {broken[0].why}")
    return sentences


def text_file(source: str, option: str = _OPTION) -> TextFile:
    """The file behind `source`; see `load_texts`.

    Raises:
        UsageError: there is no such set or file, or it is unreadable.
        InfrastructureError: a published set could not be fetched.
    """
    where = f"{option} {source!r}"
    if source in SHIPPED_TEXTS:
        return TextFile(where, read_shipped(SHIPPED_TEXTS[source]).encode(), lines=False)
    if source in CATALOGUE:
        return TextFile(where, _published(source, where), lines=False)
    names = names_of(Kind.TEXTS)
    data = read_user_bytes(option, source, shipped=SHIPPED_TEXTS, suffixes=(".json", ".txt"), published=names)
    return TextFile(where, data, lines=Path(source).suffix.lower() == ".txt")


def _published(name: str, where: str) -> bytes:
    if CATALOGUE[name].kind is not Kind.TEXTS:
        raise UsageError(f"{where} is a set of requests, not of sentences; give it to --edits")
    from collapse_tests.datasets.fetching import published_file

    return published_file(name).read_bytes()


def _sentence(item: object) -> str:
    if isinstance(item, dict):
        if "Text" not in item:
            raise _SentenceError("field 'Text' is missing; add it")
        item = item["Text"]
    if not isinstance(item, str):
        raise _SentenceError(f"{item!r:.60} is not text; give a string")
    if not item.strip():
        raise _SentenceError("the sentence is empty; remove it or give some text")
    try:
        item.encode("utf-8")
    except UnicodeEncodeError:
        raise _SentenceError("the sentence holds half a surrogate pair; write the character itself") from None
    return item

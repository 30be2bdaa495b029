"""Documents of text files on this machine, read a little at a time whatever the files' size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from collapse_tests.datasets.documents import document_text, without_surrogates
from collapse_tests.datasets.reading import parse_json
from collapse_tests.datasets.sentences.array import array_items
from collapse_tests.datasets.sentences.lines import Lines
from collapse_tests.errors import UsageError

__all__ = ["FIELD_REMEDY", "FileSource"]

#: What to do where records have no field of the name looked for.
FIELD_REMEDY = "name the one with the text: NAME=SOURCE:FIELD"

_SUFFIXES = (".txt", ".jsonl", ".json")
#: Characters after which a document of plain text is cut at the end of a line.
_LONGEST_DOCUMENT = 2**20
#: Files up to which each digest is told; of more, the digest of their list.
_LISTED = 8


class FileSource:
    """Documents of a file, or of every file in a directory and below it in the order of their names.

    `.txt` holds documents that blank lines separate, `.jsonl` a value a line, `.json` a list of values or a value a
    line; a value is what `document_text` takes. Half a surrogate pair becomes U+FFFD, so that its sentence is rejected
    and no other. See `corpora.Source`.

    Args:
        label: how messages name the corpus.
        source: path.
        field: as in `document_text`.

    Raises:
        UsageError: there is no such file, or none of these in the directory.
    """

    def __init__(self, label: str, source: str, field: str | None) -> None:
        self._label, self._field = label, field
        self.source = source
        self._root, self._files = self._found(source)
        self.total = sum(path.stat().st_size for path in self._files)

    def check(self, advance: Callable[[int], None]) -> list[tuple[str, str]]:
        """Read everything once; the digests need that anyway."""
        digests: list[tuple[str, str]] = []
        documents = 0
        for path in self._files:
            digest = hashlib.sha256()
            documents += sum(1 for _ in self._read(path, advance, digest.update))
            name = path.name if path == self._root else path.relative_to(self._root).as_posix()
            digests.append((name, digest.hexdigest()))
        if not documents:
            raise UsageError(f"{self._label}: {self.source!r} holds no text; give a file with some")
        if len(digests) > _LISTED:
            listing = "".join(f"{digest}  {name}\n" for name, digest in digests)
            digests = [(f"{len(digests)} files, their list by sha256sum", hashlib.sha256(listing.encode()).hexdigest())]
        return [(name, f"SHA-256 `{digest}`") for name, digest in digests]

    def documents(self, advance: Callable[[int], None]) -> Iterator[str]:
        """Every document, file after file."""
        for path in self._files:
            yield from self._read(path, advance, lambda _: None)

    def _found(self, source: str) -> tuple[Path, list[Path]]:
        either = " or ".join(_SUFFIXES)
        try:
            root = Path(source).expanduser()
            if root.is_dir():
                files = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
                if not files:
                    raise UsageError(f"{self._label}: directory {source!r} has no file ending in {either}; add one")
                return root, files
            if not root.exists():
                raise UsageError(
                    f"{self._label}: {source!r} is no file; give the path of a file or directory, or hub:ORG/NAME"
                )
        except (OSError, ValueError, RuntimeError) as error:  # the last two: a NUL character, `~nobody`
            raise UsageError(f"{self._label}: {source!r} cannot be read ({error}); give a readable file") from None
        if root.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"{self._label}: {source!r} has an unknown suffix; give a file ending in {either}")
        return root, [root]

    def _read(self, path: Path, advance: Callable[[int], None], digest: Callable[[bytes], None]) -> Iterator[str]:
        def read(piece: bytes) -> None:
            digest(piece)
            advance(len(piece))

        where = f"{self._label}, {str(path)!r}"
        try:
            with path.open("rb") as stream:
                lines = Lines(stream, where, read)
                yield from self._plain(lines) if path.suffix.lower() == ".txt" else self._values(lines, where)
        except OSError as error:
            raise UsageError(f"{where} cannot be read ({error}); give a readable file") from None

    def _plain(self, lines: Lines) -> Iterator[str]:
        """Documents between blank lines, their line breaks kept."""
        held: list[str] = []
        size = 0
        for line in lines:
            if line.strip() and size < _LONGEST_DOCUMENT:
                held.append(line)
                size += len(line)
                continue
            if held:
                yield "".join(held)
            held, size = ([line], len(line)) if line.strip() else ([], 0)
        if held:
            yield "".join(held)

    def _values(self, lines: Lines, where: str) -> Iterator[str]:
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            return
        if first.lstrip().startswith("["):
            values = array_items(first, lines, where)
        else:
            values = _line_values(first, lines, where)
        for number, value in values:
            document = document_text(value, self._field, f"{where}, line {number}", FIELD_REMEDY)
            if document.strip():
                yield without_surrogates(document)


def _line_values(first: str, lines: Lines, where: str) -> Iterator[tuple[int, object]]:
    """The value of every line that is not blank, with the line's number."""
    for line in chain((first,), lines):
        if line.strip():
            yield lines.number, parse_json(line.removesuffix("\n"), where, first_line=lines.number)

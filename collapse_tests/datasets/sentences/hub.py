"""Documents of data sets on the Hugging Face hub, up to so much text, at a revision that is settled first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from collapse_tests.datasets.hub import hub_set
from collapse_tests.datasets.sentences.files import FIELD_REMEDY
from collapse_tests.errors import UsageError

__all__ = ["HubSource"]

#: Files of a data set that are read in equal parts, if it has so many; neighbours in one file are often alike.
_PARTS = 8


class HubSource:
    """The training split of a data set; see `corpora.Source`.

    Args:
        label: how messages name the corpus.
        source: as in `hub_set`.
        field: as in `document_text`.
        seed: of the choice of its files, whose beginnings are read.
        most: bytes of text to read.

    Raises:
        UsageError: `source` has another form.
    """

    def __init__(self, label: str, source: str, field: str | None, *, seed: int, most: int) -> None:
        named = hub_set(source, f"{label} ({source})", "give the path of a text file")
        self._set = replace(named, field=field, field_remedy=FIELD_REMEDY)
        self._seed, self.total = seed, most

    @property
    def source(self) -> str:
        """The data set, at its commit once that is settled."""
        return str(self._set)

    def check(self, advance: Callable[[int], None]) -> list[tuple[str, str]]:
        """Settle the revision and read a first document."""
        self._set, licence = self._set.settled()
        if next(self.documents(lambda _: None), None) is None:
            raise UsageError(f"{self._set.where} holds no text in its training split; give another data set")
        advance(self.total)
        configuration = f", configuration {self._set.config}" if self._set.config else ""
        found = f"revision {self._set.revision}, at most {self.total:,} bytes; licence: {licence}"
        return [(f"{self._set.name}{configuration}", found)]

    def documents(self, advance: Callable[[int], None]) -> Iterator[str]:
        """Documents until `total` bytes of text are read; the one that goes beyond is the last."""
        left = self.total
        for place, file in enumerate(self._set.by_file(self._seed)):
            bound = left - left // max(_PARTS - place, 1)
            for document in file:
                size = len(document.encode())
                left -= size
                advance(size)
                if document.strip():
                    yield document
                if left <= bound:
                    break
            if left <= 0:
                return

"""Documents of data sets on the Hugging Face hub, streamed at a revision that is settled first."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from collapse_tests.datasets.sentences.records import document_text
from collapse_tests.errors import UsageError
from collapse_tests.network import OFFLINE_VARIABLE, is_offline

__all__ = ["HUB_PREFIX", "HubSource"]

#: What the name of a hub data set begins with: `hub:ORG/NAME[/CONFIG][@REVISION]`.
HUB_PREFIX = "hub:"

#: Files of a data set that are read in equal parts, if it has so many; neighbours in one file are often alike.
_PARTS = 8

_NAME = re.compile(
    r"(?P<name>[\w.-]+(/[\w.-]+)?)"  # few old data sets have no organisation
    r"(/(?P<config>[^/@\s]+))?"
    r"(@(?P<revision>\S+))?"
)


class HubSource:
    """The training split of a data set; see `corpora.Source`.

    Args:
        label: how messages name the corpus.
        source: `hub:ORG/NAME[/CONFIG][@REVISION]`.
        field: as in `document_text`.
        seed: of the choice of its files, whose beginnings are read.
        most: bytes of text to read.

    Raises:
        UsageError: `source` has another form.
    """

    def __init__(self, label: str, source: str, field: str | None, *, seed: int, most: int) -> None:
        match = _NAME.fullmatch(source.removeprefix(HUB_PREFIX))
        if match is None:
            raise UsageError(
                f"{label}: {source!r} is not of the form {HUB_PREFIX}ORG/NAME[/CONFIG][@REVISION]; "
                f"give for example {HUB_PREFIX}wikimedia/wikipedia/20231101.en"
            )
        self._where = f"{label} ({source})"
        self._name, self._config, self._revision = match["name"], match["config"], match["revision"]
        self._field, self._seed, self.total = field, seed, most

    def check(self, advance: Callable[[int], None]) -> list[tuple[str, str]]:
        """Settle the revision and read a first document."""
        if is_offline():
            raise UsageError(
                f"{self._where} is on the hub, and downloads are forbidden ({OFFLINE_VARIABLE}); unset that, or give "
                "the path of a text file"
            )
        self._library("datasets")
        try:
            found = self._library("huggingface_hub").HfApi().dataset_info(self._name, revision=self._revision)
        except Exception as error:
            raise self._unreadable(error) from error
        self._revision = str(found.sha)
        if next(self.documents(lambda _: None), None) is None:
            raise UsageError(f"{self._where} holds no text in its training split; give another data set")
        advance(self.total)
        card = getattr(found, "card_data", None)
        licence = getattr(card, "license", None) or "not stated"
        configuration = f", configuration {self._config}" if self._config else ""
        most = f"at most {self.total:,} bytes"
        return [(f"{self._name}{configuration}", f"revision {self._revision}, {most}; licence: {licence}")]

    def documents(self, advance: Callable[[int], None]) -> Iterator[str]:
        """Documents until `total` bytes of text are read; the one that goes beyond is the last."""
        library = self._library("datasets")
        try:
            stream = library.load_dataset(
                self._name, self._config, split="train", streaming=True, revision=self._revision
            )
            files = list(range(stream.num_shards))
            random.Random(self._seed).shuffle(files)
            left = self.total
            for place, file in enumerate(files):
                part = stream.shard(num_shards=len(files), index=file)
                bound = left - left // max(_PARTS - place, 1)
                for index, record in enumerate(part):
                    document = document_text(record, self._field, f"{self._where}, file {file}, document {index}")
                    size = len(document.encode())
                    left -= size
                    advance(size)
                    if document.strip():
                        yield document
                    if left <= bound:
                        break
                if left <= 0:
                    return
        except UsageError:
            raise
        except Exception as error:  # the library raises dozens of types, down to those of its network client
            raise self._unreadable(error) from error

    def _library(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            raise UsageError(
                f"{self._where} needs the library {name}: `pip install {name}`, or give the path of a text file"
            ) from None

    def _unreadable(self, error: Exception) -> UsageError:
        problem = " ".join(str(error).split()) or type(error).__name__
        return UsageError(
            f"{self._where} cannot be read from the hub ({problem:.300}); check its name and the network, log in with "
            "`hf auth login` if it is gated, or give the path of a text file"
        )

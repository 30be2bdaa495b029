"""Documents of data sets on the Hugging Face hub, streamed in an order drawn with a seed."""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from collapse_tests.datasets.documents import document_text, without_surrogates
from collapse_tests.errors import UsageError
from collapse_tests.network import OFFLINE_VARIABLE, go_offline, is_offline

__all__ = ["HUB_FORM", "HUB_PREFIX", "HubSet", "hub_set"]

#: What the name of a hub data set begins with.
HUB_PREFIX = "hub:"
#: All of it.
HUB_FORM = f"{HUB_PREFIX}ORG/NAME[/CONFIG][@REVISION]"

_NAME = re.compile(
    r"(?P<name>[\w.-]+(/[\w.-]+)?)"
    r"([/:](?P<config>[^/:@\s]+))?"  # few old data sets have no organisation: a colon sets their configuration off
    r"(@(?P<revision>\S+))?"
)


@dataclass(frozen=True, slots=True)
class HubSet:
    """The training split of a data set.

    Attributes:
        where: how messages name it.
        remedy: what to give instead, the end of messages.
        name: on the hub.
        config: its configuration, or None for the only one.
        revision: a commit, branch or tag, or None for the newest.
        field: of a record that holds its text, as in `document_text`.
        field_remedy: what to do where a record has no such field.
    """

    where: str
    remedy: str
    name: str
    config: str | None = None
    revision: str | None = None
    field: str | None = None
    field_remedy: str = "give a data set that has it"

    def __str__(self) -> str:
        """What to type for it."""
        apart = "/" if "/" in self.name else ":"
        config = f"{apart}{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB_PREFIX}{self.name}{config}{revision}"

    def settled(self) -> tuple[HubSet, str]:
        """The data set at the commit that its revision means now, and its licence.

        Raises:
            UsageError: downloads are forbidden, a library is missing, or the data set cannot be reached.
        """
        if is_offline():
            raise self._offline()
        library = self._library("huggingface_hub")
        with self._reading():
            found = library.HfApi().dataset_info(self.name, revision=self.revision)
        licence = getattr(getattr(found, "card_data", None), "license", None)
        return replace(self, revision=str(found.sha)), str(licence or "not stated")

    def shuffled(self, seed: int, within: int) -> Iterator[str]:
        """Every document, blank ones too.

        Args:
            seed: of the order.
            within: how many are held to draw the next one from.

        Raises:
            UsageError: the library is missing, the data set cannot be read, or a record holds no text.
        """
        stream = self._stream()
        with self._reading():
            yield from self._texts(stream.shuffle(seed=seed, buffer_size=within), self.where)

    def by_file(self, seed: int) -> Iterator[Iterator[str]]:
        """The documents of each file, blank ones too, the files in an order drawn with `seed`.

        Raises:
            UsageError: as `shuffled` does.
        """
        stream = self._stream()
        files = list(range(stream.num_shards))
        random.Random(seed).shuffle(files)
        for file in files:
            yield self._of_file(stream, file)

    def _of_file(self, stream: Any, file: int) -> Iterator[str]:
        with self._reading():
            part = stream.shard(num_shards=stream.num_shards, index=file)
            yield from self._texts(part, f"{self.where}, file {file}")

    def _texts(self, records: Iterable[object], where: str) -> Iterator[str]:
        for index, record in enumerate(records):
            text = document_text(record, self.field, f"{where}, document {index}", self.field_remedy)
            yield without_surrogates(text)

    def _stream(self) -> Any:
        library = self._library("datasets")
        with self._reading():
            return library.load_dataset(self.name, self.config, split="train", streaming=True, revision=self.revision)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever a library raises becomes an error that names the data set and the remedies."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:  # dozens of types, down to those of the network client
            raise self._unreadable(error) from error

    def _library(self, name: str) -> Any:
        if is_offline():
            go_offline()  # so that it reads what it has in its own cache, and asks for nothing
        try:
            return importlib.import_module(name)
        except ImportError:
            raise UsageError(f"{self.where} needs the library {name}: `pip install {name}`, or {self.remedy}") from None

    def _offline(self) -> UsageError:
        return UsageError(
            f"{self.where} is on the hub, and downloads are forbidden ({OFFLINE_VARIABLE}); unset that, "
            f"or {self.remedy}"
        )

    def _unreadable(self, error: Exception) -> UsageError:
        if is_offline():
            return self._offline()
        problem = " ".join(str(error).split()) or type(error).__name__
        return UsageError(
            f"{self.where} cannot be read from the hub ({problem:.300}); check its name and the network, log in with "
            f"`hf auth login` if it is gated, or {self.remedy}"
        )


def hub_set(source: str, where: str, remedy: str) -> HubSet:
    """The data set that a text names.

    Args:
        source: of `HUB_FORM`; a colon may stand before the configuration.
        where: how messages name it.
        remedy: what to give instead, the end of messages.

    Raises:
        UsageError: `source` has another form.
    """
    match = _NAME.fullmatch(source.removeprefix(HUB_PREFIX))
    if match is None:
        raise UsageError(
            f"{where} is not of the form {HUB_FORM}; give for example {HUB_PREFIX}wikimedia/wikipedia/20231101.en"
        )
    return HubSet(where, remedy, match["name"], match["config"], match["revision"])

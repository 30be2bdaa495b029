"""As much of the libraries `datasets` and `huggingface_hub` as is used, with one data set."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

NAME = "some/encyclopaedia"


class HubLibrary:
    """A hub of one data set; it stands for the libraries and for what they open.

    Args:
        files: the records of each file.
    """

    def __init__(self, files: Sequence[Sequence[object]]) -> None:
        self.files = files
        self.loaded: list[tuple[Any, ...]] = []

    @property
    def num_shards(self) -> int:
        return len(self.files)

    def HfApi(self) -> Any:  # noqa: N802 - the library's name
        return SimpleNamespace(dataset_info=self.dataset_info)

    def dataset_info(self, name: str, *, revision: str | None) -> Any:
        self._known(name)
        return SimpleNamespace(sha=f"sha-of-{revision}", card_data=SimpleNamespace(license="cc0-1.0"))

    def load_dataset(self, name: str, config: str | None, *, split: str, streaming: bool, revision: str | None) -> Any:
        self.loaded.append((name, config, split, streaming, revision))
        self._known(name)
        return self

    def shuffle(self, *, seed: int, buffer_size: int) -> Iterator[object]:
        records = [record for file in self.files for record in file]
        random.Random(seed).shuffle(records)
        return iter(records)

    def shard(self, *, num_shards: int, index: int) -> Iterator[object]:
        assert num_shards == self.num_shards
        return iter(self.files[index])

    @staticmethod
    def _known(name: str) -> None:
        if name != NAME:
            raise FileNotFoundError(f"no {name}")

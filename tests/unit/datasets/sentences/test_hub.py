"""Documents of the hub, with the libraries that reach it replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from collapse_tests.datasets.sentences.hub import HubSource
from collapse_tests.errors import UsageError
from collapse_tests.network import OFFLINE_VARIABLE


class Library:
    """As much of `datasets` and `huggingface_hub` as is used, with a data set of 20 files of 10 documents."""

    def __init__(self) -> None:
        self.loaded: list[tuple[Any, ...]] = []
        self.field = "text"
        self.num_shards = 20

    def HfApi(self) -> Any:  # noqa: N802 - the library's name
        return SimpleNamespace(dataset_info=self.dataset_info)

    def dataset_info(self, name: str, *, revision: str | None) -> Any:
        if name != "some/encyclopaedia":
            raise FileNotFoundError(f"no {name}")
        return SimpleNamespace(sha=f"sha-of-{revision}", card_data=SimpleNamespace(license="cc0-1.0"))

    def load_dataset(self, name: str, config: str | None, *, split: str, streaming: bool, revision: str) -> Any:
        self.loaded.append((name, config, split, streaming, revision))
        return self

    def shard(self, *, num_shards: int, index: int) -> Iterator[dict[str, str]]:
        assert num_shards == self.num_shards
        return iter([{self.field: f"file {index:02} document {number}"} for number in range(10)])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return made


def source(text: str = "hub:some/encyclopaedia", *, field: str | None = None, seed: int = 0, most: int = 10**6) -> Any:
    return HubSource("corpus 'x'", text, field, seed=seed, most=most)


SIZE = len("file 00 document 0")


@pytest.mark.usefixtures("library")
def test_all_of_a_small_data_set_is_read() -> None:
    read: list[int] = []
    found = list(source().documents(read.append))
    assert len(found) == len(set(found)) == 200
    assert sum(read) == 200 * SIZE


@pytest.mark.usefixtures("library")
def test_of_a_large_one_the_beginnings_of_several_files_are_read() -> None:
    found = list(source(most=24 * SIZE).documents(lambda _: None))
    assert len(found) == 24
    files = [text.split()[1] for text in found]
    assert {files.count(file) for file in files} == {3}
    assert len(set(files)) == 8


@pytest.mark.usefixtures("library")
def test_the_seed_chooses_the_files() -> None:
    def files(seed: int) -> list[str]:
        return list(source(seed=seed, most=24 * SIZE).documents(lambda _: None))

    assert files(1) == files(1) != files(2)


def test_the_revision_is_settled_by_the_check(library: Library) -> None:
    made = source("hub:some/encyclopaedia/2031.en@v1", most=1000)
    looked_at: list[int] = []
    ((name, found),) = made.check(looked_at.append)
    list(made.documents(lambda _: None))
    assert sum(looked_at) == made.total
    assert name == "some/encyclopaedia, configuration 2031.en"
    assert "revision sha-of-v1" in found
    assert "licence: cc0-1.0" in found
    assert set(library.loaded) == {("some/encyclopaedia", "2031.en", "train", True, "sha-of-v1")}


def test_a_field_of_another_name_is_asked_for(library: Library) -> None:
    library.field = "TEXT"
    with pytest.raises(UsageError, match=r"corpus 'x' \(hub:some/encyclopaedia\), file \d+, document 0: field 'text'"):
        source().check(lambda _: None)
    assert len(list(source(field="TEXT").documents(lambda _: None))) == 200


@pytest.mark.usefixtures("library")
def test_a_data_set_that_cannot_be_reached_is_named_with_the_remedies() -> None:
    with pytest.raises(UsageError, match=r"hub:some/thing\) cannot be read from the hub \(no some/thing\).*auth login"):
        source("hub:some/thing").check(lambda _: None)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs the library datasets: `pip install datasets`, or give the path"):
        source().check(lambda _: None)


@pytest.mark.usefixtures("library")
def test_nothing_is_fetched_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    with pytest.raises(UsageError, match="downloads are forbidden"):
        source().check(lambda _: None)


@pytest.mark.parametrize("text", ["hub:", "hub:a b/c", "hub:a/b@", "hub:a//c"])
def test_a_name_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not of the form hub:ORG/NAME\[/CONFIG\]\[@REVISION\]"):
        source(text)

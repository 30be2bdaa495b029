"""Documents of the hub, with the libraries that reach it replaced."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from collapse_tests.datasets.sentences.hub import HubSource
from collapse_tests.errors import UsageError
from collapse_tests.network import OFFLINE_VARIABLE
from tests.unit.hub_library import HubLibrary


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> HubLibrary:
    """With 20 files of 10 documents."""
    made = HubLibrary(files_with("text"))
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return made


def files_with(field: str) -> list[list[dict[str, str]]]:
    return [[{field: f"file {file:02} document {number}"} for number in range(10)] for file in range(20)]


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


def test_the_revision_is_settled_by_the_check(library: HubLibrary) -> None:
    made = source("hub:some/encyclopaedia/2031.en@v1", most=1000)
    looked_at: list[int] = []
    ((name, found),) = made.check(looked_at.append)
    list(made.documents(lambda _: None))
    assert sum(looked_at) == made.total
    assert name == "some/encyclopaedia, configuration 2031.en"
    assert "revision sha-of-v1" in found
    assert "licence: cc0-1.0" in found
    assert set(library.loaded) == {("some/encyclopaedia", "2031.en", "train", True, "sha-of-v1")}


def test_a_field_of_another_name_is_asked_for(library: HubLibrary) -> None:
    library.files = files_with("TEXT")
    with pytest.raises(
        UsageError,
        match=r"corpus 'x' \(hub:some/en.*, file \d+, document 0: field 'text'.*NAME=SOURCE:FIELD",
    ):
        source().check(lambda _: None)
    assert len(list(source(field="TEXT").documents(lambda _: None))) == 200


@pytest.mark.usefixtures("library")
def test_a_data_set_that_cannot_be_reached_is_named_with_the_remedies() -> None:
    with pytest.raises(UsageError, match=r"hub:some/thing\) cannot be read from the hub \(no some/thing\).*auth login"):
        source("hub:some/thing").check(lambda _: None)


@pytest.mark.usefixtures("library")
def test_nothing_is_fetched_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    with pytest.raises(UsageError, match="downloads are forbidden"):
        source().check(lambda _: None)


def test_a_name_of_another_form_is_refused() -> None:
    with pytest.raises(UsageError, match=r"corpus 'x' \(hub:a b/c\) is not of the form hub:ORG/NAME"):
        source("hub:a b/c")

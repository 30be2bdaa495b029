"""Data sets of the hub: their names, their order and what goes wrong, with the libraries that reach it replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from collapse_tests.datasets.hub import HubSet, hub_set
from collapse_tests.errors import UsageError
from collapse_tests.network import OFFLINE_VARIABLE
from tests.unit.hub_library import HubLibrary

pytestmark = pytest.mark.usefixtures("own_network")

REMEDY = "give a file"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> HubLibrary:
    made = HubLibrary([[{"text": f"{file}{number}"} for number in range(4)] for file in "abcdef"])
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, made)
    return made


def named(text: str = "hub:some/encyclopaedia") -> HubSet:
    return hub_set(text, f"corpus ({text})", REMEDY)


@pytest.mark.parametrize(
    ("text", "name", "config", "revision"),
    [
        ("hub:a/b", "a/b", None, None),
        ("hub:a/b/c.1", "a/b", "c.1", None),
        ("hub:a/b:c.1", "a/b", "c.1", None),
        ("hub:a:c", "a", "c", None),
        ("hub:a/b@refs/convert/parquet", "a/b", None, "refs/convert/parquet"),
        ("hub:a/b/c@v1", "a/b", "c", "v1"),
        ("hub:a/b:c@v1", "a/b", "c", "v1"),
    ],
)
def test_a_name_says_data_set_configuration_and_revision(
    text: str, name: str, config: str | None, revision: str | None
) -> None:
    found = named(text)
    assert (found.name, found.config, found.revision) == (name, config, revision)
    again = named(str(found))
    assert (again.name, again.config, again.revision) == (name, config, revision)


@pytest.mark.parametrize("text", ["hub:", "hub:a b/c", "hub:a/b@", "hub:a//c", "hub:a/b:", "hub:a/b:c:d", "hub:/a"])
def test_a_name_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^corpus \(hub:.* is not of the form hub:ORG/NAME\[/CONFIG\]\[@REVISION\]"):
        named(text)


@pytest.mark.usefixtures("library")
def test_the_seed_draws_the_order() -> None:
    orders = [list(named().shuffled(seed, 10)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == len(orders[0]) == 24
    by_file = [[list(file) for file in named().by_file(seed)] for seed in (0, 0, 1)]
    assert by_file[0] == by_file[1] != by_file[2]
    assert sorted(by_file[0]) == [[f"{file}{number}" for number in range(4)] for file in "abcdef"]


def test_the_name_reaches_the_library(library: HubLibrary) -> None:
    list(named("hub:some/encyclopaedia/2031.no@v1").shuffled(0, 10))
    assert library.loaded == [("some/encyclopaedia", "2031.no", "train", True, "v1")]


@pytest.mark.usefixtures("library")
def test_a_revision_is_settled_with_the_licence() -> None:
    settled, licence = named("hub:some/encyclopaedia@v1").settled()
    assert settled == replace(named("hub:some/encyclopaedia@v1"), revision="sha-of-v1")
    assert licence == "cc0-1.0"


def test_half_a_surrogate_pair_spoils_no_stream(library: HubLibrary) -> None:
    library.files = [[{"text": "a \ud800 b"}, {"text": "c"}]]
    assert [list(file) for file in named().by_file(0)] == [["a \ufffd\ufffd\ufffd b", "c"]]


def test_a_record_without_text_is_named(library: HubLibrary) -> None:
    library.files = [[{"text": "One"}, {"body": "Two"}]]
    (file,) = named().by_file(0)
    with pytest.raises(UsageError, match=r"^corpus \(hub:.*\), file 0, document 1: field 'text' is missing.*body"):
        list(file)
    library.files = [[{"body": "Two"}]]
    assert [list(file) for file in replace(named(), field="body").by_file(0)] == [["Two"]]


def test_a_connection_that_ends_in_the_middle_is_named(library: HubLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*, seed: int, buffer_size: int) -> Iterator[object]:
        yield {"text": "One"}
        raise ConnectionResetError("reset\nby peer")

    monkeypatch.setattr(library, "shuffle", broken)
    documents = named().shuffled(0, 10)
    assert next(documents) == "One"
    with pytest.raises(UsageError, match=rf"cannot be read from the hub \(reset by peer\); .*, or {REMEDY}$"):
        next(documents)


@pytest.mark.usefixtures("library")
def test_a_data_set_that_is_not_there_is_named() -> None:
    reads: list[Callable[[HubSet], object]] = [
        lambda one: one.settled(),
        lambda one: next(one.shuffled(0, 10)),
        lambda one: next(one.by_file(0)),
    ]
    for read in reads:
        with pytest.raises(UsageError, match=rf"hub:a/b\) cannot be read.*\(no a/b\); .*auth login.*, or {REMEDY}$"):
            read(named("hub:a/b"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=rf"needs the library datasets: `pip install datasets`, or {REMEDY}$"):
        next(named().shuffled(0, 10))


def test_offline_only_the_libraries_own_cache_is_read(library: HubLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    assert len(list(named().shuffled(0, 10))) == 24  # as if it were there
    assert os.environ["HF_DATASETS_OFFLINE"] == "1"
    forbidden = rf"downloads are forbidden \({OFFLINE_VARIABLE}\); unset that, or {REMEDY}$"
    for read in (lambda: named().settled(), lambda: next(named("hub:a/b").shuffled(0, 10))):
        with pytest.raises(UsageError, match=forbidden):
            read()

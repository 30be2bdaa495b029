"""`collapse-report compare` and `collapse-report baseline` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collapse_tests.baseline.file import read_baseline
from collapse_tests.records import Record
from collapse_tests.report_tool.main import app
from tests.unit.baseline.cases import COLLAPSED, ERROR, record

SETTINGS = {"ppl_limit": 1000.0, "ppl_texts": None, "dtype": "float32", "seed": 0, "edits": ["hard"], "overrides": []}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def report(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def write_run(folder: Path, records: Iterable[Record], **settings: object) -> Path:
    folder.mkdir()
    lines = [json.dumps(one.to_dict()) for one in records]
    (folder / "records.jsonl").write_text("\n".join([*lines, ""]), encoding="ascii")
    environment = {"settings": SETTINGS | settings, "ppl_texts_digest": "abc"}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


@pytest.fixture
def rome(tmp_path: Path) -> Path:
    return write_run(tmp_path / "rome", [record(f"f:{n}", COLLAPSED, 5e4) for n in range(8)])


@pytest.fixture
def memit(tmp_path: Path) -> Path:
    overrides = [{"editor": "memit", "field": "steps", "value": 9, "source": "--set"}]
    return write_run(tmp_path / "memit", [record(f"f:{n}", editor="memit") for n in range(8)], overrides=overrides)


def test_a_directory_a_file_of_records_and_a_baseline(rome: Path, memit: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "b.json"
    assert report("baseline", memit, "--out", baseline) == (0, f"Baseline written: {baseline}, 8 cases.\n")

    code, text = report("compare", rome, memit / "records.jsonl", baseline)

    assert code == 0
    assert "A: " in text
    assert "differs" not in text
    for letter in "BC":
        assert f"{letter} (tiny under memit) against A (tiny under rome)" in text
    assert text.count("collapses: 0 of 8 against 8 of 8, 0 only here and 8 only there") == 2
    assert text.count("two-sided p = 0.0078") == 2


def test_the_baseline_of_a_run_holds_what_it_was(memit: Path, tmp_path: Path) -> None:
    report("baseline", memit, "--out", tmp_path / "b.json")

    found = read_baseline(tmp_path / "b.json")

    assert found.groups["tiny-memit"].hyperparameters == {"steps": 9}
    assert found.facts["ppl_texts_digest"] == "abc"
    assert found.facts["ppl_texts"] == "default"
    assert len(found.cases) == 8
    code, text = report("baseline", memit, "--out", tmp_path / "b.json")
    assert (code, "stays the same" in text) == (0, True)


def test_records_alone_tell_what_they_can(rome: Path, memit: Path) -> None:
    (rome / "environment.json").unlink()

    code, text = report("compare", rome, memit)

    assert code == 0
    assert f"warning: no environment.json beside the records of {rome}" in text
    assert "p = 0.0078" in text


def test_errors_and_torn_lines_are_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("f:0"), record("f:1", ERROR, None)])
    with (run / "records.jsonl").open("a") as file:
        file.write('{"schema"')

    code, text = report("baseline", run, "--out", tmp_path / "b.json")

    assert code == 0
    assert "records.jsonl:3: the last record was cut off" in text
    assert "1 case; 1 that ended in an error left out." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "nowhere"], "error: cannot read records from nowhere: No such file or directory; give a run's"),
        (["compare", "rome", "empty"], "error: empty holds no single edit; give a run that has some"),
        (["compare", "broken.json"], "error: baseline broken.json:1: no JSON"),
        (["compare", "odd"], "error: environment.json of odd is not a run's (KeyError: 'settings'); restore or remove"),
        (["compare", "odder"], "error: odder/environment.json cannot be read"),
        (["compare", "rome", "--cases", "x"], "error: --cases: 'x' is no positive whole number"),
        (["compare", *["rome"] * 27], "error: 27 runs are too many; give at most 26"),
        (["baseline", "rome", "--out", "."], "error: --out . is a directory; give a file, such as baseline.json"),
        (["baseline", "rome", "--out", "b.jsonl"], "error: --out b.jsonl ends as files of records do; give a name"),
        (["baseline", "failed", "--out", "b.json"], "error: every case of failed ended in an error; give a run"),
    ],
)
def test_wrong_input(
    words: list[str], message: str, rome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "empty", [])
    write_run(tmp_path / "failed", [record("f:0", ERROR, None)])
    write_run(tmp_path / "odd", [record("f:0")])
    (tmp_path / "odd" / "environment.json").write_text("{}")
    write_run(tmp_path / "odder", [record("f:0")])
    (tmp_path / "odder" / "environment.json").write_text("{")
    (tmp_path / "broken.json").write_text("<")

    code, text = report(*words)

    assert code == 2
    assert message in text
    assert not list(tmp_path.glob("b.json*"))


def test_an_unwritable_place_is_told(rome: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    code, text = report("baseline", rome, "--out", tmp_path / "file" / "b.json")

    assert code == 1
    assert "cannot write the baseline" in text


def test_no_framework_is_imported(rome: Path, memit: Path) -> None:
    code = (
        "import sys\n"
        "from collapse_tests.report_tool.main import app\n"
        f"app(['compare', {str(rome)!r}, {str(memit)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'pytest'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

"""`collapse-report compare` and `collapse-report baseline` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest
from typer.testing import CliRunner

from collapse_tests.baseline.file import read_baseline
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record
from collapse_tests.report.html import rendering
from collapse_tests.report_tool.main import app
from tests.unit.baseline.cases import COLLAPSED, ERROR, record, scenario_record

SETTINGS = {"ppl_limit": 1000.0, "ppl_texts": None, "dtype": "float32", "seed": 0, "edits": ["hard"], "overrides": []}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(rendering, "javascript_bundle", lambda: "let a = 1;")


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
        (["compare", "oddest"], "is not a run's (ValueError: ppl_limit 'high' is no positive finite number); restore"),
        (["compare", "odder"], "error: odder/environment.json cannot be read"),
        (["compare", "rome", "--cases", "x"], "error: --cases: 'x' is no positive whole number"),
        (["compare", *["rome"] * 27], "error: 27 runs are too many; give at most 26"),
        (["compare", "rome", "--html", "x.html", "--no-html"], "error: --html and --no-html contradict each other"),
        (["compare", "rome", "--html", ""], "error: --html: "),
        (
            ["baseline", "empty", "--out", "b.json"],
            "error: empty holds no single edit and no scenario; give a run that",
        ),
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
    write_run(tmp_path / "oddest", [record("f:0")], ppl_limit="high")
    (tmp_path / "broken.json").write_text("<")

    code, text = report(*words)

    assert code == 2
    assert message in text
    assert not list(tmp_path.glob("b.json*"))
    assert not list(tmp_path.glob("*.html"))


def test_a_page_is_written_beside_the_runs_and_overwrites_none(
    rome: Path, memit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2031, 5, 6, 7, 8, 9)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["collapse_tests.report_tool.compare"], "datetime", Frozen)
    (tmp_path / "comparison-20310506-070809.html").write_text("as it was")

    outputs = [report("compare", rome, memit) for _ in range(2)]

    names = [f"comparison-20310506-070809{end}.html" for end in ("", "-2", "-3")]
    assert [output.splitlines()[-1] for _, output in outputs] == [f"Comparison: {name}" for name in names[1:]]
    assert sorted(path.name for path in tmp_path.glob("*.html")) == sorted(names)
    assert (tmp_path / names[0]).read_text() == "as it was"
    assert "B (tiny under memit) against A (tiny under rome)" in (tmp_path / names[2]).read_text("utf-8")


def test_a_page_is_written_where_it_is_wanted_or_not_at_all(
    rome: Path, memit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.html").write_text("as it was")

    asked, output = report("compare", rome, memit, "--html", "x.html")
    none, silent = report("compare", rome, memit, "--no-html")

    assert (asked, none) == (0, 0)
    assert output.endswith("\nComparison: x.html\n")
    assert (tmp_path / "x.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "Comparison" not in silent
    assert [path.name for path in tmp_path.glob("*.html")] == ["x.html"]


def test_baselines_alone_have_their_page_among_the_reports(
    rome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    report("baseline", rome, "--out", "kept/b.json")

    code, output = report("compare", "kept/b.json", "kept/b.json")

    assert code == 0
    assert output.splitlines()[-1].startswith("Comparison: reports/comparison-")


def test_a_page_nobody_asked_for_is_no_reason_to_fail(
    rome: Path, memit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runs: object, file: Path) -> None:
        raise InfrastructureError("cannot write the page: No space left on device")

    monkeypatch.setattr(rendering, "write_comparison", fail)

    code, output = report("compare", rome, memit)
    asked, told = report("compare", rome, memit, "--html", tmp_path / "x.html")

    assert code == 0
    assert "warning: cannot write the page: No space left on device; --html FILE writes it elsewhere" in output
    assert (asked, "error: cannot write the page" in told) == (1, True)
    assert not list(tmp_path.glob("*.html"))


def test_scenarios_are_in_the_baseline_of_a_run(rome: Path, tmp_path: Path) -> None:
    lines = [json.dumps(scenario_record([200.0, 5e4]).to_dict()), ""]
    (rome / "sequences.jsonl").write_text("\n".join(lines))

    assert report("baseline", rome, "--out", tmp_path / "b.json")[1].endswith("b.json, 8 cases and 1 scenario.\n")

    found = read_baseline(tmp_path / "b.json").scenarios
    assert {name: one.collapsed_after for name, one in found.items()} == {"tiny-rome-scenario:f": 2}


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

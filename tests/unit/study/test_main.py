"""`collapse-study` as it is typed."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.records import Record, TaskVerdict, Verdict
from collapse_tests.study.main import app
from tests.unit.study.cases import record, result
from tests.unit.study.editors import TEXTS

RANDOM = TaskVerdict.RANDOM
EDITORS = "tests.unit.study.editors"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def study(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def write_run(folder: Path, records: Iterable[Record]) -> Path:
    lines = [json.dumps(one.to_dict()) for one in records]
    (folder / "records.jsonl").write_text("\n".join([*lines, ""]), encoding="ascii")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tasks = [(math.nan, 0.25, True), (math.inf, 0.5, True), (9000.0, 0.75, False), (300.0, 1.0, True)]
    return write_run(
        tmp_path,
        [
            record(
                f"edit:{n}",
                me_ppl,
                result("quiz", score, RANDOM if score < 0.6 else TaskVerdict.ABOVE),
                locality=locality,
                verdict=Verdict.STABLE if me_ppl == 300.0 else Verdict.COLLAPSED,
            )
            for n, (me_ppl, score, locality) in enumerate(tasks)
        ],
    )


def test_help_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.study.main import app\n"
        "for words in (['--help'], ['levels', '--help']):\n"
        "    app(words, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "worst" in done.stdout
    assert "--edits-per-level" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_worst_edits_need_no_framework(run: Path) -> None:
    code = (
        "import sys\n"
        "from collapse_tests.study.main import app\n"
        f"app(['worst', {str(run)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'lm_eval'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_worst_edits_are_shown_against_unedited_and_random(run: Path) -> None:
    code, output = study("worst", str(run), "--cases", "3")
    assert code == 0, output
    assert "m under rome: the 3 worst of 4 edits by ME-PPL" in output
    assert "3 collapsed; ME-PPL 9,000 to nan, median inf, unedited 200.00; success 3 of 3" in output
    assert "quiz 100 0.90 0.50 0.25 0.75 0.50 2 of 3" in output
    assert "edit:0 nan 1 – 1 0.25 edit:1 inf 1 – 1 0.50 edit:2 9,000 1 – 0 0.75" in output
    assert "edit:3" not in output
    assert "2 of the 3 models that collapsed among these are local (locality 1)" in output
    assert (
        "Of all that collapsed, 2 of 3 are local; of all that survived, 1 of 1 (Fisher's exact test: p = 1)" in output
    )
    assert "quiz -1.00 (0.083)" in output


def test_a_records_file_will_do_and_more_cases_than_there_are(run: Path) -> None:
    code, output = study("worst", str(run / "records.jsonl"))
    assert code == 0, output
    assert "the 4 worst of 4 edits" in output
    assert "edit:3 300.00 1 – 1 1.00 stable" in output


def test_every_measured_case_goes_to_the_file(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("old\n" * 50, encoding="ascii")
    code, _ = study("worst", str(run), "--cases", "1", "--csv", str(file))
    assert code == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["edit_id"], row["me_ppl"], row["among_worst"], row["generalisation"]) for row in rows] == [
        ("edit:0", "nan", "1", ""),
        ("edit:1", "inf", "0", ""),
        ("edit:2", "9000.0", "0", ""),
        ("edit:3", "300.0", "0", ""),
    ]


def test_no_survivor_and_no_locality_leave_no_test(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        [
            record("a", 9000.0, result("quiz", 0.5), locality=True),
            record("b", 8000.0, result("quiz", 0.5), locality=None, editor="ft"),
            record("c", None, editor="ft", verdict=Verdict.ERROR),
            record("d", 300.0, editor="mend", verdict=Verdict.STABLE),
        ],
    )
    code, output = study("worst", str(run))
    assert code == 0, output
    assert "1 of the 1 model that collapsed among these is local (locality 1)" in output
    assert "of all that survived, 0 of 0." in output
    assert "No edit with a locality prompt collapsed" in output
    assert "m under ft: the 1 worst of 1 edits by ME-PPL 1 more had no ME-PPL or ended in an error." in output
    assert "No task was measured on it" in output


def test_names_are_shown_and_never_taken_for_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path, [record("[bold]x", 9000.0, result("[red]quiz\u202e", 0.5), model="\x1b[2Jm")])
    code, output = study("worst", str(run))
    assert code == 0, output
    assert "[bold]x" in output
    assert "\x1b" not in output
    assert "\u202e" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("worst", "nowhere"), "cannot read records from nowhere"),
        (("worst", "nowhere", "--cases", "0"), "--cases: '0' is no positive whole number; give 1 or more"),
        (("worst", " "), "RUN: ' ' is empty"),
        (
            ("worst", "nowhere", "--csv", "no/such/rows.csv"),
            "--csv 'no/such/rows.csv': there is no directory 'no/such'",
        ),
        (("worst", "nowhere", "--csv", "/"), "--csv '/' is a directory"),
        (("levels", "--editor", "rom"), "did you mean 'rome'"),
        (("levels", "--editor", "rome", "--model", "gpt2xl"), "did you mean 'gpt2-xl'"),
        (("levels", "--editor", "rome", "--edits", "none.json"), "--edits 'none.json'"),
        (("levels", "--editor", "rome", "--levels", "100,x"), "--levels: 'x' is no positive finite number"),
        (("levels", "--editor", "rome", "--levels", "100,inf"), "--levels: 'inf' is no positive finite number"),
        (("levels", "--editor", "rome", "--levels", "100,"), "--levels: '100,' has an empty name"),
        (("levels", "--editor", "rome", "--edits-per-level", "none"), "--edits-per-level: 'none'"),
        (("levels", "--editor", "rome", "--tasks-limit", "-1"), "--tasks-limit: '-1'"),
        (("levels", "--editor", "rome", "--tasks-data", "nowhere", "--tasks", "piqa"), "--tasks-data 'nowhere' is no"),
        (("levels", "--editor", "rome", "--device", "tpu"), "--device: 'tpu' is no device"),
        (("levels", "--editor", "rome", "--device-map", "auto", "--device", "cpu"), "--device cpu is one device"),
        (("levels", "--editor", "rome", "--dtype", "int8"), "--dtype: 'int8' is no dtype"),
        (("levels", "--editor", "rome", "--set", "ft.steps=3"), "--set ft.steps: the editor here is rome"),
        (("levels", "--editor", "rome", "--set", "rome.stepz=3"), "stepz"),
        (("levels", "--editor", "rome", "--ppl-texts", "none.txt"), "--ppl-texts 'none.txt'"),
        (("levels", "--editor", "rome", "--csv", "no/such/rows.csv"), "there is no directory"),
    ],
)
def test_wrong_input_is_named_before_any_model_is_loaded(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("collapse_tests.study.levels.load_model", never)
    code, output = study(*arguments)
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_a_run_without_tasks_is_told_the_remedy(tmp_path: Path) -> None:
    code, output = study("worst", str(write_run(tmp_path, [record("a", 9000.0)])))
    assert code == 2
    assert "run the gate again with --downstream each" in output


def levels(tmp_path: Path, model: Path, editor: str, tokens: Iterable[int], *more: str) -> tuple[int, str]:
    edits = tmp_path / "set.json"
    requests = [{"prompt": f"{token} is in", "subject": str(token), "target_new": "Oslo"} for token in tokens]
    edits.write_text(json.dumps(requests), encoding="ascii")
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(TEXTS), encoding="ascii")
    files = ("--edits", str(edits), "--ppl-texts", str(texts))
    return study("levels", "--editor", f"{EDITORS}:{editor}", "--model", str(model), *files, *more)


@pytest.mark.parametrize("editor", ["OneToken", "DenseOneToken"])
def test_levels_of_a_tiny_model(tmp_path: Path, saved_tiny_model: Callable[[str], Path], editor: str) -> None:
    file = tmp_path / "rows.csv"
    more = ("--levels", "600,100,520,9000", "--edits-per-level", "2", "--tasks-limit", "5")
    exact = ("--matmul-precision", "float32", "--csv", str(file))
    code, output = levels(tmp_path, saved_tiny_model("gpt2"), editor, [9, 30, 70], *more, *exact)
    assert code == 0, output
    assert "accuracy by ME-PPL, mean and standard error over models" in output
    assert "unedited 475.47" in output
    assert "Left out, as the unedited model's ME-PPL is not below: 100." in output
    assert "Not reached: no factor up to 1.5 takes the update to within 5% of the level." in output
    assert "3 requests edited." in output
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    edited = [row for row in rows if row["task"] == "collapse_completion"]
    assert [(row["level"], row["edit_id"]) for row in edited] == [
        ("", ""),
        ("520.0", "set:0000"),
        ("520.0", "set:0001"),
        ("600.0", "set:0001"),
        ("600.0", "set:0002"),
    ]
    assert len(rows) == 3 * len(edited)


def test_a_model_left_changed_is_an_error_of_the_editor(
    tmp_path: Path, saved_tiny_model: Callable[[str], Path]
) -> None:
    code, output = levels(tmp_path, saved_tiny_model("gpt2"), "Untidy", [5], "--levels", "600", "--tasks-limit", "2")
    assert code == 1
    assert "error: editor 'untidy' left the model changed" in output

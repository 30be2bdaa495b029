"""`--resume`: what earlier runs know is not run again."""

from __future__ import annotations

import errno
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.report import store
from fixtures.pytester_cases import FACTS, GateProject

ALL = ["facts:0000", "facts:0001", "facts:0002", "facts:0003"]
PATIENCE_S = 120.0

#: An editor that changes little, says on which subjects it was called, and waits for as long as there is a file `wait`.
WATCHED = """
import time
from pathlib import Path

def edit(model, tokenizer, request):
    with Path("called").open("a") as file:
        file.write(f"{request.subject}\\n")
    while request.subject in ("violin", "Paris") and Path("wait").exists():
        time.sleep(0.05)
    if request.subject == "Rome" and Path("fail").exists():
        raise RuntimeError("not today")
"""


@pytest.fixture
def project(gate_project: GateProject) -> GateProject:
    (gate_project.path / "watched.py").write_text(WATCHED)
    return gate_project


def called(project: GateProject) -> list[str]:
    """Subjects that the watched editor was called on since this was last asked."""
    file = project.path / "called"
    subjects = sorted(file.read_text().split()) if file.exists() else []
    file.unlink(missing_ok=True)
    return subjects


def latest(project: GateProject) -> Path:
    return project.run_directories()[-1]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({**record, "seconds": None} for record in records), key=lambda record: str(record["case_id"]))


def test_a_whole_run_is_resumed_without_the_model(project: GateProject) -> None:
    first = project.run()
    before, run = project.records(), latest(project)

    again = project.run("--resume", str(run.relative_to(project.path)))

    again.assert_outcomes(passed=3, failed=1)
    assert again.ret == first.ret == 1
    assert without_times(project.records()) == without_times(before)
    assert latest(project) != run
    said = again.stdout.str()
    assert f"collapse: resuming from {run.relative_to(project.path)}, whose records answer for 4 cases at most" in said
    assert f"resumed: 4 of 4 cases from {run.relative_to(project.path)}" in said
    assert "not loaded, as nothing of it was left to run, nor compared: tiny-gpt2" in said
    assert "loading tiny-gpt2" not in said
    assert message_of(again) == message_of(first)


def message_of(result: pytest.RunResult) -> list[str]:
    lines = result.outlines
    start = next(index for index, line in enumerate(lines) if line.startswith("collapsed: "))
    end = next(index for index, line in enumerate(lines) if line.startswith("rerun: "))
    return lines[start : end + 1]


@pytest.mark.parametrize("distribution", [(), ("-n", "2")], ids=["alone", "n2"])
def test_only_what_is_missing_is_run(project: GateProject, distribution: tuple[str, ...]) -> None:
    run = project.run_apart if distribution else project.run
    run("-k", "0000 or 0001", editor="watched:edit").assert_outcomes(passed=2, deselected=2)
    assert called(project) == ["Norway", "Rome"]

    result = run("--resume", "reports", *distribution, editor="watched:edit")

    result.assert_outcomes(passed=4)
    assert called(project) == ["Paris", "violin"]
    assert sorted(project.verdicts()) == ALL
    said = result.stdout.str()
    assert "resumed: 2 of 4 cases from reports" in said
    assert "not loaded" not in said
    assert "the records are of watched:edit as it was then" in said
    environment = project.environment()
    assert set(environment["models"].values()) == {record["model_digest"] for record in project.records()}


def test_a_case_that_is_resumed_is_chosen_by_keyword_and_risk(project: GateProject) -> None:
    project.run("-k", "0002")

    result = project.run("--resume", "reports", "-k", "0002 or 0003")
    result.assert_outcomes(failed=1, passed=1, deselected=2)
    result.stdout.fnmatch_lines(["resumed: 1 of 2 cases from reports"])

    result = project.run("--resume", "reports", "--riskiest", "2")
    assert len(project.records()) == 2
    assert "nor compared" not in result.stdout.str()  # the model was loaded to tell the risk


def test_errors_are_run_again(project: GateProject) -> None:
    (project.path / "fail").touch()
    project.run(editor="watched:edit").assert_outcomes(passed=3, failed=1)
    called(project)
    (project.path / "fail").unlink()

    result = project.run("--resume", str(latest(project)), editor="watched:edit")

    result.assert_outcomes(passed=4)
    assert called(project) == ["Rome"]
    result.stdout.fnmatch_lines(["resumed: 3 of 4 cases from *"])


def test_other_weights_are_run_again(project: GateProject) -> None:
    project.run("-k", "not 0003", editor="watched:edit")
    called(project)
    file = latest(project) / "records.jsonl"
    lines = [{**json.loads(line), "model_digest": "of another model"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    result = project.run("--resume", str(file.parent), editor="watched:edit")

    assert len(called(project)) == 4
    result.stdout.fnmatch_lines(["resumed: 0 of 4 cases from *"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("--seed", "1"), "their seed was 0, not 1"),
        (("--suspect-growth", "1.2"), None),
        (("--set", "rome.steps=6"), "rome had other hyper-parameters"),
        (("--dtype", "float64"), "their dtype was float32, not float64"),
    ],
)
def test_settings_that_matter(project: GateProject, change: tuple[str, ...], why: str | None) -> None:
    project.run("--edits-limit", "1")

    said = project.run("--edits-limit", "1", "--resume", "reports", *change).stdout.str()

    if why is None:  # as nothing downstream is measured
        assert "resumed: 1 of 1 cases" in said
    else:
        assert f"1 records are left alone, as {why}" in said
        assert "resumed: 0 of 1 cases" in said


def test_sentences_are_told_apart_by_what_they_are(project: GateProject) -> None:
    project.run("--edits-limit", "1")
    sentences = project.path / "texts.json"
    sentences.write_text(json.dumps(["The capital of Norway is Oslo and the cat is in the rain."]))

    said = project.run("--edits-limit", "1", "--resume", "reports").stdout.str()

    assert "1 records are left alone, as their ppl_texts, texts.json, held other sentences" in said


def test_the_choice_of_tasks_matters_where_they_are_measured(project: GateProject) -> None:
    tasks = ("--edits-limit", "1", "--tasks-limit", "4", "--tasks")
    project.run(*tasks, "collapse_last_word", downstream="each")

    said = project.run(*tasks, "collapse_commonsense", "--resume", "reports", downstream="each").stdout.str()

    assert "1 records are left alone, as their tasks was" in said


def test_a_torn_last_line_is_told_and_run_again(project: GateProject) -> None:
    project.run(editor="watched:edit")
    called(project)
    file = latest(project) / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-40])

    result = project.run("--resume", "reports", editor="watched:edit")

    assert called(project) == ["Paris"]
    result.stdout.fnmatch_lines(
        ["*warning: *records.jsonl:4: the last record was cut off while being written; left out"]
    )
    assert sorted(project.verdicts()) == ALL


def test_a_file_damaged_in_the_middle_is_a_usage_error(project: GateProject) -> None:
    project.run()
    file = latest(project) / "records.jsonl"
    file.write_text(file.read_text().replace('"case_id"', '"case', 1))

    result = project.run("--resume", "reports")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *records.jsonl:1: not a record: *; restore the file or remove the line"])
    assert len(project.run_directories()) == 1


@pytest.mark.parametrize("place", ["nowhere", "facts.jsonl", "empty"])
def test_a_run_that_is_none_is_a_usage_error(project: GateProject, place: str) -> None:
    (project.path / "empty").mkdir()

    result = project.run("--resume", place)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --resume '{place}' is no run's directory and holds none; *"])


def test_sequences_are_run_again(project: GateProject) -> None:
    words = ("--scenario", "facts.jsonl", "--steps", "1")
    project.run(*words)

    result = project.run("--resume", "reports", *words)

    said = result.stdout.str()
    assert "collapse: sequences are run again" in said
    assert "resumed: 4 of 4 cases from reports" in said
    assert "nor compared" not in said  # the scenario loads the model
    assert (latest(project) / "sequences.jsonl").exists()


def test_what_is_kept_beyond_records_comes_along(project: GateProject) -> None:
    project.run()
    details = (latest(project) / "details.jsonl").read_text()

    project.run("--resume", "reports")

    assert (latest(project) / "details.jsonl").read_text() == details


def test_a_killed_run_goes_on(project: GateProject) -> None:
    (project.path / "wait").touch()
    with started(project, "--batch-size", "1", editor="watched:edit") as process:
        wait_for_records(project, 2)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGKILL
    (project.path / "wait").unlink()
    called(project)

    result = project.run("--resume", "reports", editor="watched:edit")

    result.assert_outcomes(passed=4)
    assert called(project) == ["Paris", "violin"]
    assert sorted(project.verdicts()) == ALL


@contextmanager
def started(project: GateProject, *words: str, **options: str) -> Iterator[Any]:
    process = project.start(*words, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_records(project: GateProject, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if project.run_directories() and len(project.records()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} records in {PATIENCE_S:g} s")


def test_a_full_disk_is_told_and_the_run_goes_on_elsewhere(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store._Lines._write
    written: list[bytes] = []

    def full_after_two(self: Any, line: bytes) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(line)
        write(self, line)

    with monkeypatch.context() as full:
        full.setattr(store._Lines, "_write", full_after_two)
        result = project.run(editor="watched:edit")

    assert result.ret == INFRASTRUCTURE_EXIT
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["Records are incomplete: cannot write reports to *: No space left on device; *"])
    called(project)
    project.run("--resume", "reports", "--reports-dir", "elsewhere", editor="watched:edit")
    assert called(project)  # what could not be written
    (again,) = (project.path / "elsewhere").iterdir()
    assert len((again / "records.jsonl").read_text().splitlines()) == len(FACTS)


def test_two_runs_of_the_same_second_never_share_a_directory(project: GateProject) -> None:
    words = ("--edits-limit", "1")
    with (
        started(project, *words, editor="my_editors:nothing") as one,
        started(project, *words, editor="my_editors:nothing") as other,
    ):
        one.communicate(timeout=PATIENCE_S)
        other.communicate(timeout=PATIENCE_S)

    assert (one.returncode, other.returncode) == (0, 0)
    assert len(project.run_directories()) == 2

"""Workers of xdist that die, and workers that share GPUs; on a machine that may have none."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.settings import DEFAULT_MODEL
from fixtures.pytester_cases import FACTS, GateProject

EDITORS = '''
    import os
    import pathlib
    import signal
    import time

    import torch

    HERE = pathlib.Path(__file__).parent

    def note(text):
        with (HERE / "notes.txt").open("a") as file:
            file.write(f"{text}\\n")

    def harmless(model, tokenizer, request):
        if request.subject == "violin":
            with torch.no_grad():
                model.get_output_embeddings().weight.mul_(1e6)

    def segfaults(model, tokenizer, request):
        if request.subject == "Rome":
            note("died")
            os.kill(os.getpid(), signal.SIGSEGV)
        harmless(model, tokenizer, request)

    def always(model, tokenizer, request):
        note("died")
        os._exit(3)

    def waits(model, tokenizer, request):
        """Wait once, to be killed meanwhile."""
        try:
            with (HERE / "pid.new").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return harmless(model, tokenizer, request)
        (HERE / "pid.new").rename(HERE / "pid.txt")
        (HERE / "pid.new").touch()
        time.sleep(600)

    def shows_gpus(model, tokenizer, request):
        note(os.environ["PYTEST_XDIST_WORKER"] + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        if request.subject == "Rome" and not (HERE / "rome").exists():
            (HERE / "rome").touch()
            os._exit(1)
'''


@pytest.fixture
def project(gate_project: GateProject, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    """With editors that die, and a directory of its own for temporary files."""
    gate_project.pytester.makepyfile(deadly=EDITORS)
    (gate_project.path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(gate_project.path / "tmp"))
    return gate_project


def notes(project: GateProject) -> list[str]:
    return (project.path / "notes.txt").read_text().splitlines()


def outcomes(project: GateProject) -> dict[str, tuple[Any, ...]]:
    """Edit id → what was found, of records that are there once each."""
    records = project.records()
    found = {record["edit_id"]: _found(record) for record in records}
    assert len(found) == len(records)
    return found


def _found(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["verdict"], record["edited"], record["error"]


def sequences(project: GateProject) -> list[dict[str, Any]]:
    lines = (project.run_directories()[-1] / "sequences.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def nothing_left(project: GateProject) -> bool:
    return list((project.path / "tmp").glob("pytest-collapse-*")) == []


def without_deaths(project: GateProject) -> dict[str, tuple[Any, ...]]:
    project.run(editor="deadly:harmless")
    return outcomes(project)


@pytest.fixture
def many(project: GateProject) -> GateProject:
    """Requests twice as many, of which one subject's comes once."""
    others = [{**fact, "prompt": f"The {fact['prompt']}"} for fact in FACTS if fact["subject"] != "Rome"]
    project.write_facts([*FACTS, *others])
    return project


def test_a_request_that_kills_its_worker_costs_itself_alone(many: GateProject) -> None:
    expected = without_deaths(many)

    result = many.run_apart("-n", "2", "--retries", "1", editor="deadly:segfaults")

    found = outcomes(many)
    verdict, _, error = found.pop("facts:0001")
    assert verdict == "error"
    assert error.startswith("given up, as it was tried twice: worker gw")
    assert error.endswith("was killed by signal 11 (SIGSEGV)")
    assert notes(many) == ["died"] * 2
    del expected["facts:0001"]
    assert {edit: verdict for edit, (verdict, *_) in found.items()} == {
        edit: verdict for edit, (verdict, *_) in expected.items()
    }
    for edit, (_, edited, _) in found.items():
        assert float(edited["me_ppl"]) == pytest.approx(float(expected[edit][1]["me_ppl"]), rel=1e-4), edit
    kinds = Counter(record["error_kind"] for record in many.records())
    assert kinds == {None: 6, "infrastructure": 1}
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # as some requests collapse the model
    output = result.stdout.str()
    assert "crashed while running" not in output
    assert "without a record" not in output
    assert nothing_left(many)


def test_a_worker_killed_from_outside_costs_nothing(project: GateProject) -> None:
    expected = without_deaths(project)

    process = project.start("-n", "2", "-p", "no:cacheprovider", editor="deadly:waits")
    pid = _wait_for(project.path / "pid.txt")
    os.kill(int(pid), signal.SIGKILL)
    output, errors = process.communicate(timeout=240)

    assert outcomes(project).keys() == expected.keys()
    assert project.verdicts() == {edit: verdict for edit, (verdict, *_) in expected.items()}
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, output + errors
    assert "crashed while running" not in output


def _wait_for(file: Path) -> str:
    deadline = time.monotonic() + 240
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return file.read_text()


def test_an_editor_that_always_dies_makes_every_test_an_error(project: GateProject) -> None:
    words = ("-n", "2", "--retries", "0", "--scenario", "facts.jsonl")

    result = project.run_apart(*words, editor="deadly:always")

    found = outcomes(project)
    assert sorted(found) == [f"facts:{index:04d}" for index in range(4)]
    (sequence,) = sequences(project)
    for record in (*project.records(), sequence):
        assert record["verdict"] == "error"
        assert record["error_kind"] == "infrastructure"
        assert record["error"].startswith("given up, as it was tried once: worker gw")
        assert record["error"].endswith("ended with exit status 3")
    assert len(notes(project)) == 3
    assert result.ret == INFRASTRUCTURE_EXIT
    assert result.parseoutcomes() == {"failed": 5}


def test_workers_that_die_before_they_have_a_test_end_the_run(project: GateProject) -> None:
    project.pytester.makeconftest(
        "import os\nif 'PYTEST_XDIST_WORKER' in os.environ:\n    open('starts', 'a').write('.')\n    os._exit(7)\n"
    )

    result = project.run_apart("-n", "1", editor="deadly:harmless")

    assert result.ret == INFRASTRUCTURE_EXIT
    result.stdout.fnmatch_lines(
        ["*5 workers died one after the other before they had a test; the last: worker gw4 ended with exit status 7*"]
    )
    assert nothing_left(project)


def test_a_limit_of_the_user_ends_the_run_as_under_xdist(project: GateProject) -> None:
    result = project.run_apart("-n", "1", "--max-worker-restart", "0", editor="deadly:always")

    assert result.ret == INFRASTRUCTURE_EXIT
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed while running*facts:0000*", "*worker restarting disabled*"])


def test_collecting_for_workers_prepares_no_model(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(project.path / "cache"))

    result = project.run_apart("-n", "2", "--collect-only", "-q", editor="rome", model=DEFAULT_MODEL)

    assert result.ret == pytest.ExitCode.OK
    assert not (project.path / "cache").exists()


def test_a_limit_that_is_no_number_is_refused(project: GateProject) -> None:
    result = project.run_apart("-n", "1", "--max-worker-restart", "few", editor="deadly:harmless")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --max-worker-restart: 'few' is no whole number; give 0 or more"])


@pytest.fixture
def two_gpus(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    """As on a machine with two GPUs, of four, as far as counting goes."""
    project.pytester.makepyfile(
        fake_gpus="from collapse_tests.distributed import gpus\ngpus.count_gpus = lambda: 2\n",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b, GPU-d,-1,GPU-a")
    return project


def test_auto_starts_a_worker_on_each_gpu_and_replaces_it_there(two_gpus: GateProject) -> None:
    result = two_gpus.run_apart("-n", "auto", "-p", "fake_gpus", editor="deadly:shows_gpus")

    result.assert_outcomes(passed=4)
    gpu_of = dict(line.split(" ", 1) for line in notes(two_gpus))
    assert len(gpu_of) == 3
    assert gpu_of["gw0"] == "GPU-b"
    assert gpu_of["gw1"] == "GPU-d"
    assert gpu_of["gw2"] == "GPU-b"  # the replacement of the first, which had the request that kills once


def test_more_gpus_than_there_are_end_before_anything_starts(two_gpus: GateProject) -> None:
    for workers in ("auto", "2"):
        result = two_gpus.run_apart(
            *("-n", workers, "-p", "fake_gpus", "--gpus-per-worker", "3"), editor="deadly:shows_gpus"
        )

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--gpus-per-worker 3: this machine has 2 usable GPUs; give 2 at most*"])
        assert "gw0" not in result.stdout.str()

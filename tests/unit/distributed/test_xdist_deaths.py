"""What the process that controls a run knows of workers that died, and what the others are told of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collapse_tests.cases import Case
from collapse_tests.distributed.xdist_deaths import WorkerDeaths, how_it_ended
from collapse_tests.distributed.xdist_worker import XdistWorker
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import ErrorKind
from collapse_tests.records import Verdict
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings

SETTINGS = Settings(("rome",), models=("tiny",))
REQUEST = EditRequest("Rome is a city in", "Rome", "Norway")


def case(index: int) -> Case:
    return Case("tiny", "rome", f"facts:{index:04d}", REQUEST)


def nodeid(index: int) -> str:
    return f"test_single_edit.py::test_single_edit[{case(index).id}]"


def node(process: object = None, *, here: bool = True) -> Any:
    """A worker, as far as its end is concerned."""
    gateway = SimpleNamespace(id="gw3", spec=SimpleNamespace(popen=here), _io=SimpleNamespace(popen=process))
    return SimpleNamespace(gateway=gateway)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "worker gw3 ended with exit status 3"),
        ("kill -SEGV $$", "worker gw3 was killed by signal 11 (SIGSEGV)"),
        ("kill -KILL $$", "worker gw3 was killed by signal 9 (SIGKILL), as the system does when memory runs out"),
    ],
)
def test_a_death_is_told_by_its_signal_or_status(script: str, told: str) -> None:
    with subprocess.Popen(["sh", "-c", script]) as process:
        assert how_it_ended(node(process)) == told


def test_of_a_worker_elsewhere_only_its_name_is_known() -> None:
    with subprocess.Popen(["sh", "-c", "exit 3"]) as ssh:
        assert how_it_ended(node(ssh, here=False)) == "worker gw3 was lost"
    assert how_it_ended(node()) == "worker gw3 was lost"


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerDeaths]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = WorkerDeaths(retries=1)
    yield kept
    kept.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def worker(deaths: WorkerDeaths) -> XdistWorker:
    """Another worker of the same run, that was started before anything happened."""
    workerinput: dict[str, Any] = {"workerid": "gw1", "workercount": 2}
    deaths.tell(workerinput)
    return XdistWorker(workerinput)


def test_other_workers_are_told_what_is_suspect_and_what_is_given_up(deaths: WorkerDeaths, worker: XdistWorker) -> None:
    assert worker.given_up(case(0), SETTINGS) is None
    deaths.died(node(), [nodeid(0), nodeid(1)])
    assert worker.given_up(case(0), SETTINGS) is None
    assert case(0).id in worker
    assert case(2).id not in worker
    deaths.died(node(), [nodeid(1)])

    assert worker.given_up(case(0), SETTINGS) is None
    outcome = worker.given_up(case(1), SETTINGS)

    assert outcome is not None
    assert not outcome.repeated
    assert outcome.record.verdict is Verdict.ERROR
    assert outcome.record.error_kind is ErrorKind.INFRASTRUCTURE
    assert outcome.record.error == "given up, as it was tried twice: worker gw3 was lost"
    assert (outcome.record.case_id, outcome.record.worker) == (case(1).id, "gw1")


def test_a_hopeless_editor_is_told_in_full_once(deaths: WorkerDeaths, worker: XdistWorker) -> None:
    for index in range(5):
        deaths.died(node(), [nodeid(index)])

    outcomes = [worker.given_up(case(index), SETTINGS) for index in (7, 8)]

    assert [None if outcome is None else outcome.repeated for outcome in outcomes] == [False, True]
    assert outcomes[0] is not None
    assert outcomes[0].record.error is not None
    assert "a worker died under each of 5 tests" in outcomes[0].record.error


def test_a_scenario_is_given_up_with_a_record_of_its_own(deaths: WorkerDeaths, worker: XdistWorker) -> None:
    scenario = SequenceCase("tiny", "rome", SequenceKind.SCENARIO, "facts", "facts.jsonl", (), "tiny-rome")
    for _ in range(2):
        deaths.died(node(), [f"test_scenario.py::test_scenario[{scenario.id}]"])

    outcome = worker.given_up(scenario, SETTINGS)

    assert outcome is not None
    assert outcome.record.kind is SequenceKind.SCENARIO
    assert outcome.record.error_kind is ErrorKind.INFRASTRUCTURE


def test_where_the_file_is_not_to_be_seen_nothing_is_given_up() -> None:
    for told in ({}, {"collapse_faults": "/nowhere/faults.json"}):
        worker = XdistWorker({"workerid": "gw1", "workercount": 2, **told})
        assert worker.given_up(case(0), SETTINGS) is None


def test_deaths_in_vain_are_counted_until_a_test_ends(deaths: WorkerDeaths) -> None:
    for _ in range(3):
        deaths.note_death(idle=True)
    assert deaths.in_vain == 3
    own: Any = SimpleNamespace(nodeid="test_mine.py::test_it", when="call", passed=True)
    deaths.note_report(own)
    assert deaths.in_vain == 0
    assert not deaths.ends_the_run


def test_the_users_limit_counts_every_death() -> None:
    limited = WorkerDeaths(retries=2, max_restarts=1)
    limited.note_death(idle=False)
    assert not limited.ends_the_run
    limited.note_death(idle=True)
    assert limited.ends_the_run

"""Outcomes from workers, one way or another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from collapse_tests.case_records import blank_record, error_record
from collapse_tests.cases import Case
from collapse_tests.distributed.ray_brief import Reply
from collapse_tests.distributed.ray_gate import RemoteGate
from collapse_tests.distributed.ray_pool import Event, Joined, Left, Replied
from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.outcome import Outcome
from collapse_tests.errors import ErrorKind, InfrastructureError, UsageError
from collapse_tests.records import Record
from collapse_tests.settings import Settings

SETTINGS = Settings(editors=("rome",), retries=1, ray_wait=5)
CASES = [Case("m", "rome", f"f:{index}", EditRequest("The prompt", "prompt", "new")) for index in range(10)]

Answer = Callable[[str, str, tuple[Any, ...]], Reply | None]


def measures(worker: str, method: str, arguments: tuple[Any, ...]) -> Reply:
    """What a worker answers that does its work."""
    if method == "set_up":
        return Reply(4, ("loading m",), {"device": "cpu"})
    if method == "run":
        return Reply([Outcome(blank_record(case, SETTINGS, worker)) for case in arguments[0]])
    return Reply(f"{method} of {arguments[0]}")


class FakePool:
    """Workers that answer at once; an answer of None is their death."""

    def __init__(self, answer: Answer, *workers: str) -> None:
        self.answer = answer
        self.events: deque[Event] = deque(Joined(worker, worker) for worker in workers)
        self.sent: list[tuple[str, str, tuple[Any, ...]]] = []
        self.is_hopeless = False
        self.refused: Mapping[str, str] = {}
        self.deserted = 0.0
        self.dead: set[str] = set()

    def deserted_s(self) -> float:
        return self.deserted

    def send(self, worker: str, number: int, method: str, *arguments: Any) -> None:
        self.sent.append((worker, method, arguments))
        reply = None if worker in self.dead else self.answer(worker, method, arguments)
        if reply is not None:
            self.events.append(Replied(worker, number, reply))
        elif worker not in self.dead:
            self.dead.add(worker)
            self.events.append(Left(worker, f"worker {worker} died: boom"))

    def wait(self, timeout: float) -> list[Event]:
        return [self.events.popleft()] if self.events else []

    def close(self) -> None:
        """Nothing to end."""


def test_every_case_comes_in_and_is_handed_out() -> None:
    said: list[str] = []
    pool = FakePool(measures, "a", "b")
    gate = RemoteGate(SETTINGS, pool, say=said.append)
    gate.plan(CASES)
    found = []
    while (case := gate.next()) is not None:
        assert isinstance(case, Case)
        found.append(gate.outcome(case).record)
    assert sorted(record.case_id for record in found) == [case.id for case in CASES]
    assert {record.worker for record in found} == {"a", "b"}
    assert said == ["loading m"]  # by whichever comes first, once
    assert gate.device_facts("a") == {"device": "cpu"}
    assert gate.device_facts("main") is None


def test_a_case_that_was_not_planned_or_is_asked_for_again_is_run() -> None:
    gate = RemoteGate(SETTINGS, FakePool(measures, "a"))
    assert gate.outcome(CASES[0]).record.case_id == CASES[0].id
    assert gate.outcome(CASES[0]).record.case_id == CASES[0].id


@pytest.mark.parametrize("asked", [Case("m", "rome", "f:99", CASES[0].request), CASES[3]], ids=["other", "planned"])
def test_what_comes_in_while_a_test_waits_for_a_case_of_its_own_is_told_later(asked: Case) -> None:
    gate = RemoteGate(SETTINGS, FakePool(measures, "a"))
    gate.plan(CASES)
    assert gate.outcome(asked).record.case_id == asked.id
    found = []
    while (case := gate.next()) is not None:
        assert isinstance(case, Case)
        found.append(gate.outcome(case).record.case_id)
    assert sorted(found) == [case.id for case in CASES]


def test_who_does_not_wait_gets_none() -> None:
    pool = FakePool(measures)
    gate = RemoteGate(SETTINGS, pool)
    gate.plan(CASES[:1])
    assert gate.next(wait=False) is None
    pool.events.append(Joined("a", "a"))
    assert gate.next() is CASES[0]
    assert gate.next(wait=False) is None


def test_a_case_whose_workers_die_is_an_error_that_says_so() -> None:
    pool = FakePool(lambda worker, method, arguments: None if method == "run" else Reply(4), "a", "b", "c")
    gate = RemoteGate(SETTINGS, pool)
    record = gate.outcome(CASES[0]).record
    assert record.error == "given up, as it was tried twice: worker b died: boom"
    assert record.error_kind is ErrorKind.INFRASTRUCTURE


def test_where_nobody_comes_the_rest_is_an_error() -> None:
    pool = FakePool(measures)
    pool.deserted = 5.0
    gate = RemoteGate(SETTINGS, pool)
    gate.plan(CASES)
    records = []
    while (case := gate.next()) is not None:
        assert isinstance(case, Case)
        records.append(gate.outcome(case))
    assert len(records) == 10
    assert {outcome.record.error for outcome in records} == {
        "no worker was alive for 5 s; see ray status for what the cluster has room for, or raise --ray-wait"
    }
    assert [outcome.repeated for outcome in records] == [False] + [True] * 9


def test_what_kills_workers_by_itself_is_told_of_each_and_of_a_hopeless_editor_once() -> None:
    def answer(worker: str, method: str, arguments: tuple[Any, ...]) -> Reply | None:
        if method == "set_up":
            return Reply(1)
        pool.events.append(Joined(f"after {worker}", "host"))
        return None

    pool = FakePool(answer, "a")
    gate = RemoteGate(Settings(editors=("rome",), retries=0), pool)
    gate.plan(CASES)
    outcomes: list[Outcome[Record]] = []
    while (case := gate.next()) is not None:
        assert isinstance(case, Case)
        outcomes.append(gate.outcome(case))
    hopeless = [outcome for outcome in outcomes if "not tried any more" in str(outcome.record.error)]
    assert [outcome.repeated for outcome in hopeless] == [False] + [True] * (len(hopeless) - 1)
    assert len(hopeless) > 1
    assert not any(outcome.repeated for outcome in outcomes if outcome not in hopeless)


def test_where_no_machine_can_be_used_nothing_is_waited_for() -> None:
    pool = FakePool(measures)
    pool.is_hopeless = True
    pool.refused = {"node": "old cannot be used"}
    record = RemoteGate(SETTINGS, pool).outcome(CASES[0]).record
    assert record.error == "no machine of the cluster can be used: old cannot be used"


def test_what_a_worker_cannot_set_up_is_shown_once_after_it_was_tried_elsewhere() -> None:
    own_shown: set[str] = set()

    def lacks(worker: str, method: str, arguments: tuple[Any, ...]) -> Reply:
        if method == "set_up":
            return Reply(1 << 30)
        outcomes = []
        for case in arguments[0]:
            record = error_record(case, SETTINGS, worker, InfrastructureError("no such model"))
            outcomes.append(Outcome(record, repeated=worker in own_shown))
            own_shown.add(worker)
        return Reply(outcomes)

    gate = RemoteGate(SETTINGS, FakePool(lacks, "a", "b"))
    gate.plan(CASES)
    outcomes: list[Outcome[Record]] = []
    while (case := gate.next()) is not None:
        assert isinstance(case, Case)
        outcomes.append(gate.outcome(case))
    assert [outcome.repeated for outcome in outcomes] == [False] + [True] * 9


def test_a_gate_that_raises_is_an_error_of_the_infrastructure() -> None:
    def raises(worker: str, method: str, arguments: tuple[Any, ...]) -> Reply:
        return Reply(None, error=(ErrorKind.INFRASTRUCTURE, "the gate raised TypeError: no"))

    record = RemoteGate(SETTINGS, FakePool(raises, "a")).outcome(CASES[0]).record
    assert record.error == "the gate raised TypeError: no"
    assert record.worker == "a"


def test_a_question_goes_to_another_worker_if_the_first_dies() -> None:
    pool = FakePool(lambda worker, *asked: None if worker == "a" else measures(worker, *asked), "a", "b")
    assert RemoteGate(SETTINGS, pool).digest("m") == "digest of m"


def test_a_question_that_fails_fails_here() -> None:
    pool = FakePool(lambda *asked: Reply(None, error=(ErrorKind.USAGE, "no such model")), "a")
    with pytest.raises(UsageError, match="no such model"):
        RemoteGate(SETTINGS, pool).preflight("m", "rome", [CASES[0].request])


def test_a_question_that_kills_is_given_up() -> None:
    pool = FakePool(lambda *asked: None, "a", "b", "c")
    with pytest.raises(InfrastructureError, match="no worker could tell the digest of m: worker b died: boom"):
        RemoteGate(SETTINGS, pool).digest("m")

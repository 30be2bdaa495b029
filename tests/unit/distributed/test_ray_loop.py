"""Tests in the order in which their outcomes come in."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from collapse_tests.cases import Case
from collapse_tests.distributed.ray_loop import Arrivals, run_arrivals
from collapse_tests.edit_request import EditRequest

CASES = [Case("m", "rome", f"f:{index}", EditRequest("The prompt", "prompt", "new")) for index in range(4)]


class Item:
    """A test of a case, or of none."""

    def __init__(self, case: Case | None, parent: str = "module") -> None:
        self.parent = parent
        self.case = case
        if case is not None:
            self.callspec: Any = type("CallSpec", (), {"params": {"collapse_case": case}})()


class Source:
    """Cases come in as a test says; None where it would have to be waited for."""

    def __init__(self, *arrivals: Case | None) -> None:
        self.arrivals = deque(arrivals)
        self.waits = 0

    def next(self, *, wait: bool = True) -> Case | None:
        while self.arrivals:
            case = self.arrivals.popleft()
            if case is not None:
                return case
            if not wait:
                return None
            self.waits += 1
        return None


def arrivals(here: list[Any], away: list[Any], source: Source) -> Arrivals:
    return Arrivals(here, away, source)


def run(found: Arrivals, stop_after: int | None = None) -> list[tuple[Any, Any]]:
    """Each item with the one that pytest is told comes next, until one asks to stop."""
    calls: list[tuple[Any, Any]] = []

    class Session:
        Failed, Interrupted = pytest.Session.Failed, pytest.Session.Interrupted
        shouldfail: Any = False
        shouldstop: Any = False

    session: Any = Session()

    class Hook:
        def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
            calls.append((item, nextitem))
            if len(calls) == stop_after:
                session.shouldfail = "stopping"

    Item.config = type("Config", (), {"hook": Hook()})()  # type: ignore[attr-defined]
    gate: Any = type("Gate", (), {"display": type("Display", (), {"stop": lambda self: None})(), "forget": print})()
    gate.forget = lambda item: None
    run_arrivals(session, found, gate)
    return calls


def test_items_run_as_they_come_in_after_those_of_this_process() -> None:
    local, items = Item(None), [Item(case) for case in CASES[:3]]
    calls = run(arrivals([local], items, Source(CASES[2], None, CASES[0], CASES[1])))
    assert [item for item, _ in calls] == [local, items[2], items[0], items[1]]
    assert calls[-1][1] is None


def test_others_have_work_while_items_of_this_process_run() -> None:
    local: list[Any] = [Item(None), Item(None)]
    items: list[Any] = [Item(CASES[0])]
    source = Source(None, CASES[0])
    found = arrivals(local, items, source)
    assert found.next() is local[0]
    assert len(source.arrivals) == 1  # it was asked, which is when workers are given something
    assert [found.next(), found.next(), found.next()] == [local[1], items[0], None]
    assert source.waits == 0


def test_nothing_waits_for_the_next_one_where_any_will_do() -> None:
    items: list[Any] = [Item(case) for case in CASES[:3]]
    source = Source(CASES[2], None, CASES[1], CASES[0])
    found = arrivals([], items, source)
    assert found.next() is items[2]
    assert found.peek() in items[:2]
    assert source.waits == 0
    assert found.next() is items[1]
    assert source.waits == 0  # it had been looked for


def test_the_next_one_is_waited_for_where_its_parent_matters() -> None:
    items: list[Any] = [Item(CASES[0], "one"), Item(CASES[1], "two"), Item(CASES[2], "one")]
    source = Source(CASES[0], None, CASES[1], CASES[2])
    found = arrivals([], items, source)
    assert found.next() is items[0]
    assert found.peek() is items[1]
    assert source.waits == 1
    assert found.next() is items[1]


def test_two_tests_of_one_case_each_run_once() -> None:
    items = [Item(CASES[0]), Item(CASES[0])]
    calls = run(arrivals([], items, Source(CASES[0], CASES[0])))
    assert [item for item, _ in calls] == items


def test_a_test_that_asks_to_stop_stops_the_run() -> None:
    items = [Item(case) for case in CASES]
    with pytest.raises(pytest.Session.Failed, match="stopping"):
        run(arrivals([], items, Source(*CASES)), stop_after=2)

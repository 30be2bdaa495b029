"""The scheduler on workers that are only simulated: who waits for whom, and what becomes of the tests of the dead."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from xdist.remote import Producer

from collapse_tests.distributed.xdist_deaths import WorkerDeaths
from collapse_tests.distributed.xdist_scheduler import BatchScheduling


def config_of(workers: int) -> Any:
    """A config, as far as the scheduler asks it."""
    return SimpleNamespace(getvalue=lambda name: [f"{workers}*popen"], option=SimpleNamespace(loadscopereorder=True))


def report(nodeid: str, when: str = "call") -> Any:
    """A report that a test passed."""
    return SimpleNamespace(nodeid=nodeid, when=when, passed=True)


class Worker:
    """Runs what it is sent as xdist's workers do: a test only when the next is known, and a batch with its first test.

    Args:
        name: of the worker.
        pace: time that a case takes.
        wake: called when the worker may have something to do.
    """

    def __init__(self, name: str, pace: float, wake: Any) -> None:
        self.gateway = SimpleNamespace(id=name, spec=SimpleNamespace(popen=False))
        self.pace = pace
        self.shutting_down = False
        self.queue: list[int] = []
        self.computed: set[int] = set()
        self.busy = self.dead = False
        self._wake = wake

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.dead
        self.queue += indices
        self._wake(self)

    def shutdown(self) -> None:
        self.shutting_down = True
        self._wake(self)

    @property
    def next_batch(self) -> list[int]:
        """What it holds of a batch that it has not begun."""
        return [index for index in self.queue if index not in self.computed]


class Host:
    """A run in simulated time.

    Args:
        nodeids: of the tests.
        paces: of the workers.
        deadly: indices of tests that kill a worker.
        deaths: see `BatchScheduling`.
    """

    def __init__(
        self,
        nodeids: Sequence[str],
        paces: Sequence[float],
        deadly: frozenset[int] = frozenset(),
        deaths: WorkerDeaths | None = None,
    ) -> None:
        self.nodeids = list(nodeids)
        self.scheduler = BatchScheduling(config_of(len(paces)), Producer("test", enabled=False), deaths)
        self.deadly = deadly
        self.deaths = deaths
        self.now = 0.0
        self.finished: list[int] = []
        self.denied: set[int] = set()
        self.crashes: list[str] = []
        self.died = 0
        self._events: list[tuple[float, int, Worker]] = []
        self._order: Iterator[int] = iter(range(1 << 30))
        self.workers = [self._start(pace) for pace in paces]
        self.scheduler.schedule()

    def _start(self, pace: float) -> Worker:
        worker = Worker(f"gw{next(self._order)}", pace, self._wake)
        self.scheduler.add_node(worker)
        self.scheduler.add_node_collection(worker, self.nodeids)
        return worker

    def _wake(self, worker: Worker, after: float = 0.0) -> None:
        heapq.heappush(self._events, (self.now + after, next(self._order), worker))

    def run(self) -> float:
        """Until nothing happens any more; returns when the last test ended."""
        end = 0.0
        while self._events:
            self.now, _, worker = heapq.heappop(self._events)
            before = len(self.finished)
            if not worker.dead:
                self._act(worker)
            if len(self.finished) > before:
                end = self.now
            if self.scheduler.tests_finished:
                for other in self.scheduler.nodes:
                    if not other.shutting_down:
                        other.shutdown()
            if self.deadly == frozenset():
                self._check_queues()
        return end

    def _act(self, worker: Worker) -> None:
        if worker.busy:
            if not any(event[2] is worker and event[0] > self.now for event in self._events):
                worker.busy = False
                if self.deadly.intersection(worker.computed).intersection(worker.queue):
                    self._kill(worker)
                    return
            else:
                return
        while worker.queue and (len(worker.queue) > 1 or worker.shutting_down):
            index = worker.queue[0]
            if self.deaths is not None and self.deaths.is_given_up(self.nodeids[index]):
                worker.computed.add(index)
                self.denied.add(index)
            if index not in worker.computed:
                batch = self._batch(worker)
                worker.computed.update(batch)
                worker.busy = True
                self._wake(worker, worker.pace * len(batch))
                return
            worker.queue.pop(0)
            worker.computed.discard(index)
            self.finished.append(index)
            if self.deaths is not None:
                self.deaths.note_report(report(self.nodeids[index]))
            self.scheduler.mark_test_complete(worker, index)

    def _batch(self, worker: Worker) -> list[int]:
        scope = self.scheduler._split_scope(self.nodeids[worker.queue[0]])
        return [index for index in worker.queue if self.scheduler._split_scope(self.nodeids[index]) == scope]

    def _kill(self, worker: Worker) -> None:
        worker.dead = True
        self.died += 1
        if (crashed := self.scheduler.remove_node(worker)) is not None:
            self.crashes.append(crashed)
        self._start(worker.pace)
        self.scheduler.schedule()

    def _check_queues(self) -> None:
        """No worker has a batch waiting behind the one it runs while another has nothing to do."""
        alive = self.scheduler.nodes
        if any(not worker.queue and not worker.busy for worker in alive):
            waiting = [worker for worker in alive if worker.busy and worker.next_batch]
            assert not waiting, (self.now, [(one.queue, one.computed) for one in waiting])


def case_nodes(count: int, group: str = "m-rome") -> list[str]:
    return [f"suite/test_single_edit.py::test_single_edit[{group}-facts:{index:05d}]" for index in range(count)]


@pytest.mark.parametrize("paces", [[1, 1], [1, 1, 2, 3], [1] * 8, [1, 1.3, 1.7, 0.6, 2, 1.1, 0.9, 3]])
@pytest.mark.parametrize("count", [1_000, 3_000])
def test_workers_of_unequal_speed_end_together(paces: list[float], count: int) -> None:
    host = Host(case_nodes(count), paces)

    end = host.run()

    assert sorted(host.finished) == list(range(count))
    ideal = count / sum(1 / pace for pace in paces)
    assert ideal <= end <= ideal + 4 * max(paces)


def test_batches_come_whole_and_each_worker_gets_some() -> None:
    host = Host([*case_nodes(30), *case_nodes(30, "m-memit")], [1, 1, 1])
    host.run()
    assert sorted(host.finished) == list(range(60))


def test_fewer_tests_than_workers_run_at_once() -> None:
    host = Host(case_nodes(3), [1] * 5)
    assert host.run() == 1


@pytest.fixture
def deaths() -> Iterator[WorkerDeaths]:
    kept = WorkerDeaths(retries=2)
    yield kept
    kept.close()


def test_only_the_deadly_test_of_a_batch_is_given_up(deaths: WorkerDeaths) -> None:
    host = Host(case_nodes(40), [1, 1], frozenset({3}), deaths)

    host.run()

    assert sorted(host.finished) == list(range(40))
    assert host.died == 3
    assert host.denied == {3}
    assert host.crashes == []


def test_an_editor_that_always_dies_ends_soon(deaths: WorkerDeaths) -> None:
    host = Host(case_nodes(500), [1, 1, 1], frozenset(range(500)), deaths)

    host.run()

    assert sorted(host.finished) == list(range(500))
    assert host.died <= 12
    assert host.denied == set(range(500))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_deadly_every_test_ends_once(seed: int, deaths: WorkerDeaths) -> None:
    numbers = random.Random(seed)
    nodeids = [*case_nodes(60, "a-rome"), *case_nodes(numbers.randrange(40), "b-rome")]
    nodeids += [f"suite/test_scenario.py::test_scenario[a-rome-scenario:s{index}]" for index in range(5)]
    deadly = frozenset(numbers.sample(range(len(nodeids)), numbers.randrange(8)))
    host = Host(nodeids, [numbers.uniform(0.5, 2) for _ in range(numbers.randrange(1, 5))], deadly, deaths)

    host.run()

    assert Counter(host.finished) == Counter(range(len(nodeids)))
    assert host.denied == deadly


def test_a_test_that_is_none_of_the_suite_crashes_as_under_xdist(deaths: WorkerDeaths) -> None:
    nodeids = ["test_mine.py::test_one", "test_mine.py::test_two", *case_nodes(6)]
    host = Host(nodeids, [1, 1], frozenset({0}), deaths)

    host.run()

    assert host.crashes == ["test_mine.py::test_one"]
    assert sorted(host.finished) == list(range(1, 8))


def test_without_anyone_to_count_deaths_a_crash_costs_its_test() -> None:
    host = Host(case_nodes(8), [1, 1], frozenset({2}))
    host.run()
    assert len(host.crashes) == 3  # the first of what was left of its batch, each time
    assert sorted(host.finished) == [index for index in range(8) if host.nodeids[index] not in host.crashes]


def test_what_came_to_an_outcome_is_not_run_again(deaths: WorkerDeaths) -> None:
    """The worker died after it reported the first test of its batch, and before it said that it was done with it."""
    host = Host(case_nodes(8), [1, 1], frozenset(), deaths)
    (worker, other) = host.workers
    deaths.note_report(report(host.nodeids[0]))
    deaths.note_report(report(host.nodeids[1], "setup"))

    assert host.scheduler.remove_node(worker) is None

    assert host.scheduler.workqueue.keys() == set(host.nodeids[1:4])
    assert host.nodeids[1] not in deaths.reported
    assert other.queue == [4, 5, 6, 7]


def test_a_test_that_kills_even_when_given_up_is_left_to_xdist() -> None:
    deaths = WorkerDeaths(retries=0)
    host = Host(case_nodes(8), [1, 1], frozenset(), deaths)
    host.scheduler.remove_node(host.workers[0])
    clone = host._start(1)
    host.scheduler.schedule()
    assert clone.queue == [0, 1]

    assert host.scheduler.remove_node(clone) == host.nodeids[0]

    assert next(iter(host.scheduler.workqueue)) == host.nodeids[1]
    deaths.close()


def test_where_no_worker_may_follow_the_crash_is_reported() -> None:
    deaths = WorkerDeaths(retries=2, max_restarts=0)
    host = Host(case_nodes(8), [1, 1], frozenset(), deaths)
    deaths.note_death(idle=False)
    assert host.scheduler.remove_node(host.workers[0]) == host.nodeids[0]
    deaths.close()


def test_a_worker_that_dies_while_collecting_is_not_waited_for(deaths: WorkerDeaths) -> None:
    scheduler: Any = BatchScheduling(config_of(2), Producer("test", enabled=False), deaths)
    workers: Any = [Worker(f"gw{index}", 1, lambda worker: None) for index in range(3)]
    for worker in workers[:2]:
        scheduler.add_node(worker)
    nodeids = case_nodes(8)
    scheduler.add_node_collection(workers[0], nodeids)
    assert scheduler.remove_node(workers[0]) is None
    scheduler.add_node_collection(workers[1], nodeids)
    assert not scheduler.collection_is_completed
    scheduler.add_node(workers[2])
    scheduler.add_node_collection(workers[2], nodeids)
    assert scheduler.collection_is_completed
    scheduler.schedule()
    assert [worker.queue for worker in workers] == [[], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_replacement_gets_nothing_before_it_has_collected(deaths: WorkerDeaths) -> None:
    host = Host(case_nodes(8), [1, 1], frozenset(), deaths)
    clone: Any = Worker("gw9", 1, lambda worker: None)
    host.scheduler.add_node(clone)
    host.scheduler.remove_node(host.workers[0])
    assert clone.queue == []
    assert not clone.shutting_down
    host.scheduler.add_node_collection(clone, host.nodeids)
    host.scheduler.schedule()
    assert clone.queue == [0, 1]

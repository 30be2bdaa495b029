"""Who runs what on workers that come, go and fail."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.distributed.dispatch import MAX_UNTAKEN, Dispatch, GivenUp
from collapse_tests.distributed.dispatch_queue import Group, Job, Order
from collapse_tests.distributed.faults import FaultLedger
from collapse_tests.scheduling import MAX_DISPATCH

FINE, BROKEN = "fine", "broken"
ROME, FT, OTHER = Group("m-rome", "m", "rome"), Group("m-ft", "m", "ft"), Group("n-rome", "n", "rome")


def jobs(count: int, group: Group = ROME, *, start: int = 0, lone: bool = False) -> list[Job]:
    return [Job(key, f"{group.name}-f:{key}", group, lone) for key in range(start, start + count)]


def dispatch(*, retries: int = 2) -> Dispatch[str]:
    return Dispatch(FaultLedger(retries), lambda result: result == BROKEN)


def taken(plan: Dispatch[str]) -> dict[int, str | GivenUp]:
    ends: dict[int, str | GivenUp] = {}
    while (found := plan.take()) is not None:
        job, result = found
        assert job.key not in ends
        ends[job.key] = result
    return ends


def only(orders: list[Order]) -> Order:
    (order,) = orders
    return order


def loaded(plan: Dispatch[str], worker: str, capacity: int = 100) -> list[Order]:
    """Let a worker join and set up what it is told to; what it is told next."""
    plan.join(worker, f"host of {worker}")
    assert only(plan.orders()).jobs == ()
    plan.set_up(worker, capacity)
    return plan.orders()


def answer(plan: Dispatch[str], order: Order, result: str = FINE) -> None:
    plan.finished(order.worker, dict.fromkeys((job.key for job in order.jobs), result))


# Order, size and the bounds of what is under way ------------------------------------------------------------


def test_a_worker_sets_up_then_runs_and_has_the_next_batch_ready() -> None:
    plan = dispatch()
    plan.add(jobs(100))

    first, second = loaded(plan, "a", capacity=10)

    assert [job.key for job in first.jobs] == list(range(10))
    assert [job.key for job in second.jobs] == list(range(10, 20))
    assert plan.orders() == []  # two are enough
    answer(plan, first)
    assert [job.key for job in only(plan.orders()).jobs] == list(range(20, 30))


def test_batches_get_smaller_and_leave_nobody_without() -> None:
    plan = dispatch()
    plan.add(jobs(200))
    sizes = [len(order.jobs) for order in loaded(plan, "a")]
    for worker in "bcd":
        sizes += [len(order.jobs) for order in loaded(plan, worker)]
    sizes.sort(reverse=True)
    assert max(sizes) <= MAX_DISPATCH
    assert sizes[0] > sizes[-1]

    few = dispatch()
    few.add(jobs(4))
    for worker in "ab":
        few.join(worker, worker)
    few.orders()
    for worker in "ab":
        few.set_up(worker, 100)
    assert [len(order.jobs) for order in few.orders()] == [2, 1]


def test_what_nobody_takes_stops_everything() -> None:
    plan = dispatch()
    plan.add(jobs(10_000))
    orders = loaded(plan, "a", capacity=64)
    begun = 0
    while orders:
        begun += sum(len(order.jobs) for order in orders)
        for order in orders:
            answer(plan, order)
        orders = plan.orders()
    assert MAX_UNTAKEN <= begun <= MAX_UNTAKEN + 2 * MAX_DISPATCH

    taken(plan)
    assert plan.orders()


def test_a_worker_keeps_to_its_model() -> None:
    plan = dispatch()
    plan.add([*jobs(60), *jobs(50, OTHER, start=100), *jobs(5, FT, start=200)])
    order = loaded(plan, "a", capacity=60)[0]
    groups = []
    while True:
        groups.append(order.group.name)
        if order.jobs:
            answer(plan, order)
        else:
            plan.set_up("a", 60)
        if not plan.unfinished:
            break
        order = only(plan.orders())
    # First the one with most to do, then the other editor of the same model, then the other model.
    assert list(dict.fromkeys(groups)) == ["m-rome", "m-ft", "n-rome"]


def test_lone_jobs_come_first_and_share_no_batch() -> None:
    plan = dispatch()
    plan.add([*jobs(3), *jobs(2, start=10, lone=True)])
    first = only([order for order in loaded(plan, "a") if order.number == 2])
    assert [job.key for job in first.jobs] == [10]


# Faults -----------------------------------------------------------------------------------------------------


def test_the_batch_of_a_dead_worker_is_tried_one_by_one_and_what_it_held_is_untouched() -> None:
    plan = dispatch()
    plan.add(jobs(40))
    running, held = loaded(plan, "a", capacity=4)
    plan.leave("a", "boom")

    orders = loaded(plan, "b", capacity=4)

    alone = []
    while any(len(order.jobs) == 1 for order in orders):
        alone += [order.jobs[0].key for order in orders if len(order.jobs) == 1]
        for order in orders:
            answer(plan, order)
        orders = plan.orders()
    assert alone == [job.key for job in running.jobs]
    assert not {job.key for job in held.jobs} & set(alone)


def test_a_job_that_always_kills_is_given_up_and_the_others_are_not() -> None:
    plan = dispatch(retries=2)
    plan.add(jobs(4))
    ends: dict[int, str | GivenUp] = {}
    for number in range(20):
        worker = f"w{number}"
        orders = loaded(plan, worker) if plan.unfinished else []
        while orders:
            if any(job.key == 2 for job in orders[0].jobs):
                plan.leave(worker, "signal 11")
                break
            answer(plan, orders[0])
            orders = [*orders[1:], *plan.orders()]
        ends |= taken(plan)
    assert plan.unfinished == 0
    assert [ends[key] for key in (0, 1, 3)] == [FINE] * 3
    assert ends[2] == GivenUp("given up, as it was tried 3 times: signal 11")


def test_what_fails_on_one_worker_is_tried_on_another_one() -> None:
    plan = dispatch(retries=1)
    plan.add(jobs(2))
    first = only(loaded(plan, "a"))
    plan.join("b", "other")
    answer(plan, first, BROKEN)
    assert only(plan.orders()).worker == "b"  # is to set up; a has nothing to do
    plan.set_up("b", 10)
    while orders := plan.orders():
        again = only(orders)
        assert again.worker == "b"
        answer(plan, again)
    assert taken(plan) == {0: FINE, 1: FINE}


def test_where_there_is_no_other_worker_the_same_one_tries_again_and_the_failure_stands() -> None:
    plan = dispatch(retries=2)
    plan.add(jobs(1))
    orders = loaded(plan, "a")
    for _ in range(3):
        answer(plan, only(orders), BROKEN)
        orders = plan.orders()
    assert taken(plan) == {0: BROKEN}
    assert plan.unfinished == 0


def test_a_worker_that_fails_at_everything_gets_no_more_of_it_while_another_can() -> None:
    plan = dispatch(retries=1)
    plan.add([*jobs(30), *jobs(30, OTHER, start=100)])
    orders = loaded(plan, "a", capacity=4)
    group = orders[0].group
    plan.join("b", "other")
    answer(plan, orders[0], BROKEN)
    answer(plan, orders[1], BROKEN)
    told = plan.orders()
    assert {order.worker: order.group for order in told}["a"] != group


def test_a_group_under_which_workers_die_while_they_set_it_up_is_given_up() -> None:
    plan = dispatch(retries=2)
    plan.add([*jobs(500), *jobs(3, OTHER, start=1000)])
    deaths = 0
    ends: dict[int, str | GivenUp] = {}
    for number in range(10):
        worker = f"w{number}"
        plan.join(worker, "host")
        ends |= taken(plan)
        order = only(plan.orders())
        if order.group == OTHER:
            break
        plan.leave(worker, "out of memory")
        deaths += 1
    assert deaths == 3
    assert len(ends) == 500
    assert all(isinstance(end, GivenUp) and end.shared and "out of memory" in end.reason for end in ends.values())


def test_machines_that_are_lost_together_count_as_one_death() -> None:
    plan = dispatch(retries=2)
    plan.add(jobs(500))
    for number in range(8):
        plan.join(f"w{number}", "host")
    assert len(plan.orders()) == 8
    for number in range(8):
        plan.leave(f"w{number}", "its machine was lost")
    assert taken(plan) == {}
    assert loaded(plan, "late")


def test_giving_up_ends_everything_once() -> None:
    plan = dispatch()
    plan.add([*jobs(3), *jobs(3, FT, start=10)])
    loaded(plan, "a")
    plan.leave("a", "boom")
    plan.give_up("nobody is left")
    ends = taken(plan)
    assert sorted(ends) == [0, 1, 2, 10, 11, 12]
    assert set(ends.values()) == {GivenUp("nobody is left", shared=True)}
    assert plan.unfinished == 0


# A whole run ------------------------------------------------------------------------------------------------


@dataclass
class Simulation:
    """Runs a plan to its end on workers with a speed each, which die and fail as a random generator says."""

    plan: Dispatch[str]
    seed: int = 0
    deaths: float = 0.0
    failures: float = 0.0
    speeds: tuple[float, ...] = (1.0, 1.0)
    ends: Counter[int] = field(default_factory=Counter)
    now: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        chance = random.Random(self.seed)
        events: list[tuple[float, int, str]] = []
        queues: dict[str, list[Order]] = {}
        count = 0
        for speed in self.speeds:
            self._join(queues, f"w{count}", speed)
            count += 1
        while self.plan.unfinished:
            for order in self.plan.orders():
                queues[order.worker].append(order)
                if len(queues[order.worker]) == 1:
                    self._begin(events, order)
            if not self.plan.unfinished:
                break
            assert events, "everything waits"
            self.now, _, worker = heapq.heappop(events)
            order = queues[worker].pop(0)
            if chance.random() < self.deaths:
                self.plan.leave(worker, "boom")
                del queues[worker]
                self._join(queues, f"w{count}", self.busy[worker])
                count += 1
            else:
                self._reply(order, chance)
                if queues[worker]:
                    self._begin(events, queues[worker][0])
            self._take()
        self._take()

    def _take(self) -> None:
        while (end := self.plan.take()) is not None:
            self.ends[end[0].key] += 1

    def _join(self, queues: dict[str, list[Order]], name: str, speed: float) -> None:
        self.busy[name] = speed
        queues[name] = []
        self.plan.join(name, "host")

    def _begin(self, events: list[tuple[float, int, str]], order: Order) -> None:
        seconds = self.busy[order.worker] * max(1, len(order.jobs))
        heapq.heappush(events, (self.now + seconds, order.number, order.worker))

    def _reply(self, order: Order, chance: random.Random) -> None:
        if not order.jobs:
            self.plan.set_up(order.worker, 16)
            return
        self.plan.finished(
            order.worker, {job.key: BROKEN if chance.random() < self.failures else FINE for job in order.jobs}
        )


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**20),
    counts=st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 30)),
    workers=st.integers(1, 5),
    deaths=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    failures=st.sampled_from([0.0, 0.2, 1.0]),
    retries=st.integers(0, 3),
)
def test_every_job_comes_to_one_end_whatever_fails(
    seed: int, counts: tuple[int, int, int], workers: int, deaths: float, failures: float, retries: int
) -> None:
    plan = dispatch(retries=retries)
    every = [*jobs(counts[0]), *jobs(counts[1], FT, start=100), *jobs(counts[2], OTHER, start=200)]
    every += jobs(2, start=300, lone=True)
    plan.add(every)

    simulation = Simulation(plan, seed, deaths, failures, speeds=(1.0,) * workers)
    simulation.run()

    assert simulation.ends == Counter(job.key for job in every)
    assert plan.take() is None


@pytest.mark.parametrize("speeds", [(1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 3.0, 5.0)], ids=["alike", "unlike"])
def test_workers_end_together(speeds: tuple[float, ...]) -> None:
    plan = dispatch()
    plan.add(jobs(2000))
    simulation = Simulation(plan, speeds=speeds)
    simulation.run()
    ideal = 2000 / sum(1 / speed for speed in speeds)
    assert simulation.now <= 1.05 * ideal

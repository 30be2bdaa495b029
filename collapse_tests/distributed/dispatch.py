"""Who runs what next, on workers that come, go and fail: decisions only, whatever runs the jobs and carries results."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from collapse_tests.distributed.dispatch_queue import Group, GroupQueue, Job, Order
from collapse_tests.distributed.faults import FaultLedger
from collapse_tests.scheduling import MAX_DISPATCH

__all__ = ["MAX_UNTAKEN", "Dispatch", "GivenUp"]

ResultT = TypeVar("ResultT")

#: Results nobody has taken, from which on nothing new is begun.
MAX_UNTAKEN = 2048

#: Jobs in a batch, at least, as long as that leaves no worker without any: below it a batch is hardly faster.
_USEFUL = 8


@dataclass(frozen=True, slots=True)
class GivenUp:
    """In place of a result: why there will be none.

    Attributes:
        reason: in words.
        shared: whether other jobs are given up for the same reason.
    """

    reason: str
    shared: bool = False


@dataclass(slots=True)
class _Worker:
    place: str
    in_flight: deque[Order] = field(default_factory=deque)
    group: Group | None = None
    capacity: int | None = None  # of the group; None while it is being set up


class Dispatch(Generic[ResultT]):
    """Hands out jobs and takes results: each job comes to exactly one end, a result or the reason why there is none.

    A worker keeps to a model and editor as long as there is work for it. Batches get smaller towards the end, so that
    workers end together. Each worker has two batches at most: the one it runs, and the next, so that it need not wait.
    What a worker fails at is tried elsewhere, while there is another.

    Args:
        ledger: counts deaths, and says what is given up.
        is_infrastructure: whether a result says that not the job but the worker failed.
    """

    def __init__(self, ledger: FaultLedger, is_infrastructure: Callable[[ResultT], bool]) -> None:
        self._ledger = ledger
        self._is_infrastructure = is_infrastructure
        self._queues: dict[str, GroupQueue] = {}
        self._workers: dict[str, _Worker] = {}
        self._open: set[int] = set()
        self._finals: deque[tuple[Job, ResultT | GivenUp]] = deque()
        self._failures: dict[int, int] = {}  # job → how often its result was no result
        self._failed_on: dict[int, set[str]] = {}
        self._useless: set[tuple[str, str]] = set()  # worker or place, group: nothing but failures there
        self._deaths_at: Counter[tuple[str, str]] = Counter()  # place, group: workers that died setting it up there
        self._set_up_deaths: dict[str, int] = {}
        self._orders = 0

    @property
    def unfinished(self) -> int:
        """Jobs that have come to no end yet."""
        return len(self._open)

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    @property
    def has_results(self) -> bool:
        """Whether `take` has something."""
        return bool(self._finals)

    def add(self, jobs: Iterable[Job]) -> None:
        """Take more jobs; those of one group are begun in this order, lone ones first."""
        by_group: dict[str, list[Job]] = {}
        for job in jobs:
            self._open.add(job.key)
            by_group.setdefault(job.group.name, []).append(job)
        for name, more in by_group.items():
            self._queues.setdefault(name, GroupQueue(more[0].group, self._ledger.alone)).add(more)

    def join(self, worker: str, place: str) -> None:
        """Take a worker.

        Args:
            worker: its name, never used before.
            place: its machine.
        """
        self._workers[worker] = _Worker(place)

    def leave(self, worker: str, reason: str) -> None:
        """Note that a worker died: what it ran is tried again by the ledger's rules, what it only held is untouched."""
        lost = self._workers.pop(worker)
        for index, order in enumerate(lost.in_flight):
            if index > 0:
                self._queues[order.group.name].put_back(order.jobs)
            elif order.jobs:
                self._died(order, reason)
            else:
                self._died_setting_up(order, lost.place, reason)

    def set_up(self, worker: str, capacity: int) -> None:
        """Note that a worker has set up what it was told to.

        Args:
            worker: its name.
            capacity: jobs that it can run together, 1 or more.
        """
        member = self._workers[worker]
        order = member.in_flight.popleft()
        member.capacity = max(1, min(capacity, MAX_DISPATCH))
        self._set_up_deaths.pop(order.group.name, None)

    def finished(self, worker: str, results: Mapping[int, ResultT]) -> None:
        """Take the results of the batch that a worker had for longest, by the jobs' keys."""
        order = self._workers[worker].in_flight.popleft()
        failed = 0
        for job in order.jobs:
            result = results[job.key]
            if self._is_infrastructure(result):
                failed += 1
                self._failed(job, worker, result)
            else:
                self._ledger.finished(job.id)
                self._end(job, result)
        mark = (worker, order.group.name)
        if failed == len(order.jobs):
            self._useless.add(mark)
        else:
            self._useless.discard(mark)

    def give_up(self, reason: str) -> None:
        """End all jobs that no worker has."""
        for queue in self._queues.values():
            for job in queue.drain():
                self._end(job, GivenUp(reason, shared=True))

    def take(self) -> tuple[Job, ResultT | GivenUp] | None:
        """The next job that came to an end, and how; each once."""
        return self._finals.popleft() if self._finals else None

    def orders(self) -> list[Order]:
        """What workers are to be told now."""
        for name in self._ledger.groups:
            self._end_group(name)
        placed = []
        for depth in (0, 1):
            for name, worker in self._workers.items():
                if len(self._finals) < MAX_UNTAKEN and len(worker.in_flight) == depth:
                    order = self._next(name, worker) if depth == 0 else self._ahead(name, worker)
                    if order is not None:
                        worker.in_flight.append(order)
                        placed.append(order)
        return placed

    # What a worker gets --------------------------------------------------------------------------------------

    def _next(self, name: str, worker: _Worker) -> Order | None:
        """For a worker that has nothing to do."""
        queue = self._queue_for(name, worker)
        if queue is None:
            return None
        if worker.group != queue.group or worker.capacity is None:
            worker.group, worker.capacity = queue.group, None
            return self._order(name, queue.group, (), self._set_up_deaths.get(queue.group.name, 0))
        size = self._size(worker.capacity)
        jobs = queue.take_again(size, lambda job: self._may(name, job)) or queue.take_fresh(size)
        return self._order(name, queue.group, tuple(jobs))

    def _ahead(self, name: str, worker: _Worker) -> Order | None:
        """For a worker that has a batch: the next one, as long as batches are full and not yet getting smaller."""
        if worker.group is None or worker.capacity is None:
            return None
        queue = self._queues[worker.group.name]
        many = queue.fresh >= 2 * len(self._workers) * worker.capacity
        if not many or not self._is_good(name, worker.group.name):
            return None
        return self._order(name, queue.group, tuple(queue.take_fresh(worker.capacity)))

    def _order(self, worker: str, group: Group, jobs: tuple[Job, ...], attempt: int = 0) -> Order:
        self._orders += 1
        return Order(worker, self._orders, group, jobs, attempt)

    def _queue_for(self, name: str, worker: _Worker) -> GroupQueue | None:
        """Its own group's queue, else one of the model it has, else the one with most to do for each worker there."""
        able = [queue for queue in self._queues.values() if self._can_help(name, worker, queue)]
        group = worker.group

        def preference(queue: GroupQueue) -> tuple[bool, bool, float]:
            others = sum(other.group == queue.group for other in self._workers.values())
            same_model = group is not None and group.model == queue.group.model
            return queue.group == group, same_model, len(queue) / (1 + others)

        return max(able, key=preference, default=None)

    def _can_help(self, name: str, worker: _Worker, queue: GroupQueue) -> bool:
        """Whether a worker may take a job of a group, and those who have it loaded will not have it done at once."""
        if not len(queue) or not self._is_good(name, queue.group.name):
            return False
        if queue.has_again(lambda job: self._may(name, job)):
            return True
        if worker.group == queue.group:
            return queue.fresh > 0
        others = sum(
            other.group == queue.group and self._is_good(other_name, queue.group.name)
            for other_name, other in self._workers.items()
        )
        return queue.fresh > others

    def _size(self, capacity: int) -> int:
        """Jobs to hand out together: a fraction of what is left, and less and less towards the end."""
        left, workers = sum(map(len, self._queues.values())), len(self._workers)
        fair = math.ceil(left / workers)
        return min(capacity, max(math.ceil(left / (2 * workers)), min(_USEFUL, fair)))

    def _may(self, worker: str, job: Job) -> bool:
        """Whether a job has not failed on a worker yet, or has on all others, too."""
        failed = self._failed_on.get(job.key, ())
        return worker not in failed or not any(
            other not in failed and self._is_good(other, job.group.name) for other in self._workers
        )

    def _is_good(self, worker: str, group: str) -> bool:
        """Whether a worker may have more of a group: it does not just fail at it, or all do."""
        return not self._is_useless(worker, group) or all(self._is_useless(other, group) for other in self._workers)

    def _is_useless(self, worker: str, group: str) -> bool:
        marks = ((worker, group), (self._workers[worker].place, group))
        return not self._useless.isdisjoint(marks)

    # What comes of it ----------------------------------------------------------------------------------------

    def _end(self, job: Job, result: ResultT | GivenUp) -> None:
        if job.key in self._open:
            self._open.discard(job.key)
            self._failures.pop(job.key, None)
            self._failed_on.pop(job.key, None)
            self._finals.append((job, result))

    def _end_group(self, name: str) -> None:
        if name in self._queues:
            for job in self._queues[name].drain():
                self._end(job, GivenUp(self._ledger.groups[name], shared=True))

    def _failed(self, job: Job, worker: str, result: ResultT) -> None:
        failures = self._failures[job.key] = self._failures.get(job.key, 0) + 1
        if failures > self._ledger.retries:
            self._end(job, result)
        else:
            self._failed_on.setdefault(job.key, set()).add(worker)
            self._queues[job.group.name].try_again(job)

    def _died(self, order: Order, reason: str) -> None:
        self._ledger.died([job.id for job in order.jobs], reason)
        for job in order.jobs:
            given_up = self._ledger.given_up(job.id)
            if given_up is None:
                self._queues[job.group.name].try_again(job)
            else:
                self._end(job, GivenUp(given_up, shared=self._ledger.is_shared(given_up)))

    def _died_setting_up(self, order: Order, place: str, reason: str) -> None:
        """Machines that are lost take many set-ups at once; those begun together count as one."""
        name = order.group.name
        self._deaths_at[place, name] += 1
        if self._deaths_at[place, name] > 1:  # once may be chance
            self._useless.add((place, name))
        deaths = self._set_up_deaths[name] = max(self._set_up_deaths.get(name, 0), order.attempt + 1)
        ready = any(other.group == order.group and other.capacity is not None for other in self._workers.values())
        if deaths > self._ledger.retries and not ready:
            self._ledger.groups[name] = f"not tried, as workers died while they set model and editor up: {reason}"
            self._end_group(name)

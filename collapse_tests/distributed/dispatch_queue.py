"""What is to be run of one model and editor, the order it is handed out in, and the orders to workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

__all__ = ["Group", "GroupQueue", "Job", "Order"]


@dataclass(frozen=True, slots=True)
class Group:
    """The tests of one model and editor.

    Attributes:
        name: `<model>-<editor>` in short names.
        model, editor: as in the settings.
    """

    name: str
    model: str
    editor: str


@dataclass(frozen=True, slots=True)
class Job:
    """One test.

    Attributes:
        key: tells it from every other job, also from one of the same id.
        id: of the test, by which faults are counted.
        group: whose it is.
        lone: whether it is never run together with others.
    """

    key: int
    id: str
    group: Group
    lone: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told to do.

    Attributes:
        worker: its name.
        number: of the order, unique.
        group: whose model and editor it is about.
        jobs: to run together; none to set model and editor up.
        attempt: set-ups of the group that workers had died in before.
    """

    worker: str
    number: int
    group: Group
    jobs: tuple[Job, ...] = ()
    attempt: int = 0


class GroupQueue:
    """Jobs of one group that no worker has; those to be tried again come first.

    Args:
        group: whose they are.
        alone: ids of tests that may not share a batch any more; looked at whenever a batch is made.
    """

    def __init__(self, group: Group, alone: Container[str]) -> None:
        self.group = group
        self._alone = alone
        self._fresh: deque[Job] = deque()
        self._again: list[Job] = []

    def __len__(self) -> int:
        return len(self._fresh) + len(self._again)

    @property
    def fresh(self) -> int:
        """How many have not been tried."""
        return len(self._fresh)

    def add(self, jobs: Iterable[Job]) -> None:
        """Put new jobs at the end; lone ones, which take longest, before all others."""
        for job in jobs:
            if job.lone:
                place = next((index for index, other in enumerate(self._fresh) if not other.lone), len(self._fresh))
                self._fresh.insert(place, job)
            else:
                self._fresh.append(job)

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Take jobs back that were not tried after all."""
        self._fresh.extendleft(reversed(list(jobs)))

    def try_again(self, job: Job) -> None:
        """Take a job back that was tried in vain."""
        self._again.append(job)

    def take_again(self, size: int, may: Callable[[Job], bool]) -> list[Job]:
        """A batch of jobs to be tried again, at most `size`; none where `may` allows none of them."""
        chosen: list[Job] = []
        for job in self._again:
            if not may(job):
                continue
            if self._is_lone(job):
                if chosen:
                    continue
                chosen.append(job)
                break
            chosen.append(job)
            if len(chosen) == size:
                break
        keys = {job.key for job in chosen}
        self._again = [job for job in self._again if job.key not in keys]
        return chosen

    def take_fresh(self, size: int) -> list[Job]:
        """A batch of the next jobs that have not been tried, at most `size`."""
        chosen: list[Job] = []
        while self._fresh and len(chosen) < size:
            if self._is_lone(self._fresh[0]):
                return chosen or [self._fresh.popleft()]
            chosen.append(self._fresh.popleft())
        return chosen

    def has_again(self, may: Callable[[Job], bool]) -> bool:
        """Whether there is a job to be tried again that `may` allows."""
        return any(map(may, self._again))

    def drain(self) -> list[Job]:
        """Take all jobs out."""
        jobs = [*self._again, *self._fresh]
        self._again, self._fresh = [], deque()
        return jobs

    def _is_lone(self, job: Job) -> bool:
        return job.lone or job.id in self._alone

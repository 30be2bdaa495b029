"""The gate of a run on Ray: plans here, has workers measure, and hands out what they find."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from collapse_tests.cases import Case
from collapse_tests.distributed.dispatch import Dispatch, GivenUp
from collapse_tests.distributed.dispatch_queue import Group, Job, Order
from collapse_tests.distributed.faults import FaultLedger
from collapse_tests.distributed.outcomes import AnyOutcome, Repetitions, failed_outcome
from collapse_tests.distributed.ray_pool import Event, Joined, Left, Replied
from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.outcome import Outcome
from collapse_tests.errors import ErrorKind, InfrastructureError
from collapse_tests.records import Record
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import Settings
from collapse_tests.wording import counted

if TYPE_CHECKING:
    from collapse_tests.distributed.ray_brief import Reply
    from collapse_tests.engine.preflight import Foresight

__all__ = ["AnyCase", "RemoteGate", "WorkerPool"]

AnyCase = Case | SequenceCase

#: Seconds between two looks at what else is to be done while nothing happens.
_TICK_S = 0.5


class WorkerPool(Protocol):
    """Workers that come and go; `RayPool` is one."""

    @property
    def is_hopeless(self) -> bool:
        """Whether there are no workers and none will come."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Machine → why nothing runs there."""

    def deserted_s(self) -> float:
        """Seconds that were waited while no worker was alive."""

    def send(self, worker: str, number: int, method: str, *arguments: Any) -> None:
        """Tell a worker to do something."""

    def wait(self, timeout: float) -> list[Event]:
        """What has happened."""

    def close(self) -> None:
        """End all workers."""


class RemoteGate:
    """Has the workers of a pool run cases; an `OutcomeSource`.

    Args:
        settings: of the run.
        pool: the workers.
        say: takes a line for the user.
        progress: tells the user how far the run is.
    """

    def __init__(
        self,
        settings: Settings,
        pool: WorkerPool,
        *,
        say: Callable[[str], None] = lambda line: None,
        progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._say = say
        self._progress = progress
        self._dispatch: Dispatch[AnyOutcome] = Dispatch(FaultLedger(settings.retries), _is_infrastructure)
        self._cases: dict[int, AnyCase] = {}  # job → its case, until its outcome is taken
        self._waiting: dict[tuple[type, str], deque[AnyOutcome]] = {}  # outcomes that were not asked for yet
        self._unannounced: deque[AnyCase] = deque()  # that came in while another one was waited for
        self._orders: dict[tuple[str, int], Order] = {}
        self._idle: list[str] = []  # workers that wait for a question, before cases are run
        self._answers: dict[int, Reply] = {}
        self._said: set[str] = set()
        self._devices: dict[str, Mapping[str, str]] = {}
        self._last_death = ""
        self._repetitions = Repetitions()
        self._planned = 0

    # Cases ---------------------------------------------------------------------------------------------------

    def expect(self, cases: Sequence[Case]) -> None:
        """Nothing to be done: what is run is what `plan` is given."""

    def plan(self, cases: Iterable[AnyCase]) -> None:
        """Have these run from now on."""
        jobs = []
        for case in cases:
            key = self._planned
            self._planned += 1
            self._cases[key] = case
            group = Group(case.group, case.model, case.editor)
            jobs.append(Job(key, case.id, group, lone=isinstance(case, SequenceCase)))
        self._dispatch.add(jobs)

    def next(self, *, wait: bool = True) -> AnyCase | None:
        """A case whose outcome has come in; None when all are out, or without `wait` if none has yet."""
        return self._unannounced.popleft() if self._unannounced else self._take_in(wait=wait)

    def _take_in(self, *, wait: bool) -> AnyCase | None:
        while True:
            taken = self._dispatch.take()
            if taken is not None:
                job, result = taken
                case = self._cases.pop(job.key)
                if isinstance(result, GivenUp):
                    result = failed_outcome(case, self._settings, "main", result.reason, shared=result.shared)
                self._waiting.setdefault(_key(case), deque()).append(self._repetitions.marked(result))
                return case
            if self._dispatch.unfinished == 0:
                return None
            self._step(_TICK_S if wait else 0.0)
            if not wait and not self._dispatch.has_results:
                return None

    def outcome(self, case: Case) -> Outcome[Record]:
        """The outcome of a case, waiting for it; run again if it has been handed out."""
        outcome = self._outcome(case)
        assert isinstance(outcome.record, Record)
        return outcome

    def sequence(self, case: SequenceCase) -> Outcome[SequenceRecord]:
        """The outcome of edits in sequence, likewise."""
        outcome = self._outcome(case)
        assert isinstance(outcome.record, SequenceRecord)
        return outcome

    def device_facts(self, worker: str) -> dict[str, str] | None:
        """What a worker's records were computed on, if known."""
        facts = self._devices.get(worker)
        return None if facts is None else dict(facts)

    def _outcome(self, case: AnyCase) -> AnyOutcome:
        key = _key(case)
        if key not in self._waiting:
            self._wait_for(case)
        outcomes = self._waiting[key]
        outcome = outcomes.popleft()
        if not outcomes:
            del self._waiting[key]
        return outcome

    def _wait_for(self, case: AnyCase) -> None:
        """Take in what comes until it is this case's outcome; what `next` has yet to tell of is kept for it."""
        is_new = not any(other is case for other in self._cases.values())
        if is_new:
            self.plan([case])
        while _key(case) not in self._waiting:
            arrived = self._take_in(wait=True)
            if arrived is not None and not (is_new and _key(arrived) == _key(case)):
                self._unannounced.append(arrived)

    # Questions to any one worker -----------------------------------------------------------------------------

    def digest(self, model: str) -> str:
        """Digest of the unedited weights of a model; errors as `OutcomeSource` says."""
        found: str = self._ask("digest", model)
        return found

    def preflight(self, model: str, editor: str, requests: Sequence[EditRequest]) -> Sequence[Foresight]:
        """What can be told of edits before they are made; errors as `OutcomeSource` says."""
        found: Sequence[Foresight] = self._ask("preflight", model, editor, tuple(requests))
        return found

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Ask a worker, and another one if it dies."""
        reason = ""
        for attempt in range(self._settings.retries + 1):
            number = -1 - attempt  # orders have positive ones
            while not self._idle:
                if (lost := self._lost_hope()) is not None:
                    raise InfrastructureError(lost)
                self._step(_TICK_S)
            self._pool.send(self._idle[0], number, method, *arguments)
            asked = self._idle[0]
            while number not in self._answers and asked in self._idle:
                self._step(_TICK_S)
                self._progress("waiting for a worker", 0, 1)
            answer = self._answers.pop(number, None)
            if answer is not None:
                return answer.result()
            reason = self._last_death
        raise InfrastructureError(f"no worker could tell the {method} of {arguments[0]}: {reason}")

    # What happens meanwhile ----------------------------------------------------------------------------------

    def _step(self, timeout: float) -> None:
        """Hand out work, wait a little for what happens, and take it in."""
        self._hand_out()
        for event in self._pool.wait(timeout):
            match event:
                case Joined(worker, place):
                    self._idle.append(worker)
                    self._dispatch.join(worker, place)
                case Left(worker, reason):
                    self._left(worker, reason)
                case Replied(worker, number, reply):
                    self._replied(worker, number, reply)
        self._hand_out()
        done = self._planned - len(self._cases)
        if timeout and self._planned:
            self._progress(f"cases on {counted(self._dispatch.workers, 'worker')}", done, self._planned)

    def _hand_out(self) -> None:
        if self._dispatch.unfinished and (lost := self._lost_hope()) is not None:
            self._dispatch.give_up(lost)
        for order in self._dispatch.orders():
            self._orders[order.worker, order.number] = order
            self._send(order)

    def _send(self, order: Order) -> None:
        if not order.jobs:
            self._pool.send(order.worker, order.number, "set_up", order.group.model, order.group.editor)
            return
        cases = [self._cases[job.key] for job in order.jobs]
        if isinstance(cases[0], SequenceCase):
            self._pool.send(order.worker, order.number, "run_sequence", cases[0])
        else:
            self._pool.send(order.worker, order.number, "run", cases)

    def _replied(self, worker: str, number: int, reply: Reply) -> None:
        for line in reply.lines:
            if line not in self._said:
                self._said.add(line)
                self._say(line)
        if reply.device is not None:
            self._devices[worker] = reply.device
        if number < 0:
            self._answers[number] = reply
            return
        order = self._orders.pop((worker, number))
        if not order.jobs:
            # Of what cannot be set up every case says so, as many at once as may be.
            self._dispatch.set_up(worker, len(self._cases) + 1 if reply.error is not None else reply.value)
            return
        outcomes = reply.value
        if reply.error is not None:
            cases = [self._cases[job.key] for job in order.jobs]
            outcomes = [failed_outcome(case, self._settings, worker, reply.error[1]) for case in cases]
        self._dispatch.finished(worker, {job.key: out for job, out in zip(order.jobs, outcomes, strict=True)})

    def _left(self, worker: str, reason: str) -> None:
        self._last_death = reason
        self._say(reason)
        self._idle.remove(worker)
        self._dispatch.leave(worker, reason)
        self._orders = {key: order for key, order in self._orders.items() if key[0] != worker}

    def _lost_hope(self) -> str | None:
        """Why no worker is waited for any longer, or None."""
        if self._pool.is_hopeless:
            return "no machine of the cluster can be used: " + "; ".join(dict.fromkeys(self._pool.refused.values()))
        if self._pool.deserted_s() >= self._settings.ray_wait:
            why = f"; the last to die: {self._last_death}" if self._last_death else ""
            return (
                f"no worker was alive for {self._settings.ray_wait:g} s{why}; see ray status for what the cluster has "
                "room for, or raise --ray-wait"
            )
        return None

    def close(self) -> None:
        """End the workers; what they were at is lost."""
        self._pool.close()


def _key(case: AnyCase) -> tuple[type, str]:
    return type(case), case.id


def _is_infrastructure(outcome: AnyOutcome) -> bool:
    return outcome.record.error_kind is ErrorKind.INFRASTRUCTURE

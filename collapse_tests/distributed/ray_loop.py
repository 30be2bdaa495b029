"""Runs tests in the order in which their outcomes come in from a Ray cluster."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.distributed.ray_brief import brief_of
from collapse_tests.distributed.ray_cluster import Cluster
from collapse_tests.distributed.ray_gate import AnyCase, RemoteGate
from collapse_tests.distributed.ray_pool import RayPool
from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.session import GateSession, case_of

__all__ = ["Arrivals", "RayHooks", "run_arrivals"]


class CaseSource(Protocol):
    """Whoever says which case's outcome came in; `RemoteGate` is one."""

    def next(self, *, wait: bool = True) -> AnyCase | None:
        """A case whose outcome has come in; None when all are out, or without `wait` if none has yet."""


class Arrivals:
    """Items in the order they are to be run: those of this process first, the others as their outcomes come in.

    Args:
        here: items that need nobody else.
        away: items whose cases others run.
        source: says which have come in.
    """

    def __init__(self, here: Sequence[pytest.Item], away: Sequence[pytest.Item], source: CaseSource | None) -> None:
        self._here = deque(here)
        self._away: dict[tuple[type, str], deque[pytest.Item]] = {}
        for item in away:
            case = case_of(item)
            assert case is not None
            self._away.setdefault((type(case), case.id), deque()).append(item)
        self._parents = Counter(item.parent for item in away)
        self._source = source

    def next(self) -> pytest.Item | None:
        """The next item, waiting for it; None when all are through."""
        if not self._here:
            return self._arrived(wait=True)
        if (item := self._arrived(wait=False)) is not None:  # others are to have work while this process is busy
            self._here.append(item)
        return self._here.popleft()

    def peek(self) -> pytest.Item | None:
        """An item that will be run later, by which pytest knows what to tear down.

        It is the next one where that is known. Otherwise it is any, if all that are left have one parent; if they
        have not, the next is waited for.
        """
        if not self._here:
            item = self._arrived(wait=len(self._parents) > 1)
            if item is None:
                return next((items[0] for items in self._away.values()), None)
            self._here.append(item)
        return self._here[0]

    def _arrived(self, *, wait: bool) -> pytest.Item | None:
        case = None if self._source is None else self._source.next(wait=wait)
        if case is None:
            return None
        key = (type(case), case.id)
        items = self._away[key]
        item = items.popleft()
        if not items:
            del self._away[key]
        self._parents[item.parent] -= 1
        if not self._parents[item.parent]:
            del self._parents[item.parent]
        return item


def run_arrivals(session: pytest.Session, arrivals: Arrivals, gate: GateSession) -> None:
    """Run items as pytest itself would, but for their order.

    Raises:
        Failed, Interrupted: a test or a plugin asked to stop.
    """
    item = arrivals.next()
    while item is not None:
        following = arrivals.peek()
        gate.display.stop()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        gate.forget(item)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = arrivals.next()


class RayHooks:
    """The hooks of a run whose cases run on a Ray cluster.

    Args:
        config: of the run.
        gate: its cases and tests.
    """

    def __init__(self, config: pytest.Config, gate: GateSession) -> None:
        if config.getoption("dist", "no") != "no" or config.getoption("tx", None):
            raise UsageError("--ray and -n are two ways to have several workers; give one of them")
        if gate.settings.device.startswith("cuda:"):
            raise UsageError(
                f"--device {gate.settings.device} names a GPU of one machine, and with --ray each worker gets its own; "
                "give --device cuda or auto"
            )
        self._config = config
        self._gate = gate
        self._cluster: Cluster | None = None
        self._remote: RemoteGate | None = None
        gate.remote = self.remote

    def remote(self) -> RemoteGate:
        """The gate that has others run cases, made once.

        Raises:
            CollapseError: there is no cluster that can be used.
        """
        if self._remote is None:
            settings, display = self._gate.settings, self._gate.display
            cluster = self._reached()
            pool = RayPool(cluster, brief_of(settings, cluster.demand.cpus), display.say)
            self._remote = RemoteGate(settings, pool, say=display.say, progress=display.update)
        return self._remote

    def _reached(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._gate.settings)
        return self._cluster

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        """Reach the cluster, so that a wrong address shows at once."""
        if self._config.option.collectonly and self._gate.settings.riskiest is None:
            return
        try:
            self._reached()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        except CollapseError as error:
            pytest.exit(str(error), returncode=INFRASTRUCTURE_EXIT)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all tests; None where pytest's own loop has none to run."""
        option = self._config.option
        if option.collectonly or (session.testsfailed and not option.continue_on_collection_errors):
            return None
        try:
            run_arrivals(session, self._divided(session.items), self._gate)
        finally:
            self._gate.display.stop()
            self._close()
        return True

    def _divided(self, items: Sequence[pytest.Item]) -> Arrivals:
        here, away, cases = [], [], []
        for item in items:
            case = case_of(item)
            if case is None or self._gate.answers(case):
                here.append(item)
            else:
                away.append(item)
                cases.append(case)
        if not away:
            return Arrivals(here, (), None)
        source = self._gate.gate
        assert isinstance(source, RemoteGate)
        source.plan(cases)
        return Arrivals(here, away, source)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Let go of the cluster, whatever the run came to."""
        self._close()

    def pytest_unconfigure(self) -> None:
        """Let go of it where there was no session to finish."""
        self._close()

    def _close(self) -> None:
        if self._remote is not None:
            self._remote.close()
        if self._cluster is not None:
            self._cluster.close()

"""Whole batches to xdist's workers: the cases the engine edits together run on one worker, one after another."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from collapse_tests.cases import group_key

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.scheduler.loadscope import LoadScopeScheduling
    from xdist.workermanage import WorkerController

__all__ = ["GATE_TEST", "MAX_DISPATCH", "SUITE_TESTS", "chunk_cases", "dispatch_size", "make_scheduler", "scopes_of"]

#: Name of the test function whose parameter is a case.
GATE_TEST = "test_single_edit"

#: Names of all test functions of the suite, each alone in the file of its name.
SUITE_TESTS = (GATE_TEST, "test_scenario", "test_machine")

#: Cases sent to a worker at once, at most. More would leave workers idle at the end of a run for no faster edits.
MAX_DISPATCH = 64

#: Distribution modes that leave the choice of worker to xdist; the others are an explicit wish to group otherwise.
_FREE_MODES = ("load", "worksteal")

_CASE_NODE = re.compile(rf"(?P<test>.*::{GATE_TEST})\[(?P<case>.+)\]", re.DOTALL)


def dispatch_size(n_cases: int, n_workers: int) -> int:
    """How many cases to send to a worker at once, so that each of `n_workers` gets about two lots.

    Args:
        n_cases: selected gate cases of the run, of all models and editors; 0 is fine.
        n_workers: at least 1.
    """
    return min(max(math.ceil(n_cases / (2 * n_workers)), 1), MAX_DISPATCH)


def chunk_cases(case_ids: Sequence[str], size: int) -> dict[str, int]:
    """The number of each case's chunk: per (model, editor) group, in the order given, at most `size` cases.

    The scheduler and the engine both call this with the selected cases in collection order and with
    `dispatch_size`, so that the batch the engine runs is what the worker was sent.
    """
    chunks: dict[str, int] = {}
    open_chunks: dict[str, tuple[int, int]] = {}  # group -> number of its last chunk, cases in it
    total = 0
    for case_id in case_ids:
        group = group_key(case_id)
        number, filled = open_chunks.get(group, (-1, size))
        if filled >= size:
            number, filled = total, 0
            total += 1
        open_chunks[group] = (number, filled + 1)
        chunks[case_id] = number
    return chunks


def scopes_of(nodeids: Sequence[str], n_workers: int) -> dict[str, str]:
    """The scope of every test, the unit that one worker runs as a whole; a test that is no case is its own scope."""
    cases: dict[str, dict[str, str]] = {}  # test function -> case id -> node id
    scopes = {}
    for nodeid in nodeids:
        scopes[nodeid] = nodeid
        if match := _CASE_NODE.fullmatch(nodeid):
            cases.setdefault(match["test"], {})[match["case"]] = nodeid
    size = dispatch_size(sum(map(len, cases.values())), n_workers)
    for test, by_id in cases.items():
        for case_id, number in chunk_cases(list(by_id), size).items():
            scopes[by_id[case_id]] = f"{test}[{group_key(case_id)} chunk {number}]"
    return scopes


def make_scheduler(config: pytest.Config, log: Producer | None) -> LoadScopeScheduling | None:
    """The scheduler for `pytest_xdist_make_scheduler`, or None where `--dist` asks for another grouping."""
    if config.getoption("dist") not in _FREE_MODES:
        return None
    return _scheduler_class()(config, log)


def _scheduler_class() -> type[LoadScopeScheduling]:
    """Defined late, as xdist is optional."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class BatchScheduling(LoadScopeScheduling):
        """Hands out the chunks of `scopes_of`, in collection order."""

        def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
            super().__init__(config, log)
            self._scopes: dict[str, str] = {}
            # Sorted by size, the chunks of one model would no longer follow each other and it would be loaded again.
            config.option.loadscopereorder = False

        def schedule(self) -> None:
            if self.collection is None:
                collected = next(iter(self.registered_collections.values()))
                self._scopes = scopes_of(collected, self.numnodes)
            super().schedule()

        def remove_node(self, node: WorkerController) -> str | None:
            """Return the test that `node` crashed on and hand out the rest; xdist's own would run it again."""
            workload: dict[str, dict[str, bool]] = self.assigned_work.pop(node)
            unfinished = [(unit, nodeid) for unit in workload.values() for nodeid, done in unit.items() if not done]
            if not unfinished:
                return None
            unit, crashed = unfinished[0]
            unit[crashed] = True
            self.workqueue.update({scope: unit for scope, unit in workload.items() if not all(unit.values())})
            for other in self.nodes:
                self._reschedule(other)
            return crashed

        def _reschedule(self, node: WorkerController) -> None:
            """Keep two tests with every worker: it starts one only when it knows the next, or that there is none."""
            super()._reschedule(node)
            while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
                super()._reschedule(node)

        def _split_scope(self, nodeid: str) -> str:
            return self._scopes[nodeid]

    return BatchScheduling

"""The scheduler that hands whole chunks to xdist's workers; imports xdist, which is optional."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xdist.scheduler.loadscope import LoadScopeScheduling

from collapse_tests.scheduling import case_id_of, scopes_of

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from collapse_tests.distributed.xdist_deaths import WorkerDeaths

__all__ = ["BatchScheduling"]


class BatchScheduling(LoadScopeScheduling):
    """Hands out the chunks of `scopes_of`, in collection order, the next one when the last is all but done.

    What a worker leaves unfinished when it dies is handed out again. The batch it died in is suspect: its tests come
    first and one by one. One that was alone comes last: by then more may be known of its editor, or memory be free.
    Whoever gets a test that is given up answers without running it.

    Args:
        config: of the run.
        log: xdist's own.
        deaths: see `make_scheduler`.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None, deaths: WorkerDeaths | None = None) -> None:
        super().__init__(config, log)
        self.workqueue: OrderedDict[str, dict[str, bool]] = OrderedDict()
        self._deaths = deaths
        self._scopes: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._sent_given_up: set[str] = set()
        # Sorted by size, the chunks of one model would no longer follow each other and it would be loaded again.
        config.option.loadscopereorder = False

    def schedule(self) -> None:
        """Cut the chunks when all workers have collected, and hand out what there is."""
        if self.collection is None:
            collected = next(iter(self.registered_collections.values()))
            self._scopes = scopes_of(collected, self.numnodes)
            self._places = {nodeid: place for place, nodeid in enumerate(collected)}
        super().schedule()

    def is_idle(self, node: WorkerController) -> bool:
        """Whether a worker has no test, as one that is still starting."""
        return not self.assigned_work.get(node)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Take what a worker collected; a replacement that collected something else is of no use."""
        super().add_node_collection(node, collection)
        if node not in self.registered_collections:
            node.shutdown()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Take a finished test off a worker's list, and give it more if it is about to run out."""
        assert self.collection is not None
        self._finish(node, self.collection[item_index])
        self._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Hand out again what `node` left; returns the test it crashed on if nobody else reports that."""
        workload = self.assigned_work.pop(node)
        if self.collection is None:
            # It is no longer one of those whose collection the start waits for; its replacement is.
            self.registered_collections.pop(node, None)
        if self._deaths is not None:
            workload = {scope: self._without_reported(unit) for scope, unit in workload.items()}
        unfinished = [(scope, nodeid) for scope, unit in workload.items() for nodeid, done in unit.items() if not done]
        if not unfinished:
            return None
        scope, crashed = unfinished[0]
        told, last = None, {}
        if self._deaths is None or self._is_xdists(crashed):
            workload[scope][crashed] = True
            told = crashed
        else:
            suspects = [nodeid for of, nodeid in unfinished if of == scope]
            self._deaths.died(node, suspects)
            workload = self._separate(workload, scope, suspects)
            if len(suspects) == 1:
                last = {crashed: workload.pop(crashed)}
        again = {scope: unit for scope, unit in workload.items() if not all(unit.values())}
        self.workqueue = OrderedDict([*again.items(), *self.workqueue.items(), *last.items()])
        for other in self.nodes:
            self._reschedule(other)
        return told

    def _is_xdists(self, nodeid: str) -> bool:
        """Whether xdist itself reports a crash in a test.

        It does if that is none of the suite, if it kills the worker even though it is only told to be given up, and if
        no worker may be started to tell it.
        """
        if self._deaths is None or case_id_of(nodeid) is None:
            return True
        return nodeid in self._sent_given_up or self._deaths.ends_the_run

    def _without_reported(self, unit: dict[str, bool]) -> dict[str, bool]:
        """A unit where tests that came to an outcome are done, even if the worker died before it said so."""
        assert self._deaths is not None
        return {nodeid: done or nodeid in self._deaths.reported for nodeid, done in unit.items()}

    def _separate(
        self, workload: Mapping[str, dict[str, bool]], scope: str, suspects: Sequence[str]
    ) -> dict[str, dict[str, bool]]:
        """The units, with that of a batch that died replaced by one for each of its tests."""
        self._scopes.update({nodeid: nodeid for nodeid in suspects})
        others = {name: unit for name, unit in workload.items() if name != scope}
        return {nodeid: {nodeid: False} for nodeid in suspects} | others

    def _finish(self, node: WorkerController, nodeid: str) -> None:
        units = self.assigned_work[node]
        scope = self._split_scope(nodeid)
        units[scope][nodeid] = True
        if all(units[scope].values()):
            del units[scope]  # else looking for what is pending takes longer and longer

    def _reschedule(self, node: WorkerController) -> None:
        """Keep two tests with every worker: it starts one only when it knows the next, or that there is none."""
        if node not in self.registered_collections:
            return  # a replacement that has not collected yet; it is asked again when it has
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            if self.workqueue:
                self._assign_work_unit(node)
            else:
                node.shutdown()

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope, unit = self.workqueue.popitem(last=False)
        self.assigned_work[node][scope] = unit
        nodeids = [nodeid for nodeid, done in unit.items() if not done]
        if self._deaths is not None:
            self._sent_given_up.update(nodeid for nodeid in nodeids if self._deaths.is_given_up(nodeid))
        node.send_runtest_some([self._places[nodeid] for nodeid in nodeids])

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]

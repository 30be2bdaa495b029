"""Every state that sequences of edits have led to, each edit computed and each state measured once.

States form a tree: a state's children are the edits tried in it. States with the same digest share what is measured,
so that edits which change nothing cost nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import Editor
from collapse_tests.engine.editor_calls import explained, one_update_each
from collapse_tests.errors import CollapseError, EditorError, InfrastructureError, RestorationError
from collapse_tests.models.digest import digest_of, fingerprints
from collapse_tests.models.workload import update_bytes_in_memory
from collapse_tests.records import EditQuality, Perplexity, TaskResult
from collapse_tests.sequence.node import Edit, Node
from collapse_tests.sequence.readings import Readings
from collapse_tests.sequence.weight_state import WeightState
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["MeasureTasks", "SequenceLab"]

_T = TypeVar("_T")

MeasureTasks = Callable[[int], tuple[TaskResult, ...]]
"""Measures the downstream tasks on the weights as they are, of which those from the given block on may be edited."""


class SequenceLab:
    """Walks one model copy along sequences of edits by one editor.

    Between calls the weights are wherever the last call needed them; `leave` brings the unedited ones back.

    Args:
        editor: prepared for the model.
        readings: of the model.
        state: of the model's weights, unedited now.
        measure_tasks: measures downstream tasks; None where a run has none.
        keeps_updates: whether any state can be come back to. Otherwise an update is gone as soon as it is in the
            weights, and only the state where the weights are, or the unedited one, can be gone on from.

    Attributes:
        root: the unedited state.
        computed: edits computed and measured.
        remembered: edits asked for again, so that nothing was computed.
        held_bytes: of the updates kept.
        spoiled: why the model copy must not be used any more, or None.
    """

    def __init__(
        self,
        editor: Editor,
        readings: Readings,
        state: WeightState,
        measure_tasks: MeasureTasks | None = None,
        *,
        keeps_updates: bool = True,
    ) -> None:
        self.editor = editor
        self.model = state.model
        self.computed = 0
        self.remembered = 0
        self.held_bytes = 0
        self.spoiled: RestorationError | None = None
        self._readings = readings
        self._state = state
        self._measure_tasks = measure_tasks
        self._keeps_updates = keeps_updates
        prints = fingerprints(self.model.model)
        self.root = Node((), prints, digest_of(prints, ""), readings.unedited)
        self._children: dict[tuple[Node, EditRequest], Node | CollapseError] = {}
        self._parents: dict[Node, Node] = {}
        self._reverts: dict[Node, CollapseError | None] = {}
        self._perplexities: dict[str, Perplexity] = {self.root.digest: self.root.perplexity}
        self._qualities: dict[tuple[str, EditRequest], EditQuality] = {}
        self._tasks: dict[str, tuple[TaskResult, ...] | CollapseError] = {}

    # Asking -----------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the updates kept take all the memory that is meant for them."""
        return self.held_bytes >= update_bytes_in_memory()

    def knows(self, node: Node, request: EditRequest) -> bool:
        """Whether `extend` has nothing to compute."""
        return (node, request) in self._children

    def extend(self, node: Node, named: NamedRequest) -> Node:
        """The state after one more edit, computed on the model as `node` has it.

        Raises:
            EditorError: the editor raised or returned no update; what it raised once it raises again.
            RestorationError: it left the model changed.
            InfrastructureError: the state could not be measured.
        """
        key = (node, named.request)
        if key in self._children:
            self.remembered += 1
        else:
            self.computed += 1
            try:
                self._children[key] = self._compute(node, named)
            except Exception as error:
                self._children[key] = explained("measuring", error, InfrastructureError)
        return _or_raise(self._children[key])

    def revert(self, node: Node) -> Node:
        """The state before the last edit, proven: restored and replayed, its weights have the same bits.

        Raises:
            RestorationError: they have not.
        """
        parent = self._parents[node]
        if node not in self._reverts:
            try:
                self._go(node)
                self._go(parent)
                self._reverts[node] = None
            except Exception as error:
                self._reverts[node] = explained("reverting", error, InfrastructureError)
        _or_raise(self._reverts[node])
        return parent

    def path(self, node: Node) -> list[Node]:
        """The states after each edit on the way to `node`, that one last; none for the unedited state."""
        nodes = []
        while node is not self.root:
            nodes.append(node)
            node = self._parents[node]
        return nodes[::-1]

    def knows_tasks(self, node: Node) -> bool:
        """Whether `tasks` has nothing to measure."""
        return self._measure_tasks is None or node.digest in self._tasks

    def tasks(self, node: Node) -> tuple[TaskResult, ...]:
        """Downstream accuracy in a state; empty where a run has no tasks.

        Raises:
            CollapseError: it could not be measured.
        """
        if self._measure_tasks is None:
            return ()
        if node.digest not in self._tasks:
            try:
                self._go(node)
                self._tasks[node.digest] = tuple(self._measure_tasks(self._state.block))
            except Exception as error:
                self._tasks[node.digest] = explained("measuring tasks", error, InfrastructureError)
        return _or_raise(self._tasks[node.digest])

    def leave(self) -> None:
        """Bring the unedited weights back and prove it.

        Raises:
            RestorationError: they differ; the model copy must not be used any more.
        """
        self._state.reset()
        if changed := self.model.changed_tensors():
            self.spoiled = self.spoiled or RestorationError(self.editor.name, changed)
            raise self.spoiled

    # Computing --------------------------------------------------------------------------------------------

    def _compute(self, node: Node, named: NamedRequest) -> Node:
        started = time.perf_counter()
        self._go(node)
        update = self._update(node, named.request)
        seconds = time.perf_counter() - started
        self._state.go([*node.updates, update])
        edit = Edit(named, update if self._keeps_updates else self._state.let_go(), seconds)
        child = replace(self._measured(node, edit), seconds=time.perf_counter() - started)
        self._parents[child] = node
        self.held_bytes += edit.nbytes
        return child

    def _go(self, node: Node) -> None:
        """Bring the weights to a state, and prove that they have come to the same one as when it was measured."""
        if self.spoiled is not None:
            raise self.spoiled
        if not self._keeps_updates and node.edits and not self._state.is_under(node.updates):
            raise InfrastructureError(f"the model as it was after {node.last.edit_id} is gone: updates were not kept")
        if not self._state.go(node.updates):
            return
        differing = [name for name, value in self._state.fingerprints().items() if node.prints.get(name) != value]
        if differing:
            self._state.reset()  # so that nothing goes on from here
            raise RestorationError(f"{self.editor.name}, replayed,", differing)

    def _update(self, node: Node, request: EditRequest) -> WeightUpdate:
        """What the editor makes of a request in the state the weights are in."""
        try:
            updates = list(self.editor.compute_updates(self.model, [request]))
        except Exception as error:
            self._check_as_found(node)
            raise explained(self.editor.name, error, EditorError) from error
        self._check_as_found(node)
        (update,) = one_update_each(updates, 1)
        self.model.check_fits(update)
        return self._kept(update)

    def _check_as_found(self, node: Node) -> None:
        """Prove that the editor has left the model as `node` has it; restore what can be restored."""
        now = fingerprints(self.model.model)
        changed = sorted(name for name in now.keys() | node.prints.keys() if now.get(name) != node.prints.get(name))
        if not changed:
            return
        error = RestorationError(self.editor.name, changed)
        self._state.reset()
        if self.model.changed_tensors():  # what no update has touched has no copy to restore
            self.spoiled = error
        raise error

    def _kept(self, update: WeightUpdate) -> WeightUpdate:
        """The update with whole matrices in the host's memory, of which there is more."""
        if update.is_low_rank or self.model.device.type == "cpu":
            return update
        deltas = {
            name: DenseDelta(delta.delta.cpu()) if isinstance(delta, DenseDelta) else delta
            for name, delta in update.deltas.items()
        }
        return replace(update, deltas=deltas)

    def _measured(self, parent: Node, edit: Edit) -> Node:
        edits = (*parent.edits, edit)
        prints = {**parent.prints, **self._state.fingerprints()}
        digest = digest_of(prints, "")
        if digest not in self._perplexities:
            self._perplexities[digest] = self._readings.perplexity(self._state.block)
        qualities = self._current(digest, [edit.named.request for edit in edits])
        took = qualities[-1] is not None and qualities[-1].success
        return Node(
            edits=edits,
            prints=prints,
            digest=digest,
            perplexity=self._perplexities[digest],
            qualities=qualities,
            took=(*parent.took, took),
            drift=self._state.drift(),
            not_finite=self._state.not_finite(),
        )

    def _current(self, digest: str, requests: Sequence[EditRequest]) -> tuple[EditQuality | None, ...]:
        """Whether each edit succeeds now, None for those whose prompt a later one has written anew."""
        last = {request.prompt: index for index, request in enumerate(requests)}
        wanted = [requests[index] for index in sorted(last.values())]
        missing = [request for request in wanted if (digest, request) not in self._qualities]
        for request, quality in zip(missing, self._readings.qualities(missing), strict=True):
            self._qualities[digest, request] = quality
        return tuple(
            self._qualities[digest, request] if last[request.prompt] == index else None
            for index, request in enumerate(requests)
        )


def _or_raise(found: _T | CollapseError) -> _T:
    if isinstance(found, CollapseError):
        raise found.with_traceback(None)  # which would grow each time
    return found

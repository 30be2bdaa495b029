"""What all sequences of one search share: the lab, the time budget, what was seen, and what ends the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.editors.protocol import Progress, no_progress
from collapse_tests.errors import CollapseError, ErrorKind, kind_of
from collapse_tests.records import TaskResult, badness
from collapse_tests.sequence.judging import edits, tasks_are_due, why_collapsed
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.node import Node
from collapse_tests.sequence.overwriting import Overwrites
from collapse_tests.sequence_record import SearchStatistics
from collapse_tests.settings import Settings
from collapse_tests.verdict import task_reasons

__all__ = ["Collapse", "Fault", "Finding", "Forgotten", "Search"]


class Finding(Exception):  # noqa: N818 - a finding is no error
    """What a search looks for; a subclass for each kind, so that shrinking never turns one into another.

    Args:
        node: the state it was found in.
        reasons: one sentence each.
        refused: the request that could not be written in that state, if that is the finding.
        tasks: downstream accuracy in that state, if it was measured.
    """

    def __init__(
        self,
        node: Node,
        reasons: Sequence[str],
        refused: NamedRequest | None = None,
        tasks: Sequence[TaskResult] = (),
    ) -> None:
        super().__init__("; ".join(reasons))
        self.node = node
        self.reasons = tuple(reasons)
        self.refused = refused
        self.tasks = tuple(tasks)

    @property
    def edits(self) -> int:
        """How many edits it takes, the one that could not be made among them."""
        return len(self.node.edits) + (self.refused is not None)


class Collapse(Finding):
    """The model has collapsed."""


class Fault(Finding):
    """The editor raised, left the model changed, or cannot be reverted.

    Args:
        node: likewise.
        reason: one sentence.
        error: what was raised.
        refused: likewise.

    Attributes:
        kind: whose fault it is.
    """

    def __init__(self, node: Node, reason: str, error: CollapseError, refused: NamedRequest | None = None) -> None:
        super().__init__(node, [reason], refused)
        self.kind: ErrorKind = kind_of(error)


class Forgotten(Finding):
    """An edit did not take, or an editor that promises to keep edits has lost one."""


class Search:
    """A search among sequences of edits from a pool.

    After the time budget nothing is computed any more, and no edit once the lab is full: a step that is not known
    already does nothing. Whether a step does anything therefore never changes once it has been asked for, and a
    sequence replays as it ran.

    Args:
        lab: of the model and the editor.
        pool: requests to draw from, one or more.
        settings: of the run.
        progress: tells the user how far the search is.
        clock: seconds from any start.

    Attributes:
        out_of_memory: whether a full lab kept the search from making an edit.
    """

    def __init__(
        self,
        lab: SequenceLab,
        pool: Sequence[NamedRequest],
        settings: Settings,
        progress: Progress = no_progress,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.lab = lab
        self.pool = tuple(pool)
        self.settings = settings
        self.overwrites = Overwrites(pool)
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._before = (lab.computed, lab.remembered)
        self._seen: dict[Node, None] = {}
        self._sequences = 0
        self._out_of_time = False
        self.out_of_memory = False

    # Steps ------------------------------------------------------------------------------------------------

    def begin(self) -> Node:
        """The state in which a new sequence starts."""
        self._sequences += 1
        return self.lab.root

    def step(self, node: Node, named: NamedRequest) -> Node:
        """The state after one more edit, or the same state where that would take time or memory that is not left.

        Raises:
            Fault: the edit could not be made.
        """
        if not self.lab.knows(node, named.request) and self._closed():
            return node
        try:
            child = self.lab.extend(node, named)
        except CollapseError as error:
            fault = Fault(node, str(error), error, named)
        else:
            self._seen.setdefault(child)
            return child
        raise fault  # out here, as the exception it would come from would count as part of it

    def revert(self, node: Node) -> Node:
        """The state before the last edit.

        Raises:
            Fault: its weights do not come back.
        """
        try:
            return self.lab.revert(node)
        except CollapseError as error:
            fault = Fault(node, f"taking back {node.last.edit_id}: {error}", error)
        raise fault

    # Checks -----------------------------------------------------------------------------------------------

    def check_model(self, node: Node) -> None:
        """Raises `Collapse` unless weights are finite and ME-PPL is below the limit."""
        if node.edits and (reasons := why_collapsed(node, self.settings.ppl_limit)):
            raise Collapse(node, reasons)

    def check_edits(self, node: Node) -> None:
        """Raises `Forgotten` if edits have to take, or to be kept, and one is not.

        They have to take under `fail_ineffective`; then an editor that says `keeps_edits = True` also has to keep
        each edit that took, until another edit has its subject.
        """
        if not node.edits or not self.settings.fail_ineffective:
            return
        if not node.quality.success:
            raise Forgotten(node, [f"{node.last.edit_id} did not take"])
        if getattr(self.lab.editor, "keeps_edits", False) and (lost := node.lost()):
            raise Forgotten(node, [f"{self.lab.editor.name} promises to keep edits and lost {', '.join(lost)}"])

    def check_tasks(self, node: Node) -> None:
        """Raises `Collapse` if a sequence ends in a state whose downstream accuracy is at random."""
        if not node.edits or not tasks_are_due(self.settings, self.lab.root.perplexity, node):
            return
        if not self.lab.knows_tasks(node) and self._stopped():
            return
        fault = None
        try:
            tasks = self.lab.tasks(node)
        except CollapseError as error:
            fault = Fault(node, str(error), error)
        if fault is not None:
            raise fault
        if reasons := task_reasons(tasks):
            raise Collapse(node, reasons, tasks=tasks)

    def smaller(self, finding: Finding) -> Finding:
        """A finding of the same kind with fewer edits, if there is one within reach; else the same.

        Shrinking leaves edits out, and puts one in another's place, but hardly does both at once: from two edits it
        does not come to a third one that is enough by itself. So states already known are looked through, and then
        each request of the pool is tried alone.
        """
        if isinstance(finding, Collapse) and not finding.tasks:
            known = [node for node in self._seen if len(node.edits) < len(finding.node.edits)]
            for node in sorted(known, key=lambda node: len(node.edits)):
                if reasons := why_collapsed(node, self.settings.ppl_limit):
                    return Collapse(node, reasons)
        if finding.edits < 2:
            return finding
        for named in self.pool:
            try:
                node = self.step(self.lab.root, named)
                self.check_model(node)
                self.check_edits(node)
                if finding.tasks:
                    self.check_tasks(node)
            except Finding as other:
                if type(other) is type(finding):
                    return other
        return finding

    # Results ----------------------------------------------------------------------------------------------

    def statistics(self) -> SearchStatistics:
        """How far the search has gone."""
        computed, remembered = self._before
        worst = max((node.perplexity.me_ppl for node in self._seen), key=badness, default=None)
        return SearchStatistics(
            sequences=self._sequences,
            edits=self.lab.computed - computed,
            remembered=self.lab.remembered - remembered,
            longest=max((len(node.edits) for node in self._seen), default=0),
            worst_me_ppl=worst,
            ineffective=sum(not node.quality.success for node in self._seen),
            forgetful=sum(bool(node.lost()) for node in self._seen),
            out_of_time=self._out_of_time,
        )

    def _closed(self) -> bool:
        """Whether no edit may be computed any more."""
        if self._stopped():
            return True
        self.out_of_memory = self.out_of_memory or self.lab.is_full
        return self.out_of_memory

    def _stopped(self) -> bool:
        """Whether nothing may be computed any more."""
        if self.lab.spoiled is not None:
            return True
        spent, budget = self._clock() - self._started, self.settings.machine_budget
        self._progress(f"searching, {edits(self.lab.computed)} computed", int(min(spent, budget)), int(budget))
        self._out_of_time = self._out_of_time or spent >= budget
        return self._out_of_time

"""Runs a scenario: given edits in a given order, until the model collapses or to the end.

'The Butterfly Effect of Model Editing', section 5 with its figures 5 and 6, follows ME-PPL over sequential edits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.editors.protocol import Progress, no_progress
from collapse_tests.errors import CollapseError, RestorationError, kind_of
from collapse_tests.records import TaskResult
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.judging import edits, first_collapse, tasks_are_due, why_collapsed
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.node import Node
from collapse_tests.sequence.records import blank_record, collapsed, failed, survived, with_curve
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["ScenarioRunner"]


@dataclass(slots=True)
class _Walk:
    """How far a scenario went.

    Attributes:
        nodes: the states after each edit.
        refused: the request that could not be written, if one ended the walk.
        tasks: downstream accuracy in the last state.
        faults: what went wrong, in the order it did, with its description.
    """

    nodes: list[Node] = field(default_factory=list)
    refused: NamedRequest | None = None
    tasks: tuple[TaskResult, ...] = ()
    faults: list[tuple[str, CollapseError]] = field(default_factory=list)


class ScenarioRunner:
    """Runs scenarios in a lab.

    Args:
        lab: of the model and the editor.
        settings: of the run.
        worker: name of this process in records.
        progress: tells the user how far a scenario is.
    """

    def __init__(self, lab: SequenceLab, settings: Settings, worker: str, progress: Progress = no_progress) -> None:
        self._lab = lab
        self._settings = settings
        self._worker = worker
        self._progress = progress

    def run(self, case: SequenceCase) -> SequenceRecord:
        """The record of a scenario, whatever the editor does; the weights are the unedited ones again after it.

        An editor that raises makes an error of it, unless the model had collapsed before: that stays found, and the
        curve ends there.
        """
        started = time.perf_counter()
        walk = self._walk(case.requests)
        self._finish(walk)
        record = replace(
            blank_record(case, self._settings, self._worker),
            unedited=self._lab.root.perplexity,
            model_digest=self._lab.model.digest,
            tasks=walk.tasks,
        )
        record = with_curve(record, walk.nodes, [walk.refused.request] if walk.refused else [])
        return replace(_judged(record, walk), seconds=time.perf_counter() - started)

    def _walk(self, requests: Sequence[NamedRequest]) -> _Walk:
        walk, node = _Walk(), self._lab.root
        for number, named in enumerate(requests, start=1):
            self._progress(f"edit {number} of {len(requests)}", number - 1, len(requests))
            try:
                node = self._lab.extend(node, named)
            except CollapseError as error:
                walk.refused = named
                walk.faults.append((f"edit {number} ({named.edit_id}): {error}", error))
                break
            walk.nodes.append(node)
            if not self._settings.full_curve and why_collapsed(node, self._settings.ppl_limit):
                break
        return walk

    def _finish(self, walk: _Walk) -> None:
        """Measure tasks in the last state, and bring the unedited weights back."""
        learnt = walk.refused is None or first_collapse(walk.nodes, self._settings.ppl_limit) is not None
        try:
            if walk.nodes and learnt and tasks_are_due(self._settings, self._lab.root.perplexity, walk.nodes[-1]):
                self._progress("measuring tasks", 0, 1)
                walk.tasks = self._lab.tasks(walk.nodes[-1])
        except CollapseError as error:
            walk.faults.append((str(error), error))
        try:
            self._lab.leave()
        except CollapseError as error:
            walk.faults.append((str(error), error))


def _judged(record: SequenceRecord, walk: _Walk) -> SequenceRecord:
    """The record with its verdict."""
    broken = [(text, error) for text, error in walk.faults if isinstance(error, RestorationError)]
    if broken:
        return _failed(record, *broken[0])
    found = collapsed(record, walk.nodes, walk.tasks) if walk.nodes else None
    if found is None:
        return _failed(record, *walk.faults[0]) if walk.faults else survived(record)
    ends = f"the curve ends after {edits(len(walk.nodes))}: " if walk.refused else ""
    return replace(found, notes=tuple(f"{ends}{text}" for text, _ in walk.faults))


def _failed(record: SequenceRecord, text: str, error: CollapseError) -> SequenceRecord:
    return failed(record, text, kind_of(error))

"""Runs a search: what Hypothesis finds becomes a record."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import replace

from collapse_tests.editors.protocol import Progress, no_progress
from collapse_tests.errors import CollapseError, ErrorKind, kind_of
from collapse_tests.models.workload import update_bytes_in_memory
from collapse_tests.records import Verdict
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.judging import edits
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.records import blank_record, collapsed, failed, with_curve
from collapse_tests.sequence.search import Fault, Finding, Search
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["SearchRunner", "search_key"]


class SearchRunner:
    """Runs searches in a lab.

    Args:
        lab: of the model and the editor.
        settings: of the run.
        worker: name of this process in records.
        progress: tells the user how far a search is.
        clock: seconds from any start, for the time budget.
    """

    def __init__(
        self,
        lab: SequenceLab,
        settings: Settings,
        worker: str,
        progress: Progress = no_progress,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._lab = lab
        self._settings = settings
        self._worker = worker
        self._progress = progress
        self._clock = clock

    def run(self, case: SequenceCase) -> SequenceRecord:
        """The record of a search, whatever the editor does; the weights are the unedited ones again after it."""
        started = time.perf_counter()
        record = replace(
            blank_record(case, self._settings, self._worker),
            unedited=self._lab.root.perplexity,
            model_digest=self._lab.model.digest,
        )
        search = Search(self._lab, case.requests, self._settings, self._progress, self._clock)
        try:
            finding = _hunt(search, case)
            record = self._judged(record, search, None if finding is None else search.smaller(finding))
        except Exception as error:  # Hypothesis's own, such as that a sequence did not replay
            record = failed(record, f"the search raised {type(error).__name__}: {error}", ErrorKind.INFRASTRUCTURE)
        try:
            self._lab.leave()
        except CollapseError as error:
            record = failed(record, str(error), kind_of(error))
        return replace(record, search=search.statistics(), seconds=time.perf_counter() - started)

    def _judged(self, record: SequenceRecord, search: Search, finding: Finding | None) -> SequenceRecord:
        if finding is None:
            return _unharmed(record, search)
        nodes = self._lab.path(finding.node)
        record = with_curve(record, nodes, [finding.refused.request] if finding.refused else [])
        late = [f"{what} ended while smaller sequences were looked for; there may be one" for what in _used_up(search)]
        record = replace(record, tasks=finding.tasks, notes=tuple(late))
        if isinstance(finding, Fault):
            where = f"edit {len(nodes) + 1} ({finding.refused.edit_id}): " if finding.refused else ""
            return failed(record, where + finding.reasons[0], finding.kind)
        found = collapsed(record, nodes, finding.tasks) if nodes else None
        return found or replace(record, verdict=Verdict.INEFFECTIVE, reasons=finding.reasons)


def search_key(case: SequenceCase) -> str:
    """What a search remembers its failing examples under: they point at requests by their place in the pool."""
    pool = [dataclasses.astuple(named.request) for named in case.requests]
    return json.dumps([case.model, case.editor, pool])


def _hunt(search: Search, case: SequenceCase) -> Finding | None:
    from collapse_tests.sequence.machine import run_machine  # imports Hypothesis

    return run_machine(search, search_key(case))


def _unharmed(record: SequenceRecord, search: Search) -> SequenceRecord:
    """The record of a search that found nothing."""
    done = search.statistics()
    if done.longest == 0:
        return failed(
            record,
            f"no edit was made within --machine-budget {search.settings.machine_budget:g} seconds; give more",
            ErrorKind.USAGE,
        )
    notes = tuple(f"{what} ended the search after {edits(done.edits)}" for what in _used_up(search))
    return replace(record, verdict=Verdict.STABLE, notes=notes)


def _used_up(search: Search) -> list[str]:
    """What kept the search from making an edit, in words."""
    found = []
    if search.statistics().out_of_time:
        found.append(f"the time budget of {search.settings.machine_budget:g} s")
    if search.out_of_memory:
        found.append(f"the memory for updates ({update_bytes_in_memory() / 2**30:.3g} GiB)")
    return found

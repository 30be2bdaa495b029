"""One run from pytest's point of view: cases in, outcomes to tests."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from collapse_tests.baseline.known import KnownOutcomes
from collapse_tests.baseline.reference import reference_for
from collapse_tests.cases import Case, expand_cases
from collapse_tests.datasets.requests import screen_requests
from collapse_tests.distributed.xdist_worker import XdistWorker
from collapse_tests.failures import GateFailure, failure_of
from collapse_tests.progress import ProgressDisplay, uncaptured
from collapse_tests.properties import properties
from collapse_tests.quietly import ignoring_warnings
from collapse_tests.records import Record
from collapse_tests.rerun import rerun_command, sequence_rerun_command
from collapse_tests.scheduling import SUITE_TESTS
from collapse_tests.sequence.cases import SequenceCase, expand_sequences
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings

if TYPE_CHECKING:
    from collapse_tests.engine.outcome import Outcome, OutcomeSource
    from collapse_tests.resume import Resumption

__all__ = ["CASE_FIXTURES", "GateSession", "case_of", "is_left_out"]

_CASE_FIXTURE = "collapse_case"
_SEQUENCE_FIXTURES = {"collapse_scenario": SequenceKind.SCENARIO, "collapse_machine": SequenceKind.MACHINE}

#: Fixtures whose value is a case or a sequence.
CASE_FIXTURES = frozenset({_CASE_FIXTURE, *_SEQUENCE_FIXTURES})

_SUITE = Path(__file__).with_name("suite")

#: Key of what xdist's workers are told: ids of the cases that are the riskiest.
_RISKIEST = "collapse_riskiest"

_OUTCOME = pytest.StashKey["Outcome[Record] | Outcome[SequenceRecord]"]()


class GateSession:
    """Runs cases in one process, which may be an xdist worker.

    Args:
        config: of the run.
        settings: of the run.

    Attributes:
        remote: makes what has others run the cases, where they do.

    Raises:
        UsageError: the run to resume is none, or damaged; or the baseline is missing, damaged or of other settings.
    """

    remote: Callable[[], OutcomeSource] | None = None

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self._cases: tuple[Case, ...] | None = None
        self._selected: list[Case] = []
        self._gate: OutcomeSource | None = None
        self._resumption = _resumption(settings)
        self._worker = XdistWorker.of(config)
        self.reference = reference_for(settings)
        baseline = None if self.reference is None else self.reference.baseline
        self._known = None if baseline is None else KnownOutcomes(baseline)

    @cached_property
    def display(self) -> ProgressDisplay:
        """Progress; made late, as pytest's terminal reporter does not exist yet when plugins are configured."""
        return ProgressDisplay(self.config)

    def summary(self) -> str:
        """What is gated, in one line."""
        named = {"edits": self.settings.edits, "scenario": self.settings.scenarios, "machine": self.settings.machines}
        asked = "".join(f", {name} {', '.join(sets)}" for name, sets in named.items() if sets)
        if self.settings.riskiest is not None and self.settings.edits:
            asked += f", the {self.settings.riskiest} riskiest"
        if self.settings.shard is not None:
            asked += f", shard {self.settings.shard}"
        editors, models = ", ".join(self.settings.editors), ", ".join(self.settings.models)
        return f"{editors} on {models}{asked}, ME-PPL limit {self.settings.ppl_limit:g}"

    def notes(self) -> list[str]:
        """What the request sets leave out or repeat, a line each."""
        settings = self.settings
        sources = dict.fromkeys((*settings.edits, *settings.scenarios, *settings.machines))
        found = [screen_requests(source).note(source) for source in sources]
        resumed = [] if self._resumption is None else self._resumption.notes
        return [*(note for note in found if note is not None), *resumed]

    def parameters(self, fixture: str) -> Sequence[Case | SequenceCase]:
        """The values of one of `CASE_FIXTURES`, before any selection."""
        if fixture == _CASE_FIXTURE:
            if self._cases is None:
                self._cases = self._chosen(expand_cases(self.settings))
            return self._cases
        return expand_sequences(self.settings, _SEQUENCE_FIXTURES[fixture])

    def _chosen(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        """All cases, or the riskiest."""
        if self.settings.riskiest is None:
            return cases
        told = getattr(self.config, "workerinput", {}).get(_RISKIEST)
        if told is not None:
            by_id = {case.id: case for case in cases}
            return tuple(by_id[case_id] for case_id in told)
        from collapse_tests.mining.ranking import riskiest_or_first

        with uncaptured(self.config), ignoring_warnings():
            try:
                return tuple(riskiest_or_first(self.gate, cases, self.settings.riskiest, self.display.say))
            finally:
                self.display.stop()

    def tell_worker(self, workerinput: dict[str, Any]) -> None:
        """Give an xdist worker what it would else have to find out itself, and might find otherwise."""
        if self.settings.riskiest is not None and self.settings.edits:
            workerinput[_RISKIEST] = [case.id for case in self.parameters(_CASE_FIXTURE)]
            from collapse_tests.models.memory import free_memory

            self._gate = None  # nothing is tested here, and the workers need the memory
            free_memory()

    def select(self, items: Sequence[pytest.Item]) -> None:
        """Take the cases that will run, in order, so that batches are cut from them."""
        wanted = [case for item in items if (case := case_of(item)) is not None]
        self._selected = [case for case in wanted if isinstance(case, Case)]
        if self._resumption is not None:
            loaded = {case.model for case in wanted if self._gate is not None or not isinstance(case, Case)}
            self._resumption.select(self._selected, loaded)
        if self._gate is not None:
            self._gate.expect(self._selected)

    @property
    def gate(self) -> OutcomeSource:
        """The engine, made when the first case runs: that is when frameworks are imported."""
        if self._gate is None and self.remote is not None:
            self._gate = self.remote()
        if self._gate is None:
            from collapse_tests.engine.gate import Gate

            worker = self._worker
            if worker is not None:
                worker.share_threads()
            self._gate = Gate(
                self.settings,
                self._selected,
                workers=None if worker is None else worker.count,
                answered=() if self._resumption is None else self._resumption,
                alone=() if worker is None else worker,
                worker="main" if worker is None else worker.name,
                say=self.display.say,
                progress=self.display.update,
            )
        return self._gate

    def run_ahead(self, item: pytest.Item) -> None:
        """Run the batch of an item's case, or its sequence, before pytest starts its line of dots.

        An exception is kept for the test itself to raise, where pytest shows it properly.
        """
        case = case_of(item)
        if case is None:
            return
        try:
            with contextlib.suppress(Exception):
                item.stash[_OUTCOME] = self._outcome(case)
        finally:
            self.display.stop()

    def check(self, item: pytest.Item, case: Case | SequenceCase) -> None:
        """Pass, fail or skip the test of `case`.

        Raises:
            GateFailure: the case does not pass.
        """
        __tracebackhide__ = True
        outcome = item.stash.get(_OUTCOME, None) or self._outcome(case)
        item.stash[_OUTCOME] = outcome
        if outcome.repeated:
            pytest.skip(f"not measured: {outcome.record.error}")
        failure = failure_of(outcome.record, fail_ineffective=self.settings.fail_ineffective)
        if failure is not None:
            record = self._against_baseline(outcome.record)
            raise failure(outcome.record, _message(case, record, self.settings))

    def _against_baseline(self, record: Record | SequenceRecord) -> Record | SequenceRecord:
        """The record with a note if its collapse is new; where it is known, the test ends here as xfailed."""
        __tracebackhide__ = True
        if self._known is None:
            return record
        excuse, news = self._known.excuse(record), self._known.news(record)
        if excuse is not None:
            pytest.xfail(excuse)  # goes on with --runxfail
        return record if news is None else dataclasses.replace(record, notes=(news, *record.notes))

    def _outcome(self, case: Case | SequenceCase) -> Outcome[Record] | Outcome[SequenceRecord]:
        with ignoring_warnings():
            given_up = None if self._worker is None else self._worker.given_up(case, self.settings)
            if given_up is not None:
                return given_up
            if not isinstance(case, Case):
                return self.gate.sequence(case)
            resumed = None if self._resumption is None else self._resumption.outcome_of(case, self._digest_of)
            return resumed or self.gate.outcome(case)

    def answers(self, case: Case | SequenceCase) -> bool:
        """Whether an earlier run's record answers for a case; its weights are compared first, if they have to be."""
        if self._resumption is None or not isinstance(case, Case):
            return False
        return self._resumption.outcome_of(case, self._digest_of) is not None

    def forget(self, item: pytest.Item) -> None:
        """Let go of the outcome of a test that is over, as a long run has many."""
        if _OUTCOME in item.stash:
            del item.stash[_OUTCOME]

    def _digest_of(self, model: str) -> str:
        return self.gate.digest(model)

    def complete(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Put a case's record and measurements on its report, which carries them to the controller."""
        if isinstance(error, GateFailure):
            report.longrepr = str(error)
        outcome = item.stash.get(_OUTCOME, None)
        if outcome is None or report.when != "call":
            return
        record = outcome.record
        item.user_properties.extend(properties(record))
        report.user_properties = list(item.user_properties)  # JUnit takes those of the teardown's report
        carrier: Any = report
        if isinstance(record, SequenceRecord):
            report.duration += record.seconds
            carrier.collapse_sequence = record.to_dict()
        else:
            report.duration += 0.0 if outcome.resumed else sum(record.seconds.values())
            carrier.collapse_record = record.to_dict()
            if outcome.detail is not None:
                carrier.collapse_detail = outcome.detail.to_dict()
        if outcome.resumed and self._resumption is not None:
            carrier.collapse_resumed = self._resumption.is_checked(record.model)
        elif self._gate is not None and (facts := self._gate.device_facts(record.worker)) is not None:
            carrier.collapse_device = facts


def is_left_out(path: Path, settings: Settings | None) -> bool:
    """Whether a file is one of the suite whose tests were not asked for; all are where no editor is gated."""
    if path.parent != _SUITE or path.stem not in SUITE_TESTS:
        return False
    if settings is None:
        return True
    sets = (settings.edits, settings.scenarios, settings.machines)
    return not dict(zip(SUITE_TESTS, sets, strict=True))[path.stem]


def case_of(item: pytest.Item) -> Case | SequenceCase | None:
    """The case or sequence an item is parametrised with, if it is a test of the gate."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return None
    found = [callspec.params[fixture] for fixture in CASE_FIXTURES.intersection(callspec.params)]
    return found[0] if found and isinstance(found[0], Case | SequenceCase) else None


def _message(case: Case | SequenceCase, record: Record | SequenceRecord, settings: Settings) -> str:
    """What the failing test of a case says."""
    from collapse_tests.report.message import failure_message
    from collapse_tests.report.sequence_message import sequence_message

    if isinstance(case, Case) and isinstance(record, Record):
        return failure_message(record, rerun_command(case, settings))
    assert isinstance(case, SequenceCase)
    assert isinstance(record, SequenceRecord)
    rerun = sequence_rerun_command(case.kind, case.source, settings, model=case.model, editor=case.editor)
    return sequence_message(record, rerun)


def _resumption(settings: Settings) -> Resumption | None:
    if settings.resume is None:
        return None
    from collapse_tests.resume import Resumption

    return Resumption(settings.resume, settings)

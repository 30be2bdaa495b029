"""One run from pytest's point of view: cases in, outcomes to tests."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from collapse_tests.cases import Case, expand_cases
from collapse_tests.datasets.requests import screen_requests
from collapse_tests.environment import device_facts
from collapse_tests.failures import GateFailure, failure_of
from collapse_tests.progress import ProgressDisplay
from collapse_tests.properties import properties
from collapse_tests.records import Record
from collapse_tests.rerun import rerun_command, sequence_rerun_command
from collapse_tests.scheduling import SUITE_TESTS, dispatch_size
from collapse_tests.sequence.cases import SequenceCase, expand_sequences
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings

if TYPE_CHECKING:
    from collapse_tests.engine.gate import Gate, Outcome

__all__ = ["CASE_FIXTURES", "GateSession", "is_left_out"]

_CASE_FIXTURE = "collapse_case"
_SEQUENCE_FIXTURES = {"collapse_scenario": SequenceKind.SCENARIO, "collapse_machine": SequenceKind.MACHINE}

#: Fixtures whose value is a case or a sequence.
CASE_FIXTURES = frozenset({_CASE_FIXTURE, *_SEQUENCE_FIXTURES})

_SUITE = Path(__file__).with_name("suite")

_OUTCOME = pytest.StashKey["Outcome[Record] | Outcome[SequenceRecord]"]()


class GateSession:
    """Runs cases in one process, which may be an xdist worker.

    Args:
        config: of the run.
        settings: of the run.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self._cases: tuple[Case, ...] | None = None
        self._selected: list[Case] = []
        self._gate: Gate | None = None

    @cached_property
    def display(self) -> ProgressDisplay:
        """Progress; made late, as pytest's terminal reporter does not exist yet when plugins are configured."""
        return ProgressDisplay(self.config)

    def summary(self) -> str:
        """What is gated, in one line."""
        named = {"edits": self.settings.edits, "scenario": self.settings.scenarios, "machine": self.settings.machines}
        asked = "".join(f", {name} {', '.join(sets)}" for name, sets in named.items() if sets)
        editors, models = ", ".join(self.settings.editors), ", ".join(self.settings.models)
        return f"{editors} on {models}{asked}, ME-PPL limit {self.settings.ppl_limit:g}"

    def notes(self) -> list[str]:
        """What the request sets leave out or repeat, a line each."""
        settings = self.settings
        sources = dict.fromkeys((*settings.edits, *settings.scenarios, *settings.machines))
        found = [screen_requests(source).note(source) for source in sources]
        return [note for note in found if note is not None]

    def parameters(self, fixture: str) -> Sequence[Case | SequenceCase]:
        """The values of one of `CASE_FIXTURES`, before any selection."""
        if fixture == _CASE_FIXTURE:
            if self._cases is None:
                self._cases = expand_cases(self.settings)
            return self._cases
        return expand_sequences(self.settings, _SEQUENCE_FIXTURES[fixture])

    def select(self, items: Sequence[pytest.Item]) -> None:
        """Take the cases that will run, in order, so that batches are cut from them."""
        self._selected = [case for item in items if isinstance(case := case_of(item), Case)]

    @property
    def gate(self) -> Gate:
        """The engine, made when the first case runs: that is when frameworks are imported."""
        if self._gate is None:
            from collapse_tests.engine.gate import Gate

            self._gate = Gate(
                self.settings,
                self._selected,
                chunk=self._share_threads(),
                worker=os.environ.get("PYTEST_XDIST_WORKER", "main"),
                say=self.display.say,
                progress=self.display.update,
            )
        return self._gate

    def _share_threads(self) -> int | None:
        """On an xdist worker, take this worker's share of the cores and say how many cases come at once."""
        workers = _workers(self.config)
        if workers is None:
            return None
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
        return dispatch_size(len(self._selected), workers)

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
            raise failure(outcome.record, _message(case, outcome.record, self.settings))

    def _outcome(self, case: Case | SequenceCase) -> Outcome[Record] | Outcome[SequenceRecord]:
        with warnings.catch_warnings():
            # A framework's deprecation must not decide about a model, whatever the project's filters are.
            warnings.simplefilter("ignore")
            return self.gate.outcome(case) if isinstance(case, Case) else self.gate.sequence(case)

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
            report.duration += sum(record.seconds.values())
            carrier.collapse_record = record.to_dict()
        if self._gate is not None and self._gate.device is not None:
            carrier.collapse_device = device_facts(self._gate.device, str(self._gate.precision))


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


def _workers(config: pytest.Config) -> int | None:
    """How many xdist workers there are, or None where this process is none of them."""
    workerinput = getattr(config, "workerinput", None)
    return None if workerinput is None else int(workerinput["workercount"])

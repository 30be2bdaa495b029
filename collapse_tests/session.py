"""One run from pytest's point of view: cases in, outcomes to tests, records to files and the report."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from collapse_tests.cases import Case, expand_cases
from collapse_tests.environment import device_facts, fingerprint
from collapse_tests.errors import CollapseError
from collapse_tests.failures import GateFailure, failure_of
from collapse_tests.progress import ProgressDisplay, terminal_console
from collapse_tests.records import Record
from collapse_tests.rerun import rerun_command
from collapse_tests.scheduling import dispatch_size
from collapse_tests.settings import DEFAULT_MODEL, Settings

if TYPE_CHECKING:
    from collapse_tests.engine.gate import Gate, Outcome
    from collapse_tests.report.store import RunDirectory

__all__ = ["CASE_FIXTURE", "GateSession", "RecordCollector"]

CASE_FIXTURE = "collapse_case"

_OUTCOME = pytest.StashKey["Outcome"]()


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

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every case of the run, before any selection."""
        if self._cases is None:
            self._cases = expand_cases(self.settings)
        return self._cases

    def select(self, items: Sequence[pytest.Item]) -> None:
        """Take the cases that will run, in order, so that batches are cut from them."""
        self._selected = [case for item in items if (case := case_of(item)) is not None]

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
        """Run the batch of an item's case before pytest starts its line of dots.

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

    def check(self, item: pytest.Item, case: Case) -> None:
        """Pass, fail or skip the test of `case`.

        Raises:
            GateFailure: the case does not pass.
        """
        __tracebackhide__ = True
        from collapse_tests.report.message import failure_message

        outcome = item.stash.get(_OUTCOME, None) or self._outcome(case)
        item.stash[_OUTCOME] = outcome
        if outcome.repeated:
            pytest.skip(f"not measured: {outcome.record.error}")
        failure = failure_of(outcome.record, fail_ineffective=self.settings.fail_ineffective)
        if failure is not None:
            raise failure(outcome.record, failure_message(outcome.record, rerun_command(case, self.settings)))

    def _outcome(self, case: Case) -> Outcome:
        with warnings.catch_warnings():
            # A framework's deprecation must not decide about a model, whatever the project's filters are.
            warnings.simplefilter("ignore")
            return self.gate.outcome(case)

    def complete(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Put a case's record and measurements on its report, which carries them to the controller."""
        if isinstance(error, GateFailure):
            report.longrepr = str(error)
        outcome = item.stash.get(_OUTCOME, None)
        if outcome is None or report.when != "call":
            return
        record = outcome.record
        item.user_properties.extend(_measurements(record))
        report.user_properties = list(item.user_properties)  # JUnit takes those of the teardown's report
        report.duration += sum(record.seconds.values())
        carrier: Any = report
        carrier.collapse_record = record.to_dict()
        if self._gate is not None and self._gate.device is not None:
            carrier.collapse_device = device_facts(self._gate.device, str(self._gate.precision))


class RecordCollector:
    """Keeps the records of a run: in memory for the report, on disk as they come.

    Registered where the run is controlled, not on xdist's workers.

    Args:
        config: of the run.
        settings: of the run.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.records: list[Record] = []
        self.failure: str | None = None
        self._run: RunDirectory | None = None
        self._facts: dict[str, Any] = {}

    def prepare(self) -> None:
        """Fetch the default model here if workers would else all wait for one of them in silence."""
        if DEFAULT_MODEL not in self.settings.models or not _distributes(self.config):
            return
        from collapse_tests.models.embedded import ensure_default_model

        with contextlib.suppress(CollapseError):  # the workers run into it again and report it
            ensure_default_model(ProgressDisplay(self.config).say)

    def add(self, report: pytest.TestReport) -> None:
        """Take the record a report carries, if any."""
        data = getattr(report, "collapse_record", None)
        if data is None:
            return
        record = Record.from_dict(data)
        self.records.append(record)
        if self.failure is None:
            try:
                self._write(record, getattr(report, "collapse_device", None))
            except CollapseError as error:
                self.failure = str(error)

    def _write(self, record: Record, device: dict[str, str] | None) -> None:
        from collapse_tests.report.store import RunDirectory

        facts = {"models": {**self._facts.get("models", {}), record.model: record.model_digest}}
        if device is not None:
            facts["devices"] = {**self._facts.get("devices", {}), record.worker: device}
        if self._run is None:
            environment = fingerprint(self.settings) | facts
            self._run = RunDirectory.create(self.settings.reports_dir, environment, now=datetime.now())
        elif facts != {name: self._facts.get(name) for name in facts}:
            self._run.write_environment(fingerprint(self.settings) | self._facts | facts)
        self._facts |= facts
        self._run.append(record)

    def report(self) -> None:
        """Print the collapse report."""
        if not self.records:
            return
        from collapse_tests.report.terminal import render

        console = terminal_console(self.config)
        place = None if self._run is None else os.path.relpath(self._run.path)
        render(self.records, run_directory=place, console=console, verbose=self.config.get_verbosity() > 0)
        if self.failure is not None:
            console.print(f"Records are incomplete: {self.failure}", soft_wrap=True)

    def close(self) -> None:
        """Close the records file."""
        if self._run is not None:
            self._run.close()


def case_of(item: pytest.Item) -> Case | None:
    """The case an item is parametrised with, if it is a gate test."""
    callspec = getattr(item, "callspec", None)
    case = None if callspec is None else callspec.params.get(CASE_FIXTURE)
    return case if isinstance(case, Case) else None


def _measurements(record: Record) -> list[tuple[str, object]]:
    """Name and value of what was measured, for JUnit's properties."""
    rows: list[tuple[str, object]] = [("collapse.verdict", str(record.verdict))]
    for side in ("unedited", "edited"):
        measured = getattr(record, side)
        if measured is not None:
            rows += [(f"collapse.{side}.me_ppl", measured.me_ppl), (f"collapse.{side}.corpus_ppl", measured.corpus_ppl)]
    if record.quality is not None:
        quality = record.quality
        rows += [
            ("collapse.success", quality.success),
            ("collapse.generalisation", quality.generalisation),
            ("collapse.locality", quality.locality),
        ]
    rows += [(f"collapse.{name}", value) for name, value in record.diagnostics.items()]
    rows += [(f"collapse.seconds.{name}", value) for name, value in record.seconds.items()]
    return rows


def _workers(config: pytest.Config) -> int | None:
    """How many xdist workers there are, or None where this process is none of them."""
    workerinput = getattr(config, "workerinput", None)
    return None if workerinput is None else int(workerinput["workercount"])


def _distributes(config: pytest.Config) -> bool:
    return str(config.getoption("dist", "no")) != "no"

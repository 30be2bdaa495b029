"""The hooks of a run with a baseline, in the controlling process: group by group after the last test."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from collapse_tests.baseline.comparison import Comparison, GroupComparison, compare
from collapse_tests.baseline.facts import hyperparameters_of
from collapse_tests.baseline.file import write_baseline
from collapse_tests.baseline.reference import Reference
from collapse_tests.baseline.refresh import Refreshed, asked_for, refreshed
from collapse_tests.baseline.scenarios import Change
from collapse_tests.baseline.snapshot import Snapshot, cases_and_scenarios, is_no_news, snapshot_of
from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.collector import RecordCollector
from collapse_tests.errors import CollapseError
from collapse_tests.progress import terminal_console
from collapse_tests.records import Record, Verdict
from collapse_tests.scheduling import SUITE_TESTS
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings
from collapse_tests.wording import counted

if TYPE_CHECKING:
    from collapse_tests.report.baseline_news import BaselineNews

__all__ = ["BaselineHooks"]

_FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class BaselineHooks:
    """Compares the run with its baseline, and keeps the baseline up to date where that is asked for.

    Args:
        config: of the run.
        settings: of the run.
        reference: what the run is judged by.
        collector: has the records.
    """

    def __init__(
        self, config: pytest.Config, settings: Settings, reference: Reference, collector: RecordCollector
    ) -> None:
        self._config = config
        self._settings = settings
        self._reference = reference
        self._collector = collector
        self._news: BaselineNews | None = None
        self._lines: list[str] = []
        self._without_record: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice tests of the gate that end without a record, as those of a worker that was killed."""
        has_record = hasattr(report, "collapse_record") or hasattr(report, "collapse_sequence")
        if report.failed and not has_record and any(f"::{name}[" in report.nodeid for name in SUITE_TESTS):
            self._without_record.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare; let the run fail where a group as a whole is worse."""
        if self._config.option.collectonly:
            return
        baseline = self._reference.baseline
        run = self._run()
        if baseline is not None and (run.cases or run.scenarios):
            self._compare(compare(baseline, run, self._settings.baseline_tolerance), session)
        if self._settings.update_baseline:
            self._lines += [f"made anew: --{difference}" for difference in self._reference.barriers]
            why_not = self._why_no_update(session, exitstatus)
            self._lines.append(f"The baseline is left as it is: {why_not}." if why_not else self._update(run, session))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        """Print the section "against the baseline"."""
        if self._news is not None or self._lines:
            from collapse_tests.report.against_baseline import print_baseline_news

            print_baseline_news(self._news, self._lines, terminal_console(self._config))

    def _run(self) -> Snapshot:
        given = [dataclasses.asdict(override) for override in self._settings.overrides]
        # Workers finish in any order; what is printed should not.
        records = sorted(self._collector.records, key=lambda record: record.case_id)
        sequences = sorted(self._collector.sequences, key=lambda record: record.case_id)
        return snapshot_of(records, self._reference.facts, hyperparameters_of(given), sequences)

    def _compare(self, comparison: Comparison, session: pytest.Session) -> None:
        from collapse_tests.report.against_baseline import baseline_news

        self._news = baseline_news(comparison)
        self._collector.compare(self._news, regressed=comparison.is_worse)
        if comparison.is_worse and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._lines.append("No test failed, but the run does: what is worse as a whole is a regression.")
        if self._without_record:
            told = f"{counted(len(self._without_record), 'test')} ended without a record"
            self._lines.append(f"Compared on fewer cases than were asked for: {told}.")
        if not self._settings.update_baseline and any(map(_is_better, comparison.groups)):
            self._lines.append("Keep what is fixed with --update-baseline.")

    def _why_no_update(self, session: pytest.Session, exitstatus: int) -> str | None:
        """Why this run must not change the baseline, or None."""
        if exitstatus not in _FINISHED or session.shouldstop or session.shouldfail:
            return "the run was not finished"
        if self._without_record:
            return f"{self._without_record[0]} ended without a record"
        found: list[Record | SequenceRecord] = [*self._collector.records]
        found += [one for one in self._collector.sequences if one.kind is SequenceKind.SCENARIO]
        errors = [record for record in found if record.verdict is Verdict.ERROR]
        blamed = next((record for record in errors if is_no_news(record.error_kind)), None)
        if blamed is not None:
            return f"{blamed.case_id} ended in an error that is not its editor's"
        if len(errors) == len(found):
            return "nothing was measured"
        return None

    def _update(self, run: Snapshot, session: pytest.Session) -> str:
        kept = self._reference.kept
        try:
            found = refreshed(kept, run, asked_for(self._settings))
            changed = write_baseline(self._reference.path, found.snapshot)
        except CollapseError as error:
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = INFRASTRUCTURE_EXIT
            return f"The baseline is left as it is: {error}."
        return _told(self._reference, found) if changed else f"The baseline {self._reference.path} stays the same."


def _is_better(group: GroupComparison) -> bool:
    return bool(group.fixed or group.scenarios_of(Change.FIXED) or group.scenarios_of(Change.LATER))


def _told(reference: Reference, found: Refreshed) -> str:
    parts = [f"{cases_and_scenarios(found.cases, found.scenarios)} of this run"]
    parts += [f"{found.kept:,} kept that it did not run"] if found.kept else []
    parts += [f"{len(found.dropped):,} dropped"] if found.dropped else []
    return f"Baseline written: {reference.path}, {', '.join(parts)}."

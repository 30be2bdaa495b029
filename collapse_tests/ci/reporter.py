"""The end of a run where it is controlled: what CI systems read, and the exit code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT, FailureTally
from collapse_tests.collector import RecordCollector
from collapse_tests.records import Record
from collapse_tests.sequence_record import SequenceRecord

if TYPE_CHECKING:
    from collapse_tests.ci.run_outcome import RunOutcome

__all__ = ["CIReporter"]


class CIReporter:
    """Keeps what failed in a run and tells it at the end, to a CI system and by the exit code.

    Args:
        config: of the run.
        collector: of its records.
    """

    def __init__(self, config: pytest.Config, collector: RecordCollector) -> None:
        self._config = config
        self._collector = collector
        self._tally = FailureTally()
        self._failed: list[Record | SequenceRecord] = []

    def add(self, report: pytest.TestReport | pytest.CollectReport, record: Record | SequenceRecord | None) -> None:
        """Take a report, with the record it carried."""
        self._tally.add(report)
        if report.failed and record is not None:
            self._failed.append(record)

    def add_totals(self) -> None:
        """Give JUnit's XML its totals, before pytest writes it."""
        from collapse_tests.ci.junit import add_totals

        if self._collector.records or self._collector.sequences:
            add_totals(self._config, self._outcome())

    def finish(self, session: pytest.Session) -> None:
        """Write what CI systems read and set the exit code; when pytest and its plugins are done."""
        from collapse_tests.ci.publishing import publish

        if self._collector.regressed:
            self._tally.note_regression()
        problems = publish(self._outcome(), self._write_line)
        for problem in problems:
            self._write_line(f"collapse: {problem}")
        written = not problems and self._collector.failure is None
        status = self._tally.exit_code(int(session.exitstatus), written=written)
        if status != session.exitstatus:
            what = "the infrastructure failed" if status == INFRASTRUCTURE_EXIT else "the command line is wrong"
            self._write_line(f"collapse: exit code {status}, as no edit or editor failed but {what}")
            session.exitstatus = status

    def _outcome(self) -> RunOutcome:
        from collapse_tests.ci.run_outcome import RunOutcome

        collector = self._collector
        news = collector.baseline_news
        return RunOutcome(
            settings=collector.settings,
            records=tuple(collector.records),
            sequences=tuple(collector.sequences),
            failed=tuple(self._failed),
            directory=collector.place,
            resumed=None if collector.settings.resume is None else collector.resumed,
            news=() if news is None else (news.headline, *news.lines),
            problem=collector.failure,
            environment=os.environ,
        )

    def _write_line(self, line: str) -> None:
        """Past the capturing of output, at the start of a line; nowhere if the terminal's plugin is off."""
        if (reporter := self._config.pluginmanager.get_plugin("terminalreporter")) is not None:
            reporter.ensure_newline()
            self._config.get_terminal_writer().line(line)

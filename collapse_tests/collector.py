"""The records of a run, where the run is controlled: kept for the report, written as they come."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from collapse_tests.case_detail import CaseDetail
from collapse_tests.distributed.xdist_controller import controls_workers
from collapse_tests.environment import fingerprint
from collapse_tests.errors import CollapseError
from collapse_tests.progress import ProgressDisplay, terminal_console
from collapse_tests.records import Record
from collapse_tests.rerun import sequence_rerun_command
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import DEFAULT_MODEL, Settings
from collapse_tests.shards import Selection

if TYPE_CHECKING:
    from collapse_tests.report.baseline_news import BaselineNews
    from collapse_tests.report.store import RunDirectory

__all__ = ["RecordCollector"]


class RecordCollector:
    """Keeps the records of a run: in memory for the report, on disk as they come.

    Registered where the run is controlled, not on xdist's workers.

    Args:
        config: of the run.
        settings: of the run.

    Attributes:
        records, sequences: so far.
        resumed: how many of the records are of earlier runs.
        failure: why some could not be written, or None.
        baseline_news: what changed against the baseline, or None.
        regressed: whether the run as a whole is worse than its baseline.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.records: list[Record] = []
        self.sequences: list[SequenceRecord] = []
        self.resumed = 0
        self.failure: str | None = None
        self.baseline_news: BaselineNews | None = None
        self.regressed = False
        self._unchecked: dict[str, None] = {}
        self._run: RunDirectory | None = None
        self._facts: dict[str, Any] = {}

    def prepare(self) -> None:
        """Fetch the default model here if workers would else all wait for one of them in silence."""
        if DEFAULT_MODEL not in self.settings.models or not controls_workers(self.config):
            return
        from collapse_tests.models.embedded import ensure_default_model

        with contextlib.suppress(CollapseError):  # the workers run into it again and report it
            ensure_default_model(ProgressDisplay(self.config).say)

    @property
    def place(self) -> str | None:
        """The run's directory, as the user would write it; None where nothing was written."""
        return None if self._run is None else os.path.relpath(self._run.path)

    def add(self, report: pytest.TestReport) -> Record | SequenceRecord | None:
        """Take the record a report carries, if any, and return it."""
        if (data := getattr(report, "collapse_selection", None)) is not None:
            self.note_selection(data)
        device = getattr(report, "collapse_device", None)
        if (data := getattr(report, "collapse_record", None)) is not None:
            record = Record.from_dict(data)
            self.records.append(record)
            self._note_resumed(report, record)
            self._keep(lambda: self._run_for(record, device).append(record))
            if (data := getattr(report, "collapse_detail", None)) is not None:
                detail = CaseDetail.from_dict(data)
                self._keep(lambda: self._run_for(record, device).append_detail(detail))
            return record
        elif (data := getattr(report, "collapse_sequence", None)) is not None:
            sequence = SequenceRecord.from_dict(data)
            self.sequences.append(sequence)
            self._keep(lambda: self._run_for(sequence, device).append_sequence(sequence))
            if report.failed and sequence.kind is SequenceKind.MACHINE and sequence.requests:
                self._keep(lambda: self._point_at_scenario(report, sequence, device))
            return sequence
        return None

    def note_selection(self, selection: Mapping[str, Any]) -> None:
        """Take what was selected, as the process that collected it says, and write it if there is a directory."""
        self._keep(lambda: self._note({"selection": dict(selection)}))

    @property
    def is_empty_shard(self) -> bool:
        """Whether there are tests, but none of them for this shard, as there are more shards than tests."""
        selection = self._selection
        return selection is not None and selection.shard is not None and selection.tests == 0 < selection.whole_tests

    def leave_directory(self) -> None:
        """Make the directory of a sharded run that ran no test, so that it is known not to be missing."""
        if self.settings.shard is not None and self._selection is not None:
            self._keep(self._directory)

    @property
    def _selection(self) -> Selection | None:
        data = self._facts.get("selection")
        return None if data is None else Selection(**data)

    def _note_resumed(self, report: pytest.TestReport, record: Record) -> None:
        checked: bool | None = getattr(report, "collapse_resumed", None)
        self.resumed += checked is not None
        if checked is False:
            self._unchecked.setdefault(record.model)

    def _keep(self, write: Callable[[], object]) -> None:
        """Write, unless that has failed before."""
        if self.failure is None:
            try:
                write()
            except CollapseError as error:
                self.failure = str(error)

    def _point_at_scenario(
        self, report: pytest.TestReport, record: SequenceRecord, device: dict[str, str] | None
    ) -> None:
        """Write what a search has found as a scenario, and say so in its failure.

        Only here is it known where the run's reports go; the tests may run in other processes.
        """
        from collapse_tests.report.sequence_message import sequence_message

        file = os.path.relpath(self._run_for(record, device).write_scenario(record))
        settings = dataclasses.replace(self.settings, ppl_texts=record.ppl_texts)
        rerun = sequence_rerun_command(SequenceKind.SCENARIO, file, settings, model=record.model, editor=record.editor)
        report.longrepr = sequence_message(record, rerun, scenario_file=file)

    def _run_for(self, record: Record | SequenceRecord, device: dict[str, str] | None) -> RunDirectory:
        """The run's directory, with what a record says of the run in its environment."""
        facts: dict[str, Any] = {"models": {**self._facts.get("models", {}), record.model: record.model_digest}}
        if device is not None:
            facts["devices"] = {**self._facts.get("devices", {}), record.worker: device}
        self._note(facts)
        return self._directory()

    def _note(self, facts: Mapping[str, Any]) -> None:
        """Add to the environment of the run."""
        if facts == {name: self._facts.get(name) for name in facts}:
            return
        self._facts |= facts
        if self._run is not None:
            self._run.write_environment(fingerprint(self.settings) | self._facts)

    def _directory(self) -> RunDirectory:
        """The run's directory, made when it is first needed."""
        from collapse_tests.report.store import RunDirectory

        if self._run is None:
            moment = datetime.now()
            self._facts["started"] = moment.astimezone(UTC).isoformat(timespec="milliseconds")
            environment = fingerprint(self.settings) | self._facts
            self._run = RunDirectory.create(self.settings.reports_dir, environment, now=moment)
        return self._run

    def compare(self, news: BaselineNews, *, regressed: bool) -> None:
        """Take what changed against the baseline, and keep it beside the records, for pages that are made later."""
        from collapse_tests.report.baseline_news import write_news

        self.baseline_news, self.regressed = news, regressed
        if (run := self._run) is not None:
            self._keep(lambda: write_news(run.path, news))

    def report(self) -> None:
        """Print the collapse report."""
        if not self.records and not self.sequences:
            if self.is_empty_shard:
                terminal_console(self.config).print(f"collapse: {self._selection}", soft_wrap=True)
            return
        from collapse_tests.report.terminal import render

        console = terminal_console(self.config)
        verbose = self.config.get_verbosity() > 0
        certified = self.settings.riskiest is None
        render(
            self.records,
            self.sequences,
            run_directory=None if self.settings.html else self.place,
            console=console,
            verbose=verbose,
            certified=certified,
        )
        if self.settings.shard is not None:
            console.print(str(self._selection), soft_wrap=True)
        if self.settings.resume is not None:
            told = f"resumed: {self.resumed:,} of {len(self.records):,} cases from {self.settings.resume}"
            console.print(told, soft_wrap=True)
        if self._unchecked:
            models = ", ".join(self._unchecked)
            console.print(f"not loaded, as nothing of it was left to run, nor compared: {models}", soft_wrap=True)
        if self.failure is not None:
            console.print(f"Records are incomplete: {self.failure}", soft_wrap=True)
        if self.settings.html and self._run is not None:
            from collapse_tests.report.html.at_the_end import write_at_the_end

            written = write_at_the_end(self._run.path, self.records, self.sequences)
            console.print(written, soft_wrap=True)

    def close(self) -> None:
        """Close the records file."""
        if self._run is not None:
            self._run.close()

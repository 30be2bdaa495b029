"""A sweep: the single edits of many requests, whose records are kept as they come, so that a stopped one goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from collapse_tests.cases import Case
from collapse_tests.engine.gate import Gate
from collapse_tests.environment import fingerprint
from collapse_tests.errors import InfrastructureError
from collapse_tests.kept_records import KeptRecords
from collapse_tests.records import Record, Verdict
from collapse_tests.report.store import RunDirectory

__all__ = ["Sweep", "SweepResult", "collect"]

#: How many lines tell how far a sweep is.
_LINES = 40


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep knows.

    Attributes:
        records: in the order of the cases, of those that have one.
        missing: cases without one.
        kept: how many of the records were there before.
    """

    records: tuple[Record, ...]
    missing: tuple[Case, ...]
    kept: int


class Sweep:
    """Runs cases that have no record yet, batch by batch.

    What runs gets a directory of its own for its records, so that several processes can work on one sweep, and a run of
    the gate with `--reports-dir` can be a part of it.

    Args:
        gate: runs the cases; its settings are the sweep's.
        directory: of the sweep.
        say: takes a line of progress at a time.
    """

    def __init__(self, gate: Gate, directory: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self._gate = gate
        self._directory = directory
        self._say = say

    def run(self, cases: Sequence[Case]) -> SweepResult:
        """Run what of these cases has no record that is of the same weights.

        Raises:
            UsageError: records are damaged.
            InfrastructureError: a record could not be written.
            CollapseError: a model could not be loaded.
        """
        kept = KeptRecords(self._directory, self._gate.settings, self._say)
        found: dict[str, Record] = {}
        done = 0
        for model in dict.fromkeys(case.model for case in cases):
            digest = self._gate.digest(model)
            for case in cases:
                if case.model == model and (record := kept.record_of(case, digest)) is not None:
                    found[case.id] = record
            done += self._run_missing([case for case in cases if case.model == model and case.id not in found], found)
        return _result(cases, found, kept=len(found) - done)

    def _run_missing(self, cases: Sequence[Case], found: dict[str, Record]) -> int:
        """Run cases of one model and put their records where they are kept and into `found`; returns how many."""
        if not cases:
            return 0
        self._gate.expect(cases)
        self._say(f"{len(cases):,} edits to make, {len(found):,} there already")
        environment = fingerprint(self._gate.settings)
        step = max(1, len(cases) // _LINES)
        with RunDirectory.create(self._directory, environment, now=datetime.now()) as run:
            collapsed = 0
            for number, case in enumerate(cases, start=1):
                record = self._gate.outcome(case).record
                run.append(record)
                found[case.id] = record
                collapsed += record.verdict is Verdict.COLLAPSED
                if number % step == 0 or number == len(cases):
                    self._say(f"{number:,} of {len(cases):,} edits made, {collapsed:,} collapsed the model")
            run.write_environment(environment | self._facts(cases[0].model, found[cases[0].id]))
        return len(cases)

    def _facts(self, model: str, record: Record) -> dict[str, object]:
        facts: dict[str, object] = {"models": {model: record.model_digest}}
        device = self._gate.device_facts(record.worker)
        return facts if device is None else facts | {"devices": {record.worker: device}}


def collect(cases: Sequence[Case], kept: KeptRecords) -> SweepResult:
    """What earlier runs know of these cases; runs nothing and loads no model.

    Raises:
        InfrastructureError: the records of a model are of different weights.
    """
    for model in dict.fromkeys(case.model for case in cases):
        digests = kept.digests(model)
        if len(digests) > 1:
            raise InfrastructureError(
                f"the records of {model!r} are of {len(digests)} different sets of weights "
                f"({', '.join(sorted(digests))}); keep those of one apart, or let the sweep run"
            )
    found = {case.id: record for case in cases if (record := kept.record_of(case, None)) is not None}
    return _result(cases, found, kept=len(found))


def _result(cases: Sequence[Case], found: dict[str, Record], kept: int) -> SweepResult:
    """Records under the ids that their requests have in this sweep."""
    return SweepResult(
        records=tuple(
            replace(found[case.id], case_id=case.id, edit_id=case.edit_id) for case in cases if case.id in found
        ),
        missing=tuple(case for case in cases if case.id not in found),
        kept=kept,
    )

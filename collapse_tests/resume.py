"""`--resume`: cases that records of earlier runs answer for, so that they need not be run again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from collapse_tests.case_detail import CaseDetail
from collapse_tests.cases import Case
from collapse_tests.engine.outcome import Outcome
from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.kept_records import DECISIVE, KeptRecords, run_directories
from collapse_tests.records import Record
from collapse_tests.report.store import RECORDS_FILE, read_details
from collapse_tests.settings import Downstream, Settings
from collapse_tests.wording import counted

__all__ = ["Resumption"]

#: Settings that the downstream part of a verdict depends on, where anything downstream is measured.
_DOWNSTREAM = ("tasks", "tasks_limit", "tasks_data", "suspect_growth", "gate_on_drop")


class Resumption:
    """What of a run earlier records answer for: those of the same request, editor, hyper-parameters and settings.

    Errors answer for nothing. A model's records count only if they are of the same weights, which shows when it is
    loaded; where nothing of it is left to run it is not, and its weights are taken to be those of the records.

    As a container it holds the ids of the cases that are answered, as far as is known now.

    Args:
        run: a run's directory, or one that holds some.
        settings: of the run that goes on.

    Attributes:
        notes: what to know of the records, a line each.

    Raises:
        UsageError: there is no run, or a file in it is damaged before its last line.
    """

    def __init__(self, run: Path, settings: Settings) -> None:
        runs = run_directories(run)
        if not runs:
            raise UsageError(
                f"--resume {str(run)!r} is no run's directory and holds none; give one that has {RECORDS_FILE}, "
                "or leave the option away to start anew"
            )
        self.notes: list[str] = []
        self._kept = KeptRecords(run, settings, self.notes.append, _decisive(settings))
        self._details = {run: self._read_details(run) for run in runs}
        self._answered: dict[str, Record] = {}
        self._to_check: set[str] = set()
        self._checked: set[str] = set()
        most = counted(len(self._kept), "case")
        self.notes.insert(0, f"resuming from {run}, whose records answer for {most} at most")
        if own := [name for name in settings.editors if ":" in name]:
            self.notes.append(
                f"the records are of {', '.join(own)} as it was then; if its code has changed, start anew"
            )
        if settings.scenarios or settings.machines:
            self.notes.append("sequences are run again")

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._answered

    def select(self, cases: Sequence[Case], in_use: Collection[str]) -> None:
        """Look for records of these cases.

        Args:
            cases: all that are to be tested, by this process and others.
            in_use: models that are loaded anyway, so that their weights can be compared.
        """
        found = {case.id: self._kept.record_of(case, None) for case in cases}
        self._answered = {case_id: record for case_id, record in found.items() if record is not None}
        digests: dict[str, set[str]] = {}
        for record in self._answered.values():
            digests.setdefault(record.model, set()).add(record.model_digest)
        self._to_check = {case.model for case in cases if case.id not in self._answered}
        self._to_check |= set(in_use) | {model for model, values in digests.items() if len(values) > 1}

    def outcome_of(self, case: Case, digest_of: Callable[[str], str]) -> Outcome[Record] | None:
        """What an earlier record says of a case, or None if it has to be run.

        Args:
            case: one of those selected.
            digest_of: model → digest of its unedited weights; loads it, and is called only if it is loaded anyway.
        """
        if case.id in self._answered and case.model in self._to_check - self._checked:
            self._check(case.model, digest_of)
        record = self._answered.get(case.id)
        if record is None:
            return None
        run = self._kept.run_of(case)
        detail = None if run is None else self._details[run].get(record.case_id)
        return Outcome(
            replace(record, case_id=case.id, edit_id=case.edit_id),
            detail=None if detail is None else replace(detail, case_id=case.id),
            resumed=True,
        )

    def is_checked(self, model: str) -> bool:
        """Whether the records of a model were found to be of the weights that it has now."""
        return model in self._checked

    def _check(self, model: str, digest_of: Callable[[str], str]) -> None:
        """Let go of the records of other weights; of all, where the model cannot be loaded, as its tests will tell."""
        try:
            digest = digest_of(model)
        except CollapseError:
            digest = None
        self._checked.add(model)
        self._answered = {
            case_id: record
            for case_id, record in self._answered.items()
            if record.model != model or record.model_digest == digest
        }

    def _read_details(self, run: Path) -> dict[str, CaseDetail]:
        details, problems = read_details(run)
        self.notes += [f"warning: {problem}" for problem in problems]
        return {detail.case_id: detail for detail in details}


def _decisive(settings: Settings) -> tuple[str, ...]:
    """Names of the settings that have to agree."""
    measured = settings.downstream is not Downstream.NEVER
    return (*DECISIVE, "downstream", *(_DOWNSTREAM if measured else ()))

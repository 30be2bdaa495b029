"""What a baseline says of one case or scenario: whether its collapse is known, or new."""

from __future__ import annotations

from collapse_tests.baseline.requests import request_digest
from collapse_tests.baseline.scenarios import Change, ScenarioChange, change_of, edits, outcome_of
from collapse_tests.baseline.snapshot import CaseOutcome, Snapshot
from collapse_tests.cases import group_key
from collapse_tests.records import Record, Verdict
from collapse_tests.sequence_record import SequenceKind, SequenceRecord

__all__ = ["KnownOutcomes"]


class KnownOutcomes:
    """The outcomes of a baseline, as far as a record is about the same edits of the same model.

    Args:
        baseline: of an earlier run under the same rules.
    """

    def __init__(self, baseline: Snapshot) -> None:
        self._baseline = baseline

    def of(self, record: Record) -> CaseOutcome | None:
        """What came of the record's case, or None if the baseline does not have it, or another under its name."""
        known = self._baseline.cases.get(record.case_id)
        if known is None or known.verdict is Verdict.ERROR or known.request != request_digest(record.request):
            return None
        return known if self._is_same_group(record) else None

    def excuse(self, record: Record | SequenceRecord) -> str | None:
        """Why a collapse is no reason to fail, or None if it is one."""
        if isinstance(record, SequenceRecord):
            change = self._change(record)
            return None if change is None else _scenario_excuse(change)
        known = self.of(record)
        if known is None or not known.collapsed or record.verdict is not Verdict.COLLAPSED:
            return None
        return f"known collapse: {_me_ppl(record)}, in the baseline {_value(known.me_ppl)}"

    def news(self, record: Record | SequenceRecord) -> str | None:
        """What is new about a collapse, in one sentence; None where it is no collapse, or known, or without a past."""
        if isinstance(record, SequenceRecord):
            change = self._change(record)
            return None if change is None else _scenario_news(change)
        known = self.of(record)
        if known is None or known.collapsed or record.verdict is not Verdict.COLLAPSED:
            return None
        return f"new against the baseline: there it was {known.verdict} with ME-PPL {_value(known.me_ppl)}"

    def _change(self, record: SequenceRecord) -> ScenarioChange | None:
        """What is new about a scenario that the baseline has, if it collapses."""
        known = self._baseline.scenarios.get(record.case_id)
        if known is None or record.verdict is not Verdict.COLLAPSED or record.kind is not SequenceKind.SCENARIO:
            return None
        if not self._is_same_group(record):
            return None
        now = outcome_of(record)
        return ScenarioChange(record.name, change_of(known, now), known, now)

    def _is_same_group(self, record: Record | SequenceRecord) -> bool:
        group = self._baseline.groups[group_key(record.case_id)]
        return group.model_digest == record.model_digest and group.editor == record.editor


def _scenario_excuse(found: ScenarioChange) -> str | None:
    if found.change is None or not found.change.is_excused:
        return None
    was, now = found.before.collapsed_after, found.after.collapsed_after
    return f"known collapse: after {edits(now)}, in the baseline after {edits(was)}"


def _scenario_news(found: ScenarioChange) -> str | None:
    if found.change is Change.NEW:
        return f"new against the baseline: there the model survived {edits(found.before.planned)}"
    if found.change is Change.EARLIER:
        return f"earlier than in the baseline: there the model collapsed after {edits(found.before.collapsed_after)}"
    return None


def _me_ppl(record: Record) -> str:
    return f"ME-PPL {_value(None if record.edited is None else record.edited.me_ppl)}"


def _value(me_ppl: float | None) -> str:
    return "not measured" if me_ppl is None else f"{me_ppl:.6g}"

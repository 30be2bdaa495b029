"""What a baseline says of one case: whether its collapse is known, or new."""

from __future__ import annotations

from collapse_tests.baseline.snapshot import CaseOutcome, Snapshot, request_digest
from collapse_tests.cases import group_key
from collapse_tests.records import Record, Verdict

__all__ = ["KnownOutcomes"]


class KnownOutcomes:
    """The cases of a baseline, as far as a record is about the same edit of the same model.

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
        group = self._baseline.groups[group_key(record.case_id)]
        same = group.model_digest == record.model_digest and group.editor == record.editor
        return known if same else None

    def excuse(self, record: Record) -> str | None:
        """Why a collapse is no reason to fail, or None if it is one."""
        known = self.of(record)
        if known is None or not known.collapsed or record.verdict is not Verdict.COLLAPSED:
            return None
        return f"known collapse: {_me_ppl(record)}, in the baseline {_value(known.me_ppl)}"

    def news(self, record: Record) -> str | None:
        """What is new about a collapse, in one sentence; None where it is no collapse, or known, or without a past."""
        known = self.of(record)
        if known is None or known.collapsed or record.verdict is not Verdict.COLLAPSED:
            return None
        return f"new against the baseline: there it was {known.verdict} with ME-PPL {_value(known.me_ppl)}"


def _me_ppl(record: Record) -> str:
    return f"ME-PPL {_value(None if record.edited is None else record.edited.me_ppl)}"


def _value(me_ppl: float | None) -> str:
    return "not measured" if me_ppl is None else f"{me_ppl:.6g}"

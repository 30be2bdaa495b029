"""Why a gate test fails, as typed assertion errors whose text is all a user needs to see."""

from __future__ import annotations

from collapse_tests.records import Record, Verdict
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["CaseError", "CollapseFailure", "GateFailure", "IneffectiveEditFailure", "failure_of"]


class GateFailure(AssertionError):  # noqa: N818 - a failing test is no error
    """A case or a sequence that does not pass.

    Args:
        record: of the case or sequence.
        message: the text shown instead of a traceback.
    """

    def __init__(self, record: Record | SequenceRecord, message: str) -> None:
        super().__init__(message)
        self.record = record


class CollapseFailure(GateFailure):
    """The edit collapsed the model."""


class IneffectiveEditFailure(GateFailure):
    """The edit did not take, and the run asked for that to fail."""


class CaseError(GateFailure):
    """Nothing was learnt about the edit: the editor or the infrastructure failed."""


_FAILURES: dict[Verdict, type[GateFailure]] = {
    Verdict.COLLAPSED: CollapseFailure,
    Verdict.INEFFECTIVE: IneffectiveEditFailure,
    Verdict.ERROR: CaseError,
}


def failure_of(record: Record | SequenceRecord, *, fail_ineffective: bool) -> type[GateFailure] | None:
    """The failure a record amounts to, or None if its test passes."""
    if record.verdict is Verdict.INEFFECTIVE and not fail_ineffective:
        return None
    return _FAILURES.get(record.verdict)

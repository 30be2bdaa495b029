"""What a test gets of the gate; imports no framework, as a case that need not be run needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from collapse_tests.case_detail import CaseDetail
from collapse_tests.records import Record
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["Outcome"]

RecordT_co = TypeVar("RecordT_co", Record, SequenceRecord, covariant=True)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[RecordT_co]):
    """What a test gets.

    Attributes:
        record: of its case or sequence.
        repeated: whether it fails for a reason an earlier case of this process has already shown in full, such as
            a model that does not load.
        detail: more about a case than its record holds, of some of them.
        resumed: whether the record is of an earlier run.
    """

    record: RecordT_co
    repeated: bool = False
    detail: CaseDetail | None = None
    resumed: bool = False

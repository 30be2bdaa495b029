"""What a test gets, and of whom; imports no framework, as a case that need not be run needs none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from collapse_tests.case_detail import CaseDetail
from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.records import Record
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence_record import SequenceRecord

if TYPE_CHECKING:
    from collapse_tests.engine.preflight import Foresight

__all__ = ["Outcome", "OutcomeSource"]

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


class OutcomeSource(Protocol):
    """Whoever runs cases: the gate of this process, or one that has others do it."""

    def expect(self, cases: Sequence[Case]) -> None:
        """Take the selected cases, in the order their tests run."""

    def outcome(self, case: Case) -> Outcome[Record]:
        """The outcome of a case; handed out once."""

    def sequence(self, case: SequenceCase) -> Outcome[SequenceRecord]:
        """The outcome of edits in sequence."""

    def digest(self, model: str) -> str:
        """Digest of the unedited weights of a model.

        Raises:
            CollapseError: it could not be loaded, or not be measured.
        """

    def preflight(self, model: str, editor: str, requests: Sequence[EditRequest]) -> Sequence[Foresight]:
        """What can be told of edits before they are made.

        Raises:
            CollapseError: the model could not be loaded, or an editor not be prepared.
        """

    def device_facts(self, worker: str) -> dict[str, str] | None:
        """What a worker's records were computed on, if known."""

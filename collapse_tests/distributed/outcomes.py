"""Outcomes of many processes as those of one."""

from __future__ import annotations

from dataclasses import replace

from collapse_tests.case_records import error_record
from collapse_tests.cases import Case
from collapse_tests.engine.outcome import Outcome
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["AnyOutcome", "Repetitions", "failed_outcome"]

AnyOutcome = Outcome[Record] | Outcome[SequenceRecord]


def failed_outcome(
    case: Case | SequenceCase, settings: Settings, worker: str, reason: str, *, shared: bool = False
) -> AnyOutcome:
    """The outcome of a case or sequence that no process could measure.

    Args:
        case: which.
        settings: of the run.
        worker: the process that says so.
        reason: what failed.
        shared: whether it failed for a model or an editor as a whole, or for all; `Repetitions` tells the first.
    """
    error = InfrastructureError(reason)
    if isinstance(case, Case):
        return Outcome(error_record(case, settings, worker, error), repeated=shared)
    from collapse_tests.sequence.records import sequence_error_record  # imports torch

    return Outcome(sequence_error_record(case, settings, worker, error), repeated=shared)


class Repetitions:
    """Marks what repeats a failure that another test of the run, of whatever process, has shown in full.

    A process marks its own repetitions only, and its first failure may be one that was tried again and not shown.
    """

    def __init__(self) -> None:
        self._shown: set[str] = set()
        self._shared: set[str] = set()  # failures that are of a model or an editor as a whole

    def marked(self, outcome: AnyOutcome) -> AnyOutcome:
        """The outcome, marked anew."""
        error = outcome.record.error
        if error is None:
            return outcome
        if outcome.repeated:
            self._shared.add(error)
        repeated = error in self._shown and error in self._shared
        self._shown.add(error)
        return outcome if repeated == outcome.repeated else replace(outcome, repeated=repeated)

"""Outcomes of many processes as those of one."""

from __future__ import annotations

from dataclasses import replace

from collapse_tests.engine.outcome import Outcome
from collapse_tests.records import Record
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["AnyOutcome", "Repetitions"]

AnyOutcome = Outcome[Record] | Outcome[SequenceRecord]


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

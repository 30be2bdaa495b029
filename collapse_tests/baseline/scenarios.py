"""Scenarios in a baseline: what came of each, and what is new about one.

Searches are not here. They are random: one that finds nothing says no more than that it found nothing this time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from collapse_tests.baseline.requests import sequence_digest
from collapse_tests.records import Verdict
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.wording import counted

__all__ = [
    "Change",
    "ScenarioChange",
    "ScenarioOutcome",
    "change_of",
    "edits",
    "outcome_of",
    "outcomes_of",
    "scenario_changes",
    "surviving",
]


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """What came of one scenario.

    Attributes:
        requests: of the edits made, in order; see `sequence_digest`.
        verdict: see `Verdict`.
        planned: edits asked for.
        collapsed_after: edits after which the model was first found collapsed, or None.
    """

    requests: str
    verdict: Verdict
    planned: int
    collapsed_after: int | None = None

    @property
    def collapsed(self) -> bool:
        """Whether the edits collapsed the model."""
        return self.verdict is Verdict.COLLAPSED

    def is_about(self, other: ScenarioOutcome) -> bool:
        """Whether both are of the same edits, as far as both made them."""
        shared = min(len(self.requests), len(other.requests))
        return self.planned == other.planned and self.requests[:shared] == other.requests[:shared]


class Change(StrEnum):
    """What is new about a scenario. `KNOWN`: it collapsed the model before, and after as many edits."""

    NEW = "new"
    EARLIER = "earlier"
    KNOWN = "known"
    LATER = "later"
    FIXED = "fixed"
    OTHER = "other requests"

    @property
    def is_worse(self) -> bool:
        """Whether it is a regression."""
        return self in (Change.NEW, Change.EARLIER)

    @property
    def is_excused(self) -> bool:
        """Whether it is a collapse that is no reason to fail."""
        return self in (Change.KNOWN, Change.LATER)


@dataclass(frozen=True, slots=True)
class ScenarioChange:
    """One scenario that two runs have.

    Attributes:
        name: `scenario:<set>`.
        change: what is new; None where the model survived in both.
        before, after: the two outcomes.
    """

    name: str
    change: Change | None
    before: ScenarioOutcome
    after: ScenarioOutcome


def outcomes_of(records: Iterable[SequenceRecord]) -> dict[str, ScenarioOutcome]:
    """Case id → outcome, of the scenarios among records of sequences; of two with one id the later counts."""
    return {record.case_id: outcome_of(record) for record in records if record.kind is SequenceKind.SCENARIO}


def outcome_of(record: SequenceRecord) -> ScenarioOutcome:
    """The outcome of a scenario's record."""
    made = record.requests[: len(record.steps)]
    return ScenarioOutcome(sequence_digest(made), record.verdict, record.planned, record.collapsed_after)


def surviving(requests: Iterable[Mapping[str, str | None]]) -> ScenarioOutcome:
    """The outcome of a scenario whose edits are all made and stable."""
    made = list(requests)
    return ScenarioOutcome(sequence_digest(made), Verdict.STABLE, len(made))


def scenario_changes(
    before: Mapping[str, ScenarioOutcome], after: Mapping[str, ScenarioOutcome]
) -> Iterator[ScenarioChange]:
    """What is new about the scenarios that both have; errors are no outcome.

    Args:
        before: name → outcome.
        after: likewise.
    """
    for name, now in after.items():
        was = before.get(name)
        if was is not None and Verdict.ERROR not in (was.verdict, now.verdict):
            yield ScenarioChange(name, change_of(was, now), was, now)


def change_of(before: ScenarioOutcome, after: ScenarioOutcome) -> Change | None:
    """What is new about a scenario; None where the model survived in both. Neither is an error."""
    if not before.is_about(after):
        return Change.OTHER
    was, now = before.collapsed_after, after.collapsed_after
    if now is None:
        return None if was is None else Change.FIXED
    if was is None:
        return Change.NEW
    return Change.EARLIER if now < was else Change.LATER if now > was else Change.KNOWN


def edits(count: int | None) -> str:
    """A number of edits in words, such as those after which a scenario collapsed, of one that did."""
    assert count is not None
    return counted(count, "edit")

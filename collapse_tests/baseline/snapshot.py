"""What a run found, in short: what a baseline keeps, and what comparisons are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from collapse_tests.baseline.requests import request_digest
from collapse_tests.baseline.scenarios import ScenarioOutcome, outcomes_of
from collapse_tests.cases import group_key, label
from collapse_tests.errors import ErrorKind
from collapse_tests.records import Record, Verdict
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.wording import counted

__all__ = [
    "CaseOutcome",
    "Group",
    "Snapshot",
    "cases_and_scenarios",
    "edit_id_of",
    "is_no_news",
    "set_of",
    "snapshot_of",
]

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """What came of one case.

    Attributes:
        request: digest of the request's text.
        verdict: see `Verdict`.
        me_ppl: after the edit, to six significant digits; None where it was not measured.
        success: whether the edit took; likewise.
        tasks: task → score after the edit, to six significant digits.
        error_kind: whose fault an error is; None where there is none.
    """

    request: str
    verdict: Verdict
    me_ppl: float | None = None
    success: bool | None = None
    tasks: Mapping[str, float] | None = None
    error_kind: ErrorKind | None = None

    @property
    def collapsed(self) -> bool:
        """Whether the edit collapsed the model."""
        return self.verdict is Verdict.COLLAPSED

    @property
    def is_no_news(self) -> bool:
        """Whether it is an error that may be gone the next time, and says nothing of the editor."""
        return self.verdict is Verdict.ERROR and is_no_news(self.error_kind)


@dataclass(frozen=True, slots=True)
class Group:
    """All cases of one model under one editor.

    Attributes:
        model: short name, without its path: a baseline goes from machine to machine.
        editor: as in the settings.
        model_digest: digest of the unedited weights; empty where no case got as far as to have one.
        hyperparameters: those the user gave; field → value as JSON data.
    """

    model: str
    editor: str
    model_digest: str = ""
    hyperparameters: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model} under {self.editor}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run found.

    Attributes:
        facts: what the run was, as `facts_of` names it; a fact that is not known is not there.
        groups: name → group; the name is what ids of its cases begin with.
        cases: id → outcome.
        scenarios: likewise.
    """

    facts: Mapping[str, Any]
    groups: Mapping[str, Group]
    cases: Mapping[str, CaseOutcome]
    scenarios: Mapping[str, ScenarioOutcome] = field(default_factory=dict)

    def of_group(self, name: str) -> dict[str, CaseOutcome]:
        """Edit id → outcome of the cases of one group."""
        return {edit_id_of(case): outcome for case, outcome in self.cases.items() if group_key(case) == name}

    def scenarios_of(self, name: str) -> dict[str, ScenarioOutcome]:
        """The same of the scenarios of one group, by `scenario:<set>`."""
        return {edit_id_of(case): outcome for case, outcome in self.scenarios.items() if group_key(case) == name}


def snapshot_of(
    records: Iterable[Record],
    facts: Mapping[str, Any],
    hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
    sequences: Iterable[SequenceRecord] = (),
) -> Snapshot:
    """The snapshot of a run's records.

    Args:
        records: of single edits; of two with one id the later counts.
        facts: of the run.
        hyperparameters: editor → those the user gave.
        sequences: of which only scenarios are kept, as searches are random.
    """
    groups: dict[str, Group] = {}
    singles = list(records)
    scenarios = [record for record in sequences if record.kind is SequenceKind.SCENARIO]
    both: list[Record | SequenceRecord] = [*singles, *scenarios]
    for record in both:
        name = group_key(record.case_id)
        if name not in groups or not groups[name].model_digest:
            own = (hyperparameters or {}).get(record.editor, {})
            groups[name] = Group(label(record.model), record.editor, record.model_digest, own)
    return Snapshot(facts, groups, {record.case_id: _outcome(record) for record in singles}, outcomes_of(scenarios))


def is_no_news(kind: ErrorKind | None) -> bool:
    """Whether an error of this kind may be gone the next time, and says nothing of the editor."""
    return kind not in (ErrorKind.EDITOR, ErrorKind.RESTORATION)


def cases_and_scenarios(cases: int, scenarios: int) -> str:
    """How many of both, in words; no word of scenarios where there are none."""
    told = [counted(cases, "case")] if cases or not scenarios else []
    return " and ".join([*told, *([counted(scenarios, "scenario")] if scenarios else [])])


def edit_id_of(case_id: str) -> str:
    """The part of a case's id that names its request."""
    return case_id.rpartition("-")[2]


def set_of(case_id: str) -> str:
    """The part of a case's id that names the set its request is of."""
    return edit_id_of(case_id).rpartition(":")[0]


def _outcome(record: Record) -> CaseOutcome:
    return CaseOutcome(
        request=request_digest(record.request),
        verdict=record.verdict,
        me_ppl=None if record.edited is None else _rounded(record.edited.me_ppl),
        success=None if record.quality is None else record.quality.success,
        tasks={result.task: _rounded(result.edited) for result in record.tasks},
        error_kind=record.error_kind,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value

"""A baseline after another run: what of it stays.

A case or scenario that the run did not run keeps its line if that is still true and somebody may still ask for it:

- the settings are those of the run, and so are the weights and hyper-parameters of its model and editor;
- its model and editor are not in the run at all, or the run makes none of its kind, or its request is still in the sets
  that the run asks for, whatever limit, sample or selection left it out.

What ended in an error taught nothing, and counts as not run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from collapse_tests.baseline.differences import group_differences, setting_differences
from collapse_tests.baseline.facts import SETS
from collapse_tests.baseline.requests import request_digest
from collapse_tests.baseline.scenarios import ScenarioOutcome, surviving
from collapse_tests.baseline.snapshot import CaseOutcome, Snapshot
from collapse_tests.cases import expand_cases, group_key
from collapse_tests.records import Verdict
from collapse_tests.sequence.cases import expand_sequences
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings

__all__ = ["AskedFor", "Refreshed", "asked_for", "refreshed"]

_Outcome = TypeVar("_Outcome", CaseOutcome, ScenarioOutcome)


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What the sets of a run hold, whatever of it was run.

    Attributes:
        cases: case id → digest of its request; None in a run without single edits.
        scenarios: case id → the scenario as it would be if the model survived; None in a run without scenarios.
    """

    cases: Mapping[str, str] | None = field(default_factory=dict)
    scenarios: Mapping[str, ScenarioOutcome] | None = None

    def has_case(self, case: str, outcome: CaseOutcome) -> bool:
        """Whether somebody may still ask for a single edit."""
        return self.cases is None or self.cases.get(case) == outcome.request

    def has_scenario(self, case: str, outcome: ScenarioOutcome) -> bool:
        """Whether somebody may still ask for a scenario."""
        if self.scenarios is None:
            return True
        asked = self.scenarios.get(case)
        return asked is not None and asked.is_about(outcome)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A baseline after another run.

    Attributes:
        snapshot: what to write.
        cases, scenarios: how many of its cases and scenarios the run gave.
        kept: how many of both it has from before.
        dropped: ids of those of before that it no longer has.
    """

    snapshot: Snapshot
    cases: int
    scenarios: int
    kept: int
    dropped: tuple[str, ...]


def asked_for(settings: Settings) -> AskedFor:
    """What the sets of a run hold, single edits without limit or sample.

    Raises:
        UsageError: a request file is unusable.
    """
    everything = replace(settings, edits_limit=None, edits_sample=None)
    cases = {case.id: request_digest(asdict(case.request)) for case in expand_cases(everything)}
    scenarios = {
        case.id: surviving(asdict(named.request) for named in case.requests)
        for case in expand_sequences(settings, SequenceKind.SCENARIO)
    }
    return AskedFor(cases if settings.edits else None, scenarios if settings.scenarios else None)


def refreshed(before: Snapshot | None, run: Snapshot, asked: AskedFor) -> Refreshed:
    """The baseline after a run.

    Args:
        before: the baseline until now, if any.
        run: what the run found.
        asked: what its sets hold.
    """
    before = Snapshot({}, {}, {}) if before is None else before
    lasting = {name for name in before.groups if _lasts(name, before, run)} if _same_settings(before, run) else set()
    cases, old = _merged(before.cases, run.cases, lasting, run.groups, asked.has_case)
    scenarios, more = _merged(before.scenarios, run.scenarios, lasting, run.groups, asked.has_scenario)
    kept = {*old, *more}
    named = {group_key(case) for case in (*cases, *scenarios)}
    # A run whose cases of a group all ended in errors does not know the weights that the lines kept are of.
    told = {name: group for name, group in run.groups.items() if group.model_digest or name not in before.groups}
    groups = {name: group for name, group in {**before.groups, **told}.items() if name in named}
    facts = _joined(before.facts, run.facts) if kept else dict(run.facts)
    dropped = tuple(case for case in (*before.cases, *before.scenarios) if case not in cases and case not in scenarios)
    snapshot = Snapshot(facts, groups, cases, scenarios)
    return Refreshed(snapshot, len(cases) - len(old), len(scenarios) - len(more), len(kept), dropped)


def _merged(
    before: Mapping[str, _Outcome],
    run: Mapping[str, _Outcome],
    lasting: Collection[str],
    groups: Collection[str],
    is_asked_for: Callable[[str, _Outcome], bool],
) -> tuple[dict[str, _Outcome], dict[str, _Outcome]]:
    """All outcomes of one kind after a run, and those of them that are from before.

    Args:
        before: of the baseline.
        run: of the run.
        lasting: groups whose lines are still true.
        groups: of the run.
        is_asked_for: whether somebody may still ask for an outcome of a group of the run.
    """
    fresh = {case: outcome for case, outcome in run.items() if outcome.verdict is not Verdict.ERROR}
    kept = {
        case: outcome
        for case, outcome in before.items()
        if case not in fresh
        and group_key(case) in lasting
        and (group_key(case) not in groups or is_asked_for(case, outcome))
    }
    return fresh | kept, kept


def _joined(before: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a baseline that has lines of before and of a run under the same settings."""
    facts = {**before, **run}
    for name in SETS:  # those of all runs that made the baseline
        if name in facts:
            facts[name] = sorted({*before.get(name, ()), *run.get(name, ())})
    return facts


def _same_settings(before: Snapshot, run: Snapshot) -> bool:
    sets = ("edits", "scenario")
    return all(difference.what in sets for difference in setting_differences(before.facts, run.facts))


def _lasts(name: str, before: Snapshot, run: Snapshot) -> bool:
    return name not in run.groups or not group_differences(before.groups[name], run.groups[name])

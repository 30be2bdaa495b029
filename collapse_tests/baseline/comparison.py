"""A run against an earlier one: what differs between the two, then case by case and group by group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from collapse_tests.baseline.differences import (
    Difference,
    Scope,
    changed_requests,
    group_differences,
    setting_differences,
)
from collapse_tests.baseline.scenarios import Change, ScenarioChange, scenario_changes
from collapse_tests.baseline.snapshot import CaseOutcome, Snapshot, set_of
from collapse_tests.records import Verdict
from collapse_tests.settings import DEFAULT_BASELINE_TOLERANCE
from collapse_tests.verdict.regression import Shift, is_median_worse, median_log_ratio, shift

__all__ = ["Comparison", "GroupComparison", "compare", "compare_outcomes", "measured"]


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """All cases of one model under one editor against earlier ones.

    Cases are named by the ids of their requests. Errors are no outcome: they are counted, and in nothing else.

    Attributes:
        name: of the group, what ids of its cases begin with.
        title: model and editor, for people.
        differences: of weights and hyper-parameters.
        newly_collapsed, fixed, still_collapsed: cases that both runs have, by what they were and are.
        untaken: those of `fixed` whose edit no longer takes.
        new, missing: cases that only the later, and only the earlier run has.
        changed: cases whose request is another one under the same name; they are compared with nothing.
        errors: cases of the later run that ended in an error.
        untried: those of them that the earlier run measured, and whose error is not the editor's.
        pairs: how many cases both runs measured.
        collapses: how often cases collapsed; None where nothing can be compared.
        failures: how often edits did not take; likewise.
        median_log_ratio: of ME-PPL, later over earlier, over cases that both have; likewise.
        surviving_log_ratio: the same without cases that collapsed in both. A broken model's perplexity varies from
            machine to machine by tens of per cent, and says no more than that it is broken.
        tolerance: the highest ratio that is no regression.
        scenarios: those that both runs measured.
    """

    name: str
    title: str
    differences: tuple[Difference, ...] = ()
    newly_collapsed: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    untaken: tuple[str, ...] = ()
    still_collapsed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    pairs: int = 0
    collapses: Shift | None = None
    failures: Shift | None = None
    median_log_ratio: float | None = None
    surviving_log_ratio: float | None = None
    tolerance: float = DEFAULT_BASELINE_TOLERANCE
    scenarios: tuple[ScenarioChange, ...] = ()

    @property
    def other_weights(self) -> bool:
        """Whether the model is another one than before, so that nothing is compared."""
        return any(difference.scope is Scope.MODEL for difference in self.differences)

    @property
    def collapses_more(self) -> bool:
        """Whether more cases collapse than chance explains."""
        return self.collapses is not None and self.collapses.is_worse

    @property
    def takes_less(self) -> bool:
        """Whether fewer edits take than chance explains."""
        return self.failures is not None and self.failures.is_worse

    @property
    def perplexity_rose(self) -> bool:
        """Whether the median ratio of ME-PPL, without known collapses, is beyond the tolerance."""
        return is_median_worse(self.surviving_log_ratio, self.tolerance)

    @property
    def scenarios_got_worse(self) -> bool:
        """Whether a scenario newly collapses the model, or after fewer edits."""
        return any(one.change is not None and one.change.is_worse for one in self.scenarios)

    @property
    def is_compared(self) -> bool:
        """Whether both runs measured anything that is the same."""
        return self.pairs > 0 or any(one.change is not Change.OTHER for one in self.scenarios)

    def scenarios_of(self, change: Change) -> list[ScenarioChange]:
        """The scenarios of which this is new."""
        return [one for one in self.scenarios if one.change is change]

    @property
    def is_worse(self) -> bool:
        """Whether the group as a whole is worse than before."""
        return self.collapses_more or self.takes_less or self.perplexity_rose or self.scenarios_got_worse

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to tell but known collapses."""
        told = (self.differences, self.newly_collapsed, self.fixed, self.new, self.missing, self.changed, self.errors)
        scenarios = any(one.change not in (None, Change.KNOWN) for one in self.scenarios)
        return not any(told) and not scenarios and not self.is_worse


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run against an earlier one.

    Attributes:
        differences: of settings.
        groups: those that both have, in the later run's order.
        new_groups, missing_groups: titles of those that only one has.
    """

    differences: tuple[Difference, ...]
    groups: tuple[GroupComparison, ...]
    new_groups: tuple[str, ...] = ()
    missing_groups: tuple[str, ...] = ()

    @property
    def is_worse(self) -> bool:
        """Whether any group as a whole is worse than before."""
        return any(group.is_worse for group in self.groups)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to tell but known collapses."""
        return not (self.differences or self.new_groups or self.missing_groups) and all(
            group.is_silent for group in self.groups
        )


def compare(before: Snapshot, after: Snapshot, tolerance: float = DEFAULT_BASELINE_TOLERANCE) -> Comparison:
    """Compare a run with an earlier one, group by group of the same name.

    Where weights differ a group is named and not compared. Settings are named only: whoever calls decides whether
    outcomes under them can be compared.

    Args:
        before: the earlier run, such as a baseline.
        after: the later run.
        tolerance: the highest median ratio of ME-PPL that is no regression.
    """
    return Comparison(
        differences=tuple(setting_differences(before.facts, after.facts)),
        groups=tuple(_compared_groups(before, after, tolerance)),
        new_groups=tuple(group.title for name, group in after.groups.items() if name not in before.groups),
        missing_groups=tuple(group.title for name, group in before.groups.items() if name not in after.groups),
    )


def compare_outcomes(
    before: Mapping[str, CaseOutcome],
    after: Mapping[str, CaseOutcome],
    *,
    name: str = "",
    title: str = "",
    tolerance: float = DEFAULT_BASELINE_TOLERANCE,
) -> GroupComparison:
    """Compare the cases of two groups.

    Args:
        before: edit id → outcome.
        after: likewise.
        name: of the group.
        title: of the group.
        tolerance: see `compare`.
    """
    changed = set(changed_requests(before, after))
    old = {case: outcome for case, outcome in measured(before).items() if case not in changed}
    new = {case: outcome for case, outcome in measured(after).items() if case not in changed}
    pairs = {case: (old[case], new[case]) for case in new if case in old}
    fixed = [case for case, (was, now) in pairs.items() if was.collapsed and not now.collapsed]
    return GroupComparison(
        name=name,
        title=title,
        newly_collapsed=tuple(case for case, (was, now) in pairs.items() if now.collapsed and not was.collapsed),
        fixed=tuple(fixed),
        untaken=tuple(case for case in fixed if new[case].verdict is Verdict.INEFFECTIVE),
        still_collapsed=tuple(case for case, (was, now) in pairs.items() if was.collapsed and now.collapsed),
        new=tuple(case for case in new if case not in before),
        missing=tuple(case for case in old if case not in after),
        changed=tuple(case for case in after if case in changed),
        errors=tuple(case for case, outcome in after.items() if outcome.verdict is Verdict.ERROR),
        untried=tuple(case for case, outcome in after.items() if case in old and outcome.is_no_news),
        pairs=len(pairs),
        collapses=shift(*_of_shared_sets(_collapses(old), _collapses(new))),
        failures=shift(*_of_shared_sets(_failures(old), _failures(new))),
        median_log_ratio=_median(pairs.values()),
        surviving_log_ratio=_median(pair for pair in pairs.values() if not (pair[0].collapsed and pair[1].collapsed)),
        tolerance=tolerance,
    )


def measured(cases: Mapping[str, CaseOutcome]) -> dict[str, CaseOutcome]:
    """The cases that taught something."""
    return {case: outcome for case, outcome in cases.items() if outcome.verdict is not Verdict.ERROR}


def _compared_groups(before: Snapshot, after: Snapshot, tolerance: float) -> Iterator[GroupComparison]:
    for name, group in after.groups.items():
        if name not in before.groups:
            continue
        differences = tuple(group_differences(before.groups[name], group))
        compared = GroupComparison(name, group.title, differences, tolerance=tolerance)
        if not compared.other_weights:
            outcomes = compare_outcomes(
                before.of_group(name), after.of_group(name), name=name, title=group.title, tolerance=tolerance
            )
            scenarios = scenario_changes(before.scenarios_of(name), after.scenarios_of(name))
            compared = replace(outcomes, differences=differences, scenarios=tuple(scenarios))
        yield compared


def _median(pairs: Iterable[tuple[CaseOutcome, CaseOutcome]]) -> float | None:
    return median_log_ratio(
        (was.me_ppl, now.me_ppl) for was, now in pairs if was.me_ppl is not None and now.me_ppl is not None
    )


def _of_shared_sets(before: dict[str, bool], after: dict[str, bool]) -> tuple[dict[str, bool], dict[str, bool]]:
    """The cases of sets that both have: hard requests against normal ones would only say which are the harder."""
    shared = {set_of(case) for case in before} & {set_of(case) for case in after}
    before, after = ({case: bad for case, bad in cases.items() if set_of(case) in shared} for cases in (before, after))
    return before, after


def _collapses(cases: Mapping[str, CaseOutcome]) -> dict[str, bool]:
    return {case: outcome.collapsed for case, outcome in cases.items()}


def _failures(cases: Mapping[str, CaseOutcome]) -> dict[str, bool]:
    return {case: not outcome.success for case, outcome in cases.items() if outcome.success is not None}

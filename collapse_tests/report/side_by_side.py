"""Runs side by side: how each model and editor came out, and where two of them differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from collapse_tests.baseline.comparison import GroupComparison, compare_outcomes, measured
from collapse_tests.baseline.differences import (
    Difference,
    Scope,
    group_differences,
    other_requests,
    setting_differences,
    some_of,
)
from collapse_tests.baseline.facts import facts_of_single_edits
from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot
from collapse_tests.cases import group_key
from collapse_tests.records import Record
from collapse_tests.report.rows import Rate, median_perplexity, summarise
from collapse_tests.verdict.intervals import rate_interval
from collapse_tests.verdict.regression import Shift, two_sided_p_value

__all__ = ["Contrast", "Entry", "NamedRun", "Pair", "contrasts", "entries", "run_differences"]


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run to compare.

    Attributes:
        letter: that it goes by.
        place: where it is from.
        snapshot: what it found.
        records: of its single edits; none of a baseline, which has none.
    """

    letter: str
    place: str
    snapshot: Snapshot
    records: Sequence[Record] = ()


@dataclass(frozen=True)
class Entry:
    """One model under one editor in one run."""

    run: NamedRun
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Letter of its run and name of its group."""
        return self.run.letter, self.name

    @cached_property
    def records(self) -> list[Record]:
        """Of its cases, one each; none of a baseline."""
        found = {record.case_id: record for record in self.run.records if group_key(record.case_id) == self.name}
        return list(found.values())

    @cached_property
    def quality(self) -> dict[str, Rate]:
        """Rates of success, generalisation and locality; the latter two are known from records alone."""
        found = next(iter(summarise(self.records)), None)
        unknown = Rate(0, 0)
        return {
            "success": self.success,
            "generalisation": found.generalisation if found else unknown,
            "locality": found.locality if found else unknown,
        }

    @property
    def group(self) -> Group:
        """Its model and editor."""
        return self.run.snapshot.groups[self.name]

    @cached_property
    def cases(self) -> dict[str, CaseOutcome]:
        """Edit id → outcome, errors among them."""
        return self.run.snapshot.of_group(self.name)

    @cached_property
    def outcomes(self) -> dict[str, CaseOutcome]:
        """The same without errors."""
        return measured(self.cases)

    @property
    def errors(self) -> int:
        """Cases that taught nothing."""
        return len(self.cases) - len(self.outcomes)

    @cached_property
    def collapses(self) -> Rate:
        """Of the cases that taught something."""
        return Rate(sum(outcome.collapsed for outcome in self.outcomes.values()), len(self.outcomes))

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the rate of collapse."""
        return rate_interval(self.collapses.hits, self.collapses.n)

    @property
    def median_me_ppl(self) -> float | None:
        """After the edit."""
        return median_perplexity(one.me_ppl for one in self.outcomes.values() if one.me_ppl is not None)

    @property
    def success(self) -> Rate:
        """Edits that took."""
        known = [one.success for one in self.outcomes.values() if one.success is not None]
        return Rate(sum(known), len(known))

    @cached_property
    def tasks(self) -> dict[str, float]:
        """Task → median score after the edit; NaN ranks below every number."""
        scores: dict[str, list[float]] = {}
        for outcome in self.outcomes.values():
            for task, score in (outcome.tasks or {}).items():
                scores.setdefault(task, []).append(score)
        return {task: _median_score(values) for task, values in scores.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """One request that two entries measured.

    Attributes:
        edit_id: its name.
        before, after: the two outcomes.
    """

    edit_id: str
    before: CaseOutcome
    after: CaseOutcome

    @property
    def perplexities(self) -> tuple[float, float] | None:
        """ME-PPL in both; None where one has none."""
        before, after = self.before.me_ppl, self.after.me_ppl
        return None if before is None or after is None else (before, after)


@dataclass(frozen=True)
class Contrast:
    """One entry against the one it is measured by.

    Attributes:
        reference, entry: the two.
        differences: of weights and hyper-parameters.
        barriers: settings of the two runs that forbid to test their outcomes against each other.
    """

    reference: Entry
    entry: Entry
    differences: tuple[Difference, ...]
    barriers: tuple[Difference, ...]

    @cached_property
    def pairs(self) -> list[Pair]:
        """The requests that both measured."""
        before = self.reference.outcomes
        return [
            Pair(edit_id, before[edit_id], outcome)
            for edit_id, outcome in self.entry.outcomes.items()
            if edit_id in before and before[edit_id].request == outcome.request
        ]

    @cached_property
    def compared(self) -> GroupComparison:
        """Case by case."""
        return compare_outcomes(self.reference.cases, self.entry.cases)

    @property
    def collapse_p_value(self) -> float | None:
        """Two-sided, as neither of the two came first; None where there is nothing to test."""
        return _two_sided(self.compared.collapses, self._reversed.collapses)

    @property
    def failure_p_value(self) -> float | None:
        """The same of edits that do not take."""
        return _two_sided(self.compared.failures, self._reversed.failures)

    @cached_property
    def _reversed(self) -> GroupComparison:
        return compare_outcomes(self.entry.cases, self.reference.cases)


def entries(runs: Iterable[NamedRun]) -> list[Entry]:
    """Every model and editor of every run that made single edits."""
    found = [Entry(run, name) for run in runs for name in run.snapshot.groups]
    return [entry for entry in found if entry.cases]


def run_differences(runs: Sequence[NamedRun]) -> Iterator[str]:
    """What is not the same as in the first run, a line each."""
    first = runs[0]
    for run in runs[1:]:
        for difference in setting_differences(first.snapshot.facts, run.snapshot.facts):
            yield f"{run.letter}: {difference} in {first.letter}"
        if changed := other_requests(first.snapshot, run.snapshot):
            yield f"{run.letter}: under the same names other requests than in {first.letter}: {some_of(changed)}"


def contrasts(found: Sequence[Entry]) -> list[Contrast]:
    """Each entry with those of the first run that it is measured by.

    That is the same editor on the same model or, where the first run does not have it, each of its editors on that
    model. Of a single run it is the first editor on the model. Models are the same if their names or their weights are.
    """
    first = found[0].run
    alone = all(entry.run is first for entry in found)
    result = []
    for place, entry in enumerate(found):
        if entry.run is first and not alone:
            continue
        pool = found[:place] if alone else [other for other in found if other.run is first]
        candidates = [other for other in pool if _same_model(other.group, entry.group)]
        same = [other for other in candidates if other.group.editor == entry.group.editor]
        chosen = candidates[:1] if alone else same or candidates
        result += [_contrast(other, entry) for other in chosen]
    return result


def _contrast(reference: Entry, entry: Entry) -> Contrast:
    there, here = (facts_of_single_edits(one.run.snapshot.facts) for one in (reference, entry))
    settings = setting_differences(there, here)
    barriers = tuple(difference for difference in settings if difference.scope is Scope.RULES)
    return Contrast(reference, entry, tuple(group_differences(reference.group, entry.group)), barriers)


def _same_model(one: Group, other: Group) -> bool:
    return one.model == other.model or (one.model_digest == other.model_digest != "")


def _two_sided(there: Shift | None, back: Shift | None) -> float | None:
    return None if there is None or back is None else two_sided_p_value(there, back)


def _median_score(values: Sequence[float]) -> float:
    """The middle score, of two the lower; NaN ranks below every number."""
    return sorted(values, key=lambda value: -math.inf if math.isnan(value) else value)[(len(values) - 1) // 2]

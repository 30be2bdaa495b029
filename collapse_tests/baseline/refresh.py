"""A baseline after another run: what of it stays.

A case that the run did not run keeps its line if the line is still true and somebody may still ask for it:

- the settings are those of the run, and so are the weights and hyper-parameters of its model and editor;
- its model and editor are not in the run at all, or its request is still in the sets that the run asks for, whatever
  limit, sample or selection left it out.

A case that ended in an error taught nothing, and counts as not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from collapse_tests.baseline.differences import group_differences, setting_differences
from collapse_tests.baseline.snapshot import Snapshot, request_digest
from collapse_tests.cases import expand_cases, group_key
from collapse_tests.records import Verdict
from collapse_tests.settings import Settings

__all__ = ["Refreshed", "refreshed", "requests_asked_for"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A baseline after another run.

    Attributes:
        snapshot: what to write.
        run: how many of its cases the run gave.
        kept: how many it has from before.
        dropped: ids of those of before that it no longer has.
    """

    snapshot: Snapshot
    run: int
    kept: int
    dropped: tuple[str, ...]


def requests_asked_for(settings: Settings) -> dict[str, str]:
    """Case id → digest of its request, of every case of the sets that a run asks for, without limit or sample.

    Raises:
        UsageError: a request file is unusable.
    """
    everything = replace(settings, edits_limit=None, edits_sample=None)
    return {case.id: request_digest(asdict(case.request)) for case in expand_cases(everything)}


def refreshed(before: Snapshot | None, run: Snapshot, asked_for: Mapping[str, str]) -> Refreshed:
    """The baseline after a run.

    Args:
        before: the baseline until now, if any.
        run: what the run found.
        asked_for: see `requests_asked_for`.
    """
    fresh = {case: outcome for case, outcome in run.cases.items() if outcome.verdict is not Verdict.ERROR}
    old = {} if before is None else {case: one for case, one in before.cases.items() if case not in fresh}
    kept = {}
    if before is not None and _same_settings(before, run):
        lasting = {name for name in before.groups if _lasts(name, before, run)}
        for case, outcome in old.items():
            name = group_key(case)
            if name in lasting and (name not in run.groups or asked_for.get(case) == outcome.request):
                kept[case] = outcome
    cases = fresh | kept
    named = {group_key(case) for case in cases}
    groups = {**({} if before is None else before.groups), **run.groups}
    facts = dict(run.facts)
    if kept and before is not None:
        facts["edits"] = sorted({*before.facts.get("edits", ()), *run.facts.get("edits", ())})
    snapshot = Snapshot(facts, {name: group for name, group in groups.items() if name in named}, cases)
    return Refreshed(snapshot, len(fresh), len(kept), tuple(case for case in old if case not in kept))


def _same_settings(before: Snapshot, run: Snapshot) -> bool:
    return all(difference.what == "edits" for difference in setting_differences(before.facts, run.facts))


def _lasts(name: str, before: Snapshot, run: Snapshot) -> bool:
    return name not in run.groups or not group_differences(before.groups[name], run.groups[name])

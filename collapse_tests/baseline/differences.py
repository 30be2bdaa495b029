"""What differs between two runs beside their outcomes: named before anything is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot, edit_id_of

__all__ = [
    "Difference",
    "Scope",
    "changed_requests",
    "group_differences",
    "other_requests",
    "setting_differences",
    "some_of",
]

_NAMED = 5


class Scope(StrEnum):
    """What a difference touches.

    `RULES`: what counts as a collapse, and on what it is measured, so that outcomes cannot be compared. `MODEL`: the
    unedited weights. `EDITOR`: its hyper-parameters, which may be what the comparison is about. `DATA`: the requests.
    `NOISE`: what should change numbers a little at most.
    """

    RULES = "rules"
    MODEL = "model"
    EDITOR = "editor"
    DATA = "data"
    NOISE = "noise"


_SCOPES = {
    "ppl_limit": Scope.RULES,
    "ppl_texts": Scope.RULES,
    "downstream": Scope.RULES,
    "tasks": Scope.RULES,
    "tasks_limit": Scope.RULES,
    "suspect_growth": Scope.RULES,
    "gate_on_drop": Scope.RULES,
    "dtype": Scope.MODEL,
    "scenario_downstream": Scope.RULES,
    "edits": Scope.DATA,
    "scenarios": Scope.DATA,
    "seed": Scope.NOISE,
    "matmul_precision": Scope.NOISE,
}

#: The options of facts that have other names.
_OPTIONS = {"scenario_downstream": "downstream", "scenarios": "scenario"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in two runs.

    Attributes:
        scope: what it touches.
        what: its name; of a setting that of its option without dashes at the start.
        before, after: values in the earlier and in the later run, as text.
    """

    scope: Scope
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what} {self.after}, was {self.before}"


def setting_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The facts of two runs that differ; one that either run does not know is left out."""
    found = []
    for name, scope in _SCOPES.items():
        if name not in before or name not in after or _same(name, before, after):
            continue
        shown = _text(before[name]), _text(after[name])
        if shown[0] == shown[1]:
            shown = shown[0], f"{shown[1]} with other sentences"
        found.append(Difference(scope, _OPTIONS.get(name, name.replace("_", "-")), *shown))
    return list({difference.what: difference for difference in found}.values())  # one option may make two facts


def group_differences(before: Group, after: Group) -> list[Difference]:
    """The weights and hyper-parameters of two groups that differ, and their editors."""
    found = []
    if before.model_digest and after.model_digest and before.model_digest != after.model_digest:
        digests = before.model_digest[:12], after.model_digest[:12]
        found.append(Difference(Scope.MODEL, f"weights of {after.model}", *digests))
    if before.editor != after.editor:
        found.append(Difference(Scope.EDITOR, "editor", before.editor, after.editor))
        return found  # fields of different editors have nothing to do with each other
    theirs, ours = before.hyperparameters or {}, after.hyperparameters or {}
    for field in sorted({*theirs, *ours}):
        values = [_text(given[field]) if field in given else "its default" for given in (theirs, ours)]
        if values[0] != values[1]:
            found.append(Difference(Scope.EDITOR, f"{after.editor}.{field}", *values))
    return found


def changed_requests(before: Mapping[str, CaseOutcome], after: Mapping[str, CaseOutcome]) -> list[str]:
    """The cases that both have, but with another request under the same name."""
    return [case for case, outcome in after.items() if case in before and before[case].request != outcome.request]


def other_requests(before: Snapshot, after: Snapshot) -> list[str]:
    """Edit ids under which two runs have different requests, whatever the models and editors."""
    theirs, ours = _requests(before), _requests(after)
    return [edit_id for edit_id, request in ours.items() if theirs.get(edit_id, request) != request]


def some_of(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more


def _requests(snapshot: Snapshot) -> dict[str, str]:
    return {edit_id_of(case): outcome.request for case, outcome in snapshot.cases.items()}


def _same(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    digest = f"{name}_digest"
    if digest in before and digest in after:
        return bool(before[digest] == after[digest])
    return bool(before[name] == after[name])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

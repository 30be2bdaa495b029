"""Cases of a run by the risk that they collapse their model."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_tests.cases import Case
from collapse_tests.engine.gate import Gate
from collapse_tests.engine.preflight import Foresight, by_risk

__all__ = ["groups_of", "rank", "riskiest"]


def groups_of(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases of each model and editor, in order."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.model, case.editor), []).append(case)
    return list(groups.values())


def rank(gate: Gate, cases: Sequence[Case]) -> list[tuple[Case, Foresight]]:
    """Each case with what can be told of it, the riskiest of its model and editor first.

    Models and editors keep their order.

    Raises:
        CollapseError: a model could not be loaded, or an editor not be prepared.
    """
    ranked: list[tuple[Case, Foresight]] = []
    for group in groups_of(cases):
        foresights = gate.preflight(group[0].model, group[0].editor, [case.request for case in group])
        ranked += [(group[index], foresights[index]) for index in by_risk(foresights)]
    return ranked


def riskiest(gate: Gate, cases: Sequence[Case], count: int) -> list[Case]:
    """The `count` riskiest cases of each model and editor, in the order of `rank`.

    Raises:
        CollapseError: likewise.
    """
    return [case for group in groups_of(cases) for case, _ in rank(gate, group)[:count]]

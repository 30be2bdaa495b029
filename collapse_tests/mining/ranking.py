"""Cases of a run by the risk that they collapse their model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from collapse_tests.cases import Case
from collapse_tests.engine.outcome import OutcomeSource
from collapse_tests.engine.preflight import Foresight, by_risk
from collapse_tests.errors import CollapseError
from collapse_tests.report.groups import by_group

__all__ = ["rank", "riskiest", "riskiest_or_first"]


def rank(gate: OutcomeSource, cases: Sequence[Case]) -> list[tuple[Case, Foresight]]:
    """Each case with what can be told of it, the riskiest of its model and editor first.

    Models and editors keep their order.

    Raises:
        CollapseError: a model could not be loaded, or an editor not be prepared.
    """
    ranked: list[tuple[Case, Foresight]] = []
    for group in by_group(cases).values():
        foresights = gate.preflight(group[0].model, group[0].editor, [case.request for case in group])
        ranked += [(group[index], foresights[index]) for index in by_risk(foresights)]
    return ranked


def riskiest(gate: OutcomeSource, cases: Sequence[Case], count: int) -> list[Case]:
    """The `count` riskiest cases of each model and editor, in the order of `rank`.

    Raises:
        CollapseError: likewise.
    """
    return [case for group in by_group(cases).values() for case, _ in rank(gate, group)[:count]]


def riskiest_or_first(
    gate: OutcomeSource, cases: Sequence[Case], count: int, say: Callable[[str], None]
) -> Iterator[Case]:
    """As `riskiest`; of a model or editor that cannot say, the first ones, as their tests will tell why.

    Args:
        gate: see `rank`.
        cases: any number.
        count: of each model and editor.
        say: takes a line about each that cannot say.
    """
    for group in by_group(cases).values():
        try:
            yield from riskiest(gate, group, count)
        except CollapseError as error:
            say(f"the first instead of the riskiest edits are made: {error}")
            yield from group[:count]

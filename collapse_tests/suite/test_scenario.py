"""One test per (model, editor, scenario)."""

from __future__ import annotations

from collections.abc import Callable

from collapse_tests.sequence.cases import SequenceCase


def test_scenario(collapse_scenario: SequenceCase, collapse_gate: Callable[[SequenceCase], None]) -> None:
    """The model survives all edits of the scenario, one after the other, and the weights come back."""
    __tracebackhide__ = True
    collapse_gate(collapse_scenario)

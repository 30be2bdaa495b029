"""One test per (model, editor, pool of requests)."""

from __future__ import annotations

from collections.abc import Callable

from collapse_tests.sequence.cases import SequenceCase


def test_machine(collapse_machine: SequenceCase, collapse_gate: Callable[[SequenceCase], None]) -> None:
    """No sequence of edits from the pool that was tried collapses the model, and each can be taken back."""
    __tracebackhide__ = True
    collapse_gate(collapse_machine)

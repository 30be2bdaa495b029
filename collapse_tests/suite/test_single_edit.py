"""One test per (model, editor, edit request)."""

from __future__ import annotations

from collections.abc import Callable

from collapse_tests.cases import Case


def test_single_edit(collapse_case: Case, collapse_gate: Callable[[Case], None]) -> None:
    """The model survives the edit: ME-PPL stays finite and below the limit, and the weights come back."""
    __tracebackhide__ = True
    collapse_gate(collapse_case)

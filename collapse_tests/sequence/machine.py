"""The state machine that Hypothesis drives: it tries sequences of edits and shrinks the one that breaks the model.

Imports Hypothesis, so it is imported late.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.sequence.example_database import KeyedDatabase
from collapse_tests.sequence.search import Finding, Search
from collapse_tests.settings import Settings

__all__ = ["EditingMachine", "run_machine"]


def _index_of(name: str) -> st.SearchStrategy[int]:
    """An index into the machine's attribute `name`, smallest first."""
    return st.runner().flatmap(lambda machine: st.integers(0, len(getattr(machine, name)) - 1))


class EditingMachine(RuleBasedStateMachine):
    """One sequence of edits.

    A class of its own for each search would be kept by Hypothesis for ever, and with it the model; so what a search
    shares comes as an argument.

    Args:
        search: what all sequences share.
    """

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search
        self.pool = search.pool
        self.node = search.begin()
        self.made: list[NamedRequest] = []
        self._outside = sys.exception()

    @property
    def overwrites(self) -> Sequence[NamedRequest]:
        """What can be written over any edit that is in the weights."""
        return [new for edit in self.node.edits for new in self.search.overwrites.of(edit.named)]

    @rule(index=_index_of("pool"))
    def apply(self, index: int) -> None:
        """Make an edit of the pool."""
        self._make(self.pool[index])

    @precondition(lambda self: bool(self.overwrites))
    @rule(index=_index_of("overwrites"))
    def overwrite(self, index: int) -> None:
        """Write another answer, or the old one, over an earlier edit."""
        self._make(self.overwrites[index])

    @precondition(lambda self: bool(self.made))
    @rule(index=_index_of("made"))
    def reapply(self, index: int) -> None:
        """Make an earlier edit again, whether it is still in the weights or not."""
        self._make(self.made[index])

    @precondition(lambda self: bool(self.node.edits))
    @rule()
    def revert(self) -> None:
        """Take the last edit back."""
        self.node = self.search.revert(self.node)

    @invariant()
    def model_survives(self) -> None:
        """Weights are finite and ME-PPL is below the limit."""
        self.search.check_model(self.node)

    @invariant()
    def edits_hold(self) -> None:
        """Edits take and stay, where that is asked for."""
        self.search.check_edits(self.node)

    def teardown(self) -> None:
        """At the end of a sequence the model is still above random, unless the sequence has ended otherwise."""
        if sys.exception() is self._outside:
            self.search.check_tasks(self.node)

    def _make(self, named: NamedRequest) -> None:
        node = self.search.step(self.node, named)
        if node is not self.node:
            self.made.append(named)
        self.node = node


def run_machine(search: Search, key: str, database: ExampleDatabase | None = None) -> Finding | None:
    """Search for a sequence that breaks the model.

    Where Hypothesis is told to be deterministic, as by the variable `CI`, the run's seed chooses the sequences and
    nothing is remembered. Elsewhere sequences are random, and one that broke the model comes first the next time.

    Args:
        search: what is searched.
        key: of this search among others in the database of examples.
        database: for examples; None for Hypothesis's own.

    Returns:
        The smallest sequence found, or None.
    """

    def machine() -> EditingMachine:
        return EditingMachine(search)

    fixed = settings().derandomize or "CI" in os.environ
    if fixed:
        seed(search.settings.seed)(machine)
    try:
        run_state_machine_as_test(cast(Any, machine), settings=_options(search.settings, fixed, key, database))
    except Finding as finding:
        return finding
    return None


def _options(run: Settings, fixed: bool, key: str, database: ExampleDatabase | None) -> settings:
    remembered = database or settings().database
    return settings(
        max_examples=run.machine_examples,
        stateful_step_count=run.machine_steps,
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        report_multiple_bugs=False,
        print_blob=False,
        derandomize=fixed,
        database=None if fixed or remembered is None else KeyedDatabase(remembered, key),
    )

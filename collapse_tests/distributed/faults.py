"""What follows from the death of a worker: which tests are tried again, which alone, and which no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from collapse_tests.cases import group_key
from collapse_tests.settings import DEFAULT_RETRIES

__all__ = ["FaultLedger"]

#: Different tests of one model and editor that each killed a worker on their own, with none finished in between, after
#: which the others are not tried. A node that is lost takes many batches at once, but hardly so many lone tests.
_HOPELESS = 5


@dataclass
class FaultLedger:
    """Counts the deaths that each test was part of.

    A batch that dies is suspect as a whole: its tests are tried again one by one, so that only the one at fault is
    blamed. A test whose worker has died under it once more than `retries` allow is given up, and so is a model and
    editor under which lone tests do nothing but die.

    Attributes:
        retries: how often a test is tried again.
        deaths: id of a test → how often a worker died while it ran, or while others of its batch did.
        alone: ids of tests that may not share a batch any more.
        groups: `<model>-<editor>` → why none of its tests is tried any more.
    """

    retries: int = DEFAULT_RETRIES
    deaths: dict[str, int] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)
    _given_up: dict[str, str] = field(default_factory=dict)
    _died_alone: dict[str, set[str]] = field(default_factory=dict)

    def died(self, tests: Sequence[str], reason: str) -> None:
        """Note that a worker died.

        Args:
            tests: ids of what it was running together and had not handed in; one or more.
            reason: what is known of the death.
        """
        for test in tests:
            self.deaths[test] = self.deaths.get(test, 0) + 1
            self.alone.add(test)
            if self.deaths[test] > self.retries:
                self._given_up[test] = f"given up, as it was tried {_times(self.deaths[test])}: {reason}"
        if len(tests) == 1:
            self._note_lone_death(tests[0], reason)

    def _note_lone_death(self, test: str, reason: str) -> None:
        group = group_key(test)
        dead = self._died_alone.setdefault(group, set())
        dead.add(test)
        if len(dead) >= _HOPELESS:
            self.groups[group] = (
                f"not tried any more, as a worker died under each of {len(dead)} tests of this model and editor, "
                f"and none was finished in between; the last: {reason}"
            )

    def finished(self, test: str) -> None:
        """Note that a test came to an outcome; what was about to be given up with it gets its chance."""
        self._died_alone.pop(group_key(test), None)

    def given_up(self, test: str) -> str | None:
        """Why a test is not tried any more, or None."""
        return self._given_up.get(test) or self.groups.get(group_key(test))

    def is_shared(self, reason: str) -> bool:
        """Whether tests are given up for this reason because of their model and editor, and not each for itself."""
        return reason in self.groups.values()

    def to_dict(self) -> dict[str, Any]:
        """What others have to know of it, as plain data."""
        return {"alone": sorted(self.alone), "given_up": self._given_up, "groups": self.groups}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The ledger that `to_dict` told of; what it answers is the same, what it would count is not."""
        return cls(alone=set(data["alone"]), groups=dict(data["groups"]), _given_up=dict(data["given_up"]))


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")

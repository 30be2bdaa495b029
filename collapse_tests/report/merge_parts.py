"""Runs that are to be merged, and the order they count in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import UsageError
from collapse_tests.records import Record
from collapse_tests.report.store import ENVIRONMENT_FILE
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.shards import Selection, Shard, parse_shard

__all__ = ["NAMED", "Part", "in_order", "listed", "natural"]

#: Things that a message names before it only counts.
NAMED = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One run.

    Attributes:
        place: its directory, as the user would write it.
        environment: of the run.
        records, sequences: all of them.
        details: by case id.
        selection: what it was to test; None in runs of before that was remembered, and in merged ones of several.
    """

    place: str
    environment: Mapping[str, Any]
    records: Sequence[Record] = ()
    sequences: Sequence[SequenceRecord] = ()
    details: Mapping[str, CaseDetail] = field(default_factory=dict)
    selection: Selection | None = None

    @classmethod
    def of(
        cls,
        place: str,
        environment: Mapping[str, Any],
        records: Sequence[Record],
        sequences: Sequence[SequenceRecord] = (),
        details: Iterable[CaseDetail] = (),
    ) -> Part:
        """A run from what its files hold.

        Raises:
            UsageError: the environment is not a run's.
        """
        try:
            _check_settings(environment["settings"])
            selected = environment.get("selection")
            selection = None if selected is None else Selection(**selected)
            if selection is not None and selection.shard is not None:
                parse_shard(selection.shard)
        except (AttributeError, KeyError, TypeError, UsageError) as error:
            raise UsageError(
                f"{ENVIRONMENT_FILE} of {place} is not a run's ({type(error).__name__}: {error}); restore it, or leave "
                "that run out"
            ) from None
        by_id = {detail.case_id: detail for detail in details}
        return cls(place, environment, tuple(records), tuple(sequences), by_id, selection)

    @property
    def settings(self) -> Mapping[str, Any]:
        """As plain data."""
        settings: Mapping[str, Any] = self.environment["settings"]
        return settings

    @property
    def shard(self) -> Shard | None:
        """The part of all tests that the run took, or None."""
        return None if self.selection is None or self.selection.shard is None else parse_shard(self.selection.shard)

    @property
    def ids(self) -> set[tuple[str, str]]:
        """What it has records of, by kind and case id."""
        found = {("", record.case_id) for record in self.records}
        return found | {(record.kind.value, record.case_id) for record in self.sequences}


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raise what comes of settings that are none."""
    for name in ("editors", "models"):
        iter(settings[name])
    for override in settings["overrides"]:
        for name in ("editor", "field", "value"):
            override[name]


def in_order(parts: Iterable[Part]) -> list[Part]:
    """Earlier runs before later ones; of those that do not say when, by the names of their directories."""
    return sorted(
        parts, key=lambda part: (str(part.environment.get("started", "")), natural(PurePath(part.place).name))
    )


def natural(text: str) -> tuple[str | int, ...]:
    """A key that sorts by the numbers in a text: `facts:2` comes before `facts:10`."""
    return tuple(int(part) if at % 2 else part for at, part in enumerate(re.split("([0-9]+)", text)))


def listed(names: Sequence[str], count: int | None = None) -> str:
    """`a, b and c`, or the first few of many and how many more there are.

    Args:
        names: at least the first `NAMED` of them.
        count: how many there are; None for those given.
    """
    total = len(names) if count is None else count
    if total > NAMED:
        return f"{', '.join(names[:NAMED])} and {total - NAMED:,} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

"""Models under editors: what is grouped by both, everywhere in a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["OfGroup", "by_group"]


class OfGroup(Protocol):
    """What is of one model and one editor."""

    @property
    def model(self) -> str:
        """As in the settings."""

    @property
    def editor(self) -> str:
        """Likewise."""


_T = TypeVar("_T", bound=OfGroup)


def by_group(things: Iterable[_T]) -> dict[tuple[str, str], list[_T]]:
    """(model, editor) → what is of both, in the order in which they first occur."""
    groups: dict[tuple[str, str], list[_T]] = {}
    for one in things:
        groups.setdefault((one.model, one.editor), []).append(one)
    return groups

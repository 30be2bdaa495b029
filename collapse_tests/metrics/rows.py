"""The common currency of all measurements: rows of token ids, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ForkedRow", "Label", "Layout", "Row", "RowScore", "TokenRow"]


@dataclass(frozen=True, slots=True)
class Label:
    """One id to predict.

    Attributes:
        column: where in the row it is predicted.
        id: the token id.
        branch: which of the row's scores it counts to.
    """

    column: int
    id: int
    branch: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A row as the model sees it.

    Attributes:
        ids: token ids that are run.
        positions: of each id.
        branches: of each id; a column sees the columns before it of branch 0 and of its own.
        labels: the ids to predict.
        scores: how many scores the row gets.
    """

    ids: Sequence[int]
    positions: Sequence[int]
    branches: Sequence[int]
    labels: Sequence[Label]
    scores: int

    @property
    def is_straight(self) -> bool:
        """Whether every column sees all columns before it."""
        return len(set(self.branches) - {0}) < 2


class Row(Protocol):
    """What can be scored."""

    def layout(self) -> Layout:
        """The row as the model sees it."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A text to score.

    Attributes:
        ids: token ids.
        first_label: index (1 or more) of the first id to be predicted; all later ones are, too.
    """

    ids: tuple[int, ...]
    first_label: int

    def layout(self) -> Layout:
        """The row as the model sees it: its last id is only ever predicted, so it is not run."""
        run = len(self.ids) - 1
        labels = [Label(column - 1, self.ids[column], 0) for column in range(self.first_label, len(self.ids))]
        return Layout(self.ids[:-1], range(run), [0] * run, labels, 1)


@dataclass(frozen=True, slots=True)
class ForkedRow:
    """Continuations of one context, each scored as if it alone followed; the context is run once.

    Attributes:
        context: token ids, one or more.
        continuations: the ids of each, one or more.
    """

    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    def layout(self) -> Layout:
        """The row as the model sees it: the context, then all but the last id of every continuation."""
        ids = list(self.context)
        positions = list(range(len(ids)))
        branches = [0] * len(ids)
        labels = []
        for branch, continuation in enumerate(self.continuations):
            first = len(ids)
            columns = [len(self.context) - 1, *range(first, first + len(continuation) - 1)]
            labels += [Label(column, label, branch) for column, label in zip(columns, continuation, strict=True)]
            ids += continuation[:-1]
            positions += range(len(self.context), len(self.context) + len(continuation) - 1)
            branches += [branch + 1] * (len(continuation) - 1)
        return Layout(ids, positions, branches, labels, len(self.continuations))


@dataclass(frozen=True, slots=True)
class RowScore:
    """What a model makes of a row, or of one continuation of a forked one.

    Attributes:
        nll: summed negative log-likelihood of the labels, in nats.
        labels: how many ids were predicted.
        predicted: the most likely id at each label's place; empty if it was not asked for.
        greedy_match: whether those are the labels; False if it was not asked for.
    """

    nll: float
    labels: int
    predicted: tuple[int, ...] = ()
    greedy_match: bool = False

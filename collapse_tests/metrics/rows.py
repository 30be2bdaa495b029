"""The common currency of all measurements: rows of token ids, and what the model makes of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RowScore", "TokenRow"]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A text to score.

    Attributes:
        ids: token ids.
        first_label: index (1 or more) of the first id to be predicted; all later ones are, too.
    """

    ids: tuple[int, ...]
    first_label: int


@dataclass(frozen=True, slots=True)
class RowScore:
    """What a model makes of a row.

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

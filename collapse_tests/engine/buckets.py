"""Some rows as a rectangle, ready to run: where each label is predicted, and which columns see which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from collapse_tests.metrics.rows import Layout, RowScore
from collapse_tests.models.batching import pad_right

__all__ = ["Bucket", "Labels", "additive"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What is predicted in a bucket, in the order of the places.

    Attributes:
        place_rows, place_columns: (places,) where anything is predicted; each place once, as continuations of one
            context share that of their first label.
        ends: how many labels the places before each one have, and all places together.
        places: (labels,) index of each label's place, ascending.
        slots: (labels,) index of the score each label counts to.
        ids: (labels,) the token ids to predict.
        count: how many scores the rows get together.
    """

    place_rows: torch.Tensor
    place_columns: torch.Tensor
    ends: list[int]
    places: torch.Tensor
    slots: torch.Tensor
    ids: torch.Tensor
    count: int

    @classmethod
    def of(cls, layouts: Sequence[Layout], device: torch.device) -> Labels:
        """Labels of the rows of a bucket."""
        by_place: dict[tuple[int, int], list[tuple[int, int]]] = {}
        count = 0
        for row, layout in enumerate(layouts):
            for label in layout.labels:
                by_place.setdefault((row, label.column), []).append((count + label.branch, label.id))
            count += layout.scores
        rows, columns = torch.tensor(list(by_place), device=device).T
        labels = [(place, slot, label) for place, labels in enumerate(by_place.values()) for slot, label in labels]
        places, slots, ids = torch.tensor(labels, device=device).T
        ends = list(accumulate((len(labels) for labels in by_place.values()), initial=0))
        return cls(rows, columns, ends, places, slots, ids, count)

    def slice(self, first: int, stop: int) -> slice:
        """Labels of the places from `first` to before `stop`."""
        return slice(self.ends[first], self.ends[stop])

    def scores(self, losses: torch.Tensor, predicted: torch.Tensor | None) -> list[RowScore]:
        """The rows' scores.

        Args:
            losses: (labels,) negative log-likelihood of each.
            predicted: (labels,) most likely id at the place of each, or None.
        """
        nll = losses.new_zeros(self.count).index_add(0, self.slots, losses).tolist()
        counts = torch.bincount(self.slots, minlength=self.count).tolist()
        if predicted is None:
            return [RowScore(total, labels) for total, labels in zip(nll, counts, strict=True)]
        order = self.slots.argsort(stable=True)  # a continuation's later labels lie behind those of its rivals
        got, wanted = predicted[order].tolist(), self.ids[order].tolist()
        stops = list(accumulate(counts, initial=0))
        parts = [(tuple(got[a:b]), tuple(wanted[a:b])) for a, b in pairwise(stops)]
        return [
            RowScore(total, labels, found, found == asked)
            for total, labels, (found, asked) in zip(nll, counts, parts, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows that share a forward pass.

    Attributes:
        indices: of the rows in the list they came from.
        layouts: of the rows.
        start: (rows, length, hidden size) input of the block the pass starts at, or (rows, length) token ids where
            the embeddings are edited, too.
        positions: (rows, length) of the ids.
        mask: (rows, 1, length, length), True where a column sees another; None where plain causal attention does.
        labels: what is predicted.
    """

    indices: list[int]
    layouts: list[Layout]
    start: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    labels: Labels

    @classmethod
    def of(
        cls,
        indices: list[int],
        layouts: list[Layout],
        device: torch.device,
        run: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
    ) -> Bucket:
        """The rectangle of rows.

        Args:
            indices: of the rows.
            layouts: of the rows.
            device: of the model.
            run: makes `start` of ids, positions and mask.
        """
        ids = pad_right([layout.ids for layout in layouts], device)
        positions = pad_right([layout.positions for layout in layouts], device)
        mask = _mask(layouts, device)
        return cls(indices, layouts, run(ids, positions, mask), positions, mask, Labels.of(layouts, device))

    def select(self, rows: Sequence[int]) -> Bucket:
        """Some of the rows, by ascending index."""
        if len(rows) == len(self.indices):
            return self
        layouts = [self.layouts[row] for row in rows]
        kept = torch.tensor(rows, device=self.start.device)
        return Bucket(
            [self.indices[row] for row in rows],
            layouts,
            self.start[kept],
            self.positions[kept],
            None if self.mask is None else self.mask[kept],
            Labels.of(layouts, self.start.device),
        )


def additive(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A boolean mask as attention layers add it to logits."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _mask(layouts: Sequence[Layout], device: torch.device) -> torch.Tensor | None:
    if all(layout.is_straight for layout in layouts):
        return None
    branches = pad_right([layout.branches for layout in layouts], device)
    seen, by = branches[:, None, :], branches[:, :, None]
    causal = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool, device=device).tril()
    return (((seen == 0) | (seen == by)) & causal)[:, None]

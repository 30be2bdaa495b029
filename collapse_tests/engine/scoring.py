"""Scores rows of tokens under many weight updates side by side.

An edit at block L changes nothing below L, so the input of block L is computed once per row and kept. Low-rank
updates then share forward passes: every row adds its own case's update to the edited layers' outputs, and no
weight is written. Dense updates are written, measured and reverted one after the other, from the same cached
states on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from collapse_tests.metrics.rows import RowScore, TokenRow
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.workload import logits_per_slice, pass_overhead, scoring_budget
from collapse_tests.weight_update import WeightUpdate

__all__ = ["RowCache", "Scorer"]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Some rows as a rectangle.

    Attributes:
        indices: of the rows in the list they came from.
        start: (rows, length, hidden size) input of the block the pass starts at, or (rows, length) token ids where
            the embeddings are edited, too.
        label_rows, label_columns: (labels,) where each label is predicted.
        labels: (labels,) the ids to predict.
    """

    indices: list[int]
    start: torch.Tensor
    label_rows: torch.Tensor
    label_columns: torch.Tensor
    labels: torch.Tensor

    def select(self, rows: Sequence[int]) -> _Bucket:
        """Some of the rows, by ascending index."""
        kept = torch.tensor(rows, device=self.start.device)
        (own,) = torch.isin(self.label_rows, kept).nonzero(as_tuple=True)
        return _Bucket(
            indices=[self.indices[row] for row in rows],
            start=self.start[kept],
            label_rows=torch.searchsorted(kept, self.label_rows[own]),
            label_columns=self.label_columns[own],
            labels=self.labels[own],
        )


class RowCache:
    """Rows that are scored for every case, with their hidden states below the edited block.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self.rows = tuple(rows)
        self.made_for: tuple[int, int, int] | None = None  # block, token budget, cases side by side
        self.buckets: list[_Bucket] = []


class Scorer:
    """Scores rows on one model.

    Args:
        model: the model; unedited whenever a method is called.
        max_tokens: padded tokens per forward pass, or None to choose by the device.
    """

    def __init__(self, model: EditableModel, max_tokens: int | None = None) -> None:
        self.model = model
        self.budget = scoring_budget(model) if max_tokens is None else TokenBudget(max_tokens)

    @torch.no_grad()
    def shared(self, cache: RowCache, updates: Sequence[WeightUpdate]) -> list[list[RowScore]]:
        """Scores of the same rows under each update, `[update][row]`."""
        return self._in_bulk(cache.rows, lambda: self._shared(cache, updates))

    def _shared(self, cache: RowCache, updates: Sequence[WeightUpdate]) -> list[list[RowScore]]:
        block = self._first_block(updates)
        buckets = self._buckets(cache, block, len(updates))
        scores: list[list[RowScore | None]] = [[None] * len(cache.rows) for _ in updates]
        for bucket in buckets:
            # No more cases side by side than fit one forward pass.
            width = max(1, self.budget.tokens // bucket.start.shape[:2].numel())
            for first in range(0, len(updates), width):
                chunk = updates[first : first + width]
                for case, case_scores in enumerate(self._shared_chunk(bucket, block, chunk)):
                    for index, score in zip(bucket.indices, case_scores, strict=True):
                        scores[first + case][index] = score
        return [[score for score in case if score is not None] for case in scores]

    @torch.no_grad()
    def each(self, rows: Sequence[Sequence[TokenRow]], updates: Sequence[WeightUpdate | None]) -> list[list[RowScore]]:
        """Scores of each case's own rows under its own update (None: unedited), with the predicted ids."""
        return self._in_bulk([row for case in rows for row in case], lambda: self._each(rows, updates))

    def _in_bulk(self, rows: Sequence[TokenRow], score: Callable[[], list[list[RowScore]]]) -> list[list[RowScore]]:
        """`score()` with fast kernels, and with fewer tokens at a time where memory runs out."""
        with self.model.fast_kernels():
            return self.budget.run(score, least=max((len(row.ids) for row in rows), default=1))

    def _each(self, rows: Sequence[Sequence[TokenRow]], updates: Sequence[WeightUpdate | None]) -> list[list[RowScore]]:
        flat = [row for case in rows for row in case]
        owner = [case for case, case_rows in enumerate(rows) for _ in case_rows]
        real = [update for update in updates if update is not None]
        block = self._first_block(real)
        scores: list[RowScore | None] = [None] * len(flat)
        for bucket in self._fill(flat, block, pass_overhead(self.model)):
            owners = [owner[index] for index in bucket.indices]
            for index, score in zip(bucket.indices, self._owned(bucket, block, owners, updates), strict=True):
                scores[index] = score
        done = iter(scores)
        return [[score for score in (next(done) for _ in case) if score is not None] for case in rows]

    # Which rows share a forward pass ----------------------------------------------------------------------

    def _buckets(self, cache: RowCache, block: int, cases: int) -> list[_Bucket]:
        """The cached rows' states at `block`; states at another block are dropped first to keep memory flat.

        Cases that pass side by side share what a pass costs beside its tokens, so the more, the less padding pays.
        """
        tokens = sum(len(row.ids) for row in cache.rows)
        beside = max(1, min(cases, self.budget.tokens // max(1, tokens)))
        made_for = block, self.budget.tokens, beside
        if cache.made_for != made_for:
            cache.buckets, cache.made_for = [], None
            cache.buckets = self._fill(cache.rows, block, pass_overhead(self.model) / beside)
            cache.made_for = made_for
        return cache.buckets

    def _fill(self, rows: Sequence[TokenRow], block: int, overhead: float) -> list[_Bucket]:
        lengths = [len(row.ids) - 1 for row in rows]
        groups = length_buckets(lengths, max_tokens=self.budget.tokens, overhead=overhead)
        return [self._bucket(rows, group, block) for group in groups]

    def _bucket(self, rows: Sequence[TokenRow], group: list[int], block: int) -> _Bucket:
        ids = pad_right([rows[index].ids for index in group], self.model.device)
        # A row's last id is only ever predicted, so it takes no part in the forward pass.
        start = ids[:, :-1] if block < 0 else self.model.hidden_at(ids[:, :-1], block)
        places = [
            (row, column)
            for row, index in enumerate(group)
            for column in range(rows[index].first_label, len(rows[index].ids))
        ]
        label_rows, columns = torch.tensor(places, device=ids.device).T
        return _Bucket(group, start, label_rows, columns - 1, ids[label_rows, columns])

    def _first_block(self, updates: Sequence[WeightUpdate]) -> int:
        """The lowest block that any update touches, -1 for the embeddings."""
        names = {name for update in updates for name in update.deltas}
        return min((self.model.block_of(name) for name in names), default=self.model.n_blocks)

    # Forward passes ---------------------------------------------------------------------------------------

    def _run(self, start: torch.Tensor, block: int) -> torch.Tensor:
        """Hidden states after the last block from a bucket's `start`."""
        return self.model.run_blocks(self.model.embed(start) if block < 0 else start, max(block, 0))

    def _shared_chunk(self, bucket: _Bucket, block: int, updates: Sequence[WeightUpdate]) -> list[list[RowScore]]:
        if not all(self.model.shareable(update) for update in updates):
            chunks: list[list[RowScore]] = []
            for update in updates:
                with self.model.applied(update):
                    chunks.append(self._score(bucket, self._run(bucket.start, block), predict=False))
            return chunks
        rows, count = len(bucket.indices), len(updates)
        case_of_row = torch.arange(count, device=self.model.device).repeat_interleave(rows)
        with self.model.side_by_side(updates, case_of_row):
            hidden = self._run(torch.cat([bucket.start] * count), block)
        return [self._score(bucket, part, predict=False) for part in torch.split(hidden, rows)]

    def _owned(
        self, bucket: _Bucket, block: int, owners: Sequence[int], updates: Sequence[WeightUpdate | None]
    ) -> list[RowScore]:
        """Scores of a bucket's rows, each under its owner's update."""
        parts: dict[int | None, list[int]] = {}  # None: all that can pass side by side
        for row, case in enumerate(owners):
            update = updates[case]
            parts.setdefault(None if update is None or self.model.shareable(update) else case, []).append(row)
        scores: dict[int, RowScore] = {}
        for written, rows in parts.items():
            part = bucket.select(rows)
            with self._edited([owners[row] for row in rows], updates, written=written):
                found = self._score(part, self._run(part.start, block), predict=True)
            scores.update(zip(rows, found, strict=True))
        return [scores[row] for row in range(len(owners))]

    @contextmanager
    def _edited(
        self, owners: Sequence[int], updates: Sequence[WeightUpdate | None], written: int | None
    ) -> Iterator[None]:
        """Rows under the update of the case `written`, or, side by side, each under its owner's."""
        if written is not None:
            update = updates[written]
            assert update is not None
            with self.model.applied(update):
                yield
            return
        edited = [case for case in dict.fromkeys(owners) if updates[case] is not None]
        place = {case: index for index, case in enumerate(edited)}
        case_of_row = torch.tensor([place.get(case, len(edited)) for case in owners], device=self.model.device)
        with self.model.side_by_side([update for case in edited if (update := updates[case])], case_of_row):
            yield

    def _score(self, bucket: _Bucket, hidden: torch.Tensor, *, predict: bool) -> list[RowScore]:
        """Scores of a bucket's rows from the hidden states after the last block, a slice of logits at a time."""
        predicting = hidden[bucket.label_rows, bucket.label_columns]
        width = max(1, logits_per_slice(self.model) // self.model.vocabulary_size)
        losses, best = [], []
        for states, labels in zip(torch.split(predicting, width), torch.split(bucket.labels, width), strict=True):
            logits = self.model.head(states).to(torch.promote_types(self.model.dtype, torch.float32))
            losses.append(F.cross_entropy(logits, labels, reduction="none").double())
            if predict:
                best.append(logits.argmax(-1))
        count = len(bucket.indices)
        nll = torch.zeros(count, dtype=torch.float64, device=hidden.device)
        totals = nll.index_add(0, bucket.label_rows, torch.cat(losses)).tolist()
        counts = torch.bincount(bucket.label_rows, minlength=count).tolist()
        if not predict:
            return [RowScore(total, labels) for total, labels in zip(totals, counts, strict=True)]
        predicted = torch.split(torch.cat(best), counts)
        wanted = torch.split(bucket.labels, counts)
        return [
            RowScore(total, labels, tuple(got.tolist()), bool((got == want).all()))
            for total, labels, got, want in zip(totals, counts, predicted, wanted, strict=True)
        ]
